# SPDX-License-Identifier: MIT OR Apache-2.0
"""The controller with a source, a forecaster, a driver and a router that are written in Python."""
import gc
import os
import select
import weakref

import pytest

import shardpredict as sp
from loop import Driver, LastValue, Router, Source, Waiting, World, drive
from shardpredict import ops

S = sp.ShardState


def spike(minute):
    """From 2.5 up to 9 cores between minutes 30 and 75."""
    return 2.5 + 6.5 * max(0.0, min(1.0, (minute - 30) / 10, (75 - minute) / 5))


def controller_of(context, world, events=None, driver=None, forecaster=None, **options):
    parts = Source(world), driver or Driver(world), Router(world), forecaster or LastValue()
    c = sp.Controller(context, source=parts[0], driver=parts[1], router=parts[2], forecaster=parts[3],
                      plan=sp.PlanOpts(lead_s=60, control_s=60, step_s=300, stale_s=600),
                      event=events.append if events is not None else None,
                      **{"automation": sp.Automation.AUTO, "history_steps": 288, **options})
    return c, parts


def test_a_spike_is_served_by_a_shard_that_is_given_back_after_it(context):
    world, events = World(context), []
    c, (source, driver, router, forecaster) = controller_of(context, world, events)
    most = 0.0
    with c:
        for minute in range(5, 185, 5):
            drive(world, c, minute, spike)
            most = max(most, world.served(1))
            if minute == 60:
                (shard,) = {e.shard for e in events}
                assert [s.state for s in c.fleet.shards] == [S.SERVING]
                assert c.fleet.held(1).cpu >= 1.0 and c.fleet.held(0).cpu == 0.0
                assert c.plan.fleet.host(0).id == "a" and len(c.forecast) == 2
                (route,) = c.routes
                assert (route.vm, route.primary, route.target_count) == (1, 0, 1) and 0 < route.spill <= 0.8
                (target,) = c.routes.targets(0)
                assert target.shard == shard and target.host == 1
                assert world.routes.id == c.routes.id
                assert set(world.routes.pick(1, range(256))) == {0, shard}
        assert 1.0 <= most <= 0.8 * 9
        assert not world.shards and not c.fleet.shards and len(c.routes) == 0
    states = [e.to for e in events]
    for state in (S.ALLOCATING, S.WARMING, S.WARM, S.SERVING, S.DRAINING, S.RELEASED):
        assert state in states
    assert states.index(S.ALLOCATING) < states.index(S.WARMING) < states.index(S.SERVING) < states.index(S.DRAINING)
    assert states[-1] == S.RELEASED
    warm = [r for r in driver.log if r.verb == sp.DriverVerb.WARM]
    assert len(warm) >= 2 and warm[0].piece == warm[1].piece and driver.fail[sp.DriverVerb.WARM] == 0
    assert [p.opened for p in (source, driver, router)] == [p.closed for p in (source, driver, router)] == [1, 1, 1]
    assert forecaster.calls.count("open") == forecaster.calls.count("close") > 0 and "update" in forecaster.calls
    assert len(router.published) >= 2


def test_only_plans_are_made_unless_it_may_act(context):
    world = World(context)
    c, (_, driver, router, _) = controller_of(context, world, automation=sp.Automation.ADVISE)
    with c:
        drive(world, c, 55, spike)
        assert [a.kind for a in c.plan.actions] == [sp.ActionKind.ALLOCATE]
        assert {r.verb for r in driver.log} <= {sp.DriverVerb.OBSERVE} and not router.published
        c.automation(sp.Automation.AUTO)
        c.pause()
        drive(world, c, 57, spike)
        assert not world.shards
        c.pause(False)
        drive(world, c, 65, spike)
        assert len(world.shards) == 1


def test_a_plan_that_was_approved_is_done(context):
    world = World(context)
    c, (_, driver, _, _) = controller_of(context, world, automation=sp.Automation.CONFIRM)
    with c:
        drive(world, c, 55, spike)
        assert not world.shards
        old = c.plan
        drive(world, c, 57, spike)
        with pytest.raises(sp.Error) as e:
            c.approve(old)
        assert e.value.code == sp.ErrorCode.E_STATE
        c.approve(c.plan)
        drive(world, c, 60, spike)
        assert len(world.shards) == 1


