"""Neither constant of theorem B can be improved.

Statement
---------
For every r >= r*, t = sqrt(r/r*), lam >= 0, beta >= 1 + 2 t, m, n >= r + r*: let E1 = J1 K1^T (rank r*) and E2 = J2
K2^T (rank r) be orthogonal partial isometries, e_i = E_i/||E_i||,

    zeta = 2 beta t/(beta - 1),  tau = (beta + 1) t/(beta - 1),  X* = tau E1,  X = E2,
    f(Y) = <Y - X*, H (Y - X*)>/2 - lam <E1 + E2, Y>,
    H = [[1 + beta, beta - 1], [beta - 1, 1 + beta]]/2 on (e1, e2), zeta elsewhere.

H has the eigenvalues 1, beta and zeta, 1 <= zeta <= beta; X* is the unique minimizer of F; X is second-order
stationary for L, with F(X) - F(X*) = zeta tau r*/2 > 0, and beta2 = zeta satisfies beta2 (beta - 1) = 2 beta t:
theorem B at alpha = 1 with equality.

For r* >= 2 the restricted smoothness on all matrices of rank 2 is at most zeta + (beta - zeta)/r*. With beta - 1 =
sqrt(2 t r*), which is allowed for r* >= 2 t, that is at most 2 t + 2 sqrt(2 t/r*): without a ball the threshold lies
between 2 t and that, and tends to 2 t with growing r*, t fixed.

Assumptions
-----------
None: an explicit instance, for symbolic r, r*, m, n, beta, lam. In the bounds zeta is a symbol with 1 <= zeta <=
beta.

Source
------
Beyond the paper. It is the instance of `sharp_instance` with its complement lowered from kappa to zeta.

Idea
----
The slope of f at X is -zeta E1 - lam (E1 + E2), because H (X - X*) has no part along e2. Along J1, K1 the curvature
of the product is zeta (|U1|^2 + |V1|^2), exactly what the slope takes away.

Checks
------
eigenvalue_one : PROVED
eigenvalue_beta : PROVED
eigenvalue_zeta : PROVED
strong_convexity : PROVED
smoothness : PROVED
zeta_above : PROVED
zeta_below : PROVED
escape_directions : PROVED
equality : PROVED
gradient_of_loss : PROVED
gradient : PROVED
stationary_in_a : PROVED
stationary_in_b : PROVED
hessian_sum_of_squares : PROVED
gap : PROVED
global_minimizer : PROVED
rank_two : PROVED
whole_space : PROVED

Used by
-------
lorasolve/landscape/instances.py, lorasolve/landscape/regimes.py
"""

from sympy import Rational

from lorasolve.symbolic import (
    Identity,
    Inequality,
    MatrixExpr,
    ScalarExpr,
    Square,
    SumOfSquares,
    Theorem,
    define,
    dropped,
    eye,
    gradient,
    hypothesis,
    inner,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
    tr,
)
from proofs import sharp_instance as si
from proofs.facts import DUAL_NORM, NUCLEAR, SPECTRAL

m, n, r, rs, t, lam = si.m, si.n, si.r, si.rs, si.t, si.lam
E1, E2, T, Y, U, V = si.E1, si.E2, si.T, si.Y, si.U, si.V
beta, zeta, more = scalars("beta zeta x")
tau = (beta + 1) * t / (beta - 1)
XS = tau * E1
ZETA = define(zeta, 2 * beta * t / (beta - 1))
ABOVE = define(beta, 1 + more)
FRAME = si.FRAME
# e1 - e2 and e1 + e2, both of squared length 2 r*.
DIFFERENCE, TOTAL = E1 - E2 / t, E1 + E2 / t


def hess(left: MatrixExpr, right: MatrixExpr) -> ScalarExpr:
    """Return the second derivative of f."""
    apart = (1 - zeta) / (2 * rs) * inner(DIFFERENCE, left) * inner(DIFFERENCE, right)
    along = (beta - zeta) / (2 * rs) * inner(TOTAL, left) * inner(TOTAL, right)
    return zeta * inner(left, right) + apart + along


def slope(x: MatrixExpr) -> MatrixExpr:
    """Return the gradient of f."""
    shift = x - XS
    apart = (1 - zeta) / (2 * rs) * inner(DIFFERENCE, shift) * DIFFERENCE
    return zeta * shift + apart + (beta - zeta) / (2 * rs) * inner(TOTAL, shift) * TOTAL - lam * T


