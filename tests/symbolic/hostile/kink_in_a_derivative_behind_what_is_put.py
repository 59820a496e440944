"""|x| has no derivative at 0, which SymPy makes 0, also where y is put in the place of x."""

import sympy

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"may run over a kink: x is not provably other than zero"

x, y = scalars("x y", real=True)
slope = sympy.Derivative(sympy.Subs(abs(x), x, y), y)
CHECKS = (
    ScalarCheck(
        "flat_at_0",
        "The derivative of |y| at y = 0 is 0.",
        sympy.Subs(slope, y, 0),
        0,
        mutants=(mutant("constant", "1", rhs=1), mutant("sign", "-1", rhs=-1)),
    ),
)
