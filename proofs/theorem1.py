"""Second-order stationary points are global or fail loudly (one matrix).

Statement
---------
Let F have a minimizer X* of rank r* <= r, with (alpha, r, D)-restricted strong convexity and (beta, r, D)-restricted
smoothness, and let (A, B) be a second-order stationary point of L, X = A B^T, ||X - X*||_F <= D.

1. If 2 alpha > beta, X = X*.
2. Otherwise X = X*, or rank X = r, sigma_r(X) >= (2 alpha/beta) sigma_{r*}(X), and, where the denominator is
   positive, ||X - X*||_F^2 >= ||X - Pi_{r*}(X)||_F^2 / (1 - 2 alpha sigma_{r*}(X)/(beta sigma_r(X))). This
   is for r* >= 1; if r* = 0, X = X* = 0.

The strict inequality in 1 is needed: for orthonormal j1, j2 and k1, k2 the function f(Y) = alpha (||Y - j1 k1^T||_F^2
- (j2^T Y k2)^2) has r = r* = 1, lam = 0, D = sqrt 2, beta = 2 alpha exactly, X* = j1 k1^T and a spurious second-order
stationary point X = j2 k2^T.

Assumptions
-----------
alpha > 0, beta < infinity; lam > 0 (balance and structure from `stationary_structure`), or lam = 0 after the
rebalancing shown there. The spectral bound s <= lam + beta sigma_r is the conclusion of `escape_direction`. For r = r*
the rest of X, P2 Sigma2 Q2^T, has no columns: nothing here divides by a size.

Source
------
Kim, Kim, Ryu, ICML 2025, theorem 1. The sharpness instance is ours.

Idea
----
K = -S/max(lam, s) makes g = lam (P Q^T + K) a subgradient of lam ||.||_* at X, and Z = g + G = (1 - lam/s)_+ S has
P^T Z = 0, Z Q = 0, ||Z||_2 <= beta sigma_r. With kappa = sigma_{r*}/(beta sigma_r) the truncation Pi_{r*}(X) is a
best approximation of X - kappa Z of rank r*, so X* is no better. Monotonicity of the subdifferential and restricted
strong convexity bound <X* - X, Z> from above, and the two together give
||Pi_{r*}(X) - X||_F^2 <= (1 - 2 kappa alpha) ||X* - X||_F^2.

Checks
------
subgradient_sum : PROVED
multiplier_vanishes : PROVED
multiplier_annihilated : PROVED
multiplier_norm : PROVED
truncation_left : PROVED
truncation_right : PROVED
truncation_remainder : PROVED
truncation_scale : PROVED
best_approximation : PROVED
strong_convexity : PROVED
master_inequality : PROVED
ratio_in_special_regime : PROVED
special_regime : PROVED
generic_ratio : PROVED
generic_distance : PROVED
rank_deficient_is_global : PROVED
minimizer_zero : PROVED
sharp_gradient : PROVED
sharp_pairing : PROVED
sharp_entries : PROVED
sharp_strong_convexity : PROVED
sharp_smoothness : PROVED
sharp_stationary_in_a : PROVED
sharp_stationary_in_b : PROVED
sharp_second_order : PROVED
sharp_spurious_value : PROVED

Used by
-------
lorasolve/landscape/judge.py, lorasolve/landscape/regimes.py, lorasolve/landscape/theorems.py
"""

import sympy

from lorasolve.symbolic import (
    Identity,
    Inequality,
    MatrixExpr,
    ScalarCheck,
    ScalarExpr,
    Square,
    SumOfSquares,
    Theorem,
    annihilated,
    define,
    derivative,
    dims,
    dropped,
    equation,
    eye,
    gradient,
    hypothesis,
    inner,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    square,
    vector,
    zeros,
)
from proofs import escape_direction as ed
from proofs.facts import ECKART_YOUNG, MONOTONICITY, RANK_AT_MOST, SUBGRADIENT, TRUNCATION

