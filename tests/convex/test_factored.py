"""The factored route: never trapped, and accurate where the problem is ill-conditioned."""

import math

import numpy as np
import pytest
import scipy.sparse

import lorasolve as ls
from lorasolve.certificates import norms, rigorous
from lorasolve.convex._points import View, factors_of
from lorasolve.convex.base import OutOfTime
from lorasolve.convex.factored import Factored, Trail, _Run
from lorasolve.landscape.instances import sharp, two_by_two
from lorasolve.low_rank import factor_svd
from lorasolve.multi import MultiProblem, Separable
from lorasolve.objectives import (
    Denoising,
    Huber,
    Increments,
    LinearFineTuning,
    MatrixCompletion,
    MatrixSensing,
    Softmax,
)
from lorasolve.singular_triplets import TopSingular, top_above


def certified(problem, tol=1e-9):
    result = ls.solve_convex(problem, "factored", tol)
    assert result.success, result.message
    assert result.relative_gap <= tol
    return result


# ---------------------------------------------------------------------- spurious points
@pytest.mark.parametrize(("r", "r_star"), [(1, 1), (2, 1), (4, 1), (3, 2)])
@pytest.mark.parametrize("lam", [0.1, 0.3])
@pytest.mark.parametrize("excess", [1.0, 1.5, 4.0])
def test_spurious_minima_of_the_factors_do_not_trap_it(r, r_star, lam, excess):
    """The landscape at rank r has a spurious minimum, worse by kappa r*/(kappa + 1), and F(X*) = 0 is known."""
    kappa = excess * (1 + 2 * np.sqrt(r / r_star))
    instance = sharp(r, r_star, r + r_star + 1, r + r_star, kappa, lam)
    result = certified(ls.Problem(instance, r, lam))
    assert abs(result.fun) < 1e-9
    np.testing.assert_allclose(result.X, instance.X_star, atol=1e-4)


def test_it_leaves_a_spurious_minimum_that_it_is_put_into():
    """One round from the spurious point itself: descent at its rank alone stays, the escape direction leaves."""
    instance = sharp(1, 1, 3, 3, 4.5, 0.2)
    run = _Run(ls.Problem(instance, 1, 0.2), 1e-9)
    A, B = instance.stationary_factors()
    stuck = run._look(run._descend([(A, B)], 1e-12, run.loss))
    assert stuck.value == pytest.approx(instance.gap, rel=1e-9)
    left = run._look(run._descend(factors_of(run._adapt_rank(stuck)), 1e-12, run.loss))
    assert left.value < 0.9 * instance.gap


@pytest.mark.parametrize("lam", [0.05, 0.5, 2.0])
def test_where_no_certificate_has_a_bound_the_best_value_is_returned(lam):
    """Estimates rest on the lower bound that f states, certificates on its ball oracle, which states none."""
    M = np.random.default_rng(0).standard_normal((5, 4))

    class Unbounded:
        shape, convex, lower_bound, smoothness, least_squares = (5, 4), True, 0.0, 1.0, True

        def value_and_grad(self, X):
            return 0.5 * float(np.sum((X - M) ** 2)), X - M

        def ball_oracle(self, A, B, balls):
            residual = balls.residual(A, B.T, M)
            return balls.BallOracle(*balls.half_square(residual), residual, None, "M")

    result = ls.solve_convex(ls.Problem(Unbounded(), 2, lam), "factored")
    U, s, Vt = np.linalg.svd(M, full_matrices=False)
    np.testing.assert_allclose(result.X, (U * np.maximum(s - lam, 0.0)) @ Vt, atol=1e-7)
    assert not result.success and result.gap == math.inf and result.nit < 20


def test_a_certificate_refutes_what_the_last_look_made_believe(monkeypatch):
    """Nothing was seen outside: no search, but the certificate says no, and the search finds what escapes."""
    instance = sharp(1, 1, 3, 3, 4.5, 0.2)
    run = _Run(ls.Problem(instance, 1, 0.2), 1e-9)
    stuck = run._look(run._descend([instance.stationary_factors()], 1e-12, run.loss))
    assert stuck.blocks[0].U.shape[1] > 0 and stuck.bound.gap >= instance.gap * (1.0 - 1e-9)
    run.seen = [TopSingular(np.zeros((3, 1)), np.zeros(1), np.zeros((3, 1)), False, 0.0)]
    monkeypatch.setattr(View, "outside", lambda view, near: 0.0)
    believed = run._look(stuck.factors)
    assert believed.bound.relative <= run.tol and believed.blocks[0].U.shape[1] == 0
    judged = run._judged(believed)
    assert judged.evidence is None and judged.bound.gap >= instance.gap * (1.0 - 1e-9)
    assert judged.blocks[0].U.shape[1] > 0


def test_the_look_after_a_search_does_without_one_and_the_next_does_not(monkeypatch):
    """What the search saw and what did not escape is enough once, unless it closes the gap."""
    from lorasolve.convex import factored

    searches, search = [], factored._Run._search
    monkeypatch.setattr(factored._Run, "_search", lambda run, *views: searches.append(1) or search(run, *views))
    rng = np.random.default_rng(5)
    run = factored._Run(ls.Problem(Denoising(rng.standard_normal((30, 20))), 1, 7.5), 1e-9)
    point = run._look(run.loss.zeros())
    assert len(searches) == 1 and point.blocks[0].U.shape[1] > 0
    assert run.seen[0] is not None and run.seen[0].values[0] <= 7.5
    rough = [(2.0 * A, B) for A, B in factors_of(run._adapt_rank(point))]
    counts = [len(searches) for _ in range(4) if run._look(rough)]
    assert counts == [1, 2, 2, 3]


