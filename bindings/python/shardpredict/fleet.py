# SPDX-License-Identifier: MIT OR Apache-2.0
"""One immutable snapshot of hosts, VMs, shards and wishes."""
from __future__ import annotations

import dataclasses
from typing import Any, Optional, TypeVar

from ._base import Amounts, Maker, Product, Time, blank, c_time, read, struct, write
from ._core import ffi, lib
from ._enums import ErrorCode, HostState, ReplicaPolicy, ShardKind, ShardState, WarmState
from .context import Context

T = TypeVar("T")


@struct("spr_host")
@dataclasses.dataclass(slots=True)
class Host:
    """One host; `power_w` are watts at 0 %, 10 %, ... 100 % CPU load."""

    id: str
    capacity: Amounts
    rack: Optional[str] = None
    zone: Optional[str] = None
    power_w: tuple[float, ...] = (0.0,) * lib.SPR_POWER_POINTS
    state: HostState = HostState.UP


@struct("spr_vm")
@dataclasses.dataclass(slots=True)
class VM:
    """One VM: who it is, what its owner allows, what it needs now."""

    id: str
    host: int
    replica: ReplicaPolicy = ReplicaPolicy.NEVER
    spillable: float = 0.0
    flow_lifetime_s: float = 0.0
    group: Optional[str] = None
    affinity: Optional[str] = None
    anti_affinity: Optional[str] = None
    hosts_allowed: Optional[str] = None
    min: Amounts = Amounts()
    max: Amounts = Amounts()
    priority: int = 0
    klass: int = -1
    capacity: Amounts = Amounts()
    demand: Amounts = Amounts()
    demand_hour: Amounts = Amounts()
    seen_mono_ns: int = 0
    censored: int = 0
    shards_at_most: int = 0


@struct("spr_shard")
@dataclasses.dataclass(slots=True)
class Shard:
    """One shard as the snapshot sees it."""

    id: int
    vm: int
    host: int
    kind: ShardKind = ShardKind.REPLICA
    state: ShardState = ShardState.PLANNED
    ready: Amounts = Amounts()
    pending: Amounts = Amounts()
    draining: Amounts = Amounts()
    used: Amounts = Amounts()
    warmness: float = 0.0
    ready_mono_ns: int = 0
    wake_mono_ns: int = 0
    warm: WarmState = WarmState.ANY


@struct("spr_declared")
@dataclasses.dataclass(slots=True)
class Declared:
    """What somebody knows in advance."""

    match: str
    resource: int
    start_wall_ns: int
    end_wall_ns: int
    amount: float
    confidence: float


