"""What the record of a run says: its row in a table, its end in a word, and what may be asked of several runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .._support.keywords import suggest
from .._support.validate import as_text

Record = dict[str, Any]

# What a summary of several runs is called and how it is made.
_SUMMARIES: dict[str, Callable[[list[float]], float]] = {
    "share": statistics.fmean,
    "mean": statistics.fmean,
    "median": statistics.median,
    "min": min,
    "max": max,
}
SHOWN = ("status", "fun", "grad_norm", "nit", "nfev")
COUNTS = ("runs", "failed", "converged")
# The status of a call that has returned, which says nothing about convergence.
DONE = "done"
# What a call has found is called so.
FOUND = "found"
# The columns of every run, and those that an axis or a measure of the same name would be taken for.
COLUMNS = ("key", *SHOWN, "seconds", "error")
RESERVED = (*COLUMNS, *COUNTS)


def check_axes(given: Sequence[str], known: Iterable[str], argument: str) -> None:
    """Refuse names of axes that there are not."""
    known = list(known)
    for name in given:
        if as_text(name, argument) not in known:
            raise ValueError(f"{argument}: no axis is called {name!r}.{suggest(name, known)}")


def measured(result: dict[str, Any]) -> dict[str, Record]:
    """Return what each measure of a result says, its entries called ``name`` or ``name.entry``.

    What a call has found is as a measure of that name.
    """
    said = {FOUND: result[FOUND]} if FOUND in result else result.get("measures", {})
    return {
        name: {f"{name}.{key}": entry for key, entry in found.items()} if isinstance(found, dict) else {name: found}
        for name, found in said.items()
    }


def row_of(record: Record) -> dict[str, Any]:
    """Return a record as a flat row."""
    result = record["result"]
    row = {"key": record["key"], **record["run"]["cell"]}
    row |= {name: result[name] for name in SHOWN if name in result}
    for entries in measured(result).values():
        row |= entries
    row["seconds"] = record["made"]["seconds"]
    if "error" in result:
        row["error"] = result["error"]
    return row


def measure_of(given: Any, argument: str) -> tuple[Callable[[Record], Any], Callable[[list[float]], float], str]:
    """Return what is asked of a record, how several answers are combined, and what it is called."""
    if callable(given):
        return _where_it_ended(given), statistics.fmean, str(getattr(given, "__name__", "measure"))
    if (word := word_of(given)) is not None:
        return lambda record: _has_ended(record["result"], word), statistics.fmean, given
    words = str(given).split(" ")
    if len(words) >= 3 and words[0] in _SUMMARIES and words[1] == "of":
        column = " ".join(words[2:])
        number = _truth if words[0] == "share" else number_of
        return lambda record: number(row_of(record).get(column)), _SUMMARIES[words[0]], given
    raise ValueError(
        f"{argument}: measure {given!r}: expected 'share of WORD ends', or one of {', '.join(_SUMMARIES)} followed by "
        "'of COLUMN', or a function of a record"
    )


def _where_it_ended(function: Callable[[Record], Any]) -> Callable[[Record], Any]:
    """Return a function that says None of records of failed runs that have not the entries which it reads."""

    def asked(record: Record) -> Any:
        try:
            return function(record)
        except KeyError:
            if "error" in record["result"]:
                return None
            raise

    return asked


def word_of(given: Any) -> str | None:
    """Return ``WORD`` of ``"share of WORD ends"``, as ``ends_of`` writes it; None for other measures."""
    words = given.split(" ") if isinstance(given, str) else []
    return "_".join(words[2:-1]) if len(words) >= 4 and (*words[:2], words[-1]) == ("share", "of", "ends") else None


def ends_of(result: dict[str, Any]) -> list[str]:
    """Return the words for the end of a run, of verdicts on it and its status; none where it failed."""
    if "status" not in result:
        return []
    measures = [found for found in result.get("measures", {}).values() if isinstance(found, dict)]
    words = [*(found["kind"] for found in measures if "kind" in found), result["status"]]
    return [str(word).replace(" ", "_") for word in words]


def end_of(result: dict[str, Any]) -> str:
    """Return the verdict on a run where there is one, else why it stopped."""
    if "error" in result:
        return "failed"
    reports = [found for found in result.get("measures", {}).values() if isinstance(found, dict)]
    kinds = [found["kind"] for found in reports if "kind" in found]
    return str(kinds[0] if kinds else result["status"])


def _has_ended(result: dict[str, Any], word: str) -> bool | None:
    """Whether a word stands for the end of a run; None where it failed."""
    ends = ends_of(result)
    return word in ends if ends else None


def number_of(value: Any) -> float | None:
    """Return a number as a float, an integer that is too large for one as infinite; None for what is no number."""
    if not isinstance(value, (bool, int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _truth(value: Any) -> float | None:
    """Return a truth value, or a share, as a number; a mean of other numbers would not be a share."""
    number = number_of(value)
    if number is not None and not 0.0 <= number <= 1.0:
        raise ValueError(f"phase: expected a column of truth values for a share, got one with {number:g}")
    return number
