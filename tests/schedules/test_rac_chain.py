"""The randomized chain: its sketches, one block by hand, and where it ends beside chains of repeated factors."""

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.adapters import LoRA
from lorasolve.objectives import Denoising
from lorasolve.optimizers import GD
from lorasolve.schedules import ChainOfLoRA, RACChain
from lorasolve.schedules._frozen_blocks import seen_on_average
from lorasolve.schedules._sketches import SKETCHES


def problem(m=7, n=5, rank=2, seed=0):
    return ls.Problem(Denoising(np.random.default_rng(seed).standard_normal((m, n))), rank)


def after(blocks, schedule, p, step=1.0, seed=0):
    return ls.solve(p, ls.Method(GD(step), schedule), seed=seed, stop=ls.StoppingRule(max_iter=blocks, grad_tol=0.0))


@pytest.mark.parametrize("name", ["haar", "coordinate"])
def test_orthonormal_sketches(name):
    Q = SKETCHES[name](9, 4, np.random.default_rng(0))
    np.testing.assert_allclose(Q.T @ Q, np.eye(4), atol=1e-14)


@pytest.mark.parametrize("name", list(SKETCHES))
def test_mean_projector_is_a_multiple_of_the_identity(name):
    rng = np.random.default_rng(1)
    draws = 6000
    mean = sum(Q @ Q.T for Q in (SKETCHES[name](6, 2, rng) for _ in range(draws))) / draws
    np.testing.assert_allclose(mean, np.eye(6) * 2 / 6, atol=6 / np.sqrt(draws) / 2)


def test_what_a_sketch_sees_of_the_gradient_is_its_size_on_average():
    """``E ||Q^T G||^2 = ||Q||^2 ||G||^2/m``: the mean projector is a multiple of the identity."""
    p = problem(m=30).replace(adapter=LoRA(alpha=6.0))
    G, rng = -p.objective.M, np.random.default_rng(2)
    draws = [3.0 * np.linalg.norm(SKETCHES["haar"](30, 2, rng).T @ G) for _ in range(4000)]
    Q = SKETCHES["haar"](30, 2, rng)
    assert seen_on_average(p, Q) == pytest.approx(np.sqrt(np.mean(np.square(draws))), rel=0.03)


@pytest.mark.parametrize(("side", "frozen"), [("left", "A"), ("right", "B")])
def test_one_block_is_a_projected_gradient_step(side, frozen):
    p = problem()
    result = after(1, RACChain(side=side), p, step=0.7)
    G = -p.objective.M
    # the update must be gamma times the projection of -G on some r-dimensional space: on its own range
    X = result.X
    basis = np.linalg.svd(X if side == "left" else X.T)[0][:, : p.rank]
    projected = basis @ basis.T @ G if side == "left" else G @ basis @ basis.T
    np.testing.assert_allclose(X, -0.7 * projected, atol=1e-13)
    assert result.problem.adapter.frozen == frozen
    assert result.nfev == 2


def test_auto_sketches_the_smaller_side_and_mixed_uses_both():
    assert after(1, RACChain(side="auto"), problem(7, 5)).problem.adapter.frozen == "B"
    assert after(1, RACChain(side="auto"), problem(5, 7)).problem.adapter.frozen == "A"
    seen = {after(1, RACChain(side="mixed"), problem(), seed=s).problem.adapter.frozen for s in range(12)}
    assert seen == {"A", "B"}
    for probability, frozen in ((0.0, "B"), (1.0, "A")):
        chains = (after(1, RACChain(side="mixed", probability=probability), problem(), seed=s) for s in range(8))
        assert {chain.problem.adapter.frozen for chain in chains} == {frozen}


def test_chain_reaches_the_full_rank_optimum_and_a_repeated_sketch_stalls():
    p = problem()
    M = p.objective.M
    assert np.linalg.norm(after(400, RACChain(), p).X - M) < 1e-10 * np.linalg.norm(M)
    stalled = after(400, RACChain(side="left", resample=False), p)
    G = stalled.X - M
    Q = stalled.A
    assert np.linalg.norm(Q.T @ G) < 1e-12
    # the limit is the projection of M on the range of the one sketch
    np.testing.assert_allclose(stalled.X, Q @ Q.T @ M, atol=1e-12)
    assert np.linalg.norm(G) > 1.0


def test_a_block_that_converged_is_no_converged_chain():
    p = problem()
    result = ls.solve(p, ls.Method(GD(1.0), RACChain(inner=10_000)), stop=ls.StoppingRule(max_iter=600, grad_tol=1e-9))
    assert result.status is ls.Status.CONVERGED
    assert np.linalg.norm(result.X - p.objective.M) < 1e-7


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("side", ["auto", "mixed"])
def test_blocks_that_see_nothing_of_the_gradient_do_not_end_the_chain(seed, side):
    """Frames of unit vectors: a block of rows that are fitted already is stationary, the matrix is not."""
    M = np.random.default_rng(seed).standard_normal((10, 12))
    method = ls.Method(GD(1.0), RACChain(sketch="coordinate", side=side))
    result = ls.solve(ls.Problem(Denoising(M), 2), method, seed=seed)
    assert result.status is ls.Status.CONVERGED
    np.testing.assert_allclose(result.X, M, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "chain"), [(1.0, RACChain(resample=False)), (0.05, ChainOfLoRA(period=1, resample=False))]
)
def test_a_repeated_sketch_is_no_success(step, chain):
    p = problem()
    stop = ls.StoppingRule(max_iter=4000, grad_tol=1e-4)
    result = ls.solve(p, ls.Method(GD(step), chain), stop=stop)
    assert np.linalg.norm(result.X - p.objective.M) > 1.0
    assert result.grad_norm < 1e-3
    assert result.status is ls.Status.ITERATION_LIMIT and not result.success


def test_cola_with_repeated_factors_stalls_and_with_fresh_ones_converges():
    p = problem()
    M = p.objective.M
    step = 0.2 / np.linalg.norm(M, 2)
    repeated = after(6000, ChainOfLoRA(period=1, resample=False), p, step=step)
    G = repeated.X - M
    A0 = repeated.A
    assert np.linalg.norm(A0.T @ G) < 1e-10 * np.linalg.norm(A0) * np.linalg.norm(G)
    # any fixed point of the repeated block keeps the part of M outside the range of A0
    outside = np.eye(7) - A0 @ np.linalg.pinv(A0)
    assert np.linalg.norm(G) >= np.linalg.norm(outside @ M) * (1 - 1e-9) > 1.0
    fresh = after(12_000, ChainOfLoRA(period=100), p, step=step)
    assert np.linalg.norm(fresh.X - M) < 1e-8


def test_chains_refuse_what_makes_no_sense():
    with pytest.raises(ValueError, match="lam"):
        ls.solve(problem().replace(lam=0.1), "gd+rac_chain")
    with pytest.raises(ValueError, match="lam"):
        ls.solve(problem().replace(lam=0.1), "gd+cola")
    with pytest.raises(ValueError, match="side"):
        RACChain(side="top")
    with pytest.raises(TypeError, match="resample: expected True or False, got 1"):
        ChainOfLoRA(resample=1)
    with pytest.raises(ValueError, match="inner: expected an integer >= 1, got 0"):
        RACChain(inner=0)
    with pytest.raises(ValueError, match=r"probability: expected a finite number in \[0, 1\], got 1.5"):
        RACChain(probability=1.5)
    with pytest.raises(ValueError, match=r"sketch.*Did you mean 'haar'"):
        RACChain(sketch="har")
