# SPDX-License-Identifier: MIT OR Apache-2.0
"""Models: trained, written, read, asked."""
import gc
import os

import numpy as np
import pytest

import shardpredict as sp
from shardpredict import io, model

HOUR = 3600 * 10**9


def fleet(n=8, steps=600, seed=3):
    rnd, t = np.random.default_rng(seed), np.arange(steps)
    return np.array([20 + 4 * i + 8 * np.sin(2 * np.pi * t / 24 + i) for i in range(n)]) + rnd.random((n, steps))


@pytest.fixture(scope="module")
def trained():
    c = sp.Context(seed=5)
    m = sp.Model.train(c, fleet()[:, :500], step_ns=HOUR, horizon=6, members=1, effort=0.3)
    yield m
    m.close()
    c.close()


def test_a_model_says_what_it_is(trained):
    i = trained.info
    assert (i.kind, i.horizon, i.members, i.step_ns, i.newest_step) == (sp.ModelKind.NET, 6, 1, HOUR, 500)
    assert len(i.levels) == i.level_count and list(i.levels) == sorted(i.levels) and i.weights > 1000
    assert "net" in i.text and i.loss > 0 and i.naive_loss > 0 and 0.5 < i.coverage95 <= 1


def test_a_model_answers_for_series_it_never_saw(trained):
    y = fleet(3, 540, seed=9)
    with sp.Forecaster(trained.context, trained, step_ns=HOUR, horizon=6, levels=[0.1, 0.5, 0.9]) as f:
        f.fit(y[:, :530], 0)
        p = f.predict()
    assert p.quantiles.shape == (3, 6, 3) and (np.diff(p.quantiles, axis=2) >= 0).all()
    assert np.abs(p.points - y[:, 530:536]).mean() < 4


def test_a_forecaster_keeps_its_model(trained):
    other = sp.Model.open(trained.context, bytes(trained))
    f = sp.Forecaster(trained.context, model.asks(other, resource=[sp.Resource.CPU, -1]), step_ns=HOUR, horizon=2)
    other.close()
    gc.collect()
    f.fit(fleet(2, 400))
    assert np.isfinite(f.predict().quantiles).all()
    f.close()


def test_lstm_states_are_carried_on_request(trained):
    c, y = trained.context, fleet(3, 540)
    with sp.Model.train(c, fleet()[:, :500], step_ns=HOUR, horizon=6, members=1, effort=0.02, kind=sp.ModelKind.LSTM) as m:
        anew, carried = (sp.Forecaster(c, model.asks(m, carry=x), step_ns=HOUR, horizon=6) for x in (False, True))
        for f in (anew, carried):
            f.fit(y[:, :500])
        assert (anew.predict().quantiles == carried.predict().quantiles).all()
        for f in (anew, carried):
            f.update(y[:, 500:502])
        a, b = anew.predict().quantiles, carried.predict().quantiles
        assert (a != b).any() and np.abs(a - b).max() < 0.5
        anew.close()
        carried.close()


