"""Linear fine-tuning: samples and Gram matrices against the definition, its constants, merging and batches."""

import cvxpy
import numpy as np
import pytest
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve._support import threads as _threads
from lorasolve.objectives import DenseReference, LinearFineTuning, Softmax
from lorasolve.objectives._gram_matrices import ROWS


def instance(m=7, n=5, N=30, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(s).astype(dtype) for s in ((m, n), (n, N), (m, N)))


def factors(m=7, n=5, r=3, seed=1, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(s).astype(dtype) for s in ((m, r), (n, r), (m, r), (n, r)))


def definition(W0, Z, Y, X):
    residual = (W0 + X) @ Z - Y
    return 0.5 * np.sum(residual**2) / Z.shape[1], residual @ Z.T / Z.shape[1]


def test_value_and_gradient_are_the_definition():
    W0, Z, Y = instance()
    X = np.random.default_rng(2).standard_normal((7, 5))
    f, G = LinearFineTuning(W0, Z, Y).value_and_grad(X)
    expected_f, expected_G = definition(W0, Z, Y, X)
    assert_allclose(f, expected_f, rtol=1e-12)
    assert_allclose(G, expected_G, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_gram_matrices_in_several_blocks(threads, monkeypatch):
    """Sizes of more than one block of rows; the result is the same to the last bit with any number of threads."""
    W0, Z, Y = instance(m=410, n=250, N=60)
    one_block = Z @ Z.T / 60, (Y - W0 @ Z) @ Z.T / 60
    monkeypatch.setattr(_threads, "_setting", threads)
    objective = LinearFineTuning(W0, Z, Y)
    assert_allclose(objective.S, one_block[0], atol=1e-12)
    assert_allclose(objective.C, one_block[1], atol=1e-11)
    assert (objective.S == objective.S.T).all()
    assert_allclose(objective.f0, 0.5 * np.sum((W0 @ Z - Y) ** 2) / 60, rtol=1e-12)
    best = np.linalg.lstsq(Z.T, (Y - W0 @ Z).T, rcond=None)[0].T
    assert_allclose(objective.facts.lower_bound, definition(W0, Z, Y, best)[0], atol=1e-9 * objective.f0)
    monkeypatch.setattr(_threads, "_setting", 3 - threads)
    again = LinearFineTuning(W0, Z, Y)
    assert (again.S == objective.S).all() and (again.C == objective.C).all() and again.f0 == objective.f0


def test_factor_level_is_the_definition():
    W0, Z, Y = instance()
    A, B, U, V = factors()
    objective = LinearFineTuning(W0, Z, Y)
    GB, GtA = np.empty_like(A), np.empty_like(B)
    f = objective.factor_oracle(A, B, GB, GtA)
    expected_f, G = definition(W0, Z, Y, A @ B.T)
    assert_allclose(f, expected_f, rtol=1e-12)
    assert_allclose(GB, G @ B, atol=1e-11)
    assert_allclose(GtA, G.T @ A, atol=1e-11)
    assert_allclose(objective.gradient_operator(A, B).to_dense(), G, atol=1e-11)
    for fast, plain in zip(objective.factor_hvp(A, B, U, V), DenseReference(objective).factor_hvp(A, B, U, V)):
        assert_allclose(fast, plain, atol=1e-11)


@pytest.mark.parametrize("N", [3, 5, 30])
def test_lower_bound_is_the_least_squares_minimum(N):
    W0, Z, Y = instance(N=N)
    W = np.linalg.lstsq(Z.T, Y.T, rcond=None)[0].T
    assert_allclose(LinearFineTuning(W0, Z, Y).facts.lower_bound, definition(W, Z, Y, 0.0)[0], atol=1e-12)


def test_smoothness_is_the_largest_eigenvalue_on_both_routes():
    for n in (5, 600):
        W0, Z, Y = instance(m=3, n=n, N=700)
        largest = np.linalg.norm(Z, 2) ** 2 / 700
        assert_allclose(LinearFineTuning(W0, Z, Y).facts.smoothness, largest, rtol=1e-10)


@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_one_factor_minimisers_have_zero_gradient(lam):
    A, B, _, _ = factors()
    for N in (3, 30):
        objective = LinearFineTuning(*instance(N=N))
        best = objective.minimize_over_A(B, lam)
        assert_allclose(objective.value_and_grad(best @ B.T)[1] @ B + lam * best, 0.0, atol=1e-10)
        best = objective.minimize_over_B(A, lam)
        assert_allclose(objective.value_and_grad(A @ best.T)[1].T @ A + lam * best, 0.0, atol=1e-10)


@pytest.mark.parametrize(("n", "N", "empty"), [(5, 30, 0), (5, 3, 0), (5, 30, 2), (5, 3, 2), (5, 30, 5)])
@pytest.mark.parametrize("rank", [1, 3, 5])
def test_the_regression_of_any_rank_is_that_of_the_samples(n, N, empty, rank):
    """Against the projection of the targets to the row space of ``Z``; of least norm, so within the column space."""
    W0, Z, Y = instance(n=n, N=N)
    Z[:empty] = 0.0
    objective = LinearFineTuning(W0, Z, Y)
    row_space = np.linalg.svd(Z, full_matrices=False)[2][: np.linalg.matrix_rank(Z)].T
    R = Y - W0 @ Z
    explained = np.linalg.svd(R @ row_space, compute_uv=False)[:rank]
    best = 0.5 * (np.sum(R**2) - np.sum(explained**2)) / N
    A, B = objective.minimizer(0.0, rank)
    assert 1 <= A.shape[1] == B.shape[1] <= rank
    assert_allclose(definition(W0, Z, Y, A @ B.T)[0], best, atol=1e-12 * objective.f0)
    assert_allclose(B, Z @ np.linalg.pinv(Z) @ B, atol=1e-10)
    low, high = objective.least_values(rank)
    # The two sums above cancel where the samples are fitted exactly.
    rounding = 1e-14 * objective.f0
    assert low <= best + rounding and best <= high + rounding and high - low <= 1e-9 * objective.f0


def test_merging_moves_the_update_into_the_weight():
    W0, Z, Y = instance()
    rng = np.random.default_rng(3)
    U, X = rng.standard_normal((2, 7, 5))
    merged = LinearFineTuning(W0, Z, Y).merged(U)
    assert_allclose(merged.W0, W0 + U)
    assert_allclose(merged.value_and_grad(X)[0], definition(W0, Z, Y, U + X)[0], rtol=1e-12)
    batch = merged.sample_batch(np.arange(4))
    assert_allclose(batch.value_and_grad(X)[0], definition(W0, Z[:, :4], Y[:, :4], U + X)[0])


def test_batches_average_to_the_whole():
    W0, Z, Y = instance(N=30)
    X = np.random.default_rng(4).standard_normal((7, 5))
    objective = LinearFineTuning(W0, Z, Y)
    parts = [objective.sample_batch(np.arange(k, k + 10)).value_and_grad(X)[1] for k in (0, 10, 20)]
    assert_allclose(np.mean(parts, axis=0), objective.value_and_grad(X)[1], atol=1e-12)


def test_from_gram_is_the_same_function():
    W0, Z, Y = instance()
    whole = LinearFineTuning(W0, Z, Y)
    given = LinearFineTuning.from_gram(W0, whole.S, whole.C, whole.f0)
    X = np.random.default_rng(5).standard_normal((7, 5))
    assert_allclose(given.value_and_grad(X)[0], definition(W0, Z, Y, X)[0])
    with pytest.raises(NotImplementedError, match="no samples"):
        given.sample_batch(np.arange(2))
    with pytest.raises(ValueError, match="S: expected a symmetric"):
        LinearFineTuning.from_gram(W0, whole.S + np.triu(np.ones((5, 5))), whole.C, whole.f0)


def test_gram_matrices_that_belong_to_no_samples_are_refused():
    """More rows than are solved for at a time; labels that are fitted exactly have the least loss, zero."""
    rng = np.random.default_rng(7)
    W0, Z = rng.standard_normal((2 * ROWS + 5, 4)), rng.standard_normal((4, 30))
    whole = LinearFineTuning(W0, Z, rng.standard_normal((2 * ROWS + 5, 4)) @ Z)
    for rows in (slice(None), slice(-ROWS - 5, None)):
        C = np.zeros_like(whole.C)
        C[rows] = whole.C[rows]
        falls = 0.5 * float(np.trace(C @ np.linalg.solve(whole.S, C.T)))
        LinearFineTuning.from_gram(W0, whole.S, C, falls * (1.0 + 1e-6))
        with pytest.raises(ValueError, match="f0: expected at least"):
            LinearFineTuning.from_gram(W0, whole.S, C, falls * (1.0 - 1e-6))
    with pytest.raises(ValueError, match="S: expected a positive semidefinite"):
        LinearFineTuning.from_gram(W0, whole.S - 2.0 * np.eye(4), whole.C, whole.f0)
    flat = np.diag([1.0, 1.0, 1.0, 0.0])
    with pytest.raises(ValueError, match="C: expected rows in the range of S"):
        LinearFineTuning.from_gram(W0, flat, whole.C, 1e9)


@pytest.mark.parametrize("N", [3, 30])
def test_expression_has_the_value_of_the_definition(N):
    W0, Z, Y = instance(N=N)
    X = cvxpy.Variable((7, 5))
    X.value = np.random.default_rng(6).standard_normal((7, 5))
    expression = LinearFineTuning(W0, Z, Y).cvxpy_expression(X)
    assert expression.is_convex()
    assert_allclose(expression.value, definition(W0, Z, Y, X.value)[0], rtol=1e-8)


def test_float32_stays_float32_and_views_are_accepted():
    W0, Z, Y = instance(dtype=np.float32)
    Y.flags.writeable = False
    objective = LinearFineTuning(np.asfortranarray(W0), Z, Y)
    A, B, _, _ = factors(dtype=np.float32)
    GB, GtA = np.empty_like(A), np.empty_like(B)
    f = objective.factor_oracle(A, B, GB, GtA)
    assert objective.dtype == np.float32
    assert objective.gradient_operator(A, B).to_dense().dtype == np.float64
    assert objective.minimize_over_B(A, 0.1).dtype == np.float32
    assert_allclose(f, definition(*(p.astype(float) for p in (W0, Z, Y, A @ B.T)))[0], rtol=1e-5)


def test_bad_input_names_the_argument():
    W0, Z, Y = instance()
    with pytest.raises(ValueError, match="Z: expected shape"):
        LinearFineTuning(W0, Z[:-1], Y)
    with pytest.raises(ValueError, match="Y: expected shape"):
        LinearFineTuning(W0, Z, Y[:, :-1])
    with pytest.raises(ValueError, match="Y: has non-finite"):
        LinearFineTuning(W0, Z, np.full_like(Y, np.nan))
    with pytest.raises(ValueError, match="Z: is empty"):
        LinearFineTuning(W0, Z[:, :0], Y[:, :0])
    with pytest.raises(TypeError, match="W0: expected real numbers"):
        LinearFineTuning(W0.astype(complex), Z, Y)


@pytest.mark.parametrize("unit", [1.0, 1e-70, 1e-84, 1e-88, 1e-100, 1e-150])
def test_the_lower_bound_drops_no_direction_in_any_unit(unit):
    """Two nearly equal features: the least value is that of the projection on the span of both, found from the data."""
    rng = np.random.default_rng(0)
    a, b, Y = rng.standard_normal(8), rng.standard_normal(8), rng.standard_normal((3, 8))
    objective = LinearFineTuning(np.zeros((3, 2)), unit * np.vstack([a, a + 1e-8 * b]), Y)
    span = np.linalg.qr(np.column_stack([a, b]))[0]
    least = 0.5 * np.sum((Y - Y @ span @ span.T) ** 2) / 8
    assert objective.lower_bound <= least * (1.0 + 1e-7)
    plain = LinearFineTuning(np.zeros((3, 2)), unit * np.vstack([a, b]), Y)
    assert plain.lower_bound == pytest.approx(least if unit > 1e-140 else 0.0, rel=1e-9)


@pytest.mark.parametrize("name", ["linear", "softmax"])
def test_a_weight_that_its_owner_merges_into_is_still_the_one_of_the_problem(name):
    """``W0 += X`` deploys a run; the certificate had been about the merged weight then, with the update on top."""
    rng = np.random.default_rng(0)
    W0, Z = rng.standard_normal((4, 6)), rng.standard_normal((6, 60))
    loss = LinearFineTuning(W0, Z, Z[:4]) if name == "linear" else Softmax(W0, Z, rng.integers(0, 4, 60))
    problem = ls.Problem(loss, 4, 0.05)
    result = ls.solve(problem, "lbfgs")
    value = problem.convex_value(result.X)
    W0 += result.X
    certificate = ls.certify(problem, result)
    assert certificate.is_global is True and certificate.value == pytest.approx(value, rel=1e-12)
    with pytest.raises(ValueError, match="read-only"):
        problem.objective.W0[0, 0] = 1.0
