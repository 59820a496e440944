"""A side condition on A B, which in an instance is about its own A and B and not about what the schema is used for."""

from lorasolve.symbolic import (
    Fact,
    Inequality,
    Property,
    Schema,
    Square,
    dims,
    dropped,
    hypothesis,
    matrix,
    mutant,
    scalar,
    scalars,
    square,
    tr,
)

REFUSED = r"(?s)first.*: PROVED.*second.*NOT SHOWN.*a side condition speaks of A\*B, which is no symbol"

n = dims("n")
A, B, X, Y = (matrix(name, n, n) for name in "ABXY")
a = scalars("a", real=True)
TRACE = hypothesis("tr A B <= a", tr(A @ B), a)
first = Inequality(
    "first",
    "tr A B <= a + ||A||^2 + ||B||^2.",
    tr(A @ B),
    scalar(a) + square(A) + square(B),
    proof=[1 * TRACE, 1 * Square(A), 1 * Square(B)],
    mutants=(mutant("sign", "-", rhs=scalar(a) - square(A) - square(B)), dropped(TRACE, {A: [[1]], B: [[1]], a: -9})),
)
REAL, SMALL = Property("{} is real"), Property("tr {} <= {}")
FACT = Fact(
    "traces",
    "tr A B <= a + ||A||^2 + ||B||^2 where tr A B <= a",
    "nowhere",
    "hostile",
    (Schema("small", first.lhs, first.rhs, {REAL(A): (), REAL(B): (), SMALL(A @ B, a): (TRACE,)}, first),),
)
second = Inequality(
    "second",
    "tr X Y <= a + ||X||^2 + ||Y||^2, whatever a is.",
    tr(X @ Y),
    scalar(a) + square(X) + square(Y),
    proof=[1 * FACT.instance("small", REAL(X), REAL(Y), SMALL(A @ B, a))],
    mutants=(
        mutant("sign", "-", {X: [[1]], Y: [[1]], a: 0}, rhs=scalar(a) - square(X) - square(Y)),
        mutant("constant", "-9", {X: [[1]], Y: [[1]], a: 0}, rhs=scalar(a) - 9),
    ),
)
CHECKS = (first, second)