m, n, rs, k = dims("m n r_star k")
alpha, beta, kappa, s, excess, slack, z = scalars("alpha beta kappa s e c z")
lam = scalars("lambda", nonnegative=True)
sigma_r, sigma_star = scalars("sigma_r sigma_star")
gap = sympy.Symbol("d", nonnegative=True)
P1, P2, Q1, Q2 = matrix("P1", m, rs), matrix("P2", m, k), matrix("Q1", n, rs), matrix("Q2", n, k)
Sigma1, Sigma2 = matrix("Sigma1", rs, rs, symmetric=True), matrix("Sigma2", k, k, symmetric=True)
S, Z, XS, G, GS, g, gs = (matrix(name, m, n) for name in ("S", "Z", "Xstar", "G", "Gstar", "g", "gstar"))

TOP, REST = P1 @ Sigma1 @ Q1.T, P2 @ Sigma2 @ Q2.T
X = TOP + REST
LEFT, RIGHT = orthonormal(P1, P2), orthonormal(Q1, Q2)
Z_OFF = annihilated(Z, left=(P1, P2), right=(Q1, Q2))
S_OFF = annihilated(S, left=(P1, P2), right=(Q1, Q2))
PQ = P1 @ Q1.T + P2 @ Q2.T
LESS = sympy.Rational(19, 20)

# Step 3: the multiplier Z for s = ||S||_2 > lam, with K = -S/s.
K = -1 / s * S
MULTIPLIER = (1 - lam / s) * S
SPECTRAL = ed.spectral_bound.conclusion(s, lam + beta * sigma_r, where={sigma_r: ed.rho**2}, put={ed.s: s})

