"""Norm bounds against exact elimination in rationals and against mpmath."""

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.sparse import csr_array

from lorasolve.certificates import balls, norms, nuclear_norms
from lorasolve.certificates._rounding import U
from lorasolve.certificates.balls import Ball, SparseBall


def matrices(rng, count):
    """Plain, clustered, graded, of deficient rank, of one size with a tiny part, and zero matrices, at many scales."""
    for k in range(count):
        m, n = (int(v) for v in rng.integers(1, 6, 2))
        G = rng.standard_normal((m, n))
        kind = k % 6
        if kind == 1:
            P, Q = np.linalg.qr(rng.standard_normal((m, m)))[0], np.linalg.qr(rng.standard_normal((n, n)))[0]
            G = P[:, : min(m, n)] @ Q[:, : min(m, n)].T
        if kind == 2:
            G = G * 10.0 ** rng.integers(-12, 1, (m, 1)) * 10.0 ** rng.integers(-12, 1, (1, n))
        if kind == 3:
            G = np.outer(G[:, 0], rng.standard_normal(n))
        if kind == 4:
            G = np.ones((m, n)) + 1e-9 * G
        if kind == 5:
            G = G * rng.integers(0, 2, (m, n))
        yield G * 10.0 ** float(rng.choice([0, 0, -8, 8, -155, 140, -300]))


def sparse(G):
    """The ball of radius 0 around a matrix that is known by what is not 0."""
    return SparseBall(csr_array(G), 0.0)


def violations(exact, trust="lapack", seed=0, count=120, ball=Ball, loss=0.0):
    """How many bounds of a matrix are wrong, with no level and with one just below the norm."""
    rng = np.random.default_rng(seed)
    wrong = 0
    for G in matrices(rng, count):
        true = float(np.linalg.norm(G, 2))
        for level in (None, true * (1.0 - 1e-14), true * 0.999, true * 1.1):
            bound = norms.Gram(ball(G), trust).norm(level, loss=loss)
            wrong += not exact.norm_at_most(exact.rational(G), bound)
    return wrong


@pytest.mark.parametrize("trust", ["lapack", "gemm"])
def test_spectral_norm_is_never_too_small(exact, trust):
    assert violations(exact, trust=trust) == 0


@pytest.mark.parametrize("loss", [1e-15, 1e-12])
@pytest.mark.parametrize("trust", ["lapack", "gemm"])
def test_quick_bounds_of_rounding_errors_are_never_too_small(exact, trust, loss):
    assert violations(exact, trust, loss=loss) == 0


@pytest.mark.parametrize("loss", [0.0, 1e-12])
def test_the_norm_of_a_sparse_matrix_is_never_too_small(exact, monkeypatch, loss):
    monkeypatch.setattr(norms, "COMPILED", 0)
    monkeypatch.setattr(norms, "SPARSE", 1)
    asked = []
    products = norms._row_products
    monkeypatch.setattr(norms, "_row_products", lambda R: asked.append(products(R)) or asked[-1])
    assert violations(exact, ball=sparse, loss=loss) == 0
    assert asked and all(found is not None for found in asked)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("size", [1.0, 2.0**400])
def test_a_sparse_matrix_has_the_norm_of_its_array(monkeypatch, size, turned):
    """Rare and full columns, either side the longer; scaled into the range where squares are numbers."""
    monkeypatch.setattr(norms, "COMPILED", 0)
    rng = np.random.default_rng(5)
    there = rng.random((60, 90)) < np.where(np.arange(90) % 9 == 0, 0.8, 0.05)
    G = rng.standard_normal(there.shape) * there * size
    ball = sparse(G.T if turned else G)
    true = float(np.linalg.norm(G / size, 2))
    for trust in ("lapack", "gemm"):
        gram = norms.Gram(ball, trust)
        assert gram._squares.shape == (60, 60)
        for level in (None, 1.1 * true * size):
            assert true * (1.0 - 1e-14) <= gram.norm(level) / size <= (1.1 if level else 1.0) * true * (1.0 + 1e-12)
    assert "mid" not in vars(ball) or trust == "gemm"
    assert np.array_equal(ball.mid, G.T if turned else G)


