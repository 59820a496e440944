"""Points beyond the size that is factorised, and those where rows or columns have no entry."""

from types import SimpleNamespace

import numpy as np
import pytest
from optima import ROUNDING, denoising_optimum, nuclear, soft_threshold

import lorasolve as ls
from lorasolve import singular_triplets
from lorasolve._known import Known
from lorasolve.adapters import LoRA
from lorasolve.certificates import certify, duality, gap
from lorasolve.objectives import Denoising, MatrixCompletion


@pytest.mark.parametrize("shape", [(510, 500), (500, 510)])
def test_beyond_the_size_that_is_factorised(shape, monkeypatch):
    monkeypatch.setattr(duality, "DENSE_SIDE", 100)
    rng = np.random.default_rng(11)
    m, n = shape
    M = rng.standard_normal((m, 3)) @ rng.standard_normal((3, n)) / 20 + 0.1 * rng.standard_normal(shape)
    lam = 5.2
    rows, cols = np.divmod(np.arange(M.size), n)
    # Every entry is observed, so that completion is denoising, but its gradient is known by products only.
    problem = ls.Problem(MatrixCompletion(rows, cols, M.ravel(), shape), 5, lam)
    best = denoising_optimum(M, lam)
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    assert 1 <= np.count_nonzero(s > lam) <= 5
    A, B = P[:, :5] * np.maximum(s[:5] - lam, 0.0), Qt[:5].T
    certificate = certify(problem, (A, B), tol=1e-9, rigorous=False)
    assert certificate.is_global is True and certificate.level is Known.SAMPLED
    assert 0.0 < certificate.failure_probability <= 1e-12 and "SAMPLED" in certificate.reason
    assert certificate.rank_at_most == np.count_nonzero(s > lam)
    assert certificate.gap >= certificate.value - best - ROUNDING * best
    some = M[:, :6], M[:6].T
    for wrong in ((0.9 * A, B), (A + 1e-3, B), (A[:, 1:], B[:, 1:]), (0 * A, B), some):
        X = wrong[0] @ wrong[1].T
        value = problem.convex_value(X)
        found = certify(problem, wrong, rigorous=False)
        assert found.value == pytest.approx(value, rel=1e-11)
        assert found.is_global is False
        assert found.gap_at_least <= value - best + ROUNDING * value <= found.gap + 2 * ROUNDING * value
        assert found.dual_norm * lam == pytest.approx(np.linalg.norm(X - M, 2), rel=1e-2)


@pytest.mark.parametrize("block", [(30, 20), (20, 30)])
@pytest.mark.parametrize("shape", [(3000, 2500), (2500, 3000)])
def test_rows_and_columns_without_an_entry_make_no_norm_a_matter_of_chance(shape, block):
    """Observed is a small block, whose denoising has a closed form; elsewhere the optimum is zero."""
    rng = np.random.default_rng(15)
    M, lam = rng.standard_normal(block), 8.0
    rows, cols = (np.sort(rng.choice(size, few, replace=False)) for size, few in zip(shape, block))
    i, j = (part.ravel() for part in np.meshgrid(rows, cols, indexing="ij"))
    problem = ls.Problem(MatrixCompletion(i, j, M.ravel(), shape), 5, lam)
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    kept = s > lam
    A, B = np.zeros((shape[0], kept.sum())), np.zeros((shape[1], kept.sum()))
    A[rows], B[cols] = P[:, kept] * (s[kept] - lam), Qt[kept].T
    best = denoising_optimum(M, lam)
    for rigorous, level in (("auto", Known.RIGOROUS), (False, Known.CERTIFIED)):
        found = certify(problem, (A, B), tol=1e-9, rigorous=rigorous)
        assert found.is_global is True and found.level is level
        assert found.rank_at_most == kept.sum()
        noise = 1e-3 * rng.standard_normal(A.shape)
        for wrong in ((0.9 * A, B), (A + noise, B), (noise, B), (A, B + 1e-7)):
            X = wrong[0] @ wrong[1].T
            inside = X[np.ix_(rows, cols)] - M
            value = 0.5 * np.sum(inside**2) + lam * nuclear(wrong)
            found = certify(problem, wrong, rigorous=rigorous)
            assert found.level is level and found.value == pytest.approx(value, rel=1e-11)
            assert found.gap_at_least <= value - best + ROUNDING * value <= found.gap + 2 * ROUNDING * value
            assert found.dual_norm * lam == pytest.approx(np.linalg.norm(inside, 2), rel=0.05)


