"""What tests of an objective draw and measure with: points in its domain, and the sizes of its rounding errors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .._support.validate import Array
from ..objectives import difference_product, natural_length
from ..objectives.base import Objective

# Random points that most statements are tested at.
POINTS = 3
# Where a loss has a domain: so many directions are tried, so much farther than a test point. The farthest points of the
# checks lie about 10 times as far.
DOMAIN_DRAWS, FARTHEST = 30, 16.0
# Points from which rounding errors are measured, their spacing, and how much larger the errors elsewhere may be.
NEIGHBOURS, SPACING, SPREAD = 8, 2e-5, 30.0
# Columns of the widest factors that are tried: some minimisers over one factor take their cube for every row.
MOST_COLUMNS = 64


class Rounding(NamedTuple):
    """Bounds of rounding errors: of a value, of a gradient (its length), and of a slope."""

    value: float
    gradient: float
    slope: float


def rounding_noise(answers: Array) -> float:
    """Return a bound of the rounding errors in answers at equally spaced points that are close together.

    Their third differences hold little else. The median is neither that of a kink nor zero by chance.
    """
    third = np.diff(answers, 3, axis=0).reshape(NEIGHBOURS - 3, -1)
    lengths = np.linalg.norm(third, axis=1)
    return SPREAD * float(np.median(lengths[np.isfinite(lengths)])) if np.isfinite(lengths).any() else 0.0


@dataclass
class Bench:
    """The objective under test, its generator of randomness, and the rounding level of its type."""

    f: Objective
    rng: np.random.Generator
    scale: float
    eps: float = field(init=False)

    def __post_init__(self) -> None:
        self.eps = float(np.finfo(self.f.dtype).eps)
        self.scale *= self._share_in_domain()

    def _share_in_domain(self) -> float:
        """Return by how much points are drawn towards 0 so that all that the checks evaluate are in the domain."""
        rng = np.random.default_rng(0)
        directions = [rng.standard_normal(self.f.shape) for _ in range(DOMAIN_DRAWS)]
        for k in range(40):
            share = 0.5**k
            farthest = FARTHEST * share * self.scale
            if all(self.f.domain(sign * farthest * D) for D in directions for sign in (1.0, -1.0)):
                return share
        raise ValueError(
            f"objective: {self.f.label}.domain is False at points near X = 0, the frozen weight, which it must contain"
        )

    @property
    def tol(self) -> float:
        """Relative difference allowed between two routes to the same number."""
        return 2e3 * self.eps

    @property
    def curvature_tol(self) -> float:
        """The same where one route may be a difference of gradients."""
        return 100.0 * self.eps ** (2 / 3)

    def matrix(self) -> Array:
        """Return a random m x n matrix."""
        return self.scale * self.rng.standard_normal(self.f.shape)

    def factors(self, rank: int) -> tuple[Array, Array, Array, Array]:
        """Return random ``A, B, U, V`` of the objective's type, with products of the size of :meth:`matrix`."""
        m, n = self.f.shape
        root = math.sqrt(self.scale) / rank**0.25
        draws = (root * self.rng.standard_normal((k, rank)) for k in (m, n, m, n))
        A, B, U, V = (draw.astype(self.f.dtype) for draw in draws)
        return A, B, U, V

    def ranks(self) -> list[int]:
        """Return the numbers of columns that the factor level is tried with."""
        return sorted({1, min(2, *self.f.shape), min(MOST_COLUMNS, *self.f.shape)})

    def rounding(self, X: Array, D: Array) -> Rounding:
        """Return the rounding errors of what the objective answers near ``X``, and of its slope along ``D``.

        Measured, not derived from ``dtype``: an objective of float32 data may compute in float64 or not.
        """
        answers = [self.f.value_and_grad(X + SPACING * k * D) for k in range(NEIGHBOURS)]
        gradients = np.array([G for _, G in answers], dtype=np.float64)
        return Rounding(
            rounding_noise(np.array([f for f, _ in answers])),
            rounding_noise(gradients),
            rounding_noise(np.tensordot(gradients, D, 2)),
        )

    def product_noise(self, X: Array, D: Array, H: Array) -> float:
        """Return the error of a Hessian product that is a difference of gradients: how another step changes it."""
        if not self.f.differenced:
            return 0.0
        length = max(natural_length(self.f), float(np.linalg.norm(X))) or 1.0
        return 10.0 * float(np.linalg.norm(difference_product(self.f, X, D, 2.0 * length) - H))
