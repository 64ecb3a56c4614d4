# SPDX-License-Identifier: MIT OR Apache-2.0
"""The same loop over a recorded trace, policies side by side, scored against perfect knowledge."""
from __future__ import annotations

import dataclasses
from typing import Any, Callable, Iterable, NamedTuple, Optional, Union

import numpy as np
import numpy.typing as npt

from . import forecast as _forecast
from ._base import Product, blank, fill, read, struct
from ._core import ffi, lib
from ._enums import Policy
from ._sim import lib as _sim
from .context import Context
from .control import LifecycleEvent
from .events import Calendar
from .fleet import Fleet
from .metrics import Series
from .ops import ForecasterMethod, Table, bind
from .plan import Price


@struct("spr_scenario")
@dataclasses.dataclass(slots=True)
class ScenarioNumbers:
    """Everything a verdict depends on besides trace and fleet; 0 is the default, which the C header names."""

    train_until: int
    score_first: int
    score_end: int
    name: Optional[str] = None
    substep_s: float = 0.0
    control_s: float = 0.0
    refit_s: float = 0.0
    allocate_s: tuple[float, ...] = (0.0, 0.0)
    warm_s: tuple[float, ...] = (0.0, 0.0)
    price: tuple[Price, ...] = ()
    room: float = 0.0
    change_at_least: float = 0.0
    reactive_threshold: float = 0.0
    reactive_hold_s: float = 0.0
    tuned_never: int = 0
    actions_per_vm_day: int = 0
    actions_per_host_day: int = 0
    actions_per_day: int = 0
    blackout_first: int = 0
    blackout_end: int = 0
    fail_every: int = 0
    seed: int = 0


@struct("spr_replay_step")
@dataclasses.dataclass(slots=True)
class ReplayStep:
    """One VM and resource over one scored step: means."""

    policy: Policy
    vm: int
    resource: int
    time_s: float
    demand: float
    got: float
    held: float


class ReplayEvent(NamedTuple):
    """One change of a shard in a run, for the ledger."""

    policy: Policy
    time_s: float
    change: LifecycleEvent


@struct("spr_policy_score")
@dataclasses.dataclass(slots=True)
class Score:
    """How one policy did; costs are priced host-hours."""

    policy: Policy
    asked: int
    cost: float
    cost_unserved: float
    cost_held: float
    saved: float
    regret: float
    unserved_share: float
    violation_minutes: float
    episodes: int
    episodes_covered: int
    lead_median_s: float
    shard_hours_held: float
    shard_hours_used: float
    actions: int
    moves: int
    energy_kwh: float
    limits_broken: int


@struct("spr_verdict_summary")
@dataclasses.dataclass(slots=True)
class Summary:
    """What is common to all policies."""

    rival: Policy
    has_room: int
    bound: float
    unspillable_cost: float
    tuned_threshold: float
    tuned_hold_s: float
    hours: float
    forecasts: int


class Verdict(Product):
    """Scores of the policies of one replay."""

    __slots__ = ()
    _ref, _end = lib.spr_verdict_ref, lib.spr_verdict_unref

    @property
    def summary(self) -> Summary:
        c = blank("spr_verdict_summary")
        self.context._check(lib.spr_verdict_summary(self._ptr, c))
        return read(Summary, c)

    def __len__(self) -> int:
        return int(lib.spr_verdict_count(self._ptr))

    @property
    def scores(self) -> dict[Policy, Score]:
        """By policy, in the order in which they ran."""
        out = {}
        for i in range(len(self)):
            c = blank("spr_policy_score")
            self.context._check(lib.spr_verdict_score(self._ptr, i, c))
            out[Policy(c.policy)] = read(Score, c)
        return out

    def _index(self, policy: Policy) -> int:
        return list(self.scores).index(policy)

    def days(self, policy: Policy) -> npt.NDArray[np.float64]:
        """Cost per scored day."""
        index, count = self._index(policy), ffi.new("size_t *")
        self.context._check(lib.spr_verdict_days(self._ptr, index, ffi.NULL, count))
        out = np.zeros(count[0])
        if out.size:
            self.context._check(lib.spr_verdict_days(self._ptr, index, ffi.from_buffer("double[]", out, require_writable=True), count))
        return out

    def ratio(self, a: Policy, b: Policy) -> tuple[float, float]:
        """90 % interval of the ratio of two policies' costs."""
        low, high = ffi.new("double *"), ffi.new("double *")
        self.context._check(lib.spr_verdict_ratio(self._ptr, self._index(a), self._index(b), low, high))
        return low[0], high[0]


