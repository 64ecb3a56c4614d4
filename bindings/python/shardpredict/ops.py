# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a backend written in Python implements. Every class here is one ops table of C; see include/shardpredict/ops.

An exception in a method becomes E_CALLBACK for the library and is raised again from the call that was running
(a controller's step, a forecaster's fit). An Error is an answer: raise Error(ErrorCode.E_BUSY) and that call goes on.
"""
from __future__ import annotations

import abc
import dataclasses
import threading
from typing import TYPE_CHECKING, Any, Iterable, NamedTuple, Optional, Sequence, Union

import numpy as np
import numpy.typing as npt

from ._base import Amounts, Time, struct
from ._core import ffi, lib
from ._enums import DriverVerb, Outcome, ShardKind, ShardState, SourceVerb, WarmState
from .context import Context

if TYPE_CHECKING:
    from .fleet import Fleet
    from .forecast import Forecast
    from .plan import Action, Infeasible, PlanOpts
    from .route import RouteCounters, Routes

NEVER = 2**63 - 1
"""A next_deadline: not before something else happens."""


class Table(NamedTuple):
    """An ops table of C and the config for its open; `keep` is what both point to."""

    ops: Any
    config: Any
    keep: Any = ()


class Env:
    """What `open` is told: the context, the seed of this instance, and how to wake the controller."""

    def __init__(self, context: Context, c: Any) -> None:
        self.context = context
        self.seed = int(c.seed)
        self._notifier = c.notifier or None
        self._lock = threading.Lock()

    def notify(self) -> None:
        """Have the controller stepped. Any thread; after close it does nothing."""
        with self._lock:
            if self._notifier is not None:
                lib.spr_notify(self._notifier)

    def _forget(self) -> None:
        with self._lock:
            self._notifier = None


class Backend(abc.ABC):
    """What all of them share."""

    name: str = "python"
    license: str = "MIT OR Apache-2.0"
    any_thread: bool = False
    """The methods may be called from any thread, one at a time."""

    def open(self, env: Env) -> None:
        """Called once before anything else; again after close."""

    def close(self) -> None:
        """Nothing is called after it."""


class Waiting(Backend):
    """What can wait: requests are answered with a ticket, their ends are collected later."""

    def fd(self) -> int:
        """A level-triggered fd that is readable while completions wait; -1 = none."""
        return -1

    def next_deadline(self) -> int:
        """Monotonic ns when to collect anyway."""
        return NEVER

    @abc.abstractmethod
    def cancel(self, ticket: int) -> None:
        """A request: the ticket still ends once. NotFoundError when it ended already."""


# ---- driver ----

@struct("spr_driver_request")
@dataclasses.dataclass(slots=True)
class DriverRequest:
    """One request. Every verb is idempotent by shard and piece."""

    verb: DriverVerb
    kind: ShardKind
    shard: int
    piece: int
    fence: int
    vm: Optional[str]
    host: Optional[str]
    amounts: Amounts
    warm: WarmState = WarmState.ANY


@struct("spr_observed_shard")
@dataclasses.dataclass(slots=True)
class ObservedShard:
    """A shard as the driver sees it; id 0 = something foreign inside our hold."""

    id: int
    vm: str
    host: str
    state: ShardState
    fence: int = 0
    kind: ShardKind = ShardKind.REPLICA
    ready: Amounts = Amounts()
    pending: Amounts = Amounts()
    draining: Amounts = Amounts()
    used: Amounts = Amounts()
    warmness: float = 0.0


@struct("spr_driver_completion")
@dataclasses.dataclass(slots=True)
class DriverCompletion:
    """The end of a ticket."""

    ticket: int
    outcome: Outcome = Outcome.DONE
    code: int = 0
    warmness: float = 0.0
    amounts: Amounts = Amounts()
    observed: Sequence[ObservedShard] = ()
    text: Optional[str] = None


@struct("spr_warm_cost")
@dataclasses.dataclass(slots=True)
class WarmCost:
    """What it costs to wait warm in one way."""

    resume_s: float = 0.0
    enter_s: float = 0.0
    memory_held: float = 0.0
    cpu_held: float = 0.0


@struct("spr_driver_capabilities")
@dataclasses.dataclass(slots=True)
class DriverCapabilities:
    """What a host can do; bit v of `verbs`: verb v works there; bit s of `warm_states`: a shard can wait in `WarmState` s, at warm[s]."""

    verbs: int
    replica: int = 1
    headroom: int = 0
    allocate_s: float = 0.0
    warm_s: float = 0.0
    missing: Optional[str] = None
    unkept: int = 0
    unkept_why: Optional[str] = None
    warm_states: int = 0
    warm: tuple[WarmCost, ...] = ()


class Driver(Waiting):
    """What holds, warms and releases shards on hosts."""

    @abc.abstractmethod
    def submit(self, request: DriverRequest, now: Time, deadline_mono_ns: int) -> int:
        """Take a request and return its ticket: never 0, never used twice."""

    @abc.abstractmethod
    def collect(self, now: Time, room: int) -> Iterable[DriverCompletion]:
        """At most `room` tickets that ended."""

    def capabilities(self, host: str) -> DriverCapabilities:
        """Optional: without it every verb works everywhere."""
        raise NotImplementedError


# ---- source ----

class Usage(NamedTuple):
    """What one VM used of one resource over the interval."""

    vm: int
    resource: int
    used: float
    served: float = 0.0
    stalled: float = 0.0
    flags: int = 0
    reserved: int = 0


_numbers = {"int32_t": "<i4", "uint32_t": "<u4", "double": "<f8"}
USAGE = np.dtype({"names": list(Usage._fields), "formats": [_numbers[f.type.cname] for _, f in ffi.typeof("struct spr_usage").fields],
                  "offsets": [f.offset for _, f in ffi.typeof("struct spr_usage").fields],
                  "itemsize": ffi.sizeof("struct spr_usage")})
"""numpy's name for an array of struct spr_usage: such an array is handed over without a copy."""


