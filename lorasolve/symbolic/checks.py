"""Kinds of checks, how strong each is, and the false twins (mutants) that each must reject.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import mpmath
import sympy

from lorasolve._known import Known
from lorasolve.symbolic import expression as ex
from lorasolve.symbolic import taken
from lorasolve.symbolic.assumptions import Assumption, signs_hold
from lorasolve.symbolic.evaluate import Values, as_text, describe, evaluate
from lorasolve.symbolic.examples import EVALUATIONS, examples, find
from lorasolve.symbolic.normal import Rules, is_zero, lowest_terms, normal_form, rules_of
from lorasolve.symbolic.positivity import provably_nonnegative
from lorasolve.symbolic.restated import fault_of_instance, fault_of_restatement
from lorasolve.symbolic.soundness import (
    fault_of_motion,
    fault_of_named_sign,
    fault_of_quotients,
    fault_of_symbols,
    fault_of_value,
    values_in,
)
from lorasolve.symbolic.substitution import substituted
from lorasolve.symbolic.taken import Taken
from lorasolve.symbolic.terms import Fact, Premise, Side, Square, Term, as_term
from lorasolve.symbolic.written import text

from .._support.validate import as_choice, as_instance, as_iterable

MutantKind: TypeAlias = Literal["sign", "constant", "dropped assumption", "swapped transpose", "swapped symbols"]

# Random points at which a false twin of a scalar check is tried.
SEARCH = 600
# Of an interval, and the relative error up to which numbers are taken for one integral.
PIECES, QUADRATURE = 16, 1e-8
# Expressions put into a conclusion that its name tells.
MANY = 4


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
    return Mutant(kind, as_instance(change, "change", str), edit, counterexample)


def dropped(what: Assumption | Premise, counterexample: Mapping[Any, Any] | None = None) -> Mutant:
    """Return the mutant that keeps the statement but not the assumption `what`."""
    as_instance(what, "what", (Assumption, Premise))
    return Mutant("dropped assumption", f"without: {what.name}", {"without": what.name}, counterexample)


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
            If the check has no sides.
        """
        if not isinstance(self, Identity | Inequality | ScalarCheck):
            raise TypeError(f"check {self.name}: a conclusion has two sides, which {type(self).__name__} has not")
        put = put or {}
        left = substituted(self.lhs, put) if lhs is None and put else self.lhs if lhs is None else lhs
        right = substituted(self.rhs, put) if rhs is None and put else self.rhs if rhs is None else rhs
        name = f"check {self.name}" + (f" in {', '.join(map(text, where))}" if where else "")
        at = list(map(text, put.values()))
        name += f" at {', '.join(at if len(at) <= MANY else [*at[:MANY], '...'])}" if put else ""
        return Premise(name, left, right, self.facts, self.relation == "==", self, where=where or {}, put=put)

    def prove(self) -> Outcome:
        """Try to prove the statement, unless something is wrong with how it is written."""
        fault = self.fault()
        return self._prove() if fault is None else Outcome(False, fault)

    @abstractmethod
    def fault(self) -> str | None:
        """Return what makes the statement or its proof meaningless, or None."""

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
        fault = false_twin.fault()
        if fault is not None and twin.of_statement and self.fault() is None:
            return Outcome(False, f"the false twin is refused for how it is written, which tries no proof: {fault}")
        if fault is None and false_twin._prove().holds:
            return Outcome(False, "the false twin was proved")
        example = false_twin.counterexample(twin.counterexample, rng)
        if example is None:
            return Outcome(False, "no counterexample was found")
        return Outcome(True, example)


