"""Exponential and logarithm with a proven error, from additions, products and quotients only.

No library's accuracy is relied upon: neither NumPy nor the C library promises one.
"""

from __future__ import annotations

import numpy as np

from .._support.validate import Array
from ._rounding import U

# |exp_nonpositive(x) - exp(x)| <= EXP_ERROR exp(x) + TINY, and log1p_nonnegative errs by at most LOG_ERROR log(1 + x)
# + TINY.
EXP_ERROR = 64.0 * U
TINY = 2.0**-1000
LOG_ERROR = 32.0 * U

# Below this, exp(x) < TINY counts as exp(LOWEST).
LOWEST = -700.0
LOG2_E = 1.4426950408889634
# Numbers near this are 1 apart, and its last 12 bits are 0.
SHIFT = 1.5 * 2.0**52
# log 2 = HIGH + LOW up to 2^-86; HIGH has 32 bits, so that k HIGH is exact for |k| < 2^20.
LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
EXP_COEFFICIENTS = tuple(1.0 / factorial for factorial in (
    6227020800.0, 479001600.0, 39916800.0, 3628800.0, 362880.0, 40320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0,
))  # fmt: skip
ATANH_COEFFICIENTS = tuple(1.0 / odd for odd in range(25, 0, -2))


def exp_nonpositive(x: Array) -> Array:
    """Return ``exp(x)`` for ``x <= 0`` with relative error ``EXP_ERROR`` (and ``TINY`` below ``LOWEST``).

    ``x = k log 2 + r``, ``|r| <= 0.3467``; ``x - k HIGH`` and the step after it round once each, at most ``0.36 U``
    each, the rounding of ``k LOW`` and ``2^-86 k`` are below ``2^-70``: ``r`` has error ``0.75 U``. The Taylor
    polynomial of degree 13 leaves ``r^14 / 14! e^|r| < 0.1 U e^r``; Horner's scheme with rounded coefficients errs by
    at most ``28 U e^|r| <= 28 U e^(2 |r|) e^r < 56.2 U e^r`` (Higham, section 5.1). Scaling by ``2^k >= 2^-1010``, a
    binary64 number that is made of its bits, is exact. In all below ``58 U``.
    """
    r = np.maximum(x, LOWEST)
    shifted = r * LOG2_E
    # The last bits of a sum with this are those of the nearest integer, k.
    shifted += SHIFT
    k = shifted - SHIFT
    part = k * LN2_HIGH
    r -= part
    r -= np.multiply(k, LN2_LOW, out=part)
    p = part
    p.fill(EXP_COEFFICIENTS[0])
    for coefficient in EXP_COEFFICIENTS[1:]:
        p *= r
        p += coefficient
    power = shifted.view(np.int64)
    power <<= 52
    power += 1023 << 52
    p *= power.view(np.float64)
    return p


def log1p_nonnegative(x: Array) -> Array:
    """Return ``log(1 + x)`` for ``x >= 0`` with relative error ``LOG_ERROR`` (and ``TINY`` where a quotient
    underflows).

    Up to 1/2: ``2 atanh(s)`` with ``s = x / (2 + x) <= 0.2``. Beyond: ``1 + x = 2^k z``, ``z`` in ``[0.7, 1.42]``,
    and ``k log 2 + 2 atanh(s)`` with ``s = (z - 1) / (z + 1)``, ``|s| < 0.18``, where ``z - 1`` is exact. ``s`` has
    relative error ``2.1 U``; 13 terms of ``atanh(s)/s = 1 + s^2/3 + ...`` leave less than ``0.04^13/27 < 1e-19``;
    Horner's scheme, whose terms are ``>= 0``, errs by at most ``25 U``, the argument ``s^2`` by ``0.1 U``: in all
    ``29 U`` of ``2 atanh(s)``, the bound for the first case. In the second, ``|2 atanh(s)| <= 0.36`` makes
    ``10.5 U``, the rounding of ``1 + x`` makes ``1.1 U``, the sums ``0.4 U + U log(1 + x)``: with
    ``log(1 + x) >= 0.405`` at most ``31 U log(1 + x)``.
    """
    small = x <= 0.5
    mantissa, exponent = np.frexp(1.0 + np.where(small, 0.5, x))
    low = mantissa < 0.7071067811865476
    z = np.where(low, 2.0 * mantissa, mantissa)
    k = (exponent - low).astype(np.float64)
    s = np.where(small, x / (2.0 + x), (z - 1.0) / (z + 1.0))
    w = s * s
    p = np.full_like(w, ATANH_COEFFICIENTS[0])
    for coefficient in ATANH_COEFFICIENTS[1:]:
        p *= w
        p += coefficient
    tail = 2.0 * s * p
    return np.where(small, tail, k * LN2_HIGH + (k * LN2_LOW + tail))
