"""The proofs of ``rigorous`` at many small points at once: the same theorems, each step for all points together.

They rest on what losses state at all of them (``stacked_oracles.py``), in balls (``stacked_balls.py``).
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from .._support.validate import Array
from ..objectives.base import Objective
from . import ranks
from ._rounding import fraction_down, fraction_up
from .balls import BallOracle
from .duality import WORTH
from .formula import (
    ABOVE_BOUND,
    CONTRADICTION,
    FENCHEL,
    NO_BOUND,
    RigorousBound,
    ScaledNorm,
    as_bound,
    bound_of,
    scaling,
    wanted_scaling,
)
from .norms import Gram, Trust
from .rigorous import LOST, Apart, Proof, room_above
from .stacked_balls import Grams, Svd, down, factor_svd, inner_product, mul_up, nuclear_norm, sqrt_up, up
from .stacked_oracles import ball_oracles

# How near lam, as a share of it, singular values of the gradient may be at the optimum, so that all directions are
# looked at for a bound of the rank. That is for ties with lam: of sensing of 50 x 50 it takes as long as all else.
TIE = 1e-3


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
    """Return what ``formula.bound_of`` says where ``f`` has a lower bound without a slope, by directed rounding.

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
    attained = _attained(weight, oracles, high, inner, wanted, values.max(axis=1))
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
    grams_at_ties = [
        Gram(oracle.core, trust, oracle.products) if near else None
        for oracle, near in zip(oracles, distance < TIE * weight)
    ]
    return [
        Proof(bound, oracle, (a, b), gram, Apart(int(k), float(most)))
        for bound, oracle, a, b, gram, k, most in zip(bounds, oracles, A, B, grams_at_ties, taken, outside)
    ], svd


def _attained(
    weight: float, oracles: list[BallOracle], nuclear: Array, inner: Array, wanted: Array, within: Array
) -> Array:
    """Return the norms that bounds are looked for at: those within the spaces of ``X``, or ``lam`` where that will do.

    As for a single point a norm below ``lam`` is looked for where least squares want one.
    """
    least = np.maximum(within, weight / np.maximum(wanted, 1.0))
    at_lam, at_least = (_gaps(weight, oracles, nuclear, inner, wanted, norm) for norm in (weight, least))
    worth = (at_lam > WORTH * weight * nuclear) & ((1.0 + LOST) * at_least <= at_lam)
    return np.where(worth & (least < weight), least, np.maximum(within, weight))


def _gaps(
    weight: float, oracles: list[BallOracle], nuclear: Array, inner: Array, wanted: Array, norms: Array | float
) -> Array:
    """Return the right side of the formula, but for rounding, at norms of the gradients."""
    c = np.minimum(wanted, weight / norms)
    lost = np.square(1.0 - c) if oracles[0].least_squares else 1.0 - c
    return lost * _above(oracles) + weight * nuclear + c * inner


def _above(oracles: list[BallOracle]) -> Array:
    return np.array([oracle.high - (oracle.lower_bound or 0.0) for oracle in oracles])


def _room(
    weight: float, oracles: list[BallOracle], nuclear: Array, inner: Array, wanted: Array, attained: Array
) -> Array:
    """Return by what share of itself a norm may be above the one attained, so that the gap is above by ``LOST``."""
    gap = _gaps(weight, oracles, nuclear, inner, wanted, attained)
    return room_above(attained, weight, gap, nuclear, _above(oracles), oracles[0].least_squares)
