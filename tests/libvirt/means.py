# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a shard is made of and gets from its host, on real hosts: a template's disk, a cloud-init seed, bandwidth, firmware, virtual
functions, control groups. Run by test_life, whose lab can limit bandwidth."""
import hashlib
import os
import re
import time

from shards import Drive, done

NVRAM, PARTITION = "/var/lib/libvirt/qemu/nvram/", "/machine/shards"
CODE, VARS = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"


def name_of(shard, vm):
    return f"spr-{shard:016x}-{vm}"


def digest(l, image):
    with open(os.path.join(l.folder, "shared", image), "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def average(l, name, way="inbound"):
    """kB/s that its first interface may receive, live and in its definition."""
    mac = re.search(r"mac address='([^']*)'", l.virsh("hv2", "dumpxml", name)).group(1)
    return [int(re.search(way + r"\.average\s*: (\d+)", l.virsh("hv2", "domiftune", name, mac, where)).group(1)) for where in ("--live", "--config")]


def refused(t, name, a, *words):
    t.check(name, a["outcome"] == "failed" and all(w in a["text"] for w in words), a)


def from_template(t, l):
    """The template's disk lies under the replica's and stays as it is; the seed comes as a disk; the guest's agent says when it is ready."""
    l.guest("hv1", "golden", "10.78.1.20", start=False, DISK=l.disk("golden.img"), DISKFORMAT="raw", AGENT=1)
    l.guest("hv1", "shop", "10.78.1.21", start=False, DISK=l.disk("shop.img"), DISKFORMAT="raw", META='replica="template" template="golden"')
    l.guest("hv1", "leech", "10.78.1.22", start=False, DISK="/var/lib/libvirt/shared/golden.img", DISKFORMAT="raw",
            META='replica="template" template="golden"')
    seed, ip, name, begin, golden = l.disk("seed.img", mib=1), "10.78.2.40", name_of(40, "shop"), l.state("hv2"), digest(l, "golden.img")
    with Drive(l, vm="shop", owner="first", fence=20, probe="agent", seed_image=seed, net=1.6e6, warm="running", lease=3, idle=2,
               kernel_args=[f"lab.ip={ip}/16", "lab.name=replica"]) as d:
        l.virsh("hv1", "start", "golden", "--paused")
        refused(t, "template: one that runs changes under its replicas, so it is refused", d("reserve", 40, 1), "golden", "running")
        l.virsh("hv1", "destroy", "golden")
        refused(t, "template: whose disk is the primary's own is refused", d("allocate", 40, 1, vm="leech"), "golden.img", "leech")
        t.same("template: a refusal leaves nothing", begin, l.state("hv2"))
        a = d("allocate", 40, 1)
        t.check("template: allocated, an overlay over the template's disk", done(a) and "golden.img" in
                l.host("hv2", "qemu-img", "info", "-U", f"/var/lib/libvirt/images/{name}-vda.qcow2").stdout, a)
        t.check("bandwidth: limited to its amount, both ways", average(l, name) == [200, 200] and average(l, name, "outbound") == [200, 200])
        w = d("warm", 40, 1)
        t.check("agent: it says when the guest is ready", done(w) and w["warmness"] >= 0.99, w)
        t.check("bandwidth: a guest that waits running gets a tenth", average(l, name) == [20, 20], average(l, name))
        v = d("activate", 40)
        t.check("bandwidth: ACTIVATE lifts it", done(v) and average(l, name) == [200, 200], (v, average(l, name)))
        t.check("template: the replica serves HTTP", l.http(ip)[0] == 200)
        read = l.http(ip, "/read?2")[1].strip(".\n"), l.http(ip, "/write?3")[0], l.http(ip, "/read?3")[1].strip(".\n")
        t.check("template: it reads the template's disk and writes to its own", read == ("golden.img KiB 2", 200, "replica"), read)
        t.same("template: the template's disk is as it was", {"sha256": golden}, {"sha256": digest(l, "golden.img")})
        t.check("seed: the guest reads it from a disk of its own", l.http(ip, "/seed")[1].strip(".\n") == "seed.img KiB 0", l.http(ip, "/seed"))
        began = time.monotonic()
        code, body = l.http(ip, "/bulk?1024", timeout=60)
        took = time.monotonic() - began
        t.check("bandwidth: 1 MiB cannot pass in less than three seconds", code == 200 and len(body) > 1 << 20 and took > 3, (code, len(body), took))
        a = d("resize", 40, 2, cpu=0.25, mib=0, net=0.8e6)
        t.check("bandwidth: a growth raises it", done(a) and average(l, name) == [300, 300], (a, average(l, name)))
        t.check("bandwidth: what is drained in part is lowered at once", done(d("warm", 40, 2)) and done(d("drain", 40, 3, cpu=0.25, mib=0, net=0.8e6)) and
                average(l, name) == [200, 200], average(l, name))
        with l.load(f"http://{ip}/", clients=3, every=0.1) as load:
            d.send("drain", 40, 4)
            l.wait(lambda: average(l, name)[0] < 200, 30, "a drain that lowers the bandwidth")
        t.check("bandwidth: a drain under load lowers it", done(d.answer()), load.result)
        t.check("template: released", done(d("release", 40)))
        t.note(f"template: allocate {a['ms']:.0f} ms, boot until the agent answered {w['ms']:.0f} ms; 1 MiB at 200 kB/s took {took:.1f} s")
    t.same("template: nothing is left", begin, l.state("hv2"))
    t.same("template: nor was anything written to its disk", {"sha256": golden}, {"sha256": digest(l, "golden.img")})


