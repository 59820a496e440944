"""Arguments about completions: observed entries with their labels, ranges and names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.validate import Array, as_array, as_float_array, as_index_array, as_number, as_text, shown
from ..io import Ratings, plain_labels
from ..objectives import MatrixCompletion


def as_entries(ratings: Any, argument: str) -> tuple[MatrixCompletion, Array, Array]:
    """Return the entries of ratings and the labels of their rows and columns, checked."""
    if not isinstance(ratings, Ratings):
        remedy = "Ratings.from_labels(rows, cols, values) of lorasolve.io makes one of the columns of a table"
        raise TypeError(f"{argument}: expected a Ratings, got {shown(ratings)}; {remedy}")
    row_labels = ascending(ratings.row_labels, f"{argument}.row_labels", "row")
    col_labels = ascending(ratings.col_labels, f"{argument}.col_labels", "column")
    shape = len(row_labels), len(col_labels)
    # Before they are centred, by which one that is not finite would spoil all.
    values = as_float_array(ratings.values, f"{argument}.values", 1, np.float64)
    rows = as_index_array(ratings.rows, f"{argument}.rows", shape[0], values.size)
    cols = as_index_array(ratings.cols, f"{argument}.cols", shape[1], values.size)
    return MatrixCompletion(rows, cols, values, shape), row_labels, col_labels


def as_range(given: object) -> tuple[float, float]:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"clip: expected a range (low, high), got {shown(given)}")
    low, high = as_number(given[0], "clip[0]"), as_number(given[1], "clip[1]")
    if low > high:
        raise ValueError(f"clip: expected a range (low, high), got {given!r}")
    return low, high


def as_names(given: object, argument: str) -> tuple[str, str]:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"{argument}: expected the names of rows and columns, two texts, got {shown(given)}")
    return as_text(given[0], argument), as_text(given[1], argument)


def ascending(labels: ArrayLike, name: str, which: str) -> Array:
    """Return labels in a form that can be saved, in ascending order as they are given."""
    given = as_array(labels, name)
    if given.ndim != 1:
        raise ValueError(f"{name}: expected an array of labels, got {shown(labels)}")
    if given.size == 0:
        raise ValueError(f"{name}: is empty")
    labels = plain_labels(labels, name, which)
    wrong = np.flatnonzero(~(labels[1:] > labels[:-1]))
    if wrong.size:
        k = int(wrong[0])
        raise ValueError(
            f"{name}: expected distinct labels in ascending order, got {labels[k].item()!r} before "
            f"{labels[k + 1].item()!r}"
        )
    return labels
