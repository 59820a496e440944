"""What a comparison found: its rows and runs, and the sentence that they come to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .._advice import unbounded_advice
from .._known import Known, weakest
from .._support.text import component_text, for_json, gap_text
from ..convex import ConvexResult
from ..method import Method
from ..problem import Problem
from ..result import Result
from ..tables import Column, Record, Tabular
from .rows import Row, denial, singular_values
from .table import columns_of, share, table
from .targets import target_of

# Without a certified reference, objectives this close (relative) are those of one point.
SAME = 1e-6
# What to do where nothing else is said.
DIVERGED = "try a smaller step size, or 'gd_backtracking'."

# Beyond so many rows the sentence sums up those that did not reach the optimum.
MOST_SENTENCES = 8


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Tabular):
    """What :func:`compare` returns.

    Attributes
    ----------
    problem : Problem
        What was solved.
    reference : ConvexResult or None
        The convex optimum; None where the problem has no convex counterpart.
    rows : list of Row
        One line per method, in the order given; of ``"all"`` the lowest objective first.
    results : list of Result
        The run of median objective of each row, in the same order.
    runs : list of list of Result
        All runs of each row, one a start.
    seeds : list of int
        The starts.
    budget : int or None
        Most oracle calls of a run, if limited.
    interrupted : bool
        Whether the comparison was interrupted; the rows are those finished by then.
    """

    problem: Problem
    reference: ConvexResult | None
    rows: list[Row]
    results: list[Result]
    runs: list[list[Result]]
    seeds: list[int]
    budget: int | None
    interrupted: bool = False

    @property
    def minimises(self) -> str:
        """What the problem asks for; rows with another ``minimises`` stand in blocks of their own."""
        return target_of(Method(), self.problem).text

    def best(self) -> int | None:
        """Return the index of the row with the lowest objective among those that minimise what the problem asks for.

        None if there is none or every run of them diverged.
        """
        own = self.minimises
        candidates = [k for k, row in enumerate(self.rows) if row.minimises == own and not row.diverged]
        return min(candidates, key=lambda k: self.rows[k].objective, default=None)

    def records(self) -> list[Record]:
        """Return the rows' fields."""
        return [asdict(row) for row in self.rows]

    def columns(self) -> list[Column]:
        """Return the columns of :meth:`table`, and what is minimised where not all rows minimise the same."""
        several = len({row.minimises for row in self.rows}) > 1
        return [*columns_of(self.rows), *([Column("minimises", "minimises", str, left=True)] if several else [])]

    def table(self) -> str:
        """Return the rows as text: the problem's own block first, its reference on top, then the other blocks."""
        return table(self.rows, self.minimises, self.reference, self.problem.rank)

    def conclusion(self) -> str:
        """Return the outcome in one sentence."""
        return _sentence(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the factors as plain JSON-ready values, traces and spectra included.

        None stands for what JSON cannot hold: the step of a method without one, what is missing of a run that diverged,
        and values beyond the finite numbers.
        """
        m, n = self.problem.shape
        rows = []
        for row, result in zip(self.rows, self.results):
            entry: dict[str, Any] = asdict(row)
            entry["message"] = result.message
            entry["seed"] = result.seed
            entry["started_from"] = result.started_from
            entry["singular_values"] = singular_values(result)
            entry["trace"] = result.trace.to_dict()
            rows.append(entry)
        document = {
            "problem": {
                "objective": self.problem.objective.label,
                "shape": [m, n],
                "rank": self.problem.rank,
                "lam": self.problem.lam,
                "adapter": component_text(self.problem.adapter),
                "minimises": self.minimises,
            },
            "seeds": self.seeds,
            "budget": self.budget,
            "reference": None if self.reference is None else self.reference.to_dict(),
            "rows": rows,
            "conclusion": self.conclusion(),
            "interrupted": self.interrupted,
        }
        return dict(for_json(document))

    def __str__(self) -> str:
        return f"{self.table()}\n\n{self.conclusion()}"

    def __repr__(self) -> str:
        return f"Comparison({self.problem!r}: {', '.join(row.method for row in self.rows)})"


# ---------------------------------------------------------------------- the sentence
def _sentence(comparison: Comparison) -> str:
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
    worse = [row.method for row in rows if row.objective > least and not row.diverged]
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
        nearest = min(missed, key=lambda row: (row.diverged, row.objective))
        parts.append(f"{len(missed)} did not reach it{starts}; the nearest is {nearest.method}, {_shortfall(nearest)}.")
    if others:
        parts.append(f"{len(others)} minimise something else.")
    return parts


def _missed(row: Row) -> bool:
    """Whether a row is known to have ended elsewhere than at the optimum, from some start."""
    return row.is_global is False or row.diverged or math.inf in (row.missing or [])


def _shortfall(row: Row) -> str:
    """Say in a few words why a row is not certified."""
    if row.missing is not None and len(row.missing) > 1 and math.inf in row.missing:
        return f"diverged from {row.missing.count(math.inf)} of {len(row.missing)} starts"
    if row.diverged:
        return row.status
    if row.is_global is False:
        if row.missing is not None and (len(row.missing) > 1 or not row.reference):
            # Nothing is relative to an optimum of 0.
            start = " from the worst start" if len(row.missing) > 1 else ""
            # Where the frozen weight counts as the optimum there is no decrease, and shares are of the optimum.
            short = "above it (relative)" if _of_the_optimum(row) else "of the decrease is missing"
            return f"{share(max(row.missing))} {short}{start}, {row.status}"
        above = "" if row.suboptimality is None else f"{share(row.suboptimality)} above it (relative), "
        return f"{above}{row.status}"
    bound = "certified to no gap" if row.gap is None else f"certified only to a relative gap of {gap_text(row.gap)}"
    if row.suboptimality is None:
        return f"{bound}, {row.status}"
    optimum = "the convex optimum" if "||X||_*" in row.minimises else "the optimum"
    return f"{share(row.suboptimality)} above {optimum}, {bound}, {row.status}"


def _of_the_optimum(row: Row) -> bool:
    """Whether what is missing is a share of the optimum, as the suboptimality is."""
    return bool(row.reference and row.suboptimality) and row.suboptimality in (row.missing or [])


def _elsewhere(row: Row) -> str:
    """Say whether a method of another aim ended at the problem's optimum all the same."""
    if row.is_global is None:
        return ""
    return " and is at the problem's optimum too" if row.is_global else " and is not at the problem's optimum"
