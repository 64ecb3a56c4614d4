# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a host lacks is known before a shard needs it: from its guests that run, else from a tiny one of our own that is gone at once."""
import glob
import json
import os
import signal
import sys
import time

import lab
from shards import Drive

CPU, NET = 1, 4 | 8  # bits by resource
REFUSING_TC = """#!/usr/bin/env bash
case " $* " in *" qdisc add "*" sfq "*) echo "Error: Specified qdisc kind is unknown." >&2; exit 2 ;; esac
exec %s "$@"
"""
# Control groups of version 1 go by their mount, those of version 2 from the bottom up.
WITHOUT_CPU = """set -e
at=$(awk '$3 == "cgroup" && ("," $4 ",") ~ /,cpu,/ {print $2; exit}' /proc/mounts)
if [ -n "$at" ]; then umount "$at"; exit 0; fi
for pass in 1 2 3 4 5 6; do
    find /sys/fs/cgroup -depth -name cgroup.subtree_control | while read -r f; do echo -cpu >"$f" 2>/dev/null || true; done
done
! grep -qw cpu /sys/fs/cgroup/cgroup.subtree_control"""


def trials(l, host):
    return glob.glob(os.path.join(l.folder, host, "log", "qemu", "spr-trial-*.log"))


def refuse_sfq(l, host):
    """As on a kernel without sch_sfq, whatever this one has."""
    path = os.path.join(l.folder, host, "tc")
    with open(path, "w") as f:
        f.write(REFUSING_TC % "/run/tc")
    os.chmod(path, 0o755)
    l.host(host, "bash", "-c", f'mount --bind {path} "$(readlink -f "$(command -v tc)")"')


def without_cpu(l, host):
    """As on a kernel without the cpu controller; a daemon looks for it once, when it starts."""
    l.host(host, "bash", "-c", WITHOUT_CPU)
    l.sh("kill-libvirtd", host)
    l.sh("start", host)


def means(d, host):
    d.host = host
    return d("capabilities")


def known(l, d, host, bits, what):
    """Observed again and again, as a controller does, until the host is known to lack these."""
    def look():
        d("observe")
        return means(d, host)["unkept"] & bits == bits
    l.wait(look, 90, what, every=0.3)
    return means(d, host)


def gone(l, host):
    l.wait(lambda: not [n for n in l.domains(host) if n.startswith("spr-")], 60, f"the trial on {host} to be over")


def doctor(l, host, *options):
    """As the operator asks, on the host itself -> (exit code, JSON)."""
    r = l.host(host, os.path.realpath(sys.argv[2]), "doctor", "--json", *options, check=False)
    return r.returncode, json.loads(r.stdout)


def states(answer):
    return {x["name"]: x["state"] for x in answer["host"]}


def of_uri(l, host):
    r = l.fab([sys.argv[2], "doctor", "--json", "--libvirt", l.uri(host)], check=False)
    return r.returncode, json.loads(r.stdout)


def test(t, l):
    l.guest("hv1", "web", "10.78.1.1", META='replica="image"')
    refuse_sfq(l, "hv2")
    begin = {h: l.state(h) for h in l.hosts}
    (_, a), (_, b) = doctor(l, "hv1"), doctor(l, "hv2")
    t.check("doctor on a host that has all sees it", {k: states(a)[k] for k in ("cpu control group", "tc", "sch_htb", "sch_sfq", "act_police")} ==
            dict.fromkeys(("cpu control group", "tc", "sch_htb", "sch_sfq", "act_police"), "there"), a["host"])
    todo = [x["todo"] for x in b["host"] if x["name"] == "sch_sfq"]
    t.check("on the other one it names the module and what to do", states(b)["sch_sfq"] == "missing" and "load it" in todo[0] and "limit_net" in todo[0], b["host"])
    t.check("and of a host by its URI what plans will know", of_uri(l, "hv1")[0] == 0 and of_uri(l, "hv1")[1]["unkept"] == [], of_uri(l, "hv1"))
    with Drive(l) as d:
        d("observe")
        a, b = means(d, "hv1"), means(d, "hv2")
        t.check("without a trial nothing is started, and nothing is said that is not known", not trials(l, "hv2") and a["unkept"] == b["unkept"] == 0, (a, b))
    with Drive(l, trial=1) as d:
        b = known(l, d, "hv2", NET, "hv2 to be known as unable to limit the network")
        t.check("the module is named, and what to do", "load sch_sfq there" in b["unkept_why"] and "limit_net" in b["unkept_why"] and
                b["unkept_why"] in b["missing"], b)
        t.check("the cpu is limited there", b["unkept"] == NET, b)
        l.wait(lambda: trials(l, "hv1"), 60, "a trial on hv1")
        gone(l, "hv1")
        a = means(d, "hv1")
        t.check("where all is there nothing is said", a["unkept"] == 0 and not a["unkept_why"], a)
        for h in l.hosts:
            gone(l, h)
            t.same(f"{h} is as it was", begin[h], l.state(h))
        without_cpu(l, "hv2")
        b = known(l, d, "hv2", CPU | NET, "hv2 to be known as unable to limit the cpu")
        t.check("once the daemon was started anew it is looked at again", "no cpu control group" in b["unkept_why"] and "sch_sfq" in b["unkept_why"], b)
    gone(l, "hv2")
    with Drive(l, **{"limit-net": "off", "trial": 1}) as d:
        b = known(l, d, "hv2", CPU, "hv2 to be known as unable to limit the cpu")
        t.check("who does not want the network limited is not told of it", b["unkept"] == CPU and "sch_sfq" not in b["missing"], b)
    without_cpu(l, "hv1")
    t.check("doctor on the host says so", states(doctor(l, "hv1")[1])["cpu control group"] == "missing", doctor(l, "hv1"))
    rc, a = of_uri(l, "hv1")
    t.check("and by its URI that plans leave it out", rc == 3 and a["connected"] and a["unkept"] == ["cpu"] and "no cpu control group" in a["left_out"], (rc, a))
    count = len(trials(l, "hv1"))
    with Drive(l) as d:
        a = known(l, d, "hv1", CPU, "hv1 to be known as unable to limit the cpu")
        t.check("a guest that runs tells, without a trial", "no cpu control group" in a["unkept_why"] and len(trials(l, "hv1")) == count, a)
    with Drive(l, trial=1) as d:
        d.send("observe")
        end = time.monotonic() + 30
        while time.monotonic() < end and not [n for n in l.domains("hv2") if n.startswith("spr-trial-")]:
            pass
        os.kill(d.process.pid, signal.SIGKILL)
        d.process.wait()
    for h in l.hosts:
        gone(l, h)
        t.same(f"{h} is as it was after a controller that was killed in a trial", begin[h], l.state(h))


lab.main(test, hosts=2, bandwidth=True)
