"""The loop: starts, stopping rules, accounting, refusals. What holds for every optimizer is in tests/optimizers."""

import contextlib
import copy
import dataclasses
import json
import re
import sys
import threading
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import lorasolve as ls
from lorasolve import loop
from lorasolve._support import threads as _threads
from lorasolve.adapters import DoRA, LoRA
from lorasolve.monitor import STALL_WINDOW, Monitor
from lorasolve.objectives import Denoising, LinearFineTuning
from lorasolve.optimizers import GD, Adam, GDBacktracking
from lorasolve.optimizers import registry as optimizers
from lorasolve.optimizers.base import DrivenOptimizer, Optimizer, State
from lorasolve.result import Trace
from lorasolve.status import Status

M = np.random.default_rng(0).standard_normal((6, 5))


def problem(rank=2, lam=0.1, adapter="lora"):
    return ls.Problem(Denoising(M), rank, lam, adapter)


class Poisoned:
    """||X - M||^2 / 2 that answers with NaN outside a ball."""

    shape = (6, 5)

    def __init__(self, radius):
        self.radius = radius

    def value_and_grad(self, X):
        outside = np.linalg.norm(X) > self.radius
        return (np.nan if outside else 0.5 * np.sum((X - M) ** 2)), X - M


# ---------------------------------------------------------------------- starts
@pytest.mark.parametrize("method", ["gd", "lbfgs"])
def test_a_loss_of_yours_that_is_no_number_at_the_start_is_to_be_checked(method):
    """The advice was other units or another start, of which none helps."""
    result = ls.solve(ls.Problem(Poisoned(0.0), 2, 0.1), method, "gaussian")
    assert result.status is ls.Status.DIVERGED and "check_objective" in result.message
    assert not ls.check_objective(Poisoned(0.0)).ok


def test_zero_start_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"A = B = 0 is a stationary point"):
        ls.solve(problem(), init=(np.zeros((6, 2)), np.zeros((5, 2))))


def test_factor_frozen_at_zero_is_refused():
    with pytest.raises(ValueError, match="B = 0, and the factor B is frozen"):
        ls.solve(problem(adapter=LoRA(frozen="B")), init="lora")
    assert ls.solve(problem(adapter=LoRA(frozen="A")), init="lora").nit > 0


@pytest.mark.parametrize(
    ("init", "error", "words"),
    [
        ((np.ones((6, 3)), np.ones((5, 2))), ValueError, r"A: expected shape \(6, 2\), got \(6, 3\)"),
        ((np.ones((6, 2)), np.ones(5)), ValueError, "B: expected 2 dimensions"),
        ((np.ones((6, 2)), np.full((5, 2), np.inf)), ValueError, "B: has non-finite entries"),
        ((np.ones((6, 2), dtype=complex), np.ones((5, 2))), TypeError, "A: expected real numbers"),
        ("lorra", ValueError, "Did you mean 'lora'"),
        (3, TypeError, "init: expected the name"),
        (np.ones((6, 2)), TypeError, r"init: .* an Init, a Result or factors \(A, B\), got an array of shape \(6, 2\)"),
    ],
)
def test_bad_starts(init, error, words):
    with pytest.raises(error, match=words):
        ls.solve(problem(), init=init)


def test_given_factors_are_not_changed():
    A, B = np.asfortranarray(np.ones((6, 2))), np.ones((5, 2))
    B.setflags(write=False)
    ls.solve(problem(), init=(A, B), stop=ls.StoppingRule(max_iter=5))
    assert_array_equal(A, 1.0)
    assert_array_equal(B, 1.0)


def test_an_earlier_result_continues():
    first = ls.solve(problem(), stop=ls.StoppingRule(max_iter=20))
    second = ls.solve(problem(), init=first, stop=ls.StoppingRule(max_iter=20))
    assert second.trace.value[0] == pytest.approx(first.fun, rel=1e-14)
    assert second.fun < first.fun
    with pytest.raises(ValueError, match=r"6 x 5 at rank 3, .*, 33 parameters, got one with 6 x 5 at rank 2"):
        ls.solve(problem(rank=3), init=first)


@pytest.mark.parametrize("method", ["lbfgs~pissa", "gd+periodic:period=5", "gd+galore:period=5/lam=0"])
@pytest.mark.parametrize("engine", ["compiled", "interpreted"])
def test_a_result_with_a_merged_part_continues_on_the_problem_that_is_given(method, engine):
    """The value at the start, written out for the loss and the decay that are asked for."""
    rng = np.random.default_rng(0)
    W0, Z, Y = rng.standard_normal((5, 6)), rng.standard_normal((6, 9)), rng.standard_normal((5, 9))
    first = ls.solve(
        ls.Problem(LinearFineTuning(W0, Z, Y), 3, 1.0), method, stop=ls.StoppingRule(max_iter=12), engine=engine
    )
    assert np.linalg.norm(first.merged) > 0.1
    U = rng.standard_normal((5, 6))
    for asked, f in (
        (ls.Problem(LinearFineTuning(W0, Z, Y), 3, 0.01), lambda X: ((W0 + X) @ Z - Y) ** 2 / 9),
        (ls.Problem(Denoising(U), 3, 0.1), lambda X: (X - U) ** 2),
    ):
        second = ls.solve(asked, "gd", init=first, stop=ls.StoppingRule(max_iter=3), engine=engine)
        assert second.problem.lam == asked.lam
        for result, value in ((first, second.trace.value[0]), (second, second.fun)):
            decay = 0.5 * asked.lam * ((result.A**2).sum() + (result.B**2).sum())
            assert value == pytest.approx(0.5 * f(result.X).sum() + decay, rel=1e-12)
    # The problem of the last stage has what was merged in its frozen weight already, and so has a copy.
    for last in (first.problem, copy.deepcopy(first.problem)):
        third = ls.solve(last, "gd", init=first, stop=ls.StoppingRule(max_iter=3), engine=engine)
        assert third.trace.value[0] == pytest.approx(first.fun, rel=1e-12) and third.merged is None


