# SPDX-License-Identifier: MIT OR Apache-2.0
"""A little world for the controller, written in Python: source, forecaster, driver and router."""
import dataclasses
import itertools

import numpy as np

import shardpredict as sp
from shardpredict import ops

CPU = sp.Resource.CPU


class World:
    """Two VMs on host "a", whose capacity one of them outgrows for a while; host "b" is empty."""

    def __init__(self, context, capacity=8.0):
        self.time = sp.Time(1_700_000_100_000_000_000, 5_000_000_000)
        self.begin = self.time
        with sp.FleetBuilder(context) as b:
            b.use(CPU)
            for name in ("a", "b"):
                b.host(sp.Host(name, sp.Amounts(cpu=capacity), rack="r1", zone="z"))
            b.vm(sp.VM("calm", 0, capacity=sp.Amounts(cpu=4)))
            b.vm(sp.VM("spiky", 0, replica=sp.ReplicaPolicy.TEMPLATE, spillable=0.8, capacity=sp.Amounts(cpu=12)))
            self.inventory = b.finish(self.time)
        self.demand = {0: 2.0, 1: 2.5}
        self.shards = {}  # id -> Held: what the driver holds
        self.routes = None

    @property
    def minute(self):
        return (self.time.mono_ns - self.begin.mono_ns) / 60e9

    def served(self, vm):
        """What shards carry: as much as they may and can."""
        ready = sum(s.ready for s in self.shards.values() if s.vm == "spiky" and s.active)
        return min(ready, 0.8 * self.demand[1]) if vm == 1 else 0.0


@dataclasses.dataclass
class Held:
    vm: str
    host: str
    ready: float = 0.0
    draining: float = 0.0
    active: bool = False
    pieces: dict = dataclasses.field(default_factory=dict)


class Waiting:
    """Requests with a due time."""

    def __init__(self):
        self.tickets = itertools.count(1)
        self.waiting = {}
        self.closed = self.opened = 0

    def open(self, env):
        self.opened += 1
        self.env = env

    def close(self):
        self.closed += 1

    def accept(self, due_ns, what):
        ticket = next(self.tickets)
        self.waiting[ticket] = (due_ns, what)
        return ticket

    def ended(self, now, room):
        done = [t for t, (due, _) in self.waiting.items() if due <= now.mono_ns][:room]
        return [(t, self.waiting.pop(t)[1]) for t in done]

    def next_deadline(self):
        return min((due for due, _ in self.waiting.values()), default=ops.NEVER)

    def cancel(self, ticket):
        if ticket not in self.waiting:
            raise sp.NotFoundError(sp.ErrorCode.E_NOT_FOUND)


class Source(Waiting, ops.Source):
    name = "python-source"

    def __init__(self, world):
        super().__init__()
        self.world = world
        self.last = world.time
        self.blind = False

    def submit(self, verb, now, deadline_mono_ns):
        return self.accept(now.mono_ns, verb)

    def collect(self, now, room):
        out = []
        for ticket, verb in self.ended(now, room):
            if verb == sp.SourceVerb.INVENTORY:
                out.append(ops.SourceCompletion(ticket, inventory=self.world.inventory))
                continue
            if self.blind:
                out.append(ops.SourceCompletion(ticket, sp.Outcome.FAILED, sp.ErrorCode.E_TIMEOUT, text="no answer"))
                continue
            usage = []
            for vm, demand in self.world.demand.items():
                served = self.world.served(vm)
                usage.append(ops.Usage(vm, CPU, demand - served, served, 0.0, sp.UsageFlag.STALL_KNOWN))
            out.append(ops.SourceCompletion(ticket, from_=self.last, to=now, usage=np.array(usage, ops.USAGE)))
            self.last = now
        return out


