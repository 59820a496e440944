"""Optima that have a formula: denoising (any ``lam``) and reduced-rank regression (``lam = 0``)."""

from __future__ import annotations

import numpy as np

from .._validate import Array
from ..linear_map import balanced, factor_svd
from ..objectives.base import Objective
from ..objectives.denoising import Denoising
from ..objectives.linear import LinearFineTuning
from ..problem import Problem
from .base import ConvexRoute, Report, Solution


class ClosedForm(ConvexRoute):
    """Closed forms of the optimum (main paper, section 12); for ``lam = 0`` of that over ``rank <= r``.

    Denoising: the soft-thresholded SVD of ``M`` (proofs/denoising_landscape). Linear fine-tuning with ``lam = 0``:
    reduced-rank regression (proofs/reduced_rank_regression).
    """

    name = "closed_form"
    summary = "denoising for any lam, reduced-rank regression for lam = 0"

    def refusal(self, problem: Problem) -> str | None:
        """Return why there is no closed form, or None if there is one."""
        if optimum(problem) is None:
            return f"no closed form is known for {type(problem.objective).__name__} with lam = {problem.lam:g}"
        return None

    def run(self, problem: Problem, tol: float, report: Report) -> Solution:
        """Return the optimum."""
        found = optimum(problem)
        assert found is not None
        return Solution(*found, nit=0)


def optimum(problem: Problem) -> tuple[Array, Array] | None:
    """Return factors of the optimum (for ``lam = 0`` over ``rank <= r``), or None if no formula is known."""
    objective: Objective = problem.objective
    if isinstance(objective, Denoising):
        P, s, Qt = np.linalg.svd(objective.M.astype(np.float64), full_matrices=False)
        kept = np.maximum(s - problem.lam_effective, 0.0)
        if problem.lam == 0.0:
            kept = kept[: problem.rank]
        r = max(int(np.count_nonzero(kept)), 1)
        return balanced(P[:, :r], kept[:r], Qt[:r].T)
    if isinstance(objective, LinearFineTuning) and problem.lam == 0.0:
        return _reduced_rank_regression(objective, problem.rank)
    return None


def optimal_value(problem: Problem) -> float | None:
    """Return the value of :func:`optimum`, or None if no formula is known."""
    found = optimum(problem)
    if found is None:
        return None
    A, B = found
    return problem.objective.factor_value(A, B) + problem.lam_effective * float(np.vdot(A, A))


def _reduced_rank_regression(objective: LinearFineTuning, rank: int) -> tuple[Array, Array]:
    """Minimise ``||X S^{1/2} - C S^{-1/2}||_F^2`` over ``rank X <= r``: truncate the SVD of ``C S^{-1/2}``.

    Where ``S`` is singular its pseudo-inverse gives the minimiser of least norm (``C`` vanishes on its kernel).
    """
    S, C = objective.S.astype(np.float64), objective.C.astype(np.float64)
    w, Q = np.linalg.eigh(S)
    keep = w > w[-1] * S.shape[0] * np.finfo(np.float64).eps
    inverse_root = (Q[:, keep] / np.sqrt(w[keep])) @ Q[:, keep].T
    P, s, Vt = np.linalg.svd(C @ inverse_root, full_matrices=False)
    A = P[:, :rank] * s[:rank]
    B = inverse_root @ Vt[:rank].T
    return balanced(*factor_svd(A, B))
