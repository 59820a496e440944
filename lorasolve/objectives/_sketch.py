"""What samples of the caller answer, kept so that later changes of them show: constants are formed from them once."""

from __future__ import annotations

import numpy as np

from .._support.validate import Array

# Rows that are looked at for changes.
ROWS = 8


def changed_data(label: str, how: str = "") -> str:
    """Return what a loss is refused with whose arrays their owner has written to, and how that showed."""
    changed = f"objective: the data of {label} were changed in place after it was made{how}"
    return f"{changed}; make it anew, or of a copy of the data"


class Sketch:
    """The products of all rows of an array with one vector."""

    def __init__(self, rows: Array) -> None:
        self._vector: Array = np.random.default_rng(0).standard_normal((rows.shape[1],)).astype(rows.dtype)
        self._products = rows @ self._vector

    def is_of(self, rows: Array) -> bool:
        """Return whether a few random rows of the array are what they were, up to rounding."""
        some = np.random.default_rng().integers(len(rows), size=ROWS)
        off = np.abs(rows[some] @ self._vector - self._products[some])
        sizes = np.abs(rows[some]) @ np.abs(self._vector)
        return bool((off <= float(np.sqrt(np.finfo(rows.dtype).eps)) * sizes).all())
