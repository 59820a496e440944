"""The accounting of a run: when it stops, what is recorded, who is told.

The rules, in their order. Before an oracle call: the limit on calls, then the time limit. At a point that is not
finite: the method's next trial, or the end as diverged. At an accepted iterate: the callback, the target, convergence,
the stall, the iteration limit. What was wanted comes before what was reached in vain, so a run that converges in its
last iteration has converged. :func:`lorasolve.kernels.stopping_rules.decide` is the arithmetic of the last four, and
the only one: the compiled loops of ``kernels/gd.py`` and ``kernels/batch.py`` contain the same function.

Convergence is judged by how far the terms of the gradient cancel. ``grad L = (s G B + lam A, s G^T A + lam B)`` has
a length of about ``||theta|| max(s ||G||, lam)`` where they do not, and a run has converged when it is ``grad_tol`` of
``||theta|| g`` with the slope ``g = lam + s ||G(0)||_2`` of the problem (:mod:`lorasolve.problem.natural_units`):

- ``f, lam -> c f, c lam`` multiplies both sides by ``c``, and other units of ``X`` (``f(X/t)``, ``lam/t``, factors
  times ``sqrt(t)``) both by ``1/sqrt(t)``: the rule does not depend on units.
- Near the saddle point ``theta = 0`` the share is ``||(lam, G(0); G(0)^T, lam) theta|| / (g ||theta||)``, however small
  ``theta`` is: small factors are not taken for a solution.
- ``g`` does not depend on the start, so a run that continues from where another converged has converged.
- At ``lam = 0`` the share is how much smaller the gradient of ``f`` has become than before fine-tuning, seen from the
  factors.
- Where ``X = 0`` is optimal (``s ||G(0)||_2 <= lam``) ``theta`` tends to 0, and the share to that of the weakest
  direction, at least ``1 - s ||G(0)||_2/lam`` up to a factor 2. There, and only there, ``||theta||`` is put up to a
  floor, the share ``s ||G(0)||_2 / g`` of ``theta_0 = sqrt(g/beta)/s``, the length at which the curvature of ``f``
  would begin to matter; the decrease that is left is then at most about ``grad_tol^2 ||G(0)||_2^2 / beta``, however
  large ``lam`` is. Where the smoothness ``beta`` is not stated, the length of the factors at the start takes the place
  of ``theta_0``, unless that of the curvature sampled at 0 is less.
- Where ``G(0) = 0 = lam``, ``||grad L||/||theta||`` at the start is ``g``.

Factors of very different lengths hide a gradient: where ``||A||`` is ``t ||B||``, the terms ``s G B`` of the gradient
in ``A`` are ``1/t`` of ``||theta|| g`` whether they cancel or not. With data of size 1e-9 and factors that start at
size 1, or with data of size 1e9, most of the decrease may be missing there. So a share of ``grad_tol`` of all counts as
convergence only if the share of each factor, ``||grad_A L||`` in ``(g - lam) ||B|| + lam ||A||`` and the like for
``B``, is at most ``HIDDEN = 100`` times as large; lengths within that ratio of each other hide nothing, and nothing is
evaluated. Likewise several matrices whose data have different units: each is held against slope and floor of its own
problem, the other matrices as they are.

``theta`` is the whole parameter vector. Parameters beside the factors are measured in other units than these, so with
adapters that have some the rule is invariant under ``c`` only. Rounding sets a floor to the share: about the type's
epsilon, its root for methods that compare values along their steps. A run that is asked for less ends as stalled.
"""

from __future__ import annotations

import math
import numbers
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._support.keywords import names_settings
from ._support.progress import Progress
from ._support.time_limit import limited_to
from ._support.validate import Array, as_instance, as_integer, as_number, shown
from .kernels.stopping_rules import CONVERGED, DIVERGED, LIMIT, RUNNING, STALLED, TARGET, decide, slope_at_start
from .optimizers.base import ROUNDING, Limits, Optimizer, history_after
from .problem import Problem
from .problem.natural_units import HIDDEN, hides_gradient, least_length, may_hide_gradient
from .result import Trace
from .status import Status

# A run whose best value has not changed in this many accepted iterations has reached the precision of its type, or
# hovers at the length of its steps.
STALL_WINDOW = 500

# Share of a target that rounding may make between what a method evaluates and L itself.
TOLD = 1e-6

# Calls of a loss show after a while how exact it is; after so many iterations it is asked again.
LOOK_AGAIN = 64

