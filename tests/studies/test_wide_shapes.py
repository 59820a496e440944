"""What is told of ratings needs factors and entries only: no matrix of all users and items is formed."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve.objectives import MatrixCompletion, MatrixSensing
from lorasolve.tasks import Task

# A matrix of all its entries has 160 MB.
WIDE = (5000, 4000)


@pytest.fixture(scope="module")
def entries():
    rng = np.random.default_rng(3)
    rows, cols = np.divmod(np.sort(rng.choice(30 * 20, 300, replace=False)), 20)
    return rows, cols, (rng.standard_normal((30, 2)) @ rng.standard_normal((2, 20)))[rows, cols]


@pytest.fixture(scope="module")
def small(entries):
    return ls.Problem(MatrixCompletion(*entries, (30, 20)), rank=2, lam=2.0)


@pytest.fixture(scope="module")
def wide(entries):
    """The same ratings in the same order, among users and items that have none."""
    rows, cols, values = entries
    return ls.Problem(MatrixCompletion(150 * rows, 190 * cols, values, WIDE), rank=2, lam=2.0)


@pytest.fixture
def measured():
    """Refuse a test whose arrays hold a third of such a matrix at once."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("held", [False, True], ids=["folds", "held out"])
def test_errors_of_held_out_ratings_are_those_without_users_and_items_that_have_none(small, wide, held):
    found = [
        ls.cross_validate(problem, [4.0, 2.0], 2, 1e-8, held_out=problem.objective if held else None)
        for problem in (small, wide)
    ]
    assert_allclose(found[1].errors, found[0].errors, rtol=1e-5)
    assert found[1].best == found[0].best


@pytest.mark.usefixtures("measured")
def test_a_comparison_tells_the_quality_without_the_matrix(small, wide):
    expected, found = (ls.compare(problem, ["lbfgs"], held_out=problem.objective) for problem in (small, wide))
    assert found.rows[0].quality["rmse"] == pytest.approx(expected.rows[0].quality["rmse"], rel=1e-5)


@pytest.mark.usefixtures("measured")
def test_a_step_is_chosen_by_held_out_ratings_without_the_matrix(wide):
    found = ls.compare(wide, ["adamw"], held_out=wide.objective, stop=ls.StoppingRule(max_iter=60), tune=True)
    assert found.rows[0].step_by == "held-out loss"


@pytest.mark.usefixtures("measured")
def test_a_task_is_measured_before_and_after_without_the_matrix(wide, entries):
    task = Task(wide.objective, None, "ratings", 2, {})
    assert task.metrics()["rmse"] == pytest.approx(np.sqrt(np.mean(entries[2] ** 2)))


def test_metrics_of_factors_are_those_of_their_product(small):
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((30, 3)), rng.standard_normal((20, 3))
    for objective in (small.objective, MatrixSensing(rng.standard_normal((9, 30, 20)), rng.standard_normal(9))):
        ((name, of_factors),) = objective.factor_metrics(A, B).items()
        assert of_factors == pytest.approx(objective.metrics(A @ B.T)[name], rel=1e-12)
