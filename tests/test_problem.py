"""The factored problem: derivatives by differences for every objective, scaling, frozen factors, bad input."""

import dataclasses
import math
import types

import numpy as np
import pytest

from lorasolve import MultiProblem, Problem
from lorasolve.adapters import LoRA
from lorasolve.checks import readiness
from lorasolve.multi import Separable
from lorasolve.objectives import Denoising, registry
from lorasolve.problem.natural_units import with_needed

OBJECTIVES = [name for name, cls in registry.classes().items() if readiness(cls).ok]
# Scalings whose values are known by hand; every adapter of the folder is checked in tests/checks/test_registries.py.
ADAPTERS = {
    "plain": LoRA(),
    "alpha / r": LoRA(alpha=3.0),
    "alpha / sqrt r": LoRA(alpha=3.0, rslora=True),
}


def make(name, lam=0.3, adapter="lora", rank=2):
    return Problem(registry.classes()[name].example(np.random.default_rng(0)), rank, lam, adapter)


def draw(problem, seed=1):
    rng = np.random.default_rng(seed)
    m, n = problem.shape
    return rng.standard_normal((m, problem.rank)), rng.standard_normal((n, problem.rank))


def dense_value(problem, A, B, s):
    """``L`` from its definition, through the objective's dense level."""
    f = problem.objective.value_and_grad(s * (A @ B.T))[0]
    return f + 0.5 * problem.lam * float(np.sum(A**2) + np.sum(B**2))


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
@pytest.mark.parametrize("name", OBJECTIVES)
def test_value_gradient_and_hessian_agree_with_differences(name, adapter):
    problem = make(name, adapter=ADAPTERS[adapter])
    s = {"plain": 1.0, "alpha / r": 1.5, "alpha / sqrt r": 3.0 / math.sqrt(2.0)}[adapter]
    assert problem.scale == pytest.approx(s, rel=1e-15)
    assert problem.lam_effective == pytest.approx(0.3 / s, rel=1e-15)
    (A, B), (U, V) = draw(problem), draw(problem, 2)
    assert problem.value(A, B) == pytest.approx(dense_value(problem, A, B, s), rel=1e-12)
    h = 1e-5
    ahead, back = (A + h * U, B + h * V), (A - h * U, B - h * V)
    slope = (dense_value(problem, *ahead, s) - dense_value(problem, *back, s)) / (2 * h)
    GA, GB = problem.grad(A, B)
    scale = np.linalg.norm(GA) + np.linalg.norm(GB)
    assert float(np.sum(GA * U) + np.sum(GB * V)) == pytest.approx(slope, rel=1e-7, abs=1e-7 * scale)
    for given, plus, minus in zip(problem.hvp(A, B, U, V), problem.grad(*ahead), problem.grad(*back)):
        np.testing.assert_allclose(given, (plus - minus) / (2 * h), atol=1e-6 * scale)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_hessian_form_is_that_of_the_paper(name):
    """``hess f[D, D] + 2 <G, U V^T> + lam (||U||^2 + ||V||^2)`` with ``D = U B^T + A V^T``."""
    problem = make(name)
    (A, B), (U, V) = draw(problem), draw(problem, 2)
    HU, HV = problem.hvp(A, B, U, V)
    X, D = A @ B.T, U @ B.T + A @ V.T
    G = problem.objective.value_and_grad(X)[1]
    form = float(np.sum(D * problem.objective.hessian_product(X, D))) + 2 * float(np.sum(G * (U @ V.T)))
    form += 0.3 * float(np.sum(U**2) + np.sum(V**2))
    assert float(np.sum(HU * U) + np.sum(HV * V)) == pytest.approx(form, rel=1e-8)


@pytest.mark.parametrize("lam", [0.0, 0.4])
@pytest.mark.parametrize("frozen", ["A", "B"])
def test_a_frozen_factor_has_no_gradient_and_the_other_keeps_its_own(frozen, lam):
    problem = make("softmax", lam=lam, adapter=LoRA(frozen=frozen))
    A, B = draw(problem)
    gradients = dict(zip("AB", problem.grad(A, B)))
    free = dict(zip("AB", make("softmax", lam=lam).grad(A, B)))
    other = "B" if frozen == "A" else "A"
    assert not gradients[frozen].any()
    np.testing.assert_array_equal(gradients[other], free[other])
    assert problem.value(A, B) == make("softmax", lam=lam).value(A, B)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_without_weight_decay_only_the_loss_remains(name):
    problem = make(name, lam=0.0)
    A, B = draw(problem)
    f, G = problem.objective.value_and_grad(A @ B.T)
    assert problem.value(A, B) == pytest.approx(f, rel=1e-12)
    assert problem.convex_value(A @ B.T) == pytest.approx(f, rel=1e-12)
    np.testing.assert_allclose(problem.grad(A, B)[0], G @ B, atol=1e-11)


