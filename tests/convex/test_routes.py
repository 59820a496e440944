"""Independent routes to one optimum: closed form, cvxpy, proximal gradient, factors."""

import json
import math
import re
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from cvxpy.reductions.solvers.solving_chain import SolvingChain
from quartic import Quartic
from tails import Tails

import lorasolve as ls
from lorasolve._support import time_limit
from lorasolve.adapters import DoRA, LoRA
from lorasolve.certificates import Bound, spot_checks
from lorasolve.checks import readiness
from lorasolve.convex import ConvexRoute, Solution, registry
from lorasolve.convex.cvxpy import Cvxpy
from lorasolve.convex.factored import Factored
from lorasolve.convex.prox import Prox
from lorasolve.low_rank import balanced
from lorasolve.multi import MultiProblem, Separable
from lorasolve.objectives import Denoising, Huber, LinearFineTuning, MatrixCompletion, Objective, Softmax, TwoLayer
from lorasolve.objectives import registry as objective_registry


def example(name, dtype="float64", seed=0):
    cls, rng = objective_registry.classes()[name], np.random.default_rng(seed)
    return cls.example(rng) if dtype == "float64" else cls.example(rng, np.dtype(dtype))


# What the routes ask of an objective.
CONVEX = [
    name
    for name, cls in objective_registry.classes().items()
    if {"tested", "certified"} <= {check.name for check in readiness(cls).checks if check.holds}
]
IN_TYPES = [(name, dtype) for name in CONVEX for dtype in objective_registry.classes()[name].dtypes]


def gradient_norm_at_zero(objective):
    return float(np.linalg.norm(objective.in_float64().value_and_grad(np.zeros(objective.shape))[1], 2))


def problem_of(objective, part, **options):
    return ls.Problem(objective, 1, part * gradient_norm_at_zero(objective), **options)


def test_the_routes_and_objectives_are_all_there():
    assert set(registry.classes()) >= {"closed_form", "cvxpy", "factored", "prox"}
    assert {"completion", "denoising", "huber", "linear", "logistic", "sensing", "softmax"} <= set(CONVEX)


# ---------------------------------------------------------------------- agreement
def require_expression(problem):
    """Skip where the objective does not claim a cvxpy expression, so that cvxpy is no route."""
    reason = Cvxpy().refusal(problem)
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.parametrize(("name", "dtype"), IN_TYPES)
@pytest.mark.parametrize("part", [0.7, 0.2, 1e-2])
def test_the_routes_agree(name, part, dtype):
    problem = problem_of(example(name, dtype), part)
    require_expression(problem)
    found = {route: ls.solve_convex(problem, route) for route in ("factored", "prox", "cvxpy")}
    values = {route: result.fun for route, result in found.items()}
    for route in ("factored", "prox"):
        assert found[route].status == "certified" and found[route].relative_gap <= 1e-9
        assert values[route] == pytest.approx(values["cvxpy"], rel=1e-8)
        assert values[route] <= values["cvxpy"] * (1 + 1e-9)
    # Evaluated anew on the dense level in float64.
    wide = problem.replace(objective=problem.objective.in_float64())
    for result in found.values():
        assert result.fun == pytest.approx(wide.convex_value(result.X), rel=1e-11)
        assert result.fun - result.gap <= min(values.values()) * (1 + 1e-12)


@pytest.mark.parametrize("name", CONVEX)
def test_nearly_no_decay(name):
    """At full rank, near the minimum of f: the relative gap is then at the limit of double precision."""
    problem = problem_of(example(name), 1e-4)
    require_expression(problem)
    factored = ls.solve_convex(problem, "factored", 1e-8)
    assert factored.success
    cvxpy = ls.solve_convex(problem, "cvxpy")
    assert factored.fun <= cvxpy.fun * (1 + 1e-7)
    assert factored.certificate.dual_value <= cvxpy.fun * (1 + 1e-12)


@pytest.mark.parametrize("name", CONVEX)
@pytest.mark.parametrize("route", ["factored", "prox"])
def test_so_much_decay_that_the_optimum_is_zero(name, route):
    objective = example(name)
    result = ls.solve_convex(problem_of(objective, 1.001), route)
    assert result.success and result.rank == 0
    np.testing.assert_array_equal(result.X, np.zeros(objective.shape))
    assert result.fun == pytest.approx(objective.value_and_grad(np.zeros(objective.shape))[0], rel=1e-14)
    assert ls.solve_convex(problem_of(objective, 0.99), route).rank >= 1


@pytest.mark.parametrize("part", [0.9, 0.3, 0.01])
def test_denoising_is_soft_thresholding_by_every_route(part):
    M = np.random.default_rng(1).standard_normal((9, 5))
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    lam = part * s[0]
    kept = np.maximum(s - lam, 0.0)
    value = 0.5 * np.sum(np.minimum(s, lam) ** 2) + lam * kept.sum()
    for route in registry.classes():
        result = ls.solve_convex(ls.Problem(Denoising(M), 2, lam), route)
        assert result.fun == pytest.approx(value, rel=1e-8)
        np.testing.assert_allclose(result.X, (P * kept) @ Qt, atol=2e-4 * s[0])
        assert result.rank >= np.count_nonzero(kept)


