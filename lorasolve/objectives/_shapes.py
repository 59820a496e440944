"""What a loss is asked at has to be a matrix of its shape, or factors of one.

Many losses see ``X`` as a vector or add it to something of its shape, so that ``X^T``, a row or a number would be
answered too, for another update; others fail deep in NumPy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from .._support.validate import as_float_array, as_shape

Answer = Callable[..., Any]

# What takes matrices of the shape of X, and what takes factors of one: by the names of these arguments.
OF_UPDATES = {"value_and_grad": ("X",), "hessian_product": ("X", "D"), "metrics": ("X",), "merged": ("update",)}
OF_FACTORS = {
    "factor_hvp": ("A", "B", "U", "V"),
    "curvature_along": ("A", "B", "U"),
    "minimize_over_A": ("B",),
    "minimize_over_B": ("A",),
    **dict.fromkeys(("factor_oracle", "factor_value", "factor_diagonal"), ("A", "B")),
    **dict.fromkeys(("gradient_operator", "oracle_and_operator"), ("A", "B")),
}


def check_shapes(cls: type) -> None:
    """Make those methods that a class of losses defines check what they are given, and take what is an array to be."""
    for methods, checked in ((OF_UPDATES, _of_updates), (OF_FACTORS, _of_factors)):
        for method, names in methods.items():
            own = vars(cls).get(method)
            if isinstance(own, FunctionType):
                setattr(cls, method, checked(own, names))


def _of_updates(answer: Answer, names: tuple[str, ...]) -> Answer:
    @functools.wraps(answer)
    def checked(self: Any, *given: Any, **named: Any) -> Any:
        shape = self.shape
        for X in given[: len(names)]:
            if not _fits(X, shape):
                given = _matrices(given, names, [tuple(shape)] * len(names))
                break
        return answer(self, *given, **named)

    return checked


def _of_factors(answer: Answer, names: tuple[str, ...]) -> Answer:
    sides = [0 if name in "AU" else 1 for name in names]

    @functools.wraps(answer)
    def checked(self: Any, *given: Any, **named: Any) -> Any:
        columns = np.shape(given[0])[-1:] if given else ()
        shapes = [(self.shape[side], *columns) for side in sides]
        for factor, shape in zip(given, shapes):
            if not _fits(factor, shape):
                given = _matrices(given, names, shapes)
                break
        return answer(self, *given, **named)

    return checked


def _fits(X: Any, shape: tuple[int, ...]) -> bool:
    return type(X) is np.ndarray and X.shape == shape and X.dtype.kind == "f"


def _matrices(given: Sequence[Any], names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> tuple[Any, ...]:
    """Return arguments, of which the first are made matrices of these shapes, or refused."""
    made = [as_shape(as_float_array(X, name, 2), name, shape) for X, name, shape in zip(given, names, shapes)]
    return *made, *given[len(made) :]
