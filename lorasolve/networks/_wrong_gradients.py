"""Does the gradient that comes back from a network agree with the values of a batch?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ._torch import REPEATABLE, require_torch

# The losses of the samples of one batch at given weights.
LossesAt: TypeAlias = Callable[[Sequence[Any]], Any]

# A gradient that is this far from a difference of values, of its length, is not the derivative of them; nor is a
# Hessian product that of gradients.
AGREES = 1e-4
# Step of a difference of values, of the size of the weights, and what rounding may make of the slope, of the losses.
STEP = float(np.finfo(np.float64).eps) ** (1 / 3)
UNSURE = REPEATABLE["float64"] / STEP
# A step that is long for the curvature, beside a normalization of what nearly vanishes, is shortened tenfold so often.
SHORTER = 3
# Random directions along which a gradient may agree with values.
DIRECTIONS = 4


def fault_of_gradient(losses_at: LossesAt, losses: Any, leaves: Sequence[Any], needed: int) -> str | None:
    """Return how the losses of a batch contradict the gradient that the leaves hold, None if not.

    They do where fewer than ``needed`` of some random directions agree: one may lead across a kink.
    """
    G = [leaf.grad for leaf in leaves]
    agreeing, wrong = 0, ""
    for _ in range(DIRECTIONS):
        ahead, behind, by_gradient, usual = _slopes(losses_at, losses, leaves, G)
        by_values = (ahead + behind) / 2.0
        if abs(by_values - by_gradient) <= _allowed(usual, losses):
            agreeing += 1
            if agreeing == needed:
                return None
        else:
            # A gradient at a kink is that of one side; a wrong one is wrong on both alike.
            kink = abs(ahead - behind) >= abs(by_values - by_gradient)
            why = (
                f"{ahead:.3g} ahead and {behind:.3g} behind: a kink, as of a ReLU"
                if kink
                else "a part that is detached, rounded or differentiated by hand?"
            )
            wrong = (
                f"along a random direction the values of a batch change at the rate {by_values:.3g}, and the "
                f"gradient says {by_gradient:.3g} ({why})"
            )
    return wrong


def _slopes(losses_at: LossesAt, losses: Any, weights: Sequence[Any], G: Sequence[Any]) -> tuple[float, ...]:
    """Return slopes of the losses ahead and behind, that of the gradient, and the usual size of the latter.

    Where they bend by more than their mean is off, the step may be too long: what the curvature makes of it
    vanishes with the step, a kink and a wrong gradient stay.
    """
    torch = require_torch()
    rng = np.random.default_rng()
    sizes = [float(W.detach().square().mean()) ** 0.5 or 1.0 for W in weights]
    D = [
        size * torch.as_tensor(rng.standard_normal(W.shape), dtype=W.dtype, device=W.device)
        for size, W in zip(sizes, weights)
    ]

    def slope(t: float) -> float:
        there = losses_at([W.detach() + t * d for W, d in zip(weights, D)])
        return float((there - losses).sum()) / t

    by_gradient = sum(float((g * d).sum()) for g, d in zip(G, D) if g is not None)
    usual = math.hypot(*(size * float(g.norm()) for size, g in zip(sizes, G) if g is not None))
    for shorter in range(SHORTER + 1):
        step = 0.1**shorter * STEP
        ahead, behind = slope(step), slope(-step)
        off = abs((ahead + behind) / 2.0 - by_gradient)
        if off <= _allowed(usual, losses) or abs(ahead - behind) < off:
            break
    return ahead, behind, by_gradient, usual


def lost_gradients(
    losses_at: LossesAt, losses: Any, weights: Sequence[Any], without: Sequence[int], precision: str
) -> list[int]:
    """Return which weights change the losses of a batch although no derivative comes back to them.

    A weight that a batch does not use has the derivative zero there.
    """
    torch = require_torch()
    rng = np.random.default_rng()
    steps = [torch.as_tensor(rng.standard_normal(W.shape), dtype=W.dtype, device=W.device) for W in weights]

    def change(chosen: Sequence[int]) -> bool:
        there = [W.detach() + (k in chosen) * step for k, (W, step) in enumerate(zip(weights, steps))]
        off = (losses_at(there) - losses).norm()
        return float(off) > REPEATABLE[precision] * float(losses.norm())

    if not change(without):
        return []
    return [k for k in without if change([k])] or list(without)


def _allowed(usual: float, losses: Any) -> float:
    """Return how far a slope by values may be from that of the gradient, of the usual size of the latter."""
    return AGREES * usual + UNSURE * float(losses.abs().sum())
