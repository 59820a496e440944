"""Which ball oracle belongs to an objective: its own, or that of its class in one of the files ``_oracle_NAME``."""

from __future__ import annotations

import functools
import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .._support.validate import Array, shown
from ..objectives import DenseReference, UserObjective
from ..objectives.base import Objective, Shifted
from . import balls
from .balls import Ball, BallOracle

Oracle = Callable[[Any, Array, Array], BallOracle]


def is_convex(objective: Objective) -> bool:
    """Return whether ``f`` is stated to be convex."""
    return objective.facts.convex is True


@functools.cache
def _of_classes(name: str = "ORACLES") -> dict[type, Oracle]:
    """Return the oracles of the package: the dictionaries of this name in the files ``_oracle_NAME``."""
    found: dict[type, Oracle] = {}
    for module in pkgutil.iter_modules(importlib.import_module(__package__).__path__):
        if module.name.startswith("_oracle_"):
            found.update(getattr(importlib.import_module(f".{module.name}", __package__), name, {}))
    return found


def refusal(objective: Objective) -> str | None:
    """Return why there is no ball oracle for an objective, or None if there is one."""
    objective = _inner(objective)
    if isinstance(objective, Shifted):
        return refusal(objective.objective)
    if _own(objective) is not None or type(objective) in _of_classes():
        return None
    return (
        f"{type(_speaker(objective)).__name__} states no ball_oracle(A, B, balls), the enclosure of f and its gradient "
        "(lorasolve/certificates/balls.py)"
    )


def ball_oracle(objective: Objective, A: Array, B: Array) -> BallOracle:
    """Return what an objective states at ``X = A B^T``.

    A method of the objective (or of the user's object in it) goes first. The oracles of the package are for exactly
    their classes: a subclass may have changed ``f``.
    """
    objective = _inner(objective)
    if isinstance(objective, Shifted):
        # f(offset + A B^T) at the factors [offset, A], [I, B], exactly.
        offset = objective.offset.astype(np.float64, copy=False)
        whole = ball_oracle(objective.objective, np.hstack([offset, A]), np.hstack([np.eye(len(B)), B]))
        # Its inner product is that of the gradient with offset + X.
        return replace(whole, inner=None)
    own = _own(objective)
    if own is not None:
        return _checked(own(A, B, balls), objective)
    return _of_classes()[type(objective)](objective, A, B)


def _checked(answer: Any, objective: Objective) -> BallOracle:
    """Return what a user's method has returned, or refuse it where it is no enclosure of this objective."""
    where = f"objective: {type(_speaker(objective)).__name__}.ball_oracle"
    if not isinstance(answer, BallOracle):
        raise TypeError(f"{where}: expected a balls.BallOracle, got {shown(answer)}")
    if not isinstance(answer.gradient, Ball):
        raise TypeError(f"{where}: gradient: expected a balls.Ball, got {shown(answer.gradient)}")
    if answer.gradient.shape != objective.shape:
        raise ValueError(f"{where}: gradient: expected shape {objective.shape}, got {answer.gradient.shape}")
    for name in ("low", "high", "lower_slope", "lower_bound"):
        number = getattr(answer, name)
        if name == "lower_bound" and number is None:
            continue
        # Bounds of f that are no number say nothing, as infinite ones do.
        if not isinstance(number, (int, float, np.number)) or (name.startswith("lower") and math.isnan(number)):
            raise TypeError(f"{where}: {name}: expected a number, got {shown(number)}")
    if answer.inner is not None and not (
        isinstance(answer.inner, tuple)
        and len(answer.inner) == 2
        and all(isinstance(number, (int, float, np.number)) for number in answer.inner)
    ):
        raise TypeError(f"{where}: inner: expected two numbers or None, got {shown(answer.inner)}")
    return answer


def rough_oracle(objective: Objective, A: Array, B: Array) -> BallOracle | None:
    """Return what :func:`ball_oracle` does with larger errors in less time, None where there is no such thing."""
    objective = _inner(objective)
    rough = _of_classes("ROUGH_ORACLES").get(type(objective))
    return None if rough is None or _own(objective) is not None else rough(objective, A, B)


def claim(objective: Objective) -> str | None:
    """Return what is believed of a user's objective, or None for one of the package."""
    objective = _inner(objective)
    if isinstance(objective, Shifted):
        return claim(objective.objective)
    if _own(objective) is None:
        return None
    return f"{type(_speaker(objective)).__name__} is convex and its ball_oracle encloses f and its gradient"


def _inner(objective: Objective) -> Objective:
    while isinstance(objective, DenseReference):
        objective = objective.objective
    return objective


def _speaker(objective: Objective) -> Any:
    return objective.user if isinstance(objective, UserObjective) else objective


def _own(objective: Objective) -> Callable[..., BallOracle] | None:
    return getattr(_speaker(objective), "ball_oracle", None)
