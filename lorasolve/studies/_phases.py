"""Phase diagrams: a measure of runs over two axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._support.keywords import suggest
from .._support.validate import Array, shown
from ..status import Status
from ._cells import label_texts, order
from .records import Record, check_axes, end_of, ends_of, measure_of, measured, row_of, word_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# As many labels does an axis have, and as many letters have room below a map of the usual width.
_TICKS, _LETTERS = 10, 48
# The words for the ends of runs without a verdict.
_STATUSES = {status.name.lower() for status in Status}


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
    is_call : bool
        Whether it is a call of a function, and no run of a solver.
    """

    cell: Record
    number: float
    end: str
    error: str | None
    asked: bool
    is_call: bool


class Phase(NamedTuple):
    """A measure over two axes.

    Attributes
    ----------
    x, y : str
        The axes.
    xs, ys : list
        Their values, in order.
    found : ndarray of shape (len(ys), len(xs))
        The measure, NaN where there is no run.
    spots : dict
        The runs behind each cell, by what :func:`~lorasolve.studies._cells.order` makes of its two values.
    title : str
        What the measure is called.
    """

    x: str
    y: str
    xs: list[Any]
    ys: list[Any]
    found: Array
    spots: dict[tuple[Any, Any], list[Spot]]
    title: str

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1."""
        return _is_share(self.title)


def _is_share(title: str) -> bool:
    return title.startswith("share of ")


def phase(
    records: Iterable[Record], x: str, y: str, measure: str | Callable[[Record], float | bool | None], source: str
) -> Phase:
    """Return a measure over two axes, all other axes summed up; ``source`` is how messages call what holds the runs.

    Raises
    ------
    ValueError
        For axes, columns and words that there are not.
    """
    value, combine, title = measure_of(measure, "phase")
    spots: dict[tuple[Any, Any], list[Spot]] = {}
    x_labels: dict[Any, Any] = {}
    y_labels: dict[Any, Any] = {}
    columns: set[str] = set()
    ends: set[str] = set()
    column = title.removeprefix("share of ")
    for record in records:
        cell, result, row = record["run"]["cell"], record["result"], row_of(record)
        check_axes((x, y), cell, "phase")
        ends |= set(ends_of(result))
        columns |= set(row)
        number = value(record)
        place = order(cell[x]), order(cell[y])
        x_labels[place[0]], y_labels[place[1]] = cell[x], cell[y]
        number, error = math.nan if number is None else _as_number(number, title), result.get("error")
        came = any(column.startswith(f"{name}.") for name in measured(result))
        asked = error is None or column in row or came
        spot = Spot(cell, number, end_of(result), error, asked, "calls" in record["run"])
        spots.setdefault(place, []).append(spot)
    if not spots:
        raise ValueError(f"phase: {source} holds no runs of this study")
    _check_word(measure, ends)
    across, up = (sorted({place[k] for place in spots}) for k in (0, 1))
    found = np.full((len(up), len(across)), np.nan)
    for (a, b), those in spots.items():
        numbers = [spot.number for spot in those if not math.isnan(spot.number)]
        if numbers and _is_share(title):
            # A run of which the answer is not known, a diverged one for instance, must not raise the share.
            numbers += [0.0 for spot in those if math.isnan(spot.number) and spot.asked]
        if numbers:
            found[up.index(b), across.index(a)] = combine(numbers)
    xs, ys = [x_labels[a] for a in across], [y_labels[b] for b in up]
    if np.isnan(found).all():
        is_end = column in ends | _STATUSES
        hint = f" ('share of {column} ends' is that of the runs that end so)" if is_end else ""
        raise ValueError(f"phase: {title!r} has no value at any run{hint}; columns: {', '.join(sorted(columns))}")
    return Phase(x, y, xs, ys, found, spots, title)


def _as_number(found: Any, title: str) -> float:
    """Return what a function says of a run as a number."""
    try:
        return float(found)
    except (TypeError, ValueError):
        raise TypeError(f"phase: {title}: expected a number or truth value of every run, got {shown(found)}") from None


def _check_word(measure: Any, ends: set[str]) -> None:
    """Refuse a word that stands for no end of these runs: a share of 0 would say that there are such ends elsewhere."""
    from ..landscape.report import KINDS

    word = word_of(measure)
    judged = not ends <= _STATUSES
    accepted = sorted(ends | _STATUSES | set(KINDS if judged else ()))
    if word is not None and ends and word not in accepted:
        hint = "" if judged else " Verdicts are there where the study has the measure 'verdict'."
        raise ValueError(f"phase: no run ends {word!r}.{suggest(word, accepted)}{hint}")


def draw(ax: Axes, made: Phase) -> None:
    """Draw a phase diagram."""
    image = ax.pcolormesh(
        range(len(made.xs)), range(len(made.ys)), made.found, cmap="viridis", shading="nearest",
        vmin=0.0 if made.is_share else None, vmax=1.0 if made.is_share else None,
    )  # fmt: skip
    for axis, name, values in ((ax.xaxis, made.x, made.xs), (ax.yaxis, made.y, made.ys)):
        texts = label_texts(values)
        # Below the map they stand side by side.
        fit = _LETTERS // max(len(text) + 2 for text in texts) if axis is ax.xaxis else _TICKS
        step = -(-len(values) // max(1, min(fit, _TICKS)))
        axis.set_ticks(range(0, len(values), step), texts[::step], parse_math=False)
        axis.set_label_text(name)
    ax.set_title(made.title, parse_math=False)
    ax.figure.colorbar(image, ax=ax)
