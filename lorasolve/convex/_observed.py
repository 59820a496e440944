"""Completion without the rows and columns that have no entry: where ``lam > 0`` the optimum is 0 there.

Leaving out rows and columns makes no nuclear norm larger, and ``f`` does not see these. So optima, gaps and gradients
but for zeros are those of the smaller matrix, on which iterations for singular vectors take less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .._support.validate import Array
from ..certificates.evidence import Product
from ..objectives.completion import MatrixCompletion
from ..problem import Problem
from ..problem.blocks import Pairs
from .base import ConvexResult


@dataclass(frozen=True)
class Observed:
    """A completion problem on the rows and columns that have entries, and where these are."""

    problem: Problem
    rows: Array
    cols: Array

    def factors(self, pairs: Pairs) -> Pairs:
        """Return the part of factors of the whole update."""
        return [(A[self.rows], B[self.cols]) for A, B in pairs]

    def whole(self, found: ConvexResult, problem: Problem) -> ConvexResult:
        """Return what was found as the optimum of the whole problem."""
        m, n = problem.shape
        A, B = np.zeros((m, found.A.shape[1])), np.zeros((n, found.B.shape[1]))
        A[self.rows], B[self.cols] = found.A, found.B
        certificate = replace(found.certificate, problem=problem, point=Product(A, B))
        return replace(found, A=A, B=B, certificate=certificate)


def observed(problem: Problem) -> Observed | None:
    """Return the part of a completion problem that is seen, if it is smaller enough and of the problem's rank."""
    if problem.several or problem.lam <= 0.0 or type(problem.objective) is not MatrixCompletion:
        return None
    f, support = problem.objective.observed, problem.objective.support
    if support is None or problem.rank > min(f.shape):
        return None
    return Observed(problem.replace(objective=f), *support)
