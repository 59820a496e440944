"""LoRA-GGPO (version 1 of the paper): random weight perturbation scaled by row norms of weight and gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .._support.validate import Array, as_choice, as_number
from ..problem import Problem
from ._perturbed import Perturbed, PerturbedState, weight_oracle
from .base import factors_refusal

Rule = Literal["paper", "kohya", "kohya_linear"]


@dataclass(frozen=True)
class GGPO(Perturbed):
    """Steps with the gradient at ``W + E``, ``E_ij ~ N(0, s_i^2)``.

    ``s_i^2 = (sigma^2/n)(||W_i||^2 + beta ||G_i||^2)``, where ``W_i``, ``G_i`` are rows of the whole weight
    ``W0 + s A B^T`` and of the last gradient (none in the first step, which is not perturbed). Row norms are exact,
    the cross term of ``W0`` and the update included.

    Parameters
    ----------
    step_size : float
        Step of the method underneath.
    base : {"adam", "gd"}
        The method underneath.
    sigma, beta : float
        Scale of the noise, and weight of the gradient's rows.
    rule : {"paper", "kohya", "kohya_linear"}
        How ``s_i`` is made (``row_scales``); the known implementations disagree.
    gradient : {"exact", "surrogate"}
        ``G`` itself, or what the implementations use in its place,
        ``S = s (grad_A B^T + A grad_B^T) = s^2 (G B B^T + A A^T G)``: minus the velocity of the weight under
        gradient flow, not the gradient.

    Notes
    -----
    Source: arXiv 2502.14538, version 1. The body of that version was not at hand: the formulas are second-hand,
    from implementations that cite its equations 6 to 8. From version 2 on the paper is another method,
    :class:`~lorasolve.optimizers.MGPO`. ``beta = 0`` is Flat-LoRA (arXiv 2409.14396).

    What is known (derived; proofs/lora_ggpo): with the scale detached, the expected gradient on a quadratic is the
    unperturbed one, so GGPO is LoRA plus zero-mean noise there; an effect in expectation needs third derivatives
    (logistic, softmax). Fixed points: none; the iterates hover around those of the smoothed loss.
    """

    sigma: float = 0.03
    beta: float = 0.01
    rule: Rule = "paper"
    gradient: Literal["exact", "surrogate"] = "exact"

    name = "ggpo"
    summary = "LoRA-GGPO: gradients at the weight plus noise scaled by row norms of weight and gradient"

    def __post_init__(self) -> None:
        super().__post_init__()
        as_number(self.sigma, "sigma", 0.0)
        as_number(self.beta, "beta", 0.0)
        as_choice(self.rule, "rule", ("paper", "kohya", "kohya_linear"))
        as_choice(self.gradient, "gradient", ("exact", "surrogate"))

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters whose update is not ``s A B^T``, or None."""
        return factors_refusal(problem)

    def evaluate(self, problem: Problem, state: PerturbedState, grad: Array) -> float:
        """Evaluate the trial with the weight perturbed, except in the first step."""
        last: Any = state.memory.get("gradient")
        E: Array | None = None
        if last is not None:
            W = problem.update(state.trial)
            if problem.objective.W0 is not None:
                W = problem.objective.W0 + W
            scales = row_scales(W, last, self.sigma, self.beta, self.rule)
            E = scales[:, None] * state.rng.standard_normal(problem.shape)
        value, G = weight_oracle(problem, state.trial, E, grad)
        state.memory["gradient"] = G if self.gradient == "exact" else surrogate(problem, state.trial, G)
        return value


def row_scales(W: Array, G: Array, sigma: float, beta: float, rule: Rule = "paper") -> Array:
    """Return the standard deviation of the noise in each row (m,).

    ``paper``: ``sqrt((sigma^2/n)(||W_i||^2 + beta ||G_i||^2))``.
    ``kohya``: ``(sigma ||W_i|| + beta ||G_i||^2)/sqrt(m)``.
    ``kohya_linear``: ``(sigma ||W_i|| + beta ||G_i||)/sqrt(m)``. Note the inputs ``n`` against the outputs ``m``.
    """
    m, n = W.shape
    weight = np.linalg.norm(W, axis=1)
    slope = np.linalg.norm(G, axis=1)
    if rule == "paper":
        return sigma * np.sqrt((weight**2 + beta * slope**2) / n)
    power = 2 if rule == "kohya" else 1
    return (sigma * weight + beta * slope**power) / np.sqrt(m)


def surrogate(problem: Problem, theta: Array, G: Array) -> Array:
    """Return ``s^2 (G B B^T + A A^T G)`` (m, n), which the implementations use for ``G``."""
    A, B, _ = problem.split(theta)
    return problem.scale**2 * ((G @ B) @ B.T + A @ (A.T @ G))