def test_the_problem_of_a_last_stage_is_known_by_identity_where_its_content_cannot_be_read():
    class Locked(Denoising):
        def __init__(self, M):
            super().__init__(M)
            self.lock = threading.Lock()

        def merged(self, update):
            return Locked(self.M - update)

    first = ls.solve(ls.Problem(Locked(M), 1), "gd+periodic:period=3", stop=ls.StoppingRule(max_iter=7))
    assert np.linalg.norm(first.merged) > 0.1
    again = ls.solve(first.problem, "gd", init=first, stop=ls.StoppingRule(max_iter=1))
    assert again.trace.value[0] == pytest.approx(first.fun, rel=1e-12) and again.merged is None


def test_a_result_of_other_parameters_is_no_start():
    other = ls.solve(ls.Problem(Denoising(np.ones((5, 6))), 2, 0.1), stop=ls.StoppingRule(max_iter=2))
    with pytest.raises(ValueError, match=r"init: expected a result of a problem with 6 x 5 .*, got one with 5 x 6"):
        ls.solve(ls.Problem(Denoising(np.ones((6, 5))), 2, 0.1), init=other)
    gates = ls.solve(
        ls.Problem(Denoising(np.ones((6, 5))), 2, 0.1, "softmax_gates"), "adam", stop=ls.StoppingRule(max_iter=2)
    )
    with pytest.raises(ValueError, match=r"adapter 'sora', 24 parameters, got one with .*adapter 'softmax_gates', 24"):
        ls.solve(ls.Problem(Denoising(np.ones((6, 5))), 2, 0.1, "sora"), "proximal_gd", init=gates)


# ---------------------------------------------------------------------- arguments
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "gd_backtrack"}, ValueError, "Did you mean 'gd_backtracking'"),
        ({"method": 3}, TypeError, "method: expected"),
        ({"method": "gd+periodical"}, ValueError, "Did you mean 'periodic'"),
        ({"method": "gd@lorra"}, ValueError, "Did you mean 'lora'"),
        ({"engine": "fast"}, ValueError, "engine: expected 'compiled' or 'interpreted'"),
        ({"seed": -1}, ValueError, "seed: expected an integer >= 0"),
        ({"seed": 0.5}, TypeError, "seed"),
    ],
)
def test_bad_arguments(options, error, words):
    with pytest.raises(error, match=words):
        ls.solve(problem(), **options)


def test_a_problem_is_asked_for():
    with pytest.raises(TypeError, match="problem: expected a Problem, got Denoising\\(6 x 5\\)"):
        ls.solve(Denoising(M))


@pytest.mark.parametrize(
    "settings",
    [{"max_iter": 0}, {"max_iter": 1.5}, {"grad_tol": -1.0}, {"grad_tol": 1.0}, {"target": np.nan}, {"time_limit": 0}],
)
def test_bad_stopping_rules(settings):
    with pytest.raises((ValueError, TypeError), match=next(iter(settings))):
        ls.StoppingRule(**settings)


def test_the_adapter_can_be_replaced():
    result = ls.solve(problem(), ls.Method(adapter=LoRA(alpha=6.0)), stop=ls.StoppingRule(max_iter=10))
    assert result.problem.scale == 3.0
    assert_allclose(result.X, 3.0 * result.A @ result.B.T, atol=1e-14)


def test_no_seed_still_runs():
    assert ls.solve(problem(), seed=None, stop=ls.StoppingRule(max_iter=5)).seed is None


# ---------------------------------------------------------------------- stopping
def test_convergence_means_what_the_rule_says():
    result = ls.solve(problem(), stop=ls.StoppingRule(grad_tol=1e-6))
    assert result.status is ls.Status.CONVERGED
    tolerance = 1e-6 * result.problem.units.slope * np.linalg.norm(result.theta)
    assert result.grad_norm <= tolerance < result.trace.grad_norm[-2]


def test_iteration_limit_counts_accepted_iterates():
    result = ls.solve(problem(), "gd_backtracking", stop=ls.StoppingRule(max_iter=17))
    assert result.status is ls.Status.ITERATION_LIMIT
    assert result.nit == 17 == result.trace.iteration[-1]
    assert result.nfev > 18
    assert "raise max_iter" in result.message


ENDS_ELSEWHERE = {name for name, cls in optimizers.classes().items() if not cls.keeps_stationary_points}


