# SPDX-License-Identifier: MIT OR Apache-2.0
"""The loop: samples in, forecasts updated, plan made, shards moved, routes published. One step at a time."""
from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, Callable, Optional, Union

from . import forecast as _forecast
from ._base import Amounts, Maker, Time, c_time, options, read, struct, write
from ._core import ffi, lib
from ._enums import Automation, Because, ShardState
from .context import Context
from .events import Calendar
from .fleet import Fleet
from .forecast import Forecast
from .metrics import Series
from .ops import Driver, Env, ForecasterMethod, PlannerMethod, Router, Source, Store, Table, bind
from .plan import Plan, PlanOpts
from .route import Routes


@struct("spr_lifecycle_event")
@dataclasses.dataclass(slots=True)
class LifecycleEvent:
    """One change of a shard, as the ledger prints it."""

    time: Time
    shard: int
    vm: int
    host: int
    from_: ShardState
    to: ShardState
    ready: Amounts
    pending: Amounts
    draining: Amounts
    because: Because
    text: Optional[str] = None


class _Listener:
    def __init__(self, context: Context, function: Callable[[LifecycleEvent], object]) -> None:
        self.context = context
        self.function = function


@ffi.def_extern(name="spr_py_controller_opts_event")
def _event(user: Any, event: Any) -> None:
    listener = ffi.from_handle(user)
    try:
        listener.function(read(LifecycleEvent, event))
    except BaseException as exc:
        listener.context._keep(exc, "event")


def file_store(path: str, sync: bool = False) -> Table:
    """Journal in one append-only file; `sync` survives a power cut."""
    keep: list[Any] = []
    return Table(lib.spr_store_file(), options("spr_store_file_opts", keep, path=path, sync=int(sync)), keep)


def memory_store() -> Table:
    """Journal in memory."""
    return Table(lib.spr_store_memory(), ffi.NULL)


class Controller(Maker):
    """The loop and everything it opened. Call step when one of fds is readable or next_deadline has come, or await run().

    Backends are objects of Python (see ops.py) or Tables of C. It acts only as far as `automation` allows.
    """

    __slots__ = ("_keepalive", "_env")
    _end = lib.spr_controller_destroy

    def __init__(self, context: Context, *, source: Union[Source, Table], driver: Union[Driver, Table, None] = None,
                 router: Union[Router, Table, None] = None, forecaster: Union[ForecasterMethod, Table, str, None] = None,
                 planner: Union[PlannerMethod, Table, None] = None, store: Union[Store, Table, None] = None,
                 plan: Optional[PlanOpts] = None, automation: Automation = Automation.ADVISE, horizon: int = 0,
                 history_steps: int = 0, refit_s: float = 0.0, fence: int = 0, joint: int = 0, reserve_first: int = 0,
                 calendar: Optional[Calendar] = None, event: Optional[Callable[[LifecycleEvent], object]] = None) -> None:
        self._p = None
        keep: list[Any] = []
        plan_c = None if plan is None else write(plan, keep)
        keep.append(plan_c)
        opts = options("spr_controller_opts", keep, plan=plan_c, automation=automation, horizon=horizon,
                       history_steps=history_steps, refit_s=refit_s, fence=fence, joint=joint, reserve_first=reserve_first)
        if calendar is not None:
            opts.calendar = calendar._ptr
        if isinstance(forecaster, str):
            forecaster = _forecast.builtin(forecaster)
        for kind, backend in (("source", source), ("driver", driver), ("router", router), ("forecaster", forecaster),
                              ("planner", planner), ("store", store)):
            if backend is not None:
                bound = bind(context, kind, backend)
                setattr(opts, kind, bound.ops)
                setattr(opts, kind + "_config", bound.config)
                keep.append(bound)
        if event is not None:
            opts.user = handle = ffi.new_handle(_Listener(context, event))
            opts.event = lib.spr_py_controller_opts_event
            keep.append(handle)
        self._keepalive = keep
        super().__init__(context, context._call("spr_controller **", lib.spr_controller_create, context._ptr, opts))
        env = ffi.new("struct spr_env *")
        env.notifier = lib.spr_controller_notifier(self._p)
        self._env = Env(context, env)

    def close(self) -> None:
        """Cancel what waits and close the backends; shards stay where they are."""
        if self._p is not None:
            self._env._forget()
        super().close()

    def step(self, now: Time) -> None:
        """Do what can be done without waiting."""
        self.context._check(lib.spr_controller_step(self._ptr, c_time(now)))

    def health(self, vm: int, shard: int, ok: bool, now: Time) -> bool:
        """A probe of a shard (0 = the primary) came back, or did not. True when it is alive or dead otherwise than before."""
        return self.context._check(lib.spr_controller_health(self._ptr, vm, shard, ok, c_time(now))) == 1

    @property
    def next_deadline(self) -> int:
        """When to step anyway, monotonic ns."""
        t = int(lib.spr_controller_next_deadline(self._ptr))
        self.context._check(0)
        return t

    @property
    def fds(self) -> list[int]:
        """The fds to poll for reading."""
        count = ffi.new("size_t *", 8)
        while True:
            room = count[0]
            out = ffi.new("int[]", room)
            self.context._check(lib.spr_controller_fds(self._ptr, out, count))
            if count[0] <= room:
                return [out[i] for i in range(count[0])]

    def notify(self) -> None:
        """Have it stepped. Any thread."""
        self._env.notify()

    def history(self, series: Series, first: int = 0, last: Optional[int] = None) -> None:
        """Teach it the past, once, after the inventory came."""
        self.context._check(lib.spr_controller_history(self._ptr, series._ptr, first, series.steps if last is None else last))

    def pause(self, on: bool = True) -> None:
        """The switch that stops everything new."""
        lib.spr_controller_pause(self._ptr, int(on))

    def automation(self, automation: Automation) -> None:
        """Change how much it may do."""
        self.context._check(lib.spr_controller_automation(self._ptr, automation))

    def approve(self, plan: Plan) -> None:
        """CONFIRM: do this plan's actions."""
        self.context._check(lib.spr_controller_approve(self._ptr, plan._ptr))

    def _newest(self, cls: Any, get: Any) -> Any:
        p = get(self._ptr)
        return cls(self.context, p) if p else None

    @property
    def fleet(self) -> Optional[Fleet]:
        return self._newest(Fleet, lib.spr_controller_fleet)

    @property
    def plan(self) -> Optional[Plan]:
        return self._newest(Plan, lib.spr_controller_plan)

    @property
    def routes(self) -> Optional[Routes]:
        return self._newest(Routes, lib.spr_controller_routes)

    @property
    def forecast(self) -> Optional[Forecast]:
        return self._newest(Forecast, lib.spr_controller_forecast)

    async def run(self, clock: Callable[[], Time] = Time.now) -> None:
        """Step it for ever on the running event loop; cancel the task to stop."""
        loop = asyncio.get_running_loop()
        while True:
            self.step(clock())
            woken = asyncio.Event()
            fds = self.fds
            for fd in fds:
                loop.add_reader(fd, woken.set)
            try:
                await asyncio.wait_for(woken.wait(), max(0.0, (self.next_deadline - clock().mono_ns) * 1e-9))
            except asyncio.TimeoutError:
                pass
            finally:
                for fd in fds:
                    loop.remove_reader(fd)
