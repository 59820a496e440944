"""LoRA-GA: factors from different singular vectors of the gradient, taken out of the frozen weight again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .._support.validate import Array, as_choice, as_number
from ..problem import Problem
from .base import Init, Start

Direction = Literal["ArB2r", "A2rBr", "ArBr", "random"]
Scale = Literal["stable", "weight_svd", "gd_scale", "unit"]

# Which of 2r singular triplets go to A (with their values) and which to B.
DIRECTIONS: dict[Direction, Callable[[int, np.random.Generator], tuple[Array, Array]]] = {
    "ArBr": lambda r, rng: (np.arange(0, 2 * r, 2), np.arange(1, 2 * r, 2)),
    "A2rBr": lambda r, rng: (np.arange(r), np.arange(r, 2 * r)),
    "ArB2r": lambda r, rng: (np.arange(r, 2 * r), np.arange(r)),
    "random": lambda r, rng: (chosen := rng.permutation(2 * r)[:r], chosen),
}


@dataclass(frozen=True)
class LoRAGA(Init):
    """``A = c U_J S_J`` and ``B = V_I`` with singular triplets ``I, J`` of the gradient at ``W0``; ``W`` unchanged.

    With ``I`` and ``J`` apart (the default), the first step of gradient descent moves the weight along all ``2r``
    leading directions of the gradient.

    Parameters
    ----------
    direction : {"ArB2r", "A2rBr", "ArBr", "random"}
        In PEFT's words, whose ``A`` is our ``B``: the first ``r`` triplets to ``B`` and the next to ``A``, the other
        way round, in turns, or ``r`` of the ``2r`` drawn for both.
    scale : {"stable", "weight_svd", "gd_scale", "unit"}
        ``c = m^(1/4)/sqrt(gamma)``; the largest singular value of ``W0`` over the first of ``S_J``; ``1/s`` on both
        factors; 1.
    gamma : float
        Of the scale ``stable``.

    Notes
    -----
    Source: S. Wang, L. Yu, J. Li, LoRA-GA, NeurIPS 2024 (arXiv:2407.05000), and PEFT's ``init_lora_weights="lora_ga"``,
    with the exact SVD. :class:`~lorasolve.inits.Spectral` takes a whole gradient step instead.
    """

    direction: Direction = "ArB2r"
    scale: Scale = "stable"
    gamma: float = 16.0

    name = "lora_ga"
    summary = "singular vectors of the gradient at W0 in both factors, taken out of W0 (LoRA-GA; needs 2r <= min(m, n))"
    merges = True
    keeps_weight = True

    def __post_init__(self) -> None:
        as_choice(self.direction, "direction", DIRECTIONS)
        as_choice(self.scale, "scale", get_args(Scale))
        as_number(self.gamma, "gamma", 0.0, open_low=True)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse ranks above half of the smaller side, and a scale without its weight, or None."""
        if 2 * problem.rank > min(problem.shape):
            return f"it takes 2r singular vectors of the gradient: {2 * problem.rank} of {min(problem.shape)}"
        if self.scale == "weight_svd" and problem.objective.W0 is None:
            return "scale='weight_svd' needs an objective with a frozen weight (W0)"
        return None

    def start(self, problem: Problem, rng: np.random.Generator) -> Start:
        """Return ``A`` (m, r), ``B`` (n, r) and ``merged = -s A B^T``.

        Raises
        ------
        ValueError
            If the gradient at ``X = 0`` is zero: the frozen weight is stationary already.
        """
        zeros = np.zeros(problem.shape, problem.dtype)
        G = np.asarray(problem.objective.value_and_grad(zeros)[1], np.float64)
        U, values, Vt = np.linalg.svd(G, full_matrices=False)
        if values[0] == 0.0:
            raise ValueError("init: the gradient at X = 0 is zero, so there are no directions to take")
        # One that is zero to rounding, as the last one of softmax's, would make a factor of noise that is nearly zero.
        values[values <= max(problem.shape) * np.finfo(problem.dtype).eps * values[0]] = 0.0
        to_A, to_B = DIRECTIONS[self.direction](problem.rank, rng)
        A, B = U[:, to_A] * values[to_A], Vt[to_B].T.copy()
        if self.scale == "stable":
            A *= problem.shape[0] ** 0.25 / np.sqrt(self.gamma)
        elif self.scale == "weight_svd" and values[to_A[0]] > 0.0:
            A *= np.linalg.norm(np.asarray(problem.objective.W0, np.float64), 2) / values[to_A[0]]
        elif self.scale == "gd_scale":
            A, B = A / problem.scale, B / problem.scale
        return Start.within_weight(problem, A, B)
