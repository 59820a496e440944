"""The true optimum of ``min f(X) + lam ||X||_*`` by independent routes, one file each, found by this folder."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.hints import ALONE_MORE_TIME, OR_START
from .._support.interruptions import patience
from .._support.keywords import names_keywords
from .._support.origin import is_shipped
from .._support.progress import Progress
from .._support.registry import Registry
from .._support.threads import solver_pools
from .._support.time_limit import is_over, within
from .._support.validate import Array, as_flag, as_instance, as_number
from ..certificates import Bound, Certificate
from ..certificates.answers import DENIED
from ..certificates.duality import has_bounds
from ..certificates.evidence import Product, evidence
from ..certificates.gap import as_factors, conclude, refuse_changed_data
from ..certificates.observed import observed
from ..engine import compile_seconds
from ..low_rank import balanced, factor_svd, numerical_rank
from ..problem import Problem
from ..problem.pairs import Pairs
from ..problem.sdpa import read_sdpa_solution as read_sdpa_solution
from ..result import Result, seen_from
from .base import DROPPED, NotFinite, OutOfTime, Solution
from .base import ConvexResult as ConvexResult
from .base import ConvexRoute as ConvexRoute

registry: Registry[ConvexRoute] = Registry(__name__, ConvexRoute, "convex route")

if TYPE_CHECKING:  # what __getattr__ finds, by name: a type checker reads no folders
    from .closed_form import ClosedForm as ClosedForm
    from .cvxpy import Cvxpy as Cvxpy
    from .factored import Factored as Factored
    from .prox import Prox as Prox
else:
    __all__ = ["ConvexResult", "ConvexRoute", "read_sdpa_solution", "registry", "solve_convex"]

# The second route of a cross-check, in order of preference.
WITNESSES = ("cvxpy", "prox", "factored")

# Beyond so many numbers (see `_is_too_large_for_cones`) cvxpy is too slow for a witness.
CONIC_LIMIT = 40 * 40

# What a run that has no time left says.
OVER = "the time limit was reached"

# Values up to this have squares that are finite numbers.
SQUARABLE = math.sqrt(sys.float_info.max)


def __getattr__(name: str) -> Any:
    return registry.attribute(name)


def __dir__() -> list[str]:
    return registry.listing(globals())


# Overflow is met where the certificate at the end is made, and said there.
@names_keywords
@np.errstate(over="ignore", invalid="ignore")
def solve_convex(
    problem: Problem,
    route: str | ConvexRoute = "auto",
    tol: float = 1e-9,
    *,
    start: ConvexResult | Result | tuple[Any, Any] | ArrayLike | None = None,
    cross_check: bool = False,
    time_limit: float | None = None,
    progress: bool | Progress = False,
) -> ConvexResult:
    """Compute the optimum of ``F(X) = f(X) + (lam/s) ||X||_*``, with a certificate.

    Parameters
    ----------
    problem : Problem or MultiProblem
        The rank plays no part, except in closed forms for ``lam = 0``. Several matrices are solved by ``"prox"`` and
        ``"factored"``.
    route : {"auto", "closed_form", "cvxpy", "prox", "factored"} or ConvexRoute
        The route; ``"auto"`` takes a closed form if there is one, else ``"factored"``.
    tol : float
        Certified relative gap to reach, below 1.
    start : ConvexResult, Result, (A, B) or ndarray of shape (m, n), optional
        Where ``"factored"`` starts, of any rank: for example the optimum at a neighbouring ``lam``. The result is
        certified as always, whatever the start; closed forms need none, other routes refuse one.
    cross_check : bool
        Solve by a second route too (cvxpy where it can be used and the matrix is small) and report the difference. A
        route that fails is replaced by the next one.
    time_limit : float, optional
        Seconds, compile time included, after which the run ends with the best point so far and what its certificate
        says. Asked between evaluations of ``f``, and before the certificate, which takes its own time.
    progress : bool or Progress
        Show progress on stderr: a line rewritten in place on a terminal, one every 30 s in logs. A line that is there
        goes on, of a work that this is a part of.

    Returns
    -------
    ConvexResult
        Ctrl-C ends a run early: the result is then the last point reached, with what its certificate says.

    Raises
    ------
    ValueError
        If the route cannot solve the problem: f not known to be convex, lam = 0 beyond least squares, an adapter
        whose update is not ``s A B^T``; if it takes no ``start``; if there is no second route for a cross-check.
    TypeError
        If an argument is of another type than stated.
    RuntimeError
        If the route ``"cvxpy"`` ends without a usable point.
    """
    as_instance(problem, "problem", Problem)
    as_flag(cross_check, "cross_check")
    if not isinstance(progress, Progress):
        as_flag(progress, "progress")
    tol = as_number(tol, "tol", 0.0, 1.0, open_low=True, open_high=True)
    if time_limit is not None:
        time_limit = as_number(time_limit, "time_limit", 0.0, open_low=True)
    problem.require_low_rank("solve_convex")
    start = seen_from(problem, start, "start")
    problem = problem.replace(objective=problem.objective.in_float64())
    chosen = _route(problem, route)
    factors = None if start is None else as_factors(problem, start, "start")
    part = observed(problem) if is_shipped(type(chosen)) and not getattr(chosen, "start", None) else None
    with within(time_limit):
        if part is None:
            return _solved(problem, chosen, factors, tol, cross_check, progress)
        few = None if factors is None else part.factors(factors)
        found = _solved(part.problem, _route(part.problem, route), few, tol, cross_check, progress)
    A, B = part.whole(found.A, found.B, problem.shape)
    certificate = replace(found.certificate, problem=problem, point=Product(A, B))
    return replace(found, A=A, B=B, certificate=certificate)


def _solved(
    problem: Problem,
    route: ConvexRoute,
    start: Pairs | None,
    tol: float,
    cross_check: bool,
    progress: bool | Progress,
) -> ConvexResult:
    """Return the optimum by a route, from factors if they are given, and by a second one if that is asked for."""
    result = _run(problem, route if start is None else route.started(start), tol, progress)
    if result.interrupted or not cross_check:
        return result
    return _cross_checked(problem, result, tol, progress)


def _route(problem: Problem, given: str | ConvexRoute) -> ConvexRoute:
    if isinstance(given, str) and given == "auto":
        closed = formula(problem)
        if closed is not None:
            return closed
        require_solvable(problem)
        return registry.make("factored", "route")
    route = registry.make(given, "route")
    reason = _refusal(route, problem)
    if reason is not None:
        raise ValueError(f"route: {route.name!r} cannot solve this problem: {reason}")
    return route


def formula(problem: Problem) -> ConvexRoute | None:
    """Return the closed form of a problem that has one."""
    closed = registry.make("closed_form", "route")
    return closed if _refusal(closed, problem) is None else None


def require_solvable(problem: Problem) -> None:
    """Refuse a problem that the most general route cannot solve, in words for who has named no route."""
    reason = _refusal(registry.make("factored", "route"), problem)
    if reason is not None:
        raise ValueError(f"problem: expected one whose convex optimum can be computed, but {reason}")


def _refusal(route: ConvexRoute, problem: Problem) -> str | None:
    """Return why a route cannot solve the problem, or None if it can."""
    if problem.several and not route.takes_several:
        return f"it {problem.one_matrix_refusal()}"
    return route.refusal(problem)


class _Latest:
    """Shows a route's progress and keeps its last report, for the case of an interruption."""

    def __init__(self, problem: Problem, route: ConvexRoute, tol: float, progress: bool | Progress) -> None:
        self.solution = Solution(*problem.unpaired(problem.loss.zeros()), 0)
        self.display = progress if isinstance(progress, Progress) else Progress(f"convex {route.name}", progress)
        self.tol = tol
        self._decades = max(-math.log10(tol), 1.0)

    def __call__(self, solution: Solution, value: float, bound: Bound) -> None:
        self.solution = solution
        fraction = -math.log10(bound.relative) / self._decades if 0.0 < bound.relative < math.inf else 0.0
        if is_over() and not bound.relative <= self.tol:
            raise OutOfTime
        rank = sum(A.shape[1] for A, _ in solution.blocks)
        self.display.show(fraction, f"F = {value:.9g}  relative gap {bound.relative:.1e}  rank {rank}")


