"""1 <= 0 where x <= z <= -1, from a check that holds where 0 <= x."""

from lorasolve.symbolic import Inequality, Square, hypothesis, mutant, scalars

REFUSED = r"(?s)first.*: PROVED.*second.*NOT SHOWN.*no witness"

x, y, z = scalars("x y z", real=True)
UP, DOWN, BELOW = hypothesis("0 <= x", 0, x), hypothesis("x <= z", x, z), hypothesis("z <= -1", z, -1)
first = Inequality(
    "first",
    "-y^2 <= x.",
    -(y**2),
    x,
    proof=[1 * UP, 1 * Square(y)],
    mutants=(mutant("sign", "y^2", lhs=y**2), mutant("constant", "1 - y^2", lhs=1 - y**2)),
)
second = Inequality(
    "second",
    "1 <= y^2.",
    1,
    y**2,
    proof=[1 * first.conclusion(), 1 * DOWN, 1 * BELOW],
    under=(first,),
    mutants=(mutant("constant", "2", lhs=2), mutant("sign", "-y^2", rhs=-(y**2))),
)
CHECKS = (first, second)