def loss(x: MatrixExpr) -> ScalarExpr:
    """Return f."""
    return hess(x - XS, x - XS) / 2 - lam * inner(T, x)


OFF = Y - inner(DIFFERENCE, Y) / (2 * rs) * DIFFERENCE - inner(TOTAL, Y) / (2 * rs) * TOTAL
AT_LEAST, AT_MOST = hypothesis("1 <= zeta", 1, zeta), hypothesis("zeta <= beta", zeta, beta)
A, B = si.J2, si.K2
D = U @ B.T + A @ V.T
SLOPE = -zeta * E1 - lam * T
FORM = hess(D, D) + 2 * inner(SLOPE, U @ V.T) + lam * (square(U) + square(V))
LARGE = {**si.RANK_ONE, beta: 3, zeta: 3, lam: 1}
# The directions of `escape_direction`: p_r is in the range of J2, u in that of J1; and one that is none of them.
M1, M2 = matrix("M1", r, rs), matrix("M2", rs, r)
ESCAPE = si.J2 @ M1 @ si.K1.T - si.J1 @ M2 @ si.K2.T
WITHIN = si.J1 @ M2 @ M1 @ si.K1.T

# B2: at beta = 1 + s with s^2 = 2 t r*.
s, nu = scalars("s"), scalars("nu_Y", nonnegative=True)
BY_RANK = hypothesis("||Y||_*^2 <= 2 ||Y||_F^2, because rank Y <= 2", nu**2, 2 * square(Y))
UP, DOWN = (DUAL_NORM.instance(name, SPECTRAL(TOTAL, 1), NUCLEAR(Y, nu)) for name in ("pairing", "pairing_below"))
SMOOTH = zeta + (beta - zeta) / rs
TRACE = {**LARGE, zeta: 2, Y: [[1, 0], [0, 1]], nu: 2}
SHARP_ZETA = 2 * t * (1 + s) / s
ABOVE_ONE = hypothesis("1 <= t", 1, t)

LINE = {**LARGE, Y: [[1, 0], [0, 0]], si.nuc: 1}

