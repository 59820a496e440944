"""Stationarity, curvature, escape: against closed forms, finite differences and the known points of denoising."""

import json
import re
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import sympy
from scipy.special import betainc

import lorasolve as ls
from lorasolve import landscape
from lorasolve.landscape import _krylov
from lorasolve.landscape._krylov import MISSED, _Lanczos, search_krylov
from lorasolve.landscape._symmetry import Symmetry
from lorasolve.landscape.canonical import canonical
from lorasolve.landscape.curvature import _lanczos, curvature, hessian
from lorasolve.landscape.escapes import lowest_on_line
from lorasolve.linear_map import LinearMap
from lorasolve.low_rank import balanced, product_entries
from lorasolve.multi import Separable


def denoising(seed=0, m=6, n=5, lam=0.3, rank=3):
    rng = np.random.default_rng(seed)
    U, _ = np.linalg.qr(rng.standard_normal((m, n)))
    V, _ = np.linalg.qr(rng.standard_normal((n, n)))
    s = np.array([4.0, 3.0, 2.0, 0.2, 0.1])
    return ls.Problem(ls.objectives.Denoising((U * s) @ V.T), rank=rank, lam=lam), U, s, V


def hessian_of(problem, A, B):
    point = canonical(problem, A, B)
    return hessian(point.problem.hessian_at(point.theta), problem.size)


def nothing(size):
    """No symmetry directions: one column under weight decay has none."""
    return Symmetry([(np.zeros((size, 1)), np.zeros((0, 1)))], 1.0)


def point_of(U, s, V, chosen, lam, rank):
    A, B = np.zeros((U.shape[0], rank)), np.zeros((V.shape[0], rank))
    chosen = list(chosen)
    A[:, : len(chosen)], B[:, : len(chosen)] = balanced(U[:, chosen], s[chosen] - lam, V[:, chosen])
    return A, B


