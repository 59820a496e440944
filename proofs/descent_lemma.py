"""A step of gradient descent that always descends, from quantities at the current point.

Statement
---------
Let lam >= 0, f have a beta-Lipschitz gradient, a = ||A||_2, b = ||B||_2, w = ||G||_2 + lam with G = grad f(A B^T). If

    0 < h <= 1/(||G||_2 + lam + (9/4) beta (||A||_2^2 + ||B||_2^2)),

then L(A - h grad_A L, B - h grad_B L) <= L(A, B) - (h/2) (||grad_A L||_F^2 + ||grad_B L||_F^2).

Locally: the Hessian form of L at (A, B) is at most K0 (||U||_F^2 + ||V||_F^2) with K0 = ||G||_2 + lam + beta (a^2 +
b^2), and where that bound holds along the step, h <= 1/K0 descends by (h/2) |grad L|^2 as well. The factor 9/4 is
the price of knowing K0 at the current point only.

A constant step that is safe for ever: with Delta = L(A0, B0) - inf f and lam > 0 every h <= 1/(sqrt(2 beta Delta) +
lam + (9/2) beta Delta/lam) satisfies the condition at the start and, since L decreases, at every later point.

Assumptions
-----------
grad f is beta-Lipschitz on the segment from X to X_+; for the constant step also on those from each X to X - G/beta,
and f is bounded from below.

Source
------
Beyond the paper; compare Lee, Simchowitz, Jordan, Recht, COLT 2016, who assume a step below the inverse global
Lipschitz constant, which L does not have.

Idea
----
With gA, gB the gradients, X_+ - X = -h (gA (B - h gB/2)^T + (A - h gA/2) gB^T) exactly. The operator norms of the two
midpoints are at most sqrt(a^2 + b^2)(1 + h w/2) together, so the descent lemma for f bounds the change of L by
-h |g|^2 + (h^2/2) |g|^2 (w + beta (a^2 + b^2)(1 + h w/2)^2), and h w <= 1 gives the factor (3/2)^2 = 9/4.

Checks
------
increment : PROVED
change_of_objective : PROVED
midpoint_operator : PROVED
midpoint_norms : PROVED
increment_norm : PROVED
descent : PROVED
local_curvature : PROVED
descent_along_bound : PROVED
gradient_norm_from_value : PROVED
constant_step : PROVED

Used by
-------
lorasolve/comparison/_rates.py, lorasolve/optimizers/base.py, lorasolve/optimizers/gd.py
"""

from sympy import Rational

from lorasolve.symbolic import (
    Form,
    Identity,
    Inequality,
    Square,
    SumOfSquares,
    Theorem,
    define,
    dims,
    dropped,
    equation,
    hypothesis,
    inner,
    matrix,
    mutant,
    orthonormal,
    renamed,
    run_module,
    scalars,
    square,
    vector,
)
from proofs import magnitude_bound as mb
from proofs.facts import FROBENIUS, OPERATOR_NORM, SPECTRAL, SPECTRAL_IS

m, n, r = dims("m n r")
h, beta = scalars("h beta")
lam, g, a, b = scalars("lambda g a b", nonnegative=True)
# lam where it is not 0.
decay = scalars("lambda")
A, B, G, X = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n), matrix("X", m, n)
gA, gB = matrix("gA", m, r), matrix("gB", n, r)
# Each matrix is a bound of its spectral norm times one of norm at most 1, so that both may be 0, as B is at the start.
KA, KB, KG = matrix("K_A", m, r), matrix("K_B", n, r), matrix("K_G", m, n)
A_SCALED, B_SCALED, G_SCALED = define(A, a * KA), define(B, b * KB), define(G, g * KG)
GRADIENTS = (define(gA, G @ B + lam * A), define(gB, G.T @ A + lam * B))
A_NEXT, B_NEXT = A - h * gA, B - h * gB
MID_A, MID_B = A - h / 2 * gA, B - h / 2 * gB
E = A_NEXT @ B_NEXT.T - A @ B.T
NORM2 = square(gA) + square(gB)

# f at X and at X_+ = X + E.
f, f_next = scalars("f f_next", real=True)
L, L_NEXT = f + lam / 2 * (square(A) + square(B)), f_next + lam / 2 * (square(A_NEXT) + square(B_NEXT))
SMOOTH = hypothesis("f(X + E) <= f + <G, E> + (beta/2)|E|^2", f_next, f + inner(G, E) + beta / 2 * square(E))
CROSS = OPERATOR_NORM.instance("product", SPECTRAL(KG, 1), W=gB)
CHANGE_BOUND = -h * NORM2 + h**2 / 2 * (g + lam) * NORM2 + beta / 2 * square(E)
# m = n = r = 1, A = B = G = 1: the term <G, gA gB^T> is active and everything is tight.
ACTIVE = {A: [[1]], B: [[1]], G: [[1]], KG: [[1]], gA: [[2]], gB: [[2]], lam: 1, g: 1, h: "1/2", beta: 1, f: 0}
ACTIVE |= {f_next: -1}

