"""Assumptions of a theorem: rewrite rules for the proof, and the means to satisfy them in an example.

Each assumption carries equations, read as rewrite rules from left to right, and a function that changes random
rational values so that they satisfy the equations. A drawn example is accepted only after every equation in force
has been confirmed on it exactly, so an assumption cannot say one thing to the proof and another to the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from operator import matmul
from random import Random
from typing import Any

import sympy

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic import rational as ra
from lorasolve.symbolic.evaluate import Irrational, Values, evaluate, number, symbols_of
from lorasolve.symbolic.normal import MatrixPolynomial, Word, normal_form
from lorasolve.symbolic.rational import Unfit

from .._support.validate import as_callable, as_instance, as_iterable, as_text, shown

MAX_DRAWS = 600


@dataclass(frozen=True)
class Assumption:
    """A named set of equations.

    Parameters
    ----------
    name
        How it is written, ``"P^T P = I"``.
    equations
        Pairs ``(left, right)``; the left side is a single word, a single trace or a scalar symbol.
    impose
        Changes drawn values so that the equations hold. It may raise ``Unfit``.
    """

    name: str
    equations: tuple[tuple[Any, Any], ...]
    impose: Callable[[Values, Random], None]

    def __post_init__(self) -> None:
        """Refuse equations between what is not of one shape; a product of one entry may be a number."""
        as_text(self.name, "name")
        for k, pair in enumerate(as_instance(self.equations, "equations", tuple)):
            _refuse_other_shapes(pair, f"equations[{k}]")
        as_callable(self.impose, "impose")

    def holds(self, values: Values) -> bool:
        """Whether every equation holds exactly at `values`."""
        return all(_value(left, values) == _value(right, values) for left, right in self.equations)


def _refuse_other_shapes(pair: Any, argument: str) -> None:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(f"{argument}: expected a pair (left, right), got {shown(pair)}")
    left, right = (ex.shape_of(ex.as_expr(side, argument)) for side in pair)
    if isinstance(pair[0], sympy.Basic) and isinstance(pair[1], ex.ScalarExpr):
        raise TypeError(f"{argument}: the number {pair[0]} stands for a SymPy expression; a trace stands on the left")
    if not (ex.is_of_shape(left, right) or (ex.is_of_shape(left, (1, 1)) and right is None)):
        told = (ex.shape_in_words(shape) for shape in (left, right))
        raise ex.ShapeError(f"{argument}: expected two sides of one shape, got {' and '.join(told)}")


def _nothing(values: Values, rng: Random) -> None:
    """Change nothing: the equations follow from what was imposed before."""


def assume(name: str, *equations: tuple[Any, Any], impose: Callable[[Values, Random], None] = _nothing) -> Assumption:
    """Return an assumption with an own way of satisfying it; by default it must follow from those before it."""
    return Assumption(name, equations, impose)


def named(symbol: Any, by: ex.ScalarExpr) -> Assumption:
    """Give a single trace, such as ``tr(u.T @ G @ v)``, the name of a scalar symbol."""
    as_instance(symbol, "symbol", sympy.Symbol)
    as_instance(by, "by", ex.ScalarExpr)

    def impose(values: Values, rng: Random) -> None:
        values[symbol] = evaluate(by, values)

    return Assumption(f"{symbol} is named", ((by, symbol),), impose)


def define(symbol: Any, by: Any) -> Assumption:
    """Define a matrix symbol by an expression, or a scalar symbol by a SymPy expression: ``define(A, P @ T)``."""
    as_instance(symbol, "symbol", (ex.Symbol, sympy.Symbol))
    if not isinstance(symbol, ex.Symbol) and isinstance(by, ex.Expr):
        raise TypeError(f"define: the scalar {symbol} needs a SymPy expression, got {type(by).__name__}")
    if isinstance(symbol, ex.Symbol):
        as_instance(by, "by", ex.MatrixExpr)
    ex.as_expr(by, "by")

    def impose(values: Values, rng: Random) -> None:
        values[_key(symbol)] = evaluate(ex.as_expr(by), values)

    return Assumption(f"{_text(symbol)} is defined", ((symbol, by),), impose)


def orthonormal(*symbols: ex.Symbol) -> Assumption:
    """Assume orthonormal columns, and that different symbols have mutually orthogonal columns."""
    equations: list[tuple[Any, Any]] = []
    for symbol in symbols:
        as_instance(symbol, "symbols", ex.Symbol)
    for i, left in enumerate(symbols):
        equations.append((left.T @ left, ex.eye(left.cols)))
        equations.extend((left.T @ right, ex.zeros(left.cols, right.cols)) for right in symbols[i + 1 :])

    def impose(values: Values, rng: Random) -> None:
        widths = [int(number(s.cols, values)) for s in symbols]
        rows = int(number(symbols[0].rows, values))
        if sum(widths) > rows:
            raise Unfit("more orthonormal columns than rows")
        columns = ra.random_orthogonal(rng, rows)
        start = 0
        for s, width in zip(symbols, widths, strict=True):
            values[s.name] = [row[start : start + width] for row in columns]
            start += width

    return Assumption(f"{', '.join(s.name for s in symbols)} orthonormal", tuple(equations), impose)


def square_orthogonal(symbol: ex.Symbol) -> Assumption:
    """Assume that a square matrix is orthogonal, from both sides."""
    both = orthonormal(as_instance(symbol, "symbol", ex.Symbol))
    equations = (*both.equations, (symbol @ symbol.T, ex.eye(symbol.rows)))
    return Assumption(f"{symbol.name} orthogonal", equations, both.impose)


def annihilated(symbol: ex.Symbol, left: Sequence[ex.Symbol] = (), right: Sequence[ex.Symbol] = ()) -> Assumption:
    """Assume ``P^T S = 0`` for every P in `left` and ``S Q = 0`` for every Q in `right`."""
    as_instance(symbol, "symbol", ex.Symbol)
    left = [as_instance(p, "left", ex.Symbol) for p in as_iterable(left, "left")]
    right = [as_instance(q, "right", ex.Symbol) for q in as_iterable(right, "right")]
    equations = [(p.T @ symbol, ex.zeros(p.cols, symbol.cols)) for p in left]
    equations += [(symbol @ q, ex.zeros(symbol.rows, q.cols)) for q in right]

    def impose(values: Values, rng: Random) -> None:
        value = values[symbol.name]
        if left:
            value = ra.multiply(ra.complement(ra.hstack(*(values[p.name] for p in left))), value)
        if right:
            value = ra.multiply(value, ra.complement(ra.hstack(*(values[q.name] for q in right))))
        values[symbol.name] = value

    names = [f"{p.name}^T {symbol.name} = 0" for p in left] + [f"{symbol.name} {q.name} = 0" for q in right]
    return Assumption(", ".join(names), tuple(equations), impose)


def inverse(symbol: ex.Symbol, of: ex.MatrixExpr) -> Assumption:
    """Assume ``symbol = of^{-1}``, used from both sides.

    A proof replaces products. Of a sum it is the longest: ``K X X^T`` by ``I - mu K`` for ``mu * eye(m) + X @ X.T``.

    Raises
    ------
    ValueError
        If a number in `of` is a trace, or that in front of the longest product may be 0.
    """
    as_instance(symbol, "symbol", ex.Symbol)
    as_instance(of, "of", ex.MatrixExpr)
    (factor, product), *others = _longest_first(of)

    def equation(times: Callable[[ex.MatrixExpr], ex.MatrixExpr]) -> tuple[ex.MatrixExpr, ex.MatrixExpr]:
        right = _multiple(1 / factor, ex.eye(symbol.rows))
        for coefficient, other in others:
            shorter = symbol if isinstance(other, ex.IdentityMatrix) else times(other)
            right = right - _multiple(coefficient / factor, shorter)
        return times(product), right

    def impose(values: Values, rng: Random) -> None:
        values[symbol.name] = ra.inverse(evaluate(of, values))

    equations = (equation(lambda part: symbol @ part), equation(lambda part: part @ symbol))
    return Assumption(f"{symbol.name} is an inverse", equations, impose)


def _longest_first(of: ex.MatrixExpr) -> list[tuple[Any, ex.MatrixExpr]]:
    """Return a sum as products, a longest one first, each behind its number."""
    form = normal_form(of)
    assert isinstance(form, MatrixPolynomial)
    terms = sorted(form.terms.items(), key=lambda term: -len(term[0]))
    numbers = [coefficient.terms.get((), sympy.Integer(0)) for _, coefficient in terms]
    if any(set(coefficient.terms) != {()} for _, coefficient in terms) or not (numbers and numbers[0].is_nonzero):
        wanted = "a sum of products of matrices with numbers in front of them, none that may be 0 before the longest"
        raise ValueError(f"of: expected {wanted}, got {form}")
    if numbers == [1]:
        return [(numbers[0], of)]
    symbols = {node.name: node for node in of.walk() if isinstance(node, ex.Symbol)}
    return [(factor, _product(word, symbols, of.rows)) for factor, (word, _) in zip(numbers, terms)]


def _product(word: Word, symbols: dict[str, ex.Symbol], size: Any) -> ex.MatrixExpr:
    factors = [symbols[part.letter.name].T if part.transposed else symbols[part.letter.name] for part in word]
    return reduce(matmul, factors) if factors else ex.eye(size)


def _multiple(factor: Any, of: ex.MatrixExpr) -> ex.MatrixExpr:
    return of if factor == 1 else factor * of


class Sampler:
    """Random rational values of the symbols of expressions that satisfy assumptions exactly.

    Parameters
    ----------
    exprs
        The expressions.
    assumptions
        The assumptions, satisfied in their order.
    """

    def __init__(self, exprs: Iterable[ex.Expr], assumptions: Sequence[Assumption]) -> None:
        self.assumptions = assumptions
        parts = [ex.as_expr(part) for a in assumptions for pair in a.equations for part in pair]
        self.matrices, numbers, self.forms = symbols_of(*exprs, *parts)
        self.numbers = dict.fromkeys(sorted(numbers, key=str))

    def draw(self, rng: Random, *, max_dim: int = 4) -> Values:
        """Return random values.

        Raises
        ------
        Unfit
            If no acceptable values were found.
        ValueError
            If an assumption gives a symbol what is no fraction: two infinite values are equal whatever is added.
        """
        for _ in range(MAX_DRAWS):
            values = _Drawn(self, rng, max_dim)
            try:
                for form in self.forms.values():
                    shape = (int(number(form.rows, values)), int(number(form.cols, values)))
                    values[form.name] = [(ra.random_fraction(rng), ra.random_matrix(rng, *shape)) for _ in range(3)]
                for assumption in self.assumptions:
                    assumption.impose(values, rng)
                self._require_exact(values)
                for name in [*self.numbers, *self.matrices]:
                    values[name]  # draw what no assumption has asked for
                if self.allows(values):
                    return dict(values)
            except (Unfit, Irrational, ZeroDivisionError):
                continue
        names = ", ".join(a.name for a in self.assumptions)
        raise Unfit(f"no values that satisfy {names} were drawn in {MAX_DRAWS} attempts{self._advice()}")

    def _require_exact(self, values: Values) -> None:
        for key, value in values.items():
            parts = _parts_of_form(value) if key in self.forms else _parts_of(value)
            odd = next((part for part in parts if type(part) not in (int, Fraction)), None)
            if odd is not None:
                raise ValueError(f"impose: expected fractions for {key}, got {shown(odd)}")

    def _advice(self) -> str:
        """Return what to write where only luck makes values satisfy an assumption."""
        left = [a.name for a in self.assumptions if a.impose is _nothing]
        return f"; assume({left[0]!r}, ..., impose=...) makes values satisfy it" if left else ""

    def allows(self, values: Values) -> bool:
        """Whether all assumptions hold, and scalars and matrices have the signs, shapes and symmetry they declare."""
        if not signs_hold(values):
            return False
        for symbol in self.matrices.values():
            value = values[symbol.name]
            if ra.shape(value) != (number(symbol.rows, values), number(symbol.cols, values)):
                return False
            if symbol.symmetric and value != ra.transpose(value):
                return False
        return all(assumption.holds(values) for assumption in self.assumptions)


class _Drawn(dict[Any, Any]):
    """Values that are drawn when they are first asked for: most draws end with sizes that do not fit."""

    def __init__(self, sampler: Sampler, rng: Random, max_dim: int) -> None:
        self.sampler, self.rng, self.max_dim = sampler, rng, max_dim

    def __missing__(self, key: Any) -> Any:
        if key in self.sampler.matrices:
            self[key] = _random_symbol(self.sampler.matrices[key], self, self.rng)
        elif key in self.sampler.numbers:
            self[key] = _random_number(key, self.rng, self.max_dim)
        else:
            raise KeyError(key)
        return self[key]


def _parts_of(value: Any) -> Iterable[Any]:
    return (entry for row in value for entry in row) if isinstance(value, list) else (value,)


def _parts_of_form(value: Any) -> Iterable[Any]:
    return (part for weight, rows in value for part in (weight, *_parts_of(rows)))


def _random_symbol(symbol: ex.Symbol, values: Values, rng: Random) -> ra.RationalMatrix:
    rows, cols = number(symbol.rows, values), number(symbol.cols, values)
    if rows.denominator != 1 or cols.denominator != 1:
        raise Unfit("a dimension is not an integer")
    drawn = ra.random_matrix(rng, int(rows), int(cols))
    return ra.add(drawn, ra.transpose(drawn)) if symbol.symmetric else drawn


def _random_number(symbol: Any, rng: Random, max_dim: int) -> Fraction:
    if symbol.is_integer:
        return Fraction(rng.randint(1, max_dim))
    while True:
        value = ra.random_fraction(rng)
        if symbol.is_positive:
            value = abs(value)
        if not (value == 0 and symbol.is_nonzero):
            return value


def signs_hold(values: Values) -> bool:
    """Whether the scalar symbols have the signs that they declare."""
    for symbol, value in values.items():
        if not isinstance(symbol, sympy.Symbol):
            continue
        if (symbol.is_nonnegative and value < 0) or (symbol.is_nonzero and value == 0):
            return False
        if symbol.is_integer and value.denominator != 1:
            return False
    return True


def _value(part: Any, values: Values) -> Any:
    value = evaluate(ex.as_expr(part), values)
    if isinstance(value, list) and ra.shape(value) == (1, 1):
        return value[0][0]
    return value


def _key(symbol: Any) -> Any:
    return symbol.name if isinstance(symbol, ex.Symbol) else sympy.sympify(symbol)


def _text(symbol: Any) -> str:
    return str(_key(symbol))
