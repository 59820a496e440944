"""Checks of arguments: every error names the argument, what was given and what is accepted."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def as_float_array(value: ArrayLike, argument: str, ndim: int, dtype: Any = None) -> Array:
    """Return ``value`` as a C-contiguous float array of dimension ``ndim`` (float32 stays float32).

    Integers and booleans are converted to float64; complex, object and text arrays are refused.
    """
    array = np.asarray(value)
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        raise TypeError(f"{argument}: expected real numbers, got an array of dtype {array.dtype}")
    if array.ndim != ndim:
        raise ValueError(
            f"{argument}: expected {ndim} dimension{'s' * (ndim != 1)}, got shape {array.shape}"
        )
    if array.size == 0:
        raise ValueError(f"{argument}: is empty (shape {array.shape})")
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0]
        where = ", ".join(str(int(k)) for k in bad)
        raise ValueError(f"{argument}: has non-finite entries, the first at [{where}]")
    if dtype is None:
        dtype = array.dtype if array.dtype in (np.float32, np.float64) else np.float64
    return np.ascontiguousarray(array, dtype=dtype)


def require(given: object, argument: str, refusal: str | None) -> None:
    """Raise a ``ValueError`` that names the argument and, as text, what was given if there is a refusal."""
    if refusal is not None:
        raise ValueError(f"{argument}: {str(given)!r} cannot be used here: {refusal}")


def as_shape(value: Array, argument: str, shape: tuple[int, ...]) -> Array:
    """Return ``value`` if it has exactly ``shape``."""
    if value.shape != shape:
        raise ValueError(f"{argument}: expected shape {shape}, got {value.shape}")
    return value


def as_integer(value: Any, argument: str, low: int, high: int | None = None) -> int:
    """Return ``value`` as an ``int`` between ``low`` and ``high``, both included."""
    accepted = f"an integer >= {low}" if high is None else f"an integer from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{argument}: expected {accepted}, got {value!r}")
    number = int(value)
    if number < low or (high is not None and number > high):
        raise ValueError(f"{argument}: expected {accepted}, got {number}")
    return number


def as_number(
    value: Any,
    argument: str,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return ``value`` as a finite ``float`` in the stated interval."""
    left, right = ("(" if open_low else "["), (")" if open_high else "]")
    accepted = "a finite number"
    if low > -np.inf or high < np.inf:
        accepted += f" in {left}{low:g}, {high:g}{right}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{argument}: expected {accepted}, got {value!r}")
    number = float(value)
    below = number <= low if open_low else number < low
    above = number >= high if open_high else number > high
    if not np.isfinite(number) or below or above:
        raise ValueError(f"{argument}: expected {accepted}, got {number!r}")
    return number