change = Inequality(
    "change_of_objective",
    "L_+ - L <= -h |g|^2 + (h^2/2)(||G||_2 + lam) |g|^2 + (beta/2) |E|^2.",
    L_NEXT - L,
    CHANGE_BOUND,
    proof=[SMOOTH, h**2 / 2 * g * Square(gA - KG @ gB), h**2 / 2 * g * CROSS],
    given=(G_SCALED, *GRADIENTS),
    mutants=(
        mutant("constant", "lam left out", {**ACTIVE, f_next: "-1/2"}, rhs=CHANGE_BOUND - h**2 / 2 * lam * NORM2),
        mutant("sign", "-(h^2/2)", {**ACTIVE, f_next: "-1/2"}, rhs=CHANGE_BOUND - h**2 * (g + lam) * NORM2),
        dropped(SMOOTH),
        dropped(CROSS, {**ACTIVE, KG: [[10]], g: "1/10", f_next: "-1/2"}),
    ),
)

# Numbers: na, nb the spectral norms of the midpoints, attained at a unit vector w.
na, nb = scalars("n_a n_b", nonnegative=True)
w = g + lam
size = a**2 + b**2
E_A, E_B = a + h / 2 * (g * b + lam * a), b + h / 2 * (g * a + lam * b)

MA, MB, NA, NB = matrix("M_A", m, r), matrix("M_B", n, r), matrix("N_A", m, r), matrix("N_B", n, r)
PART_1 = OPERATOR_NORM.instance("product", SPECTRAL(NB, 1), W=gA.T)
PART_2 = OPERATOR_NORM.instance("product", SPECTRAL(NA, 1), W=gB.T)
MOVED = square(h * (gA @ MB.T + MA @ gB.T))
INCREMENT_BOUND = h**2 * (na**2 + nb**2) * NORM2
ONES = {MA: [[1]], MB: [[1]], NA: [[1]], NB: [[1]], gA: [[1]], gB: [[1]], h: 1, na: 1, nb: 1}
increment_norm = Inequality(
    "increment_norm",
    "h^2 |gA M_B^T + M_A gB^T|^2 <= h^2 (n_a^2 + n_b^2)(|gA|^2 + |gB|^2) for spectral norms n_a, n_b of M_A, M_B.",
    MOVED,
    INCREMENT_BOUND,
    proof=[
        h**2 * Square(na * gA @ NB.T - nb * NA @ gB.T),
        h**2 * (na**2 + nb**2) * PART_1,
        h**2 * (na**2 + nb**2) * PART_2,
    ],
    given=(define(MA, na * NA), define(MB, nb * NB)),
    mutants=(
        mutant("constant", "half of it", ONES, rhs=INCREMENT_BOUND / 2),
        mutant("sign", "||M_A||^2 - ||M_B||^2", ONES, rhs=h**2 * (na**2 - nb**2) * NORM2),
        dropped(PART_1, {**ONES, NB: [[10]], nb: "1/10"}),
    ),
)

