# SPDX-License-Identifier: MIT OR Apache-2.0
"""A replica's whole life on another host, with a disk, in each of the three ways to wait; what is foreign stays as it is."""
import ctypes
import json
import mmap
import os
import re
import time

import lab
import means
from shards import Drive, done

VM, SHARD = "10.78.1.1", "spr-{:016x}-web"


def address(shard):
    """Each has its own: a client that knows another machine by it would look for that one for half a minute."""
    return f"10.78.2.{shard}"


def drive(l, shard, **more):
    return Drive(l, probe=f"http://{address(shard)}/", kernel_args=[f"lab.ip={address(shard)}/16", "lab.name=replica"], lease=3, idle=1,
                 pool="default", **more)


def quota(l, name):
    return int(re.search(r"vcpu_quota\s*: (-?\d+)", l.virsh("hv2", "schedinfo", name)).group(1))


def meta(l, name):
    return dict(re.findall(r'([\w-]+)=["\']([^"\']*)["\']', l.virsh("hv2", "metadata", name, "urn:libshardpredict:shard:1", "--config")))


def timed_get(l, ours):
    began = time.monotonic()
    code = l.http(ours)[0]
    return code, 1000 * (time.monotonic() - began)


def a_life(t, l, d, shard, warm):
    name, ours, begin = SHARD.format(shard), address(shard), l.state("hv2")
    step = lambda verb, piece=0: d(verb, shard, piece)
    a = step("reserve", 1)
    t.check(f"{warm}: reserved on the host, not running", done(a) and l.domains("hv2").get(name) == "shut off", a)
    again = step("reserve", 1)
    t.check(f"{warm}: asked twice, the second answer is the first one's", done(again) and again["held"] == 0.5, again)
    a = step("allocate", 1)
    t.check(f"{warm}: allocated, started and not running yet", done(a) and l.domains("hv2").get(name) == "paused", a)
    if warm == "saved":
        l.virsh("hv2", "destroy", name)  # as if its maker had died before it could start it
        a = step("allocate", 1)
        t.check("saved: defined, but not started: asked again it is made once more", done(a) and l.domains("hv2").get(name) == "paused", a)
    overlays = [f for f in l.files("hv2") if name in f and f.endswith(".qcow2")]
    t.check(f"{warm}: its disk is an overlay of its own", len(overlays) == 1 and "base.img" in
            l.host("hv2", "qemu-img", "info", "-U", overlays[0]).stdout, overlays)
    t.check(f"{warm}: half a core is its limit", quota(l, name) == 50000, quota(l, name))
    w = step("warm", 1)
    state = {"paused": "paused", "saved": "shut off", "running": "running"}[warm]
    t.check(f"{warm}: warm and waiting", done(w) and w["warmness"] >= 0.99 and l.domains("hv2").get(name) == state, (w, l.domains("hv2")))
    seen = d.shards()[shard]
    t.check(f"{warm}: observed as warm", seen["state"] == "warm" and seen["ready"] == 0.5 and seen["pending"] == 0, seen)
    if warm == "running":
        t.check("running: idle with a tenth of its CPU", quota(l, name) == 5000, quota(l, name))
        b = d("resize", shard, 7, cpu=0.25, mib=16)
        t.check("running: a growth is idle as well", done(b) and quota(l, name) == 7500, (b, quota(l, name)))
        b = step("release", 7)
        t.check("running: and given back it leaves it idle", done(b) and quota(l, name) == 5000, (b, quota(l, name)))
    v = step("activate")
    code, first = timed_get(l, ours)
    t.check(f"{warm}: serves HTTP from the other host", done(v) and code == 200, (v, code))
    t.check(f"{warm}: its limit is lifted to the whole amount", quota(l, name) == 50000, quota(l, name))
    l.http(ours, "/write?3")
    read = [l.http(ours, f"/read?{i}")[1].strip(".\n") for i in (2, 3)]
    t.check(f"{warm}: reads the base image, writes to its own", read == ["base.img KiB 2", "replica"], read)
    m = meta(l, name)
    t.note(f"{warm}: reserve {again['ms']:.0f} ms, allocate {a['ms']:.0f} ms, boot and warm {w['ms']:.0f} ms, to the first answer from warm "
           f"{v['ms']:.0f} ms (asked from cold: {a['ms'] + w['ms']:.0f} ms), an answer then {first:.0f} ms with curl's start; "
           f"metadata: { {k: v for k, v in m.items() if k not in ('id', 'fence', 'vm', 'probe', 'owner')} }")
    t.check(f"{warm}: activated twice is activated once", done(step("activate")))
    r = step("drain", 2)
    t.check(f"{warm}: drained when nothing moves", done(r) and d.shards()[shard]["state"] == "draining", (r, d.shards()))
    r = step("release")
    t.check(f"{warm}: released", done(r) and done(step("release")), r)
    t.same(f"{warm}: nothing is left, and what was there is as it was", begin, l.state("hv2"))
    return a["ms"] + w["ms"], v["ms"]


