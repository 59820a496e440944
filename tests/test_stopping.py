"""One stopping rule: the interpreted loop, the compiled loop and the batched loop end at the same iterate."""

import itertools
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import lorasolve as ls
from lorasolve._support.progress import Progress
from lorasolve._support.time_limit import is_over, limited_to
from lorasolve.kernels import stopping, stopping_rules
from lorasolve.loop import REJECTED_LIMIT
from lorasolve.monitor import STALL_WINDOW, Monitor, Stop
from lorasolve.objectives import Denoising, LinearFineTuning, MatrixCompletion, MatrixSensing
from lorasolve.optimizers import GD
from lorasolve.optimizers.base import DrivenOptimizer, Optimizer

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


def test_a_limit_on_time_is_one_in_seconds():
    monitor = Monitor(ls.StoppingRule(time_limit=5.0), None, Progress("none", False))
    monitor.started -= 4.0
    monitor.call()
    assert not monitor.out_of_time()
    monitor.started -= 2.0
    assert monitor.out_of_time()
    with pytest.raises(Stop) as stopped:
        monitor.call()
    assert stopped.value.status is ls.Status.TIME_LIMIT and monitor.nfev == 1


@pytest.mark.parametrize("engine", ["compiled", "interpreted"])
def test_a_limit_on_time_ends_iterations_that_nobody_attends(engine):
    """Fifty million of them, with steps so short that nothing else ends the run."""
    stop = ls.StoppingRule(max_iter=50_000_000, grad_tol=0.0, time_limit=0.2)
    result = ls.solve(
        ls.Problem(OBJECTIVES["denoising"], 2, 0.1), GD(step_size=1e-9), "gaussian", stop=stop, engine=engine
    )
    assert result.status is ls.Status.TIME_LIMIT and result.nit < stop.max_iter // 2
    assert "raise time_limit or continue with init=result" in result.message


# ---------------------------------------------------------------------- what the accounting is told of a method
def accounted(stop, points, staged=False, **options):
    """Return the answers to points that are accepted, each a value and a gradient length, and what ended the run."""
    problem, theta = ls.Problem(OBJECTIVES["denoising"], 2, 0.1), np.ones(22)
    monitor = Monitor(stop, None, Progress("none", False), **options)
    answers = []
    try:
        for value, grad_norm in points:
            monitor.call()
            answers.append(monitor.accept(problem, theta, value, grad_norm, 0.1, staged=staged))
    except Stop as stopped:
        return answers, stopped.status
    return answers, None


class Slow:
    """A loss without a stated smoothness, so that methods sample its curvature: 40 evaluations at 0.02 s."""

    shape, convex, lower_bound = (6, 5), True, 0.0

    def __init__(self):
        self.calls = 0

    def value_and_grad(self, X):
        self.calls += 1
        time.sleep(0.02)
        return 0.5 * float(((X - 1.0) ** 2).sum()), X - 1.0


@pytest.mark.parametrize("method", ["gd", "nesterov", "scaled_gd", "riemannian", "trust_ncg", "gd@softmax_gates"])
def test_the_time_limit_holds_while_a_curvature_is_sampled(method):
    """In 0.1 s begin 5 evaluations; a few are made before the run, and at its last point."""
    loss = Slow()
    result = ls.solve(ls.Problem(loss, 2, 0.1), method, stop=ls.StoppingRule(time_limit=0.1))
    assert result.status is ls.Status.TIME_LIMIT
    assert loss.calls <= 5 + 8


def test_what_a_callback_asks_is_not_cut_short_by_the_time_limit():
    """By then the limit of the run has passed."""
    over = []

    def callback(seen):
        time.sleep(0.05)
        over.append(is_over())

    problem = ls.Problem(Denoising(np.ones((6, 5))), 2, 0.1)
    result = ls.solve(problem, "adam", callback=callback, stop=ls.StoppingRule(time_limit=0.02))
    assert result.status is ls.Status.TIME_LIMIT
    assert over == [False] and not is_over()
    with limited_to(time.perf_counter()):
        assert is_over()


