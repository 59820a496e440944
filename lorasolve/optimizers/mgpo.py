"""LoRA-MGPO (the published form of the paper): perturbation along the momentum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .._support.validate import Array, as_choice, as_flag, as_number
from ..problem import Problem
from ._perturbed import Perturbed, PerturbedState, weight_oracle
from .base import factors_refusal


@dataclass(frozen=True)
class MGPO(Perturbed):
    """Steps with the gradient at ``theta + e``, ``e = sign rho (v/||v||) / gbar``: one gradient each step.

    ``v <- mu v + gradient`` and ``gbar <- beta gbar + (1 - beta) ||gradient||`` are the momentum and the mean gradient
    length of earlier steps; the first step is not perturbed.

    Parameters
    ----------
    step_size : float
        Step of the method underneath.
    base : {"adam", "gd"}
        The method underneath.
    rho : float
        Radius, before the division by ``gbar``.
    mu, beta : float
        Memories of momentum and mean length, in [0, 1).
    sign : {1, -1}
        ``+1`` climbs along the accumulated gradients (the paper's formula), ``-1`` descends (its trainer, and its
        stated ancestor Momentum-SAM).
    space : {"factors", "weight"}
        Perturb ``(A, B)`` (paper), or the weight by ``sign rho M/||M||_F / gbar`` with
        ``M = s (v_A B^T + A v_B^T)`` and ``gbar`` the mean of ``||s (grad_A B^T + A grad_B^T)||_F`` (trainer).
    clamp : float, optional
        Upper limit of ``1/gbar``; 10 in the trainer, none in the paper.
    normalize : bool
        Divide by ``gbar`` at all.
    scope : {"global", "factor"}
        One length for ``(A, B)`` together, or one for each factor (``space="factors"`` only).

    Notes
    -----
    Source: arXiv 2502.14538 from version 2 on (Findings of EMNLP 2025), equation 3, and its trainer.
    :class:`MGPOTrainer` has the trainer's settings.

    Errata and facts (derived; proofs/lora_ggpo): paper and trainer have opposite signs; the paper perturbs the
    factors, the trainer the dense weight. ``rho/gbar`` grows without bound as gradients vanish, so there is no
    convergence but a floor with gradient and radius proportional to ``sqrt(rho)``; the clamp prevents it. The
    radius is not scale invariant: it behaves like ``1/c`` under ``f -> c f``, against the text.
    Fixed points: none.
    """

    rho: float = 0.05
    mu: float = 0.9
    beta: float = 0.9
    sign: Literal[1, -1] = 1
    space: Literal["factors", "weight"] = "factors"
    clamp: float | None = None
    normalize: bool = True
    scope: Literal["global", "factor"] = "global"

    name = "mgpo"
    summary = "LoRA-MGPO as published: perturbation of the factors along the momentum"

    def __post_init__(self) -> None:
        super().__post_init__()
        as_number(self.rho, "rho", 0.0)
        as_number(self.mu, "mu", 0.0, 1.0, open_high=True)
        as_number(self.beta, "beta", 0.0, 1.0, open_high=True)
        if self.clamp is not None:
            as_number(self.clamp, "clamp", 0.0, open_low=True)
        for value, argument, accepted in (
            (self.sign, "sign", (1, -1)),
            (self.space, "space", ("factors", "weight")),
            (self.scope, "scope", ("global", "factor")),
        ):
            as_choice(value, argument, accepted)
        as_flag(self.normalize, "normalize")

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason not to perturb the weight of adapters whose update is not ``s A B^T``, or None."""
        return factors_refusal(problem) if self.space == "weight" else None

    def evaluate(self, problem: Problem, state: PerturbedState, grad: Array) -> float:
        """Evaluate the trial perturbed along the momentum, except in the first step and where all gradients were 0."""
        v = state.memory.get("momentum")
        if v is None or not v.any():
            return problem.value_and_grad(state.trial, grad)
        radius = self.sign * self.radius(state.memory["mean length"])
        if self.space == "weight":
            M = weight_velocity(problem, state.trial, v)
            return weight_oracle(problem, state.trial, radius * M / (float(np.linalg.norm(M)) or 1.0), grad)[0]
        direction = np.zeros_like(v)
        parts, moved = (
            [factor for pair in problem.split_blocks(whole) for factor in pair] if self.scope == "factor" else [whole]
            for whole in (v, direction)
        )
        for part, unit in zip(parts, moved):
            unit[:] = part / (float(np.linalg.norm(part)) or 1.0)
        return problem.value_and_grad(state.trial + radius * direction, grad)

    def radius(self, mean_length: float) -> float:
        """Return the length of the perturbation for a mean gradient length ``gbar``."""
        if not self.normalize:
            return self.rho
        inverse = 1.0 / mean_length if mean_length > 0.0 else math.inf
        return self.rho * (inverse if self.clamp is None else min(inverse, self.clamp))

    def observe(self, problem: Problem, state: PerturbedState, grad: Array) -> None:
        """Update momentum and mean gradient length."""
        memory = state.memory
        measured = weight_velocity(problem, state.theta, grad) if self.space == "weight" else grad
        length = float(np.linalg.norm(measured))
        if "momentum" not in memory:
            memory["momentum"], memory["mean length"] = grad.copy(), length
            return
        memory["momentum"] = self.mu * memory["momentum"] + grad
        memory["mean length"] = self.beta * memory["mean length"] + (1.0 - self.beta) * length


def weight_velocity(problem: Problem, theta: Array, v: Array) -> Array:
    """Return ``s (v_A B^T + A v_B^T)`` (m, n): the change of the weight along ``v``."""
    A, B, _ = problem.split(theta)
    v_A, v_B, _ = problem.split(v)
    return problem.scale * (v_A @ B.T + A @ v_B.T)