def test_convex_value_adds_the_scaled_nuclear_norm():
    M = np.diag([3.0, 1.0])
    X = np.array([[0.0, 2.0], [-1.0, 0.0]])  # singular values 2 and 1
    f = 0.5 * float(np.sum((X - M) ** 2))
    assert Problem(Denoising(M), 1, 0.5).convex_value(X) == pytest.approx(f + 0.5 * 3.0)
    assert Problem(Denoising(M), 1, 0.5, LoRA(alpha=4.0)).convex_value(X) == pytest.approx(f + 0.125 * 3.0)


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
def test_convex_value_bounds_the_factored_value_and_meets_it_at_balanced_factors(adapter):
    problem = make("linear", adapter=ADAPTERS[adapter])
    A, B = draw(problem)
    X = problem.scale * (A @ B.T)
    assert problem.value(A, B) > problem.convex_value(X)
    P, sigma, Qt = np.linalg.svd(A @ B.T, full_matrices=False)
    root = np.sqrt(sigma[:2])
    balanced = P[:, :2] * root, Qt[:2].T * root
    assert problem.value(*balanced) == pytest.approx(problem.convex_value(X), rel=1e-12)
    assert problem.factored_convex_value(A, B) == pytest.approx(problem.convex_value(X), rel=1e-12)


def test_rotating_both_factors_changes_nothing():
    problem = make("huber")
    A, B = draw(problem)
    rotation = np.linalg.qr(np.random.default_rng(5).standard_normal((2, 2)))[0]
    assert problem.value(A @ rotation, B @ rotation) == pytest.approx(problem.value(A, B), rel=1e-13)


def test_flat_parameters_are_the_factors_row_by_row():
    problem = make("denoising")
    A, B = draw(problem)
    theta = problem.join(A, B)
    assert problem.size == theta.size == 2 * sum(problem.shape)
    np.testing.assert_array_equal(theta, np.concatenate([A.ravel(), B.ravel()]))
    views = problem.split(theta)
    views[0][0, 0] = 7.0
    assert theta[0] == 7.0
    np.testing.assert_allclose(problem.update(problem.join(A, B)), A @ B.T, atol=1e-15)


def test_the_plain_twin_is_the_same_problem():
    problem = make("softmax", adapter=LoRA(alpha=2.0))
    A, B = draw(problem)
    plain = problem.plain()
    assert plain.value(A, B) == pytest.approx(problem.value(A, B), rel=1e-13)
    for given, expected in zip(plain.grad(A, B), problem.grad(A, B)):
        np.testing.assert_allclose(given, expected, atol=1e-13)


def test_replace_keeps_what_is_not_named():
    problem = make("softmax", lam=0.3, adapter=LoRA(alpha=2.0))
    other = problem.replace(rank=3)
    assert (other.rank, other.lam, other.adapter) == (3, 0.3, LoRA(alpha=2.0))
    assert other.objective is problem.objective
    assert problem.rank == 2


def test_float32_objectives_make_float32_problems():
    objective = registry.classes()["softmax"].example(np.random.default_rng(0), np.float32)
    problem = Problem(objective, 2, 0.1)
    A, B = draw(problem)
    assert problem.dtype == np.float32
    assert problem.join(A, B).dtype == np.float32
    exact = make("softmax", lam=0.1)
    assert problem.value(A, B) == pytest.approx(exact.value(A, B), rel=1e-5)
    np.testing.assert_allclose(problem.grad(A, B)[0], exact.grad(A, B)[0], atol=1e-5)


def test_factors_that_are_read_only_strided_or_integer_are_accepted():
    problem = make("denoising")
    A, B = np.arange(12).reshape(6, 2), np.ones((4, 2))
    expected = problem.value(A.astype(float), B)
    frozen = A.astype(float)
    frozen.flags.writeable = False
    for given in (A, frozen, np.asfortranarray(A, dtype=float), np.repeat(A, 2, axis=0)[::2]):
        assert problem.value(given, B) == expected


