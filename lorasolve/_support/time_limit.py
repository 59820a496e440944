"""The time limit of what is in progress, for what asks a loss many times: sampling a curvature takes tens of values."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# In seconds of time.perf_counter.
_END: ContextVar[float] = ContextVar("end", default=math.inf)


@contextmanager
def limited_to(end: float) -> Iterator[None]:
    """Have the time in the block be over at ``end``, of ``time.perf_counter``; infinity lifts the limit around it."""
    token = _END.set(end)
    try:
        yield
    finally:
        _END.reset(token)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Limit the block to so many seconds, and to what is left of the limit around it."""
    end = math.inf if seconds is None else time.perf_counter() + seconds
    with limited_to(min(end, _END.get())):
        yield


def seconds_left() -> float:
    """Return the time that is left of what is in progress, infinity where it has no limit."""
    return max(_END.get() - time.perf_counter(), 0.0)


def is_over() -> bool:
    """Return whether the time of what is in progress is over, if it has a limit."""
    return seconds_left() == 0.0
