# SPDX-License-Identifier: MIT OR Apache-2.0
"""Ports by configuration that no other test runs: memif, vhost (a guest's virtio at its other end) and pcap. Prints TAP.

usage: test_pmds.py TOOL PEER   (programs of the build folder)
The real router on ports of its configuration file; PEER has their other ends, sends TCP of a service and says what comes
back. Needs no huge pages, no network and no root."""
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from net import wait
from peer import ACK, CONNECTIONS, Peer, PORT, PRIMARY, PUSH, Router, SHARD, SYN, VIP, address, bodies, connections, later, service, split, tcp, who

TOOL, PEER = (os.path.realpath(x) for x in sys.argv[1:3])
done = []


def check(name, good, seen=""):
    done.append(bool(good))
    print(f"{'ok' if good else 'not ok'} {len(done)} - {name}", flush=True)
    if not good:
        print("# " + str(seen)[:900].replace("\n", "\n# "), flush=True)


def say(text):
    print(f"# {text}", flush=True)


# ---- what is held ----

def connected(router, peer):
    """Frames of no service go to the neighbour port: sent until one comes out on either side, and a last one after which
    no earlier one can come."""
    probe = lambda n: tcp("192.0.2.250", n, ACK, destination="203.0.113.9")
    for port in (0, 1):
        n, end = 1, time.monotonic() + 30
        while not peer.got[port ^ 1]:
            if time.monotonic() > end:
                raise RuntimeError(f"nothing comes through from port {port}: {router.said()}")
            peer.send(port, [probe(n)])
            for _ in range(10):
                peer.read(.02)
            n += 1
        peer.send(port, [probe(60000)])
        peer.until(lambda: probe(60000) in peer.got[port ^ 1], "the last probe comes through")
        peer.got = {0: [], 1: []}


def both_ways(kind, router, peer):
    router.spill(0)
    seen, sent = peer.send(0, connections(1000), 1), connections(1000)
    check(f"{kind}: without a spill everything comes to the primary, changed in its MAC addresses only", bodies(seen) == bodies(sent) and split(seen) == {PRIMARY: CONNECTIONS}, (len(seen), split(seen)))
    check(f"{kind}: in its order", [f[12:] for f in seen] == [f[12:] for f in sent])
    router.spill(.5)
    seen, sent = peer.send(0, connections(2000), 1), connections(2000)
    by = split(seen)
    check(f"{kind}: of new connections half go to the shard, each with all of its packets", bodies(seen) == bodies(sent) and set(by) == {PRIMARY, SHARD} and .3 < by[SHARD] / CONNECTIONS < .7, (len(seen), by))
    shards = {who(f) for f in seen if f[:6].hex() == SHARD}
    seen = peer.send(0, later(1000), 1)
    check(f"{kind}: older ones stay with the primary", len(seen) == CONNECTIONS and split(seen) == {PRIMARY: CONNECTIONS}, split(seen))
    router.spill(0)
    seen = peer.send(0, later(2000), 1)
    check(f"{kind}: spilled ones stay with the shard when the spill ends", len(seen) == CONNECTIONS and {who(f) for f in seen if f[:6].hex() == SHARD} == shards, split(seen))
    seen = peer.send(0, connections(3000), 1)
    check(f"{kind}: and new ones go to the primary", split(seen) == {PRIMARY: CONNECTIONS} and len(seen) == 4 * CONNECTIONS, split(seen))
    answers = [tcp(VIP, PORT, PUSH, b"y" * n, destination="192.0.2.1", to=5000 + n) for n in range(0, 1400, 7)]
    seen = peer.send(1, answers, 0)
    check(f"{kind}: answers go back untouched", seen == answers, len(seen))


def balance(kind, before, after, sent, came):
    c = {k: v - before[1][k] for k, v in after[1].items()}
    received, out = after[0] - before[0], sum(c[k] for k in ("primary", "shard", "pass", "return", "bounce", "reply"))
    drops = {k: v for k, v in c.items() if k.startswith("drop_") and v}
    check(f"{kind}: received what was sent, forwarded what came, nothing dropped", received == sent == out == came and not drops, (received, sent, out, came, drops))
    check(f"{kind}: as many to the shard as it got", c["shard"] > 0 and c["syn_spilled"] == c["flow_new"] > 0, c)


