"""The true optimum of ``min f(X) + lam ||X||_*`` by independent routes, one file each, found by this folder."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from .._progress import Progress
from .._registry import Registry
from .._validate import as_number
from ..certificate import certify, numerical_rank
from ..linear_map import balanced, factor_svd
from ..problem import Problem
from .base import ConvexResult, ConvexRoute, Solution

registry: Registry[ConvexRoute] = Registry(__name__, ConvexRoute, "convex route")

__all__ = ["ConvexResult", "ConvexRoute", "registry", "solve_convex"]

# The second route of a cross-check, in order of preference.
WITNESSES = ("cvxpy", "prox", "factored")


def __getattr__(name: str) -> Any:
    return registry.attribute(name)


def solve_convex(
    problem: Problem,
    method: str | ConvexRoute = "auto",
    tol: float = 1e-9,
    *,
    cross_check: bool = False,
    progress: bool = False,
) -> ConvexResult:
    """Compute the optimum of ``F(X) = f(X) + (lam/s) ||X||_*``, with a certificate.

    Parameters
    ----------
    problem : Problem
        The rank plays no part, except in closed forms for ``lam = 0``.
    method : {"auto", "closed_form", "cvxpy", "prox", "factored"} or ConvexRoute
        The route; ``"auto"`` takes a closed form if there is one, else ``"factored"``.
    tol : float
        Certified relative gap to reach.
    cross_check : bool
        Solve by a second route too (cvxpy where it can be used and the matrix is small) and report the difference.
    progress : bool
        Show a progress line on stderr (on a terminal only).

    Returns
    -------
    ConvexResult

    Raises
    ------
    ValueError
        If the route cannot solve the problem: f not known to be convex, lam = 0 without a closed form, an adapter
        whose update is not ``s A B^T``.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: expected a Problem, got {type(problem).__name__}")
    as_number(tol, "tol", 0.0, open_low=True)
    problem.require_low_rank("solve_convex")
    route = _route(problem, method)
    result = _run(problem, route, tol, progress)
    if not cross_check:
        return result
    return _cross_checked(problem, result, tol, progress)


def _route(problem: Problem, method: str | ConvexRoute) -> ConvexRoute:
    if method == "auto":
        closed = registry.classes()["closed_form"]()
        return closed if closed.refusal(problem) is None else _route(problem, "factored")
    route = registry.make(method, "method")
    reason = route.refusal(problem)
    if reason is not None:
        raise ValueError(f"method: {route.name!r} cannot solve this problem: {reason}")
    return route


def _run(problem: Problem, route: ConvexRoute, tol: float, progress: bool) -> ConvexResult:
    display = Progress(f"convex {route.name}", progress)
    before, started = _compile_seconds(), time.perf_counter()
    found = route.run(problem, tol, display.show)
    display.close()
    seconds = time.perf_counter() - started
    compiled = _compile_seconds() - before
    return _result(problem, route, found, tol, seconds - compiled, compiled)


def _result(
    problem: Problem, route: ConvexRoute, found: Solution, tol: float, seconds: float, compiled: float
) -> ConvexResult:
    P, s, Q = factor_svd(found.A, found.B)
    k = max(numerical_rank(s), 1)
    A, B = balanced(P[:, :k], s[:k], Q[:, :k])
    certificate = certify(problem, (A / problem.scale, B), tol=tol)
    success = certificate.is_global is True
    message = f"{route.name}: {found.remark or 'done'}; {certificate.reason}"
    if not success:
        message += "; use method='factored' or a larger tol"
    return ConvexResult(
        A=A,
        B=B,
        fun=certificate.value,
        certificate=certificate,
        method=route.name,
        success=success,
        message=message,
        nit=found.nit,
        seconds=seconds,
        compile_seconds=compiled,
    )


def _cross_checked(problem: Problem, result: ConvexResult, tol: float, progress: bool) -> ConvexResult:
    from dataclasses import replace

    routes = registry.classes()
    for name in WITNESSES:
        second = routes[name]()
        too_large = name == "cvxpy" and problem.shape[0] * problem.shape[1] > 40 * 40
        if name == result.method or too_large or second.refusal(problem) is not None:
            continue
        other = _run(problem, second, tol, progress)
        distance = float(np.linalg.norm(result.X - other.X))
        report = {
            "method": other.method,
            "fun": other.fun,
            "relative_gap": other.relative_gap,
            "rank": other.rank,
            "difference": result.fun - other.fun,
            "relative_difference": (result.fun - other.fun) / (abs(other.fun) or 1.0),
            "distance": distance,
            "seconds": other.seconds,
        }
        return replace(result, cross_check=report)
    raise ValueError(f"cross_check: no second route can solve this problem ({result.method!r} was the first)")


def _compile_seconds() -> float:
    module = sys.modules.get("lorasolve.kernels._jit")
    return 0.0 if module is None else module.compile_seconds()
