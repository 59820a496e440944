"""Both factors Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.validate import as_number
from ..problem import Problem
from .base import Init, Start


@dataclass(frozen=True)
class Gaussian(Init):
    """``A`` and ``B`` with independent Gaussian entries.

    Parameters
    ----------
    std : float
        Standard deviation of the entries. Small ones reach the low-rank optimum, large ones (3, say) can end in a
        spurious minimum of high rank and large norm: main paper, section 7 and figure 2.
    """

    std: float = 0.1

    name = "gaussian"
    summary = "A and B Gaussian with a given standard deviation"

    def __post_init__(self) -> None:
        as_number(self.std, "std", 0.0, open_low=True)

    def start(self, problem: Problem, rng: np.random.Generator) -> Start:
        """Return Gaussian ``A`` (m, r) and ``B`` (n, r)."""
        m, n = problem.shape
        A = self.std * rng.standard_normal((m, problem.rank))
        return Start(A, self.std * rng.standard_normal((n, problem.rank)))
