"""Figures. Each function takes a Matplotlib ``Axes``, draws on it and returns it; nothing is ever shown."""

from __future__ import annotations

import math
import pathlib
import re
import textwrap
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ._support.files import PathLike, Write, write_atomically
from ._support.validate import Array, as_choice, as_instance, as_path, as_text
from .status import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

    from .comparison import Comparison

__all__ = ["comparison_figure", "figure_writer", "plot_convergence", "plot_missing", "plot_spectra", "save_figure"]

# Okabe and Ito's colours: told apart by all readers, and in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MARKERS = "osD^vPX*"
_BARS = "0.85"
# Suboptimality below this is rounding, and drawn there.
_FLOOR = 1e-15
# A diverging run is followed up to here.
_CEILING = 1e3
# Singular values below this share of the largest count as zero, and are drawn there, hollow.
_ZERO = 1e-6
_MARGIN = 3.0
# A missing share below this is the reference's own accuracy, and drawn there.
_MISSING_FLOOR = 1e-12
# Letters of a legend that fit into an inch, and what a mark and its gaps take of them.
LEGEND_LETTERS, LEGEND_MARK = 14.0, 8
# Letters of a title that fit into an inch, and of a method into a line beside the third panel.
TITLE_LETTERS, NAME_LETTERS = 10, 40
# More curves in one picture cannot be told apart.
MOST_CURVES = 8


def plot_convergence(comparison: Comparison, ax: Axes) -> Axes:
    """Draw ``(L - F*)/|F*|`` of every run against its iterations, both logarithmic; ``L - F*`` where ``F* = 0``.

    Without a reference the lowest objective of all runs takes the place of ``F*``.
    """
    _check(comparison, ax)
    reference = comparison.reference
    values = [np.asarray(result.trace.value) for result in comparison.results]
    optimum = reference.fun if reference is not None else min(float(v.min()) for v in values)
    highest = 0.0
    for k, (row, result, value) in enumerate(zip(comparison.rows, comparison.results, values)):
        x = np.maximum(np.asarray(result.trace.iteration, dtype=float), 1.0)
        y = _above(value, optimum)
        end = _above(np.asarray([result.fun]), optimum)
        ax.loglog(x, y, color=_colour(k), lw=1.8, label=row.method)
        ax.loglog(x[-1:], end, color=_colour(k), marker=_marker(k), ms=7)
        highest = max(highest, float(np.nanmax(y, initial=0.0)))
    ax.set_ylim(_FLOOR / _MARGIN, _MARGIN * min(highest, _CEILING))
    name = "F*" if reference is not None else "best run"
    ax.set_xlabel("iteration")
    ax.set_ylabel(f"(L - {name}) / |{name}|" if optimum else f"L - {name}   ({name} = 0)")
    ax.set_title("How far from the optimum" if reference is not None else "How far from the best run")
    ax.grid(alpha=0.25)
    return ax


def _check(comparison: Comparison, ax: Axes) -> None:
    from matplotlib.axes import Axes

    from .comparison import Comparison

    as_instance(comparison, "comparison", Comparison)
    as_instance(ax, "ax", Axes)


def _above(value: Array, optimum: float) -> Array:
    """Return the relative height above the optimum, between the floor and beyond the ceiling.

    A value well below the optimum is a mini-batch's own loss, which has no height: a gap in the curve.
    """
    y = (value - optimum) / (abs(optimum) or 1.0)
    return np.where(y < -1e-9, np.nan, np.clip(y, _FLOOR, 10.0 * _CEILING))


