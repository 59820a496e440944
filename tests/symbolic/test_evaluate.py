"""The independent route: fractions, exact interpolation, rational linear algebra."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import numpy as np
import pytest
import sympy

from lorasolve.symbolic import Form, derivative, dims, eye, gradient, inner, matrix, scalars, square, tr
from lorasolve.symbolic import rational as ra
from lorasolve.symbolic.evaluate import Irrational, evaluate, number, symbols_of
from lorasolve.symbolic.expression import ShapeError

m, n, r = dims("m n r")
A, B, G = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n)
VALUES = {
    "A": ra.rational([[1, 2], [3, -1], [0, "1/2"]]),
    "B": ra.rational([[2, 0], [1, 1]]),
    "G": ra.rational([[1, -1], [0, 2], [3, "1/3"]]),
    m: Fraction(3),
    n: Fraction(2),
    r: Fraction(2),
}


def as_numpy(name):
    return np.array([[float(x) for x in row] for row in VALUES[name]])


def test_value_agrees_with_numpy():
    a, b, g = (as_numpy(name) for name in "ABG")
    value = evaluate(square(A @ B.T - G) + tr(A.T @ G @ B) + m * tr(eye(r)), VALUES)
    expected = np.sum((a @ b.T - g) ** 2) + np.trace(a.T @ g @ b) + 3 * 2
    assert float(value) == pytest.approx(expected, rel=1e-14)


def test_gradient_by_interpolation_agrees_with_the_formula():
    found = evaluate(gradient(square(A @ B.T - G) / 2, A), VALUES)
    a, b, g = (as_numpy(name) for name in "ABG")
    np.testing.assert_allclose(np.array(found, dtype=float), (a @ b.T - g) @ b, rtol=1e-14)


def test_a_derivative_along_what_moves_itself():
    # 2 <A, C> moves by 2 <A, A> as C moves by A, though ||A||^2, whose derivative it is, does not contain C.
    C = matrix("C", m, r)
    values = {**VALUES, "C": [[1] * len(row) for row in VALUES["A"]]}
    assert evaluate(derivative(derivative(square(A), {A: C}), {C: A}), values) == 2 * evaluate(square(A), VALUES)


def test_second_derivative_by_interpolation():
    found = evaluate(derivative(inner(A, A) ** 2, {A: A}, order=2), VALUES)
    norm = sum(x * x for row in VALUES["A"] for x in row)
    assert found == 12 * norm**2


def test_forms_are_sums_of_squares_of_pairings():
    H = Form("H", m, n)
    values = {**VALUES, "H": [(Fraction(2), VALUES["G"])]}
    norm = ra.inner(VALUES["G"], VALUES["G"])
    assert evaluate(H(G, G), values) == 2 * norm**2


def test_numbers_are_exact_or_refused():
    x, y = scalars("x y")
    assert number((x + 1) ** 2 / y, {x: Fraction(1, 2), y: Fraction(3)}) == Fraction(3, 4)
    assert number(sympy.sqrt(x), {x: Fraction(9, 4)}) == Fraction(3, 2)
    with pytest.raises(Irrational):
        number(sympy.sqrt(x), {x: Fraction(2)})


def test_one_name_with_two_shapes_is_refused():
    with pytest.raises(ShapeError, match="called A"):
        symbols_of(A, matrix("A", n, r))


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_random_orthogonal_is_exactly_orthogonal(dim):
    q = ra.random_orthogonal(Random(dim), dim)
    assert ra.multiply(ra.transpose(q), q) == ra.identity(dim)


@pytest.mark.parametrize("cols", [1, 3, 4])
def test_fewer_orthonormal_columns_are_the_first_ones_of_an_orthogonal_matrix(cols):
    whole, some = ra.random_orthogonal(Random(7), 4), ra.random_orthonormal(Random(7), 4, cols)
    assert some == [row[:cols] for row in whole]


def test_the_echelon_form_is_that_of_sympy():
    rng = Random(4)
    low = ra.multiply(ra.random_matrix(rng, 5, 2), ra.random_matrix(rng, 2, 4))
    for rows in (ra.random_matrix(rng, 3, 5), low, [[Fraction(0)] * 2, [Fraction(0), Fraction(-2, 3)]]):
        form, pivots = sympy.Matrix(rows).rref()
        assert ra.eliminate(rows) == (
            [[Fraction(int(e.p), int(e.q)) for e in form.row(i)] for i in range(form.rows)],
            list(pivots),
        )


def test_inverse_and_rank():
    rng = Random(1)
    matrix_ = ra.random_matrix(rng, 4, 4)
    assert ra.multiply(matrix_, ra.inverse(matrix_)) == ra.identity(4)
    low = ra.multiply(ra.random_matrix(rng, 5, 2), ra.random_matrix(rng, 2, 4))
    assert ra.rank(low) == 2 == np.linalg.matrix_rank(np.array(low, dtype=float))
    with pytest.raises(ra.Unfit):
        ra.inverse(ra.multiply(low, ra.transpose(low)))


def test_complement_projects_away():
    columns = ra.random_matrix(Random(3), 4, 2)
    projector = ra.complement(columns)
    assert ra.multiply(projector, projector) == projector
    assert ra.multiply(projector, columns) == ra.zeros(4, 2)
