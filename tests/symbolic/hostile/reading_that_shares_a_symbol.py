"""||A + A||^2 <= 4 ||A||^2, read as ||X||^2 <= 4 ||Y||^2: that Y is the A of which X is A + A nothing tells."""

from lorasolve.symbolic import Fact, Inequality, Property, Schema, Square, SumOfSquares, dims, matrix, mutant, square

REFUSED = r"(?s)first.*: PROVED.*second.*NOT SHOWN.*X is read as A \+ A, and A is what another symbol is"

m, n = dims("m n")
A, X, Y, U, V = (matrix(name, m, n) for name in "AXYUV")
first = SumOfSquares(
    "first",
    "||A + A||^2 <= 5 ||A||^2.",
    square(A + A),
    5 * square(A),
    proof=[1 * Square(A)],
    mutants=(mutant("constant", "3", rhs=3 * square(A)), mutant("sign", "-5", rhs=-5 * square(A))),
)
REAL = Property("{} is real")
FACT = Fact(
    "doubles",
    "||X||^2 <= 5 ||Y||^2",
    "nowhere",
    "hostile",
    (Schema("longer", square(X), 5 * square(Y), {REAL(X): (), REAL(Y): ()}, first, {X: A + A, Y: A}),),
)
second = Inequality(
    "second",
    "||U||^2 <= 5 ||V||^2.",
    square(U),
    5 * square(V),
    proof=[1 * FACT.instance("longer", REAL(U), REAL(V))],
    mutants=(
        mutant("constant", "-1", {U: [[1]], V: [[1]]}, rhs=5 * square(V) - 5),
        mutant("sign", "-5", {U: [[1]], V: [[1]]}, rhs=-5 * square(V)),
    ),
)
CHECKS = (first, second)
