"""One way out for everything that is a table: text, CSV, LaTeX, Markdown, HTML in notebooks, pandas."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from ._support.files import PathLike, text_writer, write_atomically
from ._support.text import for_json
from ._support.validate import as_flag, as_instance, as_iterable, as_path, as_text

if TYPE_CHECKING:
    import pandas

Record = dict[str, Any]

# Bits of an integer that is written out; Python refuses at some point beyond.
LONGEST = 10_000


def plain(value: Any) -> str:
    """Write one value for reading: six digits, ``-`` for what does not exist, yes and no, never ``-0``."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if value else "0"
    if isinstance(value, int) and value.bit_length() > LONGEST:
        return f"{Decimal(value):.6g}"
    return str(value)


class Column(NamedTuple):
    """A column of a table for reading.

    Attributes
    ----------
    key : str
        Of the records.
    heading : str
        As printed.
    write : callable
        Turns a value into text.
    left : bool
        Whether text goes to the left (words) or to the right (numbers).
    latex : str
        The heading in LaTeX, where it has symbols.
    """

    key: str
    heading: str
    write: Callable[[Any], str] = plain
    left: bool = False
    latex: str = ""


class Tabular(ABC):
    """Base of what can be read as a table.

    ``to_csv`` and ``to_pandas`` give every field of every record as it is; the forms for reading give the chosen
    columns, rounded.
    """

    @abstractmethod
    def records(self) -> list[Record]:
        """Return the rows as mappings from field to value, unrounded, all with the same fields."""

    @abstractmethod
    def columns(self) -> Sequence[Column]:
        """Return the columns shown to readers, in order."""

    def cells(self) -> list[list[str]]:
        """Return what readers see, row by row, without the headings."""
        return [[column.write(record[column.key]) for column in self.columns()] for record in self.records()]

    def table(self) -> str:
        """Return what readers see as text."""
        heads, rows, left = self._shown()
        return aligned([heads, *rows], left)

    def to_csv(self, path: PathLike | None = None) -> str:
        """Return all fields as CSV, numbers with all digits; write it to ``path`` too if one is given."""
        records = self.records()
        lines = [csv_line(list(record.values())) for record in records]
        return written("".join([csv_line(list(records[0])), *lines] if records else []), path)

    def to_markdown(self, path: PathLike | None = None) -> str:
        """Return the columns for readers as a Markdown table; write it to ``path`` too if one is given."""
        return markdown_table(*self._shown(), path)

    def to_latex(self, path: PathLike | None = None) -> str:
        r"""Return the columns for readers as a LaTeX tabular with rules of booktabs; write it to ``path`` too.

        The document needs ``\usepackage{booktabs}``.
        """
        _, rows, left = self._shown()
        heads = [column.latex or latex_text(column.heading) for column in self.columns()]
        return latex_tabular(heads, rows, left, path)

    def to_pandas(self) -> pandas.DataFrame:
        """Return all fields as a data frame.

        Raises
        ------
        ImportError
            Where pandas is not installed.
        """
        return data_frame(self.records())

    def _repr_html_(self) -> str:
        """Return the table that notebooks show."""
        return html_table(*self._shown())

    def _shown(self) -> tuple[list[str], list[list[str]], list[bool]]:
        """Return the headings, the cells, and which columns go to the left."""
        columns = self.columns()
        return [column.heading for column in columns], self.cells(), [column.left for column in columns]


def aligned(rows: Sequence[Sequence[str] | str], left: Sequence[bool]) -> str:
    """Return rows of cells as text in columns two blanks apart; a row that is a text stands as it is."""
    left = [as_flag(each, "left") for each in as_iterable(left, "left")]
    rows = [row if isinstance(row, str) else _cells(row, len(left)) for row in as_iterable(rows, "rows")]
    cells = [row for row in rows if not isinstance(row, str)]
    widths = [max((len(row[k]) for row in cells), default=0) for k in range(len(left))]

    def joined(row: Sequence[str]) -> str:
        padded = (cell.ljust(w) if to_left else cell.rjust(w) for cell, w, to_left in zip(row, widths, left))
        return "  ".join(padded).rstrip()

    return "\n".join(row if isinstance(row, str) else joined(row) for row in rows)


def _cells(row: Any, count: int, argument: str = "rows") -> list[str]:
    # A line break within a cell would end its row.
    found = [" ".join(as_text(cell, argument).splitlines()) for cell in as_iterable(row, argument)]
    if len(found) != count:
        raise ValueError(f"{argument}: expected {count} cells, as many as in left, got {len(found)}")
    return found


