"""What a proof of an inequality is made of: classical facts, named inequalities, squares, and their products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic.normal import Rules, normal_form
from lorasolve.symbolic.positivity import provably_nonnegative

from .._validate import as_instance, as_text


@dataclass(frozen=True)
class Fact:
    """A classical theorem that proofs use by its statement.

    `proved_by` names the theorem whose checks prove it; without one it is taken from the reference, and what uses it is
    PROVED UNDER it.
    """

    name: str
    statement: str
    reference: str
    proved_by: str = ""


@dataclass(frozen=True)
class Premise:
    """A named inequality ``lhs <= rhs`` (or equation) that a proof may use.

    `facts` are the classical facts it comes from, `source` the check whose conclusion it is. What has neither is a
    hypothesis of the theorem.
    """

    name: str
    lhs: Any
    rhs: Any
    facts: tuple[Fact, ...] = ()
    equal: bool = False
    source: Any = None

    @property
    def is_hypothesis(self) -> bool:
        """Whether the theorem assumes it, rather than deriving it from a fact or from an earlier check."""
        return not self.facts and self.source is None

    @property
    def gap(self) -> ex.ScalarExpr:
        """``rhs - lhs``."""
        return ex.scalar(self.rhs) - ex.scalar(self.lhs)

    def __mul__(self, factor: Any) -> Term:
        return Term(ex.scalar(1), (self,)) * factor

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Term:
        return self * (1 / sympy.sympify(divisor))


def hypothesis(name: str, lhs: Any, rhs: Any) -> Premise:
    """Return an inequality ``lhs <= rhs`` that the theorem assumes."""
    return Premise(as_text(name, "name"), lhs, rhs)


def equation(name: str, lhs: Any, rhs: Any) -> Premise:
    """Return an equation between scalars that the theorem assumes or has derived."""
    return Premise(as_text(name, "name"), lhs, rhs, equal=True)


def by_fact(fact: Fact, name: str, lhs: Any, rhs: Any) -> Premise:
    """Return an instance ``lhs <= rhs`` of a classical fact."""
    return Premise(as_text(name, "name"), lhs, rhs, (as_instance(fact, "fact", Fact),))


@dataclass(frozen=True)
class Square:
    """A squared Frobenius norm, or the square of a scalar: non-negative."""

    of: Any

    @property
    def gap(self) -> ex.ScalarExpr:
        """The square itself."""
        return ex.square(self.of)

    def __mul__(self, factor: Any) -> Term:
        return Term(ex.scalar(1), (self,)) * factor

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Term:
        return self * (1 / sympy.sympify(divisor))


@dataclass(frozen=True)
class Term:
    """A coefficient times inequalities and squares: non-negative if the coefficient is."""

    coefficient: Any
    factors: tuple[Premise | Square, ...]

    def __mul__(self, factor: Any) -> Term:
        if isinstance(factor, Term):
            return Term(ex.scalar(self.coefficient) * factor.coefficient, self.factors + factor.factors)
        if isinstance(factor, Premise | Square):
            return Term(self.coefficient, (*self.factors, factor))
        return Term(ex.scalar(factor) * self.coefficient, self.factors)

    __rmul__ = __mul__

    @property
    def value(self) -> ex.ScalarExpr:
        """The term as an expression."""
        product = ex.scalar(self.coefficient)
        for factor in self.factors:
            product = product * factor.gap
        return product

    def admissible(self, rules: Rules) -> bool:
        """Whether the term may appear: any multiple of an equation, non-negative multiples otherwise."""
        if any(isinstance(f, Premise) and f.equal for f in self.factors):
            return True
        terms = normal_form(ex.scalar(self.coefficient), rules).terms
        return not terms or (set(terms) == {()} and provably_nonnegative(next(iter(terms.values()))))


def as_term(part: Any) -> Term:
    """Return a part of a proof as a term; a bare scalar stands for itself."""
    if isinstance(part, Term):
        return part
    return 1 * part if isinstance(part, Premise | Square) else Term(part, ())
