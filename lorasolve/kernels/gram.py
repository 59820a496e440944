"""Linear fine-tuning through Gram matrices: ``G B = A (B^T S B) - C B`` and ``G^T A = (S B)(A^T A) - C^T A``.

Three products of an n-wide matrix with a skinny one, ``2 r (n^2 + 2 m n)`` flops, from one read of ``S`` and one of
``C``. All factors are held transposed, ranks padded with zero rows to a multiple of four, and the loops work on
blocks of four rows by four columns: sixteen sums per pass over the long axis, eight loads for sixteen
multiply-adds. ``MixedGramData`` advances the three products, which are linear in the factors, by float32 increments
between exact refreshes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ._jit import FAST, kernel
from .factors import transpose
from .oracle import implements
from .sensing import REFRESH


class GramData(NamedTuple):
    """``S`` (n, n), ``C`` (m, n), the loss at zero, and scratch, all factors transposed and padded.

    ``At``, ``CBt`` (r', m); ``Bt``, ``SBt``, ``CtAt`` (r', n); ``share`` one copy of ``CtAt`` per thread; ``K``,
    ``L`` (r', r') for ``B^T S B`` and ``A^T A``; ``GBt`` (r, m), not padded.
    """

    S: Any
    C: Any
    f0: Any
    At: Any
    Bt: Any
    SBt: Any
    CBt: Any
    CtAt: Any
    share: Any
    K: Any
    L: Any
    GBt: Any


class MixedGramData(NamedTuple):
    """Exact data, float32 copies, and the state of the increments."""

    exact: GramData
    S32: Any
    C32: Any
    lastA: Any
    lastB: Any
    dA: Any
    dB: Any
    dSB: Any
    dCB: Any
    share: Any
    calls: Any


def data(S: Any, C: Any, f0: float, rank: int, threads: int) -> GramData:
    """Return kernel data with fresh scratch; small problems get one thread."""
    m, n = C.shape
    if (n + 2 * m) * n * rank < 200_000:
        threads = 1
    padded = 4 * ((rank + 3) // 4)
    At, CBt = np.zeros((2, padded, m), C.dtype)
    Bt, SBt, CtAt = np.zeros((3, padded, n), C.dtype)
    K, L = np.zeros((2, padded, padded), C.dtype)
    S, C = (np.require(part, requirements=["C", "W"]) for part in (S, C))
    share = np.empty((threads, padded, n), C.dtype)
    return GramData(S, C, C.dtype.type(f0), At, Bt, SBt, CBt, CtAt, share, K, L, np.empty((rank, m), C.dtype))


def mixed_data(exact: GramData, S32: Any, C32: Any) -> MixedGramData:
    """Return kernel data for float32 increments of a float64 problem, from its Gram matrices in float32."""
    dA, dCB = np.zeros((2, *exact.At.shape), np.float32)
    dB, dSB = np.zeros((2, *exact.Bt.shape), np.float32)
    share = np.empty(exact.share.shape, np.float32)
    lastA, lastB = np.zeros_like(exact.At), np.zeros_like(exact.Bt)
    return MixedGramData(exact, S32, C32, lastA, lastB, dA, dB, dSB, dCB, share, np.zeros(1, np.int64))


@kernel(fastmath=FAST)
def _rows_times(S, Bt, lo, hi, Pt):
    """Write columns ``lo..hi`` of ``Pt = (S B)^T``."""
    n = S.shape[1]
    zero = S.dtype.type(0)
    i = lo
    while i + 4 <= hi:
        u0, u1, u2, u3 = S[i], S[i + 1], S[i + 2], S[i + 3]
        for q in range(0, Bt.shape[0], 4):
            b0, b1, b2, b3 = Bt[q], Bt[q + 1], Bt[q + 2], Bt[q + 3]
            c00 = c01 = c02 = c03 = c10 = c11 = c12 = c13 = zero
            c20 = c21 = c22 = c23 = c30 = c31 = c32 = c33 = zero
            for j in range(n):
                x0, x1, x2, x3 = u0[j], u1[j], u2[j], u3[j]
                y0, y1, y2, y3 = b0[j], b1[j], b2[j], b3[j]
                c00 += x0 * y0
                c01 += x0 * y1
                c02 += x0 * y2
                c03 += x0 * y3
                c10 += x1 * y0
                c11 += x1 * y1
                c12 += x1 * y2
                c13 += x1 * y3
                c20 += x2 * y0
                c21 += x2 * y1
                c22 += x2 * y2
                c23 += x2 * y3
                c30 += x3 * y0
                c31 += x3 * y1
                c32 += x3 * y2
                c33 += x3 * y3
            Pt[q, i], Pt[q, i + 1], Pt[q, i + 2], Pt[q, i + 3] = c00, c10, c20, c30
            Pt[q + 1, i], Pt[q + 1, i + 1], Pt[q + 1, i + 2], Pt[q + 1, i + 3] = c01, c11, c21, c31
            Pt[q + 2, i], Pt[q + 2, i + 1], Pt[q + 2, i + 2], Pt[q + 2, i + 3] = c02, c12, c22, c32
            Pt[q + 3, i], Pt[q + 3, i + 1], Pt[q + 3, i + 2], Pt[q + 3, i + 3] = c03, c13, c23, c33
        i += 4
    while i < hi:
        for q in range(Bt.shape[0]):
            s = zero
            for j in range(n):
                s += S[i, j] * Bt[q, j]
            Pt[q, i] = s
        i += 1


@kernel(fastmath=FAST)
def _columns_times(C, At, lo, hi, CtAt):
    """Write ``CtAt = (C^T A)^T`` summed over rows ``lo..hi`` of ``C``."""
    n = C.shape[1]
    for q in range(At.shape[0]):
        for j in range(n):
            CtAt[q, j] = 0
    i = lo
    while i + 4 <= hi:
        u0, u1, u2, u3 = C[i], C[i + 1], C[i + 2], C[i + 3]
        for q in range(0, At.shape[0], 4):
            t0, t1, t2, t3 = CtAt[q], CtAt[q + 1], CtAt[q + 2], CtAt[q + 3]
            a00, a01, a02, a03 = At[q, i], At[q + 1, i], At[q + 2, i], At[q + 3, i]
            a10, a11, a12, a13 = At[q, i + 1], At[q + 1, i + 1], At[q + 2, i + 1], At[q + 3, i + 1]
            a20, a21, a22, a23 = At[q, i + 2], At[q + 1, i + 2], At[q + 2, i + 2], At[q + 3, i + 2]
            a30, a31, a32, a33 = At[q, i + 3], At[q + 1, i + 3], At[q + 2, i + 3], At[q + 3, i + 3]
            for j in range(n):
                x0, x1, x2, x3 = u0[j], u1[j], u2[j], u3[j]
                t0[j] += a00 * x0 + a10 * x1 + a20 * x2 + a30 * x3
                t1[j] += a01 * x0 + a11 * x1 + a21 * x2 + a31 * x3
                t2[j] += a02 * x0 + a12 * x1 + a22 * x2 + a32 * x3
                t3[j] += a03 * x0 + a13 * x1 + a23 * x2 + a33 * x3
        i += 4
    while i < hi:
        for q in range(At.shape[0]):
            a = At[q, i]
            for j in range(n):
                CtAt[q, j] += a * C[i, j]
        i += 1


@kernel(inline="always")
def _block(S, C, At, Bt, SBt, CBt, share, t, threads):
    """Do the part of thread ``t``; four rows of ``C`` stay in cache between their two products."""
    n, m = S.shape[0], C.shape[0]
    _rows_times(S, Bt, n * t // threads, n * (t + 1) // threads, SBt)
    lo, hi = m * t // threads, m * (t + 1) // threads
    _rows_times(C, Bt, lo, hi, CBt)
    _columns_times(C, At, lo, hi, share[t])


@kernel(parallel=True)
def _parallel_products(S, C, At, Bt, SBt, CBt, share):
    for t in prange(share.shape[0]):
        _block(S, C, At, Bt, SBt, CBt, share, t, share.shape[0])


@kernel(inline="always")
def _products(S, C, At, Bt, SBt, CBt, share):
    """Write ``SBt``, ``CBt``, and ``CtAt`` as a sum over ``share``."""
    if share.shape[0] == 1:
        _block(S, C, At, Bt, SBt, CBt, share, 0, 1)
    else:
        _parallel_products(S, C, At, Bt, SBt, CBt, share)


@kernel(fastmath=FAST)
def _sum_shares(share, CtAt):
    """Write the sum of the threads' shares."""
    for q in range(CtAt.shape[0]):
        for j in range(CtAt.shape[1]):
            s = share[0, q, j]
            for t in range(1, share.shape[0]):
                s += share[t, q, j]
            CtAt[q, j] = s


