"""A spurious minimum in closed form, on the boundary of what is possible.

Statement
---------
For r >= r*, t = sqrt(r/r*), kappa >= 1 + 2 t, m, n >= r + r*: let E1 = J1 K1^T = X* (rank r*) and E2 = J2 K2^T (rank
r) be orthogonal partial isometries, N = (E1/sqrt(r*) - E2/sqrt(r))/sqrt(2), T = E1 + E2, and

    f(X) = (kappa/2) ||X - X*||_F^2 - ((kappa - 1)/2) <N, X - X*>^2 - lam <T, X>.

hess f has the eigenvalues 1 and kappa, so alpha = 1, beta = kappa everywhere, and X* is the unique minimizer of F.
With sigma = (kappa - 1)/((kappa + 1) t) and s = 2 kappa/(kappa + 1), the point X_s = sigma E2 has grad f(X_s) = -s
E1 - lam T, is stationary for L at A = sqrt(sigma) J2, B = sqrt(sigma) K2, and second-order stationary exactly when
kappa sigma >= s, that is kappa >= 1 + 2 t; beyond the symmetries it is strict when kappa > 1 + 2 t. Its gap is
F(X_s) - F(X*) = kappa r*/(kappa + 1).

Assumptions
-----------
None: an explicit instance, for symbolic r, r*, m, n, kappa, lam.

Source
------
Beyond the paper. 1 + 2 sqrt(r/r*) is the sharp threshold for fully conditioned f: R. Y. Zhang, "Sharp Global
Guarantees for Nonconvex Low-Rank Recovery in the Noisy Overparameterized Regime", 2021, SIAM J. Optim. 2024.

Idea
----
Split (U, V) along J1, J2 and the rest. The Hessian form is a sum of squares of these parts, and the one indefinite
pair, kappa sigma (|U1|^2 + |V1|^2) - 2 s <U1, V1>, decides. The zero set of the squares for kappa > 1 + 2 t is U =
J2 U2, V = K2 V2 with U2 + V2^T = 0 (and U2 = V2 if lam > 0): the tangent space of the symmetries, of dimension r^2
(r(r-1)/2). The distance in N on which f is flat is what makes a large gap possible.

Checks
------
direction_is_unit : PROVED
eigenvalue_one : PROVED
eigenvalue_kappa : PROVED
strong_convexity : PROVED
smoothness : PROVED
gradient_of_loss : PROVED
second_derivative : PROVED
gradient : PROVED
stationary_in_a : PROVED
stationary_in_b : PROVED
hessian_sum_of_squares : PROVED
threshold : PROVED
below_threshold : PROVED
symmetries_are_flat : PROVED
global_minimizer : PROVED
gap : PROVED
gap_at_boundary : PROVED
sigma_at_boundary : PROVED

Used by
-------
lorasolve/landscape/instances.py
"""

from fractions import Fraction
from math import isqrt
from random import Random

from lorasolve.symbolic import (
    Identity,
    Inequality,
    MatrixExpr,
    ScalarCheck,
    ScalarExpr,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    assume,
    define,
    derivative,
    dims,
    dropped,
    eye,
    gradient,
    inner,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalar,
    scalars,
    square,
    tr,
    zeros,
)
from lorasolve.symbolic import rational as ra
from proofs.facts import DUAL_NORM, NUCLEAR, SPECTRAL

m, n, r, rs = dims("m n r r_star")
t, root, excess, kappa = scalars("t q e kappa")
lam = scalars("lambda", nonnegative=True)
J1, J2, K1, K2 = matrix("J1", m, rs), matrix("J2", m, r), matrix("K1", n, rs), matrix("K2", n, r)
U, V, Y = matrix("U", m, r), matrix("V", n, r), matrix("Y", m, n)
E1, E2 = J1 @ K1.T, J2 @ K2.T
XS, T = E1, E1 + E2
# N is sqrt(2 r*) times the unit direction, so that no square root of r* appears: r = t^2 r*.
N = E1 - E2 / t