def _run(problem: Problem, route: ConvexRoute, tol: float, progress: bool | Progress) -> ConvexResult:
    import scipy.linalg  # noqa: F401  (loads SciPy's own BLAS, so that its threads are limited too)

    with solver_pools(problem.objective.kernels.threaded):
        return _certified_run(problem, route, tol, progress)


@patience()
def _certified_run(problem: Problem, route: ConvexRoute, tol: float, progress: bool | Progress) -> ConvexResult:
    solved, enough = _certifiable(problem, tol)
    latest = _Latest(problem, route, enough, progress)
    before, started = compile_seconds(), time.perf_counter()
    found, interrupted = _reached(problem, route, solved, enough, latest)
    latest.display.close()
    seconds = time.perf_counter() - started
    compiled = compile_seconds() - before
    blocks, known = found.blocks, found.evidence
    if not is_shipped(type(route)):
        # What it hands on may be about other factors than it returns: those before it cut or scaled them.
        names = (f"route {route.name!r}: A", f"route {route.name!r}: B")
        blocks, known = problem.checked_factors(found.A, found.B, np.float64, names, any_rank=True), None
    if known is None or solved is not problem:
        blocks = [_without_dropped(A, B) for A, B in blocks]
        known = evidence(problem, blocks, [factor_svd(A, B) for A, B in blocks])
    A, B = problem.unpaired(blocks)
    refuse_changed_data(problem, blocks, known)
    certificate = conclude(problem, Product(A, B), blocks, known, tol)
    success = certificate.is_global is True or certificate.relative_gap <= tol
    message = f"{route.name}: {found.remark}; {certificate.reason}"
    if not (success or interrupted or (math.isinf(certificate.gap) and not is_over())):
        message += f"; {_advice(route, certificate, problem.loss.precision)}"
    return ConvexResult(
        A=A,
        B=B,
        fun=certificate.value,
        certificate=certificate,
        route=route.name,
        success=success,
        message=message,
        interrupted=interrupted,
        nit=found.nit,
        seconds=seconds - compiled,
        compile_seconds=compiled,
    )


