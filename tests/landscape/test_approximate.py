"""The gap of any point from restricted strong convexity, on a loss that is not convex and whose optimum is known."""

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import landscape
from lorasolve._known import Known
from lorasolve.landscape import strong_convexity
from lorasolve.landscape.constants import Constants, Provenance
from lorasolve.landscape.theorems import approximate_point
from lorasolve.multi import Separable

from .double_well import DoubleWell, factors_of

# inf of sin(2x)/x, at 2x = 4.4934: g'(x) x >= (1 + 2 inf) x^2 although g'' = 1 + 4 cos 2x falls to -3.
RSC = 1.0 + 4.0 * np.sin(4.493409457909064) / 4.493409457909064
CURVATURE = 5.0


class Wavy(ls.objectives.Objective):
    """``sum g(X_ij - C_ij) - lam <T, X>``, ``g(x) = x^2/2 + 1 - cos 2x``: not convex, and ``F`` is least at ``C``.

    ``T`` is a subgradient of the nuclear norm at ``C``, so ``lam ||X||_* - lam <T, X> >= 0`` with equality at ``C``.
    """

    has_hessian = True

    def __init__(self, C, T, lam, smoothness=CURVATURE):
        self.C, self.T, self.lam, self.shape = C, T, lam, C.shape
        self.smoothness = smoothness
        self.lower_bound = -lam * float(np.sum(T * C)) - 0.5 * lam**2 * float(np.sum(T * T))

    def value_and_grad(self, X):
        E = X - self.C
        f = float(np.sum(0.5 * E * E + 1.0 - np.cos(2.0 * E)) - self.lam * np.sum(self.T * X))
        return f, E + 2.0 * np.sin(2.0 * E) - self.lam * self.T

    def hessian_product(self, X, D):
        return (1.0 + 4.0 * np.cos(2.0 * (X - self.C))) * D


def wavy(seed, lam=0.2, rank=3, smoothness=CURVATURE):
    rng = np.random.default_rng(seed)
    P, Q = (np.linalg.qr(rng.standard_normal((n, 2)))[0] for n in (6, 5))
    f = Wavy((P * [3.0, 1.0]) @ Q.T, P @ Q.T, lam, smoothness)
    return f, ls.Problem(f, rank, lam)


def true_gap(problem, A, B):
    return problem.value(A, B) - problem.convex_value(problem.objective.C)


@pytest.mark.parametrize("lam", [0.0, 0.2])
@pytest.mark.parametrize("given", [True, False])
def test_the_gap_bounds_the_true_one_at_any_point_and_vanishes_at_the_optimum(lam, given):
    worst = 0.0
    for seed in range(60):
        f, problem = wavy(seed, lam)
        rng = np.random.default_rng(seed)
        size = 10.0 ** rng.uniform(-3.0, 0.5)
        P, s, Qt = np.linalg.svd(f.C)
        A, B = P[:, :3] * np.sqrt(s[:3] * [1, 1, 0]), Qt[:3].T * np.sqrt(s[:3] * [1, 1, 0])
        A, B = A + size * rng.standard_normal(A.shape), B + size * rng.standard_normal(B.shape)
        judged = landscape.verdict(problem, (A, B), f.C if given else None, Constants.exact(RSC, CURVATURE, 3))
        if lam == 0.0 and not given:
            assert all(found.theorem != "gap at approximate points" for found in judged.findings)
            continue
        found = next(found for found in judged.findings if found.theorem == "gap at approximate points")
        assert found.known is Known.CERTIFIED
        assert found.numbers["gap"] >= true_gap(problem, A, B) > 0.0
        assert found.numbers["distance"] >= np.linalg.norm(A @ B.T - f.C)
        assert judged.contradictions == ()
        worst = max(worst, true_gap(problem, A, B) / found.numbers["gap"])
    # Not vacuous: the factor max(1, 5/(2 alpha)) alone is 19.
    assert worst > 0.002 or (lam == 0.0 and not given)


