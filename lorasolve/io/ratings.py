"""Ratings and pairs of labels from text files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from .._support.files import PathLike
from .._support.validate import Array, as_array, as_float_array, as_instance, as_path
from ._doubts import Doubts
from .labels import given_twice, is_integer_label, plain_labels
from .matrix_market import is_matrix_market, read_matrix_market
from .reading import open_text, readable
from .text_tables import DELIMITERS, MISSING, PLAIN, WHOLE_MATRIX, Table, TextFormat, delimiter_of

# What to do about an entry that is given twice.
ONCE = "keep the last, or the mean, of those of one pair"
# What rows and columns are called where the data do not say it.
UNNAMED = ("row", "column")


@dataclass(frozen=True, eq=False)
class Ratings:
    """Observed entries of a matrix.

    Attributes
    ----------
    rows, cols : ndarray of int, shape (N,)
        Positions of the entries.
    values : ndarray of float, shape (N,)
        The entries.
    row_labels, col_labels : ndarray, shapes (m,) and (n,)
        What the file, or who made them, calls the rows and columns, in ascending order.
    skipped : int
        Lines of the file that had no value and were left out.
    repeated : int
        Lines of the file that had a row and column of another one, of which one value was made.
    names : (str, str)
        What the header of the file, or the table, calls rows and columns; ``row`` and ``column`` where nothing does.
    unread : tuple of str
        What the file calls its further columns, such as times and weights, which have no part in the entries; none
        where the columns that are meant were given by name.
    """

    rows: Array
    cols: Array
    values: Array
    row_labels: Array
    col_labels: Array
    skipped: int = 0
    repeated: int = 0
    names: tuple[str, str] = UNNAMED
    unread: tuple[str, ...] = ()

    def __repr__(self) -> str:
        m, n = self.shape
        return f"Ratings({m} x {n}, {len(self.values)} entries)"

    @classmethod
    def from_labels(cls, rows: ArrayLike, cols: ArrayLike, values: ArrayLike) -> Ratings:
        """Return entries from the columns of a table.

        Of a data frame with a rating a line: ``Ratings.from_labels(frame["user"], frame["item"], frame["stars"])``.

        Parameters
        ----------
        rows, cols : array_like of labels, shape (N,)
            What row and column of each entry are called: numbers, texts or dates, of one kind each. Columns of a data
            frame bring their names along.
        values : array_like of float, shape (N,)
            The entries.

        Returns
        -------
        Ratings

        Raises
        ------
        ValueError
            For columns of different lengths or none, labels that are missing or of several kinds, values that are not
            finite, and an entry given twice.
        TypeError
            For labels without an order, and values that are no real numbers.
        """
        called = (_series_name(rows, UNNAMED[0]), _series_name(cols, UNNAMED[1]))
        return replace(labelled(rows, cols, values, ("rows", "cols", "values")), names=called)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return len(self.row_labels), len(self.col_labels)


@dataclass(frozen=True)
class Pairs:
    """Entries that are asked for, by their labels.

    Attributes
    ----------
    rows, cols : list of str
        Row label and column label of each.
    names : (str, str)
        What the header of the file calls rows and columns; ``row`` and ``column`` where it has none.
    """

    rows: list[str]
    cols: list[str]
    names: tuple[str, str]


def labelled(rows: ArrayLike, cols: ArrayLike, values: ArrayLike, names: tuple[str, str, str]) -> Ratings:
    """Return entries with their labels in order; errors call the three columns by ``names``."""
    entries = as_values(values, names[2])
    row_labels, i = np.unique(plain_labels(rows, names[0], "row"), return_inverse=True)
    col_labels, j = np.unique(plain_labels(cols, names[1], "column"), return_inverse=True)
    together = ", ".join(dict.fromkeys(names))
    if not i.size == j.size == entries.size:
        lengths = f"{i.size}, {j.size} and {entries.size}"
        raise ValueError(f"{together}: expected three arrays of one length, got {lengths}")
    i, j = i.ravel(), j.ravel()
    twice = given_twice(i, j) if i.size else None
    if twice is not None:
        row, col = row_labels[i[twice[1]]].item(), col_labels[j[twice[1]]].item()
        raise ValueError(f"{together}: the entry of row {row!r} and column {col!r} is given more than once; {ONCE}")
    return Ratings(i, j, entries, row_labels, col_labels)


def _series_name(column: object, otherwise: str) -> str:
    """Return what a data frame calls a column that was taken out of it."""
    name = getattr(column, "name", None)
    return name if isinstance(name, str) and name else otherwise


def as_values(values: ArrayLike, argument: str) -> Array:
    """Return entries as finite numbers; columns of several types come as objects, and are of the type they hold."""
    array = as_array(values, argument)
    return as_float_array(array.tolist() if array.dtype.kind == "O" else array, argument, 1, np.float64)


def read_ratings(path: PathLike, form: TextFormat = PLAIN) -> Ratings:
    """Read the observed entries of a matrix from a text file.

    ``.csv`` (comma or semicolon) and ``.tsv``, ``.data``, ``.inter`` (tab) files have one entry per line, and any other
    file whose delimiter is given; a further ``.gz`` says that the file is compressed. A first line whose third field is
    no number, and does not begin as one does (``5 stars``), is a header: columns of known names are taken by them,
    otherwise the three there are row label, column label and value, a known name elsewhere is an error, and so is a
    further column, unless first and third have names of row and value. Without a header a fourth field, such as a time,
    is left alone, and a fifth is an error. So are lines without a header that may be the rows of a whole matrix: labels
    are numbers, some as measured ones are (``0.5``) or none twice in its column, all fields are integers and there are
    fewer lines than labels like the values, or all four fields are integers below 1000. So are a field beyond those of
    the first line, a fourth that may be the decimals of the third in every line, a time in place of the value, and a
    first line that may be the names ``0,1,2`` of pandas. Fields may be quoted as in csv, except between tabs, where a
    quote is a character as any other; a label is within one line. With another delimiter than the comma, values may
    have a decimal comma; ``1,234`` beside values without decimals may be thousands, and is an error. Labels are int64
    where all are written as such integers are (``1``, not ``01`` or ``+1``), else texts; some that stand for none, and
    ``1`` beside ``1.0``, are errors. A ``.mtx`` or ``.mtx.gz`` file is in Matrix Market format; its labels are the
    indices written in it, from 1 on, and all entries of a dense one are observed, zeros too.

    Parameters
    ----------
    path : path
        The file.
    form : TextFormat
        How it is written.

    Returns
    -------
    Ratings

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is malformed; the message names the file and the line, of a ``.mtx`` file the row and the column.
    """
    path = as_path(path, "path")
    as_instance(form, "form", TextFormat)
    if is_matrix_market(path):
        given = ", ".join(name for name, value in vars(form).items() if value)
        if given:
            raise ValueError(f"{given}: {path} is in Matrix Market format, which says itself how it is written")
        row_index, col_index, entries, (m, n) = read_matrix_market(path)
        return Ratings(row_index, col_index, entries, np.arange(1, m + 1), np.arange(1, n + 1))
    delimiter = delimiter_of(path, form, [*DELIMITERS, ".mtx"], "ratings file")
    rows: list[str] = []
    cols: list[str] = []
    values: list[float] = []
    lines: list[int] = []
    skipped, doubts = 0, Doubts()
    with readable(path), open_text(path) as file:
        table = Table(path, file, delimiter, form, 3)
        for line, fields in table:
            doubts.add(table, fields)
            if form.skip_missing and table.is_missing(fields):
                skipped += 1
                continue
            row, col = table.labels(fields)
            value = table.number(fields)
            if value is None or not math.isfinite(value) or not (row and col):
                hint = " (--skip-missing or skip_missing leaves such lines out)" if table.is_missing(fields) else ""
                hint = " (--delimiter or delimiter names another separator)" if len(fields) == 1 else hint
                raise ValueError(
                    f"{path}, line {line}: expected row label, column label and a finite number separated by "
                    f"{table.delimiter!r}, got {table.delimiter.join(fields)[:60]!r}{hint}"
                )
            rows.append(row)
            cols.append(col)
            values.append(value)
            lines.append(line)
    if not values:
        raise ValueError(f"{path}: holds no ratings")
    doubts.refuse(path, table, rows, cols, values, lines[0])
    row_labels, row_index = _labels(path, rows)
    col_labels, col_index = _labels(path, cols)
    twice = given_twice(row_index, col_index)
    if twice is not None and form.duplicates is None:
        before, after = twice
        raise ValueError(
            f"{path}, line {lines[after]}: row {rows[after]!r}, column {cols[after]!r} has a value already "
            f"(line {lines[before]}); each entry may occur once: {ONCE} (--duplicates or duplicates does that)"
            f"{'' if table.has_header else WHOLE_MATRIX}"
        )
    entries = np.asarray(values)
    if twice is not None:
        row_index, col_index, entries = _one_of_each(row_index, col_index, entries, form.duplicates == "mean")
    called = (table.names[0], table.names[1])
    repeated = len(values) - len(entries)
    return Ratings(row_index, col_index, entries, row_labels, col_labels, skipped, repeated, called, table.others())


def left_aside(path: PathLike, ratings: Ratings, form: TextFormat) -> tuple[str, ...]:
    """Say what of a file has no part in the ratings that were read from it: columns and lines."""
    told = []
    if ratings.unread:
        told.append(f"columns that play no part: {', '.join(map(repr, ratings.unread))}")
    if ratings.skipped:
        told.append(f"lines without a value, left out: {ratings.skipped}")
    if ratings.repeated:
        told.append(f"lines beside another of their entry: {ratings.repeated}; the {form.duplicates} counts")
    return tuple(f"{path}: {text}" for text in told)


def _one_of_each(rows: Array, cols: Array, values: Array, mean: bool) -> tuple[Array, Array, Array]:
    """Return each entry once, where its last line is: with the value of that, or with the mean of all its lines."""
    codes, backwards = (rows * (cols.max() + 1) + cols)[::-1], values[::-1]
    _, last, place = np.unique(codes, return_index=True, return_inverse=True)
    chosen = backwards[last]
    if mean:
        # From the last value on, so that equal ones have themselves as their mean.
        chosen = chosen + np.bincount(place, backwards - chosen[place]) / np.bincount(place)
    lines = codes.size - 1 - last
    order = np.argsort(lines)
    return rows[lines[order]], cols[lines[order]], chosen[order]


def read_pairs(path: PathLike, form: TextFormat = PLAIN) -> Pairs:
    """Read pairs of labels, row label and column label per line, from a text file of the kinds of ratings.

    A first line with a name that such headers have (``user``, ``movieId``) is one, and says which columns are meant.

    Parameters
    ----------
    path : path
        The file.
    form : TextFormat
        How it is written.

    Returns
    -------
    Pairs

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is malformed; the message names the file and the line.
    """
    path = as_path(path, "path")
    as_instance(form, "form", TextFormat)
    delimiter = delimiter_of(path, form, list(DELIMITERS), "file")
    rows: list[str] = []
    cols: list[str] = []
    with readable(path), open_text(path) as file:
        table = Table(path, file, delimiter, form, 2)
        for line, fields in table:
            row, col = table.labels(fields)
            if not (row and col):
                raise ValueError(
                    f"{path}, line {line}: expected two labels separated by {table.delimiter!r}, got "
                    f"{table.delimiter.join(fields)[:60]!r}"
                )
            rows.append(row)
            cols.append(col)
    if not rows:
        raise ValueError(f"{path}: holds no pairs")
    return Pairs(rows, cols, (table.names[0], table.names[1]))


def _labels(path: PathLike, names: list[str]) -> tuple[Array, Array]:
    """Return the distinct labels in order, int64 if all are written as such integers are, and each entry's index."""
    column: Array
    _refuse_otherwise_written(path, names)
    try:
        integers = all(map(is_integer_label, names))
        column = np.array([int(name) for name in names], dtype=np.int64) if integers else np.array(names)
    except OverflowError:
        column = np.array(names)
    if column.dtype.kind == "U" and int(np.strings.str_len(column).sum()) < sum(map(len, names)):
        wrong = next(name for name in names if name.endswith("\0"))
        raise ValueError(f"{path}: the label {wrong[:60]!r} ends with a zero byte, which NumPy would cut off")
    labels, index = np.unique(column, return_inverse=True)
    return labels, index.ravel()


def _refuse_otherwise_written(path: PathLike, names: list[str]) -> None:
    """Refuse labels that stand for none among integers, and integers that are written in two ways."""
    distinct = set(names)
    integers = set(filter(is_integer_label, distinct))
    others = distinct - integers
    if integers and others and all(name.lower() in MISSING for name in others):
        raise ValueError(
            f"{path}: all labels but {min(others)!r} are integers; leave out the lines of labels that are missing"
        )
    twice = [name for name in others if name.removesuffix(".0") in integers]
    if twice and all(name.endswith(".0") and is_integer_label(name.removesuffix(".0")) for name in others):
        plain = min(twice).removesuffix(".0")
        raise ValueError(f"{path}: one label is written {plain!r} and {min(twice)!r}; expected labels in one form")
