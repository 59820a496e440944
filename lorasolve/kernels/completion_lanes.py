"""Matrix completion with explicit vector lanes; plain twin: ``completion.py``.

A factor row is one rank vector, or cache lines beyond ``simd.WIDTH``. The row-wise factor is read and written where it
lies, the other one is copied to padded rows first. The normal equations of ALS (one rank vector only)
are summed in registers, one row at a time, and solved for ``WIDTH`` rows at once, one system per lane.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from . import completion
from ._jit import FAST, kernel
from .factors import summed
from .oracle import implements
from .simd import (
    CACHE_LINE,
    WIDTH,
    add,
    aligned,
    div,
    fma,
    fnma,
    load,
    load_first,
    load_line,
    mul,
    normal_equations,
    prefetch,
    splat,
    splat_line,
    sqrt,
    store,
    store_first,
    total,
)

# Entries between the one that is worked on and the one whose rows are asked for.
AHEAD = 2


class LaneData(NamedTuple):
    """Row-ordered entries, the bounds of each thread's rows, and padded scratch: ``B`` and a ``G^T A`` per thread.

    For one thread ``share`` is a vector: a run on one thread compiles no parallel loop.
    """

    start: Any
    index: Any
    values: Any
    cut: Any
    Bp: Any
    share: Any


class WideLaneData(LaneData):
    """The same for rows of cache lines: a class of its own, so that a run compiles one of the two passes.

    ``share`` is a matrix.
    """


def data(start: Any, index: Any, values: Any, n: int, rank: int, threads: int) -> LaneData:
    """Return kernel data with fresh scratch; small problems get one thread."""
    plain = completion.data(start, index, values, n, rank, threads)
    threads = plain.share.shape[0]
    kind, width = (LaneData, WIDTH) if rank <= WIDTH else (WideLaneData, padded(rank, values.dtype))
    share = aligned(threads * n * width, values.dtype)
    if threads > 1 or kind is WideLaneData:
        share = share.reshape(threads, n * width)
    return kind(start, index, values, plain.cut, aligned(n * width, values.dtype), share)


def line(dtype: Any) -> int:
    """Return how many numbers a cache line holds."""
    return CACHE_LINE // np.dtype(dtype).itemsize


def padded(columns: int, dtype: Any) -> int:
    """Return the length of rows of whole cache lines."""
    return line(dtype) * -(-columns // line(dtype))


@kernel(fastmath=FAST)
def pad(Bt, Bp):
    """Copy the columns of ``Bt`` (r, n) to padded rows, zeros behind the rank."""
    r, n = Bt.shape
    width = Bp.size // n
    for j in range(n):
        for q in range(r):
            Bp[j * width + q] = Bt[q, j]
        for q in range(r, width):
            Bp[j * width + q] = 0


@kernel(inner=True, symbol=True, fastmath=FAST)
def _gradient_rows(start, index, values, A, Bp, r, lo, hi, GB, share):
    """Write rows ``lo..hi`` of ``G B`` and their ``share`` of ``G^T A``; return their sum of squares."""
    squares = 0.0
    zero = splat(Bp.dtype.type(0))
    for k in range(0, share.size, WIDTH):
        store(share, k, zero)
    for i in range(lo, hi):
        a = load_first(A, i * r, r)
        g = zero
        for k in range(start[i], start[i + 1]):
            at = index[k] * WIDTH
            b = load(Bp, at)
            e = total(mul(a, b)) - values[k]
            squares += e * e
            es = splat(e)
            g = fma(es, b, g)
            store(share, at, fma(es, a, load(share, at)))
        store_first(GB, i * r, r, g)
    return squares


@kernel(inner=True, symbol=True, fastmath=FAST)
def _wide_gradient_rows(start, index, values, A, Bp, r, width, step, lo, hi, GB, share):
    """Do the same for rows of cache lines, ``step`` numbers each, ``width`` in all; ``a`` and ``g`` stay in cache."""
    squares = 0.0
    zero = splat_line(Bp.dtype.type(0))
    for k in range(0, share.size, step):
        store(share, k, zero)
    a, g = aligned(width, Bp.dtype), aligned(width, Bp.dtype)
    a[:] = 0
    for i in range(lo, hi):
        g[:] = 0
        for q in range(r):
            a[q] = A[i * r + q]
        for k in range(start[i], start[i + 1]):
            ahead = index[min(k + AHEAD, index.size - 1)] * width
            for q in range(0, width, step):
                prefetch(Bp, ahead + q)
                prefetch(share, ahead + q)
            at = index[k] * width
            product = zero
            for q in range(0, width, step):
                product = fma(load_line(a, q), load_line(Bp, at + q), product)
            e = total(product) - values[k]
            squares += e * e
            es = splat_line(e)
            for q in range(0, width, step):
                store(g, q, fma(es, load_line(Bp, at + q), load_line(g, q)))
                store(share, at + q, fma(es, load_line(a, q), load_line(share, at + q)))
        for q in range(r):
            GB[i * r + q] = g[q]
    return squares


@kernel(inner=True, symbol=True, parallel=True)
def _parallel_gradients(start, index, values, A, Bp, r, cut, GB, share):
    squares = 0.0
    for t in prange(share.shape[0]):
        squares += _gradient_rows(start, index, values, A, Bp, r, cut[t], cut[t + 1], GB, share[t])
    return squares


@kernel(inner=True)
def _gradients(start, index, values, A, Bp, r, cut, GB, share):
    if share.ndim == 1:
        return _gradient_rows(start, index, values, A, Bp, r, 0, start.size - 1, GB, share)
    return _parallel_gradients(start, index, values, A, Bp, r, cut, GB, share)


@kernel(inner=True, symbol=True, parallel=True)
def _parallel_wide_gradients(start, index, values, A, Bp, r, width, step, cut, GB, share):
    squares = 0.0
    for t in prange(share.shape[0]):
        squares += _wide_gradient_rows(
            start, index, values, A, Bp, r, width, step, cut[t], cut[t + 1], GB, share[t]
        )
    return squares


@kernel(inner=True, fastmath=FAST)
def _sum_shares(share, GtAt):
    """Write the transposed sum of the threads' padded shares."""
    r, n = GtAt.shape
    width = share.shape[-1] // n
    for j in range(n):
        for q in range(r):
            GtAt[q, j] = summed(share, j * width + q)


