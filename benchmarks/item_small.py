"""S8, S9: overhead on small problems, and the first answer of a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

import numpy as np
from peers import Item, timed

# So small a step that no run comes to rest within the iterations, which would end it as stalled.
LAM, STEP = 0.1, 2e-5


def _hand_fused():
    """Return a compiled loop written by hand for denoising alone, its own layout included."""
    from numba import njit

    @njit(fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy")
    def run(M, A, Bt, lam, step, iterations, values, norms):
        m, n = M.shape
        r = A.shape[1]
        g, gA, gB = np.empty(n), np.empty(r), np.empty((r, n))
        for k in range(iterations):
            total = norm = decay = 0.0
            for q in range(r):
                for j in range(n):
                    gB[q, j] = lam * Bt[q, j]
                    decay += Bt[q, j] * Bt[q, j]
            for i in range(m):
                for j in range(n):
                    g[j] = -M[i, j]
                for q in range(r):
                    for j in range(n):
                        g[j] += A[i, q] * Bt[q, j]
                for j in range(n):
                    total += g[j] * g[j]
                for q in range(r):
                    a = A[i, q]
                    s = lam * a
                    decay += a * a
                    for j in range(n):
                        s += g[j] * Bt[q, j]
                        gB[q, j] += a * g[j]
                    gA[q] = s
                for q in range(r):
                    norm += gA[q] * gA[q]
                    A[i, q] -= step * gA[q]
            for q in range(r):
                for j in range(n):
                    norm += gB[q, j] * gB[q, j]
                    Bt[q, j] -= step * gB[q, j]
            values[k] = 0.5 * total + 0.5 * lam * decay
            norms[k] = norm**0.5

    return run


def _given(side, rank):
    rng = np.random.default_rng(8)
    M = rng.standard_normal((side, side))
    return M, rng.standard_normal((side, rank)) / side**0.5, np.zeros((side, rank))


def _numpy_loop(side, rank, steps):
    """Return a sampler of gradient descent as NumPy users write it, with the trace that all rows keep."""
    M, A0, B0 = _given(side, rank)

    def work():
        A, B = A0, B0
        for _ in range(steps + 1):
            G = A @ B.T - M
            GA, GB = G @ B + LAM * A, G.T @ A + LAM * B
            value = 0.5 * np.vdot(G, G) + 0.5 * LAM * (np.vdot(A, A) + np.vdot(B, B))
            np.sqrt(np.vdot(GA, GA) + np.vdot(GB, GB))
            A, B = A - STEP * GA, B - STEP * GB
        return value

    return timed(work, float, steps)


def _item(side, rank):
    iterations = 1_000_000 // side
    key = f"S8 n={side}"
    title = f"Denoising, m = n = {side}, r = {rank}: one gradient descent iteration, trace included"
    remark = (
        "The loop written by hand updates A while the gradient is being made. Ours keeps the accepted point beside the "
        "pending one, so that a step can be refused, and applies the stopping rules to each: a few dozen nanoseconds, "
        "which show at 10 x 10 alone."
    )
    item = Item(key, title, rtol=1e-9, remark=remark)

    @item.peer("lorasolve gd", ours=True, needs="numba", threads=1)
    def _(quick):
        import lorasolve as ls

        M, A, B = _given(side, rank)
        problem = ls.Problem(ls.objectives.Denoising(M), rank, LAM)
        stop = ls.StoppingRule(max_iter=iterations, grad_tol=0.0)
        method = ls.optimizers.GD(step_size=STEP)
        return timed(lambda: ls.solve(problem, method, (A, B), stop=stop), lambda result: result.fun, iterations)

    @item.peer("hand-fused Numba loop", needs="numba", threads=1, goal=(1 / 1.3, 1.0))
    def _(quick):
        M, A, B = _given(side, rank)
        run = _hand_fused()
        values, norms = np.empty((2, iterations + 1))

        def work():
            run(M, A.copy(), np.ascontiguousarray(B.T), LAM, STEP, iterations + 1, values, norms)
            return values[-1]

        return timed(work, float, iterations)

    item.peer("plain NumPy loop", threads=1)(lambda quick: _numpy_loop(side, rank, iterations))
    return item


def _plain_item(side, rank):
    iterations = 20_000
    title = f"Denoising as an objective in plain NumPy, m = n = {side}, r = {rank}: one iteration, trace included"
    item = Item(f"S8p n={side}", title, rtol=1e-9)

    @item.peer("lorasolve gd, objective of the user", ours=True, needs="numba", threads=1)
    def _(quick):
        import lorasolve as ls

        class Plain(ls.objectives.Objective):
            name = "plain"
            smoothness = 1.0

            def __init__(self, M):
                self.M, self.shape, self.dtype = M, M.shape, M.dtype

            def value_and_grad(self, X):
                G = X - self.M
                return 0.5 * float(np.vdot(G, G)), G

        M, A, B = _given(side, rank)
        problem = ls.Problem(Plain(M), rank, LAM)
        stop = ls.StoppingRule(max_iter=iterations, grad_tol=0.0)
        method = ls.optimizers.GD(step_size=STEP)
        return timed(lambda: ls.solve(problem, method, (A, B), stop=stop), lambda result: result.fun, iterations)

    item.peer("plain NumPy loop", threads=1, goal=(0.5, 1.0))(lambda quick: _numpy_loop(side, rank, iterations))
    return item


start = Item(
    "S9",
    "First answer: a fresh process from import to the end of a small solve, in seconds",
    rtol=np.inf,
    remark="The goal was 0.5 s with the kernels on disk. Importing Numba takes about half of the time. The last row is "
    "a process that does nothing but call one function of one line from Numba's own cache, which loads the tables of "
    "the compiler first; kernels from lorasolve's folder do without.",
)
SCRIPT = """
import numpy as np, lorasolve as ls
problem = ls.Problem(ls.objectives.Denoising(np.random.default_rng(0).standard_normal((10, 8))), 3, 0.1)
print(ls.solve(problem).compile_seconds)
"""


def _process(script, **environment):
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=os.environ | environment
    )
    return time.perf_counter() - began, done.stdout


@start.peer("lorasolve, kernels on disk", ours=True, needs="numba")
def _(quick):
    def sample():
        seconds, answer = _process(SCRIPT)
        return seconds, float(answer)

    return sample


@start.peer("lorasolve, first process ever", needs="numba", repeats=3)
def _(quick):
    def sample():
        with tempfile.TemporaryDirectory() as folder:
            seconds, answer = _process(SCRIPT, LORASOLVE_CACHE_DIR=folder)
        return seconds, float(answer)

    return sample


@start.peer("import numba alone", needs="numba")
def _(quick):
    return lambda: (_process("import numba")[0], 0.0)


ONE_LINER = """
import numba, numpy as np
@numba.njit(cache=True)
def total(x):
    return x.sum()
