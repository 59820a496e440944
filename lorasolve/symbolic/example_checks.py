"""Checks by examples, which prove nothing beyond them: exact computations case by case, and random search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

from lorasolve._known import Known
from lorasolve.symbolic.checks import Check, Outcome

from .._support.validate import as_callable, as_flag, as_integer, as_iterable, as_number, shown


@dataclass(frozen=True)
class Exact(Check):
    """A statement computed with exact rational matrices, case by case.

    `run` is called with each case and returns whether the statement holds and the numbers that show it.
    """

    run: Callable[..., tuple[bool, str]]
    cases: Sequence[tuple[Any, ...]]

    kind: ClassVar[str] = "exact"
    several: ClassVar[tuple[str, ...]] = (*Check.several, "cases")
    known: ClassVar[Known] = Known.VERIFIED

    def __post_init__(self) -> None:
        """Refuse what cannot be run case by case."""
        super().__post_init__()
        as_callable(self.run, "run")
        for k, case in enumerate(self.cases):
            as_iterable(case, f"cases[{k}]")

    def _fault(self) -> str | None:
        """Refuse a check without cases."""
        return None if self.cases else "no cases are listed"

    def _failure(self) -> tuple[tuple[Any, ...], str] | None:
        """Return the first case that fails, and the numbers that show it."""
        for case in self.cases:
            holds, numbers = self._answer(case)
            if not holds:
                return case, numbers
        return None

    def _answer(self, case: tuple[Any, ...]) -> tuple[bool, str]:
        """Return what `run` says of a case; the pair the other way round would hold for its text."""
        answer = self.run(*case)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise TypeError(f"run: expected a pair (True or False, text) for the case {case}, got {shown(answer)}")
        return as_flag(answer[0], f"run: the first of the pair for the case {case}"), answer[1]

    def _prove(self) -> Outcome:
        """Run all cases."""
        failure = self._failure()
        if failure is None:
            return Outcome(True, f"exact at {', '.join(str(case) for case in self.cases)}")
        return Outcome(False, "fails for {}: {}".format(*failure))

    def test(self, rng: Random) -> Outcome:
        """Return at once: the cases are exact computations already."""
        return Outcome(True, "rational arithmetic throughout")

    def counterexample(self, given: Mapping[Any, Any] | None, rng: Random) -> str | None:
        """Return the first case that fails."""
        failure = self._failure()
        return None if failure is None else "{1} for case {0}".format(*failure)


@dataclass(frozen=True)
class Sampled(Check):
    """A random search for a counterexample. It never proves anything.

    `margin` draws one example and returns a number that would be negative if the statement failed there.
    """

    margin: Callable[[Any], float]
    draws: int = field(default=200, kw_only=True)
    tolerance: float = field(default=1e-9, kw_only=True)

    kind: ClassVar[str] = "numeric"
    known: ClassVar[Known] = Known.SAMPLED

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn with."""
        super().__post_init__()
        as_callable(self.margin, "margin")
        as_integer(self.draws, "draws", 0)
        as_number(self.tolerance, "tolerance", 0.0)

    def _worst(self) -> tuple[float, int]:
        import numpy as np

        margins = [float(self.margin(np.random.default_rng(seed))) for seed in range(self.draws)]
        worst = int(np.argmin(margins))
        return margins[worst], worst

    def _fault(self) -> str | None:
        """Refuse a search without draws."""
        return None if self.draws >= 1 else "no examples are drawn"

    def _prove(self) -> Outcome:
        """Search for a counterexample; to find none proves nothing."""
        value, seed = self._worst()
        return Outcome(value >= -self.tolerance, f"smallest margin {value:.3g} (seed {seed}) in {self.draws} draws")

    def test(self, rng: Random) -> Outcome:
        """Return at once: the search is all there is."""
        return Outcome(True, "sampling is all there is")

    def counterexample(self, given: Mapping[Any, Any] | None, rng: Random) -> str | None:
        """Return the draw with the smallest margin, if that is negative."""
        value, seed = self._worst()
        return f"margin {value:.3g} at seed {seed}" if value < -self.tolerance else None
