"""An antiderivative is one up to a constant: two of one function are not equal."""

import sympy

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"Integral\(a, a\) has no ends, so that a constant is left open"

a = scalars("a", real=True)
CHECKS = (
    ScalarCheck(
        "antiderivative",
        "An antiderivative of a is a^2/2.",
        sympy.Integral(a, a),
        a**2 / 2,
        mutants=(mutant("constant", "a^2", rhs=a**2), mutant("sign", "-", rhs=-(a**2) / 2)),
    ),
)
