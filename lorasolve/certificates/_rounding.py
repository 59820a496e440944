"""The model of binary64 arithmetic that rigorous bounds assume, and the steps that carry its errors.

The model
---------
1. ``+ - * /`` and the square root round to the nearest binary64 number, with gradual underflow: the result is
   ``x (1 + d) + e`` with ``|d| <= U``, ``|e| <= ETA / 2`` and ``d e = 0``; sums have ``e = 0``.
2. A sum of products (``matmul``, ``dot``, ``einsum``, ``sum``) is evaluated as such a sum, in any order and with or
   without fused operations; never by a Strassen-like scheme.
3. Scaling by powers of two, ``rint``, comparisons and ``fsum`` are exact or correctly rounded.

Then a sum of ``k`` products satisfies, for every order of evaluation and every ``k`` with ``k U <= 1``,

    |fl(x^T y) - x^T y| <= (k + 1) U |x|^T |y| + k ETA:

the products carry ``U |x_i y_i| + ETA / 2`` each, and the sum of the rounded products ``p`` at most ``(k - 1) U sum
|p_i|`` (Jeannerod and Rump, "Improved error bounds for inner products in floating-point arithmetic", SIAM Journal on
Matrix Analysis and Applications 34, 2013, proposition 3.1, where no restriction on ``k`` and no term of second order
is needed). Overflow makes an infinity or a NaN; every bound then is infinite, because a NaN never compares as small.

``environment_refusal`` tests what can be tested of the model while running. It is a test, not a proof.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import numpy as np

from .._support.threads import blas_threads
from .._support.validate import Array

# Unit roundoff and the smallest positive number.
U = 2.0**-53
ETA = 2.0**-1074
# Sums of products longer than twice this are summed in blocks of this length, which makes their error constant small.
BLOCK = 128
# A factor that covers any fixed number (below 2^20) of roundings in the evaluation of an error bound itself.
INFLATE = 1.0 + 2.0**-30

_INFINITY = math.inf


# ---------------------------------------------------------------------- directed scalars
def up(x: float) -> float:
    """Return the next larger number: an upper bound of anything that rounds to ``x``; NaN becomes infinite."""
    return math.nextafter(x, _INFINITY) if x == x else _INFINITY


def add_up(*terms: float) -> float:
    """Return an upper bound of the sum of numbers ``>= 0``; exact where at most one of them is not 0."""
    total = 0.0
    for term in terms:
        if total == 0.0:
            total = term
        elif term != 0.0:
            total = math.nextafter(total + term, _INFINITY)
    return total if total == total else _INFINITY


def mul_up(*factors: float) -> float:
    """Return an upper bound of the product of numbers ``>= 0``; 0 times infinity is infinite here."""
    product = 1.0
    for factor in factors:
        if product == 1.0:
            product = factor
        elif product == 0.0 or factor == 0.0:
            # A sum that is not a number is not below infinity.
            product = 0.0 if product + factor < _INFINITY else _INFINITY
        elif factor != 1.0:
            product = math.nextafter(product * factor, _INFINITY)
    return product if product == product else _INFINITY


def sqrt_up(x: float) -> float:
    """Return an upper bound of the square root of ``x >= 0``."""
    return up(math.sqrt(x)) if x < _INFINITY else _INFINITY


def fraction_up(x: Fraction) -> float:
    """Return the smallest binary64 number ``>= x`` (infinity beyond the largest)."""
    try:
        nearest = float(x)
    except OverflowError:
        return _INFINITY if x > 0 else -math.nextafter(_INFINITY, 0.0)
    return nearest if Fraction(nearest) >= x else math.nextafter(nearest, _INFINITY)


def fraction_down(x: Fraction) -> float:
    """Return the largest binary64 number ``<= x``."""
    return -fraction_up(-x)


def sum_error(k: int) -> float:
    """Return the factor ``(k + 1) U`` of a sum of ``k`` products, or that of :func:`blocked` for a long one.

    In blocks the length of a sum is that of a block plus the number of blocks: the errors add up to ``(b + 1) U``
    within and ``(q - 1) U`` between ``q`` blocks, and their products are below ``2 U`` for ``b q U <= 1``.
    """
    return (terms(k) + 1) * U


def terms(k: int) -> int:
    """Return the number of terms that the error of a sum of ``k`` products, in blocks if long, behaves like."""
    return k if k <= 2 * BLOCK else BLOCK + -(-k // BLOCK) + 2


def blocked(A: Array, B: Array) -> Array:
    """Return ``A @ B``, for matrices or stacks of them, with a long inner dimension summed in blocks."""
    k = A.shape[-1]
    if k <= 2 * BLOCK:
        return A @ B
    C = A[..., :BLOCK] @ B[..., :BLOCK, :]
    part = np.empty_like(C)
    for first in range(BLOCK, k, BLOCK):
        np.matmul(A[..., first : first + BLOCK], B[..., first : first + BLOCK, :], out=part)
        C += part
    return C


# ---------------------------------------------------------------------- sums and norms of arrays of numbers
def exact_sum(values: Array) -> float:
    """Return the sum of an array, rounded once; NaN where it is not a finite number."""
    try:
        return math.fsum(values.ravel(order="K").tolist())
    except (OverflowError, ValueError):
        return math.nan


def nonnegative_sum(values: Array) -> tuple[float, float]:
    """Return the sum of numbers ``>= 0`` and a bound of its error, much faster than an exact one.

    Sums of ``BLOCK`` numbers have a relative error of at most ``(BLOCK - 1) U``; they are added up by ``fsum``, which
    rounds once.
    """
    flat = values.ravel(order="K")
    cut = flat.size // BLOCK * BLOCK
    total = exact_sum(np.concatenate([flat[:cut].reshape(-1, BLOCK).sum(axis=1), flat[cut:]]))
    return total, mul_up(BLOCK * U, total, INFLATE)


def square_sum(x: Array) -> tuple[float, float]:
    """Return bounds ``low <= sum x^2 <= high`` for an array of numbers.

    Sums of at most ``BLOCK`` squares, each with relative error ``(BLOCK + 1) U``, are added up by ``fsum``, which
    rounds once; squares that underflow add ``ETA`` each.
    """
    if x.size == 0:
        return 0.0, 0.0
    flat = x.ravel(order="K")
    k = min(BLOCK, flat.size)
    cut = flat.size // k * k
    if cut == k:
        # One block and what is left of it: most arrays of small problems.
        parts = [flat[:k] @ flat[:k]]
    else:
        rows = flat[:cut].reshape(-1, k)
        parts = np.einsum("ij,ij->i", rows, rows).tolist()
    total = exact_sum(np.array([*parts, flat[cut:] @ flat[cut:]]))
    if not total < _INFINITY:
        return 0.0, _INFINITY
    tiny = flat.size * ETA
    # 1 - (k + 3) U is a binary64 number; the divisor's sides bound the errors of the sums, of fsum and of the step
    # below.
    high = up(add_up(total, tiny) / (1.0 - (k + 3) * U))
    low = max(math.nextafter(math.nextafter(total - tiny, 0.0) * (1.0 - (k + 3) * U), 0.0), 0.0)
    return low, high


def frobenius(x: Array) -> float:
    """Return an upper bound of the Frobenius norm of an array of numbers, from one sum in any order."""
    flat = x.ravel(order="K")
    total = float(np.dot(flat, flat))
    # As in :func:`square_sum`, with all squares in one block: at most 1e-9 above the norm for 10^7 numbers.
    return sqrt_up(up(add_up(total, flat.size * ETA) / (1.0 - (flat.size + 3) * U))) if total < _INFINITY else _INFINITY


def column_norms(x: Array) -> Array:
    """Return upper bounds of the lengths of the columns of ``x`` (m, k)."""
    m = x.shape[0]
    # The last factor covers the roundings of this line; what underflows in the squares is added under the root.
    return np.sqrt(np.einsum("ij,ij->j", x, x) + 2.0 * m * ETA) * (1.0 + (m + 16) * U)


def row_norms(x: Array) -> Array:
    """Return upper bounds of the lengths of the rows of ``x`` (m, k)."""
    k = x.shape[1]
    return np.sqrt(np.einsum("ij,ij->i", x, x) + 2.0 * k * ETA) * (1.0 + (k + 16) * U)


def weighted_sum(lengths: Array, others: Array) -> float:
    """Return an upper bound of ``sum_i lengths_i others_i`` for numbers ``>= 0``."""
    return mul_up(add_up(exact_sum(lengths * others), lengths.size * ETA), 1.0 + 4.0 * U)


# ---------------------------------------------------------------------- error-free transformations
def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return ``high + low = a + b`` exactly, ``high`` the rounded sum (Knuth, volume 2, section 4.2.2)."""
    high = a + b
    part = high - a
    return high, (a - (high - part)) + (b - part)


