# SPDX-License-Identifier: MIT OR Apache-2.0
"""Files in and out: traces with maps, scenarios, fleets, JSON, the generator (libshardpredict-io)."""
from __future__ import annotations

import dataclasses
import os
from typing import Any, Callable, Iterable, Optional, Union

from . import _io
from ._base import Amounts, Maker, blank as _core_blank, c_text, fill, read
from ._core import ffi
from ._io import lib
from .context import Context
from .events import Calendar
from .fleet import Fleet
from .metrics import Series
from .model import Model
from .plan import Plan
from .profile import Profile
from .replay import ScenarioNumbers, Verdict

Path = Union[str, "os.PathLike[str]"]


def _blank(name: str) -> Any:
    c = _io.ffi.new("struct %s *" % name)
    c.size = _io.ffi.sizeof("struct " + name)
    return c


def _path(p: Optional[Path]) -> Optional[str]:
    return None if p is None else os.fspath(p)


def _texts(texts: Iterable[Path], keep: list[Any]) -> Any:
    items = [ffi.new("char[]", os.fsencode(t)) for t in texts]
    array = ffi.new("char *[]", items)
    keep += [items, array]
    return array


@dataclasses.dataclass(slots=True)
class TraceVM:
    """What is known of a VM besides its samples; replica -1 and spillable -1: not said."""

    id: str
    capacity: Amounts
    replica: int
    spillable: float
    capacity_factor: tuple[float, ...]


class Trace(Maker):
    """What was read from trace files; a map says which column is what, without one it is the tool's own form."""

    __slots__ = ()
    _end = lib.spr_trace_destroy

    def __init__(self, context: Context, files: Union[Path, Iterable[Path]], *, map: Optional[Path] = None,
                 where: Optional[str] = None, capacity: Optional[Path] = None, capacity_cores: float = 0.0, capacity_bytes: float = 0.0,
                 resources: Iterable[int] = ()) -> None:
        self._p = None
        keep: list[Any] = []
        files = [files] if isinstance(files, (str, os.PathLike)) else list(files)
        opts = fill(_blank("spr_trace_opts"), {
            "file_count": len(files), "map": _path(map), "where": where, "capacity": _path(capacity),
            "capacity_cores": capacity_cores, "capacity_bytes": capacity_bytes, "resources": sum(1 << r for r in set(resources))}, keep)
        opts.files = _texts(files, keep)
        out = _io.ffi.new("spr_trace **")
        context._check(lib.spr_trace_read(context._ptr, opts, out))
        super().__init__(context, out[0])

    @property
    def series(self) -> Series:
        return Series._borrowed(self.context, lib.spr_trace_series(self._ptr))

    @property
    def end(self) -> int:
        """One past the last step that any file has a row for."""
        return int(lib.spr_trace_end(self._ptr))

    @property
    def vms(self) -> list[TraceVM]:
        """In trace order."""
        out = []
        for i in range(lib.spr_trace_vm_count(self._ptr)):
            c = _blank("spr_trace_vm")
            self.context._check(lib.spr_trace_vm(self._ptr, i, c))
            out.append(TraceVM(c_text(c.id), Amounts(*c.capacity.of), c.replica, c.spillable, tuple(c.capacity_factor)))
        return out

    def resource(self, resource: int) -> tuple[str, str]:
        """Name and unit."""
        c = _core_blank("spr_resource_info")
        self.context._check(lib.spr_trace_resource(self._ptr, resource, c))
        return c_text(c.name), c_text(c.unit)


def generate(context: Context, out: Path, *, vms: int = 0, days: int = 0, seed: int = 0, stationary: bool = False,
             truth: Optional[Path] = None) -> None:
    """Write a fleet's trace, its side file and, where asked, the truth."""
    keep: list[Any] = []
    context._check(lib.spr_generate(context._ptr, fill(_blank("spr_generate_opts"), {
        "vms": vms, "days": days, "seed": seed, "stationary": int(stationary), "out": _path(out), "truth": _path(truth)}, keep)))


