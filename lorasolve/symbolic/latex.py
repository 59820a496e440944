"""Expressions, checks and whole theorems as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import sympy

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic.checks import Check, TwoSided
from lorasolve.symbolic.evaluate import symbols_of
from lorasolve.symbolic.matrix_checks import Inequality
from lorasolve.symbolic.taken import declared
from lorasolve.symbolic.terms import Premise, Square, Term
from lorasolve.symbolic.theorem import Theorem

LINE_WIDTH = 110
LEQ = r"\leq"
# What of a formula leaves no trace on paper.
UNSEEN = re.compile(r"[{}\s]")
ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{amsmath,amssymb}
\usepackage[margin=2cm]{geometry}
\title{Theorems, checked by machine}
\date{}
\begin{document}
\maketitle
"""


def mathematics(expr: ex.Expr) -> str:
    """Return an expression as LaTeX mathematics."""
    return " ".join(_signed(term, first=i == 0) for i, term in enumerate(_terms(expr)))


def statement(check: Check) -> str:
    """Return the statement of a symbolic check as displayed mathematics, or nothing."""
    if isinstance(check, TwoSided):
        return _display(check.lhs, "=" if check.relation == "==" else LEQ, check.rhs)
    return ""


def printed_alike(check: Check) -> tuple[str, str] | None:
    """Return two symbols of a check that LaTeX prints alike, as ``X1`` and ``X_1``, if there are any."""
    if not isinstance(check, TwoSided):
        return None
    proof = [term.value for term in check.terms] if isinstance(check, Inequality) else []
    parts = [check.lhs, check.rhs, *proof, *(part for each in check.taken for part in each.expressions)]
    try:
        names = sorted({name for kind in symbols_of(*map(ex.as_expr, parts)) for name in map(str, kind)})
    except ex.ShapeError:  # two symbols of one name, for which the check is refused
        return None
    owners: dict[str, str] = {}
    for name in names:
        owner = owners.setdefault(UNSEEN.sub("", _name(name)), name)
        if owner != name:
            return owner, name
    return None


def steps(check: Check) -> list[str]:
    """Return the terms of an inequality's proof, each with its name and its formula."""
    return [_step(term) for term in check.terms] if isinstance(check, Inequality) else []


def document(theorems: Mapping[str, Theorem], verdicts: Mapping[str, Sequence[str]]) -> str:
    """Return a LaTeX document with the statements and the steps of theorems.

    Parameters
    ----------
    theorems
        The theorems by name.
    verdicts
        For each of them what became of its checks, in their order: how they are known, REFUTED, or NOT SHOWN.
    """
    body = "".join(_section(name, theorem, verdicts[name]) for name, theorem in theorems.items())
    return PREAMBLE + body + "\\end{document}\n"


def _section(name: str, theorem: Theorem, verdicts: Sequence[str]) -> str:
    sections = theorem.sections
    lines = [rf"\section{{{text(theorem.title)}}}", rf"Module \texttt{{{text(name)}}}. {text(sections['Source'])}"]
    for part in ("Statement", "Assumptions", "Idea"):
        lines += [rf"\paragraph{{{part}}}", r"\begin{verbatim}", sections[part], r"\end{verbatim}"]
    for check, verdict in zip(theorem.checks, verdicts, strict=True):
        lines += [
            rf"\subsection*{{{text(check.name)} ({text(check.kind)}): {text(verdict)}}}",
            text(check.says),
            statement(check),
        ]
        if where := declared(check):
            lines.append(f"Where {text(where)}.")
        lines += _list("Assuming:", [text(part.in_full) for part in check.taken])
        lines += _list("The difference of the two sides is the sum of:", steps(check))
    return "\n".join(line for line in lines if line) + "\n\n"


def _list(title: str, items: Sequence[str]) -> list[str]:
    """Return the lines of a list with a title, none if it is empty."""
    return [title, r"\begin{itemize}", *(rf"\item {item}" for item in items), r"\end{itemize}"] if items else []


def text(words: str) -> str:
    """Return plain text with LaTeX's special characters escaped."""
    return "".join(ESCAPES.get(letter, letter) for letter in words)


def _step(term: Term) -> str:
    names = [text(factor.name) for factor in term.factors if isinstance(factor, Premise)]
    factors = [ex.scalar(term.coefficient)] if not _is_one(term.coefficient) else []
    parts = [_bracket(factor) for factor in factors]
    parts += [
        mathematics(factor.gap) if isinstance(factor, Square) else rf"\left({mathematics(factor.gap)}\right)"
        for factor in term.factors
    ]
    formula = rf"$\displaystyle {' '.join(parts) or '1'}$"
    return f"{'; '.join(names)}: {formula}" if names else formula


