# SPDX-License-Identifier: MIT OR Apache-2.0
"""The driver's requests from Python, for tests: a Drive is one controller (the program `drive`) in the controller's network."""
import json
import subprocess
import sys
import threading


class Drive:
    """d = Drive(lab, owner="one", probe="http://10.78.1.50/"); d("allocate", 1, 1) -> the answer as a dict."""

    def __init__(self, lab, hosts=None, fence=1, vm="web", host="hv2", cpu=0.5, mib=96, kernel_args=(), net=0, **options):
        self.net = net  # bit/s each way
        self.fence, self.vm, self.host, self.cpu, self.mib = fence, vm, host, cpu, mib
        hosts = hosts or {h: lab.uri(h) for h in lab.hosts}
        words = [f"{k.replace('_', '-')}={v}" for k, v in options.items()] + [f"kernel-arg={a}" for a in kernel_args] + [f"{k}={v}" for k, v in hosts.items()]
        self.process = lab.start([sys.argv[1], *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, verb, shard=0, piece=0, fence=None, cpu=None, mib=None, **other):
        """Without waiting; `answer` takes the answers in their order."""
        fence = self.fence if fence is None else fence
        line = f"observe {fence}" if verb == "observe" else f"capabilities {self.host}" if verb == "capabilities" else (
            f"{verb} {shard} {piece} {fence} {other.get('vm', self.vm)} {other.get('host', self.host)} "
            f"{self.cpu if cpu is None else cpu} {(self.mib if mib is None else mib) << 20} "
            f"{other.get('net', self.net)} {other.get('net', self.net)} {other.get('warm', '')}")
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"drive ended with {self.process.wait()}")
        return json.loads(line)

    def __call__(self, verb, *args, **more):
        self.send(verb, *args, **more)
        return self.answer()

    def shards(self):
        return {s["id"]: s for s in self("observe")["shards"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(timeout=30)
        self.process.stdout.close()


def done(answer):
    return answer["outcome"] == "done"


class Controller:
    """A whole controller (the program `controller`), lifecycle and journal included: want(1), and it keeps one shard whatever happens."""

    def __init__(self, lab, journal, probe, vm="web", hosts=("hv1", "hv2"), transport="tcp", **options):
        words = [f"{k}={v}" for k, v in dict(options, vm=vm, probe=probe, journal=journal).items()]
        self.lab, self.said, self.state = lab, [], {}
        self.process = lab.start([sys.argv[3], *(f"{h}={lab.uri(h, transport)}" for h in hosts), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if "shard" in said:
                self.state[said["shard"]] = said["to"]
            self.said.append(said)

    def want(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()

    def states(self):
        """Of the shards that are not over."""
        return {s: to for s, to in list(self.state.items()) if to != "released"}

    def told(self, since=0):
        """Reasons, one text: of changes and of what failed."""
        return "; ".join(dict.fromkeys(s.get("because") or s["why"] for s in self.said[since:]))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(timeout=60)