@pytest.mark.parametrize("chosen", [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_denoising_stationary_points_are_classified_as_their_closed_form_says(chosen):
    problem, U, s, V = denoising()
    A, B = point_of(U, s, V, chosen, 0.3, 3)
    first = landscape.stationarity(problem, A, B)
    assert first.is_fosp
    assert first.grad_norm < 1e-12
    assert first.rank == len(chosen)
    assert first.structure_residual < 1e-12
    left = np.delete(s, list(chosen))
    assert first.S_norm == pytest.approx(left.max(), abs=1e-12)
    second = landscape.second_order(problem, A, B)
    # G = X - M has singular values s_j off the point; into a zero column the curvature is lam - s_j.
    if set(chosen) == {0, 1, 2}:
        assert second.smallest > 0.0
    else:
        assert second.smallest == pytest.approx(0.3 - left.max(), abs=1e-9)
    expected = "global" if set(chosen) == {0, 1, 2} else "saddle"
    assert landscape.verdict(problem, (A, B)).kind == expected


@pytest.mark.parametrize(("chosen", "kind"), [((0, 1), "global"), ((0, 2), "saddle"), ((1, 2), "saddle")])
def test_below_the_rank_of_the_minimizer_no_theorem_applies(chosen, kind):
    problem, U, s, V = denoising(rank=2)
    A, B = point_of(U, s, V, chosen, 0.3, 2)
    if kind == "saddle":
        left = np.delete(s, list(chosen))
        assert landscape.second_order(problem, A, B).smallest == pytest.approx(s[list(chosen)].min() - left.max())
    judged = landscape.verdict(problem, (A, B))
    assert judged.kind == kind
    assert judged.findings == ()


@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_below_the_rank_of_the_minimizers_the_best_of_several_matrices_is_known(lam):
    one, U, s, V = denoising(lam=lam)
    loss = Separable([one.objective, one.objective])
    problem = ls.MultiProblem(loss, (1, 2), lam)

    def judged(*chosen):
        pairs = [point_of(U, s, V, which, lam, len(which)) for which in chosen]
        return landscape.verdict(problem, tuple(zip(*pairs)))

    assert judged((0,), (0, 1)).kind == "global"
    assert judged((1,), (0, 1)).kind == judged((0,), (0, 2)).kind == "saddle"


class Weighted:
    """``sum_ij w_ij (X_ij - M_ij)^2 / 2``."""

    convex, least_squares, lower_bound = True, True, 0.0

    def __init__(self, weights, M):
        self.weights, self.M, self.shape = weights, M, M.shape

    def value_and_grad(self, X):
        R = X - self.M
        return 0.5 * float(np.sum(self.weights * R * R)), self.weights * R

    def hessian_product(self, X, D):
        return self.weights * D


def test_below_the_rank_of_the_minimizer_no_worse_minimum_is_called_the_best_of_its_rank():
    """Weights between 1/20 and 1 give minima of rank 1 of different values; between 0.9 and 1 they hardly can."""
    rng = np.random.default_rng(3)
    worse = best = spurious = 0
    for least in [0.05] * 20 + [0.9] * 3:
        loss = Weighted(rng.uniform(least, 1.0, (4, 4)), 2.0 * rng.standard_normal((4, 4)))
        problem = ls.Problem(loss, rank=1, lam=0.1)
        found = [ls.solve(problem, "lbfgs", "gaussian:std=1", seed=seed) for seed in range(8)]
        lowest = min(result.fun for result in found)
        # One of the runs that have ended at the same value.
        for result in {f"{result.fun:.4e}": result for result in found}.values():
            kind, above = landscape.verdict(problem, result).kind, result.fun > lowest * (1.0 + 1e-4)
            assert not (kind == "global" and above) and not (kind == "spurious" and not above)
            worse += above
            best += kind == "global"
            spurious += kind == "spurious"
    assert worse >= 3
    assert best >= 3
    # The optimum has a higher rank, and cut to rank one is lower than some of them.
    assert spurious >= 3


def test_a_curvature_that_a_users_loss_states_makes_no_best_point_of_a_rank():
    """``f`` states the curvature 1 where it is 1/20 in some entries; the second-order point ``X = E_11`` is no best."""

    class Boasts(Weighted, ls.objectives.Objective):
        least_squares, rsc, rsm = False, 1.0, 1.0

    problem = ls.Problem(Boasts(np.array([[1.0, 1.0], [1.0, 0.05]]), np.diag([1.0, 10.0])), rank=1, lam=0.1)
    A = np.array([[np.sqrt(0.9)], [0.0]])
    assert landscape.second_order(problem, A, A).is_sosp
    better = np.array([[0.0], [np.sqrt(8.0)]])
    assert problem.value(better, better) < problem.value(A, A) - 1.0
    assert landscape.verdict(problem, (A, A)).kind != "global"


@pytest.mark.parametrize("given", [False, True])
def test_a_small_singular_value_of_the_minimizer_that_matters_counts_in_its_rank(given):
    """Of diag(9.9e6, 1) the second value is 1e-7 of the first; at rank 1 that is the value to have.

    The loss is the sum of ``w/2 (x - y)^2`` over the entries, with ``y = diag(1e7, 1)``.
    """
    w = np.array([1e-14, 1e-6, 1e-6, 1.0])
    E = np.eye(4).reshape(4, 2, 2)
    f = ls.objectives.MatrixSensing(E * np.sqrt(4.0 * w)[:, None, None], np.sqrt(4.0 * w) * np.array([1e7, 0, 0, 1.0]))
    problem = ls.Problem(f, rank=1, lam=1e-9)
    kept = 1.0 - 1e-9
    A, B = np.array([[0.0], [kept]]), np.array([[0.0], [1.0]])
    value = problem.convex_value(A @ B.T)
    # Brute force: no matrix of rank one is below.
    rng = np.random.default_rng(0)
    for size in (1.0, 1e3, 1e5, 9.9e6):
        for _ in range(200):
            u, v = rng.standard_normal((2, 2)) * np.array([1.0, rng.choice([1.0, 1e-3, 1e-7])])
            assert problem.convex_value(size * np.outer(u, v)) >= value
    assert problem.convex_value(np.diag([9.9e6, 0.0])) > value
    judged = landscape.verdict(problem, (A, B), X_star=np.diag([9.9e6, kept]) if given else None)
    assert judged.kind == "inconclusive" and not judged.findings
    (known,) = (premise for premise in judged.premises if premise.id == "star_known")
    assert known.holds is False and "rank 2" in known.detail
    # The large entry alone is no minimum of rank one, and of rank two the minimizer is known.
    both = np.diag(np.sqrt([9.9e6, kept]))
    assert landscape.verdict(problem.replace(rank=2), (both, both)).kind == "global"


def test_a_value_that_overflows_leaves_a_document_that_other_programs_read():
    """``log(1 + e^x)`` as people write it is infinite at 800, where its slope is 1: JSON has no ``Infinity``."""

    class Softplus:
        shape = (6, 5)

        def value_and_grad(self, X):
            return float(np.log(1.0 + np.exp(X)).sum()), 1.0 / (1.0 + np.exp(-X))

    with np.errstate(over="ignore"):
        found = landscape.stationarity(ls.Problem(Softplus(), 2, lam=0.1), np.full((6, 2), 20.0), np.full((5, 2), 20.0))
    assert found.value == np.inf
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["value"] is None and document["rank"] == 1


def test_hessian_agrees_with_finite_differences_and_symmetry_directions_are_in_its_kernel():
    rng = np.random.default_rng(3)
    problem, U, s, V = denoising()
    A, B = rng.standard_normal((6, 3)), rng.standard_normal((5, 3))
    H = hessian_of(problem, A, B)
    theta = problem.join(A, B)
    h = 1e-5
    columns = []
    for unit in np.eye(theta.size):
        plus, minus = np.empty_like(theta), np.empty_like(theta)
        problem.value_and_grad(theta + h * unit, plus)
        problem.value_and_grad(theta - h * unit, minus)
        columns.append((plus - minus) / (2 * h))
    assert pytest.approx(np.array(columns), abs=1e-7) == H
    A, B = point_of(U, s, V, (0, 1, 2), 0.3, 3)
    basis = Symmetry([(A, B)], 0.3).basis()
    assert basis.shape[1] == 3
    assert np.abs(hessian_of(problem, A, B) @ basis).max() < 1e-12


def test_lanczos_agrees_with_the_dense_spectrum():
    problem, U, s, V = denoising(rank=2)
    A, B = point_of(U, s, V, (0, 2), 0.3, 2)
    point = canonical(problem, A, B)
    dense = landscape.second_order(problem, A, B)
    symmetry = Symmetry([(A, B)], 0.3)
    smallest, largest, vector, *_ = _lanczos(point.problem.hessian_at(point.theta), symmetry, 1e-7, [])
    assert smallest == pytest.approx(dense.smallest, abs=1e-8)
    assert largest == pytest.approx(dense.largest, rel=1e-4)
    overlap = abs(vector @ np.concatenate([part.ravel() for part in dense.direction]))
    assert overlap == pytest.approx(1.0, abs=1e-6)


def test_large_points_use_lanczos_and_find_the_saddle():
    rng = np.random.default_rng(5)
    M = rng.standard_normal((60, 50))
    problem = ls.Problem(ls.objectives.Denoising(M), rank=5, lam=0.5)
    P, s, Qt = np.linalg.svd(M)
    A, B = balanced(P[:, [0, 1, 2, 3, 5]], s[[0, 1, 2, 3, 5]] - 0.5, Qt[[0, 1, 2, 3, 5]].T)
    second = landscape.second_order(problem, A, B)
    assert second.eigensolver == "lanczos"
    assert second.smallest == pytest.approx(s[5] - s[4], abs=1e-7)
    assert not second.is_sosp
    A, B = balanced(P[:, :5], s[:5] - 0.5, Qt[:5].T)
    second = landscape.second_order(problem, A, B)
    assert second.smallest == pytest.approx(s[4] - s[5], abs=1e-7)
    assert second.failure_probability <= MISSED
    assert "SAMPLED" in second.evidence
    assert landscape.second_order(problem, 0.0 * A, 0.0 * B).smallest == pytest.approx(0.5 - s[0], abs=1e-9)


def against(vector):
    """A unit vector of two non-zero entries, orthogonal to the given one."""
    found = np.zeros(vector.size)
    found[:2] = [vector[1], -vector[0]]
    return found / np.linalg.norm(found)


def test_a_saddle_hidden_from_a_known_start_is_found():
    # At 0 the curvatures are lam +- s_i. The escape direction is orthogonal to the first vector of default_rng(0), and
    # 1 - 0.99 is so well separated from the rest that Lanczos from that vector stops before rounding brings it in.
    known = np.random.default_rng(0).standard_normal(600)
    M = np.zeros((300, 300))
    M[range(3, 300), range(3, 300)] = np.linspace(0.9, 0.0, 297)
    M[2, 2] = 0.99
    M += 1.01 * np.outer(against(known[:300]), against(known[300:]))
    problem = ls.Problem(ls.objectives.Denoising(M), rank=1, lam=1.0)
    zero = np.zeros((300, 1)), np.zeros((300, 1))
    assert np.linalg.norm(M, 2) == pytest.approx(1.01)
    second = landscape.second_order(problem, *zero)
    assert second.eigensolver == "lanczos"
    assert second.smallest == pytest.approx(1.0 - 1.01, abs=1e-9)
    assert not second.is_sosp
    assert np.linalg.norm(landscape.escape(problem, zero).X) == pytest.approx(0.01, rel=1e-3)


def test_a_hidden_direction_of_any_hessian_is_found_without_candidates():
    known = np.random.default_rng(0).standard_normal(600)
    hidden = against(known)
    values = np.concatenate([[0.0, 0.0, 0.01], np.linspace(0.1, 2.0, 597)])
    apply = lambda x: values * x - 0.01 * hidden * (hidden @ x)  # noqa: E731
    for _ in range(5):
        _, found = curvature(apply, nothing(600), 1e-7)
        assert found["smallest"] == pytest.approx(-0.01, abs=1e-9)
        assert found["failure_probability"] == 0.0


@pytest.mark.parametrize("overlap", [1e-2, 1e-4, 1e-6, 1e-9])
@pytest.mark.parametrize("goal", [0.5, 1e-2, 1e-4, 1e-6])
def test_a_missed_direction_overlaps_the_start_by_no_more_than_the_bound(overlap, goal):
    # The eigenvector e_0 of -0.05 is nearly orthogonal to the start, so that few steps do not see it.
    rng = np.random.default_rng(0)
    values = np.concatenate([[-0.05], rng.uniform(0.3, 2.0, 999)])
    start = rng.standard_normal(1000)
    start[0] = 0.0
    start /= np.linalg.norm(start)
    start[0] = overlap
    run = _Lanczos(lambda x: values * x, start, 1000, 1e-7, goal)
    # The theorem of proofs/random_start turns the bound on the overlap into a probability.
    bound = run.probability(0.05) / np.sqrt(2.0 * 1000 / np.pi)
    assert run.values[0] < 0.0 or run.probability(0.05) == 1.0 or bound >= overlap * (1.0 - 1e-9)
    if overlap <= 1e-4 and goal == 0.5:
        assert run.values[0] > 0.0
        assert bound < 1.0


@pytest.mark.parametrize("dimension", [2, 3, 40])
def test_the_probability_of_an_overlap_is_that_of_the_sphere(dimension):
    """``P(|b_1| <= c)`` of a uniform unit vector is a beta law; a search that sees the overlap c says no less."""
    run = _Lanczos(lambda x: x, np.ones(dimension), dimension, 1e-7, 0.5)
    for c in (0.1, 0.5, 0.9, 0.99):
        # T = 1 and a next entry of 2 c: the overlap with an eigenvector to the eigenvalue -1 is c at most.
        run.diagonal, run.off, run.error = [1.0], [2.0 * c], 0.0
        run._look()
        assert run.probability(1.0) >= min(1.0, betainc(0.5, 0.5 * (dimension - 1), c * c))


def test_the_stated_probability_is_not_exceeded_by_short_searches():
    # One negative eigenvalue, 400 independent short searches: those that report p below a level miss less often.
    rng = np.random.default_rng(1)
    values = np.concatenate([[-0.02], np.linspace(0.0, 1.0, 499)])
    reported = []
    for _ in range(400):
        run = _Lanczos(lambda x: values * x, rng.standard_normal(500), 500, 0.0, 0.5)
        reported.append(run.probability(0.02))
    for level in (0.5, 0.3, 0.1):
        assert np.mean(np.array(reported) <= level) <= level + 3.0 * np.sqrt(level / 400)


def test_a_search_that_is_too_short_says_so():
    # Curvature down to 1e-9 of the largest: 5000 steps cannot tell 0 from -1e-7, and none are taken in vain.
    values = np.geomspace(1e-9, 1.0, 5000)
    products = []
    draw = lambda: np.random.default_rng().standard_normal(5000)  # noqa: E731
    found = search_krylov(lambda x: products.append(1) or values * x, draw, 5000, 1e-9)
    assert found.failure_probability > MISSED
    assert -1.0 < found.at_least < -1e-9
    assert len(products) < 1000


def test_a_search_ends_once_the_steps_left_cannot_settle_it():
    # Known to be positive it would be after about sqrt(1/3e-6) ln(1/MISSED)/2 = 8,000 steps, of 5,000; without a rule
    # all of these are taken.
    values, products = np.geomspace(3e-6, 1.0, 3000), []
    draw = lambda: np.random.default_rng().standard_normal(3000)  # noqa: E731
    found = search_krylov(lambda x: products.append(1) or values * x, draw, 3000, 1e-7)
    assert found.failure_probability > MISSED
    assert len(products) < 3500


@pytest.mark.parametrize("least", [3e-5, 1e-4])
def test_searches_go_on_without_a_basis_until_positive_curvature_is_known(least):
    # About sqrt(1/least) ln(1/MISSED) steps; 300 of them say nothing.
    values = np.geomspace(least, 1.0, 2000)
    draw = lambda: np.random.default_rng().standard_normal(2000)  # noqa: E731
    found = search_krylov(lambda x: values * x, draw, 2000, 1e-7)
    assert found.failure_probability <= MISSED
    assert 0.0 < found.at_least <= least
    assert search_krylov(lambda x: values * x, draw, 2000, 1e-7, 300).failure_probability > MISSED


@pytest.mark.parametrize("steps", [20, 60, 100, 200, 400])
@pytest.mark.parametrize("overlap", [1e-3, 1e-6, 1e-9])
def test_the_bound_on_a_missed_direction_needs_no_orthogonal_basis(monkeypatch, steps, overlap):
    # Two large eigenvalues are found again and again once no basis is kept, after ten steps.
    monkeypatch.setattr(_krylov, "MAX_STEPS", 10)
    monkeypatch.setattr(_Lanczos, "_hopeless", lambda run: False)
    rng = np.random.default_rng(4)
    values = np.concatenate([[-0.01, 50.0, 90.0], rng.uniform(0.01, 2.0, 997)])
    start = rng.standard_normal(1000)
    start[0] = 0.0
    start /= np.linalg.norm(start)
    start[0] = overlap
    run = _Lanczos(lambda x: values * x, start, 1000, 1e-9, 1e-30, steps)
    T = np.diag(run.diagonal) + np.diag(run.off[:-1], 1) + np.diag(run.off[:-1], -1)
    if steps >= 60:
        # There are copies: the basis has lost its orthogonality, and the bound is on its own.
        assert np.count_nonzero(np.abs(np.linalg.eigvalsh(T) - 90.0) < 1e-6) > 1
    bound = run.probability(0.01) / np.sqrt(2.0 * 1000 / np.pi)
    assert run.probability(0.01) == 1.0 or bound >= overlap * (1.0 - 1e-9)


def test_a_search_without_a_basis_misses_no_more_often_than_it_says(monkeypatch):
    monkeypatch.setattr(_krylov, "MAX_STEPS", 10)
    monkeypatch.setattr(_Lanczos, "_hopeless", lambda run: False)
    rng = np.random.default_rng(5)
    values = np.concatenate([[-0.02, 40.0], np.linspace(0.0, 1.0, 498)])
    reported = []
    for _ in range(400):
        run = _Lanczos(lambda x: values * x, rng.standard_normal(500), 500, 0.0, 1e-9, 40)
        reported.append(run.probability(0.02))
    assert min(reported) < 0.5
    for level in (0.5, 0.3, 0.1):
        assert np.mean(np.array(reported) <= level) <= level + 3.0 * np.sqrt(level / 400)


def test_a_negative_curvature_that_shows_late_is_found():
    hidden = against(np.random.default_rng(6).standard_normal(1500))
    values = np.geomspace(1e-4, 1.0, 1500)
    apply = lambda x: values * x - 2e-4 * hidden * (hidden @ x)  # noqa: E731
    smallest = np.linalg.eigvalsh(np.diag(values) - 2e-4 * np.outer(hidden, hidden))[0]
    _, found = curvature(apply, nothing(1500), 1e-7)
    assert found["smallest"] == pytest.approx(smallest, rel=1e-6)


@pytest.mark.parametrize("max_products", [600, None])
@pytest.mark.parametrize("least", [0.1, 0.01])
def test_a_positive_curvature_is_bounded_from_below(least, max_products):
    values = np.linspace(least, 1.0, 800)
    _, found = curvature(lambda x: values * x, nothing(800), 1e-7, max_products=max_products)
    assert found["failure_probability"] <= MISSED
    # The smallest curvature that was met is no bound, however near.
    assert 0.0 < found["at_least"] < least * (1.0 - 1e-9) and found["at_least"] < found["smallest"]


@pytest.mark.parametrize("noise", [1e-12, 1e-9, 1e-6])
def test_products_with_errors_are_seen_to_have_them_and_the_bound_counts_them(noise):
    # As differences of gradients have: errors spread evenly over all directions, of a length of about noise.
    rng = np.random.default_rng(2)
    values = np.linspace(1e-3, 1.0, 800)

    def rough(x):
        return values * x + noise * rng.standard_normal(800) / np.sqrt(800)

    found = _Lanczos(rough, rng.standard_normal(800), 800, 1e-7, 1e-6)
    assert 0.9 * noise < found.error < 10.0 * noise
    # |<z, b>| of a missed direction may be max ||e_j|| ||x||_1, and ||x||_1 >= ||x|| >= x_1 >= 1 here.
    assert found.probability(1e-6) > 0.5 * noise
    exact = _Lanczos(lambda x: values * x, rng.standard_normal(800), 800, 1e-7, 1e-6)
    assert exact.error < 1e-14


def test_a_budget_of_products_is_kept_and_ends_at_the_first_negative_curvature():
    rng = np.random.default_rng(3)
    hidden = rng.standard_normal(2000)
    hidden /= np.linalg.norm(hidden)
    values = np.geomspace(1e-6, 1.0, 2000)
    free = nothing(2000)
    vector, saddle = curvature(lambda x: values * x - 0.3 * hidden * (hidden @ x), free, 1e-7, max_products=400)
    # The smallest eigenvalue of a positive definite matrix minus 0.3 h h^T, by its secular equation.
    low, high = -0.3, 0.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if 0.3 * np.sum(hidden**2 / (values - middle)) < 1.0 else (low, middle)
    assert low - 1e-9 <= saddle["smallest"] <= 0.95 * low
    assert saddle["smallest"] == pytest.approx(vector @ (values * vector) - 0.3 * (hidden @ vector) ** 2, rel=1e-9)
    assert not saddle["is_sosp"] and saddle["failure_probability"] == 0.0
    assert saddle["products"] < 100
    _, undecided = curvature(lambda x: values * x, free, 1e-7, max_products=60)
    assert undecided["products"] <= 60
    assert undecided["is_sosp"] and undecided["failure_probability"] > MISSED
    assert undecided["at_least"] < -1e-6


def test_what_a_budget_did_not_settle_is_called_inconclusive():
    # The curvatures into the empty column are lam +- s_i, from 1e-5 on.
    problem = ls.Problem(ls.objectives.Denoising(np.diag(np.r_[2.0, np.linspace(0.0, 0.09999, 299)])), rank=2, lam=0.1)
    A = np.zeros((300, 2))
    A[0, 0] = np.sqrt(1.9)
    short, long = (landscape.second_order(problem, A, A, max_products=count) for count in (50, 600))
    assert short.products <= 50 < long.products
    assert short.is_sosp and short.failure_probability > MISSED
    assert "inconclusive" in short.evidence and f"below {short.at_least:.1e} missed" in short.evidence
    assert short.at_least < long.at_least < 1e-5
    with pytest.raises(ValueError, match="max_products"):
        landscape.second_order(problem, A, A, max_products=10)


@pytest.mark.parametrize("extra", [1, 2])
def test_zero_columns_are_a_saddle_that_gd_cannot_leave_and_escape_does(extra):
    problem, U, s, V = denoising()
    A, B = point_of(U, s, V, range(3 - extra), 0.3, 3)
    stuck = ls.solve(problem, "gd", init=(A, B))
    assert np.linalg.matrix_rank(stuck.X, tol=1e-6) == 3 - extra
    judged = landscape.verdict(problem, stuck)
    assert judged.kind == "saddle"
    left = landscape.escape(problem, stuck)
    expected = (U[:, :3] * (s[:3] - 0.3)) @ V[:, :3].T
    assert pytest.approx(expected, abs=1e-6) == left.X
    assert landscape.verdict(problem, left).kind == "global"


def two_features(large, lam, count=2):
    """Features of sizes ``large`` and 1, one column learned and the others zero, which is exactly stationary.

    ``f = sum_i (1 - z_i x_i)^2/(2 count)`` on the diagonal: the point leaves ``1/(2 count)`` for each column of zeros.
    """
    sizes = np.r_[large, np.ones(count - 1)]
    problem = ls.Problem(
        ls.objectives.LinearFineTuning(np.zeros((count, count)), np.diag(sizes), np.eye(count)), rank=count, lam=lam
    )
    A = np.zeros((count, count))
    A[0, 0] = np.sqrt((1.0 - count * lam / large) / large)
    return problem, A


@pytest.mark.parametrize(("large", "tol"), [(1e7, 1e-6), (1e4, 1e-3)])
@pytest.mark.parametrize("lam", [0.0, 0.01])
def test_a_zero_column_is_a_saddle_however_large_other_curvatures_are(large, tol, lam):
    problem, A = two_features(large, lam)
    X_star = np.diag([(1.0 - 2.0 * lam / large) / large, 1.0 - 2.0 * lam])
    judged = landscape.verdict(problem, (A, A), X_star, tol=tol)
    # Into the zero column the curvature is lam minus the gradient of f, 1/2.
    assert judged.second_order.smallest == pytest.approx(lam - 0.5)
    assert judged.second_order.is_sosp
    assert judged.kind == "saddle"
    assert {p.id: p.holds for p in judged.premises}["second_order"] is False
    assert judged.findings == judged.contradictions == ()
    asked = re.search(r"tol=([^)]*)", judged.reason)
    left = landscape.escape(problem, (A, A), tol=float(asked[1]) if asked else 1e-7)
    # Both columns learned: f is lam^2/2 for the small feature, and its decay lam (1 - 2 lam).
    assert problem.convex_value(left.X) == pytest.approx(0.5 * 2.0 * lam**2 + lam * (1.0 - 2.0 * lam), abs=1e-6)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(("off", "kind"), [(0.0, "saddle"), (3e-7, "not_converged")])
def test_a_curvature_that_the_remaining_gradient_may_explain_is_no_strict_saddle(unit, off, kind):
    """In closed form the curvature along the second singular vectors is lam less that singular value."""
    problem = ls.Problem(ls.objectives.Denoising(unit * np.diag([1000.0, 1.5])), 2, unit)
    A = np.diag([np.sqrt(999.0 * unit) * (1.0 + off), 0.0])
    judged = landscape.verdict(problem, (A, A.copy()))
    assert judged.kind == kind and judged.stationarity.is_fosp
    assert judged.second_order.smallest == pytest.approx(-0.5 * unit, rel=1e-9)
    assert next(p.holds for p in judged.premises if p.id == "second_order") is (None if off else False)
    said = "within what rounding and the remaining gradient" in judged.reason and judged.reason.endswith(
        "continue the run"
    )
    assert said == bool(off)


def test_a_saddle_that_is_lower_than_tol_only_by_several_directions_is_called_neither_spurious_nor_a_saddle():
    """The value is 1/3, of which each column of zeros is worth 1/6, and at ``X = 0`` it is 1/2: tol is half of it."""
    problem, A = two_features(1e4, 0.0, 3)
    judged = landscape.verdict(problem, (A, A), np.diag([1e-4, 1.0, 1.0]), tol=0.5)
    assert judged.second_order.smallest == pytest.approx(-1.0 / 3.0)
    assert judged.kind == "inconclusive" and "curvature is -3.33e-01" in judged.reason
    assert {p.id: p.holds for p in judged.premises}["second_order"] is None
    assert judged.contradictions == ()


def test_escape_leaves_the_origin_and_keeps_a_converged_optimum():
    problem, U, s, V = denoising()
    left = landscape.escape(problem, (np.zeros((6, 3)), np.zeros((5, 3))))
    expected = (U[:, :3] * (s[:3] - 0.3)) @ V[:, :3].T
    assert pytest.approx(expected, abs=1e-6) == left.X
    assert landscape.escape(problem, left) is left


@pytest.mark.parametrize("method", ["gd@lora:alpha=12", "gd/lam=0.1"])
def test_a_converged_run_of_another_decay_is_continued(method):
    """It is no stationary point here, though no curvature is negative there, and was returned as the end."""
    problem, _, s, _ = denoising()
    found = landscape.escape(problem, ls.solve(problem, method))
    kept = np.maximum(s - 0.3, 0.0)
    assert found.fun == pytest.approx(0.5 * np.sum((kept - s) ** 2) + 0.3 * kept.sum(), rel=1e-12)


def test_a_converged_run_on_other_data_is_continued():
    """No curvature is negative here, and the run of the other data was returned with its value as the end."""
    M, N = (np.random.default_rng(seed).standard_normal((5, 4)) for seed in (0, 1))
    run = ls.solve(ls.Problem(ls.objectives.Denoising(M), 4, 0.3), "lbfgs", stop=ls.StoppingRule(grad_tol=1e-10))
    problem = ls.Problem(ls.objectives.Denoising(M + 0.3 * N), 4, 0.3)
    assert landscape.second_order(problem, run.A, run.B).is_sosp
    s = np.linalg.svd(M + 0.3 * N, compute_uv=False)
    kept = np.maximum(s - 0.3, 0.0)
    found = landscape.escape(problem, run)
    assert problem.value(found.A, found.B) == pytest.approx(found.fun, rel=1e-12)
    assert found.fun == pytest.approx(0.5 * np.sum((kept - s) ** 2) + 0.3 * kept.sum(), rel=1e-12)


def test_an_escape_in_float32_reaches_the_closed_form_without_a_warning():
    M = np.random.default_rng(3).standard_normal((4, 5)).astype(np.float32)
    problem = ls.Problem(ls.objectives.Denoising(M), 4, 0.3)
    found = landscape.escape(problem, (np.zeros((4, 4)), np.zeros((5, 4))))
    s = np.linalg.svd(M.astype(np.float64), compute_uv=False)
    kept = np.maximum(s - 0.3, 0.0)
    assert found.theta.dtype == np.float32
    assert found.fun == pytest.approx(0.5 * np.sum((kept - s) ** 2) + 0.3 * kept.sum(), rel=1e-6)


def test_a_method_that_merges_has_points_of_another_problem():
    """It was refused after its first run, with the advice to ask for what a census does not ask."""
    problem = denoising()[0]
    result = ls.solve(problem, "lbfgs")
    for act in (landscape.census, lambda p, n, method: landscape.escape(p, result, method=method)):
        for method in ("gd+periodic:period=5", "gd+cola"):
            with pytest.raises(ValueError, match=r"^method: expected one that merges nothing into the frozen weight"):
                act(problem, 1, method=method)


@pytest.mark.parametrize("method", ["gd/lam=0.1", "gd@lora:alpha=12"])
def test_a_method_of_another_problem_has_points_of_that(method):
    problem = denoising()[0]
    result = ls.solve(problem, "lbfgs")
    for act in (landscape.census, lambda p, n, method: landscape.escape(p, result, method=method)):
        with pytest.raises(ValueError, match=r"^method: expected one without an adapter or a weight decay of its own"):
            act(problem, 1, method=method)


@pytest.mark.parametrize(
    ("adapter", "why"), [("sora", "needs an adapter with X = s A B"), ("lora:frozen=A", "two trained")]
)
def test_a_census_of_another_update_is_refused_before_anything_runs(adapter, why):
    problem = denoising()[0].replace(adapter=adapter)
    with pytest.raises(ValueError, match=f"^landscape: .*{why}"):
        landscape.census(problem, 1, method="no such method")


def test_no_norm_is_bounded_where_it_is_not_penalised():
    """A magnitude of DoRA costs no decay: ``4 I`` is fitted, of nuclear norm 12, where the bound was ``8/50``."""
    task = ls.objectives.LinearFineTuning(np.eye(3), np.eye(3), 5.0 * np.eye(3))
    problem = ls.Problem(task, rank=1, lam=50.0, adapter="dora")
    theta = problem.join(np.zeros((3, 1)), np.zeros((3, 1)), np.full(3, 5.0))
    assert problem.value_and_grad(theta, np.empty_like(theta)) == 0.0
    assert np.array_equal(problem.update(theta), 4.0 * np.eye(3))
    with pytest.raises(ValueError, match=r"^magnitude_bound: needs an adapter with X = s A B"):
        landscape.magnitude_bound(problem)
    assert landscape.magnitude_bound(problem.replace(adapter="lora")) == pytest.approx(8.0 / 50.0)


def test_the_lowest_point_of_a_line_is_on_the_side_that_goes_down():
    problem, U, s, V = denoising()
    A, B = point_of(U, s, V, (1, 2), 0.0, 3)
    point = canonical(problem, A, B)
    grad = np.empty_like(point.theta)
    start = problem.value_and_grad(point.theta, grad)
    for along in (grad, -grad):
        assert problem.value_and_grad(lowest_on_line(point, along).theta, np.empty_like(grad)) < start


def test_a_run_that_was_cut_short_is_continued_where_there_is_nothing_to_escape_from():
    problem, U, s, V = denoising()
    A, B = point_of(U, s, V, (0, 1, 2), 0.3, 3)
    short = ls.solve(problem, "gd", (0.9 * A, 0.9 * B), stop=ls.StoppingRule(max_iter=1))
    assert not short.success and landscape.second_order(problem, short.A, short.B).is_sosp
    ended = landscape.escape(problem, short)
    assert ended.success and pytest.approx(problem.value(A, B), rel=1e-9) == ended.fun


@pytest.mark.parametrize("alpha", [1.0, 16.0])
def test_at_the_origin_there_may_be_nothing_to_escape_from(alpha):
    problem, _, s, _ = denoising()
    # The curvatures at 0 are lam +- s_i, so none is negative from lam = s_1 on (with scaling 1).
    problem = problem.replace(lam=1.1 * alpha * s[0] / problem.rank, adapter=ls.adapters.LoRA(alpha=alpha))
    zero = landscape.escape(problem, (np.zeros((6, problem.rank)), np.zeros((5, problem.rank))))
    assert (zero.success, zero.nit, zero.grad_norm) == (True, 0, 0.0)
    assert not zero.theta.any()
    assert zero.fun == pytest.approx(0.5 * float((s**2).sum()))
    assert landscape.verdict(problem, zero).kind == "global"


@pytest.mark.parametrize("alpha", [1.0, 16.0])
def test_scaling_of_the_adapter_changes_no_verdict(alpha):
    problem, U, s, V = denoising(rank=2)
    scaled = problem.replace(adapter=ls.adapters.LoRA(alpha=alpha), lam=0.3 * alpha / 2)
    A, B = point_of(U, s, V, (0, 2), 0.3, 2)
    root = np.sqrt(scaled.scale)
    assert landscape.second_order(scaled, A / root, B / root).smallest == pytest.approx(
        landscape.second_order(problem, A, B).smallest, abs=1e-9
    )
    assert landscape.verdict(scaled, (A / root, B / root)).kind == "saddle"
    left = landscape.escape(scaled, (A / root, B / root))
    assert left.trace.value[0] < scaled.value(A / root, B / root)
    assert pytest.approx((U[:, :2] * (s[:2] - 0.3)) @ V[:, :2].T, abs=1e-6) == left.X


def test_unfinished_runs_are_not_converged():
    problem, *_ = denoising()
    result = ls.solve(problem, "gd", stop=ls.StoppingRule(max_iter=3))
    assert landscape.verdict(problem, result).kind == "not_converged"


@pytest.mark.parametrize(("moved", "kind"), [(1e-3, "not_converged"), (3e-6, "global")])
def test_what_is_little_beside_the_value_at_zero_may_be_much_beside_a_small_optimum(moved, kind):
    """Soft-thresholded at lam = 1e-7 of the largest, one singular value moved, which costs ``moved^2 / 2``."""
    lam, s = 3e-7, np.array([3.0, 2.0, 1.0])
    problem = ls.Problem(ls.objectives.Denoising(np.diag(s)), 3, lam)
    least = float(np.sum(lam * (s - lam / 2)))
    above = moved**2 / 2
    assert 1e-6 * least < above < 1e-6 * np.sum(s**2) / 2
    root = np.diag(np.sqrt(s - lam + np.array([moved, 0.0, 0.0])))
    found = landscape.verdict(problem, (root, root))
    assert found.certificate.is_global is False
    assert found.kind == kind and (kind == "global") == found.stationarity.is_fosp
    assert (kind == "global") == (", though relative to F(X) a point better by " in found.reason)


def test_unbalanced_factors_without_decay_are_judged_by_their_product():
    problem, U, s, V = denoising(lam=0.0)
    A, B = point_of(U, s, V, (0, 1, 2), 0.0, 3)
    M = np.array([[20.0, 3.0, 0.0], [0.0, 0.05, 1.0], [0.0, 0.0, 1.0]])
    assert landscape.verdict(problem, (A @ M, B @ np.linalg.inv(M).T)).kind == "global"


def test_a_better_point_than_a_minimum_at_zero_is_found_whatever_constant_the_loss_leaves_out():
    """``f(x) = x^4 - 6x^3 + 6x^2 + x/20`` is 0 at 0, where ``F`` has a local minimum, and negative about 3."""
    f = np.polynomial.Polynomial([0.0, 0.05, 6.0, -6.0, 1.0])

    class WithoutConstant:
        shape = (1, 1)

        def value_and_grad(self, X):
            return float(f(X[0, 0])), f.deriv()(X)

    best = min(f(x) + 0.1 * abs(x) for x in np.linspace(-1.0, 6.0, 70_001))
    judged = ls.verdict(ls.Problem(WithoutConstant(), 1, 0.1), ([[0.0]], [[0.0]]), search=True)
    assert judged.kind == "spurious" and judged.witness.value == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(
    ("lam", "kind"), [(0.0, "saddle"), (1.0, "saddle"), (3.0, "inconclusive"), (4.0, "inconclusive")]
)
def test_a_saddle_at_zero_is_one_whatever_constant_the_loss_leaves_out(lam, kind, unit):
    """The Hessian of ``L`` at 0 has the eigenvalues ``lam -+ sigma``, with ``sigma`` 3 and 2; ``f(0) = 0`` here."""
    M = unit * np.diag([3.0, 2.0])

    class WithoutConstant:
        shape = M.shape

        def value_and_grad(self, X):
            return float(np.sum(X * (0.5 * X - M))), X - M

    problem = ls.Problem(WithoutConstant(), 1, lam * unit)
    judged = ls.verdict(problem, (np.zeros((2, 1)), np.zeros((2, 1))))
    assert judged.kind == kind
    if kind == "saddle":
        assert judged.second_order.smallest == pytest.approx((lam - 3.0) * unit, rel=1e-6)
    else:
        assert "f is 0 at this point" in judged.reason


def test_where_unbalanced_factors_without_decay_hide_a_gradient_the_advice_is_to_balance_them():
    """The gradient is that of the short factor alone, and a run that continues there ends at once."""
    M = np.array([[1.0, 0.0], [5e-5, 0.0]])

    class Mine:
        shape = M.shape

        def value_and_grad(self, X):
            return 0.5 * float(np.sum((X - M) ** 2)), X - M

    problem = ls.Problem(Mine(), 1)
    stop = ls.StoppingRule(grad_tol=1e-6)
    there = ls.solve(problem, "gd", (1e4 * np.eye(2)[:, :1], 1e-4 * np.eye(2)[:, :1]), stop=stop)
    reason = ls.verdict(problem, there).reason
    assert there.success and there.nit == 0
    assert "at balanced factors of the same X, not at these; continue the run from those" in reason
    again = ls.solve(problem, "gd", (np.eye(2)[:, :1], np.eye(2)[:, :1]), stop=stop)
    assert again.success and again.fun < 1e-3 * there.fun
    assert "balanced" not in ls.verdict(problem, (np.eye(2)[:, :1], np.eye(2)[:, :1])).reason


def test_the_optimal_update_in_unbalanced_factors_is_no_minimum_with_decay():
    """There ``L - F = lam ((||2 A||^2 + ||B/2||^2)/2 - ||A B^T||_*) = 9/8 lam ||A||^2``."""
    problem, U, s, V = denoising()
    A, B = point_of(U, s, V, (0, 1, 2), 0.3, 3)
    assert landscape.verdict(problem, (A, B)).kind == "global"
    assert problem.value(2.0 * A, B / 2.0) - problem.value(A, B) == pytest.approx(1.125 * 0.3 * np.sum(A**2))
    assert landscape.verdict(problem, (2.0 * A, B / 2.0)).kind == "not_converged"


def test_wrong_inputs_name_the_argument():
    problem, *_ = denoising()
    with pytest.raises(ValueError, match="A: expected shape"):
        landscape.stationarity(problem, np.zeros((5, 3)), np.zeros((5, 3)))
    with pytest.raises(TypeError, match="problem"):
        landscape.verdict(3, (np.zeros((6, 3)), np.zeros((5, 3))))
    with pytest.raises(TypeError, match="result"):
        landscape.verdict(problem, 3)
    with pytest.raises(ValueError, match="X_star: expected shape"):
        landscape.verdict(problem, (np.zeros((6, 3)), np.zeros((5, 3))), X_star=np.zeros((2, 2)))
    frozen = problem.replace(adapter=ls.adapters.LoRA(frozen="A"))
    with pytest.raises(ValueError, match="two trained factors"):
        landscape.second_order(frozen, np.zeros((6, 3)), np.zeros((5, 3)))


def test_a_run_with_a_scaling_of_its_own_is_judged_at_the_update_that_it_reached():
    """``s = 4`` and ``lam = 4 lam`` leave the convex problem what it is, whose optimum is soft-thresholding."""
    M = np.random.default_rng(0).standard_normal((6, 4))
    problem = ls.Problem(ls.objectives.Denoising(M), 4, 0.5)
    run = ls.solve(problem, "lbfgs@lora:alpha=16/lam=2.0")
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    best = (P * np.maximum(s - 0.5, 0.0)) @ Qt
    np.testing.assert_allclose(4.0 * run.A @ run.B.T, best, atol=1e-6)
    found = landscape.verdict(problem, run)
    assert found.kind == "global"
    F = 0.5 * np.sum((best - M) ** 2) + 0.5 * np.maximum(s - 0.5, 0.0).sum()
    assert found.certificate.value == pytest.approx(F, rel=1e-9)
    assert landscape.escape(problem, run) is run


@pytest.mark.parametrize("method", ["gd@polar~gaussian", "gd@softmax_gates~gaussian", "proximal_gd@sora~gaussian"])
def test_factors_that_are_not_all_of_the_update_are_no_point(method):
    problem = ls.Problem(ls.objectives.Denoising(np.random.default_rng(0).standard_normal((6, 4))), 2, 0.5)
    run = ls.solve(problem, method, stop=ls.StoppingRule(max_iter=5))
    assert not np.allclose(run.X, run.A @ run.B.T)
    for ask in (landscape.verdict, landscape.escape):
        with pytest.raises(ValueError, match=r"result: the update of this run's adapter .* is not s A B\^T; ask for"):
            ask(problem, run)


# ---------------------------------------------------------------------- what to do next
@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("gd", "; continue the run"),
        ("gd:step_size=1", "the run diverged and has to begin again (gd: the iterates left the finite numbers after"),
        ("adam:step_size=100", "; begin again with a smaller step size: L rose from"),
    ],
)
def test_only_a_run_that_went_down_is_told_to_go_on(method, words):
    problem = denoising()[0]
    result = ls.solve(problem, method, "gaussian", stop=ls.StoppingRule(max_iter=30))
    found = ls.verdict(problem, result)
    assert found.kind == "not_converged" and words in found.reason
    assert ("continue" in found.reason) == (method == "gd")
    # Factors alone do not tell where they come from.
    assert "; continue the run" in ls.verdict(problem, (result.A, result.B)).reason


