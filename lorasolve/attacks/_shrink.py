"""Smaller instances on which the same claim fails: fewer rows, smaller numbers, fewer digits, less structure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

Instance = dict[str, Any]

# Lists with more entries are simplified as a whole only.
ENTRYWISE = 64


class Structure(Protocol):
    """What shrinking needs to know of a family: the axes of its lists, its whole numbers, its simpler values."""

    @property
    def axes(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the axes of lists."""

    @property
    def least(self) -> Mapping[str, int]:
        """Smallest values of whole numbers."""

    @property
    def simpler(self) -> Mapping[str, tuple[Any, ...]]:
        """Simpler texts and truth values."""


def shrink(family: Structure, instance: Instance, fails: Callable[[Instance], bool], calls: int) -> Instance:
    """Return an instance that still fails and none of whose simplifications does, as far as ``calls`` reach.

    Parameters
    ----------
    family : Structure
        Which parts may change, and how.
    instance : dict
        A failing instance.
    fails : callable
        Whether an instance fails.
    calls : int
        Most calls of ``fails``.
    """
    improved = True
    while improved and calls > 0:
        improved = False
        for candidates in (_fewer, _smaller, _plainer, _rounder):
            # The candidates of the smaller instance are drawn anew, those before the one that failed were in vain.
            tried = 0
            while calls > 0:
                for position, candidate in enumerate(candidates(family, instance)):
                    if position < tried or candidate == instance:
                        continue
                    tried = position
                    calls -= 1
                    if fails(candidate):
                        instance = candidate
                        improved = True
                        break
                    if calls <= 0:
                        break
                else:
                    break
    return instance


def _fewer(family: Structure, instance: Instance) -> Iterator[Instance]:
    """Leave out indices of an axis, half of them first."""
    sizes: dict[str, int] = {}
    for key, names in family.axes.items():
        if key in instance:
            sizes.update(zip(names, np.shape(instance[key])))
    for axis, size in sizes.items():
        for count in sorted({size // 2, 1} - {0}, reverse=True):
            for first in range(0, size - count + 1, count):
                if count < size:
                    yield _without(family, instance, axis, range(first, first + count))


def _without(family: Structure, instance: Instance, axis: str, indices: range) -> Instance:
    made = dict(instance)
    for key, names in family.axes.items():
        if key in instance and axis in names:
            made[key] = np.delete(np.asarray(instance[key]), list(indices), axis=names.index(axis)).tolist()
    return made


def _smaller(family: Structure, instance: Instance) -> Iterator[Instance]:
    """Make whole numbers smaller."""
    for key, least in family.least.items():
        value = instance.get(key, least)
        for smaller in sorted({least, (least + value) // 2, value - 1}):
            if least <= smaller < value:
                yield {**instance, key: smaller}


def _plainer(family: Structure, instance: Instance) -> Iterator[Instance]:
    """Replace texts and truth values by simpler ones, those named first being the simplest."""
    for key, values in family.simpler.items():
        if key in instance:
            before = values[: values.index(instance[key])] if instance[key] in values else values
            for value in before:
                yield {**instance, key: value}


def _rounder(family: Structure, instance: Instance) -> Iterator[Instance]:
    """Round numbers: whole lists first, then entry by entry."""
    for key, value in instance.items():
        if isinstance(value, list):
            array = np.asarray(value, dtype=float)
            for digits in (0, 1, 2, 4):
                flat = [_rounded(float(entry), digits) for entry in array.ravel()]
                yield {**instance, key: np.reshape(flat, array.shape).tolist()}
            if array.size <= ENTRYWISE:
                for index in np.ndindex(array.shape):
                    for number in _rounder_numbers(float(array[index]), may_vanish=True):
                        changed = array.copy()
                        changed[index] = number
                        yield {**instance, key: changed.tolist()}
        elif isinstance(value, float):
            for number in _rounder_numbers(value, may_vanish=False):
                yield {**instance, key: number}


def _rounder_numbers(value: float, may_vanish: bool) -> Iterator[float]:
    """Yield simpler numbers, the simplest first; none is less simple than the value."""
    if value == 0.0 or not math.isfinite(value):
        return
    candidates = [0.0] if may_vanish else []
    candidates += [1.0, *(_rounded(value, digits) for digits in (0, 1, 2, 3, 4, 6))]
    for number in candidates:
        if _length(number) < _length(value):
            yield number


def _length(value: float) -> tuple[int, float]:
    """Return a measure of how much there is to a number: its digits, then its distance from 1 in magnitude."""
    text = repr(abs(value))
    mantissa, _, exponent = text.partition("e")
    digits = len(mantissa.replace(".", "").strip("0"))
    return digits + len(exponent) // 2, abs(math.log10(abs(value))) if value else 0.0


def _rounded(value: float, digits: int) -> float:
    """Return the value to some significant digits; with 0 digits the power of ten below it."""
    if value == 0.0 or not math.isfinite(value):
        return value + 0.0  # without the sign of -0.0
    if digits == 0:
        return math.copysign(float(f"1e{math.floor(math.log10(abs(value)))}"), value)
    return float(f"{value:.{digits - 1}e}")
