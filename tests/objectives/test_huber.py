"""The Huber loss: its two pieces, its limit, and the closed-form optimum of a single entry."""

import numpy as np
import pytest

from lorasolve import Problem
from lorasolve.objectives import Denoising, Huber


def test_pieces_of_the_loss():
    objective = Huber(np.zeros((1, 5)), 2.0)
    for t, value, slope in ((0.0, 0.0, 0.0), (1.0, 0.5, 1.0), (-2.0, 2.0, -2.0), (3.0, 4.0, 2.0), (-10.0, 18.0, -2.0)):
        X = np.array([[t, 0.0, 0.0, 0.0, 0.0]])
        f, G = objective.value_and_grad(X)
        assert f == value
        assert G[0, 0] == slope


def test_a_threshold_beyond_all_residuals_gives_denoising():
    rng = np.random.default_rng(0)
    M, X = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    huber, squares = Huber(M, 100.0).value_and_grad(X), Denoising(M).value_and_grad(X)
    assert huber[0] == pytest.approx(squares[0], rel=1e-15)
    np.testing.assert_array_equal(huber[1], squares[1])


def test_hessian_is_the_indicator_of_the_quadratic_part():
    objective = Huber(np.zeros((1, 3)), 1.0)
    D = np.array([[5.0, 7.0, 9.0]])
    np.testing.assert_array_equal(objective.hessian_product(np.array([[0.5, -1.5, 1.0]]), D), [[5.0, 0.0, 9.0]])


def test_a_gross_error_moves_the_optimum_by_no_more_than_delta():
    # 1 x 1: the minimiser of h(x - M) + lam |x| has slope -lam on h, so x = M - lam for lam < delta.
    problem = Problem(Huber([[1000.0]], 2.0), rank=1, lam=0.5)
    best = problem.convex_value([[999.5]])
    assert best == pytest.approx(0.125 + 0.5 * 999.5)
    assert all(problem.convex_value([[x]]) > best for x in (999.4, 999.6, 0.0))


def test_outliers_are_counted():
    M, apart = np.array([[3.0, -1.0], [2.0, 0.0]]), np.array([[0.0, 2.0], [1.0, 0.9]])
    assert Huber(M, 1.0).metrics(M + apart) == {"outlier_share": 0.25}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([[1.0, np.nan]], 1.0), ValueError, "M: has non-finite entries"),
        (([1.0], 1.0), ValueError, "M: expected 2 dimensions"),
        (([[]], 1.0), ValueError, "M: is empty"),
        (([[1j]], 1.0), TypeError, "M: expected real numbers"),
        (([[1.0]], 0.0), ValueError, "delta: expected"),
        (([[1.0]], -1.0), ValueError, "delta: expected"),
        (([[1.0]], np.inf), ValueError, "delta: expected"),
        (([[1.0]], "big"), TypeError, "delta: expected"),
    ],
)
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error, match=words):
        Huber(*arguments)
