"""Checks prove what is true, refuse what is not, and mutants survive unless they are really refuted."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from random import Random

import pytest
import sympy

from lorasolve.symbolic import (
    Assumption,
    Exact,
    Fact,
    Form,
    Identity,
    Inequality,
    Premise,
    Property,
    Sampled,
    ScalarCheck,
    Schema,
    Square,
    SumOfSquares,
    Theorem,
    assume,
    define,
    derivative,
    dims,
    dropped,
    equation,
    gradient,
    hypothesis,
    inner,
    matrix,
    mutant,
    named,
    orthonormal,
    positivity,
    scalar,
    scalars,
    square,
    tr,
)
from lorasolve.symbolic.assumptions import Sampler
from lorasolve.symbolic.evaluate import Irrational
from lorasolve.symbolic.export import document
from lorasolve.symbolic.matrix_checks import idle
from lorasolve.symbolic.positivity import BOUNDS, CASES, provably_nonnegative
from lorasolve.symbolic.rational import Unfit
from proofs import verify

m, n, k = dims("m n k")
A, B, P = matrix("A", m, n), matrix("B", m, n), matrix("P", m, k)
x, y, z = scalars("x y z")
t, s = scalars("t s", real=True)
P_ORTH = orthonormal(P)
ORDERED = Property("{} comes before {}")
FACT = Fact(
    "a fact", "statement", "reference", schemas=(Schema("order", *scalars("u v"), {ORDERED(*scalars("u v")): ()}),)
)


def rng():
    return Random(7)


def refuted(check, twin):
    return check.refute(twin, rng()).holds


def cauchy(**changes):
    fields = {
        "lhs": 2 * inner(A, B),
        "rhs": square(A) + square(B),
        "proof": [1 * Square(A - B)],
    }
    return SumOfSquares("cauchy", "2 <A, B> <= |A|^2 + |B|^2", **{**fields, **changes})


def test_an_identity_is_proved_and_tested():
    check = Identity("square", "", square(A + B), square(A) + 2 * inner(A, B) + square(B))
    assert check.prove().holds and check.test(rng()).holds and check.strength == "PROVED"


def test_a_false_identity_is_not_proved_and_fails_its_test():
    check = Identity("square", "", square(A + B), square(A) + square(B))
    assert not check.prove().holds
    assert not check.test(rng()).holds


def test_a_sum_of_squares_is_proved():
    assert cauchy().prove().holds and cauchy().test(rng()).holds


def test_a_negative_coefficient_is_not_accepted():
    wrong = cauchy(lhs=square(A) + square(B), rhs=2 * inner(A, B), proof=[-1 * Square(A - B)])
    verdict = wrong.prove()
    assert not verdict.holds and "non-negative" in verdict.detail


def test_a_coefficient_of_unknown_sign_is_not_accepted():
    assert not Inequality("sign", "", 0, t * square(A), proof=[t * Square(A)]).prove().holds
    assert Inequality("sign", "", 0, t**2 * square(A), proof=[t**2 * Square(A)]).prove().holds


def test_a_trace_is_no_coefficient():
    wrong = Inequality("trace", "", 0, inner(A, B) * square(A), proof=[inner(A, B) * Square(A)])
    assert not wrong.prove().holds


def test_squares_that_do_not_add_up_are_not_accepted():
    assert not cauchy(proof=[2 * Square(A - B)]).prove().holds


def test_sum_of_squares_refuses_other_inequalities():
    known = hypothesis("known", 2 * inner(A, B), square(A) + square(B))
    assert not cauchy(proof=[known]).prove().holds
    proof = [2 * known, 1 * Square(A)]
    assert Inequality("from known", "", 4 * inner(A, B), 3 * square(A) + 2 * square(B), proof=proof).prove().holds


def test_facts_are_named_and_inherited():
    known = FACT.instance("order", ORDERED(x, y))
    first = Inequality("first", "", x, y, proof=[known])
    second = Inequality("second", "", 2 * x, 2 * y, proof=[2 * first.conclusion()])
    assert first.strength == second.strength == "PROVED UNDER a fact"


def test_products_of_inequalities_are_non_negative():
    below, above = hypothesis("x <= y", x, y), hypothesis("0 <= z", 0, z)
    assert Inequality("product", "", x * z, y * z, proof=[below * above]).prove().holds


def test_equations_may_be_multiplied_by_anything():
    same = equation("t = s", t, s)
    assert Inequality("equal", "", t**3, t**2 * s, proof=[t**2 * same]).prove().holds
    assert Inequality("equal", "", t**2 * s, t**3, proof=[-(t**2) * same]).prove().holds


@pytest.mark.parametrize("factor", [t, t - 1, -x])
def test_an_inequality_is_multiplied_by_nothing_that_may_be_negative(factor):
    """From x <= y follows neither y <= x nor t x <= t y: 1 <= 2, and t may be -1."""
    ordered = hypothesis("x <= y", x, y)
    wrong = Inequality("wrong", "", factor * x, factor * y, proof=[factor * ordered])
    assert "is not provably non-negative" in wrong.prove().detail


def test_assumptions_are_used_and_can_be_dropped():
    check = Identity("isometry", "", square(P @ P.T @ A), square(P.T @ A), given=(P_ORTH,))
    assert check.prove().holds and check.test(rng()).holds
    assert refuted(check, dropped(P_ORTH))


def test_an_unnecessary_assumption_cannot_be_dropped_with_effect():
    check = Identity("adjoint", "", tr(P.T @ A @ A.T @ P), square(A.T @ P), given=(P_ORTH,))
    verdict = check.refute(dropped(P_ORTH), rng())
    assert not verdict.holds and "was proved" in verdict.detail


def test_a_mutant_that_is_true_but_not_proved_survives():
    """The proof no longer fits, yet the statement holds: without a counterexample this is no refutation."""
    verdict = cauchy().refute(mutant("constant", "3 |B|^2", rhs=square(A) + 3 * square(B)), rng())
    assert not verdict.holds and "no counterexample" in verdict.detail


def test_a_false_mutant_is_refuted_with_numbers():
    verdict = cauchy().refute(mutant("constant", "|B|^2/2", rhs=square(A) + square(B) / 2), rng())
    assert verdict.holds and "A = [[" in verdict.detail


def test_a_counterexample_must_satisfy_what_is_known():
    known = hypothesis("x <= y", x, y)
    check = Inequality("monotone", "", 2 * x, 2 * y, proof=[2 * known])
    violating = mutant("constant", "y", {x: 3, y: 2}, rhs=y)
    fitting = mutant("constant", "y", {x: 2, y: 3}, rhs=y)
    assert not refuted(check, violating)
    assert refuted(check, fitting)


def test_a_counterexample_must_satisfy_the_assumptions_and_signs():
    check = Identity("isometry", "", square(P @ P.T @ A), square(P.T @ A), given=(P_ORTH,))
    off = {P: [[2]], A: [[1]]}
    assert not refuted(check, mutant("constant", "2", off, rhs=2 * square(P.T @ A)))
    assert not refuted(Inequality("sign", "", 0, x, proof=[x]), mutant("sign", "-x", {x: -1}, lhs=x, rhs=0))


def test_a_mutant_whose_evaluation_fails_is_not_refuted_by_the_exception():
    from lorasolve.symbolic.report import _run_mutant

    report = _run_mutant(cauchy(), mutant("constant", "no value for A", {B: [[1]]}, rhs=square(A) / 2))
    assert not report.refuted and "no value to A" in report.reason
    report = _run_mutant(cauchy(), mutant("constant", "no expression", {B: [[1]], A: [[1]]}, rhs=object()))
    assert not report.refuted and "Error" in report.reason


def test_unknown_mutant_kinds_are_refused():
    with pytest.raises(ValueError, match="kind"):
        mutant("typo", "")


def test_scalar_checks():
    true = ScalarCheck("binomial", "", (x + y) ** 2, x**2 + 2 * x * y + y**2)
    assert true.prove().holds and true.test(rng()).holds
    assert refuted(true, mutant("constant", "x y", rhs=x**2 + x * y + y**2))
    bound = ScalarCheck("bound", "", x, x + y, relation="<=")
    assert bound.prove().holds and bound.test(rng()).holds
    assert refuted(bound, mutant("sign", "x - y", rhs=x - y))
    assert not ScalarCheck("exponential", "", sympy.exp(x), sympy.exp(x) + x**2 - x**2 + 1).prove().holds


@pytest.mark.parametrize("relation", ["==", "<="])
@pytest.mark.parametrize(
    "claim", [sympy.diff(x**3, x) - 3 * x**2, sympy.integrate(t, (t, 0, 1)) - sympy.Rational(1, 2), (t - s).subs(t, s)]
)
def test_what_sympy_has_worked_out_is_no_claim(claim, relation):
    outcome = ScalarCheck("name", "0 = 0", claim, 0, relation=relation).prove()
    assert not outcome.holds and "both sides are 0 as they are written" in outcome.detail


def test_one_side_twice_is_no_claim():
    assert "nothing is claimed" in Identity("name", "", A @ B.T, A @ B.T).prove().detail
    assert "nothing is claimed" in SumOfSquares("name", "", square(A), square(A), proof=[]).prove().detail
    exponential = sympy.exp(t)
    assert "nothing is claimed" in ScalarCheck("name", "", sympy.diff(exponential, t), exponential).prove().detail


@pytest.mark.parametrize(
    ("lhs", "rhs", "holds"),
    [
        (sympy.Derivative(t**3, t), 3 * t**2, True),
        (sympy.Derivative(t**3, t), 2 * t**2, False),
        (sympy.Integral(sympy.cos(t) ** 2, (t, 0, sympy.pi)), sympy.pi / 2, True),
        (sympy.Integral(sympy.cos(t) ** 2, (t, 0, sympy.pi)), sympy.pi, False),
        (sympy.Subs(t**2 - s, t, 2), 4 - s, True),
        (sympy.Min(1, 2, evaluate=False), 1, True),
    ],
)
def test_what_sympy_is_to_work_out_is_worked_out_by_the_proof(lhs, rhs, holds):
    check = ScalarCheck("name", "", lhs, rhs)
    assert check.prove().holds == check.test(rng()).holds == holds
    assert (check.counterexample(None, rng()) is None) == holds


CROSS_ENTROPY = sympy.log(1 + sympy.exp(-t))


@pytest.mark.parametrize(
    ("lhs", "rhs", "relation", "holds"),
    [
        (0, sympy.Derivative(CROSS_ENTROPY, t, 2), "<=", True),  # s (1 - s), s = 1/(1 + exp(-t))
        (sympy.Derivative(CROSS_ENTROPY, t, 2), 0, "<=", False),
        (sympy.Derivative(CROSS_ENTROPY, t), -1 / (1 + sympy.exp(t)), "==", True),
        (sympy.Derivative(CROSS_ENTROPY, t), 1 / (1 + sympy.exp(t)), "==", False),
        (0, sympy.Derivative(x * sympy.log(x), x, 2), "<=", True),
        (1, sympy.log(1 + x), "<=", False),
        (0, sympy.Max(0, t), "<=", True),  # a hinge, or a ReLU
        (sympy.Max(0, t), 0, "<=", False),
    ],
)
def test_losses_with_logarithms_and_hinges_can_be_said(lhs, rhs, relation, holds):
    check = ScalarCheck("name", "", lhs, rhs, relation=relation)
    assert check.prove().holds == check.test(rng()).holds == holds
    assert (check.counterexample(None, rng()) is None) == holds


@pytest.mark.parametrize(
    "value",
    [
        *(sympy.log(t), sympy.log(t**2), sympy.log(1 - x), sympy.Integral(sympy.log(t), (t, 0, 1))),
        sympy.sqrt(sympy.Max(sympy.log(t), t)),  # a complex number is larger than none, nor smaller
    ],
)
def test_the_logarithm_of_what_may_be_zero_or_negative_is_refused(value):
    assert "is not provably positive" in ScalarCheck("name", "", value, value + x, relation="<=").prove().detail


def test_a_hinge_has_no_derivative_where_it_bends():
    bent = sympy.Derivative(sympy.Max(0, t), t)
    assert "may run over a kink" in ScalarCheck("name", "", 0, bent, relation="<=").prove().detail


def test_an_integral_that_sympy_gets_wrong_is_refuted_by_quadrature(monkeypatch):
    check = ScalarCheck("name", "", sympy.Integral(s * sympy.cos(t), (t, 0, 1)), s * sympy.sin(1))
    assert check.prove().holds and check.test(rng()).holds
    wrong = ScalarCheck("name", "", check.lhs, s)
    monkeypatch.setattr(sympy.Integral, "doit", lambda integral, **hints: s)
    assert wrong.prove().holds
    outcome = wrong.test(rng())
    assert not outcome.holds and "and quadrature gives" in outcome.detail


@pytest.mark.parametrize("made", [{1: s**2, 2: sympy.Rational(1, 3)}, {2: sympy.Rational(1, 4)}])
def test_each_of_several_intervals_is_held_against_quadrature(made, monkeypatch):
    """The integral of t s over t from 0 to s is s^3/2, and over s from 0 to 1 that is 1/8."""
    double, right = sympy.Integral(t * s, (t, 0, s), (s, 0, 1)), sympy.Integral.doit
    assert ScalarCheck("name", "", double, sympy.Rational(1, 8)).test(rng()).holds
    assert ScalarCheck("name", "", sympy.Integral(t**3, (t, -1, 1), (s, 0, 1)), 0).test(rng()).holds
    monkeypatch.setattr(sympy.Integral, "doit", lambda self, **h: made.get(len(self.limits)) or right(self, **h))
    wrong = ScalarCheck("name", "", double, made[2])
    assert wrong.prove().holds
    outcome = wrong.test(rng())
    assert not outcome.holds and "and quadrature gives" in outcome.detail


@pytest.mark.parametrize("u", [x, scalars("u", nonnegative=True)])
@pytest.mark.parametrize("motion", [lambda u: sympy.Integral(abs(u), (u, -1, 1)), lambda u: sympy.Subs(abs(u), u, -1)])
def test_a_bound_symbol_declares_no_sign(u, motion):
    """SymPy takes |u| for u: 0 for the integral of |u| over [-1, 1], which is 1, and -1 for |-1|."""
    number = motion(u)
    assert f"runs over values of {u}" in ScalarCheck("name", "", number, number.doit()).prove().detail


def test_what_is_put_declares_no_sign_beside_what_is_put_for_a_real_number_either():
    """To SymPy both are equal: -1, which is t there, and |-1|, which it takes for x."""
    at, wrong = sympy.Subs(t, t, -1), sympy.Subs(abs(x), x, -1)
    assert at == wrong
    assert ScalarCheck("right", "", at, -1).prove().holds
    assert "runs over values of x" in ScalarCheck("wrong", "", wrong, -1).prove().detail
    both = Identity("both", "", at * square(A), scalar(wrong) * tr(A @ A.T))
    assert "runs over values of x" in both.prove().detail


@pytest.mark.parametrize("limits", [[], [(t, 0, 1)]], ids=["one", "two"])
def test_a_bound_symbol_that_is_declared_nonzero_hides_no_pole(limits):
    """SymPy takes the integral of 1/u^2 over [-x, x], which is infinite, for -2/x."""
    (u,) = scalars("u,", real=True, nonzero=True)
    wrong = ScalarCheck("name", "", sympy.Integral(1 / u**2, (u, -x, x), *limits), -2 / x)
    assert "runs over values of u" in wrong.prove().detail


def test_an_integral_up_to_what_its_variable_is_called_is_held_against_quadrature():
    check = ScalarCheck("name", "", sympy.Integral(x * t, (t, 0, t)), x * t**2 / 2)
    assert check.prove().holds and check.test(rng()).holds


def test_exact_checks_run_their_cases():
    check = Exact("even", "", lambda size: (size % 2 == 0, f"{size} mod 2 = {size % 2}"), ((2,), (4,)))
    assert check.prove().holds and check.strength == "VERIFIED"
    assert refuted(check, mutant("constant", "mod 3", run=lambda size: (size % 3 == 0, "mod 3")))


def test_sampling_never_proves_but_can_refute():
    check = Sampled("positive", "", lambda g: float(g.random()), draws=20)
    assert check.strength == "SAMPLED" and check.prove().holds
    assert refuted(check, mutant("constant", "less 1/2", margin=lambda g: float(g.random()) - 0.5))


def test_drawn_values_satisfy_the_assumptions_exactly():
    T = matrix("T", k, n)
    assumptions = (P_ORTH, define(A, P @ T))
    values = Sampler([square(A)], assumptions).draw(rng())
    assert all(a.holds(values) for a in assumptions)


def test_an_assumption_whose_sampler_contradicts_it_is_noticed():
    wrong = assume("|A|^2 = -1", (square(A), -1), impose=lambda values, rng: None)
    with pytest.raises(Unfit, match="= -1"):
        Sampler([square(A + B)], (wrong,)).draw(rng())


def test_a_form_can_be_given_in_a_counterexample():
    H = Form("H", m, n)
    bound = hypothesis("H <= |A|^2", H(A, A), square(A))
    check = Inequality("bound", "", H(A, A), 2 * square(A), proof=[bound, Square(A)])
    half = mutant("constant", "half", {A: [[1]], H: [(1, [[1]])]}, rhs=square(A) / 2)
    assert check.prove().holds and refuted(check, half)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (x, True),
        (x * y / z, True),
        (t**2, True),
        ((x**2 + 2 * x * y + y**2) / z, True),
        (x - y, False),
        (t, False),
        (-x, False),
        (1 / t, False),
        ((x + y) ** 2 - x**2, True),
        (abs(t) ** 3 + t**3 / 2, True),  # where |t| = -t, by -t >= 0: a known value that falls with t
        (abs(t) ** 3 + 2 * t**3, False),
        (m**2 - m, True),
        (m**2 - 2 * m, False),  # -1 where m is 1
        (sympy.Symbol("count", integer=True, nonnegative=True) - 1, False),  # -1 where it is 0
        (sympy.Symbol("whole", integer=True, real=True) - 1, False),
        (t + s - 2 * sympy.Min(t, s), True),
        (2 * sympy.Min(t, s) - t - s, False),
        (t * (sympy.Max(t, s) - s) ** 2, False),  # negative where s < t < 0
        (sympy.Derivative(-sympy.exp(t), t), False),  # the exponential in it is no number
    ],
)
def test_signs(value, expected):
    assert provably_nonnegative(value) is expected


def value_of(function, u, v):
    """Return what SymPy makes of a function, which may be a plain one of that name."""
    known = getattr(sympy, function.__name__)
    return known(u, v) if known in (sympy.Max, sympy.Min) else known(u)


@pytest.mark.parametrize(("function", "words"), [(f, words) for f, bounds in BOUNDS.items() for words in bounds])
def test_bounds_of_functions_are_true_and_say_what_is_put_in_their_place(function, words):
    """Each is looked at where it is tight too: exp at 0, log at 1, cos at 0 and pi, the larger of two equal numbers."""
    u, v, s = sympy.symbols("u v s", real=True)
    gap = sympy.sympify(words, locals={"u": u, "v": v})
    of = value_of(function, u, v)
    assert sympy.simplify(BOUNDS[function][words].subs(s, gap) - of) == 0
    below = [] if function is sympy.log else [-3, -sympy.pi / 2, sympy.Rational(-1, 10), 0]
    points = [
        *below,
        sympy.Rational(1, 10),
        sympy.Rational(9, 10),
        1,
        sympy.Rational(11, 10),
        sympy.pi / 2,
        sympy.pi,
        30,
    ]
    values = [gap.subs({u: a, v: b}) for a in points for b in points]
    assert min(sympy.N(value, 30) for value in values) >= 0
    assert words in verify.BOUNDS


def test_both_checkers_know_the_same_bounds_and_cases():
    assert {words for bounds in BOUNDS.values() for words in bounds} == verify.BOUNDS
    assert {f.__name__: " ".join(str(case) for case, _ in cases) for f, cases in CASES.items()} == verify.CASES


@pytest.mark.parametrize("function", CASES)
def test_a_function_of_two_cases_is_one_of_them_where_its_bound_says_so(function):
    u, v = sympy.symbols("u v", real=True)
    for a, b in product([-2, 0, 1, sympy.pi], repeat=2):
        at, cases = {u: a, v: b}, []
        for case, words in CASES[function]:
            # The number of the bound, were the function this one of the two.
            number = sympy.sympify(re.sub(r"[A-Z]\w+\(.*\)", f"({case})", words), locals={"u": u, "v": v})
            is_value = case.subs(at, simultaneous=True) == value_of(function, a, b)
            assert bool(number.subs(at, simultaneous=True) >= 0) is is_value
            cases.append(is_value)
        assert any(cases)


@pytest.mark.parametrize(
    "declared",
    [{"negative": True}, {"real": True, "positive": False}, {"integer": True, "zero": False}, {"even": True}],
)
def test_a_symbol_that_declares_what_no_example_is_drawn_for_is_refused(declared):
    """That x <= 0 where x is declared negative would be printed as if it held for all x."""
    x = sympy.Symbol("x", **declared)
    shown = ScalarCheck("c", "", -(x**2), 1, relation="<=").prove()
    assert not shown.holds and "symbol x declares" in shown.detail


def test_a_power_of_any_sign_and_any_exponent_is_refused():
    """(-1)^(1/2) is not real, whose square is negative."""
    assert "need not be real" in ScalarCheck("c", "", 0, (t**s) ** 2, relation="<=").prove().detail
    assert ScalarCheck("c", "", 0, x**s, relation="<=").prove().holds


def test_a_function_of_what_is_integrated_over_is_no_number():
    s = sympy.Symbol("s", real=True)
    assert not provably_nonnegative(sympy.Integral(sympy.exp(sympy.cos(s)), (s, 1, 0)))
    assert not provably_nonnegative(sympy.Subs(sympy.exp(s), s, -1) - 1)


def test_the_second_case_waits_until_the_first_is_seen(monkeypatch):
    """Cauchy's inequality for four numbers: no first case is seen, and no second one is looked at."""
    looked, case = [], positivity._case
    positivity.seen.cache_clear()
    monkeypatch.setattr(positivity, "_case", lambda value, known: looked.append(value) or case(value, known))
    numbers = scalars("a b c d", real=True)
    left, right = sum(map(abs, numbers)) ** 2, 4 * sum(number**2 for number in numbers)
    assert not ScalarCheck("Cauchy", "", left, right, relation="<=").prove().holds
    assert len(looked) == 4


