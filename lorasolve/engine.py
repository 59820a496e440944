"""The loop, once for all methods: oracle calls, non-finite values, stages, and the result at the end."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ._progress import Progress
from ._threads import solver_pools
from ._validate import Array, as_integer, require
from .inits import Init
from .inits import registry as init_registry
from .method import Method
from .monitor import Callback, Monitor, Stop, StoppingRule
from .optimizers import Optimizer
from .optimizers.base import DrivenOptimizer
from .problem import Problem
from .result import Result, Status
from .schedules import Schedule, Stage

Given = tuple[Any, Any] | Result


def solve(
    problem: Problem,
    method: str | Optimizer | Method = "gd",
    init: str | Init | tuple[Any, Any] | Result | None = None,
    seed: int | None = 0,
    *,
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
    method : str, Optimizer or Method
        The way to run: a text (``"gd"``, ``"adam:step_size=0.1+cosine"``; ``lorasolve list`` shows all names), an
        optimizer, or a :class:`Method` of optimizer, schedules, adapter, init and weight decay.
    init : str, Init, (A, B) or Result, optional
        Replaces the method's start: an init, explicit factors (m, r) and (n, r), or an earlier result to continue.
    seed : int or None
        Seed of all randomness; the same seed gives the same result.
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
    if engine not in ("compiled", "interpreted"):
        raise ValueError(f"engine: expected 'compiled' or 'interpreted', got {engine!r}")
    if seed is not None:
        as_integer(seed, "seed", 0)
    method, given = method_and_start(method, init)
    optimizer, schedules = method.optimizer, list(method.schedules)
    stop = StoppingRule() if stop is None else stop
    if engine == "interpreted":
        problem = problem.plain()
    problem = own_problem(problem, method, given)

    attended = callback is not None or bool(schedules)
    rng = np.random.default_rng(seed)
    with solver_pools(problem.objective.kernels.threaded or (not attended and optimizer.runs_compiled(problem))):
        stage = first_stage(problem, method, given, rng)
        monitor = Monitor(
            stop,
            callback,
            Progress(optimizer.name, progress),
            stochastic=optimizer.stochastic,
            # A run that makes no progress at this step size may still do so at the smaller ones to come.
            may_stall=optimizer.may_stall and not any(part.scales_steps for part in schedules),
        )
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            compiled_before = _compile_seconds()
            if isinstance(optimizer, DrivenOptimizer):
                end = _drive(stage, optimizer, monitor)
            else:
                end = _iterate(stage, optimizer, schedules, monitor, rng, attended)
            monitor.finish()
            total = monitor.seconds()
            compiled = _compile_seconds() - compiled_before
            message = f"{optimizer.name}: {end.status.advice}"
            if end.status is Status.DIVERGED:
                message += _divergence_advice(optimizer, stage, end, monitor.nit)
            elif end.status is Status.STALLED:
                message += optimizer.stall_hint
            origin = start_name(method, given)
            return _result(end, method, origin, seed, message, monitor, total - compiled, compiled)


def method_and_start(
    method: str | Optimizer | Method, init: str | Init | Given | None
) -> tuple[Method, Given | None]:
    """Return the method with its init replaced by a named one, and factors or a result that are given instead."""
    method = Method.of(method)
    if init is None:
        return method, None
    if isinstance(init, Result) or (isinstance(init, tuple) and len(init) == 2):
        return method, init
    return replace(method, init=init_registry.make(init, "init")), None


def start_name(method: Method, given: Given | None) -> str:
    """Return the name of what a run starts from."""
    return method.init.name if given is None else "given"


def own_problem(problem: Problem, method: Method, given: Given | None) -> Problem:
    """Return the problem that a method runs, or refuse what cannot run."""
    require(str(method), "method", method.refusal(problem, draws_start=given is None))
    return method.problem(problem)


def first_stage(problem: Problem, method: Method, given: Given | None, rng: np.random.Generator) -> Stage:
    """Return the first stage of a run: the method's own start, explicit factors or the end of an earlier result."""
    if given is None:
        return method.start(problem, rng)
    if not isinstance(given, Result):
        return method.start(problem, rng, Stage(problem, problem.join(*given)))
    if given.merged is not None:
        problem = method.problem(given.problem)
    theta = given.theta.astype(problem.dtype)
    if theta.size != problem.size:
        raise ValueError(f"init: the earlier result has {theta.size} parameters, the problem needs {problem.size}")
    return method.start(problem, rng, Stage(problem, theta, given.merged))


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
    attended: bool,
) -> _End:
    """Run an optimizer that answers one oracle call at a time; ``attended`` runs see every iteration.

    With stages, a point that is stationary ends its stage; it ends the run only if the next stage starts at a
    stationary point as well (its directions are other ones).
    """
    problem = stage.problem
    max_iter = monitor.stop.max_iter
    staged = [part for part in schedules if part.has_stages]
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
                        raise Stop(ended)
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
    except Stop as reason:
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
        if not np.isfinite(direction).all():
            # SciPy's inner conjugate gradients divide by a curvature that has vanished to rounding.
            raise Stop(Status.STALLED)
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
            raise Stop(Status.DIVERGED)
        theta[:] = point
        monitor.accept(problem, theta, value, grad_norm, math.nan)

    try:
        accept(theta.copy())
        optimizer.minimize(theta.copy(), oracle, accept)
        status = Status.STALLED
    except Stop as reason:
        status = reason.status
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    return _End(_at(stage, theta), status)


def _at(stage: Stage, theta: Array) -> Stage:
    return replace(stage, theta=theta.copy())


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
    method: Method,
    started_from: str,
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
        method=method,
        started_from=started_from,
        problem=problem,
        merged=end.stage.merged,
    )
