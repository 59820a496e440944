"""What a check takes for granted: inherited with what is put into it, and compared by what it says."""

from __future__ import annotations

import copy
import pathlib
from dataclasses import replace

import pytest
import sympy

from lorasolve.symbolic import (
    Form,
    Identity,
    Inequality,
    Sampled,
    ScalarCheck,
    Square,
    SumOfSquares,
    Theorem,
    assume,
    define,
    dims,
    equation,
    eye,
    gradient,
    hypothesis,
    inner,
    matrix,
    orthonormal,
    renamed,
    scalar,
    scalars,
    square,
    tr,
    vector,
)
from lorasolve.symbolic.export import differences, document
from lorasolve.symbolic.report import as_text, run
from lorasolve.symbolic.taken import Taken, declared, left_over, of_assumption
from proofs import descent_lemma, operator_norm, theorem1
from proofs.facts import OPERATOR_NORM, ROOTS_IS, ROTFELD, SPECTRAL, TERMS_IS
from proofs.verify import verdicts

m, n, k = dims("m n k")
A, B, P, W = matrix("A", m, n), matrix("B", m, n), matrix("P", m, k), matrix("W", n, k)
x, y = scalars("x y", real=True)
beta, lam = scalars("beta lambda")
FRAME = orthonormal(P)
signed, hermitian = scalars("signed"), matrix("hermitian", m, m, symmetric=True)
projection = SumOfSquares(
    "projection", "", square(P.T @ A), square(A), proof=[1 * Square(A - P @ P.T @ A)], given=(FRAME,)
)
SMALL = hypothesis("beta <= lambda", beta, lam)
weighted = Inequality("weighted", "", beta * square(A), lam * square(A), proof=[SMALL * Square(A)])


def second_opinions(*checks):
    """Return the document of checks, and what the second checker says of the last one."""
    content = document({"made": Theorem("", checks)})
    return content, verdicts(content)[f"made.{checks[-1].name}"]


def test_a_matrix_stands_for_one_of_its_shape():
    """|W|^2 >= 0, said of A, would be assumed of matrices of two shapes to be one."""
    source = SumOfSquares("source", "", 0, square(W), proof=[1 * Square(W)])
    premise = source.conclusion(0, square(A), where={A: W})
    outcome = Inequality("check", "", 0, square(A), proof=[premise], under=(source,)).prove()
    assert not outcome.holds and "where: A is m x n, and W is n x k" in outcome.detail


def test_a_product_of_one_entry_may_be_called_by_a_number():
    u, v = vector("u", n), vector("v", n)
    twice = Inequality(
        "twice", "", 2 * x, square(u) + square(v), proof=[1 * Square(u - v)], given=[assume("u^T v is x", (u.T @ v, x))]
    )
    assert twice.prove().holds and second_opinions(twice)[1] is None
    wrong = replace(twice, lhs=3 * x, proof=[1 * Square(u - v)])
    assert not wrong.prove().holds


def test_no_property_is_taken_for_an_equation():
    """A template that is its own part says no equation of that part with itself."""
    said = Taken("F", "{} {}", (A, B), ("==", "{} {}"), fact="F")
    assert left_over([said], (), ()) == [said]


def test_what_is_put_into_a_conclusion_is_put_into_its_hypotheses():
    nine = Inequality(
        "nine",
        "",
        9 * beta * square(A),
        lam * square(A),
        proof=[weighted.conclusion(put={beta: 9 * beta})],
        under=(weighted,),
    )
    assert nine.prove().holds and nine.assumed == ("beta <= lambda (9*beta for beta)",)
    assert nine.taken[0].keys == (("9*beta", "<=", "lambda"),)
    content, said = second_opinions(weighted, nine)
    assert said is None
    hidden = copy.deepcopy(content)
    hidden["checks"][-1]["assumed"] = hidden["checks"][0]["assumed"]
    assert "what it assumes is not what it prints" in verdicts(hidden)["made.nine"]
    assert not Inequality("quiet", "", nine.lhs, nine.rhs, proof=nine.proof).prove().holds
    made = Inequality("made", "", nine.lhs, nine.rhs, proof=[*nine.proof, 0 * hypothesis("less", 9 * beta, lam)])
    assert made.prove().holds and made.assumed == ("less",)
    assert second_opinions(weighted, made)[1] is None


