# SPDX-License-Identifier: MIT OR Apache-2.0
"""The router between real kernels' TCP: spill, drain, deaths, restart, churn. Prints TAP, figures as diagnostics.

usage: test_namespaces.py TOOL SERVER CLIENT DRIVER QUEUES   (http_server, http_client; af_xdp 1 or af_packet 2)
Needs root, iproute2, ethtool, wrk and iperf3; see net.py for the bed. Each connection of http_client must be answered by one
server from its first answer to its last: that is what "moved" counts."""
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

from net import CLIENT, HOLDER, SERVERS, SOURCES, VIP, Bed, wait

TOOL, SERVER, CLIENT_PROGRAM = map(os.path.realpath, sys.argv[1:4])
DRIVER, QUEUES = sys.argv[4], int(sys.argv[5])
ON_DEAD = "reset" if DRIVER == "af_packet" else "primary"  # each policy is walked once
CONNECTIONS, COMMITS_PER_S = 100000, 100
done = []


def check(name, good, seen=""):
    done.append(bool(good))
    print(f"{'ok' if good else 'not ok'} {len(done)} - {DRIVER}: {name}", flush=True)
    if not good:
        print("# " + str(seen)[:900].replace("\n", "\n# "), flush=True)


def say(text):
    print(f"# {DRIVER}: {text}", flush=True)


# ---- loads ----

