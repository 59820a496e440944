"""Tests of what an objective can do beside answering: be merged and sampled, solve for factors, and report metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from .._support.validate import Array
from ..objectives.base import Objective
from ._objective_bench import Bench
from .base import Checked, difference, relative


def _same_function(bench: Bench, given: Objective, expected: Callable[[Array], tuple[float, Array]]) -> float:
    """Return the largest relative difference of value, gradient and factor oracle at one random point."""
    A, B, _, _ = bench.factors(1)
    X = A.astype(float) @ B.astype(float).T
    f, G = expected(X)
    unit = abs(f) + abs(bench.f.value_and_grad(np.zeros(bench.f.shape))[0])
    GB, GtA = np.empty_like(A), np.empty_like(B)
    dense, factored = given.value_and_grad(X), given.factor_oracle(A, B, GB, GtA)
    return max(
        relative(abs(dense[0] - f), unit),
        relative(abs(factored - f), unit),
        difference(dense[1], G),
        difference(GB, G @ B),
        difference(GtA, G.T @ A),
    )


def _merged(bench: Bench) -> Iterator[Checked]:
    update, X = bench.matrix(), bench.matrix()
    before = bench.f.value_and_grad(X)
    merged = bench.f.merged(update)
    worst = _same_function(bench, merged, lambda X: bench.f.value_and_grad(update + X))
    yield Checked("merged, function", worst <= bench.tol, f"relative difference {worst:.1e} to f(update + X)")
    after = bench.f.value_and_grad(X)
    kept = before[0] == after[0] and np.array_equal(before[1], after[1])
    facts = [
        fact
        for fact in ("convex", "least_squares", "n_samples", "has_hessian")
        if getattr(merged.facts, fact) != getattr(bench.f.facts, fact)
    ]
    facts += [name for name in ("shape", "dtype") if getattr(merged, name) != getattr(bench.f, name)]
    if bench.f.W0 is not None:
        weight = merged.W0
        if weight is None or difference(weight, bench.f.W0 + update) > bench.tol:
            facts.append("W0")
    wrong = ([] if kept else ["the original changed"]) + [f"{fact} differs" for fact in facts]
    yield Checked("merged, facts", not wrong, ", ".join(wrong) or "original kept, facts carried over")


def _batches(bench: Bench) -> Iterator[Checked]:
    n, reason = bench.f.facts.n_samples, bench.f.batch_refusal()
    if n is None or reason is not None:
        yield Checked("sample_batch", None, f"not stated: {reason}")
        return
    order = bench.rng.permutation(n)
    # Unequal parts, so that a batch that forgets to divide by its own size is noticed.
    ends = np.unique(np.linspace(0.0, 1.0, min(n, 8) + 1) ** 2 * n).astype(int)
    parts = [order[a:b] for a, b in pairwise(ends) if b > a]
    X = bench.matrix()
    before = bench.f.value_and_grad(X)
    bench.f.sample_batch(parts[0])
    after = bench.f.value_and_grad(X)
    kept = before[0] == after[0] and np.array_equal(before[1], after[1])
    yield Checked("sample_batch leaves the loss alone", kept, "value and gradient at one point, bit for bit")
    batches = [(len(part) / n, bench.f.sample_batch(part)) for part in parts]

    def mean(X: Array) -> tuple[float, Array]:
        answers = [(weight, *batch.value_and_grad(X)) for weight, batch in batches]
        return sum(w * f for w, f, _ in answers), np.sum([w * G for w, _, G in answers], axis=0)

    worst = _same_function(bench, bench.f, mean)
    detail = f"relative difference {worst:.1e} over {len(parts)} parts"
    yield Checked("sample_batch, unbiased", worst <= bench.tol, detail)
    i, j = order[0], order[-1]
    single, other = bench.f.sample_batch(np.array([i])), bench.f.sample_batch(np.array([j]))
    repeated = bench.f.sample_batch(np.array([i, j, i]))

    def expected(X: Array) -> tuple[float, Array]:
        (f1, G1), (f2, G2) = single.value_and_grad(X), other.value_and_grad(X)
        return (2.0 * f1 + f2) / 3.0, (2.0 * G1 + G2) / 3.0

    worst = _same_function(bench, repeated, expected)
    yield Checked("sample_batch, repetitions", worst <= bench.tol, f"relative difference {worst:.1e}")


def _one_factor(bench: Bench) -> Iterator[Checked]:
    for name, side in (("minimize_over_A", 0), ("minimize_over_B", 1)):
        try:
            worst = max(_gradient_left(bench, side, rank, lam) for rank in bench.ranks() for lam in (0.3, 0.0))
        except NotImplementedError as reason:
            yield Checked(name, None, f"not stated: {reason}")
            continue
        yield Checked(name, worst <= bench.curvature_tol, f"gradient left {worst:.1e}, relative to its parts")


def _gradient_left(bench: Bench, side: int, rank: int, lam: float) -> float:
    """Return the gradient at the minimiser of one factor, relative to the terms that cancel in it.

    The terms are bounded by their lengths, so that rounding of an ill-conditioned minimiser is not counted.
    """
    A, B, _, _ = bench.factors(rank)
    if side == 0:
        A = bench.f.minimize_over_A(B, lam)
    else:
        B = bench.f.minimize_over_B(A, lam)
    A, B = A.astype(np.float64), B.astype(np.float64)
    G0 = bench.f.value_and_grad(np.zeros(bench.f.shape))[1]
    G = bench.f.value_and_grad(A @ B.T)[1]
    left = G @ B + lam * A if side == 0 else G.T @ A + lam * B
    solved, given = (A, B) if side == 0 else (B, A)
    curvature = relative(float(np.linalg.norm(G - G0)), float(np.linalg.norm(A @ B.T)))
    parts = float(np.linalg.norm(G0 @ B if side == 0 else G0.T @ A))
    parts += (curvature * float(np.linalg.norm(given)) ** 2 + lam) * float(np.linalg.norm(solved))
    return relative(float(np.linalg.norm(left)), parts)


def _minimizer(bench: Bench) -> Iterator[Checked]:
    unit = float(np.linalg.norm(bench.f.value_and_grad(np.zeros(bench.f.shape))[1], 2))
    for name, lam, ranks in (("lam = 0", 0.0, bench.ranks()), ("lam > 0", 0.3 * unit, [min(bench.f.shape)])):
        found = [(rank, bench.f.minimizer(lam, rank)) for rank in ranks]
        tried = [(rank, *_minimality(bench, lam, rank, factors)) for rank, factors in found if factors is not None]
        if not tried:
            yield Checked(f"minimizer, {name}", None, "not stated")
            continue
        fits = all(columns <= rank for rank, columns, _, _ in tried)
        left, beaten = max(row[2] for row in tried), max(row[3] for row in tried)
        detail = f"gradient left {left:.1e}, beaten by descent by {max(beaten, 0.0):.1e}, relative"
        yield Checked(
            f"minimizer, {name}",
            fits and left <= bench.curvature_tol and beaten <= bench.tol,
            detail if fits else f"has more columns than the rank allows; {detail}",
        )


def _minimality(bench: Bench, lam: float, rank: int, factors: tuple[Array, Array]) -> tuple[int, float, float]:
    """Return the columns of given factors, the gradient of ``L`` there, and by how much descent goes below them."""
    from scipy.optimize import minimize

    cut = bench.f.shape[0] * rank

    def oracle(theta: Array) -> tuple[float, Array]:
        A, B = theta[:cut].reshape(-1, rank), theta[cut:].reshape(-1, rank)
        f, G = bench.f.value_and_grad(A @ B.T)
        grad = np.concatenate([(G @ B + lam * A).ravel(), (G.T @ A + lam * B).ravel()])
        return f + 0.5 * lam * float(theta @ theta), grad

    A, B = factors
    f0, G0 = bench.f.value_and_grad(np.zeros(bench.f.shape))
    f, G = bench.f.value_and_grad(A @ B.T)
    sizes = float(np.linalg.norm(A)), float(np.linalg.norm(B))
    left = math.hypot(float(np.linalg.norm(G @ B + lam * A)), float(np.linalg.norm(G.T @ A + lam * B)))
    value = f + lam * float(np.linalg.svd(A @ B.T, compute_uv=False).sum())
    start = np.concatenate([part.ravel() for part in bench.factors(rank)[:2]]).astype(np.float64)
    least = float(minimize(oracle, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).fun)
    size = float(np.linalg.norm(G0)) * math.hypot(*sizes)
    return A.shape[1], relative(left, size), relative(value - least, abs(f0) + abs(value))


def _metrics(bench: Bench) -> Iterator[Checked]:
    metrics = bench.f.metrics(bench.matrix())
    wrong = [name for name, value in metrics.items() if not (isinstance(value, float) and math.isfinite(value))]
    yield Checked("metrics are finite floats", not wrong, ", ".join(wrong or metrics) or "none offered")
    if wrong or not metrics:
        return
    A, B, _, _ = bench.factors(1)
    expected, found = bench.f.metrics(A @ B.T), bench.f.factor_metrics(A, B)
    worst = math.inf
    if found.keys() == expected.keys():
        worst = max(relative(abs(found[name] - expected[name]), abs(expected[name])) for name in expected)
    yield Checked("factor_metrics", worst <= bench.tol, f"relative difference {worst:.1e} to the dense level")


CHECKS: dict[str, Callable[[Bench], Iterator[Checked]]] = {
    "merged": _merged,
    "sample_batch": _batches,
    "one factor in closed form": _one_factor,
    "minimizer": _minimizer,
    "metrics": _metrics,
}
