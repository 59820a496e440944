"""EVA: the principal directions of the inputs as the factor on the input side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.validate import Array, as_flag
from ..objectives import DenseReference
from ..objectives.base import Shifted
from ..problem import Problem
from .base import USE_GAUSSIAN, Init, Start


@dataclass(frozen=True)
class EVA(Init):
    """``B`` the leading ``r`` principal directions of the inputs, ``A = 0``: the update starts at zero.

    The directions are those of most variance, about the mean: right singular vectors of the centred inputs, each with
    its largest entry positive. Note the side: here ``A`` starts at zero, as PEFT's ``lora_B``.

    Parameters
    ----------
    whiten : bool
        Divide each direction by the root of its singular value.

    Notes
    -----
    Source: F. Paischer et al., EVA (arXiv:2410.07170), and PEFT's ``init_lora_weights="eva"``, whose running
    decomposition of batches this is with one batch of all samples. One matrix has no ranks to redistribute.
    """

    whiten: bool = False

    name = "eva"
    summary = "B the principal directions of the inputs, A = 0 (needs inputs Z)"
    keeps_weight = True

    def __post_init__(self) -> None:
        as_flag(self.whiten, "whiten")

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse losses without inputs, too few of them, and an ``A`` that cannot leave zero."""
        Z = inputs(problem)
        if Z is None:
            return f"it needs an objective with inputs (Z); {problem.objective.label} has none"
        if np.linalg.matrix_rank(Z - Z.mean(axis=1, keepdims=True)) < problem.rank:
            return f"it needs inputs that vary in at least {problem.rank} directions"
        if problem.adapter.needs_nonzero_columns:
            return f"it starts at A = 0, and {problem.adapter.name!r} needs nonzero columns in A and B; {USE_GAUSSIAN}"
        if problem.trainable is not None and not problem.split(problem.trainable)[0].any():
            return f"it starts at A = 0, and the factor A is frozen, so the update stays zero; {USE_GAUSSIAN}"
        return None

    def start(self, problem: Problem, rng: np.random.Generator) -> Start:
        """Return ``A = 0`` (m, r) and ``B`` (n, r)."""
        Z: Any = inputs(problem)
        Z = np.asarray(Z, np.float64)
        _, values, Vt = np.linalg.svd((Z - Z.mean(axis=1, keepdims=True)).T, full_matrices=False)
        B = Vt[: problem.rank].T
        B = B * np.sign(B[np.abs(B).argmax(axis=0), np.arange(problem.rank)])
        if self.whiten:
            B = B / np.sqrt(values[: problem.rank])
        return Start(np.zeros((problem.shape[0], problem.rank)), B)


def inputs(problem: Problem) -> Array | None:
    """Return the inputs (n, N) that the loss multiplies by the weight, or None where it has none."""
    objective = problem.objective
    while isinstance(objective, (DenseReference, Shifted)):
        objective = objective.objective
    return getattr(objective, "Z", None)