def test_a_look_does_without_a_search_while_the_gap_falls(monkeypatch):
    """To a tenth of what it was at the look before; a gap of which nothing was known has not fallen."""
    from lorasolve.convex import factored

    searches, search = [], factored._Run._search
    monkeypatch.setattr(factored._Run, "_search", lambda run, *views: searches.append(1) or search(run, *views))
    run = factored._Run(ls.Problem(Denoising(np.random.default_rng(5).standard_normal((30, 20))), 1, 7.5), 1e-9)
    rough = [(2.0 * A, B) for A, B in factors_of(run._adapt_rank(run._look(run.loss.zeros())))]
    gap = run._look(rough).bound.gap
    run._search(*run._views([factor_svd(A, B) for A, B in rough]))
    for before, searched in ((11.0 * gap, False), (11.0 * gap, False), (9.0 * gap, True), (math.inf, True)):
        run.used, run.looked = True, before
        searches.clear()
        assert run._look(rough).bound.gap == pytest.approx(gap, rel=0.2)
        assert bool(searches) == searched


@pytest.mark.parametrize("shape", [(30, 20), (340, 310), (310, 340)])
def test_the_gradient_from_the_spaces_of_an_update_and_of_what_escapes(shape):
    """What a proximal step is taken with, by whichever search: ``[P U]^T G [Q V]``, also after a proof on a trail."""
    rng = np.random.default_rng(4)
    U, V = (np.linalg.qr(rng.standard_normal((size, 15)))[0] for size in shape)
    objective = Denoising((U * np.linspace(10.0, 3.0, 15)) @ V.T)
    trail = Trail()
    for lam in (6.8, 4.2):
        run = _Run(ls.Problem(objective, 1, lam), 1e-6, trail)
        point = run._first(None)
        (block,) = point.blocks
        assert block.U.shape[1] == np.count_nonzero(np.linspace(10.0, 3.0, 15) > lam) - block.s.size > 0
        left, right = block.spaces()
        G = block.A @ block.B.T - objective.M
        np.testing.assert_allclose(block.G, left.T @ G @ right, atol=1e-9)
        assert (run.inverse is None) == (lam == 6.8)
        run.solve(None, 50, lambda *report: None)


@pytest.mark.parametrize("shape", [(30, 20), (20, 30)])
def test_what_is_outside_is_estimated_from_what_was_seen_at_another_point(shape):
    """From below, and nearer to the truth than by what those directions see now."""
    rng = np.random.default_rng(5)
    objective = Denoising(rng.standard_normal(shape))
    run = _Run(ls.Problem(objective, 1, 7.5), 1e-9)
    adapted = run._adapt_rank(run._look(run.loss.zeros()))
    run._look_from(adapted)
    ((A, B),) = factors_of(adapted)
    A = A + 0.3 * rng.standard_normal(A.shape)
    (view,) = run._views([factor_svd(A, B)])[2]
    G = A @ B.T - objective.M
    P, Q = (np.linalg.qr(factor)[0] for factor in (A, B))
    true = np.linalg.norm(G - P @ (P.T @ G) - (G @ Q) @ Q.T + P @ (P.T @ G @ Q) @ Q.T, 2)
    assert 0.9985 * true <= view.outside(run.seen[0]) <= true * (1.0 + 1e-12)


@pytest.mark.parametrize("shape", [(30, 24), (24, 30)])
def test_coupled_blocks_of_a_crowded_gradient_do_not_hide_its_norm(shape):
    """A gradient that is nearly orthogonal: its norm is that of a full SVD, its blocks' bound 1000 times further up."""
    rng = np.random.default_rng(2)
    r, lam = 5, 2.0
    U, V = (np.linalg.qr(rng.standard_normal((size, min(shape))))[0] for size in shape)
    P, Q = U[:, :r], V[:, :r]
    s = np.where(np.arange(min(shape)) < r, lam, lam * (1.0 - 1e-8))
    # What leads from the spaces of X to the directions outside of them in which the gradient is small.
    s[-r:] = 0.3 * lam
    G = -(U * s) @ V.T + 1e-4 * (U[:, -r:] @ Q.T + P @ V[:, -r:].T)
    M = P @ np.diag(np.arange(2.0, 2.0 + r)) @ Q.T - G
    run = _Run(ls.Problem(Denoising(M), 1, lam), tol=1e-9)
    _, _, (view,) = run._views([factor_svd(P * np.arange(2.0, 2.0 + r), Q)])
    exact = np.linalg.norm(G, 2)
    large = top_above(view.gradient, 4, 4, lam)
    found = view.norm(large, float(large.values[0]), 0.0, lam)
    assert view.gradient.norm(float(large.values[0])) - lam > 1000 * (exact - lam)
    assert found - lam == pytest.approx(exact - lam, rel=0.01)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30), (6, 6)])
