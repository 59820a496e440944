"""Random sketches: the frozen factor of a block in chains of adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from .._support.validate import Array

Sketch = Literal["haar", "gaussian", "coordinate"]


def haar(rows: int, rank: int, rng: np.random.Generator) -> Array:
    """Return a uniformly distributed orthonormal frame (rows, rank): the QR factor of a Gaussian, signs fixed."""
    Q, R = np.linalg.qr(rng.standard_normal((rows, rank)))
    return Q * np.where(np.diag(R) < 0.0, -1.0, 1.0)


def gaussian(rows: int, rank: int, rng: np.random.Generator) -> Array:
    """Return independent ``N(0, 1/rows)`` entries (rows, rank): columns of length one on average."""
    return rng.standard_normal((rows, rank)) / np.sqrt(rows)


def coordinate(rows: int, rank: int, rng: np.random.Generator) -> Array:
    """Return ``rank`` different columns of the identity (rows, rank)."""
    Q = np.zeros((rows, rank))
    Q[rng.choice(rows, rank, replace=False), np.arange(rank)] = 1.0
    return Q


SKETCHES: dict[Sketch, Callable[[int, int, np.random.Generator], Array]] = {
    "haar": haar,
    "gaussian": gaussian,
    "coordinate": coordinate,
}
