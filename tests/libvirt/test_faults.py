# SPDX-License-Identifier: MIT OR Apache-2.0
"""What breaks, breaks on real hosts; after each fault the hosts converge, and the reason is on record with host and cause.
One lab serves all faults. Ready is what runs (or whatever answers already): the boot itself is tested in test_life."""
import json
import os
import random
import re
import signal
import sys
import time

import lab
from shards import Controller, Drive, done

WEB = "10.78.1.1"
STEPS = ("reserved", "allocating", "warming", "warm", "serving", "draining", "released")
DRIVE, SHARD = sys.argv[1:3]


class Fault:
    """One fault: its checks, the time until all is well again, and one line that says so."""

    def __init__(self, t, l, what):
        self.t, self.l, self.what = t, l, what

    def __enter__(self):
        self.begin, self.before = time.monotonic(), self.l.state("hv2")
        return self

    def check(self, name, good, seen=""):
        return self.t.check(f"{self.what}: {name}", good, seen)

    def told(self, answer, *words):
        """It failed, and the text names all of this."""
        self.check(f"the reason names {', '.join(words)}", not done(answer) and all(w in answer["text"] for w in words), answer)
        self.text = answer["text"]

    def __exit__(self, kind, *_):
        if not kind:
            took = time.monotonic() - self.begin
            self.t.same(f"{self.what}: hv2 is as it was", self.before, self.l.state("hv2"))
            self.t.note(f"fault: {self.what}; converged in {took:.1f} s; on record: {getattr(self, 'text', 'nothing failed')}")


def ours(l):
    return [d for d in l.domains("hv2") if d.startswith("spr-")]


def again(f, d, *request, limit=60):
    """As a lifecycle does it: asked again until it is done."""
    seen = []
    f.l.wait(lambda: seen.append(d(*request)) or done(seen[-1]), limit, f"{request} to be done after {f.what}", every=0.2)
    return seen[-1]


def make(d, shard):
    for verb in ("reserve", "allocate", "warm", "activate"):
        a = d(verb, shard, 0 if verb == "activate" else 1)
        if not done(a):
            raise lab.LabError(f"{verb}: {a}")


def guests(t, l):
    with Drive(l, owner="a", lease=3, idle=0.3) as d:
        with Fault(t, l, "kill -9 of a serving shard's guest") as f:
            make(d, 1)
            l.kill_guest("hv2", ours(l)[0])
            l.wait(lambda: l.domains("hv2")[ours(l)[0]] == "shut off", 30, "its end")
            seen = d.shards()[1]
            f.check("nothing of it is ready any more", seen["ready"] == 0 and seen["state"] == "draining", seen)
            again(f, d, "activate", 1)
            f.check("and serves again", d.shards()[1]["state"] == "serving", d.shards())
            f.check("it is given back", done(d("release", 1)))
        with Fault(t, l, "kill -9 of the primary's guest") as f:
            make(d, 2)
            l.kill_guest("hv1", "web")
            l.wait(lambda: l.domains("hv1")["web"] == "shut off", 30, "its end")
            f.check("its shard serves on", d.shards()[2]["state"] == "serving", d.shards())
            f.check("and is given back", done(d("release", 2)))
            l.virsh("hv1", "start", "web")
    with Drive(l, owner="a", lease=3, probe="http://10.78.9.9/") as d, Fault(t, l, "kill -9 of a guest that warms") as f:
        d("allocate", 3, 1)
        d.send("warm", 3, 1)
        name = ours(l)[0]
        l.wait(lambda: l.domains("hv2")[name] == "running", 30, "its start")
        l.kill_guest("hv2", name)
        f.told(d.answer(), "hv2", name)
        f.check("it is given back", done(d("release", 3)))


def drains(t, l):
    """Whoever adopts a shard whose drain was under way ends it: nobody else would."""
    with Drive(l, owner="h", lease=1, idle=60) as d, Fault(t, l, "kill -9 of the controller in mid-drain") as f:
        make(d, 11)
        d.send("drain", 11, 2)
        with Drive(l, owner="i", lease=1, idle=0.3, fence=2) as e:
            l.wait(lambda: e.shards()[11]["draining"] == 0.5, 60, "the drain")
            d.process.kill()
            d.process.wait()
            a = e("adopt", 11)
            f.check("its flows are over once it is adopted", done(a) and e.shards()[11]["draining"] == 0, (a, e.shards()))
            f.check("and it is given back", done(e("release", 11)))


