"""One normal form for all landscape functions: ``X = A B^T`` with unit scaling, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._validate import Array, as_float_array, as_shape
from ..linear_map import LinearMap, balanced, factor_svd, numerical_rank
from ..problem import Problem
from ..result import Result


@dataclass(frozen=True)
class Point:
    """A point of the problem with unit scaling: ``L(A, B) = f(A B^T) + (lam/2)(||A||^2 + ||B||^2)``.

    With ``X = s A B^T`` the factors ``sqrt(s) A``, ``sqrt(s) B`` give the same update, the same value of ``L`` with
    ``lam/s`` in place of ``lam``, and a Hessian divided by ``s``: signs and stationarity do not change.
    """

    problem: Problem
    A: Array
    B: Array

    @property
    def lam(self) -> float:
        """The weight of the nuclear norm."""
        return self.problem.lam

    def svd(self) -> tuple[Array, Array, Array]:
        """Return ``P (m, k), s (k,), Q (n, k)`` of ``X = A B^T`` with ``k`` its numerical rank."""
        P, s, Q = factor_svd(self.A, self.B)
        k = numerical_rank(s)
        return P[:, :k], s[:k], Q[:, :k]

    def balanced(self) -> Point:
        """Return the point with the same update and balanced factors, of least norm."""
        P, s, Q = self.svd()
        A, B = np.zeros_like(self.A), np.zeros_like(self.B)
        A[:, : s.size], B[:, : s.size] = balanced(P, s, Q)
        return Point(self.problem, A, B)

    def gradient(self) -> LinearMap:
        """Return ``G = grad f(X)``."""
        return self.problem.objective.gradient_operator(self.A, self.B)


def canonical(problem: Any, A: Any, B: Any) -> Point:
    """Return the point in the normal form.

    Raises
    ------
    TypeError
        If ``problem`` is no :class:`~lorasolve.Problem`.
    ValueError
        If the adapter's update is not ``s A B^T`` with both factors trained, or a factor has another shape.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: expected a Problem, got {type(problem).__name__}")
    problem.require_low_rank("landscape")
    if problem.trainable is not None:
        raise ValueError(
            "landscape: the theorems are about two trained factors; the adapter freezes one of them "
            f"({problem.adapter!r})"
        )
    m, n = problem.shape
    root = math.sqrt(problem.scale)
    A = root * as_shape(as_float_array(A, "A", 2, np.float64), "A", (m, problem.rank))
    B = root * as_shape(as_float_array(B, "B", 2, np.float64), "B", (n, problem.rank))
    if problem.scale != 1.0 or problem.adapter.name != "lora":
        problem = Problem(problem.objective, problem.rank, problem.lam_effective)
    return Point(problem, A, B)


def canonical_result(problem: Any, result: Any) -> Point:
    """Return the normal form of a run's end or of explicit factors.

    Raises
    ------
    ValueError
        If the run merged updates into the frozen weight: its factors are a point of another problem.
    """
    if isinstance(result, tuple) and len(result) == 2:
        return canonical(problem, *result)
    if isinstance(result, Result) and result.merged is not None:
        raise ValueError(
            "result: this run merged updates into the frozen weight, so its factors are a point of its last stage; "
            "ask with result.problem and (result.A, result.B)"
        )
    if hasattr(result, "A") and hasattr(result, "B"):
        return canonical(problem, result.A, result.B)
    raise TypeError(f"result: expected a Result or a pair (A, B), got {type(result).__name__}")
