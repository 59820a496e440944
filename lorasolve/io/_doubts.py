"""What the lines of a file of ratings may be other than entries, told by all of them together."""

from __future__ import annotations

import re

from .._support.files import PathLike
from .text_tables import WHOLE_MATRIX, Table

# Seconds and milliseconds since 1970, from 1990 to 2096.
_SECONDS = (631_152_000, 4_000_000_000)
# The names that pandas gives columns without any, as it writes them.
_NUMBERED = (["0", "1", "2"], ["0", "1", "2", "3"])


class Doubts:
    """Whether what is read as entries may be something else.

    ``add`` is given the fields of each line, ``refuse`` all entries at the end.
    """

    def __init__(self) -> None:
        self._may_be_taken_apart = self._may_be_rows = True
        self._marks = _Marks()
        self._last: list[str] = []

    def add(self, table: Table, fields: list[str]) -> None:
        """Note a line."""
        self._may_be_taken_apart = self._may_be_taken_apart and _may_be_taken_apart(table, fields)
        self._may_be_rows = self._may_be_rows and _may_be_a_row(fields)
        if table.delimiter != "," and not table.is_missing(fields):
            self._marks.add(table.text(fields))
        self._last = fields

    def refuse(
        self, path: PathLike, table: Table, rows: list[str], cols: list[str], values: list[float], first: int
    ) -> None:
        """Refuse a file whose lines nobody can tell apart from others; ``first`` is the number of the first entry's."""
        if self._may_be_taken_apart:
            raise ValueError(
                f"{path}: the third and fourth field of each line, as in {','.join(self._last)!r}, may be one number "
                f"with a decimal comma; expected another separator if they are, and a header if not{WHOLE_MATRIX}"
            )
        ambiguous = self._marks.ambiguous(table.delimiter)
        if ambiguous is not None:
            raise ValueError(
                f"{path}: values such as {ambiguous!r}, beside others without decimals, may be thousands or have three "
                "decimals; expected no thousands separators, and decimals in all values if in some"
            )
        if table.has_header:
            return
        if rows[0] == "0" and rows.count("0") == 1 < len(rows) and table.begins_with(_NUMBERED):
            raise ValueError(
                f"{path}, line {first}: may be an entry or the names that pandas gives columns without any; expected a "
                "header with names of columns, or none"
            )
        line = table.delimiter.join(self._last)
        if all(map(_may_be_a_time, values)):
            raise ValueError(
                f"{path}: the third field of each line, as in {line!r}, may be a time; expected values, such as "
                "counts, and a header if they are"
            )
        if self._may_be_rows or _may_be_a_matrix(rows, cols, values):
            header = table.delimiter.join(("row", "column", "value"))
            raise ValueError(
                f"{path}: lines such as {line!r} may be entries (row label, column label, value) or the rows of a "
                f"whole matrix; expected a header, as in {header!r}, if they are entries{WHOLE_MATRIX}"
            )


def _may_be_taken_apart(table: Table, fields: list[str]) -> bool:
    """Return whether commas that separate fields may have separated a value from its decimals."""
    if table.has_header or table.delimiter != "," or len(fields) != 4:
        return False
    whole, decimals = map(str.strip, fields[2:])
    return re.fullmatch("[+-]?[0-9]+", whole) is not None and re.fullmatch("[0-9]{1,3}", decimals) is not None


def _may_be_a_row(fields: list[str]) -> bool:
    """Return whether four fields are all small integers: labels, a value and no time, or a row of a matrix."""
    return len(fields) == 4 and all(re.fullmatch("[0-9]{1,3}", field.strip()) for field in fields)


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
