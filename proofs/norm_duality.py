"""The nuclear norm is dual to the spectral norm, and at most sqrt(rank) times the Frobenius norm.

Statement
---------
|<X, Y>| <= ||X||_2 ||Y||_*, and ||Y||_* <= sqrt(q) ||Y||_F for rank Y = q.

Assumptions
-----------
Y = U T T^T V^T with orthonormal columns U, V, so that ||Y||_* = tr T T^T; X^T X = s^2 I - F^T F, which says ||X||_2
<= s. That such decompositions exist is not checked here.

Source
------
Horn, Johnson, Matrix Analysis, 2nd ed., section 5.6.

Idea
----
s ||Y||_* - <X, Y> = (|s U T - X V T|^2 + |F V T|^2)/(2 s). Replacing X by -X gives the absolute value.

Checks
------
pairing : PROVED
pairing_below : PROVED
nuclear_frobenius : PROVED
nuclear_norm_squared : PROVED

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
    inner,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    square,
    tr,
)
from lorasolve.symbolic import rational as ra

m, n, q = dims("m n q")
s = scalars("s")
X, F, U, V, T = matrix("X", m, n), matrix("F", n, n), matrix("U", m, q), matrix("V", n, q), matrix("T", q, q)
S = matrix("S", q, q, symmetric=True)
Y, NUCLEAR = U @ T @ T.T @ V.T, tr(T @ T.T)


def _contraction(values: Values, rng: Random) -> None:
    """Choose X and F in the proportion 3 : 4."""
    rows, cols = ra.shape(values["X"])
    values["X"] = ra.scale(values[s] * Fraction(3, 5), ra.random_orthonormal(rng, rows, cols))
    values["F"] = ra.scale(values[s] * Fraction(4, 5), ra.random_orthogonal(rng, cols))


U_ORTHONORMAL, V_ORTHONORMAL = orthonormal(U), orthonormal(V)
BOUND = assume("X^T X = s^2 I - F^T F", (X.T @ X, s**2 * eye(n) - F.T @ F), impose=_contraction)
FRAME = (U_ORTHONORMAL, V_ORTHONORMAL, BOUND)

# X = Y = 1, and X = -1.
ONE = {X: [[1]], F: [[0]], U: [[1]], V: [[1]], T: [[1]], s: 1}

pairing = SumOfSquares(
    "pairing",
    "<X, Y> <= s ||Y||_* for ||X||_2 <= s.",
    inner(X, Y),
    s * NUCLEAR,
    proof=[1 / (2 * s) * Square(s * U @ T - X @ V @ T), 1 / (2 * s) * Square(F @ V @ T)],
    given=FRAME,
    mutants=(
        mutant("constant", "s/2", ONE, rhs=s / 2 * NUCLEAR),
        mutant("sign", "<X, Y> >= s ||Y||_*", lhs=s * NUCLEAR, rhs=inner(X, Y)),
        dropped(BOUND),
    ),
)

CHECKS = (
    pairing,
    SumOfSquares(
        "pairing_below",
        "-<X, Y> <= s ||Y||_* for ||X||_2 <= s.",
        -inner(X, Y),
        s * NUCLEAR,
        proof=[1 / (2 * s) * Square(s * U @ T + X @ V @ T), 1 / (2 * s) * Square(F @ V @ T)],
        given=FRAME,
        mutants=(
            mutant("constant", "s/2", {**ONE, X: [[-1]]}, rhs=s / 2 * NUCLEAR),
            mutant("sign", "-<X, Y> >= s ||Y||_*", lhs=s * NUCLEAR, rhs=-inner(X, Y)),
            dropped(BOUND),
        ),
    ),
    SumOfSquares(
        "nuclear_frobenius",
        "(tr S)^2 <= q ||S||_F^2 for the q x q matrix S of singular values.",
        square(tr(S)),
        q * square(S),
        proof=[q * Square(S - tr(S) / q * eye(q))],
        mutants=(
            mutant("constant", "||S||_F^2", rhs=square(S)),
            mutant("sign", "-q ||S||_F^2", rhs=-q * square(S)),
        ),
    ),
    Identity(
        "nuclear_norm_squared",
        "||U S V^T||_F^2 = ||S||_F^2.",
        square(U @ S @ V.T),
        square(S),
        given=(U_ORTHONORMAL, V_ORTHONORMAL),
        mutants=(
            mutant("constant", "2 ||S||_F^2", rhs=2 * square(S)),
            mutant("sign", "-||S||_F^2", rhs=-square(S)),
            dropped(U_ORTHONORMAL),
        ),
    ),
)

THEOREM = Theorem(__doc__, CHECKS)

if __name__ == "__main__":
    raise SystemExit(run_module("norm_duality", THEOREM))
