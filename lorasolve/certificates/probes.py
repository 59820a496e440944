"""What the tests of a user's loss are made of: its answers at a point, directions, lengths, and rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .._support.validate import Array
from ..objectives import ULPS, falling_length, length_of
from ..problem.blocks import MultiObjective
from ..problem.pairs import Matrices, joint_norm


class Evaluated:
    """Value and gradient at a point."""

    def __init__(self, loss: MultiObjective, X: Sequence[Array]) -> None:
        self.X = X
        try:
            self.f, G = loss.checked_value_and_grad([x.astype(loss.dtype, copy=False) for x in X])
        except ArithmeticError:  # as of math.exp, where NumPy's functions are infinite
            self.f, G = math.inf, tuple(np.zeros(x.shape) for x in X)
        self.G = [np.asarray(g, dtype=np.float64) for g in G]


def random_direction(X: Sequence[Array]) -> list[Array]:
    """Return a random matrix of the shape of each given one."""
    rng = np.random.default_rng()
    return [rng.standard_normal(x.shape) for x in X]


def lengths_at(loss: MultiObjective, at: Evaluated, better: Matrices | None) -> list[float]:
    """Return distances that mean something for this loss, in its own unit, the longest first.

    At ``X = 0`` a constant in ``f`` may have made the first of two as long as that is large.
    """
    far = 0.0 if better is None else joint_norm([y - x for x, y in zip(at.X, better)])
    if max(joint_norm(at.X), far) > 0.0:
        return [max(joint_norm(at.X), far)]
    beta, slope = loss.facts.rank_one_curvature, joint_norm(at.G)
    length = slope / beta if beta else length_of(at.f - (loss.facts.lower_bound or 0.0), slope)
    near = length if beta else _falling(loss, at, length)
    return [length or 1.0] if near == length else [length, near]


def length_at(loss: MultiObjective, at: Evaluated, better: Matrices | None) -> float:
    """Return the shortest of these."""
    return lengths_at(loss, at, better)[-1]


def natural_length_at(loss: MultiObjective, at: Evaluated, least: float = 0.0) -> float:
    """Return how long a way down its gradient means something by the values of the loss; below ``least`` any such."""
    return _falling(loss, at, length_of(at.f, joint_norm(at.G)), least)


def _falling(loss: MultiObjective, at: Evaluated, length: float, least: float = 0.0) -> float:
    return falling_length(lambda X: Evaluated(loss, X).f, at.X, at.f, at.G, length, least)


def share_lost(loss: MultiObjective) -> float:
    """Return the rounding errors that a plainly written loss may make, relative to what its value is made of."""
    return ULPS * float(np.finfo(loss.precision).eps)


def of_length(length: float, D: Sequence[Array]) -> list[Array]:
    """Return a direction of this length."""
    share = length / joint_norm(D)
    return [share * d for d in D]
