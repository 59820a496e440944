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
def row_products(start: Any, index: Any, values: Any, columns: int) -> Any:
    """Return ``R R^T`` for a matrix ``R`` row by row: its numbers ``values`` in the columns ``index``."""
    m = start.size - 1
    # The same numbers column by column, each in the order of rows.
    first = np.zeros(columns + 1, np.int64)
    for j in index:
        first[j + 1] += 1
    for j in range(columns):
        first[j + 1] += first[j]
    end = first[:-1].copy()
    row, number = np.empty(index.size, np.int64), np.empty(index.size)
    for a in range(m):
        for k in range(start[a], start[a + 1]):
            place = end[index[k]]
            row[place], number[place] = a, values[k]
            end[index[k]] += 1
    W = np.zeros((m, m))
    for a in range(m):
        for k in range(start[a], start[a + 1]):
            value = values[k]
            for place in range(first[index[k]], end[index[k]]):
                b = row[place]
                if b > a:
                    break
                W[a, b] += value * number[place]
    # Tile by tile: columns of the whole would be read a cache line for each number.
    for top in range(0, m, TILE):
        for left in range(0, top + 1, TILE):
            for a in range(top, min(top + TILE, m)):
                for b in range(left, min(left + TILE, a)):
                    W[b, a] = W[a, b]
    return W
