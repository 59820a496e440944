"""Text files as numbered fields: which separator, which columns, and what counts as no value."""

from __future__ import annotations

import csv
import pathlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO

from .._support.files import PathLike
from .._support.keywords import suggest
from .._support.validate import as_choice, as_flag, as_iterable, as_text
from .reading import what_else

DELIMITERS = {".csv": ",", ".tsv": "\t", ".data": "\t", ".inter": "\t"}
# What headers call the row, the column and the value of an entry, without capitals, spaces, hyphens and underscores.
_NAMES = (
    {"row", "user", "userid", "nutzer", "benutzer", "kunde", "utilisateur", "usuario", "utente"},
    {"col", "column", "item", "itemid", "movie", "movieid", "productid", "artikel", "produkt", "produit", "producto"},
    {"value", "rating", "score", "stars", "bewertung", "note", "puntuación", "valoración", "voto"},
)
# What they call a time, which is no value.
_TIMES = {"timestamp", "time", "datetime", "date", "unixtime", "unixreviewtime", "zeit", "datum", "fecha"}
# What RecBole's headers say of a column's type, as in ``rating:float``.
_TYPES = (":token", ":token_seq", ":float", ":float_seq")
# What may count of several lines of one entry.
DUPLICATES = ("last", "mean")
MISSING = {"", "na", "n/a", "nan", "null", "none"}
# More fields than row, column, value and a time are not taken by their order alone: they may be a whole matrix.
_MOST_WITHOUT_NAMES = 4
# Names of a header that an error lists.
_MOST_SHOWN = 10
WHOLE_MATRIX = "; a whole matrix has to be written one entry a line: row label, column label, value"


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
    duplicates : {"last", "mean"}, optional
        What counts of lines of one row and column: the value of the last of them in the file, or the mean of all. By
        default a second one is an error.

    Raises
    ------
    TypeError, ValueError
        For a delimiter or names that cannot be used.
    """

    delimiter: str | None = None
    columns: tuple[str, ...] | None = None
    skip_missing: bool = False
    duplicates: str | None = None

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
        as_choice(self.duplicates, "duplicates", (*DUPLICATES, None))


PLAIN = TextFormat()


def delimiter_of(path: PathLike, form: TextFormat, known: list[str], kind: str) -> str | None:
    """Return the delimiter, None for a ``.csv`` file, whose first line says it."""
    name = pathlib.PurePath(str(path).lower())
    packed = ".gz" if name.suffix == ".gz" else ""
    suffix = name.with_suffix("").suffix if packed else name.suffix
    if form.delimiter is None and suffix not in DELIMITERS:
        unknown = (
            f"unknown kind of {kind} {suffix + packed!r}; accepted: {', '.join(sorted(known))}, .csv.gz and "
            "the like, or any text file with a delimiter (delimiter, or --delimiter)"
        )
        raise ValueError(f"{path}: {what_else(path) or unknown}")
    return form.delimiter or (None if suffix == ".csv" else DELIMITERS[suffix])


class Table:
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
        # Blank lines may stand before it.
        self._first_line = f"{path}, line {self._before + 1}"

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
                f"at most {_MOST_WITHOUT_NAMES}, or a header and the names in it (columns, or --columns){WHOLE_MATRIX}"
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
                    f"{self._first_line}: {name!r} is column {elsewhere[0] + 1}, and other names of the header do not "
                    "say which columns are meant; name all (columns, or --columns)"
                )
            if not all(header[: len(self.places)]):
                raise ValueError(
                    f"{self._first_line}: column {header.index('') + 1} has no name, as the numbers of lines have "
                    "that other programs write; name those that are meant (columns, or --columns)"
                )
            # What stands between a user and a rating is what was rated, whatever it is called.
            between = header[0] in _NAMES[0] and header[2:] and header[2] in _NAMES[2]
            if sum(map(bool, header)) > len(_NAMES) and not between:
                raise ValueError(
                    f"{self._first_line}: has {len(header)} columns, and their names do not say which are meant: "
                    f"{_some(fields)}; name those (columns, or --columns){WHOLE_MATRIX}"
                )
            self._refuse_a_time(header, fields)
            return self.places
        if len(self.form.columns) != len(self.places):
            raise ValueError(f"columns: expected {len(self.places)} names, got {len(self.form.columns)}")
        exact = [field.strip() for field in fields]
        places = tuple(self._place(name, exact, header) for name in self.form.columns)
        if len(set(places)) < len(places):
            raise ValueError(
                f"{self._first_line}: expected {len(places)} different columns (columns, or --columns), got "
                f"{', '.join(self.form.columns)}"
            )
        return places

    def _refuse_a_time(self, header: list[str], fields: list[str]) -> None:
        """Refuse the time of an event in the place of a value."""
        if len(self.places) > 2 and header[2:] and header[2] in _TIMES:
            raise ValueError(
                f"{self._first_line}: {fields[2].strip()!r} seems to be a time, and no name says which column has the "
                "values, such as counts; name the columns (columns, or --columns)"
            )

    def _place(self, given: str, exact: list[str], plain: list[str]) -> int:
        """Return the place of one column: that of exactly this name, else the one of this name in small letters."""
        places = [k for k, name in enumerate(exact) if name == given]
        if not places:
            (name,) = _plain([given])
            places = [k for k, other in enumerate(plain) if other == name]
        if not places:
            raise ValueError(
                f"{self._first_line}: has no column {given!r} (columns, or --columns).{suggest(given, exact)}"
            )
        if len(places) > 1:
            found = ", ".join(repr(exact[k]) for k in places)
            raise ValueError(f"{self._first_line}: more than one column is called {given!r}: {found}")
        return places[0]

    def others(self) -> tuple[str, ...]:
        """Return what the other columns are called, none where the caller has chosen by name."""
        if self.form.columns is not None:
            return ()
        names = (field.strip() for field in self._first)
        others = [(k, name) for k, name in enumerate(names) if name and k not in self.places]
        return tuple(name if self.has_header else f"column {k + 1}" for k, name in others)

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

    def is_missing(self, fields: list[str]) -> bool:
        """Return whether the place of the value says that there is none."""
        return len(fields) > max(self.places) and fields[self.places[2]].strip().lower() in MISSING


def _some(names: list[str]) -> str:
    """Return names as a list in an error: those of a whole matrix may be thousands."""
    shown = ", ".join(repr(name.strip()[:40]) for name in names[:_MOST_SHOWN])
    return shown if len(names) <= _MOST_SHOWN else f"{shown} and {len(names) - _MOST_SHOWN} others"


def _plain(names: Iterable[str]) -> list[str]:
    """Return names in small letters, without types as in ``rating:float``, spaces, hyphens and underscores."""
    # Between tabs quotes are characters as any other, but no part of a name.
    plain = (name.strip().strip('"').lower() for name in names)
    untyped = (name.rpartition(":")[0] if name.endswith(_TYPES) else name for name in plain)
    return [re.sub("[ _-]", "", name) for name in untyped]
