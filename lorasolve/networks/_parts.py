"""The tensors and arrays of a batch, whatever holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .._support.validate import shown
from ._torch import fields_of


def lengths_of(batch: Any) -> set[int]:
    """Return the first dimensions of all tensors and arrays in a batch."""
    parts = _parts(batch)
    if parts is not None:
        return set().union(*map(lengths_of, parts.values()))
    shape = getattr(batch, "shape", ())
    return {int(shape[0])} if shape else set()


def is_of_vectors(batch: Any) -> bool:
    """Return whether no tensor or array in a batch has more than one dimension, as in a sample of words."""
    parts = _parts(batch)
    if parts is not None:
        return all(map(is_of_vectors, parts.values()))
    return len(getattr(batch, "shape", ())) < 2


def shapes_of(batch: Any) -> str:
    """Return the shapes of the tensors and arrays of a batch, by their names where they have some."""
    parts = _parts(batch) or {}
    shapes = [f"{name} {tuple(part.shape)}" for name, part in parts.items() if hasattr(part, "shape")]
    return ", ".join(shapes) or shown(batch)


def _parts(batch: Any) -> Mapping[Any, Any] | None:
    """Return what is in a batch by its name or place, None for what holds no others."""
    if isinstance(batch, Mapping):
        return batch
    if isinstance(batch, list | tuple):
        return dict(enumerate(batch))
    return fields_of(batch) if dataclasses.is_dataclass(batch) else None
