"""The convex optimum on the problems that the project is measured by."""

import os
import tracemalloc

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.certificates.ranks import strong_convexity
from lorasolve.objectives import LinearFineTuning, MatrixCompletion, MatrixSensing
from lorasolve.tasks import digits_task

MOVIELENS = "LORASOLVE_MOVIELENS"


def test_gaussian_sensing_is_solved_alike_by_every_route_and_certified():
    """m = n = 20, 300 Gaussian measurements of a rank-2 target, noise 0.1, lam = 0.05, r = 4; the optimum has rank 2.

    The noise has about the norm lam, so other draws have optima of rank 3 or 4, which descent takes longer to certify.
    """
    rng = np.random.default_rng(5)
    M = rng.standard_normal((300, 20, 20))
    P, Q = (np.linalg.qr(rng.standard_normal((20, 2)))[0] for _ in range(2))
    y = np.einsum("kij,ij->k", M, P * [2.0, 1.0] @ Q.T) + 0.1 * rng.standard_normal(300)
    problem = ls.Problem(MatrixSensing(M, y), 4, 0.05)
    factored = ls.solve_convex(problem, "factored")
    clarabel = ls.solve_convex(problem, "cvxpy")
    assert "CLARABEL" in clarabel.message
    assert factored.relative_gap <= 1e-9 and 2 <= factored.rank <= 4
    assert factored.fun <= clarabel.fun * (1 + 1e-12)
    stop = ls.StoppingRule(grad_tol=1e-11, max_iter=200_000)
    for method in ("gd", "lbfgs"):
        result = ls.solve(problem, method, stop=stop)
        assert result.fun == pytest.approx(factored.fun, rel=1e-9)
        assert result.fun <= clarabel.fun * (1 + 1e-9)
        assert ls.certify(problem, result).relative_gap <= 1e-9


def test_the_digits_are_solved_alike_by_descent_factors_and_proximal_gradient():
    task = digits_task()
    problem = ls.Problem(task.objective, task.rank, task.lam)
    result = ls.solve(problem, "gd", init="lora", stop=ls.StoppingRule(grad_tol=1e-9, max_iter=200_000))
    factored, prox = (ls.solve_convex(problem, route) for route in ("factored", "prox"))
    assert factored.relative_gap <= 1e-9 and prox.relative_gap <= 1e-9
    assert result.fun == pytest.approx(factored.fun, rel=1e-8)
    assert prox.fun == pytest.approx(factored.fun, rel=1e-8)
    assert ls.certify(problem, result, tol=1e-8).is_global is True
    assert 2 <= factored.rank < task.rank


def fine_tuning(size, rank=20, seed=0):
    """A rank-20 change of a linear layer under noise, and a decay just above the noise."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((size, 2 * size))
    T = rng.standard_normal((size, rank)) @ rng.standard_normal((rank, size)) / size
    Y = T @ Z + 0.1 * rng.standard_normal((size, 2 * size))
    objective = LinearFineTuning(np.zeros((size, size)), Z, Y)
    # ||noise Z^T / N||_2 is close to 0.1 (sqrt m + sqrt n) sqrt(N) / N.
    return ls.Problem(objective, rank, 0.15 * 2 * np.sqrt(size * 2 * size) / (2 * size))


def test_linear_fine_tuning_of_a_small_layer():
    problem = fine_tuning(300)
    result = ls.solve_convex(problem, "factored")
    assert result.relative_gap <= 1e-9
    assert 15 <= result.rank <= 25
    assert ls.solve_convex(problem, "prox").fun == pytest.approx(result.fun, rel=2e-9)


@pytest.mark.slow
def test_linear_fine_tuning_of_a_large_layer_without_another_large_matrix():
    problem = fine_tuning(2048)
    objective = problem.objective
    # Facts of the data, computed once.
    assert objective.facts.smoothness > 0 and objective.facts.lower_bound > 0 and strong_convexity(objective) > 0
    tracemalloc.start()
    result = ls.solve_convex(problem, "factored", 1e-6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.relative_gap <= 1e-6
    assert 15 <= result.rank <= 25
    assert peak < objective.C.nbytes  # less than one m x n array


@pytest.mark.slow
@pytest.mark.skipif(MOVIELENS not in os.environ, reason=f"set {MOVIELENS} to the path of a MovieLens-100k ratings file")
def test_movielens_100k_is_certified():
    """A file of user, item, rating in the first three columns, tab separated, with or without a header line."""
    with open(os.environ[MOVIELENS], encoding="utf-8") as file:
        entries = [line.split("\t")[:3] for line in file]
    users, items, ratings = np.array([entry for entry in entries if entry[0].isdigit()], dtype=float).T
    assert ratings.size == 100_000
    users, items = (np.unique(ids, return_inverse=True)[1] for ids in (users, items))
    order = np.random.default_rng(0).permutation(ratings.size)
    train, test = order[:90_000], order[90_000:]
    mean = ratings[train].mean()
    shape = (users.max() + 1, items.max() + 1)
    objective = MatrixCompletion(users[train], items[train], ratings[train] - mean, shape)
    problem = ls.Problem(objective, 10, 12.0)
    factored = ls.solve_convex(problem, "factored", 1e-6)
    prox = ls.solve_convex(problem, "prox", 1e-6)
    for result in (factored, prox):
        assert result.relative_gap <= 1e-6
    assert factored.fun == pytest.approx(prox.fun, rel=1e-6)
    assert 80 <= factored.rank <= 105
    errors = factored.X[users[test], items[test]] + mean - ratings[test]
    baseline = ratings[test] - mean
    assert np.sqrt(np.mean(errors**2)) < 0.96 < np.sqrt(np.mean(baseline**2))
    print(
        f"F* = {factored.fun:.4f}, rank {factored.rank}, held-out RMSE {np.sqrt(np.mean(errors**2)):.4f}; "
        f"factored {factored.seconds:.1f} s, proximal gradient {prox.seconds:.1f} s"
    )
