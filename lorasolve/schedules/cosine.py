"""Cosine decay of the step size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .._support.validate import as_number
from .base import Schedule


@dataclass(frozen=True)
class Cosine(Schedule):
    """Step factor ``floor + (1 - floor) (1 + cos(pi t/T))/2`` at step ``t`` of at most ``T = max_iter``.

    Parameters
    ----------
    floor : float
        The factor at the end of the run, in [0, 1).

    Notes
    -----
    Source: I. Loshchilov, F. Hutter, SGDR, ICLR 2017 (arXiv:1608.03983), one cycle. It runs over the whole run,
    through all its stages.
    """

    floor: float = 0.0

    name = "cosine"
    summary = "step size falls to zero (or a floor) along a half cosine over max_iter"
    scales_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        as_number(self.floor, "floor", 0.0, 1.0, open_high=True)

    def step_factor(self, iteration: int, stage_iteration: int, max_iter: int) -> float:
        """Return the factor for the next step."""
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * iteration / max_iter))
