"""Checks of relations between SymPy expressions, integrals and derivatives among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import mpmath
import sympy

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic.assumptions import Assumption, signs_hold
from lorasolve.symbolic.checks import Outcome, TwoSided
from lorasolve.symbolic.examples import EVALUATIONS
from lorasolve.symbolic.normal import lowest_terms
from lorasolve.symbolic.positivity import BOUNDS, CASES, MANY, SPLIT, plain, provably_nonnegative
from lorasolve.symbolic.soundness import fault_of_quotients
from lorasolve.symbolic.statements import fault_of_statement

from .._support.validate import as_choice, shown

Comparison: TypeAlias = Literal["==", "<="]
# Random points at which a false twin of a scalar check is tried.
SEARCH = 600
# Of an interval, and the relative error up to which numbers are taken for one integral.
PIECES, QUADRATURE = 16, 1e-8


@dataclass(frozen=True)
class ScalarCheck(TwoSided):
    """``lhs = rhs`` or ``lhs <= rhs`` between SymPy expressions, for all admissible values of their symbols.

    What SymPy works out as it is written leaves no trace: write ``Derivative``, ``Integral`` or ``Subs``, which the
    proof evaluates, or an `Identity` with definitions where values are put into the claim.
    """

    lhs: Any
    rhs: Any
    relation: Comparison = field(default="==", kw_only=True)

    kind: ClassVar[str] = "scalar"
    given: ClassVar[Sequence[Assumption]] = ()

    def __post_init__(self) -> None:
        """Refuse a relation that is none of the two, and sides that SymPy does not know."""
        super().__post_init__()
        as_choice(self.relation, "relation", get_args(Comparison))
        for name in ("lhs", "rhs"):
            if isinstance(getattr(self, name), ex.Expr):
                raise TypeError(f"{name}: expected a SymPy expression, got {shown(getattr(self, name))}; see Identity")

    @cached_property
    def _difference(self) -> Any:
        # Once: SymPy takes seconds for an integral that it does not know.
        return (sympy.sympify(self.rhs) - sympy.sympify(self.lhs)).doit()

    def _fault(self) -> str | None:
        """Return what is wrong with the symbols or the numbers, or None."""
        fault = fault_of_statement(ex.as_expr(self.lhs), ex.as_expr(self.rhs))
        if fault is None and self.relation == "<=":
            fault = fault_of_quotients(self._difference)
        return fault

    def _prove(self) -> Outcome:
        """Simplify the difference, or show its sign."""
        difference = self._difference
        if self.relation == "<=":
            shown = provably_nonnegative(difference)
            return Outcome(shown, f"rhs - lhs = {sympy.factor(difference)}{'' if shown else _unseen(difference)}")
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
        """Evaluate the difference with 40 digits at random points, where it has values."""
        if self.fault is not None:
            return Outcome(False, self.fault)
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


def _unseen(difference: Any) -> str:
    """Return what was tried to see that a difference is not negative, and where more can be."""
    bounds = f", and one bound for each of up to {MANY} functions, such as exp(u) >= 1 + u,"
    tried = bounds if plain(difference).atoms(*BOUNDS) else ""
    tried += f" in both cases of Abs, Max and Min among up to {SPLIT}," if plain(difference).atoms(*CASES) else ""
    return f": the signs of its symbols{tried} do not show that it is >= 0; SumOfSquares and Inequality take a proof"


def _drawn(value: Any, rng: Random) -> dict[Any, Any]:
    """Return admissible values of the symbols of a SymPy expression."""
    point = {}
    for symbol in sorted(value.free_symbols, key=str):
        size = rng.randint(1, 5) if symbol.is_integer else sympy.Rational(rng.randint(1, 12), rng.randint(1, 5))
        signed = symbol.is_nonnegative is None and rng.random() < 0.5
        point[symbol] = -size if signed else size
    return point


def _off_by_quadrature(integral: Any, rng: Random) -> str | None:
    """Return how what SymPy makes of an integral differs from quadrature at a random point, if so.

    One of several intervals is looked at after the other: over the next runs what SymPy made of those before.
    """
    wholes = [integral.func(integral.function, *integral.limits[: k + 1]) for k in range(len(integral.limits))]
    parts = zip([integral.function, *wholes], wholes)
    return next((off for inside, whole in parts if (off := _off_over_one(inside, whole, rng))), None)


def _off_over_one(inside: Any, integral: Any, rng: Random) -> str | None:
    """Return the same for the last interval of an integral, given what is integrated over that."""
    point = _drawn(integral, rng)
    symbol, low, high = integral.limits[-1]
    fixed = {other: value for other, value in point.items() if other != symbol}  # an end may be called like it
    function = sympy.lambdify(symbol, inside.subs(fixed).doit(), "mpmath")
    ends = [sympy.N(end.subs(point)) for end in (low, high)]
    # So many pieces as follow some turns of a sine.
    near = mpmath.quad(function, mpmath.linspace(*ends, PIECES + 1), method="gauss-legendre")
    found = sympy.N(integral.doit().subs(point))
    if abs(found - near) <= QUADRATURE * (1 + abs(near)):
        return None
    return f"{integral} is worked out as {sympy.N(found, 6)}, and quadrature gives {sympy.N(near, 6)} at {point}"
