"""S1, S1t: dense sensing, 50 x 50, r = 5, 1500 Gaussian measurements."""

from __future__ import annotations

import numpy as np
from peers import Item, timed

M_ROWS, RANK, COUNT, LAM, STEP, ITERATIONS = 50, 5, 1500, 0.05, 0.05, 200


def data():
    rng = np.random.default_rng(1)
    M = rng.standard_normal((COUNT, M_ROWS, M_ROWS))
    truth = rng.standard_normal((M_ROWS, 3)) @ rng.standard_normal((3, M_ROWS)) / M_ROWS**0.5
    y = np.einsum("kij,ij->k", M, truth) + 0.1 * rng.standard_normal(COUNT)
    A = rng.standard_normal((M_ROWS, RANK)) / M_ROWS**0.5
    return M, y, A, np.zeros((M_ROWS, RANK))


def value(M, y, A, B):
    w = M.reshape(COUNT, -1) @ (A @ B.T).ravel() - y
    return 0.5 * float(w @ w) / COUNT + 0.5 * LAM * float((A * A).sum() + (B * B).sum())


gd = Item(
    "S1",
    "Dense sensing, 50 x 50, r = 5, 1500 measurements: one gradient descent iteration, float64 result",
    rtol=5e-8,
    limit=lambda rates: 8 * COUNT * M_ROWS**2 / 1e9 / rates["read 30 MB GB/s"],
    limit_text="the float64 measurements read once",
    remark="Each NumPy or torch iteration reads the float64 measurements twice. gd_mixed reads a copy once: float32, a "
    "quarter of the bytes, in some 50 of these 200 iterations, and 16-bit integers, an eighth, in some 150, whose "
    "steps are short; its limit is 0.3 of the one stated. The exact evaluations, one in 50 iterations, take a tenth "
    "of its time.",
)


def _ours(optimizer):
    def prepare(quick):
        import lorasolve as ls

        M, y, A, B = data()
        problem = ls.Problem(ls.objectives.MatrixSensing(M, y), RANK, LAM)
        stop = ls.StoppingRule(max_iter=ITERATIONS, grad_tol=0.0)

        def work():
            return ls.solve(problem, optimizer(ls)(step_size=STEP), (A, B), stop=stop)

        return timed(work, lambda result: value(M, y, result.A, result.B), ITERATIONS)

    return prepare


gd.peer("lorasolve gd_mixed", ours=True, needs="numba", limit_part=0.3)(_ours(lambda ls: ls.optimizers.MixedGD))
gd.peer("lorasolve gd", needs="numba")(_ours(lambda ls: ls.optimizers.GD))


@gd.peer("NumPy, two matrix-vector products", goal=(3.8, 4.0))
def _(quick):
    M, y, A0, B0 = data()
    flat = M.reshape(COUNT, -1)

    def work():
        A, B = A0.copy(), B0.copy()
        for _ in range(ITERATIONS):
            w = flat @ (A @ B.T).ravel() - y
            G = (w @ flat).reshape(M_ROWS, M_ROWS) / COUNT
            A, B = A - STEP * (G @ B + LAM * A), B - STEP * (G.T @ A + LAM * B)
        return A, B

    return timed(work, lambda factors: value(M, y, *factors), ITERATIONS)


@gd.peer("torch, autograd loop", needs="torch", goal=(12.0, 30.0))
def _(quick):
    import torch

    M, y, A0, B0 = data()
    flat, target = torch.from_numpy(M.reshape(COUNT, -1)), torch.from_numpy(y)

    def work():
        A, B = (torch.tensor(part, requires_grad=True) for part in (A0, B0))
        optimizer = torch.optim.SGD([A, B], lr=STEP, weight_decay=LAM)
        for _ in range(ITERATIONS):
            optimizer.zero_grad()
            w = flat @ (A @ B.T).reshape(-1) - target
            (0.5 * (w @ w) / COUNT).backward()
            optimizer.step()
        return A.detach().numpy(), B.detach().numpy()

    return timed(work, lambda factors: value(M, y, *factors), ITERATIONS)


