"""Bounds of the nuclear norm from factors that hold with every rounding error counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from .._support.validate import Array
from ._rounding import (
    ETA,
    U,
    add_up,
    column_norms,
    exact_sum,
    fraction_down,
    frobenius,
    mul_up,
    sqrt_up,
    weighted_sum,
)
from .balls import Ball, product, residual

# Columns whose products with each other are below this are tried as singular vectors, which serve where the two bounds
# of the nuclear norm differ by no more than this share.
ORTHONORMAL, COLUMNS = 1e-14, 1e-11


def nuclear_norm(A: Array, B: Array) -> tuple[float, float]:
    """Return bounds of ``||A B^T||_*`` from the factors ``A`` (m, r), ``B`` (n, r), without an m x n matrix.

    Notes
    -----
    Above: ``sum_i ||a_i|| ||b_i||``, and for any arrays ``P``, ``Q``, ``C_A``, ``C_B``, with ``E_A = A - P C_A`` and
    ``E_B = B - Q C_B``,

        ||A B^T||_* <= ||P||_2 ||Q||_2 ||C_A C_B^T||_* + sum_i ||E_A e_i|| ||b_i|| + sum_i ||P C_A e_i|| ||E_B e_i||,

    because ``A B^T = P C_A C_B^T Q^T + E_A B^T + P C_A E_B^T``, applied to QR factorisations of ``A`` and ``B``. Here
    ``||P||_2^2 <= 1 + ||P^T P - I||_F`` and, for the small matrix,
    ``||K||_* <= sum_i ||u_i|| ||v_i|| + sqrt(r) ||K - U V^T||_F`` for any ``U``, ``V``. Below:
    ``<A B^T, P Q^T> <= ||A B^T||_* ||P||_2 ||Q||_2``. ``P``, ``Q`` are the singular vectors that LAPACK finds, or the
    directions of the columns where these look like them; nothing rests on them.
    """
    a, b = column_norms(A), column_norms(B)
    by_columns = weighted_sum(a, b)
    if not by_columns < math.inf:
        return 0.0, math.inf
    if by_columns == 0.0 or not (A.any() and B.any()):
        return 0.0, 0.0
    lengths = [np.linalg.norm(factor, axis=0) for factor in (A, B)]
    if all(length.all() for length in lengths):
        P, Q = A / lengths[0], B / lengths[1]
        squares = [product(basis.T, basis) for basis in (P, Q)]
        if all(np.abs(square.mid - np.eye(len(square.mid))).max() <= ORTHONORMAL for square in squares):
            PtA, QtB = (_image(*known) for known in zip(squares, (P, Q), (A, B), lengths))
            at_least = _nuclear_at_least(PtA, QtB, [_distance_to_identity(square) for square in squares])
            if at_least >= by_columns * (1.0 - COLUMNS):
                return at_least, by_columns
    try:
        (QA, RA), (QB, RB) = np.linalg.qr(A), np.linalg.qr(B)
        U_, values, Vt = np.linalg.svd(RA @ RB.T, full_matrices=False)
    except np.linalg.LinAlgError:
        return 0.0, by_columns
    P, Q = QA @ U_, QB @ Vt.T
    defects = [_orthogonality_defect(basis) for basis in (P, Q)]
    at_least = _nuclear_at_least(product(P.T, A), product(Q.T, B), defects)
    if by_columns <= float(values.sum()) * (1.0 + 1e-13):
        return at_least, by_columns
    EA, EB = residual(QA, RA, A), residual(QB, RB, B)
    ea, eb = ((column_norms(E.mid) + E.radius) * (1.0 + 4.0 * U) for E in (EA, EB))
    # |P C_A e_i| = |a_i - E_A e_i|.
    outside = add_up(weighted_sum(ea, b), weighted_sum((a + ea) * (1.0 + 4.0 * U), eb))
    core = _small_nuclear(residual(RA, RB.T), U_ * values, Vt)
    spread = _spread(*(_orthogonality_defect(basis) for basis in (QA, QB)))
    return at_least, min(add_up(mul_up(spread, core), outside), by_columns)


def nuclear_norm_by_columns(A: Array, B: Array) -> float:
    """Return ``sum_i ||a_i|| ||b_i||``, at least ``||A B^T||_*`` and sharp for balanced singular factors."""
    return weighted_sum(column_norms(A), column_norms(B))


def _nuclear_at_least(PtA: Ball, QtB: Ball, defects: Sequence[float]) -> float:
    """Return a lower bound of ``||A B^T||_*`` from ``P^T A`` and ``Q^T B``, sharp where those are the singular vectors.

    ``defects`` are upper bounds of ``||P^T P - I||_F`` and of the same for ``Q``.
    """
    spread = _spread(*defects)
    low = _paired(PtA, QtB) / Fraction(spread) if spread < math.inf else Fraction(0)
    return max(fraction_down(low), 0.0)


def _image(square: Ball, P: Array, A: Array, lengths: Array) -> Ball:
    """Enclose ``P^T A`` where ``P = fl(A / lengths)``, column by column, from ``P^T P``.

    ``P^T A = P^T P diag(lengths) + P^T (A - P diag(lengths))``: a quotient is off by ``U`` of itself, or by what
    underflows.
    """
    mid = square.mid * lengths
    longest = float(lengths.max())
    off = add_up(mul_up(U, frobenius(A)), mul_up(P.size, ETA, longest))
    rounding = add_up(mul_up(U, frobenius(mid)), mid.size * ETA)
    return Ball(mid, add_up(mul_up(square.radius, longest), rounding, mul_up(frobenius(P), off)))


def _spread(left: float, right: float) -> float:
    """Return an upper bound of ``||P||_2 ||Q||_2``, from ``||P||_2^2 <= 1 + ||P^T P - I||_F``."""
    return sqrt_up(mul_up(add_up(1.0, left), add_up(1.0, right)))


def _orthogonality_defect(P: Array) -> float:
    """Return an upper bound of ``||P^T P - I||_F``, accurate relative to it."""
    return residual(P.T, P, np.eye(P.shape[1])).norm


def _distance_to_identity(square: Ball) -> float:
    """Return an upper bound of ``||M - I||_F`` over a ball of matrices near ``I``, where the difference is exact."""
    return add_up(frobenius(square.mid - np.eye(len(square.mid))), square.radius)


def _paired(CA: Ball, CB: Ball) -> Fraction:
    """Return a lower bound of ``<C_A, C_B>`` over two balls."""
    k = CA.mid.shape[1]
    a, b = CA.mid_norm, CB.mid_norm
    middle = exact_sum(np.einsum("ij,ij->i", CA.mid, CB.mid))
    error = add_up(
        mul_up((k + 1) * U, a, b),
        mul_up(U, abs(middle)),
        CA.mid.size * ETA,
        mul_up(CA.radius, CB.norm),
        mul_up(a, CB.radius),
    )
    return Fraction(middle) - Fraction(error) if math.isfinite(error) and math.isfinite(middle) else Fraction(0)


def _small_nuclear(K: Ball, left: Array, right: Array) -> float:
    """Return an upper bound of ``||K||_*`` from an approximation ``K = left right`` by its SVD."""
    rest = residual(left, right, K.mid)
    remainder = mul_up(sqrt_up(float(min(K.mid.shape))), add_up(rest.norm, K.radius))
    return add_up(weighted_sum(column_norms(left), column_norms(right.T)), remainder)
