"""Matrices known by products: their largest singular values, and bounds on them near stationary points."""

from types import SimpleNamespace

import numpy as np
import pytest

from lorasolve.dense import DENSE_LIMIT
from lorasolve.linear_map import LinearMap, outside
from lorasolve.objectives import MatrixCompletion
from lorasolve.singular_triplets import TopSingular, top_above, top_singular

LARGE = (510, 500)
SHAPES = [(12, 7), (7, 12), LARGE]


def products_only(M):
    return LinearMap(M.shape, lambda V: M @ V, lambda U: M.T @ U)


def orthonormal(rng, rows, columns):
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def with_spectrum(rng, shape, values):
    """A matrix with the given singular values, and its singular vectors."""
    U, V = (orthonormal(rng, size, len(values)) for size in shape)
    return (U * values) @ V.T, U, V


def test_the_shapes_lie_on_both_sides_of_the_dense_limit():
    sizes = [m * n for m, n in SHAPES]
    assert min(sizes) <= DENSE_LIMIT < max(sizes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 4])
def test_top_triplets_are_those_of_numpy(shape, k):
    M = np.random.default_rng(0).standard_normal(shape)
    top = top_singular(products_only(M), k)
    assert top.exact == (M.size <= DENSE_LIMIT)
    np.testing.assert_allclose(top.values, np.linalg.svd(M, compute_uv=False)[:k], rtol=1e-12)
    np.testing.assert_allclose(M @ top.V, top.U * top.values, atol=1e-10)
    np.testing.assert_allclose(top.U.T @ top.U, np.eye(k), atol=1e-12)
    np.testing.assert_allclose(top.V.T @ top.V, np.eye(k), atol=1e-12)


@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-4])
def test_the_residual_bounds_the_error_of_a_rough_run(tol):
    rng = np.random.default_rng(1)
    M, _, _ = with_spectrum(rng, LARGE, np.linspace(1.0, 0.2, 300))
    truth = np.linalg.svd(M, compute_uv=False)
    top = top_singular(products_only(M), 3, tol)
    for value in top.values:
        assert np.min(np.abs(truth - value)) <= top.residual + 1e-14
    assert top.values[0] + top.residual >= truth[0] - 1e-14
    sides = (M @ top.V - top.U * top.values, M.T @ top.U - top.V * top.values)
    lengths = np.hypot(*(np.linalg.norm(side, axis=0) for side in sides))
    assert top.residual <= lengths.max() * (1.0 + 1e-6) + 1e-14


@pytest.mark.parametrize("shape", [LARGE, LARGE[::-1], (3000, 90)])
@pytest.mark.parametrize("tol", [0.1, 0.03])
def test_a_rough_run_finds_most_of_what_there_is(shape, tol):
    """Values that lie close, and more of them than fit into a block: Ritz values are never above the truth."""
    M = np.random.default_rng(4).standard_normal(shape)
    truth = np.linalg.svd(M, compute_uv=False)[:20]
    top = top_singular(products_only(M), 20, tol)
    assert np.all(top.values <= truth * (1.0 + 1e-12))
    assert np.sum(top.values**2) >= (1.0 - tol) * np.sum(truth**2)
    residuals = (M @ top.V - top.U * top.values, M.T @ top.U - top.V * top.values)
    lengths = np.hypot(*(np.linalg.norm(residual, axis=0) for residual in residuals))
    assert np.all(lengths <= tol * top.values * (1.0 + 1e-9))
    np.testing.assert_allclose(top.V.T @ top.V, np.eye(20), atol=1e-12)


