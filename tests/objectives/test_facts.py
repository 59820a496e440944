"""Facts: stated as attributes, read as one record, handed on whole by every wrapper, refused where they cannot be."""

import copy
import dataclasses
import gc
import math
import pickle
import weakref
from functools import cached_property

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.multi import BlockView, MultiObjective, Separable
from lorasolve.objectives import (
    Denoising,
    DenseReference,
    Facts,
    LinearFineTuning,
    MatrixCompletion,
    MatrixSensing,
    Objective,
    as_objective,
    registry,
)
from lorasolve.objectives.base import Rounding, Shifted
from lorasolve.problem.blocks import PlainBlocks


class Bare(Objective):
    shape = (3, 2)

    def value_and_grad(self, X):
        return 0.5 * float(np.sum(X * X)), X.copy()


class Costly(Bare):
    """States its expensive facts by properties, and counts how often they are computed."""

    convex = True
    asked = 0

    @cached_property
    def smoothness(self):
        self.asked += 1
        return 1.0

    @property
    def lower_bound(self):
        self.asked += 1
        return 0.0


def wrappers(objective):
    """Return everything that hands on the facts of an objective."""
    shift = np.ones(objective.shape)
    return [DenseReference(objective), Shifted(objective, shift), objective.merged(shift)]


# ---------------------------------------------------------------------- stating
def test_nothing_stated_is_nothing_known():
    assert Bare().facts == Facts()
    assert dataclasses.asdict(Facts()) == {
        "convex": None,
        "least_squares": False,
        "smoothness": None,
        "lower_bound": None,
        "has_hessian": True,
        "n_samples": None,
        "minimizes_factors": False,
        "rank_one_smoothness": None,
    }


def test_the_curvature_along_matrices_of_rank_one_is_at_most_the_smoothness():
    assert Facts().rank_one_curvature is None
    assert Facts(smoothness=2.0).rank_one_curvature == 2.0
    assert Facts(smoothness=2.0, rank_one_smoothness=3.0).rank_one_curvature == 3.0
    assert Facts(rank_one_smoothness=0.0).rank_one_curvature == 0.0


def test_facts_of_class_and_instance_are_collected_in_plain_types():
    class Stated(Bare):
        convex = np.bool_(True)
        smoothness = np.float32(2.0)

        def __init__(self):
            self.lower_bound = -1
            self.n_samples = np.int64(7)

    facts = Stated().facts
    assert facts == Facts(convex=True, smoothness=2.0, lower_bound=-1.0, n_samples=7)
    types = [type(value) for value in (facts.convex, facts.smoothness, facts.lower_bound, facts.n_samples)]
    assert types == [bool, float, float, int]


def test_a_plain_object_states_facts_the_same_way():
    class Plain:
        shape = (3, 2)
        convex, lower_bound = True, 0.0

        def value_and_grad(self, X):
            return 0.5 * float(np.sum(X * X)), X.copy()

        def minimize_over_A(self, B, lam):
            return np.zeros((3, B.shape[1]))

        def minimize_over_B(self, A, lam):
            return np.zeros((2, A.shape[1]))

    assert as_objective(Plain()).facts == Facts(convex=True, lower_bound=0.0, minimizes_factors=True)


def test_the_record_is_never_out_of_date():
    objective = Bare()
    assert objective.facts.lower_bound is None
    objective.lower_bound = 0.0
    assert objective.facts.lower_bound == copy.copy(objective).facts.lower_bound == 0.0


def test_a_fact_cannot_be_assigned():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Facts().convex = True
    with pytest.raises(dataclasses.FrozenInstanceError):
        Facts().smoothness = 1.0


# ---------------------------------------------------------------------- laziness
def test_an_expensive_fact_is_computed_when_it_is_read_and_once_a_record():
    objective = Costly()
    problem = ls.Problem(objective, 1, 0.1)
    facts = problem.objective.facts
    assert facts.convex is True and facts.n_samples is None and objective.asked == 0
    for wrapped in wrappers(objective):
        changed = wrapped.facts.replace(convex=None)
        assert wrapped.facts.convex is True and changed.convex is None
    assert objective.asked == 0
    assert facts.smoothness == 1.0 and facts.smoothness == 1.0 and objective.asked == 1
    assert facts.lower_bound == 0.0 and facts.lower_bound == 0.0 and objective.asked == 2


