"""RAC-LoRA: a chain of blocks, each with one factor drawn at random and frozen, merged when done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from .._support.keywords import suggest
from .._support.validate import Array, as_choice, as_flag, as_integer, as_number, as_text
from ..adapters.lora import LoRA
from ._frozen_blocks import FrozenBlocks, seen_on_average
from ._sketches import SKETCHES, Sketch
from .base import Stage

Side = Literal["auto", "left", "right", "mixed"]


@dataclass(frozen=True)
class RACChain(FrozenBlocks):
    """Randomized asymmetric chain of LoRA blocks.

    In matrix form a block with the left factor ``Q`` frozen and one step of size ``gamma`` is
    ``W+ = W - gamma Q Q^T G``: gradient descent seen through a random projection ``H = Q Q^T`` with
    ``E[H] = (r/m) I`` on the left and ``(r/n) I`` on the right. With ``gamma = 1/L`` the gap of a function with
    the Polyak-Lojasiewicz constant ``mu`` contracts on average by ``1 - gamma mu r/m`` a step or better
    (:mod:`lorasolve.papers.rac_lora`), and so does the gap with any number of inner steps.

    Use it with gradient descent at ``step_size = 1/L`` (the rates) or with any other optimizer (no rates: the
    published experiments use AdamW). The optimizer's state starts anew in each block.

    Parameters
    ----------
    inner : int
        Steps in each block.
    side : {"auto", "left", "right", "mixed"}
        Which factor is drawn and frozen: ``A`` (left), ``B`` (right), that of the smaller dimension (auto, the
        best rate; the left one where ``m = n``), or the left one with the given probability (mixed).
    probability : float
        Of the left side, for ``side="mixed"``.
    sketch : {"haar", "gaussian", "coordinate"}
        The law of the frozen factor. Haar and coordinate frames are orthonormal, so ``H`` is a projector and the
        rates hold. A Gaussian one gives ``H = A A^T``, and needs ``gamma <= 1/(L ||A||_2^2)``.
    resample : bool
        False repeats the first sketch in every block: the chain then stalls where ``Q^T G = 0``, up to the limit
        of iterations. It is offered to show that.

    Notes
    -----
    Source: Malinovsky et al., "Randomized Asymmetric Chain of LoRA", arXiv 2410.08305. Its left sketch (``B_S``
    random) is our left side.

    Departures: orthonormal sketches instead of Gaussian ones with a pseudo-inverse; the side is explicit because
    the rate is ``r/m`` or ``r/n`` accordingly (the paper quotes ``r/n``); ``alpha/r`` belongs to the step size.

    Fixed points: with fresh sketches only ``grad f(W) = 0``; with repeated ones every ``W`` with ``Q^T G = 0``.
    Weight decay is refused: the decay of the current block is not the nuclear norm of what was accumulated.
    proofs/rac_lora covers the closed form, the mean projector, the exact rate and the failing examples.
    """

    inner: int = 1
    side: Side = "auto"
    probability: float = 0.5
    sketch: Sketch = "haar"
    resample: bool = True

    name = "rac_chain"
    summary = "RAC-LoRA: blocks with a random frozen factor, merged after each (full-rank optimum, needs lam = 0)"

    def __post_init__(self) -> None:
        as_integer(self.inner, "inner", 1)
        as_number(self.probability, "probability", 0.0, 1.0)
        as_choice(self.side, "side", ("auto", "left", "right", "mixed"))
        as_flag(self.resample, "resample")
        if as_text(self.sketch, "sketch") not in SKETCHES:
            raise ValueError(f"sketch: unknown {self.sketch!r}.{suggest(self.sketch, list(SKETCHES))}")

    def is_boundary(self, stage_iteration: int, max_iter: int) -> bool:
        """Return True after every ``inner`` iterations."""
        return stage_iteration >= self.inner

    def unseen_gradient(self, stage: Stage) -> float:
        """Return what a frame as long as the block's, in a random position, sees of the gradient on average."""
        A, B, _ = stage.problem.split(stage.theta)
        return seen_on_average(stage.problem, A if cast(LoRA, stage.problem.adapter).frozen == "A" else B)

    def next_frame(self, stage: Stage, rng: np.random.Generator) -> tuple[str, Array, Stage]:
        """Return a side and a sketch, both drawn where the settings say so."""
        side = self._draw_side(stage.problem.shape, rng)
        return side, *self._draw_sketch(stage, side, rng)

    def _draw_side(self, shape: tuple[int, int], rng: np.random.Generator) -> str:
        if self.side == "auto":
            return "left" if shape[0] <= shape[1] else "right"
        if self.side == "mixed":
            return "left" if rng.random() < self.probability else "right"
        return self.side

    def _draw_sketch(self, stage: Stage, side: str, rng: np.random.Generator) -> tuple[Array, Stage]:
        known = stage.memory.get(f"sketch {side}")
        if known is not None and not self.resample:
            return known, stage
        rows = stage.problem.shape[0 if side == "left" else 1]
        Q = SKETCHES[self.sketch](rows, stage.problem.rank, rng)
        return Q, stage if self.resample else stage.remember(**{f"sketch {side}": Q})
