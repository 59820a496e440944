"""1 <= x^2 for every x, since z is -1: it stands for ||A||^2, written tr(A A^T)."""

from lorasolve.symbolic import Inequality, Square, SumOfSquares, define, dims, dropped, matrix, mutant, scalars, tr

REFUSED = r"(?s)first.*: PROVED.*second.*NOT SHOWN.*no witness"

m, n = dims("m n")
A = matrix("A", m, n)
x, z = scalars("x z", real=True)
first = SumOfSquares(
    "first",
    "-||A||^2 <= x^2.",
    -tr(A @ A.T),
    x**2,
    proof=[1 * Square(A.T), 1 * Square(x)],
    mutants=(mutant("sign", "||A||^2", lhs=tr(A @ A.T)), mutant("constant", "x^2 - 1", rhs=x**2 - 1)),
)
MINUS_ONE = define(z, -1)
second = Inequality(
    "second",
    "1 <= x^2.",
    1,
    x**2,
    proof=[1 * first.conclusion(-z, where={z: tr(A @ A.T)})],
    given=(MINUS_ONE,),
    mutants=(mutant("constant", "2", lhs=2), dropped(MINUS_ONE)),
)
CHECKS = (first, second)
