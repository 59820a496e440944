"""The smallest curvature of ``L(A, B)``, with the directions in which symmetry makes it zero projected out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .._known import Known
from .._support.progress import Progress
from .._support.text import at_least, for_json
from .._support.threads import judge_pools
from .._support.validate import Array, as_flag, as_instance, as_integer, as_number
from ..dense import refuse_non_finite
from ..low_rank import truncated_svd
from ..problem import Problem, flat
from ..singular_triplets import top_singular
from ._krylov import LONGEST, MAX_STEPS, MISSED, STARTS, Search, search_krylov
from ._symmetry import Symmetry
from .canonical import Point, canonical
from .first_order import complement

Operator = Callable[[Array], Array]

# Up to this many parameters the Hessian is formed and decomposed (exact to rounding); beyond it, Lanczos.
DENSE_SIZE = 400
# The residual, relative to the value, to which ARPACK sharpens the lowest direction; the error of the value is about
# its square. Completion of 1000 x 750 at rank 16 takes 661 products to 1e-3, 881 to 1e-5 and 1301 to 1e-9; the first
# value is 1e-8 of itself from the last, the second 2e-12.
SHARP = 1e-4
# Restarts of ARPACK at most, of 20 products and more each: a value among many nearly equal ones is sharpened no more.
RESTARTS = 300


@dataclass(frozen=True, eq=False)
class SecondOrder:
    """The ends of the spectrum of the Hessian of ``L`` on the complement of the symmetry directions.

    Attributes
    ----------
    smallest, largest : float
        Extreme eigenvalues there. ``smallest`` is attained in ``direction``, so it bounds the true one from above
        by either eigensolver: a negative value is CERTIFIED. A non-negative one is exact to rounding for ``"dense"``;
        for ``"lanczos"`` it is SAMPLED (see ``failure_probability``).
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
        Whether ``smallest >= -tol * largest``; says nothing about the gradient.
    tol : float
        The tolerance used.
    failure_probability : float
        Bound on the probability, over the random starts of the search, that a curvature below
        ``-tol * largest`` exists and was missed: 0 for ``"dense"`` and where one was found, 1 where the search
        was too short to tell.
    at_least : float
        No curvature lies below this, but for a probability of at most ``1e-12`` (``"dense"``: ``smallest``).
    products : int
        Products with the Hessian that it took.
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
    failure_probability: float
    at_least: float
    products: int

    @property
    def evidence(self) -> str:
        """How well it is known that there is no curvature below the tolerance, in words."""
        if self.eigensolver == "dense" or not self.is_sosp:
            return self.eigensolver
        least = at_least(self.at_least, ".1e")
        known = f"lanczos, {Known.SAMPLED}: below {least} missed with probability <= {MISSED:.0e}"
        if self.failure_probability <= MISSED:
            return known
        return f"{known}; inconclusive from there to -{self.tol * max(0.0, self.largest):.1e}"

    def __repr__(self) -> str:
        return (
            f"SecondOrder(is_sosp={self.is_sosp}: curvature from {self.smallest:.3g} to {self.largest:.3g} off "
            f"{self.symmetry_dimension} symmetry directions, {self.evidence})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain JSON-ready values (without direction and spectrum)."""
        names = (
            *("smallest", "largest", "symmetry_dimension", "residual", "eigensolver", "is_sosp", "tol"),
            *("failure_probability", "at_least", "products"),
        )
        return dict(for_json({name: getattr(self, name) for name in names}))


@np.errstate(over="ignore", invalid="ignore")
def second_order(
    problem: Problem, A: Any, B: Any, tol: float = 1e-7, max_products: int | None = None, *, progress: bool = False
) -> SecondOrder:
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
        Tolerance of ``is_sosp``, relative to the largest eigenvalue.
    max_products : int, optional
        For losses whose Hessian products are expensive: at most so many of them, at least 50. The search then ends with
        the first direction of negative curvature that it finds, or with what it knows when the products are spent, and
        what it found is not sharpened to an eigenvector.
    progress : bool
        Show a progress line.

    Raises
    ------
    ValueError, TypeError
        For adapters, shapes and numbers out of range.

    Notes
    -----
    Up to 400 parameters the Hessian is formed and decomposed. Beyond that it is searched by Lanczos from two
    independent random starts, fresh in every call, so that no point can be prepared against them, with up to 5,000
    products each as long as these can still settle the sign. The probability that both missed a negative curvature is
    bounded from what they computed, without an assumption on the spectrum (``lorasolve/landscape/_krylov.py``).
    Directions that cost next to nothing are tried beside it: into the weakest column pair of the factors along the top
    singular pair ``(u, v)`` of ``S``, the part of ``G`` outside the spans of ``X``; for a pair of zero columns that
    curvature is exactly ``lam - ||S||_2``.

    Source: main paper, section 1 (Hessian form; proofs/factor_derivatives).
    """
    as_instance(problem, "problem", Problem)
    tol = as_number(tol, "tol", 0.0)
    if max_products is not None:
        max_products = as_integer(max_products, "max_products", 50)
    display = Progress("curvature", as_flag(progress, "progress"))
    try:
        with judge_pools(problem.shapes):
            return second_order_at(canonical(problem, A, B), tol, max_products, display)
    finally:
        display.close()


def second_order_at(
    point: Point, tol: float, max_products: int | None = None, display: Progress | None = None
) -> SecondOrder:
    """Return the :class:`SecondOrder` of a point in the normal form."""
    symmetry = Symmetry(point.factors, point.lam)
    product = point.problem.hessian_at(point.theta)
    vector, found = curvature(
        lambda direction: product(direction).astype(np.float64, copy=False),
        symmetry,
        tol,
        lambda: _into_weakest_columns(point),
        max_products,
        display,
    )
    U, V, _ = point.problem.split(vector)
    return SecondOrder(direction=(U, V), **found)


class _Counted:
    """A product that counts how often it was asked for, and shows it."""

    def __init__(self, apply: Operator, expected: int, display: Progress) -> None:
        self.apply, self.count, self.expected, self.display = apply, 0, expected, display

    def __call__(self, vector: Array) -> Array:
        self.count += 1
        self.display.show(self.count / self.expected, f"{self.count} products with the Hessian")
        return self.apply(vector)


class _Ends(NamedTuple):
    """Both ends of a spectrum, the vector of the lower, and what a search may have missed, as in :class:`Search`."""

    smallest: float
    largest: float
    vector: Array
    failure_probability: float
    at_least: float
    eigenvalues: Array | None = None


def curvature(
    apply: Operator,
    symmetry: Symmetry,
    tol: float,
    candidates: Callable[[], list[Array]] = list,
    max_products: int | None = None,
    display: Progress | None = None,
) -> tuple[Array, dict[str, Any]]:
    """Return the flat eigenvector of the smallest curvature, and the other fields of :class:`SecondOrder`.

    ``apply`` multiplies a flat direction by the Hessian; ``symmetry`` is what is projected out; ``candidates()`` gives
    directions worth trying where the Hessian is too large to be decomposed and products are no matter.
    """
    dense = symmetry.size <= (DENSE_SIZE if max_products is None else min(DENSE_SIZE, max_products - 1))
    expected = symmetry.size + 1 if dense else max_products or STARTS * MAX_STEPS
    counted = _Counted(apply, expected, display or Progress("curvature", False))
    if dense:
        found = _dense(counted, symmetry)
    elif max_products is None:
        found = _lanczos(counted, symmetry, tol, candidates())
    else:
        found = _within(counted, symmetry, tol, max_products)
    image = symmetry.outside(counted(found.vector))
    is_sosp = found.smallest >= -tol * max(0.0, found.largest)
    return found.vector, {
        "smallest": found.smallest,
        "largest": found.largest,
        "symmetry_dimension": symmetry.dimension,
        "residual": float(np.linalg.norm(image - found.smallest * found.vector)),
        "eigenvalues": found.eigenvalues,
        "eigensolver": "lanczos" if found.eigenvalues is None else "dense",
        "is_sosp": is_sosp,
        "tol": tol,
        "failure_probability": found.failure_probability if is_sosp else 0.0,
        "at_least": found.at_least,
        "products": counted.count,
    }


def hessian(apply: Operator, size: int) -> Array:
    """Return the Hessian as a symmetric matrix."""
    H = np.array([apply(unit) for unit in np.eye(size)])
    refuse_non_finite(H)
    return 0.5 * (H + H.T)


def _dense(apply: Operator, symmetry: Symmetry) -> _Ends:
    Z = symmetry.complement()
    values, vectors = np.linalg.eigh(Z.T @ hessian(apply, symmetry.size) @ Z)
    smallest, largest = float(values[0]), float(values[-1])
    return _Ends(smallest, largest, Z @ vectors[:, 0], 0.0, smallest, values)


def _into_weakest_columns(point: Point) -> list[Array]:
    """Return, for each matrix, the direction ``(u y^T, -v y^T)`` into the weakest combination ``y`` of the columns.

    ``(u, v)`` is the top singular pair of ``G`` outside the spans of ``X``. Where ``A y = B y = 0`` the curvature is
    ``lam - u^T G v``, the smallest over all directions into the null columns.
    """
    found = []
    rng = np.random.default_rng()
    for k, (G, (A, B)) in enumerate(zip(point.gradients(), point.factors)):
        P, _, Q = truncated_svd(A, B)
        y = np.linalg.svd(np.vstack([A, B]), full_matrices=False)[2][-1]
        top = top_singular(complement(G, P, Q), 1, 1e-4, rng)
        blocks = [(np.zeros_like(A_l), np.zeros_like(B_l)) for A_l, B_l in point.factors]
        blocks[k] = (np.outer(top.U[:, 0], y), np.outer(-top.V[:, 0], y))
        found.append(flat(blocks))
    return found


def _outside(apply: Operator, symmetry: Symmetry) -> Operator:
    """Return the Hessian restricted to the complement of the symmetry directions."""
    return lambda vector: symmetry.outside(apply(symmetry.outside(vector)))


def _search(apply: Operator, symmetry: Symmetry, tol: float, longest: int = LONGEST) -> Search:
    """Search the complement of the symmetry directions from random starts that are fresh in every call."""
    rng = np.random.default_rng()
    return search_krylov(
        _outside(apply, symmetry),
        lambda: symmetry.outside(rng.standard_normal(symmetry.size)),
        symmetry.size - symmetry.dimension,
        tol,
        longest,
    )


def _within(apply: Operator, symmetry: Symmetry, tol: float, max_products: int) -> _Ends:
    """Return what :func:`_lanczos` does, of the search alone, which leaves two products for its lowest vector."""
    searched = _search(apply, symmetry, tol, min(MAX_STEPS, (max_products - 2) // STARTS))
    vector = _unit_outside(symmetry, searched.vector)
    value = float(vector @ _outside(apply, symmetry)(vector))
    at_least = min(searched.at_least, value)
    return _Ends(value, searched.largest, vector, searched.failure_probability, at_least)


def _lanczos(apply: Operator, symmetry: Symmetry, tol: float, candidates: Sequence[Array]) -> _Ends:
    """Return the ends for large problems.

    Krylov searches from fresh starts bound the probability of a miss; ARPACK then sharpens the lowest direction that
    they and the candidates found. Symmetry directions are moved to the far end.
    """
    import scipy.sparse.linalg as sla

    eigsh: Any = sla.eigsh  # its stubs do not admit an operator without a stated type
    size = symmetry.size
    outside = _outside(apply, symmetry)
    searched = _search(apply, symmetry, tol)
    largest = searched.largest
    shift = largest if largest > 0.0 else 1.0

    def matvec(vector: Array) -> Array:
        vector = vector.ravel()
        inside = symmetry.inside(vector)
        return symmetry.outside(apply(vector - inside)) + shift * inside

    tried = [_unit_outside(symmetry, vector) for vector in (searched.vector, *candidates)]
    values = [float(vector @ outside(vector)) for vector in tried]
    best = int(np.argmin(values))
    start = tried[best] + _unit(np.random.default_rng().standard_normal(size))
    try:
        vectors = eigsh(
            sla.LinearOperator((size, size), matvec=matvec, dtype=np.float64),
            1,
            which="SA",
            v0=start,
            tol=SHARP,
            ncv=40,
            maxiter=RESTARTS,
        )[1]
    except sla.ArpackNoConvergence as failed:
        vectors = failed.eigenvectors
    if vectors.size:
        tried.append(_unit_outside(symmetry, vectors[:, 0]))
        values.append(float(tried[-1] @ outside(tried[-1])))
        best = int(np.argmin(values))
    at_least = min(searched.at_least, values[best])
    return _Ends(values[best], largest, tried[best], searched.failure_probability, at_least)


def _unit_outside(symmetry: Symmetry, vector: Array) -> Array:
    """Return the part of a vector outside of the symmetry directions, of length one.

    Where a Krylov space is exhausted, what rounding adds to it lies among them. Projected twice: of a vector within
    them the first leaves what rounding does, of which most is inside again.
    """
    return _unit(symmetry.outside(_unit(symmetry.outside(vector))))


def _unit(vector: Array) -> Array:
    """Return the vector divided by its length, or as it is if that is 0."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0.0 else vector
