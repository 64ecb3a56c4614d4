# SPDX-License-Identifier: MIT OR Apache-2.0
"""A libvirtd that is not there: speaks libvirt's protocol on a Unix socket and replays what a real one said of real guests.

    fake_libvirtd.py SOCKET [--guests N] [--step SECONDS] [--at K:COMMAND]... [--meta XML]

libvirt's own client library connects to it: qemu+unix:///system?socket=SOCKET. N guests guest-0000.. (default 3) replay the recordings
of fixtures/guests.json by turns; their counters grow as the recorded ones did, on and on, by the clock or by SECONDS at each call for
statistics. Prints "ready", then takes commands, one a line, from standard input (its end is the daemon's); each is answered by "ok":

    restart GUEST     its counters begin at nothing, its id is new        stop GUEST     start GUEST
    away GUEST        it migrates to somewhere else                       back GUEST     it comes back, counters at nothing
    slow SECONDS      each answer with statistics takes as long           deaf           answers keepalives, nothing else
    hang              answers nothing at all                              well           the end of slow, deaf and hang
    hangup            half of the next statistics, then the connection closes
    garbage           the next statistics are noise                       huge           the next packet claims to have 2 GB
    many              the next statistics have more values than libvirt takes
    error             the next statistics fail                            drop           closes all connections
    calls             prints how often statistics were asked for, and by how many connections

--at K:COMMAND carries a command out just before the K-th call for statistics (from 1) is answered. --meta XML is every guest's
metadata element. Only what reads is spoken; every other call is refused as libvirt refuses what a driver does not have."""
import argparse
import json
import os
import queue
import random
import re
import socket
import sys
import threading
import time
import uuid

import rpc

COUNTER = re.compile(r"cpu\.(time|user|system|haltpoll\.\w+\.time)$|vcpu\.\d+\.(time|wait|delay)$|net\.\d+\.[rt]x\.\w+$|"
                     r"block\.\d+\.(rd|wr|fl)\.\w+$|balloon\.(swap_in|swap_out|major_fault|minor_fault)$")
NO_SUPPORT, OPERATION_FAILED, NO_DOMAIN, NO_METADATA = 3, 9, 42, 80
FROM_QEMU, FROM_RPC, FROM_DOMAIN = 10, 7, 20
DEFINED, STARTED, STOPPED = 0, 2, 5  # lifecycle events
SHUTOFF, RUNNING = 5, 1


class Recording:
    """One recorded guest: values at any time after its start, counters from zero, gauges as they were at that phase."""

    def __init__(self, times, record):
        self.times, self.samples, self.fields, self.xml = [t - times[0] for t in times], record["samples"], record["fields"], record["xml"]
        self.period = self.times[-1]
        self.plan = []
        for i, (name, kind) in enumerate(self.fields):
            first, last = self.samples[0][i], self.samples[-1][i]
            head = rpc.string(name) + rpc.u32(kind)
            if COUNTER.match(name):
                self.plan.append((rpc.STATS[name.split(".")[0]], head, kind, "counter", i, last - first))
            else:
                self.plan.append((rpc.STATS[name.split(".")[0]], head, kind, name, i, 0))

    def at(self, t, wanted, number):
        """The encoded parameters of guest `number`, t seconds after its start -> (how many, bytes)."""
        turns, phase = divmod(t, self.period)
        k = 0
        while self.times[k + 1] < phase:
            k += 1
        a, b = self.samples[k], self.samples[k + 1]
        first, part, out = self.samples[0], (phase - self.times[k]) / (self.times[k + 1] - self.times[k]), []
        for group, head, kind, what, i, whole in self.plan:
            if not group & wanted:
                continue
            if what == "counter":
                value = int(turns * whole + a[i] - first[i] + (b[i] - a[i]) * part)
            elif what == "balloon.last-update":
                value = int(time.time())
            else:
                value = a[i]
            if kind == rpc.STRING:
                if what == "net.0.name":
                    value = f"vnet{number}"
                out.append(head + rpc.string(value))
            else:
                out.append(head + rpc.VALUE[kind].pack(value))
        return len(out), b"".join(out)


