# SPDX-License-Identifier: MIT OR Apache-2.0
"""As much of libvirt's wire protocol as the fake daemon and the recorder speak: XDR, packets, and the calls by name.

A packet is its length, then program, version, procedure, type, serial, status (four bytes each, big endian), then what the procedure
carries. Numbers and layouts were read off the wire between virsh 9.0 and a libvirtd of the lab; libvirt keeps them for ever."""
import struct

REMOTE, KEEPALIVE = 0x20008086, 0x6b656570
CALL, REPLY, MESSAGE = 0, 1, 2
OK, ERROR = 0, 1
PING, PONG = 1, 2
PROCEDURES = {
    1: "open", 2: "close", 3: "type", 4: "version", 6: "node_info", 7: "capabilities", 14: "domain_xml", 15: "autostart", 16: "domain_info",
    19: "os_type", 22: "by_id", 23: "by_name", 24: "by_uuid", 59: "hostname", 60: "supports_feature", 66: "auth_list",
    101: "cells_free_memory", 102: "free_memory", 110: "uri", 151: "persistent", 157: "lib_version", 183: "managed_save",
    212: "domain_state", 227: "node_cpu_stats", 228: "node_memory_stats", 265: "metadata", 273: "list_domains", 285: "list_node_devices",
    287: "list_secrets", 316: "events_on", 317: "events_off", 318: "event_lifecycle", 344: "all_domain_stats", 360: "close_callback_on",
    361: "close_callback_off", 426: "messages"}
NUMBERS = {name: number for number, name in PROCEDURES.items()}
INT, UINT, LLONG, ULLONG, DOUBLE, BOOLEAN, STRING = range(1, 8)
VALUE = {INT: struct.Struct(">i"), UINT: struct.Struct(">I"), LLONG: struct.Struct(">q"), ULLONG: struct.Struct(">Q"),
         DOUBLE: struct.Struct(">d"), BOOLEAN: struct.Struct(">i")}
# Groups of statistics: the bit that asks for them, and how their fields begin.
STATS = {"state": 1, "cpu": 2, "balloon": 4, "vcpu": 8, "net": 16, "block": 32, "perf": 64, "iothread": 128, "memory": 256,
         "dirtyrate": 512, "vm": 1024}


def u32(n):
    return struct.pack(">I", n & 0xffffffff)


def u64(n):
    return struct.pack(">Q", n)


def string(text):
    raw = text.encode()
    return u32(len(raw)) + raw + bytes(-len(raw) % 4)


def optional(text):
    return u32(0) if text is None else u32(1) + string(text)


def domain(name, uuid, ident):
    return string(name) + uuid + u32(ident)


def error(code, where, text):
    """What a failed call carries: code and domain as virterror.h has them."""
    return u32(code) + u32(where) + optional(text) + u32(2) + u32(0) + optional("%s") + optional(text) + optional(None) + u32(0) + u32(0) + u32(0)


def packet(program, procedure, kind, serial, status, body=b""):
    return struct.pack(">IIIiiIi", 28 + len(body), program, 1, procedure, kind, serial, status) + body


def receive(sock):
    """(program, procedure, type, serial, status, body), or None at the other side's end."""
    head = _exactly(sock, 28)
    if head is None:
        return None
    length, program, _, procedure, kind, serial, status = struct.unpack(">IIIiiIi", head)
    body = _exactly(sock, length - 28)
    return None if body is None else (program, procedure, kind, serial, status, body)


def _exactly(sock, n):
    parts = []
    while n > 0:
        try:
            part = sock.recv(min(n, 1 << 20))
        except OSError:
            return None
        if not part:
            return None
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


class Reader:
    """Takes values off a body, in the order in which they were put there."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def raw(self, n):
        if n < 0 or self.at + n > len(self.body):
            raise ValueError(f"{n} bytes wanted at {self.at}, there are {len(self.body)}")
        self.at += n
        return self.body[self.at - n:self.at]

    def value(self, form):
        return form.unpack(self.raw(form.size))[0]

    def u32(self):
        return self.value(VALUE[UINT])

    def i32(self):
        return self.value(VALUE[INT])

    def u64(self):
        return self.value(VALUE[ULLONG])

    def string(self):
        n = self.u32()
        text = self.raw(n).decode()
        self.raw(-n % 4)
        return text

    def optional(self):
        return self.string() if self.u32() else None

    def domain(self):
        return self.string(), self.raw(16), self.i32()

    def param(self):
        name, kind = self.string(), self.u32()
        return name, kind, self.string() if kind == STRING else self.value(VALUE[kind])
