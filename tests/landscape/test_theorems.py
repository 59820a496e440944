"""Premises, both directions of the theorems, Theorem 2 and 3, the census; on problems with known answers."""

import math

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import landscape
from lorasolve._known import Known
from lorasolve.landscape._canonical import canonical
from lorasolve.landscape.constants import Constants, Evidence
from lorasolve.landscape.theorems import Spectra, corollary_1, theorem_1, theorem_3, theorem_a
from lorasolve.multi import MultiObjective


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


def test_theorem_1_by_hand():
    # q = 2 alpha/beta = 0.25: ratio q sigma_1/sigma_2 = 0.5, tail 0.5, bound 0.5/sqrt(0.5) = 0.7071.
    found = theorem_1(spectra(), 1.0, 8.0, Known.CERTIFIED)
    assert found.conclusion == "not excluded"
    assert found.numbers["distance bound"] == pytest.approx(math.sqrt(0.5))
    assert theorem_1(spectra(distance=0.7), 1.0, 8.0, Known.CERTIFIED).conclusion == "global"
    assert theorem_1(spectra(), 1.0, 1.9, Known.CERTIFIED).conclusion == "global"
    # sigma_2/sigma_1 = 0.5 < q = 0.6
    assert theorem_1(spectra(), 3.0, 10.0, Known.CERTIFIED).conclusion == "global"
    assert theorem_1(spectra(values=np.array([1.0, 0.0])), 1.0, 8.0, Known.CERTIFIED).conclusion == "global"


def test_corollary_1_by_hand():
    found = corollary_1(spectra(), 1.0, 8.0, Known.CERTIFIED)
    assert found.conclusion == "not excluded"
    assert found.vacuous == ("norm bound",)
    # X* = 0.1 short: the bound on the norm is 0.7071 - 0.1 and holds; at norm 0.5 it would be violated.
    bound = corollary_1(spectra(norm_star=0.1), 1.0, 8.0, Known.CERTIFIED)
    assert bound.numbers["norm bound"] == pytest.approx(math.sqrt(0.5) - 0.1)
    assert bound.vacuous == ()
    assert corollary_1(spectra(norm_star=0.1, norm=0.5), 1.0, 8.0, Known.CERTIFIED).conclusion == "global"


def test_theorem_a_by_hand():
    # c = 8, threshold 2 sqrt 2. t = 0.8/0.5 = 1.6 >= 1 and 1.6^2 - 8*1.6 + 2 < 0; annulus: 1 <= 8 * 0.5.
    assert theorem_a(spectra(), 1.0, 8.0, Known.CERTIFIED).conclusion == "not excluded"
    assert theorem_a(spectra(), 1.0, 2.8, Known.CERTIFIED).conclusion == "global"
    assert theorem_a(spectra(distance=4.1), 1.0, 8.0, Known.CERTIFIED).conclusion == "global"
    assert theorem_a(spectra(outside=np.array([])), 1.0, 8.0, Known.CERTIFIED).conclusion == "global"
    # t < 1 needs t >= a/((c - 2) k) = 1/6.
    assert theorem_a(spectra(outside=np.array([0.5 * 0.16])), 1.0, 8.0, Known.CERTIFIED).conclusion == "global"
    assert theorem_a(spectra(outside=np.array([0.5 * 0.17])), 1.0, 8.0, Known.CERTIFIED).conclusion == "not excluded"
    # t >= 1 needs t^2 - 8 t + 2 <= 0, so t <= 4 + sqrt 14.
    edge = 0.5 * (4.0 + math.sqrt(14.0))
    assert theorem_a(spectra(outside=np.array([edge * 1.001])), 1.0, 8.0, Known.CERTIFIED).conclusion == "global"
    assert theorem_a(spectra(outside=np.array([edge * 0.999])), 1.0, 8.0, Known.CERTIFIED).conclusion == "not excluded"


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
    point = Spectra.of(canonical(problem, result.A, result.B), X_star, 2)
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
    optimistic = Constants(-math.inf, 1.0, 1.5, math.inf, {"alpha_high": Evidence(Known.SAMPLED, "x")}, 2, 10.0, False)
    judged = landscape.verdict(problem, f.stationary_factors(), X_star=f.X_star, constants=optimistic)
    assert judged.kind == "spurious"
    assert {found.known for found in judged.findings} == {Known.SAMPLED}
    assert judged.findings[0].conclusion == "global"
    assert judged.contradictions == ()