class Scenario(Maker):
    """A scenario with its trace and fleet."""

    __slots__ = ("_keepalive",)
    _end = lib.spr_scenario_file_destroy
    _keepalive: list[Any]

    @classmethod
    def read(cls, context: Context, path: Path, *, data_dir: Optional[Path] = None, maps_dir: Optional[Path] = None,
             installed_dir: Optional[Path] = None, seed: int = 0, hosts: int = 0) -> Scenario:
        """From a file (YAML or JSON)."""
        return cls._make(context, lib.spr_scenario_read, os.fsencode(path), data_dir, maps_dir, installed_dir, seed, hosts)

    @classmethod
    def default(cls, context: Context, trace: Trace, *, seed: int = 0, hosts: int = 0) -> Scenario:
        """The default one around a trace."""
        return cls._make(context, lib.spr_scenario_default, trace._ptr, None, None, None, seed, hosts)

    @classmethod
    def _make(cls, context: Context, function: Any, what: Any, data_dir: Any, maps_dir: Any, installed_dir: Any, seed: int,
              hosts: int) -> Scenario:
        keep: list[Any] = []
        opts = fill(_blank("spr_scenario_opts"), {"data_dir": _path(data_dir), "maps_dir": _path(maps_dir),
                                                  "installed_dir": _path(installed_dir), "seed": seed, "hosts": hosts}, keep)
        out = _io.ffi.new("spr_scenario_file **")
        context._check(function(context._ptr, what, opts, out))
        self = cls(context, out[0])
        self._keepalive = keep
        return self

    @property
    def _struct(self) -> Any:
        return lib.spr_scenario_file_scenario(self._ptr)

    @property
    def series(self) -> Series:
        return Series._borrowed(self.context, lib.spr_scenario_file_series(self._ptr))

    @property
    def fleet(self) -> Fleet:
        return Fleet._borrowed(self.context, ffi.cast("spr_fleet *", self._struct.fleet))

    @property
    def numbers(self) -> ScenarioNumbers:
        """A copy; set it back to change them."""
        return read(ScenarioNumbers, self._struct)

    @numbers.setter
    def numbers(self, numbers: ScenarioNumbers) -> None:
        keep = self._keepalive
        fill(self._struct, {f.name: getattr(numbers, f.name) for f in dataclasses.fields(numbers) if f.name != "name"}, keep)

    def unit(self, resource: int) -> tuple[float, str]:
        """Factor from the core's unit to the scenario's, and that unit's name."""
        name = ffi.new("char **")
        return float(lib.spr_scenario_file_unit(self._ptr, resource, name)), c_text(name[0])


def read_fleet(context: Context, path: Path, trace: Trace, first: int = 0, last: int = 0) -> Fleet:
    """A fleet file around the VMs of a trace; VMs are placed by their means over steps [first, last)."""
    return Fleet(context, context._call("spr_fleet **", lib.spr_fleet_read, context._ptr, os.fsencode(path), trace._ptr, first,
                                        last or trace.end))


def load_model(context: Context, path: Path) -> Model:
    """A model file, read whole."""
    return Model(context, context._call("spr_model **", lib.spr_model_load, context._ptr, os.fsencode(path)))


def read_calendar(context: Context, path: Path) -> Calendar:
    """Events of an iCalendar file."""
    return Calendar(context, context._call("spr_calendar **", lib.spr_calendar_read, context._ptr, os.fsencode(path)))


def save_model(model: Model, path: Path) -> None:
    """A model file; it appears whole or not at all."""
    model.context._check(lib.spr_model_save(model.context._ptr, model._ptr, os.fsencode(path)))


def _written(context: Context, path: Path, write: Callable[[Any], int]) -> None:
    """A document that appears whole or not at all."""
    out = _io.ffi.new("spr_output **")
    context._check(lib.spr_output_create(context._ptr, os.fsencode(path), out))
    try:
        context._check(write(out[0]))
    except BaseException:
        lib.spr_output_discard(out[0])
        raise
    context._check(lib.spr_output_commit(out[0]))


def write_profile(profile: Profile, path: Path) -> None:
    """Profiles as JSON; "-" is standard output."""
    _written(profile.context, path, lambda o: lib.spr_profile_write(profile.context._ptr, profile._ptr, o))


def write_plan(plan: Plan, path: Path, fence: int = 0) -> None:
    """A plan as JSON."""
    _written(plan.context, path, lambda o: lib.spr_plan_write(plan.context._ptr, plan._ptr, fence, o))


def write_result(scenario: Scenario, verdict: Verdict, path: Path) -> None:
    """A verdict as JSON."""
    extra = _blank("spr_result_extra")
    _written(verdict.context, path,
             lambda o: lib.spr_result_write(verdict.context._ptr, scenario._ptr, verdict._ptr, extra, o))


def sentence(verdict: Verdict) -> str:
    """The verdict in one sentence that names the rival and the saving."""
    room = lib.spr_verdict_sentence(verdict._ptr, ffi.NULL, 0)
    verdict.context._check(room)
    text = ffi.new("char[]", room + 1)
    lib.spr_verdict_sentence(verdict._ptr, text, room + 1)
    return c_text(text)
