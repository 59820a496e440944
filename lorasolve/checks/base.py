"""What a check is, how checks are collected in a report, and what several of them share."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from .._support.interruptions import interruptions_end_all
from .._support.truth import MoreThanYesOrNo
from .._support.validate import Array, as_flag, as_text

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Checked:
    """One statement and what became of it.

    Attributes
    ----------
    name : str
        What is stated.
    holds : bool or None
        False: refuted. True: tested and not refuted. None: not stated, or nothing could be decided.
    detail : str
        The measured numbers, or why nothing was tested.
    """

    name: str
    holds: bool | None
    detail: str

    def __post_init__(self) -> None:
        as_text(self.name, "name")
        as_text(self.detail, "detail")
        # A NumPy boolean is neither `True` nor `False` by identity, and would count as undecided.
        if self.holds is not None:
            object.__setattr__(self, "holds", as_flag(self.holds, "holds"))


@dataclass(frozen=True)
class CheckReport(MoreThanYesOrNo):
    """The outcome of the checks of one component; printing it shows one line per check.

    Attributes
    ----------
    subject : str
        What was checked.
    checks : tuple of Checked
        All of them, in the order in which they ran.
    """

    _condition = "ok"

    subject: str
    checks: tuple[Checked, ...]

    @property
    def ok(self) -> bool:
        """True if nothing was refuted."""
        return not self.failures

    @property
    def failures(self) -> tuple[Checked, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.holds is False)

    @property
    def outcome(self) -> str:
        """Whether a check failed, in words."""
        count = len(self.failures)
        return "no check failed (sampled)" if self.ok else f"{count} check{'s' * (count != 1)} WRONG"

    def __repr__(self) -> str:
        return f"CheckReport({self.subject}: {self.outcome} of {len(self.checks)})"

    def __str__(self) -> str:
        words = {True: "ok", False: "WRONG", None: "-"}
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [f"{words[check.holds]:5}  {check.name:{width}}  {check.detail}" for check in self.checks]
        return "\n".join([f"{self.subject}: {self.outcome}", *lines])


Bench = TypeVar("Bench")


def run_checks(subject: str, bench: Bench, checks: Mapping[str, Callable[[Bench], Iterator[Checked]]]) -> CheckReport:
    """Run all checks on one bench; one that raises is reported, and the others still run."""
    found: list[Checked] = []
    with np.errstate(all="ignore"), interruptions_end_all():
        for name, check in checks.items():
            try:
                found.extend(check(bench))
            except NotImplementedError as reason:
                found.append(Checked(name, None, f"not stated: {reason}"))
            except Exception as error:  # what a user wrote may fail in any way, and the other checks still matter
                found.append(Checked(name, False, f"raised {type(error).__name__}: {error}"))
    return CheckReport(subject, tuple(found))


def relative(error: float, unit: float) -> float:
    """Return ``error / unit`` (the error itself where the unit is 0); infinite if it is not a number."""
    return error / (unit or 1.0) if math.isfinite(error) else math.inf


def difference(given: Array, expected: Array) -> float:
    """Return ``||given - expected|| / ||expected||`` in the sense of :func:`relative`."""
    return relative(float(np.linalg.norm(given - expected)), float(np.linalg.norm(expected)))


class BareLoss:
    """A loss with nothing but what must be there: no frozen weight, no samples, no closed form."""

    shape = (5, 4)

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``||X - 1||^2/2`` and its gradient."""
        return 0.5 * float(np.sum((X - 1.0) ** 2)), X - 1.0


def global_state() -> tuple[Any, ...]:
    """Return the states of the global generators of NumPy and of Python, from which no component draws."""
    # With the place in the words of the former, which alone changes with a single draw.
    name, words, *place = np.random.get_state()  # noqa: NPY002
    return name, words.tobytes(), place, random.getstate()  # type: ignore[union-attr, attr-defined]


def refusal_text(reason: Any) -> str | None:
    """Return what is wrong with the answer of a ``refusal``, or None: it is None or says why in words."""
    if reason is None or (isinstance(reason, str) and len(reason.split()) >= 3):
        return None
    return f"expected None or a reason in words, got {reason!r}"
