# SPDX-License-Identifier: MIT OR Apache-2.0
"""In-memory hosts, VMs, shards and routes: deterministic, needs nothing (libshardpredict-sim)."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._arrays import doubles
from ._base import Maker, Time, blank, c_time, options
from ._core import ffi
from ._sim import lib
from .context import Context
from .fleet import Fleet
from .ops import Table


class Measure(NamedTuple):
    """Means since the last one, [vm][resource of the fleet]; violated_s [vm], host_load [host]."""

    demand: npt.NDArray[np.float64]
    got: npt.NDArray[np.float64]
    held: npt.NDArray[np.float64]
    served: npt.NDArray[np.float64]
    violated_s: npt.NDArray[np.float64]
    host_load: npt.NDArray[np.float64]


class World(Maker):
    """Physics, and the source, driver and router that a controller meets it through. It must outlive that controller."""

    __slots__ = ("_shape", "_hosts")

    @staticmethod
    def _end(p: Any) -> None:
        lib.spr_sim_world().close(p)

    def __init__(self, context: Context, fleet: Fleet, *, substep_s: float = 10.0,
                 allocate_s: tuple[float, float] = (0.0, 0.0), warm_s: tuple[float, float] = (0.0, 0.0), seed: int = 0,
                 fail_every: int = 0, stall_hidden: bool = False) -> None:
        self._p = None
        config = options("spr_world_config", [], fleet=fleet._ptr, substep_s=substep_s, allocate_s=allocate_s,
                         warm_s=warm_s, seed=seed, fail_every=fail_every, stall_hidden=int(stall_hidden))
        env = options("spr_env", [], context=context._ptr, seed=seed)
        out = ffi.new("void **")
        context._check(lib.spr_sim_world().open(env, config, out))
        self._shape, self._hosts = (fleet.vm_count, len(fleet.resources)), fleet.host_count
        super().__init__(context, out[0])

    @property
    def source(self) -> Table:
        return Table(lib.spr_sim_source(), self._ptr, self)

    @property
    def driver(self) -> Table:
        return Table(lib.spr_sim_driver(), self._ptr, self)

    @property
    def router(self) -> Table:
        return Table(lib.spr_sim_router(), self._ptr, self)

    def demand(self, demand: Any) -> None:
        """True demand from now on, [vm][resource of the fleet]."""
        keep: list[Any] = []
        self.context._check(lib.spr_sim_world().demand(self._ptr, doubles(demand, keep, self._shape)))

    def advance(self, to: Time) -> None:
        """Let time pass, in whole sub-steps."""
        self.context._check(lib.spr_sim_world().advance(self._ptr, c_time(to)))

    def measure(self) -> Measure:
        """Means since the last call."""
        vm, resource = self._shape
        demand, got, held, served = np.zeros((4, vm, resource))
        m = Measure(demand, got, held, served, np.zeros(vm), np.zeros(self._hosts))
        c = blank("spr_world_measure")
        for name, a in zip(m._fields, m):
            setattr(c, name, ffi.from_buffer("double[]", a.reshape(-1), require_writable=True) if a.size else ffi.NULL)
        self.context._check(lib.spr_sim_world().measure(self._ptr, c))
        return m