@dataclass(frozen=True)
class Identity(Check):
    """``lhs = rhs`` for all matrices that satisfy the assumptions `given`, in all dimensions."""

    lhs: Any
    rhs: Any
    given: Sequence[Assumption] = field(default=(), kw_only=True)
    without: str = field(default="", kw_only=True)

    kind: ClassVar[str] = "identity"
    relation: ClassVar[str] = "=="

    @property
    def taken(self) -> tuple[Taken, ...]:
        """The assumptions."""
        return tuple(taken.own(self.given, ()))

    @property
    def in_force(self) -> list[Assumption]:
        """The assumptions, without the one that a mutant drops."""
        return [a for a in self.given if a.name != self.without]

    def _sides(self) -> tuple[ex.Expr, ex.Expr]:
        return ex.as_expr(self.lhs), ex.as_expr(self.rhs)

    def fault(self) -> str | None:
        """Return what is wrong with the symbols, the numbers or the assumptions, or None."""
        return _fault_of_statement(*self._sides(), given=self.given)

    def _prove(self) -> Outcome:
        """Reduce ``lhs - rhs`` by the assumptions; proved if nothing is left."""
        left, right = self._sides()
        residual = normal_form(left - right, _rules(self.in_force))  # type: ignore[operator]
        return Outcome(is_zero(residual), f"normal form of lhs - rhs: {residual}")

    def test(self, rng: Random) -> Outcome:
        """Compare both sides exactly at random rational matrices."""
        for values, (left, right) in examples(self._sides(), self.in_force, rng):
            if left != right:
                return Outcome(False, f"fails at {describe(values)}")
        return Outcome(True, f"{EVALUATIONS} random rational examples")

    def witness(self, rng: Random) -> Values | None:
        """Return values that satisfy all assumptions, or None if none were found."""
        return find(self._sides(), self.in_force, None, lambda values: True, rng)

    def counterexample(self, given: Mapping[Any, Any] | None, rng: Random) -> str | None:
        """Return matrices at which the two sides differ."""
        left, right = self._sides()
        assumptions = self.in_force

        def fails(values: Values) -> bool:
            return bool(evaluate(left, values) != evaluate(right, values))

        values = find((left, right), assumptions, given, fails, rng)
        if values is None:
            return None
        sides = (as_text(evaluate(side, values)) for side in (left, right))
        return "lhs = {}, rhs = {}".format(*sides) + f" at {describe(values)}"


