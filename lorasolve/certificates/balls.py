"""Balls of matrices, and the operations that a loss is made of, with every rounding error in the radius.

``Ball(mid, radius)`` is the set ``{M : ||M - mid||_F <= radius}`` with a binary64 matrix in the middle. An operation on
balls returns a ball that contains the exact result for all members (arithmetic: ``_rounding``). An ``L``-Lipschitz map
multiplies the radius by ``L``, so most losses need few lines.

How a loss supplies its own
---------------------------
A loss that wants rigorous certificates has a method

    def ball_oracle(self, A, B, balls) -> balls.BallOracle

for factors ``A (m, r)``, ``B (n, r)`` of binary64 numbers, at the exact update ``X = A B^T``. ``balls`` is this module,
handed over so that objectives need not import from here. What the method encloses is taken as stated; the certificate
names the class that said so. For example least squares with a linear map given by a matrix:

    def ball_oracle(self, A, B, balls):
        residual = balls.residual(A, B.T, self.M)                      # A B^T - M
        return balls.BallOracle(*balls.half_square(residual), residual, 0.0, "M", least_squares=True)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from .._support.validate import Array
from ..linear_map import LinearMap
from ..low_rank import product_entries
from ._rounding import (
    BLOCK,
    ETA,
    U,
    add_up,
    blocked,
    exact_sum,
    fraction_down,
    fraction_up,
    frobenius,
    mul_up,
    row_norms,
    significant_bits,
    split,
    sqrt_up,
    square_sum,
    sum_error,
    terms,
    two_sum,
    up,
)


@dataclass(frozen=True)
class Ball:
    """The matrices within ``radius`` of ``mid`` in the Frobenius norm.

    Attributes
    ----------
    mid : ndarray
        The middle, float64.
    radius : float
        >= 0; infinite where nothing is known.
    """

    mid: Array
    radius: float = 0.0

    def __post_init__(self) -> None:
        if not self.radius >= 0.0:
            object.__setattr__(self, "radius", math.inf)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the matrices."""
        return self.mid.shape

    @cached_property
    def mid_norm(self) -> float:
        """An upper bound of ``||mid||_F``."""
        return frobenius(self.mid)

    @property
    def norm(self) -> float:
        """An upper bound of ``||M||_F`` over the ball."""
        return add_up(self.mid_norm, self.radius)

    @property
    def T(self) -> Ball:
        """The transposed matrices, whose norm is not evaluated again."""
        found = Ball(self.mid.T, self.radius)
        found.__dict__["mid_norm"] = self.mid_norm
        return found

    def wider(self, *radii: float) -> Ball:
        """Return the ball with radii added."""
        return Ball(self.mid, add_up(self.radius, *radii))


