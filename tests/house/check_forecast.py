# SPDX-License-Identifier: MIT OR Apache-2.0
"""The verb forecast as a person uses it: form of the CSV, cases, no look-ahead, threads, errors. usage: check_forecast.py TOOL WORK"""
import csv
import io
import json
import math
import os
import random
import subprocess
import sys

from house import Skip, run

TOOL, WORK = sys.argv[1], os.path.join(sys.argv[2], "forecast")
STEPS, CUT = 900, 800
HEADER = "time_s,vm,cpu_cores,memory_bytes,net_rx_bps,net_tx_bps,disk_read_Bps,disk_write_Bps\n"


def trace(name, change=lambda vm, t, v: v):
    rnd, path = random.Random(7), os.path.join(WORK, name)
    with open(path, "w") as f:
        f.write(HEADER)
        for t in range(STEPS):
            for vm in range(3):
                v = 2.385 + math.sin(2 * math.pi * t / 288 + vm) + rnd.random()
                if vm == 2 and t < 850:
                    continue  # a VM that arrives late
                f.write(f"{t * 300},vm{vm},{change(vm, t, v):.4f},{change(vm, t, v) * 1e9:.0f},,,,\n")
    return path


def cases(name, rows):
    path = os.path.join(WORK, name)
    with open(path, "w", newline="") as f:
        csv.writer(f).writerows([("case", "series", "metric", "origin"), *rows])
    return path


