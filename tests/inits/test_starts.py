"""Starting factors: their laws and closed forms, and what each leaves alone."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import lorasolve as ls
from lorasolve import inits
from lorasolve.adapters import DoRA, LoRA
from lorasolve.objectives import Denoising, LinearFineTuning
from lorasolve.optimizers import GD


def linear(rank=2, lam=0.1, adapter="lora", dtype=np.float64, shape=(6, 5)):
    rng = np.random.default_rng(0)
    sizes = (shape, (shape[1], 40), (shape[0], 40))
    objective = LinearFineTuning(*(rng.standard_normal(size).astype(dtype) for size in sizes))
    return ls.Problem(objective, rank, lam, adapter)


def start_of(problem, init, seed=0):
    """Return the first stage that the loop makes of an init: the problem and the parameters."""
    first = []
    ls.solve(
        problem,
        GD(step_size=1e-9),
        init,
        seed,
        stop=ls.StoppingRule(max_iter=1),
        callback=lambda state: first.append((state.problem, state.theta.copy())),
    )
    return first[0]


@pytest.mark.parametrize("name", list(inits.registry.classes()))
@pytest.mark.parametrize("adapter", [LoRA(alpha=3.0), DoRA(axis=0), DoRA(axis=1, alpha=4.0)], ids=repr)
def test_every_start_on_every_adapter(name, adapter):
    problem = linear(adapter=adapter)
    stage, theta = start_of(problem, name)
    again = start_of(problem, name)[1]
    assert_array_equal(theta, again)
    A, B, _ = problem.split(theta)
    # Magnitudes start at the norms, so DoRA starts where LoRA would.
    assert_allclose(stage.update(theta), problem.scale * A @ B.T, atol=1e-13)
    result = ls.solve(problem, "gd", name, stop=ls.StoppingRule(max_iter=50))
    assert result.started_from == name
    assert result.fun < result.trace.value[0]


@pytest.mark.parametrize("name", list(inits.registry.classes()))
def test_what_an_init_states_about_the_weight(name):
    problem, init = linear(adapter=LoRA(alpha=3.0)), inits.registry.make(name, "init")
    start = init.start(problem, np.random.default_rng(0))
    merged = np.zeros(problem.shape) if start.merged is None else start.merged
    assert init.merges == merged.any()
    assert init.keeps_weight == np.allclose(merged + problem.scale * start.A @ start.B.T, 0.0, atol=1e-12)


def test_what_the_default_start_is_refused_with_is_what_to_give():
    problem = linear(adapter="polar").replace(lam=0.0)
    with pytest.raises(ValueError, match="init 'lora': it starts at B = 0") as refused:
        ls.solve(problem, "gd")
    init, text = re.search(r"use init='(\w+)', in the text of a method '(~\w+)'$", str(refused.value)).groups()
    stop = ls.StoppingRule(max_iter=20)
    named, written = ls.solve(problem, "gd", init, stop=stop), ls.solve(problem, "gd" + text, stop=stop)
    assert named.fun == written.fun < named.trace.value[0]


@pytest.mark.parametrize(("name", "zero", "other"), [("lora", "B", "A"), ("eva", "A", "B")])
def test_a_factor_that_is_zero_has_to_be_able_to_leave_zero(name, zero, other):
    init = inits.registry.make(name, "init")
    assert f"it starts at {zero} = 0, and 'polar' needs nonzero columns" in init.refusal(linear(adapter="polar"))
    assert f"the factor {zero} is frozen" in init.refusal(linear(adapter=LoRA(frozen=zero)))
    result = ls.solve(linear(adapter=LoRA(frozen=other)), "gd", name, stop=ls.StoppingRule(max_iter=5))
    assert result.fun < result.trace.value[0]


@pytest.mark.parametrize("name", list(inits.registry.classes()))
def test_float32(name):
    problem = linear(dtype=np.float32)
    assert start_of(problem, name)[1].dtype == np.float32


def test_laws_of_the_random_starts():
    problem = ls.Problem(Denoising(np.random.default_rng(1).standard_normal((200, 100))), 50)
    rng = np.random.default_rng
    lora = inits.LoRAStart().start(problem, rng(2))
    assert not lora.B.any()
    assert np.std(lora.A) == pytest.approx(1 / np.sqrt(200), rel=0.03)
    gaussian = inits.Gaussian(std=3.0).start(problem, rng(2))
    assert np.std(gaussian.A) == pytest.approx(3.0, rel=0.03)
    assert np.std(gaussian.B) == pytest.approx(3.0, rel=0.05)
    assert abs(np.mean(gaussian.A)) < 0.15
    balanced = inits.Balanced(scale=0.25).start(problem, rng(2))
    for factor in (balanced.A, balanced.B):
        assert_allclose(factor.T @ factor, 0.25 * np.eye(50), atol=1e-13)
    singular = np.linalg.svd(balanced.A @ balanced.B.T, compute_uv=False)[:50]
    assert_allclose(singular, 0.25, atol=1e-13)


@pytest.mark.parametrize("alpha", [None, 3.0])
def test_spectral_is_the_best_rank_r_part_of_a_gradient_step(alpha):
    problem = linear(adapter=LoRA(alpha=alpha))
    start = inits.Spectral().start(problem, np.random.default_rng(0))
    # grad f(0) = -C and beta = ||S||_2, from the definition of the loss.
    U, sigma, Vt = np.linalg.svd(problem.objective.C)
    beta = np.linalg.norm(problem.objective.S, 2)
    expected = U[:, :2] * sigma[:2] @ Vt[:2] / beta
    assert_allclose(problem.scale * start.A @ start.B.T, expected, atol=1e-12)
    assert_allclose(start.A.T @ start.A, start.B.T @ start.B, atol=1e-12)
    longer = inits.Spectral(step=1.0).start(problem, np.random.default_rng(0))
    assert_allclose(problem.scale * longer.A @ longer.B.T, expected * beta, atol=1e-12)


def test_spectral_solves_denoising_without_decay():
    M = np.random.default_rng(3).standard_normal((7, 5))
    result = ls.solve(ls.Problem(Denoising(M), 3), "gd", "spectral")
    U, sigma, Vt = np.linalg.svd(M, full_matrices=False)
    assert result.success and result.nit == 0
    assert_allclose(result.X, U[:, :3] * sigma[:3] @ Vt[:3], atol=1e-12)


def test_spectral_takes_a_gradient_of_lower_rank_than_the_factors():
    M = np.diag([3.0, 0.0, 0.0])
    start = inits.Spectral().start(ls.Problem(Denoising(M), 2), np.random.default_rng(0))
    assert_allclose(start.A @ start.B.T, M, atol=1e-12)


@pytest.mark.parametrize("adapter", sorted(ls.adapters.registry.classes()))
def test_spectral_samples_the_curvature_that_a_loss_does_not_state_with_any_adapter(adapter):
    M = np.random.default_rng(4).standard_normal((4, 3))

    class Unstated:
        shape, W0 = (4, 3), np.ones((4, 3))

        def value_and_grad(self, X):
            return 0.5 * float(np.sum((X - M) ** 2)), X - M

    problem = ls.Problem(Unstated(), 2, 0.1, adapter)
    start = inits.Spectral().start(problem, np.random.default_rng(0))
    U, sigma, Vt = np.linalg.svd(M)
    # Half of 1/beta, as the curvature at 0 need not be the largest.
    assert_allclose(problem.scale * start.A @ start.B.T, 0.5 * (U[:, :2] * sigma[:2] @ Vt[:2]), rtol=1e-6)


def test_spectral_refuses_a_stationary_weight():
    with pytest.raises(ValueError, match="the gradient at X = 0 is zero"):
        ls.solve(ls.Problem(Denoising(np.zeros((4, 3))), 2), "gd", "spectral")


@pytest.mark.parametrize("alpha", [None, 3.0])
def test_pissa_moves_the_principal_part_and_leaves_the_weight_alone(alpha):
    problem = linear(adapter=LoRA(alpha=alpha))
    W0 = problem.objective.W0
    stage, theta = start_of(problem, "pissa")
    U, sigma, Vt = np.linalg.svd(W0)
    principal = U[:, :2] * sigma[:2] @ Vt[:2]
    assert_allclose(stage.update(theta), principal, atol=1e-13)
    assert_allclose(stage.objective.W0, W0 - principal, atol=1e-13)
    A, B, _ = problem.split(theta)
    assert_allclose(A.T @ A, B.T @ B, atol=1e-13)
    f, G = stage.objective.value_and_grad(stage.update(theta))
    expected_f, expected_G = problem.objective.value_and_grad(np.zeros(problem.shape))
    assert_allclose(f, expected_f, rtol=1e-12)
    assert_allclose(G, expected_G, atol=1e-12)
    result = ls.solve(problem, GD(step_size=1e-12), "pissa", stop=ls.StoppingRule(max_iter=1))
    assert_allclose(result.X, 0.0, atol=1e-10)


def test_pissa_refuses_objectives_without_a_weight():
    with pytest.raises(ValueError, match="init 'pissa': it needs an objective with a frozen weight"):
        ls.solve(ls.Problem(Denoising(np.eye(4)), 2), "gd", "pissa")
    rng = np.random.default_rng(0)
    zero = LinearFineTuning(np.zeros((4, 3)), rng.standard_normal((3, 20)), rng.standard_normal((4, 20)))
    with pytest.raises(ValueError, match="W0 is zero"):
        ls.solve(ls.Problem(zero, 2), "gd", "pissa")


@pytest.mark.parametrize(
    ("name", "settings", "word"),
    [
        ("LoRAStart", {"std": 0.0}, "std"),
        ("Gaussian", {"std": -1.0}, "std"),
        ("Balanced", {"scale": 0.0}, "scale"),
        ("Spectral", {"step": np.inf}, "step"),
        ("Spectral", {"step": 0.0}, "step"),
    ],
)
def test_settings_that_make_no_sense(name, settings, word):
    with pytest.raises(ValueError, match=word):
        getattr(inits, name)(**settings)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lora_ga_takes_no_noise_for_a_direction_of_the_gradient(dtype):
    """Two classes have gradients ``g`` and ``-g``, of rank 1; a factor of 1e-17 sent LoRA-RITE to ``L = 1e28``."""
    rng = np.random.default_rng(0)
    W0, Z = rng.standard_normal((2, 6)).astype(dtype), rng.standard_normal((6, 15)).astype(dtype)
    problem = ls.Problem(ls.objectives.Softmax(W0, Z, rng.integers(0, 2, 15)), 1, 0.1)
    A, B, _ = problem.split(start_of(problem, "lora_ga")[1])
    assert not A.any() and np.linalg.norm(B) == pytest.approx(1.0)
    result = ls.solve(problem, "lora_rite", "lora_ga", stop=ls.StoppingRule(max_iter=20))
    assert result.fun < problem.value(A, B) < 10.0


@pytest.mark.parametrize("unit", [2.0**-40, 1.0, 2.0**40])
@pytest.mark.parametrize("scale", ["stable", "weight_svd"])
def test_lora_ga_tells_noise_from_directions_in_every_unit(unit, scale):
    """In another unit of the inputs the gradient has that unit; the second direction of one of rank 1 is noise."""
    rng = np.random.default_rng(0)
    W0, Z = rng.standard_normal((2, 6)) / unit, unit * rng.standard_normal((6, 15))
    objective = ls.objectives.Softmax(W0, Z, rng.integers(0, 2, 15))
    for direction, zero in (("ArB2r", True), ("A2rBr", False)):
        start = inits.LoRAGA(direction, scale).start(ls.Problem(objective, 1), rng)
        assert np.isfinite(start.A).all()
        assert start.A.any() != zero


def test_lora_ga_draws_among_the_leading_directions():
    """Of denoising the gradient at 0 is ``-M``: ``r`` of its first ``2r`` triplets, the same in both factors."""
    M = np.diag([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    chosen = set()
    for seed in range(40):
        start = inits.LoRAGA("random", "unit").start(ls.Problem(Denoising(M), 2), np.random.default_rng(seed))
        places = np.flatnonzero(start.B.any(axis=1))
        assert places.size == 2
        assert_allclose(start.A @ start.B.T, np.where(np.isin(np.arange(6), places), -M, 0.0), atol=1e-12)
        chosen |= set(places.tolist())
    assert chosen == {0, 1, 2, 3}


def test_eva_needs_inputs_that_vary_in_as_many_directions_as_the_rank_and_their_mean_is_none():
    rng = np.random.default_rng(1)
    Z = 5.0 * rng.standard_normal((6, 1)) + rng.standard_normal((6, 2)) @ rng.standard_normal((2, 30))
    assert np.linalg.matrix_rank(Z) == 3
    objective = LinearFineTuning(np.zeros((4, 6)), Z, rng.standard_normal((4, 30)))
    assert inits.EVA().refusal(ls.Problem(objective, 2)) is None
    assert "vary in at least 3 directions" in inits.EVA().refusal(ls.Problem(objective, 3))
