"""Losses of a linear model's outputs: ``f(X) = loss((W0 + X) Z)``, a mean over the columns of ``Z``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from .._support.validate import Array, as_float_array, as_frozen_weight, as_index_array
from ..dense import top_eigenvalue
from ..linear_map import LinearMap
from ._sketch import changed_data
from .base import Objective, PairProduct

# Columns of the inputs that are looked at for changes.
COLUMNS = 8

Model = TypeVar("Model", bound="LinearModel")


class LinearModel(Objective):
    """Base class of objectives that see the weight only through the outputs ``(W0 + X) Z`` (m, N).

    A subclass states the loss of the outputs (:meth:`loss`, :meth:`curvature`) and checks its targets
    (:meth:`check_targets`); the three levels of an objective follow from that. In factors the outputs are
    ``W0 Z + A (B^T Z)``: a step costs ``O(N r (m + n))`` plus the loss and forms no m x n matrix.

    Work arrays are kept between calls; a call takes those that it writes to, so that several threads may ask at once.

    Parameters
    ----------
    W0 : array_like of shape (m, n)
        Frozen weight.
    Z : array_like of shape (n, N)
        Inputs, one sample per column.
    targets : array_like
        What the outputs are compared with, samples along the last axis.

    Attributes
    ----------
    W0, Z, targets : ndarray
        As given, checked.
    loss_smoothness : float or None
        A number ``c`` such that the loss of one sample has a ``c``-Lipschitz gradient in that sample's outputs.
    """

    dtypes = ("float64", "float32")
    loss_smoothness: ClassVar[float | None] = None
    # Follows from the rest, or is memory that calls write to: no part of what the objective is (_support/digest.py).
    not_data: ClassVar[tuple[str, ...]] = ("_frozen_outputs", "_squared_norm", "_work_arrays")
    n_samples: int

    def __init__(self, W0: ArrayLike, Z: ArrayLike, targets: ArrayLike) -> None:
        W0 = as_float_array(W0, "W0", 2)
        Z = as_float_array(Z, "Z", 2)
        self.dtype = np.result_type(W0, Z)
        self.W0: Array = as_frozen_weight(W0, self.dtype)
        self.shape = (W0.shape[0], W0.shape[1])
        self._use_samples(self._check_inputs(Z), self.check_targets(targets, Z.shape[1]).copy())

    # ------------------------------------------------------------------ what a subclass states
    def loss(self, outputs: Array) -> float:
        """Return the mean loss at ``outputs`` (m, N) and overwrite them with its derivative (m, N)."""
        raise NotImplementedError

    def curvature(self, outputs: Array) -> tuple[Array, Callable[[Array], Array]]:
        """Return the derivative of the mean loss at ``outputs`` (m, N), which may be overwritten, and its change."""
        raise NotImplementedError

    def check_targets(self, targets: ArrayLike, n_samples: int) -> Array:
        """Return the targets of ``n_samples`` samples as an array, or refuse them with the reason."""
        raise NotImplementedError

    # ------------------------------------------------------------------ samples
    def _check_inputs(self, Z: Array) -> Array:
        n = self.shape[1]
        if Z.shape[0] != n:
            raise ValueError(f"Z: expected shape ({n}, N) to match W0 of shape {self.shape}, got {Z.shape}")
        return Z.astype(self.dtype, copy=False)

    def _use_samples(self, Z: Array, targets: Array) -> None:
        self.Z = Z
        self.targets = targets
        self.n_samples = Z.shape[1]
        self._frozen_outputs: Array = self.W0 @ Z
        self._squared_norm: float | None = None
        # Those that no call is writing to: ``B^T Z`` (r, N) and the outputs (m, N).
        self._work_arrays: list[tuple[Array, Array]] = []

    def refuse_changed_samples(self) -> None:
        """Refuse inputs that were written to since the frozen weight was applied to them; a few columns tell.

        Values would be those of no loss: of the old samples in part, and of the new.
        """
        some = np.random.default_rng().integers(self.n_samples, size=COLUMNS)
        Z, W0 = self.Z[:, some], self.W0
        off = np.abs(W0 @ Z - self._frozen_outputs[:, some])
        if not (off <= float(np.sqrt(np.finfo(self.dtype).eps)) * (np.abs(W0) @ np.abs(Z))).all():
            raise ValueError(changed_data(self.label))

    def with_data(self: Model, Z: ArrayLike, targets: ArrayLike) -> Model:
        """Return the same loss and frozen weight on other samples, for example on a test set.

        Parameters
        ----------
        Z : array_like of shape (n, N')
            Inputs.
        targets : array_like
            Labels or responses, as the constructor takes them.
        """
        Z = self._check_inputs(as_float_array(Z, "Z", 2))
        other = copy.copy(self)
        other._use_samples(Z, self.check_targets(targets, Z.shape[1]).copy())
        return other

    def sample_batch(self, index: ArrayLike) -> Objective:
        """Return the mean over the samples ``index`` (repetitions allowed)."""
        index = as_index_array(index, "index", self.n_samples)
        batch = copy.copy(self)
        batch._use_samples(self.Z[:, index], self.targets[..., index])
        return batch

    def merged(self, update: Array) -> Objective:
        """Return the objective with ``W0 + update`` as the frozen weight."""
        other = copy.copy(self)
        other.W0 = as_frozen_weight(self.W0 + update, self.dtype)
        other._use_samples(self.Z, self.targets)
        return other

    def in_float64(self: Model) -> Model:
        """Return the same loss, frozen weight and samples in float64."""
        if self.dtype == np.float64:
            return self
        other = copy.copy(self)
        other.dtype = np.dtype(np.float64)
        other.W0 = as_frozen_weight(self.W0, np.float64)
        other._use_samples(self.Z.astype(np.float64), other.check_targets(self.targets, self.n_samples))
        return other

    # ------------------------------------------------------------------ facts
    @property
    def smoothness(self) -> float | None:
        """``loss_smoothness ||Z||_2^2 / N``, computed on first use."""
        if self.loss_smoothness is None:
            return None
        if self._squared_norm is None:
            Z = self.Z.astype(np.float64, copy=False)
            gram = Z @ Z.T if Z.shape[0] <= Z.shape[1] else Z.T @ Z
            self._squared_norm = top_eigenvalue(gram)
        return self.loss_smoothness * self._squared_norm / self.n_samples

    # ------------------------------------------------------------------ dense level
    def outputs(self, X: Array) -> Array:
        """Return ``(W0 + X) Z`` (m, N)."""
        return X @ self.Z + self._frozen_outputs

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and its gradient, the derivative in the outputs times ``Z^T``."""
        R = self.outputs(X)
        f = self.loss(R)
        return f, R @ self.Z.T

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``hess f(X)[D]``: the curvature of the loss along the outputs' change ``D Z``."""
        return self.curvature(self.outputs(X))[1](D @ self.Z) @ self.Z.T

    # ------------------------------------------------------------------ factor level
    def factor_oracle(self, A: Array, B: Array, GB: Array, GtA: Array) -> float:
        """Write ``G B`` and ``G^T A`` through the samples, in ``O(N r (m + n))`` plus the loss."""
        inner, R = self._take_work_arrays(A.shape[1])
        np.matmul(B.T, self.Z, out=inner)
        np.matmul(A, inner, out=R)
        R += self._frozen_outputs
        f = self.loss(R)
        np.matmul(R, inner.T, out=GB)
        np.matmul(A.T, R, out=inner)
        np.matmul(self.Z, inner.T, out=GtA)
        self._work_arrays.append((inner, R))
        return f

    def _take_work_arrays(self, rank: int) -> tuple[Array, Array]:
        """Return memory for ``B^T Z`` and the outputs that is the caller's until it is put back."""
        with suppress(IndexError):  # others may take the last one at any time
            inner, outputs = self._work_arrays.pop()
            if len(inner) == rank:
                return inner, outputs
        return np.empty((rank, self.n_samples), dtype=self.dtype), np.empty_like(self._frozen_outputs)

    def factor_value(self, A: Array, B: Array) -> float:
        """Return ``f(A B^T)``."""
        return self.loss(A @ (B.T @ self.Z) + self._frozen_outputs)

    def hessian_at(self, A: Array, B: Array) -> PairProduct:
        """Return the derivative of ``(G B, G^T A)`` along ``(U, V)`` through the samples."""
        BZ = B.T @ self.Z
        R, change = self.curvature(A @ BZ + self._frozen_outputs)

        def product(U: Array, V: Array) -> tuple[Array, Array]:
            VZ = V.T @ self.Z
            H = change(U @ BZ + A @ VZ)
            return H @ BZ.T + R @ VZ.T, self.Z @ (H.T @ A + R.T @ U)

        return product

    def gradient_operator(self, A: Array, B: Array) -> LinearMap:
        """Return ``G``: explicit where that is cheaper than products through the samples."""
        A, B = A.astype(np.float64, copy=False), B.astype(np.float64, copy=False)
        m, n = self.shape
        R = A @ (B.T @ self.Z) + self._frozen_outputs
        self.loss(R)
        if m * n <= (m + n) * self.n_samples:
            return LinearMap.from_dense(R @ self.Z.T)
        return LinearMap((m, n), lambda V: R @ (self.Z.T @ V), lambda U: self.Z @ (R.T @ U))
