"""Bounds of the spectral norm that hold with every rounding error counted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from .._support.validate import Array
from ..linear_map import LinearMap
from ._rounding import (
    ETA,
    U,
    add_up,
    blocked,
    frobenius,
    mul_up,
    sqrt_up,
    sum_error,
    terms,
    up,
)
from .balls import Ball, SparseBall, product

Trust = Literal["lapack", "gemm"]

# Sizes up to which the largest eigenvalue is found by LAPACK; beyond, by Lanczos. It is only a guess of where to look.
EIGENVALUE_LIMIT = 200
# Accuracy of that guess, relative; near a level, around which singular values cluster at a stationary point, the last
# digits would take several hundred more products.
LANCZOS_ACCURACY, LEVEL_ACCURACY = 1e-9, 1e-6
# Squares above that of a level by no more than this, relative, count as near it.
CLUSTER = 1e-3
# An excess over a level is known from an estimate whose accuracy is this much better.
RESOLVED = 10.0
# Steps towards a bound in between: it is above the norm by up to so many times its excess over the level.
STEP = 3.0
# Attempts at a bound, each with eight times the margin of the last.
ATTEMPTS = 8
# Margins for a level that is given: beyond them the largest eigenvalue itself is worth its cost.
LEVEL_ATTEMPTS = 3
# Order from which a factorisation costs as much as Lanczos, so that one attempt at the level is enough.
LARGE = 1000
POWER_STEPS = 3
# Entries of a sparse matrix from which compiled loops over what is not 0 are worth their compilation, and what share of
# a column and of all columns must be 0: a pair in them costs about 16 times what it costs in a product of arrays.
COMPILED, SPARSE = 500_000, 4
# Matrices with norms between 2^-SAFE_EXPONENT and 2^SAFE_EXPONENT are not scaled.
SAFE_EXPONENT = 300


class Gram:
    """What factorisations of the Gram matrix of a ball's short side bound: its norm, and what is below its top.

    Parameters
    ----------
    G : Ball
        Matrices (m, n), in the support of the products.
    trust : {"lapack", "gemm"}
        ``"lapack"``: LAPACK's Cholesky factorisation satisfies Higham's entrywise bound (tested while running by
        ``environment_refusal``). ``"gemm"``: nothing is assumed of it; its factor is multiplied out again.
    products : LinearMap, optional
        Products with the middle, if there are faster ones than those with the array. No bound rests on them. Where
        they have a ``support``, its rows and columns are those of the matrices.

    Notes
    -----
    ``W = fl(C^T C)`` is the Gram matrix of the short side, ``M = fl(tau I - W)``. If a Cholesky factor ``R`` of ``M``
    is found, ``tau I - W`` is positive semidefinite up to the errors ``E`` of that factor, and

        ||C||_2^2 <= tau + ||E||_2 + U max_i |M_ii| + ||W - C^T C||_2.

    ``|E| <= (n + 3) U |R|^T|R|`` (Higham, "Accuracy and stability of numerical algorithms", theorem 10.3, with the
    constant ``n + 1`` of Rump and Jeannerod, SIAM Journal on Matrix Analysis and Applications 35, 2014, and 2 more for
    kernels that multiply by reciprocals); the method is Rump's ("Verification of positive definiteness", BIT 46, 2006).
    ``||W - C^T C||_2 <= K U || |C|^T|C| ||_2``. Norms of nonnegative products are bounded by Collatz and Wielandt:
    ``rho(P^T P) <= max_i (P^T P x)_i / x_i`` for any ``x > 0``. That also bounds ``||C||_2^2 <= rho(|C|^T|C|)``, which
    together with ``||C||_F`` is what is left if no factor is found: a failed factorisation never makes a wrong bound.
    """

    def __init__(self, G: Ball, trust: Trust = "lapack", products: LinearMap | None = None) -> None:
        self.ball, self.trust = G, trust
        self.products = LinearMap.from_dense(G.mid) if products is None else products
        support: tuple[Any, Any] = self.products.support or (slice(None), slice(None))
        self._rows, self._cols = support
        # Squares of numbers of this size leave the range of binary64: what follows is about C 2^-exponent.
        exponent = math.frexp(G.mid_norm)[1] if G.mid_norm < math.inf else 0
        self._exponent = exponent if abs(exponent) > SAFE_EXPONENT else 0
        self._factor: Array | None = None

    def norm(self, level: float | None = None, beyond: Sequence[float] = (), loss: float = 0.0) -> float:
        """Return an upper bound of ``||M||_2`` over the ball.

        Parameters
        ----------
        level : float, optional
            A value of interest. Where the norm is below or just above it, a bound at the level is returned, which
            needs no eigenvalue.
        beyond : sequence of float
            Larger values, one after the other, that serve as well.
        loss : float
            What rounding may add to the square of the bound, relative to that of the level: errors below it are bounded
            by Frobenius norms, which cost next to nothing.
        """
        at_most, radius = self.ball.mid_norm, self.ball.radius
        if at_most == 0.0 or not at_most < math.inf or (level is not None and add_up(at_most, radius) <= level):
            return add_up(at_most, radius)
        if self._exponent > 1000:
            return add_up(at_most, radius)
        levels = [] if level is None else [self._within(value) for value in (level, *beyond)]
        allowed = loss * levels[0] * levels[0] if levels else 0.0
        error, found = self._error(allowed), math.inf
        for tau in _candidates(self._squares, levels, error):
            M = np.negative(self._squares)
            excess = _shifted_defect(M, tau, self.trust, allowed)
            if excess is not None:
                found = sqrt_up(add_up(tau, excess, error))
                self._keep(M)
                break
        if not (allowed > 0.0 and found < math.inf):
            found = min(found, sqrt_up(self._entrywise))
        return add_up(min(self._unscaled(found), at_most), radius)

    def parted(self, V: Array, level: float, near: float, loss: float = 0.0) -> tuple[float, float]:
        """Return upper bounds of ``||M||_2`` and of ``sigma_(k+1)(M)`` over the ball from one factorisation.

        Both are infinite unless the second is below a level and, in the space of ``V``, the norm below another.

        Parameters
        ----------
        V : ndarray of shape (min(m, n), k)
            Top left singular vectors if ``m < n``, right ones otherwise, up to any error.
        level, near : float
            The value of interest for what is outside of their space, and a larger one for the norm.
        loss : float
            As for :meth:`norm`.

        Notes
        -----
        Where ``tau I - C^T C + w V V^T`` is positive semidefinite, ``||C||_2^2 <= tau + w ||V||_2^2``, and
        ``||C x||^2 <= tau ||x||^2`` for all ``x`` that are orthogonal to the ``k`` columns of ``V``, hence
        ``sigma_(k+1)(C)^2 <= tau`` (Courant and Fischer).
        """
        if self.ball.norm <= level:
            return self.ball.norm, self.ball.norm
        within, top = self._within(level), self._within(near)
        if not 0.0 < within < top or self._exponent > 1000 or not self.ball.norm < math.inf:
            return math.inf, math.inf
        allowed = loss * within * within
        n, k = V.shape
        error = self._error(allowed)
        tau, most = (next(_shifts(value * value, n, error)) for value in (within, top))
        weight = most - tau
        M = _upper_plus_products(np.negative(self._squares), V, weight)
        length = frobenius(V)
        # Off the diagonal each number stands for two.
        size = add_up(mul_up(length, length, weight), mul_up(1.5, frobenius(self._squares)))
        # What underflows may be multiplied by the weight afterwards, or by V.
        losses = mul_up((k + 3) * U, size), mul_up(n * n, k + 3, add_up(1.0, weight, length), ETA)
        excess = _shifted_defect(M, tau, self.trust, allowed)
        if excess is None:
            return math.inf, math.inf
        self._keep(M)
        squares = add_up(tau, excess, error, *losses)
        bounds = (sqrt_up(add_up(squares, mul_up(weight, _square_norm(V)))), sqrt_up(squares))
        norm, rest = (add_up(self._unscaled(bound), self.ball.radius) for bound in bounds)
        return norm, rest

    def within(self, Q: Array, GQ: Array | None = None) -> tuple[Array, Array]:
        """Return the singular values of the middle in a space, and singular vectors of the short side, up to rounding.

        Parameters
        ----------
        Q : ndarray of shape (n, r)
            Orthonormal columns that span the space.
        GQ : ndarray of shape (m, r), optional
            The middle's products with them, if known.

        Returns
        -------
        values : ndarray of shape (r,)
            In ascending order.
        vectors : ndarray of shape (min(m, n), r)
            Left ones if ``m < n``; right ones, which span the space, otherwise. Zero where the value is zero.
        """
        m, n = self.ball.shape
        GQ = np.ldexp(self.products.matmat(Q) if GQ is None else GQ, -self._exponent)
        squares, right = np.linalg.eigh(GQ.T @ GQ)
        values = np.sqrt(np.maximum(squares, 0.0))
        if m >= n:
            vectors = Q[self._cols] @ right
        else:
            vectors = GQ[self._rows] @ right / np.where(values > 0.0, values, 1.0)
        return np.ldexp(values, self._exponent), vectors

    def inverse(self) -> LinearMap | None:
        """Return products with the inverse of the matrix that the last bound was found with.

        None where it is lost, or of a part of the matrices only. That is ``(tau I - C^T C)^-1``, or about that: largest
        in directions of the short side whose singular values are near the level. No bound rests on them.
        """
        from scipy.linalg import lapack

        L = self._factor
        if L is None or self.products.support is not None:
            return None

        def solve(V: Array) -> Array:
            return lapack.dpotrs(L, V, lower=1)[0]

        return LinearMap(L.shape, solve, solve)

    def _keep(self, M: Array) -> None:
        """Keep the Cholesky factor that has taken the place of a matrix."""
        self._factor = M.T if self.trust == "lapack" else None

    def _within(self, level: float) -> float:
        """Return what the norm of the centre has to be below for that of all members to be below a level, scaled."""
        return math.ldexp(max(level - self.ball.radius, 0.0), -self._exponent)

    def _unscaled(self, norm: float) -> float:
        """Return the bound of a scaled centre as one of the centre: what underflowed is at most ``ETA`` an entry."""
        if self._exponent == 0:
            return norm
        return up(math.ldexp(add_up(norm, mul_up(math.prod(self.ball.shape), ETA)), self._exponent))

    @cached_property
    def _tall(self) -> Array:
        """The centre with the long side first, within the range where squares are numbers."""
        C = self.ball.mid if self.ball.shape[0] >= self.ball.shape[1] else self.ball.mid.T
        return C if self._exponent == 0 else np.ldexp(C, -self._exponent)

    @cached_property
    def _sparse(self) -> Any:
        """The transpose of that as a sparse array, None where the centre is not known as one."""
        if not isinstance(self.ball, SparseBall):
            return None
        R = self.ball.numbers.T.tocsr() if self.ball.shape[0] >= self.ball.shape[1] else self.ball.numbers
        if self._exponent != 0:
            R = R.copy()
            np.ldexp(R.data, -self._exponent, out=R.data)
        return R

    @cached_property
    def _gram(self) -> tuple[Array, int]:
        """The upper triangle of ``W``, and how many terms the errors of its sums of products behave like."""
        sparse = None if self._sparse is None else _row_products(self._sparse)
        return (blocked(self._tall.T, self._tall), terms(len(self._tall))) if sparse is None else sparse

    @property
    def _squares(self) -> Array:
        """The Gram matrix ``W``, of which only the upper triangle is there."""
        return self._gram[0]

    @cached_property
    def _entrywise(self) -> float:
        """An upper bound of ``|| |C|^T|C| ||_2``."""
        return perron(self._tall if self._sparse is None else self._sparse.T)

    @cached_property
    def _size(self) -> float:
        """An upper bound of ``||C||_F``, scaled like the Gram matrix."""
        if self._exponent == 0:
            return self.ball.mid_norm
        return frobenius(self._tall if self._sparse is None else self._sparse.data)

    def _error(self, enough: float) -> float:
        """Return an upper bound of ``||W - C^T C||_2``, a quick one where that is at most ``enough``."""
        k, size = self._gram[1], self._size
        tiny = mul_up(min(self.ball.shape), k, ETA)
        quick = add_up(mul_up((k + 1) * U, size, size), tiny)
        return quick if quick <= enough else add_up(mul_up((k + 1) * U, self._entrywise), tiny)


def _row_products(R: Any) -> tuple[Array, int] | None:
    """Return the upper triangle of ``R R^T`` for a sparse array, and how many terms its errors behave like.

    Rare columns are added by compiled loops.

    None where a product of arrays is as fast.
    """
    if math.prod(R.shape) < COMPILED:
        return None
    counts = np.bincount(R.indices, minlength=R.shape[1])
    full = SPARSE * counts > R.shape[0]
    if SPARSE * np.count_nonzero(full) > full.size:
        return None
    from ..kernels.sparse_gram import add_row_products

    W = np.zeros((R.shape[0],) * 2)
    rest = add_row_products(W, R.indptr.astype(np.int64), R.indices.astype(np.int64), R.data, ~full)
    W = _upper_plus_products(W, rest, 1.0)
    # A product that is 0 adds no error.
    return W, int(np.diff(R.indptr).max(initial=0)) + 1


def _mirrored(W: Array) -> Array:
    """Return the symmetric matrix of an upper triangle."""
    return np.triu(W) + np.triu(W, 1).T


def _candidates(W: Array, levels: list[float], gram: float) -> Iterator[float]:
    """Yield numbers that the largest eigenvalue may be below: at levels, then at an estimate."""
    n = len(W)
    squares = [level * level for level in levels if level > 0.0]
    for k, square in enumerate(squares, start=1):
        # Another level is there for a norm that is above the first by more than rounding.
        attempts = LEVEL_ATTEMPTS if n <= LARGE and k == len(squares) else 1
        yield from itertools.islice(_shifts(square, n, gram), attempts)
    square = max(squares, default=0.0)
    # Up to the limit the estimate is the eigenvalue: accuracy costs nothing there.
    rough = square > 0.0 and n > EIGENVALUE_LIMIT
    top = _largest_eigenvalue(W, LEVEL_ACCURACY if rough else LANCZOS_ACCURACY)
    excess = top - square if rough else 0.0
    if excess > CLUSTER * square:
        top, excess = _largest_eigenvalue(W, LANCZOS_ACCURACY), 0.0
    elif rough and excess < RESOLVED * LEVEL_ACCURACY * square:
        # So near the level that the estimate may be another eigenvalue, even one below it. In a cluster ever larger
        # steps meet a bound in a fraction of a second, where Lanczos takes 30 s to tell its values apart. None is a
        # bound that is below the estimate.
        near = square * (1.0 + RESOLVED * LEVEL_ACCURACY)
        steps = itertools.takewhile(lambda tau: tau < near, _shifts(square, n, gram, STEP))
        yield from itertools.dropwhile(lambda tau: tau < top, steps)
        excess = max(excess, 0.0)
    # Just above a level a twentieth of the excess is accuracy enough for a rough estimate.
    margin = max(16.0 * U * math.sqrt(n) * top, 0.25 * gram, 0.05 * excess)
    for k in range(ATTEMPTS):
        yield top + margin * 8.0**k


def _shifts(square: float, n: int, error: float, factor: float = 8.0) -> Iterator[float]:
    """Yield numbers above a square by ever more than a factorisation of order ``n`` and its matrix may lose."""
    for k in itertools.count():
        yield square + max(16.0 * U * math.sqrt(n) * square, 0.25 * error) * factor**k


def _largest_eigenvalue(W: Array, accuracy: float) -> float:
    """Return an estimate of the largest eigenvalue, which need not be right, from the upper triangle."""
    if len(W) <= EIGENVALUE_LIMIT:
        return float(np.linalg.eigvalsh(W, "U")[-1])
    from scipy.sparse.linalg import ArpackError, eigsh

    W = _mirrored(W)
    start = np.random.default_rng(0).standard_normal(len(W))
    try:
        return float(eigsh(W, k=1, which="LA", v0=start, tol=accuracy, return_eigenvectors=False)[0])
    except ArpackError:
        return float(np.linalg.eigvalsh(W, "U")[-1])


def _upper_plus_products(M: Array, V: Array, weight: float) -> Array:
    """Return ``M + weight V V^T`` for symmetric ``M``, which is lost; only the upper triangle is computed."""
    from scipy.linalg.blas import dsyrk

    if V.shape[1] == 0:
        return M
    # BLAS reads and writes columns: its lower triangle of the transpose is the upper one here.
    return dsyrk(weight, V.T, 1.0, M.T, trans=1, lower=1, overwrite_c=1).T


def _shifted_defect(M: Array, tau: float, trust: Trust, enough: float = 0.0) -> float | None:
    """Return ``e >= 0`` with ``-M <= (tau + e) I`` for symmetric ``M``, which is lost, or None if Cholesky breaks down.

    ``M`` is given by its upper triangle, and lost as in :func:`semidefinite_defect`. A quick bound of the errors will
    do where it is at most ``enough``.
    """
    diagonal = np.einsum("ii->i", M)
    diagonal += tau
    rounding = mul_up(U, float(np.abs(diagonal).max()))
    defect = semidefinite_defect(M, trust, enough)
    return None if defect is None else add_up(rounding, defect)


def semidefinite_defect(M: Array, trust: Trust = "lapack", enough: float = 0.0) -> float | None:
    """Return ``e >= 0`` with ``M + e I`` positive semidefinite for symmetric ``M``, or None if Cholesky breaks down.

    ``M`` is given by its upper triangle, and its factor takes its place with ``trust="lapack"``. A quick bound of the
    errors will do where it is at most ``enough``.
    """
    from scipy.linalg import lapack

    n, trace = len(M), float(np.einsum("ii->", M))
    # The transpose is what LAPACK calls column-major. From its lower triangle OpenBLAS takes up to a quarter less time.
    L, info = lapack.dpotrf(M.T, lower=1, clean=0, overwrite_a=trust == "lapack")
    if info != 0:
        return None
    R = L.T
    if trust == "lapack":
        # The diagonal of R^T R is that of M, of numbers > 0, but for (n + 3) U of its own and what underflows.
        size = add_up(mul_up(trace, 1.0 + 4.0 * (n + 3) * U), mul_up(n * n, ETA))
        length = sqrt_up(size)
    else:
        R = np.triu(R)
        length = frobenius(R)
        size = mul_up(length, length)
    if not mul_up((n + 3) * U, size) <= enough:
        size = perron(np.triu(R))
    if not size < math.inf:
        return None
    # No number of R exceeds its length.
    tiny = mul_up(4.0 * n, add_up(2.0 * n, length), ETA)
    if trust == "lapack":
        return add_up(mul_up((n + 3) * U, size), tiny)
    E = blocked(R.T, R)
    E -= _mirrored(M)
    # |fl(fl(R^T R) - M) - (R^T R - M)| <= U |fl| + the error of the product.
    return add_up(mul_up(frobenius(E), 1.0 + 4.0 * U), mul_up(sum_error(n), size), mul_up(n, terms(n), ETA), tiny)


def perron(C: Any) -> float:
    """Return an upper bound of ``|| |C|^T |C| ||_2`` for an array (m, n), dense or sparse, by Collatz and Wielandt."""
    P = abs(C)
    m, n = P.shape
    x = np.ones(n)
    best = math.inf
    for _ in range(POWER_STEPS):
        y = (P @ x) @ P
        top = float(y.max())
        if not top < math.inf:
            return math.inf
        best = min(best, float((y / x).max()))
        if top == 0.0:
            break
        x = np.maximum(y / top, 2.0**-20)
    # Sums of numbers >= 0 of m and n terms, a quotient; what underflows, over the smallest entry of x.
    tiny = mul_up(2.0**21, add_up(m, mul_up(m, n, float(P.max()))), ETA)
    return add_up(mul_up(best, 1.0 + 2.0 * (m + n + 8) * U), tiny)


def _square_norm(V: Array) -> float:
    """Return an upper bound of ``||V||_2^2``, sharp for orthogonal columns: the diagonal of ``V^T V`` and the rest."""
    square = product(V.T, V)
    diagonal = np.diag(square.mid)
    return add_up(float(diagonal.max(initial=0.0)), frobenius(square.mid - np.diag(diagonal)), square.radius)


def factor_norm(C: Ball) -> float:
    """Return a quick upper bound of ``||mid||_2``: the smaller of ``||mid||_F`` and the root of :func:`perron`."""
    return min(C.mid_norm, sqrt_up(perron(C.mid)))
