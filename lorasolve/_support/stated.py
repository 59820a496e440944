"""What a class of components states about itself, held against the kinds that its base class states it in."""

from __future__ import annotations

import functools
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

from .origin import is_shipped
from .validate import as_instance, shown

T = TypeVar("T")

_WORDS = {
    "bool": "True or False",
    "int": "an integer",
    "float": "a number",
    "str": "a text",
    "tuple": "a tuple of texts",
}


def as_component(value: Any, argument: str, base: type[T]) -> T:
    """Return ``value`` if it is an instance of the base class and all that it states is of the kind asked for.

    A text where True or False is meant counts as True, and "lbfgs" in the place of ("lbfgs",) as five names.
    """
    component = as_instance(value, argument, base)
    if not is_shipped(type(component)):
        for name, kind in _kinds(base).items():  # type: ignore[arg-type]
            given = getattr(component, name)
            if not _is(given, kind):
                place = f"{argument}: {type(component).__name__}.{name}"
                raise TypeError(f"{place}: expected {_WORDS[kind]}, got {shown(given)}")
    return component


@functools.cache
def _kinds(base: type) -> dict[str, str]:
    """Return the kinds of the attributes of a base class: of its values, and of what its properties return."""
    kinds = {}
    for name, value in vars(base).items():
        kind = str(value.fget.__annotations__.get("return")) if isinstance(value, property) else type(value).__name__
        if kind in _WORDS and not name.startswith("_"):
            kinds[name] = kind
    return kinds


def _is(value: Any, kind: str) -> bool:
    """Whether a value is of a kind; numbers of NumPy are numbers."""
    truth = isinstance(value, (bool, np.bool_))
    if kind == "bool":
        return truth
    if kind in ("int", "float"):
        return not truth and isinstance(value, Integral if kind == "int" else Real)
    if kind == "str":
        return isinstance(value, str)
    return isinstance(value, tuple) and all(isinstance(entry, str) for entry in value)
