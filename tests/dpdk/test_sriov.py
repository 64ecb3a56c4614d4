# SPDX-License-Identifier: MIT OR Apache-2.0
"""The sriov library on a real kernel: a guest with two emulated SR-IOV cards and an IOMMU runs sriov/inside.sh. Prints TAP.

usage: test_sriov.py HOLD TOOL   (programs of the build folder)
Skipped, with the reason, without root, programs, or a QEMU that has the igb card (fetch.sh takes it from backports)."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
SOURCE = os.path.realpath(os.path.join(HERE, "..", ".."))
WORK = os.path.realpath(os.environ.get("DPDK_WORK", "/tmp/spr-dpdk"))
PROGRAMS = {"cpio": "cpio", "modprobe": "kmod", "busybox": "busybox-static", "ip": "iproute2", "dpkg": "dpkg", "flock": "util-linux"}
BOOT_S = 480  # everything is emulated


def skip(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


def static(program):
    r = subprocess.run(["ldd", shutil.which(program)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return r.returncode != 0


def prepare():
    if os.geteuid():
        skip("a guest with the host's files needs root")
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            skip(f"{program} is missing; package {package}")
    if not static("busybox"):
        skip("busybox is not static; package busybox-static")
    fetched = os.path.join(WORK, "sriov-cache")
    r = subprocess.run(["bash", os.path.join(HERE, "sriov", "fetch.sh"), fetched], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=300)
    if r.returncode:
        skip(r.stdout.strip().splitlines()[-1] if r.stdout.strip() else "QEMU with igb cannot be had")
    return fetched


def boot(fetched, job, build):
    with open(os.path.join(job, "run"), "w") as f:
        f.write("BUILD=/build SOURCE=/source\nexport BUILD SOURCE\n. /source/tests/dpdk/sriov/inside.sh\n")
    try:
        subprocess.run(["bash", os.path.join(HERE, "sriov", "guest.sh"), fetched, job, build, SOURCE], stdin=subprocess.DEVNULL,
                       timeout=BOOT_S)
        return "the guest has ended before its checks"
    except subprocess.TimeoutExpired:
        return f"the guest was not done in {BOOT_S} s"


def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def main(hold, tool):
    build = os.path.realpath(os.path.join(os.path.dirname(hold), "..", ".."))
    fetched = prepare()
    os.makedirs(WORK, exist_ok=True)
    job = tempfile.mkdtemp(prefix="sriov-", dir=WORK)
    ended = boot(fetched, job, build)
    n = 0
    for line in read(os.path.join(job, "out")).splitlines():
        m = re.match(r"(ok|not ok) (.*)", line)
        n += bool(m)
        print(f"{m[1]} {n} - {m[2]}" if m else line if line.startswith("#") else "# " + line)
    code = read(os.path.join(job, "code")).strip()
    n += 1
    print(f"{'ok' if code == '0' else 'not ok'} {n} - the guest ran all of it")
    if code != "0":
        print(f"# {ended}, exit code '{code}'")
        for name in ("qemu.log", "console"):
            print("\n".join("# " + text for text in read(os.path.join(job, name)).splitlines()[-20:]))
    else:
        shutil.rmtree(job)
    print(f"1..{n}")


main(*[os.path.realpath(p) for p in sys.argv[1:3]])
