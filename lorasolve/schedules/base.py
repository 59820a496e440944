"""What a schedule is: a factor on the step size, and what happens between the stages of a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from .._support.validate import Array, as_instance, is_floating, shown
from ..problem import Problem


@dataclass(frozen=True)
class Stage:
    """The problem and parameters of a stage, and what has been merged into the frozen weight before it.

    ``memory`` holds what a schedule keeps for its later transitions (a snapshot, a first sketch), by name.

    Raises
    ------
    ValueError, TypeError
        For what is no problem, parameters that are not those of it, and an update that is none of its shape.
    """

    problem: Problem
    theta: Array
    merged: Array | None = None
    memory: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problem = as_instance(self.problem, "stage.problem", Problem)
        if not is_floating(self.theta, (problem.size,)):
            raise ValueError(
                f"stage.theta: expected a vector of {problem.size} parameters in floating point, got "
                f"{shown(self.theta)}"
            )
        if self.merged is not None and not is_floating(self.merged, problem.shape):
            raise ValueError(
                f"stage.merged: expected None or an array of shape {problem.shape} in floating point, got "
                f"{shown(self.merged)}"
            )
        as_instance(self.memory, "stage.memory", dict)

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
    """Base class of all schedules. Several schedules combine: factors multiply, transitions run in order.

    ``scales_steps`` says that ``step_factor`` is not always 1, so that a method that does not read it is refused;
    ``has_stages`` that it ends stages, so that ``is_boundary`` and ``transition`` are asked; ``merges`` that updates
    are merged into the frozen weight, so that weight decay is no penalty of the whole update.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    scales_steps: ClassVar[bool] = False
    has_stages: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def refusal(self, problem: Problem) -> str | None:
        """Return why this schedule cannot work with a problem, or None if it can."""
        return None

    @classmethod
    def showcase(cls, problem: Problem) -> str | None:
        """Return the method, as text, that shows this schedule best on a problem; merging ones go without decay."""
        return f"gd+{cls.name}" + ("/lam=0" if cls.merges else "")

    def start(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Return the first stage from the start that the init made."""
        return stage

    @property
    def keeps_weight(self) -> bool:
        """Whether transitions leave the whole weight alone: ``W0``, what was merged, and the update together."""
        return True

    def step_factor(self, iteration: int, stage_iteration: int, max_iter: int) -> float:
        """Return the factor on the step size after so many steps of the run (at most ``max_iter``) and the stage."""
        return 1.0

    def is_boundary(self, stage_iteration: int, max_iter: int) -> bool:
        """Return whether a stage ends after ``stage_iteration`` steps (>= 1); ``max_iter`` is that of the run."""
        return False

    def unseen_gradient(self, stage: Stage) -> float:
        """Return the size of gradients that the start of a stage, stationary by its own, does not show.

        A run ends where a stage starts at a stationary point, unless this is above the tolerance; infinity says that
        more is to come in any case.
        """
        return 0.0

    def unfinished(self, stage: Stage) -> str:
        """Return what is left to do where a run ends in this stage, for its message; an empty text if nothing is."""
        return ""

    def transition(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Return the start of the next stage from the end of the last one.

        If problem and parameters are those of the given stage (see :meth:`Stage.remember`), the optimizer keeps
        its state; otherwise it starts anew.
        """
        return stage