def waiting(t, l, d):
    """Asked for in the request, changed while it waits, asked twice; what each way back takes is kept under its own name."""
    name, shard = SHARD.format(7), 7
    looks = {"paused": "paused", "saved": "shut off", "running": "running"}
    for verb in ("reserve", "allocate"):
        t.check(f"waiting: {verb}", done(d(verb, shard, 1)))
    a = d("warm", shard, 1, warm="saved")
    t.check("waiting: saved, because the request says so", done(a) and l.domains("hv2").get(name) == "shut off" and a["warmness"] >= 0.99, a)
    boot, cold = float(meta(l, name)["boot-s"]), d("capabilities")["warm"]
    t.check("waiting: what was not measured is no slower than a boot", cold["saved"][0] == cold["paused"][0] > 0, cold)
    times = {}
    for warm in ("paused", "saved", "running", "paused", "running", "saved"):
        a = d("warm", shard, 0, warm=warm)
        t.check(f"waiting: now {warm}", done(a) and l.domains("hv2").get(name) == looks[warm] and meta(l, name)["warm"] == warm,
                (a, l.domains("hv2").get(name), meta(l, name)))
        times.setdefault(warm, []).append(round(a["ms"]))
        b = d("warm", shard, 0, warm=warm)
        t.check(f"waiting: {warm} twice is {warm} once", done(b) and b["ms"] < max(500, a["ms"]), (a, b))
        limit = 5000 if warm == "running" else 50000
        t.check(f"waiting: {warm} has its CPU", quota(l, name) == limit or warm == "saved", quota(l, name))
    s = d.shards()[shard]
    t.check("waiting: it is warm all the time", s["state"] == "warm" and s["ready"] == 0.5, s)
    m = meta(l, name)
    t.check("waiting: coming back from disk is a restore and no boot", float(m["boot-s"]) == boot and 0 < float(m["restore-s"]) < boot, m)
    with drive(l, shard, fence=2, owner="restarted") as e:
        e("observe")
        c = e("capabilities")
        same = lambda a, b: a > 0 and abs(a - b) <= 1e-4 * b
        t.check("waiting: a controller that has just started knows what was measured there", same(c["warm"]["saved"][0], float(m["restore-s"]))
                and same(c["warm_s"], boot) and same(c["allocate_s"], float(m["allocate-s"])), (c, m))
        a = e("activate", shard)
        t.check("waiting: serves from where it was", done(a) and l.http(address(shard))[0] == 200 and quota(l, name) == 50000, (a, quota(l, name)))
        b = e("warm", shard, 0, warm="saved")
        t.check("waiting: what serves is not laid down", not done(b) and l.domains("hv2").get(name) == "running", b)
        c = e("capabilities")
        t.check("waiting: each way has its price", c["warm"]["paused"][2:] == [1, 0] and c["warm"]["saved"][2:] == [0, 0] and
                c["warm"]["running"][2:] == [1, 0.1], c)
        t.note(f"waiting: ms into each state {times}, figures now {c}")
        t.check("waiting: released", done(e("release", shard)) and name not in l.domains("hv2"))


