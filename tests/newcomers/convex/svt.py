"""Singular value thresholding after each gradient step: proximal gradient without acceleration."""

from dataclasses import dataclass

import numpy as np

from lorasolve.convex import ConvexRoute, Solution


@dataclass(frozen=True)
class SVT(ConvexRoute):
    """``X <- S_{lam/beta}(X - G/beta)`` with ``S`` the soft threshold of the singular values.

    Parameters
    ----------
    max_iter : int
        Limit on the iterations.
    """

    max_iter: int = 20_000

    name = "svt"
    summary = "proximal gradient with a constant step (needs the smoothness constant)"

    def refusal(self, problem):
        """Return why this route cannot solve the problem, or None if it can."""
        if problem.objective.facts.smoothness is None:
            return "it needs the smoothness constant of f"
        return super().refusal(problem)

    def run(self, problem, tol, report):
        """Return the point at which the iteration has come to rest."""
        beta, lam = problem.objective.facts.smoothness, problem.lam_effective
        X = np.zeros(problem.shape)
        for nit in range(1, self.max_iter + 1):  # noqa: B007
            P, s, Qt = np.linalg.svd(X - problem.objective.value_and_grad(X)[1] / beta, full_matrices=False)
            s = np.maximum(s - lam / beta, 0.0)
            X, last = (P * s) @ Qt, X
            if np.linalg.norm(X - last) <= 1e-3 * tol * np.linalg.norm(X):
                break
        root = np.sqrt(s)
        return Solution(P * root, Qt.T * root, nit)
