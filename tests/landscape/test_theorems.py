"""Premises, both directions of the theorems, Theorem 2 and 3, the census; on problems with known answers."""

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import landscape
from lorasolve._known import Known
from lorasolve.landscape import judge
from lorasolve.landscape.constants import Constants, Provenance
from lorasolve.landscape.theorems import (
    APPROXIMATE,
    Spectra,
    corollary_1,
    joint_theorem_a,
    joint_theorem_b,
    theorem_1,
    theorem_2,
    theorem_3,
    theorem_a,
    theorem_b,
)
from lorasolve.multi import MultiObjective, Separable, TwoLayerPair


def spectra(**changes):
    """A point of rank 2 with singular values 1 and 0.5 at distance 1 from X* of rank 1 and norm 1."""
    fields = dict(
        r=2,
        r_star=1,
        values=np.array([1.0, 0.5]),
        distance=1.0,
        norm=math.sqrt(1.25),
        norm_star=1.0,
        outside=np.array([0.8]),
        delta=0.0,
        nu=0.0,
    )
    return Spectra(**(fields | changes))


def least(**changes):
    """X* itself, of rank 1, with factors of rank 2."""
    return spectra(**({"values": np.array([1.0, 0.0]), "norm": 1.0, "distance": 0.0} | changes))


def test_theorem_1_by_hand():
    # q = 2 alpha/beta = 0.25: ratio q sigma_1/sigma_2 = 0.5, tail 0.5, bound 0.5/sqrt(0.5) = 0.7071.
    found = theorem_1(spectra(), 1.0, 8.0, Known.CERTIFIED)
    assert found.conclusion == "not excluded"
    assert found.numbers["distance bound"] == pytest.approx(math.sqrt(0.5))
    assert theorem_1(spectra(distance=0.7), 1.0, 8.0, Known.CERTIFIED).conclusion == "inconclusive"
    assert theorem_1(spectra(), 1.0, 1.9, Known.CERTIFIED).conclusion == "inconclusive"
    # sigma_2/sigma_1 = 0.5 < q = 0.6, whatever the distance
    found = theorem_1(spectra(), 3.0, 10.0, Known.CERTIFIED)
    assert found.conclusion == "inconclusive" and "distance bound" not in found.numbers
    assert theorem_1(least(), 1.0, 8.0, Known.CERTIFIED).conclusion == "global"
    # Of X* = 0 any alpha > 0 makes the only second-order point.
    zero = spectra(r_star=0, outside=np.zeros(0), norm_star=0.0)
    assert theorem_1(zero, 1.0, 8.0, Known.CERTIFIED).conclusion == "inconclusive"
    assert (
        theorem_1(replace(zero, values=np.zeros(2), distance=0.0, norm=0.0), 1.0, 8.0, Known.CERTIFIED).conclusion
        == "global"
    )


class OneEntry:
    """``(X_11 - 1)^2/2``: every matrix with that entry is a minimizer, so no constant ``alpha > 0`` is true."""

    shape = (3, 3)

    def value_and_grad(self, X):
        G = np.zeros(self.shape)
        G[0, 0] = X[0, 0] - 1.0
        return 0.5 * G[0, 0] ** 2, G


def test_a_minimizer_that_is_not_the_given_one_is_not_called_global_by_theorems_that_say_it_is():
    """``E11`` and ``E11 + 3 E12`` are both minimizers of rank 1: by theorems with ``alpha > 0`` there is one."""
    e1, e2 = np.eye(3)[:, :1], np.eye(3)[:, 1:2]
    factors = np.hstack([e1, 0.0 * e1]), np.hstack([e1, 0.0 * e1])
    problem = ls.Problem(OneEntry(), 2, 0.0)
    stated = Constants.exact(1.0, 1.0, 2, source="false on purpose")
    other = e1 @ (e1 + 3.0 * e2).T
    for X_star in (e1 @ e1.T, other):
        judged = landscape.verdict(problem, factors, X_star, stated)
        assert judged.kind == "global" and judged.basis == "comparison"
        assert {f.theorem for f in judged.findings} >= {"Theorem 1", "Corollary 1", "Theorem A", APPROXIMATE}
        for found in judged.findings:
            accepted = {"inconclusive"} if X_star is other else {"global", "bounded"}
            assert found.conclusion in accepted, found.theorem
            assert found.text.endswith("so the premises cannot all hold") == (X_star is other)


@pytest.mark.parametrize("ulps", [-1, 0, 1])
@pytest.mark.parametrize("size", [1.0, 1.01, 4.0])
def test_no_theorem_concludes_anything_from_the_rounding_of_a_constant(size, ulps):
    """At ``r = r*`` and ``beta = 2 alpha`` no point is excluded: ``t = 1/size`` has to be ``>= 0/0``."""
    e1, e2 = np.eye(3)[:, :1], math.sqrt(size) * np.eye(3)[:, 1:2]
    point = Spectra.of(e2, e2, e1 @ e1.T, 1)
    rsc = 1.0 + ulps * np.finfo(float).eps
    for theorem in (theorem_1, theorem_a):
        assert theorem(point, rsc, 2.0, Known.CERTIFIED).conclusion == "not excluded"