def test_a_part_of_the_loss_whose_gradient_vanishes_or_whose_value_stays_ends_nothing():
    """Neither says anything of ``L``: only the limits are left."""
    limit = 2 * STALL_WINDOW
    for grad_norm, nit, status in ((0.0, 0, ls.Status.CONVERGED), (1.0, STALL_WINDOW + 1, ls.Status.STALLED)):
        stop, points = ls.StoppingRule(max_iter=limit), [(1.0, grad_norm)] * (limit + 1)
        assert accounted(stop, points, stochastic=True) == ([None] * limit, ls.Status.ITERATION_LIMIT)
        # Of a method that sees all of L both say something.
        assert accounted(stop, points) == ([None] * nit, status)


def test_a_method_whose_values_may_stay_does_not_stall():
    limit = 2 * STALL_WINDOW
    found = accounted(ls.StoppingRule(max_iter=limit), [(1.0, 1.0)] * (limit + 1), may_stall=False)
    assert found == ([None] * limit, ls.Status.ITERATION_LIMIT)


def test_between_stages_a_point_that_ends_its_own_does_not_end_the_run_and_a_target_or_the_limit_does():
    converged, stalled = ls.Status.CONVERGED, ls.Status.STALLED
    falling = [(1.0, 1.0), (0.9, 0.0), (0.8, 0.0), (0.7, 0.0)]
    found = accounted(ls.StoppingRule(max_iter=3), falling, staged=True)
    assert found == ([None, converged, converged], ls.Status.ITERATION_LIMIT)
    found = accounted(ls.StoppingRule(max_iter=3, target=0.85), falling, staged=True)
    assert found == ([None, converged], ls.Status.TARGET_REACHED)
    answers, ended = accounted(ls.StoppingRule(), [(1.0, 1.0)] * (STALL_WINDOW + 2), staged=True)
    assert ended is None and answers == [None] * (STALL_WINDOW + 1) + [stalled]


def test_iterations_that_were_not_attended_count_like_others():
    """What is best, since when, and what was last; a value that is met again is no new best one."""
    _, monitor = staged_at(np.ones(22), [3.0])
    monitor.nfev = 1
    for values, history in (([4.0, 2.0, 2.5], (3, 2.0, 2)), ([2.0, 2.0], (5, 2.0, 2)), ([1.0, 1.5], (7, 1.0, 6))):
        norms = np.arange(1.0, len(values) + 1.0)
        monitor.absorb(np.array(values), norms, 0.2, 0.0)
        assert monitor.limits().history == history and monitor.nfev == monitor.nit + 1
    monitor.finish()
    assert monitor.trace.iteration == list(range(8))
    assert monitor.trace.value == [3.0, 4.0, 2.0, 2.5, 2.0, 2.0, 1.0, 1.5]
    assert monitor.trace.grad_norm[-1] == 2.0 and monitor.trace.step[-1] == 0.2
    # Of a long run not every point is kept; where a limit ends it in the middle the last one is all the same.
    monitor.absorb(np.arange(5000.0), np.ones(5000), 0.2, 0.0)
    monitor.absorb(np.array([5.0, 6.0, 7.0, 8.0]), np.array([1.0, 2.0, 3.0, 4.0]), 0.2, 0.0)
    assert monitor.trace.iteration[-1] < monitor.nit == 5011
    monitor.finish()
    assert (monitor.trace.iteration[-1], monitor.trace.value[-1], monitor.trace.grad_norm[-1]) == (5011, 8.0, 4.0)


def staged_at(theta, values, **rules):
    """Return the accounting of a run with stages after some points that are not stationary."""
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.1)
    monitor = Monitor(ls.StoppingRule(**rules), None, Progress("none", False))
    for value in values:
        assert monitor.accept(problem, theta, value, 1.0, 0.1, staged=True) is None
    return problem, monitor


def test_a_stage_stalls_by_its_own_values_and_iterations():
    """It starts above where the one before it ended, as after a merge with decay."""
    theta = np.ones(22)
    problem, monitor = staged_at(theta, [1.0] * (STALL_WINDOW - 100))
    assert monitor.new_stage(theta, 2.0, 1.0) is None
    answers = [monitor.accept(problem, theta, 2.0, 1.0, 0.1, staged=True) for _ in range(STALL_WINDOW + 1)]
    assert answers == [None] * STALL_WINDOW + [ls.Status.STALLED]


