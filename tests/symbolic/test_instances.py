"""Instances of facts, and expressions with others in the place of symbols."""

from __future__ import annotations

import re

import pytest
import sympy

from lorasolve.symbolic import (
    Fact,
    Form,
    Inequality,
    Property,
    ScalarCheck,
    Schema,
    Square,
    SumOfSquares,
    Theorem,
    dims,
    eye,
    inner,
    matrix,
    scalars,
    square,
    tr,
)
from lorasolve.symbolic.checks import Outcome
from lorasolve.symbolic.export import document
from lorasolve.symbolic.normal import Rules, is_zero, normal_form
from lorasolve.symbolic.restated import fault_of_schema
from lorasolve.symbolic.substitution import substituted
from lorasolve.symbolic.taken import told_as
from lorasolve.symbolic.written import filled
from proofs.facts import (
    DISTANCE,
    DUAL_NORM,
    FACTS,
    NUCLEAR,
    OPERATOR_NORM,
    SPECTRAL,
    VALUE_AT_LEAST,
    VALUE_AT_MOST,
    WEYL,
)
from proofs.verify import verdicts

m, n, p = dims("m n p")
A, B, G, X, W = matrix("A", m, n), matrix("B", m, n), matrix("G", m, n), matrix("X", m, n), matrix("W", n, p)
s, nu, t = scalars("s nu t")
v = scalars("v", real=True)
IS = Property("{} is one")


def same(left, right):
    return is_zero(normal_form(left - right, Rules(())))


def test_symbols_are_replaced_all_at_once():
    assert same(substituted(inner(A, 2 * B), {A: B, B: A}), inner(B, 2 * A))
    assert same(substituted(v**2 * tr(A.T @ B) + v, {v: square(A)}), square(A) * square(A) * inner(A, B) + square(A))
    assert same(substituted(3 * m * v**2 + v * m, {v: tr(A.T @ B)}), 3 * m * inner(A, B) ** 2 + m * inner(A, B))


def test_a_trace_in_a_denominator_is_refused():
    with pytest.raises(TypeError, match="no polynomial in v"):
        substituted(1 / v, {v: square(A)})


def test_both_sides_of_an_instance_are_built():
    premise = DUAL_NORM.instance("pairing", SPECTRAL(G, 2 * s), NUCLEAR(A - X, nu))
    assert same(premise.lhs, inner(G, A - X)) and same(premise.rhs, 2 * s * nu * tr(eye(1)))


def test_side_conditions_are_printed_as_assumptions():
    premise = OPERATOR_NORM.instance("product", SPECTRAL(G, s), W=W)
    check = Inequality("product", "", square(G @ W), s**2 * square(W), proof=[premise])
    assert check.prove().holds and check.assumed == ("||G||_2 <= s [operator norm]",)


def test_a_difference_in_a_side_condition_is_printed_as_one():
    """sigma_1(A) >= 2, sigma_1(B - C) <= 0, |A - B - C| <= 0 hold at the numbers 2, 1 and 1, and 2 <= 0 does not."""
    a = scalars("a")
    b, d = scalars("b d", nonnegative=True)
    C = matrix("C", m, n)
    premise = WEYL.instance("moved", VALUE_AT_LEAST(1, A, a), VALUE_AT_MOST(1, B - C, b), DISTANCE(A, B - C, d))
    check = Inequality("moved", "", a, b + d, proof=[premise])
    assert check.prove().holds
    (distance,) = (re.match(r"\|\|(.*)\|\|_2 <= d ", part)[1] for part in check.assumed if "<= d" in part)
    assert abs(eval(distance, {"A": 2, "B": 1, "C": 1})) > 0  # so that it is not assumed there that it is 0


@pytest.mark.parametrize(
    ("template", "texts", "words"),
    [
        ("||{} - {}||_2 <= {}", ("A - B", "C + D", "x + y"), "||(A - B) - (C + D)||_2 <= x + y"),
        ("rank {} <= {}", ("A + B", "k - 1"), "rank (A + B) <= k - 1"),
        ("sigma_{}({}) >= {}", ("r + 1", "A - B", "-x"), "sigma_(r + 1)(A - B) >= -x"),
        ("{}^2 <= {}{}", ("x + y", "z - x", "a*b"), "(x + y)^2 <= (z - x)a*b"),
        ("{} is near {}", ("A*B^T", "C - D"), "A*B^T is near (C - D)"),
    ],
)
def test_a_sum_among_words_stands_in_brackets(template, texts, words):
    assert filled(template, texts) == words


