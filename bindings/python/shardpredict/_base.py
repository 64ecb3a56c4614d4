# SPDX-License-Identifier: MIT OR Apache-2.0
"""What every module uses: errors, handles, and C structs as dataclasses of the same field names."""
from __future__ import annotations

import atexit
import dataclasses
import enum
import functools
import time
import typing
import weakref
from typing import Any, Callable, ClassVar, NamedTuple, Optional

from ._core import ffi, lib
from ._enums import ErrorCode

if typing.TYPE_CHECKING:
    from .context import Context

NONE = -1
"""Really none, in an option whose zero means the default."""


# ---- errors ----

class Error(Exception):
    """A call failed. Raised by a callback of yours it is that slot's answer and nothing else; see doc/bindings.md."""

    def __init__(self, code: int, text: str = "", *, file: Optional[str] = None, line: int = 0, column: int = 0,
                 series: Optional[str] = None, host: Optional[str] = None) -> None:
        super().__init__(text or c_text(lib.spr_error_text(code)))
        self.code = ErrorCode(code)
        self.file, self.line, self.column, self.series, self.host = file, line, column, series, host

    def __str__(self) -> str:
        place = ":".join(str(p) for p in (self.file, self.line, self.column) if p)
        return "%s%s" % (place + ": " if place else "", self.args[0])


class ArgumentError(Error, ValueError):
    """E_ARG"""


class NotFoundError(Error, LookupError):
    """E_NOT_FOUND"""


class NoMemoryError(Error, MemoryError):
    """E_NOMEM"""


_kinds = {ErrorCode.E_ARG: ArgumentError, ErrorCode.E_NOT_FOUND: NotFoundError, ErrorCode.E_NOMEM: NoMemoryError}


def error(code: int, text: str = "", **place: Any) -> Error:
    """The exception of a code."""
    return _kinds.get(ErrorCode(code), Error)(code, text, **place)


# ---- texts, amounts, time ----

def c_text(p: Any) -> str:
    return ffi.string(p).decode("utf-8", "replace") if p else ""


class Amounts(NamedTuple):
    """Amounts of the resources in their units; the standard ones by name, countable ones behind them."""

    cpu: float = 0.0
    memory: float = 0.0
    net_rx: float = 0.0
    net_tx: float = 0.0
    disk_read: float = 0.0
    disk_write: float = 0.0
    countable0: float = 0.0
    countable1: float = 0.0
    countable2: float = 0.0
    countable3: float = 0.0
    countable4: float = 0.0
    countable5: float = 0.0


class Time(NamedTuple):
    """A point in time as the host program sees it: calendars use wall time, deadlines monotonic time."""

    wall_ns: int
    mono_ns: int

    @classmethod
    def now(cls) -> Time:
        """This machine's clocks. The library itself reads none."""
        return cls(time.time_ns(), time.monotonic_ns())

    def after(self, seconds: float) -> Time:
        ns = round(seconds * 1e9)
        return Time(self.wall_ns + ns, self.mono_ns + ns)


def c_time(t: Time) -> Any:
    p = ffi.new("struct spr_time *")
    p.wall_ns, p.mono_ns = t
    return p[0]


# ---- structs ----

STRUCTS: dict[str, type] = {}
"""C struct -> dataclass, all of them; a test compares the fields."""


def struct(name: str) -> Callable[[type], type]:
    """A dataclass that mirrors `struct name`: the same field names, `size` and `reserved` left out."""

    def known(cls: type) -> type:
        STRUCTS[name] = cls
        cls._c_name = name  # type: ignore[attr-defined]
        return cls

    return known


@functools.lru_cache(maxsize=None)
def _plan(cls: type) -> list[tuple[str, Callable[[Any], Any]]]:
    """How each field of a dataclass is read."""
    hints = typing.get_type_hints(cls)
    fields = dict(ffi.typeof("struct " + cls._c_name).fields)  # type: ignore[attr-defined]
    return [(f.name, _reader(fields[c_field(f.name)].type, hints[f.name])) for f in dataclasses.fields(cls)]


def c_field(name: str) -> str:
    """`from` is a word of Python: such a field has a line below it here."""
    return name.rstrip("_")


