"""Kernels with vector lanes, and blocked kernels, against NumPy and their plain twins, at awkward sizes."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lorasolve.kernels import (
    batch,
    batch_lanes,
    batch_plain,
    completion,
    completion_lanes,
    evaluate,
    gram,
    sensing,
    sensing_words,
    simd,
    simd_llvm,
    simd_sums,
    simd_words,
    sparse_gram,
    tiles,
)
from lorasolve.kernels.jit import kernel


@kernel()
def _dots(U, u, du, V, v, dv, length, P, p, dp):
    simd_sums.dots(U, u, du, V, v, dv, length, P, p, dp)


@kernel()
def _axpys(U, u, du, X, x, dx, length, T, t, dt):
    simd_sums.axpys(U, u, du, X, x, dx, length, T, t, dt)


@kernel()
def _whole_pass(M, x, y, backward, w, g):
    sensing.whole_pass(M, x, y, backward, w, g)


@kernel()
def _word_pass(M, x, y, backward, w, g):
    sensing_words.whole_pass(M, x, y, backward, w, g)


@kernel(allocates=True)
def _aligned(like):
    return simd.aligned(like.size, like.dtype)


@kernel()
def _lane_arithmetic(a, r, out):
    v = simd.load(a, 0)
    w = simd.load_first(a, 3, r)
    simd.store(out, 0, simd.fma(v, w, simd.splat(a[1])))
    difference = simd.sub(simd.fnma(w, w, simd.mul(v, v)), w)
    simd.store_first(out, simd.WIDTH, r, simd.sqrt(simd.div(difference, simd.mul(v, v))))
    return simd.total(w)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_lanes_do_arithmetic(dtype):
    a = np.arange(60, 20, -1).astype(dtype)
    out = np.full(3 * simd.WIDTH, 7, dtype)
    got = _lane_arithmetic(a, 10, out)
    v, w = a[:16], np.where(np.arange(16) < 10, a[3:19], 0)
    assert got == w.sum()
    assert_allclose(out[:16], v * w + a[1], rtol=1e-6)
    expected = np.where(np.arange(16) < 10, np.sqrt((v * v - w * w - w) / (v * v)), 7)
    assert_allclose(out[16:32], expected, rtol=1e-6)
    assert (out[32:] == 7).all()


@pytest.mark.parametrize("parts", [batch_lanes, batch_plain])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("k", [1, 11, 12, 13, 20, 33])
def test_symmetric_gradient_is_a_product_less_b(dtype, k, parts):
    rng = np.random.default_rng(k)
    H = rng.standard_normal((k, k)).astype(dtype)
    H += H.T
    width, before = batch.lanes(dtype), 3
    b = rng.standard_normal(before + k).astype(dtype)
    X = np.zeros((before + k + simd_sums.PANEL_ROWS, width), dtype)
    X[before : before + k] = rng.standard_normal((k, width))
    G = np.full_like(X, np.nan)
    parts.symmetric_gradient(batch.panels(H), b, X.ravel(), before, k, G.ravel(), width)
    expected = H @ X[before : before + k] - b[before:, None]
    assert_allclose(G[before : before + k], expected, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-5)
    assert np.isnan(G[:before]).all()


def test_panels_hold_little_more_than_half_of_a_matrix():
    k = 400
    assert batch.panels(np.ones((k, k))).size <= k * (k + 2 * simd_sums.PANEL_ROWS) / 2


@pytest.mark.parametrize("parts", [batch_lanes, batch_plain])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("m", "n", "r"), [(1, 1, 1), (5, 7, 3), (4, 6, 2)])
def test_parts_of_a_batched_iteration_are_those_of_each_run(m, n, r, dtype, parts):
    rng = np.random.default_rng(m)
    width = batch.lanes(dtype)
    A, B, b, h, lam, step = (
        rng.standard_normal(shape).astype(dtype)
        for shape in ((m, r, width), (n, r, width), (m, n), (m, n), width, width)
    )
    X, G = np.full((2, m, n, width), np.nan, dtype)
    GA, GB, new = np.full_like(A, np.nan), np.full_like(B, np.nan), np.full_like(A, np.nan)
    value, square, sizes = np.full((3, width), np.nan, dtype)
    parts.outer(A.ravel(), B.ravel(), X.ravel(), m, n, r, width)
    parts.entrywise_gradient(h.ravel(), b.ravel(), X.ravel(), G.ravel(), width)
    flat = (x.ravel() for x in (X, G, b, A, B, lam, GA, GB))
    parts.gradients(*flat, value, square, sizes, m, n, r, width)
    parts.step(A.ravel(), GA.ravel(), step, new.ravel(), width)
    near = {"rtol": 1e-4 if dtype == np.float32 else 1e-12, "atol": 1e-4 if dtype == np.float32 else 1e-12}
    for c in range(width):
        a, d = A[..., c], B[..., c]
        x = a @ d.T
        g = h * x - b
        size = np.vdot(a, a) + np.vdot(d, d)
        ga, gb = g @ d + lam[c] * a, g.T @ a + lam[c] * d
        assert_allclose(X[..., c], x, **near)
        assert_allclose(GA[..., c], ga, **near)
        assert_allclose(GB[..., c], gb, **near)
        assert_allclose(value[c], 0.5 * np.vdot(x, h * x) - np.vdot(b, x) + 0.5 * lam[c] * size, **near)
        assert_allclose([square[c], sizes[c]], [np.vdot(ga, ga) + np.vdot(gb, gb), size], **near)
        assert_allclose(new[..., c], a - step[c] * ga, **near)


WITHOUT_LANES = """
import numpy as np, lorasolve as ls
from lorasolve.kernels import simd
assert not simd.available()

