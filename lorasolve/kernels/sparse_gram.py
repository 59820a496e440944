"""The Gram matrix of the rows of a sparse matrix: only pairs of numbers that share a column are multiplied.

No fast mathematics: each number is a sum of products as it is written. The plain twin is a product of the whole arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._jit import kernel

# Rows and columns of a tile of the mirrored triangle.
TILE = 32


@kernel()
def add_row_products(W: Any, start: Any, index: Any, values: Any, rare: Any) -> None:
    """Add ``R R^T`` to a symmetric matrix of which the lower triangle is given, for the rare columns of ``R``.

    ``R`` is given row by row: its numbers ``values`` in the columns ``index``.
    """
    m = start.size - 1
    # The numbers of rare columns column by column, each in the order of rows.
    first = np.zeros(rare.size + 1, np.int64)
    for j in index:
        if rare[j]:
            first[j + 1] += 1
    for j in range(rare.size):
        first[j + 1] += first[j]
    end = first[:-1].copy()
    row, number = np.empty(first[-1], np.int64), np.empty(first[-1])
    # What is there before row a is reached pairs with it, itself included.
    for a in range(m):
        for k in range(start[a], start[a + 1]):
            j = index[k]
            if not rare[j]:
                continue
            value = values[k]
            row[end[j]], number[end[j]] = a, value
            end[j] += 1
            for place in range(first[j], end[j]):
                W[a, row[place]] += value * number[place]
    # Tile by tile: columns of the whole would be read a cache line for each number.
    for top in range(0, m, TILE):
        for left in range(0, top + 1, TILE):
            for a in range(top, min(top + TILE, m)):
                for b in range(left, min(left + TILE, a)):
                    W[b, a] = W[a, b]
