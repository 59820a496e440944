"""Exact values of losses, gradients and norms, by rational arithmetic and mpmath, and random problems of every kind."""

import math
from fractions import Fraction
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest

import lorasolve as ls
from lorasolve.objectives import (
    NTK,
    Denoising,
    Huber,
    LinearFineTuning,
    Logistic,
    MatrixCompletion,
    MatrixSensing,
    Softmax,
)
from lorasolve.objectives.base import Shifted

# Digits enough for data that span 1e-24 .. 1e24.
BITS = 500


def rational(x):
    """Return an array of floats as an array of the same numbers as fractions."""
    x = np.asarray(x, dtype=np.float64)
    return np.array([Fraction(value) for value in x.ravel().tolist()], dtype=object).reshape(x.shape)


def real(x):
    """Return a fraction or a number as an mpmath number."""
    with mpmath.workprec(BITS):
        return mpmath.mpf(x.numerator) / x.denominator if isinstance(x, Fraction) else mpmath.mpf(x)


def reals(x):
    return np.array([real(value) for value in x.ravel()], dtype=object).reshape(x.shape)


def dot(x, y):
    return sum((a * b for a, b in zip(x.ravel(), y.ravel())), 0 * x.ravel()[0])


def softmax_loss(s, labels):
    K, N = s.shape
    f, D = mpmath.mpf(0), np.empty((K, N), dtype=object)
    for i in range(N):
        top = max(s[:, i])
        e = [mpmath.exp(s[c, i] - top) for c in range(K)]
        total = sum(e)
        f += mpmath.log(total) + top - s[labels[i], i]
        for c in range(K):
            D[c, i] = (e[c] / total if c != labels[i] else -(total - e[c]) / total) / N
    return f / N, D


def logistic_loss(s, labels):
    K, N = s.shape
    f, D = mpmath.mpf(0), np.empty((K, N), dtype=object)
    for c in range(K):
        for i in range(N):
            y = int(labels[c, i])
            f += mpmath.log1p(mpmath.exp(-y * s[c, i]))
            D[c, i] = -y / (1 + mpmath.exp(y * s[c, i])) / N
    return f / N, D


def exact_loss(objective, X, shift=0.0):
    """Return ``f(X)`` and its gradient for an array of fractions ``X``; ``shift`` is added to the diagonal of ``S``."""
    Q = rational
    if isinstance(objective, Shifted):
        return exact_loss(objective.objective, X + Q(objective.offset), shift)
    if isinstance(objective, Denoising):
        G = X - Q(objective.M)
        return dot(G, G) / 2, G
    if isinstance(objective, Huber):
        E, delta = X - Q(objective.M), Fraction(objective.delta)
        G = np.array([max(min(e, delta), -delta) for e in E.ravel()], dtype=object).reshape(E.shape)
        return dot(G, E) - dot(G, G) / 2, G
    if isinstance(objective, MatrixCompletion):
        G = 0 * X
        for i, j, v in zip(objective.rows, objective.cols, objective.values):
            G[i, j] = X[i, j] - Fraction(float(v))
        return dot(G, G) / 2, G
    if isinstance(objective, LinearFineTuning):
        if objective._samples is None:
            S = Q(objective.S) + Fraction(shift) * Q(np.eye(len(objective.S)))
            G = X @ S - Q(objective.C)
            return Fraction(objective.f0) + dot(G - Q(objective.C), X) / 2, G
        Z, Y = (Q(part) for part in objective._samples)
        R = (Q(objective.W0) + X) @ Z - Y
        return dot(R, R) / (2 * R.shape[1]), R @ Z.T / R.shape[1]
    if isinstance(objective, MatrixSensing):
        M = measurement_matrices(objective)
        r = np.array([dot(Mi, X) for Mi in M], dtype=object) - Q(objective.y)
        G = sum((ri * Mi for ri, Mi in zip(r, M)), 0 * X)
        return dot(r, r) / (2 * len(r)), G / len(r)
    if isinstance(objective, NTK):
        N, K = objective.offset.shape
        M = Q(objective.features).reshape(N * K, *objective.shape)
        z = np.array([dot(Mi, X) for Mi in M], dtype=object) + Q(objective.offset).ravel()
        if objective.loss == "square":
            w = z - Q(objective.targets).ravel()
            return dot(w, w) / (2 * N), sum((wi * Mi for wi, Mi in zip(w, M)), 0 * X) / N
        with mpmath.workprec(BITS):
            outputs = reals(z).reshape(N, K).T
            loss = softmax_loss if objective.loss == "softmax" else logistic_loss
            f, D = loss(outputs, objective.targets if objective.loss == "softmax" else objective.targets.T)
            return f, sum((wi * reals(Mi) for wi, Mi in zip(D.T.ravel(), M)), 0 * reals(X))
    assert isinstance(objective, Softmax | Logistic)
    with mpmath.workprec(BITS):
        s = reals((Q(objective.W0) + X) @ Q(objective.Z))
        f, D = (softmax_loss if isinstance(objective, Softmax) else logistic_loss)(s, objective.targets)
        return f, D @ reals(Q(objective.Z)).T