def test_the_description_names_everything():
    assert repr(make("denoising")) == "Problem(Denoising, 6 x 4, rank=2, lam=0.3, adapter='lora', 20 parameters)"


OBJECTIVE = Denoising(np.ones((4, 3)))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"rank": 0}, ValueError, "rank: expected an integer from 1 to 3, got 0"),
        ({"rank": -1}, ValueError, "rank: expected an integer from 1 to 3, got -1"),
        ({"rank": 4}, ValueError, "rank: expected an integer from 1 to 3, got 4"),
        ({"rank": 2.0}, TypeError, "rank: expected an integer from 1 to 3, got 2.0"),
        ({"rank": True}, TypeError, "rank: expected an integer"),
        ({"rank": None}, TypeError, "rank: expected an integer"),
        ({"lam": -0.1}, ValueError, r"lam: expected a finite number in \[0, inf\), got -0.1"),
        ({"lam": math.nan}, ValueError, "lam: expected a finite number"),
        ({"lam": math.inf}, ValueError, "lam: expected a finite number"),
        ({"lam": "0.1"}, TypeError, "lam: expected a finite number"),
        ({"adapter": "lor"}, ValueError, "adapter: unknown adapter 'lor'. Did you mean 'lora'"),
        ({"adapter": 3}, TypeError, "adapter: expected the name of an adapter or an instance of Adapter, got int"),
        ({"adapter": LoRA}, TypeError, "adapter: expected the name"),
        ({"objective": np.ones((4, 3))}, TypeError, "objective: .*value_and_grad"),
        ({"objective": None}, TypeError, "objective: expected an object with `shape`"),
    ],
    ids=str,
)
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error, match=words):
        Problem(**({"objective": OBJECTIVE, "rank": 2, "lam": 0.1} | arguments))


@pytest.mark.parametrize(
    ("A", "B", "error", "words"),
    [
        (np.ones((4, 1)), np.ones((3, 2)), ValueError, r"A: expected shape \(4, 2\), got \(4, 1\)"),
        (np.ones((4, 2)), np.ones((4, 2)), ValueError, r"B: expected shape \(3, 2\), got \(4, 2\)"),
        (np.ones(8), np.ones((3, 2)), ValueError, "A: expected 2 dimensions"),
        (np.full((4, 2), np.nan), np.ones((3, 2)), ValueError, "A: has non-finite entries"),
        (np.ones((4, 2)), np.ones((3, 2), complex), TypeError, "B: expected real numbers"),
    ],
)
def test_bad_factors_are_named(A, B, error, words):
    problem = Problem(OBJECTIVE, 2, 0.1)
    for method in (problem.value, problem.grad):
        with pytest.raises(error, match=words):
            method(A, B)
    with pytest.raises(error, match=words):
        problem.hvp(A, B, np.ones((4, 2)), np.ones((3, 2)))


@pytest.mark.parametrize("size", [10, 30])
def test_parameters_of_another_problem_are_refused(size) -> None:
    """Of a longer vector the rest was left out in silence, a shorter one ended in NumPy's words about shapes."""
    problem = Problem(Denoising(np.eye(6, 5)), 2, 0.5)
    for read in (problem.update, problem.split):
        with pytest.raises(ValueError, match=rf"^theta: expected a vector of 22 parameters, got .*\({size},\)"):
            read(np.ones(size))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("size", [10, 30])
def test_a_vector_of_another_size_is_named(size: int, several: bool) -> None:
    """Of a longer one the rest was left out in silence; a shorter one ended in NumPy's words about shapes."""
    one = Problem(Denoising(np.eye(6, 5)), 2, 0.5)
    problem = MultiProblem(Separable([one.objective]), 2, 0.5) if several else one
    good, bad = np.ones(22), np.ones(size)
    for argument, call in [
        ("theta", lambda: problem.value_and_grad(bad, good)),
        ("grad", lambda: problem.value_and_grad(good, bad)),
        ("grad", lambda: problem.stationarity(good, bad)),
        ("theta", lambda: problem.hessian_product(bad, good)),
        ("direction", lambda: problem.hessian_product(good, bad)),
        ("theta", lambda: problem.gradient_operators(bad)),
        ("theta", lambda: problem.split_blocks(bad)),
    ]:
        with pytest.raises(ValueError, match=rf"^{argument}: expected a vector of 22 parameters, got .*\({size},\)"):
            call()


