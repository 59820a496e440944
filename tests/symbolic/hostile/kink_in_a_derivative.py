"""|x| has no derivative at 0; SymPy has sign(0) = 0 for it."""

import sympy

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"may run over a kink: x is not provably other than zero"

x = scalars("x", real=True)
CHECKS = (
    ScalarCheck(
        "flat_at_zero",
        "The derivative of |x| at 0 is 0.",
        sympy.Subs(sympy.Derivative(sympy.Abs(x), x), x, 0),
        sympy.Integer(0),
        mutants=(mutant("constant", "1", rhs=sympy.Integer(1)), mutant("sign", "-1", rhs=-sympy.Integer(1))),
    ),
)
