"""cvxpy as a witness for small problems: Clarabel up to about 25 x 25, SCS with tight tolerances beyond."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.time_limit import is_over, seconds_left
from .._support.validate import Array, shown
from ..low_rank import balanced
from ..problem import Problem
from ..problem.natural_units import natural_size
from .base import ConvexRoute, OutOfTime, Report, Solution

CLARABEL_LIMIT = 25 * 25
USABLE = ("optimal", "optimal_inaccurate", "user_limit")
# What solvers call their time limits.
TIME_LIMITS = {"CLARABEL": "time_limit", "SCS": "time_limit_secs"}


@dataclass(frozen=True)
class Cvxpy(ConvexRoute):
    """The problem as cvxpy states it, ``f(X) + lam * normNuc(X)``.

    Nuclear norms become semidefinite cones of size m + n: Clarabel needs seconds at 40 x 40 and about a minute at
    60 x 60. The solver's status is reported and its accuracy measured by our own gap.

    The solver gets the problem in units of its own: its tolerances and its presolve know a 1, and
    data of size 1e8 were infeasible to it.

    Parameters
    ----------
    solver : str, optional
        ``"CLARABEL"`` or ``"SCS"``; by default chosen by size.
    """

    solver: str | None = None

    name = "cvxpy"
    summary = "Clarabel (small) or SCS through cvxpy; a witness, slow beyond 40 x 40"

    def refusal(self, problem: Problem) -> str | None:
        """Return why cvxpy cannot be used, or None if it can."""
        reason = super().refusal(problem)
        if reason is None:
            import cvxpy

            try:
                stated = problem.objective.cvxpy_expression(cvxpy.Variable(problem.shape))
            except NotImplementedError as error:
                return str(error)
            if not isinstance(stated, cvxpy.Expression):
                reason = f"got {shown(stated)}"
            elif not (stated.is_scalar() and stated.is_convex()):
                reason = f"got one of shape {stated.shape} and {stated.curvature.lower()} curvature"
            if reason is not None:
                where = f"{problem.objective.label}.cvxpy_expression"
                reason = f"{where}: expected a scalar expression that cvxpy knows to be convex, {reason}"
        return reason

    def run(self, problem: Problem, tol: float, report: Report) -> Solution:
        """Return the solver's point, however accurate it is."""
        import cvxpy

        m, n = problem.shape
        solver = self.solver or ("CLARABEL" if m * n <= CLARABEL_LIMIT else "SCS")
        options: dict[str, Any] = {}
        if solver == "SCS":
            options = {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 50_000}
        elif solver == "CLARABEL":
            options = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
        if solver in TIME_LIMITS and seconds_left() < math.inf:
            options[TIME_LIMITS[solver]] = seconds_left()
        with warnings.catch_warnings():
            # "Solution may be inaccurate": the accuracy is measured by our own gap.
            warnings.simplefilter("ignore", UserWarning)
            try:
                task, found = _in_units(problem, solver, options)
            except cvxpy.SolverError as error:
                raise RuntimeError(f"cvxpy with {solver} found no usable point: {error}") from error
        if task.status not in USABLE or found is None or not np.isfinite(found).all():
            if is_over():
                raise OutOfTime
            raise RuntimeError(f"cvxpy with {solver} ended with status {task.status!r} and no usable point")
        P, s, Qt = np.linalg.svd(found, full_matrices=False)
        A, B = balanced(P, s, Qt.T)
        return Solution(A, B, int(task.solver_stats.num_iters or 0), f"{solver}: {task.status}")


def _in_units(problem: Problem, solver: str, options: dict[str, Any]) -> tuple[Any, Array | None]:
    """Return the problem that was solved in units of its own, and ``X`` in the units given, if there is one.

    What cvxpy makes of the problem, ``min x^T P x/2 + c^T x`` with ``b - A x`` in a cone, stays the same for ``x`` in
    units of ``b`` (``b/t``, ``t^2 P``, ``t c``), as a cone has no units; ``t`` is the size of ``b``, which holds the
    data, up to a factor of 10, so that cones with a 1 in them keep it for ordinary data. The update may be of another
    size, so what is asked for is a multiple of it of size ``t``; values are in units of ``t`` times the slope of ``F``.
    """
    import cvxpy

    def stated(share: float) -> tuple[Any, Any, tuple[Any, Any, Any]]:
        X = cvxpy.Variable(problem.shape)
        penalty = (share * problem.lam_effective) * cvxpy.normNuc(X)
        task = cvxpy.Problem(cvxpy.Minimize(problem.objective.cvxpy_expression(share * X) + penalty))
        return X, task, task.get_problem_data(solver, solver_opts=options)

    largest = float(np.abs(stated(1.0)[2][0]["b"]).max())
    t = 100.0 ** round(0.5 * math.log10(largest)) if 0.0 < largest < math.inf else 1.0
    slope = problem.units.slope
    share = (problem.scale * natural_size(problem, slope) ** 2 or t) / t
    X, task, (data, chain, inverse) = stated(share)
    weight = share * slope / problem.scale
    if data.get("P") is not None:
        data["P"] = data["P"] * (t / weight)
    data["c"], data["b"] = data["c"] / weight, data["b"] / t
    task.unpack_results(chain.solve_via_data(task, data, solver_opts=options), chain, inverse)
    return task, None if X.value is None else np.asarray(X.value, dtype=np.float64) * t * share
