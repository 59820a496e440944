"""Bounds on ``F(X) - inf F`` in floating point, with an allowance for rounding: for losses without a ball oracle.

For convex ``f`` with ``f >= f_low`` and any ``c`` in ``[0, min(1, lam/||G||_2)]``, ``G = grad f(X)``,

    F(X) - F* <= (1 - c) (f(X) - f_low) + lam ||X||_* + c <G, X>,

and for least squares the first factor may be squared and ``c`` run up to ``lam/||G||_2`` (proofs/certificate).
Where ``f`` states its conjugate, ``F(X) - F* <= F(X) + f*(c G)`` too, because ``lam ||X||_* >= -<X, c G>`` for all
``X``; that needs no ``f_low``. At ``c = min(1, lam/||G||_2)`` the first is never worse than the bound of the main
paper's notes,
``<G, X> + lam ||X||_* + R max(0, ||G||_2 - lam)`` with ``R = (F(X) - f_low)/lam``. It needs one gradient, as an
operator, and one largest singular value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .._known import Known
from .._support.equality import ComparedByValue
from .._support.validate import Array
from ..dense import DENSE_LIMIT, largest_singular_value
from ..linear_map import LinearMap, outside
from ..objectives.base import allowance
from ..problem.blocks import MultiObjective
from ..problem.pairs import Pairs
from ._lanczos import FAILURE, MOST_BLOCKS, sampled_norm
from .balls import Ball
from .norms import Gram

# Up to this shorter side, and up to this many entries, a gradient is formed and its norm bounded by a factorisation.
DENSE_SIDE = 1000
DENSE_ENTRIES = 4_000_000
# Up to this shorter side one is factorised where so many blocks of products have told little, in a crowded spectrum:
# a certificate at the optimum of 2000 entries scattered over 5000 x 4000, lam = 1, in the rows and columns that have
# some, takes 1 s, where an iteration takes 24 s and bounds the gap by 4e-6 for 1e-9.
MODERATE_SIDE, FEW_BLOCKS = 2000, 40
# Values below have lost digits to underflow.
SMALLEST = float(np.finfo(np.float64).tiny / np.finfo(np.float64).eps)
# Without a lower bound or a conjugate of f all depends on ||G||_2 <= lam, and a bound that is looked for at lam itself
# is above it by rounding.
BELOW = 1.0 - 1e-10
NO_BOUND = "none: f has no known lower bound, and ||G||_2 <= lam is not known"
# A norm below lam is looked for where least squares have a gap of more than this share of lam ||X||_*, and with it may
# have at most that share of it.
WORTH, GAINED = 1e-9, 0.5
# Far from stationarity the bound through blocks is loose and the gradient is looked at as a whole.
COUPLING_LIMIT = 1e-2


@dataclass(frozen=True, eq=False)
class Parts(ComparedByValue):
    """The numbers that a bound is made of; ``low`` and ``high`` are bounds, no estimates.

    Attributes
    ----------
    f_low, f_high : float
        Bounds of ``f(X)``.
    lower_bound, lower_slope : float
        ``f(Y) >= lower_bound - lower_slope ||Y||_*`` for all ``Y`` (``-inf`` where nothing is known).
    nuclear_low, nuclear_high : float
        Bounds of ``||X||_*``.
    inner_high : float
        Upper bound of ``<G, X>``.
    norm_high : float
        Upper bound of ``||G||_2``.
    radius : float
        Of the ball that contains ``G`` (NaN where rounding errors in ``G`` were not counted).
    scaling : float
        The number ``c`` of the formula (NaN where it was not used).
    """

    f_low: float
    f_high: float
    lower_bound: float
    lower_slope: float
    nuclear_low: float
    nuclear_high: float
    inner_high: float
    norm_high: float
    radius: float
    scaling: float


@dataclass(frozen=True)
class Bound:
    """An upper bound on ``F(X) - inf F``.

    Attributes
    ----------
    gap : float
        The bound; infinite if there is none.
    formula : str
        Its name, or why there is none.
    scale : float
        What it is relative to (``scale_of``).
    level : Known
        RIGOROUS, CERTIFIED or SAMPLED.
    failure_probability : float
        Over the random starts, for SAMPLED.
    scaling : float
        The number ``c`` of the formula (NaN where it was not used).
    """

    gap: float
    formula: str
    scale: float
    level: Known = Known.CERTIFIED
    failure_probability: float = 0.0
    scaling: float = math.nan

    @property
    def relative(self) -> float:
        """``gap / scale``."""
        return self.gap / self.scale


def scale_of(size: float, least: float | None) -> float:
    """Return what a gap is relative to.

    That is the size of ``|f(X)| + lam ||X||_*``; where it is 0 that of the lower bound of ``f``; 1 where this says
    nothing either. Bounds of a size that underflows may be a few times it, so that a quarter still counts.
    """
    numbers = (size, 0.0 if least is None else abs(least))
    return next((number for number in numbers if 0.25 * SMALLEST < number < math.inf), 1.0)


def duality_gap(
    loss: MultiObjective,
    lam: float,
    f: float,
    nuclear: float,
    inner: float,
    norm: float,
    noise: float = 0.0,
) -> Bound:
    """Return the best gap from five numbers (module docstring; proofs/certificate).

    A value of ``f`` below the stated lower bound, by more than rounding, contradicts it: then there is no bound.

    Parameters
    ----------
    loss : MultiObjective
        Only its ``precision`` and its facts ``convex``, ``least_squares`` and ``lower_bound`` are used.
    lam : float
        The weight of the nuclear norm, > 0.
    f, nuclear, inner, norm : float
        ``f(X)``, ``||X||_*``, ``<G, X>`` and (an upper bound of) ``||G||_2``.
    noise : float
        Size of the rounding errors in ``f`` and ``<G, X>`` beyond those of their own size.
    """
    eps = allowance(loss.precision)
    facts = loss.facts
    scale = scale_of(abs(f) + lam * nuclear, facts.lower_bound)
    if facts.convex is not True:
        return Bound(math.inf, "none: f is not known to be convex", scale)
    noise += eps * abs(f)
    low = facts.lower_bound
    if low is not None and f < low - noise - eps * abs(low):
        return Bound(math.inf, f"none: f(X) = {f:.6g} is below the lower_bound {low:.6g} that f states", scale)
    above = 0.0 if low is None else max(f - low, 0.0) + noise
    if lam <= 0.0:
        if low is None:
            return Bound(math.inf, "none: lam = 0 and f has no known lower bound", scale)
        return Bound(above, "f above its lower bound", scale)
    most = lam / norm if norm > 0.0 else math.inf
    if low is None:
        if most < 1.0:
            return Bound(math.inf, NO_BOUND, scale)
        c, lost, formula = 1.0, 0.0, "Fenchel, c = 1"
    elif facts.least_squares:
        c = 0.0 if above == 0.0 else min(max(1.0 - inner / (2.0 * above), 0.0), most)
        lost, formula = (1.0 - c) ** 2, "Fenchel, least squares"
    else:
        c = min(1.0, most) if inner < above else 0.0
        lost, formula = 1.0 - c, "Fenchel, convex f with a lower bound"
    gap = max(lost * above + lam * nuclear + c * inner, 0.0)
    gap += (1.0 + c) * noise + eps * (lam * nuclear + c * abs(inner))
    return Bound(gap if math.isfinite(gap) else math.inf, formula, scale, scaling=c)


def has_bounds(loss: MultiObjective) -> bool:
    """Return whether a gap may be known where ``||G||_2`` exceeds ``lam``: from a lower bound, or a conjugate."""
    return loss.facts.lower_bound is not None or loss.states_conjugate


def conjugate_gap(
    loss: MultiObjective, lam: float, value: float, G: Sequence[LinearMap], norm: float, noise: float
) -> Bound | None:
    """Return ``F(X) + f*(c G)``, ``c = min(1, lam/||G||_2)``, where ``f`` states its conjugate.

    Parameters
    ----------
    loss : MultiObjective
        The loss.
    lam, value : float
        The weight of the nuclear norm, and ``F(X)``.
    G : sequence of LinearMap
        The gradient at ``X``; it is formed.
    norm : float
        An upper bound of ``||G||_2``.
    noise : float
        Size of the rounding errors in ``f``, and in its conjugate, beyond those of their own size.
    """
    c = min(1.0, lam / norm * (1.0 - allowance(np.float64))) if norm > 0.0 else 1.0
    dual = loss.conjugate([c * g.to_dense() for g in G])
    if dual is None:
        return None
    gap = max(value + dual, 0.0) + 2.0 * noise + allowance(loss.precision) * (abs(value) + abs(dual))
    scale = scale_of(abs(value), loss.facts.lower_bound)
    return Bound(gap if math.isfinite(gap) else math.inf, "Fenchel, conjugate of f", scale, scaling=c)


def best_gap(
    loss: MultiObjective,
    lam: float,
    f: float,
    nuclear: float,
    inner: float,
    norm: float,
    G: Sequence[LinearMap],
    noise: float,
) -> Bound:
    """Return the smaller of :func:`duality_gap` and, where ``f`` states its conjugate, :func:`conjugate_gap`."""
    bound = duality_gap(loss, lam, f, nuclear, inner, norm, noise)
    if loss.facts.convex is True and lam > 0.0 and loss.states_conjugate:
        by_conjugate = conjugate_gap(loss, lam, f + lam * nuclear, G, norm, noise)
        if by_conjugate is not None and by_conjugate.gap < bound.gap:
            return replace(by_conjugate, scale=bound.scale)
    return bound


class Norm(NamedTuple):
    """An upper bound of ``||G||_2``, and of what is left of ``G`` without its part in the spaces of ``X``.

    ``gram`` is there where the gradient of one matrix was formed.
    """

    most: float
    outside: float
    failure: float
    gram: Gram | None = None


def is_formed(shape: tuple[int, int]) -> bool:
    """Return whether a gradient of this shape is formed, so that its norm is bounded by a factorisation.

    One of a row or two is no larger than a factor, and what chance says needs three.
    """
    m, n = shape
    return min(m, n) < 3 or m * n <= DENSE_LIMIT or (min(m, n) <= DENSE_SIDE and m * n <= DENSE_ENTRIES)


def gradient_norm(G: LinearMap, P: Array, Q: Array, level: float, radius: float = 0.0) -> Norm:
    """Bound the norm of one gradient, near ``level`` or below it if that is all that is needed.

    A gradient of moderate size is formed and a factorisation proves the bound (up to rounding in ``G`` itself, beyond
    ``radius``); a larger one is looked at through products, from a fresh random start.
    """
    core = G.core
    if is_formed(core.shape):
        return _norm_by_factorisation(G, level, radius)
    m, n = core.shape
    moderate = min(m, n) <= MODERATE_SIDE and m * n <= DENSE_ENTRIES
    most_blocks = FEW_BLOCKS if moderate else MOST_BLOCKS
    if G.support is not None:
        P, Q = (np.linalg.qr(basis[kept])[0] for basis, kept in zip((P, Q), G.support))
    seen = outside(core, P, Q)
    apart = seen.coupling <= COUPLING_LIMIT * level
    found = sampled_norm(seen.S if apart else core, level, most_blocks=most_blocks)
    if moderate and not found.tells(level):
        return _norm_by_factorisation(G, level, radius)
    if apart:
        return Norm(seen.norm(found.most) + radius, found.most + seen.coupling + radius, FAILURE)
    return Norm(found.most + radius, math.nan, FAILURE)


def _norm_by_factorisation(G: LinearMap, level: float, radius: float) -> Norm:
    ball = Ball(np.ascontiguousarray(G.core.to_dense(), dtype=np.float64), radius)
    gram = Gram(ball, products=None if G.support is None else G)
    return Norm(gram.norm(level), math.nan, 0.0, gram)


class Evaluation(NamedTuple):
    """All that a floating-point bound is made of at a point."""

    value: float
    bound: Bound
    parts: Parts
    norms: tuple[Norm, ...]
    oracle: tuple[float, Pairs]


def factor_answer(loss: MultiObjective, factors: Pairs) -> tuple[float, Pairs]:
    """Return ``f`` and the products ``(G_l B_l, G_l^T A_l)``."""
    products = [(np.empty_like(A), np.empty_like(B)) for A, B in factors]
    return float(loss.factor_oracle(factors, products)), products


def product_errors(factors: Pairs, nuclear: float, dtype: np.dtype | type | str = np.float64) -> float:
    """Return the size of the rounding errors in the updates ``A_l B_l^T`` beyond those of their own size.

    Where columns cancel the update that is evaluated is another one. The products of their lengths add up to
    ``||X||_*`` for balanced factors.
    """
    return allowance(dtype) * max(_lengths(factors) - nuclear, 0.0)


def _lengths(factors: Pairs) -> float:
    return sum(float(np.linalg.norm(A, axis=0) @ np.linalg.norm(B, axis=0)) for A, B in factors)


def _noise_of_product(loss: MultiObjective, slope: float, factors: Pairs, nuclear: float) -> float:
    """Return what errors in the updates do to ``F``, whose slope there is at most ``slope``."""
    errors = product_errors(factors, nuclear)
    if errors <= allowance(np.float64) * nuclear:
        return slope * errors
    return errors * (slope + 0.5 * errors * (loss.facts.smoothness or loss.sampled_smoothness(factors)))


def rounding_of_outputs(loss: MultiObjective, f: float, factors: Pairs) -> float:
    """Return by how much a value may be off as its outputs are differences of numbers of the size of the factors.

    Where they cancel neither ``f(X)`` nor ``f(0)`` says how large these are. Their errors are those of a longer step of
    ``X``, another one for each sample, along which the slope is at most ``sqrt(2 beta (f - f_low))``; the curvature is
    that of matrices of rank one, of which the products of the columns' lengths add up all.
    """
    least, curvature = loss.facts.lower_bound, _curvature_of_outputs(loss)
    if least is None or curvature == 0.0:
        return 0.0
    errors = allowance(loss.precision) * _lengths(factors) * math.sqrt(curvature)
    return errors * (math.sqrt(2.0 * max(f - least, 0.0)) + 0.5 * errors)


def _curvature_of_outputs(loss: MultiObjective) -> float:
    """Return the largest curvature of the sum over the samples, 0 if not known; of a sum of losses that of a part."""
    if loss.decoupled:
        X = [np.zeros(shape) for shape in loss.shapes]
        facts = [loss.block(k, X).facts for k in range(len(X))]
    else:
        facts = [loss.facts]
    known = [(part.n_samples, part.rank_one_curvature) for part in facts if part.n_samples is not None]
    return max((count * curvature for count, curvature in known if curvature is not None), default=0.0)


def _norm_worth_knowing(
    loss: MultiObjective, lam: float, f: float, nuclear: float, inner: float, norm: float, attained: Callable[[], float]
) -> float | None:
    """Return the least that ``||G||_2`` may be where the gap of least squares would be much smaller then.

    Where they want ``c > 1``, a norm below ``lam`` is worth knowing. It is at least ``|<G, X>| / ||X||_*``, and what
    it is in the spaces of the updates, which is ``attained()``.
    """
    low = loss.facts.lower_bound
    if low is None or not loss.facts.least_squares or not (inner < 0.0 < nuclear and low < f and norm <= 1.5 * lam):
        return None

    def gap(value: float) -> float:
        return duality_gap(loss, lam, f, nuclear, inner, value).gap

    found = gap(norm)
    least = max(-inner / nuclear, lam / (1.0 - inner / (2.0 * (f - low))))
    if not WORTH * lam * nuclear < found < math.inf or gap(least) > GAINED * found:
        return None
    least = max(least, attained())
    return least if gap(least) <= GAINED * found else None


def evaluate(
    loss: MultiObjective, lam: float, factors: Pairs, spans: Sequence[tuple[Array, Array]], nuclear: float
) -> Evaluation:
    """Bound ``F(X) - inf F`` at factors, given orthonormal bases of the spaces of each update and ``||X||_*``."""
    f, products, operators = loss.oracle_and_operators(factors)
    inner = sum(float(np.vdot(GB, A)) for (GB, _), (A, _) in zip(products, factors))
    noise, radius = loss.rounding_noise(factors)
    one = len(factors) == 1
    level = lam if has_bounds(loss) else lam * BELOW

    def at(value: float, G: LinearMap, P: Array, Q: Array) -> Norm:
        found = gradient_norm(G, P, Q, value, radius)
        # The rank is bounded for one matrix; the Gram matrices of several would be kept together for nothing.
        return found if one else found._replace(gram=None)

    norms = tuple(at(level, G, P, Q) for G, (P, Q) in zip(operators, spans))

    def attained() -> float:
        return max(largest_singular_value(G.matmat(Q)) for G, (_, Q) in zip(operators, spans))

    least = _norm_worth_knowing(loss, lam, f, nuclear, inner, max(found.most for found in norms), attained)
    if least is not None:
        each = zip(norms, operators, spans)
        norms = tuple(at(least, G, P, Q) if is_formed(G.core.shape) else found for found, G, (P, Q) in each)
    norm = max(found.most for found in norms)
    noise += _noise_of_product(loss, lam + norm, factors, nuclear) + rounding_of_outputs(loss, f, factors)
    bound = best_gap(loss, lam, f, nuclear, inner, norm, operators, noise)
    failure = sum(found.failure for found in norms)
    if failure and math.isfinite(bound.gap) and lam > 0.0:
        bound = replace(bound, level=Known.SAMPLED, failure_probability=failure)
    around = noise + allowance(loss.precision) * abs(f)
    least = loss.facts.lower_bound
    parts = Parts(
        f_low=f - around,
        f_high=f + around,
        lower_bound=-math.inf if least is None else least,
        lower_slope=0.0,
        nuclear_low=nuclear * (1.0 - allowance(loss.precision)),
        nuclear_high=nuclear * (1.0 + allowance(loss.precision)),
        inner_high=inner + noise + allowance(loss.precision) * abs(inner),
        norm_high=norm,
        radius=math.nan,
        scaling=bound.scaling,
    )
    return Evaluation(f + lam * nuclear, bound, parts, norms, (f, products))
