"""Gradient descent with a constant step, given or derived from the smoothness constant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.threads import get_threads, kernel_threads
from .._support.validate import Array
from ..objectives import Kernels
from ..problem import Problem
from ._descent import Descent
from ._steps import StepState
from .base import Limits


@dataclass
class GDState(StepState):
    """State with the data and the scratch of the compiled loop, where there is one; whether it runs in other bases."""

    kernel_data: Any = None
    packed: Any = None
    rotated: bool = False


@dataclass(frozen=True)
class GD(Descent):
    """Gradient descent ``theta <- theta - step * grad L(theta)``.

    Parameters
    ----------
    step_size : float, optional
        A constant step. By default the inverse of the curvature bound ``beta (||A||^2 + ||B||^2) + ||G|| + lam``
        (proofs/descent_lemma), derived anew after 1, 3, 7, 15, ... iterations, because the factors grow from
        their start; a step that raises ``L`` is taken back and halved (not where the adapter's gradient is not
        that of ``L``, as in detached DoRA). A given step is never changed: if it is too large the run ends as
        diverged.

    Notes
    -----
    Fixed points: the stationary points of ``L``.

    On linear fine-tuning in float64 (30,000 numbers of Gram matrices or more, sides up to 2048) a run that has lasted
    about as long as it takes to find bases in which ``S`` is diagonal and ``C`` upper triangular goes on in those: the
    same iterates, rotated, in about half of the time. The bases stay with the objective.
    """

    name = "gd"
    summary = "gradient descent, constant step (from the smoothness constant, or given)"

    def start(self, problem: Problem, theta: Array, rng: np.random.Generator) -> GDState:
        """Return the state with the data of the compiled oracle."""
        return GDState(theta.copy(), theta.copy(), kernel_data=self.kernel_data(problem))

    def kernel_data(self, problem: Problem) -> Any:
        """Return the data of the compiled oracle, or None; it knows ``X = A B^T`` with both factors trained."""
        return self.loop_data(problem.objective.kernels, problem.rank) if _is_plain(problem) else None

    def loop_data(self, kernels: Kernels, rank: int) -> Any:
        """Return the data that the compiled loop takes from an objective, or None."""
        return kernels.data(rank, get_threads())

    def rotates_after(self, problem: Problem) -> float:
        """Return after how many iterations a compiled run goes on in other bases."""
        return problem.objective.kernels.rotates_after(problem.rank)

    def runs_compiled(self, problem: Problem) -> bool:
        """Return whether there is a compiled oracle."""
        return self.kernel_data(problem) is not None

    def batched_step(self, problem: Problem) -> float | None:
        """Return the given step where the batched kernels know the problem's parameters."""
        return self.step_size if _is_plain(problem) else None

    def fast_forward(self, problem: Problem, state: Any, limits: Limits) -> tuple[Array, Array, bool] | None:
        """Take plain steps in one compiled call, up to the next derivation of the step."""
        if state.kernel_data is None:
            return None
        self._prepare(problem, state)
        if not state.rotated:
            left = self.rotates_after(problem) - state.accepted_steps
            limits = limits._replace(steps=math.ceil(min(limits.steps, left)))
        state.packed.read(state.theta, state.trial)
        values, norms = self.plain_steps(problem, state, limits)
        state.packed.write(state.theta, state.trial)
        return values, norms, values.size < max(limits.steps, 1)

    def _prepare(self, problem: Problem, state: Any) -> None:
        """Make the scratch of the compiled loop, and go over to other bases once that pays."""
        from ..kernels import gd

        shape = (*problem.shape, problem.rank)
        kernels = problem.objective.kernels
        if state.packed is None:
            state.packed = gd.Packed(shape, state.trial.dtype)
        if not state.rotated and state.accepted_steps >= self.rotates_after(problem):
            kernels, U, V = kernels.rotated
            state.kernel_data, state.rotated = self.loop_data(kernels, problem.rank), True
            state.packed = gd.RotatedPacked(shape, state.trial.dtype, U, V)

    def plain_steps(self, problem: Problem, state: Any, limits: Limits) -> tuple[Array, Array]:
        """Take plain steps of what is packed, up to the next derivation of the step; return values and norms."""
        from ..kernels import gd

        values, norms = np.empty((2, max(state.rule.unchanged(state, limits.steps), 0)))
        kernel_threads()
        number = problem.dtype.type
        count = gd.advance(
            state.kernel_data,
            state.packed.arrays,
            number(problem.lam),
            number(state.step),
            state.rule.ceiling(state),
            (self.rounding, float(state.scale)),
            limits.history,
            limits.rules,
            values,
            norms,
        )
        if count:
            state.value = float(values[count - 1])
            state.scale = max(state.scale, float(np.abs(values[:count]).max()))
            state.accepted_steps += count
        return values[:count], norms[:count]


def _is_plain(problem: Problem) -> bool:
    """Return whether the update is one ``A B^T`` with both factors trained and no nonsmooth penalty."""
    adapter = problem.adapter
    if problem.several:
        return False
    return adapter.low_rank and not adapter.proximal and problem.scale == 1.0 and problem.trainable is None
