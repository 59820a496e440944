"""Means of the observed entries of a matrix, and what is left of them without these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._support.validate import Array
from .objectives.completion import MatrixCompletion

# Which means are taken off before a low-rank update is fitted.
MEANS = ("none", "global", "rows", "columns", "both")
# What is left of an entry that its means fit, as a share of both: what rounding leaves of it, and no data.
_ROUNDING = 16 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Means:
    """Plain averages, one after the other, 0 where nothing is observed.

    Attributes
    ----------
    mean : float
        Of all entries.
    row_effects, col_effects : ndarray of shape (m,), (n,)
        What the entries of a row are above it, and those of a column above both.
    """

    mean: float
    row_effects: Array
    col_effects: Array

    @classmethod
    def of(cls, observed: MatrixCompletion, kind: str) -> Means:
        """Return those of a kind, one of ``MEANS``, of the entries that are observed."""
        (m, n), rows, cols = observed.shape, observed.rows, observed.cols
        rest = observed.values.astype(np.float64)
        mean = float(_averages(rest, np.zeros_like(rows), 1)[0]) if kind != "none" else 0.0
        rest = rest - mean
        row_effects, col_effects = np.zeros(m), np.zeros(n)
        if kind in ("rows", "both"):
            row_effects = _averages(rest, rows, m)
            rest = rest - row_effects[rows]
        if kind in ("columns", "both"):
            col_effects = _averages(rest, cols, n)
        return cls(mean, row_effects, col_effects)

    def off(self, observed: MatrixCompletion) -> MatrixCompletion:
        """Return the completion of what is left of entries, which need not be those that the means are of.

        In float64, whatever the type of the entries: what is left may be small beside them, and is fitted in float64.
        What rounding leaves of entries that the means fit is 0, as it would be completed as data are.
        """
        rows, cols, values = observed.rows, observed.cols, observed.values.astype(np.float64)
        row_effects, col_effects = self.row_effects[rows], self.col_effects[cols]
        rest = values - (self.mean + row_effects + col_effects)
        sizes = np.abs(values) + abs(self.mean) + np.abs(row_effects) + np.abs(col_effects)
        rest[np.abs(rest) <= _ROUNDING * sizes] = 0.0
        return MatrixCompletion(rows, cols, rest, observed.shape)


def _averages(values: Array, groups: Array, count: int) -> Array:
    """Return the averages of groups of values; the second pass takes off what rounding left in the sums of many."""
    counts = np.bincount(groups, minlength=count)
    first = averages(np.bincount(groups, values, count), counts)
    return first + averages(np.bincount(groups, values - first[groups], count), counts)


def averages(sums: Array, counts: Array) -> Array:
    """Return sums over counts, 0 where nothing was counted."""
    return sums / np.maximum(counts, 1)
