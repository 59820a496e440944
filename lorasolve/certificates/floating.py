"""Certificates in binary64 arithmetic: every loss that can be written down as data, of any size.

The arrays are the stored numbers, bit by bit (base64 of little-endian binary64). ``check_certificate`` evaluates them
with NumPy and counts every rounding error.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from .._support.validate import Array
from ..objectives import Description, Entries, Matrix


def encoded(x: Array) -> dict[str, Any]:
    """Return an array as JSON-ready data."""
    return {"shape": list(x.shape), "float64": base64.b64encode(np.asarray(x, "<f8").tobytes()).decode()}


def floating_problem(description: Description, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the part of a document that defines ``f``."""
    form = description.map
    written: dict[str, Any]
    if isinstance(form, Entries):
        lists = {"output": form.output.tolist(), "entry": form.entry.tolist()}
        written = {"kind": "entries", "outputs": form.outputs, **lists, "values": encoded(form.values)}
    elif isinstance(form, Matrix):
        written = {"kind": "matrix", "Z": encoded(form.Z)}
    else:
        written = {"kind": "outer", "a": encoded(form.a), "b": encoded(form.b)}
    loss: dict[str, Any] = {"kind": description.loss}
    if description.delta is not None:
        loss["delta"] = encoded(np.array([description.delta]))
    if description.labels is not None:
        classes = description.loss == "softmax"
        loss["labels"] = description.labels.tolist() if classes else encoded(description.labels)
    problem = {"shape": list(shape), "loss": loss, "divide_by": description.divide_by, "map": written}
    problem["shifts"] = [encoded(shift) for shift in description.shifts]
    if description.X0 is not None:
        problem["X0"] = encoded(description.X0)
    return problem


def floating_point(A: Array, B: Array) -> dict[str, Any]:
    """Return the factors."""
    return {"A": encoded(A), "B": encoded(B)}