# Steps 4 and 5. Eckart-Young-Mirsky applies to M = X - kappa Z = TOP + (REST - kappa Z) by the truncation checks.
M = X - kappa * Z
subgradient_sum = Identity(
    "subgradient_sum",
    "lam (P Q^T + K) + G = (1 - lam/s) S for G = -lam P Q^T + S and K = -S/s.",
    lam * (PQ + K) + (-lam * PQ + S),
    MULTIPLIER,
    paper="4 step 3",
    mutants=(
        mutant("sign", "K = +S/s", lhs=lam * (PQ - K) + (-lam * PQ + S)),
        mutant("constant", "1 - 2 lam/s", rhs=(1 - 2 * lam / s) * S),
    ),
)
# For s <= lam, where S = lam J with ||J||_2 <= 1.
J = matrix("J", m, n)
SMALL_S = define(S, lam * J)
multiplier_vanishes = Identity(
    "multiplier_vanishes",
    "lam (P Q^T + K) + G = 0 for G = -lam P Q^T + S, S = lam J and K = -J: Z = 0 where s <= lam.",
    lam * (PQ - J) + (-lam * PQ + S),
    zeros(m, n),
    given=(SMALL_S,),
    paper="4 step 3",
    mutants=(
        mutant("sign", "K = +J", lhs=lam * (PQ + J) + (-lam * PQ + S)),
        mutant("constant", "K = -2 J", lhs=lam * (PQ - 2 * J) + (-lam * PQ + S)),
        dropped(SMALL_S),
    ),
)
multiplier_annihilated = Identity(
    "multiplier_annihilated",
    "Z = (I - P P^T) Z (I - Q Q^T), that is P^T Z = 0 and Z Q = 0.",
    (eye(m) - P1 @ P1.T - P2 @ P2.T) @ MULTIPLIER @ (eye(n) - Q1 @ Q1.T - Q2 @ Q2.T),
    MULTIPLIER,
    given=(S_OFF,),
    paper="4 step 3",
    mutants=(
        mutant("sign", "Z with -lam P Q^T left in", rhs=MULTIPLIER - lam * PQ),
        mutant("constant", "2 Z", rhs=2 * MULTIPLIER),
        dropped(S_OFF),
    ),
)
multiplier_norm = Inequality(
    "multiplier_norm",
    "||Z||_2 = (1 - lam/s) s <= beta sigma_r.",
    (1 - lam / s) * s,
    beta * sigma_r,
    proof=[SPECTRAL],
    under=(ed.spectral_bound,),
    paper="4 step 3",
    mutants=(
        mutant("constant", "0.95 beta sigma_r", {s: 2, lam: 1, beta: 1, sigma_r: 1}, rhs=LESS * beta * sigma_r),
        mutant("sign", "(1 + lam/s) s", lhs=(1 + lam / s) * s),
        dropped(SPECTRAL),
    ),
)
truncation_left = Identity(
    "truncation_left",
    "Pi^T (X - kappa Z - Pi) = 0.",
    TOP.T @ (M - TOP),
    zeros(n, n),
    given=(LEFT, Z_OFF),
    paper="4 step 4",
    mutants=(
        mutant("sign", "X + kappa Z without removing Pi", lhs=TOP.T @ (X + kappa * Z)),
        dropped(LEFT),
        dropped(Z_OFF),
    ),
)
truncation_right = Identity(
    "truncation_right",
    "(X - kappa Z - Pi) Pi^T = 0.",
    (M - TOP) @ TOP.T,
    zeros(m, m),
    given=(RIGHT, Z_OFF),
    paper="4 step 4",
    mutants=(
        mutant("constant", "Pi removed twice", lhs=(M - 2 * TOP) @ TOP.T),
        dropped(RIGHT),
    ),
)
truncation_remainder = Identity(
    "truncation_remainder",
    "The remainder has Gram matrix Q2 Sigma2^2 Q2^T + kappa^2 Z^T Z: its values are those of REST and kappa Z.",
    (M - TOP).T @ (M - TOP),
    Q2 @ Sigma2 @ Sigma2 @ Q2.T + kappa**2 * Z.T @ Z,
    given=(LEFT, Z_OFF),
    paper="4 step 4",
    mutants=(
        mutant("sign", "minus kappa^2 Z^T Z", rhs=Q2 @ Sigma2 @ Sigma2 @ Q2.T - kappa**2 * Z.T @ Z),
        mutant("constant", "kappa Z^T Z", rhs=Q2 @ Sigma2 @ Sigma2 @ Q2.T + kappa * Z.T @ Z),
        dropped(Z_OFF),
    ),
)
# ||Z||_2 = s - lam for s > lam.
Z_NORM = multiplier_norm.conclusion(z, beta * sigma_r, put={s: lam + z})
truncation_scale = Inequality(
    "truncation_scale",
    "kappa ||Z||_2 <= sigma_{r*}, so the r* largest singular values of X - kappa Z are those of Pi.",
    sigma_star / (beta * sigma_r) * z,
    sigma_star,
    proof=[sigma_star / (beta * sigma_r) * Z_NORM],
    under=(multiplier_norm,),
    paper="4 step 4",
    mutants=(
        mutant("constant", "0.95 sigma_{r*}", {sigma_star: 1, beta: 1, sigma_r: 1, z: 1}, rhs=LESS * sigma_star),
        mutant("swapped symbols", "kappa = sigma_r/(beta sigma_{r*})", lhs=sigma_r / (beta * sigma_star) * z),
        dropped(Z_NORM),
    ),
)
TRUNCATED = (truncation_left, truncation_right, truncation_remainder, truncation_scale)
BEST = ECKART_YOUNG.instance("closest", TRUNCATION(TOP, rs, M - TOP, by=TRUNCATED), RANK_AT_MOST(XS, rs))

# X = diag(1, 1, 0), Z = diag(0, 0, 1), X* = diag(0, 0, -1): all three singular values of X - Z are equal.
E1, E2 = [[1], [0], [0]], [[0], [1], [0]]
TIE = {
    P1: E1, Q1: E1, P2: E2, Q2: E2, Sigma1: [[1]], Sigma2: [[1]], kappa: 1,
    Z: [[0, 0, 0], [0, 0, 0], [0, 0, 1]], XS: [[0, 0, 0], [0, 0, 0], [0, 0, -1]],
}  # fmt: skip

