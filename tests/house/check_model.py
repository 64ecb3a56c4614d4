# SPDX-License-Identifier: MIT OR Apache-2.0
"""The verbs train and forecast --model, --backtest, --svg as a person uses them. usage: check_model.py TOOL WORK"""
import csv
import io
import json
import math
import os
import random
import subprocess
import sys
import xml.etree.ElementTree as xml

from house import read, run

TOOL, WORK = sys.argv[1], os.path.join(sys.argv[2], "model")
STEPS, CUT, VMS = 700, 560, 6
MAP = """schema: 1
form: long
time: {column: t, unit: steps, step_s: STEP}
series: {column: vm}
metrics:
  load: {resource: cpu, unit: percent_of_capacity}
  room: {resource: memory, unit: KB}
capacity: {cpu_cores: 1, memory_bytes: 1073741824}
"""


def path(name):
    return os.path.join(WORK, name)


def trace(name, change=lambda vm, t, v: v):
    rnd = random.Random(7)
    with open(path(name), "w") as f:
        f.write("t,vm,load,room\n")
        for t in range(STEPS):
            for vm in range(VMS):
                v = 20 + 5 * vm + 10 * math.sin(2 * math.pi * t / 24 + vm) + 4 * rnd.random()
                if vm == VMS - 1 and t < 650:
                    continue  # a VM that arrives late
                v = change(vm, t, v)
                f.write(f"{t},vm{vm},{v:.4f},{v * 1000 + 30 * rnd.random():.1f}\n")
    return path(name)


def map_of(step_s=3600):
    with open(path(f"{step_s}.yaml"), "w") as f:
        f.write(MAP.replace("STEP", str(step_s)))
    return path(f"{step_s}.yaml")


def cases(name, rows):
    with open(path(name), "w", newline="") as f:
        csv.writer(f).writerows([("case", "series", "metric", "origin"), *rows])
    return path(name)


