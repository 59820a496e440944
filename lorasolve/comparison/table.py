"""The rows of a comparison as a table with one block for each thing minimised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._support.text import gap_text, number
from ..convex import ConvexResult
from ..tables import Column, aligned
from .rows import Row, denial


def share(value: float | None) -> str:
    """Return a share as text."""
    return "-" if value is None else f"{value:.1e}" if value else "0"


def _missing(value: list[float] | None) -> str:
    if value is None:
        return "-"
    middle = sorted(value)[(len(value) - 1) // 2]
    return share(middle) if len(value) == 1 else f"{share(middle)} ({share(min(value))} to {share(max(value))})"


def _rate(value: float | None) -> str:
    return "-" if value is None else number(value, ".7g")


def _seconds(value: float) -> str:
    return f"{value:.2f}"


COLUMNS = (
    Column("method", "method", str, left=True),
    Column("objective", "objective", lambda value: number(value, ".10g")),
    Column("suboptimality", "above optimum", share),
    Column("missing", "missing", _missing),
    Column("gap", "certified gap", lambda value: "-" if value is None else gap_text(value)),
    Column("is_global", "global", {True: "yes", False: "no", None: "unknown"}.__getitem__),
    Column("rank", "rank", lambda value: "-" if value is None else str(value)),
    Column("sigma_r", "sigma_r", share, latex=r"$\sigma_r$"),
    Column("nuclear_norm", "||X||_*", lambda value: "-" if value is None else number(value, ".6g"), latex=r"$\|X\|_*$"),
    Column("step_size", "step", share),
    Column("predicted_rate", "predicted rate", _rate),
    Column("measured_rate", "measured rate", _rate),
    Column("oracle_calls", "calls", str),
    Column("seconds", "s", _seconds),
    Column("compile_seconds", "compile s", _seconds),
    Column("status", "status", str, left=True),
    Column("quality", "quality", lambda found: ", ".join(f"{k} {v:.4g}" for k, v in found.items()), left=True),
)


# What a table takes in as far as its lines have room, in this order; names, objectives and answers are always there.
MOST_TELLING = (
    "gap",
    "missing",
    "status",
    "rank",
    "quality",
    "oracle_calls",
    "suboptimality",
    "measured_rate",
    "predicted_rate",
    "seconds",
    "nuclear_norm",
    "sigma_r",
    "step_size",
    "compile_seconds",
)

# Characters of a name that stands in its row there.
LONGEST_NAME = 20


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """Return the columns that say something in some row; the heading of the quality says on which data."""
    shown = [c for c in COLUMNS if any(c.write(getattr(row, c.key)) not in ("-", "") for row in rows)]
    return [c._replace(heading=f"{rows[0].quality_on} {c.heading}") if c.key == "quality" else c for c in shown]


def table(rows: Sequence[Row], own: str, reference: ConvexResult | None, rank: int) -> str:
    """Return the rows in blocks, ``own`` first; a column that says nothing in any row is left out.

    Parameters
    ----------
    rows : sequence of Row
    own : str
        What the problem asks for: the first block, with the reference on top.
    reference : ConvexResult or None
        The convex optimum.
    rank : int
        Of the factors; the reference's ``sigma_r`` is its singular value of that index.
    """
    return _in_columns(_lines(rows, own, reference, rank), columns_of(rows))


def narrow_table(
    rows: Sequence[Row], own: str, reference: ConvexResult | None, rank: int, width: int
) -> tuple[str, list[str]]:
    """Return :func:`table` in lines of at most ``width`` characters as far as can be, and the headings left out for it.

    The rows of long names are below their names then.
    """
    columns = columns_of(rows)
    lines = _lines(rows, own, reference, rank)
    if _width(lines, columns) > width:
        lines = [part for line in lines for part in _below_its_name(line)]
    shown = [column for column in columns if column.key not in MOST_TELLING]
    for key in MOST_TELLING:
        more = [column for column in columns if column in shown or column.key == key]
        shown = more if _width(lines, more) <= width else shown
    return _in_columns(lines, shown), [column.heading for column in columns if column not in shown]


def _lines(rows: Sequence[Row], own: str, reference: ConvexResult | None, rank: int) -> list[dict[str, Any] | str]:
    """Return the values of all rows by their columns, the blocks under what they minimise."""
    blocks = {own: [row for row in rows if row.minimises == own]}
    for row in rows:
        if row.minimises != own:
            blocks.setdefault(row.minimises, []).append(row)
    lines: list[dict[str, Any] | str] = []
    if reference is not None:
        unknown = dict.fromkeys(("suboptimality", "missing", "gap", "is_global")) if denial(rows, reference) else {}
        lines.append(_reference(reference, rank) | unknown)
    for text, members in blocks.items():
        if text != own:
            optimum = members[0].reference
            known = "least value not known" if optimum is None else f"least value {optimum:.10g}"
            lines += ["", f"minimise {text} ({known}):"]
        lines += [{column.key: getattr(row, column.key) for column in COLUMNS} for row in members]
    return lines


def _below_its_name(line: dict[str, Any] | str) -> list[dict[str, Any] | str]:
    """Return a row of a long name as that name and the row without it."""
    if isinstance(line, str) or len(line["method"]) <= LONGEST_NAME:
        return [line]
    return [line["method"], line | {"method": ""}]


def _cells(line: dict[str, Any], columns: Sequence[Column]) -> list[str]:
    return [column.write(line[column.key]) if column.key in line else "-" for column in columns]


def _width(lines: Sequence[dict[str, Any] | str], columns: Sequence[Column]) -> int:
    """Return how long the rows are; what stands between them may be broken anywhere."""
    text = _in_columns([line for line in lines if not isinstance(line, str)], columns)
    return max(map(len, text.splitlines()))


def _in_columns(lines: Sequence[dict[str, Any] | str], columns: Sequence[Column]) -> str:
    rows = [line if isinstance(line, str) else _cells(line, columns) for line in lines]
    return aligned([[column.heading for column in columns], *rows], [column.left for column in columns])


def _reference(reference: ConvexResult, rank: int) -> dict[str, Any]:
    """Return the reference as a row; what is missing of one that is not certified nobody knows."""
    certified = reference.certificate.is_global
    values = reference.certificate.singular_values
    return {
        "method": f"convex: {reference.route}",
        "objective": reference.fun,
        "suboptimality": 0.0 if certified else None,
        "missing": [0.0] if certified else None,
        "gap": reference.relative_gap,
        "is_global": certified,
        "rank": reference.rank,
        "sigma_r": values[rank - 1] if rank <= len(values) else 0.0,
        "nuclear_norm": reference.nuclear_norm,
        "seconds": reference.seconds,
        "compile_seconds": reference.compile_seconds,
        "status": reference.status,
    }
