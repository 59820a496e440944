"""The smallest curvature of ``L(A, B)``, with the directions in which symmetry makes it zero projected out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._validate import Array, as_number
from ..linear_map import numerical_rank
from ._canonical import Point, canonical

Operator = Callable[[Array], Array]

# Up to this many parameters the Hessian is formed and decomposed (exact to rounding); beyond it, Lanczos.
DENSE_SIZE = 400


@dataclass(frozen=True)
class SecondOrder:
    """The ends of the spectrum of the Hessian of ``L`` on the complement of the symmetry directions.

    Attributes
    ----------
    smallest, largest : float
        Extreme eigenvalues there. ``smallest`` is attained in ``direction``, so it bounds the true one from above
        by either eigensolver: a negative value is CERTIFIED, a non-negative one is exact to rounding for
        ``"dense"`` and as good as ``residual`` for ``"lanczos"``.
    direction : tuple of ndarray
        The unit eigenvector ``(U, V)`` of ``smallest``, of shapes (m, r), (n, r): the way out of a strict saddle. For
        several matrices ``U`` and ``V`` are tuples; the Hessian is that of all factors, couplings included.
    symmetry_dimension : int
        Dimension of the space projected out.
    residual : float
        Norm of ``H z - smallest z`` there.
    eigenvalues : ndarray or None
        All eigenvalues on the complement, ascending (dense only).
    eigensolver : str
        ``"dense"`` or ``"lanczos"``.
    is_sosp : bool
        Whether ``smallest >= -tol * max(1, largest)``; says nothing about the gradient.
    tol : float
        The tolerance used.
    """

    smallest: float
    largest: float
    direction: tuple[Any, Any] = field(repr=False)
    symmetry_dimension: int
    residual: float
    eigenvalues: Array | None = field(repr=False)
    eigensolver: str
    is_sosp: bool
    tol: float

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain JSON-ready values (without direction and spectrum)."""
        names = ("smallest", "largest", "symmetry_dimension", "residual", "eigensolver", "is_sosp", "tol")
        return {name: getattr(self, name) for name in names}


def second_order(problem: Any, A: Any, B: Any, tol: float = 1e-7) -> SecondOrder:
    """Return the smallest eigenvalue and eigenvector of the Hessian of ``L``, symmetry directions projected out.

    The loss is constant along ``(A O, B O)`` with ``O`` orthogonal, and for ``lam = 0`` along ``(A M, B M^{-T})``.
    At a stationary point the tangents of these orbits, ``(A K, B K)`` with ``K`` skew and ``(A K, -B K^T)`` with
    any ``K``, are in the kernel of the Hessian and say nothing about the point.

    Parameters
    ----------
    problem : Problem or MultiProblem
        Any problem whose update is ``s A B^T`` with both factors trained; eigenvalues are those of the same problem
        with unit scaling.
    A, B : array_like of shapes (m, r), (n, r)
        The factors; for several matrices sequences of them.
    tol : float
        Tolerance of ``is_sosp``, relative to the largest eigenvalue (at least 1).

    Notes
    -----
    Source: main paper, section 1 (Hessian form; proofs/factor_derivatives).
    """
    as_number(tol, "tol", 0.0)
    return second_order_at(canonical(problem, A, B), tol)


def second_order_at(point: Point, tol: float) -> SecondOrder:
    """Return the :class:`SecondOrder` of a point in the normal form."""
    symmetry = Symmetry([symmetry_basis(A, B, point.lam) for A, B in point.factors])
    vector, found = curvature(lambda direction: _apply(point, direction), symmetry, tol)
    U, V, _ = point.problem.split(vector)
    return SecondOrder(direction=(U, V), **found)


class Symmetry:
    """The space of the symmetry directions, one orthonormal basis ((m_l + n_l) r_l, k_l) for each matrix."""

    def __init__(self, bases: Sequence[Array]) -> None:
        self.bases = bases
        self.size = sum(basis.shape[0] for basis in bases)
        self.dimension = sum(basis.shape[1] for basis in bases)
        self._cuts = np.cumsum([basis.shape[0] for basis in bases])[:-1]

    def inside(self, vector: Array) -> Array:
        """Return the projection of a flat direction onto the space."""
        parts = np.split(vector, self._cuts)
        return np.concatenate([basis @ (basis.T @ part) for basis, part in zip(self.bases, parts)])

    def outside(self, vector: Array) -> Array:
        """Return the projection onto the complement."""
        return vector - self.inside(vector)

    def complement(self) -> Array:
        """Return an orthonormal basis of the complement, for small problems."""
        if not self.dimension:
            return np.eye(self.size)
        found = np.array([self.inside(unit) for unit in np.eye(self.size)])
        return np.linalg.eigh(found)[1][:, : self.size - self.dimension]


