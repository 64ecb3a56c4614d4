# SPDX-License-Identifier: MIT OR Apache-2.0
"""Models trained once across a fleet, and asked for any of its series, also one never seen."""
from __future__ import annotations

import dataclasses
import os
from typing import Any, Optional, Sequence, Union

import numpy as np

from ._arrays import Floats, doubles, panel
from ._base import NONE, Maker, Product, blank, c_text, fill, options, read, struct
from ._core import ffi, lib
from ._enums import ModelEvents, ModelKind
from .context import Context
from .events import Calendar
from .ops import Table

Path = Union[str, "os.PathLike[str]"]


@struct("spr_model_info")
@dataclasses.dataclass(slots=True)
class ModelInfo:
    """What a model is; losses are of the held-out tail, each series in units of its own scale."""

    kind: ModelKind
    horizon: int
    level_count: int
    members: int
    levels: tuple[float, ...]
    step_ns: int
    context: int
    weights: int
    loss: float
    naive_loss: float
    coverage95: float
    text: str
    newest_step: int
    events: ModelEvents


class Model(Product):
    """What was learnt. Give it to a Forecaster."""

    __slots__ = ()
    _ref, _end = lib.spr_model_ref, lib.spr_model_unref

    @classmethod
    def open(cls, context: Context, image: bytes, name: str = "model") -> Model:
        """From the bytes of a model file, which are copied; `name` is what errors call it."""
        return cls(context, context._call("spr_model **", lib.spr_model_open, context._ptr, name.encode(),
                                          ffi.from_buffer(image), len(image), 1))

    @classmethod
    def load(cls, context: Context, path: Path) -> Model:
        """From a file (libshardpredict-io)."""
        from . import io

        return io.load_model(context, path)

    @classmethod
    def train(cls, context: Context, values: Any, first_step: int = 0, *, until: Optional[Sequence[int]] = None,
              resource: Optional[Sequence[int]] = None, signed: bool = False, censored: Any = None, **opts: Any) -> Model:
        """One panel, one call; `opts` are those of Trainer."""
        with Trainer(context, **opts) as t:
            t.add(values, first_step, until=until, resource=resource, signed=signed, censored=censored)
            t.run()
            return t.finish()

    def save(self, path: Path) -> None:
        """To a file that appears whole or not at all (libshardpredict-io)."""
        from . import io

        io.save_model(self, path)

    def __bytes__(self) -> bytes:
        n = ffi.new("size_t *")
        p = lib.spr_model_bytes(self._ptr, n)
        return bytes(ffi.buffer(p, n[0]))

    @property
    def info(self) -> ModelInfo:
        c = blank("spr_model_info")
        self.context._check(lib.spr_model_describe(self._ptr, c))
        info: ModelInfo = read(ModelInfo, c)
        info.levels = tuple(c.levels[i] for i in range(c.level_count))
        return info


def _per_series(ctype: str, values: Optional[Sequence[int]], rows: int, what: str, keep: list[Any]) -> Any:
    if values is None:
        return ffi.NULL
    if len(values) != rows:
        raise ValueError("%s: %d series, %d values" % (what, rows, len(values)))
    array = ffi.new(ctype, [int(v) for v in values])
    keep.append(array)
    return array


def asks(model: Model, *, resource: Optional[Sequence[int]] = None, kind: ModelKind = ModelKind.AUTO, signed: bool = False,
         carry: bool = False, calendar: Optional[Calendar] = None, calendar_origin_ns: int = 0) -> Table:
    """The method that asks a model; `resource` has one Resource (or -1) for each series of the panels it will be fitted on.

    `carry`: the states of LSTM members go on with each new sample instead of being read anew from the window. `calendar`: for a
    model whose nets look at events (`ModelInfo.events`); step 0 of the panels' grid begins at `calendar_origin_ns`."""
    keep: list[Any] = [model]
    c = blank("spr_model_opts")
    c.model = model._ptr
    c.resource = _per_series("int32_t[]", resource, len(resource) if resource is not None else 0, "resource", keep)
    c.kind = int(kind)
    c.signed_values = NONE if signed else 0
    c.carry = int(carry)
    c.calendar_origin_ns = calendar_origin_ns
    if calendar is not None:
        c.calendar = calendar._ptr
        keep.append(calendar)
    keep.append(c)
    return Table(lib.spr_forecaster_model(), c, keep)


