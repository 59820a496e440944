"""False twins that are refused for a floating point number, before any proof is tried."""

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"SURVIVED constant(.|\n)*which tries no proof: .* contains a floating point number"

x = scalars("x")
CHECKS = (
    ScalarCheck(
        "first",
        "(x + 1)^2 = x^2 + 2 x + 1.",
        (x + 1) ** 2,
        x**2 + 2 * x + 1,
        mutants=(mutant("constant", "2.5 x", rhs=x**2 + 2.5 * x + 1), mutant("sign", "-2 x", rhs=x**2 - 2 * x + 1)),
    ),
)
