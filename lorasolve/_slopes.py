"""Whether ``L`` changes as its gradient says, asked at one point: where a run has converged and where one is judged.

At a stationary point of ``L`` the terms of the gradient cancel, and with a gradient of ``f`` that is off by a factor
they cancel elsewhere. Only what a user has written is asked.
"""

from __future__ import annotations

import math

import numpy as np

from ._support.origin import is_shipped
from ._support.validate import Array
from .objectives import ULPS
from .problem import Problem
from .problem.blocks import is_of_a_user

# Steps to both sides, as shares of the length of the parameters.
STEPS = (1e-3, 1e-4)
# Steps along the gradient, the same shares, and how much of what a longer one is off a shorter one is off at a kink:
# of a smooth function a hundredth.
DOWN, STAYS = (1e-4, 1e-6), 0.5
# Share by which the slope along a random direction may be off, of what that of any gradient would be there.
SHARE = 1e-2


def contradiction(problem: Problem, theta: Array) -> str | None:
    """Return which test tells more, where differences of ``L`` deny the gradient that a user's code answers with."""
    tests = []
    if is_of_a_user(problem.loss):
        tests.append("check_objective")
    if not is_shipped(type(problem.adapter)):
        tests.append("check_adapter")
    # Slopes of a penalty that is not smooth are not in the gradient.
    if not tests or problem.adapter.proximal or not problem.adapter.exact_gradient:
        return None
    return f"values and gradients disagree: run {' and '.join(tests)}" if _differ(problem, theta) else None


def _differ(problem: Problem, theta: Array) -> bool:
    length, slope = float(np.linalg.norm(theta)), problem.units.slope
    grad = np.empty_like(theta)
    value = problem.value_and_grad(theta, grad)
    if not 0.0 < length < math.inf:
        return False
    allowed = _noise(problem, theta, value, STEPS[-1]) + SHARE * slope * length**2 / math.sqrt(theta.size)
    # Always the same direction, so that the same run ends in the same way; no certificate rests on it.
    for D in (theta, np.random.default_rng(0).standard_normal(theta.size)):
        if problem.trainable is not None:
            D = np.where(problem.trainable, D, 0.0)
        D = D * (length / (float(np.linalg.norm(D)) or 1.0))
        (rough, _), (fine, apart) = (_slopes(problem, theta, value, t, D) for t in STEPS)
        # At a kink any slope between those of both sides is one.
        if abs(fine - float(np.vdot(grad, D))) > allowed + apart + abs(fine - rough):
            return True
    return False


def falls_nowhere(problem: Problem, theta: Array) -> bool:
    """Return whether ``L`` has a kink at a point, from which it does not fall along its gradient.

    The slope ahead stays above that of the gradient, and is not negative, however short the step. At such a point,
    which may be a minimum, a gradient is one of many.
    """
    grad = np.empty_like(theta)
    value = problem.value_and_grad(theta, grad)
    length, steepness = float(np.linalg.norm(theta)), float(np.linalg.norm(grad))
    slope = -steepness * length
    if not (0.0 < length < math.inf and 0.0 < steepness < math.inf):
        return False
    ahead = []
    for t in DOWN:
        there = (theta - t * length / steepness * grad).astype(theta.dtype, copy=False)
        ahead.append((problem.value_and_grad(there, np.empty_like(theta)) - value) / t)
    noise = _noise(problem, theta, value, DOWN[-1])
    rough, fine = (each - slope for each in ahead)
    return min(ahead) >= -noise and fine > noise and fine > STAYS * rough


def _noise(problem: Problem, theta: Array, value: float, t: float) -> float:
    """Return what rounding errors of values, and what the loss says of its own, may add to a slope over a step."""
    made_of = max(abs(value), abs(problem.value_at_zero))
    return (ULPS * float(np.finfo(problem.loss.precision).eps) * made_of + problem.value_noise(theta)) / t


def _slopes(problem: Problem, theta: Array, value: float, t: float, D: Array) -> tuple[float, float]:
    """Return the slope of ``L`` along ``D`` by a central difference, and how far apart those of both sides are."""
    ahead, back = (
        problem.value_and_grad((theta + s * D).astype(theta.dtype, copy=False), np.empty_like(theta)) for s in (t, -t)
    )
    return (ahead - back) / (2.0 * t), abs(ahead - 2.0 * value + back) / t
