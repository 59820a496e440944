"""The square of sqrt t is t, which is negative for some real t."""

import sympy

from lorasolve.symbolic import Square, SumOfSquares, mutant, scalars

REFUSED = r"need not be real"

t = scalars("t", real=True)
CHECKS = (
    SumOfSquares(
        "real_is_nonnegative",
        "0 <= t for every real t.",
        0,
        t,
        proof=[1 * Square(sympy.sqrt(t))],
        mutants=(mutant("constant", "1", {t: "1/2"}, lhs=1), mutant("sign", "-t", {t: 1}, rhs=-t)),
    ),
)
