"""cvxpy as a witness for small problems: Clarabel up to about 25 x 25, SCS with tight tolerances beyond."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..linear_map import balanced
from ..problem import Problem
from .base import ConvexRoute, Report, Solution

CLARABEL_LIMIT = 25 * 25
USABLE = ("optimal", "optimal_inaccurate")


@dataclass(frozen=True)
class Cvxpy(ConvexRoute):
    """The problem as cvxpy states it, ``f(X) + lam * normNuc(X)``.

    Nuclear norms become semidefinite cones of size m + n: Clarabel needs seconds at 40 x 40 and about a minute at
    60 x 60. The solver's status is reported and its accuracy measured by our own gap.

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
                problem.objective.cvxpy_expression(cvxpy.Variable(problem.shape))
            except NotImplementedError as error:
                reason = str(error)
        return reason

    def run(self, problem: Problem, tol: float, report: Report) -> Solution:
        """Return the solver's point, however accurate it is."""
        import cvxpy

        m, n = problem.shape
        X = cvxpy.Variable((m, n))
        loss = problem.objective.cvxpy_expression(X)
        task = cvxpy.Problem(cvxpy.Minimize(loss + problem.lam_effective * cvxpy.normNuc(X)))
        solver = self.solver or ("CLARABEL" if m * n <= CLARABEL_LIMIT else "SCS")
        options: dict[str, Any] = {}
        if solver == "SCS":
            options = {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 50_000}
        elif solver == "CLARABEL":
            options = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
        with warnings.catch_warnings():
            # "Solution may be inaccurate": the accuracy is measured by our own gap.
            warnings.simplefilter("ignore", UserWarning)
            task.solve(solver=solver, **options)
        if task.status not in USABLE or X.value is None:
            raise RuntimeError(f"cvxpy with {solver} ended with status {task.status!r} and no usable point")
        P, s, Qt = np.linalg.svd(np.asarray(X.value, dtype=np.float64), full_matrices=False)
        A, B = balanced(P, s, Qt.T)
        return Solution(A, B, int(task.solver_stats.num_iters or 0), f"{solver}: {task.status}")
