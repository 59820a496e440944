"""Figures. Each function takes a Matplotlib ``Axes``, draws on it and returns it; nothing is ever shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._validate import Array
from .comparison import Comparison, singular_values
from .io import PathLike, write_atomically
from .status import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .papers._side_by_side import SideBySide

# Okabe and Ito's colours: told apart by all readers, and in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MARKERS = "osD^vPX*"
# Suboptimality below this is rounding, and drawn there.
_FLOOR = 1e-15
# A diverging run is followed up to here.
_CEILING = 1e3
# Singular values below this share of the largest count as zero, and are drawn there, hollow.
_ZERO = 1e-6
_MARGIN = 3.0


def plot_convergence(comparison: Comparison, ax: Axes) -> Axes:
    """Draw ``(L - F*)/|F*|`` of every run against its iterations, both logarithmic.

    Without a reference the lowest objective of all runs takes the place of ``F*``.
    """
    reference = comparison.reference
    values = [np.asarray(result.trace.value) for result in comparison.results]
    optimum = reference.fun if reference is not None else min(float(v.min()) for v in values)
    highest = 0.0
    for k, (row, result, value) in enumerate(zip(comparison.rows, comparison.results, values)):
        x = np.maximum(np.asarray(result.trace.iteration, dtype=float), 1.0)
        y = _above(value, optimum)
        end = _above(np.asarray([result.fun]), optimum)
        ax.loglog(x, y, color=_colour(k), lw=1.8, label=row.solver)
        ax.loglog(x[-1:], end, color=_colour(k), marker=_marker(k), ms=7)
        highest = max(highest, float(np.nanmax(y, initial=0.0)))
    ax.set_ylim(_FLOOR / _MARGIN, _MARGIN * min(highest, _CEILING))
    name = "F*" if reference is not None else "best run"
    ax.set_xlabel("iteration")
    ax.set_ylabel(f"(L - {name}) / |{name}|")
    ax.set_title("How far from the optimum" if reference is not None else "How far from the best run")
    ax.grid(alpha=0.25)
    return ax


def _above(value: Array, optimum: float) -> Array:
    """Return the relative height above the optimum, between the floor and beyond the ceiling.

    A value well below the optimum is a mini-batch's own loss, which has no height: a gap in the curve.
    """
    y = (value - optimum) / (abs(optimum) or 1.0)
    return np.where(y < -1e-9, np.nan, np.clip(y, _FLOOR, 10.0 * _CEILING))


def plot_spectra(comparison: Comparison, ax: Axes) -> Axes:
    """Draw the singular values of every run's update over those of the convex optimum (bars)."""
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
        ax.bar(index, optimal, width=0.8, color="0.85", label=f"convex optimum, rank {reference.rank}", zorder=0)
        ax.axvline(reference.rank + 0.5, color="0.4", ls="--", lw=1.2)
    for k, (row, values) in enumerate(zip(comparison.rows, spectra)):
        offset = 0.6 * ((k + 0.5) / len(spectra) - 0.5)
        _points(ax, np.arange(1, len(values) + 1) + offset, values, floor, k, row.solver)
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


def comparison_figure(comparison: Comparison, title: str) -> Figure:
    """Return the report's figure: convergence on the left, spectra on the right, one legend for both."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_convergence(comparison, left)
    plot_spectra(comparison, right)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6), frameon=False)
    figure.suptitle(title)
    return figure


def side_by_side_figure(outcome: SideBySide, title: str) -> Figure:
    """Return what is missing to the optimum for all methods: the median a point, the range over the seeds a line."""
    from matplotlib.figure import Figure

    lines = sorted(outcome.lines, key=lambda line: -float(np.median(line.missing)))
    figure = Figure(figsize=(9, 0.28 * len(lines) + 1.6), layout="constrained")
    axes = figure.subplots()
    for height, line in enumerate(lines):
        # Below the accuracy of the reference there is nothing to see; a diverged run has no point.
        shown = np.clip(line.missing[np.isfinite(line.missing)], 1e-12, None)
        if shown.size:
            axes.plot([shown.min(), shown.max()], [height, height], color=COLOURS[0], linewidth=2)
            axes.plot(np.median(shown), height, "o", color=COLOURS[0])
    axes.set_xscale("log")
    axes.set_yticks(range(len(lines)), [line.label for line in lines])
    axes.set_xlabel(f"share of the decrease to the method's own optimum missing after {outcome.budget} oracle calls")
    axes.grid(axis="x", alpha=0.3)
    figure.suptitle(title)
    return figure


def save_figure(path: PathLike, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all."""
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130))
