"""Problems without the rows and columns that the loss does not see, as completion where there is no entry.

Leaving out rows and columns makes no nuclear norm larger, and ``f`` does not see these. So where ``lam > 0`` the
optimum is 0 there, and optima, gaps and gradients but for zeros are those of the smaller matrix, on which everything
takes less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._support.validate import Array
from ..problem import Problem
from ..problem.pairs import Pairs
from ..result import Result
from .evidence import Product


@dataclass(frozen=True)
class Observed:
    """A problem on the rows and columns that its loss sees, and where these are."""

    problem: Problem
    rows: Array
    cols: Array

    def factors(self, pairs: Pairs) -> Pairs:
        """Return the part of factors of the whole update."""
        return [(A[self.rows], B[self.cols]) for A, B in pairs]

    def whole(self, A: Array, B: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
        """Return factors of the whole update from those of this part, 0 elsewhere."""
        m, n = shape
        all_A, all_B = np.zeros((m, A.shape[1])), np.zeros((n, B.shape[1]))
        all_A[self.rows], all_B[self.cols] = A, B
        return all_A, all_B

    def holds(self, point: Any, pairs: Pairs) -> bool:
        """Return whether a point is given by its factors ``pairs``, which are 0 elsewhere.

        Not if they have more columns than this part has rows or columns: singular values are then fewer.
        """
        given = isinstance(point, tuple) or (hasattr(point, "A") and hasattr(point, "B"))
        if isinstance(point, Result):
            given = point.merged is None and point.problem.adapter.low_rank
        ((A, B),) = pairs
        if not given or A.shape[1] > min(self.problem.shape):
            return False
        sides = ((A, self.rows), (B, self.cols))
        return all(np.count_nonzero(side) == np.count_nonzero(side[kept]) for side, kept in sides)

    def point(self, given: Any) -> Any:
        """Return this part of a point that is given by its factors."""
        A, B = given if isinstance(given, tuple) else (given.A, given.B)
        A, B = np.asarray(A)[self.rows], np.asarray(B)[self.cols]
        if isinstance(given, tuple):
            return A, B
        return replace(given, A=A, B=B) if isinstance(given, Result) else Product(A, B)


def observed(problem: Problem) -> Observed | None:
    """Return the part of a problem that its loss sees, if it is smaller enough and of the problem's rank."""
    if problem.several or problem.lam <= 0.0:
        return None
    part = problem.objective.observed_part()
    if part is None or problem.rank > min(part.objective.shape):
        return None
    return Observed(problem.replace(objective=part.objective), part.rows, part.cols)
