"""Expressions with other expressions in the place of symbols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy

from lorasolve.symbolic import expression as ex


def substituted(expr: Any, by: Mapping[Any, Any]) -> Any:
    """Return an expression with each symbol of `by` replaced, all at once.

    Parameters
    ----------
    expr
        A matrix, a scalar, or a SymPy expression.
    by
        For matrix symbols a matrix expression, for SymPy symbols a SymPy expression or a scalar expression, for forms
        a form.

    Raises
    ------
    TypeError
        If it contains a derivative or an integral, or is no polynomial in a symbol that a trace replaces.
    ShapeError
        If the shapes no longer fit.
    """
    # A matrix and a form are known by their names: each may have been made twice.
    matrices = {symbol.name: value for symbol, value in by.items() if isinstance(symbol, ex.Symbol)}
    forms = {symbol.name: value for symbol, value in by.items() if isinstance(symbol, ex.Form)}
    numbers = {symbol: value for symbol, value in by.items() if not isinstance(symbol, ex.Symbol | ex.Form)}
    if not by:
        return ex.as_expr(expr)

    # What stands at two places is one object, as in a square, and stays one.
    done: dict[int, Any] = {}

    def walk(e: Any) -> Any:
        if id(e) not in done:
            done[id(e)] = new(e)
        return done[id(e)]

    def new(e: Any) -> Any:
        match e:
            case ex.Symbol():
                return matrices.get(e.name, e)
            case ex.Constant():
                return ex.scalar(_number(e.value, numbers))
            case ex.Sum() | ex.ScalarSum():
                return walk(e.children[0]) + walk(e.children[1])
            case ex.Product():
                return walk(e.children[0]) @ walk(e.children[1])
            case ex.Transpose():
                return walk(e.children[0]).T
            case ex.Scaled() | ex.ScalarProduct():
                return walk(e.children[0]) * walk(e.children[1])
            case ex.ScalarTrace():
                return ex.tr(walk(e.children[0]))
            case ex.FormValue():
                return forms.get(e.form.name, e.form)(*map(walk, e.children))
            case ex.IdentityMatrix():
                return ex.eye(_number(e.rows, numbers))
            case ex.Zero():
                return ex.zeros(_number(e.rows, numbers), _number(e.cols, numbers))
        raise TypeError(f"expr: nothing is put into a {type(e).__name__}")

    return walk(ex.as_expr(expr))


def _number(value: Any, by: Mapping[Any, Any]) -> Any:
    value = sympy.sympify(value)
    here = {symbol: by[symbol] for symbol in value.free_symbols if symbol in by}
    bound = value.atoms(sympy.Derivative, sympy.Integral, sympy.Subs)
    if here and bound:
        # What is put there would be taken for the symbol along which is differentiated or integrated.
        raise TypeError(f"expr: nothing is put into {next(iter(bound))}")
    if not any(isinstance(new, ex.Expr) for new in here.values()):
        return value.subs(here, simultaneous=True)
    if value.is_Symbol:
        return here[value]
    if value.is_Add:
        return sum((ex.scalar(_number(part, by)) for part in value.args), ex.scalar(0))
    if value.is_Mul:
        product = ex.scalar(1)
        for part in value.args:
            product = product * _number(part, by)
        return product
    if value.is_Pow and value.exp.is_Integer and value.exp > 0:
        return ex.scalar(_number(value.base, by)) ** int(value.exp)
    raise TypeError(f"expr: {value} is no polynomial in {', '.join(map(str, here))}")