class Fleet(Product):
    """One snapshot."""

    __slots__ = ()
    _ref, _end = lib.spr_fleet_ref, lib.spr_fleet_unref

    @property
    def id(self) -> int:
        return int(lib.spr_fleet_id(self._ptr))

    @property
    def time(self) -> Time:
        t = lib.spr_fleet_time(self._ptr)
        return Time(t.wall_ns, t.mono_ns)

    @property
    def resources(self) -> list[int]:
        """Resources that are planned, rising."""
        bits = lib.spr_fleet_resources(self._ptr)
        return [r for r in range(lib.SPR_RESOURCES_MAX) if bits >> r & 1]

    def _all(self, cls: type[T], count: Any, get: Any) -> list[T]:
        return [self._one(cls, get, i) for i in range(count(self._ptr))]

    def _one(self, cls: type[T], get: Any, index: int) -> T:
        c = blank(cls._c_name)  # type: ignore[attr-defined]
        self.context._check(get(self._ptr, index, c))
        return read(cls, c)

    @property
    def hosts(self) -> list[Host]:
        return self._all(Host, lib.spr_fleet_host_count, lib.spr_fleet_host)

    @property
    def vms(self) -> list[VM]:
        return self._all(VM, lib.spr_fleet_vm_count, lib.spr_fleet_vm)

    @property
    def shards(self) -> list[Shard]:
        return self._all(Shard, lib.spr_fleet_shard_count, lib.spr_fleet_shard)

    @property
    def declared(self) -> list[Declared]:
        return self._all(Declared, lib.spr_fleet_declared_count, lib.spr_fleet_declared)

    def host(self, index: int) -> Host:
        return self._one(Host, lib.spr_fleet_host, index)

    def vm(self, index: int) -> VM:
        return self._one(VM, lib.spr_fleet_vm, index)

    def shard(self, index: int) -> Shard:
        return self._one(Shard, lib.spr_fleet_shard, index)

    @property
    def host_count(self) -> int:
        return int(lib.spr_fleet_host_count(self._ptr))

    @property
    def vm_count(self) -> int:
        return int(lib.spr_fleet_vm_count(self._ptr))

    @property
    def shard_count(self) -> int:
        return int(lib.spr_fleet_shard_count(self._ptr))

    def find_host(self, id: str) -> Optional[int]:
        return self._found(lib.spr_fleet_find_host(self._ptr, id.encode()))

    def find_vm(self, id: str) -> Optional[int]:
        return self._found(lib.spr_fleet_find_vm(self._ptr, id.encode()))

    def find_shard(self, id: int) -> Optional[int]:
        return self._found(lib.spr_fleet_find_shard(self._ptr, id))

    def _found(self, index: int) -> Optional[int]:
        return None if index == ErrorCode.E_NOT_FOUND else self.context._check(index)

    def held(self, host: int) -> Amounts:
        """What shards hold on a host."""
        c = ffi.new("struct spr_amounts *")
        self.context._check(lib.spr_fleet_held(self._ptr, host, c))
        return Amounts(*c.of)

    def tier(self, a: int, b: int) -> int:
        """0 same host, 1 same rack, 2 same zone, 3 other zone."""
        return self.context._check(lib.spr_fleet_tier(self._ptr, a, b))


class FleetBuilder(Maker):
    """A snapshot under construction; `base` lends its hosts, VMs and wishes."""

    __slots__ = ()
    _end = lib.spr_fleet_builder_destroy

    def __init__(self, context: Context, base: Optional[Fleet] = None) -> None:
        self._p = None
        super().__init__(context, context._call("spr_fleet_builder **", lib.spr_fleet_builder_create, context._ptr,
                                                base._ptr if base else ffi.NULL))

    def _put(self, function: Any, value: Any, *before: Any) -> None:
        keep: list[Any] = []
        self.context._check(function(self._ptr, *before, write(value, keep)))

    def _add(self, function: Any, value: Any) -> int:
        keep: list[Any] = []
        return int(self.context._call("int32_t *", function, self._ptr, write(value, keep)))

    def use(self, resource: int) -> None:
        """Plan this resource; called before hosts come."""
        self.context._check(lib.spr_fleet_builder_use(self._ptr, resource))

    def host(self, host: Host) -> int:
        """Add a host and get its index."""
        return self._add(lib.spr_fleet_builder_host, host)

    def vm(self, vm: VM) -> int:
        """Add a VM and get its index."""
        return self._add(lib.spr_fleet_builder_vm, vm)

    def observe(self, index: int, seen: VM) -> None:
        """Replace demand, demand_hour, seen_mono_ns, censored and host."""
        self._put(lib.spr_fleet_builder_observe, seen, index)

    def host_state(self, index: int, state: HostState) -> None:
        self.context._check(lib.spr_fleet_builder_host_state(self._ptr, index, state))

    def shard(self, shard: Shard) -> None:
        self._put(lib.spr_fleet_builder_shard, shard)

    def declared(self, declared: Declared) -> None:
        self._put(lib.spr_fleet_builder_declared, declared)

    def latency(self, same_rack_ms: float = 0.1, same_zone_ms: float = 0.5, other_zone_ms: float = 2.0) -> None:
        self.context._check(lib.spr_fleet_builder_latency(self._ptr, same_rack_ms, same_zone_ms, other_zone_ms))

    def finish(self, now: Time) -> Fleet:
        """Publish the snapshot; the builder is used up."""
        p, self._p = self._ptr, None
        return Fleet(self.context, self.context._call("spr_fleet **", lib.spr_fleet_builder_finish, p, c_time(now)))
