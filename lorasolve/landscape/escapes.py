"""Leave strict saddles along the direction of negative curvature, then continue the run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._support.validate import Array, as_integer, as_number
from ..convex import ConvexResult
from ..engine import StoppingRule, solve
from ..method import Method
from ..monitor import rule_of
from ..optimizers import Optimizer
from ..problem import Problem, flat
from ..problem.natural_units import natural_size
from ..result import Result, Trace
from ..status import Status
from .canonical import Point, canonical_result
from .curvature import second_order_at

# Curvature above this, times the largest, counts as non-negative.
ESCAPE_TOL = 1e-7


def escape(
    problem: Problem,
    result: Result | ConvexResult | tuple[Any, Any],
    method: str | Optimizer | Method = "lbfgs",
    stop: StoppingRule | None = None,
    tol: float = ESCAPE_TOL,
    max_escapes: int = 20,
) -> Result:
    """Continue a run from a strict saddle until no direction of negative curvature is left.

    Padding both factors with zero columns, for example to raise the rank of a finished run, gives a saddle that
    gradient methods cannot leave: the gradient of the new columns is exactly zero. Here each round moves along the
    eigenvector of the smallest curvature to the lowest value of ``L`` on that line, and solves again from there.

    Parameters
    ----------
    problem : Problem or MultiProblem
        The problem.
    result : Result, ConvexResult or (A, B)
        Where to start; ``A = B = 0`` is accepted.
    method : str, Optimizer or Method
        The way to run (see :func:`~lorasolve.solve`), on the problem's own adapter and weight decay; its init is not
        used.
    stop : StoppingRule, optional
        Of each continued run; by default with ``grad_tol = 1e-10``.
    tol : float
        Curvature above ``-tol`` times the largest curvature counts as non-negative.
    max_escapes : int
        Limit on rounds.

    Returns
    -------
    Result
        The end of the last continued run (a short one, where there was nothing to escape from; at ``A = B = 0``, which
        no method starts from, one of no iterations).

    Raises
    ------
    ValueError, TypeError
        As :func:`~lorasolve.landscape.second_order`, and for a method that changes the adapter or the decay, or merges.

    Notes
    -----
    Source: main paper, section 7 (strict saddles are avoided from almost every start, but not from every one).
    """
    tol = as_number(tol, "tol", 0.0, open_low=True)
    max_escapes = as_integer(max_escapes, "max_escapes", 1)
    method = keeps_problem(method)
    stop = StoppingRule(grad_tol=1e-10) if stop is None else rule_of(stop)
    point = canonical_result(problem, result)
    seed = getattr(result, "seed", None)
    for _ in range(max_escapes):
        second = second_order_at(point, tol)
        if not second.is_sosp:
            point = lowest_on_line(point, flat(problem.checked_factors(*second.direction)))
        elif isinstance(result, Result) and result.success and _is_of(problem, result):
            return result
        elif not point.theta.any():
            return _at_zero(problem, method, seed)
        root = np.sqrt(problem.scale)
        start = problem.unpaired([(A / root, B / root) for A, B in point.factors])
        result = end = solve(problem, method, init=start, seed=seed, stop=stop)
        point = canonical_result(problem, end)
        if second_order_at(point, tol).is_sosp:
            break
    return end


def _is_of(problem: Problem, result: Result) -> bool:
    """Whether a run has minimised the same function of the update; that on other data is to go on."""
    ran = result.problem
    return ran.objective is problem.objective and ran.lam_effective == problem.lam_effective


def _at_zero(problem: Problem, method: Method, seed: int | None) -> Result:
    """Return the end of a run that has stayed at ``A = B = 0``."""
    theta = np.zeros(problem.size, problem.dtype)
    grad = np.empty_like(theta)
    fun = problem.value_and_grad(theta, grad)
    grad_norm = problem.stationarity(theta, grad)
    A, B, _ = problem.split(theta)
    trace = Trace()
    trace.record(0, fun, grad_norm, 0.0, math.nan)
    return Result(
        A=A,
        B=B,
        theta=theta,
        fun=fun,
        grad_norm=grad_norm,
        nit=0,
        nfev=1,
        status=Status.CONVERGED,
        message="escape: no direction of negative curvature leaves A = B = 0",
        trace=trace,
        seconds=0.0,
        compile_seconds=0.0,
        seed=seed,
        method=method,
        started_from="given",
        problem=problem,
    )


def keeps_problem(method: str | Optimizer | Method) -> Method:
    """Return the method, which must run on the problem as it is: the points of another problem are not its points."""
    method = Method.of(method)
    if method.adapter is not None or method.lam is not None:
        raise ValueError(
            f"method: expected one without an adapter or a weight decay of its own, got '{method}'; accepted: those "
            "of the problem"
        )
    if any(part.merges for part in method.schedules):
        raise ValueError(f"method: expected one that merges nothing into the frozen weight, got '{method}'")
    return method


def lowest_on_line(point: Point, along: Array) -> Point:
    """Return the lowest of geometrically spaced points on both sides along a flat direction."""
    problem, theta = point.problem, point.theta
    size = math.hypot(float(np.linalg.norm(theta)), natural_size(problem, problem.units.slope)) or 1.0
    steps = [sign * size * 2.0**k for k in range(-20, 3) for sign in (1.0, -1.0)]

    def value(t: float) -> float:
        moved = (theta + t * along).astype(problem.dtype)
        return problem.value_and_grad(moved, np.empty_like(moved))

    return Point(problem, problem.split_blocks(theta + min(steps, key=value) * along))
