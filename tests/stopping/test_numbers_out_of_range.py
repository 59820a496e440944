"""Every run ends: values that overflow, that are no numbers, or that have no more digits."""

import math
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from stopped_runs import MONOTONE, NaNAfter, Wrong

import lorasolve as ls
from lorasolve.kernels import stopping, stopping_rules
from lorasolve.monitor import STALL_WINDOW
from lorasolve.objectives import Denoising, LinearFineTuning
from lorasolve.optimizers import GD


class Float32:
    """``||W (X - T)||^2 / 2`` computed in float32, answered in float32 or handed on in float64."""

    shape, convex, lower_bound = (8, 6), True, 0.0

    def __init__(self, answer):
        rng = np.random.default_rng(0)
        self.T = rng.standard_normal(self.shape).astype(np.float32)
        self.W = (1.0 + rng.random(self.shape)).astype(np.float32)
        self.answer = answer

    def value_and_grad(self, X):
        D = X.astype(np.float32) - self.T
        G = self.W * D
        return self.answer(np.float32(0.5) * np.vdot(G, D)), G.astype(self.answer)


@pytest.mark.parametrize("answer", [np.float32, np.float64])
@pytest.mark.parametrize("rank", [2, 6])
@pytest.mark.parametrize("name", ["gd", "gd_backtracking", "heavy_ball", "nesterov", "scaled_gd", "lbfgs"])
def test_a_loss_in_float32_ends_a_run_at_its_precision_and_is_named(name, rank, answer):
    """Its rounding errors were taken for gradients that are wrong, or the run went on to its limit in vain."""
    problem = ls.Problem(Float32(answer), rank, 0.3)
    result = ls.solve(problem, name)
    assert result.nit < 2000
    # L-BFGS judges its last steps by gradients, and may get as far as the tolerance.
    if name != "lbfgs" or not result.success:
        assert result.status is ls.Status.STALLED
        assert "Float32 computes in float32: have it compute in float64" in result.message
        assert ("or try 'lbfgs'" in result.message) == (name != "lbfgs")
    reason = ls.verdict(problem, result).reason
    if name != "lbfgs":
        assert reason.endswith("with a loss that computes in float64: Float32 does so in float32")
        return
    # The same in float64: the run has got as far as gradients of float32 lead.
    A, B, f = result.A, result.B, problem.objective.user
    G = f.W.astype(float) * (A @ B.T - f.T.astype(float))
    gradient = np.hypot(np.linalg.norm(G @ B + 0.3 * A), np.linalg.norm(G.T @ A + 0.3 * B))
    slope = 0.3 + np.linalg.norm(f.W.astype(float) * f.T, 2)
    assert gradient < 1e-6 * slope * np.linalg.norm(result.theta)
    assert "||grad L||" not in reason


class Falling:
    """``f(x) = -x/4``, along which factors grow without end."""

    shape, convex = (1, 1), True

    def value_and_grad(self, X):
        return -0.25 * float(X[0, 0]), np.full((1, 1), -0.25)


def test_factors_whose_squares_overflow_have_not_converged():
    """Steps of 4 double both, to ``a = b = 2^511.5``: ``a^2 + b^2`` overflows, ``a b`` and the gradient do not."""
    start = np.full((1, 1), 0.5**0.5)
    result = ls.solve(ls.Problem(Falling(), 1), GD(step_size=4.0), (start, start), stop=ls.StoppingRule(max_iter=600))
    assert result.nit == 512
    assert (result.fun, result.grad_norm) == (pytest.approx(-(2.0**1021)), pytest.approx(2.0**510))
    assert result.status is ls.Status.DIVERGED
    rules = (-math.inf, 1.0, 0.0, 10, 5)
    for decide in (stopping_rules.decide, stopping.decide):
        assert decide(1.0, 1.0, math.inf, 3, 2.0, 1, rules)[0] == stopping_rules.DIVERGED
        assert decide(1.0, 1.0, 1e308, 3, 2.0, 1, rules)[0] == stopping_rules.CONVERGED


def test_a_curvature_that_overflows_ends_newtons_method_in_words():
    """``A`` is 1e280 times as long as ``B``, and the curvature in ``B`` is the square of its length."""
    rng = np.random.default_rng(1)
    start = 1e140 * rng.standard_normal((4, 2)), 1e-140 * rng.standard_normal((3, 2))
    problem = ls.Problem(Denoising(rng.standard_normal((4, 3))), 2)
    result = ls.solve(problem, "trust_ncg", start)
    assert result.status is ls.Status.STALLED
    assert result.fun <= 0.5 * np.sum((start[0] @ start[1].T - problem.objective.M) ** 2) * (1.0 + 1e-12)


def test_a_start_that_overflows_has_diverged_without_a_warning():
    """The norms of the directions of DoRA have terms of the fourth power of the factors, ``1e320`` here."""
    rng = np.random.default_rng(0)
    loss = LinearFineTuning(rng.standard_normal((4, 3)), rng.standard_normal((3, 9)), rng.standard_normal((4, 9)))
    with warnings.catch_warnings(action="error"):
        result = ls.solve(ls.Problem(loss, 2, 0.1, adapter="dora"), "adam", "gaussian:std=1e80")
    assert result.status is ls.Status.DIVERGED
    assert result.message.endswith("the finite numbers at the start; give the data other units, or start elsewhere")