def test_both_bounds_of_the_errors_of_a_gram_matrix_hold(exact):
    rng = np.random.default_rng(7)
    inexact = 0
    for G in matrices(rng, 120):
        gram = norms.Gram(Ball(G))
        C = exact.rational(gram._tall)
        errors = np.abs(exact.rational(gram._squares) - C.T @ C)
        inexact += errors.any()
        for enough in (0.0, math.inf):
            # Every row, column and entry of the difference has at most its norm.
            assert math.sqrt(float((errors**2).sum(axis=0).max())) <= gram._error(enough) * (1.0 + 1e-15)
    assert inexact > 60


def test_rounding_errors_add_no_more_than_they_may():
    """Far from the level there is nothing to lose; near it the quick bounds are above the sharp ones, by that much."""
    G = np.random.default_rng(6).standard_normal((300, 310))
    true = float(np.linalg.norm(G, 2))
    sharp, quick = (norms.Gram(Ball(G)).norm(true * (1.0 + 1e-10), loss=loss) for loss in (0.0, 1e-8))
    assert true < sharp < quick <= true * (1.0 + 1e-8)
    assert norms.Gram(Ball(G)).norm(true * (1.0 + 1e-10), loss=1e-14) == sharp


def test_spectral_norm_is_tight():
    rng = np.random.default_rng(1)
    for G in matrices(rng, 120):
        true = float(np.linalg.norm(G, 2))
        for trust in ("lapack", "gemm"):
            bound = norms.Gram(Ball(G), trust).norm()
            if 1e-150 < true < 1e150:
                assert bound <= true * (1.0 + 1e-12)
        assert norms.Gram(Ball(G)).norm(1.5 * true) <= 1.5 * true * (1.0 + 1e-12) + 1e-300


@pytest.mark.parametrize("n", [230, 600])
def test_larger_matrices(n):
    """Beyond the sizes where LAPACK finds the eigenvalue, and where sums are in blocks."""
    G = np.random.default_rng(2).standard_normal((n, n + 30))
    true = np.linalg.norm(G, 2)
    for trust in ("lapack", "gemm"):
        for level in (None, true, 0.5 * true):
            assert true * (1.0 - 1e-14) <= norms.Gram(Ball(G), trust).norm(level) <= true * (1.0 + 1e-11)


def near_an_optimum(rng, shape):
    """Three singular values of 1, the others well below; and the singular vectors of the short side, times values."""
    P, values, Qt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    values *= 0.8 / values[0]
    values[:3] = 1.0
    G = (P * values) @ Qt
    return G, (P if shape[0] < shape[1] else Qt.T)[:, :3], values


def wrong_rests(seed=0, count=150):
    """How many bounds of the norm and of what is below the top are wrong, for any columns; and how many are finite."""
    rng = np.random.default_rng(seed)
    wrong = finite = 0
    for G in matrices(rng, count):
        k = int(rng.integers(0, min(G.shape) + 1))
        P, values, Qt = np.linalg.svd(G, full_matrices=False)
        V = (P if G.shape[0] < G.shape[1] else Qt.T)[:, :k]
        V = V * (1.0 + 10.0 ** rng.uniform(-16.0, 0.5) * rng.standard_normal(V.shape))
        below = values[k] if k < values.size else 0.0
        near = values[0] * rng.choice([1.0, 1.0 + 1e-9, 3.0])
        for level in (0.5 * (below + values[0]), below * (1.0 + 1e-9), below * 0.99):
            norm, rest = norms.Gram(Ball(G)).parted(V, level, near)
            wrong += not (below <= rest * (1.0 + 1e-14) and values[0] <= norm * (1.0 + 1e-14))
            finite += rest < math.inf
    return wrong, finite


def test_a_gram_matrix_of_full_and_rare_columns(monkeypatch):
    """Integers, so that every order of evaluation is exact."""
    monkeypatch.setattr(norms, "COMPILED", 0)
    rng = np.random.default_rng(2)
    there = rng.random((30, 60)) < np.where(np.arange(60) % 7 == 0, 0.9, 0.05)
    R = rng.integers(-50, 50, there.shape) * there.astype(float)
    W, length = norms._row_products(csr_array(R))
    assert np.array_equal(np.triu(W), np.triu(R @ R.T))
    full = norms.SPARSE * np.count_nonzero(R, axis=0) > len(R)
    assert 0 < full.sum() < 60 and length > np.count_nonzero(R[:, ~full], axis=1).max()
    assert norms._row_products(csr_array(R[:, full])) is None


