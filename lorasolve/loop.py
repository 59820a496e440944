"""The loop, once for all methods: evaluate, decide, stage, advance; and the oracle of methods that own their loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._support.interruptions import patience
from ._support.validate import Array, as_flag, as_instance, as_number, is_flag, is_floating, shown
from .monitor import STALL_WINDOW, Monitor, Stop
from .optimizers.base import DrivenOptimizer, Limits, Optimizer, State
from .problem import Problem
from .schedules import Schedule, Stage
from .status import Status

# Halvings from the largest float64 to the smallest: whoever rejects more trials in a row will accept none.
REJECTED_LIMIT = 2100
# Parameters by which an accepted point is told from the trial: averages differ in all, and to compare all of them takes
# a tenth of an iteration on large problems.
COMPARED = 4096


@dataclass(frozen=True)
class End:
    """Where a loop ended, why, and with which step size (NaN where there is none)."""

    stage: Stage
    status: Status
    step: float = math.nan


@patience()
def iterate(
    stage: Stage,
    optimizer: Optimizer,
    schedules: Sequence[Schedule],
    monitor: Monitor,
    rng: np.random.Generator,
    attended: bool,
) -> End:
    """Run an optimizer that answers one oracle call at a time; ``attended`` runs see every iteration."""
    stages = Stages(stage, schedules, monitor, rng)
    trials = Trials(optimizer, stage, monitor, rng)
    try:
        while True:
            trials.evaluate()
            if not trials.decide(stages.step_factor()):
                continue
            if stages.turn(trials):
                trials = Trials(optimizer, stages.current, monitor, rng)
            elif trials.state.ended is not None:
                raise Stop(trials.state.ended)
            elif not attended:
                trials.advance()
    except Stop as reason:
        status = reason.status
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
        stages.count_unfinished(trials)
    return End(_at(trials.stage, trials.state.theta), status, trials.state.step)


class Trials:
    """The trial points of one stage: the optimizer's state, value and gradient there, and the rejections in a row."""

    def __init__(self, optimizer: Optimizer, stage: Stage, monitor: Monitor, rng: np.random.Generator) -> None:
        self.optimizer = optimizer
        self.stage = stage
        self.problem = stage.problem
        self.monitor = monitor
        begun = optimizer.init(stage.problem, stage.theta, rng)
        self.state = as_instance(begun, f"method: what {optimizer.name}.init returns", State)
        self.grad = np.empty_like(stage.theta)
        self.value = self.grad_norm = math.inf
        self._some = slice(None, None, -(-stage.theta.size // COMPARED))
        # The last trial that was evaluated, and some of its numbers by then.
        self._trial: Array | None = None
        self._evaluated = b""
        self._rejected = 0
        # While an answer is being dealt with: the point before, and the iterates counted by then.
        self.before: tuple[Array, int] | None = None

    def evaluate(self) -> None:
        """Call the oracle at the trial; a value or gradient that is not finite counts as infinite."""
        self.before = None
        self.monitor.call()
        trial = self.state.trial
        self._refuse_wrong_parameters("trial", trial)
        self._trial = trial
        self._evaluated = trial[self._some].tobytes()
        self._note(trial, self.optimizer.evaluate(self.problem, self.state, self.grad), self.grad)

    def _note(self, theta: Array, value: float, grad: Array) -> None:
        self.value, self.grad_norm = value, self.problem.stationarity(theta, grad)
        try:
            finite = math.isfinite(value) and math.isfinite(self.grad_norm)
        except TypeError as error:  # of a method that returns nothing; asking every value would cost every call
            raise TypeError(
                f"method: {self.optimizer.name}.evaluate returned {shown(value)}, expected the value of L as a number"
            ) from error
        if not finite:
            self.value = self.grad_norm = math.inf

    def decide(self, step_factor: float) -> bool:
        """Let the optimizer accept the trial or not; end the run where it has no further trial."""
        state = self.state
        state.step_factor = step_factor
        self.before = state.theta, self.monitor.nit
        try:
            if self.value == math.inf:
                self._offer_infinite()
            else:
                self.optimizer.update(self.problem, state, self.value, self.grad)
        except np.linalg.LinAlgError:  # of decompositions of what has overflowed
            raise Stop(Status.DIVERGED) from None
        self._refuse_wrong_end()
        if state.accepted:
            if state.theta is not self._trial:
                self._refuse_wrong_parameters("theta", state.theta)
            self._rejected = 0
            if state.theta[self._some].tobytes() != self._evaluated and not self.optimizer.stochastic:
                self._evaluate_accepted()
            return True
        self._rejected += 1
        if state.ended is not None:
            raise Stop(state.ended)
        if self._rejected > REJECTED_LIMIT:
            raise Stop(Status.DIVERGED if self.value == math.inf else Status.STALLED)
        return False

    def _refuse_wrong_parameters(self, name: str, given: object) -> None:
        """Refuse what cannot be evaluated, an array of another size or of integers for example."""
        if not is_floating(given, self.grad.shape):
            raise ValueError(
                f"method: {self.optimizer.name} has set state.{name} to {shown(given)}, expected a vector of "
                f"{self.grad.size} parameters in floating point"
            )

    def _refuse_wrong_end(self) -> None:
        """Refuse an end that is no reason, or one that only the stopping rule can give."""
        ended = self.state.ended
        if ended is not None and (not isinstance(ended, Status) or ended.success):
            raise ValueError(
                f"method: {self.optimizer.name} has set state.ended to {shown(ended)}, expected Status.STALLED or "
                "another reason without success: whether a run has converged is for its stopping rule to say"
            )

    def _evaluate_accepted(self) -> None:
        """Call the oracle at an accepted point that is not the trial: an average, or the trial after a step."""
        self.monitor.call()
        grad = np.empty_like(self.grad)
        self._note(self.state.theta, self.problem.value_and_grad(self.state.theta, grad), grad)

    def _offer_infinite(self) -> None:
        """Offer a trial without finite value; an optimizer that does not reject it has diverged."""
        last = self.state.theta.copy()
        try:
            self.optimizer.update(self.problem, self.state, math.inf, self.grad)
        except np.linalg.LinAlgError:
            self.state.theta = last
            raise
        if self.state.accepted:
            self.state.theta = last
            raise Stop(Status.DIVERGED)

    def advance(self) -> None:
        """Take ordinary iterations in compiled calls, where there are any, until something has to be decided.

        One call follows the other without an iteration of another kind between them: how long they are is a matter
        of time, and must not show in the results.
        """
        while not self.monitor.out_of_time():
            began, limits = self.monitor.seconds(), self.monitor.limits()
            taken = self.optimizer.fast_forward(self.problem, self.state, limits)
            if taken is None:
                return
            values, norms, to_decide = _as_iterations(taken, f"method: what {self.optimizer.name}.fast_forward", limits)
            self.monitor.absorb(values, norms, self.state.step, began)
            if to_decide:
                return


class Stages:
    """The stage of a run, when it began, and the schedules that say when the next one is due.

    A point that is stationary ends its stage; it ends the run only if the next stage starts at a stationary point as
    well (its directions are other ones), and its schedule knows of none beyond.
    """

    def __init__(self, stage: Stage, schedules: Sequence[Schedule], monitor: Monitor, rng: np.random.Generator) -> None:
        self.current = stage
        self._schedules = schedules
        self._staged = [part for part in schedules if part.has_stages]
        self._monitor = monitor
        self._rng = rng
        self._began = 0
        self._at_start = False

    def step_factor(self) -> float:
        """Return the factor on the step that leaves the trial; refuse one that would go uphill or nowhere."""
        if not self._schedules:
            return 1.0
        steps = self._monitor.nit + (not self._at_start)
        most = self._monitor.stop.max_iter
        factor = 1.0
        for part in self._schedules:
            given = part.step_factor(steps, steps - self._began, most)
            factor *= as_number(given, f"schedule: step_factor of {part.name!r}", 0.0)
        return factor

    def turn(self, trials: Trials) -> bool:
        """Have the accepted point judged, and go on to the next stage if one is due."""
        ended = self._judge(trials)
        if not self._staged:
            return False
        taken = self._monitor.nit - self._began
        most = self._monitor.stop.max_iter
        due = [part for part in self._staged if ended or (taken and _is_boundary(part, taken, most))]
        if not due:
            return False
        last = self.current = _at(self.current, trials.state.theta)
        for part in due:
            self.current = _same_aim(part, self.current, part.transition(self.current, self._rng))
        self._at_start = self.current.problem is not last.problem or self.current.theta is not last.theta
        if self._at_start:
            self._began = self._monitor.nit
        elif ended:
            raise Stop(ended)
        return self._at_start

    def count_unfinished(self, trials: Trials) -> None:
        """Count the iterate that Ctrl-C has found accepted and not counted yet.

        Methods swap the arrays of point and trial where they accept it, before they prepare the next trial.
        """
        if self._at_start or trials.before is None:
            return
        theta, counted = trials.before
        if trials.state.theta is not theta and self._monitor.nit == counted:
            self._monitor.count(trials.value, trials.grad_norm, trials.state.step)

    def _judge(self, trials: Trials) -> Status | None:
        """Return what ended the stage, if anything; the start of a stage is no new iterate."""
        if self._at_start:
            trials.before = None
            self._at_start = False
            grad_norm = trials.grad_norm
            if self._monitor.is_stationary(trials.state.theta, trials.value, grad_norm):
                grad_norm = max(grad_norm, *(_unseen_gradient(part, self.current) for part in self._staged))
            return self._monitor.new_stage(trials.state.theta, trials.value, grad_norm)
        state = trials.state
        staged = bool(self._staged)
        return self._monitor.accept(
            trials.problem, state.theta, trials.value, trials.grad_norm, state.step, staged=staged
        )


def _as_iterations(taken: Any, source: str, limits: Limits) -> tuple[Array, Array, bool]:
    """Return iterations that a method has taken; refuse what is none, and what would be asked for again without end."""
    parts = taken if isinstance(taken, tuple) else ()
    vectors = [part for part in parts[:2] if isinstance(part, np.ndarray) and is_floating(part, (part.size,))]
    if len(parts) != 3 or len({part.size for part in vectors}) != 1 or len(vectors) != 2 or not is_flag(parts[2]):
        raise TypeError(
            f"{source} returns: expected None or a tuple (values, norms, to_decide) of two vectors of one length in "
            f"floating point and True or False, got {shown(taken)}"
        )
    values, norms, to_decide = parts
    if values.size > limits.steps:
        raise ValueError(f"{source} returns: expected at most limits.steps = {limits.steps} values, got {values.size}")
    if not (values.size or to_decide):
        raise ValueError(f"{source} returns: expected to_decide = True where it took no iteration, got False")
    return values, norms, bool(to_decide)


def _is_boundary(part: Schedule, taken: int, most: int) -> bool:
    """Return whether a stage ends; refuse what is neither True nor False, as any text would be true."""
    ends = part.is_boundary(taken, most)
    return ends is not False and as_flag(ends, f"schedule: is_boundary of {part.name!r}")


def _unseen_gradient(part: Schedule, stage: Stage) -> float:
    size = part.unseen_gradient(stage)
    if isinstance(size, float) and size == math.inf:
        return size
    return as_number(size, f"schedule: unseen_gradient of {part.name!r}", 0.0)


@dataclass(frozen=True)
class _Iterate:
    """An accepted point, with value and gradient norm, and its number."""

    theta: Array
    value: float
    grad_norm: float
    nit: int


@patience()
def drive(stage: Stage, optimizer: DrivenOptimizer, monitor: Monitor) -> End:
    """Run an optimizer that owns its loop."""
    problem = stage.problem
    oracle = CountedOracle(problem, monitor)
    last = _Iterate(stage.theta, math.inf, math.inf, monitor.nit)

    def accept(point: Array) -> None:
        nonlocal last
        point = np.array(point, dtype=problem.dtype)
        value, grad_norm = oracle.recall(point)
        if not (math.isfinite(value) and math.isfinite(grad_norm)):
            raise Stop(Status.DIVERGED)
        last = _Iterate(point, value, grad_norm, monitor.nit + 1)
        monitor.accept(problem, point, value, grad_norm, math.nan)

    try:
        accept(stage.theta)
        optimizer.minimize(stage.theta.copy(), oracle, accept)
        status = Status.STALLED
    except Stop as reason:
        status = reason.status
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
        if monitor.nit < last.nit:
            monitor.count(last.value, last.grad_norm, math.nan)
    return End(_at(stage, last.theta), status)


class CountedOracle:
    """The counted oracle of a method that owns its loop; it remembers its last answers.

    Below what rounding lets a method see, its line searches go on for dozens of calls each: in float32 runs took 5,000
    to 16,000 calls where those in float64 have converged after 43. So they end where many calls in a row have brought
    neither a lower value nor a gradient that is clearly smaller.
    """

    MEMORY = 64
    # What a gradient norm is to the least one before where it is clearly smaller.
    SMALLER = 0.9

    def __init__(self, problem: Problem, monitor: Monitor) -> None:
        self.problem = problem
        self.monitor = monitor
        self._known: dict[bytes, tuple[float, float]] = {}
        self._value = self._norm = math.inf
        self._idle = 0
        # The last place of a product with the Hessian, and what multiplies there.
        self._curved: tuple[Array, Callable[[Array], Array]] | None = None

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return value and gradient of ``L``; a value that is not a number is infinite, so that it compares."""
        self.monitor.call()
        theta = np.asarray(theta, dtype=self.problem.dtype)
        grad = np.empty_like(theta)
        value = self.problem.value_and_grad(theta, grad)
        if math.isnan(value):
            value = math.inf
        if len(self._known) > self.MEMORY:
            self._known.pop(next(iter(self._known)))
        norm = self.problem.stationarity(theta, grad)
        self._known[theta.tobytes()] = (value, norm)
        self._look_for_progress(value, norm)
        return value, grad

    def _look_for_progress(self, value: float, norm: float) -> None:
        if value < self._value or norm < self.SMALLER * self._norm:
            self._idle = 0
        self._value = min(self._value, value)
        self._norm = min(self._norm, norm)
        self._idle += 1
        if self._idle > STALL_WINDOW:
            raise Stop(Status.STALLED)

    def recall(self, theta: Array) -> tuple[float, float]:
        """Return value and gradient norm at a point, evaluated anew only if it is no recent one."""
        if theta.tobytes() not in self._known:
            self(theta)
        return self._known[theta.tobytes()]

    def hessian_product(self, theta: Array, direction: Array) -> Array:
        """Return the Hessian of ``L`` times a direction; frozen parameters are left out."""
        self.monitor.call()
        problem = self.problem
        if not np.isfinite(direction).all():
            # SciPy's inner conjugate gradients divide by a curvature that has vanished to rounding.
            raise Stop(Status.STALLED)
        if problem.trainable is not None:
            direction = np.where(problem.trainable, direction, 0.0)
        if self._curved is None or not np.array_equal(theta, self._curved[0]):
            place = theta.copy()  # a method may move what it gives
            self._curved = place, problem.hessian_at(place)
        product = self._curved[1](direction)
        return product if problem.trainable is None else np.where(problem.trainable, product, 0.0)


def _same_aim(schedule: Schedule, before: Stage, after: Stage) -> Stage:
    """Return what a transition has returned, or refuse what is no stage or one that minimises something else."""
    as_instance(after, f"schedule: the transition of {schedule.name!r}", Stage)
    given, got = before.problem.lam, after.problem.lam
    if got != given:
        raise ValueError(
            f"schedule: the transition of {schedule.name!r} has changed lam from {given:g} to {got:g}, which makes "
            "another problem of it; continue there by solve(problem.replace(lam=...), init=result)"
        )
    if not np.isfinite(after.theta).all():
        raise ValueError(
            f"schedule: the transition of {schedule.name!r} has returned the parameters {shown(after.theta)}, expected "
            f"a vector of {after.problem.size} finite numbers"
        )
    return after


def _at(stage: Stage, theta: Array) -> Stage:
    return replace(stage, theta=theta.copy())