CHECKS = (
    Identity(
        "eigenvalue_one",
        "H (e1 - e2) = e1 - e2.",
        hess(DIFFERENCE, Y),
        inner(DIFFERENCE, Y),
        given=FRAME,
        mutants=(
            mutant("constant", "eigenvalue 2", rhs=2 * inner(DIFFERENCE, Y)),
            mutant("sign", "-1", rhs=-inner(DIFFERENCE, Y)),
            dropped(si.LEFT),
        ),
    ),
    Identity(
        "eigenvalue_beta",
        "H (e1 + e2) = beta (e1 + e2).",
        hess(TOTAL, Y),
        beta * inner(TOTAL, Y),
        given=FRAME,
        mutants=(
            mutant("constant", "2 beta", rhs=2 * beta * inner(TOTAL, Y)),
            mutant("sign", "-beta", rhs=-beta * inner(TOTAL, Y)),
            dropped(si.LEFT),
        ),
    ),
    Identity(
        "eigenvalue_zeta",
        "H Y = zeta Y for the part of Y that is orthogonal to e1 and e2.",
        hess(OFF, si.D_FREE),
        zeta * inner(OFF, si.D_FREE),
        given=FRAME,
        mutants=(
            mutant("constant", "eigenvalue 1", rhs=inner(OFF, si.D_FREE)),
            mutant("sign", "-zeta", rhs=-zeta * inner(OFF, si.D_FREE)),
            mutant("swapped symbols", "for all of Y", lhs=hess(Y, si.D_FREE), rhs=zeta * inner(Y, si.D_FREE)),
            dropped(si.LEFT),
        ),
    ),
    Inequality(
        "strong_convexity",
        "||Y||^2 <= hess f[Y, Y]: alpha = 1.",
        square(Y),
        hess(Y, Y),
        proof=[
            AT_LEAST * Square(OFF),
            1 / (2 * rs) * AT_LEAST * Square(inner(TOTAL, Y)),
            1 / (2 * rs) * AT_MOST * Square(inner(TOTAL, Y)),
        ],
        given=FRAME,
        mutants=(
            mutant("constant", "2 ||Y||^2", {**LARGE, Y: [[1, 0], [0, -1]]}, lhs=2 * square(Y)),
            mutant("sign", "-hess", {**LARGE, Y: [[1, 0], [0, 0]]}, rhs=-hess(Y, Y)),
            dropped(AT_LEAST),
        ),
    ),
    Inequality(
        "smoothness",
        "hess f[Y, Y] <= beta ||Y||^2.",
        hess(Y, Y),
        beta * square(Y),
        proof=[
            AT_MOST * Square(OFF),
            1 / (2 * rs) * AT_LEAST * Square(inner(DIFFERENCE, Y)),
            1 / (2 * rs) * AT_MOST * Square(inner(DIFFERENCE, Y)),
        ],
        given=FRAME,
        mutants=(
            mutant("constant", "beta/2", {**LARGE, Y: [[1, 0], [0, 1]]}, rhs=beta * square(Y) / 2),
            mutant("sign", "-beta", {**LARGE, Y: [[1, 0], [0, 1]]}, rhs=-beta * square(Y)),
            dropped(AT_MOST),
        ),
    ),
    Inequality(
        "zeta_above",
        "2 t <= zeta for beta = 1 + x > 1: zeta >= 1, as t >= 1.",
        2 * t,
        zeta,
        proof=[2 * t / more],
        given=(ZETA, ABOVE),
        mutants=(
            mutant("constant", "3 t", {more: 100, beta: 101, t: 1, zeta: "101/50"}, lhs=3 * t),
            mutant("sign", "-zeta", rhs=-zeta),
            dropped(ZETA),
        ),
    ),
    Identity(
        "zeta_below",
        "beta - zeta = beta (beta - 1 - 2 t)/(beta - 1), not negative exactly for beta >= 1 + 2 t.",
        beta - zeta,
        beta * (beta - 1 - 2 * t) / (beta - 1),
        given=(ZETA,),
        mutants=(
            mutant("constant", "1 + t", rhs=beta * (beta - 1 - t) / (beta - 1)),
            mutant("sign", "beta + zeta", lhs=beta + zeta),
            dropped(ZETA),
        ),
    ),
    Identity(
        "escape_directions",
        "hess f[D, D] = zeta ||D||^2 for D = J2 M1 K1^T - J1 M2 K2^T, as are p_r v^T - u q_r^T: beta2 = zeta.",
        hess(ESCAPE, ESCAPE),
        zeta * square(ESCAPE),
        given=(si.LEFT, si.RIGHT),
        mutants=(
            mutant("constant", "1, as along e1 - e2", rhs=square(ESCAPE)),
            mutant("sign", "-zeta", rhs=-zeta * square(ESCAPE)),
            mutant("swapped symbols", "M1 from J1 to K1", lhs=hess(WITHIN, WITHIN), rhs=zeta * square(WITHIN)),
            dropped(si.LEFT),
            dropped(si.RIGHT),
        ),
    ),
    Identity(
        "equality",
        "beta2 = zeta: beta2 (beta - 1) = 2 beta t.",
        zeta * (beta - 1),
        2 * beta * t,
        given=(ZETA,),
        mutants=(
            mutant("constant", "beta t", rhs=beta * t),
            mutant("sign", "-2 beta t", rhs=-2 * beta * t),
            mutant("constant", "beta2 beta", lhs=zeta * beta),
        ),
    ),
    Identity(
        "gradient_of_loss",
        "grad f.",
        gradient(loss(Y), Y),
        slope(Y),
        mutants=(
            mutant("sign", "+lam T", rhs=slope(Y) + 2 * lam * T),
            mutant("constant", "2 zeta", rhs=slope(Y) + zeta * (Y - XS)),
        ),
    ),
    Identity(
        "gradient",
        "grad f(X) = -zeta E1 - lam (E1 + E2).",
        slope(E2),
        SLOPE,
        given=(*FRAME, ZETA),
        mutants=(
            mutant("sign", "+zeta E1", rhs=zeta * E1 - lam * T),
            mutant("constant", "zeta/2", rhs=-zeta / 2 * E1 - lam * T),
            mutant(
                "constant",
                "zeta = 2 beta t/(beta + 1)",
                {**si.RANK_ONE, beta: 3, zeta: "3/2", lam: 0},
                given=(*FRAME, define(zeta, 2 * beta * t / (beta + 1))),
            ),
            dropped(ZETA),
        ),
    ),
    *si.stationarity(SLOPE, A, B, "A = J2, B = K2"),
    SumOfSquares(
        "hessian_sum_of_squares",
        "The Hessian form of L at (J2, K2) is a sum of squares: second-order stationary.",
        0,
        FORM,
        proof=[
            (zeta + lam) * Square(si.U1 - si.V1),
            lam * Square(si.U2 - si.V2),
            (zeta + lam) * Square(si.U0),
            (zeta + lam) * Square(si.V0),
            zeta * Square(si.MIX - tr(si.MIX) / r * eye(r)),
            (1 + beta) / (2 * r) * Square(tr(si.MIX)),
        ],
        given=FRAME,
        mutants=(
            mutant("constant", "at least |U|^2", lhs=square(U)),
            mutant("sign", "at most 0", lhs=FORM, rhs=0),
        ),
    ),
    Identity(
        "gap",
        "F(X) - F(X*) = zeta tau r*/2, with ||X||_* = r, ||X*||_* = tau r*.",
        loss(E2) + lam * r - (loss(XS) + lam * tau * rs),
        zeta * tau * rs / 2,
        given=(*FRAME, ZETA),
        mutants=(
            mutant("constant", "zeta tau r*", rhs=zeta * tau * rs),
            mutant("sign", "-zeta tau r*/2", rhs=-zeta * tau * rs / 2),
            dropped(si.LEFT),
        ),
    ),
    Inequality(
        "global_minimizer",
        "F(Y) - F(X*) >= hess f[Y - X*, Y - X*]/2, which is at least ||Y - X*||^2/2: X* is the unique minimizer.",
        hess(Y - XS, Y - XS) / 2,
        loss(Y) + lam * si.nuc - (loss(XS) + lam * tau * rs),
        proof=[lam * si.DUAL],
        given=(si.LEFT, si.RIGHT),
        mutants=(
            mutant("sign", "without the penalty", LINE, rhs=loss(Y) - loss(XS) - lam * si.nuc - lam * tau * rs),
            mutant(
                "constant",
                "hess",
                LINE,
                lhs=hess(Y - XS, Y - XS),
            ),
            dropped(si.DUAL),
        ),
    ),
    Inequality(
        "rank_two",
        "r* >= 2: H[Y, Y] <= (zeta + (beta - zeta)/r*) ||Y||^2 for rank Y <= 2, because ||E1 + E2/t||_2 = 1.",
        hess(Y, Y),
        SMOOTH * square(Y),
        proof=[
            AT_LEAST * Square(inner(DIFFERENCE, Y)) / (2 * rs),
            AT_MOST * BY_RANK / (2 * rs),
            AT_MOST * UP * DOWN / (2 * rs),
        ],
        mutants=(
            mutant("constant", "half of the second term", TRACE, rhs=(zeta + (beta - zeta) / (2 * rs)) * square(Y)),
            mutant("sign", "zeta - (beta - zeta)/r*", TRACE, rhs=(zeta - (beta - zeta) / rs) * square(Y)),
            dropped(AT_MOST, {**TRACE, beta: "1/2", zeta: 3, Y: [[1, 0], [0, -1]]}),
        ),
    ),
    Inequality(
        "whole_space",
        "s^2 = 2 t r*: zeta + (beta - zeta)/r* <= 2 t + 4 t/s = 2 t + 2 sqrt(2 t/r*), with r* = s^2/(2 t).",
        SHARP_ZETA + (1 + s - SHARP_ZETA) * 2 * t / s**2,
        2 * t + 4 * t / s,
        proof=[2 * t / s**2 * ABOVE_ONE, 2 * t**2 / s**2 + 4 * t**2 / s**3],
        mutants=(
            mutant("constant", "2 t + 3.6 t/s", {t: 1, s: 100}, rhs=2 * t + Rational(18, 5) * t / s),
            mutant("sign", "2 t - 4 t/s", {t: 1, s: 4}, rhs=2 * t - 4 * t / s),
        ),
    ),
)

PROSE = {
    "the limit of large r*": ("whole_space",),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(si.THEOREM,), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("theorem_b_sharp", THEOREM))
