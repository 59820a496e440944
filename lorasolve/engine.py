"""The loop, once for all methods: oracle calls, stopping, trace, non-finite values, callbacks, stages."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ._progress import Progress
from ._threads import solver_pools
from ._validate import Array, as_integer, as_number
from .adapters.base import Adapter
from .inits import Init, Start
from .inits import registry as init_registry
from .optimizers import Optimizer
from .optimizers import registry as optimizer_registry
from .optimizers.base import DrivenOptimizer, Limits
from .problem import Problem
from .result import Result, Status, Trace
from .schedules import Schedule, Stage
from .schedules import registry as schedule_registry

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


class _Stop(Exception):
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
            raise _Stop(Status.TIME_LIMIT)

    def accept(
        self, problem: Problem, theta: Array, value: float, grad_norm: float, step: float, staged: bool = False
    ) -> Status | None:
        """Record an accepted iterate and raise :class:`_Stop` if a rule ends the run there.

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
                raise _Stop(Status.STOPPED_BY_CALLBACK)
        if self.stop.target is not None and value <= self.stop.target:
            raise _Stop(Status.TARGET_REACHED)
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
            raise _Stop(ended)
        if self.nit >= self.stop.max_iter:
            raise _Stop(Status.ITERATION_LIMIT)
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
            self._unattended = int(count * min(max(UNATTENDED_SECONDS / elapsed, 0.5), 2.0)) + 1
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
            raise _Stop(Status.CONVERGED)
        return Status.CONVERGED

    def _converged(self, value: float, grad_norm: float) -> bool:
        return not self.stochastic and grad_norm <= self.stop.grad_tol * (1.0 + min(abs(value), self._first))

    def finish(self) -> None:
        """Make sure the last accepted point is in the trace."""
        if self._last is not None:
            value, grad_norm, step = self._last
            self.trace.record(self.nit, value, grad_norm, self.seconds(), step, force=True)
        self.progress.close()