def test_a_converged_point_of_a_non_convex_loss_is_global_without_its_minimizer():
    f, problem = wavy(1)
    assert np.linalg.eigvalsh(np.diag(f.hessian_product(f.C + np.pi / 2, np.ones(f.shape)).ravel()))[0] < 0.0
    result = ls.solve(problem, "lbfgs", "gaussian", stop=ls.StoppingRule(grad_tol=1e-11, max_iter=20_000))
    assert landscape.verdict(problem, result).kind == "inconclusive"
    judged = landscape.verdict(problem, result, constants=Constants.exact(RSC, CURVATURE, 3))
    assert (judged.kind, judged.basis) == ("global", "gap at approximate points")
    assert true_gap(problem, result.A, result.B) <= judged.findings[-1].numbers["gap"] <= 1e-5
    short = ls.solve(problem, "lbfgs", "gaussian", stop=ls.StoppingRule(max_iter=8))
    judged = landscape.verdict(problem, short, constants=Constants.exact(RSC, CURVATURE, 3))
    assert judged.kind == "not_converged"
    assert judged.findings[-1].conclusion == "bounded"
    assert "gap at approximate points [CERTIFIED]: bounded: L - F* <= " in str(judged)


def test_constants_that_do_not_reach_the_point_or_are_sampled_decide_nothing():
    _, problem = wavy(1)
    result = ls.solve(problem, "lbfgs", "gaussian", stop=ls.StoppingRule(grad_tol=1e-11, max_iter=20_000))
    for constants, holds in (
        (Constants.exact(RSC, CURVATURE, 2), True),  # of a lower rank
        (Constants.exact(RSC, CURVATURE, 3, radius=5.0), True),  # about an X* that is not known
        (Constants.exact(-1.0, CURVATURE, 3), False),
        (Constants.exact(0.0, CURVATURE, 3), False),
    ):
        judged = landscape.verdict(problem, result, constants=constants)
        assert judged.kind == "inconclusive"
        assert judged.findings == ()
        assert [premise.holds for premise in judged.premises if premise.id == "constants"] == [holds]
    how = {"rsc_high": Provenance(Known.SAMPLED, "x")}
    sampled = Constants(-3.0, 0.9, 1.0, 5.0, how, 3, np.inf, False)
    judged = landscape.verdict(problem, result, constants=sampled)
    assert judged.kind == "inconclusive"
    assert [found.known for found in judged.findings] == [Known.SAMPLED]
    assert [premise.holds for premise in judged.premises if premise.id == "constants"] == [None]
    (found,) = judged.findings
    assert found.conclusion == "global"
    # The curvature that the loss states, not one that is sampled beside sampled constants.
    assert found.numbers["gap"] == CURVATURE / (2.0 * 0.9) * found.numbers["T"] > 0.0


def test_a_gradient_whose_norm_was_searched_for_certifies_no_gap(monkeypatch):
    _, problem = wavy(1)
    short = ls.solve(problem, "lbfgs", "gaussian", stop=ls.StoppingRule(max_iter=8))
    found = []
    for exact in (True, False):
        monkeypatch.setattr(
            strong_convexity, "_norm_above", lambda G, exact=exact: (np.linalg.norm(G.to_dense(), 2), exact)
        )
        judged = landscape.verdict(problem, short, constants=Constants.exact(RSC, CURVATURE, 3))
        found.append(judged.findings[-1].known)
    assert found == [Known.CERTIFIED, Known.SAMPLED]


def test_one_gradient_of_two_whose_norm_was_searched_for_certifies_no_gap(monkeypatch):
    f, _ = wavy(1)
    pair = ls.MultiProblem(Separable([f, f]), 3, 0.2)
    A, B = np.random.default_rng(0).standard_normal((6, 3)), np.random.default_rng(1).standard_normal((5, 3))
    for answers, known in (([True, True], Known.CERTIFIED), ([True, False], Known.SAMPLED)):
        exact = iter(answers)
        monkeypatch.setattr(
            strong_convexity, "_norm_above", lambda G, exact=exact: (np.linalg.norm(G.to_dense(), 2), next(exact))
        )
        judged = landscape.verdict(
            pair, ((A, A), (B, B)), (f.C, f.C), [Constants.exact(RSC, CURVATURE, 3)] * 2, joint=True
        )
        assert judged.findings[-1].known is known


