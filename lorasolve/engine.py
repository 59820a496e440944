"""``solve``: what is asked for is put together, run by the loop (``loop.py``), and made a result."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from numbers import Real
from typing import Any, Literal, SupportsIndex

import numpy as np

from ._advice import end_message, unbounded_advice, zero_advice
from ._slopes import contradiction
from ._support.keywords import names_keywords
from ._support.progress import Progress
from ._support.threads import solver_pools
from ._support.time_limit import limited_to
from ._support.validate import Array, as_callable, as_choice, as_flag, as_instance, as_integer, require, shown
from .inits import Init
from .inits import registry as init_registry
from .loop import End, drive, iterate
from .method import Method
from .monitor import Callback, Monitor, StoppingRule, rule_of
from .optimizers import Optimizer
from .optimizers.base import DrivenOptimizer
from .problem import Problem
from .problem.natural_units import underflows
from .problem.pairs import unlisted
from .result import Result, seen_from
from .schedules import Stage
from .status import Status

GivenStart = tuple[Any, Any] | Result

# Of the largest number whose square is one: where a loss falls for ever line searches end some steps before it.
END = 1e-3


@names_keywords
def solve(
    problem: Problem,
    method: str | Optimizer | Method = "gd",
    init: str | Init | tuple[Any, Any] | Result | None = None,
    seed: SupportsIndex | None = 0,
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
        Replaces the method's start: an init, explicit factors (m, r) and (n, r), or an earlier result to continue: its
        parameters, with what it had merged merged into this problem's frozen weight, unless this is ``result.problem``
        or a copy, which holds it. Its problem may differ in objective, ``lam`` and settings of the adapter; shape, rank
        and adapter have to be the same. A copy is known by its content, where that can be read. Of several matrices
        ``A`` and ``B`` are sequences, or a list of pairs is given (a tuple of two is ``(A, B)``).
    seed : int or None
        Seed of all randomness; the same seed gives the same result.
    stop : StoppingRule, optional
        When to stop; by default as the optimizer says, 10,000 iterations to a tolerance of 1e-8 for most.
    callback : callable, optional
        Called with an :class:`~lorasolve.Intermediate` after each accepted iteration; returning True or raising
        ``StopIteration`` ends the run. Any other exception passes through, with the result so far as its attribute
        ``result``.
    progress : bool
        Show progress on stderr: a line rewritten in place on a terminal, one every 30 s in logs.
    engine : {"compiled", "interpreted"}
        ``"interpreted"`` derives every answer from the objective's plain ``value_and_grad(X)``: slower, for
        checking.

    Returns
    -------
    Result

    Raises
    ------
    ValueError, TypeError
        For unknown names, combinations that make no sense, a start at ``A = B = 0``, which is a stationary point that
        no gradient method can leave, data so small that values of ``f`` underflow, where the rule has a tolerance, and
        samples that were written to after something was formed of them, as outputs of softmax, logistic and two-layer
        losses are, and constants of dense measurements.
    """
    as_instance(problem, "problem", Problem)
    as_choice(engine, "engine", ("compiled", "interpreted"))
    if seed is not None:
        seed = as_integer(seed, "seed", 0)
    if callback is not None:
        as_callable(callback, "callback")
    as_flag(progress, "progress")
    method, given = method_and_start(method, init)
    optimizer, schedules = method.optimizer, list(method.schedules)
    stop = rule_of(stop, optimizer)
    problem.loss.refuse_changed_samples()
    if engine == "interpreted":
        problem = problem.plain()
    problem = own_problem(problem, method, given)

    attended = callback is not None or bool(schedules)
    rng = np.random.default_rng(seed)
    if isinstance(optimizer, DrivenOptimizer):
        import scipy.linalg  # noqa: F401  its BLAS is limited below only once it is loaded
    with solver_pools(problem.objective.kernels.threaded or (not attended and _runs_compiled(optimizer, problem))):
        with np.errstate(over="ignore", invalid="ignore"):  # of what is no number the run says so
            stage = first_stage(problem, method, given, rng)
        if stop.grad_tol > 0.0 and not optimizer.stochastic:
            # Where the tolerance asks for the units anyway.
            _refuse_underflow(stage.problem)
        monitor = Monitor(
            stop,
            callback,
            Progress(optimizer.name, progress),
            stochastic=optimizer.stochastic,
            # A run that makes no progress at this step size may still do so at the smaller ones to come.
            may_stall=optimizer.may_stall and not any(part.scales_steps for part in schedules),
        )
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            compiled_before = compile_seconds()
            with limited_to(monitor.end):
                if isinstance(optimizer, DrivenOptimizer):
                    end = drive(stage, optimizer, monitor)
                else:
                    end = iterate(stage, optimizer, schedules, monitor, rng, attended)
            monitor.finish()
            result = _result(end, stage, method, start_name(method, given), seed, monitor, compiled_before)
            if monitor.raised is not None:
                raise _with_result(monitor.raised, result)
            return result


