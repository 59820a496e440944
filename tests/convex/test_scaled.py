"""The factored problem in scaled variables, against the problem itself and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.convex._scaled import Scaled

LAM = 0.3


@pytest.fixture
def completion():
    """Three entries of a 4 x 3 matrix, of which a row and a column have none."""
    rows, cols, values = np.array([0, 0, 2]), np.array([0, 1, 1]), np.array([1.0, -2.0, 0.5])
    return ls.Problem(ls.objectives.MatrixCompletion(rows, cols, values, (4, 3)), 2, LAM)


@pytest.fixture
def factors():
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((4, 2)), rng.standard_normal((3, 2)))]


def of(problem, factors, lam=LAM):
    return Scaled(problem.loss.factor_oracle, lam, factors, problem.loss.factor_diagonal(factors))


def test_value_and_gradient(completion, factors):
    function = of(completion, factors)
    z = function.variables(factors)
    grad, ignored = np.empty_like(z), np.empty_like(z)
    (A, B), (rows, cols) = factors[0], ([0, 0, 2], [0, 1, 1])
    residual = (A @ B.T)[rows, cols] - [1.0, -2.0, 0.5]
    expected = 0.5 * residual @ residual + 0.5 * LAM * (np.vdot(A, A) + np.vdot(B, B))
    assert function(z, grad) == pytest.approx(expected, rel=1e-14)
    G = np.zeros((4, 3))
    G[rows, cols] = residual
    slopes = np.linalg.norm([*(G @ B + LAM * A).ravel(), *(G.T @ A + LAM * B).ravel()])
    assert function.grad_norm == pytest.approx(slopes, rel=1e-13)
    for k in range(z.size):
        step = np.zeros_like(z)
        step[k] = 1e-5
        slope = (function(z + step, ignored) - function(z - step, ignored)) / 2e-5
        assert grad[k] == pytest.approx(slope, rel=1e-8, abs=1e-8)


def test_variables_and_back(completion, factors):
    function = of(completion, factors)
    (A, B), (found_A, found_B) = factors[0], function.factors(function.variables(factors))[0]
    np.testing.assert_allclose(found_A, A, rtol=1e-15)
    np.testing.assert_allclose(found_B, B, rtol=1e-15)


def test_units_are_roots_of_the_curvature(factors):
    """Of ``1/2 ||A B^T - Y||^2`` the curvature along an entry of ``A`` is the square of a column of ``B``."""
    problem = ls.Problem(ls.objectives.Denoising(np.zeros((4, 3))), 2, LAM)
    z = of(problem, factors).variables(factors)
    A, B = factors[0]
    np.testing.assert_allclose(z[:8].reshape(4, 2), A * np.sqrt((B**2).sum(axis=0) + LAM), rtol=1e-14)


def test_what_no_datum_sees_has_a_scale(completion, factors):
    """Without weight decay an empty row has no curvature: its variables stay numbers, and its slope is 0."""
    function = of(completion, factors, lam=0.0)
    z = function.variables(factors)
    grad = np.empty_like(z)
    function(z, grad)
    assert np.isfinite(z).all()
    assert not grad[2:4].any()


def test_the_length_of_a_gradient_whose_square_overflows(factors):
    """It is cubic in the factors where these are those of the data: of size 1e180 here."""
    ((A, B),) = factors
    large = [(1e60 * A, 1e60 * B)]
    problem = ls.Problem(ls.objectives.Denoising(np.full((4, 3), 1e130)), 2, LAM)
    function = of(problem, large)
    z = function.variables(large)
    with np.errstate(over="ignore"):  # as where routes run
        function(z, np.empty_like(z))
    expected = 1e190 * np.linalg.norm([*np.tile(B.sum(axis=0), 4), *np.tile(A.sum(axis=0), 3)])
    assert function.grad_norm == function.first == pytest.approx(expected, rel=1e-9)
