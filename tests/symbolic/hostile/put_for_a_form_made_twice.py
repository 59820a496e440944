"""H(A, A) + |A|^2 >= 0 where H(A, A) >= 0; put for another form H, K would bring the hypothesis on K and stay H."""

from lorasolve.symbolic import Form, Inequality, Square, dims, hypothesis, matrix, mutant, square

REFUSED = r"check shown at K is not what check shown concludes"

m, n = dims("m n")
A = matrix("A", m, n)
H, K = Form("H", m, n), Form("K", m, n)
TWINS = {A: [[1]], H: [("1", [[1]])], K: [("1", [[1]])]}
ABOUT_H, ABOUT_K = (hypothesis("the form is positive", 0, form(A, A)) for form in (H, K))
shown = Inequality(
    "shown",
    "0 <= H(A, A) + |A|^2.",
    0,
    H(A, A) + square(A),
    proof=[1 * ABOUT_H, 1 * Square(A)],
    mutants=(mutant("sign", "-", TWINS, rhs=-H(A, A)), mutant("constant", "3", TWINS, lhs=3)),
)
CHECKS = (
    shown,
    Inequality(
        "false",
        "0 <= H(A, A) + K(A, A) + |A|^2, where K(A, A) >= 0 alone.",
        0,
        H(A, A) + K(A, A) + square(A),
        proof=[1 * shown.conclusion(H(A, A) + square(A), put={Form("H", m, n): K}), 1 * ABOUT_K],
        mutants=(mutant("sign", "-", TWINS, rhs=-H(A, A)), mutant("constant", "4", TWINS, lhs=4)),
    ),
)
