"""What differences of gradients say of a loss: products with its Hessian, its curvature; and how long a step is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.time_limit import is_over
from .._support.validate import Array
from ..dense import frobenius_norm

if TYPE_CHECKING:
    from .base import Objective

# Of power iterations for the largest curvature at a point.
POWER_STEPS = 20
# Tenths of a length that are tried, one after the other, and the share of its slope that a loss falls by over it.
TENTHS, FALLS = 16, 1e-2


def natural_length(objective: Objective, least: float = 0.0) -> float:
    """Return a length that changes with the units of ``X`` as ``X`` does; one below ``least`` may be any such.

    It is ``|f(0)|/||G(0)||_F``, 0 if that says nothing, as far as ``f`` falls on (:func:`falling_length`). To
    differences of gradients, points much nearer to 0 are 0.
    """
    zero = np.zeros(objective.shape, objective.dtype)
    f, G = objective.value_and_grad(zero)

    def value(X: Sequence[Array]) -> float:
        return float(objective.value_and_grad(X[0].astype(objective.dtype, copy=False))[0])

    return falling_length(value, [zero], float(f), [G], length_of(float(f), float(np.linalg.norm(G))), least)


def length_of(f: float, slope: float) -> float:
    """Return ``|f|/slope``, and 0 where that is no number."""
    length = abs(f) / slope if slope > 0.0 else 0.0
    return length if math.isfinite(length) else 0.0


def falling_length(
    value: Callable[[Sequence[Array]], float],
    X: Sequence[Array],
    f: float,
    G: Sequence[Array],
    length: float,
    least: float = 0.0,
) -> float:
    """Return a length, or the first of its tenth, hundredth, ... so far down its gradient ``f`` falls as it begins to.

    With a large constant in ``f`` its quotient by a slope is that constant's, and so long a way says nothing of ``f``.

    Parameters
    ----------
    value : callable
        The loss, a function of one or several matrices.
    X, f, G : sequence of ndarray, float, sequence of ndarray
        Where the way begins, the value and the gradient there. It leads down in one matrix after the other: they may be
        of other units.
    length : float
        The length.
    least : float
        A length that ends the search.
    """
    slopes = [float(np.linalg.norm(g)) for g in G]
    down = [g / (slope or 1.0) for g, slope in zip(G, slopes)]

    def fall(way: float, block: int) -> float:
        return f - value([x - way * down[k] if k == block else x for k, x in enumerate(X)])

    for tenths in range(TENTHS):
        shorter = length * 0.1**tenths
        if shorter <= least:
            return shorter
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                falls = any(fall(shorter, k) >= FALLS * own * shorter > 0.0 for k, own in enumerate(slopes))
        except ArithmeticError:  # as of math.exp, where NumPy's functions are infinite
            falls = False
        if falls:
            return shorter
    return length


def difference_step(length: float, size: float, distance: float, dtype: Any) -> float:
    """Return ``h`` for central differences of gradients at a point of a size along a direction of a length.

    ``h ||D||`` is ``eps^(1/3)`` of the larger of the point's size and the natural length; where both are 0, of 1.
    """
    return float(np.finfo(dtype).eps) ** (1 / 3) * (max(length, size) or 1.0) / distance


def difference_product(objective: Objective, X: Array, D: Array, length: float) -> Array:
    """Return ``hess f(X)[D]`` by a central difference of the gradient; ``length`` is :func:`natural_length`."""
    distance = frobenius_norm(D)
    if distance == 0.0:
        return np.zeros_like(D)
    h = difference_step(length, frobenius_norm(X), distance, objective.precision)
    # A copy, as the second gradient may be written into the array of the first.
    ahead = objective.value_and_grad(X + h * D)[1].copy()
    return (ahead - objective.value_and_grad(X - h * D)[1]) / (2.0 * h)


def estimate_smoothness(objective: Objective, A: Array, B: Array) -> float:
    """Estimate the largest Hessian eigenvalue at ``X = A B^T`` by power iteration (SAMPLED: a lower bound).

    Hessian products are differences of gradients, so objectives without a Hessian are served too.
    """
    X = (A @ B.T).astype(np.float64)
    D = np.random.default_rng(0).standard_normal(objective.shape)
    value = 0.0
    length = natural_length(objective)
    for _ in range(POWER_STEPS):
        D /= frobenius_norm(D)
        H = difference_product(objective, X, D, length)
        value = abs(float(np.sum(D * H)))
        if not np.any(H) or is_over():
            break
        D = H
    return checked_curvature(value, [X])


class NoCurvatureError(ValueError):
    """Gradients next to a point are no finite numbers."""


def checked_curvature(value: float, updates: Sequence[Array]) -> float:
    """Return a curvature that differences of gradients show at updates, or say where these are no finite numbers."""
    if math.isfinite(value):
        return value
    size = math.hypot(*map(frobenius_norm, updates))
    where = f"an X of length {size:.3g}" if size else "X = 0"
    raise NoCurvatureError(
        f"objective: gradients of f next to {where} have entries that are not finite, or too large to be squared; "
        "ls.check_objective says more"
    )


def factored(X: Array) -> tuple[Array, Array]:
    """Return factors of ``X``, one of them an identity of the shorter side."""
    m, n = X.shape
    return (X, np.eye(n, dtype=X.dtype)) if n <= m else (np.eye(m, dtype=X.dtype), X.T)
