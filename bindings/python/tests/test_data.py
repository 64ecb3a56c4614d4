# SPDX-License-Identifier: MIT OR Apache-2.0
"""Samples in, arrays out; contexts, errors, logging, threads; what lives how long."""
import gc
import os
import signal
import threading
import weakref

import numpy as np
import pytest

import shardpredict as sp
from shardpredict import io

STEP = 300 * 10**9


def series_of(context, rows, step_ns=STEP):
    with sp.Metrics(context, step_ns=step_ns) as m:
        for i, values in enumerate(rows):
            row = m.add("vm%d" % i)
            for k, v in enumerate(values):
                m.push(row, k * step_ns, v)
        return m.finish()


def waves(n=4, days=8, noise=0.05):
    rng = np.random.default_rng(3)
    t = np.arange(days * 288)
    return [2 + np.sin(2 * np.pi * (t + 31 * i) / 288) + noise * rng.standard_normal(t.size) for i in range(n)]


def test_samples_become_a_read_only_view(context):
    s = series_of(context, [[1.5, np.nan, 3.25], [4.0, 5.0]])
    v = s.values()
    assert v.shape == (2, 3) and v[0, 2] == 3.25 and np.isnan(v[0, 1]) and np.isnan(v[1, 2])
    assert s.values(sp.SeriesField.COUNT).dtype == np.float32 and s.values(sp.SeriesField.COUNT)[1, 1] == 1
    assert s.info(1).id == "vm1" and s.info(1).metric == "cpu" and s.find("vm1") == 1 and len(s) == 2
    with pytest.raises(ValueError):
        v[0, 0] = 1
    with pytest.raises(sp.NotFoundError):
        s.find("nobody")


def test_a_view_outlives_what_it_came_from():
    context = sp.Context()
    s = series_of(context, [[1.0, 2.0, 3.0]])
    v = s.values()[:, 1:]
    s.close()
    with pytest.raises(ValueError, match="closed"):
        s.steps
    del s
    context.close()
    gone = weakref.ref(context)
    del context
    gc.collect()
    assert gone() is not None and v.tolist() == [[2.0, 3.0]]
    del v
    gc.collect()
    assert gone() is None


def test_errors_have_a_code_a_place_and_a_type(context, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("time_s,vm,cpu_cores\n0,a,1\n300,a,many\n")
    with pytest.raises(sp.Error) as e:
        io.Trace(context, bad)
    assert e.value.code == sp.ErrorCode.E_FORMAT and e.value.file.endswith("bad.csv") and e.value.line == 3
    assert "bad.csv:3" in str(e.value)
    with pytest.raises(ValueError) as e:
        sp.Metrics(context, step_ns=-5)
    assert isinstance(e.value, sp.ArgumentError) and e.value.code == sp.ErrorCode.E_ARG


def test_the_log_is_a_callback_and_its_exception_comes_out(tmp_path):
    seen = []
    trace = tmp_path / "t.csv"
    trace.write_text("time_s,vm,cpu_cores\n0,a,1\n0,a,2\n300,a,1\n")
    with sp.Context(logger=seen.append) as c:
        io.Trace(c, trace).close()
    assert seen and all(r.level <= sp.LogLevel.NOTE and r.text and r.stage for r in seen)

    def fail(record):
        raise RuntimeError("no room for " + record.stage)

    with sp.Context(logger=fail) as c, pytest.raises(RuntimeError, match="no room"):
        io.Trace(c, trace)


def test_threads_change_nothing_but_the_time():
    rows = waves(6)
    answers = []
    for threads in (1, 3):
        with sp.Context(seed=5, threads=threads) as c:
            s = series_of(c, rows)
            p = sp.Profiler(c).run(s)
            f = sp.Forecaster(c, "holt-winters", horizon=6)
            f.fit(s.values())
            answers.append((list(p), f.predict().quantiles.tobytes()))
    assert answers[0] == answers[1]


def test_control_c_waits_for_the_rows_and_is_not_lost():
    rows = waves(8)
    with sp.Context(threads=2) as c:
        s = series_of(c, rows)
        profiler = sp.Profiler(c)
        clean = list(profiler.run(s))
        # A shell's background jobs ignore the signal unless told otherwise.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        timer = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))
        try:
            with pytest.raises(KeyboardInterrupt):
                timer.start()
                for _ in range(10000):
                    profiler.run(s)
        finally:
            signal.signal(signal.SIGINT, before)
        assert list(profiler.run(s)) == clean


def test_a_generated_fleet_has_the_periods_that_were_put_in(context, tmp_path):
    trace, truth = tmp_path / "fleet.csv", tmp_path / "truth.csv"
    io.generate(context, trace, vms=24, days=14, seed=7, truth=truth)
    t = io.Trace(context, trace, resources=[sp.Resource.CPU])
    assert len(t.vms) == 24 and t.end == 14 * 288
    known = dict((r[0], float(r[2])) for r in (line.split(",") for line in truth.read_text().split()[1:]) if r[2])
    profile = sp.Profiler(context).run(t.series)
    got = {r.id: r.periods_s[0] if r.periods_s else None for r in profile}
    right = [vm for vm, period in known.items() if got[vm] and abs(got[vm] - period) <= 0.05 * period]
    assert len(known) >= 8 and len(right) >= 0.9 * len(known)
    io.write_profile(profile, tmp_path / "p.json")
    assert (tmp_path / "p.json").read_text().count('"class"') == len(profile) == 24


def test_a_written_document_appears_whole_or_not_at_all(context, tmp_path):
    profile = sp.Profiler(context).run(series_of(context, waves(1)))
    with pytest.raises(sp.Error) as e:
        io.write_profile(profile, tmp_path / "no" / "folder.json")
    assert e.value.code == sp.ErrorCode.E_IO and not list(tmp_path.iterdir())


def test_closing_twice_is_fine_and_with_closes(context):
    with sp.Metrics(context) as m:
        m.close()
        m.close()
    assert m.closed
    with pytest.raises(ValueError, match="closed"):
        with m:
            pass
