"""COLA: a chain of ordinary LoRA blocks (both factors trained), merged when done."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .._support.validate import as_flag
from ..problem import Problem
from ._frozen_blocks import decay_refusal, seen_on_average
from .base import Stage
from .periodic import Periodic


@dataclass(frozen=True)
class ChainOfLoRA(Periodic):
    """Merge ``A B^T`` every ``period`` steps and restart from ``A`` Gaussian, ``B = 0``: PeriodicLoRA without decay.

    Parameters
    ----------
    period, unload_fraction, restart, std
        As for :class:`~lorasolve.schedules.Periodic`.
    resample : bool
        False restarts every block from the factors of the first start. Any ``W`` with ``A0^T grad f(W) = 0``
        is then a fixed point, because both factor gradients vanish there: the chain stalls, up to the limit of
        iterations. It is offered to show that.

    Notes
    -----
    Source: the relative that arXiv 2410.08305 (RAC-LoRA) compares with.

    Correction of the usual account: with fresh factors and a stable step COLA does reach the optimum of the
    paper's example. What fails is the step ``1/L`` on the bilinear subproblem (at a minimiser its curvature is
    at least ``2 sigma_1``, so steps above ``1/sigma_1`` are unstable), factors that are not drawn anew, and too
    few blocks (:mod:`lorasolve.papers.rac_lora`; proofs/rac_lora).

    Fixed points: with fresh factors only ``grad f(W) = 0``. Weight decay is refused, as for ``rac_chain``.
    """

    period: int = 100
    resample: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        as_flag(self.resample, "resample")

    name = "cola"
    summary = "COLA: merge every period, restart with a fresh Gaussian A and B = 0 (needs lam = 0)"

    @property
    def keeps_weight(self) -> bool:
        """False with repeated factors, which bring their update along unless the run started at ``B = 0``."""
        return self.resample and super().keeps_weight

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse weight decay, and what PeriodicLoRA refuses, or None."""
        return super().refusal(problem) or decay_refusal(problem)

    def start(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Keep the init's factors for later restarts if they are to be repeated."""
        return stage if self.resample else stage.remember(first=stage.theta)

    def unseen_gradient(self, stage: Stage) -> float:
        """Return what a fresh ``A`` would see of the gradient where the repeated one sees nothing."""
        return 0.0 if self.resample else seen_on_average(stage.problem, stage.problem.split(stage.theta)[0])

    def transition(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Merge the block and start the next one."""
        if self.resample:
            return super().transition(stage, rng)
        return replace(stage.merge(stage.problem.update(stage.theta)), theta=stage.memory["first"])
