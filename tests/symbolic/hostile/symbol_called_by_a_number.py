"""The claim about a symbol that is called 2 reads 2 x^2 <= 3 x^2 - 1, which is false at x = 0."""

from lorasolve.symbolic import Inequality, Square, hypothesis, mutant, scalars

REFUSED = r"the symbol '3' is not called by a name"

x, three = scalars("x 3", real=True)
LARGE = hypothesis("1 <= (3 - 2) x^2", 1, (three - 2) * x**2)
CHECKS = (
    Inequality(
        "two_below_three",
        "2 x^2 + 1 <= 3 x^2.",
        2 * x**2 + 1,
        three * x**2,
        proof=[LARGE, 0 * Square(x)],
        mutants=(mutant("constant", "x^2 more", lhs=3 * x**2 + 1), mutant("sign", "-3 x^2", rhs=-three * x**2)),
    ),
)
