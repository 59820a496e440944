"""Matrix completion over a row-ordered list of entries: gradient in the factors, and half an ALS epoch.

Plain loops for any rank (``completion_lanes.py`` has the same with vector lanes for small ranks). Per entry the
gradient costs ``6 r`` flops and touches ``4 r`` numbers that stay in the second-level cache as long as the shorter
factor fits there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .factors import transpose
from .jit import FAST, kernel
from .oracle import implements
from .parts import each_part


class CompletionData(NamedTuple):
    """Row-ordered entries, the bounds of each thread's rows, ``B`` by rows, and a copy of ``G^T A`` per thread.

    ``squares`` (threads,) are the sums of squares of their residuals.
    """

    start: Any
    index: Any
    values: Any
    cut: Any
    B: Any
    share: Any
    squares: Any


def data(start: Any, index: Any, values: Any, n: int, rank: int, threads: int) -> CompletionData:
    """Return kernel data with fresh scratch; small problems get one thread."""
    threads = 1 if one_thread(values.size, rank) else threads
    B = np.empty((n, rank), values.dtype)
    share = np.empty((threads, n, rank), values.dtype)
    return CompletionData(start, index, values, blocks(start, threads), B, share, np.empty(threads))


def one_thread(entries: int, rank: int) -> bool:
    """Return whether a gradient takes less time than it takes to wake another thread."""
    return entries * rank < 50_000


def blocks(start: Any, threads: int) -> Any:
    """Return the bounds of ``threads`` blocks of rows with equally many entries."""
    # In integers: searchsorted would make floats of all starts for a float.
    cut = np.searchsorted(start, -(-int(start[-1]) * np.arange(threads + 1) // threads))
    cut[0], cut[-1] = 0, start.size - 1
    return cut


@kernel(inner=True, symbol=True, fastmath=FAST)
def _oracle_rows(start, index, values, A, B, cut, GB, share, squares, t):
    """Write the rows of thread ``t`` of ``G B``, their share of ``G^T A`` and their sum of squares."""
    r, GtA = A.shape[1], share[t]
    total = 0.0
    for j in range(B.shape[0]):
        for q in range(r):
            GtA[j, q] = 0.0
    for i in range(cut[t], cut[t + 1]):
        for q in range(r):
            GB[i, q] = 0.0
        for k in range(start[i], start[i + 1]):
            j = index[k]
            e = -values[k]
            for q in range(r):
                e += A[i, q] * B[j, q]
            total += e * e
            for q in range(r):
                GB[i, q] += e * B[j, q]
                GtA[j, q] += e * A[i, q]
    squares[t] = total


@kernel(inner=True, symbol=True, fastmath=FAST)
def _entries_rows(start, index, cut, A, B, out, t):
    for i in range(cut[t], cut[t + 1]):
        for k in range(start[i], start[i + 1]):
            j = index[k]
            e = A.dtype.type(0.0)
            for q in range(A.shape[1]):
                e += A[i, q] * B[j, q]
            out[k] = e


@kernel()
def _entries(start, index, cut, A, B, out):
    each_part(_entries_rows, cut.size - 1, (start, index, cut, A, B, out))


def entries(start: Any, index: Any, cut: Any, A: Any, B: Any) -> Any:
    """Return ``(A B^T)[i, j]`` at the entries: ``2 r`` flops each, one gathered row of ``B``."""
    out = np.empty(index.size, A.dtype)
    _entries(start, index, cut, A, B, out)
    return out


@kernel(inner=True, symbol=True, fastmath=FAST)
def _product_rows(start, index, data, cut, V, out, t):
    for i in range(cut[t], cut[t + 1]):
        for q in range(V.shape[1]):
            out[i, q] = 0
        for k in range(start[i], start[i + 1]):
            j = index[k]
            for q in range(V.shape[1]):
                out[i, q] += data[k] * V[j, q]


@kernel()
def _product(start, index, data, cut, V, out):
    each_part(_product_rows, cut.size - 1, (start, index, data, cut, V, out))


def product(start: Any, index: Any, data: Any, cut: Any, V: Any) -> Any:
    """Return the product of a sparse matrix, row by row, with a dense one of the same type: ``2 k`` flops per entry."""
    out = np.empty((start.size - 1, V.shape[1]), V.dtype)
    _product(start, index, data, cut, V, out)
    return out


@kernel(inner=True, symbol=True, fastmath=FAST)
def _transposed_rows(start, index, data, cut, U, share, t):
    own = share[t]
    own[:] = 0
    for i in range(cut[t], cut[t + 1]):
        for k in range(start[i], start[i + 1]):
            j = index[k]
            for q in range(U.shape[1]):
                own[j, q] += data[k] * U[i, q]


@kernel()
def _transposed(start, index, data, cut, U, share):
    each_part(_transposed_rows, cut.size - 1, (start, index, data, cut, U, share))


def transposed_product(start: Any, index: Any, data: Any, cut: Any, U: Any, n: int) -> Any:
    """Return the product of the transpose of a sparse matrix, row by row, with a dense one of the same type.

    The entries are not sorted by columns for it: each thread adds its rows up in a result of its own, which is small
    where columns are few, and gathers nothing.
    """
    share = np.empty((cut.size - 1, n, U.shape[1]), U.dtype)
    _transposed(start, index, data, cut, U, share)
    return share.sum(axis=0)


@kernel(inner=True, fastmath=FAST)
def _sum_shares(share, squares, GtAt):
    """Write the transposed sum of the threads' shares; return ``f``."""
    r, n = GtAt.shape
    for j in range(n):
        for q in range(r):
            s = share[0, j, q]
            for t in range(1, share.shape[0]):
                s += share[t, j, q]
            GtAt[q, j] = s
    f = 0.0
    for t in range(squares.size):
        f += 0.5 * squares[t]
    return f


