"""PeriodicLoRA: unload the adapter into the frozen weight every so often and go on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .._support.validate import as_choice, as_integer, as_number
from ..inits.lora import LoRAStart
from ..inits.spectral import gradient_step
from ..linear_map import LinearMap
from ..problem import Problem
from ..singular_triplets import top_singular
from .base import Schedule, Stage

# Above lam by less than this share, ||G||_2 leaves the next stage nothing to gain.
STAGE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Periodic(Schedule):
    """Unload the adapter into the frozen weight every ``period`` steps; ``W`` changes by a gradient restart only.

    ``unload_fraction = 1`` merges the whole update and restarts from new factors, so that after ``K`` stages the
    total update has rank up to ``K r``. A fraction ``mu`` below 1 merges ``mu s A B^T`` and scales both factors
    by ``sqrt(1 - mu)`` ("momentum" unloading), which also leaves ``W`` alone because ``mu + (1 - mu) = 1``
    (factors scaled by ``1 - mu`` would change it); gates stay, and weigh the merged product too. The optimizer's state
    starts anew in each stage. A stage that converges ends early, and the run ends when the next one starts at a
    stationary point.

    Parameters
    ----------
    period : int
        Steps in a stage.
    unload_fraction : float
        In (0, 1].
    restart : {"lora", "gradient"}
        Factors after a full unload: the LoRA start, or (balanced) the top ``r`` singular triplets of the gradient
        step ``-grad f(W)/beta``, with which every stage does at least as well as that step.
    std : float, optional
        Standard deviation of the entries of ``A`` after a LoRA restart; by default that of the LoRA start.

    Notes
    -----
    Source: arXiv:2402.16141 (PeriodicLoRA; proofs/periodic_merge); full unloading is also ReLoRA and chained LoRA.

    **Weight decay.** The decay is that of the current adapter; merging forgets the penalty already paid for what
    is merged. The limit of a run with ``lam > 0`` is therefore not the nuclear-norm solution in general: stages
    go on exactly as long as ``||grad f(W)||_2 > lam/s``, and where that fails ``X = 0`` is optimal for the next
    stage, so nothing is unloaded any more. For the identity Hessian (denoising) the limit is the nuclear-norm
    solution all the same. With ``lam = 0`` and full unloads the limit is the full fine-tuning optimum for convex
    ``f``. A momentum unload scales a stationary point into another one, so it leaves no point that plain LoRA
    would not leave.
    """

    period: int = 250
    unload_fraction: float = 1.0
    restart: Literal["lora", "gradient"] = "lora"
    std: float | None = None

    name = "periodic"
    summary = "PeriodicLoRA: merge the adapter (or a fraction of it) every period, then restart"
    has_stages = True
    merges = True

    def __post_init__(self) -> None:
        as_integer(self.period, "period", 1)
        as_number(self.unload_fraction, "unload_fraction", 0.0, 1.0, open_low=True)
        as_choice(self.restart, "restart", ("lora", "gradient"))
        LoRAStart(self.std)

    @property
    def keeps_weight(self) -> bool:
        """Whether the new factors stand for a zero update, or the old ones go on."""
        return self.restart == "lora" or self.unload_fraction < 1.0

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse frozen factors, and what has no restart of the given kind, or None."""
        if problem.trainable is not None and not problem.trainable[: problem.n_factor_parameters].all():
            return "it restarts both factors; use 'rac_chain' for a frozen one"
        if self.restart == "gradient":
            return problem.low_rank_refusal()
        if problem.adapter.needs_nonzero_columns:
            return f"it restarts at B = 0, and {problem.adapter.name!r} needs nonzero columns in A and B"
        return None

    def is_boundary(self, stage_iteration: int, max_iter: int) -> bool:
        """Return True after every ``period`` steps."""
        return stage_iteration % self.period == 0

    def transition(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Unload; the same stage is returned where the next one could not gain anything."""
        gradient = _gradient(stage)
        if top_singular(gradient).values[0] <= (1.0 + STAGE_TOLERANCE) * stage.problem.lam_effective:
            return stage
        if self.unload_fraction < 1.0:
            return self._unload_part(stage)
        stage = stage.merge(stage.problem.update(stage.theta))
        if self.restart == "gradient":
            A, B = gradient_step(stage.problem, gradient)
        else:
            start = LoRAStart(self.std).start(stage.problem, rng)
            A, B = start.A, start.B
        return replace(stage, theta=stage.problem.join(A, B))

    def _unload_part(self, stage: Stage) -> Stage:
        """Scale the factors, and merge what is then missing, so that ``W`` stays."""
        problem = stage.problem
        theta = stage.theta.copy()
        theta[: problem.n_factor_parameters] *= math.sqrt(1.0 - self.unload_fraction)
        if "W0" in problem.adapter.requires:
            # DoRA's direction is W0 + s A B^T; its update depends on what is merged.
            A, B, _ = problem.split(stage.theta)
            unloaded = self.unload_fraction * problem.scale * (A @ B.T)
        else:
            # Gates stay, and weigh what is merged.
            unloaded = problem.update(stage.theta) - problem.update(theta)
        return replace(stage.merge(unloaded), theta=theta)


def _gradient(stage: Stage) -> LinearMap:
    """Return ``grad f`` at the stage's weight."""
    problem = stage.problem
    if problem.adapter.low_rank:
        A, B, _ = problem.split(stage.theta)
        return problem.objective.gradient_operator(problem.scale * A, B)
    G = problem.objective.value_and_grad(problem.update(stage.theta))[1]
    return LinearMap.from_dense(G.astype(np.float64, copy=False))