best_approximation = Inequality(
    "best_approximation",
    "||Pi_{r*}(X) - X||_F^2 <= ||X* - X||_F^2 + 2 kappa <X* - X, Z>.",
    square(TOP - X),
    square(XS - X) + 2 * kappa * inner(XS - X, Z),
    proof=[BEST],
    given=(Z_OFF,),
    paper="4 step 5",
    mutants=(
        mutant(
            "constant",
            "2.1 kappa <X* - X, Z>",
            TIE,
            rhs=square(XS - X) + sympy.Rational(21, 10) * kappa * inner(XS - X, Z),
        ),
        mutant("sign", "-2 kappa <X* - X, Z>", rhs=square(XS - X) - 2 * kappa * inner(XS - X, Z)),
        dropped(BEST),
    ),
)

# Step 6: G + g = Z at X, and Gstar + gstar = 0 at the minimizer.
AT_X, AT_XS = define(Z, G + g), define(gs, -1 * GS)
RSC = hypothesis("restricted strong convexity", alpha * square(X - XS), inner(G - GS, X - XS))
# g is a subgradient of lam ||.||_* by its form, gstar because X* is a minimizer.
OF_ITS_FORM = (subgradient_sum, multiplier_annihilated, multiplier_norm)
MONOTONE = MONOTONICITY.instance("monotone", SUBGRADIENT(g, lam, X, by=OF_ITS_FORM), SUBGRADIENT(gs, lam, XS))

# f = (x - 1)^2/2 - x and |x|, from x = 2.
STRAIGHT = {P1: [[1]], Q1: [[1]], Sigma1: [[2]], P2: [[0]], Q2: [[0]], Sigma2: [[0]], XS: [[1]], alpha: 1}
STRAIGHT |= {G: [[0]], GS: [[-1]], g: [[1]], gs: [[1]], Z: [[1]]}
strong_convexity = Inequality(
    "strong_convexity",
    "<X* - X, Z> <= -alpha ||X - X*||_F^2.",
    inner(XS - X, Z),
    -alpha * square(X - XS),
    proof=[RSC, MONOTONE],
    given=(AT_X, AT_XS),
    paper="4 step 6",
    mutants=(
        mutant("constant", "-1.1 alpha", STRAIGHT, rhs=-sympy.Rational(11, 10) * alpha * square(X - XS)),
        mutant("sign", "<X* - X, Z> >= 0", lhs=0, rhs=inner(XS - X, Z)),
        dropped(RSC),
        dropped(MONOTONE),
    ),
)

# From here on only the conclusions matter, as relations between numbers: Z is free again.
BEST_KNOWN, CONVEX_KNOWN = best_approximation.conclusion(), strong_convexity.conclusion()

POINT_AT_ZERO = {
    P1: [[1]], Q1: [[1]], Sigma1: [[0]], P2: [[0]], Q2: [[0]], Sigma2: [[0]],
    XS: [[1]], Z: [["-2/5"]], kappa: 1, alpha: "2/5",
}  # fmt: skip
# The same where 2 kappa alpha = 1, and everything is tight.
BOUNDARY = {**POINT_AT_ZERO, Z: [["-1/2"]], alpha: "1/2"}
# The point is the minimizer: X = X* = 1.
AT_MINIMUM = {P1: [[1]], Q1: [[1]], Sigma1: [[1]], P2: [[0]], Q2: [[0]], Sigma2: [[0]], XS: [[1]], alpha: 1}
AT_ZERO = {
    P1: [[1], [0]], Q1: [[1], [0]], Sigma1: [[0]], P2: [[0], [1]], Q2: [[0], [1]], Sigma2: [[0]],
    Z: [[0, 0], [0, 0]], alpha: 1,
}  # fmt: skip