def test_a_level_beyond_takes_the_place_of_an_eigenvalue(monkeypatch):
    G = np.random.default_rng(3).standard_normal((30, 20))
    true = float(np.linalg.norm(G, 2))
    asked = []
    monkeypatch.setattr(norms, "_largest_eigenvalue", lambda W, accuracy: asked.append(1) or true**2)
    gram = norms.Gram(Ball(G))
    found = gram.norm(0.99 * true, (0.999 * true, 1.001 * true))
    assert true <= found <= 1.0011 * true and not asked
    assert true <= gram.norm(0.99 * true, (0.999 * true,)) <= 1.0001 * true and asked
    assert true <= gram.norm(true * (1.0 + 1e-12), (2.0 * true,)) <= true * (1.0 + 1e-10)


def test_a_norm_above_the_level_by_less_than_a_rough_estimate_sees(monkeypatch):
    """Two singular values around the level, and Lanczos that stops at the second: no factorisation near it exists.

    The bound is above the norm by no more than ``STEP`` times the excess over the level, without another eigenvalue.
    """
    rng = np.random.default_rng(4)
    P, Q = (np.linalg.qr(rng.standard_normal((30, 30)))[0] for _ in range(2))
    values = np.linspace(0.1, 0.9, 30)
    asked = []
    monkeypatch.setattr(norms, "EIGENVALUE_LIMIT", 10)
    monkeypatch.setattr(norms, "_largest_eigenvalue", lambda W, accuracy: asked.append(accuracy) or values[1] ** 2)
    for excess in (2.6e-8, 1e-10, 3e-7):
        values[:2] = 1.0 + excess, 1.0 - 1.2 * excess
        found = norms.Gram(Ball((P * values) @ Q.T)).norm(1.0)
        assert values[0] <= found * (1.0 + 1e-15) and found - 1.0 <= norms.STEP * excess * (1.0 + 1e-6) + 1e-14
    assert asked == [norms.LEVEL_ACCURACY] * 3


def test_no_factorisation_is_tried_below_an_eigenvalue_that_was_seen(monkeypatch):
    rng = np.random.default_rng(4)
    P, Q = (np.linalg.qr(rng.standard_normal((30, 30)))[0] for _ in range(2))
    values = np.linspace(0.1, 0.9, 30)
    values[0] = 1.0 + 3e-6
    tried, defect = [], norms._shifted_defect
    monkeypatch.setattr(norms, "EIGENVALUE_LIMIT", 10)
    monkeypatch.setattr(norms, "_largest_eigenvalue", lambda W, accuracy: values[0] ** 2)
    monkeypatch.setattr(norms, "_shifted_defect", lambda M, tau, *more: tried.append(tau) or defect(M, tau, *more))
    assert values[0] <= norms.Gram(Ball((P * values) @ Q.T)).norm(1.0) <= 1.0 + norms.STEP * 3.1e-6
    assert len(tried) <= norms.LEVEL_ATTEMPTS + 2
    assert min(tried[norms.LEVEL_ATTEMPTS :]) >= values[0] ** 2 * (1.0 - 1e-14)


def test_what_is_below_the_top_is_never_bounded_too_low():
    wrong, finite = wrong_rests()
    assert wrong == 0 and finite > 150


@pytest.mark.parametrize("copies", [2, 5])
def test_columns_that_are_parallel_count_together(copies):
    """Each brings the top down by its share, and so does the norm of all of them together."""
    V = np.zeros((3, copies))
    V[0] = math.sqrt(1.0 / copies)
    norm, rest = norms.Gram(Ball(np.diag([1.0, 0.5, 0.2]))).parted(V, 0.5 * (1.0 + 1e-10), 1.0 + 1e-9)
    assert 1.0 <= norm <= 2.0 and 0.5 <= rest < 0.51


