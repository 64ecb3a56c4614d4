# SPDX-License-Identifier: MIT OR Apache-2.0
"""Forecasters of the library and of Python behind the same handle."""
import gc
import weakref

import numpy as np
import pytest

import shardpredict as sp
from loop import LastValue
from shardpredict import forecast, ops

LEVELS = [0.1, 0.5, 0.9]


def wave(days, n=3):
    t = np.arange(days * 288)
    return np.array([3 + i + np.sin(2 * np.pi * t / 288 + i) for i in range(n)])


@pytest.mark.parametrize("method", ["seasonal-naive", "holt-winters", "mix"])
def test_a_built_in_method_foresees_a_wave(context, method):
    y = wave(8)
    with sp.Forecaster(context, method, step_ns=300 * 10**9, horizon=12, levels=LEVELS) as f:
        assert f.fit(y[:, :-24])
        f.update(y[:, -24:-12])
        p = f.predict()
    assert (len(p), p.horizon, p.first_step) == (3, 12, 8 * 288 - 12) and list(p.levels) == LEVELS
    assert np.abs(p.points - y[:, -12:]).max() < 0.4
    assert (np.diff(p.quantiles, axis=2) >= 0).all()
    with pytest.raises(ValueError):
        p.points[0] = 0


@pytest.mark.parametrize("steps", [8, 9, 11, 16, 23, 40])
def test_the_mix_answers_with_less_history_than_its_horizon(context, steps):
    f = sp.Forecaster(context, "mix", horizon=16)
    f.fit(wave(1)[:, :steps])
    assert np.isfinite(f.predict().quantiles).all() and np.isfinite(f.predict([1.0, np.nan, 3.0]).quantiles).all()
    f.update(wave(1)[:, steps:2 * steps])
    assert np.isfinite(f.predict().quantiles).all()


def test_config_reaches_the_method(context):
    y = np.tile([1.0, 2.0, 3.0, 4.0, 5.0], 8)[None, :]
    f = sp.Forecaster(context, forecast.builtin("seasonal-naive", period=5.0), horizon=5)
    f.fit(y)
    assert f.predict().points.tolist() == [[1, 2, 3, 4, 5]]
    with pytest.raises(ValueError, match="no built-in"):
        forecast.builtin("tea-leaves")
    with pytest.raises(sp.ArgumentError):
        sp.Forecaster(context, forecast.builtin("holt-winters", alpha=7.0))


@pytest.mark.parametrize("layout", [lambda y: y, np.asfortranarray, lambda y: np.repeat(y, 2, axis=1)[:, ::2],
                                    lambda y: y[::-1][::-1], lambda y: y.astype(np.float32), lambda y: y.tolist()])
def test_any_layout_of_numbers_is_the_same_panel(context, layout):
    y = np.round(wave(3), 2).astype(np.float32).astype(float)
    seen = []

    class Look(LastValue):
        def fit(self, history, censored, first_step, budget):
            seen.append((history, censored, first_step))

    f = sp.Forecaster(context, Look(), horizon=2)
    f.fit(layout(y), 17)
    assert (seen[0][0] == y).all() and seen[0][1] is None and seen[0][2] == 17


def test_missing_and_censored_steps_arrive_as_such(context):
    seen = []

    class Look(LastValue):
        def fit(self, history, censored, first_step, budget):
            seen.append((history, censored))

    y = np.ma.masked_equal(np.arange(22.0).reshape(2, 11), 5.0)
    marks = np.zeros((2, 11), bool)
    marks[1, 9] = True
    sp.Forecaster(context, Look(), horizon=1).fit(y, censored=marks)
    assert np.argwhere(np.isnan(seen[0][0])).tolist() == [[0, 5]] and seen[0][0][1, 10] == 21
    assert (seen[0][1] == marks).all()