@pytest.mark.parametrize("share", [0.5, 1e-3, 1e-9, 2.0**-52])
def test_the_distance_bound_of_theorem_3_is_the_root_of_its_quadratic(share):
    # c = 1 - share; the root >= 0 of share o^2 + 2 delta o = tail^2 - delta^2 - 2 sigma_{r*} nu, which is 0.11.
    point = spectra(delta=0.3, nu=0.025)
    found = theorem_3(point, 1.0, 4.0 / (1.0 - share), Known.CERTIFIED)
    root = Fraction(found.numbers["distance bound"])
    residual = (1 - Fraction(found.numbers["c"])) * root**2 + 2 * Fraction(0.3) * root
    assert float(residual) == pytest.approx(0.11, rel=1e-12)
    for nearer, conclusion in ((0.999, "inconclusive"), (1.001, "not excluded")):
        at = replace(point, distance=nearer * float(root))
        assert theorem_3(at, 1.0, 4.0 / (1.0 - share), Known.CERTIFIED).conclusion == conclusion


@pytest.mark.parametrize("distance", [0.0, 1e-6, 0.5, 3.0])
def test_no_theorem_calls_a_point_global_that_is_not_the_minimizer_it_is_told_of(distance):
    point = least(distance=distance)
    block = (point, 1.0, 1.5, Known.CERTIFIED)
    found = [statement(*block) for statement in (theorem_1, corollary_1, theorem_a)]
    found += [theorem_b(point, (1.0, 1.5), 1.5, Known.CERTIFIED), theorem_2([block])[0], joint_theorem_a([block])]
    found.append(theorem_3(replace(point, delta=1e-3, nu=1e-3), *block[1:]))
    assert {f.conclusion for f in found} == {"global" if distance < 1e-3 else "inconclusive"}


def test_theorem_b_by_hand():
    # r = 2, r* = 1: beta2 (beta - alpha) < 2 alpha beta sqrt 2; at alpha = 1, beta = 9 the limit is 18 sqrt 2/8.
    limit = 18.0 * math.sqrt(2.0) / 8.0
    assert theorem_b(spectra(), (1.0, 9.0), 0.999 * limit, Known.CERTIFIED).conclusion == "inconclusive"
    at_limit = theorem_b(spectra(), (1.0, 9.0), limit, Known.CERTIFIED)
    assert at_limit.conclusion == "not excluded" and f"beta2 = {limit:.6g} >= " in at_limit.text
    assert theorem_b(least(), (1.0, 9.0), 9.0, Known.CERTIFIED).conclusion == "global"
    # With beta2 = beta it is 1 + 2 sqrt 2, and with equal curvatures nothing is spurious.
    for kappa, conclusion in ((3.82, "inconclusive"), (3.83, "not excluded")):
        assert theorem_b(spectra(), (1.0, kappa), kappa, Known.CERTIFIED).conclusion == conclusion
    assert theorem_b(spectra(), (2.0, 2.0), 100.0, Known.CERTIFIED).conclusion == "inconclusive"


def test_the_joint_conditions_ask_every_matrix():
    """2 sqrt 2 for r = 2, r* = 1; curvatures in [1, 9] bound beta2 by 18 sqrt 2/8 = 3.18."""
    good, high, bad = ((spectra(), 1.0, rsm, Known.CERTIFIED) for rsm in (2.8, 3.0, 3.2))
    assert joint_theorem_a([good, good]).conclusion == "inconclusive"
    assert joint_theorem_a([good, high]).conclusion == "not excluded"
    assert joint_theorem_b([good, high], (1.0, 9.0), Known.CERTIFIED).conclusion == "inconclusive"
    found = joint_theorem_b([high, bad], (1.0, 9.0), Known.CERTIFIED)
    assert found.conclusion == "not excluded" and "matrix 2" in found.text
    # A matrix of rank below r cannot be the spurious one.
    deficient = (least(), 1.0, 100.0, Known.CERTIFIED)
    assert joint_theorem_a([good, deficient]).conclusion == "inconclusive"
    assert joint_theorem_a([deficient, deficient]).conclusion == "global"
    assert joint_theorem_a([good, (spectra(r_star=0), 1.0, 100.0, Known.CERTIFIED)]).conclusion == "inconclusive"
    assert joint_theorem_a([good, (spectra(), 1.0, 2.8, Known.SAMPLED)]).known is Known.SAMPLED


def test_corollary_1_by_hand():
    found = corollary_1(spectra(), 1.0, 8.0, Known.CERTIFIED)
    assert found.conclusion == "not excluded"
    assert found.vacuous == ("norm bound",)
    # X* = 0.1 short: the bound on the norm is 0.7071 - 0.1 and holds; at norm 0.5 it would be violated.
    bound = corollary_1(spectra(norm_star=0.1), 1.0, 8.0, Known.CERTIFIED)
    assert bound.numbers["norm bound"] == pytest.approx(math.sqrt(0.5) - 0.1)
    assert bound.vacuous == ()
    assert corollary_1(spectra(norm_star=0.1, norm=0.5), 1.0, 8.0, Known.CERTIFIED).conclusion == "inconclusive"


