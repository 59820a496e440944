"""Inpainting a picture
====================

Half of the pixels of a picture are lost. The nuclear-norm optimum on those that are left gives them back, with a
certificate that no other completion is better; ``lam`` is chosen on a part of the pixels that are there.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

import lorasolve as ls
from lorasolve.objectives import MatrixCompletion


def picture(height: int, width: int) -> np.ndarray:
    """Return a facade with windows, a door and a sky that darkens, with values from 0 to 1."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    wall = 0.55 + 0.15 * np.sin(12.0 * np.pi * x) * (y > 0.25)
    windows = (np.sin(10.0 * np.pi * x) > 0.3) & (np.sin(8.0 * np.pi * y) > 0.3) & (y > 0.25)
    door = (abs(x - 0.5) < 0.06) & (y > 0.8)
    return np.where(door, 0.1, np.where(windows, 0.95, np.where(y > 0.25, wall, 0.9 - 1.2 * y)))


def run(quick: bool = False) -> dict[str, object]:
    """Lose pixels, choose ``lam``, complete, and show the picture before and after."""
    M = picture(*((40, 50) if quick else (90, 120)))
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.random(M.shape) < 0.5)
    mean = float(M[rows, cols].mean())
    seen = MatrixCompletion(rows, cols, M[rows, cols] - mean, M.shape)
    # Each fit takes off the mean of the pixels that it sees.
    problem = ls.Problem(seen, rank=1, lam=1.0)
    choice = ls.cross_validate(problem, 5 if quick else 8, folds=3, tol=1e-3, means="global")
    optimum = ls.solve_convex(ls.Problem(seen, rank=1, lam=choice.best), tol=1e-6)
    restored = np.clip(optimum.X + mean, 0.0, 1.0)
    print(f"{M.shape[0]} x {M.shape[1]} pixels, {len(rows)} of them left; lam = {choice.best:.3g} by cross-validation")
    print(repr(optimum))
    lost = np.ones(M.shape, dtype=bool)
    lost[rows, cols] = False
    errors = {
        "mean of the pixels left": float(np.sqrt(np.mean((M[lost] - mean) ** 2))),
        "completed": float(np.sqrt(np.mean((M[lost] - restored[lost]) ** 2))),
    }
    for name, error in errors.items():
        print(f"root mean square error on the lost pixels, {name}: {error:.3f}")
    figure, axes = plt.subplots(1, 3, figsize=(10.0, 3.0), layout="constrained")
    holes = np.where(lost, np.nan, M)
    for ax, image, title in zip(axes, (holes, restored, M), ("half of it lost (blue)", "completed", "as it was")):
        ax.imshow(image, cmap="gray", vmin=0.0, vmax=1.0)
        ax.set(title=title, xticks=[], yticks=[])
        ax.set_facecolor("#56B4E9")
    return {"errors": errors, "optimum": optimum, "figure": figure}


if __name__ == "__main__":
    run()
    plt.show()