def growing(t, l, d):
    """Live limits, and numbers that were used up."""
    name = SHARD.format(9)
    for verb, piece in (("reserve", 1), ("allocate", 1), ("warm", 1), ("activate", 0)):
        a = d(verb, 9, piece)
        t.check(f"growing: {verb}", done(a), a)
    a = d("resize", 9, 2, cpu=0.25, mib=16)
    t.check("growing: a growth is held at once", done(a) and d.shards()[9]["pending"] == 0.25 and quota(l, name) == 75000, (a, quota(l, name)))
    a = d("resize", 9, 2, cpu=0.125, mib=16)
    t.check("growing: a pending one can become smaller", done(a) and d.shards()[9]["pending"] == 0.125 and quota(l, name) == 62500, quota(l, name))
    a = d("warm", 9, 2)
    t.check("growing: it is part of what is ready then", done(a) and d.shards()[9]["ready"] == 0.625, d.shards())
    a = d("release", 9, 3)
    b = d("resize", 9, 3, cpu=0.25, mib=16)
    t.check("growing: one that was given back before it was heard of never comes", done(a) and done(b) and d.shards()[9]["pending"] == 0, d.shards())
    a = d("drain", 9, 4, cpu=0.125, mib=0)
    t.check("growing: a part is drained at once", done(a) and d.shards()[9]["ready"] == 0.5 and quota(l, name) == 50000, (a, d.shards(), quota(l, name)))
    t.check("growing: it serves all the time", l.http(address(9))[0] == 200)


def fences(t, l, d):
    """Somebody with a higher number takes the host over; a restarted controller finds what is there."""
    with drive(l, 9, fence=7, owner="second") as e:
        found = e.shards()
        t.check("fences: a new controller finds the shard", found.get(9, {}).get("state") == "serving" and found[9]["fence"] == 2, found)
        a = e("adopt", 9)
        t.check("fences: and adopts it", done(a) and e.shards()[9]["fence"] == 7, a)
        a = d("resize", 9, 20, cpu=0.1, mib=8)
        t.check("fences: the old one may change nothing any more", a["code"] == -10 or "fence" in a["text"], a)
        a = d("release", 9)
        t.check("fences: nor take it away", not done(a) and l.domains("hv2").get(SHARD.format(9)) == "running", a)
        a = e("release", 9)
        t.check("fences: the new one may", done(a) and SHARD.format(9) not in l.domains("hv2"), a)


def refusals(t, l, d):
    """What is not ours is left alone, whatever its name; a refusal names the host and the reason, and leaves nothing."""
    l.define("hv2", l.domain_xml(SHARD.format(5), "10.78.2.5"))
    begin = l.state("hv2")
    a = d("reserve", 5, 1)
    t.check("a foreign domain with a shard's name is in the way, and told", a["outcome"] == "failed" and "hv2" in a["text"] and
            "left alone" in a["text"], a)
    for verb, piece in (("release", 0), ("release", 1), ("abort", 1)):
        t.check(f"it is not there for {verb} {piece}", done(d(verb, 5, piece)))
    for verb in ("warm", "activate", "drain", "adopt"):
        t.check(f"it is not there for {verb}", d(verb, 5, 1)["outcome"] == "failed")
    l.virsh("hv2", "start", SHARD.format(5), "--paused")
    seen = d("observe")["shards"]
    t.check("while it runs it is reported as foreign", [s["id"] for s in seen] == [0], seen)
    l.virsh("hv2", "destroy", SHARD.format(5))
    a = d("allocate", 6, 1, mib=1 << 30)
    t.check("more than the host has is refused", a["outcome"] == "failed" and "hv2" in a["text"], a)
    a = d("allocate", 6, 1, vm="nobody")
    t.check("a VM that is nowhere is refused", a["outcome"] == "failed" and "nobody" in a["text"], a)
    with drive(l, 6, fence=8, owner="fourth") as e:
        a = e("allocate", 6, 1, host="hv1", vm="plain")
        t.check("a disk without a base image is refused with its name", a["outcome"] == "failed" and "vda" in a["text"], a)
    t.same("after all of this the host is as it was", begin, l.state("hv2"))
    l.virsh("hv2", "undefine", SHARD.format(5))


