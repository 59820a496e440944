"""The first pi is a number, the second a symbol that may be anything: the printed claim says neither."""

import sympy

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"two different symbols are printed pi"

x, pi = scalars("x pi", real=True)
CHECKS = (
    ScalarCheck(
        "square_of_a_sum",
        "(x + pi)^2 - pi^2 - 2 pi x is x^2 + pi^2 - pi^2.",
        (x + pi) ** 2 - sympy.pi**2 - 2 * pi * x,
        x**2 + pi**2 - sympy.pi**2,
        mutants=(mutant("constant", "2 x^2", rhs=2 * x**2), mutant("sign", "-x^2", rhs=-(x**2))),
    ),
)