def test_the_second_checker_asks_for_the_brackets_too():
    near = Property("|{} - {}| <= {}")
    fact = Fact("near", "t <= s", "nowhere", schemas=(Schema("near", t, s, {near(X, G, s): (), IS(t): ()}),))
    premise = fact.instance("near", near(A, B - X, s), IS(t))
    check = Inequality("near", "", t, s, proof=[premise])
    content = document({"own": Theorem("", (check,))})
    assert verdicts(content) == {"own.near": None}
    said = content["checks"][0]["assumed"][0]
    said["name"] = said["name"].replace("(B - X)", "B - X")
    assert "renamed" in verdicts(content)["own.near"]


@pytest.mark.parametrize(
    ("name", "sides", "free", "reason"),
    [
        ("pairs", (SPECTRAL(G, s), NUCLEAR(X, nu)), {}, "has the schemas"),
        ("pairing", (SPECTRAL(G, s),), {}, "sides: expected"),
        ("pairing", (NUCLEAR(X, nu), SPECTRAL(G, s)), {}, "sides: expected"),
        ("pairing", (SPECTRAL(G, s), NUCLEAR(X, nu)), {"V": W}, "has no matrix V"),
    ],
)
def test_what_is_no_instance_is_refused_by_name(name, sides, free, reason):
    with pytest.raises(ValueError, match=reason):
        DUAL_NORM.instance(name, *sides, **free)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: OPERATOR_NORM.instance("product", SPECTRAL(3, s), W=W), r"sides\[X\]: expected a MatrixExpr, got 3"),
        (lambda: OPERATOR_NORM.instance("product", SPECTRAL(G, A), W=W), r"sides\[s\]: expected a number or a scalar"),
        (lambda: OPERATOR_NORM.instance("product", SPECTRAL(G, s), W=3), r"free\[W\]: expected a MatrixExpr, got 3"),
        (lambda: OPERATOR_NORM.instance("product", SPECTRAL(G, s), W=A), "sides: operator norm, product, does not fit"),
        (lambda: OPERATOR_NORM.instance("product", "G <= s", W=W), "sides: expected a Side, got 'G <= s'"),
        (lambda: SPECTRAL(G, None), "parts: expected a number or a scalar expression, got None"),
        (lambda: SPECTRAL(G, s, by=("one",)), "by: expected checks, got 'one'"),
        (lambda: Property("rank {0} <= {1}"), "template: expected words with {} for each part"),
        (lambda: Fact(" ", "0 <= 1", "nowhere"), "name: expected the name of a fact, got ' '"),
        (lambda: Fact("f", None, "nowhere"), "statement: expected a text, got None"),
        (lambda: Fact("f", "0 <= 1", ["nowhere"]), "reference: expected a text, got"),
        (lambda: Fact("f", "0 <= 1", "nowhere", schemas=[]), "schemas: expected a tuple, got"),
        (lambda: Fact("f", "0 <= 1", "nowhere", schemas=(3,)), r"schemas\[0\]: expected a Schema, got 3"),
    ],
)
def test_parts_of_an_instance_of_another_kind_are_refused_by_their_names(made, message):
    """Most of them ended in an error about an attribute, where the proof was made or tried."""
    with pytest.raises((TypeError, ValueError), match=message):
        made()


def test_a_property_of_the_wrong_number_of_parts_is_refused():
    with pytest.raises(ValueError, match="speaks of 2, got 1"):
        SPECTRAL(G)


def proof_by(premise, lhs, rhs):
    return Inequality("check", "", lhs, rhs, proof=[premise]).prove()


def test_a_bound_that_may_be_negative_is_refused():
    premise = DUAL_NORM.instance("pairing", SPECTRAL(G, v), NUCLEAR(X, nu))
    outcome = proof_by(premise, inner(G, X), v * nu)
    assert outcome == Outcome(False, f"{premise.name}: v is not shown to have the sign that s declares")


