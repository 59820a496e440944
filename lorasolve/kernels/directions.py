"""Products of changes that repeat earlier ones, without the data.

A run of small steps changes its factors along a curve: up to a few millionths of its length, a change lies in the span
of a few earlier ones, and what is linear in it is then the same combination of their products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .jit import FAST, kernel
from .simd import aligned

# With three, twice as many products are left on 768 x 768; six are read for longer than that saves.
KEPT = 4
# What is left of a change that need not be multiplied, relative to it: it is part of the next change, so that what is
# left out does not add up. Points of 768 x 768 are as near to those of exact products at 1e-6 as at 1e-5.
NEGLIGIBLE = 3e-6


class Directions(NamedTuple):
    """Earlier changes of a factor (4, its size) in float32, each less what lay along those before it.

    With their squared lengths, 0 for those that are not there, and the shares that the present change has of them.
    """

    changes: Any
    squares: Any
    shares: Any


def directions(size: int) -> Directions:
    """Return room for the changes of a factor of so many numbers."""
    return Directions(room(size), np.zeros(KEPT), np.zeros(KEPT, np.float32))


def room(size: int) -> Any:
    """Return room for the directions or the products of so many numbers, zeros (4, size)."""
    numbers = aligned(KEPT * size, np.float32).reshape(KEPT, size)
    numbers[:] = 0
    return numbers


@kernel(inner=True, symbol=True, fastmath=FAST)
def _inner(x, y):
    total = 0.0
    for k in range(x.size):
        total += np.float64(x[k]) * np.float64(y[k])
    return total


@kernel(inner=True, symbol=True, fastmath=FAST)
def _subtract(share, direction, change):
    """Subtract a share of a direction from a change; return the square of the rest."""
    total = 0.0
    for k in range(change.size):
        rest = change[k] - share * direction[k]
        change[k] = rest
        total += np.float64(rest) * np.float64(rest)
    return total


@kernel(inner=True, symbol=True)
def reduce(directions, change):
    """Subtract from a change what lies along the directions; return whether the rest need not be multiplied."""
    changes, squares, shares = directions
    whole = rest = _inner(change, change)
    shares[:] = 0
    for i in range(KEPT):
        if squares[i] > 0 and rest > NEGLIGIBLE * NEGLIGIBLE * whole:
            shares[i] = _inner(changes[i], change) / squares[i]
            rest = _subtract(shares[i], changes[i], change)
    return rest <= NEGLIGIBLE * NEGLIGIBLE * whole


@kernel(inner=True, symbol=True, fastmath=FAST)
def combine(shares, products, total):
    """Add the combination of products (4, size) to ``total``."""
    s0, s1, s2, s3 = shares[0], shares[1], shares[2], shares[3]
    p0, p1, p2, p3 = products[0], products[1], products[2], products[3]
    if s1 == s2 == s3 == 0:
        for k in range(total.size):
            total[k] += s0 * p0[k]
    else:
        for k in range(total.size):
            total[k] += s0 * p0[k] + s1 * p1[k] + s2 * p2[k] + s3 * p3[k]


@kernel(inner=True, symbol=True)
def restore(directions, change):
    """Add to a change what was subtracted, and forget the directions."""
    for i in range(KEPT):
        _subtract(-directions.shares[i], directions.changes[i], change)
    directions.squares[:] = 0
    directions.shares[:] = 0


@kernel(inner=True, symbol=True)
def keep(directions, slot, change):
    """Make a change a direction, of which it has all: nothing is left of it."""
    kept = directions.changes[slot]
    directions.squares[slot] = _inner(change, change)
    directions.shares[slot] = 1
    for k in range(change.size):
        kept[k] = change[k]
        change[k] = 0