rng = np.random.default_rng(0)
M, A0, B0 = (rng.standard_normal(shape) for shape in ((6, 5), (6, 2), (5, 2)))
problems = [ls.Problem(ls.objectives.Denoising(M), 2, lam) for lam in (0.1, 0.3, 0.7)]
stop = ls.StoppingRule(max_iter=20, grad_tol=0.0)
batch = ls.solve_batch(problems, ls.optimizers.GD(step_size=0.01), (A0, B0), stop=stop)
assert batch.compiled.all()
for problem, A, B in zip(problems, batch.A, batch.B):
    a, b = A0, B0
    for _ in range(20):
        G = a @ b.T - M
        a, b = a - 0.01 * (G @ b + problem.lam * a), b - 0.01 * (G.T @ a + problem.lam * b)
    np.testing.assert_allclose(A, a, rtol=1e-10)
    np.testing.assert_allclose(B, b, rtol=1e-10)
print("same")
"""


def test_a_sweep_without_vector_lanes_is_gradient_descent_of_each_run(tmp_path):
    cpu = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    environment = os.environ | {"LORASOLVE_CACHE_DIR": str(tmp_path)} | cpu
    command = [sys.executable, "-c", WITHOUT_LANES]
    assert subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout == "same\n"


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("length", [1, 7, 16, 45])
def test_tiles_with_lanes_and_plain_tiles_are_matrix_products(dtype, length):
    rng = np.random.default_rng(length)
    U, V = rng.standard_normal((2, 4, length + 3)).astype(dtype)
    X, T = rng.standard_normal((4, 6)).astype(dtype), rng.standard_normal((4, length + 5)).astype(dtype)
    P = rng.standard_normal((4, 9)).astype(dtype)
    tolerance = {"rtol": 1e-4 if dtype == np.float32 else 1e-12, "atol": 1e-5}
    for dots, axpys in ((_dots, _axpys), (tiles.plain_dots, tiles.plain_axpys)):
        got = P.copy()
        dots(U.ravel(), 2, length + 3, V.ravel(), 1, length + 3, length, got.ravel(), 3, 9)
        expected = P.copy()
        expected[:, 3:7] += V[:, 1 : 1 + length] @ U[:, 2 : 2 + length].T
        assert_allclose(got, expected, **tolerance)
        got = T.copy()
        axpys(U.ravel(), 2, length + 3, X.ravel(), 1, 6, length, got.ravel(), 4, length + 5)
        expected = T.copy()
        expected[:, 4 : 4 + length] += X[:, 1:5] @ U[:, 2 : 2 + length]
        assert_allclose(got, expected, **tolerance)


def entries(m=23, n=9, fraction=0.5, dtype=np.float64):
    rng = np.random.default_rng(0)
    mask = rng.random((m, n)) < fraction
    mask[4] = False
    rows, cols = (np.ascontiguousarray(part) for part in np.nonzero(mask))
    start = np.searchsorted(rows, np.arange(m + 1))
    return mask, start, cols, rng.standard_normal(rows.size).astype(dtype)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("r", [1, 7, 8, 9, 16, 17, 35, 64])
def test_completion_lanes_and_plain_loops_agree(r, threads):
    mask, start, cols, values = entries()
    rng = np.random.default_rng(r)
    A, B = rng.standard_normal((23, r)), rng.standard_normal((9, r))
    matrix = np.zeros(mask.shape)
    matrix[mask] = values
    G = mask * (A @ B.T - matrix)
    cut = completion.blocks(start, threads)
    squares = np.empty(threads)
    plain = completion.CompletionData(start, cols, values, cut, np.empty((9, r)), np.empty((threads, 9, r)), squares)
    lanes = completion_lanes.data(start, cols, values, 9, r, 1)
    lanes = lanes._replace(cut=cut, share=np.empty((threads, lanes.Bp.size)), squares=squares)
    for data in (plain, completion_lanes.data(start, cols, values, 9, r, 1), lanes):
        for transposed in (False, True):
            GB, GtA = np.full_like(A, np.nan), np.full_like(B, np.nan)
            GtAt = np.full(B.shape[::-1], np.nan)
            if transposed:
                f = evaluate._evaluate(data, A, np.ascontiguousarray(B.T), GB, GtAt)
                GtA = GtAt.T
            else:
                f = evaluate.evaluate(data, A, B, GB, GtA)
            assert_allclose(f, 0.5 * np.sum(G**2), rtol=1e-12)
            assert_allclose(GB, G @ B, atol=1e-11)
            assert_allclose(GtA, G.T @ A, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("counts", [(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (9, 0, 0, 4, 5)])
def test_rows_of_any_number_of_entries_are_taken_four_at_a_time(counts, dtype):
    """Integers, so that every order of evaluation is exact, and the last entry counts once."""
    rng = np.random.default_rng(0)
    start = np.concatenate([[0], np.cumsum(counts)])
    cols = np.concatenate([np.sort(rng.choice(9, count, replace=False)) for count in counts]).astype(np.int32)
    values = rng.integers(-9, 9, cols.size).astype(dtype)
    A, B = (rng.integers(-3, 4, (size, 19)).astype(dtype) for size in (len(counts), 9))
    G = np.zeros((len(counts), 9))
    rows = np.repeat(np.arange(len(counts)), counts)
    G[rows, cols] = (A @ B.T)[rows, cols] - values
    data = completion_lanes.data(start, cols, values, 9, 19, 1)
    GB, GtA = np.empty_like(A), np.empty_like(B)
    assert evaluate.evaluate(data, A, B, GB, GtA) == 0.5 * np.sum(G**2)
    assert np.array_equal(GB, G @ B) and np.array_equal(GtA, G.T @ A)


@pytest.mark.parametrize("lam", [0.0, 0.1])
@pytest.mark.parametrize("r", [1, 8, 10])
def test_half_epochs_with_and_without_lanes_agree(r, lam):
    _, start, cols, values = entries(fraction=0.9)
    B = np.random.default_rng(r).standard_normal((9, r))
    cut = completion.blocks(start, 2)
    solutions, singular = np.zeros((2, 23, r)), []
    for kind, solution in zip((completion, completion_lanes), solutions):
        singular.append(kind.half_epoch(start, cols, values, B, lam, solution, cut))
    regular = ~singular[0]
    assert_allclose(solutions[0][regular], solutions[1][regular], rtol=1e-6, atol=1e-8)
    assert (singular[0] == singular[1]).all()
    assert singular[0].any() == (lam == 0.0)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("m", "n", "r"), [(5, 6, 1), (13, 10, 3), (9, 18, 5), (3, 35, 2), (38, 259, 4)])
def test_gram_and_sensing_kernels_at_sizes_that_fill_no_block(m, n, r, threads):
    rng = np.random.default_rng(m)
    A, B = rng.standard_normal((m, r)), rng.standard_normal((n, r))
    Z, C = rng.standard_normal((n, 30)), rng.standard_normal((m, n))
    S = Z @ Z.T
    padded = 4 * ((r + 3) // 4)
    outline = gram.outline_of(S, C)
    linear = gram.data(S, C, outline, 0.5, r, 1)._replace(products=gram._products(S, C, outline, padded, threads))
    M, y = rng.standard_normal((11, m * n)), rng.standard_normal(11)
    dense = sensing.data(M, y, (m, n), threads)._replace(g=np.empty((threads, m * n)))
    X = A @ B.T
    w = M @ X.ravel() - y
    expected = (
        (linear, X @ S - C, 0.5 + 0.5 * np.sum((X @ S) * X) - np.sum(C * X)),
        (dense, (M.T @ w).reshape(m, n) / 11, 0.5 * w @ w / 11),
    )
    for data, G, f in expected:
        GB, GtA = np.empty_like(A), np.empty_like(B)
        assert_allclose(evaluate.evaluate(data, A, B, GB, GtA), f, rtol=1e-11)
        assert_allclose(GB, G @ B, atol=1e-10)
        assert_allclose(GtA, G.T @ A, atol=1e-10)


def test_what_lies_beyond_a_row_of_scratch_plays_no_part():
    """It is never written, and numbers of both signs beyond all others were added up there, with a warning."""
    rng = np.random.default_rng(0)
    M, y, x = rng.standard_normal((200, 30 * 30)), rng.standard_normal(200), rng.standard_normal(30 * 30)
    data = sensing.data(M, y, (30, 30), 2)
    assert data.g.shape[1] > x.size
    data.g[:, x.size :] = [[np.inf], [-np.inf]]
    G = np.empty(x.size)
    with np.errstate(all="raise"):
        sensing.gradient(M, x, y, data.w, data.g, G)
    assert_allclose(G, M.T @ (M @ x - y) / 200, atol=1e-10)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (38, 259), (259, 38), (90, 90), (300, 281)])
@pytest.mark.parametrize("width", [0, 3, 40])
def test_gram_kernels_leave_out_zeros_alone(m, n, width, threads):
    """A band and a trapezoid, a matrix of zeros, and rows of zeros between others."""
    rng = np.random.default_rng(n)
    A, B = rng.standard_normal((m, 5)), rng.standard_normal((n, 5))
    i, j = np.arange(n)[:, None], np.arange(n)
    band = np.where(abs(i - j) <= width, rng.standard_normal((n, n)), 0.0)
    gaps = np.triu(rng.standard_normal((m, n)), width)
    gaps[rng.random(m) < 0.5] = 0.0
    for S, C in ((band + band.T, np.triu(rng.standard_normal((m, n)), -width)), (np.zeros((n, n)), gaps)):
        outline = gram.outline_of(S, C)
        data = gram.data(S, C, outline, 0.5, 5, 1)._replace(products=gram._products(S, C, outline, 8, threads))
        X, GB, GtA = A @ B.T, np.empty_like(A), np.empty_like(B)
        f = 0.5 + 0.5 * np.sum((X @ S) * X) - np.sum(C * X)
        assert_allclose(evaluate.evaluate(data, A, B, GB, GtA), f, rtol=1e-11)
        assert_allclose(GB, (X @ S - C) @ B, atol=1e-9)
        assert_allclose(GtA, (X @ S - C).T @ A, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("columns", [1, 3, 8, 19])
@pytest.mark.parametrize("threads", [1, 2])
def test_sparse_products_with_and_without_lanes_are_those_of_the_dense_matrix(columns, threads, dtype):
    mask, start, cols, values = entries(dtype=dtype)
    matrix = np.zeros(mask.shape)
    matrix[mask] = values
    rng = np.random.default_rng(4)
    V, U = (rng.standard_normal((side, columns)).astype(dtype) for side in (9, 23))
    cut = completion.blocks(start, threads)
    for kind in (completion, completion_lanes):
        found = kind.product(start, cols, values, cut, V), kind.transposed_product(start, cols, values, cut, U, 9)
        for out, true in zip(found, (matrix @ V, matrix.T @ U)):
            assert out.shape == true.shape and out.dtype == dtype and out.flags.c_contiguous
            assert_allclose(out, true, atol=1e-12 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("rank", [1, 2, 7, 8, 16, 19, 40])
@pytest.mark.parametrize("threads", [1, 2])
def test_entries_of_a_product_with_and_without_lanes(rank, threads, dtype):
    """Integers, so that every order of evaluation is exact."""
    mask, start, cols, _ = entries()
    rng = np.random.default_rng(rank)
    A, B = (rng.integers(-9, 9, (size, rank)).astype(dtype) for size in mask.shape)
    cut = completion.blocks(start, threads)
    for kind in (completion, completion_lanes):
        found = kind.entries(start, cols, cut, A, B)
        assert found.dtype == dtype and np.array_equal(found, (A @ B.T)[mask])


SHAPES = [(1, 1), (3, 7), (11, 16), (14, 41), (9, 48)]


@pytest.mark.parametrize("number", [np.float64, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backward", [False, True])
def test_a_pass_in_either_direction_is_two_products(number, shape, backward):
    """Integers, so that every order of evaluation is exact; memory around the results stays as it is."""
    rng = np.random.default_rng(5)
    N, d = shape
    M, x = rng.integers(-20, 20, shape).astype(number), rng.integers(-20, 20, d).astype(number)
    y = rng.integers(-20, 20, N).astype(number)
    residual = M.astype(np.float64) @ x - y
    for rows in {1, min(2, N), min(3, N)}:
        w, g = np.full(N + 20, 7, number), np.full((rows, d + 20), 7, number)
        _whole_pass(M, x, y, backward, w[:N], g)
        assert np.array_equal(w, [*residual, *[7] * 20])
        assert np.array_equal(g[:, :d].sum(axis=0), residual @ M)
        assert np.all(g[:, d:] == 7)
    vector = np.full(d + 20, 7, number)
    _whole_pass(M, x, y, backward, w[:N], vector)
    assert np.array_equal(vector, [*residual @ M, *[7] * 20])


def padded(M):
    """Rows that end with zeros at a whole cache line."""
    return np.ascontiguousarray(np.pad(M, ((0, 0), (0, -M.shape[1] % 32))))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("largest", [20, 2**15 - 1, None])
def test_a_pass_over_integers_rounds_nothing_but_its_weights(shape, backward, largest):
    """Against integers of any length; None: the largest numbers everywhere, whose products only just fit."""
    rng = np.random.default_rng(6)
    N, d = shape
    numbers = (rng.integers(-(largest or 1), (largest or 1) + 1, size) for size in (shape, d))
    M, x = (np.full_like(n, 2**15 - 1) if largest is None else n for n in numbers)
    M16, x16, y = padded(M.astype(np.int16)), padded(x[None].astype(np.int16))[0], np.zeros(N, np.float32)
    w_exact = M @ x
    columns = M16.shape[1]
    kinds = [(_whole_pass, x16.astype(np.float32), np.inf)]
    if simd_words.available():
        kinds.append((_word_pass, x16, 2**14 - 1))
    for run, step, weights in kinds:
        for rows in {1, min(2, N), min(3, N)}:
            w, g = np.full(N + 20, 7, np.float32), np.full((rows, columns + 20), 7, np.float32)
            run(M16, step, y, backward, w[:N], g)
            assert_allclose(w[:N], w_exact, rtol=0, atol=1e-6 * (np.abs(M) @ np.abs(x)).max())
            assert np.all(w[N:] == 7) and np.all(g[:, columns:] == 7)
            # Half a unit of the largest of four weights, for each number of the measurements.
            rounded = np.abs(M).sum(axis=0) * np.abs(w_exact).max() / (2 * weights)
            exact = w_exact @ M
            assert np.all(np.abs(g[:, :d].sum(axis=0) - exact) <= rounded + 1e-6 * (np.abs(w_exact) @ np.abs(M)))
            assert np.all(g[:, d:columns] == 0)
            if rows == 1:
                vector = np.full(columns + 20, 7, np.float32)
                run(M16, step, y, backward, w[:N], vector)
                assert np.array_equal(vector, g[0])


@pytest.mark.skipif(not simd_words.available(), reason="this processor adds no products of 16-bit integers in pairs")
def test_a_pass_over_integers_keeps_one_weight_of_four_exactly():
    """One weight that is not zero is its own unit: integers that float32 holds."""
    M = np.random.default_rng(7).integers(-300, 300, (4, 32)).astype(np.int16)
    for row in range(4):
        x = np.zeros(32, np.int16)
        M[:, 5], x[5] = 0, 3
        M[row, 5] = 7
        w, g = np.empty(4, np.float32), np.empty(32, np.float32)
        _word_pass(M, x, np.zeros(4, np.float32), False, w, g)
        assert np.array_equal(w, 21 * (np.arange(4) == row))
        assert_allclose(g, 21.0 * M[row], rtol=1e-6)


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e3])
def test_measurements_in_integers_are_as_wrong_as_they_say(size):
    M = size * np.random.default_rng(0).standard_normal((150, 30))
    M[:, 3] = 0
    M16, unit, error = sensing.quantized(M)
    assert M16.shape == (150, 32) and np.all(M16[:, 30:] == 0)
    M16 = M16[:, :30]
    assert M16.dtype == np.int16 and np.abs(M16).max() == 2**15 - 1
    assert np.abs(unit * M16 - M).max() <= 0.5000001 * unit
    assert_allclose(error, np.linalg.norm(unit * M16 - M) / np.linalg.norm(M), rtol=1e-9)
    assert 1e-5 < error < 1e-4


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_aligned_memory_starts_at_a_register(dtype):
    for array in (simd.aligned(37, dtype), _aligned(np.empty(37, dtype))):
        assert array.shape == (37,) and array.dtype == dtype
        assert array.ctypes.data % simd_llvm.REGISTER_BYTES == 0


@pytest.mark.parametrize("by_rows", [False, True])
def test_evaluate_takes_arrays_of_any_layout(by_rows):
    _, start, cols, values = entries()
    rng = np.random.default_rng(3)
    A, B = rng.standard_normal((2, 23)).T, rng.standard_normal((9, 4))[:, ::2]
    A.flags.writeable = False
    if by_rows:
        data = completion_lanes.data(start, cols, values, 9, 2, 1)
    else:
        data = sensing.data(rng.standard_normal((5, 23 * 9)), rng.standard_normal(5), (23, 9), 1)
    GB, GtA = np.empty((2, 23)).T, np.empty((2, 9), np.float32).T
    again, GtA_again = np.empty((23, 2)), np.empty((9, 2))
    f = evaluate.evaluate(data, A, B, GB, GtA)
    assert f == evaluate.evaluate(data, A.copy(order="C"), B.copy(order="C"), again, GtA_again)
    assert_allclose(GB, again, rtol=0)
    assert np.array_equal(GtA, GtA_again.astype(np.float32))


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (9, 5), (30, 40)])
def test_the_gram_matrix_of_what_is_not_0(shape):
    """Integers, so that every order of evaluation is exact; rows and columns without numbers among them."""
    rng = np.random.default_rng(0)
    R = rng.integers(-50, 50, shape) * (rng.random(shape) < 0.3).astype(float)
    R[0] = R[:, 0] = 0.0
    rows, cols = np.nonzero(R)
    start = np.searchsorted(rows, np.arange(shape[0] + 1))
    rare = rng.random(shape[1]) < 0.7
    others = R[:, ~rare]
    found = np.triu(others @ others.T)
    assert np.array_equal(sparse_gram.add_row_products(found, start, cols, R[rows, cols], rare), others)
    assert np.array_equal(found, np.triu(R @ R.T))
