"""Equality of data by value, where numbers may be NaN."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


class ComparedByValue:
    """Compares data classes (of ``eq=False``) field by field, where NaN is equal to NaN: a copy is equal to its origin.

    What dataclasses compare by themselves depends on which object a NaN is.
    """

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        compared = (entry.name for entry in fields(self) if entry.compare)  # type: ignore[arg-type]
        return all(_same(getattr(self, name), getattr(other, name)) for name in compared)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or (one != one and other != other)
