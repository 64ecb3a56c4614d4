# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the tests of this folder share: a lab of real libvirt hosts (lab.sh), and checks printed as TAP.

    import lab

    def test(t, l):                                   # t: Tap, l: Lab with three hosts that are up
        l.guest("hv1", "web", "10.78.1.1")            # defined and started (domain.sh); more=... see there
        l.wait_http("10.78.1.1")
        with l.load("http://10.78.1.1/") as load:     # a client in the controller's network, in the background
            l.virsh("hv1", "suspend", "web")
        t.check("no answer was lost", load.result["failed"] == 0, load.result)

    lab.main(test, hosts=3)                           # brings the lab up, runs, takes it down; skips without root

Hosts are "hv1".."hv3" = 10.78.0.11..13, the controller 10.78.0.1; give guests 10.78.1.x, 10.78.2.x ...
Programs that speak tcp or tls to the hosts, or http to guests, must run in the controller's network: l.fab([...]), l.start([...]).
Unix sockets (l.uri(host)) work from anywhere. l.sh(...) is any command of lab.sh. Waits are loops with a limit (l.wait); a test never
asks how long something took on this machine. On failure the hosts' logs and consoles stay in LAB_WORK/NAME.logs.

A Fake is a libvirtd without hosts and guests, for what real ones cannot do: a thousand guests, noise, silence at the wrong moment.

Environment, set by meson: LAB_WORK (folder of the labs and of what they share, default /tmp/sprlab-work)."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request

HERE = os.path.dirname(os.path.realpath(__file__))
WORK = os.path.realpath(os.environ.get("LAB_WORK", "/tmp/sprlab-work"))
CACHE = os.path.join(WORK, "cache")
PROGRAMS = {"libvirtd": "libvirt-daemon-system", "virsh": "libvirt-clients", "qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils",
            "certtool": "gnutls-bin", "curl": "curl", "cpio": "cpio", "sshd": "openssh-server", "ssh": "openssh-client", "modprobe": "kmod", "ip": "iproute2", "nsenter": "util-linux", "cc": "gcc"}


class LabError(Exception):
    """A command of the lab failed: the command and what it said."""


class Missing(Exception):
    """No lab can be had on this machine, and why."""


def run(command, check=True, timeout=120, **more):
    """subprocess.run with text, output caught, and an error that says what the command said."""
    r = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                       errors="replace", timeout=timeout, **more)
    if check and r.returncode:
        raise LabError(f"{' '.join(map(str, command))}: exit {r.returncode}: {(r.stderr + r.stdout).strip()[-600:]}")
    return r


