"""Callbacks: what they see, what stops a run, and what they raise."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from stopped_runs import OBJECTIVES

import lorasolve as ls


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