def test_where_the_spaces_fill_a_side_the_norm_of_the_gradient_is_not_passed(shape):
    """Outside of five directions are fewer than the blocks beside the diagonal have columns."""
    rng = np.random.default_rng(3)
    P, Q = (np.linalg.qr(rng.standard_normal((size, 5)))[0] for size in shape)
    M = rng.standard_normal(shape)
    G = P @ Q.T - M
    run = _Run(ls.Problem(Denoising(M), 1, 1.0), tol=1e-9)
    _, _, (view,) = run._views([(P, np.ones(5), Q)])
    large = top_above(view.gradient, 4, 4, 0.0)
    outside = float(large.values[0])
    core, exact = np.linalg.norm(P.T @ G @ Q, 2), np.linalg.norm(G, 2)
    found = view.norm(large, outside, 0.0, max(core, outside) * (1.0 - 1e-6))
    # All of the space is looked into.
    assert found == pytest.approx(exact, rel=1e-12)


def test_scattered_entries_of_a_completion_are_solved_in_few_rounds():
    """Singular values of the gradient crowd at lam: 200 rounds did not end, most of them without a descent."""
    rng = np.random.default_rng(0)
    m, n = 1600, 1500
    rows, cols = np.divmod(rng.choice(m * n, 3000, replace=False), n)
    f = MatrixCompletion(rows, cols, rng.standard_normal(3000), (m, n))
    assert certified(ls.Problem(f, 8, 2.0), 1e-5).nit < 40


def test_runs_on_a_trail_begin_where_the_last_one_ended():
    rng = np.random.default_rng(6)
    M = rng.standard_normal((40, 30))
    s, objective = np.linalg.svd(M, compute_uv=False), Huber(M, 100.0)
    route = Factored(trail=Trail())
    for lam in (5.0, 4.0, 3.0, 0.5, 8.0, 20.0):
        problem = ls.Problem(objective, 1, lam)
        result = ls.solve_convex(problem, route, 1e-9)
        assert result.success
        optimum = 0.5 * np.sum(np.minimum(s, lam) ** 2) + lam * np.sum(np.maximum(s - lam, 0.0))
        assert result.fun == pytest.approx(optimum, rel=1e-9)
    with pytest.raises(TypeError, match="trail: expected"):
        Factored(trail=True)
    # Nothing of one objective is taken for another one's, of whatever shape.
    for other in (Huber(2.0 * M, 100.0), Huber(M[:20], 100.0)):
        own = ls.solve_convex(ls.Problem(other, 1, 4.0), "factored", 1e-9)
        on_trail = ls.solve_convex(ls.Problem(other, 1, 4.0), route, 1e-9)
        np.testing.assert_array_equal(on_trail.A, own.A)


@pytest.mark.parametrize("few", [(6, 40), (40, 6)])
def test_a_trail_of_a_completion_whose_entries_are_in_fewer_rows_than_its_rank(few):
    """Certified in the rows and columns with entries, searched in all of them."""
    rng, shape, trail = np.random.default_rng(0), (700, 900), Trail()
    rows, cols = (rng.choice(size, count, replace=False) for size, count in zip(shape, few))
    i, j = (part.ravel() for part in np.meshgrid(rows, cols, indexing="ij"))
    M = rng.standard_normal(few)
    f = MatrixCompletion(i, j, M.ravel(), shape)
    for lam in (5.0, 3.0, 1.0, 0.1):
        found = ls.solve_convex(ls.Problem(f, 8, lam), Factored(trail=trail))
        assert found.success, found.message
        # Within the block it is denoising, which has a closed form.
        s = np.linalg.svd(M, compute_uv=False)
        best = 0.5 * np.sum(np.minimum(s, lam) ** 2) + lam * np.sum(np.maximum(s - lam, 0.0))
        assert found.fun == pytest.approx(best, rel=1e-8)


@pytest.mark.parametrize("lam", [0.5, 3.0, 50.0])
@pytest.mark.parametrize("tol", [1e-3, 1e-8])
def test_products_of_the_last_look_are_those_of_the_certificate(lam, tol, monkeypatch):
    """The certificate takes the route's products with the factors, at zero too; one from scratch makes its own."""
    rng = np.random.default_rng(5)
    rows, cols = np.nonzero(rng.random((60, 50)) < 0.4)
    values = (rng.standard_normal((60, 3)) @ rng.standard_normal((3, 50)))[rows, cols]
    problem = ls.Problem(MatrixCompletion(rows, cols, values, (60, 50)), 3, lam)
    monkeypatch.setattr(rigorous, "SMALL", 0)
    given, within = [], norms.Gram.within
    monkeypatch.setattr(norms.Gram, "within", lambda self, Q, GQ=None: given.append((Q, GQ)) or within(self, Q, GQ))
    result = certified(problem, tol)
    given = [(Q, GQ) for Q, GQ in given if GQ is not None]
    assert (result.rank > 0) == (lam < 50.0) == bool(given)
    for Q, GQ in given:
        np.testing.assert_allclose(GQ, problem.objective.value_and_grad(result.X)[1] @ Q, atol=1e-10)
    at_zero = _Run(problem, math.inf)._look([(np.zeros((60, 2)), np.zeros((50, 2)))])
    assert [G.shape for G in at_zero.estimates.products[0]] == [factor.shape for factor in at_zero.factors[0]]
    again = ls.certify(problem, result)
    assert result.certificate.stationarity == pytest.approx(again.stationarity, rel=1e-6, abs=1e-9)
    assert result.certificate.gap == pytest.approx(again.gap, rel=0.1)


