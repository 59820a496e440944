"""One stopping rule: the interpreted loop, the compiled loop and the batched loop end at the same iterate."""

import itertools
import math

import numpy as np
import pytest
from stopped_runs import OBJECTIVES, STEP, assert_all, between, by_hand, four_ways

import lorasolve as ls
from lorasolve.kernels import stopping_rules
from lorasolve.monitor import STALL_WINDOW
from lorasolve.objectives import Denoising, LinearFineTuning
from lorasolve.optimizers import GD


@pytest.mark.parametrize("name", list(OBJECTIVES))
@pytest.mark.parametrize("max_iter", [1, 2, 3, 17, 64, 65, 66, 200])
def test_iteration_limit(name, max_iter):
    problem = ls.Problem(OBJECTIVES[name], 2, 0.1)
    start = tuple(np.random.default_rng(1).standard_normal((k, 2)) for k in (6, 5))
    stop = ls.StoppingRule(max_iter=max_iter, grad_tol=0.0)
    assert_all(problem, start, stop, ls.Status.ITERATION_LIMIT, max_iter)


@pytest.mark.parametrize("most", [2**63 - 1, 2**63, 10**400])
def test_an_iteration_limit_beyond_64_bits_is_none(most):
    """The run ends where one ends whose limit it does not come near to."""
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.1)
    start = tuple(np.random.default_rng(1).standard_normal((k, 2)) for k in (6, 5))
    expected = ls.solve(problem, ls.optimizers.GD(STEP), start, stop=ls.StoppingRule(max_iter=10**6))
    assert expected.status is ls.Status.CONVERGED
    assert_all(problem, start, ls.StoppingRule(max_iter=most), ls.Status.CONVERGED, expected.nit)


@pytest.mark.parametrize("name", list(OBJECTIVES))
@pytest.mark.parametrize(
    ("k", "late"), [(k, late) for k in (0, 1, 2, 17, 65, 130) for late in (-1, 0, 1) if k + late >= 1]
)
def test_target_and_convergence_at_before_and_after_the_limit(name, k, late):
    """What is reached in iteration k counts if the limit is k or more: it comes before the limit."""
    problem = ls.Problem(OBJECTIVES[name], 2, 0.1)
    # 40 measurements of a long start make a gradient that no tolerance below 1 admits.
    length = 0.25 if name == "sensing" else 1.0
    start = tuple(length * np.random.default_rng(1).standard_normal((n, 2)) for n in (6, 5))
    max_iter = k + late
    values, norms, sizes = by_hand(problem, *start, k)
    target = between(values[k - 1], values[k]) if k else 1.01 * values[0]
    expected = (ls.Status.TARGET_REACHED, k) if late >= 0 else (ls.Status.ITERATION_LIMIT, max_iter)
    assert_all(problem, start, ls.StoppingRule(max_iter=max_iter, grad_tol=0.0, target=target), *expected)

    relative = norms / (sizes * problem.units.slope)
    if k and relative[:k].min() <= relative[k]:
        return  # no tolerance is first met here
    tol = between(relative[:k].min(), relative[k]) if k else 1.01 * relative[0]
    expected = (ls.Status.CONVERGED, k) if late >= 0 else (ls.Status.ITERATION_LIMIT, max_iter)
    assert_all(problem, start, ls.StoppingRule(max_iter=max_iter, grad_tol=tol), *expected)
    # Both in one iteration: the target is asked first.
    stop = ls.StoppingRule(max_iter=max(max_iter, k), grad_tol=tol, target=target)
    assert_all(problem, start, stop, ls.Status.TARGET_REACHED, k)


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_a_stall_at_before_and_after_the_limit(late):
    """With a step beyond stability the iterates leave the neighbourhood of the optimum for a cycle: L stays above."""
    problem = ls.Problem(Denoising(np.diag([2.0, 1.0])), 1, 0.0)
    a = math.sqrt(2.0) + 0.001
    start = (np.array([[a], [0.0]]), np.array([[a], [0.0]]))
    # On the first axis a <- a - step (a^2 - 2) a: the slope at the fixed point is 1 - 4 step, so step 0.6 is unstable.
    values = by_hand(problem, *start, STALL_WINDOW + 1, 0.6)[0]
    assert values[1:].min() > values[0] and values.max() < 10.0
    nit = STALL_WINDOW + 1
    expected = (ls.Status.STALLED, nit) if late >= 0 else (ls.Status.ITERATION_LIMIT, nit + late)
    assert_all(problem, start, ls.StoppingRule(max_iter=nit + late, grad_tol=0.0), *expected, step=0.6)


@pytest.mark.parametrize(
    "method", ["sgd:batch_size=3", "weight_noise:sigma=0.3", "flat_lora:sigma=0.3", "ggpo", "mgpo_trainer"]
)
def test_a_target_is_reached_by_the_loss_itself_not_by_a_part_of_it(method):
    """``L`` at the end from the definition, for targets down to one below the optimum."""
    rng = np.random.default_rng(0)
    W0, Z, Y = (rng.standard_normal(shape) for shape in ((6, 5), (5, 30), (6, 30)))
    problem = ls.Problem(LinearFineTuning(W0, Z, Y), 2, 0.1)
    least = ls.solve(problem, "lbfgs").fun
    ends = {}
    for share in (0.5, 0.2, 0.1, 0.05, 0.02, -0.1):
        target = least + share * (problem.value_at_zero - least)
        stop = ls.StoppingRule(max_iter=400, target=target)
        ends[share] = end = ls.solve(problem, method, "gaussian:std=0.3", stop=stop)
        decay = 0.05 * (np.sum(end.A**2) + np.sum(end.B**2))
        assert end.fun == pytest.approx(0.5 * np.sum(((W0 + end.X) @ Z - Y) ** 2) / 30 + decay)
        assert end.fun <= target or end.status is ls.Status.ITERATION_LIMIT
    assert ends[0.5].success and not ends[-0.1].success
    # Each evaluation of L is a call.
    assert all(end.nfev >= end.nit + 1 + end.success for end in ends.values())


