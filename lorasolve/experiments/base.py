"""What an experiment is: independent cells of work, a table and a figure made of their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = dict[str, Any]
Record = dict[str, Any]

# Okabe and Ito's colours: told apart by all readers, and in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


class Experiment:
    """Base class of all experiments: one file each, found by this folder.

    A cell is a JSON-ready dict of settings, seeds included; ``run`` turns it into a JSON-ready dict of results. The
    runner keeps every finished cell on disk, so that an interrupted experiment continues where it stopped.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    seeds: ClassVar[str] = ""
    size: ClassVar[tuple[float, float]] = (9.0, 4.0)

    def cells(self, quick: bool) -> list[Cell]:
        """Return all cells, fewer or smaller ones for a quick run."""
        raise NotImplementedError

    def run(self, cell: Cell) -> Record:
        """Do one cell's work."""
        raise NotImplementedError

    def table(self, records: list[Record]) -> str:
        """Return the results as text; a record is a cell and its results in one dict."""
        raise NotImplementedError

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw the results."""
        raise NotImplementedError


def text_table(header: list[str], rows: list[list[str]]) -> str:
    """Return aligned columns, the first one to the left."""
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]

    def line(row: list[str]) -> str:
        first, *others = row
        return "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:]))]).rstrip()

    return "\n".join([line(header), *map(line, rows)])


def distinct(records: list[Record], key: str) -> list[Any]:
    """Return the values of a key, each once, in order of appearance."""
    return list(dict.fromkeys(record[key] for record in records))