def measurement_matrices(objective):
    m, n = objective.shape
    kept = objective._map
    if objective.kind == "dense":
        return list(rational(kept.flat).reshape(-1, m, n))
    if objective.kind == "rank-one":
        return [np.multiply.outer(rational(a), rational(b)) for a, b in zip(kept.a, kept.b)]
    found = []
    for row in kept.M.toarray():
        Mi = rational(np.zeros((m, n)))
        for i, j, v in zip(kept.rows, kept.cols, row):
            Mi[i, j] = Fraction(float(v))
        found.append(Mi)
    return found


def positive_semidefinite(W):
    """Decide ``W >= 0`` for a symmetric array of fractions or of mpmath numbers, by elimination."""
    W = W.copy()
    for j in range(len(W)):
        if W[j, j] < 0:
            return False
        if W[j, j] == 0:
            if any(W[i, j] != 0 for i in range(j, len(W))):
                return False
            continue
        for i in range(j + 1, len(W)):
            W[i, j + 1 :] = W[i, j + 1 :] - W[i, j] / W[j, j] * W[j, j + 1 :]
    return True


def norm_at_most(G, bound):
    """Decide ``||G||_2 <= bound`` for a bound that is a float."""
    if math.isinf(bound):
        return True
    G = G if G.shape[0] >= G.shape[1] else G.T
    square = Fraction(bound) ** 2
    with mpmath.workprec(BITS):
        square = square if isinstance(G.ravel()[0], Fraction) else real(square)
        W = -(G.T @ G)
        for i in range(len(W)):
            W[i, i] += square
        return positive_semidefinite(W)


def nuclear_norm(X):
    """Return ``||X||_*`` to about 100 digits."""
    with mpmath.workprec(BITS):
        X = reals(X)
        return sum(mpmath.svd_r(mpmath.matrix(X.tolist()), compute_uv=False))


def shrunk(X, level):
    """Return the proximal map of ``level ||.||_*`` at an array of mpmath numbers."""
    U, s, V = mpmath.svd_r(mpmath.matrix(X.tolist()), full_matrices=False)
    kept = [max(value - level, mpmath.mpf(0)) for value in s]
    Y = U * mpmath.diag(kept) * V
    return np.array(Y.tolist(), dtype=object).reshape(X.shape)


def as_fractions(X):
    """Return an array of mpmath numbers rounded to fractions with 300 bits."""
    return np.array([Fraction(int(mpmath.nint(value * 2**300)), 2**300) for value in X.ravel()], dtype=object).reshape(
        X.shape
    )


