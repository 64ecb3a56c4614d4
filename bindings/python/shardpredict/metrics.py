# SPDX-License-Identifier: MIT OR Apache-2.0
"""Raw samples in, regular series out."""
from __future__ import annotations

import dataclasses
from typing import Any, Optional

from ._arrays import Floats, view
from ._base import Maker, Product, blank, options, read, struct
from ._core import ffi, lib
from ._enums import Resource, SampleFlag, SampleKind, SeriesField
from .context import Context


@struct("spr_metrics_notes")
@dataclasses.dataclass(slots=True)
class MetricsNotes:
    """What happened to the samples."""

    samples: int
    missing: int
    duplicates: int
    out_of_order: int
    resets: int
    clock_jumps: int
    gaps: int


@struct("spr_series_info")
@dataclasses.dataclass(slots=True)
class SeriesInfo:
    """What is known of one row; trace unit * unit_factor = the resource's unit."""

    id: str
    metric: str
    resource: int
    unit_factor: float


class Series(Product):
    """Series on one regular grid."""

    __slots__ = ()
    _ref, _end = lib.spr_series_ref, lib.spr_series_unref

    def __len__(self) -> int:
        return int(lib.spr_series_count(self._ptr))

    @property
    def steps(self) -> int:
        return int(lib.spr_series_steps(self._ptr))

    @property
    def origin_ns(self) -> int:
        return int(lib.spr_series_origin_ns(self._ptr))

    @property
    def step_ns(self) -> int:
        return int(lib.spr_series_step_ns(self._ptr))

    def info(self, row: int) -> SeriesInfo:
        c = blank("spr_series_info")
        self.context._check(lib.spr_series_info(self._ptr, row, c))
        return read(SeriesInfo, c)

    def find(self, id: str, resource: int = Resource.CPU, metric: Optional[str] = None) -> int:
        return int(self.context._call("int64_t *", lib.spr_series_find, self._ptr, id.encode(), resource,
                                      metric.encode() if metric else ffi.NULL))

    def values(self, field: SeriesField = SeriesField.MEAN) -> Floats:
        """A read-only view [row][step]; NaN where missing. It keeps the memory alive."""
        p = blank("spr_panel")
        self.context._check(lib.spr_series_view(self._ptr, field, p))
        return view(self, p.data, (p.series, p.steps), "<f8" if p.dtype == lib.SPR_F64 else "<f4",
                    (p.series_stride, p.step_stride))


class Metrics(Maker):
    """A collector of samples."""

    __slots__ = ()
    _end = lib.spr_metrics_destroy

    def __init__(self, context: Context, *, origin_ns: int = 0, step_ns: int = 0, max_steps: int = 0) -> None:
        self._p = None
        opts = options("spr_metrics_opts", [], origin_ns=origin_ns, step_ns=step_ns, max_steps=max_steps)
        super().__init__(context, context._call("spr_metrics **", lib.spr_metrics_create, context._ptr, opts))

    def add(self, id: str, metric: Optional[str] = None, resource: int = Resource.CPU,
            kind: SampleKind = SampleKind.GAUGE, unit_factor: float = 1.0) -> int:
        """A new row."""
        return int(self.context._call("int64_t *", lib.spr_metrics_add, self._ptr, id.encode(),
                                      metric.encode() if metric else ffi.NULL, resource, kind, unit_factor))

    def find(self, id: str, metric: Optional[str] = None) -> int:
        return int(self.context._call("int64_t *", lib.spr_metrics_find, self._ptr, id.encode(),
                                      metric.encode() if metric else ffi.NULL))

    def push(self, row: int, wall_ns: int, value: float, flags: int = 0) -> None:
        """One sample; `flags` are SampleFlag."""
        self.context._check(lib.spr_metrics_push(self._ptr, row, wall_ns, value, flags))

    def notes(self) -> MetricsNotes:
        c = blank("spr_metrics_notes")
        self.context._check(lib.spr_metrics_notes(self._ptr, c))
        return read(MetricsNotes, c)

    def finish(self) -> Series:
        """The product; the collector is empty of samples afterwards."""
        return Series(self.context, self.context._call("spr_series **", lib.spr_metrics_finish, self._ptr))


__all__ = ["Metrics", "MetricsNotes", "SampleFlag", "Series", "SeriesInfo"]
