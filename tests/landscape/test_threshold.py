"""SDP thresholds against closed forms, re-checked by NumPy, and the extremal quadratics judged."""

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import landscape
from lorasolve.landscape.threshold import _Program

X_STAR = np.diag([1.0, 0.0])


def orthogonal_point(scale):
    return np.sqrt(scale) * np.array([[0.0], [1.0]])


@pytest.mark.parametrize(("scale", "kappa"), [(1.0, 3.0 + 2.0 * np.sqrt(2.0)), (0.4, 19.0 / 6.0), (0.5, 3.0)])
def test_thresholds_of_the_orthogonal_point(scale, kappa):
    a = orthogonal_point(scale)
    found = landscape.sharp_threshold(a, a, X_STAR)
    assert found.feasible
    assert found.kappa == pytest.approx(kappa, abs=1e-3)
    assert found.kappa_low <= kappa + 1e-6
    assert found.kappa_low == pytest.approx(kappa, abs=1e-3)
    assert found.kappa_high == pytest.approx(kappa, abs=1e-3)


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1e6, 1e12])
def test_thresholds_do_not_depend_on_the_unit(unit):
    """``feasible`` was True at 3.19 for ``3 + 2 sqrt 2`` in small units; in large ones the program was not solved."""
    a = np.sqrt(unit) * orthogonal_point(1.0)
    found = landscape.sharp_threshold(a, a, unit * X_STAR)
    assert found.feasible
    for bound in (found.kappa, found.kappa_low, found.kappa_high):
        assert bound == pytest.approx(3.0 + 2.0 * np.sqrt(2.0), abs=1e-3)
    f = found.objective()
    np.testing.assert_array_equal(f.X_star, unit * X_STAR)
    # G = H (X - X*) is orthogonal to the factors of the point, in the unit of X.
    G = f.value_and_grad(a @ a.T)[1]
    assert np.linalg.norm(G @ a) < 1e-6 * np.linalg.norm(G) * np.linalg.norm(a)
    # With decay: the sharp instance, whose lam has the unit of X.
    instance = landscape.instances.sharp(1, 1, 2, 2, lam=0.2)
    A, B = (np.sqrt(unit) * factor for factor in instance.stationary_factors())
    found = landscape.sharp_threshold(A, B, unit * instance.X_star, unit * 0.2)
    assert found.kappa_low == pytest.approx(instance.boundary, abs=1e-4)
    assert found.kappa_high == pytest.approx(instance.boundary, abs=1e-4)


def test_the_best_point_of_a_rank_is_no_spurious_one():
    """``2 E11`` is nearest to ``diag(2, 1)`` of all matrices of rank 1 (Eckart and Young); the threshold was 1."""
    a = np.array([[np.sqrt(2.0)], [0.0]])
    X_star = np.diag([2.0, 1.0])
    assert landscape.verdict(ls.Problem(ls.objectives.Denoising(X_star), rank=1), (a, a)).kind == "global"
    with pytest.raises(ValueError, match=r"^X_star: expected a matrix of rank at most r = 1, got one of rank 2$"):
        landscape.sharp_threshold(a, a, X_star)


