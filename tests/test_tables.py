"""Tables as CSV, LaTeX, Markdown, HTML and pandas: each form is read back by a reader of its own."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import os
import re

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.tables import (
    Column,
    Tabular,
    aligned,
    csv_line,
    html_table,
    latex_tabular,
    markdown_table,
    plain,
    written,
)


class Odd(Tabular):
    """Every kind of value, and text that is special in every format."""

    def records(self):
        return [
            {"name": "a|b_c & 10% <i>", "value": 1.0 / 3.0, "flag": True, "list": [1, 2], "none": None},
            {"name": "line", "value": -0.0, "flag": False, "list": [], "none": None},
        ]

    def columns(self):
        return [
            Column("name", "name_1", left=True),
            Column("value", "v", latex=r"$\lambda$"),
            Column("flag", "f"),
            Column("none", "n"),
        ]


@pytest.fixture(scope="module")
def comparison():
    problem = ls.Problem(ls.objectives.Denoising(np.diag([3.0, 2.0, 0.1])), 2, 0.5)
    return ls.compare(problem, ["gd", "lbfgs", "adamw"])


@pytest.fixture(scope="module")
def batch():
    problem = ls.Problem(ls.objectives.Denoising(np.diag([3.0, 2.0, 0.1])), 2, 0.5)
    return ls.solve_batch([problem.replace(lam=lam) for lam in (0.1, 0.5)], "gd:step_size=0.1")


def test_csv_keeps_every_digit(comparison, batch) -> None:
    for table in (comparison, batch, Odd()):
        rows = list(csv.DictReader(io.StringIO(table.to_csv())))
        assert len(rows) == len(table.records())
        for row, record in zip(rows, table.records()):
            assert list(row) == list(record)
            for key, value in record.items():
                if isinstance(value, float):
                    assert float(row[key]) == value
    assert [row["none"] for row in csv.DictReader(io.StringIO(Odd().to_csv()))] == ["", ""]


class Cells(html.parser.HTMLParser):
    """Collects the text of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.inside = False

    def handle_starttag(self, tag, attrs) -> None:
        assert tag in ("table", "thead", "tbody", "tr", "th", "td")
        self.inside = tag in ("th", "td")
        if self.inside:
            self.cells.append("")

    def handle_endtag(self, tag) -> None:
        self.inside = False

    def handle_data(self, data) -> None:
        if self.inside:
            self.cells[-1] += data


def test_html_shows_the_same_cells(comparison, batch) -> None:
    for table in (comparison, batch, Odd()):
        reader = Cells()
        reader.feed(table._repr_html_())
        expected = [column.heading for column in table.columns()] + [cell for row in table.cells() for cell in row]
        assert reader.cells == expected


def test_markdown_has_a_cell_for_each_column(comparison, batch) -> None:
    for table in (comparison, batch, Odd()):
        lines = table.to_markdown().splitlines()
        assert len(lines) == 2 + len(table.records())
        assert {line.replace("\\|", "").count("|") for line in lines} == {len(table.columns()) + 1}


def test_latex_escapes_and_balances(comparison, batch) -> None:
    for table in (comparison, batch, Odd()):
        text = table.to_latex()
        body = [line for line in text.splitlines() if line.endswith(r" \\")]
        assert len(body) == 1 + len(table.records())
        assert {line.replace(r"\&", "").count("&") for line in body} == {len(table.columns()) - 1}
        for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
            assert text.count(rule) == 1
    assert r"a\textbar{}b\_c \& 10\% \textless{}i\textgreater{}" in Odd().to_latex()
    # The heading for LaTeX where there is one, else the text, escaped.
    assert r"name\_1 & $\lambda$ & f & n \\" in Odd().to_latex()
    assert r"$1.0 \cdot 10^{-16}$" in _one("1.0e-16").to_latex()
    several = r"$5.7 \cdot 10^{-17}$ ($-1.9 \cdot 10^{-17}$ to $2 \cdot 10^{5}$) \\"
    assert several in _one("5.7e-17 (-1.9e-17 to 2e+05)").to_latex()
    assert r"gd:step\_size=1e-3 \\" in _one("gd:step_size=1e-3").to_latex()


def _one(cell):
    class One(Tabular):
        def records(self):
            return [{"x": cell}]

        def columns(self):
            return [Column("x", "x")]

    return One()


def test_written_files_hold_what_is_returned(tmp_path, batch) -> None:
    for form in ("csv", "latex", "markdown"):
        path = tmp_path / f"table.{form}"
        assert getattr(batch, f"to_{form}")(path) == path.read_text()


