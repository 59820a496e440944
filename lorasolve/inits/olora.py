"""OLoRA: orthonormal columns from the QR factorisation of the frozen weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..problem import Problem
from .base import Init, Start, weight_refusal


@dataclass(frozen=True)
class OLoRA(Init):
    """``A`` the first ``r`` columns of ``Q``, ``B^T`` the first ``r`` rows of ``R`` of ``W0 = Q R``, ``W`` unchanged.

    ``s A B^T`` is taken from the frozen weight. The factors are not balanced: ``A`` is orthonormal, ``B`` carries all
    of the length, and the part that is moved depends on the order of the inputs.

    Notes
    -----
    Source: K. Bueyuekakyuez, OLoRA (arXiv:2406.01775), and PEFT's ``init_lora_weights="olora"``.
    """

    name = "olora"
    summary = "QR factors of W0 moved into the factors (needs W0)"
    merges = True
    keeps_weight = True

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse objectives without a frozen weight, or with a zero one, or None."""
        return weight_refusal(problem)

    def start(self, problem: Problem, rng: np.random.Generator) -> Start:
        """Return ``A`` (m, r) orthonormal, ``B`` (n, r) and ``merged = -s A B^T``."""
        Q, R = np.linalg.qr(np.asarray(problem.objective.W0, np.float64))
        A, B = Q[:, : problem.rank], R[: problem.rank].T.copy()
        return Start.within_weight(problem, A, B)