class _Listeners:
    def __init__(self, context: Context, event: Any, step: Any, progress: Any) -> None:
        self.context, self.event, self.step, self.progress = context, event, step, progress


def _listener(name: str, convert: Callable[[Any], tuple[Any, ...]], error: int = -16) -> None:
    def call(user: Any, *args: Any) -> int:
        listeners = ffi.from_handle(user)
        try:
            getattr(listeners, name)(*convert(*args))
            return 0
        except BaseException as exc:
            return listeners.context._keep(exc, name)

    ffi.def_extern(name="spr_py_replay_opts_" + name, error=error)(call)


_listener("event", lambda e: (ReplayEvent(Policy(e.policy), e.time_s, read(LifecycleEvent, e.change)),))
_listener("step", lambda s: (read(ReplayStep, s),))


@ffi.def_extern(name="spr_py_replay_opts_progress")
def _progress(user: Any, share: float, what: Any) -> None:
    listeners = ffi.from_handle(user)
    try:
        listeners.progress(share, ffi.string(what).decode())
    except BaseException as exc:
        listeners.context._keep(exc, "progress")


def scenario_struct(fleet: Fleet, numbers: ScenarioNumbers, keep: list[Any]) -> Any:
    """The C struct; `keep` holds what it points to."""
    c = fill(blank("spr_scenario"), {f.name: getattr(numbers, f.name) for f in dataclasses.fields(numbers)}, keep)
    c.fleet = fleet._ptr
    keep.append(fleet)
    return c


def run(context: Context, series: Series, scenario: Any, *, world: Optional[Any] = None, policies: Iterable[Policy] = (),
        forecaster: Union[ForecasterMethod, Table, str, None] = None, joint: int = 0, calendar: Optional[Calendar] = None,
        event: Optional[Callable[[ReplayEvent], object]] = None, step: Optional[Callable[[ReplayStep], object]] = None,
        progress: Optional[Callable[[float, str], object]] = None) -> Verdict:
    """Run the policies (none named = all). `scenario`: an io.Scenario, or (Fleet, ScenarioNumbers).

    The world is the `sim` backend; `world` may be another table of C for its physics. `joint` NONE (-1): the hosts'
    totals alone are forecast, without the VMs' own pasts.
    """
    keep: list[Any] = []
    c = scenario_struct(scenario[0], scenario[1], keep) if isinstance(scenario, tuple) else scenario._struct
    opts = blank("spr_replay_opts")
    opts.world, opts.joint = world or _sim.spr_sim_world(), joint
    if calendar is not None:
        opts.calendar = calendar._ptr
    opts.source, opts.driver, opts.router = _sim.spr_sim_source(), _sim.spr_sim_driver(), _sim.spr_sim_router()
    for p in policies:
        opts.policies |= 1 << p
    if forecaster is not None:
        bound = bind(context, "forecaster", _forecast.builtin(forecaster) if isinstance(forecaster, str) else forecaster)
        opts.forecaster, opts.forecaster_config = bound.ops, bound.config
        keep.append(bound)
    opts.user = handle = ffi.new_handle(_Listeners(context, event, step, progress))
    keep.append(handle)
    if event:
        opts.event = lib.spr_py_replay_opts_event
    if step:
        opts.step = lib.spr_py_replay_opts_step
    if progress:
        opts.progress = lib.spr_py_replay_opts_progress
    return Verdict(context, context._call("spr_verdict **", lib.spr_replay_run, context._ptr, series._ptr, c, opts))
