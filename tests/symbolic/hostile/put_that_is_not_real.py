"""Numbers that are not real in the place of one that is: with x^2 for the root of y and for i y nothing shows it."""

import sympy

from lorasolve.symbolic import Inequality, Square, SumOfSquares, mutant, scalars

REFUSED = (
    r"(?s)first.*: PROVED.*second.*NOT SHOWN.*sqrt\(y\) need not be real.*third.*NOT SHOWN.*I\*y is not real.*"
    r"fourth.*NOT SHOWN.*oo is not a number"
)

x, y = scalars("x y", real=True)
first = SumOfSquares(
    "first",
    "0 <= x^2.",
    0,
    x**2,
    proof=[1 * Square(x)],
    mutants=(mutant("constant", "1", {x: 0}, lhs=1), mutant("sign", "-", {x: 1}, rhs=-(x**2))),
)


def at(name, value):
    """Return the claim that the square of a number is not negative."""
    claimed = value**2
    return Inequality(
        name,
        f"0 <= {claimed}.",
        -1,
        claimed,
        proof=[1 * first.conclusion(put={x: value}), 1],
        mutants=(mutant("constant", "1", {y: 0}, lhs=1), mutant("sign", "2", {y: 0}, lhs=2)),
    )


CHECKS = (first, at("second", sympy.sqrt(y)), at("third", sympy.I * y), at("fourth", sympy.oo))