class Steep:
    """``sum exp(x) - x``, which is infinite beyond ``x = 710``, with nothing stated about it."""

    shape = (5, 4)

    def value_and_grad(self, X):
        return float((np.exp(X) - X).sum()), np.exp(X) - 1.0


@pytest.mark.parametrize("method", ["gd", "gd_backtracking", "nesterov", "scaled_gd", "heavy_ball"])
def test_a_start_where_the_loss_is_infinite_has_diverged_whatever_is_known_of_its_curvature(method):
    A, B = np.full((5, 2), 100.0), np.full((4, 2), 100.0)
    result = ls.solve(ls.Problem(Steep(), 2, 0.1), method, (A, B))
    assert result.status is ls.Status.DIVERGED and result.nit == 0
    assert "left the finite numbers at the start" in result.message
    assert result.message.endswith("or start elsewhere, or run check_objective")


class Flat:
    """``f`` is constant, in float32: what a run lowers is the decay, by less than the last digit of ``f``."""

    shape, convex, lower_bound = (3, 2), True, 0.0

    def __init__(self, height):
        self.height = np.float32(height)

    def value_and_grad(self, X):
        return self.height, np.zeros(self.shape, np.float32)


@pytest.mark.parametrize("unit", [2.0**-20, 1.0, 2.0**20])
def test_decreases_below_the_digits_of_a_loss_in_float32_are_none(unit):
    """Each step makes the factors ``1 - lam`` times as long: ``L`` falls in every one, in float32 in none."""
    lam, start = 1e-6, (np.ones((3, 1)), np.ones((2, 1)))
    problem, most = ls.Problem(Flat(unit), 1, unit * lam), 3 * STALL_WINDOW
    values = unit * (1.0 + 0.5 * lam * 5.0 * (1.0 - lam) ** (2 * np.arange(most + 1)))
    assert (np.diff(values) < 0.0).all() and np.unique(values.astype(np.float32)).size == 1
    result = ls.solve(problem, GD(step_size=1.0 / unit), start, stop=ls.StoppingRule(max_iter=most))
    assert result.status is ls.Status.STALLED and result.nit == STALL_WINDOW + 1
    assert_allclose(result.fun, values[result.nit], rtol=1e-15)
    # A target is one to the last digit.
    stop = ls.StoppingRule(max_iter=most, target=0.5 * (values[9] + values[10]))
    found = ls.solve(problem, GD(step_size=1.0 / unit), start, stop=stop)
    assert found.status is ls.Status.TARGET_REACHED and found.nit == 10


def test_wrong_gradients_of_float32_are_named_all_the_same():
    class Rising(Float32):
        def value_and_grad(self, X):
            f, G = super().value_and_grad(X)
            return f, -G

    result = ls.solve(ls.Problem(Rising(np.float64), 2, 0.1), "gd_backtracking", "gaussian")
    assert result.status is ls.Status.INCONSISTENT


@pytest.mark.parametrize("name", [*MONOTONE, "proximal_gd", "trust_ncg", "lbfgs", "sam"])
def test_runs_end_once_the_objective_is_nan(name):
    result = ls.solve(ls.Problem(NaNAfter(12), 2, 0.1), name, "gaussian", stop=ls.StoppingRule(max_iter=1000))
    assert not result.success
    assert result.status in (ls.Status.DIVERGED, ls.Status.STALLED)
    assert result.nfev < 5000 and np.isfinite(result.theta).all()


@pytest.mark.parametrize("name", ["gd:step_size=0.1", "lbfgs"])
def test_a_gradient_that_is_no_number_ends_a_run_though_the_value_is_one(name):
    result = ls.solve(ls.Problem(Wrong(lambda R: R * math.nan), 2, 0.1), name, "gaussian")
    assert result.status is ls.Status.DIVERGED and result.nfev == 1 and "at the start" in result.message


def test_smoothness_that_is_no_number_is_refused():
    objective = NaNAfter(10**6)
    objective.smoothness = math.nan
    with pytest.raises(ValueError, match="states smoothness: expected a finite number"):
        ls.solve(ls.Problem(objective, 2, 0.1), "gd")


@pytest.mark.parametrize("kind", ["completion", "linear"])
def test_lbfgs_in_float32_ends_where_rounding_lets_it_see_no_more(kind):
    # It went on for 5,000 to 16,000 calls: 500 iterations without a lower value, with line searches of dozens of calls.
    rng = np.random.default_rng(0)
    if kind == "completion":
        rows, cols = np.divmod(rng.permutation(3000)[:2000], 50)
        data = (rng.standard_normal((60, 2)) @ rng.standard_normal((2, 50)))[rows, cols]
        make, lam = (lambda dtype: ls.objectives.MatrixCompletion(rows, cols, data.astype(dtype), (60, 50))), 10.0
    else:
        data = [rng.standard_normal((30, k)) for k in (30, 90, 90)]
        make, lam = (lambda dtype: ls.objectives.LinearFineTuning(*(part.astype(dtype) for part in data))), 0.1
    rough, exact = (ls.solve(ls.Problem(make(dtype), 4, lam), "lbfgs", seed=0) for dtype in (np.float32, np.float64))
    assert exact.success and rough.status is ls.Status.STALLED
    assert rough.nfev < 2000
    assert rough.fun == pytest.approx(exact.fun, rel=1e-6)
