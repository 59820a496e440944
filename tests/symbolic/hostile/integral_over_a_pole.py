"""The integral of 1/t^2 over [-a, a] is infinite; SymPy works out -2/a, from the values of -1/t at the ends."""

import sympy

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"may run over a pole"

a = scalars("a", positive=True)
t = scalars("t", real=True)
CHECKS = (
    ScalarCheck(
        "below_zero",
        "The integral of a positive function is negative.",
        sympy.Integral(1 / t**2, (t, -a, a)),
        -2 / a,
        mutants=(mutant("constant", "-3/a", rhs=-3 / a), mutant("sign", "2/a", rhs=2 / a)),
    ),
)
