"""S5, S6: the convex optimum with a certificate."""

from __future__ import annotations

import shutil
import subprocess
import tempfile

import numpy as np
from peers import Item, timed


def sensing(n):
    """Return dense Gaussian measurements of a matrix whose nuclear-norm estimate has a rank that must be found."""
    rng = np.random.default_rng(5)
    count = 8 * n
    M = rng.standard_normal((count, n, n))
    target = rng.standard_normal((n, max(2, n // 10))) @ rng.standard_normal((max(2, n // 10), n)) / n**0.5
    y = np.einsum("kij,ij->k", M, target) + 0.1 * rng.standard_normal(count)
    lam = 0.02 * float(np.linalg.norm(np.einsum("k,kij->ij", y, M) / count, 2))
    return M, y, lam


def _value(M, y, lam, X):
    w = np.einsum("kij,ij->k", M, X) - y
    return 0.5 * float(w @ w) / y.size + lam * float(np.linalg.svd(X, compute_uv=False).sum())


def _item(n, goals):
    item = Item(
        f"S5 n={n}",
        f"Nuclear-norm sensing, n = {n}, N = {8 * n}: certified relative gap 1e-7, from the measurements",
        rtol=2e-7,
        remark="Objective and problem, and what is derived from the measurements (the step of FISTA), are new in every "
        "sample. Every answer is checked to have the relative gap 1e-7; the tolerance of SCS is the weakest power of "
        "ten with which its answer does.",
    )

    def reached(M, y, lam, X):
        """Return the value of ``X``, whose gap is checked."""
        gap = relative_gap(M.reshape(y.size, -1), y, lam, X)
        assert gap <= 1e-7, f"the relative gap is {gap:.1e}"
        return _value(M, y, lam, X)

    @item.peer("lorasolve factored", ours=True, needs="numba")
    def _(quick):
        import lorasolve as ls

        M, y, lam = sensing(n)

        def work():
            problem = ls.Problem(ls.objectives.MatrixSensing(M, y), 1, lam)
            return ls.solve_convex(problem, route="factored", tol=1e-7)

        return timed(work, lambda result: reached(M, y, lam, result.A @ result.B.T))

    @item.peer("proximal gradient (FISTA), NumPy", goal=goals.get("prox"), repeats=3, full_only=n > 60)
    def _(quick):
        M, y, lam = sensing(n)
        flat = M.reshape(y.size, -1)

        def work():
            # The Gram matrix costs a tenth of the singular values.
            beta = float(np.linalg.eigvalsh(flat @ flat.T)[-1]) / y.size
            X = Y = np.zeros((n, n))
            t = 1.0
            for k in range(5000):
                w = flat @ Y.ravel() - y
                G = (w @ flat).reshape(n, n) / y.size
                U, s, Vt = np.linalg.svd(Y - G / beta, full_matrices=False)
                s = np.maximum(s - lam / beta, 0.0)
                new = (U * s) @ Vt
                if np.vdot(Y - new, new - X) > 0:
                    t = 1.0
                s_new = 0.5 * (1 + (1 + 4 * t * t) ** 0.5)
                Y, X, t = new + (t - 1) / s_new * (new - X), new, s_new
                if k % 20 == 0 and relative_gap(flat, y, lam, X, s.sum()) <= 1e-7:
                    break
            return X

        return timed(work, lambda X: reached(M, y, lam, X))

    def cvx(solver, **options):
        def prepare(quick):
            import cvxpy

            M, y, lam = sensing(n)
            flat = M.reshape(y.size, -1)

            def work():
                X = cvxpy.Variable((n, n))
                loss = cvxpy.sum_squares(flat @ cvxpy.vec(X, order="C") - y) / (2 * y.size)
                cvxpy.Problem(cvxpy.Minimize(loss + lam * cvxpy.normNuc(X))).solve(solver=solver, **options)
                return X.value

            return timed(work, lambda X: reached(M, y, lam, X))

        return prepare

    eps = 1e-8 if n <= 40 else 1e-9
    scs = item.peer(f"cvxpy SCS, eps {eps:.0e}", needs="cvxpy", goal=goals.get("scs"), repeats=1, full_only=n > 40)
    scs(cvx("SCS", eps=eps, max_iters=20_000))
    if n <= 60:
        clarabel = item.peer("cvxpy Clarabel", needs="cvxpy", goal=goals.get("clarabel"), repeats=1, full_only=n > 20)
        clarabel(cvx("CLARABEL"))
    if n <= 40:
        item.peer("CSDP, from its file", repeats=1, full_only=n > 20)(lambda quick: _csdp(*sensing(n), reached))
    return item


def _csdp(M, y, lam, reached):
    """Return a function that lets CSDP solve the semidefinite program, from which on its file is there."""
    import lorasolve as ls
    from lorasolve.convex import read_sdpa_solution

    program = shutil.which("csdp")
    if program is None:
        raise FileNotFoundError("csdp is not installed")
    folder = tempfile.TemporaryDirectory()
    given, found = (f"{folder.name}/{name}" for name in ("sensing.dat-s", "sensing.sol"))
    ls.Problem(ls.objectives.MatrixSensing(M, y), 1, lam).to_sdpa(given)

    def work():
        # It looks for its settings in the current folder.
        subprocess.run([program, given, found], cwd=folder.name, stdout=subprocess.DEVNULL, check=True)
        return read_sdpa_solution(found, M.shape[1:])

    return timed(work, lambda X: reached(M, y, lam, X))


def relative_gap(flat, y, lam, X, nuclear=None):
    """Return the certified gap of ``X``, whose nuclear norm may be known: a dual point is the residual, scaled."""
    nuclear = np.linalg.svd(X, compute_uv=False).sum() if nuclear is None else nuclear
    w = flat @ X.ravel() - y
    dual = np.linalg.norm((w @ flat).reshape(X.shape) / y.size, 2)
    z = w * min(1.0, lam / dual)
    primal = 0.5 * float(w @ w) / y.size + lam * float(nuclear)
    return (primal + float(z @ y + 0.5 * z @ z) / y.size) / primal


rank_one = Item("S5r", "Nuclear-norm sensing with 3200 rank-one measurements, n = 400: certified relative gap 1e-7")


@rank_one.peer("lorasolve factored", ours=True, needs="numba", repeats=2)
def _(quick):
    import lorasolve as ls

    rng = np.random.default_rng(6)
    n, count = 400, 3200
    a, b = rng.standard_normal((2, count, n))
    L, R = rng.standard_normal((2, n, 3))
    y = np.einsum("ij,ij->i", a @ L, b @ R) / n**0.5 + 0.1 * rng.standard_normal(count)
    lam = 0.1 * float(np.linalg.norm((a * y[:, None]).T @ b / count, 2))

    def work():
        problem = ls.Problem(ls.objectives.MatrixSensing((a, b), y), 1, lam)
        return ls.solve_convex(problem, route="factored", tol=1e-7)

    def check(result):
        assert result.relative_gap <= 1e-7, result.message
        return result.fun

    return timed(work, check)


scale = Item(
    "S6",
    "Linear fine-tuning 4096 x 4096, r* = 20: Gram matrices and certified relative gap 1e-6, in seconds",
    remark="The goal was 60 s. Peak memory: the data (W0, Z, Y: 640 MiB), S and C (256 MiB), for a moment four more "
    "matrices of that size (512 MiB; Cholesky factorisations confirm bounds of eigenvalues of S), and about 150 MiB of "
    "Python, kernels and BLAS.",
)


@scale.peer("lorasolve factored", ours=True, needs="numba", repeats=1, full_only=True)
def _(quick):
    import lorasolve as ls

    n, N, rank = 4096, 8192, 20
    rng = np.random.default_rng(7)
    W0, Z = rng.standard_normal((n, n)) / n**0.5, rng.standard_normal((n, N))
    P, Q = (np.linalg.qr(rng.standard_normal((n, rank)))[0] for _ in range(2))
    Y = W0 @ Z + (P * np.linspace(2.0, 6.0, rank)) @ (Q.T @ Z)
    Y += 0.1 * rng.standard_normal((n, N))

    def work():
        problem = ls.Problem(ls.objectives.LinearFineTuning(W0, Z, Y), 1, 0.5)
        result = ls.solve_convex(problem, route="factored", tol=1e-6)
        assert result.relative_gap <= 1e-6, result.message
        return result

    return timed(work, lambda result: float(result.rank))


ITEMS = [
    _item(20, {}),
    _item(40, {}),
    _item(60, {"clarabel": (150.0, 1000.0), "scs": (10.0, 60.0), "prox": (2.0, 12.0)}),
    _item(100, {"scs": (10.0, 50.0), "prox": (10.0, 20.0)}),
    rank_one,
    scale,
]