class Clients:
    """A run of http_client; `look` is what it saw so far."""

    def __init__(self, bed, sender=CLIENT, sources=SOURCES, **options):
        self.p = bed.start("cl", CLIENT_PROGRAM, VIP, "80", f"from={sender}", f"sources={sources}", *(f"{k}={v}" for k, v in options.items()),
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.bed = bed

    def look(self):
        self.p.stdin.write("\n")
        self.p.stdin.flush()
        return json.loads(self.p.stdout.readline())

    def end(self):
        """Waits for the end, or brings it where there is none."""
        seen = json.loads(self.p.stdout.readline()) if self.p.poll() is None and self.ends else None
        self.p.stdin.close()
        seen = seen or json.loads(self.p.stdout.readline())
        self.p.wait(60)
        self.bed.running.remove(self.p)
        return seen

    ends = True


class Holders(Clients):
    """Connections that live, and ask something every 50 ms."""
    ends = False

    def __init__(self, bed, count):
        super().__init__(bed, HOLDER, 1, connections=0, at_once=count, think_ms=50)
        wait(lambda: sum(count_of(self.look()).values()) == count, f"{count} connections are answered")


def count_of(seen):
    return {k: v["connections"] for k, v in seen["servers"].items() if v["connections"]}


def errors_of(seen):
    return {k: v["errors"] for k, v in seen["servers"].items() if v["errors"]}


def is_clean(seen):
    return not errors_of(seen) and not seen["moved"] and seen["opened"] == seen["finished"]


def new_connections(bed, n, **more):
    return Clients(bed, connections=n, at_once=more.pop("at_once", 48), **{"requests": 2, **more}).end()


def wrk(bed, name, *more):
    out = bed.inside("cl", "wrk", "-t1", "-c32", "-d3s", "--timeout", "20s", *more, f"http://{VIP}/", check=False)
    rate = re.search(r"Requests/sec:\s*([0-9.]+)", out)
    check(f"wrk, {name}: no socket error, no answer but 200", rate and float(rate[1]) > 0 and "Socket errors" not in out and "Non-2xx" not in out, out)
    say(f"wrk, {name}: {rate[1] if rate else 'no'} requests/s")


class Bulk:
    """iperf3 from the client through the service's address, while the routes change."""

    def __init__(self, bed, seconds):
        self.server = bed.start("p", "iperf3", "-s", "-1", "-B", VIP)
        wait(lambda: ":5201 " in bed.inside("p", "ss", "-Hltn"), "iperf3 listens")
        self.p = bed.start("cl", "iperf3", "-c", VIP, "-t", str(seconds), "-J", stdout=subprocess.PIPE)
        self.bed = bed
        wait(lambda: stats(bed, "bulk").get("bytes", 0) > 1000000, "iperf3 sends")

    def end(self):
        out = json.loads(self.p.communicate(timeout=120)[0])
        self.bed.running.remove(self.p)
        self.bed.kill(self.server)
        sent = out.get("end", {}).get("sum_received", {})
        check("iperf3 over changes of the spill: no reset", self.p.returncode == 0 and "error" not in out and sent.get("bytes", 0) > 0, out.get("error"))
        say(f"iperf3: {sent.get('bits_per_second', 0) / 1e6:.0f} Mb/s, {out.get('end', {}).get('sum_sent', {}).get('retransmits', 0)} segments sent again")


# ---- the walk ----

def spill(bed, service="web", ramp=0, **weights):
    """Sets shares of new connections and waits until every lcore goes by them."""
    g = bed.control.ask("spill_set", service=service, weights=weights, ramp_per_s=ramp)["generation"]
    wait(lambda: bed.control.ask("switched", generation=g)["switched"], "lcores switch")


def stats(bed, service="web"):
    return bed.control.ask("stats")["services"][service]


def near(seen, weights, slack):
    shares = count_of(seen)
    return all(abs(shares.get(k, 0) / sum(shares.values()) - weights.get(k, 0)) <= slack for k in SERVERS)


def spill_on_and_off(bed):
    old = Holders(bed, 48)
    bulk = Bulk(bed, 14)
    weights, shares = {"s1": .2, "s2": .15, "s3": .15}, []
    spill(bed, ramp=.25, **weights)
    spill(bed, service="bulk", s1=.5, s2=.5)

    def there():
        shares.append(stats(bed).get("share", 0))
        return shares[-1] >= .4999
    wait(there, "the ramp ends")
    check("the share rises by a ramp", shares == sorted(shares) and len({round(x, 3) for x in shares if .01 < x < .49}) >= 3, shares[:40])
    seen = new_connections(bed, 6000)
    check("new connections go by their weights", is_clean(seen) and near(seen, {"p": .5, **weights}, .04), seen)
    say(f"shares of 6000 connections at 0.5/0.2/0.15/0.15: {count_of(seen)}")
    new = Holders(bed, 64)
    wrk(bed, "connections kept, half spilled")
    wrk(bed, "a connection each, half spilled", "-H", "Connection: close")
    check("connections older than the spill stay with the primary", count_of(old.look()) == {"p": 48} and not errors_of(old.look()), old.look())
    spill(bed)
    spill(bed, service="bulk")
    seen = new_connections(bed, 2000)
    check("after the spill all new ones go to the primary", is_clean(seen) and count_of(seen) == {"p": 2000}, seen)
    check("spilled ones stay where they are", len(count_of(new.look())) == 4 and not errors_of(new.look()), new.look())
    bulk.end()
    a, b = old.end(), new.end()
    check("none of them moved or broke", is_clean(a) and is_clean(b), (a, b))


def path_mtu(bed):
    before = bed.control.ask("stats")["counters"]["too_big"]
    spill(bed, s3=1)
    seen = new_connections(bed, 40, at_once=10, body=30000)
    n = bed.control.ask("stats")["counters"]["too_big"] - before
    route = bed.ip("cl", "route", "get", VIP)
    check("packets too big for the tunnel are answered, and TCP goes on with smaller ones", is_clean(seen) and count_of(seen) == {"s3": 40} and n > 0 and "mtu 1450" in route, (seen, n, route))
    say(f"path MTU: {n} packets answered")
    spill(bed)


def drain(bed):
    spill(bed, s2=1)
    held = Holders(bed, 40)
    spill(bed, s2=.5, s1=.5)
    bed.control.ask("drain", backend="s2", deadline_s=4)
    seen = new_connections(bed, 1000)
    check("a drained shard gets no new connection", is_clean(seen) and "s2" not in count_of(seen), seen)
    a, b = held.look(), bed.control.ask("stats")
    if b["counters"]["flow_deadline"] == 0:  # on a machine that is not minutes behind
        check("and keeps those it has", count_of(a) == {"s2": 40} and not errors_of(a), a)
    wait(lambda: bed.control.ask("stats")["counters"]["flow_deadline"] >= 40, "the deadline ends flows")
    wait(lambda: errors_of(held.look()).get("s2") == 40, "and their connections")
    seen = held.end()
    check("until its deadline", not seen["moved"] and errors_of(seen) == {"s2": 40}, seen)
    spill(bed)
    bed.again("s2")


def restart(bed):
    spill(bed, s1=.3, s2=.2, s3=.2)
    held = Holders(bed, 64)
    passing = Clients(bed, connections=10000, at_once=32, requests=2)
    wait(lambda: passing.look()["finished"] > 1000, "connections pass")
    bed.control.close()
    bed.kill(bed.router)
    at = time.monotonic()
    bed.route()
    spill(bed, s1=.3, s2=.2, s3=.2)
    say(f"killed router: {time.monotonic() - at:.1f} s until the next one forwards")
    a, asked = held.look(), held.look()["answers"]
    wait(lambda: held.look()["answers"] > asked + 256, "held connections go on")
    a, b = passing.end(), held.end()
    check("kill -9 of the router: no connection broke or moved, with 64 held and others passing", is_clean(a) and is_clean(b), (a, b))
    spill(bed)


def deaths(bed):
    spill(bed, s1=.35, s2=.35, s3=.1)
    held = Holders(bed, 80)
    mine = count_of(held.look())
    passing = Clients(bed, connections=6000, at_once=32, requests=2)
    wait(lambda: passing.look()["finished"] > 1000, "connections pass")
    bed.kill(bed.servers["s1"])
    bed.control.ask("alive", backend="s1", alive=False)
    a = passing.end()
    strange = a["errors"]["connect"] + a["servers"]["?"]["errors"]
    check("kill -9 of a shard's server: only its connections break", not a["moved"] and set(errors_of(a)) <= {"s1", "?"} and strange <= 200, a)
    seen = new_connections(bed, 1000)
    check("new connections avoid the dead shard", is_clean(seen) and "s1" not in count_of(seen), seen)
    wait(lambda: errors_of(held.look()) == {"s1": mine["s1"]}, "the held ones of the shard break, and no others")
    before = bed.control.ask("stats")["counters"]
    bed.ip("sw", "link", "set", "bs2", "down")
    bed.control.ask("alive", backend="s2", alive=False)
    wait(lambda: errors_of(held.look()).get("s2") == mine["s2"], "those of a host that went silent break")
    seen, after = held.end(), bed.control.ask("stats")["counters"]
    verdict = "reply" if ON_DEAD == "reset" else "flow_moved"
    check(f"a host that went silent: its connections end by the policy '{ON_DEAD}', and no others", not seen["moved"] and errors_of(seen) == {k: mine[k] for k in ("s1", "s2")} and after[verdict] > before[verdict], (seen, before, after))
    bed.ip("sw", "link", "set", "bs2", "up")
    bed.serve("s1")
    for name in ("s1", "s2"):
        bed.control.ask("alive", backend=name, alive=True)
    spill(bed)


def churn(bed):
    """T10: real connections while the table changes all the time."""
    held = Holders(bed, 64)
    passing = Clients(bed, connections=CONNECTIONS, at_once=64, requests=2)
    began, commits = time.monotonic(), 0
    while passing.p.poll() is None and not ended(passing):
        w = [(commits * k % 7) / 20 for k in (1, 2, 3)]  # sums of 0 to 0.9
        bed.control.ask("spill_set", service="web", weights={"s1": w[0], "s2": w[1], "s3": w[2]}, ramp_per_s=0)
        commits += 1
        time.sleep(max(0, began + commits / COMMITS_PER_S - time.monotonic()))
    spent = time.monotonic() - began
    a, b = passing.end(), held.end()
    check(f"{CONNECTIONS} connections while the table changes: none broke or moved", is_clean(a) and is_clean(b) and a["finished"] == CONNECTIONS and len(count_of(a)) == 4, (a, b))
    check(f"at {COMMITS_PER_S} commits a second", commits >= .9 * COMMITS_PER_S * spent, (commits, spent))
    say(f"{CONNECTIONS / spent:.0f} connections/s of {a['answers']} requests, {commits / spent:.0f} commits/s, {errors_of(a) or 'no'} errors, {a['moved']} moved, {count_of(a)}")
    spill(bed)


def ended(clients):
    return bool(select.select([clients.p.stdout], [], [], 0)[0])


def quiet(bed):
    """Waits until nothing moves. @return the router's counters, packets that its kernel sent for it"""
    def read():
        links = [bed.link("rt", name) for name in ("l0", "l1")]
        s = bed.control.ask("stats")
        return {"received": s["received"]["packets"], **s["counters"]}, *(sum(x[way]["packets"] for x in links) for way in ("tx", "rx"))
    last = None

    def is_quiet():
        nonlocal last
        seen, last = last, read()
        time.sleep(.2)
        return seen == last
    wait(is_quiet, "the wires are quiet")
    return last


def balance(bed, before, after):
    """Packets that came in = packets that went out + packets with a named reason not to; by the router and by the kernels."""
    c = {k: v - before[0][k] for k, v in after[0].items()}
    sent, came = after[1] - before[1], after[2] - before[2]
    out = sum(c[k] for k in ("primary", "shard", "pass", "return", "bounce", "reply"))
    drops = {k: v for k, v in c.items() if k.startswith("drop_") and v}
    check("received = forwarded + drops with a name", c["received"] == out + sum(drops.values()) and out > 0, c)
    check("the kernel sent every packet that was forwarded", sent == out, (sent, out))
    say(f"{came} packets came, {c['received']} received, {out} forwarded, drops {drops or 'none'}")
    wrong = {name: bed.tcp(name, "InCsumErrors") for name in ("cl", *SERVERS)}
    check("no kernel saw a wrong TCP checksum", not any(wrong.values()), wrong)


def walk(bed):
    bed.build()
    bed.configure(DRIVER, QUEUES, ON_DEAD)
    bed.route()
    seen = new_connections(bed, 1000)
    check("without a spill everything goes to the primary", is_clean(seen) and count_of(seen) == {"p": 1000}, seen)
    for part in (spill_on_and_off, path_mtu, drain, deaths, restart):
        at = time.monotonic()
        part(bed)
        say(f"{part.__name__}: {time.monotonic() - at:.1f} s")
    before = quiet(bed)
    churn(bed)
    balance(bed, before, quiet(bed))
    code = bed.stop()
    check("SIGTERM ends the router cleanly", code == 0, code)


def why_not():
    if os.geteuid():
        return "needs root (network namespaces)"
    missing = [x for x in ("ip", "bridge", "ss", "ethtool", "wrk", "iperf3") if not shutil.which(x)]
    if missing:
        return f"needs {', '.join(missing)} (tests/need.sh has their packages)"
    r = subprocess.run([TOOL, "router", "--config", os.devnull, "--control", os.devnull], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return r.stdout.strip().splitlines()[-1] if r.returncode == 77 else None


def main():
    why = why_not()
    if why:
        print(f"1..0 # SKIP {why}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bed = Bed(TOOL, SERVER)
    try:
        walk(bed)
        print(f"1..{len(done)}")
        return 0 if all(done) else 1
    finally:
        bed.close()


sys.exit(main())
