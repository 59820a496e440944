"""Ratings and pairs of labels in text files: which separator, which columns, and what counts as no value."""

from __future__ import annotations

import csv
import math
import os
import pathlib
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO

import numpy as np

from .._support.files import PathLike
from .._support.keywords import suggest
from .._support.validate import Array, as_flag, as_instance, as_iterable, as_matrix_shape, as_path, as_text
from .labels import is_integer_label
from .reading import open_text, readable

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".data": "\t", ".inter": "\t"}
# What headers call the row, the column and the value of an entry, without capitals, spaces, hyphens and underscores.
_NAMES = (
    {"row", "user", "userid", "nutzer", "benutzer", "kunde", "utilisateur", "usuario", "utente"},
    {"col", "column", "item", "itemid", "movie", "movieid", "productid", "artikel", "produkt", "produit", "producto"},
    {"value", "rating", "score", "stars", "bewertung", "note", "puntuación", "valoración", "voto"},
)
# What they call a time, which is no value.
_TIMES = {"timestamp", "time", "datetime", "date", "unixtime", "unixreviewtime", "zeit", "datum", "fecha"}
# Seconds and milliseconds since 1970, from 1990 to 2096.
_SECONDS = (631_152_000, 4_000_000_000)
# The names that pandas gives columns without any, as it writes them.
_NUMBERED = (["0", "1", "2"], ["0", "1", "2", "3"])
# What RecBole's headers say of a column's type, as in ``rating:float``.
_TYPES = (":token", ":token_seq", ":float", ":float_seq")
_MISSING = {"", "na", "n/a", "nan", "null", "none"}
# More fields than row, column, value and a time are not taken by their order alone: they may be a whole matrix.
_MOST_WITHOUT_NAMES = 4
_WHOLE_MATRIX = "; a whole matrix has to be written one entry a line: row label, column label, value"


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
        What the file calls the rows and columns.
    skipped : int
        Lines of the file that had no value and were left out.
    """

    rows: Array
    cols: Array
    values: Array
    row_labels: Array
    col_labels: Array
    skipped: int = 0

    def __repr__(self) -> str:
        m, n = self.shape
        return f"Ratings({m} x {n}, {len(self.values)} entries)"

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


@dataclass(frozen=True)
class TextFormat:
    """How a text file of ratings or pairs is written, where its suffix and its first line do not say it.

    Parameters
    ----------
    delimiter : str, optional
        What separates fields, one character or several; ``"tab"`` is the tabulator. By default a comma in ``.csv``
        files (a semicolon where the first line has those instead) and a tabulator in ``.tsv``, ``.data`` and
        ``.inter`` files.
    columns : sequence of str, optional
        The names in the header of the row labels, the column labels and (of ratings) the values; capitals count where
        names differ in nothing else. By default the names that such files usually have, such as ``userId``,
        ``movieId``, ``rating``; else the first columns.
    skip_missing : bool
        Leave out lines whose value is empty, ``NA``, ``NaN``, ``null`` or ``None``; otherwise they are errors.

    Raises
    ------
    TypeError, ValueError
        For a delimiter or names that cannot be used.
    """

    delimiter: str | None = None
    columns: tuple[str, ...] | None = None
    skip_missing: bool = False

    def __post_init__(self) -> None:
        if self.delimiter is not None:
            given = {"tab": "\t", "\\t": "\t"}.get(as_text(self.delimiter, "delimiter"), self.delimiter)
            if not given or set(given) & set('"\r\n'):
                raise ValueError(f"delimiter: expected characters without quotes and line ends, got {self.delimiter!r}")
            object.__setattr__(self, "delimiter", given)
        if self.columns is not None:
            names = tuple(as_text(name, "columns") for name in as_iterable(self.columns, "columns"))
            object.__setattr__(self, "columns", names)
        as_flag(self.skip_missing, "skip_missing")


PLAIN = TextFormat()


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
    ``1`` beside ``1.0``, are errors. A
    ``.mtx`` file is in Matrix Market format; its labels are the indices written in it, from 1 on, and all entries of a
    dense one are observed, zeros too.

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
    if pathlib.Path(path).suffix.lower() == ".mtx":
        given = ", ".join(name for name, value in vars(form).items() if value)
        if given:
            raise ValueError(f"{given}: {path} is in Matrix Market format, which says itself how it is written")
        return _read_matrix_market(path)
    delimiter = _delimiter(path, form, [*_DELIMITERS, ".mtx"], "ratings file")
    rows: list[str] = []
    cols: list[str] = []
    values: list[float] = []
    lines: list[int] = []
    skipped, apart, alike, marks = 0, True, True, _Marks()
    with readable(path), open_text(path) as file:
        table = _Table(path, file, delimiter, form, 3)
        for line, fields in table:
            apart = apart and table.may_be_taken_apart(fields)
            alike = alike and table.may_be_a_row(fields)
            value = table.number(fields)
            if table.delimiter != ",":
                marks.add(table.text(fields))
            if form.skip_missing and table.is_missing(fields):
                skipped += 1
                continue
            row, col = table.labels(fields)
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
    if apart:
        raise ValueError(
            f"{path}: the third and fourth field of each line, as in {','.join(fields)!r}, may be one number with a "
            f"decimal comma; expected another separator if they are, and a header if not{_WHOLE_MATRIX}"
        )
    ambiguous = marks.ambiguous(table.delimiter)
    if ambiguous is not None:
        raise ValueError(
            f"{path}: values such as {ambiguous!r}, beside others without decimals, may be thousands or have three "
            "decimals; expected no thousands separators, and decimals in all values if in some"
        )
    if not table.has_header and rows[0] == "0" and rows.count("0") == 1 < len(rows) and table.begins_with(_NUMBERED):
        raise ValueError(
            f"{path}, line {lines[0]}: may be an entry or the names that pandas gives columns without any; expected a "
            "header with names of columns, or none"
        )
    if not table.has_header and all(map(_may_be_a_time, values)):
        raise ValueError(
            f"{path}: the third field of each line, as in {table.delimiter.join(fields)!r}, may be a time; expected "
            "values, such as counts, and a header if they are"
        )
    if not table.has_header and (alike or _may_be_a_matrix(rows, cols, values)):
        header = table.delimiter.join(("row", "column", "value"))
        raise ValueError(
            f"{path}: lines such as {table.delimiter.join(fields)!r} may be entries (row label, column label, value) "
            f"or the rows of a whole matrix; expected a header, as in {header!r}, if they are entries{_WHOLE_MATRIX}"
        )
    row_labels, row_index = _labels(path, rows)
    col_labels, col_index = _labels(path, cols)
    twice = given_twice(row_index, col_index)
    if twice is not None:
        before, after = twice
        raise ValueError(
            f"{path}, line {lines[after]}: row {rows[after]!r}, column {cols[after]!r} has a value already "
            f"(line {lines[before]}); each entry may occur once: keep the last, or the mean, of those of one pair"
            f"{'' if table.has_header else _WHOLE_MATRIX}"
        )
    return Ratings(row_index, col_index, np.asarray(values), row_labels, col_labels, skipped)


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
    delimiter = _delimiter(path, form, list(_DELIMITERS), "file")
    rows: list[str] = []
    cols: list[str] = []
    with readable(path), open_text(path) as file:
        table = _Table(path, file, delimiter, form, 2)
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


def _delimiter(path: PathLike, form: TextFormat, known: list[str], kind: str) -> str | None:
    """Return the delimiter, None for a ``.csv`` file, whose first line says it."""
    name = pathlib.PurePath(str(path).lower())
    packed = ".gz" if name.suffix == ".gz" else ""
    suffix = name.with_suffix("").suffix if packed else name.suffix
    if form.delimiter is None and suffix not in _DELIMITERS:
        raise ValueError(
            f"{path}: unknown kind of {kind} {suffix + packed!r}; accepted: {', '.join(sorted(known))}, .csv.gz and "
            "the like, or any text file with a delimiter (delimiter, or --delimiter)"
        )
    return form.delimiter or (None if suffix == ".csv" else _DELIMITERS[suffix])


class _Table:
    """The lines of a text file as numbered fields, blank ones and a header left out.

    ``places`` are the columns that are meant, ``names`` what they are called, ``has_header`` whether the file says so;
    these and ``delimiter`` are known once the first line is read.
    """

    def __init__(self, path: PathLike, file: IO[str], delimiter: str | None, form: TextFormat, count: int) -> None:
        self.path = path
        self.form = form
        self.places = tuple(range(count))
        self.names = ("row", "column", "value")[:count]
        self.has_header = False
        self._first: list[str] = []
        self._before, first = next(((k, line) for k, line in enumerate(file) if line.strip()), (0, ""))
        if delimiter is None:
            semicolons = first.count(";") >= count - 1 and "," not in first.partition(";")[0]
            delimiter = ";" if semicolons else ","
        self.delimiter = delimiter
        self._lines = chain([first], file)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        is_first, width = True, 0
        for number, fields in self._fields():
            if not any(field.strip() for field in fields):
                continue
            width = len(fields) if is_first else width
            if any(field.strip() for field in fields[width:]):
                # Of "3,5" for three and a half the value would be 3.
                raise ValueError(
                    f"{self.path}, line {number}: has {len(fields)} fields, and the first line {width}; a "
                    f"{self.delimiter!r} within a field takes it apart"
                )
            self._first = fields if is_first else self._first
            if is_first and self._is_header(fields):
                self.has_header = True
                self.places = self._named(fields)
                self.names = tuple(fields[place].strip() for place in self.places)
            else:
                if is_first:
                    self._refuse_a_matrix(number, fields)
                yield number, fields
            is_first = False

    def _refuse_a_matrix(self, number: int, fields: list[str]) -> None:
        """Refuse a first line of entries that seems to be one of a whole matrix."""
        count = sum(bool(field.strip()) for field in fields)
        if count > _MOST_WITHOUT_NAMES:
            raise ValueError(
                f"{self.path}, line {number}: has {count} fields, and no header says which are meant; expected "
                f"at most {_MOST_WITHOUT_NAMES}, or a header and the names in it (columns, or --columns){_WHOLE_MATRIX}"
            )
        if len(fields) > 2 and _plain(fields)[0] in _NAMES[0]:
            raise ValueError(
                f"{self.path}, line {number}: begins with {fields[0].strip()!r} as a header does, but its third field "
                "is no name, as in a whole matrix; expected row label, column label and value in each line"
            )

    def _fields(self) -> Iterator[tuple[int, list[str]]]:
        if len(self.delimiter) == 1 and self.delimiter != "\t":
            yield from self._quoted_fields()
        else:
            for number, line in enumerate(self._lines, self._before + 1):
                yield number, line.rstrip("\r\n").split(self.delimiter)

    def _quoted_fields(self) -> Iterator[tuple[int, list[str]]]:
        """Yield fields as csv has them; a stray quote is an error, not a label of many lines."""
        reader = csv.reader(self._lines, delimiter=self.delimiter, strict=True)
        number = self._before + 1
        try:
            for fields in reader:
                if self._before + reader.line_num > number:
                    for label in (fields[place] for place in self.places[:2] if place < len(fields)):
                        if "\n" in label or "\r" in label:
                            raise ValueError(
                                f"{self.path}, line {number}: expected a label in one line, got {label[:60]!r}; "
                                "a quote that belongs to a label is written twice, in a quoted field"
                            )
                yield number, fields
                number = self._before + reader.line_num + 1
        except csv.Error as error:
            raise ValueError(
                f"{self.path}, line {number}: cannot be split into fields ({error}); a quote that belongs to a label "
                "is written twice, in a quoted field"
            ) from error

    def _is_header(self, fields: list[str]) -> bool:
        if self.form.columns is not None:
            return True
        if len(self.places) == 2:
            return any(name in names for name in _plain(fields) for names in _NAMES[:2])
        if len(fields) < 3 or self.number(fields) is not None or self.is_missing(fields):
            return False
        # A value that cannot be read is an error in the first line as in others, no name.
        return not fields[2].lstrip(" +-.")[:1].isdigit()

    def _named(self, fields: list[str]) -> tuple[int, ...]:
        """Return the places of the wanted columns in a header."""
        header = _plain(fields)
        if self.form.columns is None:
            found = [[k for k, name in enumerate(header) if name in names] for names in _NAMES[: len(self.places)]]
            if all(len(places) == 1 for places in found):
                return tuple(places[0] for places in found)
            elsewhere = [place for k, places in enumerate(found) for place in places if place != k]
            if elsewhere:
                name = fields[elsewhere[0]].strip()
                raise ValueError(
                    f"{self.path}, line 1: {name!r} is column {elsewhere[0] + 1}, and other names of the header do not "
                    "say which columns are meant; name all (columns, or --columns)"
                )
            if not all(header[: len(self.places)]):
                raise ValueError(
                    f"{self.path}, line 1: column {header.index('') + 1} has no name, as the numbers of lines have "
                    "that other programs write; name those that are meant (columns, or --columns)"
                )
            # What stands between a user and a rating is what was rated, whatever it is called.
            between = header[0] in _NAMES[0] and header[2:] and header[2] in _NAMES[2]
            if sum(map(bool, header)) > len(_NAMES) and not between:
                raise ValueError(
                    f"{self.path}, line 1: has {len(header)} columns, and their names do not say which are meant; name "
                    f"those (columns, or --columns){_WHOLE_MATRIX}"
                )
            self._refuse_a_time(header, fields)
            return self.places
        if len(self.form.columns) != len(self.places):
            raise ValueError(f"columns: expected {len(self.places)} names, got {len(self.form.columns)}")
        exact = [field.strip() for field in fields]
        places = tuple(self._place(name, exact, header) for name in self.form.columns)
        if len(set(places)) < len(places):
            raise ValueError(f"columns: expected {len(places)} different columns, got {', '.join(self.form.columns)}")
        return places

    def _refuse_a_time(self, header: list[str], fields: list[str]) -> None:
        """Refuse the time of an event in the place of a value."""
        if len(self.places) > 2 and header[2:] and header[2] in _TIMES:
            raise ValueError(
                f"{self.path}, line 1: {fields[2].strip()!r} seems to be a time, and no name says which column has the "
                "values, such as counts; name the columns (columns, or --columns)"
            )

    def _place(self, given: str, exact: list[str], plain: list[str]) -> int:
        """Return the place of one column: that of exactly this name, else the one of this name in small letters."""
        places = [k for k, name in enumerate(exact) if name == given]
        if not places:
            (name,) = _plain([given])
            places = [k for k, other in enumerate(plain) if other == name]
        if not places:
            raise ValueError(f"{self.path}, line 1: has no column {given!r}.{suggest(given, exact)}")
        if len(places) > 1:
            found = ", ".join(repr(exact[k]) for k in places)
            raise ValueError(f"{self.path}, line 1: more than one column is called {given!r}: {found}")
        return places[0]

    def labels(self, fields: list[str]) -> tuple[str, str]:
        """Return the labels of an entry, empty where there is none."""
        row, col = (fields[place].strip() if place < len(fields) else "" for place in self.places[:2])
        return row, col

    def number(self, fields: list[str]) -> float | None:
        """Return the value of an entry, or None if it is none."""
        try:
            text = self.text(fields)
            if self.delimiter != "," and re.fullmatch(r"[+-]?\d+,\d+", text):
                text = text.replace(",", ".")
            return None if "_" in text else float(text)
        except ValueError:
            return None

    def text(self, fields: list[str]) -> str:
        """Return the value of an entry as it is written, empty where there is none."""
        place = self.places[2]
        return fields[place].strip() if place < len(fields) else ""

    def begins_with(self, lines: Iterable[list[str]]) -> bool:
        """Return whether the first line is one of several."""
        return [field.strip() for field in self._first] in lines

    def may_be_taken_apart(self, fields: list[str]) -> bool:
        """Return whether commas that separate fields may have separated a value from its decimals."""
        if self.has_header or self.delimiter != "," or len(fields) != 4:
            return False
        whole, decimals = map(str.strip, fields[2:])
        return re.fullmatch("[+-]?[0-9]+", whole) is not None and re.fullmatch("[0-9]{1,3}", decimals) is not None

    def may_be_a_row(self, fields: list[str]) -> bool:
        """Return whether four fields are all small integers: labels, a value and no time, or a row of a matrix."""
        return len(fields) == 4 and all(re.fullmatch("[0-9]{1,3}", field.strip()) for field in fields)

    def is_missing(self, fields: list[str]) -> bool:
        """Return whether the place of the value says that there is none."""
        return len(fields) > max(self.places) and fields[self.places[2]].strip().lower() in _MISSING


class _Marks:
    """Commas and points in values: whether they may separate thousands."""

    def __init__(self) -> None:
        self._thousands: dict[str, str] = {}
        self._decimals: set[str] = set()
        self._has_others: dict[str, bool] = {",": False, ".": False}

    def add(self, text: str) -> None:
        """Note how a value is written."""
        for mark in (",", "."):
            if mark not in text:
                self._has_others[mark] |= bool(text)
            elif re.fullmatch(rf"[+-]?[1-9][0-9]{{0,2}}\{mark}[0-9]{{3}}", text):
                self._thousands.setdefault(mark, text)
            else:
                self._decimals.add(mark)

    def ambiguous(self, delimiter: str) -> str | None:
        """Return a value of which nobody can say whether it is a thousand times as large; None if there is none.

        A point separates thousands where the comma is for decimals, as in files with semicolons.
        """
        marks = (",", ".") if delimiter == ";" else (",",)
        unclear = (mark for mark in marks if mark not in self._decimals and self._has_others[mark])
        return next((self._thousands[mark] for mark in unclear if mark in self._thousands), None)


def _may_be_a_time(value: float) -> bool:
    """Return whether a value may be the seconds or milliseconds since 1970 of a date from 1990 on."""
    low, high = _SECONDS
    return value.is_integer() and (low <= value <= high or low <= value / 1000 <= high)


def _may_be_a_matrix(rows: list[str], cols: list[str], values: list[float]) -> bool:
    """Return whether labels are all numbers, and some as measured ones are or none twice in its column.

    Or too many of them for what a low-rank matrix could be told of, and of the size of the values.
    """
    try:
        numbers = [float(label) for label in {*rows, *cols}]
    except ValueError:
        return False
    # Programs that know numbers of one kind only write 2.0 for the label 2.
    measured = not all(number.is_integer() for number in numbers)
    return measured or 1 < len(rows) == len(set(rows)) == len(set(cols)) or _may_be_grades(rows, cols, values)


def _may_be_grades(rows: list[str], cols: list[str], values: list[float]) -> bool:
    """Return whether integers may be the rows of a matrix: few lines for so many labels, which are like the values."""
    columns = [{float(label) for label in labels} for labels in (rows, cols)]
    numbered = all(max(labels) - min(labels) < len(labels) and min(labels) in (0.0, 1.0) for labels in columns)
    few = len(rows) < sum(map(len, columns))
    low, high = min(values), max(values)
    alike = all(2 * sum(low <= label <= high for label in labels) >= len(labels) for labels in columns)
    return few and alike and not numbered and all(value.is_integer() for value in values)


def _plain(names: Iterable[str]) -> list[str]:
    """Return names in small letters, without types as in ``rating:float``, spaces, hyphens and underscores."""
    # Between tabs quotes are characters as any other, but no part of a name.
    plain = (name.strip().strip('"').lower() for name in names)
    untyped = (name.rpartition(":")[0] if name.endswith(_TYPES) else name for name in plain)
    return [re.sub("[ _-]", "", name) for name in untyped]


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
    others = [name for name in distinct if not is_integer_label(name)]
    if 0 < len(others) < len(distinct) and all(name.lower() in _MISSING for name in others):
        raise ValueError(
            f"{path}: all labels but {min(others)!r} are integers; leave out the lines of labels that are missing"
        )
    twice = [name for name in others if name.endswith(".0") and name.removesuffix(".0") in distinct]
    if twice:
        plain = min(twice).removesuffix(".0")
        raise ValueError(f"{path}: one label is written {plain!r} and {min(twice)!r}; expected labels in one form")


def given_twice(rows: Array, cols: Array) -> tuple[int, int] | None:
    """Return where a pair of indices stands first and where again, None if all are distinct."""
    codes = rows * (cols.max() + 1) + cols
    order = np.argsort(codes, kind="stable")
    repeated = np.flatnonzero(np.diff(codes[order]) == 0)
    return (int(order[repeated[0]]), int(order[repeated[0] + 1])) if repeated.size else None


def _read_matrix_market(path: PathLike) -> Ratings:
    from scipy.io import mminfo, mmread
    from scipy.sparse import coo_array

    with readable(path):
        m, n, count, kind, field, _ = mminfo(path)
        as_matrix_shape((m, n), "size")
        if field not in ("real", "integer"):
            raise ValueError(f"expected real or integer entries, got {field!r}")
        # An entry takes two characters at least.
        if 2 * count > os.path.getsize(path) + 2:
            raise ValueError(f"declares {count} entries, more than the file can hold")
        with warnings.catch_warnings():
            # SciPy announces another sparse type as its default; either is turned into the same one here.
            warnings.simplefilter("ignore", DeprecationWarning)
            matrix = mmread(path)
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
    return Ratings(rows, cols, values, np.arange(1, m + 1), np.arange(1, n + 1))
