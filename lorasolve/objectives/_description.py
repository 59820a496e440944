"""What a loss is made of, as plain data: the form in which it travels to other programs.

    f(X) = (1/divide_by) sum loss(map(X0 + X) - shifts)

with a linear map of the entries of ``X`` to outputs and one of four losses of outputs. Certificates that are checked
without this package and solvers that read files are written from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .._support.validate import Array


@dataclass(frozen=True)
class Entries:
    """Output ``output[k]`` has the coefficient ``values[k]`` at entry ``entry[k]`` of ``X``, counted row by row."""

    outputs: int
    output: Array
    entry: Array
    values: Array

    def apply(self, X: Array) -> Array:
        """Return the outputs (N,)."""
        return np.bincount(self.output, self.values * X.ravel()[self.entry], self.outputs)

    def adjoint(self, d: Array, shape: tuple[int, int]) -> Array:
        """Return the sum of the outputs' coefficients, weighted by ``d`` (N,)."""
        return np.bincount(self.entry, self.values * d[self.output], shape[0] * shape[1]).reshape(shape)


@dataclass(frozen=True)
class Matrix:
    """The outputs ``X Z`` row by row, for ``Z`` of shape (n, N); or ``vec(X)^T Z``, for ``Z`` of shape (m n, N)."""

    Z: Array

    def apply(self, X: Array) -> Array:
        """Return the outputs (m N,) or (N,)."""
        return (X.reshape(-1, len(self.Z)) @ self.Z).ravel()

    def adjoint(self, d: Array, shape: tuple[int, int]) -> Array:
        """Return the sum of the outputs' coefficients, weighted by ``d``."""
        return (d.reshape(-1, self.Z.shape[1]) @ self.Z.T).reshape(shape)


@dataclass(frozen=True)
class Outer:
    """The outputs ``a_i^T X b_i`` for the rows of ``a`` (N, m) and ``b`` (N, n)."""

    a: Array
    b: Array

    def apply(self, X: Array) -> Array:
        """Return the outputs (N,)."""
        return np.einsum("ij,ij->i", self.a @ X, self.b)

    def adjoint(self, d: Array, shape: tuple[int, int]) -> Array:
        """Return ``sum_i d_i a_i b_i^T``."""
        return (self.a * d[:, None]).T @ self.b


@dataclass(frozen=True)
class Description:
    """A loss as data; all numbers as they are stored, in float64.

    Attributes
    ----------
    map : Entries, Matrix or Outer
        The linear map, exact in its numbers.
    loss : {"square", "huber", "softmax", "logistic"}
        ``t^2/2``; Huber's; the cross-entropy of the columns of the outputs as an array of one row per class; or
        ``log(1 + exp(-label t))``.
    divide_by : int
        The number that the sum is divided by.
    shifts : tuple of ndarray
        What is subtracted from the outputs, each of their size.
    X0 : ndarray or None
        What is added to ``X``.
    labels : ndarray or None
        For softmax a class for each sample, for logistic -1 or 1 for each output.
    delta : float or None
        Where Huber's loss turns linear.
    """

    map: Entries | Matrix | Outer
    loss: Literal["square", "huber", "softmax", "logistic"]
    divide_by: int = 1
    shifts: tuple[Array, ...] = ()
    X0: Array | None = None
    labels: Array | None = None
    delta: float | None = None

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and its gradient (m, n), from nothing but the data."""
        z = self.map.apply(X if self.X0 is None else self.X0 + X)
        for shift in self.shifts:
            z = z - shift
        value, slope = _LOSSES[self.loss](self, z)
        return value / self.divide_by, self.map.adjoint(slope, X.shape) / self.divide_by


def _square(of: Description, z: Array) -> tuple[float, Array]:
    return 0.5 * float(z @ z), z


def _huber(of: Description, z: Array) -> tuple[float, Array]:
    slope = np.clip(z, -of.delta, of.delta)  # type: ignore[operator]
    return float(slope @ (z - 0.5 * slope)), slope


def _softmax(of: Description, z: Array) -> tuple[float, Array]:
    logits, column = z.reshape(-1, of.labels.size), np.arange(of.labels.size)  # type: ignore[union-attr]
    logits = logits - logits.max(axis=0)
    slope = np.exp(logits)
    total = slope.sum(axis=0)
    slope /= total
    slope[of.labels, column] -= 1.0
    return float((np.log(total) - logits[of.labels, column]).sum()), slope.ravel()


def _logistic(of: Description, z: Array) -> tuple[float, Array]:
    margin = of.labels * z
    # 1/(1 + exp(margin)) by the function that cannot overflow.
    return float(np.logaddexp(0.0, -margin).sum()), -of.labels * np.exp(-np.logaddexp(0.0, margin))  # type: ignore


_LOSSES: dict[str, Callable[[Description, Array], tuple[float, Array]]] = {
    "square": _square, "huber": _huber, "softmax": _softmax, "logistic": _logistic
}  # fmt: skip


def every_entry(shape: tuple[int, int]) -> Entries:
    """Return the map of ``X`` to its entries, row by row."""
    every = np.arange(shape[0] * shape[1])
    return Entries(every.size, every, every, np.ones(every.size))