def call(verb, *args):
    return subprocess.run([TOOL, verb, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def train(out, *args, source=None, horizon=6):
    return call("train", "--trace", source or trace("a.csv"), "--map", map_of(), "--horizon", horizon, "--effort", 0.02, "--seed", 3,
                "--out", path(out), *args)


def forecast(*args, source=None):
    return call("forecast", "--trace", source or trace("a.csv"), "--map", map_of(), "--horizon", 6, *args)


def content(name):
    with open(path(name), "rb") as f:
        return f.read()


def model():
    if not os.path.exists(path("good.model")):
        r = train("good.model", "--until", CUT)
        assert r.returncode == 0, r.stderr
    return path("good.model")


def rows_of(r):
    return list(csv.DictReader(io.StringIO(r.stdout)))


KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "number": (int, float), "integer": int}


def misfit(v, s, where="$"):
    """As much of JSON Schema as the schemas of these outputs use."""
    if "const" in s and v != s["const"] or "enum" in s and v not in s["enum"]:
        return [f"{where}: {v!r}"]
    types = s.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(isinstance(v, KINDS[t]) and not (t in ("number", "integer") and isinstance(v, bool)) for t in types):
        return [f"{where}: {v!r} is no {' or '.join(types)}"]
    if isinstance(v, list):
        return [x for i, e in enumerate(v) for x in misfit(e, s.get("items", {}), f"{where}[{i}]")]
    if not isinstance(v, dict):
        return []
    known = s.get("properties", {})
    wrong = [f"{where}: no {k}" for k in s.get("required", []) if k not in v]
    wrong += [f"{where}: {k} is not in the schema" for k in v if k not in known and s.get("additionalProperties") is False]
    return wrong + [x for k, e in v.items() for x in misfit(e, known.get(k, {}), f"{where}.{k}")]


def json_outputs_fit_their_schemas():
    wrong = []
    c = cases("j.csv", [("a", "vm1", "load", 600)])
    for name, r in (("training", train("j.model", "--until", CUT, "--json")),
                    ("forecast", forecast("--model", model(), "--cases", c, "--above", 30, "--json")),
                    ("forecast", forecast("--origins", CUT, "--json")), ("backtest", forecast("--backtest", "--json"))):
        schema = json.loads(read(f"doc/schema/{name}.json"))
        wrong += [r.stderr] if r.returncode else misfit(json.loads(r.stdout), schema, name)
    return wrong


def training_says_what_it_made():
    r = train("a.model", "--until", CUT)
    j = train("b.model", "--until", CUT, "--json")
    if r.returncode or j.returncode:
        return [r.stderr, j.stderr]
    d, wrong = json.loads(j.stdout), []
    if content("a.model") != content("b.model"):
        wrong.append("--json changes the model")
    if d["bytes"] != len(content("b.model")) or d["horizon"] != 6 or d["step_s"] != 3600 or d["series"] != 2 * (VMS - 1):
        wrong.append(str(d))
    for word in (path("a.model"), "10 series", "held-out tail", "naive", "%", "kB"):
        if word not in r.stdout:
            wrong.append(f"no '{word}' in: {r.stdout}")
    return wrong


def the_model_does_not_depend_on_threads():
    got = set()
    for n in (1, 2, 5):
        r = train("t.model", "--until", CUT, "--threads", n)
        got.add(content("t.model") if r.returncode == 0 else r.stderr)
    return [] if len(got) == 1 else [f"{len(got)} different models"]


def nothing_at_or_after_until_is_learnt():
    train("u1.model", "--until", CUT)
    train("u2.model", "--until", CUT, source=trace("u.csv", lambda vm, t, v: v if t < CUT else 77 - v))
    train("u3.model", "--until", CUT, source=trace("u.csv", lambda vm, t, v: v if t < CUT - 1 else 77 - v))
    wrong = [] if content("u1.model") == content("u2.model") else ["a step at or after --until changes the model"]
    return wrong + ([] if content("u1.model") != content("u3.model") else ["the last step before --until is not used"])


def a_case_hides_its_series_from_its_first_origin_on():
    c = cases("c.csv", [("a", "vm1", "load", 600), ("b", "vm1", "load", 500), ("c", "vm2", "room", 650)])
    hidden = {"vm1": 500, "vm2": 650}
    r = train("k1.model", "--cases", c)
    train("k2.model", "--cases", c, source=trace("k.csv", lambda vm, t, v: 77 - v if t >= hidden.get(f"vm{vm}", STEPS) else v))
    train("k3.model", "--cases", c, source=trace("k.csv", lambda vm, t, v: 77 - v if vm == 3 and t > 650 else v))
    if r.returncode:
        return [r.stderr]
    wrong = [] if content("k1.model") == content("k2.model") else ["a step at or after a case's origin changes the model"]
    return wrong + ([] if content("k1.model") != content("k3.model") else ["other series are not used whole"])


def a_model_answers_from_what_lies_before_the_origin():
    a, b = (forecast("--model", model(), "--origins", CUT, "--quantiles", "0.1,0.5,0.95", source=s)
            for s in (trace("a.csv"), trace("f.csv", lambda vm, t, v: v if t < CUT else 77 - v)))
    if a.returncode or a.stdout != b.stdout:
        return [a.stderr or "what lies after the origin changes the answer"]
    rows = rows_of(a)
    wrong = [] if len(rows) == 2 * VMS * 6 else [f"{len(rows)} rows"]
    for x in rows:
        q = [float(x[k]) for k in ("q0.1", "q0.5", "q0.95")]
        if not (all(map(math.isfinite, q)) and q == sorted(q) and q[0] >= 0):
            wrong.append(str(x))
    return wrong


def a_case_without_history_is_answered_by_the_model():
    c = cases("cold.csv", [("a", f"vm{VMS - 1}", "load", CUT), ("b", "vm0", "load", 0), ("c", "vm0", "load", 1)])
    r = forecast("--model", model(), "--cases", c, "--quantiles", "0.1,0.5,0.9")
    strict = forecast("--model", model(), "--cases", c, "--strict")
    wrong = [] if r.returncode == 0 and len(rows_of(r)) == 18 else [r.stderr]
    if "pooled" in r.stderr:
        wrong.append("the trace's pool answered: " + r.stderr)
    wrong += [str(x) for x in rows_of(r) if not 0 <= float(x["q0.1"]) <= float(x["q0.5"]) <= float(x["q0.9"]) < 100]
    return wrong + ([] if strict.returncode == 1 and not strict.stdout else [f"--strict: exit {strict.returncode}"])


def threads_and_company_change_no_answer():
    out = {forecast("--model", model(), "--origins", f"{CUT},600", "--threads", n).stdout for n in (1, 3)}
    alone = rows_of(forecast("--model", model(), "--cases", cases("one.csv", [("x", "vm1", "load", 600)])))
    many = [x for x in csv.DictReader(io.StringIO(out.pop())) if x["series"] == "vm1" and x["metric"] == "cpu" and x["origin"] == "600"]
    if out:
        return ["threads change the answer"]
    return [] if [x["point"] for x in alone] == [x["point"] for x in many] else ["other cases change the answer"]


def a_model_that_does_not_fit_is_refused_by_name():
    wrong, good = [], content(os.path.basename(model()))
    for name, data in (("cut", good[:len(good) // 2]), ("empty", b""), ("bit", good[:300] + bytes([good[300] ^ 4]) + good[301:]),
                       ("longer", good + bytes(64)), ("foreign", b"schema: 1\n")):
        with open(path(name + ".model"), "wb") as f:
            f.write(data)
        r = forecast("--model", path(name + ".model"))
        if r.returncode != 1 or r.stdout or path(name + ".model") not in r.stderr:
            wrong.append(f"{name}: exit {r.returncode}: {r.stderr}")
    for what, r in (("horizon", call("forecast", "--trace", trace("a.csv"), "--map", map_of(), "--horizon", 7, "--model", model())),
                    ("step", call("forecast", "--trace", trace("a.csv"), "--map", map_of(300), "--horizon", 6, "--model", model())),
                    ("absent", forecast("--model", path("absent.model")))):
        if r.returncode != 1 or r.stdout or ("absent" if what == "absent" else model()) not in r.stderr:
            wrong.append(f"{what}: exit {r.returncode}: {r.stderr}")
    return wrong


def other_methods_do_not_mind_a_model():
    a, b = (forecast("--origins", CUT, "--method", "seasonal-naive", *m).stdout for m in ((), ("--model", model())))
    return [] if a and a == b else ["--model changes what seasonal-naive says"]


def scores(rows, truth, season=24):
    """MASE, WQL.5, WQL.9, cov95, cost_s of a backtest, computed once more from its definition."""
    by_case, mase, cost, hit, n, pin = {}, [], [], 0, 0, {}
    for x in rows:
        by_case.setdefault((x["series"], x["metric"], int(x["origin"])), []).append(x)
    for (vm, metric, origin), steps in by_case.items():
        y = truth[vm, metric]
        s = sum(abs(y[t] - y[t - season]) for t in range(season, origin)) / (origin - season)
        e = [abs(y[origin + i] - float(x["point"])) for i, x in enumerate(steps)]
        mase.append(sum(e) / len(e) / s)
        c = []
        for i, x in enumerate(steps):
            v, p = y[origin + i], pin.setdefault(metric, [0.0, 0.0, 0.0])
            for k, level in enumerate((0.5, 0.9)):
                q = float(x[f"q{level}"])
                p[k] += max(level * (v - q), (level - 1) * (v - q))
            p[2] += abs(v)
            hit, n = hit + (v <= float(x["q0.95"])), n + 1
            r = float(x["q0.909090909"])
            c.append(10 * max(0, v - r) + max(0, r - v))
        cost.append(sum(c) / len(c) / s)
    mean = lambda v: sum(v) / len(v)
    return {"mase": mean(mase), "cost_s": mean(cost), "cov95": hit / n,
            **{f"wql{w}": mean([2 * p[k] / p[2] for p in pin.values()]) for k, w in ((0, 50), (1, 90))}}


def a_backtest_gives_the_protocols_scores():
    origins, t = "600,630", trace("a.csv", lambda vm, t, v: v)
    r = forecast("--backtest", "--json", "--origins", origins, "--method", "holt-winters")
    q = forecast("--origins", origins, "--method", "holt-winters", "--quantiles", "0.1,0.5,0.9,0.90909090909090909,0.95,0.99")
    if r.returncode or q.returncode:
        return [r.stderr, q.stderr]
    d, truth = json.loads(r.stdout), {}
    with open(t) as f:
        for x in csv.DictReader(f):
            for column, metric in (("load", "cpu"), ("room", "memory")):
                truth.setdefault((x["vm"], metric), {})[int(x["t"])] = float(x[column])
    late = f"vm{VMS - 1}"  # it has no history at the first of the origins, and is left out there
    want = scores([x for x in rows_of(q) if x["series"] != late], truth)
    got = d["methods"][0]
    wrong = [] if [m["method"] for m in d["methods"]] == ["holt-winters", "seasonal-naive", "last-value"] else [str(d["methods"])]
    if d["cases"] != 2 * 2 * (VMS - 1) or d["season"] != 24:
        wrong.append(f"{d['cases']} cases, season {d['season']}")
    return wrong + [f"{k}: {got[k]} instead of {v}" for k, v in want.items() if abs(got[k] - v) > 1e-6 * max(1, v)]


def a_backtest_says_who_is_better():
    r = forecast("--backtest", "--model", model(), "--windows", 3)
    late = forecast("--backtest", "--model", model(), "--origins", CUT - 20)
    lines = r.stdout.splitlines()
    wrong = [] if r.returncode == 0 and len(lines) == 8 else [r.stderr + r.stdout]
    if not lines or not lines[0].startswith("auto loses ") or "seasonal-naive" not in lines[0] + lines[4]:
        wrong.append(r.stdout)
    if "warning" in r.stderr or "learnt from steps up to 560" not in late.stderr:
        wrong.append("the warning about steps that were learnt from: " + r.stderr + late.stderr)
    short = forecast("--backtest", "--horizon", 400)
    return wrong + ([] if short.returncode == 4 and not short.stdout else [f"too short: exit {short.returncode}"])


def a_fan_is_well_formed_and_says_what_it_shows():
    with open(path("odd.csv"), "w") as f:
        f.write("t,vm,load,room\n" + "".join(f'{t},"<a & ""b"">",{t % 7},{t}\n' for t in range(60)))
    r = call("forecast", "--trace", path("odd.csv"), "--map", map_of(), "--origins", "40", "--horizon", 6, "--svg", path("odd.svg"))
    many = forecast("--origins", "500,600", "--svg", "-", "--method", "last-value")
    if r.returncode or many.returncode:
        return [r.stderr, many.stderr]
    space, wrong = "{http://www.w3.org/2000/svg}", []
    one, all_ = xml.parse(path("odd.svg")).getroot(), xml.fromstring(many.stdout)
    texts = ["".join(e.itertext()) for e in one.iter(space + "text")]
    if not any(t.startswith('<a & "b">') for t in texts) or not {"history", "what came", "cpu", "hours from the origin"} <= set(texts):
        wrong.append(str(texts))
    kinds = [e.get("class") for e in one.iter(space + "path")]
    if any(kinds.count(k) < 2 for k in ("past", "truth", "median")) or "band" not in kinds or not r.stdout.startswith("series,"):
        wrong.append(str(kinds))
    if len(list(all_.iter(space + "g"))) != 12 or "the first 12 of 24 cases" not in many.stdout or "prefers-color-scheme" not in many.stdout:
        wrong.append("not the first 12 of 24 cases")
    if "nan" in many.stdout or "inf" in many.stdout or "<script" in many.stdout:
        wrong.append("no numbers, or a script")
    return wrong


def a_model_can_be_trained_further():
    r = train("more.model", "--start", model(), "--until", CUT + 40)
    wrong = [] if r.returncode == 0 and content("more.model") != content("good.model") else [r.stderr or "nothing was learnt"]
    if not wrong and forecast("--model", path("more.model"), "--origins", 650).returncode:
        wrong.append("the further trained model does not answer")
    for what, r in (("another horizon", train("more.model", "--start", model(), horizon=7)),
                    ("no model", train("more.model", "--start", map_of()))):
        if r.returncode != 1 or r.stdout or (map_of() if what == "no model" else model()) not in r.stderr:
            wrong.append(f"{what}: exit {r.returncode}: {r.stderr}")
    return wrong


def what_cannot_be_trained_fails_early():
    short = train("s.model", "--until", 3)
    nowhere = call("train", "--trace", trace("a.csv"), "--map", map_of(), "--out", path("no/such/folder.model"))
    wrong = [] if short.returncode == 1 and trace("a.csv") in short.stderr and not os.path.exists(path("s.model")) else [short.stderr]
    return wrong + ([] if nowhere.returncode == 1 and "no/such/folder.model" in nowhere.stderr else [nowhere.stderr])


def senseless_arguments_exit_2():
    t, m = trace("a.csv"), map_of()
    asked = [("train", a) for a in ([], ["--out", "x", "--horizon", 0], ["--out", "x", "--kind", "magic"], ["--out", "x", "--until", -5],
                                    ["--out", "x", "--effort", 0], ["--out", "-", "--json"])]
    asked += [("forecast", a) for a in (["--method", "net"], ["--backtest", "--quantiles", "0.5"], ["--backtest", "--windows", 0],
                                        ["--backtest", "--svg", "-"])]
    return [f"{v} {a}: exit {r.returncode}" for v, a in asked for r in [call(v, "--trace", t, "--map", m, *a)]
            if r.returncode != 2 or r.stdout or not r.stderr]


os.makedirs(WORK, exist_ok=True)
if os.path.exists(path("good.model")):
    os.remove(path("good.model"))
run([(f.__name__.replace("_", " "), f) for f in (
    training_says_what_it_made, json_outputs_fit_their_schemas, the_model_does_not_depend_on_threads, nothing_at_or_after_until_is_learnt,
    a_case_hides_its_series_from_its_first_origin_on, a_model_answers_from_what_lies_before_the_origin,
    a_case_without_history_is_answered_by_the_model, threads_and_company_change_no_answer, a_model_that_does_not_fit_is_refused_by_name,
    other_methods_do_not_mind_a_model, a_backtest_gives_the_protocols_scores, a_backtest_says_who_is_better,
    a_fan_is_well_formed_and_says_what_it_shows, a_model_can_be_trained_further, what_cannot_be_trained_fails_early, senseless_arguments_exit_2)])