def test_theorem_a_by_hand():
    # c = 8, threshold 2 sqrt 2. t = 0.8/0.5 = 1.6 >= 1 and 1.6^2 - 8*1.6 + 2 < 0; annulus: 1 <= 8 * 0.5.
    assert theorem_a(spectra(), 1.0, 8.0, Known.CERTIFIED).conclusion == "not excluded"
    assert theorem_a(spectra(), 1.0, 2.8, Known.CERTIFIED).conclusion == "inconclusive"
    assert theorem_a(spectra(distance=4.1), 1.0, 8.0, Known.CERTIFIED).conclusion == "inconclusive"
    assert theorem_a(spectra(outside=np.array([])), 1.0, 8.0, Known.CERTIFIED).conclusion == "inconclusive"
    # t < 1 needs t >= a/((c - 2) k) = 1/6.
    assert theorem_a(spectra(outside=np.array([0.5 * 0.16])), 1.0, 8.0, Known.CERTIFIED).conclusion == "inconclusive"
    assert theorem_a(spectra(outside=np.array([0.5 * 0.17])), 1.0, 8.0, Known.CERTIFIED).conclusion == "not excluded"
    # t >= 1 needs t^2 - 8 t + 2 <= 0, so t <= 4 + sqrt 14.
    edge = 0.5 * (4.0 + math.sqrt(14.0))
    assert theorem_a(spectra(outside=np.array([edge * 1.001])), 1.0, 8.0, Known.CERTIFIED).conclusion == "inconclusive"
    assert theorem_a(spectra(outside=np.array([edge * 0.999])), 1.0, 8.0, Known.CERTIFIED).conclusion == "not excluded"


@pytest.mark.parametrize(("r", "r_star", "lam"), [(2, 1, 0.0), (2, 1, 0.3), (3, 2, 0.1), (4, 1, 0.1)])
def test_no_theorem_calls_a_point_of_rank_r_global_whose_gap_is_known(r, r_star, lam):
    """kappa < 2: special constants; the stationary point of rank r is a saddle, kappa r*/(kappa + 1) too high."""
    kappa = 1.9
    f = landscape.instances.sharp(r, r_star, r + r_star, r + r_star, kappa, lam)
    problem = ls.Problem(f, rank=r, lam=lam)
    A, B = f.stationary_factors()
    gap = problem.value(A, B) - problem.convex_value(f.X_star)
    assert gap == pytest.approx(kappa * r_star / (kappa + 1.0))
    point = Spectra.of(A, B, f.X_star, r_star)
    curvature = (1.0, kappa)
    found = [statement(point, 1.0, kappa, Known.CERTIFIED) for statement in (theorem_1, theorem_a)]
    found.append(theorem_b(point, curvature, kappa, Known.CERTIFIED))
    # Corollary 1 (i) asks for sigma_r <= (2 alpha/beta) sigma_{r*}, which equal values satisfy.
    found.append(corollary_1(point, 1.0, kappa, Known.CERTIFIED))
    block = (point, 1.0, kappa, Known.CERTIFIED)
    found += [theorem_2([block, block])[0], joint_theorem_a([block, block])]
    found.append(joint_theorem_b([block, block], curvature, Known.CERTIFIED))
    for finding in found:
        assert finding.conclusion == "inconclusive"
        assert f"of rank {r_star}, and this one has rank {r}, so the premises cannot all hold" in finding.text
    # The optimum itself has a column to spare, and is global by each of them.
    P, s, Qt = np.linalg.svd(f.X_star)
    root = np.sqrt(s[:r])
    best = Spectra.of(P[:, :r] * root, Qt[:r].T * root, f.X_star, r_star)
    least = (best, 1.0, kappa, Known.CERTIFIED)
    found = [statement(*least) for statement in (theorem_1, theorem_a, corollary_1)]
    found += [theorem_b(best, curvature, kappa, Known.CERTIFIED), joint_theorem_a([least, least])]
    found += [theorem_2([least, least])[0], joint_theorem_b([least, least], curvature, Known.CERTIFIED)]
    assert {finding.conclusion for finding in found} == {"global"}
    # One matrix at its optimum does not help the other: each is none that a spurious point has, and no point has both.
    whole, *single = theorem_2([least, block])
    assert whole.conclusion == "inconclusive"
    assert [finding.conclusion for finding in single] == ["excluded", "excluded"]
    assert all("premises" not in finding.text for finding in single)


def test_at_equal_ranks_the_special_regime_is_about_a_point_of_full_rank():
    """Denoising at r = r* = 1, alpha = beta: the soft-thresholded top triple is the optimum."""
    A = np.array([[math.sqrt(2.0)], [0.0]])
    best = Spectra.of(A, A, np.diag([2.0, 0.0]), 1)
    assert best.rank == best.r == best.r_star == 1
    assert theorem_1(best, 1.0, 1.0, Known.CERTIFIED).conclusion == "global"
    assert theorem_a(best, 1.0, 1.0, Known.CERTIFIED).conclusion == "global"


