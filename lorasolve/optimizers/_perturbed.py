"""Methods that take an ordinary step with the gradient of a perturbed point."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from .._support.validate import Array, as_choice, as_number
from ..problem import Problem
from .adam import Adam
from .base import Optimizer, State
from .gd import GD


@dataclass
class PerturbedState(State):
    """State of a perturbation method: that of the method underneath, the generator, and what is remembered.

    Attributes
    ----------
    inner : State
        State of Adam or gradient descent at the unperturbed point.
    memory : dict
        Arrays and numbers from earlier steps, by name.
    """

    inner: State = field(default_factory=lambda: State(np.empty(0), np.empty(0)))
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Perturbed(Optimizer):
    """Base class: ``theta <- step(theta, gradient at a perturbed point)``.

    A subclass answers :meth:`evaluate` at its perturbation of ``state.trial`` and may remember what it needs in
    :meth:`observe`. Value and gradient norm of the trace are those of the perturbed point, those of the result of
    the point itself; the gradient tolerance does not apply. The frozen weight is never written.

    Parameters
    ----------
    step_size : float
        Step of the method underneath.
    base : {"adam", "gd"}
        The method underneath.
    """

    step_size: float = 0.01
    base: Literal["adam", "gd"] = "adam"

    stochastic: ClassVar[bool] = True
    takes_step_factor: ClassVar[bool] = True
    keeps_stationary_points: ClassVar[bool] = False

    def __post_init__(self) -> None:
        as_number(self.step_size, "step_size", 0.0, open_low=True)
        as_choice(self.base, "base", ("adam", "gd"))

    def default_step(self, problem: Problem, theta: Array) -> float:
        """Return the step in use."""
        return self.step_size

    def method(self) -> Optimizer:
        """Return the method underneath."""
        return Adam(self.step_size) if self.base == "adam" else GD(self.step_size)

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> PerturbedState:
        """Return the state that evaluates ``theta`` first."""
        inner = self.method().init(problem, theta, rng)
        return PerturbedState(theta.copy(), inner.trial, step=self.step_size, inner=inner, rng=rng)

    def update(self, problem: Problem, state: PerturbedState, value: float, grad: Array) -> None:
        """Accept the trial, let the method underneath step with the perturbed gradient, and remember it."""
        # Before the method underneath writes its next trial where its last point is: Ctrl-C may end the run there.
        state.theta = state.trial
        state.inner.step_factor = state.step_factor
        self.method().update(problem, state.inner, value, grad)
        state.trial = state.inner.trial
        self.observe(problem, state, grad)

    def observe(self, problem: Problem, state: PerturbedState, grad: Array) -> None:
        """Remember what the next perturbation needs, from the gradient just used at ``state.theta``."""


def weight_oracle(problem: Problem, theta: Array, E: Array | None, grad: Array) -> tuple[float, Array]:
    """Evaluate ``L`` with the weight moved by ``E`` (m, n): write the factor gradients, return value and ``G``.

    ``G = grad f(s A B^T + E)`` is formed (m, n): one oracle call on the dense level.
    """
    A, B, _ = problem.split(theta)
    dA, dB, _ = problem.split(grad)
    X = problem.update(theta)
    f, G = problem.objective.value_and_grad(X if E is None else X + E)
    np.multiply(problem.scale, G @ B, out=dA)
    np.multiply(problem.scale, G.T @ A, out=dB)
    if problem.trainable is not None:
        grad[~problem.trainable] = 0.0
    return f + problem.add_decay(theta, grad), G