def call(*args, **more):
    return subprocess.run([TOOL, "forecast", *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, **more)


def has_gsl():
    r = subprocess.run([TOOL, "doctor", "--json"], stdout=subprocess.PIPE, text=True)
    return any(b["name"] == "gsl" and b["built"] for b in json.loads(r.stdout)["backends"])


def rows_of(r):
    return list(csv.DictReader(io.StringIO(r.stdout)))


def the_csv_has_the_documented_form():
    r = call("--trace", trace("a.csv"), "--horizon", 4, "--origins", f"{CUT},{STEPS}", "--quantiles", "0.1,0.5,0.90909091")
    if r.returncode:
        return [r.stderr]
    wrong, rows = [], rows_of(r)
    if r.stdout.splitlines()[0] != "series,metric,origin,h,point,q0.1,q0.5,q0.90909091":
        wrong.append(r.stdout.splitlines()[0])
    if [x["h"] for x in rows[:4]] != list("1234") or {x["metric"] for x in rows} != {"cpu", "memory"}:
        wrong.append(str(rows[:4]))
    if len(rows) != 3 * 2 * 2 * 4:
        wrong.append(f"{len(rows)} rows")
    for x in rows:
        q = [float(x[k]) for k in ("q0.1", "q0.5", "q0.90909091")]
        if not (all(map(math.isfinite, q)) and q == sorted(q)):
            wrong.append(str(x))
    return wrong


def exactly_the_cases_are_answered_under_their_own_names():
    asked = [("b", "vm1", "memory", CUT), ('a "quoted", one', "vm0", "cpu_cores", 0), ("c", "vm2", "cpu", CUT)]
    r = call("--trace", trace("a.csv"), "--horizon", 2, "--cases", cases("c.csv", asked), "--quantiles", "0.5,0.9")
    got = [(x["case"], x["series"], x["metric"], int(x["origin"])) for x in rows_of(r)]
    if got != [a for a in asked for _ in range(2)]:
        return [r.stderr, str(got)]
    return [] if "2 of 3 cases have no history" in r.stderr else [r.stderr]


def strict_refuses_what_has_no_history():
    r = call("--trace", trace("a.csv"), "--cases", cases("c.csv", [("c", "vm2", "cpu", CUT)]), "--strict")
    return [] if r.returncode == 1 and not r.stdout and "vm2" in r.stderr else [f"exit {r.returncode}: {r.stderr}"]


def nothing_after_the_origin_is_seen():
    wrong = []
    one, other = trace("a.csv"), trace("b.csv", lambda vm, t, v: v if t < CUT else 99 - v)
    for method in ("auto", "seasonal-naive", "holt-winters", "last-value", *(["gsl-wavelet"] if has_gsl() else [])):
        a, b = (call("--trace", f, "--horizon", 24, "--origins", CUT, "--method", method, "--quantiles", "0.5,0.99")
                for f in (one, other))
        # vm2 has no history there: what answers it may come from the trace as a whole
        if a.returncode or not a.stdout or [x for x in rows_of(a) if x["series"] != "vm2"] != [x for x in rows_of(b) if x["series"] != "vm2"]:
            wrong.append(f"{method}: exit {a.returncode} {a.stderr}")
    return wrong


def history_limits_what_is_seen():
    one, other = trace("a.csv"), trace("b.csv", lambda vm, t, v: v if t >= CUT - 100 else 50 + v)
    a, b = (rows_of(call("--trace", f, "--horizon", 3, "--origins", CUT, "--history", 100)) for f in (one, other))
    a, b = ([x for x in r if x["series"] != "vm2"] for r in (a, b))
    return [] if a and a == b else ["values before the history change the forecast"]


def threads_change_nothing():
    out = {call("--trace", trace("a.csv"), "--horizon", 12, "--threads", n).stdout for n in (1, 2, 3)}
    return [] if len(out) == 1 and out != {""} else [f"{len(out)} different outputs"]


def a_season_is_followed():
    r = call("--trace", trace("a.csv"), "--horizon", 50, "--origins", CUT, "--method", "holt-winters", "--quantiles", "0.1,0.9")
    error = [abs(float(x["point"]) - 2.885 - math.sin(2 * math.pi * (CUT + int(x["h"]) - 1) / 288)) for x in rows_of(r)
             if x["series"] == "vm0" and x["metric"] == "cpu"]
    return [] if len(error) == 50 and sum(error) / 50 < 0.35 else [str(error)]


def a_method_of_a_library_works_where_it_is_installed():
    if not has_gsl():
        raise Skip("libshardpredict-gsl is not built; package libgsl-dev")
    r = call("--trace", trace("a.csv"), "--horizon", 50, "--origins", CUT, "--method", "gsl-wavelet", "--quantiles", "0.1,0.9")
    error = [abs(float(x["point"]) - 2.885 - math.sin(2 * math.pi * (CUT + int(x["h"]) - 1) / 288)) for x in rows_of(r)
             if x["series"] == "vm0" and x["metric"] == "cpu"]
    return [] if len(error) == 50 and sum(error) / 50 < 0.35 else [r.stderr, str(error)]


def a_method_of_a_missing_library_exits_77_and_names_the_package():
    """An empty file of the library's name is found first and cannot be opened: as good as none."""
    open(os.path.join(WORK, "libshardpredict-gsl.so.0"), "w").close()
    r = call("--trace", trace("a.csv"), "--method", "gsl-wavelet", env=dict(os.environ, LD_LIBRARY_PATH=WORK))
    ok = r.returncode == 77 and not r.stdout and "libshardpredict-gsl0" in r.stderr and "gsl-wavelet" in r.stderr
    return [] if ok else [f"exit {r.returncode}: {r.stderr}"]


def json_says_the_same():
    t = trace("a.csv")
    d, rows = json.loads(call("--trace", t, "--horizon", 3, "--json").stdout), rows_of(call("--trace", t, "--horizon", 3))
    flat = [p for f in d["forecasts"] for p in f["point"]]
    return [] if d["schema"] == 1 and flat == [float(x["point"]) for x in rows] else [str(flat[:3])]


def windows_say_when_a_threshold_is_passed():
    # vm0 swings around 2.885 with amplitude 1 and a day of 288 steps; from step 864 on it rises through it
    r = call("--trace", trace("a.csv"), "--horizon", 200, "--origins", 864, "--method", "holt-winters", "--above", 2.885, "--json")
    f = [f for f in json.loads(r.stdout)["forecasts"] if f["series"] == "vm0" and f["metric"] == "cpu"][0]
    w = max(f["windows"], key=lambda w: w["to"] - w["from"])
    return [] if w["from"] < 30 and 115 < w["to"] < 175 and w["probability"] > 0.95 and w["peak"] > 3.5 else [str(f["windows"])]


def when_adds_up_the_chances_of_a_first_passage():
    r = call("--trace", trace("a.csv"), "--horizon", 24, "--above", 3.3, "--json")
    if r.returncode:
        return [r.stderr]
    wrong = []
    for f in json.loads(r.stdout)["forecasts"]:
        if len(f["first_passage"]) != 24 or not -1e-9 <= sum(f["first_passage"]) <= 1 + 1e-9:
            wrong.append(str(f["first_passage"]))
        for w in f["when"]:
            if not (1 <= w["from"] <= w["onset_low"] <= w["onset"] <= w["onset_high"] <= w["to"] <= 24 and w["probability"] >= 0.5):
                wrong.append(str(w))
    return wrong


def events_are_foreseen():
    """A VM that does three times as much from 12:00 to 14:00 on some days, the next one among them."""
    path, days = os.path.join(WORK, "events.csv"), {8, 10, 13, 15, 18, 20}
    with open(path, "w") as f:
        f.write(HEADER)
        for t in range(20 * 288):
            busy = t // 288 in days and 144 <= t % 288 < 168
            f.write(f"{t * 300},vm,{(2 + math.sin(2 * math.pi * t / 288) * 0.5) * (3 if busy else 1):.4f},1,,,,\n")
    ics = os.path.join(WORK, "events.ics")
    dates = [f"197001{d + 1:02d}T120000Z" for d in sorted(days)]
    with open(ics, "w") as f:
        f.write("BEGIN:VCALENDAR\nBEGIN:VEVENT\nCATEGORIES:batch\nDTSTART:" + dates[0] + "\nDURATION:PT2H\nRDATE:" + ",".join(dates[1:]) +
                "\nEND:VEVENT\nEND:VCALENDAR\n")
    args = ("--trace", path, "--horizon", 288, "--method", "seasonal-naive")
    known, unknown = call(*args, "--events", ics), call(*args)
    if known.returncode or unknown.returncode:
        return [known.stderr, unknown.stderr]
    at = [[float(x["point"]) for x in rows_of(r) if x["metric"] == "cpu"][150] for r in (known, unknown)]
    wrong = [] if at[0] > 2 * at[1] else [f"{at}"]
    with open(ics, "a") as f:
        f.write("BEGIN:VEVENT\n")
    r = call(*args, "--events", ics)
    return wrong + ([] if r.returncode == 1 and ics + ":" in r.stderr and not r.stdout else [r.stderr])


def pictures_keep_to_one_line_a_series():
    lines = call("--trace", trace("a.csv"), "--picture").stdout.splitlines()
    return [] if len(lines) == 2 + 6 and all("next" in x for x in lines[2:]) else lines or ["nothing"]


def broken_cases_name_file_and_line():
    wrong, t = [], trace("a.csv")
    for name, rows, place in (("no series", [("a", "vm9", "cpu", 5)], ":2:"), ("no metric", [("a", "vm0", "dunno", 5)], ":2:"),
                              ("no number", [("a", "vm0", "cpu", 5), ("a", "vm0", "cpu", "5x")], ":3:"), ("late", [("a", "vm0", "cpu", STEPS + 1)], ":2:"),
                              ("several", [("a", "vm0", "", 5)], ":2:"), ("fields", [("a", "vm0", "cpu")], ":2:")):
        f = cases("broken.csv", rows)
        r = call("--trace", t, "--cases", f)
        if r.returncode != 1 or r.stdout or f + place not in r.stderr:
            wrong.append(f"{name}: exit {r.returncode}: {r.stderr}")
    open(os.path.join(WORK, "broken.csv"), "w").write('case,series,metric,origin\n"a,vm0,cpu,5\n')
    r = call("--trace", t, "--cases", os.path.join(WORK, "broken.csv"))
    return wrong + ([] if r.returncode == 1 and ":2:" in r.stderr else [r.stderr])


def senseless_arguments_exit_2():
    t = trace("a.csv")
    return [f"{a}: exit {r.returncode}" for a in (["--horizon", 0], ["--quantiles", "0.9,0.1"], ["--quantiles", "1.5"], ["--method", "magic"],
                                                  ["--origins", "3.5"], ["--origins", "-1"], ["--origins", "1", "--cases", "x"])
            for r in [call("--trace", t, *a)] if r.returncode != 2 or r.stdout or not r.stderr]


os.makedirs(WORK, exist_ok=True)
run([(f.__name__.replace("_", " "), f) for f in (
    the_csv_has_the_documented_form, exactly_the_cases_are_answered_under_their_own_names, strict_refuses_what_has_no_history,
    nothing_after_the_origin_is_seen, history_limits_what_is_seen, threads_change_nothing, a_season_is_followed,
    a_method_of_a_library_works_where_it_is_installed, a_method_of_a_missing_library_exits_77_and_names_the_package,
    json_says_the_same, windows_say_when_a_threshold_is_passed, when_adds_up_the_chances_of_a_first_passage,
    events_are_foreseen, pictures_keep_to_one_line_a_series, broken_cases_name_file_and_line, senseless_arguments_exit_2)])