def test_only_a_symmetric_symbol_stands_for_one_in_an_instance():
    """|A|^2 <= tr A^2 holds for symmetric matrices, and for [[0, 1], [0, 0]] it says 1 <= 0."""
    S, T, C = (matrix(name, m, m, symmetric=True) for name in "STC")
    D = matrix("D", m, m)
    schema = Schema("squared", square(S), tr(S @ S), {IS(S): ()})
    fact = Fact("a square", "|S|^2 <= tr S^2", "nowhere", schemas=(schema,))

    def outcome(value):
        return proof_by(fact.instance("squared", IS(value)), square(value), tr(value @ value))

    assert outcome(T).holds
    assert [outcome(value).holds for value in (D, D + D.T, T + C)] == [False] * 3
    assert "S is symmetric" in outcome(D).detail


def test_a_vector_in_a_schema_stands_for_vectors():
    """|w|^4 <= |w w^T|^2 holds for vectors, and for the identity of two rows it says 4 <= 2."""
    w, z, Z = matrix("w", m, 1), matrix("z", n, 1), matrix("Z", n, 2)
    schema = Schema("outer", square(w) * square(w), square(w @ w.T), {IS(w): ()})
    fact = Fact("a vector", "|w|^4 <= |w w^T|^2", "nowhere", schemas=(schema,))

    def outcome(value):
        return proof_by(fact.instance("outer", IS(value)), square(value) * square(value), square(value @ value.T))

    assert outcome(z).holds
    assert "Z has other sizes than w" in outcome(Z).detail


def test_a_size_of_a_schema_stands_for_one_size():
    """(tr Z)^2 <= n |Z|^2 for n rows; with the size of another, 1, it says 4 <= 2 of two rows."""
    Y, Z, D, E, F = (matrix(name, rows, rows) for name, rows in zip("YZDEF", (n, n, m, m, p)))
    schema = Schema("traced", tr(Z) ** 2, n * square(Z), {IS(Y): (), IS(Z): ()})
    fact = Fact("a trace", "(tr Z)^2 <= n |Z|^2", "nowhere", schemas=(schema,))

    def outcome(value):
        return proof_by(fact.instance("traced", IS(D), IS(value)), tr(value) ** 2, m * square(value))

    assert outcome(E).holds
    assert "F has other sizes than Z" in outcome(F).detail


def test_a_size_of_a_schema_is_the_same_in_a_multiple_of_it():
    """(tr Z)^2 <= 2 n |Z|^2 for 2 n rows, and with 1 for the n in 2 n alone it says 16 <= 8 of the identity of four."""
    Y, Z, D, E, F = (matrix(name, rows, rows) for name, rows in zip("YZDEF", (n, 2 * n, m, 2 * m, 2 * n)))
    schema = Schema("traced", tr(Z) ** 2, 2 * n * square(Z), {IS(Y): (), IS(Z): ()})
    fact = Fact("a trace", "(tr Z)^2 <= 2 n |Z|^2", "nowhere", schemas=(schema,))

    def outcome(value):
        return proof_by(fact.instance("traced", IS(D), IS(value)), tr(value) ** 2, 2 * m * square(value))

    assert outcome(E).holds
    assert "F has other sizes than Z" in outcome(F).detail


def test_what_is_shown_of_vectors_is_no_schema_about_matrices():
    """|w|^4 = |w w^T|^2 for vectors, and for the identity of two rows it says 4 = 2."""
    w = matrix("w", m, 1)
    of_vectors = SumOfSquares("shown", "", square(w) ** 2, square(w @ w.T) + v**2, proof=[Square(v)])

    def fault(Y):
        above = square(Y @ Y.T) + v**2
        schema = Schema("outer", square(Y) ** 2, above, {IS(Y): (), IS(v): ()}, of_vectors, {Y: w})
        return fault_of_schema(schema, proved=True)

    assert fault(matrix("y", n, 1)) is None
    assert fault(matrix("Y", n, p)) == "outer: Y has other sizes than w"