class Driver(Waiting, ops.Driver):
    """Allocating takes 40 s, warming 20 s, the first warming fails."""

    name = "python-driver"

    def __init__(self, world):
        super().__init__()
        self.world = world
        self.log = []
        self.fail = {sp.DriverVerb.WARM: 1}

    def submit(self, request, now, deadline_mono_ns):
        delay = {sp.DriverVerb.ALLOCATE: 40, sp.DriverVerb.RESIZE: 40, sp.DriverVerb.WARM: 20, sp.DriverVerb.DRAIN: 30}
        self.log.append(request)
        ticket = self.accept(now.mono_ns + delay.get(request.verb, 0) * 10**9, request)
        if request.verb == sp.DriverVerb.DRAIN:
            s = self.world.shards[request.shard]
            less = min(request.amounts.cpu, s.ready) if request.piece else s.ready
            s.ready -= less
            s.draining += less
        return ticket

    def collect(self, now, room):
        return [self.end(t, q) for t, q in self.ended(now, room)]

    def end(self, ticket, q):
        verb, shards = q.verb, self.world.shards
        if self.fail.get(verb):
            self.fail[verb] -= 1
            return ops.DriverCompletion(ticket, sp.Outcome.FAILED, sp.ErrorCode.E_IO, text="injected")
        if verb == sp.DriverVerb.OBSERVE:
            return ops.DriverCompletion(ticket, observed=[self.observed(i, s) for i, s in shards.items()])
        if verb in (sp.DriverVerb.RESERVE, sp.DriverVerb.ALLOCATE):
            shards.setdefault(q.shard, Held(q.vm, q.host)).pieces[q.piece] = q.amounts.cpu
        s = shards.get(q.shard)
        if s is None:
            return ops.DriverCompletion(ticket, sp.Outcome.FAILED, sp.ErrorCode.E_NOT_FOUND)
        if verb == sp.DriverVerb.RESIZE:
            s.pieces[q.piece] = q.amounts.cpu
        elif verb == sp.DriverVerb.WARM:
            s.ready += s.pieces.pop(q.piece)
        elif verb == sp.DriverVerb.ACTIVATE:
            s.active = True
        elif verb == sp.DriverVerb.DRAIN:
            s.draining = 0.0
        elif verb in (sp.DriverVerb.RELEASE, sp.DriverVerb.ABORT):
            if q.piece:
                s.pieces.pop(q.piece, None)
            else:
                del shards[q.shard]
        return ops.DriverCompletion(ticket, warmness=1.0, amounts=q.amounts)

    @staticmethod
    def observed(id, s):
        state = sp.ShardState.SERVING if s.active and s.ready else sp.ShardState.WARM if s.ready else sp.ShardState.ALLOCATING
        return ops.ObservedShard(id, s.vm, s.host, state, ready=sp.Amounts(cpu=s.ready), warmness=1.0 if s.ready else 0.0,
                                 pending=sp.Amounts(cpu=sum(s.pieces.values())), draining=sp.Amounts(cpu=s.draining))

    def capabilities(self, host):
        return ops.DriverCapabilities(sum(1 << v for v in sp.DriverVerb if v not in (
            sp.DriverVerb.MIGRATE, sp.DriverVerb.PROMOTE)), allocate_s=40.0, warm_s=20.0, missing="no migration")


class Router(Waiting, ops.Router):
    name = "python-router"

    def __init__(self, world):
        super().__init__()
        self.world = world
        self.published = []

    def publish(self, routes, now, deadline_mono_ns):
        self.published.append(routes)
        return self.accept(now.mono_ns, routes)

    def collect(self, now, room):
        out = []
        for ticket, routes in self.ended(now, room):
            self.world.routes = routes
            out.append(ops.RouterCompletion(ticket, routes=routes.id))
        return out


class LastValue(ops.ForecasterMethod):
    """The last value again, with a fixed spread of a tenth of it."""

    name = "last-value"
    refits_itself = True

    def __init__(self):
        self.calls = []

    def open(self, env):
        self.calls.append("open")

    def close(self):
        self.calls.append("close")

    def fit(self, history, censored, first_step, budget):
        self.calls.append("fit")
        self.last = np.array([row[~np.isnan(row)][-1] if (~np.isnan(row)).any() else 0.0 for row in history])

    def update(self, steps, censored):
        self.calls.append("update")
        self.last = np.where(np.isnan(steps[:, -1]), self.last, steps[:, -1])

    def predict(self, now):
        self.calls.append("predict")
        level = self.last if now is None else np.where(np.isnan(now), self.last, now)
        points = np.repeat(level[:, None], self.horizon, axis=1)
        return points, points[:, :, None] * (1 + 0.1 * (self.levels - 0.5))


def drive(world, controller, until_minute, demand=lambda minute: 2.5, most=3000):
    """Step from deadline to deadline, as a host program does."""
    for _ in range(most):
        world.demand[1] = demand(world.minute)
        controller.step(world.time)
        if world.minute >= until_minute:
            return
        wait = max(controller.next_deadline - world.time.mono_ns, 1_000_000)
        world.time = world.time.after(min(wait * 1e-9, 60.0))
    raise AssertionError("the controller asks to be stepped too often")
