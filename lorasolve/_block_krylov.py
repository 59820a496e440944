"""Block Krylov spaces of ``S^T S`` for a matrix known by products: Ritz values, which are never above the truth."""

from __future__ import annotations

import numpy as np

from ._support.validate import Array
from .linear_map import LinearMap

# Columns of a block. Products with eight columns cost little more than with one where memory is the limit, and a
# block meets the top singular vector sooner than a single vector does.
BLOCK = 8
# Blocks between two looks at the values, as a share of those that there are: a look costs the cube of their number.
STRIDE = 0.2
# What a product leaves outside the space, relative to ``S^T S``, below which it counts as rounding.
CLOSED = 1e-14
# Products between 2^-SAFE_EXPONENT and 2^SAFE_EXPONENT are not scaled. Beyond 1e77 squares of ``S^T S`` overflow, and a
# space would look closed.
SAFE_EXPONENT = 100


class Krylov:
    """An orthonormal basis of ``span{(S^T S)^j V_0}`` and the matrix of ``S^T S`` on it.

    The basis is kept on the side of the columns of ``S`` alone, with full reorthogonalisation, and the matrix is
    evaluated as it is defined: its eigenvalues are squares of lower bounds of singular values of ``S`` whatever
    rounding does to the recurrence.

    Parameters
    ----------
    S : LinearMap
        m x n; products are cheapest where ``n <= m``.
    start : ndarray of shape (n, b)
        ``V_0``.

    Attributes
    ----------
    dimension : int
        Of the space on which the matrix is known.
    blocks : int
        How many powers ``(S^T S)^j``, ``j < blocks``, the space contains.
    closed : bool
        Whether ``S^T S`` maps the space to itself, up to rounding.
    """

    def __init__(self, S: LinearMap, start: Array) -> None:
        self.S = S
        self.dimension = self.blocks = 0
        self.closed = False
        self._rows = np.empty((0, start.shape[0]))  # the basis, one vector a row
        self._matrix = np.empty((0, 0))
        self._found = np.linalg.qr(start)[0].T
        self._size = 0.0
        self._exponents: tuple[int, int] | None = None

    def grow(self) -> None:
        """Multiply the newest block by ``S^T S``: the matrix becomes known on it, and a next block is found."""
        last, k = self.dimension, self.dimension + len(self._found)
        self._reserve(k)
        self._rows[last:k] = self._found
        V = self._rows[:k]
        W = self._product(np.ascontiguousarray(V[last:].T)).T
        self._size = max(self._size, float(np.linalg.norm(W, axis=1).max()))
        inner = W @ V.T
        W = W - inner @ V
        again = W @ V.T
        W -= again @ V
        inner += again
        inner[:, last:] = 0.5 * (inner[:, last:] + inner[:, last:].T)
        self._matrix[last:k, :k], self._matrix[:k, last:k] = inner, inner.T
        self.dimension, self.blocks = k, self.blocks + 1
        # The next block: an orthonormal basis of what is left, without directions that are rounding errors.
        Q, R = np.linalg.qr(W.T)
        v, s, ut = np.linalg.svd(R, full_matrices=False)
        count = min(int(np.count_nonzero(s > CLOSED * self._size)), V.shape[1] - k)
        self.closed = count == 0
        rows = (Q @ v[:, :count]).T
        rows = rows - (rows @ V.T) @ V
        self._found = np.linalg.qr(rows.T)[0].T
        self._left = ut.T * s

    def _product(self, V: Array) -> Array:
        """Return ``S^T S V``, divided by a power of four that is the same each time."""
        image = self.S.matmat(V)
        first, second = self._exponents or (_exponent(image), 0)
        image = self.S.rmatmat(_divided(image, first))
        if self._exponents is None:
            second = _exponent(image)
            second += (first + second) % 2
            self._exponents = first, second
        return _divided(image, second)

    def triplets(self, count: int) -> tuple[Array, Array, Array]:
        """Return the largest values, their right vectors (n, count), and the distances to true singular values."""
        values, residuals, vectors = self.pairs(count)
        return values, self.vectors(vectors), residuals

    def vectors(self, coefficients: Array) -> Array:
        """Return vectors of the space (n, count) by their coefficients."""
        return self._rows[: self.dimension].T @ coefficients

    def pairs(self, count: int) -> tuple[Array, Array, Array]:
        """Return the largest values, the distances to true singular values, and coefficients of the right vectors.

        For ``S^T S v = theta^2 v + w`` and ``u = S v / theta`` the pair leaves the residual ``||w|| / theta``.
        """
        k = self.dimension
        squares, vectors = np.linalg.eigh(self._matrix[:k, :k])
        squares, vectors = squares[: -count - 1 : -1], vectors[:, : -count - 1 : -1]
        values = np.sqrt(np.maximum(squares, 0.0))
        rest = np.linalg.norm(self._left.T @ vectors[k - len(self._left) :], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            residuals = np.where(rest > 0.0, rest / values, 0.0)
        half = sum(self._exponents or (0, 0)) // 2
        return np.ldexp(values, half), np.ldexp(np.minimum(residuals, np.sqrt(rest)), half), vectors

    def basis(self) -> Array:
        """Return the basis, one vector a column (n, dimension)."""
        return self._rows[: self.dimension].T

    def next_basis(self) -> Array:
        """Return the basis with the block that the matrix is to become known on next (n, dimension + b)."""
        return np.vstack([self._rows[: self.dimension], self._found]).T

    def _reserve(self, k: int) -> None:
        """Make room for ``k`` vectors."""
        if k <= len(self._rows):
            return
        room = min(max(2 * len(self._rows), k, 8 * BLOCK), self._rows.shape[1])
        rows, matrix = np.empty((room, self._rows.shape[1])), np.zeros((room, room))
        old = self.dimension
        rows[:old], matrix[:old, :old] = self._rows[:old], self._matrix[:old, :old]
        self._rows, self._matrix = rows, matrix


def _exponent(image: Array) -> int:
    """Return the power of two that numbers are to be divided by, 0 where that makes no difference."""
    exponent = int(np.frexp(np.abs(image).max(initial=0.0))[1])
    return exponent if abs(exponent) > SAFE_EXPONENT else 0


def _divided(image: Array, exponent: int) -> Array:
    """Return numbers divided by a power of two."""
    return image if exponent == 0 else np.ldexp(image, -exponent)
