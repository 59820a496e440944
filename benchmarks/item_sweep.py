"""S4: 1000 independent runs, m = n = 20, r = 4, N = 300, 500 iterations each."""

from __future__ import annotations

import numpy as np
from peers import Item, timed

SIDE, RANK, COUNT, ITERATIONS, STEP = 20, 4, 300, 500, 0.05
LAMS, STDS, INSTANCES = np.linspace(0.01, 0.1, 10), np.linspace(0.05, 0.5, 10), 10


def data():
    """Return measurements and observations of each instance, and for each run instance, lam and start."""
    rng = np.random.default_rng(4)
    M = rng.standard_normal((INSTANCES, COUNT, SIDE, SIDE))
    y = rng.standard_normal((INSTANCES, COUNT))
    grid = [(k, lam, std) for k in range(INSTANCES) for lam in LAMS for std in STDS]
    A = np.stack([std * rng.standard_normal((SIDE, RANK)) for _, _, std in grid])
    return M, y, np.array([k for k, _, _ in grid]), np.array([lam for _, lam, _ in grid]), A


sweep = Item(
    "S4",
    "Sweep of 1000 runs, m = n = 20, r = 4, N = 300, 500 gradient descent iterations, float64: seconds in total",
    rtol=1e-8,
    remark="solve_batch multiplies faster than BLAS does here (`of limit`): each number of the symmetric Hessian "
    "beside its diagonal is read once for two products. In the run before JAX took 2.25 and torch 59.3 times as long.",
    limit=lambda rates: 1000 * ITERATIONS * 2 * SIDE**4 / 1e9 / rates["gemm GFLOP/s"],
    limit_text="the products with the dense Hessian at the measured GEMM rate",
)


def checksum(A):
    """Return a number that depends on the first run's factor only (some peers run a part of the grid)."""
    return float(np.linalg.norm(A))


@sweep.peer("lorasolve solve_batch", ours=True, needs="numba")
def _(quick):
    import lorasolve as ls

    M, y, instance, lams, A = data()
    starts = [(start, np.zeros((SIDE, RANK))) for start in A]
    stop = ls.StoppingRule(max_iter=ITERATIONS, grad_tol=0.0)
    method = ls.optimizers.GD(step_size=STEP)

    def work():
        objectives = [ls.objectives.MatrixSensing(M[k], y[k]) for k in range(INSTANCES)]
        problems = [ls.Problem(objectives[k], RANK, lam) for k, lam in zip(instance, lams)]
        return ls.solve_batch(problems, method, starts, stop=stop)

    return timed(work, lambda made: checksum(made.A[0]))


@sweep.peer("JAX, jit vmap", needs="jax", goal=(2.2, 4.0), repeats=3)
def _(quick):
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    M, y, _, lams, A = data()
    shape = (INSTANCES, 100)
    flat = jnp.asarray(M.reshape(INSTANCES, COUNT, -1))

    def loss(factors, flat, y, lam):
        A, B = factors
        w = flat @ (A @ B.T).ravel() - y
        return 0.5 * (w @ w) / COUNT + 0.5 * lam * ((A * A).sum() + (B * B).sum())

    grads = jax.vmap(jax.vmap(jax.grad(loss), (0, None, None, 0)))

    @jax.jit
    def run(factors, flat, y, lams):
        def step(_, f):
            return jax.tree.map(lambda x, g: x - STEP * g, f, grads(f, flat, y, lams))

        return jax.lax.fori_loop(0, ITERATIONS, step, factors)

    start = (jnp.asarray(A.reshape(*shape, SIDE, RANK)), jnp.zeros((*shape, SIDE, RANK)))
    given = (flat, jnp.asarray(y), jnp.asarray(lams.reshape(shape)))
    return timed(lambda: jax.block_until_ready(run(start, *given)), lambda ends: checksum(np.asarray(ends[0][0, 0])))


def _first_runs(count, one):
    M, y, instance, lams, A = data()

    def work():
        return [one(M[instance[k]], y[instance[k]], lams[k], A[k]) for k in range(count)]

    return timed(work, lambda ends: checksum(ends[0]), count / 1000)


@sweep.peer("NumPy, Python loop (10 runs, scaled)", threads=1, goal=(10.0, 18.0))
def _(quick):
    def one(M, y, lam, A):
        flat, B = M.reshape(COUNT, -1), np.zeros((SIDE, RANK))
        for _ in range(ITERATIONS):
            w = flat @ (A @ B.T).ravel() - y
            G = (w @ flat).reshape(SIDE, SIDE) / COUNT
            A, B = A - STEP * (G @ B + lam * A), B - STEP * (G.T @ A + lam * B)
        return A

    return _first_runs(10, one)


@sweep.peer("torch, Python loop (2 runs, scaled)", needs="torch", threads=1, goal=(60.0, 115.0))
def _(quick):
    import torch

    def one(M, y, lam, A0):
        flat, target = torch.from_numpy(M.reshape(COUNT, -1)), torch.from_numpy(y)
        A, B = torch.tensor(A0, requires_grad=True), torch.zeros(SIDE, RANK, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([A, B], lr=STEP, weight_decay=float(lam))
        for _ in range(ITERATIONS):
            optimizer.zero_grad()
            w = flat @ (A @ B.T).reshape(-1) - target
            (0.5 * (w @ w) / COUNT).backward()
            optimizer.step()
        return A.detach().numpy()

    return _first_runs(2, one)


ITEMS = [sweep]
