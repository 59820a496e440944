"""Powers of x whose product is 1, unless x = 0: there both hypotheses hold for t = -1."""

from lorasolve.symbolic import Inequality, Square, dims, hypothesis, mutant, scalars

REFUSED = r"may have a pole: x is not provably other than zero"

a, b, c = dims("a b c")
x, t = scalars("x t", real=True)
FIRST = hypothesis("first", 0, x ** (-9 * a + b + c))
SECOND = hypothesis("second", 0, x ** (7 * a - 3 * b + 9 * c) * t)
ONES = {x: 1, a: 1, b: 1, c: 1}
CHECKS = (
    Inequality(
        "first",
        "0 <= t.",
        0,
        t,
        proof=[Square(x ** (a + b - 5 * c)) * (FIRST * SECOND)],
        mutants=(
            mutant("constant", "1 <= t", {**ONES, t: 0}, lhs=1),
            mutant("sign", "t <= 0", {**ONES, t: 1}, lhs=2 * t),
        ),
    ),
)
