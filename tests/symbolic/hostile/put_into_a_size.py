"""tr(A)^2 <= n |A|^2 for n x n matrices; with 1 in the place of n, A would have to be 1 x 1."""

from lorasolve.symbolic import Inequality, Square, SumOfSquares, dims, eye, matrix, mutant, square, tr

REFUSED = r"A is not 1 x 1, as A is in check traced"

n = dims("n")
A = matrix("A", n, n)
ONES = {A: [[1, 0], [0, 1]], n: 2}
traced = SumOfSquares(
    "traced",
    "tr(A)^2 <= n |A|^2.",
    tr(A) * tr(A),
    n * square(A),
    proof=[n * Square(A - 1 / n * (tr(A) * eye(n)))],
    mutants=(
        mutant("constant", "half", rhs=n * square(A) / 2),
        mutant("sign", "-n |A|^2", rhs=-n * square(A)),
    ),
)
CHECKS = (
    traced,
    Inequality(
        "false",
        "tr(A)^2 <= |A|^2.",
        tr(A) * tr(A),
        square(A),
        proof=[traced.conclusion(put={n: 1})],
        mutants=(
            mutant("constant", "half", rhs=square(A) / 2),
            mutant("sign", "-|A|^2", rhs=-square(A)),
        ),
    ),
)