def daemons(t, l):
    with Drive(l, owner="b", lease=3, idle=0.3) as d:
        with Fault(t, l, "kill -9 of the target's libvirtd") as f:
            make(d, 4)
            pid = l.qemu_pid("hv2", ours(l)[0])
            l.sh("kill-libvirtd", "hv2")
            f.check("its shard is unknown, not gone", d.shards()[4]["state"] == "unknown")
            f.told(d("drain", 4, 2), "hv2")
            l.sh("start", "hv2")
            f.l.wait(lambda: d.shards()[4]["state"] == "serving", 60, "hv2")
            f.check("its guest ran on", l.qemu_pid("hv2", ours(l)[0]) == pid)
            again(f, d, "release", 4)
    with Drive(l, owner="b", lease=3, deadline=15) as d:
        with Fault(t, l, "SIGSTOP of the target's libvirtd") as f:
            make(d, 5)
            l.sh("stop-libvirtd", "hv2")
            d.send("observe")
            seen = d.answer()
            f.check("it delays nobody for longer than a call may take", seen["ms"] < 20000 and seen["shards"][0]["state"] == "unknown", seen)
            d.send("release", 5)
            f.told(d.answer(), "hv2")
            l.sh("cont-libvirtd", "hv2")
            again(f, d, "release", 5)
            f.check("it is gone then", 5 not in d.shards() and not ours(l), ours(l))
    l.sh("kill-libvirtd", "hv1")
    with Drive(l, owner="c", lease=3) as d, Fault(t, l, "kill -9 of the source's libvirtd") as f:
        f.told(d("allocate", 6, 1), "hv1", "web")
        f.check("nothing was begun on the target", not ours(l), ours(l))
        l.sh("start", "hv1")
        again(f, d, "allocate", 6, 1)
        f.check("it is given back", done(d("release", 6)))


def wires(t, l):
    with Drive(l, hosts={h: l.uri(h, "tcp") for h in l.hosts}, owner="d", lease=3, deadline=15) as d, Fault(t, l, "a cut link") as f:
        make(d, 7)
        l.sh("link", "hv2", "down")
        f.check("its shard is unknown, not gone", d.shards()[7]["state"] == "unknown")
        f.told(d("release", 7), "hv2")
        f.check("it stands there all the time", len(ours(l)) == 1)
        l.sh("link", "hv2", "up")
        again(f, d, "release", 7)


def refusals(t, l):
    with Drive(l, owner="e", lease=3, vm="odd") as d, Fault(t, l, "a definition that the target refuses") as f:
        f.told(d("allocate", 8, 1), "hv2", "br-odd")
        f.check("nothing is left of it", not ours(l), ours(l))
    with Drive(l, owner="e", lease=3, vm="disk") as d, Fault(t, l, "a full disk") as f:
        l.sh("disk", "hv2", "fill")
        f.told(d("allocate", 9, 1), "hv2", "full", "default")
        f.check("nothing is left of it", not ours(l), ours(l))
        l.sh("disk", "hv2", "free")
        again(f, d, "allocate", 9, 1)
        f.check("it is given back", done(d("release", 9)))


def power(t, l):
    l.virsh("hv2", "destroy", "foreign")  # what ran does not run after it
    with Drive(l, owner="g", lease=3) as d, Fault(t, l, "power-off and power-on of the target") as f:
        make(d, 10)
        l.sh("power-off", "hv2")
        f.check("its shard is unknown, not gone", d.shards()[10]["state"] == "unknown")
        f.told(d("drain", 10, 2), "hv2")
        l.sh("power-on", "hv2")
        l.wait(lambda: d.shards()[10]["state"] != "unknown", 90, "hv2")
        f.check("nothing of it is ready any more", d.shards()[10]["ready"] == 0, d.shards())
        again(f, d, "activate", 10)
        f.check("it serves again from its definition", d.shards()[10]["state"] == "serving")
        again(f, d, "release", 10)