@dataclass(frozen=True)
class Inequality(Check):
    """``lhs <= rhs``, because ``rhs - lhs`` equals the sum of the terms of `proof`.

    The terms are non-negative by construction: squares, named inequalities, their products, with coefficients whose
    sign SymPy can show. If all are squares the check is a sum-of-squares proof.

    A conclusion of an earlier check comes with the assumptions and hypotheses of that check, with what is put into it
    put into them. This check has to make them too, or to list the earlier check in `under`: then they are reported as
    its own.
    """

    lhs: Any
    rhs: Any
    proof: Sequence[Any] = field(kw_only=True)
    given: Sequence[Assumption] = field(default=(), kw_only=True)
    under: Sequence[Check] = field(default=(), kw_only=True)
    without: str = field(default="", kw_only=True)

    kind: ClassVar[str] = "implies"
    relation: ClassVar[str] = "<="

    def __post_init__(self) -> None:
        """Keep what is given as it is."""
        for name in ("proof", "given", "under"):
            object.__setattr__(self, name, tuple(as_iterable(getattr(self, name), name)))

    @property
    def terms(self) -> list[Term]:
        """The proof as a list of terms."""
        return [as_term(part) for part in self.proof]

    @property
    def premises(self) -> list[Premise]:
        """The named inequalities the proof uses, each once."""
        found = {f.name: f for t in self.terms for f in t.factors if isinstance(f, Premise)}
        return [premise for name, premise in found.items() if name != self.without]

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The classical facts behind the named inequalities."""
        return tuple(dict.fromkeys(fact for premise in self.premises for fact in premise.facts))

    @property
    def sources(self) -> tuple[Check, ...]:
        """The checks whose conclusions the proof uses, and those that show side conditions of facts."""
        concluded = [premise.source for premise in self.premises if premise.source is not None]
        return tuple(concluded + [check for side in self.sides for check in side.by])

    @property
    def shown_by(self) -> tuple[Check, ...]:
        """The checks that show the facts it uses, as far as these count as proved."""
        schemas = [premise.instance.schema for premise in self.premises if premise.instance]
        return tuple(schema.shown_by for schema in schemas if schema.shown_by is not None)

    @property
    def sides(self) -> list[Side]:
        """The side conditions of the facts that are used."""
        return [side for premise in self.premises if premise.instance for side in premise.instance.sides]

    @cached_property
    def taken(self) -> tuple[Taken, ...]:
        """The assumptions, hypotheses, side conditions of facts, meanings of numbers, and what of these is inherited.

        What a conclusion or a check that a side condition is read off takes for granted is inherited, with what is put
        into the conclusion put into it, unless this check makes it itself. A proof that goes in a circle, which is
        refused, inherits nothing from itself.
        """
        self.__dict__["taken"] = ()
        left = taken.left_over(self.all_inherited(), self.given, self.premises)
        return taken.distinct([*taken.own(self.given, self.premises), *left])

    def all_inherited(self) -> list[Taken]:
        """Return what conclusions and the checks that side conditions are read off take for granted."""
        found = [part for premise in self.premises if premise.source for part in self._inherited(premise)]
        return found + [part for side in self.sides for check in side.by for part in check.taken]

    def _inherited(self, premise: Premise) -> list[Taken]:
        """Return what a conclusion takes for granted, in the symbols in which it is used."""
        return [part.put(premise.put) for part in premise.source.taken]

    @property
    def in_force(self) -> list[Assumption]:
        """The assumptions, without the one that a mutant drops."""
        return [a for a in self.given if a.name != self.without]

    def _exprs(self) -> list[ex.Expr]:
        return [ex.as_expr(self.lhs), ex.as_expr(self.rhs), *(premise.gap for premise in self.premises)]

    def _residual(self) -> ex.ScalarExpr:
        rest = ex.scalar(self.rhs) - ex.scalar(self.lhs)
        for term in self.terms:
            rest = rest - term.value
        return rest

    def fault(self) -> str | None:
        """Return what is wrong with the symbols, the numbers, the assumptions or the parts of the proof, or None."""
        exprs = [ex.as_expr(self.lhs), ex.as_expr(self.rhs), *(term.value for term in self.terms)]
        equations = [premise for premise in self.premises if premise.equal and premise.is_hypothesis]
        equal = [(ex.as_expr(premise.lhs), ex.as_expr(premise.rhs)) for premise in equations]
        fault = _fault_of_statement(*exprs, given=self.given, equal=equal)
        if fault is not None:
            return fault
        used = [premise.source for premise in self.premises]
        idle = [check.name for check in self.under if not any(check is source for source in used)]
        if idle:
            return f"`under` lists {', '.join(idle)}, whose conclusion is not used"
        names: dict[str, Premise] = {}
        for term in self.terms:
            if type(term) is not Term:
                return f"the proof uses a {type(term).__name__}, not a Term"
            for value in values_in([term.value]):
                fault = fault_of_quotients(value)
                if fault is not None:
                    return f"the proof multiplies by what is not defined everywhere: {fault}"
            for factor in term.factors:
                if type(factor) not in (Premise, Square):
                    return f"the proof uses a {type(factor).__name__}; accepted: named inequalities and squares"
                if isinstance(factor, Premise) and names.setdefault(factor.name, factor) is not factor:
                    return f"two inequalities are named {factor.name}"
        faults = (self._fault_of_premise(premise) for premise in names.values())
        fault = next((fault for fault in faults if fault), None) or taken.fault_of(self.taken, _rules(self.in_force))
        if fault is not None:
            return fault
        # What is made here is told by its text from what is inherited: it has to be about the same symbols.
        known = [*self.taken, *self.all_inherited()]
        return fault_of_symbols([*exprs, *(ex.as_expr(part) for each in known for part in each.expressions)])

    def _fault_of_premise(self, premise: Premise) -> str | None:
        rules = _rules(self.in_force)
        pairs = ((premise.lhs, self.lhs), (premise.rhs, self.rhs))
        same = all(is_zero(normal_form(ex.scalar(a) - ex.scalar(b), rules)) for a, b in pairs)
        if premise.is_hypothesis and (same or self._repeats(premise)):
            return f"the hypothesis {premise.name} is the conclusion"
        if premise.source is not None:
            return self._fault_of_conclusion(premise, premise.source)
        return fault_of_instance(premise, rules) if premise.facts else None

    def _repeats(self, hypothesis: Premise) -> bool:
        """Whether the proof is a number times a hypothesis without any assumption: parts change sides, and no more."""
        if len(self.terms) > 1 or self.terms[0].factors != (hypothesis,):
            return False
        coefficient = normal_form(ex.as_expr(self.terms[0].coefficient)).terms
        fixed = set(coefficient) == {()} and sympy.sympify(coefficient[()]).is_number
        return bool(fixed) and is_zero(normal_form(self._residual()))

    def _fault_of_conclusion(self, premise: Premise, source: Any) -> str | None:
        if premise.equal != (source.relation == "=="):
            return f"{premise.name} is not what check {source.name} concludes"
        fault = fault_of_restatement(premise, _rules(() if premise.put else source.given))
        if fault is not None:
            return fault
        if not set(source.facts) <= set(premise.facts):
            return f"{premise.name} does not carry the facts that check {source.name} uses"
        if any(check is source for check in self.under):
            return None
        missing = [part.name for part in taken.left_over(self._inherited(premise), self.given, self.premises)]
        if missing:
            return f"check {source.name} assumes {'; '.join(missing)}: assume it here, or list the check in `under`"
        return None

    def _prove(self) -> Outcome:
        """Check the signs of the terms and that their sum is ``rhs - lhs``."""
        rules = _rules(self.in_force)
        if self.without in {f.name for t in self.terms for f in t.factors if isinstance(f, Premise)}:
            return Outcome(False, f"the proof uses {self.without}")
        for term in self.terms:
            if not term.admissible(rules):
                shown = normal_form(ex.as_expr(term.coefficient), rules)
                return Outcome(False, f"coefficient {shown} is not provably non-negative")
        residual = normal_form(self._residual(), rules)
        return Outcome(is_zero(residual), f"normal form of rhs - lhs - proof: {residual}")

    def test(self, rng: Random) -> Outcome:
        """Compare ``rhs - lhs`` with the terms of the proof, and their signs, at random rational matrices."""
        for values, (residual,) in examples((self._residual(),), self.in_force, rng):
            if residual != 0:
                return Outcome(False, f"rhs - lhs - proof = {residual} at {describe(values)}")
            negative = next((term for term in self.terms if _negative(term, values)), None)
            if negative is not None:
                shown = as_text(evaluate(negative.value, values))
                return Outcome(False, f"a term of the proof is {shown} at {describe(values)}")
        return Outcome(True, f"{EVALUATIONS} random rational examples")

    def _premises_hold(self, values: Values) -> bool:
        gaps = ((premise.equal, evaluate(premise.gap, values)) for premise in self.premises)
        return all(gap == 0 if equal else gap >= 0 for equal, gap in gaps)

    def witness(self, rng: Random) -> Values | None:
        """Return values at which all assumptions and hypotheses hold, or None if none were found."""
        stated = [twin.counterexample for twin in self.mutants if twin.of_statement and twin.counterexample]
        for given in [*stated, None]:
            values = find(self._exprs(), self.in_force, given, self._premises_hold, rng)
            if values is not None:
                return values
        return None

    def counterexample(self, given: Mapping[Any, Any] | None, rng: Random) -> str | None:
        """Return values that satisfy all that is known and violate the inequality."""
        left, right = ex.as_expr(self.lhs), ex.as_expr(self.rhs)

        def fails(values: Values) -> bool:
            return bool(evaluate(left, values) > evaluate(right, values)) and self._premises_hold(values)

        values = find(self._exprs(), self.in_force, given, fails, rng)
        if values is None:
            return None
        return f"lhs = {evaluate(left, values)} > rhs = {evaluate(right, values)} at {describe(values)}"


class SumOfSquares(Inequality):
    """``lhs <= rhs``, because ``rhs - lhs`` is a sum of squares; nothing else is used."""

    kind: ClassVar[str] = "sos"

    def _prove(self) -> Outcome:
        """Prove as an inequality, refusing everything but squares."""
        if self.premises:
            return Outcome(False, "a sum-of-squares proof uses no other inequality")
        return super()._prove()


@dataclass(frozen=True)
class ScalarCheck(Check):
    """``lhs = rhs`` or ``lhs <= rhs`` between SymPy expressions, for all admissible values of their symbols.

    What SymPy works out as it is written leaves no trace: write ``Derivative``, ``Integral`` or ``Subs``, which the
    proof evaluates, or an `Identity` with definitions where values are put into the claim.
    """

    lhs: Any
    rhs: Any
    relation: Literal["==", "<="] = field(default="==", kw_only=True)

    kind: ClassVar[str] = "scalar"
    given: ClassVar[Sequence[Assumption]] = ()

    @property
    def _difference(self) -> Any:
        return (sympy.sympify(self.rhs) - sympy.sympify(self.lhs)).doit()

    def fault(self) -> str | None:
        """Return what is wrong with the symbols, the numbers or the relation, or None."""
        if self.relation not in ("==", "<="):
            return f"the relation is {self.relation!r}; accepted: '==' and '<='"
        fault = _fault_of_statement(ex.as_expr(self.lhs), ex.as_expr(self.rhs))
        if fault is None and self.relation == "<=":
            fault = fault_of_quotients(self._difference)
        return fault

    def _prove(self) -> Outcome:
        """Simplify the difference, or show its sign."""
        difference = self._difference
        if self.relation == "<=":
            return Outcome(provably_nonnegative(difference), f"rhs - lhs = {sympy.factor(difference)}")
        rest = lowest_terms(difference)
        return Outcome(rest == 0, f"rhs - lhs simplifies to {rest}")

    def _at(self, rng: Random) -> tuple[dict[Any, Any], Any]:
        difference = self._difference
        point = _drawn(difference, rng)
        return point, sympy.N(difference.subs(point), 40)

    def _fails(self, value: Any) -> bool:
        if not value.is_finite:
            return False
        return bool(abs(value) > sympy.Float("1e-25") if self.relation == "==" else value < -sympy.Float("1e-25"))

    def test(self, rng: Random) -> Outcome:
        """Evaluate the difference with 40 digits at random points."""
        for _ in range(EVALUATIONS):
            point, value = self._at(rng)
            if self._fails(value):
                return Outcome(False, f"rhs - lhs = {value} at {point}")
        for integral in (sympy.sympify(self.rhs) - sympy.sympify(self.lhs)).atoms(sympy.Integral):
            off = _off_by_quadrature(integral, rng)
            if off is not None:
                return Outcome(False, off)
        return Outcome(True, f"{EVALUATIONS} random points, 40 digits")

    def counterexample(self, given: Mapping[Any, Any] | None, rng: Random) -> str | None:
        """Return a point at which the relation fails."""
        if given is not None:
            if not signs_hold({symbol: sympy.sympify(value) for symbol, value in given.items()}):
                return None
            value = sympy.N(self._difference.subs(dict(given)), 40)
            return f"rhs - lhs = {sympy.N(value, 6)} at {dict(given)}" if self._fails(value) else None
        for _ in range(SEARCH):
            point, value = self._at(rng)
            if self._fails(value):
                return f"rhs - lhs = {sympy.N(value, 6)} at {point}"
        return None


@dataclass(frozen=True)
class Exact(Check):
    """A statement computed with exact rational matrices, case by case.

    `run` is called with each case and returns whether the statement holds and the numbers that show it.
    """

    run: Callable[..., tuple[bool, str]]
    cases: Sequence[tuple[Any, ...]]

    kind: ClassVar[str] = "exact"
    known: ClassVar[Known] = Known.VERIFIED

    def fault(self) -> str | None:
        """Refuse a check without cases."""
        return None if self.cases else "no cases are listed"

    def _prove(self) -> Outcome:
        """Run all cases."""
        for case in self.cases:
            holds, shown = self.run(*case)
            if not holds:
                return Outcome(False, f"fails for {case}: {shown}")
        return Outcome(True, f"exact at {', '.join(str(case) for case in self.cases)}")

    def test(self, rng: Random) -> Outcome:
        """Return at once: the cases are exact computations already."""
        return Outcome(True, "rational arithmetic throughout")

    def counterexample(self, given: Mapping[Any, Any] | None, rng: Random) -> str | None:
        """Return the first case that fails."""
        for case in self.cases:
            holds, shown = self.run(*case)
            if not holds:
                return f"{shown} for case {case}"
        return None


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

    def _worst(self) -> tuple[float, int]:
        import numpy as np

        margins = [float(self.margin(np.random.default_rng(seed))) for seed in range(self.draws)]
        worst = int(np.argmin(margins))
        return margins[worst], worst

    def fault(self) -> str | None:
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


def idle(check: Check) -> list[str]:
    """Return the names of the assumptions that no step of a proof needs, and no conclusion that it uses."""
    if not isinstance(check, Identity | Inequality):
        return []
    fewer = {a.name: replace(check, given=tuple(b for b in check.given if b is not a)) for a in check.given}
    return [name for name, other in fewer.items() if other._prove().holds and other.fault() is None]


def _drawn(value: Any, rng: Random) -> dict[Any, Any]:
    """Return admissible values of the symbols of a SymPy expression."""
    point = {}
    for symbol in sorted(value.free_symbols, key=str):
        size = rng.randint(1, 5) if symbol.is_integer else sympy.Rational(rng.randint(1, 12), rng.randint(1, 5))
        signed = symbol.is_nonnegative is None and rng.random() < 0.5
        point[symbol] = -size if signed else size
    return point


def _off_by_quadrature(integral: Any, rng: Random) -> str | None:
    """Return how what SymPy makes of an integral over one interval differs from quadrature at a random point, if so."""
    if len(integral.limits) > 1:
        return None
    point = _drawn(integral, rng)
    ((symbol, low, high),) = integral.limits
    function = sympy.lambdify(symbol, integral.function.subs(point).doit(), "mpmath")
    ends = [sympy.N(end.subs(point)) for end in (low, high)]
    # So many pieces as follow some turns of a sine.
    near = mpmath.quad(function, mpmath.linspace(*ends, PIECES + 1), method="gauss-legendre")
    found = sympy.N(integral.doit().subs(point))
    if abs(found - near) <= QUADRATURE * (1 + abs(near)):
        return None
    return f"{integral} is worked out as {found:.6g}, and quadrature gives {sympy.N(near, 6)} at {point}"


def _rules(assumptions: Sequence[Assumption]) -> Rules:
    return rules_of(tuple(pair for assumption in assumptions for pair in assumption.equations))


def _fault_of_statement(
    left: ex.Expr,
    right: ex.Expr,
    *others: ex.Expr,
    given: Sequence[Assumption] = (),
    equal: Sequence[tuple[ex.Expr, ex.Expr]] = (),
) -> str | None:
    """Return what is wrong with the sides, the symbols, the numbers or the assumptions of a statement, or None.

    ``equal`` are the sides of the hypotheses that are equations.
    """
    if taken.as_written(left) == taken.as_written(right):
        return f"both sides are {taken.as_written(left)} as they are written: nothing is claimed"
    for assumption in given:
        if type(assumption) is not Assumption:
            return f"an assumption is a {type(assumption).__name__}, not an Assumption"
        if not assumption.equations:
            return f"assumption {assumption.name} states no equation, so nothing compares it with its sampler"
    pairs = [pair for assumption in given for pair in assumption.equations]
    parts = [left, right, *others, *(ex.as_expr(part) for pair in pairs for part in pair)]
    fault = fault_of_symbols(parts) or fault_of_motion(parts, (*pairs, *equal))
    for pair in pairs:
        fault = fault or fault_of_named_sign(*pair)
    for value in dict.fromkeys(values_in(parts)):
        fault = fault or fault_of_value(value)
    return fault


def _negative(term: Term, values: Values) -> bool:
    """Whether a term is negative though all its inequalities hold and none of them is an equation."""
    premises = [factor for factor in term.factors if isinstance(factor, Premise)]
    if any(premise.equal or evaluate(premise.gap, values) < 0 for premise in premises):
        return False
    return bool(evaluate(term.value, values) < 0)
