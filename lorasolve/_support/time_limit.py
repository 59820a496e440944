"""The time limit of a run, for what asks a loss beside the loop: sampling a curvature takes tens of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PASSED: ContextVar[Callable[[], bool] | None] = ContextVar("passed", default=None)


@contextmanager
def limited_by(passed: Callable[[], bool] | None) -> Iterator[None]:
    """Have ``passed`` say in the block whether the time is over; None lifts the limit of the run around it."""
    token = _PASSED.set(passed)
    try:
        yield
    finally:
        _PASSED.reset(token)


def is_over() -> bool:
    """Return whether the time of the run in progress is over, if there is one with a limit."""
    passed = _PASSED.get()
    return passed is not None and passed()