def controllers(t, l):
    """Killed at every step and started again: what the journal says and what stands there is one and the same, once."""
    probe = f"http://{WEB}/"  # ready is what answers already: the guest itself need not have booted
    for step in STEPS:
        journal = os.path.join(l.folder, f"journal-{step}")
        command = [SHARD, l.uri("hv1"), l.uri("hv2"), "web", "--cpu", "0.5", "--mem", "96M", "--probe", probe, "--serve", "0.2s", "--journal", journal]
        with Fault(t, l, f"kill -9 of the controller at {step}") as f:
            r = l.fab([*command, "--kill-at", step], check=False)
            left = ours(l)
            f.check("it died there", r.returncode in (-signal.SIGKILL, 137) and f'"{step}"' in r.stdout.splitlines()[-1], (r.returncode, r.stdout, r.stderr))
            f.check("one domain at most", len(left) <= 1, left)
            r = l.fab(command, check=False)
            said = [json.loads(line) for line in r.stdout.splitlines()]
            found = {s["found"] for s in said if "found" in s} | {s["removed"] for s in said if "removed" in s}
            f.check("started again it finds what stands there, and that only", {int(re.match(r"spr-([0-9a-f]{16})-", d).group(1), 16) for d in left} <= found
                    and len(found) <= 1, (left, said))
            f.check("and then its own shard lives", r.returncode == 0 and said[-1] == {"state": "released"}, (r.returncode, said, r.stderr))
            f.check("hosts and journal agree: nothing is left", not ours(l), ours(l))
            f.text = f"{sorted(found)} found and removed, then a whole life"


def as_wanted(l, c, count=1):
    """So many serve by the controller's word, and it is what stands on the host and runs there."""
    states = c.states()
    here = ours(l)
    return list(states.values()) == ["serving"] * count and here == [f"spr-{s:016x}-{c.vm}" for s in states] and \
        all(l.domains("hv2")[d] == "running" for d in here)


def converges(l, c, count=1, limit=90):
    try:
        l.wait(lambda: as_wanted(l, c, count), limit, f"{count} shards", every=0.2)
    except lab.LabError as why:
        raise lab.LabError(f"{why}: {c.states()}, {l.domains('hv2')}, controller {c.process.poll()}, said {c.said[-12:]}") from why


def controller(l, journal, vm="web", **more):
    c = Controller(l, os.path.join(l.folder, journal), f"http://{WEB}/", vm=vm, deadline=6, **more)
    c.vm = vm
    return c


class Whole(Fault):
    """A fault under a whole controller: it has one shard before and after, by itself, and says what happened."""

    def __init__(self, t, l, c, what):
        super().__init__(t, l, f"under a controller, {what}")
        self.c = c

    def __enter__(self):
        converges(self.l, self.c)
        self.since = len(self.c.said)
        return super().__enter__()

    def sees(self, *words):
        """The reason is on record before it is well again."""
        try:
            self.l.wait(lambda: all(w in self.c.told(self.since) for w in words), 60, words)
        finally:
            self.check(f"the reason is on record: {', '.join(words)}", all(w in self.c.told(self.since) for w in words), self.c.told(self.since))

    def __exit__(self, kind, *_):
        if not kind:
            converges(self.l, self.c)
            self.text = self.c.told(self.since)
            self.check("it serves again, once", as_wanted(self.l, self.c), (self.c.states(), ours(self.l)))
            self.t.note(f"fault: {self.what}; converged in {time.monotonic() - self.begin:.1f} s; on record: {self.text[:400]}")