def test_a_closed_form_is_preferred_and_exact():
    M = np.random.default_rng(2).standard_normal((7, 6))
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    result = ls.solve_convex(ls.Problem(Denoising(M), 2, 0.8))
    assert (result.route, result.status) == ("closed_form", "closed form")
    np.testing.assert_allclose(result.X, (P * np.maximum(s - 0.8, 0)) @ Qt, atol=1e-13)
    plain = ls.solve_convex(ls.Problem(Denoising(M), 2, 0.0))
    np.testing.assert_allclose(plain.X, (P[:, :2] * s[:2]) @ Qt[:2], atol=1e-13)
    assert plain.success
    assert ls.solve_convex(ls.Problem(example("softmax"), 2, 0.05)).route == "factored"


@pytest.mark.parametrize("samples", [3, 12])
def test_reduced_rank_regression_is_the_limit_of_many_descents(samples):
    rng = np.random.default_rng(3)
    W0, Z, Y = (rng.standard_normal(size) for size in ((5, 4), (4, samples), (5, samples)))
    problem = ls.Problem(LinearFineTuning(W0, Z, Y), 2, 0.0)
    base = ls.solve_convex(problem)
    assert base.route == "closed_form" and base.success and base.rank <= 2
    stop = ls.StoppingRule(grad_tol=1e-13)
    reached = min(ls.solve(problem, "lbfgs", init="gaussian", seed=seed, stop=stop).fun for seed in range(5))
    scale = problem.objective.f0
    assert abs(base.fun - reached) <= 1e-8 * scale


@pytest.mark.parametrize("route", ["factored", "prox", "cvxpy"])
def test_the_adapters_scale_divides_the_decay(route):
    objective = example("softmax")
    scaled = ls.Problem(objective, 2, 0.06, LoRA(alpha=6.0))  # s = 3
    plain = ls.Problem(objective, 2, 0.02)
    assert scaled.lam_effective == pytest.approx(0.02)
    first, second = ls.solve_convex(scaled, route), ls.solve_convex(plain, route)
    assert first.fun == pytest.approx(second.fun, rel=1e-9)
    np.testing.assert_allclose(first.X, second.X, atol=1e-4)


def test_the_rank_of_the_problem_plays_no_part():
    objective = example("sensing")
    one, four = (ls.solve_convex(ls.Problem(objective, r, 0.3)) for r in (1, 4))
    assert one.fun == four.fun and one.rank == four.rank > 1


# ---------------------------------------------------------------------- shapes
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (300, 3), (3, 300)])
@pytest.mark.parametrize("route", ["factored", "prox"])
def test_extreme_shapes(shape, route):
    rng = np.random.default_rng(4)
    objective = Huber(3 * rng.standard_normal(shape), 1.0)
    problem = problem_of(objective, 0.3)
    result = ls.solve_convex(problem, route)
    assert result.success and result.relative_gap <= 1e-9
    if shape == (1, 1):
        # h'(x - m) + lam sign(x) = 0 with lam < h'(m): clipped at delta, so x = m - lam if |m| > lam, |m| <= 1.
        m = objective.M[0, 0]
        assert result.X[0, 0] == pytest.approx(np.sign(m) * max(abs(m) - problem.lam, 0.0), abs=1e-6)


class Far:
    """``||X - c||^2 / 2``."""

    shape, convex, lower_bound = (5, 4), True, 0.0

    def __init__(self, c):
        self.c = c

    def value_and_grad(self, X):
        return 0.5 * float(np.vdot(X - self.c, X - self.c)), X - self.c


@pytest.mark.parametrize(("unit", "value"), [(1e76, "1.54e+305"), (1e78, "inf")])
def test_gradients_whose_squares_overflow_at_the_first_step_are_told_by_the_value_that_they_have(unit, value):
    loss = Quartic((5, 4))
    loss.M *= unit
    with pytest.raises(ValueError, match=re.escape(f"f(0) = {value}, and squares of such values overflow")) as raised:
        ls.solve_convex(ls.Problem(loss, 4, 0.1 * unit), "factored")
    assert "give the data other units" in str(raised.value)


@pytest.mark.parametrize(("c", "words"), [(1e153, "squares of these values overflow"), (1e200, "f overflows")])
def test_a_loss_whose_values_overflow_is_named(c, words):
    found = ls.solve_convex(ls.Problem(Far(c), 2, 0.1 * c))
    assert not found.success
    assert words in found.message and "give the data other units" in found.message


def test_prox_ends_where_f_is_no_number():
    """It looked for a step without end."""
    found = ls.solve_convex(ls.Problem(Far(1e308), 2, 0.1), "prox")
    assert not found.success and "give the data other units" in found.message


@pytest.mark.parametrize("shape", [(600, 450), (450, 600)])
def test_prox_beyond_the_limit_of_full_svds(shape):
    rng = np.random.default_rng(5)
    M = rng.standard_normal((shape[0], 2)) @ rng.standard_normal((2, shape[1])) + 0.1 * rng.standard_normal(shape)
    s = np.linalg.svd(M, compute_uv=False)
    lam = 20.0
    value = 0.5 * np.sum(np.minimum(s, lam) ** 2) + lam * np.maximum(s - lam, 0.0).sum()
    result = ls.solve_convex(ls.Problem(Denoising(M), 1, lam), "prox")
    assert result.success and result.rank == 2
    assert result.fun == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("route", ["factored", "prox", "cvxpy"])