def solve(
    problem: Problem,
    optimizer: str | Optimizer = "gd",
    init: str | Init | tuple[Any, Any] | Result = "lora",
    seed: int | None = 0,
    *,
    adapter: str | Adapter | None = None,
    schedule: str | Schedule | Sequence[str | Schedule] | None = None,
    stop: StoppingRule | None = None,
    callback: Callback | None = None,
    progress: bool = False,
    engine: Literal["compiled", "interpreted"] = "compiled",
) -> Result:
    """Minimise ``L(A, B) = f(s A B^T) + (lam/2)(||A||_F^2 + ||B||_F^2)``.

    Parameters
    ----------
    problem : Problem
        Objective, rank, weight decay and adapter.
    optimizer : str or Optimizer
        A name (``lorasolve list`` shows all) or an instance with settings.
    init : str, Init, (A, B) or Result
        The start: a name, an instance, explicit factors (m, r) and (n, r), or an earlier result to continue.
    seed : int or None
        Seed of all randomness; the same seed gives the same result.
    adapter : str or Adapter, optional
        Replaces the problem's adapter.
    schedule : str, Schedule or a sequence of them, optional
        Step-size factors and stage transitions.
    stop : StoppingRule, optional
        When to stop.
    callback : callable, optional
        Called with an :class:`Intermediate` after each accepted iteration; returning True or raising
        ``StopIteration`` ends the run.
    progress : bool
        Show a progress line on stderr (on a terminal only).
    engine : {"compiled", "interpreted"}
        ``"interpreted"`` derives every answer from the objective's plain ``value_and_grad(X)``: slower, for
        checking.

    Returns
    -------
    Result

    Raises
    ------
    ValueError, TypeError
        For unknown names, combinations that make no sense, and a start at ``A = B = 0``, which is a stationary
        point that no gradient method can leave.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: expected a Problem, got {type(problem).__name__}")
    if adapter is not None:
        problem = problem.replace(adapter=adapter)
    if engine not in ("compiled", "interpreted"):
        raise ValueError(f"engine: expected 'compiled' or 'interpreted', got {engine!r}")
    if seed is not None:
        as_integer(seed, "seed", 0)
    method = optimizer_registry.make(optimizer, "optimizer")
    schedules = _schedules(schedule)
    stop = StoppingRule() if stop is None else stop
    _check_schedules(schedules, method, problem)
    if problem.adapter.proximal and not method.takes_prox:
        able = ", ".join(name for name, cls in optimizer_registry.classes().items() if cls.takes_prox)
        raise ValueError(
            f"optimizer: the penalty of {problem.adapter.name!r} needs a proximal step, which {method.name!r} does "
            f"not take. Accepted: {able}."
        )
    if engine == "interpreted":
        problem = problem.plain()
    method.check(problem)

    rng = np.random.default_rng(seed)
    stage, init_name = _start(problem, init, rng)
    for part in schedules:
        stage = part.start(stage, rng)
    monitor = Monitor(
        stop,
        callback,
        Progress(method.name, progress),
        stochastic=method.stochastic,
        # A run that makes no progress at this step size may still do so at the smaller ones to come.
        may_stall=method.may_stall and not any(part.scales_steps for part in schedules),
    )
    compiled_before = _compile_seconds()
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"), solver_pools(problem.objective):
        if isinstance(method, DrivenOptimizer):
            end = _drive(stage, method, monitor)
        else:
            end = _iterate(stage, method, schedules, monitor, rng)
        monitor.finish()
        total = monitor.seconds()
        compiled = _compile_seconds() - compiled_before
        message = f"{method.name}: {end.status.advice}"
        if end.status is Status.DIVERGED:
            message += _divergence_advice(method, stage, end, monitor.nit)
        elif end.status is Status.STALLED:
            message += method.stall_hint
        return _result(end, method.name, init_name, seed, message, monitor, total - compiled, compiled)


@dataclass(frozen=True)
class _End:
    """Where a loop ended, why, and with which step size."""

    stage: Stage
    status: Status
    step: float = math.nan


def _iterate(
    stage: Stage,
    optimizer: Optimizer,
    schedules: list[Schedule],
    monitor: Monitor,
    rng: np.random.Generator,
) -> _End:
    """Run an optimizer that answers one oracle call at a time.

    With stages, a point that is stationary ends its stage; it ends the run only if the next stage starts at a
    stationary point as well (its directions are other ones).
    """
    problem = stage.problem
    max_iter = monitor.stop.max_iter
    staged = [part for part in schedules if part.has_stages]
    attended = monitor.callback is not None or bool(schedules)
    stage_starts = False
    stage_began = 0
    state = optimizer.init(problem, stage.theta, rng)
    grad = np.empty_like(stage.theta)
    try:
        while True:
            monitor.call()
            value = optimizer.evaluate(problem, state, grad)
            grad_norm = problem.stationarity(state.trial, grad)
            if not (math.isfinite(value) and math.isfinite(grad_norm)):
                value = grad_norm = math.inf
            steps = monitor.nit if stage_starts else monitor.nit + 1
            state.step_factor = math.prod(s.step_factor(steps, steps - stage_began, max_iter) for s in schedules)
            if value == math.inf and not _recovers(optimizer, problem, state, grad):
                return _End(_at(stage, state.theta), Status.DIVERGED, state.step)
            if value != math.inf:
                optimizer.update(problem, state, value, grad)
            if state.accepted and stage_starts:
                stage_starts = False
                ended = monitor.new_stage(value, grad_norm)
            elif state.accepted:
                ended = monitor.accept(problem, state.theta, value, grad_norm, state.step, staged=bool(staged))
            if state.accepted:
                taken = monitor.nit - stage_began
                due = [s for s in staged if ended or (taken and s.is_boundary(taken, max_iter))]
                if due:
                    last = stage = _at(stage, state.theta)
                    for part in due:
                        stage = part.transition(stage, rng)
                    stage_starts = stage.problem is not last.problem or stage.theta is not last.theta
                    if ended and not stage_starts:
                        raise _Stop(ended)
                if stage_starts:
                    stage_began = monitor.nit
                    problem = stage.problem
                    state = optimizer.init(problem, stage.theta, rng)
                    grad = np.empty_like(stage.theta)
            if state.exhausted:
                return _End(_at(stage, state.theta), Status.STALLED, state.step)
            if attended or not state.accepted:
                continue
            began = monitor.seconds()
            taken_unattended = optimizer.fast_forward(problem, state, monitor.limits())
            if taken_unattended is not None:
                monitor.absorb(*taken_unattended, state.step, began)
    except _Stop as reason:
        return _End(_at(stage, state.theta), reason.status, state.step)
    except KeyboardInterrupt:
        return _End(_at(stage, state.theta), Status.INTERRUPTED, state.step)


def _recovers(optimizer: Optimizer, problem: Problem, state: Any, grad: Array) -> bool:
    """Offer a non-finite trial to the optimizer; True if it rejected the point and has another trial."""
    last = state.theta.copy()
    optimizer.update(problem, state, math.inf, grad)
    if state.accepted:
        state.theta = last
        return False
    return True


class _Oracle:
    """The counted oracle of a method that owns its loop; it remembers its last answers."""

    MEMORY = 64

    def __init__(self, problem: Problem, monitor: Monitor) -> None:
        self.problem = problem
        self.monitor = monitor
        self._known: dict[bytes, tuple[float, float]] = {}

    def __call__(self, theta: Array) -> tuple[float, Array]:
        self.monitor.call()
        theta = np.asarray(theta, dtype=self.problem.dtype)
        grad = np.empty_like(theta)
        value = self.problem.value_and_grad(theta, grad)
        if len(self._known) > self.MEMORY:
            self._known.pop(next(iter(self._known)))
        self._known[theta.tobytes()] = (value, self.problem.stationarity(theta, grad))
        return value, grad

    def recall(self, theta: Array) -> tuple[float, float]:
        """Return value and gradient norm at a point, evaluated anew only if it is no recent one."""
        if theta.tobytes() not in self._known:
            self(theta)
        return self._known[theta.tobytes()]

    def hessian_product(self, theta: Array, direction: Array) -> Array:
        """Return the Hessian of ``L`` times a direction; frozen parameters are left out."""
        self.monitor.call()
        problem = self.problem
        if problem.trainable is not None:
            direction = np.where(problem.trainable, direction, 0.0)
        product = np.concatenate(
            [part.ravel() for part in problem.hvp(*problem.split(theta)[:2], *problem.split(direction)[:2])]
        )
        return product if problem.trainable is None else np.where(problem.trainable, product, 0.0)


def _drive(
    stage: Stage,
    optimizer: DrivenOptimizer,
    monitor: Monitor,
) -> _End:
    """Run an optimizer that owns its loop."""
    problem = stage.problem
    theta = stage.theta.copy()
    oracle = _Oracle(problem, monitor)

    def accept(point: Array) -> None:
        point = np.asarray(point, dtype=problem.dtype)
        value, grad_norm = oracle.recall(point)
        if not (math.isfinite(value) and math.isfinite(grad_norm)):
            raise _Stop(Status.DIVERGED)
        theta[:] = point
        monitor.accept(problem, theta, value, grad_norm, math.nan)

    try:
        accept(theta.copy())
        optimizer.minimize(theta.copy(), oracle, accept)
        status = Status.STALLED
    except _Stop as reason:
        status = reason.status
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    return _End(_at(stage, theta), status)


def _at(stage: Stage, theta: Array) -> Stage:
    return replace(stage, theta=theta.copy())


def _schedules(given: str | Schedule | Sequence[str | Schedule] | None) -> list[Schedule]:
    if given is None:
        return []
    parts = [given] if isinstance(given, (str, Schedule)) else list(given)
    return [schedule_registry.make(part, "schedule") for part in parts]


def _check_schedules(schedules: list[Schedule], method: Optimizer, problem: Problem) -> None:
    """Refuse schedules that the problem or the method cannot work with."""
    for part in schedules:
        part.check(problem)
        if isinstance(method, DrivenOptimizer):
            raise ValueError(f"schedule: {method.name!r} owns its loop and takes no schedule")
        if part.scales_steps and not method.takes_step_factor:
            raise ValueError(f"schedule: {part.name!r} scales a step size, and {method.name!r} has none to scale")
        if part.has_stages:
            method.check(problem.replace(objective=problem.objective.merged(np.zeros(problem.shape, problem.dtype))))


def _start(problem: Problem, init: Any, rng: np.random.Generator) -> tuple[Stage, str]:
    """Return the first stage and the name of the init."""
    name = "given"
    merged: Array | None = None
    if isinstance(init, Result):
        merged = init.merged
        if merged is not None:
            problem = init.problem
        theta = init.theta.astype(problem.dtype)
        if theta.size != problem.size:
            raise ValueError(
                f"init: the earlier result has {theta.size} parameters, the problem needs {problem.size}"
            )
    else:
        if isinstance(init, tuple) and len(init) == 2:
            start = Start(*init)
        else:
            maker = init_registry.make(init, "init")
            name = maker.name
            start = maker.start(problem, rng)
        merged = start.merged
        if merged is not None:
            problem = problem.replace(objective=problem.objective.merged(merged))
        theta = problem.join(start.A, start.B)
    if not np.any(theta[: problem.n_factor_parameters]):
        raise ValueError(
            "init: A = B = 0 is a stationary point of every problem, so no gradient method can leave it; "
            "start with one factor nonzero (for example init='lora')"
        )
    if problem.trainable is not None:
        for factor, values, trained in zip("AB", problem.split(theta), problem.split(problem.trainable)):
            if not (trained.any() or values.any()):
                raise ValueError(
                    f"init: the frozen factor {factor} is zero, so the update stays zero; use init='gaussian'"
                )
    return Stage(problem, theta, merged), name


def _compile_seconds() -> float:
    module = sys.modules.get("lorasolve.kernels._jit")
    return 0.0 if module is None else module.compile_seconds()


def _divergence_advice(optimizer: Optimizer, start: Stage, end: _End, nit: int) -> str:
    """Say when the run left the finite numbers and which step size to try."""
    text = f" after {max(nit, 0)} iterations"
    if math.isfinite(end.step):
        suggestion = min(optimizer.default_step(start.problem, start.theta), end.step / 2)
        text += f" with step {end.step:.3g}; try a step size of at most {suggestion:.3g}, or 'gd_backtracking'"
    return text


def _result(
    end: _End,
    optimizer: str,
    init: str,
    seed: int | None,
    message: str,
    monitor: Monitor,
    seconds: float,
    compile_seconds: float,
) -> Result:
    """Recompute value and gradient at the last point and put everything together."""
    problem, theta = end.stage.problem, end.stage.theta
    grad = np.empty_like(theta)
    fun = problem.value_and_grad(theta, grad)
    A, B, _ = problem.split(theta)
    return Result(
        A=A.copy(),
        B=B.copy(),
        theta=theta,
        fun=fun,
        grad_norm=problem.stationarity(theta, grad),
        nit=max(monitor.nit, 0),
        nfev=monitor.nfev,
        status=end.status,
        message=message,
        trace=monitor.trace,
        seconds=seconds,
        compile_seconds=compile_seconds,
        seed=seed,
        optimizer=optimizer,
        init=init,
        problem=problem,
        merged=end.stage.merged,
    )
