"""1 <= x^2 for every x, since z is -1: it stands for ||A||^2, written in two ways."""

from lorasolve.symbolic import (
    Inequality,
    Square,
    SumOfSquares,
    define,
    dims,
    dropped,
    matrix,
    mutant,
    scalars,
    square,
    tr,
)

REFUSED = r"(?s)first.*: PROVED.*columns.*NOT SHOWN.*no witness.*rows.*NOT SHOWN.*no witness"

m, n = dims("m n")
A = matrix("A", m, n)
x, z = scalars("x z", real=True)
first = SumOfSquares(
    "first",
    "-||A||^2 <= x^2.",
    -square(A),
    x**2,
    proof=[1 * Square(A), 1 * Square(x)],
    mutants=(mutant("sign", "||A||^2", lhs=square(A)), mutant("constant", "x^2 - 1", rhs=x**2 - 1)),
)
MINUS_ONE = define(z, -1)


def follows(name, stands_for):
    """Return the claim with z in the place of a square."""
    return Inequality(
        name,
        "1 <= x^2.",
        1,
        x**2,
        proof=[1 * first.conclusion(-z, where={z: stands_for})],
        given=(MINUS_ONE,),
        mutants=(mutant("constant", "2", lhs=2), dropped(MINUS_ONE)),
    )


CHECKS = (first, follows("columns", square(A)), follows("rows", tr(A @ A.T)))
