"""What a check is: its kinds, how strong each is, and how it rejects its false twins.

============  ==========================================================================  ==================
kind          what is verified                                                            strength
============  ==========================================================================  ==================
`identity`    the normal form of ``lhs - rhs`` is empty                                   PROVED
`sos`         ``rhs - lhs`` is a sum of squares with provably non-negative coefficients   PROVED
`implies`     ``rhs - lhs`` is a non-negative combination of named inequalities           PROVED (UNDER facts)
`scalar`      an equation or inequality between SymPy expressions                         PROVED
`exact`       rational matrices at the listed cases                                       VERIFIED
`numeric`     random falsification, nothing more                                          SAMPLED
============  ==========================================================================  ==================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any, ClassVar

from lorasolve._known import Known
from lorasolve.symbolic import expression as ex
from lorasolve.symbolic.evaluate import Values
from lorasolve.symbolic.mutants import Mutant
from lorasolve.symbolic.normal import EndlessRules
from lorasolve.symbolic.substitution import substituted
from lorasolve.symbolic.taken import Taken, fault_of_put
from lorasolve.symbolic.terms import Fact, Premise, as_put
from lorasolve.symbolic.written import as_written

from .._support.validate import as_instance, as_iterable, as_text

# Expressions put into a conclusion that its name tells.
MANY = 4
# Of the search for a witness.
SEED = 20251


def in_words(known: Known, facts: Sequence[str]) -> str:
    """Return how something is known together with the facts it rests on."""
    return f"{known} UNDER {', '.join(facts)}" if facts else str(known)


@dataclass(frozen=True)
class Outcome:
    """Whether a statement was shown, and what was seen."""

    holds: bool
    detail: str


@dataclass(frozen=True)
class Check(ABC):
    """One machine-checked statement.

    Parameters
    ----------
    name
        An identifier, unique in its theorem.
    says
        The statement in words.
    mutants
        At least two false twins of different kinds.
    paper
        Key of the statement of the paper that this check covers, if any (see ``proofs/statements.py``).
    """

    name: str
    says: str
    mutants: Sequence[Mutant] = field(default=(), kw_only=True)
    paper: str = field(default="", kw_only=True)

    kind: ClassVar[str]
    known: ClassVar[Known] = Known.PROVED
    several: ClassVar[tuple[str, ...]] = ("mutants",)

    def __post_init__(self) -> None:
        """Keep the parts of what is `several`: they are gone through more than once, as a generator cannot be."""
        for name in ("name", "says", "paper"):
            as_text(getattr(self, name), name)
        for name in self.several:
            object.__setattr__(self, name, tuple(as_iterable(getattr(self, name), name)))
        for k, twin in enumerate(self.mutants):
            as_instance(twin, f"mutants[{k}]", Mutant)

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The classical facts the check rests on."""
        return ()

    @property
    def unproved_facts(self) -> tuple[Fact, ...]:
        """Those of the classical facts that no theorem here proves."""
        return tuple(fact for fact in self.facts if not fact.proved_by)

    @property
    def sources(self) -> tuple[Check, ...]:
        """The checks whose conclusions the proof uses."""
        return ()

    @property
    def shown_by(self) -> tuple[Check, ...]:
        """The checks that show the facts it uses."""
        return ()

    @property
    def taken(self) -> tuple[Taken, ...]:
        """What is taken for granted: assumptions, hypotheses, and what the checks assume that it rests on."""
        return ()

    @property
    def assumed(self) -> tuple[str, ...]:
        """The names of what is taken for granted."""
        return tuple(part.name for part in self.taken)

    @property
    def strength(self) -> str:
        """How the statement is known, in words: PROVED, PROVED UNDER named facts, VERIFIED or SAMPLED."""
        return in_words(self.known, [fact.name for fact in self.unproved_facts])

    def conclusion(
        self,
        lhs: Any = None,
        rhs: Any = None,
        *,
        where: Mapping[Any, Any] | None = None,
        put: Mapping[Any, Any] | None = None,
    ) -> Premise:
        """Return the conclusion for use in a later proof; it carries the facts used here, and this check as source.

        Parameters
        ----------
        lhs, rhs
            The sides in other symbols, if they are not those of the check.
        where
            What numbers in them stand for, in symbols of the check.
        put
            What is put in the place of symbols of the check.

        Raises
        ------
        TypeError
            If the check has no sides, and for what is put in the place of a symbol of another kind.
        ShapeError
            If what is put in the place of symbols does not fit together.
        """
        if not isinstance(self, TwoSided):
            raise TypeError(f"check {self.name}: a conclusion has two sides, which {type(self).__name__} has not")
        put, where = as_put(put or {}, "put"), as_put(where or {}, "where")
        left = _with(put, self, self.lhs) if lhs is None else lhs
        right = _with(put, self, self.rhs) if rhs is None else rhs
        name = f"check {self.name}" + (f" in {', '.join(map(as_written, where))}" if where else "")
        at = list(map(as_written, put.values()))
        name += f" at {', '.join(at if len(at) <= MANY else [*at[:MANY], '...'])}" if put else ""
        return Premise(name, left, right, self.facts, self.relation == "==", self, where=where, put=put)

    def prove(self) -> Outcome:
        """Try to prove the statement, and all checks that it rests on."""
        outcome = self.follows()
        fault = fault_of_sources(self, lambda source: (source.follows(),)) if outcome.holds else None
        return outcome if fault is None else Outcome(False, fault)

    def follows(self) -> Outcome:
        """Try to prove the statement from what it takes for granted and from the conclusions that it uses.

        Nothing is, of what is written without meaning or where no values are found at which all of that holds.
        """
        try:
            fault = self.fault
            outcome = self._prove() if fault is None else Outcome(False, fault)
        except EndlessRules as endless:
            return Outcome(False, f"given: {endless}")
        if outcome.holds and self.taken and self.witness is None:
            return Outcome(
                False, "no witness: no values were found at which it is defined and all that it assumes holds"
            )
        return outcome

    @cached_property
    def witness(self) -> Values | None:
        """Values at which all that it takes for granted holds and its sides are defined, or None."""
        return self._witness(Random(SEED))

    @cached_property
    def fault(self) -> str | None:
        """What makes the statement or its proof meaningless, or None."""
        return self._fault()

    def _witness(self, rng: Random) -> Values | None:
        """Look for such values."""
        return {}

    @abstractmethod
    def _fault(self) -> str | None:
        """Return what makes it meaningless, or None."""

    @abstractmethod
    def _prove(self) -> Outcome:
        """Try to prove the statement as it is written."""

    @abstractmethod
    def test(self, rng: Random) -> Outcome:
        """Evaluate the statement on examples by a route that shares nothing with the proof."""

    @abstractmethod
    def counterexample(self, given: Mapping[Any, Any] | None, rng: Random) -> str | None:
        """Return an example at which the statement fails, or None."""

    def mutated(self, twin: Mutant) -> Check:
        """Return the check that claims what the mutant claims."""
        return replace(self, **twin.edit)

    def refute(self, twin: Mutant, rng: Random) -> Outcome:
        """Show that the mutant is false: its proof must fail and a concrete counterexample must be found."""
        false_twin = self.mutated(twin)
        fault = false_twin.fault
        if fault is not None and twin.of_statement and self.fault is None:
            return Outcome(False, f"the false twin is refused for how it is written, which tries no proof: {fault}")
        if fault is None and false_twin._prove().holds:
            return Outcome(False, "the false twin was proved")
        try:
            example = false_twin.counterexample(twin.counterexample, rng)
        except ValueError as unfit:
            return Outcome(False, str(unfit))
        if example is None:
            return Outcome(False, "no counterexample was found")
        return Outcome(True, example)


