"""Rank-one measurements ``M_i = a_i b_i^T``, never multiplied out."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.validate import Array, as_own_array
from ..dense import top_eigenvalue
from ..linear_map import LinearMap
from ._description import Outer
from ._measurements import GRAM_LIMIT, Measurements, gram_norm


class RankOneMeasurements(Measurements):
    """``M_i = a_i b_i^T``: ``<M_i, A B^T> = <A^T a_i, B^T b_i>``."""

    kind = "rank-one"

    def __init__(self, a: Array, b: Array) -> None:
        self.a, self.b = a, b
        self.count = a.shape[0]
        self.shape = (a.shape[1], b.shape[1])
        self.dtype = a.dtype

    def astype(self, dtype: Any) -> RankOneMeasurements:
        return RankOneMeasurements(self.a.astype(dtype), self.b.astype(dtype))

    def take(self, index: Array) -> RankOneMeasurements:
        return RankOneMeasurements(self.a[index], self.b[index])

    def apply(self, X: Array) -> Array:
        return np.einsum("ij,ij->i", self.a @ X, self.b)

    def adjoint(self, w: Array) -> Array:
        return (self.a * w[:, None]).T @ self.b

    def apply_factors(self, A: Array, B: Array) -> Array:
        return np.einsum("ij,ij->i", self.a @ A, self.b @ B)

    def combination(self, w: Array) -> LinearMap:
        column = w[:, None]
        return LinearMap(
            self.shape,
            lambda V: self.a.T @ (column * (self.b @ V)),
            lambda U: self.b.T @ (column * (self.a @ U)),
        )

    def factor_oracle(self, A: Array, B: Array, y: Array, GB: Array, GtA: Array) -> float:
        aA, bB = self.a @ A, self.b @ B
        residual = np.einsum("ij,ij->i", aA, bB) - y
        weight = (residual / self.count)[:, None]
        np.matmul(self.a.T, weight * bB, out=GB)
        np.matmul(self.b.T, weight * aA, out=GtA)
        return 0.5 * float(np.vdot(residual, residual)) / self.count

    def design_A(self, B: Array) -> Array:
        return (self.a[:, :, None] * (self.b @ B)[:, None, :]).reshape(self.count, -1)

    def design_B(self, A: Array) -> Array:
        return (self.b[:, :, None] * (self.a @ A)[:, None, :]).reshape(self.count, -1)

    def squared_norm(self) -> float:
        """The largest eigenvalue of ``(a a^T) * (b b^T)``, or Schur's bound ``max_i ||a_i||^2 ||b||_2^2``."""
        a, b = self.a.astype(np.float64, copy=False), self.b.astype(np.float64, copy=False)
        if self.count <= GRAM_LIMIT:
            gram = a @ a.T
            gram *= b @ b.T
            return top_eigenvalue(gram)
        lengths_a, lengths_b = (float(np.einsum("ij,ij->i", c, c).max()) for c in (a, b))
        norm_a, norm_b = (float(np.linalg.norm(c.T @ c, 2)) for c in (a, b))
        return min(lengths_a * norm_b, lengths_b * norm_a)

    def rank_one_squared_norm(self) -> float | None:
        """The less of ``||sum_i ||b_i||^2 a_i a_i^T||_2`` and ``||sum_i ||a_i||^2 b_i b_i^T||_2``."""
        a, b = self.a.astype(np.float64, copy=False), self.b.astype(np.float64, copy=False)
        weighted = (c * np.linalg.norm(d, axis=1, keepdims=True) for c, d in ((a, b), (b, a)))
        bounds = [gram_norm(c.T @ c) for c in weighted]
        return None if None in bounds else min(bounds)  # type: ignore[type-var]

    def description(self) -> Outer:
        return Outer(self.a, self.b)

    def cvxpy_apply(self, X: Any) -> Any:
        import cvxpy

        return cvxpy.sum(cvxpy.multiply(self.a @ X, self.b), axis=1)


def as_rank_one(given: tuple[Any, ...]) -> RankOneMeasurements:
    """Check a pair ``(a, b)``."""
    if len(given) != 2:
        raise ValueError(f"measurements: a tuple must be the pair (a, b), got {len(given)} parts")
    a, b = as_own_array(given[0], "measurements[0]", 2), as_own_array(given[1], "measurements[1]", 2)
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"measurements: the vectors of a pair must be equally many, got {a.shape[0]} and {b.shape[0]}")
    dtype = np.result_type(a, b)
    return RankOneMeasurements(a.astype(dtype, copy=False), b.astype(dtype, copy=False))