@pytest.mark.parametrize("shape", [(40, 60), (60, 40)])
@pytest.mark.parametrize("size", [1.0, 2.0**400, 2.0**-400])
def test_values_and_vectors_within_a_space(shape, size):
    G, short, values = near_an_optimum(np.random.default_rng(3), shape)
    Q = np.linalg.svd(G)[2][:3].T
    found, vectors = norms.Gram(Ball(size * G)).within(Q)
    np.testing.assert_allclose(found / size, values[2::-1], rtol=1e-12)
    # Of the short side, whatever basis of it.
    np.testing.assert_allclose(vectors @ (vectors.T @ short), short, atol=1e-12)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (50, 50)])
@pytest.mark.parametrize("size", [1.0, 2.0**400, 2.0**-400])
def test_the_inverse_is_that_of_what_a_bound_was_found_with(shape, size):
    """Singular vectors are eigenvectors: 1 / (tau - sigma^2), with the near value in the place of tau for the top."""
    G, short, values = near_an_optimum(np.random.default_rng(3), shape)
    U, _, Vt = np.linalg.svd(G, full_matrices=False)
    vectors = U if shape[0] < shape[1] else Vt.T
    gram = norms.Gram(Ball(size * G))
    assert gram.inverse() is None
    gram.norm(size * 1.1)
    first = gram.inverse()
    whole = first.matmat(vectors)
    unit = np.ldexp(1.0, 2 * gram._exponent) / (size * size)
    np.testing.assert_allclose(whole, vectors * (unit / (1.1**2 - values**2)), rtol=1e-6, atol=1e-9 * unit)
    gram.parted(short, size * 0.85, size * 1.1)
    parts = gram.inverse().matmat(vectors)
    shifts = np.r_[np.full(3, 1.1), np.full(len(values) - 3, 0.85)] ** 2 - values**2
    np.testing.assert_allclose(parts, vectors * (unit / shifts), rtol=1e-6, atol=1e-9 * unit)
    np.testing.assert_array_equal(first.matmat(vectors), whole)


def test_without_trust_in_its_factor_there_is_no_inverse():
    gram = norms.Gram(Ball(np.diag([1.0, 0.5, 0.2])), "gemm")
    assert gram.norm(1.1) < 1.2 and gram.inverse() is None


def test_a_factorisation_that_is_not_asked_is_caught(monkeypatch):
    monkeypatch.setattr(norms, "_shifted_defect", lambda M, tau, trust, enough: 0.0)
    assert wrong_rests()[0] > 0


@pytest.mark.parametrize("trust", ["lapack", "gemm"])
@pytest.mark.parametrize("shape", [(230, 300), (300, 230), (240, 240)])
@pytest.mark.parametrize("size", [1.0, 2.0**400, 2.0**-400])
def test_bounds_below_the_top_are_sharp_near_an_optimum(trust, shape, size):
    G, left, values = near_an_optimum(np.random.default_rng(3), shape)
    after = size * values[3]
    gram = norms.Gram(Ball(size * G), trust)
    for near in (1.0 + 1e-9, 2.0):
        norm, rest = gram.parted(left, after * (1.0 + 1e-10), size * near)
        assert after * (1.0 - 1e-14) <= rest <= after * (1.0 + 2e-10)
        assert 1.0 - 1e-14 <= norm / size <= near * (1.0 + 1e-9)
    assert gram.parted(left, after * (1.0 + 1e-10), 0.999 * size) == (math.inf, math.inf)
    assert gram.parted(left, after * (1.0 - 1e-10), size) == (math.inf, math.inf)
    assert gram.parted(left[:, :2], 0.99 * size, 2.0 * size) == (math.inf, math.inf)
    # The same factorised matrix bounds the norm, and the radius counts in both.
    assert size * (1.0 - 1e-14) <= gram.norm(size) <= size * (1.0 + 1e-11)
    wide = norms.Gram(Ball(size * G, 0.05 * size), trust)
    worst = after + 0.05 * size
    norm, rest = wide.parted(left, worst * (1.0 + 1e-10), 1.1 * size)
    assert worst * (1.0 - 1e-14) <= rest <= worst * (1.0 + 2e-10)
    assert 1.05 * size * (1.0 - 1e-14) <= norm
    assert wide.parted(left, after * (1.0 + 1e-10), 1.1 * size) == (math.inf, math.inf)


