"""The first check assumes 2 x <= y, the second uses its conclusion without assuming that."""

from lorasolve.symbolic import Inequality, dropped, hypothesis, mutant, scalars

REFUSED = r"check first assumes small"

x, y = scalars("x y")
SMALL = hypothesis("small", 2 * x, y)
first = Inequality(
    "first",
    "x <= y.",
    x,
    y,
    proof=[SMALL, x],
    mutants=(mutant("constant", "3 x", {x: 1, y: 2}, lhs=3 * x), dropped(SMALL)),
)
KNOWN = first.conclusion()
second = Inequality(
    "second",
    "x <= 2 y.",
    x,
    2 * y,
    proof=[KNOWN, y],
    mutants=(mutant("constant", "3 x", {x: 1, y: 1}, lhs=3 * x), dropped(KNOWN)),
)
CHECKS = (first, second)
