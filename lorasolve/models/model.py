"""A completed matrix of ratings: means, low-rank update and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._means import MEANS, averages
from .._support.files import PathLike
from .._support.keywords import did_you_mean
from .._support.validate import (
    Array,
    as_choice,
    as_float_array,
    as_integer,
    as_number,
    as_partial_matrix,
    as_shape,
    shown,
)
from ..io import UNNAMED, Ratings, label_places, labels_like, read_arrays, write_arrays
from ..low_rank import factor_singular_values, numerical_rank
from ._entries import as_entries, as_names, as_range, ascending

_KIND = "lorasolve completion model 1"
# Entries predicted at a time: rows of both factors are copied for each.
_PIECE = 1 << 16
_EXPECTED = "a completion model, as `lorasolve complete --out NAME` writes it"


@dataclass(frozen=True, eq=False)
class CompletionModel:
    """Predictions ``mean + row_effect[i] + col_effect[j] + (A B^T)[i, j]``, clipped to a range if one is given.

    Attributes
    ----------
    A, B : ndarray of shape (m, k), (n, k)
        The factors of the low-rank update.
    mean : float
        The global mean.
    row_effects, col_effects : ndarray of shape (m,), (n,)
        What rows and columns add to it.
    row_labels, col_labels : ndarray of shape (m,), (n,)
        What the data call the rows and columns, in ascending order. Objects are kept as int64 or float64 where they
        are such numbers, else as texts.
    lam : float
        The weight of the nuclear norm.
    means : str
        Which means were taken off: a member of ``MEANS``.
    clip : (float, float) or None
        Predictions stay in this range.
    names : (str, str)
        What the data call rows and columns, for the heads of tables.

    Raises
    ------
    ValueError
        For labels in another order, or twice the same one: they are found by bisection. For labels that are missing
        or of several kinds, factors and effects that do not fit them, and settings out of range.
    """

    A: Array = field(repr=False)
    B: Array = field(repr=False)
    mean: float
    row_effects: Array = field(repr=False)
    col_effects: Array = field(repr=False)
    row_labels: Array = field(repr=False)
    col_labels: Array = field(repr=False)
    lam: float
    means: str = "global"
    clip: tuple[float, float] | None = None
    names: tuple[str, str] = UNNAMED

    def __post_init__(self) -> None:
        object.__setattr__(self, "row_labels", ascending(self.row_labels, "row_labels", "row"))
        object.__setattr__(self, "col_labels", ascending(self.col_labels, "col_labels", "column"))
        m, n = len(self.row_labels), len(self.col_labels)
        for name, size in {"A": m, "B": n}.items():
            factor = as_float_array(getattr(self, name), name, 2, np.float64)
            if len(factor) != size:
                raise ValueError(f"{name}: expected {size} rows, one for each label, got {len(factor)}")
            object.__setattr__(self, name, factor)
        if self.A.shape[1] != self.B.shape[1]:
            raise ValueError(f"B: expected {self.A.shape[1]} columns, as A has, got {self.B.shape[1]}")
        for name, size in {"row_effects": m, "col_effects": n}.items():
            effects = as_float_array(getattr(self, name), name, 1, np.float64)
            object.__setattr__(self, name, as_shape(effects, name, (size,)))
        object.__setattr__(self, "mean", as_number(self.mean, "mean"))
        object.__setattr__(self, "lam", as_number(self.lam, "lam", 0.0, open_low=True))
        as_choice(self.means, "means", MEANS)
        if self.clip is not None:
            object.__setattr__(self, "clip", as_range(self.clip))
        object.__setattr__(self, "names", as_names(self.names, "names"))

    def __repr__(self) -> str:
        m, n = len(self.row_labels), len(self.col_labels)
        clip = "" if self.clip is None else f", clip = {self.clip}"
        return f"CompletionModel({m} x {n}, rank {self.rank}, means {self.means}, lam = {self.lam:g}{clip})"

    @property
    def rank(self) -> int:
        """Numerical rank of the low-rank update."""
        return numerical_rank(factor_singular_values(self.A, self.B))

    def predict(self, rows: ArrayLike, cols: ArrayLike) -> Array:
        """Return the predicted entries at pairs of labels.

        Parameters
        ----------
        rows, cols : array_like of labels, shape (N,)
            Numbers and dates are compared by value, also where they are written as texts; a label that was not in the
            data gets what the means alone say.

        Returns
        -------
        ndarray of shape (N,)

        Raises
        ------
        ValueError
            For arrays of different lengths.
        TypeError
            For labels that are no numbers or texts where those of the data are numbers, and so on.
        """
        i, j = label_places(self.row_labels, rows, "rows"), label_places(self.col_labels, cols, "cols")
        if i.size != j.size:
            raise ValueError(f"rows, cols: expected arrays of one length, got {i.size} and {j.size}")
        known_i, known_j = i >= 0, j >= 0
        values = self.mean + np.where(known_i, self.row_effects[i], 0.0) + np.where(known_j, self.col_effects[j], 0.0)
        both = np.flatnonzero(known_i & known_j)
        for first in range(0, both.size, _PIECE):
            part = both[first : first + _PIECE]
            values[part] += np.einsum("ij,ij->i", self.A[i[part]], self.B[j[part]])
        return self.clipped(values)

    def best_columns(
        self, rows: ArrayLike, count: int = 10, *, without: tuple[ArrayLike, ArrayLike] | None = None
    ) -> tuple[Array, Array, Array]:
        """Return the columns of the largest predictions in each row, such as what to recommend to each user.

        Effects of columns are plain averages: one that was rated once, and well, leads the lists of all rows. With
        ``means="rows"`` what the entries of a column have in common is left to the update, where few weigh little.

        Parameters
        ----------
        rows : array_like of labels, shape (N,)
            Rows of the data.
        count : int
            How many columns of each; fewer where there are no more.
        without : (array_like, array_like), optional
            Row labels and column labels of entries to leave out, such as those that are observed.

        Returns
        -------
        rows, cols, predictions : ndarray
            As many of each, row by row in the order given, the largest first. Predictions that a range cuts off are
            told apart all the same; of equal ones the first column comes first.

        Raises
        ------
        ValueError
            For a label that was not in the data, and ``without`` of two lengths.
        TypeError
            For labels that are no numbers or texts where those of the data are numbers, and so on.
        """
        i, count = label_places(self.row_labels, rows, "rows"), as_integer(count, "count", 1)
        if np.any(i < 0):
            unknown = np.atleast_1d(np.asarray(rows, dtype=object))[np.argmax(i < 0)]
            raise ValueError(
                f"rows: expected labels of the data, got {shown(unknown)}.{_known(self.row_labels, unknown)}"
            )
        left_out = self._places_by_row(without)
        chosen, found, values = [], [], []
        for place in i:
            row = self.mean + self.row_effects[place] + self.col_effects + self.B @ self.A[place]
            row[left_out.get(int(place), [])] = -np.inf
            # All that may be among them, in a twentieth of the time that it takes to sort a row.
            least = np.partition(row, -count)[-count] if count < row.size else -np.inf
            near = np.flatnonzero((row >= least) & (row > -np.inf))
            best = near[np.argsort(-row[near], kind="stable")[:count]]
            chosen.append(np.full(best.size, place))
            found.append(best)
            values.append(row[best])
        i, j, best_values = (np.concatenate(part) if part else np.zeros(0, int) for part in (chosen, found, values))
        return self.row_labels[i], self.col_labels[j], self.clipped(best_values.astype(np.float64))

    def _places_by_row(self, entries: tuple[ArrayLike, ArrayLike] | None) -> dict[int, Array]:
        """Return the columns of entries for each of their rows; those whose labels are unknown are no loss."""
        if entries is None:
            return {}
        # A list of pairs, and a data frame as the names of its columns, would be two arrays of other labels.
        if not isinstance(entries, (tuple, list)) or len(entries) != 2:
            hint = (
                "; of a Ratings r: r.row_labels[r.rows], r.col_labels[r.cols]" if isinstance(entries, Ratings) else ""
            )
            raise TypeError(f"without: expected two arrays (rows, cols), got {shown(entries)}{hint}")
        names = ("without[0]", "without[1]")
        i, j = (label_places(*part) for part in zip((self.row_labels, self.col_labels), entries, names))
        if i.size != j.size:
            raise ValueError(f"without: expected two arrays of one length, got {i.size} and {j.size}")
        known = (i >= 0) & (j >= 0)
        i, j = i[known], j[known]
        order = np.argsort(i, kind="stable")
        places, starts = np.unique(i[order], return_index=True)
        return dict(zip(places.tolist(), np.split(j[order], starts[1:])))

    def knows_rows(self, rows: ArrayLike) -> Array:
        """Return which row labels were in the data."""
        return label_places(self.row_labels, rows, "rows") >= 0

    def knows_cols(self, cols: ArrayLike) -> Array:
        """Return which column labels were in the data."""
        return label_places(self.col_labels, cols, "cols") >= 0

    def fold_in(self, values: ArrayLike) -> tuple[Array, Array]:
        """Return the effects and factors of new rows, by ridge regression on the columns' factors.

        At the optimum of the training data this gives the factors of the training rows back: each row of ``A``
        minimises the problem for the given ``B``.

        Parameters
        ----------
        values : array_like of shape (N, n)
            Entries of the new rows, NaN or masked where not observed.

        Returns
        -------
        ndarray of shape (N,), ndarray of shape (N, k)

        Raises
        ------
        ValueError, TypeError
            For another number of columns, and for entries that are infinite or no real numbers.
        """
        values = as_partial_matrix(values, "values")
        if values.shape[1] != len(self.B):
            raise ValueError(f"values: expected {len(self.B)} columns, as the data had, got {values.shape[1]}")
        seen = [np.flatnonzero(~np.isnan(row)) for row in values]
        return self._folded(seen, [row[cols] for row, cols in zip(values, seen)])

    def with_rows(self, ratings: Ratings) -> CompletionModel:
        """Return the model with rows besides, such as new users, each from its entries as :meth:`fold_in` makes it.

        Nothing is fitted anew: means and columns stay as they are. A row that the model has already is made anew of
        the entries given here alone. Entries of columns that were not in the data tell nothing and are left out.

        Parameters
        ----------
        ratings : Ratings
            Entries of the rows.

        Returns
        -------
        CompletionModel
            Of the other rows of this one and these, for :meth:`predict`, :meth:`best_columns` and :meth:`save`.

        Raises
        ------
        ValueError, TypeError
            For labels of another kind than those of the data, and for what is no ``Ratings``.
        """
        observed, new, cols = as_entries(ratings, "ratings")
        new = labels_like(self.row_labels, new, "ratings.row_labels")
        places = label_places(self.col_labels, cols, "ratings.col_labels")[observed.cols]
        by_row = np.argsort(observed.rows, kind="stable")
        by_row = by_row[places[by_row] >= 0]
        ends = np.searchsorted(observed.rows[by_row], np.arange(1, len(new)))
        effects, A = self._folded(np.split(places[by_row], ends), np.split(observed.values[by_row], ends))
        others = ~np.isin(self.row_labels, new)
        labels = np.concatenate([self.row_labels[others], new])
        order = np.argsort(labels, kind="stable")
        return replace(
            self,
            A=np.concatenate([self.A[others], A])[order],
            row_effects=np.concatenate([self.row_effects[others], effects])[order],
            row_labels=labels[order],
        )

    def _folded(self, cols: Sequence[Array], values: Sequence[Array]) -> tuple[Array, Array]:
        """Return the effects and factors of rows, each given by the places of its entries and their values."""
        effects = np.zeros(len(cols))
        if self.means in ("rows", "both"):
            sums = np.array([np.sum(row - self.mean) for row in values])
            effects = averages(sums, np.array([row.size for row in values]))
        A = np.zeros((len(cols), self.A.shape[1]))
        for i, (seen, row) in enumerate(zip(cols, values)):
            B, rest = self.B[seen], row - self.mean - effects[i] - self.col_effects[seen]
            A[i] = np.linalg.solve(B.T @ B + self.lam * np.eye(B.shape[1]), B.T @ rest)
        return effects, A

    def clipped(self, values: Array) -> Array:
        """Return values moved into the range of predictions."""
        return values if self.clip is None else np.clip(values, *self.clip)

    def save(self, path: PathLike) -> None:
        """Write the model to one ``.npz`` archive of plain arrays, which :meth:`load` reads back."""
        arrays: dict[str, Any] = {
            "kind": np.array(_KIND),
            "A": self.A,
            "B": self.B,
            "mean": np.array(self.mean),
            "row_effects": self.row_effects,
            "col_effects": self.col_effects,
            "row_labels": self.row_labels,
            "col_labels": self.col_labels,
            "lam": np.array(self.lam),
            "means": np.array(self.means),
            "clip": np.array([] if self.clip is None else self.clip, dtype=float),
            "names": np.array(self.names),
        }
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: PathLike) -> CompletionModel:
        """Read a model that :meth:`save` wrote.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not such a model.
        """
        arrays = read_arrays(path, _EXPECTED)
        if str(arrays.get("kind")) != _KIND:
            raise ValueError(f"{path}: holds other arrays; expected {_EXPECTED}")
        try:
            return cls(
                A=arrays["A"],
                B=arrays["B"],
                mean=float(arrays["mean"]),
                row_effects=arrays["row_effects"],
                col_effects=arrays["col_effects"],
                row_labels=arrays["row_labels"],
                col_labels=arrays["col_labels"],
                lam=float(arrays["lam"]),
                means=str(arrays["means"]),
                clip=(float(arrays["clip"][0]), float(arrays["clip"][1])) if arrays["clip"].size else None,
                names=arrays["names"].tolist() if "names" in arrays else UNNAMED,  # older models have none
            )
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(f"{path}: the model is incomplete or damaged ({error})") from error


def _known(labels: Array, unknown: Any) -> str:
    """Say of numbers from where to where they go, of texts which is the nearest."""
    if labels.dtype.kind == "U":
        return did_you_mean(str(unknown), labels.tolist())
    return f" They go from {labels[0]} to {labels[-1]}."
