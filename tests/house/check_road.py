# SPDX-License-Identifier: MIT OR Apache-2.0
"""A trained model in the loop: train --scenario, replay --model. usage: check_road.py TOOL WORK"""
import csv
import json
import os
import random
import subprocess
import sys

from house import run

TOOL, WORK = sys.argv[1], os.path.join(sys.argv[2], "road")
VMS, STEPS, WARM = 12, 420, 300
SCENARIO, MODEL = os.path.join(WORK, "road.json"), os.path.join(WORK, "road.model")


def call(verb, *args):
    return subprocess.run([TOOL, verb, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def write_trace(name, change=lambda t, v: v):
    """VMs that are busy every 12.75 to 30 steps, each in its own way."""
    rnd, path = random.Random(3), os.path.join(WORK, name)
    with open(path, "w") as f:
        f.write("time_s,vm,cpu_cores,memory_bytes,net_rx_bps,net_tx_bps,disk_read_Bps,disk_write_Bps\n")
        for t in range(STEPS):
            for vm in range(VMS):
                v = (3.0 if (t + 5 * vm) % (12.75 + 1.5 * vm) < 4 + vm % 3 else 0.6) + 0.2 * rnd.random()
                f.write(f"{t * 300},vm{vm:02d},{change(t, v):.4f},,,,,\n")
    return path


def write_scenario(path, trace):
    with open(path, "w") as f:
        json.dump({"schema": 1, "name": "road", "trace": [os.path.basename(trace)], "resources": ["cpu"], "step_s": 300,
                   "train_until": WARM, "score": [WARM, STEPS - 20], "lead_s": 300, "seed": 1,
                   "fleet": {"hosts": {"count": 3, "cpu": {"value": 6.5, "unit": "cores"}},
                             "vms": {"replica": "101101101101", "spillable": 0.8, "flow_lifetime_s": 60,
                                     "shards_at_most": 2}}, "placement": "greedy-mean"}, f)
    return path


def prepare():
    write_scenario(SCENARIO, write_trace("road.csv"))
    r = call("train", "--scenario", SCENARIO, "--groups", 20, "--effort", 0.05, "--out", MODEL)
    return [] if r.returncode == 0 else [f"train: exit {r.returncode}: {r.stderr}"]


def replay(name, scenario=SCENARIO, *more):
    """Ledger and steps without the oracle, and the policies' costs."""
    out = {k: os.path.join(WORK, f"{name}.{k}") for k in ("ledger", "steps", "result")}
    r = call("replay", "--scenario", scenario, "--policy", "predictive,oracle", *[x for k in out for x in ("--" + k, out[k])], *more)
    if r.returncode:
        return None, None, r.stderr
    with open(out["result"]) as f:
        cost = {p["name"]: p["cost"] for p in json.load(f)["policies"]}
    rows = [[x for x in csv.reader(open(out[k])) if x[1] == "predictive"] for k in ("ledger", "steps")]
    return rows, cost, ""


def a_model_lowers_or_keeps_the_cost():
    rows, without, why = replay("without")
    rows, with_model, why2 = replay("with", SCENARIO, "--model", MODEL)
    if not without or not with_model:
        return [why, why2]
    wrong = [] if rows[0] else ["nothing was done"]
    if with_model["predictive"] > 1.02 * without["predictive"]:
        wrong.append(f"{with_model['predictive']} with, {without['predictive']} without")
    return wrong  # a model that earns nothing has no say: the costs may be the same


def threads_change_nothing():
    one, two = os.path.join(WORK, "one.model"), os.path.join(WORK, "two.model")
    for path, n in ((one, 1), (two, 2)):
        r = call("train", "--scenario", SCENARIO, "--groups", 20, "--effort", 0.05, "--out", path, "--threads", n)
        if r.returncode:
            return [r.stderr]
    wrong = [] if open(one, "rb").read() == open(two, "rb").read() else ["the models differ"]
    a, b = (replay(f"threads{n}", SCENARIO, "--model", MODEL, "--threads", n) for n in (1, 2))
    return wrong + ([] if a[0] and a[0] == b[0] else ["the rows differ", a[2], b[2]])


def what_comes_later_changes_nothing_before():
    cut = 360
    other = write_scenario(os.path.join(WORK, "other.json"),
                           write_trace("other.csv", lambda t, v: v if t < cut else 4 - v))
    a, b = replay("with", SCENARIO, "--model", MODEL), replay("other", other, "--model", MODEL)
    if not a[0] or not b[0]:
        return [a[2], b[2]]
    before = lambda rows: [[x for x in part if float(x[0]) < cut * 300] for part in rows]
    wrong = [] if before(a[0]) == before(b[0]) else ["rows before the change differ"]
    return wrong + ([] if before(a[0])[0] and a[0] != b[0] else ["the test sees nothing"])


def refused(name, path, *words):
    rows, _, why = replay(name, SCENARIO, "--model", path)
    return [f"{name}: {why!r}"] if rows or any(w not in why for w in (path, *words)) else []


def models_that_do_not_fit_are_refused_by_name():
    broken, short, late, hourly = (os.path.join(WORK, n) for n in ("broken.model", "short.model", "late.model", "none.model"))
    with open(MODEL, "rb") as f, open(broken, "wb") as g:
        g.write(f.read()[:-100])
    trace = os.path.join(WORK, "road.csv")
    for path, args in ((short, ("--scenario", SCENARIO, "--horizon", 3)), (late, ("--trace", trace, "--horizon", 7))):
        r = call("train", *args, "--groups", 20, "--effort", 0.02, "--out", path)
        if r.returncode:
            return [r.stderr]
    wrong = refused("broken", broken) + refused("short", short, "3 steps") + refused("late", late, "warm-up")
    wrong += refused("none", hourly)
    r = call("replay", "--scenario", SCENARIO, "--model", MODEL, "--forecaster", "holt-winters")
    return wrong + ([] if r.returncode == 2 else [f"model and forecaster: exit {r.returncode}"])


def cores_beside_bytes_are_learnt():
    """Totals of both in one model, and replayed with it: one unit for all made such a model useless."""
    path, trace, model = (os.path.join(WORK, n) for n in ("both.json", "both.csv", "both.model"))
    rows = list(csv.reader(open(os.path.join(WORK, "road.csv"))))
    with open(trace, "w") as f:
        f.write(",".join(rows[0]) + "\n")
        for i, r in enumerate(rows[1:]):
            f.write(",".join([*r[:3], f"{2e9 + 1e9 * float(rows[1 + max(0, i - 4 * VMS)][2]):.0f}", *r[4:]]) + "\n")
    with open(write_scenario(path, trace)) as f:
        scenario = json.load(f)
    scenario["resources"] = ["cpu", "memory"]
    scenario["fleet"]["hosts"]["memory"] = {"value": 18e9, "unit": "bytes"}
    with open(path, "w") as f:
        json.dump(scenario, f)
    r = call("train", "--scenario", path, "--groups", 20, "--effort", 0.05, "--out", model, "--json")
    if r.returncode:
        return [r.stderr]
    loss, simple = (json.loads(r.stdout)[k] for k in ("loss", "naive_loss"))
    wrong = [] if 0 < loss < 1.2 * simple else [f"the model loses {loss}, the simple forecasts {simple}"]
    cost, why = replay("both", path, "--model", model)[1:]
    without = replay("both", path)[1]
    if not cost or not without or cost["predictive"] > 1.02 * without["predictive"]:
        wrong.append(f"with the model {cost}, without {without}: {why}")
    return wrong


def other_forecasters_replay():
    costs = [replay(f, SCENARIO, "--forecaster", f)[1] for f in ("mix", "holt-winters", "seasonal-naive")]
    if not all(costs):
        return ["one failed"]
    wrong = [] if len({c["predictive"] for c in costs}) > 1 else [f"they all cost the same: {costs}"]
    return wrong + ([] if len({c["oracle"] for c in costs}) == 1 else ["the oracle's cost depends on the forecaster"])


os.makedirs(WORK, exist_ok=True)
run([("a model is trained on a scenario's warm-up", prepare),
     ("a model lowers or keeps the cost", a_model_lowers_or_keeps_the_cost),
     ("threads change nothing", threads_change_nothing),
     ("what comes later changes nothing before", what_comes_later_changes_nothing_before),
     ("models that do not fit are refused by name", models_that_do_not_fit_are_refused_by_name),
     ("cores beside bytes are learnt", cores_beside_bytes_are_learnt),
     ("other forecasters replay", other_forecasters_replay)])
