"""Chains of blocks that are merged into the frozen weight one by one: what their schedules share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from .._support.validate import Array
from ..adapters.lora import LoRA
from ..problem import Problem
from .base import Schedule, Stage


@dataclass(frozen=True)
class FrozenBlocks(Schedule):
    """Base class: blocks with one factor frozen and the other one started at zero, merged after each.

    A subclass says which factor is frozen next, and at what (:meth:`next_frame`).
    """

    has_stages = True
    merges = True

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse weight decay and adapters without factors to freeze, or None."""
        if not isinstance(problem.adapter, LoRA):
            return f"it freezes a factor of the adapter 'lora' and cannot use {problem.adapter.name!r}"
        return decay_refusal(problem)

    def start(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Merge the update that the run starts from, if it is not zero, and start the first block."""
        update = stage.problem.update(stage.theta)
        return self._block(stage.merge(update) if update.any() else stage, rng)

    def transition(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Merge the block and start the next one."""
        return self._block(stage.merge(stage.problem.update(stage.theta)), rng)

    def next_frame(self, stage: Stage, rng: np.random.Generator) -> tuple[str, Array, Stage]:
        """Return the next block's side, "left" or "right", its frozen factor, and the stage, which may remember it."""
        raise NotImplementedError

    def _block(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Replace the factors, whose update is merged or zero, by those of a new block."""
        side, Q, stage = self.next_frame(stage, rng)
        m, n = stage.problem.shape
        lora = cast(LoRA, stage.problem.adapter)
        problem = stage.problem.replace(adapter=replace(lora, frozen="A" if side == "left" else "B"))
        zero = np.zeros((n if side == "left" else m, problem.rank))
        theta = problem.join(Q, zero) if side == "left" else problem.join(zero, Q)
        return replace(stage, problem=problem, theta=theta)


def seen_on_average(problem: Problem, Q: Array) -> float:
    """Return the size of ``s Q^T grad f(W)``, or ``s grad f(W) Q``, for a factor like ``Q`` in random position."""
    G = problem.objective.value_and_grad(np.zeros(problem.shape, problem.dtype))[1]
    return problem.scale * float(np.linalg.norm(Q) * np.linalg.norm(G)) / math.sqrt(len(Q))


def decay_refusal(problem: Problem) -> str | None:
    """Return why a schedule that merges blocks, whose decay is no penalty of the whole update, refuses ``lam > 0``."""
    if not problem.lam:
        return None
    return (
        f"it minimises f itself and needs lam = 0, got {problem.lam:g}; the decay of the current block is not the "
        "nuclear norm of the accumulated update"
    )