def test_a_stage_that_starts_stationary_ends_the_run_unless_its_start_made_the_loss_fall():
    """By more than such a gradient may still lower it by, ``tol g ||theta||^2``, and than rounding."""
    theta, tol = np.ones(22), 1e-3
    within = tol * ls.Problem(OBJECTIVES["denoising"], 2, 0.1).units.slope * 22.0
    small = 0.5 * within / math.sqrt(22.0)

    def starts(*values, grad_norm=small, **rules):
        """Return what stages that start at these values one after the other, without an iterate, come to."""
        _, monitor = staged_at(theta, [1.0], **rules)
        try:
            return [monitor.new_stage(theta, value, grad_norm) for value in values]
        except Stop as stopped:
            return stopped.status.label

    ended, goes_on = "converged", [ls.Status.CONVERGED]
    assert [starts(value, grad_tol=tol) for value in (2.0, 1.0, 1.0 - 0.9 * within)] == [ended] * 3
    assert starts(1.0 - 1.1 * within, grad_tol=tol) == goes_on
    # The second has to lie below the first, and reaching the target is left to iterates.
    assert starts(0.5, 0.4, grad_tol=tol) == 2 * goes_on and starts(0.5, 0.5, grad_tol=tol) == ended
    assert starts(0.5, grad_tol=tol, target=0.6) == goes_on
    # However small the tolerance, rounding is no fall.
    assert starts(1.0 - 1e-14, grad_norm=0.0, grad_tol=1e-300) == ended
    assert starts(0.5, grad_norm=2.0, grad_tol=tol) == [None]


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


# ---------------------------------------------------------------------- every run ends
class Wrong:
    """||X - M||^2 / 2 with a gradient of one's choice."""

    shape = (6, 5)
    smoothness = 1.0
    M = np.random.default_rng(2).standard_normal((6, 5))

    def __init__(self, gradient):
        self.gradient = gradient

    def value_and_grad(self, X):
        return 0.5 * float(np.sum((X - self.M) ** 2)), self.gradient(X - self.M)


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
    assert result.status is ls.Status.STALLED and result.nit < 2000
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
    """``f = 1`` in float32: what a run lowers is the decay, by less than the last digit of ``f``."""

    shape, convex, lower_bound = (3, 2), True, 0.0

    def value_and_grad(self, X):
        return np.float32(1.0), np.zeros(self.shape, np.float32)


def test_decreases_below_the_digits_of_a_loss_in_float32_are_none():
    """Each step makes the factors ``1 - lam`` times as long: ``L`` falls in every one, in float32 in none."""
    lam, start = 1e-6, (np.ones((3, 1)), np.ones((2, 1)))
    problem, most = ls.Problem(Flat(), 1, lam), 3 * STALL_WINDOW
    values = 1.0 + 0.5 * lam * 5.0 * (1.0 - lam) ** (2 * np.arange(most + 1))
    assert (np.diff(values) < 0.0).all() and np.unique(values.astype(np.float32)).size == 1
    result = ls.solve(problem, GD(step_size=1.0), start, stop=ls.StoppingRule(max_iter=most))
    assert result.status is ls.Status.STALLED and result.nit == STALL_WINDOW + 1
    assert_allclose(result.fun, values[result.nit], rtol=1e-15)
    # A target is one to the last digit.
    stop = ls.StoppingRule(max_iter=most, target=0.5 * (values[9] + values[10]))
    found = ls.solve(problem, GD(step_size=1.0), start, stop=stop)
    assert found.status is ls.Status.TARGET_REACHED and found.nit == 10


def test_wrong_gradients_of_float32_are_named_all_the_same():
    class Rising(Float32):
        def value_and_grad(self, X):
            f, G = super().value_and_grad(X)
            return f, -G

    result = ls.solve(ls.Problem(Rising(np.float64), 2, 0.1), "gd_backtracking", "gaussian")
    assert result.status is ls.Status.INCONSISTENT


@pytest.mark.parametrize("name", MONOTONE)
def test_values_that_rise_along_their_gradients_are_named(name):
    result = ls.solve(ls.Problem(Wrong(lambda R: -R), 2, 0.1), name, "gaussian")
    assert result.status is ls.Status.INCONSISTENT and not result.success
    assert "values and gradients disagree: run check_objective" in result.message
    assert result.nfev < 100


