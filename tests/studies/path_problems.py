"""Problems whose paths several tests follow."""

from __future__ import annotations

import numpy as np

import lorasolve as ls
from lorasolve.objectives import Denoising, MatrixCompletion

VALUES = np.array([5.0, 3.0, 2.0, 0.5])


def formless(M: np.ndarray) -> Denoising:
    """Return denoising that knows no closed form."""
    objective = Denoising(M)
    objective.minimizer = lambda lam, rank: None
    return objective


def denoising(objective=Denoising) -> ls.Problem:
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((size, 4)))[0] for size in (7, 6))
    return ls.Problem(objective((P * VALUES) @ Q.T), 2, 1.0)


def planted(noise: float = 0.3) -> MatrixCompletion:
    rng = np.random.default_rng(1)
    T = rng.standard_normal((30, 2)) @ rng.standard_normal((25, 2)).T
    rows, cols = np.nonzero(rng.random(T.shape) < 0.6)
    return MatrixCompletion(rows, cols, T[rows, cols] + noise * rng.standard_normal(rows.size), T.shape)


def ratings(folder) -> str:
    objective = planted()
    lines = [f"{i},{j},{v!r}" for i, j, v in zip(objective.rows, objective.cols, objective.values.tolist())]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "ratings.csv")
