import numpy as np
import pytest
from scipy.special import expit

import lorasolve as ls
from lorasolve.objectives import Denoising, LinearFineTuning
from lorasolve.optimizers.ggpo import row_scales
from lorasolve.papers import lora_ggpo


def test_expected_rise_on_linear_regression():
    rng = np.random.default_rng(0)
    m, n, N = 5, 6, 40
    Z, Y = rng.standard_normal((n, N)), rng.standard_normal((m, N))
    W = rng.standard_normal((m, n))
    f = LinearFineTuning(np.zeros((m, n)), Z, Y)
    value, G = f.value_and_grad(W)
    C = Z @ Z.T / N
    scales = row_scales(W, G, 0.3, 0.2)
    predicted = lora_ggpo.expected_rise(C, scales)
    closed = 0.09 * np.trace(C) / (2 * n) * (np.sum(W**2) + 0.2 * np.sum(G**2))
    assert predicted == pytest.approx(closed, rel=1e-13)
    draws = np.array(
        [f.value_and_grad(W + scales[:, None] * rng.standard_normal((m, n)))[0] - value for _ in range(4000)]
    )
    assert abs(draws.mean() - predicted) < 3 * draws.std() / np.sqrt(len(draws))
    p = ls.Problem(f, n - 1)
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    mean, error = lora_ggpo.noise_sharpness(p, U * s, Vt.T, scales, draws=500, seed=1)
    assert abs(mean - predicted) < 3 * error


def test_activation_variance():
    rng = np.random.default_rng(1)
    row, scale, mu, v = rng.standard_normal(7), 0.4, 0.8, 1.5
    x = mu + np.sqrt(v) * rng.standard_normal((200_000, 7))
    z = np.sum((row + scale * rng.standard_normal((200_000, 7))) * x, axis=1)
    # what is predicted is the variance without the constant row^T mu
    error = np.sqrt(2 / len(z)) * 2 * z.var()
    assert abs(z.var() - lora_ggpo.activation_variance(row, scale, mu, v)) < 3 * error


def test_effect_on_the_logistic_loss_is_the_third_derivative():
    z = np.linspace(-3, 3, 13)
    s = expit(z)
    third = s * (1 - s) * (1 - 2 * s)
    ratios = []
    for variance in (1e-1, 1e-2, 1e-3):
        change = lora_ggpo.smoothed(expit, z, np.sqrt(variance)) - s
        error = np.linalg.norm(change - 0.5 * variance * third) / np.linalg.norm(change)
        ratios.append(error / variance)
    assert ratios[2] * 1e-3 < 3e-3  # exact to first order in the variance
    assert ratios[0] == pytest.approx(ratios[2], rel=0.5)
    linear = lora_ggpo.smoothed(lambda t: 3 * t - 1, z, 0.7)
    np.testing.assert_allclose(linear, 3 * z - 1, atol=1e-12)  # none for a quadratic loss


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_curvature_at_zero_residual(scale):
    rng = np.random.default_rng(2)
    A, B = rng.standard_normal((7, 3)), rng.standard_normal((6, 3))
    p = ls.Problem(Denoising(scale * A @ B.T), 3, adapter=ls.adapters.LoRA(alpha=3 * scale))
    exact = lora_ggpo.curvature_at_zero_residual(A, B, scale)
    assert lora_ggpo.largest_curvature(p, A, B) == pytest.approx(exact, rel=1e-8)
    H = np.zeros((39, 39))  # dense, by differences of the gradient
    theta = p.join(A, B)
    plus, minus = np.empty_like(theta), np.empty_like(theta)
    for k, e in enumerate(np.eye(39)):
        p.value_and_grad(theta + 1e-6 * e, plus)
        p.value_and_grad(theta - 1e-6 * e, minus)
        H[k] = (plus - minus) / 2e-6
    assert np.linalg.eigvalsh(H)[-1] == pytest.approx(exact, rel=1e-6)


def test_ascent_sharpness_of_a_quadratic_is_known():
    # f(a) = (a - 1)^2/2 with b = 1 frozen: from a = 1 the rise at distance rho is rho^2/2
    p = ls.Problem(Denoising(np.array([[1.0]])), 1, adapter=ls.adapters.LoRA(frozen="B"))
    rise = lora_ggpo.ascent_sharpness(p, np.array([[1.5]]), np.array([[1.0]]), 0.2)
    assert rise == pytest.approx(0.5 * 0.7**2 - 0.5 * 0.5**2, rel=1e-12)


def test_small_problem_uses_the_dense_hessian():
    p = ls.Problem(Denoising(np.array([[2.0]])), 1)
    a = np.array([[np.sqrt(2.0)]])
    assert lora_ggpo.largest_curvature(p, a, a) == pytest.approx(4.0)
