"""Tests of everything a convex route states: its optimum against a formula, its certificate, its refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .._support.validate import as_generator
from ..convex import registry, solve_convex
from ..convex.base import ConvexRoute
from ..objectives import as_objective
from ..objectives.denoising import Denoising
from ..objectives.linear import LinearFineTuning
from ..problem import Problem
from .base import Checked, CheckReport, refusal_text, run_checks

# The relative gap that a route is asked for.
TOL = 1e-6


@dataclass
class _Bench:
    """The route under test and the generator of the problems."""

    route: ConvexRoute
    rng: np.random.Generator


def check_convex(route: str | ConvexRoute, rng: int | np.random.Generator = 0) -> CheckReport:
    """Test what a convex route states about itself.

    Parameters
    ----------
    route : str or ConvexRoute
        The route, with its settings: itself, or its text as everywhere.
    rng : int or numpy.random.Generator
        Seed or source of the problems' data.

    Returns
    -------
    CheckReport
        ``report.ok`` is False if a check failed; ``print(report)`` shows all of them.

    Raises
    ------
    TypeError
        If ``route`` is no convex route, or ``rng`` neither a seed nor a generator.
    ValueError
        For an unknown name.

    Notes
    -----
    Checked: the optimum of denoising is that of the formula, for a small, a large and a prohibitive weight decay; that
    of linear fine-tuning is certified to the tolerance; two runs agree; a loss that is not known to be convex is
    refused.
    """
    route = registry.make(route, "route")
    return run_checks(type(route).__name__, _Bench(route, as_generator(rng, "rng")), _CHECKS)


def _formula(bench: _Bench) -> Iterator[Checked]:
    M = bench.rng.standard_normal((6, 4))
    s = np.linalg.svd(M, compute_uv=False)
    for name, lam in (("small", 0.05 * s[0]), ("large", 0.5 * s[0]), ("prohibitive", 1.5 * s[0])):
        problem = Problem(Denoising(M), 2, lam)
        reason = bench.route.refusal(problem)
        if reason is not None:
            yield Checked(f"denoising, {name} lam", None, f"refused: {reason}")
            continue
        # Singular values shrink by lam: each costs lam s - lam^2/2, or s^2/2 where it vanishes.
        expected = float(np.where(s > lam, lam * s - 0.5 * lam**2, 0.5 * s**2).sum())
        found = solve_convex(problem, bench.route, TOL).fun
        off = abs(found - expected) / expected
        yield Checked(f"denoising, {name} lam", off <= 2.0 * TOL, f"{found:.9g}, the formula says {expected:.9g}")


def _certified(bench: _Bench) -> Iterator[Checked]:
    objective = LinearFineTuning.example(bench.rng)
    G = objective.value_and_grad(np.zeros(objective.shape))[1]
    problem = Problem(objective, 2, 0.2 * float(np.linalg.norm(G, 2)))
    reason = bench.route.refusal(problem)
    if reason is not None:
        yield Checked("linear fine-tuning is certified", None, f"refused: {reason}")
        return
    first, again = (solve_convex(problem, bench.route, TOL) for _ in range(2))
    yield Checked("linear fine-tuning is certified", first.success, first.message)
    yield Checked("two runs agree", first.fun == again.fun, f"{first.fun!r} and {again.fun!r}")


class _Unknown:
    """A loss of which nothing is known."""

    shape = (5, 4)

    def value_and_grad(self, X: np.ndarray) -> tuple[float, np.ndarray]:
        return float(np.sum(np.cos(X))), -np.sin(X)


def _refusals(bench: _Bench) -> Iterator[Checked]:
    reason = bench.route.refusal(Problem(as_objective(_Unknown()), 2, 0.1))
    unclear = refusal_text(reason)
    yield Checked("an unknown loss is refused", reason is not None and not unclear, unclear or str(reason))


_CHECKS: dict[str, Callable[[_Bench], Iterator[Checked]]] = {
    "denoising": _formula,
    "certificate": _certified,
    "refusal": _refusals,
}