def test_a_run_whose_factors_are_too_large_to_be_judged_says_how_it_ended():
    class Nothing:
        """The penalty alone: each step multiplies the factors by -99."""

        shape = (3, 2)

        def value_and_grad(self, X):
            return 0.0, np.zeros(self.shape)

    problem = ls.Problem(Nothing(), 1, lam=1.0)
    result = ls.solve(problem, "gd:step_size=100", "gaussian")
    assert result.status is ls.Status.DIVERGED and np.abs(result.theta).max() > 1e60
    with pytest.raises(ValueError, match=r"result: expected factors .* went beyond: gd: the iterates left the finite"):
        ls.verdict(problem, result)


def a_component_and_long_columns(size, lam, long, fitted):
    """Denoising of ``size e2 e2^T``, and factors with columns as long as ``long`` beside it that add nothing to X.

    The gradient is that of the decay of these columns alone, and the least L is ``lam size - lam^2/2``.
    """
    # Without a spare column, which would be a way out.
    rank = 2 + fitted
    problem = ls.Problem(ls.objectives.Denoising(size * np.diag([0.0, 1.0, 0.0])), rank, lam)
    A, B = np.zeros((3, rank)), np.zeros((3, rank))
    A[0, 0], B[2, 1] = long, long
    if fitted:
        A[1, 2] = B[1, 2] = np.sqrt(size - lam)
    return problem, A, B


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_what_a_small_gradient_is_worth_at_long_factors_is_neither_spurious_nor_global(fitted, unit):
    # Denoising has no spurious minima; and L is above its least value by more than all of f(0).
    size, lam = 1e-10 * unit, 1e-16 * unit
    problem, A, B = a_component_and_long_columns(size, lam, 0.4 * np.sqrt(unit), fitted)
    least, value = lam * size - 0.5 * lam**2, problem.value(A, B)
    assert value - least > problem.value_at_zero == pytest.approx(0.5 * size**2, abs=0.0)
    first = landscape.stationarity(problem, A, B, tol=1e-5)
    assert first.is_fosp and first.grad_norm == pytest.approx(lam * 0.4 * np.sqrt(2.0 * unit), rel=1e-6, abs=0.0)
    judged = landscape.verdict(problem, (A, B), tol=1e-5)
    assert judged.kind == "not_converged" and judged.contradictions == ()
    assert "continue the run" in judged.reason


