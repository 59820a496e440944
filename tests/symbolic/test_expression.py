"""Expressions know their shapes and refuse what does not fit."""

from __future__ import annotations

import pytest
import sympy

from lorasolve.symbolic import (
    Form,
    ShapeError,
    derivative,
    dims,
    eye,
    gradient,
    inner,
    matrix,
    scalars,
    square,
    tr,
    zeros,
)
from lorasolve.symbolic.evaluate import evaluate

m, n, r = dims("m n r")
A, B, G, S = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n), matrix("S", r, r, symmetric=True)


def test_shapes_of_products_and_transposes():
    product = (A @ B.T).T @ G
    assert (product.rows, product.cols) == (n, n)


@pytest.mark.parametrize(
    "combine",
    [
        lambda: A @ B,
        lambda: A + B,
        lambda: A - A.T,
        lambda: tr(A),
        lambda: inner(A, B),
        lambda: matrix("S", m, n, symmetric=True),
        lambda: Form("H", m, n)(A, G),
        lambda: zeros(m, r) + eye(m),
    ],
)
def test_wrong_shapes_are_refused(combine):
    with pytest.raises(ShapeError):
        combine()


def test_scalars_mix_with_sympy_from_both_sides():
    lam = scalars("lambda")
    assert isinstance(lam * square(A), type(square(A) * lam))
    assert (lam * A).rows == m
    assert isinstance(2 - square(A) / lam, type(square(A) + 1))


def test_scalars_are_positive_unless_told_otherwise():
    assert scalars("x").is_positive
    assert scalars("y", real=True).is_positive is None


def test_a_symbol_moves_in_one_direction():
    with pytest.raises(ValueError, match="along: expected each symbol once, got A, A"):
        derivative(square(A), {A: A, matrix("A", m, r): 2 * A})


def test_gradient_in_a_symmetric_symbol_is_refused():
    with pytest.raises(ValueError, match="symmetric"):
        gradient(tr(S), S)


@pytest.mark.parametrize("exponent", [-1, 0.5, sympy.Rational(1, 2)])
def test_powers_other_than_0_1_2_are_refused(exponent):
    with pytest.raises((TypeError, ValueError), match="exponent: "):
        tr(S) ** exponent


def test_the_power_0_is_1():
    assert evaluate(tr(S) ** 0, {"S": [[3]]}) == 1


def test_dimensions_are_positive_integers():
    assert m.is_integer and m.is_positive and isinstance(m, sympy.Symbol)