unit = vector("w", r)
UNIT = orthonormal(unit)
IS_NORM = equation("n_a = |(A - h gA/2) w|", na**2, square(MID_A @ unit))
A_UNIT, B_UNIT = (OPERATOR_NORM.instance("product", SPECTRAL(of, 1), W=unit) for of in (KA, KB))
GB_UNIT = OPERATOR_NORM.instance("product", SPECTRAL(KG, 1), W=KB @ unit)
# The three parts of the midpoint, A, -h G B/2 and -h lam A/2: a number times a vector of length at most 1 each.
SIZES = (a, h / 2 * g * b, h / 2 * lam * a)
PARTS = (KA @ unit, -1 * KG @ KB @ unit, -1 * KA @ unit)
MIDDLE = {A: [[1]], B: [[1]], G: [[1]], KA: [[1]], KB: [[1]], KG: [[-1]], unit: [[1]], a: 1, b: 1, g: 1, lam: 0, h: 1}
MIDDLE |= {G: [[-1]], gA: [[-1]], na: Rational(3, 2)}
midpoint_operator = Inequality(
    "midpoint_operator",
    "||A - h gA/2||_2^2 <= (a + (h/2)(||G||_2 b + lam a))^2 (likewise for B).",
    na**2,
    E_A**2,
    proof=[
        1 * IS_NORM,
        *(SIZES[i] * SIZES[j] * Square(PARTS[i] - PARTS[j]) for i, j in ((0, 1), (0, 2), (1, 2))),
        (SIZES[0] + SIZES[2]) * E_A * A_UNIT,
        SIZES[1] * E_A * B_UNIT,
        SIZES[1] * E_A * GB_UNIT,
    ],
    given=(UNIT, A_SCALED, B_SCALED, G_SCALED, GRADIENTS[0]),
    mutants=(
        mutant("constant", "0.45 h", MIDDLE, rhs=(a + Rational(9, 20) * h * (g * b + lam * a)) ** 2),
        mutant("sign", "a - (h/2)(...)", MIDDLE, rhs=(a - h / 2 * (g * b + lam * a)) ** 2),
        dropped(IS_NORM, {**MIDDLE, na: 2}),
        dropped(GB_UNIT, {**MIDDLE, KG: [[-2]], G: [[-2]], gA: [[-2]], na: 2}),
        dropped(UNIT, {**MIDDLE, unit: [[2]], na: 3}),
    ),
)
midpoint_norms = SumOfSquares(
    "midpoint_norms",
    "The two bounds of midpoint_operator: e_a^2 + e_b^2 <= (a^2 + b^2)(1 + h w/2)^2, w = ||G||_2 + lam.",
    E_A**2 + E_B**2,
    size * (1 + h * w / 2) ** 2,
    proof=[h * g * (1 + h * lam / 2) * Square(a - b)],
    mutants=(
        mutant("constant", "1 + h w/4", rhs=size * (1 + h * w / 4) ** 2),
        mutant("sign", "1 - h w/2", rhs=size * (1 - h * w / 2) ** 2),
    ),
)
# The step: S = |g|^2, e2 = |E|^2, K the inverse of the largest step.
rise = scalars("rise", real=True)
S, e2 = scalars("S e_2", nonnegative=True)
K = w + Rational(9, 4) * beta * size
CHANGE = change.conclusion(
    rise,
    -h * S + h**2 / 2 * w * S + beta / 2 * e2,
    where={rise: L_NEXT - L, S: NORM2, e2: square(E)},
)
NORM_E = increment_norm.conclusion(
    e2, h**2 * (na**2 + nb**2) * S, where={e2: square(E), S: NORM2}, put={MA: MID_A, MB: MID_B}
)
# The other midpoint: A and B exchange their places.
EXCHANGED = {A: B, B: A, gA: gB, G: G.T, KA: KB, KB: KA, KG: KG.T, na: nb, a: b, b: a, m: n, n: m}
EXCHANGED = renamed((midpoint_operator,), "_B", {**EXCHANGED, r: r, h: h, lam: lam, g: g})
AT_A, AT_B = midpoint_operator.conclusion(), midpoint_operator.conclusion(put=EXCHANGED)
NORMS = midpoint_norms.conclusion()
SHORT = hypothesis("h K <= 1", h * K, 1)
CURVED = h**2 * S / 4 * beta * size * (Rational(5, 2) + h * w / 2)

AT_STEP = {S: 1, a: 1, b: 1, beta: "1/9", g: 1, lam: 1, h: "2/5", e2: 0, rise: "-6/25", na: 1, nb: 1}

# h w = 9/10 and h beta (a^2 + b^2) = 1/20: everything but the last inequality is tight.
# The longest step where f has hardly any curvature.
FLAT = {**AT_STEP, beta: "1/1000", h: "249/500", rise: "-62499/250000"}
LONG = {S: 1, a: 1, b: 1, beta: "1/40", g: "9/20", lam: "9/20", h: 1, na: "29/20", nb: "29/20"}
LONG |= {e2: "841/200", rise: "-7959/16000"}

