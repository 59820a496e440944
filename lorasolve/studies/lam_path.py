"""The regularisation path: the convex optimum over ``lam``, each from the last one, each certified."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.keywords import names_keywords
from .._support.progress import Progress
from .._support.text import counted, for_json, gap_text
from .._support.validate import as_flag, as_instance, as_integer, as_iterable, as_number
from ..convex import ConvexResult, formula, require_solvable, solve_convex
from ..convex.factored import Factored, Trail
from ..problem import Problem
from ..tables import Column, Record, Tabular

# The smallest value of a path that is not given, as a share of the largest.
SMALLEST = 0.01


@dataclass(frozen=True, eq=False)
class Path(Tabular):
    """The optimum at every ``lam``.

    Attributes
    ----------
    problem : Problem
        What was solved, at its own ``lam``.
    lams : list of float
        In the order given.
    points : list of ConvexResult
        The optimum at each, with its certificate.
    tol : float
        The relative gap that was asked for.
    interrupted : bool
        Whether Ctrl-C ended it; the points are those that were finished.
    """

    problem: Problem
    lams: list[float]
    points: list[ConvexResult] = field(repr=False)
    tol: float
    interrupted: bool = False

    @property
    def success(self) -> bool:
        """Whether every point is certified to ``tol``."""
        return not self.interrupted and all(point.success for point in self.points)

    @property
    def seconds(self) -> float:
        """Time of all points, without compilation."""
        return sum(point.seconds for point in self.points)

    def records(self) -> list[Record]:
        """Return what is known at each ``lam``."""
        return [
            {
                "lam": lam,
                "fun": p.fun,
                "relative_gap": p.relative_gap,
                "level": str(p.certificate.level),
                "rank": p.rank,
                "rank_known": rank_text([p]),
                "nuclear_norm": p.nuclear_norm,
                "seconds": p.seconds,
            }
            for lam, p in zip(self.lams, self.points)
        ]

    def columns(self) -> list[Column]:
        """Return the optimum, its gap and how it is known, and its rank."""
        return [
            Column("lam", "lam", latex=r"$\lambda$"),
            Column("fun", "F*", "{:.9g}".format, latex="$F^*$"),
            Column("relative_gap", "gap", gap_text),
            Column("level", "known"),
            Column("rank_known", "rank of the optimum"),
            Column("nuclear_norm", "||X||_*", latex=r"$\|X\|_*$"),
            Column("seconds", "s", "{:.2f}".format),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the factors as plain JSON-ready values."""
        points = [{"lam": lam} | point.to_dict() for lam, point in zip(self.lams, self.points)]
        found = {"tol": self.tol, "success": self.success, "interrupted": self.interrupted, "points": points}
        return dict(for_json(found))

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        certified = sum(point.success for point in self.points)
        span = f", lam from {self.lams[0]:g} to {self.lams[-1]:g}" if self.lams else ""
        return f"Path({counted(len(self.lams), 'point')}{span}: {certified} certified to {self.tol:g})"


@names_keywords
def path(problem: Problem, lams: int | Iterable[float] = 20, tol: float = 1e-6, *, progress: bool = False) -> Path:
    """Compute the optimum of ``f(X) + (lam/s) ||X||_*`` at many ``lam``, from the largest to the smallest.

    Every point begins at the one before, whose rank and spaces are nearly its own, unless there is a closed form.

    Parameters
    ----------
    problem : Problem or MultiProblem
        Convex; its rank and ``lam`` play no part.
    lams : int or iterable of float
        The values, > 0 and different; or how many, down from ``s ||grad f(0)||_2``, where the optimum leaves
        ``X = 0``, to a hundredth of it.
    tol : float
        Certified relative gap at every point.
    progress : bool
        Show progress on stderr: a line rewritten in place on a terminal, one every 30 s in logs.

    Returns
    -------
    Path
        The points in the order of ``lams``.

    Raises
    ------
    ValueError, TypeError
        For values out of range, and where :func:`~lorasolve.solve_convex` refuses the problem.

    Notes
    -----
    Source of the bounds on the rank: proofs/rank_certificate.
    """
    as_instance(problem, "problem", Problem)
    values, line = chosen_lams(problem, lams), Progress("path", as_flag(progress, "progress"))
    problem = in_float64(problem)
    order = sorted(range(len(values)), key=lambda k: -values[k])
    found: dict[int, ConvexResult] = {}
    try:
        for k, point in zip(order, descent(problem, [values[k] for k in order], tol, line)):
            found[k] = point
    except KeyboardInterrupt:
        pass  # the points before are kept
    done = sorted(found)
    return Path(problem, [values[k] for k in done], [found[k] for k in done], tol, len(done) < len(values))


def in_float64(problem: Problem) -> Problem:
    """Return a problem whose loss is what certificates are about."""
    return problem.replace(objective=problem.objective.in_float64())


def descent(
    problem: Problem, values: Sequence[float], tol: float, line: Progress, part: str = ""
) -> Iterator[ConvexResult]:
    """Yield the optimum at checked values that do not increase, each from the one before; Ctrl-C ends it."""
    require_solvable(problem.replace(lam=max(values)))
    trail = Factored(trail=Trail())
    for k, lam in enumerate(values):
        line.label = f"value {k + 1} of {len(values)}{part}"
        here = problem.replace(lam=lam)
        point = solve_convex(here, formula(here) or trail, tol, progress=line)
        if point.interrupted:
            raise KeyboardInterrupt
        yield point


def chosen_lams(problem: Problem, given: int | Iterable[float]) -> list[float]:
    """Return the values of a path, checked; where their number is given, down from where ``X = 0`` is optimal."""
    if isinstance(given, (int, np.integer)):
        count = as_integer(given, "lams", 1, 10**5)
        top = problem.critical_lam()
        if not top > 0.0:
            raise ValueError("lams: grad f(0) = 0, so X = 0 is optimal at every lam; give the values")
        return np.geomspace(top, SMALLEST * top, count).tolist()
    values = [as_number(value, "lams", 0.0, open_low=True) for value in as_iterable(given, "lams")]
    if not values:
        raise ValueError("lams: is empty; give at least one value, or how many")
    twice = next((value for k, value in enumerate(values) if value in values[:k]), None)
    if twice is not None:
        raise ValueError(f"lams: expected different values, got {twice!r} twice")
    return values


def rank_text(points: Sequence[ConvexResult]) -> str:
    """Return what is certified about the ranks of the optima, and the ranks found where that is not all."""
    low = min(point.certificate.rank_at_least or 0 for point in points)
    highs = [known for point in points if (known := point.certificate.rank_at_most) is not None]
    high = max(highs) if len(highs) == len(points) else None
    found = _span([point.rank for point in points])
    if low == high:
        return str(low)
    if high is None and not low:
        return f"{found} found"
    ends = f"{low} to {high}" if high is not None else f"at least {low}"
    return f"{ends} ({found} found)"


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
