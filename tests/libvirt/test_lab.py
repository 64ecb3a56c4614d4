# SPDX-License-Identifier: MIT OR Apache-2.0
"""The lab itself: hosts, guests, transports and faults are real, and nothing is left when it goes, by whatever way it goes."""
import os
import re
import signal
import subprocess
import sys
import time

import lab

NOTHING = {"processes": [], "groups": [], "files": []}
GUESTS = {"hv1": "10.78.1.1", "hv2": "10.78.1.2", "hv3": "10.78.1.3"}


def a_whole_life(t, l, turn):
    for host, ip in GUESTS.items():
        l.guest(host, f"g-{host}", ip, META='replica="image"', AGENT=1)
    for host, ip in GUESTS.items():
        l.wait_http(ip)
        status, body = l.http(ip)
        t.check(f"{turn}: the guest of {host} serves", status == 200 and body.startswith(f"g-{host} {ip} up"), (status, body))
    for transport in ("unix", "unix-ro", "tcp", "tls"):
        t.check(f"{turn}: hosts answer over {transport}",
                [l.virsh(h, "hostname", transport=transport).strip() for h in l.hosts] == l.hosts)
    for transport, why in (("tls-stranger", "TLS"), ("tls-foreign", "certificate")):
        r = l.virsh("hv2", "hostname", transport=transport, check=False)
        t.check(f"{turn}: {transport} is refused", r.returncode != 0 and "hv2" not in r.stdout and why in r.stderr, r.stderr)
    r = l.virsh("hv1", "destroy", "g-hv1", transport="unix-ro", check=False)
    t.check(f"{turn}: the read-only socket changes nothing", r.returncode != 0 and l.domains("hv1") == {"g-hv1": "running"}, r.stderr)
    t.check(f"{turn}: the guest agent answers", "return" in l.virsh("hv1", "qemu-agent-command", "g-hv1", '{"execute":"guest-ping"}'))
    t.check(f"{turn}: the owner's metadata is there", 'replica="image"' in l.virsh("hv1", "metadata", "g-hv1", "urn:libshardpredict:vm:1"))
    t.check(f"{turn}: pools are there", l.virsh("hv2", "pool-list", "--name").split() == ["default", "shared"])


def disks(t, l):
    base = l.disk("base.img")
    over = l.disk("over.qcow2", backing=base)
    l.guest("hv1", "disk", "10.78.1.4", DISK=over)
    l.wait_http("10.78.1.4")
    l.http("10.78.1.4", "/write?3")
    seen = [l.http("10.78.1.4", f"/read?{i}")[1].strip(".\n") for i in (2, 3)]
    with open(os.path.join(l.folder, "shared", "base.img"), "rb") as f:
        f.seek(3 * 1024)
        t.check("a guest writes to its overlay and reads its base", seen == ["base.img KiB 2", "disk"] and f.read(14) == b"base.img KiB 3", seen)
    l.sh("disk", "hv2", "small", 8)
    l.sh("disk", "hv2", "fill")
    full = l.virsh("hv2", "vol-create-as", "default", "v", "1M", "--format", "raw", check=False)
    l.sh("disk", "hv2", "free")
    l.virsh("hv2", "vol-create-as", "default", "v", "1M", "--format", "raw")
    t.check("a full disk refuses, an emptied one takes", full.returncode != 0 and "No space left" in full.stderr, full.stderr)


def timed(l, ip):
    return float(l.fab(["curl", "-s", "-o", "/dev/null", "-m", 60, "-w", "%{time_total}", f"http://{ip}/work?20000"]).stdout)


def moves(t, l):
    """What hosts do with each other and to their disks: live migration both ways, a saved state, a limit."""
    ip = GUESTS["hv1"]
    with l.load(f"http://{ip}/", every=0.02) as load:
        l.virsh("hv1", "migrate", "--live", "g-hv1", l.uri("hv2", "tcp"), transport="tcp")
        there = l.domains("hv2").get("g-hv1")
        l.virsh("hv2", "migrate", "--live", "--p2p", "g-hv1", "qemu+tls://hv1/system", transport="tls")
        l.wait_http(ip)
    t.check("a guest migrates live, there over tcp and back over tls from host to host",
            there == "running" and l.domains("hv1") == {"g-hv1": "running", "disk": "running"} and load.result["asked"] > load.result["failed"],
            (there, l.domains("hv1"), load.result))
    t.note(f"longest gap between two answers over two migrations: {load.result['gap']} s")
    before = float(l.http(ip)[1].split()[3])
    l.virsh("hv1", "managedsave", "g-hv1")
    saved = any(f.endswith("/save/g-hv1.save") for f in l.files("hv1"))
    l.virsh("hv1", "start", "g-hv1")
    l.wait_http(ip)
    t.check("a saved guest goes on where it was", saved and float(l.http(ip)[1].split()[3]) > before and l.domains("hv1")["g-hv1"] == "running")
    l.virsh("hv1", "schedinfo", "g-hv1", "--live", "vcpu_quota=20000", "vcpu_period=100000")
    tap, mac = [l.virsh("hv1", "domiflist", "g-hv1").split()[i] for i in (0, -1)]
    l.virsh("hv1", "domiftune", "g-hv1", mac, "--inbound", "300,300,300", "--outbound", "300", "--live")
    limits = l.host("hv1", "tc", "class", "show", "dev", tap).stdout + l.host("hv1", "nft", "list", "ruleset").stdout
    l.virsh("hv1", "domiftune", "g-hv1", mac, "--inbound", "0", "--outbound", "0", "--live")
    t.check("bandwidth is limited both ways", "rate 2400Kbit" in limits and "300 kbytes/second" in limits, limits)
    t.check("a quota is taken", re.search(r"vcpu_quota\s*: 20000", l.virsh("hv1", "schedinfo", "g-hv1", "--live")))