def test_what_a_number_stands_for_is_assumed_from_there_on():
    where = {y: square(P.T @ A), x: square(A)}
    numbers = Inequality("numbers", "", y, x, proof=[projection.conclusion(y, x, where=where)], under=(projection,))
    meanings = "y is tr((P^T*A)^T*P^T*A)", "x is tr(A^T*A)"
    assert numbers.assumed == (*meanings, "P orthonormal")
    swapped = Inequality(
        "swapped",
        "",
        square(A),
        square(P.T @ A),
        proof=[numbers.conclusion(put={y: square(A), x: square(P.T @ A)})],
        under=(numbers,),
    )
    assert "tr(A^T*A) is tr((P^T*A)^T*P^T*A)" in swapped.assumed
    # Put back as they were they say nothing.
    back = Inequality("back", "", square(P.T @ A), square(A), proof=[numbers.conclusion(put=where)], under=(numbers,))
    assert back.prove().holds and back.assumed == ("P orthonormal",)
    content, said = second_opinions(projection, numbers, swapped, back)
    assert said is None and not any(verdicts(content).values())
    content["checks"][1]["assumed"] = content["checks"][1]["assumed"][2:]
    assert all(verdicts(content)[f"made.{name}"] for name in ("numbers", "swapped", "back"))


def test_a_side_condition_brings_what_the_checks_assume_that_it_is_read_off():
    bound = OPERATOR_NORM.instance("product", SPECTRAL(A, lam, by=(weighted,)), W=W)
    product = Inequality("product", "", square(A @ W), lam**2 * square(W), proof=[bound])
    assert product.assumed == ("||A||_2 <= lambda (read off weighted) [operator norm]", "beta <= lambda")


def test_what_is_read_off_a_check_under_a_fact_is_proved_under_that_fact():
    """||A||_2 <= lambda, read off what only follows from Rotfel'd, is no proof without it."""
    total, parts = scalars("S_sigma S_terms")
    subadditive = ROTFELD.instance("terms", ROOTS_IS(A, total), TERMS_IS(A, parts))
    roots = Inequality("roots", "", 2 * total, 2 * parts, proof=[2 * subadditive])
    bound = OPERATOR_NORM.instance("product", SPECTRAL(A, lam, by=(roots,)), W=W)
    product = Inequality("product", "", square(A @ W), lam**2 * square(W), proof=[bound])
    doubled = Inequality("doubled", "", 2 * product.lhs, 2 * product.rhs, proof=[2 * product.conclusion()])
    assert roots.strength == product.strength == doubled.strength == "PROVED UNDER Rotfel'd"
    content = document({"made": Theorem("", (roots, product)), "operator_norm": operator_norm.THEOREM})
    assert not any(verdicts(content).values())


def test_what_is_read_off_a_search_is_not_proved():
    search = Sampled("search", "||A||_2 <= lambda.", lambda rng: 1.0)
    bound = OPERATOR_NORM.instance("product", SPECTRAL(A, lam, by=(search,)), W=W)
    product = Inequality("product", "", 2 * square(A @ W), 2 * lam**2 * square(W), proof=[2 * bound])
    assert "check search is SAMPLED" in product.prove().detail


def test_the_descent_lemma_bounds_both_factors():
    descent = next(check for check in descent_lemma.CHECKS if check.name == "descent")
    said = {key for part in descent.taken for key in part.keys}
    assert {("A", "==", "a*K_A"), ("B", "==", "b*K_B")} <= said
    assert {f"||{name}||_2 <= 1 [operator norm]" for name in ("K_A", "K_B")} <= set(descent.assumed)


def test_an_assumption_about_a_transpose_is_the_one_that_is_made():
    H, L, D = matrix("H", m, n), matrix("L", n, m), matrix("D", m, k)
    source = SumOfSquares(
        "source", "", square(D), square(H @ W) + square(W), proof=[1 * Square(W)], given=(define(D, H @ W),)
    )
    own = define(D, L.T @ W)
    user = Inequality(
        "user",
        "",
        square(L.T @ W) + square(D),
        2 * square(D) + square(W),
        proof=[source.conclusion(put={H: L.T})],
        given=(own,),
    )
    assert user.prove().holds and user.assumed == ("D is defined",)
    assert second_opinions(source, user)[1] is None


def test_a_transpose_is_put_into_a_transpose_in_brackets():
    H, L, D = matrix("H", m, n), matrix("L", n, m), matrix("D", n, k)
    assert of_assumption(define(D, H.T @ P)).put({H: L.T}).texts == ("D", "(L^T)^T*P")


