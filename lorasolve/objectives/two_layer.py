"""A two-layer network whose first layer is adapted: the non-convex loss of the generic regime."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.validate import Array, as_float_array, as_own_array, as_shape
from ._activations import activation as find_activation
from ._linear_model import LinearModel


class TwoLayer(LinearModel):
    """Squared error of a two-layer network: ``f(X) = ||V phi((W0 + X) Z) - Y||_F^2 / (2N)``.

    Not convex in general, and its curvature has no bound over all ``X`` in general, so ``convex`` and
    ``smoothness`` are None: what rests on them (the convex certificate, a step derived from the smoothness
    constant) says so instead of guessing.

    Parameters
    ----------
    W0 : array_like of shape (m, n)
        Frozen first layer, m hidden units.
    V : array_like of shape (p, m)
        Second layer.
    Z : array_like of shape (n, N)
        Inputs, one sample per column.
    Y : array_like of shape (p, N)
        Responses.
    activation : {"tanh", "softplus", "gelu", "relu"}
        ``phi``; gelu is the exact ``h Phi(h)`` with the normal distribution function. relu has no second
        derivative at 0, so it gives values and gradients only.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match, empty or non-finite data, an unknown activation, and Hessian products
        with relu.
    """

    name = "two_layer"
    summary = "||V phi((W0 + X) Z) - Y||^2 / 2N, a non-convex network loss"
    lower_bound = 0.0

    def __init__(self, W0: ArrayLike, V: ArrayLike, Z: ArrayLike, Y: ArrayLike, activation: str = "tanh") -> None:
        self.activation = find_activation(activation)
        self.has_hessian = self.activation.twice_differentiable
        self.V = as_own_array(V, "V", 2)
        super().__init__(W0, Z, Y)
        if self.V.shape[1] != self.shape[0]:
            raise ValueError(f"V: expected shape (p, {self.shape[0]}), one column per row of W0, got {self.V.shape}")
        self.V = self.V.astype(self.dtype, copy=False)

    @classmethod
    def example(cls, rng: np.random.Generator, dtype: Any = np.float64) -> TwoLayer:
        """Return three inputs, four hidden units, two responses, fifteen samples, tanh."""
        W0, V, Z, Y = (rng.standard_normal(shape).astype(dtype) for shape in ((4, 3), (2, 4), (3, 15), (2, 15)))
        return cls(W0, V, Z, Y)

    def check_targets(self, targets: ArrayLike, n_samples: int) -> Array:
        """Return the responses, of shape (p, N)."""
        return as_shape(as_float_array(targets, "Y", 2, self.dtype), "Y", (self.V.shape[0], n_samples))

    def in_float64(self) -> TwoLayer:
        """Return the same network and samples in float64."""
        other = super().in_float64()
        other.V = self.V.astype(np.float64, copy=False)
        return other

    def loss(self, outputs: Array) -> float:
        """Return the squared error and overwrite the hidden inputs with ``phi' * (V^T E)/N``."""
        E = self.V @ self.activation.value(outputs) - self.targets
        np.multiply(self.activation.first(outputs), self.V.T @ (E / self.n_samples), out=outputs)
        return 0.5 * float(np.vdot(E, E)) / self.n_samples

    def curvature(self, outputs: Array) -> tuple[Array, Callable[[Array], Array]]:
        """Return the derivative ``R`` and ``phi'' * (V^T E) * S/N + phi' * (V^T V (phi' * S))/N``."""
        first, second = self.activation.first(outputs), self.activation.second(outputs)
        E = self.V @ self.activation.value(outputs) - self.targets
        back = self.V.T @ (E / self.n_samples)
        bent = second * back
        return first * back, lambda S: bent * S + first * (self.V.T @ (self.V @ (first * S) / self.n_samples))

    def predict(self, X: Array) -> Array:
        """Return the network's responses (p, N) at the update ``X``."""
        return self.V @ self.activation.value(self.outputs(X))

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the root mean squared error over all responses."""
        E = self.predict(X) - self.targets
        return {"rmse": math.sqrt(float(np.vdot(E, E)) / E.size)}