def test_a_trail_saves_what_a_start_computes_again():
    rng = np.random.default_rng(7)
    objective = Huber(rng.standard_normal((60, 50)), 100.0)
    calls = []
    objective.factor_oracle = lambda *factors: calls.append(1) or Huber.factor_oracle(objective, *factors)
    counts = []
    for route in (Factored(trail=Trail()), Factored()):
        calls.clear()
        last = None
        for lam in np.geomspace(10.0, 5.0, 12):
            start = last if route.trail is None else None
            last = ls.solve_convex(ls.Problem(objective, 1, lam), route, 1e-6, start=start)
            assert last.success
        counts.append(len(calls))
    assert counts[0] < counts[1]


def test_descents_by_increments_end_where_exact_ones_do(monkeypatch):
    """To gaps far below float32, and a descent that was of no use is followed by an exact one."""
    from lorasolve.objectives import _dense_measurements

    rng = np.random.default_rng(8)
    M = rng.standard_normal((150, 10, 8))
    target = rng.standard_normal((10, 2)) @ rng.standard_normal((2, 8))
    objective = MatrixSensing(M, np.einsum("kij,ij->k", M, target) + 0.1 * rng.standard_normal(150))
    exact = certified(ls.Problem(objective, 1, 0.1), 1e-11)
    monkeypatch.setattr(_dense_measurements, "DESCENT_FROM", 0)
    asked, ask = [], Increments.__call__
    monkeypatch.setattr(Increments, "__call__", lambda self, *factors: asked.append(self) or ask(self, *factors))
    by_increments = certified(ls.Problem(objective, 1, 0.1), 1e-11)
    assert asked and by_increments.fun == pytest.approx(exact.fun, rel=1e-11)
    descents, descend = [], _Run._descend

    def descended(run, *rest):
        count = len(asked)
        found = descend(run, *rest)
        descents.append(len(asked) > count)
        return found

    monkeypatch.setattr(_Run, "_descend", descended)
    # No gap is that small: the last rounds are idle, and exact.
    found = ls.solve_convex(ls.Problem(objective, 1, 0.1), "factored", 1e-17)
    assert "no further progress" in found.message and len(descents) == found.nit
    assert descents[0] and not descents[-1]


def test_looks_at_a_loss_with_increments_are_exact(monkeypatch):
    from lorasolve.objectives import _dense_measurements

    monkeypatch.setattr(_dense_measurements, "DESCENT_FROM", 0)
    rng = np.random.default_rng(9)
    M, observed = rng.standard_normal((150, 10, 8)), rng.standard_normal(150)
    nearby = ls.Problem(MatrixSensing(M, observed), 2, 0.1).loss.nearby()
    points = [[(rng.standard_normal((10, 2)), rng.standard_normal((8, 2)))] for _ in range(4)]
    nearby.look(points[0])
    off = []
    for ask in (nearby.value, lambda factors: nearby.look(factors)[0]):
        for factors in points:
            A, B = factors[0]
            residual = np.einsum("kij,ij->k", M, A @ B.T) - observed
            off.append(abs(ask(factors) / (0.5 * np.mean(residual**2)) - 1.0))
    assert max(off[:4]) > 1e-11 and max(off[4:]) < 1e-13
    _, [(GB, GtA)], (G,) = nearby.look(points[1])
    A, B = points[1][0]
    exact = np.einsum("kij,k->ij", M, np.einsum("kij,ij->k", M, A @ B.T) - observed) / 150
    np.testing.assert_allclose(G.to_dense(), exact, atol=1e-13 * np.abs(exact).max())
    np.testing.assert_allclose(np.vstack([GB, GtA]), np.vstack([exact @ B, exact.T @ A]), rtol=1e-11)


