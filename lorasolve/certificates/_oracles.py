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

from .._support.validate import Array, as_number, shown
from ..objectives import DenseReference, UserObjective
from ..objectives.base import Objective, Shifted
from . import balls
from ._rounding import frobenius, mul_up, sqrt_up
from .balls import Ball, BallOracle, SparseBall

Oracle = Callable[[Any, Array, Array], BallOracle]

LEAST = "lower_bound: None where nothing is known"


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
        return _at_offset(whole, offset)
    own = _own(objective)
    if own is not None:
        return _checked(own(A, B, balls), objective)
    return _of_classes()[type(objective)](objective, A, B)


def _at_offset(whole: BallOracle, offset: Array) -> BallOracle:
    """Return what is stated at ``offset + X`` as statements about ``X``.

    ``lower_bound - slope ||offset + Y||_*`` is at least the same of ``Y`` less ``slope ||offset||_*``, and so much may
    ``<E, offset>`` take off the lower bound of least squares. The inner product is one with ``offset + X``.
    """
    least = whole.lower_bound
    if least is not None and whole.lower_slope > 0.0:
        lost = mul_up(whole.lower_slope, sqrt_up(float(min(offset.shape))), frobenius(offset))
        least = math.nextafter(least - lost, -math.inf) if lost < math.inf else None
    return replace(whole, lower_bound=least, inner=None)


def _checked(answer: Any, objective: Objective) -> BallOracle:
    """Return what a user's method has returned, or refuse it where it is no enclosure of this objective."""
    where = f"objective: {type(_speaker(objective)).__name__}.ball_oracle"
    if not isinstance(answer, BallOracle):
        raise TypeError(f"{where}: expected a balls.BallOracle, got {shown(answer)}")
    if not isinstance(answer.gradient, Ball):
        raise TypeError(f"{where}: gradient: expected a balls.Ball, got {shown(answer.gradient)}")
    if answer.gradient.shape != objective.shape:
        raise ValueError(f"{where}: gradient: expected shape {objective.shape}, got {answer.gradient.shape}")
    numbers = answer.gradient.numbers.data if isinstance(answer.gradient, SparseBall) else answer.gradient.mid
    if numbers.dtype != np.float64:
        raise TypeError(f"{where}: gradient: expected a ball around a float64 array, got {numbers.dtype}")
    least, slope, inner = answer.lower_bound, answer.lower_slope, answer.inner
    if inner is not None and not (isinstance(inner, tuple) and len(inner) == 2):
        raise TypeError(f"{where}: inner: expected two numbers or None, got {shown(inner)}")
    # Bounds of f and of the inner product that are no number say nothing, as infinite ones do.
    return replace(
        answer,
        low=_binary64(answer.low, f"{where}: low"),
        high=_binary64(answer.high, f"{where}: high"),
        lower_slope=as_number(_binary64(slope, f"{where}: lower_slope"), f"{where}: lower_slope", 0.0),
        lower_bound=None if least is None else as_number(_binary64(least, f"{where}: {LEAST}"), f"{where}: {LEAST}"),
        inner=None
        if inner is None
        else (_binary64(inner[0], f"{where}: inner"), _binary64(inner[1], f"{where}: inner")),
    )


def _binary64(number: Any, argument: str) -> float:
    """Return a number as the float that it is, or refuse what is none: a bound may not be rounded."""
    if not isinstance(number, (int, float, np.floating, np.integer)):
        raise TypeError(f"{argument}: expected a number, got {shown(number)}")
    try:
        if float(number) == number or math.isnan(number):
            return float(number)
    except OverflowError:
        pass
    raise ValueError(f"{argument}: expected a number of float64, got {shown(number)}")


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