class Guest:
    def __init__(self, number, recording, started):
        self.name, self.number, self.recording, self.started = f"guest-{number:04d}", number, recording, started
        self.uuid, self.ident, self.here = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:fake:{number}").bytes, number + 1, True

    def wire(self):
        return rpc.domain(self.name, self.uuid, self.ident)

    def xml(self):
        text = re.sub(r"<name>.*?</name>", f"<name>{self.name}</name>", self.recording.xml, 1)
        return re.sub(r"<uuid>.*?</uuid>", f"<uuid>{uuid.UUID(bytes=self.uuid)}</uuid>", text, 1)

    def info(self):
        fields = {f: self.recording.samples[0][i] for i, (f, _) in enumerate(self.recording.fields)}
        return fields["balloon.maximum"], fields["balloon.current"], fields["vcpu.current"]


class Refused(Exception):
    def __init__(self, code, where, text):
        super().__init__(text)
        self.code, self.where = code, where


class Host:
    """What is on the host, and how it behaves."""

    def __init__(self, options):
        with open(os.path.join(os.path.dirname(os.path.realpath(__file__)), "fixtures", "guests.json")) as f:
            data = json.load(f)
        self.facts, times = data.pop("host"), data.pop("times")
        recordings = [Recording(times, data[name]) for name in ("idle", "web", "busy")]
        self.lock, self.changed = threading.RLock(), threading.Condition()
        self.step, self.began, self.meta = options.step, time.monotonic(), options.meta
        self.guests = [Guest(i, recordings[i % 3], -1000.0 - 37.0 * i) for i in range(options.guests)]
        self.next_id, self.mode, self.slow, self.fault = options.guests + 1, "well", 0.0, None
        self.calls, self.connections, self.seen = 0, [], 0
        self.plan = {}
        for entry in options.at:
            k, _, command = entry.partition(":")
            self.plan.setdefault(int(k), []).append(command)

    def now(self):
        return self.calls * self.step if self.step else time.monotonic() - self.began

    # ---- commands
    def command(self, line):
        word, *rest = line.split()
        if word in ("restart", "stop", "start", "away", "back"):
            self.change(word, next((g for g in self.guests if g.name == rest[0]), None))
        elif word == "slow":
            self.slow = float(rest[0])
        elif word in ("deaf", "hang", "well"):
            with self.changed:
                self.mode = word
                self.slow = 0.0 if word == "well" else self.slow
                self.changed.notify_all()
        elif word in ("hangup", "garbage", "huge", "many", "error"):
            self.fault = word
        elif word == "drop":
            for c in list(self.connections):
                c.close()
        elif word == "calls":
            return f"{self.calls} {self.seen}"
        else:
            raise ValueError(f"no command '{word}'")
        return "ok"

    def change(self, word, g):
        """What happens to a guest, with the events that libvirt sends then."""
        if g is None:
            raise ValueError("no such guest")
        with self.lock:
            if word in ("restart", "stop", "away"):
                old = g.wire()
                g.ident = -1
                g.here = word != "away"
                self.tell(old, STOPPED, 3 if word == "away" else 0)
            if word in ("restart", "start", "back"):
                g.ident, g.here, g.started = self.next_id, True, self.now()
                self.next_id += 1
                self.tell(g.wire(), STARTED, 1 if word == "back" else 0)

    def tell(self, wire, event, detail):
        for c in list(self.connections):
            c.event(wire, event, detail)

    # ---- calls
    def find(self, **how):
        with self.lock:
            for g in self.guests:
                if g.here and all(getattr(g, k) == v for k, v in how.items()):
                    return g
        raise Refused(NO_DOMAIN, FROM_QEMU, f"Domain not found: no domain with matching {', '.join(f'{k} {v!r}' for k, v in how.items())}")

    def listed(self, flags):
        """Bits of virConnectListAllDomainsFlags that matter here: 1 active, 2 inactive, 16 running, 32 paused, 64 shut off."""
        with self.lock:
            return [g for g in self.guests if g.here and (not flags & 3 or flags & (1 if g.ident > 0 else 2))
                    and (not flags & 240 or flags & (16 if g.ident > 0 else 64))]

    def stats(self, r):
        asked = [r.domain()[1] for _ in range(r.u32())]
        groups, flags = r.u32() or 2047, r.u32()
        with self.lock:
            self.calls += 1
            for command in self.plan.get(self.calls, []):
                self.command(command)
            if self.fault == "error":
                self.fault = None
                raise Refused(OPERATION_FAILED, FROM_QEMU, "operation failed: the fake daemon was told to fail")
            guests, now, records = [g for g in self.listed(flags) if not asked or g.uuid in asked], self.now(), []
            for g in guests:
                if g.ident > 0:
                    count, values = g.recording.at(now - g.started, groups, g.number)
                else:
                    count = 2 if groups & 1 else 0
                    values = b"".join(rpc.string(f) + rpc.u32(rpc.INT) + rpc.u32(v) for f, v in (("state.state", SHUTOFF), ("state.reason", 1))[:count])
                records += [g.wire(), rpc.u32(count), values]
            if self.fault == "many" and guests:
                self.fault, one = None, rpc.string("x") + rpc.u32(rpc.INT) + rpc.u32(0)
                return rpc.u32(1) + guests[0].wire() + rpc.u32(300000) + one * 300000
        return rpc.u32(len(guests)) + b"".join(records)

    def answer(self, name, r):
        """The body of the reply to a call."""
        f = self.facts
        if name == "auth_list":
            return rpc.u32(1) + rpc.u32(0)
        if name in ("open", "close", "close_callback_on", "close_callback_off"):
            return b""
        if name == "supports_feature":
            return rpc.u32(r.i32() in (10, 11, 14, 15))
        if name in ("hostname", "capabilities"):
            return rpc.string(f[name])
        if name in ("version", "lib_version"):
            return rpc.u64(f[name])
        if name in ("type", "uri", "os_type"):
            return rpc.string({"type": "QEMU", "uri": "qemu:///system", "os_type": "hvm"}[name])
        if name == "node_info":
            model, memory, *rest = f["node"]
            return b"".join(rpc.u32(c) for c in model.encode().ljust(32, b"\0")) + rpc.u64(memory) + b"".join(map(rpc.u32, rest))
        if name == "free_memory":
            return rpc.u64(f["free"])
        if name == "cells_free_memory":
            return rpc.u32(1) + rpc.u64(f["free"])
        if name in ("node_cpu_stats", "node_memory_stats"):
            return self.counts(name, r)
        if name in ("list_node_devices", "list_secrets"):
            return rpc.u32(0) + rpc.u32(0)
        if name == "list_domains":
            want, guests = r.u32(), self.listed(r.u32())
            return (rpc.u32(len(guests)) + b"".join(g.wire() for g in guests) if want else rpc.u32(0)) + rpc.u32(len(guests))
        if name == "all_domain_stats":
            return self.stats(r)
        if name in ("by_name", "by_uuid", "by_id"):
            return self.find(**{"by_name": lambda: {"name": r.string()}, "by_uuid": lambda: {"uuid": r.raw(16)},
                                "by_id": lambda: {"ident": r.i32()}}[name]()).wire()
        return self.of_domain(name, r)

    def counts(self, name, r):
        values = self.facts["cpu_stats" if name == "node_cpu_stats" else "memory_stats"]
        asked = r.i32() if name == "node_memory_stats" else (r.i32(), r.i32())[1]
        if asked == 0:
            return rpc.u32(0) + rpc.u32(len(values))
        grown = self.now() * 1e9 if name == "node_cpu_stats" else 0
        return rpc.u32(len(values)) + b"".join(rpc.string(k) + rpc.u64(int(v + grown / len(values))) for k, v in values) + rpc.u32(0)

    def of_domain(self, name, r):
        if name not in ("domain_xml", "domain_info", "domain_state", "persistent", "autostart", "managed_save", "messages", "metadata"):
            raise Refused(NO_SUPPORT, FROM_RPC, "this function is not supported by the connection driver: the fake daemon only reads")
        g = self.find(uuid=r.domain()[1])
        runs = g.ident > 0
        if name == "domain_xml":
            return rpc.string(g.xml())
        if name == "domain_info":
            maximum, current, vcpus = g.info()
            return rpc.u32(RUNNING if runs else SHUTOFF) + rpc.u64(maximum) + rpc.u64(current if runs else 0) + rpc.u32(vcpus) + rpc.u64(0)
        if name == "domain_state":
            return rpc.u32(RUNNING if runs else SHUTOFF) + rpc.u32(1)
        if name == "metadata":
            if self.meta is None:
                raise Refused(NO_METADATA, FROM_DOMAIN, "metadata not found: Requested metadata element is not present")
            return rpc.string(self.meta)
        return rpc.u32(name == "persistent")


