"""What a check takes for granted, and what becomes of it where the conclusion is used in other symbols.

A conclusion holds where the assumptions, hypotheses and side conditions of its check do. With expressions put in the
place of symbols it holds where those do after the same is put into them; and a number that stands for an expression
means it in whatever follows. So all of these are statements here, compared by what they say and not by their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sympy

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic.assumptions import Assumption
from lorasolve.symbolic.evaluate import symbols_of
from lorasolve.symbolic.normal import Rules, is_zero, normal_form
from lorasolve.symbolic.substitution import substituted
from lorasolve.symbolic.terms import Fact, Premise, Side, read_off
from lorasolve.symbolic.written import ExportError, text

# (lhs, "==" or "<=", rhs)
Relation = tuple[Any, str, Any]
# The same as texts.
Key = tuple[str, ...]
# How the name of what a number stands for is written.
MEANING = "{} is {}"
# A symbol in a text; what follows ^ is none, in A^T neither.
SYMBOL = re.compile(r"(?<!\^)[^\s()*+\-/^,]+")
# Renamed symbols that are told one by one.
MANY = 2


@dataclass(frozen=True)
class Taken:
    """Something taken for granted: equations and inequalities, or a property for which the algebra has no symbol.

    Parameters
    ----------
    name
        How it is printed.
    kind
        The relations between each two of the expressions, ``"== <="``, or the property, ``"||{}||_2 <= {}"``.
    expressions
        The matrices and numbers that it speaks of.
    texts
        The same as they were written, with what was put in the place of symbols in brackets.
    fact, by
        The name of the fact that asks for a property, and the checks that it is read off.
    is_meaning
        Whether it says what a number stands for: its name is then what it says.
    """

    name: str
    kind: str
    expressions: tuple[Any, ...]
    texts: tuple[str, ...]
    fact: str = ""
    by: tuple[Any, ...] = ()
    is_meaning: bool = False

    @property
    def is_property(self) -> bool:
        """Whether it is a property for which the algebra has no symbol."""
        return bool(self.fact)

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Its equations and inequalities."""
        return () if self.is_property else tuple(zip(self.expressions[::2], self.kind.split(), self.expressions[1::2]))

    @property
    def keys(self) -> tuple[Key, ...]:
        """What it says as texts."""
        if self.is_property:
            return ((self.kind, *self.texts),)
        return tuple(zip(self.texts[::2], self.kind.split(), self.texts[1::2]))

    def put(self, by: Mapping[Any, Any]) -> Taken:
        """Return the same with expressions in the place of symbols, which its name says.

        Raises
        ------
        TypeError
            If it contains what nothing can be put into.
        """
        here = symbols_in(self.expressions)
        by = {symbol: value for symbol, value in by.items() if _text(symbol) in here}
        if not by:
            return self
        written = {_text(symbol): _text(value) for symbol, value in by.items()}
        texts = tuple(_replaced(part, written) for part in self.texts)
        expressions = tuple(_put(part, by) for part in self.expressions)
        if self.is_property:
            name = _property_name(self.kind, texts, self.by, self.fact)
        elif self.is_meaning:
            name = MEANING.format(*texts)
        else:
            said = _said(written)
            name = f"{self.name} ({said})" if said else self.name
        return replace(self, name=name, expressions=expressions, texts=texts)


def of_assumption(assumption: Assumption) -> Taken:
    """Return the equations of an assumption."""
    return _stated(assumption.name, [(left, "==", right) for left, right in assumption.equations])


def of_hypothesis(premise: Premise) -> Taken:
    """Return what a named inequality or equation says."""
    return _stated(premise.name, [(premise.lhs, "==" if premise.equal else "<=", premise.rhs)])


def of_side(side: Side, fact: str) -> Taken:
    """Return a side condition of a fact."""
    texts = tuple(map(_text, side.parts))
    return Taken(_property_name(side.template, texts, side.by, fact), side.template, side.parts, texts, fact, side.by)


