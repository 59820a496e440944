"""The sharp instance against its closed form: stationarity, curvature, gap, verdict, and the convex route."""

import math

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import landscape

RANKS = [(1, 1), (2, 1), (4, 1), (9, 1), (3, 2), (4, 2)]
LAMS = [0.0, 0.1, 0.3]


def build(r, r_star, lam, factor=1.0):
    kappa = factor * (1.0 + 2.0 * math.sqrt(r / r_star))
    instance = landscape.instances.sharp(r, r_star, r + r_star + 1, r + r_star, kappa, lam)
    return instance, ls.Problem(instance, rank=r, lam=lam)


@pytest.mark.parametrize(("r", "r_star"), RANKS)
@pytest.mark.parametrize("lam", LAMS)
def test_curvature_vanishes_at_the_boundary_and_is_positive_above(r, r_star, lam):
    for factor in (1.0, 1.2):
        instance, problem = build(r, r_star, lam, factor)
        A, B = instance.stationary_factors()
        assert landscape.stationarity(problem, A, B).grad_norm < 1e-12
        second = landscape.second_order(problem, A, B)
        assert second.symmetry_dimension == (r * r if lam == 0.0 else r * (r - 1) // 2)
        if factor == 1.0:
            assert abs(second.smallest) < 1e-9
        else:
            assert second.smallest > 0.1


@pytest.mark.parametrize(("r", "r_star"), RANKS)
@pytest.mark.parametrize("lam", LAMS)
def test_below_the_boundary_it_is_a_saddle_and_is_escaped(r, r_star, lam):
    instance, problem = build(r, r_star, lam, 0.9)
    judged = landscape.verdict(problem, instance.stationary_factors(), X_star=instance.X_star)
    assert judged.kind == "saddle"
    left = landscape.escape(problem, instance.stationary_factors())
    assert np.linalg.norm(left.X - instance.X_star) < 1e-3


@pytest.mark.parametrize(("r", "r_star"), RANKS)
@pytest.mark.parametrize("lam", LAMS)
def test_verdict_is_spurious_and_contradicts_nothing(r, r_star, lam):
    for factor in (1.0, 1.2):
        instance, problem = build(r, r_star, lam, factor)
        judged = landscape.verdict(problem, instance.stationary_factors(), X_star=instance.X_star)
        assert judged.kind == "spurious"
        assert judged.contradictions == ()
        assert {f.theorem for f in judged.findings} >= {"Theorem 1", "Theorem A", "Theorem B"}
        assert all(f.conclusion == "not excluded" for f in judged.findings)
        # The spurious point is shorter than X*, so the lower bound on its norm is vacuous.
        assert np.linalg.norm(instance.X_spurious) < np.linalg.norm(instance.X_star)
        if r > r_star:
            assert "norm bound" in next(f for f in judged.findings if f.theorem == "Corollary 1").vacuous


@pytest.mark.parametrize(("r", "gap"), [(1, 0.75), (2, 0.7929), (4, 0.8333)])
def test_gap_at_the_boundary(r, gap):
    instance, problem = build(r, 1, 0.0)
    difference = problem.convex_value(instance.X_spurious) - problem.convex_value(instance.X_star)
    assert difference == pytest.approx(gap, abs=5e-5)
    assert difference == pytest.approx(instance.kappa / (instance.kappa + 1.0), abs=1e-14)


@pytest.mark.parametrize(("r", "r_star"), RANKS)
@pytest.mark.parametrize("lam", LAMS)
def test_zero_start_is_global(r, r_star, lam):
    instance, problem = build(r, r_star, lam)
    result = ls.solve(problem, "lbfgs", init="lora", stop=ls.StoppingRule(grad_tol=1e-10, max_iter=20_000))
    judged = landscape.verdict(problem, result, X_star=instance.X_star)
    assert judged.kind == "global"
    assert np.linalg.norm(result.X - instance.X_star) < 1e-2


@pytest.mark.parametrize("lam", [0.0, 0.1, 0.3])
@pytest.mark.parametrize(("r", "r_star"), RANKS)
def test_factored_route_is_not_trapped(r, r_star, lam):
    instance, problem = build(r, r_star, lam, 1.2)
    base = ls.solve_convex(problem, route="factored")
    # F(X*) = 0 here, so that no relative gap exists: the absolute one is what is certified.
    assert base.gap < 1e-9
    assert np.linalg.norm(base.X - instance.X_star) < 1e-4


def test_hessian_has_the_stated_spectrum_and_the_lower_bound_is_attained():
    rng = np.random.default_rng(0)
    instance = landscape.instances.sharp(3, 2, 6, 5, 7.0, 0.2)
    H = np.array([instance.hessian_product(instance.X_star, e.reshape(6, 5)).ravel() for e in np.eye(30)])
    values = np.linalg.eigvalsh(H)
    assert values[0] == pytest.approx(1.0, abs=1e-12)
    assert values[1:] == pytest.approx(np.full(29, 7.0), abs=1e-12)
    minimizer = instance.X_star + np.linalg.solve(H, 0.2 * instance.T.ravel()).reshape(6, 5)
    assert instance.value_and_grad(minimizer)[0] == pytest.approx(instance.lower_bound, abs=1e-14)
    X = rng.standard_normal((6, 5))
    assert instance.value_and_grad(X)[0] > instance.lower_bound


def test_bad_arguments_are_named():
    for arguments, name in [
        ((1, 2, 4, 4), "r_star"),
        ((2, 1, 2, 4), "m"),
        ((2, 1, 4, 4, 1.0), "kappa"),
        ((2, 1, 4, 4, 3.0, -1.0), "lam"),
    ]:
        with pytest.raises(ValueError, match=name):
            landscape.instances.sharp(*arguments)
