"""The runs of a store: read line by line, as table, CSV, LaTeX and phase diagram."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from .._support.digest import SIZE
from .._support.files import PathLike
from .._support.validate import Array, as_flag, as_instance, as_path
from ..tables import aligned, csv_line, data_frame, html_table, latex_tabular, latex_text, markdown_table, written
from ._cells import canonical, order
from ._groups import in_groups, noting_globals
from ._page import page
from ._phases import draw, phase
from .records import Record, row_of
from .store import Damage, Line, Store, json_text

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from ..result import Result
    from .study import Study


class Runs:
    """Finished runs; iterating reads them from the store one by one.

    A record is a dict: ``key``; ``run``, the description with its ``cell``; ``result``, the numbers, ``measures`` and,
    where it failed, the ``error``; ``made``, how it came about.

    Parameters
    ----------
    store : Store
        Where they are.
    keys : frozenset of bytes, optional
        Which of them; by default all.
    study : Study, optional
        What they are runs of.
    interrupted : bool
        Whether the call that made them was asked to stop.
    shards : frozenset of str, optional
        Files that hold nothing but this study; keys are asked for where the store has others.

    Attributes
    ----------
    command : str or None
        What does the study from the command line, if that is where it came from: pages say how to repeat a run by it.
    """

    def __init__(
        self,
        store: Store,
        keys: frozenset[bytes] | None = None,
        study: Study | None = None,
        interrupted: bool = False,
        shards: frozenset[str] | None = None,
    ) -> None:
        self.store = as_instance(store, "store", Store)
        as_flag(interrupted, "interrupted")
        self.study = study
        self.interrupted = interrupted
        self.command: str | None = None
        self._keys = keys
        self._shards = shards

    @classmethod
    def read(cls, store: PathLike) -> Runs:
        """Return all runs of a store, whatever study they are of; those that differ in no axis are not summed up."""
        return cls(Store(as_path(store, "store")))

    def __iter__(self) -> Iterator[Record]:
        # The same axes in one order, whatever the order in which each call gave them: that of the study, else of the
        # call that was the last, else of the first run.
        orders: dict[frozenset[str], list[str]] = {}
        for axes in ([] if self.study is None else self.study.axes.labels, self.store.head.get("axes", {})):
            orders.setdefault(frozenset(axes), list(axes))
        for line in self._lines():
            record = line.record
            cell = record["run"]["cell"]
            names = orders.setdefault(frozenset(cell), list(cell))
            record["run"]["cell"] = {name: cell[name] for name in names}
            yield record

    def __len__(self) -> int:
        return sum(1 for _ in self._lines())

    def _lines(self) -> Iterator[Line]:
        """Yield the lines of these runs."""
        if self.study is not None and self._shards not in (None, self.store.names()):
            self._keys, self._shards = self.study.keys(), None
        for line in self.store.lines():
            if self._keys is None or bytes.fromhex(line.key) in self._keys:
                yield line

    def _of_different_cells(self) -> Iterator[Record]:
        """Yield the runs, of which no two of one cell may differ in settings: a summary would not tell them apart."""
        known: dict[bytes, bytes] = {}
        for record in self:
            if self.study is None:
                settings = dict(record["run"])
                cell = settings.pop("cell")
                mark = _mark(settings)
                if known.setdefault(_mark(canonical(cell)), mark) != mark:
                    place = ", ".join(f"{name} = {value!r}" for name, value in canonical(cell).items())
                    raise ValueError(
                        f"runs: {self.store} holds several runs of the cell {place or 'without axes'}, which differ in "
                        "what is no axis, such as the data, the method or the stopping rule; runs(store) of a study "
                        "gives its own, and rows() all of them"
                    )
            yield record

    def __repr__(self) -> str:
        return f"Runs({len(self)} in {str(self.store)!r})"

    @property
    def damaged(self) -> list[Damage]:
        """The lines of the store that do not verify, those of other studies too; each time the whole store is read."""
        return self.store.damaged()

    @property
    def failed(self) -> list[Record]:
        """The records of those that ended with an error."""
        return [record for record in self if "error" in record["result"]]

    def digest(self) -> str:
        """Return a digest of keys and results, which does not depend on how and in which order they were done."""
        pairs = sorted((record["key"], json.dumps(record["result"], sort_keys=True)) for record in self)
        return hashlib.blake2b(json_text(pairs).encode(), digest_size=16).hexdigest()

    def factors(self, record: Record) -> Any:
        """Return ``(A, B)`` of a run, for several matrices two tuples of them.

        Raises
        ------
        ValueError
            If they were not kept, are damaged, or what was done is a call.
        """
        try:
            flat = self.store.factors(record)
        except ValueError as error:
            # Kept or not, a run has the same key: a call that asks for them does not do it again.
            again = "; runs.result(record) does the run again" if "shapes" in record["result"] else ""
            raise ValueError(f"{error}{again}") from error
        if "shapes" not in record["result"]:
            raise ValueError(f"run {record['key']}: a call has no factors; runs.store.factors gives the vector it kept")
        pairs, begin = [], 0
        for m, n, r in record["result"]["shapes"]:
            middle, end = begin + m * r, begin + (m + n) * r
            pairs.append((flat[begin:middle].reshape(m, r), flat[middle:end].reshape(n, r)))
            begin = end
        return pairs[0] if len(pairs) == 1 else tuple(zip(*pairs))

    def result(self, record: Record) -> Result:
        """Do a run of this study again, as :meth:`Study.repeat` does.

        Raises
        ------
        ValueError
            If these runs were read without their study.
        """
        if self.study is None:
            raise ValueError("record: the runs were read without their study; use study.runs(store)")
        return self.study.repeat(**record["run"]["cell"])

    # ------------------------------------------------------------------ columns
    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each run as a flat row: its cell, then what it found, measures as ``name.entry``."""
        for record in self:
            yield row_of(record)

    def sorted_rows(self) -> list[dict[str, Any]]:
        """Return all rows in the order of their cells, whatever the order in which workers have finished."""
        placed = ((_place(record), row_of(record)) for record in self)
        return [row for _, row in sorted(placed, key=itemgetter(0))]

    def table(self, by: Sequence[str] | None = None, columns: Sequence[str] | None = None) -> str:
        """Return a summary as text, a line for each cell without its seed.

        Parameters
        ----------
        by : sequence of str, optional
            The axes to keep apart; by default all but ``seed``.
        columns : sequence of str, optional
            What stands beside them: ``runs``, ``failed``, ``converged`` and columns of :meth:`to_csv`; by default these
            three, ``fun``, ``nit`` and the headlines of measures.

        Returns
        -------
        str
            Counts, the share of runs that converged, medians of numbers, shares of truth values, lengths of lists, the
            most frequent text. Runs that failed are left out of the columns that they did not come to. Where others
            have no value in a column, which is what an infinite number is kept as, a share counts them as not true, and
            a median says of how many runs it is: ``0.1 (3 of 5)``. Where a verdict says global of a run and a
            certificate does not, a line below says what each is about.
        """
        notes: set[str] = set()
        heads, rows, left = in_groups(noting_globals(self._of_different_cells(), notes), by, columns)
        return "\n".join([aligned([heads, *rows], left), *sorted(f"({note})" for note in notes)])

    def to_latex(
        self, path: PathLike | None = None, by: Sequence[str] | None = None, columns: Sequence[str] | None = None
    ) -> str:
        """Return the table as a LaTeX tabular (booktabs), and write it to a file if there is a path.

        Parameters
        ----------
        path : path, optional
            The file.
        by, columns : sequence of str, optional
            As for :meth:`table`.
        """
        heads, rows, left = in_groups(self._of_different_cells(), by, columns)
        return latex_tabular([latex_text(name) for name in heads], rows, left, path)

    def to_markdown(
        self, path: PathLike | None = None, by: Sequence[str] | None = None, columns: Sequence[str] | None = None
    ) -> str:
        """Return the table in Markdown, and write it to a file if there is a path.

        Parameters
        ----------
        path : path, optional
            The file.
        by, columns : sequence of str, optional
            As for :meth:`table`.
        """
        return markdown_table(*in_groups(self._of_different_cells(), by, columns), path)

    def _repr_html_(self) -> str:
        """Return the table that notebooks show."""
        return html_table(*in_groups(self._of_different_cells(), None))

    def to_pandas(self) -> pandas.DataFrame:
        """Return every run as a row of a data frame, with the rows and columns of :meth:`to_csv`.

        Raises
        ------
        ImportError
            Where pandas is not installed.
        """
        rows = self.sorted_rows()
        return data_frame(rows)[_columns(rows)]

    def to_csv(self, path: PathLike | None = None) -> str:
        """Return every run as a line of CSV, in the order of their cells; write it to a file if there is a path.

        Parameters
        ----------
        path : path, optional
            The file.
        """
        names = _columns(self.rows())
        # Workers finish in any order; their lines take less memory than what they are made of.
        lines = sorted((_place(record), _csv_line(row_of(record), names)) for record in self)
        head = _csv_line(dict(zip(names, names)), names)
        return written("".join([head, *(line for _, line in lines)]), path)

    # ------------------------------------------------------------------ phase diagrams
    def phase(
        self,
        x: str,
        y: str,
        measure: str | Callable[[Record], float | bool | None],
        ax: Axes | None = None,
        html: PathLike | None = None,
    ) -> tuple[list[Any], list[Any], Array]:
        """Return a measure over two axes, all other axes summed up, and draw it.

        Parameters
        ----------
        x, y : str
            The axes.
        measure : str or callable
            ``"share of WORD ends"`` (runs whose verdict or status is that word, for example ``"share of spurious
            ends"``), ``"share of COLUMN"``, ``"mean of COLUMN"``, ``"median of COLUMN"``, ``"min of COLUMN"`` or
            ``"max of COLUMN"`` with a column of :meth:`to_csv`; or a function of a record, of which the mean is taken.
            Runs that have no such column or entry because they failed are left out, and so are those without a value,
            except of a share, which is that of the runs where the column is known to be true.
        ax : matplotlib Axes, optional
            Where to draw.
        html : path, optional
            Write a page that opens offline: the map, the runs behind each cell, and how to repeat each.

        Returns
        -------
        tuple of list, list and ndarray of shape (len(ys), len(xs))
            The values of both axes in order, and the measure, NaN where there is no run.

        Raises
        ------
        ValueError
            For axes, columns and words that there are not.
        """
        made = phase(self._of_different_cells(), x, y, measure, str(self.store))
        if ax is not None:
            draw(ax, made)
        if html is not None:
            written(page(made, self.command), html)
        return made.xs, made.ys, made.found

    def phase_page(self, x: str, y: str, measure: str | Callable[[Record], float | bool | None]) -> str:
        """Return the page that :meth:`phase` writes to ``html``.

        Parameters
        ----------
        x, y, measure
            As for :meth:`phase`.

        Returns
        -------
        str
            HTML.
        """
        return page(phase(self._of_different_cells(), x, y, measure, str(self.store)), self.command)


def _mark(facts: dict[str, Any]) -> bytes:
    return hashlib.blake2b(json_text(facts).encode(), digest_size=SIZE).digest()


def _place(record: Record) -> tuple[list[Any], str]:
    """Return what runs are sorted by: their cells."""
    return [*map(order, record["run"]["cell"].values())], record["key"]


def _columns(rows: Iterable[Record]) -> list[str]:
    """Return the columns of all rows, time and error last, also where later rows have others than the first."""
    names = dict.fromkeys(name for row in rows for name in row)
    last = [name for name in ("seconds", "error") if name in names]
    return [*(name for name in names if name not in last), *last]


def _csv_line(row: Record, names: list[str]) -> str:
    return csv_line([row.get(name) for name in names])