def test_rank_one_data(route):
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal(8), rng.standard_normal(5)
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    result = ls.solve_convex(ls.Problem(Denoising(np.outer(a, b)), 1, 0.25 * norm), route)
    assert result.fun == pytest.approx(norm**2 * (0.25 * 0.75 + 0.25**2 / 2), rel=1e-8)
    np.testing.assert_allclose(result.X, 0.75 * np.outer(a, b), atol=1e-4 * norm)


# ---------------------------------------------------------------------- refusals
def test_refusals_give_the_reason():
    rng = np.random.default_rng(7)
    softmax = example("softmax")
    network = TwoLayer.example(rng)
    for problem, method, reason in [
        (ls.Problem(softmax, 1, 0.0), "factored", "lam = 0"),
        (ls.Problem(softmax, 1, 0.0), "prox", "lam = 0"),
        (ls.Problem(softmax, 1, 0.0), "cvxpy", "lam = 0"),
        (ls.Problem(softmax, 1, 0.0), "auto", "lam = 0"),
        (ls.Problem(network, 1, 0.1), "factored", "not known to be convex"),
        (ls.Problem(network, 1, 0.1), "prox", "not known to be convex"),
        (ls.Problem(network, 1, 0.1), "cvxpy", "not known to be convex"),
        (ls.Problem(softmax, 1, 0.1), "closed_form", "no closed form is known for Softmax"),
        (ls.Problem(Quartic((6, 4)), 1, 0.1), "cvxpy", "cvxpy expression"),
        (ls.Problem(softmax, 1, 0.1, DoRA()), "auto", "dora"),
        (ls.Problem(softmax, 1, 0.1), "facored", "factored"),
    ]:
        with pytest.raises(ValueError, match=reason):
            ls.solve_convex(problem, method)


@pytest.mark.parametrize(
    "ask", [ls.solve_convex, ls.path, ls.cross_validate, ls.recommend_rank], ids=lambda ask: ask.__name__
)
def test_who_has_named_no_route_is_told_of_none(ask):
    network = TwoLayer.example(np.random.default_rng(7))
    with pytest.raises(ValueError, match=r"^problem: .* f is not known to be convex$"):
        ask(ls.Problem(network, 1, 0.1))


def test_bad_arguments_are_named():
    problem = ls.Problem(example("softmax"), 1, 0.1)
    with pytest.raises(TypeError, match="problem"):
        ls.solve_convex("softmax")
    for tol in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="tol"):
            ls.solve_convex(problem, tol=tol)
    with pytest.raises(TypeError, match="route"):
        ls.solve_convex(problem, 3)
    for make in (lambda: Factored(max_rounds=0), lambda: Prox(max_iter=0)):
        with pytest.raises(ValueError, match="max_"):
            make()


# ---------------------------------------------------------------------- users' own losses
class BoundedQuartic(Quartic):
    lower_bound = 0.0

    def cvxpy_expression(self, X):
        import cvxpy

        return 0.25 * cvxpy.sum(cvxpy.power(X - self.M, 4))


@pytest.mark.parametrize("lam", [1.0, 0.1, 0.01])
def test_a_plain_loss_without_constants_is_solved_and_not_called_certified_without_a_bound(lam):
    witness = ls.solve_convex(ls.Problem(BoundedQuartic((6, 4)), 2, lam), "cvxpy", 1e-6)
    assert witness.relative_gap < 1e-5
    for route in (Factored(), Prox(max_iter=1000)):
        result = ls.solve_convex(ls.Problem(Quartic((6, 4)), 2, lam), route)
        assert result.fun == pytest.approx(witness.fun, rel=2e-6)
        assert result.fun <= witness.fun * (1 + 1e-9)
        # Only ||G||_2 <= lam to the last digit, a matter of luck, makes a certificate possible.
        assert np.isinf(result.gap) == (result.certificate.dual_norm > 1)
        assert result.success == (result.relative_gap <= 1e-9)
        assert result.success or np.isfinite(result.gap) or "lower_bound" in result.message
        json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize("route", ["factored", "prox"])
def test_a_plain_loss_with_a_lower_bound_is_certified(route):
    problem = ls.Problem(BoundedQuartic((6, 4)), 2, 0.1)
    result = ls.solve_convex(problem, route)
    assert result.success and result.relative_gap <= 1e-9
    assert result.fun <= ls.solve_convex(problem, "cvxpy").fun * (1 + 1e-9)


# ---------------------------------------------------------------------- cross-check
@pytest.mark.parametrize(
    ("stated", "told"),
    [
        (lambda cvxpy, X: X, r"one of shape \(.*\) and affine curvature"),
        (lambda cvxpy, X: cvxpy.sqrt(cvxpy.sum(X)), r"one of shape \(\) and concave curvature"),
        (lambda cvxpy, X: 3.0, "3.0"),
    ],
)
def test_an_expression_that_is_no_convex_function_is_named_and_no_witness(stated, told):
    import cvxpy

    loss = BoundedQuartic((6, 4))
    loss.cvxpy_expression = lambda X: stated(cvxpy, X)
    problem = ls.Problem(loss, 2, 0.1)
    with pytest.raises(ValueError, match=rf"BoundedQuartic.cvxpy_expression: expected a scalar .*, got {told}"):
        ls.solve_convex(problem, "cvxpy")
    checked = ls.solve_convex(problem, cross_check=True)
    assert checked.cross_check["route"] == "prox"
    assert checked.cross_check["relative_difference"] == pytest.approx(0.0, abs=1e-8)


