"""A comparison as text: a table with one block for each thing minimised, and a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._advice import unbounded_advice
from .._known import Known, weakest
from .._support.text import gap_text, number
from ..convex import ConvexResult
from ..method import Method
from ..problem import Problem
from ..status import Status
from ..tables import Column, aligned
from .rows import Row, denial
from .targets import target_of

if TYPE_CHECKING:
    from .runs import Comparison


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}" if value else "0"


def _missing(value: list[float] | None) -> str:
    if value is None:
        return "-"
    middle = sorted(value)[(len(value) - 1) // 2]
    return _share(middle) if len(value) == 1 else f"{_share(middle)} ({_share(min(value))} to {_share(max(value))})"


def _rate(value: float | None) -> str:
    return "-" if value is None else number(value, ".7g")


def _seconds(value: float) -> str:
    return f"{value:.2f}"


COLUMNS = (
    Column("method", "method", str, left=True),
    Column("objective", "objective", lambda value: number(value, ".10g")),
    Column("suboptimality", "above optimum", _share),
    Column("missing", "missing", _missing),
    Column("gap", "certified gap", lambda value: "-" if value is None else gap_text(value)),
    Column("is_global", "global", {True: "yes", False: "no", None: "unknown"}.__getitem__),
    Column("rank", "rank", lambda value: "-" if value is None else str(value)),
    Column("sigma_r", "sigma_r", _share, latex=r"$\sigma_r$"),
    Column("nuclear_norm", "||X||_*", lambda value: "-" if value is None else number(value, ".6g"), latex=r"$\|X\|_*$"),
    Column("step_size", "step", _share),
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

# Without a certified reference, objectives this close (relative) are those of one point.
SAME = 1e-6
# What to do where nothing else is said.
DIVERGED = "try a smaller step size, or 'gd_backtracking'."

# Beyond so many rows the sentence sums up those that did not reach the optimum.
MOST_SENTENCES = 8


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


def narrow_table(comparison: Comparison, width: int) -> tuple[str, list[str]]:
    """Return the table in lines of at most ``width`` characters as far as can be, and the headings left out for that.

    The rows of long names are below their names then.
    """
    columns = columns_of(comparison.rows)
    lines = _lines(comparison.rows, comparison.minimises, comparison.reference, comparison.problem.rank)
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


# ---------------------------------------------------------------------- the sentence
def sentence(comparison: Comparison) -> str:
    """Return the outcome of a comparison in words: who reached the problem's own optimum, and who tried and did not."""
    rows = [row for row in comparison.rows if row.minimises == comparison.minimises]
    if not comparison.rows:
        return "No run was finished."
    best = comparison.best()
    if best is None:
        if rows:
            return f"Every run diverged: {_unbounded(comparison) or DIVERGED}"
        return f"No method here minimises {comparison.minimises}; nothing is judged against its optimum."
    denied = denial(comparison.rows, comparison.reference)
    if denied:
        return f"Inconclusive: {denied}; {_lowest(rows, comparison, best)}"
    reference = comparison.reference if comparison.problem.adapter.low_rank else None
    if reference is None and not _is_judged_by_rank(comparison, rows):
        return f"Inconclusive: without a convex counterpart there is no certificate; {_lowest(rows, comparison, best)}"
    if reference is not None and _is_below(comparison.rows[best], reference):
        none = f"{comparison.rows[best].method} is below what {reference.route!r} found for the optimum, which is none"
        return f"Inconclusive: {none}; {_lowest(rows, comparison, best)} {_unbounded(comparison)}".rstrip()
    if any(row.is_global for row in rows):
        return " ".join([_reached(comparison, rows, reference), *_of_the_rest(comparison, rows)])
    return _reached_by_none(comparison, rows, comparison.rows[best], reference)


def _is_below(row: Row, reference: ConvexResult) -> bool:
    """Whether a run ended so far below a reference that is not certified that this is no optimum."""
    return not reference.certificate.is_global and row.objective < reference.fun - SAME * abs(reference.fun)


