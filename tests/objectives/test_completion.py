"""Matrix completion against its dense definition, the ridge regressions of its half epochs, and input of any kind."""

import cvxpy
import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal

from lorasolve.objectives import DenseReference, MatrixCompletion, completion


def instance(m=12, n=7, fraction=0.4, seed=0, dtype=np.float64):
    """Return mask, matrix and objective; row 3 and column 2 have no entry, the entries are in random order."""
    rng = np.random.default_rng(seed)
    mask = rng.random((m, n)) < fraction
    mask[3] = False
    mask[:, 2] = False
    matrix = rng.standard_normal((m, n)).astype(dtype)
    rows, cols = np.nonzero(mask)
    order = rng.permutation(rows.size)
    rows, cols = rows[order], cols[order]
    return mask, matrix, MatrixCompletion(rows, cols, matrix[rows, cols], (m, n))


def factors(r=3, m=12, n=7, seed=1, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((s, r)).astype(dtype) for s in (m, n, m, n))


@pytest.mark.parametrize("r", [1, 3, 5])
def test_dense_and_factor_level_are_the_definition(r):
    mask, matrix, objective = instance()
    A, B, U, V = factors(r)
    G = mask * (A @ B.T - matrix)
    f, dense = objective.value_and_grad(A @ B.T)
    assert_allclose(f, 0.5 * np.sum(G**2), rtol=1e-12)
    assert_allclose(dense, G, atol=1e-12)
    GB, GtA = np.full_like(A, np.nan), np.full_like(B, np.nan)
    assert_allclose(objective.factor_oracle(A, B, GB, GtA), 0.5 * np.sum(G**2), rtol=1e-12)
    assert_allclose(GB, G @ B, atol=1e-12)
    assert_allclose(GtA, G.T @ A, atol=1e-12)
    assert_allclose(objective.gradient_operator(A, B).to_dense(), G, atol=1e-12)
    for fast, plain in zip(objective.factor_hvp(A, B, U, V), DenseReference(objective).factor_hvp(A, B, U, V)):
        assert_allclose(fast, plain, atol=1e-12)


@pytest.mark.parametrize("orders", ["CF", "FC", "FF"])
def test_gradients_are_written_into_arrays_of_any_layout(orders):
    mask, matrix, objective = instance()
    A, B, _, _ = factors()
    G = mask * (A @ B.T - matrix)
    GB, GtA = (np.full(factor.shape, np.nan, order=order) for factor, order in zip((A, B), orders))
    objective.factor_oracle(A, B, GB, GtA)
    assert_allclose(GB, G @ B, atol=1e-12)
    assert_allclose(GtA, G.T @ A, atol=1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.5])
@pytest.mark.parametrize("r", [1, 3, 6])
def test_half_epochs_solve_a_ridge_regression_per_row(lam, r):
    mask, matrix, objective = instance()
    A, B, _, _ = factors(r)
    for solved, other, pattern, target in (
        (objective.minimize_over_A(B, lam), B, mask, matrix),
        (objective.minimize_over_B(A, lam), A, mask.T, matrix.T),
    ):
        for i, row in enumerate(pattern):
            system = np.vstack([other[row], np.sqrt(lam) * np.eye(r)])
            right = np.concatenate([target[i, row], np.zeros(r)])
            assert_allclose(solved[i], np.linalg.lstsq(system, right, rcond=None)[0], atol=1e-8)


def test_merge_expression_and_metrics_follow_the_definition():
    mask, matrix, objective = instance()
    update, X = np.random.default_rng(3).standard_normal((2, 12, 7))
    assert_allclose(objective.merged(update).value_and_grad(X)[1], mask * (update + X - matrix), atol=1e-12)
    variable = cvxpy.Variable((12, 7))
    variable.value = X
    assert_allclose(objective.cvxpy_expression(variable).value, 0.5 * np.sum((mask * (X - matrix)) ** 2))
    assert_allclose(objective.metrics(X)["rmse"], np.sqrt(np.mean((X - matrix)[mask] ** 2)))


def test_float32_is_kept():
    mask, matrix, objective = instance(dtype=np.float32)
    A, B, _, _ = factors(dtype=np.float32)
    GB, GtA = np.empty_like(A), np.empty_like(B)
    f = objective.factor_oracle(A, B, GB, GtA)
    assert objective.minimize_over_A(B, 0.1).dtype == objective.dtype == np.float32
    assert_allclose(f, 0.5 * np.sum((mask * (A @ B.T - matrix)).astype(float) ** 2), rtol=1e-5)
    assert_allclose(GtA, (mask * (A @ B.T - matrix)).T @ A, atol=1e-4)
    assert objective.gradient_operator(A, B).to_dense().dtype == np.float64


def test_the_twin_in_float32_has_the_same_entries_where_they_fit():
    mask, matrix, objective = instance()
    single = objective.in_float32()
    X = np.random.default_rng(2).standard_normal(matrix.shape).astype(np.float32)
    f, G = single.value_and_grad(X)
    assert single.dtype == G.dtype == np.float32 and single.in_float32() is single
    assert_allclose(G, np.where(mask, X - matrix, 0.0), atol=1e-6)
    assert f == pytest.approx(0.5 * np.sum(np.where(mask, X - matrix, 0.0) ** 2), rel=1e-6)
    for size in (0.0, 1e-30, 1e30):
        assert MatrixCompletion([0], [1], [size], (3, 2)).in_float32() is None


