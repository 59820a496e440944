"""Updates, and the factors of each, where there may be several: sequences of matrices and of pairs ``(A_l, B_l)``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.validate import Array, as_array, as_float_array, as_iterable, shown
from ..dense import SQUARED, frobenius_norm

Matrices = Sequence[Array]
Pairs = Sequence[tuple[Array, Array]]
Shapes = Sequence[tuple[int, int]]


def unlisted(given: Any, argument: str) -> Any:
    """Return a list of pairs ``(A_l, B_l)``, one a matrix, as the tuples of all ``A_l`` and ``B_l``, else ``given``.

    A tuple is ``(A, B)``: of two square matrices of one size and rank nobody could tell which is meant.
    """
    if not isinstance(given, (list, tuple)) or not given:
        return given
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in given):
        return given
    if isinstance(given, list):
        return tuple(zip(*given))
    if len(given) == 2:
        return given
    raise ValueError(f"{argument}: expected pairs (A, B) in a list, got them in a tuple, which is one (A, B)")


def as_pairs(value: Any, argument: str, shapes: Shapes | None = None) -> list[tuple[Array, Array]]:
    """Return ``value`` as pairs ``(A_l, B_l)`` of matrices with as many columns, of updates of the shapes if given."""
    pairs = []
    for k, pair in enumerate(as_iterable(value, argument)):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"{argument}[{k}]: expected a pair (A, B), got {shown(pair)}")
        A, B = (as_array(part, f"{argument}[{k}].{name}") for part, name in zip(pair, "AB"))
        if A.dtype.kind not in "fiu" or B.dtype.kind not in "fiu":
            raise TypeError(f"{argument}[{k}]: expected real numbers, got arrays of dtype {A.dtype} and {B.dtype}")
        if A.ndim != 2 or B.ndim != 2 or A.shape[1] != B.shape[1] or 0 in (*A.shape, *B.shape):
            raise ValueError(f"{argument}[{k}]: expected shapes (m, r) and (n, r), got {A.shape} and {B.shape}")
        pairs.append((A, B))
    found = [(len(A), len(B)) for A, B in pairs]
    if not pairs:
        raise ValueError(f"{argument}: expected at least one pair (A, B)")
    if shapes is not None and found != list(shapes):
        raise ValueError(f"{argument}: expected factors of updates of shapes {list(shapes)}, got {found}")
    return pairs


def as_finite_pairs(value: Any, argument: str, shapes: Shapes | None = None) -> list[tuple[Array, Array]]:
    """Return ``value`` as float64 pairs like :func:`as_pairs`, all entries finite."""

    def checked(M: Array, name: str) -> Array:
        return as_float_array(M, name, 2, np.float64)

    pairs = enumerate(as_pairs(value, argument, shapes))
    return [(checked(A, f"{argument}[{k}].A"), checked(B, f"{argument}[{k}].B")) for k, (A, B) in pairs]


def joint_inner(X: Matrices, Y: Matrices) -> float:
    """Return ``sum_l <X_l, Y_l>``."""
    return sum(float(np.vdot(x, y)) for x, y in zip(X, Y))


def joint_norm(X: Matrices) -> float:
    """Return the Frobenius norm of all updates together, also where its square overflows or underflows."""
    plain = math.sqrt(joint_inner(X, X))
    return plain if SQUARED[np.dtype(np.float64)] < plain < math.inf else math.hypot(*map(frobenius_norm, X))
