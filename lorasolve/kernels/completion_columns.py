"""Matrix completion at wide ranks: rows of ``G B`` from the rows of the data, those of ``G^T A`` from its columns.

``completion_lanes.py`` adds to a row of ``G^T A`` at every entry. Here the residuals are kept, a second pass over the
entries in the order of columns reads them, and sums stay in registers. On 100,000 entries of 943 x 1682 that takes 2.6
against 3.1 ms at rank 60 in float64 and 1.4 against 2.0 in float32; while other programs use the caches, 3.6 against
6.0 and 1.9 against 4.2. It takes memory for the residuals and for the second order, gains nothing at rank 20, and is up
to a third slower where these no longer stay in cache (250,000 entries of 10,000 x 2000). Plain twin: ``completion.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ._jit import FAST, kernel
from .completion import blocks, one_thread
from .completion_lanes import pad, padded
from .oracle import implements
from .simd import CACHE_LINE, aligned, fma, load_line, splat_line, store, total

# Entries up to which residuals and both orders stay in cache, and ranks from which two passes take less time than one.
MOST_ENTRIES, LEAST_RANK = 150_000, 33


class ColumnOrder(NamedTuple):
    """The entries in the order of columns: where each column starts, their rows, and their places among the rows."""

    start: Any
    rows: Any
    place: Any


class ColumnData(NamedTuple):
    """Entries in both orders, the bounds of each thread's rows and columns, and scratch.

    The scratch are padded factors, and the residuals in either order.
    """

    start: Any
    index: Any
    values: Any
    cut: Any
    columns: ColumnOrder
    column_cut: Any
    Ap: Any
    Bp: Any
    by_row: Any
    by_column: Any


def data(start: Any, index: Any, values: Any, columns: ColumnOrder, rank: int, threads: int) -> ColumnData:
    """Return kernel data with fresh scratch; small problems get one thread."""
    threads = 1 if one_thread(values.size, rank) else threads
    width = padded(rank, values.dtype)
    Ap, Bp = (aligned((order.size - 1) * width, values.dtype) for order in (start, columns.start))
    cut, column_cut = (blocks(order, threads) for order in (start, columns.start))
    by_row, by_column = np.empty_like(values), np.empty_like(values)
    return ColumnData(start, index, values, cut, columns, column_cut, Ap, Bp, by_row, by_column)


@kernel(inner=True, fastmath=FAST)
def _residuals(index, values, first, last, Ap, row, Bp, width, step, out):
    """Write the residuals of one row's entries, two at a time; return their sum of squares."""
    squares = 0.0
    zero = splat_line(Ap.dtype.type(0))
    for k in range(first, last, 2):
        # An odd last entry is evaluated twice.
        other = min(k + 1, last - 1)
        x = y = zero
        for q in range(0, width, step):
            a = load_line(Ap, row + q)
            x = fma(a, load_line(Bp, index[k] * width + q), x)
            y = fma(a, load_line(Bp, index[other] * width + q), y)
        out[k] = total(x) - values[k]
        out[other] = total(y) - values[other]
    for k in range(first, last):
        squares += out[k] * out[k]
    return squares


@kernel(inner=True, fastmath=FAST)
def _weighted_sum(weights, index, first, last, V, width, step, out):
    """Write the sum of rows ``index[first:last]`` of ``V``, times ``weights[first:last]``: four lines in registers."""
    zero = splat_line(V.dtype.type(0))
    q = 0
    while q + 4 * step <= width:
        s = t = u = v = zero
        for k in range(first, last):
            at, x = index[k] * width + q, splat_line(weights[k])
            s = fma(x, load_line(V, at), s)
            t = fma(x, load_line(V, at + step), t)
            u = fma(x, load_line(V, at + 2 * step), u)
            v = fma(x, load_line(V, at + 3 * step), v)
        store(out, q, s)
        store(out, q + step, t)
        store(out, q + 2 * step, u)
        store(out, q + 3 * step, v)
        q += 4 * step
    while q < width:
        s = zero
        for k in range(first, last):
            s = fma(splat_line(weights[k]), load_line(V, index[k] * width + q), s)
        store(out, q, s)
        q += step


@kernel(inner=True, symbol=True, fastmath=FAST)
def _row_pass(start, index, values, Ap, Bp, width, step, lo, hi, by_row, GB):
    """Write the residuals of rows ``lo..hi`` and these rows of ``G B``; return the sum of squares."""
    squares = 0.0
    g = aligned(width, Ap.dtype)
    for i in range(lo, hi):
        first, last = start[i], start[i + 1]
        squares += _residuals(index, values, first, last, Ap, i * width, Bp, width, step, by_row)
        _weighted_sum(by_row, index, first, last, Bp, width, step, g)
        for q in range(GB.shape[1]):
            GB[i, q] = g[q]
    return squares


@kernel(inner=True, symbol=True, fastmath=FAST)
def _column_pass(start, rows, place, by_row, Ap, width, step, lo, hi, by_column, GtAt):
    """Write columns ``lo..hi`` of ``(G^T A)^T``."""
    g = aligned(width, Ap.dtype)
    for j in range(lo, hi):
        first, last = start[j], start[j + 1]
        for k in range(first, last):
            by_column[k] = by_row[place[k]]
        _weighted_sum(by_column, rows, first, last, Ap, width, step, g)
        for q in range(GtAt.shape[0]):
            GtAt[q, j] = g[q]


@kernel(inner=True, symbol=True, parallel=True)
def _parallel_row_pass(start, index, values, Ap, Bp, width, step, cut, by_row, GB):
    squares = 0.0
    for t in prange(cut.size - 1):
        squares += _row_pass(start, index, values, Ap, Bp, width, step, cut[t], cut[t + 1], by_row, GB)
    return squares


@kernel(inner=True, symbol=True, parallel=True)
def _parallel_column_pass(start, rows, place, by_row, Ap, width, step, cut, by_column, GtAt):
    for t in prange(cut.size - 1):
        _column_pass(start, rows, place, by_row, Ap, width, step, cut[t], cut[t + 1], by_column, GtAt)


@implements(ColumnData)
@kernel(inner=True, symbol=True)
def _column_oracle(data, A, Bt, GB, GtAt):
    start, index, values, Ap, Bp, by_row, by_column = (
        data.start,
        data.index,
        data.values,
        data.Ap,
        data.Bp,
        data.by_row,
        data.by_column,
    )
    order, cut, column_cut = data.columns, data.cut, data.column_cut
    m, n = A.shape[0], Bt.shape[1]
    width, step = Ap.size // m, CACHE_LINE // Ap.itemsize
    pad(A.T, Ap)
    pad(Bt, Bp)
    if cut.size == 2:
        squares = _row_pass(start, index, values, Ap, Bp, width, step, 0, m, by_row, GB)
        _column_pass(order.start, order.rows, order.place, by_row, Ap, width, step, 0, n, by_column, GtAt)
    else:
        squares = _parallel_row_pass(start, index, values, Ap, Bp, width, step, cut, by_row, GB)
        _parallel_column_pass(
            order.start, order.rows, order.place, by_row, Ap, width, step, column_cut, by_column, GtAt
        )
    return 0.5 * squares
