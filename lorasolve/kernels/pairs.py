"""Passes over the pairs of a quasi-Newton method, the rows of one float32 array, that read each number once.

The plain twin of each is in ``_pair_passes.py``, under the same name. Sums are float32 within a block of what stays
in the first cache, and float64 beyond.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import FAST, kernel

BLOCK = 512


@kernel(allocates=True, fastmath=FAST)
def add_products(kept: Any, g: Any, length: float, products: Any) -> None:
    """Add the product of each row with ``g / length`` to ``products``."""
    block, inverse = np.empty(BLOCK, np.float32), 1.0 / length
    for first in range(0, g.size, BLOCK):
        piece = g[first : first + BLOCK]
        for i in range(piece.size):
            block[i] = piece[i] * inverse
        _add_block(kept, first, block, products)


@kernel(allocates=True, fastmath=FAST)
def keep_pair(
    kept: Any, slot: int, x: Any, new_x: Any, g: Any, new_g: Any, lengths: Any, products: Any, squares: Any
) -> None:
    """Keep ``s = new_x - x`` and ``y = new_g - g``, over their ``lengths``, in the rows of a slot.

    Add the product of each row with the latter to ``products``, and ``<s, y>``, ``<s, s>``, ``<y, y>`` to ``squares``.
    """
    block = np.empty(BLOCK, np.float32)
    s_inverse, y_inverse = 1.0 / lengths[0], 1.0 / lengths[1]
    sy = ss = yy = 0.0
    for first in range(0, x.size, BLOCK):
        old_x, old_g = x[first : first + BLOCK], g[first : first + BLOCK]
        now_x, now_g = new_x[first : first + BLOCK], new_g[first : first + BLOCK]
        s_row, y_row = kept[slot, first : first + BLOCK], kept[slot + kept.shape[0] // 2, first : first + BLOCK]
        for i in range(old_x.size):
            s, y = now_x[i] - old_x[i], now_g[i] - old_g[i]
            sy += s * y
            ss += s * s
            yy += y * y
            s_row[i] = s * s_inverse
            block[i] = y * y_inverse
        for i in range(old_x.size):
            y_row[i] = block[i]
        _add_block(kept, first, block, products)
    squares[0] += sy
    squares[1] += ss
    squares[2] += yy


@kernel(allocates=True, fastmath=FAST)
def combine(kept: Any, shares: Any, largest: float, g: Any, gamma: float, d: Any) -> Any:
    """Write ``d = -gamma g - largest sum_i shares_i row_i``; return ``<g, d>`` and ``||d||^2``."""
    block = np.empty(BLOCK, np.float32)
    slope = square = 0.0
    for first in range(0, g.size, BLOCK):
        piece, out = g[first : first + BLOCK], d[first : first + BLOCK]
        block[:] = 0.0
        for k in range(kept.shape[0]):
            row, share = kept[k, first : first + BLOCK], shares[k]
            for i in range(row.size):
                block[i] += share * row[i]
        for i in range(piece.size):
            value = -gamma * piece[i] - largest * block[i]
            out[i] = value
            slope += value * piece[i]
            square += value * value
    return slope, square


@kernel(inner=True, fastmath=FAST)
def _add_block(kept: Any, first: int, block: Any, products: Any) -> None:
    """Add the product of a block of each row with a vector."""
    for k in range(kept.shape[0]):
        row, total = kept[k, first : first + BLOCK], np.float32(0.0)
        for i in range(row.size):
            total += row[i] * block[i]
        products[k] += total
