"""Which features follow from others, exactly: a column given twice, the classes of a category and a constant.

Such relations have small fractions as coefficients. They are guessed in floating point and held against every sample in
exact arithmetic, so that what is counted is proved.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from .._support.validate import Array

# Coefficients are fractions of such denominators, and guessed when they are that close.
DENOMINATOR, NEAR = 64, 1e-6
# Times their common denominator they are below this, so that products with half of the bits of a number are exact.
LARGEST = 2**26


def rank_at_most(Z: Array, S: Array) -> int:
    """Return an upper bound of the rank of samples ``Z`` (n, N), features of about one size with ``S = Z Z^T / N``.

    The number of features less the relations found, or the number of different samples.
    """
    from scipy.linalg import lapack, solve_triangular

    L, order, k, _ = lapack.dpstrf(S, tol=len(S) * float(np.finfo(np.float64).eps), lower=1)
    order = order - 1
    coefficients = solve_triangular(L[:k, :k], L[k:, :k].T, lower=True, trans=1)
    related = sum(_holds(Z, order[:k], feature, c) for feature, c in zip(order[k:], coefficients.T))
    return min(len(S) - related, len({sample.tobytes() for sample in Z.T}))


def _holds(Z: Array, others: Array, feature: int, coefficients: Array) -> bool:
    """Whether ``Z[feature]`` is exactly the combination of other features, with fractions near the coefficients."""
    guessed = [Fraction(c).limit_denominator(DENOMINATOR) for c in coefficients.tolist()]
    common = math.lcm(*(fraction.denominator for fraction in guessed))
    far = np.abs(coefficients - np.array(guessed, float)).max(initial=0.0) > NEAR
    terms = [(-common, feature), *((int(common * c), other) for c, other in zip(guessed, others) if c)]
    if far or max(abs(factor) for factor, _ in terms) > LARGEST:
        return False
    parts = []
    for factor, row in terms:
        mantissa, exponent = np.frexp(Z[row])
        first = np.ldexp(np.rint(np.ldexp(mantissa, 26)), exponent - 26)
        parts += [factor * first, factor * (Z[row] - first)]
    return all(math.fsum(column) == 0.0 for column in np.array(parts).T)
