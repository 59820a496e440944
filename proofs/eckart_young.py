"""Eckart, Young, Mirsky: no matrix of rank k is closer than the truncation.

Statement
---------
Let M = M1 + M2, M1 = P1 Sigma1 Q1^T of rank k with all singular values at least tau, M2 off its singular vectors with
all singular values at most tau. Then for every Y of rank at most k

    ||M - Y||_F^2 >= ||M2||_F^2.

Assumptions
-----------
P1, Q1 have k orthonormal columns and P1^T M2 = 0; Sigma1^2 = tau^2 I + C C^T for some C ("at least tau"); M2^T M2 +
E^T E = tau^2 (I - Q1 Q1^T) for some E ("at most tau, off Q1"); Y = L R^T with R^T R = I of k columns.

Source
------
Eckart, Young, Psychometrika 1 (1936); Mirsky, Quart. J. Math. 11 (1960). The three squares are ours.

Idea
----
Only what M does to the complement of R counts, and M^T M = tau^2 I + (Q1 C)(Q1 C)^T - E^T E. The trace of that over
the n - k directions off R is ||M2||_F^2 plus two squares.

Checks
------
gram : PROVED
eckart_young : PROVED
attained : PROVED

Used by
-------
No file of the package directly.
"""

from fractions import Fraction
from random import Random

from lorasolve.symbolic import (
    Identity,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    assume,
    dims,
    dropped,
    eye,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    square,
    zeros,
)
from lorasolve.symbolic import rational as ra

m, n, k = dims("m n k")
tau = scalars("tau")
P1, Q1, Sigma1, C = matrix("P1", m, k), matrix("Q1", n, k), matrix("Sigma1", k, k, symmetric=True), matrix("C", k, k)
M2, E, L, R = matrix("M2", m, n), matrix("E", n, n), matrix("L", m, k), matrix("R", n, k)
M, Y = P1 @ Sigma1 @ Q1.T + M2, L @ R.T


def _above(values: Values, rng: Random) -> None:
    """Choose diagonal Sigma1 and C with s^2 = tau^2 + c^2, from s = tau (a + 1/a)/2."""
    ratios = [Fraction(rng.randint(1, 4), rng.randint(1, 3)) for _ in values["Sigma1"]]
    values["Sigma1"] = ra.diagonal([values[tau] * (a + 1 / a) / 2 for a in ratios])
    values["C"] = ra.diagonal([values[tau] * (a - 1 / a) / 2 for a in ratios])


def _below(values: Values, rng: Random) -> None:
    """Choose P1 and the columns of M2 from one orthogonal matrix, M2 and E as 3 : 4 on the rest of Q1."""
    values["Q1"] = ra.made_orthonormal(rng, values["Q1"])
    rest = ra.complement(values["Q1"])
    rows, kept, width = len(values["M2"]), len(values["P1"][0]), len(rest)
    if rows < kept + width:
        raise ra.Unfit("too few rows")
    whole = ra.random_orthogonal(rng, rows)
    values["P1"] = [row[:kept] for row in whole]
    other = ra.multiply([row[kept : kept + width] for row in whole], rest)
    values["M2"] = ra.scale(values[tau] * Fraction(3, 5), other)
    values["E"] = ra.scale(values[tau] * Fraction(4, 5), rest)


LEFT, RIGHT, R_ORTHONORMAL = orthonormal(P1), orthonormal(Q1), orthonormal(R)
LARGE = assume("Sigma1^2 = tau^2 I + C C^T", (Sigma1 @ Sigma1, tau**2 * eye(k) + C @ C.T), impose=_above)
SMALL = assume(
    "P1^T M2 = 0, M2^T M2 + E^T E = tau^2 (I - Q1 Q1^T)",
    (P1.T @ M2, zeros(k, n)),
    (M2.T @ M2, tau**2 * (eye(n) - Q1 @ Q1.T) - E.T @ E),
    impose=_below,
)
FRAME = (LEFT, RIGHT, LARGE, SMALL)
OFF = eye(n) - R @ R.T

# M = diag(1, 3/5), Y the truncation; and M = diag(0, 3/5), where the kept value is the smaller one.
PLAIN = {
    P1: [[1], [0]], Q1: [[1], [0]], Sigma1: [[1]], C: [[0]], M2: [[0, 0], [0, "3/5"]], E: [[0, 0], [0, "4/5"]],
    R: [[1], [0]], L: [[1], [0]], tau: 1,
}  # fmt: skip
SMALLEST_KEPT = {**PLAIN, Sigma1: [[0]], R: [[0], [1]], L: [[0], ["3/5"]]}

eckart_young = SumOfSquares(
    "eckart_young",
    "||M2||^2 <= ||M - Y||^2 for every Y = L R^T of rank at most k.",
    square(M2),
    square(M - Y),
    proof=[1 * Square((M - Y) @ R), 1 * Square(OFF @ Q1 @ C), 1 * Square(E @ R)],
    given=(*FRAME, R_ORTHONORMAL),
    mutants=(
        mutant("constant", "2 ||M2||^2", PLAIN, lhs=2 * square(M2)),
        mutant("sign", "||M - Y||^2 <= ||M2||^2", {**PLAIN, L: [[0], [0]]}, lhs=square(M - Y), rhs=square(M2)),
        dropped(LARGE, SMALLEST_KEPT),
    ),
)

CHECKS = (
    Identity(
        "gram",
        "M^T M = tau^2 I + (Q1 C)(Q1 C)^T - E^T E.",
        M.T @ M,
        tau**2 * eye(n) + Q1 @ C @ C.T @ Q1.T - E.T @ E,
        given=(LEFT, LARGE, SMALL),
        mutants=(
            mutant("sign", "+ E^T E", rhs=tau**2 * eye(n) + Q1 @ C @ C.T @ Q1.T + E.T @ E),
            mutant("constant", "2 tau^2", rhs=2 * tau**2 * eye(n) + Q1 @ C @ C.T @ Q1.T - E.T @ E),
            dropped(SMALL),
        ),
    ),
    eckart_young,
    Identity(
        "attained",
        "Y = M1 has rank k, and ||M - M1||^2 = ||M2||^2.",
        square(M - P1 @ Sigma1 @ Q1.T),
        square(M2),
        mutants=(
            mutant("sign", "M + M1", lhs=square(M + P1 @ Sigma1 @ Q1.T)),
            mutant("constant", "2 ||M2||^2", rhs=2 * square(M2)),
        ),
    ),
)

PROSE = {
    "C and E exist by the spectral theorem, L and R by a basis of the row space of Y": ("gram", "eckart_young"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("eckart_young", THEOREM))