master = Inequality(
    "master_inequality",
    "(2 kappa alpha - 1) ||X* - X||_F^2 + ||Pi_{r*}(X) - X||_F^2 <= 0.",
    (2 * kappa * alpha - 1) * square(XS - X) + square(TOP - X),
    0,
    proof=[BEST_KNOWN, 2 * kappa * CONVEX_KNOWN],
    under=(best_approximation, strong_convexity),
    paper="4 step 7",
    mutants=(
        mutant(
            "constant",
            "2 kappa alpha - 0.9",
            BOUNDARY,
            lhs=(2 * kappa * alpha - sympy.Rational(9, 10)) * square(XS - X) + square(TOP - X),
        ),
        mutant(
            "constant",
            "2.2 kappa alpha - 1",
            BOUNDARY,
            lhs=(sympy.Rational(11, 5) * kappa * alpha - 1) * square(XS - X) + square(TOP - X),
        ),
        dropped(BEST_KNOWN),
        dropped(CONVEX_KNOWN),
    ),
)
MASTER = master.conclusion()

# X = diag(1, 1), X* = 0: the distance is twice what is left of X.
HALVED = {
    P1: [[1], [0]], Q1: [[1], [0]], P2: [[0], [1]], Q2: [[0], [1]], Sigma1: [[1]], Sigma2: [[1]],
    XS: [[0, 0], [0, 0]], alpha: 1, slack: "1/2", kappa: "1/4",
}  # fmt: skip
generic_distance = Inequality(
    "generic_distance",
    "With c = 1 - 2 kappa alpha > 0: ||Pi_{r*}(X) - X||_F^2 / c <= ||X* - X||_F^2.",
    square(TOP - X) / slack,
    square(XS - X),
    proof=[MASTER / slack],
    under=(master,),
    given=(define(kappa, (1 - slack) / (2 * alpha)),),
    paper="4 generic regime",
    mutants=(
        mutant("constant", "1/(0.95 c)", HALVED, lhs=square(TOP - X) / (LESS * slack)),
        mutant("constant", "1/c^2 for c < 1", lhs=square(TOP - X) / slack**2),
        dropped(MASTER),
    ),
)
# Sharpness at 2 alpha = beta, r = r* = 1, lam = 0: f(Y) = alpha (||Y - E1||_F^2 - y22^2), X* = E1 = j1 k1^T, X = E2.
J1, J2, K1, K2 = vector("j1", m), vector("j2", m), vector("k1", n), vector("k2", n)
A, B, U, V = vector("A", m), vector("B", n), vector("U", m), vector("V", n)
Y, D = matrix("Y", m, n), matrix("D", m, n)
SHARP_XS, SHARP_X = J1 @ K1.T, J2 @ K2.T


def sharp_loss(point: MatrixExpr) -> ScalarExpr:
    """Return f: every entry of Y - X* counts but y22 = j2^T Y k2."""
    return alpha * (square(point - SHARP_XS) - square(J2.T @ point @ K2))


def sum_of_entries(point: MatrixExpr) -> MatrixExpr:
    """Return what a matrix has on the axes."""
    left, right = J1 @ J1.T + J2 @ J2.T, K1 @ K1.T + K2 @ K2.T
    return left @ point @ right


AXES = (orthonormal(J1, J2), orthonormal(K1, K2))
FACTORS = (*AXES, define(A, J2), define(B, K2))
IN_FACTORS = sharp_loss(A @ B.T)
HESSIAN = derivative(IN_FACTORS, {A: U, B: V}, order=2)
U_OFF, V_OFF = U - J1 @ (J1.T @ U) - J2 @ (J2.T @ U), V - K1 @ (K1.T @ V) - K2 @ (K2.T @ V)
# In numbers: the entries of a rank-one Y, of which y22 = s22 |y22|, and the sum w of the squares of what is left.
y11, y12, y21, sign22 = sympy.symbols("y11 y12 y21 s22", real=True)
y22, others = sympy.symbols("y22 w", nonnegative=True)
near = (y11 - 1) ** 2 + y12**2 + y21**2 + others
RANK_ONE = equation("y11 y22 = y12 y21", y12 * y21, y11 * sign22 * y22)
IS_SIGN = equation("s22 = 1 or s22 = -1", sign22**2, 1)
BALL = hypothesis("||Y - X*||_F^2 <= 2", near + y22**2, 2)
CROSSED = {J1: [[0], [1]], K1: [[0], [1]], J2: [[1], [0]], K2: [[1], [0]]}
CORNER = {y11: 0, y12: 0, y21: 0, y22: 1, sign22: -1, others: 0, alpha: 1}

