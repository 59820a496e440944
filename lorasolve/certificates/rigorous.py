"""Bounds on ``F(X) - inf F``, ``F = f + (lam/s) ||.||_*``, that are theorems about the stored numbers.

For convex ``f`` with ``f(Y) >= f_low - e ||Y||_*`` for all ``Y``, and ``0 <= c <= 1`` with
``c ||G||_2 + (1 - c) e <= lam``,

    F(X) - inf F <= (1 - c) (f(X) - f_low) + lam ||X||_* + c <G, X>,    G = grad f(X).

For least squares with ``e = 0`` the first factor is squared and ``c`` may exceed 1 (proofs/certificate). If
``f(Y) = f_low - <E, Y> + ||linear(Y) - y||^2/2`` with ``||E||_2 <= e``, the same holds for ``f + <E, .>``, whose
gradient is ``G + E``; with ``c <= 1`` that makes

    F(X) - inf F <= (1 - c)^2 (f(X) - f_low + e ||X||_*) + (lam + (1 - c) e) ||X||_* + c <G, X>.

All that the right side needs is bounded with every rounding error counted: ``f`` and ``G`` by the objective's ball
oracle (``balls``), the norms by ``norms`` and ``nuclear_norms``. ``c`` is found in floating-point numbers, its
condition is verified and the right side evaluated in exact rationals, and the sum is rounded up once (``formula``).
Nothing rests on a random start or on a tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple, get_args

import numpy as np

from .._support.validate import Array, as_choice, as_float_array, as_instance, as_shape
from ..dense import largest_singular_value
from ..objectives.base import Objective
from ..problem import Problem
from ..problem.blocks import is_of_a_user
from ..result import Result, seen_from
from . import _oracles, ranks
from ._rounding import environment_refusal, fraction_down
from .balls import BallOracle, inner_product
from .contradictions import refuse_another_loss
from .duality import GAINED, WORTH
from .formula import (
    RigorousBound,
    ScaledNorm,
    bound_of,
    difference_down,
    gap_at,
    gap_for,
    no_bound,
    scaling,
    value_bounds,
    wanted_scaling,
)
from .norms import EIGENVALUE_LIMIT, Gram, Trust
from .nuclear_norms import nuclear_norm, nuclear_norm_by_columns

ARITHMETIC = (
    "binary64 arithmetic rounds to nearest with gradual underflow, and products of matrices are sums of products in "
    "some order (tested while running)"
)
CHOLESKY = "LAPACK's Cholesky factorisation satisfies Higham's entrywise error bound (tested while running)"


# A bound of the norm serves where the gap is above that at the norm attained by no more than this share of it.
LOST = 0.05
# Of what a norm may be above that, the share for rounding errors.
ROUNDED = 0.02
# The share of a gap that errors of a rough oracle may have made of it.
ROUGHNESS = 0.01
# Where directions outside of the row space of X have a part in the norm, its excess over lam is up to so much larger;
# an attempt takes a tenth of the time of an eigenvalue.
BEYOND = (1.25, 1.6)
# Shorter side up to which a second factorisation is no dearer than what it takes to do without.
SMALL = 200


def rigorous_bound(problem: Problem, point: Any, trust: Trust = "lapack") -> RigorousBound:
    """Prove a bound on ``F(X) - inf F``, ``F(X) = f(X) + (lam/s) ||X||_*``, over all updates ``X``.

    Parameters
    ----------
    problem : Problem
        The problem whose convex counterpart is meant.
    point : Result, ConvexResult, (A, B) or ndarray of shape (m, n)
        The point; factors mean the exact product ``fl(s A) B^T`` of the given numbers, an array the array itself.
    trust : {"lapack", "gemm"}
        Whether LAPACK's Cholesky factorisation is assumed to be accurate, or its factor is multiplied out again, at
        up to twice the cost.

    Returns
    -------
    RigorousBound
        With an infinite gap, and the reason in ``formula``, where nothing can be proved.

    Raises
    ------
    ValueError, TypeError
        If ``problem`` is no problem, a point does not fit it, or a loss of your own is another one in float64.

    Notes
    -----
    Source: Fenchel duality (proofs/certificate) and the references in ``_rounding``, ``norms`` and ``_functions``.
    """
    point = seen_from(as_instance(problem, "problem", Problem), point)
    if refusal(problem) is None and is_of_a_user(problem.loss):
        double = problem.replace(objective=problem.objective.in_float64())
        refuse_another_loss(problem.loss, double.loss, [point_factors(problem, point)[:2]])
    return prove(problem, point, trust).bound


class Apart(NamedTuple):
    """``sigma_(k+1)(M) <= rest`` for all members of a ball, ``k = taken``; infinite where no bound was found."""

    taken: int
    rest: float


class Seen(NamedTuple):
    """What is known of a gradient at a point in floating point; no statement rests on it.

    At a stationary point it tells how large the norm is, where it is bounded, and which directions bound the rank of
    the optimum.

    Attributes
    ----------
    Q : ndarray of shape (n, r)
        Orthonormal columns that span the row space of the update, up to rounding.
    GQ : ndarray of shape (m, r), optional
        The gradient's products with them.
    outside, norm : float, optional
        Estimates of the gradient's norm outside of the spaces of the update, and of all of it.
    """

    Q: Array
    GQ: Array | None = None
    outside: float | None = None
    norm: float | None = None


class Proof(NamedTuple):
    """A bound, and what it was made from: the oracle's answer and the factors of the point; None without one.

    ``gram`` bounds what the gradient is without its large directions; ``apart`` is there where that was done already.
    """

    bound: RigorousBound
    oracle: BallOracle | None = None
    factors: tuple[Array, Array] | None = None
    gram: Gram | None = None
    apart: Apart | None = None


def prove(problem: Problem, point: Any, trust: Trust = "lapack", seen: Seen | None = None) -> Proof:
    """Return the bound of :func:`rigorous_bound` with what it was made from."""
    as_choice(trust, "trust", get_args(Trust))
    objective = as_instance(problem, "problem", Problem).objective.in_float64()
    reason = refusal(problem)
    assumptions = arithmetic(trust)
    if reason is not None:
        return Proof(no_bound(reason, assumptions))
    claim = _oracles.claim(objective)
    with np.errstate(all="ignore"):
        A, B, rounded = point_factors(problem, point)
        assumptions += [*([claim] if claim else []), *([rounded] if rounded else [])]
        lam, nuclear = weight(problem), nuclear_norm(A, B)

        def proof_from(oracle: BallOracle) -> Proof:
            inner = 0.0 if nuclear[1] == 0.0 else (oracle.inner or inner_product(oracle.gradient, A, B, nuclear[1]))[1]
            gram = Gram(oracle.core, trust, oracle.products)
            apart = None
            if seen is None or min(problem.shape) <= SMALL:
                norm = _at_level(lam, oracle, inner, nuclear[1], float(lam), gram)
            else:
                beta = objective.facts.rank_one_curvature
                norm, apart = _near_optimum(lam, oracle, inner, nuclear[1], gram, seen, beta)
            bound = bound_of(lam, oracle, nuclear, inner, norm, (*assumptions, *oracle.assumptions))
            return Proof(bound, oracle, (A, B), gram, apart)

        if seen is not None and seen.GQ is not None:
            rough = _oracles.rough_oracle(objective, A, B)
            attained = max(largest_singular_value(seen.GQ), float(lam))
            if rough is not None and _is_exact_enough(rough, lam, nuclear[1], attained):
                return proof_from(rough)
        return proof_from(_oracles.ball_oracle(objective, A, B))


def _is_exact_enough(oracle: BallOracle, lam: Fraction, nuclear: float, norm: float) -> bool:
    """Return whether the errors of an oracle hardly show in a gap for which ``||G||_2`` is at least ``norm``."""
    low, high = oracle.inner or (-math.inf, math.inf)
    errors = (oracle.high - oracle.low) + (high - low) + oracle.gradient.radius * nuclear
    return errors <= ROUGHNESS * gap_for(norm, lam, oracle, nuclear, high)


def arithmetic(trust: Trust) -> list[str]:
    """Return what every proof assumes of the arithmetic."""
    return [ARITHMETIC, *([CHOLESKY] if trust == "lapack" else [])]


def weight(problem: Problem) -> Fraction:
    """Return the weight of the nuclear norm, ``lam / s``, exactly."""
    return _quotient(problem.lam, problem.scale)[0]


def weight_down(problem: Problem) -> float:
    """Return the largest binary64 number that is at most the weight of the nuclear norm."""
    return _quotient(problem.lam, problem.scale)[1]


@lru_cache(maxsize=256)
def _quotient(lam: float, scale: float) -> tuple[Fraction, float]:
    """Return ``lam / scale`` exactly and rounded down; many points share it."""
    exact = Fraction(lam) / Fraction(scale)
    return exact, fraction_down(exact)


def better_by(problem: Problem, point: Any, better: Any) -> float:
    """Return a proved lower bound of ``F(X) - F(Y)``, hence of ``F(X) - inf F``, for two points ``X``, ``Y``.

    Parameters
    ----------
    problem : Problem
        As for :func:`rigorous_bound`. ``f`` need not be convex.
    point, better : Result, ConvexResult, (A, B) or ndarray of shape (m, n)
        ``X`` and ``Y``.

    Returns
    -------
    float
        Negative, down to minus infinity, where ``Y`` is not proved to be better.

    Raises
    ------
    ValueError, TypeError
        If ``problem`` is no problem, or a point does not fit it.
    """
    as_instance(problem, "problem", Problem)
    if problem.several or _oracles.refusal(problem.objective.in_float64()) is not None:
        return -math.inf
    if environment_refusal() is not None:
        return -math.inf
    objective = problem.objective.in_float64()
    point, better = seen_from(problem, point), seen_from(problem, better)
    with np.errstate(all="ignore"):
        (A, B, _), (C, D, _) = point_factors(problem, point), point_factors(problem, better, "better")
        low = value_bounds(weight(problem), *_evaluate(objective, A, B))[0]
        high = value_bounds(weight(problem), *_evaluate(objective, C, D))[1]
    return difference_down(low, high)


def value_high(problem: Problem, A: Array, B: Array) -> float:
    """Return a proved upper bound of ``F(A B^T)``, sharp where ``A`` and ``B`` are balanced singular factors."""
    with np.errstate(all="ignore"):
        oracle = _oracles.ball_oracle(problem.objective.in_float64(), A, B)
        return value_bounds(weight(problem), oracle, (0.0, nuclear_norm_by_columns(A, B)))[1]


def refusal(problem: Problem) -> str | None:
    """Return why nothing rigorous can be said of a problem here, or None."""
    if problem.several:
        return "no ball oracle speaks about several matrices"
    objective = problem.objective.in_float64()
    reason = _oracles.refusal(objective)
    if reason is not None:
        return reason
    if not _oracles.is_convex(objective):
        return "f is not known to be convex"
    arithmetic = environment_refusal()
    return None if arithmetic is None else f"the arithmetic here does not fit the model: {arithmetic}"


# ---------------------------------------------------------------------- the point
def point_factors(problem: Problem, point: Any, argument: str = "point") -> tuple[Array, Array, str | None]:
    """Return float64 factors whose exact product is the update meant, and what was rounded on the way, if anything.

    Columns are scaled by powers of two to about equal sizes, which is exact, so that bounds do not depend on their
    balance.
    """
    A, B, rounded = given_factors(problem, point, argument)
    return (*balanced_columns(A, B), rounded)


def given_factors(problem: Problem, point: Any, argument: str = "point") -> tuple[Array, Array, str | None]:
    """Return what :func:`point_factors` does with the columns as they are."""
    m, n = problem.shape
    rounded = None
    if isinstance(point, Result) and (point.merged is not None or not point.problem.adapter.low_rank):
        point = point.X
    if isinstance(point, tuple) and len(point) == 2:
        scale, given, names = problem.scale, point, ("A", "B")
    elif hasattr(point, "A") and hasattr(point, "B"):
        scale = point.problem.scale if isinstance(point, Result) else 1.0
        given, names = (point.A, point.B), (f"{argument}.A", f"{argument}.B")
    else:
        X = as_shape(as_float_array(point, argument, 2, np.float64), argument, (m, n))
        return (*((X, np.eye(n)) if n <= m else (np.eye(m), np.ascontiguousarray(X.T))), None)
    A, B = (as_float_array(factor, name, 2, np.float64) for factor, name in zip(given, names))
    as_shape(A, names[0], (m, A.shape[1]))
    as_shape(B, names[1], (n, A.shape[1]))
    if math.frexp(scale)[0] != 0.5:
        rounded = "the point is fl(s A) B^T"
    return scale * A, B, rounded


def balanced_columns(A: Array, B: Array) -> tuple[Array, Array]:
    """Scale columns by powers of two, so that those of both factors have about the same size, where that is exact.

    ``A`` (m, r) and ``B`` (n, r), or a stack of each, of which every pair is scaled where that is exact for it. What is
    multiplied by zeros becomes zero: bounds of rounding errors grow with the lengths of both factors.
    """
    a, b = (np.abs(factor).max(axis=-2, keepdims=True) for factor in (A, B))
    zeros = (np.minimum(a, b) == 0.0) & (np.maximum(a, b) < math.inf)
    if zeros.any():
        A, B = np.where(zeros, 0.0, A), np.where(zeros, 0.0, B)
    power = (np.frexp(b)[1] - np.frexp(a)[1]) // 2
    if not power.any():
        return A, B
    scaled_A, scaled_B = np.ldexp(A, power), np.ldexp(B, -power)
    exact = [
        (np.ldexp(new, -move) == old).all(axis=(-2, -1), keepdims=True)
        for new, move, old in ((scaled_A, power, A), (scaled_B, -power, B))
    ]
    return np.where(exact[0] & exact[1], scaled_A, A), np.where(exact[0] & exact[1], scaled_B, B)


# ---------------------------------------------------------------------- the norm
def _evaluate(objective: Objective, A: Array, B: Array) -> tuple[BallOracle, tuple[float, float]]:
    return _oracles.ball_oracle(objective, A, B), nuclear_norm(A, B)


def _near_optimum(
    lam: Fraction,
    oracle: BallOracle,
    inner: float,
    nuclear: float,
    gram: Gram,
    seen: Seen,
    beta: float | None,
) -> tuple[ScaledNorm, Apart | None]:
    """Bound ``||G||_2`` as closely as the gap needs it, and with it what is outside the row space ``Q`` of ``X``.

    The norm matters from ``lam`` upwards, of least squares at points that are too long also below, and a large gradient
    attains some of it in ``Q``: a bound at which the gap is ``LOST`` above that at the norm attained needs no
    eigenvalue. How large the gradient may be outside for ``Q`` to
    bound the rank of the optimum follows from that gap, and where it is thought to be smaller one factorisation says
    both.
    """
    G, level = oracle.gradient, float(lam)
    if oracle.lower_bound is None or seen.Q.shape[1] == 0 or not G.norm < math.inf or not nuclear * level > 0.0:
        return _at_level(lam, oracle, inner, nuclear, level, gram), None
    values, vectors = gram.within(seen.Q, seen.GQ)
    wanted = wanted_scaling(oracle, inner)

    def gap(norm: float) -> float:
        return gap_for(norm, lam, oracle, nuclear, inner)

    attained = max(float(values[-1]), min(seen.outside or 0.0, level), level / max(wanted, 1.0))
    if attained < level and not _is_worth_less(attained, gap(level), lam, oracle, inner, nuclear):
        attained = level
    above = max(oracle.high - oracle.lower_bound, 0.0)
    room = float(room_above(attained, level, gap(attained), nuclear, above, oracle.least_squares))
    near, loss = attained * (1.0 + room), ROUNDED * room
    if seen.norm is not None and seen.norm > near:
        # Directions that are partly outside of the space have a part in it: the first attempt would fail.
        near = min(seen.norm * (1.0 + loss), level + BEYOND[0] * max(near - level, 0.0))
    apart = None
    if seen.outside is not None:
        below = level - ranks.reach(gap(near * (1.0 + ranks.ROUNDED)), beta)
        if not seen.outside < below:
            apart = Apart(0, math.inf)
        else:
            V = vectors[:, values >= below]
            # The errors of the matrix and those of its factor may both be as large as the loss.
            norm, rest = gram.parted(V, below * (1.0 - ranks.ROUNDED - 2.0 * loss), near, loss)
            if norm < math.inf:
                return ScaledNorm(norm, scaling(lam, oracle, norm, wanted)), Apart(V.shape[1], rest)
    beyond = [level + factor * (near - level) for factor in BEYOND if near > level]
    if near < level:
        beyond = [near + math.sqrt(room) * (level - near), level]
    return _at_level(lam, oracle, inner, nuclear, near, gram, beyond, loss, float(values[-1])), apart


def room_above(
    norm: Array | float, level: float, gap: Array | float, nuclear: Array | float, above: Array | float, squares: bool
) -> Array:
    """Return by what share of itself ``||G||_2`` may be above a number, so that the gap is above its own by ``LOST``.

    ``squares`` says that the loss is one of least squares, which is ``above`` its lower bound. The gap grows with the
    logarithm of the norm, along ``lam ||X||_*`` and as ``(1 - c)`` or its square does: near ``X = 0`` as that alone.
    """
    off = 2.0 * (1.0 - np.minimum(level / norm, 1.0)) if squares else 1.0
    slope, bend = level * nuclear + off * above, np.sqrt(above) if squares else 0.0
    more = LOST * gap
    share = 2.0 * more / (slope + np.hypot(slope, 2.0 * bend * np.sqrt(more)))
    return np.where(more > 0.0, np.fmin(share, LOST), 0.0)


def _at_level(
    lam: Fraction,
    oracle: BallOracle,
    inner: float,
    nuclear: float,
    level: float,
    gram: Gram,
    beyond: Sequence[float] = (),
    loss: float = 0.0,
    attained: float = 0.0,
) -> ScaledNorm:
    """Bound ``||G||_2``, near a level if it is below it; ``loss`` is what rounding may add (:meth:`Gram.norm`).

    Least squares may want a larger ``c``, for which a norm below ``lam`` is worth knowing: it is at least
    ``|<G, X>| / ||X||_*`` and what is known to be attained. An eigenvalue is cheap up to a size, and far from the
    optimum.
    """
    norm = gram.norm(level, beyond, loss)
    wanted = wanted_scaling(oracle, inner)
    c = scaling(lam, oracle, norm, wanted)
    if lam > 0 and wanted > 1.0 + 1e-9 and c is not None and c < wanted and norm <= 1.5 * float(lam):
        small = min(gram.ball.shape) <= EIGENVALUE_LIMIT and norm <= (1.0 + WORTH) * float(lam)
        affordable = small or abs(inner) < 0.999 * float(lam) * nuclear
        least = max(attained, abs(inner) / nuclear, float(lam) / wanted)
        found = gap_at(c, lam, oracle, nuclear, inner)
        if affordable and _is_worth_less(least, found, lam, oracle, inner, nuclear):
            norm = min(norm, gram.norm())
            c = scaling(lam, oracle, norm, wanted)
    return ScaledNorm(norm, c)


def _is_worth_less(norm: float, gap: float, lam: Fraction, oracle: BallOracle, inner: float, nuclear: float) -> bool:
    """Return whether a gap would be much smaller if ``||G||_2`` were known to be no larger than a number."""
    worth = gap > WORTH * float(lam) * nuclear
    return worth and gap_for(norm, lam, oracle, nuclear, inner) <= GAINED * gap