def _table(heads: Any, rows: Any, left: Any) -> tuple[list[str], list[list[str]], list[bool]]:
    left = [as_flag(each, "left") for each in as_iterable(left, "left")]
    heads = _cells(heads, len(left), "heads")
    return heads, [_cells(row, len(left)) for row in as_iterable(rows, "rows")], left


def latex_tabular(
    heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[bool], path: PathLike | None = None
) -> str:
    """Return cells of text as a LaTeX tabular with rules of booktabs; heads are LaTeX already."""
    heads, rows, left = _table(heads, rows, left)
    lines = [
        rf"\begin{{tabular}}{{{''.join('l' if to_left else 'r' for to_left in left)}}}",
        r"\toprule",
        _latex_row(heads),
        r"\midrule",
        *(_latex_row(map(latex_text, row)) for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return written("\n".join(lines) + "\n", path)


def _latex_row(cells: Iterable[str]) -> str:
    r"""Return cells of LaTeX as a row; what ends the row above would take a bracket or star at its beginning."""
    row = " & ".join(cells) + r" \\"
    return "{}" + row if row.startswith(("[", "*")) else row


def markdown_row(cells: Iterable[str]) -> str:
    """Return cells of text as a row of a Markdown table; bars in them end no cell, and ``<lambda>`` is no tag."""
    texts = [as_text(cell, f"cells[{k}]") for k, cell in enumerate(as_iterable(cells, "cells"))]
    return "| " + " | ".join(_MARKS.sub(r"\g<1>\g<1>\\\2", text) for text in texts) + " |"


def markdown_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[bool], path: PathLike | None = None
) -> str:
    """Return cells of text as a Markdown table."""
    heads, rows, left = _table(heads, rows, left)
    sides = [":--" if to_left else "--:" for to_left in left]
    return written("\n".join(map(markdown_row, (heads, sides, *rows))) + "\n", path)


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[bool]) -> str:
    """Return cells of text as an HTML table."""
    heads, rows, left = _table(heads, rows, left)
    sides = ["left" if to_left else "right" for to_left in left]

    def row(tag: str, cells: Sequence[str]) -> str:
        parts = (f'<{tag} style="text-align:{side}">{html.escape(c)}</{tag}>' for c, side in zip(cells, sides))
        return f"<tr>{''.join(parts)}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    return f"<table><thead>{row('th', heads)}</thead><tbody>{body}</tbody></table>"


def data_frame(records: Iterable[Record]) -> pandas.DataFrame:
    """Return records as a data frame with a column for each field that one of them has.

    Raises
    ------
    ImportError
        Where pandas is not installed.
    """
    rows = [as_instance(record, "records", dict) for record in as_iterable(records, "records")]
    try:
        import pandas
    except ImportError:
        raise ImportError("to_pandas needs pandas: pip install pandas") from None
    return pandas.DataFrame.from_records(rows)


def csv_value(value: Any) -> Any:
    """Return a value as CSV keeps it: empty for None, JSON for lists and mappings."""
    if value is None:
        return ""
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(for_json(value))
    return repr(float(value)) if isinstance(value, float) else value


def csv_line(values: Iterable[Any]) -> str:
    """Return values as a line of CSV; where one holds a line break of any kind it is in quotes."""
    text = io.StringIO(newline="")
    # What stands at the end of lines decides which breaks are put in quotes.
    csv.writer(text, lineterminator="\r\n").writerow(map(csv_value, as_iterable(values, "values")))
    return text.getvalue().removesuffix("\r\n") + "\n"


# A number by itself, not one in a name such as gd:step_size=1e-3.
_NUMBER = re.compile(r"(?<![^\s(])(-?\d+(?:\.\d+)?)e([+-]?\d+)(?![^\s),])")
# In Markdown: a bar, with the backslashes before it, or what begins a tag.
_MARKS = re.compile(r"(\\*)(\||<(?=[A-Za-z/!?]))")
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}


def latex_text(text: str) -> str:
    """Return text for LaTeX: powers of ten as such, special characters escaped."""
    escaped = "".join(_SPECIAL.get(c, c) for c in as_text(text, "text"))
    return _NUMBER.sub(lambda number: rf"${number[1]} \cdot 10^{{{int(number[2])}}}$", escaped)


def written(text: str, path: PathLike | None) -> str:
    """Return a text, and write it to ``path`` whole or not at all if one is given."""
    as_text(text, "text")
    if path is not None:
        write_atomically(as_path(path, "path"), text_writer(text))
    return text