def test_nothing_is_given_back_while_metrics_are_missing(context):
    world = World(context)
    c, (source, _, _, _) = controller_of(context, world)
    with c:
        drive(world, c, 60, spike)
        (held,) = [s.ready for s in world.shards.values()]
        source.blind = True
        for minute in range(61, 120):
            with pytest.raises(sp.Error, match="no answer"):
                while world.minute < minute:
                    drive(world, c, minute, spike)
        assert [s.ready for s in world.shards.values()] == [held]


class Broken(Exception):
    pass


@pytest.mark.parametrize("method", ["submit", "collect", "next_deadline", "capabilities"])
def test_an_exception_in_the_driver_comes_out_of_the_step_and_the_loop_goes_on(context, method):
    world, broken = World(context), [False]

    class Sometimes(Driver):
        pass

    def wrapped(self, *args):
        if broken[0]:
            broken[0] = False
            raise Broken(method)
        return getattr(Driver, method)(self, *args)

    setattr(Sometimes, method, wrapped)
    c, _ = controller_of(context, world, driver=Sometimes(world))
    with c:
        drive(world, c, 20)
        broken[0] = True
        with pytest.raises(Broken, match=method) as e:
            drive(world, c, 60, spike)
        assert any(t.name == "wrapped" for t in e.traceback)
        drive(world, c, 70, spike)
        assert [s.ready > 0 for s in world.shards.values()] == [True]


@pytest.mark.parametrize("where", ["source", "router", "forecaster", "event"])
def test_an_exception_anywhere_else_comes_out_of_the_step(context, where):
    world = World(context)

    def fail(*args):
        raise Broken(where)

    c, parts = controller_of(context, world, events=None)
    names = dict(zip(("source", "driver", "router", "forecaster"), parts))
    if where == "event":
        c.close()
        c = sp.Controller(context, source=Source(world), driver=Driver(world), event=fail, automation=sp.Automation.AUTO,
                          plan=sp.PlanOpts(lead_s=60))
    else:
        method = {"source": "collect", "router": "publish", "forecaster": "predict"}[where]
        setattr(names[where], method, fail)
    with c:
        with pytest.raises(Broken, match=where):
            drive(world, c, 60, spike)


def test_an_error_is_an_answer_and_not_an_exception(context):
    world, busy = World(context), [3]

    class Busy(Driver):
        def submit(self, request, now, deadline_mono_ns):
            if request.verb == sp.DriverVerb.ALLOCATE and busy[0]:
                busy[0] -= 1
                raise sp.Error(sp.ErrorCode.E_BUSY)
            return super().submit(request, now, deadline_mono_ns)

    c, _ = controller_of(context, world, driver=Busy(world))
    with c:
        drive(world, c, 60, spike)
        assert busy == [0] and len(world.shards) == 1


def test_a_backend_that_cannot_open_is_told_by_the_constructor(context):
    world = World(context)

    class Closed(Driver):
        def open(self, env):
            raise Broken("no hypervisor")

    with pytest.raises(Broken, match="no hypervisor"):
        controller_of(context, world, driver=Closed(world))
    with pytest.raises(TypeError, match="Driver"):
        sp.Controller(context, source=Source(world), driver=object())
    with pytest.raises(sp.ArgumentError, match="driver"):
        sp.Controller(context, source=Source(world), automation=sp.Automation.AUTO)


def test_a_forecaster_that_cannot_open_at_first_is_tried_again(context):
    world, broken = World(context), [2]

    class Late(LastValue):
        def open(self, env):
            super().open(env)
            if broken[0]:
                broken[0] -= 1
                raise Broken("no model yet")

    c, (_, _, _, forecaster) = controller_of(context, world, forecaster=Late())
    with c:
        for _ in range(2):
            with pytest.raises(Broken, match="no model yet"):
                drive(world, c, 15)
        assert c.fleet.vm(1).id == "spiky" and c.forecast is None and c.plan is None
        drive(world, c, 20)
        assert forecaster.calls.count("open") == 3 and len(c.forecast) == 2 and c.plan is not None


