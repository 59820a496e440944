"""Matrix completion with explicit vector lanes; plain twin: ``completion.py``.

A factor row is one rank vector, or cache lines beyond ``simd.WIDTH``. The row-wise factor is read and written where it
lies, the other one is copied to padded rows first. The normal equations of ALS (one rank vector only)
are summed in registers, one row at a time, and solved for ``WIDTH`` rows at once, one system per lane.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import completion
from .jit import FAST, kernel
from .oracle import implements, implements_rows
from .parts import each_part
from .simd import (
    WIDTH,
    add,
    aligned,
    div,
    fma,
    fnma,
    load,
    load_first,
    load_line,
    load_line_first,
    mul,
    per_line,
    splat,
    splat_line,
    sqrt,
    store,
    store_first,
    total,
)
from .simd_llvm import CACHE_LINE
from .simd_sums import normal_equations


class LaneData(NamedTuple):
    """Row-ordered entries, the bounds of each thread's rows, and padded scratch: ``B`` and a ``G^T A`` per thread.

    ``squares`` (threads,) are the sums of squares of the threads' residuals.
    """

    start: Any
    index: Any
    values: Any
    cut: Any
    Bp: Any
    share: Any
    squares: Any


class WideLaneData(LaneData):
    """The same for rows of cache lines: a class of its own, so that a run compiles one of the two passes."""


def data(start: Any, index: Any, values: Any, n: int, rank: int, threads: int) -> LaneData:
    """Return kernel data with fresh scratch; small problems get one thread."""
    plain = completion.data(start, index, values, n, rank, threads)
    threads = plain.share.shape[0]
    kind, width = (LaneData, WIDTH) if rank <= WIDTH else (WideLaneData, padded(rank, values.dtype))
    share = aligned(threads * n * width, values.dtype).reshape(threads, n * width)
    return kind(start, index, values, plain.cut, aligned(n * width, values.dtype), share, plain.squares)


def line(dtype: Any) -> int:
    """Return how many numbers a cache line holds."""
    return CACHE_LINE // np.dtype(dtype).itemsize


def padded(columns: int, dtype: Any) -> int:
    """Return the length of rows of whole cache lines."""
    return line(dtype) * -(-columns // line(dtype))


@kernel(inner=True, symbol=True, fastmath=FAST)
def _pad(B, row, column, lo, hi, r, Bp, width):
    """Copy rows ``lo..hi`` of ``B`` to padded ones, zeros behind the rank.

    ``row`` and ``column`` are how far neighbours lie apart, so that this is compiled once for ``B`` and ``B^T``.
    """
    for j in range(lo, hi):
        for q in range(r):
            Bp[j * width + q] = B.flat[j * row + q * column]
        for q in range(r, width):
            Bp[j * width + q] = 0


@kernel(inner=True, symbol=True, fastmath=FAST)
def _gradient_rows(start, index, values, A, Bp, cut, GB, share, squares, t):
    """Write the rows of thread ``t`` of ``G B``, their ``share`` of ``G^T A``, and their sum of squares."""
    r, own, sums = A.shape[1], share[t], 0.0
    zero = splat(Bp.dtype.type(0))
    for k in range(0, own.size, WIDTH):
        store(own, k, zero)
    for i in range(cut[t], cut[t + 1]):
        a = load_first(A, i * r, r)
        g = zero
        for k in range(start[i], start[i + 1]):
            at = index[k] * WIDTH
            b = load(Bp, at)
            e = total(mul(a, b)) - values[k]
            sums += e * e
            es = splat(e)
            g = fma(es, b, g)
            store(own, at, fma(es, a, load(own, at)))
        store_first(GB, i * r, r, g)
    squares[t] = sums


@kernel(inner=True, symbol=True, allocates=True, fastmath=FAST)
def _wide_gradient_rows(start, index, values, A, Bp, width, cut, GB, share, squares, t):
    """Do the same for rows of cache lines, ``width`` numbers in all; ``a`` and ``g`` stay in cache.

    Four entries at a time: their sums do not wait for each other, and ``g`` is read and written once for all.
    """
    r, own, sums = A.shape[1], share[t], 0.0
    step, none = per_line(Bp), Bp.dtype.type(0)
    zero = splat_line(none)
    for k in range(0, own.size, step):
        store(own, k, zero)
    a, g = aligned(width, Bp.dtype), aligned(width, Bp.dtype)
    a[:] = 0
    for i in range(cut[t], cut[t + 1]):
        last = start[i + 1]
        g[:] = 0
        for q in range(r):
            a[q] = A[i, q]
        for k in range(start[i], last, 4):
            # Behind the last entry it is taken once more, with residual zero.
            k1, k2, k3 = min(k + 1, last - 1), min(k + 2, last - 1), min(k + 3, last - 1)
            p0, p1, p2, p3 = index[k] * width, index[k1] * width, index[k2] * width, index[k3] * width
            s0 = s1 = s2 = s3 = zero
            for q in range(0, width, step):
                aq = load_line(a, q)
                s0 = fma(aq, load_line(Bp, p0 + q), s0)
                s1 = fma(aq, load_line(Bp, p1 + q), s1)
                s2 = fma(aq, load_line(Bp, p2 + q), s2)
                s3 = fma(aq, load_line(Bp, p3 + q), s3)
            e0 = total(s0) - values[k]
            e1 = total(s1) - values[k1] if k + 1 < last else none
            e2 = total(s2) - values[k2] if k + 2 < last else none
            e3 = total(s3) - values[k3] if k + 3 < last else none
            sums += e0 * e0 + e1 * e1 + e2 * e2 + e3 * e3
            v0, v1, v2, v3 = splat_line(e0), splat_line(e1), splat_line(e2), splat_line(e3)
            for q in range(0, width, step):
                aq = load_line(a, q)
                gq = fma(v0, load_line(Bp, p0 + q), load_line(g, q))
                gq = fma(v1, load_line(Bp, p1 + q), gq)
                gq = fma(v2, load_line(Bp, p2 + q), gq)
                store(g, q, fma(v3, load_line(Bp, p3 + q), gq))
                # One after the other: the last ones may be the same.
                store(own, p0 + q, fma(v0, aq, load_line(own, p0 + q)))
                store(own, p1 + q, fma(v1, aq, load_line(own, p1 + q)))
                store(own, p2 + q, fma(v2, aq, load_line(own, p2 + q)))
                store(own, p3 + q, fma(v3, aq, load_line(own, p3 + q)))
        for q in range(r):
            GB[i, q] = g[q]
    squares[t] = sums


@kernel(inner=True, symbol=True, fastmath=FAST)
def _sum_shares(share, squares, row, column, n, r, GtA):
    """Write the sum of the threads' padded shares where :func:`_pad` finds ``B``; return ``f``."""
    total = share[0]
    width = total.size // n
    for t in range(1, share.shape[0]):
        for k in range(total.size):
            total[k] += share[t, k]
    for j in range(n):
        for q in range(r):
            GtA.flat[j * row + q * column] = total[j * width + q]
    f = 0.0
    for t in range(squares.size):
        f += 0.5 * squares[t]
    return f


