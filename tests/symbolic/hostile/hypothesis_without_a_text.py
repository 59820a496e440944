"""A hypothesis with a function in it, taken for the same one about another number: x is small, y is not."""

import sympy

from lorasolve.symbolic import Inequality, Square, dropped, hypothesis, mutant, scalar, scalars

REFUSED = r"(?s)first.*: PROVED.*Abs\(x\) \+ Abs\(x\)\*Abs\(x\) <= 2.*second.*NOT SHOWN.*assumes h \(y for x\)"

x, y, z = scalars("x y z", real=True)
SIZE = scalar(sympy.Abs(x))
SMALL = hypothesis("h", SIZE + SIZE * SIZE, 2)
first = Inequality(
    "first",
    "|x| + |x|^2 <= 2 + z^2.",
    SIZE + SIZE * SIZE,
    2 + scalar(z**2),
    proof=[1 * SMALL, 1 * Square(z)],
    mutants=(mutant("sign", "-", {x: 0, z: 1}, rhs=2 - scalar(z**2)), dropped(SMALL)),
)
MOVED = first.conclusion(put={x: y})
second = Inequality(
    "second",
    "The same of y.",
    MOVED.lhs + SMALL.lhs,
    MOVED.rhs + SMALL.rhs,
    proof=[1 * MOVED, 1 * SMALL],
    mutants=(mutant("sign", "-", {x: 0, y: 0, z: 1}, rhs=4 - scalar(z**2)), dropped(SMALL)),
)
CHECKS = (first, second)