@implements(CompletionData)
@kernel(inner=True, symbol=True)
def _completion_oracle(data, A, Bt, GB, GtAt):
    start, index, values, cut, B, share, squares = data
    transpose(Bt, B)
    if squares.size == 1:
        _oracle_rows(start, index, values, A, B, cut, GB, share, squares, 0)
    else:
        each_part(_oracle_rows, squares.size, (start, index, values, A, B, cut, GB, share, squares))
    return _sum_shares(share, squares, GtAt)


@kernel(inner=True, fastmath=FAST)
def _normal_equations(index, values, first, last, B, lam, H, b):
    """Write the lower triangle of ``sum b_j b_j^T + lam I`` and the right-hand side ``sum value b_j``."""
    r = B.shape[1]
    for p in range(r):
        b[p] = 0.0
        for q in range(p + 1):
            H[p, q] = 0.0
        H[p, p] = lam
    for k in range(first, last):
        row = B[index[k]]
        v = values[k]
        for p in range(r):
            b[p] += v * row[p]
            for q in range(p + 1):
                H[p, q] += row[p] * row[q]


@kernel(inner=True, fastmath={"contract"})
def _cholesky_solve(H, b, x):
    """Solve ``H x = b`` from the lower triangle of ``H`` in place; return False if ``H`` is numerically singular."""
    r = b.size
    largest = 0.0
    for p in range(r):
        largest = max(largest, H[p, p])
    floor = largest * 32 * r * np.finfo(H.dtype).eps
    for p in range(r):
        for q in range(p + 1):
            s = H[p, q]
            for t in range(q):
                s -= H[p, t] * H[q, t]
            if q < p:
                H[p, q] = s / H[q, q]
            elif s > floor:
                H[p, p] = np.sqrt(s)
            else:
                return False
    for p in range(r):
        s = b[p]
        for t in range(p):
            s -= H[p, t] * x[t]
        x[p] = s / H[p, p]
    for p in range(r - 1, -1, -1):
        s = x[p]
        for t in range(p + 1, r):
            s -= H[t, p] * x[t]
        x[p] = s / H[p, p]
    return True


@kernel(inner=True, symbol=True)
def _half_epoch_rows(start, index, values, B, lam, A, cut, H, b, singular, t):
    for i in range(cut[t], cut[t + 1]):
        _normal_equations(index, values, start[i], start[i + 1], B, lam, H[t], b[t])
        singular[i] = not _cholesky_solve(H[t], b[t], A[i])


@kernel()
def _half_epoch(start, index, values, B, lam, A, cut, H, b, singular):
    each_part(_half_epoch_rows, cut.size - 1, (start, index, values, B, lam, A, cut, H, b, singular))


def half_epoch(start: Any, index: Any, values: Any, B: Any, lam: Any, A: Any, cut: Any) -> Any:
    """Write the minimiser over each row of ``A`` given ``B``; return which rows have a singular normal matrix.

    ``nnz r (r + 1)`` flops for the normal matrices and ``m r^3 / 3`` for the Cholesky factors.
    """
    r, threads = B.shape[1], cut.size - 1
    H, b = np.empty((threads, r, r), B.dtype), np.empty((threads, r), B.dtype)
    singular = np.empty(A.shape[0], np.bool_)
    _half_epoch(start, index, values, B, lam, A, cut, H, b, singular)
    return singular