@kernel(inner=True, symbol=True)
def _narrow_oracle(data, A, B, row, column, GB, GtA):
    start, index, values, cut, Bp, share, squares = data
    n, r = B.size // A.shape[1], A.shape[1]
    _pad(B, row, column, 0, n, r, Bp, WIDTH)
    if squares.size == 1:
        _gradient_rows(start, index, values, A, Bp, cut, GB, share, squares, 0)
    else:
        each_part(_gradient_rows, squares.size, (start, index, values, A, Bp, cut, GB, share, squares))
    return _sum_shares(share, squares, row, column, n, r, GtA)


@implements(LaneData)
@kernel(inner=True)
def _lane_oracle(data, A, Bt, GB, GtAt):
    return _narrow_oracle(data, A, Bt, 1, Bt.shape[1], GB, GtAt)


@implements_rows(LaneData)
@kernel()
def _row_oracle(data, A, B, GB, GtA):
    return _narrow_oracle(data, A, B, A.shape[1], 1, GB, GtA)


@kernel(inner=True, symbol=True)
def _wide_oracle(data, A, B, row, column, GB, GtA):
    start, index, values, cut, Bp, share, squares = data
    n, r = B.size // A.shape[1], A.shape[1]
    width = Bp.size // n
    _pad(B, row, column, 0, n, r, Bp, width)
    if squares.size == 1:
        _wide_gradient_rows(start, index, values, A, Bp, width, cut, GB, share, squares, 0)
    else:
        each_part(_wide_gradient_rows, squares.size, (start, index, values, A, Bp, width, cut, GB, share, squares))
    return _sum_shares(share, squares, row, column, n, r, GtA)


