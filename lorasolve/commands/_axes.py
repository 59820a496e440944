"""Axes that are chosen on the command line: read as what the experiment declares, and whether claims can be judged."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from .._support.keywords import suggest
from .._support.validate import as_integer, as_number
from ..papers.base import Axes, Experiment, PaperClaims

# As many numbers of an experiment's own does a help list.
_LISTED = 6


def help_text(name: str, experiments: Sequence[Experiment]) -> str:
    """Return what an option sets, and the values of each experiment's own."""
    found: dict[str, list[str]] = {}
    for experiment in experiments:
        axes = experiment.axes(False)
        values = dict.fromkeys(_own_text(axes[axis]) for axis in options(experiment)[name])
        found.setdefault(experiment.meaning(name), []).append(f"{experiment.name}: {' or '.join(values)}")
    return "; ".join(f"{meaning} ({'; '.join(own)})" for meaning, own in found.items())


def _own_text(own: Any) -> str:
    listed = own if isinstance(own, list) else [own]
    if isinstance(listed[0], str):
        return shlex.join(listed)  # all that are accepted
    texts = [f"{each:.4g}" if isinstance(each, float) else str(each).lower() for each in listed]
    return " ".join(texts if len(texts) <= _LISTED else [*texts[: _LISTED - 2], "...", texts[-1]])


def options(experiment: Experiment) -> dict[str, list[str]]:
    """Return the names of options, and the axes that each sets: of a paper's claims those of all parts."""
    found: dict[str, list[str]] = {}
    for axis in experiment.axes(quick=False):
        found.setdefault(axis.rpartition(".")[2], []).append(axis)
    return found


def chosen(experiment: Experiment, quick: bool, given: Mapping[str, Sequence[str]]) -> Axes:
    """Return the axes of an experiment with those that are given as texts, by the names of options.

    Raises
    ------
    ValueError
        For names that are no axes, values of another kind than the experiment's own, that it does not know or that go
        together with no others, several where all cells share one, and fewer than the claims of a paper need.
    """
    known = options(experiment)
    axes = experiment.axes(quick)
    for name, texts in given.items():
        if name not in known:
            near = suggest(name, list(known)) if known else " It has none."
            raise ValueError(f"{option(name)}: is no axis of {experiment.name}.{near}")
        for axis in known[name]:
            axes[axis] = _values(name, texts, experiment.axes(False)[axis])
        short = [axis for axis in known[name] if not _covered(experiment, axis, axes[axis])]
        if short and isinstance(experiment, PaperClaims):
            # Parts that share an option need different numbers: the largest is enough for all.
            least = [experiment.axes(True)[axis] for axis in short]
            needed = _least(least[0] if isinstance(least[0], list) else max(least))
            raise ValueError(f"{option(name)}: the claims of {experiment.name} need {needed}, got {' '.join(texts)}")
    if given and not isinstance(experiment, PaperClaims):
        _require_cells(experiment, axes, given)
    return axes


def _require_cells(experiment: Experiment, axes: Axes, given: Mapping[str, Sequence[str]]) -> None:
    """Refuse values that are in no cell, as none of the other axes goes together with them."""
    cells = experiment.cells(axes)
    if not cells:
        raise ValueError(f"{' '.join(words(given))}: no values of these go together in {experiment.name}")
    for name in given:
        used = {cell[name] for cell in cells}
        unused = [value for value in axes[name] if value not in used] if isinstance(axes[name], list) else []
        if unused:
            which = " ".join(f"{value:g}" if isinstance(value, int | float) else str(value) for value in unused)
            raise ValueError(
                f"{option(name)}: {which} goes together with no value of the other axes of {experiment.name}"
            )


def in_own_order(experiment: Experiment, axes: Axes) -> Axes:
    """Return the axes with numbers from the least to the largest, or downwards where the experiment's own are so."""
    found = dict(axes)
    for axis, own in experiment.axes(False).items():
        if isinstance(own, list) and not isinstance(own[0], str):
            found[axis] = sorted(axes[axis], reverse=own[0] > own[-1])
    return found


def words(given: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the words of the command line that choose the axes."""
    return [word for name, texts in given.items() for word in (option(name), *texts)]


def option(name: str) -> str:
    """Return an axis as an option of the command line."""
    return "--" + name.replace("_", "-")


def judged(experiment: Experiment, axes: Mapping[str, Any]) -> bool:
    """Whether axes hold what the claims are about: all values of the quick or of the full version, and as many runs."""
    return all(_covered(experiment, axis, value) for axis, value in axes.items())


def _covered(experiment: Experiment, axis: str, value: Any) -> bool:
    return any(_holds(value, experiment.axes(quick)[axis]) for quick in (True, False))


def _holds(value: Any, least: Any) -> bool:
    if isinstance(least, list):
        return all(entry in value for entry in least)
    return bool(value >= least) if isinstance(least, int) else bool(value == least)


def _least(own: Any) -> str:
    return f"{' '.join(map(str, own))} among the values" if isinstance(own, list) else f"at least {own}"


def _values(name: str, texts: Sequence[str], own: Any) -> Any:
    """Return values of the kind that the experiment's own are of."""
    if not isinstance(own, list):
        if len(texts) != 1:
            raise ValueError(f"{option(name)}: expected one value, which all cells share, got {' '.join(texts)}")
        return _value(name, texts[0], [own])
    values = [_value(name, text, own) for text in texts]
    if len(set(values)) < len(values):
        raise ValueError(f"{option(name)}: holds a value twice: {' '.join(texts)}")
    return values


def _value(name: str, text: str, own: list[Any]) -> Any:
    kind = type(own[0])
    if kind is str or kind is bool:
        listed = {"false": False, "true": True} if kind is bool else {entry: entry for entry in own}
        if text not in listed:
            expected = ", ".join(map(repr, listed))
            raise ValueError(f"{option(name)}: expected one of {expected}, got {text!r}.{suggest(text, list(listed))}")
        return listed[text]
    try:
        number = kind(text)
    except ValueError:
        kinds = "an integer" if kind is int else "a finite number"
        raise ValueError(f"{option(name)}: expected {kinds}, got {text!r}") from None
    # Where the experiment's own are counts, sizes or on a logarithmic scale, so are others.
    least = min(own)
    if kind is int:
        return as_integer(number, option(name), min(least, 1))
    return as_number(number, option(name), min(least, 0.0), open_low=least > 0.0)
