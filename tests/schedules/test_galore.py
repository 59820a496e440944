"""GaLore and GoLore against full-weight oracles written from their papers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve.adapters import LoRA
from lorasolve.objectives import Denoising, LinearFineTuning
from lorasolve.optimizers import GD, Adam
from lorasolve.schedules import GaLore, GoLore, RACChain, Stage

RANK, PERIOD, STEP = 2, 4, 0.1


def network(m, n, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(size) for size in ((m, n), (n, 12), (m, 12)))


def gradient(W, Z, Y):
    """Return the gradient of ``||W Z - Y||^2/(2N)`` by complex steps."""
    G = np.empty(W.shape)
    for index in np.ndindex(W.shape):
        moved = W.astype(complex)
        moved[index] += 1e-30j
        G[index] = (np.sum((moved @ Z - Y) ** 2) / (2 * Z.shape[1])).imag / 1e-30
    return G


def galore(W, Z, Y, steps, adam=None):
    """GaLore, algorithm 1: ``R = P^T G``, an optimizer's step ``N`` of ``R``, ``W <- W - step P N``."""
    W = W.copy()
    left = W.shape[0] < W.shape[1]
    for t in range(steps):
        G = gradient(W, Z, Y)
        if t % PERIOD == 0:
            U, _, Vt = np.linalg.svd(G)
            P = U[:, :RANK] if left else Vt[:RANK].T
            m = v = 0.0
        R = P.T @ G if left else G @ P
        if adam is not None:
            b1, b2 = adam
            k = t % PERIOD + 1
            m, v = b1 * m + (1 - b1) * R, b2 * v + (1 - b2) * R**2
            R = m / (1 - b1**k) / (np.sqrt(v / (1 - b2**k)) + 1e-8)
        W -= STEP * (P @ R if left else R @ P.T)
    return W


@pytest.mark.parametrize("shape", [(6, 4), (4, 7)])
@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("adam", [None, (0.8, 0.9)])
def test_galore_is_the_published_one(shape, steps, adam):
    W0, Z, Y = network(*shape)
    optimizer = GD(STEP) if adam is None else Adam(STEP, *adam)
    problem = ls.Problem(LinearFineTuning(W0, Z, Y), RANK)
    end = ls.solve(problem, ls.Method(optimizer, GaLore(period=PERIOD)), stop=ls.StoppingRule(steps, grad_tol=0.0))
    assert_allclose(W0 + end.X, galore(W0, Z, Y, steps, adam), atol=1e-11)


def test_golore_around_gradient_descent_is_the_chain_of_random_blocks():
    problem = ls.Problem(LinearFineTuning(*network(4, 7)), RANK)
    stop = ls.StoppingRule(30, grad_tol=0.0)
    ends = [ls.solve(problem, ls.Method(GD(STEP), each), seed=3, stop=stop).X for each in (
        GoLore(period=PERIOD), RACChain(inner=PERIOD), GaLore(period=PERIOD),
    )]  # fmt: skip
    assert_allclose(ends[0], ends[1], atol=1e-14)
    assert np.linalg.norm(ends[0] - ends[2]) > 1e-2


def test_at_equal_dimensions_golore_draws_the_right_side_and_the_chain_the_left_one():
    problem, stop = ls.Problem(LinearFineTuning(*network(5, 5)), RANK), ls.StoppingRule(30, grad_tol=0.0)

    def end(schedule):
        return ls.solve(problem, ls.Method(GD(STEP), schedule), seed=3, stop=stop).X

    assert_allclose(end(GoLore(period=PERIOD)), end(RACChain(inner=PERIOD, side="right")), atol=1e-14)
    assert_allclose(end(GoLore(period=PERIOD, side="left")), end(RACChain(inner=PERIOD)), atol=1e-14)
    assert np.linalg.norm(end(GoLore(period=PERIOD)) - end(RACChain(inner=PERIOD))) > 1e-2


def test_golore_begins_with_the_leading_singular_vectors_if_asked_to():
    problem = ls.Problem(LinearFineTuning(*network(4, 7)), RANK)
    for blocks, leading, same in (
        (2, 2, True),
        (2, 1, False),
        (3, 3, True),
        (3, 2, False),
        (1, 1, True),
        (1, 0, False),
    ):
        method = ls.Method(GD(STEP), GoLore(period=PERIOD, leading=leading))
        stop = ls.StoppingRule(blocks * PERIOD, grad_tol=0.0)
        moved = (
            ls.solve(problem, method, stop=stop).X
            - ls.solve(problem, ls.Method(GD(STEP), GaLore(period=PERIOD)), stop=stop).X
        )
        assert (np.linalg.norm(moved) < 1e-12) == same


