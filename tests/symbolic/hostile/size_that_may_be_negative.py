"""An identity matrix of m - n rows, whose squared norm would show n <= m."""

from lorasolve.symbolic import Square, SumOfSquares, define, dims, eye, matrix, mutant, zeros

REFUSED = r"the size m - n is not shown to be a positive integer"

m, n = dims("m n")
Q = matrix("Q", m, m - n)
CHECKS = (
    SumOfSquares(
        "first",
        "n <= m.",
        n,
        m,
        proof=[Square(eye(m - n))],
        given=(define(Q, zeros(m, m - n)),),
        mutants=(mutant("constant", "n <= m/2", rhs=m / 2), mutant("sign", "n <= -m", rhs=-m)),
    ),
)
