# SPDX-License-Identifier: MIT OR Apache-2.0
"""What breaks, breaks on real hosts; after each fault the hosts converge, and the reason is on record with host and cause.
One lab serves all faults. Ready is what runs (or whatever answers already): the boot itself is tested in test_life."""
import json
import os
import re
import signal
import sys
import time

import lab
from shards import Drive, done

WEB = "10.78.1.1"
STEPS = ("reserved", "allocating", "warming", "warm", "serving", "draining")
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
    l.sh("disk", "hv2", "small", 8)
    l.virsh("hv2", "pool-refresh", "default")
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


def test(t, l):
    l.guest("hv1", "web", WEB, META='replica="image"')
    l.host("hv1", "ip", "link", "add", "br-odd", "type", "bridge")
    l.define("hv1", l.domain_xml("odd", "10.78.1.2", META='replica="image"').replace("br0", "br-odd"))
    base = l.disk("base.img", 4)
    l.define("hv1", l.domain_xml("disk", "10.78.1.3", DISK=l.disk("over.qcow2", backing=base), META='replica="image"'))
    l.guest("hv2", "foreign", "10.78.1.4", start=False)
    l.virsh("hv2", "start", "foreign", "--paused")
    l.wait_http(WEB)
    if not sys.argv[3:]:
        controllers(t, l)
    only = sys.argv[3:]
    for group in (guests, daemons, wires, refusals, power):
        if not only or group.__name__ in only:
            group(t, l)


lab.main(test, hosts=2)
