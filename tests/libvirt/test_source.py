# SPDX-License-Identifier: MIT OR Apache-2.0
"""The source against fake daemons: test_source.py WATCH. What a thousand guests cost, and that whatever a host does, rates stay
sane, the others are not delayed, and it is found again. Needs no root; real hosts are in the other tests."""
import json
import os
import subprocess
import sys
import time

import lab

CPU, RX = 0, 2
VCPUS = {"guest-0000": 1, "guest-0001": 1, "guest-0002": 2}


class Watch:
    """The program watch.c: ask("inventory") -> what it says."""

    def __init__(self, **hosts):
        self.wrong = []  # rates that cannot be
        self.command = [sys.argv[1], *(f"{name}={fake.uri}" for name, fake in hosts.items())]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return self

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def samples(self, wanted=lambda s: True, pause=0.3):
        """The first answer that is wanted; what is not sane in any of them goes to `wrong`."""
        for _ in range(100):
            time.sleep(pause)
            s = self.ask("samples")
            for key, used in s.get("usage", {}).items():
                name, resource = key.split("/")
                if int(resource) == CPU and not 0 <= used <= 1.2 * VCPUS.get(name, 2):
                    self.wrong.append(f"{name} used {used} cores")
            if s.get("odd"):
                self.wrong.append(f"{s['odd']} rates are none")
            if wanted(s):
                return s
        raise lab.LabError(f"100 answers, none as wanted; the last one: {s}")

    def inventory(self, wanted=lambda i: True):
        return lab.wait(lambda: (lambda i: wanted(i) and i)(self.ask("inventory")), 60, "an inventory")

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def knows(*keys):
    return lambda s: all(k in s.get("usage", {}) for k in keys)


def thousand(t):
    with lab.Fake("--guests", 1000) as fake, Watch(a=fake) as w:
        i = w.inventory()
        t.check("a thousand guests are found", i["vms"] == 1000 and i["hosts"] == {"a": 1}, i)
        calls = int(fake.tell("calls").split()[0])
        first = w.samples(lambda s: s["values"] > 1000)
        rounds, last = 8, None
        begun = int(fake.tell("calls").split()[0])
        for _ in range(rounds):
            last = w.samples()
        per_round = (last["cpu_s"] - first["cpu_s"]) / rounds
        made = int(fake.tell("calls").split()[0]) - begun
        t.note(f"definitions of 1000 guests: {i['cpu_s']:.2f} s of CPU once; one round of samples {per_round:.4f} s with libvirt's decoding, "
               f"{100 * per_round / 15:.2f} % of a core at 15 s; {last['values']} values")
        t.check("a round at 15 s costs less than 5 % of a core", per_round < 0.05 * 15, per_round)
        t.check("one call for statistics a round", made == rounds and calls >= 1, (made, rounds))
        t.check("every guest is measured", last["values"] >= 1000 * 4, last["values"])


def rates(t):
    """What the source says lies between the smallest and the largest rate that was recorded."""
    with open(os.path.join(lab.HERE, "fixtures", "guests.json")) as f:
        data = json.load(f)
    with lab.Fake() as fake, Watch(a=fake) as w:
        w.inventory()
        want = [f"{n}/{r}" for n in VCPUS for r in (CPU, RX)]
        w.samples(knows(*want))
        seen = [w.samples(knows(*want), pause=0.7)["usage"] for _ in range(4)]
    wrong = []
    for name, recorded in zip(VCPUS, ("idle", "web", "busy")):
        fields, samples = [f for f, _ in data[recorded]["fields"]], data[recorded]["samples"]
        for resource, parts, unit in ((CPU, [f for f in fields if f.endswith(".time") and f.startswith("vcpu")], 1e-9), (RX, ["net.0.rx.bytes"], 8)):
            total = [unit * sum(s[fields.index(p)] for p in parts) for s in samples]
            slopes = [(b - a) / (t1 - t0) for a, b, t0, t1 in zip(total, total[1:], data["times"], data["times"][1:])]
            for u in seen:
                if not 0.8 * min(slopes) - 1e-3 <= u[f"{name}/{resource}"] <= 1.25 * max(slopes) + 1e-3:
                    wrong.append(f"{recorded} resource {resource}: {u[f'{name}/{resource}']}, recorded {min(slopes)} to {max(slopes)}")
    t.check("rates are the recorded guests'", not wrong, wrong)