def test_what_a_second_route_has_seen_contradicted_certifies_no_first_one(monkeypatch):
    """Both end at the optimum; beside that of the second a look has found a bend of the loss that the first missed."""

    class Plain:
        shape, convex, lower_bound, smoothness = (3, 2), True, 0.0, 1.0

        def value_and_grad(self, X):
            G = X - np.arange(6.0).reshape(3, 2)
            return 0.5 * float(np.sum(G**2)), G

    problem, looks, last = ls.Problem(Plain(), 2, 0.5), [], 0

    def look(*_):
        looks.append(1)
        return "violates convexity" if len(looks) == last else None

    monkeypatch.setattr(spot_checks, "violation", look)
    honest = ls.solve_convex(problem, cross_check=True)
    assert honest.success and honest.certificate.is_global is True
    last = len(looks)
    looks.clear()
    found = ls.solve_convex(problem, cross_check=True)
    assert not found.success and found.certificate.is_global is None and found.gap == math.inf
    assert found.certificate.rank_at_most is None and "your f violates convexity" in found.message
    assert found.cross_check["route"] == honest.cross_check["route"] and found.fun == honest.fun


def test_a_cross_check_reports_a_second_route():
    problem = ls.Problem(example("softmax"), 2, 0.05)
    result = ls.solve_convex(problem, cross_check=True)
    check = result.cross_check
    assert (result.route, check["route"], check["failed"]) == ("factored", "cvxpy", [])
    other = ls.solve_convex(problem, "cvxpy")
    assert check["fun"] == other.fun
    assert check["difference"] == result.fun - other.fun
    assert abs(check["relative_difference"]) < 1e-8
    assert check["distance"] == pytest.approx(np.linalg.norm(result.X - other.X), abs=1e-12)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["cross_check"]["route"] == "cvxpy"
    assert ls.solve_convex(problem).cross_check is None


def test_nothing_is_relative_to_the_rounding_errors_of_an_optimum_of_zero():
    """Samples of one class: the loss is 0 whatever the update."""
    Z = np.random.default_rng(0).standard_normal((3, 10))
    problem = ls.Problem(Softmax(np.zeros((1, 3)), Z, np.zeros(10, int)), 1, 0.1)
    result = ls.solve_convex(problem, cross_check=True)
    assert result.fun == 0.0 and result.cross_check["route"] == "cvxpy"
    assert abs(result.cross_check["relative_difference"]) < 1e-9


def test_the_second_route_is_never_the_first_and_suits_the_size():
    small = ls.Problem(example("softmax"), 2, 0.05)
    assert ls.solve_convex(small, "cvxpy", 1e-6, cross_check=True).cross_check["route"] == "prox"
    rng = np.random.default_rng(9)
    large = ls.Problem(Denoising(rng.standard_normal((60, 50))), 2, 10.0)
    assert ls.solve_convex(large, "prox", cross_check=True).cross_check["route"] == "factored"
    assert ls.solve_convex(large, cross_check=True).cross_check["route"] == "prox"


def test_without_a_second_route_a_cross_check_is_refused():
    rng = np.random.default_rng(10)
    problem = ls.Problem(LinearFineTuning.example(rng), 2, 0.0)
    with pytest.raises(ValueError, match="cross_check: no second route"):
        ls.solve_convex(problem, cross_check=True)


# ---------------------------------------------------------------------- limits, messages, interruption
def test_an_iteration_limit_is_reported_with_advice():
    problem = problem_of(example("sensing"), 0.01)
    result = ls.solve_convex(problem, Prox(max_iter=15))
    assert not result.success and result.status == "not certified" and result.nit == 15
    assert "limit of 15 iterations" in result.message and "factored" in result.message
    rough = ls.solve_convex(problem, Factored(max_rounds=1))
    assert not rough.success and "limit of 1 rounds" in rough.message and "larger tol" in rough.message
    best = ls.solve_convex(problem)
    assert result.fun - best.fun <= result.gap and rough.fun - best.fun <= rough.gap


@pytest.mark.parametrize("route", ["factored:max_rounds=1", "prox:max_iter=20"])
def test_what_a_limit_names_to_allow_more_reaches_the_gap(route):
    problem = problem_of(example("sensing"), 0.5)
    limited = ls.solve_convex(problem, route)
    assert not limited.success
    (more,) = re.findall(r"route='([^']*)' allows more", limited.message)
    assert ls.solve_convex(problem, more).success


def test_no_route_of_another_problem_is_advised_without_decay():
    """A feature that is the sum of two but for rounding: whether samples see a direction beyond is not told by it."""
    rng = np.random.default_rng(0)
    Z, Y = rng.standard_normal((4, 30)), rng.standard_normal((3, 30))
    problem = ls.Problem(ls.objectives.LinearFineTuning(np.zeros((3, 5)), np.vstack([Z, Z[0] + Z[1]]), Y), 1, 0.0)
    result = ls.solve_convex(problem)
    assert result.route == "closed_form" and not result.success
    assert result.message.endswith("; use a larger tol") and "factored" not in result.message
    assert ls.solve_convex(problem, "factored").rank == 3  # a least-squares fit of three outputs


