"""0 <= 2 H(Y, Y) + |Y|^2 where H(Y, Y) >= 0; a side condition on Y alone would say it of any form called H."""

from lorasolve.symbolic import (
    Fact,
    Form,
    Inequality,
    Property,
    Schema,
    Square,
    dims,
    hypothesis,
    matrix,
    mutant,
    square,
)

REFUSED = r"no side condition of forms, positive, speaks of H"

m, n = dims("m n")
A, Y, H = matrix("A", m, n), matrix("Y", m, n), Form("H", m, n)
TWINS = {A: [[1]], Y: [[1]], H: [("1", [[1]])]}
POSITIVE = hypothesis("H(Y, Y) >= 0", 0, H(Y, Y))
NICE = Property("{} is nice")
shown = Inequality(
    "shown",
    "0 <= 2 H(Y, Y) + |Y|^2.",
    0,
    2 * H(Y, Y) + square(Y),
    proof=[2 * POSITIVE, 1 * Square(Y)],
    mutants=(mutant("sign", "-", TWINS, rhs=-H(Y, Y)), mutant("constant", "4", TWINS, lhs=4)),
)
SCHEMA = Schema("positive", 0, 2 * H(Y, Y) + square(Y), {NICE(Y): (POSITIVE,)}, shown)
FACT = Fact("forms", "0 <= 2 H(Y, Y) + |Y|^2", "nowhere", "hostile", (SCHEMA,))
CHECKS = (
    shown,
    Inequality(
        "false",
        "0 <= 2 H(A, A) + 2 |A|^2 for a nice A.",
        0,
        2 * H(A, A) + 2 * square(A),
        proof=[1 * FACT.instance("positive", NICE(A)), 1 * Square(A)],
        mutants=(mutant("sign", "-", TWINS, rhs=-H(A, A)), mutant("constant", "5", TWINS, lhs=5)),
    ),
)
