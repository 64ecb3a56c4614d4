# SPDX-License-Identifier: MIT OR Apache-2.0
"""A TCP transfer whose every byte is checked: transfer.py serve PORT NAME | transfer.py send ADDRESS PORT BYTES NAME [GATE]

The sender says how many bytes come, sends them, and compares the receiver's SHA-256 with its own; the receiver must be NAME. With GATE the
first half makes the file GATE.half and the second waits for the file GATE.go.
transfer.py echo ADDRESS PORT BYTES: to one that sends everything back."""
import hashlib
import os
import random
import socket
import sys
import time


def exactly(connection, size):
    """MSG_WAITALL does not wait on a socket that has a timeout. Fewer bytes: the other side has ended."""
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def receive(connection, name):
    size = int.from_bytes(exactly(connection, 8), "big")
    digest = hashlib.sha256()
    while size:
        data = connection.recv(min(size, 1 << 16))
        if not data:
            return
        digest.update(data)
        size -= len(data)
    connection.sendall(digest.hexdigest().encode() + name.encode())


def serve(port, name):
    with socket.create_server(("", port)) as listening:
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(90)
                try:
                    receive(connection, name)
                except OSError as e:
                    print(e, flush=True)


def wait_at(gate):
    with open(gate + ".half", "w"):
        pass
    until = time.monotonic() + 80
    while not os.path.exists(gate + ".go"):
        if time.monotonic() > until:
            raise TimeoutError(gate + ".go never came")
        time.sleep(.05)


def send(address, port, size, name, gate=None):
    data = random.Random(size).randbytes(size)
    began = time.monotonic()
    with socket.create_connection((address, port), timeout=90) as connection:
        connection.sendall(size.to_bytes(8, "big") + data[:size // 2])
        if gate:
            wait_at(gate)
        connection.sendall(data[size // 2:])
        answer = b""
        while more := connection.recv(256):
            answer += more
    took = time.monotonic() - began
    digest, who = answer[:64].decode(), answer[64:].decode()
    good = digest == hashlib.sha256(data).hexdigest()
    print(f"{size} bytes to {who or 'nobody'} in {took:.1f} s, {size * 8e-6 / took:.0f} Mbit/s, SHA-256 {'equal' if good else 'DIFFERS'}")
    return good and who == name


def echo(address, port, size):
    data = random.Random(size).randbytes(size)
    began = time.monotonic()
    with socket.create_connection((address, port), timeout=60) as connection:
        good = True
        for at in range(0, size, 16384):
            part = data[at:at + 16384]
            connection.sendall(part)
            good = good and exactly(connection, len(part)) == part
    print(f"{size} bytes there and back in {time.monotonic() - began:.1f} s, {'equal' if good else 'NOT EQUAL'}")
    return good


if sys.argv[1] == "echo":
    sys.exit(not echo(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
if sys.argv[1] == "serve":
    serve(int(sys.argv[2]), sys.argv[3])
sys.exit(not send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:]))
