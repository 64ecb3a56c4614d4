# SPDX-License-Identifier: MIT OR Apache-2.0
"""Shards in, weighted pick tables out."""
from __future__ import annotations

import dataclasses
from typing import Any, Optional, Sequence

import numpy as np
import numpy.typing as npt

from ._arrays import view
from ._base import Amounts, Product, blank, error, options, read, struct, write_into
from ._core import ffi, lib
from ._enums import DeadPolicy
from .context import Context
from .fleet import Fleet


@struct("spr_route")
@dataclasses.dataclass(slots=True)
class Route:
    """One service: its primary, and the share of new flows that its shards take."""

    vm: int
    primary: int
    target_count: int
    drain_count: int
    spill: float
    spill_at_most: float
    id: Optional[str] = None
    ramp_per_s: float = 0.0
    on_dead: DeadPolicy = DeadPolicy.PRIMARY
    promoted: int = 0


@struct("spr_route_target")
@dataclasses.dataclass(slots=True)
class RouteTarget:
    """A shard behind a service."""

    shard: int
    host: int
    draining: int
    weight: float
    capacity: Amounts = Amounts()
    warmness: float = 0.0
    dead: int = 0


@struct("spr_route_counters")
@dataclasses.dataclass(slots=True)
class RouteCounters:
    """What a router counted for one service since it knows it."""

    vm: int
    packets: int = 0
    bytes: int = 0
    flows: int = 0
    spilled: int = 0
    syn_again: int = 0
    active: int = 0
    waiting: int = 0
    answer_s: float = float("nan")


def pick_table(service: str, shards: Sequence[int], weights: Sequence[float], spill: float, *,
               dead: Optional[Sequence[int]] = None,
               on_dead: DeadPolicy = DeadPolicy.PRIMARY) -> npt.NDArray[np.uint16]:
    """One pick table: row i is 0 for the primary or n for shards[n - 1]."""
    keep: list[Any] = []
    if len(shards) != len(weights) or (dead is not None and len(dead) != len(shards)):
        raise ValueError("shards, weights and dead must be as many")
    rows = np.zeros(lib.SPR_ROUTE_SLOTS, np.uint16)
    c = options("spr_route_shares", keep, service=service, count=len(shards), spill=spill, on_dead=int(on_dead),
                shards=ffi.new("uint64_t[]", list(shards)), weights=ffi.new("double[]", list(weights)),
                dead=ffi.new("uint8_t[]", list(dead)) if dead is not None else None)
    code = lib.spr_route_table(c, ffi.from_buffer("uint16_t[]", rows, require_writable=True))
    if code < 0:
        raise error(code)
    return rows


class Routes(Product):
    """Pick tables of all services; only those with shards are listed."""

    __slots__ = ()
    _ref, _end = lib.spr_routes_ref, lib.spr_routes_unref

    @classmethod
    def of(cls, context: Context, fleet: Fleet, before: Optional[Routes] = None) -> Routes:
        """The routes of a fleet."""
        return cls(context, context._call("spr_routes **", lib.spr_routes_create, context._ptr, fleet._ptr,
                                          before._ptr if before else ffi.NULL))

    @classmethod
    def given(cls, context: Context, services: Sequence[tuple[Route, Sequence[RouteTarget]]],
              before: Optional[Routes] = None) -> Routes:
        """Routes of given services, by rising vm: for routers that were told of them."""
        keep: list[Any] = []
        c = ffi.new("struct spr_route_service[]", len(services))
        for (route, targets), to in zip(services, c):
            t = ffi.new("struct spr_route_target[]", len(targets))
            keep.append(t)
            for target, one in zip(targets, t):
                write_into(target, one, keep)
            write_into(route, to.route, keep)
            to.size, to.targets = ffi.sizeof(to), t
            if route.target_count + route.drain_count != len(targets):
                raise ValueError("%s: target_count and drain_count are not the number of targets" % route.id)
        return cls(context, context._call("spr_routes **", lib.spr_routes_from, context._ptr, c, len(services),
                                          before._ptr if before else ffi.NULL))

    @property
    def id(self) -> int:
        return int(lib.spr_routes_id(self._ptr))

    def __len__(self) -> int:
        return int(lib.spr_routes_count(self._ptr))

    def __getitem__(self, index: int) -> Route:
        if not 0 <= index < len(self):
            raise IndexError(index)
        c = blank("spr_route")
        self.context._check(lib.spr_routes_get(self._ptr, index, c))
        return read(Route, c)

    def targets(self, index: int) -> list[RouteTarget]:
        """Shards of a service: serving ones first, then draining ones."""
        route, out = self[index], []
        for t in range(route.target_count + route.drain_count):
            c = blank("spr_route_target")
            self.context._check(lib.spr_routes_target(self._ptr, index, t, c))
            out.append(read(RouteTarget, c))
        return out

    def table(self, index: int) -> npt.NDArray[np.uint16]:
        """A read-only view of the pick table: 0 = primary, n = target n - 1."""
        p = lib.spr_routes_table(self._ptr, index)
        if not p:
            raise IndexError(index)
        return view(self, p, (lib.SPR_ROUTE_SLOTS,), "<u2")

    def pick(self, vm: int, hashes: Any) -> npt.NDArray[np.uint64]:
        """Where new flows with these hashes go: shard ids, 0 = primary."""
        h = np.ascontiguousarray(hashes, np.uint64)
        out = np.zeros(h.shape, np.uint64)
        if h.size:
            self.context._check(lib.spr_routes_pick(self._ptr, vm, ffi.from_buffer("uint64_t[]", h.reshape(-1)), h.size,
                                                    ffi.from_buffer("uint64_t[]", out.reshape(-1), require_writable=True)))
        return out

    def equal(self, other: Optional[Routes]) -> bool:
        """No service differs (None: no service spills or drains)."""
        return bool(lib.spr_routes_equal(self._ptr, other._ptr if other else ffi.NULL))
