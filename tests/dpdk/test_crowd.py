# SPDX-License-Identifier: MIT OR Apache-2.0
"""examples/flash_crowd on real packets: every request is accounted for, who looks ahead does no worse than who does nothing, and nothing is left behind."""
import json
import os
import re
import subprocess
import sys
import time

CROWD = sys.argv[1]
done = []


def check(name, good, seen=""):
    done.append(good)
    print(f"{'ok' if good else 'not ok'} {len(done)} - {name}")
    if not good:
        print("\n".join("#   " + line for line in str(seen).splitlines()[-20:]))


def run(*args):
    return subprocess.run([CROWD, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=150)


def links():
    return sorted(re.findall(r"^\d+: (\S+?)[:@]", subprocess.run(["ip", "-o", "link"], stdout=subprocess.PIPE, text=True, check=True).stdout, re.M))


def still_there():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                name, state = re.match(r"\d+ \((.*)\) (\S)", f.read()).groups()
        except OSError:
            continue  # it ended meanwhile
        if name == "flash_crowd" and state not in "ZX":
            found.append(pid)
    return found


def main():
    if os.geteuid():
        print("1..0 # SKIP namespaces need root")
        return 1 if os.environ.get("CI") else 0
    r = run("--policy", "best")
    check("a policy that there is not is refused with its name", r.returncode == 2 and "best" in r.stderr and "predictive" in r.stderr, r.stderr)
    before = links()
    r = run("--quick", "--json")
    check("it ends well", r.returncode == 0, f"exit {r.returncode}\n{r.stderr}\n{r.stdout}")
    if r.returncode == 0:
        p = json.loads(r.stdout)["policies"]
        print(f"# {r.stdout.strip()}")
        check("three policies, the same requests", set(p) == {"none", "reactive", "predictive"} and len({x["requests"] for x in p.values()}) == 1, p)
        check("the crowd is more than the primary can take", p["none"]["failed"] > p["none"]["requests"] / 20, p)
        check("shards are paid for by those who ask for them", p["none"]["shard_s"] == 0 and p["reactive"]["shard_s"] > 1 and p["predictive"]["shard_s"] > 1, p)
        check("with shards before the crowd at most half as many fail as without", p["predictive"]["failed"] <= p["none"]["failed"] / 2, p)
        check("and no more than with a threshold", p["predictive"]["failed"] <= p["reactive"]["failed"], p)
        check("the slowest hundredth is no slower than without", p["predictive"]["p99_s"] <= p["none"]["p99_s"], p)
    check("no link is left", links() == before, links())
    until = time.monotonic() + 20
    while (alive := still_there()) and time.monotonic() < until:
        time.sleep(.1)
    check("no process is left", not alive, alive)
    print(f"1..{len(done)}")
    return 0 if all(done) else 1


sys.exit(main())
