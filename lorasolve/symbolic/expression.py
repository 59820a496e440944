"""What a theorem is written in: matrix and scalar expressions with symbolic dimensions.

An expression is a tree that remembers exactly what its author wrote. Two separate routes read it and
never see each other: :mod:`lorasolve.symbolic.normal` brings it to a normal form (the proof), and
:mod:`lorasolve.symbolic.evaluate` computes its value at given rational matrices (the test of the proof).

``A @ B`` is the matrix product, ``A.T`` the transpose, ``2 * A`` a multiple, ``inner(A, B)`` the trace inner
product, ``square(A)`` the squared Frobenius norm. Scalars are SymPy expressions or traces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, TypeAlias

import sympy

from .._support.validate import as_flag, as_instance, as_integer, as_text, shown

Dim: TypeAlias = Any  # a SymPy symbol or expression, or an integer
ScalarLike: TypeAlias = Any  # int, Fraction, SymPy expression or ScalarExpr


class ShapeError(ValueError):
    """Two expressions whose dimensions do not fit were combined."""


class Expr:
    """Common base of matrix and scalar expressions."""

    children: tuple[Expr, ...] = ()

    def walk(self) -> Iterator[Expr]:
        """Yield this node and everything below it."""
        yield self
        for child in self.children:
            yield from child.walk()


class MatrixExpr(Expr):
    """A matrix-valued expression of shape ``(rows, cols)``."""

    rows: Dim
    cols: Dim

    @property
    def T(self) -> MatrixExpr:
        """The transpose."""
        return Transpose(self)

    def __add__(self, other: MatrixExpr) -> MatrixExpr:
        return Sum(self, other)

    def __sub__(self, other: MatrixExpr) -> MatrixExpr:
        return Sum(self, -other)

    def __neg__(self) -> MatrixExpr:
        return Scaled(-1, self)

    def __matmul__(self, other: MatrixExpr) -> MatrixExpr:
        return Product(self, other)

    def __mul__(self, factor: ScalarLike) -> MatrixExpr:
        return Scaled(factor, self)

    __rmul__ = __mul__

    def __truediv__(self, divisor: ScalarLike) -> MatrixExpr:
        return Scaled(sympy.Integer(1) / sympy.sympify(divisor), self)


class ScalarExpr(Expr):
    """A scalar-valued expression."""

    def __add__(self, other: ScalarLike) -> ScalarExpr:
        return ScalarSum(self, scalar(other))

    __radd__ = __add__

    def __sub__(self, other: ScalarLike) -> ScalarExpr:
        return ScalarSum(self, -scalar(other))

    def __rsub__(self, other: ScalarLike) -> ScalarExpr:
        return ScalarSum(scalar(other), -self)

    def __neg__(self) -> ScalarExpr:
        return ScalarProduct(Constant(-1), self)

    def __mul__(self, other: ScalarLike) -> Any:
        if isinstance(other, MatrixExpr):
            return Scaled(self, other)
        if not isinstance(other, ScalarExpr | sympy.Basic | Fraction | int):
            return NotImplemented
        return ScalarProduct(self, scalar(other))

    __rmul__ = __mul__

    def __truediv__(self, divisor: ScalarLike) -> ScalarExpr:
        return ScalarProduct(Constant(sympy.Integer(1) / sympy.sympify(divisor)), self)

    def __pow__(self, exponent: int) -> ScalarExpr:
        power: ScalarExpr = Constant(1)
        for _ in range(as_integer(exponent, "exponent", 0)):
            power = power * self
        return power


class Symbol(MatrixExpr):
    """A matrix symbol; `symmetric` ones equal their transpose."""

    def __init__(self, name: str, rows: Dim, cols: Dim, symmetric: bool = False) -> None:
        self.name, self.rows, self.cols, self.symmetric = name, sympy.sympify(rows), sympy.sympify(cols), symmetric
        if symmetric and self.rows != self.cols:
            raise ShapeError(f"symmetric {name} must be square, got {rows} x {cols}")


class IdentityMatrix(MatrixExpr):
    """The identity matrix of a given dimension."""

    def __init__(self, dim: Dim) -> None:
        self.rows = self.cols = sympy.sympify(dim)


class Zero(MatrixExpr):
    """The zero matrix."""

    def __init__(self, rows: Dim, cols: Dim) -> None:
        self.rows, self.cols = sympy.sympify(rows), sympy.sympify(cols)


class Sum(MatrixExpr):
    """The sum of two matrices of equal shape."""

    def __init__(self, left: MatrixExpr, right: MatrixExpr) -> None:
        _require(left.rows == right.rows and left.cols == right.cols, "add", left, right)
        self.children = (left, right)
        self.rows, self.cols = left.rows, left.cols


class Product(MatrixExpr):
    """The product of two matrices."""

    children: tuple[MatrixExpr, MatrixExpr]

    def __init__(self, left: MatrixExpr, right: MatrixExpr) -> None:
        _require(left.cols == right.rows, "multiply", left, right)
        self.children = (left, right)
        self.rows, self.cols = left.rows, right.cols


class Transpose(MatrixExpr):
    """The transpose of a matrix."""

    children: tuple[MatrixExpr]

    def __init__(self, of: MatrixExpr) -> None:
        self.children = (of,)
        self.rows, self.cols = of.cols, of.rows


class Scaled(MatrixExpr):
    """A scalar multiple of a matrix."""

    children: tuple[ScalarExpr, MatrixExpr]

    def __init__(self, factor: ScalarLike, of: MatrixExpr) -> None:
        self.children = (scalar(factor), of)
        self.rows, self.cols = of.rows, of.cols


class Gradient(MatrixExpr):
    """The gradient of a scalar expression in a matrix symbol, from ``df = <gradient, dA>``."""

    children: tuple[ScalarExpr]

    def __init__(self, of: ScalarExpr, symbol: Symbol) -> None:
        if symbol.symmetric:
            raise ValueError(f"the gradient in the symmetric symbol {symbol.name} is not defined here")
        self.children = (of,)
        self.symbol = symbol
        self.rows, self.cols = symbol.rows, symbol.cols

    def walk(self) -> Iterator[Expr]:
        """Yield also the symbol, which has to be the one of its name in the expression."""
        yield from super().walk()
        yield self.symbol


class _Derivative(Expr):
    """The `order`-th directional derivative of an expression."""

    def __init__(self, of: Any, along: Mapping[Symbol, MatrixExpr], order: int) -> None:
        for symbol, direction in along.items():
            _require((symbol.rows, symbol.cols) == (direction.rows, direction.cols), "move along", symbol, direction)
        self.children = (of,)
        self.along, self.order = dict(along), order

    def walk(self) -> Iterator[Expr]:
        """Yield also the symbols that move and their directions."""
        yield from super().walk()
        for symbol, direction in self.along.items():
            yield symbol
            yield from direction.walk()


class MatrixDerivative(_Derivative, MatrixExpr):
    """That of a matrix expression."""

    children: tuple[MatrixExpr]

    def __init__(self, of: MatrixExpr, along: Mapping[Symbol, MatrixExpr], order: int) -> None:
        super().__init__(of, along, order)
        self.rows, self.cols = of.rows, of.cols


class Constant(ScalarExpr):
    """A SymPy expression."""

    def __init__(self, value: Any) -> None:
        self.value = sympy.Rational(value.numerator, value.denominator) if isinstance(value, Fraction) else value
        self.value = sympy.sympify(self.value)
        if not isinstance(self.value, sympy.Expr):
            raise TypeError(f"{shown(value)} is no number")


class ScalarTrace(ScalarExpr):
    """The trace of a square matrix."""

    children: tuple[MatrixExpr]

    def __init__(self, of: MatrixExpr) -> None:
        if of.rows != of.cols:
            raise ShapeError(f"trace of a {of.rows} x {of.cols} matrix")
        self.children = (of,)


class ScalarSum(ScalarExpr):
    """The sum of two scalars."""

    def __init__(self, left: ScalarExpr, right: ScalarExpr) -> None:
        self.children = (left, right)


class ScalarProduct(ScalarExpr):
    """The product of two scalars."""

    children: tuple[ScalarExpr, ScalarExpr]

    def __init__(self, left: ScalarExpr, right: ScalarExpr) -> None:
        self.children = (left, right)


class Form:
    """A symmetric bilinear form on ``rows x cols`` matrices, such as the second derivative of a loss.

    Call it with two matrices: ``H(D, E)``. No formula for it is assumed, so what is proved holds for every
    symmetric form.
    """

    def __init__(self, name: str, rows: Dim, cols: Dim) -> None:
        self.name = as_text(name, "name")
        self.rows, self.cols = sympy.sympify(_dim(rows, "rows")), sympy.sympify(_dim(cols, "cols"))

    def __call__(self, left: MatrixExpr, right: MatrixExpr) -> ScalarExpr:
        """Return the value at two matrices."""
        return FormValue(self, left, right)


class FormValue(ScalarExpr):
    """The value of a bilinear form at two matrices."""

    children: tuple[MatrixExpr, MatrixExpr]

    def __init__(self, form: Form, left: MatrixExpr, right: MatrixExpr) -> None:
        for argument in (left, right):
            if (argument.rows, argument.cols) != (form.rows, form.cols):
                raise ShapeError(
                    f"form {form.name} takes {form.rows} x {form.cols} matrices, got {argument.rows} x {argument.cols}"
                )
        self.form = form
        self.children = (left, right)


class ScalarDerivative(_Derivative, ScalarExpr):
    """That of a scalar expression."""

    children: tuple[ScalarExpr]


def dims(names: str) -> Any:
    """Return symbolic dimensions, ``m, n, r = dims("m n r")``."""
    return sympy.symbols(_names(names), integer=True, positive=True)


def scalars(names: str, **assumptions: bool) -> Any:
    """Return SymPy symbols; positive unless other `assumptions` are given."""
    return sympy.symbols(_names(names), **(assumptions or {"positive": True}))


def _names(names: str) -> str:
    if not as_text(names, "names").strip(" ,"):
        raise ValueError(f"names: expected names of symbols, got {names!r}")
    return names


def _dim(value: Dim, argument: str) -> Dim:
    """Return a number of rows or columns: a positive integer, or an expression that stands for one."""
    return value if isinstance(value, sympy.Expr) else as_integer(value, argument, 1)


def matrix(name: str, rows: Dim, cols: Dim, *, symmetric: bool = False) -> Symbol:
    """Return a matrix symbol."""
    return Symbol(as_text(name, "name"), _dim(rows, "rows"), _dim(cols, "cols"), as_flag(symmetric, "symmetric"))


def vector(name: str, rows: Dim) -> Symbol:
    """Return a column vector."""
    return Symbol(as_text(name, "name"), _dim(rows, "rows"), 1)


def eye(dim: Dim) -> MatrixExpr:
    """Return the identity matrix."""
    return IdentityMatrix(_dim(dim, "dim"))


def zeros(rows: Dim, cols: Dim) -> MatrixExpr:
    """Return the zero matrix."""
    return Zero(_dim(rows, "rows"), _dim(cols, "cols"))


def as_expr(value: Any, argument: str = "value") -> Any:
    """Return an expression as it is, and a number as a constant."""
    return value if isinstance(value, Expr) else as_scalar(value, argument)


def scalar(value: ScalarLike) -> ScalarExpr:
    """Return `value` as a scalar expression."""
    return as_scalar(value, "value")


def as_scalar(value: ScalarLike, argument: str) -> ScalarExpr:
    """Return a value as a scalar expression; errors call it `argument`."""
    if isinstance(value, ScalarExpr):
        return value
    try:
        return Constant(value)
    except (TypeError, ValueError, AttributeError) as error:
        raise TypeError(f"{argument}: expected a number or a scalar expression, got {shown(value)}") from error


def shape_of(part: Any) -> tuple[Dim, Dim] | None:
    """Return the numbers of rows and columns of a matrix or of what a form takes, and None for a number."""
    return (part.rows, part.cols) if isinstance(part, MatrixExpr | Form) else None


def is_of_shape(shape: tuple[Dim, Dim] | None, other: tuple[Dim, Dim] | None) -> bool:
    """Whether two shapes are equal, however their sizes are written."""
    if shape is None or other is None:
        return shape is other
    return all(sympy.expand(size - wanted) == 0 for size, wanted in zip(shape, other, strict=True))


def shape_in_words(shape: tuple[Dim, Dim] | None) -> str:
    """Return a shape as a text: ``m x n``, or that it is a number."""
    return "a number" if shape is None else f"{shape[0]} x {shape[1]}"


def tr(of: MatrixExpr) -> ScalarExpr:
    """Return the trace."""
    return ScalarTrace(as_instance(of, "of", MatrixExpr))


def inner(left: MatrixExpr, right: MatrixExpr) -> ScalarExpr:
    """Return the trace inner product ``<left, right> = tr(left^T right)``."""
    as_instance(left, "left", MatrixExpr)
    as_instance(right, "right", MatrixExpr)
    if (left.rows, left.cols) != (right.rows, right.cols):
        raise ShapeError(f"inner product of {left.rows} x {left.cols} and {right.rows} x {right.cols}")
    return ScalarTrace(Product(Transpose(left), right))


def square(of: MatrixExpr | ScalarLike) -> ScalarExpr:
    """Return the squared Frobenius norm of a matrix, or the square of a scalar."""
    if isinstance(of, MatrixExpr):
        return inner(of, of)
    return as_scalar(of, "of") * as_scalar(of, "of")


def gradient(of: ScalarExpr, symbol: Symbol) -> MatrixExpr:
    """Return the gradient of a trace polynomial in a matrix symbol."""
    return Gradient(as_instance(of, "of", ScalarExpr), as_instance(symbol, "symbol", Symbol))


def derivative(of: Any, along: Mapping[Symbol, MatrixExpr], order: int = 1) -> Any:
    """Return the `order`-th derivative of ``e -> of(symbol + e * direction)`` at ``e = 0``."""
    as_instance(of, "of", (MatrixExpr, ScalarExpr))
    for symbol, direction in as_instance(along, "along", Mapping).items():  # type: ignore[type-abstract]
        as_instance(symbol, "along", Symbol)
        as_instance(direction, "along", MatrixExpr)
    names = [symbol.name for symbol in along]
    if len({*names}) < len(names):
        raise ValueError(f"along: expected each symbol once, got {', '.join(names)}")
    as_integer(order, "order", 1, 100)
    return (MatrixDerivative if isinstance(of, MatrixExpr) else ScalarDerivative)(of, along, order)


def _require(fits: bool, verb: str, left: MatrixExpr, right: MatrixExpr) -> None:
    if not fits:
        raise ShapeError(f"cannot {verb} {left.rows} x {left.cols} and {right.rows} x {right.cols}")
