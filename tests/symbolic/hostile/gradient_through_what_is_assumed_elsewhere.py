"""A derivative that holds fixed what an assumption of another check ties to what moves: A = P T."""

from lorasolve.symbolic import Identity, Inequality, define, dims, gradient, matrix, mutant, orthonormal, square

REFUSED = r"(?s)first.*: PROVED.*second.*NOT SHOWN.*along T would hold A fixed"

m, n, k = dims("m n k")
A, P, T = matrix("A", m, n), matrix("P", m, k), matrix("T", k, n)
DOUBLED, LONGER = mutant("constant", "2 ||A||^2", lhs=2 * square(A)), mutant("sign", "-", lhs=-square(A))
first = Identity(
    "first",
    "||P T|| = ||T||.",
    square(A),
    square(T),
    given=(define(A, P @ T), orthonormal(P)),
    mutants=(DOUBLED, LONGER),
)
second = Inequality(
    "second",
    "It is 4 ||T||^2, and the right side is 0.",
    square(gradient(square(A), T)),
    square(A) - square(T),
    proof=[-1 * first.conclusion()],
    under=(first,),
    mutants=(mutant("constant", "1", lhs=1), mutant("sign", "-1", rhs=square(A) - square(T) - 1)),
)
CHECKS = (first, second)
