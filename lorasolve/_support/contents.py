"""What objects hold: their attributes, plain data, and what of it can change in place."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import itertools
import types
from typing import Any

import numpy as np

from .origin import installed, module_name


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes of an object: those in slots, by the names that Python gives them, and the others."""
    found: dict[str, Any] = {}
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            owner = base.__name__.lstrip("_")
            is_private = name.startswith("__") and not name.endswith("__") and owner
            attribute = f"_{owner}{name}" if is_private else name
            if name != "__dict__" and hasattr(value, attribute):
                # Who refers to an object says nothing about it.
                found[attribute] = None if name == "__weakref__" else getattr(value, attribute)
    return found | getattr(value, "__dict__", {})


def noted(kind: type) -> tuple[str, ...]:
    """Return attributes that SciPy adds to a sparse matrix when it is asked for them."""
    is_scipy = any(base.__module__.startswith("scipy.") for base in kind.__mro__)
    return ("_has_canonical_format", "_has_sorted_indices") if is_scipy else ()


def is_plain(value: Any, within: frozenset[int] = frozenset()) -> bool:
    """Whether a value is numbers, texts and arrays throughout; ``within`` are the identities of what it lies in."""
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        if id(value) in within:
            return False
        parts = itertools.chain(value, value.values()) if isinstance(value, dict) else value
        return all(is_plain(part, within | {id(value)}) for part in parts)
    if isinstance(value, slice):
        return all(is_plain(part, within) for part in (value.start, value.stop, value.step))
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject
    if isinstance(value, enum.Enum):
        return is_plain(value.value, within)
    return value is None or isinstance(value, (bool, int, float, complex, str, bytes, range, np.generic, np.dtype))


def can_be_filled(value: Any) -> bool:
    """Whether plain data can change in place: lists, dicts, sets and arrays, and tuples that hold some."""
    return isinstance(value, (list, dict, set, np.ndarray)) or (
        isinstance(value, tuple) and any(map(can_be_filled, value))
    )


def bare(value: Any) -> Any:
    """Return the attributes of an object that does nothing but hold them, and those of such objects in these.

    These are namespaces, a user's dataclasses and sparse matrices; any other value is returned as it is.
    """
    kind = type(value)
    is_record = dataclasses.is_dataclass(kind) and not installed(kind)
    is_sparse = module_name(kind).startswith("scipy.sparse.")
    if is_record or is_sparse or isinstance(value, (types.SimpleNamespace, argparse.Namespace)):
        return {name: bare(entry) for name, entry in attributes_of(value).items() if name not in noted(kind)}
    return value
