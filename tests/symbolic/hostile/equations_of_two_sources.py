"""n x^2 <= 0, from a check that holds where X^T X = I, and one that holds where X = 0."""

from lorasolve.symbolic import Inequality, Square, define, dims, matrix, mutant, orthonormal, scalars, square, zeros

REFUSED = r"(?s)below.*: PROVED.*above.*: PROVED.*both.*NOT SHOWN.*X == zero\(n, n\): the equations .* contradict that"

n = dims("n")
x, y = scalars("x y", real=True)
X = matrix("X", n, n)


def scaled(name, left, right, assumption):
    """Return a check with a square in it, so that its twins are false."""
    return Inequality(
        name,
        "",
        left,
        right + y**2,
        proof=[1 * Square(y)],
        given=(assumption,),
        mutants=(mutant("sign", "- y^2", rhs=right - y**2), mutant("constant", "- 1", rhs=right - 1)),
    )


below = scaled("below", n * x**2, x**2 * square(X), orthonormal(X))
above = scaled("above", x**2 * square(X), 0, define(X, zeros(n, n)))
both = Inequality(
    "both",
    "n x^2 <= 2 y^2.",
    n * x**2,
    2 * y**2,
    proof=[1 * below.conclusion(), 1 * above.conclusion()],
    under=(below, above),
    mutants=(mutant("sign", "-2 y^2", rhs=-2 * y**2), mutant("constant", "2 y^2 - 1", rhs=2 * y**2 - 1)),
)
CHECKS = (below, above, both)
