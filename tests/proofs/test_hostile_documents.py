"""Documents written by hand that claim what is false, or what does not follow: the second checker refuses each."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from proofs import verify

EMPTY = {"scalars": {}, "matrices": {}, "forms": {}}
SIZES = {"m": "dimension", "n": "dimension"}
XEF = {"X": ["m", "n"], "E": ["m", "n"], "F": ["m", "n"]}
SQUARE = {name: ["m", "m"] for name in XEF}


def check(lhs, relation, rhs, **fields):
    """Return a check as the document says it, with nothing assumed unless it is given."""
    base = {"id": "a.first", "says": "", "kind": "identity" if relation == "==" else "implies", "strength": "PROVED"}
    base |= {"facts": [], "assumed": [], "symbols": EMPTY, "under": [], "nonzero": [], "assumptions": [], **EMPTY}
    return base | {"lhs": lhs, "relation": relation, "rhs": rhs, "premises": {}, "proof": [], "witness": {}, **fields}


def premise(lhs, relation, rhs, source=None, **fields):
    return {"lhs": lhs, "relation": relation, "rhs": rhs, "facts": [], "source": source, **fields}


def used(coefficient, *names):
    return [{"coefficient": coefficient, "factors": [{"premise": name} for name in names]}]


def square(of):
    return [{"coefficient": "1", "factors": [{"square": of}]}]


def reason(*checks, facts=None):
    """Return why the last of the checks is refused."""
    return verify.verdicts({"checks": list(checks), "facts": facts or {}})[checks[-1]["id"]]


def tied(equations, **symbols):
    """Return the fields of a check that assumes equations, with values at which they hold."""
    own = {"name": "tied", "equations": equations}
    printed = {
        "name": "tied",
        "kind": " ".join("==" for _ in equations),
        "texts": [side for pair in equations for side in pair],
    }
    values = {"m": "1", "n": "1", "s": "1", "X": [["1"]], "E": [["1/2"]], "F": [["1/2"]]}
    return {**symbols, "assumptions": [own], "assumed": [printed], "witness": values}


ALONE = {
    "the identity matrix of size -1 would have a negative square": check("0", "<=", "-1", proof=square("id(-1)")),
    "sizes that may be negative": check("n", "<=", "m", proof=square("id(m - n)"), scalars=SIZES),
    "an identity matrix that is not square": check("tr(id(m, n)*id(m, n)^T)", "==", "m", scalars=SIZES),
    "a product of which one factor may vanish": check(
        "x*y/(x*y)", "==", "1", scalars={"x": "real", "y": "real"}, nonzero=["x"]
    ),
    "x = 0, and x^0 is 1 there": check("x/x", "==", "1", scalars={"x": "real"}, nonzero=["x^0"]),
    "1/x^-1 is not defined at x = 0": check("1/x^-1", "==", "x", scalars={"x": "real"}),
    "two numbers in the brackets of one": check("x", "<=", "(x + 1, x - 1)", proof=square("1"), scalars={"x": "real"}),
    "a trace of what is not square": check("tr(X)", "==", "tr(X^T)", scalars=SIZES, matrices=XEF),
    "a trace of two matrices": check(
        "tr(X, E)", "==", "tr(X)", scalars=SIZES, matrices={"X": ["m"] * 2, "E": ["m"] * 2}
    ),
    "the second derivative, which is 2 tr(E^T F)": check(
        "diff(diff(tr(X^T*X), 1, X, E), 1, X, F)", "==", "0", scalars=SIZES, matrices=XEF
    ),
    "the order of a derivative is a name, which no exponent is": check(
        "diff(tr(X^T*X), 0_1, X, E)", "==", "0", scalars=SIZES, matrices=XEF
    ),
    "a symmetric matrix in a direction that is not: one side is the derivative of 0": check(
        "diff(tr(X*E) - tr(X^T*E), 1, X, F)",
        "==",
        "tr(F*E) - tr(F^T*E)",
        scalars=SIZES,
        matrices={**SQUARE, "X": ["m", "m", "symmetric"]},
    ),
    "the gradient in a symmetric matrix": check(
        "grad(tr(X*E), X)", "==", "E^T", scalars=SIZES, matrices={**SQUARE, "X": ["m", "m", "symmetric"]}
    ),
    "a whole number that is no size moves with what it is": check(
        "diff(n*tr(X), 1, X, E)", "==", "n*tr(E)", **tied([["tr(X^T*X)", "n"]], scalars=SIZES, matrices=SQUARE)
    ),
    "one symbol in two directions": check(
        "diff(tr(X^T*X), 1, X, E, X, F)", "==", "2*tr(X^T*F)", scalars=SIZES, matrices=XEF
    ),
    "a matrix moves with the one by which it is defined": check(
        "diff(tr(X^T*X), 1, E, F)", "==", "0", **tied([["X", "2*E"]], scalars=SIZES, matrices=XEF)
    ),
    "through another definition too": check(
        "diff(tr(X^T*X), 1, F, X)", "==", "0", **tied([["X", "2*E"], ["E", "F"]], scalars=SIZES, matrices=XEF)
    ),
    "an inverse moves with what it inverts": check(
        "diff(tr(X*E), 1, E, F)", "==", "tr(X*F)", **tied([["X*E", "1/2*id(m)"]], scalars=SIZES, matrices=SQUARE)
    ),
    "the name of a trace moves with it": check(
        "diff(s*tr(X), 1, X, E)",
        "==",
        "s*tr(E)",
        **tied([["tr(X^T*X)", "s"]], scalars={**SIZES, "s": "real"}, matrices=SQUARE),
    ),
    "a number that an equation says to be a trace moves with it": check(
        "diff(s*tr(X^T*X), 1, X, E)",
        "<=",
        "2*s*tr(X^T*E) + tr(X^T*X) - s",
        scalars={**SIZES, "s": "real"},
        matrices=XEF,
        premises={"s": premise("s", "==", "tr(X^T*X)")},
        assumed=[{"name": "s", "kind": "==", "texts": ["s", "tr(X^T*X)"]}],
        proof=used("1", "s"),
        witness={"m": "1", "n": "1", "s": "1", "X": [["1"]], "E": [["1"]], "F": [["1"]]},
    ),
    "a number does not move with the matrix that it was computed from": check(
        "diff(s, 1, X, E)",
        "==",
        "2*tr(X^T*E)",
        scalars={**SIZES, "s": "real"},
        matrices=XEF,
        assumptions=[{"name": "s", "equations": [["s", "tr(X^T*X)"]]}],
        assumed=[{"name": "s", "kind": "==", "texts": ["s", "tr(X^T*X)"]}],
        witness={"m": "1", "n": "1", "s": "1", "X": [["1"]], "E": [["0"]], "F": [["0"]]},
    ),
    "a real number that looks like one that is not negative": check(
        "0", "<=", "\u0445", scalars={"x": "real", "\u0445": "nonnegative"}, kind="scalar", sign="\u0445"
    ),
    "an inverse transpose": check("X^-T", "==", "X^T", scalars=SIZES, matrices=XEF),
    "the gradient of a matrix, whose derivatives along E are tr(E) F and tr(F^T E) id(m)": check(
        "grad(tr(X)*F, X)", "==", "grad(tr(F^T*X)*id(m), X)", scalars=SIZES, matrices=SQUARE
    ),
    "x = 0, t = -1": check(
        "0",
        "<=",
        "t",
        scalars={"x": "real", "t": "real"},
        nonzero=["x^2"],
        premises={"h": premise("0", "<=", "x^2*t")},
        assumed=[{"name": "h", "kind": "<=", "texts": ["0", "x^2*t"]}],
        proof=used("1/x^2", "h"),
        witness={"x": "1", "t": "1"},
    ),
}


POSITIVE, NUMBERS = {"p": "positive"}, {"x": "real", "y": "real"}


def bounded(lhs, rhs, sign, bounds, scalars):
    """Return an inequality between numbers with functions, whose sign is seen by bounds of these."""
    return check(lhs, "<=", rhs, kind="scalar", scalars=scalars, sign=sign, bounds=bounds)


def test_an_inequality_by_a_bound_is_accepted():
    assert reason(bounded("log(p)", "p - 1", "g", {"g": ["u-1-log(u)", "p"]}, POSITIVE)) is None
    assert reason(bounded("y", "Max(x, y) + 1", "g + 1", {"g": ["Max(u,v)-v", "x", "y"]}, NUMBERS)) is None


BOUNDED = {
    "a bound that is none": bounded("log(p)", "p - 2", "g", {"g": ["u-2-log(u)", "p"]}, POSITIVE),
    "a bound of another number": bounded("log(p)", "2*p - 1", "g + p", {"g": ["u-1-log(u)", "2*p"]}, POSITIVE),
    "a bound the other way round": bounded("p - 1", "log(p)", "-g", {"g": ["u-1-log(u)", "p"]}, POSITIVE),
    "a logarithm of what may be negative": bounded("log(x)", "x - 1", "g", {"g": ["u-1-log(u)", "x"]}, NUMBERS),
    "a logarithm of what may be 0": bounded("log(w)", "w - 1", "g", {"g": ["u-1-log(u)", "w"]}, {"w": "nonnegative"}),
    "the other of two numbers": bounded("x", "Max(x, y)", "g", {"g": ["Max(u,v)-v", "x", "y"]}, NUMBERS),
    "the larger of one": bounded("x", "Max(x)", "g", {"g": ["Max(u,v)-u", "x"]}, NUMBERS),
    "what is left has the name of a number": bounded("0", "x", "x", {"x": ["Abs(u)", "y"]}, NUMBERS),
    "what is left has the name of a function": bounded("0", "Abs(x)", "Abs", {"Abs": ["Abs(u)", "x"]}, NUMBERS),
    "what is left has the name of a matrix, and numbers commute": check(
        "tr(X*E*F)",
        "<=",
        "tr(E*X*F)",
        kind="scalar",
        scalars={"m": "dimension", "y": "real"},
        matrices=SQUARE,
        sign="0",
        bounds={"X": ["Abs(u)", "y"]},
    ),
    "a function without a bound": bounded("0", "sin(x)", "sin(x)", {}, NUMBERS),
    "no bounds": {k: v for k, v in bounded("0", "1", "1", {}, NUMBERS).items() if k != "bounds"},
    "a function of a trace that moves": check(
        "diff(exp(tr(X^T*X)), 1, X, E)", "==", "0", scalars=SIZES, matrices={"X": ["m", "n"], "E": ["m", "n"]}
    ),
}


@pytest.mark.parametrize("false", BOUNDED.values(), ids=list(BOUNDED))
def test_a_bound_is_one_of_those_known_and_of_what_it_says(false):
    assert reason(false)


@pytest.mark.parametrize("false", ALONE.values(), ids=list(ALONE))
def test_what_is_false_or_unreadable_is_refused(false):
    assert reason(false)


@pytest.mark.parametrize(
    "text", ["x^0_2", "x^2^3", "x^2^", "x^y", "0_1", "1e3", "0.5", ".5", "1/2x", "+x", "x +", "x*)", "x y"]
)
def test_what_is_no_number_and_no_name_is_not_read(text):
    """Python reads 0_2 as 2; and no name is declared that is a number or an operation for those who read it."""
    with pytest.raises(ValueError, match="cannot read"):
        verify.read(text)
    named = check("x", "==", "x + 0", scalars={"x": "real", text: "real"})
    assert "cannot read" in reason(named)


@pytest.mark.parametrize("text", ["\u0661", "x\u00b2", "\uff11", "x\u200b", "x\x08"])
def test_letters_and_digits_are_those_that_can_be_told_apart(text):
    with pytest.raises(ValueError, match=r"read|literal"):
        verify.read(text)


@pytest.mark.parametrize("name", ["X^T", "(x)", " x", "x + y", "7", ""])
def test_a_declared_name_is_one_name_where_it_is_read(name):
    assert reason(check("x", "==", "x + 0", scalars={"x": "real", name: "positive"}))


@pytest.mark.parametrize(("relation", "holds"), [("<=", True), (">=", False), ("<", False), ("!=", False)])
def test_a_hypothesis_is_an_equation_or_an_upper_bound(relation, holds):
    """2 x >= 2 y would be used as x <= y."""
    h = {"name": "h", "kind": relation, "texts": ["2*x", "2*y"]}
    claim = check("x", "<=", "y", scalars={"x": "real", "y": "real"}, premises={"h": premise("2*x", relation, "2*y")})
    claim |= {"assumed": [h], "proof": used("1/2", "h"), "witness": {"x": "1", "y": "1"}}
    assert (reason(claim) is None) == holds


def test_assumptions_that_rewrite_without_end_are_refused_before_their_words_are_long(monkeypatch):
    """A word grows with each of these steps, and the time for a step with its square."""
    steps, rewritten = [], verify.Algebra.rewritten
    monkeypatch.setattr(verify.Algebra, "rewritten", lambda self, what: steps.append(what) or rewritten(self, what))
    endless = {"name": "X is its own square root", "equations": [["X", "X*X^T"]]}
    square = {"scalars": {"n": "dimension"}, "matrices": {"X": ["n", "n"]}}
    assert "rewrite without end" in reason(check("X", "==", "id(n)", assumptions=[endless], **square))
    assert 100 < max(len(word) for _, word in steps) < 1000


def test_a_second_derivative_is_the_derivative_of_the_first():
    twice = "diff(diff(tr(X^T*X), 1, X, E), 1, X, F)"
    assert reason(check(twice, "==", "2*tr(E^T*F)", scalars=SIZES, matrices=XEF)) is None


H = {"name": "h", "kind": "<=", "texts": ["0", "x*t"]}


def chain(**middle):
    """Return 0 <= x t, x > 0 => 0 <= t, then the same without x in it, then the same for x of any sign."""
    hypothesis = {"h": premise("0", "<=", "x*t")}
    first = check("0", "<=", "t", scalars={"x": "positive", "t": "real"}, premises=hypothesis, assumed=[H])
    first |= {"proof": used("1/x", "h"), "witness": {"x": "1", "t": "1"}}
    second = check("0", "<=", "2*t", id="a.second", scalars={"t": "real"}, assumed=[H], proof=used("2", "c"), **middle)
    second |= {"premises": {"c": premise("0", "<=", "t", "a.first")}, "under": ["a.first"], "witness": {"t": "1"}}
    third = check("0", "<=", "t", id="a.third", scalars={"x": "real", "t": "real"}, assumed=[H], proof=used("1/2", "d"))
    third |= {"premises": {**hypothesis, "d": premise("0", "<=", "2*t", "a.second")}, "witness": {"x": "1", "t": "1"}}
    third["under"] = ["a.second"]
    return first, second, third


def declaring(**scalars):
    return {"symbols": {**EMPTY, "scalars": scalars}}


def test_the_sign_of_what_is_assumed_goes_along():
    first, second, third = chain(**declaring(x="positive"))
    assert reason(first, second) is None
    assert "x is another symbol" in reason(first, second, third)  # x = t = -1
    assert "x is another symbol" in reason(*chain(**declaring(x="real"))[:2])
    assert "not declared" in reason(*chain()[:2])


def test_what_is_taken_over_with_a_conclusion_is_listed_in_under():
    first, second, _ = chain(**declaring(x="positive"))
    assert reason(first, second) is None
    assert "which `under` does not list" in reason(first, second | {"under": []})
    # Where the hypothesis of the first is made, it need not be listed.
    again = {"h": premise("0", "<=", "x*t"), "c": premise("0", "<=", "t", "a.first")}
    making = {"premises": again, "scalars": {"x": "positive", "t": "real"}, "symbols": EMPTY, "under": []}
    making["witness"] = {"x": "1", "t": "1"}
    assert reason(first, second | making) is None


@pytest.mark.parametrize("other", ["a.second", "a.third", "b.first", "0"])
def test_under_lists_only_what_is_used(other):
    first, second, _ = chain(**declaring(x="positive"))
    assert "lists what it does not use" in reason(first, second | {"under": ["a.first", other]})


@pytest.mark.parametrize("relation", ["==", "<="])
@pytest.mark.parametrize("side", ["0", "x", "x*(x + 1)/2"])
def test_one_side_twice_claims_nothing(side, relation):
    """What was claimed is then not in the document, true or not."""
    assert "no claim" in reason(check(side, relation, side, scalars={"x": "real"}))
    assert "no claim" in reason(check(side, relation, side, kind="scalar", scalars={"x": "real"}, sign="0"))


@pytest.mark.parametrize(("lhs", "rhs", "objection"), [("y + 1", "x", "no claim"), ("x^2", "(y + 1)^2", None)])
def test_an_assumption_is_not_the_conclusion(lhs, rhs, objection):
    given = {"assumptions": [{"name": "x is defined", "equations": [["x", "y + 1"]]}]}
    given["assumed"] = [{"name": "x is defined", "kind": "==", "texts": ["x", "y + 1"]}]
    scalars, witness = {"x": "real", "y": "real"}, {"x": "1", "y": "0"}
    assert str(objection) in str(reason(check(lhs, "==", rhs, scalars=scalars, witness=witness, **given)))


def test_what_is_defined_by_a_quotient_may_be_divided_by():
    scalars = {"a": "positive", "b": "positive", "c": "real"}
    given = {"assumptions": [{"name": "c is defined", "equations": [["c", "a/b"]]}], "nonzero": ["c"]}
    given["assumed"] = [{"name": "c is defined", "kind": "==", "texts": ["c", "a/b"]}]
    witness = {"a": "1", "b": "2", "c": "1/2"}
    assert reason(check("1/c", "==", "b/a", scalars=scalars, witness=witness, **given)) is None
    assert "vanish" in reason(check("1/c", "==", "b/a", scalars=scalars | {"a": "real"}, witness=witness, **given))


def test_what_a_source_divides_by_is_divided_by_here_too():
    scalars = {"p": "real", "t": "real"}
    h = {"name": "h", "kind": "<=", "texts": ["0", "(1 - p)^2*t"]}
    first = check("0", "<=", "(1 - p)^2*t/(1 - p)^2", scalars=scalars, nonzero=["(1 - p)^2"], assumed=[h])
    first |= {"premises": {"h": premise("0", "<=", "(1 - p)^2*t")}, "proof": used("1/(1 - p)^2", "h")}
    first["witness"] = {"p": "0", "t": "1"}
    second = check("0", "<=", "2*t", id="a.second", scalars={"t": "real"}, assumed=[h], **declaring(p="real"))
    second |= {"premises": {"c": premise("0", "<=", "t", "a.first")}, "proof": used("2", "c"), "witness": {"t": "1"}}
    assert reason(first) is None
    assert "rests on more" in reason(first, second)  # p = 1, t = -1


LENGTH = check("tr(X^T*X)", "<=", "2*tr(X^T*X)", scalars=SIZES, matrices={"X": ["m", "n"]}, proof=square("X"))


def named(lhs, rhs, where, **fields):
    """Return a check that uses LENGTH with names for its parts."""
    part = premise("tr(S^T*S)" if "S" in where else "s", "<=", "2*c", "a.first", where=where)
    part["symbols"] = {**EMPTY, "scalars": SIZES, "matrices": {"X": ["m", "n"]}}
    assumed = [{"name": f"{a} is {b}", "kind": "==", "texts": [a, b], "meaning": True} for a, b in where.items()]
    fields = {
        "symbols": part["symbols"],
        "assumed": assumed,
        "premises": {"p": part},
        "proof": used("1", "p"),
        **fields,
    }
    return check(lhs, "<=", rhs, id="a.second", **fields)


def test_a_name_of_a_matrix_has_its_shape():
    where = {"S": "X", "c": "tr(X^T*X)"}
    of_one_entry = named("tr(S)^2", "2*c", where, scalars={"c": "real"}, matrices={"S": ["1", "1"]})
    of_one_entry["witness"] = {"c": "1", "S": [["1"]]}
    assert "S has another shape" in reason(LENGTH, of_one_entry)


def test_a_derivative_is_taken_at_a_point_and_named_by_what_does_not_move():
    at_point = tied([["E", "F"]], scalars=SIZES, matrices=XEF)
    assert reason(check("diff(tr(E^T*E), 1, E, X)", "==", "2*tr(X^T*F)", **at_point)) is None
    by_name = tied([["X", "2*E"]], scalars=SIZES, matrices=XEF)
    assert reason(check("diff(tr(E^T*E), 1, E, F)", "==", "tr(X^T*F)", **by_name)) is None


def test_a_name_stays_what_it_is_where_a_matrix_moves():
    moved = "diff(tr(X^T*X), 1, X, E)"
    first = check(moved, "<=", f"tr(E^T*E) + {moved}", scalars=SIZES, matrices=XEF, proof=square("E"))
    part = premise("diff(s, 1, X, E)", "<=", f"tr(E^T*E) + {moved}", "a.first", where={"s": "tr(X^T*X)"})
    part["symbols"] = {**EMPTY, "scalars": SIZES, "matrices": XEF}
    second = check("0", "<=", f"tr(E^T*E) + {moved}", id="a.second", scalars={**SIZES, "s": "real"}, matrices=XEF)
    second |= {"premises": {"p": part}, "proof": used("1", "p")}
    second["assumed"] = [{"name": "s is tr(X^T*X)", "kind": "==", "texts": ["s", "tr(X^T*X)"], "meaning": True}]
    second["witness"] = {"m": "1", "n": "1", "s": "1", **{name: [["1"]] for name in XEF}}
    assert "derivative" in reason(first, second)  # E = -X


def test_a_matrix_does_not_stand_for_a_number():
    """x E F is E x F, and X E F is not E X F; so with a number c that X is written for."""
    own = {"scalars": {"m": "dimension"}, "matrices": SQUARE, "witness": {"m": "1", **{name: [["1"]] for name in XEF}}}
    first = check("tr(x*E*F)", "==", "tr(E*x*F)", scalars={"x": "real", "m": "dimension"}, matrices=SQUARE)
    part = premise("tr(X*E*F)", "==", "tr(E*X*F)", "a.first", put={"x": "X"}, symbols={**EMPTY, **own})
    second = check("tr(X*E*F)", "<=", "tr(E*X*F)", id="a.second", premises={"p": part}, proof=used("1", "p"), **own)
    assert reason(first) is None
    assert "where a scalar is" in reason(first, second)
    left = "tr({0}*E*F) - tr(E*{0}*F)"
    first = check(left.format("X"), "<=", left.format("X") + " + tr(E)^2", proof=square("tr(E)"), **own)
    part = premise(left.format("c"), "<=", left.format("c") + " + tr(E)^2", "a.first", where={"c": "X"})
    part["symbols"] = {**EMPTY, **own}
    second = check("0", "<=", "2*tr(E)^2", id="a.second", premises={"p": part}, proof=used("2", "p"), **own)
    second["scalars"] = {**own["scalars"], "c": "real"}
    second["witness"] = {**own["witness"], "c": "1"}
    second["assumed"] = [{"name": "c is X", "kind": "==", "texts": ["c", "X"], "meaning": True}]
    assert reason(first) is None
    assert "where a scalar is" in reason(first, second)


def test_a_name_for_something_is_none_that_the_source_has_for_something_else():
    """0 <= x t gives 0 <= t for x > 0, and not for an x that stands for y: x = y = t = -1."""
    first, second, _ = chain(**declaring(x="positive"))
    named = {**second["premises"]["c"], "where": {"x": "y"}, **declaring(y="real")}
    second |= {"scalars": {"t": "real", "x": "real", "y": "real"}, "symbols": EMPTY, "premises": {"c": named}}
    second["assumed"] = [H, {"name": "x is y", "kind": "==", "texts": ["x", "y"], "meaning": True}]
    second["witness"] = {"t": "1", "x": "1", "y": "1"}
    assert "x is another symbol" in reason(first, second)


def test_nothing_is_put_into_a_derivative_that_is_assumed():
    """With c = <E, F> as the derivative of <X, F>, put X for F: that of <X, X> is 2 <E, X>."""
    own = {"scalars": {**SIZES, "c": "real"}, "matrices": XEF}
    own["witness"] = {"m": "1", "n": "1", "c": "0", **{name: [["0"]] for name in XEF}}
    h = {"name": "h", "kind": "==", "texts": ["c", "diff(tr(X^T*F), 1, X, E)"]}
    first = check("2*c", "<=", "2*tr(E^T*F)", premises={"h": premise("c", "==", h["texts"][1])}, assumed=[h], **own)
    first["proof"] = used("2", "h")
    part = premise("2*c", "<=", "2*tr(E^T*X)", "a.first", put={"F": "X"}, symbols={**EMPTY, "matrices": XEF})
    second = check("4*c", "<=", "4*tr(E^T*X)", id="a.second", under=["a.first"], premises={"p": part}, **own)
    second |= {"proof": used("2", "p"), "assumed": [{**h, "texts": ["c", "diff(tr(X^T*X), 1, X, E)"]}]}
    assert reason(first) is None
    assert "put into a derivative" in reason(first, second)


def test_the_rows_of_a_witness_are_of_one_length():
    """X = 0 and F(X, X) >= 1 hold for no X, and for none with an entry that no product sees."""
    zero = {"name": "X = 0", "equations": [["X", "zero(2, 1)"]]}
    printed = {"name": "X = 0", "kind": "==", "texts": ["X", "zero(2, 1)"]}
    never = check("0", "<=", "-1", matrices={"X": ["2", "1"]}, forms={"F": ["2", "1"]}, proof=used("1", "h"))
    never |= {"assumptions": [zero], "premises": {"h": premise("1", "<=", "F(X, X)")}}
    never["assumed"] = [printed, {"name": "h", "kind": "<=", "texts": ["1", "F(X, X)"]}]
    for last_row in (["0"], ["0", "1"]):
        never["witness"] = {"X": [["0"], last_row], "F": [["1", [["0", "0"], ["0", "1"]]]]}
        assert reason(never)


SQUARES = {"s": "tr(X^T*X)", "c": "tr(X^T*X)"}
MOVED = {"scalars": {**SIZES, "s": "real", "c": "real"}, "matrices": XEF}
MOVED["witness"] = {"m": "1", "n": "1", "s": "1", "c": "1"}
MOVED["witness"] |= {name: [["1"]] for name in XEF}


def test_what_a_number_stands_for_moves():
    """With c = ||X||^2 the derivative of c is 2 <X, E> and not 0."""
    assert reason(LENGTH, named("tr(E^T*E) + s", "tr(E^T*E) + 2*c", SQUARES, **MOVED)) is None
    still = named("diff(c, 1, X, E) + s", "2*c", SQUARES, **MOVED)
    assert "a derivative holds fixed" in reason(LENGTH, still)


@pytest.mark.parametrize("bounds", [["c", "tr(X^T*X)"], ["(c - tr(X^T*X))^2", "0"]], ids=["both ways", "squared"])
def test_inequalities_that_are_an_equation_together_tie_what_moves(bounds):
    """With c <= ||X||^2 <= c the derivative of c along E = X is 2 ||X||^2 and not 0."""
    given = {"up": premise(bounds[0], "<=", bounds[1])}
    given |= {"down": premise(bounds[1], "<=", bounds[0])} if bounds[1] != "0" else {}
    total = " + ".join(f"({p['rhs']} - {p['lhs']})" for p in given.values())
    assumed = [{"name": name, "kind": "<=", "texts": [p["lhs"], p["rhs"]]} for name, p in given.items()]
    terms = [term for name in given for term in used("1", name)] + square("F")
    same = {**MOVED, "assumed": assumed, "premises": given, "proof": terms}
    right = f"tr(F^T*F) + {total}"
    assert reason(check("0", "<=", right, **same)) is None
    assert "a derivative holds fixed" in reason(check("diff(c, 1, X, E)", "<=", right, **same))


@pytest.mark.parametrize(("of", "moves"), [("X", True), ("F", False)])
def test_a_norm_moves_with_its_matrix(of, moves):
    norm = {"name": f"||{of}||_2 = c [G]", "kind": "||{}||_2 = {}", "texts": [of, "c"], "fact": "G", "by": []}
    still = check("diff(c, 1, X, E)", "==", "0", **MOVED, assumed=[norm])
    assert ("a derivative holds fixed" in reason(still)) is moves


def test_what_is_assumed_with_a_conclusion_moves_what_it_defines():
    """With E = 2 X the derivative of ||E||^2 along X is not 0."""
    first = check("tr(E^T*E)", "==", "4*tr(X^T*X)", **tied([["E", "2*X"]], scalars=SIZES, matrices=XEF))
    first["witness"] = first["witness"] | {"X": [["1"]], "E": [["2"]]}
    part = premise("tr(E^T*E)", "==", "4*tr(X^T*X)", "a.first")
    second = {"id": "a.second", "under": ["a.first"], "assumed": first["assumed"], "premises": {"p": part}}
    second |= {"scalars": SIZES, "matrices": XEF, "witness": first["witness"], "proof": used("-1", "p")}
    assert reason(first, check("0", "<=", "tr(E^T*E) - 4*tr(X^T*X)", **second)) is None
    still = check("diff(tr(E^T*E), 1, X, F)", "<=", "tr(E^T*E) - 4*tr(X^T*X)", **second)
    assert "a derivative holds fixed" in reason(first, still)


def test_a_number_does_not_stand_for_a_derivative_that_holds_fixed_what_moves():
    """Along X the derivative of ||E||^2 is 0, and not where E = 2 X."""
    slope = "diff(tr(E^T*E), 1, X, F)"
    first = check(slope, "==", "0", scalars=SIZES, matrices=XEF)
    part = premise("c", "==", "0", "a.first", where={"c": slope})
    means = {"name": f"c is {slope}", "kind": "==", "texts": ["c", slope], "meaning": True}
    second = check("2*c", "<=", "0", id="a.second", **MOVED, premises={"p": part}, proof=used("2", "p"))
    second |= {"assumed": [means], "witness": MOVED["witness"] | {"c": "0"}}
    assert reason(first) is None and reason(first, second) is None
    given = tied([["E", "2*X"]])
    second |= {"assumptions": given["assumptions"], "assumed": [*given["assumed"], means]}
    second["witness"] = second["witness"] | {"E": [["2"]]}
    assert "a derivative holds fixed" in reason(first, second)


ODD = "{} is odd"
SIDES, SAID = [[ODD, "t"]], [["t <= 0"]]
NUMBER = {**EMPTY, "scalars": {"t": "real"}}


def schema(source, sides=SIDES, said=SAID, where=None, read=None):
    found = {"lhs": "t", "relation": "<=", "rhs": "0", "facts": [], "sides": sides, "said": said, "source": source}
    return found | {"where": where or {}, "read": read or {}, "symbols": NUMBER}


def instance(fact, *by, name="t <= 0", **fields):
    assumed = [{"name": f"t is odd [{fact}]", "kind": ODD, "texts": ["t"], "fact": fact, "by": []}] * len(by)
    part = premise("t", "<=", "0", facts=[fact], put={"t": "t"}, schema=name, by=list(by), symbols=NUMBER)
    found = check("t", "<=", "0", scalars={"t": "real"}, facts=[fact], assumed=assumed, premises={"p": part}, **fields)
    return found | {"proof": used("1", "p"), "witness": {"t": "-1"}}


SHOWN = check("t", "<=", "0", scalars={"t": "real"}, premises={"t <= 0": premise("t", "<=", "0")})
SHOWN |= {"lhs": "2*t", "proof": used("2", "t <= 0"), "witness": {"t": "-1"}}
SHOWN["assumed"] = [{"name": "t <= 0", "kind": "<=", "texts": ["t", "0"]}]


def fact(**fields):
    return {"F": ["", "", "a", {"t <= 0": {**schema("a.first", **fields), "lhs": "2*t"}}]}


def doubled(*by):
    found = instance("F", *by, id="b.second")
    found["premises"]["p"]["lhs"] = "2*t"
    return {**found, "lhs": "2*t"}


def test_a_side_condition_says_each_assumption_behind_a_fact():
    assert reason(SHOWN, doubled([]), facts=fact()) is None
    assert "nobody says {'t <= 0'}" in reason(SHOWN, doubled([]), facts=fact(said=[[]]))
    assert "nobody says {'t <= 0'}" in reason(SHOWN, doubled(), facts=fact(sides=[], said=[]))


def test_a_fact_of_which_no_part_is_shown_does_not_count_as_proved():
    named = {**chain()[1], "id": "b.second", "facts": ["F"], "symbols": EMPTY, "assumed": [], "under": []}
    named["premises"] = {"c": {**premise("0", "<=", "2*t*t", "a.first"), "facts": ["F"]}}
    named |= {"rhs": "2*(2*t*t)", "witness": {"t": "1"}}
    first = check("0", "<=", "2*t*t", scalars={"t": "real"}, proof=[{"coefficient": "2", "factors": [{"square": "t"}]}])
    assert reason(first, named, facts={"F": ["", "", "a", {}]}) == "the label"
    assert reason(first, {**named, "strength": "PROVED UNDER F"}, facts={"F": ["", "", "a", {}]}) is None


def test_a_fact_shown_under_another_fact_does_not_count_as_proved():
    guess = instance("G", [], strength="PROVED UNDER G")
    facts = {"G": ["", "", "", {"t <= 0": schema(None, said=[[]])}]}
    facts |= {"F": ["", "", "a", {"t <= 0": schema("a.first", said=[["t is odd [G]"]])}]}
    assert reason(guess, facts=facts) is None
    assert "PROVED UNDER G" in reason(guess, instance("F", [], id="b.second"), facts=facts)


def reads_off(source, **fields):
    """Return a check that uses a proved fact whose side condition is read off another check."""
    found = {**doubled([source["id"]]), "id": "b.third", **fields}
    odd = {"name": "t is odd [F]", "kind": ODD, "texts": ["t"], "fact": "F", "by": []}
    return found | {"assumed": [odd, *source["assumed"]]}


def test_what_is_read_off_a_check_rests_on_the_facts_that_this_does():
    guess = instance("G", [], strength="PROVED UNDER G", id="b.second")
    facts = {"G": ["", "", "", {"t <= 0": schema(None, said=[[]])}], **fact()}
    third = reads_off(guess)
    third["assumed"] = [{**third["assumed"][0], "name": "t is odd [F] [G]"}]
    assert "the label is not what is used" in reason(SHOWN, guess, third, facts=facts)
    assert reason(SHOWN, guess, third | {"facts": ["F", "G"], "strength": "PROVED UNDER G"}, facts=facts) is None


def test_what_is_read_off_a_check_is_about_its_symbols_and_divides_by_what_it_divides():
    bound = {**chain()[0], "id": "b.second"}
    assert reason(SHOWN, bound, reads_off(bound, **declaring(x="positive")), facts=fact()) is None
    assert "x is another symbol" in reason(SHOWN, bound, reads_off(bound, **declaring(x="real")), facts=fact())
    quotient = check("2", "==", "(1/t + 1/t)*t", id="b.second", scalars={"t": "real"}, nonzero=["t"])
    assert reason(quotient) is None
    assert "rests on more: {'t'}" in reason(SHOWN, quotient, reads_off(quotient), facts=fact())
    assert reason(SHOWN, quotient, reads_off(quotient, nonzero=["t"]), facts=fact()) is None


def test_a_fact_holds_where_what_its_proof_divides_by_vanishes():
    h = {"name": "t <= 0", "kind": "<=", "texts": ["(p - 1)^2*t", "0"]}
    shown = SHOWN | {"scalars": {"t": "real", "p": "real"}, "nonzero": ["(p - 1)^2"], "assumed": [h]}
    shown |= {"premises": {"t <= 0": premise("(p - 1)^2*t", "<=", "0")}, "witness": {"t": "-1", "p": "0"}}
    shown |= {"lhs": "2*(p - 1)^2*t/(p - 1)^2", "proof": used("2/(p - 1)^2", "t <= 0")}
    assert reason(shown) is None
    assert "rests on more" in reason(shown, doubled([]), facts=fact())  # p = 1, t = 1


@pytest.mark.parametrize(("size", "holds"), [("k", True), ("k^2 + k", True), ("sqrt(k)", False), ("k/2", False)])
def test_what_stands_for_a_dimension_is_an_integer(size, holds):
    """(n - 1)(n - 2) >= 0 for every integer n, and not for the root of 2."""
    whole = {"n": "dimension"}
    part = premise("0", "<=", f"({size} - 1)*({size} - 2)", facts=["F"], put={"n": size}, schema="integers", by=[])
    part["symbols"] = {**EMPTY, "scalars": whole}
    guess = check("0", "<=", f"2*({size} - 1)*({size} - 2)", scalars={"k": "dimension"}, premises={"p": part})
    guess |= {"facts": ["F"], "strength": "PROVED UNDER F", "proof": used("2", "p"), "witness": {"k": "4"}}
    said = {"lhs": "0", "rhs": "(n - 1)*(n - 2)", "sides": [], "said": [], "symbols": part["symbols"]}
    refused = reason(guess, facts={"F": ["", "", "", {"integers": schema(None) | said}]})
    assert refused is None if holds else "is not as n is declared" in refused


@pytest.mark.parametrize(
    ("symbols", "where", "said_of", "objection"),
    [
        (["s"], {"s": "t"}, "s", None),
        (["s", "x"], {"x": "t", "s": "t"}, "x", "symbols are one"),
        (["s", "t"], {"s": "t"}, "t", "symbols are one"),
        (["s"], {"s": "t", "x": "t"}, "s", "x is not declared"),
    ],
)
def test_symbols_of_a_schema_are_renamed_one_by_one(symbols, where, said_of, objection):
    """What is assumed of one symbol says nothing of another one, of which 2 s <= 0 is said then."""
    said = {"lhs": "2*s", "rhs": "0", "sides": [[ODD, said_of]], "said": [["t <= 0"]], "where": where}
    said |= {"symbols": {**EMPTY, "scalars": dict.fromkeys(symbols, "real")}}
    uses = doubled([])
    uses["premises"]["p"]["put"] = dict.fromkeys(symbols, "t")
    found = reason(SHOWN, uses, facts={"F": ["", "", "a", {"t <= 0": {**schema("a.first"), **said}}]})
    assert found is None if objection is None else objection in found


def test_two_symbols_of_a_proof_are_not_one_of_the_schema():
    """t <= -K gives 2 t + 2 K <= 0. There is such a K for every t, and 4 t <= 0 only if it is t itself."""
    shown = check("2*t + 2*K", "<=", "0", scalars={"t": "real", "K": "real"}, proof=used("2", "t <= 0"))
    shown |= {"premises": {"t <= 0": premise("t + K", "<=", "0")}, "witness": {"t": "-1", "K": "1"}}
    shown["assumed"] = [{"name": "t <= 0", "kind": "<=", "texts": ["t + K", "0"]}]
    uses = doubled([]) | {"lhs": "4*t"}
    uses["premises"]["p"]["lhs"] = "4*t"
    said = {**schema("a.first", where={"t": "K"}), "lhs": "4*t"}
    assert reason(shown) is None
    assert "symbols are one" in reason(shown, uses, facts={"F": ["", "", "a", {"t <= 0": said}]})


def test_a_schema_declares_what_its_proof_declares():
    """0 <= x for x > 0, and not for every real number."""
    shown = check("0", "<=", "2*x", scalars={"x": "positive"}, proof=[{"coefficient": "2*x", "factors": []}])
    for sign, holds in (("positive", True), ("nonnegative", False), ("real", False)):
        symbols = {**EMPTY, "scalars": {"t": sign}}
        said = {**schema("a.first", said=[[]], where={"t": "x"}), "lhs": "0", "rhs": "2*t", "symbols": symbols}
        uses = doubled([]) | {"lhs": "0", "rhs": "2*t", "scalars": {"t": sign}, "witness": {"t": "1"}}
        uses["premises"]["p"] |= {"lhs": "0", "rhs": "2*t", "symbols": symbols}
        found = reason(shown, uses, facts={"F": ["", "", "a", {"t <= 0": said}]})
        assert found is None if holds else "is not as x is declared" in found


def test_what_the_proof_declares_of_a_reading_is_told():
    """0 <= 2 (x + y) for x, y > 0: that t is x + y is a hypothesis about t."""
    positive = {"x": "positive", "y": "positive"}
    shown = check("0", "<=", "2*(x + y)", scalars=positive, proof=[{"coefficient": "2*(x + y)", "factors": []}])
    for telling, holds in (("x + y, x positive, y positive", True), ("x + y", False), ("x + y, x positive", False)):
        said = schema("a.first", said=[[]], where={"t": "x + y"}, read={"t": telling}) | {"lhs": "0", "rhs": "2*t"}
        uses = doubled([]) | {"lhs": "0", "rhs": "2*t", "witness": {"t": "1"}}
        uses["premises"]["p"] |= {"lhs": "0", "rhs": "2*t"}
        kind = "{} is read as " + telling
        printed = {"name": f"{kind.format('t')} [F]", "kind": kind, "texts": ["t"], "fact": "F", "by": []}
        uses["assumed"] = [*uses["assumed"], printed]
        found = reason(shown, uses, facts={"F": ["", "", "a", {"t <= 0": said}]})
        assert found is None if holds else "nobody says" in found


def test_a_symbol_of_a_schema_is_not_read_as_what_another_one_stands_for():
    """||A + A||^2 <= 4 ||A||^2, and not ||X||^2 <= 4 ||Y||^2 for X that is A + A for some A."""
    two = {**EMPTY, "scalars": SIZES, "matrices": {"X": ["m", "n"], "E": ["m", "n"]}}
    of_e = {"scalars": SIZES, "matrices": {"E": ["m", "n"]}}
    shown = check("tr((E + E)^T*(E + E))", "<=", "5*tr(E^T*E)", proof=square("E"), **of_e)
    said = {"lhs": "tr(X^T*X)", "rhs": "5*tr(E^T*E)", "relation": "<=", "facts": [], "sides": [[ODD, "X"], [ODD, "E"]]}
    said |= {"said": [[], []], "source": "a.first", "where": {"X": "E + E"}, "read": {"X": "E + E"}, "symbols": two}
    part = premise("tr(X^T*X)", "<=", "5*tr(E^T*E)", facts=["F"], put={"X": "X", "E": "E"}, schema="s", by=[[], []])
    part["symbols"] = two
    kinds = [("X", ODD), ("E", ODD), ("X", "{} is read as E + E")]
    printed = [{"name": f"{k.format(x)} [F]", "kind": k, "texts": [x], "fact": "F", "by": []} for x, k in kinds]
    uses = check("tr(X^T*X)", "<=", "5*tr(E^T*E)", id="b.second", facts=["F"], assumed=printed, premises={"p": part})
    uses |= {**two, "symbols": EMPTY, "proof": used("1", "p")}
    uses["witness"] = {"m": "1", "n": "1", "X": [["1"]], "E": [["1"]]}
    assert reason(shown) is None
    assert "one or tied" in reason(shown, uses, facts={"F": ["", "", "a", {"s": said}]})


@pytest.mark.parametrize("side", [[ODD, "2*t"], [ODD, "t + s"]])
def test_a_side_condition_is_about_symbols_of_the_schema(side):
    """Nothing would stand in the place of those in an expression."""
    uses = doubled([])
    printed = [{"name": f"{side[0].format(*side[1:])} [F]", "kind": side[0], "texts": side[1:], "fact": "F", "by": []}]
    uses |= {"assumed": printed, "scalars": {"t": "real", "s": "real"}, "witness": {"t": "-1", "s": "1"}}
    assert reason(SHOWN, uses, facts=fact(sides=[side]))


def test_no_function_is_replaced():
    """log(x) <= x - 1 is no bound of the root of x: x = 1."""
    first = check("log(x)", "<=", "x - 1", kind="scalar", scalars={"x": "positive"}, sign="g")
    first["bounds"] = {"g": ["u-1-log(u)", "x"]}
    part = premise("sqrt(x)", "<=", "x - 1", "a.first", where={"sqrt": "log"})
    second = check("2*sqrt(x)", "<=", "2*x - 2", id="a.second", scalars={"x": "positive"}, premises={"p": part})
    second["assumed"] = [{"name": "sqrt is log", "kind": "==", "texts": ["sqrt", "log"], "meaning": True}]
    second |= {"proof": used("2", "p"), "witness": {"x": "4"}}
    assert reason(first) is None
    assert reason(first, second)


def run(tmp_path, text):
    path = tmp_path / "proofs.json"
    path.write_text(text, encoding="utf-8")
    return verify.main(str(path))


def document(*checks):
    listed = {"a": {"checks": [check["id"].removeprefix("a.") for check in checks]}}
    return {"checks": [*checks], "facts": {}, "theorems": listed, "not_exported": {}, "computations": {}}


@pytest.mark.parametrize(("kind", "strength"), [("exact", "VERIFIED"), ("numeric", "SAMPLED"), ("scalar", "PROVED")])
@pytest.mark.parametrize("said", ["PROVED", "VERIFIED", "SAMPLED"])
def test_what_was_computed_or_sampled_is_not_called_proved(tmp_path, capsys, kind, strength, said):
    content = document(LENGTH)
    content["theorems"]["a"]["checks"].append("computed")
    content["not_exported"] = {"a.computed": "a computation"}
    content["computations"] = {"a.computed": {"says": "2 + 2 = 5", "kind": kind, "strength": said}}
    assert run(tmp_path, json.dumps(content)) == (said != strength)
    shown = capsys.readouterr().out
    assert ("REFUSED a.computed: the label" in shown) is (said != strength) and "1 not judged" in shown


@pytest.mark.parametrize(
    "text", ['{"checks": [{}]}', '{"checks": [1]}', '{"checks": [], "facts": {}, "theorems": [], "not_exported": {}}']
)
def test_what_is_malformed_is_told_in_words(tmp_path, text):
    path = tmp_path / "proofs.json"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, "-S", verify.__file__, path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("no document of theorems: it is malformed: ")


@pytest.mark.parametrize("field", ["lhs", "nonzero", "scalars", "assumptions", "relation", "kind", "strength", "facts"])
@pytest.mark.parametrize("other", [None, 1, [[]], {"x": 1}, "no"])
def test_a_field_of_another_kind_or_none_is_refused(field, other):
    assert reason({**LENGTH, field: other})
    fewer = {key: value for key, value in LENGTH.items() if key != field}
    assert "it is malformed: KeyError" in reason(fewer)


def test_what_is_refused_is_told_in_one_line(tmp_path, capsys):
    forged = {**LENGTH, "id": "a.x\n9 of 9 checks accepted", "lhs": "X"}
    assert run(tmp_path, json.dumps(document(forged))) == 1
    assert capsys.readouterr().out.count("\n") == 2


def test_a_check_that_was_taken_out_or_put_in_is_missed(tmp_path, capsys):
    content = document(LENGTH)
    assert run(tmp_path, json.dumps(content)) == 0
    assert run(tmp_path, json.dumps({**content, "checks": []})) == 1
    assert run(tmp_path, json.dumps({**content, "theorems": {"a": {"checks": []}}})) == 1
    assert "REFUSED a.first: not both in the list of a theorem and there" in capsys.readouterr().out
    assert run(tmp_path, json.dumps({**content, "checks": [], "theorems": {}})) == 1


def test_a_theorem_without_a_check_is_not_shown(tmp_path, capsys):
    content = document(LENGTH)
    content["theorems"]["b"] = {"statement": ["2 + 2 = 5"], "checks": []}
    assert run(tmp_path, json.dumps(content)) == 1
    assert "REFUSED b.: not both in the list of a theorem and there" in capsys.readouterr().out


def test_a_field_that_is_written_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="twice"):
        run(tmp_path, '{"checks": [], "checks": []}')