def test_a_forecaster_in_python_is_fitted_updated_and_asked(context):
    method = LastValue()
    with sp.Forecaster(context, method, horizon=3, levels=LEVELS) as f:
        f.fit([[1.0, 2.0], [3.0, 4.0]])
        f.update([[5.0], [np.nan]])
        p, q = f.predict(), f.predict([np.nan, 7.0])
        assert p.points.tolist() == [[5] * 3, [4] * 3] and q.points.tolist() == [[5] * 3, [7] * 3]
        assert np.allclose(p.quantiles[0, 0], [4.8, 5.0, 5.2])
        assert p.exceeds(0, 0, 4.0) > 0.9 > 0.1 > p.exceeds(0, 0, 6.0)
        (w,) = p.windows(0, 4.9, 0.5)
        assert (w.onset, w.end) == (0, 3)
        assert method.horizon == 3 and method.levels.tolist() == LEVELS and method.step_ns == 300 * 10**9
    assert method.calls == ["open", "fit", "update", "predict", "predict", "close"]


def test_without_update_the_library_keeps_the_history_and_fits_anew(context):
    class Short(ops.ForecasterMethod):
        def fit(self, history, censored, first_step, budget):
            self.history = history

        def predict(self, now):
            p = np.repeat(self.history[:, -1:], self.horizon, axis=1)
            return p, np.repeat(p[:, :, None], len(self.levels), axis=2)

    method = Short()
    f = sp.Forecaster(context, method, horizon=2)
    f.fit([[1.0, 2.0, 3.0]])
    f.update([[9.0]])
    assert f.predict().points.tolist() == [[9, 9]] and method.history.tolist() == [[1, 2, 3, 9]]


def test_a_budget_can_be_used_up(context):
    class Slow(LastValue):
        left = 2

        def fit(self, history, censored, first_step, budget):
            self.left -= 1
            super().fit(history, censored, first_step, budget)
            return self.left == 0

    f = sp.Forecaster(context, Slow(), horizon=1)
    assert [f.fit([[1.0]], budget=1), f.fit([[1.0]], budget=1)] == [False, True]


@pytest.mark.parametrize("method,call", [("open", None), ("fit", lambda f: f.fit([[1.0]])), ("update", lambda f: f.update([[1.0]])),
                                         ("predict", lambda f: f.predict())])
def test_its_exception_comes_out_of_the_call_that_was_running(context, method, call):
    m = LastValue()

    def fail(*args):
        raise ZeroDivisionError(method)

    if call is None:
        m.open = fail
        with pytest.raises(ZeroDivisionError, match=method):
            sp.Forecaster(context, m)
        return
    f = sp.Forecaster(context, m, horizon=1)
    f.fit([[1.0]])
    setattr(m, method, fail)
    with pytest.raises(ZeroDivisionError, match=method):
        call(f)


def test_a_wrong_answer_is_refused(context):
    class Wrong(LastValue):
        def predict(self, now):
            return np.zeros((1, 2)), np.zeros((1, 2))

    f = sp.Forecaster(context, Wrong(), horizon=3)
    f.fit([[1.0]])
    with pytest.raises(ValueError, match="shape"):
        f.predict()


def test_nobody_is_kept_alive_once_the_forecaster_is_gone(context):
    method = LastValue()
    f = sp.Forecaster(context, method, horizon=2)
    f.fit([[1.0, 2.0]])
    p = f.predict().points
    method.mine = f
    watched = [weakref.ref(method), weakref.ref(f)]
    del method, f
    gc.collect()
    assert [w() for w in watched] == [None, None] and p.tolist() == [[2, 2]]


def test_numbers_of_somebody_else_become_a_product(context):
    q = np.arange(12.0).reshape(1, 4, 3)
    p = sp.Forecast.of(context, q[:, :, 1], q, LEVELS, first_step=40)
    assert p.quantiles.tolist() == q.tolist() and p.first_step == 40
    with pytest.raises(sp.ArgumentError):
        sp.Forecast.of(context, q[:, :, 1] * np.nan, q, LEVELS)
