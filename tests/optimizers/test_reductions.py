"""Each method with its extra switched off is the simpler method; settings and combinations that are refused."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import lorasolve as ls
from lorasolve import optimizers
from lorasolve.adapters import DoRA, LoRA
from lorasolve.objectives import Denoising, LinearFineTuning, MatrixCompletion


def linear(lam=0.1, rank=2, adapter="lora", seed=0):
    rng = np.random.default_rng(seed)
    objective = LinearFineTuning(*(rng.standard_normal(size) for size in ((6, 4), (4, 40), (6, 40))))
    return ls.Problem(objective, rank, lam, adapter)


def path(problem, optimizer, steps=60, **options):
    """Return the accepted iterates."""
    seen = []
    ls.solve(
        problem,
        optimizer,
        stop=ls.StoppingRule(max_iter=steps),
        callback=lambda state: seen.append(state.theta.copy()),
        **options,
    )
    return np.array(seen)


@pytest.mark.parametrize("step_size", [None, 0.05])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("HeavyBall", {"momentum": 0.0}),
        ("Nesterov", {"momentum": 0.0}),
        ("LoRAPlus", {"ratio": 1.0}),
    ],
)
def test_without_its_extra_it_is_gradient_descent(name, settings, step_size):
    reduced = getattr(optimizers, name)(step_size=step_size, **settings)
    assert_allclose(path(linear(), reduced), path(linear(), optimizers.GD(step_size=step_size)), rtol=1e-13, atol=1e-15)


def test_full_batches_are_gradient_descent():
    reduced = optimizers.SGD(step_size=0.05, batch_size=40)
    assert_allclose(path(linear(), reduced), path(linear(), optimizers.GD(step_size=0.05)), rtol=1e-11, atol=1e-13)


def test_batches_of_an_epoch_cover_every_sample_once():
    problem = linear()
    theta = problem.join(*(np.random.default_rng(1).standard_normal((k, 2)) for k in problem.shape))
    method = optimizers.SGD(step_size=0.1, batch_size=8)
    state = method.init(problem, theta, np.random.default_rng(0))
    grad, mean = np.empty_like(theta), np.zeros_like(theta)
    for _ in range(5):
        method.evaluate(problem, state, grad)
        mean += grad / 5
    problem.value_and_grad(theta, grad)
    assert_allclose(mean, grad, atol=1e-12)


def test_adamw_without_decay_is_adam():
    problem = linear(lam=0.0)
    assert_array_equal(path(problem, "adamw"), path(problem, "adam"))


def test_adamw_is_adam_on_f_followed_by_shrinkage():
    first = path(linear(lam=0.3), "adamw", steps=1)
    plain = path(linear(lam=0.0), "adam", steps=1)
    assert_allclose(first[1], plain[1] - 0.01 * 0.3 * plain[0], atol=1e-15)


def test_adam_by_the_formulas_of_the_paper():
    problem = linear()
    iterates = path(problem, optimizers.Adam(step_size=0.02), steps=5)
    theta, m, v = iterates[0].copy(), 0.0, 0.0
    for t in range(1, 6):
        g = np.concatenate([part.ravel() for part in problem.grad(*problem.split(theta)[:2])])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta -= 0.02 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        assert_allclose(iterates[t], theta, atol=1e-13)


def test_heavy_ball_and_nesterov_by_their_recursions():
    problem = linear()

    def gradient(theta):
        return np.concatenate([part.ravel() for part in problem.grad(*problem.split(theta)[:2])])

    ball = path(problem, optimizers.HeavyBall(step_size=0.02, momentum=0.8), steps=6)
    fast = path(problem, optimizers.Nesterov(step_size=0.02, momentum=0.8, restart=None), steps=6)
    for k in range(1, 6):
        assert_allclose(ball[k + 1], ball[k] - 0.02 * gradient(ball[k]) + 0.8 * (ball[k] - ball[k - 1]), atol=1e-14)
        x, previous = (fast[j] - 0.02 * gradient(fast[j]) for j in (k, k - 1))
        assert_allclose(fast[k + 1], x + 0.8 * (x - previous), atol=1e-14)


@pytest.mark.parametrize("restart", ["gradient", "function"])
def test_nesterov_restarts_where_its_condition_says(restart):
    problem = linear(lam=0.01)
    step = 0.02
    y = path(problem, optimizers.Nesterov(step_size=step, restart=restart), steps=200)
    values, grads = [], []
    for theta in y:
        grads.append(np.empty_like(theta))
        values.append(problem.value_and_grad(theta, grads[-1]))
    x, t, restarts = y[0], 1.0, 0
    for k in range(200):
        change = y[k] - step * grads[k] - x
        x = x + change
        if grads[k] @ change > 0 if restart == "gradient" else k > 0 and values[k] > values[k - 1]:
            expected, t = x, 1.0
            restarts += 1
        else:
            following = (1 + np.sqrt(1 + 4 * t**2)) / 2
            expected, t = x + (t - 1) / following * change, following
        assert_allclose(y[k + 1], expected, atol=1e-11)
    assert restarts >= 1


def test_lora_plus_steps_of_the_two_factors():
    problem = linear()
    iterates = path(problem, optimizers.LoRAPlus(step_size=0.01, ratio=5.0), steps=1)
    (A, B, _), (GA, GB) = problem.split(iterates[0]), problem.grad(*problem.split(iterates[0])[:2])
    A1, B1, _ = problem.split(iterates[1])
    assert_allclose(A1, A - 0.01 * GA, atol=1e-15)
    assert_allclose(B1, B - 0.05 * GB, atol=1e-15)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_scaled_gd_sees_the_product_only(scale):
    problem = linear(lam=0.0, adapter=LoRA(alpha=2 * scale))
    rng = np.random.default_rng(7)
    A, B, M = rng.standard_normal((6, 2)), rng.standard_normal((4, 2)), rng.standard_normal((2, 2))
    method = optimizers.ScaledGD(step_size=0.1, damping=0.0)
    starts = ((A, B), (A @ M, B @ np.linalg.inv(M).T))
    for one, other in zip(*(path(problem, method, steps=20, init=start) for start in starts)):
        assert_allclose(problem.update(one), problem.update(other), atol=1e-10)
    moved = path(problem, method, steps=1, init=(A, B))[1]
    A1, B1, _ = problem.split(moved)
    GA, GB = problem.grad(A, B)
    assert_allclose(A1, A - 0.1 * GA @ np.linalg.inv(B.T @ B) / scale**2, atol=1e-12)
    assert_allclose(B1, B - 0.1 * GB @ np.linalg.inv(A.T @ A) / scale**2, atol=1e-12)


def test_with_weight_decay_scaled_gd_sees_more_than_the_product():
    """The gradient is GB + lam A, and lam A (B^T B)^{-1} B^T is another for another factoring of the same product."""
    problem = linear(lam=0.5)
    rng = np.random.default_rng(7)
    A, B, M = rng.standard_normal((6, 2)), rng.standard_normal((4, 2)), np.array([[3.0, 1.0], [0.0, 0.4]])
    G = problem.objective.value_and_grad(A @ B.T)[1]
    method = optimizers.ScaledGD(step_size=0.1, damping=0.0)
    ends = []
    for left, right in ((A, B), (A @ M, B @ np.linalg.inv(M).T)):
        ends.append(problem.update(path(problem, method, steps=1, init=(left, right))[1]))
        A1 = left - 0.1 * (G @ right + 0.5 * left) @ np.linalg.inv(right.T @ right)
        B1 = right - 0.1 * (G.T @ left + 0.5 * right) @ np.linalg.inv(left.T @ left)
        assert_allclose(ends[-1], A1 @ B1.T, atol=1e-12)
    assert np.linalg.norm(ends[0] - ends[1]) > 1e-2 * np.linalg.norm(ends[0])


def test_als_never_rises_and_each_half_is_stationary():
    problem = linear(adapter=LoRA(alpha=3.0))
    values = []
    result = ls.solve(problem, "als", callback=lambda state: values.append(state.value))
    assert result.success
    assert np.all(np.diff(values) <= 1e-13 * np.abs(values[:-1]))
    # A is updated last, so its own gradient is zero after every sweep.
    seen = path(problem, "als", steps=3)
    for theta in seen[1:]:
        assert_allclose(problem.grad(*problem.split(theta)[:2])[0], 0.0, atol=1e-11)


def test_als_with_a_frozen_factor_solves_for_the_other():
    problem = linear(adapter=LoRA(frozen="A"))
    result = ls.solve(problem, "als", "gaussian")
    A, B = result.A, result.B
    assert result.nit <= 2 and result.success
    assert_allclose(problem.grad(A, B)[1], 0.0, atol=1e-9)
    assert_array_equal(A, 0.1 * np.random.default_rng(0).standard_normal((6, 2)))


def test_backtracking_accepts_armijo_steps_only():
    problem = linear()
    record = []

    def callback(state):
        record.append((state.theta.copy(), state.value))

    result = ls.solve(problem, "gd_backtracking", stop=ls.StoppingRule(max_iter=30), callback=callback)
    assert result.nfev > result.nit + 1
    for (theta, value), (following, lower) in itertools.pairwise(record):
        g = np.concatenate([part.ravel() for part in problem.grad(*problem.split(theta)[:2])])
        step = np.vdot(theta - following, g) / np.vdot(g, g)
        assert_allclose(theta - following, step * g, atol=1e-12)
        assert lower <= value - 0.3 * step * np.vdot(g, g) + 1e-12


@pytest.mark.parametrize(
    "name", ["gd", "gd_backtracking", "heavy_ball", "lora_plus", "lora_pro", "nesterov", "scaled_gd"]
)
def test_derived_steps_never_raise_the_objective(name):
    values = []
    ls.solve(
        linear(lam=0.01),
        name,
        "gaussian",
        stop=ls.StoppingRule(max_iter=300),
        callback=lambda state: values.append(state.value),
    )
    assert np.all(np.diff(values) <= 1e-11 * values[0])


@pytest.mark.parametrize("engine", ["compiled", "interpreted"])
def test_the_derived_step_is_the_inverse_of_the_bound_at_the_start_and_after_1_3_7_15_iterations(engine):
    """On ``||X - M||^2/2``: ``||A||_2^2 + ||B||_2^2 + ||A B^T - M||_2 + lam``."""
    M = np.random.default_rng(4).standard_normal((7, 6))
    bounds, refreshed = [], [0, 1, 3, 7, 15]

    def bound(state):
        lengths = (np.linalg.norm(factor, 2) ** 2 for factor in (state.A, state.B))
        bounds.append(sum(lengths) + np.linalg.norm(state.A @ state.B.T - M, 2) + 0.1)

    problem, stop = ls.Problem(Denoising(M), 2, 0.1), ls.StoppingRule(max_iter=20, grad_tol=0.0)
    result = ls.solve(problem, "gd", "gaussian", stop=stop, callback=bound, engine=engine)
    assert result.nfev == 21  # no step has been taken back
    last = [max(k for k in refreshed if k <= t) for t in range(21)]
    assert_allclose(result.trace.step, 1.0 / np.array(bounds)[last], rtol=1e-4)
    # In between it is that of an earlier point.
    assert np.abs(np.diff(bounds)[[1, 3, 7, 15]]).min() > 1e-3 * bounds[0]


@pytest.mark.parametrize("name", ["lbfgs", "trust_ncg"])
def test_scipy_methods_with_a_frozen_factor(name):
    problem = linear(adapter=LoRA(frozen="B"))
    result = ls.solve(problem, name, "gaussian")
    rng = np.random.default_rng(0)
    rng.standard_normal((6, 2))
    assert_array_equal(result.B, 0.1 * rng.standard_normal((4, 2)))
    assert_allclose(problem.grad(result.A, result.B)[0], 0.0, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "settings", "word"),
    [
        ("HeavyBall", {"momentum": 1.0}, "momentum"),
        ("Nesterov", {"restart": "often"}, "restart"),
        ("Adam", {"step_size": 0.0}, "step_size"),
        ("Adam", {"beta1": -0.1}, "beta1"),
        ("AdamW", {"weight_decay": -1.0}, "weight_decay"),
        ("SGD", {"batch_size": 0}, "batch_size"),
        ("LoRAPlus", {"ratio": 0.0}, "ratio"),
        ("ScaledGD", {"damping": -1.0}, "damping"),
        ("LoRAPro", {"mode": "best"}, "mode"),
        ("GDBacktracking", {"decrease": 0.5}, "decrease"),
        ("GDBacktracking", {"grow": 0.9}, "grow"),
        ("LBFGS", {"maxcor": 0}, "maxcor"),
    ],
)
def test_settings_that_make_no_sense(name, settings, word):
    with pytest.raises(ValueError, match=word):
        getattr(optimizers, name)(**settings)


@pytest.mark.parametrize("name", ["als", "lora_pro", "scaled_gd", "trust_ncg"])
def test_methods_of_the_factors_refuse_dora(name):
    with pytest.raises(ValueError, match=f"{name}.*'dora' is not of this form"):
        ls.solve(linear(adapter="dora"), name)


@pytest.mark.parametrize("name", ["gd_backtracking", "lbfgs"])
def test_line_searches_refuse_the_detached_norm(name):
    assert ls.solve(linear(adapter=DoRA()), name, stop=ls.StoppingRule(max_iter=5)).nit
    with pytest.raises(ValueError, match="detached norm"):
        ls.solve(linear(adapter=DoRA(detach=True)), name)


def test_other_refusals_give_the_reason():
    rng = np.random.default_rng(0)
    M = rng.standard_normal((5, 4))
    with pytest.raises(ValueError, match="Denoising is not a mean over samples"):
        ls.solve(ls.Problem(Denoising(M), 2), "sgd")
    with pytest.raises(ValueError, match="frozen factor makes no sense"):
        ls.solve(linear(adapter=LoRA(frozen="A")), "lora_pro", "gaussian")

    class Quartic:
        shape = (3, 3)

        def value_and_grad(self, X):
            return float(np.sum(X**4)), 4 * X**3

    with pytest.raises(ValueError, match=r"it minimises one factor at a time.*no closed form"):
        ls.solve(ls.Problem(Quartic(), 1), "als")


def test_als_on_completion_meets_the_normal_equations():
    rng = np.random.default_rng(2)
    rows, cols = np.nonzero(rng.random((8, 7)) < 0.6)
    problem = ls.Problem(MatrixCompletion(rows, cols, rng.standard_normal(rows.size), (8, 7)), 2, 0.3)
    result = ls.solve(problem, "als", stop=ls.StoppingRule(max_iter=5000))
    assert result.success
    assert_allclose(result.A.T @ result.A, result.B.T @ result.B, atol=1e-6)
