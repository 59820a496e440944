"""Runs in groups by their cells: counts, shares of truth values, medians of numbers."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._support.keywords import suggest
from .._support.validate import as_iterable, as_text
from ..status import Status
from ._cells import label_texts, order
from .records import COLUMNS, COUNTS, DONE, Record, check_axes, measured, number_of, row_of

# Of a measure that says more than this, tables show the headlines, where it has any.
_MANY = 4
_HEADLINES = ("kind", "is_global", "relative_gap", "rank")
_VALUES = ("fun", "nit")
_SUCCESSES = [status.label for status in Status if status.success]


@dataclass
class _Group:
    """What a line of a summary keeps of its runs: counts, and the values of the columns that may be shown."""

    runs: int = 0
    failed: int = 0
    ended: int = 0
    converged: int = 0
    values: dict[str, list[Any]] = field(default_factory=dict)
    # The runs that came to each measure.
    asked: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record, wanted: Collection[str] | None) -> None:
        """Count a run and keep its values: those of wanted columns, by default of the headlines."""
        result = record["result"]
        self.runs += 1
        self.failed += "error" in result
        if result.get("status", DONE) != DONE:
            self.ended += 1
            self.converged += result["status"] in _SUCCESSES
        said = measured(result)
        self.asked.update(said.keys())
        shown = [*_VALUES, *(name for entries in said.values() for name in _headlines(entries))]
        for name, value in row_of(record).items():
            if name in (shown if wanted is None else wanted):
                self.values.setdefault(name, []).append(value)

    def text(self, name: str, measure: str | None) -> str:
        """Return a count, or the values of a column as one.

        A run that came to its measure and has no such entry has no value.
        """
        if name in COUNTS:
            share = f"{self.converged / self.ended:.2f}" if self.ended else "-"
            return {"runs": str(self.runs), "failed": str(self.failed), "converged": share}[name]
        values = self.values.get(name, [])
        missing = 0 if measure is None else self.asked[measure] - len(values)
        return _together(values + [None] * missing)


def in_groups(
    records: Iterable[Record], by: Sequence[str] | None, wanted: Sequence[str] | None = None
) -> tuple[list[str], list[list[str]], list[bool]]:
    """Return runs in groups, a line for each: the headings, the cells, and which columns go to the left.

    ``by`` are the axes to keep apart, by default all but ``seed``; ``wanted`` the columns beside them, by default the
    counts and the headlines of what was found.
    """
    groups: dict[tuple[Any, ...], _Group] = {}
    places: dict[tuple[Any, ...], Record] = {}
    # Those of all runs: a store may hold several studies.
    axes: dict[str, None] = {}
    asked: dict[str, dict[str, None]] = {}
    kept = None if by is None else list(as_iterable(by, "by"))
    chosen = None if wanted is None else [as_text(name, "columns") for name in as_iterable(wanted, "columns")]
    for record in records:
        cell = record["run"]["cell"]
        axes |= dict.fromkeys(cell)
        place = {name: label for name, label in cell.items() if (name != "seed" if kept is None else name in kept)}
        key = tuple((name, order(label)) for name, label in sorted(place.items()))
        places.setdefault(key, place)
        groups.setdefault(key, _Group()).add(record, chosen)
        for name, entries in measured(record["result"]).items():
            asked.setdefault(name, {}).update(dict.fromkeys(entries))
    if kept is None:
        kept = [name for name in axes if name != "seed"]
    elif axes:
        check_axes(kept, axes, "by")
        kept = list(dict.fromkeys(kept))
    columns = _columns(asked, chosen)
    keys = sorted(groups, key=lambda key: [order(places[key].get(name)) for name in kept])
    texts = [_axis_texts([places[key] for key in keys], name) for name in kept]
    heads = [*kept, *columns]
    rows = [
        [*(text[k] for text in texts), *(groups[key].text(name, measure) for name, measure in columns.items())]
        for k, key in enumerate(keys)
    ]
    return heads, rows, [True] + [False] * (len(heads) - 1)


def _columns(asked: dict[str, dict[str, None]], chosen: list[str] | None) -> dict[str, str | None]:
    """Return the columns beside the axes, each with the measure that it is an entry of; refuse what there is not."""
    if chosen is None:
        said = {name: measure for measure, names in asked.items() for name in _headlines(names)}
        return dict.fromkeys((*COUNTS, *_VALUES)) | said
    known = {name: measure for measure, names in asked.items() for name in names}
    there = [*COUNTS, *COLUMNS[1:], *known]
    for name in chosen:
        if asked and name not in there:
            raise ValueError(f"columns: no column is called {name!r}.{suggest(name, there)}")
    return {name: known.get(name) for name in chosen}


def noting_globals(records: Iterable[Record], notes: set[str]) -> Iterator[Record]:
    """Yield records, and note of those that are global by one measure and not by another what each of them says.

    A verdict is about the problem at the rank of the run, a certificate about the convex one, whose optimum may have a
    larger rank.
    """
    for record in records:
        entries = {name: value for found in measured(record["result"]).values() for name, value in found.items()}
        kinds = [name for name, value in entries.items() if _last(name) == "kind" and value == "global"]
        answers = [name for name, value in entries.items() if _last(name) == "is_global" and value is False]
        notes |= {
            f"{kind} global: F is least at the rank of the run; {answer}: least at any rank, to its tolerance"
            for kind in kinds
            for answer in answers
        }
        yield record


def _axis_texts(places: list[Record], name: str) -> list[str]:
    """Return the labels on one axis as tables show them, ``-`` in runs of a study without it."""
    texts = iter(label_texts([place[name] for place in places if name in place]))
    return [next(texts) if name in place else "-" for place in places]


def _headlines(names: Iterable[str]) -> list[str]:
    """Return the columns of a measure that a summary shows: its headlines where it says much, else all."""
    names = list(names)
    headlines = [name for name in names if _last(name) in _HEADLINES]
    return headlines if headlines and len(names) > _MANY else names


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _together(given: list[Any]) -> str:
    """Return several values as one: shares of truths, medians of numbers, lengths of lists, the most frequent text."""
    values = [value for value in given if value is not None]
    if not values:
        return "-"
    if all(isinstance(value, bool) for value in values):
        return f"{sum(values) / len(given):.2f}"
    numbers = [number for value in values if (number := number_of(value)) is not None]
    if len(numbers) == len(values):
        left_out = f" ({len(values)} of {len(given)})" if len(values) < len(given) else ""
        return f"{_figures(statistics.median(numbers))}{left_out}"
    if all(isinstance(value, list) for value in values):
        least, most = min(map(len, values)), max(map(len, values))
        return f"list of {least}" if least == most else f"list of {least} to {most}"
    text, count = Counter(map(str, values)).most_common(1)[0]
    return text if count == len(given) else f"{text} {count / len(given):.2f}"


def _figures(number: float) -> str:
    """Return a number with four digits, of a count of iterations or calls all of them, zero without a sign."""
    return f"{number:.0f}" if 9999.5 <= abs(number) < 1e8 else f"{number + 0.0:.4g}"