@gd.peer("JAX, jit fori_loop", needs="jax")
def _(quick):
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    M, y, A0, B0 = data()
    flat, target = jnp.asarray(M.reshape(COUNT, -1)), jnp.asarray(y)

    def loss(factors):
        A, B = factors
        w = flat @ (A @ B.T).ravel() - target
        return 0.5 * (w @ w) / COUNT + 0.5 * LAM * ((A * A).sum() + (B * B).sum())

    @jax.jit
    def run(factors):
        def step(_, f):
            return jax.tree.map(lambda x, g: x - STEP * g, f, jax.grad(loss)(f))

        return jax.lax.fori_loop(0, ITERATIONS, step, factors)

    start = (jnp.asarray(A0), jnp.asarray(B0))
    return timed(
        lambda: jax.block_until_ready(run(start)),
        lambda factors: value(M, y, *(np.asarray(f) for f in factors)),
        ITERATIONS,
    )


target_time = Item(
    "S1t",
    "Dense sensing, 50 x 50, r = 5, 1500 measurements: time to 1e-6 of the optimum, from the measurements",
    rtol=2e-6,
    remark="Objective and problem are new in every sample, so that all constants that a program derives from the "
    "measurements count. SciPy and lbfgs begin at the LoRA start and are given the rank and the value to stop at, and "
    "prove nothing; factored finds the rank from nothing and ends with a certificate. Half of its time are "
    "evaluations, a tenth the bound of the curvature from which that of the rank follows.",
)


def _packed(M, y):
    flat = M.reshape(COUNT, -1)

    def function(theta):
        A, B = theta[: M_ROWS * RANK].reshape(-1, RANK), theta[M_ROWS * RANK :].reshape(-1, RANK)
        w = flat @ (A @ B.T).ravel() - y
        G = (w @ flat).reshape(M_ROWS, M_ROWS) / COUNT
        grad = np.concatenate([(G @ B).ravel(), (G.T @ A).ravel()]) + LAM * theta
        return 0.5 * float(w @ w) / COUNT + 0.5 * LAM * float(theta @ theta), grad

    return function


class _Reached(Exception):
    pass


def scipy_to_target(function, start, target):
    """Run SciPy's L-BFGS-B until ``target`` is reached and return the value there."""
    from scipy.optimize import minimize

    reached = []

    def watched(theta):
        f, g = function(theta)
        if f <= target:
            reached.append(f)
            raise _Reached
        return f, g

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 0.0, "gtol": 1e-12, "maxcor": 10}
    try:
        return minimize(watched, start, jac=True, method="L-BFGS-B", options=options).fun
    except _Reached:
        return reached[0]


def optimum(function, start):
    """Return the optimal value by a long run."""
    return scipy_to_target(function, start, -np.inf)


@target_time.peer("lorasolve factored (its own start, and a certificate)", ours=True, needs="numba")
def _(quick):
    import lorasolve as ls

    M, y, _, _ = data()

    def work():
        problem = ls.Problem(ls.objectives.MatrixSensing(M, y), RANK, LAM)
        return ls.solve_convex(problem, route="factored", tol=1e-6)

    def check(result):
        assert result.relative_gap <= 1e-6, result.message
        return result.fun

    return timed(work, check)


@target_time.peer("lorasolve lbfgs", needs="numba")
def _(quick):
    import lorasolve as ls

    M, y, A, B = data()
    best = optimum(_packed(M, y), np.concatenate([A.ravel(), B.ravel()]))
    stop = ls.StoppingRule(max_iter=20_000, grad_tol=0.0, target=best * (1 + 1e-6))

    def work():
        problem = ls.Problem(ls.objectives.MatrixSensing(M, y), RANK, LAM)
        return ls.solve(problem, "lbfgs", (A, B), stop=stop)

    return timed(work, lambda result: result.fun)


@target_time.peer("SciPy L-BFGS-B, one BLAS thread", needs="scipy", threads=1, goal=(4.0, 15.0))
def _(quick):
    M, y, A, B = data()
    start = np.concatenate([A.ravel(), B.ravel()])
    target = optimum(_packed(M, y), start) * (1 + 1e-6)
    return timed(lambda: scipy_to_target(_packed(M, y), start, target), float)


ITEMS = [gd, target_time]