@kernel(fastmath=FAST)
def _copy(Bt, padded):
    """Copy the rows of ``Bt``; rows of ``padded`` beyond the rank stay zero."""
    for q in range(Bt.shape[0]):
        for j in range(Bt.shape[1]):
            padded[q, j] = Bt[q, j]


@kernel(fastmath=FAST)
def _inner_products(P, Q, r, K):
    """Write ``K[p, q] = <P[p], Q[q]>``."""
    for p in range(r):
        for q in range(r):
            s = P.dtype.type(0)
            for j in range(P.shape[1]):
                s += P[p, j] * Q[q, j]
            K[p, q] = s


@kernel(fastmath=FAST)
def _combine(K, Pt, Ct, out):
    """Write ``out = (P K - C)^T``, all factors transposed."""
    r, n = out.shape
    for q in range(r):
        for j in range(n):
            out[q, j] = -Ct[q, j]
        for p in range(r):
            k = K[p, q]
            for j in range(n):
                out[q, j] += k * Pt[p, j]


@kernel(fastmath=FAST)
def _finish(f0, At, Bt, SBt, CBt, CtAt, K, L, GBt, GB, GtAt):
    """Write ``G B`` and ``(G^T A)^T`` from the three products; return ``f``."""
    r = GB.shape[1]
    _inner_products(Bt, SBt, r, K)
    _inner_products(At, At, r, L)
    quadratic = linear = At.dtype.type(0)
    for p in range(r):
        for q in range(r):
            quadratic += K[p, q] * L[p, q]
        for i in range(At.shape[1]):
            linear += At[p, i] * CBt[p, i]
    _combine(K, At, CBt, GBt)
    transpose(GBt, GB)
    _combine(L, SBt, CtAt, GtAt)
    return f0 + 0.5 * quadratic - linear


