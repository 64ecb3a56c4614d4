# SPDX-License-Identifier: MIT OR Apache-2.0
"""Fleets, plans, routes, replays."""
import json
import math

import numpy as np
import pytest

import shardpredict as sp
from loop import LastValue
from shardpredict import io, ops, plan, replay, route

NOW = sp.Time(1_700_000_000 * 10**9, 77 * 10**9)


def fleet_of(context, demand=9.5):
    with sp.FleetBuilder(context) as b:
        b.use(sp.Resource.CPU)
        for name in ("a", "b"):
            b.host(sp.Host(name, sp.Amounts(cpu=8), rack="r-" + name, zone="z"))
        b.vm(sp.VM("web", 0, replica=sp.ReplicaPolicy.IMAGE, spillable=0.75, demand=sp.Amounts(cpu=demand),
                   demand_hour=sp.Amounts(cpu=demand), seen_mono_ns=NOW.mono_ns))
        b.latency(0.2, 0.6, 3.0)
        b.declared(sp.Declared("w*", sp.Resource.CPU, NOW.wall_ns, NOW.wall_ns + 10**12, 1.5, 0.9))
        return b.finish(NOW)


def high(context, fleet, level):
    levels = np.array([0.1, 0.5, 0.9])
    q = np.zeros((fleet.host_count, 8, 3))
    q[0] = level * (1 + 0.1 * (levels - 0.5))
    return sp.Forecast.of(context, q[:, :, 1], q, levels, first_step=NOW.wall_ns // (300 * 10**9))


def test_a_fleet_says_what_was_put_in(context):
    f = fleet_of(context)
    assert [h.id for h in f.hosts] == ["a", "b"] and f.vm(0).group is None and f.vms[0].spillable == 0.75
    assert f.resources == [sp.Resource.CPU] and f.time == NOW and f.tier(0, 1) == 2 and f.find_vm("nobody") is None
    assert f.declared[0].match == "w*" and f.find_host("b") == 1 and f.vm(0).replica is sp.ReplicaPolicy.IMAGE
    with sp.FleetBuilder(context, f) as b:
        b.shard(sp.Shard(2**63 + 9, 0, 1, state=sp.ShardState.SERVING, ready=sp.Amounts(cpu=2), warmness=1.0))
        b.host_state(1, sp.HostState.MAINTENANCE)
        b.observe(0, sp.VM("web", 0, demand=sp.Amounts(cpu=4), seen_mono_ns=NOW.mono_ns + 5))
        g = b.finish(NOW.after(60))
    assert g.id > f.id and g.shards[0].id == 2**63 + 9 and g.find_shard(2**63 + 9) == 0 and g.held(1).cpu == 2
    assert g.host(1).state is sp.HostState.MAINTENANCE and g.vm(0).demand.cpu == 4 and f.vm(0).demand.cpu == 9.5
    with pytest.raises(ValueError, match="closed"):
        b.use(0)


def test_a_bad_fleet_is_refused_with_the_field(context):
    with sp.FleetBuilder(context) as b:
        b.host(sp.Host("a", sp.Amounts(cpu=1)))
        with pytest.raises(sp.Error) as e:
            b.host(sp.Host("a", sp.Amounts(cpu=1)))
        assert e.value.code == sp.ErrorCode.E_EXISTS
        with pytest.raises(sp.ArgumentError, match="spillable"):
            b.vm(sp.VM("v", 0, spillable=1.5))


def test_the_built_in_planner_asks_for_a_shard_and_says_why(context, tmp_path):
    f = fleet_of(context)
    p = sp.Planner(context).run(f, high(context, f, 10.5), sp.PlanOpts(lead_s=60, price=(plan.Price(unserved=10, held=1),)))
    (a,) = p.actions
    assert (a.kind, a.vm, a.host, a.inverse) == (sp.ActionKind.ALLOCATE, 0, 1, sp.ActionKind.RELEASE) and a.amounts.cpu > 1
    assert a.because == sp.Because.EXPECTED_WORTH and plan.because_code(a.because) == "expected-worth"
    assert "cost" in plan.because_text(a.because) and p.fleet.vm(a.vm).id == "web" and len(p) == 1
    io.write_plan(p, tmp_path / "plan.json", fence=3)
    document = json.loads((tmp_path / "plan.json").read_text())
    assert document["fence"] == 3 and document["actions"][0]["vm"] == "web"


class Half(ops.PlannerMethod):
    """Holds half of the first host's capacity on the second, always."""

    host = 1

    def plan(self, fleet, hosts, opts):
        self.seen = hosts, opts
        amount = fleet.host(0).capacity.cpu / 2
        return ([plan.Action(sp.ActionKind.ALLOCATE, 0, self.host, sp.Amounts(cpu=amount), sp.Because.OPERATOR)],
                [plan.Infeasible(-1, 0, sp.Resource.CPU, sp.Because.NO_ROOM, 0, 10**9, 0.25)])


def test_a_planner_in_python_plans_and_is_checked(context):
    f, method = fleet_of(context), Half()
    with sp.Planner(context, method) as planner:
        p = planner.run(f, None, sp.PlanOpts(lead_s=45))
        (a,), (i,) = p.actions, p.infeasible
        assert a.amounts.cpu == 4 and a.because is sp.Because.OPERATOR and a.id == 1 and i.amount == 0.25
        assert method.seen[0] is None and method.seen[1].lead_s == 45
        method.host = 0  # beside the primary
        with pytest.raises(sp.Error) as e:
            planner.run(f)
        assert e.value.code == sp.ErrorCode.E_STATE
        method.plan = lambda *args: 1 / 0
        with pytest.raises(ZeroDivisionError):
            planner.run(f)


def test_routes_of_a_fleet(context):
    f = fleet_of(context)
    none = sp.Routes.of(context, f)
    assert len(none) == 0 and none.equal(None)
    with sp.FleetBuilder(context, f) as b:
        b.shard(sp.Shard(12, 0, 1, state=sp.ShardState.SERVING, ready=sp.Amounts(cpu=3), warmness=1.0))
        g = b.finish(NOW)
    r = sp.Routes.of(context, g, none)
    assert not r.equal(none) and r[0].target_count == 1 and r.targets(0)[0].shard == 12
    table = r.table(0)
    assert table.shape == (4099,) and set(table) == {0, 1} and not table.flags.writeable
    assert (table == route.pick_table("web", [12], [3.0], r[0].spill)).all()
    there = sp.Routes.given(context, [(r[0], r.targets(0))])
    assert there[0] == r[0] and (there.table(0) == table).all()
    share = (r.pick(0, np.arange(1000)) == 12).mean()
    assert share == pytest.approx(r[0].spill, abs=0.05)
    with pytest.raises(sp.ArgumentError):
        route.pick_table("web", [0], [1.0], 0.5)


@pytest.fixture
def scenario(context, tmp_path):
    io.generate(context, tmp_path / "t.csv", vms=12, days=4, seed=4)
    trace = io.Trace(context, tmp_path / "t.csv", resources=[sp.Resource.CPU])
    s = io.Scenario.default(context, trace, hosts=4)
    n = s.numbers
    n.score_first = n.score_end - 288
    n.substep_s = 60.0
    s.numbers = n
    assert s.numbers == n
    return s


def test_a_replay_scores_policies_side_by_side(context, scenario):
    events, steps, shares = [], [], []
    P = sp.Policy
    v = replay.run(context, scenario.series, scenario, policies=[P.REACTIVE], event=events.append, step=steps.append,
                   progress=lambda share, what: shares.append(share))
    scores = v.scores
    assert scores[P.REACTIVE].asked and not scores[P.ORACLE].asked and P.PREDICTIVE not in scores
    assert scores[P.NONE].cost_held == 0 and v.summary.hours == pytest.approx(24) and v.summary.bound <= scores[P.NONE].cost
    assert math.isclose(v.days(P.REACTIVE).sum(), scores[P.REACTIVE].cost, rel_tol=1e-9)
    assert v.ratio(P.REACTIVE, P.NONE)[0] <= v.ratio(P.REACTIVE, P.NONE)[1]
    assert shares and {s.policy for s in steps} | {e.policy for e in events} <= set(P)
    assert len(io.sentence(v)) > 20

    def stop(step):
        raise StopIteration("enough")

    with pytest.raises(StopIteration, match="enough"):
        replay.run(context, scenario.series, scenario, policies=[P.NONE], step=stop)


def test_a_forecaster_in_python_runs_the_predictive_policy(context, scenario):
    method = LastValue()
    v = replay.run(context, scenario.series, scenario, policies=[sp.Policy.PREDICTIVE], forecaster=method)
    assert v.summary.forecasts == method.calls.count("predict") > 48
    assert v.scores[sp.Policy.PREDICTIVE].cost > 0


def test_the_simulated_world_drives_a_controller(context):
    from shardpredict import sim

    f = fleet_of(context, 0.0)
    t = sp.Time(1_700_000_100 * 10**9, 0)
    with sim.World(context, f, allocate_s=(60.0, 60.0), warm_s=(30.0, 30.0)) as world:
        c = sp.Controller(context, source=world.source, driver=world.driver, router=world.router, forecaster=LastValue(),
                          automation=sp.Automation.AUTO, plan=sp.PlanOpts(lead_s=120))
        with c:
            served = []
            for minute in range(120):
                world.demand([[10.0 if minute > 40 else 3.0]])
                t = t.after(60)
                world.advance(t)
                c.step(t)
                served.append(world.measure().served[0, 0])
            assert max(served[:40]) == 0 and served[-1] > 0.5
