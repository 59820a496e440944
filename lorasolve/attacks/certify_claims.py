"""A certifier given plainly false claims of a user: it is expected to notice, that is, not to certify what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

from ..problem import Problem
from ._exact import AT_LEAST, DIGITS, held_against, thresholded
from .base import Attack, Failures, Family, Instance
from .certify import imported


class Misstated:
    """``sum (X - D)^2 / 2`` with ``D`` diagonal; the gradient is wrong by a factor, the lower bound by a shift."""

    convex = True
    least_squares = True
    smoothness = 1.0

    def __init__(self, diagonal: list[float], factor: float, lower_bound: float) -> None:
        self.D = np.diag(diagonal)
        self.shape = self.D.shape
        self.factor = factor
        self.lower_bound = lower_bound

    def value_and_grad(self, X: Any) -> tuple[float, Any]:
        """Return the value, and the gradient times the factor."""
        E = X - self.D
        return 0.5 * float(np.sum(E * E)), self.factor * E


def judge_misstated(
    certify: Any, diagonal: list[float], x: list[float], lam: float, factor: float, lower_bound: float
) -> Failures:
    """Hold a certificate at ``diag(x)`` against the optimum of the true function; a refusal is no failure."""
    if lam <= 0.0 or (factor == 1.0 and lower_bound <= 0.0):
        return None
    try:
        certificate = certify(Problem(Misstated(diagonal, factor, lower_bound), 1, lam), np.diag(x))
    except ValueError:
        return {}
    with mpmath.workdps(DIGITS):
        level = mpmath.mpf(lam)
        optimum = thresholded([abs(mpmath.mpf(d)) for d in diagonal], level)
        value = sum((mpmath.mpf(v) - mpmath.mpf(d)) ** 2 / 2 + level * abs(mpmath.mpf(v)) for d, v in zip(diagonal, x))
        return held_against(certificate, value - optimum, value or mpmath.mpf(1))


def draw_gradient(rng: np.random.Generator, certify: Any) -> Instance:
    """Draw a factor on the gradient, and the point that is optimal by the wrong gradient."""
    diagonal = 3.0 * rng.standard_normal(int(rng.integers(1, 4)))
    factor = float(rng.choice([0.5, 2.0, 1.1, -1.0]))
    lam = float(np.abs(diagonal).max()) * 10.0 ** rng.uniform(-2, 0)
    x = np.sign(diagonal) * np.maximum(np.abs(diagonal) - lam / abs(factor), 0.0)
    return dict(diagonal=diagonal.tolist(), x=x.tolist(), lam=lam, factor=factor, lower_bound=0.0)


def draw_lower_bound(rng: np.random.Generator, certify: Any) -> Instance:
    """Draw a lower bound that the point given lies on or below."""
    diagonal = 3.0 * rng.standard_normal(int(rng.integers(1, 4)))
    x = diagonal * rng.choice([0.0, 0.5], diagonal.size)
    value = 0.5 * float(np.sum((x - diagonal) ** 2))
    lam = float(np.abs(diagonal).max()) * 10.0 ** rng.uniform(-2, 0)
    return dict(
        diagonal=diagonal.tolist(),
        x=x.tolist(),
        lam=lam,
        factor=1.0,
        lower_bound=value * float(rng.choice([0.5, 1.0, 2.0])),
    )


class CosineLoss:
    """``sum cos X``, said to be convex; 0 is its maximum."""

    convex = True
    smoothness = 1.0

    def __init__(self, m: int, n: int, bounded: bool) -> None:
        self.shape = (m, n)
        if bounded:
            self.lower_bound = -float(m * n)

    def value_and_grad(self, X: Any) -> tuple[float, Any]:
        """Return value and gradient."""
        return float(np.sum(np.cos(X))), -np.sin(X)


def judge_cosine(certify: Any, m: int, n: int, lam: float, bounded: bool) -> Failures:
    """Hold a certificate of ``X = 0`` against the better point with ``pi`` in all entries; a refusal is no failure."""
    if not 0.0 < lam < 0.5:
        return None
    try:
        certificate = certify(Problem(CosineLoss(m, n, bounded), 1, lam), np.zeros((m, n)))
    except ValueError:
        return {}
    with mpmath.workdps(DIGITS):
        gap = 2 * m * n - mpmath.mpf(lam) * mpmath.pi * mpmath.sqrt(m * n)
        failures = held_against(certificate, gap, mpmath.mpf(m * n))
        # The better point bounds the gap from one side only.
        failures.pop(AT_LEAST, None)
        return failures


def draw_cosine(rng: np.random.Generator, certify: Any) -> Instance:
    """Draw a shape and a small weight of the nuclear norm."""
    m, n = (int(k) for k in rng.integers(1, 5, 2))
    return dict(m=m, n=n, lam=10.0 ** rng.uniform(-3, -0.5), bounded=bool(rng.random() < 0.5))


@dataclass(frozen=True)
class CertifyClaimsAttack(Attack):
    """Facts that are grossly false: a gradient off by a factor, a lower bound above the value, a convex cosine.

    No certifier can notice every lie; these are the plain ones, and nothing adapts to its checks. An error that says
    so, an unknown or a certificate that happens to be right about the true function all count as noticed.

    Parameters
    ----------
    subject : str
        The certifier as ``package.function``.
    """

    subject: str = "lorasolve.certify"

    name = "certify_claims"
    summary = (
        "certify_claims, or certify_claims:package.function: certificates for objectives that state something plainly "
        "false, which the certifier should notice"
    )

    def target(self) -> Callable[..., Any]:
        """Return the certifier."""
        certifier: Callable[..., Any] = imported(self.subject)
        return certifier

    def families(self) -> tuple[Family, ...]:
        """Return one family a lie."""
        axes = {"diagonal": ("k",), "x": ("k",)}
        return (
            Family("gradient", draw_gradient, judge_misstated, axes),
            Family("lower_bound", draw_lower_bound, judge_misstated, axes),
            Family("cosine", draw_cosine, judge_cosine, least={"m": 1, "n": 1}, simpler={"bounded": (False, True)}),
        )
