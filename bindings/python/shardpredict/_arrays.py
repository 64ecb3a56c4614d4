# SPDX-License-Identifier: MIT OR Apache-2.0
"""numpy in without a copy, and out as read-only views that hold a reference on the product."""
from __future__ import annotations

from typing import Any, Optional, Sequence, Union

import numpy as np
import numpy.typing as npt

from ._base import Product, blank
from ._core import ffi, lib

Floats = npt.NDArray[np.floating[Any]]


class _View:
    """What numpy keeps as the base of a view: the memory's shape, and the product it belongs to."""

    __slots__ = ("_hold", "__array_interface__")

    def __init__(self, product: Product, p: Any, shape: Sequence[int], typestr: str,
                 strides: Optional[Sequence[int]] = None) -> None:
        # A reference of its own: closing the product does not pull the memory away under the array.
        self._hold = type(product)._borrowed(product.context, product._ptr)
        self.__array_interface__ = {"version": 3, "shape": tuple(shape), "typestr": typestr, "strides": strides,
                                    "data": (int(ffi.cast("uintptr_t", p)), True)}


def view(product: Product, p: Any, shape: Sequence[int], typestr: str, strides: Optional[Sequence[int]] = None) -> Any:
    """A read-only array over memory of a product."""
    if 0 in shape:
        a = np.empty(shape, typestr)
        a.flags.writeable = False
        return a
    return np.asarray(_View(product, p, shape, typestr, strides))


def doubles(values: Union[Floats, Sequence[float]], keep: list[Any], shape: Optional[tuple[int, ...]] = None) -> Any:
    """A `double *` over the numbers; `shape` is what they must have."""
    a = np.ascontiguousarray(values, np.float64)
    if shape is not None and a.shape != shape:
        raise ValueError("an array of shape %s is needed, not %s" % (shape, a.shape))
    keep.append(a)
    return ffi.from_buffer("double[]", a.reshape(-1), require_writable=False) if a.size else ffi.NULL


def _bitmap(marks: Any, shape: tuple[int, ...], keep: list[Any]) -> tuple[Any, int]:
    marks = np.asarray(marks, bool)
    if marks.shape != shape:
        raise ValueError("marks of shape %s are needed, not %s" % (shape, marks.shape))
    bits = np.packbits(marks, axis=1, bitorder="little")
    keep.append(bits)
    return ffi.from_buffer("uint8_t[]", bits.reshape(-1)), bits.shape[1]


def panel(values: Any, censored: Any, keep: list[Any]) -> Any:
    """A spr_panel over [series][time] numbers, strided or not. NaN and masked values are missing."""
    a = np.ma.getdata(values)  # type: ignore[no-untyped-call]
    a = np.asarray(a, a.dtype if a.dtype in (np.float32, np.float64) else np.float64)
    if a.ndim == 1:
        a = a.reshape(1, -1)
    if a.ndim != 2:
        raise ValueError("a panel is [series][time], not %s" % (a.shape,))
    keep.append(a)
    p = blank("spr_panel")
    # from_buffer refuses what is not contiguous; the address of the first number serves both.
    p.data = ffi.from_buffer(a) if a.flags.c_contiguous else ffi.cast("void *", a.__array_interface__["data"][0])
    p.dtype = lib.SPR_F32 if a.dtype == np.float32 else lib.SPR_F64
    p.series, p.steps = a.shape
    p.series_stride, p.step_stride = a.strides
    mask = np.ma.getmask(values)  # type: ignore[no-untyped-call]
    if mask is not np.ma.nomask:
        p.valid, p.valid_stride = _bitmap(~mask.reshape(a.shape), a.shape, keep)
    if censored is not None:
        p.censored, p.censored_stride = _bitmap(np.reshape(censored, a.shape), a.shape, keep)
    return p


def _bits(p: Any, stride: int, series: int, steps: int) -> npt.NDArray[np.bool_]:
    rows = np.frombuffer(ffi.buffer(p, stride * (series - 1) + (steps + 7) // 8), np.uint8)
    rows = np.lib.stride_tricks.as_strided(rows, (series, (steps + 7) // 8), (stride, 1))
    return np.unpackbits(rows, axis=1, bitorder="little", count=steps).astype(bool)


def copy_of(p: Any) -> tuple[npt.NDArray[np.float64], Optional[npt.NDArray[np.bool_]]]:
    """Values (NaN = missing) and censored marks of a panel that C lends for the length of a call."""
    shape = (int(p.series), int(p.steps))
    if 0 in shape:
        return np.empty(shape), None
    memory = {"version": 3, "shape": shape, "strides": (int(p.series_stride), int(p.step_stride)),
              "typestr": "<f8" if p.dtype == lib.SPR_F64 else "<f4", "data": (int(ffi.cast("uintptr_t", p.data)), True)}
    lent = type("_Lent", (), {"__array_interface__": memory})()
    values = np.array(lent, np.float64)
    if p.valid:
        values[~_bits(p.valid, p.valid_stride, *shape)] = np.nan
    return values, _bits(p.censored, p.censored_stride, *shape) if p.censored else None


def fill_doubles(p: Any, values: Any, shape: tuple[int, ...]) -> None:
    """Copy numbers into memory that C lends for the length of a call."""
    a = np.asarray(values, np.float64)
    if a.shape != shape:
        raise ValueError("numbers of shape %s are needed, not %s" % (shape, a.shape))
    if a.size:
        np.frombuffer(ffi.buffer(p, a.size * 8), np.float64)[:] = a.reshape(-1)
