"""The rate of gradient descent on the factors: its bound by another route, and steps that do not keep it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lorasolve.papers import lora_gd


@pytest.mark.parametrize("name", ["denoising", "softmax, separable"])
def test_the_bound_is_that_of_the_sum_of_steps_which_the_theorem_allows_at_the_least(name):
    """Steps of 1/(a + b S) each, S their sum so far: the least squared gradient is at most 2 Delta/S."""
    problem = lora_gd.problems(0)[name]
    beta, value, square = problem.objective.facts.smoothness, 3.0, 0.7
    delta = value - problem.objective.facts.lower_bound
    a, b, total, sums = np.sqrt(2 * beta * delta) + 4.5 * beta * square, 9 * beta * delta, 0.0, []
    for _ in range(20_000):
        total += 1.0 / (a + b * total)
        sums.append(total)
    k = np.arange(1.0, 20_001.0)
    found = lora_gd.bound(problem, value, square, k)
    allowed = 2.0 * delta / np.array(sums)
    assert np.all(allowed <= found) and allowed[-1] > 0.98 * found[-1]
    assert_allclose(found * (np.sqrt(a**2 + 2 * b * k) - a), 2 * delta * b, rtol=1e-9)
    # At 1/sqrt(k): four times as many steps, half of the bound.
    assert lora_gd.bound(problem, value, square, np.array([4e12])) / lora_gd.bound(
        problem, value, square, np.array([1e12])
    ) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("name", ["denoising", "softmax, separable"])
def test_the_step_is_one_that_the_descent_lemma_allows(name):
    """h (||G||_2 + lam + (9/4) beta (||A||_2^2 + ||B||_2^2)) <= 1, with norms from singular values."""
    problem, rng = lora_gd.problems(1)[name], np.random.default_rng(0)
    beta = problem.objective.facts.smoothness
    for scale in (0.1, 1.0, 10.0):
        A, B = (scale * rng.standard_normal((side, problem.rank)) for side in problem.shape)
        G = problem.objective.value_and_grad(A @ B.T)[1]
        K = lora_gd.steepness(problem, problem.value(A, B), float(np.sum(A * A) + np.sum(B * B)))
        norms = [np.linalg.norm(M, 2) for M in (G, A, B)]
        assert norms[0] + problem.lam + 2.25 * beta * (norms[1] ** 2 + norms[2] ** 2) <= K


def found():
    return {"courses": lora_gd.courses(1, 10_000), "far": lora_gd.far_starts(10.0, 100)}


@pytest.mark.parametrize("factor", [1e-4, 30.0])
def test_steps_of_another_size_do_not_keep_the_bound(factor, monkeypatch):
    """Ones that are too short go nowhere, and the loss rises in ones that are too long."""
    steepness = lora_gd.steepness

    @dataclass(frozen=True)
    class Other(lora_gd.CurrentStep):
        def update(self, problem, state, value, grad):
            state.theta = state.trial
            state.step = factor / steepness(problem, value, float(state.theta @ state.theta))
            state.trial = state.theta - state.step * grad

    monkeypatch.setattr(lora_gd, "CurrentStep", Other)
    assert [claim.holds for claim in lora_gd.LoRAGDClaims().judge(found())] == [False, False]


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({}, [True, True]),
        ({"shares": [0.1, 1.1]}, [False, True]),
        ({"shares": [0.1, np.nan]}, [False, True]),
        ({"bounds": [9.0, 1.5]}, [False, True]),  # it would hold of a run that stands still
        ({"growth": 1.1}, [False, True]),  # the factors were bounded
        ({"rise": 1e-3}, [False, True]),
        ({"far": False}, [True, False]),
        ({"near": True}, [True, False]),
        ({"left": 0.9}, [True, False]),
    ],
)
def test_each_number_decides(changed, holds):
    course = {"shares": [0.1, 0.2], "bounds": [9.0, 0.5], "growth": 3.0, "rise": -1e-7}
    far = {"diverged": {"near": False, "far": True}, "rise": -1e-5, "left": 0.01}
    course |= {key: value for key, value in changed.items() if key in course}
    far["diverged"] |= {key: value for key, value in changed.items() if key in far["diverged"]}
    far |= {key: value for key, value in changed.items() if key in far and key != "rise"}
    claims = lora_gd.LoRAGDClaims().judge({"courses": {"softmax, separable": [course]}, "far": far})
    assert [claim.holds for claim in claims] == holds
