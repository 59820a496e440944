"""Ball oracle of linear fine-tuning: about the samples, or about Gram matrices where nothing else was given."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from .._support.validate import Array
from ..objectives.linear import LinearFineTuning
from ._rounding import ETA, U, add_up, exact_sum, fraction_down, fraction_up, frobenius, mul_up, sum_error, terms
from .balls import Ball, BallOracle, half_square, inner_product, moved, product, residual, scaled, unknown
from .norms import semidefinite_defect
from .nuclear_norms import nuclear_norm

# A Gram matrix with an eigenvalue below -INDEFINITE ||S||_F is not taken for a rounded positive semidefinite one.
INDEFINITE = 2.0**-36


def linear(objective: LinearFineTuning, A: Array, B: Array) -> BallOracle:
    """Speak about the samples where they are known."""
    if objective._samples is None or objective.W0 is None:
        return from_gram(objective, A, B)
    Z, Y = objective._samples
    return from_samples(objective.W0, Z, Y, A, B)


def from_samples(W0: Array, Z: Array, Y: Array, A: Array, B: Array) -> BallOracle:
    """``R = (W0 + A B^T) Z - Y``, ``G = R Z^T / N``, ``f = ||R||_F^2 / (2N)``: all from the residual.

    ``R`` is one accurate product, with ``W0 + A B^T`` in twice the working precision. Nothing is lost where a frozen
    weight that already fits cancels against the targets, and ``f >= 0`` needs no proof.
    """
    N = Z.shape[1]
    high, low, radius = moved(W0, A, B)
    Rt = residual(Z.T, high.T, Y.T, low.T).wider(mul_up(frobenius(Z), radius))
    R = Ball(np.ascontiguousarray(Rt.mid.T), Rt.radius)
    G = scaled(product(R, Z.T), float(N))
    return BallOracle(*half_square(R, N), G, 0.0, "the samples", least_squares=True)


def from_gram(objective: LinearFineTuning, A: Array, B: Array) -> BallOracle:
    """``f = f(0) - <C, X> + <X S, X>/2`` and ``G = X S - C`` for the stored numbers, with what must be proved of them.

    ``S + e I`` is proved positive semidefinite; where ``e > 0`` is needed the statement is about that matrix. With
    any ``T`` and ``E = C - T (S + e I)``,

        f(Y) = f(0) - <C - E, T>/2 - <E, Y> + <(Y - T)(S + e I), Y - T>/2:

    ``S`` may be singular and ``C`` outside its range by rounding, and no value of ``f(0)`` is believed to be large
    enough.
    """
    S, C = objective.S, objective.C
    e = _shift(S)
    if e is None:
        what = "the Gram matrices, but S is not symmetric and positive semidefinite"
        return BallOracle(-math.inf, math.inf, unknown(C.shape), None, what)
    size = nuclear_norm(A, B)[1]
    SB = residual(B.T, S)
    G = residual(A, SB.mid, C).wider(mul_up(frobenius(A), SB.radius), mul_up(e, size))
    pair = inner_product(G, A, B, size)
    cross = inner_product(Ball(C), A, B, size)
    low = Fraction(objective.f0) + (Fraction(pair[0]) - Fraction(cross[1])) / 2 if _finite(*pair, *cross) else None
    high = Fraction(objective.f0) + (Fraction(pair[1]) - Fraction(cross[0])) / 2 if low is not None else None
    bound, slope = _lower_bound(S, C, objective.f0, e)
    return BallOracle(
        -math.inf if low is None else fraction_down(low),
        math.inf if high is None else fraction_up(high),
        G,
        bound,
        "the Gram matrices" + (f", with {e:.2g} added to the diagonal of S" if e else ""),
        least_squares=bound is not None,
        lower_slope=slope,
    )


def _shift(S: Array) -> float | None:
    """Return ``e >= 0``, 0 if possible, with ``S + e I`` proved positive semidefinite; None if it is not."""
    if not np.array_equal(S, S.T):
        return None
    size = frobenius(S)
    e = margin(S, 0.0)
    if e is not None:
        # Take more off the diagonal than the proof needs: if that is semidefinite to within it, S itself is.
        less = margin(S, -2.0 * e)
        return 0.0 if less is not None and less <= 2.0 * e else e
    for k in range(4):
        shift = 4.0 * 16.0**k * len(S) * U * size
        e = margin(S, shift)
        if e is not None and shift + e <= INDEFINITE * size:
            return add_up(shift, e)
    return None


def margin(S: Array, shift: float, enough: float = 0.0) -> float | None:
    """Return ``e >= 0`` with ``S + (shift + e) I`` positive semidefinite, or None if Cholesky breaks down.

    A quick bound of the errors will do where it is at most ``enough``.
    """
    M = S.copy()
    diagonal = np.einsum("ii->i", M)
    diagonal += shift
    rounding = mul_up(U, float(np.abs(diagonal).max()))
    defect = semidefinite_defect(M, enough=enough)
    return None if defect is None else add_up(defect, rounding)


def _lower_bound(S: Array, C: Array, f0: float, e: float) -> tuple[float | None, float]:
    """Return ``f(0) - <C - E, T>/2``, rounded down, and a bound of ``||E||`` (see :func:`from_gram`)."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    n = len(S)
    scale = float(np.abs(np.einsum("ii->i", S)).max())
    for shift in (0.0, 2.0**-44 * n * scale, 2.0**-34 * n * scale):
        try:
            T = cho_solve(cho_factor(S + (shift + e) * np.eye(n)), C.T).T
        except LinAlgError:
            continue
        if np.isfinite(T).all():
            break
    else:
        return None, 0.0
    TS = product(T, S)
    E = Ball(TS.mid - C, TS.radius)
    E = E.wider(mul_up(U, E.mid_norm), mul_up(e, frobenius(T)))
    # <C - E, T> with |<E, T>| <= ||E|| ||T||.
    k = C.size
    middle = exact_sum(np.einsum("ij,ij->i", C, T))
    t = frobenius(T)
    error = add_up(
        mul_up(sum_error(k), frobenius(C), t), mul_up(U, abs(middle)), mul_up(k, terms(k), ETA), mul_up(E.norm, t)
    )
    if not error < math.inf:
        return None, 0.0
    return fraction_down(Fraction(f0) - (Fraction(middle) + Fraction(error)) / 2), E.norm


def _finite(*numbers: float) -> bool:
    return all(math.isfinite(number) for number in numbers)


ORACLES = {LinearFineTuning: linear}
