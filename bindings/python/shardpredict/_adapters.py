# SPDX-License-Identifier: MIT OR Apache-2.0
"""The C side of ops.py: one function for each slot, and nothing decided in any of them."""
from __future__ import annotations

import functools
import typing
from typing import Any, Callable

import numpy as np

from . import ops
from ._arrays import copy_of, fill_doubles
from ._base import Time, fill, read, write, write_into
from ._core import ffi, lib
from ._enums import ErrorCode, SourceVerb
from .context import Context
from .fleet import Fleet
from .forecast import Forecast
from .plan import PlanOpts
from .route import Routes


class Adapter:
    """The state of a table: who is called, and what C still reads."""

    def __init__(self, context: Context, backend: ops.Backend) -> None:
        self.context = context
        self.backend = backend
        self.env: Any = None
        self.lent: list[Any] = []  # until the next collect
        self.texts: list[Any] = []  # until the next capabilities


def slot(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Export a function as a slot; its first argument is the adapter that the state is a handle of."""

    def make(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def call(state: Any, *args: Any) -> int:
            adapter = ffi.from_handle(state)
            try:
                code = function(adapter, *args)
                return 0 if code is None else code
            except BaseException as exc:
                return adapter.context._keep(exc, name.replace("_", "."))

        return ffi.def_extern(name="spr_py_" + name, error=int(ErrorCode.E_CALLBACK))(call)

    return make


def _time(t: Any) -> Time:
    return Time(t.wall_ns, t.mono_ns)


def _open(adapter: Adapter, env: Any, config: Any, state: Any) -> None:
    adapter.env = ops.Env(adapter.context, env)
    adapter.backend.open(adapter.env)
    state[0] = config


def _close(kind: str) -> None:
    # A void slot: what it raises is kept all the same.
    def close(state: Any) -> None:
        adapter = ffi.from_handle(state)
        adapter.env._forget()
        try:
            adapter.backend.close()
        except BaseException as exc:
            adapter.context._keep(exc, kind + ".close")
        adapter.lent = []

    ffi.def_extern(name="spr_py_%s_close" % kind)(close)


def _opener(kind: str) -> None:
    # The adapter comes as the config, and becomes the state.
    # A forecaster's config comes inside its env, everybody else's beside it.
    def open_(env: Any, *rest: Any) -> int:
        config, state = rest if len(rest) == 2 else (env.config, rest[0])
        adapter = ffi.from_handle(config)
        try:
            if kind == "forecaster":
                b = adapter.backend
                b.step_ns, b.horizon = int(env.step_ns), int(env.horizon)
                b.levels = np.array([env.levels[i] for i in range(env.level_count)])
                env = env.env
            _open(adapter, env, config, state)
            return 0
        except BaseException as exc:
            return adapter.context._keep(exc, kind + ".open")

    ffi.def_extern(name="spr_py_%s_open" % kind, error=int(ErrorCode.E_CALLBACK))(open_)


for _kind in ("driver", "source", "router", "store", "forecaster", "planner"):
    _opener(_kind)
    _close(_kind)


# ---- what can wait ----

@slot("async_fd")
def _fd(a: Any) -> Any:
    return a.backend.fd()


@slot("async_next_deadline")
def _next_deadline(a: Any) -> Any:
    return a.backend.next_deadline()


@slot("async_cancel")
def _cancel(a: Any, ticket: int) -> Any:
    a.backend.cancel(ticket)


def _collect(a: Adapter, now: Any, out: Any, room: int, count: Any, special: Callable[..., None]) -> None:
    """Completions into C's array; what they point to lives until the next call."""
    done = list(a.backend.collect(_time(now), room))  # type: ignore[attr-defined]
    if len(done) > room:
        raise ValueError("collect gave %d completions, there is room for %d" % (len(done), room))
    # C says how large its elements are; where it says nothing they are as this build knows them.
    stride = (out[0].size if room else 0) or ffi.sizeof(out[0])
    lent: list[Any] = []
    for i, d in enumerate(done):
        c = ffi.cast(ffi.typeof(out), ffi.cast("char *", out) + i * stride)
        special(d, c, lent)
    a.lent = lent
    count[0] = len(done)


def _plain(d: Any, c: Any, lent: list[Any], left_out: tuple[str, ...] = ()) -> None:
    size = c.size or ffi.sizeof(c[0])
    fill(c, {name: getattr(d, name) for name in d.__dataclass_fields__ if name not in left_out}, lent)
    c.size = size


# ---- driver ----

@slot("driver_submit")
def _driver_submit(a: Any, request: Any, now: Any, deadline: int, out: Any) -> None:
    out[0] = a.backend.submit(read(ops.DriverRequest, request), _time(now), deadline)


@slot("driver_collect")
def _driver_collect(a: Any, now: Any, out: Any, room: int, count: Any) -> None:
    def special(d: Any, c: Any, lent: list[Any]) -> None:
        _plain(d, c, lent, ("observed",))
        shards = ffi.new("struct spr_observed_shard[]", len(d.observed))
        for value, to in zip(d.observed, shards):
            write_into(value, to, lent)
        lent.append(shards)
        c.observed, c.observed_count = shards, len(d.observed)

    _collect(a, now, out, room, count, special)


@slot("driver_capabilities")
def _driver_capabilities(a: Any, host: Any, out: Any) -> None:
    a.texts = []
    size = out.size
    write_into(a.backend.capabilities(ffi.string(host).decode()), out, a.texts)
    out.size = size


# ---- source ----

@slot("source_submit")
def _source_submit(a: Any, verb: int, now: Any, deadline: int, out: Any) -> None:
    out[0] = a.backend.submit(SourceVerb(verb), _time(now), deadline)


@slot("source_collect")
def _source_collect(a: Any, now: Any, out: Any, room: int, count: Any) -> None:
    def special(d: Any, c: Any, lent: list[Any]) -> None:
        _plain(d, c, lent, ("usage", "inventory"))
        usage = d.usage
        if not isinstance(usage, np.ndarray) or usage.dtype != ops.USAGE or not usage.flags.c_contiguous:
            usage = np.array([tuple(u) for u in usage], ops.USAGE)
        lent.append(usage)
        c.usage = ffi.cast("struct spr_usage *", ffi.from_buffer(usage)) if usage.size else ffi.NULL
        c.usage_count = usage.size
        # The receiver owns this reference.
        c.inventory = lib.spr_fleet_ref(d.inventory._ptr) if d.inventory is not None else ffi.NULL

    _collect(a, now, out, room, count, special)


# ---- router ----

@slot("router_publish")
def _router_publish(a: Any, routes: Any, now: Any, deadline: int, out: Any) -> None:
    out[0] = a.backend.publish(Routes._borrowed(a.context, routes), _time(now), deadline)


@slot("router_collect")
def _router_collect(a: Any, now: Any, out: Any, room: int, count: Any) -> None:
    _collect(a, now, out, room, count, _plain)


@slot("router_counters")
def _router_counters(a: Any, now: Any, out: Any, room: int, count: Any) -> None:
    counted = list(a.backend.counters(_time(now)))
    stride = (out[0].size if room else 0) or ffi.sizeof(out[0])
    for i, one in enumerate(counted[:room]):
        _plain(one, ffi.cast(ffi.typeof(out), ffi.cast("char *", out) + i * stride), [])
    count[0] = len(counted)


# ---- store ----

@slot("store_append")
def _store_append(a: Any, record: Any, size: int, deadline: int, out: Any) -> None:
    out[0] = a.backend.append(bytes(ffi.buffer(record, size)), deadline)


@slot("store_collect")
def _store_collect(a: Any, now: Any, out: Any, room: int, count: Any) -> None:
    _collect(a, now, out, room, count, _plain)


@slot("store_read")
def _store_read(a: Any, record: Any, user: Any, torn: Any) -> Any:
    for r in a.backend.read():
        code = record(user, ffi.from_buffer(r), len(r))
        if code < 0:
            return code
    torn[0] = a.backend.torn


# ---- forecaster ----

@slot("forecaster_fit")
def _forecaster_fit(a: Any, history: Any, first_step: int, budget: int) -> int:
    done = a.backend.fit(*copy_of(history), first_step, budget)
    return int(lib.SPR_AGAIN) if done is False else 0


@slot("forecaster_update")
def _forecaster_update(a: Any, steps: Any) -> None:
    a.backend.update(*copy_of(steps))


@slot("forecaster_predict")
def _forecaster_predict(a: Any, now: Any, out: Any) -> None:
    n = int(out.series)
    known = np.frombuffer(ffi.buffer(now, n * 8), np.float64).copy() if now else None
    points, quantiles = a.backend.predict(known)
    fill_doubles(out.points, points, (n, a.backend.horizon))
    fill_doubles(out.quantiles, quantiles, (n, a.backend.horizon, len(a.backend.levels)))


# ---- planner ----

@slot("planner_plan")
def _planner_plan(a: Any, given: Any, out: Any) -> Any:
    fleet = Fleet._borrowed(a.context, ffi.cast("spr_fleet *", given.fleet))
    hosts = Forecast._borrowed(a.context, ffi.cast("spr_forecast *", given.hosts)) if given.hosts else None
    actions, infeasible = a.backend.plan(fleet, hosts, read(PlanOpts, given.opts))
    for values, sink in ((actions, out.action), (infeasible, out.infeasible)):
        for value in values:
            code = sink(out.sink, write(value, []))
            if code < 0:
                return code


# ---- tables ----

class Bound(typing.NamedTuple):
    """Keeps everything alive that C was given."""

    ops: Any
    config: Any
    keep: Any


_bases = {"driver": ops.Driver, "source": ops.Source, "router": ops.Router, "store": ops.Store,
          "forecaster": ops.ForecasterMethod, "planner": ops.PlannerMethod}
_optional = {"capabilities", "counters", "update"}


def bind(context: Context, kind: str, backend: Any) -> Bound:
    base = _bases[kind]
    if not isinstance(backend, base):
        raise TypeError("a %s is needed, not %r" % (base.__name__, backend))
    keep: list[Any] = []
    name = "spr_%s_ops" % kind
    table = ffi.new("struct %s *" % name)
    caps = lib.SPR_CAP_ANY_THREAD if backend.any_thread else 0
    if getattr(backend, "refits_itself", False):
        caps |= lib.SPR_CAP_REFITS_ITSELF
    fill(table, {"size": ffi.sizeof("struct " + name), "name": backend.name, "license": backend.license, "caps": caps}, keep)
    for field, info in ffi.typeof("struct " + name).fields:
        if info.type.kind != "function":
            continue
        if field in _optional and getattr(type(backend), field) is getattr(base, field):
            continue
        setattr(table, field, getattr(lib, "spr_py_%s_%s" % (kind, field)))
    if hasattr(table, "async"):
        waiting = ffi.new("struct spr_async_ops *")
        waiting.size = ffi.sizeof("struct spr_async_ops")
        waiting.fd, waiting.next_deadline, waiting.cancel = (lib.spr_py_async_fd, lib.spr_py_async_next_deadline,
                                                             lib.spr_py_async_cancel)
        setattr(table, "async", waiting)
        keep.append(waiting)
    handle = ffi.new_handle(Adapter(context, backend))
    return Bound(table, handle, (keep, handle))