def _square_ratio(values: Values, rng: Random) -> None:
    """Set t = sqrt(r/r*), if rational."""
    ratio = Fraction(int(values[r]), int(values[rs]))
    num, den = isqrt(ratio.numerator), isqrt(ratio.denominator)
    if num**2 != ratio.numerator or den**2 != ratio.denominator:
        raise ra.Unfit("r/r* is not a square")
    values[t] = Fraction(num, den)


RATIO = assume("r = t^2 r*", (r, t**2 * rs), impose=_square_ratio)
LEFT, RIGHT = orthonormal(J1, J2), orthonormal(K1, K2)
FRAME = (RATIO, LEFT, RIGHT)


def hess(left: MatrixExpr, right: MatrixExpr) -> ScalarExpr:
    """Return the second derivative of f."""
    return kappa * inner(left, right) - (kappa - 1) / (2 * rs) * inner(N, left) * inner(N, right)


def loss(x: MatrixExpr) -> ScalarExpr:
    """Return f."""
    return hess(x - XS, x - XS) / 2 - lam * inner(T, x)


def gradient_at(x: MatrixExpr) -> MatrixExpr:
    """Return the gradient of f."""
    return kappa * (x - XS) - (kappa - 1) / (2 * rs) * inner(N, x - XS) * N - lam * T


sigma, s = (kappa - 1) / ((kappa + 1) * t), 2 * kappa / (kappa + 1)
SPURIOUS = sigma * E2
grad_spurious = -s * E1 - lam * T

# The factors need a root q of sigma: sigma = q^2.
A, B = root * J2, root * K2
D = U @ B.T + A @ V.T
FORM = hess(D, D) + 2 * inner(grad_spurious, U @ V.T) + lam * (square(U) + square(V))
U1, U2, V1, V2 = J1.T @ U, J2.T @ U, K1.T @ V, K2.T @ V
U0, V0 = U - J1 @ U1 - J2 @ U2, V - K1 @ V1 - K2 @ V2
MIX = U2 + V2.T


def _small_root(values: Values, rng: Random) -> None:
    """Choose q with q^2 t < 1 and set kappa accordingly."""
    values[root] = Fraction(1, rng.randint(2, 4))
    product = values[root] ** 2 * values[t]
    if product >= 1:
        raise ra.Unfit("kappa would be negative")
    values[kappa] = (1 + product) / (1 - product)


ROOT = assume("sigma = q^2", (kappa, (1 + root**2 * t) / (1 - root**2 * t)), impose=_small_root)
W1 = matrix("W1", rs, r)
SKEW, FREE = matrix("Skew", r, r), matrix("R", r, r)
SKEW_SYMMETRIC = define(SKEW, FREE - FREE.T)

RANK_ONE = {J1: [[1], [0]], K1: [[1], [0]], J2: [[0], [1]], K2: [[0], [1]], t: 1}
COLUMNS = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
FIRST = [[1], [0], [0], [0], [0]]
RANK_FOUR = {J1: FIRST, K1: FIRST, J2: COLUMNS, K2: COLUMNS, t: 2}

BOUNDARY = define(kappa, 1 + 2 * t)
# Global optimality of X*: F(Y) - F(X*) = hess f/2 + lam (||Y||_* - <T, Y>), with ||T||_2 = 1.
nuc = scalars("nu", nonnegative=True)
DUAL = DUAL_NORM.instance("pairing", SPECTRAL(T, 1), NUCLEAR(Y, nuc))
SHIFT, D_FREE = Y - XS, matrix("D", m, n)
gap_expr = loss(SPURIOUS) - loss(XS) + lam * (sigma * r - rs)