@pytest.mark.parametrize("name", ["adam", "gd:step_size=0.05", "heavy_ball:step_size=0.05", "lbfgs"])
def test_a_run_whose_false_gradient_vanishes_has_not_converged(name):
    """Twice the gradient vanishes where the singular values are those of the data less ``lam/2`` and not ``lam``."""
    stop = ls.StoppingRule(grad_tol=1e-4)
    doubled, right = (
        ls.solve(ls.Problem(Wrong(lambda R, k=k: k * R), 2, 0.1), name, "gaussian", stop=stop) for k in (2, 1)
    )
    assert right.status is ls.Status.CONVERGED
    assert not doubled.success and (name == "lbfgs" or doubled.status is ls.Status.INCONSISTENT)


@pytest.mark.parametrize("k", [1.0, 2.0])
def test_a_run_whose_adapter_has_a_false_gradient_has_not_converged(k):
    @dataclass(frozen=True)
    class Scaled(ls.adapters.LoRA):
        name = "scaled"

        def value_and_grad(self, objective, theta, rank, grad):
            value = super().value_and_grad(objective, theta, rank, grad)
            grad *= k
            return value

    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.1, Scaled())
    result = ls.solve(problem, "adam", "gaussian", stop=ls.StoppingRule(grad_tol=1e-4))
    assert result.status is (ls.Status.CONVERGED if k == 1.0 else ls.Status.INCONSISTENT)
    assert ("check_adapter" in result.message) is (k != 1.0)


class Kinked:
    """``sum |X - 1|``: its subgradients are no derivatives where entries are 1."""

    shape, convex, lower_bound = (3, 2), True, 0.0

    def value_and_grad(self, X):
        return float(np.abs(X - 1.0).sum()), np.sign(X - 1.0)


def test_subgradients_are_no_contradiction():
    """At ``X = 1`` the subgradient 0 is one, and ``L`` has no derivative there."""
    result = ls.solve(ls.Problem(Kinked(), 1, 0.0), GD(step_size=0.1), (np.ones((3, 1)), np.ones((2, 1))))
    assert result.status is ls.Status.CONVERGED and result.nit == 0


@pytest.mark.parametrize("name", [name for name in ls.optimizers.registry.classes() if name not in ("als", "sgd")])
@pytest.mark.parametrize("gradient", [lambda R: -R, lambda R: np.roll(R, 1, axis=0), lambda R: R + 1.0, np.sign])
def test_runs_end_whatever_the_gradient_is(name, gradient):
    stop = ls.StoppingRule(max_iter=200)
    result = ls.solve(ls.Problem(Wrong(gradient), 2, 0.1), name, "gaussian", stop=stop)
    assert result.nfev <= 20 * 200 + 1000


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MONOTONE)
def test_no_true_pair_is_called_inconsistent_at_the_limit_of_its_precision(name, dtype):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        objective = LinearFineTuning(*(rng.standard_normal(s).astype(dtype) for s in ((6, 5), (5, 30), (6, 30))))
        result = ls.solve(ls.Problem(objective, 2, 0.1), name, stop=ls.StoppingRule(grad_tol=0.0, max_iter=1500))
        assert result.status in (ls.Status.STALLED, ls.Status.ITERATION_LIMIT)
        assert result.nfev < 3 * result.nit + 100


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


@pytest.mark.parametrize("name", [*MONOTONE, "proximal_gd", "trust_ncg", "lbfgs", "sam"])
def test_runs_end_once_the_objective_is_nan(name):
    result = ls.solve(ls.Problem(NaNAfter(12), 2, 0.1), name, "gaussian", stop=ls.StoppingRule(max_iter=1000))
    assert not result.success
    assert result.status in (ls.Status.DIVERGED, ls.Status.STALLED)
    assert result.nfev < 5000 and np.isfinite(result.theta).all()


@dataclass(frozen=True)
class Rejects(Optimizer):
    """A search that accepts its start and nothing else, without ever giving up."""

    name = "rejects"

    def update(self, problem, state, value, grad):
        state.accepted = np.array_equal(state.trial, state.theta)
        state.trial = state.theta + 1.0


@pytest.mark.parametrize(("finite", "status"), [(True, ls.Status.STALLED), (False, ls.Status.DIVERGED)])
def test_a_search_that_accepts_nothing_more_is_ended_and_it_is_said_what_it_met(finite, status):
    problem = ls.Problem(NaNAfter(10**6 if finite else 2), 2, 0.1)
    result = ls.solve(problem, Rejects(), "gaussian", stop=ls.StoppingRule(max_iter=1000))
    assert (result.status, result.nit) == (status, 0) and result.nfev == 1 + REJECTED_LIMIT + 1


