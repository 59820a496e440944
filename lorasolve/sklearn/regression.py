"""Regression of several targets with a coefficient matrix of low rank."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from .._support.validate import Array, as_flag, as_integer, as_number, refuse_masked, shown
from ..certificates import certify
from ..convex import ConvexResult, solve_convex
from ..objectives import LinearFineTuning
from ..problem import Problem
from ._interruptions import end_if_interrupted


class _LowRankRegression(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """What both regressions share: centring, the certificate, predictions ``X coef^T + intercept``."""

    fit_intercept: bool

    def _prepared(self, X: Any, y: Any) -> tuple[LinearFineTuning, Array, Array, bool]:
        """Return the loss on centred data, both means, and whether there is one target without an axis."""
        refuse_masked(X, "X")
        refuse_masked(y, "y")
        if hasattr(y, "tocsr"):  # which scikit-learn lets pass
            raise TypeError(f"y: expected a dense array, got {shown(y)}")
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        single = y.ndim == 1
        Y = y.reshape(len(y), -1).astype(float)
        x_mean = X.mean(axis=0) if as_flag(self.fit_intercept, "fit_intercept") else np.zeros(X.shape[1])
        y_mean = Y.mean(axis=0) if self.fit_intercept else np.zeros(Y.shape[1])
        W0 = np.zeros((Y.shape[1], X.shape[1]))
        return LinearFineTuning(W0, (X - x_mean).T, (Y - y_mean).T), x_mean, y_mean, single

    def _keep(self, problem: Problem, found: ConvexResult, x_mean: Array, y_mean: Array, single: bool) -> None:
        """Store what was found."""
        self.certificate_ = certify(problem, (found.A, found.B))
        self.dual_gap_ = self.certificate_.gap
        self.rank_ = self.certificate_.rank
        self.n_iter_ = max(found.nit, 1)
        coef = found.A @ found.B.T
        intercept = y_mean - coef @ x_mean
        self.coef_ = coef[0] if single else coef
        self.intercept_ = float(intercept[0]) if single else intercept

    def predict(self, X: Any) -> Array:
        """Return ``X coef_^T + intercept_``, of shape (N,) or (N, n_targets) as the targets had it."""
        check_is_fitted(self)
        refuse_masked(X, "X")
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return X @ self.coef_.T + self.intercept_


class NuclearNormRegression(_LowRankRegression):
    """Least squares with a nuclear-norm penalty, solved to a certified gap.

    ``min ||Y - X W^T - b||_F^2 / (2N) + lam ||W||_*``.

    Parameters
    ----------
    lam : float, optional
        Weight of the nuclear norm, > 0; by default a tenth of the least one at which ``W = 0`` is optimal.
    fit_intercept : bool
        Whether to centre the data and return an intercept.
    tol : float
        Certified relative gap to reach.

    Attributes
    ----------
    coef_ : ndarray of shape (n_targets, n_features), or (n_features,) for one target
        ``W``.
    intercept_ : ndarray of shape (n_targets,) or float
        ``b``.
    dual_gap_ : float
        Proven bound on the distance of the objective from the optimum.
    certificate_ : Certificate
        All that is known about the fit.
    rank_, n_iter_ : int
        Rank of ``W``, and outer iterations.
    lam_ : float
        The weight used.
    """

    def __init__(self, lam: float | None = None, *, fit_intercept: bool = True, tol: float = 1e-6) -> None:
        self.lam = lam
        self.fit_intercept = fit_intercept
        self.tol = tol

    def fit(self, X: Any, y: Any) -> NuclearNormRegression:
        """Fit the coefficients to ``X`` of shape (N, n_features) and ``y`` of shape (N,) or (N, n_targets).

        Where ``tol`` was not reached there is a ``ConvergenceWarning``.
        """
        loss, x_mean, y_mean, single = self._prepared(X, y)
        least = Problem(loss, 1, 1.0).critical_lam()
        self.lam_ = (0.1 * least or 1.0) if self.lam is None else as_number(self.lam, "lam", 0.0, open_low=True)
        problem = Problem(loss, 1, self.lam_)
        found = solve_convex(problem, tol=self.tol)
        end_if_interrupted(found)
        if not found.success:
            warnings.warn(found.message, ConvergenceWarning, stacklevel=2)
        self._keep(problem, found, x_mean, y_mean, single)
        return self


class ReducedRankRegression(_LowRankRegression):
    """Least squares over coefficient matrices of a given rank: a closed form, and its certificate.

    ``min ||Y - X W^T - b||_F^2 / (2N)`` over ``rank W <= rank`` (``proofs/reduced_rank_regression``).

    Parameters
    ----------
    rank : int
        Largest rank; what exceeds the smaller side of ``W`` counts as that side.
    fit_intercept : bool
        Whether to centre the data and return an intercept.

    Attributes
    ----------
    coef_, intercept_, dual_gap_, certificate_, rank_, n_iter_
        As of :class:`NuclearNormRegression`.
    """

    def __init__(self, rank: int = 1, *, fit_intercept: bool = True) -> None:
        self.rank = rank
        self.fit_intercept = fit_intercept

    def fit(self, X: Any, y: Any) -> ReducedRankRegression:
        """Fit the coefficients to ``X`` of shape (N, n_features) and ``y`` of shape (N,) or (N, n_targets)."""
        loss, x_mean, y_mean, single = self._prepared(X, y)
        problem = Problem(loss, min(as_integer(self.rank, "rank", 1), *loss.shape), 0.0)
        found = solve_convex(problem, "closed_form")
        end_if_interrupted(found)
        self._keep(problem, found, x_mean, y_mean, single)
        return self