@pytest.mark.parametrize("answer", [None, ("f", "grad"), "1.0"])
def test_an_adapter_that_returns_no_value_is_named(answer) -> None:
    """``return f`` is soon forgotten: it was a sum of NoneType and float."""

    class Forgetful(LoRA):
        def value_and_grad(self, objective, theta, rank, grad):
            grad[:] = 1.0
            return answer

    problem = Problem(Denoising(np.eye(6, 5)), 2, 0.5, Forgetful())
    with pytest.raises(TypeError, match=r"^adapter: lora\.value_and_grad returned .*, expected the value of f"):
        problem.value_and_grad(np.ones(22), np.ones(22))


def test_second_order_products_are_refused_where_the_update_is_no_product():
    objective = registry.classes()["softmax"].example(np.random.default_rng(0))
    problem = Problem(objective, 2, 0.1, "dora")
    A, B = draw(problem)
    with pytest.raises(ValueError, match="hvp: needs an adapter with X = s A B"):
        problem.hvp(A, B, A, B)
    with pytest.raises(ValueError, match="hessian_at: needs an adapter with X = s A B"):
        problem.hessian_at(problem.join(A, B))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"alpha": 0.0}, ValueError, "alpha: expected"),
        ({"alpha": math.nan}, ValueError, "alpha: expected"),
        ({"rslora": True}, ValueError, "rslora: .*needs a value of alpha"),
        ({"frozen": "C"}, ValueError, "frozen: expected None, 'A' or 'B', got 'C'"),
    ],
)
def test_bad_adapter_settings_are_named(settings, error, words):
    with pytest.raises(error, match=words):
        LoRA(**settings)


@pytest.mark.parametrize("name", ["objective", "rank", "lam", "adapter", "shape", "scale", "size", "new"])
def test_a_problem_cannot_be_changed_in_place(name):
    problem = make("denoising", 0.1)
    before = vars(problem).copy()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(problem, name, 1)
    assert vars(problem) == before


@dataclasses.dataclass(frozen=True)
class Halved(LoRA):
    """An adapter of a user that states ``X = A B^T``."""

    share: float = 0.5
    name = "halved"

    def update(self, objective, theta, rank):
        return self.share * super().update(objective, theta, rank)


def test_an_adapter_whose_update_is_not_the_product_that_it_states_is_refused():
    """Its certificate would be about ``A B^T`` and its results hand out another matrix."""
    assert make("denoising", adapter=Halved(share=1.0)).adapter.low_rank
    with pytest.raises(ValueError, match=r"adapter: 'halved' .* differs from s A B\^T .* by 0\.5 .* check_adapter"):
        make("denoising", adapter=Halved())


def test_replace_checks_again_and_derives_again():
    problem = make("denoising", 0.5)
    other = problem.replace(rank=1, adapter=LoRA(alpha=4.0))
    assert (problem.rank, problem.scale, problem.size) == (2, 1.0, 20)
    assert (other.rank, other.scale, other.lam_effective, other.size) == (1, 4.0, 0.125, 10)
    assert other.objective is problem.objective
    with pytest.raises(ValueError, match="rank: expected an integer from 1 to 4, got 5"):
        problem.replace(rank=5)
    with pytest.raises(TypeError, match="steps"):
        problem.replace(steps=5)


def test_two_problems_are_equal_only_if_they_are_one():
    problem = make("denoising", 0.5)
    assert problem != problem.replace() and len({problem, problem.replace(), problem}) == 2


@pytest.mark.parametrize("least", [None, 0.0, -3.0])
def test_a_curvature_that_is_needed_is_one_below_which_the_loss_would_fall_below_its_least_value(least):
    """``f(X - t G) <= f(X) - t ||G||^2 + t^2 c ||G||^2/2`` is least at ``t = 1/c``, by ``||G||^2/(2 c)``."""
    loss = types.SimpleNamespace(facts=types.SimpleNamespace(lower_bound=least))
    value, square = 2.0, 8.0
    needed = square / (2.0 * (value - (least or 0.0)))
    assert with_needed(0.0, loss, square, value) == needed
    assert with_needed(2.0 * needed, loss, square, value) == 2.0 * needed
    # What is sampled is believed where no least value contradicts it.
    assert with_needed(0.5 * needed, loss, square, value) == (0.5 if least is None else 1.0) * needed
    # Nothing is known at the least value itself, nor from what overflows.
    for odd in ((square, least or 0.0), (math.inf, value), (square, math.inf)):
        assert with_needed(0.25, loss, *odd) == 0.25 and with_needed(0.0, loss, *odd) == 1.0