@kernel(fastmath=FAST)
def _increment(new, last, change):
    """Write ``change = new - last`` in float32 and ``last = new``."""
    for q in range(new.shape[0]):
        for j in range(new.shape[1]):
            change[q, j] = np.float32(new[q, j] - last[q, j])
            last[q, j] = new[q, j]


@kernel(fastmath=FAST)
def _advance(dSB, SBt, dCB, CBt, share, CtAt):
    """Add the increments to the three products."""
    for q in range(SBt.shape[0]):
        for j in range(SBt.shape[1]):
            SBt[q, j] += dSB[q, j]
        for i in range(CBt.shape[1]):
            CBt[q, i] += dCB[q, i]
        for t in range(share.shape[0]):
            for j in range(SBt.shape[1]):
                CtAt[q, j] += share[t, q, j]


@kernel(inline="always")
def _exact_products(data):
    _products(data.S, data.C, data.At, data.Bt, data.SBt, data.CBt, data.share)
    _sum_shares(data.share, data.CtAt)


@implements(GramData)
def _(data, A, Bt, GB, GtAt):
    transpose(A, data.At)
    _copy(Bt, data.Bt)
    _exact_products(data)
    return _finish(
        data.f0, data.At, data.Bt, data.SBt, data.CBt, data.CtAt, data.K, data.L, data.GBt, GB, GtAt
    )


@implements(MixedGramData)
def _(data, A, Bt, GB, GtAt):
    exact = data.exact
    transpose(A, exact.At)
    _copy(Bt, exact.Bt)
    refresh = data.calls[0] % REFRESH == 0
    data.calls[0] += 1
    _increment(exact.At, data.lastA, data.dA)
    _increment(exact.Bt, data.lastB, data.dB)
    if refresh:
        _exact_products(exact)
    else:
        _products(data.S32, data.C32, data.dA, data.dB, data.dSB, data.dCB, data.share)
        _advance(data.dSB, exact.SBt, data.dCB, exact.CBt, data.share, exact.CtAt)
    return _finish(
        exact.f0, exact.At, exact.Bt, exact.SBt, exact.CBt, exact.CtAt, exact.K, exact.L, exact.GBt, GB, GtAt
    )
