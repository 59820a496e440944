"""Ratings that several tests complete."""

from __future__ import annotations

import numpy as np

from lorasolve.io import Ratings


def everything(M):
    """All entries of a matrix, with text labels whose order is not that of the rows."""
    m, n = M.shape
    rows, cols = (part.ravel() for part in np.indices(M.shape))
    return Ratings(rows, cols, M.ravel(), np.array([f"u{i:02}" for i in range(m)]), np.arange(100, 100 + n))


def later_ratings() -> tuple[Ratings, Ratings]:
    """Ratings and later ones, of which some have a row, a column or both that were not there before."""
    rng = np.random.default_rng(4)
    M = rng.standard_normal((25, 2)) @ rng.standard_normal((2, 14)) + rng.standard_normal((25, 1))
    rows, cols = np.nonzero(rng.random(M.shape) < 0.7)
    order = rng.permutation(rows.size)
    values = (M + 0.5 * rng.standard_normal(M.shape))[rows, cols]
    early = order[:160][(rows[order[:160]] > 1) & (cols[order[:160]] != 3)]
    late = order[160:]
    names = np.array([f"u{k:02}" for k in range(25)])
    return tuple(Ratings.from_labels(names[rows[part]], cols[part], values[part]) for part in (early, late))
