# SPDX-License-Identifier: MIT OR Apache-2.0
"""libvirt's own client takes the fake daemon for a real one, and its guests do what the recorded ones did. Needs virsh, no root."""
import json
import os
import re
import resource
import shutil
import subprocess

import lab


def virsh(f, *command, timeout=60, options=()):
    return lab.run(["virsh", "-r", "-q", *options, "-c", f.uri, *command], check=False, timeout=timeout)


def stats(f, *options):
    """{guest: {field: text}} as virsh prints it."""
    out = {}
    for block in virsh(f, "domstats", *options).stdout.split("Domain: ")[1:]:
        name, *lines = block.strip().split("\n")
        out[name.strip("'")] = dict(line.strip().split("=", 1) for line in lines if "=" in line)
    return out


def growth(t):
    """Counters grow by what was recorded in one turn of the recording, whatever the turn; gauges are the recorded ones."""
    with open(os.path.join(lab.HERE, "fixtures", "guests.json")) as f:
        data = json.load(f)
    period = data["times"][-1] - data["times"][0]
    with lab.Fake("--guests", 3, "--step", period) as f:
        seen = [stats(f) for _ in range(3)]
    wrong = []
    for i, name in enumerate(("idle", "web", "busy")):
        first, last = ({k[0]: v for k, v in zip(data[name]["fields"], data[name]["samples"][j])} for j in (0, -1))
        for field in ("cpu.time", "vcpu.0.time", "net.0.rx.bytes", "net.0.tx.pkts"):
            for a, b in zip(seen, seen[1:]):
                grown = int(b[f"guest-000{i}"][field]) - int(a[f"guest-000{i}"][field])
                if abs(grown - (last[field] - first[field])) > 2:
                    wrong.append(f"{name} {field}: {grown}, recorded {last[field] - first[field]}")
        if seen[0][f"guest-000{i}"]["balloon.maximum"] != str(first["balloon.maximum"]) or len(seen[0][f"guest-000{i}"]) != len(first):
            wrong.append(f"{name}: fields or gauges differ")
    t.check("counters grow as the recorded ones did", not wrong, wrong)


def host_and_guests(t):
    with lab.Fake("--guests", 1000, "--step", 15) as f:
        said = {c: virsh(f, *c.split()).stdout for c in ("hostname", "version", "nodeinfo", "freecell --all", "capabilities", "nodecpustats",
                                                        "nodememstats", "list --name", "dominfo guest-0007", "dumpxml guest-0007")}
        t.check("host and guests answer", "replay" in said["hostname"] and "QEMU" in said["version"] and "CPU(s): " in said["nodeinfo"]
                and "KiB" in said["freecell --all"] and "<host>" in said["capabilities"] and "idle" in said["nodecpustats"]
                and "free" in said["nodememstats"] and len(said["list --name"].split()) == 1000 and "running" in said["dominfo guest-0007"]
                and "<name>guest-0007</name>" in said["dumpxml guest-0007"], said)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        every = stats(f)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        t.note(f"virsh: {after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.3f} s of CPU for all statistics of 1000 guests")
        t.check("a thousand guests in one call", len(every) == 1000 and f.tell("calls").split()[0] == "1", len(every))
        part = stats(f, "--state", "--balloon")["guest-0500"]
        t.check("only what was asked for", {k.split(".")[0] for k in part} == {"state", "balloon"}, part)
        r = virsh(f, "domstate", "guest-7777")
        t.check("an unknown guest is an error", r.returncode != 0 and "guest-7777" in r.stderr, r.stderr)
        r = lab.run(["virsh", "-q", "-c", f.uri, "destroy", "guest-0007"], check=False)
        t.check("it only reads", r.returncode != 0 and "not supported" in r.stderr, r.stderr)