@dataclass(frozen=True)
class Ends(Rejects):
    """It accepts its start, and says that there is nothing beyond."""

    name = "ends"

    def update(self, problem, state, value, grad):
        state.ended = ls.Status.STALLED


def test_a_method_that_has_no_further_trial_ends_at_the_point_that_it_accepts():
    result = ls.solve(ls.Problem(Wrong(lambda R: R), 2, 0.1), Ends(), "gaussian", stop=ls.StoppingRule(max_iter=9))
    assert (result.status, result.nit, result.nfev) == (ls.Status.STALLED, 0, 1)


@dataclass(frozen=True)
class Averages(Optimizer):
    """It evaluates the points of gradient descent, and accepts their average."""

    name = "averages"

    def update(self, problem, state, value, grad):
        state.theta = 0.99 * state.theta + 0.01 * state.trial
        state.trial = state.trial - 0.05 * grad


def test_an_accepted_point_that_was_not_evaluated_is_judged_itself():
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.1)
    start = ls.solve(problem, "gd", "gaussian", stop=ls.StoppingRule(max_iter=1)).trace.value[0]
    best = ls.solve(problem, "lbfgs", "gaussian").fun
    target = 0.5 * (start + best)
    reached = ls.solve(problem, Averages(), "gaussian", stop=ls.StoppingRule(target=target))
    assert reached.status is ls.Status.TARGET_REACHED and reached.fun <= target
    found = ls.solve(problem, Averages(), "gaussian", stop=ls.StoppingRule(grad_tol=1e-6))
    theta_size = float(np.linalg.norm(found.theta))
    assert found.status is ls.Status.CONVERGED and found.grad_norm <= 1.01e-6 * problem.units.slope * theta_size
    # Value and gradient norm of the last point, as the trace has them.
    assert_allclose([found.trace.value[-1], found.trace.grad_norm[-1]], [found.fun, found.grad_norm], rtol=1e-9)


@dataclass(frozen=True)
class HalfTheGradient(Optimizer):
    """It answers with the gradient in ``A`` alone, and does not say that this is a part of ``L``."""

    name = "half_the_gradient"

    def evaluate(self, problem, state, grad):
        value = problem.value_and_grad(state.trial, grad)
        problem.split(grad)[1][:] = 0.0
        return value

    def update(self, problem, state, value, grad):
        state.theta = state.trial
        state.trial = state.theta - 0.1 * grad


def test_a_gradient_that_a_method_makes_vanish_is_no_convergence():
    """The least squares problem in ``A`` alone is solved; the gradient in ``B`` is as large as it was."""
    result = ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), HalfTheGradient(), "gaussian")
    assert result.status is ls.Status.INCONSISTENT and "check_optimizer" in result.message
    assert result.grad_norm > 0.1


@dataclass(frozen=True)
class SaysThatItHasConverged(Optimizer):
    name = "says_so"
    word: object = None

    def update(self, problem, state, value, grad):
        state.ended = self.word


@pytest.mark.parametrize("word", [ls.Status.CONVERGED, ls.Status.TARGET_REACHED, "converged", True])
def test_whether_a_run_has_converged_is_not_for_the_method_to_say(word):
    with pytest.raises(ValueError, match=r"says_so has set state\.ended to .*expected Status\.STALLED"):
        ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), SaysThatItHasConverged(word), "gaussian")


@dataclass(frozen=True)
class OneFactorOnly(Optimizer):
    """It takes the first factor for all parameters."""

    name = "one_factor"

    def update(self, problem, state, value, grad):
        state.theta = state.trial
        state.trial = (problem.split(state.theta)[0] - problem.split(grad)[0]).ravel()


def test_a_trial_of_another_size_is_named():
    with pytest.raises(
        ValueError, match=r"method: one_factor has set state\.trial .*12.*expected a vector of 22 param"
    ):
        ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), OneFactorOnly(), "gaussian")


@dataclass(frozen=True)
class Casts(Optimizer):
    """It sets trial or point to numbers of another kind or size."""

    attribute: str = "trial"
    kind: type = int

    name = "casts"

    def update(self, problem, state, value, grad):
        state.theta = state.trial
        state.trial = state.theta - 0.1 * grad
        kept = getattr(state, self.attribute)
        setattr(state, self.attribute, kept[:3] if self.kind is float else kept.astype(self.kind))


