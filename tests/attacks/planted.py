"""Targets with known faults, and their repaired twins, for the adversary's own tests. Nothing here is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse.linalg as sla

LIMIT = 250_000


@dataclass
class Answer:
    gap: float
    is_global: bool | None
    gap_at_least: float = 0.0


def top(operator, start):
    """Return the largest singular value by Lanczos from a given vector, all of them up to the limit."""
    m, n = operator.shape
    if m * n <= LIMIT:
        return np.linalg.norm(operator.to_dense(), 2)
    linear = sla.LinearOperator(
        (m, n),
        matvec=lambda v: operator.matmat(v.reshape(n, 1)).ravel(),
        rmatvec=lambda u: operator.rmatmat(u.reshape(m, 1)).ravel(),
    )
    return sla.svds(linear, k=1, tol=1e-2, v0=start, return_singular_vectors=False)[0] * 1.01


def top_of_twenty(operator, start):
    """The same by twenty steps from the normalized start, whose rounding errors grow with each."""
    basis = [start / np.linalg.norm(start)]
    for _ in range(20):
        w = operator.rmatmat(operator.matmat(basis[-1][:, None])).ravel()
        for _ in range(2):
            w -= sum((v @ w) * v for v in basis)
        basis.append(w / np.linalg.norm(w))
    return np.linalg.norm(operator.matmat(np.stack(basis, axis=1)), 2) * 1.01


def answer(problem, point, start, top=top):
    """Fenchel's bound for least squares with lower bound 0, a little widened."""
    A, B = point if isinstance(point, tuple) else (np.asarray(point), np.eye(problem.shape[1]))
    objective = problem.objective
    X = A @ B.T
    f, G = objective.value_and_grad(X)
    nuclear = np.linalg.norm(X, "nuc")
    norm = top(objective.gradient_operator(A, B), start)
    c = min(1.0, problem.lam / norm) if norm else 1.0
    low = objective.facts.lower_bound
    above = 0.0 if low is None else max(f - low, 0.0)
    value = f + problem.lam * nuclear
    gap = max((1 - c) * above + problem.lam * nuclear + c * float(np.vdot(G, X)), 0.0) + 1e-9 * abs(value)
    return Answer(gap, True if gap <= 1e-6 * value else None)


def fixed_start(problem, point):
    """The old certifier: its start is known beforehand."""
    return answer(problem, point, np.random.default_rng(0).standard_normal(min(problem.shape)))


def rounded_start(problem, point):
    """One whose start is known, but not to the last bit of what it multiplies with."""
    return answer(problem, point, np.random.default_rng(0).standard_normal(min(problem.shape)), top_of_twenty)


def fresh_start(problem, point):
    """The repaired one."""
    return answer(problem, point, np.random.default_rng().standard_normal(min(problem.shape)))


def noticing(problem, point):
    """One that compares gradient, bound and convexity with values around the point before it answers."""
    X, objective = np.asarray(point, dtype=float), problem.objective
    f, G = objective.value_and_grad(X)
    low = objective.facts.lower_bound
    for step in (1e-3, 1.0):
        for D in (G, np.ones_like(X)):
            up, down = (objective.value_and_grad(X + s * step * D)[0] for s in (1, -1))
            curved = up - 2 * f + down
            if curved < -1e-9 or (low is not None and min(up, down) < low):
                raise ValueError("convex, lower_bound: refuted")
            if abs(up - down - 2 * step * np.vdot(G, D)) > 1e-3 * abs(up - down) + 1e-6 * abs(f) * step:
                raise ValueError("gradient: refuted")
    return fixed_start(problem, point)


def never_sure(problem, point):
    """One that knows nothing: it is never wrong."""
    return Answer(np.inf, None)


def always_false(problem, point):
    """One that refutes everything by one half of its value."""
    value = problem.convex_value(point if not isinstance(point, tuple) else point[0] @ point[1].T)
    return Answer(np.inf, False, 0.5 * value)


def crashing(problem, point):
    raise ZeroDivisionError("no answer")


def quoting(problem, point):
    raise ValueError('no """ in C:\\Users\\numbers, nor \0 or \udc80')


# ---------------------------------------------------------------------- objectives
class Steep:
    """``3/2 ||X||^2`` that states less curvature than it has."""

    shape = (3, 2)
    convex = True
    smoothness = 2.9
    lower_bound = 0.0

    def value_and_grad(self, X):
        return 1.5 * float(np.sum(X * X)), 3.0 * X


class SteepAlongRankOne(Steep):
    """``3/2 ||X||^2`` that states less curvature along matrices of rank one."""

    smoothness = 3.0
    rank_one_smoothness = 2.9


class OneSteepDirection(Steep):
    """The same curvature along one entry only, and only far out."""

    def value_and_grad(self, X):
        over = max(X[0, 0] - 1.0, 0.0)
        G = X.copy()
        G[0, 0] += 2.0 * over
        return 0.5 * float(np.sum(X * X)) + over * over, G


class Wave(Steep):
    """``sum cos X``, said to be convex."""

    smoothness = 1.0
    lower_bound = -6.0

    def value_and_grad(self, X):
        return float(np.sum(np.cos(X))), -np.sin(X)


class Deep(Steep):
    """``3/2 ||X - 1||^2 - 1``, said to be positive."""

    smoothness = 3.0

    def value_and_grad(self, X):
        return 1.5 * float(np.sum((X - 1.0) ** 2)) - 1.0, 3.0 * (X - 1.0)


class Cosh(Steep):
    """``sum cosh X``, said to be a least-squares function."""

    smoothness = None
    least_squares = True

    def value_and_grad(self, X):
        return float(np.sum(np.cosh(X))), np.sinh(X)


class Honest(Steep):
    """The first one with the curvature that it has."""

    smoothness = 3.0
