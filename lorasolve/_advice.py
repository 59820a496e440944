"""How a run ended, in words, and what to try instead."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ._support.hints import MANY_STARTS, OTHER_START
from ._support.text import counted
from .dense import frobenius_norm
from .method import Method
from .optimizers import Optimizer
from .problem import Problem
from .problem.blocks import is_of_a_user
from .problem.natural_units import beside_saddle_at_zero, natural_size, overflows
from .result import Result
from .schedules import Stage
from .status import Status

# A bounded loss does not fall this many times as far below 0 as its first values are from it: the one at the start,
# which may be 0, and the one after a step.
FALLEN, FIRST = 1e12, 2
# Factors of less than this share of the natural size are beside 0.
BESIDE = 1e-6
# After these ends a run is told to go on, where that makes sense.
RUNS_ON = (Status.ITERATION_LIMIT, Status.CALL_LIMIT, Status.TIME_LIMIT, Status.STALLED)


def end_message(
    optimizer: Optimizer, start: Stage, status: Status, step: float, nit: int, values: Sequence[float]
) -> str:
    """Return in words how a run ended; of one that left the finite numbers when, and which step size to try.

    ``nit`` is -1 where the start itself was not accepted; ``values`` are those of ``L``, the first and last among them.
    """
    text = f"{optimizer.name}: {status.advice}"
    if status in RUNS_ON and nit > 0 and optimizer.keeps_stationary_points and not optimizer.stochastic:
        risen = rise(start.problem, values[0], values[-1])
        if risen:
            ended = text.partition(";")[0]
            return f"{ended}; {risen}{_try_instead(optimizer.limit_hint, optimizer, start.problem)}"
    if status is Status.ITERATION_LIMIT:
        # Where the limit of a method is no stationary point of L the others end elsewhere.
        others = optimizer.limit_hint if optimizer.keeps_stationary_points else ()
        return text + _try_instead(others, optimizer, start.problem)
    if status in (Status.STALLED, Status.DIVERGED) and nit >= 0 and overflows(start.problem):
        # No step size and no other method is better off.
        other = " or float64" if start.problem.dtype == np.float32 else ""
        return f"{text}; squares of gradients overflow in {start.problem.dtype}: give the data other units{other}"
    if status is Status.STALLED:
        return text + optimizer.stall_hint + _rough_advice(optimizer, start.problem)
    if status is not Status.DIVERGED:
        return text
    if nit < 0:
        own = ", or run check_objective" if is_of_a_user(start.problem.loss) else ""
        return f"{text} at the start; give the data other units, or start elsewhere{own}"
    text += f" after {counted(nit, 'iteration')}"
    if math.isfinite(step):
        suggestion = min(optimizer.constant_step(start.problem, start.theta), step / 2)
        text += f" with step {step:.3g}; try a step size of at most {suggestion:.3g}"
        text += _try_instead(("gd_backtracking",), optimizer, start.problem)
    return text


def _rough_advice(optimizer: Optimizer, problem: Problem) -> str:
    """Say of a loss that is less exact than its factors that this is why nothing more was found, and what to do."""
    precision = problem.loss.precision
    if precision == problem.dtype.name:
        return ""
    other = "" if optimizer.stochastic else _try_instead(("lbfgs",), optimizer, problem)
    return f"; {problem.loss.label} computes in {precision}: have it compute in {problem.dtype}{other}"


def rise(problem: Problem, first: float, last: float) -> str:
    """Return what is to be done after a run in which ``L`` rose, visibly and by more than rounding; else nothing."""
    if not last - first > 1e-5 * abs(first):
        return ""
    if last - first <= 64.0 * float(np.finfo(problem.loss.precision).eps) * abs(problem.value_at_zero):
        return ""
    return f"begin again with a smaller step size: L rose from {first:.6g} to {last:.6g}"


def _try_instead(names: Sequence[str], optimizer: Optimizer, problem: Problem) -> str:
    """Name those of other methods that can run on a problem, to end a sentence of advice with."""
    others = [name for name in names if name != optimizer.name]
    try:
        methods = [Method.of(name) for name in others]
    except ValueError as error:
        raise ValueError(f"method: {optimizer.name}.limit_hint: {error}") from error
    able = [repr(name) for name, method in zip(others, methods) if method.refusal(problem, draws_start=False) is None]
    return f", or try {' or '.join(able)}" if able else ""


def zero_advice(result: Result, start: Stage) -> str:
    """Say of a run that it ended at a saddle point at 0, or on a loss not known to be convex no lower than there."""
    problem = result.problem
    ended = result.status in (Status.CONVERGED, Status.STALLED, Status.ITERATION_LIMIT)
    if not ended or result.merged is not None or not problem.adapter.low_rank:
        return ""
    if problem.loss.facts.convex is True:
        return _saddle_advice(result, start)
    zero = problem.value_at_zero
    if not result.fun >= zero - 1e-9 * abs(zero):
        return ""
    # Where f(0) = 0 the start says what is small.
    if result.fun <= zero + 1e-9 * (abs(zero) or abs(result.trace.value[0])):
        units = problem.units
        saddle = "a saddle point" if units.slope > problem.lam else "a stationary point"
        kind = "a local minimum at this lam" if units.vanishes else saddle
        text = f"; it ended at X = 0, {kind}"
    else:
        text = f"; a better point is known: X = 0 with L = {zero:.8g}"
    return f"{text}{_other_start(problem)}"


def _saddle_advice(result: Result, start: Stage) -> str:
    """Say of a run whose factors shrank to nothing that it ended at the saddle point there, if there is one."""
    problem, length = result.problem, frobenius_norm(result.theta)
    # A run that was cut short may be on its way out; and most runs are told apart at no cost.
    if result.status is Status.ITERATION_LIMIT or length > BESIDE * frobenius_norm(start.theta):
        return ""
    if not beside_saddle_at_zero(problem, result.theta, BESIDE):
        return ""
    return f"; it ended at X = 0, a saddle point{_other_start(problem)}"


def _other_start(problem: Problem) -> str:
    std = natural_size(problem, problem.units.slope) / math.sqrt(problem.size) or 1.0
    return f". {OTHER_START.python}'gaussian:std={std:.1g}'{MANY_STARTS.python}"


def unbounded_advice(result: Result) -> str:
    """Say of a run whose values fell out of all proportion to those before it that there may be no optimum."""
    before = max(map(abs, result.trace.value[:FIRST]), default=math.inf)
    if not -math.inf < result.fun < -FALLEN * before < 0.0:
        return ""
    return f"; L fell to {result.fun:.3g}: the loss seems to have no lower bound, and no optimum. Is its sign right?"