# By default a run may call its oracle this often per iteration it may take, and this often on top of that. Line
# searches need two or three calls an iteration, Newton's method one for each Hessian product.
CALLS_PER_ITERATION, CALLS_ON_TOP = 20, 1000

MEANING = {
    CONVERGED: Status.CONVERGED,
    TARGET: Status.TARGET_REACHED,
    STALLED: Status.STALLED,
    LIMIT: Status.ITERATION_LIMIT,
    DIVERGED: Status.DIVERGED,
}

# Compiled iterations come back this often, for the time limit, the progress line and Ctrl-C.
UNATTENDED_SECONDS = 0.05


@names_settings
@dataclass(frozen=True)
class StoppingRule:
    """When a run ends; every run does.

    Parameters
    ----------
    max_iter : int
        Limit on accepted iterations.
    grad_tol : float
        Converged when ``||grad L||_2 <= grad_tol * (lam + s ||G(0)||_2) * ||theta||_2``, with ``G(0)`` the gradient of
        ``f`` at ``X = 0``: the terms of the gradient cancel up to that share. The rule does not depend on the units
        of ``f`` and ``X``. Of factors more than 100 times as long as each other, which hide a gradient from it, each
        has to pass by itself as well, up to 100 times that share. Where ``X = 0`` is optimal ``||theta||`` counts as at
        least ``||G(0)||_2 / sqrt(g beta)``, with ``g`` the factor before it and ``beta`` the smoothness of ``f``. Not
        applied to stochastic methods. Below 1, the share at a start near 0.
    target : float, optional
        Ends the run when ``L <= target``. Stochastic methods see a part of ``L``: where that is at the target, ``L``
        itself is evaluated (one more oracle call) and decides.
    time_limit : float, optional
        Seconds, compile time included.
    max_calls : int, optional
        Limit on oracle calls, rejected trials and Hessian products included. By default ``20 max_iter + 1000``. Not
        counted are the calls that sample the curvature of a loss that states no ``smoothness``, 40 or so each time
        that a step is derived from it, and the nine that test a gradient of yours where a run has converged.

    Raises
    ------
    ValueError, TypeError
        For a limit or a tolerance out of range.
    """

    max_iter: int = Optimizer.default_max_iter
    grad_tol: float = Optimizer.default_grad_tol
    target: float | None = None
    time_limit: float | None = None
    max_calls: int | None = None

    def __post_init__(self) -> None:
        # Numbers of NumPy are kept as Python's own: a small type would overflow in what follows from them.
        checked: dict[str, Any] = {
            "max_iter": as_integer(self.max_iter, "max_iter", 1),
            # At small factors the share is at most 1, converged or not.
            "grad_tol": as_number(self.grad_tol, "grad_tol", 0.0, 1.0, open_high=True),
        }
        if self.target is not None:
            checked["target"] = as_number(self.target, "target")
        if self.time_limit is not None:
            checked["time_limit"] = as_number(self.time_limit, "time_limit", 0.0, open_low=True)
        if self.max_calls is not None:
            checked["max_calls"] = as_integer(self.max_calls, "max_calls", 1)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def calls(self) -> int:
        """The limit on oracle calls, as given or by default."""
        return CALLS_PER_ITERATION * self.max_iter + CALLS_ON_TOP if self.max_calls is None else self.max_calls

    def numbers(self, *, may_converge: bool = True, may_stall: bool = True) -> tuple[float, float, int, int]:
        """Return target, gradient tolerance (-1: none), most iterations and the window for a stall."""
        target = -math.inf if self.target is None else float(self.target)
        # Compiled loops count in 64 bits, and past the limit.
        most = min(self.max_iter, sys.maxsize // 2)
        # A window as long as the run never closes.
        window = STALL_WINDOW if may_stall else most
        return target, float(self.grad_tol) if may_converge else -1.0, most, window


def rule_of(stop: StoppingRule | None, optimizer: type[Optimizer] | Optimizer = Optimizer) -> StoppingRule:
    """Return the given stopping rule, or the one that an optimizer has by default."""
    if isinstance(stop, numbers.Real):
        raise TypeError(f"stop: expected a StoppingRule, for example StoppingRule(max_iter={stop}), got {shown(stop)}")
    if stop is None:
        return StoppingRule(optimizer.default_max_iter, optimizer.default_grad_tol)
    return as_instance(stop, "stop", StoppingRule)


@dataclass(frozen=True, eq=False)
class Intermediate:
    """What a callback sees after each accepted iteration.

    Attributes
    ----------
    problem : Problem
        The problem; after a transition that of the stage, whose frozen weight holds what was merged.
    theta : ndarray
        All parameters, a read-only view of the working memory: copy it to keep it.
    value, grad_norm : float
        ``L`` and ``||grad L||_2``; of stochastic methods what they saw: a part of the loss, or a point beside this one.
    nit, nfev : int
        Accepted iterations, 0 at the start, and oracle calls so far.
    """

    problem: Problem
    theta: Array
    value: float
    grad_norm: float
    nit: int
    nfev: int

    @property
    def A(self) -> Any:
        """The factor ``A`` (m, r), a copy that cannot be written to: a run is not changed through it."""
        return self._factors[0]

    @property
    def B(self) -> Any:
        """The factor ``B`` (n, r), likewise."""
        return self._factors[1]

    @property
    def _factors(self) -> Any:
        theta = self.theta.copy()
        theta.flags.writeable = False
        return self.problem.split(theta)


Callback = Callable[[Intermediate], Any]


class Stop(Exception):
    """Ends a run from inside an oracle call."""

    def __init__(self, status: Status) -> None:
        self.status = status


class Monitor:
    """The accounting of one run, shared by both kinds of optimizer.

    ``raised`` is what the callback raised, if that ended the run.
    """

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
        self._stochastic = stochastic
        target, self._grad_tol, most, window = stop.numbers(
            may_converge=not stochastic, may_stall=may_stall and not stochastic
        )
        # As decide takes them; the first iterate tells what the gradient tolerance amounts to.
        self.rules = (target, self._grad_tol, 1.0, most, window)
        self._slope = 1.0
        self._start = 0.0
        self.trace = Trace()
        self.nit = -1
        self.nfev = 0
        self.raised: Exception | None = None
        self.started = time.perf_counter()
        self._calls = stop.calls
        self._best = math.inf
        self._best_at = 0
        self._digit = 0.0
        self._last: tuple[float, float, float] | None = None
        self._unattended = 64

    def seconds(self) -> float:
        """Return the time since the run started."""
        return time.perf_counter() - self.started

    @property
    def end(self) -> float:
        """When the time limit passes, of ``time.perf_counter``."""
        return math.inf if self.stop.time_limit is None else self.started + self.stop.time_limit

    def out_of_time(self) -> bool:
        """Return whether the time limit has passed."""
        return time.perf_counter() > self.end

    def call(self) -> None:
        """Count an oracle call, or end the run if there is no call or no time left."""
        if self.nfev >= self._calls:
            raise Stop(Status.CALL_LIMIT)
        if self.out_of_time():
            raise Stop(Status.TIME_LIMIT)
        self.nfev += 1

    def count(self, value: float, grad_norm: float, step: float) -> int:
        """Count an accepted iterate and return its number."""
        self._last = (value, grad_norm, step)
        self.nit += 1
        return self.nit

    def accept(
        self, problem: Problem, theta: Array, value: float, grad_norm: float, step: float, staged: bool = False
    ) -> Status | None:
        """Record an accepted iterate and raise :class:`Stop` if a rule ends the run there.

        A point where nothing more can be gained ends the run; where further stages may follow it only ends the
        stage, and the reason is returned.
        """
        nit = self.count(value, grad_norm, step)
        self.trace.record(nit, value, grad_norm, self.seconds(), step)
        self._show(value, grad_norm)
        if self.callback is not None:
            self._tell(self.callback, problem, theta, value, grad_norm)
        size = _length(theta)
        if nit == 0 and self._grad_tol > 0.0:
            self._slope = problem.units.slope
            if problem.lam == 0.0 or self._slope == 0.0:
                # The gradient at X = 0 may be 0 to rounding, or undefined. A decay is what it is, however small.
                self._slope = slope_at_start(self._slope, grad_norm, size)
            self._start = size
            floor = least_length(problem, problem.units, size)
            self.rules = (self.rules[0], self._grad_tol * self._slope, floor, *self.rules[3:])
        if self._stochastic and value <= self.rules[0]:
            # That was the value of a part of the loss, or of a point beside this one.
            self.call()
            value = problem.value_and_grad(theta, np.empty_like(theta))
        to_beat = self._to_beat(problem)
        code, least, self._best_at = decide(value, grad_norm, size, nit, to_beat, self._best_at, self.rules)
        if self._best_at == nit:
            self._best = least
        if code == CONVERGED and self._hides_gradient(problem, theta):
            rules = (self.rules[0], -1.0, *self.rules[2:])
            code = decide(value, grad_norm, size, nit, self._best, self._best_at, rules)[0]
        if code == RUNNING:
            return None
        if staged and code in (CONVERGED, STALLED):
            if nit >= self.stop.max_iter:
                raise Stop(Status.ITERATION_LIMIT)
            return MEANING[code]
        raise Stop(MEANING[code])

    def _to_beat(self, problem: Problem) -> float:
        """Return the value below which an iterate is a new best one: the best so far.

        Less by its last digit if the loss is less exact than its factors: while that stands still, the decay of the
        factors may fall by one unit in the last place of float64 after the other, for thousands of iterations.
        """
        if self.nit % LOOK_AGAIN == 0:
            precision = problem.loss.precision
            self._digit = 0.0 if precision == problem.dtype.name else float(np.finfo(precision).eps)
        best = self._best
        return best if math.isinf(best) else best - self._digit * abs(best)

    def _hides_gradient(self, problem: Problem, theta: Array) -> bool:
        if not may_hide_gradient(problem, theta, self.rules[2]):
            return False
        self.call()
        grad = np.empty_like(theta)
        problem.value_and_grad(theta, grad)
        return hides_gradient(problem, theta, grad, self._grad_tol, self._slope, self.rules[2], self._start)

    def _tell(self, callback: Callback, problem: Problem, theta: Array, value: float, grad_norm: float) -> None:
        """Show the iterate to the callback, and end the run if it asks for that or raises."""
        seen = theta.view()
        seen.flags.writeable = False
        try:
            # What it asks beside the run is not cut short.
            with limited_to(math.inf):
                asked = callback(Intermediate(problem, seen, value, grad_norm, self.nit, self.nfev))
        except StopIteration:
            asked = True
        except Exception as error:
            self.raised = error
            asked = True
        if isinstance(asked, (bool, np.bool_)) and asked:
            raise Stop(Status.STOPPED_BY_CALLBACK)

    def _show(self, value: float, grad_norm: float) -> None:
        if self.progress.due():
            self.progress.show(self.nit / self.stop.max_iter, f"L = {value:.9g}  |grad| = {grad_norm:.2e}")

    def limits(self) -> Limits:
        """Return what a run of unattended iterations must stop for; it lasts about ``UNATTENDED_SECONDS``."""
        steps = min(self._unattended, self.stop.max_iter - self.nit - 1, self._calls - self.nfev)
        return Limits(max(steps, 0), (self.nit, float(self._best), self._best_at), self.rules)

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
        self.nit, self._best, self._best_at = history_after((self.nit, self._best, self._best_at), values)
        self.nfev += count
        self._show(self._last[0], self._last[1])

    def new_stage(self, theta: Array, value: float, grad_norm: float) -> Status | None:
        """Start a stage at a point that is no new iterate; tolerances are still relative to the first stage's units.

        If it is stationary in this stage too the run ends, unless the start alone made ``L`` fall: then only the
        stage ends, and the reason is returned. The target is left to iterates.
        """
        stationary = self.is_stationary(theta, value, grad_norm)
        self._best, self._best_at = value, self.nit
        if not stationary:
            return None
        size = _length(theta)
        last = math.inf if self._last is None else self._last[0]
        self._last = (value, grad_norm, math.nan)
        # What a gradient within the tolerance may still lower L by, and what rounding of L does.
        within = max(self.rules[1] * max(size, self.rules[2]) * size, ROUNDING * abs(value))
        if value > last - within:
            raise Stop(Status.CONVERGED)
        return Status.CONVERGED

    def is_stationary(self, theta: Array, value: float, grad_norm: float) -> bool:
        """Return whether the gradient is within the tolerance, whatever the target."""
        rules = (-math.inf, *self.rules[1:])
        return decide(value, grad_norm, _length(theta), self.nit, math.inf, self.nit, rules)[0] == CONVERGED

    def confirms(self, status: Status, theta: Array, value: float, grad_norm: float) -> bool:
        """Return whether exact answers at the last point agree that the run has converged or reached its target.

        Up to what rounding may make of them: several times the tolerance.
        """
        target, grad_tol, floor = self.rules[:3]
        if status is Status.TARGET_REACHED:
            return value - target <= TOLD * max(abs(value), abs(target))
        return grad_norm <= HIDDEN * grad_tol * max(_length(theta), floor)

    def finish(self) -> None:
        """Make sure the last accepted point is in the trace, and nothing half recorded."""
        self.trace.drop_unfinished(self.nit)
        if self._last is not None:
            value, grad_norm, step = self._last
            self.trace.record(self.nit, value, grad_norm, self.seconds(), step, force=True)
        self.progress.close()


def _length(theta: Array) -> float:
    return math.sqrt(float(np.vdot(theta, theta)))
