"""Step sizes chosen by one rule for all methods."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..method import Method
from ..objectives.base import Objective
from ..problem import Problem
from ..result import Result, loss_of
from ..status import Status

# The search multiplies by this until neither neighbour is better, at most so often in each direction.
STEP_RATIO = 4.0
SEARCH_LIMIT = 6

Run = Callable[[Method], Result]


class Chosen(NamedTuple):
    """A method, the same with its step size, that size, what it was chosen by, and the oracle calls of the search."""

    given: Method
    method: Method
    step_size: float | None
    by: str
    calls: int


def choose_step(
    method: Method, problem: Problem, run: Run, rng: np.random.Generator, held_out: Objective | None = None
) -> Chosen:
    """Return the method with the step size that ends best.

    From the method's own default step (the inverse curvature bound at the start, or Adam's) in factors of 4, upward
    and downward until it gets worse. A method that minimises ``L`` is judged by its final objective; another one by
    the loss on held-out data, or where there are none by the distance from its own fixed points.

    Parameters
    ----------
    method : Method
        Methods without a step size are returned as they are.
    problem : Problem
    run : callable
        Runs a method and returns its result.
    rng : numpy.random.Generator
        For the start at which the default step is derived.
    held_out : Objective, optional
        The loss on held-out data.
    """
    if not method.has_step:
        return Chosen(method, method, None, "", 0)
    first = method.default_step(problem, rng)
    by, score = _score(method, held_out)
    calls = 0
    known: dict[int, float] = {}

    def value(power: int) -> float:
        nonlocal calls
        if power not in known:
            result = run(method.with_step(first * STEP_RATIO**power))
            calls += result.nfev
            known[power] = score(result)
        return known[power]

    best = 0
    while value(best) == math.inf and best > -SEARCH_LIMIT:
        best -= 1
    for direction in (1, -1):
        while abs(best) < SEARCH_LIMIT and value(best + direction) < value(best):
            best += direction
    step = first * STEP_RATIO**best
    return Chosen(method, method.with_step(step), step, by, calls)


def _score(method: Method, held_out: Objective | None) -> tuple[str, Callable[[Result], float]]:
    """Return what a step is chosen by, and the number that is to be small; infinite for a diverged run."""
    if not method.optimizer.own_aim:
        return "objective", _finite(lambda result: result.fun)
    if held_out is not None:
        return "held-out loss", _finite(lambda result: loss_of(held_out, result))
    return "own residual", _finite(lambda result: method.optimizer.residual(result.problem, result.theta))


def _finite(measure: Callable[[Result], float]) -> Callable[[Result], float]:
    def score(result: Result) -> float:
        if result.status is Status.DIVERGED:
            return math.inf
        value = float(measure(result))
        return value if math.isfinite(value) else math.inf

    return score
