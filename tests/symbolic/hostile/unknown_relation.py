"""A relation that the checks do not know."""

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"the relation is '<'; accepted: '==' and '<='"

x = scalars("x")
CHECKS = (
    ScalarCheck(
        "first",
        "x < x.",
        x,
        x,
        relation="<",
        mutants=(mutant("constant", "2 x < x", lhs=2 * x), mutant("sign", "x < -x", rhs=-x)),
    ),
)
