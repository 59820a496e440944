"""SoRA: gradients against differences, the threshold of each variant, closed gates, and the schedule of penalties."""

import itertools

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.adapters import SoRA
from lorasolve.adapters.sora import released_threshold, soft_threshold
from lorasolve.objectives import Denoising
from lorasolve.optimizers import AdamW, ProximalAdamW, ProximalGD
from lorasolve.schedules import Sparsify


def target(m=8, n=6, seed=0):
    return np.random.default_rng(seed).standard_normal((m, n))


def random_theta(p, seed=1):
    return np.random.default_rng(seed).standard_normal(p.size)


@pytest.mark.parametrize("variant", ["paper", "unit_columns"])
@pytest.mark.parametrize("alpha", [None, 6.0])
def test_gradients_against_differences_of_the_dense_loss(variant, alpha):
    M, r = target(), 3
    p = ls.Problem(Denoising(M), r, 0.0, adapter=SoRA(0.0, variant, alpha))
    theta = random_theta(p)
    s = 1.0 if alpha is None else alpha / r

    def loss(theta):
        A, B, g = theta[: 8 * r].reshape(8, r), theta[8 * r : 14 * r].reshape(6, r), theta[14 * r :]
        if variant == "unit_columns":
            A, B = A / np.linalg.norm(A, axis=0), B / np.linalg.norm(B, axis=0)
        return 0.5 * np.sum((s * A @ np.diag(g) @ B.T - M) ** 2)

    grad = np.empty_like(theta)
    assert p.value_and_grad(theta, grad) == pytest.approx(loss(theta), rel=1e-13)
    h = 1e-6
    numeric = [(loss(theta + h * e) - loss(theta - h * e)) / (2 * h) for e in np.eye(theta.size)]
    np.testing.assert_allclose(grad, numeric, atol=2e-8 * np.abs(grad).max() + 1e-8)
    A, B = p.adapter.folded(theta, p.shape, r)
    np.testing.assert_allclose(A @ B.T, p.update(theta), atol=1e-13)
    assert 0.5 * np.sum((p.update(theta) - M) ** 2) == pytest.approx(loss(theta), rel=1e-13)


def test_soft_threshold_is_the_proximal_map():
    grid = np.linspace(-4, 4, 800_001)
    for z in (-2.3, -0.4, 0.0, 0.7, 0.71, 3.1):
        brute = grid[np.argmin(0.5 * (grid - z) ** 2 + 0.7 * np.abs(grid))]
        assert soft_threshold(np.array([z]), 0.7)[0] == pytest.approx(brute, abs=1.1e-5)


def test_released_threshold_doubles_the_dead_zone():
    xi = 0.25
    z = np.array([0.0, 0.1, 0.24, 0.25, 0.26, 0.49, 0.5, 0.51, 2.0])
    expected = np.array([0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.25, 0.26, 1.75])
    np.testing.assert_allclose(released_threshold(z, xi), expected, atol=1e-15)
    np.testing.assert_allclose(released_threshold(-z, xi), -expected, atol=1e-15)
    # it differs from the soft threshold exactly on xi <= |z| < 2 xi
    grid = np.linspace(-1, 1, 2001)
    differ = np.abs(released_threshold(grid, xi) - soft_threshold(grid, xi)) > 1e-12
    np.testing.assert_array_equal(differ, (np.abs(grid) > xi - 1e-9) & (np.abs(grid) < 2 * xi - 1e-9))


def test_each_variant_applies_its_own_threshold():
    p = ls.Problem(Denoising(target()), 2, adapter=SoRA(0.25, "paper"))
    for variant, expected in (("paper", 0.275), ("fixed_threshold", 0.05), ("released", 0.0)):
        theta = np.full(p.size, 0.3)
        SoRA(0.25, variant).prox(theta, p.shape, 2, 0.1)
        np.testing.assert_allclose(theta[-2:], expected, atol=1e-15)
        np.testing.assert_array_equal(theta[:-2], 0.3)


