"""PiSSA: the principal part of the frozen weight becomes the adapter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..linear_map import LinearMap
from ..low_rank import balanced
from ..problem import Problem
from ..singular_triplets import top_singular
from .base import Init, Start, weight_refusal


@dataclass(frozen=True)
class PiSSA(Init):
    """Move the top ``r`` singular triplets of ``W0`` into the factors: ``s A B^T = [W0]_r``, ``W`` unchanged.

    The frozen weight becomes ``W0 - [W0]_r``, so with ``lam > 0`` the decay acts on the principal part of the
    weight too, and the convex counterpart is that of the shifted problem.

    Notes
    -----
    Source: F. Meng, Z. Wang, M. Zhang, PiSSA, NeurIPS 2024 (arXiv:2404.02948).
    """

    name = "pissa"
    summary = "top-r singular triplets of W0 moved into the factors (needs W0)"
    merges = True
    keeps_weight = True

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse objectives without a frozen weight, or with a zero one, or None."""
        return weight_refusal(problem)

    def start(self, problem: Problem, rng: np.random.Generator) -> Start:
        """Return balanced ``A`` (m, r), ``B`` (n, r) and ``merged = -[W0]_r``."""
        W0 = np.asarray(problem.objective.W0, dtype=np.float64)
        top = top_singular(LinearMap.from_dense(W0), problem.rank)
        A, B = balanced(top.U, top.values / problem.scale, top.V)
        return Start.within_weight(problem, A, B)