@implements(LaneData)
@kernel(inner=True, symbol=True)
def _lane_oracle(data, A, Bt, GB, GtAt):
    start, index, values, Bp, share = data.start, data.index, data.values, data.Bp, data.share
    pad(Bt, Bp)
    flat_A, flat_GB = A.reshape(A.size), GB.reshape(A.size)
    total = _gradients(start, index, values, flat_A, Bp, A.shape[1], data.cut, flat_GB, share)
    _sum_shares(share, GtAt)
    return 0.5 * total


@implements(WideLaneData)
@kernel(inner=True, symbol=True)
def _wide_lane_oracle(data, A, Bt, GB, GtAt):
    start, index, values, Bp, share = data.start, data.index, data.values, data.Bp, data.share
    m, r = A.shape
    pad(Bt, Bp)
    width, step = Bp.size // Bt.shape[1], CACHE_LINE // Bp.itemsize
    flat_A, flat_GB = A.reshape(A.size), GB.reshape(A.size)
    if share.shape[0] == 1:
        total = _wide_gradient_rows(start, index, values, flat_A, Bp, r, width, step, 0, m, flat_GB, share[0])
    else:
        total = _parallel_wide_gradients(
            start, index, values, flat_A, Bp, r, width, step, data.cut, flat_GB, share
        )
    _sum_shares(share, GtAt)
    return 0.5 * total


@kernel(inner=True, symbol=True, fastmath=FAST)
def _product_rows(start, index, data, V, width, step, lo, hi, out):
    """Write rows ``lo..hi`` of a sparse product, a cache line at a time; two chains of sums hide their latency."""
    zero = splat_line(V.dtype.type(0))
    for i in range(lo, hi):
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


@kernel(parallel=True)
def _parallel_product(start, index, data, cut, V, width, step, out):
    for t in prange(cut.size - 1):
        _product_rows(start, index, data, V, width, step, cut[t], cut[t + 1], out)


def product(start: Any, index: Any, data: Any, cut: Any, V: Any) -> Any:
    """Return the product of a sparse matrix, row by row, with a dense one of the same type."""
    columns = V.shape[1]
    V = _in_lines(V)
    width = V.shape[1]
    out = np.empty((start.size - 1, width), V.dtype)
    _parallel_product(start, index, data, cut, V.ravel(), width, line(V.dtype), out.reshape(out.size))
    return out if width == columns else np.ascontiguousarray(out[:, :columns])


@kernel(inner=True, symbol=True, fastmath=FAST)
def _transposed_rows(start, index, data, U, width, step, lo, hi, share):
    """Write what rows ``lo..hi`` add to a transposed sparse product."""
    zero = splat_line(U.dtype.type(0))
    for k in range(0, share.size, step):
        store(share, k, zero)
    for i in range(lo, hi):
        for k in range(start[i], start[i + 1]):
            x, at = splat_line(data[k]), index[k] * width
            for q in range(0, width, step):
                store(share, at + q, fma(x, load_line(U, i * width + q), load_line(share, at + q)))


@kernel(parallel=True)
def _parallel_transposed(start, index, data, cut, U, width, step, share):
    for t in prange(cut.size - 1):
        _transposed_rows(start, index, data, U, width, step, cut[t], cut[t + 1], share[t])


def transposed_product(start: Any, index: Any, data: Any, cut: Any, U: Any, n: int) -> Any:
    """Return the product of the transpose of a sparse matrix with a dense one of the same type."""
    columns = U.shape[1]
    U = _in_lines(U)
    width = U.shape[1]
    share = aligned((cut.size - 1) * n * width, U.dtype).reshape(cut.size - 1, n * width)
    _parallel_transposed(start, index, data, cut, U.ravel(), width, line(U.dtype), share)
    return np.ascontiguousarray(share.sum(axis=0).reshape(n, width)[:, :columns])


