"""Softmax gates: gradients against differences, and what gradient descent keeps of weights, logits and copies."""

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.adapters import SoftmaxGates
from lorasolve.objectives import Denoising
from lorasolve.optimizers import GD


def problem(tau=0.7, alpha=None, r=3, lam=0.0):
    return ls.Problem(Denoising(np.random.default_rng(0).standard_normal((7, 5))), r, lam, SoftmaxGates(tau, alpha))


def reference_loss(p, theta):
    r, tau, s = p.rank, p.adapter.tau, p.scale
    A, B, z = theta[: 7 * r].reshape(7, r), theta[7 * r : 12 * r].reshape(5, r), theta[12 * r :]
    w = r * np.exp(z / tau) / np.exp(z / tau).sum()
    return 0.5 * np.sum((s * A @ np.diag(w) @ B.T - p.objective.M) ** 2)


@pytest.mark.parametrize(("tau", "alpha"), [(0.7, None), (2.0, 6.0)])
def test_gradients_against_differences_of_the_dense_loss(tau, alpha):
    p = problem(tau, alpha)
    theta = np.random.default_rng(1).standard_normal(p.size)
    grad = np.empty_like(theta)
    assert p.value_and_grad(theta, grad) == pytest.approx(reference_loss(p, theta), rel=1e-13)
    h = 1e-6
    numeric = [
        (reference_loss(p, theta + h * e) - reference_loss(p, theta - h * e)) / (2 * h) for e in np.eye(theta.size)
    ]
    np.testing.assert_allclose(grad, numeric, atol=2e-8 * np.abs(grad).max() + 1e-8)
    assert abs(p.split(grad)[2].sum()) < 1e-12 * np.abs(grad).max()
    assert 0.5 * np.sum((p.update(theta) - p.objective.M) ** 2) == pytest.approx(reference_loss(p, theta), rel=1e-13)


def test_weights_sum_to_the_rank_and_are_one_at_the_start():
    gates = SoftmaxGates(0.05)
    np.testing.assert_allclose(gates.weights(np.zeros(4)), 1.0)
    w = gates.weights(np.array([900.0, 899.9, -5.0]))
    assert w.sum() == pytest.approx(3.0)
    assert w[0] / w[1] == pytest.approx(np.exp(0.1 / 0.05), rel=1e-9)


def test_gradient_descent_keeps_the_sum_of_the_logits():
    p = problem()
    end = ls.solve(p, GD(0.05), stop=ls.StoppingRule(400, 0.0))
    z = p.split(end.theta)[2]
    assert abs(z.sum()) < 1e-12
    assert np.abs(z).max() > 0.05


@pytest.mark.parametrize("optimizer", [GD(0.02), "adam"])
def test_exact_copies_never_separate(optimizer):
    rng = np.random.default_rng(4)
    A, B = rng.standard_normal((7, 3)), rng.standard_normal((5, 3))
    A[:, 2], B[:, 2] = A[:, 1], B[:, 1]
    p = problem()
    end = ls.solve(p, optimizer, (A, B), stop=ls.StoppingRule(300, 0.0))
    z = p.split(end.theta)[2]
    # Up to rounding: not every BLAS computes equal columns equally.
    np.testing.assert_allclose(end.A[:, 1], end.A[:, 2], rtol=0.0, atol=1e-12)
    np.testing.assert_allclose(end.B[:, 1], end.B[:, 2], rtol=0.0, atol=1e-12)
    assert z[1] == pytest.approx(z[2], abs=1e-12)
    values = np.linalg.svd(end.X, compute_uv=False)
    assert values[2] < 1e-12 * values[0] < values[1]