CHECKS = (
    subgradient_sum,
    multiplier_vanishes,
    multiplier_annihilated,
    multiplier_norm,
    truncation_left,
    truncation_right,
    truncation_remainder,
    truncation_scale,
    best_approximation,
    strong_convexity,
    master,
    ScalarCheck(
        "ratio_in_special_regime",
        "2 kappa alpha = 2 alpha sigma_{r*}/(beta sigma_r) >= 2 alpha/beta, because sigma_{r*} >= sigma_r.",
        2 * alpha / beta,
        2 * alpha * (sigma_r + gap) / (beta * sigma_r),
        relation="<=",
        paper="4 special regime",
        mutants=(
            mutant("swapped symbols", "sigma_r/sigma_{r*}", rhs=2 * alpha * sigma_r / (beta * (sigma_r + gap))),
            mutant(
                "constant",
                "2.1 alpha/beta",
                {alpha: 1, beta: 1, sigma_r: 1, gap: 0},
                lhs=sympy.Rational(21, 10) * alpha / beta,
            ),
        ),
    ),
    Inequality(
        "special_regime",
        "If 2 kappa alpha = 1 + e with e > 0 then ||X* - X||_F^2 <= 0: X is the global minimum.",
        square(XS - X),
        0,
        proof=[MASTER / excess, Square(TOP - X) / excess],
        under=(master,),
        given=(define(kappa, (1 + excess) / (2 * alpha)),),
        paper="4 special regime",
        mutants=(
            mutant(
                "sign",
                "2 kappa alpha = 1 - e",
                {**POINT_AT_ZERO, kappa: 1, alpha: "1/4", excess: "1/2"},
                given=(define(kappa, (1 - excess) / (2 * alpha)),),
            ),
            mutant("constant", "at most -1", {**AT_MINIMUM, excess: 1, kappa: 1}, rhs=-1),
            mutant(
                "constant",
                "2 kappa alpha = 1, the boundary",
                {**BOUNDARY, excess: 1},
                given=(define(kappa, 1 / (2 * alpha)),),
            ),
            dropped(MASTER),
        ),
    ),
    Inequality(
        "generic_ratio",
        "(2 alpha sigma_{r*} - beta sigma_r) ||X* - X||_F^2 <= 0: sigma_r >= (2 alpha/beta) sigma_{r*} if X is not X*.",
        (2 * alpha * sigma_star - beta * sigma_r) * square(XS - X),
        0,
        proof=[beta * sigma_r * MASTER, beta * sigma_r * Square(TOP - X)],
        under=(master,),
        given=(define(kappa, sigma_star / (beta * sigma_r)),),
        paper="4 generic regime",
        mutants=(
            mutant("sign", "at least 0", lhs=(beta * sigma_r - 2 * alpha * sigma_star) * square(XS - X)),
            mutant(
                "constant",
                "2.1 alpha sigma_{r*}",
                {**BOUNDARY, sigma_star: 1, sigma_r: 1, beta: 1},
                lhs=(sympy.Rational(21, 10) * alpha * sigma_star - beta * sigma_r) * square(XS - X),
            ),
            dropped(MASTER),
        ),
    ),
    generic_distance,
    Inequality(
        "rank_deficient_is_global",
        "At a rank-deficient second-order stationary point s <= lam, Z = 0, and alpha ||X - X*||_F^2 <= 0.",
        alpha * square(X - XS),
        0,
        proof=[strong_convexity.conclusion(0, -alpha * square(X - XS), put={Z: zeros(m, n)})],
        under=(strong_convexity,),
        paper="4 rank-deficient point",
        mutants=(
            mutant("sign", "with Z = X - X*", proof=[strong_convexity.conclusion(put={Z: X - XS})]),
            mutant("constant", "at most -1", AT_MINIMUM, rhs=-1),
            mutant("dropped assumption", "without Z = 0", proof=[CONVEX_KNOWN]),
        ),
    ),
    Inequality(
        "minimizer_zero",
        "r* = 0: <X, Z> = 0 leaves alpha ||X||_F^2 <= 0, X = X* = 0, whatever beta is.",
        alpha * square(X),
        0,
        proof=[strong_convexity.conclusion(put={XS: zeros(m, n)})],
        under=(strong_convexity,),
        given=(Z_OFF,),
        paper="4 special regime",
        mutants=(
            mutant("constant", "at most -1", AT_ZERO, rhs=-1),
            mutant("sign", "at least 1", AT_ZERO, lhs=1, rhs=alpha * square(X)),
            dropped(Z_OFF),
        ),
    ),
    Identity(
        "sharp_gradient",
        "grad f(Y) = 2 alpha (Y - X* - y22 E2), which is 0 at X*.",
        gradient(sharp_loss(Y), Y),
        2 * alpha * (Y - SHARP_XS - J2 @ (J2.T @ Y @ K2) @ K2.T),
        paper="4 special regime",
        mutants=(
            mutant("sign", "+ y22 E2", rhs=2 * alpha * (Y - SHARP_XS + J2 @ (J2.T @ Y @ K2) @ K2.T)),
            mutant("constant", "alpha", rhs=alpha * (Y - SHARP_XS - J2 @ (J2.T @ Y @ K2) @ K2.T)),
        ),
    ),
    Identity(
        "sharp_pairing",
        "<grad f(Y), Y - X*> = 2 alpha (||Y - X*||^2 - y22^2).",
        inner(2 * alpha * (Y - SHARP_XS - J2 @ (J2.T @ Y @ K2) @ K2.T), Y - SHARP_XS),
        2 * alpha * (square(Y - SHARP_XS) - square(J2.T @ Y @ K2)),
        given=(AXES[0],),
        paper="4 special regime",
        mutants=(
            mutant("sign", "+ y22^2", rhs=2 * alpha * (square(Y - SHARP_XS) + square(J2.T @ Y @ K2))),
            mutant("constant", "2 y22^2", rhs=2 * alpha * (square(Y - SHARP_XS) - 2 * square(J2.T @ Y @ K2))),
            dropped(AXES[0]),
        ),
    ),
    Identity(
        "sharp_entries",
        "||Y - X*||^2 = (y11 - 1)^2 + y12^2 + y21^2 + y22^2 + w, w the squares of what is left of Y.",
        square(Y - SHARP_XS),
        square(J1.T @ Y @ K1 - eye(1))
        + square(J1.T @ Y @ K2)
        + square(J2.T @ Y @ K1)
        + square(J2.T @ Y @ K2)
        + square(Y - sum_of_entries(Y)),
        given=AXES,
        paper="4 special regime",
        mutants=(
            mutant("sign", "(y11 + 1)^2", lhs=square(Y + SHARP_XS)),
            mutant("constant", "without X*", lhs=square(Y)),
            dropped(AXES[0]),
            dropped(AXES[1]),
        ),
    ),
    Inequality(
        "sharp_strong_convexity",
        "alpha ||Y - X*||^2 <= <grad f(Y), Y - X*> for every rank-one Y with ||Y - X*||^2 <= 2.",
        alpha * (near + y22**2),
        2 * alpha * near,
        proof=[
            alpha * (1 + y22) * Square(y11 - 1 + y22),
            alpha * (1 + y22) * Square(y12 - sign22 * y21),
            alpha * (1 + y22) * others,
            alpha * y22 * BALL,
            -2 * alpha * (1 + y22) * sign22 * RANK_ONE,
            alpha * (1 + y22) * (y21**2 - 2 * y11 * y22) * IS_SIGN,
        ],
        paper="4 special regime",
        mutants=(
            mutant("constant", "1.1 alpha", CORNER, lhs=sympy.Rational(11, 10) * alpha * (near + y22**2)),
            dropped(BALL, {**CORNER, y22: 2}),
            dropped(RANK_ONE, {**CORNER, y11: 1}),
            dropped(IS_SIGN, {**CORNER, y11: 1, sign22: 0}),
        ),
    ),
    SumOfSquares(
        "sharp_smoothness",
        "The second derivative of f along D is at most 2 alpha ||D||^2: beta = 2 alpha.",
        derivative(sharp_loss(Y), {Y: D}, order=2),
        2 * alpha * square(D),
        proof=[2 * alpha * Square(J2.T @ D @ K2)],
        paper="4 special regime",
        mutants=(
            mutant(
                "constant",
                "beta = 1.9 alpha",
                {**CROSSED, D: [[0, 0], [0, 1]], Y: [[0, 0], [0, 0]], alpha: 1},
                rhs=sympy.Rational(19, 10) * alpha * square(D),
            ),
            mutant(
                "sign", "at least 2 alpha", lhs=2 * alpha * square(D), rhs=derivative(sharp_loss(Y), {Y: D}, order=2)
            ),
        ),
    ),
    Identity(
        "sharp_stationary_in_a",
        "The gradient of L in A vanishes at A = j2, B = k2.",
        gradient(IN_FACTORS, A),
        zeros(m, 1),
        given=FACTORS,
        paper="4 special regime",
        mutants=(
            mutant("sign", "-A", rhs=-A),
            mutant("constant", "A", rhs=A),
            dropped(AXES[1]),
        ),
    ),
    Identity(
        "sharp_stationary_in_b",
        "The gradient of L in B vanishes at A = j2, B = k2.",
        gradient(IN_FACTORS, B),
        zeros(n, 1),
        given=FACTORS,
        paper="4 special regime",
        mutants=(
            mutant("sign", "-B", rhs=-B),
            mutant("constant", "B", rhs=B),
            dropped(AXES[0]),
        ),
    ),
    SumOfSquares(
        "sharp_second_order",
        "The second derivative of L at (j2, k2) is 2 alpha times (u1 - v1)^2 and the squares of U, V off the axes.",
        0,
        HESSIAN,
        proof=[
            2 * alpha * Square(J1.T @ U - K1.T @ V),
            2 * alpha * Square(U_OFF),
            2 * alpha * Square(V_OFF),
        ],
        given=FACTORS,
        paper="4 special regime",
        mutants=(
            mutant("constant", "at least 2 alpha u1^2", lhs=2 * alpha * square(J1.T @ U)),
            mutant("sign", "-HESSIAN", rhs=-HESSIAN),
            dropped(AXES[0]),
        ),
    ),
    Identity(
        "sharp_spurious_value",
        "f(E2) = alpha > 0 = f(E1) = min f: the point is not global, although 2 alpha = beta.",
        sharp_loss(SHARP_X),
        alpha + sharp_loss(SHARP_XS),
        given=AXES,
        paper="4 special regime",
        mutants=(
            mutant("constant", "f(E2) = 2 alpha", rhs=2 * alpha),
            mutant("sign", "f(E2) = -alpha", rhs=-alpha),
        ),
    ),
)

PROSE = {
    "X has a singular value decomposition; the singular values of X - kappa Z are those of Pi_{r*}(X), of the "
    "rest of X and of kappa Z, which are orthogonal to each other": (
        "truncation_left",
        "truncation_right",
        "truncation_remainder",
        "truncation_scale",
    ),
    "rank X is r or less than r, and the second case is the statement on rank-deficient points": (
        "special_regime",
        "generic_ratio",
    ),
    "Y of rank one has y11 y22 = y12 y21": ("sharp_strong_convexity",),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(ed.THEOREM,), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("theorem1", THEOREM))