@pytest.mark.parametrize("max_calls", [1, 2, 64, 65, 66, 100, 101, 102])
def test_a_limit_on_calls(max_calls):
    """The oracle is called at the start and once an iteration."""
    problem = ls.Problem(OBJECTIVES["linear"], 2, 0.1)
    start = tuple(np.random.default_rng(1).standard_normal((n, 2)) for n in (6, 5))
    stop = ls.StoppingRule(max_iter=100, grad_tol=0.0, max_calls=max_calls)
    limited = max_calls <= 100
    status = ls.Status.CALL_LIMIT if limited else ls.Status.ITERATION_LIMIT
    assert_all(problem, start, stop, status, max_calls - 1 if limited else 100)


@pytest.mark.parametrize("watched", [False, True])
def test_the_last_point_of_a_long_run_is_in_the_trace(watched):
    """Beyond 4096 points every second one is dropped; the last iterate has an odd number."""
    problem, stop = ls.Problem(OBJECTIVES["denoising"], 2, 0.1), ls.StoppingRule(max_iter=4101, grad_tol=0.0)
    result = ls.solve(problem, GD(step_size=1e-5), stop=stop, callback=(lambda point: None) if watched else None)
    assert result.nit == 4101 and len(result.trace) <= 4096
    assert (result.trace.iteration[0], result.trace.iteration[-1]) == (0, 4101)
    assert result.trace.value[-1] == pytest.approx(problem.value(result.A, result.B), rel=1e-12)


@pytest.mark.parametrize("step", [3.0, 20.0])
def test_divergence(step):
    problem = ls.Problem(OBJECTIVES["linear"], 2, 0.1)
    start = tuple(np.random.default_rng(1).standard_normal((n, 2)) for n in (6, 5))
    ends, thetas = four_ways(problem, start, ls.StoppingRule(), step)
    assert ends == [(ls.Status.DIVERGED, ends[0][1])] * 5
    assert np.isfinite(thetas).all()


def test_the_compiled_rule_is_the_plain_one():
    from lorasolve.kernels.stopping import decide

    numbers = (0.5, 1.0, 2.0)
    for value, norm, size, best in itertools.product(numbers, (0.0, 0.3, 3.0), numbers, (*numbers, math.inf)):
        for nit, best_at, max_iter, window in itertools.product((0, 3, 5), (0, 3), (3, 5), (2, 4)):
            for target, slope, floor in itertools.product((-math.inf, 1.0), (-1.0, 0.2), (0.0, 1.5)):
                given = (value, norm, size, nit, best, best_at, (target, slope, floor, max_iter, window))
                assert decide(*given) == stopping_rules.decide(*given)


def test_the_order_of_the_rules():
    """An iterate to which all four apply, then without the first of them, and so on."""
    codes = []
    for passed in range(5):
        rules = (
            1.0 if passed < 1 else -math.inf,
            1.0 if passed < 2 else -1.0,
            0.0,
            2 if passed < 4 else 99,
            1 if passed < 3 else 99,
        )
        codes.append(stopping_rules.decide(1.0, 0.5, 1.0, 2, 0.5, 0, rules)[0])
    names = ("TARGET", "CONVERGED", "STALLED", "LIMIT", "RUNNING")
    assert codes == [getattr(stopping_rules, name) for name in names]


@pytest.mark.parametrize("name", ["lbfgs", "trust_ncg", "gd_backtracking"])
def test_a_limit_on_calls_counts_trials_and_hessian_products(name):
    result = ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), name, stop=ls.StoppingRule(max_calls=9))
    assert result.status is ls.Status.CALL_LIMIT and result.nfev == 9
    assert "raise max_calls" in result.message


def test_a_stall_says_only_that_no_decrease_was_found():
    """Constant steps of muon hover above the optimum, which is a soft threshold, far from any rounding."""
    problem = ls.Problem(Denoising(np.diag([3.0, 2.0, 1.0])), 3, 0.5)
    optimum = 0.5 * 3 * 0.5**2 + 0.5 * (2.5 + 1.5 + 0.5)
    result = ls.solve(problem, "muon")
    assert result.status is ls.Status.STALLED and result.fun > optimum * (1 + 1e-4)
    assert result.message.startswith("muon: no further decrease was found; certify the point")
    assert "possible" not in result.message


@pytest.mark.parametrize("method", ["gd", "lbfgs", "gd_backtracking"])
def test_without_a_tolerance_a_gradient_of_zero_ends_a_run_also_beside_a_factor_of_zero(method):
    # grad L = (G B, G^T A) with G = X - M = 0; B is shorter than A by any factor.
    problem = ls.Problem(Denoising(np.zeros((2, 2))), 1)
    start = np.ones((2, 1)), np.zeros((2, 1))
    result = ls.solve(problem, method, start, stop=ls.StoppingRule(grad_tol=0.0))
    assert (result.status, result.nit, result.grad_norm) == (ls.Status.CONVERGED, 0, 0.0)