def lives(t):
    with lab.Fake("--step", 15, "--at", "4:restart guest-0002", "--meta", "<spr:vm xmlns:spr='urn:libshardpredict:vm:1' replica='image'/>") as f:
        watcher = subprocess.Popen(["virsh", "-r", "-q", "-c", f.uri, "event", "--all", "--loop", "--timeout", "60"], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)
        lab.wait(lambda: f.tell("calls").split()[1] == "1" and stats(f), 20, "the watcher's connection")
        a = int(stats(f)["guest-0001"]["cpu.time"])
        f.tell("restart guest-0001")
        b = int(stats(f)["guest-0001"]["cpu.time"])
        t.check("a restarted guest counts from nothing", 0 < b < a, (a, b))
        before = int(stats(f, "--cpu-total")["guest-0002"]["cpu.time"])
        t.check("--at carries a command out before its call", before < 1e9, before)
        f.tell("away guest-0000")
        gone = virsh(f, "list", "--name").stdout.split()
        f.tell("back guest-0000")
        f.tell("stop guest-0001")
        seen = [sorted(gone), virsh(f, "domstate", "guest-0001").stdout.strip(), len(stats(f)), sorted(virsh(f, "list", "--name").stdout.split())]
        t.check("a guest migrates away and comes back, another stops",
                seen == [["guest-0001", "guest-0002"], "shut off", 3, ["guest-0000", "guest-0002"]], seen)
        t.check("metadata is given", "replica='image'" in virsh(f, "metadata", "guest-0002", "urn:libshardpredict:vm:1").stdout)
        f.tell("drop")
        said = watcher.communicate(timeout=30)[0]
        told = re.findall(r"domain '?(guest-\d+)'?: (\w+) (\w+)", said)
        t.check("events tell of it", told[:2] == [("guest-0001", "Stopped", "Shutdown"), ("guest-0001", "Started", "Booted")]
                and ("guest-0000", "Stopped", "Migrated") in told and ("guest-0000", "Started", "Migrated") in told, said)


def faults(t):
    with lab.Fake("--guests", 50) as f:
        for fault, says in (("error", "told to fail"), ("hangup", "End of file|reset by peer|Cannot read|I/O error"), ("garbage", "."),
                            ("huge", "too large|too big|packet"), ("many", "nable to decode|too many|bigger")):
            f.tell(fault)
            r = virsh(f, "domstats")
            t.check(f"{fault}: the client gets an error", r.returncode != 0 and re.search(says, r.stderr), (r.returncode, r.stderr[-300:]))
            t.check(f"{fault}: the next call is answered", len(stats(f)) == 50)
        f.tell("slow 1.5")
        r = virsh(f, "domstats", "--state", options=("-k", "1", "-K", "1"))
        t.check("slow: keepalives go on meanwhile", r.returncode == 0, r.stderr)
        f.tell("well")
        for mode, dies in (("deaf", False), ("hang", True)):
            f.tell(mode if not dies else "slow 30")
            p = subprocess.Popen(["virsh", "-r", "-q", "-k", "1", "-K", "1", "-c", f.uri, "domstats", "--state"], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
            if dies:  # in the middle of a call
                calls = int(f.tell("calls").split()[0])
                lab.wait(lambda: int(f.tell("calls").split()[0]) > calls, 20, "the call")
                f.tell("hang")
            try:
                p.wait(5 if not dies else 30)
                ended = True
            except subprocess.TimeoutExpired:
                ended = False
            f.tell("well")
            out, err = p.communicate(timeout=60)
            t.check(f"{mode}: {'the keepalive finds it' if dies else 'keepalives are answered, and the call when it can be'}",
                    ended == dies and (p.returncode != 0) == dies, (ended, p.returncode, err[-300:]))


def test(t):
    host_and_guests(t)
    growth(t)
    lives(t)
    faults(t)


if __name__ == "__main__":
    if not shutil.which("virsh"):
        lab.skip_or_fail("packages are missing: libvirt-clients")
    lab.main(test, hosts=0)