@pytest.mark.parametrize("method", ["gd@dora", "gd+periodic:period=20", "gd@softmax_gates", "gd@polar~balanced/lam=0"])
def test_a_run_at_its_limit_goes_on_where_its_message_says(method):
    """From its factors alone, as the message had it, DoRA lost its magnitudes and PeriodicLoRA what it had merged."""
    rng = np.random.default_rng(0)
    data = (rng.standard_normal(shape) for shape in ((5, 6), (6, 40), (5, 40)))
    problem = ls.Problem(LinearFineTuning(*data), 2, 0.1)
    result = ls.solve(problem, method, stop=ls.StoppingRule(max_iter=50))
    assert result.status is ls.Status.ITERATION_LIMIT and "continue with init=result" in result.message
    further = ls.solve(problem, method, init=result, stop=ls.StoppingRule(max_iter=50))
    assert further.trace.value[0] == pytest.approx(result.fun, rel=1e-12) and further.fun < result.fun
    from_factors = ls.solve(problem, method, init=(result.A, result.B), stop=ls.StoppingRule(max_iter=1))
    assert from_factors.trace.value[0] > 1.001 * result.fun


@pytest.mark.parametrize("name", sorted(optimizers.classes()))
def test_at_the_iteration_limit_only_methods_are_named_that_are_others_and_end_there_too(name):
    if optimizers.classes()[name]().refusal(problem()) is not None:
        pytest.skip("cannot run here")
    text = ls.solve(problem(), name, "gaussian", stop=ls.StoppingRule(max_iter=1, grad_tol=0.0)).message
    named = re.findall("'([a-z_]+)'", text)
    assert "iteration limit" in text and name not in named
    assert bool(named) is (name not in ENDS_ELSEWHERE)
    # Of methods that know the curvature, those that do not are no cure.
    assert name not in ("lbfgs", "trust_ncg") or named == [{"lbfgs": "trust_ncg", "trust_ncg": "lbfgs"}[name]]


def test_where_a_run_ends_no_method_is_named_that_the_adapter_refuses():
    W0, data = np.ones((6, 5)), np.eye(5)
    detached = ls.Problem(LinearFineTuning(W0, data, M), 2, 0.1, DoRA(detach=True))
    assert ls.Method.of("lbfgs").refusal(detached) and ls.Method.of("gd_backtracking").refusal(detached)
    ends = {
        ls.Status.ITERATION_LIMIT: ls.solve(detached, "gd", stop=ls.StoppingRule(max_iter=1, grad_tol=0.0)),
        ls.Status.DIVERGED: ls.solve(detached, GD(step_size=1e9)),
    }
    for status, result in ends.items():
        assert result.status is status and "'" not in result.message


def test_a_run_at_the_limit_of_its_precision_stalls():
    result = ls.solve(problem(), GD(step_size=0.1), stop=ls.StoppingRule(grad_tol=0.0, max_iter=10**6))
    assert result.status is ls.Status.STALLED
    assert result.nit > STALL_WINDOW
    assert result.grad_norm < 1e-10


def test_divergence_keeps_the_last_finite_point():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = ls.solve(problem(), GD(step_size=3.0), "gaussian")
    assert result.status is ls.Status.DIVERGED and not result.success
    assert np.isfinite(result.theta).all() and np.isfinite(result.fun)
    assert "with step 3; try a step size of at most" in result.message


def test_a_diverged_result_goes_to_scipy_and_to_json_as_any_other():
    class Barrier:
        """Its values overflow far out, where this run is started."""

        shape = (2, 2)

        def value_and_grad(self, X):
            return float(np.sum(X**4)), 4.0 * X**3

    huge = np.full((2, 1), 1e60)
    result = ls.solve(ls.Problem(Barrier(), 1), GD(step_size=1.0), (huge, huge))
    assert result.status is ls.Status.DIVERGED and np.isinf(result.fun)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert result.to_scipy().success is False
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told["fun"] is None and told["status"] == "diverged" and told["success"] is False
    assert ls.Method.parse(told["method"]) == result.method
    assert {name for name in told if not hasattr(result, name)} == set()


def test_the_update_of_a_diverged_run_is_there_without_a_warning():
    """Of DoRA the squares of the directions overflow; a comparison writes the singular values of all updates."""
    rng = np.random.default_rng(0)
    data = (rng.standard_normal(shape) for shape in ((5, 6), (6, 40), (5, 40)))
    problem = ls.Problem(LinearFineTuning(*data), 2, 0.1)
    with warnings.catch_warnings(action="error"):
        table = ls.compare(problem, "gd:step_size=1e5@dora", stop=ls.StoppingRule(max_iter=60))
        assert table.rows[0].status == "diverged" and table.results[0].X.shape == (5, 6)
        assert json.dumps(table.to_dict(), allow_nan=False)


@dataclass(frozen=True)
class Decomposes(Optimizer):
    """A step far too long, and a decomposition of what came of it after it is accepted."""

    name = "decomposes"

    def init(self, problem, theta, rng):
        return State(theta.copy(), theta.copy(), step=1e200)

    def update(self, problem, state, value, grad):
        state.theta, state.trial = state.trial, state.theta
        if not np.isfinite(value):
            raise np.linalg.LinAlgError("of what has overflowed")
        state.trial[:] = state.theta - state.step * grad


