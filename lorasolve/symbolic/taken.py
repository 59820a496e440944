"""What a check takes for granted, and what becomes of it where the conclusion is used in other symbols.

A conclusion holds where the assumptions, hypotheses and side conditions of its check do. With expressions put in the
place of symbols it holds where those do after the same is put into them; and a number that stands for an expression
means it in whatever follows. So all of these are statements here, compared by what they say and not by their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Any

import sympy

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic.assumptions import Assumption
from lorasolve.symbolic.evaluate import symbols_of
from lorasolve.symbolic.normal import KEPT, EndlessRules, Rules, is_zero, normal_form, rules_of
from lorasolve.symbolic.soundness import is_sum_of_squares
from lorasolve.symbolic.substitution import substituted
from lorasolve.symbolic.terms import Premise, Side, is_symbol, placed, read_off
from lorasolve.symbolic.written import MEANING, as_written, filled

from .._support.validate import as_instance, as_iterable, as_text, shown

# (lhs, "==" or "<=", rhs)
Relation = tuple[Any, str, Any]
# The same as texts.
Key = tuple[str, ...]
# How a fact's proof reads a matrix: as one that has a decomposition, say.
READING = "{{}} is read as {}"
# A symbol in a text; what follows ^ is none, in A^T neither.
SYMBOL = re.compile(r"(?<!\^)[^\s()*+\-/^,]+")
TRANSPOSED = re.compile(SYMBOL.pattern + r"\^T")
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

    @property
    def in_full(self) -> str:
        """Its name, and what it says where that is not in the name."""
        if self.is_property or self.is_meaning:
            return self.name
        return f"{self.name}: {', '.join(' '.join(key) for key in self.keys)}"

    def put(self, by: Mapping[Any, Any]) -> Taken:
        """Return the same with expressions in the place of symbols, which its name says.

        Raises
        ------
        TypeError
            If it contains what nothing can be put into.
        """
        here = symbols_in(self.expressions)
        by = {symbol: value for symbol, value in by.items() if as_written(symbol) in here}
        if not by:
            return self
        written = {as_written(symbol): as_written(value) for symbol, value in by.items()}
        texts = tuple(_replaced(part, written) for part in self.texts)
        expressions = tuple(_put(part, by) for part in self.expressions)
        if self.is_property:
            name = _property_name(self.kind, texts, self.by, self.fact)
        elif self.is_meaning:
            name = filled(MEANING, texts)
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
    texts = tuple(map(as_written, side.parts))
    return Taken(_property_name(side.template, texts, side.by, fact), side.template, side.parts, texts, fact, side.by)


def of_meaning(number: Any, value: Any) -> Taken:
    """Return that a number stands for an expression."""
    texts = as_written(number), as_written(value)
    return Taken(filled(MEANING, texts), "==", (number, value), texts, is_meaning=True)


def _stated(name: str, relations: Sequence[Relation]) -> Taken:
    parts = tuple(part for left, _, right in relations for part in (left, right))
    return Taken(name, " ".join(relation for _, relation, _ in relations), parts, tuple(map(as_written, parts)))


def _property_name(template: str, texts: Sequence[str], by: Sequence[Any], fact: str) -> str:
    return f"{filled(template, texts)}{read_off(by)} [{fact}]"


def of_reading(given: Any, read_as: Any, fact: str) -> Taken:
    """Return how the proof of a fact reads one of its symbols, where that is more than another name for it.

    The symbols of that proof are none of those here.
    """
    kind, texts = READING.format(told_as(read_as)), (as_written(given),)
    return Taken(f"{filled(kind, texts)} [{fact}]", kind, (given,), texts, fact)


def told_as(value: Any) -> str:
    """Return how the proof of a fact reads a symbol: an expression, and what is declared of the symbols in it."""
    matrices, numbers, _ = symbols_of(ex.as_expr(value))
    said = {name: "symmetric" for name, symbol in matrices.items() if symbol.symmetric}
    said |= {str(number): _declared_in_words(number) for number in numbers}
    here = sorted(symbols_in([value]) & said.keys())
    return as_written(value) + "".join(f", {name} {said[name]}" for name in here)


def own(given: Sequence[Assumption], premises: Sequence[Premise]) -> list[Taken]:
    """Return what a check itself takes for granted, given its assumptions and the inequalities it uses."""
    found = [of_assumption(assumption) for assumption in given]
    found += [of_hypothesis(premise) for premise in premises if premise.is_hypothesis]
    found += [part for premise in premises for part in _properties(premise)]
    return found + [of_meaning(*pair) for premise in premises for pair in premise.where.items()]


def left_over(inherited: Iterable[Taken], given: Sequence[Assumption], premises: Sequence[Premise]) -> list[Taken]:
    """Return what of the assumptions of sources a check does not make itself.

    What an instance of a fact says is known without them; what another conclusion says is not, which may rest on this
    one.
    """
    made = {key for assumption in given for key in of_assumption(assumption).keys}
    made |= {key for premise in premises if premise.source is None for key in of_hypothesis(premise).keys}
    made |= {key for premise in premises for part in _properties(premise) for key in part.keys}
    made |= {key for premise in premises for pair in premise.where.items() for key in of_meaning(*pair).keys}
    return [t for t in inherited if not all(key in made or (t.relations and _is_trivial(key)) for key in t.keys)]


def fault_of_put(check: Any, put: Mapping[Any, Any]) -> str | None:
    """Return why something may not stand in the place of symbols of a check, or None.

    Shapes and symmetry are those that the check declares, after the same is put into its sizes; a key is the check's
    own symbol and not another one of its name.
    """
    parts = [check.lhs, check.rhs, *(part for known in check.taken for part in known.expressions)]
    matrices, numbers, forms = symbols_of(*(part if isinstance(part, ex.Expr) else ex.scalar(part) for part in parts))
    own = {str(number): number for number in numbers} | matrices | forms
    numbers_put = {symbol: value for symbol, value in put.items() if isinstance(symbol, sympy.Symbol)}
    sizes = {symbol: value for symbol, value in numbers_put.items() if not isinstance(value, ex.Expr)}
    placed_at = {as_written(symbol): value for symbol, value in put.items()}
    for symbol in put:
        other = own.get(as_written(symbol), symbol)
        # Texts tell a matrix, a number and a form by their names alone.
        if type(other) is not type(symbol) or (symbol in numbers_put and other != symbol):
            return f"{as_written(symbol)} is another symbol in check {check.name}"
    for name, symbol in (matrices | forms).items():
        value = placed_at.get(name, symbol)
        rows, cols = (sympy.sympify(size).subs(sizes, simultaneous=True) for size in (symbol.rows, symbol.cols))
        if not ex.is_of_shape(ex.shape_of(value), (rows, cols)):
            return f"{as_written(value)} is not {rows} x {cols}, as {name} is in check {check.name}"
        if getattr(symbol, "symmetric", False) and not getattr(value, "symmetric", False):
            return f"{name} is symmetric: nothing but a symmetric symbol may stand in its place"
    return None


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
            other = meanings.setdefault(as_written(number), value)
            if not is_zero(normal_form(_gap(value, other), rules)):
                return f"{as_written(number)} is {as_written(other)} and {as_written(value)}"
        for left, relation, right in part.relations:
            if _is_absurd(left, relation, right, rules):
                return f"{part.name}: that contradicts the other assumptions"
    return None


def about_numbers(taken: Iterable[Taken]) -> Iterator[tuple[bool, ex.ScalarExpr]]:
    """Yield what is said of numbers alone, as what is zero, for True, or else not negative.

    A number is not negative that a sum of squares is, or is at most.
    """
    for left, relation, right in (each for part in taken for each in part.relations):
        left, right = ex.as_expr(left), ex.as_expr(right)
        if _is_number(left) and _is_number(right):
            yield relation == "==", right - left
        if _is_number(right) and is_sum_of_squares(left):
            yield False, right
        if _is_number(left) and is_sum_of_squares(right) and relation == "==":
            yield False, left


def _is_number(expr: ex.Expr) -> bool:
    return all(isinstance(node, ex.Constant | ex.ScalarSum | ex.ScalarProduct) for node in expr.walk())


def declared(check: Any) -> str:
    """Return in words what the symbols of a check declare: sizes, signs, symmetry, forms, other whole numbers.

    It is part of what is claimed: ``tr A B = tr A tr B`` holds where A and B have one row and one column. An equation
    may make a hypothesis of it: ``tr X = x`` with ``x > 0`` is one about X. Nothing is said of a check without sides,
    and of one that is refused since a name in it is that of two symbols.
    """
    sides = [getattr(check, side) for side in ("lhs", "rhs") if hasattr(check, side)]
    parts = [*sides, *(part for each in check.taken for part in each.expressions)]
    exprs = [part if isinstance(part, ex.Expr) else ex.scalar(part) for part in parts]
    try:
        matrices, numbers, forms = symbols_of(*exprs)
    except ex.ShapeError:
        return ""
    sizes = set().union(*(sympy.sympify(d).free_symbols for s in matrices.values() for d in (s.rows, s.cols)))
    said = [(name, ex.shape_in_words(ex.shape_of(symbol))) for name, symbol in matrices.items()]
    said += [(str(number), _sign_in_words(number)) for number in sorted(numbers - sizes, key=str)]
    said += [(name, "symmetric") for name, symbol in matrices.items() if symbol.symmetric]
    said += [(name, "symmetric bilinear") for name in forms]
    alike = {words: ", ".join(name for name, other in said if other == words) for _, words in said if words}
    return "; ".join(f"{names} {words}" for words, names in alike.items())


def sign_of(symbol: Any) -> str:
    """Return what a number declares, in one word."""
    if symbol.is_integer and symbol.is_positive:
        return "dimension"
    return "positive" if symbol.is_positive else "nonnegative" if symbol.is_nonnegative else "real"


def _declared_in_words(symbol: Any) -> str:
    """Return all that a number declares."""
    sign = sign_of(symbol)
    more = {"nonzero": sign == "real" and symbol.is_nonzero, "whole": sign != "dimension" and symbol.is_integer}
    return " and ".join([sign, *(word for word, is_so in more.items() if is_so)])


def _sign_in_words(symbol: Any) -> str:
    sign = "> 0" if symbol.is_positive else ">= 0" if symbol.is_nonnegative else "!= 0" if symbol.is_nonzero else ""
    return f"{'whole' * bool(symbol.is_integer)} {sign}".strip()


def _gap(left: Any, right: Any) -> Any:
    """Return a difference; what has one entry may be compared with a number."""
    if isinstance(left, ex.MatrixExpr) and isinstance(right, ex.MatrixExpr):
        return left - right
    return _as_number(left) - _as_number(right)


def _as_number(part: Any) -> ex.ScalarExpr:
    return ex.tr(part) if isinstance(part, ex.MatrixExpr) else ex.scalar(part)


def contradiction(taken: Sequence[Taken]) -> str | None:
    """Return what contradicts the equations among it or one other part, of all that is taken for granted, or None.

    Each source has a witness of its own assumptions; X^T X = I here and X = 0 there have none together, nor have z <= 0
    and 1 <= z.
    """
    relations = [(part, relation) for part in taken for relation in part.relations]
    equations = [(left, right) for _, (left, sign, right) in relations if sign == "=="]
    rules = rules_of(tuple(pair for pair in equations if _is_rule(*pair)))
    with suppress(EndlessRules):
        for part, relation in relations:
            if _is_absurd(*relation, rules):
                return f"{part.in_full}: the equations that are assumed contradict that"
        for (part, gap), (other, another) in combinations(_gaps(relations, rules), 2):
            # What is at least 0 is so in sum.
            if {*gap.terms, ()} == {*another.terms, ()} and _is_negative((gap + another).simplified()):
                return f"{part.in_full} and {other.in_full} contradict each other"
    return None


def _gaps(relations: Iterable[tuple[Taken, Relation]], rules: Rules) -> Iterator[tuple[Taken, Any]]:
    """Yield by the rules what is at least 0: of an equation both differences."""
    for part, (left, sign, right) in relations:
        if not isinstance(left, ex.MatrixExpr):
            yield part, normal_form(_gap(right, left), rules)
            if sign == "==":
                yield part, normal_form(_gap(left, right), rules)


def _is_negative(gap: Any) -> bool:
    return set(gap.terms) == {()} and bool(gap.terms[()].is_negative)


def _is_rule(left: Any, right: Any) -> bool:
    with suppress(ValueError):
        return bool(rules_of(((left, right),)))
    return False


@lru_cache(KEPT)
def _is_absurd(left: Any, relation: str, right: Any, rules: Rules) -> bool:
    """Whether a relation is one between numbers that is false."""
    gap = _gap(right, left)
    terms = normal_form(ex.square(gap) if isinstance(gap, ex.MatrixExpr) else gap, rules).terms
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

    Raises
    ------
    TypeError
        For what is no check with two sides, no text and no mapping.
    """
    checks = list(as_iterable(checks, "checks"))
    for check in checks:
        if not hasattr(check, "taken") or not hasattr(check, "lhs"):
            raise TypeError(f"checks: expected checks with two sides, got {shown(check)}")
    as_text(suffix, "suffix")
    if but is not None:
        as_instance(but, "but", Mapping)
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
    signs = ("positive", "nonnegative", "nonzero", "real")
    return next(({sign: True} for sign in signs if symbol.assumptions0.get(sign)), {}) | (
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
            elif isinstance(node, ex.IdentityMatrix | ex.Zero):
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


def _is_trivial(relation: Key) -> bool:
    left, sign, right = relation
    return sign == "==" and left == right


def _properties(premise: Premise) -> list[Taken]:
    """Return the side conditions of an instance of a fact, and how its proof reads symbols."""
    if premise.instance is None:
        return []
    schema, put = premise.instance.schema, placed(premise.instance)
    (fact,) = premise.facts
    found = [of_side(side, fact.name) for side in premise.instance.sides]
    called = {as_written(symbol): value for symbol, value in put.items()}
    read = [(symbol, value) for symbol, value in schema.reading.items() if not is_symbol(value)]
    return found + [of_reading(called.get(as_written(symbol), symbol), value, fact.name) for symbol, value in read]


def _replaced(written: str, by: Mapping[str, str]) -> str:
    """Return a text with other texts in the place of symbols, in brackets unless it means the same without."""
    if written in by:
        return by[written]

    def put(found: re.Match[str]) -> str:
        value = by.get(found[0], found[0])
        raised = written[found.end() :].startswith("^")
        alone = SYMBOL.fullmatch(value) or (TRANSPOSED.fullmatch(value) and not raised)
        return value if alone else f"({value})"

    return SYMBOL.sub(put, written)


def _put(part: Any, by: Mapping[Any, Any]) -> Any:
    """Return a part with expressions in the place of symbols; a number stays a number."""
    new = substituted(part, by)
    return new.value if isinstance(new, ex.Constant) and not isinstance(part, ex.Expr) else new
