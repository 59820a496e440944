"""S16, S12: what a proof with all rounding counted costs beside the same bound in floating point, and many of them."""

from __future__ import annotations

import time

import numpy as np
from peers import Item, timed

RANK = 5


def denoising(side):
    import lorasolve as ls

    rng = np.random.default_rng(16)
    return ls.objectives.Denoising(rng.standard_normal((side, side)))


def huber(side):
    import lorasolve as ls

    rng = np.random.default_rng(16)
    return ls.objectives.Huber(rng.standard_normal((side, side)), delta=1.0)


def linear(side):
    import lorasolve as ls

    rng = np.random.default_rng(16)
    W0, Z = rng.standard_normal((side, side)), rng.standard_normal((side, 3 * side))
    return ls.objectives.LinearFineTuning(W0, Z, W0 @ Z + rng.standard_normal((side, 3 * side)))


def softmax(side):
    import lorasolve as ls

    rng = np.random.default_rng(16)
    labels = rng.integers(10, size=30 * side)
    return ls.objectives.Softmax(np.zeros((10, side)), rng.standard_normal((side, 30 * side)), labels)


def sensing(side):
    import lorasolve as ls

    rng = np.random.default_rng(16)
    count = side * side // 2
    return ls.objectives.MatrixSensing(rng.standard_normal((count, side, side)), rng.standard_normal(count))


def _plain(problem, A, B):
    """Return the value and the first-order gap over a nuclear-norm ball, from two decompositions of m x n matrices."""
    X = A @ B.T
    f, G = problem.objective.value_and_grad(X)
    nuclear = np.linalg.svd(X, compute_uv=False).sum()
    value = f + problem.lam * nuclear
    excess = max(0.0, float(np.linalg.norm(G, 2)) - problem.lam)
    return value, problem.lam * nuclear + float(np.vdot(G, X)) + excess * value / problem.lam


def _item(name, make, side, goal):
    key = f"S16 {name} {side}"
    item = Item(
        key,
        f"Certificate of the optimum, {name}, shorter side {side}",
        rtol=1e-9,
        remark="CERTIFIED takes a Cholesky factorisation where certificates took an SVD of the gradient; beside the "
        "two SVDs, which they cost before, a proof at 500 x 500 is cheaper.",
    )

    def given():
        import lorasolve as ls

        objective = make(side)
        m, n = objective.shape
        G = objective.value_and_grad(np.zeros((m, n)))[1]
        problem = ls.Problem(objective, RANK, 0.8 * float(np.linalg.norm(G, 2)))
        best = ls.solve_convex(problem, tol=1e-8)
        return problem, (best.A, best.B)

    def ours(rigorous):
        import lorasolve as ls

        problem, (A, B) = given()
        return timed(lambda: ls.certify(problem, (A, B), rigorous=rigorous), lambda found: found.value)

    @item.peer("lorasolve certify, RIGOROUS", ours=True, needs="numba", threads=1)
    def _(quick):
        return ours(True)

    @item.peer("lorasolve certify, CERTIFIED", needs="numba", threads=1, goal=goal)
    def _(quick):
        return ours(False)

    @item.peer("NumPy, two SVDs, no allowance for rounding", needs="numba", threads=1)
    def _(quick):
        problem, (A, B) = given()
        return timed(lambda: _plain(problem, A, B), lambda found: float(found[0]))

    return item


def completion(side):
    import lorasolve as ls

    rng = np.random.default_rng(16)
    rows, cols = np.divmod(rng.permutation(side * side)[: side * side // 2], side)
    return ls.objectives.MatrixCompletion(rows, cols, rng.standard_normal(rows.size), (side, side))


def _many(name, make, side=50, count=1000):
    """Return an item: certificates of points near one optimum, at a relative gap of about 1e-8, a point."""
    item = Item(
        f"S12 {name}",
        f"RIGOROUS certificates of {count} points of one problem, {name} {side} x {side}: CPU seconds a point",
        rtol=1e-6,
        seconds=(1e-3, 3e-4),
        remark="The checked value is the mean of F over the points; all are proved to be global to 1e-6. One by one, "
        "50 of them. Of sensing a third are two products with the measurements at the rate of BLAS.",
    )

    def given(count):
        import lorasolve as ls

        objective = make(side)
        lam = 0.8 * float(np.linalg.norm(objective.value_and_grad(np.zeros(objective.shape))[1], 2))
        problem = ls.Problem(objective, RANK, lam)
        best = ls.solve_convex(problem, tol=1e-8)
        rng = np.random.default_rng(12)
        size = 1e-6 * np.abs(best.A).max()
        return problem, [(best.A + size * rng.standard_normal(best.A.shape), best.B) for _ in range(count)]

    def mean(certificates):
        assert all(certificate.is_global for certificate in certificates)
        return float(np.mean([certificate.value for certificate in certificates]))

    @item.peer("lorasolve certify_batch", ours=True, needs="numba", threads=1)
    def _(quick):
        import lorasolve as ls

        problem, points = given(count)
        return timed(lambda: ls.certify_batch(problem, points), mean, count, clock=time.process_time)

    @item.peer("lorasolve certify, one by one", needs="numba", threads=1)
    def _(quick):
        import lorasolve as ls

        problem, points = given(50)
        return timed(lambda: [ls.certify(problem, p) for p in points], mean, 50, clock=time.process_time)

    return item


ITEMS = [
    _item("denoising", denoising, 50, (0.5, 1.0)),
    _item("denoising", denoising, 500, (1.0, 2.0)),
    _item("huber", huber, 50, (0.5, 1.0)),
    _item("linear", linear, 100, (0.5, 1.0)),
    _item("linear", linear, 768, (0.25, 0.5)),
    _item("softmax", softmax, 64, (0.5, 1.0)),
    _item("sensing", sensing, 50, (0.5, 1.0)),
    *(_many(make.__name__, make) for make in (denoising, huber, completion, linear, sensing, softmax)),
]