def test_a_decomposition_that_fails_keeps_the_last_finite_point():
    A, B = np.ones((6, 2)), np.ones((5, 2)) * [1.0, 2.0]
    result = ls.solve(problem(), Decomposes(), (A, B))
    assert result.status is ls.Status.DIVERGED
    assert_array_equal(result.A, A)
    assert_array_equal(result.B, B)
    assert result.fun == problem().value(A, B)


@pytest.mark.parametrize("name", ["gd", "heavy_ball", "heavy_ball:momentum=0.5", "nesterov", "nesterov:momentum=0.9"])
def test_the_step_that_a_diverged_run_is_advised_does_not_diverge(name):
    rng = np.random.default_rng(0)
    method = ls.Method.parse(name)
    for k in range(10):
        m, n, unit = *rng.integers(3, 12, 2), 10.0 ** rng.uniform(-2, 3)
        tried = ls.Problem(Denoising(unit * rng.standard_normal((m, n))), int(rng.integers(1, min(m, n) + 1)))
        diverged = ls.solve(tried, method.with_step(1e3), seed=k)
        advised = float(re.search(r"at most ([^,]*),", diverged.message).group(1))
        again = ls.solve(tried, method.with_step(advised), seed=k, stop=ls.StoppingRule(1000))
        assert again.status is not ls.Status.DIVERGED
        assert again.fun < tried.value_at_zero


def test_a_step_that_diverged_is_not_advised_again_whatever_the_curvature_at_the_start_says():
    """``-x``, and a steep wall beyond 1 of which the start at 0.09 knows nothing."""

    class Wall:
        shape = (1, 1)

        def value_and_grad(self, X):
            over = np.maximum(X - 1.0, 0.0)
            return float(np.sum(1e9 * over**4 - X)), 4e9 * over**3 - 1.0

    step = 0.4
    result = ls.solve(ls.Problem(Wall(), 1), GD(step_size=step), (np.full((1, 1), 0.3),) * 2)
    assert result.status is ls.Status.DIVERGED
    assert float(re.search(r"at most ([^,]*),", result.message).group(1)) <= step / 2


def test_a_start_that_is_not_finite_in_value_diverges_at_once():
    result = ls.solve(ls.Problem(Poisoned(0.1), 2), GD(step_size=0.1), (np.ones((6, 2)), np.ones((5, 2))))
    assert result.status is ls.Status.DIVERGED and result.nit == 0
    assert_array_equal(result.theta, 1.0)


def test_a_line_search_steps_back_from_non_finite_values():
    # The first trial leaves the ball by far, the minimiser of f lies inside.
    result = ls.solve(ls.Problem(Poisoned(1.2 * np.linalg.norm(M)), 5, 0.1), GDBacktracking(step_size=50.0))
    assert result.success
    assert np.isfinite(result.trace.value).all()
    sigma = np.linalg.svd(M, compute_uv=False)
    assert_allclose(np.linalg.svd(result.X, compute_uv=False)[:5], np.maximum(sigma - 0.1, 0.0), atol=1e-6)


def test_a_driven_method_reports_a_non_finite_start():
    result = ls.solve(ls.Problem(Poisoned(0.1), 2), "lbfgs", (np.ones((6, 2)), np.ones((5, 2))))
    assert result.status is ls.Status.DIVERGED


def test_errors_of_the_user_pass_through():
    class Broken:
        shape = (3, 2)

        def value_and_grad(self, X):
            raise ZeroDivisionError("mine")

    for optimizer in ("gd", "lbfgs"):
        with pytest.raises(ZeroDivisionError, match="mine"):
            ls.solve(ls.Problem(Broken(), 1), GD(step_size=0.1) if optimizer == "gd" else optimizer)

    def callback(state):
        raise RuntimeError("from the callback")

    with pytest.raises(RuntimeError, match="from the callback"):
        ls.solve(problem(), callback=callback)


@pytest.mark.parametrize("method", ["gd", "adam", "lbfgs", "gd+periodic:period=2"])
def test_factors_that_a_callback_keeps_are_those_of_their_iteration(method):
    """They were views of memory that is written to in turn: of five kept there were two, again and again."""
    kept = []
    stop = ls.StoppingRule(max_iter=5)
    end = ls.solve(problem(), method, stop=stop, callback=lambda now: kept.append((now.A, now.B, now.theta.copy())))
    assert len(kept) == 6
    for A, B, theta in kept:
        assert_array_equal(np.concatenate([A.ravel(), B.ravel()]), theta)
    assert_array_equal(kept[-1][0], end.A)


def test_what_a_callback_sees():
    rows = []

    def callback(state):
        rows.append((state.nit, state.nfev, state.value, state.grad_norm, state.A.copy(), state.B.copy()))

    ls.solve(problem(), "gd_backtracking", stop=ls.StoppingRule(max_iter=15), callback=callback)
    assert [row[0] for row in rows] == list(range(16))
    assert np.all(np.diff([row[1] for row in rows]) >= 1)
    for _, _, value, norm, A, B in rows:
        assert value == pytest.approx(problem().value(A, B), rel=1e-12)
        assert norm == pytest.approx(np.hypot(*map(np.linalg.norm, problem().grad(A, B))), rel=1e-9)