def test_certified_constants_that_are_false_are_reported_as_a_contradiction():
    f = landscape.instances.sharp(2, 1, 4, 4, 5.0, 0.1)
    problem = ls.Problem(f, rank=2, lam=0.1)
    false = Constants.exact(1.0, 1.5, 2, source="false on purpose")
    judged = landscape.verdict(problem, f.stationary_factors(), X_star=f.X_star, constants=false)
    assert judged.kind == "spurious"
    assert any("Theorem 1" in text for text in judged.contradictions)


def test_failed_premises_are_named_and_silence_the_theorems():
    f = landscape.instances.sharp(2, 1, 4, 4, 5.0, 0.1)
    problem = ls.Problem(f, rank=2, lam=0.1)
    for constants, name in [
        (Constants.exact(1.0, 5.0, 2, radius=0.5), "within the radius D"),
        (Constants.exact(1.0, 5.0, 1, radius=9.0), "constants hold at rank r"),
        (Constants.exact(-1.0, 5.0, 2), "alpha > 0 and beta < inf"),
    ]:
        judged = landscape.verdict(problem, f.stationary_factors(), X_star=f.X_star, constants=constants)
        assert judged.findings == ()
        assert next(p for p in judged.premises if p.name == name).holds is False


def test_a_reference_that_is_no_minimizer_is_noticed():
    f = ls.objectives.TwoLayer.example(np.random.default_rng(0))
    problem = ls.Problem(f, rank=2, lam=0.01)
    result = ls.solve(problem, "lbfgs", stop=ls.StoppingRule(grad_tol=1e-9))
    judged = landscape.verdict(problem, result, X_star=np.zeros(f.shape))
    assert judged.kind == "inconclusive"
    assert "not a minimizer" in judged.reason


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


class Separable(MultiObjective):
    """A sum of losses of one matrix each."""

    convex = True
    lower_bound = None

    def __init__(self, parts):
        self.parts = parts
        self.shapes = tuple(part.shape for part in parts)

    def value_and_grad(self, X):
        answers = [part.value_and_grad(x) for part, x in zip(self.parts, X)]
        return sum(f for f, _ in answers), tuple(G for _, G in answers)

    def hessian_product(self, X, D):
        return tuple(part.hessian_product(x, d) for part, x, d in zip(self.parts, X, D))


def separable(kappas, lam=0.1):
    parts = [landscape.instances.sharp(2, 1, 4, 3, kappa, lam) for kappa in kappas]
    return parts, ls.MultiProblem(Separable(parts), ranks=2, lam=lam)


def test_theorem_2_special_regime_and_one_spurious_block():
    parts, problem = separable((1.5, 1.9))
    constants = [Constants.exact(1.0, part.kappa, 2) for part in parts]
    stars = [part.X_star for part in parts]
    result = problem.solve("lbfgs", stop=ls.StoppingRule(grad_tol=1e-10))
    judged = landscape.verdict_multi(problem, result, stars, constants)
    assert judged.kind == "global"

    parts, problem = separable((1.5, 4.5))
    constants = [Constants.exact(1.0, part.kappa, 2) for part in parts]
    stars = [part.X_star for part in parts]
    first = parts[0]
    good = (first.X_star[:, :2] * [1.0, 0.0], np.eye(3, 2) * [1.0, 0.0])
    judged = landscape.verdict_multi(problem, [good, parts[1].stationary_factors()], stars, constants)
    assert judged.kind == "spurious"
    assert judged.contradictions == ()
    assert [f.conclusion for f in judged.blocks] == ["global", "not excluded"]
    assert judged.conclusion == "not excluded"

    parts, problem = separable((1.5, 3.0))
    judged = landscape.verdict_multi(problem, [good, parts[1].stationary_factors()], stars)
    assert judged.kind == "saddle"


def test_two_adapted_layers_are_judged_at_second_order():
    rng = np.random.default_rng(0)
    shapes = ((4, 3), (2, 4), (3, 12), (2, 12))
    from lorasolve.multi import TwoLayerPair

    problem = ls.MultiProblem(TwoLayerPair(*(rng.standard_normal(shape) for shape in shapes)), ranks=2, lam=0.05)
    result = problem.solve("lbfgs", init="gaussian", stop=ls.StoppingRule(grad_tol=1e-9))
    judged = landscape.verdict_multi(problem, result)
    assert judged.kind == "inconclusive"
    assert judged.second_order.is_sosp
    zeros = [(np.zeros((m, 2)), np.zeros((n, 2))) for m, n in problem.shapes]
    assert landscape.verdict_multi(problem, zeros).kind == "saddle"