def test_a_sum_is_put_into_a_product_in_brackets():
    """Where 2 a + b <= c nothing is said of 2 (a + b), which is 2 where a is 0 and b and c are 1."""
    a, b, c = scalars("a b c", real=True)
    source = Inequality("source", "", 2 * x, c + y**2, proof=[1 * hypothesis("twice", 2 * x, c), Square(y)])
    above = 1 * hypothesis("above", 2 * a + b, c)
    used = source.conclusion(put={x: a + b})
    user = Inequality("user", "", 4 * a + 3 * b, 2 * c + y**2, proof=[used, above])
    assert source.prove().holds
    assert "check source assumes twice (a + b for x)" in user.prove().detail


def test_an_assumption_is_made_when_all_of_its_equations_are():
    """|A - B|^2 + |C - D|^2 <= 0 where A = B and C = D, and where A = B it is false of other C and D."""
    C, D = matrix("C", m, n), matrix("D", m, n)
    lhs = square(A - B) + square(C - D)
    source = Inequality("source", "", lhs, square(W), proof=[1 * Square(W)], given=[assume("two", (A, B), (C, D))])
    user = Inequality("user", "", lhs, square(W), proof=[source.conclusion()], given=[define(A, B)])
    assert source.prove().holds
    assert "check source assumes two" in user.prove().detail
    assert replace(user, given=[define(A, B), define(C, D)]).prove().holds


def test_sides_that_are_given_are_those_of_the_conclusion():
    """Also with what is put: 4 for x in x <= x + y^2, in numbers."""
    source = SumOfSquares("source", "", x, x + y**2, proof=[1 * Square(y)])
    low, high = sympy.Integer(4), 3 + y**2 + 1
    premise = source.conclusion(low, high, put={x: low})
    assert (premise.lhs, premise.rhs) == (low, high)
    assert (source.conclusion(low, put={x: low}).rhs.value, source.conclusion(rhs=high).lhs) == (4 + y**2, x)


def test_rules_of_a_check_do_not_apply_to_what_is_put_into_its_conclusion():
    """Z is A there; the Z that is put in the place of Y is another one."""
    Y, Z = matrix("Y", m, n), matrix("Z", m, n)
    doubled = Identity("doubled", "", square(Y + Z), square(Y + A), given=(define(Z, A),))
    assert doubled.prove().holds
    premise = doubled.conclusion(square(A + B), square(A + A), put={Y: Z, Z: B})
    wrong = Inequality("wrong", "", square(A + B), square(A + A), proof=[premise], under=(doubled,))
    assert "is not what check doubled concludes" in wrong.prove().detail


def test_renamed_symbols_keep_signs_shapes_and_symmetry():
    T, H = matrix("T", k, k, symmetric=True), Form("H", m, n)
    d = sympy.Symbol("d", nonnegative=True)
    check = Inequality(
        "check", "", d * square(P @ T), H(A, A), proof=[hypothesis("given", d * square(P @ T), H(A, A)) * 1]
    )
    put = {str(getattr(symbol, "name", symbol)): new for symbol, new in renamed((check,), "_2", {m: 3}).items()}
    assert put["d"].is_nonnegative and not put["d"].is_positive and str(put["d"]) == "d_2"
    assert put["T"].symmetric and put["P"].rows == 3 and put["P"].cols == put["T"].rows == put["k"]
    assert (put["H"].name, put["H"].rows) == ("H_2", 3) and put["k"].is_integer


@pytest.mark.parametrize("declared", [{}, {"integer": True}])
def test_what_is_not_zero_is_renamed_to_what_is_not_zero(declared):
    q = sympy.Symbol("q", nonzero=True, **declared)
    check = SumOfSquares("quotient", "", 2, q**2 + 1 / q**2, proof=[Square(q - 1 / q)])
    put = renamed((check,), "_2")
    other = put[q]
    again = Inequality("again", "", 2, other**2 + 1 / other**2, proof=[check.conclusion(put=put)])
    assert check.prove().holds and again.prove().holds


def test_the_second_checker_compares_shapes_with_what_is_put_into_sizes():
    """tr(A)^2 <= n |A|^2; with 1 in the place of n it would be false of every A but numbers."""
    S = matrix("S", n, n)
    traced = SumOfSquares("traced", "", tr(S) * tr(S), n * square(S), proof=[n * Square(S - 1 / n * (tr(S) * eye(n)))])
    again = Inequality("again", "", tr(S) * tr(S), n * square(S), proof=[traced.conclusion()])
    content, said = second_opinions(traced, again)
    assert said is None
    check = content["checks"][1]
    (premise,) = check["premises"].values()
    for part in (check, premise):
        part["rhs"] = "tr(S^T*S)"
    premise |= {"put": {"n": "1"}, "symbols": {"scalars": {}, "matrices": {}, "forms": {}}}
    assert "S has another shape" in verdicts(content)["made.again"]


