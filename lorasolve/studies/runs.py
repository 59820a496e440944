"""The runs of a store: read line by line, as table, CSV, LaTeX and phase diagram."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._files import PathLike
from .._registry import suggest
from .._validate import Array, as_flag, as_instance, as_iterable, as_path, as_text
from ..status import Status
from ..tables import aligned, data_frame, html_table, latex_tabular, latex_text, markdown_table, written
from ._cells import label_texts, order
from .store import Damage, Line, Store

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from ..result import Result
    from .study import Study

Record = dict[str, Any]

# What a summary of several runs is called and how it is made.
_SUMMARIES: dict[str, Callable[[list[float]], float]] = {
    "share": statistics.fmean,
    "mean": statistics.fmean,
    "median": statistics.median,
    "min": min,
    "max": max,
}
# Of a measure that says more than this, tables show the headlines, where it has any.
_MANY = 4
_HEADLINES = ("kind", "is_global", "relative_gap", "rank")
_SHOWN = ("status", "fun", "grad_norm", "nit", "nfev")
_COUNTS = ("runs", "failed", "converged")
_VALUES = ("fun", "nit")
_SUCCESSES = [status.label for status in Status if status.success]
# Columns that an axis or a measure of the same name would be taken for.
RESERVED = ("key", *_SHOWN, "seconds", "error", *_COUNTS)


class Spot(NamedTuple):
    """What a phase diagram keeps of a run; all of it would be thousands of bytes each.

    Attributes
    ----------
    cell : dict
        Its place on all axes.
    number : float
        What was asked of it, NaN if it does not say.
    end : str
        The verdict on it where there is one, else why it stopped.
    error : str or None
        Why it failed.
    asked : bool
        Whether it came to what was asked: one that failed elsewhere did, one that failed at it or before did not.
    """

    cell: Record
    number: float
    end: str
    error: str | None
    asked: bool


_Places = dict[tuple[Any, Any], list[Spot]]


@dataclass
class _Group:
    """What a line of a summary keeps of its runs: counts, and the values of the columns that may be shown."""

    runs: int = 0
    failed: int = 0
    ended: int = 0
    converged: int = 0
    values: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, result: Record) -> None:
        """Count a result and keep its values."""
        self.runs += 1
        self.failed += "error" in result
        if "status" in result:
            self.ended += 1
            self.converged += result["status"] in _SUCCESSES
        shown = {name: result[name] for name in _VALUES if name in result}
        for entries in measured(result).values():
            shown |= {name: entries[name] for name in _headlines(entries)}
        for name, value in shown.items():
            self.values.setdefault(name, []).append(value)


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
        """Return all runs of a store, whatever study they are of."""
        return cls(Store(as_path(store, "store")))

    def __iter__(self) -> Iterator[Record]:
        for line in self._lines():
            yield line.record

    def __len__(self) -> int:
        return sum(1 for _ in self._lines())

    def _lines(self) -> Iterator[Line]:
        """Yield the lines of these runs."""
        if self.study is not None and self._shards not in (None, self.store.names()):
            self._keys, self._shards = self.study.keys(), None
        for line in self.store.lines():
            if self._keys is None or bytes.fromhex(line.key) in self._keys:
                yield line

    def __repr__(self) -> str:
        return f"Runs({len(self)} in {str(self.store.path)!r})"

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
        import hashlib

        from .store import json_text

        pairs = sorted((record["key"], json_text(record["result"])) for record in self)
        return hashlib.blake2b(json_text(pairs).encode(), digest_size=16).hexdigest()

    def factors(self, record: Record) -> Any:
        """Return ``(A, B)`` of a run, for several matrices two tuples of them.

        Raises
        ------
        ValueError
            If they were not kept, are damaged, or what was done is a call.
        """
        flat = self.store.factors(record)
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

    def table(self, by: Sequence[str] | None = None) -> str:
        """Return a summary as text, a line for each cell without its seed.

        Parameters
        ----------
        by : sequence of str, optional
            The axes to keep apart; by default all but ``seed``.

        Returns
        -------
        str
            Counts, the share of runs that converged, medians of numbers, shares of truth values. Runs that failed are
            left out of the columns that they did not come to. Where others have no value in a column, which is what an
            infinite number is kept as, a share counts them as not true, and a median says of how many runs it is:
            ``0.1 (3 of 5)``.
        """
        heads, rows, left = self._summary(by)
        return aligned([heads, *rows], left)

    def to_latex(self, path: PathLike | None = None, by: Sequence[str] | None = None) -> str:
        """Return the table as a LaTeX tabular (booktabs), and write it to a file if there is a path.

        Parameters
        ----------
        path : path, optional
            The file.
        by : sequence of str, optional
            As for :meth:`table`.
        """
        heads, rows, left = self._summary(by)
        return latex_tabular([latex_text(name) for name in heads], rows, left, path)

    def to_markdown(self, path: PathLike | None = None, by: Sequence[str] | None = None) -> str:
        """Return the table in Markdown, and write it to a file if there is a path.

        Parameters
        ----------
        path : path, optional
            The file.
        by : sequence of str, optional
            As for :meth:`table`.
        """
        return markdown_table(*self._summary(by), path)

    def _repr_html_(self) -> str:
        """Return the table that notebooks show."""
        return html_table(*self._summary(None))

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

    def _summary(self, by: Sequence[str] | None) -> tuple[list[str], list[list[str]], list[bool]]:
        """Return the headings, the cells, and which columns go to the left."""
        groups: dict[tuple[Any, ...], _Group] = {}
        places: dict[tuple[Any, ...], Record] = {}
        # Those of all runs: a store may hold several studies.
        axes: dict[str, None] = {}
        asked: dict[str, dict[str, None]] = {}
        kept = None if by is None else list(as_iterable(by, "by"))
        for record in self:
            cell = record["run"]["cell"]
            axes |= dict.fromkeys(cell)
            place = {name: label for name, label in cell.items() if (name != "seed" if kept is None else name in kept)}
            key = tuple((name, order(label)) for name, label in sorted(place.items()))
            places.setdefault(key, place)
            groups.setdefault(key, _Group()).add(record["result"])
            for name, entries in measured(record["result"]).items():
                asked.setdefault(name, {}).update(dict.fromkeys(entries))
        if kept is None:
            kept = [name for name in axes if name != "seed"]
        elif axes:
            check_axes(kept, axes, "by")
        columns = [*_VALUES, *(name for names in asked.values() for name in _headlines(names))]
        keys = sorted(groups, key=lambda key: [order(places[key].get(name)) for name in kept])
        texts = [_axis_texts([places[key] for key in keys], name) for name in kept]
        heads = [*kept, *_COUNTS, *columns]
        rows = [self._line([text[k] for text in texts], groups[key], columns) for k, key in enumerate(keys)]
        return heads, rows, [True] + [False] * (len(heads) - 1)

    def _line(self, labels: list[str], group: _Group, columns: list[str]) -> list[str]:
        share = f"{group.converged / group.ended:.2f}" if group.ended else "-"
        found = [_together(group.values.get(name, [])) for name in columns]
        return [*labels, str(group.runs), str(group.failed), share, *found]

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
            Runs that have no such column because they failed are left out, and so are those without a value, except of
            a share, which is that of the runs where the column is known to be true.
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
        xs, ys, found, cells, title = self._phase(x, y, measure)
        if ax is not None:
            _draw(ax, x, y, xs, ys, found, title)
        if html is not None:
            from ._page import page

            written(page(self, x, y, xs, ys, found, cells, title), html)
        return xs, ys, found

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
        from ._page import page

        xs, ys, found, cells, title = self._phase(x, y, measure)
        return page(self, x, y, xs, ys, found, cells, title)

    def _phase(
        self, x: str, y: str, measure: str | Callable[[Record], float | bool | None]
    ) -> tuple[list[Any], list[Any], Array, _Places, str]:
        """Return the values of both axes, the measure over them, the runs behind it, and its title."""
        value, combine, title = measure_of(measure, "phase")
        cells: _Places = {}
        labels: dict[Any, Any] = {}
        columns: set[str] = set()
        ends: set[str] = set()
        column = title.removeprefix("share of ")
        for record in self:
            cell, result, row = record["run"]["cell"], record["result"], row_of(record)
            check_axes((x, y), cell, "phase")
            ends |= set(_ends(result))
            columns |= set(row)
            number = value(record)
            place = order(cell[x]), order(cell[y])
            labels |= {place[0]: cell[x], place[1]: cell[y]}
            number, error = math.nan if number is None else float(number), result.get("error")
            spot = Spot(cell, number, _end(result), error, error is None or column in row)
            cells.setdefault(place, []).append(spot)
        if not cells:
            raise ValueError(f"phase: {self.store.path} holds no runs of this study")
        _check_word(measure, ends)
        across, up = (sorted({place[k] for place in cells}) for k in (0, 1))
        found = np.full((len(up), len(across)), np.nan)
        for (a, b), spots in cells.items():
            numbers = [spot.number for spot in spots if not math.isnan(spot.number)]
            if numbers and title.startswith("share of "):
                # A run of which the answer is not known, a diverged one for instance, must not raise the share.
                numbers += [0.0 for spot in spots if math.isnan(spot.number) and spot.asked]
            if numbers:
                found[up.index(b), across.index(a)] = combine(numbers)
        xs, ys = [labels[a] for a in across], [labels[b] for b in up]
        if np.isnan(found).all():
            raise ValueError(f"phase: {title!r} has no value at any run; columns: {', '.join(sorted(columns))}")
        return xs, ys, found, cells, title


def check_axes(given: Sequence[str], known: Iterable[str], argument: str) -> None:
    """Refuse names of axes that there are not."""
    known = list(known)
    for name in given:
        if as_text(name, argument) not in known:
            raise ValueError(f"{argument}: no axis is called {name!r}.{suggest(name, known)}")


def measured(result: dict[str, Any]) -> dict[str, Record]:
    """Return what each measure of a result says, its entries called ``name`` or ``name.entry``."""
    return {
        name: {f"{name}.{key}": entry for key, entry in found.items()} if isinstance(found, dict) else {name: found}
        for name, found in result.get("measures", {}).items()
    }


def row_of(record: Record) -> dict[str, Any]:
    """Return a record as a flat row."""
    result = record["result"]
    row = {"key": record["key"], **record["run"]["cell"]}
    row |= {name: result[name] for name in _SHOWN if name in result}
    for entries in measured(result).values():
        row |= entries
    row["seconds"] = record["made"]["seconds"]
    if "error" in result:
        row["error"] = result["error"]
    return row


def _axis_texts(places: list[Record], name: str) -> list[str]:
    """Return the labels on one axis as tables show them, ``-`` in runs of a study without it."""
    texts = iter(label_texts([place[name] for place in places if name in place]))
    return [next(texts) if name in place else "-" for place in places]


def _place(record: Record) -> tuple[list[Any], str]:
    """Return what runs are sorted by: their cells."""
    return [*map(order, record["run"]["cell"].values())], record["key"]


def _columns(rows: Iterable[Record]) -> list[str]:
    """Return the columns of all rows, time and error last, also where later rows have others than the first."""
    names = dict.fromkeys(name for row in rows for name in row)
    last = [name for name in ("seconds", "error") if name in names]
    return [*(name for name in names if name not in last), *last]


def _csv_line(row: Record, names: list[str]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, names, lineterminator="\n").writerow(row)
    return text.getvalue()


def measure_of(given: Any, argument: str) -> tuple[Callable[[Record], Any], Callable[[list[float]], float], str]:
    """Return what is asked of a record, how several answers are combined, and what it is called."""
    if callable(given):
        return given, statistics.fmean, str(getattr(given, "__name__", "measure"))
    if (word := _word(given)) is not None:
        return lambda record: _has_ended(record["result"], word), statistics.fmean, given
    words = str(given).split(" ")
    if len(words) >= 3 and words[0] in _SUMMARIES and words[1] == "of":
        column = " ".join(words[2:])
        number = _truth if words[0] == "share" else _number
        return lambda record: number(row_of(record).get(column)), _SUMMARIES[words[0]], given
    raise ValueError(
        f"{argument}: measure {given!r}: expected 'share of WORD ends', or one of {', '.join(_SUMMARIES)} followed by "
        "'of COLUMN', or a function of a record"
    )


def _word(given: Any) -> str | None:
    """Return ``WORD`` of ``"share of WORD ends"``, as ``_ends`` writes it; None for other measures."""
    words = given.split(" ") if isinstance(given, str) else []
    return "_".join(words[2:-1]) if len(words) >= 4 and (*words[:2], words[-1]) == ("share", "of", "ends") else None


def _ends(result: dict[str, Any]) -> list[str]:
    """Return the words for the end of a run, of verdicts on it and its status; none where it failed."""
    if "status" not in result:
        return []
    measures = [found for found in result.get("measures", {}).values() if isinstance(found, dict)]
    words = [*(found["kind"] for found in measures if "kind" in found), result["status"]]
    return [str(word).replace(" ", "_") for word in words]


def _end(result: dict[str, Any]) -> str:
    """Return the verdict on a run where there is one, else why it stopped."""
    if "error" in result:
        return "failed"
    reports = [found for found in result.get("measures", {}).values() if isinstance(found, dict)]
    kinds = [found["kind"] for found in reports if "kind" in found]
    return str(kinds[0] if kinds else result["status"])


def _has_ended(result: dict[str, Any], word: str) -> bool | None:
    """Whether a word stands for the end of a run; None where it failed."""
    ends = _ends(result)
    return word in ends if ends else None


def _check_word(measure: Any, ends: set[str]) -> None:
    """Refuse a word that stands for no end of these runs: a share of 0 would say that there are such ends elsewhere."""
    from ..landscape.report import KINDS

    word, statuses = _word(measure), {status.name.lower() for status in Status}
    judged = not ends <= statuses
    accepted = sorted(ends | statuses | set(KINDS if judged else ()))
    if word is not None and ends and word not in accepted:
        hint = "" if judged else " Verdicts are there where the study has the measure 'verdict'."
        raise ValueError(f"phase: no run ends {word!r}.{suggest(word, accepted)}{hint}")


def _number(value: Any) -> float | None:
    """Return a number as a float, an integer that is too large for one as infinite; None for what is no number."""
    if not isinstance(value, (bool, int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _truth(value: Any) -> float | None:
    """Return a truth value, or a share, as a number; a mean of other numbers would not be a share."""
    number = _number(value)
    if number is not None and not 0.0 <= number <= 1.0:
        raise ValueError(f"phase: expected a column of truth values for a share, got one with {number:g}")
    return number


def _headlines(names: Iterable[str]) -> list[str]:
    """Return the columns of a measure that a summary shows: its headlines where it says much, else all."""
    names = list(names)
    headlines = [name for name in names if name.rpartition(".")[2] in _HEADLINES]
    return headlines if headlines and len(names) > _MANY else names


def _together(given: list[Any]) -> str:
    """Return several values as one: the share of a truth value, the median of numbers, the most frequent text."""
    values = [value for value in given if value is not None]
    if not values:
        return "-"
    if all(isinstance(value, bool) for value in values):
        return f"{sum(values) / len(given):.2f}"
    numbers = [number for value in values if (number := _number(value)) is not None]
    if len(numbers) == len(values):
        left_out = f" ({len(values)} of {len(given)})" if len(values) < len(given) else ""
        return f"{_figures(statistics.median(numbers))}{left_out}"
    text, count = Counter(map(str, values)).most_common(1)[0]
    return text if count == len(given) else f"{text} {count / len(given):.2f}"


def _figures(number: float) -> str:
    """Return a number with four digits, of a count of iterations or calls all of them."""
    return f"{number:.0f}" if 9999.5 <= abs(number) < 1e8 else f"{number:.4g}"


def _draw(ax: Axes, x: str, y: str, xs: list[Any], ys: list[Any], found: Array, title: str) -> None:
    share = title.startswith("share of ")
    image = ax.pcolormesh(
        range(len(xs)), range(len(ys)), found, cmap="viridis", shading="nearest",
        vmin=0.0 if share else None, vmax=1.0 if share else None,
    )  # fmt: skip
    for axis, name, values in ((ax.xaxis, x, xs), (ax.yaxis, y, ys)):
        step = -(-len(values) // 10)
        axis.set_ticks(range(0, len(values), step), label_texts(values)[::step], parse_math=False)
        axis.set_label_text(name)
    ax.set_title(title, parse_math=False)
    ax.figure.colorbar(image, ax=ax)