def _is_one(coefficient: Any) -> bool:
    """Whether a coefficient is built from nothing but ones."""
    return all(
        isinstance(node, ex.ScalarProduct) or (isinstance(node, ex.Constant) and node.value == 1)
        for node in ex.scalar(coefficient).walk()
    )


def _display(left: Any, relation: str, right: Any) -> str:
    lines = _lines(left) + [f"{relation} {line}" if i == 0 else line for i, line in enumerate(_lines(right))]
    return "\n".join([r"\[\begin{aligned}", *(rf"& {line} \\" for line in lines), r"\end{aligned}\]"])


def _lines(value: Any) -> list[str]:
    """Return an expression broken into lines between the terms of its outermost sum."""
    lines: list[str] = []
    for i, term in enumerate(_terms(ex.as_expr(value))):
        shown = _signed(term, first=i == 0)
        if lines and len(lines[-1]) + len(shown) < LINE_WIDTH:
            lines[-1] += " " + shown
        else:
            lines.append(shown)
    return lines


def _terms(expr: ex.Expr) -> list[str]:
    if isinstance(expr, ex.Sum | ex.ScalarSum):
        return _terms(expr.children[0]) + _terms(expr.children[1])
    return [_node(expr)]


def _signed(term: str, *, first: bool) -> str:
    return term if first or term.startswith("-") else f"+ {term}"


def _node(expr: Any) -> str:
    match expr:
        case ex.Symbol():
            return _name(expr.name)
        case ex.IdentityMatrix():
            return f"I_{{{sympy.latex(expr.rows)}}}"
        case ex.Zero():
            return "0"
        case ex.Product():
            return " ".join(_bracket(child) for child in expr.children)
        case ex.Transpose():
            of = expr.children[0]
            inside = mathematics(of)
            return rf"{inside}^{{\top}}" if isinstance(of, ex.Symbol) else rf"\left({inside}\right)^{{\top}}"
        case ex.Scaled():
            return _times(expr.children[0], expr.children[1])
        case ex.ScalarProduct():
            left, right = expr.children
            swap = isinstance(right, ex.Constant) and not isinstance(left, ex.Constant)
            return _times(right, left) if swap else _times(left, right)
        case ex.Constant():
            return str(sympy.latex(expr.value))
        case ex.ScalarTrace():
            return _trace(expr.children[0])
        case ex.FormValue():
            return rf"{_name(expr.form.name)}\left[{', '.join(mathematics(child) for child in expr.children)}\right]"
        case ex.Gradient():
            return rf"\nabla_{{{_name(expr.symbol.name)}}}\left({mathematics(expr.children[0])}\right)"
        case ex.ScalarDerivative() | ex.MatrixDerivative():
            along = ", ".join(rf"{_name(s.name)} \to {mathematics(d)}" for s, d in expr.along.items())
            power = f"^{{{expr.order}}}" if expr.order > 1 else ""
            return rf"\mathrm{{D}}{power}\left[{mathematics(expr.children[0])}\right]_{{{along}}}"
    raise TypeError(f"no LaTeX for {type(expr).__name__}")


def _trace(of: Any) -> str:
    if isinstance(of, ex.Product) and isinstance(of.children[0], ex.Transpose):
        left, right = of.children[0].children[0], of.children[1]
        if left is right:
            return rf"\left\| {mathematics(left)} \right\|_F^2"
        return rf"\left\langle {mathematics(left)},\, {mathematics(right)} \right\rangle"
    return rf"\operatorname{{tr}}\left({mathematics(of)}\right)"


def _times(factor: Any, of: Any) -> str:
    shown = _bracket(of)
    if isinstance(factor, ex.Constant) and factor.value in (1, -1):
        return shown if factor.value == 1 else f"-{shown}"
    return rf"{_bracket(factor)}\, {shown}"


def _bracket(expr: Any) -> str:
    shown = mathematics(expr)
    is_loose = isinstance(expr, ex.Sum | ex.ScalarSum) or (isinstance(expr, ex.Constant) and _is_loose(expr.value))
    return rf"\left({shown}\right)" if is_loose or shown.startswith("-") else shown


def _is_loose(value: Any) -> bool:
    """Whether what is written behind a number would be read as a part of it."""
    return bool(value.is_Add or value.has(sympy.Derivative))


def _name(name: str) -> str:
    return str(sympy.latex(sympy.Symbol(name)))
