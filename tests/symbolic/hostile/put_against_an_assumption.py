"""With P^T P = I, |P^T A| <= |A|; with 2 P in the place of P, 4 |P^T A|^2 <= |A|^2 needs (2 P)^T 2 P = I too."""

from lorasolve.symbolic import Inequality, Square, SumOfSquares, dims, dropped, matrix, mutant, orthonormal, square

REFUSED = r"P orthonormal \(2\*P for P\): that contradicts the other assumptions"

m, n, k = dims("m n k")
A, P = matrix("A", m, n), matrix("P", m, k)
FRAME = orthonormal(P)
projection = SumOfSquares(
    "projection",
    "|P^T A|^2 <= |A|^2.",
    square(P.T @ A),
    square(A),
    proof=[1 * Square(A - P @ P.T @ A)],
    given=(FRAME,),
    mutants=(mutant("constant", "half", rhs=square(A) / 2), dropped(FRAME)),
)
AT = {A: [[1], [2]], P: [[1], [0]]}
CHECKS = (
    projection,
    Inequality(
        "false",
        "4 |P^T A|^2 <= |A|^2.",
        4 * square(P.T @ A),
        square(A),
        proof=[projection.conclusion(put={P: 2 * P})],
        under=(projection,),
        given=(FRAME,),
        mutants=(
            mutant("constant", "|A|^2/2", AT, rhs=square(A) / 2),
            mutant("sign", "-|A|^2", AT, rhs=-square(A)),
        ),
    ),
)
