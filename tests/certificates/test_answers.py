"""What a certificate says: its fields and texts, yes, no, unknown, and the points that it refuses."""

import json
import math

import numpy as np
import pytest
from optima import OBJECTIVES, denoising_optimum, soft_threshold
from quartic import Quartic

import lorasolve as ls
from lorasolve.adapters import DoRA, LoRA, SoRA
from lorasolve.certificates import Certificate, certify
from lorasolve.cli import main
from lorasolve.landscape.instances import sharp
from lorasolve.objectives import Denoising, Huber, LinearFineTuning, MatrixSensing, TwoLayer


def test_fields_at_a_point_worked_out_by_hand():
    """M = diag(3, 1), lam = 1/2, X = a b^T with a = (2, 0), b = (1, 0): G = diag(-1, -1)."""
    problem = ls.Problem(Denoising(np.diag([3.0, 1.0])), 1, 0.5)
    certificate = certify(problem, (np.array([[2.0], [0.0]]), np.array([[1.0], [0.0]])))
    assert certificate.value == 0.5 * (1 + 1) + 0.5 * 2
    assert certificate.dual_norm == pytest.approx(2.0)
    assert certificate.balance == 3.0
    assert certificate.factor_gap == pytest.approx(0.25 * (4 + 1) - 1.0)
    # grad_A = G b + lam a = (-1 + 1, 0), grad_B = G^T a + lam b = (-2 + 1/2, 0).
    assert certificate.stationarity == pytest.approx(1.5)
    assert (certificate.rank, certificate.nuclear_norm, certificate.sigma_r) == (1, 2.0, 2.0)
    assert certificate.is_global is False
    # X* = diag(5/2, 1/2): F* = (1/4 + 1/4)/2 + 3/2.
    assert 0.0 < certificate.gap_at_least <= 2.0 - 1.75 <= certificate.gap
    assert "better" in certificate.reason


def test_the_parts_of_a_bound_in_floating_point_leave_room_for_rounding():
    """Of ``||X||_F^2/2`` at ``diag(3, 4)`` all of them are whole numbers, and f is 0 at 0."""
    parts = certify(ls.Problem(Denoising(np.zeros((2, 2))), 2, 1.0), np.diag([3.0, 4.0]), rigorous=False).parts
    assert parts.f_low < 12.5 < parts.f_high and parts.nuclear_low < 7.0 < parts.nuclear_high
    assert 25.0 < parts.inner_high <= 25.0 * (1.0 + 1e-14) and parts.norm_high >= 4.0


@pytest.mark.parametrize("alpha", [0.1, 6.0, 500.0])
def test_an_update_under_a_scaling_is_judged_at_balanced_factors_of_it(alpha):
    """Those of X itself are none of s A B^T: an optimum had L - F = 2.4 where the scaling was 3.2."""
    rng = np.random.default_rng(3)
    M = rng.standard_normal((6, 5))
    s = alpha / 3
    problem = ls.Problem(Denoising(M), 3, 0.5 * s, LoRA(alpha=alpha))
    P, values, Qt = np.linalg.svd(M, full_matrices=False)
    optimum = (P * np.maximum(values - 0.5, 0.0)) @ Qt
    other = optimum + 0.1 * rng.standard_normal(M.shape)
    batch = ls.certify_batch(problem, [optimum, other])
    certificates = [ls.certify(problem, optimum), ls.certify(problem, other), *batch]
    for certificate, X in zip(certificates, [optimum, other] * 2):
        P, values, Qt = np.linalg.svd(X)
        A, B = P[:, :5] * np.sqrt(values / s), Qt[:5].T * np.sqrt(values / s)
        dA, dB = s * (X - M) @ B + problem.lam * A, s * (X - M).T @ A + problem.lam * B
        size = np.hypot(np.linalg.norm(dA), np.linalg.norm(dB))
        terms = problem.lam * np.linalg.norm(A) + s * np.linalg.norm((X - M) @ B)
        assert certificate.stationarity == pytest.approx(size, rel=1e-6, abs=1e-7 * terms)
        assert certificate.balance <= 1e-12 * np.linalg.norm(A) ** 2
        assert abs(certificate.factor_gap) <= 1e-12 * certificate.value
    found = ls.solve_convex(problem).certificate
    assert found.stationarity <= 1e-6 * terms and abs(found.factor_gap) <= 1e-9 * found.value


