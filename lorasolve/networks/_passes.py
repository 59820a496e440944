"""Passes over the batches of a data set that show how far they are."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import TypeVar

from .._support.progress import Progress
from .._support.validate import as_flag

T = TypeVar("T")


def in_turn(each: Iterable[T], batches: Iterable[object], label: str, progress: bool) -> Iterator[T]:
    """Yield what there is one of for each batch, and show of which."""
    display = Progress(label, as_flag(progress, "progress"))
    expected = operator.length_hint(batches)
    try:
        for k, one in enumerate(each, start=1):
            yield one
            display.show(k / max(expected, k), f"batch {k} of {expected}" if expected else f"batch {k}")
    finally:
        display.close()
