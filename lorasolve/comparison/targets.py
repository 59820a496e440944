"""What a method minimises, as a function of the whole update, and the least value of that where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.text import component_text
from .._support.validate import Array, as_instance
from ..convex import solve_convex
from ..engine import solve
from ..method import Method
from ..monitor import StoppingRule
from ..objectives.base import Objective
from ..problem import Problem, full_fine_tuning
from ..result import Result, seen_from
from ..status import Status


@dataclass(frozen=True)
class Target:
    """What a method minimises.

    Attributes
    ----------
    text : str
        The function in words; methods with the same text are compared with one another.
    weight : float or None
        ``w`` where the method minimises ``f(X) + w ||X||_*``, 0 for ``f`` itself over all updates; None for other
        penalties and for ``f`` over the updates of rank at most ``r``.
    rank : int or None
        ``r`` in the last case.
    beside : bool
        Whether the start has merged an ``M`` into the frozen weight, so that weight and rank are those of ``X - M``.
    """

    text: str
    weight: float | None = None
    rank: int | None = None
    beside: bool = False

    def merged(self, ended: Sequence[Result]) -> Array | None:
        """Return ``M`` as the runs have merged it; None where nothing is, and where it differs between them."""
        updates = [result.merged for result in ended if result.merged is not None] if self.beside else []
        same = all(np.array_equal(update, updates[0]) for update in updates)
        return updates[0].astype(np.float64) if updates and same else None


def target_of(method: Method, problem: Problem, given: Any = None) -> Target:
    """Return what a method minimises on a problem, from its own start or from factors or a result that are given.

    The weight decay of the factors is ``w ||X||_*`` only where the adapter's least penalty of an update is exactly
    that (both factors of LoRA trained, unit columns in SoRA), where the optimizer minimises ``L`` and nothing is merged
    at the start or on the way; everything else has a penalty of its own. A start that merges ``M`` and goes on from
    there, as PiSSA's, leaves ``w ||X - M||_*``.
    """
    as_instance(method, "method", Method)
    own = method.problem(as_instance(problem, "problem", Problem))
    adapter = own.adapter
    merges = any(schedule.merges for schedule in method.schedules)
    if method.optimizer.own_aim:
        return Target(method.optimizer.own_aim)
    weight = adapter.nuclear_weight(own.lam, own.rank)
    if merges:
        return Target("f", 0.0) if not own.lam else Target("f, with decay of each merged block")
    by = _merged_by(method, problem, given)
    if not adapter.has_nuclear_penalty:
        frozen = ", a factor frozen" if own.trainable is not None else ""
        return Target(f"f with the penalty of {adapter.name}{frozen}{f' beside M, merged by {by}' if by else ''}")
    if by:
        if weight > 0.0:
            return Target(f"f + {weight:g} ||X - M||_*, M merged by {by}", weight, beside=True)
        return Target(f"f over rank <= {own.rank} beside M, M merged by {by}", rank=own.rank, beside=True)
    if weight > 0.0:
        return Target(f"f + {weight:g} ||X||_*", weight)
    return Target(f"f over rank <= {own.rank}", rank=own.rank)


def _merged_by(method: Method, problem: Problem, given: Any) -> str:
    """Return what merges an update into a problem's frozen weight before the first step; empty if nothing does."""
    if given is None:
        return component_text(method.init) if method.init.merges else ""
    given = seen_from(problem, given)
    return "an earlier run" if isinstance(given, Result) and given.merged is not None else ""


# A share of the decrease from the frozen weight that counts as nothing.
_NEXT_TO = 1e-12


@dataclass
class Optima:
    """The least values of the targets on one problem, each computed once."""

    problem: Problem
    _known: dict[tuple[Target, bytes], float | None] = field(default_factory=dict)

    def of(self, target: Target, ended: Sequence[Result] = ()) -> float | None:
        """Return the least value of the target of some runs, None where it is not known."""
        merged = target.merged(ended)
        key = (target, b"" if merged is None else merged.tobytes())
        if key not in self._known:
            self._known[key] = None if target.beside and merged is None else self._compute(target, merged)
        return self._known[key]

    def learn(self, target: Target, value: float) -> None:
        """Take a least value that is known already, of a target where nothing is merged."""
        self._known[target, b""] = value

    def _compute(self, target: Target, merged: Array | None) -> float | None:
        objective = self.problem.objective.in_float64()
        if merged is not None:
            objective = objective.merged(merged)
        if target.rank is not None:
            found = objective.minimizer(0.0, target.rank)
            return None if found is None else _above_bound(objective, objective.factor_value(*found))
        if target.weight is None or objective.facts.convex is not True:
            return None
        if target.weight > 0.0:
            optimum = solve_convex(Problem(objective, min(objective.shape), target.weight))
            if optimum.interrupted:  # and is none
                raise KeyboardInterrupt
            return optimum.fun
        return _least_value(objective)


def _least_value(objective: Objective) -> float:
    """Return ``min f``, as far as L-BFGS can lower it."""
    whole, start = full_fine_tuning(objective)
    end = solve(whole, "lbfgs", start, stop=StoppingRule(max_iter=5000, grad_tol=0.0))
    if end.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return _above_bound(objective, end.fun)


def _above_bound(objective: Objective, found: float) -> float:
    """Return a least value that was found, or the loss's own bound where that comes next to it.

    On separable data a loss falls towards its bound for ever, and where a run stops says nothing about its infimum;
    where data can be met what is found is their rounding errors, which nothing is relative to.
    """
    bound = objective.facts.lower_bound
    if bound is None:
        return found
    at_zero = float(objective.value_and_grad(np.zeros(objective.shape, objective.dtype))[0])
    return bound if found - bound <= _NEXT_TO * (at_zero - bound) else found