def test_nothing_is_said_of_what_is_unknown():
    for unknown in (Ball(np.eye(2), math.inf), Ball(np.eye(2) + math.nan), Ball(np.eye(2) + math.inf)):
        assert norms.Gram(unknown).parted(np.eye(2)[:, :1], 2.0, 3.0) == (math.inf, math.inf)


def test_the_radius_is_part_of_the_bound():
    G = np.diag([3.0, 1.0])
    assert 3.5 <= norms.Gram(Ball(G, 0.5)).norm() <= 3.5 * (1 + 1e-12)
    assert norms.Gram(Ball(G, 0.5)).norm(3.6) >= 3.5
    assert norms.Gram(Ball(np.zeros((3, 2)), 0.25)).norm() <= 0.25 * (1 + 1e-15)
    for unknown in (Ball(G, math.inf), Ball(G + math.nan), Ball(G + math.inf)):
        assert norms.Gram(unknown).norm() == math.inf


def test_a_failed_factorisation_makes_no_wrong_bound(monkeypatch, exact):
    monkeypatch.setattr(norms, "semidefinite_defect", lambda M, trust, enough: None)
    assert violations(exact) == 0


def test_a_wrong_estimate_makes_no_wrong_bound(monkeypatch, exact):
    """Lanczos may miss the top altogether: the factorisation then fails and the next bound is tried."""
    monkeypatch.setattr(norms, "_largest_eigenvalue", lambda W, accuracy: 1e-9 * float(np.trace(W)))
    assert violations(exact) == 0


def test_dropped_shifts_and_radii_are_caught(monkeypatch, exact):
    with monkeypatch.context() as patch:
        patch.setattr(norms, "_shifted_defect", lambda W, tau, trust, enough: 0.0)
        assert violations(exact) > 0
    with monkeypatch.context() as patch:
        patch.setattr(norms, "_shifted_defect", lambda W, tau, trust, enough: 0.0)
        patch.setattr(norms, "_candidates", lambda W, level, gram: [norms._largest_eigenvalue(W, 1e-9)])
        patch.setattr(norms.Gram, "_error", lambda self, enough: 0.0)
        assert violations(exact) > 0


def test_the_bound_holds_where_arithmetic_errs_by_as_much_as_the_model_allows(monkeypatch):
    """Rounding hardly ever goes one way; here Gram matrix and factorisation are both off by 98 % of the most."""
    import scipy.linalg.lapack as lapack

    C = np.ones((100, 20))
    most = {"gram": (100 + 1) * U, "factor": (20 + 3) * U}
    factorised = lapack.dpotrf

    def too_small(A, B):
        return (1.0 - 0.98 * most["gram"]) * (A @ B)

    def too_willing(M, **options):
        return factorised(M + 0.98 * most["factor"] * np.diag(np.diag(M)), **options)

    monkeypatch.setattr(norms, "blocked", too_small)
    monkeypatch.setattr(lapack, "dpotrf", too_willing)
    square = 2000.0
    tau = square * (1.0 - 0.93 * sum(most.values()))
    level = math.sqrt(tau / (1.0 + 16.0 * U * math.sqrt(20)))
    assert level < math.sqrt(square) * (1.0 - 50 * U)
    gram = norms.Gram(Ball(C))
    assert next(norms._candidates(gram._squares, [level], 0.0)) < square
    assert math.sqrt(square) <= gram.norm(level) <= math.sqrt(square) * (1.0 + 100 * U)


