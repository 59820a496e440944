"""Revival of closed gates: the answer to gate death in SoRA."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from .._support.validate import Array, as_integer, as_number
from ..adapters.base import split
from ..adapters.sora import SoRA
from ..objectives.base import Objective
from ..singular_triplets import top_singular
from ._gates import OfGates
from .base import Stage


@dataclass(frozen=True)
class Revive(OfGates):
    """Every so often, and whenever a run is stationary, re-seed a closed gate from the top singular pair of ``-G``.

    A closed gate cannot reopen by itself once its columns have died. Here its columns become ``size u``, ``size v``
    with ``(u, v)`` the top singular pair of ``-G``, so that ``X`` does not change and the gate's gradient is
    ``-s size^2 ||G||_2``, or ``-s ||G||_2`` for unit columns, which enter through their directions only. A point with
    a closed gate is left that way where this gradient is larger than ``gate_penalty``; a stationary point without such
    a gate ends the run.

    With ``SoRA(variant="unit_columns")`` and convex ``f`` this reaches the optimum of
    ``f + (gate_penalty/s) ||X||_*`` from any start and for any ``size``, as long as a gate is left to open: the run
    only ends where ``s ||G||_2 <= gate_penalty``, which is the optimality condition of the nuclear norm. With weight
    decay instead of unit columns it is a heuristic.

    Parameters
    ----------
    period : int
        Steps between two looks; each takes one gradient and its largest singular value beside the oracle calls.
    size : float
        Length of the re-seeded columns; for unit columns it sets only how fast they turn.
    tolerance : float
        Relative excess of the gate's gradient over the penalty that is not worth a revival.
    """

    period: int = 50
    size: float = 1.0
    tolerance: float = 1e-7

    name = "revive"
    summary = "re-seed closed SoRA gates from the gradient's top singular pair"

    def __post_init__(self) -> None:
        as_integer(self.period, "period", 1)
        as_number(self.size, "size", 0.0, open_low=True)
        as_number(self.tolerance, "tolerance", 0.0)

    def is_boundary(self, stage_iteration: int, max_iter: int) -> bool:
        """Return True after every ``period`` steps."""
        return stage_iteration % self.period == 0

    def transition(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Open a gate if that lowers the objective, else leave the stage alone."""
        problem = stage.problem
        adapter = cast(SoRA, problem.adapter)
        slope = problem.scale * (1.0 if adapter.has_nuclear_penalty else self.size**2)
        threshold = adapter.gate_penalty * (1.0 + self.tolerance) / slope
        theta = revived(problem.objective, adapter, stage.theta, problem.rank, self.size, threshold)
        return stage if theta is None else replace(stage, theta=theta)


def revived(
    objective: Objective, adapter: SoRA, theta: Array, rank: int, size: float, threshold: float
) -> Array | None:
    """Return ``theta`` with a closed component re-seeded; None if none is closed or ``||G||_2 <= threshold``."""
    theta = theta.copy()
    A, B, g = split(theta, objective.shape, rank)
    closed = np.flatnonzero(g == 0.0)
    if not closed.size:
        return None
    top = top_singular(objective.gradient_operator(*adapter.folded(theta, objective.shape, rank)))
    if top.values[0] <= threshold:
        return None
    A[:, closed[0]], B[:, closed[0]] = -size * top.U[:, 0], size * top.V[:, 0]
    return theta
