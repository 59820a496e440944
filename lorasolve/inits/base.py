"""What an init is: the starting factors, drawn from an explicit generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._support.validate import Array
from ..problem import Problem

# What inits of a zero factor are refused with where that cannot start: most users have not named them, but a default.
USE_GAUSSIAN = "use init='gaussian', in the text of a method '~gaussian'"


@dataclass(frozen=True, eq=False)
class Start:
    """Starting factors ``A`` (m, r), ``B`` (n, r), and what was merged into the frozen weight first (if any)."""

    A: Array
    B: Array
    merged: Array | None = None

    @classmethod
    def within_weight(cls, problem: Problem, A: Array, B: Array) -> Start:
        """Return the start that takes its update ``s A B^T`` from the frozen weight, so that the whole weight stays."""
        return cls(A, B, (-problem.scale * (A @ B.T)).astype(problem.dtype))


def weight_refusal(problem: Problem) -> str | None:
    """Return why a start taken from the frozen weight has nothing to take, or None if it has."""
    W0 = problem.objective.W0
    if W0 is None:
        return f"it needs an objective with a frozen weight (W0); {problem.objective.label} has none"
    return None if np.any(W0) else "it takes the factors from W0, and W0 is zero"


@dataclass(frozen=True)
class Init:
    """Base class of all initializations.

    ``merges`` says that the start moves something into the frozen weight first; ``keeps_weight`` that the run starts at
    the frozen weight: what is merged and the update cancel.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    merges: ClassVar[bool] = False
    keeps_weight: ClassVar[bool] = False

    def refusal(self, problem: Problem) -> str | None:
        """Return why this init has no start for a problem, or None if it has."""
        return None

    def start(self, problem: Problem, rng: np.random.Generator) -> Start:
        """Return the start for a problem."""
        raise TypeError(f"{type(self).__name__} does not define start(problem, rng)")
