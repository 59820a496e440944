"""The first check is true, but nobody runs it."""

from lorasolve.symbolic import Inequality, mutant, scalars

REFUSED = r"check first is in the list of no theorem"

x, y = scalars("x y")
first = Inequality(
    "first",
    "x <= 2 x.",
    x,
    2 * x,
    proof=[x],
    mutants=(mutant("constant", "3 x", lhs=3 * x), mutant("sign", "-x", rhs=-x)),
)
KNOWN = first.conclusion()
second = Inequality(
    "second",
    "2 x <= 4 x.",
    2 * x,
    4 * x,
    proof=[2 * KNOWN],
    mutants=(mutant("constant", "8 x", lhs=8 * x), mutant("sign", "-4 x", rhs=-4 * x)),
)
CHECKS = (second,)