def test_a_matrix_called_t_is_no_transpose():
    T = matrix("T", m, n)
    check = Inequality("check", "", square(T), square(A), proof=[hypothesis("given", square(T), square(A)) * 1])
    (taken,) = (part.put({T: B}) for part in check.taken)
    assert taken.keys == (("tr(B^T*B)", "<=", "tr(A^T*A)"),)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda theorem: theorem["statement"].__setitem__(0, "Less."), "statement was"),
        (lambda theorem: theorem["assumptions"].append("More."), "assumptions was"),
        (lambda theorem: theorem["checks"].pop(), "checks was"),
    ],
)
def test_the_pinned_document_holds_theorems_in_words(change, found):
    content = document({"theorem1": theorem1.THEOREM})
    pinned = copy.deepcopy(content)
    assert not differences(pinned, content)
    change(content["theorems"]["theorem1"])
    assert found in differences(pinned, content)["theorem1"][0]


def test_a_theorem_that_is_not_pinned_yet_says_how_it_is():
    content = document({"theorem1": theorem1.THEOREM})
    told = differences({**content, "theorems": {}}, content)
    command = "the command at the top of proofs/README.md"
    assert list(told) == ["theorem1"] and command in told["theorem1"][0]
    page = pathlib.Path(theorem1.__file__).with_name("README.md").read_text()
    assert "--export proofs/proofs.json" in page.split("\n\n")[1]


def test_the_pinned_document_holds_computations():
    from proofs import beam_lora

    content = document({"beam_lora": beam_lora.THEOREM})
    pinned, name = copy.deepcopy(content), "beam_lora.sign_step_does_not_commute"
    content["computations"][name]["says"] = "For every A."
    assert "says was" in differences(pinned, content)[name][0]
    content["computations"][name] = {**pinned["computations"][name], "cases": []}
    assert "cases was" in differences(pinned, content)[name][0]


def test_the_pinned_document_holds_the_sides_that_are_no_algebra():
    """The mean of cos^2 over the circle was pinned as 1/2 = 1/2."""
    from proofs import rac_lora

    content = document({"rac_lora": rac_lora.THEOREM})
    said = content["computations"]["rac_lora.circle_average"]
    assert (said["lhs"], said["relation"], said["rhs"]) == (
        "Integral(cos(theta)**2, (theta, 0, 2*pi))/(2*pi)",
        "==",
        "1/2",
    )


def test_under_lists_only_checks_whose_conclusion_is_used():
    first = Inequality("first", "", 2 * x, 2 * y, proof=[2 * hypothesis("x <= y", x, y)])
    second = SumOfSquares("second", "", 2 * x * y, x**2 + y**2, proof=[1 * Square(x - y)], under=(first,))
    assert second.prove().detail == "`under` lists first, whose conclusion is not used"


def test_vectors_are_renamed_with_their_sizes():
    u = vector("u", m)
    check = Identity("check", "", square(u), square(u))
    (new,) = (new for symbol, new in renamed((check,), "_2").items() if str(getattr(symbol, "name", "")) == "u")
    assert new.cols == 1 and str(new.rows) == "m_2"


one = matrix("one", 1, 1)


def sign_of_trace(value):
    """Return a claim that a trace has a sign, which is shown by what the value that it is given declares."""
    known = equation("tr H is known", tr(hermitian), value)
    return Inequality("sign", "", 0, tr(hermitian), proof=[value, -1 * known])


@pytest.mark.parametrize(
    ("check", "where"),
    [
        (sign_of_trace(beta), "hermitian m x m; beta > 0; hermitian symmetric"),
        (sign_of_trace(1 + beta), "hermitian m x m; beta > 0; hermitian symmetric"),
        (
            Inequality("", "", -1, inner(A, B), proof=[beta], given=[assume("", (inner(A, B), beta - 1))]),
            "A, B m x n; beta > 0",
        ),
        (Inequality("", "", -1, x, proof=[beta], given=[define(x, beta - 1)]), "beta > 0"),
        (Identity("", "", A @ W, P, given=[define(signed, x - y)]), "A m x n; W n x k; P m x k; signed > 0"),
        (ScalarCheck("", "", beta, beta + k, relation="<="), "beta > 0; k whole > 0"),
        (Identity("", "", Form("hess", m, n)(A, B), Form("hess", m, n)(B, A)), "A, B m x n; hess symmetric bilinear"),
        (Identity("", "", tr(one), square(A) * y), "one 1 x 1; A m x n"),
        (ScalarCheck("", "", x, y), ""),
    ],
)
def test_what_symbols_declare_is_told_since_an_equation_makes_a_hypothesis_of_it(check, where):
    assert declared(check) == where
    shown = as_text(run("mine", Theorem("A title", [check])))
    assert f"      where    {where}\n" in shown if where else "where" not in shown


