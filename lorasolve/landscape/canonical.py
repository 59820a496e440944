"""One normal form for all landscape functions: ``X = A B^T`` with unit scaling, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.validate import Array, as_instance
from ..convex import ConvexResult
from ..linear_map import LinearMap
from ..low_rank import balanced, factor_svd
from ..problem import Problem, flat
from ..problem.pairs import Pairs
from ..result import Result, seen_from
from ..status import Status

# Products of several of these are still finite.
LARGEST_ENTRY = 1e60


def refuse_huge(values: Array, argument: str) -> None:
    """Refuse entries whose products would overflow."""
    if np.abs(values).max() > LARGEST_ENTRY:
        raise ValueError(f"{argument}: expected entries up to {LARGEST_ENTRY:g} in size; give them another unit")


class DivergedError(ValueError):
    """A run that diverged so far that its factors cannot be judged; ``str()`` of it says how far."""

    @property
    def reason(self) -> str:
        """What is to be done, as in the verdict on a diverged run that can be judged."""
        return str(self.args[1])

    def __str__(self) -> str:
        return str(self.args[0])

    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`Verdict.to_dict` does, with None for what was not measured."""
        return {
            "kind": "not_converged",
            "reason": self.reason,
            "basis": "nothing",
            "premises": [],
            "findings": [],
            "contradictions": [],
            "stationarity": None,
            "second_order": None,
            "certificate": None,
            "constants": None,
            "tol": None,
            "witness": None,
        }


def begin_again(result: Result) -> str:
    """Return what is to be done after a run that diverged."""
    return f"the run diverged and has to begin again ({result.message})"


@dataclass(frozen=True)
class Point:
    """A point of the problem with unit scaling: ``L(A, B) = f(A B^T) + (lam/2)(||A||^2 + ||B||^2)``.

    With ``X = s A B^T`` the factors ``sqrt(s) A``, ``sqrt(s) B`` give the same update, the same value of ``L`` with
    ``lam/s`` in place of ``lam``, and a Hessian divided by ``s``: signs and stationarity do not change.

    Attributes
    ----------
    problem : Problem
        Of one or of several matrices.
    factors : tuple of (ndarray, ndarray)
        ``(A_l, B_l)`` of each matrix, in float64.
    """

    problem: Problem
    factors: tuple[tuple[Array, Array], ...]

    @property
    def lam(self) -> float:
        """The weight of the nuclear norm."""
        return self.problem.lam

    @property
    def theta(self) -> Array:
        """The parameter vector, in float64."""
        return flat(self.factors)

    @property
    def updates(self) -> list[Array]:
        """``X_l`` of each matrix."""
        return [A @ B.T for A, B in self.factors]

    def balanced(self) -> Point:
        """Return the point with the same updates and balanced factors, of least norm."""
        # Small singular values stay: what they are worth depends on the units of the features.
        return Point(self.problem, tuple(padded(*factor_svd(A, B), A.shape[1]) for A, B in self.factors))

    def gradients(self) -> tuple[LinearMap, ...]:
        """Return ``G_l``, the gradient of ``f`` at each update."""
        return self.problem.loss.gradient_operators(self.factors)

    def value_and_grad(self) -> tuple[float, tuple[tuple[Array, Array], ...]]:
        """Return ``L`` and its gradient in each pair of factors."""
        theta = self.theta.astype(self.problem.dtype)
        grad = np.empty_like(theta)
        value = self.problem.value_and_grad(theta, grad)
        return value, self.problem.split_blocks(grad)


def padded(P: Array, s: Array, Q: Array, r: int) -> tuple[Array, Array]:
    """Return balanced factors of ``P diag(s) Q^T`` with ``r`` columns."""
    A, B = np.zeros((P.shape[0], r)), np.zeros((Q.shape[0], r))
    A[:, : s.size], B[:, : s.size] = balanced(P, s, Q)
    return A, B


