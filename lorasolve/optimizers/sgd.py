"""Mini-batch stochastic gradient descent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.validate import Array, as_integer
from ..problem import Problem
from ._descent import Descent
from ._steps import Derived, Given, StepRule, StepState


@dataclass
class SGDState(StepState):
    """State with the generator, the samples left in this epoch and the problem on the current batch."""

    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    left: Array = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    batch: Problem | None = None


@dataclass(frozen=True)
class SGD(Descent):
    """Gradient descent on mini-batches, drawn without replacement within an epoch.

    An oracle call sees one batch; value and gradient norm of the trace are those of the batch, those of the
    result are of the whole objective. The gradient tolerance does not apply.

    Parameters
    ----------
    step_size : float, optional
        By default half of :class:`~lorasolve.optimizers.GD`'s derived step for the current batch, derived anew
        after 1, 3, 7, 15, ... steps.
    batch_size : int
        Samples in a batch; the last batch of an epoch may be smaller.

    Notes
    -----
    Fixed points: none unless every batch is stationary; at a constant step the iterates hover around stationary
    points of ``L``, with a decaying one (schedule ``"cosine"``) they settle. With weight decay the iterates are
    drawn to low rank: main paper, Lemma 1.
    """

    batch_size: int = 32

    name = "sgd"
    summary = "mini-batch stochastic gradient descent (objectives with samples)"
    stochastic = True
    keeps_stationary_points = False

    def __post_init__(self) -> None:
        super().__post_init__()
        as_integer(self.batch_size, "batch_size", 1)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse objectives without samples, or None."""
        reason = problem.objective.batch_refusal()
        return None if reason is None else f"it draws mini-batches, and {reason}; use 'gd'"

    def step_rule(self, problem: Problem) -> StepRule:
        """Return the given or the derived step, never taken back: values of different batches do not compare."""
        return Derived(monotone=False) if self.step_size is None else Given(self.step_size)

    def start(self, problem: Problem, theta: Array, rng: np.random.Generator) -> SGDState:
        """Return the state with the generator; a derived step is derived anew for the first batch."""
        return SGDState(theta.copy(), theta.copy(), refresh_at=0, rng=rng)

    def evaluate(self, problem: Problem, state: Any, grad: Array) -> float:
        """Evaluate the trial on the next batch."""
        state.batch = self._draw(problem, state)
        return state.batch.value_and_grad(state.trial, grad)

    def default_step(self, problem: Problem, theta: Array) -> float:
        """Return half of the step that is safe for the given problem."""
        return 0.5 * super().default_step(problem, theta)

    def refresh(self, problem: Problem, state: Any) -> None:
        """Let the rule choose the step for the current batch; before the first, for all samples."""
        super().refresh(problem if state.batch is None else state.batch, state)

    def _draw(self, problem: Problem, state: SGDState) -> Problem:
        if state.left.size == 0:
            state.left = state.rng.permutation(problem.objective.facts.n_samples or 0)
        index, state.left = state.left[: self.batch_size], state.left[self.batch_size :]
        return problem.replace(objective=problem.objective.sample_batch(np.sort(index)))
