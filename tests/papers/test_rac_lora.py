"""RAC-LoRA: contractions, bounds and noise floors against runs, and the facts of the paper's example."""

import numpy as np
import pytest
from scipy.optimize import minimize

import lorasolve as ls
from lorasolve.objectives import Denoising
from lorasolve.optimizers import GD
from lorasolve.papers import rac_lora
from lorasolve.schedules import RACChain

EXACT = ls.StoppingRule(max_iter=1, grad_tol=0.0)


class AnisotropicQuadratic:
    """``sum of w_ij (X - M)_ij^2 / 2`` with weights from mu to L."""

    def __init__(self, m, n, mu, L, seed=0):
        rng = np.random.default_rng(seed)
        self.shape = (m, n)
        self.weights = rng.uniform(mu, L, (m, n))
        self.weights.flat[0], self.weights.flat[1] = mu, L
        self.M = rng.standard_normal((m, n))

    def value_and_grad(self, X):
        E = X - self.M
        return 0.5 * float(np.sum(self.weights * E * E)), self.weights * E


class Noisy(AnisotropicQuadratic):
    """The isotropic case with gradient noise of total variance ``noise``."""

    def __init__(self, m, n, L, noise, seed):
        super().__init__(m, n, L, L, 0)
        self.deviation = np.sqrt(noise / (m * n))
        self.rng = np.random.default_rng(seed)

    def value_and_grad(self, X):
        f, G = super().value_and_grad(X)
        return f, G + self.deviation * self.rng.standard_normal(G.shape)


@pytest.mark.parametrize(("side", "expected"), [("left", 1 - 3 / 12), ("right", 1 - 3 / 8)])
def test_contraction_within_three_standard_errors(side, expected):
    M = np.random.default_rng(5).standard_normal((12, 8))
    p = ls.Problem(Denoising(M), 3)
    ratio = np.array([ls.solve(p, ls.Method(GD(1.0), RACChain(side=side)), seed=s, stop=EXACT).fun for s in range(600)])
    ratio /= 0.5 * np.sum(M * M)
    error = ratio.std(ddof=1) / np.sqrt(len(ratio))
    assert error < 0.006
    assert abs(ratio.mean() - expected) < 3 * error
    assert rac_lora.isotropic_factor(rac_lora.sketch_eigenvalue((12, 8), 3, side), 1.0, 1.0) == pytest.approx(expected)


def test_contraction_with_a_shorter_step():
    M = np.random.default_rng(5).standard_normal((12, 8))
    p = ls.Problem(Denoising(M), 3)
    ratio = np.array(
        [ls.solve(p, ls.Method(GD(0.6), RACChain(side="left")), seed=s, stop=EXACT).fun for s in range(600)]
    ) / (0.5 * np.sum(M * M))
    error = ratio.std(ddof=1) / np.sqrt(len(ratio))
    assert abs(ratio.mean() - (1 - 0.6 * 1.4 * 0.25)) < 3 * error


@pytest.mark.parametrize(("side", "inner"), [("left", 1), ("right", 1), ("mixed", 1), ("auto", 4)])
def test_curves_stay_under_the_bounds(side, inner):
    L, mu, blocks, seeds = 3.0, 0.5, 60, 30
    objective = AnisotropicQuadratic(10, 7, mu, L)
    p = ls.Problem(objective, 2)
    eigenvalue = rac_lora.sketch_eigenvalue(p.shape, 2, side)
    gaps, grads = [], []
    for seed in range(seeds):
        values, squares = [], []

        def watch(now, values=values, squares=squares):
            G = now.problem.objective.value_and_grad(now.problem.update(now.theta))[1]
            values.append(now.value)
            squares.append(np.sum(G * G))

        stop = ls.StoppingRule(max_iter=blocks * inner, grad_tol=0.0)
        schedule = RACChain(inner=inner, side=side)
        ls.solve(p, ls.Method(GD(1 / L), schedule), seed=seed, stop=stop, callback=watch)
        gaps.append(values[::inner])
        grads.append(squares[::inner])
    gaps, grads = np.mean(gaps, axis=0), np.mean(grads, axis=0)
    assert len(gaps) == blocks + 1
    for t in (1, 5, 20, blocks):
        assert gaps[t] <= rac_lora.gap_bound(gaps[0], eigenvalue, 1 / L, t, L, mu)
        assert np.mean(grads[:t]) <= rac_lora.stationarity_bound(gaps[0], eigenvalue, 1 / L, t, L)
    # the bound is no triviality: it decreases, and the curve is not below a tenth of the first step's bound
    assert gaps[1] >= 0.1 * rac_lora.gap_bound(gaps[0], eigenvalue, 1 / L, 1, L, mu)