def stationarity(slope: MatrixExpr, left: MatrixExpr, right: MatrixExpr, words: str) -> tuple[Identity, Identity]:
    """Return that A = `left`, B = `right`, in `words`, is stationary where f has the gradient `slope`."""
    in_a, in_b = slope @ right, slope.T @ left
    return (
        Identity(
            "stationary_in_a",
            f"G B + lam A = 0 at {words}.",
            in_a + lam * left,
            zeros(m, r),
            given=(RIGHT,),
            mutants=(
                mutant("sign", "G B - lam A", lhs=in_a - lam * left),
                mutant("constant", "G B + 2 lam A", lhs=in_a + 2 * lam * left),
                dropped(RIGHT),
            ),
        ),
        Identity(
            "stationary_in_b",
            f"G^T A + lam B = 0 at {words}.",
            in_b + lam * right,
            zeros(n, r),
            given=(LEFT,),
            mutants=(
                mutant("sign", "G^T A - lam B", lhs=in_b - lam * right),
                mutant("constant", "G^T A + 2 lam B", lhs=in_b + 2 * lam * right),
                dropped(LEFT),
            ),
        ),
    )


CHECKS = (
    Identity(
        "direction_is_unit",
        "||N||^2 = 1 (here ||E1 - E2/t||^2 = 2 r*).",
        square(N),
        2 * rs,
        given=FRAME,
        mutants=(
            mutant("constant", "r*", rhs=rs),
            mutant("swapped symbols", "E2 not divided by t", RANK_FOUR, lhs=square(E1 - E2)),
            dropped(LEFT),
        ),
    ),
    Identity(
        "eigenvalue_one",
        "hess f N = N.",
        kappa * N - (kappa - 1) / (2 * rs) * inner(N, N) * N,
        N,
        given=FRAME,
        mutants=(
            mutant("constant", "kappa N", rhs=kappa * N),
            mutant("sign", "-N", rhs=-N),
            dropped(RIGHT),
        ),
    ),
    Identity(
        "eigenvalue_kappa",
        "hess f Y = kappa Y for the part of Y orthogonal to N.",
        hess(Y - inner(N, Y) / (2 * rs) * N, SHIFT),
        kappa * inner(Y - inner(N, Y) / (2 * rs) * N, SHIFT),
        given=FRAME,
        mutants=(
            mutant("constant", "eigenvalue 1", rhs=inner(Y - inner(N, Y) / (2 * rs) * N, SHIFT)),
            mutant("sign", "-kappa", rhs=-kappa * inner(Y - inner(N, Y) / (2 * rs) * N, SHIFT)),
            dropped(LEFT),
        ),
    ),
    SumOfSquares(
        "strong_convexity",
        "hess f[Y, Y] >= ||Y||^2 for kappa = 1 + e: alpha = 1.",
        square(Y),
        hess(Y, Y),
        proof=[excess * Square(Y - inner(N, Y) / (2 * rs) * N)],
        given=(*FRAME, define(kappa, 1 + excess)),
        mutants=(
            mutant("constant", "2 ||Y||^2", {**RANK_ONE, Y: [[1, 0], [0, -1]], excess: 2, kappa: 3}, lhs=2 * square(Y)),
            mutant("sign", "kappa = 1 - e", given=(*FRAME, define(kappa, 1 - excess / (1 + excess)))),
        ),
    ),
    SumOfSquares(
        "smoothness",
        "hess f[Y, Y] <= kappa ||Y||^2 for kappa = 1 + e: beta = kappa.",
        hess(Y, Y),
        kappa * square(Y),
        proof=[excess / (2 * rs) * Square(inner(N, Y))],
        given=(define(kappa, 1 + excess),),
        mutants=(
            mutant("constant", "(kappa - 1) ||Y||^2", rhs=excess * square(Y)),
            mutant("sign", "-kappa ||Y||^2", rhs=-kappa * square(Y)),
        ),
    ),
    Identity(
        "gradient_of_loss",
        "grad f(Y) = kappa (Y - X*) - (kappa - 1) <N, Y - X*> N - lam T (N of norm 1).",
        gradient(loss(Y), Y),
        gradient_at(Y),
        mutants=(
            mutant("sign", "+lam T", rhs=gradient_at(Y) + 2 * lam * T),
            mutant("constant", "2 kappa", rhs=gradient_at(Y) + kappa * SHIFT),
        ),
    ),
    Identity(
        "second_derivative",
        "hess is the second derivative of f.",
        derivative(loss(Y), {Y: D_FREE}, order=2),
        hess(D_FREE, D_FREE),
        mutants=(
            mutant("constant", "kappa ||D||^2", rhs=kappa * square(D_FREE)),
            mutant("sign", "-hess", rhs=-hess(D_FREE, D_FREE)),
        ),
    ),
    Identity(
        "gradient",
        "grad f(X_s) = -s X* - lam T.",
        gradient_at(SPURIOUS),
        grad_spurious,
        given=FRAME,
        mutants=(
            mutant("sign", "+s X*", rhs=s * E1 - lam * T),
            mutant("constant", "s = kappa/(kappa + 1)", rhs=-s / 2 * E1 - lam * T),
            dropped(RATIO),
        ),
    ),
    Identity(
        "stationary_in_a",
        "G B + lam A = 0 at A = q J2, B = q K2, q^2 = sigma.",
        gradient_at(A @ B.T) @ B + lam * A,
        zeros(m, r),
        given=(*FRAME, ROOT),
        mutants=(
            mutant("sign", "G B - lam A", lhs=gradient_at(A @ B.T) @ B - lam * A),
            mutant("constant", "G B + 2 lam A", lhs=gradient_at(A @ B.T) @ B + 2 * lam * A),
            dropped(ROOT),
        ),
    ),
    Identity(
        "stationary_in_b",
        "G^T A + lam B = 0 at A = q J2, B = q K2.",
        gradient_at(A @ B.T).T @ A + lam * B,
        zeros(n, r),
        given=(*FRAME, ROOT),
        mutants=(
            mutant("sign", "G^T A - lam B", lhs=gradient_at(A @ B.T).T @ A - lam * B),
            mutant("constant", "G^T A + 2 lam B", lhs=gradient_at(A @ B.T).T @ A + 2 * lam * B),
            dropped(ROOT),
        ),
    ),
    SumOfSquares(
        "hessian_sum_of_squares",
        "The Hessian form at the spurious point is a sum of squares; its first coefficient is kappa sigma - s.",
        (kappa * root**2 - s) * (square(U1) + square(V1)),
        FORM,
        proof=[
            (s + lam) * Square(U1 - V1),
            lam * Square(U2 - V2),
            (kappa * root**2 + lam) * Square(U0),
            (kappa * root**2 + lam) * Square(V0),
            root**2 * kappa * Square(MIX - tr(MIX) / r * eye(r)),
            root**2 * (kappa + 1) / (2 * r) * Square(tr(MIX)),
        ],
        given=FRAME,
        mutants=(
            mutant("constant", "kappa sigma - s/2", lhs=(kappa * root**2 - s / 2) * (square(U1) + square(V1))),
            mutant("sign", "kappa sigma + s", lhs=(kappa * root**2 + s) * (square(U1) + square(V1))),
        ),
    ),
    ScalarCheck(
        "threshold",
        "kappa sigma - s = kappa (kappa - 1 - 2 t)/((kappa + 1) t), non-negative exactly for kappa >= 1 + 2 t.",
        kappa * sigma - s,
        kappa * (kappa - 1 - 2 * t) / ((kappa + 1) * t),
        mutants=(
            mutant("constant", "1 + t", rhs=kappa * (kappa - 1 - t) / ((kappa + 1) * t)),
            mutant("sign", "1 + 2 t - kappa", rhs=kappa * (1 + 2 * t - kappa) / ((kappa + 1) * t)),
        ),
    ),
    Identity(
        "below_threshold",
        "Along U = J1 W, V = K1 W the form is 2 (kappa sigma - s) ||W||^2, negative for kappa < 1 + 2 t.",
        hess((J1 @ W1) @ B.T + A @ (K1 @ W1).T, (J1 @ W1) @ B.T + A @ (K1 @ W1).T)
        + 2 * inner(grad_spurious, (J1 @ W1) @ (K1 @ W1).T)
        + lam * (square(J1 @ W1) + square(K1 @ W1)),
        2 * (kappa * root**2 - s) * square(W1),
        given=(LEFT, RIGHT),
        mutants=(
            mutant("constant", "kappa sigma - s", rhs=(kappa * root**2 - s) * square(W1)),
            mutant("sign", "2 (kappa sigma + s)", rhs=2 * (kappa * root**2 + s) * square(W1)),
            dropped(RIGHT),
        ),
    ),
    Identity(
        "symmetries_are_flat",
        "Along U = J2 W, V = K2 W with W skew the form is zero: the rotations of the factors.",
        hess((J2 @ SKEW) @ B.T + A @ (K2 @ SKEW).T, (J2 @ SKEW) @ B.T + A @ (K2 @ SKEW).T)
        + 2 * inner(grad_spurious, (J2 @ SKEW) @ (K2 @ SKEW).T)
        + lam * (square(J2 @ SKEW) + square(K2 @ SKEW)),
        0,
        given=(LEFT, RIGHT, SKEW_SYMMETRIC),
        mutants=(
            mutant(
                "sign",
                "V = -K2 W",
                lhs=hess((J2 @ SKEW) @ B.T - A @ (K2 @ SKEW).T, (J2 @ SKEW) @ B.T - A @ (K2 @ SKEW).T),
            ),
            dropped(SKEW_SYMMETRIC),
        ),
    ),
    Inequality(
        "global_minimizer",
        "F(Y) - F(X*) >= ||Y - X*||^2/2 for every Y: X* is the unique global minimizer, ||X*||_* = r*.",
        square(SHIFT) / 2,
        loss(Y) + lam * nuc - (loss(XS) + lam * rs),
        proof=[lam * DUAL, excess / 2 * Square(SHIFT - inner(N, SHIFT) / (2 * rs) * N)],
        given=(*FRAME, define(kappa, 1 + excess)),
        mutants=(
            mutant("sign", "without the penalty", rhs=loss(Y) - loss(XS) - lam * nuc - lam * rs),
            mutant(
                "constant",
                "0.55 ||Y - X*||^2",
                {**RANK_ONE, Y: [["1/2", 0], [0, "1/2"]], nuc: 1, lam: 1, excess: 1, kappa: 2},
                lhs=11 * square(SHIFT) / 20,
            ),
            dropped(DUAL),
            dropped(LEFT),
        ),
    ),
    Identity(
        "gap",
        "F(X_s) - F(X*) = kappa r*/(kappa + 1), with ||X_s||_* = sigma r and ||X*||_* = r*.",
        gap_expr,
        kappa * rs / (kappa + 1),
        given=FRAME,
        mutants=(
            mutant("constant", "kappa r/(kappa + 1)", {**RANK_FOUR, kappa: 5, lam: 1}, rhs=kappa * r / (kappa + 1)),
            mutant("sign", "kappa r*/(kappa - 1)", rhs=kappa * rs / (kappa - 1)),
            dropped(LEFT),
        ),
    ),
    Identity(
        "gap_at_boundary",
        "At kappa = 1 + 2 t, r* = 1, the gap is (1 + 2 t)/(2 + 2 t), which is 3/4 at t = 1;",
        scalar(kappa / (kappa + 1)),
        scalar((1 + 2 * t) / (2 + 2 * t)),
        given=(BOUNDARY,),
        mutants=(
            mutant("constant", "(1 + 2 t)/(1 + 2 t + t)", rhs=scalar((1 + 2 * t) / (1 + 3 * t))),
            mutant("sign", "(1 - 2 t)", rhs=scalar((1 - 2 * t) / (2 + 2 * t))),
            dropped(BOUNDARY),
        ),
    ),
    Identity(
        "sigma_at_boundary",
        "and sigma = 1/(1 + t).",
        scalar(sigma),
        scalar(1 / (1 + t)),
        given=(BOUNDARY,),
        mutants=(
            mutant("constant", "1/(2 + t)", rhs=scalar(1 / (2 + t))),
            mutant("sign", "-1/(1 + t)", rhs=scalar(-1 / (1 + t))),
            dropped(BOUNDARY),
        ),
    ),
)

PROSE = {
    "strictness beyond the symmetries for kappa > 1 + 2 t, which is read off the zero set of the squares": (
        "hessian_sum_of_squares",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("sharp_instance", THEOREM))