@pytest.mark.parametrize("seed", range(30))
def test_theorem_3_holds_at_optima_that_are_only_nearly_low_rank(seed):
    rng = np.random.default_rng(seed)
    m, n, r = 6, 5, 4
    M = rng.standard_normal((m, 2)) @ rng.standard_normal((2, n)) * 2.0 + 0.02 * rng.standard_normal((m, n))
    problem = ls.Problem(ls.objectives.Denoising(M), rank=r, lam=0.01)
    start = rng.standard_normal((m, r)), rng.standard_normal((n, r))
    result = ls.solve(problem, "lbfgs", init=start, stop=ls.StoppingRule(grad_tol=1e-10))
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    X_star = (P * np.maximum(s - 0.01, 0.0)) @ Qt
    point = Spectra.of(result.A, result.B, X_star, 2)
    assert point.delta > 0.0
    # The master inequality, on which the conclusions rest, with alpha = beta = 1.
    c = 2.0 * point.sigma_r_star / point.sigma_r
    left = (c - 1.0) * point.distance**2 - 2.0 * point.delta * point.distance
    assert left + point.tail**2 <= point.delta**2 + 2.0 * point.sigma_r_star * point.nu + 1e-9
    found = theorem_3(point, 1.0, 1.0, Known.CERTIFIED)
    assert found.conclusion in ("global", "eps-global")
    if found.conclusion == "eps-global":
        assert point.distance <= found.numbers["radius"]
        assert theorem_3(point, 1.0, 1.0, Known.CERTIFIED, eps=found.numbers["radius"] / 2).vacuous == ("radius",)


@pytest.mark.parametrize("rsm", [1.0, 8.0])
@pytest.mark.parametrize("tail", [0.3, 0.46, 0.48, 0.5])
def test_theorem_3_concludes_nothing_from_premises_that_contradict_each_other(tail, rsm):
    """Where no ``o`` satisfies the inequality of all second-order points, global ones too, or the measured one not."""
    c, delta, nu = 2.0 / (rsm * tail), 0.1, 0.1
    quadratic = np.poly1d([c - 1.0, -2.0 * delta, tail**2 - delta**2 - 2.0 * nu])
    for distance in (0.0, 0.01, 0.2, 0.25, 0.5, 5.0):
        point = spectra(values=np.array([1.0, tail]), delta=delta, nu=nu, distance=distance)
        found = theorem_3(point, 1.0, rsm, Known.CERTIFIED)
        assert (found.conclusion == "inconclusive") == (quadratic(distance) > 0.0)
        if c > 1.0 and found.conclusion != "inconclusive":
            assert found.numbers["radius"] == pytest.approx(max(quadratic.roots))
    # X = X* is no exception: the tail of X* is delta.
    same = spectra(values=np.array([1.0, delta]), delta=delta, nu=nu, distance=0.0)
    assert theorem_3(same, 1.0, rsm, Known.CERTIFIED).conclusion == "eps-global"


def test_theorem_3_about_zero_is_a_radius_that_the_best_matrix_of_rank_1_keeps():
    """``X* = diag(0.9, 0.4, 0.1)``, the point its best approximation of rank 1: sigma_r nu = 0.9 times 1.4."""
    problem = ls.Problem(ls.objectives.Denoising(np.diag([1.0, 0.5, 0.2])), rank=1, lam=0.1)
    A = np.array([[np.sqrt(0.9)], [0.0], [0.0]])
    (found,) = landscape.verdict(problem, (A, A), r_star=0).findings
    assert found.conclusion == "eps-global" and "r* = 0: within 1.13 of" in found.text  # 1.1225 rounded up
    assert found.numbers["radius"] == pytest.approx(math.sqrt(0.9 * 1.4), rel=1e-6)
    assert math.hypot(0.4, 0.1) <= found.numbers["radius"]
    point = Spectra.of(A, A, np.diag([0.9, 0.4, 0.1]), 0)
    assert theorem_3(point, 1.0, 4.0, Known.CERTIFIED).numbers["radius"] == pytest.approx(2.0 * math.sqrt(0.9 * 1.4))
    asked = theorem_3(point, 1.0, 1.0, Known.CERTIFIED, eps=1.0)
    assert asked.vacuous == ("radius",) and asked.numbers["eps"] == 1.0 and "eps" not in found.numbers
    assert theorem_3(replace(point, distance=1.13), 1.0, 1.0, Known.CERTIFIED).conclusion == "inconclusive"


def test_verdict_uses_theorem_3_when_asked_for_a_lower_rank():
    rng = np.random.default_rng(1)
    M = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5)) + 0.02 * rng.standard_normal((6, 5))
    problem = ls.Problem(ls.objectives.Denoising(M), rank=4, lam=0.001)
    result = ls.solve(problem, "lbfgs", stop=ls.StoppingRule(grad_tol=1e-10))
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    X_star = (P * np.maximum(s - 0.001, 0.0)) @ Qt
    judged = landscape.verdict(problem, result, X_star=X_star, r_star=2, eps=0.5, tol=1e-9)
    assert [f.theorem for f in judged.findings] == ["Theorem 3 (explicit constants)"]


def test_sampled_constants_never_decide():
    f = landscape.instances.sharp(2, 1, 4, 4, 5.0, 0.1)
    problem = ls.Problem(f, rank=2, lam=0.1)
    optimistic = Constants(-math.inf, 1.0, 1.5, math.inf, {"rsc_high": Provenance(Known.SAMPLED, "x")}, 2, 10.0, False)
    judged = landscape.verdict(problem, f.stationary_factors(), X_star=f.X_star, constants=optimistic)
    assert judged.kind == "spurious"
    assert {found.known for found in judged.findings} == {Known.SAMPLED}
    assert judged.findings[0].conclusion == "inconclusive"
    assert judged.contradictions == ()