def test_a_loss_that_rounds_more_than_it_says_is_given_up_soon():
    """Its values are worth seven digits and states sixteen: points of lower value than the best one never end."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((12, 3)) @ rng.standard_normal((3, 9))

    class Rounded:
        shape = M.shape
        convex, lower_bound, smoothness = True, 0.0, 1.0

        def value_and_grad(self, X):
            R = (X - M).astype(np.float32)
            return 0.5 * float(np.sum(R * R)), R.astype(np.float64)

    found = ls.solve_convex(ls.Problem(Rounded(), 3, 0.5))
    assert not found.success and "no further progress" in found.message
    assert found.nit < 60
    slower = ls.solve_convex(ls.Problem(Rounded(), 3, 0.5), "prox")
    assert "no further progress" in slower.message and slower.nit < 2000
    kept = np.maximum(np.linalg.svd(M, compute_uv=False) - 0.5, 0.0)
    least = 0.5 * np.linalg.norm(np.linalg.svd(M, compute_uv=False) - kept) ** 2 + 0.5 * kept.sum()
    assert found.fun == pytest.approx(least, rel=1e-6) == slower.fun


def test_an_ill_conditioned_loss_whose_gaps_go_up_and_down_is_solved():
    """Squares of condition 1e6, lam 1e-5 of the least one for which 0 is optimal; the certificate is the judge."""
    rng = np.random.default_rng(1)
    Q = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    H, M = (Q * np.geomspace(1.0, 1e-6, 6)) @ Q.T, rng.standard_normal((8, 6))

    class IllConditioned:
        shape = M.shape
        convex, lower_bound, smoothness = True, 0.0, 1.0

        def value_and_grad(self, X):
            G = (X - M) @ H
            return 0.5 * float(np.sum((X - M) * G)), G

    found = ls.solve_convex(ls.Problem(IllConditioned(), 2, 1e-5 * np.linalg.norm(M @ H, 2)), "factored")
    assert found.success and found.certificate.relative_gap < 1e-9


def test_weights_that_span_decades_are_solved_at_little_decay():
    """Ratings with weights from 1 to 1e4, lam 1e-4 of the critical one; sixty rounds of 100 iterations left 6e-3."""
    rng = np.random.default_rng(0)
    at = np.flatnonzero(rng.random(24 * 16) < 0.3)
    ratings = rng.integers(1, 6, at.size).astype(float)
    roots = np.exp(0.5 * rng.uniform(0.0, np.log(1e4), at.size))
    measurements = scipy.sparse.csr_array((roots, (np.arange(at.size), at)), shape=(at.size, 24 * 16))
    loss = MatrixSensing(measurements, roots * ratings, (24, 16))
    lam = 1e-4 * ls.Problem(loss, 6, 1.0).critical_lam()
    found = ls.solve_convex(ls.Problem(loss, 6, lam), "factored:max_rounds=60", 1e-6)
    assert found.success, found.message
    # No descent at full rank from elsewhere falls below what the proof leaves.
    other = ls.solve(ls.Problem(loss, 16, lam), "lbfgs", seed=0)
    assert other.fun >= found.fun * (1.0 - 1e-6)


def nearly_without_decay(share=1e-7):
    """Integer ratings at a share of the critical lam, where sixty rounds from nothing leave a gap of 0.6."""
    rng = np.random.default_rng(2)
    rows, cols = np.nonzero(rng.random((12, 10)) < 0.5)
    loss = MatrixCompletion(rows, cols, rng.integers(1, 6, rows.size).astype(float), (12, 10))
    return ls.Problem(loss, 4, share * ls.Problem(loss, 4, 1.0).critical_lam())


def test_little_decay_is_solved_from_nothing_and_from_any_start():
    problem = nearly_without_decay()
    found = ls.solve_convex(problem, "factored", 1e-6)
    assert found.success, found.message
    assert found.nit <= 100, found.message
    # F* is concave in lam and not negative, so that F*/lam falls as lam grows.
    larger = ls.solve_convex(problem.replace(lam=10.0 * problem.lam), "factored", 1e-6)
    assert larger.fun / 10.0 * (1.0 - 1e-6) <= found.fun <= problem.convex_value(larger.X) * (1.0 + 1e-6)
    elsewhere = ls.solve_convex(problem, "factored", 1e-6, start=(np.ones((12, 2)), np.ones((10, 2))))
    assert elsewhere.fun == pytest.approx(found.fun, rel=1e-6)


def test_a_path_may_leap_to_little_decay():
    problem = nearly_without_decay()
    points = ls.path(problem, [1e6 * problem.lam, problem.lam, 0.5 * problem.lam], 1e-6).points
    assert all(point.success for point in points)
    assert points[1].nit <= 90  # straight from the first 120
    assert points[2].nit <= 12  # from the one before


def test_several_matrices_with_little_decay_are_solved():
    problem = nearly_without_decay()
    pair = MultiProblem(Separable([problem.objective, problem.objective]), 4, problem.lam)
    assert ls.solve_convex(pair, "factored", 1e-6).fun == pytest.approx(
        2.0 * ls.solve_convex(problem, "factored", 1e-6).fun, rel=1e-6
    )


def test_what_ends_a_run_on_its_way_down_from_larger_lam_leaves_the_best_point_of_its_own():
    problem = nearly_without_decay()
    told = []

    def report(solution, value, bound):
        told.append((solution, value, bound.gap))
        if solution.nit > 12 or len(told) > 40:
            raise OutOfTime

    with pytest.raises(OutOfTime):
        Factored().run(problem, 1e-6, report)
    assert len(told) > 14  # the twelve rounds from nothing, and more
    for solution, value, _ in told:
        X = solution.A @ solution.B.T
        assert problem.convex_value(X) == pytest.approx(value, rel=1e-9)
    # Of runs at other lam nothing is told but that point.
    assert {gap for _, _, gap in told[13:]} == {told[12][2]}


@pytest.mark.parametrize(("tol", "rank"), [(1e-4, 2), (1e-12, 3)])
def test_what_is_on_its_way_out_is_taken_out_where_the_rounds_are_over(tol, rank):
    """The optimum of denoising, singular values less lam, and a little of a direction that it does not have."""
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((size, 3)))[0] for size in (9, 7))
    problem = ls.Problem(Denoising((U * [5.0, 4.0, 0.5]) @ V.T), 1, 1.0)
    root = np.sqrt([4.0, 3.0, 1e-6])
    run = _Run(problem, tol)
    point = run._look([(U * root, V * root)])
    (block,) = run._cleaned(point).blocks
    assert point.blocks[0].s.size == 3 and block.s.size == rank
    np.testing.assert_allclose(block.s[:2], [4.0, 3.0], atol=1e-9)


def test_two_measurements_with_a_spurious_minimum_at_rank_one():
    problem = ls.Problem(two_by_two(), 1, 0.1)
    result = certified(problem)
    assert result.fun <= two_by_two().global_value + 1e-12
    assert result.fun == pytest.approx(ls.solve_convex(problem, "cvxpy").fun, rel=1e-8)


def test_ties_and_a_zero_start_of_the_gradient():
    # All singular values of -G(0) tie at 2: no direction is better than another.
    result = certified(ls.Problem(Huber(2.0 * np.eye(12), 10.0), 3, 0.5))
    assert result.rank == 12
    np.testing.assert_allclose(result.X, 1.5 * np.eye(12), atol=1e-5)
    # Exactly lam: the optimum is 0, on the boundary.
    assert certified(ls.Problem(Huber(2.0 * np.eye(5), 10.0), 3, 2.0)).rank == 0
    # f is minimal at 0.
    zero = certified(ls.Problem(Huber(np.zeros((5, 4)), 1.0), 3, 0.1))
    assert zero.fun == 0.0 and zero.rank == 0


def test_more_escape_directions_than_one_round_offers():
    M = np.random.default_rng(0).standard_normal((60, 50))
    s = np.linalg.svd(M, compute_uv=False)
    result = certified(ls.Problem(Denoising(M), 1, 0.5))
    assert result.rank == np.count_nonzero(s > 0.5) > 40
    assert result.fun == pytest.approx(0.5 * np.sum(np.minimum(s, 0.5) ** 2) + 0.5 * np.sum(np.maximum(s - 0.5, 0)))


# ---------------------------------------------------------------------- smoothness unknown or misjudged
class Steep:
    """``sum cosh(X - M) - 1``: convex, curvature 1 at the minimum and growing without limit."""

    shape = (7, 5)
    convex = True
    lower_bound = 0.0

    def __init__(self):
        self.M = 4.0 * np.random.default_rng(1).standard_normal(self.shape)

    def value_and_grad(self, X):
        with np.errstate(over="ignore"):
            return float(np.sum(np.cosh(X - self.M) - 1.0)), np.sinh(X - self.M)

    def cvxpy_expression(self, X):
        import cvxpy

        return 0.5 * cvxpy.sum(cvxpy.exp(X - self.M) + cvxpy.exp(self.M - X)) - self.M.size


class Flat(Steep):
    """No curvature at all at the start: Huber in its linear part."""

    def __init__(self):
        self.huber = Huber(20.0 + np.random.default_rng(2).standard_normal(self.shape), 1.0)
        self.value_and_grad = self.huber.value_and_grad
        self.cvxpy_expression = self.huber.cvxpy_expression


class Understated(Denoising):
    """Claims a hundredth of its curvature: the proximal steps overshoot unless they are checked."""

    smoothness = 0.01


@pytest.mark.parametrize("cls", [Steep, Flat])
@pytest.mark.parametrize("lam", [3.0, 0.1])
def test_without_a_smoothness_constant(cls, lam):
    problem = ls.Problem(cls(), 2, lam)
    result = certified(problem)
    assert result.fun == pytest.approx(ls.solve_convex(problem, "cvxpy").fun, rel=1e-7)


def test_a_smoothness_constant_that_is_too_small_does_no_harm():
    M = np.random.default_rng(3).standard_normal((7, 5))
    s = np.linalg.svd(M, compute_uv=False)
    result = certified(ls.Problem(Understated(M), 2, 0.6))
    assert result.fun == pytest.approx(0.5 * np.sum(np.minimum(s, 0.6) ** 2) + 0.6 * np.sum(np.maximum(s - 0.6, 0)))


# ---------------------------------------------------------------------- hard numbers
@pytest.mark.parametrize("part", [0.3, 1e-2, 1e-3, 1e-4])
def test_ill_conditioned_linear_fine_tuning(part):
    """Inputs whose Gram matrix has condition number 1e8: values are known to 1e-16 f(0) only, far above F*'s digits."""
    rng = np.random.default_rng(4)
    n = 60
    U = np.linalg.qr(rng.standard_normal((n, n)))[0]
    Z = (U * np.logspace(0, -4, n)) @ rng.standard_normal((n, 400))
    Y = rng.standard_normal((40, n)) @ Z + 0.01 * rng.standard_normal((40, 400))
    objective = LinearFineTuning(np.zeros((40, n)), Z, Y)
    problem = ls.Problem(objective, 2, part * np.linalg.norm(objective.C, 2))
    result = certified(problem)
    # The same number from the samples, without Gram matrices.
    direct = np.sum((result.X @ Z - Y) ** 2) / 800 + problem.lam * np.linalg.norm(result.X, "nuc")
    assert result.fun == pytest.approx(direct, rel=1e-10)


