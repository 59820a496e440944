"""The linearized (NTK) regime: a convex loss of outputs that are linear in the update, ``z_i = z0_i + <G_i, X>``."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.validate import (
    Array,
    as_choice,
    as_float_array,
    as_index_array,
    as_integer,
    as_own_array,
    as_shape,
    as_signs,
)
from ._dense_measurements import DenseMeasurements
from ._description import Description, Matrix
from ._output_losses import LOSSES, MOST_CURVED, Loss, curvature, sum_and_slope
from ._sketch import changed_data
from .base import Objective


class NTK(Objective):
    """A network linearized at its frozen weight: ``f(X) = (1/N) sum_i loss(z_i, y_i)``, ``z_ik = z0_ik + <G_ik, X>``.

    Parameters
    ----------
    features : array_like of shape (N, K, m, n)
        Jacobians ``G_ik`` of output ``k`` at sample ``i`` with respect to the weight.
    targets : array_like
        ``square``: (N, K) numbers; ``logistic``: (N, K) labels -1 or 1; ``softmax``: (N,) classes 0 to K - 1.
    loss : {"square", "logistic", "softmax"}
        ``||z - y||^2/2``, ``sum log(1 + exp(-y z))`` or the cross-entropy, for each sample.
    offset : array_like of shape (N, K), optional
        Outputs ``z0`` of the frozen network; zero by default.

    Notes
    -----
    Source: Jang, Lee, Ryu, "LoRA Training in the NTK Regime has No Spurious Local Minima", arXiv 2402.11867; its
    ``u, v`` are our ``A, B``. With ``KN`` outputs in all, ``f + lam ||.||_*`` has a minimiser of rank ``r`` with
    ``r(r+1)/2 <= KN``, and factors of a rank above that bound have no spurious minima for almost every small PSD
    perturbation (:mod:`lorasolve.papers.lora_ntk`; proofs/lora_ntk). For softmax ``(K-1) N`` counts, because the loss
    does not see a constant added to the outputs of a sample. A minimiser may not exist for ``lam = 0`` (separable
    data). Work per call: ``O(K N m n)``, one matrix-vector product with all features and one with their transpose.
    """

    name = "ntk"
    dtypes = ("float64", "float32")
    summary = "a network linearized at its frozen weight: convex loss of z0 + <G, X>"
    convex = True
    lower_bound = 0.0

    def __init__(
        self, features: ArrayLike, targets: ArrayLike, loss: Loss = "square", offset: ArrayLike | None = None
    ) -> None:
        features = as_float_array(features, "features", 4)
        N, K, m, n = features.shape
        as_choice(loss, "loss", LOSSES)
        self.features = features
        self.dtype = features.dtype
        self.shape = (m, n)
        self.n_samples = N
        self.loss = loss
        self.least_squares = loss == "square"
        self.targets = self._checked(targets).copy()
        start = np.zeros((N, K)) if offset is None else offset
        self.offset = as_shape(as_own_array(start, "offset", 2, self.dtype), "offset", (N, K))
        self._matrix = features.reshape(N * K, m * n)

    def _checked(self, targets: ArrayLike) -> Array:
        N, K = self.features.shape[:2]
        if self.loss == "softmax":
            return as_index_array(targets, "targets", K, N)
        if self.loss == "logistic":
            return as_signs(targets, "targets", (N, K), self.dtype)
        return as_shape(as_float_array(targets, "targets", 2, self.dtype), "targets", (N, K))

    @classmethod
    def example(cls, rng: np.random.Generator, dtype: Any = np.float64) -> NTK:
        """Return ten samples of three classes in a random two-layer network, its hidden weight 4 x 5."""
        return cls.of_network(
            rng.standard_normal((4, 5)).astype(dtype),
            rng.standard_normal((3, 4)).astype(dtype),
            rng.standard_normal((5, 10)).astype(dtype),
            rng.integers(0, 3, 10),
            "softmax",
        )

    @classmethod
    def of_network(cls, W0: ArrayLike, V: ArrayLike, Z: ArrayLike, targets: ArrayLike, loss: Loss = "square") -> NTK:
        """Linearize ``V tanh(W Z)`` in the hidden weight ``W`` at ``W0``.

        Parameters
        ----------
        W0 : array_like of shape (m, n)
            Frozen hidden weight.
        V : array_like of shape (K, m)
            Output weight.
        Z : array_like of shape (n, N)
            Inputs, one sample per column.
        targets, loss
            As for the class.

        Raises
        ------
        ValueError, TypeError
            For arrays that are not finite or do not go together.
        """
        W0, V, Z = as_float_array(W0, "W0", 2), as_float_array(V, "V", 2), as_float_array(Z, "Z", 2)
        hidden = np.tanh(W0 @ as_shape(Z, "Z", (W0.shape[1], Z.shape[1])))
        slope = np.einsum("km,mi->ikm", as_shape(V, "V", (V.shape[0], W0.shape[0])), 1.0 - hidden**2)
        return cls(np.einsum("ikm,ni->ikmn", slope, Z), targets, loss, (V @ hidden).T)

    def outputs(self, X: Array) -> Array:
        """Return ``z`` (N, K)."""
        return self.offset + (self._matrix @ X.ravel()).reshape(self.offset.shape)

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and ``sum w_ik G_ik`` with ``w`` the gradient of the loss in the outputs."""
        z = self.outputs(X.astype(self.dtype, copy=False))
        value, w = sum_and_slope(self.loss, z, self.targets)
        N = z.shape[0]
        return value / N, (w.ravel() @ self._matrix).reshape(self.shape) / N

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``hess f(X)[D]``."""
        dz = (self._matrix @ D.ravel()).reshape(self.offset.shape)
        dz = curvature(self.loss, self.outputs(X), dz)
        return (dz.ravel() @ self._matrix).reshape(self.shape) / len(dz)

    @cached_property
    def smoothness(self) -> float:
        """``c ||features||_2^2 / N`` with ``c`` the largest curvature of the loss: 1, 1/4 or 1/2."""
        return MOST_CURVED[self.loss] * self._measurements.squared_norm() / len(self.offset)

    @cached_property
    def rank_one_smoothness(self) -> float | None:
        """``c`` times a bound of ``sum_ik (u^T G_ik v)^2 / N`` for unit ``u``, ``v``, from matrices of m or n rows."""
        found = self._measurements.rank_one_squared_norm()
        return None if found is None else MOST_CURVED[self.loss] * found / len(self.offset)

    @cached_property
    def _measurements(self) -> DenseMeasurements:
        """The features as linear measurements."""
        return DenseMeasurements(self._matrix.reshape(-1, *self.shape))

    def refuse_changed_samples(self) -> None:
        """Refuse features that were written to since constants were formed of them."""
        if not self._measurements.is_unchanged:
            raise ValueError(changed_data(self.label))

    def sample_batch(self, index: Array) -> Objective:
        """Return the loss of the samples ``index``."""
        index = as_index_array(index, "index", self.n_samples)
        return NTK(self.features[index], self.targets[index], self.loss, self.offset[index])

    def merged(self, update: Array) -> Objective:
        """Return the objective with the outputs of ``update`` in the offset."""
        return NTK(self.features, self.targets, self.loss, self.outputs(update.astype(self.dtype, copy=False)))

    def in_float64(self) -> Objective:
        """Return the same objective in float64."""
        if self.dtype == np.float64:
            return self
        targets = self.targets if self.loss == "softmax" else self.targets.astype(np.float64)
        return NTK(self.features.astype(np.float64), targets, self.loss, self.offset.astype(np.float64))

    def cvxpy_expression(self, X: Any) -> Any:
        """Return the loss as a cvxpy expression."""
        import cvxpy

        N, K = self.offset.shape
        z = self.offset + cvxpy.reshape(self._matrix @ cvxpy.vec(X, order="C"), (N, K), order="C")
        if self.loss == "square":
            return cvxpy.sum_squares(z - self.targets) / (2 * N)
        if self.loss == "logistic":
            return cvxpy.sum(cvxpy.logistic(-cvxpy.multiply(self.targets, z))) / N
        picked = np.eye(K)[self.targets]
        return cvxpy.sum(cvxpy.log_sum_exp(z, axis=1) - cvxpy.sum(cvxpy.multiply(picked, z), axis=1)) / N

    def description(self) -> Description:
        """Return the losses of ``z0 + <G, X>``, one row of outputs per output of the network."""
        N, K = self.offset.shape
        by_output = self.features.astype(np.float64).transpose(1, 0, 2, 3).reshape(K * N, -1)
        shifts = (-self.offset.astype(np.float64).T.ravel(),)
        if self.loss == "square":
            return Description(Matrix(by_output.T), "square", N, (self.targets.astype(np.float64).T.ravel(), *shifts))
        return Description(Matrix(by_output.T), self.loss, N, shifts, labels=self.targets.T.ravel())

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the share of outputs (logistic) or samples (softmax) classified correctly."""
        z = self.outputs(X)
        if self.loss == "softmax":
            return {"accuracy": float(np.mean(z.argmax(axis=1) == self.targets))}
        if self.loss == "logistic":
            return {"accuracy": float(np.mean(self.targets * z > 0.0))}
        return {}

    def scalar_features(self) -> Array:
        """Return matrices (p, m, n) whose products with ``X`` determine ``f``: all, or differences for softmax."""
        N, K, m, n = self.features.shape
        if self.loss != "softmax":
            return self.features.reshape(N * K, m, n)
        as_integer(K, "targets: number of classes", 2)
        return (self.features[:, :-1] - self.features[:, -1:]).reshape(N * (K - 1), m, n)