@pytest.mark.parametrize("seed", range(5))
def test_constants_of_few_random_matrices_are_no_error(seed):
    """One matrix shows alpha <= 5 and beta >= 3, say, or 1 and 1 - 5e-12 where all curvatures are 1."""

    class Distance:
        shape = (4, 3)

        def value_and_grad(self, X):
            E = X - np.eye(4, 3, dtype=X.dtype) * [2.0, 1.5, 0.0]
            return 0.5 * float(np.sum(E * E)), E

    problem = ls.Problem(Distance(), rank=2, lam=0.5)
    A, B = (np.eye(size, 2) * np.sqrt([1.5, 1.0]) for size in (4, 3))
    constants = landscape.restricted_constants(problem.objective, A @ B.T, 2, 1.0, "sampled", samples=1, seed=seed)
    judged = landscape.verdict(problem, (A, B), X_star=A @ B.T, constants=constants)
    assert judged.kind == "global"
    assert {found.known for found in judged.findings} == {Known.SAMPLED}
    assert 1.0 <= judged.findings[0].numbers["2 alpha/beta"] <= 2.0  # alpha is at most beta


def test_certified_constants_that_are_false_are_reported_as_a_contradiction():
    f = landscape.instances.sharp(2, 1, 4, 4, 5.0, 0.1)
    problem = ls.Problem(f, rank=2, lam=0.1)
    false = Constants.exact(1.0, 1.5, 2, source="false on purpose")
    judged = landscape.verdict(problem, f.stationary_factors(), X_star=f.X_star, constants=false)
    assert judged.kind == "spurious"
    assert any("Theorem 1" in text for text in judged.contradictions)
    assert all("says global or no second-order point" in text for text in judged.contradictions)


def test_failed_premises_are_named_and_silence_the_theorems():
    f = landscape.instances.sharp(2, 1, 4, 4, 5.0, 0.1)
    problem = ls.Problem(f, rank=2, lam=0.1)
    for constants, name in [
        (Constants.exact(1.0, 5.0, 2, radius=0.5), "radius"),
        (Constants.exact(1.0, 5.0, 1, radius=9.0), "rank_of_constants"),
        (Constants.exact(-1.0, 5.0, 2), "constants"),
        (Constants.exact(0.0, 5.0, 2), "constants"),
    ]:
        judged = landscape.verdict(problem, f.stationary_factors(), X_star=f.X_star, constants=constants)
        assert judged.findings == ()
        assert next(p for p in judged.premises if p.id == name).holds is False


def test_a_search_that_may_have_missed_negative_curvature_establishes_no_premise(monkeypatch):
    f = landscape.instances.sharp(2, 1, 4, 4, 5.0, 0.1)
    problem = ls.Problem(f, rank=2, lam=0.1)
    search = judge.second_order_at
    for failure, holds in ((1e-12, True), (0.5, None)):
        short = lambda *arguments, p=failure: replace(search(*arguments), failure_probability=p)  # noqa: E731
        monkeypatch.setattr(judge, "second_order_at", short)
        judged = landscape.verdict(problem, f.stationary_factors(), X_star=f.X_star)
        assert [p.holds for p in judged.premises if p.id == "second_order"] == [holds]
        assert (judged.findings != ()) is (holds is True)


def test_a_theorem_needs_both_constants():
    f = landscape.instances.sharp(2, 1, 4, 4, 5.0, 0.1)
    problem = ls.Problem(f, rank=2, lam=0.1)
    half = replace(Constants.exact(1.0, 5.0, 2), rsm_high=math.inf)
    judged = landscape.verdict(problem, f.stationary_factors(), X_star=f.X_star, constants=half)
    assert [p.holds for p in judged.premises if p.id == "constants"] == [None]
    assert all(found.known is not Known.CERTIFIED for found in judged.findings)


def test_a_reference_that_is_no_minimizer_is_noticed():
    f = ls.objectives.TwoLayer.example(np.random.default_rng(0))
    problem = ls.Problem(f, rank=2, lam=0.01)
    result = ls.solve(problem, "lbfgs", stop=ls.StoppingRule(grad_tol=1e-9))
    judged = landscape.verdict(problem, result, X_star=np.zeros(f.shape))
    assert judged.kind == "inconclusive"
    assert "not a minimizer" in judged.reason


@pytest.mark.parametrize("several", [False, True])
def test_no_theorem_is_applied_with_a_reference_that_is_no_minimizer(several):
    M = 3.0 * np.random.default_rng(0).standard_normal((4, 3))
    f, lam = ls.objectives.Denoising(M), 0.5
    if several:
        problem = ls.MultiProblem(Separable([f, f]), ranks=1, lam=lam)
    else:
        problem = ls.Problem(f, rank=1, lam=lam)
    result = ls.solve(problem, "lbfgs", stop=ls.StoppingRule(grad_tol=1e-9))

    def convex_value(X):
        return 0.5 * np.sum((X - M) ** 2) + lam * np.linalg.svd(X, compute_uv=False).sum()

    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    least = convex_value((P * np.maximum(s - lam, 0.0)) @ Qt)
    reached = P[:, :1] * (s[0] - lam) @ Qt[:1]
    for X_star in (10.0 * np.ones((4, 3)), np.zeros((4, 3)), 0.9 * reached, reached):
        assert convex_value(X_star) > least + 2.0
        judged = landscape.verdict(problem, result, [X_star, np.zeros((4, 3))] if several else X_star)
        assert judged.kind == "inconclusive"
        assert judged.reason.startswith("X_star is not a minimizer")
        assert [p.holds for p in judged.premises if p.id == "star_known"] == [False]
        assert judged.findings == () and judged.spectra is None