def test_what_an_integral_is_is_asked_once(monkeypatch):
    """One that SymPy does not know takes seconds each time, and a search for a counterexample has hundreds."""
    asked, doit = [], sympy.Integral.doit
    monkeypatch.setattr(sympy.Integral, "doit", lambda self, **hints: asked.append(self) or doit(self, **hints))
    unknown = sympy.Integral(sympy.exp(sympy.sin(t)), (t, 1, 0))
    check = ScalarCheck("of what is positive, from above to below", "", 0, unknown, relation="<=")
    assert not check.prove().holds and check.counterexample(None, rng())
    assert asked.count(unknown) == 1


@pytest.mark.parametrize(
    ("least", "number", "value", "holds"),
    [
        (0, scalars("c", nonnegative=True), square(A), True),
        (0, scalars("c", nonnegative=True), 2 * square(A) * square(B) + square(B), True),
        (0, scalars("c", nonnegative=True), -square(A), False),
        (0, scalars("c", nonnegative=True), square(A) - square(B), False),
        (1, k, square(A), False),  # 1 <= |A|^2, as k is a whole number
        (0, x, square(A), False),  # that may be 0, and x > 0
    ],
)
def test_a_trace_is_put_for_a_number_whose_sign_it_has(least, number, value, holds):
    known = ScalarCheck("known", "", least, number, relation="<=")
    assert known.prove().holds
    put = Inequality("put", "", least, value, proof=[known.conclusion(put={number: value})])
    assert put.prove().holds is holds