@pytest.mark.parametrize("attribute", ["trial", "theta"])
@pytest.mark.parametrize("kind", [int, complex, float])
def test_parameters_of_another_kind_are_named(attribute, kind):
    """Cut to integers they ended in NumPy's words about casting, or were taken for a point."""
    with pytest.raises(ValueError, match=rf"method: casts has set state\.{attribute} to .*expected a vector of 22 "):
        ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), Casts(attribute, kind), "gaussian")


@dataclass(frozen=True)
class TakesItsOwnIterations(GD):
    """Gradient descent whose ``fast_forward`` answers what ``answer`` makes of the loop's limits."""

    answer: Callable[[object], object] = lambda limits: None

    name = "own_iterations"

    def fast_forward(self, problem, state, limits):
        return self.answer(limits)


def few(limits, kind=float):
    return np.ones(min(limits.steps, 2), kind)


@pytest.mark.parametrize(
    "answer",
    [
        few,
        lambda limits: (few(limits), few(limits)),
        lambda limits: [few(limits), few(limits), True],
        lambda limits: (few(limits), few(limits)[:1], True),
        lambda limits: (few(limits, int), few(limits), True),
        lambda limits: (1.0, 1.0, True),
        lambda limits: (few(limits), few(limits), None),
    ],
)
def test_iterations_of_a_method_that_are_none_are_named(answer):
    """They ended in Python's words about unpacking, in the trace, or never."""
    with pytest.raises(TypeError, match=r"method: what own_iterations\.fast_forward returns: expected None or a tuple"):
        ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), TakesItsOwnIterations(answer=answer), "gaussian")


@pytest.mark.parametrize("step", ["0.1", -1.0, True, math.nan, 0.0])
def test_a_step_for_many_runs_that_is_none_is_named(step):
    """A text was taken for its number, and with -1 all runs diverged, where those by ``solve`` did not."""
    method = type("Own", (GD,), {"name": "own_step", "batched_step": lambda self, problem: step})()
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.1)
    with pytest.raises(
        (TypeError, ValueError), match=r"^method: what own_step\.batched_step returns: expected a finite"
    ):
        ls.solve_batch(problem, method, "gaussian", seed=[0, 1])
    study = ls.Study(problem, {"seed": [0, 1]}, method, init="gaussian")
    with pytest.raises((TypeError, ValueError), match=r"what own_step\.batched_step returns: expected a finite"):
        study.repeat(seed=0)


@pytest.mark.parametrize("word", ["no", None, np.array([1, 2])])
def test_whether_a_method_runs_compiled_is_true_or_false(word):
    method = type("Own", (GD,), {"name": "own", "runs_compiled": lambda self, problem: word})()
    with pytest.raises(TypeError, match=r"^method: what own\.runs_compiled returns: expected True or False"):
        ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), method, "gaussian")


@pytest.mark.parametrize("given", [None, "x"])
def test_what_a_loop_of_its_own_asks_for_at_no_point_is_named(given):
    descend = {"accept": lambda self, f, z, product, accept: accept(given), "f": lambda self, f, z, *rest: f(given)}
    for name, function in descend.items():
        method = type("Own", (DrivenOptimizer,), {"name": name, "descend": function})()
        with pytest.raises(TypeError, match=r"^z: expected a vector of 22 numbers, got (None|'x')"):
            ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), method, "gaussian")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda limits: (np.ones(limits.steps + 1), np.ones(limits.steps + 1), True), "at most limits.steps"),
        (lambda limits: (np.empty(0), np.empty(0), False), "to_decide = True where it took no iteration"),
    ],
)
def test_more_iterations_than_are_left_and_a_call_without_end_are_named(answer, words):
    """A run was longer than ``max_iter``, or never ended."""
    method = TakesItsOwnIterations(answer=answer)
    with pytest.raises(ValueError, match=rf"own_iterations\.fast_forward returns: expected {words}"):
        ls.solve(
            ls.Problem(OBJECTIVES["denoising"], 2, 0.1),
            method,
            "gaussian",
            stop=ls.StoppingRule(max_iter=50, time_limit=20),
        )


@pytest.mark.parametrize("name", ["lbfgs", "trust_ncg"])
def test_a_loop_of_its_own_that_gives_up_has_not_converged(name):
    """No gradient is below a tolerance of 1e-300, and at the limit of rounding nothing more is gained."""
    stop = ls.StoppingRule(grad_tol=1e-300)
    result = ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), name, "gaussian", stop=stop)
    assert result.status is ls.Status.STALLED and not result.success
    assert 0.0 < result.grad_norm < 1e-7