@pytest.mark.parametrize("shape", [(6, 4), (4, 7)])
def test_an_earlier_result_continues_the_published_run(shape):
    W0, Z, Y = network(*shape)
    problem, method = ls.Problem(LinearFineTuning(W0, Z, Y), RANK), ls.Method(GD(STEP), GaLore(period=PERIOD))
    end = None
    for steps in (2 * PERIOD, PERIOD, 3):
        end = ls.solve(problem, method, end, stop=ls.StoppingRule(steps, grad_tol=0.0))
    assert_allclose(W0 + end.X, galore(W0, Z, Y, 3 * PERIOD + 3), atol=1e-11)


@pytest.mark.parametrize("schedule", [GaLore(period=PERIOD), GoLore(period=PERIOD), RACChain(inner=PERIOD)])
def test_a_run_starts_at_the_weight_that_it_is_given(schedule):
    """The loss at the start, written out: of the last result in the midst of a block, of factors, of a drawn init."""
    W0, Z, Y = network(6, 5)
    problem, method = ls.Problem(LinearFineTuning(W0, Z, Y), RANK), ls.Method(GD(STEP), schedule)
    stop = ls.StoppingRule(PERIOD + 2, grad_tol=0.0)
    A, B = (np.random.default_rng(1).standard_normal((k, RANK)) for k in (6, 5))
    earlier = ls.solve(problem, method, stop=stop)
    drawn = ls.inits.Gaussian().start(problem, np.random.default_rng(0))
    for init, X in (
        (earlier, earlier.X),
        ((A, B), A @ B.T),
        (ls.inits.Gaussian(), drawn.A @ drawn.B.T),
        ("pissa", 0.0 * W0),
        ("lora", 0.0 * W0),
    ):
        end = ls.solve(problem, method, init, stop=stop)
        losses = [0.5 * np.sum(((W0 + each) @ Z - Y) ** 2) / Z.shape[1] for each in (X, end.X)]
        assert_allclose([end.trace.value[0], end.fun], losses, rtol=1e-11)
    assert ls.solve(problem, method, earlier, stop=stop).fun < earlier.fun


def test_with_all_samples_both_reach_the_optimum_of_full_rank():
    W0, Z, Y = network(4, 7)
    problem = ls.Problem(LinearFineTuning(W0, Z, Y), RANK)
    least = 0.5 * np.sum((Y @ np.linalg.pinv(Z) @ Z - Y) ** 2) / Z.shape[1]
    for schedule in (GaLore(period=20), GoLore(period=20)):
        end = ls.solve(problem, ls.Method(GD(0.3), schedule), stop=ls.StoppingRule(6000, grad_tol=0.0))
        assert end.fun == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize(("batch_size", "seen"), [(1, {0, 1, 2}), (2, {1, 2}), (3, {2}), (7, {2}), (None, {2})])
def test_a_projector_sees_the_samples_of_its_batch(batch_size, seen):
    """Sample ``k`` has the gradient ``-(k + 1) e_k e_k^T``: of those drawn, each once, the last one leads."""
    problem = ls.Problem(LinearFineTuning(np.zeros((3, 4)), np.eye(4)[:, :3], np.diag([1.0, 2.0, 3.0])), 1)
    stage = Stage(problem, np.zeros(problem.size))
    for side in ("left", "right"):
        frames = [GaLore(batch_size=batch_size).frame(stage, side, np.random.default_rng(seed)) for seed in range(60)]
        assert_allclose([np.abs(Q).max() for Q in frames], 1.0, rtol=1e-12)
        assert {int(np.abs(Q).argmax()) for Q in frames} == seen


def test_what_makes_no_sense_is_refused():
    objective = LinearFineTuning(*network(4, 7))
    for problem, words in (
        (ls.Problem(objective, RANK, 0.1), "lam = 0"),
        (ls.Problem(objective, RANK, adapter="dora"), "freezes a factor"),
    ):
        with pytest.raises(ValueError, match=words):
            ls.solve(problem, "gd+galore")
    with pytest.raises(ValueError, match="batch_size"):
        ls.solve(ls.Problem(Denoising(np.ones((3, 2))), 1), "gd+galore:batch_size=2")
    for cls in (GaLore, GoLore):
        for settings in ({"period": 0}, {"side": "up"}, {"batch_size": 0}):
            with pytest.raises(ValueError, match=next(iter(settings))):
                cls(**settings)
    with pytest.raises(ValueError, match="leading"):
        GoLore(leading=-1)
    assert ls.solve(ls.Problem(objective, RANK, adapter=LoRA(alpha=2.0)), "gd+golore").fun > 0.0