WHOLE = sympy.Symbol("w", integer=True, nonzero=True)


@pytest.mark.parametrize(
    ("number", "least", "real"),
    [(k, k, x), (WHOLE, 1, x), (WHOLE, 1, sympy.Symbol("u", nonzero=True))],  # 1/4 is less than 1/2 and than 1
)
def test_what_is_put_for_a_whole_number_is_whole(number, least, real):
    known = ScalarCheck("known", "", least, number**2, relation="<=")
    assert known.prove().holds

    def at(value):
        low = sympy.sympify(least).subs(number, value)
        return Inequality("put", "", low, value**2, proof=[known.conclusion(put={number: value})]).prove()

    assert at(m * n).holds
    assert f"{real} is not shown to have the sign that {number} declares" in at(real).detail


def test_a_counterexample_has_the_signs_that_are_declared():
    below = ScalarCheck("below", "", 1, x, relation="<=")
    assert below.counterexample({x: sympy.Rational(1, 2)}, rng())
    assert [below.counterexample({x: number}, rng()) for number in (0, -1)] == [None, None]


def test_what_was_tried_is_said_of_a_sign_that_is_not_shown():
    softplus = ScalarCheck("softplus", "", t, sympy.log(1 + sympy.exp(t)), relation="<=")  # true, by no one bound
    assert "one bound for each of up to 3 functions, such as exp(u) >= 1 + u" in softplus.prove().detail
    assert "take a proof" in ScalarCheck("square", "", 2 * x, x**2 + 2, relation="<=").prove().detail


