"""Certificates that were false once: norms sampled from starts that an adversary knows."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from distance import Distance

import lorasolve as ls
from lorasolve import singular_triplets
from lorasolve._known import Known
from lorasolve.certificates import certify, duality, evidence
from lorasolve.certificates._lanczos import MOST_BLOCKS, _apart, sampled_norm
from lorasolve.linear_map import LinearMap
from lorasolve.objectives import (
    Denoising,
    MatrixCompletion,
)


def shrunk_values(values, lam):
    """``F*`` of denoising from the singular values of ``M``."""
    return float(np.sum(np.where(values > lam, lam * values - 0.5 * lam**2, 0.5 * values**2)))


def hidden(n=600):
    """One singular value 100, in the part of a plane that the fixed start misses; the rest below 1."""
    a, b = np.random.default_rng(0).standard_normal(n)[:2]
    h = math.hypot(a, b)
    M = np.diag(np.linspace(0.99, 0.1, n))
    M[:2, :2] = 0.0
    M[0, :2] = 100.0 * b / h, -100.0 * a / h
    return M


@pytest.mark.parametrize("make", [Distance, Denoising])
@pytest.mark.parametrize("sampled", [False, True])
def test_a_known_start_vector_hides_nothing(make, sampled, monkeypatch):
    if sampled:
        for module in (duality, evidence):
            monkeypatch.setattr(module, "DENSE_SIDE", 500)
    M = hidden()
    values = np.linalg.svd(M, compute_uv=False)
    best = shrunk_values(values, 1.0)
    problem = ls.Problem(make(M), 2, 1.0)
    zero = certify(problem, (np.zeros((600, 1)), np.zeros((600, 1))))
    assert zero.value - best == pytest.approx(4900.5, rel=1e-9)
    assert zero.is_global is False and zero.gap >= zero.value - best
    assert 0.9 * 4900.5 < zero.gap_at_least <= 4900.5 * (1 + 1e-12)
    assert zero.level is (Known.SAMPLED if sampled else Known.RIGOROUS if make is Denoising else Known.CERTIFIED)
    for route in ("factored", "prox"):
        found = ls.solve_convex(problem, route)
        assert found.success and found.rank == 1
        assert found.fun == pytest.approx(best, rel=1e-9)
        assert (found.certificate.failure_probability > 0.0) == sampled


def test_what_is_outside_of_a_closed_space_is_looked_at_from_fresh_starts(monkeypatch):
    """The first starts miss the top, and ``S^T S`` maps what they span to itself."""
    make = np.random.default_rng
    rngs = iter([SimpleNamespace(standard_normal=lambda size: np.eye(*size, k=-1))])
    monkeypatch.setattr(np.random, "default_rng", lambda *seed: next(rngs, None) or make(*seed))
    found = sampled_norm(LinearMap.from_dense(np.diag([10.0, *[1.0] * 39])), 0.0)
    assert next(rngs, None) is None and found.least == pytest.approx(1.0) and found.most >= 10.0


def test_what_is_left_beside_known_directions_is_bounded_and_not_only_attained():
    """Of a matrix of norm 10 one block of products attains less."""
    S = LinearMap.from_dense(np.diag(np.linspace(1.0, 10.0, 40)))
    assert sampled_norm(S, 0.0, most_blocks=1).least < 10.0 <= _apart(S, np.eye(40, 1), 1.0, 1e-12, 1)


def test_equal_runs_of_the_convex_routes_are_equal_until_a_certificate_refutes_them():
    M = np.random.default_rng(3).standard_normal((510, 500))
    rows, cols = np.divmod(np.arange(M.size), 500)
    problem = ls.Problem(MatrixCompletion(rows, cols, M.ravel(), M.shape), 5, 40.0)
    first, again = (ls.solve_convex(problem, tol=1e-6) for _ in range(2))
    assert first.success and first.fun == again.fun and np.array_equal(first.A, again.A)


SPECTRA = {
    "spread": np.linspace(1.0, 0.2, 60),
    "one above a cluster": np.r_[1.0, np.full(59, 0.9)],
    "low rank": np.r_[1.0, 0.5, np.zeros(58)],
    "one value": np.ones(60),
    "tiny rest": np.r_[1.0, np.full(59, 1e-9)],
    "zero": np.zeros(60),
}


def with_spectrum(values, shape, rng):
    U, V = (np.linalg.qr(rng.standard_normal((size, len(values))))[0] for size in shape)
    return (U * values) @ V.T


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("shape", [(60, 80), (80, 60)])
@pytest.mark.parametrize("level", [0.5, 1.05, 3.0])
def test_a_sampled_norm_is_above_the_norm(name, shape, level):
    M = with_spectrum(SPECTRA[name], shape, np.random.default_rng(0))
    found = sampled_norm(LinearMap(M.shape, lambda V: M @ V, lambda U: M.T @ U), level)
    true = SPECTRA[name][0]
    assert true * (1 - 1e-12) <= found.most and found.least <= true * (1 + 1e-12)
    # Where it is not below the level, the blocks fill the whole space.
    assert found.most <= max(level, (1.0 + 1e-11) * true)
    if true > 0.0:
        assert np.linalg.norm(M @ found.v) >= found.least * (1 - 1e-10)
        assert float(found.u @ M @ found.v) == pytest.approx(found.least, rel=1e-10)


@pytest.mark.parametrize("name", ["spread", "one above a cluster", "low rank"])
def test_what_is_taken_out_need_not_be_singular_for_the_bound_to_hold(name):
    from lorasolve.certificates import _lanczos

    rng = np.random.default_rng(1)
    M = with_spectrum(SPECTRA[name], (60, 80), rng)
    S = LinearMap(M.shape, lambda V: M @ V, lambda U: M.T @ U)
    for _ in range(20):
        assert _lanczos._apart(S, rng.standard_normal((80, 5)), 1.0, 1e-12, MOST_BLOCKS) >= 1.0 - 1e-12
    top = np.linalg.svd(M)[2][:5].T
    assert _lanczos._apart(S, top, 1.0, 1e-12, MOST_BLOCKS) == pytest.approx(1.0, rel=1e-9)


def test_many_values_just_below_the_norm_are_taken_out():
    values = np.r_[1.0 - 1e-4 * np.arange(30) / 30, np.linspace(0.9, 0.0, 370)]
    M = np.diag(values)
    found = sampled_norm(LinearMap(M.shape, lambda V: M @ V, lambda U: M @ U), 0.0)
    assert 1.0 - 1e-12 <= found.most <= 1.0 + 1e-6


def crowded(n, top=1.0):
    """A matrix known by products whose singular values lie just below the largest, and its spaces of no update."""
    values = top * np.r_[1.0, np.linspace(1.0 - 1e-6, 0.99, n - 1)]
    return LinearMap((n, n), lambda V: values[:, None] * V, lambda U: values[:, None] * U), np.empty((n, 0))


@pytest.mark.parametrize("more", [0, 1400])
def test_a_crowded_norm_that_products_tell_little_of_is_that_of_a_factorisation(more):
    G, nothing = crowded(1100)
    zeros = np.zeros((more, 1))
    wide = LinearMap(
        (1100, 1100 + more),
        lambda V: G.matmat(V[:1100]),
        lambda U: np.vstack([G.rmatmat(U), np.repeat(zeros, U.shape[1], axis=1)]),
    )
    found = duality.gradient_norm(wide, nothing, np.empty((1100 + more, 0)), 0.9)
    assert found.failure == 0.0 and found.gram is not None
    assert 1.0 <= found.most <= 1.0 + 1e-6


def test_a_crowded_norm_below_the_level_needs_no_factorisation():
    G, nothing = crowded(1100)
    found = duality.gradient_norm(G, nothing, nothing, 1.2)
    assert found.failure == duality.FAILURE and found.gram is None
    assert 1.0 <= found.most <= 1.2


@pytest.mark.parametrize("limit", ["MODERATE_SIDE", "DENSE_ENTRIES"])
def test_a_crowded_norm_beyond_what_is_factorised_is_sampled(limit, monkeypatch):
    monkeypatch.setattr(duality, limit, 1000)
    G, nothing = crowded(1100)
    found = duality.gradient_norm(G, nothing, nothing, 0.9)
    assert found.failure == duality.FAILURE and found.gram is None
    assert 1.0 <= found.most <= 1.01


@pytest.mark.parametrize("angle", [0.0, 1e-3, 1e-1])
def test_errors_of_a_gradient_and_of_the_spaces_are_in_its_norms(angle, monkeypatch):
    """The spaces are off the singular ones by an angle; the norm of all that is near the gradient is asked for."""
    for name in ("DENSE_LIMIT", "DENSE_SIDE", "MODERATE_SIDE"):
        monkeypatch.setattr(duality, name, 0)
    values = np.r_[2.0, np.linspace(0.9, 0.1, 59)]
    M, P = np.diag(values), np.zeros((60, 1))
    P[:2, 0] = math.cos(angle), math.sin(angle)
    left = np.linalg.norm(M - P @ (P.T @ M @ P) @ P.T, 2)
    G = LinearMap(M.shape, lambda V: M @ V, lambda U: M @ U)
    found = duality.gradient_norm(G, P, P, 1.0, radius=0.25)
    assert 2.25 <= found.most <= 2.26
    if angle < 1e-2:
        assert left + 0.25 <= found.outside <= left + 0.27
    else:
        assert math.isnan(found.outside)


def test_the_factor_of_a_sampled_norm_is_that_of_its_formula():
    """Two blocks of b = 8 starts, with half of the probability: cosh(arcosh(sqrt(2 n/pi)/delta^(1/b))/3)."""
    n, failure = 60, 1e-6
    M = np.random.default_rng(0).standard_normal((n, n))
    found = sampled_norm(LinearMap(M.shape, lambda V: M @ V, lambda U: M.T @ U), math.inf, failure)
    expected = math.cosh(math.acosh(math.sqrt(2.0 * n / math.pi) / (0.5 * failure) ** (1.0 / 8.0)) / 3.0)
    assert found.most / found.least == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("starts", "blocks"), [(1, 8), (2, 4), (4, 2)])
def test_a_sampled_norm_fails_no_more_often_than_it_says(monkeypatch, starts, blocks):
    """One value a little above a cluster, two looks only: the least favourable case of the bound."""
    from lorasolve.certificates import _lanczos

    monkeypatch.setattr(_lanczos, "BLOCK", starts)
    monkeypatch.setattr(_lanczos, "STRIDE", max(blocks // 2, 1))
    values = np.r_[1.0, np.linspace(0.97, 0.0, 199)]
    M = np.diag(values)
    S = LinearMap(M.shape, lambda V: M @ V, lambda U: M @ U)
    failure, runs = 0.2, 400
    wrong = sum(sampled_norm(S, 0.0, failure, blocks).most < 1.0 for _ in range(runs))
    # Four standard deviations of a binomial count.
    assert wrong <= runs * failure + 4.0 * math.sqrt(runs * failure * (1 - failure))
    # Without the factor it would fail nearly always.
    assert all(sampled_norm(S, 0.0, failure, blocks).least < 1.0 for _ in range(20))


@pytest.mark.parametrize("shape", [(330, 300), (300, 330)])
@pytest.mark.parametrize("size", [1e-120, 1e-78, 1e77, 1e78, 1e100, 1e140])
def test_norms_of_any_size_are_bounded_from_above(shape, size):
    """Squares of ``S^T S`` left the range from 1e77 on: what was said to be above the norm was 0.83 and 0.24 of it."""
    M = np.random.default_rng(1).standard_normal(shape) / 50
    M[0, 0] = 3.0
    true = np.linalg.norm(M, 2)
    found = sampled_norm(LinearMap.from_dense(size * M), 0.0)
    assert found.least <= size * true * (1.0 + 1e-12)
    assert size * true * (1.0 - 1e-13) <= found.most <= size * true * (1.0 + 1e-9)


@pytest.mark.parametrize("size", [1e-78, 1e77, 1e78, 1e100])
def test_a_certificate_of_large_data_is_sampled_and_true(size, monkeypatch):
    """The gap of denoising at 0 is known from the singular values, and so is the optimum: no SVD takes part."""
    monkeypatch.setattr(duality, "DENSE_SIDE", 100)
    for module in (duality, singular_triplets):
        monkeypatch.setattr(module, "DENSE_LIMIT", 1000)
    M = np.random.default_rng(2).standard_normal((330, 300))
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    lam = 0.9 * s[0]
    problem = ls.Problem(Denoising(size * M), 3, size * lam)
    zero = certify(problem, (np.zeros((330, 1)), np.zeros((300, 1))), rigorous=False)
    above = 0.5 * np.sum(s**2) - shrunk_values(s, lam)
    assert zero.level is Known.SAMPLED and zero.is_global is False
    assert zero.gap_at_least / size / size <= above * (1.0 + 1e-9) <= zero.gap / size / size * (1.0 + 2e-9)
    kept = s > lam
    best = P[:, kept] * (s[kept] - lam), size * Qt[kept].T
    assert certify(problem, best, rigorous=False).is_global is True