def _unbounded(comparison: Comparison) -> str:
    """Return what a run was told whose values fell for ever; empty where none was."""
    told = (unbounded_advice(result) for result in comparison.results)
    return next((text.removeprefix("; ") for text in told if text), "")


def _optimum(comparison: Comparison, reference: ConvexResult | None) -> str:
    """Return what the optimum is called; without decay a bound of f, or a closed form, judges."""
    return "global optimum" if reference is not None else f"global optimum of {comparison.minimises}"


def _as_found(reference: ConvexResult) -> str:
    """Say where a reference is not certified that its rank is that of a point that was found."""
    return "" if reference.certificate.is_global else " as found, not certified"


def _starts(comparison: Comparison) -> str:
    return " from every start" if len(comparison.seeds) > 1 else ""


def _unknown(rows: list[Row]) -> list[Row]:
    """Return the rows of which it is not known whether they are at the optimum."""
    return [row for row in rows if not row.is_global and not _missed(row)]


def _reached_by_none(comparison: Comparison, rows: list[Row], nearest: Row, reference: ConvexResult | None) -> str:
    """Say that no method reached the optimum, which one came nearest, and whether the factors can hold it."""
    none = "No method is certified to have reached" if _unknown(rows) else "No method reached"
    rank = "" if reference is None else f" (rank {reference.rank}{_as_found(reference)})"
    cannot = "" if reference is None else _out_of_reach(comparison.problem, reference)
    return (
        f"{none} the {_optimum(comparison, reference)}{rank}{_starts(comparison)}; the nearest is {nearest.method}, "
        f"{_shortfall(nearest)}.{cannot}"
    )


def _reached(comparison: Comparison, rows: list[Row], reference: ConvexResult | None) -> str:
    """Say which methods reached the optimum, to which gap, and which rank it has."""
    good = [row for row in rows if row.is_global]
    worst = max(row.gap for row in good if row.gap is not None)
    level = weakest(Known[row.level] for row in good if row.level)
    held, columns = "", comparison.problem.rank
    if reference is not None:
        held = f"; it has rank {reference.rank}{_as_found(reference)}, found with factors of rank {columns}"
        if reference.rank > columns:  # what is optimal to the tolerance may have fewer
            held = f"; found with factors of rank {columns}, where the reference has rank {reference.rank}"
    return (
        f"G{_optimum(comparison, reference)[1:]} reached by {len(good)} of {len(rows)} methods "
        f"({', '.join(row.method for row in good)}), {level} to a relative gap of {gap_text(worst)}{held}."
    )


def _of_the_rest(comparison: Comparison, rows: list[Row]) -> list[str]:
    """Return a sentence for each method that did not reach the optimum or has another aim; of many, three for all."""
    unknown, missed = _unknown(rows), [row for row in rows if _missed(row)]
    others = [row for row in comparison.rows if row.minimises != comparison.minimises]
    starts = _starts(comparison)
    if len(comparison.rows) > MOST_SENTENCES:
        return _in_short(unknown, missed, others, starts)
    return [
        *(f"{row.method} is not certified: {_shortfall(row)}." for row in unknown),
        *(f"{row.method} did not reach it{starts}: {_shortfall(row)}." for row in missed),
        *(f"{row.method} minimises {row.minimises}{_elsewhere(row)}." for row in others),
    ]


def _is_judged_by_rank(comparison: Comparison, rows: list[Row]) -> bool:
    """Whether certificates without decay say of rows what their own aim is, the best of the rank.

    With a factor frozen the aim is another one, and who is not at the best of the rank may be at that.
    """
    if target_of(Method(), comparison.problem).rank is None:
        return False
    return any(row.is_global or (row.is_global is False and row.reference is not None) for row in rows)


