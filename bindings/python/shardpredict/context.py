# SPDX-License-Identifier: MIT OR Apache-2.0
"""Seed, logger and threads of a piece of work, and the errors of its calls."""
from __future__ import annotations

import concurrent.futures
import dataclasses
from typing import Any, Callable, Optional

from ._base import Error, Handle, blank, c_text, error, options, read, struct
from ._core import ffi, lib
from ._enums import ErrorCode, LogLevel, Simd


@struct("spr_log_record")
@dataclasses.dataclass(slots=True)
class LogRecord:
    """One line of the library's talk."""

    level: LogLevel
    code: int
    stage: Optional[str]
    subject: Optional[str]
    text: Optional[str]


class Context(Handle):
    """Everything the library would otherwise keep in globals.

    `logger` is called with a LogRecord. `threads` above 1 spreads rows over a pool; results do not depend on it.
    A context and what is made from it belong to one thread at a time.
    """

    __slots__ = ("_hooks", "_keepalive", "_kept")
    _end = lib.spr_context_unref

    def __init__(self, *, seed: int = 0, logger: Optional[Callable[[LogRecord], object]] = None,
                 level: LogLevel = LogLevel.NOTE, threads: int = 1, simd: Simd = Simd.AUTO) -> None:
        self._p = None
        self._kept: list[BaseException] = []
        # The hooks must outlive the C context; every product holds this object, so they do.
        self._hooks = hooks = _Hooks(logger, threads, self._kept)
        me = ffi.new_handle(hooks)
        log = run = None
        if logger:
            log = blank("spr_logger")
            log.log, log.level, log.user = lib.spr_py_logger_log, level, me
        if hooks.pool:
            run = blank("spr_executor")
            run.parallel_for, run.width, run.user = lib.spr_py_executor_parallel_for, threads, me
        self._keepalive = (me, log, run)
        out = ffi.new("spr_context **")
        code = lib.spr_context_create(options("spr_context_opts", [], seed=seed, simd=simd, logger=log, executor=run), out)
        if code < 0:
            raise error(code)
        self._p = out[0]

    @property
    def seed(self) -> int:
        return int(lib.spr_context_seed(self._ptr))

    @property
    def simd(self) -> Simd:
        return Simd(lib.spr_context_simd(self._ptr))

    def close(self) -> None:
        p, self._p = self._p, None
        if p is not None:
            lib.spr_context_unref(p)

    def _call(self, out: str, function: Any, *args: Any) -> Any:
        """Call a function whose last argument is an output of this type."""
        p = ffi.new(out)
        self._check(function(*args, p))
        return p[0]

    def _check(self, code: int) -> int:
        """After every call: an exception of a callback wins over the code that it became."""
        if self._kept:
            kept = self._kept[:]
            self._kept.clear()
            for other in kept[1:]:
                kept[0].add_note("then %s: %s" % (type(other).__name__, other))
            raise kept[0]
        if code < 0:
            raise self._error(code)
        return code

    def _error(self, code: int) -> Error:
        e = blank("spr_error")
        if self._p is None or lib.spr_context_error(self._p, e) < 0 or e.code != code:
            return error(code)
        return error(code, c_text(e.text), file=c_text(e.file) or None, line=e.line, column=e.column,
                     series=c_text(e.series) or None, host=c_text(e.host) or None)

    def _keep(self, exc: BaseException, where: str) -> int:
        """A callback's exception, on its way to the call that is running; the code it becomes for C."""
        if isinstance(exc, Error):
            code = int(exc.code) if exc.code < 0 else int(ErrorCode.E_CALLBACK)
        else:
            self._kept.append(exc)
            code = int(ErrorCode.E_CALLBACK)
        if self._p is not None:
            text = ffi.new("char[]", ("%s: %s: %s" % (where, type(exc).__name__, exc)).encode("utf-8", "replace"))
            lib.spr_context_fail(self._p, options("spr_error", [], code=code, text=text))
        return code


class _Hooks:
    """What the C context calls."""

    __slots__ = ("logger", "pool", "kept")

    def __init__(self, logger: Any, threads: int, kept: list[BaseException]) -> None:
        self.logger = logger
        self.kept = kept
        self.pool = concurrent.futures.ThreadPoolExecutor(threads, "shardpredict") if threads > 1 else None


@ffi.def_extern(name="spr_py_logger_log")
def _log(user: Any, record: Any) -> None:
    hooks = ffi.from_handle(user)
    try:
        hooks.logger(read(LogRecord, record))
    except BaseException as exc:
        hooks.kept.append(exc)  # any thread may log; the error record belongs to the call


@ffi.def_extern(name="spr_py_executor_parallel_for")
def _parallel_for(user: Any, n: int, fn: Any, arg: Any) -> None:
    hooks = ffi.from_handle(user)
    width = min(hooks.pool._max_workers, n)

    def share(first: int) -> None:
        for i in range(first, n, width):
            fn(arg, i)

    waiting = []
    for first in range(width):
        try:
            waiting.append(hooks.pool.submit(share, first))
        except RuntimeError:  # the interpreter is ending: no new threads
            share(first)
    # A signal's exception waits until all is done: half the rows would be a wrong result.
    while waiting:
        try:
            concurrent.futures.wait(waiting)
            return
        except BaseException as exc:
            hooks.kept.append(exc)
