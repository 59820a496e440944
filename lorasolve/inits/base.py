"""What an init is: the starting factors, drawn from an explicit generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._validate import Array
from ..problem import Problem


@dataclass(frozen=True)
class Start:
    """Starting factors ``A`` (m, r), ``B`` (n, r), and what was merged into the frozen weight first (if any)."""

    A: Array
    B: Array
    merged: Array | None = None


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
        raise NotImplementedError
