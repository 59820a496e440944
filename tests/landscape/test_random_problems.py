"""Random problems of several kinds: verdicts against the certificate, a convex route and the theorems."""

from collections import Counter

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import landscape
from lorasolve.low_rank import factor_svd

FAST, ALL = 100, 1000


def orthogonal(rng, n, k):
    return np.linalg.qr(rng.standard_normal((n, k)))[0]


def objective(rng, m, n):
    kind = rng.integers(7)
    target = orthogonal(rng, m, 2) @ np.diag(rng.uniform(0.5, 3.0, 2)) @ orthogonal(rng, n, 2).T
    noise = 0.1 * rng.standard_normal((m, n))
    if kind == 0:
        return ls.objectives.Denoising(target + noise)
    if kind == 1:
        Z = rng.standard_normal((n, 3 * n))
        return ls.objectives.LinearFineTuning(np.zeros((m, n)), Z, (target + noise) @ Z)
    if kind == 2:
        N = int(rng.integers(m * n // 2, 3 * m * n))
        M = rng.standard_normal((N, m, n))
        return ls.objectives.MatrixSensing(M, np.einsum("kij,ij->k", M, target) + 0.1 * rng.standard_normal(N))
    if kind == 3:
        Z = rng.standard_normal((n, 6 * m))
        return ls.objectives.Softmax(np.zeros((m, n)), Z, rng.integers(m, size=6 * m))
    if kind == 4:
        pattern = np.argwhere(rng.random((m, n)) < 0.7)
        values = (target + noise)[tuple(pattern.T)]
        return ls.objectives.MatrixCompletion(pattern[:, 0], pattern[:, 1], values, (m, n))
    if kind == 5:
        r_star = int(rng.integers(1, 3))
        r = int(rng.integers(r_star, 4))
        kappa = rng.uniform(1.1, 2.0) * (1.0 + 2.0 * np.sqrt(r / r_star))
        return landscape.instances.sharp(r, r_star, r + r_star + 1, r + r_star, kappa, 0.1)
    H = orthogonal(rng, m * n, m * n)
    H = (H * np.geomspace(1.0, rng.uniform(1.5, 12.0), m * n)) @ H.T
    lam = 0.1
    P, _, Q = np.linalg.svd(target)
    return landscape.instances.Quadratic(H, target, lam, P[:, :2] @ Q[:2])


def check_one(seed):
    """Return the kind of verdict on a random problem after all cross-checks."""
    rng = np.random.default_rng([2502, seed])
    m, n = (int(k) for k in rng.integers(3, 8, size=2))
    f = objective(rng, m, n)
    m, n = f.shape
    largest = np.linalg.norm(f.value_and_grad(np.zeros((m, n)))[1], 2)
    lam = getattr(f, "lam", float(rng.choice([0.05, 0.2, 0.5])) * largest)
    problem = ls.Problem(f, rank=getattr(f, "r", int(rng.integers(1, min(m, n) + 1))), lam=lam)
    scale = float(rng.choice([0.05, 1.0, 3.0]))
    start = scale * rng.standard_normal((m, problem.rank)), scale * rng.standard_normal((n, problem.rank))
    result = ls.solve(problem, "lbfgs", init=start, stop=ls.StoppingRule(grad_tol=1e-9, max_iter=20_000))

    optimum = known_optimum(problem)
    r_star = int(np.linalg.matrix_rank(optimum, tol=1e-6 * max(1.0, np.linalg.norm(optimum, 2))))
    X_star = optimum if r_star <= problem.rank else None
    judged = landscape.verdict(problem, result, X_star=optimum)
    assert judged.contradictions == ()
    excess = problem.factored_convex_value(*factors_of(result)) - problem.convex_value(optimum)
    size = max(abs(problem.convex_value(optimum)), abs(f.value_and_grad(np.zeros((m, n)))[0]))
    if judged.kind == "global" and r_star <= problem.rank:
        assert excess <= 3e-6 * size
        assert judged.certificate.gap_at_least <= 1e-6 * size
    if judged.kind == "spurious":
        # A point of the rank that is better is known, if only the optimum cut to it.
        P, s, Qt = np.linalg.svd(optimum)
        r = problem.rank
        lowest = problem.convex_value(P[:, :r] * s[:r] @ Qt[:r])
        assert problem.factored_convex_value(*factors_of(result)) - lowest > 0.9e-6 * size
        assert excess > 1e-6 * size
        assert judged.certificate.is_global is not True
        # Convex f: a second-order stationary point with a surplus column is global, so this one has full rank.
        assert judged.stationarity.rank == problem.rank
    if judged.kind == "saddle":
        left = landscape.escape(problem, result)
        assert left.fun < result.fun
    check_theorems(problem, result, judged, X_star)
    return judged.kind


def known_optimum(problem):
    """Return the minimizer of F: by construction, or by proximal gradient with its certificate."""
    if hasattr(problem.objective, "X_star"):
        return problem.objective.X_star
    reference = ls.solve_convex(problem, route="prox", tol=1e-8)
    assert reference.success
    return reference.X


def factors_of(result):
    P, s, Q = factor_svd(result.A, result.B)
    return P * s, Q


def check_theorems(problem, result, judged, X_star):
    """Evaluate the theorems at every second-order point, the certified ones included."""
    constants = landscape.known_constants.known_constants(problem.objective, problem.rank)
    if X_star is None or constants is None or constants.rsc_low <= 0.0 or judged.kind not in ("global", "spurious"):
        return
    if not landscape.second_order(problem, result.A, result.B).is_sosp:
        return
    found = landscape.regime(
        constants.rsc_low,
        constants.rsm_high,
        problem.rank,
        int(np.linalg.matrix_rank(X_star, tol=1e-6)),
        constants.curvature,
    )
    if found.kind == "special":
        assert judged.kind == "global", found.reason


@pytest.mark.parametrize("block", range(4))
def test_no_contradiction_on_random_problems(block):
    kinds = Counter(check_one(seed) for seed in range(block * FAST // 4, (block + 1) * FAST // 4))
    assert kinds["global"] >= 12
    assert kinds["not_converged"] == 0


@pytest.mark.slow
def test_no_contradiction_on_a_thousand_random_problems():
    kinds = Counter(check_one(seed) for seed in range(ALL))
    assert kinds["global"] > 700
    assert kinds["spurious"] > 0
    assert kinds["not_converged"] <= 5