def test_a_matrix_of_a_schema_is_known_by_its_name():
    """||Y||^2 <= t + v^2 where ||Y||^2 <= t: that ||A||^2 <= t says nothing of B, however often Y was made."""
    Y, again, small = matrix("Y", m, n), matrix("Y", m, n), Property("||{}||^2 <= {}")
    schema = Schema("small", square(Y), t + v**2, {small(Y, t): (), IS(again): (), IS(v): ()})
    fact = Fact("lengths", "||Y||^2 <= t + v^2", "nowhere", schemas=(schema,))
    premise = fact.instance("small", small(A, t), IS(A), IS(v))
    assert proof_by(premise, 2 * square(A), t + v**2 + square(A)).holds
    with pytest.raises(ValueError, match="sides: Y is A and B"):
        fact.instance("small", small(A, t), IS(B), IS(v))


def test_how_a_matrix_is_read_is_told_of_what_stands_for_it():
    """The schema has Y twice: as its side condition and in what its proof reads as 2 B."""
    Y, again = matrix("Y", m, n), matrix("Y", m, n)
    shown = Inequality("shown", "", 0, 4 * square(B), proof=[4 * Square(B)])
    schema = Schema("doubled", 0, square(Y), {IS(Y): ()}, shown, {again: 2 * B})
    premise = Fact("doubles", "0 <= ||Y||^2", "nowhere", "here", (schema,)).instance("doubled", IS(A))
    check = Inequality("check", "", 0, 2 * square(A), proof=[2 * premise])
    assert check.assumed == ("A is one [doubles]", "A is read as 2*B [doubles]")


def test_what_the_proof_declares_of_a_reading_is_told():
    """0 <= a + b for a, b > 0: of a real number that is read as a + b that is a hypothesis."""
    a, b = scalars("a b")
    shown = Inequality("shown", "", 0, a + b, proof=[a + b])
    schema = Schema("sum", 0, v, {IS(v): ()}, shown, {v: a + b})
    premise = Fact("sums", "0 <= v", "nowhere", "here", (schema,)).instance("sum", IS(v))
    check = Inequality("check", "", 0, 2 * v, proof=[2 * premise])
    assert check.assumed[1:] == ("v is read as a + b, a positive, b positive [sums]",)


def test_whole_numbers_and_those_that_are_not_zero_are_told_in_a_reading():
    """1 <= w^2 for every whole number but 0, and 1/4 is a square too."""
    w, q = sympy.Symbol("w", integer=True, nonzero=True), sympy.Symbol("q", nonzero=True)
    shown = ScalarCheck("shown", "", 1, w**2, relation="<=")
    premise = Fact("squares", "1 <= v", "nowhere", "here", (Schema("one", 1, v, {IS(v): ()}, shown, {v: w**2}),))
    check = Inequality("check", "", 2, 2 * t, proof=[2 * premise.instance("one", IS(t))])
    assert check.prove().holds and check.assumed[1:] == ("t is read as w^2, w real and nonzero and whole [squares]",)
    assert told_as(m * q + p) == "m*q + p, m dimension, p dimension, q real and nonzero"


def test_a_form_is_part_of_no_side_condition():
    with pytest.raises(TypeError, match="got the form H"):
        IS(Form("H", m, n))


def test_symbols_of_a_schema_have_names_of_their_own():
    """0 <= t + v for t > 0: with a real number called t beside it, texts would not tell which of them is meant."""
    other = scalars("t", real=True)
    of_one = Schema("all", 0, square(v) + t, {IS(t): (), IS(v): ()})
    of_both = Schema("all", 0, square(v) + t, {IS(t): (), IS(v): (), IS(other): ()})
    assert fault_of_schema(of_one, proved=False) is None
    assert fault_of_schema(of_both, proved=False) == "all: two different symbols are printed t"


def test_a_symbol_without_a_value_is_refused():
    premise = OPERATOR_NORM.instance("product", SPECTRAL(G, s))
    outcome = proof_by(premise, premise.lhs, premise.rhs)
    assert not outcome.holds and "speaks of W" in outcome.detail


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_each_schema_says_what_the_check_behind_it_says(fact):
    assert fact.schemas
    for schema in fact.schemas:
        assert fault_of_schema(schema, bool(fact.proved_by)) is None
