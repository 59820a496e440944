"""Multi-output logistic regression with labels -1 and +1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.validate import Array, as_signs
from ._description import Description, Matrix
from ._linear_model import LinearModel


class Logistic(LinearModel):
    """Logistic loss of ``m`` yes-or-no outputs: ``f(X) = (1/N) sum_ci log(1 + exp(-y_ci s_ci))``, ``s = (W0 + X) Z``.

    A mean over the N samples of the sum over the m outputs. ``smoothness`` is ``||Z||_2^2 / (4N)``: the second
    derivative of ``log(1 + exp(-t))`` is at most 1/4.

    Parameters
    ----------
    W0 : array_like of shape (m, n)
        Frozen weight: one row per output.
    Z : array_like of shape (n, N)
        Features, one sample per column.
    labels : array_like of shape (m, N)
        Each -1 or +1.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match, empty or non-finite data, labels other than -1 and +1.
    """

    name = "logistic"
    summary = "multi-output logistic loss, labels -1 and +1"
    convex = True
    lower_bound = 0.0
    loss_smoothness = 0.25

    def __init__(self, W0: ArrayLike, Z: ArrayLike, labels: ArrayLike) -> None:
        super().__init__(W0, Z, labels)

    @classmethod
    def example(cls, rng: np.random.Generator, dtype: Any = np.float64) -> Logistic:
        """Return three outputs, five features, twenty samples."""
        W0 = rng.standard_normal((3, 5)).astype(dtype)
        return cls(W0, rng.standard_normal((5, 20)).astype(dtype), rng.choice([-1, 1], (3, 20)))

    def check_targets(self, targets: ArrayLike, n_samples: int) -> Array:
        """Return the labels as numbers of shape (m, N), all -1 or +1."""
        return as_signs(targets, "labels", (self.shape[0], n_samples), self.dtype)

    def loss(self, outputs: Array) -> float:
        """Return the loss and overwrite the outputs with ``-y sigmoid(-y s)/N``."""
        outputs *= -self.targets
        decay = np.exp(-np.abs(outputs))
        f = float((np.maximum(outputs, 0.0) + np.log1p(decay)).sum()) / self.n_samples
        np.divide(np.where(outputs >= 0.0, 1.0, decay), self.n_samples * (1.0 + decay), out=outputs)
        outputs *= -self.targets
        return f

    def curvature(self, outputs: Array) -> tuple[Array, Callable[[Array], Array]]:
        """Return the derivative and ``sigmoid(s)(1 - sigmoid(s)) S / N``."""
        decay = np.exp(-np.abs(outputs))
        slope = decay / (self.n_samples * (1.0 + decay) ** 2)
        self.loss(outputs)
        return outputs, lambda S: S * slope

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``sum logistic(-y s) / N``."""
        import cvxpy

        return cvxpy.sum(cvxpy.logistic(cvxpy.multiply(-self.targets, (self.W0 + X) @ self.Z))) / self.n_samples

    def description(self) -> Description:
        """Return the losses of ``(W0 + X) Z``."""
        W0, Z = self.W0.astype(np.float64), self.Z.astype(np.float64)
        return Description(Matrix(Z), "logistic", self.n_samples, X0=W0, labels=self.targets.ravel())

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the share of outputs with the sign of their label."""
        return {"accuracy": float(np.mean(self.outputs(X) * self.targets > 0.0))}