def whole(t, l):
    """What breaks breaks under lifecycle, journal and driver together; nobody helps."""
    before = l.state("hv2")
    with controller(l, "whole") as c:
        c.want(1)
        with Whole(t, l, c, "kill -9 of the guest") as f:
            l.kill_guest("hv2", ours(l)[0])
            f.sees("the driver reported a failure")
        with Whole(t, l, c, "kill -9 of the target's libvirtd") as f:
            l.sh("kill-libvirtd", "hv2")
            f.l.wait(lambda: "unknown" in c.states().values(), 30, "it to be unknown")
            l.sh("start", "hv2")
        with Whole(t, l, c, "a cut link") as f:
            l.sh("link", "hv2", "down")
            f.l.wait(lambda: "unknown" in c.states().values(), 60, "it to be unknown")
            l.sh("link", "hv2", "up")
        with Whole(t, l, c, "a slow host") as f:
            l.sh("slow", "hv2", 10)
            c.want(0)
            l.wait(lambda: not c.states(), 90, "its end")
            c.want(1)
            l.wait(lambda: c.states(), 60, "a new one")
            time.sleep(2)
            l.sh("slow", "hv2", "off")
        c.want(0)
        l.wait(lambda: as_wanted(l, c, 0), 60, "nothing")
    t.same("under a controller: hv2 is as it was", before, l.state("hv2"))
    with controller(l, "whole-odd", "odd") as c:
        c.want(1)
        l.wait(lambda: "br-odd" in c.told(), 60, "a refusal")
        l.host("hv2", "ip", "link", "add", "br-odd", "type", "bridge")
        converges(l, c)
        t.check("under a controller, a definition that is refused: on record by its reason, and done when it can be", as_wanted(l, c), c.told())
        c.want(0)
        l.wait(lambda: as_wanted(l, c, 0), 60, "nothing")
        l.host("hv2", "ip", "link", "del", "br-odd")
    with controller(l, "whole-disk", "disk") as c:
        l.sh("disk", "hv2", "fill")
        c.want(1)
        l.wait(lambda: "full" in c.told(), 60, "a refusal")
        l.sh("disk", "hv2", "free")
        converges(l, c)
        t.check("under a controller, a full disk: on record by its reason, and done when there is room", as_wanted(l, c), c.told())
        c.want(0)
        l.wait(lambda: as_wanted(l, c, 0), 60, "nothing")


def anywhere(t, l):
    """Killed at any moment, on one journal: whoever comes next ends with what is wanted, once."""
    dice = random.Random(5)
    moments = [dice.uniform(0, 1.2) for _ in range(10)]
    found = []
    for i, moment in enumerate(moments):
        with controller(l, "anywhere") as c:
            c.want((i + 1) % 2)
            time.sleep(moment)
            c.kill()
            found.append(len(ours(l)))
    t.check("killed at ten moments: one domain at most, each time", max(found) <= 1, found)
    with controller(l, "anywhere") as c:
        c.want(1)
        converges(l, c)
        t.check("then journal and host name the same shard, and it serves", as_wanted(l, c), (c.states(), ours(l)))
        c.want(0)
        l.wait(lambda: as_wanted(l, c, 0), 60, "nothing")
    t.check("and nothing is left", not ours(l) and not l.virsh("hv2", "secret-list").strip(), ours(l))
    t.note(f"killed after {[round(m, 2) for m in moments]} s: domains left {found}")


def test(t, l):
    l.guest("hv1", "web", WEB, META='replica="image"')
    l.host("hv1", "ip", "link", "add", "br-odd", "type", "bridge")
    l.define("hv1", l.domain_xml("odd", "10.78.1.2", META='replica="image"').replace("br0", "br-odd"))
    base = l.disk("base.img", 4)
    l.define("hv1", l.domain_xml("disk", "10.78.1.3", DISK=l.disk("over.qcow2", backing=base), META='replica="image"'))
    l.virsh("hv1", "pool-refresh", "shared")
    l.guest("hv2", "foreign", "10.78.1.4", start=False)
    l.virsh("hv2", "start", "foreign", "--paused")
    l.wait_http(WEB)
    l.sh("disk", "hv2", "small", 8)
    l.virsh("hv2", "pool-refresh", "default")
    if not sys.argv[4:]:
        controllers(t, l)
    only = sys.argv[4:]
    for group in (whole, anywhere, drains, guests, daemons, wires, refusals, power):
        if not only or group.__name__ in only:
            group(t, l)


lab.main(test, hosts=2)
