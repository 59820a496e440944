"""Which rank do I need: the rank of the optimum as an interval, with how it is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .._known import Known
from .._support.keywords import names_keywords
from .._support.text import component_text, for_json, gap_text
from .._support.validate import as_instance, as_number
from ..convex import ConvexResult, require_solvable, solve_convex
from ..problem import Problem

# The gap is closed further, this much at a time and down to this, until the interval is a point.
FACTOR = 1e-2
SMALLEST_TOL = 1e-13


@dataclass(frozen=True, eq=False)
class RankChoice:
    """The rank of the optimum at a ``lam``.

    Attributes
    ----------
    lam : float
        The weight decay that it is about.
    at_least, at_most : int
        The rank of every minimizer of ``f(X) + (lam/s) ||X||_*`` is in this interval.
    found : int
        The numerical rank of the point that was computed; a plain number.
    level : Known
        How the interval is known: as the gap is, given the stated constants of ``f``.
    upper_known : bool
        Whether anything but the size of the matrix bounds the rank from above.
    optimum : ConvexResult
        The point, with its certificate.
    """

    lam: float
    at_least: int
    at_most: int
    found: int
    level: Known
    upper_known: bool
    optimum: ConvexResult = field(repr=False)

    @property
    def rank(self) -> int:
        """Factors of this many columns hold the optimum, as far as is known: the upper end, else the rank found.

        The rank found counts singular values beside the largest one, and that of the optimum may be proved larger.
        """
        return max(self.at_most if self.upper_known else self.found, self.at_least, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the factors as plain JSON-ready values."""
        found = {
            "lam": self.lam,
            "at_least": self.at_least,
            "at_most": self.at_most if self.upper_known else None,
            "found": self.found,
            "rank": self.rank,
            "level": str(self.level),
            "optimum": self.optimum.to_dict(),
        }
        return dict(for_json(found))

    def __str__(self) -> str:
        if not self.upper_known:
            known = f"; the optimum has rank >= {self.at_least}" if self.at_least else ""
            if self.optimum.certificate.problem.several:
                why = "there is one for one matrix only"
            elif self.lam == 0.0:
                why = "without decay a minimizer may have any rank where there are others"
            else:
                why = "the smoothness of f is not known or was refuted, the gap too large for it, or more singular "
                why += "values of the gradient near lam than X has"
            what = "found" if self.found else "X = 0 was found"
            if self.at_least > self.found:
                what = f"{self.found} found"
            return f"rank {self.rank} at {self._at()}: {what}, not certified{known} (no bound from above: {why})"
        interval = f"{self.at_least}" if self.at_least == self.at_most else f"{self.at_least} to {self.at_most}"
        return (
            f"rank {self.rank} at {self._at()}: the optimum has rank {interval} (found {self.found}), "
            f"{self.level} to a relative gap of {gap_text(self.optimum.relative_gap)}"
        )

    def __repr__(self) -> str:
        return f"RankChoice({self})"

    def _at(self) -> str:
        """Return what the rank belongs to: ``lam``, and the scale of the update where it depends on the rank."""
        problem = self.optimum.certificate.problem
        own = problem.scale if problem.several else problem.adapter.scale_at(self.rank)
        if own == problem.scale:
            return f"lam = {self.lam:g}"
        return f"lam = {self.lam:g} and s = {problem.scale:g} (which is {own:g} at that rank: change alpha with it)"


@names_keywords
def recommend_rank(problem: Problem, tol: float = 1e-9, *, progress: bool = False) -> RankChoice:
    """Say how many columns the factors need at a problem's ``lam`` to hold the optimum.

    Parameters
    ----------
    problem : Problem or MultiProblem
        Convex; its own rank plays no part, but for the scale ``s`` where the adapter derives that from it: the answer
        is about this ``s``, and a smaller rank with the same ``alpha`` has another optimum. For several matrices the
        ranks are summed, and nothing bounds them, as at ``lam = 0``.
    tol : float
        Relative gap to begin with, below 1; it is made smaller while that narrows the interval.
    progress : bool
        Show progress on stderr: a line rewritten in place on a terminal, one every 30 s in logs.

    Returns
    -------
    RankChoice

    Raises
    ------
    ValueError, TypeError
        With a factor frozen, and where :func:`~lorasolve.solve_convex` refuses the problem.

    Notes
    -----
    For convex ``f`` with ``beta``-Lipschitz gradient, ``rank X* <= #{sigma_i(G) >= lam - sqrt(2 beta gap)}``; if ``f``
    is strongly convex with ``alpha``, ``rank X* >= #{sigma_i(X) > sqrt(2 gap/alpha)}`` (proofs/rank_certificate).
    """
    require_solvable(as_instance(problem, "problem", Problem))
    if problem.trainable is not None:
        raise ValueError(
            "problem: expected factors that are both trained: beside a frozen one no number of columns need hold the "
            f"optimum, got the adapter {component_text(problem.adapter)!r}"
        )
    tol = as_number(tol, "tol", 0.0, 1.0, open_low=True, open_high=True)

    def interval(point: ConvexResult) -> tuple[int, int | None]:
        return point.certificate.rank_at_least or 0, point.certificate.rank_at_most

    def merit(point: ConvexResult) -> tuple[int, float]:
        """Return the width of the interval, which a point that has missed its tolerance has none of, and the gap."""
        low, high = interval(point)
        return most + 1 if high is None else high - low, point.relative_gap

    found = closest = solve_convex(problem, "factored", tol, progress=progress)
    most = sum(min(shape) for shape in problem.shapes)
    while merit(found)[0] > 0 and not closest.interrupted and tol * FACTOR >= SMALLEST_TOL:
        tol *= FACTOR
        further = solve_convex(problem, "factored", tol, start=closest, progress=progress)
        found = min(found, further, key=merit)
        if not further.relative_gap < closest.relative_gap:
            break
        closest = further
    low, high = interval(found)
    certificate = found.certificate
    return RankChoice(
        problem.lam, low, most if high is None else high, found.rank, certificate.level, high is not None, found
    )