total(np.ones(3))
"""


@start.peer("numba alone: one call of a one-line function on disk", needs="numba")
def _(quick):
    folder = tempfile.TemporaryDirectory()
    script = os.path.join(folder.name, "one_liner.py")
    with open(script, "w") as file:
        file.write(ONE_LINER)

    def sample():
        began = time.perf_counter()
        subprocess.run([sys.executable, script], check=True, env=os.environ | {"NUMBA_CACHE_DIR": folder.name})
        return time.perf_counter() - began, 0.0

    sample()
    return sample


# Small, but large enough for float32 increments; and the sizes of S1, S3 and S11, which take more kernels.
FIRST_SCRIPT = """
import sys, numpy as np, lorasolve as ls
rng = np.random.default_rng(0)


def completion(m, n, count):
    rows, cols = np.divmod(np.unique(rng.integers(0, m * n, count)), n)
    A, B = rng.standard_normal((m, 5)), rng.standard_normal((n, 5))
    values = np.einsum("kq,kq->k", A[rows], B[cols]) + rng.standard_normal(rows.size)
    return ls.objectives.MatrixCompletion(rows, cols, values, (m, n))


objective = {
    "sensing": lambda: ls.objectives.MatrixSensing(rng.standard_normal((20, 20, 20)), rng.standard_normal(20)),
    "linear": lambda: ls.objectives.LinearFineTuning(*(rng.standard_normal((130, k)) for k in (130, 20, 20))),
    "completion": lambda: ls.objectives.MatrixCompletion.example(rng),
    "large_sensing": lambda: ls.objectives.MatrixSensing(rng.standard_normal((1500, 50, 50)), np.ones(1500)),
    "large_completion": lambda: completion(10_000, 2000, 200_000),
    "ratings": lambda: completion(943, 1682, 100_000),
}[sys.argv[1]]()
problem, work = ls.Problem(objective, 3, 20.0), sys.argv[2]
if work == "solve_convex":
    assert ls.solve_convex(problem, "factored").success
elif work == "path":
    assert ls.path(problem, [40.0, 30.0, 20.0]).success
else:
    method, stop = ls.optimizers.registry.classes()[work](), ls.StoppingRule(max_iter=12, grad_tol=0.0)
    ls.solve(problem.replace(lam=0.1), method, "gaussian", stop=stop, seed=0)
"""


def _first(objective, work):
    item = Item(
        f"S9 {objective} {work}",
        f"First process ever: {work} on {objective}, from import to the end of a short solve",
        rtol=np.inf,
        seconds=(4.0, 1.0),
        remark="`lorasolve warm` compiles all paths ahead; a process after it is the second row. About half of the "
        "first is LLVM's work, each pass over the data once; the rest is Numba's own, for twenty to forty kernels.",
    )

    def run(folder):
        began = time.perf_counter()
        command = [sys.executable, "-c", FIRST_SCRIPT, objective, work]
        subprocess.run(command, check=True, env=os.environ | {"LORASOLVE_CACHE_DIR": folder})
        return time.perf_counter() - began, 0.0

    @item.peer("lorasolve, first process ever", ours=True, needs="numba", repeats=3, full_only=True)
    def _(quick):
        def sample():
            with tempfile.TemporaryDirectory() as folder:
                return run(folder)

        return sample

    @item.peer("lorasolve, kernels on disk", needs="numba", repeats=3, full_only=True)
    def _(quick):
        folder = tempfile.TemporaryDirectory()
        return lambda: run(folder.name)

    return item


FIRST = [("sensing", "gd_mixed"), ("linear", "gd_mixed"), ("completion", "gd"), ("completion", "als")]
FIRST += [("large_sensing", "gd_mixed"), ("large_completion", "gd"), ("large_completion", "als")]
FIRST += [("ratings", "solve_convex"), ("ratings", "path")]
ITEMS = [_item(10, 2), _item(50, 5), _plain_item(10, 2), _plain_item(50, 5), start]
ITEMS += [_first(*pair) for pair in FIRST]