@pytest.mark.parametrize("name", ["gd:step_size=0.1", "lbfgs"])
def test_a_gradient_that_is_no_number_ends_a_run_though_the_value_is_one(name):
    result = ls.solve(ls.Problem(Wrong(lambda R: R * math.nan), 2, 0.1), name, "gaussian")
    assert result.status is ls.Status.DIVERGED and result.nfev == 1 and "at the start" in result.message


def test_smoothness_that_is_no_number_is_refused():
    objective = NaNAfter(10**6)
    objective.smoothness = math.nan
    with pytest.raises(ValueError, match="states smoothness: expected a finite number"):
        ls.solve(ls.Problem(objective, 2, 0.1), "gd")


@pytest.mark.parametrize("name", ["lbfgs", "trust_ncg", "gd_backtracking"])
def test_a_limit_on_calls_counts_trials_and_hessian_products(name):
    result = ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), name, stop=ls.StoppingRule(max_calls=9))
    assert result.status is ls.Status.CALL_LIMIT and result.nfev == 9
    assert "raise max_calls" in result.message


@pytest.mark.parametrize("name", ["gd", "lbfgs", "adam", "als"])
def test_a_run_without_time_for_one_call_has_its_start_in_the_trace(name):
    """Its table and its picture are those of the start, as where a step takes longer to derive than there is time."""
    problem, stop = ls.Problem(OBJECTIVES["denoising"], 2, 0.1), ls.StoppingRule(time_limit=1e-9)
    result = ls.solve(problem, name, stop=stop)
    assert result.status is ls.Status.TIME_LIMIT and result.nfev == 0
    (value,) = result.trace.value
    assert (value, result.trace.iteration) == (pytest.approx(problem.value(result.A, result.B), rel=1e-12), [0])
    table = ls.compare(problem, [name, "nesterov"], stop=stop)
    assert [row.status for row in table.rows] == ["time limit"] * 2 and "time limit" in table.conclusion()
    ls.plotting.comparison_figure(table, "a start")


# ---------------------------------------------------------------------- callbacks
@pytest.mark.parametrize("name", ["gd", "lbfgs"])
def test_callbacks_see_but_do_not_touch(name):
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.1)

    def write(point):
        point.theta[:] = np.nan

    with pytest.raises(ValueError, match="read-only") as caught:
        ls.solve(problem, name, callback=write)
    assert np.isfinite(caught.value.result.theta).all()
    for factor in ("A", "B"):
        with pytest.raises(ValueError, match="read-only"):
            ls.solve(problem, name, callback=lambda point, factor=factor: getattr(point, factor).fill(0.0))


@pytest.mark.parametrize("asked", [True, np.True_, np.bool_(1)])
def test_a_true_of_either_kind_stops(asked):
    result = ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), callback=lambda point: asked)
    assert (result.status, result.nit) == (ls.Status.STOPPED_BY_CALLBACK, 0)


@pytest.mark.parametrize("name", ["gd", "lbfgs"])
def test_the_exception_of_an_iterator_that_is_exhausted_stops_and_does_not_pass_through(name):
    left = iter(range(4))
    result = ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), name, callback=lambda point: next(left))
    assert (result.status, result.nit) == (ls.Status.STOPPED_BY_CALLBACK, 4)


@pytest.mark.parametrize("answer", [None, False, np.False_, 1, "yes", np.ones(3)])
def test_other_answers_do_not(answer):
    stop = ls.StoppingRule(max_iter=3)
    assert ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), stop=stop, callback=lambda point: answer).nit == 3


@pytest.mark.parametrize("name", ["gd", "lbfgs"])
def test_what_a_callback_raises_brings_the_result_so_far(name):
    seen = []

    def callback(point):
        seen.append(point.theta.copy())
        if point.nit == 4:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), name, callback=callback)
    result = caught.value.result
    assert (result.nit, result.status) == (4, ls.Status.STOPPED_BY_CALLBACK)
    assert_array_equal(result.theta, seen[-1])
    assert "iteration 4" in caught.value.__notes__[0]
    assert any(entry.name == "callback" for entry in caught.traceback)


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