def test_scale_enters_stationarity_and_balance_of_the_factors_as_given():
    problem = ls.Problem(OBJECTIVES["softmax"], 3, 0.02, LoRA(alpha=6.0))
    rng = np.random.default_rng(4)
    A, B = rng.standard_normal((8, 3)), rng.standard_normal((6, 3))
    certificate = certify(problem, (A, B))
    dA, dB = problem.grad(A, B)
    assert certificate.stationarity == pytest.approx(math.hypot(np.linalg.norm(dA), np.linalg.norm(dB)), rel=1e-12)
    assert certificate.balance == pytest.approx(np.linalg.norm(A.T @ A - B.T @ B), rel=1e-12)
    assert certificate.factor_gap == pytest.approx(problem.value(A, B) - problem.convex_value(2.0 * A @ B.T), rel=1e-9)


@pytest.mark.parametrize("point", ["factors", "update", "zero"])
def test_to_dict_is_plain_json(point):
    problem = ls.Problem(OBJECTIVES["huber"], 2, 0.0 if point == "zero" else 0.3)
    A, B = np.ones((8, 2)), np.zeros((6, 2))
    certificate = certify(problem, A @ B.T if point == "update" else (A, B))
    loaded = json.loads(json.dumps(certificate.to_dict(), allow_nan=False))
    assert loaded["value"] == certificate.value
    assert loaded["is_global"] == certificate.is_global
    assert isinstance(loaded["rank"], int) and isinstance(loaded["singular_values"], list)
    if point == "zero":
        assert loaded["dual_norm"] is None
    assert set(loaded) == set(Certificate.__dataclass_fields__) - {"problem", "point"}


def test_an_answer_of_more_than_yes_or_no_is_no_condition():
    """``if certify(..)`` and ``assert check_objective(..)`` held whatever the answer was."""
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.5)
    certificate = certify(problem, np.ones(problem.shape))
    assert certificate.is_global is False
    with pytest.raises(TypeError, match=r"^Certificate: as a condition it would always hold; ask its \.is_global"):
        assert certificate

    class Upside:
        shape = (3, 2)

        def value_and_grad(self, X):
            return 0.5 * float((X**2).sum()), -X

    report = ls.check_objective(Upside())
    assert report.ok is False
    with pytest.raises(TypeError, match=r"^CheckReport: as a condition it would always hold; ask its \.ok"):
        assert report


def test_the_text_names_the_answer_and_the_gap():
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.5)
    good = str(certify(problem, soft_threshold(problem.objective.M, 0.5)))
    assert "global optimum: yes (within" in good and "of the convex optimum, RIGOROUS)" in good
    assert "above 1e-06 of the largest" in good
    assert "global optimum: no" in str(certify(problem, np.zeros((8, 6))))


def test_without_decay_only_a_closed_form_gives_an_answer():
    rng = np.random.default_rng(5)
    point = rng.standard_normal((8, 2)), rng.standard_normal((6, 2))
    for name in ("completion", "sensing", "huber", "softmax"):
        certificate = certify(ls.Problem(OBJECTIVES[name], 2, 0.0), point)
        # f is nowhere below its lower bound: a gap, but no answer about the optimum of rank <= r.
        above = certificate.value - OBJECTIVES[name].facts.lower_bound
        assert certificate.is_global is None and certificate.gap == pytest.approx(above, rel=1e-9)
        assert certificate.gap >= above
        assert "lam = 0" in certificate.reason
    M = OBJECTIVES["denoising"].M
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.0)
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    best = certify(problem, (P[:, :2] * s[:2], Qt[:2].T))
    assert best.is_global is True
    assert best.value == pytest.approx(0.5 * np.sum(s[2:] ** 2), rel=1e-12)
    # The second and third direction swapped: above the optimum by (s_2^2 - s_3^2)/2 exactly.
    second = certify(problem, (P[:, [0, 2]] * s[[0, 2]], Qt[[0, 2]].T))
    above = 0.5 * (s[1] ** 2 - s[2] ** 2)
    assert second.is_global is False
    assert second.gap == pytest.approx(above, rel=1e-9) and second.gap_at_least == pytest.approx(above, rel=1e-9)
    assert certify(problem, (P[:, :3] * s[:3]) @ Qt[:3]).is_global is None  # of higher rank than the closed form is for


