"""The integral of |cos x| for x = t from -1 to 1 is 2 sin 1; SymPy makes it 0."""

import sympy

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"may run over a kink: cos\(x\) is not provably other than zero"

t, u, x = scalars("t u x", real=True)
CHECKS = (
    ScalarCheck(
        "nothing_below",
        "The integral of |cos t| over t in [-1, 1] and u in [0, 1] is 0.",
        sympy.Integral(sympy.Subs(abs(sympy.cos(x)), x, t), (t, -1, 1), (u, 0, 1)),
        0,
        mutants=(mutant("constant", "1", rhs=1), mutant("sign", "-1", rhs=-1)),
    ),
)