class Connection:
    """A client: one thread reads and answers keepalives, one answers calls in their order, as libvirtd does."""

    def __init__(self, host, sock):
        self.host, self.sock, self.sending, self.listens, self.next_callback = host, sock, threading.Lock(), {}, 0
        self.calls = queue.Queue()
        host.connections.append(self)
        host.seen += 1
        for run in (self.read, self.work):
            threading.Thread(target=run, daemon=True).start()

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        if self in self.host.connections:
            self.host.connections.remove(self)

    def send(self, data):
        with self.sending:
            try:
                self.sock.sendall(data)
            except OSError:
                pass  # the reader sees the end

    def wait_while(self, *modes):
        with self.host.changed:
            self.host.changed.wait_for(lambda: self.host.mode not in modes)

    def read(self):
        while True:
            p = rpc.receive(self.sock)
            self.wait_while("hang")
            if p is None:
                break
            if p[0] == rpc.KEEPALIVE:
                if p[1] == rpc.PING:
                    self.send(rpc.packet(rpc.KEEPALIVE, rpc.PONG, rpc.MESSAGE, 0, rpc.OK))
            else:
                self.calls.put(p)
        self.calls.put(None)
        self.close()

    def work(self):
        while True:
            p = self.calls.get()
            if p is None:
                return
            self.wait_while("hang", "deaf")
            self.call(*p)

    def call(self, program, number, kind, serial, status, body):
        name = rpc.PROCEDURES.get(number)
        try:
            if program != rpc.REMOTE or kind != rpc.CALL or name is None:
                raise Refused(NO_SUPPORT, FROM_RPC, f"this function is not supported by the connection driver: procedure {number}")
            r, status = rpc.Reader(body), rpc.OK
            out = self.events(name, r) if name in ("events_on", "events_off") else self.host.answer(name, r)
        except Refused as e:
            out, status = rpc.error(e.code, e.where, str(e)), rpc.ERROR
        if name == "all_domain_stats":
            if self.host.slow:
                time.sleep(self.host.slow)
            self.wait_while("hang", "deaf")
        self.send_reply(rpc.packet(program, number, rpc.REPLY, serial, status, out), name)
        if name == "close":
            self.calls.put(None)

    def send_reply(self, packet, name):
        fault = self.host.fault if name == "all_domain_stats" else None
        if fault:
            self.host.fault = None
        if fault == "hangup":
            self.send(packet[:len(packet) // 2])
            self.close()
        elif fault == "garbage":
            self.send(packet[:28] + random.Random(7).randbytes(len(packet) - 28))
        elif fault == "huge":
            self.send(rpc.u32(0x7fffffff) + packet[4:])
        else:
            self.send(packet)

    def events(self, name, r):
        if name == "events_off":
            self.listens.pop(r.i32(), None)
            return b""
        event = r.i32()
        self.listens[self.next_callback] = (event, r.domain()[1] if r.u32() else None)
        self.next_callback += 1
        return rpc.u32(self.next_callback - 1)

    def event(self, wire, event, detail):
        for callback, (kind, only) in list(self.listens.items()):
            if kind == 0 and (only is None or only == rpc.Reader(wire).domain()[1]):
                self.send(rpc.packet(rpc.REMOTE, rpc.NUMBERS["event_lifecycle"], rpc.MESSAGE, 0, rpc.OK,
                                     rpc.u32(callback) + wire + rpc.u32(event) + rpc.u32(detail)))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("socket")
    p.add_argument("--guests", type=int, default=3)
    p.add_argument("--step", type=float, default=0.0)
    p.add_argument("--at", action="append", default=[])
    p.add_argument("--meta")
    options = p.parse_args()
    host = Host(options)
    if os.path.exists(options.socket):
        os.unlink(options.socket)
    s = socket.socket(socket.AF_UNIX)
    s.bind(options.socket)
    s.listen(16)

    def accept():
        while True:
            Connection(host, s.accept()[0])

    threading.Thread(target=accept, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip():
            try:
                print(host.command(line), flush=True)
            except (ValueError, IndexError) as e:
                print(f"error {e}", flush=True)
    os.unlink(options.socket)


if __name__ == "__main__":
    main()