def _runs_compiled(optimizer: Optimizer, problem: Problem) -> bool:
    """Return whether a method's iterations on a problem are compiled; refuse a word for that."""
    return as_flag(optimizer.runs_compiled(problem), f"method: what {optimizer.name}.runs_compiled returns")


def _refuse_underflow(problem: Problem) -> None:
    if underflows(problem):
        raise ValueError(
            f"problem: f underflows in {problem.loss.precision}: the gradient at X = 0 has the size "
            f"{problem.units.slope:.1g}, and values are of the size of its square; give the data other units"
        )


def method_and_start(
    method: str | Optimizer | Method, init: str | Init | GivenStart | None
) -> tuple[Method, GivenStart | None]:
    """Return the method with its init replaced by a named one, and factors or a result that are given instead."""
    method = Method.of(method)
    if init is None:
        return method, None
    init = unlisted(init, "init")
    if isinstance(init, Result) or (isinstance(init, tuple) and len(init) == 2):
        return method, init
    if not isinstance(init, (str, Init)):
        raise TypeError(f"init: expected the name of an init, an Init, a Result or factors (A, B), got {shown(init)}")
    return replace(method, init=init_registry.make(init, "init")), None


def start_name(method: Method, given: GivenStart | None) -> str:
    """Return the name of what a run starts from."""
    return method.init.name if given is None else "given"


def own_problem(problem: Problem, method: Method, given: GivenStart | None) -> Problem:
    """Return the problem that a method runs, or refuse what cannot run."""
    require(method, "method", method.refusal(problem, draws_start=given is None))
    return method.problem(problem)


def first_stage(problem: Problem, method: Method, given: GivenStart | None, rng: np.random.Generator) -> Stage:
    """Return the first stage of a run: the method's own start, explicit factors or the end of an earlier result."""
    if given is None:
        return method.start(problem, rng)
    if not isinstance(given, Result):
        return method.start(problem, rng, Stage(problem, problem.join(*given)))
    refuse_other_parameters(problem, given)
    merged = seen_from(problem, given).merged
    if merged is not None:
        merged = merged.astype(problem.dtype)
        problem = own_problem(problem.replace(objective=problem.objective.merged(merged)), method, given)
    return method.start(problem, rng, Stage(problem, given.theta.astype(problem.dtype), merged))


def refuse_other_parameters(problem: Problem, given: Result) -> None:
    """Refuse to go on from a result whose parameters are not those of a problem."""
    expected, got = _parameters(problem), _parameters(given.problem)
    if got != expected:
        raise ValueError(f"init: expected a result of a problem with {expected}, got one with {got}")


def _parameters(problem: Problem) -> str:
    """Return in words what the parameters of a problem are."""
    matrices = ", ".join(f"{m} x {n} at rank {r}" for (m, n), r in zip(problem.shapes, problem.ranks))
    return f"{matrices}, adapter {problem.adapter.name!r}, {problem.size} parameters"


