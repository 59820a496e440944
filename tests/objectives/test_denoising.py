"""Denoising: values by hand, one-factor minimisers, the soft-thresholded optimum."""

import numpy as np
import pytest

from lorasolve import Problem
from lorasolve.objectives import Denoising


def test_value_and_gradient_by_hand():
    f, G = Denoising([[1, 2], [3, 4]]).value_and_grad(np.array([[0.0, 0.0], [3.0, 5.0]]))
    assert f == 3.0
    np.testing.assert_array_equal(G, [[-1.0, -2.0], [0.0, 1.0]])


def test_soft_thresholded_singular_values_are_the_convex_optimum():
    rng = np.random.default_rng(0)
    M = rng.standard_normal((5, 4))
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    problem = Problem(Denoising(M), rank=4, lam=0.8)
    best = P * np.maximum(s - 0.8, 0.0) @ Qt
    value = problem.convex_value(best)
    assert value == pytest.approx(0.5 * np.sum(np.minimum(s, 0.8) ** 2) + 0.8 * np.sum(np.maximum(s - 0.8, 0.0)))
    for _ in range(50):
        assert problem.convex_value(best + 1e-3 * rng.standard_normal((5, 4))) > value


@pytest.mark.parametrize("lam", [0.0, 0.7])
def test_one_factor_minimiser_solves_the_normal_equations(lam):
    rng = np.random.default_rng(1)
    M, A, B = rng.standard_normal((5, 4)), rng.standard_normal((5, 2)), rng.standard_normal((4, 2))
    objective = Denoising(M)
    identity = np.eye(2)
    expected_A = np.linalg.solve(B.T @ B + lam * identity, B.T @ M.T).T
    expected_B = np.linalg.solve(A.T @ A + lam * identity, A.T @ M).T
    np.testing.assert_allclose(objective.minimize_over_A(B, lam), expected_A, atol=1e-13)
    np.testing.assert_allclose(objective.minimize_over_B(A, lam), expected_B, atol=1e-13)


def test_one_factor_minimiser_of_a_deficient_factor_is_the_least_one():
    M = np.arange(6.0).reshape(3, 2)
    A = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    expected = np.linalg.lstsq(A, M, rcond=None)[0].T
    np.testing.assert_allclose(Denoising(M).minimize_over_B(A, 0.0), expected, atol=1e-15)


@pytest.mark.parametrize(
    ("M", "error", "words"),
    [
        ([1.0, 2.0], ValueError, "M: expected 2 dimensions"),
        ([[np.inf]], ValueError, r"M: has non-finite entries, the first at \[0, 0\]"),
        (np.ones((0, 3)), ValueError, "M: is empty"),
        (np.array([[None]]), TypeError, "M: expected real numbers"),
    ],
)
def test_bad_input_is_named(M, error, words):
    with pytest.raises(error, match=words):
        Denoising(M)
