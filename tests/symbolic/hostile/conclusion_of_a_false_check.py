"""The second check uses what the first claims, and the first is false."""

from lorasolve.symbolic import Inequality, dropped, mutant, scalars

REFUSED = r"check first is not shown"

x, y = scalars("x y")
first = Inequality(
    "first",
    "2 x <= x.",
    2 * x,
    x,
    proof=[x],
    mutants=(mutant("constant", "3 x", lhs=3 * x), mutant("sign", "-x", rhs=-x)),
)
KNOWN = first.conclusion()
second = Inequality(
    "second",
    "x <= 0.",
    x,
    0,
    proof=[KNOWN],
    mutants=(mutant("constant", "1", lhs=x + 1), dropped(KNOWN)),
)
CHECKS = (first, second)
