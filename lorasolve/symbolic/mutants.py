"""False twins (mutants) of checks, each of which a check must reject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from lorasolve.symbolic.assumptions import Assumption
from lorasolve.symbolic.terms import Premise

from .._support.validate import as_choice, as_instance

MutantKind: TypeAlias = Literal["sign", "constant", "dropped assumption", "swapped transpose", "swapped symbols"]


@dataclass(frozen=True)
class Mutant:
    """A false twin of a check.

    Parameters
    ----------
    kind
        What was done to the true statement.
    change
        The change in words.
    edit
        The fields of the check that are replaced.
    counterexample
        Values at which the false statement fails; searched for at random if not given.
    """

    kind: MutantKind
    change: str
    edit: Mapping[str, Any]
    counterexample: Mapping[Any, Any] | None = None

    @property
    def of_statement(self) -> bool:
        """Whether only the statement is edited: its counterexample then satisfies every assumption and hypothesis."""
        return bool(self.edit) and set(self.edit) <= {"lhs", "rhs", "relation", "run", "margin"}


def mutant(kind: MutantKind, change: str, counterexample: Mapping[Any, Any] | None = None, **edit: Any) -> Mutant:
    """Return a mutant that replaces the fields `edit` of its check."""
    as_choice(kind, "kind", get_args(MutantKind))
    return Mutant(kind, as_instance(change, "change", str), edit, _as_values(counterexample))


def dropped(what: Assumption | Premise, counterexample: Mapping[Any, Any] | None = None) -> Mutant:
    """Return the mutant that keeps the statement but not the assumption `what`."""
    as_instance(what, "what", (Assumption, Premise))
    return Mutant("dropped assumption", f"without: {what.name}", {"without": what.name}, _as_values(counterexample))


def _as_values(counterexample: Mapping[Any, Any] | None) -> Mapping[Any, Any] | None:
    return None if counterexample is None else as_instance(counterexample, "counterexample", Mapping)