def test_noisy_step_law_and_floor():
    L, noise, step = 2.0, 5.0, 0.3
    m, n, r = 6, 5, 2
    eigenvalue = rac_lora.sketch_eigenvalue((m, n), r, "left")
    start = 0.5 * L * float(np.sum(Noisy(m, n, L, noise, 0).M ** 2))
    values = []
    for seed in range(1500):
        p = ls.Problem(Noisy(m, n, L, noise, seed), r)
        values.append(ls.solve(p, ls.Method(GD(step), RACChain(side="left")), seed=seed, stop=EXACT).fun)
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    expected = rac_lora.noisy_isotropic_step(start, eigenvalue, step, L, noise)
    assert abs(np.mean(values) - expected) < 3 * error
    assert expected <= rac_lora.gap_bound(start, eigenvalue, step, 1, L, L, noise)


def test_sketch_eigenvalues():
    assert rac_lora.sketch_eigenvalue((10, 7), 2, "left") == 0.2
    assert rac_lora.sketch_eigenvalue((10, 7), 2, "auto") == 2 / 7
    assert rac_lora.sketch_eigenvalue((10, 7), 2, "mixed", 0.25) == pytest.approx(0.25 * 0.2 + 0.75 * 2 / 7)
    with pytest.raises(ValueError, match="side"):
        rac_lora.sketch_eigenvalue((10, 7), 2, "top")
    with pytest.raises(ValueError, match="step"):
        rac_lora.gap_bound(1.0, 0.2, 0.6, 3, smoothness=2.0, pl=1.0)


def test_paper_example_facts():
    f = rac_lora.PaperExample()
    value, G = f.value_and_grad(f.X_star)
    assert value == pytest.approx(-2.025, abs=1e-14)
    np.testing.assert_allclose(G, 0.0, atol=1e-15)
    singular = np.linalg.svd(f.X_star, compute_uv=False)
    np.testing.assert_allclose(singular, [1.377, 0.327, 0.0], atol=1e-3)

    def rank_one(z):
        return f.value_and_grad(np.outer(z[:3], z[3:]))[0]

    rng = np.random.default_rng(0)
    best = min(minimize(rank_one, rng.standard_normal(6), method="BFGS").fun for _ in range(10))
    assert best - f.lower_bound == pytest.approx(0.28889, abs=5e-6)


@pytest.mark.parametrize(("sigma", "stable"), [(0.5, True), (0.9, True), (1.1, False), (3.0, False)])
def test_steps_above_the_inverse_singular_value_are_unstable(sigma, stable):
    # scalar case f = (ab - sigma)^2 / 2 at its flattest minimiser a = b, where the curvature is 2 sigma
    p = ls.Problem(Denoising(np.array([[sigma]])), 1)
    a = np.sqrt(sigma) + 1e-6
    stop = ls.StoppingRule(max_iter=3000, grad_tol=1e-12)
    end = ls.solve(p, GD(1.0), init=(np.array([[a]]), np.array([[a]])), stop=stop)
    assert (end.status is ls.Status.CONVERGED) == stable


@pytest.mark.parametrize("rank", [1, 3])
def test_the_bounds_with_noise_are_met_where_they_are_tight(rank):
    """On (L/2)||W - M||^2 at step 1/L all are equations: iterated, a block maps the gap to (1 - c) gap + c floor."""
    L, noise, gap = 2.0, 5.0, 7.0
    eigenvalue = rac_lora.sketch_eigenvalue((6, 4), rank, "left")
    gaps = [gap]
    for _ in range(40):
        gaps.append(rac_lora.noisy_isotropic_step(gaps[-1], eigenvalue, 1 / L, L, noise))
    floor = noise / (2.0 * L)
    for blocks in (1, 7, 40):
        # mu = L: the bound has the exact factor and the whole floor, the law what the blocks have built up of it
        bound = rac_lora.gap_bound(gap, eigenvalue, 1 / L, blocks, L, L, noise)
        assert bound - gaps[blocks] == pytest.approx((1 - eigenvalue) ** blocks * noise / (2 * L), rel=1e-12)
        # ||grad f||^2 = 2 L gap here: summing gap_t - gap_(t+1) = c (gap_t - floor) over the blocks
        mean = np.mean([2 * L * each for each in gaps[:blocks]])
        bound = rac_lora.stationarity_bound(gap, eigenvalue, 1 / L, blocks, L, noise)
        assert bound - mean == pytest.approx(2 * L * gaps[blocks] / (eigenvalue * blocks), rel=1e-12)
    assert gaps[-1] == pytest.approx(floor, rel=0.1 if rank == 1 else 1e-6)


def test_the_papers_example_states_constants_of_its_own_hessian():
    """diag(10, 1, .., 1) twice: its eigenvalues are L and the constant of Polyak and Lojasiewicz."""
    f = rac_lora.PaperExample()
    X = np.random.default_rng(0).standard_normal((3, 3))
    H = np.array([(f.value_and_grad(X + e)[1] - f.value_and_grad(X)[1]).ravel() for e in np.eye(9).reshape(9, 3, 3)])
    np.testing.assert_allclose(H, np.diag([20.0] + 8 * [2.0]), atol=1e-12)
    assert (f.smoothness, f.pl) == (20.0, 2.0)
    D = np.random.default_rng(1).standard_normal((3, 3))
    np.testing.assert_allclose(f.hessian_product(X, D).ravel(), H @ D.ravel())
