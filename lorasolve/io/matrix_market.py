"""Entries in files of the Matrix Market format."""

from __future__ import annotations

import contextlib
import gzip
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._support.files import PathLike
from .._support.validate import Array, as_matrix_shape
from .labels import given_twice
from .reading import check_emptiness, readable, what_else

# Bytes that a byte of a compressed file may stand for, at most.
DEFLATED = 1032


def is_matrix_market(path: PathLike) -> bool:
    """Return whether a file is in Matrix Market format by its name, compressed or not."""
    return str(path).lower().endswith((".mtx", ".mtx.gz"))


def _is_compressed(path: PathLike) -> bool:
    return str(path).lower().endswith(".gz")


@contextlib.contextmanager
def _source(path: PathLike) -> Iterator[Any]:
    """Yield what SciPy reads, which knows a compressed file by small letters only."""
    if _is_compressed(path):
        with gzip.open(path, "rb") as file:
            yield file
        return
    told = what_else(path)
    if told is not None:
        raise ValueError(told)
    yield path


def read_matrix_market(path: PathLike) -> tuple[Array, Array, Array, tuple[int, int]]:
    """Return rows, columns and values of the entries, and the shape."""
    from scipy.io import mminfo, mmread
    from scipy.sparse import coo_array

    with readable(path):
        with _source(path) as source:
            m, n, count, kind, field, _ = mminfo(source)
        as_matrix_shape((m, n), "size")
        if field not in ("real", "integer"):
            raise ValueError(f"expected real or integer entries, got {field!r}")
        # An entry takes two characters at least, of which a compressed file holds at most so many in each byte.
        most = DEFLATED if _is_compressed(path) else 1
        if 2 * count > most * os.path.getsize(path) + 2:
            raise ValueError(f"declares {count} entries, more than the file can hold")
        # One of a symmetric file is in two rows and two columns.
        check_emptiness(m, n, count, most_places=4)
        with warnings.catch_warnings(), _source(path) as source:
            # SciPy announces another sparse type as its default; either is turned into the same one here.
            warnings.simplefilter("ignore", DeprecationWarning)
            matrix = mmread(source)
    if kind == "array":
        rows, cols = np.divmod(np.arange(m * n), n)
        values = np.asarray(matrix, dtype=np.float64).ravel()
    else:
        matrix = coo_array(matrix)
        rows, cols = (index.astype(np.int64) for index in matrix.coords)
        values = matrix.data.astype(np.float64)
    if not values.size:
        raise ValueError(f"{path}: holds no entries")
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        k = wrong[0]
        raise ValueError(f"{path}: row {rows[k] + 1}, column {cols[k] + 1}: expected a finite number, got {values[k]}")
    twice = given_twice(rows, cols)
    if twice is not None:
        k = twice[1]
        raise ValueError(
            f"{path}: row {rows[k] + 1}, column {cols[k] + 1} has more than one value; each entry may occur once"
        )
    return rows, cols, values, (m, n)
