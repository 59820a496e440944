"""Ctrl-C and SIGTERM where they do no harm: not while a module is imported, a kernel compiled or files put in place.

A module whose import is broken off stays half made for the rest of the process, and llvmlite frees a second time what
it was just freeing. A solver that keeps its best point at Ctrl-C goes on in that process.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

_Handler = Callable[[int, types.FrameType | None], Any]
# Long enough to get on with what must not be interrupted, too short to be noticed.
_LATER = 0.02
_BOTH = (signal.SIGINT, signal.SIGTERM)
_PART = ContextVar("part", default=False)
# Set once SIGTERM has asked this process to end, whoever handled it.
TERMINATED = threading.Event()
# Set where what runs this process ends it by an exception, which is not that of the code it is raised in.
ENDING = threading.Event()


def ask_again(number: int) -> None:
    """Have the handler of a signal called once more, a moment later."""

    def ask() -> None:
        time.sleep(_LATER)
        _thread.interrupt_main(signal.Signals(number))

    # Not a threading.Thread, whose locks the interrupted code may hold.
    _thread.start_new_thread(ask, ())


def patient(handler: _Handler, outside: int = 0) -> _Handler:
    """Return a handler that asks again until no module is being imported and no kernel compiled.

    The outermost ``outside`` frames do not count: the program itself may run while it is imported.
    """

    def handle(number: int, frame: types.FrameType | None) -> None:
        if any(map(_is_inopportune, list(_frames(frame))[::-1][outside:])):
            ask_again(number)
        else:
            handler(number, frame)

    return handle


def _frames(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _around_block() -> int:
    """Return how many frames there are around the block of the context manager that asks."""
    return sum(1 for _ in _frames(sys._getframe(3)))  # after this one, the manager's and contextlib's


def _is_inopportune(frame: types.FrameType) -> bool:
    module = str(frame.f_globals.get("__name__"))
    return (
        frame.f_code.co_filename.startswith("<frozen importlib")
        or module.startswith("llvmlite.")
        or (module == "numba.core.dispatcher" and frame.f_code.co_qualname == "Dispatcher.compile")
    )


@contextlib.contextmanager
def handled(handlers: Mapping[signal.Signals, _Handler]) -> Iterator[None]:
    """Handle signals in a way of the block's own, in the main thread; only there does Python handle any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A handler that Python has not set is None, and could not be set again.
    before = {number: handler for number in handlers if (handler := signal.getsignal(number)) is not None}
    try:
        for number in before:
            signal.signal(number, handlers[number])
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Let Ctrl-C wait while the block imports or compiles, where it would raise KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    with handled({signal.SIGINT: patient(signal.default_int_handler, _around_block())}):
        yield


@contextlib.contextmanager
def not_for_children(*numbers: signal.Signals) -> Iterator[None]:
    """Let processes that are started in the block, or by threads that are, never get some signals.

    A terminal sends Ctrl-C to all of them, and before a process has said what to do with it, it ends. The caller gets
    what comes in the meantime at the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # Python starts it with the first process, and what is blocked is lifted by that.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def as_part() -> Iterator[None]:
    """Let what runs in the block leave signals to what it is part of, which keeps it whole or not at all."""
    before = _PART.set(True)
    try:
        yield
    finally:
        _PART.reset(before)


def is_part() -> bool:
    """Return whether signals are the affair of what the caller is part of (see :func:`as_part`)."""
    return _PART.get()


class _Interrupted(BaseException):
    """Ctrl-C, where a single run of many is not to be kept."""


@contextlib.contextmanager
def interruptions_end_all() -> Iterator[None]:
    """Let Ctrl-C pass through solvers, which would keep what they have and let the next run begin."""
    if is_part():
        yield
        return

    def interrupt(number: int, frame: types.FrameType | None) -> NoReturn:
        raise _Interrupted

    try:
        with handled({signal.SIGINT: patient(interrupt, _around_block())}), as_part():
            yield
    except _Interrupted:
        raise KeyboardInterrupt from None


@contextlib.contextmanager
def undisturbed(*numbers: signal.Signals) -> Iterator[None]:
    """Let signals, by default Ctrl-C and SIGTERM, wait until the block has ended."""
    waiting: list[int] = []
    try:
        with handled({number: lambda number, frame: waiting.append(number) for number in numbers or _BOTH}):
            yield
    finally:
        for number in waiting:
            signal.raise_signal(number)