def _reached(
    problem: Problem, route: ConvexRoute, solved: Problem, tol: float, latest: _Latest
) -> tuple[Solution, bool]:
    """Return what a route finds for ``solved``, or has last reported, and whether it was interrupted."""
    try:
        return as_instance(route.run(solved, tol, latest), f"route {route.name!r}", Solution), False
    except OutOfTime:
        return replace(latest.solution, remark=f"{OVER}, the last point is kept"), False
    except KeyboardInterrupt:
        return replace(latest.solution, remark="interrupted, the last point is kept"), True
    except np.linalg.LinAlgError as error:  # of a matrix that is not finite
        if abs(problem.value_at_zero) > SQUARABLE:
            message = f"problem: f(0) = {problem.value_at_zero:.3g}, and squares of such values overflow"
            raise ValueError(f"{message}: give the data other units") from error
        if not isinstance(error, NotFinite):
            raise
        remark = "values of f fall beyond the finite numbers: its sign or its gradient is wrong, or it has no optimum"
        return replace(latest.solution, remark=f"{remark}; check_objective says more"), False


def _certifiable(problem: Problem, tol: float) -> tuple[Problem, float]:
    """Return the problem that a route is given, and its tolerance: without a lower bound of ``f`` of a smaller ``lam``.

    A gap is known there only where ``||G||_2 <= lam`` is, and at an optimum both are equal, so that rounding decides.
    The optimum of a weight ``less`` has the gap ``(lam - less) ||X||_*``, at most half of what is asked for, and ``F``
    is above its least value by about the square of that.
    """
    if problem.lam <= 0.0 or has_bounds(problem.loss):
        return problem, tol
    return problem.replace(lam=problem.lam * (1.0 - 0.5 * tol)), 0.5 * tol


