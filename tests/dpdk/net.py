# SPDX-License-Identifier: MIT OR Apache-2.0
"""A test bed of network namespaces: client - router - bridge - primary and three shards, with the kernel's own TCP at all
ends. All servers have the service's address on `lo` and answer by themselves; s3 sits behind VXLAN, which its kernel ends.

Neighbours are static and transmit checksums are computed in software everywhere: on veth the kernel would leave them to
a card that does not exist. One queue each: AF_XDP on veth has no more."""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

VIP, CLIENT, SOURCES = "10.9.9.9", "10.9.0.1", 8
HOLDER = "10.9.0.9"  # connections that live have an address of their own: none of a server's TIME_WAITs has their ports
SERVERS = {"p": 20, "s1": 21, "s2": 22, "s3": 23}
VNI, TUNNEL = 7, "10.8.0.254"


def mac(n):
    return f"02:00:00:00:09:{n:02d}"


def sh(*args, check=True, **more):
    r = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, **more)
    if check and r.returncode:
        raise RuntimeError(f"{' '.join(args)}: {r.stderr.strip()}")
    return r.stdout


class Control:
    """A connection to the router's control socket."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(30)
        self.s.connect(path)
        self.f = self.s.makefile("rb")

    def ask(self, command, **more):
        self.s.sendall(json.dumps(dict(cmd=command, **more)).encode() + b"\n")
        line = self.f.readline()
        if not line:
            raise RuntimeError("the router closed its control socket")
        a = json.loads(line)
        if "error" in a:
            raise RuntimeError(f"{command} {more}: {a['error']}")
        return a

    def close(self):
        self.f.close()
        self.s.close()


class Bed:
    """Namespaces, servers and the router's process; `close` leaves nothing of them."""

    def __init__(self, tool, server):
        self.tool, self.server = tool, server
        self.work = tempfile.mkdtemp(prefix="spr-net-")
        self.region = tempfile.mkdtemp(prefix="spr-net-", dir="/dev/shm")
        self.prefix = f"spr{os.getpid()}-"
        self.spaces, self.running, self.servers = [], [], {}
        self.router = self.control = None

    # ---- the wires ----

    def space(self, name):
        sh("ip", "netns", "add", self.prefix + name)
        self.spaces.append(name)
        self.ip(name, "link", "set", "lo", "up")
        for key in ("ipv6.conf.all.disable_ipv6=1", "ipv6.conf.default.disable_ipv6=1", "ipv4.conf.all.rp_filter=0", "ipv4.conf.default.rp_filter=0",
                    "ipv4.ip_local_port_range=2048 65000", "core.somaxconn=4096", "ipv4.tcp_max_syn_backlog=8192"):
            self.inside(name, "sysctl", "-qw", "net." + key)

    def inside(self, name, *args, **more):
        return sh("ip", "netns", "exec", self.prefix + name, *args, **more)

    def ip(self, name, *args, **more):
        return sh("ip", "-n", self.prefix + name, *args, **more)

    def wire(self, a, a_if, a_mac, b, b_if, b_mac):
        sh("ip", "link", "add", a_if, "address", a_mac, "numrxqueues", "1", "numtxqueues", "1", "netns", self.prefix + a, "type", "veth",
           "peer", "name", b_if, "address", b_mac, "numrxqueues", "1", "numtxqueues", "1", "netns", self.prefix + b)
        for space, name in ((a, a_if), (b, b_if)):
            self.inside(space, "ethtool", "-K", name, "tx", "off")
            self.ip(space, "link", "set", name, "up")

    def build(self):
        for name in ("cl", "rt", "sw", *SERVERS):
            self.space(name)
        self.wire("cl", "c0", mac(1), "rt", "l0", mac(10))
        self.wire("sw", "b0", mac(12), "rt", "l1", mac(11))
        for i in range(SOURCES + 1):
            self.ip("cl", "addr", "add", f"10.9.0.{1 + i}/24", "dev", "c0")
        self.ip("cl", "route", "add", VIP, "dev", "c0", "src", CLIENT)
        self.ip("cl", "neigh", "add", VIP, "lladdr", mac(10), "dev", "c0", "nud", "permanent")
        self.ip("sw", "link", "add", "name", "bridge0", "type", "bridge")
        self.ip("sw", "link", "set", "bridge0", "up")
        self.ip("sw", "link", "set", "b0", "master", "bridge0")
        sh("bridge", "-n", self.prefix + "sw", "fdb", "add", mac(1), "dev", "b0", "master", "static")
        for name, n in SERVERS.items():
            self.wire("sw", "b" + name, mac(n + 50), name, "e0", mac(n))
            self.ip("sw", "link", "set", "b" + name, "master", "bridge0")
            self.ip(name, "addr", "add", VIP + "/32", "dev", "lo")
            self.ip(name, "addr", "add", f"10.9.0.{n}/24", "dev", "e0")
            for i in range(SOURCES + 1):
                self.ip(name, "neigh", "add", f"10.9.0.{1 + i}", "lladdr", mac(1), "dev", "e0", "nud", "permanent")
        self.ip("s3", "addr", "add", "10.8.0.3/24", "dev", "e0")
        self.ip("s3", "link", "add", "name", "vx", "address", mac(33), "type", "vxlan", "id", str(VNI), "dstport", "4789", "local", "10.8.0.3", "dev", "e0", "nolearning")
        self.ip("s3", "link", "set", "vx", "up")
        for name in SERVERS:
            self.serve(name)

    # ---- processes ----

    def start(self, space, *args, **more):
        p = subprocess.Popen(["ip", "netns", "exec", self.prefix + space, *args], text=True, **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **more})
        self.running.append(p)
        return p

    def serve(self, name):
        self.servers[name] = self.start(name, self.server, name, VIP, "80")
        wait(lambda: ":80 " in self.inside(name, "ss", "-Hltn"), f"the server of {name} listens")

    def again(self, name):
        """A drained shard comes back as a new one."""
        self.control.ask("begin")
        self.control.ask("backend_remove", name=name)
        self.control.ask("backend_set", **self.l2(name))
        self.control.ask("commit")

    def l2(self, name):
        return {"name": name, "action": "l2", "port": 1, "mac": mac(SERVERS[name])}

    def configure(self, driver, queues, on_dead):
        dev = lambda i: {"type": driver, "interface": f"l{i}"}
        tunnel = {"name": "s3", "action": "vxlan", "port": 1, "mac": mac(23), "inner_mac": mac(33), "address": "10.8.0.3", "source_address": TUNNEL, "vni": VNI, "mtu": 1500}
        service = lambda name, port: {"name": name, "address": VIP, "protocol": "tcp", "port": port, "primary": "p", "on_dead": on_dead, "idle_s": 300}
        with open(os.path.join(self.work, "router.yaml"), "w") as f:  # YAML reads JSON
            json.dump({"schema": 1, "queues": queues, "region": self.region, "name": driver, "memory_mb": 64, "ports": [dev(0), dev(1)],
                       "backends": [self.l2("p"), self.l2("s1"), self.l2("s2"), tunnel], "services": [service("web", 80), service("bulk", 5201)]}, f)

    def route(self):
        """Starts the router; AF_XDP's programs of one that was killed are taken away first."""
        for name in ("l0", "l1"):
            self.ip("rt", "link", "set", name, "xdp", "off")
        self.log = os.path.join(self.work, "log")
        path = os.path.join(self.work, "control")
        with open(self.log, "a") as log:
            self.router = self.start("rt", self.tool, "router", "--config", os.path.join(self.work, "router.yaml"), "--control", path, stdout=log, stderr=log)

        def answers():
            if self.router.poll() is not None:
                with open(self.log) as f:
                    raise RuntimeError(f"the router ended with {self.router.returncode}: {f.read()[-600:]}")
            try:
                self.control = Control(path)
                return self.control.ask("stats")
            except OSError:
                return False

        wait(answers, "the router answers")

    def kill(self, p):
        p.kill()
        p.wait()
        self.running.remove(p)

    def stop(self):
        """@return exit code of the router after SIGTERM"""
        self.control.close()
        self.router.send_signal(signal.SIGTERM)
        code = self.router.wait(60)
        self.running.remove(self.router)
        return code

    # ---- what the kernels counted ----

    def tcp(self, space, name):
        heads, values = [x.split() for x in self.inside(space, "cat", "/proc/net/snmp").splitlines() if x.startswith("Tcp:")]
        return int(values[heads.index(name)])

    def link(self, space, name):
        return json.loads(self.ip(space, "-j", "-s", "link", "show", "dev", name))[0]["stats64"]

    def close(self):
        for p in self.running:
            if p.poll() is None:
                p.kill()
            p.wait()
        for name in self.spaces:
            sh("ip", "netns", "del", self.prefix + name, check=False)
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.rmtree(self.region, ignore_errors=True)


def wait(good, what, seconds=60):
    until = time.monotonic() + seconds
    while not good():
        if time.monotonic() > until:
            raise RuntimeError(f"waited {seconds} s in vain: {what}")
        time.sleep(.02)