def test_a_gradient_whose_square_underflows_is_not_zero():
    # f(x) = (c x - y)^2 / 2: from lam = c y on 0 is the only stationary point.
    c, y, lam, x = 1e-85, 1e-90, 1e-163, 0.35
    problem = ls.Problem(ls.objectives.MatrixSensing([[[c]]], [y]), 1, lam)
    factors = np.full((1, 1), np.sqrt(x)), np.full((1, 1), np.sqrt(x))
    first = landscape.stationarity(problem, *factors)
    assert first.grad_A == pytest.approx((c * (c * x - y) + lam) * np.sqrt(x), rel=1e-9, abs=0.0)
    assert not first.is_fosp
    assert landscape.verdict(problem, factors).kind == "not_converged"


@pytest.mark.parametrize(
    ("dtype", "method", "words"),
    [("float32", "nesterov", "in float64"), ("float64", "gd:step_size=1e-22", "by another")],
)
def test_a_run_that_found_no_further_decrease_is_not_told_to_go_on_as_before(dtype, method, words):
    M = np.random.default_rng(0).standard_normal((20, 15)).astype(dtype)
    problem = ls.Problem(ls.objectives.Denoising(M), 5, 0.01)
    result = ls.solve(problem, method, stop=ls.StoppingRule(grad_tol=1e-7))
    found = ls.verdict(problem, result)
    assert result.status is ls.Status.STALLED and found.kind == "not_converged"
    assert f"no further decrease, so continue it {words}" in found.reason
    # As it says: the point that is the best of its rank.
    precise = ls.Problem(ls.objectives.Denoising(M.astype(np.float64)), 5, 0.01)
    end = ls.solve(precise, "lbfgs", init=(result.A, result.B))
    s = np.linalg.svd(M.astype(np.float64), compute_uv=False)
    assert end.success
    np.testing.assert_allclose(np.linalg.svd(end.X, compute_uv=False)[:5], s[:5] - 0.01, rtol=1e-5)