def _without_dropped(A: Array, B: Array) -> tuple[Array, Array]:
    """Return balanced factors of the same update without what is numerically zero, of at least one column."""
    P, s, Q = factor_svd(A, B)
    k = max(numerical_rank(s, DROPPED), 1)
    return balanced(P[:, :k], s[:k], Q[:, :k])


def _advice(route: ConvexRoute, certificate: Certificate, precision: str) -> str:
    """Return what to do for a smaller gap."""
    if is_over():
        return ALONE_MORE_TIME.python + (OR_START.python if route.name == "factored" else "")
    if abs(certificate.value) > SQUARABLE:
        return "give the data other units, squares of these values overflow"
    if precision != "float64":
        return f"use a larger tol, as f answers in {precision}"
    # Without decay other routes are about all ranks.
    alone = route.name == "factored" or certificate.problem.lam == 0.0
    return "use a larger tol" if alone else "use route='factored' or a larger tol"


def _cross_checked(problem: Problem, result: ConvexResult, tol: float, progress: bool | Progress) -> ConvexResult:
    routes, failed = registry.classes(), []
    for name in WITNESSES if problem.lam > 0.0 else ():  # without decay closed forms and routes differ in the rank
        second = routes[name]()
        if is_over():
            failed.append(OVER)
            break
        # The size comes before what cvxpy says: it would state all entries of X first.
        if name == result.route or (name == "cvxpy" and _is_too_large_for_cones(problem)):
            continue
        if _refusal(second, problem) is not None:
            continue
        try:
            other = _run(problem, second, tol, progress)
        except (RuntimeError, MemoryError) as error:
            failed.append(f"{name}: {error}")
            continue
        if is_over() and not other.success:
            failed.append(f"{name}: {OVER}")
            break
        if other.certificate.reason.startswith(DENIED):
            result = _without_certificate(result, other.certificate)
        mine, theirs = (x if isinstance(x, tuple) else (x,) for x in (result.X, other.X))
        distance = math.hypot(*(float(np.linalg.norm(x - y)) for x, y in zip(mine, theirs)))
        report = {
            "route": other.route,
            "fun": other.fun,
            "relative_gap": other.relative_gap,
            "rank": other.rank,
            "difference": result.fun - other.fun,
            "relative_difference": (result.fun - other.fun) / (abs(result.fun) or 1.0),
            "distance": distance,
            "seconds": other.seconds,
            "failed": failed,
        }
        return replace(result, cross_check=report)
    if failed:
        return replace(result, message=f"{result.message}; no cross-check: {'; '.join(failed)}")
    raise ValueError(f"cross_check: no second route can solve this problem ({result.route!r} was the first)")


def _without_certificate(result: ConvexResult, seen: Certificate) -> ConvexResult:
    """Return a result that is not certified, as another certificate has seen the loss contradict what it states."""
    nothing = ("is_global", "gap", "relative_gap", "dual_value", "rank_at_least", "rank_at_most", "formula", "reason")
    certificate = replace(result.certificate, **{name: getattr(seen, name) for name in nothing})
    return replace(result, certificate=certificate, success=False, message=f"{result.route}: {seen.reason}")


def _is_too_large_for_cones(problem: Problem) -> bool:
    """Return whether an interior or splitting method would take minutes.

    A loss of samples that is not quadratic brings cones for each output of each sample: on 10 x 64 with 700 samples
    SCS takes minutes, proximal gradient a third of a second.
    """
    if problem.several:
        return False
    m, n = problem.shape
    facts = problem.objective.facts
    samples = 0 if facts.least_squares or facts.n_samples is None else m * facts.n_samples
    return max(m * n, samples) > CONIC_LIMIT
