"""Balanced factors with equal singular values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from .base import Init, Start


@dataclass(frozen=True)
class Balanced(Init):
    """``A = sqrt(c) Q_A``, ``B = sqrt(c) Q_B`` with random orthonormal columns: ``A^T A = B^T B = c I``.

    All ``r`` singular values of ``A B^T`` equal the scale ``c``, and the balance that every stationary point of
    ``L`` with ``lam > 0`` has (main paper, section 2; proofs/stationary_structure) holds from
    the start, and a gradient step changes it by second order only (proofs/flow_conservation).

    Parameters
    ----------
    scale : float
        The singular value ``c`` of ``A B^T``.
    """

    scale: float = 0.01

    name = "balanced"
    summary = "random orthonormal directions, A^T A = B^T B = scale * I"

    def __post_init__(self) -> None:
        as_number(self.scale, "scale", 0.0, open_low=True)

    def start(self, problem: Problem, rng: np.random.Generator) -> Start:
        """Return balanced ``A`` (m, r) and ``B`` (n, r)."""
        m, n = problem.shape
        root = math.sqrt(self.scale)
        return Start(root * _frame(m, problem.rank, rng), root * _frame(n, problem.rank, rng))


def _frame(rows: int, rank: int, rng: np.random.Generator) -> Array:
    """Return random orthonormal columns."""
    return np.linalg.qr(rng.standard_normal((rows, rank)))[0]