def test_a_loose_tolerance_ends_early_and_holds():
    problem = problem_of(example("sensing"), 0.05)
    best = ls.solve_convex(problem)
    for tol in (1e-1, 1e-3):
        for route in ("factored", "prox"):
            rough = ls.solve_convex(problem, route, tol)
            assert rough.success and rough.relative_gap <= tol
            assert 0 <= rough.fun - best.fun <= tol * rough.fun
            assert rough.nit < ls.solve_convex(problem, route).nit


@dataclass(frozen=True)
class Truncated(Factored):
    """A user's route, which keeps one column and with it what was proved of all of them."""

    columns: int = 1
    name = "truncated"

    def run(self, problem, tol, report):
        found = super().run(problem, tol, report)
        return replace(found, A=found.A[:, : self.columns], B=found.B[:, : self.columns])


def test_what_a_route_hands_on_is_certified_as_it_is():
    """At ``lam = 1`` the optimum of denoising ``diag(4, 3, 2)`` is ``diag(3, 2, 1)``; one column is none."""
    problem = ls.Problem(Denoising(np.diag([4.0, 3.0, 2.0])), 1, 1.0)
    whole, cut = (ls.solve_convex(problem, Truncated(columns=columns)) for columns in (3, 1))
    assert whole.success and whole.fun == pytest.approx(1.5 + 6.0)
    assert not cut.success and cut.certificate.is_global is False
    assert cut.fun == pytest.approx(problem.convex_value(cut.X)) == pytest.approx(0.5 + 3.0 + 0.5 * 9.0 + 0.5 * 4.0)


@dataclass(frozen=True)
class Returns(ConvexRoute):
    found: object = None
    name = "returns"

    def run(self, problem, tol, report):
        return self.found


@pytest.mark.parametrize(
    ("found", "error", "words"),
    [
        (np.eye(3), TypeError, "route 'returns': expected a Solution, got an array of shape"),
        (
            Solution(np.eye(2), np.eye(3, 2), 1),
            ValueError,
            r"route .returns.: A: expected shape \(3, 2\), got",
        ),
        (Solution(np.full((3, 1), np.nan), np.ones((3, 1)), 1), ValueError, "route 'returns': A: has non-finite"),
    ],
)
def test_what_is_no_solution_of_a_route_is_named(found, error, words):
    with pytest.raises(error, match=words):
        ls.solve_convex(ls.Problem(Denoising(np.eye(3)), 1, 0.1), Returns(found))


class Interrupted(Softmax):
    """Ctrl-C in the call number ``last`` of the oracle, whichever it is."""

    last = None
    calls = 0

    def count(self):
        self.calls += 1
        if self.calls == self.last:
            raise KeyboardInterrupt

    def value_and_grad(self, X):
        self.count()
        return super().value_and_grad(X)

    def factor_oracle(self, A, B, GB, GtA):
        self.count()
        return super().factor_oracle(A, B, GB, GtA)


@pytest.mark.parametrize("route", ["factored", "prox"])
def test_ctrl_c_returns_the_last_point(route):
    best = ls.solve_convex(ls.Problem(example("softmax"), 2, 0.02)).fun
    objective = Interrupted.example(np.random.default_rng(0))
    at_zero = objective.value_and_grad(np.zeros(objective.shape))[0]
    objective.calls, objective.last = 0, 30
    result = ls.solve_convex(ls.Problem(objective, 2, 0.02), route, 1e-12, cross_check=True)
    assert result.interrupted and result.status == "not certified" and result.cross_check is None
    assert "interrupted, the last point is kept" in result.message
    assert best < result.fun < at_zero
    assert result.fun - best <= result.gap < np.inf
    assert result.to_dict()["interrupted"] is True
    assert not ls.solve_convex(ls.Problem(objective, 2, 0.02), route).interrupted


def test_ctrl_c_before_the_first_point_returns_zero(monkeypatch):
    import cvxpy

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cvxpy.Problem, "unpack_results", interrupt)
    objective = example("huber")
    result = ls.solve_convex(problem_of(objective, 0.2), "cvxpy")
    assert result.interrupted and result.status == "not certified" and result.rank == 0
    assert result.fun == pytest.approx(objective.value_and_grad(np.zeros(objective.shape))[0], rel=1e-14)


def test_an_unusable_status_of_an_outside_solver_is_an_error(monkeypatch):
    import cvxpy

    monkeypatch.setattr(cvxpy.Problem, "status", property(lambda self: "solver_error"))
    with pytest.raises(RuntimeError, match="solver_error"):
        ls.solve_convex(problem_of(example("huber"), 0.2), "cvxpy")