# ---------------------------------------------------------------------- accounting
def test_every_oracle_call_is_counted():
    class Counting:
        shape = (6, 5)
        smoothness = 1.0
        calls = 0

        def value_and_grad(self, X):
            self.calls += 1
            return 0.5 * float(np.sum((X - M) ** 2)), X - M

    for optimizer in (GD(step_size=0.05), "lbfgs"):
        objective = Counting()
        wrapped = ls.Problem(objective, 2, 0.1)
        result = ls.solve(wrapped, optimizer, (np.ones((6, 2)), np.ones((5, 2))), stop=ls.StoppingRule(max_iter=25))
        # Not counted: what tolerances, scalings and the message are relative to (f and its gradient at X = 0), and the
        # result, computed anew.
        assert objective.calls == 2 + result.nfev + 1


def test_hessian_products_count_as_oracle_calls():
    class Counting(Denoising):
        products = 0

        def factor_hvp(self, A, B, U, V):
            self.products += 1
            return super().factor_hvp(A, B, U, V)

    objective = Counting(M)
    result = ls.solve(ls.Problem(objective, 2, 0.1), "trust_ncg")
    assert objective.products > 0
    assert result.nfev >= objective.products + result.nit


def test_products_that_a_method_asks_for_are_those_of_the_point_where_it_asks():
    checked = []

    class Newton(DrivenOptimizer):
        name = "newton"

        def minimize(self, theta, oracle, accept):
            d, h = np.cos(np.arange(theta.size)), 1e-5
            for step in (0.0, 1.0, 0.0, -1.0):
                theta += step  # the array is its own
                found = oracle.hessian_product(theta, d)
                expected = (oracle(theta + h * d)[1] - oracle(theta - h * d)[1]) / (2.0 * h)
                assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
                checked.append(found)

    ls.solve(ls.Problem(Denoising(M), 2, 0.1), Newton(), seed=0)
    assert not np.allclose(checked[0], checked[1], rtol=1e-2)


@pytest.mark.parametrize("method", ["gd", "gd:step_size=0.002", "gd_mixed"])
@pytest.mark.parametrize("name", ["denoising", "sensing", "linear"])
def test_how_busy_the_machine_is_does_not_show_in_the_bits_of_a_run(monkeypatch, name, method):
    rng = np.random.default_rng(0)
    objective = {
        "denoising": lambda: ls.objectives.Denoising(rng.standard_normal((20, 15))),
        "sensing": lambda: ls.objectives.MatrixSensing(rng.standard_normal((60, 8, 8)), rng.standard_normal(60)),
        "linear": lambda: ls.objectives.LinearFineTuning(*(rng.standard_normal((130, k)) for k in (130, 20, 20))),
    }[name]()
    rule = ls.StoppingRule(max_iter=700, grad_tol=1e-9)

    def run(seconds):
        # So long may a compiled call last: from one iteration in each to all in one.
        monkeypatch.setattr("lorasolve.monitor.UNATTENDED_SECONDS", seconds)
        found = ls.solve(ls.Problem(objective, 3, 0.5), method, stop=rule, seed=0)
        # Values first: the first that differs says in which iteration the runs part.
        return list(found.trace.value), found.nit, found.nfev, found.status, found.A.tobytes(), found.B.tobytes()

    first = run(1e-9)
    for seconds in (1e-3, 1e3):
        for got, expected in zip(run(seconds), first):
            assert got == expected


def test_long_traces_are_thinned_and_keep_both_ends():
    trace = Trace()
    for k in range(50_000):
        trace.record(k, float(k), 0.0, 0.0, 0.1, force=k == 0)
    trace.record(49_999, 49_999.0, 0.0, 0.0, 0.1, force=True)
    assert len(trace) <= Trace.LIMIT + 1
    assert (trace.iteration[0], trace.iteration[-1]) == (0, 49_999)
    assert trace.iteration == [int(value) for value in trace.value]


@contextlib.contextmanager
def interrupted_in(codes, after):
    """Raise what Ctrl-C does before a line of functions, after so many lines of them."""
    lines = iter(range(after))

    def at_line(frame, event, argument):
        if event == "line" and next(lines, None) is None:
            raise KeyboardInterrupt
        return at_line

    sys.settrace(lambda frame, event, argument: at_line if frame.f_code in codes else None)
    try:
        yield
    finally:
        sys.settrace(None)


