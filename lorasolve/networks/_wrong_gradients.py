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
# ... and of each loss: where a sample is fitted, that is a difference of numbers of about 1.
UNSURE_OF_ONE = 4.0 * float(np.finfo(np.float64).eps) / STEP
# Steps so many times as long tell rounding, whose share of a slope shrinks with them, from a gradient that is wrong:
# its difference from the values stays what it is, up to this share, along three of them in a row.
LONGER = (1.0, 10.0, 100.0, 1000.0)
STAYS = 0.1
# A step that is long for the curvature, beside a normalization of what nearly vanishes, is shortened tenfold so often.
SHORTER = 3
# A slope ahead that differs from that behind by more than this share of what a gradient is off is a kink beside it.
BENT = 1e-2
# Random directions along which a gradient may agree with values.
DIRECTIONS = 4


def fault_of_gradient(losses_at: LossesAt, losses: Any, leaves: Sequence[Any], needed: int) -> str | None:
    """Return how the losses of a batch contradict the gradient that the leaves hold, None if not.

    They do where fewer than ``needed`` of some random directions agree: one may lead across a kink.
    """
    G = [leaf.grad for leaf in leaves]
    agreeing, wrong = 0, ""
    for _ in range(DIRECTIONS):
        ahead, behind, by_gradient, allowed = _slopes(losses_at, losses, leaves, G)
        by_values = (ahead + behind) / 2.0
        if abs(by_values - by_gradient) <= allowed:
            agreeing += 1
            if agreeing == needed:
                return None
        else:
            wrong = (
                "the loss contradicts its own gradient: along a random direction the values of a batch change at the "
                f"rate {by_values:.3g}, and the gradient says {by_gradient:.3g} ({_why(ahead, behind, by_gradient)})"
            )
    return wrong


def fault_of_repetition(losses_at: LossesAt, losses: Any, weights: Sequence[Any], precision: str) -> str | None:
    """Return by how much another evaluation of a batch differs from its losses, None if by rounding at most."""
    total = abs(float(losses.double().sum()))
    difference = abs(float((losses_at([W.detach() for W in weights]) - losses.double()).sum()))
    # Where a sample is fitted its loss is a difference of numbers of about 1, which other kernels round otherwise.
    if difference <= REPEATABLE[precision] * (total + len(losses)):
        return None
    return f"two evaluations of a batch differ by {difference:.2g} of {total:.4g} (dropout or other noise that is on?)"


def _why(ahead: float, behind: float, by_gradient: float) -> str:
    """Return what may make slopes by values differ from that of a gradient.

    A gradient at a kink is that of one side, or of none; a wrong one is wrong on both alike.
    """
    bend, off = abs(ahead - behind), abs((ahead + behind) / 2.0 - by_gradient)
    slopes = f"{ahead:.3g} ahead and {behind:.3g} behind: a kink, as of a ReLU"
    if bend >= off:
        return slopes
    by_hand = "a part that is detached, rounded or differentiated by hand"
    return f"{slopes}, or {by_hand}?" if bend > BENT * off else f"{by_hand}?"


def _slopes(losses_at: LossesAt, losses: Any, weights: Sequence[Any], G: Sequence[Any]) -> tuple[float, ...]:
    """Return slopes of the losses ahead and behind, that of the gradient, and how far it may be from their mean.

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
    allowed = AGREES * usual
    unsure = allowed + UNSURE * float(losses.abs().sum()) + UNSURE_OF_ONE * len(losses)
    for shorter in range(SHORTER + 1):
        step = 0.1**shorter * STEP
        ahead, behind = slope(step), slope(-step)
        off = abs((ahead + behind) / 2.0 - by_gradient)
        if off <= unsure or abs(ahead - behind) < off:
            break
    if allowed < off <= unsure:  # rounding explains it, and hides a wrong gradient that is small, as of small weights
        by_values = [(slope(k * step) + slope(-k * step)) / 2.0 for k in LONGER]
        allowed = allowed if _stays_off(by_values, by_gradient) else unsure
    return ahead, behind, by_gradient, allowed


def _stays_off(by_values: Sequence[float], by_gradient: float) -> bool:
    """Return whether three slopes in a row are off by the same, up to a share.

    A slope of 0 tells nothing: the values may change by less than their last digit.
    """
    threes = zip(by_values, by_values[1:], by_values[2:])
    return any(
        0.0 not in three and max(three) - min(three) <= STAYS * min(abs(each - by_gradient) for each in three)
        for three in threes
    )


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
