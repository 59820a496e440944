"""COLA: a chain of ordinary LoRA blocks (both factors trained), merged when done."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .._validate import as_integer, as_number
from ..inits.lora import LoRAStart
from ..problem import Problem
from .base import Schedule, Stage
from .rac_chain import refuse_decay


@dataclass(frozen=True)
class ChainOfLoRA(Schedule):
    """Merge ``A B^T`` every ``inner`` iterations and restart from ``A`` Gaussian, ``B = 0``, both trained.

    Parameters
    ----------
    inner : int
        Steps in each block.
    std : float, optional
        Standard deviation of the entries of a fresh ``A``; by default ``1/sqrt(m)``.
    resample : bool
        False restarts every block from the factors of the first start. Any ``W`` with ``A0^T grad f(W) = 0``
        is then a fixed point, because both factor gradients vanish there: the chain stalls.

    Notes
    -----
    Source: the relative that arXiv 2410.08305 (RAC-LoRA) compares with.

    Correction of the usual account: with fresh factors and a stable step COLA does reach the optimum of the
    paper's example. What fails is the step ``1/L`` on the bilinear subproblem (at a minimiser its curvature is
    at least ``2 sigma_1``, so steps above ``1/sigma_1`` are unstable), factors that are not drawn anew, and too
    few blocks (:mod:`lorasolve.methods.rac_lora`; proofs/rac_lora).

    Fixed points: with fresh factors only ``grad f(W) = 0``. Weight decay is refused, as for ``rac_chain``.
    """

    inner: int = 100
    std: float | None = None
    resample: bool = True

    name = "cola"
    summary = "COLA: merge every `inner` iterations, restart with a fresh Gaussian A and B = 0 (needs lam = 0)"

    def __post_init__(self) -> None:
        as_integer(self.inner, "inner", 1)
        if self.std is not None:
            as_number(self.std, "std", 0.0, open_low=True)

    def check(self, problem: Problem) -> None:
        """Refuse weight decay."""
        refuse_decay(self.name, problem)

    def is_boundary(self, stage_iteration: int, max_iter: int) -> bool:
        """Return True after every ``inner`` iterations."""
        return stage_iteration >= self.inner

    def start(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Keep the init's factors for later restarts if they are to be repeated."""
        return stage if self.resample else stage.remember(first=stage.theta)

    def transition(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Merge the block and start the next one."""
        stage = stage.merge(stage.problem.update(stage.theta))
        if not self.resample:
            return replace(stage, theta=stage.memory["first"])
        problem = stage.problem
        fresh = LoRAStart(self.std).start(problem, rng)
        return replace(stage, theta=problem.join(fresh.A, fresh.B))