@pytest.mark.parametrize("method", ["gd", "adam"])
def test_an_interruption_leaves_no_half_recorded_points(method, monkeypatch):
    """At each of the lines that record points and thin them; the course up to there is that of the whole run."""
    monkeypatch.setattr(Trace, "LIMIT", 6)
    stop = ls.StoppingRule(max_iter=40, grad_tol=0.0)
    whole = ls.solve(problem(), method, stop=stop, callback=lambda point: None).trace
    recorders = {Trace.record.__code__, Trace.extend.__code__, Trace._thin.__code__}

    ended = []
    for after in range(1000):
        try:
            with interrupted_in(recorders, after):
                result = ls.solve(problem(), method, stop=stop)
        except KeyboardInterrupt:
            break  # at the last point, after the run
        columns = result.trace.to_dict()
        assert {len(column) for column in columns.values()} == {len(result.trace)}
        assert columns["iteration"] == sorted(set(columns["iteration"]))
        for k, value, norm in zip(columns["iteration"][:-1], columns["value"], columns["grad_norm"]):
            if k in whole.iteration:
                at = whole.iteration.index(k)
                assert (value, norm) == pytest.approx((whole.value[at], whole.grad_norm[at]), rel=1e-9)
        ended.append(result.nit)
    assert len(ended) > 20
    assert ended[0] == 0 and (method == "gd" or ended[-1] > 30)


@pytest.mark.parametrize("method", ["gd", "heavy_ball", "adam", "scaled_gd", "adam+periodic:period=7"])
def test_an_interruption_leaves_the_count_of_the_last_point(method):
    """At each line of the loop and of an update: the last entry of the trace is that of the point returned."""
    stop = ls.StoppingRule(max_iter=40, grad_tol=0.0)
    whole = ls.solve(problem(), method, seed=0, stop=stop, callback=lambda point: None).trace
    optimizer = type(ls.Method.of(method).optimizer)
    parts = (loop.Trials.decide, loop.Stages.turn, loop.Stages._judge, Monitor.accept, optimizer.update)
    codes = {part.__code__ for part in (*parts, *filter(None, [getattr(optimizer, "advance", None)]))}

    for after in range(1, 700, 3):
        with interrupted_in(codes, after):
            result = ls.solve(problem(), method, seed=0, stop=stop, callback=lambda point: None)
        if not result.nit:
            continue
        assert result.status is Status.INTERRUPTED and result.trace.iteration[-1] == result.nit
        if "periodic" in method and result.nit % 7 == 0 and result.merged is not None:
            continue  # the start of a stage is no iterate
        assert result.trace.value[-1] == pytest.approx(result.fun, rel=1e-12)
        at = whole.iteration.index(result.nit)
        assert result.fun == pytest.approx(whole.value[at], rel=1e-12)


@pytest.mark.parametrize("method", ["flat_lora", "ggpo", "mgpo", "mgpo_trainer", "sam", "weight_noise"])
def test_an_interruption_keeps_the_counted_point_of_a_perturbed_method(method):
    """The method underneath writes its next trial where its last point was: that array was returned half written."""
    stop, points = ls.StoppingRule(max_iter=10), []
    ls.solve(problem(), method, seed=0, stop=stop, callback=lambda point: points.append(point.theta.copy()))
    optimizer = type(ls.Method.of(method).optimizer)
    codes = {part.__code__ for part in (optimizer.update, optimizer.observe, Adam.update, Adam.step)}

    for after in range(1, 90):
        with interrupted_in(codes, after):
            result = ls.solve(problem(), method, seed=0, stop=stop, callback=lambda point: None)
        assert result.status is Status.INTERRUPTED
        assert_array_equal(result.theta, points[result.nit])


@pytest.mark.parametrize("method", ["lbfgs", "trust_ncg"])
def test_an_interruption_keeps_the_counted_point_of_a_method_with_a_loop_of_its_own(method):
    """Between accepting a point and counting it: one was returned under the number of the point before."""
    stop, points = ls.StoppingRule(max_iter=8), []
    ls.solve(problem(), method, seed=0, stop=stop, callback=lambda point: points.append(point.theta.copy()))
    accept = next(code for code in loop.drive.__wrapped__.__code__.co_consts if hasattr(code, "co_name"))

    ended = []
    for after in range(1, 90):
        with interrupted_in({accept, Monitor.accept.__code__, Monitor.count.__code__}, after):
            result = ls.solve(problem(), method, seed=0, stop=stop, callback=lambda point: None)
        assert result.status is Status.INTERRUPTED and result.trace.iteration[-1] == result.nit
        assert_array_equal(result.theta, points[result.nit])
        ended.append(result.nit)
    assert ended[-1] > 2


def test_the_result_is_recomputed_and_not_taken_from_the_loop():
    rng = np.random.default_rng(1)
    objective = LinearFineTuning(*(rng.standard_normal(size) for size in ((6, 5), (5, 60), (6, 60))))
    result = ls.solve(ls.Problem(objective, 2, 0.1), ls.optimizers.SGD(batch_size=7), stop=ls.StoppingRule(max_iter=30))
    whole = ls.Problem(objective, 2, 0.1)
    assert result.fun == pytest.approx(whole.value(result.A, result.B), rel=1e-13)
    assert result.trace.value[-1] != pytest.approx(result.fun, rel=1e-3)


def test_factors_and_parameters_of_a_result_share_no_memory():
    result = ls.solve(problem(), stop=ls.StoppingRule(max_iter=3))
    theta = result.theta.copy()
    result.A[:], result.B[:] = 0.0, 0.0
    assert_array_equal(result.theta, theta)


def test_settings_are_frozen_and_reusable():
    method = GD(step_size=0.05)
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.step_size = 1.0
    first, second = (ls.solve(problem(), method, stop=ls.StoppingRule(max_iter=20)) for _ in range(2))
    assert_array_equal(first.theta, second.theta)


