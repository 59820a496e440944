"""Products of factors: their singular values, numerical ranks and balanced factors."""

import math

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.low_rank import (
    CHOLESKY,
    PIECE,
    balanced,
    factor_singular_values,
    factor_svd,
    numerical_rank,
    product_entries,
)


def orthonormal(rng, rows, columns):
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


@pytest.mark.parametrize("shape", [(6, 4, 3), (6, 4, 4), (6, 4, 9), (4, 6, 2)])
def test_factor_svd_is_the_svd_of_the_product(shape):
    m, n, r = shape
    rng = np.random.default_rng(6)
    A, B = 1e3 * rng.standard_normal((m, r)), rng.standard_normal((n, r))
    P, s, Q = factor_svd(A, B)
    assert s.size == min(m, n, r)
    np.testing.assert_allclose((P * s) @ Q.T, A @ B.T, atol=1e-9)
    np.testing.assert_allclose(s, np.linalg.svd(A @ B.T, compute_uv=False)[: s.size], atol=1e-9)
    np.testing.assert_allclose(factor_singular_values(A, B), s)


@pytest.mark.parametrize("condition", [1.0, 30.0, 3e3, 1e5, 1e12, math.inf])
@pytest.mark.parametrize("size", [1.0, 1e-140, 1e140])
def test_factor_svd_of_tall_factors(condition, size):
    """Columns of any condition and of sizes that span decades, whichever way they are orthonormalised."""
    rng = np.random.default_rng(8)
    spread = np.geomspace(1.0, 1.0 / min(condition, 1e12), 9)
    A = size * (orthonormal(rng, 1000, 9) * spread) @ orthonormal(rng, 9, 9)
    if condition == math.inf:
        A = A[:, :1] * np.r_[np.ones(8), 0.0]
    B = orthonormal(rng, 1200, 9)
    assert min(A.size, B.size) >= CHOLESKY
    P, s, Q = factor_svd(A, B)
    for basis in (P, Q):
        np.testing.assert_allclose(basis.T @ basis, np.eye(9), atol=3e-13)
    RA, RB = (np.linalg.qr(factor)[1] for factor in (A, B))
    np.testing.assert_allclose(s, np.linalg.svd(RA @ RB.T, compute_uv=False), rtol=1e-12, atol=1e-14 * s[0])
    np.testing.assert_allclose((P * s) @ Q.T, A @ B.T, atol=1e-14 * s[0])


@pytest.mark.parametrize("count", [0, 1, PIECE, 2 * PIECE + 3])
def test_entries_of_a_product_are_those_of_the_matrix(count):
    rng = np.random.default_rng(5)
    A, B = rng.standard_normal((30, 4)), rng.standard_normal((20, 4))
    rows, cols = rng.integers(0, 30, count), rng.integers(0, 20, count)
    np.testing.assert_allclose(product_entries(A, B, rows, cols), (A @ B.T)[rows, cols], atol=1e-14)


def test_zero_factors_have_orthonormal_spaces():
    P, s, Q = factor_svd(np.zeros((5, 2)), np.ones((4, 2)))
    assert not s.any()
    for basis in (P, Q):
        np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-14)


def test_balanced_factors_attain_the_nuclear_norm():
    rng = np.random.default_rng(7)
    U, V, values = orthonormal(rng, 6, 3), orthonormal(rng, 5, 3), np.array([3.0, 1.0, 0.5])
    A, B = balanced(U, values, V)
    np.testing.assert_allclose(A @ B.T, (U * values) @ V.T, atol=1e-13)
    np.testing.assert_allclose(A.T @ A, B.T @ B, atol=1e-13)
    assert 0.5 * (np.vdot(A, A) + np.vdot(B, B)) == pytest.approx(4.5, rel=1e-13)


def test_numerical_rank_counts_relative_to_the_largest():
    assert numerical_rank(np.array([2.0, 3e-6, 1e-6])) == 2
    assert numerical_rank(np.array([1e-6, 3e-6, 2.0])) == 2
    assert numerical_rank(np.array([2.0, 3e-6, 1e-10]), tol=1e-11) == 3
    assert numerical_rank(np.zeros(3)) == 0
    assert numerical_rank(np.zeros(0)) == 0


def test_the_default_tolerance_finds_the_rank_of_nearly_converged_points():
    """Weight decay 0.5 keeps exactly the singular values of the target above 0.5, so the rank is known."""
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((k, k)))[0] for k in (8, 6))
    M = (P[:, :6] * [4.0, 2.0, 1.0, 0.45, 0.4, 0.1]) @ Q.T
    problem = ls.Problem(ls.objectives.Denoising(M), rank=6, lam=0.5)
    for seed in range(5):
        run = ls.solve(problem, "gd", "gaussian", seed=seed, stop=ls.StoppingRule(grad_tol=1e-6))
        assert run.success
        assert numerical_rank(factor_singular_values(run.A, run.B)) == 3