@implements(WideLaneData)
@kernel(inner=True)
def _wide_lane_oracle(data, A, Bt, GB, GtAt):
    return _wide_oracle(data, A, Bt, 1, Bt.shape[1], GB, GtAt)


@implements_rows(WideLaneData)
@kernel()
def _wide_row_oracle(data, A, B, GB, GtA):
    return _wide_oracle(data, A, B, A.shape[1], 1, GB, GtA)


@kernel(inner=True, symbol=True, fastmath=FAST)
def _entries_rows(start, index, cut, A, B, out, t):
    """Write the entries of the rows of thread ``t`` of ``A B^T``, four at a time."""
    r = A.shape[1]
    step = per_line(A)
    whole = r // step * step
    rest = r - whole
    zero = splat_line(A.dtype.type(0))
    for i in range(cut[t], cut[t + 1]):
        last = start[i + 1]
        for k in range(start[i], last, 4):
            # Behind the last entry it is taken once more.
            k1, k2, k3 = min(k + 1, last - 1), min(k + 2, last - 1), min(k + 3, last - 1)
            p0, p1, p2, p3 = index[k] * r, index[k1] * r, index[k2] * r, index[k3] * r
            s0 = s1 = s2 = s3 = zero
            for q in range(0, whole, step):
                a = load_line(A, i * r + q)
                s0 = fma(a, load_line(B, p0 + q), s0)
                s1 = fma(a, load_line(B, p1 + q), s1)
                s2 = fma(a, load_line(B, p2 + q), s2)
                s3 = fma(a, load_line(B, p3 + q), s3)
            if rest > 0:
                a = load_line_first(A, i * r + whole, rest)
                s0 = fma(a, load_line_first(B, p0 + whole, rest), s0)
                s1 = fma(a, load_line_first(B, p1 + whole, rest), s1)
                s2 = fma(a, load_line_first(B, p2 + whole, rest), s2)
                s3 = fma(a, load_line_first(B, p3 + whole, rest), s3)
            out[k], out[k1], out[k2], out[k3] = total(s0), total(s1), total(s2), total(s3)


@kernel()
def _entries(start, index, cut, A, B, out):
    each_part(_entries_rows, cut.size - 1, (start, index, cut, A, B, out))


def entries(start: Any, index: Any, cut: Any, A: Any, B: Any) -> Any:
    """Return ``(A B^T)[i, j]`` at the entries for contiguous factors of one type."""
    out = np.empty(index.size, A.dtype)
    _entries(start, index, cut, A, B, out)
    return out


