"""Optima that have a formula, as the objective states it: denoising (any ``lam``), regression (``lam = 0``)."""

from __future__ import annotations

from .._support.validate import Array
from ..problem import Problem
from ..problem.pairs import Pairs
from .base import ConvexRoute, Report, Solution


class ClosedForm(ConvexRoute):
    """Closed forms of the optimum (main paper, section 12); for ``lam = 0`` of that over ``rank <= r``.

    Denoising: the soft-thresholded SVD of ``M`` (proofs/denoising_landscape). Linear fine-tuning with ``lam = 0``:
    reduced-rank regression (proofs/reduced_rank_regression). Another objective states its own by ``minimizer``.
    """

    name = "closed_form"
    summary = "denoising for any lam, reduced-rank regression for lam = 0"

    def refusal(self, problem: Problem) -> str | None:
        """Return why there is no closed form, or None if there is one."""
        if _minimizer(problem) is None:
            return f"no closed form is known for {problem.objective.label} with lam = {problem.lam:g}"
        return None

    def started(self, factors: Pairs) -> ClosedForm:
        """Return this route: a formula needs no start."""
        return self

    def run(self, problem: Problem, tol: float, report: Report) -> Solution:
        """Return the optimum."""
        found = _minimizer(problem)
        assert found is not None
        return Solution(*found, nit=0)


def _minimizer(problem: Problem) -> tuple[Array, Array] | None:
    return problem.objective.minimizer(problem.lam_effective, problem.rank)
