# SPDX-License-Identifier: MIT OR Apache-2.0
"""Two routers, one behind the other: a gateway of a pair, and the router on a shard's host. Prints TAP.

usage: test_bounce.py TOOL PEER   (programs of the build folder)
       peer 0 = memif = gateway = memif = host = memif = peer 1
Clients and the primary are at the gateway's first port, the shard is behind the host. What the host does not know it
sends back, once: the gateway gives that to the primary, and where both think that the other has the primary, it ends."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile

from net import wait
from peer import ACK, CONNECTIONS, PRIMARY, SHARD, Peer, Router, connections, l2, later, service, split, tcp

TOOL, PEER = (os.path.realpath(x) for x in sys.argv[1:3])
HOST = "020000000505"
DSCP_BACK = 3
done = []


def check(name, good, seen=""):
    done.append(bool(good))
    print(f"{'ok' if good else 'not ok'} {len(done)} - {name}", flush=True)
    if not good:
        print("# " + str(seen)[:900].replace("\n", "\n# "), flush=True)


class Both:
    def __init__(self, work):
        memif = lambda i, role: {"type": "memif", "socket": os.path.join(work, f"m{i}"), "role": role, "id": i}
        self.all = []
        try:
            self.gateway = self.add(Router(TOOL, work, [memif(0, "server"), memif(1, "server")], "gateway", seed=1,
                                           backends=[l2("p", PRIMARY, 0), l2("s", HOST, 1)], services=[service(pair=True)]))
            self.host = self.add(Router(TOOL, work, [memif(1, "client"), memif(2, "server")], "host", seed=1,
                                        backends=[l2("p", PRIMARY, 0), l2("s", SHARD, 1)], services=[service(host=True)]))
            self.peer = self.add(Peer(PEER, work, [f"net_memif{i},role=client,id={n},socket={os.path.join(work, f'm{n}')},socket-abstract=no" for i, n in ((0, 0), (1, 2))]))
            self.connect()
        except BaseException:
            self.close()
            raise

    def add(self, x):
        self.all.append(x)
        return x

    def close(self):
        for x in reversed(self.all):
            x.close()

    def connect(self):
        """Frames of no service go through both."""
        probe = lambda n: tcp("192.0.2.250", n, ACK, destination="203.0.113.9")
        for way in (0, 1):
            tried = [0]

            def through():
                tried[0] += 1
                self.peer.send(way, [probe(tried[0])])
                for _ in range(10):
                    self.peer.read(.02)
                return self.peer.got[way ^ 1]
            wait(through, "frames come through both")
            self.peer.send(way, [probe(60000)])
            self.peer.until(lambda: probe(60000) in self.peer.got[way ^ 1], "the last probe comes through")
        self.peer.got = {0: [], 1: []}

    def spill(self, share):
        for r, s in ((self.gateway, share), (self.host, 1)):
            r.spill(s)

    def send(self, frames, come):
        """Sends from the clients' side, waits until `come` frames have come out on both together. @return those, by port"""
        self.peer.send(0, frames)
        try:
            self.peer.until(lambda: sum(map(len, self.peer.got.values())) >= come, "", 20)
        except RuntimeError:
            pass  # what is missing is the caller's business
        return self.peer.got

    def since(self, before):
        return [{k: v - b[k] for k, v in r.counted()[1].items() if v != b[k]} for r, b in zip((self.gateway, self.host), before)]

    def counters(self):
        return [r.counted()[1] for r in (self.gateway, self.host)]


def dscp(frame):
    return frame[15] >> 2


def known(both):
    both.spill(.5)
    frames = connections(1000)
    got = both.send(frames, len(frames))
    mine, others = split(got[0]), split(got[1])
    check("new connections: the primary's at the gateway, the shard's through both, each with all of its packets",
          set(mine) == {PRIMARY} and set(others) == {SHARD} and mine[PRIMARY] + others[SHARD] == CONNECTIONS and
          .3 < others[SHARD] / CONNECTIONS < .7 and len(got[0]) + len(got[1]) == len(frames), (mine, others))
    check("none of them is marked", not any(dscp(f) for f in got[0] + got[1]))


def unknown(both):
    """As after the other one of the pair died: its spilled flows and the primary's, none of which these two have seen."""
    before, frames = both.counters(), later(3000)
    got = both.send(frames, len(frames))
    gateway, host = both.since(before)
    back = sum(dscp(f) == DSCP_BACK for f in got[0])
    check("nobody's packets all come to the primary, each once", len(got[0]) == len(frames) and not got[1] and split(got[0]) == {PRIMARY: CONNECTIONS}, (split(got[0]), split(got[1])))
    check("those that the gateway guessed to be the shard's by way of its host, marked", .3 < back / CONNECTIONS < .7 and host.get("bounce") == gateway["shard"] == back, (back, gateway, host))
    check("nothing else happened to them", gateway == {"primary": CONNECTIONS, "shard": back} and host == {"bounce": back}, (gateway, host))


def circle(both):
    """A gateway that has the primary behind the host, which has it behind the gateway."""
    g = both.gateway.control.ask("backend_set", **l2("p", HOST, 1))["generation"]
    wait(lambda: both.gateway.control.ask("switched", generation=g)["switched"], "the gateway goes by it")
    before, frames = both.counters(), later(5000)
    got = both.send(frames, 0)
    wait(lambda: both.since(before)[1].get("drop_loop", 0) >= CONNECTIONS, "the host drops them")
    probe = [tcp("192.0.2.251", 1, ACK, destination="203.0.113.9")]
    both.peer.send(0, probe)
    both.peer.until(lambda: both.peer.got[1] == probe, "what was before it has ended")
    gateway, host = both.since(before)
    check("a circle ends after one round: sent back once, dropped by name the second time",
          host == {"bounce": CONNECTIONS, "drop_loop": CONNECTIONS, "pass": 1} and sum(gateway.values()) == 2 * CONNECTIONS + 1 and not got[0], (gateway, host))
    g = both.gateway.control.ask("backend_set", **l2("p", PRIMARY, 0))["generation"]
    wait(lambda: both.gateway.control.ask("switched", generation=g)["switched"], "the gateway goes by it")
    got = both.send(later(1000), CONNECTIONS)
    check("set right again, every connection goes on where it was", set(split(got[0])) == {PRIMARY} and set(split(got[1])) == {SHARD} and
          len(got[0]) + len(got[1]) == CONNECTIONS, (split(got[0]), split(got[1])))


def main():
    r = subprocess.run([TOOL, "router", "--config", os.devnull, "--control", os.devnull], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    if r.returncode == 77:
        print(f"1..0 # SKIP {r.stdout.strip().splitlines()[-1]}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    work = tempfile.mkdtemp(prefix="spr-bounce-")
    both = None
    try:
        both = Both(work)
        for part in (known, unknown, circle):
            part(both)
        for r in (both.host, both.gateway):
            check("SIGTERM ends the router cleanly", r.stop() == 0, r.said())
    finally:
        if both:
            both.close()
        shutil.rmtree(work, ignore_errors=True)
    print(f"1..{len(done)}")
    return 0 if all(done) else 1


sys.exit(main())
