"""Descent along tangent directions of the rank-r matrices, in balanced factors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.validate import Array
from ..low_rank import balanced, factor_svd
from ..problem import Problem
from ..status import Status
from ._descent import DampedDescent
from ._steps import StepState
from .base import both_factors_refusal
from .scaled_gd import inverse_gram


@dataclass
class BalancedState(StepState):
    """State with the damping, the direction of the last step, and whether the accepted point is balanced."""

    damping: float = 0.0
    direction: Array = field(default_factory=lambda: np.empty(0))
    is_balanced: bool = False


# Not a dataclass, as its base: ``damping`` is a field of the methods.
class BalancedDescent(DampedDescent):
    """Base class: a direction at balanced factors ``A = U S^{1/2}``, ``B = V S^{1/2}``, and the way along it.

    A subclass says the direction (:meth:`direction`) and where a step along it leads (:meth:`follow`). From ``B = 0``
    the first step is ``dA = 0``, ``dB = (1/s) G^T A (A^T A)^{-1}``; from other unbalanced factors it is the balancing
    itself.
    """

    def direction(self, A: Array, B: Array, GA: Array, GB: Array, damping: float) -> tuple[Array, Array]:
        """Return ``(dA, dB)`` at balanced factors from the factor gradients ``GA``, ``GB``, for ``s = 1``."""
        raise NotImplementedError

    def follow(self, A: Array, B: Array, dA: Array, dB: Array) -> tuple[Array, Array]:
        """Return balanced factors one step ``(A - dA, B - dB)`` along a direction."""
        return balanced(*factor_svd(A - dA, B - dB))

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters whose update is not ``s A B^T`` with both factors trained, or None."""
        return both_factors_refusal(problem)

    def start(self, problem: Problem, theta: Array, rng: np.random.Generator) -> BalancedState:
        """Return the state whose damping is still to be derived."""
        A, B, _ = problem.split(theta)
        return BalancedState(theta.copy(), theta.copy(), is_balanced=is_balanced(A, B))

    def smallest(self, A: Array, B: Array) -> float:
        """Return the smallest singular value of ``A B^T``, which is that of both Gram matrices when balanced."""
        return float(factor_svd(A, B)[1][-1])

    def advance(self, problem: Problem, state: Any, grad: Array) -> None:
        """Find the direction at the accepted point and step along it."""
        A, B, _ = problem.split(state.theta)
        state.direction = np.zeros_like(state.theta)
        dA, dB, _ = problem.split(state.direction)
        GA, GB, _ = problem.split(grad)
        if state.is_balanced:
            dA[:], dB[:] = self.direction(A, B, GA, GB, state.damping)
        elif not B.any():
            dB[:] = GB @ inverse_gram(A, 0.0)
        elif not A.any():
            dA[:] = GA @ inverse_gram(B, 0.0)
        state.direction *= state.step_factor
        state.direction /= problem.scale**2
        state.is_balanced = True
        self._move(problem, state)

    def retreat(self, problem: Problem, state: Any) -> None:
        """Take the last direction with half the step."""
        state.rule.shrink(state)
        self._move(problem, state)

    def _move(self, problem: Problem, state: BalancedState) -> None:
        """Set the trial to the balanced factors one step along the direction."""
        change = state.step * state.direction
        moved = state.theta - change
        if not state.accepted and np.array_equal(moved, state.theta):
            state.ended = Status.STALLED
        state.trial[:] = moved
        if not np.isfinite(moved).all():
            return
        A, B, _ = problem.split(state.theta)
        dA, dB, _ = problem.split(change)
        trial_A, trial_B, _ = problem.split(state.trial)
        trial_A[:], trial_B[:] = self.follow(A, B, dA, dB)


def is_balanced(A: Array, B: Array) -> bool:
    """Whether ``A^T A`` and ``B^T B`` are the same diagonal matrix up to rounding."""
    gram = A.T @ A
    tolerance = 100.0 * np.finfo(A.dtype).eps * float(np.trace(gram))
    return bool(np.abs(gram - B.T @ B).max() <= tolerance and np.abs(gram - np.diag(np.diag(gram))).max() <= tolerance)