def _in_lines(V: Any) -> Any:
    """Return a matrix with zeros behind its columns, up to whole cache lines."""
    more = padded(V.shape[1], V.dtype) - V.shape[1]
    return np.hstack([V, np.zeros((V.shape[0], more), V.dtype)]) if more else V


@kernel(inner=True)
def _solve_lanes(W, r, floor, singular):
    """Solve one r x r system per lane by Cholesky; ``W`` holds the triangle row by row, then the right-hand sides.

    A lane whose pivot falls to its ``floor`` is marked singular and goes on with pivot 1. The updates of the
    trailing triangle are independent of each other, so their latencies overlap. What is fused is written here and
    not left to the compiler, whose choice depends on where a kernel is inlined: results would change between the
    process that compiles and those that load.
    """
    one = splat(W.dtype.type(1))
    right = r * (r + 1) // 2 * WIDTH
    for p in range(r):
        pivot = (p * (p + 1) // 2 + p) * WIDTH
        for c in range(WIDTH):
            if not W[pivot + c] > floor[c]:
                singular[c] = True
                W[pivot + c] = 1
        inverse = div(one, sqrt(load(W, pivot)))
        # The inverse of the diagonal is kept in its place.
        store(W, pivot, inverse)
        y = mul(inverse, load(W, right + p * WIDTH))
        store(W, right + p * WIDTH, y)
        for i in range(p + 1, r):
            row = i * (i + 1) // 2 * WIDTH
            x = mul(inverse, load(W, row + p * WIDTH))
            store(W, row + p * WIDTH, x)
            store(W, right + i * WIDTH, fnma(x, y, load(W, right + i * WIDTH)))
            for j in range(p + 1, i + 1):
                z = load(W, (j * (j + 1) // 2 + p) * WIDTH)
                store(W, row + j * WIDTH, fnma(x, z, load(W, row + j * WIDTH)))
    for p in range(r - 1, -1, -1):
        row = p * (p + 1) // 2 * WIDTH
        x = mul(load(W, right + p * WIDTH), load(W, row + p * WIDTH))
        store(W, right + p * WIDTH, x)
        for j in range(p):
            store(W, right + j * WIDTH, fnma(x, load(W, row + j * WIDTH), load(W, right + j * WIDTH)))


@kernel(inner=True, symbol=True)
def _half_epoch_rows(start, index, values, Bp, lam, rank, A, lo, hi, singular):
    r = len(rank)
    H = aligned((r + 1) * WIDTH, Bp.dtype)
    W = aligned((r * (r + 1) // 2 + r) * WIDTH, Bp.dtype)
    floor = np.empty(WIDTH, Bp.dtype)
    bad = np.empty(WIDTH, np.bool_)
    unit = Bp.dtype.type(32 * r) * np.finfo(Bp.dtype).eps
    for block in range(lo, hi, WIDTH):
        rows = min(WIDTH, hi - block)
        for c in range(WIDTH):
            # Lanes without a row of their own repeat the last one.
            i = block + min(c, rows - 1)
            normal_equations(index, values, start[i], start[i + 1], Bp, H, rank)
            at = c
            largest = H.dtype.type(0)
            for p in range(r):
                for q in range(p + 1):
                    W[at] = H[p * WIDTH + q]
                    at += WIDTH
                W[at - WIDTH] += lam
                largest = max(largest, W[at - WIDTH])
            for p in range(r):
                W[at] = H[r * WIDTH + p]
                at += WIDTH
            floor[c] = largest * unit
            bad[c] = False
        _solve_lanes(W, r, floor, bad)
        for c in range(rows):
            singular[block + c] = bad[c]
            at = r * (r + 1) // 2 * WIDTH + c
            for p in range(r):
                A[block + c, p] = W[at + p * WIDTH]


@kernel(parallel=True)
def _parallel_half_epoch(start, index, values, Bp, lam, rank, A, cut, singular):
    for t in prange(cut.size - 1):
        _half_epoch_rows(start, index, values, Bp, lam, rank, A, cut[t], cut[t + 1], singular)


@kernel()
def _one_half_epoch(start, index, values, Bp, lam, rank, A, singular):
    _half_epoch_rows(start, index, values, Bp, lam, rank, A, 0, A.shape[0], singular)


def half_epoch(start: Any, index: Any, values: Any, B: Any, lam: Any, A: Any, cut: Any) -> Any:
    """Write the minimiser over each row of ``A`` given ``B``; return which rows have a singular normal matrix.

    Compiled once per rank, which the kernel sees as the length of a tuple, so that the sums of the normal equations
    stay in registers.
    """
    Bp = aligned(B.shape[0] * WIDTH, B.dtype)
    pad(B.T, Bp)
    singular = np.zeros(A.shape[0], np.bool_)
    rank = (0,) * B.shape[1]
    if cut.size == 2:
        _one_half_epoch(start, index, values, Bp, lam, rank, A, singular)
    else:
        _parallel_half_epoch(start, index, values, Bp, lam, rank, A, cut, singular)
    return singular
