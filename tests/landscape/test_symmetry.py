"""Projections onto the symmetry directions, against derivatives of the orbits themselves."""

import numpy as np
import pytest
from scipy.linalg import block_diag, expm

from lorasolve.landscape._symmetry import Symmetry


def generators(r, lam):
    """A basis of the matrices ``K`` whose exponentials move the factors along the orbit."""
    units = [np.outer(np.eye(r)[i], np.eye(r)[j]) for i in range(r) for j in range(r)]
    return [K - K.T for K in units] if lam else units


def tangents(A, B, lam):
    """Flat derivatives of ``(A e^(tK), B e^(-tK)^T)`` at ``t = 0``: central differences, exact to about 1e-10."""
    h = 1e-5

    def moved(K, t):
        return np.concatenate([(A @ expm(t * K)).ravel(), (B @ expm(-t * K).T).ravel()])

    columns = [(moved(K, h) - moved(K, -h)) / (2.0 * h) for K in generators(A.shape[1], lam)]
    return np.array(columns).T


def projector(columns):
    """The orthogonal projector onto the span, numerically zero directions left out."""
    U, s, _ = np.linalg.svd(columns, full_matrices=False)
    U = U[:, s > 1e-6 * max(s.max(initial=0.0), 1e-300)]
    return U @ U.T


def factors(kind, m, n, r, rng):
    A, B = rng.standard_normal((m, r)), rng.standard_normal((n, r))
    if kind == "deficient":
        A[:, -1] = B[:, -1] = 0.0
    if kind == "twice":
        A[:, -1], B[:, -1] = A[:, 0], B[:, 0]
    if kind == "one zero":
        A[:] = 0.0
    return A, B


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["full", "deficient", "twice", "one zero"])
@pytest.mark.parametrize(("m", "n", "r"), [(6, 4, 3), (2, 7, 3), (2, 1, 4), (5, 5, 1)])
def test_the_space_is_the_tangent_of_the_orbit(lam, kind, m, n, r):
    rng = np.random.default_rng(0)
    A, B = factors(kind, m, n, r, rng)
    expected = projector(tangents(A, B, lam))
    symmetry = Symmetry([(A, B)], lam)
    assert symmetry.size == (m + n) * r
    assert symmetry.dimension == round(np.trace(expected))
    assert np.array([symmetry.inside(unit) for unit in np.eye(symmetry.size)]) == pytest.approx(expected, abs=1e-7)
    basis, complement = symmetry.basis(), symmetry.complement()
    assert basis @ basis.T == pytest.approx(expected, abs=1e-7)
    assert complement @ complement.T == pytest.approx(np.eye(symmetry.size) - expected, abs=1e-7)
    both = np.hstack([basis, complement])
    assert both.T @ both == pytest.approx(np.eye(symmetry.size), abs=1e-13)
    vector = rng.standard_normal(symmetry.size)
    assert symmetry.inside(symmetry.inside(vector)) == pytest.approx(symmetry.inside(vector), abs=1e-14)
    assert symmetry.outside(vector) == pytest.approx(vector - expected @ vector, abs=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_several_matrices_have_the_directions_of_each(lam):
    rng = np.random.default_rng(1)
    pairs = [factors("full", 4, 3, 2, rng), factors("full", 2, 5, 1, rng), factors("deficient", 3, 3, 3, rng)]
    expected = block_diag(*(projector(tangents(A, B, lam)) for A, B in pairs))
    symmetry = Symmetry(pairs, lam)
    assert np.array([symmetry.inside(unit) for unit in np.eye(symmetry.size)]) == pytest.approx(expected, abs=1e-7)
    assert symmetry.basis() @ symmetry.basis().T == pytest.approx(expected, abs=1e-7)
    assert symmetry.complement().shape == (symmetry.size, symmetry.size - symmetry.dimension)


@pytest.mark.parametrize("size", [1e-60, 1e60])
def test_the_unit_of_the_factors_does_not_matter(size):
    rng = np.random.default_rng(2)
    A, B = factors("full", 5, 4, 3, rng)
    vector = rng.standard_normal(27)
    for lam in (0.0, 0.3):
        there = Symmetry([(size * A, size * B)], lam)
        assert there.inside(vector) == pytest.approx(Symmetry([(A, B)], lam).inside(vector), abs=1e-13)


def test_a_direction_that_nearly_vanishes_is_no_symmetry():
    # At columns of sizes 1, 1 and 1e-7 the rotation of the last two is an ordinary direction of escape for two
    # columns that are both of size 1e-7 only.
    rng = np.random.default_rng(3)
    W = np.linalg.qr(rng.standard_normal((9, 3)))[0]
    for s, dimension in [([1.0, 1.0, 1e-7], 3), ([1.0, 1e-7, 1e-7], 2), ([1.0, 1e-5, 1e-5], 3)]:
        A, B = np.split(W * s, [5])
        assert Symmetry([(A, B)], 0.3).dimension == dimension