@pytest.mark.parametrize("name", ["linear", "sensing"])
def test_the_spectrum_of_the_data_is_not_touched_by_other_facts(name):
    objective = registry.classes()[name].example(np.random.default_rng(0))
    problem = ls.Problem(objective, 1, 0.1)
    assert problem.objective.facts.convex and problem.plain().objective.facts.least_squares
    assert not {"smoothness", "lower_bound", "_eigen"} & set(vars(objective))
    assert problem.objective.facts.smoothness > 0.0 and "smoothness" in vars(objective)


def test_a_lazy_fact_is_checked_when_it_is_read():
    facts = Facts(smoothness=lambda: -1.0)
    with pytest.raises(ValueError, match=r"smoothness: expected a finite number in \[0, inf\), got -1"):
        _ = facts.smoothness


def test_a_record_with_unread_facts_can_be_copied_and_stored():
    objective = LinearFineTuning.example(np.random.default_rng(0))
    for again in (copy.deepcopy(objective.facts), pickle.loads(pickle.dumps(objective.facts))):
        assert again == objective.facts


# ---------------------------------------------------------------------- handing on
@pytest.mark.parametrize("name", sorted(registry.classes()))
def test_wrappers_hand_on_every_fact(name):
    objective = registry.classes()[name].example(np.random.default_rng(0))
    assert DenseReference(objective).facts == objective.facts
    shifted = Shifted(objective, np.zeros(objective.shape))
    assert shifted.facts == objective.facts.replace(minimizes_factors=False)
    assert DenseReference(shifted).facts == shifted.facts


@pytest.mark.parametrize("fact", [field.name for field in dataclasses.fields(Facts)])
def test_a_wrapper_has_no_default_to_be_mistaken_for_a_fact(fact):
    for wrapped in (Bare(), *wrappers(Costly())):
        with pytest.raises(AttributeError):
            getattr(wrapped, fact)


class TwoTargets(MultiObjective):
    """``sum_l ||X_l - M_l||^2 / 2``."""

    convex = True
    least_squares = True
    smoothness = 1.0
    lower_bound = 0.0

    def __init__(self, rng):
        self.shapes = ((5, 3), (4, 6))
        self.targets = [rng.standard_normal(shape) for shape in self.shapes]

    def value_and_grad(self, X):
        G = tuple(x - M for x, M in zip(X, self.targets))
        return 0.5 * sum(float(np.vdot(g, g)) for g in G), G


def test_a_joint_problem_keeps_least_squares_and_with_it_the_tighter_certificate():
    rng = np.random.default_rng(0)
    objective, lam = TwoTargets(rng), 0.5
    joint = ls.MultiProblem(objective, [2, 2], lam)
    X, optimum = [], 0.0
    for M in objective.targets:
        P, s, Qt = np.linalg.svd(M, full_matrices=False)
        kept = np.maximum(s - lam, 0.0)
        optimum += 0.5 * float(np.sum((s - kept) ** 2)) + lam * float(kept.sum())
        X.append(0.99 * (P * kept) @ Qt)
    certificate = ls.certify(joint, X)
    assert certificate.formula.startswith("Fenchel, least squares")
    assert certificate.gap >= certificate.value - optimum > 0.0
    # The best dual point c R along the residual R: its value is -f*(c R) = -c^2 ||R||^2/2 - c <R, M>.
    R = [x - M for x, M in zip(X, objective.targets)]
    square = sum(float(np.vdot(r, r)) for r in R)
    along = sum(float(np.vdot(r, M)) for r, M in zip(R, objective.targets))
    c = min(max(-along / square, 0.0), lam / max(np.linalg.norm(r, 2) for r in R))
    assert certificate.gap == pytest.approx(certificate.value + 0.5 * c**2 * square + c * along, rel=1e-10)

    class Forgetful(TwoTargets):
        least_squares = False

    other = ls.MultiProblem(Forgetful(np.random.default_rng(0)), [2, 2], lam)
    assert ls.certify(other, X).gap > 1.5 * certificate.gap


def test_a_block_is_known_as_well_as_the_whole():
    objective = TwoTargets(np.random.default_rng(1))
    zeros = [np.zeros(shape) for shape in objective.shapes]
    assert BlockView(objective, 1, zeros).facts == PlainBlocks(objective).facts == objective.facts
    report = ls.check_objective(BlockView(objective, 1, zeros))
    assert report.ok, str(report)
    assert {row.name: row.holds for row in report.checks}["least squares, quadratic"] is True