@pytest.mark.parametrize("form", ["factors", "columns", "lists", "result", "convex"])
@pytest.mark.parametrize("adapter", ["lora", LoRA(alpha=7.0)])
@pytest.mark.parametrize("rigorous", ["auto", False])
def test_a_point_that_is_zero_where_no_entry_is_takes_no_more_than_the_entries(form, adapter, rigorous, monkeypatch):
    """500,000 x 500,000 with 3000 entries took 24 s. What is known is what is known of the whole, and about it."""
    rng = np.random.default_rng(17)
    m, n, k = 300, 200, 12
    rows, cols = (np.sort(rng.choice(size, k, replace=False)) for size in (m, n))
    i, j = (part.ravel() for part in np.meshgrid(rows, cols, indexing="ij"))
    M, lam = rng.standard_normal((k, k)), 0.75
    problem = ls.Problem(MatrixCompletion(i, j, M.ravel(), (m, n)), 3, lam, adapter)
    A, B = np.zeros((m, 3)), np.zeros((n, 3))
    A[rows], B[cols] = rng.standard_normal((k, 3)), rng.standard_normal((k, 3))
    if form == "columns":
        A, B = A[:, :2], B[:, :2]
    point = A, B
    if form == "result":
        point = ls.solve(problem, "gd", (A, B), stop=ls.StoppingRule(max_iter=3))
    elif form == "convex":
        point = ls.solve_convex(problem, tol=1e-3)
    elif form == "lists":
        point = SimpleNamespace(A=A.tolist(), B=B.tolist())
    shapes, svd = [], gap.factor_svd
    monkeypatch.setattr(gap, "factor_svd", lambda A, B: shapes.append((len(A), len(B))) or svd(A, B))
    found = certify(problem, point, rigorous=rigorous)
    assert set(shapes) == {(k, k)} and found.problem.shape == (m, n) and found.point is point
    inside = ls.Problem(Denoising(M), 3, lam / problem.scale)
    # What is no pair and no result of a run holds the update as it is.
    s = 1.0 if form in ("convex", "lists") else problem.scale
    C, D = point if isinstance(point, tuple) else (np.array(point.A), np.array(point.B))
    C = s * C
    exact = 0.5 * np.linalg.norm(C[rows] @ D[cols].T - M) ** 2 + inside.lam * nuclear((C, D))
    assert found.value == pytest.approx(exact, rel=1e-12)
    excess = exact - denoising_optimum(M, inside.lam)
    assert found.gap_at_least <= excess + ROUNDING * exact <= found.gap + 2 * ROUNDING * exact
    rounded = rigorous == "auto" and s not in (1.0, 2.0)
    assert any("fl(s A)" in text for text in found.assumptions) is rounded
    monkeypatch.setattr(gap, "observed", lambda problem: None)
    whole = certify(problem, point, rigorous=rigorous)
    assert (m, n) in shapes
    for name in ("level", "rank", "is_global", "assumptions", "rank_at_least", "rank_at_most", "refers_to", "formula"):
        assert getattr(found, name) == getattr(whole, name), name
    for name in ("gap", "dual_norm", "stationarity", "balance", "factor_gap", "sigma_r", "singular_values"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=1e-2, abs=1e-9 * exact), name


def test_a_point_that_is_not_zero_where_no_entry_is_is_judged_as_a_whole():
    """What is beyond the entries costs its nuclear norm; more columns than there are entries have zeros for values."""
    problem = ls.Problem(MatrixCompletion([1, 1], [0, 2], [3.0, 4.0], (20, 30)), 1, 1.0)
    A, B = np.zeros((20, 1)), np.zeros((30, 1))
    A[1], B[[0, 2], 0] = 4.0 / 5.0, (3.0, 4.0)
    assert certify(problem, (A, B)).is_global is True
    A[5], B[7] = 1e-1, 1e-1
    found = certify(problem, (A, B))
    # X is larger by one row and one column: its norm is known as that of a product of two vectors.
    exact = 0.5 * 0.2**2 * 25.0 + np.linalg.norm(A) * np.linalg.norm(B)
    assert found.value == pytest.approx(exact, rel=1e-12) and found.is_global is False
    wide = np.hstack([A, 0.0 * A]), np.hstack([B, 0.0 * B])
    assert len(certify(problem, wide).singular_values) == 2 and certify(problem, wide).sigma_r == 0.0
    A[5], B[7] = 0.0, 0.0
    wide = np.hstack([A, 0.0 * A]), np.hstack([B, 0.0 * B])
    assert certify(problem, wide).sigma_r == 0.0 and certify(problem, wide).is_global is True


