"""Exact matrices of fractions, as plain lists: the independent route on which every proof is tested."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from math import gcd, lcm
from operator import mul
from random import Random
from typing import TypeAlias

RationalMatrix: TypeAlias = list[list[Fraction]]


class Unfit(Exception):
    """The drawn dimensions or numbers do not admit the assumption; draw again."""


def rational(rows: Sequence[Sequence[object]]) -> RationalMatrix:
    """Return nested numbers as fractions, ``rational([[1, "1/2"]])``."""
    return [[Fraction(entry) for entry in row] for row in rows]  # type: ignore[call-overload]


def shape(matrix: RationalMatrix) -> tuple[int, int]:
    """Return the numbers of rows and columns."""
    return len(matrix), len(matrix[0])


def identity(dim: int) -> RationalMatrix:
    """Return the identity."""
    return [[Fraction(int(i == j)) for j in range(dim)] for i in range(dim)]


def zeros(rows: int, cols: int) -> RationalMatrix:
    """Return the zero matrix."""
    return [[Fraction(0)] * cols for _ in range(rows)]


def diagonal(entries: Sequence[Fraction | int], rows: int | None = None, cols: int | None = None) -> RationalMatrix:
    """Return a (possibly rectangular) diagonal matrix."""
    result = zeros(rows or len(entries), cols or len(entries))
    for i, entry in enumerate(entries):
        result[i][i] = Fraction(entry)
    return result


def transpose(matrix: RationalMatrix) -> RationalMatrix:
    """Return the transpose."""
    return [list(column) for column in zip(*matrix, strict=True)]


def multiply(*factors: RationalMatrix) -> RationalMatrix:
    """Return the product from left to right."""
    result = factors[0]
    for factor in factors[1:]:
        if len(result[0]) != len(factor):
            raise ValueError(f"factors: a matrix with {len(result[0])} columns times one with {len(factor)} rows")
        columns = [_whole(column) for column in zip(*factor, strict=True)]
        rows = [_whole(row) for row in result]
        result = [[Fraction(sum(map(mul, row, column)), d * e) for column, e in columns] for row, d in rows]
    return result


def _whole(vector: Sequence[Fraction]) -> tuple[list[int], int]:
    """Return whole numbers and what they are to be divided by: products of fractions cost several times as much."""
    divisor = lcm(*(entry.denominator for entry in vector))
    return [entry.numerator * (divisor // entry.denominator) for entry in vector], divisor


def add(left: RationalMatrix, right: RationalMatrix, factor: Fraction | int = 1) -> RationalMatrix:
    """Return ``left + factor * right``."""
    if factor == 1:
        return [[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(left, right, strict=True)]
    return [[a + factor * b for a, b in zip(x, y, strict=True)] for x, y in zip(left, right, strict=True)]


def scale(factor: Fraction | int, matrix: RationalMatrix) -> RationalMatrix:
    """Return a multiple."""
    return [[factor * entry for entry in row] for row in matrix]


def inner(left: RationalMatrix, right: RationalMatrix) -> Fraction:
    """Return the trace inner product."""
    if shape(left) != shape(right):
        raise ValueError(f"right: expected the shape {shape(left)}, got {shape(right)}")
    (u, d), (v, e) = (_whole([entry for row in matrix for entry in row]) for matrix in (left, right))
    return Fraction(sum(map(mul, u, v)), d * e)


def trace(matrix: RationalMatrix) -> Fraction:
    """Return the trace."""
    return sum((matrix[i][i] for i in range(len(matrix))), Fraction(0))


def hstack(*blocks: RationalMatrix) -> RationalMatrix:
    """Return blocks side by side."""
    return [[entry for part in parts for entry in part] for parts in zip(*blocks, strict=True)]


def eliminate(matrix: RationalMatrix) -> tuple[RationalMatrix, list[int]]:
    """Return the reduced row echelon form and its pivot columns."""
    # A multiple of a row has the same form: all is done in whole numbers, and divided at the end.
    rows = [_whole(row)[0] for row in matrix]
    pivots: list[int] = []
    for column in range(len(rows[0])):
        start = len(pivots)
        best = next((i for i in range(start, len(rows)) if rows[i][column] != 0), None)
        if best is None:
            continue
        rows[start], rows[best] = rows[best], rows[start]
        for i in range(len(rows)):
            if i != start and rows[i][column] != 0:
                rows[i] = _without(column, rows[i], rows[start])
        pivots.append(column)
        if len(pivots) == len(rows):
            break
    leads = [row[column] for row, column in zip(rows, pivots)] + [1] * (len(rows) - len(pivots))
    return [[Fraction(entry, lead) for entry in row] for row, lead in zip(rows, leads, strict=True)], pivots


def _without(column: int, row: list[int], pivot: list[int]) -> list[int]:
    """Return a multiple of a row, less one of another that makes the column 0, in the smallest whole numbers."""
    lead, factor = pivot[column], row[column]
    left = [lead * a - factor * b for a, b in zip(row, pivot, strict=True)]
    common = gcd(*left) or 1
    return [entry // common for entry in left]


def rank(matrix: RationalMatrix) -> int:
    """Return the exact rank."""
    return len(eliminate(matrix)[1])


def inverse(matrix: RationalMatrix) -> RationalMatrix:
    """Return the exact inverse; raise :class:`Unfit` if there is none."""
    return _solved(matrix, identity(len(matrix)))


def _solved(matrix: RationalMatrix, right: RationalMatrix) -> RationalMatrix:
    """Return the inverse times `right`; raise :class:`Unfit` if there is none."""
    dim = len(matrix)
    reduced, pivots = eliminate(hstack(matrix, right))
    if pivots != list(range(dim)):
        raise Unfit("singular matrix")
    return [row[dim:] for row in reduced]


def complement(columns: RationalMatrix) -> RationalMatrix:
    """Return the orthogonal projection onto the complement of the column span."""
    gram = multiply(transpose(columns), columns)
    return add(identity(len(columns)), multiply(columns, inverse(gram), transpose(columns)), -1)


def random_fraction(rng: Random, size: int = 4) -> Fraction:
    """Return a small random fraction."""
    return rng.choice(_fractions(size))


@cache
def _fractions(size: int) -> list[Fraction]:
    """Return small fractions to choose from, whole numbers twice as often as halves and thirds."""
    return [Fraction(above, below) for above in range(-size, size + 1) for below in (1, 1, 2, 3)]


def random_matrix(rng: Random, rows: int, cols: int, size: int = 4) -> RationalMatrix:
    """Return a matrix of small random fractions."""
    return [rng.choices(_fractions(size), k=cols) for _ in range(rows)]


def random_orthogonal(rng: Random, dim: int) -> RationalMatrix:
    """Return a random rational orthogonal matrix."""
    return random_orthonormal(rng, dim, dim)


def random_orthonormal(rng: Random, rows: int, cols: int) -> RationalMatrix:
    """Return random rational orthonormal columns, by Cayley's transform; raise :class:`Unfit` if there are none."""
    if cols > rows:
        raise Unfit("more orthonormal columns than rows")
    skew = zeros(rows, rows)
    for i in range(rows):
        for j in range(i):
            skew[i][j] = random_fraction(rng, 2)
            skew[j][i] = -skew[i][j]
    order = list(range(rows))
    rng.shuffle(order)
    sign = 1 if rows > 1 else rng.choice((-1, 1))
    # Columns of (I - S) (I + S)^-1 = 2 (I + S)^-1 - I.
    chosen = [[Fraction(int(i == j)) for j in order[:cols]] for i in range(rows)]
    return scale(sign, add(scale(2, _solved(add(identity(rows), skew), chosen)), chosen, -1))


def made_orthonormal(rng: Random, columns: RationalMatrix) -> RationalMatrix:
    """Return orthonormal columns as they are, and as many random ones of their length for any others."""
    rows, cols = shape(columns)
    same = multiply(transpose(columns), columns) == identity(cols)
    return columns if same else random_orthonormal(rng, rows, cols)