def of_meaning(number: Any, value: Any) -> Taken:
    """Return that a number stands for an expression."""
    texts = _text(number), _text(value)
    return Taken(MEANING.format(*texts), "==", (number, value), texts, is_meaning=True)


def _stated(name: str, relations: Sequence[Relation]) -> Taken:
    parts = tuple(part for left, _, right in relations for part in (left, right))
    return Taken(name, " ".join(relation for _, relation, _ in relations), parts, tuple(map(_text, parts)))


def _property_name(template: str, texts: Sequence[str], by: Sequence[Any], fact: str) -> str:
    return f"{template.format(*texts)}{read_off(by)} [{fact}]"


def own(given: Sequence[Assumption], premises: Sequence[Premise]) -> list[Taken]:
    """Return what a check itself takes for granted, given its assumptions and the inequalities it uses."""
    found = [of_assumption(assumption) for assumption in given]
    found += [of_hypothesis(premise) for premise in premises if premise.is_hypothesis]
    found += [of_side(side, fact.name) for premise in premises for side, fact in _sides(premise)]
    return found + [of_meaning(*pair) for premise in premises for pair in premise.where.items()]


def left_over(inherited: Iterable[Taken], given: Sequence[Assumption], premises: Sequence[Premise]) -> list[Taken]:
    """Return what of the assumptions of sources a check does not make itself.

    What an instance of a fact says is known without them; what another conclusion says is not, which may rest on this
    one.
    """
    made = {key for assumption in given for key in of_assumption(assumption).keys}
    made |= {key for premise in premises if premise.source is None for key in of_hypothesis(premise).keys}
    made |= {key for premise in premises for side, fact in _sides(premise) for key in of_side(side, fact.name).keys}
    made |= {key for premise in premises for pair in premise.where.items() for key in of_meaning(*pair).keys}
    return [t for t in inherited if not all(key in made or _is_trivial(key) for key in t.keys)]


def distinct(taken: Iterable[Taken]) -> tuple[Taken, ...]:
    """Return what says different things, each once, by its first name."""
    found: dict[tuple[Key, ...], Taken] = {}
    for part in taken:
        found.setdefault(part.keys, part)
    return tuple(found.values())


def fault_of(taken: Sequence[Taken], rules: Rules) -> str | None:
    """Return why what is taken for granted cannot be read without doubt, or None.

    Parameters
    ----------
    taken
        What a check takes for granted.
    rules
        Its assumptions, under which two meanings of a number may be equal.
    """
    names: dict[str, tuple[Key, ...]] = {}
    meanings: dict[str, Any] = {}
    for part in taken:
        if names.setdefault(part.name, part.keys) != part.keys:
            return f"two different things are assumed by the name {part.name}"
        if part.is_meaning:
            ((number, _, value),) = part.relations
            other = meanings.setdefault(_text(number), value)
            if not is_zero(normal_form(_gap(value, other), rules)):
                return f"{_text(number)} is {_text(other)} and {_text(value)}"
        for left, relation, right in part.relations:
            if _is_absurd(left, relation, right, rules):
                return f"{part.name}: that contradicts the other assumptions"
    return None


def _gap(left: Any, right: Any) -> Any:
    return left - right if isinstance(left, ex.MatrixExpr) else ex.scalar(left) - ex.scalar(right)


def _is_absurd(left: Any, relation: str, right: Any, rules: Rules) -> bool:
    """Whether a relation is one between numbers that is false."""
    gap = _gap(right, left)
    terms = normal_form(ex.square(gap) if isinstance(left, ex.MatrixExpr) else gap, rules).terms
    if set(terms) != {()}:
        return False
    number = sympy.factor(terms[()])
    return bool(number.is_nonzero if relation == "==" else number.is_negative)