def test_a_reference_is_refuted_where_the_point_itself_is_no_better():
    f = landscape.instances.sharp(2, 1, 4, 4, 5.0, 0.1)
    problem = ls.Problem(f, rank=2, lam=0.1)
    # Between the minimizer and the spurious point F is convex and rises.
    X_star = 0.5 * (f.X_star + f.X_spurious)
    assert problem.convex_value(f.X_star) < problem.convex_value(X_star) < problem.convex_value(f.X_spurious)
    judged = landscape.verdict(problem, f.stationary_factors(), X_star)
    assert judged.kind == "inconclusive"
    assert "a proximal gradient step from it is better" in judged.reason


def test_verdict_is_json_ready_and_prints():
    import json

    f = landscape.instances.sharp(2, 1, 4, 4, 5.0, 0.1)
    judged = landscape.verdict(ls.Problem(f, rank=2, lam=0.1), f.stationary_factors(), X_star=f.X_star)
    document = json.loads(json.dumps(judged.to_dict(), allow_nan=False))
    assert document["kind"] == "spurious"
    assert "Theorem A [CERTIFIED]" in str(judged)
    assert "vacuous: norm bound" in str(judged)


def test_census_finds_both_minima_of_the_two_measurements_and_only_the_global_one_at_rank_2():
    f = landscape.instances.two_by_two()
    found = landscape.census(ls.Problem(f, rank=1, lam=f.lam), 40, scales=(3.0,), seed=1)
    assert found.contradictions == []
    assert [p.kind for p in found.points] == ["global", "spurious"]
    assert found.points[0].value == pytest.approx(f.global_value, abs=1e-10)
    assert found.points[1].value == pytest.approx(f.spurious_value, abs=1e-10)
    assert sum(found.counts[3.0].values()) == 40
    found = landscape.census(ls.Problem(f, rank=2, lam=f.lam), 40, scales=(3.0,), seed=1)
    assert found.fraction("global") == {3.0: 1.0}


def test_a_census_starts_where_its_seed_and_scales_say():
    """Run k at scale j starts at ``scale_j`` times normal numbers of ``default_rng([seed, j, k])``, A before B."""
    seen = []

    class Watched:
        shape, convex, lower_bound = (3, 2), True, 0.0

        def value_and_grad(self, X):
            seen.append(X.copy())
            return 0.5 * float(np.sum((X - 1.0) ** 2)), X - 1.0

    found = landscape.census(ls.Problem(Watched(), rank=1, lam=0.1), 2, scales=(0.5, 3.0), seed=7)
    for j, scale in enumerate((0.5, 3.0)):
        for k in range(2):
            start = scale * np.random.default_rng([7, j, k]).standard_normal(5)
            assert any(np.allclose(X, np.outer(start[:3], start[3:]), rtol=1e-12, atol=0.0) for X in seen)
    # All ones, of rank one and norm sqrt 6, less lam: the one optimum, which all four runs reach.
    (point,) = found.points
    assert (point.kind, point.count, point.rank) == ("global", 4, 1)
    assert point.norm == pytest.approx(math.sqrt(6.0) - 0.1, rel=1e-6)
    assert repr(found).startswith("Census(4 runs, 1 distinct point: 4 global")


@pytest.mark.parametrize("unit", [1e-8, 1e8])
def test_ends_beside_zero_are_one_point_of_a_census_in_any_units(unit):
    problem = ls.Problem(ls.objectives.Denoising(unit * np.diag([3.0, 2.0])), 2, 3.5 * unit)
    found = landscape.census(problem, 4, scales=(math.sqrt(unit),), stop=ls.StoppingRule(grad_tol=1e-8))
    (point,) = found.points
    assert (point.kind, point.count) == ("global", 4) and point.norm < 1e-6 * unit


def test_a_census_solves_the_convex_problem_once_and_judges_each_end_as_a_verdict_does(monkeypatch):
    """Denoising at a rank below that of the optimum, whose ends need it; each verdict alone computes its own."""
    problem = ls.Problem(ls.objectives.MatrixSensing(np.eye(12).reshape(12, 4, 3), np.arange(12.0)), 1, 0.1)
    kinds = []
    for k in range(3):
        start = problem.split(np.random.default_rng([0, 0, k]).standard_normal(problem.size))[:2]
        stop = ls.StoppingRule(max_iter=20_000, grad_tol=1e-10)
        kinds.append(landscape.verdict(problem, ls.solve(problem, "lbfgs", init=start, stop=stop)).kind)
    asked = []

    def counted(*args, tol, **settings):
        asked.append(tol)
        return ls.solve_convex(*args, tol=tol, **settings)

    monkeypatch.setattr("lorasolve.landscape.minimizer.solve_convex", counted)
    counts = landscape.census(problem, 3, scales=(1.0,)).counts[1.0]
    assert asked and len(asked) == len(set(asked))
    assert {kind: count for kind, count in counts.items() if count} == Counter(kinds)


def separable(kappas, lam=0.1):
    parts = [landscape.instances.sharp(2, 1, 4, 3, kappa, lam) for kappa in kappas]
    return parts, ls.MultiProblem(Separable(parts), ranks=2, lam=lam)


