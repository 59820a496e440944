"""Entrywise Huber loss of the distance to a matrix, for data with gross errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.validate import Array, as_number, as_own_array
from ._description import Description, every_entry
from .base import Objective


class Huber(Objective):
    """Huber loss ``f(X) = sum_ij h(X_ij - M_ij)``: quadratic up to ``delta``, linear beyond.

    ``h(t) = t^2/2`` for ``|t| <= delta`` and ``delta |t| - delta^2/2`` otherwise (P. J. Huber, "Robust estimation
    of a location parameter", Annals of Mathematical Statistics 35, 1964). The gradient is 1-Lipschitz; ``h`` is
    twice differentiable except at ``|t| = delta``, where the inner second derivative 1 is used.

    Parameters
    ----------
    M : array_like of shape (m, n)
        The matrix to approximate.
    delta : float
        Where the loss turns linear, > 0, in the unit of ``M``.

    Raises
    ------
    ValueError, TypeError
        If ``M`` is not a non-empty finite real matrix or ``delta`` is not a positive number.
    """

    name = "huber"
    dtypes = ("float64", "float32")
    summary = "entrywise Huber loss of X - M, for data with gross errors"
    convex = True
    smoothness = 1.0
    lower_bound = 0.0

    def __init__(self, M: ArrayLike, delta: float = 1.0) -> None:
        self.M = as_own_array(M, "M", 2)
        self.delta = as_number(delta, "delta", 0.0, open_low=True)
        self.shape = (self.M.shape[0], self.M.shape[1])
        self.dtype = self.M.dtype

    @classmethod
    def example(cls, rng: np.random.Generator, dtype: Any = np.float64) -> Huber:
        """Return a 6 x 4 Gaussian matrix with the loss linear beyond 0.7."""
        return cls(rng.standard_normal((6, 4)).astype(dtype), 0.7)

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and ``X - M`` clipped to ``[-delta, delta]``."""
        E = X - self.M
        G = np.clip(E, -self.delta, self.delta)
        # With g = clip(t): g t - g^2/2 is t^2/2 inside and delta |t| - delta^2/2 outside.
        return float(np.vdot(G, E)) - 0.5 * float(np.vdot(G, G)), G

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``D`` where ``|X - M| <= delta`` and 0 elsewhere."""
        return np.where(np.abs(X - self.M) <= self.delta, D, 0.0)

    def merged(self, update: Array) -> Objective:
        """Return the Huber loss of ``M - update``."""
        return Huber((self.M - update).astype(self.dtype, copy=False), self.delta)

    def in_float64(self) -> Huber:
        """Return the Huber loss of ``M`` in float64."""
        if self.dtype == np.float64:
            return self
        return Huber(self.M.astype(np.float64), self.delta)

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``sum huber(X - M) / 2`` (cvxpy's huber has no factor 1/2)."""
        import cvxpy

        return 0.5 * cvxpy.sum(cvxpy.huber(X - self.M, self.delta))  # type: ignore[arg-type]

    def description(self) -> Description:
        """Return Huber's loss of the entries of ``X - M``."""
        M = self.M.astype(np.float64).ravel()
        return Description(every_entry(self.shape), "huber", shifts=(M,), delta=self.delta)

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the share of entries further than ``delta`` from ``M``."""
        return {"outlier_share": float(np.mean(np.abs(X - self.M) > self.delta))}
