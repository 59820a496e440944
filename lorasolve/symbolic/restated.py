"""Whether an inequality says what the fact or the check says that it is taken from.

An inequality taken from a check may be written in other symbols: numbers that stand for expressions of the check, or
expressions in the place of its symbols. One taken from a fact is an instance of one of its schemas, and a schema says
no more than the check that proves it. All of this is compared here, as normal forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic.evaluate import symbols_of
from lorasolve.symbolic.normal import Rules, is_zero, normal_form, rules_of
from lorasolve.symbolic.positivity import provably_nonnegative
from lorasolve.symbolic.soundness import fault_of_symbols, fault_of_value, is_sum_of_squares, values_in
from lorasolve.symbolic.substitution import substituted
from lorasolve.symbolic.taken import fault_of_put, of_assumption, of_hypothesis, symbols_in
from lorasolve.symbolic.terms import Instance, Premise, Schema, is_symbol, placed
from lorasolve.symbolic.written import as_written


def fault_of_instance(premise: Premise, rules: Rules) -> str | None:
    """Return why an inequality is no instance of the fact it names, or None.

    Parameters
    ----------
    premise
        The inequality, with the fact it names.
    rules
        The assumptions under which both may be compared.
    """
    names = ", ".join(fact.name for fact in premise.facts)
    instance = premise.instance
    if not isinstance(instance, Instance):
        return f"{premise.name} names {names} and is no instance of it: FACT.instance(...) makes one"
    fact = next((fact for fact in premise.facts if any(schema is instance.schema for schema in fact.schemas)), None)
    if fact is None or len(premise.facts) > 1 or premise.equal:
        return f"{premise.name} is no instance of {names} alone"
    put = placed(instance)
    unplaced = (symbol for symbol in _symbols(instance.schema) if not any(_same(symbol, other) for other in put))
    loose = {as_written(symbol) for symbol in unplaced}
    if loose:
        return f"no side condition of {fact.name}, {instance.schema.name}, speaks of {', '.join(sorted(loose))}"
    fault = _fault_of_signs(put) or _fault_of_where(premise.where) or _fault_of_sizes(put)
    if fault:
        return f"{premise.name}: {fault}"
    for side, stated in ((premise.lhs, instance.schema.lhs), (premise.rhs, instance.schema.rhs)):
        if not _equal(substituted(side, premise.where), substituted(stated, put), rules):
            return f"{premise.name} is not what {fact.name}, {instance.schema.name}, says"
    return fault_of_schema(instance.schema, proved=bool(fact.proved_by))


def _fault_of_sizes(put: Mapping[Any, Any]) -> str | None:
    """Refuse matrices whose sizes are not those of one choice of the sizes of a schema."""
    sizes = {symbol: value for symbol, value in put.items() if getattr(symbol, "is_integer", False)}
    matrices = [(symbol, value) for symbol, value in put.items() if isinstance(symbol, ex.Symbol)]
    pairs = [(s, v, ((s.rows, v.rows), (s.cols, v.cols))) for s, v in matrices]
    for size, actual in (pair for *_, both in pairs for pair in both):
        if size.is_Symbol:
            sizes.setdefault(size, actual)
    for symbol, value, both in pairs:
        if any(sympy.expand(size.subs(sizes, simultaneous=True) - actual) != 0 for size, actual in both):
            return f"{as_written(value)} has other sizes than {symbol.name}"
    return None


def fault_of_schema(schema: Schema, proved: bool) -> str | None:
    """Return why a schema says more than the check that proves it, or None; `proved` says whether there must be one."""
    fault = _fault_of_sides(schema) or fault_of_symbols(_parts(schema))
    if fault:
        return f"{schema.name}: {fault}"
    if schema.shown_by is None:
        return f"nothing shows {schema.name}, whose fact counts as proved" if proved else None
    check = schema.shown_by
    if check.unproved_facts:
        return f"check {check.name}, which shows {schema.name}, is {check.strength}"
    rules = rules_of(tuple(pair for assumption in check.given for pair in assumption.equations))
    for side, shown in ((schema.lhs, check.lhs), (schema.rhs, check.rhs)):
        if not _equal(substituted(side, schema.reading), ex.scalar(shown), rules):
            return f"{schema.name} is not what check {check.name} says"
    fault = _fault_of_reading(schema)
    if fault:
        return f"{schema.name}: {fault}"
    own = _symbols_of_check(check)
    bare = [(symbol, value) for symbol, value in _read_as(schema).values() if is_symbol(value)]
    # What the proof declares of a symbol the schema has to declare too, also where both have one name.
    back = {own.get(as_written(value), value): symbol for symbol, value in bare}
    fault = _fault_of_signs(back) or _fault_of_sizes(back)
    if fault:
        return f"{schema.name}: {fault}"
    said = [part for parts in schema.sides.values() for part in parts]
    known = {key for part in said for key in (of_hypothesis if isinstance(part, Premise) else of_assumption)(part).keys}
    silent = [part.name for part in check.taken if not set(part.keys) <= known]
    return f"no side condition of {schema.name} says {', '.join(silent)}" if silent else None


def _parts(schema: Schema) -> list[ex.Expr]:
    """Return both sides of a schema and what its side conditions speak of."""
    return list(map(ex.as_expr, (schema.lhs, schema.rhs, *(part for side in schema.sides for part in side.parts))))


def _fault_of_sides(schema: Schema) -> str | None:
    """Refuse a side condition on an expression: in an instance nothing stands in the place of the symbols in it."""
    for side in schema.sides:
        for part in side.parts:
            if not is_symbol(part) and symbols_in([part]):
                return f"a side condition speaks of {as_written(part)}, which is no symbol"
    return None


def _fault_of_reading(schema: Schema) -> str | None:
    """Refuse that two symbols are one in the proof, or one made of another: ``X`` is ``2 A``, ``Y`` is ``A``.

    What ties ``X`` to ``Y`` then would not be told: an instance prints how symbols are read, and not what is renamed.
    """
    read_as = _read_as(schema)
    values = [as_written(value) for _, value in read_as.values()]
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        return f"two symbols are {twice} in its proof"
    bare = {as_written(value) for _, value in read_as.values() if is_symbol(value) and not _is_size(value)}
    for name, (_, value) in read_as.items():
        shared = sorted(symbols_in([value]) & bare) if not is_symbol(value) else []
        if shared:
            return f"{name} is read as {as_written(value)}, and {shared[0]} is what another symbol is"
    return None


def _read_as(schema: Schema) -> dict[str, tuple[Any, Any]]:
    """Return by its name each symbol of a schema, sizes included, and what it is in the proof, which may be itself."""
    told = {as_written(symbol): value for symbol, value in schema.reading.items()}
    parts = [part for side in schema.sides for part in side.parts if is_symbol(part)] + _symbols(schema)
    shaped = [part for part in parts if isinstance(part, ex.Symbol | ex.Form)]
    parts += [size for part in shaped for dim in (part.rows, part.cols) for size in dim.free_symbols]
    return {as_written(symbol): (symbol, told.get(as_written(symbol), symbol)) for symbol in parts}


def _symbols_of_check(check: Any) -> dict[str, Any]:
    """Return by its name each symbol of a check and of what it takes for granted."""
    parts = [check.lhs, check.rhs, *(part for each in check.taken for part in each.expressions)]
    matrices, numbers, forms = symbols_of(*map(ex.as_expr, parts))
    return matrices | {str(number): number for number in numbers} | forms


def _is_size(part: Any) -> bool:
    return bool(getattr(part, "is_integer", False))


def fault_of_restatement(premise: Premise, rules: Rules) -> str | None:
    """Return why an inequality is not what its source concludes, or None.

    Parameters
    ----------
    premise
        The inequality, with the check it is taken from.
    rules
        The assumptions of that check, unless something is put into it: what is put there may use its symbols anew.
    """
    fault = _fault_of_where(premise.where) or _fault_of_signs(premise.put)
    fault = fault or (fault_of_put(premise.source, premise.put) if premise.put else None)
    if fault:
        return f"{premise.name}: {fault}"
    for side, concluded in ((premise.lhs, premise.source.lhs), (premise.rhs, premise.source.rhs)):
        if not _equal(substituted(side, premise.where), substituted(concluded, premise.put), rules):
            return f"{premise.name} is not what check {premise.source.name} concludes"
    return None


def _equal(left: Any, right: Any, rules: Rules) -> bool:
    return is_zero(normal_form(ex.scalar(left) - ex.scalar(right), rules))


def _symbols(schema: Schema) -> list[Any]:
    """Return the matrix symbols, the scalar symbols and the forms of both sides."""
    found: list[Any] = []
    for node in (node for side in (schema.lhs, schema.rhs) for node in ex.scalar(side).walk()):
        if isinstance(node, ex.Symbol):
            found.append(node)
        elif isinstance(node, ex.FormValue):
            found.append(node.form)
        elif isinstance(node, ex.Constant):
            found.extend(node.value.free_symbols)
    return found


def _same(symbol: Any, other: Any) -> bool:
    both = isinstance(symbol, ex.Symbol) and isinstance(other, ex.Symbol)
    return symbol.name == other.name if both else bool(symbol is other or symbol == other)


def _fault_of_where(where: Mapping[Any, Any]) -> str | None:
    """Refuse that a symbol stands for what is of another shape, or of another sign than it declares."""
    for symbol, value in where.items():
        shape, other = ex.shape_of(symbol), ex.shape_of(value)
        if not ex.is_of_shape(shape, other):
            told = f"{ex.shape_in_words(shape)}, and {as_written(value)} is {ex.shape_in_words(other)}"
            return f"where: {as_written(symbol)} is {told}: it stands for what is of its shape"
    return _fault_of_signs(where)


def _fault_of_signs(put: Mapping[Any, Any]) -> str | None:
    """Refuse what is not real, and a value whose declared sign cannot be shown for what stands in its place."""
    for symbol, value in put.items():
        parts = [] if isinstance(value, ex.Form) else [ex.as_expr(value)]
        fault = next(filter(None, map(fault_of_value, values_in(parts))), None)
        if fault:
            return fault
        if isinstance(symbol, ex.Symbol):
            if symbol.symmetric and not (isinstance(value, ex.Symbol) and value.symmetric):
                return f"{symbol.name} is symmetric: nothing but a symmetric symbol may stand in its place"
        elif isinstance(symbol, ex.Form):
            if not isinstance(value, ex.Form):
                return f"{symbol.name} is a form: nothing but a form may stand in its place"
        elif not _has_sign(symbol, value):
            return f"{as_written(value)} is not shown to have the sign that {symbol} declares"
    return None


def _has_sign(symbol: Any, value: Any) -> bool:
    if isinstance(value, ex.Expr):
        return not (symbol.is_integer or symbol.is_nonzero) and (not symbol.is_nonnegative or is_sum_of_squares(value))
    value = sympy.sympify(value)
    if symbol.is_integer and not value.is_integer:
        return False
    if symbol.is_nonzero and not symbol.is_positive:
        return bool(value.is_nonzero)
    if symbol.is_positive and not any(form.is_positive for form in (value, sympy.factor(value), sympy.expand(value))):
        return False
    return not symbol.is_nonnegative or provably_nonnegative(value)
