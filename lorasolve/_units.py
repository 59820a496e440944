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

from .linear_map import LinearMap, frobenius_norm, spectral_norm_estimate, top_singular

if TYPE_CHECKING:
    from ._validate import Array
    from .problem import Problem

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
        ``theta_0`` where ``theta = 0`` is a minimum of ``L``, so that factors much smaller are zero; else 0, because
        near the saddle point at 0 no factors are small enough. It is 0 too where the smoothness of ``f`` is not
        stated: what is sampled at 0 may vanish there and nowhere else.
    vanishes : bool
        Whether ``theta = 0`` is a minimum of ``L``.
    """

    slope: float
    floor: float
    vanishes: bool

    def floor_from(self, start: float) -> float:
        """Return the floor for a run whose parameters have the length ``start`` at first.

        Where ``f`` states no smoothness that length is what factors on the way to 0 are held against.
        """
        return self.floor or (start if self.vanishes else 0.0)

    def gradient(self, size: float) -> float:
        """Return the length of ``grad L`` at factors of a size if nothing cancelled in it."""
        return self.slope * max(size, self.floor)


def gradient_at_zero(problem: Problem) -> tuple[LinearMap, ...]:
    """Return ``G_l(0)``, the gradient of ``f`` where no matrix is updated."""
    return problem.loss.gradient_operators(problem.loss.zeros())


def units(problem: Problem, at_zero: tuple[LinearMap, ...] | None = None) -> Units:
    """Return the units of a problem; ``at_zero`` is :func:`gradient_at_zero` where that is known already."""
    at_zero = gradient_at_zero(problem) if at_zero is None else at_zero
    found = max(spectral_norm_estimate(G) for G in at_zero)
    if not math.isfinite(found):
        # f is not defined at X = 0, so the start of a run has to serve.
        return Units(0.0, 0.0, False)
    slope = problem.lam + problem.scale * found
    if not 0.0 < slope < math.inf or not _is_minimum(problem, at_zero, found):
        return Units(slope, 0.0, False)
    stated = problem.objective.facts.smoothness is not None
    return Units(slope, natural_size(problem, slope) if stated else 0.0, True)


def natural_size(problem: Problem, slope: float) -> float:
    """Return ``theta_0``, and 0 for a linear ``f``, which has no length of its own."""
    beta = problem.objective.facts.smoothness
    if beta is None:
        beta = problem.loss.sampled_smoothness(problem.loss.zeros())
    return math.sqrt(slope / beta) / problem.scale if beta > 0.0 else 0.0


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
    pairs = problem.split_blocks(theta)
    return math.hypot(*(frobenius_norm(A) for A, _ in pairs)), math.hypot(*(frobenius_norm(B) for _, B in pairs))


def may_hide_gradient(problem: Problem, theta: Array) -> bool:
    """Whether factors of ``s A B^T`` differ so much that a gradient small beside both may be large beside one."""
    if not problem.adapter.low_rank:
        return False
    a, b = factor_lengths(problem, theta)
    return max(a, b) > HIDDEN * min(a, b)


def hides_gradient(
    lengths: tuple[float, float], gradients: tuple[float, float], slope: float, decay: float, floor: float
) -> bool:
    """Whether the gradient in one of the factors is large beside the terms that it is made of.

    The terms of ``grad_A L = s G B + lam A`` have sizes of about ``(g - lam) ||B||`` and ``lam ||A||``, which beside
    ``g ||(A, B)||`` is little where ``A`` is long and ``B`` short: then all gradients there are.

    Parameters
    ----------
    lengths, gradients : (float, float)
        Of ``A`` and ``B``, and of the gradient in them.
    slope, decay : float
        ``g`` and ``lam``, each times the tolerance.
    floor : float
        The length that factors count as having at least.
    """
    a, b = (max(length, floor) for length in lengths)
    rest = max(slope - decay, 0.0)
    in_A, in_B = gradients
    return in_A > HIDDEN * (rest * b + decay * a) or in_B > HIDDEN * (rest * a + decay * b)


def _is_minimum(problem: Problem, at_zero: tuple[LinearMap, ...], found: float) -> bool:
    """Whether ``theta = 0`` is a local minimum of ``L``; ``found`` bounds the norms from below."""
    if problem.adapter.proximal:
        # The products of three parameters vanish faster than the penalty.
        return True
    weight = problem.lam if problem.several else problem.adapter.nuclear_weight(problem.lam, problem.rank)
    return found <= weight and all(top_singular(G).values[0] <= weight for G in at_zero)
