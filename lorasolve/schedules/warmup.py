"""Linear warm-up of the step size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .._support.validate import as_integer
from .base import Schedule


@dataclass(frozen=True)
class WarmUp(Schedule):
    """Step factor ``min(1, (k + 1)/steps)`` at step ``k`` of a stage: it starts anew after each merge.

    Parameters
    ----------
    steps : int
        Length of the warm-up.

    Notes
    -----
    With ``"cosine"`` and ``"periodic"`` this is the jagged schedule of ReLoRA (arXiv:2307.05695). It matters for
    Adam, whose first steps after a reset have full size in every entry whatever the gradient.
    """

    steps: int = 100

    name = "warmup"
    summary = "step size grows linearly over the first steps of each stage"
    scales_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        as_integer(self.steps, "steps", 1)

    def step_factor(self, iteration: int, stage_iteration: int, max_iter: int) -> float:
        """Return the factor for the next step."""
        return min(1.0, (stage_iteration + 1) / self.steps)