def test_als_is_refused_where_a_merged_objective_has_no_closed_form():
    class NoMerge(Denoising):
        def merged(self, update):
            from lorasolve.objectives.base import Shifted

            return Shifted(self, update)

    plain = ls.Problem(NoMerge(M), 2, 0.1)
    assert ls.solve(plain, "als").success
    with pytest.raises(ValueError, match="it minimises one factor at a time"):
        ls.solve(plain, "als+periodic")


@pytest.mark.parametrize(
    ("kind", "optimizer", "callback", "expected"),
    [
        ("linear", "gd", None, 1),
        ("linear", "gd", lambda seen: None, 2),
        ("linear", "nesterov", None, 2),
        ("linear", "lbfgs", None, 2),
        ("completion", "lbfgs", None, 1),
    ],
)
def test_blas_keeps_to_one_thread_beside_compiled_loops_only(monkeypatch, kind, optimizer, callback, expected):
    """Idle threads of BLAS spin against Numba's: from the start of such a run to its end there is one."""
    asked = []
    monkeypatch.setattr(_threads, "_setting", 2)
    monkeypatch.setattr(_threads, "blas_threads", lambda n: contextlib.nullcontext(asked.append(n)))
    rng = np.random.default_rng(0)
    objective = {
        "linear": LinearFineTuning(*(rng.standard_normal(size) for size in ((6, 4), (4, 20), (6, 20)))),
        "completion": ls.objectives.MatrixCompletion.example(rng),
    }[kind]
    ls.solve(ls.Problem(objective, 2, 0.1), optimizer, callback=callback, stop=ls.StoppingRule(max_iter=3))
    assert asked == [expected]


# ---------------------------------------------------------------------- what to try where f is not convex
class DoubleWell:
    """``(x^2 - 1)^2/4 - c x`` of the only entry: its minima are near -1 and 1, and ``f(0) = 1/4``."""

    shape = (1, 1)

    def __init__(self, c):
        self.c = c

    def value_and_grad(self, X):
        x = float(X[0, 0])
        return 0.25 * (x * x - 1.0) ** 2 - self.c * x, np.array([[x * (x * x - 1.0) - self.c]])


def test_a_run_that_ends_at_zero_says_so_and_what_to_try():
    minimum = ls.solve(ls.Problem(DoubleWell(0.0), 1, 0.1), "gd:step_size=0.1", (np.full((1, 1), 0.1),) * 2)
    assert abs(minimum.X[0, 0]) < 1e-6
    assert "ended at X = 0, a local minimum at this lam. Try init='gaussian:std=" in minimum.message
    assert "landscape.census(problem, 20)" in minimum.message
    # Along A = -B the saddle at 0 attracts: X = -a^2 < 0 has gradient of the wrong sign to grow.
    saddle = ls.solve(ls.Problem(DoubleWell(0.2), 1), "gd:step_size=0.1", (np.full((1, 1), 0.1), np.full((1, 1), -0.1)))
    assert abs(saddle.X[0, 0]) < 1e-6
    assert "ended at X = 0, a saddle point" in saddle.message


@pytest.mark.parametrize("method", ["gd", "lbfgs", "adam", "scaled_gd"])
def test_a_start_that_the_gradient_does_not_leave_zero_from_ends_at_a_saddle_and_says_so(method):
    """Of diag(3, 2, 0) the factors begin in the kernel: nothing grows, and X = 0 has the curvature lam - 3."""
    start = np.array([[0.0], [0.0], [1.0]])
    convex = ls.Problem(Denoising(np.diag([3.0, 2.0, 0.0])), 1, 0.5)
    ended = ls.solve(convex, method, (start, start))
    assert np.linalg.norm(ended.theta) < 1e-15
    assert "it ended at X = 0, a saddle point. Try init='gaussian:std=" in ended.message
    assert "X = 0" not in ls.solve(convex, method, "gaussian").message
    # With more decay 0 is the optimum.
    assert "X = 0" not in ls.solve(convex.replace(lam=4.0), method, (start, start)).message
    verdict = ls.landscape.verdict(convex, ended)
    assert verdict.kind == "saddle" or "beside X = 0, which is a strict saddle" in verdict.reason


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_zero_may_be_a_stationary_point_that_is_no_saddle(offset):
    """``f = offset + ||X||^2/2`` does not say that it is convex, and is least at 0."""

    class Square:
        shape = (3, 2)

        def value_and_grad(self, X):
            return offset + 0.5 * float(np.vdot(X, X)), X.copy()

    result = ls.solve(ls.Problem(Square(), 1), "lbfgs", "gaussian")
    assert 0.0 < np.linalg.norm(result.X) < 1e-9
    assert "it ended at X = 0, a stationary point" in result.message


def test_a_run_that_ends_above_zero_says_that_a_better_point_is_known():
    worse = ls.solve(
        ls.Problem(DoubleWell(0.4), 1, 0.05), "gd:step_size=0.1", (np.full((1, 1), 1.0), np.full((1, 1), -1.0)),
        stop=ls.StoppingRule(max_iter=10),
    )  # fmt: skip
    assert worse.fun > 0.25
    assert "a better point is known: X = 0 with L = 0.25" in worse.message
    good = ls.solve(ls.Problem(DoubleWell(0.4), 1, 0.05), "gd:step_size=0.1", (np.ones((1, 1)),) * 2)
    assert "known" not in good.message and "X = 0" not in good.message


