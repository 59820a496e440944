"""The certificate against true gaps: closed forms, brute force in one dimension, optima by another route."""

import copy
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from optima import OBJECTIVES, ROUNDING, optimum

import lorasolve as ls
from lorasolve._known import Known
from lorasolve.adapters import LoRA
from lorasolve.certificates import certify
from lorasolve.certificates.duality import duality_gap
from lorasolve.multi import MultiProblem, Separable
from lorasolve.objectives import Denoising, Huber, LinearFineTuning, Logistic, MatrixSensing, TwoLayer
from lorasolve.problem.blocks import OneBlock

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


METHODS = ["gd", "adam", "nesterov", "lbfgs", "gd_backtracking"]


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


@pytest.mark.parametrize("adapter", ["lora", "dora"])
@pytest.mark.parametrize("rigorous", [True, False])
def test_certificates_are_compared_by_value(adapter, rigorous):
    rng = np.random.default_rng(0)
    W0, Z = rng.standard_normal((4, 3)), rng.standard_normal((3, 9))
    objective = LinearFineTuning(W0, Z, rng.standard_normal((4, 9)))
    problem = ls.Problem(objective, 2, 0.1, adapter)
    X, other = rng.standard_normal((2, 4, 3))
    found = certify(problem, X, rigorous=rigorous)
    for same in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert same == found and same.parts == found.parts
    assert found != certify(problem, other, rigorous=rigorous) and found != found.value
