"""DoRA: gradients, the detached direction, what the parametrisation can reach, guards."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import lorasolve as ls
from lorasolve.adapters import DoRA
from lorasolve.adapters.dora import direction_norms
from lorasolve.objectives import Denoising, LinearFineTuning, as_objective

SHAPE, RANK, ALPHA = (7, 5), 2, 3.4


class LogCosh:
    """A non-quadratic f on the adapted weight: 2 sum log cosh(W - T) + <C, W>."""

    def __init__(self, shape=SHAPE, seed=0):
        rng = np.random.default_rng(seed)
        self.shape = shape
        self.W0, self.T, self.C = (rng.standard_normal(shape) for _ in range(3))

    def value_and_grad(self, X):
        W = self.W0 + X
        return float(np.sum(2 * np.log(np.cosh(W - self.T)) + self.C * W)), 2 * np.tanh(W - self.T) + self.C


class Linear:
    """f(W) = <C, W> with a frozen weight."""

    def __init__(self, W0, C):
        self.W0, self.C, self.shape = W0, C, W0.shape

    def value_and_grad(self, X):
        return float(np.sum(self.C * (self.W0 + X))), self.C


def distance_to(W0, T):
    """Return f(W) = ||W - T||_F^2 / 2 as linear fine-tuning with orthonormal inputs."""
    n = W0.shape[1]
    return LinearFineTuning(W0, np.sqrt(n) * np.eye(n), np.sqrt(n) * T)


def problem(objective=None, lam=0.0, **settings):
    settings = {"alpha": ALPHA, **settings}
    return ls.Problem(objective or LogCosh(), RANK, lam, DoRA(**settings))


def random_theta(of, seed=1):
    return np.random.default_rng(seed).standard_normal(of.size)


def gradient(of, theta):
    grad = np.empty_like(theta)
    value = of.value_and_grad(theta, grad)
    return value, grad


def by_hand(objective, theta, axis, norms=None):
    """Return f and the weight from the definition; ``norms`` replaces the norm of V (a frozen norm)."""
    m, n = objective.shape
    a, b = m * RANK, (m + n) * RANK
    A, B, w = theta[:a].reshape(m, RANK), theta[a:b].reshape(n, RANK), theta[b:]
    V = objective.W0 + ALPHA / RANK * A @ B.T
    c = np.linalg.norm(V, axis=axis) if norms is None else norms
    W = V * (w / c) if axis == 0 else V * (w / c)[:, None]
    return objective.value_and_grad(W - objective.W0)[0], W, c


@pytest.mark.parametrize("axis", [0, 1])
def test_value_update_and_gradient(axis):
    objective = LogCosh()
    dora = problem(objective, axis=axis)
    theta = random_theta(dora)
    assert dora.size == 12 * RANK + (5 if axis == 0 else 7)
    value, grad = gradient(dora, theta)
    f, W, _ = by_hand(objective, theta, axis)
    assert_allclose(value, f, rtol=1e-13)
    assert_allclose(dora.update(theta), W - objective.W0, atol=1e-13)
    for k, step in enumerate(1e-6 * np.eye(theta.size)):
        slope = (by_hand(objective, theta + step, axis)[0] - by_hand(objective, theta - step, axis)[0]) / 2e-6
        assert_allclose(grad[k], slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("axis", [0, 1])
def test_detached_direction_is_the_gradient_with_frozen_norms(axis):
    objective = LogCosh()
    dora = problem(objective, axis=axis, detach=True)
    assert not dora.adapter.exact_gradient
    theta = random_theta(dora)
    value, direction = gradient(dora, theta)
    f, _, norms = by_hand(objective, theta, axis)
    assert_allclose(value, f, rtol=1e-13)
    for k, step in enumerate(1e-6 * np.eye(theta.size)):
        ends = [by_hand(objective, theta + sign * step, axis, norms)[0] for sign in (1, -1)]
        assert_allclose(direction[k], (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("detach", [False, True])
def test_rows_are_the_columns_of_the_transpose(detach):
    objective = LogCosh()
    flipped = LogCosh()
    flipped.shape, flipped.W0, flipped.T, flipped.C = (5, 7), objective.W0.T, objective.T.T, objective.C.T
    rows, columns = problem(objective, axis=1, detach=detach), problem(flipped, axis=0, detach=detach)
    theta = random_theta(rows)
    A, B, w = rows.split(theta)
    other = np.concatenate([B.ravel(), A.ravel(), w])
    (value, grad), (other_value, other_grad) = gradient(rows, theta), gradient(columns, other)
    assert_allclose(other_value, value, rtol=1e-13)
    GA, GB, Gw = rows.split(grad)
    assert_allclose(other_grad, np.concatenate([GB.ravel(), GA.ravel(), Gw]), atol=1e-13)
    assert_allclose(columns.update(other), rows.update(theta).T, atol=1e-13)


@pytest.mark.parametrize("axis", [0, 1])
def test_exact_and_detached_share_their_stationary_points(axis):
    rng = np.random.default_rng(2)
    # Without decay the factors can grow for ever; a little of it makes the infimum a minimum.
    given = {"objective": distance_to(*rng.standard_normal((2, *SHAPE))), "lam": 0.1, "axis": axis}
    rule = ls.StoppingRule(max_iter=20_000, grad_tol=1e-9)
    end = ls.solve(problem(**given), "lbfgs", "gaussian", stop=rule)
    assert end.success and end.fun > 0.1
    assert_allclose(gradient(problem(**given, detach=True), end.theta)[1], 0.0, atol=1e-6)
    # With the magnitudes frozen the two differ.
    frozen = ls.solve(problem(**given, freeze_magnitude=True), "lbfgs", "gaussian", stop=rule)
    assert frozen.success
    loose = problem(**given, detach=True, freeze_magnitude=True)
    assert np.abs(gradient(loose, frozen.theta)[1]).max() > 1e-2


def test_the_detached_direction_can_point_uphill():
    # W0 = (0, -1/10), A = (10, 1), B = 1/10, w = 1, f = -W_1/2 + W_2: dL/dt = +187/50 along the detached step,
    # -63/50 along the exact one.
    objective = Linear(np.array([[0.0], [-0.1]]), np.array([[-0.5], [1.0]]))
    theta = np.array([10.0, 1.0, 0.1, 1.0])
    exact, detached = (ls.Problem(objective, 1, 0.0, DoRA(axis=0, detach=flag)) for flag in (False, True))
    (value, gradient_), (_, direction) = gradient(exact, theta), gradient(detached, theta)
    assert value == pytest.approx(-0.5)
    assert -gradient_ @ gradient_ == pytest.approx(float(Fraction(-63, 50)), rel=1e-12)
    assert -gradient_ @ direction == pytest.approx(float(Fraction(187, 50)), rel=1e-12)
    for step in (1e-3, 1e-4, 1e-5):
        assert gradient(exact, theta - step * direction)[0] > value
        assert gradient(exact, theta - step * gradient_)[0] < value


def test_norms_are_kept_by_the_free_direction_and_not_by_the_factors():
    # With r = n and B = I the gradient in A is that in V itself.
    objective = as_objective(LogCosh((5, 5), seed=3))
    free = ls.Problem(objective, 5, 0.0, DoRA(axis=0))
    rng = np.random.default_rng(4)
    A = rng.standard_normal((5, 5))
    theta = free.join(A, np.eye(5), rng.standard_normal(5))
    F = free.split(gradient(free, theta)[1])[0]
    V = objective.W0 + A
    assert_allclose(np.sum(F * V, axis=0), 0.0, atol=1e-13)
    # Exact gradient against detached one: <F, D> = ||F||^2, because they differ by a radial part.
    D = ls.Problem(objective, 5, 0.0, DoRA(axis=0, detach=True))
    D = D.split(gradient(D, theta)[1])[0]
    assert_allclose(np.vdot(F, D), np.vdot(F, F), rtol=1e-12)
    assert np.abs(D - F).max() > 0.1

    dora = problem(axis=0)
    theta = random_theta(dora)
    A, B, _ = dora.split(theta)
    GA, GB, _ = dora.split(gradient(dora, theta)[1])
    V = LogCosh().W0 + dora.scale * A @ B.T
    velocity = -dora.scale * (GA @ B.T + A @ GB.T)
    assert np.abs(np.sum(V * velocity, axis=0)).max() > 0.1


@pytest.mark.parametrize("axis", [0, 1])
def test_the_update_is_a_rescaling_of_the_weight_plus_low_rank(axis):
    dora = problem(axis=axis)
    theta = random_theta(dora)
    W0, X = LogCosh().W0, dora.update(theta)
    A, B, w = dora.split(theta)
    d = w / np.linalg.norm(W0 + dora.scale * A @ B.T, axis=axis)
    rescaled = W0 * d if axis == 0 else W0 * d[:, None]
    assert np.linalg.matrix_rank(W0 + X - rescaled, tol=1e-10) == RANK
    assert np.linalg.matrix_rank(X, tol=1e-10) == 5


def test_optimum_agrees_with_the_alternating_solver():
    rng = np.random.default_rng(6)
    W0 = rng.standard_normal((8, 6))
    T = W0 * rng.uniform(0.5, 2.0, 6) + rng.standard_normal((8, 2)) @ rng.standard_normal((2, 6))
    T += 0.1 * rng.standard_normal((8, 6))
    d, Y = np.ones(6), np.zeros((8, 6))
    for _ in range(20_000):
        U, sigma, Vt = np.linalg.svd(T - W0 * d, full_matrices=False)
        Y = U[:, :RANK] * sigma[:RANK] @ Vt[:RANK]
        d = np.sum(W0 * (T - Y), axis=0) / np.sum(W0**2, axis=0)
    alternating = 0.5 * np.sum((W0 * d + Y - T) ** 2)
    dora = ls.Problem(distance_to(W0, T), RANK, 0.0, DoRA(axis=0))
    best = min(
        ls.solve(dora, "lbfgs", init, seed=seed, stop=ls.StoppingRule(max_iter=20_000)).fun
        for init in ("lora", "gaussian")
        for seed in range(3)
    )
    assert best == pytest.approx(alternating, rel=1e-8)
    floor = 0.5 * np.sum(np.linalg.svd(T - W0, compute_uv=False)[RANK:] ** 2)
    assert best < 0.5 * floor


@pytest.mark.parametrize("axis", [0, 1])
def test_norms_from_the_factors(axis):
    rng = np.random.default_rng(7)
    W0, A, B = rng.standard_normal(SHAPE), rng.standard_normal((7, 2)), rng.standard_normal((5, 2))
    assert_allclose(direction_norms(W0, A, B, axis), np.linalg.norm(W0 + A @ B.T, axis=axis), rtol=1e-13)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_dead_rows_and_columns(axis, detach):
    objective = LogCosh()
    objective.W0 = objective.W0.copy()
    (objective.W0.T if axis == 0 else objective.W0)[2] = 0.0
    dora = problem(objective, axis=axis, detach=detach)
    A, B = np.random.default_rng(8).standard_normal((7, 2)), np.zeros((5, 2))
    theta = dora.join(A, B)
    assert dora.split(theta)[2][2] == 0.0
    value, grad = gradient(dora, theta)
    assert np.isfinite(value) and np.isfinite(grad).all()
    assert_allclose(dora.update(theta), 0.0, atol=1e-13)
    if axis == 0:
        assert_array_equal(dora.split(grad)[1][2], 0.0)
    # What has no direction has no length either, whatever its magnitude.
    of_length = theta.copy()
    dora.split(of_length)[2][2] = 1.0
    assert_array_equal(gradient(dora, of_length)[1], grad)
    result = ls.solve(dora, "adam", (A, B), stop=ls.StoppingRule(max_iter=200))
    assert np.isfinite(result.theta).all() and result.fun < value


def test_frozen_magnitudes_stay():
    dora = problem(freeze_magnitude=True, lam=0.1)
    for optimizer in ("gd", "adamw", "heavy_ball", "lbfgs"):
        result = ls.solve(dora, optimizer, stop=ls.StoppingRule(max_iter=30))
        assert_array_equal(dora.split(result.theta)[2], np.linalg.norm(LogCosh().W0, axis=1))
        assert result.fun < result.trace.value[0]


@pytest.mark.parametrize("optimizer", ["gd", "gd_backtracking", "heavy_ball", "nesterov", "adam", "lora_plus", "lbfgs"])
def test_decay_acts_on_the_factors_only(optimizer):
    dora = problem(lam=0.1)
    result = ls.solve(dora, optimizer, stop=ls.StoppingRule(max_iter=40))
    f = by_hand(LogCosh(), result.theta, 1)[0]
    assert result.fun == pytest.approx(f + 0.05 * (np.sum(result.A**2) + np.sum(result.B**2)), rel=1e-12)
    assert result.fun < result.trace.value[0]


def test_detached_runs_descend_from_the_lora_start():
    for optimizer in ("gd", "adam", "heavy_ball"):
        result = ls.solve(problem(detach=True), optimizer, stop=ls.StoppingRule(max_iter=300))
        assert result.fun < result.trace.value[0] - 1.0


def test_refusals():
    with pytest.raises(ValueError, match="needs an objective with a frozen weight"):
        ls.Problem(Denoising(np.eye(4)), 2, adapter="dora")
    with pytest.raises(ValueError, match="axis"):
        DoRA(axis=2)
    with pytest.raises(ValueError, match="alpha"):
        DoRA(alpha=0.0)
    with pytest.raises(ValueError, match="eps"):
        DoRA(eps=0.0)
    with pytest.raises(ValueError, match="hvp"):
        problem().hvp(*(np.ones((k, RANK)) for k in (7, 5, 7, 5)))