def test_without_a_bound_on_the_curvature_there_is_a_distance_and_no_gap():
    f, problem = wavy(1, smoothness=None)
    A, B = np.random.default_rng(0).standard_normal((6, 3)), np.random.default_rng(1).standard_normal((5, 3))
    judged = landscape.verdict(problem, (A, B), f.C, Constants.exact(RSC, CURVATURE, 3))
    found = judged.findings[-1]
    assert "gap" not in found.numbers
    assert found.conclusion == "bounded"
    assert found.numbers["distance"] >= np.linalg.norm(A @ B.T - f.C)


def test_false_constants_are_reported_as_a_contradiction():
    # Both minima of (x^2 - 1)^2 + 0.3 x are stationary, so that no alpha > 0 holds about the better one.
    f = DoubleWell()
    f.smoothness = 50.0
    problem = ls.Problem(f, 1)
    X_star = np.array([[f.minimum(-1)]])
    judged = landscape.verdict(problem, factors_of(f.minimum(1)), X_star, Constants.exact(1.0, 50.0, 1))
    assert judged.kind == "spurious"
    assert any("gap at approximate points says global" in text for text in judged.contradictions)


def test_constants_about_a_matrix_that_is_no_minimizer_decide_nothing():
    """At the worse minimum, with constants about a point from which a step leads lower, wherever they hold."""
    f = DoubleWell()
    f.smoothness, f.lower_bound = 50.0, -1.0
    problem = ls.Problem(f, 1, 0.01)
    at = factors_of(f.minimum(1, 0.01))
    assert problem.value(*factors_of(f.minimum(-1, 0.01))) < problem.value(*at) - 0.5
    judged = landscape.verdict(problem, at, np.array([[0.5]]), Constants.exact(1.0, 50.0, 1))
    assert [p.holds for p in judged.premises if p.id == "star_known"] == [False]
    assert judged.findings == () and judged.kind != "global"


class StarShaped:
    """``f'(x) = (x - 1)(x - 2)(x - 5) = x ((x - 4)^2 + 1) - 10``: ``alpha = 1`` about 0, which is no minimum."""

    shape = (1, 1)
    convex, smoothness, lower_bound = False, 17.0, -15.0  # f'' = 3 x^2 - 16 x + 17 in [-13/3, 17] on [0, 5]

    def value_and_grad(self, X):
        x = float(X[0, 0])
        return x**4 / 4 - 8 * x**3 / 3 + 17 * x**2 / 2 - 10 * x, (X - 1) * (X - 2) * (X - 5)

    def hessian_product(self, X, D):
        return (3 * X * X - 16 * X + 17) * D


def test_constants_of_the_whole_space_about_a_matrix_that_is_no_minimizer_decide_nothing():
    """The minimum at 1 was called global, beside the premise on X* that fails: the one at 5 is better by 10.7."""
    lam = 0.01
    worse, _, better = np.sort(np.roots([1.0, -8.0, 17.0, -10.0 + lam]).real)
    problem = ls.Problem(StarShaped(), 1, lam)
    assert problem.value(*factors_of(better)) < problem.value(*factors_of(worse)) - 10.0
    constants = Constants.exact(1.0, 17.0, 1, whole_space=True)
    judged = landscape.verdict(problem, factors_of(worse), np.zeros((1, 1)), constants)
    assert [p.holds for p in judged.premises if p.id == "star_known"] == [False]
    assert judged.findings == () and judged.kind == "inconclusive"


def test_by_hand():
    # T = 0.5 + 0.25 * 2 = 1, distance sqrt(1/0.25) = 2, gap max(1, 3/0.5) = 6.
    found = approximate_point(0.5, 0.25, 2.0, 0.25, 3.0, Known.CERTIFIED, 5.0)
    assert (found.conclusion, found.numbers["gap"], found.numbers["distance"]) == ("bounded", 6.0, 2.0)
    assert approximate_point(0.5, 0.25, 2.0, 0.25, 3.0, Known.CERTIFIED, 6.0).conclusion == "global"
    assert approximate_point(0.5, 0.25, 2.0, 0.25, 0.1, Known.CERTIFIED, 0.0).numbers["gap"] == 1.0
