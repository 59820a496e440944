"""The LoRA start: ``A`` Gaussian, ``B = 0``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .._support.validate import as_number
from ..problem import Problem
from .base import USE_GAUSSIAN, Init, Start


@dataclass(frozen=True)
class LoRAStart(Init):
    """``A`` with independent Gaussian entries, ``B = 0``: the update starts at zero (main paper, section 7).

    Parameters
    ----------
    std : float, optional
        Standard deviation of the entries of ``A``; by default ``1/sqrt(m)``, so that its columns have length 1
        on average.
    """

    std: float | None = None

    name = "lora"
    summary = "A Gaussian, B = 0 (the update starts at zero)"
    keeps_weight = True

    def __post_init__(self) -> None:
        if self.std is not None:
            as_number(self.std, "std", 0.0, open_low=True)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse a ``B`` that cannot leave zero, or None."""
        if problem.adapter.needs_nonzero_columns:
            return f"it starts at B = 0, and {problem.adapter.name!r} needs nonzero columns in A and B; {USE_GAUSSIAN}"
        if problem.trainable is not None and not problem.split(problem.trainable)[1].any():
            return f"it starts at B = 0, and the factor B is frozen, so the update stays zero; {USE_GAUSSIAN}"
        return None

    def start(self, problem: Problem, rng: np.random.Generator) -> Start:
        """Return ``A`` (m, r) Gaussian and ``B`` (n, r) zero."""
        m, n = problem.shape
        std = 1.0 / math.sqrt(m) if self.std is None else self.std
        return Start(std * rng.standard_normal((m, problem.rank)), np.zeros((n, problem.rank)))
