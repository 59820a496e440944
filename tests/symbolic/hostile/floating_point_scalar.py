"""A float in a statement between numbers."""

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"floating point"

x = scalars("x")
CHECKS = (
    ScalarCheck(
        "half",
        "0.5 x = x/2.",
        0.5 * x,
        x / 2,
        mutants=(mutant("constant", "2", rhs=2 * x), mutant("sign", "-x", rhs=-x)),
    ),
)