def _lowest(rows: list[Row], comparison: Comparison, best: int) -> str:
    """Say which row ended lowest, which ended at worse points, and how to go on from there."""
    low = comparison.rows[best]
    text = f"the lowest objective is {low.objective:.8g}, by {low.method}."
    least = low.objective + SAME * abs(low.objective)
    worse = [row.method for row in rows if row.objective > least and row.status != Status.DIVERGED.label]
    if not worse:
        return text
    return (
        f"{text} A better point is known than where {', '.join(worse)} ended: start from it "
        f"(init=table.results[{best}]), or see where many starts end (landscape.census)."
    )


def _out_of_reach(problem: Problem, reference: ConvexResult) -> str:
    """Say why the factors cannot hold the optimum, and which can; empty if they can."""
    rank = problem.rank
    if problem.trainable is not None:
        return " With a factor frozen it bounds all values from below, and need not be one of them at any rank."
    if reference.rank <= rank:
        return ""
    low, high = reference.certificate.rank_at_least, reference.certificate.rank_at_most
    enough = reference.rank if high is None else high
    if low is not None and low > rank:
        return f" Factors of rank {rank} cannot: every optimum has rank at least {low}; rank {enough} is enough."
    return f" Factors of rank {rank} cannot hold the optimum that was found; those of rank {enough} can."


def _in_short(unknown: list[Row], missed: list[Row], others: list[Row], starts: str) -> list[str]:
    """Return the rest of a long table in at most three sentences."""
    parts = []
    if unknown:
        nearest = min(unknown, key=lambda row: row.objective)
        parts.append(f"Not certified: {len(unknown)}; the nearest is {nearest.method}, {_shortfall(nearest)}.")
    if missed:
        nearest = min(missed, key=lambda row: (row.status == Status.DIVERGED.label, row.objective))
        parts.append(f"{len(missed)} did not reach it{starts}; the nearest is {nearest.method}, {_shortfall(nearest)}.")
    if others:
        parts.append(f"{len(others)} minimise something else.")
    return parts


def _missed(row: Row) -> bool:
    """Whether a row is known to have ended elsewhere than at the optimum, from some start."""
    return row.is_global is False or row.status == Status.DIVERGED.label or math.inf in (row.missing or [])


def _shortfall(row: Row) -> str:
    """Say in a few words why a row is not certified."""
    if row.missing is not None and len(row.missing) > 1 and math.inf in row.missing:
        return f"diverged from {row.missing.count(math.inf)} of {len(row.missing)} starts"
    if row.status == Status.DIVERGED.label:
        return row.status
    if row.is_global is False:
        if row.missing is not None and (len(row.missing) > 1 or not row.reference):
            # Nothing is relative to an optimum of 0.
            start = " from the worst start" if len(row.missing) > 1 else ""
            # Where the frozen weight counts as the optimum there is no decrease, and shares are of the optimum.
            short = "above it (relative)" if _of_the_optimum(row) else "of the decrease is missing"
            return f"{_share(max(row.missing))} {short}{start}, {row.status}"
        above = "" if row.suboptimality is None else f"{_share(row.suboptimality)} above it (relative), "
        return f"{above}{row.status}"
    bound = "certified to no gap" if row.gap is None else f"certified only to a relative gap of {gap_text(row.gap)}"
    if row.suboptimality is None:
        return f"{bound}, {row.status}"
    optimum = "the convex optimum" if "||X||_*" in row.minimises else "the optimum"
    return f"{_share(row.suboptimality)} above {optimum}, {bound}, {row.status}"


def _of_the_optimum(row: Row) -> bool:
    """Whether what is missing is a share of the optimum, as the suboptimality is."""
    return bool(row.reference and row.suboptimality) and row.suboptimality in (row.missing or [])


def _elsewhere(row: Row) -> str:
    """Say whether a method of another aim ended at the problem's optimum all the same."""
    if row.is_global is None:
        return ""
    return " and is at the problem's optimum too" if row.is_global else " and is not at the problem's optimum"
