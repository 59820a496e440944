"""x <= y, from a check that holds where z <= 0, and one that holds where 1 <= z, of which neither side tells."""

from lorasolve.symbolic import Inequality, hypothesis, mutant, scalars

REFUSED = r"(?s)first.*: PROVED.*second.*: PROVED.*both.*NOT SHOWN.*z <= 0 and .*1 <= z contradict each other"

x, y, z = scalars("x y z", real=True)
first = Inequality(
    "first",
    "x <= 0.",
    x,
    0,
    proof=[1 * hypothesis("x <= z", x, z), 1 * hypothesis("z <= 0", z, 0)],
    mutants=(mutant("sign", "-x", lhs=-x), mutant("constant", "1", lhs=1)),
)
second = Inequality(
    "second",
    "0 <= y.",
    0,
    y,
    proof=[1 * hypothesis("z - 1 <= y", z - 1, y), 1 * hypothesis("1 <= z", 1, z)],
    mutants=(mutant("sign", "-y", rhs=-y), mutant("constant", "-1", rhs=-1)),
)
both = Inequality(
    "both",
    "x <= y.",
    x,
    y,
    proof=[1 * first.conclusion(), 1 * second.conclusion()],
    under=(first, second),
    mutants=(mutant("sign", "-y", rhs=-y), mutant("constant", "y - 1", rhs=y - 1)),
)
CHECKS = (first, second, both)
