"""LoRA-Pro with AdamW, the released "full" mode: Adam's moments of the equivalent gradient of the weight."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from ._perturbed import weight_oracle
from .adam import check_moments
from .base import Optimizer, State, both_factors_refusal
from .lora_pro import Mode, check_mode
from .lora_pro_adamw import equivalent_step


@dataclass
class FullState(State):
    """State with the moments of the weight (m, n), the step count, and what is left of the frozen weight."""

    first: Array = field(default_factory=lambda: np.empty(0))
    second: Array = field(default_factory=lambda: np.empty(0))
    count: int = 0
    share: float = 1.0


@dataclass(frozen=True)
class LoRAProAdamWFull(Optimizer):
    """Adam on the equivalent gradient ``g = s (dA B^T + A dB^T)`` (m, n), projected on the factors again.

    ``g`` is the projection of ``grad f`` on the tangent space (see :class:`~lorasolve.optimizers.LoRAProAdamW` for
    ``dA``, ``dB``); Adam's step of the weight then takes the place of the gradient in the same formulas, now with the
    free matrix of the mode. It keeps moments as large as those of full fine-tuning.

    Parameters
    ----------
    step_size, beta1, beta2, eps : float
        As for :class:`~lorasolve.optimizers.Adam`.
    weight_decay : float
        Decay of the **whole** weight, as in the release: the factors shrink by ``sqrt(1 - step * weight_decay)`` each,
        and the frozen weight ``W0`` by ``1 - step * weight_decay``. The values of the trace are those of the shrunken
        ``W0``; the result's update is ``s A B^T`` alone. Refused with schedules that have stages.
    mode, damping
        As for :class:`~lorasolve.optimizers.LoRAProAdamW`.

    Notes
    -----
    Source: Z. Wang et al., LoRA-Pro, ICLR 2025 (arXiv:2407.18242), and its released code, whose moments are in 16 bits;
    here they are in working precision. The decay of ``L`` plays no part: without ``weight_decay`` the fixed points are
    the stationary points of ``f`` over the rank-r matrices, with it the frozen weight vanishes in the end.
    """

    step_size: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    mode: Mode = "sylvester"
    damping: float = 1e-8

    name = "lora_pro_adamw_full"
    summary = "LoRA-Pro, AdamW on the equivalent gradient of the weight (the released full mode; does not minimise L)"
    takes_step_factor = True
    keeps_stationary_points = False
    own_aim = "f without decay, by lora_pro_adamw_full"

    def __post_init__(self) -> None:
        check_moments(self)
        as_number(self.weight_decay, "weight_decay", 0.0)
        as_number(self.damping, "damping", 0.0)
        check_mode(self.mode)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse other adapters than LoRA with both factors trained, or a decay without W0."""
        if self.weight_decay and problem.objective.W0 is None:
            return f"weight_decay: it decays the frozen weight (W0); {problem.objective.label} has none"
        return both_factors_refusal(problem)

    def stage_refusal(self) -> str | None:
        """Return the reason to refuse stages with a decay, or None."""
        return "what its weight_decay has taken from the frozen weight would come back" if self.weight_decay else None

    def residual(self, problem: Problem, theta: Array) -> float:
        """Return ``||s (dA B^T + A dB^T)||_F`` of the gradient of ``f``: zero at its stationary points over rank r."""
        grad = np.empty_like(theta)
        problem.value_and_grad(theta, grad)
        return float(np.linalg.norm(self._equivalent(problem, theta, grad)))

    def default_step(self, problem: Problem, theta: Array) -> float:
        """Return the step in use: there is no curvature bound for this method."""
        return self.step_size

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> FullState:
        """Return the state without moments."""
        zeros = np.zeros(problem.shape, theta.dtype)
        return FullState(theta.copy(), theta.copy(), step=self.step_size, first=zeros, second=zeros.copy())

    def evaluate(self, problem: Problem, state: FullState, grad: Array) -> float:
        """Evaluate the trial, with what is left of the frozen weight."""
        W0 = problem.objective.W0
        if state.share == 1.0 or W0 is None:
            return problem.value_and_grad(state.trial, grad)
        return weight_oracle(problem, state.trial, (state.share - 1.0) * W0, grad)[0]

    def update(self, problem: Problem, state: FullState, value: float, grad: Array) -> None:
        """Accept the trial, update the moments of the weight, and take the projected step."""
        state.theta, state.trial = state.trial, state.theta
        state.count += 1
        g = self._equivalent(problem, state.theta, grad)
        state.first = self.beta1 * state.first + (1.0 - self.beta1) * g
        state.second = self.beta2 * state.second + (1.0 - self.beta2) * g * g
        root = np.sqrt(state.second / (1.0 - self.beta2**state.count)) + self.eps
        g = state.first / (1.0 - self.beta1**state.count) / root
        A, B, _ = problem.split(state.theta)
        s = problem.scale
        dA, dB, _ = problem.split(state.trial)
        dA[:], dB[:] = equivalent_step(A, B, g @ B / s, g.T @ A / s, self.mode, self.damping)
        length = state.step * state.step_factor
        kept = max(1.0 - length * self.weight_decay, 0.0)
        state.trial *= -length
        state.trial += np.sqrt(kept) * state.theta
        state.share *= kept

    def _equivalent(self, problem: Problem, theta: Array, grad: Array) -> Array:
        """Return the equivalent gradient (m, n) of ``f`` from the factor gradients of ``L``."""
        A, B, _ = problem.split(theta)
        GA, GB, _ = problem.split(grad - problem.lam * theta)
        s = problem.scale
        dA, dB = equivalent_step(A, B, GA / s**2, GB / s**2, "zero", self.damping)
        return s * (dA @ B.T + A @ dB.T)
