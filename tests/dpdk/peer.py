# SPDX-License-Identifier: MIT OR Apache-2.0
"""What tests of whole routers without a network share: TCP frames made by hand, the tool's process, and the program that
has its ports' other ends (peer.c)."""
import collections
import json
import os
import select
import signal
import struct
import subprocess
import time

from net import Control, wait

VIP, PORT, CONNECTIONS, WINDOW = "198.51.100.7", 80, 200, 64
CLIENT_MAC, ROUTED_MAC, PRIMARY, SHARD = (f"02000000050{n}" for n in (1, 2, 3, 4))
SYN, ACK, PUSH, FIN = 2, 16, 24, 17


# ---- frames ----

def total(data):
    data += b"\0" * (len(data) % 2)
    n = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while n >> 16:
        n = (n & 0xffff) + (n >> 16)
    return ~n & 0xffff


def address(text):
    return bytes(int(x) for x in text.split("."))


def tcp(source, port, flags, payload=b"", destination=VIP, to=PORT):
    a, b = address(source), address(destination)
    head = lambda checksum: struct.pack("!HHIIBBHHH", port, to, 1000, 2000, 5 << 4, flags, 65535, checksum, 0)
    whole = head(total(a + b + struct.pack("!BBH", 0, 6, 20 + len(payload)) + head(0) + payload)) + payload
    ip = lambda checksum: struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(whole), port, 0x4000, 64, 6, checksum, a, b)
    return bytes.fromhex(ROUTED_MAC + CLIENT_MAC) + b"\x08\0" + ip(total(ip(0))) + whole


def connections(first):
    """Opened and used: SYN, ACK, a short and a full segment of each, one round after the other."""
    who = [(f"192.0.2.{1 + i % 200}", first + i) for i in range(CONNECTIONS)]
    return [tcp(a, p, flags, payload) for flags, payload in ((SYN, b""), (ACK, b""), (PUSH, b"hello"), (PUSH, b"x" * 1460)) for a, p in who]


def later(first):
    return [tcp(f"192.0.2.{1 + i % 200}", first + i, PUSH, b"more") for i in range(CONNECTIONS)]


def who(frame):
    return frame[26:30], frame[34:36]


def bodies(frames):
    return collections.Counter(f[12:] for f in frames)


def split(frames):
    """@return connections by the MAC addresses that they were sent to"""
    macs = collections.defaultdict(set)
    for f in frames:
        macs[who(f)].add(f[:6].hex())
    return collections.Counter("/".join(sorted(x)) for x in macs.values())


# ---- processes ----

def l2(name, mac, port=1):
    return {"name": name, "action": "l2", "port": port, "mac": ":".join(mac[i:i + 2] for i in range(0, 12, 2))}


def service(**more):
    return {"name": "web", "address": VIP, "protocol": "tcp", "port": PORT, "primary": "p", **more}


class Router:
    """The tool's process on a configuration of `ports`; `more` are other keys of the file."""

    def __init__(self, tool, work, ports, name="router", **more):
        self.log, path, control = (os.path.join(work, name + x) for x in (".log", ".yaml", ".control"))
        with open(path, "w") as f:  # YAML reads JSON
            json.dump({"schema": 1, "memory_mb": 64, "ports": ports,
                       **{"backends": [l2("p", PRIMARY), l2("s", SHARD)], "services": [service()], **more}}, f)
        with open(self.log, "w") as log:
            self.p = subprocess.Popen([tool, "router", "--config", path, "--control", control], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.control = None

        def answers():
            if self.p.poll() is not None:
                raise RuntimeError(f"the router ended with {self.p.returncode}: {self.said()}")
            try:
                self.control = Control(control)
                return self.control.ask("stats")
            except OSError:
                return False
        try:
            wait(answers, "the router answers")
        except BaseException:
            self.close()
            raise

    def said(self):
        with open(self.log, errors="replace") as f:
            return f.read()[-800:]

    def spill(self, share):
        generation = self.control.ask("spill_set", service="web", weights={"s": share}, ramp_per_s=0)["generation"]
        wait(lambda: self.control.ask("switched", generation=generation)["switched"], "lcores go by the new shares")

    def counted(self):
        a = self.control.ask("stats")
        return a["received"]["packets"], a["counters"]

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        return self.p.wait(60)

    def close(self):
        if self.control:
            self.control.close()
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()


class Peer:
    """The ports' other ends, by EAL's --vdev."""

    def __init__(self, program, work, devices):
        self.err = open(os.path.join(work, "peer.log"), "w+")
        args = [program, "-l", "0", "--no-huge", "-m", "64", "--no-pci", "--no-telemetry", "--no-shconf", "--log-level=error", f"--file-prefix=spr-pmds-{os.getpid()}"]
        self.p = subprocess.Popen(args + [f"--vdev={x}" for x in devices], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err)
        self.rest, self.got, self.took, self.ready = b"", {0: [], 1: []}, 0, False
        os.set_blocking(self.p.stdout.fileno(), False)
        os.set_blocking(self.p.stdin.fileno(), False)
        try:
            self.until(lambda: self.ready, "the peer is ready")
        except BaseException:
            self.close()
            raise

    def read(self, seconds):
        if not select.select([self.p.stdout], [], [], seconds)[0]:
            return
        data = os.read(self.p.stdout.fileno(), 1 << 20)
        if not data:
            self.err.seek(0)
            raise RuntimeError(f"the peer ended with {self.p.wait(20)}: {self.err.read()[-600:]}")
        *lines, self.rest = (self.rest + data).split(b"\n")
        for x in lines:
            word, n, *frame = x.split()
            if word == b"got":
                self.got[int(n)].append(bytes.fromhex(frame[0].decode()))
            elif word == b"took":
                self.took += int(n)
            else:
                self.ready = True

    def until(self, good, what, seconds=60):
        end = time.monotonic() + seconds
        while not good():
            if time.monotonic() > end:
                raise RuntimeError(f"waited {seconds} s in vain: {what}")
            self.read(.05)

    def send(self, port, frames, expect=None):
        """Sends, and waits until as many came out at `expect` (a port): a window at a time, which the ring of a guest that
        does not run just now can hold, for what finds no room there is dropped. @return those that came"""
        self.got, end = {0: [], 1: []}, time.monotonic() + 20
        for i in range(0, len(frames), WINDOW):
            self.send_window(port, frames[i:i + WINDOW])
            while expect is not None and len(self.got[expect]) < min(i + WINDOW, len(frames)) and time.monotonic() < end:
                self.read(.05)
        return self.got[expect] if expect is not None else []

    def send_window(self, port, frames):
        text, goal = b"".join(b"send %d %s\n" % (port, f.hex().encode()) for f in frames), self.took + len(frames)
        while text:
            try:
                text = text[os.write(self.p.stdin.fileno(), text[:1 << 16]):]
            except BlockingIOError:
                pass
            self.read(0)
        self.until(lambda: self.took >= goal, "the peer sends")

    def stop(self):
        self.p.stdin.close()
        os.set_blocking(self.p.stdout.fileno(), True)
        self.p.stdout.read()
        return self.p.wait(60)

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()
        self.err.close()