# ---------------------------------------------------------------------- problems
def conditioned(rng, n, N):
    """Features (n, N): plain, ill-conditioned, or of deficient rank."""
    Z = rng.standard_normal((n, N))
    kind = rng.integers(3)
    if kind == 1:
        Z *= 10.0 ** -np.linspace(0.0, rng.uniform(1.0, 8.0), n)[:, None]
    if kind == 2:
        Z[-1] = Z[0]
    return Z


def denoising(rng, m, n):
    return Denoising(rng.standard_normal((m, n)))


def huber(rng, m, n):
    return Huber(rng.standard_normal((m, n)), float(rng.uniform(0.1, 1.5)))


def completion(rng, m, n):
    rows, cols = np.divmod(rng.choice(m * n, max(m * n // 2, 2), replace=False), n)
    return MatrixCompletion(rows, cols, rng.standard_normal(rows.size), (m, n))


def linear(rng, m, n):
    Z = conditioned(rng, n, int(rng.integers(2, 7)))
    W0 = rng.standard_normal((m, n)) * 10.0 ** rng.integers(-2, 3)
    # Often a frozen weight that nearly fits, or an update that interpolates.
    update = np.outer(rng.standard_normal(m), rng.standard_normal(n)) * 10.0 ** rng.integers(-6, 1)
    noise = 10.0 ** rng.integers(-9, 1) * rng.integers(0, 2)
    return LinearFineTuning(W0, Z, (W0 + update) @ Z + noise * rng.standard_normal((m, Z.shape[1])))


def gram(rng, m, n):
    given = linear(rng, m, n)
    return LinearFineTuning.from_gram(given.W0, given.S, given.C, given.f0)


def sensing_dense(rng, m, n):
    N = int(rng.integers(3, 9))
    return MatrixSensing(rng.standard_normal((N, m, n)) * 10.0 ** rng.integers(-2, 1), rng.standard_normal(N))


def sensing_rank_one(rng, m, n):
    N = int(rng.integers(3, 9))
    a, b = conditioned(rng, m, N).T, rng.standard_normal((N, n))
    return MatrixSensing((np.ascontiguousarray(a), b), rng.standard_normal(N))


def sensing_sparse(rng, m, n):
    import scipy.sparse

    N = int(rng.integers(3, 9))
    M = rng.standard_normal((N, m * n)) * (rng.random((N, m * n)) < 0.4)
    M[0, 0] = 1.0
    return MatrixSensing(scipy.sparse.csr_array(M), rng.standard_normal(N), (m, n))


def softmax(rng, m, n):
    Z = conditioned(rng, n, int(rng.integers(2, 6)))
    W0 = rng.standard_normal((m, n)) * 10.0 ** rng.integers(-1, 2)
    return Softmax(W0, Z, rng.integers(0, m, Z.shape[1]))


def logistic(rng, m, n):
    Z = conditioned(rng, n, int(rng.integers(2, 6)))
    W0 = rng.standard_normal((m, n)) * 10.0 ** rng.integers(-1, 2)
    return Logistic(W0, Z, rng.choice([-1.0, 1.0], (m, Z.shape[1])))


def ntk(rng, m, n):
    loss = ("square", "logistic", "softmax")[rng.integers(3)]
    N, K = 3, 2
    targets = {
        "square": rng.standard_normal((N, K)),
        "logistic": rng.choice([-1.0, 1.0], (N, K)),
        "softmax": rng.integers(0, K, N),
    }[loss]
    return NTK(rng.standard_normal((N, K, m, n)), targets, loss, rng.standard_normal((N, K)))


def shifted(rng, m, n):
    inner = (huber, denoising, completion, gram)[rng.integers(4)](rng, m, n)
    return Shifted(inner, rng.standard_normal((m, n)))


KINDS = {
    maker.__name__: maker
    for maker in (
        denoising,
        huber,
        completion,
        linear,
        gram,
        sensing_dense,
        sensing_rank_one,
        sensing_sparse,
        softmax,
        logistic,
        ntk,
        shifted,
    )
}


def rescaled(objective, c):
    """Return the same kind of loss with its data in other units."""
    if isinstance(objective, Denoising):
        return Denoising(c * objective.M)
    if isinstance(objective, Huber):
        return Huber(c * objective.M, c * objective.delta)
    if isinstance(objective, MatrixCompletion):
        return MatrixCompletion(objective.rows, objective.cols, c * objective.values, objective.shape)
    if isinstance(objective, MatrixSensing):
        return objective._with(objective._map, c * objective.y)
    if isinstance(objective, LinearFineTuning) and objective._samples is not None:
        return LinearFineTuning(c * objective.W0, objective._samples[0], c * objective._samples[1])
    return objective


def make_problem(rng, kind):
    """Return a random convex problem and a point: start, optimum, random, of deficient rank, unbalanced, or dense."""
    m, n = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    objective = rescaled(KINDS[kind](rng, m, n), 10.0 ** rng.integers(-8, 9))
    rank = int(rng.integers(1, min(m, n) + 1))
    at_zero = float(np.linalg.norm(objective.value_and_grad(np.zeros((m, n)))[1], 2)) or 1.0
    lam = at_zero * 10.0 ** float(rng.choice([rng.uniform(-12.0, 0.0), rng.uniform(-2.0, 0.3)]))
    problem = ls.Problem(objective, rank, lam)
    return problem, make_point(rng, problem)


def make_point(rng, problem):
    m, n = problem.shape
    places = ["zero", "optimum", "random", "deficient", "unbalanced", "dense"]
    place = rng.choice(places, p=[0.1, 0.4, 0.2, 0.1, 0.1, 0.1])
    A, B = (rng.standard_normal((k, problem.rank)) * 10.0 ** rng.uniform(-4.0, 4.0) for k in (m, n))
    if place == "zero":
        return np.zeros((m, problem.rank)), B
    if place == "optimum":
        return optimum_of(problem)
    if place == "deficient":
        A[:, -1] = A[:, 0]
        B[:, -1] = -B[:, 0] if problem.rank > 1 else B[:, 0]
    if place == "unbalanced":
        return A * 1e8, B * 1e-8
    if place == "dense":
        return A @ B.T
    return A, B


def optimum_of(problem, iterations=300):
    """Return a point near the optimum, as factors: accelerated proximal gradient with restarts."""
    objective, lam = problem.objective, problem.lam_effective
    step = 1.0 / (float(objective.facts.smoothness or 0.0) or 1.0)
    X = Y = np.zeros(problem.shape)
    momentum, best, kept = 1.0, math.inf, None
    for _ in range(iterations):
        G = objective.value_and_grad(Y)[1]
        P, s, Qt = np.linalg.svd(Y - step * G, full_matrices=False)
        s = np.maximum(s - step * lam, 0.0)
        moved = (P * s) @ Qt
        if np.vdot(Y - moved, moved - X) > 0.0:
            momentum = 1.0
        following = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * momentum**2))
        Y = moved + (momentum - 1.0) / following * (moved - X)
        X, momentum = moved, following
        value = objective.value_and_grad(X)[0] + lam * s.sum()
        if value < best:
            best, kept = value, (P * np.sqrt(s), Qt.T * np.sqrt(s))
    return kept


@pytest.fixture(scope="session")
def exact():
    """Exact evaluation."""
    return SimpleNamespace(
        BITS=BITS,
        rational=rational,
        real=real,
        reals=reals,
        dot=dot,
        loss=exact_loss,
        nuclear_norm=nuclear_norm,
        norm_at_most=norm_at_most,
        positive_semidefinite=positive_semidefinite,
        shrunk=shrunk,
        as_fractions=as_fractions,
        softmax_loss=softmax_loss,
        logistic_loss=logistic_loss,
    )


@pytest.fixture(scope="session")
def problems():
    """Random problems."""
    return SimpleNamespace(KINDS=tuple(KINDS), make=make_problem, optimum=optimum_of, conditioned=conditioned)
