"""The Gram matrix of the rows of a sparse matrix: only pairs of numbers that share a column are multiplied.

No fast mathematics: each number is a sum of products as it is written. The plain twin is a product of the whole arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import kernel


@kernel()
def add_row_products(W: Any, start: Any, index: Any, values: Any, rare: Any) -> None:
    """Add the upper triangle of ``R R^T`` to that of a matrix, for the rare columns of ``R``.

    ``R`` is given row by row: its numbers ``values`` in the columns ``index``.
    """
    m = start.size - 1
    # The numbers of rare columns column by column, each from the last row on.
    first = np.zeros(rare.size + 1, np.int64)
    for j in index:
        if rare[j]:
            first[j + 1] += 1
    for j in range(rare.size):
        first[j + 1] += first[j]
    end = first[:-1].copy()
    # Positions without a sign need no look for those that count from the end.
    row, number = np.empty(first[-1], np.uint32), np.empty(first[-1])
    # What is there before row a is reached pairs with it, itself included.
    for a in range(m - 1, -1, -1):
        line = W[a]
        for k in range(start[a], start[a + 1]):
            j = index[k]
            if not rare[j]:
                continue
            value = values[k]
            row[end[j]], number[end[j]] = a, value
            end[j] += 1
            rows, numbers = row[first[j] : end[j]], number[first[j] : end[j]]
            for place in range(rows.size):
                line[rows[place]] += value * numbers[place]
