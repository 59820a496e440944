"""Ball oracles of losses of linear measurements ``<M_i, X>``: matrix sensing of every kind, and linearized networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._support.validate import Array
from ..objectives.ntk import NTK
from ..objectives.sensing import MatrixSensing
from . import _losses
from ._rounding import BLOCK, ETA, U, add_up, frobenius, mul_up, row_norms, sqrt_up, sum_error, terms, two_sum
from .balls import Ball, BallOracle, entries, half_square, product, residual, scaled, two_product

# Entries of dense measurements that are split at a time, few enough to stay in a processor's cache.
CACHED = 2**17
# Entries from which on one pass by a compiled kernel is worth loading it, and the bits that it splits at.
FUSED, BITS = 2**20, 26


def sensing(objective: MatrixSensing, A: Array, B: Array) -> BallOracle:
    """``r_i = <M_i, X> - y_i``, ``G = sum_i r_i M_i / N``, ``f = ||r||^2 / (2N)``."""
    r, combination = _KINDS[objective.kind](objective._map, objective.y, A, B)
    N = len(objective.y)
    return BallOracle(*half_square(r, N), scaled(combination, float(N)), 0.0, "the measurements", least_squares=True)


def ntk(objective: NTK, A: Array, B: Array) -> BallOracle:
    """``G = sum w_ik G_ik`` with ``w`` the derivative of the loss in the outputs ``z0 + <G_ik, X>``."""
    N, K = objective.offset.shape
    flat = Ball(objective._matrix)
    if objective.loss == "square":
        # z0 cancels against the targets, so their difference is taken exactly.
        y, rest = two_sum(objective.targets.ravel(), -objective.offset.ravel())
        z = _apply(flat, y, A, B)
        w = Ball(z.mid - rest, z.radius)
        w = w.wider(mul_up(U, w.mid_norm))
        G = scaled(_combine(flat, w, objective.shape), float(N))
        return BallOracle(*half_square(w, N), G, 0.0, "the features", least_squares=True)
    z = _apply(flat, -objective.offset.ravel(), A, B)
    z = Ball(np.ascontiguousarray(z.mid.reshape(N, K).T), z.radius)
    if objective.loss == "softmax":
        loss = _losses.softmax(z, objective.targets)
    else:
        loss = _losses.logistic(z, objective.targets.T)
    w = Ball(loss.derivative.mid.T.ravel(), loss.derivative.radius)
    return BallOracle(loss.low, loss.high, _combine(flat, w, objective.shape), 0.0, "the features")


# ---------------------------------------------------------------------- dense measurements
def _apply(flat: Ball, y: Array, A: Array, B: Array) -> Ball:
    """Enclose ``M vec(A B^T) - y``, with ``A B^T`` in twice the working precision."""
    high, low, radius = two_product(A, np.ascontiguousarray(B.T))
    if _in_one_pass(flat.mid):
        return measured_in_one_pass(flat.mid, y, high.ravel(), low.ravel(), radius)
    r = measured(flat, y, high.reshape(-1, 1), low.reshape(-1, 1), radius)
    return Ball(r.mid[:, 0], r.radius)


def _in_one_pass(M: Array) -> bool:
    from ..kernels import simd

    return M.size >= FUSED and simd.available()


def measured_in_one_pass(M: Array, y: Array, high: Array, low: Array, radius: float) -> Ball:
    """Enclose ``M (x + low) - y`` for one vector ``x = high``, reading ``M`` from memory once.

    ``radius`` is the error of ``high + low``. Rows ``a`` and ``x`` are split relative to powers of two above their
    lengths: the products ``a1_j x1_j`` are multiples of ``2^(-2 BITS)`` of the product of these powers, and the sum of
    their sizes is at most ``||a1|| ||x1||``, below ``2^53`` such units. What is left is a sum of ``2 n`` products.
    """
    from ..kernels.splitting import split_products

    x1, x2 = _split_vector(high, low)
    out = np.empty((len(y), 4))
    split_products(M.reshape(-1), x1, x2, BITS, out)
    return _split_ball(out, y, x1, x2, radius, _length(out[:, 2], len(x1)))


def combined_in_one_pass(M: Array, y: Array, high: Array, low: Array, radius: float) -> tuple[Ball, Ball]:
    """Enclose ``r = M (x + low) - y`` as :func:`measured_in_one_pass` does, and ``M^T r``, in the same pass."""
    from ..kernels import simd
    from ..kernels.splitting import split_residual

    (N, n), (x1, x2) = M.shape, _split_vector(high, low)
    out, w, part, G = np.empty((N, 4)), np.empty(N), simd.aligned(n, np.float64), np.empty(n)
    split_residual(M.reshape(-1), y, x1, x2, BITS, BLOCK, out, w, part, G)
    whole = _length(out[:, 2], n)
    r = _split_ball(out, y, x1, x2, radius, whole)
    rounding = mul_up(sum_error(N), r.mid_norm, whole), n * terms(N) * ETA
    return r, Ball(G, add_up(*rounding, mul_up(r.radius, whole)))


def _split_vector(high: Array, low: Array) -> tuple[Array, Array]:
    """Return ``x1`` with ``BITS`` bits below the length of ``high``, and ``x2 = (high - x1) + low``."""
    from ..kernels import simd

    sigma = math.ldexp(0.75, math.frexp(frobenius(high))[1] + 53 - BITS)
    x1, x2 = simd.aligned(len(high), np.float64), simd.aligned(len(high), np.float64)
    np.subtract(high + sigma, sigma, out=x1)
    np.add(high - x1, low, out=x2)
    return x1, x2


def _length(squares: Array, n: int) -> float:
    """Return an upper bound of the Frobenius norm of rows, from the sums of the ``n`` squares of each."""
    return add_up(mul_up(frobenius(np.sqrt(squares)), 1.0 + (n + 8) * U), sqrt_up(mul_up(len(squares), n, ETA)))


def _split_ball(out: Array, y: Array, x1: Array, x2: Array, radius: float, whole: float) -> Ball:
    """Enclose ``M x - y`` from the numbers of ``split_products``, ``||M||_F <= whole`` and ``x = x1 + x2``.

    ``x2`` has one rounding and the error ``radius``.
    """
    N, n = len(y), len(x1)
    second = mul_up(frobenius(np.sqrt(out[:, 3])), 1.0 + 4.0 * U)
    first = add_up(whole, second)
    rest = frobenius(x2)
    size = add_up(frobenius(x1), rest)
    mid = out[:, 0] - y
    error = add_up(
        mul_up(whole, radius),
        # A sum of 2 n products, with the roundings of x2 and of x1 + x2 in them.
        mul_up(2.0 * (n + 4) * U, add_up(mul_up(first, rest), mul_up(second, size))),
        mul_up(U, frobenius(mid)),
        mul_up(8.0 * N, n, ETA),
    )
    mid += out[:, 1]
    r = Ball(mid)
    return r.wider(error, mul_up(U, r.mid_norm))


def measured(flat: Ball, y: Array, high: Array, low: Array, radius: float) -> Ball:
    """Enclose ``M (x + low) - y`` for each column ``x`` of ``high``, a few rows of ``M`` at a time.

    ``radius`` is the error of each column of ``high + low``.
    """
    # Many columns are split again for each piece: pieces are larger than they are.
    rows = max(CACHED // len(high), 4 * high.shape[1])
    parts = [
        residual(flat.mid[first : first + rows], high, y[first : first + rows, None], low)
        for first in range(0, len(y), rows)
    ]
    rounding = sqrt_up(add_up(*(mul_up(part.radius, part.radius) for part in parts)))
    error = mul_up(radius, sqrt_up(float(high.shape[1])))
    return Ball(np.vstack([part.mid for part in parts]), add_up(rounding, mul_up(flat.mid_norm, error)))


def _combine(flat: Ball, w: Ball, shape: tuple[int, int]) -> Ball:
    """Enclose ``sum_i w_i M_i``."""
    G = product(Ball(w.mid[None, :], w.radius), flat)
    return Ball(G.mid.reshape(shape), G.radius)


def _dense(measurements: Any, y: Array, A: Array, B: Array) -> tuple[Ball, Ball]:
    flat = Ball(measurements.flat)
    if not _in_one_pass(flat.mid):
        r = _apply(flat, y, A, B)
        return r, _combine(flat, r, measurements.shape)
    high, low, radius = two_product(A, np.ascontiguousarray(B.T))
    r, G = combined_in_one_pass(flat.mid, y, high.ravel(), low.ravel(), radius)
    return r, Ball(G.mid.reshape(measurements.shape), G.radius)


# ---------------------------------------------------------------------- rank-one measurements
def _rank_one(measurements: Any, y: Array, A: Array, B: Array) -> tuple[Ball, Ball]:
    """``<a_i b_i^T, A B^T> = <A^T a_i, B^T b_i>`` with both parts in twice the working precision."""
    a, b = measurements.a, measurements.b
    (P, p, p_radius), (Q, q, q_radius) = two_product(a, A), two_product(b, B)
    index = np.arange(len(y))
    # (P + p)(Q + q): the product of the leading parts accurately, the rest with plain sums.
    leading = entries(P, Q, index, index, y)
    rest = np.einsum("ij,ij->i", P, q) + np.einsum("ij,ij->i", p, Q) + np.einsum("ij,ij->i", p, q)
    r = P.shape[1]
    lengths = row_norms(P), row_norms(p), row_norms(Q), row_norms(q)
    sizes = lengths[0] * lengths[3] + lengths[1] * lengths[2] + lengths[1] * lengths[3]
    largest = [float(length.max()) for length in lengths]
    missing = add_up(
        mul_up(p_radius, add_up(largest[2], largest[3], q_radius)), mul_up(q_radius, add_up(largest[0], largest[1]))
    )
    mid = leading.mid + rest
    found = Ball(mid).wider(
        leading.radius,
        mul_up((r + 8) * U, frobenius(sizes), 1.0 + 16.0 * U),
        mul_up(8.0 * (r + 1) * len(y), ETA),
        mul_up(U, frobenius(mid)),
        missing,
    )
    weighted = a * mid[:, None]
    rows = add_up(mul_up(frobenius(row_norms(a) * row_norms(b)), 1.0 + 4.0 * U), len(y) * ETA)
    rounding = add_up(mul_up(U, frobenius(weighted), frobenius(b)), mul_up(a.size, ETA, frobenius(b)))
    return found, product(np.ascontiguousarray(weighted.T), b).wider(rounding, mul_up(found.radius, rows))


# ---------------------------------------------------------------------- sparse measurements
def _sparse(measurements: Any, y: Array, A: Array, B: Array) -> tuple[Ball, Ball]:
    """A sparse matrix times the touched entries of ``X``; errors are products with the matrix of absolute values."""
    M, Mt = measurements.M, measurements.Mt
    rows, cols, (m, n) = measurements.rows, measurements.cols, measurements.shape
    x = entries(A, B, rows, cols)
    norm = _sparse_norm(M, Mt)
    r = _sparse_product(M, x.mid)
    r = Ball(r.mid - y, r.radius)
    r = r.wider(mul_up(U, r.mid_norm), mul_up(norm, x.radius))
    values = _sparse_product(Mt, r.mid).wider(mul_up(norm, r.radius))
    G = np.zeros((m, n))
    G[rows, cols] = values.mid
    return r, Ball(G, values.radius)


def _sparse_product(M: Any, x: Array) -> Ball:
    """Enclose ``M x``; a row of ``k`` stored entries is a sum of ``k`` products."""
    k = int(np.diff(M.indptr).max(initial=0))
    size = frobenius(abs(M) @ np.abs(x))
    return Ball(M @ x, add_up(mul_up((k + 1) * U, size, 1.0 + 2.0 * (k + 2) * U), mul_up(2.0 * k * M.shape[0], ETA)))


def _sparse_norm(M: Any, Mt: Any) -> float:
    """Return an upper bound of ``||M||_2``: the root of the largest row sum times the largest column sum of ``|M|``."""
    sums = [float((abs(part) @ np.ones(part.shape[1])).max()) for part in (M, Mt)]
    k = max(int(np.diff(part.indptr).max(initial=0)) for part in (M, Mt))
    return mul_up(sqrt_up(mul_up(*sums)), 1.0 + 2.0 * (k + 4) * U)


_KINDS = {"dense": _dense, "rank-one": _rank_one, "sparse": _sparse}

ORACLES = {MatrixSensing: sensing, NTK: ntk}
