"""A title in one line.

Statement
---------
For P with orthonormal columns, ||P^T A||_F <= ||A||_F.

Assumptions
-----------
P^T P = I.

Source
------
Textbook.

Idea
----
The rest of A is orthogonal to the range of P.

Checks
------
projection : PROVED

Used by
-------
No file of the package.
"""

from lorasolve.symbolic import (
    Square,
    SumOfSquares,
    Theorem,
    dims,
    dropped,
    matrix,
    mutant,
    orthonormal,
    run_module,
    square,
)

m, n, k = dims("m n k")
A, P = matrix("A", m, n), matrix("P", m, k)
P_ORTHONORMAL = orthonormal(P)

CHECKS = (
    SumOfSquares(
        "projection",
        "||P^T A||^2 <= ||A||^2.",
        square(P.T @ A),
        square(A),
        proof=[1 * Square(A - P @ P.T @ A)],
        given=(P_ORTHONORMAL,),
        mutants=(mutant("constant", "||A||^2/2", rhs=square(A) / 2), dropped(P_ORTHONORMAL)),
    ),
)

THEOREM = Theorem(__doc__, CHECKS, prose={})

if __name__ == "__main__":
    raise SystemExit(run_module("template", THEOREM))
