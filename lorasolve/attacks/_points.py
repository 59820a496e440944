"""Families for certifiers: small convex problems whose optimum is known to any number of digits."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np

from .._support.validate import Array
from ..objectives import Denoising, LinearFineTuning
from ..problem import Problem
from ._exact import DIGITS, held_against, singular_values, thresholded
from .base import Failures, Family, Instance


def power(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a random number of random order of magnitude."""
    return float(10.0 ** rng.uniform(low, high))


# ---------------------------------------------------------------------- denoising
def judge_denoising(
    certify: Any, M: list[list[float]], X: list[list[float]], lam: float, dtype: str, as_factors: bool
) -> Failures:
    """Hold a certificate of ``||X - M||_F^2/2 + lam ||X||_*`` against the soft-thresholded SVD in 120 digits."""
    if lam <= 0.0:
        return None
    data = np.array(M, dtype=dtype)
    problem = Problem(Denoising(data), 1, lam)
    point: Any = (np.array(X), np.eye(len(X[0]))) if as_factors else np.array(X)
    certificate = certify(problem, point)
    with mpmath.workdps(DIGITS):
        stored = [[float(v) for v in row] for row in data]
        distance = sum((mpmath.mpf(x) - mpmath.mpf(d)) ** 2 for xs, ds in zip(X, stored) for x, d in zip(xs, ds))
        penalty = mpmath.mpf(lam) * sum(singular_values(X))
        optimum = thresholded(singular_values(stored), mpmath.mpf(lam))
        value = distance / 2 + penalty
        return held_against(certificate, value - optimum, value or mpmath.mpf(1))


def draw_denoising(rng: np.random.Generator, certify: Any) -> Instance:
    """Draw a matrix of any scale and rank, and a point: zero, the optimum as computed, near it, or far from it."""
    m, n = (int(k) for k in rng.integers(1, 5, 2))
    rank = int(rng.integers(1, min(m, n) + 1))
    P = np.linalg.qr(rng.standard_normal((m, rank)))[0]
    Q = np.linalg.qr(rng.standard_normal((n, rank)))[0]
    unit = 1.0 if rng.random() < 0.4 else power(rng, -12, 12)
    s = unit * 10.0 ** rng.uniform(-rng.choice([0.0, 3.0, 10.0]), 0.0, rank)
    M = P * s @ Q.T
    dtype = "float32" if rng.random() < 0.25 else "float64"
    M = M.astype(dtype).astype(float)
    largest = float(np.linalg.norm(M, 2))
    lam = largest * power(rng, *((-13, -8) if rng.random() < 0.3 else (-3, 0.5)))
    p, values, qt = np.linalg.svd(M, full_matrices=False)
    optimum = p * np.maximum(values - lam, 0.0) @ qt
    kind = rng.integers(5)
    noise = rng.standard_normal((m, n)) * np.linalg.norm(optimum)
    X = [0.0 * M, optimum, optimum + power(rng, -12, 0) * noise, M, rng.standard_normal((m, n)) * largest][kind]
    return dict(M=M.tolist(), X=X.tolist(), lam=lam, dtype=dtype, as_factors=bool(rng.random() < 0.5))


# ---------------------------------------------------------------------- linear fine-tuning of one row
def judge_row(certify: Any, w: list[float], z: list[float], y: list[float], x: list[float], lam: float) -> Failures:
    """Hold a certificate of linear fine-tuning with one row and diagonal inputs against the secular equation.

    ``F(x) = sum ((w_i + x_i) z_i - y_i)^2 / (2n) + lam ||x||_2``. A minimiser other than 0 is
    ``x_i = c_i/(z_i^2/n + lam/t)`` with ``c_i = z_i (y_i - w_i z_i)/n``, where ``t`` is its length.
    """
    if lam <= 0.0 or not any(z):
        return None
    problem = Problem(LinearFineTuning([w], np.diag(z), [y]), 1, lam)
    certificate = certify(problem, np.array([x]))
    with mpmath.workdps(DIGITS):
        n, weight = len(z), mpmath.mpf(lam)
        inputs, residuals = [mpmath.mpf(v) for v in z], [mpmath.mpf(b) - mpmath.mpf(a) * c for a, b, c in zip(w, y, z)]
        pull = [c * r / n for c, r in zip(inputs, residuals)]

        def update(t: Any) -> list[Any]:
            return [p / (c * c / n + weight / t) for p, c in zip(pull, inputs)]

        def value(point: list[Any]) -> Any:
            squares = sum((c * v - r) ** 2 for c, v, r in zip(inputs, point, residuals))
            return squares / (2 * n) + weight * mpmath.sqrt(sum(v * v for v in point))

        best = [mpmath.mpf(0)] * n
        if sum(p * p for p in pull) > weight**2:
            # ||x(t)||/t falls; bisection on the logarithm of t.
            low, high = mpmath.mpf(-400), mpmath.mpf(400)
            for _ in range(400):
                middle = (low + high) / 2
                t = mpmath.power(10, middle)
                longer = sum(v * v for v in update(t)) > t * t
                low, high = (middle, high) if longer else (low, middle)
            best = update(mpmath.power(10, low))
        given = value([mpmath.mpf(v) for v in x])
        return held_against(certificate, given - value(best), given or mpmath.mpf(1))