def test_a_perfect_fit_without_decay_is_global():
    M = OBJECTIVES["denoising"].M
    certificate = certify(ls.Problem(Denoising(M), 6, 0.0), M)
    assert certificate.is_global is True
    assert certificate.relative_gap < 1e-12


def test_reduced_rank_regression_without_decay():
    rng = np.random.default_rng(6)
    W0, Z, Y = (rng.standard_normal(size) for size in ((5, 4), (4, 12), (5, 12)))
    problem = ls.Problem(LinearFineTuning(W0, Z, Y), 2, 0.0)
    result = ls.solve(problem, "lbfgs", init="gaussian", stop=ls.StoppingRule(grad_tol=1e-12))
    assert certify(problem, result).is_global is True
    # Least squares over rank 2: project the fitted values of ordinary least squares on their top two directions.
    fitted = (Y - W0 @ Z) @ np.linalg.pinv(Z) @ Z
    tail = np.linalg.svd(fitted, compute_uv=False)[2:]
    expected = (np.sum((Y - W0 @ Z - fitted) ** 2) + np.sum(tail**2)) / 24
    assert certify(problem, result).value == pytest.approx(expected, rel=1e-10)
    assert certify(problem, np.zeros((5, 4))).is_global is False


def test_a_loss_that_is_not_convex_has_no_certificate():
    rng = np.random.default_rng(7)
    objective = TwoLayer.example(rng)
    m, n = objective.shape
    certificate = certify(ls.Problem(objective, 1, 0.1), (np.ones((m, 1)), np.ones((n, 1))))
    assert certificate.is_global is None and certificate.gap == math.inf
    assert "convex" in certificate.reason


def test_a_loss_without_lower_bound_is_refuted_or_left_open_and_certified_at_zero_only():
    problem = ls.Problem(Quartic((5, 4)), 2, 0.3)
    start = certify(problem, np.zeros((5, 4)))
    assert start.is_global is False and start.gap == math.inf and start.gap_at_least > 0
    # Near the optimum and above lam by a hair: nothing is better by more than tol, and nothing says so.
    certificate = certify(problem, 0.9999 * ls.solve_convex(problem).X)
    assert 1.0 < certificate.dual_norm < 1.001
    assert certificate.is_global is None and "lower_bound" in certificate.reason
    norm = np.linalg.norm(problem.objective.value_and_grad(np.zeros((5, 4)))[1], 2)
    zero = certify(problem.replace(lam=1.01 * norm), np.zeros((5, 4)))
    assert zero.is_global is True and zero.relative_gap < 1e-13


def test_what_a_user_has_not_stated_is_not_assumed():
    """Of all facts this loss states that it is convex."""
    assumed = certify(ls.Problem(Quartic((5, 4)), 2, 0.3), np.zeros((5, 4))).assumptions[0]
    assert assumed.startswith("your f is convex and its gradient right (")


def test_a_stated_lower_bound_closes_the_gap():
    class Bounded(Quartic):
        lower_bound = 0.0

    problem = ls.Problem(Bounded((5, 4)), 2, 0.3)
    certificate = certify(problem, ls.solve_convex(problem).X)
    assert certificate.is_global is True and certificate.relative_gap < 1e-8


