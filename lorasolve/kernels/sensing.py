"""Dense sensing: residual and gradient from one pass over the measurements.

The N x (m n) matrix is by far the largest operand (8 N m n bytes in float64), and the plain route reads it twice,
once for ``M x`` and once for ``M^T w``. Here four measurements at a time are multiplied with ``x`` and, still in
cache, added to the gradient: ``4 N m n`` flops for one read, at the rate of reading.

``MixedSensingData`` halves the traffic again: between exact refreshes the residual and the gradient, which are
linear in ``X``, are advanced by the products of a float32 copy with the step ``X - X_last``. The error is relative
to the distance travelled since the last refresh, so it vanishes as the iterates converge.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ._jit import FAST, kernel
from .factors import factor_gradients, outer, summed
from .oracle import implements

# Exact refreshes in mixed precision are this many oracle calls apart.
REFRESH = 50


class SensingData(NamedTuple):
    """Measurements (N, m n), observations (N,), and scratch (``g`` has one row per thread, or is a vector for one).

    With a vector a run compiles no parallel loop.
    """

    M: Any
    y: Any
    X: Any
    G: Any
    w: Any
    g: Any


class MixedSensingData(NamedTuple):
    """Exact data, a float32 copy of the measurements, the last factors, and the state of the increments."""

    exact: SensingData
    M32: Any
    zero: Any
    lastA: Any
    lastBt: Any
    dx: Any
    dw: Any
    dg: Any
    calls: Any


def data(M: Any, y: Any, shape: tuple[int, int], threads: int) -> SensingData:
    """Return kernel data with fresh scratch; small problems get one thread."""
    N, d = M.shape
    if N * d < 100_000:
        threads = 1
    X, G = np.empty((2, *shape), M.dtype)
    g = np.empty(d if threads == 1 else (threads, d), M.dtype)
    return SensingData(M, y, X, G, np.empty(N, M.dtype), g)


def mixed_data(exact: SensingData, M32: Any, rank: int) -> MixedSensingData:
    """Return kernel data for float32 increments of a float64 problem, from its measurements in float32."""
    N, d = exact.M.shape
    zero, dw = np.zeros((2, N), np.float32)
    dg = np.empty(exact.g.shape, np.float32)
    m, n = exact.X.shape
    last = np.empty((m, rank)), np.empty((rank, n))
    return MixedSensingData(exact, M32, zero, *last, np.empty(d, np.float32), dw, dg, np.zeros(1, np.int64))


@kernel(inner=True, symbol=True, fastmath=FAST)
def _pass(M, x, y, lo, hi, backward, w, g):
    """Write ``w = M x - y`` on rows ``lo..hi`` and ``g = sum of w_i M_i`` over them.

    Four rows are added to ``g`` in the loop that multiplies the next four with ``x``, so that reading from memory
    never pauses. A pass in the other direction than the last one finds its first rows still in cache.
    """
    d = x.size
    zero = x.dtype.type(0)
    for k in range(d):
        g[k] = zero
    # No rows are waiting to be added yet: weights of zero.
    p0 = p1 = p2 = p3 = M[lo]
    w0 = w1 = w2 = w3 = zero
    blocks = (hi - lo) // 4
    for block in range(blocks):
        i = lo + 4 * (blocks - 1 - block if backward else block)
        m0, m1, m2, m3 = M[i], M[i + 1], M[i + 2], M[i + 3]
        s0 = s1 = s2 = s3 = zero
        for k in range(d):
            xk = x[k]
            s0 += m0[k] * xk
            s1 += m1[k] * xk
            s2 += m2[k] * xk
            s3 += m3[k] * xk
            g[k] += w0 * p0[k] + w1 * p1[k] + w2 * p2[k] + w3 * p3[k]
        w0, w1, w2, w3 = s0 - y[i], s1 - y[i + 1], s2 - y[i + 2], s3 - y[i + 3]
        w[i], w[i + 1], w[i + 2], w[i + 3] = w0, w1, w2, w3
        p0, p1, p2, p3 = m0, m1, m2, m3
    for k in range(d):
        g[k] += w0 * p0[k] + w1 * p1[k] + w2 * p2[k] + w3 * p3[k]
    for i in range(lo + 4 * blocks, hi):
        m0 = M[i]
        s0 = zero
        for k in range(d):
            s0 += m0[k] * x[k]
        s0 -= y[i]
        for k in range(d):
            g[k] += s0 * m0[k]
        w[i] = s0


@kernel(inner=True, symbol=True, parallel=True)
def _parallel_pass(M, x, y, backward, w, g):
    """Run :func:`_pass` on equal blocks of rows, one per row of ``g``."""
    threads = g.shape[0]
    N = y.size
    for t in prange(threads):
        _pass(M, x, y, N * t // threads, N * (t + 1) // threads, backward, w, g[t])


@kernel(inner=True)
def whole_pass(M, x, y, backward, w, g):
    """Write ``w = M x - y``, and ``M^T w`` as ``g`` or as the sum over its rows."""
    if g.ndim == 1:
        _pass(M, x, y, 0, y.size, backward, w, g)
    else:
        _parallel_pass(M, x, y, backward, w, g)


@kernel(inner=True, fastmath=FAST)
def _sum_rows(g, factor, G):
    """Write ``G = factor (sum of the rows of g)``."""
    for k in range(G.size):
        G[k] = factor * summed(g, k)


@kernel(inner=True, fastmath=FAST)
def _advance(dg, factor, G, dw, w):
    """Add the sum of the rows of ``dg``, times ``factor``, to ``G``, and ``dw`` to ``w``."""
    for k in range(G.size):
        G[k] += factor * summed(dg, k)
    for i in range(w.size):
        w[i] += dw[i]


@kernel(inner=True, fastmath=FAST)
def _half_mean_square(w):
    total = w.dtype.type(0)
    for i in range(w.size):
        total += w[i] * w[i]
    return 0.5 * total / w.size


@kernel(symbol=True)
def gradient(data, X, y, G):
    """Write ``G = sum_i (<M_i, X> - y_i) M_i / N`` for any ``X`` and ``y``, and the differences into ``data.w``."""
    whole_pass(data.M, X.reshape(X.size), y, False, data.w, data.g)
    _sum_rows(data.g, G.dtype.type(1.0 / y.size), G.reshape(G.size))


@kernel(inner=True, fastmath=FAST)
def _back(G, w, A, Bt, GB, GtAt):
    """Write ``G B`` and ``(G^T A)^T``; return the mean loss of the residual ``w``."""
    factor_gradients(G, A, Bt, GB, GtAt)
    return _half_mean_square(w)


@kernel(inner=True, fastmath=FAST)
def _increment(A, Bt, lastA, lastBt, dx):
    """Write ``A B^T - A_last B_last^T`` in float32, summed in the type of the factors."""
    r, n = Bt.shape
    row = np.empty(n, A.dtype)
    for i in range(A.shape[0]):
        row[:] = 0
        for q in range(r):
            a, last = A[i, q], lastA[i, q]
            for j in range(n):
                row[j] += a * Bt[q, j] - last * lastBt[q, j]
        for j in range(n):
            dx[i * n + j] = np.float32(row[j])


@kernel(inner=True)
def _keep(factor, last):
    # Assigning to a slice would compile the message for shapes that do not fit, which takes longer than all of this.
    for i in range(factor.shape[0]):
        for j in range(factor.shape[1]):
            last[i, j] = factor[i, j]


@implements(SensingData)
@kernel(inner=True, symbol=True)
def _sensing_oracle(data, A, Bt, GB, GtAt):
    outer(A, Bt, data.X)
    gradient(data, data.X, data.y, data.G)
    return _back(data.G, data.w, A, Bt, GB, GtAt)


@implements(MixedSensingData)
@kernel(inner=True, symbol=True)
def _mixed_sensing_oracle(data, A, Bt, GB, GtAt):
    exact = data.exact
    if data.calls[0] % REFRESH == 0:
        outer(A, Bt, exact.X)
        gradient(exact, exact.X, exact.y, exact.G)
    else:
        _increment(A, Bt, data.lastA, data.lastBt, data.dx)
        whole_pass(data.M32, data.dx, data.zero, data.calls[0] % 2 == 1, data.dw, data.dg)
        _advance(data.dg, 1.0 / exact.w.size, exact.G.reshape(exact.G.size), data.dw, exact.w)
    _keep(A, data.lastA)
    _keep(Bt, data.lastBt)
    data.calls[0] += 1
    return _back(exact.G, exact.w, A, Bt, GB, GtAt)
