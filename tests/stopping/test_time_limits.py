"""Limits on time."""

import time

import numpy as np
import pytest
from stopped_runs import OBJECTIVES

import lorasolve as ls
from lorasolve._support.progress import Progress
from lorasolve._support.time_limit import is_over, limited_to
from lorasolve.monitor import Monitor, Stop
from lorasolve.objectives import Denoising
from lorasolve.optimizers import GD


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