def lazy(kind, work, ports, devices, naps):
    """An idle router waits as its ports can, uses little of a processor, and the first packet wakes it."""
    lcore = lambda router: router.control.ask("stats")["lcores"][0]
    used = {}
    for way in ("nap", "interrupt"):
        router = peer = None
        try:
            inside = os.path.join(work, way)
            os.mkdir(inside)
            router = Router(TOOL, inside, ports(inside), idle=way)
            peer = Peer(PEER, inside, devices(inside))
            connected(router, peer)
            seen = lcore(router)
            expected = {"idle": "nap"} if way == "nap" else naps or {"idle": "interrupt"}
            check(f"{kind}: told to {way} it says how it waits", {k: seen.get(k) for k in ("idle", "lacking")} == {"lacking": None, **expected}, seen)
            time.sleep(.5)  # past the back-off
            router.control.ask("stats")
            used[way] = min(time.sleep(.3) or router.control.ask("stats")["cpu"] for _ in range(4))  # the window that least disturbed
            if way == "interrupt" and not naps:
                wakes(kind, router, peer)
            check(f"{kind}: and ends at once ({way})", router.stop() == 0, router.said())
        finally:
            for x in (peer, router):
                if x:
                    x.close()
    say(f"{kind}: share of a processor, idle: {used}")
    if not naps:
        check(f"{kind}: waiting for interrupts costs less than a third of napping", used["interrupt"] < used["nap"] / 3, used)


def wakes(kind, router, peer):
    """One packet at a time, each to a sleeping lcore: the device wakes it, not the end of its sleep."""
    before, n = router.control.ask("stats")["lcores"][0]["woken"], 40
    frames = [tcp("192.0.2.250", 100 + i, ACK, destination="203.0.113.9") for i in range(n)]
    came, took = 0, []
    for i, f in enumerate(frames):
        time.sleep(.05)  # past the back-off again
        began = time.monotonic()
        came += peer.send(i % 2, [f], i % 2 ^ 1) == [f]
        took.append(time.monotonic() - began)
    woken = router.control.ask("stats")["lcores"][0]["woken"] - before
    say(f"{kind}: {woken} of {n} packets woke it, there and back in {sorted(took)[n // 2] * 1e3:.1f} ms (median), {max(took) * 1e3:.1f} (longest)")
    check(f"{kind}: packets wake a sleeping lcore and come through", came == n and woken >= n * .8, (came, woken))
    commits = []
    for share in (.5, 0) * 5:
        time.sleep(.03)
        began = time.monotonic()
        router.spill(share)
        commits.append(time.monotonic() - began)
    check(f"{kind}: commits wake it, their median in force within 2 ms", sorted(commits)[4] < .002, commits)
    say(f"{kind}: a commit while it sleeps is in force after {sorted(commits)[4] * 1e3:.1f} ms (median)")
    sent = connections(4000)
    seen = peer.send(0, sent, 1)
    check(f"{kind}: and all of a crowd after that", bodies(seen) == bodies(sent) and split(seen) == {PRIMARY: CONNECTIONS}, (len(seen), split(seen)))


def pair(kind, ports, devices, naps=None):
    began, work = time.monotonic(), tempfile.mkdtemp(prefix="spr-pmds-")
    router = peer = None
    try:
        router = Router(TOOL, work, ports(work))
        peer = Peer(PEER, work, devices(work))
        connected(router, peer)
        before, sends, whole, came = router.counted(), 0, peer.send, 0

        def counting(port, frames, expect=None):
            nonlocal sends, came
            seen = whole(port, frames, expect)
            sends, came = sends + len(frames), came + len(seen)
            return seen
        peer.send = counting
        both_ways(kind, router, peer)
        balance(kind, before, router.counted(), sends, came)
        check(f"{kind}: the peer ends, and the router goes on", peer.stop() == 0 and router.control.ask("stats"))
        check(f"{kind}: SIGTERM ends the router cleanly", router.stop() == 0, router.said())
        lazy(kind, work, ports, devices, naps)
        say(f"{kind}: {sends} frames, {time.monotonic() - began:.1f} s")
    finally:
        for x in (peer, router):
            if x:
                x.close()
        shutil.rmtree(work, ignore_errors=True)


