# SPDX-License-Identifier: MIT OR Apache-2.0
"""The router's control socket from a shell: ask.py SOCKET JSON [EXPRESSION]

Sends the line and prints the answer. With an expression (Python, `a` is the answer): prints that, and fails where it is not true. A change is
waited for until all lcores go by it."""
import json
import socket
import sys
import time

with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(30)
    s.connect(sys.argv[1])
    lines = s.makefile("rw")

    def ask(text):
        lines.write(text + "\n")
        lines.flush()
        return json.loads(lines.readline())

    a = ask(sys.argv[2])
    until = time.monotonic() + 30
    while "generation" in a and "ok" in a and not ask(json.dumps({"cmd": "switched", "generation": a["generation"]})).get("switched"):
        if time.monotonic() > until:
            sys.exit(f"the lcores never went by generation {a['generation']}")
        time.sleep(.05)
result = eval(sys.argv[3], {"a": a}) if len(sys.argv) > 3 else a
print(json.dumps(result))
if not result or "error" in a:
    sys.exit(f"not so: {sys.argv[3] if len(sys.argv) > 3 else ''} of {json.dumps(a)}")