def test_singular_values_over_many_decades():
    rng = np.random.default_rng(5)
    U, V = (np.linalg.qr(rng.standard_normal((size, 8)))[0] for size in (40, 30))
    s = np.logspace(3, -1, 8)
    result = certified(ls.Problem(Denoising((U * s) @ V.T), 2, 0.05))
    assert result.rank == 8
    np.testing.assert_allclose(result.certificate.singular_values, s - 0.05, rtol=1e-3)
    assert result.fun == pytest.approx(8 * 0.05**2 / 2 + 0.05 * np.sum(s - 0.05), rel=1e-9)


@pytest.mark.parametrize("power", [-300, 60, 200, 330])
def test_the_unit_of_the_data_does_not_matter(power):
    """``min F`` for data and lam times c is ``c^2 min F``; powers of two commit no rounding error."""
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.random((7, 5)) < 0.7)
    values = rng.standard_normal(rows.size)
    plain = ls.Problem(MatrixCompletion(rows, cols, values, (7, 5)), 2, 0.3)
    scaled = ls.Problem(MatrixCompletion(rows, cols, np.ldexp(values, power), (7, 5)), 2, math.ldexp(0.3, power))
    expected, found = (ls.solve_convex(problem, "factored", 1e-8) for problem in (plain, scaled))
    assert found.success, found.message
    assert math.ldexp(found.fun, -2 * power) == pytest.approx(expected.fun, rel=2e-8)


