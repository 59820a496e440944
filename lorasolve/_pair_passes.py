"""Passes over the pairs of L-BFGS, the rows of one float32 array, piece by piece; ``kernels/pairs.py`` has the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._support.validate import Array

# Entries of a vector that are worked on at a time.
PIECE = 1 << 15


def parts(size: int) -> Iterator[slice]:
    """Yield pieces of a vector that stay in cache."""
    return (slice(first, first + PIECE) for first in range(0, size, PIECE))


def add_products(kept: Array, g: Array, length: float, products: Array) -> None:
    """Add the product of each row with ``g / length`` to ``products``."""
    for part in parts(g.size):
        piece = g[part]
        products += kept[:, part] @ np.divide(piece, length, out=np.empty(piece.size, np.float32), casting="same_kind")


def keep_pair(
    kept: Array,
    slot: int,
    x: Array,
    new_x: Array,
    g: Array,
    new_g: Array,
    lengths: Array,
    products: Array,
    squares: Array,
) -> None:
    """Keep ``s = new_x - x`` and ``y = new_g - g``, over their ``lengths``, in the rows of a slot.

    Add the product of each row with the latter to ``products``, and ``<s, y>``, ``<s, s>``, ``<y, y>`` to ``squares``.
    """
    size = len(kept) // 2
    for part in parts(x.size):
        s, y = new_x[part] - x[part], new_g[part] - g[part]
        squares += s @ y, s @ s, y @ y
        for difference, length, row in ((s, lengths[0], slot), (y, lengths[1], size + slot)):
            np.divide(difference, length, out=kept[row, part], casting="same_kind")
        products += kept[:, part] @ kept[size + slot, part]


def combine(kept: Array, shares: Array, largest: float, g: Array, gamma: float, d: Array) -> tuple[float, float]:
    """Write ``d = -gamma g - largest sum_i shares_i row_i``; return ``<g, d>`` and ``||d||^2``."""
    slope = square = 0.0
    for part in parts(g.size):
        correction = (shares @ kept[:, part]).astype(d.dtype, copy=False)
        correction *= largest
        piece = d[part]
        np.multiply(g[part], -gamma, out=piece)
        piece -= correction
        slope += float(piece @ g[part])
        square += float(piece @ piece)
    return slope, square
