# SPDX-License-Identifier: MIT OR Apache-2.0
"""Series in, behaviour out."""
from __future__ import annotations

import dataclasses
from typing import Iterator

from ._base import Maker, Product, blank, options, read, struct
from ._core import lib
from ._enums import Class
from .context import Context
from .metrics import Series


@struct("spr_peak_window")
@dataclasses.dataclass(slots=True)
class PeakWindow:
    """A window of the week in which peaks gather; bit 0 of `days` is Monday, times are local."""

    days: int
    from_s: int
    to_s: int
    probability: float


@struct("spr_profile_row")
@dataclasses.dataclass(slots=True)
class ProfileRow:
    """The behaviour of one series."""

    id: str
    metric: str
    resource: int
    klass: Class
    confidence: float
    level: float
    spread: float
    trend_per_day: float
    periods_s: tuple[float, ...]
    period_count: int
    peak_window_count: int
    season_strength: float
    burst_rate_per_day: float
    burst_size: float
    burst_length_s: float
    forecastability: float
    peak_windows: tuple[PeakWindow, ...]


class Profile(Product):
    """The behaviour of every row of a series."""

    __slots__ = ()
    _ref, _end = lib.spr_profile_ref, lib.spr_profile_unref

    def __len__(self) -> int:
        return int(lib.spr_profile_count(self._ptr))

    def __getitem__(self, row: int) -> ProfileRow:
        if not 0 <= row < len(self):
            raise IndexError(row)
        c = blank("spr_profile_row")
        self.context._check(lib.spr_profile_get(self._ptr, row, c))
        r: ProfileRow = read(ProfileRow, c)
        r.periods_s, r.peak_windows = r.periods_s[:r.period_count], r.peak_windows[:r.peak_window_count]
        return r

    def __iter__(self) -> Iterator[ProfileRow]:
        return (self[i] for i in range(len(self)))


class Profiler(Maker):
    """Remembers the last class of every series."""

    __slots__ = ()
    _end = lib.spr_profiler_destroy

    def __init__(self, context: Context, *, significance: float = 0, permutations: int = 0, max_periods: int = 0,
                 hysteresis: float = 0, utc_offset_s: int = 0) -> None:
        self._p = None
        opts = options("spr_profile_opts", [], significance=significance, permutations=permutations,
                       max_periods=max_periods, hysteresis=hysteresis, utc_offset_s=utc_offset_s)
        super().__init__(context, context._call("spr_profiler **", lib.spr_profiler_create, context._ptr, opts))

    def run(self, series: Series, first: int = 0, last: int = 0) -> Profile:
        """Profile every row over steps [first, last); last 0 is the end."""
        return Profile(self.context, self.context._call("spr_profile **", lib.spr_profiler_run, self._ptr, series._ptr,
                                                        first, last))
