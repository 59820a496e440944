"""Gradients too large to decompose, with their largest singular value where the target does not look."""

from __future__ import annotations

import contextlib
from typing import Any

import mpmath
import numpy as np

from .._support.validate import Array
from ..linear_map import LinearMap
from ..problem import Problem
from ._exact import DIGITS, held_against
from ._points import power
from .base import Failures, Family, Instance

# A certifier may decompose matrices of up to 250,000 entries exactly.
SMALLEST = 501

# A bound with a stated failure probability may fail once, not as often as this in a row.
REPEATS = 3

# Lengths tried for a row that is orthogonal to the last bit: one in ten is.
LENGTHS = 100

# What is recorded of a block of start vectors; with more columns nothing is orthogonal to all and still simple.
COLUMNS = 6


class Hidden:
    """``||X - M||_F^2/2`` for an n x n ``M`` with singular values ``||row||``, ``last``, and ``rest`` times 1 to 1/2.

    All but the largest of the latter are times ``apart`` too. Its first rows are ``row`` and zeros, as many as ``row``
    has entries; further down it is diagonal. What its gradient is multiplied by is kept in ``seen``.
    """

    convex = True
    least_squares = True
    smoothness = 1.0
    lower_bound = 0.0

    def __init__(self, n: int, row: list[float], rest: float, last: float, apart: float = 1.0) -> None:
        self.shape = (n, n)
        k = len(row)
        self.diagonal = rest * np.linspace(1.0, 0.5, n - k - 1)
        self.diagonal[1:] *= apart
        self.M = np.zeros((n, n))
        self.M[0, :k] = row
        self.M[range(k, n), range(k, n)] = [*self.diagonal, last]
        self.seen: list[Any] = []

    def value_and_grad(self, X: Any) -> tuple[float, Any]:
        """Return value and gradient."""
        G = X - self.M
        return 0.5 * float(np.vdot(G, G)), G

    def gradient_operator(self, A: Any, B: Any) -> LinearMap:
        """Return the gradient through its products, which are recorded."""
        G = A @ B.T - self.M

        def times(V: Any) -> Any:
            self.seen.append(np.array(V))
            return G @ V

        return LinearMap(self.shape, times, lambda U: G.T @ U)


def judge_hidden(
    certify: Any, n: int, row: list[float], rest: float, lam: float, kept: float, apart: float = 1.0
) -> Failures:
    """Hold certificates against the closed form: the gap is ``sum max(sigma - lam, 0)^2/2`` over what ``X`` leaves out.

    ``X`` is ``kept`` in its last place, which is optimal there, and zero otherwise.
    """
    if lam <= 0.0 or kept < 0.0 or not any(row) or n <= len(row) + 1:
        return None
    failures: dict[str, str] = {}
    for attempt in range(REPEATS):
        last = lam + kept if kept else 0.0
        objective = Hidden(n, row, rest, last, apart)
        A, B = np.zeros((2, n, 1))
        A[-1], B[-1] = max(last - lam, 0.0), 1.0
        certificate = certify(Problem(objective, 1, lam), (A, B))
        with mpmath.workdps(DIGITS):
            level, place = mpmath.mpf(lam), mpmath.mpf(float(A[-1, 0]))
            top = mpmath.sqrt(sum(mpmath.mpf(v) ** 2 for v in row))
            rest_of_it = [mpmath.mpf(float(v)) for v in objective.diagonal]
            over = sum(max(s - level, mpmath.mpf(0)) ** 2 / 2 for s in [top, *rest_of_it])
            left = mpmath.mpf(last) - place
            gap = over + ((left - level) ** 2 / 2 if kept else 0)
            value = (top * top + sum(v * v for v in rest_of_it) + left**2) / 2 + level * place
            found = held_against(certificate, gap, value)
        failures = found if attempt == 0 else {claim: found[claim] for claim in found if claim in failures}
        if not failures:
            return {}
    return failures


def draw_hidden(rng: np.random.Generator, certify: Any) -> Instance:
    """Ask the target twice what it multiplies the gradient with; where it repeats itself, hide from that.

    Where it does not, the largest singular value stands alone, a little above ``lam``, over many a little below.
    """
    n = int(rng.integers(SMALLEST, SMALLEST + 60))
    rest = float(rng.uniform(0.5, 0.99))
    kept = float(rng.choice([0.0, 2.0]))
    first, again = (first_vectors(certify, n, rest, kept) for _ in range(2))
    if first is None or again is None or not np.array_equal(first, again):
        row, rest = [1.0 + power(rng, -5, -1)], 1.0 - power(rng, -5, -1)
    else:
        row = unseen_row(rng, first, 0.1, 3.0)
        if notices(certify, n, row, rest, kept):
            # Its own rounding errors lead the target there. They grow slowly where values are alike, and a value a
            # little apart, which it does find, ends its search before they have.
            rest, kept, apart = float(rng.uniform(0.97, 0.985)), 0.0, 0.95
            row = unseen_row(rng, first, 0.015, 0.04)
            return dict(n=n, row=row, rest=rest, lam=1.0, kept=kept, apart=apart)
    return dict(n=n, row=row, rest=rest, lam=1.0, kept=kept)


def unseen_row(rng: np.random.Generator, first: Array, low: float, high: float) -> list[float]:
    """Return a row orthogonal to the given vectors, to the last bit if one of many lengths is so.

    Rounding would be enough for Lanczos to find its way: it multiplies the row by its square in every step.
    """
    k = first.shape[1] + 1
    direction = np.linalg.svd(first[:k].T)[2][-1]
    row: list[float] = []
    for _ in range(LENGTHS):
        row = (power(rng, low, high) * direction).tolist()
        if not (Hidden(len(first), row, 0.0, 0.0).M @ first)[0].any():
            break
    return row


def notices(certify: Any, n: int, row: list[float], rest: float, kept: float) -> bool:
    """Whether the target multiplies the gradient with a vector that is not orthogonal to a row, up to rounding."""
    seen = multiplied(certify, Hidden(n, row, rest, 1.0 + kept if kept else 0.0), kept)
    parts = (np.linalg.norm(row @ V[: len(row)]) / np.linalg.norm(V) for V in seen if V.any())
    return any(part > 1e-8 * np.linalg.norm(row) for part in parts)


def first_vectors(certify: Any, n: int, rest: float, kept: float) -> Any:
    """Return the first vectors, other than ``X``'s own, that the target multiplies a gradient with; None if unseen."""
    seen = multiplied(certify, Hidden(n, [rest, 0.0], rest, 1.0 + kept if kept else 0.0), kept)
    telling = (V for V in seen if V.ndim == 2 and V.shape[1] <= COLUMNS and V[: COLUMNS + 1].any())
    return next(telling, None)


def multiplied(certify: Any, objective: Hidden, kept: float) -> list[Any]:
    """Return what the target multiplies a gradient with."""
    A, B = np.zeros((2, objective.shape[0], 1))
    A[-1], B[-1] = kept, 1.0
    with contextlib.suppress(Exception):  # the judge will see it too
        certify(Problem(objective, 1, 1.0), (A, B))
    return objective.seen


HIDDEN = Family("hidden", draw_hidden, judge_hidden, least={"n": SMALLEST})
