"""Ratings
=======

Matrix completion on a ratings file: yours (``python examples/ratings.py FILE LAM``) or a small synthetic one.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile

import numpy as np

import lorasolve as ls
from lorasolve.io import read_task


def write_synthetic(path: pathlib.Path, n_users: int, n_items: int) -> None:
    """Write ratings from 1 to 5 with a planted rank of 2, 30 % of them observed."""
    rng = np.random.default_rng(0)
    taste = rng.standard_normal((n_users, 2)) @ rng.standard_normal((2, n_items))
    stars = np.clip(np.rint(3.0 + taste + 0.3 * rng.standard_normal(taste.shape)), 1, 5)
    users, items = np.nonzero(rng.random(taste.shape) < 0.3)
    lines = [f"{u},{i},{stars[u, i]:.0f}" for u, i in zip(users, items)]
    path.write_text("\n".join(["user,item,rating", *lines]))


def solve_ratings(path: pathlib.Path, lam: float, rank: int) -> dict[str, object]:
    """Certify the convex optimum of a ratings file, and hold alternating least squares against it."""
    task = read_task("completion", path, center=True, test_fraction=0.1)
    problem = ls.Problem(task.objective, rank=min(rank, *task.objective.shape), lam=lam)
    optimum = ls.solve_convex(problem, tol=1e-6, progress=True)
    table = ls.compare(problem, ["als"], reference=optimum, stop=ls.StoppingRule(max_iter=500), progress=True)
    print(task.title)
    print(table)
    before, after = task.metrics()["rmse"], task.metrics(optimum.X)["rmse"]
    print(f"held-out RMSE: {before:.4f} with the mean alone, {after:.4f} at the optimum")
    return {"optimum": optimum, "table": table, "rmse": (before, after)}


def run(quick: bool = False) -> dict[str, object]:
    """Write a small ratings file and solve it."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ratings.csv"
        write_synthetic(path, *((40, 30) if quick else (300, 200)))
        return solve_ratings(path, lam=4.0, rank=12)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        run()
    elif len(sys.argv) == 3:
        solve_ratings(pathlib.Path(sys.argv[1]), float(sys.argv[2]), rank=100)
    else:
        sys.exit(f"expected FILE and LAM, or nothing, got {' '.join(sys.argv[1:])}")