def faults(t, l):
    ip = GUESTS["hv2"]
    l.sh("link", "hv2", "down")
    cut = l.http(ip, timeout=1)[0]
    l.sh("link", "hv2", "up")
    l.wait_http(ip)
    t.check("a cut link cuts", cut == 0, cut)
    pid = l.sh("libvirtd-pid", "hv2")
    l.sh("kill-libvirtd", "hv2")
    dead = l.virsh("hv2", "list", check=False)
    alive = l.http(ip)[0]
    l.sh("start", "hv2")
    t.check("a killed daemon refuses, its guest runs on, a new one finds it",
            dead.returncode != 0 and alive == 200 and l.domains("hv2") == {"g-hv2": "running"} and l.sh("libvirtd-pid", "hv2") != pid, dead.stderr)
    l.sh("stop-libvirtd", "hv2")
    try:
        l.virsh("hv2", "list", timeout=2)
        hung = False
    except subprocess.TimeoutExpired:
        hung = True
    l.sh("cont-libvirtd", "hv2")
    t.check("a stopped daemon hangs and comes back", hung and "g-hv2" in l.domains("hv2"))
    l.kill_guest("hv3", "g-hv3")
    t.check("a killed guest is seen", l.wait(lambda: l.domains("hv3").get("g-hv3") == "shut off", 30, "the guest's end"))
    with l.load(f"http://{GUESTS['hv1']}/", every=0.01) as load:
        l.virsh("hv1", "suspend", "g-hv1")
        time.sleep(0.7)
        l.virsh("hv1", "resume", "g-hv1")
        l.wait_http(GUESTS["hv1"])
    t.check("a client measures the gap of a pause", load.result["gap"] >= 0.6 and load.result["asked"] > 0, load.result)
    work = lambda: min(timed(l, ip) for _ in range(2))
    free = work()
    l.sh("quota", "hv2", 5)
    held = work()
    l.sh("quota", "hv2", "off")
    l.sh("slow", "hv2", 5)
    slow = work()
    l.sh("slow", "hv2", "off")
    t.check("a quota and a slow host are felt", held > 2 * free and slow > 2 * free, (free, held, slow))
    l.sh("power-off", "hv2")
    off = l.http(ip, timeout=1)[0], l.virsh("hv2", "list", check=False).returncode
    l.sh("power-on", "hv2")
    t.check("a host without power is gone, and boots with its definitions", off[0] == 0 and off[1] != 0 and l.domains("hv2") == {"g-hv2": "shut off"},
            (off, l.domains("hv2")))
    l.virsh("hv2", "start", "g-hv2")
    l.wait_http(ip)


def killed(t):
    """A test that dies without a word: the lab's keeper takes the lab down."""
    code = "import lab, time\nl = lab.Lab('test_lab_killed', 1).up()\nl.guest('hv1', 'g', '10.78.1.1')\nprint('up', flush=True)\ntime.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=lab.HERE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    l = lab.Lab("test_lab_killed", 1)
    try:
        said = child.stdout.readline()
        up = l.traces()
        refused = lab.run(["bash", os.path.join(lab.HERE, "lab.sh"), "up", 1], check=False, env=l.env)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        t.check("a lab whose owner runs is not taken away", said == "up\n" and refused.returncode == 1 and "belongs to process" in refused.stderr, refused.stderr)
        t.check("the lab was there", all(up.values()), up)
        left = l.wait(lambda: l.traces() == NOTHING and NOTHING, 60, "the keeper")
        t.same("a killed test leaves nothing", NOTHING, left)
    finally:
        child.kill()
        l.down()


def test(t):
    before = lab.machine()
    for turn in ("first lab", "second lab"):
        with lab.Lab("test_lab", bandwidth=True) as l:
            try:
                a_whole_life(t, l, turn)
                if turn == "first lab":
                    disks(t, l)
                    moves(t, l)
                    faults(t, l)
                up = l.traces()
                t.check(f"{turn}: what it has on this machine is known", all(up.values()) and any("qemu" in p for p in up["processes"]), up)
            finally:
                if t.failed:
                    l.keep_logs()
        t.same(f"{turn}: nothing is left", NOTHING, l.traces())
        l.sh("down")  # without a lab: no error
    killed(t)
    t.same("the machine is as it was", before, lab.machine())


if __name__ == "__main__":
    if lab.missing():
        lab.skip_or_fail(lab.missing())
    lab.main(test, hosts=0)
