"""The accounting of a run: when it stops, what is recorded, who is told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._progress import Progress
from ._validate import Array, as_integer, as_number
from .optimizers.base import Limits
from .problem import Problem
from .result import Status, Trace

# A run whose best value has not changed in this many accepted iterations has reached the precision of its type.
STALL_WINDOW = 500

# Compiled iterations come back this often, for the time limit, the progress line and Ctrl-C.
UNATTENDED_SECONDS = 0.05


@dataclass(frozen=True)
class StoppingRule:
    """When a run ends.

    Parameters
    ----------
    max_iter : int
        Limit on accepted iterations.
    grad_tol : float
        Converged when ``||grad L||_2 <= grad_tol * (1 + min(|L|, |L at the start|))``. Not applied to
        stochastic methods.
    target : float, optional
        Ends the run when ``L <= target``.
    time_limit : float, optional
        Seconds, compile time included.
    """

    max_iter: int = 10_000
    grad_tol: float = 1e-8
    target: float | None = None
    time_limit: float | None = None

    def __post_init__(self) -> None:
        as_integer(self.max_iter, "max_iter", 1)
        as_number(self.grad_tol, "grad_tol", 0.0)
        if self.target is not None:
            as_number(self.target, "target")
        if self.time_limit is not None:
            as_number(self.time_limit, "time_limit", 0.0, open_low=True)


@dataclass(frozen=True)
class Intermediate:
    """What a callback sees after each accepted iteration. ``theta`` is a view: copy it to keep it."""

    problem: Problem
    theta: Array
    value: float
    grad_norm: float
    nit: int
    nfev: int

    @property
    def A(self) -> Array:
        """The factor ``A`` (m, r)."""
        return self.problem.split(self.theta)[0]

    @property
    def B(self) -> Array:
        """The factor ``B`` (n, r)."""
        return self.problem.split(self.theta)[1]


Callback = Callable[[Intermediate], Any]


class Stop(Exception):
    """Ends a run from inside an oracle call."""

    def __init__(self, status: Status) -> None:
        self.status = status


class Monitor:
    """The accounting of one run, shared by both kinds of optimizer."""

    def __init__(
        self,
        stop: StoppingRule,
        callback: Callback | None,
        progress: Progress,
        *,
        stochastic: bool = False,
        may_stall: bool = True,
    ) -> None:
        self.stop = stop
        self.callback = callback
        self.progress = progress
        self.stochastic = stochastic
        self.may_stall = may_stall and not stochastic
        self.trace = Trace()
        self.nit = -1
        self.nfev = 0
        self.started = time.perf_counter()
        self._first = math.inf
        self._best = math.inf
        self._best_at = 0
        self._last: tuple[float, float, float] | None = None
        self._unattended = 64

    def seconds(self) -> float:
        """Return the time since the run started."""
        return time.perf_counter() - self.started

    def call(self) -> None:
        """Count an oracle call, and end the run if its time is up."""
        self.nfev += 1
        if self.stop.time_limit is not None and self.seconds() > self.stop.time_limit:
            raise Stop(Status.TIME_LIMIT)

    def accept(
        self, problem: Problem, theta: Array, value: float, grad_norm: float, step: float, staged: bool = False
    ) -> Status | None:
        """Record an accepted iterate and raise :class:`Stop` if a rule ends the run there.

        A point where nothing more can be gained ends the run; where further stages may follow it only ends the
        stage, and the reason is returned.
        """
        self.nit += 1
        self._last = (value, grad_norm, step)
        self.trace.record(self.nit, value, grad_norm, self.seconds(), step, force=self.nit == 0)
        self.progress.show(self.nit / self.stop.max_iter, f"L = {value:.9g}  |grad| = {grad_norm:.2e}")
        if self.callback is not None:
            try:
                asked = self.callback(Intermediate(problem, theta, value, grad_norm, self.nit, self.nfev))
            except StopIteration:
                asked = True
            if asked is True:
                raise Stop(Status.STOPPED_BY_CALLBACK)
        if self.stop.target is not None and value <= self.stop.target:
            raise Stop(Status.TARGET_REACHED)
        if self.nit == 0:
            self._first = abs(value)
        ended: Status | None = None
        if self._converged(value, grad_norm):
            ended = Status.CONVERGED
        elif value < self._best:
            self._best, self._best_at = value, self.nit
        elif self.may_stall and self.nit - self._best_at > STALL_WINDOW:
            ended = Status.STALLED
        if ended is not None and not staged:
            raise Stop(ended)
        if self.nit >= self.stop.max_iter:
            raise Stop(Status.ITERATION_LIMIT)
        return ended

    def limits(self) -> Limits:
        """Return what a run of unattended iterations must stop for; it lasts about ``UNATTENDED_SECONDS``."""
        steps = max(min(self._unattended, self.stop.max_iter - self.nit - 1), 0)
        target = -math.inf if self.stop.target is None else self.stop.target
        window = STALL_WINDOW if self.may_stall else self.stop.max_iter
        since_best = self.nit - self._best_at
        target, grad_tol = float(target), float(self.stop.grad_tol)
        return Limits(steps, target, grad_tol, float(self._first), float(self._best), since_best, window)

    def absorb(self, values: Array, norms: Array, step: float, began: float) -> None:
        """Record unattended iterations; their times are spread evenly since ``began``."""
        count = values.size
        if not count:
            return
        elapsed = self.seconds() - began
        if count == self._unattended:
            self._unattended = int(count * min(max(UNATTENDED_SECONDS / elapsed, 0.5), 8.0)) + 1
        self.trace.extend(self.nit + 1, values, norms, began + elapsed * np.arange(1, count + 1) / count, step)
        self._last = (float(values[-1]), float(norms[-1]), step)
        lowest = int(np.argmin(values))
        if values[lowest] < self._best:
            self._best, self._best_at = float(values[lowest]), self.nit + 1 + lowest
        self.nit += count
        self.nfev += count
        self.progress.show(self.nit / self.stop.max_iter, f"L = {values[-1]:.9g}  |grad| = {norms[-1]:.2e}")

    def new_stage(self, value: float, grad_norm: float) -> Status | None:
        """Start a stage at a point that is no new iterate.

        If it is stationary in this stage too the run ends, unless the start alone made ``L`` fall: then only the
        stage ends, and the reason is returned.
        """
        self._best, self._best_at = value, self.nit
        if not self._converged(value, grad_norm):
            return None
        last = math.inf if self._last is None else self._last[0]
        self._last = (value, grad_norm, math.nan)
        if value > last - self.stop.grad_tol * (1.0 + abs(value)):
            raise Stop(Status.CONVERGED)
        return Status.CONVERGED

    def _converged(self, value: float, grad_norm: float) -> bool:
        return not self.stochastic and grad_norm <= self.stop.grad_tol * (1.0 + min(abs(value), self._first))

    def finish(self) -> None:
        """Make sure the last accepted point is in the trace."""
        if self._last is not None:
            value, grad_norm, step = self._last
            self.trace.record(self.nit, value, grad_norm, self.seconds(), step, force=True)
        self.progress.close()
