"""Multi-start: which critical points does a method reach, how often, and what are they?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.keywords import names_keywords
from .._support.text import counted
from .._support.validate import MOST_DRAWS, as_choice, as_integer, as_iterable, as_number
from ..engine import StoppingRule, solve
from ..method import Method
from ..monitor import rule_of
from ..optimizers import Optimizer
from ..problem import Problem
from ..problem.natural_units import natural_size
from ..status import Status
from .canonical import require_trained_factors
from .constants import Constants
from .escapes import keeps_problem
from .judge import judged
from .minimizer import Optima
from .report import KINDS

DIVERGED = "diverged"


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """A distinct point that runs ended at.

    Attributes
    ----------
    kind : str
        Its verdict.
    value : float
        ``L`` there.
    rank : int
        Numerical rank of ``X``.
    norm : float
        ``||X||_F``.
    count : int
        Number of runs that ended there.
    X : ndarray of shape (m, n), or a tuple of them
        The first such end.
    """

    kind: str
    value: float
    rank: int
    norm: float
    count: int
    X: Any = field(repr=False)


@dataclass(frozen=True, eq=False)
class Census:
    """What the runs of a multi-start ended at.

    Attributes
    ----------
    counts : dict
        ``{scale: {kind: number of runs}}`` over the kinds of verdicts and ``"diverged"``.
    points : list of CriticalPoint
        The distinct ends of converged runs, by value.
    contradictions : list of str
        From the verdicts; always empty unless code or theory is wrong.
    starts : int
        Runs per scale.
    seed : int
        Run ``k`` at the ``j``-th scale draws its start from ``default_rng([seed, j, k])``.
    """

    counts: dict[float, dict[str, int]]
    points: list[CriticalPoint]
    contradictions: list[str]
    starts: int
    seed: int

    def fraction(self, kind: str) -> dict[float, float]:
        """Return, per scale, the share of runs of one kind: a kind of verdict or ``"diverged"``."""
        as_choice(kind, "kind", [*KINDS, DIVERGED])
        return {scale: counts[kind] / self.starts for scale, counts in self.counts.items()}

    def __repr__(self) -> str:
        totals = {kind: sum(counts[kind] for counts in self.counts.values()) for kind in [*KINDS, DIVERGED]}
        ends = ", ".join(f"{count} {kind}" for kind, count in totals.items() if count)
        runs = counted(self.starts * len(self.counts), "run")
        return f"Census({runs}, {counted(len(self.points), 'distinct point')}: {ends})"

    def __str__(self) -> str:
        kinds = [*KINDS, DIVERGED]
        lines = [f"{'scale':>9} " + " ".join(f"{kind:>13}" for kind in kinds)]
        for scale, counts in self.counts.items():
            lines.append(f"{scale:9.3g} " + " ".join(f"{counts[kind]:13d}" for kind in kinds))
        lines.append(f"{len(self.points)} distinct points:")
        for point in self.points:
            lines.append(
                f"  {point.kind:<13} L = {point.value:.9g}, rank {point.rank}, ||X||_F = {point.norm:.4g}, "
                f"{counted(point.count, 'run')}"
            )
        return "\n".join(lines)


@names_keywords
def census(
    problem: Problem,
    starts: int,
    scales: Iterable[float] = (0.1, 1.0),
    *,
    method: str | Optimizer | Method = "lbfgs",
    stop: StoppingRule | None = None,
    X_star: ArrayLike | None = None,
    constants: Constants | None = None,
    seed: int = 0,
    tol: float = 1e-6,
    same: float = 1e-4,
) -> Census:
    """Run a method from many Gaussian starts, classify each end and collect the distinct ones.

    Parameters
    ----------
    problem : Problem or MultiProblem
        The problem.
    starts : int
        Runs per scale.
    scales : iterable of float
        Standard deviations of the entries of both starting factors.
    method : str, Optimizer or Method
        The way to run, on the problem's own adapter and weight decay; its init is not used.
    stop : StoppingRule, optional
        By default 20,000 iterations at most, ``grad_tol = 1e-10``.
    X_star, constants
        Passed to :func:`lorasolve.verdict`.
    seed : int
        Seed of all starts.
    tol : float
        Accuracy of the verdicts, below 1.
    same : float
        Ends whose updates differ by less than this, relative to their norm (at least that of the problem's natural
        size of the factors), are one point.

    Returns
    -------
    Census

    Raises
    ------
    ValueError, TypeError
        For adapters whose update is not ``s A B^T`` with both factors trained, numbers out of range, a scale given
        twice, and for a method that changes the adapter or the decay, or merges.
    """
    require_trained_factors(problem)
    starts = as_integer(starts, "starts", 1, MOST_DRAWS)
    scales = [as_number(scale, "scales", 0.0, open_low=True) for scale in as_iterable(scales, "scales")]
    if not scales:
        raise ValueError("scales: expected at least one")
    twice = next((scale for k, scale in enumerate(scales) if scale in scales[:k]), None)
    if twice is not None:
        raise ValueError(f"scales: expected different scales, got {twice!r} twice")
    seed = as_integer(seed, "seed", 0)
    tol = as_number(tol, "tol", 0.0, 1.0, open_low=True, open_high=True)
    same = as_number(same, "same", 0.0, open_low=True)
    method = keeps_problem(method)
    stop = StoppingRule(max_iter=20_000, grad_tol=1e-10) if stop is None else rule_of(stop)
    length = problem.scale * natural_size(problem, problem.units.slope) ** 2
    counts: dict[float, dict[str, int]] = {}
    found: list[CriticalPoint] = []
    contradictions: list[str] = []
    optima = Optima()
    for j, scale in enumerate(scales):
        kinds: Counter[str] = Counter()
        for k in range(starts):
            rng = np.random.default_rng([seed, j, k])
            A, B, *_ = problem.split(scale * rng.standard_normal(problem.n_factor_parameters))
            run = solve(problem, method, init=(A, B), seed=seed, stop=stop)
            if run.status is Status.DIVERGED:
                kinds[DIVERGED] += 1
                continue
            verdict = judged(problem, run, X_star, constants, tol, optima)
            kinds[verdict.kind] += 1
            contradictions.extend(verdict.contradictions)
            if verdict.kind != "not_converged":
                norm = _distance(run.X)
                point = CriticalPoint(verdict.kind, run.fun, verdict.stationarity.rank, norm, 1, run.X)
                _add(found, point, same, length)
        counts[scale] = {kind: kinds[kind] for kind in (*KINDS, DIVERGED)}
    return Census(counts, sorted(found, key=lambda p: p.value), contradictions, starts, seed)


def _add(found: list[CriticalPoint], new: CriticalPoint, same: float, length: float) -> None:
    """Count the point with the one it equals, or append it; updates shorter than ``length`` compare as if of it."""
    for i, old in enumerate(found):
        if old.kind == new.kind and _distance(old.X, new.X) <= same * max(length, old.norm):
            found[i] = CriticalPoint(old.kind, old.value, old.rank, old.norm, old.count + 1, old.X)
            return
    found.append(new)


def _distance(X: Any, Y: Any = None) -> float:
    """Return ``||X - Y||_F`` over all matrices, by default ``||X||_F``."""
    parts = X if isinstance(X, tuple) else (X,)
    others = (0.0,) * len(parts) if Y is None else (Y if isinstance(Y, tuple) else (Y,))
    return math.hypot(*(float(np.linalg.norm(x - y)) for x, y in zip(parts, others)))