@pytest.mark.parametrize("forecaster", ["mix", "holt-winters", "seasonal-naive"])
def test_a_built_in_forecaster_starts_without_history(context, forecaster):
    world = World(context)
    c = sp.Controller(context, source=Source(world), driver=Driver(world), forecaster=forecaster,
                      automation=sp.Automation.AUTO, plan=sp.PlanOpts(lead_s=60))
    with c:
        drive(world, c, 240, lambda minute: spike(minute - 120))
        assert len(c.forecast) == 2 and c.plan is not None


def test_a_journal_in_python_brings_the_shards_back(context):
    class Journal(Waiting, ops.Store):
        def __init__(self):
            super().__init__()
            self.records = []

        def append(self, record, deadline_mono_ns):
            self.records.append(record)
            return self.accept(0, None)

        def collect(self, now, room):
            return [ops.StoreCompletion(t) for t, _ in self.ended(now, room)]

        def read(self):
            return list(self.records)

    world, journal = World(context), Journal()
    c, _ = controller_of(context, world, store=journal)
    drive(world, c, 60, spike)
    before = c.fleet.shards
    c.close()
    assert len(journal.records) >= 4 and journal.closed == 1
    c, _ = controller_of(context, world, store=journal)
    with c:
        drive(world, c, 62, spike)
        assert [(s.id, s.host, s.ready.cpu) for s in c.fleet.shards] == [(s.id, s.host, s.ready.cpu) for s in before]


def test_nobody_is_kept_alive_once_the_controller_is_gone(context):
    world = World(context)
    c, parts = controller_of(context, world, events=[])
    drive(world, c, 60, spike)
    parts[1].controller = c  # a cycle, as programs have them
    watched = [weakref.ref(p) for p in (c, *parts, world, world.routes)]
    driver_closed = parts[1]
    del c, parts, world
    env = driver_closed.env
    del driver_closed
    gc.collect()
    assert [w() for w in watched] == [None] * len(watched)
    env.notify()  # too late, and harmless


def test_close_calls_nobody_afterwards_and_closes_what_was_opened(context):
    world = World(context)
    c, parts = controller_of(context, world)
    drive(world, c, 40, spike)
    c.close()
    assert c.closed and [p.closed for p in parts[:3]] == [1, 1, 1]
    with pytest.raises(ValueError, match="closed"):
        c.step(world.time)
    c.close()


def test_it_is_woken_through_its_fd(context):
    world = World(context)
    c, (_, driver, _, _) = controller_of(context, world)
    with c:
        c.step(world.time)
        assert select.select(c.fds, [], [], 0)[0] == []
        driver.env.notify()
        assert select.select(c.fds, [], [], 0)[0] == c.fds[:1]
        c.step(world.time)
        assert select.select(c.fds, [], [], 0)[0] == []


def test_fds_of_backends_are_listed(context):
    world = World(context)
    r, w = os.pipe()
    try:
        class WithFd(Driver):
            def fd(self):
                return r

        c, _ = controller_of(context, world, driver=WithFd(world))
        with c:
            assert r in c.fds
    finally:
        os.close(r)
        os.close(w)


def test_it_runs_on_asyncio(context):
    import asyncio

    world = World(context)
    c, (source, driver, _, _) = controller_of(context, world)

    async def program():
        task = asyncio.create_task(c.run())
        for _ in range(200):
            await asyncio.sleep(0.005)
            if c.fleet is not None:
                break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with c:
        asyncio.run(program())
        assert c.fleet.vm(1).id == "spiky"


def test_history_teaches_it_the_past(context):
    world = World(context)
    c, (_, _, _, forecaster) = controller_of(context, world)
    step = 300 * 10**9
    with sp.Metrics(context, origin_ns=world.begin.wall_ns // step * step - 50 * step, step_ns=step) as m, c:
        for name in ("calm", "spiky"):
            row = m.add(name)
            for k in range(50):
                m.push(row, m_time(world, step, k), 2.0)
        series = m.finish()
        with pytest.raises(sp.Error) as e:
            c.history(series)
        assert e.value.code == sp.ErrorCode.E_STATE
        c.step(world.time)
        c.history(series)
        assert forecaster.calls == ["open", "fit"] and list(forecaster.last) == [4.0, 0.0]


def m_time(world, step, k):
    return world.begin.wall_ns // step * step + (k - 50) * step + step // 2
