"""The one ``njit`` of the project: kept on disk under a key made of all kernel sources, compile time counted.

Numba's own cache does not notice an edit in another file that a kernel calls into; a folder named by a digest of
every kernel source and of the compiler's versions makes a stale kernel impossible (``cache.py``).

GNU OpenMP ends a forked child that enters its threads after the parent did. Such a child compiles its kernels for one
thread, whatever it was told before, and says so; the blocks of a loop are the same, and so are its results.
"""

from __future__ import annotations

import functools
import gc
import os
import signal
import time
import weakref
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event, types

from .._support.interruptions import undisturbed
from ._symbols import give_symbol
from .cache import KernelCache, cache_directory, say_once

_FOLDER = cache_directory()
if _FOLDER is None:
    say_once(
        "unknown",
        "there is no home folder for the kernel cache: kernels are compiled again in every process; "
        "LORASOLVE_CACHE_DIR names a folder",
    )

# Reordering of sums and fused multiply-add, which vectorised sums need; NaN and infinity keep their meaning.
FAST = {"reassoc", "contract", "nsz", "arcp"}


class _CompileClock(event.Listener):
    """Adds up the time spent in compilation, nested compilations counted once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0
        self._since = 0.0

    def on_start(self, event: Any) -> None:
        if self._depth == 0:
            self._since = time.perf_counter()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._since


_CLOCK = _CompileClock()
event.register("numba:compile", _CLOCK)

_kernels: weakref.WeakSet[Any] = weakref.WeakSet()


def compile_seconds() -> float:
    """Return the seconds this process has spent compiling kernels so far (loading from the cache excluded)."""
    return _CLOCK.seconds


def kernel(
    inner: bool = False, symbol: bool = False, allocates: bool = False, **options: Any
) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function lazily with ``numba.njit``, cached in the project's own folder.

    Every caller of a kernel optimises it again, unless it has a symbol (``_symbols.py``), as passes over the data
    have. Glue without loops is inlined (``inline="always"``), to keep the chain of callers short.

    Parameters
    ----------
    inner
        Whether only kernels call it, so that nothing is compiled for calls from Python.
    symbol
        Whether kernels call it by a symbol.
    allocates
        Whether it makes arrays. Only then does it count references to arrays, with an atomic instruction for each that
        is taken out of a tuple. Others need not, since their caller holds the arguments as long as they run; counting
        took a fifth of a descent at 10 x 10, and a twentieth of compilation. They return no array either.
    **options
        Passed to ``numba.njit`` (``parallel=True``, ``fastmath=FAST``).
    """

    def decorate(function: Callable[..., Any]) -> Any:
        # No kernel is handed to C code as a function.
        options.update(no_cpython_wrapper=inner, no_cfunc_wrapper=True, _nrt=allocates)
        dispatcher = numba.njit(error_model="numpy", **options)(function)
        # One after the other may be compiled for minutes: Ctrl-C comes between two of them.
        dispatcher.compile = undisturbed(signal.SIGINT)(_without_collection(dispatcher.compile))
        dispatcher.get_call_template = _without_literals(dispatcher.get_call_template)
        dispatcher._cache = KernelCache(function, _FOLDER)
        if inner:
            _close(dispatcher)
        if symbol:
            give_symbol(dispatcher)
        _kernels.add(dispatcher)
        return dispatcher

    return decorate


def _without_collection(compile: Callable[..., Any]) -> Callable[..., Any]:
    """Let garbage wait while a kernel is compiled: going through all that is made takes a tenth of the time."""

    @functools.wraps(compile)
    def compile_at_once(*arguments: Any) -> Any:
        if not gc.isenabled():
            return compile(*arguments)
        gc.disable()
        try:
            return compile(*arguments)
        finally:
            gc.enable()

    return compile_at_once


def _close(dispatcher: Any) -> None:
    """Refuse calls from Python, for which nothing is compiled."""
    name = dispatcher.py_func.__qualname__

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise TypeError(f"{name} is called by other kernels only")

    def keep(result: Any) -> None:
        dispatcher.overloads[tuple(result.signature.args)] = result

    dispatcher._compile_for_args, dispatcher.add_overload = refuse, keep


def _without_literals(resolve: Callable[..., Any]) -> Callable[..., Any]:
    """Let a call from another kernel forget the values of constants: Numba compiles with and then without them."""

    def resolve_types(args: Any, kws: dict[str, Any]) -> Any:
        return resolve(tuple(map(types.unliteral, args)), {name: types.unliteral(kws[name]) for name in kws})

    return resolve_types


class _ForkedCache(KernelCache):
    """The files of kernels for one thread, in a child whose parent had several."""

    variant = "forked"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the kept kernel for a signature, or None."""
        say_once(
            "forked",
            "this process was forked from one that had used threads, so its kernels are made for one thread; to have "
            "several, start processes by 'spawn' or 'forkserver'",
        )
        return super().load_overload(sig, target_context)


def _after_fork() -> None:
    """Forget, in a child whose parent has used OpenMP's threads, all kernels that may enter them."""
    if not _has_openmp():
        return
    for dispatcher in _kernels:
        dispatcher._make_finalizer()()
        dispatcher._reset_overloads()
        dispatcher.targetoptions["parallel"] = False
        dispatcher._cache = _ForkedCache(dispatcher.py_func, _FOLDER)


def _has_openmp() -> bool:
    try:
        return numba.threading_layer() == "omp"
    except ValueError:  # no threads yet
        return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
