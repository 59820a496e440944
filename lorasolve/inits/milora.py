"""MiLoRA: the minor part of the frozen weight becomes the adapter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..low_rank import balanced
from ..problem import Problem
from .base import Init, Start, weight_refusal


@dataclass(frozen=True)
class MiLoRA(Init):
    """Move the last ``r`` singular triplets of ``W0`` into the factors: ``s A B^T = W0 - [W0]_{k-r}``, ``W`` unchanged.

    ``k = min(m, n)``. What was learnt first keeps the principal directions for itself, which stay frozen. As for
    :class:`~lorasolve.inits.PiSSA`, decay acts on what was moved.

    Notes
    -----
    Source: H. Wang et al., MiLoRA, NAACL 2025 (arXiv:2406.09044); the split of the factors is PiSSA's.
    """

    name = "milora"
    summary = "last r singular triplets of W0 moved into the factors (needs W0)"
    merges = True
    keeps_weight = True

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse objectives without a frozen weight, or whose minor part is zero, or None."""
        refused = weight_refusal(problem)
        if refused is not None:
            return refused
        values = np.linalg.svd(np.asarray(problem.objective.W0, np.float64), compute_uv=False)
        rounding = max(problem.shape) * np.finfo(problem.dtype).eps * values[0]
        if values[-problem.rank] > rounding:
            return None
        return f"the last {problem.rank} singular values of W0, which it takes, are zero"

    def start(self, problem: Problem, rng: np.random.Generator) -> Start:
        """Return balanced ``A`` (m, r), ``B`` (n, r) and ``merged``, minus the minor part of ``W0``."""
        U, values, Vt = np.linalg.svd(np.asarray(problem.objective.W0, np.float64), full_matrices=False)
        r = problem.rank
        A, B = balanced(U[:, -r:], values[-r:] / problem.scale, Vt[-r:].T)
        return Start.within_weight(problem, A, B)
