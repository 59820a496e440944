"""GoLore: GaLore with random projectors, which converges where GaLore does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.validate import Array, as_integer
from ._sketches import haar
from .base import Stage
from .galore import GaLore


@dataclass(frozen=True)
class GoLore(GaLore):
    """GaLore whose projectors, after the first ``leading`` ones, are uniformly distributed orthonormal frames.

    A random frame is independent of the gradient noise, so that on average ``P P^T G`` is ``(r/m) grad f``. Around
    gradient descent, and with ``leading = 0``, this is :class:`~lorasolve.schedules.RACChain` with ``inner = period``
    and the same side; where ``m = n``, ``"auto"`` is the right one here and the left one there.

    Parameters
    ----------
    period, side, batch_size
        As for :class:`~lorasolve.schedules.GaLore`.
    leading : int
        Blocks at the beginning with GaLore's own projectors (the paper's advice for large models).

    Notes
    -----
    Source: Y. He et al., arXiv:2410.11289 (ICML 2025), and its released code. Fixed points: ``grad f(W) = 0``.
    """

    leading: int = 0

    name = "golore"
    summary = "GoLore: full-rank steps through random projectors (needs lam = 0)"

    def __post_init__(self) -> None:
        super().__post_init__()
        as_integer(self.leading, "leading", 0)

    def start(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Count the first block and start it."""
        return super().start(stage, rng).remember(blocks=1)

    def transition(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Merge the block, and count and start the next one."""
        return super().transition(stage, rng).remember(blocks=stage.memory["blocks"] + 1)

    def frame(self, stage: Stage, side: str, rng: np.random.Generator) -> Array:
        """Return a random frame, or GaLore's in the first blocks."""
        if stage.memory.get("blocks", 0) < self.leading:
            return super().frame(stage, side, rng)
        return haar(stage.problem.shape[0 if side == "left" else 1], stage.problem.rank, rng)
