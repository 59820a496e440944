"""The symmetry directions of ``L`` at a point, projected onto without a basis of them.

A basis takes ``(m+n) r`` numbers for each of ``r(r-1)/2`` directions (1.6 GB at 768 x 768 and rank 64). From the
singular vectors of the factors a projection costs ``O((m+n) r^2)`` operations, and no memory to speak of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.validate import Array
from ..low_rank import RANK_TOL


class _Rotations:
    """The directions ``(A K, B K)`` with skew ``K``, for ``lam > 0``: ``L`` is the same at ``(A Q, B Q)``.

    With ``[A; B] = W diag(s) Q^T`` those of ``K = Q (e_i e_j^T - e_j e_i^T) Q^T`` are orthogonal, of the lengths
    ``(s_i^2 + s_j^2)^(1/2)``.
    """

    def __init__(self, A: Array, B: Array) -> None:
        self.rows = A.shape[0]
        self.W, s, self.Q = _padded_svd(np.vstack([A, B]))
        self.first, self.second, kept = _shares(s, s)
        self.kept = np.triu(kept, 1)

    def coordinates(self, U: Array, V: Array) -> Array:
        """Return the inner products (r, r) with the orthonormal directions, zero where there is none."""
        inner = self.W.T @ np.vstack([U, V]) @ self.Q
        return np.where(self.kept, self.first * inner - self.second * inner.T, 0.0)

    def combined(self, coordinates: Array) -> tuple[Array, Array]:
        """Return the direction ``(U, V)`` of these coordinates."""
        inner = self.first * coordinates - (self.second * coordinates).T
        both = self.W @ inner @ self.Q.T
        return both[: self.rows], both[self.rows :]


class _Bases:
    """The directions ``(A K, -B K^T)`` with any ``K``, for ``lam = 0``: ``L`` is the same at ``(A R, B R^-T)``.

    With ``A = P diag(s) Q^T`` and ``B = T diag(t) R^T`` those of ``K = Q e_i e_j^T R^T`` are orthogonal, of the lengths
    ``(s_i^2 + t_j^2)^(1/2)``.
    """

    def __init__(self, A: Array, B: Array) -> None:
        self.P, s, self.Q = _padded_svd(A)
        self.T, t, self.R = _padded_svd(B)
        self.first, self.second, self.kept = _shares(s, t)

    def coordinates(self, U: Array, V: Array) -> Array:
        """Return the inner products (r, r) with the orthonormal directions, zero where there is none."""
        inner = self.first * (self.P.T @ U @ self.R) - self.second * (self.T.T @ V @ self.Q).T
        return np.where(self.kept, inner, 0.0)

    def combined(self, coordinates: Array) -> tuple[Array, Array]:
        """Return the direction ``(U, V)`` of these coordinates."""
        U = self.P @ (self.first * coordinates) @ self.R.T
        return U, -self.T @ (self.second * coordinates).T @ self.Q.T


class Symmetry:
    """The space of the symmetry directions at a point, where the curvature of a stationary point is zero.

    Parameters
    ----------
    factors : sequence of (ndarray, ndarray)
        ``(A_l, B_l)`` of each matrix, of shapes (m_l, r_l), (n_l, r_l).
    lam : float
        Weight decay: where it is positive, rotations of the factors alone keep ``L``.

    Attributes
    ----------
    size, dimension : int
        Length of a flat direction, and dimension of the space: ``r(r-1)/2`` for ``lam > 0`` and ``r^2`` for ``lam = 0``
        at factors of full rank, less at deficient ones.
    """

    def __init__(self, factors: Sequence[tuple[Array, Array]], lam: float) -> None:
        kind: Any = _Rotations if lam > 0.0 else _Bases
        self._spaces = [kind(A, B) for A, B in factors]
        self._shapes = [part.shape for pair in factors for part in pair]
        sizes = [part.size for pair in factors for part in pair]
        self._cuts = np.cumsum(sizes)[:-1]
        self.size = sum(sizes)
        self.dimension = sum(int(np.count_nonzero(space.kept)) for space in self._spaces)

    def inside(self, vector: Array) -> Array:
        """Return the projection of a flat direction onto the space."""
        parts = [part.reshape(shape) for part, shape in zip(np.split(vector, self._cuts), self._shapes)]
        found = []
        for space, U, V in zip(self._spaces, parts[::2], parts[1::2]):
            found += [part.ravel() for part in space.combined(space.coordinates(U, V))]
        return np.concatenate(found)

    def outside(self, vector: Array) -> Array:
        """Return the projection onto the complement."""
        return vector - self.inside(vector)

    def basis(self) -> Array:
        """Return an orthonormal basis (size, dimension) of the space, for small problems."""
        columns = []
        for number, space in enumerate(self._spaces):
            for place in np.argwhere(space.kept):
                coordinates = np.zeros(space.kept.shape)
                coordinates[tuple(place)] = 1.0
                parts = [np.zeros(shape) for shape in self._shapes]
                parts[2 * number : 2 * number + 2] = space.combined(coordinates)
                columns.append(np.concatenate([part.ravel() for part in parts]))
        return np.array(columns).reshape(self.dimension, self.size).T

    def complement(self) -> Array:
        """Return an orthonormal basis of the complement, for small problems."""
        return np.linalg.qr(self.basis(), mode="complete")[0][:, self.dimension :]


def _padded_svd(M: Array) -> tuple[Array, Array, Array]:
    """Return ``W`` (rows, r), ``s`` (r,) and the orthogonal ``Q`` (r, r) with ``M = W diag(s) Q^T``.

    A matrix with fewer rows than columns has zeros in ``s``, and zero columns in ``W``.
    """
    rows, r = M.shape
    W, s, Qt = np.linalg.svd(M, full_matrices=rows < r)
    missing = max(r - rows, 0)
    return np.pad(W, ((0, 0), (0, missing))), np.pad(s, (0, missing)), Qt.T


def _shares(s: Array, t: Array) -> tuple[Array, Array, Array]:
    """Return ``s_i/h_ij`` and ``t_j/h_ij`` with ``h_ij = (s_i^2 + t_j^2)^(1/2)``, and which lengths ``h_ij`` count."""
    lengths = np.hypot(s[:, None], t)
    # Symmetry directions shrink with the factors, so a nearly deficient point has nearly vanishing ones: those are
    # not projected out, because at such a point they are ordinary directions of escape.
    kept = lengths > RANK_TOL * lengths.max()
    safe = np.where(kept, lengths, 1.0)
    return s[:, None] / safe, t / safe, kept
