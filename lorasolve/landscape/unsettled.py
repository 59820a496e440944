"""A point that is not stationary: what shows it, and what is to be done."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._advice import rise
from ..dense import frobenius_norm
from ..linear_map import LinearMap
from ..problem.natural_units import beside_saddle_at_zero, factor_lengths, gradient_at_zero
from ..result import Result
from ..singular_triplets import spectral_norm_estimate
from ..status import Status
from .canonical import Point, begin_again
from .first_order import Stationarity, stationarity_at


def onward(result: Any) -> str:
    """Return what is to be done where more of a run might settle it."""
    if not isinstance(result, Result):
        return "continue the run"
    if result.status is Status.DIVERGED:
        return begin_again(result)
    # Values of mini-batches say nothing about one of the whole.
    comparable = result.trace.value and not (result.method and result.method.optimizer.stochastic)
    risen = rise(result.problem, result.trace.value[0], result.fun) if comparable else ""
    if risen:
        return risen
    if result.status is Status.STALLED:
        loss, other = result.problem.loss, "by another method"
        if result.theta.dtype == np.float32:
            other = "in float64"
        elif loss.precision != loss.dtype:
            other = f"with a loss that computes in {np.dtype(loss.dtype)}: {loss.label} does so in {loss.precision}"
        return f"the run found no further decrease, so continue it {other}"
    return "continue the run"


def unsettled(point: Point, as_given: Point, first: Stationarity, tol: float, onward: str) -> str:
    """Return what shows that a point is not stationary, and what is to be done.

    ``as_given`` is the point before its factors were balanced, and ``onward`` is said where more of the run may help.
    """
    problem, convex = point.problem, point.problem.objective.facts.convex is True
    # Beside a far larger decay a slope is lost in the sum with it, not in its share.
    if convex and problem.units.slope <= point.lam and problem.units.share == 0.0:
        return (
            f"||grad L|| = {first.grad_norm:.2e}, but the gradient of f at X = 0 is 0, so nothing says what is "
            "small; X = 0 is optimal: ask there, at factors of 0"
        )
    if _tends_to_zero(point, tol):
        return (
            f"||grad L|| = {first.grad_norm:.2e} at factors of length {frobenius_norm(point.theta):.2e}, "
            f"which tend to 0; X = 0 is {'optimal' if convex else 'a local minimum'}: ask there, at factors of 0"
        )
    if first.grad_norm > first.limit:
        there = _of_factors_of_zero(point, tol)
        exceeds = f"||grad L|| = {first.grad_norm:.2e} exceeds {first.limit:.2e}"
        if point is not as_given and stationarity_at(as_given, tol).is_fosp:
            return f"{exceeds} at balanced factors of the same X, not at these; continue the run from those{there}"
        return f"{exceeds}; {onward}{there}"
    if problem.several:
        return (
            f"||grad L|| = {first.grad_norm:.2e} is small beside the terms of the largest matrix only: another "
            f"one, or a factor of it, is not at a stationary point of its own problem; {onward}"
        )
    A, B = factor_lengths(problem, point.theta)
    return (
        f"||grad L|| = {first.grad_norm:.2e} is small beside the longer factor only, ||A|| = {A:.2e} and ||B|| = "
        f"{B:.2e}; continue the run from balanced factors of the same X"
    )


def _tends_to_zero(point: Point, tol: float) -> bool:
    """Whether factors of 0 are a minimum of ``L``, no length says what is small, and ``f`` is linear up to here."""
    problem, units = point.problem, point.problem.units
    if not units.vanishes or units.floor > 0.0 or problem.lam == 0.0:
        return False
    # As the slope is measured: nothing of the size of X is formed where f offers products.
    pairs = zip(point.gradients(), gradient_at_zero(problem))
    return max(spectral_norm_estimate(_difference(*pair)) for pair in pairs) <= tol * units.slope


def _of_factors_of_zero(point: Point, tol: float) -> str:
    """Return what is to be said of a run that ends beside factors of 0, if this point may be its end."""
    if not point.problem.units.slope:
        return "; where the factors tend to 0, ask at factors of 0"
    if not beside_saddle_at_zero(point.problem, point.theta, tol):
        return ""
    length = frobenius_norm(point.theta)
    return (
        f"; at a length of {length:.2e} the factors are beside X = 0, which is a strict saddle: where a run tends "
        "to it, begin again from others, or ask for escape(problem, result) at factors of 0"
    )


def _difference(G: LinearMap, H: LinearMap) -> LinearMap:
    """Return ``G - H``."""
    return LinearMap(G.shape, lambda V: G.matmat(V) - H.matmat(V), lambda U: G.rmatmat(U) - H.rmatmat(U))
