"""Compiled runs of iterations against the plain loop: the same iterates, trace and end."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve._support.progress import Progress
from lorasolve.kernels import gd, sensing
from lorasolve.kernels.evaluate import evaluate
from lorasolve.monitor import STALL_WINDOW, Monitor
from lorasolve.objectives import Denoising, Increments, LinearFineTuning, MatrixCompletion, MatrixSensing
from lorasolve.result import Trace

SHAPE = (11, 7)


def objectives(dtype=np.float64):
    rng = np.random.default_rng(0)
    m, n = SHAPE
    M = rng.standard_normal(SHAPE).astype(dtype)
    rows, cols = np.nonzero(rng.random(SHAPE) < 0.6)

    def normal(*size):
        return rng.standard_normal(size).astype(dtype)

    return {
        "denoising": Denoising(M),
        "linear": LinearFineTuning(normal(m, n), normal(n, 40), normal(m, 40)),
        "sensing": MatrixSensing(normal(60, m, n), normal(60)),
        "completion": MatrixCompletion(rows, cols, M[rows, cols], SHAPE),
    }


def test_the_text_of_a_trace_is_one_line_however_long_the_run():
    trace = Trace()
    assert repr(trace) == "Trace(empty)"
    trace.extend(0, np.linspace(2.0, 1.0, 500), np.ones(500), np.arange(500.0), 0.1)
    assert repr(trace) == "Trace(500 points, iterations 0 to 499, L 2 to 1)"


def both(problem, optimizer, **options):
    compiled = ls.solve(problem, optimizer, **options)
    plain = ls.solve(problem, optimizer, engine="interpreted", **options)
    return compiled, plain


@pytest.mark.parametrize("name", list(objectives()))
@pytest.mark.parametrize("step_size", [None, 0.02])
@pytest.mark.parametrize("rank", [1, 3])
def test_same_run_as_the_plain_loop(name, step_size, rank):
    problem = ls.Problem(objectives()[name], rank, 0.2)
    rule = ls.StoppingRule(max_iter=3000, grad_tol=1e-7)
    compiled, plain = both(problem, ls.optimizers.GD(step_size=step_size), stop=rule)
    assert (compiled.status, compiled.nit, compiled.nfev) == (plain.status, plain.nit, plain.nfev)
    assert compiled.trace.iteration == plain.trace.iteration
    assert_allclose(compiled.theta, plain.theta, atol=1e-10)
    assert_allclose(compiled.trace.value, plain.trace.value, rtol=1e-10)
    assert_allclose(compiled.trace.grad_norm, plain.trace.grad_norm, rtol=1e-6, atol=1e-10)
    assert_allclose(compiled.trace.step, plain.trace.step, rtol=1e-8)
    assert np.all(np.diff(compiled.trace.seconds) >= 0)


@pytest.mark.parametrize("name", list(objectives()))
def test_float32_runs_in_float32(name):
    problem = ls.Problem(objectives(np.float32)[name], 3, 0.2)
    compiled, plain = both(problem, ls.optimizers.GD(step_size=0.02), stop=ls.StoppingRule(max_iter=100))
    assert compiled.theta.dtype == np.float32
    assert_allclose(compiled.theta, plain.theta, atol=2e-4)


def test_every_stopping_rule_is_the_loops_own():
    problem = ls.Problem(objectives()["denoising"], 3, 0.2)
    optimum = ls.solve(problem, "gd").fun
    target = both(problem, "gd", stop=ls.StoppingRule(target=optimum + 1e-3))
    limit = both(problem, "gd", stop=ls.StoppingRule(max_iter=137))
    stalled = both(problem, ls.optimizers.GD(step_size=0.1), stop=ls.StoppingRule(grad_tol=0.0, max_iter=10**6))
    for (compiled, plain), status in zip((target, limit, stalled), ("TARGET_REACHED", "ITERATION_LIMIT", "STALLED")):
        assert compiled.status.name == plain.status.name == status
        assert compiled.trace.iteration[-1] == compiled.nit
    assert target[0].nit == target[1].nit and limit[0].nit == 137
    assert stalled[0].nit > STALL_WINDOW


def test_too_large_a_step_diverges_at_the_same_iteration():
    problem = ls.Problem(objectives()["linear"], 3, 0.2)
    compiled, plain = both(problem, ls.optimizers.GD(step_size=5.0))
    assert compiled.status.name == plain.status.name == "DIVERGED"
    assert compiled.nit == plain.nit
    # The point that is returned is the last one that was accepted, the overflow is not.
    for run in (compiled, plain):
        assert_allclose(run.fun, run.trace.value[-1], rtol=1e-10)
    assert np.isfinite(compiled.theta).all()


def test_a_callback_sees_every_iteration():
    problem = ls.Problem(objectives()["denoising"], 3, 0.2)
    seen = []
    result = ls.solve(problem, "gd", callback=lambda state: seen.append(state.nit))
    assert seen == list(range(result.nit + 1))


def large_objectives():
    """Data from which float32 increments pay."""
    rng = np.random.default_rng(3)
    linear = LinearFineTuning(*(rng.standard_normal(s) for s in ((60, 150), (150, 600), (60, 600))))
    return {"sensing": MatrixSensing(rng.standard_normal((80, 9, 8)), rng.standard_normal(80)), "linear": linear}


@pytest.mark.parametrize("name", ["sensing", "linear"])
def test_mixed_precision_ends_at_the_float64_stationary_point(name):
    objective = large_objectives()[name]
    assert objective.kernels.mixed(2, 1) is not None
    problem = ls.Problem(objective, 2, 0.2)
    rule = ls.StoppingRule(max_iter=200_000, grad_tol=1e-11)
    exact, mixed = (ls.solve(problem, optimizer, stop=rule) for optimizer in ("gd", "gd_mixed"))
    assert mixed.status.name == "CONVERGED"
    assert_allclose(mixed.fun, exact.fun, rtol=1e-12)
    early = ls.StoppingRule(max_iter=300)
    exact, mixed = (ls.solve(problem, optimizer, stop=early) for optimizer in ("gd", "gd_mixed"))
    assert_allclose(mixed.fun, exact.fun, rtol=5e-8)
    assert not np.array_equal(mixed.theta, exact.theta)


def layer(m, n):
    rng = np.random.default_rng(m)
    W0, Z = rng.standard_normal((m, n)) / n**0.5, rng.standard_normal((n, n // 2))
    Y = W0 @ Z + rng.standard_normal((m, 3)) @ rng.standard_normal((3, n)) @ Z / n
    return LinearFineTuning(W0, Z, Y)


@pytest.mark.parametrize(("m", "n"), [(160, 120), (110, 140), (150, 150)])
@pytest.mark.parametrize("step_size", [None, 0.05])
def test_long_runs_go_over_to_other_bases_and_stay_gradient_descent(m, n, step_size):
    """The inputs span half of the space, so that half of the eigenvalues of S are 0 or rounding errors."""
    problem = ls.Problem(layer(m, n), 3, 0.01)
    rule = ls.StoppingRule(max_iter=4 * max(m, n) + 300, grad_tol=0.0)
    assert "rotated" not in vars(problem.objective.kernels)
    compiled, plain = both(problem, ls.optimizers.GD(step_size), stop=rule)
    assert "rotated" in vars(problem.objective.kernels)
    assert compiled.nit == plain.nit == rule.max_iter
    assert_allclose(compiled.theta, plain.theta, atol=1e-11 * np.abs(plain.theta).max())
    assert_allclose(compiled.trace.value, plain.trace.value, rtol=1e-11)
    again = ls.solve(problem, ls.optimizers.GD(step_size), stop=rule)
    assert np.array_equal(again.theta, compiled.theta)


def test_a_long_run_of_increments_ends_at_the_float64_stationary_point():
    objective = layer(250, 260)
    S, C = objective.S, objective.C
    result = ls.solve(ls.Problem(objective, 3, 0.05), "gd_mixed", stop=ls.StoppingRule(max_iter=50_000, grad_tol=1e-10))
    assert "rotated" not in vars(objective.kernels) and result.status.name == "CONVERGED"
    A, B = result.A, result.B
    on_A = A @ (B.T @ S @ B) - C @ B + 0.05 * A
    on_B = S @ B @ (A.T @ A) - C.T @ A + 0.05 * B
    assert max(np.linalg.norm(on_A), np.linalg.norm(on_B)) < 1e-9


def test_both_points_are_rotated_there_and_back():
    """The last accepted one too, to which a rejected step goes back."""
    m, n, r = shape = 5, 4, 2
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((side, side)))[0] for side in (m, n))
    theta, trial = rng.standard_normal((2, (m + n) * r))
    packed = gd.RotatedPacked(shape, np.float64, U, V)
    packed.read(theta, trial)
    for inside, point in ((packed.arrays.theta, theta), (packed.arrays.trial, trial)):
        A, B = point[: m * r].reshape(m, r), point[m * r :].reshape(n, r)
        assert_allclose(inside[: m * r].reshape(m, r), U.T @ A, atol=1e-14)
        assert_allclose(inside[m * r :].reshape(r, n), (V.T @ B).T, atol=1e-14)
    packed.arrays.theta[:] *= 2.0
    packed.arrays.trial[:] *= 3.0
    written = np.empty((2, theta.size))
    packed.write(*written)
    assert_allclose(written, [2.0 * theta, 3.0 * trial], atol=1e-14)
    # A point that is another one by now is read again.
    packed.read(theta, trial)
    assert_allclose(packed.arrays.A, U.T @ trial[: m * r].reshape(m, r), atol=1e-14)


def test_a_run_that_diverges_in_other_bases_does_so_like_the_plain_loop(monkeypatch):
    problem = ls.Problem(layer(300, 250), 3, 0.01)
    monkeypatch.setattr(type(problem.objective.kernels), "rotates_after", lambda self, rank: 3)
    compiled, plain = both(problem, ls.optimizers.GD(step_size=2.0))
    assert compiled.status == plain.status == ls.Status.DIVERGED
    assert compiled.nit == plain.nit > 3


def test_a_run_of_increments_that_diverges_does_so_like_the_plain_loop():
    compiled, plain = both(ls.Problem(layer(300, 250), 3, 0.01), ls.optimizers.MixedGD(step_size=2.0))
    assert compiled.status == plain.status == ls.Status.DIVERGED
    assert compiled.nit == plain.nit > 3


def test_short_runs_stay_in_their_bases():
    problem = ls.Problem(layer(150, 150), 3, 0.01)
    ls.solve(problem, "gd", stop=ls.StoppingRule(max_iter=500, grad_tol=0.0))
    assert "rotated" not in vars(problem.objective.kernels)


@pytest.mark.parametrize(("name", "step"), [("sensing", 0.1), ("linear", 0.01)])
def test_increments_are_refreshed(name, step):
    """Without, points were off by 6e-7 (linear) after so many iterations: errors of increments add up."""
    problem = ls.Problem(large_objectives()[name], 2, 0.2)
    stop = ls.StoppingRule(max_iter=3000, grad_tol=0.0)
    exact, mixed = (
        ls.solve(problem, method(step_size=step), seed=0, stop=stop)
        for method in (ls.optimizers.GD, ls.optimizers.MixedGD)
    )
    assert 0 < np.linalg.norm(mixed.theta - exact.theta) <= 1e-7 * np.linalg.norm(exact.theta)


@pytest.mark.parametrize("name", ["sensing", "linear"])
def test_no_more_increments_than_allowed_follow_one_another(name, monkeypatch):
    objective, since = large_objectives()[name], []
    kind = type(objective.kernels.mixed(2, 1))
    refresh = kind.refresh
    monkeypatch.setattr(kind, "refresh", lambda data, A, B: since.append(data.calls[0]) or refresh(data, A, B))
    stop = ls.StoppingRule(max_iter=450, grad_tol=0.0)
    ls.solve(ls.Problem(objective, 2, 0.2), ls.optimizers.MixedGD(step_size=0.01), seed=0, stop=stop)
    assert sum(since) >= 450 and max(since) <= 200


def test_products_of_integers_go_on_from_those_of_float32_that_are_not_long_ago():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 20, 3))
    out = np.empty((2, 20, 3))
    data = many_measurements().kernels.mixed(3, 1)
    data.exactly(A, B, *out)
    begun = data.mixed.last.copy()
    since = [k for k in range(1, 120) if evaluate(data, A + 1e-7 * k, B, *out) and not (data.mixed.last == begun).all()]
    assert 1 <= since[0] <= 50


@pytest.mark.parametrize(("shape", "rank"), [((50, 260), 3), ((250, 330), 16)])
def test_exact_answers_between_increments_are_those_of_the_loss(shape, rank):
    rng = np.random.default_rng(5)
    (m, n), N = shape, 400
    objective = LinearFineTuning(*(rng.standard_normal(s) for s in ((m, n), (n, N), (m, N))))
    data = objective.kernels.mixed(rank, 2)
    A, B, U, V = (rng.standard_normal((k, rank)) for k in (m, n, m, n))
    out, expected = ((np.empty((m, rank)), np.empty((n, rank))) for _ in range(2))
    for _ in range(2):
        f = Increments(data).exact(A, B, *out)
        assert_allclose(f, objective.factor_oracle(A, B, *expected), rtol=1e-13)
        for found, true in zip(out, expected, strict=True):
            assert_allclose(found, true, atol=1e-12 * np.abs(true).max())
        evaluate(data, A + U, B + V, *out)


@pytest.mark.parametrize(("m", "n"), [(330, 250), (140, 400), (270, 270)])
def test_exact_answers_in_other_bases_are_those_of_the_loss(m, n):
    """``f`` stays, and the gradients are rotated like the factors; no row of ``C`` is empty here."""
    rng = np.random.default_rng(6)
    objective = LinearFineTuning(*(rng.standard_normal(s) for s in ((m, n), (n, 500), (m, 500))))
    kernels, P, Q = objective.kernels.rotated
    A, B = (rng.standard_normal((k, 3)) for k in (m, n))
    (GB, GtA), expected = ((np.empty((m, 3)), np.empty((n, 3))) for _ in range(2))
    f = evaluate(kernels.data(3, 2), P.T @ A, Q.T @ B, GB, GtA)
    assert_allclose(f, objective.factor_oracle(A, B, *expected), rtol=1e-13)
    for found, true in zip((P @ GB, Q @ GtA), expected, strict=True):
        assert_allclose(found, true, atol=1e-12 * np.abs(true).max())


def many_measurements(largest=None):
    """Measurements from which increments of 16-bit integers pay; one number may be far larger than all others."""
    rng = np.random.default_rng(3)
    M, truth = rng.standard_normal((1260, 20, 20)), rng.standard_normal((20, 2)) @ rng.standard_normal((2, 20))
    if largest is not None:
        M[7, 3, 5] = largest
    return MatrixSensing(M, np.einsum("kij,ij->k", M, truth) + 0.1 * rng.standard_normal(1260))


@pytest.mark.parametrize("threads", [1, 2])
def test_increments_keep_to_their_errors_and_go_on_from_what_was_exact(threads):
    """The gradient is linear: its error is that of ``M^T M`` on the step since the last product of more digits."""
    objective = many_measurements()
    data = objective.kernels.mixed(3, threads)
    M = objective._map.flat
    N = len(M)
    assert type(data) is sensing.QuantizedSensingData
    slope = np.linalg.norm(M, 2) ** 2 / N
    rng = np.random.default_rng(0)
    A, B, U, V = (rng.standard_normal((20, 3)) for _ in range(4))
    reached, kept = A @ B.T, A @ B.T
    out = np.empty((20, 3)), np.empty((20, 3))
    Increments(data).exact(A, B, *out)
    steps = (1e-3, True), (2e-3, True), (0.02, False), (0.3, False), (0.3 + 1e-4, True), (-2.0, False)
    for size, by_integers in steps:
        A1, B1 = A + size * U, B + size * V
        X = A1 @ B1.T
        f = evaluate(data, A1, B1, *out)
        assert_allclose(data.mixed.last, (kept if by_integers else X).ravel(), rtol=0.0, atol=1e-13)
        moved, kept = np.linalg.norm(X - kept), kept if by_integers else X
        # The error of the measurements is about half of all.
        assert (2 * data.error * moved <= sensing.QUANTIZED_ERROR * np.linalg.norm(X)) == by_integers
        w = M @ X.ravel() - objective.y
        G = (w @ M).reshape(20, 20) / N
        # Relative to the step: float32, or the error of the integers twice, in M and in its transpose.
        relative = 3 * data.error if by_integers else 1e-6
        bound = slope * relative * moved + 1e-6 * slope * np.linalg.norm(X - reached)
        found = data.G if by_integers else data.mixed.G
        assert 0 < np.linalg.norm(found - G) <= bound
        assert_allclose(out[0], found @ B1, rtol=1e-9)
        assert_allclose(out[1], found.T @ A1, rtol=1e-9)
        assert_allclose(f, 0.5 * w @ w / N, rtol=1e-5)
    Increments(data).exact(A, B, *out)
    evaluate(data, A + 1e-3 * U, B, *out)
    assert_allclose(data.mixed.last, (A @ B.T).ravel(), rtol=0.0, atol=1e-13)
    assert data.mixed.calls[0] == 2


def test_increments_of_integers_end_where_float64_does():
    problem = ls.Problem(many_measurements(), 3, 0.2)
    rule = ls.StoppingRule(max_iter=20_000, grad_tol=1e-11)
    exact, mixed = (ls.solve(problem, optimizer, stop=rule) for optimizer in ("gd", "gd_mixed"))
    assert mixed.status.name == "CONVERGED"
    assert_allclose(mixed.fun, exact.fun, rtol=1e-12)
    early = ls.StoppingRule(max_iter=150)
    exact, mixed = (ls.solve(problem, optimizer, stop=early) for optimizer in ("gd", "gd_mixed"))
    assert_allclose(mixed.trace.value, exact.trace.value, rtol=1e-7)
    assert not np.array_equal(mixed.theta, exact.theta)


ON_ANOTHER_PROCESSOR = """
import os, numpy as np, lorasolve as ls
from lorasolve.kernels import simd_llvm, simd_words
assert simd_llvm.REGISTER_BYTES == 32 and simd_words.available() == ("avx2" in os.environ["NUMBA_CPU_FEATURES"])

