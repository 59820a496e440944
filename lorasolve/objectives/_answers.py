"""What a loss has answered: whether it is what it should be, and of which precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .._support.validate import Array, as_array, shown
from ..dense import frobenius_norm
from ..linear_map import LinearMap

# Of the mantissa of a float32, and how many of them tell it from a number that happens to be one.
FLOAT32_BITS, MANY_BITS = 24, 20
# The share of its terms that a number of float64 has so many bits left of, after cancellation.
LEFT = 2.0 ** (FLOAT32_BITS - 53)


class ShownPrecision:
    """What calls of a loss have shown of the precision that it computes in."""

    dtype: Any = np.dtype(np.float64)

    # What calls have shown (_support/digest.py).
    not_data: ClassVar[tuple[str, ...]] = ("_roughest",)
    _roughest: np.dtype[Any] | None = None

    @property
    def precision(self) -> str:
        """The type to whose precision values and gradients are exact: that of the factors, or what they showed so far.

        Seen where the factor level is derived from the dense level.
        """
        return self._shown.name

    @property
    def _shown(self) -> np.dtype[Any]:
        return np.dtype(self.dtype if self._roughest is None else self._roughest)

    def _note(self, X: Sequence[Array], value: Any, G: Sequence[Array]) -> None:
        """Remember of which precision an answer was."""
        known = self._shown
        found = roughest(known, X, value, G)
        if found != known:
            vars(self)["_roughest"] = found  # of a frozen dataclass too


def roughest(known: np.dtype[Any], X: Sequence[Array], value: Any, G: Sequence[Array]) -> np.dtype[Any]:
    """Return the least exact of a type and of those that a loss has answered in at ``X``."""
    for dtype in (np.asarray(each).dtype for each in (value, *G)):
        if dtype != known and dtype.kind == "f" and np.finfo(dtype).eps > np.finfo(known).eps:
            known = dtype
    return np.dtype(np.float32) if known == np.float64 and _in_float32(X, float(value), G) else known


def _in_float32(X: Sequence[Array], value: float, G: Sequence[Array]) -> bool:
    """Whether an answer was computed in float32 and handed on in float64.

    Its numbers are numbers of float32 then, though ``X`` is not. Where ``f`` is computed in float64 and its gradient is
    not 0, its value is one by chance only. Numbers of few digits show nothing: what is left after cancellation has few,
    and what does not depend on all of ``X`` may have. Values alone and gradients alone show as little: near a minimum
    as many digits may be left of either, and a gradient may be constant.
    """
    mantissa = math.frexp(value)[0] if math.isfinite(value) else 0.0
    # First what costs nothing.
    if not math.ldexp(mantissa, FLOAT32_BITS).is_integer() or math.ldexp(mantissa, MANY_BITS).is_integer():
        return False
    if not all(_fits(g, FLOAT32_BITS) for g in G) or all(_fits(g, MANY_BITS) for g in G):
        return False
    # Entries of X on which f does not depend here show nothing, nor a change of f below its last digits.
    if not any(x.shape == g.shape and not _fits(x[g != 0.0], FLOAT32_BITS) for x, g in zip(X, G)):
        return False
    change = math.hypot(*map(frobenius_norm, G)) * math.hypot(*map(frobenius_norm, X))
    return LEFT * change <= abs(value) and LEFT * abs(value) <= change


def _fits(numbers: Array, bits: int) -> bool:
    """Whether all entries are finite and have mantissas of at most so many bits."""
    mantissas = np.ldexp(np.frexp(numbers)[0], bits)
    return bool(np.array_equal(mantissas, np.rint(mantissas))) and bool(np.isfinite(mantissas).all())


def own_matrix(given: Any, label: str, method: str, what: str, shape: tuple[int, int]) -> Array:
    """Return the matrix that a method of a loss has returned, checked and copied.

    A user may write all of them into one array; two of them are compared all the time.
    """
    M = as_array(given, f"objective: the {what} of {label}").copy()
    if hasattr(given, "toarray"):
        raise TypeError(f"objective: {label}.{method} returned a sparse {what}; .toarray() makes an array of it")
    if M.shape != shape:
        raise ValueError(f"objective: {label}.{method} returned a {what} of shape {M.shape}, expected {shape}")
    if M.dtype.kind not in "fiub":
        raise TypeError(f"objective: {label}.{method} returned a {what} of type {M.dtype}, expected real numbers")
    # No SVD takes longer numbers.
    return M.astype(np.float64) if M.dtype == np.longdouble else M


def own_operator(given: Any, label: str, shape: tuple[int, int]) -> LinearMap:
    """Return the gradient that ``gradient_operator`` of a loss has returned, checked."""
    returned = f"objective: {label}.gradient_operator returned"
    if not isinstance(given, LinearMap):
        raise TypeError(
            f"{returned} {shown(given)}, expected a lorasolve.linear_map.LinearMap of shape {shape}; "
            "LinearMap.from_dense(G) makes one of an array"
        )
    if tuple(given.shape) != shape:
        raise ValueError(f"{returned} a LinearMap of shape {tuple(given.shape)}, expected {shape}")
    return given


def real_value(given: Any, label: str, method: str = "value_and_grad") -> float:
    """Return the value that a method of a loss has returned, checked."""
    if isinstance(given, float):
        return float(given)
    returned = f"objective: {label}.{method} returned the value {shown(given)}, expected a real number"
    try:
        fits = np.ndim(given) == 0 and given is not np.ma.masked and np.asarray(given).dtype.kind in "fiub"
    except RuntimeError as error:  # of tensors that require gradients
        raise TypeError(f"{returned} ({error})") from error
    if not fits:
        raise TypeError(returned)
    return float(given)