def test_a_number_stands_for_a_function_in_an_inequality():
    """log t is irrational at the examples, in fractions; a number in its place is any, and the step is the same."""
    tangent = ScalarCheck("tangent", "", sympy.log(x), x - 1, relation="<=")
    written = Inequality("step", "", sympy.log(x), x - 1 + t**2, proof=[tangent.conclusion(), Square(t)])
    assert written.prove().holds
    with pytest.raises(Irrational, match="let a number stand for it"):
        written.test(rng())
    named = tangent.conclusion(s, x - 1, where={s: sympy.log(x)})
    step = Inequality("step", "", s, x - 1 + t**2, proof=[named, Square(t)])
    assert step.prove().holds and step.test(rng()).holds and step.assumed == ("s is log(x)",)
    low = Inequality("step", "", s, x - 2 + t**2, proof=[named, Square(t)])
    assert not low.prove().holds


def test_an_assumption_is_idle_only_where_neither_the_proof_nor_a_conclusion_needs_it():
    """||P^T A||^2 <= ||A||^2 needs P^T P = I, and Q has no part in it; what rests on it has to assume as much."""
    other, size = orthonormal(matrix("Q", m, k)), named(t, square(A))
    sides = square(P.T @ A), square(A)
    shorter = SumOfSquares("shorter", "", *sides, proof=[1 * Square(A - P @ P.T @ A)], given=(P_ORTH, other))
    assert idle(shorter) == ["Q orthonormal"]
    shorter = replace(shorter, given=(P_ORTH,))
    twice = [2 * part for part in sides]
    step = Inequality("step", "", *twice, proof=[2 * shorter.conclusion()], given=(P_ORTH, other, size))
    assert idle(step) == ["Q orthonormal", "t is named"]
    assert idle(replace(step, given=(P_ORTH,), under=(shorter,))) == ["P orthonormal"]
    assert idle(ScalarCheck("number", "", t, t + 1, relation="<=")) == []