class SparseBall(Ball):
    """A ball whose middle is 0 but at few places; as an array it is made when that is asked for.

    Parameters
    ----------
    numbers : scipy.sparse.csr_array
        The middle, in canonical format.
    radius : float
        As for :class:`Ball`.
    """

    numbers: Any

    def __init__(self, numbers: Any, radius: float) -> None:
        object.__setattr__(self, "numbers", numbers)
        object.__setattr__(self, "radius", radius)
        self.__post_init__()

    @cached_property
    def mid(self) -> Array:  # type: ignore[override]
        """The middle as an array."""
        return self.numbers.toarray()

    def part(self, rows: Array, cols: Array) -> SparseBall:
        """Return the ball of the same radius in some rows and columns, outside of which the middle is 0."""
        number = np.zeros(self.shape[1], self.numbers.indices.dtype)
        number[cols] = np.arange(cols.size)
        starts = np.append(self.numbers.indptr[rows], self.numbers.nnz)
        kept = (self.numbers.data, number[self.numbers.indices], starts)
        return SparseBall(type(self.numbers)(kept, shape=(rows.size, cols.size)), self.radius)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the matrices."""
        return self.numbers.shape

    @cached_property
    def mid_norm(self) -> float:
        """An upper bound of ``||mid||_F``."""
        return frobenius(self.numbers.data)


@dataclass(frozen=True)
class BallOracle:
    """What a loss states at an update ``X``, all of it proved.

    Attributes
    ----------
    low, high : float
        ``low <= f(X) <= high``.
    gradient : Ball
        Contains ``grad f(X)`` (m, n).
    lower_bound : float or None
        With ``lower_slope``: ``f(Y) >= lower_bound - lower_slope ||Y||_*`` for every ``Y``; None if nothing is known.
    refers_to : str
        Which data the numbers are about, for example "the samples".
    least_squares : bool
        True if ``f(Y) = lower_bound - <E, Y> + ||linear(Y) - y||^2 / 2`` with ``||E||_2 <= lower_slope``.
    lower_slope : float
        See ``lower_bound``.
    assumptions : tuple of str
        What is taken for granted beyond the model of arithmetic.
    inner : (float, float), optional
        Bounds of ``<grad f(X), X>``, where the loss has them at less than a product of the gradient.
    products : LinearMap, optional
        Products with the middle of ``gradient``, where they can be had at less than those with the array. Nothing
        rests on them.
    """

    low: float
    high: float
    gradient: Ball
    lower_bound: float | None
    refers_to: str
    least_squares: bool = False
    lower_slope: float = 0.0
    assumptions: tuple[str, ...] = ()
    inner: tuple[float, float] | None = None
    products: LinearMap | None = None

    @property
    def core(self) -> Ball:
        """The gradient in the support of its ``products``: a ball of the same norms, and singular values but for 0."""
        support = None if self.products is None else self.products.support
        if support is None or not isinstance(self.gradient, SparseBall):
            return self.gradient
        return self.gradient.part(*support)


# ---------------------------------------------------------------------- products
def product(A: Ball | Array, B: Ball | Array) -> Ball:
    """Enclose ``A B`` for two matrices; a long inner dimension is summed in blocks.

    The rounding errors are at most ``K U |A||B|`` entry by entry, hence ``K U ||A||_F ||B||_F`` in norm.
    """
    A, B = as_ball(A), as_ball(B)
    k = A.mid.shape[1]
    mid = blocked(A.mid, B.mid)
    a, b = A.mid_norm, B.mid_norm
    rounding = add_up(mul_up(sum_error(k), a, b), mid.size * terms(k) * ETA)
    return Ball(mid, add_up(rounding, mul_up(A.radius, b), mul_up(a, B.radius), mul_up(A.radius, B.radius)))


def residual(A: Array, B: Array, Y: Array | None = None, low: Array | None = None) -> Ball:
    """Enclose ``A (B + low) - Y`` for arrays of numbers, accurate relative to the result where it cancels.

    ``A = A1 + A2`` and ``B = B1 + B2`` are split so that ``A1 B1`` is exact in every order of evaluation; then one
    rounding of ``A1 B1 - Y``, and only the small rest ``A1 (B2 + low) + A2 B`` has the error of a product. ``low`` is
    for a second part of ``B`` below its last bit.
    """
    k = A.shape[1]
    bits = significant_bits(k)
    A1, A2 = split(A, bits, 1)
    B1, B2 = split(B, bits, 0)
    C = A1 @ B1
    radius = mul_up(C.size, k, ETA)
    if Y is not None:
        C -= Y
        radius = add_up(radius, mul_up(U, frobenius(C)))
    a1, a2, b = frobenius(A1), frobenius(A2), frobenius(B)
    if low is not None:
        B2 = B2 + low
        radius = add_up(radius, mul_up(a1, U, frobenius(B2)), mul_up(a2, frobenius(low)))
    rest = A1 @ B2
    second = A2 @ B
    radius = add_up(
        radius, mul_up((k + 1) * U, a1, frobenius(B2)), mul_up((k + 1) * U, a2, b), mul_up(2.0 * C.size, k, ETA)
    )
    rest += second
    radius = add_up(radius, mul_up(U, frobenius(rest)))
    C += rest
    out = Ball(C)
    return out.wider(radius, mul_up(U, out.mid_norm))


def two_product(A: Array, B: Array) -> tuple[Array, Array, float]:
    """Return ``high``, ``low`` and a radius with ``||A B - high - low||_F <= radius``: twice the working precision."""
    high = A @ B
    rest = residual(A, B, high)
    return high, rest.mid, rest.radius


def moved(W0: Array, A: Array, B: Array) -> tuple[Array, Array, float]:
    """Return ``high``, ``low``, ``radius``: ``||W0 + A B^T - high - low||_F <= radius``, as :func:`two_product`."""
    high, low, radius = two_product(A, B.T)
    high, rest = two_sum(W0, high)
    rest += low
    return high, rest, add_up(radius, mul_up(U, frobenius(rest)))


def entries(
    A: Array,
    B: Array,
    rows: Array,
    cols: Array,
    values: Array | None = None,
    products: Callable[[Array, Array], Array] | None = None,
) -> Ball:
    """Enclose ``(A B^T)[rows, cols] - values`` as :func:`residual` does, for a vector of positions.

    ``products(A, B)`` are ``(A B^T)[rows, cols]``, each a sum of products; by default they are evaluated here.
    """
    k = A.shape[1]
    bits = significant_bits(k)
    (A1, A2), (B1, B2) = split(A, bits, 1), split(B, bits, 1)
    pick = products or (lambda A, B: product_entries(A, B, rows, cols))
    C, first, second = pick(A1, B1), pick(A1, B2), pick(A2, B)
    radius = mul_up(C.size, 3.0 * k, ETA)
    if values is not None:
        C -= values
        radius = add_up(radius, mul_up(U, frobenius(C)))
    # At each position |a1|^T|b2| <= ||a1|| ||b2||, and likewise for the other product.
    sizes = row_norms(A1)[rows] * row_norms(B2)[cols] + row_norms(A2)[rows] * row_norms(B)[cols]
    radius = add_up(radius, mul_up((k + 1) * U, frobenius(sizes), 1.0 + 4.0 * U), mul_up(4.0 * C.size, ETA))
    first += second
    radius = add_up(radius, mul_up(U, frobenius(first)))
    C += first
    out = Ball(C)
    return out.wider(radius, mul_up(U, out.mid_norm))


def rough_entries(A: Array, B: Array, values: Array, products: Callable[[Array, Array], Array]) -> Ball:
    """Enclose what :func:`entries` does at positions that differ from each other, from one sum of products each."""
    k = A.shape[1]
    C = products(A, B)
    # At each position |a|^T|b| <= ||a|| ||b||: over all of them at most ||A||_F ||B||_F.
    radius = add_up(mul_up((k + 1) * U, frobenius(A), frobenius(B)), mul_up(C.size, 2.0 * k, ETA))
    C -= values
    out = Ball(C)
    return out.wider(radius, mul_up(U, out.mid_norm))


def scaled(ball: Ball, divisor: float) -> Ball:
    """Enclose ``M / divisor`` for a number ``divisor >= 1``."""
    mid = ball.mid / divisor
    out = Ball(mid)
    return out.wider(up(ball.radius / divisor), mul_up(U, out.mid_norm), mid.size * ETA)


def unknown(shape: tuple[int, ...]) -> Ball:
    """Return the ball of all matrices."""
    return Ball(np.zeros(shape), math.inf)


# ---------------------------------------------------------------------- scalars
def half_square(ball: Ball, divisor: int = 1) -> tuple[float, float]:
    """Return bounds of ``||M||_F^2 / (2 divisor)`` over the ball."""
    low, high = square_sum(ball.mid)
    least = Fraction(max(math.nextafter(math.nextafter(math.sqrt(low), 0.0) - ball.radius, -1.0), 0.0))
    most = add_up(sqrt_up(high), ball.radius)
    if not most < math.inf:
        return 0.0, math.inf
    return fraction_down(least * least / (2 * divisor)), fraction_up(Fraction(most) ** 2 / (2 * divisor))


def _one_of_size_one(A: Array, B: Array) -> tuple[Array, Array]:
    """Return factors of the same product, the second of about size 1, where powers of two do that without rounding.

    Squares of ``G B`` would leave the range of binary64 where those of ``G`` and ``A B^T`` do not.
    """
    power = int(np.frexp(np.abs(B).max(initial=0.0))[1])
    left, right = np.ldexp(A, power), np.ldexp(B, -power)
    is_exact = np.array_equal(np.ldexp(left, -power), A) and np.array_equal(np.ldexp(right, power), B)
    return (left, right) if is_exact else (A, B)


def inner_product(G: Ball, A: Array, B: Array, size: float) -> tuple[float, float]:
    """Return bounds of ``<G, A B^T>`` over the ball, given ``size >= ||A B^T||_F``.

    ``<mid, A B^T> = <mid B, A>`` with an accurate product, and the rest is at most ``radius ||A B^T||_F``.
    """
    if size == 0.0:
        return 0.0, 0.0
    A, B = _one_of_size_one(A, B)
    H = residual(G.mid, B)
    r = A.shape[1]
    middle = exact_sum(np.einsum("ij,ij->i", H.mid, A))
    a = frobenius(A)
    error = add_up(
        mul_up((r + 1) * U, H.mid_norm, a),
        mul_up(U, abs(middle)),
        A.size * ETA,
        mul_up(H.radius, a),
        mul_up(G.radius, size),
    )
    if not (abs(middle) < math.inf and error < math.inf):
        return -math.inf, math.inf
    return fraction_down(Fraction(middle) - Fraction(error)), fraction_up(Fraction(middle) + Fraction(error))


def paired(E: Ball, values: Array) -> tuple[float, float]:
    """Return bounds of ``<e, values>`` over a ball of vectors."""
    cut, length = values.size // BLOCK * BLOCK, frobenius(values)
    blocks = np.einsum("ij,ij->i", E.mid[:cut].reshape(-1, BLOCK), values[:cut].reshape(-1, BLOCK))
    middle = exact_sum(np.append(blocks, E.mid[cut:] @ values[cut:]))
    error = add_up(
        mul_up((BLOCK + 1) * U, E.mid_norm, length),
        values.size * ETA,
        mul_up(U, abs(middle)),
        mul_up(E.radius, length),
    )
    if not (abs(middle) < math.inf and error < math.inf):
        return -math.inf, math.inf
    return math.nextafter(middle - error, -math.inf), up(middle + error)


def as_ball(given: Ball | Array) -> Ball:
    """Return an array as the ball of radius 0."""
    return given if isinstance(given, Ball) else Ball(given)
