"""L-BFGS on losses with rounding errors, without an optimum, and of many variables."""

import itertools

import numpy as np
import pytest
from falling import Falling
from scipy.optimize import minimize

import lorasolve as ls
from lorasolve.objectives import Huber

M = np.random.default_rng(0).standard_normal((8, 6))


class Loss:
    """``f(X)`` from a function that returns it with its gradient."""

    shape = M.shape

    def __init__(self, answer):
        self.value_and_grad = answer


@pytest.mark.parametrize("seed", range(4))
def test_values_with_errors_do_not_keep_it_from_the_optimum(seed):
    """Values that are good to 1e-9 tell factors to about 3e-5; the optimum is soft thresholding."""
    noisy = Loss(lambda X: (float(np.sum((X - M) ** 2)) * (1.0 + 1e-9 * np.sin(1e9 * X.sum())), 2.0 * (X - M)))
    result = ls.solve(ls.Problem(noisy, 6, 0.3), "lbfgs", "gaussian", seed=seed)
    U, s, Vt = np.linalg.svd(M, full_matrices=False)
    assert result.success
    np.testing.assert_allclose(result.X, U * np.maximum(s - 0.15, 0.0) @ Vt, atol=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_a_loss_without_an_optimum_ends_as_diverged(lam):
    endless = Loss(lambda X: (float(np.vdot(M, X)), M.copy()))
    assert ls.solve(ls.Problem(endless, 3, lam), "lbfgs").status is ls.Status.DIVERGED


@pytest.mark.parametrize("rank", [1, 2])
def test_a_run_that_its_line_search_ends_at_the_end_of_the_numbers_has_diverged(rank):
    """Trials beyond are refused, so that no point is none: runs ended as stalled, and a census in an error."""
    problem = ls.Problem(Falling(), rank, 0.01)
    for seed in range(4):
        result = ls.solve(problem, "lbfgs", seed=seed)
        assert result.status is ls.Status.DIVERGED and np.isfinite(result.theta).all()
    counts = ls.landscape.census(problem, 3, scales=[1.0]).counts
    assert counts[1.0]["diverged"] == 3


def test_it_is_where_another_l_bfgs_ends_on_many_variables():
    """SciPy's, on the factors as one vector, from the same start."""
    rng = np.random.default_rng(1)
    Y = rng.standard_normal((120, 4)) @ rng.standard_normal((4, 90)) + 0.1 * rng.standard_normal((120, 90))
    problem = ls.Problem(Huber(Y, 0.5), 6, 4.0)
    start = 0.3 * rng.standard_normal((120, 6)), 0.3 * rng.standard_normal((90, 6))

    def function(theta):
        grad = np.empty_like(theta)
        return problem.value_and_grad(theta, grad), grad

    theta = np.concatenate([part.ravel() for part in start])
    options = {"maxcor": 20, "ftol": 0.0, "gtol": 1e-9, "maxiter": 5000, "maxfun": 10_000}
    other = minimize(function, theta, jac=True, method="L-BFGS-B", options=options)
    result = ls.solve(problem, "lbfgs", start)
    assert result.success and result.fun == pytest.approx(other.fun, rel=1e-10)


def test_each_iterate_is_new():
    """One that was announced twice would count as two iterations."""
    seen = []
    noisy = Loss(lambda X: (float(np.sum((X - M) ** 2)) + 1e-3 * np.sin(1e9 * X.sum()), 2.0 * (X - M)))
    problem, stop = ls.Problem(noisy, 3, 0.3), ls.StoppingRule(max_iter=300)
    result = ls.solve(problem, "lbfgs", callback=lambda now: seen.append(now.theta.copy()), stop=stop)
    assert len(seen) >= 3 and result.nit >= 3
    assert all(np.any(one != other) for one, other in itertools.pairwise(seen))


@pytest.mark.parametrize("seed", range(6))
def test_a_constant_in_the_loss_does_not_let_it_rise(seed):
    """In the tails of a robust loss slopes are small: steps there rise by thousands, a millionth of the constant."""
    target, constant = 0.1 * M, 1e9

    def answer(X):
        return constant + float(np.log1p((X - target) ** 2).sum()), 2.0 * (X - target) / (1.0 + (X - target) ** 2)

    problem = ls.Problem(Loss(answer), 6)
    result = ls.solve(problem, "lbfgs", "gaussian:std=1", seed=seed, stop=ls.StoppingRule(max_iter=200))
    above = np.array(result.trace.value) - constant
    # Values are good to 1e-7, and at X = target nothing is above the constant.
    assert above.max() == above[0] > 40.0 and above[-1] < 0.01


@pytest.mark.parametrize("unit", [2.0**-230, 2.0**-30, 2.0**200])
def test_a_loss_without_a_slope_at_zero_is_minimised_in_any_units(unit):
    """In small units it had ended at its start, where the gradient was no step at all."""
    wells = Loss(lambda X: (unit * float(((X**2 - 1.0) ** 2).sum()), unit * 4.0 * X * (X**2 - 1.0)))
    result = ls.solve(ls.Problem(wells, 6), "lbfgs", "gaussian:std=0.5", seed=1)
    assert result.success
    np.testing.assert_allclose(np.abs(result.X), 1.0, atol=1e-6)
