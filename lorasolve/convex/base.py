"""What a convex route is: an independent way to the optimum of ``F(X) = f(X) + lam ||X||_*``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._support.text import at_most, for_json, number
from ..certificates import Bound, Certificate
from ..certificates.evidence import Evidence
from ..problem import Problem
from ..problem.pairs import Pairs

# Singular values below this fraction of the largest are dropped from a solution: unlike those below the tolerance of
# numerical ranks they do not show in a gap certified to 1e-9.
DROPPED = 1e-9


class NotFinite(np.linalg.LinAlgError):
    """Raised by a route that has left the finite numbers: values of ``f`` overflow, or have no bound."""


class OutOfTime(Exception):
    """Raised by a report, and by a route whose solver gave up for that: the time of the run is over."""


@dataclass(frozen=True)
class Solution:
    """What a route found: factors of ``X = A B^T``, its iterations and a remark (for example a solver status).

    For several matrices ``A`` and ``B`` are tuples. ``evidence`` is what the route has proved at exactly these
    factors, which must then be balanced and without numerically zero columns (``DROPPED``); None where the proof is
    still to be made.
    """

    A: Any
    B: Any
    nit: int
    remark: str = "done"
    evidence: Evidence | None = None

    @property
    def blocks(self) -> Pairs:
        """The factors of each matrix."""
        return ((self.A, self.B),) if isinstance(self.A, np.ndarray) else tuple(zip(self.A, self.B))


# What a route calls with its best point so far, the value F there and its bound.
Report = Callable[[Solution, float, Bound], None]


@dataclass(frozen=True)
class ConvexRoute:
    """Base class of the routes; settings only.

    ``takes_several`` says that the route solves problems of several matrices; others are not asked about those.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    takes_several: ClassVar[bool] = False

    def refusal(self, problem: Problem) -> str | None:
        """Return why this route cannot solve the problem, or None if it can."""
        if problem.objective.facts.convex is not True:
            return "f is not known to be convex"
        if problem.lam <= 0.0:
            return "lam = 0 leaves no nuclear norm"
        return None

    def started(self, factors: Pairs) -> ConvexRoute:
        """Return this route with factors ``(A_l, B_l)`` of the updates to start from; most routes take none."""
        raise ValueError(f"start: the route {self.name!r} takes no start; accepted by: factored")

    def run(self, problem: Problem, tol: float, report: Report) -> Solution:
        """Return the optimum to a relative certified gap of ``tol``, or the best point reached.

        The estimate that a route steers by may say when a certificate is worth its cost, never that the run is over:
        both have errors, so the larger gap counts.

        ``report`` is told about points on the way: they show progress, and the last one is what a run returns that is
        interrupted. It raises ``OutOfTime`` where the time limit has passed, which ends the run.
        """
        raise TypeError(f"{type(self).__name__} does not define run(problem, tol, report)")


@dataclass(frozen=True, repr=False, eq=False)
class ConvexResult:
    """The optimum of ``F(X) = f(X) + (lam/s) ||X||_*`` by an independent route, with its certificate.

    Attributes
    ----------
    A, B : ndarray of shape (m, k), (n, k)
        Balanced factors, ``X = A B^T``, with ``k`` the rank that was found; tuples of them for several matrices.
    fun : float
        ``F(X)``; for ``lam = 0`` the optimum over rank <= r by a closed form, over all ranks by another route.
    certificate : Certificate
        How far the point is from the optimum. Statuses of outside solvers are never trusted.
    route : str
        The route.
    success : bool
        Whether the certified relative gap is at most ``tol``; without decay that to what ``fun`` is.
    message : str
        What was reached, and what to do if that is not enough.
    interrupted : bool
        Whether Ctrl-C ended the run; the point is then the last one that the route reported.
    nit : int
        Outer iterations of the route.
    seconds, compile_seconds : float
        Time without compilation, and time compiling.
    cross_check : dict or None
        With ``cross_check=True``: the second route, its objective and the differences (relative to ``fun``, unless
        that is 0), and what routes said that failed before it. None where all of them failed; ``message`` says why.
    """

    A: Any
    B: Any
    fun: float
    certificate: Certificate
    route: str
    success: bool
    message: str
    interrupted: bool
    nit: int
    seconds: float
    compile_seconds: float
    cross_check: dict[str, Any] | None = None
    # Times differ between equal runs (_support/digest.py).
    not_data: ClassVar[tuple[str, ...]] = ("seconds", "compile_seconds")

    def __repr__(self) -> str:
        return (
            f"ConvexResult({self.status}: F = {number(self.fun, '.10g')}, rank {self.rank}, relative gap <= "
            f"{at_most(self.relative_gap, '.3g')}, {self.certificate.level}, by {self.route!r})"
        )

    @property
    def X(self) -> Any:
        """The optimal update (m, n), or a tuple of them."""
        if isinstance(self.A, np.ndarray):
            return self.A @ self.B.T
        return tuple(A @ B.T for A, B in zip(self.A, self.B))

    @property
    def factors(self) -> tuple[Any, Any]:
        """``(A, B)``, for several matrices two tuples."""
        return self.A, self.B

    @property
    def rank(self) -> int:
        """The numerical rank of the optimum, ``r*``."""
        return self.certificate.rank

    @property
    def nuclear_norm(self) -> float:
        """``||X||_*``."""
        return self.certificate.nuclear_norm

    @property
    def gap(self) -> float:
        """The certified gap."""
        return self.certificate.gap

    @property
    def relative_gap(self) -> float:
        """The certified gap relative to ``F(X)``, for ``lam = 0`` to ``f(0)`` where that is larger."""
        return self.certificate.relative_gap

    @property
    def status(self) -> str:
        """``"certified"``, ``"closed form"`` or ``"not certified"``."""
        if self.success:
            return "closed form" if self.route == "closed_form" else "certified"
        return "not certified"

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the factors as plain JSON-ready values."""
        certificate = self.certificate.to_dict()
        found = {
            "route": self.route,
            "status": self.status,
            "success": self.success,
            "message": self.message,
            "interrupted": self.interrupted,
            "fun": self.fun,
            "rank": self.rank,
            "nuclear_norm": self.nuclear_norm,
            "gap": certificate["gap"],
            "relative_gap": certificate["relative_gap"],
            "nit": self.nit,
            "seconds": self.seconds,
            "compile_seconds": self.compile_seconds,
            "certificate": certificate,
            "cross_check": self.cross_check,
        }
        return dict(for_json(found))
