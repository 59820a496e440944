"""Periodic merging: what an unload leaves alone, exact stages, rank accounting, weight decay, combinations."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import lorasolve as ls
from lorasolve.adapters import DoRA, LoRA, SoftmaxGates, SoRA
from lorasolve.objectives import Denoising, LinearFineTuning
from lorasolve.schedules import Cosine, Periodic, Stage, WarmUp

RULE = ls.StoppingRule(max_iter=50_000, grad_tol=1e-11)


def linear(lam=0.0, rank=2, adapter="lora", seed=0):
    rng = np.random.default_rng(seed)
    objective = LinearFineTuning(*(rng.standard_normal(size) for size in ((6, 5), (5, 40), (6, 40))))
    return ls.Problem(objective, rank, lam, adapter)


def random_stage(problem, seed=1):
    rng = np.random.default_rng(seed)
    theta = problem.join(*(rng.standard_normal((k, problem.rank)) for k in problem.shape))
    extra = problem.split(theta)[2]
    extra += 0.3 * rng.standard_normal(extra.shape)
    return Stage(problem, theta)


def weight(stage):
    update = stage.problem.update(stage.theta)
    return update if stage.merged is None else stage.merged + update


def stages(problem, optimizer, schedule, stop=RULE, **options):
    """Run and return the result with, for each stage, its last value of f and its last total update."""
    ends = {}

    def callback(state):
        A, B = state.A.copy(), state.B.copy()
        ends[id(state.problem)] = (state.problem, state.problem.objective.factor_value(A, B), A @ B.T)

    result = ls.solve(problem, ls.Method(optimizer, schedule), stop=stop, callback=callback, **options)
    return result, [end[1:] for end in ends.values()]


@pytest.mark.parametrize("fraction", [1.0, 0.9, 0.5, 0.1])
@pytest.mark.parametrize(
    "adapter",
    [
        LoRA(),
        LoRA(alpha=3.0),
        DoRA(axis=0),
        DoRA(axis=1, alpha=5.0),
        DoRA(freeze_magnitude=True),
        SoRA(gate_penalty=0.0),
        SoRA(gate_penalty=0.0, alpha=3.0),
        SoftmaxGates(tau=0.5, alpha=3.0),
    ],
    ids=lambda adapter: f"{adapter.name}-{adapter.scale_at(2):g}",
)
def test_an_unload_leaves_the_weight_and_the_loss_alone(adapter, fraction):
    stage = random_stage(linear(adapter=adapter))
    rng = np.random.default_rng(2)
    for _ in range(3):
        after = Periodic(unload_fraction=fraction).transition(stage, rng)
        assert_allclose(weight(after), weight(stage), atol=1e-13)
        frozen = stage.problem.objective.W0 + stage.problem.update(stage.theta)
        moved = after.problem.objective.W0 + after.problem.update(after.theta)
        assert_allclose(moved, frozen, atol=1e-13)
        grad = np.empty_like(stage.theta)
        before_f, after_f = (s.problem.value_and_grad(s.theta, grad) for s in (stage, after))
        assert_allclose(after_f, before_f, rtol=1e-12)
        stage = after


@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_a_run_of_adam_is_that_of_the_trainer_whose_moments_start_anew(fraction):
    problem = linear(0.05, adapter=LoRA(alpha=3.0))
    f, s, rng = problem.objective, 1.5, np.random.default_rng(3)
    A, B = (rng.standard_normal((size, 2)) for size in problem.shape)
    method = ls.Method(ls.optimizers.Adam(0.01), Periodic(5, fraction))
    end = ls.solve(problem, method, (A, B), stop=ls.StoppingRule(17, grad_tol=0.0))
    merged = np.zeros(problem.shape)
    for t in range(17):
        if t % 5 == 0:
            moments = [[0.0, 0.0], [0.0, 0.0]]
            if t:
                merged += fraction * s * A @ B.T
                A, B = np.sqrt(1 - fraction) * A, np.sqrt(1 - fraction) * B
        G = f.value_and_grad(merged + s * A @ B.T)[1]
        moved = []
        for k, (p, g) in enumerate(((A, s * G @ B + 0.05 * A), (B, s * G.T @ A + 0.05 * B))):
            moments[k] = [0.9 * moments[k][0] + 0.1 * g, 0.999 * moments[k][1] + 0.001 * g * g]
            first, second = moments[k][0] / (1 - 0.9 ** (t % 5 + 1)), moments[k][1] / (1 - 0.999 ** (t % 5 + 1))
            moved.append(p - 0.01 * first / (np.sqrt(second) + 1e-8))
        A, B = moved
    assert_allclose(end.A, A, atol=1e-12)
    assert_allclose(end.B, B, atol=1e-12)
    assert_allclose(end.X, merged + s * A @ B.T, atol=1e-12)


def test_full_unload_restarts_from_the_lora_start():
    stage = random_stage(linear())
    after = Periodic().transition(stage, np.random.default_rng(2))
    A, B, _ = after.problem.split(after.theta)
    assert not B.any()
    assert_allclose(A, np.random.default_rng(2).standard_normal((6, 2)) / np.sqrt(6), atol=1e-15)
    assert_allclose(after.merged, stage.problem.update(stage.theta), atol=1e-14)


def test_each_stage_removes_the_top_singular_values():
    rng = np.random.default_rng(3)
    M = rng.standard_normal((9, 7))
    sigma = np.linalg.svd(M, compute_uv=False)
    result, ends = stages(ls.Problem(Denoising(M), 2), "nesterov", Periodic(period=10_000))
    tails = [0.5 * np.sum(sigma[2 * k :] ** 2) for k in range(1, 5)]
    assert result.success
    assert_allclose([f for f, _ in ends[:4]], tails, atol=1e-12)
    assert_allclose(result.X, M, atol=1e-8)
    totals = np.cumsum([X for _, X in ends[:4]], axis=0)
    assert [np.linalg.matrix_rank(total, tol=1e-8) for total in totals] == [2, 4, 6, 7]


def test_stages_that_start_at_their_optimum_need_no_iterates():
    # A gradient step of length 1 solves denoising, so with this restart only the first stage has work to do.
    M = np.random.default_rng(3).standard_normal((9, 7))
    problem = ls.Problem(Denoising(M), 2)
    alone = ls.solve(problem, "nesterov", stop=RULE)
    result = ls.solve(problem, ls.Method("nesterov", Periodic(period=10_000, restart="gradient")), stop=RULE)
    assert result.status is ls.Status.CONVERGED
    assert_allclose(result.X, M, atol=1e-8)
    assert result.nit == alone.nit and result.nfev <= alone.nfev + 5


def test_gradient_restart_keeps_the_linear_rate():
    problem = linear(rank=1)
    S = problem.objective.S
    L, m0 = np.linalg.eigvalsh(S)[[-1, 0]]
    best = problem.objective.value_and_grad(problem.objective.C @ np.linalg.inv(S))[0]
    method = ls.optimizers.GDBacktracking()
    _, ends = stages(problem, method, Periodic(period=20, restart="gradient"), ls.StoppingRule(max_iter=600))
    gaps = np.array([f for f, _ in ends]) - best
    gaps = gaps[gaps > 1e-10]
    assert len(gaps) >= 5
    # q = min(m, n) = 5, r = 1.
    assert np.all(gaps[1:] <= (1 - m0 / (5 * L)) * gaps[:-1])


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_decay_ends_the_stages_once_the_gradient_is_at_lam_over_the_scale(scale):
    problem = linear(lam=0.3, rank=5, adapter=LoRA(alpha=5.0 * scale))
    alone = ls.solve(problem, "nesterov", stop=RULE)
    result = ls.solve(problem, "nesterov+periodic:period=20000", stop=RULE)
    G = problem.objective.value_and_grad(result.X)[1]
    assert result.success and result.merged is None
    assert_allclose(np.linalg.norm(G, 2), 0.3 / scale, rtol=1e-7)
    assert_allclose(result.X, alone.X, atol=1e-9)


@pytest.mark.parametrize("alpha", [8.0, 0.5])
def test_stages_go_on_while_the_gradient_exceeds_the_decay_over_the_scaling(alpha):
    """At ``X = 0`` the gradient is ``-diag(1, 0.5, 0.2)``; ``lam/s`` is put just below and just above its norm."""
    problem = ls.Problem(Denoising(np.diag([1.0, 0.5, 0.2])), 2, adapter=LoRA(alpha=alpha))
    theta = problem.join(np.ones((3, 2)), np.zeros((3, 2)))
    for share, goes_on in ((0.99, True), (1.01, False)):
        stage = Stage(problem.replace(lam=share * alpha / 2), theta)
        assert (Periodic().transition(stage, np.random.default_rng(0)) is not stage) is goes_on


def test_on_denoising_small_ranks_add_up_to_the_nuclear_norm_solution():
    rng = np.random.default_rng(5)
    M = rng.standard_normal((8, 6))
    U, sigma, Vt = np.linalg.svd(M, full_matrices=False)
    result = ls.solve(ls.Problem(Denoising(M), 1, 0.8), "nesterov+periodic:period=20000", stop=RULE)
    assert result.success and result.merged is not None
    assert_allclose(result.X, U * np.maximum(sigma - 0.8, 0.0) @ Vt, atol=1e-8)


def test_in_general_small_ranks_end_above_the_nuclear_norm_solution():
    rule = ls.StoppingRule(max_iter=200_000, grad_tol=1e-10)
    small = ls.solve(linear(lam=0.2, rank=1), "nesterov+periodic:period=2000", stop=rule)
    full = linear(lam=0.2, rank=5)
    optimum = ls.solve(full, "lbfgs").fun
    assert np.linalg.norm(full.objective.value_and_grad(small.X)[1], 2) <= 0.2 * (1 + 1e-5)
    assert full.convex_value(small.X) > optimum + 1e-4


@pytest.mark.parametrize("lam", [0.0, 0.2])
def test_momentum_unload_of_a_stationary_point_is_stationary(lam):
    problem = linear(lam=lam)
    end = ls.solve(problem, "trust_ncg", stop=ls.StoppingRule(grad_tol=1e-12))
    after = Periodic(unload_fraction=0.4).transition(Stage(problem, end.theta), np.random.default_rng(0))
    assert after.merged is not None
    grad = np.empty_like(after.theta)
    after.problem.value_and_grad(after.theta, grad)
    assert np.linalg.norm(grad) < 1e-10


def test_period_counts_the_steps_of_a_stage():
    problem = linear()
    merges = []
    ls.solve(
        problem,
        "gd:step_size=1e-3+periodic:period=10",
        stop=ls.StoppingRule(max_iter=35),
        callback=lambda state: merges.append((state.nit, id(state.problem.objective))),
    )
    objectives = [key for _, key in merges]
    changes = [merges[k][0] for k in range(1, len(merges)) if objectives[k] != objectives[k - 1]]
    # The point after step 10 is the last of the first stage; the first step of the next one is step 11.
    assert changes == [11, 21, 31]
    assert [nit for nit, _ in merges] == list(range(36))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "als", "gd", "gd_backtracking", "lora_pro", "scaled_gd", "sgd"])
def test_full_unloads_reach_the_full_fine_tuning_optimum(optimizer):
    problem = linear()
    S, C = problem.objective.S, problem.objective.C
    best = problem.objective.value_and_grad(C @ np.linalg.inv(S))[0]
    rank_two = ls.solve(problem, "lbfgs").fun
    schedule = [Periodic(period=250)] + ([Cosine()] if optimizer in ("adam", "adamw", "sgd") else [])
    result = ls.solve(problem, ls.Method(optimizer, schedule), stop=ls.StoppingRule(max_iter=3000))
    assert rank_two > best + 0.01
    assert result.fun < best + 0.05 * (rank_two - best)
    assert np.linalg.matrix_rank(result.X, tol=1e-6) == 5


def test_decoupled_adam_on_dora_with_merging_and_step_schedules():
    problem = linear(lam=0.01, adapter=DoRA(axis=0))
    schedule = [Periodic(period=100), WarmUp(20), Cosine()]
    result = ls.solve(problem, ls.Method("adamw", schedule), stop=ls.StoppingRule(max_iter=500))
    start = problem.objective.value_and_grad(np.zeros(problem.shape))[0]
    f = problem.objective.value_and_grad(result.X)[0]
    assert result.merged is not None and f < 0.8 * start
    assert_allclose(result.problem.objective.W0, problem.objective.W0 + result.merged, atol=1e-13)


def test_continuing_a_merged_run():
    problem = linear()
    first = ls.solve(problem, ls.Method("gd", Periodic(period=100)), stop=ls.StoppingRule(max_iter=150))
    assert first.merged is not None
    second = ls.solve(problem, "gd", first, stop=ls.StoppingRule(max_iter=200))
    assert second.trace.value[0] == pytest.approx(first.fun, rel=1e-12)
    f = problem.objective.value_and_grad(second.X)[0]
    assert f == pytest.approx(second.fun, rel=1e-10) and f < first.fun


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"problem": None}, TypeError, "stage.problem: expected a Problem, got None"),
        ({"theta": np.zeros(3)}, ValueError, "stage.theta: expected a vector of 22 parameters"),
        ({"theta": [0.0] * 22}, ValueError, "stage.theta: expected a vector of 22 parameters"),
        ({"merged": np.zeros((5, 6))}, ValueError, r"stage.merged: expected None or an array of shape \(6, 5\)"),
        ({"merged": np.zeros((6, 5), int)}, ValueError, r"stage.merged: expected .* in floating point"),
        ({"memory": [1]}, TypeError, "stage.memory: expected a dict, got"),
    ],
)
def test_a_stage_is_of_its_problem(changes, error, words):
    stage = random_stage(linear())
    with pytest.raises(error, match=words):
        replace(stage, **changes)


def test_what_a_stage_remembers_changes_nothing_else():
    stage = random_stage(linear()).remember(first=1)
    later = stage.remember(first=2, second=3)
    assert (stage.memory, later.memory) == ({"first": 1}, {"first": 2, "second": 3})
    assert later.problem is stage.problem and later.theta is stage.theta and later.merged is stage.merged


def test_refusals():
    with pytest.raises(ValueError, match="period"):
        Periodic(period=0)
    with pytest.raises(ValueError, match="unload_fraction"):
        Periodic(unload_fraction=0.0)
    with pytest.raises(ValueError, match="restart"):
        Periodic(restart="warm")
    with pytest.raises(ValueError, match="not of this form"):
        ls.solve(linear(adapter="dora"), ls.Method("gd", Periodic(restart="gradient")))
    with pytest.raises(ValueError, match="it restarts at B = 0, and 'polar' needs nonzero columns"):
        ls.solve(linear(adapter="polar"), "gd+periodic")
    with pytest.raises(ValueError, match="unload_fraction"):
        Periodic(unload_fraction=1.5)
    with pytest.raises(ValueError, match="restarts both factors"):
        ls.solve(linear(adapter=LoRA(frozen="A")), "gd+periodic")
    for name in ("lbfgs", "trust_ncg"):
        with pytest.raises(ValueError, match="owns its loop"):
            ls.solve(linear(), f"{name}+periodic")


def test_a_run_within_one_period_is_a_run_without_the_schedule():
    rule = ls.StoppingRule(max_iter=100)
    plain, scheduled = (ls.solve(linear(), m, stop=rule) for m in ("heavy_ball", "heavy_ball+periodic:period=101"))
    assert_array_equal(plain.theta, scheduled.theta)
