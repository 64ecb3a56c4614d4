#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Costs of all policies over scenario files, as the Markdown table of the README.

    benchmarks/replay_table.py TOOL SCENARIOS_DIR [--sweep] [--generated]

TOOL is the built `shardpredict`; $SPR_DATA names the data folder, $SPR_MAPS the maps. `--sweep` adds lead times and
prices for the scenarios whose name ends in -300; `--generated` adds a generated fleet with CPU, memory and network.
"""
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

ORDER = "none static-p95 reactive reactive-tuned predictive oracle".split()


def replay(tool, *args):
    """One replay: its result file, and the interval that the tool prints."""
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "result.json")
        run = subprocess.run([tool, "replay", "--policy", "all", "--seed", "1", "--result", path, *args],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if run.returncode not in (0, 3):
            sys.exit(run.stderr)
        with open(path, encoding="utf-8") as f:
            result = json.load(f)
    interval = re.search(r"interval ([0-9.]+) to ([0-9.]+)", run.stdout)
    return result, interval.groups() if interval else ("-", "-")


def row(name, result, interval):
    score = {p["name"]: p for p in result["policies"]}
    cost = {k: v["cost"] for k, v in score.items()}
    rival = min(("none", "static-p95", "reactive-tuned"), key=lambda k: cost[k])
    ours = score["predictive"]
    regret = f"{ours['regret']:.2f}" if result["has_room"] else "no room"
    saved = "-" if ours["saved"] is None else f"{ours['saved']:.2f}"
    costs = " | ".join(f"{cost[k]:.1f}" for k in ORDER)
    return (f"| {name} | {costs} | {result['bound']:.1f} | {rival} | {saved} | {regret} | "
            f"{cost['predictive'] / cost[rival]:.3f} ({interval[0]} to {interval[1]}) |")


def head(first):
    print(f"| {first} | " + " | ".join(ORDER) + " | bound | rival | saved | regret | predictive / rival |")
    print("|---|" + "---:|" * 7 + "---|---:|---:|---:|")


def main():
    options = [a for a in sys.argv[1:] if a.startswith("--")]
    tool, folder = [a for a in sys.argv[1:] if not a.startswith("--")]
    files = sorted(glob.glob(os.path.join(folder, "*.json")))
    head("trace, lead s")
    for f in files:
        print(row(os.path.basename(f)[:-5].replace("-", ", "), *replay(tool, "--scenario", f)), flush=True)
    if "--generated" in options:
        with tempfile.TemporaryDirectory() as d:
            trace = os.path.join(d, "fleet.csv")
            subprocess.run([tool, "generate", "--vms", "200", "--days", "28", "--seed", "1", "--out", trace], check=True)
            for lead in ("300", "60"):
                print(row(f"generated, {lead}", *replay(tool, "--trace", trace, "--lead", lead)), flush=True)
    if "--sweep" in options:
        print()
        head("trace, lead s, price")
        for f in (f for f in files if f.endswith("-300.json")):
            name = os.path.basename(f)[:-9]
            for lead, price in (("10", "10"), ("900", "10"), ("300", "3"), ("300", "50")):
                got = replay(tool, "--scenario", f, "--lead", lead, "--price", price)
                print(row(f"{name}, {lead}, {price}", *got), flush=True)


if __name__ == "__main__":
    main()
