"""LoRA+: different step sizes for the two factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from ._descent import Descent
from .base import safe_step


@dataclass(frozen=True)
class LoRAPlus(Descent):
    """Gradient descent with the step ``step`` for ``A`` and ``ratio * step`` for ``B``.

    The factor that starts at zero is meant to have the greater step; with the init ``"lora"`` that is our ``B``
    (in a PEFT file, where the output-side factor starts at zero, our ``A``: use a ratio below 1).

    Parameters
    ----------
    step_size : float, optional
        The step of ``A`` (and of an adapter's further parameters). By default derived as for
        :class:`~lorasolve.optimizers.GD` and divided by ``max(1, ratio)``, so that neither factor exceeds the
        safe step.
    ratio : float
        Step of ``B`` over step of ``A``; 1 is gradient descent.

    Notes
    -----
    Source: S. Hayou, N. Ghosh, B. Yu, ICML 2024 (arXiv:2402.12354), where a ratio near 16 is advised for Adam on
    wide networks. Fixed points: the stationary points of ``L``.
    """

    ratio: float = 4.0

    name = "lora_plus"
    summary = "gradient descent with a different step for each factor (LoRA+)"

    def __post_init__(self) -> None:
        super().__post_init__()
        as_number(self.ratio, "ratio", 0.0, open_low=True)

    def default_step(self, problem: Problem, theta: Array) -> float:
        """Return the step of ``A`` with which both steps are safe."""
        return safe_step(problem, theta) / max(1.0, self.ratio)

    def advance(self, problem: Problem, state: Any, grad: Array) -> None:
        """Step with two step sizes."""
        np.multiply(grad, -state.step * state.step_factor, out=state.trial)
        for _, B in problem.split_blocks(state.trial):
            B *= self.ratio
        state.trial += state.theta
