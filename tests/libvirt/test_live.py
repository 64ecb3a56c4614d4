# SPDX-License-Identifier: MIT OR Apache-2.0
"""`shardpredict profile --from libvirt:URI` and `libvirt_advise` on real hosts, over every transport. usage: test_live.py TOOL ADVISE"""
import json
import signal
import subprocess
import sys
import time

import lab

TOOL, ADVISE = sys.argv[1:3]


def profile(l, *uris, seconds=8, every=1, **more):
    """Runs it in the controller's network -> (exit code, {(VM, metric): profile}, stderr)"""
    words = [w for u in uris for w in ("--from", "libvirt:" + u)]
    r = l.fab([TOOL, "profile", *words, "--for", f"{seconds}s", "--every", f"{every}s", "--json"], check=False, **more)
    rows = {(p["series"], p["metric"]): p for p in json.loads(r.stdout)["profiles"]} if r.returncode == 0 else r.stdout
    return r.returncode, rows, r.stderr


def transports(t, l):
    before = l.domains("hv1")
    l.sh("sshd", "hv1")
    for transport in ("unix-ro", "tcp", "tls", "ssh", "libssh"):
        code, rows, err = profile(l, l.uri("hv1", transport), seconds=6)
        t.check(f"{transport}: CPU, memory and network of both guests", code == 0 and {("busy", "cpu"), ("quiet", "cpu"), ("busy", "memory"),
                ("quiet", "net_rx"), ("busy", "net_tx")} <= set(rows), (code, sorted(rows), err[-300:]))
        if code == 0:
            t.check(f"{transport}: the busy one is busy, and its memory is not more than it has",
                    rows["busy", "cpu"]["level"] > 3 * rows["quiet", "cpu"]["level"] and 1e7 < rows["busy", "memory"]["level"] < 4e8,
                    {k: v["level"] for k, v in rows.items()})
            t.check(f"{transport}: six values make nobody sure and nothing periodic",
                    all(p["confidence"] < 0.5 and not p["periods_s"] for p in rows.values()),
                    {k: (p["confidence"], p["periods_s"]) for k, p in rows.items()})
    for transport, why in (("tls-stranger", "ertificate"), ("tls-foreign", "ertificate")):
        uri = l.uri("hv1", transport)
        code, rows, err = profile(l, uri)
        t.check(f"{transport}: refused with the URI and the reason, nothing on stdout", code == 1 and uri in err and not rows and
                (why in err or "TLS" in err), (code, rows, err[-300:]))
    for transport, why, helps in (("ssh-stranger", "does not take this key", "authorized_keys"), ("ssh-foreign", "not the one known", "known_hosts"),
                                  ("libssh-stranger", "does not take this key", "authorized_keys"), ("libssh-foreign", "not the one known", "known_hosts")):
        uri = l.uri("hv1", transport)
        code, rows, err = profile(l, uri)
        t.check(f"{transport}: refused with the URI, the reason and what to do, nothing on stdout", code == 1 and not rows and
                all(w in err for w in (uri, why, helps)), (code, rows, err[-600:]))
    t.check("nothing was changed", l.domains("hv1") == before, l.domains("hv1"))


def advice(t, l):
    r = l.fab([ADVISE, l.uri("hv1", "unix-ro"), l.uri("hv2", "unix-ro"), "--for", "8s", "--every", "1s"], check=False)
    first = r.stdout.split("\n", 1)[0]
    t.check("the verdict comes first and names the busiest", r.returncode == 0 and "recommendation" in first and "busy" in first, r.stdout[:400])
    t.check("the busy guest is named with a because", any("busy" in line and "because" in line for line in r.stdout.split("\n")[1:]), r.stdout)
    t.check("it says what it cannot know", "cannot know" in r.stdout and "history" in r.stdout, r.stdout[-600:])
    r = l.fab([ADVISE, l.uri("hv1", "unix-ro") + "-not", "--for", "2s"], check=False)
    t.check("a host that is not there is an error with its URI", r.returncode == 1 and "ro-not" in r.stderr and not r.stdout, r.stderr)


def moves(t, l):
    """A guest that migrates while it is watched is one VM and never uses more than it has; Ctrl-C shows what is there."""
    words = [TOOL, "profile", "--from", "libvirt:" + l.uri("hv1", "unix-ro"), "--from", "libvirt:" + l.uri("hv2", "unix-ro"), "--for", "100s",
             "--every", "1s", "--json"]
    p = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(4)
    l.virsh("hv1", "migrate", "--live", "quiet", l.uri("hv2", "tcp"), transport="tcp")
    time.sleep(8)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    rows = {(x["series"], x["metric"]): x for x in json.loads(out)["profiles"]} if p.returncode == 0 else {}
    t.check("Ctrl-C ends it with what was seen", p.returncode == 0 and rows, (p.returncode, err[-300:]))
    t.check("a VM that moved is one VM", {s for s, _ in rows} == {"busy", "quiet"}, sorted(rows))
    t.check("and its figures are ones that it can have", all(0 <= x["level"] < (1.5 if m == "cpu" else 1e10) and
            x["burst"]["size"] < (1.5 if m == "cpu" else 1e10) for (s, m), x in rows.items()), rows)


def test(t, l):
    l.guest("hv1", "quiet", "10.78.1.1")
    l.guest("hv1", "busy", "10.78.1.2")
    for ip in ("10.78.1.1", "10.78.1.2"):
        l.wait_http(ip)
    with l.load("http://10.78.1.2/work?20000"):
        transports(t, l)
        advice(t, l)
        moves(t, l)


if __name__ == "__main__":
    lab.main(test, hosts=2)