def lives(t):
    with lab.Fake() as a, lab.Fake() as b, Watch(a=a, b=b) as w:
        for n in VCPUS:
            b.tell(f"away {n}")
        i = w.inventory(lambda i: i["vms"] == 3 and set(i["at"].values()) == {"a"})
        w.samples(knows("guest-0001/0"))
        a.tell("restart guest-0001")
        w.samples(knows("guest-0001/0"))
        for _ in range(3):
            w.samples()
        t.check("a restart is no leap of rates", i["outcome"] == 0 and not w.wrong, w.wrong)
        a.tell("away guest-0001")
        b.tell("back guest-0001")
        i = w.inventory(lambda i: i["at"].get("guest-0001") == "b")
        w.samples(knows("guest-0001/0"))
        t.check("a guest that migrates stays one guest", i["vms"] == 3 and not w.wrong, (i, w.wrong))
        a.tell("stop guest-0002")
        s = w.samples(lambda s: s["usage"].get("guest-0002/0") == 0)
        t.check("a guest that is off uses nothing", s["outcome"] == 0, s)


def silence(t):
    with lab.Fake() as a, lab.Fake() as b, Watch(a=a, b=b) as w:
        for n in ("guest-0001", "guest-0002"):
            b.tell(f"away {n}")
        a.tell("away guest-0000")
        both = w.inventory(lambda i: i["hosts"] == {"a": 1, "b": 1} and i["vms"] == 3)
        for mode in ("hang", "deaf"):
            b.tell(mode)
            s = w.samples(lambda s: "guest-0001/0" in s.get("usage", {}) and "guest-0000/0" not in s["usage"])
            i = w.inventory(lambda i: i["hosts"]["b"] == 0)
            t.check(f"{mode}: the other host goes on, this one is unreachable and keeps its guests",
                    s["outcome"] == 0 and i["hosts"]["a"] == 1 and i["vms"] == both["vms"], (s, i))
            quick = min(timed(w) for _ in range(3))
            t.check(f"{mode}: it is not waited for again and again", quick < 0.9, quick)
            b.tell("well")
            again = w.inventory(lambda i: i["hosts"]["b"] == 1)
            s = w.samples(knows("guest-0000/0", "guest-0001/0"))
            t.check(f"{mode}: the host is found again", again["vms"] == both["vms"] and s["outcome"] == 0 and not w.wrong, (again, s, w.wrong))


def timed(w):
    began = time.monotonic()
    w.ask("samples")
    return time.monotonic() - began


def noise(t):
    with lab.Fake() as fake, Watch(a=fake) as w:
        w.inventory()
        w.samples(knows("guest-0001/0"))
        for fault in ("error", "hangup", "garbage", "huge", "many", "drop"):
            fake.tell(fault)
            s = w.ask("samples")
            said = fault == "drop" or s["outcome"] != 0 and fake.uri.split("socket=")[1] in s["text"] or s["outcome"] == 0 and not s["usage"]
            w.samples(knows("guest-0001/0", "guest-0002/0"))
            t.check(f"{fault}: told, and over with the next good answer", said, s)
        st = w.ask("status")
        t.check("in the end it is connected, and no rate was odd", st["hosts"]["a"]["connected"] == 1 and not w.wrong, (st, w.wrong))


def test(t):
    for part in (thousand, rates, lives, silence, noise):
        part(t)


if __name__ == "__main__":
    lab.main(test, hosts=0)
