"""The only counterexample of the twin is a matrix that is not symmetric, for a symmetric symbol."""

from lorasolve.symbolic import Inequality, Square, dims, matrix, mutant, square, tr

REFUSED = r"no counterexample"

m = dims("m")
S = matrix("S", m, m, symmetric=True)
CHECKS = (
    Inequality(
        "trace_of_square",
        "tr S^2 <= ||S||^2.",
        tr(S @ S),
        square(S),
        proof=[0 * Square(S)],
        mutants=(
            mutant("sign", "||S||^2 <= tr S^2", {S: [[0, 1], [0, 0]]}, lhs=square(S), rhs=tr(S @ S), proof=[]),
            mutant("constant", "2 ||S||^2 <= tr S^2", {S: [[0, 1], [0, 0]]}, lhs=2 * square(S), rhs=tr(S @ S)),
        ),
    ),
)