def memif():
    """The router listens on two sockets, the peer's memory is shared through them."""
    path = lambda work, i: os.path.join(work, f"memif{i}")
    pair("memif", lambda work: [{"type": "memif", "socket": path(work, i), "role": "server", "id": i} for i in (0, 1)],
         lambda work: [f"net_memif{i},role=client,id={i},socket={path(work, i)},socket-abstract=no" for i in (0, 1)], naps={"idle": "nap", "lacking": "net_memif0"})


def vhost():
    """As a hypervisor has it: the router is the backend of two virtio devices of one guest."""
    path = lambda work, i: os.path.join(work, f"vhost{i}")
    pair("vhost", lambda work: [{"type": "vhost", "socket": path(work, i)} for i in (0, 1)],
         lambda work: [f"net_virtio_user{i},path={path(work, i)},queues=1,mac=02:00:00:00:06:0{i}" for i in (0, 1)])


# ---- pcap ----

def write_pcap(path, frames):
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for i, x in enumerate(frames):
            f.write(struct.pack("<IIII", 1700000000, i, len(x), len(x)) + x)


def read_pcap(path):
    with open(path, "rb") as f:
        data = f.read()
    order = "<" if struct.unpack("<I", data[:4])[0] in (0xa1b2c3d4, 0xa1b23c4d) else ">"
    at, frames = 24, []
    while at < len(data):
        kept, was = struct.unpack(order + "8xII", data[at:at + 16])
        frames.append(data[at + 16:at + 16 + kept])
        assert kept == was == len(frames[-1])
        at += 16 + kept
    return frames


def pcap():
    """From files to files: a port that has been read is a port where nothing comes."""
    began, work = time.monotonic(), tempfile.mkdtemp(prefix="spr-pmds-")
    name = lambda i, way: os.path.join(work, f"{way}{i}.pcap")
    others = [tcp("192.0.2.9", 7000 + i, ACK, destination="203.0.113.9") for i in range(50)]
    broken = bytearray(tcp("192.0.2.9", 7100, SYN))
    broken[24] ^= 1
    come, back = connections(1000) + others + [bytes(broken)], [tcp(VIP, PORT, PUSH, b"z" * n, destination="192.0.2.1", to=6000 + n) for n in range(300)]
    router = None
    try:
        write_pcap(name(0, "in"), come)
        write_pcap(name(1, "in"), back)
        router = Router(TOOL, work, [{"type": "pcap", "receive": name(i, "in"), "send": name(i, "out")} for i in (0, 1)])
        wait(lambda: router.counted()[0] == len(come) + len(back), "the files are read")
        c = router.counted()[1]
        code = router.stop()
        seen = read_pcap(name(1, "out"))
        mine = [f for f in seen if f[30:34] == address(VIP)]
        check("pcap: the service's packets go to the primary, changed in their MAC addresses only", [f[12:] for f in mine] == [f[12:] for f in connections(1000)] and split(mine) == {PRIMARY: CONNECTIONS}, (len(seen), split(mine)))
        check("pcap: those of others go on untouched", [f for f in seen if f[30:34] != address(VIP)] == others, len(seen))
        check("pcap: and the other way", read_pcap(name(0, "out")) == back)
        check("pcap: a packet with a wrong checksum is dropped and counted as that", c["drop_checksum"] == 1 and c["primary"] == 4 * CONNECTIONS and c["pass"] == len(others) + len(back), c)
        check("pcap: SIGTERM ends the router cleanly", code == 0, router.said())
        say(f"pcap: {len(come) + len(back)} frames, {time.monotonic() - began:.1f} s")
    finally:
        if router:
            router.close()
        shutil.rmtree(work, ignore_errors=True)


def main():
    r = subprocess.run([TOOL, "router", "--config", os.devnull, "--control", os.devnull], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    if r.returncode == 77:
        print(f"1..0 # SKIP {r.stdout.strip().splitlines()[-1]}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for part in (pcap, memif, vhost):
        part()
    print(f"1..{len(done)}")
    return 0 if all(done) else 1


sys.exit(main())
