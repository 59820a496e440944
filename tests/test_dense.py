"""Norms and eigenvalues of matrices that are there as arrays."""

import math

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.dense import (
    DENSE_LIMIT,
    frobenius_norm,
    gram_inverse,
    largest_singular_value,
    polar,
    top_eigenvalue,
)


@pytest.mark.parametrize("size", [0.0, 1.0, 1e-170, 1e-160, 1e-101, 1e100, 1e170])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 0)])
def test_norms_of_small_matrices_of_any_size(shape, size):
    rng, values = np.random.default_rng(9), np.array([3.0, 1.0])[: shape[1]]
    U, V = (np.linalg.qr(rng.standard_normal((side, len(values))))[0] for side in shape)
    M = (U * values) @ V.T
    with np.errstate(over="ignore"):
        assert largest_singular_value(size * M) == pytest.approx(3.0 * size * bool(M.size), rel=1e-12, abs=0.0)


@pytest.mark.parametrize(("dtype", "decades"), [(np.float32, 37), (np.float64, 307)])
@pytest.mark.parametrize("share", [-1.0, -0.6, -0.52, -0.4, 0.0, 0.4, 0.6, 1.0])
def test_the_length_of_what_has_no_square(dtype, decades, share):
    """``|(3, 4)| = 5`` in every unit that has such numbers."""
    unit, eps = 10.0 ** (share * decades), float(np.finfo(dtype).eps)
    for M in (np.array([3.0, 4.0]), np.array([[3.0, 0.0], [0.0, 4.0]]), np.array([[0.0, 3.0], [4.0, 0.0]]).T):
        scaled = (unit * M).astype(dtype)
        assert frobenius_norm(scaled) == pytest.approx(5.0 * unit, rel=4.0 * eps, abs=0.0)


def test_the_length_of_what_has_no_size_or_is_no_number():
    assert frobenius_norm(np.zeros(3)) == frobenius_norm(np.zeros((3, 0))) == 0.0
    assert frobenius_norm(np.array([1.0, -np.inf])) == np.inf
    assert math.isnan(frobenius_norm(np.array([1.0, np.nan])))


@pytest.mark.parametrize("misses", [False, True])
@pytest.mark.parametrize("above", [8.0, 1e-8])
def test_the_largest_eigenvalue_is_never_missed(monkeypatch, above, misses):
    size = math.isqrt(DENSE_LIMIT) + 1
    u = np.ones(size) / math.sqrt(size)
    S = np.eye(size) + above * np.outer(u, u)
    if misses:
        monkeypatch.setattr("scipy.sparse.linalg.eigsh", lambda *arguments, **options: np.ones(1))
    assert (1.0 + above) * (1.0 - 1e-13) <= top_eigenvalue(S) <= (1.0 + above) * (1.0 + 2e-10)


def test_the_largest_eigenvalue_of_nothing_is_zero():
    size = math.isqrt(DENSE_LIMIT) + 1
    assert top_eigenvalue(np.zeros((size, size))) == 0.0


@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
def test_the_smoothness_of_many_measurements_is_that_of_their_closed_form(scale):
    # Of N = 600 measurements of 24 x 25 entries: singular values 1 and 10.
    u = np.ones(600) / math.sqrt(600)
    M = (np.eye(600) + 9.0 * np.outer(u, u)) * scale
    objective = ls.objectives.MatrixSensing(M.reshape(600, 24, 25), np.ones(600))
    assert objective.smoothness == pytest.approx(100.0 * scale * scale / 600, rel=1e-9, abs=0.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_inverse_of_a_gram_matrix_leaves_out_what_rounding_has_made(dtype):
    """A column is the sum of two others but for errors as large as those of rounding to ``dtype`` may be."""
    first = np.array([[3.0, -1.0], [2.0, 4.0], [-1.0, 2.0]])
    exact = np.column_stack([first, first.sum(axis=1)])
    rounded = exact * (1.0 + 0.5 * np.finfo(dtype).eps * np.array([[-1, 1, 1], [1, 1, -1], [1, -1, 1]]))
    inverse = np.linalg.pinv(exact, rcond=1e-9)
    np.testing.assert_allclose(gram_inverse(rounded.T @ rounded, dtype, 3), inverse @ inverse.T, rtol=1e-4)


@pytest.mark.parametrize("size", [1e-150, 1.0, 1e150])
def test_a_polar_factor_has_no_direction_that_rounding_has_made(size):
    U, V = (np.linalg.qr(np.random.default_rng(7).standard_normal((side, 2)))[0] for side in (7, 5))
    np.testing.assert_allclose(polar(size * (U * [3.0, 1e-9]) @ V.T), U @ V.T, atol=1e-6)
    one = np.outer(U[:, 0], V[:, 0])
    np.testing.assert_allclose(polar(size * one), one, atol=1e-14)
    assert np.isnan(polar(size * np.where(one == one[0, 0], np.nan, one))).all()