class Trainer(Maker):
    """Learns a model; give it series, run it, finish it. `look_back` is the field `context` of C: steps that the model sees."""

    __slots__ = ()
    _end = lib.spr_trainer_destroy

    def __init__(self, context: Context, *, step_ns: int = 0, horizon: int = 0, kind: ModelKind = ModelKind.AUTO,
                 levels: Optional[Sequence[float]] = None, members: int = 0, look_back: int = 0, effort: float = 0,
                 start: Optional[Model] = None, early_stop: bool = True, events: ModelEvents = ModelEvents.AUTO) -> None:
        self._p = None
        keep: list[Any] = []
        opts = options("spr_trainer_opts", keep, step_ns=step_ns, horizon=horizon, kind=int(kind), members=members, effort=effort,
                       events=int(events))
        opts.early_stop = 0 if early_stop else NONE
        opts.context = look_back
        if start is not None:
            opts.start = start._ptr
            keep.append(start)
        if levels is not None:
            opts.levels, opts.level_count = doubles(levels, keep), len(levels)
        super().__init__(context, context._call("spr_trainer **", lib.spr_trainer_create, context._ptr, opts))

    def add(self, values: Any, first_step: int = 0, *, until: Optional[Sequence[int]] = None, resource: Optional[Sequence[int]] = None,
            signed: bool = False, censored: Any = None, calendar: Optional[Calendar] = None, calendar_origin_ns: int = 0) -> None:
        """Take [series][time] numbers in; `first_step` counts from 1970, `until` is the first column of each series not to be used.

        `calendar`: the events that they live through; `events` of the trainer says what becomes of them."""
        keep: list[Any] = []
        p = panel(values, censored, keep)
        o = fill(blank("spr_training_opts"), {"first_step": first_step, "signed_values": NONE if signed else 0,
                                               "calendar_origin_ns": calendar_origin_ns}, keep)
        if calendar is not None:
            o.calendar = calendar._ptr
        o.until = _per_series("int64_t[]", until, p.series, "until", keep)
        o.resource = _per_series("int32_t[]", resource, p.series, "resource", keep)
        self.context._check(lib.spr_trainer_add(self._ptr, p, o))

    def run(self, budget: int = 0) -> bool:
        """Train. False: as many minibatches as `budget` are done, call again."""
        return self.context._check(lib.spr_trainer_run(self._ptr, budget)) != int(lib.SPR_AGAIN)

    @property
    def progress(self) -> tuple[float, str]:
        """Share done, and what runs."""
        text = ffi.new("char **")
        share = float(lib.spr_trainer_progress(self._ptr, text))
        return share, c_text(text[0])

    @property
    def losses(self) -> Floats:
        """Of the minibatches so far, a copy."""
        p = ffi.new("double **")
        n = lib.spr_trainer_losses(self._ptr, p)
        return np.array([p[0][i] for i in range(n)], np.float64)

    @property
    def stopped(self) -> Optional[int]:
        """The minibatch to which the held-out tail sent the first net back, or None."""
        at = int(lib.spr_trainer_stopped(self._ptr, ffi.NULL))
        return None if at == NONE else at

    def finish(self) -> Model:
        """The model, once run said True."""
        return Model(self.context, self.context._call("spr_model **", lib.spr_trainer_finish, self._ptr))


__all__ = ["Model", "ModelEvents", "ModelInfo", "ModelKind", "Trainer", "asks"]
