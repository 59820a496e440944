"""The value of an expression at given rational matrices, computed without any algebra.

This is the route by which the normal form is tested: it walks the tree as it was written, multiplies fractions,
and obtains derivatives by exact polynomial interpolation instead of a differentiation rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from math import factorial, prod
from typing import Any

import sympy

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic import rational as ra

Values = dict[Any, Any]  # matrix name -> matrix, SymPy symbol -> number, form name -> [(weight, matrix), ...]


class Irrational(ValueError):
    """A scalar did not evaluate to a rational number."""


class IrrationalRoot(Irrational):
    """One made of roots, which are rational at other values: those of squares."""


def evaluate(expr: ex.Expr, values: Values) -> Any:
    """Return a fraction for a scalar and a list of lists for a matrix."""
    return _matrix(expr, values) if isinstance(expr, ex.MatrixExpr) else _scalar(expr, values)


def number(value: Any, values: Values) -> Fraction:
    """Return a SymPy expression as an exact fraction."""
    if not isinstance(value, sympy.Basic):
        value = sympy.sympify(value)
    if value.is_Symbol:
        return Fraction(values[value])
    if value.is_Integer:
        return Fraction(int(value))
    if value.is_Rational:
        return Fraction(int(value.p), int(value.q))
    if value.is_Add:
        return sum((number(part, values) for part in value.args), Fraction(0))
    if value.is_Mul:
        return prod((number(part, values) for part in value.args), start=Fraction(1))
    if value.is_Pow and value.exp.is_Integer:
        return number(value.base, values) ** int(value.exp)
    return _by_sympy(value, values)


def _by_sympy(value: Any, values: Values) -> Fraction:
    known = {symbol: Fraction(values[symbol]) for symbol in value.free_symbols}
    result = _simplified(value.subs({s: sympy.Rational(v.numerator, v.denominator) for s, v in known.items()}))
    if not result.is_Rational:
        kind = IrrationalRoot if result.is_algebraic else Irrational
        raise kind(f"{value} is {result}, not a rational number as in examples: let a number stand for it")
    return Fraction(int(result.p), int(result.q))


@lru_cache(10_000)
def _simplified(value: Any) -> Any:
    """Simplify what has no symbols; constants, and roots of small numbers, come up at one example after the other."""
    return sympy.simplify(value)


def _dim(dim: Any, values: Values) -> int:
    return int(number(dim, values))


def _matrix(expr: Any, values: Values) -> ra.RationalMatrix:
    match expr:
        case ex.Symbol():
            return values[expr.name]
        case ex.IdentityMatrix():
            return ra.identity(_dim(expr.rows, values))
        case ex.Zero():
            return ra.zeros(_dim(expr.rows, values), _dim(expr.cols, values))
        case ex.Sum():
            return ra.add(_matrix(expr.children[0], values), _matrix(expr.children[1], values))
        case ex.Product():
            return ra.multiply(_matrix(expr.children[0], values), _matrix(expr.children[1], values))
        case ex.Transpose():
            return ra.transpose(_matrix(expr.children[0], values))
        case ex.Scaled():
            return ra.scale(_scalar(expr.children[0], values), _matrix(expr.children[1], values))
        case ex.Gradient():
            return _gradient(expr, values)
        case ex.MatrixDerivative():
            rows, cols = ra.shape(_matrix(expr.children[0], values))
            return [[_derivative(expr, values, _entry(i, j)) for j in range(cols)] for i in range(rows)]
    raise TypeError(f"cannot evaluate {type(expr).__name__}")


def _scalar(expr: Any, values: Values) -> Fraction:
    match expr:
        case ex.Constant():
            return number(expr.value, values)
        case ex.ScalarTrace():
            return ra.trace(_matrix(expr.children[0], values))
        case ex.ScalarSum():
            return _scalar(expr.children[0], values) + _scalar(expr.children[1], values)
        case ex.ScalarProduct():
            return _scalar(expr.children[0], values) * _scalar(expr.children[1], values)
        case ex.FormValue():
            left, right = (_matrix(child, values) for child in expr.children)
            terms = values[expr.form.name]
            return sum((w * ra.inner(m, left) * ra.inner(m, right) for w, m in terms), Fraction(0))
        case ex.ScalarDerivative():
            return _derivative(expr, values, lambda value: value)
    raise TypeError(f"cannot evaluate {type(expr).__name__}")


def _entry(i: int, j: int) -> Callable[[Any], Fraction]:
    return lambda matrix: matrix[i][j]


def _derivative(expr: Any, values: Values, entry: Callable[[Any], Fraction]) -> Fraction:
    directions = {symbol.name: _matrix(direction, values) for symbol, direction in expr.along.items()}
    of = expr.children[0]

    def moved(step: int) -> Fraction:
        shifted = {name: ra.add(values[name], direction, step) for name, direction in directions.items()}
        return entry(evaluate(of, {**values, **shifted}))

    return _taylor(moved, degree(of, frozenset(directions)), expr.order) * factorial(expr.order)


def _gradient(expr: ex.Gradient, values: Values) -> ra.RationalMatrix:
    of, name = expr.children[0], expr.symbol.name
    rows, cols = ra.shape(values[name])
    highest = degree(of, frozenset({name}))

    def partial(i: int, j: int) -> Fraction:
        def moved(step: int) -> Fraction:
            shifted = [list(row) for row in values[name]]
            shifted[i][j] += step
            return _scalar(of, {**values, name: shifted})

        return _taylor(moved, highest, 1)

    return [[partial(i, j) for j in range(cols)] for i in range(rows)]


def degree(expr: ex.Expr, names: frozenset[str]) -> int:
    """Return an upper bound of the polynomial degree of an expression in the matrix symbols `names`."""
    if isinstance(expr, ex.Symbol):
        return int(expr.name in names)
    parts = [degree(child, names) for child in expr.children]
    if isinstance(expr, ex.MatrixDerivative | ex.ScalarDerivative):
        return parts[0] + expr.order * max(degree(direction, names) for direction in expr.along.values())
    multiplies = isinstance(expr, ex.Product | ex.Scaled | ex.ScalarProduct | ex.FormValue)
    return sum(parts) if multiplies else max(parts, default=0)


def _taylor(function: Callable[[int], Fraction], highest: int, order: int) -> Fraction:
    """Return the coefficient of ``e**order`` of a polynomial of known degree from its values at integers."""
    if order > highest:
        return Fraction(0)
    points = range(highest + 1)
    vandermonde = [[Fraction(p) ** k for k in points] for p in points]
    coefficients = ra.multiply(ra.inverse(vandermonde), [[function(p)] for p in points])
    return coefficients[order][0]


def symbols_of(*exprs: ex.Expr) -> tuple[dict[str, ex.Symbol], set[Any], dict[str, ex.Form]]:
    """Return the matrix symbols, the scalar symbols (dimensions included) and the forms of expressions."""
    matrices: dict[str, ex.Symbol] = {}
    numbers: set[Any] = set()
    forms: dict[str, ex.Form] = {}
    for expr in exprs:
        for node in expr.walk():
            if isinstance(node, ex.MatrixExpr):
                numbers |= sympy.sympify(node.rows).free_symbols | sympy.sympify(node.cols).free_symbols
            if isinstance(node, ex.Symbol):
                known = matrices.setdefault(node.name, node)
                if (known.rows, known.cols, known.symmetric) != (node.rows, node.cols, node.symmetric):
                    raise ex.ShapeError(f"two different symbols are called {node.name}")
            elif isinstance(node, ex.Constant):
                numbers |= node.value.free_symbols
            elif isinstance(node, ex.FormValue):
                forms[node.form.name] = node.form
    return matrices, numbers, forms


def as_text(value: Any) -> str:
    """Return a fraction or a matrix in short form."""
    if isinstance(value, list):
        return "[" + ", ".join(as_text(entry) if isinstance(entry, list) else str(entry) for entry in value) + "]"
    return str(value)


def describe(values: Mapping[Any, Any]) -> str:
    """Return a readable account of a set of values."""
    parts = []
    for key, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            value = " + ".join(f"({w}) <{as_text(m)}, .>^2" for w, m in value)
            parts.append(f"{key} = {value}")
        else:
            parts.append(f"{key} = {as_text(value)}")
    return ", ".join(parts)
