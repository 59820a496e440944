"""Certificates of many points at once."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._support.keywords import names_keywords
from .._support.text import counted
from .._support.threads import judge_pools
from .._support.validate import Array, as_choice, as_instance, as_number, shown
from ..low_rank import balanced, factor_svd
from ..problem import Problem
from ..problem.pairs import Pairs
from ..result import seen_from
from ..tables import Column, Record, Tabular
from . import _oracles, stacks
from .certificate import Certificate
from .contradictions import refuse_another_loss
from .evidence import Product, evidence, from_proof, use_proof
from .gap import as_factors, certify, conclude, refuse_changed_data
from .norms import Trust
from .rigorous import arithmetic, balanced_columns, given_factors, weight

# Longer side up to which points are taken together, and how many: what a step reads then stays in a processor's cache.
SMALL, STACK = 256, 128


@dataclass(repr=False, eq=False)
class CertificateBatch(Tabular):
    """The certificates of many points, in the order in which these were given: a sequence of them, and a table.

    Attributes
    ----------
    certificates : tuple of Certificate
        One for each point.
    stacked : ndarray of bool, shape (K,)
        Which points were proved together with others; the rest went through :func:`~lorasolve.certify`.
    seconds : float
        Time of all.
    """

    certificates: tuple[Certificate, ...]
    stacked: Array
    seconds: float
    # Times differ between equal runs (_support/digest.py).
    not_data: ClassVar[tuple[str, ...]] = ("seconds",)

    def __len__(self) -> int:
        return len(self.certificates)

    def __getitem__(self, k: int) -> Certificate:
        return self.certificates[k]

    def __iter__(self) -> Iterator[Certificate]:
        return iter(self.certificates)

    def __repr__(self) -> str:
        answers = Counter({True: "global", False: "not global", None: "unknown"}[c.is_global] for c in self)
        told = ", ".join(f"{count} {answer}" for answer, count in answers.most_common())
        return f"CertificateBatch({counted(len(self), 'point')}: {told}; {self.seconds:.3g} s)"

    @property
    def gap(self) -> Array:
        """The gaps (K,)."""
        return np.array([certificate.gap for certificate in self])

    @property
    def relative_gap(self) -> Array:
        """The relative gaps (K,)."""
        return np.array([certificate.relative_gap for certificate in self])

    @property
    def is_global(self) -> Array:
        """The answers, True, False or None (K,)."""
        return np.array([certificate.is_global for certificate in self], object)

    def records(self) -> list[Record]:
        """Return a row for each point: the fields of its certificate that are numbers and short texts."""
        names = [column.key for column in self.columns()]
        return [{name: row[name] for name in names} for row in (certificate.to_dict() for certificate in self)]

    def columns(self) -> list[Column]:
        """Return the fields of the records."""
        return [
            Column("value", "F", "{:.10g}".format),
            Column("is_global", "global"),
            Column("relative_gap", "relative gap"),
            Column("level", "level", left=True),
            Column("rank", "rank"),
            Column("rank_at_least", "at least"),
            Column("rank_at_most", "at most"),
            Column("stationarity", "||grad L||", latex=r"$\|\nabla L\|$"),
        ]


@names_keywords
def certify_batch(
    problems: Problem | Sequence[Problem],
    points: Any,
    tol: float = 1e-6,
    *,
    rigorous: bool | str = "auto",
    trust: Trust = "lapack",
) -> CertificateBatch:
    """Say of many points how far each is from the global optimum of its problem.

    Parameters
    ----------
    problems : Problem or sequence of Problem
        One for all points or one for each. What is the same for all points of a problem is worked out once where they
        are given the very same one.
    points : list of points, array of updates (K, m, n), or BatchResult
        Each as for :func:`~lorasolve.certify`; or anything with stacked factors ``A`` (K, m, r) and ``B`` (K, n, r).
    tol, rigorous, trust
        As for :func:`~lorasolve.certify`.

    Returns
    -------
    CertificateBatch

    Raises
    ------
    ValueError, TypeError
        For sequences of different lengths, and where :func:`~lorasolve.certify` refuses a point, with its position.

    Notes
    -----
    Points of up to 256 x 256 where ``lam > 0`` and ``certify`` proves are proved in stacks, all steps for many points
    together. What a stack cannot prove to be within ``tol`` of the optimum goes through ``certify`` alone, which also
    looks for a better point. So each certificate says the same as that of ``certify`` at the same level; gaps of
    points that are proved to be within ``tol`` may differ by a twentieth, and by rounding, and where that decides,
    bounds of the rank with them. At wide gaps of points that are global a bound of the rank from above that
    ``certify`` finds outside of the spaces of ``X`` may be missing. Source: the theorems of
    :func:`~lorasolve.certificates.rigorous_bound`.
    """
    began = time.perf_counter()
    tol = as_number(tol, "tol", 0.0, 1.0, open_high=True)
    as_choice(trust, "trust", ("lapack", "gemm"))
    given = _points(points)
    every: list[Any] = list(problems) if isinstance(problems, (list, tuple)) else [problems] * len(given)
    if len(every) != len(given):
        raise ValueError(f"problems: expected one or as many as there are points ({len(given)}), got {len(every)}")
    groups: dict[int, list[int]] = {}
    for k, problem in enumerate(every):
        as_instance(problem, "problems", Problem)
        given[k] = seen_from(problem, given[k])
        groups.setdefault(id(problem), []).append(k)
    made: dict[int, Certificate] = {}
    for indices in groups.values():
        problem = every[indices[0]]
        if problem.lam > 0.0 and max(problem.shapes[0]) <= SMALL and use_proof(problem, rigorous):
            with judge_pools(problem.shapes):
                made |= _together(problem, {k: given[k] for k in indices}, tol, trust)
    stacked = np.array([k in made for k in range(len(given))], bool)
    for k in np.flatnonzero(~stacked).tolist():
        made[k] = _located(k, lambda k=k: certify(every[k], given[k], tol, rigorous=rigorous, trust=trust))
    return CertificateBatch(tuple(made[k] for k in range(len(given))), stacked, time.perf_counter() - began)


def _points(points: Any) -> list[Any]:
    """Return the points one by one."""
    from ..sweep import BatchResult

    if isinstance(points, BatchResult):
        # A method may bring a scaling of its own, or merge updates; what is run in blocks has X = A B^T.
        ends = enumerate(zip(points.A, points.B, points.compiled))
        return [Product(A, B) if in_blocks else points.result(k) for k, (A, B, in_blocks) in ends]
    if hasattr(points, "A") and np.ndim(points.A) == 3:
        return list(zip(points.A, points.B))
    if isinstance(points, tuple) and len(points) == 2 and all(getattr(part, "ndim", 0) == 2 for part in points):
        raise TypeError("points: expected a list of points, got two matrices; of one point (A, B) it is [(A, B)]")
    if isinstance(points, (list, tuple)) or (isinstance(points, np.ndarray) and points.ndim == 3):
        return list(points)
    raise TypeError(f"points: expected a list of points or a BatchResult, got {shown(points)}")


def _located(k: int, act: Any) -> Any:
    """Return what ``act`` returns; a refusal names the point."""
    try:
        return act()
    except (TypeError, ValueError) as error:
        raise type(error)(f"points[{k}]: {error}") from error


def _together(problem: Problem, points: dict[int, Any], tol: float, trust: Trust) -> dict[int, Certificate]:
    """Return the certificates of those points that stacks prove to be within ``tol`` of the optimum."""
    loss, problem = problem.loss, problem.replace(objective=problem.objective.in_float64())
    claim = _oracles.claim(problem.objective)
    kinds: dict[tuple[int, str | None], list[tuple[int, Pairs, Array, Array]]] = {}
    with np.errstate(all="ignore"):
        for k, point in points.items():
            factors = _located(k, lambda point=point: as_factors(problem, point))
            _located(k, lambda factors=factors: refuse_another_loss(loss, problem.loss, factors))
            A, B, rounded = given_factors(problem, point)
            kinds.setdefault((A.shape[1], rounded), []).append((k, factors, A, B))
        made: dict[int, Certificate] = {}
        judged: list[Pairs] = []
        for (_, rounded), members in kinds.items():
            assumptions = (*arithmetic(trust), *([claim] if claim else []), *([rounded] if rounded else []))
            for first in range(0, len(members), STACK):
                stack = members[first : first + STACK]
                for (k, factors, _, _), found in zip(stack, _proofs(problem, stack, trust, assumptions)):
                    proof, svd = found
                    known = from_proof(problem, proof, *factors[0], svd)
                    if known.bound.relative <= tol:
                        judged.append(factors)
                        made[k] = conclude(problem, points[k], factors, known, tol)
        if judged and loss.facts.n_samples is not None:
            _refuse_changed_data(problem, judged, trust)
    return made


def _refuse_changed_data(problem: Problem, points: list[Pairs], trust: Trust) -> None:
    """Hold the samples against the objective at one random mixture of points, which shows what any of them would.

    A change that alters ``f`` at one of them leaves it as it was at a null set of mixtures only.
    """
    weights = np.random.default_rng().standard_normal(len(points)) / math.sqrt(len(points))
    X = np.zeros(problem.shape)
    for share, ((A, B),) in zip(weights, points):
        X += share * (A @ B.T)
    svd = factor_svd(X, np.eye(problem.shape[1]))
    mixture: Pairs = [balanced(*svd)]
    refuse_changed_data(problem, mixture, evidence(problem, mixture, [svd], True, trust))


def _proofs(problem: Problem, stack: list[Any], trust: Trust, assumptions: tuple[str, ...]) -> list[Any]:
    """Return the proofs of a stack with the decompositions; none where one of the points lets LAPACK fail."""
    A, B = balanced_columns(*(np.stack([member[k] for member in stack]) for k in (2, 3)))
    try:
        proofs, (P, s, Q) = stacks.prove(problem.objective, weight(problem), A, B, trust, assumptions)
    except np.linalg.LinAlgError:
        return []
    return list(zip(proofs, zip(P, s, Q)))
