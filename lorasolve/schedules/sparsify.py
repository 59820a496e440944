"""SoRA's sparsifying schedule: raise the gate penalty stage by stage and go on from where the last stage ended."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from .._support.validate import as_iterable, as_number, shown
from ..adapters.sora import SoRA
from ._gates import OfGates
from .base import Stage


@dataclass(frozen=True)
class Sparsify(OfGates):
    """Train once, then again at each larger gate penalty, warm-started (the paper's Algorithm 1).

    Parameters
    ----------
    penalties : tuple of float
        The gate penalties of the stages, increasing; each stage ends when it is stationary or has had its equal
        share of the iterations, at least one: a run of fewer ends before the last penalty, and its message says so.
        The adapter's own ``gate_penalty`` is not used.

    Notes
    -----
    Source: arXiv 2311.11696 (SoRA). Departure: each stage trains with the full step size. In the released driver
    the later stages re-use a learning-rate schedule past its end, where the rate is 0, so that they only shrink
    the gates (read from the code, not executed). A closed gate cannot reopen once its columns have died (gate
    death); before that it may.
    """

    penalties: tuple[float, ...] = tuple(np.linspace(0.0, 7e-4, 7).tolist())

    name = "sparsify"
    summary = "SoRA's stages of increasing gate penalty, warm-started"

    def __post_init__(self) -> None:
        values = [as_number(value, "penalties", 0.0) for value in as_iterable(self.penalties, "penalties")]
        if not values or values != sorted(set(values)):
            raise ValueError(f"penalties: expected increasing numbers >= 0, got {shown(self.penalties)}")

    def start(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Set the first penalty."""
        return self._at(stage, 0)

    def is_boundary(self, stage_iteration: int, max_iter: int) -> bool:
        """Return True once a stage has had its share of the iterations."""
        return stage_iteration >= max(1, max_iter // len(self.penalties))

    def unseen_gradient(self, stage: Stage) -> float:
        """Return infinity while penalties are to come: a point that is stationary at one need not be at others."""
        return math.inf if stage.memory["penalty index"] + 1 < len(self.penalties) else 0.0

    def unfinished(self, stage: Stage) -> str:
        """Return which penalty the run came to, where it is not the last."""
        reached, last = self.penalties[stage.memory["penalty index"]], self.penalties[-1]
        return f"the gate penalty had come to {reached:.3g} of {last:.3g}" if reached < last else ""

    def transition(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Set the next penalty; after the last one the stage goes on unchanged."""
        following = stage.memory["penalty index"] + 1
        return self._at(stage, following) if following < len(self.penalties) else stage

    def _at(self, stage: Stage, index: int) -> Stage:
        adapter = replace(cast(SoRA, stage.problem.adapter), gate_penalty=self.penalties[index])
        return replace(stage.remember(**{"penalty index": index}), problem=stage.problem.replace(adapter=adapter))
