"""What is true of a certificate's point, in extended precision, and a certificate held against it."""

from __future__ import annotations

from typing import Any

import mpmath

# Decimal digits of extended precision: squares of numbers from 1e-12 to 1e12 and their cancelled differences.
DIGITS = 120

# So many of them may be lost; a smaller gap, relative to the value, counts as none.
MARGIN = 40

GAP = "the true gap is at most the certified one"
GLOBAL = "is_global is True only within the tolerance of the optimum"
REFUTED = "is_global is not False at an optimum"
AT_LEAST = "the true gap is at least gap_at_least"

TOL = 1e-6


def held_against(certificate: Any, gap: Any, scale: Any) -> dict[str, str]:
    """Return which claims of a certificate the true gap refutes; ``scale`` is what ``is_global`` is relative to."""
    failures = {}
    if gap < scale * mpmath.mpf(10) ** (MARGIN - DIGITS):  # what is left where everything cancels
        gap = mpmath.mpf(0)
    shown = f"true gap {mpmath.nstr(gap, 8)}, that is {mpmath.nstr(gap / scale, 3)} relative"
    if gap > mpmath.mpf(certificate.gap):
        failures[GAP] = f"{shown}; certified gap {certificate.gap!r}"
    if certificate.is_global is True and gap > 1.01 * TOL * scale:
        failures[GLOBAL] = f"{shown}; is_global True at tolerance {TOL}"
    if certificate.is_global is False and gap < 0.99 * TOL * scale:
        failures[REFUTED] = f"{shown}; is_global False at tolerance {TOL}"
    if mpmath.mpf(certificate.gap_at_least) > gap:
        failures[AT_LEAST] = f"{shown}; gap_at_least {certificate.gap_at_least!r}"
    return failures


def singular_values(M: list[list[float]]) -> list[Any]:
    """Return the singular values of a small matrix in extended precision."""
    if len(M) == 1 or len(M[0]) == 1:
        return [mpmath.sqrt(sum(mpmath.mpf(v) ** 2 for row in M for v in row))]
    return list(mpmath.svd_r(mpmath.matrix(M), compute_uv=False))


def thresholded(values: list[Any], lam: Any, curvature: Any = 1) -> Any:
    """Return the minimum of ``(c/2) ||X - M||^2 + lam ||X||_*`` from the singular values of ``M``."""
    level = lam / curvature
    return sum(
        (lam * (s - level / 2) if s > level else curvature * s * s / 2 for s in values),
        mpmath.mpf(0),
    )
