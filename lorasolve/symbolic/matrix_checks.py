"""Checks about matrices of every size: identities, and inequalities that follow from squares and from named ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any, ClassVar

import sympy

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic import taken
from lorasolve.symbolic.assumptions import Assumption
from lorasolve.symbolic.checks import Check, Outcome, TwoSided
from lorasolve.symbolic.evaluate import Irrational, Values, as_text, describe, evaluate, symbols_of
from lorasolve.symbolic.examples import EVALUATIONS, examples, find
from lorasolve.symbolic.normal import Rules, is_zero, normal_form, rules_of
from lorasolve.symbolic.restated import fault_of_instance, fault_of_restatement
from lorasolve.symbolic.soundness import (
    fault_of_motion,
    fault_of_quotients,
    fault_of_symbols,
    fault_of_value,
    values_in,
)
from lorasolve.symbolic.statements import fault_of_statement
from lorasolve.symbolic.taken import Taken
from lorasolve.symbolic.terms import Fact, Premise, Side, Square, Term, as_term

from .._support.validate import as_instance


@dataclass(frozen=True)
class Identity(TwoSided):
    """``lhs = rhs`` for all matrices that satisfy the assumptions `given`, in all dimensions."""

    lhs: Any
    rhs: Any
    given: Sequence[Assumption] = field(default=(), kw_only=True)
    without: str = field(default="", kw_only=True)

    kind: ClassVar[str] = "identity"
    several: ClassVar[tuple[str, ...]] = (*Check.several, "given")
    relation: ClassVar[str] = "=="

    def __post_init__(self) -> None:
        """Refuse sides that are not of one shape, and to assume what is no assumption."""
        super().__post_init__()
        _refuse_other_than_assumptions(self.given)
        shapes = [ex.shape_of(side) for side in self._sides()]
        if not ex.is_of_shape(*shapes):
            raise ex.ShapeError(f"lhs, rhs: expected one shape, got {' and '.join(map(ex.shape_in_words, shapes))}")

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

    def _fault(self) -> str | None:
        """Return what is wrong with the symbols, the numbers or the assumptions, or None."""
        return fault_of_statement(*self._sides(), given=self.given)

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

    def _witness(self, rng: Random) -> Values | None:
        """Return values that satisfy all assumptions, at which the sides are defined, or None if none were found."""
        return find(self._sides(), self.in_force, None, lambda values: _are_defined(self._sides(), values), rng)

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
class Inequality(TwoSided):
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
    several: ClassVar[tuple[str, ...]] = (*Check.several, "proof", "given", "under")
    relation: ClassVar[str] = "<="

    def __post_init__(self) -> None:
        """Refuse to rest on what is no check or no assumption, and sides and parts of a proof that are no numbers."""
        super().__post_init__()
        _refuse_other_than_assumptions(self.given)
        ex.as_scalar(self.lhs, "lhs")
        ex.as_scalar(self.rhs, "rhs")
        for k, check in enumerate(self.under):
            as_instance(check, f"under[{k}]", Check)
        for k, part in enumerate(self.proof):
            if not isinstance(part, (Term, Premise, Square)):
                ex.as_scalar(part, f"proof[{k}]")

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
        """The classical facts behind the named inequalities, and behind what side conditions are read off."""
        behind = [*self.premises, *(check for side in self.sides for check in side.by)]
        return tuple(dict.fromkeys(fact for part in behind for fact in part.facts))

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

    def _fault(self) -> str | None:
        """Return what is wrong with the symbols, the numbers, the assumptions or the parts of the proof, or None."""
        exprs = [ex.as_expr(self.lhs), ex.as_expr(self.rhs), *(term.value for term in self.terms)]
        equations = [premise for premise in self.premises if premise.equal and premise.is_hypothesis]
        equal = [(ex.as_expr(premise.lhs), ex.as_expr(premise.rhs)) for premise in equations]
        fault = fault_of_statement(*exprs, given=self.given, equal=equal)
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
        if self.sources:  # all of its own holds at its witness
            fault = fault or taken.contradiction(self.taken)
        if fault is not None:
            return fault
        # What is made here is told by its text from what is inherited: it has to be about the same symbols.
        known = [*self.taken, *self.all_inherited()]
        parts = [(each.name, ex.as_expr(part)) for each in known for part in each.expressions]
        # What is put in the place of a symbol may make an assumption of the source meaningless, as 0 does in x = 1/y.
        for name, part in parts:
            for fault in filter(None, map(fault_of_value, values_in([part]))):
                return f"{name}: {fault}"
        exprs += [part for _, part in parts]
        # Also by what a number stands for, and by what is assumed with a conclusion.
        ties = [(left, right) for each in known for left, relation, right in each.relations if relation == "=="]
        # An inequality ties too: it is an equation with one the other way round. So does a norm, to its matrix.
        groups = [each.expressions for each in known if each.is_property or "<=" in each.kind]
        return fault_of_symbols(exprs) or fault_of_motion(exprs, ties, groups)

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

    def _numbers_fit(self, values: Values) -> bool:
        """Whether what is taken for granted holds as far as it is about the numbers here, also with conclusions."""
        known = ((equal, gap) for equal, gap in taken.about_numbers(self.taken) if symbols_of(gap)[1] <= values.keys())
        gaps = ((equal, evaluate(gap, values)) for equal, gap in known)
        return all(gap == 0 if equal else gap >= 0 for equal, gap in gaps)

    def _witness(self, rng: Random) -> Values | None:
        """Return values at which all assumptions and hypotheses hold and all is defined, or None if none were found.

        Numbers are also as what is taken over with conclusions says, and not negative where they are sums of squares.
        """
        exprs = self._exprs()

        def fits(values: Values) -> bool:
            return _are_defined(exprs[:2], values) and self._premises_hold(values) and self._numbers_fit(values)

        stated = [twin.counterexample for twin in self.mutants if twin.of_statement and twin.counterexample]
        for given in [*stated, None]:
            with suppress(ValueError, ZeroDivisionError):  # a twin may be about fewer symbols
                values = find(exprs, self.in_force, given, fits, rng)
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


def idle(check: Check) -> list[str]:
    """Return the names of the assumptions that no step of a proof needs, and no conclusion that it uses."""
    if not isinstance(check, Identity | Inequality):
        return []
    fewer = {a.name: replace(check, given=tuple(b for b in check.given if b is not a)) for a in check.given}
    return [name for name, other in fewer.items() if _is_shown(other)]


def _is_shown(check: Check) -> bool:
    """Whether a check is proved; it is not by assumptions that are no rules, or rewrite without end."""
    with suppress(ValueError, RuntimeError):
        return check._prove().holds and check.fault is None
    return False


def _refuse_other_than_assumptions(given: Sequence[Any]) -> None:
    """Say of a named inequality where it is used: it has no equations that rules could be read off."""
    for k, part in enumerate(given):
        if isinstance(part, Premise):
            raise TypeError(
                f"given[{k}]: expected an Assumption, got {part.name!r}, a part for the proof of an inequality"
            )
        as_instance(part, f"given[{k}]", Assumption)


def _rules(assumptions: Sequence[Assumption]) -> Rules:
    return rules_of(tuple(pair for assumption in assumptions for pair in assumption.equations))


def _are_defined(exprs: Sequence[ex.Expr], values: Values) -> bool:
    """Whether nothing is divided by zero; a value that is not rational is one."""
    for expr in exprs:
        with suppress(Irrational):
            evaluate(expr, values)
    return True


def _negative(term: Term, values: Values) -> bool:
    """Whether a term is negative though all its inequalities hold and none of them is an equation."""
    premises = [factor for factor in term.factors if isinstance(factor, Premise)]
    if any(premise.equal or evaluate(premise.gap, values) < 0 for premise in premises):
        return False
    return bool(evaluate(term.value, values) < 0)
