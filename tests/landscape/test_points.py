"""Stationarity, curvature, escape: against closed forms, finite differences and the known points of denoising."""

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import landscape
from lorasolve.landscape._canonical import canonical
from lorasolve.landscape.curvature import Symmetry, _apply, _lanczos, hessian, symmetry_basis
from lorasolve.linear_map import balanced


def denoising(seed=0, m=6, n=5, lam=0.3, rank=3):
    rng = np.random.default_rng(seed)
    U, _ = np.linalg.qr(rng.standard_normal((m, n)))
    V, _ = np.linalg.qr(rng.standard_normal((n, n)))
    s = np.array([4.0, 3.0, 2.0, 0.2, 0.1])
    return ls.Problem(ls.objectives.Denoising((U * s) @ V.T), rank=rank, lam=lam), U, s, V


def hessian_of(problem, A, B):
    point = canonical(problem, A, B)
    return hessian(lambda z: _apply(point, z), problem.size)


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


@pytest.mark.parametrize(("chosen", "kind"), [((0, 1), "inconclusive"), ((0, 2), "saddle"), ((1, 2), "saddle")])
def test_below_the_rank_of_the_minimizer_no_theorem_applies(chosen, kind):
    problem, U, s, V = denoising(rank=2)
    A, B = point_of(U, s, V, chosen, 0.3, 2)
    if kind == "saddle":
        left = np.delete(s, list(chosen))
        assert landscape.second_order(problem, A, B).smallest == pytest.approx(s[list(chosen)].min() - left.max())
    judged = landscape.verdict(problem, (A, B))
    assert judged.kind == kind
    assert judged.findings == ()


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
    basis = symmetry_basis(A, B, 0.3)
    assert basis.shape[1] == 3
    assert np.abs(hessian_of(problem, A, B) @ basis).max() < 1e-12


def test_lanczos_agrees_with_the_dense_spectrum():
    problem, U, s, V = denoising(rank=2)
    A, B = point_of(U, s, V, (0, 2), 0.3, 2)
    point = canonical(problem, A, B)
    dense = landscape.second_order(problem, A, B)
    smallest, largest, vector = _lanczos(lambda z: _apply(point, z), Symmetry([symmetry_basis(A, B, 0.3)]))
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


def test_escape_leaves_the_origin_and_keeps_a_converged_optimum():
    problem, U, s, V = denoising()
    left = landscape.escape(problem, (np.zeros((6, 3)), np.zeros((5, 3))))
    expected = (U[:, :3] * (s[:3] - 0.3)) @ V[:, :3].T
    assert pytest.approx(expected, abs=1e-6) == left.X
    assert landscape.escape(problem, left) is left


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
    assert pytest.approx((U[:, :2] * (s[:2] - 0.3)) @ V[:, :2].T, abs=1e-6) == left.X


def test_unfinished_runs_are_not_converged():
    problem, *_ = denoising()
    result = ls.solve(problem, "gd", stop=ls.StoppingRule(max_iter=3))
    assert landscape.verdict(problem, result).kind == "not_converged"


def test_unbalanced_factors_without_decay_are_judged_by_their_product():
    problem, U, s, V = denoising(lam=0.0)
    A, B = point_of(U, s, V, (0, 1, 2), 0.0, 3)
    M = np.array([[20.0, 3.0, 0.0], [0.0, 0.05, 1.0], [0.0, 0.0, 1.0]])
    assert landscape.verdict(problem, (A @ M, B @ np.linalg.inv(M).T)).kind == "global"


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