def test_a_derivative_may_be_taken_at_a_point_or_named_by_what_does_not_move():
    m, n, k = dims("m n k")
    A, P, Q, T = matrix("A", m, n), matrix("P", m, k), matrix("Q", k, n), matrix("T", k, n)
    residual = gradient(square(P @ T), T)
    by_name = Identity("name", "2 P^T A for A = P T.", residual, 2 * P.T @ A, given=(define(A, P @ T),))
    at_point = Identity("point", "2 P^T P Q at T = Q.", residual, 2 * P.T @ P @ Q, given=(define(T, Q),))
    assert by_name.prove().holds and at_point.prove().holds


@pytest.mark.parametrize(
    "vacuous",
    [
        Inequality("below", "2 <= 0.", 2, 0, proof=[hypothesis("t <= -1", t, -1), hypothesis("1 <= t", 1, t)]),
        Identity(
            "squared", "|A|^2 = 0.", square(A), 0, given=[define(t, s**2 + 1), define(s, t), assume("O", (A, 0 * A))]
        ),
        Identity("traced", "2 |A|^2 = -2.", 2 * square(A), -2, given=[assume("|A|^2 = -1", (tr(A.T @ A), -1))]),
        Identity("divided", "|A|^2/t t = |A|^2 at t = 0.", square(A) * (1 / t) * t**2, 0, given=[define(t, 0)]),
    ],
    ids=lambda check: check.name,
)
def test_what_holds_nowhere_is_not_proved_without_a_report_either(vacuous):
    """Each of them reduces to zero; s^2 + 1 = t = s has no real solution."""
    assert vacuous._prove().holds
    verdict = vacuous.prove()
    assert not verdict.holds and verdict.detail.startswith("no witness")