def draw_row(rng: np.random.Generator, certify: Any) -> Instance:
    """Draw inputs of sizes up to nine orders of magnitude apart, targets, no frozen weight, and a point."""
    n = int(rng.integers(1, 4))
    z = 10.0 ** rng.uniform(-rng.choice([0.0, 2.0, 9.0]), 0.0, n)
    z[rng.integers(n)] = 1.0
    return with_a_point(rng, np.zeros(n), z, rng.standard_normal(n) * power(rng, -8, 0))


def draw_fitting(rng: np.random.Generator, certify: Any) -> Instance:
    """Draw a large frozen weight that nearly fits the targets, and a point."""
    n = int(rng.integers(1, 4))
    z = 10.0 ** rng.uniform(-2.0, 0.0, n)
    w = rng.standard_normal(n) * power(rng, 0, 6)
    return with_a_point(rng, w, z, w * z + rng.standard_normal(n) * power(rng, -8, 0))


def with_a_point(rng: np.random.Generator, w: Array, z: Array, y: Array) -> Instance:
    """Add a decay of any size, and a point: zero, a fit of all samples or of those seen well, or a shrunk fit."""
    pull = z * (y - w * z) / len(z)
    lam = max(float(np.linalg.norm(pull)), 1e-300) * power(rng, *((-14, -6) if rng.random() < 0.5 else (-2, 0.3)))
    fits = (y - w * z) / z
    shrunk = pull / (z * z / len(z) + lam / max(float(np.linalg.norm(fits)), 1e-300))
    x = [0.0 * fits, fits, np.where(z > 0.1, fits, 0.0), shrunk][rng.integers(4)]
    return dict(w=w.tolist(), z=z.tolist(), y=y.tolist(), x=x.tolist(), lam=lam)


# ---------------------------------------------------------------------- a user's objective
class Weighted:
    """``sum W o (X - D)^2 / 2`` with ``D`` diagonal, and what a user may state about it."""

    convex = True

    def __init__(self, weights: list[float], diagonal: list[float], off: float, states: bool) -> None:
        k = len(weights)
        self.shape = (k, k)
        self.W = np.full((k, k), off)
        np.fill_diagonal(self.W, weights)
        self.D = np.diag(diagonal)
        if states:
            self.least_squares, self.lower_bound, self.smoothness = True, 0.0, float(self.W.max())

    def value_and_grad(self, X: Any) -> tuple[float, Any]:
        """Return value and gradient."""
        E = X - self.D
        return 0.5 * float(np.sum(self.W * E * E)), self.W * E


def judge_weighted(
    certify: Any, weights: list[float], diagonal: list[float], x: list[float], off: float, lam: float, states: bool
) -> Failures:
    """Hold a certificate at ``diag(x)`` against the soft-thresholded diagonal, the optimum for any weights."""
    if lam <= 0.0 or off < 0.0 or min(weights) <= 0.0:
        return None
    problem = Problem(Weighted(weights, diagonal, off, states), 1, lam)
    certificate = certify(problem, np.diag(x))
    with mpmath.workdps(DIGITS):
        level = mpmath.mpf(lam)
        optimum = sum(thresholded([abs(mpmath.mpf(d))], level, mpmath.mpf(c)) for c, d in zip(weights, diagonal))
        value = sum(
            mpmath.mpf(c) * (mpmath.mpf(v) - mpmath.mpf(d)) ** 2 / 2 + level * abs(mpmath.mpf(v))
            for c, d, v in zip(weights, diagonal, x)
        )
        return held_against(certificate, value - optimum, value or mpmath.mpf(1))


def draw_weighted(rng: np.random.Generator, certify: Any) -> Instance:
    """Draw weights of up to ten orders of magnitude, data, and a point: zero, the data, the optimum, or near it."""
    k = int(rng.integers(1, 4))
    unit = 1.0 if rng.random() < 0.5 else power(rng, -10, 10)
    weights = 10.0 ** rng.uniform(-rng.choice([0.0, 2.0, 10.0]), 0.0, k)
    diagonal = unit * rng.standard_normal(k)
    lam = float(np.abs(weights * diagonal).max()) * power(rng, *((-13, -6) if rng.random() < 0.4 else (-2, 0.3)))
    optimum = np.sign(diagonal) * np.maximum(np.abs(diagonal) - lam / weights, 0.0)
    moved = optimum + power(rng, -9, 0) * unit * rng.standard_normal(k)
    x = [0.0 * diagonal, diagonal, optimum, moved][rng.integers(4)]
    return dict(
        weights=weights.tolist(),
        diagonal=diagonal.tolist(),
        x=x.tolist(),
        off=float(rng.choice([0.0, 1.0, weights.max()])),
        lam=lam,
        states=bool(rng.random() < 0.7),
    )


POINTS = (
    Family(
        "denoising",
        draw_denoising,
        judge_denoising,
        axes={"M": ("m", "n"), "X": ("m", "n")},
        simpler={"dtype": ("float64", "float32"), "as_factors": (False, True)},
    ),
    Family("row", draw_row, judge_row, axes={key: ("n",) for key in "wzyx"}),
    Family("fitting", draw_fitting, judge_row, axes={key: ("n",) for key in "wzyx"}),
    Family(
        "weighted",
        draw_weighted,
        judge_weighted,
        axes={key: ("k",) for key in ("weights", "diagonal", "x")},
        simpler={"states": (True, False)},
    ),
)
