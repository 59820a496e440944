"""Expressions as text that can be read back: ``a*(b + 1/2)^2 - tr(A^T*B)``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import sympy

from lorasolve.symbolic import expression as ex

SUM, PRODUCT, ATOM = range(3)
KEPT = 50_000  # numbers whose text is remembered
# How the name of what a number stands for is written.
MEANING = "{} is {}"
# What holds a sum together that stands between: on the left and on the right of it.
LEFT, RIGHT = frozenset("|(<>=,"), frozenset("|)<>=,")


class ExportError(Exception):
    """A check says what plain data cannot express, for the reason given."""


# A text, and how tightly it is bound.
Bound: TypeAlias = tuple[str, int]


def text(expression: Any) -> str:
    """Return an expression as text: ``a*(b + 1/2)^2 - tr(A^T*B)``.

    Raises
    ------
    ExportError
        If it contains a function other than the square root of a symbol.
    """
    return _written(expression, _number)[0]


def as_written(expression: Any) -> str:
    """Return an expression as text, with numbers as SymPy prints them where plain data cannot express them."""
    return _written(expression, _printed)[0]


def filled(template: str, texts: Sequence[str]) -> str:
    """Return words with texts in the place of ``{}``, and brackets around sums that come apart: ``||A - (B - C)||``."""
    around = pairwise(piece.strip() for piece in f"|{template}|".split("{}"))
    held = [template == MEANING or (before[-1:] in LEFT and after[:1] in RIGHT) for before, after in around]
    parts = zip(texts, held, strict=True)
    return template.format(*(part if is_held or not _has_sum(part) else f"({part})" for part, is_held in parts))


def _has_sum(written: str) -> bool:
    return " + " in written or " - " in written


def _written(e: Any, number: Callable[[Any], Bound]) -> Bound:
    """Return the text, given how numbers are written."""

    def whole(part: Any) -> str:
        return _written(part, number)[0]

    def inside(part: Any, tightness: int) -> str:
        return _bracketed(_written(part, number), tightness)

    def call(name: str, *parts: Any) -> Bound:
        return f"{name}({', '.join(map(whole, parts))})", ATOM

    match e:
        case ex.Constant():
            return number(e.value)
        case ex.Symbol() | ex.Form():
            return e.name, ATOM
        case ex.Sum() | ex.ScalarSum():
            right, sign = e.children[1], "+"
            if isinstance(right, ex.Scaled | ex.ScalarProduct) and whole(right.children[0]) == "-1":
                right, sign = right.children[1], "-"
            return f"{whole(e.children[0])} {sign} {inside(right, PRODUCT)}", SUM
        case ex.Product() | ex.ScalarProduct() | ex.Scaled():
            left, right = e.children
            return f"{inside(left, PRODUCT)}*{inside(right, PRODUCT)}", PRODUCT
        case ex.Transpose():
            return f"{inside(e.children[0], ATOM)}^T", ATOM
        case ex.FormValue():
            return call(e.form.name, *e.children)
        case ex.ScalarTrace():
            return call("tr", *e.children)
        case ex.IdentityMatrix():
            return call("id", e.rows)
        case ex.Zero():
            return call("zero", e.rows, e.cols)
        case ex.Gradient():
            return call("grad", e.children[0], e.symbol)
        case ex.MatrixDerivative() | ex.ScalarDerivative():
            return call("diff", e.children[0], e.order, *(part for pair in e.along.items() for part in pair))
        case ex.Expr():
            raise ExportError(f"no text for {type(e).__name__}")
    return number(sympy.sympify(e))


def _printed(value: Any) -> Bound:
    """Return a number as text, or else as SymPy prints it."""
    try:
        return _number(value)
    except ExportError:
        return str(value), ATOM if value.is_Function else SUM


@lru_cache(KEPT, typed=True)
def _number(value: Any) -> Bound:
    if value.is_Symbol:
        return str(value), ATOM
    if value.is_Rational:
        return str(value), ATOM if value.is_Integer and value >= 0 else PRODUCT if value >= 0 else SUM
    if value.is_Add:
        first, *rest = (_number(part)[0] for part in value.as_ordered_terms())
        return first + "".join(f" - {part[1:]}" if part[0] == "-" else f" + {part}" for part in rest), SUM
    if value.is_Mul:
        return _product(value)
    if value.is_Pow and value.exp.is_Rational and value.exp < 0:
        return f"1/{_in(1 / value, ATOM)}", PRODUCT
    if value.is_Pow and value.exp.is_Integer:
        base = f"({_number(value.base)[0]})" if value.base.is_Pow else _in(value.base, ATOM)
        return f"{base}^{value.exp}", ATOM
    if value.is_Pow and (2 * value.exp).is_Integer and value.base.is_Symbol:
        root = f"sqrt({value.base})"
        return (root if value.exp * 2 == 1 else f"{root}^{2 * value.exp}"), ATOM
    raise ExportError(f"contains {value}")


def _product(value: Any) -> Bound:
    """Write a product: its number first, then what it is divided by."""
    number, factors = value.as_coeff_mul()
    above = [f for f in factors if not (f.is_Pow and f.exp.is_negative)]
    below = [1 / f for f in factors if f.is_Pow and f.exp.is_negative]
    shown = [_in(f, PRODUCT) for f in sympy.Mul(*above).as_ordered_factors() if f != 1]
    lead = [str(abs(number.p))] if abs(number.p) != 1 or not shown else []
    dividing = [str(number.q)] * (number.q != 1) + sorted(_in(f, ATOM) for f in below)
    result = "*".join(lead + shown) + "".join(f"/{part}" for part in dividing)
    return (f"-{result}", SUM) if number < 0 else (result, PRODUCT)


def _in(value: Any, tightness: int) -> str:
    return _bracketed(_number(value), tightness)


def _bracketed(written: Bound, tightness: int) -> str:
    return written[0] if written[1] >= tightness else f"({written[0]})"
