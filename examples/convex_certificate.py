"""The convex optimum, certified
=============================

Matrix sensing: the certified gap along a run, the convex optimum by two routes, and what a wrong rank shows.
"""

from __future__ import annotations

import numpy as np

import lorasolve as ls
from lorasolve.objectives import MatrixSensing


def run(quick: bool = False) -> dict[str, object]:
    """Solve a planted rank-2 sensing problem and hold every point of the run against the optimum."""
    n, N = (8, 60) if quick else (20, 300)
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((n, 2)) @ rng.standard_normal((2, n)) / np.sqrt(n)
    measurements = rng.standard_normal((N, n, n))
    y = np.einsum("kij,ij->k", measurements, truth) + 0.1 * rng.standard_normal(N)
    problem = ls.Problem(MatrixSensing(measurements, y), rank=4, lam=0.05)

    optimum = ls.solve_convex(problem, route="factored", cross_check=True)
    print(optimum.message)
    print(f"cross-check: {optimum.cross_check}")

    points: list[tuple[int, float, float]] = []

    def watch(now: ls.Intermediate) -> None:
        if now.nit in (1, 10, 100, 1000):
            certificate = ls.certify(problem, (now.A, now.B))
            points.append((now.nit, certificate.value - optimum.fun, certificate.gap))

    result = ls.solve(problem, "gd", callback=watch, stop=ls.StoppingRule(grad_tol=1e-10))
    points.append((result.nit, problem.convex_value(result.X) - optimum.fun, ls.certify(problem, result).gap))
    print("iteration  true gap  certified gap")
    for nit, true, certified in points:
        print(f"{nit:9d}  {true:8.1e}  {certified:13.1e}")

    # With rank 1 the end point is stationary too, but no global optimum: the certificate says so.
    narrow = problem.replace(rank=1)
    refuted = ls.certify(narrow, ls.solve(narrow, "lbfgs"))
    print(f"rank 1: {refuted.is_global} ({refuted.reason})")
    return {"optimum": optimum, "points": points, "refuted": refuted}


if __name__ == "__main__":
    run()
