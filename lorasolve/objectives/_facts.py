"""What is known about a loss beyond its values: one record, stated by whoever writes the loss, read by everyone else.

A fact is stated as a plain attribute of a loss (``convex = True`` on the class, ``self.lower_bound = ...`` in its
constructor, or a ``cached_property`` where it is expensive) and read as ``objective.facts.convex``. A wrapper hands on
the whole record of what it wraps, so that no fact can be forgotten on the way.
"""

from __future__ import annotations

import difflib
import functools
import math
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.validate import as_integer, as_number


class _Deferred:
    """A number that may be given as a function: it is called on first reading, and its answer is checked and kept."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, record: Any, owner: type | None = None) -> float | None:
        if record is None:
            return None  # what a dataclass takes for the field's default
        value = record.__dict__[self.name]
        if callable(value):
            value = record.__dict__[self.name] = _CHECKS[self.name](value(), self.name)
        return value

    def __set__(self, record: Any, value: float | Callable[[], float | None] | None) -> None:
        record.__dict__[self.name] = value if callable(value) else _CHECKS[self.name](value, self.name)


@dataclass(frozen=True)
class Facts:
    """What is known about a loss ``f``; what is not known is ``None``.

    Parameters
    ----------
    convex : bool or None
        Whether ``f`` is convex.
    least_squares : bool
        True if ``f(X) - lower_bound = ||linear(X) - y||^2 / 2`` for some linear map and some ``y``. Then the
        Hessian is constant and the certificate is tighter.
    smoothness : float or None
        A number ``beta >= 0`` with ``||grad f(X) - grad f(Y)||_F <= beta ||X - Y||_F`` for all ``X``, ``Y``. It may
        be given as a function without arguments, which is called when the fact is first read.
    lower_bound : float or None
        A number below every value of ``f``. It may be given as a function too.
    has_hessian : bool
        False if ``hessian_product`` refuses to answer because ``f`` is not twice differentiable.
    n_samples : int or None
        Number of samples, for objectives that are means over samples.
    minimizes_factors : bool
        Whether ``minimize_over_A`` and ``minimize_over_B`` answer.
    rank_one_smoothness : float or None
        A number ``beta >= 0`` with ``f(X + t u v^T) <= f(X) + t u^T grad f(X) v + (beta/2) t^2`` for all ``X``, unit
        ``u``, ``v`` and ``t``. ``smoothness`` is one; state another where that takes less work, as what is asked of
        it (the rank of the optimum) hardly depends on its size. It may be given as a function too.

    Raises
    ------
    TypeError, ValueError
        For a fact of the wrong kind or out of range; for a function, when the fact is first read.
    """

    convex: bool | None = None
    least_squares: bool = False
    smoothness: _Deferred = _Deferred()
    lower_bound: _Deferred = _Deferred()
    has_hessian: bool = True
    n_samples: int | None = None
    minimizes_factors: bool = False
    rank_one_smoothness: _Deferred = _Deferred()

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            if name not in _DEFERRED:
                object.__setattr__(self, name, check(getattr(self, name), name))

    @property
    def rank_one_curvature(self) -> float | None:
        """``rank_one_smoothness`` where it is stated, otherwise ``smoothness``."""
        return self.smoothness if self.rank_one_smoothness is None else self.rank_one_smoothness

    @classmethod
    def stated_by(cls, owner: Any) -> Facts:
        """Collect the facts that an object states as attributes; a property is read when its fact is.

        Raises
        ------
        TypeError, ValueError
            For a fact of the wrong kind or out of range; the message names the class of the object.
        """
        own = getattr(owner, "__dict__", {})
        computed = [name for name in _computed(type(owner)) if name not in own]  # type: ignore[arg-type]
        stated = {name: getattr(owner, name) for name in _CHECKS if name not in computed and hasattr(owner, name)}
        try:
            if not computed:
                return _kept(tuple((name, type(value), value) for name, value in stated.items()))
            deferred: dict[str, Any] = {name: functools.partial(getattr, owner, name) for name in computed}
            return cls(**stated, **deferred)
        except (TypeError, ValueError) as error:
            raise type(error)(f"objective: {type(owner).__name__} states {error}") from None

    def replace(self, **changes: Any) -> Facts:
        """Return the record with some facts changed, without computing those that were not read yet."""
        return Facts(**(self.__dict__ | changes))

    @staticmethod
    def refuse_misspelt(owner: Any) -> None:
        """Refuse an object that states something that is nearly, but not quite, the name of a fact.

        Raises
        ------
        TypeError
            If it does; the message names what was meant.
        """
        of_class = _nearly_named(type(owner))  # type: ignore[arg-type]  # a class is hashable
        for name in (*of_class, *getattr(owner, "__dict__", ())):
            meant = _meant(name)
            if meant is not None:
                raise TypeError(
                    f"objective: {type(owner).__name__} states {name!r}, which is no fact. Did you mean {meant!r}? "
                    f"Accepted: {', '.join(_CHECKS)}"
                )


@functools.lru_cache(maxsize=256)
def _computed(owner: type) -> tuple[str, ...]:
    """Return the facts that a class computes when they are read."""
    return tuple(name for name in _DEFERRED if hasattr(type(getattr(owner, name, None)), "__get__"))


@functools.lru_cache(maxsize=1024)
def _kept(stated: tuple[tuple[str, type, Any], ...]) -> Facts:
    """Return the record of some facts; it is asked for often, and equal statements share one."""
    return Facts(**{name: value for name, _, value in stated})


@functools.lru_cache(maxsize=256)
def _nearly_named(owner: type) -> tuple[str, ...]:
    """Return the attributes of a class, methods apart, whose names are nearly those of facts."""
    names = (name for cls in owner.__mro__ for name, value in vars(cls).items() if not isinstance(value, _METHODS))
    return tuple(name for name in names if _meant(name) is not None)


@functools.lru_cache(maxsize=4096)
def _meant(name: str) -> str | None:
    """Return the fact that a similar name stands for, or None for the name of a fact or of anything else."""
    if name in _CHECKS or name.startswith("_"):
        return None
    near = difflib.get_close_matches(name.lower().removeprefix("is_"), _CHECKS, n=1, cutoff=0.9)
    return near[0] if near else None


def _three_valued(value: Any, name: str) -> bool | None:
    return None if value is None else _flag(value, name, "True, False or None")


def _flag(value: Any, name: str, accepted: str = "True or False") -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected {accepted}, got {value!r}")
    return bool(value)


def _number_or_none(low: float) -> Callable[[Any, str], float | None]:
    return lambda value, name: None if value is None else as_number(value, name, low)


def _count_or_none(value: Any, name: str) -> int | None:
    return None if value is None else as_integer(value, name, 1)


_METHODS = (types.FunctionType, classmethod, staticmethod)
_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "convex": _three_valued,
    "least_squares": _flag,
    "smoothness": _number_or_none(0.0),
    "lower_bound": _number_or_none(-math.inf),
    "has_hessian": _flag,
    "n_samples": _count_or_none,
    "minimizes_factors": _flag,
    "rank_one_smoothness": _number_or_none(0.0),
}
_DEFERRED = {"smoothness", "rank_one_smoothness", "lower_bound"}


def no_batches(label: str, facts: Facts, has_method: bool) -> str | None:
    """Return why a loss that has a method ``sample_batch`` or not gives no batches, or None if it does."""
    if facts.n_samples is None:
        return f"{label} is not a mean over samples (n_samples is None)"
    return None if has_method else f"{label} states n_samples and has no sample_batch(index)"