def test_a_point_far_out_is_refuted_by_a_share_of_it():
    """Huber's loss of one entry falls with slope 1 from 1000 to 900: F = 99.5 + 500, and 24.5 + 437.5 at 7/8 of it."""
    certificate = certify(ls.Problem(Huber(np.array([[900.0]])), 1, 0.5), np.array([[1000.0]]))
    assert certificate.gap_at_least == pytest.approx(137.5, rel=1e-9)


def test_of_a_step_and_a_share_the_better_one_refutes():
    """The step to the optimum diag(9.5, 0) leaves F = 4.875 of 65; X = 0, the best share, leaves 50."""
    certificate = certify(ls.Problem(Denoising(np.diag([10.0, 0.0])), 2, 0.5), np.diag([0.0, 5.0]))
    assert certificate.gap_at_least == pytest.approx(60.125, rel=1e-9)


def test_a_matrix_in_small_units_beside_a_much_more_curved_one_refutes_too():
    """Only the second is away from its optimum, 1e-3 - lam; at the steps of the first, curved 1e6 times, it stays."""
    steep = MatrixSensing(1e3 * np.ones((1, 1, 1)), np.array([1e3]))
    problem = ls.multi.MultiProblem(ls.multi.Separable([steep, Denoising(np.array([[1e-3]]))]), 1, 1e-6)
    certificate = certify(problem, [np.array([[1.0 - 1e-12]]), np.zeros((1, 1))])
    least = 0.5 * 1e-12 + 1e-6 * (1e-3 - 1e-6)
    assert 0.99 * (0.5e-6 - least) <= certificate.gap_at_least <= 0.5e-6 - least


def test_a_spurious_minimum_is_refuted_by_an_escape_direction():
    instance = sharp(2, 1, 5, 4, 4.5, 0.2)
    problem = ls.Problem(instance, 2, 0.2)
    certificate = certify(problem, instance.stationary_factors())
    assert certificate.stationarity < 1e-12 and certificate.is_global is False
    assert 0 < certificate.gap_at_least <= instance.gap + 1e-12 <= certificate.gap + 2e-12
    assert certificate.dual_norm > 1.5
    assert certify(problem, instance.X_star).is_global is True


def test_bad_points_are_named():
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.5)
    good = np.ones((8, 2)), np.ones((6, 2))
    for point, error, name in [
        (np.ones((6, 8)), ValueError, "point"),
        (np.ones(8), ValueError, "point"),
        (np.full((8, 6), np.nan), ValueError, "point"),
        ((np.ones((6, 2)), good[1]), ValueError, "A"),
        ((good[0], np.ones((6, 3))), ValueError, "B"),
        ((good[0], good[1] * np.inf), ValueError, "B"),
        ((good[0], good[1].astype(complex)), TypeError, "B"),
        ("nonsense", TypeError, "point"),
    ]:
        with pytest.raises(error, match=f"^{name}: "):
            certify(problem, point)
    with pytest.raises(ValueError, match="tol"):
        certify(problem, good, tol=-1.0)


@pytest.mark.parametrize(
    "ask", [certify, ls.landscape.verdict, lambda problem, point, tol: ls.certify_batch(problem, [point], tol=tol),
            lambda problem, point, tol: ls.solve_convex(problem, tol=tol),
            lambda problem, point, tol: ls.compare(problem, "lbfgs", tol=tol)],
    ids=["certify", "verdict", "certify_batch", "solve_convex", "compare"],
)  # fmt: skip
def test_a_tolerance_within_which_every_point_is_global_is_refused(ask):
    """Of ``f >= 0`` no point is above the optimum by more than all of its ``F``."""
    M = np.random.default_rng(0).standard_normal((8, 6))
    problem = ls.Problem(Denoising(M), 6, 0.5)
    with pytest.raises(ValueError, match=r"^tol: expected a finite number in .0, 1\), got 1"):
        ask(problem, -3.0 * M, tol=1.0)


def test_a_diverged_result_is_refused():
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.5)
    result = ls.solve(problem, "gd")
    result.A[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"point\.A"):
        certify(problem, result)