def test_plain_values() -> None:
    assert [plain(v) for v in (None, True, -0.0, 1 / 3, 7, "x")] == ["-", "yes", "0", "0.333333", "7", "x"]
    # Seeds are integers of any number of digits.
    assert plain(3**100) == str(3**100) and plain(-(10**5000)) == "-1.00000e+5000"


def test_pandas_where_it_is(batch) -> None:
    pandas = pytest.importorskip("pandas")
    frame = batch.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["lam"].tolist() == [0.1, 0.5]


def test_batch_reads_short(batch) -> None:
    assert repr(batch).startswith("BatchResult(2 runs: 2 converged; ")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: aligned(5, [True]), "rows: expected"),
        (lambda: aligned([["a", "b"]], [True]), "rows: expected 1 cells"),
        (lambda: aligned([["a"]], [1]), "left: expected True or False"),
        (lambda: latex_tabular(["a"], [[1]], [True]), "rows: expected a text"),
        (lambda: written("a", 5), "path: expected a path"),
    ],
)
def test_what_is_no_table_is_refused(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_every_form_has_each_column_on_its_own_side():
    """In LaTeX l and r, in Markdown (GFM 4.10) a colon, in CSS text-align."""
    heads, rows, left = ["name", "value"], [["a", "1"]], [True, False]
    assert aligned([heads, *rows], left).splitlines() == ["name  value", "a         1"]
    assert latex_tabular(heads, rows, left).startswith("\\begin{tabular}{lr}\n")
    assert markdown_table(heads, rows, left).splitlines()[1] == "| :-- | --: |"
    shown = html_table(heads, rows, left)
    assert re.findall(r'text-align:(\w+)">([^<]+)<', shown) == list(zip(["left", "right"] * 2, [*heads, *rows[0]]))


def test_a_cell_of_several_lines_does_not_end_its_row():
    heads, rows, left = ["name", "what it says"], [["a", "first\nsecond"], ["b", "one\r\ntwo"]], [True, True]
    assert aligned([heads, *rows], left).splitlines()[1:] == ["a     first second", "b     one two"]
    assert markdown_table(heads, rows, left).splitlines()[2:] == ["| a | first second |", "| b | one two |"]
    assert r"a & first second \\" in latex_tabular(heads, rows, left).splitlines()


def test_a_row_that_begins_as_an_argument_is_none_of_what_ends_the_row_above():
    r"""``\\ [0, 1]`` is a wrong length to LaTeX, and ``\\ *`` loses the star, also on the next line."""
    heads, rows, left = ["[a]", "b"], [["[0, 1]", "x"], ["*", "[y]"], ["a*", "*"]], [True, True]
    body = [line for line in latex_tabular(heads, rows, left).splitlines() if line.endswith(r" \\")]
    assert body == [r"{}[a] & b \\", r"{}[0, 1] & x \\", r"{}* & [y] \\", r"a* & * \\"]


def test_markdown_shows_what_looks_like_a_tag_or_an_escaped_bar():
    """CommonMark 2.4: a backslash makes a mark a character, another backslash too."""
    rows = [["<lambda>", "a < b"], [r"\|x\|", "rank <= 3"], ["</td><!--", "<?"]]
    lines = markdown_table(["a", "b"], rows, [True, True]).splitlines()[2:]
    assert lines == [r"| \<lambda> | a < b |", r"| \\\|x\\\| | rank <= 3 |", r"| \</td>\<!-- | \<? |"]
    for line, row in zip(lines, rows):
        cells = re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]
        assert [re.sub(r"\\(.)", r"\1", cell).strip() for cell in cells] == row


def test_every_line_break_in_csv_is_in_quotes(tmp_path):
    """A lone carriage return, as of a progress bar in a message, ends a line for who reads it."""
    cells = ["50%\rdone", "a\nb", "c\r\nd", 'e"f', "g,h", "\u2028", "i"]
    text = "".join(map(csv_line, (cells, cells)))
    (tmp_path / "x.csv").write_bytes(text.encode())
    with open(tmp_path / "x.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [cells, cells]
    assert csv_line(["a", 1.5, None, [1]]) == "a,1.5,,[1]\n"
    table = _one("50%\rdone").to_csv()
    assert list(csv.reader(io.StringIO(table, newline=""))) == [["x"], ["50%\rdone"]]


def test_lists_in_csv_are_json():
    """Which knows no numbers of NumPy, and none that are not finite."""
    (cell,) = next(csv.reader([csv_line([[np.int64(3), np.inf, np.ma.array([1.5, 2.0], mask=[False, True])]])]))
    assert json.loads(cell, parse_constant=pytest.fail) == [3, None, [1.5, None]]


def test_names_of_files_in_other_encodings_do_not_keep_a_table_from_being_written(tmp_path):
    _one(os.fsdecode(b"gr\xe9")).to_csv(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == "x\ngr\\udce9\n"
