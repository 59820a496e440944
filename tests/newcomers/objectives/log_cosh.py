"""Robust approximation: ``f(X) = sum log cosh(X - M)``."""

import numpy as np

from lorasolve.objectives import Objective


class LogCosh(Objective):
    """Quadratic near the target and linear far from it: ``f(X) = sum log cosh(X_ij - M_ij)``.

    Parameters
    ----------
    M : array_like of shape (m, n)
        The target.
    """

    name = "log_cosh"
    summary = "sum log cosh(X - M), a smooth robust loss"
    convex = True
    smoothness = 1.0
    lower_bound = 0.0

    def __init__(self, M):
        self.M = np.asarray(M, dtype=np.float64)
        self.shape = self.M.shape

    @classmethod
    def example(cls, rng):
        """Return a small random instance."""
        return cls(rng.standard_normal((5, 4)))

    def value_and_grad(self, X):
        """Return ``f(X)`` and ``tanh(X - M)``."""
        E = X - self.M
        return float(np.sum(np.logaddexp(E, -E) - np.log(2.0))), np.tanh(E)

    def cvxpy_expression(self, X):
        """Return ``f(X)`` through the logistic function: ``log cosh z = log(1 + e^{2z}) - z - log 2``."""
        import cvxpy

        E = X - self.M
        return cvxpy.sum(cvxpy.logistic(2.0 * E) - E) - self.M.size * np.log(2.0)
