"""Batched runs against single runs."""

import time

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve.objectives import Denoising, LinearFineTuning, MatrixCompletion, MatrixSensing
from lorasolve.optimizers import GD

SHAPE = (6, 5)


def objectives(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*size):
        return rng.standard_normal(size).astype(dtype)

    rows, cols = np.nonzero(rng.random(SHAPE) < 0.6)
    return {
        "denoising": Denoising(normal(*SHAPE)),
        "linear": LinearFineTuning(normal(*SHAPE), normal(5, 30), normal(6, 30)),
        "sensing": MatrixSensing(normal(40, *SHAPE), normal(40)),
        "completion": MatrixCompletion(rows, cols, normal(rows.size), SHAPE),
    }


def grid(objective, rank=2, lams=(0.0, 0.1, 0.3), seeds=range(5)):
    problems = [ls.Problem(objective, rank, lam) for lam in lams for _ in seeds]
    return problems, list(seeds) * len(lams)


def assert_same(batch, problems, optimizers, init, seeds, stop, atol=1e-10):
    for k, problem in enumerate(problems):
        single = ls.solve(problem, optimizers[k], init, seeds[k], stop=stop)
        assert (batch.status[k], batch.nit[k]) == (single.status, single.nit)
        assert_allclose(batch.A[k], single.A, atol=atol)
        assert_allclose(batch.B[k], single.B, atol=atol)
        assert_allclose(batch.fun[k], single.fun, rtol=1e-10)
        assert_allclose(batch.grad_norm[k], single.grad_norm, atol=atol)


@pytest.mark.parametrize("name", list(objectives()))
@pytest.mark.parametrize("rank", [1, 3])
def test_a_grid_of_seeds_and_decays_equals_single_runs(name, rank):
    problems, seeds = grid(objectives()[name], rank)
    stop = ls.StoppingRule(max_iter=150)
    batch = ls.solve_batch(problems, GD(step_size=0.05), "lora", seeds, stop=stop)
    assert batch.compiled.all()
    assert_same(batch, problems, [GD(step_size=0.05)] * len(problems), "lora", seeds, stop)


def test_each_run_stops_by_its_own_rules():
    problems, seeds = grid(objectives()["sensing"])
    steps = [0.05, 0.1, 5.0] * 5
    methods = [GD(step_size=step) for step in steps]
    stop = ls.StoppingRule(max_iter=400, grad_tol=2e-2)
    batch = ls.solve_batch(problems, methods, "lora", seeds, stop=stop)
    assert {status.name for status in batch.status} == {"CONVERGED", "ITERATION_LIMIT", "DIVERGED"}
    assert_same(batch, problems, methods, "lora", seeds, stop)
    assert_allclose(batch.success, [status.name == "CONVERGED" for status in batch.status])


def test_calls_and_message_of_a_batched_run_are_those_of_a_single_one():
    """Of runs that diverge on their way, one that has no finite value at its start, and others."""
    problem = ls.Problem(Denoising(np.random.default_rng(0).standard_normal((10, 12))), 2)
    far = (np.full((10, 2), 1e100), np.full((12, 2), 1e100))
    cases = [(3.0, "lora"), (1.0, "gaussian"), (0.05, "lora"), (1e-6, "lora"), (0.1, far)]
    stop = ls.StoppingRule(max_iter=500)
    batch = ls.solve_batch([problem] * len(cases), [GD(step) for step, _ in cases], [i for _, i in cases], stop=stop)
    assert batch.compiled.all()
    for k, (step, init) in enumerate(cases):
        single, found = ls.solve(problem, GD(step), init, stop=stop), batch.result(k)
        assert (found.status, found.nit, found.nfev) == (single.status, single.nit, single.nfev)
        assert found.message == single.message
    diverged = [status is ls.Status.DIVERGED for status in batch.status]
    assert diverged == [True, True, False, False, True]


def test_several_instances_and_inits_share_a_sweep():
    shared = [objectives(seed=s)["sensing"] for s in (1, 2)]
    problems = [ls.Problem(objective, 2, 0.1) for objective in shared for _ in range(9)]
    inits = [ls.inits.LoRAStart(std=0.1 * (1 + k % 3)) for k in range(18)]
    stop = ls.StoppingRule(max_iter=60)
    batch = ls.solve_batch(problems, GD(step_size=0.03), inits, list(range(18)), stop=stop)
    assert batch.compiled.all()
    for k in (0, 8, 9, 17):
        single = ls.solve(problems[k], GD(step_size=0.03), inits[k], k, stop=stop)
        assert_allclose(batch.A[k], single.A, atol=1e-10)
        again = batch.result(k)
        assert_allclose([again.fun, again.grad_norm], [single.fun, single.grad_norm], rtol=1e-8)
        assert (again.status, again.nit, again.started_from, again.seed) == (single.status, single.nit, "lora", k)
        assert_allclose(again.trace.value[0], single.trace.value[0])
        assert again.trace.iteration == [0, single.nit]


def test_other_methods_are_run_one_by_one_with_the_same_ends():
    problems, seeds = grid(objectives()["denoising"], seeds=range(2))
    stop = ls.StoppingRule(max_iter=200)
    batch = ls.solve_batch(problems, "gd", "lora", seeds, stop=stop)
    assert not batch.compiled.any()
    assert_same(batch, problems, ["gd"] * len(problems), "lora", seeds, stop)
    assert len(batch.result(1).trace) > 2


def test_float32_sweeps_stay_float32():
    problems, seeds = grid(objectives(np.float32)["sensing"])
    stop = ls.StoppingRule(max_iter=100)
    batch = ls.solve_batch(problems, GD(step_size=0.05), "lora", seeds, stop=stop)
    assert batch.compiled.all() and batch.A.dtype == np.float32
    single = ls.solve(problems[7], GD(step_size=0.05), "lora", seeds[7], stop=stop)
    assert_allclose(batch.A[7], single.A, atol=1e-4)


def test_bad_input_names_the_argument():
    problem = ls.Problem(objectives()["sensing"], 2, 0.1)
    with pytest.raises(ValueError, match="seed: expected one value or as many as there are runs"):
        ls.solve_batch([problem] * 3, seed=[1, 2])
    with pytest.raises(ValueError, match="problems: expected one value or a list of at least one, got an empty list"):
        ls.solve_batch([], "gd")
    with pytest.raises(ValueError, match="problems: all must have one shape"):
        ls.solve_batch([problem, problem.replace(rank=1)])
    with pytest.raises(TypeError, match="problems: expected a Problem"):
        ls.solve_batch(["sensing"])
    with pytest.raises(ValueError, match="unknown optimizer"):
        ls.solve_batch([problem], "gradient")
    for wrong in (2.5, np.zeros((2, 2)), {1, 2}):
        with pytest.raises(TypeError, match="seed: expected one value or a list of them"):
            ls.solve_batch(problem, seed=wrong)


def test_seeds_may_be_an_array_and_the_time_is_that_of_the_call():
    problem, stop = ls.Problem(objectives()["sensing"], 2, 0.1), ls.StoppingRule(max_iter=20)
    began = time.perf_counter()
    batch = ls.solve_batch(problem, GD(step_size=0.05), seed=np.arange(3), stop=stop)
    assert 0.0 < batch.seconds <= time.perf_counter() - began
    assert_same(batch, [problem] * 3, [GD(step_size=0.05)] * 3, None, [0, 1, 2], stop)
