# SPDX-License-Identifier: MIT OR Apache-2.0
"""A TCP transfer whose every byte is checked: transfer.py serve PORT | transfer.py send ADDRESS PORT BYTES

The sender says how many bytes come, sends them, and compares the receiver's SHA-256 with its own."""
import hashlib
import random
import socket
import sys
import time


def receive(connection):
    size = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
    digest = hashlib.sha256()
    while size:
        data = connection.recv(min(size, 1 << 16))
        if not data:
            return
        digest.update(data)
        size -= len(data)
    connection.sendall(digest.hexdigest().encode())


def serve(port):
    with socket.create_server(("", port)) as listening:
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(60)
                try:
                    receive(connection)
                except OSError as e:
                    print(e, flush=True)


def send(address, port, size):
    data = random.Random(size).randbytes(size)
    began = time.monotonic()
    with socket.create_connection((address, port), timeout=60) as connection:
        connection.sendall(size.to_bytes(8, "big") + data)
        answer = connection.recv(64, socket.MSG_WAITALL).decode()
    took = time.monotonic() - began
    print(f"{size} bytes in {took:.1f} s, {size * 8e-6 / took:.0f} Mbit/s")
    return answer == hashlib.sha256(data).hexdigest()


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
sys.exit(not send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
