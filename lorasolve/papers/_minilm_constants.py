"""Restricted constants of a loss of several updates about a point: from samples, and from descent and ascent."""

from __future__ import annotations

import math

import numpy as np

from .._support.validate import Array, as_integer
from ..landscape.restricted import unit_rank_one
from ..problem.blocks import MultiObjective
from ..problem.pairs import Matrices, Pairs, joint_inner, joint_norm


def sampled(
    loss: MultiObjective, centre: Matrices, r: int, D: float, samples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the least quotient of ``alpha`` and the largest curvature of ``beta`` over random updates.

    Updates have rank at most ``r`` in every layer and lie within ``D`` of the centre in all layers together. The first
    number bounds ``alpha`` from above, the second ``beta`` from below (main paper, section 3).
    """
    G = loss.value_and_grad(centre)[1]
    alpha, beta = math.inf, -math.inf
    for _ in range(samples):
        X = _products(_random(centre, r, D, rng))
        alpha = min(alpha, _quotient(loss, X, centre, G)[0])
        direction = [unit_rank_one(len(x), rng) @ x + x @ unit_rank_one(x.shape[1], rng) for x in X]
        beta = max(beta, _curvature(loss, X, direction)[0])
    return alpha, beta


def searched(
    loss: MultiObjective, centre: Matrices, r: int, D: float, steps: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the same two numbers from one random start each, by descent and by a power iteration."""
    factors = _random(centre, r, D, rng)
    return _descend(loss, centre, factors, D, steps), _ascend(loss, _products(factors), steps, rng)


def _descend(loss: MultiObjective, centre: Matrices, factors: Pairs, D: float, steps: int) -> float:
    """Lower the quotient of ``alpha`` by steps in the factors that stay within the ball."""
    G = loss.value_and_grad(centre)[1]
    X = _products(factors)
    best, E, change = _quotient(loss, X, centre, G)
    step = 0.5
    for _ in range(steps):
        products = loss.hessian_product(X, E)
        slopes = [(h + c - 2.0 * best * e) / joint_inner(E, E) for h, c, e in zip(products, change, E)]
        grads = [(s @ B, s.T @ A) for s, (A, B) in zip(slopes, factors)]
        scale = _length(factors) / max(_length(grads), 1e-300)
        moved = [(A - step * scale * a, B - step * scale * b) for (A, B), (a, b) in zip(factors, grads)]
        X_new = _products(moved)
        value, E_new, change_new = _quotient(loss, X_new, centre, G)
        if value < best and 1e-3 * D < joint_norm(E_new) <= D:
            factors, X, best, E, change = moved, X_new, value, E_new, change_new
        else:
            step *= 0.25
    return best


def _ascend(loss: MultiObjective, X: Matrices, steps: int, rng: np.random.Generator) -> float:
    """Raise the curvature along ``u a^T + b z^T``, ``a`` in the row and ``b`` in the column space of each update."""
    M: Matrices = [rng.standard_normal(x.shape) for x in X]
    best = -math.inf
    for _ in range(steps):
        value, M = _curvature(loss, X, [_restricted(x, part) for x, part in zip(X, M)])
        best = max(best, value)
    return best


def _restricted(X: Array, M: Array) -> Array:
    """Return the best approximation of ``M`` found by a term with ``a`` in the rows, then one with ``b`` in the columns
    of ``X``."""
    P, s, Qt = np.linalg.svd(X, full_matrices=False)
    kept = s > 1e-9 * s[0]
    P, Q = P[:, kept], Qt[kept].T
    a = Q @ np.linalg.svd(M @ Q, full_matrices=False)[2][0]
    rest = M - np.outer(M @ a, a)
    b = P @ np.linalg.svd(P.T @ rest, full_matrices=False)[0][:, 0]
    return np.outer(M @ a, a) + np.outer(b, rest.T @ b)


def _quotient(
    loss: MultiObjective, X: Matrices, centre: Matrices, G: Matrices
) -> tuple[float, list[Array], list[Array]]:
    E = [x - c for x, c in zip(X, centre)]
    change = [g - h for g, h in zip(loss.value_and_grad(X)[1], G)]
    return joint_inner(change, E) / joint_inner(E, E), E, change


def _curvature(loss: MultiObjective, X: Matrices, direction: Matrices) -> tuple[float, Matrices]:
    """Return the curvature along a direction, and the product of the Hessian with it at unit length."""
    length = joint_norm(direction)
    unit = [part / length for part in direction]
    product = loss.hessian_product(X, unit)
    return joint_inner(unit, product), product


def _random(centre: Matrices, r: int, D: float, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Return factors of random updates of rank at most ``r``, at a uniform distance of at most ``D`` in all."""
    r = as_integer(r, "r", 1, max(min(c.shape) for c in centre))
    parts = [np.linalg.svd(c, full_matrices=False) for c in centre]
    base = [(P[:, :r] * np.sqrt(s[:r]), Qt[:r].T * np.sqrt(s[:r])) for P, s, Qt in parts]
    noise = [(rng.standard_normal(A.shape), rng.standard_normal(B.shape)) for A, B in base]
    target = rng.uniform(0.1 * D, D)

    def at(t: float) -> list[tuple[Array, Array]]:
        return [(A + t * U, B + t * V) for (A, B), (U, V) in zip(base, noise)]

    def distance(t: float) -> float:
        E = [x - c for x, c in zip(_products(at(t)), centre)]
        return joint_norm(E)

    low, high = 0.0, 1e-3
    while distance(high) < target:
        high *= 2.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if distance(middle) <= target else (low, middle)
    return at(low)


def _products(factors: Pairs) -> list[Array]:
    return [A @ B.T for A, B in factors]


def _length(factors: Pairs) -> float:
    return math.sqrt(sum(float(np.vdot(A, A) + np.vdot(B, B)) for A, B in factors))