def renamed(checks: Iterable[Any], suffix: str, but: Mapping[Any, Any] | None = None) -> dict[Any, Any]:
    """Return what to put into conclusions of checks that are used about a second thing, such as another block.

    Parameters
    ----------
    checks
        The checks.
    suffix
        What is added to the names of all their symbols, and of those in what they take for granted.
    but
        What stands for some of them instead.
    """
    sides = [side for check in checks for side in (check.lhs, check.rhs)]
    sides += [side for check in checks for part in check.taken for side in part.expressions]
    matrices, numbers, forms = symbols_of(*(side if isinstance(side, ex.Expr) else ex.scalar(side) for side in sides))
    put = {symbol: sympy.Symbol(f"{symbol}{suffix}", **_declared(symbol)) for symbol in sorted(numbers, key=str)}
    put |= but or {}
    sizes = {symbol: value for symbol, value in put.items() if isinstance(symbol, sympy.Symbol)}

    def size(dim: Any) -> Any:
        return sympy.sympify(dim).subs(sizes, simultaneous=True)

    given = {symbol.name for symbol in put if isinstance(symbol, ex.Symbol)}
    for name, symbol in matrices.items():
        if name not in given:
            put[symbol] = ex.Symbol(name + suffix, size(symbol.rows), size(symbol.cols), symbol.symmetric)
    return put | {form: ex.Form(name + suffix, size(form.rows), size(form.cols)) for name, form in forms.items()}


def _declared(symbol: Any) -> dict[str, bool]:
    """Return the sign that a number was declared with."""
    return next(({sign: True} for sign in ("positive", "nonnegative", "real") if symbol.assumptions0.get(sign)), {}) | (
        {"integer": True} if symbol.is_integer else {}
    )


def symbols_in(parts: Iterable[Any]) -> set[str]:
    """Return the names of the matrices and numbers in expressions."""
    found = set()
    for part in parts:
        for node in ex.scalar(part).walk() if not isinstance(part, ex.Expr) else part.walk():
            if isinstance(node, ex.Symbol):
                found.add(node.name)
            elif isinstance(node, ex.Constant):
                found |= {str(symbol) for symbol in node.value.free_symbols}
            elif isinstance(node, ex.FormValue):
                found.add(node.form.name)
            elif isinstance(node, ex.Identity | ex.Zero):
                sizes = (node.rows, node.cols)
                found |= {str(symbol) for size in sizes for symbol in sympy.sympify(size).free_symbols}
    return found


def _said(by: Mapping[str, str]) -> str:
    """Return in words what stands for what; many symbols that all got one suffix are not told one by one."""
    by = {symbol: value for symbol, value in by.items() if symbol != value}
    suffixes = {symbol: value[len(symbol) :] for symbol, value in by.items() if value.startswith(f"{symbol}_")}
    suffix = max(sorted(suffixes.values()), key=list(suffixes.values()).count, default="")
    short = list(suffixes.values()).count(suffix) > MANY
    told = [f"{v} for {s}" for s, v in by.items() if not short or suffixes.get(s) != suffix]
    return ", ".join(told + [f"{suffix} at other symbols"] * short)


def _is_trivial(key: Key) -> bool:
    return key[1:2] == ("==",) and key[0] == key[2]


def _sides(premise: Premise) -> list[tuple[Side, Fact]]:
    return [(side, fact) for fact in premise.facts for side in premise.instance.sides] if premise.instance else []


def _replaced(written: str, by: Mapping[str, str]) -> str:
    """Return a text with other texts in the place of symbols, in brackets unless they are symbols or stand alone."""
    if written in by:
        return by[written]
    by = {symbol: value if SYMBOL.fullmatch(value) else f"({value})" for symbol, value in by.items()}
    return SYMBOL.sub(lambda found: by.get(found[0], found[0]), written)


def _put(part: Any, by: Mapping[Any, Any]) -> Any:
    """Return a part with expressions in the place of symbols; a number stays a number."""
    new = substituted(part, by)
    return new.value if isinstance(new, ex.Constant) and not isinstance(part, ex.Expr) else new


def _text(part: Any) -> str:
    try:
        return text(part)
    except ExportError:
        return str(part)
