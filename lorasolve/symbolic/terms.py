"""What a proof of an inequality is made of: classical facts, named inequalities, squares, and their products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic.normal import Rules, normal_form
from lorasolve.symbolic.positivity import provably_nonnegative
from lorasolve.symbolic.substitution import substituted
from lorasolve.symbolic.written import as_written, filled

from .._support.validate import as_flag, as_instance, as_iterable, as_text, shown


@dataclass(frozen=True)
class Side:
    """A side condition of a fact: a property of matrices and numbers for which the algebra has no symbol.

    Parameters
    ----------
    template
        How it is written, with one ``{}`` for each part: ``"||{}||_2 <= {}"``.
    parts
        The matrices and numbers it speaks of; bare symbols in a schema, any expressions in an instance.
    by
        The checks that it is read off, if any. The algebra has no symbol for it, so that no machine compares it with
        them: it is printed as assumed, with their names and with what they assume.
    """

    template: str
    parts: tuple[Any, ...]
    by: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Property:
    """What a side condition says, to be called with what it says it of."""

    template: str

    def __post_init__(self) -> None:
        """Refuse what marks no place."""
        if set(as_text(self.template, "template").replace("{}", "")) & {"{", "}"}:
            raise ValueError(f"template: expected words with {{}} for each part, got {self.template!r}")

    def __call__(self, *parts: Any, by: tuple[Any, ...] = ()) -> Side:
        """Return the side condition for given matrices and numbers, which is read off the checks `by` if there are any.

        Raises
        ------
        ValueError
            If the number of parts is another.
        TypeError
            If a part is a form.
        """
        if len(parts) != self.template.count("{}"):
            raise ValueError(f"parts: {self.template!r} speaks of {self.template.count('{}')}, got {len(parts)}")
        form = next((part.name for part in parts if isinstance(part, ex.Form)), None)
        if form is not None:
            raise TypeError(f"parts: expected matrices and numbers, got the form {form}: what it does is a hypothesis")
        for part in parts:
            ex.as_expr(part, "parts")
        for check in as_iterable(by, "by"):
            if not hasattr(check, "taken"):
                raise TypeError(f"by: expected checks, got {shown(check)}")
        return Side(self.template, parts, tuple(by))


@dataclass(frozen=True, eq=False)
class Schema:
    """An inequality ``lhs <= rhs`` between symbols of its own that a fact states under side conditions.

    Parameters
    ----------
    name
        Its name, unique in its fact.
    lhs, rhs
        The sides.
    sides
        For each side condition the assumptions of the proof that say it.
    shown_by
        The check that proves it; none if the fact is not proved here.
    reading
        What the symbols of the schema stand for in that check.
    """

    name: str
    lhs: Any
    rhs: Any
    sides: Mapping[Side, tuple[Any, ...]]
    shown_by: Any = None
    reading: Mapping[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Fact:
    """A classical theorem that proofs use by its statement.

    `schemas` are the inequalities it says. `proved_by` names the theorem whose checks prove them; without one they are
    taken from the reference, and what uses them is PROVED UNDER the fact.
    """

    name: str
    statement: str
    reference: str
    proved_by: str = ""
    schemas: tuple[Schema, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a fact without a name, by which what rests on it is told, and parts of other kinds."""
        if not as_text(self.name, "name").strip():
            raise ValueError(f"name: expected the name of a fact, got {self.name!r}")
        for argument in ("statement", "reference", "proved_by"):
            as_text(getattr(self, argument), argument)
        for k, schema in enumerate(as_instance(self.schemas, "schemas", tuple)):
            as_instance(schema, f"schemas[{k}]", Schema)

    def instance(
        self,
        name: str,
        *sides: Side,
        lhs: Any = None,
        rhs: Any = None,
        where: Mapping[Any, Any] | None = None,
        **free: Any,
    ) -> Premise:
        """Return a schema of the fact for given matrices and numbers.

        Parameters
        ----------
        name
            The schema.
        sides
            Its side conditions for these matrices and numbers, in its order.
        lhs, rhs
            The sides in numbers, if they are not to be written out.
        where
            What these numbers stand for.
        free
            What is put in the place of symbols that no side condition speaks of, by their names.

        Raises
        ------
        ValueError
            If the fact has no such schema, or the side conditions are not those of the schema.
        TypeError
            If something of another kind stands for a matrix or a number.
        ShapeError
            If what stands for its matrices does not fit together.
        """
        for side in sides:
            as_instance(side, "sides", Side)
        schema = next((schema for schema in self.schemas if schema.name == name), None)
        if schema is None:
            raise ValueError(f"name: {self.name} has the schemas {[s.name for s in self.schemas]}, got {name!r}")
        instance = Instance(schema, sides, free)
        put = placed(instance)
        try:
            left = substituted(schema.lhs, put) if lhs is None else lhs
            right = substituted(schema.rhs, put) if rhs is None else rhs
        except ex.ShapeError as error:
            what = ", ".join(f"{as_written(value)} for {as_written(symbol)}" for symbol, value in put.items())
            raise ex.ShapeError(f"sides: {self.name}, {name}, does not fit with {what}: {error}") from error
        title = f"{self.name}, {name}: " + " and ".join(map(written, sides))
        title += f", at {', '.join(map(as_written, free.values()))}" if free else ""
        title += f", in {', '.join(map(as_written, where))}" if where else ""
        return Premise(title, left, right, (self,), where=where or {}, instance=instance)


