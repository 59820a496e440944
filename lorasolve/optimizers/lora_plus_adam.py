"""LoRA+ with Adam: different step sizes for the two factors, as the paper trains."""

from __future__ import annotations

from dataclasses import dataclass

from .._support.validate import Array, as_number
from ..problem import Problem
from .adam import Adam, AdamState


@dataclass(frozen=True)
class LoRAPlusAdam(Adam):
    """Adam with the step ``step_size`` for ``A`` and ``ratio * step_size`` for ``B``.

    The factor that starts at zero is meant to have the greater step; with the init ``"lora"`` that is our ``B`` (in a
    PEFT file, where the output-side factor starts at zero, our ``A``: use a ratio below 1).

    Parameters
    ----------
    step_size, beta1, beta2, eps : float
        As for :class:`~lorasolve.optimizers.Adam`.
    ratio : float
        Step of ``B`` over step of ``A``; 1 is Adam.

    Notes
    -----
    Source: S. Hayou, N. Ghosh, B. Yu, ICML 2024 (arXiv:2402.12354), whose ratio near 16 is for Adam on wide networks.
    Departure: weight decay is in the gradient of ``L``. Fixed points: the stationary points of ``L`` (a decaying step
    makes the iterates settle there).
    """

    ratio: float = 16.0

    name = "lora_plus_adam"
    summary = "LoRA+ with Adam: a greater step for the factor that starts at zero"
    stall_hint = "; a constant step hovers around the optimum, try 'lora_plus_adam+cosine'"

    def __post_init__(self) -> None:
        super().__post_init__()
        as_number(self.ratio, "ratio", 0.0, open_low=True)

    def update(self, problem: Problem, state: AdamState, value: float, grad: Array) -> None:
        """Accept the trial, take Adam's step, and lengthen the part of ``B``."""
        super().update(problem, state, value, grad)
        for (_, new), (_, old) in zip(problem.split_blocks(state.trial), problem.split_blocks(state.theta)):
            new += (self.ratio - 1.0) * (new - old)