def curvature(apply: Operator, symmetry: Symmetry, tol: float) -> tuple[Array, dict[str, Any]]:
    """Return the flat eigenvector of the smallest curvature, and the other fields of :class:`SecondOrder`.

    ``apply`` multiplies a flat direction by the Hessian; ``symmetry`` is what is projected out.
    """
    values: Array | None = None
    if symmetry.size <= DENSE_SIZE:
        eigensolver = "dense"
        smallest, largest, vector, values = _dense(apply, symmetry)
    else:
        eigensolver = "lanczos"
        smallest, largest, vector = _lanczos(apply, symmetry)
    image = symmetry.outside(apply(vector))
    return vector, {
        "smallest": smallest,
        "largest": largest,
        "symmetry_dimension": symmetry.dimension,
        "residual": float(np.linalg.norm(image - smallest * vector)),
        "eigenvalues": values,
        "eigensolver": eigensolver,
        "is_sosp": smallest >= -tol * max(1.0, largest),
        "tol": tol,
    }


def symmetry_basis(A: Array, B: Array, lam: float) -> Array:
    """Return an orthonormal basis ((m+n) r, k) of the tangent of the symmetry orbit at ``(A, B)``.

    ``k = r(r-1)/2`` for ``lam > 0`` and ``r^2`` for ``lam = 0`` at factors of full rank, less at deficient ones.
    """
    r = A.shape[1]
    columns = []
    for i in range(r):
        for j in range(r):
            K = np.zeros((r, r))
            if lam == 0.0:
                K[i, j] = 1.0
                columns.append(np.concatenate([(A @ K).ravel(), -(B @ K.T).ravel()]))
            elif i < j:
                K[i, j], K[j, i] = 1.0, -1.0
                columns.append(np.concatenate([(A @ K).ravel(), (B @ K).ravel()]))
    if not columns:
        return np.zeros(((A.shape[0] + B.shape[0]) * r, 0))
    U, s, _ = np.linalg.svd(np.array(columns).T, full_matrices=False)
    # Orbit directions shrink with the factors, so a nearly deficient point has nearly vanishing ones: those are
    # not projected out, because at such a point they are ordinary directions of escape.
    return U[:, : numerical_rank(s)]


def _apply(point: Point, vector: Array) -> Array:
    """Return the Hessian of ``L`` times a flat direction."""
    return point.problem.hessian_product(point.theta, vector).astype(np.float64, copy=False)


def hessian(apply: Operator, size: int) -> Array:
    """Return the Hessian as a symmetric matrix."""
    H = np.array([apply(unit) for unit in np.eye(size)])
    return 0.5 * (H + H.T)


def _dense(apply: Operator, symmetry: Symmetry) -> tuple[float, float, Array, Array]:
    Z = symmetry.complement()
    values, vectors = np.linalg.eigh(Z.T @ hessian(apply, symmetry.size) @ Z)
    return float(values[0]), float(values[-1]), Z @ vectors[:, 0], values


def _lanczos(apply: Operator, symmetry: Symmetry) -> tuple[float, float, Array]:
    """Return both ends of the spectrum by Lanczos; symmetry directions are moved to the far end."""
    import scipy.sparse.linalg as sla

    eigsh: Any = sla.eigsh  # its stubs do not admit an operator without a stated type
    size = symmetry.size
    start = np.random.default_rng(0).standard_normal(size)

    def compressed(shift: float) -> Any:
        def matvec(vector: Array) -> Array:
            vector = vector.ravel()
            inside = symmetry.inside(vector)
            return symmetry.outside(apply(vector - inside)) + shift * inside

        return sla.LinearOperator((size, size), matvec=matvec, dtype=np.float64)

    largest = float(eigsh(compressed(0.0), 1, which="LA", v0=start, tol=1e-6, return_eigenvectors=False)[0])
    shifted = compressed(max(largest, 1.0))
    try:
        values, vectors = eigsh(shifted, 1, which="SA", v0=start, tol=1e-9, ncv=40, maxiter=50 * size)
    except sla.ArpackNoConvergence as failure:
        if not failure.eigenvalues.size:
            raise
        values, vectors = failure.eigenvalues, failure.eigenvectors
    vector = symmetry.outside(vectors[:, 0])
    vector /= np.linalg.norm(vector)
    return float(values[0]), largest, vector