def test_a_result_of_another_adapter_is_certified_by_its_update():
    problem = ls.Problem(OBJECTIVES["softmax"], 2, 0.05, DoRA())
    result = ls.solve(problem, "gd_backtracking", stop=ls.StoppingRule(max_iter=20))
    plain = problem.replace(adapter="lora")
    assert certify(plain, result).value == pytest.approx(plain.convex_value(result.X), rel=1e-11)


def test_unit_columns_are_told_which_convex_problem_is_theirs():
    T, penalty = np.random.default_rng(0).standard_normal((5, 4)), 3.0
    problem = ls.Problem(Denoising(T), 4, adapter=SoRA(penalty, "unit_columns", alpha=8.0))
    result = ls.solve(problem, "proximal_gd+revive", "gaussian", stop=ls.StoppingRule(max_iter=20_000, grad_tol=1e-8))
    reason = certify(problem, result).reason
    assert "no convex counterpart" not in reason
    asked = reason.split("ask for ")[1]
    certificate = eval(asked, {"ls": ls, "objective": problem.objective, "result": result})
    assert certificate.is_global and certificate.value == pytest.approx(denoising_optimum(T, penalty / 2.0), rel=1e-6)
    plain = certify(problem.replace(adapter=SoRA(penalty)), (np.ones((5, 4)), np.ones((4, 4))))
    assert plain.reason.endswith("no convex counterpart")


def test_where_the_adapter_has_no_convex_counterpart_nothing_is_certified(tmp_path, capsys):
    """The run is below the optimum of ``f + lam ||X||_*``, which therefore is no bound for it."""
    rng = np.random.default_rng(3)
    W0, Z, Y = (rng.standard_normal(shape) for shape in ((5, 4), (4, 30), (5, 30)))
    problem = ls.Problem(ls.objectives.LinearFineTuning(W0, Z, Y), 2, 0.3, DoRA())
    result = ls.solve(problem, "gd", stop=ls.StoppingRule(max_iter=3000))
    optimum = ls.solve_convex(problem.replace(adapter="lora"))
    assert problem.value_and_grad(result.theta, np.empty_like(result.theta)) < 0.5 * (optimum.fun - optimum.gap)
    certificate = certify(problem, result)
    assert certificate.is_global is None and certificate.gap == math.inf and certificate.gap_at_least == 0.0
    assert certificate.reason.startswith("an update of 'dora' is not s A B^T")
    # F, grad L and L - F of factors that LoRA would have for this update say nothing about the run.
    assert all(map(math.isnan, (certificate.stationarity, certificate.balance, certificate.factor_gap)))
    assert len(str(certificate).splitlines()) == 2 and "grad L" not in str(certificate)
    assert certificate.to_dict()["factor_gap"] is None

    saved = str(tmp_path / "d.npz")
    ls.io.save_result(saved, problem, result, {"W0": W0, "Z": Z, "Y": Y})
    assert main(["certify", saved, "--require-certificate"]) == 3
    assert "global optimum: unknown (an update of 'dora'" in capsys.readouterr().out
    study = ls.Study(problem, {"seed": [0]}, "gd", "certify", stop=ls.StoppingRule(max_iter=5))
    (record,) = study.run(tmp_path / "store", "serial")
    assert record["result"]["measures"]["certify"]["is_global"] is None


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_point_of_another_kind_is_refused_in_words(count):
    problem = ls.Problem(ls.objectives.Denoising(np.ones((4, 3))), 2, 0.1)
    point = (np.ones((4, 2)), np.ones((3, 2)), np.ones((4, 2)))[:count] or None
    with pytest.raises(TypeError, match=r"^point: expected a Result, a pair \(A, B\) or X, got "):
        ls.certify(problem, point)


def test_factors_in_a_list_are_told_to_be_a_tuple():
    """NumPy's words about an inhomogeneous shape said nothing of factors."""
    problem = ls.Problem(ls.objectives.Denoising(np.ones((4, 3))), 2, 0.1)
    with pytest.raises(TypeError, match=r"^point: expected a Result, a pair \(A, B\) or X, .* a pair is a tuple"):
        ls.certify(problem, [np.ones((4, 2)), np.ones((3, 2))])
