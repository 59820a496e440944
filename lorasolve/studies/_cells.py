"""The axes of a study and its cells, counted without being listed."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._support.validate import shown

# Values that stand for themselves in a description; others are named by the user.
Label = str | int | float | bool | None


def order(label: Any) -> tuple[int, Any, bool, str]:
    """Return what labels are told apart and sorted by: numbers, texts, None; 1 and 1.0 are one, and True is another."""
    if isinstance(label, (bool, int, float)):
        return 0, label, isinstance(label, bool), ""
    return (1, 0, False, label) if isinstance(label, str) else (2, 0, False, repr(label))


def canonical(cell: Mapping[str, Label]) -> dict[str, Label]:
    """Return a cell as it is written in keys: the same in whatever order its axes are given, and for 1 and 1.0."""
    whole = {name: int(label) for name, label in cell.items() if isinstance(label, float) and label.is_integer()}
    return dict(sorted({**cell, **whole}.items()))


def label_texts(labels: Sequence[Any]) -> list[str]:
    """Return labels as tables show them: numbers with four digits where these tell all apart, else in full."""
    short = {order(label): f"{label:.4g}" if isinstance(label, float) else str(label) for label in labels}
    if len(set(short.values())) < len(short):
        return [repr(label) for label in labels]
    return [short[order(label)] for label in labels]


class Axes:
    """The grid of a study: cell ``k`` of the product of all axes, the last one fastest.

    Parameters
    ----------
    given : mapping of str to iterable or mapping
        The values of each axis: numbers, texts, truth values or None; or a mapping of such labels to any values.

    Raises
    ------
    ValueError, TypeError
        For no axes, an axis without values or with one twice, and values that need a label.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        if not isinstance(given, Mapping) or not given:
            raise TypeError(f"axes: expected a mapping of names to values with at least one axis, got {shown(given)}")
        self.labels: dict[str, list[Label]] = {}
        self._values: dict[str, list[Any]] = {}
        for name, values in given.items():
            if not (isinstance(name, str) and name.isidentifier()):
                raise ValueError(f"axes: expected names such as 'lam', got {shown(name)}")
            self.labels[name], self._values[name] = _axis(name, values)
        self.count = math.prod(len(labels) for labels in self.labels.values())

    def __len__(self) -> int:
        return self.count

    def positions(self, index: int) -> tuple[int, ...]:
        """Return the place of cell ``index`` on each axis."""
        found = []
        for labels in reversed(self.labels.values()):
            index, place = divmod(index, len(labels))
            found.append(place)
        return tuple(reversed(found))

    def index(self, positions: Iterable[int]) -> int:
        """Undo :meth:`positions`."""
        index = 0
        for labels, place in zip(self.labels.values(), positions):
            index = index * len(labels) + place
        return index

    def cell(self, positions: Iterable[int]) -> dict[str, Label]:
        """Return the labels of a cell."""
        return {name: labels[place] for (name, labels), place in zip(self.labels.items(), positions)}

    def values(self, positions: Iterable[int]) -> dict[str, Any]:
        """Return the values of a cell."""
        return {name: values[place] for (name, values), place in zip(self._values.items(), positions)}

    def along(self, name: str) -> list[Any]:
        """Return the values on an axis."""
        return self._values[name]

    def find(self, cell: Mapping[str, Any]) -> int:
        """Return the number of the cell with given labels.

        Raises
        ------
        ValueError
            If a name or a value is not one of the axes'; an axis of one value may be left out.
        """
        unknown = [name for name in cell if name not in self.labels]
        if unknown:
            raise ValueError(f"cell: no axis is called {unknown[0]!r}; axes: {', '.join(self.labels)}")
        positions = []
        for name, labels in self.labels.items():
            if name not in cell and len(labels) == 1:
                positions.append(0)
            elif name not in cell or getattr(cell[name], "ndim", 0) > 0 or cell[name] not in labels:
                given = f"got {shown(cell[name])}" if name in cell else "got none"
                raise ValueError(f"cell: expected a value of the axis {name!r} ({_few(labels)}), {given}")
            else:
                positions.append(_place(labels, cell[name]))
        return self.index(positions)

    def cross(self) -> list[int]:
        """Return the first cell and those that differ from it on one axis: every value of every axis once."""
        first = [0] * len(self.labels)
        found = {self.index(first): None}
        for axis, (name, labels) in enumerate(self.labels.items()):
            for place in range(1 if name == "seed" else len(labels)):
                found[self.index([*first[:axis], place, *first[axis + 1 :]])] = None
        return list(found)


def _axis(name: str, values: Any) -> tuple[list[Label], list[Any]]:
    """Return the labels and the values of an axis."""
    if isinstance(values, Mapping):
        labels, listed = [_label(name, label) for label in values], list(values.values())
    elif isinstance(values, (str, bytes)) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        raise TypeError(f"axes: {name}: expected a sequence of values, got {shown(values)}")
    else:
        labels = [_label(name, value) for value in values]
        listed = list(labels)
    if not labels:
        raise ValueError(f"axes: {name}: is empty")
    known: set[tuple[int, Any, bool, str]] = set()
    for label in labels:
        if order(label) in known:
            raise ValueError(f"axes: {name}: holds {label!r} twice")
        known.add(order(label))
    return labels, listed


def _place(labels: list[Label], given: Any) -> int:
    """Return the place of a value that is among labels: of True and 1 that of the same kind, if both are there."""
    orders = [order(label) for label in labels]
    wanted = order(given.item() if isinstance(given, np.generic) else given)
    return orders.index(wanted) if wanted in orders else labels.index(given)


def _label(name: str, value: Any) -> Label:
    """Return a value that stands for itself as a plain one."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, int)):
        value = float(value) + 0.0  # never -0.0
        if not math.isfinite(value):
            raise ValueError(f"axes: {name}: expected finite numbers, got {value!r}")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(
        f"axes: {name}: expected numbers, texts, truth values or None, got {type(value).__name__}; give other values "
        f"names, as {name}={{'first': ..., 'second': ...}}"
    )


def _few(labels: list[Label]) -> str:
    shown = ", ".join(map(repr, labels[:8]))
    return shown if len(labels) <= 8 else f"{shown}, ... {labels[-1]!r}"
