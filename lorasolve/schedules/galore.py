"""GaLore: full-rank training seen through the leading singular vectors of the gradient, renewed every period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .._support.validate import Array, as_choice, as_integer
from ..problem import Problem
from ._frozen_blocks import FrozenBlocks
from .base import Stage


@dataclass(frozen=True)
class GaLore(FrozenBlocks):
    """Blocks with one factor frozen at the top ``r`` singular vectors of the gradient, merged after each.

    With the left factor ``P`` frozen, ``B`` moves by ``-step * G^T P``: the whole weight by ``-step * P P^T G``, which
    is GaLore around gradient descent; any other optimizer works on the small matrix ``P^T G`` in the same way.

    Parameters
    ----------
    period : int
        Steps between two projectors.
    side : {"auto", "left", "right"}
        Which singular vectors: those of the smaller dimension (auto; right ones where ``m = n``).
    batch_size : int, optional
        Samples that the projector's gradient is computed from, drawn anew for each; by default all of them. The step's
        own batch is that of the optimizer (``sgd``).

    Notes
    -----
    Source: J. Zhao et al., GaLore, ICML 2024 (arXiv:2403.03507), and its released code. Departures: the optimizer's
    state starts anew with each projector (the release keeps moments of the last one's coordinates); the projector's
    batch is not the step's; the factor ``alpha`` belongs to the step size.

    Fixed points: with all samples ``grad f(W) = 0``. With few, every ``W`` whose gradient is orthogonal to the leading
    singular vectors of its noise: **GaLore need not converge** (Y. He et al., arXiv:2410.11289;
    :mod:`lorasolve.papers.galore` has their example). Weight decay is refused, as for ``rac_chain``.
    """

    period: int = 200
    side: Literal["auto", "left", "right"] = "auto"
    batch_size: int | None = None

    name = "galore"
    summary = "GaLore: full-rank steps projected on the gradient's leading singular vectors (needs lam = 0)"

    def __post_init__(self) -> None:
        as_integer(self.period, "period", 1)
        as_choice(self.side, "side", ("auto", "left", "right"))
        if self.batch_size is not None:
            as_integer(self.batch_size, "batch_size", 1)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse weight decay, other adapters and batches of what has no samples, or None."""
        reason = None if self.batch_size is None else problem.objective.batch_refusal()
        return super().refusal(problem) or (None if reason is None else f"batch_size: {reason}")

    def is_boundary(self, stage_iteration: int, max_iter: int) -> bool:
        """Return True after every ``period`` iterations."""
        return stage_iteration >= self.period

    def next_frame(self, stage: Stage, rng: np.random.Generator) -> tuple[str, Array, Stage]:
        """Return the side of the smaller dimension, or the given one, and its projector."""
        m, n = stage.problem.shape
        side = self.side if self.side != "auto" else "left" if m < n else "right"
        return side, self.frame(stage, side, rng), stage

    def frame(self, stage: Stage, side: str, rng: np.random.Generator) -> Array:
        """Return the orthonormal columns of the next projector, (m, r) on the left or (n, r) on the right."""
        U, _, Vt = np.linalg.svd(self._gradient(stage.problem, rng), full_matrices=False)
        return (U if side == "left" else Vt.T)[:, : stage.problem.rank]

    def _gradient(self, problem: Problem, rng: np.random.Generator) -> Array:
        """Return the gradient of ``f``, or of a batch of its samples, at the merged weight."""
        objective = problem.objective
        count = objective.facts.n_samples
        if self.batch_size is not None and count is not None and self.batch_size < count:
            objective = objective.sample_batch(np.sort(rng.choice(count, self.batch_size, replace=False)))
        return objective.value_and_grad(np.zeros(problem.shape, problem.dtype))[1]