def test_of_a_large_gradient_only_rows_and_columns_with_entries_are_looked_at(monkeypatch):
    """2000 entries scattered over 5000 x 4000 took 29 s and told nothing; they are in 1623 rows and 1556 columns."""
    for name in ("DENSE_LIMIT", "DENSE_SIDE"):
        monkeypatch.setattr(duality, name, 10)
    rng, n, k, shapes = np.random.default_rng(16), 400, 30, []
    at = np.sort(rng.choice(n, k, replace=False))
    i, j = (part.ravel() for part in np.meshgrid(at, at, indexing="ij"))
    M = rng.standard_normal((k, k))
    problem = ls.Problem(MatrixCompletion(i, j, M.ravel(), (n, n)), 5, 1.0)
    sampled = duality.sampled_norm
    monkeypatch.setattr(duality, "sampled_norm", lambda S, *a, **b: shapes.append(S.shape) or sampled(S, *a, **b))
    # In the spaces of X and outside of the rows and columns with entries there is something too, but not in G.
    A, B = rng.standard_normal((n, 2)), 1e-3 * rng.standard_normal((n, 2))
    found = certify(problem, (A, B), rigorous=False)
    exact = np.linalg.norm((A @ B.T)[np.ix_(at, at)] - M, 2)
    assert shapes == [(k, k)] and found.level is Known.SAMPLED
    assert exact <= found.dual_norm * (1.0 + 1e-9) <= 1.01 * exact


def test_a_full_rank_update_beyond_the_size_that_is_factorised(monkeypatch):
    for module in (duality, singular_triplets):
        monkeypatch.setattr(module, "DENSE_LIMIT", 100)
    monkeypatch.setattr(duality, "DENSE_SIDE", 10)
    M = np.random.default_rng(12).standard_normal((60, 50))
    problem = ls.Problem(Denoising(M), 5, 9.0)
    best = certify(problem, soft_threshold(M, 9.0), tol=1e-9, rigorous=False)
    assert best.is_global is True and best.level is Known.SAMPLED
    # At X = M the gradient is zero and the gap of the formula is lam ||M||_*.
    assert certify(problem, M, rigorous=False).gap == pytest.approx(9.0 * np.linalg.norm(M, "nuc"), rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 70), (70, 1), (2, 70), (70, 2)])
def test_one_or_two_long_rows_are_factorised_at_any_size(shape, monkeypatch):
    for name in ("DENSE_LIMIT", "DENSE_SIDE", "DENSE_ENTRIES"):
        monkeypatch.setattr(duality, name, 0)
    M = np.random.default_rng(14).standard_normal(shape)
    values = np.linalg.svd(M, compute_uv=False)
    lam = 0.5 * float(values[0] + (values[1] if values.size > 1 else 0.0))
    X = soft_threshold(M, lam)
    problem = ls.Problem(Denoising(M), 1, lam)
    for point, best in ((X, True), (0.7 * X, False)):
        certificate = certify(problem, point, rigorous=False)
        assert certificate.is_global is best and certificate.level is Known.CERTIFIED
        assert certificate.gap >= problem.convex_value(point) - denoising_optimum(M, lam) - ROUNDING
        assert certificate.rank_at_most == 1 if best else certificate.rank_at_most is None


@pytest.mark.parametrize("size", [1e-4, 1e-9, 1e-80])
def test_beside_zero_where_that_is_the_optimum_a_large_matrix_is_global(size):
    """``F(X) - F(0) <= lam ||X||_*``, which is next to nothing: what a norm above ``lam`` adds is none of its share."""
    rng = np.random.default_rng(23)
    problem = ls.Problem(Denoising(rng.standard_normal((260, 210))), 3, 1.0)
    problem = problem.replace(lam=1.001 * problem.critical_lam())
    found = certify(problem, (size * rng.standard_normal((260, 3)), size * rng.standard_normal((210, 3))))
    assert found.is_global is True
    assert found.gap <= 1.2 * problem.lam * found.nuclear_norm + 1e-12 * found.value