def _reader(ctype: Any, hint: Any) -> Callable[[Any], Any]:
    name = ctype.cname
    if name == "char *":
        return lambda v: c_text(v) if v else None
    if name == "struct spr_amounts":
        return lambda v: Amounts(*v.of)
    if name == "struct spr_time":
        return lambda v: Time(v.wall_ns, v.mono_ns)
    if ctype.kind == "array" and ctype.item.kind == "primitive":
        return tuple
    if ctype.kind == "array" or ctype.kind == "struct":
        item = typing.get_args(hint)[0] if ctype.kind == "array" else hint
        return (lambda v: tuple(read(item, e) for e in v)) if ctype.kind == "array" else (lambda v: read(item, v))
    if isinstance(hint, type) and issubclass(hint, enum.IntEnum):
        return lambda v: hint(v) if v in hint._value2member_map_ else v
    return lambda v: v


def read(cls: Any, c: Any) -> Any:
    """The dataclass of a C struct; all values are copied."""
    return cls(**{name: convert(getattr(c, c_field(name))) for name, convert in _plan(cls)})


def blank(name: str) -> Any:
    """A zero-filled struct with its size set: all defaults, or room for an answer."""
    c = ffi.new("struct %s *" % name)
    if hasattr(c, "size"):
        c.size = ffi.sizeof("struct " + name)
    return c


def fill(c: Any, values: dict[str, Any], keep: list[Any]) -> Any:
    """Set fields of a struct; None is the default. What C only points to goes to `keep`."""
    for name, value in values.items():
        name = c_field(name)
        if value is None:
            continue
        if isinstance(value, str):
            value = ffi.new("char[]", value.encode())
            keep.append(value)
        if isinstance(value, Amounts):
            getattr(c, name).of = value
        elif isinstance(value, Time):
            setattr(c, name, c_time(value))
        elif dataclasses.is_dataclass(value):
            write_into(value, getattr(c, name), keep)
        elif isinstance(value, (tuple, list)) and value and dataclasses.is_dataclass(value[0]):
            for e, to in zip(value, getattr(c, name)):
                write_into(e, to, keep)
        else:
            setattr(c, name, value)
    return c


def write_into(value: Any, c: Any, keep: list[Any]) -> None:
    if hasattr(c, "size"):
        c.size = ffi.sizeof("struct " + value._c_name)
    fill(c, {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, keep)


def write(value: Any, keep: list[Any]) -> Any:
    """The C struct of a dataclass."""
    c = ffi.new("struct %s *" % value._c_name)
    write_into(value, c, keep)
    return c


def options(name: str, keep: list[Any], **values: Any) -> Any:
    """An options struct from keywords."""
    return fill(blank(name), values, keep)


# ---- handles ----

_makers: "weakref.WeakSet[Maker]" = weakref.WeakSet()


class Handle:
    """Something of the library that this object owns one reference of. Closes at close(), at the end of `with`, or when collected."""

    __slots__ = ("_p", "context", "__weakref__")
    _end: ClassVar[Any]

    def __init__(self, context: Context, p: Any) -> None:
        self._p = p
        self.context = context

    @property
    def _ptr(self) -> Any:
        if self._p is None:
            raise ValueError("%s is closed" % type(self).__name__)
        return self._p

    @property
    def closed(self) -> bool:
        return self._p is None

    def close(self) -> None:
        p, self._p = self._p, None
        if p is not None:
            type(self)._end(p)
            self.context._check(0)

    def __enter__(self) -> Any:
        self._ptr
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_p", None) is not None:
            self.close()


class Maker(Handle):
    """A handle with one owner."""

    __slots__ = ()

    def __init__(self, context: Context, p: Any) -> None:
        super().__init__(context, p)
        _makers.add(self)


class Product(Handle):
    """An immutable, reference counted product. Any thread may read it."""

    __slots__ = ()
    _ref: ClassVar[Any]

    @classmethod
    def _borrowed(cls, context: Context, p: Any) -> Any:
        """A handle with a reference of its own."""
        return cls(context, cls._ref(p))


@atexit.register
def _close_makers() -> None:
    """Backends written in Python are closed while Python can still run them."""
    for m in list(_makers):
        m.close()
