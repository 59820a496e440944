"""Natural units of a problem: what tolerances are relative to.

``L(A, B) = f(s A B^T) + (lam/2)(||A||^2 + ||B||^2)`` knows no 1. Data in other units make ``c f`` of ``f`` and
``c lam`` of ``lam``; an update measured in other units makes ``f(X/t)`` of ``f(X)``, ``lam/t`` of ``lam`` and
``sqrt(t)`` times the factors of them. Both leave the problem what it is, so a tolerance must be a share of something
that scales along:

- the slope ``g = lam + s ||G(0)||_2``, with ``G(0)`` the gradient of ``f`` at ``X = 0``. It scales like ``c/t``, as
  ``||grad L||/||theta||`` does, and does not depend on the start of a run.
- the natural size ``theta_0 = sqrt(g/beta)/s`` of the factors, with ``beta`` the smoothness of ``f``. It scales like
  ``sqrt(t)``: at factors of that size the curvature of ``f`` has changed the gradient by about ``g``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..dense import frobenius_norm
from ..linear_map import LinearMap
from ..singular_triplets import spectral_norm_estimate, top_singular

if TYPE_CHECKING:
    from .._support.validate import Array
    from . import Problem
    from .blocks import MultiObjective

# Of the largest number: factors of random entries are some times as large as those of the natural size.
ROOM = 1e-2
# Factors whose lengths differ by more than this hide a gradient, and a factor's own share of its gradient's terms may
# be this much above the tolerance: the one of verdicts by default, where a run has the default one.
HIDDEN = 100.0


class Units(NamedTuple):
    """What the gradient and the factors of a problem are measured in.

    Attributes
    ----------
    slope : float
        ``g``, with the norm estimated from below to a few percent; 0 where ``X = 0`` is a stationary point of ``f``
        and there is no decay.
    floor : float
        ``theta_0 s ||G(0)||_2 / g`` where ``theta = 0`` is a minimum of ``L``, so that factors much smaller are zero:
        what a gradient of ``tol g floor`` is worth there is at most ``tol^2 ||G(0)||_2^2 / beta``, however large
        ``lam`` is. Else 0, because near the saddle point at 0 no factors are small enough. It is 0 too where the
        smoothness of ``f`` is not stated: what is sampled at 0 may vanish there and nowhere else. For a sum of losses
        of one matrix each ``g floor`` is the largest of theirs.
    vanishes : bool
        Whether ``theta = 0`` is a minimum of ``L``.
    slopes : tuple of float
        ``lam + s ||G_l(0)||_2`` of each matrix, the largest of which is ``g``.
    share : float
        ``s ||G(0)||_2 / g`` where ``theta = 0`` is a minimum of ``L``.
    """

    slope: float
    floor: float
    vanishes: bool
    slopes: tuple[float, ...]
    share: float = 0.0


def gradient_at_zero(problem: Problem) -> tuple[LinearMap, ...]:
    """Return ``G_l(0)``, the gradient of ``f`` where no matrix is updated."""
    return problem.loss.gradient_operators(problem.loss.zeros())


def units(problem: Problem, at_zero: tuple[LinearMap, ...] | None = None) -> Units:
    """Return the units of a problem; ``at_zero`` is :func:`gradient_at_zero` where that is known already."""
    at_zero = gradient_at_zero(problem) if at_zero is None else at_zero
    with np.errstate(over="ignore", invalid="ignore"):  # f need not be defined there
        norms = [spectral_norm_estimate(G) for G in at_zero]
    found = max(norms)
    if not all(map(math.isfinite, norms)):
        # f is not defined at X = 0, so the start of a run has to serve.
        return Units(0.0, 0.0, False, (0.0,) * len(norms))
    slopes = tuple(problem.lam + problem.scale * norm for norm in norms)
    slope = max(slopes)
    if not 0.0 < slope < math.inf:
        return Units(slope, 0.0, False, slopes)
    vanishes, floor = _is_minimum(problem, at_zero, found), 0.0
    share = problem.scale * found / slope if vanishes else 0.0
    if problem.loss.decoupled:
        if min(norms) <= problem.lam:
            each = [part.units for part in problem.summands]
            floor = max(own.slope * own.floor for own in each) / slope
    elif vanishes and problem.objective.facts.smoothness is not None:
        floor = share * natural_size(problem, slope)
    return Units(slope, floor, vanishes, slopes, share)


def least_length(problem: Problem, found: Units, start: float, length: float = 0.0) -> float:
    """Return the length that factors count as having at least: the floor of the units, or what takes its place.

    Where ``f`` states no smoothness, or its gradient at 0 is 0, that is the share of the length of the parameters at
    the start of a run, or of ``theta_0`` with the smoothness sampled at 0 if that is less; without a run
    (``start = 0``) the share of another length.
    """
    if found.floor or not found.vanishes or not (start or length):
        return found.floor
    natural = math.inf
    if start or problem.objective.facts.smoothness is not None:
        natural = natural_size(problem, found.slope) or math.inf
    return (found.share or 1.0) * min(start or length, natural)


def natural_size(problem: Problem, slope: float) -> float:
    """Return ``theta_0``, and 0 for a linear ``f``, which has no length of its own."""
    beta = problem.objective.facts.smoothness
    if beta is None:
        beta = problem.loss.sampled_smoothness(problem.loss.zeros())
    return math.sqrt(slope / beta) / problem.scale if beta > 0.0 else 0.0


def curvature_at_zero(problem: Problem) -> float:
    """Return a curvature of ``f`` for first steps from ``X = 0``: its smoothness, or what is sampled there."""
    loss = problem.loss
    if loss.facts.smoothness:
        return loss.facts.smoothness
    slope = max(problem.units.slope - problem.lam, 0.0) / problem.scale
    return with_needed(loss.sampled_smoothness(loss.zeros()), loss, slope * slope, problem.value_at_zero)


def with_needed(sampled: float, loss: MultiObjective, square: float, value: float) -> float:
    """Return a curvature that was sampled, or the one that ``f`` has somewhere at least if that is larger.

    That is ``||G||^2 / (2 (f - inf f))``, from the square of the gradient's norm: along ``-G`` a less curved ``f``
    falls below its infimum. In the tails of a robust loss, where ``f`` is flat, it alone says how long a step may be.
    Where no lower bound is stated the size of ``f`` stands for what is above it, if nothing was sampled.
    """
    least = loss.facts.lower_bound
    if least is None and sampled > 0.0:
        return sampled
    above = abs(value) if least is None else value - least
    needed = square / (2.0 * above) if square < math.inf and 0.0 < above < math.inf else 0.0
    return max(sampled, needed) or 1.0


def beside_saddle_at_zero(problem: Problem, theta: Array, tol: float) -> bool:
    """Whether ``theta = 0`` is a strict saddle, and factors are no longer than ``tol theta_0``, so beside it."""
    found = problem.units
    if found.vanishes or not 0.0 < found.slope < math.inf:
        return False
    return frobenius_norm(theta) <= tol * natural_size(problem, found.slope)


def value_at_zero(problem: Problem) -> float:
    """Return ``f(0)``, the loss of the frozen weights."""
    return float(problem.loss.factor_value(problem.loss.zeros()))


def natural_start(problem: Problem) -> float:
    """Return ``sqrt(|f(0)|/(s ||G(0)||_2))``, a size of factors as good as ``theta_0`` for a first step, and cheaper.

    It is 0 where it says nothing. Unlike ``theta_0`` it depends on constants in ``f``, so nothing is decided by it.
    """
    f = abs(problem.value_at_zero)
    slope = problem.units.slope - problem.lam
    size = math.sqrt(f / slope) if slope > 0.0 else 0.0
    return size if math.isfinite(size) else 0.0


def own_lengths(problem: Problem) -> Array | float:
    """Return ``sqrt(g/g_l)`` for each parameter of several matrices, of which it makes curvatures alike; 1 for one.

    It is 1 too where ``f`` is not known to be convex: slopes where nothing is updated may then say nothing of others.
    A slope counts as at least ``g/HIDDEN``: a matrix in which there is nearly nothing to do is as curved as the start
    makes it (with 1e-9 of the other's data L-BFGS got nowhere at full length, in 3000 iterations).
    """
    if not problem.several or problem.objective.facts.convex is not True:
        return 1.0
    lengths, slope = np.ones(problem.size, problem.dtype), problem.units.slope
    for pair, own in zip(problem.split_blocks(lengths), problem.units.slopes):
        for factor in pair:
            factor *= math.sqrt(min(slope / own, HIDDEN) if own > 0.0 else 1.0)
    return lengths


def underflows(problem: Problem) -> bool:
    """Whether changes of ``f``, which are of the size ``g^2/beta``, are below the normal numbers of its precision."""
    slope, tiny = problem.units.slope, float(np.finfo(problem.loss.precision).tiny)
    if not 0.0 < slope < math.sqrt(tiny):
        return False
    beta = problem.loss.facts.smoothness
    if beta is not None:
        return beta > 0.0 and slope * (slope / beta) < tiny
    # Where f may be 0 or below at other points nothing is known.
    return problem.loss.facts.lower_bound == 0.0 and abs(problem.value_at_zero) < tiny


def overflows(problem: Problem) -> bool:
    """Whether the squared length of a gradient at factors of the natural size, ``g^3/beta``, overflows."""
    slope, largest = problem.units.slope, float(np.finfo(problem.dtype).max)
    if not largest**0.25 < slope < math.inf:
        return False  # before anything is asked of f, which may take long
    beta = problem.loss.facts.smoothness
    if beta is None:
        # The value at X = 0 stands for g^2/beta.
        return slope > ROOM * largest / max(abs(problem.value_at_zero), 1.0)
    return beta > 0.0 and 3.0 * math.log(slope) - math.log(beta) > math.log(ROOM * largest)


def factor_lengths(problem: Problem, theta: Array) -> tuple[float, float]:
    """Return the lengths of the parts of all ``A`` and of all ``B`` in a parameter vector, or a gradient."""
    of_A, of_B = zip(*_lengths(problem, theta))
    return math.hypot(*of_A), math.hypot(*of_B)


def may_hide_gradient(problem: Problem, theta: Array, floor: float = 0.0) -> bool:
    """Whether factors differ so much that a gradient small beside all of them may be large beside one.

    Factors of one update by their lengths. Of several the gradient is held against the largest slope times the largest
    length, which need not be of one matrix, or that of the floor, and its parts are of the sizes of slope and length of
    their own.
    """
    if not problem.adapter.low_rank:
        return False
    pairs = _lengths(problem, theta)
    if not problem.several:
        return max(pairs[0]) > HIDDEN * min(pairs[0])
    slopes = problem.units.slopes
    least = min(slope * min(pair) for slope, pair in zip(slopes, pairs))
    return max(slopes) * max(floor, *map(max, pairs)) > HIDDEN * least


def hides_gradient(
    problem: Problem, theta: Array, grad: Array, tol: float, slope: float, floor: float, start: float = 0.0
) -> bool:
    """Whether the gradient in one of the factors is large beside the terms that it is made of.

    Parameters
    ----------
    problem : Problem or MultiProblem
        With a low-rank adapter.
    theta, grad : ndarray of shape (p,)
        Parameters, and the gradient of ``L`` there.
    tol : float
        The share of all terms that counts as convergence; ``HIDDEN`` times as much of a factor's own does.
    slope : float
        ``g``.
    floor : float
        The length that factors of one matrix count as having at least.
    start : float
        The length of the parameters of several matrices at the start of a run, 0 without one.

    Notes
    -----
    Each of several matrices is held against the units of its own problem, the others as they are: data of different
    units would let the largest decide for all. Without decay a matrix that changes nothing there has no units.
    """
    lam, parts = problem.lam, list(zip(_lengths(problem, theta), _lengths(problem, grad)))
    if not problem.several:
        return _stands_out(*parts[0], tol * slope, tol * lam, floor)
    # The slopes where no matrix is updated are known; what passes by them is not looked at again.
    suspects = [k for k, own in enumerate(problem.units.slopes) if _stands_out(*parts[k], tol * own, tol * lam, 0.0)]
    if not suspects:
        return False
    alone, length = problem.alone(theta), frobenius_norm(theta)
    if not problem.units.vanishes:
        # Nothing else is known of a point without its run: one that has converged is stationary there too.
        start = min(start, length)
    for k in suspects:
        own = alone[k].units
        least = least_length(alone[k], own, start, length)
        if own.slope > 0.0 and _stands_out(*parts[k], tol * own.slope, tol * lam, least):
            return True
    return False


def _stands_out(
    lengths: tuple[float, float], gradients: tuple[float, float], slope: float, decay: float, floor: float
) -> bool:
    """Whether the gradient in ``A`` or ``B`` is large beside its terms; ``slope`` and ``decay`` times the tolerance.

    The terms of ``grad_A L = s G B + lam A`` have sizes of about ``(g - lam) ||B||`` and ``lam ||A||``, which beside
    ``g ||(A, B)||`` is little where ``A`` is long and ``B`` short: then all gradients there are.
    """
    a, b = (max(length, floor) for length in lengths)
    rest = max(slope - decay, 0.0)
    in_A, in_B = gradients
    return in_A > HIDDEN * (rest * b + decay * a) or in_B > HIDDEN * (rest * a + decay * b)


def _lengths(problem: Problem, theta: Array) -> list[tuple[float, float]]:
    """Return the lengths of the parts ``A_l`` and ``B_l`` of each matrix."""
    return [(frobenius_norm(A), frobenius_norm(B)) for A, B in problem.split_blocks(theta)]


def _is_minimum(problem: Problem, at_zero: tuple[LinearMap, ...], found: float) -> bool:
    """Whether parameters of 0 are a local minimum of ``L``; ``found`` bounds the norms of ``at_zero`` from below."""
    if problem.adapter.proximal:
        # The products of three parameters vanish faster than the penalty.
        return True
    weight = problem.lam if problem.several else problem.adapter.nuclear_weight(problem.lam, problem.rank)
    return found <= weight and all(top_singular(G).values[0] <= weight for G in at_zero)
