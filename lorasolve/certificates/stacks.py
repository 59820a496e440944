"""The proofs of ``rigorous`` at many small points at once: the same theorems, each step for all points together.

An array here has the point as its first axis, a bound is a vector with an entry for each point. Steps that NumPy takes
for all points in one call cost little more than for one. Rounding is counted as in ``_rounding``, ``balls`` and
``norms``, whose functions of the same names say why; what cannot be shown is NaN or infinite and never compares as
small, so that a point that is too hard for this simpler way is left to ``certify`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from .._validate import Array
from ..objectives.base import Objective
from ..objectives.completion import MatrixCompletion
from ..objectives.denoising import Denoising
from ..objectives.huber import Huber
from ..objectives.linear import LinearFineTuning
from ..objectives.sensing import MatrixSensing
from ..objectives.softmax import Softmax
from . import _oracle_measurements, _oracle_models, _oracles, _rounding, ranks
from ._functions import (
    ATANH_COEFFICIENTS,
    EXP_COEFFICIENTS,
    EXP_ERROR,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    LOG_ERROR,
    LOWEST,
    SHIFT,
    TINY,
)
from ._oracle_models import SHARP as SHARP_LOSS
from ._rounding import (
    BLOCK,
    ETA,
    INFLATE,
    U,
    blocked,
    fraction_down,
    fraction_up,
    significant_bits,
    split,
    sum_error,
    terms,
    two_sum,
)
from .balls import Ball, BallOracle
from .norms import LEVEL_ATTEMPTS, POWER_STEPS, Trust, factor_norm
from .rigorous import (
    ABOVE_BOUND,
    CONTRADICTION,
    FENCHEL,
    LOST,
    NO_BOUND,
    Apart,
    Proof,
    RigorousBound,
    ScaledNorm,
    as_bound,
    bound_of,
    scaling,
    wanted_scaling,
)

Svd = tuple[Array, Array, Array]

# What the rounding of a single product may add to a gap, relative to f, where one in twice the precision costs more.
SHARP = 2.0**-37
# Outputs of models from which on a compiled kernel is worth loading it, and those that are evaluated at a time.
COMPILED, CACHED = 2**20, 2**17


# ---------------------------------------------------------------------- directed vectors
def up(x: Array) -> Array:
    """Return the next larger numbers."""
    return np.nextafter(x, math.inf)


def down(x: Array) -> Array:
    """Return the next smaller numbers."""
    return np.nextafter(x, -math.inf)


def add_up(*terms: Any) -> Any:
    """Return upper bounds of sums of numbers ``>= 0``."""
    total = terms[0]
    for term in terms[1:]:
        total = up(total + term)
    return total


def mul_up(*factors: Any) -> Any:
    """Return upper bounds of products of numbers ``>= 0``."""
    product = factors[0]
    for factor in factors[1:]:
        product = up(product * factor)
    return product


def sqrt_up(x: Array) -> Array:
    """Return upper bounds of square roots."""
    return up(np.sqrt(x))


def square_sum(x: Array) -> tuple[Array, Array]:
    """Return bounds of the sums of squares of the matrices of a stack: of rows of ``n``, then of ``m`` of these."""
    m, n = x.shape[-2:]
    total = np.einsum("kij,kij->ki", x, x).sum(axis=1)
    share, tiny = (m + n + 4) * U, m * n * ETA
    low = np.maximum(down(down(total - tiny) * (1.0 - share)), 0.0)
    return low, up(add_up(total, tiny) / (1.0 - share))


def frobenius(x: Array) -> Array:
    """Return upper bounds of the Frobenius norms."""
    return sqrt_up(square_sum(x)[1])


def column_norms(x: Array) -> Array:
    """Return upper bounds of the lengths of columns, (K, r)."""
    m = x.shape[1]
    return np.sqrt(np.einsum("kij,kij->kj", x, x) + 2.0 * m * ETA) * (1.0 + (m + 16) * U)


def weighted_sum(lengths: Array, others: Array) -> Array:
    """Return upper bounds of ``sum_i lengths_i others_i``."""
    r = lengths.shape[1]
    return mul_up(add_up((lengths * others).sum(axis=1), r * ETA), 1.0 + (r + 4) * U)


# ---------------------------------------------------------------------- balls
@dataclass(frozen=True)
class Balls:
    """A ball for each point, or one for all (then the first axis has length 1)."""

    mid: Array
    radius: Array

    @cached_property
    def mid_norm(self) -> Array:
        """Upper bounds of ``||mid||_F``."""
        return frobenius(self.mid)

    @property
    def norm(self) -> Array:
        """Upper bounds of ``||M||_F``."""
        return add_up(self.mid_norm, self.radius)

    def wider(self, *radii: Any) -> Balls:
        """Return the balls with radii added."""
        return Balls(self.mid, add_up(self.radius, *radii))


def product(A: Balls, B: Balls) -> Balls:
    """Enclose ``A B``."""
    k = A.mid.shape[-1]
    mid = blocked(A.mid, B.mid)
    a, b = A.mid_norm, B.mid_norm
    tiny = mid[0].size * terms(k) * ETA
    rounding = add_up(mul_up(sum_error(k), a, b), tiny)
    return Balls(mid, add_up(rounding, mul_up(A.radius, b), mul_up(a, B.radius), mul_up(A.radius, B.radius)))


def numbers(x: Array) -> Balls:
    """Return numbers as balls of radius 0."""
    return Balls(x, np.zeros(len(x)))


def residual(A: Array, B: Array, Y: Array | None = None, low: Array | None = None) -> Balls:
    """Enclose ``A (B + low) - Y``, accurate relative to the result where it cancels."""
    k = A.shape[-1]
    bits = significant_bits(k)
    A1, A2 = split(A, bits, -1)
    B1, B2 = split(B, bits, -2)
    C = A1 @ B1
    size = C[0].size
    radius = np.full(len(C), size * k * ETA)
    if Y is not None:
        C -= Y
        radius = add_up(radius, mul_up(U, frobenius(C)))
    a1, a2, b = frobenius(A1), frobenius(A2), frobenius(B)
    if low is not None:
        B2 = B2 + low
        radius = add_up(radius, mul_up(a1, U, frobenius(B2)), mul_up(a2, frobenius(low)))
    rest = A1 @ B2
    rest += A2 @ B
    error = mul_up((k + 1) * U, add_up(mul_up(a1, frobenius(B2)), mul_up(a2, b)))
    radius = add_up(radius, error, 2.0 * size * k * ETA, mul_up(U, frobenius(rest)))
    C += rest
    found = Balls(C, radius)
    return found.wider(mul_up(U, found.mid_norm))


def two_product(A: Array, B: Array) -> tuple[Array, Balls]:
    """Return ``high`` and a ball that contains ``A B - high``."""
    high = A @ B
    return high, residual(A, B, high)


def scaled(given: Balls, divisor: float) -> Balls:
    """Enclose ``M / divisor`` for a number ``divisor >= 1``."""
    mid = given.mid / divisor
    found = Balls(mid, up(given.radius / divisor))
    return found.wider(mul_up(U, found.mid_norm), mid[0].size * ETA)


def half_square(given: Balls, divisor: int = 1) -> tuple[Array, Array]:
    """Return bounds of ``||M||_F^2 / (2 divisor)``."""
    low, high = square_sum(given.mid)
    least = np.maximum(down(down(np.sqrt(low)) - given.radius), 0.0)
    most = add_up(sqrt_up(high), given.radius)
    return np.maximum(down(down(least * least) / (2.0 * divisor)), 0.0), up(mul_up(most, most) / (2.0 * divisor))


def inner_product(G: Balls, A: Array, B: Array, size: Array) -> Array:
    """Return upper bounds of ``<G, A B^T>``, given ``size >= ||A B^T||_F``."""
    H = residual(G.mid, B)
    m, r = A.shape[1:]
    middle = np.einsum("kij,kij->ki", H.mid, A).sum(axis=1)
    a = frobenius(A)
    error = add_up(mul_up((m + r + 2) * U, H.mid_norm, a), m * r * ETA, mul_up(H.radius, a), mul_up(G.radius, size))
    return up(middle + error)


# ---------------------------------------------------------------------- norms
def factor_svd(A: Array, B: Array) -> Svd:
    """Return ``P (K, m, k)``, ``s (K, k)``, ``Q (K, n, k)``, as near as floating point comes."""
    (QA, RA), (QB, RB) = np.linalg.qr(A), np.linalg.qr(B)
    left, s, right = np.linalg.svd(RA @ RB.mT, full_matrices=False)
    return QA @ left, s, QB @ right.mT


def nuclear_norm(A: Array, B: Array, svd: Svd) -> tuple[Array, Array]:
    """Return bounds of ``||A B^T||_*`` from an approximate decomposition.

    With ``E = A B^T - P diag(s) Q^T``, of rank at most ``2 r``: ``||A B^T||_* <= sum_i ||p_i|| ||q_i|| + sqrt(2 r)
    ||E||_F`` for ``p_i``, ``q_i`` with the roots of ``s`` in them. Below: ``<A B^T, P Q^T> <= ||A B^T||_* ||P||_2
    ||Q||_2`` with ``||P||_2^2 <= 1 + ||P^T P - I||_F``.
    """
    P, s, Q = svd
    root = np.sqrt(s)[:, None, :]
    p, q = P * root, Q * root
    r = A.shape[2] + s.shape[1]
    E = residual(np.concatenate([A, -p], axis=2), np.concatenate([B, q], axis=2).mT).norm
    high = add_up(weighted_sum(column_norms(p), column_norms(q)), mul_up(sqrt_up(np.full(len(A), float(r))), E))
    S, T = product(numbers(P.mT), numbers(A)), product(numbers(Q.mT), numbers(B))
    i, j = S.mid.shape[1:]
    middle = np.einsum("kij,kij->ki", S.mid, T.mid).sum(axis=1)
    error = add_up(
        mul_up((i + j + 2) * U, S.mid_norm, T.mid_norm), i * j * ETA, mul_up(S.radius, T.norm), mul_up(S.norm, T.radius)
    )
    one = np.eye(s.shape[1])
    spread = mul_up(*(add_up(1.0, residual(C.mT, C, one).norm) for C in (P, Q)))
    low = down(np.maximum(down(middle - error), 0.0) / sqrt_up(spread))
    return np.maximum(low, 0.0), np.minimum(high, weighted_sum(column_norms(A), column_norms(B)))


def perron(C: Array) -> Array:
    """Return upper bounds of ``|| |C|^T |C| ||_2``."""
    P = np.abs(C)
    m, n = P.shape[1:]
    x = np.ones((len(C), n, 1))
    best = np.full(len(C), math.inf)
    for _ in range(POWER_STEPS):
        y = P.mT @ (P @ x)
        best = np.minimum(best, (y / x).max(axis=(1, 2)))
        x = np.maximum(y / np.maximum(y.max(axis=1, keepdims=True), ETA), 2.0**-20)
    tiny = mul_up(2.0**21, add_up(float(m), mul_up(float(m * n), P.max(axis=(1, 2)))), ETA)
    return add_up(mul_up(best, 1.0 + 2.0 * (m + n + 8) * U), tiny)


def spectral_norm(G: Balls, level: Array, trust: Trust) -> Array:
    """Return upper bounds of ``||M||_2``, near a level where the norm is below it, crude ones elsewhere."""
    return Grams(G, trust).norm(level)


class Grams:
    """The Gram matrices of the short sides of a stack of balls, for bounds by factorisations (``norms.Gram``)."""

    def __init__(self, G: Balls, trust: Trust) -> None:
        C = G.mid if G.mid.shape[1] >= G.mid.shape[2] else G.mid.mT
        m, n = C.shape[1:]
        self.radius, self.trust = G.radius, trust
        self.squares = blocked(C.mT, C)
        entrywise = perron(C)
        self.error = add_up(mul_up(sum_error(m), entrywise), n * terms(m) * ETA)
        self.most = np.minimum(sqrt_up(entrywise), G.mid_norm)

    def norm(self, level: Array) -> Array:
        """Return upper bounds of ``||M||_2``, near a level where the norm is below it, crude ones elsewhere."""
        within = np.fmax(level - self.radius, 0.0)  # both may be infinite
        found = self.most.copy()
        above = np.flatnonzero(~(found <= within))
        for attempt in range(LEVEL_ATTEMPTS):
            W, error = self.squares[above], self.error[above]
            tau = _shifts(within[above], W.shape[1], error, attempt)
            excess = _shifted_defect(W, tau, self.trust)
            found[above] = np.fmin(found[above], sqrt_up(add_up(tau, excess, error)))
            above = above[np.isnan(excess)]
            if above.size == 0:
                break
        return add_up(found, self.radius)

    def rest(self, Z: Array, level: Array) -> Array:
        """Return upper bounds of ``sigma_(k+1)(M)``, near a level, from ``k`` columns each; infinite above it."""
        n, k = Z.shape[1:]
        within = np.maximum(level - self.radius, 0.0)
        size = frobenius(Z)
        # The upper triangles count; with their mirror images they are at most 1.5 times as large.
        M = np.triu(self.squares - blocked(Z, Z.mT))
        losses = mul_up(sum_error(k), size, size), n * n * terms(k) * ETA, mul_up(1.5 * U, frobenius(M))
        error = add_up(self.error, *losses)
        tau = _shifts(within, n, error, 0)
        found = add_up(sqrt_up(add_up(tau, _shifted_defect(M, tau, self.trust), error)), self.radius)
        return np.where(np.isnan(found), math.inf, found)


def _shifts(within: Array, n: int, error: Array, attempt: int) -> Array:
    """Return squares of levels, raised by what a factorisation of order ``n`` and its matrix may lose."""
    square = np.square(within)
    return square + np.maximum(16.0 * U * math.sqrt(n) * square, 0.25 * error) * 8.0**attempt


def _shifted_defect(W: Array, tau: Array, trust: Trust) -> Array:
    """Return ``e >= 0`` with ``W <= (tau + e) I``, of which the upper triangles count; NaN where Cholesky breaks."""
    from scipy.linalg import lapack

    n = W.shape[1]
    M = np.negative(W)
    diagonal = np.einsum("kii->ki", M)
    diagonal += tau[:, None]
    rounding = mul_up(U, np.abs(diagonal).max(axis=1))
    R = np.full(M.shape, np.nan)
    for k, matrix in enumerate(M):
        factor, info = lapack.dpotrf(matrix.T, lower=1, clean=1)
        if info == 0:
            R[k] = factor.T
    size = perron(R)
    tiny = mul_up(4.0 * n, add_up(2.0 * n, np.abs(R).max(axis=(1, 2))), ETA)
    if trust == "lapack":
        return add_up(rounding, mul_up((n + 3) * U, size), tiny)
    E = blocked(R.mT, R)
    E -= np.triu(M) + np.triu(M, 1).mT
    defect = mul_up(frobenius(E), 1.0 + 4.0 * U)
    return add_up(rounding, defect, mul_up(sum_error(n), size), n * terms(n) * ETA, tiny)


# ---------------------------------------------------------------------- oracles
def _denoising(objective: Any, A: Array, B: Array) -> tuple[Array, Array, Balls]:
    G = residual(A, B.mT, objective.M)
    return *half_square(G), G


def _huber(objective: Any, A: Array, B: Array) -> tuple[Array, Array, Balls]:
    E = residual(A, B.mT, objective.M)
    g = np.clip(E.mid, -objective.delta, objective.delta)
    G = Balls(g, E.radius)
    # Three roundings of each number >= 0, and sums of n and of m of them.
    m, n = objective.shape
    total = (g * (E.mid - 0.5 * g)).sum(axis=2).sum(axis=1)
    error = add_up(mul_up((m + n + 8) * U, total, INFLATE), m * n * 2.0**-1073, mul_up(G.norm, E.radius))
    error = add_up(error, mul_up(E.radius, E.radius))
    return np.maximum(down(total - error), 0.0), up(total + error), G


def _completion(objective: Any, A: Array, B: Array) -> tuple[Array, Array, Balls]:
    # The matrices are small: all entries are as cheap as the observed ones.
    mask, M = np.zeros((2, *objective.shape))
    mask[objective.rows, objective.cols] = 1.0
    M[objective.rows, objective.cols] = objective.values
    error = residual(A, B.mT, M)
    G = Balls(error.mid * mask, error.radius)
    return *half_square(G), G


def _linear(objective: Any, A: Array, B: Array) -> tuple[Array, Array, Balls] | None:
    if objective._samples is None or objective.W0 is None:
        return None
    Z, Y = objective._samples
    N = Z.shape[1]
    high, rest = two_product(A, B.mT)
    high, low = two_sum(objective.W0, high)
    low += rest.mid
    radius = add_up(rest.radius, mul_up(U, frobenius(low)))
    Rt = residual(Z.T[None], high.mT, Y.T, low.mT)
    R = Balls(np.ascontiguousarray(Rt.mid.mT), add_up(Rt.radius, mul_up(frobenius(Z[None]), radius)))
    return *half_square(R, N), scaled(product(R, numbers(Z.T[None])), float(N))


def _sensing(objective: Any, A: Array, B: Array) -> tuple[Array, Array, Balls] | None:
    """Form the residuals by one product each, and again in twice the precision where its rounding would show."""
    if objective.kind != "dense":
        return None
    M, y, N = objective._map.flat, objective.y, len(objective.y)
    size = _rounding.frobenius(M)
    r = _plain_residuals(M, y, size, A, B)
    # What that moves <G, X> by, and c ||X||_* in the bound, at most; a guess of what is worth it.
    moved = 2.0 * size / N * r.radius * np.sqrt(np.square(A).sum(axis=(1, 2)) * np.square(B).sum(axis=(1, 2)))
    if not (moved <= SHARP * np.square(r.mid).sum(axis=(1, 2)) / (2.0 * N)).all():
        r = _sharp_residuals(M, y, A, B)
    G = _rows_times(r, M, size)
    return *half_square(r, N), scaled(Balls(G.mid.reshape(len(A), *objective.shape), G.radius), float(N))


def _rows_times(rows: Balls, M: Array, size: float, norm: float | None = None) -> Balls:
    """Enclose ``R_k M`` for a stack of balls (K, q, n) and one matrix, ``||M||_F <= size``, by one product.

    ``||M||_2 <= norm``, by default ``size``.
    """
    n = len(M)
    mid = blocked(rows.mid.reshape(-1, n), M).reshape(*rows.mid.shape[:2], -1)
    rounding = mul_up(sum_error(n), rows.mid_norm, size)
    tiny = mid[0].size * terms(n) * ETA
    return Balls(mid, add_up(rounding, mul_up(rows.radius, size if norm is None else norm), tiny))


def _plain_residuals(M: Array, y: Array, size: float, A: Array, B: Array) -> Balls:
    """Enclose ``M vec(A_k B_k^T) - y`` as rows (K, 1, N), ``||M||_F <= size``."""
    X = product(numbers(A), numbers(B.mT))
    r = _rows_times(Balls(X.mid.reshape(len(A), 1, -1), X.radius), M.T, size)
    r = Balls(r.mid - y, r.radius)
    return r.wider(mul_up(U, r.mid_norm))


def _sharp_residuals(M: Array, y: Array, A: Array, B: Array) -> Balls:
    """Enclose ``M vec(A_k B_k^T) - y`` as rows (K, 1, N), accurate relative to the result."""
    high, low = two_product(A, B.mT)
    first, second = (np.ascontiguousarray(part.reshape(len(A), -1).T) for part in (high, low.mid))
    # One ball holds the residuals of all points, so its radius serves each of them.
    r = _oracle_measurements.measured(Ball(M), y, first, second, float(low.radius.max()))
    return Balls(np.ascontiguousarray(r.mid.T)[:, None], np.full(len(A), r.radius))


def _softmax(objective: Any, A: Array, B: Array) -> tuple[Array, Array, Balls] | None:
    """Evaluate few points at a time; those for which one product is not accurate enough alone, as everywhere else."""
    Z, K, N = Ball(objective.Z), objective.shape[0], len(objective.targets)
    if len(A) * K * N < COMPILED:
        return None
    high, rest = two_product(A, B.mT)
    high, low = two_sum(objective.W0, high)
    low += rest.mid
    radius = add_up(rest.radius, mul_up(U, frobenius(low)), frobenius(low))
    weights, norm = Balls(high, radius), factor_norm(Z.T)
    lows, highs, radii, mid = *np.empty((3, len(A))), np.empty(high.shape)
    few = max(1, CACHED // (K * N))
    for first in range(0, len(A), few):
        part = slice(first, first + few)
        logits = _rows_times(Balls(weights.mid[part], weights.radius[part]), Z.mid, Z.mid_norm)
        lows[part], highs[part], D = softmax_losses(logits, objective.targets)
        G = _rows_times(D, Z.mid.T, Z.mid_norm, norm)
        mid[part], radii[part] = G.mid, G.radius
        sharp = (highs[part] - lows[part] <= SHARP_LOSS * lows[part]) & (D.radius <= SHARP_LOSS * D.mid_norm)
        for k in (first + np.flatnonzero(~sharp)).tolist():
            found = _oracle_models.softmax(objective, A[k], B[k])
            lows[k], highs[k], mid[k], radii[k] = found.low, found.high, found.gradient.mid, found.gradient.radius
    return lows, highs, Balls(mid, radii)


def softmax_losses(logits: Balls, labels: Array) -> tuple[Array, Array, Balls]:
    """Return what ``_losses.softmax`` does at each of a stack of balls, whose middle (S, K, N) is overwritten."""
    from ..kernels import cross_entropy

    D, radius = logits.mid, logits.radius
    S, K, N = D.shape
    values, errors, wrong = np.empty((3, S, N))
    cross_entropy.softmax(
        D, labels, cross_entropy.Functions(
            np.array(EXP_COEFFICIENTS), np.array(ATANH_COEFFICIENTS), LOWEST, LOG2_E, SHIFT, LN2_HIGH, LN2_LOW,
            EXP_ERROR, LOG_ERROR, TINY, U,
        ), values, errors, wrong,
    )  # fmt: skip
    total = np.add.reduceat(values, np.arange(0, N, BLOCK), axis=1).sum(axis=1)
    error = mul_up(add_up(mul_up(terms(N) * U, total), errors.sum(axis=1)), INFLATE)
    rounding = mul_up(sqrt_up(add_up(wrong.sum(axis=1), K * N * ETA)), INFLATE)
    # As in _losses._loss, with the constants of softmax.
    norm = add_up(frobenius(D), rounding)
    x = mul_up(2.0, radius)
    change = np.minimum(mul_up(0.5, radius), np.where(x <= 1.0, mul_up(add_up(x, mul_up(x, x)), norm), math.inf))
    whole = add_up(rounding, change, mul_up(2.0 * U, norm), math.sqrt(K * N) * 2.0 * TINY)
    moved = add_up(error, mul_up(norm, radius), mul_up(0.5, radius, radius))
    D /= N
    low, high = np.maximum(down(down(total - moved) / N), 0.0), up(up(total + moved) / N)
    return low, high, Balls(D, up(whole / N))


_Oracle = Callable[[Any, Array, Array], tuple[Array, Array, Balls] | None]
# Beside the class: which data its statement is about, and whether it is least squares.
_STACKED: dict[type, tuple[_Oracle, str, bool]] = {
    Denoising: (_denoising, "M", True),
    Huber: (_huber, "M", False),
    LinearFineTuning: (_linear, "the samples", True),
    MatrixCompletion: (_completion, "the observed entries", True),
    MatrixSensing: (_sensing, "the measurements", True),
    Softmax: (_softmax, "the samples", False),
}


def ball_oracles(objective: Objective, A: Array, B: Array) -> tuple[list[BallOracle], Balls]:
    """Return what an objective states at each point, and the gradients together."""
    known = _STACKED.get(type(objective))
    found = None if known is None else known[0](objective, A, B)
    if known is None or found is None:
        single = [_oracles.ball_oracle(objective, a, b) for a, b in zip(A, B)]
        gradients = [oracle.gradient for oracle in single]
        return single, Balls(np.stack([G.mid for G in gradients]), np.array([G.radius for G in gradients]))
    low, high, G = found
    lows, highs, radii = (np.where(np.isnan(x), math.inf, x).tolist() for x in (low, high, G.radius))
    # What is not known from below is 0, which all of these losses are at least.
    return [
        BallOracle(a if a < math.inf else 0.0, b, Ball(mid, radius), 0.0, *known[1:])
        for a, b, mid, radius in zip(lows, highs, G.mid, radii)
    ], G


# ---------------------------------------------------------------------- bounds
def scalings(lam: float, norms: Array, wanted: Array) -> Array:
    """Return numbers ``c >= 0`` near the wanted ones with ``c norm <= lam``; NaN where there is none."""
    # A quotient rounded down is at most lam / norm.
    c = np.where(mul_up(wanted, norms) <= lam, wanted, down(lam / norms))
    return np.where((norms < math.inf) & (c >= 0.0), c, math.nan)


def bounds_of(
    lam: Fraction,
    oracles: list[BallOracle],
    nuclear: tuple[Array, Array],
    inner: Array,
    norms: Array,
    wanted: Array,
    assumptions: tuple[str, ...],
) -> list[RigorousBound]:
    """Return what ``rigorous.bound_of`` says where ``f`` has a lower bound without a slope, by directed rounding.

    Each sum and product is rounded to nearest and then once outwards. That loses a few units in the last place of
    ``F``, and what is not a number comes out as no bound.
    """
    least_lam, most_lam = fraction_down(lam), fraction_up(lam)
    low, high, least = np.array([(oracle.low, oracle.high, oracle.lower_bound) for oracle in oracles], float).T
    squares = np.array([oracle.least_squares for oracle in oracles])
    penalty = up(most_lam * nuclear[1])
    value_low = _or(-math.inf, down(low + down(least_lam * nuclear[0])))
    value_high = _or(math.inf, up(high + penalty))
    c = scalings(least_lam, norms, wanted)
    left = up(np.abs(1.0 - c))
    share = mul_up(np.where(squares, mul_up(left, left), left), np.maximum(up(high - least), 0.0))
    gap = up(up(penalty + up(c * inner)) + np.where(c == 1.0, 0.0, share))
    gap = _or(math.inf, np.maximum(gap, 0.0))
    formulas = [FENCHEL[square] if value >= 0.0 else NO_BOUND for square, value in zip(squares.tolist(), c.tolist())]
    # c = 0: a bound on F itself.
    above = np.maximum(up(value_high - least), 0.0)
    for k in np.flatnonzero(above <= gap).tolist():
        gap[k], c[k], formulas[k] = above[k], 0.0, ABOVE_BOUND
    for k in np.flatnonzero(high < least).tolist():
        gap[k], c[k], formulas[k] = math.inf, math.nan, CONTRADICTION
    optimum_low = np.where(np.isfinite(value_low) & np.isfinite(gap), down(value_low - gap), -math.inf)
    rows = zip(oracles, formulas, *_lists(*nuclear, inner, norms, value_low, value_high, gap, c, optimum_low))
    return [
        as_bound(
            float(lam), oracle, (n_low, n_high), inner_, norm, (v_low, v_high), gap_, c_, o_low, formula,
            (*assumptions, *oracle.assumptions),
        )
        for oracle, formula, n_low, n_high, inner_, norm, v_low, v_high, gap_, c_, o_low in rows
    ]  # fmt: skip


def _or(default: float, x: Array) -> Array:
    """Return the numbers of a vector, and a default where there is none."""
    return np.where(np.isnan(x), default, x)


def _lists(*vectors: Array) -> list[list[float]]:
    return [vector.tolist() for vector in vectors]


# ---------------------------------------------------------------------- proofs
def prove(
    objective: Objective, lam: Fraction, A: Array, B: Array, trust: Trust, assumptions: tuple[str, ...]
) -> tuple[list[Proof], Svd]:
    """Return the proof at each point ``A_k B_k^T``, and their singular value decompositions, which are none."""
    weight = float(lam)
    svd = factor_svd(A, B)
    oracles, G = ball_oracles(objective, A, B)
    low, high = nuclear_norm(A, B, svd)
    inner = inner_product(G, A, B, high)
    inners = np.where(np.isnan(inner), math.inf, inner)
    wanted = np.array([wanted_scaling(oracle, value) for oracle, value in zip(oracles, inners.tolist())])
    GQ = G.mid @ svd[2]
    squares, right = np.linalg.eigh(GQ.mT @ GQ)
    values = np.sqrt(np.maximum(squares, 0.0))
    attained = np.maximum(values.max(axis=1), weight)
    # At an optimum known to more digits than the gradient the radius is more than the gap leaves room for.
    level = np.maximum(attained * (1.0 + _room(weight, oracles, high, inner, wanted, attained)), attained + G.radius)
    grams = Grams(G, trust)
    norms = grams.norm(level)
    nuclear = low, np.where(np.isnan(high), math.inf, high)
    if all(oracle.lower_bound is not None and oracle.lower_slope == 0.0 for oracle in oracles):
        bounds = bounds_of(lam, oracles, nuclear, inners, norms, wanted, assumptions)
    else:
        bounds = []
        for oracle, norm, low, high, product_, c in zip(oracles, *_lists(norms, *nuclear, inners, wanted)):
            found = ScaledNorm(norm, scaling(lam, oracle, norm, c))
            bounds.append(bound_of(lam, oracle, (low, high), product_, found, (*assumptions, *oracle.assumptions)))
    # The rank of the optimum: the gradient without the directions in which it is near lam.
    gaps = np.array([bound.gap for bound in bounds])
    beta = objective.facts.rank_one_curvature
    distance = np.full(len(A), math.inf) if beta is None else sqrt_up(mul_up(2.0 * ranks.SLACK, beta, gaps))
    below = weight - distance
    large = values >= below[:, None]
    Z = (GQ @ right) * large[:, None, :]
    if G.mid.shape[1] >= G.mid.shape[2]:
        Z = G.mid.mT @ (Z / np.where(values > 0.0, values, 1.0)[:, None, :])
    outside = grams.rest(Z, np.maximum(below, 0.0) * (1.0 - 1e-11))
    taken = large.sum(axis=1)
    return [
        Proof(bound, oracle, (a, b), apart=Apart(int(k), float(most)))
        for bound, oracle, a, b, k, most in zip(bounds, oracles, A, B, taken, outside)
    ], svd


def _room(
    weight: float, oracles: list[BallOracle], nuclear: Array, inner: Array, wanted: Array, attained: Array
) -> Array:
    """Return by what share of itself a norm may be above the one attained, so that the gap is above by ``LOST``."""
    c = np.minimum(wanted, weight / attained)
    above = np.array([oracle.high - (oracle.lower_bound or 0.0) for oracle in oracles])
    squares = oracles[0].least_squares
    gap = (np.square(1.0 - c) if squares else 1.0 - c) * above + weight * nuclear + c * inner
    # How fast the gap grows with the logarithm of the norm.
    share = LOST * gap / (weight * nuclear + (0.0 if squares else above))
    return np.where(share > 0.0, np.minimum(share, LOST), 0.0)