def wait(what_is_true, limit=60, what="it", every=0.05):
    """Until the function returns something true -> that; LabError after `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        seen = what_is_true()
        if seen:
            return seen
        if time.monotonic() > end:
            raise LabError(f"waited {limit} s for {what}; last seen: {seen!r}")
        time.sleep(every)


class Load:
    """Clients that ask a URL without pause, or every `every` seconds, until the block ends. result: asked, failed, p50 and p99 in
    milliseconds, gap (the longest time in seconds without an answer, to the end of the block)."""

    def __init__(self, lab, url, clients=1, every=0.0, timeout=5):
        self.lab, self.command, self.result = lab, [sys.executable, os.path.join(HERE, "lab.py"), "load", url, clients, every, timeout], None

    def __enter__(self):
        self.process = self.lab.start(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdout.readline()  # it has begun
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.result = json.loads(self.process.stdout.read())
        self.process.wait()


def load_client(url, clients, every, timeout):
    """The other side of Load, in the controller's network: runs until its standard input ends."""
    stop, lock, times, failed, answered = threading.Event(), threading.Lock(), [], [], [time.monotonic()]

    def client():
        while not stop.is_set():
            began = time.monotonic()
            try:
                with urllib.request.urlopen(url, timeout=timeout) as r:
                    r.read()
                with lock:
                    answered.append(time.monotonic())
                    times.append(answered[-1] - began)
            except OSError as e:
                with lock:
                    failed.append(str(e))
                time.sleep(0.01)
            time.sleep(every)

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    sys.stdin.read()
    stop.set()
    with lock:
        answered.append(time.monotonic())
        answered.sort()
        times.sort()
        print(json.dumps({"asked": len(times) + len(failed), "failed": len(failed), "why": sorted(set(failed))[:3],
                          "p50": round(1000 * times[len(times) // 2], 2) if times else None,
                          "p99": round(1000 * times[len(times) * 99 // 100], 2) if times else None,
                          "gap": round(max(b - a for a, b in zip(answered, answered[1:])), 3)}), flush=True)
    os._exit(0)  # a client may hang in a request


class Lab:
    """Hosts that are up between `up` and `down`; a context manager does both. The lab ends with this process, however that ends."""

    def __init__(self, name, hosts=3, bandwidth=False):
        """bandwidth: hosts can limit interfaces even where this kernel lacks modules for it; without, they are as the kernel is."""
        self.name, self.hosts, self.folder = name, [f"hv{i + 1}" for i in range(hosts)], os.path.join(WORK, name)
        self.env = dict(os.environ, LAB=self.folder, LAB_CACHE=CACHE, LAB_OWNER=str(os.getpid()), GUEST=os.path.join(CACHE, "guest"),
                        LC_ALL="C", LIBVIRT_LOG_OUTPUTS="1:file:/dev/null")
        if bandwidth:
            self.env["LAB_TC_SHIM"] = "1"
        self.started, self.spaces, self._uris = [], set(), {}

    # ---- up, down, commands
    def up(self):
        os.makedirs(WORK, exist_ok=True)
        command = ["bash", os.path.join(HERE, "lab.sh"), "up", len(self.hosts)]
        r = run(command, False, 300, env=self.env)
        if r.returncode == 77:
            raise Missing(r.stderr.strip().split("\n")[-1])
        if r.returncode:
            raise LabError(f"lab.sh up: exit {r.returncode}: {r.stderr.strip()[-600:]}")
        return self

    def down(self):
        for p in self.started:
            if p.poll() is None:
                p.kill()
            p.wait()
        self.sh("down")

    def __enter__(self):
        return self.up()

    def __exit__(self, kind, *_):
        if kind:
            self.keep_logs()
        self.down()

    def keep_logs(self):
        logs = self.folder + ".logs"
        shutil.rmtree(logs, ignore_errors=True)
        for h in self.hosts:
            if os.path.isdir(os.path.join(self.folder, h, "log")):
                shutil.copytree(os.path.join(self.folder, h, "log"), os.path.join(logs, h))

    def sh(self, *command, check=True, timeout=120):
        """A command of lab.sh -> its output."""
        return run(["bash", os.path.join(HERE, "lab.sh"), *command], check, timeout, env=self.env).stdout

    def host(self, name, *command, check=True, timeout=60):
        """A command inside a host -> CompletedProcess."""
        return run(["bash", os.path.join(HERE, "lab.sh"), "exec", name, *command], check, timeout, env=self.env)

    def _in_fab(self, command):
        with open(os.path.join(self.folder, "fab.pid")) as f:
            return ["nsenter", f"--net=/proc/{f.read().split()[0]}/ns/net", "--", *map(str, command)]

    def fab(self, command, check=True, timeout=120, **more):
        """A command in the controller's network -> CompletedProcess."""
        return run(self._in_fab(command), check, timeout, **dict({"env": self.env}, **more))

    def start(self, command, **more):
        """A background process in the controller's network -> Popen; it ends with the lab at the latest."""
        p = subprocess.Popen(self._in_fab(command), **dict({"env": self.env, "text": True, "stdin": subprocess.DEVNULL}, **more))
        self.started.append(p)
        return p

    # ---- libvirt
    def uri(self, host, transport="unix"):
        """transport: unix, unix-ro, tcp, tls, tls-stranger, tls-foreign, ssh, libssh and so on (lab.sh says more)"""
        if (host, transport) not in self._uris:
            self._uris[host, transport] = self.sh("uri", host, transport).strip()
        return self._uris[host, transport]

    def virsh(self, host, *command, check=True, transport="unix", timeout=60):
        """virsh on a host -> output; with check=False the CompletedProcess."""
        r = self.fab(["virsh", "-q", "-c", self.uri(host, transport), *command], check, timeout)
        return r.stdout if check else r

    def domain_xml(self, name, ip, mib=96, vcpus=1, max_vcpus=None, **more):
        """The XML of a guest; more: DISK, DISKFORMAT, META, EXTRA, AGENT, MACHINE, MAXMIB, as domain.sh has them."""
        return run(["bash", os.path.join(HERE, "domain.sh"), name, ip, mib, vcpus, max_vcpus or vcpus],
                   env=dict(self.env, **{k: str(v) for k, v in more.items()})).stdout

    def define(self, host, xml):
        path = os.path.join(self.folder, f"define-{threading.get_ident()}.xml")
        with open(path, "w") as f:
            f.write(xml)
        try:
            self.virsh(host, "define", path)
        finally:
            os.unlink(path)

    def guest(self, host, name, ip, start=True, paused=False, **more):
        """Defines a guest and starts it (more: as domain_xml); wait_http tells when it serves."""
        self.define(host, self.domain_xml(name, ip, **more))
        if start:
            self.virsh(host, "start", name, *(["--paused"] if paused else []))

    def domains(self, host, **more):
        """{name: state} of all domains, running or not."""
        out = {}
        for line in self.virsh(host, "list", "--all", **more).splitlines():
            m = re.match(r"\s*(?:\d+|-)\s+(\S+)\s+(.+?)\s*$", line)
            out[m.group(1)] = m.group(2)
        return out

    def disk(self, name, mib=64, backing=None):
        """An image in the folder that all hosts share -> its path on the hosts. raw when no backing is given, filled in its first
        MiB with text that says where it is; else a qcow2 overlay of `backing` (a path on the hosts)."""
        inside, path = f"/var/lib/libvirt/shared/{name}", os.path.join(self.folder, "shared", name)
        if backing:
            self.host(self.hosts[0], "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2" if backing.endswith(".qcow2") else "raw",
                      "-b", backing, inside)
        else:
            with open(path, "wb") as f:
                for i in range(1024):
                    f.write(f"{name} KiB {i}\n".encode().ljust(1024, b"."))
                f.truncate(mib << 20)
        return inside

    def files(self, host):
        """What a shard could leave on a host: files (not logs) in libvirt's folders and the shared one, with sizes left out."""
        found = self.host(host, "find", "/var/lib/libvirt", "/etc/libvirt", "-xdev", "-not", "-type", "d",
                          "-not", "-name", "*.log", "-not", "-name", "*.sock").stdout.split("\n")
        shared = [os.path.join("/var/lib/libvirt/shared", f) for f in os.listdir(os.path.join(self.folder, "shared"))]
        return sorted(f for f in {*found, *shared} if f and "/qemu/domain-" not in f and "/master-key" not in f)

    def state(self, host):
        """All that a test compares before and after: domains with their definitions, secrets, files, taps, firewall tables."""
        v = lambda *c: self.virsh(host, *c)
        names = v("list", "--all", "--name").split()
        return {"domains": {n: v("dumpxml", "--inactive", n) for n in names}, "secrets": sorted(v("secret-list").split("\n")),
                "files": self.files(host), "links": sorted(re.findall(r"^\d+: (\S+?)[:@]", self.host(host, "ip", "-o", "link").stdout, re.M)),
                "firewall": self.host(host, "nft", "list", "tables", check=False).stdout}

    # ---- traffic and faults
    def http(self, ip, path="/", timeout=3):
        """(status, body); status 0 when there is no answer."""
        r = self.fab(["curl", "-s", "-m", timeout, "-w", "\n%{http_code}", f"http://{ip}{path}"], check=False, timeout=timeout + 20)
        body, _, code = r.stdout.rpartition("\n")
        return int(code or 0), body

    def wait_http(self, ip, path="/", limit=180):
        self.wait(lambda: self.http(ip, path)[0] == 200, limit, f"an answer of http://{ip}{path}")

    def wait(self, what_is_true, limit=60, what="it", every=0.05):
        return wait(what_is_true, limit, what, every)

    def load(self, url, clients=1, every=0.0, timeout=5):
        return Load(self, url, clients, every, timeout)

    def qemu_pid(self, host, guest):
        return int(self.sh("qemu-pid", host, guest))

    def kill_guest(self, host, guest, sig=signal.SIGKILL):
        os.kill(self.qemu_pid(host, guest), sig)

    def console(self, host, guest):
        return self.sh("console", host, guest, check=False)

    # ---- what of the lab is on this machine
    def traces(self):
        """Processes, control groups and files of this lab, wherever they are; all empty after down. Call it once while the lab is
        up: it remembers the namespaces, so that a process without our environment is found later too."""
        for path, kinds in [("fab.pid", ("net",)), *((f"{h}/pid", ("net", "pid", "mnt")) for h in self.hosts)]:
            try:
                with open(os.path.join(self.folder, path)) as f:
                    p = f.read().split()[0]
                self.spaces |= {os.readlink(f"/proc/{p}/ns/{kind}") for kind in kinds}
            except (OSError, IndexError):
                continue  # not up, or on its way down
        processes = []
        for p in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{p}/environ", "rb") as f:
                    ours = f"LAB={self.folder}".encode() in f.read().split(b"\0")
                if ours or any(os.readlink(f"/proc/{p}/ns/{kind}") in self.spaces for kind in ("net", "pid", "mnt")):
                    with open(f"/proc/{p}/cmdline", "rb") as f:
                        processes.append(f"{p} {f.read().replace(bytes(1), b' ').decode(errors='replace')[:80]}")
            except OSError:
                continue  # it ended while we looked
        ident = run(["bash", "-c", "printf %s \"$1\" | sha256sum | cut -c1-10", "-", self.folder]).stdout.strip()
        groups = run(["find", "/sys/fs/cgroup", "-type", "d", "-name", f"sprlab-{ident}-*"], check=False).stdout.split()
        files = [f for f in (self.folder, f"/tmp/sprlab-{ident}") if os.path.lexists(f)]
        return {"processes": processes, "groups": groups, "files": files}


class Fake:
    """A fake daemon (fake_libvirtd.py says what it can do) between `with` and its end: uri, and tell(command) -> its answer."""
    made = 0

    def __init__(self, *options):
        Fake.made += 1  # a socket's path must be short; the daemon removes it when this process ends, however it ends
        self.socket = os.path.join(tempfile.gettempdir(), f"sprfake-{os.getpid()}-{Fake.made}")
        self.uri = f"qemu+unix:///system?socket={self.socket}"
        self.command = [sys.executable, os.path.join(HERE, "fake_libvirtd.py"), self.socket, *map(str, options)]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise LabError("the fake daemon does not start")
        return self

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer or answer.startswith("error"):
            raise LabError(f"fake daemon: {command}: {answer}")
        return answer

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def machine():
    """The machine's own things that a lab must not touch: links, named network namespaces, mounts, libvirt's folders."""
    tree = run(["find", "/etc/libvirt", "/var/lib/libvirt", "/run/libvirt", "/var/log/libvirt", "/etc/pki"], check=False).stdout.split("\n")
    with open("/proc/self/mountinfo") as f:
        mounts = sorted(line.split()[4] for line in f)
    return {"links": sorted(re.findall(r"^\d+: (\S+?)[:@]", run(["ip", "-o", "link"]).stdout, re.M)),
            "netns": run(["ip", "netns", "list"], check=False).stdout, "mounts": mounts, "libvirt": sorted(tree)}


class Tap:
    """Checks with a name, a verdict, and what was seen. Nothing is ever skipped half way."""

    def __init__(self):
        self.count = self.failed = 0

    def check(self, name, good, seen=""):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}")
        if not good and seen != "":
            for line in (seen if isinstance(seen, str) else repr(seen))[:3000].split("\n"):
                print(f"#   {line}")
        sys.stdout.flush()
        return bool(good)

    def same(self, name, want, have):
        """Two states (dicts) must be equal; says in what they differ."""
        keys = sorted(k for k in {*want, *have} if want.get(k) != have.get(k))
        self.check(name, not keys, "\n".join(f"{k}: {want.get(k)!r} -> {have.get(k)!r}" for k in keys))

    def note(self, text):
        print(f"# {text}", flush=True)

    def end(self):
        print(f"1..{self.count}", flush=True)
        sys.exit(1 if self.failed or not self.count else 0)


def missing():
    """Why no lab can be had here; None when it can."""
    if os.geteuid() != 0:
        return "a lab of hosts needs root"
    lacks = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")})
    if not os.path.exists("/usr/share/OVMF/OVMF_CODE_4M.fd"):
        lacks.append("ovmf")
    return f"packages are missing: {' '.join(lacks)}" if lacks else None


def skip_or_fail(why):
    """A skip with its reason; in CI, where all that a lab needs must be there, a failure."""
    if os.environ.get("CI") == "true":
        print(f"1..1\nnot ok 1 - the lab can be had\n#   {why}")
        sys.exit(1)
    print(f"1..0 # SKIP {why}")
    sys.exit(0)  # meson takes any other status of a program that speaks TAP for an error


def main(test, hosts=3, name=None, bandwidth=False):
    """Runs test(tap, lab) and never returns. hosts=0: test(tap), without a lab. The lab is named after the script."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if hosts:
        why = missing()
        if why:
            skip_or_fail(why)

    def asked_to_end(number, _):  # meson's time limit: the lab goes down before we do
        raise SystemExit(f"signal {number}")

    signal.signal(signal.SIGTERM, asked_to_end)
    signal.signal(signal.SIGINT, asked_to_end)
    t = Tap()
    name = name or os.path.splitext(os.path.basename(sys.argv[0]))[0]
    try:
        if hosts:
            with Lab(name, hosts, bandwidth) as l:
                try:
                    test(t, l)
                finally:
                    if t.failed:
                        l.keep_logs()
        else:
            test(t)
    except Exception as why:
        if isinstance(why, Missing) and not t.count:
            skip_or_fail(str(why))
        t.check("the test ran to its end", False, traceback.format_exc())
    t.end()


if __name__ == "__main__":
    if sys.argv[1:2] != ["load"]:
        sys.exit("usage: lab.py load URL CLIENTS EVERY TIMEOUT")
    load_client(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