def compile_seconds() -> float:
    """Return the seconds that this process has spent compiling kernels, without loading what compiles them."""
    # Another thread may be loading it, and has compiled nothing before that is done.
    known = getattr(sys.modules.get("lorasolve.kernels.jit"), "compile_seconds", None)
    return 0.0 if known is None else known()


def _with_result(error: Exception, result: Result) -> Exception:
    """Return what a callback raised, with the result so far as its attribute ``result``."""
    error.result = result  # type: ignore[attr-defined]
    error.add_note(f"raised by the callback in iteration {result.nit}; the result so far is this exception's .result")
    return error


def _denial(end: End, optimizer: Optimizer, monitor: Monitor) -> str | None:
    """Return why a run that was told so has not converged, or not reached its target, or None if it has."""
    if not end.status.success or optimizer.stochastic:
        return None
    problem, theta = end.stage.problem, end.stage.theta
    if type(optimizer).evaluate is not Optimizer.evaluate:
        grad = np.empty_like(theta)
        value = _last_value(optimizer, problem, theta, grad)
        if not monitor.confirms(end.status, theta, value, problem.stationarity(theta, grad)):
            return "its evaluate answers with other values or gradients than those of L: run check_optimizer"
    return contradiction(problem, theta) if end.status is Status.CONVERGED else None


def _last_value(optimizer: Optimizer, problem: Problem, theta: Array, grad: Array) -> float:
    """Write the gradient at the last point and return the value there, checked."""
    value = optimizer.last_value_and_grad(problem, theta, grad)
    if not isinstance(value, Real):
        returned = f"method: {optimizer.name}.last_value_and_grad returned {shown(value)}"
        raise TypeError(f"{returned}, expected the value of L as a number")
    return float(value)


def _falls_on(theta: Array, value: float, grad_norm: float) -> bool:
    """Whether a run has fallen to where squares of longer parameters, or gradients, are no finite numbers."""
    largest = math.sqrt(float(np.finfo(theta.dtype).max))
    return value < 0.0 and max(float(np.abs(theta).max()), grad_norm) > END * largest


def _result(
    end: End,
    start: Stage,
    method: Method,
    started_from: str,
    seed: int | None,
    monitor: Monitor,
    compiled_before: float,
) -> Result:
    """Recompute value and gradient at the last point, and say why the run has ended and what to do next."""
    optimizer, problem, theta, status = method.optimizer, end.stage.problem, end.stage.theta, end.status
    denied = _denial(end, optimizer, monitor)
    seconds, compiled = monitor.seconds(), compile_seconds() - compiled_before
    grad = np.empty_like(theta)
    fun = _last_value(optimizer, problem, theta, grad)
    grad_norm = problem.stationarity(theta, grad)
    if status is Status.STALLED and _falls_on(theta, fun, grad_norm):
        status = Status.DIVERGED
    if denied is None:
        message = end_message(optimizer, start, status, end.step, monitor.nit, monitor.trace.value)
    else:
        status, message = Status.INCONSISTENT, f"{optimizer.name}: {denied}"
    if not len(monitor.trace):  # of a run that has ended before its first oracle call
        monitor.trace.record(0, fun, grad_norm, seconds - compiled, math.nan)
    A, B, _ = problem.split(theta.copy())
    result = Result(
        A=A,
        B=B,
        theta=theta,
        fun=fun,
        grad_norm=grad_norm,
        nit=max(monitor.nit, 0),
        nfev=monitor.nfev,
        status=status,
        message=message,
        trace=monitor.trace,
        seconds=seconds - compiled,
        compile_seconds=compiled,
        seed=seed,
        method=method,
        started_from=started_from,
        problem=problem,
        merged=end.stage.merged,
    )
    result.message += zero_advice(result, start) + unbounded_advice(result)
    result.message += "".join(f"; {left}" for part in method.schedules if (left := part.unfinished(end.stage)))
    return result