def names(t, l, d):
    """A shard is what its metadata says, whatever it is called; what carries a copy of that is none."""
    name, begin = SHARD.format(30), l.state("hv2")
    t.check("names: reserved", done(d("reserve", 30, 1)))
    xml = re.sub("<uuid>.*</uuid>", "<uuid>11111111-2222-4333-8444-555555555555</uuid>", l.virsh("hv2", "dumpxml", "--inactive", name))
    l.define("hv2", xml.replace(f"<name>{name}<", "<name>copied<"))
    copy = l.virsh("hv2", "dumpxml", "--inactive", "copied")
    t.check("names: a copy of its domain is no second shard", [s["id"] for s in d("observe")["shards"]] == [30], d.shards())
    l.virsh("hv2", "domrename", name, "mine")
    t.check("names: renamed it is seen", d.shards()[30]["state"] == "reserved", d.shards())
    a = d("allocate", 30, 1)
    t.check("names: and found, and called as shards are", done(a) and l.domains("hv2").get(name) == "paused" and "mine" not in l.domains("hv2"),
            (a, l.domains("hv2")))
    l.virsh("hv2", "destroy", name)
    l.virsh("hv2", "domrename", name, "mine")
    a = d("release", 30)
    t.check("names: renamed it is released", done(a) and not {name, "mine"} & set(l.domains("hv2")), (a, l.domains("hv2")))
    t.check("names: the copy is as it was", l.virsh("hv2", "dumpxml", "--inactive", "copied") == copy)
    l.virsh("hv2", "undefine", "copied")
    t.same("names: the host is as it was", begin, l.state("hv2"))


def faults(t, l, d):
    """A full disk and a killed guest: said, and nothing stays."""
    l.sh("disk", "hv2", "small", 8)
    begin = l.state("hv2")
    l.sh("disk", "hv2", "fill")
    a = d("allocate", 20, 1)
    l.sh("disk", "hv2", "free")
    t.check("a full disk is told with its pool", a["outcome"] == "failed" and "'default'" in a["text"] and "full" in a["text"], a)
    t.same("and leaves nothing", begin, l.state("hv2"))
    for verb, piece in (("reserve", 1), ("allocate", 1), ("warm", 1), ("activate", 0)):
        a = d(verb, 21, piece)
        t.check(f"with room again: {verb}", done(a), a)
    l.kill_guest("hv2", SHARD.format(21))
    l.wait(lambda: l.domains("hv2")[SHARD.format(21)] == "shut off", 30, "the guest's end")
    seen = d.shards()[21]
    t.check("a killed guest has nothing ready any more", seen["ready"] == 0 and seen["warmness"] == 0 and seen["state"] == "draining", seen)
    t.check("and is released as any other", done(d("release", 21)))
    t.same("which leaves nothing", begin, l.state("hv2"))


PAGE, HOT_AT, HOT_STEP, HOT_COUNT, KIB64 = os.sysconf("SC_PAGESIZE"), 4 << 20, 704 << 10, 60, 64 << 10


