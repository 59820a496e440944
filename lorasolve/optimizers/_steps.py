"""Step rules: how long a step is, whether the point it led to is kept, and what follows if not.

A rule is a value beside the direction (``_descent.py``): a given step, one derived from curvature, or one found by
Armijo's condition. Rules act on the few numbers of :class:`SearchState`; what a direction remembers is its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .._support.validate import Array
from ..problem import Problem
from ..status import Status
from .base import ROUNDING, State

# A search that has rejected so many trials in a row is looked at.
SUSPICIOUS = 8

# Such a search ends after so many trials where L rose although its gradient there says it still falls: the two do not
# belong together. A true pair allows that only where L bends up and back between two points, at each of these steps.
CONTRADICTIONS = 3


@dataclass
class SearchState(State):
    """State of a method that looks at values along its steps.

    Attributes
    ----------
    value : float
        The last accepted value.
    scale : float
        The largest accepted ``|L|``, the scale of rounding errors.
    rejected, contradictions : int
        Rejected trials in a row, and at how many of the suspicious ones value and gradient disagree.
    """

    value: float = np.inf
    scale: float = 0.0
    rejected: int = 0
    contradictions: int = 0

    def note_accepted(self, value: float) -> None:
        """Remember the value of an accepted trial."""
        self.value = value
        self.scale = max(self.scale, abs(value))
        self.rejected = self.contradictions = 0

    def note_rejected(self, value: float, grad: Array, problem: Problem) -> None:
        """End a long search if the trial is the accepted point to rounding, or values and gradients keep disagreeing.

        The first happens where one lucky rounding of ``L`` lies below all others near it. The precision of ``f`` may be
        less than that of the factors, and what it states of its rounding more than either.
        """
        self.rejected += 1
        if self.rejected < SUSPICIOUS:
            return
        eps = float(np.finfo(grad.dtype).eps)
        change = self.trial - self.theta
        if np.abs(change).max() <= eps * np.abs(self.theta).max():
            self.ended = Status.STALLED if math.isfinite(value) else Status.DIVERGED
        elif math.isfinite(value):
            noise = max(ROUNDING, 100.0 * float(np.finfo(problem.loss.precision).eps)) * self.scale
            least = min(value - self.value, -float(np.vdot(grad, change)))
            self.contradictions += least > noise and least > noise + 2.0 * problem.value_noise(self.theta)
            if self.contradictions >= CONTRADICTIONS:
                self.ended = Status.INCONSISTENT


@dataclass
class StepState(SearchState):
    """State of a method with a step rule.

    Attributes
    ----------
    rule : StepRule
        The rule of this run.
    accepted_steps, refresh_at : int
        Steps so far, and the count at which the rule chooses anew: after 1, 3, 7, 15, ... steps.
    grad, grad_square : ndarray, float
        Gradient and its squared norm at the accepted point, where the rule compares with them.
    """

    rule: StepRule = field(default_factory=lambda: StepRule())
    accepted_steps: int = 0
    refresh_at: int = 1
    grad: Array = field(default_factory=lambda: np.empty(0))
    grad_square: float = 0.0


@dataclass(frozen=True)
class StepRule:
    """Base class of the rules: every trial is accepted."""

    @property
    def never_rises(self) -> bool:
        """Whether a trial that raises ``L`` by more than rounding is rejected."""
        return False

    def choose(self, state: StepState, derive: Callable[[], float]) -> float:
        """Return the step from here on; ``derive`` answers with one that is safe at the accepted point."""
        raise NotImplementedError

    def accepts(self, state: StepState, value: float, grad: Array) -> bool:
        """Return whether the trial is kept."""
        return True

    def ceiling(self, state: StepState) -> float:
        """Return the value above which, by more than rounding, a trial is rejected."""
        return np.inf

    def follow(self, state: StepState, grad: Array) -> None:
        """Prepare the next step, from the point just accepted."""

    def shrink(self, state: StepState) -> None:
        """Make the step smaller after a rejected trial."""

    def unchanged(self, state: StepState, most: int) -> int:
        """Return for how many further steps, ``most`` of them, the step stays as it is."""
        return most


@dataclass(frozen=True)
class Given(StepRule):
    """A constant step that is never changed: if it is too large the run ends as diverged."""

    step: float

    def choose(self, state: StepState, derive: Callable[[], float]) -> float:
        """Return the given step."""
        return self.step


@dataclass(frozen=True)
class Derived(StepRule):
    """A step derived from curvature, anew as the iterates move on.

    Parameters
    ----------
    monotone : bool
        Whether a trial that raises ``L`` by more than ``rounding`` (relative) is rejected, and the step halved.
    rounding : float
    """

    monotone: bool = True
    rounding: float = ROUNDING

    @property
    def never_rises(self) -> bool:
        """Whether it is to be monotone."""
        return self.monotone

    def choose(self, state: StepState, derive: Callable[[], float]) -> float:
        """Return the derived step."""
        return derive()

    def accepts(self, state: StepState, value: float, grad: Array) -> bool:
        """Return whether ``L`` did not rise, where that is asked for."""
        return not self.monotone or value <= state.value + self.rounding * state.scale

    def ceiling(self, state: StepState) -> float:
        """Return the last accepted value, where ``L`` may not rise."""
        return float(state.value) if self.monotone else np.inf

    def shrink(self, state: StepState) -> None:
        """Halve the step and keep it as long as the run has lasted so far."""
        state.step *= 0.5
        state.refresh_at = 2 * state.accepted_steps + 1

    def unchanged(self, state: StepState, most: int) -> int:
        """Return the number of steps up to the next derivation."""
        return min(most, state.refresh_at - state.accepted_steps)


@dataclass(frozen=True)
class Armijo(StepRule):
    """A step searched by backtracking along the negative gradient.

    A trial is accepted when ``L`` fell by at least ``decrease * step * ||grad||^2``. Where the change of ``L`` drowns
    in rounding, the same condition is read from the two gradients by the trapezoidal rule (the approximate Wolfe
    condition of Hager and Zhang, 2005), so that full accuracy is reached.

    Parameters
    ----------
    first : float or None
        The first trial step; None: the derived one.
    decrease, shrinking, growing : float
        Share of the linear decrease; factors on the step after a rejected and after an accepted trial.
    """

    first: float | None
    decrease: float
    shrinking: float
    growing: float

    @property
    def never_rises(self) -> bool:
        """True: a trial that does not lower ``L`` enough is rejected."""
        return True

    def choose(self, state: StepState, derive: Callable[[], float]) -> float:
        """Return the step in use, which later searches start from, or before the first the one to begin with."""
        if not math.isnan(state.step):
            return state.step
        return (derive() if self.first is None else self.first) / self.growing

    def accepts(self, state: StepState, value: float, grad: Array) -> bool:
        """Return whether ``L`` fell enough."""
        if state.value == np.inf:
            return True
        change = value - state.value
        if abs(change) > ROUNDING * state.scale:
            return change <= -self.decrease * state.step * state.grad_square
        return float(np.vdot(grad, state.grad)) >= (2.0 * self.decrease - 1.0) * state.grad_square

    def follow(self, state: StepState, grad: Array) -> None:
        """Remember the gradient that the next search is compared with, and try a longer step first."""
        state.grad = grad.copy()
        state.grad_square = float(np.vdot(grad, grad))
        state.step *= self.growing

    def shrink(self, state: StepState) -> None:
        """Shrink the step."""
        state.step *= self.shrinking
