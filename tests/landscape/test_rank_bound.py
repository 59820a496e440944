"""The bound over a rank against the optimum in closed form, for denoising times a number."""

import re

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.landscape import verdict
from lorasolve.landscape.rank_bound import gap_of_rank
from lorasolve.objectives import Denoising


def value(Y, M, curvature, lam):
    return 0.5 * curvature * np.linalg.norm(Y - M) ** 2 + lam * np.linalg.svd(Y, compute_uv=False).sum()


def best(M, curvature, lam, r):
    """Return the minimiser of ``(curvature/2) ||Y - M||^2 + lam ||Y||_*`` over ``rank Y <= r``."""
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    s = np.maximum(s - lam / curvature, 0.0)
    s[r:] = 0.0
    return (P * s) @ Qt


@pytest.mark.parametrize("lam", [0.0, 0.4, 30.0])
@pytest.mark.parametrize("r", [1, 2, 5])
@pytest.mark.parametrize("curvature", [0.25, 1.0, 8.0])
def test_of_a_quadratic_it_is_the_gap(curvature, r, lam):
    rng = np.random.default_rng(r)
    M = rng.standard_normal((6, 5))
    A, B = rng.standard_normal((6, r)), rng.standard_normal((5, r))
    X = A @ B.T
    gap = value(X, M, curvature, lam) - value(best(M, curvature, lam, r), M, curvature, lam)
    assert gap > 0.0
    assert gap_of_rank(A, B, curvature * (X - M), curvature, lam, r, 0.0) == pytest.approx(gap, rel=1e-12)


def test_with_less_than_the_curvature_and_with_errors_of_the_gradient_it_is_above_the_gap():
    rng = np.random.default_rng(0)
    M, A, B = rng.standard_normal((6, 5)), rng.standard_normal((6, 2)), rng.standard_normal((5, 2))
    X, Y = A @ B.T, best(M, 1.0, 0.4, 2)
    gap = value(X, M, 1.0, 0.4) - value(Y, M, 1.0, 0.4)
    assert gap_of_rank(A, B, X - M, 0.5, 0.4, 2, 0.0) > gap
    # The error of a length that lowers the bound most.
    length = 1e-6
    wrong = X - M + length * (Y - X) / np.linalg.norm(Y - X)
    assert gap_of_rank(A, B, wrong, 1.0, 0.4, 2, 0.0) < gap <= gap_of_rank(A, B, wrong, 1.0, 0.4, 2, length)


def test_certificate_and_verdict_tell_one_story_of_the_best_point_of_a_rank_below_that_of_the_optimum():
    """Of denoising the best point of each rank keeps the largest singular values, less ``lam`` (Eckart and Young)."""
    M, lam, rank = np.diag([5.0, 4.0, 3.0, 2.0]), 0.5, 2
    shrunk = np.diag(M) - lam
    lower = 0.5 * float(np.sum(shrunk[rank:] ** 2))
    problem = ls.Problem(Denoising(M), rank, lam)
    factor = np.sqrt(np.diag(shrunk)[:, :rank])
    certificate = ls.certify(problem, (factor, factor))
    assert certificate.is_global is False
    said = re.search(r"better by ([0-9.]+) is known, of rank [34]; whether one of rank <= 2", str(certificate))
    assert said and 0.0 < float(said[1]) <= lower + 1e-9
    judged = verdict(problem, (factor, factor))
    assert judged.kind == "global"
    said = re.search(r"of rank <= 2, .* larger ranks reach one lower by ([0-9.]+)", judged.reason)
    assert said and 0.0 < float(said[1]) <= lower + 1e-9
    # A better point that the problem allows is no news about ranks.
    full = ls.certify(problem.replace(rank=4), (factor, factor))
    assert full.is_global is False and "rank" not in full.reason
    # Nor is one to a point that it does not allow itself, as the convex problem at whatever rank may be asked about.
    loose = ls.certify(problem.replace(rank=1), (factor, factor))
    assert loose.is_global is False and "rank" not in loose.reason
