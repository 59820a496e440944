"""The Gram matrix of the rows of a sparse matrix: only pairs of numbers that share a column are multiplied.

No fast mathematics: each number is a sum of products as it is written. The plain twin is a product of the whole arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import kernel


def add_row_products(W: Any, start: Any, index: Any, values: Any, rare: Any) -> Any:
    """Add the upper triangle of ``R R^T`` to that of a matrix, for the rare columns of ``R``; return the other columns.

    ``R`` is given row by row: its numbers ``values`` in the columns ``index``.
    """
    # The numbers of rare columns column by column, each from the last row on.
    counts = np.bincount(index, minlength=rare.size) * rare
    end = np.cumsum(counts)
    # Positions without a sign need no look for those that count from the end.
    row, number = np.empty(end[-1], np.uint32), np.empty(end[-1])
    first = end - counts
    place = np.cumsum(~rare) - 1
    others = np.zeros((start.size - 1, np.count_nonzero(~rare)))
    _add_row_products(W, start, index, values, rare, first, first.copy(), row, number, place, others)
    return others


@kernel()
def _add_row_products(W, start, index, values, rare, first, end, row, number, place, others):
    # What is there before row a is reached pairs with it, itself included.
    for a in range(start.size - 2, -1, -1):
        line = W[a]
        for k in range(start[a], start[a + 1]):
            j = index[k]
            value = values[k]
            if not rare[j]:
                others[a, place[j]] = value
                continue
            row[end[j]], number[end[j]] = a, value
            end[j] += 1
            rows, numbers = row[first[j] : end[j]], number[first[j] : end[j]]
            for other in range(rows.size):
                line[rows[other]] += value * numbers[other]
