"""Theorems as data: what is written, and that a comparison sees what a proof cannot."""

from __future__ import annotations

import pytest
import sympy

from lorasolve.symbolic import (
    Identity,
    Inequality,
    Sampled,
    ScalarCheck,
    Theorem,
    dims,
    hypothesis,
    inner,
    matrix,
    scalars,
    square,
    tr,
)
from lorasolve.symbolic.export import ExportError, as_json, differences, document, record, text

m, n = dims("m n")
A, B = matrix("A", m, n), matrix("B", m, n)
x, y = scalars("x y")


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        (square(A - 2 * B), "tr((A - 2*B)^T*(A - 2*B))"),
        (tr(A @ B.T @ (A @ B.T).T), "tr(A*B^T*(A*B^T)^T)"),
        (inner(A, B) * (1 - x / 2) / y, "1/y*tr(A^T*B)*(1 - x/2)"),
        ((x - y) ** 2 / (x + y), "(x - y)^2/(x + y)"),
        (x ** (m / m) / (3 * y**2), "x/3/y^2"),
    ],
)
def test_expressions_are_written_as_people_read_them(expression, written):
    assert text(expression) == written


def test_a_power_of_a_power_has_brackets():
    """x^2^3 is x^8 to those who read it, as x**2**3 is to Python."""
    power = sympy.Pow(x**2, 3, evaluate=False)
    assert sympy.sympify(text(power).replace("^", "**"), locals={"x": x}) == x**6


def test_what_cannot_be_written_is_named():
    with pytest.raises(ExportError, match="contains exp"):
        record("t.c", ScalarCheck("c", "", sympy.exp(x), sympy.exp(x) + x, relation="<="), {})
    with pytest.raises(ExportError, match="numeric: SAMPLED"):
        record("t.c", Sampled("c", "", lambda rng: 1.0), {})


def pinned(sign="positive"):
    z = scalars("z", **{sign: True})
    bound = hypothesis("x <= z", x, z)
    return document({"t": Theorem("", [Inequality("c", "x <= z + z", x, 2 * z, proof=[bound, z])])})


def test_a_record_holds_statement_proof_and_a_witness():
    (check,) = pinned()["checks"]
    assert (check["lhs"], check["relation"], check["rhs"]) == ("x", "<=", "2*z")
    assert check["premises"]["x <= z"] == {"lhs": "x", "relation": "<=", "rhs": "z", "facts": [], "source": None}
    assert check["proof"][1] == {"coefficient": "z", "factors": []}
    assert float(eval(check["witness"]["x"])) <= float(eval(check["witness"]["z"]))
    assert as_json(pinned()) == as_json(pinned())


def test_a_sign_more_is_seen_in_the_comparison():
    found = differences(pinned("nonnegative"), pinned("positive"))
    assert found == {"t.c": ["scalars, z was nonnegative, is positive"]}
    assert differences(pinned(), pinned()) == {}


def test_sizes_that_became_equal_are_seen_in_the_comparison():
    def statement(cols):
        C = matrix("C", m, cols)
        return document({"t": Theorem("", [Identity("c", "", square(2 * C), 4 * square(C))])})

    assert "matrices, C was" in differences(statement(n), statement(m))["t.c"][1]


@pytest.mark.parametrize(("sign", "written"), [("positive", "dimension"), ("nonnegative", "nonnegative")])
def test_a_whole_number_is_a_size_only_if_it_is_at_least_1(sign, written):
    k = scalars("k", integer=True, **{sign: True})
    assert record("t.c", ScalarCheck("c", "", 0, k, relation="<="), {})["scalars"] == {"k": written}