@dataclass(frozen=True)
class TwoSided(Check):
    """A check that one side equals the other, or is at most the other: it has a conclusion."""

    lhs: Any
    rhs: Any

    def __post_init__(self) -> None:
        """Refuse sides that are neither matrices nor numbers."""
        super().__post_init__()
        for name in ("lhs", "rhs"):
            ex.as_expr(getattr(self, name), name)

    @property
    @abstractmethod
    def relation(self) -> str:
        """How the left side compares with the right one: ``==`` or ``<=``."""


def _with(put: Mapping[Any, Any], check: TwoSided, side: Any) -> Any:
    """Return a side of a check with what is put in the place of its symbols."""
    try:
        return substituted(side, put) if put else side
    except ex.ShapeError as error:
        raise ex.ShapeError(f"put: {fault_of_put(check, put) or error}") from error


def fault_of_sources(
    check: Check,
    shown: Callable[[Check], Iterable[Outcome]],
    listed: Sequence[Check] | None = None,
    users: tuple[Check, ...] = (),
) -> str | None:
    """Return what is wrong with the checks that a proof rests on, however far back, or None.

    Parameters
    ----------
    check
        The check.
    shown
        Returns what became of one that it rests on.
    listed
        The checks among which these are, if it matters; those behind a fact need not be.
    users
        The checks that rest on this one, by which a circle is found.
    """
    users = (*users, check)
    behind = [(source, ", which shows a fact,", None) for source in check.shown_by]
    for source, role, known_here in behind + [(source, "", listed) for source in check.sources]:
        if any(source is user for user in users):
            return f"the proof goes in a circle through check {source.name}"
        if known_here is not None and not any(source is known for known in known_here):
            return f"check {source.name} is in the list of no theorem that is used here"
        if source.known is not Known.PROVED:
            return f"check {source.name} is {source.known}"
        for outcome in shown(source):
            if not outcome.holds:
                return f"check {source.name}{role} is not shown: {outcome.detail}"
        fault = fault_of_sources(source, shown, known_here, users)
        if fault is not None:
            return fault
    return None