def test_semidefinite_defect(exact):
    rng = np.random.default_rng(3)
    seen = 0
    for k in range(80):
        n = int(rng.integers(1, 6))
        B = rng.standard_normal((n, n + 1))
        if k % 2:
            B[-1] = B[0] * (1.0 + 1e-9 * rng.standard_normal())
        M = np.tril(B @ B.T)
        M = (M + np.tril(M, -1).T) * 10.0 ** rng.integers(-8, 9)
        for trust, enough in itertools.product(("lapack", "gemm"), (0.0, math.inf)):
            # Only the upper triangle is read.
            defect = norms.semidefinite_defect(np.triu(M) + np.tril(np.full_like(M, 1e9), -1), trust, enough)
            if defect is not None:
                seen += 1
                assert defect <= 1e-13 * np.abs(M).max()
                W = exact.rational(M)
                for i in range(n):
                    W[i, i] += Fraction(defect)
                assert exact.positive_semidefinite(W)
    assert seen > 200
    assert norms.semidefinite_defect(np.diag([1.0, -1e-3])) is None


@pytest.mark.parametrize("n", [1, 7, 90, 400])
def test_a_quick_bound_counts_the_whole_factor(n):
    """From the trace it is that of the factor itself, ``(n + 3) U ||R||_F^2``: never below, and hardly above."""
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, 2 * n)) * 10.0 ** rng.uniform(-3, 3, (n, 1))
    M = X @ X.T
    R = np.linalg.cholesky(M)
    exact = (n + 3) * 2.0**-53 * math.fsum((R * R).ravel())
    found = norms.semidefinite_defect(M, enough=math.inf)
    assert exact <= found <= 1.001 * exact


def test_perron(exact):
    rng = np.random.default_rng(4)
    for G in matrices(rng, 120):
        assert exact.norm_at_most(abs(exact.rational(G)), norms.sqrt_up(norms.perron(G)))
        assert exact.norm_at_most(exact.rational(G), norms.factor_norm(Ball(G)))


# ---------------------------------------------------------------------- nuclear norm
def factors(rng, count):
    """Plain factors, of deficient rank, with parallel columns, that cancel, balanced and not."""
    for k in range(count):
        m, n, r = (int(v) for v in rng.integers(1, 5, 3))
        A, B = rng.standard_normal((m, r)), rng.standard_normal((n, r))
        if k % 5 == 1:
            A[:, -1] = A[:, 0]
        if k % 5 == 2 and r > 1:
            A[:, -1], B[:, -1] = A[:, 0], -B[:, 0] * (1.0 + 1e-7)
        if k % 5 == 3:
            P, s, Q = np.linalg.svd(A @ B.T, full_matrices=False)
            A, B = P * np.sqrt(s), Q.T * np.sqrt(s)
        if k % 5 == 4:
            A = A * 10.0 ** rng.integers(-6, 7, r)
        yield A * 10.0 ** rng.integers(-8, 9), B * 10.0 ** rng.integers(-8, 9)


def wrong_nuclear_norms(exact, count=200):
    wrong, widest = 0, 0.0
    for A, B in factors(np.random.default_rng(5), count):
        low, high = nuclear_norms.nuclear_norm(A, B)
        true = exact.nuclear_norm(exact.rational(A) @ exact.rational(B).T)
        wrong += not mpmath.mpf(low) <= true <= mpmath.mpf(high)
        size = float(np.linalg.norm(A, axis=0) @ np.linalg.norm(B, axis=0))
        widest = max(widest, (high - low) / size)
    return wrong, widest


def test_nuclear_norm_is_enclosed_tightly(exact):
    wrong, widest = wrong_nuclear_norms(exact)
    assert wrong == 0
    assert widest < 1e-13


@pytest.mark.parametrize("broken", ["above", "below"])
def test_a_nuclear_norm_without_its_errors_is_caught(exact, monkeypatch, broken):
    if broken == "above":
        monkeypatch.setattr(
            nuclear_norms, "_small_nuclear", lambda K, left, right: float(np.linalg.norm(left, axis=0).sum())
        )
        monkeypatch.setattr(nuclear_norms, "_orthogonality_defect", lambda P: 0.0)
        small = lambda lengths, others: 0.0 if lengths[0] < 1e-9 * others[0] else math.inf  # noqa: E731
        monkeypatch.setattr(nuclear_norms, "weighted_sum", small)
    else:
        pair = nuclear_norms._paired
        monkeypatch.setattr(nuclear_norms, "_paired", lambda CA, CB: pair(CA, CB) * (1 + Fraction(1, 10**13)))
    assert wrong_nuclear_norms(exact)[0] > 0


