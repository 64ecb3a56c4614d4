# SPDX-License-Identifier: MIT OR Apache-2.0
"""The router's process from outside: configuration, control socket, signals. Prints TAP.

usage: test_socket.py TOOL   (of the build folder)
Ports are DPDK's null devices: nothing is received, everything else is real. Needs no huge pages and no network."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.realpath(os.path.join(HERE, "..", ".."))
TOOL = os.path.realpath(sys.argv[1])
EXAMPLE = os.path.join(ROOT, "examples", "router.yaml")
with open(os.path.join(ROOT, "doc", "schema", "router.json")) as schema_file:
    SCHEMA = json.load(schema_file)
done = []


def check(name, good, seen=""):
    done.append(bool(good))
    print(f"{'ok' if good else 'not ok'} {len(done)} - {name}", flush=True)
    if not good:
        print("# " + str(seen)[:600].replace("\n", "\n# "), flush=True)


# ---- as much of JSON Schema (draft 7) as doc/schema/router.json uses ----

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def fits(v, s):
    if s is True or s is False:
        return s
    if "$ref" in s:
        return fits(v, SCHEMA["definitions"][s["$ref"].split("/")[-1]])
    if "anyOf" in s and not any(fits(v, x) for x in s["anyOf"]):
        return False
    if "const" in s and (v != s["const"] or type(v) is not type(s["const"])) or "enum" in s and v not in s["enum"]:
        return False
    if "type" in s and (not isinstance(v, TYPES[s["type"]]) or (isinstance(v, bool) and s["type"] != "boolean")):
        return False
    if isinstance(v, str):
        return s.get("minLength", 0) <= len(v) <= s.get("maxLength", 1 << 40)
    if isinstance(v, (int, float)) and not isinstance(v, bool):
        return s.get("minimum", v) <= v <= s.get("maximum", v)
    if isinstance(v, list):
        return all(fits(x, s.get("items", True)) for x in v)
    if isinstance(v, dict):
        known = s.get("properties", {})
        return all(k in v for k in s.get("required", ())) and all(fits(x, known.get(k, s.get("additionalProperties", True))) for k, x in v.items())
    return True


def request(v):
    return fits(v, SCHEMA["definitions"]["request"])


def answer(v):
    return fits(v, SCHEMA["definitions"]["answer"])


# ---- the process and its clients ----

class Client:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(20)
        self.s.connect(path)
        self.f = self.s.makefile("rb")

    def line(self, text):
        self.s.sendall(text + b"\n")
        return json.loads(self.f.readline())

    def ask(self, command, **more):
        return self.line(json.dumps(dict(cmd=command, **more)).encode())

    def close(self):
        self.f.close()
        self.s.close()


def run(*args, **more):
    return subprocess.run([TOOL, "router", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, **more)


def start(path, log, *more):
    with open(log, "w") as err:
        p = subprocess.Popen([TOOL, "router", "--config", EXAMPLE, "--ports", "null", "--control", path, *more], stdin=subprocess.DEVNULL, stdout=err, stderr=err)
    until = time.monotonic() + 60
    while time.monotonic() < until and p.poll() is None:
        try:
            Client(path).close()
            return p
        except OSError:
            time.sleep(.05)
    return p


def text_of(path):
    with open(path, errors="replace") as f:
        return f.read()


def configurations(work):
    path = os.path.join(work, "bad.yaml")
    for text, code, words in (("services: [oops\n", 1, "bad.yaml:"),
                              ("schema: 1\nsevices: []\n", 1, "bad.yaml:2:1: the router: unknown key 'sevices'; did you mean 'services'?"),
                              ("schema: 1\nbackends:\n  - {name: a, action: l3}\n", 1, "bad.yaml:3:23: 'l3' is none of: l2"),
                              ("schema: 1\n? \"a\" :\t? b\n", 1, "bad.yaml:2: a tab in a document with '? ': use spaces"),
                              ("schema: 1\nservices:\n  - {name: a}\n", 1, "the key 'address' is missing"),
                              ("schema: 1\nspills: [{service: a, weights: {b: 2}}]\n", 1, "bad.yaml:2:36: 2 must lie between 0 and 1"),
                              ("schema: 1\nspills: [{service: a, weights: {\"\": 0.1}}]\n", 1, "bad.yaml:2:37: the name of a backend is no text"),
                              ("schema: 1\nbackends: [{name: a, action: pass}, {name: a, action: pass}]\n", 1, "'a' is there twice"),
                              ("schema: 1\nports: [{type: af_xdp}]\n", 1, "the key 'interface' is missing"),
                              ("schema: 1\n", 1, "there are no ports"),
                              ("schema: 2\n", 1, "newer")):
        with open(path, "w") as f:
            f.write(text)
        r = run("--config", path, "--control", os.path.join(work, "none"))
        check(f"refused with its place: {text.splitlines()[-1].strip()[:50]}", r.returncode == code and words in r.stderr and not r.stdout, f"exit {r.returncode}: {r.stderr}")
    r = run("--config", EXAMPLE, "--ports", "null")
    check("without --control: usage", r.returncode == 2 and "--control" in r.stderr, r.stderr)
    with open(path, "w") as f:
        f.write("schema: 1\nservices: [{name: a, address: 192.0.2.1, protocol: tcp, port: 80, primary: nobody}]\n")
    r = run("--config", path, "--ports", "null", "--control", os.path.join(work, "none"))
    check("what the router itself refuses names the file and the thing", r.returncode == 1 and "bad.yaml" in r.stderr and "nobody" in r.stderr, f"exit {r.returncode}: {r.stderr}")
    check("and leaves no socket", not os.path.exists(os.path.join(work, "none")))


def conversation(path, work):
    c = Client(path)
    said = {}
    for command, more in (("stats", {}), ("services", {}), ("backends", {}), ("metrics", {}), ("flows", {}), ("flows", {"service": "web", "source": "2001:DB8::1", "limit": 3}),
                          ("switched", {"generation": 1}), ("capture", {"file": os.path.join(work, "a.pcap")}), ("capture", {}),
                          ("begin", {}), ("revert", {}), ("begin", {}),
                          ("backend_set", {"name": "new", "action": "dnat", "port": 0, "mac": "02:00:00:00:00:09", "address": "192.0.2.9", "service_port": 8443}),
                          ("service_set", {"name": "other", "address": "2001:db8::7", "protocol": "udp", "port": 53, "primary": "web", "learn_s": 1.5}),
                          ("spill_set", {"service": "other", "weights": {"web-shard-1": 0.25}}), ("spike_set", {"service": "other", "weights": {"web-shard-1": 0.5}}), ("commit", {}),
                          ("drain", {"backend": "web-shard-1", "deadline_s": 5}), ("promote", {"service": "other", "backend": "web-shard-2"}), ("promote", {"service": "web", "backend": "new"}), ("promote", {"service": "web"}), ("alive", {"backend": "web-shard-2", "alive": False})):
        a = c.ask(command, **more)
        said[command] = a
        check(f"{command} {json.dumps(more)[:60]}: request and answer fit the schema", request(dict(cmd=command, **more)) and answer(a) and "error" not in a, a)
    check("stats name ports and services", [p["name"] for p in said["stats"]["ports"]] == ["net_null0", "net_null1"] and set(said["stats"]["services"]) == {"web", "web-h3"}, said["stats"])
    check("metrics are OpenMetrics", said["metrics"]["metrics"].endswith("# EOF\n") and "service=\"web\"" in said["metrics"]["metrics"])
    check("the capture is a pcap file", open(os.path.join(work, "a.pcap"), "rb").read(4) == b"\xd4\xc3\xb2\xa1")
    services, backends = ({x["name"]: x for x in c.ask(k)[k]} for k in ("services", "backends"))
    check("what was committed is listed", services["other"]["learn_s"] == 1.5 and backends["new"]["service_port"] == 8443, (services, backends))
    check("a drained backend has no share left", services["other"]["spill"]["weights"] == {"web-shard-1": 0}, services["other"])
    check("a promoted one has its primary's place until it is taken back", services["other"]["promoted"] == "web-shard-2" and "promoted" not in services["web"], services)
    check("and stays as long", "error" in c.ask("backend_remove", name="web-shard-2"))
    check("a dead one is listed as dead", [backends[k]["alive"] for k in ("web", "web-shard-2")] == [True, False], backends)
    until, ok = time.monotonic() + 20, False
    while not ok and time.monotonic() < until:
        ok = c.ask("switched", generation=said["alive"]["generation"])["switched"]
    check("lcores switch to it", ok)
    c.close()


def refusals(path):
    c = Client(path)
    for v in ({"cmd": "no-such"}, {}, [], {"cmd": 1}, {"cmd": "stats", "more": 1}, {"cmd": "alive", "backend": "web"}, {"cmd": "alive", "backend": "web", "alive": 1},
              {"cmd": "backend_set", "name": "x", "action": "l2", "port": 16}, {"cmd": "backend_set", "name": "x" * 32, "action": "l2"},
              {"cmd": "service_set", "name": "x", "address": "1.2.3.4", "protocol": "icmp", "port": 1, "primary": "web"},
              {"cmd": "spill_set", "service": "web", "weights": {"web": 1.5}}, {"cmd": "spill_set", "service": "web", "weights": {"web": "1"}},
              {"cmd": "flows", "limit": 0}, {"cmd": "promote", "backend": "web"}, {"cmd": "drain", "backend": "web", "deadline_s": -1}):
        a = c.line(json.dumps(v).encode())
        check(f"schema and router refuse {json.dumps(v)[:60]}", not request(v) and set(a) == {"error"} and answer(a), a)
    for v in ({"cmd": "commit"}, {"cmd": "revert"}, {"cmd": "alive", "backend": "nobody", "alive": True}, {"cmd": "backend_remove", "name": "web"},
              {"cmd": "service_remove", "name": "nobody"}, {"cmd": "promote", "service": "nobody"}, {"cmd": "promote", "service": "web", "backend": "nobody"}, {"cmd": "spill_set", "service": "nobody", "weights": {}},
              {"cmd": "spill_set", "service": "web", "weights": {"web-shard-1": 0.7, "web-shard-2": 0.7}},
              {"cmd": "flows", "service": "nobody"}, {"cmd": "flows", "source": "300.1.1.1"}, {"cmd": "capture", "file": "relative"}, {"cmd": "capture", "file": "/no/such/place"}):
        a = c.line(json.dumps(v).encode())
        check(f"refused by what is there: {json.dumps(v)[:60]}", request(v) and set(a) == {"error"}, a)
    before = c.ask("services")
    check("nothing of it is in force", "error" not in before and c.ask("backends")["backends"], before)
    c.close()


def changes(path):
    a, b = Client(path), Client(path)
    check("a change is one connection's", a.ask("begin") == {"ok": True} and "error" in b.ask("begin") and "error" in b.ask("alive", backend="web", alive=True))
    a.ask("backend_set", name="half", action="pass")
    check("nobody sees it before commit", "half" not in [x["name"] for x in b.ask("backends")["backends"]])
    a.close()
    until, said = time.monotonic() + 20, {"error": ""}
    while "error" in said and time.monotonic() < until:
        said = b.ask("begin")
    check("a connection that ends forgets it", said == {"ok": True} and b.ask("revert") == {"ok": True} and "half" not in [x["name"] for x in b.ask("backends")["backends"]], said)
    b.ask("begin")
    refused = b.ask("backend_remove", name="nobody")
    check("a refused part leaves the rest of the change", "error" in refused and b.ask("backend_set", name="whole", action="pass") == {"ok": True} and "generation" in b.ask("commit"), refused)
    check("and it comes into force", "whole" in [x["name"] for x in b.ask("backends")["backends"]])
    b.close()


def junk(path, p):
    for name, text in (("an empty line", b""), ("half an object", b"{"), ("zeros and bytes", b"\x00\xff" * 3000), ("brackets", b"[" * 60000), ("deep objects", b'{"a":' * 9000),
                       ("requests without an end", b'{"cmd":"stats"' * 1000), ("a long line", b"x" * 1000000), ("text that is no UTF-8", b'{"cmd":"\xff\xfe"}')):
        c = Client(path)
        a = c.line(text)
        check(f"junk gets an error and the next line its answer: {name}", set(a) == {"error"} and answer(a) and "error" not in c.ask("stats"), a)
        c.close()
    c = Client(path)
    c.s.sendall(b"\n".join([b'{"cmd":"switched","generation":1}'] * 3000) + b"\n")
    check("many lines at once are all answered in order", all(json.loads(c.f.readline()) == {"switched": True} for _ in range(3000)))
    c.s.sendall(b'{"cmd":"stats"}\n{"cmd":"no-such"}\n')
    c.s.shutdown(socket.SHUT_WR)
    rest = [json.loads(x) for x in c.f]
    check("who says no more is answered to the end", len(rest) == 2 and "services" in rest[0] and "error" in rest[1], rest)
    c.close()
    slow = Client(path)
    slow.s.setblocking(False)
    try:
        while slow.s.send(b'{"cmd":"metrics"}\n' * 1000):
            pass
    except BlockingIOError:
        pass
    c = Client(path)
    check("a client that never reads keeps nobody waiting", "services" in c.ask("stats"))
    slow.close()
    for _ in range(50):
        x = socket.socket(socket.AF_UNIX)
        x.connect(path)
        x.sendall(b'{"cmd":"metrics"}\n{"cmd":')
        x.close()
    check("nor do clients that vanish", "services" in c.ask("stats") and p.poll() is None)
    crowd, refused = [], 0
    for _ in range(90):
        x = Client(path)
        try:
            a = x.ask("switched", generation=1)
        except OSError:
            a = {"error": "closed"}
        refused += "error" in a
        crowd.append(x)
    check("a crowd is refused above the limit, and who was there is still served", 20 <= refused <= 40 and "services" in c.ask("stats"), refused)
    for x in crowd:
        x.close()
    until, ok = time.monotonic() + 20, False
    while not ok and time.monotonic() < until:
        x = Client(path)
        try:
            ok = "services" in x.ask("stats")
        except (OSError, ValueError):
            pass
        x.close()
    check("places are free again when they leave", ok)
    c.close()


def strangers(path):
    if os.geteuid() or not shutil.which("setpriv"):
        check("another user gets nothing # SKIP needs root and setpriv (util-linux)", True)
        return
    os.chmod(path, 0o666)
    os.chmod(os.path.dirname(path), 0o755)
    code = f"import socket;s=socket.socket(socket.AF_UNIX);s.settimeout(20);s.connect({path!r});s.sendall(b'{{\"cmd\":\"stats\"}}\\n');print(s.makefile().read())"
    r = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    os.chmod(path, 0o600)
    check("another user gets nothing, whatever the file's mode", not re.search("services|ports|web", r.stdout), r.stdout + r.stderr)


def ends(path, log, p, work):
    r = run("--config", EXAMPLE, "--ports", "null", "--control", path)
    check("a living process's socket is not taken", r.returncode == 1 and "another process listens" in r.stderr and p.poll() is None, r.stderr)
    p.kill()
    p.wait()
    check("a killed process leaves its socket", os.path.exists(path))
    p = start(path, log, "--json")
    ready = [json.loads(x) for x in text_of(log).splitlines() if x.startswith("{")]
    check("--json: ready is a line of JSON", ready == [{"control": path, "ports": 2, "services": 2, "pid": p.pid}], text_of(log))
    check("the next one replaces it", p.poll() is None and stat.S_IMODE(os.stat(path).st_mode) == 0o600, text_of(log))
    p.send_signal(signal.SIGINT)
    check("SIGINT ends it with exit 0 and without a socket", p.wait(60) == 0 and not os.path.exists(path), text_of(log))
    other = os.path.join(work, "file")
    with open(other, "w") as f:
        f.write("mine")
    r = run("--config", EXAMPLE, "--ports", "null", "--control", other)
    check("a file that is no socket stays as it is", r.returncode == 1 and text_of(other) == "mine", r.stderr)


def main():
    work = tempfile.mkdtemp(prefix="spr-socket-")
    path, log = os.path.join(work, "control"), os.path.join(work, "log")
    p = start(path, log)
    try:
        if p.poll() == 77:
            print(f"1..0 # SKIP {text_of(log).strip().splitlines()[-1]}")
            return 0
        check("and says that it is ready", f"routing: 2 services over 2 ports, control socket {path}\n" in text_of(log), text_of(log))
        check("the socket appears with mode 0600", p.poll() is None and stat.S_IMODE(os.stat(path).st_mode) == 0o600, text_of(log))
        configurations(work)
        conversation(path, work)
        refusals(path)
        changes(path)
        junk(path, p)
        strangers(path)
        p.send_signal(signal.SIGTERM)
        check("SIGTERM ends it with exit 0 and without a socket", p.wait(60) == 0 and not os.path.exists(path), text_of(log))
        p = start(path, log, "--ports", "null")
        check("it starts again on as many ports as --ports names", [x["name"] for x in Client(path).ask("stats")["ports"]] == ["net_null0", "net_null1"], text_of(log))
        ends(path, log, p, work)
        print(f"1..{len(done)}")
        return 0
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
        shutil.rmtree(work, ignore_errors=True)


sys.exit(main())