def test_assumptions_that_rewrite_without_end_prove_nothing():
    whole = matrix("W", n, n)
    endless = Identity(
        "endless", "W W W = W.", whole @ whole @ whole, whole, given=[assume("W = W W", (whole, whole @ whole))]
    )
    verdict = endless.prove()
    assert not verdict.holds and verdict.detail.startswith("given: the rules did not come to an end")


def test_a_check_that_rests_on_a_false_one_is_not_proved_without_a_report_either():
    false = cauchy(lhs=3 * inner(A, B))
    user = Inequality("twice", "", 6 * inner(A, B), 2 * square(A) + 2 * square(B), proof=[2 * false.conclusion()])
    assert user.follows().holds
    assert "check cauchy is not shown: normal form" in user.prove().detail
    assert replace(user, lhs=4 * inner(A, B), proof=[2 * cauchy().conclusion()]).prove().holds


@pytest.mark.parametrize("top", [0, 1])
def test_the_witness_of_an_inequality_leaves_its_sides_defined(top):
    """Between 0 and 0 nothing has a quotient by itself; between 0 and 1 something has."""
    between = hypothesis("0 <= t", 0, t) * hypothesis("t <= top", t, top)
    check = Inequality("quotient", "", 0, t * s**2 / (t + t**3), proof=[between])
    assert (check.witness is None) == (top == 0)


@pytest.mark.parametrize("bound", [sympy.Integral(t * s, (t, 0, 1)), sympy.Subs(t * s, t, 2)], ids=["t/2", "2 t"])
def test_what_is_defined_by_a_bound_variable_is_not_taken_for_it(bound):
    """Under s = t these are t/2 and 2 t; with t in the place of s inside they would be 1/3 and 4."""
    captured = bound.func(t * t, *bound.args[1:])
    wrong = Identity("captured", "", bound * square(A), captured * square(A), given=[define(s, t)])
    assert bound.doit().subs(s, t) != captured.doit()
    assert "would hold s fixed, which the assumptions tie to it" in wrong.prove().detail


@pytest.mark.parametrize("value", [0, s - t], ids=["t, then s", "both at once"])
def test_values_that_contain_each_others_variables_are_not_put_one_after_the_other(value):
    """SymPy puts s for t and then t for s in t - s, which makes 0 of it; at once it becomes s - t."""
    claim = ScalarCheck("swapped", "", sympy.Subs(t - s, (t, s), (s, t)), sympy.sympify(value))
    assert "does not say which is put first" in claim.prove().detail


def test_a_symmetric_symbol_moves_along_symmetric_matrices():
    """H^T is read as H: along D it would move by D, and moves by D^T."""
    H, D, E = matrix("H", n, n, symmetric=True), matrix("D", n, n), matrix("E", n, n, symmetric=True)
    wrong = Identity("transposed", "", derivative(H.T, {H: D}), D)
    assert "H is symmetric" in wrong.prove().detail and not wrong.test(rng()).holds
    for moved in (E, D + D.T, D @ E @ D.T):
        assert Identity("transposed", "", derivative(H.T @ A.T, {H: moved}), moved @ A.T).prove().holds


def test_parts_given_by_a_generator_are_gone_through_each_time():
    """Cases that are gone were all verified, and mutants that are gone all refuted."""
    odd = Exact("even", "", lambda size: (size % 2 == 0, str(size)), ((size,) for size in (2, 3, 4)))
    assert [odd.prove().holds for _ in range(3)] == [False] * 3
    true = Identity("given", "", 2 * tr(A.T @ A), 2 * x, given=iter([named(x, tr(A.T @ A))]))
    assert [true.prove().holds for _ in range(3)] == [True] * 3 and true.assumed == ("x is named",)
    twins = (mutant("sign", "", rhs=-square(A)), mutant("constant", "", rhs=square(A) / 2))
    check = cauchy(mutants=iter(twins))
    assert [len(list(check.mutants)) for _ in range(2)] == [2, 2]


def test_a_mutant_alone_is_no_list_of_mutants():
    with pytest.raises(TypeError, match="mutants: expected a list of one value or several, got Mutant"):
        cauchy(mutants=mutant("sign", "", rhs=-square(A)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": 1j}, "name: expected a text, got 1j"),
        ({"says": ["x"]}, "says: expected a text, got"),
        ({"paper": 3}, "paper: expected a text, got 3"),
        ({"margin": -1.0}, "margin: expected"),
        ({"draws": {"a": 1}}, "draws: expected"),
        ({"tolerance": -1.0}, "tolerance: expected"),
    ],
)
def test_parts_of_another_kind_are_refused_as_a_check_is_made(wrong, message):
    """The report would say it later, and of a negative tolerance nothing."""
    with pytest.raises((TypeError, ValueError), match=message):
        Sampled(**{"name": "a", "says": "b", "margin": lambda rng: 1.0} | wrong)