class Implicit(ls.objectives.Objective):
    """``sum sqrt(1 + ((X - Y)_ij)^2) - 1`` over some entries: gradients are sparse and known by their products."""

    shape, lower_bound = (3000, 2000), 0.0

    def __init__(self):
        rng = np.random.default_rng(0)
        self.at = np.unravel_index(np.unique(rng.integers(0, 6_000_000, 20_000)), self.shape)
        self.y = rng.standard_normal(len(self.at[0]))

    def gradient(self, A, B):
        e = product_entries(A, B, *self.at) - self.y
        return float(np.sum(np.hypot(1.0, e) - 1.0)), sp.csr_matrix((e / np.hypot(1.0, e), self.at), self.shape)

    def factor_oracle(self, A, B, GB, GtA):
        f, G = self.gradient(A, B)
        GB[:], GtA[:] = G @ B, G.T @ A
        return f

    def gradient_operator(self, A, B):
        G = self.gradient(A, B)[1]
        return LinearMap(self.shape, lambda V: G @ V, lambda U: G.T @ U)


@pytest.mark.parametrize(("size", "nearby"), [(1e-8, True), (1.0, False)])
def test_factors_that_tend_to_zero_are_seen_to_without_a_matrix_of_the_size_of_x(size, nearby):
    problem = ls.Problem(Implicit(), 2, 50.0)
    # The norm of the gradient at 0 is at most the root of those of its rows and columns, in 1 and in infinity.
    G = abs(problem.objective.gradient(*(np.zeros((n, 1)) for n in problem.shape))[1])
    assert np.sqrt(G.sum(axis=0).max() * G.sum(axis=1).max()) < problem.lam
    factors = tuple(np.full((n, 2), size / np.sqrt(n)) for n in problem.shape)
    tracemalloc.start()
    found = landscape.verdict(problem, factors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < np.prod(problem.shape)  # bytes: an eighth of a matrix
    assert found.kind == "not_converged"
    assert found.reason.endswith("which tend to 0; X = 0 is a local minimum: ask there, at factors of 0") == nearby


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("unbalanced", [1.0, 64.0])
def test_the_gap_that_a_verdict_states_is_not_below_the_exact_one(noise, unbalanced):
    # Least squares of four entries, with the exact minimum from rational normal equations.
    rng = np.random.default_rng(int(noise) + 7)
    for _ in range(12):
        M = rng.standard_normal((6, 2, 2))
        y = np.einsum("kij,ij->k", M, rng.standard_normal((2, 2))) + noise * rng.standard_normal(6)
        X = np.linalg.lstsq(M.reshape(6, 4), y, rcond=None)[0].reshape(2, 2)
        U, s, Vt = np.linalg.svd(X)
        A, B = unbalanced * U * np.sqrt(s), Vt.T * np.sqrt(s) / unbalanced
        found = landscape.verdict(ls.Problem(ls.objectives.MatrixSensing(M, y), 2, 0.0), (A, B))
        assert found.kind == "global"
        stated = float(re.search(r"within (\S+) \(tolerance \S+\) of the optimum", found.reason)[1])
        D, b, left, right = (sympy.Matrix(part).applyfunc(sympy.Rational) for part in (M.reshape(6, 4), y, A, B))
        off = (left * right.T).reshape(4, 1) - (D.T * D).LUsolve(D.T * b)
        assert float((off.T * D.T * D * off)[0] / 12) <= 1.01 * stated


def test_without_decay_the_best_of_its_rank_is_not_called_the_optimum_of_f():
    """``f`` falls to 0 at ``X = M``; the best matrix of rank 1 is at ``(2^2 + 1^2)/2`` above that."""
    problem = ls.Problem(ls.objectives.Denoising(np.diag([3.0, 2.0, 1.0])), 1)
    top = np.array([[np.sqrt(3.0)], [0.0], [0.0]])
    assert problem.value(top, top) == pytest.approx(2.5)
    judged = landscape.verdict(problem, (top, top))
    assert judged.kind == "global"
    assert judged.reason.endswith("of the closed form of the optimum of rank <= 1")


@pytest.mark.parametrize("scale", [1.0, 4.0, 0.25])
def test_a_convex_optimum_is_judged_whatever_the_scaling(scale):
    # The optimum is diag(9 - 2, 8 - 2) in closed form: the effective weight is lam/scale.
    objective = ls.objectives.Denoising(np.diag([9.0, 8.0, 1.0, 1.0]))
    problem = ls.Problem(objective, 3, 2.0 * scale, adapter=ls.adapters.LoRA(alpha=3.0 * scale))
    optimum = ls.solve_convex(problem)
    np.testing.assert_allclose(optimum.X, np.diag([7.0, 6.0, 0.0, 0.0]), atol=1e-9)
    assert landscape.verdict(problem, optimum).kind == "global"


def test_a_convex_optimum_that_the_factors_cannot_hold_is_refused():
    problem = ls.Problem(ls.objectives.Denoising(np.diag([9.0, 8.0, 7.0])), rank=2, lam=2.0)
    with pytest.raises(
        ValueError, match="result: expected an optimum that factors of rank 2 can hold, got one of rank 3"
    ):
        landscape.verdict(problem, ls.solve_convex(problem))


def test_convex_optima_of_several_matrices_are_judged():
    losses = [ls.objectives.Denoising(np.diag([9.0, 1.0])), ls.objectives.Denoising(np.diag([1.0, 5.0, 0.0]))]
    problem = ls.MultiProblem(Separable(losses), ranks=[2, 1], lam=2.0)
    assert landscape.verdict(problem, ls.solve_convex(problem)).kind == "global"


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_a_right_hessian_is_not_accused_where_it_vanishes(right, unit):
    """At factors of 0 with the gradient 0 that of ``f(A B^T)`` does; what a step sees there is of higher order."""
    f = np.polynomial.Polynomial([0.0, 0.0, 8.0, -6.0, 1.0])(np.polynomial.Polynomial([0.0, 1.0 / unit]))

    class Quartic:
        shape = (1, 1)

        def value_and_grad(self, X):
            return float(f(X[0, 0])), f.deriv()(X)

        def hessian_product(self, X, D):
            return (1.0 if right else 3.0) * f.deriv(2)(X) * D

    problem = ls.Problem(Quartic(), 1)
    judged = ls.verdict(problem, ([[0.0]], [[0.0]]), search=True)
    assert judged.kind != "global" and "Hessian" not in judged.reason
    # The better minimum has a Hessian of its own.
    x = unit * (9.0 + 17.0**0.5) / 4.0
    there = ls.verdict(problem, ([[x**0.5]], [[x**0.5]]), search=True)
    assert there.second_order.smallest > 0.0 and ("Hessian products that differ" in there.reason) == (not right)


@pytest.mark.parametrize("lam", [1e3, 1e17, 1e100])
def test_a_gradient_at_zero_that_is_lost_beside_the_decay_is_not_called_zero(lam):
    """``G(0) = -M``, also where ``lam + ||M||_2 == lam`` in floating point."""
    M = np.diag([3.0, 2.0, 1.0])
    point = np.full((3, 2), 1e-3), np.full((3, 2), 1e-3)
    lost = landscape.verdict(ls.Problem(ls.objectives.Denoising(M), 2, lam), point)
    assert lost.kind == "not_converged" and lost.reason.endswith("continue the run")
    none = landscape.verdict(ls.Problem(ls.objectives.Denoising(0.0 * M), 2, lam), point)
    assert none.kind == "not_converged" and "the gradient of f at X = 0 is 0" in none.reason


@pytest.mark.parametrize("K", [1e13 / 3, 1e14 / 3, 7e13])
def test_an_update_whose_columns_cancel_is_not_known_well_enough_to_be_global(K):
    """In floating point the update is M; in exact arithmetic it is another, beside which "within 4e-28" is no bound."""
    A, B = np.array([[K, K], [0.0, 0.0]]), np.array([[1.0 + 4.0 / K, -1.0], [0.0, 0.0]])
    M = A @ B.T
    off = sum(Fraction(a) * Fraction(b) for a, b in zip(A[0], B[0])) - Fraction(M[0, 0])
    assert off**2 / 2 > 1e-9 * M[0, 0] ** 2 / 2
    found = landscape.verdict(ls.Problem(ls.objectives.Denoising(M), 2, 0.0), (A, B))
    assert found.kind == "inconclusive" and "columns cancel" in found.reason


@pytest.mark.parametrize("given", [None, [], object()])
def test_curvature_of_what_is_no_problem_is_refused_by_name(given):
    """It ended in an AttributeError."""
    with pytest.raises(TypeError, match="problem: expected a Problem, got "):
        landscape.second_order(given, np.ones((2, 1)), np.ones((2, 1)))


@pytest.mark.parametrize("budget", [None, 300])
def test_an_exhausted_search_does_not_end_among_the_symmetry_directions(budget):
    # At A = B = sqrt(1/2) I, the optimum of denoising I with lam = 1/2, the Hessian is |U + V^T|^2/2 + |U - V|^2/2: off
    # the symmetry directions, U = V skew, its eigenvalues are 1 and 2.
    problem = ls.Problem(ls.objectives.Denoising(np.eye(15)), rank=15, lam=0.5)
    A = np.sqrt(0.5) * np.eye(15)
    found = landscape.second_order(problem, A, A, max_products=budget)
    assert found.eigensolver == "lanczos" and found.smallest >= 1.0 - 1e-9
    inside = A.T @ (found.direction[0] + found.direction[1])
    assert np.linalg.norm(inside - inside.T) < 1e-9
