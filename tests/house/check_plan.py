# SPDX-License-Identifier: MIT OR Apache-2.0
"""The verbs generate, plan and explain as a person uses them: exit codes, JSON, broken plans. usage: check_plan.py TOOL WORK"""
import json
import os
import random
import re
import subprocess
import sys

from house import read, run

TOOL, WORK = sys.argv[1], os.path.join(sys.argv[2], "plan")
PER_DAY, DAYS = 288, 6
AT = PER_DAY * 5 + 122  # two steps into the rise of the sixth day


def call(*args):
    return subprocess.run([TOOL, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def path(name, text=None):
    full = os.path.join(WORK, name)
    if text is not None:
        with open(full, "w") as f:
            f.write(text)
    return full


def trace():
    """Two VMs that rise together at ten every day, two that never do."""
    rnd, rows = random.Random(7), ["time_s,vm,cpu_cores"]
    for t in range(PER_DAY * DAYS):
        busy = 120 <= t % PER_DAY < 180
        for v in range(4):
            rows.append(f"{t * 300},vm{v},{(4.75 if busy and v < 2 else 1.25) + rnd.uniform(0, 0.2):.4f}")
    return path("t.csv", "\n".join(rows) + "\n")


def fleet(name, spare, replica="template"):
    return path(name, f"""schema: 1
hosts:
  - {{id: tight, cpu_cores: 7}}
  - {{id: spare, cpu_cores: {spare}}}
vms: [{{match: "*", replica: {replica}, spillable: 0.9}}]
placement: [0, 0, 1, 1]
""")


def plan(*args):
    return call("plan", "--trace", trace(), "--at", AT, *args)


def good_plan():
    p = path("plan.json")
    r = plan("--fleet", fleet("roomy.yaml", 40), "--out", p)
    return r, p


def codes_follow_the_plan():
    r, p = good_plan()
    wrong = [] if r.returncode == 0 and json.load(open(p))["actions"] else [f"a plan: exit {r.returncode} {r.stderr}{r.stdout}"]
    r = plan("--fleet", fleet("never.yaml", 40, "never"), "--json")
    if r.returncode != 3 or not json.loads(r.stdout)["infeasible"]:
        wrong.append(f"a host stays short: exit {r.returncode} {r.stderr}{r.stdout}")
    r = call("plan", "--trace", trace(), "--at", PER_DAY * 5 + 60, "--fleet", fleet("roomy.yaml", 40), "--seed", 7)
    if r.returncode != 4:
        wrong.append(f"nothing to do: exit {r.returncode} {r.stderr}{r.stdout}")
    return wrong


def because_is_in_the_table():
    _, p = good_plan()
    known = set(re.findall(r"^\| \d+ \| `([^`]+)`", read("doc/because.md"), flags=re.M))
    return [a["because"]["code"] for a in json.load(open(p))["actions"] if a["because"]["code"] not in known]


def amounts_have_the_formats_names():
    """A VM whose network is what the host lacks."""
    t = open(trace()).read().splitlines()
    rows = [t[0] + ",net_rx_bps,net_tx_bps"] + [f"{r},{float(r.split(',')[2]) * 1e6:.0f},{float(r.split(',')[2]) * 2e6:.0f}" for r in t[1:]]
    f = open(fleet("roomy.yaml", 40)).read().replace("cores: 7}", "cores: 7, net_bps: 1e9}").replace("cores: 40}", "cores: 40, net_bps: 1e9}")
    r = call("plan", "--trace", path("net.csv", "\n".join(rows) + "\n"), "--at", AT, "--fleet", path("net.yaml", f), "--json")
    a = json.loads(r.stdout)["actions"][0]["resources"]
    ok = a["cpu_cores"] > 0 and a["net_rx_bps"] > 0 and abs(a["net_bps"] / (a["net_rx_bps"] + a["net_tx_bps"]) - 1) < 1e-9
    return [] if ok else [str(a)]


def explain_walks_back():
    _, p = good_plan()
    first = json.load(open(p))["actions"][0]
    r = call("explain", p, "--action", first["id"])
    wrong = [f"does not say {w}: {r.stdout}" for w in (first["vm"], first["host"], first["because"]["code"],
                                                       first["because"]["constraint"]["host"], first["inverse"]) if w not in r.stdout]
    r = call("explain", p, "--action", first["id"], "--json")
    if r.returncode or json.loads(r.stdout)["actions"] != [first]:
        wrong.append(f"--json: exit {r.returncode} {r.stdout}{r.stderr}")
    r = call("explain", p, "--action", 999)
    if r.returncode != 1 or r.stdout or "plan.json" not in r.stderr:
        wrong.append(f"no such action: exit {r.returncode} {r.stdout}{r.stderr}")
    return wrong


def broken_plans_have_a_place():
    _, p = good_plan()
    text, wrong = open(p).read(), []
    for name, old, new, want in (("kind", '"kind"', '"kindx"', "kindx"), ("worth", '"worth"', '"wroth"', "wroth"),
                                 ("resources", '"resources": {', '"resources": 3, "into": {', "resources"),
                                 ("schema", '"schema": 1', '"schema": 2', "newer"), ("torn", text[len(text) // 2:], "", "")):
        broken = path(f"broken-{name}.json", text.replace(old, new, 1))
        for more in ([], ["--json"]):
            r = call("explain", broken, *more)
            if r.returncode != 1 or r.stdout or want not in r.stderr or not re.search(rf"broken-{name}\.json:\d+", r.stderr):
                wrong.append(f"{name} {more}: exit {r.returncode} {r.stdout[:60]}{r.stderr}")
    return wrong


def generate_tells_programs():
    p = path('g"1.csv')
    r = call("generate", "--vms", 3, "--days", 1, "--seed", 9, "--out", p, "--json")
    d = json.loads(r.stdout)
    wrong = [] if r.returncode == 0 and d["trace"] == p and d["vms"] == 3 and d["seed"] == 9 and d["truth"] is None else [r.stdout]
    r = call("generate", "--out", "-", "--json")
    return wrong + ([] if r.returncode == 2 and not r.stdout else [f"twice on standard output: exit {r.returncode}"])


def short_options_mean_one_thing():
    wrong, meaning = [], {}
    for verb in re.findall(r"^  ([a-z]+)  ", call("--help").stdout, flags=re.M):
        have = call(verb, "--help").stdout
        if verb != "doctor" and "--json" not in have:
            wrong.append(f"{verb} has no --json")
        for short, name in re.findall(r"^  -(\w), --([a-z-]+)", have, flags=re.M):
            if name in ("json", "threads") or short in ("j", "T"):
                if meaning.setdefault(short, name) != name:
                    wrong.append(f"{verb}: -{short} is --{name}, elsewhere --{meaning[short]}")
    return wrong


os.makedirs(WORK, exist_ok=True)
run([("plan exits 0 with a plan, 3 where a host stays short, 4 with nothing to do", codes_follow_the_plan),
     ("reasons stand in the published table", because_is_in_the_table),
     ("amounts are named as in the formats", amounts_have_the_formats_names),
     ("explain walks back from an action, as text and as JSON", explain_walks_back),
     ("a broken plan is an error with file and line", broken_plans_have_a_place),
     ("generate --json tells what it wrote", generate_tells_programs),
     ("every verb has --json, and -j and -T mean the same in all", short_options_mean_one_thing)])