def placed(instance: Instance) -> dict[Any, Any]:
    """Return what an instance puts in the place of the symbols of its schema, their sizes included.

    Raises
    ------
    ValueError
        If the side conditions are not those of the schema, or speak of two things by one symbol.
    """
    wanted, found = list(instance.schema.sides), instance.sides
    if [side.template for side in found] != [side.template for side in wanted]:
        raise ValueError(f"sides: expected {[side.template for side in wanted]}, got {[s.template for s in found]}")
    put: dict[Any, Any] = dict(_free(instance))
    # A matrix is known by its name: a schema may have made it twice.
    called = {as_written(symbol): symbol for symbol in put}
    for formal, actual in zip(wanted, found):
        for symbol, part in zip(formal.parts, actual.parts):
            if isinstance(symbol, ex.Symbol):
                symbol = called.setdefault(as_written(symbol), symbol)
            known = put.setdefault(symbol, part) if is_symbol(symbol) else symbol
            if known is not part and as_written(known) != as_written(part):
                raise ValueError(f"sides: {as_written(symbol)} is {as_written(known)} and {as_written(part)}")
    as_put(put, "sides")
    for symbol, value in [pair for pair in put.items() if isinstance(pair[0], ex.Symbol)]:
        for size, actual in ((symbol.rows, value.rows), (symbol.cols, value.cols)):
            if size.is_Symbol:
                put.setdefault(size, actual)
    return put


def _free(instance: Instance) -> Iterator[tuple[Any, Any]]:
    """Yield the symbols of a schema that have their values by name, with their values."""
    nodes = [n for side in (instance.schema.lhs, instance.schema.rhs) for n in ex.scalar(side).walk()]
    for name, value in instance.free.items():
        symbol = next((n for n in nodes if isinstance(n, ex.Symbol) and n.name == name), None)
        if symbol is None:
            raise ValueError(f"free: the schema {instance.schema.name} has no matrix {name}")
        yield symbol, as_instance(value, f"free[{name}]", ex.MatrixExpr)


def as_put(by: Any, argument: str) -> Mapping[Any, Any]:
    """Return what stands for symbols if it is of their kinds: a matrix for a matrix, a form for a form, a number."""
    for symbol, value in as_instance(by, argument, Mapping).items():  # type: ignore[type-abstract]
        if not is_symbol(symbol):
            raise TypeError(f"{argument}: expected symbols that something stands for, got {shown(symbol)}")
        called = f"{argument}[{as_written(symbol)}]"
        if isinstance(symbol, sympy.Symbol):
            ex.as_scalar(value, called)
        else:
            as_instance(value, called, ex.Form if isinstance(symbol, ex.Form) else ex.MatrixExpr)
    return dict(by)


def is_symbol(part: Any) -> bool:
    """Whether something is a bare symbol, or a form."""
    return isinstance(part, ex.Symbol | ex.Form | sympy.Symbol)


def written(side: Side) -> str:
    """Return a side condition in words, with the checks that it is read off."""
    return filled(side.template, [*map(as_written, side.parts)]) + read_off(side.by)


def read_off(by: Sequence[Any]) -> str:
    """Return the checks that a side condition is read off, in words; that they say it is for people to see."""
    return f" (read off {', '.join(check.name for check in by)})" if by else ""


@dataclass(frozen=True)
class Instance:
    """Which schema an inequality is an instance of, and its side conditions."""

    schema: Schema
    sides: tuple[Side, ...]
    free: Mapping[str, Any] = field(default_factory=dict)


class _Factor:
    """What a proof may multiply: as soon as it is, it is a term."""

    def __mul__(self: Any, factor: Any) -> Term:
        return Term(ex.scalar(1), (self,)) * factor

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Term:
        return self * (1 / sympy.sympify(divisor))


@dataclass(frozen=True)
class Premise(_Factor):
    """A named inequality ``lhs <= rhs`` (or equation) that a proof may use.

    `facts` are the classical facts it rests on. `instance` says which instance of a fact it is, `source` which check
    concludes it. What has neither is a hypothesis of the theorem. `where` says what its numbers stand for, and `put`
    what is put in the place of symbols of the source: with both it says what the fact or the check says.
    """

    name: str
    lhs: Any
    rhs: Any
    facts: tuple[Fact, ...] = ()
    equal: bool = False
    source: Any = None
    instance: Instance | None = None
    where: Mapping[Any, Any] = field(default_factory=dict)
    put: Mapping[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse sides that are no numbers, what stands for nothing, and other parts of another kind."""
        as_text(self.name, "name")
        as_flag(self.equal, "equal")
        ex.as_scalar(self.lhs, "lhs")
        ex.as_scalar(self.rhs, "rhs")
        for name in ("where", "put"):
            as_put(getattr(self, name), name)

    @property
    def is_hypothesis(self) -> bool:
        """Whether the theorem assumes it, rather than deriving it from a fact or from an earlier check."""
        return not self.facts and self.source is None

    @property
    def gap(self) -> ex.ScalarExpr:
        """``rhs - lhs``."""
        return ex.scalar(self.rhs) - ex.scalar(self.lhs)


def hypothesis(name: str, lhs: Any, rhs: Any) -> Premise:
    """Return an inequality ``lhs <= rhs`` that the theorem assumes."""
    return Premise(name, lhs, rhs)


def equation(name: str, lhs: Any, rhs: Any) -> Premise:
    """Return an equation between scalars that the theorem assumes or has derived."""
    return Premise(name, lhs, rhs, equal=True)


@dataclass(frozen=True)
class Square(_Factor):
    """A squared Frobenius norm, or the square of a scalar: non-negative."""

    of: Any

    @property
    def gap(self) -> ex.ScalarExpr:
        """The square itself."""
        return ex.square(self.of)


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

    def __truediv__(self, divisor: Any) -> Term:
        return self * (1 / sympy.sympify(divisor))

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