@kernel(inner=True, symbol=True, fastmath=FAST)
def _product_rows(start, index, data, cut, V, width, out, t):
    """Write the rows of thread ``t`` of a sparse product, a cache line at a time; two chains of sums hide latency."""
    step, zero = per_line(V), splat_line(V.dtype.type(0))
    for i in range(cut[t], cut[t + 1]):
        first, last = start[i], start[i + 1]
        even = first + (last - first) // 2 * 2
        for q in range(0, width, step):
            x = y = zero
            for k in range(first, even, 2):
                x = fma(splat_line(data[k]), load_line(V, index[k] * width + q), x)
                y = fma(splat_line(data[k + 1]), load_line(V, index[k + 1] * width + q), y)
            if even < last:
                x = fma(splat_line(data[even]), load_line(V, index[even] * width + q), x)
            store(out, i * width + q, add(x, y))


@kernel()
def _product(start, index, data, cut, V, width, out):
    each_part(_product_rows, cut.size - 1, (start, index, data, cut, V, width, out))


def product(start: Any, index: Any, data: Any, cut: Any, V: Any) -> Any:
    """Return the product of a sparse matrix, row by row, with a dense one of the same type."""
    columns = V.shape[1]
    V = _in_lines(V)
    width = V.shape[1]
    out = np.empty((start.size - 1, width), V.dtype)
    _product(start, index, data, cut, V.ravel(), width, out.reshape(out.size))
    return out if width == columns else np.ascontiguousarray(out[:, :columns])


@kernel(inner=True, symbol=True, fastmath=FAST)
def _transposed_rows(start, index, data, cut, U, width, share, t):
    """Write what the rows of thread ``t`` add to a transposed sparse product."""
    step, zero, own = per_line(U), splat_line(U.dtype.type(0)), share[t]
    for k in range(0, own.size, step):
        store(own, k, zero)
    for i in range(cut[t], cut[t + 1]):
        for k in range(start[i], start[i + 1]):
            x, at = splat_line(data[k]), index[k] * width
            for q in range(0, width, step):
                store(own, at + q, fma(x, load_line(U, i * width + q), load_line(own, at + q)))


@kernel()
def _transposed(start, index, data, cut, U, width, share):
    each_part(_transposed_rows, cut.size - 1, (start, index, data, cut, U, width, share))


def transposed_product(start: Any, index: Any, data: Any, cut: Any, U: Any, n: int) -> Any:
    """Return the product of the transpose of a sparse matrix with a dense one of the same type."""
    columns = U.shape[1]
    U = _in_lines(U)
    width = U.shape[1]
    share = aligned((cut.size - 1) * n * width, U.dtype).reshape(cut.size - 1, n * width)
    _transposed(start, index, data, cut, U.ravel(), width, share)
    return np.ascontiguousarray(share.sum(axis=0).reshape(n, width)[:, :columns])


def _in_lines(V: Any) -> Any:
    """Return a matrix with zeros behind its columns, up to whole cache lines."""
    more = padded(V.shape[1], V.dtype) - V.shape[1]
    return np.hstack([V, np.zeros((V.shape[0], more), V.dtype)]) if more else V