def uefi_xml(l, name, ip, **more):
    firmware = f"<loader readonly='yes' type='pflash'>{CODE}</loader><nvram template='{VARS}'>{NVRAM}{name}_VARS.fd</nvram>"
    return l.domain_xml(name, ip, MACHINE="q35", META='replica="image"', **more).replace("<kernel>", firmware + "<kernel>")


def firmware(t, l):
    """Its own NVRAM, made from the template with the first start; neither the end of a shard nor a start that failed leaves it."""
    l.define("hv1", uefi_xml(l, "uefi", "10.78.1.30"))
    l.define("hv1", uefi_xml(l, "bent", "10.78.1.31").replace("bridge='br0'", "bridge='br9'"))
    begin, files = l.state("hv2"), lambda: l.host("hv2", "ls", NVRAM).stdout.split()
    with Drive(l, vm="uefi", owner="first", fence=21, lease=3) as d:
        a = d("allocate", 50, 1)
        t.check("NVRAM: a copy of its own", done(a) and files() == [name_of(50, "uefi") + "_VARS.fd"] and
                l.host("hv2", "cmp", VARS, NVRAM + files()[0], check=False).returncode == 0, (a, files()))
        t.check("NVRAM: gone with the shard", done(d("release", 50)) and files() == [], files())
        a = d("reserve", 51, 1, vm="bent")
        b = d("allocate", 51, 1, vm="bent")
        refused(t, "NVRAM: a start that fails says why", b, "br9")
        seen = d.shards()[51]
        t.check("NVRAM: it leaves the reservation, and no file", done(a) and files() == [] and seen["state"] == "reserved" and seen["pending"] == 0.5,
                (files(), seen))
        t.check("NVRAM: the reservation is given back", done(d("release", 51, vm="bent")))
    t.same("NVRAM: nothing is left", begin, l.state("hv2"))


POOL = "<network><name>vfs</name><forward mode='hostdev' managed='yes'><pf dev='br0'/></forward></network>"
VF = ("<interface type='hostdev' managed='yes'><mac address='52:54:00:00:00:01'/><source><address type='pci' domain='0x0000' bus='0x7e' "
      "slot='0x10' function='0x0'/></source><vlan><tag id='42'/></vlan></interface>")


def virtual_functions(t, l):
    """No host of the lab has one, and libvirt starts no empty pool: it is all told before anything is defined."""
    l.define("hv1", re.sub(r"<interface.*?</interface>", VF, l.domain_xml("fast", "10.78.1.40", META='replica="image"'), flags=re.S))
    with open(os.path.join(l.folder, "vfs.xml"), "w") as f:
        f.write(POOL)
    begin = l.state("hv2")
    with Drive(l, vm="fast", owner="first", fence=22, lease=3) as d:
        refused(t, "VF: without a network to take it from it is refused", d("reserve", 60, 1), "vf_network", "interface 0")
    with Drive(l, vm="fast", owner="first", fence=23, lease=3, vf_network="vfs") as d:
        refused(t, "VF: a network that is not there is named", d("reserve", 60, 1), "'vfs'")
        l.virsh("hv2", "net-define", os.path.join(l.folder, "vfs.xml"))
        started = l.virsh("hv2", "net-start", "vfs", check=False)
        t.note(f"VF: {' '.join(started.stderr.split())}")
        for verb in ("reserve", "allocate"):
            refused(t, f"VF: and one that does not run, to {verb}", d(verb, 60, 1), "net-start vfs")
        d("observe")
        t.check("VF: what a host lacks says so too", "net-start vfs" in d("capabilities")["missing"], d("capabilities"))
    l.virsh("hv2", "net-undefine", "vfs")
    t.same("VF: nothing was defined", begin, l.state("hv2"))


# What doc/backends/libvirt.md says that an operator does, for control groups of both versions.
MAKE_PARTITION = """cd /sys/fs/cgroup
for tree in . */; do
    [ -e "$tree/cgroup.procs" ] || continue
    mkdir -p "$tree/machine/shards.partition" || exit 1
    for at in machine machine/shards.partition; do
        [ ! -e "$tree/cpuset.mems" ] || for set in cpus mems; do cat "$tree/cpuset.$set" >"$tree/$at/cpuset.$set"; done
    done
    [ ! -e "$tree/machine/shards.partition/cpu.shares" ] || echo 512 >"$tree/machine/shards.partition/cpu.shares"
done"""


def partitions(t, l):
    """libvirt makes none: what is not there is told at the first reservation, and what is there holds the shard."""
    begin = l.state("hv2")
    with Drive(l, vm="uefi", owner="first", fence=25, lease=3, partition=PARTITION) as d:
        refused(t, "partition: one that is not there is told when a shard is reserved", d("reserve", 70, 1), PARTITION)
        t.same("partition: and nothing is left of it", begin, l.state("hv2"))
        l.host("hv2", "sh", "-c", MAKE_PARTITION)
        a = d("reserve", 70, 1)
        t.check("partition: once it is there the shard is reserved, and does not run", done(a) and l.domains("hv2")[name_of(70, "uefi")] == "shut off", a)
        b = d("allocate", 70, 1)
        with open(f"/proc/{l.qemu_pid('hv2', name_of(70, 'uefi')) if done(b) else 'self'}/cgroup") as f:
            groups = f.read()
        t.check("partition: the shard's process is in it", done(b) and "/shards.partition/" in groups, (b, groups))
        t.check("partition: the shard is released", done(d("release", 70)))
        l.host("hv2", "sh", "-c", "find /sys/fs/cgroup -depth -type d -name shards.partition -exec rmdir {} ';'")
    t.same("partition: nothing is left", begin, l.state("hv2"))


def test(t, l):
    from_template(t, l)
    firmware(t, l)
    virtual_functions(t, l)
    partitions(t, l)
