"""Tests of the facts that an objective states, each attacked where a plain sample would be weak."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from .._support.validate import Array
from ._objective_bench import NEIGHBOURS, POINTS, SPACING, Bench, Rounding, rounding_noise
from .base import Checked, difference, relative

# Products with the Hessian for one pair of extreme curvatures: the examples are small enough to be exact.
LANCZOS_STEPS = 40
# Directions of rank one that are tried from a point.
RANK_ONE_STEPS = 10


def _description(bench: Bench) -> Iterator[Checked]:
    """Test the form in which the loss travels: certificates that are written down are about it."""
    described = bench.f.description()
    worst = 0.0
    for _ in range(POINTS):
        X = bench.matrix()
        (value, G), (expected, H) = described.value_and_grad(X), bench.f.value_and_grad(X)
        worst = max(worst, relative(abs(value - expected), abs(expected)), difference(G, H))
    yield Checked("description", worst <= bench.tol, f"relative difference {worst:.1e} to the dense level")


def _expression(bench: Bench) -> Iterator[Checked]:
    import cvxpy

    X = cvxpy.Variable(bench.f.shape)
    expression = bench.f.cvxpy_expression(X)
    worst = 0.0
    for _ in range(POINTS):
        X.value = bench.matrix()
        expected = bench.f.value_and_grad(X.value)[0]
        worst = max(worst, relative(abs(float(expression.value) - expected), abs(expected)))
    yield Checked("cvxpy expression, value", worst <= max(bench.tol, 1e-9), f"relative difference {worst:.1e}")
    yield Checked("cvxpy expression, convex", bool(expression.is_convex()), f"curvature {expression.curvature.lower()}")


def _extreme_curvature(bench: Bench, X: Array) -> tuple[float, float, float]:
    """Return the smallest and the largest Ritz value of the Hessian at ``X`` after some Lanczos steps, and their noise.

    Both lie between the extreme eigenvalues, and reach them long before random directions come near.
    """
    direction = bench.rng.standard_normal(X.size)
    basis = np.empty((0, X.size))
    products = np.empty((0, X.size))
    for _ in range(min(X.size, LANCZOS_STEPS)):
        length = float(np.linalg.norm(direction))
        direction = direction / length
        basis = np.vstack([basis, direction])
        products = np.vstack([products, bench.f.hessian_product(X, direction.reshape(X.shape)).ravel()])
        direction = products[-1].copy()
        for _ in range(2):  # once more, against the loss of orthogonality
            direction -= basis.T @ (basis @ direction)
        if np.linalg.norm(direction) <= 1e-10 * np.linalg.norm(products[-1]):
            break
    ritz = np.linalg.eigvalsh(basis @ products.T)
    noise = bench.product_noise(X, basis[0].reshape(X.shape), products[0].reshape(X.shape))
    return float(ritz[0]), float(ritz[-1]), noise


def _sampled_pairs(bench: Bench) -> Iterator[tuple[Array, Array, Rounding]]:
    """Yield pairs of points, near and far apart, and the rounding errors of a difference of answers at the two."""
    for distance in (1e-2, 1.0, 10.0):
        rounding = None
        for _ in range(10):
            X, move = bench.matrix(), distance * bench.matrix()
            if rounding is None:
                here, there = bench.rounding(X, move), bench.rounding(X + move, move)
                rounding = Rounding(here.value + there.value, here.gradient + there.gradient, here.slope)
            yield X, X + move, rounding


def _curvature_facts(bench: Bench) -> Iterator[Checked]:
    ends = [_extreme_curvature(bench, bench.matrix()) for _ in range(POINTS)] if bench.f.facts.has_hessian else []
    low = min((end[0] for end in ends), default=math.inf)
    high = max((max(abs(end[0]), abs(end[1])) for end in ends), default=0.0)
    noise = max((end[2] for end in ends), default=0.0)
    below_tangent = 0.0
    for X, Y, rounding in _sampled_pairs(bench):
        (fX, GX), (fY, GY) = bench.f.value_and_grad(X), bench.f.value_and_grad(Y)
        tangent = float(np.vdot(GX, Y - X))
        short = fX + tangent - fY - rounding.value - rounding.slope
        below_tangent = max(below_tangent, relative(short, abs(fX) + abs(fY) + abs(tangent)))
        high = max(high, float((np.linalg.norm(GY - GX) - rounding.gradient) / np.linalg.norm(Y - X)))
    bent_down = low < -bench.curvature_tol * high - noise or below_tangent > bench.tol
    seen = f"smallest Hessian eigenvalue {low:.2e}, " if ends else ""
    seen += f"value below a tangent by {below_tangent:.1e} (relative)"
    if bench.f.facts.convex is True:
        yield Checked("convex", not bent_down, seen)
    elif bench.f.facts.convex is False:
        yield Checked("not convex", True if bent_down else None, seen)
    else:
        witness = "a witness of non-convexity was found: " if bent_down else ""
        yield Checked("convex", None, f"not stated ({witness}{seen})")
    beta = bench.f.facts.smoothness
    if beta is None:
        yield Checked("smoothness", None, f"not stated (largest curvature seen {high:.4g})")
    else:
        most = beta * (1.0 + bench.curvature_tol) + noise
        yield Checked("smoothness", high <= most, f"stated {beta:.6g}, seen {high:.6g}")


def _rank_one_smoothness(bench: Bench) -> Iterator[Checked]:
    beta = bench.f.facts.rank_one_smoothness
    if beta is None:
        return
    high = max(_curvature_of_rank_one(bench) for _ in range(POINTS))
    yield Checked("rank-one smoothness", high <= beta * (1.0 + bench.tol), f"stated {beta:.6g}, seen {high:.6g}")


def _curvature_of_rank_one(bench: Bench) -> float:
    """Return the largest curvature of ``f`` met from a point along unit matrices of rank one, less rounding errors.

    Each is made of the top singular pair of the change of the gradient along the one before: a power iteration.
    """
    X, change = bench.matrix(), bench.matrix()
    length = float(np.linalg.norm(change))
    gradient, high = bench.f.value_and_grad(X)[1], 0.0
    for _ in range(RANK_ONE_STEPS):
        U, _, Vt = np.linalg.svd(change)
        D = np.outer(U[:, 0], Vt[0])
        change = bench.f.value_and_grad(X + length * D)[1] - gradient
        noise = sum(bench.rounding(Y, D).slope for Y in (X, X + length * D))
        high = max(high, (float(np.vdot(change, D)) - noise) / length)
    return high


def _lower_bound(bench: Bench) -> Iterator[Checked]:
    bound = bench.f.facts.lower_bound
    if bound is None:
        yield Checked("lower bound", None, "not stated")
        return
    from scipy.optimize import minimize

    shape = bench.f.shape

    def oracle(x: Array) -> tuple[float, Array]:
        f, G = bench.f.value_and_grad(x.reshape(shape))
        return f, G.ravel().astype(np.float64)

    start = bench.matrix()
    least = float(minimize(oracle, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200}).fun)
    unit = abs(bench.f.value_and_grad(start)[0]) + abs(bound)
    yield Checked(
        "lower bound", least >= bound - bench.tol * unit, f"stated {bound:.6g}, reached {least:.6g} by descent"
    )


def _conjugate(bench: Bench) -> Iterator[Checked]:
    pairs = [(X, *bench.f.value_and_grad(X)) for X in (bench.matrix() for _ in range(POINTS))]
    duals = [bench.f.conjugate(G) for _, _, G in pairs]
    if any(dual is None for dual in duals):
        yield Checked("conjugate", None, "not stated")
        return
    noises = [_conjugate_noise(bench, X) for X, _, _ in pairs]
    off = below = 0.0
    for i, (_, _, G) in enumerate(pairs):
        for j, (X, f, _) in enumerate(pairs):
            dual, inner = float(duals[i] or 0.0), float(np.vdot(X, G))
            size, short = abs(f) + abs(dual) + abs(inner), inner - f - dual
            if i == j:
                off = max(off, relative(max(abs(short) - noises[i], 0.0), size))
            else:
                below = max(below, relative(short - noises[i] - noises[j], size))
    detail = f"f(X) + f*(G) = <G, X> to {off:.1e}, below <G, Y> elsewhere by {below:.1e} (relative, beyond rounding)"
    yield Checked("conjugate", max(off, below) <= bench.tol, detail)


def _conjugate_noise(bench: Bench, X: Array) -> float:
    """Return the rounding errors of ``<G, X> - f(X) - f*(G)``, which is large where ``f*`` is steep or cancels."""
    D = bench.matrix()
    found = []
    for Y in (X + SPACING * k * D for k in range(NEIGHBOURS)):
        f, G = bench.f.value_and_grad(Y)
        dual = bench.f.conjugate(G)
        found.append(math.nan if dual is None else float(np.vdot(Y, G)) - f - dual)
    return rounding_noise(np.array(found))


def _least_squares(bench: Bench) -> Iterator[Checked]:
    if not bench.f.facts.least_squares:
        yield Checked("least squares", None, "not stated")
        return
    if bench.f.facts.lower_bound is None or bench.f.facts.convex is not True:
        yield Checked("least squares", False, "needs convex = True and a lower bound, which are not both stated")
        return
    X, Y, D = bench.matrix(), 10.0 * bench.matrix(), bench.matrix()
    drift = difference(bench.f.hessian_product(Y, D), bench.f.hessian_product(X, D))
    yield Checked("least squares, constant Hessian", drift <= bench.curvature_tol, f"relative change {drift:.1e}")
    # A quadratic has vanishing third differences along every line.
    q = np.array([bench.f.value_and_grad(X + t * D)[0] for t in (0.0, 1.0, 2.0, 3.0)])
    third = relative(abs(float(q @ [-1.0, 3.0, -3.0, 1.0])), float(np.abs(q).max()))
    yield Checked("least squares, quadratic", third <= bench.tol, f"relative third difference {third:.1e}")


CHECKS: dict[str, Callable[[Bench], Iterator[Checked]]] = {
    "description": _description,
    "cvxpy expression": _expression,
    "convexity and smoothness": _curvature_facts,
    "rank-one smoothness": _rank_one_smoothness,
    "lower bound": _lower_bound,
    "conjugate": _conjugate,
    "least squares": _least_squares,
}
