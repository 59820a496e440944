"""AltLoRA: the factors take turns, each by the projection of the full gradient, with momentum carried over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from ._descent import DampedDescent
from ._steps import Derived, Given, StepRule, StepState
from .base import both_factors_refusal
from .scaled_gd import inverse_gram


@dataclass
class AltLoRAState(StepState):
    """State with the damping, and for each factor the momentum, its number of steps and the factor it refers to."""

    damping: float = 0.0
    velocity: Array = field(default_factory=lambda: np.empty(0))
    partner: Array = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class AltLoRA(DampedDescent):
    """One factor a step, in turns: ``A <- A - step * M_A``, then ``B <- B - step * M_B``.

    ``M_A <- momentum * M_A (B_old^T B) K + (1 - momentum) * grad_A L K/s^2`` with ``K = (B^T B + damping I)^{-1}``: the
    gradient part is the ``D`` for which ``s D B^T`` is nearest to the full gradient, which is unique (LoRA-Pro's joint
    step is not), and the momentum is the one nearest to ``M_A B_old^T`` in the new space. The ``n``-th step of a factor
    is divided by ``1 - momentum^n`` (bias correction). ``A`` begins.

    Parameters
    ----------
    step_size : float, optional
        A step of the weight. By default the inverse of the curvature bound ``beta + (s ||G||_2 + lam)/(s^2 (mu +
        damping))``, ``mu`` the smallest eigenvalue of the Gram matrices, derived anew after 1, 3, 7, 15, ...
        iterations; without momentum a step that raises ``L`` is taken back and halved.
    momentum : float
        In [0, 1).
    damping : float, optional
        By default ``(s ||G||_2 + lam)/(s^2 beta)``, derived together with the step.

    Notes
    -----
    Source: X. Yu et al., arXiv:2505.12455, of which the abstract was at hand, and its released code (``altlora``).
    Departures from the release: the gradient is computed anew for each factor, as the text says (the release takes
    both from one backward pass); weight decay is in the gradient of ``L`` instead of beside the step; step and damping
    are derived (1e-3 there). With damping the fixed points are the stationary points of ``L``.
    """

    momentum: float = 0.9
    damping: float | None = None

    name = "alt_lora"
    summary = "AltLoRA: factors in turns, each by the projected full gradient, momentum carried over"

    def __post_init__(self) -> None:
        super().__post_init__()
        as_number(self.momentum, "momentum", 0.0, 1.0, open_high=True)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters whose update is not ``s A B^T`` with both factors trained, or None."""
        return both_factors_refusal(problem)

    def step_rule(self, problem: Problem) -> StepRule:
        """Return the given or the derived step; with momentum values along the way do not compare."""
        return Derived(monotone=self.momentum == 0.0) if self.step_size is None else Given(self.step_size)

    def start(self, problem: Problem, theta: Array, rng: np.random.Generator) -> AltLoRAState:
        """Return the state at rest."""
        return AltLoRAState(theta.copy(), theta.copy(), velocity=np.zeros_like(theta), partner=np.zeros_like(theta))

    def advance(self, problem: Problem, state: Any, grad: Array) -> None:
        """Move the factor whose turn it is."""
        turn, done = (state.accepted_steps - 1) % 2, (state.accepted_steps + 1) // 2
        other = problem.split(state.theta)[1 - turn]
        old, velocity = problem.split(state.partner)[1 - turn], problem.split(state.velocity)[turn]
        inverse = inverse_gram(other, state.damping)
        velocity[:] = self.momentum * velocity @ (old.T @ other) @ inverse
        velocity += (1.0 - self.momentum) / problem.scale**2 * problem.split(grad)[turn] @ inverse
        old[:] = other
        state.trial[:] = state.theta
        length = state.step * state.step_factor / (1.0 - self.momentum**done)
        problem.split(state.trial)[turn][:] -= length * velocity
