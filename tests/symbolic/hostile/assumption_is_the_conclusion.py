"""What is to be shown is a definition: W = I, of a matrix that is called I."""

from lorasolve.symbolic import Identity, define, dims, dropped, eye, matrix, mutant

REFUSED = r"is the conclusion"

n = dims("n")
W = matrix("W", n, n)
NAMED = define(W, eye(n))
CHECKS = (
    Identity(
        "wanted",
        "Every such matrix is the identity.",
        eye(n),
        W,
        given=(NAMED,),
        mutants=(mutant("constant", "2 W", rhs=2 * W), dropped(NAMED)),
    ),
)
