"""Matrix sensing against its dense definition: each kind of measurements, its constants, increments and float32."""

import tracemalloc

import cvxpy
import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose

from lorasolve.objectives import (
    DenseReference,
    MatrixSensing,
    _dense_measurements,
    _rank_one_measurements,
    _sparse_measurements,
)

M_ROWS, N_COLS, COUNT, RANK = 6, 4, 15, 2
KINDS = ("dense", "rank-one", "sparse")


def instance(kind, dtype=np.float64, seed=0):
    """Return the measurements in their own storage, multiplied out, and the observations."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(COUNT).astype(dtype)
    if kind == "rank-one":
        a, b = rng.standard_normal((COUNT, M_ROWS)).astype(dtype), rng.standard_normal((COUNT, N_COLS)).astype(dtype)
        return (a, b), np.einsum("ki,kj->kij", a, b), y
    M = rng.standard_normal((COUNT, M_ROWS, N_COLS)).astype(dtype)
    if kind == "sparse":
        M *= rng.random(M.shape) < 0.2
        M[:, 2, 3] = 0.0
        return scipy.sparse.csr_array(M.reshape(COUNT, -1)), M, y
    return M, M, y


def build(kind, dtype=np.float64):
    given, M, y = instance(kind, dtype)
    shape = (M_ROWS, N_COLS) if kind == "sparse" else None
    return MatrixSensing(given, y, shape), M, y


def definition(M, y, X):
    residual = np.einsum("kij,ij->k", M, X) - y
    return 0.5 * np.sum(residual**2) / y.size, np.einsum("k,kij->ij", residual, M) / y.size


def factors(seed=1, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((s, RANK)).astype(dtype) for s in (M_ROWS, N_COLS, M_ROWS, N_COLS))


@pytest.mark.parametrize("kind", KINDS)
def test_dense_and_factor_level_are_the_definition(kind):
    objective, M, y = build(kind)
    assert objective.kind == kind
    A, B, U, V = factors()
    expected_f, G = definition(M, y, A @ B.T)
    f, dense = objective.value_and_grad(A @ B.T)
    assert_allclose([f, *dense.ravel()], [expected_f, *G.ravel()], atol=1e-12)
    GB, GtA = np.empty_like(A), np.empty_like(B)
    assert_allclose(objective.factor_oracle(A, B, GB, GtA), expected_f, rtol=1e-12)
    assert_allclose(GB, G @ B, atol=1e-12)
    assert_allclose(GtA, G.T @ A, atol=1e-12)
    assert_allclose(objective.gradient_operator(A, B).to_dense(), G, atol=1e-12)
    for fast, plain in zip(objective.factor_hvp(A, B, U, V), DenseReference(objective).factor_hvp(A, B, U, V)):
        assert_allclose(fast, plain, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_smoothness_is_the_squared_norm_of_the_map(kind):
    objective, M, _ = build(kind)
    assert_allclose(objective.facts.smoothness, np.linalg.norm(M.reshape(COUNT, -1), 2) ** 2 / COUNT, rtol=1e-10)


@pytest.mark.parametrize("kind", ["dense", "wide", "rank-one"])
def test_no_curvature_along_a_matrix_of_rank_one_is_above_the_bound(kind, monkeypatch):
    """The largest that a power iteration between the two vectors finds is not far below it either."""
    monkeypatch.setattr(_dense_measurements, "PIECE", 4)
    objective, M, y = build("rank-one" if kind == "rank-one" else "dense")
    if kind == "wide":
        M = M.transpose(0, 2, 1)
        objective = MatrixSensing(M, y)
    rng, found = np.random.default_rng(5), 0.0
    for _ in range(20):
        u = rng.standard_normal(M.shape[1])
        for _ in range(20):
            v = np.linalg.svd(np.einsum("kij,i->kj", M, u))[2][0]
            _, s, Vt = np.linalg.svd(np.einsum("kij,j->ki", M, v))
            u = Vt[0]
            found = max(found, s[0] ** 2 / COUNT)
    assert found <= objective.facts.rank_one_smoothness <= 4.0 * found


def test_the_bound_of_curvature_is_attained_where_the_measurements_share_a_vector():
    """``M_i = a_i b^T``: ``sum_i (u^T M_i v)^2`` is ``||a u||^2 (b^T v)^2``, the largest of which is in closed form."""
    rng = np.random.default_rng(6)
    a, b = 10.0 * rng.standard_normal((COUNT, M_ROWS)), rng.standard_normal(N_COLS)
    most = np.linalg.norm(a, 2) ** 2 * (b @ b) / COUNT
    for given in (np.einsum("ki,j->kij", a, b), (a, np.tile(b, (COUNT, 1)))):
        bound = MatrixSensing(given, np.ones(COUNT)).facts.rank_one_smoothness
        assert most * (1.0 - 1e-12) <= bound
    assert_allclose(bound, most, rtol=1e-12)
    assert_allclose(MatrixSensing(np.einsum("ki,j->kji", a, b), np.ones(COUNT)).facts.rank_one_smoothness, most)


@pytest.mark.parametrize("size", [1e-150, 1e150])
def test_squares_beyond_the_range_of_floats_bound_no_curvature(size):
    for given in (size * np.ones((2, 3, 2)), (size * np.ones((2, 3)), np.ones((2, 2)))):
        assert MatrixSensing(given, np.ones(2)).facts.rank_one_smoothness is None


def test_rank_one_smoothness_beyond_the_gram_limit_is_an_upper_bound(monkeypatch):
    monkeypatch.setattr(_rank_one_measurements, "GRAM_LIMIT", 1)
    objective, M, _ = build("rank-one")
    true = np.linalg.norm(M.reshape(COUNT, -1), 2) ** 2 / COUNT
    assert true <= objective.facts.smoothness <= 10 * true


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lam", [0.0, 0.2])
def test_one_factor_minimisers_have_zero_gradient(kind, lam):
    objective, _, _ = build(kind)
    A, B, _, _ = factors()
    best = objective.minimize_over_A(B, lam)
    assert_allclose(objective.value_and_grad(best @ B.T)[1] @ B + lam * best, 0.0, atol=1e-10)
    best = objective.minimize_over_B(A, lam)
    assert_allclose(objective.value_and_grad(A @ best.T)[1].T @ A + lam * best, 0.0, atol=1e-10)


def measured_entries(N, m, n, seed=0):
    """Return measurements of one entry each, some of them twice, of weights from 0 to 1e6; one measures nothing."""
    rng = np.random.default_rng(seed)
    entries, weights = rng.integers(m * n - n, size=N), rng.choice([0.0, 1e-6, 1.0, 1e6], N)  # none in the last row
    M = scipy.sparse.csr_array((np.sqrt(weights)[1:], (np.arange(1, N), entries[1:])), shape=(N, m * n))
    return M, rng.standard_normal(N), rng


@pytest.mark.parametrize("lam", [1e-3, 0.0])
def test_one_factor_of_weighted_entries_is_the_least_squares_solution_of_all_rows_together(lam):
    """That of the whole design by its SVD, which for lam = 0 has the least norm."""
    N, (m, n), r = 40, (5, 6), 2
    M, y, rng = measured_entries(N, m, n)
    f = MatrixSensing(M, y, (m, n))
    A, B = rng.standard_normal((m, r)), rng.standard_normal((n, r))
    dense = M.toarray().reshape(N, m, n)
    for found, design in (
        (f.minimize_over_A(B, lam), np.einsum("kij,jl->kil", dense, B)),
        (f.minimize_over_B(A, lam), np.einsum("kij,il->kjl", dense, A)),
    ):
        design = design.reshape(N, -1)
        decay = np.sqrt(N * lam) * np.eye(design.shape[1])
        expected = np.linalg.lstsq(np.vstack([design, decay]), np.append(y, np.zeros(len(decay))), rcond=1e-12)[0]
        assert_allclose(found.ravel(), expected, rtol=1e-7, atol=1e-10)


def test_one_factor_of_weighted_entries_takes_no_matrix_of_all_unknowns():
    """It had a column for each: 2 GB for 50,000 ratings in 1000 rows at rank 5, and a minute for each factor."""
    N, (m, n), r = 2000, (200, 100), 4
    M, y, rng = measured_entries(N, m, n)
    f, B = MatrixSensing(M, y, (m, n)), rng.standard_normal((n, r))
    tracemalloc.start()
    try:
        f.minimize_over_A(B, 1.0)
        assert tracemalloc.get_traced_memory()[1] < N * m * r * 8 / 10
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_merge_batch_and_expression_follow_the_definition(kind):
    objective, M, y = build(kind)
    rng = np.random.default_rng(3)
    update, X = rng.standard_normal((2, M_ROWS, N_COLS))
    assert_allclose(objective.merged(update).value_and_grad(X)[0], definition(M, y, update + X)[0], rtol=1e-12)
    index = np.array([3, 1, 7])
    batch = objective.sample_batch(index)
    assert_allclose(batch.value_and_grad(X)[1], definition(M[index], y[index], X)[1], atol=1e-12)
    variable = cvxpy.Variable((M_ROWS, N_COLS))
    variable.value = X
    assert_allclose(objective.cvxpy_expression(variable).value, definition(M, y, X)[0], rtol=1e-10)
    relative = np.linalg.norm(np.einsum("kij,ij->k", M, X) - y) / np.linalg.norm(y)
    assert_allclose(objective.metrics(X)["relative_residual"], relative)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_kept(kind):
    objective, M, y = build(kind, np.float32)
    A, B, _, _ = factors(dtype=np.float32)
    GB, GtA = np.empty_like(A), np.empty_like(B)
    f = objective.factor_oracle(A, B, GB, GtA)
    assert objective.dtype == GB.dtype == np.float32
    assert_allclose(f, definition(M.astype(float), y, A.astype(float) @ B.T)[0], rtol=1e-5)
    assert objective.gradient_operator(A, B).to_dense().dtype == np.float64


def test_the_twin_in_float32_has_the_same_measurements_where_they_are_large_and_fit(monkeypatch):
    objective, M, y = build("dense")
    assert objective.in_float32() is None
    monkeypatch.setattr(_dense_measurements, "LARGE", M.size)
    single = objective.in_float32()
    X = np.random.default_rng(2).standard_normal(objective.shape).astype(np.float32)
    f, G = single.value_and_grad(X)
    value, gradient = definition(M, y, X.astype(np.float64))
    assert single.dtype == G.dtype == np.float32 and single.in_float32() is single
    assert f == pytest.approx(value, rel=1e-5)
    assert_allclose(G, gradient, rtol=1e-4, atol=1e-5)
    for size in (0.0, 1e-30, 1e30):
        assert MatrixSensing(size * M, y).in_float32() is MatrixSensing(M, size * y).in_float32() is None
    for kind in ("rank-one", "sparse"):
        assert build(kind)[0].in_float32() is None


def test_increments_err_by_less_the_less_their_points_move(monkeypatch):
    """In float32, with errors relative to the steps since the last exact point; none where that does not fit."""
    monkeypatch.setattr(_dense_measurements, "DESCENT_FROM", 0)
    objective, M, y = build("dense")
    A, B, U, V = factors()
    oracle = objective.increments()
    for step in (0.0, 1e-1, 1e-3, 1e-5, 1e-7):
        f = oracle.exact(A, B, np.empty_like(A), np.empty_like(B))
        value, G = definition(M, y, A @ B.T)
        assert f == pytest.approx(value, rel=1e-13)
        assert_allclose(oracle.gradient(), G, rtol=1e-12, atol=1e-13)
        # The second of two points: what the first one missed is not far behind either.
        for sign in (1.0, -1.0):
            a, b = A + sign * step * U, B + sign * step * V
            GB, GtA = np.empty_like(a), np.empty_like(b)
            f = oracle(a, b, GB, GtA)
            value, G = definition(M, y, a @ b.T)
            assert abs(f - value) <= 2e-6 * step * abs(value) + 1e-12
            for found, true in ((GB, G @ b), (GtA, G.T @ a)):
                assert np.abs(found - true).max() <= 2e-6 * step * np.abs(true).max() + 1e-12
    for other in (MatrixSensing(1e30 * M, y), MatrixSensing(M, 1e-30 * y), build("rank-one")[0], build("sparse")[0]):
        assert other.increments() is None
    monkeypatch.setattr(_dense_measurements, "DESCENT_FROM", M.size + 1)
    assert objective.increments() is None


def test_increments_recover_from_a_step_beyond_float32(monkeypatch):
    monkeypatch.setattr(_dense_measurements, "DESCENT_FROM", 0)
    objective, M, y = build("dense")
    A, B, _, _ = factors()
    oracle, products = objective.increments(), (np.empty_like(A), np.empty_like(B))
    oracle.exact(A, B, *products)
    far = oracle(1e45 * A, B, *products)
    assert far == pytest.approx(definition(M, y, 1e45 * A @ B.T)[0], rel=1e-12)
    oracle.exact(A, B, *products)
    assert oracle(A, B, *products) == pytest.approx(definition(M, y, A @ B.T)[0], rel=1e-13)


def test_the_value_at_zero_is_that_of_the_observations():
    for kind in ("dense", "rank-one", "sparse"):
        objective, _, y = build(kind)
        A, B, _, _ = factors()
        for a, b in ((0.0 * A, B), (A, 0.0 * B)):
            assert objective.factor_value(a, b) == pytest.approx(0.5 * np.mean(y**2), rel=1e-14)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(50, 3, 40), (50, 40, 3), (7, 30, 30)])
def test_constants_from_float32_bound_those_of_float64(monkeypatch, seed, shape):
    """Numbers that float32 rounds down add up to more than their float32: the bound has to count that."""
    rng = np.random.default_rng(seed)
    single = rng.standard_normal(shape).astype(np.float32).astype(np.float64)
    M = single + np.sign(single) * 0.49 * np.spacing(np.abs(single).astype(np.float32)).astype(np.float64)
    exact = MatrixSensing(M, np.ones(len(M)))
    expected = exact.facts.rank_one_smoothness
    long = M.astype(np.longdouble)
    few = long if shape[1] <= shape[2] else long.transpose(0, 2, 1)
    gram = sum(m.T @ m for m in few) / len(M)
    assert expected == pytest.approx(np.linalg.eigvalsh(gram.astype(float))[-1], rel=1e-12)
    monkeypatch.setattr(_dense_measurements, "DESCENT_FROM", 0)
    rough = MatrixSensing(M, np.ones(len(M)))
    assert expected <= rough.facts.rank_one_smoothness <= 1.02 * expected


@pytest.mark.parametrize("descent_from", [0, 10**9])
def test_the_scaling_of_descents_is_the_mean_diagonal_of_the_hessian(monkeypatch, descent_from):
    """Over all directions of unit length in place of the ``r`` that a column of a factor has."""
    monkeypatch.setattr(_dense_measurements, "DESCENT_FROM", descent_from)
    objective, M, _ = build("dense")
    A, B, _, _ = factors()
    curvatures = np.einsum("kij,kij->ij", M, M) / COUNT
    for found, other in zip(objective.factor_diagonal(A, B), (B, A)):
        expected = curvatures.mean() * (other**2).sum(axis=0)
        assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-5)


def test_read_only_and_strided_input_is_accepted():
    M, _, y = instance("dense")
    M.flags.writeable = False
    strided = np.repeat(y, 2)[::2]
    A, B, _, _ = factors()
    f = MatrixSensing(M, strided).factor_oracle(A, B, np.empty_like(A), np.empty_like(B))
    assert_allclose(f, definition(M, y, A @ B.T)[0])


def test_bad_input_names_the_argument():
    M, _, y = instance("dense")
    with pytest.raises(ValueError, match="y: expected shape"):
        MatrixSensing(M, y[:-1])
    with pytest.raises(ValueError, match="measurements: expected 3 dimensions"):
        MatrixSensing(M[0], y)
    with pytest.raises(ValueError, match="y: has non-finite"):
        MatrixSensing(M, np.where(np.arange(COUNT) == 2, np.inf, y))
    with pytest.raises(ValueError, match="shape: needed for sparse"):
        MatrixSensing(M, y, shape=(6, 4))
    with pytest.raises(TypeError, match=r"measurements: .* or a tuple \(a, b\) .*got a list of 2 arrays"):
        MatrixSensing([np.ones((5, 3)), np.ones((5, 2))], np.ones(5))
    with pytest.raises(TypeError, match=r"measurements: expected one sparse matrix .*vstack"):
        MatrixSensing([scipy.sparse.csr_array(each) for each in M], y)
    (a, b), _, _ = instance("rank-one")
    with pytest.raises(ValueError, match="equally many"):
        MatrixSensing((a, b[:-1]), y)
    with pytest.raises(ValueError, match="pair"):
        MatrixSensing((a, b, b), y)
    sparse, _, _ = instance("sparse")
    with pytest.raises(ValueError, match="need shape"):
        MatrixSensing(sparse, y)
    with pytest.raises(ValueError, match="does not fit"):
        MatrixSensing(sparse, y, shape=(5, 5))


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_a_sparse_matrix_of_the_caller_stays_as_it_is(form, dtype):
    """Integers, an entry that is stored twice, and columns out of order; the loss is that of the dense matrix."""
    entries = np.array([1, 2, 3, 4], dtype), (np.array([0, 0, 0, 1]), np.array([4, 1, 4, 3]))
    given = scipy.sparse.coo_matrix(entries, shape=(2, 6)).asformat(form)
    if form == "csr":
        given = scipy.sparse.csr_matrix((entries[0], entries[1][1], np.array([0, 3, 4])), shape=(2, 6))
        assert given.nnz == 4
    before = given.copy()
    parts = [part for part in ("data", "indices", "indptr", "row", "col") if hasattr(given, part)]
    sparse = MatrixSensing(given, np.ones(2), shape=(2, 3))
    assert given.nnz == before.nnz
    for part in parts:
        found, was = getattr(given, part), getattr(before, part)
        assert found.dtype == was.dtype
        np.testing.assert_array_equal(found, was)
    X = np.arange(6.0).reshape(2, 3)
    dense = np.array([[0.0, 2, 0, 0, 4, 0], [0, 0, 0, 4, 0, 0]]).reshape(2, 2, 3)
    assert sparse.value_and_grad(X)[0] == pytest.approx(definition(dense, np.ones(2), X)[0], rel=1e-14)


@pytest.mark.parametrize("form", ["csr", "coo"])
def test_entries_given_twice_are_added_up_beyond_a_small_type(form):
    entries = np.array([100, 100], dtype=np.int8)
    if form == "csr":
        given = scipy.sparse.csr_array((entries, np.array([4, 4]), np.array([0, 2])), shape=(1, 6))
    else:
        given = scipy.sparse.coo_array((entries, (np.array([0, 0]), np.array([4, 4]))), shape=(1, 6))
    # <M, X> = 200 X[1, 1].
    assert MatrixSensing(given, [0.0], shape=(2, 3)).value_and_grad(np.ones((2, 3)))[0] == 200.0**2 / 2


def test_sparse_matrices_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"measurements: expected 2 dimensions, got shape \(6,\)"):
        MatrixSensing(scipy.sparse.coo_array(np.ones(6)), np.ones(1), shape=(2, 3))
    for broken, place, value in (("indices", 0, 6), ("indices", 0, -1), ("indptr", 1, 500), ("indptr", 1, -2)):
        given = scipy.sparse.csr_array(np.ones((3, 6)))
        getattr(given, broken)[place] = value
        with pytest.raises(ValueError, match="measurements: is no valid sparse matrix"):
            MatrixSensing(given, np.ones(3), shape=(2, 3))


@pytest.mark.parametrize("form", ["single entries", "single entries, each measured twice", "entries of no other"])
def test_measurements_of_orthogonal_rows_or_columns_have_their_largest_length(form, monkeypatch):
    # By singular values of the dense matrix; the spectrum is too crowded for an iteration, which of 100,000 ratings
    # had not ended after minutes.
    rng = np.random.default_rng(5)
    count, width = 12, 2 if form == "entries of no other" else 1
    place = rng.permutation(M_ROWS * N_COLS)[: count * width]
    M = np.zeros((count, M_ROWS * N_COLS))
    M[np.repeat(np.arange(count), width), place] = rng.uniform(0.5, 3.0, place.size)
    if "twice" in form:
        M = np.vstack([M, rng.uniform(0.5, 3.0, (count, 1)) * (M > 0)])
    objective = MatrixSensing(scipy.sparse.csr_array(M), np.ones(len(M)), shape=(M_ROWS, N_COLS))
    monkeypatch.setattr(_sparse_measurements, "squared_norm", None)
    assert objective.smoothness == pytest.approx(np.linalg.norm(M, 2) ** 2 / len(M), rel=1e-13, abs=0.0)
