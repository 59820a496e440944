"""The integral of |cos x| over [-1, 1] is 2 sin 1; SymPy works out 0, from a primitive that jumps at 0."""

import sympy

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"may run over a kink: cos\(x\) is not provably other than zero"

x = scalars("x", real=True)
CHECKS = (
    ScalarCheck(
        "integral_of_a_positive_function",
        "The integral of |cos x| over [-1, 1] is 0.",
        sympy.Integral(sympy.Abs(sympy.cos(x)), (x, -1, 1)),
        sympy.Integer(0),
        mutants=(mutant("constant", "1", rhs=sympy.Integer(1)), mutant("sign", "-1", rhs=-sympy.Integer(1))),
    ),
)