def good_and_stationary(parts):
    """The minimizer of the first loss and the spurious point of the second."""
    A, B = parts[1].stationary_factors()
    return (parts[0].X_star[:, :2] * [1.0, 0.0], A), (np.eye(3, 2) * [1.0, 0.0], B)


def test_theorem_2_special_regime_and_one_spurious_block():
    parts, problem = separable((1.5, 1.9))
    constants = [Constants.exact(1.0, part.kappa, 2) for part in parts]
    stars = [part.X_star for part in parts]
    result = ls.solve(problem, "lbfgs", stop=ls.StoppingRule(grad_tol=1e-10))
    judged = landscape.verdict(problem, result, stars, constants)
    assert judged.kind == "global"

    parts, problem = separable((1.5, 4.5))
    constants = [Constants.exact(1.0, part.kappa, 2) for part in parts]
    stars = [part.X_star for part in parts]
    judged = landscape.verdict(problem, good_and_stationary(parts), stars, constants)
    assert judged.kind == "spurious"
    assert judged.contradictions == ()
    assert [(f.theorem, f.block, f.conclusion) for f in judged.findings] == [
        ("Theorem 2", None, "not excluded"),
        ("Theorem 2", 0, "excluded"),
        ("Theorem 2", 1, "not excluded"),
        ("Theorem A, joint", None, "not excluded"),
        ("Theorem B, joint", None, "not excluded"),
    ]
    assert next(p for p in judged.premises if p.id == "joint_inequality").holds is True

    parts, problem = separable((1.5, 3.0))
    assert landscape.verdict(problem, good_and_stationary(parts), stars).kind == "saddle"


def test_false_constants_of_several_matrices_are_reported_as_a_contradiction():
    parts, problem = separable((1.5, 4.5))
    false = [Constants.exact(1.0, 1.5, 2, source="false on purpose") for _ in parts]
    judged = landscape.verdict(problem, good_and_stationary(parts), [part.X_star for part in parts], false)
    assert judged.kind == "spurious"
    assert any("Theorem 2 says global" in text for text in judged.contradictions)


class Coupled(MultiObjective):
    """The loss at which Theorem 2 with the constants of each diagonal block fails; ``kappa = 4``."""

    shapes = ((2, 2), (1, 1))
    convex, lower_bound = True, 0.0
    g = math.sqrt(0.75)
    N = np.diag([1.0, -1.0]) / math.sqrt(2.0)
    E11 = np.diag([1.0, 0.0])

    def __init__(self, least_squares=False):
        self.least_squares = least_squares

    def value_and_grad(self, X):
        E, y = X[0] - self.E11, float(X[1][0, 0]) - 3.0
        c = float(np.sum(self.N * E))
        f = 0.5 * float(np.sum(E * E)) + 0.5 * y * y + self.g * c * y
        return f, (E + self.g * y * self.N, np.array([[y + self.g * c]]))

    def trap(self):
        """``X1 = (3/5) E22`` and the best ``x2`` for it."""
        x = 3.0 + self.g * 1.6 / math.sqrt(2.0)  # <N, X1 - E11> = -(1 + 3/5)/sqrt 2
        e2 = np.array([[0.0], [math.sqrt(0.6)]])
        return (e2, np.array([[math.sqrt(x)]])), (e2, np.array([[math.sqrt(x)]]))


@pytest.mark.parametrize("least_squares", [False, True])
def test_constants_of_each_matrix_do_not_apply_to_the_whole(least_squares):
    problem = ls.MultiProblem(Coupled(least_squares), ranks=1)
    stars = (Coupled.E11, np.array([[3.0]]))
    A, B = problem.objective.trap()
    assert problem.value(A, B) == pytest.approx(0.2, rel=1e-12)
    H = hessian_of(problem, problem.join(A, B))
    assert np.linalg.eigvalsh(H)[0] > -1e-7  # second-order stationary, by differences of gradients
    each = [Constants.exact(1.0, 1.0, 1, whole_space=True, source="diagonal block")] * 2
    judged = landscape.verdict(problem, (A, B), stars, each)
    assert judged.kind == "spurious"
    assert judged.second_order.is_sosp
    premise = next(p for p in judged.premises if p.id == "joint_inequality")
    assert premise.holds is None
    assert judged.findings == ()
    assert judged.contradictions == ()
    text = str(judged)
    assert "premise joint inequality of the alpha_l: unknown" in text
    assert "Theorem 2" not in text
    # The constants that least squares has jointly are the ends of the joint Hessian, 1 - g and 1 + g.
    if least_squares:
        judged = landscape.verdict(problem, (A, B), stars)
        ends = pytest.approx((1 - 0.75**0.5, 1 + 0.75**0.5))
        assert [(c.rsc_low, c.rsm_high) for c in judged.constants] == [ends, ends]
        assert next(p for p in judged.premises if p.id == "joint_inequality").holds is True
        assert [f.conclusion for f in judged.findings] == ["not excluded"] * 5
        assert [f.theorem for f in judged.findings][3:] == ["Theorem A, joint", "Theorem B, joint"]
        assert judged.contradictions == ()
    # Stated by the caller it is believed, and the theorem that rests on it contradicts the point.
    assert landscape.verdict(problem, (A, B), stars, each, joint=True).contradictions


