"""Z is A in one check and 2 A in the next, both by the name of a definition of Z."""

from lorasolve.symbolic import Inequality, define, dims, dropped, matrix, mutant, square

REFUSED = r"two different things are assumed by the name Z is defined"

m, n = dims("m n")
A, Z = matrix("A", m, n), matrix("Z", m, n)
ONCE, TWICE = define(Z, A), define(Z, 2 * A)
same = Inequality(
    "same",
    "|Z|^2 <= |A|^2 for Z = A.",
    square(Z),
    square(A),
    proof=[],
    given=(ONCE,),
    mutants=(mutant("constant", "half", rhs=square(A) / 2), dropped(ONCE)),
)
CHECKS = (
    same,
    Inequality(
        "false",
        "4 |A|^2 <= |A|^2.",
        4 * square(A),
        square(A),
        proof=[same.conclusion()],
        under=(same,),
        given=(TWICE,),
        mutants=(
            mutant("constant", "less 1", rhs=square(A) - 1),
            mutant("sign", "plus 1", lhs=4 * square(A) + 1),
        ),
    ),
)
