"""What holds for a symmetric A is restated in numbers, and used for an A that is not symmetric."""

from lorasolve.symbolic import Inequality, Square, SumOfSquares, dims, matrix, mutant, scalars, square, tr

REFUSED = r"two different symbols are printed A"

n = dims("n")
A, symmetric = matrix("A", n, n), matrix("A", n, n, symmetric=True)
y, z = scalars("y z", real=True)
ONE = {y: 1, z: 1}
first = SumOfSquares(
    "first",
    "|A|^2 <= tr(A A) for symmetric A.",
    square(symmetric),
    tr(symmetric @ symmetric),
    proof=[0 * Square(symmetric)],
    mutants=(
        mutant("constant", "half", rhs=tr(symmetric @ symmetric) / 2),
        mutant("sign", "-tr(A A)", rhs=-tr(symmetric @ symmetric)),
    ),
)
second = Inequality(
    "second",
    "The same in numbers.",
    y,
    z,
    proof=[first.conclusion(y, z, where={y: square(symmetric), z: tr(symmetric @ symmetric)})],
    under=(first,),
    mutants=(mutant("constant", "half", ONE, rhs=z / 2), mutant("sign", "-z", ONE, rhs=-z)),
)
CHECKS = (
    first,
    second,
    Inequality(
        "false",
        "|A|^2 <= tr(A A) for every square A.",
        square(A),
        tr(A @ A),
        proof=[second.conclusion(put={y: square(A), z: tr(A @ A)})],
        under=(second,),
        mutants=(
            mutant("constant", "half", {A: [[1]], n: 1}, rhs=tr(A @ A) / 2),
            mutant("sign", "-tr(A A)", {A: [[1]], n: 1}, rhs=-tr(A @ A)),
        ),
    ),
)
