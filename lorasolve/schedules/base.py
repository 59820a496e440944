"""What a schedule is: a factor on the step size, and what happens between the stages of a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from .._validate import Array
from ..problem import Problem


@dataclass(frozen=True)
class Stage:
    """The problem and parameters of a stage, and what has been merged into the frozen weight before it.

    ``memory`` holds what a schedule keeps for its later transitions (a snapshot, a first sketch), by name.
    """

    problem: Problem
    theta: Array
    merged: Array | None = None
    memory: dict[str, Any] = field(default_factory=dict)

    def remember(self, **entries: Any) -> Stage:
        """Return the same stage with entries added to its memory; problem and parameters are left alone."""
        return replace(self, memory=self.memory | entries)

    def merge(self, update: Array) -> Stage:
        """Return the stage with ``update`` (m, n) moved into the frozen weight; the factors are left alone."""
        objective = self.problem.objective.merged(update)
        merged = update.copy() if self.merged is None else self.merged + update
        return replace(self, problem=self.problem.replace(objective=objective), merged=merged)


@dataclass(frozen=True)
class Schedule:
    """Base class of all schedules. Several schedules combine: factors multiply, transitions run in order."""

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""

    def check(self, problem: Problem) -> None:
        """Refuse a problem this schedule cannot work with, with the reason."""

    def start(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Return the first stage from the start that the init made."""
        return stage

    @property
    def has_stages(self) -> bool:
        """Whether this schedule changes stages at all."""
        return type(self).transition is not Schedule.transition

    def step_factor(self, iteration: int, max_iter: int) -> float:
        """Return the factor on the optimizer's step size at an iteration (0-based) of at most ``max_iter``."""
        return 1.0

    def is_boundary(self, iteration: int, max_iter: int) -> bool:
        """Return whether a new stage starts after ``iteration`` iterations (>= 1)."""
        return False

    def transition(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Return the start of the next stage from the end of the last one.

        If problem and parameters are those of the given stage (see :meth:`Stage.remember`), the optimizer keeps
        its state; otherwise it starts anew.
        """
        return stage
