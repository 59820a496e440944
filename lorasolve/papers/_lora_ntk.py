"""LoRA in the linearized regime: rank bounds, rank reduction, the perturbed landscape and where runs fail.

Source: Jang, Lee, Ryu, arXiv 2402.11867 (ICML 2024); the rank reduction is Pataki's and Barvinok's argument in the
face of the solution. Proof module: proofs/lora_ntk. ``count`` stands for the paper's ``KN``.

Errata of the released code: its weight decay assigns to a loop variable and is never applied, while the reported
loss adds it; published runs with a positive weight optimise the loss without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np

from .._support.validate import (
    Array,
    as_float_array,
    as_generator,
    as_instance,
    as_integer,
    as_matrix_shape,
    as_number,
    as_shape,
)
from ..engine import solve
from ..monitor import StoppingRule
from ..objectives.base import Objective
from ..objectives.ntk import NTK
from ..problem import Problem


def rank_bound(count: int) -> int:
    """Return the largest ``r`` with ``r (r + 1)/2 <= count``: a minimiser of at most this rank exists."""
    return (isqrt(8 * as_integer(count, "count", 0) + 1) - 1) // 2


def sufficient_rank(count: int) -> int:
    """Return the smallest ``r`` with ``r (r + 1)/2 > count``: no spurious minima for almost every perturbation."""
    return rank_bound(count) + 1


def effective_count(objective: NTK) -> int:
    """Return the dimension of the span of the features that the loss sees: what may replace ``KN``.

    Softmax sees differences of the features of a sample only, so it is at most ``(K - 1) N`` there.
    """
    features = as_instance(objective, "objective", NTK).scalar_features()
    return int(np.linalg.matrix_rank(features.reshape(features.shape[0], -1)))


def gap_certificate(objective: Objective, X: Array, lam: float) -> float:
    """Bound ``F(X) - min F`` for convex ``f >= f_low`` and ``lam > 0``, from one gradient.

    ``<G, X> + lam ||X||_* + max(0, ||G||_2 - lam) (F(X) - f_low)/lam`` (CERTIFIED up to rounding;
    :func:`lorasolve.certify` has sharper bounds where the objective states more). ``f_low = 0`` for the paper's losses.

    Raises
    ------
    ValueError, TypeError
        For an objective that does not state that it is convex or has no lower bound, and for numbers out of range.
    """
    lam = as_number(lam, "lam", 0.0, open_low=True)
    facts = as_instance(objective, "objective", Objective).facts
    if facts.convex is not True or facts.lower_bound is None:
        given = f"convex: {facts.convex}, lower_bound: {facts.lower_bound}"
        raise ValueError(
            f"objective: expected a convex loss with a lower bound, got {type(objective).__name__} ({given})"
        )
    X = as_shape(as_float_array(X, "X", 2), "X", objective.shape)
    f, G = objective.value_and_grad(X)
    nuclear = float(np.linalg.svd(X, compute_uv=False).sum())
    excess = max(0.0, float(np.linalg.norm(G, 2)) - lam)
    return float(np.vdot(G, X)) + lam * nuclear + excess * (f - facts.lower_bound + lam * nuclear) / lam


def reduce_rank(X: Array, features: Array, tol: float = 1e-9) -> Array:
    """Return a matrix of rank ``r`` with ``r (r + 1)/2 <= p``, the same products, and no larger nuclear norm.

    Parameters
    ----------
    X : ndarray of shape (m, n)
        Any matrix, optimal or not.
    features : ndarray of shape (p, m, n)
        The matrices ``G_i`` whose products ``<G_i, X>`` are kept.
    tol : float
        Relative size below which a singular value of ``X``, or of the reduced core, counts as zero.

    Returns
    -------
    ndarray of shape (m, n)
        At an optimum of ``f + lam ||.||_*`` another optimum. Elsewhere the nuclear norm usually falls.

    Notes
    -----
    ``X = U S V^T`` with ``S`` PSD. While ``r (r + 1)/2 > p`` a symmetric ``D`` with ``<U^T G_i V, D> = 0`` exists;
    with the sign that makes ``tr D <= 0``, ``S + t D`` loses rank for some ``t > 0`` and stays PSD, so that
    ``||X||_* <= tr(S + t D)``. Cost: ``O(p m n r)`` once, then ``O(p r^4)`` for each step.
    """
    X, features = as_float_array(X, "X", 2), as_float_array(features, "features", 3)
    as_shape(features, "features", (len(features), *X.shape))
    tol = as_number(tol, "tol", 0.0, 1.0, open_high=True)
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    kept = s > tol * s[0]
    U, V, S = U[:, kept], Vt[kept].T, np.diag(s[kept])
    core = np.einsum("mr,pmn,ns->prs", U, features, V)
    core = 0.5 * (core + core.transpose(0, 2, 1))
    while S.shape[0] * (S.shape[0] + 1) // 2 > features.shape[0]:
        D = _symmetric_null_matrix(core)
        if np.trace(D) > 0.0:
            D = -D
        R = np.linalg.cholesky(S)
        half = np.linalg.solve(R, D)
        e, Q = np.linalg.eigh(np.linalg.solve(R, half.T))
        weights = 1.0 - e / e[0]
        remain = weights > tol * weights.max()
        F = R @ Q[:, remain] * np.sqrt(weights[remain])
        Fu, Fs, _ = np.linalg.svd(F, full_matrices=False)
        U, V, S = U @ Fu, V @ Fu, np.diag(Fs**2)
        core = Fu.T @ core @ Fu
    return U @ S @ V.T


def _symmetric_null_matrix(core: Array) -> Array:
    """Return a symmetric matrix of norm 1 that is orthogonal to all symmetric ``core[i]``; it must exist."""
    r = core.shape[1]
    rows, columns = np.triu_indices(r)
    weight = np.where(rows == columns, 1.0, np.sqrt(2.0))
    packed = core[:, rows, columns] * weight
    null = np.linalg.qr(packed.T, mode="complete")[0][:, -1]
    D = np.zeros((r, r))
    D[rows, columns] = D[columns, rows] = null / weight
    return D


@dataclass(frozen=True)
class LandscapeRun:
    """The end of a run on the perturbed landscape.

    Attributes
    ----------
    A, B : ndarray of shape (m, r), (n, r)
        The point reached.
    fun, gap : float
        ``F(X) = f(X) + lam ||X||_*`` there, and the certified bound on ``F(X) - min F``.
    smallest_singular : float
        ``sigma_r(Z)/sigma_1(Z)`` of ``Z = [A; B]``: zero at the stationary points that the theorem speaks of.
    smallest_eigenvalue : float
        Of ``[[lam I, G], [G^T, lam I]] + 2 P``: not negative at global minima.
    grad_norm : float
        Of the perturbed objective.
    """

    A: Array
    B: Array
    fun: float
    gap: float
    smallest_singular: float
    smallest_eigenvalue: float
    grad_norm: float


def random_perturbation(size: int, norm: float, rng: np.random.Generator) -> Array:
    """Return a random PSD matrix ``P`` (size, size) with spectral norm ``norm``."""
    size, norm = as_integer(size, "size", 1), as_number(norm, "norm", 0.0)
    Q = as_generator(rng, "rng").standard_normal((size, size))
    P = Q @ Q.T
    return P * (norm / np.linalg.norm(P, 2))


def solve_landscape(
    problem: Problem, perturbation: Array, rng: np.random.Generator, std: float = 1.0, max_iter: int = 3000
) -> LandscapeRun:
    """Minimise ``L(A, B) + <P, Z Z^T>``, ``Z = [A; B]``, by L-BFGS from random Gaussian factors.

    For ``r (r + 1)/2 > count`` and almost every PSD ``P`` every second-order stationary point of it is global, and
    its excess over ``min F`` is at most ``2 ||P||_2 ||X*||_*`` (the paper's landscape theorem and corollary).

    Parameters
    ----------
    problem : Problem
        With ``lam > 0`` and a plain ``lora`` adapter, refused unless ``s = 1``.
    perturbation : ndarray of shape (m + n, m + n)
        ``P``; see :func:`random_perturbation`.
    rng : Generator
        Draws the start.
    std : float
        Standard deviation of its entries.
    max_iter : int
        Limit on the iterations of L-BFGS.
    """
    from scipy.optimize import minimize

    as_instance(problem, "problem", Problem).require_low_rank("solve_landscape")
    if problem.scale != 1.0:
        raise ValueError(f"solve_landscape: needs an adapter of scale 1, got {problem.scale:g}")
    m, n, r = *problem.shape, problem.rank
    perturbation = as_shape(as_float_array(perturbation, "perturbation", 2), "perturbation", (m + n, m + n))
    rng, std = as_generator(rng, "rng"), as_number(std, "std", 0.0)
    max_iter = as_integer(max_iter, "max_iter", 1)

    def function(theta: Array) -> tuple[float, Array]:
        grad = np.empty_like(theta)
        value = problem.value_and_grad(theta, grad)
        PZ = perturbation @ theta.reshape(m + n, r)
        return value + float(np.vdot(PZ.ravel(), theta)), grad + 2.0 * PZ.ravel()

    options: dict[str, Any] = {"maxiter": max_iter, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-10}
    settings: dict[str, Any] = {"jac": True, "method": "L-BFGS-B", "options": options}
    end = minimize(function, std * rng.standard_normal(problem.size), **settings)
    A, B, _ = problem.split(end.x)
    X = A @ B.T
    f, G = problem.objective.value_and_grad(X)
    S = np.block([[problem.lam * np.eye(m), G], [G.T, problem.lam * np.eye(n)]]) + 2.0 * perturbation
    values = np.linalg.svd(np.vstack([A, B]), compute_uv=False)
    return LandscapeRun(
        A.copy(),
        B.copy(),
        f + problem.lam * float(np.linalg.svd(X, compute_uv=False).sum()),
        gap_certificate(problem.objective, X, problem.lam),
        float(values[-1] / (values[0] or 1.0)),
        float(np.linalg.eigvalsh(S)[0]),
        float(np.linalg.norm(function(end.x)[1])),
    )


def failure_map(
    shape: tuple[int, int], ranks: list[int], counts: list[int], instances: int, starts: int, lam: float, seed: int
) -> Array:
    """Return the share of runs (ranks, counts) that end above the convex optimum, on random square-loss problems.

    A run fails if its certified gap exceeds ``1e-6 F`` and it ends above the convex optimum by more than that, be
    it at a spurious minimum or because the optimum has a larger rank than the factors. The theorem leaves none
    where ``r (r + 1)/2 > count``. SAMPLED.
    """
    from ..convex import solve_convex

    rng = np.random.default_rng(seed)
    failures = np.zeros((len(ranks), len(counts)))
    m, n = shape
    for column, count in enumerate(counts):
        for _ in range(instances):
            objective = NTK(rng.standard_normal((1, count, m, n)), 3.0 * rng.standard_normal((1, count)))
            best = solve_convex(Problem(objective, min(shape), lam), route="prox").fun
            for row, rank in enumerate(ranks):
                problem = Problem(objective, rank, lam)
                for _ in range(starts):
                    run = solve_landscape(problem, random_perturbation(m + n, 1e-9, rng), rng, 2.0, max_iter=4000)
                    failures[row, column] += run.gap > 1e-6 * run.fun and run.fun > best * (1.0 + 1e-6)
    return failures / (instances * starts)


def trapped_shares(
    shape: tuple[int, int], rank: int, counts: list[int], instances: int, starts: int, lam: float, seed: int
) -> list[float]:
    """Return the share of runs (by count) that converge above the best end at the same rank, Gaussian features.

    Whether a better point of this rank exists is then certain: another start of the same problem reached it. SAMPLED.
    """
    rng = np.random.default_rng(seed)
    stop = StoppingRule(max_iter=3_000, grad_tol=1e-8)
    m, n = shape
    shares = []
    for count in counts:
        trapped = 0
        for _ in range(instances):
            objective = NTK(rng.standard_normal((1, count, m, n)), 3.0 * rng.standard_normal((1, count)))
            problem = Problem(objective, rank, lam)
            runs = []
            for _ in range(starts):
                factors = (2.0 * rng.standard_normal((m, rank)), 2.0 * rng.standard_normal((n, rank)))
                runs.append(solve(problem, "lbfgs", factors, stop=stop))
            best = min(run.fun for run in runs)
            trapped += sum(run.success and run.fun > best * (1.0 + 1e-4) for run in runs)
        shares.append(trapped / (instances * starts))
    return shares


def spurious_example() -> Problem:
    """Return the 2 x 2 problem of rank 1 with ``KN = 2`` that has a strict spurious local minimum.

    ``f(X) = (X_21 + X_22 - 2)^2/2 + (X_12 - X_21)^2/2``, ``lam = 1/10``: local value 0.81888620817193, global value
    0.16141813425418 at a matrix of rank one. With ``r = 2`` (``3 > 2``) no run fails (proofs/lora_ntk).
    """
    features = np.array([[[0.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [-1.0, 0.0]]])
    return Problem(NTK(features[None], np.array([[2.0, 0.0]])), 1, 0.1)


def degenerate_optimum(
    shape: tuple[int, int], rank: int, count: int, lam: float, rng: np.random.Generator
) -> tuple[NTK, Array]:
    """Return an objective and an optimum of ``f + lam ||.||_*`` with the given rank, by construction.

    ``G_1 = U V^T + W`` with ``U^T W = 0``, ``W V = 0``, ``||W||_2 < 1``, other features random, ``X = U S V^T``, and
    targets that make the residual ``-lam e_1``. The minimal rank of an optimum is in general lower.
    """
    m, n = as_matrix_shape(shape, "shape")
    rank, count = as_integer(rank, "rank", 1, min(m, n)), as_integer(count, "count", 1)
    lam, rng = as_number(lam, "lam", 0.0, open_low=True), as_generator(rng, "rng")
    U = np.linalg.qr(rng.standard_normal((m, m)))[0]
    V = np.linalg.qr(rng.standard_normal((n, n)))[0]
    features = rng.standard_normal((1, count, m, n))
    k = min(m, n) - rank
    rest = U[:, rank : rank + k] * rng.uniform(0.1, 0.9, k) @ V[:, rank : rank + k].T
    features[0, 0] = U[:, :rank] @ V[:, :rank].T + rest
    root = rng.standard_normal((rank, rank))
    X = U[:, :rank] @ (root @ root.T + 0.1 * np.eye(rank)) @ V[:, :rank].T
    targets = np.einsum("kmn,mn->k", features[0], X)
    targets[0] += lam
    return NTK(features, targets[None]), X
