"""Facts about the projected step, each against brute force on the map (dA, dB) -> dA B^T + A dB^T."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve.adapters import LoRA
from lorasolve.low_rank import balanced, factor_svd
from lorasolve.objectives import Denoising, LinearFineTuning
from lorasolve.optimizers import LoRAPro
from lorasolve.optimizers.lora_pro import projected_step

M_ROWS, N_COLS, RANK = 7, 5, 3
MODES = ("sylvester", "symmetric", "zero")


def instance(seed=0, rank=RANK):
    """Return balanced factors, the gradient G and its products with them."""
    rng = np.random.default_rng(seed)
    A, B = balanced(*factor_svd(rng.standard_normal((M_ROWS, rank)), rng.standard_normal((N_COLS, rank))))
    G = rng.standard_normal((M_ROWS, N_COLS))
    return A, B, G


def effect(A, B, dA, dB):
    return dA @ B.T + A @ dB.T


def jacobian(A, B):
    """Return the matrix of (dA, dB) -> dA B^T + A dB^T on row-by-row vectors."""
    m, n, r = A.shape[0], B.shape[0], A.shape[1]
    swap = np.arange(m * n).reshape(n, m).T.ravel()
    return np.hstack([np.kron(np.eye(m), B), np.kron(np.eye(n), A)[swap]]).reshape(m * n, (m + n) * r)


def test_brute_force_map_is_the_effect():
    A, B, _ = instance()
    rng = np.random.default_rng(9)
    dA, dB = rng.standard_normal(A.shape), rng.standard_normal(B.shape)
    assert_allclose(jacobian(A, B) @ np.concatenate([dA.ravel(), dB.ravel()]), effect(A, B, dA, dB).ravel(), atol=1e-13)


@pytest.mark.parametrize("mode", MODES)
def test_effect_is_the_tangent_space_projection(mode):
    A, B, G = instance()
    dA, dB = projected_step(A, B, G @ B, G.T @ A, mode, 0.0)
    PA, PB = (F @ np.linalg.pinv(F) for F in (A, B))
    g = effect(A, B, dA, dB)
    assert_allclose(g, PA @ G + G @ PB - PA @ G @ PB, atol=1e-12)
    # Normal equations, least residual, and the descent -<G, g> = -||g||^2.
    assert_allclose(A.T @ (g - G), 0.0, atol=1e-12)
    assert_allclose((g - G) @ B, 0.0, atol=1e-12)
    least = np.linalg.lstsq(jacobian(A, B), G.ravel(), rcond=None)[0]
    assert_allclose(g.ravel(), jacobian(A, B) @ least, atol=1e-12)
    assert_allclose(np.vdot(G, g), np.vdot(g, g), rtol=1e-12)
    assert_allclose(np.sum(G @ B * dA) + np.sum(G.T @ A * dB), np.vdot(g, g), rtol=1e-12)


def test_sylvester_choice_is_the_pseudo_inverse_and_solves_its_equation():
    A, B, G = instance()
    dA, dB = projected_step(A, B, G @ B, G.T @ A, "sylvester", 0.0)
    # The map loses rank r^2 exactly, up to rounding.
    least_norm = np.linalg.pinv(jacobian(A, B), rcond=1e-10) @ G.ravel()
    assert_allclose(np.concatenate([dA.ravel(), dB.ravel()]), least_norm, atol=1e-12)
    assert_allclose(A.T @ dA, dB.T @ B, atol=1e-12)
    # dA = (I - P_A) G B K_B - A X with A^T A X + X B^T B = -K_A A^T G B.
    KA, KB = np.linalg.inv(A.T @ A), np.linalg.inv(B.T @ B)
    X = -np.linalg.lstsq(A, dA - (np.eye(M_ROWS) - A @ KA @ A.T) @ G @ B @ KB, rcond=None)[0]
    assert_allclose(A.T @ A @ X + X @ B.T @ B, -KA @ A.T @ G @ B, atol=1e-11)
    assert_allclose(dB, G.T @ A @ KA + B @ X.T, atol=1e-12)


def test_symmetric_and_zero_choices():
    A, B, G = instance()
    KA, KB = np.linalg.inv(A.T @ A), np.linalg.inv(B.T @ B)
    outside = (np.eye(M_ROWS) - A @ KA @ A.T) @ G @ B @ KB
    for mode, X in (("zero", 0 * KA), ("symmetric", -0.5 * KA @ A.T @ G @ B @ KB)):
        dA, dB = projected_step(A, B, G @ B, G.T @ A, mode, 0.0)
        assert_allclose(dA, outside - A @ X, atol=1e-12)
        assert_allclose(dB, G.T @ A @ KA + B @ X.T, atol=1e-12)


@pytest.mark.parametrize("damping", [1e-3, 1.0])
def test_damped_step_is_the_regularised_least_squares_solution(damping):
    A, B, G = instance()
    J = jacobian(A, B)
    expected = np.linalg.solve(J.T @ J + damping * np.eye(J.shape[1]), J.T @ G.ravel())
    dA, dB = projected_step(A, B, G @ B, G.T @ A, "sylvester", damping)
    assert_allclose(np.concatenate([dA.ravel(), dB.ravel()]), expected, atol=1e-12)


def test_singular_factors_take_the_pseudo_inverse():
    A, B, G = instance(rank=2)
    A, B = np.hstack([A, np.zeros((M_ROWS, 1))]), np.hstack([B, np.zeros((N_COLS, 1))])
    dA, dB = projected_step(A, B, G @ B, G.T @ A, "sylvester", 0.0)
    expected = np.linalg.pinv(jacobian(A, B), rcond=1e-10) @ G.ravel()
    assert_allclose(np.concatenate([dA.ravel(), dB.ravel()]), expected, atol=1e-11)


@pytest.mark.parametrize("condition", [1.0, 10.0, 100.0])
def test_two_steps_of_size_one_are_exact_from_the_lora_start(condition):
    rng = np.random.default_rng(4)
    P, Q = (np.linalg.qr(rng.standard_normal((k, RANK)))[0] for k in (M_ROWS, N_COLS))
    M = P * np.geomspace(condition, 1.0, RANK) @ Q.T
    problem = ls.Problem(Denoising(M), RANK)
    iterates = []
    ls.solve(
        problem,
        LoRAPro(step_size=1.0, damping=0.0),
        stop=ls.StoppingRule(max_iter=2, grad_tol=0.0),
        callback=lambda state: iterates.append((state.A.copy(), state.B.copy())),
    )
    A0, B0 = iterates[0]
    assert not B0.any()
    assert_allclose(iterates[1][0] @ iterates[1][1].T, A0 @ np.linalg.pinv(A0) @ M, atol=1e-11 * condition)
    assert_allclose(iterates[2][0] @ iterates[2][1].T, M, atol=1e-11 * condition)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lam", [0.0, 0.2])
def test_stationary_points_of_the_objective_do_not_move(lam, mode):
    rng = np.random.default_rng(5)
    objective = LinearFineTuning(*(rng.standard_normal(size) for size in ((6, 5), (5, 40), (6, 40))))
    problem = ls.Problem(objective, 2, lam, LoRA(alpha=3.0))
    end = ls.solve(problem, "trust_ncg", stop=ls.StoppingRule(grad_tol=1e-13))
    A, B = balanced(*factor_svd(end.A, end.B))
    rule = ls.StoppingRule(max_iter=25, grad_tol=0.0)
    result = ls.solve(problem, LoRAPro(mode=mode, damping=0.0), (A, B), stop=rule)
    assert result.nit == 25
    assert_allclose(result.X, problem.scale * A @ B.T, atol=1e-8)
    # And nothing else is stationary for the method: it gets there from afar.
    far = ls.solve(problem, LoRAPro(mode=mode), stop=ls.StoppingRule(max_iter=20_000))
    assert far.success
    assert_allclose(far.fun, end.fun, rtol=1e-9)


def test_scale_of_the_adapter_enters_as_in_the_paper():
    rng = np.random.default_rng(6)
    M = rng.standard_normal((M_ROWS, N_COLS))
    s = 1.7
    problem = ls.Problem(Denoising(M), RANK, 0.0, LoRA(alpha=s * RANK))
    A, B, _ = instance()
    seen = []
    ls.solve(
        problem,
        LoRAPro(step_size=1e-6, damping=0.0),
        (A, B),
        stop=ls.StoppingRule(max_iter=1),
        callback=lambda state: seen.append(problem.update(state.theta)),
    )
    G = s * A @ B.T - M
    PA, PB = (F @ np.linalg.pinv(F) for F in (A, B))
    assert_allclose((seen[0] - seen[1]) / 1e-6, PA @ G + G @ PB - PA @ G @ PB, atol=1e-4)


def test_unbalanced_start_is_balanced_first():
    A, B, _ = instance()
    problem = ls.Problem(Denoising(np.random.default_rng(8).standard_normal((M_ROWS, N_COLS))), RANK, 0.1)
    seen = []
    ls.solve(
        problem,
        "lora_pro",
        (3.0 * A, B),
        stop=ls.StoppingRule(max_iter=1),
        callback=lambda state: seen.append((state.A.copy(), state.B.copy(), state.value)),
    )
    (A0, B0, first), (A1, B1, second) = seen
    assert_allclose(A0 @ B0.T, A1 @ B1.T, atol=1e-12)
    assert_allclose(A1.T @ A1, B1.T @ B1, atol=1e-12)
    assert second < first