@pytest.mark.parametrize("shape", [(6, 4), (3, 65_537), (70_000, 3), (140_000, 140_000)])
def test_entries_in_any_order_are_those_of_a_sparse_matrix(shape):
    rng = np.random.default_rng(3)
    corners = np.array([0, shape[1] - 1, (shape[0] - 1) * shape[1], shape[0] * shape[1] - 1])
    place = np.unique(np.append(rng.integers(0, shape[0] * shape[1], 12), corners))
    values = rng.standard_normal(place.size)
    for order in (np.arange(place.size), rng.permutation(place.size)):
        rows, cols = np.divmod(place[order], shape[1])
        found = MatrixCompletion(rows, cols, values[order], shape)
        expected = scipy.sparse.coo_array((values[order], (rows, cols)), shape).tocsr()
        assert_array_equal(found.row_start, expected.indptr)
        assert_array_equal(found.cols, expected.indices)
        assert_array_equal(found.values, expected.data)
        by_col = expected.tocsc()
        assert_array_equal(found.col_start, by_col.indptr)
        assert_array_equal(found.rows_by_col, by_col.indices)
        assert_array_equal(found.values_by_col, by_col.data)


def test_what_the_caller_writes_to_its_arrays_later_does_not_matter():
    rows, cols, values = np.array([0, 1], np.int32), np.array([1, 0], np.int32), np.array([1.0, 2.0])
    found = MatrixCompletion(rows, cols, values, (2, 2))
    rows[:], cols[:], values[:] = 0, 0, 7.0
    assert_array_equal(found.value_and_grad(np.zeros((2, 2)))[1], [[0.0, -1.0], [-2.0, 0.0]])


def test_bad_input_names_the_argument():
    with pytest.raises(ValueError, match=r"\[0, 1\] is given more than once"):
        MatrixCompletion([0, 1, 0], [1, 0, 1], [1.0, 2.0, 3.0], (2, 2))
    with pytest.raises(ValueError, match="rows: expected integers from 0 to 1, got 2"):
        MatrixCompletion([0, 2], [1, 0], [1.0, 2.0], (2, 2))
    with pytest.raises(ValueError, match="cols: expected integers from 0 to 1, got -1"):
        MatrixCompletion([0, 1], [1, -1], [1.0, 2.0], (2, 2))
    with pytest.raises(TypeError, match="rows: expected integers"):
        MatrixCompletion([0.0, 1.0], [1, 0], [1.0, 2.0], (2, 2))
    with pytest.raises(ValueError, match="cols: expected shape"):
        MatrixCompletion([0, 1], [1], [1.0, 2.0], (2, 2))
    with pytest.raises(ValueError, match="values: is empty"):
        MatrixCompletion([], [], [], (2, 2))
    with pytest.raises(ValueError, match="values: has non-finite"):
        MatrixCompletion([0], [1], [np.nan], (2, 2))
    with pytest.raises(TypeError, match=r"shape: expected a tuple \(m, n\) of integers"):
        MatrixCompletion([0], [1], [1.0], [2, 2])


@pytest.mark.parametrize("compiled", [0, 10**9])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_products_with_and_without_compiled_loops_are_those_of_the_dense_matrix(monkeypatch, compiled, dtype):
    monkeypatch.setattr(completion, "FORMED", 0)
    monkeypatch.setattr(completion, "COMPILED", compiled)
    rng = np.random.default_rng(9)
    place = rng.choice(60 * 40, 700, replace=False)
    objective = MatrixCompletion(*np.divmod(place, 40), rng.standard_normal(700).astype(dtype), (60, 40))
    A, B = rng.standard_normal((60, 5)), rng.standard_normal((40, 5))
    tol = 1e-12 if dtype == np.float64 else 1e-4
    found = objective.at_entries(A.astype(dtype), B.astype(dtype))
    assert found.dtype == dtype
    assert_allclose(found, (A @ B.T)[objective.rows, objective.cols], rtol=tol, atol=tol)
    G = np.zeros((60, 40))
    G[objective.rows, objective.cols] = objective.values
    S = objective.sparse(objective.values)
    for columns in (0, 1, 3, 8):
        V, U = rng.standard_normal((40, columns)), rng.standard_normal((60, columns))
        for product, true in ((S.matmat(V), G @ V), (S.rmatmat(U), G.T @ U)):
            assert product.dtype == dtype
            assert_allclose(product, true, rtol=tol, atol=10 * tol)


@pytest.mark.parametrize("form", ["coo", "csr", "csc"])
def test_the_entries_that_a_sparse_matrix_stores_are_the_observed_ones(form):
    rows, cols, values = [0, 2, 2, 1], [1, 0, 3, 2], [3.0, 0.5, -2.0, 0.0]
    made = MatrixCompletion.from_sparse(scipy.sparse.coo_array((values, (rows, cols)), (3, 4)).asformat(form))
    assert (made.shape, made.nnz) == ((3, 4), 4)
    X = np.arange(12.0).reshape(3, 4)
    assert made.value_and_grad(X)[0] == pytest.approx(0.5 * ((1 - 3) ** 2 + (8 - 0.5) ** 2 + (11 + 2) ** 2 + 6**2))


def test_sparse_and_dense_matrices_are_told_apart():
    stored = scipy.sparse.csr_array(np.eye(3))
    with pytest.raises(TypeError, match=r"M: .* got a sparse matrix; MatrixCompletion\.from_sparse"):
        MatrixCompletion.from_dense(stored)
    with pytest.raises(TypeError, match=r"M: expected a SciPy sparse matrix, got .*; from_dense"):
        MatrixCompletion.from_sparse(np.eye(3))
    with pytest.raises(ValueError, match="given more than once"):
        MatrixCompletion.from_sparse(scipy.sparse.coo_array(([1.0, 2.0], ([0, 0], [1, 1])), (2, 2)))
