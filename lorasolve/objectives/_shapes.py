"""What a loss is asked at has to be a matrix of its shape, or factors of one, and its gradient a map of that shape.

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
from ._answers import own_operator

Answer = Callable[..., Any]

# What takes a matrix of the shape of X or several, and what takes the factors of one: by the names of these arguments.
# ``factor_oracle`` is not among them: solvers call it every ten microseconds, with arrays of their own to write to.
OF_UPDATE = {"value_and_grad": ("X",), "metrics": ("X",), "merged": ("update",)}
OF_UPDATES = {"hessian_product": ("X", "D")}
OF_PAIRS = dict.fromkeys(("factor_value", "factor_diagonal", "hessian_at", "oracle_and_operator"), ("A", "B"))
MAP_OF_PAIR = {"gradient_operator": ("A", "B")}
OF_FACTORS = {
    "factor_hvp": ("A", "B", "U", "V"),
    "curvature_along": ("A", "B", "U"),
    "minimize_over_A": ("B",),
    "minimize_over_B": ("A",),
}


def check_shapes(cls: type) -> None:
    """Make those methods that a class of losses defines check what they are given, and take what is an array to be."""
    kinds = (
        (OF_UPDATE, _of_update),
        (OF_UPDATES, _of_updates),
        (OF_PAIRS, _of_pairs),
        (MAP_OF_PAIR, _map_of_pair),
        (OF_FACTORS, _of_factors),
    )
    for methods, checked in kinds:
        for method, names in methods.items():
            own = vars(cls).get(method)
            if isinstance(own, FunctionType):
                setattr(cls, method, checked(own, names))


def _of_update(answer: Answer, names: tuple[str, ...]) -> Answer:
    """Check in a third of a microsecond, as small problems are asked every few."""
    (name,) = names

    @functools.wraps(answer)
    def checked(self: Any, *given: Any, **named: Any) -> Any:
        if named:
            given, named = _in_their_places(given, named, names)
        if given:
            X = given[0]
            if not (type(X) is np.ndarray and X.shape == self.shape and X.dtype.kind == "f"):
                given = as_shape(as_float_array(X, name, 2), name, tuple(self.shape)), *given[1:]
        return answer(self, *given, **named)

    return checked


def _of_updates(answer: Answer, names: tuple[str, ...]) -> Answer:
    @functools.wraps(answer)
    def checked(self: Any, *given: Any, **named: Any) -> Any:
        if named:
            given, named = _in_their_places(given, named, names)
        shape = self.shape
        for X in given[: len(names)]:
            if not _fits(X, shape):
                given = _matrices(given, names, [tuple(shape)] * len(names))
                break
        return answer(self, *given, **named)

    return checked


def _of_pairs(answer: Answer, names: tuple[str, ...]) -> Answer:
    """Check in half a microsecond, as line searches ask for values."""

    @functools.wraps(answer)
    def checked(self: Any, *given: Any, **named: Any) -> Any:
        if named:
            given, named = _in_their_places(given, named, names)
        if len(given) > 1:
            (A, B), (m, n) = given[:2], self.shape
            if not (
                type(A) is type(B) is np.ndarray
                and A.ndim == 2
                and A.shape[0] == m
                and B.shape == (n, A.shape[1])
                and A.dtype.kind == B.dtype.kind == "f"
            ):
                columns = np.shape(A)[-1:]
                given = _matrices(given, names, [(m, *columns), (n, *columns)])
        return answer(self, *given, **named)

    return checked


def _map_of_pair(answer: Answer, names: tuple[str, ...]) -> Answer:
    """Check what is returned too: certificates and solvers ask it for products, far from the loss that made it."""

    @functools.wraps(answer)
    def checked(self: Any, *given: Any, **named: Any) -> Any:
        return own_operator(answer(self, *given, **named), self.label, tuple(self.shape))

    return _of_pairs(checked, names)


def _of_factors(answer: Answer, names: tuple[str, ...]) -> Answer:
    sides = [0 if name in "AU" else 1 for name in names]

    @functools.wraps(answer)
    def checked(self: Any, *given: Any, **named: Any) -> Any:
        if named:
            given, named = _in_their_places(given, named, names)
        columns = np.shape(given[0])[-1:] if given else ()
        shapes = [(self.shape[side], *columns) for side in sides]
        for factor, shape in zip(given, shapes):
            if not _fits(factor, shape):
                given = _matrices(given, names, shapes)
                break
        return answer(self, *given, **named)

    return checked


def _in_their_places(
    given: tuple[Any, ...], named: dict[str, Any], names: tuple[str, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments that are given by name by position, where what is checked is looked for."""
    placed, rest = list(given), dict(named)
    for name in names[len(given) :]:
        if name not in rest:
            break
        placed.append(rest.pop(name))
    return tuple(placed), rest


def _fits(X: Any, shape: tuple[int, ...]) -> bool:
    return type(X) is np.ndarray and X.shape == shape and X.dtype.kind == "f"


def _matrices(given: Sequence[Any], names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> tuple[Any, ...]:
    """Return arguments, of which the first are made matrices of these shapes, or refused."""
    made = [as_shape(as_float_array(X, name, 2), name, shape) for X, name, shape in zip(given, names, shapes)]
    return *made, *given[len(made) :]
