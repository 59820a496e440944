"""Theorems as plain data, for checkers that share no code with this package.

Each check becomes a record of texts: the symbols with their signs, shapes and symmetry, the assumptions as equations,
the named inequalities with where they come from, both sides, the terms of the proof, and a witness. An error here can
only make a second checker refuse, or show in the record, which is made to be read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import sympy

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic.checks import Check
from lorasolve.symbolic.evaluate import Values, symbols_of
from lorasolve.symbolic.example_checks import Exact
from lorasolve.symbolic.matrix_checks import Identity, Inequality
from lorasolve.symbolic.positivity import BOUNDS, Cases, Seen, forms, plain, seen
from lorasolve.symbolic.scalar_checks import ScalarCheck
from lorasolve.symbolic.soundness import denominators, values_in
from lorasolve.symbolic.taken import Taken, sign_of, told_as
from lorasolve.symbolic.terms import Premise, Schema, Square, Term, is_symbol, placed
from lorasolve.symbolic.theorem import Theorem
from lorasolve.symbolic.written import ExportError, text

SCHEMA = "lorasolve/proofs/1"


class Exported(NamedTuple):
    """The checks of one theorem as plain data."""

    checks: list[dict[str, Any]]
    # By its name: why a check is left out, and what it says.
    left_out: dict[str, tuple[str, dict[str, Any]]]


def exported(name: str, theorem: Theorem, names: Mapping[int, str]) -> Exported:
    """Return the checks of a theorem as plain data; ``names`` are those of all checks, by identity."""
    found = Exported([], {})
    for check in theorem.checks:
        called = f"{name}.{check.name}"
        try:
            found.checks.append(_with_witness(record(called, check, names), check))
        except (ExportError, ex.ShapeError) as reason:
            found.left_out[called] = str(reason), _computation(check, names)
    return found


def names_of(theorems: Mapping[str, Theorem]) -> dict[int, str]:
    """Return what the checks of theorems are called, by identity.

    Raises
    ------
    ValueError
        If two checks of a theorem have one name: what is said of one would be taken for what is said of the other.
    """
    for name, theorem in theorems.items():
        called = [check.name for check in theorem.checks]
        twice = next((one for one in called if called.count(one) > 1), None)
        if twice is not None:
            raise ValueError(f"{name}: checks: expected a name of its own for each, got two called {twice!r}")
    return {id(check): f"{name}.{check.name}" for name, theorem in theorems.items() for check in theorem.checks}


def document(theorems: Mapping[str, Theorem], known: Mapping[str, Exported] | None = None) -> dict[str, Any]:
    """Return all checks of theorems as plain data, and for each one that is left out the reason.

    ``known`` are those of some of them, by the theorems' names.
    """
    names, known = names_of(theorems), known or {}
    facts = {fact.name: fact for theorem in theorems.values() for check in theorem.checks for fact in check.facts}
    schemas = {name: {schema.name: _schema(schema, names) for schema in fact.schemas} for name, fact in facts.items()}
    parts = [known[name] if name in known else exported(name, theorem, names) for name, theorem in theorems.items()]
    left_out = {name: why for part in parts for name, why in part.left_out.items()}
    return {
        "schema": SCHEMA,
        "facts": {
            name: [fact.statement, fact.reference, fact.proved_by, schemas[name]]
            for name, fact in sorted(facts.items())
        },
        "theorems": {name: _prose(theorem) for name, theorem in theorems.items()},
        "checks": [check for part in parts for check in part.checks],
        "not_exported": {name: reason for name, (reason, _) in left_out.items()},
        "computations": {name: said for name, (_, said) in left_out.items()},
    }


def _prose(theorem: Theorem) -> dict[str, Any]:
    """Return what a theorem says in words, and the names of its checks."""
    try:
        sections = theorem.sections
    except ValueError:
        sections = {}
    said = {name.lower(): sections.get(name, "").splitlines() for name in ("Statement", "Assumptions")}
    return said | {"checks": [check.name for check in theorem.checks]}


def _computation(check: Check, names: Mapping[int, str]) -> dict[str, Any]:
    """Return what a check says that is no algebra, its sides as SymPy prints them, and the cases that are computed.

    With the checks that it rests on, if there are any.
    """
    content: dict[str, Any] = {"says": check.says, "kind": check.kind, "strength": check.strength}
    behind = [source for source in (*check.sources, *check.shown_by) if isinstance(source, Check)]
    content |= {"rests_on": [_source(source, names) for source in behind]} if behind else {}
    if isinstance(check, ScalarCheck):
        content |= {"lhs": str(check.lhs), "relation": check.relation, "rhs": str(check.rhs)}
    return content | ({"cases": [str(case) for case in check.cases]} if isinstance(check, Exact) else {})


def as_json(content: Mapping[str, Any]) -> str:
    """Return a document as text that people can read: one line for each part of a check."""
    checks = ",\n".join(_lines(check) for check in content["checks"])
    head = _lines({"schema": content["schema"], "facts": content["facts"]})[:-1]
    theorems, left_out, computations = (_lines(content[key]) for key in ("theorems", "not_exported", "computations"))
    return (
        f'{head},\n"theorems": {theorems},\n"checks": [\n{checks}\n],\n'
        f'"not_exported": {left_out},\n"computations": {computations}\n}}\n'
    )


def _lines(content: Mapping[str, Any]) -> str:
    """Return a record with one field a line; premises, terms of a proof and what is assumed have their own lines."""
    parts = []
    for key, value in content.items():
        shown = json.dumps(value, ensure_ascii=False)
        if key == "premises" and value:
            shown = "{\n  " + ",\n  ".join(json.dumps({k: v}, ensure_ascii=False)[1:-1] for k, v in value.items()) + "}"
        if key == "assumed" and value:
            shown = "[\n  " + ",\n  ".join(json.dumps(part, ensure_ascii=False) for part in value) + "]"
        if key == "proof":
            shown = "[\n  " + ",\n  ".join(json.dumps(term, ensure_ascii=False) for term in value) + "]"
        parts.append(f"{json.dumps(key)}: {shown}")
    return "{" + ",\n ".join(parts) + "}"


def differences(pinned: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return for each check and theorem of the current document how it differs from the pinned one, in words.

    A statement may be true and yet say less than it did: a sign, a size or a hypothesis more, or nothing at all. Only a
    comparison with what was once agreed on can notice that. Witnesses are not compared.
    """
    before, found = _statements(pinned), {}
    for name, said in _statements(current).items():
        other = before.get(name)
        if other is None:
            found[name] = ["is not in proofs.json; the command at the top of proofs/README.md puts it there"]
        else:
            keys = [key for key in {**said, **other} if key != "witness" and said.get(key) != other.get(key)]
            found[name] = [part for key in keys for part in _changes(key, other.get(key), said.get(key))]
    return {name: parts for name, parts in found.items() if parts}


