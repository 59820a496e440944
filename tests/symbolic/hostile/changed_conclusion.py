"""A conclusion with another right side, made by hand."""

from lorasolve.symbolic import Inequality, Premise, dropped, mutant, scalars

REFUSED = r"is not what check first concludes"

x, y = scalars("x y")
first = Inequality(
    "first",
    "x <= 2 x.",
    x,
    2 * x,
    proof=[x],
    mutants=(mutant("constant", "3 x", lhs=3 * x), mutant("sign", "-x", rhs=-x)),
)
KNOWN = Premise("check first", x, 0, source=first)
second = Inequality(
    "second",
    "x <= 0.",
    x,
    0,
    proof=[KNOWN],
    mutants=(mutant("constant", "1", lhs=x + 1), dropped(KNOWN)),
)
CHECKS = (first, second)