@pytest.mark.parametrize("name", ["A B", "A^T", "3A", "==", "A<B", "{}", "?", "A%", "A||_2", "\u03c3", "\u0410"])
def test_what_no_text_tells_apart_is_no_name(name):
    """The last is a Cyrillic letter that looks like A."""
    named = matrix(name, m, n)
    outcome = Identity("a", "b", square(named + B), square(named) + 2 * inner(named, B) + square(B)).prove()
    assert not outcome.holds and f"the symbol {name!r} is not called by a name" in outcome.detail


@pytest.mark.parametrize("name", ["A'", "A_1", "x[1]", "m.n", "T", "end", "u:v", "|a|"])
def test_names_with_signs_are_names_to_both_checkers(name):
    named = matrix(name, m, n)
    check = Identity("a", "b", square(named + B), square(named) + 2 * inner(named, B) + square(B))
    assert check.prove().holds and verify.verdicts(document({"t": Theorem("", (check,))})) == {"t.a": None}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: ScalarCheck("a", "b", x, y, relation="x"), "relation: expected '==' or '<=', got 'x'"),
        (lambda: ScalarCheck("a", "b", x, A), "rhs: expected a SymPy expression, got"),
        (lambda: Identity("a", "b", None, A), "lhs: expected a number or a scalar expression, got None"),
        (lambda: Inequality("a", "b", A, 2 * A, proof=[x]), "lhs: expected a number or a scalar expression, got"),
        (lambda: cauchy(proof=[None]), r"proof\[0\]: expected a number or a scalar expression, got None"),
        (lambda: cauchy(mutants=(3,)), r"mutants\[0\]: expected a Mutant, got 3"),
        (lambda: cauchy(given=(3,)), r"given\[0\]: expected an Assumption, got 3"),
        (
            lambda: cauchy(given=(P_ORTH, hypothesis("x <= y", x, y))),
            r"given\[1\]: expected an Assumption, got 'x <= y', a part for the proof of an inequality",
        ),
        (
            lambda: Identity("a", "b", x, y, given=[equation("x = y", x, y)]),
            r"given\[0\]: expected an Assumption, got 'x = y', a part",
        ),
        (lambda: cauchy(under=(3,)), r"under\[0\]: expected a Check, got 3"),
        (lambda: cauchy().conclusion(put=3), "put: expected a Mapping, got 3"),
        (lambda: cauchy().conclusion(where={x: None}), r"where\[x\]: expected a number or a scalar expression"),
        (lambda: hypothesis("h", None, x), "lhs: expected a number or a scalar expression, got None"),
        (lambda: Premise("h", x, x, equal=1j), "equal: expected True or False, got 1j"),
        (lambda: Premise(None, x, x), "name: expected a text, got None"),
        (lambda: assume("a", (A, None)), r"equations\[0\]: expected a number or a scalar expression, got None"),
        (lambda: assume("a", A), r"equations\[0\]: expected a pair \(left, right\), got"),
        (lambda: Assumption("a", 0.5, print), "equations: expected a tuple, got 0.5"),
        (lambda: Assumption("a", [(A, B)], print), "equations: expected a tuple, got"),
        (lambda: define(A, x), "by: expected a MatrixExpr, got x"),
        (lambda: define(A, B.T), r"equations\[0\]: expected two sides of one shape, got m x n and n x m"),
        (
            lambda: assume("a", (x, y), (A, 1)),
            r"equations\[1\]: expected .* one shape, got m x n and a number",
        ),
        (
            lambda: assume("a", (square(A), A)),
            r"equations\[0\]: expected .* one shape, got a number and m x n",
        ),
        (lambda: assume("a", (x, square(A))), r"equations\[0\]: the number x stands for a SymPy expression"),
        (lambda: Identity("a", "b", A, B.T), "lhs, rhs: expected one shape, got m x n and n x m"),
        (lambda: cauchy().conclusion(put={A: x}), r"put\[A\]: expected a MatrixExpr, got x"),
        (lambda: cauchy().conclusion(put={"A": B}), "put: expected symbols that something stands for, got 'A'"),
        (lambda: cauchy().conclusion(put={A: B.T}), r"put: B\^T is not m x n, as A is in check cauchy"),
        (lambda: cauchy().conclusion(where={A: 3}), r"where\[A\]: expected a MatrixExpr, got 3"),
        (lambda: Premise("h", x, x, where={x: A}), r"where\[x\]: expected a number or a scalar expression"),
        (lambda: orthonormal(A @ B.T), "symbols: expected a Symbol, got"),
        (lambda: Exact("a", "b", 3, ((1,),)), "run: expected a function, got 3"),
        (lambda: Exact("a", "b", divmod, (1,)), r"cases\[0\]: expected a list of one value or several, got 1"),
        (lambda: Theorem("", (3,)), r"checks\[0\]: expected a Check, got 3"),
        (lambda: Theorem("", (), uses=(cauchy(),)), r"uses\[0\]: expected a Theorem, got"),
        (lambda: Theorem("", (), prose=["a limit"]), "prose: expected a Mapping, got"),
        (lambda: Theorem("", (), prose={"a limit": 3}), r"prose\['a limit'\]: expected a list of one value or several"),
    ],
)
def test_what_a_theorem_cannot_be_made_of_is_refused_by_its_name(made, message):
    """Most of it ended a proof in an error about an attribute, called a defect of the package."""
    with pytest.raises((TypeError, ValueError), match=message):
        made()


