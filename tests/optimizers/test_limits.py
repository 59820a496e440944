"""Where optimizers end: closed forms on denoising and reduced-rank regression, agreement on sensing."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve.objectives import Denoising, LinearFineTuning, MatrixSensing
from lorasolve.optimizers import AdamW

LAM = 0.5
SINGULAR_VALUES = np.array([5.0, 3.0, 2.0, 1.2, 0.3, 0.2, 0.1, 0.05])
# The methods whose limit is a stationary point of L; adamw is below, sgd needs samples, and methods that perturb
# the point where they ask for the gradient have other limits.
MINIMISE_L = [
    "adam",
    "als",
    "gd",
    "gd_backtracking",
    "gd_mixed",
    "heavy_ball",
    "lbfgs",
    "lora_plus",
    "lora_pro",
    "nesterov",
    "proximal_gd",
    "scaled_gd",
    "trust_ncg",
]


def denoising(seed=0):
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((rows, 8)))[0] for rows in (12, 8))
    return U, V, Denoising(U * SINGULAR_VALUES @ V.T)


def decaying(name):
    return "cosine" if name.startswith("adam") else ()


@pytest.mark.parametrize("rank", [3, 4, 6])
@pytest.mark.parametrize("name", MINIMISE_L)
def test_denoising_ends_at_the_soft_thresholded_truncation(name, rank):
    U, V, objective = denoising()
    kept = min(rank, 4)
    closed_form = U[:, :kept] * (SINGULAR_VALUES[:kept] - LAM) @ V[:, :kept].T
    rule = ls.StoppingRule(max_iter=20_000, grad_tol=1e-9)
    result = ls.solve(ls.Problem(objective, rank, LAM), ls.Method(name, decaying(name)), stop=rule)
    assert_allclose(result.X, closed_form, atol=1e-8)
    # lam ||A||^2/2 + lam ||B||^2/2 is lam times the nuclear norm only for balanced factors.
    F = 0.5 * np.sum((closed_form - objective.M) ** 2) + LAM * np.sum(SINGULAR_VALUES[:kept] - LAM)
    assert_allclose(result.fun, F, rtol=1e-10)


def test_decoupled_decay_ends_at_the_truncation_without_threshold():
    U, V, objective = denoising()
    rule = ls.StoppingRule(max_iter=20_000)
    result = ls.solve(ls.Problem(objective, 3, LAM), "adamw:beta2=0.9+cosine", stop=rule)
    # The box |theta| <= 1/lam does not bind here, so nothing is left of the decay.
    assert np.abs(result.theta).max() < 0.99 / LAM
    truncation = U[:, :3] * SINGULAR_VALUES[:3] @ V[:, :3].T
    assert_allclose(result.X, truncation, atol=1e-7)
    assert result.grad_norm > 1.0


def test_fixed_point_equation_of_decoupled_decay_where_the_box_binds():
    _, _, objective = denoising()
    decay, eps = 2.0, 1e-4
    rule = ls.StoppingRule(max_iter=20_000)
    method = AdamW(beta2=0.9, eps=eps, weight_decay=decay)
    result = ls.solve(ls.Problem(objective, 3), ls.Method(method, "cosine"), stop=rule)
    G = result.A @ result.B.T - objective.M
    g = np.concatenate([(G @ result.B).ravel(), (G.T @ result.A).ravel()])
    assert_allclose(g / (np.abs(g) + eps), -decay * result.theta, atol=1e-8)
    assert np.abs(g).max() > 1.0
    assert 0.49 < np.abs(result.theta).max() <= 1 / decay


@pytest.mark.parametrize("name", ["als", "gd", "lbfgs", "lora_pro", "nesterov", "scaled_gd", "trust_ncg"])
def test_reduced_rank_regression_without_decay(name):
    rng = np.random.default_rng(3)
    m, n, N, rank = 6, 5, 80, 2
    W0, Z, Y = rng.standard_normal((m, n)), rng.standard_normal((n, N)), rng.standard_normal((m, N))
    # min ||X Z - E||_F over rank X <= r: project the least-squares fit on the r top left singular vectors of its fit.
    E = Y - W0 @ Z
    ordinary = E @ Z.T @ np.linalg.inv(Z @ Z.T)
    P = np.linalg.svd(ordinary @ Z)[0][:, :rank]
    rule = ls.StoppingRule(max_iter=50_000, grad_tol=1e-10)
    result = ls.solve(ls.Problem(LinearFineTuning(W0, Z, Y), rank), name, stop=rule)
    assert_allclose(result.X, P @ P.T @ ordinary, atol=1e-8)


def test_mini_batches_settle_with_a_decaying_step():
    rng = np.random.default_rng(3)
    W0, Z, Y = rng.standard_normal((6, 5)), rng.standard_normal((5, 80)), rng.standard_normal((6, 80))
    problem = ls.Problem(LinearFineTuning(W0, Z, Y), 2, 0.2)
    optimum = ls.solve(problem, "lbfgs").fun
    rule = ls.StoppingRule(max_iter=1500)
    constant, decayed = (ls.solve(problem, f"sgd:batch_size=16{s}", stop=rule) for s in ("", "+cosine"))
    assert optimum <= decayed.fun <= optimum * (1 + 1e-5)
    assert decayed.fun - optimum < 0.02 * (constant.fun - optimum)


@functools.cache
def sensing():
    """Return 300 Gaussian measurements of a 20 x 20 matrix of rank 2; the optimum has rank 2 as well (asserted)."""
    rng = np.random.default_rng(5)
    measurements = rng.standard_normal((300, 20, 20))
    P, Q = (np.linalg.qr(rng.standard_normal((20, 2)))[0] for _ in range(2))
    y = np.einsum("kij,ij->k", measurements, P * [2.0, 1.0] @ Q.T) + 0.1 * rng.standard_normal(300)
    objective = MatrixSensing(measurements, y)
    tight = ls.StoppingRule(max_iter=50_000, grad_tol=1e-11)
    return objective, ls.solve(ls.Problem(objective, 4, 0.05), "lbfgs", stop=tight)


@pytest.mark.parametrize(
    ("name", "rank", "agreement"),
    [("gd", 4, 1e-9), ("nesterov", 4, 1e-9), ("adam", 4, 1e-6), ("scaled_gd", 2, 1e-9), ("lora_pro", 2, 1e-9)],
)
def test_sensing_solvers_agree(name, rank, agreement):
    objective, reference = sensing()
    assert np.linalg.matrix_rank(reference.X, tol=1e-6) == 2
    rule = ls.StoppingRule(max_iter=50_000)
    result = ls.solve(ls.Problem(objective, rank, 0.05), ls.Method(name, decaying(name)), stop=rule)
    assert abs(result.fun - reference.fun) <= agreement * reference.fun


@pytest.mark.parametrize("name", ["scaled_gd", "lora_pro"])
def test_damping_carries_the_preconditioned_methods_beyond_the_optimal_rank(name):
    objective, reference = sensing()
    result = ls.solve(ls.Problem(objective, 4, 0.05), name, stop=ls.StoppingRule(max_iter=50_000))
    assert abs(result.fun - reference.fun) <= 1e-9 * reference.fun