def test_the_batch_of_a_block_is_the_block_of_the_batch():
    rng = np.random.default_rng(0)
    data = [rng.standard_normal(shape) for shape in ((4, 3), (2, 4), (3, 9), (2, 9))]
    pair = ls.multi.TwoLayerPair(*data)
    X = [0.1 * rng.standard_normal(shape) for shape in pair.shapes]
    view = BlockView(pair, 1, X)
    assert view.facts.n_samples == 9
    index = np.array([0, 3, 4])
    expected = pair.sample_batch(index).value_and_grad(X)
    value, G = view.sample_batch(index).value_and_grad(X[1])
    assert value == expected[0]
    np.testing.assert_array_equal(G, expected[1][1])


class Expanded(Bare):
    """``||X - M||^2 / 2``, written out, so that its terms cancel; no lower bound is stated, the conjugate is."""

    shape = (4, 3)
    convex = True
    M = 1e4 * np.random.default_rng(3).standard_normal(shape)

    def value_and_grad(self, X):
        return 0.5 * float(np.vdot(X, X)) - float(np.vdot(X, self.M)) + 0.5 * float(np.vdot(self.M, self.M)), X - self.M

    def rounding_noise(self, A, B):
        length = np.linalg.norm(A @ B.T) + np.linalg.norm(self.M)
        return Rounding(8.0 * np.finfo(float).eps * length**2, 0.0)

    def conjugate(self, Y):
        return float(np.vdot(Y, self.M)) + 0.5 * float(np.vdot(Y, Y))

    def cvxpy_expression(self, X):
        import cvxpy

        return 0.5 * cvxpy.sum_squares(X - self.M)


class Several(MultiObjective):
    """A sum of the same, which does not know that it is one; in float32 where told so."""

    def __init__(self, parts, dtype=np.float64):
        self.parts, self.dtype = parts, np.dtype(dtype)
        self.shapes = tuple(part.shape for part in parts)
        self.convex = all(part.convex for part in parts)

    def value_and_grad(self, X):
        answers = [part.value_and_grad(x) for part, x in zip(self.parts, X)]
        return sum(f for f, _ in answers), tuple(G.astype(self.dtype) for _, G in answers)

    def rounding_noise(self, factors):
        return Rounding(sum(part.rounding_noise(*pair).value for part, pair in zip(self.parts, factors)), 0.0)

    def conjugate(self, Y):
        return sum(part.conjugate(y) for part, y in zip(self.parts, Y))

    def in_float64(self):
        return Several(self.parts)


def test_values_that_cancel_are_known_to_where_they_are_shifted_or_seen_block_by_block():
    """Near ``X = M`` the loss is far smaller than its terms, whose rounding its value has."""
    part = Expanded()
    near = part.M + 0.1
    exact = 0.5 * float(np.sum((near - part.M) ** 2))
    shifted = Shifted(part, near)
    view = BlockView(Several([part, part]), 1, [near, near])
    for loss, factors, value in (
        (shifted, (np.zeros((4, 1)), np.zeros((3, 1))), exact),
        (view, (near, np.eye(3)), 2.0 * exact),
    ):
        error = abs(loss.factor_value(*factors) - value)
        assert 1e-10 * exact < error <= loss.rounding_noise(*factors).value


