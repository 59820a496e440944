"""The plain twin of a loss, which answers at the level of factors from dense matrices alone."""

from __future__ import annotations

from .._support.validate import Array
from .base import Objective, Wrapper


class DenseReference(Wrapper, Objective):
    """The plain twin of an objective: every factor-level answer derived from ``value_and_grad(X)``.

    Used by ``engine="interpreted"`` and by the tests, so that each fast path is compared with a second route.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.shape = objective.shape
        self.dtype = objective.dtype
        self.W0 = objective.W0
        self.value_and_grad = objective.value_and_grad  # type: ignore[method-assign]
        self.hessian_product = objective.hessian_product  # type: ignore[method-assign]
        self.minimize_over_A = objective.minimize_over_A  # type: ignore[method-assign]
        self.minimize_over_B = objective.minimize_over_B  # type: ignore[method-assign]
        self.minimizer = objective.minimizer  # type: ignore[method-assign]
        self.least_values = objective.least_values  # type: ignore[method-assign]
        self.domain = objective.domain  # type: ignore[method-assign]
        self.conjugate = objective.conjugate  # type: ignore[method-assign]
        self.rounding_noise = objective.rounding_noise  # type: ignore[method-assign]
        self.cvxpy_expression = objective.cvxpy_expression  # type: ignore[method-assign]
        self.description = objective.description  # type: ignore[method-assign]
        self.metrics = objective.metrics  # type: ignore[method-assign]

    def sample_batch(self, index: Array) -> Objective:
        """Return the plain twin of the batch."""
        return DenseReference(self.objective.sample_batch(index))

    def batch_refusal(self) -> str | None:
        """Return that of the objective."""
        return self.objective.batch_refusal()

    def merged(self, update: Array) -> Objective:
        """Return the plain twin of the merged objective."""
        return DenseReference(self.objective.merged(update))

    def in_float64(self) -> Objective:
        """Return the plain twin of the objective in float64."""
        return DenseReference(self.objective.in_float64())