def test_penalty_is_part_of_the_value_and_stationarity_is_zero_at_the_optimum():
    # scalar: minimise (g - 2)^2/2 + 0.5 |g| over the gate with unit columns: g = 1.5
    p = ls.Problem(Denoising(np.array([[2.0]])), 1, adapter=SoRA(0.5, "unit_columns"))
    theta = np.array([1.0, 1.0, 1.5])
    grad = np.empty(3)
    assert p.value_and_grad(theta, grad) == pytest.approx(0.125 + 0.75)
    assert p.stationarity(theta, grad) < 1e-15
    theta[2] = 1.4
    p.value_and_grad(theta, grad)
    assert p.stationarity(theta, grad) == pytest.approx(0.1)


def test_a_closed_gate_kills_its_columns_for_good():
    T = np.diag([3.0, 2.0, 0.0])
    A, B = np.eye(3)[:, :2], np.eye(3)[:, :2]
    p = ls.Problem(Denoising(T), 2, 0.3, adapter=SoRA(1.0))
    theta = np.concatenate([A.ravel(), B.ravel(), [1.0, 0.0]])
    grad = np.empty_like(theta)
    p.value_and_grad(theta, grad)
    np.testing.assert_allclose(grad[:6].reshape(3, 2)[:, 1], 0.3 * A[:, 1])  # nothing but the decay is left
    # with a small gate at the start and a large decay the component dies, although the target has two
    start = ls.solve(p, "proximal_gd", init=(A * 1e-2, B * 1e-2), stop=ls.StoppingRule(5000, 1e-10))
    g = p.split(start.theta)[2]
    assert np.count_nonzero(g) == 0
    assert start.success
    # an open start keeps both
    alive = ls.solve(p, "proximal_gd", init=(A, B), stop=ls.StoppingRule(5000, 1e-10))
    assert np.count_nonzero(p.split(alive.theta)[2]) == 2
    assert alive.fun < start.fun - 0.5


def test_gaussian_gates_and_scale():
    p = ls.Problem(Denoising(target()), 4, adapter=SoRA(0.1, alpha=8.0, gate_seed=3))
    assert p.scale == 2.0
    theta = p.join(np.ones((8, 4)), np.ones((6, 4)))
    np.testing.assert_array_equal(theta[-4:], np.random.default_rng(3).standard_normal(4))


def test_sparsify_raises_the_penalty_and_leaves_fewer_gates_open():
    T = target(12, 10, 2)
    p = ls.Problem(Denoising(T), 8, 0.05, adapter=SoRA(9.9))
    counts, losses = [], []

    def watch(now):
        g = now.problem.split(now.theta)[2]
        X = now.problem.update(now.theta)
        counts.append((now.problem.adapter.gate_penalty, np.count_nonzero(g)))
        losses.append((now.problem.adapter.gate_penalty, 0.5 * np.sum((X - T) ** 2)))

    penalties = (0.01, 1.0, 10.0, 50.0)
    stop = ls.StoppingRule(max_iter=4000, grad_tol=1e-8)
    ls.solve(p, ls.Method("proximal_gd", Sparsify(penalties)), stop=stop, callback=watch)
    seen = sorted({c[0] for c in counts})
    assert seen == list(penalties)
    last = [dict(counts)[q] for q in penalties]
    assert last == sorted(last, reverse=True) and last[-1] < last[0]
    fits = [dict(losses)[q] for q in penalties]
    assert fits == sorted(fits)


@pytest.mark.parametrize(("iterations", "reached"), [(1, "0.01"), (3, "10"), (4, None), (9, None)])
def test_a_run_that_ends_before_the_last_penalty_says_so(iterations, reached):
    """Four penalties take at least four iterations; what was stopped between two is no result of the last."""
    problem = ls.Problem(Denoising(target(12, 10, 2)), 8, 0.05, adapter="sora")
    method = ls.Method("proximal_gd", Sparsify((0.01, 1.0, 10.0, 50.0)))
    result = ls.solve(problem, method, stop=ls.StoppingRule(max_iter=iterations))
    assert ("gate penalty" in result.message) == (reached is not None)
    if reached is not None:
        assert result.message.endswith(f"; the gate penalty had come to {reached} of 50")


