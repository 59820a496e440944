"""Passes over the batches of a data set: which of them are tried, and how far they are."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

from .._support.progress import Progress
from .._support.validate import as_flag

T = TypeVar("T")

# Batches of which all are tried; of n there are about TRIED (1 + log(n / TRIED)).
TRIED = 32


def with_trials(batches: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Yield the batches, and whether each is to be tried: the k-th with probability ``TRIED / k``, all of the first."""
    rng = np.random.default_rng()  # verdicts rest on it
    for k, batch in enumerate(batches, start=1):
        yield batch, bool(rng.random() * k < TRIED)


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