def test_the_answer_of_an_exact_check_is_a_truth_value_first():
    """The pair the other way round was VERIFIED, whatever it said."""
    check = Exact("order", "", lambda a, b: (f"{a} > {b}", a > b), ((1, 2),))
    with pytest.raises(TypeError, match=r"for the case \(1, 2\): expected True or False, got '1 > 2'"):
        check.prove()
    with pytest.raises(
        TypeError, match=r"run: expected a pair \(True or False, text\) for the case \(1, 2\), got False"
    ):
        Exact("order", "", lambda a, b: a > b, ((1, 2),)).prove()


@pytest.mark.parametrize(
    ("above", "here", "holds"),
    [
        (hypothesis("||A||^2 <= t", square(A), t), hypothesis("t <= -1", t, -1), False),
        (hypothesis("||A||^2 <= t", square(A), t), hypothesis("t <= 1", t, 1), True),
        (equation("||A||^2 = t", square(A), t), hypothesis("t <= -1", t, -1), False),
        (equation("t = ||A||^2", t, square(A)), hypothesis("t <= -1", t, -1), False),
        (hypothesis("t <= ||A||^2", t, square(A)), hypothesis("t <= -1", t, -1), True),
        (hypothesis("t <= s^2", t, s**2), hypothesis("t <= -1", t, -1), True),
        (hypothesis("t <= s", t, s), hypothesis("s + 1 <= t", s + 1, t), False),
        (equation("t = s", t, s), hypothesis("s + 1 <= t", s + 1, t), False),
        (equation("t = s", t, s), hypothesis("t + 1 <= s", t + 1, s), False),
    ],
    ids=lambda part: getattr(part, "name", None),
)
def test_what_a_used_check_assumes_of_numbers_holds_together_with_what_is_assumed_here(above, here, holds):
    source = Inequality("source", "", -square(B), above.gap, proof=[1 * above, Square(B)])
    proof = [source.conclusion(), here]
    user = Inequality("user", "", 0, square(B) + above.gap + here.gap, proof=proof, under=[source])
    assert source.prove().holds and user.prove().holds is holds


@pytest.mark.parametrize(
    "of",
    [
        lambda f, x, a, i: sympy.Integral(f(a), (a, 1, 0)),
        lambda f, x, a, i: sympy.Derivative(f(x), x),
        lambda f, x, a, i: sympy.Sum(i, (i, -5, -3)),
    ],
)
def test_what_has_no_values_at_numbers_is_refused_by_the_test_too(of):
    f = sympy.Function("f", nonnegative=True)
    x, a, i = (
        sympy.Symbol("x", real=True),
        sympy.Symbol("a", nonnegative=True),
        sympy.Symbol("i", positive=True, integer=True),
    )
    check = ScalarCheck("check", "No statement.", 0, of(f, x, a, i), relation="<=")
    proved, tested = check.prove(), check.test(Random(0))
    assert not proved.holds and not tested.holds and tested.detail == proved.detail != ""


@pytest.mark.parametrize("negative", [-x, -(x**2), -x * y])
def test_no_trace_is_named_by_what_is_declared_negative(negative):
    """It would show that the trace of every matrix is negative."""
    W = matrix("W", m, m)
    wrong = Inequality("wrong", "", tr(W), 0, proof=[-negative], given=(assume("named", (tr(W), negative)),))
    assert f"the sign that {negative} declares is a hypothesis" in wrong.prove().detail


@pytest.mark.parametrize(
    "sides", [(square(A), t), (t, square(A)), (0, square(A) - t), (square(A) - t, 0), (1, square(A) - t + 1)]
)
def test_an_equation_ties_what_is_on_both_of_its_sides(sides):
    """The gradient of t in A is 2 A where t = |A|^2: that |2 A|^2 <= 0 is false where A is 1."""
    wrong = Inequality("wrong", "", square(gradient(t + 0 * square(A), A)), 0, proof=[1 * equation("tied", *sides)])
    assert "would hold t fixed" in wrong.prove().detail


@pytest.mark.parametrize("c", [t, sympy.Symbol("c", integer=True), k])
def test_a_whole_number_that_is_no_size_is_tied_too(c):
    """Where c = |A|^2 the gradient of c <A, A> in A is 4 |A|^2 A: where A = 1, B = 0 it would say 16 + 1 <= 4 + 1."""
    of_product = square(gradient(c * inner(A, A), A)) + c
    above = 4 * c**2 * square(A) + square(A) + square(B)
    proof = [1 * equation("tied", c, square(A)), Square(B)]
    assert f"would hold {c} fixed" in Inequality("wrong", "", of_product, above, proof=proof).prove().detail


def test_a_size_is_held_fixed_by_every_derivative():
    """The gradient of m <A, B> in A is m B, also at a matrix of which |A|^2 = m."""
    of_product = square(gradient(m * inner(A, B), A)) + m
    proof = [1 * equation("as long", m, square(A)), Square(B)]
    at_length = Inequality("at length", "", of_product, m**2 * square(B) + square(A) + square(B), proof=proof)
    assert at_length.prove().holds


@pytest.mark.parametrize("turned", [False, True])
def test_each_inequality_of_a_proof_is_held_against_its_source(turned):
    """2 |A|^2 <= |A|^2 is false where A is 1."""
    longer = SumOfSquares("longer", "", square(A), square(A) + square(B), proof=[1 * Square(B)])
    parts = [1 * hypothesis("x <= y", x, y), 1 * replace(longer.conclusion(), lhs=2 * square(A))]
    proof = parts[::-1] if turned else parts
    wrong = Inequality("wrong", "", x + 2 * square(A), y + square(A) + square(B), proof=proof)
    assert "is not what check longer concludes" in wrong.prove().detail