def test_an_assumption_that_becomes_a_quotient_by_zero_is_refused():
    """x y = 1 where x = 1/y, which for y = 0 would say 1 <= 0."""
    pole = Identity("pole", "", scalar(x * y), scalar(1), given=(define(x, 1 / y),))
    assert pole.prove().holds
    at_zero = pole.conclusion(put={y: sympy.Integer(0)})
    false = Inequality("false", "", 1, 0, proof=[-1 * at_zero], under=(pole,))
    assert not false.prove().holds and "x is defined (0 for y): zoo is not a number" in false.prove().detail


def test_what_is_assumed_is_written_out_where_plain_data_cannot_express_it():
    size = scalar(sympy.Abs(x))
    small = hypothesis("h", scalar(2) * (size + size * size) - size * (x + 1), 2)
    check = Inequality("first", "", small.lhs, 3, proof=[1 * small, 1])
    assert check.taken[0].in_full == "h: 2*(Abs(x) + Abs(x)*Abs(x)) - Abs(x)*(x + 1) <= 2"
    assert check.taken[0].put({x: y}).keys == (("2*(Abs(y) + Abs(y)*Abs(y)) - Abs(y)*(y + 1)", "<=", "2"),)


def test_a_conclusion_with_a_derivative_is_used_as_it_is():
    slope = SumOfSquares("slope", "", 0, square(gradient(square(A), A)), proof=[4 * Square(A)])
    longer = square(gradient(square(A), A)) + square(B)
    check = Inequality("longer", "", 0, longer, proof=[1 * slope.conclusion(), 1 * Square(B)])
    assert check.prove().holds and second_opinions(slope, check)[1] is None


def test_functions_are_put_in_the_place_of_numbers():
    """Of exp(x) + 1 plain data has no text, and a name of the conclusion needs one."""
    first = SumOfSquares("first", "", 0, x**2, proof=[1 * Square(x)])
    at = first.conclusion(put={x: sympy.exp(y) + 1})
    check = Inequality("at", "", -1, (sympy.exp(y) + 1) ** 2, proof=[1 * at, 1])
    assert at.name == "check first at exp(y) + 1" and check.prove().holds
    assert not Inequality("off", "", 1, (sympy.exp(y) + 1) ** 2, proof=[1 * at, -1]).prove().holds


def test_conclusions_do_not_make_each_others_assumptions():
    """From a <= b follows 2 a <= 2 b and the other way round: neither is shown."""
    a, b, c = scalars("a b c", real=True)
    single, double = hypothesis("single", a, b), hypothesis("double", 2 * a, 2 * b)
    first = Inequality("first", "", 2 * a, 2 * b + c**2, proof=[2 * single, Square(c)])
    second = Inequality("second", "", a, b + c**2, proof=[double / 2, Square(c)])
    proof = [first.conclusion(), second.conclusion()]
    both = Inequality("both", "", 3 * a, 3 * b + 2 * c**2, proof=proof)
    assert first.prove().holds and second.prove().holds
    assert "check first assumes single" in both.prove().detail
    at_zero = {c: sympy.Integer(0)}
    circle = [first.conclusion(put=at_zero), second.conclusion(put=at_zero)]
    assert "assumes" in Inequality("circle", "", 3 * a, 3 * b, proof=circle).prove().detail


def test_a_number_of_the_same_name_is_no_symbol_of_the_check():
    """What is put for it would change the text of the hypothesis 1 <= x, and x would stay in the conclusion."""
    (x,), y, z = scalars("x,"), *scalars("y z", real=True)
    source = Inequality("source", "", 1 - z**2, x, proof=[1 * hypothesis("1 <= x", 1, x), Square(z)])
    used = source.conclusion(put={sympy.Symbol("x", real=True): y})
    user = Inequality("user", "", 2 - z**2, x + y, proof=[used, 1 * hypothesis("1 <= y", 1, y)])
    assert source.prove().holds
    assert "x is another symbol in check source" in user.prove().detail