def test_a_cross_check_goes_on_where_an_outside_solver_fails(monkeypatch):
    import cvxpy

    def fail(*args, **options):
        raise cvxpy.SolverError("no luck")

    monkeypatch.setattr(cvxpy.Problem, "unpack_results", fail)
    problem = problem_of(example("huber"), 0.2)
    with pytest.raises(RuntimeError, match="cvxpy with CLARABEL found no usable point: no luck"):
        ls.solve_convex(problem, "cvxpy")
    check = ls.solve_convex(problem, cross_check=True).cross_check
    assert check["route"] == "prox" and abs(check["relative_difference"]) < 1e-8
    assert len(check["failed"]) == 1 and "no luck" in check["failed"][0]
    monkeypatch.setattr(Prox, "run", lambda *args: Cvxpy().run(*args[1:]))
    alone = ls.solve_convex(problem, cross_check=True)
    assert alone.success and alone.cross_check is None and "no cross-check: cvxpy: " in alone.message


@pytest.mark.parametrize("unit", [1e-20, 1e-6, 1e8, 1e30])
@pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
def test_outside_solvers_are_right_in_all_units(solver, unit):
    """Of denoising the optimum is known: singular values less ``lam``. Features make another unit of the update."""
    rng = np.random.default_rng(3)
    M = rng.standard_normal((5, 4))
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    expected = (P * np.maximum(s - 0.5, 0.0)) @ Qt
    found = ls.solve_convex(ls.Problem(Denoising(M * unit), 2, 0.5 * unit), Cvxpy(solver), 1e-8)
    assert found.success and pytest.approx(expected, abs=1e-4) == found.X / unit
    features = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    # f = ||X U - M U||^2 / (2 N) with U orthogonal times the unit.
    f = LinearFineTuning(np.zeros((5, 4)), features * unit, M @ features)
    found = ls.solve_convex(ls.Problem(f, 2, 0.5 * unit / 4.0), Cvxpy(solver), 1e-8)
    assert found.success and pytest.approx(expected, abs=1e-4) == found.X * unit


@pytest.mark.parametrize("share", [2.0, 0.5])
def test_gradients_whose_squares_overflow_leave_a_result_that_says_so(share):
    M = np.array([[[1e3, 0.5]], [[2.0, 1e4]], [[1e-3, 3.0]]])
    y = np.array([1.0, 2.0, -1.0]) * 1e152
    problem = ls.Problem(ls.objectives.MatrixSensing(M, y), 1, 1.0)
    problem = problem.replace(lam=share * problem.critical_lam())
    result = ls.solve_convex(problem, Factored(max_rounds=10), 1e-6)
    assert result.status == "not certified" and "give the data other units" in result.message
    # At zero the value is that of the data.
    assert result.fun <= float(y @ (y / 6.0)) * (1 + 1e-12)


def test_scs_is_measured_not_trusted():
    problem = problem_of(example("sensing"), 0.1)
    scs = ls.solve_convex(problem, Cvxpy(solver="SCS"), 1e-5)
    assert scs.relative_gap <= 1e-5 and "SCS" in scs.message
    assert scs.fun - ls.solve_convex(problem).fun <= scs.gap


def test_the_result_is_plain_and_balanced():
    result = ls.solve_convex(ls.Problem(example("softmax"), 2, 0.05))
    np.testing.assert_allclose(result.A.T @ result.A, result.B.T @ result.B, atol=1e-12)
    assert result.A.shape[1] == result.rank
    assert result.nuclear_norm == pytest.approx(np.linalg.norm(result.X, "nuc"), rel=1e-12)
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document["fun"] == result.fun and document["certificate"]["is_global"] is True


def test_completion_with_empty_rows_and_columns():
    rng = np.random.default_rng(11)
    rows, cols = np.divmod(rng.choice(48, 20, replace=False), 6)
    kept = (rows != 2) & (cols != 4)
    problem = ls.Problem(MatrixCompletion(rows[kept], cols[kept], rng.standard_normal(kept.sum()), (8, 6)), 2, 0.2)
    factored, prox, cvxpy = (ls.solve_convex(problem, route) for route in ("factored", "prox", "cvxpy"))
    assert factored.success and prox.success
    assert factored.fun == pytest.approx(prox.fun, rel=1e-9)
    assert factored.fun == pytest.approx(cvxpy.fun, rel=1e-8)
    # Nothing is known of an empty row or column, so the nuclear norm makes it zero.
    assert np.abs(factored.X[2]).max() < 1e-4 and np.abs(factored.X[:, 4]).max() < 1e-4


@pytest.mark.parametrize("adapter", ["lora", ls.adapters.LoRA(alpha=6.0)])
def test_rows_and_columns_without_an_entry_are_left_out_of_a_completion_and_zero_in_its_optimum(adapter, monkeypatch):
    """Without them the nuclear norm is no larger, and ``f`` does not see them; the certificate is that of the whole."""
    rng = np.random.default_rng(0)
    m, n = 40, 30
    rows, cols = np.divmod(rng.choice(m * n, 25, replace=False), n)
    values = rng.standard_normal(25)
    problem = ls.Problem(ls.objectives.MatrixCompletion(rows, cols, values, (m, n)), 3, 0.5, adapter)
    start = (rng.standard_normal((m, 2)), rng.standard_normal((n, 2)))
    found = [ls.solve_convex(problem, **given) for given in ({}, {"start": start}, {"route": "prox"})]
    monkeypatch.setattr("lorasolve.convex.observed", lambda problem: None)
    whole = ls.solve_convex(problem)
    for each in found:
        assert each.success and each.X.shape == (m, n) and each.certificate.problem.shape == (m, n)
        assert each.fun == pytest.approx(whole.fun, rel=1e-9) == problem.convex_value(each.X)
        assert not np.delete(each.A, rows, axis=0).any() and not np.delete(each.B, cols, axis=0).any()
        again = ls.certify(problem, each)
        assert again.is_global and again.level is each.certificate.level
        assert (again.rank_at_least, again.rank_at_most) == (
            each.certificate.rank_at_least,
            each.certificate.rank_at_most,
        )
        assert again.relative_gap == pytest.approx(each.relative_gap, rel=0.1, abs=1e-13)