def plot_spectra(comparison: Comparison, ax: Axes) -> Axes:
    """Draw the singular values of every run's update over those of the convex optimum (bars)."""
    from .comparison.rows import singular_values

    _check(comparison, ax)
    reference = comparison.reference
    empty = np.zeros(0)
    spectra = [
        empty if result.status is Status.DIVERGED else np.asarray(singular_values(result))
        for result in comparison.results
    ]
    optimal = empty if reference is None else np.asarray(reference.certificate.singular_values[: reference.rank])
    largest = max([float(s.max(initial=0.0)) for s in [optimal, *spectra]], default=1.0) or 1.0
    floor = _ZERO * largest
    if reference is not None:
        index = np.arange(1, len(optimal) + 1)
        ax.bar(index, optimal, width=0.8, color=_BARS, zorder=0)
        # For the legend: of an optimum of rank 0 there are no bars, whose colour it could show.
        ax.fill_between([], [], color=_BARS, label=f"convex optimum, rank {reference.rank}")
        ax.axvline(reference.rank + 0.5, color="0.4", ls="--", lw=1.2, label="rank of the optimum")
    for k, (row, values) in enumerate(zip(comparison.rows, spectra)):
        offset = 0.6 * ((k + 0.5) / len(spectra) - 0.5)
        _points(ax, np.arange(1, len(values) + 1) + offset, values, floor, k, row.method)
    ax.set_yscale("log")
    ax.set_ylim(floor / _MARGIN, largest * _MARGIN)
    count = max(len(values) for values in [optimal, *spectra])
    if count <= 16:
        ax.set_xticks(np.arange(1, count + 1))
    ax.set_xlabel("index of the singular value (hollow: zero, below 1e-6 of the largest)")
    ax.set_ylabel("singular value of X")
    ax.set_title("Which rank the update has")
    ax.grid(alpha=0.25, axis="y")
    return ax


def _points(ax: Axes, x: Array, values: Array, floor: float, k: int, label: str) -> None:
    """Draw values as points; those below the floor hollow on it."""
    above = values > floor
    style: dict[str, Any] = {"color": _colour(k), "marker": _marker(k), "ms": 6, "ls": "none"}
    ax.plot(x[above], values[above], label=label, **style)
    ax.plot(x[~above], np.full(int((~above).sum()), floor), markerfacecolor="none", **style)


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]


def _marker(k: int) -> str:
    return MARKERS[k % len(MARKERS)]


def plot_missing(comparison: Comparison, ax: Axes) -> Axes:
    """Draw what each row misses of the decrease to the least value of what it minimises.

    The median over the starts is a point, their range a line; rows without a known least value are left out. Shares
    below the accuracy of the reference are drawn at its level.
    """
    from matplotlib.lines import Line2D

    _check(comparison, ax)
    rows = [row for row in comparison.rows if row.missing is not None]
    rows.sort(key=lambda row: -float(np.median(row.missing or [])))
    own = [row.minimises == comparison.minimises for row in rows]
    styles = {
        True: (f"minimises {comparison.minimises}", COLOURS[0], "o"),
        False: ("minimises something else", COLOURS[1], "s"),
    }
    # Before there is anything to see: of points that are all at one place matplotlib makes limits, and warns.
    ax.set_xscale("log")
    largest = 1.0
    for height, (row, kind) in enumerate(zip(rows, own)):
        missing = np.asarray(row.missing)
        # Below the accuracy of the reference there is nothing to see; a diverged run has no point.
        shown = np.clip(missing[np.isfinite(missing)], _MISSING_FLOOR, None)
        if shown.size:
            _, colour, marker = styles[kind]
            ax.plot([shown.min(), shown.max()], [height, height], color=colour, lw=2)
            ax.plot(np.median(shown), height, marker, color=colour)
            largest = max(largest, float(shown.max()))
    ax.axvline(_MISSING_FLOOR, color="0.4", ls=":", lw=1)
    # Up to the whole decrease: where all rows reach the floor the axis has a width, and the legend a place beside them.
    ax.set_xlim(_MISSING_FLOOR / _MARGIN, _MARGIN * largest)
    handles = [
        Line2D([], [], color=colour, marker=marker, lw=2, label=label)
        for kind, (label, colour, marker) in styles.items()
        if kind in own
    ]
    handles.append(Line2D([], [], color="0.4", ls=":", lw=1, label=f"{_MISSING_FLOOR:g} or less"))
    title = "mark: median of the starts, bar: their range"
    _plain(ax.legend(handles=handles, title=title, fontsize=8, title_fontsize=8))
    ax.set_yticks(range(len(rows)), _short([row.method for row in rows]), parse_math=False)
    ax.set_xlabel("missing share of the decrease to its own optimum")
    ax.set_title("All methods, each against its own optimum")
    ax.grid(axis="x", alpha=0.3)
    return ax


