"""Balls around the numbers of many points at once, their products and norms, with every rounding counted.

An array here has the point as its first axis, a bound is a vector with an entry for each point. Steps that NumPy takes
for all points in one call cost little more than for one. Rounding is counted as in ``_rounding``, ``balls``, ``norms``
and ``nuclear_norms``, whose functions of the same names say why; what cannot be shown is NaN or infinite and never
compares as small, so that a point that is too hard for this simpler way is left to ``certify`` alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._support.validate import Array
from ._rounding import ETA, U, blocked, significant_bits, split, sum_error, terms
from .norms import LEVEL_ATTEMPTS, POWER_STEPS, Trust

Svd = tuple[Array, Array, Array]


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
        """Return upper bounds of ``||M||_2`` near a level or below it; infinite where the norm is above it."""
        within = np.fmax(level - self.radius, 0.0)  # both may be infinite
        found = np.where(self.most <= within, self.most, math.inf)
        above = np.flatnonzero(~(found <= within))
        for attempt in range(LEVEL_ATTEMPTS):
            W, error = self.squares[above], self.error[above]
            tau = _shifts(within[above], W.shape[1], error, attempt)
            excess = _shifted_defect(W, tau, self.trust)
            bound = np.minimum(self.most[above], sqrt_up(add_up(tau, excess, error)))
            found[above] = np.where(np.isnan(excess), math.inf, bound)
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