def significant_bits(k: int) -> int:
    """Return how many bits the leading parts of two factors may have for ``k`` of their products to add up exactly.

    Products of integers of at most ``2^b`` are at most ``2^(2b)``, ``k`` of them at most ``2^53``.
    """
    return (53 - (k - 1).bit_length()) // 2


def split(x: Array, bits: int, axis: int) -> tuple[Array, Array]:
    """Return ``high + low = x`` exactly, ``high`` with at most ``bits`` bits below the largest entry along ``axis``.

    With ``|x| < 2^t`` along the axis, ``high`` is a multiple of ``2^(t - bits)`` of size at most ``2^t``: adding and
    subtracting ``sigma = 0.75 * 2^(t + 53 - bits)``, whose neighbours are that far apart, rounds ``x`` to such a
    multiple, and what is left is a binary64 number (Ozaki, Ogita, Oishi, Rump, "Error-free transformations of matrix
    multiplication by using fast routines of matrix multiplication", Numerical Algorithms 59, 2012).
    """
    top = np.abs(x).max(axis=axis, keepdims=True)
    exponent = np.frexp(top)[1]
    sigma = np.ldexp(0.75, exponent + (53 - bits))
    high = x + sigma
    high -= sigma
    return high, x - high


# ---------------------------------------------------------------------- what can be tested of the model
def environment_refusal() -> str | None:
    """Return why the arithmetic of this process does not fit the model, or None where no test fails.

    Tested at every call: rounding to nearest and gradual underflow, which a library that is loaded later may switch
    off. Once per process (about 0.1 s): products of graded matrices entry by entry (which a Strassen-like product
    fails), and LAPACK's Cholesky factor of an ill-conditioned matrix entry by entry (which one through inverted
    blocks fails).
    """
    one, tiny = np.array([1.0]), np.array([ETA])
    if not (one + U == one and one + U * (1.0 + 2.0**-50) > one and one - U < one):
        return "sums do not round to nearest"
    if not (tiny * one > 0.0 and np.array([2.0**-1022]) / 2.0 > 0.0):
        return "numbers below 2^-1022 are flushed to zero"
    return _matrix_refusal()


@functools.cache
def _matrix_refusal() -> str | None:
    """Test products and factorisations of matrices."""
    from scipy.linalg import lapack

    rng = np.random.default_rng(1)
    n = 300
    A, B = (rng.integers(1, 2**20, (n, n)).astype(np.float64) for _ in range(2))
    d = 2.0 ** rng.integers(-150, 150, n)
    graded, plain = (A * d[:, None]) @ (B * d), d[:, None] * (A @ B) * d
    if not (np.abs(graded - plain) <= 2 * (n + 1) * U * plain).all():
        return "products of matrices are not accurate entry by entry"
    with blas_threads(1):  # on two it takes 20 times as long where another program has one of the cores
        Q = np.linalg.qr(A)[0]
    M = (Q * 10.0 ** -np.linspace(0.0, 12.0, n)) @ Q.T
    M = np.tril(M) + np.tril(M, -1).T
    L, info = lapack.dpotrf(M, lower=1, clean=1)
    size = np.abs(L) @ np.abs(L).T
    if info != 0 or not (np.abs(L @ L.T - M) <= 2 * (n + 3) * U * size).all():
        return "LAPACK's Cholesky factor is not accurate entry by entry"
    return None
