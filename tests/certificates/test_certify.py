"""The certificate against true gaps: closed forms, brute force in one dimension, optima by another route."""

import json
import math
import warnings
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import landscape, linear_map
from lorasolve._known import Known
from lorasolve.adapters import DoRA, LoRA, SoRA
from lorasolve.certificates import Certificate, certify, duality, gap
from lorasolve.certificates.duality import duality_gap
from lorasolve.cli import main
from lorasolve.landscape.instances import sharp
from lorasolve.multi import MultiProblem, Separable
from lorasolve.objectives import (
    Denoising,
    Huber,
    LinearFineTuning,
    Logistic,
    MatrixCompletion,
    MatrixSensing,
    Softmax,
    TwoLayer,
)
from lorasolve.problem.blocks import OneBlock

ROUNDING = 1e-13


def soft_threshold(M, lam):
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    return (P * np.maximum(s - lam, 0.0)) @ Qt


def denoising_optimum(M, lam):
    X = soft_threshold(M, lam)
    return 0.5 * np.sum((X - M) ** 2) + lam * np.linalg.norm(X, "nuc")


def by_clarabel(problem):
    """A value of F that some X attains, hence an upper bound of the optimum, by a solver of another kind."""
    import cvxpy

    X = cvxpy.Variable(problem.shape)
    task = cvxpy.Problem(
        cvxpy.Minimize(problem.objective.cvxpy_expression(X) + problem.lam_effective * cvxpy.normNuc(X))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": to 1e-9 in place of 1e-11
        task.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return problem.convex_value(X.value)


# ---------------------------------------------------------------------- the formulas, in one dimension
SCALAR = {
    "denoising": Denoising([[2.0]]),
    "huber": Huber([[3.0]], 0.7),
    "logistic": Logistic([[0.3]], [[1.0, -2.0, 0.5]], [[1.0, -1.0, -1.0]]),
    "linear": LinearFineTuning([[0.2]], [[1.0, 2.0]], [[1.0, 2.5]]),
}
GRID = np.linspace(-8.0, 8.0, 160_001)


def value_at(objective, x):
    return objective.value_and_grad(np.array([[x]]))[0]


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("lam", [0.05, 0.4, 1.5, 4.0])
def test_the_bound_holds_by_brute_force_over_the_line(name, lam):
    objective = SCALAR[name]
    lowest = min(value_at(objective, x) + lam * abs(x) for x in GRID[::20])
    for x in np.linspace(-6.0, 6.0, 49):
        f, G = objective.value_and_grad(np.array([[x]]))
        g = float(G[0, 0])
        bound = duality_gap(OneBlock(objective), lam, f, abs(x), g * x, abs(g))
        assert bound.gap >= f + lam * abs(x) - lowest
        # The bound of a looser ||G|| is a bound too.
        assert duality_gap(OneBlock(objective), lam, f, abs(x), g * x, 1.3 * abs(g)).gap >= f + lam * abs(x) - lowest


@pytest.mark.parametrize("name", SCALAR)
def test_the_scaling_is_the_best_one_that_the_proof_allows(name):
    objective = SCALAR[name]
    rng = np.random.default_rng(0)
    for _ in range(200):
        lam, norm, above, nuclear = rng.uniform(0.01, 3.0, 4)
        inner = rng.uniform(-norm * nuclear, norm * nuclear)
        gap = duality_gap(OneBlock(objective), lam, objective.facts.lower_bound + above, nuclear, inner, norm).gap
        most = lam / norm
        c = np.linspace(0.0, most if objective.facts.least_squares else min(1.0, most), 100_001)
        left = (1 - c) ** 2 if objective.facts.least_squares else 1 - c
        lowest = max(np.min(left * above + lam * nuclear + c * inner), 0.0)
        # The parabola above the grid's best point falls by at most its curvature times half a spacing squared.
        assert lowest - above * c[1] ** 2 - 1e-12 <= gap <= lowest + 1e-12


@pytest.mark.parametrize("name", SCALAR)
def test_never_worse_than_the_bound_through_a_radius(name):
    objective = SCALAR[name]
    rng = np.random.default_rng(1)
    for _ in range(500):
        lam, norm, above, nuclear = rng.uniform(0.01, 3.0, 4)
        inner = rng.uniform(-norm * nuclear, norm * nuclear)
        f = objective.facts.lower_bound + above
        radius = (above + lam * nuclear) / lam
        theirs = inner + lam * nuclear + radius * max(0.0, norm - lam)
        bound = duality_gap(OneBlock(objective), lam, f, nuclear, inner, norm)
        assert bound.gap <= theirs + ROUNDING * (f + lam * nuclear)


def test_no_convexity_is_assumed_of_a_loss_that_states_none():
    class Wells:
        shape, lower_bound = (3, 2), 0.0

        def value_and_grad(self, X):
            return float(((X**2 - 1) ** 2).sum()), 4 * X * (X**2 - 1)

    certificate = certify(ls.Problem(Wells(), rank=1, lam=0.1), (np.ones((3, 1)), np.ones((2, 1))))
    assert certificate.is_global is None
    assert any("gradient of your f is right" in text for text in certificate.assumptions)
    assert not any("convex" in text for text in certificate.assumptions)


def test_no_bound_without_its_assumptions():
    class Facts(Denoising):
        lower_bound = None
        least_squares = False

    objective = Facts([[1.0]])
    assert duality_gap(OneBlock(objective), 1.0, 2.0, 1.0, -1.0, 1.0 + 1e-9).gap == math.inf
    assert duality_gap(OneBlock(objective), 1.0, 2.0, 1.0, -0.75, 1.0).gap == pytest.approx(0.25, rel=1e-12)
    assert duality_gap(OneBlock(objective), 0.0, 2.0, 1.0, -1.0, 0.5).gap == math.inf
    objective.convex = None
    assert duality_gap(OneBlock(objective), 1.0, 2.0, 1.0, -1.0, 0.5).gap == math.inf


def test_the_relative_gap_refers_to_the_parts_of_the_objective():
    bound = duality_gap(OneBlock(Denoising([[1.0]])), 0.5, 2.0, 4.0, 0.0, 10.0)
    assert bound.relative == bound.gap / (2.0 + 0.5 * 4.0)
    assert duality_gap(OneBlock(Denoising([[1.0]])), 0.5, 0.0, 0.0, 0.0, 0.0).relative == 0.0


# ---------------------------------------------------------------------- along traces
def objectives():
    rng = np.random.default_rng(2)
    M = rng.standard_normal((8, 2)) @ rng.standard_normal((2, 6)) + 0.1 * rng.standard_normal((8, 6))
    rows, cols = np.divmod(rng.choice(48, 30, replace=False), 6)
    Z = rng.standard_normal((6, 25))
    W0 = rng.standard_normal((8, 6))
    measurements = rng.standard_normal((40, 8, 6))
    return {
        "denoising": Denoising(M),
        "completion": MatrixCompletion(rows, cols, M[rows, cols], (8, 6)),
        "sensing": MatrixSensing(measurements, np.einsum("kij,ij->k", measurements, M)),
        "linear": LinearFineTuning(W0, Z, (W0 + M) @ Z),
        "huber": Huber(M, 0.5),
        "softmax": Softmax(W0, Z, rng.integers(0, 8, 25)),
        "logistic": Logistic(W0, Z, np.sign(rng.standard_normal((8, 25)))),
        "shifted": Softmax(W0, Z, rng.integers(0, 8, 25)).merged(0.1 * M),
    }


OBJECTIVES = objectives()
METHODS = ["gd", "adam", "nesterov", "lbfgs", "gd_backtracking"]
_optima = {}


def optimum(name, lam_effective):
    """The optimal value to 1e-8, and from above: closed form for denoising, Clarabel for the rest."""
    key = name, lam_effective
    if key not in _optima:
        objective = OBJECTIVES[name]
        if name == "denoising":
            _optima[key] = denoising_optimum(objective.M, lam_effective)
        else:
            _optima[key] = by_clarabel(ls.Problem(objective, 1, lam_effective))
    return _optima[key]


def check(problem, point, best):
    """Assert that what the certificate says of a point is true."""
    certificate = certify(problem, point)
    X = point if isinstance(point, np.ndarray) else problem.scale * point[0] @ point[1].T
    value = problem.convex_value(X)
    scale = abs(value)
    assert certificate.value == pytest.approx(value, rel=1e-11)
    assert certificate.gap >= value - best - ROUNDING * scale
    assert certificate.dual_value <= best + ROUNDING * scale
    # `best` is itself only an upper bound of the optimum, good to about 1e-8.
    assert certificate.gap_at_least <= value - best + 1e-8 * scale
    assert certificate.gap_at_least <= certificate.gap
    if certificate.is_global is True:
        assert value - best <= certificate.tol * scale
    if certificate.is_global is False:
        assert value - best > 0.5 * certificate.tol * scale
    assert certificate.factor_gap >= -ROUNDING * scale
    return certificate


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("method", METHODS)
def test_the_certified_gap_is_never_below_the_true_gap_along_a_trace(name, method):
    objective = OBJECTIVES[name]
    norm = np.linalg.norm(objective.value_and_grad(np.zeros((8, 6)))[1], 2)
    for k, (part, adapter) in enumerate([(0.5, "lora"), (0.1, LoRA(alpha=6.0)), (1e-3, LoRA(alpha=0.5))]):
        problem = ls.Problem(objective, 3, 0.0, adapter)
        problem = problem.replace(lam=part * norm * problem.scale)
        points = []
        result = ls.solve(
            problem,
            method,
            init="gaussian" if k == 1 else "lora",
            seed=k,
            callback=lambda at: points.append((at.A.copy(), at.B.copy())),  # noqa: B023
            stop=ls.StoppingRule(max_iter=300),
        )
        best = optimum(name, problem.lam_effective)
        for point in points[:5] + points[5::40] + [(result.A, result.B)]:
            check(problem, point, best)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_certified_gap_is_never_below_the_true_gap_at_odd_points(name):
    objective = OBJECTIVES[name]
    rng = np.random.default_rng(3)
    norm = np.linalg.norm(objective.value_and_grad(np.zeros((8, 6)))[1], 2)
    problem = ls.Problem(objective, 3, 0.3 * norm)
    best = optimum(name, problem.lam)
    solution = ls.solve_convex(problem, "prox", 1e-10)
    for scale in (1e-6, 1e-2, 1.0, 30.0):
        A, B = rng.standard_normal((8, 3)), rng.standard_normal((6, 3))
        check(problem, (scale * A, B), best)
        check(problem, (1e4 * A, 1e-5 * B), best)  # unbalanced
        check(problem, (scale * A[:, [0, 0, 1]], B[:, [0, 1, 0]]), best)  # rank-deficient
        check(problem, scale * A @ B.T, best)
        check(problem, solution.X + 1e-3 * scale * A @ B.T, best)
        check(problem, solution.X * (1 + 0.01 * scale), best)
    for zero in ((np.zeros((8, 2)), np.zeros((6, 2))), (A, 0 * B), np.zeros((8, 6))):
        certificate = check(problem, zero, best)
        assert certificate.rank == 0 and certificate.nuclear_norm == 0.0
    assert check(problem, solution.X, best).is_global is True


@pytest.mark.parametrize("name", ["denoising", "softmax"])
def test_merged_stages_are_certified_as_the_original_problem(name):
    objective = OBJECTIVES[name]
    norm = np.linalg.norm(objective.value_and_grad(np.zeros((8, 6)))[1], 2)
    problem = ls.Problem(objective, 1, 0.2 * norm)
    result = ls.solve(problem, "gd+periodic:period=20", stop=ls.StoppingRule(max_iter=100))
    assert result.merged is not None
    certificate = certify(problem, result)
    value = problem.convex_value(result.X)
    assert certificate.value == pytest.approx(value, rel=1e-11)
    assert certificate.gap >= value - optimum(name, problem.lam) - ROUNDING * value


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_result_of_merged_stages_is_seen_as_such_by_the_problem_of_its_last_one(dtype, tmp_path):
    """What that problem's frozen weight holds was counted twice: a point 8.8 above the optimum was judged instead."""
    rng = np.random.default_rng(0)
    data = (rng.standard_normal(shape).astype(dtype) for shape in ((5, 6), (6, 40), (5, 40)))
    result = ls.solve(ls.Problem(LinearFineTuning(*data), 5, 0.1), "lbfgs~pissa", stop=ls.StoppingRule(grad_tol=1e-6))
    last = result.problem
    value = last.objective.in_float64().value_and_grad(result.A.astype(float) @ result.B.T.astype(float))[0]
    value += 0.05 * (np.sum(result.A.astype(float) ** 2) + np.sum(result.B.astype(float) ** 2))
    for problem in (last, last.replace(lam=0.1)):
        found = ls.certify(problem, result)
        assert found.value == pytest.approx(value, rel=1e-6) and found.relative_gap < 1e-4
        assert ls.certify_batch(problem, [result])[0].value == pytest.approx(value, rel=1e-6)
        assert ls.certificates.rigorous_bound(problem, result).value_high == pytest.approx(value, rel=1e-6)
        assert ls.landscape.verdict(problem, result).certificate.value == pytest.approx(value, rel=1e-6)
        assert float(Fraction(found.save(tmp_path / "proof.json")["gap"])) < 1e-4 * value


# ---------------------------------------------------------------------- what the fields say
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


# ---------------------------------------------------------------------- yes, no, unknown
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


class Plain:
    """A user's loss, ``||X - M||_4^4 / 4``, convex, no constants stated."""

    shape = (5, 4)
    convex = True

    def __init__(self):
        self.M = np.random.default_rng(8).standard_normal(self.shape)

    def value_and_grad(self, X):
        E = X - self.M
        return 0.25 * float(np.sum(E**4)), E**3


def test_a_loss_without_lower_bound_is_refuted_or_left_open_and_certified_at_zero_only():
    problem = ls.Problem(Plain(), 2, 0.3)
    start = certify(problem, np.zeros((5, 4)))
    assert start.is_global is False and start.gap == math.inf and start.gap_at_least > 0
    # Near the optimum and above lam by a hair: nothing is better by more than tol, and nothing says so.
    certificate = certify(problem, 0.9999 * ls.solve_convex(problem).X)
    assert 1.0 < certificate.dual_norm < 1.001
    assert certificate.is_global is None and "lower_bound" in certificate.reason
    norm = np.linalg.norm(problem.objective.value_and_grad(np.zeros((5, 4)))[1], 2)
    zero = certify(problem.replace(lam=1.01 * norm), np.zeros((5, 4)))
    assert zero.is_global is True and zero.relative_gap < 1e-13


def test_a_stated_lower_bound_closes_the_gap():
    class Bounded(Plain):
        lower_bound = 0.0

    problem = ls.Problem(Bounded(), 2, 0.3)
    certificate = certify(problem, ls.solve_convex(problem).X)
    assert certificate.is_global is True and certificate.relative_gap < 1e-8


def test_a_spurious_minimum_is_refuted_by_an_escape_direction():
    instance = sharp(2, 1, 5, 4, 4.5, 0.2)
    problem = ls.Problem(instance, 2, 0.2)
    certificate = certify(problem, instance.stationary_factors())
    assert certificate.stationarity < 1e-12 and certificate.is_global is False
    assert 0 < certificate.gap_at_least <= instance.gap + 1e-12 <= certificate.gap + 2e-12
    assert certificate.dual_norm > 1.5
    assert certify(problem, instance.X_star).is_global is True


# ---------------------------------------------------------------------- float32, large, bad input
@pytest.mark.parametrize("name", ["softmax", "logistic", "linear", "completion", "sensing", "huber", "denoising"])
def test_float32_data_are_certified_in_float64(name):
    rng = np.random.default_rng(9)
    cls = {
        "softmax": Softmax,
        "logistic": Logistic,
        "linear": LinearFineTuning,
        "completion": MatrixCompletion,
        "sensing": MatrixSensing,
        "huber": Huber,
        "denoising": Denoising,
    }[name]
    objective = cls.example(rng, np.float32)
    m, n = objective.shape
    norm = np.linalg.norm(objective.value_and_grad(np.zeros((m, n), np.float32))[1], 2)
    problem = ls.Problem(objective, 2, 0.3 * float(norm))
    best = ls.solve_convex(problem, "prox", 1e-11)
    wide = problem.replace(objective=objective.in_float64())
    # The same data, evaluated in float64 by the dense path: a float32 evaluation would be off by 1e-8.
    assert certify(problem, best.X).value == pytest.approx(wide.convex_value(best.X), rel=1e-12)
    assert certify(problem, best.X).relative_gap < 1e-10
    assert wide.convex_value(best.X) <= by_clarabel(wide) * (1 + 1e-9)


def test_a_float32_user_object_gets_the_allowance_of_float32():
    class Single:
        shape = (5, 4)
        dtype = np.float32
        convex = True
        lower_bound = 0.0
        smoothness = 1.0
        M = np.random.default_rng(10).standard_normal((5, 4)).astype(np.float32)

        def value_and_grad(self, X):
            E = np.asarray(X, np.float32) - self.M
            return 0.5 * float(np.vdot(E, E)), E

    problem = ls.Problem(Single(), 2, 0.3)
    certificate = certify(problem, soft_threshold(Single.M.astype(float), 0.3), tol=1e-9)
    truth = denoising_optimum(Single.M.astype(float), 0.3)
    assert certificate.dual_value <= truth
    assert certificate.is_global is not True


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


class Unbounded:
    """Denoising of a user who states no lower bound."""

    convex = True

    def __init__(self, M):
        self.M, self.shape = M, M.shape

    def value_and_grad(self, X):
        return 0.5 * float(np.vdot(X - self.M, X - self.M)), X - self.M


@pytest.mark.parametrize("shape", [(6, 5), (60, 80), (400, 300)])
@pytest.mark.parametrize("share", [1e-3, 1e-6, 1e-9])
def test_without_a_lower_bound_a_gradient_below_lam_is_a_certificate(shape, share):
    """The optimum of a weight below lam has a gradient of that norm: its gap is what is between, times its norm."""
    M = np.random.default_rng(18).standard_normal(shape)
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    for lam in (0.3 * s[0], 1.001 * s[0]):
        less = lam * (1.0 - share)
        kept = np.maximum(s - less, 0.0)
        problem = ls.Problem(Unbounded(M), 1, lam)
        found = certify(problem, (P * np.sqrt(kept), Qt.T * np.sqrt(kept)), tol=1e-2)
        gap = (lam - less) * kept.sum()
        assert found.is_global is True and found.dual_norm <= 1.0
        assert gap - ROUNDING * found.value <= found.gap <= gap + 1e3 * ROUNDING * found.value


@pytest.mark.parametrize("length", [1e3, 1e4, 1e5])
@pytest.mark.parametrize("name", ["logistic", "softmax"])
def test_a_point_far_out_in_a_loss_that_levels_off_is_refuted(name, length):
    """The samples can be separated, so ``F`` is its penalty alone, of which half is saved by half of the point."""
    rng = np.random.default_rng(19)
    Z, W = rng.standard_normal((5, 30)), rng.standard_normal((4, 5))
    scores = W @ Z
    if name == "softmax":
        loss, at_zero = Softmax(np.zeros((4, 5)), Z, scores.argmax(axis=0)), math.log(4.0)
        margins = np.diff(np.sort(scores, axis=0)[-2:], axis=0)
    else:
        loss, at_zero = Logistic(np.zeros((4, 5)), Z, np.sign(scores)), 4.0 * math.log(2.0)
        margins = np.abs(scores)
    P, s, Qt = np.linalg.svd(W * (length / margins.min()), full_matrices=False)
    point = P * np.sqrt(s), Qt.T * np.sqrt(s)
    # Each sample adds less than exp(-length), and at half of the point less than exp(-length / 2).
    for cost in (0.1, 10.0):
        found = certify(ls.Problem(loss, 4, cost / s.sum()), point)
        assert found.value == pytest.approx(cost, rel=1e-12) and found.is_global is False
        assert found.gap_at_least >= max(0.5 * cost, cost - at_zero) * (1.0 - 1e-9)


def nuclear(factors):
    """||A B^T||_*, from the small matrix between orthonormal bases."""
    R, S = (np.linalg.qr(factor)[1] for factor in factors)
    return np.linalg.norm(R @ S.T, "nuc")


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
    for module in (duality, linear_map):
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


@pytest.mark.parametrize("c", [1.0, 1e3])
def test_a_point_where_a_loss_is_flat_is_refuted(c):
    """``sum (X - c)^4 / 4`` has no curvature at its least value; its symmetry leaves a closed form of the optimum.

    By it ``X = t 1 1^T`` with ``(c - t)^3 m n = lam sqrt(m n)``.
    """
    m, n, lam = 6, 4, 0.3 * c**3

    class FourthPower:
        shape, convex, lower_bound = (m, n), True, 0.0

        def value_and_grad(self, X):
            return 0.25 * float(((X - c) ** 4).sum()), (X - c) ** 3

    problem = ls.Problem(FourthPower(), 2, lam)
    t = c - (lam / math.sqrt(m * n)) ** (1 / 3)
    best = 0.25 * m * n * (c - t) ** 4 + lam * t * math.sqrt(m * n)
    found = certify(problem, np.full((m, n), c))
    assert found.is_global is False
    assert 0.5 * (found.value - best) < found.gap_at_least < (found.value - best) * (1.0 + 1e-9)


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


@pytest.mark.parametrize(("size", "lam"), [(1e-100, 1e220), (1e-120, 1e300)])
@pytest.mark.parametrize("rigorous", [True, False])
def test_a_weight_beyond_the_gradient_by_more_than_the_range_of_numbers(size, lam, rigorous):
    # The optimum is 0 wherever ||M||_2 <= lam; that quotient is no number here.
    problem = ls.Problem(Denoising(size * np.diag([1.0, 2.0, 3.0])), 2, lam)
    found = [certify(problem, np.zeros((3, 3)), rigorous=rigorous)]
    found += ls.certify_batch(problem, [np.zeros((3, 3))] * 2, rigorous=rigorous)
    for certificate in found:
        assert certificate.is_global is True and certificate.rank_at_most == 0
        assert certificate.value == pytest.approx(7.0 * size**2, rel=1e-12, abs=0.0)
    assert ls.verdict(problem, (np.zeros((3, 2)), np.zeros((3, 2)))).kind == "global"
    assert ls.recommend_rank(problem).at_most == 0


class EuclideanNorm:
    """``f(X) = ||X||_F``, with the gradient ``X / ||X||_F`` as it is often written: no number at 0."""

    shape = (3, 2)
    convex, lower_bound = True, 0.0

    def value_and_grad(self, X):
        length = float(np.linalg.norm(X))
        with np.errstate(invalid="ignore"):
            return length, X / length


def test_a_gradient_that_is_not_finite_is_said_to_be_so():
    problem = ls.Problem(EuclideanNorm(), 1, 0.1)
    X = np.zeros((3, 2))
    for certificate in (certify(problem, X), ls.certify_batch(problem, [X, X])[1]):
        assert certificate.is_global is None and certificate.gap == math.inf and certificate.gap_at_least == 0.0
        assert certificate.reason == "the gradient of f is not finite at this point"
    factors = X[:, :1], X[:2, :1]
    for ask in (
        problem.critical_lam,
        lambda: ls.solve_convex(problem),
        lambda: ls.verdict(problem, factors),
        lambda: ls.landscape.stationarity(problem, *factors),
        lambda: ls.landscape.second_order(problem, *factors),
    ):
        with pytest.raises(ValueError, match=r"^objective: a derivative of f has entries that are not finite"):
            ask()
    # Elsewhere F grows along every ray, so X = 0 is the optimum, and any other point is above it by (1 + lam) ||X||.
    away = certify(problem, np.outer([0.0, 3.0, 4.0], [1.0, 0.0]))
    assert away.value == pytest.approx(5.5) and away.gap >= 5.5 - 1e-9


def test_a_hessian_that_is_not_finite_is_said_to_be_so():
    class OneEntryMissing(EuclideanNorm):
        least_squares = True

        def value_and_grad(self, X):
            G = np.array(X)
            G[1, 1] = np.nan
            return 0.5 * float(np.vdot(X, X)), G

    with pytest.raises(ValueError, match=r"^objective: a derivative of f has entries that are not finite"):
        ls.landscape.restricted_constants(OneEntryMissing(), np.zeros((3, 2)), 1, 1.0)


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


@pytest.mark.parametrize("rigorous", ["auto", False])
@pytest.mark.parametrize("lam", [100.0, 1.0, 0.1])
def test_the_dual_value_is_below_the_optimum_to_the_last_digit(rigorous, lam):
    """It was F(X) - gap, rounded to nearest: above the optimum by a unit in the last place in one case of six."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        # A diagonal matrix of numbers whose optimum is a sum of squares and products, exact in fractions.
        numbers = rng.standard_normal(3)
        best = sum(
            Fraction(x) ** 2 / 2 if abs(x) <= lam else Fraction(lam) * abs(Fraction(x)) - Fraction(lam) ** 2 / 2
            for x in numbers.tolist()
        )
        problem = ls.Problem(Denoising(np.diag(numbers)), 2, lam)
        for X in (np.zeros((3, 3)), np.diag(np.sign(numbers) * np.maximum(np.abs(numbers) - lam, 0.0))):
            found = certify(problem, X, rigorous=rigorous)
            assert Fraction(found.dual_value) <= best
            assert found.dual_value == pytest.approx(found.value - found.gap, rel=1e-13, abs=1e-13)
    nothing = certify(ls.Problem(TwoLayer.example(rng), 1, lam), np.zeros(TwoLayer.example(rng).shape))
    assert nothing.gap == math.inf and nothing.dual_value == -math.inf


@pytest.mark.parametrize("kind", ["denoising", "linear", "sensing"])
def test_a_gap_of_zero_is_told_as_zero(kind):
    """From lam = ||grad f(0)||_2 on 0 is optimal, with nothing to round: underflow made 1e-322 of the gap."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((6, 4))
    loss = {
        "denoising": lambda: Denoising(M),
        "linear": lambda: LinearFineTuning(np.zeros((6, 4)), np.eye(4), M),
        "sensing": lambda: MatrixSensing(rng.standard_normal((30, 6, 4)), rng.standard_normal(30)),
    }[kind]()
    problem = ls.Problem(loss, 2, 1.0)
    problem = problem.replace(lam=2.0 * problem.critical_lam())
    found = certify(problem, (np.zeros((6, 2)), np.zeros((4, 2))))
    assert found.is_global and found.level is Known.RIGOROUS
    assert found.gap == found.relative_gap == 0.0 and "gap <= 0 (relative 0)" in str(found)


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


class Raised:
    """``c + ||X - M||^2/2``."""

    convex, shape = True, (5, 4)

    def __init__(self, c, M):
        self.lower_bound, self.M = c, M

    def value_and_grad(self, X):
        E = X - self.M
        return self.lower_bound + 0.5 * float(np.vdot(E, E)), E


@pytest.mark.parametrize("lam", [0.5, 0.0])
@pytest.mark.parametrize("c", [0.0, 1e3, 1e9, -1e9])
def test_a_tolerance_within_which_nothing_is_told_from_nothing_is_named(c, lam):
    """A random point is within 1e-6 of ``1e9`` of the optimum, whose value is known in closed form; so is ``X = 0``."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((5, 4))
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    best = (P * np.maximum(s - lam, 0.0)) @ Qt
    problem = ls.Problem(Raised(c, M), 4, lam)
    least, zero = (problem.convex_value(X) for X in (best, np.zeros((5, 4))))
    blurred = zero - least <= 1e-6 * abs(zero)
    assert blurred == (abs(c) > 1e8)
    for X in (best, rng.standard_normal((5, 4))):
        told = ls.certify(problem, X)
        assert told.is_global == (blurred or X is best or (False if lam else None))
        assert ("as X = 0 is" in told.reason) == blurred
    judged = landscape.verdict(problem, (P * np.sqrt(s), Qt.T * np.sqrt(s)))
    assert ("as X = 0 is" in judged.reason) == blurred


class Change:
    """``sum_k log(1 + exp(<D_k, X>)) - log 2``: 0 at ``X = 0``, where its gradient is ``sum_k D_k/2``."""

    convex, shape = True, (4, 3)
    D = np.random.default_rng(0).standard_normal((3, 4, 3))

    def value_and_grad(self, X):
        z = np.einsum("kij,ij->k", self.D, X)
        return float(np.sum(np.logaddexp(0.0, z) - np.log(2.0))), np.einsum(
            "k,kij->ij", 1.0 / (1.0 + np.exp(-z)), self.D
        )


@pytest.mark.parametrize("several", [False, True])
def test_zero_is_optimal_for_a_loss_that_is_zero_there(several):
    """``F(Y) >= <G, Y> + lam ||Y||_* > 0`` where ``||G||_2 < lam``; beyond, some small ``Y`` has a lower value."""
    loss = Change()
    norm = np.linalg.norm(0.5 * loss.D.sum(axis=0), 2)
    zero = (np.zeros((4, 2)), np.zeros((3, 2)))
    for lam, optimal in ((1.01 * norm, True), (0.99 * norm, False)):
        problem = MultiProblem(Separable([loss, loss]), 2, lam) if several else ls.Problem(loss, 2, lam)
        point = tuple(zip(zero, zero)) if several else zero
        certificate = ls.certify(problem, point)
        assert (certificate.is_global is True) == optimal and (certificate.gap == 0.0) == optimal
        assert (landscape.verdict(problem, point).kind == "global") == optimal
        if optimal:
            assert ls.solve_convex(problem).certificate.is_global


def test_a_constant_is_not_named_where_nothing_else_is_there():
    assert ls.certify(ls.Problem(Raised(5.0, np.zeros((5, 4))), 2, 0.5), np.zeros((5, 4))).reason.endswith("CERTIFIED")


@pytest.mark.parametrize("kind", ["dense", "rank one", "small observations", "network"])
def test_rounding_errors_of_outputs_that_cancel_are_no_change_of_the_data(kind):
    """Fewer measurements than entries are met by an X that is not small, at which f is made of rounding errors."""
    rng = np.random.default_rng(0)
    M, a, b = rng.standard_normal((5, 3, 4)), rng.standard_normal((5, 3)), rng.standard_normal((5, 4))
    loss = {
        "dense": lambda: ls.objectives.MatrixSensing(M, np.zeros(5)),
        "rank one": lambda: ls.objectives.MatrixSensing((a, b), np.zeros(5)),
        "small observations": lambda: ls.objectives.MatrixSensing(M, np.full(5, 1e-9)),
        "network": lambda: ls.objectives.NTK(M[:, None], np.zeros((5, 1))),
    }[kind]()
    problem = ls.Problem(loss, 2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        start = rng.standard_normal((3, 2)), rng.standard_normal((4, 2))
        run = ls.solve(problem, "lbfgs", start, stop=ls.StoppingRule(grad_tol=1e-10))
        certificate = certify(problem, run)
        if kind == "dense":
            X = [[sum(Fraction(p) * Fraction(q) for p, q in zip(x, y)) for y in run.B.tolist()] for x in run.A.tolist()]
            outputs = (sum(Fraction(g) * x for rows in zip(Mi, X) for g, x in zip(*rows)) for Mi in M.tolist())
            assert certificate.gap >= sum(output**2 for output in outputs) / 10


@pytest.mark.parametrize("loss", ["sensing", "ntk"])
@pytest.mark.parametrize("first", ["a certificate", "a run", "nothing"])
def test_measurements_that_are_changed_in_place_bound_no_rank_by_their_old_curvature(loss, first):
    """``||k X - Y||^2 / 24``, of which the optimum ``soft(Y, 12 lam/k)/k`` has rank 2: with ``k = 1`` kept, "<= 1"."""
    k, lam, least = 1000.0, 0.1, 1e-7
    cut = 12.0 * lam / k
    Y = np.zeros((4, 3))
    Y[0, 0], Y[1, 1] = 5.0, cut + k * least
    M = np.eye(12).reshape(12, 4, 3)
    made = {
        "sensing": lambda: ls.objectives.MatrixSensing(M, Y.ravel()),
        "ntk": lambda: ls.objectives.NTK(M[:, None], Y.reshape(12, 1)),
    }
    problem = ls.Problem(made[loss](), 3, lam)
    beside = np.zeros((4, 3))
    beside[0, 0], beside[1, 1] = (5.0 - cut) / k, 1.3 * least
    if first == "a certificate":
        assert ls.certify(problem, np.maximum(Y - 12.0 * lam, 0.0)).is_global
    elif first == "a run":
        ls.solve(problem, "gd", stop=ls.StoppingRule(max_iter=2))
    M *= k
    if first != "nothing":
        for refused in (lambda: ls.certify(problem, beside), lambda: ls.solve(problem, "gd")):
            with pytest.raises(ValueError, match="changed in place after it was made"):
                refused()
        problem = ls.Problem(made[loss](), 3, lam)
    certificate = ls.certify(problem, beside)
    assert certificate.is_global and certificate.level is Known.RIGOROUS
    assert certificate.rank_at_most is None or certificate.rank_at_most >= 2


def test_changed_samples_of_one_of_several_matrices_are_refused():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((3, 30))
    losses = [ls.objectives.Softmax(np.ones((4, 3)), Z, rng.integers(0, 4, 30)), ls.objectives.Denoising(np.eye(4, 3))]
    problem = ls.MultiProblem(Separable(losses), 2, 0.1)
    result = ls.solve(problem, "lbfgs")
    Z *= 0.5
    for refused in (lambda: ls.certify(problem, result), lambda: ls.solve(problem, "lbfgs")):
        with pytest.raises(ValueError, match="the data of Softmax were changed in place after it was made"):
            refused()


@pytest.mark.parametrize("loss", ["linear", "softmax", "logistic"])
@pytest.mark.parametrize("change", [lambda Z: Z.__imul__(0.5), lambda Z: Z.__iadd__(1.0), lambda Z: Z.sort()])
def test_samples_that_are_changed_in_place_after_the_objective_was_made_are_refused(loss, change):
    """Runs went on with what was made of the samples, and proofs with the samples: a minimiser was RIGOROUSLY none."""
    rng = np.random.default_rng(0)
    W0, Z, Y = rng.standard_normal((4, 3)), rng.standard_normal((3, 30)), rng.standard_normal((4, 30))
    made = {
        "linear": lambda: ls.objectives.LinearFineTuning(W0, Z, Y),
        "softmax": lambda: ls.objectives.Softmax(W0, Z, Y.argmax(axis=0)),
        "logistic": lambda: ls.objectives.Logistic(W0, Z, np.sign(Y)),
    }
    problem = ls.Problem(made[loss](), 3, 0.01)
    result = ls.solve(problem, "lbfgs")
    assert ls.certify(problem, result).is_global is True
    change(Z)
    for judge in (ls.certify, ls.landscape.verdict):
        with pytest.raises(ValueError, match="changed in place after it was made"):
            judge(problem, result)
    if loss == "linear":  # made of Gram matrices alone, of which this is an optimum
        result = ls.solve(problem, "lbfgs")
        assert ls.certify(problem, result, rigorous=False).is_global
        with pytest.raises(ValueError, match="changed in place after it was made"):
            ls.certify(problem, result)
    else:
        with pytest.raises(ValueError, match="changed in place after it was made"):
            ls.certify(problem, result, rigorous=False)
        for engine in ("compiled", "interpreted"):
            with pytest.raises(ValueError, match="changed in place after it was made"):
                ls.solve(problem, "gd", engine=engine)
        with pytest.raises(ValueError, match="changed in place after it was made"):
            ls.solve_batch(problem, "gd")
    again = ls.Problem(made[loss](), 3, 0.01)
    assert ls.certify(again, ls.solve(again, "lbfgs")).is_global is True


@pytest.mark.parametrize("shape", [(6, 4), (260, 250)])
@pytest.mark.parametrize(("copies", "rigorous"), [(1, True), (1, False), (2, False)])
@pytest.mark.parametrize("short", [1e-3, 1e-4, 1e-5, 1e-6, -1e-3, -1e-4, -1e-5, -1e-6])
def test_beside_an_optimum_of_rank_one_the_gap_is_of_second_order(short, copies, rigorous, shape):
    """At ``(1 - short) X*`` and the norm ``lam + g`` of G the bound is ``(g/(lam + g))^2 f``: 1.25 times the true gap.

    A norm that is larger by a share of ``g`` adds as much to it, and one of ``lam`` where ``g < 0`` all of ``g``: gaps
    had been 1e-6 of ``F`` for 1e-12.
    """
    rng = np.random.default_rng(8)
    P, Q = (np.linalg.qr(rng.standard_normal((size, 2)))[0] for size in shape)
    loss, root = Denoising((P * [3.0, 0.5]) @ Q.T), math.sqrt(2.0 * (1.0 - short)) * np.array([1.0, 0.0])
    A, B = P * root, Q * root
    problem, point = ls.Problem(loss, 2, 1.0), (A, B)
    if copies == 2:
        problem, point = MultiProblem(Separable([loss, loss]), 2, 1.0), ([A, A], [B, B])
    true = copies * 0.5 * (2.0 * short) ** 2
    assert true - 1e-14 <= certify(problem, point, rigorous=rigorous).gap <= 1.33 * true + 2e-12