def require_trained_factors(problem: Problem) -> None:
    """Refuse what is no problem, and adapters whose update is not ``s A B^T`` with both factors trained."""
    as_instance(problem, "problem", Problem).require_low_rank("landscape")
    if problem.trainable is not None:
        raise ValueError(
            "landscape: the theorems are about two trained factors; the adapter freezes one of them "
            f"({problem.adapter!r})"
        )


def canonical(problem: Problem, A: Any, B: Any, scale: float | None = None) -> Point:
    """Return the point in the normal form; ``scale`` is the ``s`` of its update, by default that of the problem.

    Raises
    ------
    TypeError
        If ``problem`` is no :class:`~lorasolve.Problem`.
    ValueError
        If the adapter's update is not ``s A B^T`` with both factors trained, or a factor has another shape.
    """
    require_trained_factors(problem)
    pairs = problem.checked_factors(A, B, np.float64)
    for pair in pairs:
        for name, factor in zip("AB", pair):
            refuse_huge(factor, name)
    root = math.sqrt(problem.scale if scale is None else scale)
    factors = tuple((root * A, root * B) for A, B in pairs)
    if problem.scale != 1.0 or problem.adapter.name != "lora":
        problem = Problem(problem.objective, problem.rank, problem.lam_effective)
    return Point(problem, factors)


def canonical_result(problem: Problem, result: Result | ConvexResult | tuple[Any, Any]) -> Point:
    """Return the normal form of a run's end, of a convex optimum or of explicit factors.

    Raises
    ------
    ValueError
        If the run merged updates into the frozen weight, or its adapter's update is not ``s A B^T``: then its factors
        are no point of this problem. If the rank of a convex optimum is larger than the problem's. A
        :class:`DivergedError` if it diverged beyond what can be judged.
    TypeError
        If it is none of these.
    """
    result = seen_from(as_instance(problem, "problem", Problem), result, "result")
    if isinstance(result, tuple) and len(result) == 2:
        return canonical(problem, *result)
    if isinstance(result, Result) and result.merged is not None:
        raise ValueError(
            "result: this run merged updates into the frozen weight, so its factors are a point of its last stage "
            "alone: 'lorasolve certify' or ls.certify(problem, result) judges the whole update, and 'lorasolve verdict "
            "--last-stage' or verdict(result.problem, result) that stage"
        )
    if isinstance(result, Result):
        ran = result.problem
        if problem.adapter.low_rank and not ran.adapter.low_rank:
            raise ValueError(
                f"result: the update of this run's adapter {ran.adapter.name!r} is not s A B^T; ask for "
                "ls.certify(problem, result), which judges the update as a matrix"
            )
        # As a float: against an entry in float32 the limit is infinite, with a warning of NumPy's.
        if float(np.abs(result.theta).max()) > LARGEST_ENTRY:
            expected = f"result: expected factors with entries up to {LARGEST_ENTRY:g} in size, this run went beyond: "
            if result.status is Status.DIVERGED:
                raise DivergedError(expected + result.message, begin_again(result))
            raise ValueError(expected + result.message)
        # A method may bring a scaling of its own; what is judged is the update that the run reached.
        return canonical(problem, result.A, result.B, ran.scale)
    if isinstance(result, ConvexResult):
        # Its factors are those of X itself, whatever the scaling.
        return canonical(problem, *problem.unpaired(_at_the_ranks(problem, result)), scale=1.0)
    raise TypeError(f"result: expected a Result, a ConvexResult or a pair (A, B), got {type(result).__name__}")


def _at_the_ranks(problem: Problem, found: ConvexResult) -> Pairs:
    """Return the factors of a convex optimum with as many columns as the problem's, the last ones zero."""
    pairs = []
    for (A, B), r in zip(problem.checked_factors(found.A, found.B, np.float64, any_rank=True), problem.ranks):
        if A.shape[1] > r:
            raise ValueError(
                f"result: expected an optimum that factors of rank {r} can hold, got one of rank {A.shape[1]}; "
                "ls.certify(problem, result) judges it without them"
            )
        pairs.append((np.pad(A, ((0, 0), (0, r - A.shape[1]))), np.pad(B, ((0, 0), (0, r - B.shape[1])))))
    return pairs
