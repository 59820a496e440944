"""Tables of costs in other pages of ``docs/``, made of the stored rows as ``docs/benchmarks.md`` is.

Each stands between two comments, ``<!-- S16: made by benchmarks/run.py --page -->`` and ``<!-- S16 ends -->``, with the
first of its keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import page
import store
from peers import Item


class Table(NamedTuple):
    """Medians of some programs, a row an item; its keys are those of the items, or begin theirs."""

    page: str
    keys: tuple[str, ...]
    # Each program by the head of its column.
    columns: dict[str, str]


TABLES = (
    Table(
        "certificates.md",
        ("S16",),
        {
            "RIGOROUS": "lorasolve certify, RIGOROUS, same problem again",
            "floating": "lorasolve certify, CERTIFIED, same problem again",
            "NumPy": "NumPy, same problem again",
        },
    ),
    Table(
        "certificates.md",
        ("S12",),
        {"`certify_batch`": "lorasolve certify_batch", "`certify`, one by one": "lorasolve certify, one by one"},
    ),
    Table(
        "studies.md",
        ("S11", "S11m"),
        {
            "the path": "lorasolve path, warm starts",
            "its hardest point from a cold start": "lorasolve, the hardest of the 20 points alone",
            "20 separate solves": "lorasolve, 20 separate solves",
        },
    ),
    Table(
        "studies.md",
        ("S14",),
        {
            "`solve_batch`, nothing kept": "lorasolve solve_batch, nothing kept",
            "a study in this process": "lorasolve Study, serial",
            "a study, two workers of `loky`": "lorasolve Study, loky",
        },
    ),
    Table(
        "networks.md",
        ("S17",),
        {
            "a gradient of the network": "lorasolve, a gradient of the network",
            "an evaluation": "lorasolve, an evaluation of its tangent problem",
            "an evaluation with nothing kept": "lorasolve, an evaluation with nothing kept",
        },
    ),
    Table(
        "networks.md",
        ("S18",),
        {
            "a reading": "lorasolve LoRAMonitor.step",
            "the norm of the weight, once a run": "lorasolve, the norm of the weight, once",
        },
    ),
    Table(
        "adapters.md",
        ("S19",),
        {
            "`lorasolve diagnose`, with its start": "lorasolve diagnose, the whole process",
            "`peft_files.diagnose`": "lorasolve peft_files.diagnose",
        },
    ),
)


def lines(table: Table, items: list[Item]) -> list[str]:
    """Return the lines of a table; an item's title says its case between a comma and a colon."""
    written = []
    for item in items:
        rows = store.stored(item.key, list(table.columns.values()))
        found = map(rows.get, table.columns.values())
        medians = [page.median_text(row) if store.measured(row) else "not measured" for row in found]
        written.append([item.title.partition(", ")[2].partition(":")[0], *medians])
    return page.markdown_table(["case", *table.columns], written)


def filled(text: str, table: Table, items: list[Item]) -> str:
    """Return a page with the table between its comments."""
    key = table.keys[0]
    begin, end = f"<!-- {key}: made by benchmarks/run.py --page -->\n", f"<!-- {key} ends -->"
    head, found, rest = text.partition(begin)
    _, ended, tail = rest.partition(end)
    if not (found and ended):
        raise SystemExit(f"docs/{table.page}: expected the lines {begin.strip()!r} and {end!r} around a table")
    return "\n".join([head + begin, *lines(table, items), "", end + tail])


def texts(items: list[Item]) -> Iterator[tuple[Table, str]]:
    """Yield the tables of which there are items, each with its page around it, as that is then."""
    for table in TABLES:
        chosen = [item for item in items if item.key.split()[0] in table.keys]
        if chosen:
            yield table, filled((page.DOCS / table.page).read_text(encoding="utf-8"), table, chosen)


def write(items: list[Item]) -> None:
    """Make the tables of which there are items."""
    for table, text in texts(items):
        store.write(page.DOCS / table.page, text)
