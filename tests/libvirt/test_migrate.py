# SPDX-License-Identifier: MIT OR Apache-2.0
"""Headroom on real hosts: what stands in the way is told beforehand, the primary moves in while it serves, a move that is given up
leaves the guest where it was, a replica takes the place of a primary whose host died, and asking again changes nothing."""
import json
import os
import queue
import subprocess
import sys
import threading
import time

import lab

VM, SHARED = "10.78.1.1", "/var/lib/libvirt/shared"
NAME = "spr-{:016x}-{}"


class Mover:
    """One controller (the program `move`): begin() without waiting, answer(), or both by calling it."""

    def __init__(self, l, hosts=("hv1", "hv2"), **options):
        words = [f"{k.replace('_', '-')}={v}" for k, v in dict({"lease": 3, "shared": SHARED}, **options).items()]
        self.p = l.start([sys.argv[1], *words, *(f"{h}={l.uri(h)}" for h in hosts)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.said, self.count, self.kept = queue.Queue(), 0, {}
        threading.Thread(target=lambda: [self.said.put(json.loads(line)) for line in self.p.stdout], daemon=True).start()

    def begin(self, verb, shard=1, piece=0, host="hv2", vm="web", kind="headroom", cpu=1, mib=96, fence=1, seconds=200):
        self.count += 1
        self.p.stdin.write(f"r{self.count} {verb} {kind} {shard} {piece} {fence} {vm} {host} {cpu} {mib << 20} {seconds}\n")
        self.p.stdin.flush()
        return f"r{self.count}"

    def answer(self, name, limit=220):
        while name not in self.kept:
            a = self.said.get(timeout=limit)
            self.kept[a["name"]] = a
        return self.kept.pop(name)

    def __call__(self, verb, **more):
        return self.answer(self.begin(verb, **more))

    def progress(self, vm="web"):
        self.count += 1
        self.p.stdin.write(f"p{self.count} progress {vm}\n")
        self.p.stdin.flush()
        return self.answer(f"p{self.count}")

    def shards(self):
        return self("observe", shard=0, host="-", vm="-")["shards"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.stdin.close()
        self.p.wait(timeout=60)


def done(a):
    return a["outcome"] == "done"


def running(l, host, name):
    return l.domains(host).get(name) == "running"


def refusals(t, l):
    """All that is in the way at once, with the names of hosts; nothing stays on the target."""
    begin = l.state("hv2")
    with Mover(l, shared="/nowhere") as m:
        t.check("reserved", done(m("reserve", shard=2, piece=1)))
        a = m("allocate", shard=2, piece=1)
        t.check("a disk that the target does not share is refused by name", a["outcome"] == "failed" and "vda" in a["text"] and "hv2" in a["text"], a)
        t.check("a reservation that came to nothing is given back", done(m("release", shard=2)))
    l.define("hv2", l.domain_xml("web", "10.78.1.77"))
    with Mover(l, shared="/nowhere") as m:
        a = m("allocate", shard=2, piece=1)
        t.check("all that is in the way is one text", a["outcome"] == "failed" and all(w in a["text"] for w in ("vda", "name web", "hv2", "(2)")), a)
    with Mover(l) as m:
        a = m("allocate", shard=2, piece=1)
        t.check("a name that is taken by a foreign domain is refused", a["outcome"] == "failed" and "name web" in a["text"] and "(1)" in a["text"], a)
        a = m("migrate", shard=2)
        t.check("no migration without its headroom", a["outcome"] == "failed" and "shard 2" in a["text"], a)
        l.virsh("hv2", "undefine", "web")
        a = m("allocate", shard=3, piece=1, vm="bridged")
        t.check("a bridge that is missing there is refused", a["outcome"] == "failed" and "br9" in a["text"], a)
        a = m("allocate", shard=3, piece=1, host="hv1")
        t.check("headroom beside its own VM is refused", a["outcome"] == "failed" and "hv1" in a["text"], a)
        t.check("reserved only", done(m("reserve", shard=4, piece=1)))
        a = m("migrate", shard=4)
        t.check("what is only reserved takes nobody in", a["outcome"] == "failed" and "not allocated" in a["text"], a)
        t.check("given back", done(m("release", shard=4)))
    t.same("refusals leave nothing", begin, l.state("hv2"))


def paused_for(l, seconds):
    """What a pause of that length looks like to the same client, in the same run."""
    with l.load(f"http://{VM}/", clients=2, every=0.01, timeout=20) as load:
        l.virsh("hv1", "suspend", "web")
        time.sleep(seconds)
        l.virsh("hv1", "resume", "web")
        l.wait_http(VM)
    return load.result["gap"]


def given_up(t, l):
    """Slow enough to be in the middle for long."""
    with Mover(l, hold=1, rate=1 << 20) as m:
        for verb in ("reserve", "allocate"):
            a = m(verb, shard=5, piece=1)
            t.check(f"held on the host: {verb}", done(a) and l.domains("hv2").get(NAME.format(5, "web")) == "paused", (a, l.domains("hv2")))
        for way in ("abort", "its deadline"):
            first = m.begin("migrate", shard=5, seconds=200 if way == "abort" else 8)
            seen = l.wait(lambda: (lambda p: p.get("running") and p["left"] > 0 and p)(m.progress()), 60, "progress")
            t.check(f"{way}: progress is seen while it moves", 0 <= seen["share"] < 1 and seen["from"] == "hv1" and seen["to"] == "hv2", seen)
            t.check(f"{way}: the lanes are free meanwhile", done(m("observe", shard=0, host="-", vm="-", seconds=60)))
            twice = m.begin("migrate", shard=5)
            if way == "abort":
                t.check("abort: asked for and done", done(m("abort", shard=5)))
            a, b = m.answer(first), m.answer(twice)
            want = ("cancelled", "cancelled") if way == "abort" else ("timed-out", "cancelled")
            t.check(f"{way}: both who asked are told", (a["outcome"], b["outcome"]) == want and "stays on hv1" in b["text"], (a, b))
            t.check(f"{way}: the guest is on the source and nowhere else", running(l, "hv1", "web") and "web" not in l.domains("hv2") and
                    l.http(VM)[0] == 200, (l.domains("hv1"), l.domains("hv2")))
            t.check(f"{way}: the hold is as it was", l.domains("hv2") == {NAME.format(5, "web"): "paused"}, l.domains("hv2"))
        t.check("released", done(m("release", shard=5)))
    t.same("a migration that was given up leaves nothing on the target", {}, l.domains("hv2"))


def hook(l, host, text):
    """What libvirt asks on that host before and after everything; returns what takes it away again."""
    folder = os.path.join(l.folder, host, "etc", "hooks")
    os.makedirs(folder)
    with open(os.path.join(folder, "qemu"), "w", opener=lambda p, f: os.open(p, f, 0o755)) as f:
        f.write(text)
    l.sh("kill-libvirtd", host)  # hooks are looked for when it starts
    l.sh("start", host)
    return lambda: (os.unlink(os.path.join(folder, "qemu")), os.rmdir(folder))


SMALL = """#!/bin/sh
# Refuses to start what has more than 120 MiB, as a host without room does.
[ "$2" = prepare ] || exit 0
kib=$(sed -n "s/.*<memory unit='KiB'>\\([0-9]*\\)<.*/\\1/p" | head -1)
[ "$kib" -le 122880 ] || { echo "no room for $kib KiB" >&2; exit 1; }
"""


def held(t, l):
    """What is said to be held is held: a placeholder that was killed is not, and one that cannot grow stays as it was."""
    name, remove = NAME.format(7, "web"), hook(l, "hv2", SMALL)
    with Mover(l, hold=1) as m:
        for verb in ("reserve", "allocate"):
            t.check(f"a hold: {verb}", done(m(verb, shard=7, piece=1)))
        for verb in ("allocate", "resize"):
            l.kill_guest("hv2", name)
            l.wait(lambda: l.domains("hv2")[name] == "shut off", 30, "the placeholder's end")
            seen = m.shards()[0]
            t.check("a placeholder that was killed holds nothing", seen["ready"] == 0 and seen["state"] == "draining", seen)
            a = m(verb, shard=7, piece=1)
            t.check(f"{verb} asked again brings it back", done(a) and l.domains("hv2")[name] == "paused" and m.shards()[0]["ready"] == 96 << 20,
                    (a, m.shards()))
        a = m("resize", shard=7, piece=2, cpu=0, mib=64)
        t.check("one that cannot grow says so", a["outcome"] == "failed" and "taking the memory" in a["text"] and "is held again" in a["text"], a)
        t.check("and holds what it did", l.domains("hv2")[name] == "paused" and m.shards()[0]["ready"] == 96 << 20 and
                "98304 KiB" in l.virsh("hv2", "dominfo", name).split("Max memory:")[1].split("\n")[0], m.shards())
        a = m("resize", shard=7, piece=3, cpu=0, mib=1 << 30)
        t.check("more than the host has is refused", a["outcome"] == "failed" and "hv2" in a["text"], a)
        pid = l.qemu_pid("hv2", name)
        a = m("resize", shard=7, piece=4, cpu=0.5, mib=0)
        t.check("more CPU needs no other start", done(a) and l.qemu_pid("hv2", name) == pid, a)
        a = m("resize", shard=7, piece=5, cpu=0, mib=16)
        t.check("with room it grows", done(a) and l.domains("hv2")[name] == "paused" and m.shards()[0]["ready"] == 112 << 20, (a, m.shards()))
        t.check("given back", done(m("release", shard=7)))
    remove()


def target_lost(t, l):
    """The target's daemon dies in the middle: what became of the move is not known, and not said, before it is back."""
    name = NAME.format(7, "web")
    with Mover(l, hold=1, rate=1 << 20) as m:
        for verb in ("reserve", "allocate"):
            t.check(f"target lost: {verb}", done(m(verb, shard=7, piece=1)))
        first = m.begin("migrate", shard=7)
        l.wait(lambda: (lambda p: p.get("running") and p["left"] > 0 and p)(m.progress()), 60, "progress")
        l.sh("kill-libvirtd", "hv2")
        l.wait(lambda: l.http(VM)[0] == 200, 60, "the guest")
        time.sleep(2)
        p = m.progress()
        t.check("target lost: nobody knows yet", p["running"] == 1 and p["code"] == 0 and first not in m.kept and m.said.empty(), p)
        l.sh("start", "hv2")
        a = m.answer(first)
        t.check("target lost: then it is told where the VM is", a["outcome"] == "failed" and "stays on hv1" in a["text"] and running(l, "hv1", "web"), a)
        t.check("target lost: the host that was lost is named", "the connection to hv2 was lost" in a["text"], a)
        t.check("target lost: and the hold is as it was", l.domains("hv2") == {name: "paused"} and m.shards()[0]["ready"] == 96 << 20,
                (l.domains("hv2"), m.shards()))
        t.check("target lost: given back", done(m("release", shard=7)))


def on_one_host(l):
    return [running(l, h, "web") for h in ("hv1", "hv2")].count(True) == 1 and l.http(VM)[0] == 200


def controller_killed(t, l):
    """In the middle of it: one guest, on one host, and nothing of the move stays."""
    with Mover(l, hold=1, rate=1 << 20) as m:
        for verb in ("reserve", "allocate"):
            t.check(f"controller killed: {verb}", done(m(verb, shard=12, piece=1)))
        m.begin("migrate", shard=12)
        l.wait(lambda: (lambda p: p.get("running") and p["left"] > 0)(m.progress()), 60, "progress")
        m.p.kill()
        m.p.wait()
    l.wait(lambda: on_one_host(l) and "web" not in l.domains("hv2"), 60, "the guest on one host")
    l.wait(lambda: "None" in l.virsh("hv1", "domjobinfo", "web"), 60, "the end of the move")
    with Mover(l, hold=1) as n:
        found = l.wait(lambda: n.shards(), 60, "the hold to be seen")
        t.check("controller killed: the next one finds the hold, and that only", [s["id"] for s in found] == [12], found)
        a = n("release", shard=12, fence=2)
        t.check("controller killed: and gives it back; the guest serves where it was", done(a) and on_one_host(l) and running(l, "hv1", "web") and
                l.domains("hv2") == {}, (a, l.domains("hv1"), l.domains("hv2")))
        t.check("controller killed: the source's seat goes with the next one that acts there", done(n("release", shard=12, host="hv1", fence=2)))
    t.check("controller killed: no seat is left", not [s for h in ("hv1", "hv2") for s in l.state(h)["secrets"] if s.strip()])


def under_load(t, l):
    pause = paused_for(l, 0.5)
    metadata = l.virsh("hv1", "metadata", "web", "urn:libshardpredict:vm:1")
    source = l.state("hv1")
    with Mover(l, hold=1) as m:
        for verb in ("reserve", "allocate", "allocate"):
            t.check(f"held: {verb}", done(m(verb, shard=6, piece=1)))
        with l.load(f"http://{VM}/", clients=2, every=0.01, timeout=20) as load:
            a = m("migrate", shard=6)
            l.wait_http(VM)
        t.check("the primary moves into its headroom", done(a) and running(l, "hv2", "web") and "web" not in l.domains("hv1"), (a, l.domains("hv2")))
        p = m.progress()
        t.check("what it took is known", p["rc"] == 0 and not p["running"] and p["code"] == 0 and p["share"] == 1 and p["took"] > 0 and
                p["measured"] and p["downtime"] > 0, p)
        t.note(f"migration: {p['took']:.2f} s in all, downtime {1000 * p['downtime']:.0f} ms; {load.result['asked']} requests, "
               f"{load.result['failed']} failed, longest gap {load.result['gap']} s (a pause of 0.5 s in the same run: {pause} s)")
        t.check("clients see a short gap at most", load.result["gap"] < 10 * pause and load.result["failed"] <= load.result["asked"] / 10, load.result)
        t.check("the hold is gone, nothing of ours is left on the target", NAME.format(6, "web") not in l.domains("hv2") and m.shards() == [], l.domains("hv2"))
        t.check("it carries its owner's metadata", l.virsh("hv2", "metadata", "web", "urn:libshardpredict:vm:1") == metadata)
        t.check("its definition stands on the target", "yes" in l.virsh("hv2", "dominfo", "web").split("Persistent:")[1].split("\n")[0])
        t.check("asked again: there already", done(m("migrate", shard=6)))
    with Mover(l) as m:
        t.check("another controller asks: there already", done(m("migrate", shard=6)) and running(l, "hv2", "web"))
        t.check("released twice is harmless", done(m("release", shard=6)) and done(m("release", shard=6)) and running(l, "hv2", "web"))
    left = l.state("hv1")
    without = {**source, "domains": {k: v for k, v in source["domains"].items() if k != "web"}, "links": left["links"],
               "files": [f for f in source["files"] if f != "/etc/libvirt/qemu/web.xml"]}
    t.same("the source has only lost the VM", without, left)
    t.check("no seat is left on either host", not [s for h in ("hv1", "hv2") for s in l.state(h)["secrets"] if s.strip()])


WAITS = """#!/bin/sh
# The source's last word on a migration waits until the test has looked.
[ "$1 $2" = "web release" ] || exit 0
: >/run/moved
i=0
while [ -e /run/moved ] && [ $i -lt 600 ]; do sleep 0.05; i=$((i + 1)); done
"""


def unseen(t, l):
    """The VM arrives, and the target's daemon dies before anybody has looked: it is no failure."""
    name, remove, moved = NAME.format(9, "web"), hook(l, "hv2", WAITS), os.path.join(l.folder, "hv2", "run", "moved")
    with Mover(l) as m:
        for verb in ("reserve", "allocate"):
            a = m(verb, shard=9, piece=1, host="hv1")
            t.check(f"unseen: {verb}", done(a), a)
        first = m.begin("migrate", shard=9, host="hv1")
        l.wait(lambda: os.path.exists(moved), 60, "the source's last word")
        l.sh("kill-libvirtd", "hv1")
        os.unlink(moved)
        time.sleep(2)
        p = m.progress()
        t.check("unseen: nobody knows yet", p["running"] == 1 and p["code"] == 0 and first not in m.kept and m.said.empty(), p)
        l.sh("start", "hv1")
        a, p = m.answer(first), m.progress()
        t.check("unseen: then it has arrived", done(a) and p["code"] == 0 and p["share"] == 1 and not p["running"], (a, p))
        t.check("unseen: the VM is there and its hold is gone", running(l, "hv1", "web") and "web" not in l.domains("hv2") and
                name not in l.domains("hv1"), (l.domains("hv1"), l.domains("hv2")))
    remove()


def promoted(t, l):
    """The primary's host dies; its warm replica on the other one becomes the primary, once."""
    l.guest("hv1", "shop", "10.78.1.2", DISK=l.disk("shop.qcow2", backing=l.disk("shop.img")), META='replica="image" group="shops"')
    l.virsh("hv1", "autostart", "shop")
    l.wait_http("10.78.1.2")
    name, ask = NAME.format(8, "shop"), {"shard": 8, "vm": "shop", "kind": "replica", "cpu": 0.5}
    with Mover(l, probe="http://10.78.2.2/", kernel_arg="lab.ip=10.78.2.2/16") as m:
        for verb in ("reserve", "allocate", "warm"):
            a = m(verb, piece=1, **ask)
            t.check(f"a replica: {verb}", done(a), a)
            if verb == "allocate":
                a = m("promote", **ask)
                t.check("what is not warm is not promoted", a["outcome"] == "failed" and "not warm" in a["text"], a)
        before = l.state("hv2")
        a = m("promote", **ask)
        t.check("no second primary beside one that runs", a["outcome"] == "failed" and "hv1" in a["text"] and "split brain" in a["text"], a)
        t.same("and nothing was changed", before, l.state("hv2"))
        l.sh("power-off", "hv1")
        a = m("promote", **ask)
        t.check("its host is dead: the replica is the primary", done(a) and running(l, "hv2", name), (a, l.domains("hv2")))
        if not done(a):
            return
        l.wait_http("10.78.2.2")
        owner = l.virsh("hv2", "metadata", name, "urn:libshardpredict:vm:1", "--config")
        t.check("it carries its owner's wishes and its own name", all(w in owner for w in ("replica=", "shops", "name=", "shop", "promoted=")), owner)
        t.check("and is no shard any more", l.virsh("hv2", "metadata", name, "urn:libshardpredict:shard:1", check=False).returncode != 0 and
                m.shards() == [], m.shards())
        t.check("it may use as much as the primary could", "100000" in l.virsh("hv2", "schedinfo", name).split("vcpu_quota")[1].split("\n")[0])
        t.check("it starts with its host, as the primary did", "enable" in l.virsh("hv2", "dominfo", name).split("Autostart:")[1].split("\n")[0])
        t.check("promoted twice is promoted once", done(m("promote", **ask)) and done(m("release", **ask)) and running(l, "hv2", name))
        t.check("no seat is left", not [s for s in l.state("hv2")["secrets"] if s.strip()])
    l.sh("power-on", "hv1")
    with Mover(l) as m:
        told = l.wait(lambda: [(s["id"], s["vm"], s["host"]) for s in m.shards()], 60, "the old primary being told")
        t.check("its host comes back: the old primary is told as something that should not be", told == [(0, "shop", "hv1")], told)


def test(t, l):
    disk = l.disk("web.img")
    l.guest("hv1", "web", VM, DISK=disk, DISKFORMAT="raw", META='replica="image"')
    l.define("hv1", l.domain_xml("bridged", "10.78.1.9").replace("br0", "br9"))
    l.wait_http(VM)
    refusals(t, l)
    held(t, l)
    given_up(t, l)
    target_lost(t, l)
    controller_killed(t, l)
    under_load(t, l)
    unseen(t, l)
    promoted(t, l)


lab.main(test, hosts=2)
