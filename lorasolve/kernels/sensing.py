"""Dense sensing: residual and gradient from one pass over the measurements.

The N x (m n) matrix is by far the largest operand (8 N m n bytes in float64), and the plain route reads it twice,
once for ``M x`` and once for ``M^T w``. Here four measurements at a time are multiplied with ``x`` and, still in
cache, added to the gradient: ``4 N m n`` flops for one read.

``MixedSensingData`` halves the traffic again: between exact refreshes the residual and the gradient, which are
linear in ``X``, are advanced by the products of a float32 copy with the step ``X - X_last``. The error is relative
to the distance travelled since the last refresh, so it vanishes as the iterates converge.

``QuantizedSensingData`` halves it once more: a step that is small against ``X`` and measurements, both rounded to
16-bit integers, are multiplied as such (``sensing_words.py``). Their products are added to those of the last point
that had float32 or float64, never to one another, so that the errors of such steps do not add up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import sensing_words, simd_words
from .factors import factor_gradients, outer, summed
from .jit import FAST, kernel
from .oracle import implements
from .parts import each_part
from .simd import aligned

# Exact products are so many oracle calls apart, and products of float32 at most so many.
REFRESH, SINGLE = 200, 50
# Largest error of a step by 16-bit integers, as a part of ``X``: those of float32 over a run's first steps.
QUANTIZED_ERROR = 3e-7
# What rounding the weights of four measurements at a time adds to the error, relative to the weights.
_WEIGHTS_ROUNDED = 4e-5


class SensingData(NamedTuple):
    """Measurements (N, m n), observations (N,), and scratch (``g`` has one row per thread, or is a vector for one).

    With a vector a run compiles no parallel loop. The rows may be longer than needed. ``X_flat`` and ``G_flat`` are
    views.
    """

    M: Any
    y: Any
    X: Any
    G: Any
    X_flat: Any
    G_flat: Any
    w: Any
    g: Any


class MixedSensingData(NamedTuple):
    """Measurements in float64 with their scratch, and in float32, whose increments go on from exact products.

    ``X``, ``G`` and their views ``X_flat``, ``G_flat`` are the present point and its gradient, ``w`` its residual;
    then the last ``X``, scratch, and the calls since exact products.
    """

    M: Any
    y: Any
    g: Any
    M32: Any
    X: Any
    G: Any
    X_flat: Any
    G_flat: Any
    w: Any
    last: Any
    zero: Any
    dx: Any
    dw: Any
    dg: Any
    calls: Any

    def exactly(self, A: Any, B: Any, GB: Any, GtA: Any) -> float:
        """Write ``G B`` and ``G^T A`` and return ``f``, exactly; increments go on from there."""
        self.refresh(A, B)
        self.calls[0] = 1
        np.matmul(self.G, B, out=GB)
        np.matmul(self.G.T, A, out=GtA)
        return 0.5 * float(np.vdot(self.w, self.w)) / self.w.size

    def refresh(self, A: Any, B: Any) -> None:
        """Make the next call, at this point, exact; increments go on from there."""
        np.matmul(A, B.T, out=self.X)
        self.last[:] = self.X_flat
        gradient(self.M, self.X_flat, self.y, self.w, self.g, self.G_flat)
        self.calls[0] = 0

    @property
    def ahead(self) -> int:
        """How many calls may follow before products are refreshed from outside."""
        return REFRESH - int(self.calls[0])


class QuantizedSensingData(NamedTuple):
    """Increments by float32, or by 16-bit integers: measurements ``unit * M16`` up to ``error`` (Frobenius, relative).

    The last products by float64 or float32 stay in ``mixed``; ``G`` and ``w`` are those at the present point, ``x`` is
    the rounded step: integers, in float32 where integers are not multiplied as such.
    """

    mixed: MixedSensingData
    M16: Any
    unit: Any
    error: Any
    x: Any
    G: Any
    G_flat: Any
    w: Any

    def exactly(self, A: Any, B: Any, GB: Any, GtA: Any) -> float:
        """Write ``G B`` and ``G^T A`` and return ``f``, exactly; increments go on from there."""
        return self.mixed.exactly(A, B, GB, GtA)

    def refresh(self, A: Any, B: Any) -> None:
        """Make the next call, at this point, exact; increments go on from there."""
        self.mixed.refresh(A, B)

    @property
    def ahead(self) -> int:
        """How many calls may follow before products are refreshed from outside."""
        return self.mixed.ahead


def data(M: Any, y: Any, shape: tuple[int, int], threads: int) -> SensingData:
    """Return kernel data with fresh scratch; small problems get one thread."""
    N, d = M.shape
    if N * d < 100_000:
        threads = 1
    X, G = aligned(d, M.dtype), np.empty(d, M.dtype)
    w, g = np.empty(N, M.dtype), _scratch(d, threads, M.dtype)
    return SensingData(M, y, X.reshape(shape), G.reshape(shape), X, G, w, g)


def _scratch(d: int, threads: int, dtype: Any) -> Any:
    """Return a vector of ``d`` numbers or more, or a matrix with such a row for each thread, each at a cache line."""
    columns = d + -d % sensing_words.LINE
    if threads == 1:
        return aligned(columns, dtype)
    return aligned(threads * columns, dtype).reshape(threads, columns)


def mixed_data(M: Any, y: Any, M32: Any, shape: tuple[int, int], threads: int) -> MixedSensingData:
    """Return kernel data for float32 increments, from measurements in float64 and float32."""
    exact, at = data(M, y, shape, threads), data(M32, y, shape, threads)
    zero, dw = np.zeros((2, y.size), np.float32)
    calls = np.zeros(1, np.int64)
    _, _, X, G, X_flat, G_flat, w, g = exact
    return MixedSensingData(M, y, g, M32, X, G, X_flat, G_flat, w, np.empty(X.size), zero, at.X_flat, dw, at.g, calls)


def quantized(M: Any, rows: int = 64) -> tuple[Any, float, float]:
    """Return measurements in 16-bit integers, their unit, and the relative error of the product in Frobenius norm.

    Rows end with zeros to whole cache lines. The error is 5e-5 for Gaussian measurements, and large where a few are
    far larger than all others. ``rows`` are rounded at once.
    """
    N, d = M.shape
    unit = float(max(M.max(), -M.min())) / sensing_words.LARGEST
    columns = d + -d % sensing_words.LINE
    M16 = aligned(N * columns, np.int16).reshape(N, columns)
    M16[:, d:] = 0
    wrong = size = 0.0
    for first in range(0, N, rows):
        block = M[first : first + rows] / unit
        size += float(np.vdot(block, block))
        M16[first : first + rows, :d] = whole = np.rint(block)
        block -= whole
        wrong += float(np.vdot(block, block))
    return M16, unit, (wrong / size) ** 0.5


def quantized_data(mixed: MixedSensingData, M16: Any, unit: float, error: float) -> QuantizedSensingData:
    """Return kernel data for increments of both kinds, from ``mixed`` and :func:`quantized`."""
    x = aligned(M16.shape[1], np.int16 if simd_words.available() else np.float32)
    x[:] = 0
    G = np.empty_like(mixed.G)
    return QuantizedSensingData(mixed, M16, unit, error, x, G, G.ravel(), np.empty_like(mixed.w))


@kernel(inner=True, symbol=True, fastmath=FAST)
def _pass(M, x, y, lo, hi, backward, w, g):
    """Write ``w = M x - y`` on rows ``lo..hi`` and ``g = sum of w_i M_i`` over them, in the type of ``x``.

    Four rows are multiplied with ``x`` and then added to ``g`` from their last number to the first, so that the first
    cache level still has what was read last. A pass in the other direction than the last one finds its first rows
    still in cache.
    """
    d = x.size
    number = x.dtype.type
    zero = number(0)
    for k in range(d):
        g[k] = zero
    blocks = (hi - lo) // 4
    for block in range(blocks):
        i = lo + 4 * (blocks - 1 - block if backward else block)
        m0, m1, m2, m3 = M[i], M[i + 1], M[i + 2], M[i + 3]
        s0 = s1 = s2 = s3 = zero
        for k in range(d):
            xk = x[k]
            s0 += number(m0[k]) * xk
            s1 += number(m1[k]) * xk
            s2 += number(m2[k]) * xk
            s3 += number(m3[k]) * xk
        w0, w1, w2, w3 = s0 - y[i], s1 - y[i + 1], s2 - y[i + 2], s3 - y[i + 3]
        w[i], w[i + 1], w[i + 2], w[i + 3] = w0, w1, w2, w3
        for k in range(d - 1, -1, -1):
            g[k] += w0 * number(m0[k]) + w1 * number(m1[k]) + w2 * number(m2[k]) + w3 * number(m3[k])
    for i in range(lo + 4 * blocks, hi):
        m0 = M[i]
        s0 = zero
        for k in range(d):
            s0 += number(m0[k]) * x[k]
        s0 -= y[i]
        for k in range(d):
            g[k] += s0 * number(m0[k])
        w[i] = s0


@kernel(inner=True, symbol=True)
def _pass_part(M, x, y, backward, w, g, t):
    """Run :func:`_pass` on one of as many equal blocks of rows as ``g`` has rows."""
    N, threads = y.size, g.shape[0]
    _pass(M, x, y, N * t // threads, N * (t + 1) // threads, backward, w, g[t])


@kernel(inner=True)
def whole_pass(M, x, y, backward, w, g):
    """Write ``w = M x - y``, and ``M^T w`` as ``g`` or as the sum over its rows."""
    if g.ndim == 1:
        _pass(M, x, y, 0, y.size, backward, w, g)
    else:
        each_part(_pass_part, g.shape[0], (M, x, y, backward, w, g))


_word_pass = sensing_words.whole_pass if simd_words.available() else whole_pass


@kernel(inner=True, symbol=True, fastmath=FAST)
def _sum_rows(g, factor, G):
    """Write ``G = factor (sum of the rows of g)``."""
    for k in range(G.size):
        G[k] = factor * summed(g, k)


@kernel(inner=True, symbol=True, fastmath=FAST)
def _advance(unit, step_unit, dg, dw, G, w, new_G, new_w):
    """Write ``G`` and ``w`` with the increments of a pass added, over measurements and a step in these units."""
    factor = unit * unit * step_unit / w.size
    if dg.ndim == 1:
        for k in range(G.size):
            new_G[k] = G[k] + factor * dg[k]
    else:
        for k in range(G.size):
            new_G[k] = G[k] + factor * dg[0, k]
        for t in range(1, dg.shape[0]):
            for k in range(G.size):
                new_G[k] += factor * dg[t, k]
    for i in range(w.size):
        new_w[i] = w[i] + unit * step_unit * dw[i]


@kernel(inner=True, fastmath=FAST)
def _half_mean_square(w):
    total = w.dtype.type(0)
    for i in range(w.size):
        total += w[i] * w[i]
    return 0.5 * total / w.size


@kernel()
def _one_pass(M, x, y, w, g):
    whole_pass(M, x, y, False, w, g)


def gradient(M: Any, x: Any, y: Any, w: Any, g: Any, G: Any) -> None:
    """Write ``w = M x - y`` and ``G = M^T w / N`` from Python, for any ``y``; ``g`` is scratch."""
    _one_pass(M, x, y, w, g)
    rows = g[..., : G.size]  # beyond lies what is never written
    np.multiply(rows if rows.ndim == 1 else rows.sum(axis=0), G.dtype.type(1.0 / w.size), out=G)


@kernel(inner=True, symbol=True, fastmath=FAST)
def _back(G, w, A, Bt, GB, GtAt):
    """Write ``G B`` and ``(G^T A)^T``; return the mean loss of the residual ``w``."""
    factor_gradients(G, A, Bt, GB, GtAt)
    return _half_mean_square(w)


@kernel(inner=True, fastmath=FAST)
def _increment(X, last, dx):
    """Write ``dx = X - last`` in float32."""
    for k in range(last.size):
        dx[k] = np.float32(X[k] - last[k])


@kernel(inner=True, fastmath=FAST)
def _distance(X, last):
    """Return ``||X - last||``, ``||X||`` and the largest part of their difference."""
    moved = size = largest = X.dtype.type(0)
    for k in range(last.size):
        change = X[k] - last[k]
        moved += change * change
        size += X[k] * X[k]
        if abs(change) > largest:
            largest = abs(change)
    return np.sqrt(moved), np.sqrt(size), largest


@kernel(inner=True, fastmath=FAST)
def _rounded(X, last, unit, x):
    """Write ``(X - last) / unit`` in integers; return ``||X - last - unit x||``."""
    inverse = 1 / unit
    wrong = X.dtype.type(0)
    for k in range(last.size):
        change = (X[k] - last[k]) * inverse
        whole = np.rint(change)
        x[k] = x.dtype.type(whole)
        wrong += (change - whole) * (change - whole)
    return unit * np.sqrt(wrong)


@kernel(inner=True)
def _keep(X, last):
    for k in range(last.size):
        last[k] = X[k]


@implements(SensingData)
@kernel(inner=True, symbol=True)
def _sensing_oracle(data, A, Bt, GB, GtAt):
    outer(A, Bt, data.X)
    whole_pass(data.M, data.X_flat, data.y, False, data.w, data.g)
    _sum_rows(data.g, data.G_flat.dtype.type(1.0 / data.y.size), data.G_flat)
    return _back(data.G, data.w, A, Bt, GB, GtAt)


@implements(MixedSensingData)
@kernel(inner=True, symbol=True)
def _mixed_sensing_oracle(data, A, Bt, GB, GtAt):
    outer(A, Bt, data.X)
    if data.calls[0] > 0:
        _increment(data.X_flat, data.last, data.dx)
        whole_pass(data.M32, data.dx, data.zero, data.calls[0] % 2 == 1, data.dw, data.dg)
        _advance(1.0, 1.0, data.dg, data.dw, data.G_flat, data.w, data.G_flat, data.w)
    _keep(data.X_flat, data.last)
    data.calls[0] += 1
    return _back(data.G, data.w, A, Bt, GB, GtAt)


@kernel(inner=True, symbol=True)
def _rounded_step(X, last, error, x):
    """Write ``X - last`` in integers where products with measurements of this error are good enough.

    Return the unit, 0 where they are not.
    """
    moved, size, largest = _distance(X, last)
    unit = largest / sensing_words.LARGEST
    allowed = QUANTIZED_ERROR * size
    measured = np.hypot(error, _WEIGHTS_ROUNDED) * moved
    # The norms are finite where the comparison holds; integers of other numbers are undefined.
    if not (unit > 0 and measured <= allowed):
        return 0.0
    return unit if np.hypot(measured, _rounded(X, last, unit, x)) <= allowed else 0.0


@implements(QuantizedSensingData)
@kernel(inner=True, symbol=True)
def _quantized_sensing_oracle(data, A, Bt, GB, GtAt):
    mixed = data.mixed
    outer(A, Bt, mixed.X)
    calls = mixed.calls[0]
    unit = _rounded_step(mixed.X_flat, mixed.last, data.error, data.x) if calls % SINGLE > 0 else 0.0
    if unit > 0:
        _word_pass(data.M16, data.x, mixed.zero, calls % 2 == 1, mixed.dw, mixed.dg)
        _advance(data.unit, unit, mixed.dg, mixed.dw, mixed.G_flat, mixed.w, data.G_flat, data.w)
        mixed.calls[0] += 1
        return _back(data.G, data.w, A, Bt, GB, GtAt)
    return _mixed_sensing_oracle(mixed, A, Bt, GB, GtAt)
