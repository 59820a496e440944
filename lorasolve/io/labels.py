"""What rows and columns are called: labels that can be ordered and saved, and finding them by value."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.validate import Array, as_array, shown

# As dates are written in files; NumPy takes "today" as well.
_DATE = re.compile(r"\d{4}(-\d\d){0,2}([T ]\d\d(:\d\d){0,2}(\.\d+)?)?")


def is_integer_label(label: str) -> bool:
    """Return whether a label is written as an integer of 64 bits is: ``1``, not ``01``, ``+1`` or ``1_0``."""
    return re.fullmatch("0|-?[1-9][0-9]{0,19}", label) is not None


def plain_labels(given: ArrayLike, argument: str, which: str) -> Array:
    """Return labels as an array that can be ordered and saved; objects as whole numbers, as floats or as text."""
    labels = as_array(given, argument)
    if labels.dtype.kind == "U" and isinstance(given, (list, tuple)) and any(type(label) is not str for label in given):
        labels = np.asarray(given, dtype=object)
    if labels.dtype.kind in "cV":
        raise TypeError(f"{argument}: expected {which} labels that have an order, got an array of dtype {labels.dtype}")
    objects = labels.dtype.kind in "OT"
    _refuse_nested(labels, argument)
    missing = [label for label in labels.flat if _is_missing(label)] if objects else labels[labels != labels]
    if len(missing):
        raise ValueError(f"{argument}: expected a {which} label for each entry, got {missing[0]}")
    if not objects:
        return labels
    labels = labels.astype(object)
    kinds = {_kind(label): label for label in labels.flat}
    if len(kinds) > 1:
        found = " and ".join(repr(label) for label in list(kinds.values())[:2])
        raise ValueError(f"{argument}: expected {which} labels of one kind, got {found}")
    if set(kinds) == {float}:
        return labels.astype(np.float64)
    limits = np.iinfo(np.int64)
    if set(kinds) == {int} and all(limits.min <= int(label) <= limits.max for label in labels.flat):
        return labels.astype(np.int64)
    return _as_texts(labels, argument)


def _as_texts(labels: Array, argument: str) -> Array:
    """Return objects as texts.

    NumPy cuts what ``str`` makes of a member of an enumeration of texts (``City.BONN``) to the length of its value, and
    zero bytes at an end off: labels would become one. Of bytes it decodes ASCII alone.
    """
    texts = list(map(_as_text, labels.flat))
    cut = next((text for text in texts if text.endswith("\0")), None)
    if cut is not None:
        raise ValueError(f"{argument}: the label {cut!r} ends with a zero byte, which NumPy would cut off")
    return np.array(texts, dtype=str).reshape(labels.shape)


def _as_text(label: Any) -> str:
    if isinstance(label, bytes):
        return label.decode(errors="surrogateescape")  # as names of files: no two become one
    return str.__str__(label) if isinstance(label, str) else str(label)


def _refuse_nested(labels: Array, argument: str) -> None:
    """Refuse collections among labels: NumPy takes a set, the keys of a dict or a sparse matrix for one object."""
    if labels.dtype.kind == "O":
        # Texts, of which there may be millions, are told first.
        nested = [label for label in labels.flat if type(label) is not str and _is_collection(label)]
        if nested:
            raise TypeError(f"{argument}: expected a label for each entry, got {shown(nested[0])}")


def _is_collection(label: Any) -> bool:
    if hasattr(label, "ndim"):
        return bool(label.ndim)
    return isinstance(label, Iterable) and not isinstance(label, (str, bytes, tuple))


def _kind(label: Any) -> type:
    """Return what a label is, numbers and texts of numpy being numbers and texts."""
    if isinstance(label, (int, np.integer)) and not isinstance(label, bool):
        return int
    return next((kind for kind in (str, float) if isinstance(label, kind)), type(label))


def _is_missing(label: Any) -> bool:
    return label is None or (isinstance(label, float) and np.isnan(label))


def label_places(labels: Array, wanted: ArrayLike, argument: str) -> Array:
    """Return the positions of labels among sorted ones, -1 for those not there."""
    found, held = _converted(_asked(wanted, argument), labels.dtype, argument)
    place = np.minimum(np.searchsorted(labels, found), len(labels) - 1)
    return np.where(held & (labels[place] == found), place, -1)


def labels_like(labels: Array, wanted: ArrayLike, argument: str) -> Array:
    """Return labels that may be others as those of the data are written; refuse what these cannot be."""
    given = _asked(wanted, argument)
    found, held = _converted(given, labels.dtype, argument)
    if not held.all():
        raise ValueError(
            f"{argument}: expected labels that can be written as those of the data ({labels.dtype}), got "
            f"{shown(given.tolist()[int(np.argmin(held))])}"
        )
    return found


def _asked(wanted: ArrayLike, argument: str) -> Array:
    """Return labels that are asked for as an array of one axis."""
    # As an array, numbers of a list are rounded where they are of several kinds.
    given = np.asarray(wanted, dtype=object) if isinstance(wanted, (list, tuple)) else as_array(wanted, argument)
    given = np.atleast_1d(given.astype(object) if given.dtype.kind == "T" else given)
    if given.ndim != 1:
        raise ValueError(f"{argument}: expected an array of labels, got one of shape {given.shape}")
    _refuse_nested(given, argument)
    return given


def _converted(given: Array, dtype: Any, argument: str) -> tuple[Array, Array]:
    """Return labels as another type has them, by value, and which of them it has.

    Left to NumPy, integers of two types are compared as floats, and numbers with texts as texts.
    """
    if dtype.kind == "U":
        texts = _as_texts(given, argument) if given.dtype.kind == "O" else given.astype(str)
        return texts, np.ones(given.shape, dtype=bool)
    if given.dtype.kind == "O" and dtype.kind not in "iufM":
        given = as_array(given.tolist(), argument)
    kinds = {given.dtype.kind, dtype.kind}
    if kinds <= {"i", "u"} or kinds == {"f"}:
        with np.errstate(over="ignore"):
            found = given.astype(dtype)
        return found, found == given
    if kinds in ({"M"}, {"m"}):
        return _in_unit(given, dtype)
    if len(kinds) == 1:
        return given, np.ones(given.shape, dtype=bool)
    if given.dtype.kind not in {"M": "OU", "i": "OUbf", "u": "OUbf", "f": "OUbiu"}.get(dtype.kind, ""):
        raise TypeError(
            f"{argument}: expected labels of the kind in the data ({dtype}), got an array of dtype {given.dtype}"
        )
    as_label = {"M": _as_date, "f": _as_float}.get(dtype.kind, _as_integer)
    listed = given.tolist()
    with np.errstate(over="ignore"):
        if all(type(label) is str for label in listed):  # each text once: labels of entries come again and again
            read = {label: as_label(label, dtype) for label in set(listed)}
            known = [read[label] for label in listed]
        else:
            known = [as_label(label, dtype) for label in listed]
    held = np.array([label is not None for label in known], dtype=bool)
    return np.array([label or 0 for label in known], dtype=dtype), held


def _as_integer(label: Any, dtype: Any) -> int | None:
    if isinstance(label, str) and not is_integer_label(label):
        return None
    try:
        value = int(label)
        dtype.type(value)  # an OverflowError where the type does not hold it
    except (TypeError, ValueError, OverflowError):
        return None
    return value if isinstance(label, str) or value == label else None


def _as_float(label: Any, dtype: Any) -> Any:
    try:
        value = dtype.type(label)
        if isinstance(label, str):
            # The float nearest to it, which is what reading it gives.
            return None if "_" in label else value
        # Python compares an integer with a float exactly.
        return value if value.item() == (label.item() if isinstance(label, np.generic) else label) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _as_date(label: Any, dtype: Any) -> Any:
    if isinstance(label, str) and not _DATE.fullmatch(label):
        return None
    if isinstance(label, datetime.datetime) and label.tzinfo is None and hasattr(label, "to_numpy"):
        # A Timestamp of pandas has nanoseconds, which NumPy would leave out.
        label = label.to_numpy()
    if not isinstance(label, (str, datetime.date, np.datetime64)) or getattr(label, "tzinfo", None) is not None:
        return None
    try:
        exact = np.datetime64(label)
    except ValueError:
        return None
    found, held = _in_unit(np.array([exact]), dtype)
    return found[0] if held[0] else None


def _in_unit(times: Array, dtype: Any) -> tuple[Array, Array]:
    """Return dates, or lengths of time, in another unit, and which of them that holds."""
    try:
        found = times.astype(dtype)
        # There and back, as a comparison takes both to the finer unit, which may not hold them.
        return found, found.astype(times.dtype) == times
    except OverflowError:  # of one of them, from NumPy 2.5 on; those before wrap around
        if len(times) == 1:
            return np.full(1, "NaT", dtype), np.zeros(1, dtype=bool)
        halves = [_in_unit(half, dtype) for half in np.array_split(times, 2)]
        return np.concatenate([found for found, _ in halves]), np.concatenate([held for _, held in halves])


def given_twice(rows: Array, cols: Array) -> tuple[int, int] | None:
    """Return where a pair of indices stands first and where again, None if all are distinct."""
    codes = rows * (cols.max() + 1) + cols
    order = np.argsort(codes, kind="stable")
    repeated = np.flatnonzero(np.diff(codes[order]) == 0)
    return (int(order[repeated[0]]), int(order[repeated[0] + 1])) if repeated.size else None