@pytest.mark.parametrize("method", ["gd", "lbfgs", "nesterov", "gd:step_size=0.1"])
def test_a_loss_without_a_lower_bound_is_named_as_such(method):
    """The negative of a square falls without bound, whatever the step; its square does not."""

    class Negated:
        shape = (6, 5)

        def __init__(self, sign):
            self.sign = sign

        def value_and_grad(self, X):
            return 0.5 * self.sign * float(((X - 1.0) ** 2).sum()), self.sign * (X - 1.0)

    wrong, right = (ls.solve(ls.Problem(Negated(sign), 2, 0.5), method) for sign in (-1.0, 1.0))
    assert "the loss seems to have no lower bound, and no optimum. Is its sign right?" in wrong.message
    assert right.success and "lower bound" not in right.message


@pytest.mark.parametrize(
    ("method", "most", "status", "rose"),
    [
        ("adam:step_size=100", 30, "ITERATION_LIMIT", True),
        ("adam:step_size=100", 600, "STALLED", True),
        ("gd", 600, "STALLED", False),
    ],
)
def test_a_run_that_rose_is_not_told_to_go_on(method, most, status, rose):
    """Next to the optimum, which gradient descent reaches and steps of 100 lead away from."""
    M = np.diag([3.0, 2.0, 1.0])
    problem = ls.Problem(ls.objectives.Denoising(M), 2, 0.5)
    optimum = np.sqrt(np.maximum(M[:, :2] - 0.5 * np.eye(3, 2), 0.0))
    result = ls.solve(problem, method, (1.01 * optimum, optimum), stop=ls.StoppingRule(max_iter=most, grad_tol=0.0))
    least = 0.5 * (0.5**2 + 0.5**2 + 1.0) + 0.5 * (2.5 + 1.5)
    assert result.status.name == status
    assert result.fun > 1.1 * least if rose else result.fun == pytest.approx(least, rel=1e-12)
    assert ("; begin again with a smaller step size: L rose from" in result.message) == rose
    assert ("or try 'lbfgs' or 'gd_backtracking'" in result.message) == rose
    assert "continue" not in result.message


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_rounding_at_an_optimum_is_no_rise(dtype, lam):
    """There values go up and down by it: relative to L, or to the data where the optimum fits them."""
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((30, 3)), rng.standard_normal((20, 3))
    U, s, Vt = np.linalg.svd(A @ B.T, full_matrices=False)
    root = np.sqrt(np.maximum(s[:3] - lam, 0.0))
    problem = ls.Problem(ls.objectives.Denoising((A @ B.T).astype(dtype)), 3, lam)
    optimum = (U[:, :3] * root).astype(dtype), (Vt[:3].T * root).astype(dtype)
    stop = ls.StoppingRule(max_iter=100, grad_tol=0.0)
    for method in ("gd", "lbfgs", "als", "trust_ncg", "adam:step_size=1e-12"):
        result = ls.solve(problem, method, optimum, stop=stop)
        assert result.fun == pytest.approx(result.trace.value[0], rel=1e-6, abs=1e-4)
        assert "rose" not in result.message and "rose" not in ls.verdict(problem, result).reason


def test_a_run_of_a_batch_that_rose_is_told_so_as_alone():
    """``(x y - 1)^2/2`` along ``(1, -1)``: gradient descent with too long a step goes round and ends higher."""
    problem = ls.Problem(ls.objectives.Denoising(np.eye(2)), 1)
    start = (np.array([[0.9], [0.1]]), np.array([[0.9], [0.1]]))
    stop = ls.StoppingRule(max_iter=3)
    for step in (0.1, 1.5):
        alone = ls.solve(problem, f"gd:step_size={step}", start, stop=stop)
        batch = ls.solve_batch(problem, f"gd:step_size={step}", [start] * 2, stop=stop)
        assert batch.compiled.all() and batch.result(0).message == alone.message
        assert ("L rose from" in alone.message) == (alone.fun > alone.trace.value[0]) == (step == 1.5)


@pytest.mark.parametrize("answer", [lambda X: (X.sum(), np.ones_like(X)), lambda X: (-0.5 * np.sum(X**2), -X)])
@pytest.mark.parametrize("method", ["gd", "gd_backtracking", "nesterov", "lbfgs"])
def test_a_run_that_falls_until_numbers_end_has_diverged(method, answer):
    """Both losses have no lower bound along any ray; searches end where squares of gradients do, and said stalled."""

    class Endless:
        shape = (4, 3)
        value_and_grad = staticmethod(answer)

    endless = ls.Problem(Endless(), 2, 0.1)
    result = ls.solve(endless, method, "gaussian:std=0.3")
    assert result.status is ls.Status.DIVERGED and "seems to have no lower bound" in result.message
    with contextlib.suppress(ls.landscape.DivergedError):
        assert ls.verdict(endless, result).kind == "not_converged"