def test_nets_look_at_a_calendar(trained, tmp_path):
    path = tmp_path / "noons.ics"
    path.write_text("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:19700101T000000Z\r\nCATEGORIES:noon\r\nDTSTART:19700105T120000Z\r\nDTEND:19700105T140000Z\r\n"
                    "RRULE:FREQ=WEEKLY\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
    c, y = trained.context, fleet(3, 540)
    y[:, [t for t in range(540) if t // 24 % 7 == 4 and t % 24 in (12, 13)]] *= 3
    calendar = sp.Calendar.read(c, path)
    with sp.Trainer(c, step_ns=HOUR, horizon=6, members=1, effort=0.02, kind=sp.ModelKind.LSTM,
                    events=sp.ModelEvents.INSIDE) as t:
        t.add(y[:, :500], calendar=calendar)
        t.run()
        m = t.finish()
    assert m.info.events == sp.ModelEvents.INSIDE and trained.info.events == sp.ModelEvents.AROUND
    answers = []
    for known in (None, calendar):
        f = sp.Forecaster(c, model.asks(m, calendar=known), step_ns=HOUR, horizon=6)
        f.fit(y[:, :442])
        answers.append(f.predict().quantiles)
        f.close()
    assert (answers[0] != answers[1]).any()
    m.close()


def test_a_file_holds_the_same_model(trained, tmp_path):
    path = tmp_path / "a.model"
    trained.save(path)
    assert path.read_bytes() == bytes(trained) and os.listdir(tmp_path) == ["a.model"]
    assert bytes(sp.Model.load(trained.context, path)) == bytes(trained)
    assert bytes(io.load_model(trained.context, path)) == bytes(trained)
    path.write_bytes(bytes(trained)[:-64])
    with pytest.raises(sp.Error) as e:
        sp.Model.load(trained.context, path)
    assert e.value.code == sp.ErrorCode.E_CORRUPT and e.value.file == str(path)
    with pytest.raises(sp.NotFoundError):
        sp.Model.load(trained.context, tmp_path / "absent.model")


def test_slices_and_threads_change_nothing(trained):
    got = []
    for threads in (1, 3):
        with sp.Context(seed=5, threads=threads) as c, sp.Trainer(c, step_ns=HOUR, horizon=6, members=1, effort=0.3) as t:
            t.add(fleet(), 0, until=[500] * 8)
            with pytest.raises(sp.Error):
                t.finish()
            while not t.run(7):
                share, text = t.progress
                assert 0 <= share <= 1 and text
            assert len(t.losses) > 10 and t.losses[-1] < t.losses[0]
            got.append(bytes(t.finish()))
    assert got == [bytes(trained)] * 2


def test_what_is_learnt_by_heart_stops_early(context):
    y, loss = 10 + 10 * np.random.default_rng(4).random((2, 240)) ** 6, []
    for early in (True, False):
        with sp.Trainer(context, step_ns=HOUR, horizon=6, kind=sp.ModelKind.NET, members=1, effort=0.1, look_back=48, early_stop=early) as t:
            t.add(y)
            assert t.stopped is None
            t.run()
            assert (t.stopped is not None) == early
            loss.append(t.finish().info.loss)
    assert loss[0] < loss[1]


def test_what_makes_no_sense_is_refused(context):
    with pytest.raises(sp.ArgumentError):
        sp.Trainer(context, horizon=-1)
    with sp.Trainer(context) as t:
        with pytest.raises(ValueError, match="until"):
            t.add(fleet(2, 50), until=[5])
        t.add(fleet(2, 5))
        with pytest.raises(sp.Error) as e:
            t.run()
    assert e.value.code == sp.ErrorCode.E_HISTORY
    with pytest.raises(sp.Error):
        sp.Model.open(context, b"no model")


def test_a_calendar_is_taken_out_before_training(trained, tmp_path):
    path = tmp_path / "a.ics"
    day = "\r\n".join(["BEGIN:VEVENT", "UID:%d", "DTSTAMP:19700101T000000Z", "CATEGORIES:sale", "DTSTART:197001%02dT180000Z",
                       "DURATION:PT3H", "END:VEVENT"])
    path.write_text("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n" + "\r\n".join(day % (d, d) for d in (9, 12, 15, 17)) +
                    "\r\nEND:VCALENDAR\r\n")
    y, got = fleet(4, 480), []
    for d in (9, 12, 15, 17):
        y[:, (d - 1) * 24 + 18:(d - 1) * 24 + 21] *= 3
    calendar = sp.Calendar.read(trained.context, path)
    assert calendar.kinds == ("sale",)
    for known in (None, calendar):
        with sp.Trainer(trained.context, step_ns=HOUR, horizon=6, members=1, effort=0.1) as t:
            t.add(y, 0, calendar=known)
            t.run()
            got.append(t.finish().info.loss)
    assert got[1] < got[0]