@pytest.mark.parametrize("shape", [LARGE, LARGE[::-1]])
def test_a_rough_run_on_a_matrix_of_lower_rank(shape):
    M = with_spectrum(np.random.default_rng(5), shape, np.array([3.0, 2.0]))[0]
    top = top_singular(products_only(M), 12, 0.1)
    np.testing.assert_allclose(top.values[:2], [3.0, 2.0], rtol=1e-9)
    np.testing.assert_allclose(top.values[2:], np.zeros(10), atol=1e-6)
    assert top.U.shape == (shape[0], 12) and top.V.shape == (shape[1], 12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_zero_matrix_has_norm_zero(shape):
    top = top_singular(products_only(np.zeros(shape)), 3)
    np.testing.assert_array_equal(top.values, np.zeros(3))
    assert top.U.shape == (shape[0], 3) and top.V.shape == (shape[1], 3)


def test_more_triplets_than_there_are():
    M = np.random.default_rng(2).standard_normal((5, 3))
    assert top_singular(LinearMap.from_dense(M), 9).values.shape == (3,)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_to_dense_through_the_shorter_side(shape):
    M = np.random.default_rng(3).standard_normal(shape)
    np.testing.assert_allclose(products_only(M).to_dense(), M)
    assert LinearMap.from_dense(M).to_dense() is M


# ---------------------------------------------------------------------- a matrix seen from two spaces
def split_spectrum(G, P, Q, k, level, near=None):
    """Return the blocks, the top triplets of the last one, and the bound of the norm that follows."""
    seen = outside(G, P, Q)
    rest = top_above(seen, k, k + P.shape[1] // 2, level, near=near)
    return SimpleNamespace(rest=rest, coupling=seen.coupling, norm=seen.norm(rest.values[0] + rest.residual))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("r", [0, 5])
@pytest.mark.parametrize("dense", [True, False])
def test_the_bound_holds_for_random_matrices(shape, r, dense):
    rng = np.random.default_rng(4)
    M = rng.standard_normal(shape)
    P, Q = (orthonormal(rng, size, r) for size in shape)
    operator = LinearMap.from_dense(M) if dense else products_only(M)
    split = split_spectrum(operator, P, Q, 2, 1.0)
    norm = np.linalg.norm(M, 2)
    assert split.norm >= norm * (1 - 1e-14)
    rest = M - P @ (P.T @ M)
    rest -= (rest @ Q) @ Q.T
    assert split.rest.values[0] == pytest.approx(np.linalg.norm(rest, 2), rel=1e-2)
    assert split.rest.values[0] <= np.linalg.norm(rest, 2) * (1 + 1e-12)
    off = max(np.linalg.norm(P.T @ M - (P.T @ M @ Q) @ Q.T), np.linalg.norm(M @ Q - P @ (P.T @ M @ Q))) if r else 0.0
    assert split.coupling <= off + 1e-12
    if r == 0:
        assert split.coupling == 0.0


@pytest.mark.parametrize("shape", [(40, 30), LARGE])
@pytest.mark.parametrize("share", [0.3, 0.999, 1.0, 1.001])
@pytest.mark.parametrize("noise", [0.0, 1e-5])
def test_the_bound_is_tight_near_stationary_points(shape, share, noise):
    """At a stationary point G = -lam P Q^T + S: a cluster at lam, which the bound exceeds to second order only."""
    rng = np.random.default_rng(5)
    r, lam = 8, 0.7
    U, V = (orthonormal(rng, size, r + 20) for size in shape)
    P, Q = U[:, :r], V[:, :r]
    S = (U[:, r:] * np.linspace(share * lam, 0.0, 20)) @ V[:, r:].T
    E = rng.standard_normal(shape)
    M = S - lam * P @ Q.T + noise * lam * E / np.linalg.norm(E, 2)
    split = split_spectrum(products_only(M), P, Q, 3, lam)
    norm = np.linalg.norm(M, 2)
    assert norm * (1 - 1e-14) <= split.norm
    # Lanczos is as accurate as telling ||S|| from lam takes, no more: where S is far below, it does not matter.
    slack = split.rest.residual if share > 1.0 else 0.0
    assert split.norm <= max(norm, lam) * (1 + 2 * noise + 1e-4) + slack
    if share > 1.0:
        assert split.rest.values[0] > lam
    if noise == 0.0:
        assert split.coupling < 1e-13
    if noise == 0.0 and share < 1.0:
        assert split.norm == pytest.approx(lam, rel=1e-12)


@pytest.mark.parametrize("shape", [LARGE, LARGE[::-1]])
def test_a_start_near_the_triplets_of_another_matrix_finds_what_is_new(shape):
    rng = np.random.default_rng(7)
    U, V = (orthonormal(rng, size, 21) for size in shape)
    values = np.linspace(0.8, 0.0, 21)
    empty = [np.empty((size, 0)) for size in shape]
    old = split_spectrum(products_only((U * values) @ V.T), *empty, 3, 1.0)
    values[-1] = 1.5
    new = split_spectrum(products_only((U * values) @ V.T), *empty, 3, 1.0, near=old.rest)
    assert new.rest.values[:2] == pytest.approx([1.5, 0.8], rel=1e-3)
    assert abs(new.rest.V[:, 0] @ V[:, -1]) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("shape", [LARGE, LARGE[::-1]])
def test_what_is_large_within_a_space_is_not_found_outside(shape):
    """A matrix that takes the known right vector to an unknown left one, and the other way round."""
    rng = np.random.default_rng(10)
    U, V = (orthonormal(rng, size, 3) for size in shape)
    M = 9.0 * U[:, [1]] @ V[:, [0]].T + 8.0 * U[:, [0]] @ V[:, [1]].T + U[:, [2]] @ V[:, [2]].T
    rest = split_spectrum(products_only(M), U[:, :1], V[:, :1], 1, 0.5).rest
    assert rest.values[0] == pytest.approx(1.0, rel=1e-6) and abs(rest.V[:, 0] @ V[:, 2]) > 0.999


# ---------------------------------------------------------------------- factors


# ---------------------------------------------------------------------- the largest eigenvalue


@pytest.mark.parametrize("seed", range(4))
def test_values_just_above_the_level_are_found_beside_known_ones_far_above(seed):
    """Eight known directions are accurate at once; ten more are above 8, with 82 values right below it."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([np.linspace(11.0, 10.0, 8), np.linspace(8.4, 8.05, 10), np.linspace(7.9, 1.0, 282)])
    P, Q = orthonormal(rng, 400, 300), orthonormal(rng, 300, 300)
    near = TopSingular(P[:, :8], values[:8], Q[:, :8], False, 0.0)
    seen = outside(products_only((P * values) @ Q.T), np.empty((400, 0)), np.empty((300, 0)))
    found = top_above(seen, 8, 60, 8.0, near=near, dense_limit=0)
    assert np.count_nonzero(found.values > 8.0) == 18


# ---------------------------------------------------------------------- with an inverse at hand
def above_a_level(rng, shape):
    """Two known directions at 1 as of an optimum, eleven at 0.85 to 0.97, two of them equal, 200 below 0.8."""
    values = np.r_[1.0, 1.0, 0.97, 0.9, 0.9, np.linspace(0.89, 0.85, 8), np.linspace(0.78, 0.1, 200)]
    M, U, V = with_spectrum(rng, shape, values)
    asked = []
    operator = LinearMap(M.shape, lambda X: asked.append(X.shape[1]) or M @ X, lambda X: M.T @ X)
    short = M.T @ M if shape[0] >= shape[1] else M @ M.T
    return outside(operator, U[:, :2], V[:, :2]), values[2:13], np.eye(len(short)) * 1.0001 - short, asked


def products_with(M):
    return LinearMap(M.shape, lambda X: M @ X, lambda X: M @ X)


@pytest.mark.parametrize("shape", [(400, 330), (330, 400), (350, 350)])
def test_an_inverse_shows_what_is_above_a_level_sooner(shape):
    seen, above, shifted, asked = above_a_level(np.random.default_rng(0), shape)
    plain = top_above(seen, 3, 30, 0.8, dense_limit=0)
    without = sum(asked)
    asked.clear()
    found = top_above(seen, 3, 30, 0.8, dense_limit=0, inverse=products_with(np.linalg.inv(shifted)))
    assert sum(asked) < 0.7 * without
    for top in (plain, found):
        assert top.values[:11] == pytest.approx(above, rel=1e-3) and not (top.values[11:] > 0.8).any()
    for basis in (found.U, found.V):
        np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-10)
    # Triplets of the space: what a round takes for U^T G V.
    np.testing.assert_allclose(found.U.T @ seen.S.matmat(found.V), np.diag(found.values), atol=1e-10)
    sides = seen.S.matmat(found.V) - found.U * found.values, seen.S.rmatmat(found.U) - found.V * found.values
    residuals = np.max([np.linalg.norm(side, axis=0) for side in sides], axis=0)
    assert residuals[0] == pytest.approx(found.residual, rel=1e-6, abs=1e-12) and residuals[:11].max() < 0.03
    for known, basis in ((seen.P, found.U), (seen.Q, found.V)):
        assert np.abs(known.T @ basis).max() < 1e-10


@pytest.mark.parametrize("seed", range(4))
def test_values_just_above_the_level_are_found_with_an_inverse(seed):
    """Ten between 8.05 and 8.4, with 82 values right below 8, and one direction asked for."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([np.linspace(8.4, 8.05, 10), np.linspace(7.9, 1.0, 282)])
    M = (orthonormal(rng, 400, 292) * values) @ orthonormal(rng, 300, 292).T
    inverse = products_with(np.linalg.inv(8.5**2 * np.eye(300) - M.T @ M))
    seen = outside(products_only(M), np.empty((400, 0)), np.empty((300, 0)))
    found = top_above(seen, 1, 60, 8.0, dense_limit=0, inverse=inverse)
    assert np.count_nonzero(found.values > 8.0) == 10


@pytest.mark.parametrize("wrong", ["another", "identity", "zero"])
@pytest.mark.parametrize("shape", [(400, 330), (330, 400)])
def test_an_inverse_of_something_else_hides_nothing(wrong, shape):
    rng = np.random.default_rng(1)
    seen, above, _, _ = above_a_level(rng, shape)
    n = min(shape)
    R = rng.standard_normal((n, n))
    inverse = products_with({"another": np.linalg.inv(R @ R.T), "identity": np.eye(n), "zero": np.zeros((n, n))}[wrong])
    found = top_above(seen, 3, 30, 0.8, dense_limit=0, inverse=inverse)
    assert np.count_nonzero(found.values > 0.8) == 11 and found.values[:11] == pytest.approx(above, rel=1e-3)


@pytest.mark.parametrize("rank", [0, 1, 4])
def test_an_inverse_beside_a_matrix_of_low_rank(rank):
    """Fewer values than are looked at; none at all for the zero matrix."""
    values = np.linspace(0.9, 0.85, rank)
    M = with_spectrum(np.random.default_rng(2), (400, 330), values)[0]
    seen = outside(products_only(M), np.empty((400, 0)), np.empty((330, 0)))
    inverse = products_with(np.linalg.inv(np.eye(330) - M.T @ M))
    found = top_above(seen, 3, 30, 0.8, dense_limit=0, inverse=inverse)
    assert np.count_nonzero(found.values > 0.8) == rank and np.isfinite(found.U).all()
    assert found.values[:rank] == pytest.approx(values, rel=1e-6)


@pytest.mark.parametrize("turned", [False, True])
def test_the_core_of_a_map_is_the_matrix_in_its_support(turned):
    """Of entries in 3 rows and 4 columns of 200 x 150: the submatrix of the array, and all singular values but 0."""
    rng = np.random.default_rng(0)
    rows, cols = np.array([5, 5, 80, 80, 199]), np.array([0, 7, 7, 120, 149])
    G = MatrixCompletion(rows, cols, np.zeros(5), (200, 150)).sparse(rng.standard_normal(5))
    G = G.T if turned else G
    dense = G.to_dense()
    kept = np.flatnonzero(dense.any(axis=1)), np.flatnonzero(dense.any(axis=0))
    exact = dense[np.ix_(*kept)]
    assert G.core.shape == exact.shape == ((4, 3) if turned else (3, 4))
    np.testing.assert_array_equal(G.core.to_dense(), exact)
    np.testing.assert_array_equal(G.core.rmatmat(np.eye(len(exact))), exact.T)
    whole = np.linalg.svd(dense, compute_uv=False)[:3]
    np.testing.assert_allclose(np.linalg.svd(exact, compute_uv=False), whole, rtol=1e-13)