def test_plain_twins_state_what_is_no_factor_level_answer():
    """The conjugate, without which nothing is known of the optimum here, and the expression of cvxpy."""
    part, lam = Expanded(), 5e3
    P, s, Qt = np.linalg.svd(part.M, full_matrices=False)
    kept = np.maximum(s - lam, 0.0)
    A, B = P * np.sqrt(kept), Qt.T * np.sqrt(kept)
    least = 0.5 * np.sum((s - kept) ** 2) + lam * kept.sum()
    one, two = ls.Problem(part, 3, lam), ls.MultiProblem(Several([part, part]), 3, lam)
    for problem, point, count in ((one, (A, B), 1), (two, ((A, A), (B, B)), 2)):
        for asked in (problem, problem.plain()):
            certificate = ls.certify(asked, point)
            assert certificate.relative_gap < 1e-6
            assert certificate.value == pytest.approx(count * least, rel=1e-9)
    assert ls.solve_convex(one.plain(), "cvxpy").fun == pytest.approx(least, rel=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_loss_is_known_to_what_its_gradients_are(dtype):
    """It takes factors in float64 and computes in less: certificates allow for that, and differences step so far."""
    target = np.random.default_rng(3).standard_normal((4, 3))

    class Coarse:
        shape, convex, lower_bound = target.shape, True, 0.0

        def value_and_grad(self, X):
            R = (X - target).astype(dtype)
            return 0.5 * float(np.vdot(R, R)), R

    lam, eps = 0.5, float(np.finfo(dtype).eps)
    P, s, Qt = np.linalg.svd(target, full_matrices=False)
    kept = np.maximum(s - lam, 0.0)
    problem = ls.Problem(Coarse(), 3, lam)
    loss = problem.objective
    assert loss.precision == "float64"  # as long as it has shown nothing else
    loss.value_and_grad(target)
    for wrapped in (loss, Shifted(loss, target), DenseReference(loss), problem.loss, PlainBlocks(problem.loss)):
        assert wrapped.precision == np.dtype(dtype).name
    assert BlockView(problem.loss, 0, [target]).precision == loss.precision
    certificate = ls.certify(problem, (P * kept, Qt.T))
    assert 0.1 * eps < certificate.relative_gap < 1e3 * eps
    assert ls.solve_convex(problem).message.endswith(f"use a larger tol, as f answers in {np.dtype(dtype).name}")
    H = loss.hessian_product(target, np.ones((4, 3)))
    np.testing.assert_allclose(H, 1.0, rtol=10.0 * eps ** (2 / 3))


def test_a_loss_is_known_to_what_its_values_are():
    """Its gradients are exact: the rounded values alone had contradicted its convexity."""
    target = np.random.default_rng(3).standard_normal((4, 3))

    class RoundedValues:
        shape, convex, lower_bound = target.shape, True, 0.0

        def value_and_grad(self, X):
            R = X - target
            return np.float32(0.5 * np.vdot(R, R)), R

    found = ls.solve_convex(ls.Problem(RoundedValues(), 3, 0.5))
    # What is optimal is so to the precision of its values.
    assert found.certificate.relative_gap < 1e3 * np.finfo(np.float32).eps
    kept = np.maximum(np.linalg.svd(target, compute_uv=False) - 0.5, 0.0)
    np.testing.assert_allclose(np.linalg.svd(found.X, compute_uv=False), kept, atol=1e-3)


def test_a_loss_may_answer_in_longer_numbers():
    target = np.random.default_rng(3).standard_normal((4, 3)).astype(np.longdouble)

    class Long:
        shape, convex, lower_bound = target.shape, True, 0.0

        def value_and_grad(self, X):
            R = X - target
            return 0.5 * np.sum(R * R), R

    found = ls.solve_convex(ls.Problem(Long(), 3, 0.5))
    kept = np.maximum(np.linalg.svd(target.astype(float), compute_uv=False) - 0.5, 0.0)
    assert found.success
    np.testing.assert_allclose(np.linalg.svd(found.X, compute_uv=False), kept, atol=1e-4)


@pytest.mark.parametrize("plain", [False, True])
def test_a_loss_of_several_is_known_to_what_its_gradients_are(plain):
    targets = [np.random.default_rng(k).standard_normal(shape) for k, shape in enumerate([(4, 3), (3, 5)])]

    @dataclasses.dataclass(frozen=True)
    class Coarse(MultiObjective):
        shapes, convex, lower_bound = tuple(T.shape for T in targets), True, 0.0

        def value_and_grad(self, X):
            R = [(x - T).astype(np.float32) for x, T in zip(X, targets)]
            return 0.5 * float(sum(np.vdot(r, r) for r in R)), tuple(R)

    problem, eps = ls.MultiProblem(Coarse(), 3, 0.5), float(np.finfo(np.float32).eps)
    if plain:
        problem = problem.plain()
    assert problem.loss.precision == "float64"  # as long as it has shown nothing else
    singular = [np.linalg.svd(T, full_matrices=False) for T in targets]
    factors = zip(*((P * np.maximum(s - 0.5, 0.0), Qt.T) for P, s, Qt in singular))
    certificate = ls.certify(problem, tuple(factors))
    assert problem.loss.precision == "float32"
    assert 0.1 * eps < certificate.relative_gap < 1e3 * eps
    assert ls.solve_convex(problem).message.endswith("use a larger tol, as f answers in float32")


TARGET = np.random.default_rng(3).standard_normal((6, 4))


class HandedOn:
    """``||X - T||^2 / 2`` in float32, handed on in float64."""

    shape, convex, lower_bound = TARGET.shape, True, 0.0

    def value_and_grad(self, X):
        R = X.astype(np.float32) - TARGET.astype(np.float32)
        return float(np.float32(0.5) * np.vdot(R, R)), R.astype(np.float64)


def test_a_loss_that_computes_in_float32_is_known_where_it_answers_in_float64():
    """Its rounding errors had contradicted its convexity."""
    P, s, Qt = np.linalg.svd(TARGET.astype(np.float32).astype(float), full_matrices=False)
    kept = np.maximum(s - 0.5, 0.0)
    least = 0.5 * np.sum((s - kept) ** 2) + 0.5 * kept.sum()
    for loss in (HandedOn(), type("Derived", (HandedOn, ls.objectives.Objective), {})()):
        problem = ls.Problem(loss, 4, 0.5)
        problem.value(P * kept, Qt.T)
        assert problem.objective.precision == "float32"
        certificate = ls.certify(problem, (P * kept, Qt.T))
        assert certificate.dual_value <= least and certificate.relative_gap < 1e-4


def test_what_asks_a_loss_hands_on_the_precision_that_it_has_shown():
    """A wrapper kept it to itself, and a sum asked for matrices or for gradients as products saw none."""
    derived = type("Derived", (HandedOn, ls.objectives.Objective), {})
    A, B = (np.random.default_rng(k + 5).standard_normal((n, 2)) for k, n in enumerate(TARGET.shape))
    asked = {
        "oracle": lambda loss: loss.factor_oracle(A, B, np.empty_like(A), np.empty_like(B)),
        "operator": lambda loss: loss.gradient_operator(A, B),
        "both": lambda loss: loss.oracle_and_operator(A, B),
        "block": lambda loss: ls.Problem(loss, 2).loss.checked_value_and_grad([A @ B.T]),
        "plain": lambda loss: Separable([loss]).value_and_grad([A @ B.T]),
    }
    for name, ask in asked.items():
        for wrapped in (
            lambda f: f,
            DenseReference,
            lambda f: Shifted(f, TARGET),
            lambda f: DenseReference(f).merged(A @ B.T),
        ):
            loss = derived()
            ask(wrapped(loss))
            assert loss.precision == wrapped(loss).precision == "float32", name
            exact = wrapped(ls.objectives.Denoising(TARGET))
            ask(exact)
            assert exact.precision == "float64", name


def test_what_a_user_calls_precision_is_not_that_of_the_loss():
    loss = as_objective(type("Own", (HandedOn,), {"precision": 1e-3, "not_data": ("cache",)})())
    assert loss.precision == "float64" and loss.not_data == ("_roughest",)


@pytest.mark.parametrize("digits", [np.float32, np.float64])
def test_a_loss_that_computes_in_float64_is_not_taken_for_one_in_float32(digits):
    """Its data may be of float32, and so may ``X``, its gradient constant, and few digits left by cancellation."""
    target, rng = TARGET.astype(digits).astype(float), np.random.default_rng(5)

    class Quadratic:
        shape = TARGET.shape

        def value_and_grad(self, X):
            return 0.5 * float(np.vdot(X - target, X - target)), X - target

    class Linear:
        shape = TARGET.shape

        def value_and_grad(self, X):
            return float(np.vdot(X, target)), target

    for loss in map(as_objective, (Quadratic(), Linear())):
        for size in 10.0 ** np.arange(-18, 9):
            for X in (size * rng.standard_normal(TARGET.shape), target + size * rng.standard_normal(TARGET.shape)):
                loss.value_and_grad(X)
        one_entry = np.zeros(TARGET.shape)
        one_entry[0, 1] = 1.0
        loss.value_and_grad(one_entry)
        assert loss.precision == "float64"


@pytest.mark.parametrize("name", ["weighted", "absolute", "one entry", "largest entry"])
def test_sound_losses_are_not_taken_for_float32_by_what_is_left_of_their_digits(name):
    """Weights of float32, all in float64: one digit of ``X - T`` was left, or one entry mattered, or none visibly."""
    rng = np.random.default_rng(6)
    weights = rng.uniform(0.5, 2.0, TARGET.shape).astype(np.float32).astype(float)
    first = np.zeros(TARGET.shape)
    first[0, 0] = 1.0
    answers = {
        "weighted": lambda X: (0.5 * float(np.sum(weights * (X - TARGET) ** 2)), weights * (X - TARGET)),
        "absolute": lambda X: (float(np.sum(weights * np.abs(X - TARGET))), weights * np.sign(X - TARGET)),
        "one entry": lambda X: (2.0**-100 * X[0, 0] * weights[0, 0] + weights[0, 1], 2.0**-100 * weights * first),
        "largest entry": lambda X: (float(np.max(weights * X)), weights * (weights * X == np.max(weights * X))),
    }
    ask = answers[name]
    loss = as_objective(type("Sound", (), {"shape": TARGET.shape, "value_and_grad": lambda self, X: ask(X)})())
    for k in range(TARGET.size):
        at = np.unravel_index(k, TARGET.shape)
        for X in (TARGET.copy(), rng.standard_normal(TARGET.shape)):
            X[at] = np.nextafter(X[at], 9.0)
            loss.value_and_grad(X)
            X[at] = 8.0  # a number of float32
            loss.value_and_grad(X)
    assert loss.precision == "float64"


def test_a_sum_is_as_exact_as_its_least_exact_part():
    """What it had answered itself decided, so that its certificates and runs depended on what was asked before."""
    parts = [HandedOn(), ls.objectives.Denoising(TARGET)]
    for both in (Separable(parts), Separable(parts[::-1])):
        problem = ls.MultiProblem(both, 2, 0.5)
        assert both.precision == "float64"  # as long as they have shown nothing else
        both.factor_value([(A + 0.3, B + 0.1) for A, B in problem.loss.zeros()])
        assert both.precision == "float32"


def test_a_block_of_a_loss_that_is_not_convex_may_be():
    part = Expanded()
    whole = Several([part, part], np.float32)
    whole.convex = False
    view = BlockView(whole, 0, [part.M, part.M])
    assert view.facts.convex is None
    assert (view.dtype, view.in_float64().dtype) == (np.float32, np.float64)
    f, G = view.in_float64().value_and_grad(part.M + 1.0)
    assert f == pytest.approx(6.0, abs=1e-6) and np.allclose(G, 1.0, rtol=1e-10)


# ---------------------------------------------------------------------- refusing
@pytest.mark.parametrize(
    ("fact", "value", "error", "words"),
    [
        ("convex", "yes", TypeError, "convex: expected True, False or None, got 'yes'"),
        ("convex", 1, TypeError, "convex: expected True, False or None, got 1"),
        ("least_squares", None, TypeError, "least_squares: expected True or False, got None"),
        ("smoothness", -1, ValueError, r"smoothness: expected a finite number in \[0, inf\), got -1"),
        ("smoothness", "1", TypeError, "smoothness: expected a finite number"),
        ("rank_one_smoothness", -1, ValueError, r"rank_one_smoothness: expected a finite number in \[0, inf\), got -1"),
        ("lower_bound", math.nan, ValueError, "lower_bound: expected a finite number, got nan"),
        ("lower_bound", -math.inf, ValueError, "lower_bound: expected a finite number, got -inf"),
        ("has_hessian", 0, TypeError, "has_hessian: expected True or False, got 0"),
        ("n_samples", 0, ValueError, "n_samples: expected an integer >= 1, got 0"),
        ("n_samples", 2.0, TypeError, "n_samples: expected an integer >= 1, got 2.0"),
        ("minimizes_factors", "A", TypeError, "minimizes_factors: expected True or False, got 'A'"),
    ],
)
def test_what_is_no_fact_is_refused_with_class_fact_and_value(fact, value, error, words):
    with pytest.raises(error, match=words):
        Facts(**{fact: value})
    wrong = type("Wrong", (Bare,), {fact: value})
    plain = type("Wrong", (), {fact: value, "shape": (3, 2), "value_and_grad": Bare.value_and_grad})
    for given in (wrong(), plain()):
        for use in (as_objective, ls.check_objective, lambda objective: ls.Problem(objective, 1)):
            with pytest.raises(error, match=f"objective: Wrong states {words}"):
                use(given)


@pytest.mark.parametrize(
    ("stated", "meant"),
    [
        ("lowerbound", "lower_bound"),
        ("is_convex", "convex"),
        ("n_sample", "n_samples"),
        ("smoothnes", "smoothness"),
        ("Convex", "convex"),
        ("lowerBound", "lower_bound"),
    ],
)
def test_a_misspelt_fact_is_refused_with_the_name_that_was_meant(stated, meant):
    on_class = type("Wrong", (Bare,), {stated: None})()
    on_instance = type("Wrong", (Bare,), {})()
    setattr(on_instance, stated, None)
    for given in (on_class, on_instance):
        with pytest.raises(TypeError, match=f"Wrong states {stated!r}, which is no fact. Did you mean {meant!r}"):
            ls.Problem(given, 1)
    joint = type("Wrong", (TwoTargets,), {stated: None})(np.random.default_rng(0))
    with pytest.raises(TypeError, match=f"Did you mean {meant!r}"):
        ls.MultiProblem(joint, 1)


def test_other_attributes_are_the_writers_own():
    class Free(Bare):
        convex_hull, samples, bound, loss_smoothness, beta = 1, 2, 3, 4, 5

    assert as_objective(Free()).facts == Facts()


# ---------------------------------------------------------------------- what is not a fact: kernels, closed forms
@pytest.mark.parametrize("cls", [Denoising, LinearFineTuning, MatrixCompletion, MatrixSensing])
def test_kernels_do_not_keep_their_objective_alive(cls):
    objective = cls.example(np.random.default_rng(0))
    taken, other = objective.kernels.take(2), objective.kernels.take(2)
    assert taken[1] is not other[1]
    objective.kernels.put_back(taken)
    assert objective.kernels.take(2) is taken
    assert objective.kernels.quadratic() is not None
    gone = weakref.ref(objective)
    gc.disable()
    try:
        del objective
        assert gone() is None
    finally:
        gc.enable()


def test_the_minimizer_is_handed_on_by_the_plain_twin_and_not_by_a_shift():
    rng = np.random.default_rng(0)
    objective = LinearFineTuning.example(rng)
    A, B = objective.minimizer(0.0, 2)
    np.testing.assert_array_equal(DenseReference(objective).minimizer(0.0, 2)[0], A)
    assert Shifted(objective, np.zeros(objective.shape)).minimizer(0.0, 2) is None
    assert objective.minimizer(0.1, 2) is None
    assert ls.certify(ls.Problem(objective, 2).plain(), (A, B)).is_global is True


def test_a_user_object_with_a_formula_has_the_closed_form_route_and_an_answer_without_decay():
    M = np.random.default_rng(3).standard_normal((5, 4))
    U, s, Vt = np.linalg.svd(M, full_matrices=False)

    class Mine:
        shape = M.shape
        convex, lower_bound = True, 0.0

        def value_and_grad(self, X):
            return 0.5 * float(np.sum((X - M) ** 2)), X - M

        def minimizer(self, lam, rank):
            return (U[:, :rank] * s[:rank], Vt[:rank].T) if lam == 0.0 else None

    problem = ls.Problem(Mine(), 2)
    result = ls.solve_convex(problem)
    assert result.route == "closed_form"
    assert result.fun == pytest.approx(0.5 * np.sum(s[2:] ** 2), rel=1e-13)
    assert ls.certify(problem, result).is_global is True
    assert ls.certify(problem, np.zeros(M.shape)).is_global is False
    assert ls.solve_convex(ls.Problem(Mine(), 2, 0.4)).route == "factored"
    # Its factors are not balanced, so that they are no stationary point of L for lam > 0; for lam = 0 they need not be.
    rows = {row.name: row.holds for row in ls.check_objective(Mine()).checks}
    assert rows["minimizer, lam = 0"] is True and rows["minimizer, lam > 0"] is None


def test_an_objective_of_the_four_things_needs_nothing_else():
    class Cosh(Objective):
        name = "cosh"
        summary = "sum log cosh (X - M)"
        convex = True
        lower_bound = 0.0
        shape = (4, 3)

        def __init__(self, M):
            self.M = M

        @classmethod
        def example(cls, rng):
            return cls(rng.standard_normal((4, 3)))

        def value_and_grad(self, X):
            E = X - self.M
            return float(np.sum(np.logaddexp(E, -E) - math.log(2.0))), np.tanh(E)

    objective = Cosh.example(np.random.default_rng(0))
    report = ls.check_objective(objective)
    assert report.ok, str(report)
    rows = {row.name: row for row in report.checks}
    assert rows["cvxpy expression"].holds is rows["minimizer, lam = 0"].holds is None
    assert objective.in_float64() is objective and objective.dtype == np.float64
    problem = ls.Problem(objective, 3, 0.3)
    assert ls.certify(problem, ls.solve(problem, "lbfgs")).is_global is True