@pytest.mark.parametrize("lam", [2.0, 0.3, 0.03])
def test_completion_with_empty_rows_and_few_entries(lam):
    rng = np.random.default_rng(6)
    rows, cols = np.divmod(rng.choice(80 * 50, 900, replace=False), 50)
    kept = (rows > 3) & (cols != 7)
    objective = MatrixCompletion(rows[kept], cols[kept], rng.standard_normal(kept.sum()), (80, 50))
    result = certified(ls.Problem(objective, 2, lam))
    assert np.abs(result.X[:4]).max() < 1e-3 and np.abs(result.X[:, 7]).max() < 1e-3
    if lam > 1:
        assert result.fun == pytest.approx(ls.solve_convex(ls.Problem(objective, 2, lam), "prox").fun, rel=2e-9)


@pytest.mark.parametrize("kind", ["rank-one", "sparse"])
def test_measurements_that_never_form_a_matrix(kind):
    import scipy.sparse

    rng = np.random.default_rng(7)
    T = rng.standard_normal((12, 2)) @ rng.standard_normal((2, 9))
    if kind == "rank-one":
        a, b = rng.standard_normal((80, 12)), rng.standard_normal((80, 9))
        objective = MatrixSensing((a, b), np.einsum("ki,ij,kj->k", a, T, b) + 0.1 * rng.standard_normal(80))
    else:
        M = scipy.sparse.csr_array(np.where(rng.random((80, 108)) < 0.1, rng.standard_normal((80, 108)), 0.0))
        objective = MatrixSensing(M, M @ T.ravel() + 0.1 * rng.standard_normal(80), (12, 9))
    problem = ls.Problem(objective, 2, 0.05)
    result = certified(problem)
    assert result.fun == pytest.approx(ls.solve_convex(problem, "prox").fun, rel=2e-9)


def test_separable_classes_with_little_decay():
    """Without decay the minimum is at infinity; with little of it, far out and flat."""
    rng = np.random.default_rng(8)
    Z = rng.standard_normal((6, 40))
    labels = np.argmax(rng.standard_normal((4, 6)) @ Z, axis=0)
    objective = Softmax(np.zeros((4, 6)), Z, labels)
    norms = []
    for lam in (1e-2, 1e-3, 1e-4):
        result = certified(ls.Problem(objective, 2, lam))
        assert result.fun == pytest.approx(ls.solve_convex(ls.Problem(objective, 2, lam), "prox").fun, rel=2e-9)
        assert objective.metrics(result.X)["accuracy"] == 1.0 or lam > 1e-3
        norms.append(result.nuclear_norm)
    assert norms[0] < norms[1] < norms[2]


def test_the_limit_of_double_precision_ends_the_rounds_and_is_named():
    objective = Huber(np.random.default_rng(9).standard_normal((6, 4)), 1.0)
    result = ls.solve_convex(ls.Problem(objective, 2, 0.1), "factored", 1e-17)
    assert not result.success and result.nit < Factored().max_rounds
    assert "double precision" in result.message
    assert result.relative_gap < 2e-13
    zero = ls.solve_convex(ls.Problem(objective, 2, 10.0), "factored", 1e-17)
    assert "double precision" in zero.message and zero.rank == 0 and zero.relative_gap < 1e-13


def test_rounds_report_points_of_falling_gap():
    reported = []

    def report(solution, value, bound):
        reported.append((bound.gap, solution.nit))
        assert value == pytest.approx(problem.convex_value(solution.A @ solution.B.T), rel=1e-10)

    objective = Softmax.example(np.random.default_rng(10))
    problem = ls.Problem(objective, 2, 0.01)
    final = Factored().run(problem, 1e-9, report)
    gaps = [gap for gap, _ in reported]
    assert gaps == sorted(gaps, reverse=True) and len(gaps) > 2
    assert [nit for _, nit in reported] == list(range(len(reported)))
    assert final.nit == reported[-1][1]


# ---------------------------------------------------------------------- starts
def ratings(lam):
    rng = np.random.default_rng(8)
    rows, cols = np.divmod(rng.choice(40 * 30, 500, replace=False), 30)
    values = (rng.standard_normal((40, 4)) @ rng.standard_normal((4, 30)))[rows, cols] + rng.standard_normal(500)
    return ls.Problem(MatrixCompletion(rows, cols, values, (40, 30)), 3, lam)