def test_a_closed_gate_may_reopen_before_its_columns_have_died():
    """The gradient moves between two steps; |s a^T G b| > gate_penalty opens it, computed here from its definition."""
    rng = np.random.default_rng(1)
    U, V = (np.linalg.qr(rng.standard_normal((size, 12)))[0] for size in (20, 16))
    T = (U * np.linspace(12.0, 0.3, 12)) @ V.T
    p = ls.Problem(Denoising(T), 12, 0.01, adapter=SoRA(2.0))
    steps = []

    def watch(now):
        A, B, g = now.problem.split(now.theta)
        steps.append((np.abs(np.einsum("ik,ij,jk->k", A, A * g @ B.T - T, B)), g.copy()))

    ls.solve(p, "proximal_gd", "lora", 1, stop=ls.StoppingRule(max_iter=200, grad_tol=0.0), callback=watch)
    reopened = [(slope[k], k) for (slope, g), (_, following) in itertools.pairwise(steps)
                for k in np.flatnonzero((g == 0.0) & (following != 0.0))]  # fmt: skip
    assert reopened and min(slope for slope, _ in reopened) > 2.0


@pytest.mark.parametrize(("alpha", "shrunk"), [(2.0, 0.3), (4.0, 0.15)])
def test_gates_on_unit_columns_are_singular_values_shrunk_by_their_penalty_over_the_scale(alpha, shrunk):
    p = ls.Problem(Denoising(np.diag([3.0, 2.0])), 2, adapter=SoRA(0.3, "unit_columns", alpha=alpha))
    found = ls.solve(p, "proximal_gd", init="gaussian", stop=ls.StoppingRule(max_iter=20_000, grad_tol=1e-10))
    assert np.diag([3.0 - shrunk, 2.0 - shrunk]) == pytest.approx(found.X, abs=1e-8)


def test_refusals():
    p = ls.Problem(Denoising(target()), 2, 0.1, adapter="sora")
    with pytest.raises(ValueError, match=r"proximal step.*proximal_gd"):
        ls.solve(p, "adam")
    with pytest.raises(ValueError, match="step_size"):
        ls.solve(p, ls.Method("proximal_gd", adapter=SoRA(0.1, "released")))
    with pytest.raises(ValueError, match="needs nonzero columns in A and B"):
        ls.solve(p, ls.Method("proximal_gd", adapter=SoRA(0.1, "unit_columns")))
    with pytest.raises(ValueError, match="sora"):
        ls.solve(p.replace(adapter="lora"), "gd+sparsify")
    with pytest.raises(ValueError, match="variant"):
        SoRA(0.1, "other")
    with pytest.raises(ValueError, match="penalties"):
        Sparsify((0.2, 0.1))


def test_released_variant_runs_with_a_given_step():
    p = ls.Problem(Denoising(target()), 3, 0.1, adapter=SoRA(0.01, "released"))
    result = ls.solve(p, ProximalGD(0.02), stop=ls.StoppingRule(2000, 0.0))
    g = p.split(result.theta)[2]
    assert not ((np.abs(g) > 0) & (np.abs(g) < 0.01)).any()


def test_under_a_schedule_gates_are_thresholded_at_the_step_that_was_taken():
    p = ls.Problem(Denoising(target()), 2, 0.1, SoRA(0.5))
    theta = p.join(np.ones((8, 2)), np.ones((6, 2)))
    gates = []
    for optimizer in (AdamW(step_size=0.1), ProximalAdamW(step_size=0.1)):
        state = optimizer.init(p, theta, np.random.default_rng(0))
        state.step_factor = 0.25
        grad = np.empty_like(theta)
        optimizer.update(p, state, p.value_and_grad(theta, grad), grad)
        gates.append(p.split(state.trial)[2])
    plain, found = gates
    expected = np.sign(plain) * np.maximum(np.abs(plain) - 0.25 * 0.1 * 0.5, 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.all(found != 0.0)


def test_a_penalty_that_changes_nothing_does_not_keep_later_ones_from_their_turn():
    M = np.random.default_rng(0).standard_normal((8, 6))
    method = ls.Method("proximal_gd", Sparsify((0.1, 0.10000001, 3.0)))
    p = ls.Problem(Denoising(M), 3, 0.1, adapter="sora")
    stop = ls.StoppingRule(max_iter=30_000, grad_tol=1e-4)
    result = ls.solve(p, method, "gaussian:std=1.0", stop=stop)
    assert result.status is ls.Status.CONVERGED
    assert result.problem.adapter.gate_penalty == 3.0