def test_most_rows_and_columns_of_a_completion_take_no_part_in_its_iterations(monkeypatch):
    """2000 entries of 5000 x 4000 took 40 s, and 3 s in the 1623 x 1556 rows and columns that have some."""
    shapes = []
    run = Factored.run
    monkeypatch.setattr(
        Factored, "run", lambda self, problem, *given: shapes.append(problem.shape) or run(self, problem, *given)
    )
    f = ls.objectives.MatrixCompletion([3, 3, 70, 500], [5, 900, 5, 7], [1.0, 2.0, 3.0, 4.0], (800, 1000))
    assert ls.solve_convex(ls.Problem(f, 1, 0.5)).success and shapes == [(3, 3)]
    full = ls.objectives.MatrixCompletion([0, 0, 1, 2], [0, 1, 0, 2], [1.0, 2.0, 3.0, 4.0], (3, 3))
    assert ls.solve_convex(ls.Problem(full, 1, 0.5)).success and shapes == [(3, 3), (3, 3)]


@pytest.mark.parametrize("route", ["factored", "prox"])
def test_a_loss_of_the_wrong_sign_has_no_certified_optimum(route):
    """Who maximises by mistake saw NumPy's "SVD did not converge", of the comparison too."""

    class Upside:
        shape, convex, lower_bound = (8, 6), True, 0.0
        M = 3.0 * np.random.default_rng(0).standard_normal((8, 6))

        def value_and_grad(self, X):
            R = X - self.M
            return -0.5 * float((R**2).sum()), -R

    found = ls.solve_convex(ls.Problem(Upside(), 6, 1.0), route)
    assert not found.success and np.isinf(found.gap) and found.certificate.is_global is None


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("c", [1e-90, 1e-30, 1.0, 1e30, 1e90])
@pytest.mark.parametrize("route", ["factored", "prox"])
def test_a_loss_that_is_flat_at_zero_is_solved_in_any_units(route, c, unit):
    """The curvature at 0 is 0. At the optimum each entry is off by less than the tails: there it is denoising."""
    M, delta = unit * np.array([-0.9, -0.1, 0.4, 0.4, 0.3])[:, None], 1e-3 * unit
    off, length = 2e-3 * delta, float(np.linalg.norm(M))
    found = ls.solve_convex(ls.Problem(Tails(M, delta, c), 1, c * off), route, tol=1e-6)
    assert found.success
    assert found.fun == pytest.approx(0.5 * c * off**2 + c * off * (length - off), rel=1e-6, abs=0.0)


class NoBound:
    """Denoising of a user who states no lower bound."""

    convex = True

    def __init__(self, M, c):
        self.M, self.c, self.shape = M, c, M.shape

    def value_and_grad(self, X):
        return 0.5 * self.c * float(np.vdot(X - self.M, X - self.M)), self.c * (X - self.M)