def hessian_of(problem, theta):
    columns = []
    for unit in 1e-5 * np.eye(theta.size):
        plus, minus = np.empty_like(theta), np.empty_like(theta)
        problem.value_and_grad(theta + unit, plus)
        problem.value_and_grad(theta - unit, minus)
        columns.append((plus - minus) / 2e-5)
    H = np.array(columns)
    return 0.5 * (H + H.T)


def test_two_adapted_layers_are_judged_at_second_order():
    rng = np.random.default_rng(0)
    shapes = ((4, 3), (2, 4), (3, 12), (2, 12))
    problem = ls.MultiProblem(TwoLayerPair(*(rng.standard_normal(shape) for shape in shapes)), ranks=2, lam=0.05)
    result = ls.solve(problem, "lbfgs", init="gaussian", stop=ls.StoppingRule(grad_tol=1e-9))
    judged = landscape.verdict(problem, result)
    assert judged.kind == "inconclusive"
    assert judged.second_order.is_sosp
    zeros = [np.zeros((m, 2)) for m, _ in problem.shapes], [np.zeros((n, 2)) for _, n in problem.shapes]
    assert landscape.verdict(problem, zeros).kind == "saddle"
    left = landscape.escape(problem, tuple(zeros))
    assert landscape.verdict(problem, left).kind == "inconclusive"
    assert left.fun < problem.value(*zeros)


def test_a_computed_optimum_of_too_high_a_rank_is_computed_again(monkeypatch):
    """The first one gets a little of a direction that the optimum does not have, as rough optima may."""
    import dataclasses

    solve, asked = ls.solve_convex, []

    def rough(problem, route, tol, start):
        assert (start is None) == (not asked)
        asked.append(tol)
        found = solve(problem, route=route, tol=tol, start=start)
        if len(asked) > 1:
            return found
        more = [
            tuple(np.hstack([factor, np.eye(len(factor), 3)[:, -2:] * 2e-3]) for factor in side)
            for side in (found.A, found.B)
        ]
        return dataclasses.replace(found, A=more[0], B=more[1])

    monkeypatch.setattr("lorasolve.landscape.minimizer.solve_convex", rough)
    parts, problem = separable((1.5, 4.5))
    judged = landscape.verdict(problem, good_and_stationary(parts))
    assert judged.kind == "spurious" and len(asked) == 2 and asked[1] < asked[0]


def test_several_matrices_get_what_one_matrix_gets():
    """A computed X*, a certified gap without decay, a JSON document: each against its closed form."""
    import json

    parts, problem = separable((1.5, 4.5))
    point = good_and_stationary(parts)
    judged = landscape.verdict(problem, point)
    assert judged.kind == "spurious"
    computed = judged.spectra[1]
    assert computed.norm_star == pytest.approx(float(np.linalg.norm(parts[1].X_star)), rel=1e-4)
    json.dumps(judged.to_dict(), allow_nan=False)
    assert judged.to_dict()["premises"][2]["id"] == "star_known"

    rng = np.random.default_rng(0)
    targets = [rng.standard_normal((4, 2)) @ rng.standard_normal((2, 3)) for _ in range(2)]
    problem = ls.MultiProblem(Separable([ls.objectives.Denoising(M) for M in targets]), ranks=2)
    result = ls.solve(problem, "lbfgs", stop=ls.StoppingRule(grad_tol=1e-9))
    judged = landscape.verdict(problem, result)
    assert (judged.kind, judged.basis) == ("global", "certificate")


def test_bad_arguments_of_several_matrices_are_named():
    parts, problem = separable((1.5, 4.5))
    point = good_and_stationary(parts)
    with pytest.raises(ValueError, match="constants: expected 2 Constants, one for each matrix"):
        landscape.verdict(problem, point, constants=Constants.exact(1.0, 2.0, 2))
    with pytest.raises(ValueError, match="X_star: expected 2 arrays, one for each matrix, got 1 entries"):
        landscape.verdict(problem, point, X_star=[parts[0].X_star])
    with pytest.raises(ValueError, match="r_star: Theorem 3 works on one matrix, and this problem has 2"):
        landscape.verdict(problem, point, r_star=1)


def test_what_needs_one_matrix_says_so_and_a_census_does_not():
    parts, problem = separable((1.5, 4.5))
    result = ls.solve(problem, "lbfgs", stop=ls.StoppingRule(grad_tol=1e-9))
    for name, call in {
        "compare": lambda: ls.compare(problem, ["gd"]),
        "save_result": lambda: ls.io.save_result("unused.npz", problem, result, {}),
        "solve_batch": lambda: ls.solve_batch([problem]),
    }.items():
        with pytest.raises(ValueError, match=f"{name}: works on one matrix, and this problem has 2"):
            call()
    zero = sum(part.value_and_grad(np.zeros(part.shape))[0] for part in parts)
    Sure = type("Sure", (Separable,), {"facts": Separable(parts).facts.replace(lower_bound=0.0)})
    assert landscape.magnitude_bound(problem.replace(objective=Sure(parts))) == pytest.approx(zero / 0.1)
    found = landscape.census(problem, 6, scales=(0.1,))
    assert found.contradictions == []
    assert found.fraction("global")[0.1] > 0.0
    best = found.points[0]
    assert best.norm == pytest.approx(math.hypot(*(np.linalg.norm(part.X_star) for part in parts)), rel=1e-5)
    assert [X.shape for X in best.X] == [(4, 3), (4, 3)]
