"""Matrices given by their products, and seen from two spaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ._support.validate import Array
from .dense import largest_singular_value


@dataclass(frozen=True)
class LinearMap:
    """An m x n matrix known through products.

    Attributes
    ----------
    shape : tuple of int
        ``(m, n)``.
    matmat : callable
        ``V (n, k) -> G V (m, k)``.
    rmatmat : callable
        ``U (m, k) -> G^T U (n, k)``.
    dense : ndarray of shape (m, n), optional
        The matrix itself, where it exists anyway.
    support : (rows, cols), optional
        Numbers of the rows and columns outside of which the matrix is 0, where that is most of it.
    """

    shape: tuple[int, int]
    matmat: Callable[[Array], Array]
    rmatmat: Callable[[Array], Array]
    dense: Array | None = None
    support: tuple[Array, Array] | None = None

    @classmethod
    def from_dense(cls, G: Array) -> LinearMap:
        """Wrap an explicit matrix."""
        return cls((G.shape[0], G.shape[1]), lambda V: G @ V, lambda U: G.T @ U, G)

    @property
    def T(self) -> LinearMap:
        """The transpose."""
        m, n = self.shape
        support = None if self.support is None else self.support[::-1]
        return LinearMap((n, m), self.rmatmat, self.matmat, None if self.dense is None else self.dense.T, support)

    @property
    def core(self) -> LinearMap:
        """The matrix in its support, which has the same singular values but for zeros."""
        if self.support is None:
            return self
        rows, cols = self.support

        def within(product: Callable[[Array], Array], size: int, into: Array, out: Array) -> Callable[[Array], Array]:
            def restricted(V: Array) -> Array:
                W = np.zeros((size, V.shape[1]), V.dtype)
                W[into] = V
                return product(W)[out]

            return restricted

        m, n = self.shape
        dense = None if self.dense is None else self.dense[np.ix_(rows, cols)]
        return LinearMap(
            (rows.size, cols.size), within(self.matmat, n, cols, rows), within(self.rmatmat, m, rows, cols), dense
        )

    def to_dense(self) -> Array:
        """Return the m x n matrix, forming it through the shorter side if need be."""
        if self.dense is not None:
            return self.dense
        m, n = self.shape
        if n <= m:
            return self.matmat(np.eye(n))
        return self.rmatmat(np.eye(m)).T


@dataclass(frozen=True)
class Outside:
    """A matrix ``G`` seen from two spaces with orthonormal bases ``P`` (m, r) and ``Q`` (n, r).

    Attributes
    ----------
    S : LinearMap
        ``(I - P P^T) G (I - Q Q^T)``, the part in which escape directions live.
    inner : LinearMap
        The same for vectors that are orthogonal to ``Q`` already, or to ``P`` in products with the transpose.
    P, Q : ndarray
        The bases.
    core, left, right : float
        The norms of the other three blocks: of ``P^T G Q``, ``(I - P P^T) G Q`` and ``P^T G (I - Q Q^T)``.
    """

    S: LinearMap
    inner: LinearMap
    P: Array
    Q: Array
    core: float
    left: float
    right: float

    @property
    def coupling(self) -> float:
        """The larger norm of the two off-diagonal blocks; zero at a stationary point of the factored problem."""
        return max(self.left, self.right)

    def norm(self, rest: float) -> float:
        """Return a bound of ``||G||_2`` from one of ``||S||_2``: the norm of the matrix of the norms of the blocks.

        It exceeds ``||G||_2`` by about the square of the coupling over the separation of the diagonal blocks.
        """
        return largest_singular_value(np.array([[self.core, self.right], [self.left, rest]]))


def outside(G: LinearMap, P: Array, Q: Array, images: tuple[Array, Array] | None = None) -> Outside:
    """Look at ``G`` from the spaces of ``P`` and ``Q``; ``images`` are ``G Q`` and ``G^T P``, if known."""
    GQ, GtP = (G.matmat(Q), G.rmatmat(P)) if images is None else images
    core = P.T @ GQ
    # Images that are needed no more make room.
    left, right = (GQ, GtP) if images is None else (GQ.copy(), GtP.copy())
    left -= P @ core
    right -= Q @ core.T

    inner = LinearMap(G.shape, lambda V: orthogonal(G.matmat(V), P), lambda U: orthogonal(G.rmatmat(U), Q))
    dense = None if G.dense is None else G.dense - left @ Q.T - P @ right.T - P @ core @ Q.T
    S = LinearMap(
        G.shape,
        lambda V: inner.matmat(orthogonal(V, Q)),
        lambda U: inner.rmatmat(orthogonal(U, P)),
        dense,
    )
    return Outside(S, inner, P, Q, *(largest_singular_value(block) for block in (core, left, right)))


def orthogonal(V: Array, basis: Array) -> Array:
    """Return what of some columns is orthogonal to those of a basis."""
    return V - basis @ (basis.T @ V)
