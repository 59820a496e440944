"""A number called Max in the same text as the function: what is put in its place would be put there too."""

import sympy

from lorasolve.symbolic import Inequality, Square, dropped, hypothesis, mutant, scalar, scalars

REFUSED = r"(?s)first.*NOT SHOWN.*the symbol Max is called like a function"

y, a, high, low = scalars("y a Max Min", real=True)
SMALL, OTHER = hypothesis("h", sympy.Max(y, 1) + high, a), hypothesis("g", sympy.Min(y, 1) + low, a)
first = Inequality(
    "first",
    "2 Max(y, 1) + 2 Max <= 2 a + a^2.",
    2 * scalar(sympy.Max(y, 1) + high),
    2 * a + scalar(a**2),
    proof=[2 * SMALL, 1 * Square(a)],
    mutants=(mutant("sign", "-", {y: 0, high: -1, a: 1}, rhs=2 * a - scalar(a**2)), dropped(SMALL)),
)
MOVED = first.conclusion(put={high: low})
second = Inequality(
    "second",
    "The same, where Min(y, 1) + Min <= a is assumed, and not Max(y, 1) + Min <= a.",
    MOVED.lhs + OTHER.lhs,
    MOVED.rhs + OTHER.rhs,
    proof=[1 * MOVED, 1 * OTHER],
    mutants=(mutant("sign", "-", rhs=-a), dropped(OTHER)),
)
CHECKS = (first, second)
