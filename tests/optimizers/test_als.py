"""Accelerated alternating least squares."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve.adapters import LoRA
from lorasolve.objectives import Denoising, LinearFineTuning, MatrixCompletion, MatrixSensing
from lorasolve.optimizers import ALS


def problem():
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.random((80, 50)) < 0.3)
    low_rank = rng.standard_normal((80, 3)) @ rng.standard_normal((3, 50))
    return ls.Problem(MatrixCompletion(rows, cols, low_rank[rows, cols], (80, 50)), 5, 0.5)


def test_acceleration_reaches_the_same_optimum_in_fewer_sweeps():
    stop = ls.StoppingRule(grad_tol=1e-9)
    plain, fast = (ls.solve(problem(), ALS(memory=memory), "spectral", stop=stop) for memory in (0, 6))
    assert plain.success and fast.success
    assert_allclose(fast.fun, plain.fun, rtol=1e-12)
    assert fast.nit < plain.nit / 2


def test_accelerated_values_never_rise():
    result = ls.solve(problem(), ALS(memory=4), "gaussian", stop=ls.StoppingRule(max_iter=60))
    assert np.all(np.diff(result.trace.value) <= 1e-12 * result.trace.value[0])
    assert result.nfev >= result.nit + 1


@pytest.mark.parametrize("memory", [1, 3])
def test_the_sweeps_are_those_of_anderson(memory):
    """Written from Walker and Ni: of the last images, the affine combination whose combined residual is least."""
    task, start = problem(), "gaussian"
    observed = np.zeros(task.shape, bool)
    observed[task.objective.rows, task.objective.cols] = True
    values = np.zeros(task.shape)
    values[observed] = task.objective.values

    def ridge(given, values, observed):
        return np.stack(
            [
                np.linalg.solve(given[seen].T @ given[seen] + task.lam * np.eye(5), given[seen].T @ row[seen])
                for row, seen in zip(values, observed)
            ]
        )

    method = ALS(memory=memory)
    found = ls.solve(task, method, start, stop=ls.StoppingRule(max_iter=9, grad_tol=0.0), seed=3)
    first = ls.solve(task, method, start, stop=ls.StoppingRule(max_iter=1, grad_tol=0.0), seed=3)
    A, B, images, residuals = first.A, first.B, [], []
    for _ in range(8):
        image = ridge(A, values.T, observed.T)
        images, residuals = [*images, image][-memory - 1 :], [*residuals, image - B][-memory - 1 :]
        R = np.stack([residual.ravel() for residual in residuals], axis=1)
        # The weights sum to 1: the last is 1 minus the others.
        others = np.linalg.lstsq(R[:, -1:] - R[:, :-1], R[:, -1], rcond=None)[0]
        weights = np.append(others, 1.0 - others.sum())
        B = sum(weight * image for weight, image in zip(weights, images))
        A = ridge(B, values, observed)
    assert found.nfev == found.nit + 1, "a step back would clear the memory"
    assert_allclose(found.B, B, atol=1e-9)
    assert_allclose(found.A, A, atol=1e-9)


def test_an_extrapolation_that_raises_the_value_is_taken_back_and_the_memory_cleared():
    task, method, rng = problem(), ALS(memory=3), np.random.default_rng(1)
    state = method.init(task, rng.standard_normal(task.size), rng)
    grad = np.empty(task.size)
    for _ in range(4):
        method.update(task, state, task.value_and_grad(state.trial, grad), grad)
    assert state.accepted and state.extrapolated and state.count > 0
    method.update(task, state, np.inf, grad)
    assert not state.accepted and not state.extrapolated and state.count == 0 and state.last is None
    assert_allclose(task.split(state.trial)[1], state.image)


def test_memory_is_checked():
    with pytest.raises(ValueError, match="memory"):
        ALS(memory=-1)


def low_rank_change(seed, dtype, noise):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    Z, W0 = normal(20, 200), normal(12, 20)
    return LinearFineTuning(W0, Z, (W0 + normal(12, 2) @ normal(2, 20)) @ Z + dtype(noise) * normal(12, 200))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.0, 1e-3, 0.1])
@pytest.mark.parametrize(("share", "close"), [(0.0, 1e-6), (1e-6, 1e-4)])
def test_float32_sweeps_at_a_rank_that_is_too_large_come_as_low_as_float64(seed, noise, share, close):
    """Of rank 2, fitted with rank 6: some columns of B hold rounding errors only. Little decay makes sweeps slow."""
    single = ls.Problem(low_rank_change(seed, np.float32, noise), 6, 0.0)
    single = single.replace(lam=share * single.critical_lam())
    double = ls.Problem(single.objective.in_float64(), 6, single.lam)
    stop = ls.StoppingRule(max_iter=200)
    ours, best = (ls.solve(problem, "als", seed=seed, stop=stop) for problem in (single, double))
    values = np.array(ours.trace.value)
    assert np.all(np.diff(values) <= 64 * np.finfo(np.float32).eps * values[0])
    assert double.value(ours.A, ours.B) - best.fun <= close * values[0]


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_float32_sweeps_that_change_nothing_end_as_stalled(lam):
    """More is asked for than float32 holds; sweeps whose values are at the optimum of the rank go on to no purpose."""
    rng = np.random.default_rng(0)
    M = (rng.standard_normal((60, 3)) @ rng.standard_normal((3, 50)) + 0.3 * rng.standard_normal((60, 50))).astype("f4")
    stop = ls.StoppingRule(max_iter=500, grad_tol=1e-9)
    result = ls.solve(ls.Problem(Denoising(M), 4, lam), "als", seed=0, stop=stop)
    assert result.status is ls.Status.STALLED and result.nit < 250
    s = np.linalg.svd(M.astype(float), compute_uv=False)
    kept = np.maximum(s[:4] - lam, 0.0)
    least = 0.5 * np.sum((s[:4] - kept) ** 2) + 0.5 * np.sum(s[4:] ** 2) + lam * np.sum(kept)
    assert result.fun == pytest.approx(least, rel=1e-5)
    # In float64 the gradient still falls when values have no digits left to show it.
    exact = ls.solve(ls.Problem(Denoising(M.astype(float)), 4, lam), "als", seed=0, stop=ls.StoppingRule(500, 1e-13))
    assert exact.status is ls.Status.CONVERGED


@pytest.mark.parametrize(("factor", "status"), [(2.0, ls.Status.STALLED), (np.inf, ls.Status.DIVERGED)])
def test_a_sweep_that_raises_the_value_ends_the_run(factor, status):
    """An objective whose answer for A is off: the run ends at the last point that was lower."""

    class Off(Denoising):
        def minimize_over_A(self, B, lam):
            return factor * super().minimize_over_A(B, lam)

    problem = ls.Problem(Off(np.diag([3.0, 2.0, 1.0])), 3, 0.1)
    result = ls.solve(problem, ALS(memory=0), (0.9 * np.eye(3), np.diag([3.0, 2.0, 1.0])))
    assert result.status is status and not result.success
    assert result.fun == result.trace.value[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [1e-4, 1e-6])
@pytest.mark.parametrize("kind", ["sensing", "linear"])
def test_minimisers_over_one_factor_in_float32_are_as_low_as_those_in_float64(kind, share, seed):
    """The given factor has columns that are nearly dependent: its Gram matrix has the condition 1e8."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((12, 2)) @ rng.standard_normal((2, 20))
    if kind == "sensing":
        M = rng.standard_normal((400, 12, 20)).astype(np.float32)
        single = MatrixSensing(M, np.einsum("kij,ij->k", M, X).astype(np.float32))
    else:
        Z = rng.standard_normal((20, 100)).astype(np.float32)
        single = LinearFineTuning(np.zeros((12, 20), np.float32), Z, (X @ Z).astype(np.float32))
    double = single.in_float64()
    task = ls.Problem(double, 6, 0.0)
    task = task.replace(lam=share * task.critical_lam())
    A, B = (
        (rng.standard_normal((n, 2)) @ rng.standard_normal((2, 6)) + 1e-4 * rng.standard_normal((n, 6))).astype("f4")
        for n in task.shape
    )
    lower = 1e-7 * task.value_at_zero
    assert (
        task.value(single.minimize_over_A(B, task.lam), B) <= task.value(double.minimize_over_A(B, task.lam), B) + lower
    )
    assert (
        task.value(A, single.minimize_over_B(A, task.lam)) <= task.value(A, double.minimize_over_B(A, task.lam)) + lower
    )


def test_a_scaled_adapter_ends_at_the_optimum_of_its_own_penalty():
    """With ``s = alpha/r = 3`` singular values shrink by ``lam/s``."""
    M = np.random.default_rng(5).standard_normal((7, 6))
    problem = ls.Problem(Denoising(M), 6, 1.2, LoRA(alpha=18.0))
    sigma = np.linalg.svd(M, compute_uv=False)
    kept = np.maximum(sigma - 0.4, 0.0)
    end = ls.solve(problem, "als")
    assert end.success
    assert end.fun == pytest.approx(0.5 * np.sum((kept - sigma) ** 2) + 0.4 * kept.sum(), rel=1e-9)
