"""Tests of what an objective answers about factors ``(A, B)``, against its answers about ``A B^T``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from ..objectives.base import Objective
from ._objective_bench import Bench
from .base import Checked, difference, relative

# How often factors are doubled to find some outside of a domain.
DOUBLINGS = 60


def _factor_oracle(bench: Bench) -> Iterator[Checked]:
    worst_f = worst_G = worst_value = 0.0
    unit = abs(bench.f.value_and_grad(np.zeros(bench.f.shape))[0])
    untouched = True
    for rank in bench.ranks():
        A, B, _, _ = bench.factors(rank)
        kept = A.copy(), B.copy()
        GB, GtA = np.full_like(A, np.nan), np.full_like(B, np.nan)
        f = bench.f.factor_oracle(A, B, GB, GtA)
        untouched &= np.array_equal(A, kept[0]) and np.array_equal(B, kept[1])
        expected, G = bench.f.value_and_grad(A.astype(float) @ B.astype(float).T)
        size = abs(expected) + unit
        worst_f = max(worst_f, relative(abs(f - expected), size))
        worst_value = max(worst_value, relative(abs(bench.f.factor_value(A, B) - expected), size))
        worst_G = max(worst_G, difference(GB, G @ B), difference(GtA, G.T @ A))
    for name, worst in (("factor_oracle value", worst_f), ("factor_value", worst_value), ("G B and G^T A", worst_G)):
        yield Checked(name, worst <= bench.tol, f"relative difference {worst:.1e} to the dense level")
    yield Checked("factor_oracle leaves A, B alone", untouched, f"ranks {bench.ranks()}")


def _factor_hvp(bench: Bench) -> Iterator[Checked]:
    if not bench.f.facts.has_hessian:
        yield Checked("factor_hvp", None, "not stated: has_hessian is False")
        return
    worst = 0.0
    for rank in bench.ranks():
        factors = bench.factors(rank)
        A, B, U, V = (part.astype(np.float64) for part in factors)
        expected = Objective.factor_hvp(bench.f, A, B, U, V)
        # What multiplies at one point has to answer alike whatever it was asked before.
        product = bench.f.hessian_at(*factors[:2])
        product(*(part[:, ::-1].copy() for part in factors[2:]))
        for given in (bench.f.factor_hvp(*factors), product(*factors[2:])):
            worst = max(worst, *(difference(g, e) for g, e in zip(given, expected)))
    yield Checked("factor_hvp", worst <= bench.curvature_tol, f"relative difference {worst:.1e} to the dense level")


def _curvature_along(bench: Bench) -> Iterator[Checked]:
    if type(bench.f).curvature_along is Objective.curvature_along:
        return  # it follows from factor_hvp
    worst = 0.0
    for rank in bench.ranks():
        A, B, U, _ = bench.factors(rank)
        D = U.astype(float) @ B.astype(float).T
        expected = float(np.vdot(D, bench.f.hessian_product(A.astype(float) @ B.astype(float).T, D)))
        worst = max(worst, relative(abs(bench.f.curvature_along(A, B, U) - expected), abs(expected)))
    yield Checked(
        "curvature_along", worst <= bench.curvature_tol, f"relative difference {worst:.1e} to the dense level"
    )


def _gradient_operator(bench: Bench) -> Iterator[Checked]:
    worst = 0.0
    for rank in bench.ranks():
        A, B, U, V = bench.factors(rank)
        operator = bench.f.gradient_operator(A, B)
        G = bench.f.value_and_grad(A.astype(float) @ B.astype(float).T)[1]
        U, V = U.astype(float), V.astype(float)
        worst = max(worst, difference(operator.matmat(V), G @ V), difference(operator.rmatmat(U), G.T @ U))
        worst = max(worst, difference(operator.to_dense(), G))
    yield Checked("gradient_operator", worst <= bench.tol, f"relative difference {worst:.1e} to the dense level")


def _oracle_and_operator(bench: Bench) -> Iterator[Checked]:
    if type(bench.f).oracle_and_operator is Objective.oracle_and_operator:
        return  # it follows from the others
    worst = 0.0
    unit = abs(bench.f.value_and_grad(np.zeros(bench.f.shape))[0])
    for rank in bench.ranks():
        A, B, _, _ = bench.factors(rank)
        f, GB, GtA, operator = bench.f.oracle_and_operator(A, B)
        expected, G = bench.f.value_and_grad(A.astype(float) @ B.astype(float).T)
        worst = max(worst, relative(abs(f - expected), abs(expected) + unit), difference(operator.to_dense(), G))
        worst = max(worst, difference(GB, G @ B), difference(GtA, G.T @ A))
    yield Checked("oracle_and_operator", worst <= bench.tol, f"relative difference {worst:.1e} to the dense level")


def _outside_of_domain(bench: Bench) -> Iterator[Checked]:
    A, B, _, _ = bench.factors(1)
    tried = (sign * 2.0**k * A for k in range(DOUBLINGS) for sign in (1.0, -1.0))
    A = next((A for A in tried if not bench.f.domain(A @ B.T)), A)
    if bench.f.domain(A @ B.T):
        return  # it is everywhere, or nearly
    with np.errstate(all="ignore"):
        values = bench.f.factor_oracle(A, B, np.empty_like(A), np.empty_like(B)), bench.f.factor_value(A, B)
    finite = any(map(math.isfinite, values))
    yield Checked("no value outside of the domain", not finite, f"at factors: {values[0]:.3g} and {values[1]:.3g}")


CHECKS: dict[str, Callable[[Bench], Iterator[Checked]]] = {
    "factor_oracle": _factor_oracle,
    "factor_hvp": _factor_hvp,
    "curvature_along": _curvature_along,
    "gradient_operator": _gradient_operator,
    "oracle_and_operator": _oracle_and_operator,
    "outside_of_domain": _outside_of_domain,
}