def _statements(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the theorems, the checks and the computations of a document by name."""
    checks = {check["id"]: check for check in content["checks"]}
    facts = {f"fact {name}": {"fact": fact} for name, fact in content["facts"].items()}
    return {**facts, **content["theorems"], **checks, **content["computations"]}


def _changes(name: str, before: Any, after: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        return [part for key in keys for part in _changes(f"{name}, {key}", before.get(key), after.get(key))]
    return [f"{name} was {_plainly(before)}, is {_plainly(after)}"]


def _plainly(value: Any) -> str:
    return "absent" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def record(name: str, check: Check, names: Mapping[int, str]) -> dict[str, Any]:
    """Return one check as plain data, without a witness.

    Parameters
    ----------
    name
        Its name in the document.
    check
        The check.
    names
        The names of all checks that it may rest on, by identity.

    Raises
    ------
    ExportError
        If it is no statement between trace polynomials and rational functions, or meaningless as it is written.
    """
    if not isinstance(check, Identity | Inequality | ScalarCheck):
        raise ExportError(f"{check.kind}: {check.known}, a computation and no algebra")
    if check.fault is not None:
        raise ExportError(check.fault)
    given = [] if isinstance(check, ScalarCheck) else check.in_force
    stated = [ex.as_expr(check.lhs), ex.as_expr(check.rhs)]
    stated += [ex.as_expr(side) for assumption in given for pair in assumption.equations for side in pair]
    content: dict[str, Any] = {"id": name, "says": check.says, "kind": check.kind, "strength": check.strength}
    content["facts"] = [fact.name for fact in check.facts]
    content["assumed"] = [_taken(part, names) for part in check.taken]
    known = [*check.taken, *(check.all_inherited() if isinstance(check, Inequality) else ())]
    content["symbols"] = _declarations([ex.as_expr(part) for each in known for part in each.expressions])
    content["under"] = [_source(source, names) for source in check.under] if isinstance(check, Inequality) else []
    lhs, rhs, sign = _signed(check) if isinstance(check, ScalarCheck) else (check.lhs, check.rhs, {})
    statement: dict[str, Any] = {
        "assumptions": [
            {"name": a.name, "equations": [[text(left), text(right)] for left, right in a.equations]} for a in given
        ],
        "lhs": text(lhs),
        "relation": check.relation,
        "rhs": text(rhs),
    }
    if isinstance(check, Inequality):
        stated += [premise.gap for premise in check.premises]
        statement["premises"] = {premise.name: _premise(premise, names) for premise in check.premises}
        statement["proof"] = [_term(term) for term in check.terms]
    proof = [term.value for term in check.terms] if isinstance(check, Inequality) else []
    content |= _declarations([*stated, *proof])
    for kind, others in content["symbols"].items():
        content["symbols"][kind] = {name: said for name, said in others.items() if content[kind].get(name) != said}
    values = map(_of_any_sign, values_in(stated))
    content["nonzero"] = sorted({text(base) for value in values for base in denominators(value)})
    return content | statement | sign


def _signed(check: ScalarCheck) -> tuple[Any, Any, dict[str, Any]]:
    """Return the sides of a check, and of an inequality how its sign is seen: by bounds of functions, if it has any."""
    lhs, rhs = sympy.sympify(check.lhs), sympy.sympify(check.rhs)
    if check.relation == "==":
        return lhs, rhs, {}
    shown = seen(rhs - lhs)
    if shown is None:
        return lhs, rhs, {"sign": text(_manifest(rhs - lhs)), "bounds": {}}
    known = {str(symbol) for symbol in (rhs - lhs).free_symbols}
    names = (name for name in (f"gap_{k}" for k in count(1)) if name not in known)
    numbers = dict.fromkeys(gap for gap, *_ in _gaps(shown))  # one may be needed in several cases
    gaps = {gap: sympy.Symbol(name, nonnegative=True) for gap, name in zip(numbers, names)}
    bounds = {str(gaps[gap]): [words, *(text(_called(arg)) for arg in args)] for gap, words, args in _gaps(shown)}
    return _called(plain(lhs)), _called(plain(rhs)), {"sign": _sign_of(shown, gaps), "bounds": bounds}


def _gaps(shown: Seen) -> list[tuple[Any, str, tuple[Any, ...]]]:
    """Return the bounds in all cases."""
    return [gap for part in shown.parts for gap in _gaps(part)] if isinstance(shown, Cases) else [*shown.gaps]


def _sign_of(shown: Seen, gaps: Mapping[Any, Any]) -> Any:
    """Return what is manifestly not negative; of a function in cases a list of it and this for each."""
    if isinstance(shown, Cases):
        return [text(_called(shown.function)), *(_sign_of(part, gaps) for part in shown.parts)]
    return text(_manifest(shown.value.xreplace(gaps)))


def _called(value: Any) -> Any:
    """Return an expression with a symbol in the place of each plain function, named like a call of it."""
    if type(value) in BOUNDS:
        args = ", ".join(text(_called(arg)) for arg in value.args)
        return sympy.Symbol(f"{type(value).__name__}({args})", real=True)
    return value.func(*map(_called, value.args)) if value.args else value


def _with_witness(content: dict[str, Any], check: Any) -> dict[str, Any]:
    """Add values at which all assumptions and hypotheses of a check hold, if it has any and they can be found."""
    values = check.witness if content["assumptions"] or content.get("premises") else None
    return content if values is None else content | {"witness": _witness(values, content)}


def _taken(part: Taken, names: Mapping[int, str]) -> dict[str, Any]:
    """Return something taken for granted: its name and what it says."""
    content: dict[str, Any] = {"name": part.name, "kind": part.kind, "texts": list(part.texts)}
    if part.is_property:
        content |= {"fact": part.fact, "by": [_source(check, names) for check in part.by]}
    return content | ({"meaning": True} if part.is_meaning else {})


def _source(check: Check, names: Mapping[int, str]) -> str:
    return names.get(id(check), f"?.{check.name}")


def _premise(premise: Premise, names: Mapping[int, str]) -> dict[str, Any]:
    """Return an inequality; what its numbers stand for and what is put into its source only if there is any."""
    put = placed(premise.instance) if premise.instance else premise.put
    own = None if premise.source is None else _own_names(premise.source)
    used: dict[str, Any] = {"where": _texts(premise.where), "put": _texts(put, own)}
    if premise.instance is not None:
        used["schema"] = premise.instance.schema.name
        used["by"] = [[_source(check, names) for check in side.by] for side in premise.instance.sides]
    if any(used.values()):
        read = premise.where.values() if premise.instance else ()
        placed_forms = [part for part in put.values() if isinstance(part, ex.Form)]
        parts = [ex.as_expr(part) for part in (*put.values(), *read) if not isinstance(part, ex.Form)]
        used["symbols"] = _declarations(parts, placed_forms)
    return {key: value for key, value in used.items() if value or key == "by"} | {
        "lhs": text(premise.lhs),
        "relation": "==" if premise.equal else "<=",
        "rhs": text(premise.rhs),
        "facts": [fact.name for fact in premise.facts],
        "source": None if premise.source is None else _source(premise.source, names),
    }


def _own_names(source: Any) -> set[str]:
    """Return the names of the symbols of both sides of a check, and of those in what it takes for granted."""
    parts = [source.lhs, source.rhs, *(part for each in source.taken for part in each.expressions)]
    return {name for kind in symbols_of(*map(ex.as_expr, parts)) for name in map(str, kind)}


def _texts(put: Mapping[Any, Any], among: Collection[str] | None = None) -> dict[str, str]:
    """Return what stands for what, of all symbols or of some."""
    shown = {text(symbol): text(value) for symbol, value in put.items() if is_symbol(symbol)}
    return {name: value for name, value in shown.items() if among is None or name in among}


def _schema(schema: Schema, names: Mapping[int, str]) -> dict[str, Any]:
    """Return the inequality of a fact, its side conditions, and its symbols in the check that shows it."""
    parts = [schema.lhs, schema.rhs, *(part for side in schema.sides for part in side.parts)]
    return {
        "lhs": text(schema.lhs),
        "relation": "<=",
        "rhs": text(schema.rhs),
        "facts": [],
        "sides": [[side.template, *map(text, side.parts)] for side in schema.sides],
        "said": [[part.name for part in said] for said in schema.sides.values()],
        "source": None if schema.shown_by is None else _source(schema.shown_by, names),
        "where": _texts(schema.reading),
        "read": {text(symbol): told_as(value) for symbol, value in schema.reading.items() if not is_symbol(value)},
        "symbols": _declarations([ex.as_expr(part) for part in parts]),
    }


def _term(term: Term) -> dict[str, Any]:
    factors = [{"square": text(f.of)} if isinstance(f, Square) else {"premise": f.name} for f in term.factors]
    coefficient = term.coefficient
    if isinstance(coefficient, ex.Constant):
        coefficient = _manifest(coefficient.value)
    return {"coefficient": text(coefficient), "factors": factors}


def _manifest(value: Any) -> Any:
    """Return a SymPy expression in the first form whose sign is visible."""
    return next((form for form in forms(value) if form.is_nonnegative), value)


def _declarations(parts: Sequence[ex.Expr], others: Sequence[ex.Form] = ()) -> dict[str, Any]:
    matrices, numbers, forms = symbols_of(*parts)
    forms |= {form.name: form for form in others}
    numbers |= {size for form in others for dim in (form.rows, form.cols) for size in dim.free_symbols}
    shapes = {name: [text(s.rows), text(s.cols), *["symmetric"] * s.symmetric] for name, s in sorted(matrices.items())}
    return {
        "scalars": {str(s): sign_of(s) for s in sorted(numbers, key=str)},
        "matrices": shapes,
        "forms": {name: [text(form.rows), text(form.cols)] for name, form in sorted(forms.items())},
    }


def _of_any_sign(value: Any) -> Any:
    """Return a value with plain real numbers for those that are declared to be other than 0, which is no sign."""
    return value.xreplace({s: sympy.Symbol(s.name, real=True) for s in value.free_symbols if sign_of(s) == "real"})


def _witness(values: Values, content: Mapping[str, Any]) -> dict[str, Any]:
    found = {str(key): value for key, value in values.items()}
    return {name: _plain(found[name]) for kind in ("scalars", "matrices", "forms") for name in content[kind]}


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else str(value)