def _plain(legend: Legend) -> None:
    """Show the labels of a legend as they are: a ``$`` in a name begins no mathematics."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def _short(methods: list[str]) -> list[str]:
    """Return each method's text without the settings of its parts where that tells it from the others."""
    bare = [re.sub(r":[^+@~/]*", "", method) for method in methods]
    count = Counter(bare)
    return [short if count[short] == 1 else textwrap.fill(method, NAME_LETTERS) for short, method in zip(bare, methods)]


def comparison_figure(comparison: Comparison, title: str) -> Figure:
    """Return the report's figure: convergence, spectra, and with many rows or starts what each row misses.

    The curves and spectra are those of the methods that minimise what the problem asks for, at most the
    ``MOST_CURVES`` best of them, under one legend.
    """
    from matplotlib.figure import Figure

    from .comparison import Comparison

    as_instance(comparison, "comparison", Comparison)
    as_text(title, "title")
    many = len(comparison.rows) > MOST_CURVES or len(comparison.seeds) > 1
    height = max(5.4, 0.26 * len(comparison.rows) + 1.8) if many else 5.4
    figure = Figure(figsize=(18, height) if many else (12, height), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(1, 1, 0.8)) if many else figure.subplots(1, 2)
    own = _own_rows(comparison)
    plot_convergence(own, axes[0])
    plot_spectra(own, axes[1])
    if many:
        plot_missing(comparison, axes[2])
    handles, labels = axes[1].get_legend_handles_labels()
    needed = sum(map(len, labels)) + LEGEND_MARK * len(labels)
    rows = max(1, math.ceil(needed / (LEGEND_LETTERS * figure.get_figwidth())))
    columns = math.ceil(len(labels) / rows)
    _plain(figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9))
    letters = int(TITLE_LETTERS * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.fill(line, letters) for line in title.splitlines()), parse_math=False)
    return figure


def _own_rows(comparison: Comparison) -> Comparison:
    """Return the comparison with the best rows of the problem's own block, in their order; all rows if it is empty."""
    own = [k for k, row in enumerate(comparison.rows) if row.minimises == comparison.minimises]
    best = sorted(own or range(len(comparison.rows)), key=lambda k: comparison.rows[k].objective)[:MOST_CURVES]
    kept = sorted(best)
    return replace(
        comparison,
        rows=[comparison.rows[k] for k in kept],
        results=[comparison.results[k] for k in kept],
        runs=[comparison.runs[k] for k in kept],
    )


# Kinds of pictures, and where each keeps a text of ours.
PICTURES = {".png": "run", ".pdf": "Keywords", ".svg": "Identifier"}


def save_figure(path: PathLike, figure: Figure) -> None:
    """Write a figure whole or not at all, as its suffix says: ``.png``, ``.pdf`` or ``.svg``."""
    path = pathlib.Path(as_path(path, "path"))
    if path.suffix not in PICTURES:
        raise ValueError(f"path: expected a name that ends in {', '.join(PICTURES)}, got {path.name!r}")
    write_atomically(path, figure_writer(figure, path.suffix))


def figure_writer(figure: Figure, suffix: str = ".png", run: str = "") -> Write:
    """Return what writes a figure in the format of a suffix, with the name of a run that the file carries."""
    from matplotlib.figure import Figure

    as_instance(figure, "figure", Figure)
    as_choice(suffix, "suffix", PICTURES)
    as_text(run, "run")
    metadata = {PICTURES[suffix]: run} if run else None
    return lambda file: figure.savefig(file, format=suffix[1:], dpi=130, metadata=metadata)