# A constant step: Delta = L(A0, B0) - inf f, R = sqrt(2 beta Delta).
f_low, f_moved = scalars("f_low f_moved", real=True)
Delta, R = scalars("Delta R")
ONE_STEP = hypothesis("f(X - G/beta) <= f - |G|^2/(2 beta)", f_moved, f + inner(G, X) + beta / 2 * square(X))
LOW = hypothesis("inf f <= f(X - G/beta)", f_low, f_moved)
gradient_norm_from_value = Inequality(
    "gradient_norm_from_value",
    "|G|_F^2 <= 2 beta (f(X) - inf f); X stands for the step -G/beta.",
    square(G) / (2 * beta),
    f - f_low,
    proof=[ONE_STEP, LOW],
    given=(define(X, -1 / beta * G),),
    mutants=(
        mutant(
            "constant",
            "1.1 |G|^2",
            {G: [[1]], X: [[-1]], beta: 1, f: "1/2", f_moved: 0, f_low: 0},
            lhs=Rational(11, 10) * square(G) / (2 * beta),
        ),
        mutant("sign", "the step +G/beta", given=(define(X, 1 / beta * G),)),
        dropped(LOW),
    ),
)
# Numbers: q2 = ||G||_F^2, room = f - inf f, sizes of the factors, and norms with an F for Frobenius.
q2, room, sizes, drop = scalars("q_2 e s_F d_0", real=True)
gF, aF, bF = scalars("g_F a_F b_F", nonnegative=True)
VALUE = gradient_norm_from_value.conclusion(q2 / (2 * beta), room, where={q2: square(G), room: f - f_low})
BELOW_START = hypothesis("f - inf f <= Delta, because L has not increased", room, Delta)
IS_FROBENIUS = equation("||G||_F^2 = g_F^2", gF**2, q2)
G_F, A_F, B_F = (
    OPERATOR_NORM.instance("frobenius", SPECTRAL_IS(of, norm), FROBENIUS(of, bound))
    for of, norm, bound in ((G, g, gF), (A, a, aF), (B, b, bF))
)
IS_ROOT = equation("R^2 = 2 beta Delta", R**2, 2 * beta * Delta)
RADIUS = mb.sublevel_radius.conclusion(
    sizes, 2 * drop / decay, where={sizes: square(mb.A) + square(mb.B), drop: mb.start - mb.f_low}
)
IS_START = hypothesis("L(A0, B0) - inf f <= Delta", drop, Delta)
ARE_SIZES = equation("||A||_F^2 + ||B||_F^2 = a_F^2 + b_F^2", aF**2 + bF**2, sizes)
AT_RADIUS = {
    beta: 1, decay: 1, Delta: 2, R: 2, g: 2, gF: 2, q2: 4, room: 2, drop: 2, sizes: 4, a: "6/5", b: "8/5", aF: "6/5",
    bF: "8/5",
}  # fmt: skip

# Local curvature along (U, V), with hess f[D, D] <= beta |D|^2 and |U B^T| <= b |U|, |A V^T| <= a |V|.
U, V, hess = matrix("U", m, r), matrix("V", n, r), Form("hess", m, n)
D = U @ B.T + A @ V.T
BETA = hypothesis("hess f[D, D] <= beta |D|^2", hess(D, D), beta * square(D))
UB = OPERATOR_NORM.instance("product", SPECTRAL(KB, 1), W=U.T)
AV = OPERATOR_NORM.instance("product", SPECTRAL(KA, 1), W=V.T)
GV = OPERATOR_NORM.instance("product", SPECTRAL(KG, 1), W=V)
MOVED2 = square(U) + square(V)
AXES = {
    A: [[1]],
    B: [[1]],
    G: [[1]],
    KA: [[1]],
    KB: [[1]],
    KG: [[1]],
    U: [[1]],
    V: [[1]],
    a: 1,
    b: 1,
    g: 1,
    lam: 1,
    beta: 1,
    hess: [(1, [[1]])],
}

# Taylor along the step: L_+ <= L + <grad L, step> + (K0/2)|step|^2 with step = -h grad L.
k0 = scalars("K_0")
ALONG = hypothesis("L_+ <= L - h S + (K0/2) h^2 S (the bound holds along the step)", rise, -h * S + k0 / 2 * h**2 * S)
SHORT_0 = hypothesis("h K0 <= 1", h * k0, 1)

