"""False twins that are refused for a floating point number, before any proof is tried."""

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"SURVIVED constant(.|\n)*which tries no proof: .* contains a floating point number"

x = scalars("x")
CHECKS = (
    ScalarCheck(
        "first",
        "x + x = 2 x.",
        x + x,
        2 * x,
        mutants=(mutant("constant", "2.5 x", rhs=2.5 * x), mutant("sign", "-x", rhs=-x)),
    ),
)