@pytest.mark.parametrize("c", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tol", [1e-4, 1e-7])
def test_without_a_lower_bound_the_optimum_is_certified_and_no_matter_of_luck(c, seed, tol):
    """At an optimum the norm of the gradient is lam, and whether it is above by rounding had decided."""
    M = np.random.default_rng(seed).standard_normal((7, 5))
    values = np.linalg.svd(M, compute_uv=False)
    t = 0.4 * values[0]
    problem = ls.Problem(NoBound(M, c), 2, c * t)
    kept = np.maximum(values - t, 0.0)
    best = c * (0.5 * np.sum(np.minimum(values, t) ** 2) + t * kept.sum())
    for route in ("factored", "prox"):
        found = ls.solve_convex(problem, route, tol=tol)
        assert found.success and found.certificate.problem.lam == c * t
        assert best * (1.0 - 1e-12) <= found.fun <= best + found.gap
        assert found.fun == pytest.approx(best, rel=max(tol**2, 1e-11), abs=0.0) or route == "prox"


@pytest.fixture
def slow(monkeypatch):
    """Count evaluations that take a hundredth of a second, on a clock that stands still between them.

    Of a loss of ours: one's own is tested in 200 more.
    """
    calls = []

    def slowed(method):
        def counted(*args):
            calls.append(method)
            return method(*args)

        return counted

    monkeypatch.setattr(Softmax, "value_and_grad", slowed(Softmax.value_and_grad))
    monkeypatch.setattr(Softmax, "factor_oracle", Objective.factor_oracle)  # by that
    monkeypatch.setattr(time_limit, "time", SimpleNamespace(perf_counter=lambda: 0.01 * len(calls)))
    return calls


@pytest.mark.parametrize("route", ["factored", "prox"])
def test_a_time_limit_returns_the_last_point(route, request):
    """Its value and its gap enclose the optimum, which the fast loss has without a limit."""
    problem = ls.Problem(example("softmax"), 2, 0.02)
    best, at_zero = ls.solve_convex(problem).fun, problem.value_at_zero
    calls = request.getfixturevalue("slow")
    result = ls.solve_convex(problem, route, 1e-13, time_limit=0.15, cross_check=True)
    # After the limit the point that a descent has reached is looked at, and its certificate.
    assert 15 <= len(calls) <= 15 + 15
    assert not result.success and not result.interrupted and result.cross_check is None
    assert "the time limit was reached, the last point is kept" in result.message
    assert "no cross-check: the time limit was reached" in result.message
    assert best < result.fun < at_zero
    assert result.fun - best <= result.gap < np.inf
    assert ("start=result" in result.message) == (route == "factored")


def test_a_time_limit_that_is_not_reached_changes_nothing():
    problem = problem_of(example("huber"), 0.2)
    one, other = (ls.solve_convex(problem, time_limit=limit) for limit in (None, 1000.0))
    assert one.message == other.message and np.array_equal(one.A, other.A)


def test_a_run_ended_by_its_time_limit_goes_on_from_there(request):
    problem = ls.Problem(example("softmax"), 2, 0.02)
    best = ls.solve_convex(problem).fun
    request.getfixturevalue("slow")
    found = [ls.solve_convex(problem, tol=1e-5, time_limit=0.2)]
    while not found[-1].success and len(found) < 30:
        found.append(ls.solve_convex(problem, tol=1e-5, start=found[-1], time_limit=0.2))
    assert len(found) > 1 and found[-1].success
    assert found[-1].fun == pytest.approx(best, rel=1e-5)


def test_a_route_of_ones_own_that_reports_ends_at_the_time_limit():
    class Endless(ConvexRoute):
        name = "endless"

        def run(self, problem, tol, report):
            found = Solution(*balanced(np.eye(3)[:, :1], np.array([0.5]), np.eye(3)[:, :1]), 1)
            while True:
                report(found, 1.0, Bound(1.0, 1.0, 1.0, "none"))

    result = ls.solve_convex(ls.Problem(Denoising(np.eye(3)), 1, 0.1), Endless(), time_limit=0.05)
    assert result.rank == 1 and "time limit" in result.message


@pytest.fixture
def told(monkeypatch):
    """What cvxpy is told, on a clock that stands still and which each of its solutions moves by a minute."""
    told, solve = [], SolvingChain.solve_via_data

    def recorded(self, problem, data, **given):
        told.append(given["solver_opts"])
        return solve(self, problem, data, **given)

    monkeypatch.setattr(SolvingChain, "solve_via_data", recorded)
    monkeypatch.setattr(time_limit, "time", SimpleNamespace(perf_counter=lambda: 60.0 * len(told)))
    return told


def test_outside_solvers_are_told_what_time_is_left(told):
    """Clarabel takes seconds here to what it is asked for."""
    problem = ls.Problem(Denoising(np.random.default_rng(0).standard_normal((25, 25))), 2, 0.5)
    result = ls.solve_convex(problem, "cvxpy", time_limit=0.05)
    assert not result.success and "raise time_limit" in result.message
    assert [options["time_limit"] for options in told] == [0.05]
    assert result.fun - ls.solve_convex(problem).fun <= result.gap


def test_a_cross_check_has_what_time_is_left(told):
    problem = ls.Problem(Denoising(np.random.default_rng(0).standard_normal((25, 25))), 2, 0.5)
    result = ls.solve_convex(problem, time_limit=0.05, cross_check=True)
    assert result.success and result.cross_check is None
    assert [options["time_limit"] for options in told] == [0.05]
    assert "no cross-check: cvxpy: the time limit was reached" in result.message


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, "1"])
def test_what_is_no_time_limit_is_named(limit):
    with pytest.raises((ValueError, TypeError), match="time_limit"):
        ls.solve_convex(problem_of(example("huber"), 0.2), time_limit=limit)


class Exponentials:
    """The sum of ``exp <A_i, X>``, or its logarithm, which has no lower bound."""

    convex = True

    def __init__(self, A, logarithm):
        self.A, self.logarithm, self.shape = A, logarithm, A.shape[1:]

    def value_and_grad(self, X):
        z = np.tensordot(self.A, X, 2)
        top = z.max() if self.logarithm else 0.0
        w = np.exp(z - top)
        total = float(w.sum())
        if self.logarithm:
            return math.log(total) + top, np.tensordot(w / total, self.A, 1)
        return total, np.tensordot(w, self.A, 1)


@pytest.mark.parametrize("seed", [0, 5, 9, 16, 23])
def test_a_route_far_out_where_a_loss_overflows_beside_its_points_keeps_the_last_one(seed):
    """One matrix runs away, at whose length steps of the other overflow: the route ended in an error."""
    A, B = np.random.default_rng(seed).standard_normal((2, 3, 3, 2))
    problem = MultiProblem(Separable([Exponentials(A, False), Exponentials(B, True)]), 2, 1e-3)
    with np.errstate(over="ignore"):
        found = ls.solve_convex(problem, tol=1e-12)
    assert not found.success and found.fun < -1e6 and found.certificate.is_global is not True
