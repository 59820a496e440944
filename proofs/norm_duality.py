"""The nuclear norm is dual to the spectral norm, and at most sqrt(rank) times the Frobenius norm.

Statement
---------
|<X, Y>| <= ||X||_2 ||Y||_*, and ||Y||_* <= sqrt(q) ||Y||_F for rank Y = q.

Assumptions
-----------
Y = U T T^T V^T with orthonormal columns U, V, so that ||Y||_* = tr T T^T; X = s K with K^T K = I - F^T F, which says
||X||_2 <= s.

Source
------
Horn, Johnson, Matrix Analysis, 2nd ed., section 5.6.

Idea
----
s ||Y||_* - <X, Y> = (s/2)(|U T - K V T|^2 + |F V T|^2). Replacing X by -X gives the absolute value.

Checks
------
pairing : PROVED
pairing_below : PROVED
nuclear_frobenius : PROVED
nuclear_norm_squared : PROVED
nuclear_below_frobenius : PROVED

Used by
-------
No file of the package directly.
"""

from fractions import Fraction
from random import Random

from lorasolve.symbolic import (
    Identity,
    Inequality,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    assume,
    define,
    dims,
    dropped,
    equation,
    eye,
    hypothesis,
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
s = scalars("s", nonnegative=True)
nu = scalars("nu", real=True)
root = scalars("rho")
nuc, d, part = scalars("nu_Y d tau", nonnegative=True)
X, K, F = matrix("X", m, n), matrix("K", m, n), matrix("F", n, n)
U, V, T = matrix("U", m, q), matrix("V", n, q), matrix("T", q, q)
S, D = matrix("S", q, q, symmetric=True), matrix("D", q, q, symmetric=True)
Y, NUCLEAR = U @ T @ T.T @ V.T, tr(T @ T.T)


def _contraction(values: Values, rng: Random) -> None:
    """Choose K and F in the proportion 3 : 4."""
    rows, cols = ra.shape(values["K"])
    values["K"] = ra.scale(Fraction(3, 5), ra.random_orthonormal(rng, rows, cols))
    values["F"] = ra.scale(Fraction(4, 5), ra.random_orthogonal(rng, cols))


U_ORTHONORMAL, V_ORTHONORMAL = orthonormal(U), orthonormal(V)
BOUND = assume("K^T K = I - F^T F", (K.T @ K, eye(n) - F.T @ F), impose=_contraction)
SCALED = define(X, s * K)
FRAME = (U_ORTHONORMAL, V_ORTHONORMAL, BOUND, SCALED)

# X = Y = 1, and X = -1.
ONE = {X: [[1]], K: [[1]], F: [[0]], U: [[1]], V: [[1]], T: [[1]], s: 1}

AT_MOST = hypothesis("||Y||_* <= nu", NUCLEAR, nu)
pairing = Inequality(
    "pairing",
    "<X, Y> <= s nu for ||X||_2 <= s, ||Y||_* <= nu.",
    inner(X, Y),
    s * nu,
    proof=[s / 2 * Square(U @ T - K @ V @ T), s / 2 * Square(F @ V @ T), s * AT_MOST],
    given=FRAME,
    mutants=(
        mutant("constant", "s/2", {**ONE, nu: 1}, rhs=s / 2 * nu),
        mutant("sign", "<X, Y> >= s nu", {**ONE, nu: 2}, lhs=s * nu, rhs=inner(X, Y)),
        dropped(BOUND, {**ONE, nu: 1, X: [[2]], K: [[2]]}),
        dropped(SCALED, {**ONE, nu: 1, X: [[2]]}),
        dropped(AT_MOST, {**ONE, nu: "1/2"}),
    ),
)
pairing_below = Inequality(
    "pairing_below",
    "-<X, Y> <= s nu for ||X||_2 <= s, ||Y||_* <= nu.",
    -inner(X, Y),
    s * nu,
    proof=[s / 2 * Square(U @ T + K @ V @ T), s / 2 * Square(F @ V @ T), s * AT_MOST],
    given=FRAME,
    mutants=(
        mutant("constant", "s/2", {**ONE, nu: 1, X: [[-1]], K: [[-1]]}, rhs=s / 2 * nu),
        mutant("sign", "-<X, Y> >= s nu", {**ONE, nu: 2}, lhs=s * nu, rhs=-inner(X, Y)),
        dropped(BOUND, {**ONE, nu: 1, X: [[-2]], K: [[-2]]}),
        dropped(SCALED, {**ONE, nu: 1, X: [[-2]]}),
        dropped(AT_MOST, {**ONE, nu: "1/2", X: [[-1]], K: [[-1]]}),
    ),
)
# nu_Y = tr S, q <= rho^2, and S = d D with ||D||_F <= 1 and tau = tr D, so that d may be 0.
RANK, LENGTH = hypothesis("q <= rho^2", q, root**2), hypothesis("||D||_F <= 1", square(D), 1)
IS_TRACE, IS_PART = equation("nu_Y = d tau", nuc, d * part), equation("tau = tr D", part, tr(D))
EQUAL = {D: [[1]], nuc: 1, root: 1, d: 1, part: 1}
nuclear_below_frobenius = Inequality(
    "nuclear_below_frobenius",
    "nu_Y = tr S <= rho d for rho >= sqrt(q), d >= ||S||_F.",
    nuc,
    root * d,
    proof=[
        1 * IS_TRACE,
        *(
            d / (part + root) * of
            for of in (
                q * Square(D - tr(D) / q * eye(q)),
                q * LENGTH,
                1 * RANK,
                (tr(D) + part) * IS_PART,
            )
        ),
    ],
    mutants=(
        mutant("constant", "rho d/2", EQUAL, rhs=root * d / 2),
        mutant("sign", "-rho d", EQUAL, rhs=-root * d),
        dropped(LENGTH, {**EQUAL, D: [[2]], part: 2, nuc: 2}),
        dropped(RANK, {**EQUAL, root: "1/2"}),
        dropped(IS_TRACE, {**EQUAL, nuc: 2}),
        dropped(IS_PART, {**EQUAL, part: 2, nuc: 2}),
    ),
)

CHECKS = (
    pairing,
    pairing_below,
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
    nuclear_below_frobenius,
)

PROSE = {
    "the decompositions of Y and of X^T X exist": ("pairing", "pairing_below", "nuclear_frobenius"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("norm_duality", THEOREM))