rng = np.random.default_rng(3)
M, y, A, B = (rng.standard_normal(shape) for shape in ((1260, 20, 20), 1260, (20, 3), (20, 3)))
A, B = A / 5, B / 5
problem = ls.Problem(ls.objectives.MatrixSensing(M, y), 3, 0.2)
stop = ls.StoppingRule(max_iter=150, grad_tol=0.0)
found = ls.solve(problem, ls.optimizers.MixedGD(step_size=0.1), (A, B), stop=stop)
for _ in range(150):
    G = np.tensordot(np.tensordot(M, A @ B.T, 2) - y, M, 1) / 1260
    A, B = A - 0.1 * (G @ B + 0.2 * A), B - 0.1 * (G.T @ A + 0.2 * B)
print(np.linalg.norm(found.A - A) / np.linalg.norm(A))
"""


@pytest.mark.parametrize("features", ["", "+avx,+avx2,+fma"])
def test_increments_of_integers_are_gradient_descent_on_processors_with_less(tmp_path, features):
    """Without lanes, and with registers of 256 bits: LLVM ended the process where there were wider instructions."""
    cpu = {"NUMBA_CPU_NAME": "haswell" if features else "generic", "NUMBA_CPU_FEATURES": features}
    environment = os.environ | {"LORASOLVE_CACHE_DIR": str(tmp_path)} | cpu
    command = [sys.executable, "-c", ON_ANOTHER_PROCESSOR]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert 0 < float(done.stdout) < 1e-6


@pytest.mark.parametrize("largest", [1e3, 5e4])
def test_integers_are_left_where_they_hold_too_few_digits(largest):
    """With one number a thousand times the others there are some 10 of 65,536 steps left for those."""
    data = many_measurements(largest).kernels.mixed(3, 1)
    assert type(data) is (sensing.MixedSensingData if largest < 1e4 else type(None))


@pytest.mark.parametrize("name", ["sensing", "linear"])
def test_where_increments_would_not_pay_the_method_is_gradient_descent(name):
    problem = ls.Problem(objectives()[name], 2, 0.2)
    exact, mixed = (ls.solve(problem, optimizer) for optimizer in ("gd", "gd_mixed"))
    assert np.array_equal(mixed.theta, exact.theta)


def test_results_do_not_depend_on_the_thread_setting():
    rng = np.random.default_rng(1)
    rows, cols = np.nonzero(rng.random((200, 150)) < 0.4)
    large = (
        MatrixSensing(rng.standard_normal((300, 20, 20)), rng.standard_normal(300)),
        LinearFineTuning(*(rng.standard_normal(s) for s in ((90, 80), (80, 200), (90, 200)))),
        MatrixCompletion(rows, cols, rng.standard_normal(rows.size), (200, 150)),
    )
    from lorasolve._support import threads as _threads

    before = _threads._setting
    try:
        for objective in large:
            ends = []
            for threads in (1, 2):
                ls.set_threads(threads)
                ends.append(ls.solve(ls.Problem(objective, 5, 0.1), "gd", stop=ls.StoppingRule(max_iter=60)).theta)
            assert_allclose(ends[0], ends[1], atol=1e-10)
    finally:
        _threads._setting = before


def test_trace_extended_in_bulk_is_the_trace_recorded_point_by_point():
    one, bulk = Trace(), Trace()
    count = 3 * Trace.LIMIT + 17
    values = np.arange(count, dtype=float)
    for k in range(count):
        one.record(k, values[k], -values[k], 2 * values[k], 0.5)
    start = 0
    for size in (1, 7, 5000, 2, Trace.LIMIT, count):
        part = values[start : start + size]
        bulk.extend(start, part, -part, 2 * part, 0.5)
        start += size
    assert bulk.to_dict() == one.to_dict()


def test_the_best_of_compiled_iterations_is_counted_from_where_it_was():
    """Of the values 5, 1, 4 of iterations 1 to 3 after 9 the best is iterate 2: from there a stall is counted."""
    problem = ls.Problem(objectives()["denoising"], 1, 0.1)
    monitor = Monitor(ls.StoppingRule(grad_tol=0.0), None, Progress("gd", False))
    monitor.accept(problem, np.ones(problem.size), 9.0, 1.0, 0.1)
    monitor.absorb(np.array([5.0, 1.0, 4.0]), np.ones(3), 0.1, monitor.seconds())
    assert monitor.limits().history == (3, 1.0, 2)


@pytest.mark.parametrize("smoothness", [0.05, 0.1, 0.2, 0.3, 0.5])
def test_with_a_derived_step_the_value_never_rises_where_f_is_steeper_than_it_says(smoothness):
    class Steeper(Denoising):
        pass

    Steeper.smoothness = smoothness
    problem = ls.Problem(Steeper(np.random.default_rng(0).standard_normal((8, 6))), 2, 0.05)
    assert ls.optimizers.GD().runs_compiled(problem)
    result = ls.solve(problem, "gd", "gaussian", stop=ls.StoppingRule(max_iter=400, grad_tol=0.0))
    assert np.diff(result.trace.value).max() <= 1e-12 * max(result.trace.value)


def test_a_second_process_compiles_nothing():
    script = (
        "import json, numpy as np, lorasolve as ls; from lorasolve.objectives import Denoising\n"
        "p = ls.Problem(Denoising(np.random.default_rng(0).standard_normal((11, 7))), 3, 0.2)\n"
        "print(json.dumps(ls.solve(p, 'gd').compile_seconds))"
    )
    run = [sys.executable, "-c", script]
    seconds = [
        json.loads(subprocess.run(run, check=True, capture_output=True, text=True, env=os.environ).stdout)
        for _ in range(2)
    ]
    assert seconds[1] == 0.0