@struct("spr_source_completion")
@dataclasses.dataclass(slots=True)
class SourceCompletion:
    """One answer. `usage`: Usage tuples or an array of dtype USAGE; the array must not change until the next collect."""

    ticket: int
    outcome: Outcome = Outcome.DONE
    code: int = 0
    from_: Time = Time(0, 0)
    to: Time = Time(0, 0)
    usage: Union[Sequence[Usage], npt.NDArray[np.void]] = ()
    inventory: Optional[Fleet] = None
    text: Optional[str] = None


class Source(Waiting):
    """Where inventory and samples come from."""

    @abc.abstractmethod
    def submit(self, verb: SourceVerb, now: Time, deadline_mono_ns: int) -> int:
        """Take a question and return its ticket."""

    @abc.abstractmethod
    def collect(self, now: Time, room: int) -> Iterable[SourceCompletion]:
        """At most `room` answers."""


# ---- router ----

@struct("spr_router_completion")
@dataclasses.dataclass(slots=True)
class RouterCompletion:
    """The end of a publish; `routes` is the id of the snapshot in force now."""

    ticket: int
    outcome: Outcome = Outcome.DONE
    code: int = 0
    routes: int = 0
    text: Optional[str] = None


class Router(Waiting):
    """What steers traffic."""

    @abc.abstractmethod
    def publish(self, routes: Routes, now: Time, deadline_mono_ns: int) -> int:
        """Put a snapshot in force and return the ticket."""

    @abc.abstractmethod
    def collect(self, now: Time, room: int) -> Iterable[RouterCompletion]:
        """At most `room` tickets that ended."""

    def counters(self, now: Time) -> Sequence[RouteCounters]:
        """Optional: what was counted so far, by rising vm."""
        raise NotImplementedError


# ---- store ----

@struct("spr_store_completion")
@dataclasses.dataclass(slots=True)
class StoreCompletion:
    """The end of an append."""

    ticket: int
    outcome: Outcome = Outcome.DONE
    code: int = 0
    text: Optional[str] = None


class Store(Waiting):
    """Where the journal lives."""

    torn: int = 0
    """Bytes of a torn tail that `read` cut."""

    @abc.abstractmethod
    def append(self, record: bytes, deadline_mono_ns: int) -> int:
        """Append one record and return the ticket; done means that it survives the death of the process."""

    @abc.abstractmethod
    def collect(self, now: Time, room: int) -> Iterable[StoreCompletion]:
        """At most `room` tickets that ended."""

    @abc.abstractmethod
    def read(self) -> Iterable[bytes]:
        """Every whole record in order."""


# ---- forecaster and planner ----

class ForecasterMethod(Backend):
    """A forecasting method. Arrays are copies: keep them as long as you like."""

    refits_itself: bool = False
    """`update` keeps the parameters fresh; without it the controller fits anew once a day."""

    step_ns: int
    horizon: int
    levels: npt.NDArray[np.float64]
    """Set before open."""

    @abc.abstractmethod
    def fit(self, history: npt.NDArray[np.float64], censored: Optional[npt.NDArray[np.bool_]], first_step: int,
            budget: int) -> Optional[bool]:
        """Learn from [series][time]; NaN is missing. False: the budget is used up, fit comes again."""

    def update(self, steps: npt.NDArray[np.float64], censored: Optional[npt.NDArray[np.bool_]]) -> None:
        """Optional: take new steps. Without it the library keeps the history and fits anew."""
        raise NotImplementedError

    @abc.abstractmethod
    def predict(self, now: Optional[npt.NDArray[np.float64]]) -> tuple[Any, Any]:
        """Points [series][horizon] and quantiles [series][horizon][level]."""


class PlannerMethod(Backend):
    """A planning method."""

    @abc.abstractmethod
    def plan(self, fleet: Fleet, hosts: Optional[Forecast], opts: PlanOpts) -> tuple[Iterable[Action], Iterable[Infeasible]]:
        """Actions (their ids are given by the library) and wishes that cannot be met."""


def bind(context: Context, kind: str, backend: Any) -> Any:
    """What C is given for a backend: a Table as it is, an object of Python through its adapter."""
    from . import _adapters

    return backend if isinstance(backend, Table) else _adapters.bind(context, kind, backend)