def test_products_with_directions_of_columns_are_enclosed(exact):
    """``P^T A`` from ``P^T P``, in exact arithmetic; a ball without its radius would not hold it."""
    rng = np.random.default_rng(7)
    missed = 0
    for k, (A, _) in enumerate(factors(rng, 120)):
        A = A * 2.0 ** -(1000 * (k % 3 == 0))
        lengths = np.linalg.norm(A, axis=0)
        if not (np.isfinite(lengths).all() and lengths.all()):
            continue
        P = A / lengths
        square = balls.product(P.T, P)
        if k % 2:
            # Known less well, to a thousandth in one number.
            off = np.zeros_like(square.mid)
            off[0, 0] = 1e-3
            square = Ball(square.mid + off, square.radius + 2e-3)
        found = nuclear_norms._image(square, P, A, lengths)
        off = exact.rational(P).T @ exact.rational(A) - exact.rational(found.mid)
        distance = math.sqrt(sum(Fraction(x) ** 2 for x in off.ravel().tolist()))
        assert distance <= found.radius
        missed += distance > 0.0
    assert missed > 50


def test_the_distance_from_orthonormal_columns_is_never_too_small():
    from lorasolve.certificates.balls import product

    rng = np.random.default_rng(6)
    for _ in range(40):
        P = np.linalg.qr(rng.standard_normal((8, 3)))[0] * (1.0 + 1e-15 * rng.standard_normal(3))
        columns = [[Fraction(float(x)) for x in column] for column in P.T]
        square = sum(
            (sum(x * y for x, y in zip(left, right)) - (i == j)) ** 2
            for i, left in enumerate(columns)
            for j, right in enumerate(columns)
        )
        found = nuclear_norms._distance_to_identity(product(P.T, P))
        assert Fraction(found) ** 2 >= square and found <= 1e-13


def test_nuclear_norms_of_balls_hold_for_their_members(exact):
    rng = np.random.default_rng(9)
    for radius in (0.1, *[0.0] * 30):
        # The middle, of length 1 or less, and a member that is shorter by the radius.
        C, D = (x / (1.000001 * np.linalg.norm(x)) for x in rng.standard_normal((2, 5, 3)))
        C *= np.sign(np.vdot(C, D))
        member = exact.dot((1 - Fraction(radius)) * exact.rational(C), exact.rational(D))
        assert nuclear_norms._paired(Ball(C, radius), Ball(D)) <= member
        assert nuclear_norms._paired(Ball(C), Ball(D, radius)) <= member
    # Added to each of three singular values 0.1 is sqrt(3) times that in the Frobenius norm.
    K = rng.standard_normal((3, 3))
    P, s, Qt = np.linalg.svd(K)
    most = nuclear_norms._small_nuclear(Ball(K, 0.1 * math.sqrt(3.0)), P * s, Qt)
    assert most == pytest.approx(s.sum() + 0.3, rel=1e-12)


def test_nuclear_norm_of_nothing_and_of_what_overflows():
    assert nuclear_norms.nuclear_norm(np.zeros((3, 2)), np.ones((4, 2))) == (0.0, 0.0)
    assert nuclear_norms.nuclear_norm(np.full((2, 1), 1e300), np.full((2, 1), 1e300)) == (0.0, math.inf)


@pytest.mark.parametrize("wrong", ["qr", "svd"])
def test_the_nuclear_norm_rests_on_no_factorisation(monkeypatch, wrong):
    """Of [[1, 1], [0, 1]] it is sqrt(||X||_F^2 + 2 |det X|) = sqrt(5)."""
    A, B = np.array([[1.0, 1.0], [0.0, 1.0]]), np.eye(2)
    true = getattr(np.linalg, wrong)

    def too_long(M):
        Q, R = true(M)
        return 2.0 * Q, 0.5 * R

    def too_small(M, **options):
        P, values, Qt = true(M, **options)
        return P, 0.0 * values, Qt

    monkeypatch.setattr(np.linalg, wrong, {"qr": too_long, "svd": too_small}[wrong])
    low, high = nuclear_norms.nuclear_norm(A, B)
    assert Fraction(low) ** 2 <= 5 <= Fraction(high) ** 2
