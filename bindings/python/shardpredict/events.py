# SPDX-License-Identifier: MIT OR Apache-2.0
"""Events: a calendar of what is known to come."""
from __future__ import annotations

import os
from typing import Union

from ._base import Product, c_text
from ._core import lib
from .context import Context

Path = Union[str, "os.PathLike[str]"]


class Calendar(Product):
    """Events and when they occur. Give it to a Trainer, a Controller or a replay."""

    __slots__ = ()
    _ref, _end = lib.spr_calendar_ref, lib.spr_calendar_unref

    @classmethod
    def read(cls, context: Context, path: Path) -> Calendar:
        """From an iCalendar file (libshardpredict-io)."""
        from . import io

        return io.read_calendar(context, path)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds of events, in order of first appearance."""
        return tuple(c_text(lib.spr_calendar_kind(self._ptr, i)) for i in range(lib.spr_calendar_kind_count(self._ptr)))
