"""Von Neumann's trace inequality, by way of Ky Fan's.

Statement
---------
<X, Y> <= sum_i sigma_i(X) sigma_i(Y). For orthonormal columns A, B, k of them, <A B^T, Y> is at most the sum of the k
largest singular values of Y.

Assumptions
-----------
Y = U1 (tau I + C C^T) V1^T + Y2 with k orthonormal columns, where (tau U1 V1^T + Y2)^T (tau U1 V1^T + Y2) = tau^2 I -
F^T F says that the values of Y2 are at most tau and off U1, V1. With X = sum_j x_j u_j v_j^T, x_1 >= x_2 >= .. >= 0,
and y_j = sigma_j(Y): S_j = y_1 + .. + y_j, K_j = sum_(i <= j) u_i^T Y v_i, which Ky Fan's inequality bounds by S_j.

Source
------
Fan, Proc. Nat. Acad. Sci. 37 (1951); Mirsky, Monatsh. Math. 79 (1975).

Idea
----
Split Y at level tau and use norm duality twice, as squares. Then sum by parts: with w_j = sum_(i <= j) x_i u_i^T Y
v_i and d_j = sum_(i <= j) x_i y_i, w_j <= d_j + x_j (K_j - S_j) for every j.

Checks
------
ky_fan : PROVED
first_term : PROVED
next_term : PROVED
von_neumann : PROVED

Used by
-------
No file of the package directly.
"""

from fractions import Fraction
from random import Random

import sympy

from lorasolve.symbolic import (
    Inequality,
    ScalarCheck,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    assume,
    dims,
    dropped,
    eye,
    hypothesis,
    inner,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    tr,
)
from lorasolve.symbolic import rational as ra

m, n, k = dims("m n k")
tau = scalars("tau")
half = sympy.Rational(1, 2)
F = matrix("F", n, n)

# A, B have k orthonormal columns, U1, V1 carry the k largest values of Y.
A, B, U1, V1 = matrix("A", m, k), matrix("B", n, k), matrix("U1", m, k), matrix("V1", n, k)
C, Y2 = matrix("C", k, k), matrix("Y2", m, n)
LEVEL = tau * U1 @ V1.T + Y2
WHOLE = U1 @ C @ C.T @ V1.T + LEVEL


def _level(values: Values, rng: Random) -> None:
    """Choose Y2 = (3/5) tau times an isometry of the rest of V1 onto columns off U1, and F as what is missing."""
    rest = ra.complement(values["V1"])
    rows, kept, width = len(values["Y2"]), len(values["U1"][0]), len(rest)
    if rows < kept + width:
        raise ra.Unfit("too few rows")
    whole = ra.random_orthogonal(rng, rows)
    values["U1"] = [row[:kept] for row in whole]
    other = ra.multiply([row[kept : kept + width] for row in whole], rest)
    values["Y2"] = ra.scale(values[tau] * Fraction(3, 5), other)
    values["F"] = ra.scale(values[tau] * Fraction(4, 5), rest)


A_ORTHONORMAL, B_ORTHONORMAL = orthonormal(A), orthonormal(B)
U1_ORTHONORMAL, V1_ORTHONORMAL = orthonormal(U1), orthonormal(V1)
AT_MOST = assume(
    "(tau U1 V1^T + Y2)^T (tau U1 V1^T + Y2) = tau^2 I - F^T F",
    (Y2.T @ Y2, tau**2 * (eye(n) - V1 @ V1.T) - tau * V1 @ U1.T @ Y2 - tau * Y2.T @ U1 @ V1.T - F.T @ F),
    impose=_level,
)

PLAIN = {
    A: [[1], [0]], B: [[1], [0]], U1: [[1], [0]], V1: [[1], [0]], C: [[1]], Y2: [[0, 0], [0, "3/5"]],
    F: [[0, 0], [0, "4/5"]], tau: 1,
}  # fmt: skip

# Numbers: x_j, x_{j+1}, y_{j+1}, and the partial sums; what is drawn is u_i^T Y v_i, of any sign.
x, x_next, y_next = scalars("x x_next y_next", nonnegative=True)
w, d, K_sum, S_sum, pair_next = scalars("w d K S p", real=True)
HERE = hypothesis("w_j <= d_j + x_j (K_j - S_j)", w, d + x * (K_sum - S_sum))
ORDER, FAN = hypothesis("x_{j+1} <= x_j", x_next, x), hypothesis("K_j <= S_j", K_sum, S_sum)
STEP = {x: 1, x_next: 1, y_next: 1, w: 1, d: 1, K_sum: 1, S_sum: 1, pair_next: 1}

von_neumann = Inequality(
    "von_neumann",
    "<X, Y> = w_k <= d_k = sum_i x_i y_i.",
    w,
    d,
    proof=[HERE, x * FAN],
    mutants=(
        mutant("constant", "d/2", STEP, rhs=d / 2),
        mutant("sign", "-d", STEP, rhs=-d),
        dropped(FAN, {**STEP, K_sum: 2, w: 2}),
    ),
)

CHECKS = (
    SumOfSquares(
        "ky_fan",
        "<A B^T, Y> <= tr(tau I + C C^T), the sum of the k largest singular values of Y.",
        inner(A @ B.T, WHOLE),
        k * tau + tr(C @ C.T),
        proof=[
            half * Square(A.T @ U1 @ C - B.T @ V1 @ C),
            half * Square((eye(m) - A @ A.T) @ U1 @ C),
            half * Square((eye(n) - B @ B.T) @ V1 @ C),
            1 / (2 * tau) * Square(tau * A - LEVEL @ B),
            1 / (2 * tau) * Square(F @ B),
        ],
        given=(A_ORTHONORMAL, B_ORTHONORMAL, U1_ORTHONORMAL, V1_ORTHONORMAL, AT_MOST),
        mutants=(
            mutant("constant", "k tau/2", PLAIN, rhs=k * tau / 2 + tr(C @ C.T)),
            mutant("sign", "k tau - tr C C^T", PLAIN, rhs=k * tau - tr(C @ C.T)),
            dropped(AT_MOST),
        ),
    ),
    ScalarCheck(
        "first_term",
        "j = 1: x_1 K_1 = x_1 S_1 + x_1 (K_1 - S_1).",
        x * K_sum,
        x * S_sum + x * (K_sum - S_sum),
        mutants=(
            mutant("sign", "S_1 - K_1", rhs=x * S_sum + x * (S_sum - K_sum)),
            mutant("constant", "2 x_1 S_1", rhs=2 * x * S_sum + x * (K_sum - S_sum)),
        ),
    ),
    Inequality(
        "next_term",
        "w_j <= d_j + x_j (K_j - S_j) implies the same for j + 1.",
        w + x_next * pair_next,
        d + x_next * y_next + x_next * (K_sum + pair_next - S_sum - y_next),
        proof=[HERE, ORDER * FAN],
        mutants=(
            mutant(
                "constant",
                "x_{j+1} y_{j+1}/2",
                STEP,
                rhs=d + x_next * (K_sum + pair_next - S_sum) - x_next * y_next / 2,
            ),
            mutant("sign", "+ (S - K)", STEP, rhs=d - x_next * (K_sum + pair_next - S_sum)),
            dropped(ORDER, {**STEP, x: 0, K_sum: 0}),
            dropped(FAN, {**STEP, x: 2, K_sum: 2, w: 3}),
        ),
    ),
    von_neumann,
)

PROSE = {
    "the decompositions exist": ("ky_fan",),
    "the induction over j": ("next_term", "von_neumann"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("von_neumann", THEOREM))