@pytest.mark.parametrize("lam", [6.0, 2.0])
def test_a_start_changes_the_way_and_not_the_optimum(lam):
    neighbour, cold = certified(ratings(4.0)), certified(ratings(lam))
    for start in (neighbour, (neighbour.A, neighbour.B), neighbour.X):
        warm = ls.solve_convex(ratings(lam), "factored", 1e-9, start=start)
        assert warm.success
        assert warm.fun == pytest.approx(cold.fun, rel=2e-9)
        assert warm.rank == cold.rank
    assert ls.solve_convex(ratings(lam), "factored", 1e-8, start=cold).nit == 0


def test_a_start_worse_than_zero_is_not_used():
    problem = ratings(4.0)
    far = (np.full((40, 2), 1e150), np.full((30, 2), 1e150))
    with np.errstate(over="ignore"):
        result = ls.solve_convex(problem, "factored", 1e-9, start=far)
    assert result.success and result.fun == pytest.approx(certified(problem).fun, rel=2e-9)


def test_a_scaled_adapter_takes_the_start_in_its_own_units():
    problem = ratings(4.0).replace(adapter=ls.adapters.LoRA(alpha=6.0))
    cold = certified(problem)
    assert ls.solve_convex(problem, "factored", 1e-8, start=(cold.A / 2.0, cold.B)).nit == 0
    assert ls.solve_convex(problem, "factored", 1e-8, start=cold).nit == 0


def test_from_an_optimum_of_less_precision_the_rest_is_a_few_rounds():
    """The first step was 64 times as long as the curvature allows, rounding hid that, and each round undid the last."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((120, 6)) @ rng.standard_normal((6, 100)) + 0.1 * rng.standard_normal((120, 100))
    problem = ls.Problem(Huber(M), rank=6, lam=1.0)
    first = certified(problem, 1e-8)
    rest = ls.solve_convex(problem, "factored", 1e-10, start=first)
    assert rest.success and rest.nit <= 3


def test_starts_that_are_refused():
    problem = ratings(4.0)
    start = (np.ones((40, 2)), np.ones((30, 2)))
    with pytest.raises(ValueError, match="start: the route 'prox' takes no start; accepted by: factored"):
        ls.solve_convex(problem, "prox", start=start)
    with pytest.raises(ValueError, match="start"):
        ls.solve_convex(problem, "factored", start=np.ones((3, 3)))
    denoising = ls.Problem(Denoising(np.eye(4)), 2, 0.5)
    assert ls.solve_convex(denoising, start=np.ones((4, 4))).route == "closed_form"


def test_without_decay_rows_and_columns_that_nothing_observes_are_left_alone():
    rows, cols, values = [0, 1, 3], [0, 1, 2], [1.0, -2.0, 0.5]
    found = ls.solve_convex(ls.Problem(ls.objectives.MatrixCompletion(rows, cols, values, (5, 4)), 2, 0.0), "factored")
    # Any entries can be fitted, so the least value is 0.
    assert found.success and 0.0 <= found.fun < 1e-12
    assert found.X[rows, cols] == pytest.approx(values, abs=1e-6)
    assert not found.X[[2, 4]].any() and not found.X[:, 3].any()


class Apart:
    """Half the squared distance from a matrix, as a user writes it."""

    convex, lower_bound = True, 0.0

    def __init__(self, M):
        self.M, self.shape = M, M.shape

    def value_and_grad(self, X):
        return 0.5 * float(((X - self.M) ** 2).sum()), X - self.M


@pytest.mark.parametrize("size", [1e-120, 1e110, 1e150])
def test_data_whose_squares_are_numbers_are_solved_though_their_cubes_are_none(size):
    """Gradients of the factors are of the size of the data to the power 3/2. The optimum scales with the data."""
    rng = np.random.default_rng(9)
    M = rng.standard_normal((12, 2)) @ rng.standard_normal((2, 10))
    P, s, Qt = np.linalg.svd(M)
    best = (P[:, :2] * (s[:2] - 0.3)) @ Qt[:2]
    for objective in (Denoising(size * M), Apart(size * M)):
        result = ls.solve_convex(ls.Problem(objective, 2, 0.3 * size), "factored", 1e-9)
        assert result.success and result.rank == 2
        np.testing.assert_allclose(result.X / size, best, atol=1e-8)
    rows, cols = np.nonzero(rng.random((12, 10)) < 0.7)
    one, other = (
        ls.solve_convex(ls.Problem(MatrixCompletion(rows, cols, unit * M[rows, cols], (12, 10)), 2, 0.3 * unit))
        for unit in (1.0, size)
    )
    assert other.success and other.fun / size / size == pytest.approx(one.fun, rel=2e-9)
    assert 0.0 < other.certificate.stationarity < np.inf


def test_sensing_is_solved_and_its_rank_bounded_without_the_norm_of_the_measurements():
    rng = np.random.default_rng(12)
    M, X = rng.standard_normal((150, 12, 10)), rng.standard_normal((12, 2)) @ rng.standard_normal((2, 10))
    objective = MatrixSensing(M, np.tensordot(M, X, 2))
    found = ls.solve_convex(ls.Problem(objective, 1, 0.5), route="factored", tol=1e-8)
    assert found.relative_gap <= 1e-8 and found.certificate.rank_at_most == 2
    assert "smoothness" not in vars(objective)
