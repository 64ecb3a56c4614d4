# SPDX-License-Identifier: MIT OR Apache-2.0
"""Records what a real libvirtd says of real QEMU guests: record.py OUT.json, as root; brings a lab up and takes it down again.

Three guests (idle; a web server that is asked now and then; one that works and writes without pause) are looked at every three
seconds, twelve times, through libvirt's own protocol, because virsh does not show the types. The fake daemon replays the file."""
import json
import os
import socket
import sys
import time

import lab
import rpc

SAMPLES, EVERY = 12, 3.0


class Client:
    """The least of a libvirt client."""

    def __init__(self, path):
        self.sock, self.serial = socket.socket(socket.AF_UNIX), 0
        self.sock.connect(path)
        self.call("auth_list")
        self.call("open", rpc.optional("qemu:///system") + rpc.u32(1))

    def call(self, name, body=b""):
        self.sock.sendall(rpc.packet(rpc.REMOTE, rpc.NUMBERS[name], rpc.CALL, self.serial, rpc.OK, body))
        program, number, kind, serial, status, answer = rpc.receive(self.sock)
        if (program, number, kind, serial) != (rpc.REMOTE, rpc.NUMBERS[name], rpc.REPLY, self.serial):
            raise lab.LabError(f"{name}: an answer to something else")
        self.serial += 1
        r = rpc.Reader(answer)
        if status != rpc.OK:
            raise lab.LabError(f"{name}: error {r.u32()} of {r.u32()}: {r.optional()}")
        return r

    def stats(self):
        """{guest: [(field, type, value)]}"""
        r = self.call("all_domain_stats", rpc.u32(0) + rpc.u32(0) + rpc.u32(0))
        out = {}
        for _ in range(r.u32()):
            name, _, _ = r.domain()
            out[name] = [r.param() for _ in range(r.u32())]
        return out

    def counts(self, name, body):
        r = self.call(name, body)
        return [(r.string(), r.u64()) for _ in range(r.u32())]


def host(client):
    node = client.call("node_info")
    model = bytes(node.i32() & 255 for _ in range(32)).split(b"\0")[0].decode()
    return {"version": client.call("version").u64(), "lib_version": client.call("lib_version").u64(), "hostname": "replay",
            "node": [model, node.u64(), *(node.i32() for _ in range(6))], "free": client.call("free_memory").u64(),
            "cpu_stats": client.counts("node_cpu_stats", rpc.u32(-1) + rpc.u32(4) + rpc.u32(0)),
            "memory_stats": client.counts("node_memory_stats", rpc.u32(4) + rpc.u32(-1) + rpc.u32(0)),
            "capabilities": client.call("capabilities").string().split("<guest>")[0].rstrip() + "\n</capabilities>\n"}


def record(l, out):
    base = l.disk("disk.img", 32)
    guests = {"idle": ("10.78.1.1", {}), "web": ("10.78.1.2", {"DISK": l.disk("web.img", 32), "DISKFORMAT": "raw"}),
              "busy": ("10.78.1.3", {"DISK": l.disk("over.qcow2", backing=base), "vcpus": 2, "max_vcpus": 4})}
    for name, (ip, more) in guests.items():
        l.guest("hv1", name, ip, **more)
    for ip, _ in guests.values():
        l.wait_http(ip)
    client = Client(os.path.join(l.folder, "hv1/run/libvirt/libvirt-sock-ro"))
    xml = {name: l.virsh("hv1", "dumpxml", name).replace(lab.CACHE, "/var/lib/libvirt/boot") for name in guests}
    series, times, began = {name: [] for name in guests}, [], time.monotonic()
    with l.load("http://10.78.1.3/work?300"), l.load("http://10.78.1.3/write?8", every=0.2), l.load("http://10.78.1.2/read?4", every=0.3):
        for k in range(SAMPLES):
            time.sleep(max(0.0, began + k * EVERY - time.monotonic()))
            times.append(round(time.monotonic() - began, 3))
            seen = client.stats()
            for name in guests:
                series[name].append(seen[name])
    for name, samples in series.items():
        if {tuple(f[:2] for f in s) for s in samples} != {tuple(f[:2] for f in samples[0])}:
            raise lab.LabError(f"{name}: the fields changed while it was recorded")
    with open(out, "w") as f:
        parts = [f'"host": {json.dumps(host(client))}', f'"times": {times}']
        parts += [f'"{name}": {{"xml": {json.dumps(xml[name])},\n"fields": {json.dumps([s[:2] for s in samples[0]])},\n"samples": [\n'
                  + ",\n".join(json.dumps([v for _, _, v in s]) for s in samples) + "]}" for name, samples in series.items()]
        f.write("{" + ",\n".join(parts) + "}\n")


if __name__ == "__main__":
    if len(sys.argv) != 2 or lab.missing():
        sys.exit(lab.missing() or "usage: record.py OUT.json")
    with lab.Lab("record", 1) as the_lab:
        record(the_lab, sys.argv[1])
