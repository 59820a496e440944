"""Verdicts on losses with kinks, at a minimum that is known: ``sum |X_ij - M_ij| + lam ||X||_*`` has it at ``M``.

For ``lam <= 1``, because ``lam |P Q^T|_ij <= 1``: minus that is a subgradient of the sum at ``M``.
"""

from __future__ import annotations

import numpy as np
import pytest

import lorasolve as ls

LAM = 0.5
rng = np.random.default_rng(7)
M = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5))
P, s, Qt = np.linalg.svd(M)
P, s, Q = P[:, :2], s[:2], Qt[:2].T
AT_MINIMUM = P * np.sqrt(s), Q * np.sqrt(s)


class Absolute:
    """The sum, with 0 for the slope of |x| at 0 as NumPy's sign has it, or another subgradient."""

    convex, lower_bound, shape = True, 0.0, M.shape

    def __init__(self, at_kinks=0.0):
        self.at_kinks = at_kinks

    def value_and_grad(self, X):
        R = X - M
        R = np.where(np.abs(R) < 1e-12, 0.0, R)
        return float(np.abs(R).sum()), np.where(R == 0.0, self.at_kinks, np.sign(R))


@pytest.mark.parametrize("shift", [0.0, 1e-9])
def test_a_minimum_at_a_kink_is_not_called_unfinished(shift):
    factors = AT_MINIMUM[0] + shift, AT_MINIMUM[1]
    verdict = ls.landscape.verdict(ls.Problem(Absolute(), rank=2, lam=LAM), factors)
    assert verdict.kind == "inconclusive" and "kink" in verdict.reason
    assert not verdict.stationarity.is_fosp


def test_the_subgradient_of_an_optimum_certifies_it():
    problem = ls.Problem(Absolute(at_kinks=-LAM * P @ Q.T), rank=2, lam=LAM)
    certificate = ls.certify(problem, AT_MINIMUM)
    assert certificate.is_global and certificate.gap <= 1e-6 * LAM * s.sum()
    assert ls.landscape.verdict(problem, AT_MINIMUM).kind == "global"
    assert ls.certify(problem, tuple(2.0 * factor for factor in AT_MINIMUM)).is_global is not True


def test_a_point_from_which_the_loss_falls_is_not_converged():
    rough = ls.Problem(Absolute(), rank=2, lam=LAM)
    steep = np.where(rng.random(M.shape) < 0.5, 1.0, 1e6)
    smooth = [
        ls.Problem(ls.objectives.Huber(M, delta=0.1), rank=2, lam=LAM),
        ls.Problem(Weighted(steep), rank=2, lam=LAM),
    ]
    for problem in (rough, *smooth):
        for _ in range(5):
            factors = tuple(factor + 0.1 * rng.standard_normal(factor.shape) for factor in AT_MINIMUM)
            assert ls.landscape.verdict(problem, factors).kind == "not_converged"


class Weighted:
    """Weighted least squares, far more curved in some entries: steps along the gradient have to be short."""

    convex, lower_bound, shape = True, 0.0, M.shape

    def __init__(self, weights):
        self.weights = weights

    def value_and_grad(self, X):
        R = X - M
        return 0.5 * float((self.weights * R**2).sum()), self.weights * R