@kernel(inner=True)
def _solve_lanes(W, floor, first, r, singular, block, rows):
    """Solve one r x r system per lane by Cholesky.

    From ``first`` on ``W`` holds the triangle row by row, then the right-hand sides, at ``floor`` what pivots must
    exceed: a lane where one does not is marked singular and goes on with pivot 1. The updates of the trailing triangle
    are independent of each other, so their latencies overlap. What is fused is written here and not left to the
    compiler, whose choice depends on where a kernel is inlined: results would change between the process that compiles
    and those that load.
    """
    one = splat(W.dtype.type(1))
    right = first + r * (r + 1) // 2 * WIDTH
    for p in range(r):
        pivot = first + (p * (p + 1) // 2 + p) * WIDTH
        for c in range(WIDTH):
            if not W[pivot + c] > W[floor + c]:
                singular[block + min(c, rows - 1)] = True
                W[pivot + c] = 1
        inverse = div(one, sqrt(load(W, pivot)))
        # The inverse of the diagonal is kept in its place.
        store(W, pivot, inverse)
        y = mul(inverse, load(W, right + p * WIDTH))
        store(W, right + p * WIDTH, y)
        for i in range(p + 1, r):
            row = first + i * (i + 1) // 2 * WIDTH
            x = mul(inverse, load(W, row + p * WIDTH))
            store(W, row + p * WIDTH, x)
            store(W, right + i * WIDTH, fnma(x, y, load(W, right + i * WIDTH)))
            for j in range(p + 1, i + 1):
                z = load(W, first + (j * (j + 1) // 2 + p) * WIDTH)
                store(W, row + j * WIDTH, fnma(x, z, load(W, row + j * WIDTH)))
    for p in range(r - 1, -1, -1):
        row = first + p * (p + 1) // 2 * WIDTH
        x = mul(load(W, right + p * WIDTH), load(W, row + p * WIDTH))
        store(W, right + p * WIDTH, x)
        for j in range(p):
            store(W, right + j * WIDTH, fnma(x, load(W, row + j * WIDTH), load(W, right + j * WIDTH)))


@kernel(inner=True, symbol=True)
def _half_epoch_rows(start, index, values, Bp, lam, unit, rank, A, cut, scratch, singular, t):
    """Solve for the rows of thread ``t``; its scratch: one row's normal equations, floors, a system per lane."""
    W, lo, hi = scratch[t], cut[t], cut[t + 1]
    r = len(rank)
    floor = (r + 1) * WIDTH
    first = floor + WIDTH
    for block in range(lo, hi, WIDTH):
        rows = min(WIDTH, hi - block)
        for c in range(WIDTH):
            # Lanes without a row of their own repeat the last one.
            i = block + min(c, rows - 1)
            normal_equations(index, values, start[i], start[i + 1], Bp, W, rank)
            at = first + c
            largest = W.dtype.type(0)
            for p in range(r):
                for q in range(p + 1):
                    W[at] = W[p * WIDTH + q]
                    at += WIDTH
                W[at - WIDTH] += lam
                largest = max(largest, W[at - WIDTH])
            for p in range(r):
                W[at] = W[r * WIDTH + p]
                at += WIDTH
            W[floor + c] = largest * unit
        _solve_lanes(W, floor, first, r, singular, block, rows)
        for c in range(rows):
            at = first + r * (r + 1) // 2 * WIDTH + c
            for p in range(r):
                A[block + c, p] = W[at + p * WIDTH]


@kernel(inner=True, symbol=True)
def _pad_part(B, Bp, threads, t):
    n, r = B.shape
    _pad(B, r, 1, n * t // threads, n * (t + 1) // threads, r, Bp, WIDTH)


@kernel()
def _half_epoch(start, index, values, B, Bp, lam, unit, rank, A, cut, scratch, singular):
    threads = cut.size - 1
    each_part(_pad_part, threads, (B, Bp, threads))
    each_part(_half_epoch_rows, threads, (start, index, values, Bp, lam, unit, rank, A, cut, scratch, singular))


def half_epoch(start: Any, index: Any, values: Any, B: Any, lam: Any, A: Any, cut: Any) -> Any:
    """Write the minimiser over each row of ``A`` given ``B``; return which rows have a singular normal matrix.

    Compiled once per rank, which the kernel sees as the length of a tuple, so that the sums of the normal equations
    stay in registers.
    """
    n, r = B.shape
    threads, rank, unit = cut.size - 1, (0,) * r, 32 * r * np.finfo(B.dtype).eps
    Bp, singular = aligned(n * WIDTH, B.dtype), np.zeros(A.shape[0], np.bool_)
    scratch = aligned(threads * (2 + r * (r + 5) // 2) * WIDTH, B.dtype).reshape(threads, -1)
    _half_epoch(start, index, values, B, Bp, lam, unit, rank, A, cut, scratch, singular)
    return singular
