# SPDX-License-Identifier: MIT OR Apache-2.0
"""Fleet and forecasts in, ordered actions on shards out, each with its because and its inverse."""
from __future__ import annotations

import dataclasses
from typing import Any, Optional, Union

from ._base import Amounts, Maker, Product, blank, c_text, read, struct, write
from ._core import ffi, lib
from ._enums import ActionKind, Because, WarmState
from .context import Context
from .fleet import Fleet
from .forecast import Forecast
from .ops import PlannerMethod, Table, bind


@struct("spr_price")
@dataclasses.dataclass(slots=True)
class Price:
    """Per share of the reference host and hour; 0 is the default."""

    unserved: float = 0.0
    held: float = 0.0


@struct("spr_plan_opts")
@dataclasses.dataclass(slots=True)
class PlanOpts:
    """Options of a plan; 0 is the default, NONE says really none where the C header allows it."""

    price: tuple[Price, ...] = ()
    lead_s: float = 0.0
    pre_s: float = 0.0
    control_s: float = 0.0
    step_s: float = 0.0
    room: float = 0.0
    change_at_least: float = 0.0
    stale_s: float = 0.0
    actions_per_vm_day: int = 0
    actions_per_host_day: int = 0
    actions_per_day: int = 0
    shard_cost: float = 0.0


@struct("spr_action")
@dataclasses.dataclass(slots=True)
class Action:
    """One action; `vm` and `host` are indices in the plan's fleet."""

    kind: ActionKind
    vm: int
    host: int
    amounts: Amounts = Amounts()
    because: Because = Because.NONE
    id: int = 0
    inverse: int = 0
    shard: int = 0
    into: int = 0
    due_mono_ns: int = 0
    deadline_mono_ns: int = 0
    quantile: float = 0.0
    worth: float = 0.0
    cost: float = 0.0
    resource: int = 0
    constraint_host: int = -1
    precondition: int = -1
    threshold: float = 0.0
    forecast: float = 0.0
    held_back: Because = Because.NONE
    warm: WarmState = WarmState.ANY
    wake_mono_ns: int = 0
    need_mono_ns: int = 0
    resume_s: float = 0.0


@struct("spr_infeasible")
@dataclasses.dataclass(slots=True)
class Infeasible:
    """A wish that could not be met; vm -1 is the host as a whole."""

    vm: int
    host: int
    resource: int
    because: Because
    from_mono_ns: int
    to_mono_ns: int
    amount: float
    text: Optional[str] = None


def because_code(because: int) -> str:
    """Code of a reason, as in ledger, journal and JSON."""
    return c_text(lib.spr_because_code(because))


def because_text(because: int) -> str:
    """One sentence for a reason."""
    return c_text(lib.spr_because_text(because))


class Plan(Product):
    """Actions and unmet wishes of one fleet."""

    __slots__ = ()
    _ref, _end = lib.spr_plan_ref, lib.spr_plan_unref

    @property
    def fleet(self) -> Fleet:
        return Fleet._borrowed(self.context, ffi.cast("spr_fleet *", lib.spr_plan_fleet(self._ptr)))

    def __len__(self) -> int:
        return int(lib.spr_plan_action_count(self._ptr))

    @property
    def actions(self) -> list[Action]:
        return self._all(Action, lib.spr_plan_action_count, lib.spr_plan_action)

    @property
    def infeasible(self) -> list[Infeasible]:
        return self._all(Infeasible, lib.spr_plan_infeasible_count, lib.spr_plan_infeasible)

    def _all(self, cls: Any, count: Any, get: Any) -> list[Any]:
        out = []
        for i in range(count(self._ptr)):
            c = blank(cls._c_name)
            self.context._check(get(self._ptr, i, c))
            out.append(read(cls, c))
        return out


@struct("spr_planner_config")
@dataclasses.dataclass(slots=True)
class PlannerConfig:
    """Config of the built-in planner: a NeedRule and its numbers."""

    rule: int = 0
    threshold: float = 0.0
    hold_s: float = 0.0


def builtin(config: Optional[PlannerConfig] = None) -> Table:
    """The library's own planner."""
    keep: list[Any] = []
    return Table(lib.spr_planner_builtin(), write(config, keep) if config else ffi.NULL, keep)


class Planner(Maker):
    """A planning method and its state: the built-in one, or a PlannerMethod written in Python."""

    __slots__ = ("_bound",)
    _end = lib.spr_planner_destroy

    def __init__(self, context: Context, method: Optional[Union[Table, PlannerMethod]] = None) -> None:
        self._p = None
        self._bound = bind(context, "planner", method or builtin())
        p = context._call("spr_planner **", lib.spr_planner_create, context._ptr, self._bound.ops, self._bound.config)
        super().__init__(context, p)

    def run(self, fleet: Fleet, hosts: Optional[Forecast] = None, opts: Optional[PlanOpts] = None) -> Plan:
        """Make a plan. `hosts` forecasts host totals: row host * R + i for the i-th resource of the fleet."""
        keep: list[Any] = []
        return Plan(self.context, self.context._call(
            "spr_plan **", lib.spr_planner_run, self._ptr, fleet._ptr, hosts._ptr if hosts else ffi.NULL,
            write(opts, keep) if opts else ffi.NULL))
