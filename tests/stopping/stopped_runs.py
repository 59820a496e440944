"""Problems and losses with which runs end in every way."""

import math

import numpy as np
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve.objectives import Denoising, LinearFineTuning, MatrixCompletion, MatrixSensing
from lorasolve.optimizers import GD

RNG = np.random.default_rng(0)
ROWS, COLS = np.nonzero(RNG.random((6, 5)) < 0.7)
OBJECTIVES = {
    "denoising": Denoising(RNG.standard_normal((6, 5))),
    "linear": LinearFineTuning(*(RNG.standard_normal(s) for s in ((6, 5), (5, 30), (6, 30)))),
    "sensing": MatrixSensing(RNG.standard_normal((40, 6, 5)), RNG.standard_normal(40)),
    "completion": MatrixCompletion(ROWS, COLS, RNG.standard_normal(ROWS.size), (6, 5)),
}
STEP = 0.05
MONOTONE = ["gd", "heavy_ball", "nesterov", "lora_plus", "scaled_gd", "lora_pro", "gd_backtracking"]


def by_hand(problem, A, B, steps, step=STEP):
    """Return values, gradient norms and sizes of plain gradient descent, from the definition."""
    values, norms, sizes = [], [], []
    for _ in range(steps + 1):
        f, G = problem.objective.value_and_grad(A @ B.T)
        GA, GB = G @ B + problem.lam * A, G.T @ A + problem.lam * B
        values.append(f + 0.5 * problem.lam * (np.sum(A**2) + np.sum(B**2)))
        norms.append(np.sqrt(np.sum(GA**2) + np.sum(GB**2)))
        sizes.append(np.sqrt(np.sum(A**2) + np.sum(B**2)))
        A, B = A - step * GA, B - step * GB
    return np.array(values), np.array(norms), np.array(sizes)


def four_ways(problem, start, stop, step=STEP):
    """Return status, nit and theta of the same run: interpreted, watched, compiled, and in a block with another."""
    method = GD(step_size=step)
    seen = []
    results = [
        ls.solve(problem, method, start, stop=stop, engine="interpreted"),
        ls.solve(problem, method, start, stop=stop, callback=lambda point: seen.append(point.nit)),
        ls.solve(problem, method, start, stop=stop),
    ]
    batch = ls.solve_batch(problem, method, [start] * 3, stop=stop)
    assert batch.compiled.all()
    assert seen == list(range(results[1].nit + 1))
    assert len({result.nfev for result in results}) == 1
    results += [batch.result(0), batch.result(2)]
    return [(result.status, result.nit) for result in results], [result.theta for result in results]


def assert_all(problem, start, stop, status, nit, step=STEP):
    ends, thetas = four_ways(problem, start, stop, step)
    assert ends == [(status, nit)] * len(ends)
    for theta in thetas:
        assert_allclose(theta, thetas[0], rtol=1e-9, atol=1e-11)


def between(higher, lower):
    return math.sqrt(higher * lower) if lower > 0 else 0.5 * (higher + lower)


class Wrong:
    """||X - M||^2 / 2 with a gradient of one's choice."""

    shape = (6, 5)
    smoothness = 1.0
    M = np.random.default_rng(2).standard_normal((6, 5))

    def __init__(self, gradient):
        self.gradient = gradient

    def value_and_grad(self, X):
        return 0.5 * float(np.sum((X - self.M) ** 2)), self.gradient(X - self.M)


class NaNAfter:
    """||X - M||^2 / 2 that answers with NaN from some call on."""

    shape = (6, 5)
    smoothness = 1.0
    has_hessian = True

    def __init__(self, calls):
        self.left = calls

    def value_and_grad(self, X):
        self.left -= 1
        R = X - Wrong.M
        return (math.nan if self.left < 0 else 0.5 * float(np.sum(R**2))), R

    def hessian_product(self, X, D):
        return D
