# SPDX-License-Identifier: MIT OR Apache-2.0
"""Panels in, quantiles out, and when: windows in which demand passes a threshold."""
from __future__ import annotations

import dataclasses
from typing import Any, Optional, Sequence, Union

from ._arrays import Floats, doubles, panel, view
from ._base import Maker, Product, fill, blank, options, read, struct
from ._core import ffi, lib
from .context import Context
from .model import Model, asks
from .ops import ForecasterMethod, Table, bind


@struct("spr_exceedance")
@dataclasses.dataclass(slots=True)
class Exceedance:
    """A window in which demand is expected above a threshold: steps [onset, end) from 0."""

    series: int
    onset: int
    end: int
    probability: float
    peak: float


class Forecast(Product):
    """Quantiles per series and step ahead."""

    __slots__ = ()
    _ref, _end = lib.spr_forecast_ref, lib.spr_forecast_unref

    @classmethod
    def of(cls, context: Context, points: Any, quantiles: Any, levels: Sequence[float], first_step: int = 0) -> Forecast:
        """A product from numbers somebody else computed: points [series][horizon], quantiles [series][horizon][level]."""
        keep: list[Any] = []
        q = doubles(quantiles, keep)
        series, horizon, count = keep[0].shape
        return cls(context, context._call(
            "spr_forecast **", lib.spr_forecast_create, context._ptr, series, horizon, count,
            doubles(levels, keep, (count,)), first_step, doubles(points, keep, (series, horizon)), q))

    def __len__(self) -> int:
        return int(lib.spr_forecast_count(self._ptr))

    @property
    def horizon(self) -> int:
        return int(lib.spr_forecast_horizon(self._ptr))

    @property
    def first_step(self) -> int:
        return int(lib.spr_forecast_first_step(self._ptr))

    @property
    def levels(self) -> Floats:
        return view(self, lib.spr_forecast_levels(self._ptr), (lib.spr_forecast_level_count(self._ptr),), "<f8")

    @property
    def points(self) -> Floats:
        """A read-only view [series][horizon]."""
        return view(self, lib.spr_forecast_points(self._ptr), (len(self), self.horizon), "<f8")

    @property
    def quantiles(self) -> Floats:
        """A read-only view [series][horizon][level]."""
        shape = (len(self), self.horizon, lib.spr_forecast_level_count(self._ptr))
        return view(self, lib.spr_forecast_quantiles(self._ptr), shape, "<f8")

    def exceeds(self, series: int, h: int, threshold: float) -> float:
        """Chance that a series passes the threshold in step h (from 0)."""
        return float(lib.spr_forecast_exceeds(self._ptr, series, h, threshold))

    def windows(self, series: int, threshold: float, probability: float) -> list[Exceedance]:
        """Runs of steps whose chance to pass the threshold is at least `probability`."""
        room = self.horizon
        out = ffi.new("struct spr_exceedance[]", room)
        count = ffi.new("size_t *", room)
        self.context._check(lib.spr_forecast_windows(self._ptr, series, threshold, probability, out,
                                                     ffi.sizeof("struct spr_exceedance"), count))
        return [read(Exceedance, out[i]) for i in range(min(room, count[0]))]


_configs = {"seasonal-naive": "spr_seasonal_naive_opts", "holt-winters": "spr_holt_winters_opts", "mix": "spr_mix_opts"}


def builtin(name: str, **config: Any) -> Table:
    """A method of the library: seasonal-naive, holt-winters or mix. `config` are the fields of its options in C."""
    ops = lib.spr_forecaster_by_name(name.encode())
    if not ops:
        raise ValueError("no built-in forecaster is called %r" % name)
    keep: list[Any] = []
    return Table(ops, fill(blank(_configs[name]), config, keep) if config else ffi.NULL, keep)


class Forecaster(Maker):
    """A method and what it learnt. `method`: a built-in's name, a trained Model, a Table, or a ForecasterMethod written in Python."""

    __slots__ = ("_bound", "horizon")
    _end = lib.spr_forecaster_destroy

    def __init__(self, context: Context, method: Union[str, Model, Table, ForecasterMethod] = "mix", *, step_ns: int = 0,
                 horizon: int = 0, levels: Optional[Sequence[float]] = None) -> None:
        self._p = None
        table = builtin(method) if isinstance(method, str) else asks(method) if isinstance(method, Model) else method
        self._bound = bound = bind(context, "forecaster", table)
        keep: list[Any] = []
        opts = options("spr_forecaster_opts", keep, step_ns=step_ns, horizon=horizon, config=bound.config)
        if levels is not None:
            opts.levels, opts.level_count = doubles(levels, keep), len(levels)
        p = context._call("spr_forecaster **", lib.spr_forecaster_create, context._ptr, bound.ops, opts)
        super().__init__(context, p)

    def fit(self, history: Any, first_step: int = 0, budget: int = 0, *, censored: Any = None) -> bool:
        """Learn from [series][time] numbers. False: the budget is used up, call again with the same panel."""
        keep: list[Any] = []
        code = lib.spr_forecaster_fit(self._ptr, panel(history, censored, keep), first_step, budget)
        return self.context._check(code) != int(lib.SPR_AGAIN)

    def update(self, steps: Any, *, censored: Any = None) -> None:
        """Take new steps of all series, oldest first."""
        keep: list[Any] = []
        self.context._check(lib.spr_forecaster_update(self._ptr, panel(steps, censored, keep)))

    def predict(self, now: Optional[Union[Floats, Sequence[float]]] = None) -> Forecast:
        """Quantiles of the next steps; `now` is what each series shows at this moment (NaN = unknown)."""
        keep: list[Any] = []
        p = doubles(now, keep) if now is not None else ffi.NULL
        return Forecast(self.context, self.context._call("spr_forecast **", lib.spr_forecaster_predict, self._ptr, p))