@pytest.mark.parametrize(("r", "r_star"), [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("lam", [0.0, 0.2])
def test_threshold_of_the_sharp_instance_is_its_boundary(r, r_star, lam):
    instance = landscape.instances.sharp(r, r_star, r + r_star, r + r_star, lam=lam)
    A, B = instance.stationary_factors()
    found = landscape.sharp_threshold(A, B, instance.X_star, lam)
    assert found.kappa_low == pytest.approx(instance.boundary, abs=1e-4)
    assert found.kappa_high == pytest.approx(instance.boundary, abs=1e-4)


@pytest.mark.parametrize("lam", [0.0, 0.2])
def test_no_dual_point_bounds_the_threshold_above_its_closed_form(lam):
    """Multipliers of a solver are not trusted: the bound from any of them is below the boundary, which is known."""
    instance = landscape.instances.sharp(1, 1, 2, 2, lam=lam)
    program = _Program(*instance.stationary_factors(), instance.X_star, lam)
    rng = np.random.default_rng(0)
    for size in np.geomspace(1e-3, 1e3, 40):
        squares = [factor @ factor.T for factor in (rng.standard_normal((4, 4)) for _ in range(3))]
        duals = [squares[0], squares[1], size * squares[2], *(size * rng.standard_normal((2, 2, 1)))]
        assert program.dual_bound(duals) <= instance.boundary


@pytest.mark.parametrize("lam", [0.0, 0.2])
def test_the_bound_of_the_best_multipliers_has_no_unit_and_stays_below_beside_them(lam, monkeypatch):
    instance = landscape.instances.sharp(1, 1, 2, 2, lam=lam)
    seen = []
    bound = _Program.dual_bound
    monkeypatch.setattr(_Program, "dual_bound", lambda program, duals: seen.append(duals) or bound(program, duals))
    program = _Program(*instance.stationary_factors(), instance.X_star, lam)
    program.solve(1e-6)
    (best,) = seen
    # A multiple of a dual point is the same one.
    assert bound(program, [7.0 * Y for Y in best]) == pytest.approx(bound(program, best), rel=1e-12)
    for share in np.linspace(-0.5, 1.0, 31):
        beside = [best[0], best[1], *((1.0 + share) * Y for Y in best[2:])]
        assert bound(program, beside) <= instance.boundary * (1.0 + 1e-9)


def test_extremal_quadratic_makes_the_point_spurious():
    a = orthogonal_point(1.0)
    f = landscape.sharp_threshold(a, a, X_STAR).objective()
    assert f.rsm / f.rsc == pytest.approx(3.0 + 2.0 * np.sqrt(2.0), abs=1e-4)
    judged = landscape.verdict(ls.Problem(f, rank=1), (a, a), X_star=X_STAR)
    assert judged.kind == "spurious"
    assert judged.contradictions == ()


@pytest.mark.filterwarnings("error")  # of a solver whose answer is checked
@pytest.mark.parametrize("r_star", [1, 2])
@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_thresholds_of_points_with_symmetries_are_bracketed_and_attained(r_star, lam):
    """A point of rank 2 in 3 x 3, with a rotation of the factors along which nothing changes."""
    rng = np.random.default_rng(5)
    for _ in range(3):
        left, right = (np.linalg.qr(rng.standard_normal((3, 3)))[0][:, :2] for _ in range(2))
        root = np.sqrt(rng.uniform(0.2, 2.0, 2))
        X_star = rng.standard_normal((3, r_star)) @ rng.standard_normal((r_star, 3))
        found = landscape.sharp_threshold(left * root, right * root, X_star, lam)
        # The upper bound is one as far as H meets the other constraints.
        within = max(found.violations.values())
        assert within <= 1e-4
        assert found.kappa_low <= (1.0 + within) * found.kappa_high <= found.kappa_low * (1.0 + 1e-2)
        # Theorem B, with curvatures of the whole space.
        assert found.kappa_high >= 1.0 + 2.0 * np.sqrt(2 / r_star)
        problem = ls.Problem(found.objective(), rank=2, lam=lam)
        assert problem.convex_value(found.X_star) < problem.convex_value((left * root**2) @ right.T)


def test_with_decay_unbalanced_factors_are_never_stationary():
    a = orthogonal_point(1.0)
    assert landscape.sharp_threshold(2.0 * a, a / 2.0, X_STAR, 0.1).kappa == np.inf
    assert np.isfinite(landscape.sharp_threshold(2.0 * a, a / 2.0, X_STAR).kappa)


def test_map_has_its_minimum_at_right_angles_and_half_scale():
    angles, scales = [np.pi / 4, np.pi / 2], [0.5, 1.0]
    found = landscape.threshold_map(angles, scales)
    assert found.shape == (2, 2)
    assert found.min() == found[1, 0] == pytest.approx(3.0, abs=1e-3)


def test_collinear_points_are_never_spurious():
    a = np.array([[1.2], [0.0]])
    found = landscape.sharp_threshold(a, a, X_STAR)
    assert found.kappa == np.inf
    with pytest.raises(ValueError, match="no quadratic"):
        found.objective()


def test_wrong_arguments_are_named():
    a = orthogonal_point(1.0)
    with pytest.raises(ValueError, match="X_star: equals"):
        landscape.sharp_threshold(a, a, a @ a.T)
    with pytest.raises(ValueError, match="36 entries"):
        landscape.sharp_threshold(np.ones((7, 1)), np.ones((7, 1)), np.eye(7))
