"""0.1 + 0.2 is not 3/10."""

from lorasolve.symbolic import Identity, mutant, scalars

REFUSED = r"floating point"

x = scalars("x")
CHECKS = (
    Identity(
        "sum_of_floats",
        "(0.1 + 0.2) x.",
        (0.1 + 0.2) * x,
        0.30000000000000004 * x,
        mutants=(mutant("constant", "2", rhs=2 * x), mutant("sign", "-x", rhs=-x)),
    ),
)