def cached(path):
    """A byte a page of the file: is it in the page cache (mincore)?"""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        out = (ctypes.c_ubyte * -(-size // PAGE))()
        where = libc.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED, f.fileno(), ctypes.c_long(0))
    wrong = libc.mincore(ctypes.c_void_p(where), ctypes.c_size_t(size), out)
    libc.munmap(ctypes.c_void_p(where), ctypes.c_size_t(size))
    if wrong:
        raise OSError(ctypes.get_errno(), "mincore", path)
    return [b & 1 for b in out]


def share(pages, at, length):
    part = pages[at // PAGE:(at + length) // PAGE]
    return sum(part) / len(part)


def evict(path):
    with open(path, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def hot(t, l):
    """What the first replica of an image read while it booted is read ahead first for the next one."""
    path, reads = os.path.join(l.folder, "shared", "big.img"), f"lab.reads={HOT_AT >> 10}:{HOT_STEP >> 10}:{HOT_COUNT}"
    base = l.disk("big.img", 48)
    with open(path, "r+b") as f:
        f.write(os.urandom(48 << 20))
    l.guest("hv1", "db", "10.78.1.5", start=False, DISK=l.disk("db.qcow2", backing=base), META='replica="image"')

    def near(pages):
        return sum(share(pages, HOT_AT + i * HOT_STEP, KIB64) for i in range(HOT_COUNT)) / HOT_COUNT, share(pages, 0, 4 << 20)

    def boot(d, shard):
        """-> what it took, and (hot, begin of the image) in the page cache when one of them first was nearly whole."""
        evict(path)
        l.fab(["ip", "neigh", "flush", "all"])  # the next one has the same address and is another machine
        took = [d(verb, shard, 1) for verb in ("reserve", "allocate")]
        d.send("warm", shard, 1)
        l.wait(lambda: max(near(cached(path))) > 0.9, 120, "something of the image to be read ahead")
        first = near(cached(path))
        took.append(d.answer())
        overlay = [f for f in l.files("hv2") if f"spr-{shard:016x}-db" in f and f.endswith(".qcow2")]
        own = json.loads(l.host("hv2", "qemu-img", "info", "-U", "--output=json", *overlay).stdout)["actual-size"]
        took.append(d("release", shard))
        t.check(f"hot: replica {shard} was warm and is released", all(done(a) for a in took), took)
        return round(took[2]["ms"]), tuple(round(x, 2) for x in first), own >> 10

    with Drive(l, vm="db", prefetch=8e6, owner="first", fence=1, probe=f"http://{address(41)}/", lease=3, idle=1, pool="default",
               kernel_args=[f"lab.ip={address(41)}/16", "lab.name=replica", reads]) as d:
        first, again = boot(d, 41), boot(d, 42)
    t.check("hot: the first one's image was read from its beginning", first[1][1] > 0.9 and first[1][0] < 0.5, first)
    t.check("hot: and what it read is in its overlay", first[2] >= HOT_COUNT * 64, first)
    t.check("hot: the next one's is read in another order: first what the first one read", again[1][0] > 0.9 and again[1][1] < 0.5, again)
    t.check("hot: whose overlay copies nothing any more", again[2] < first[2] / 4, (first, again))
    t.note(f"hot: boot and warm with an image that is not in the page cache: in order {first[0]} ms, what is hot first {again[0]} ms, at 8 MB/s")
    l.virsh("hv1", "undefine", "db")


def test(t, l):
    base = l.disk("base.img")
    over = l.disk("web.qcow2", backing=base)
    l.guest("hv1", "web", VM, DISK=over, META='replica="image"')
    l.guest("hv1", "plain", "10.78.1.9", start=False, DISK=l.disk("plain.img"), DISKFORMAT="raw", META='replica="image"')
    for name, ip in (("web", "10.78.3.1"), ("web-shard-1", "10.78.3.2"), ("spr-web", "10.78.3.3")):
        l.guest("hv2", name, ip, start=False)
    l.wait_http(VM)
    begin = {h: l.state(h) for h in l.hosts}
    for shard, warm in enumerate(("paused", "saved", "running"), 1):
        with drive(l, shard, warm=warm, owner="first") as d:
            cold, quick = a_life(t, l, d, shard, warm)
            t.check(f"{warm}: answers sooner than from cold", quick < cold, (quick, cold))
    hot(t, l)
    for f in ("big.img", "db.qcow2"):
        os.remove(os.path.join(l.folder, "shared", f))
    with drive(l, 7, owner="first") as d:
        waiting(t, l, d)
    with drive(l, 9, fence=2, owner="restarted") as d:
        growing(t, l, d)
        fences(t, l, d)
    with drive(l, 5, fence=8, owner="third") as d:
        refusals(t, l, d)
        c = d("capabilities")
        t.check("what was measured is what a host is expected to take", c["code"] == 0, c)
    with drive(l, 21, fence=9, owner="fifth") as d:
        names(t, l, d)
        faults(t, l, d)
    for h in l.hosts:
        t.same(f"{h} is as it was", begin[h], l.state(h))
    means.test(t, l)


lab.main(test, hosts=2, bandwidth=True)