CHECKS = (
    Identity(
        "increment",
        "X_+ - X = -h (gA (B - h gB/2)^T + (A - h gA/2) gB^T).",
        E,
        -h * (gA @ MID_B.T + MID_A @ gB.T),
        mutants=(
            mutant("constant", "B - h gB", rhs=-h * (gA @ B_NEXT.T + MID_A @ gB.T)),
            mutant("sign", "+h", rhs=h * (gA @ MID_B.T + MID_A @ gB.T)),
        ),
    ),
    change,
    midpoint_operator,
    midpoint_norms,
    increment_norm,
    Inequality(
        "descent",
        "h <= 1/(||G||_2 + lam + (9/4) beta (a^2 + b^2)) gives L_+ - L <= -(h/2)(|gA|^2 + |gB|^2).",
        rise,
        -h / 2 * S,
        proof=[
            CHANGE,
            beta / 2 * NORM_E,
            beta / 2 * h**2 * S * AT_A,
            beta / 2 * h**2 * S * AT_B,
            beta / 2 * h**2 * S * NORMS,
            (h * S / 2 + CURVED) * SHORT,
            CURVED * h * Rational(9, 4) * beta * size,
        ],
        under=(change, increment_norm, midpoint_operator, midpoint_norms),
        mutants=(
            mutant("constant", "-0.55 h S", FLAT, rhs=-Rational(11, 20) * h * S),
            mutant("sign", "L_+ - L >= (h/2) S", AT_STEP, lhs=h / 2 * S, rhs=rise),
            mutant(
                "constant",
                "2 beta (a^2 + b^2), not 9/4",
                LONG,
                proof=[
                    CHANGE,
                    beta / 2 * NORM_E,
                    AT_A,
                    AT_B,
                    NORMS,
                    hypothesis("longer", h * (w + 2 * beta * size), 1),
                ],
            ),
            dropped(SHORT),
            dropped(NORM_E, {**AT_STEP, e2: 100, rise: 0}),
        ),
    ),
    Inequality(
        "local_curvature",
        "hess L[(U, V), (U, V)] <= (||G||_2 + lam + beta (a^2 + b^2)) (||U||_F^2 + ||V||_F^2).",
        hess(D, D) + 2 * inner(G, U @ V.T) + lam * MOVED2,
        (w + beta * size) * MOVED2,
        proof=[
            BETA,
            beta * Square(a * U @ KB.T - b * KA @ V.T),
            beta * size * UB,
            beta * size * AV,
            g * Square(U - KG @ V),
            g * GV,
        ],
        given=(A_SCALED, B_SCALED, G_SCALED),
        mutants=(
            mutant("constant", "beta (a^2 + b^2)/2", AXES, rhs=(w + beta * size / 2) * MOVED2),
            mutant("sign", "lam - ||G||_2", AXES, rhs=(lam - g + beta * size) * MOVED2),
            dropped(BETA, {**AXES, hess: [(4, [[1]])]}),
        ),
    ),
    Inequality(
        "descent_along_bound",
        "h <= 1/K0 where K0 bounds the curvature along the step: L_+ - L <= -(h/2) S.",
        rise,
        -h / 2 * S,
        proof=[ALONG, h * S / 2 * SHORT_0],
        mutants=(
            mutant("constant", "-h S", {S: 1, h: 1, k0: 1, rise: "-1/2"}, rhs=-h * S),
            mutant("sign", "L_+ - L >= (h/2) S", lhs=h / 2 * S, rhs=rise),
            dropped(SHORT_0),
        ),
    ),
    gradient_norm_from_value,
    Inequality(
        "constant_step",
        "K <= sqrt(2 beta Delta) + lam + (9/2) beta Delta/lam at every point with L(A, B) <= L(A0, B0).",
        g + decay + Rational(9, 4) * beta * size,
        R + decay + Rational(9, 2) * beta * Delta / decay,
        proof=[
            *(
                part / (R + g)
                for part in (
                    -1 * IS_ROOT,
                    2 * beta * BELOW_START,
                    2 * beta * VALUE,
                    1 * IS_FROBENIUS,
                    1 * G_F,
                )
            ),
            *(
                Rational(9, 4) * beta * part
                for part in (
                    2 / decay * IS_START,
                    1 * RADIUS,
                    1 * ARE_SIZES,
                    1 * A_F,
                    1 * B_F,
                )
            ),
        ],
        under=(gradient_norm_from_value, mb.sublevel_radius),
        mutants=(
            mutant(
                "constant", "(9/4) beta Delta/lam", AT_RADIUS, rhs=R + decay + Rational(9, 4) * beta * Delta / decay
            ),
            mutant("sign", "-lam", AT_RADIUS, rhs=R - decay + Rational(9, 2) * beta * Delta / decay),
            dropped(IS_START, {**AT_RADIUS, Delta: "1/2", R: 1, room: "1/2", q2: 1, gF: 1, g: 1}),
        ),
    ),
)

PROSE = {
    "the midpoint of B, by exchanging A and B": ("midpoint_operator",),
    "the bound of the curvature along the step, integrated twice": ("descent_along_bound",),
    "the induction over the steps: L decreases, so the condition holds at the next point": ("constant_step",),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(mb.THEOREM,), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("descent_lemma", THEOREM))
