"""A step of gradient descent that always descends, from quantities at the current point.

Statement
---------
Let f have a beta-Lipschitz gradient, a = ||A||_2, b = ||B||_2, w = ||G||_2 + lam with G = grad f(A B^T). If

    0 < h <= 1/(||G||_2 + lam + (9/4) beta (||A||_2^2 + ||B||_2^2)),

then L(A - h grad_A L, B - h grad_B L) <= L(A, B) - (h/2) (||grad_A L||_F^2 + ||grad_B L||_F^2).

Locally: the Hessian form of L at (A, B) is at most K0 (||U||_F^2 + ||V||_F^2) with K0 = ||G||_2 + lam + beta (a^2 +
b^2), and where that bound holds along the step, h <= 1/K0 descends by (h/2) |grad L|^2 as well. The factor 9/4 is
the price of knowing K0 at the current point only.

A constant step that is safe for ever: with Delta = L(A0, B0) - inf f and lam > 0 every h <= 1/(sqrt(2 beta Delta) +
lam + (9/2) beta Delta/lam) satisfies the condition at the start and, since L decreases, at every later point.

Assumptions
-----------
grad f is beta-Lipschitz on the segment from X to X_+; a bound on f from below only for the constant step.

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
lorasolve/optimizers/base.py, lorasolve/optimizers/gd.py
"""

from sympy import Rational

from lorasolve.symbolic import (
    Form,
    Identity,
    Inequality,
    Premise,
    Square,
    SumOfSquares,
    Theorem,
    by_fact,
    define,
    dims,
    dropped,
    hypothesis,
    inner,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
)
from proofs.facts import OPERATOR_NORM

m, n, r = dims("m n r")
h, lam, beta, g, a, b = scalars("h lambda beta g a b")
A, B, G, X = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n), matrix("X", m, n)
gA, gB = matrix("gA", m, r), matrix("gB", n, r)
GRADIENTS = (define(gA, G @ B + lam * A), define(gB, G.T @ A + lam * B))
A_NEXT, B_NEXT = A - h * gA, B - h * gB
MID_A, MID_B = A - h / 2 * gA, B - h / 2 * gB
E = A_NEXT @ B_NEXT.T - A @ B.T
NORM2 = square(gA) + square(gB)

# f at X and at X_+ = X + E; g is ||G||_2 or any positive upper bound of it.
f, f_next = scalars("f f_next", real=True)
L, L_NEXT = f + lam / 2 * (square(A) + square(B)), f_next + lam / 2 * (square(A_NEXT) + square(B_NEXT))
SMOOTH = hypothesis("f(X + E) <= f + <G, E> + (beta/2)|E|^2", f_next, f + inner(G, E) + beta / 2 * square(E))
CROSS = by_fact(OPERATOR_NORM, "|G gB|^2 <= ||G||_2^2 |gB|^2", square(G @ gB), g**2 * square(gB))
CHANGE_BOUND = -h * NORM2 + h**2 / 2 * (g + lam) * NORM2 + beta / 2 * square(E)
# m = n = r = 1, A = B = G = 1: the term <G, gA gB^T> is active and everything is tight.
ACTIVE = {A: [[1]], B: [[1]], G: [[1]], gA: [[2]], gB: [[2]], lam: 1, g: 1, h: "1/2", beta: 1, f: 0, f_next: -1}

change = Inequality(
    "change_of_objective",
    "L_+ - L <= -h |g|^2 + (h^2/2)(||G||_2 + lam) |g|^2 + (beta/2) |E|^2.",
    L_NEXT - L,
    CHANGE_BOUND,
    proof=[SMOOTH, h**2 / (2 * g) * Square(g * gA - G @ gB), h**2 / (2 * g) * CROSS],
    given=GRADIENTS,
    mutants=(
        mutant("constant", "lam left out", {**ACTIVE, f_next: "-1/2"}, rhs=CHANGE_BOUND - h**2 / 2 * lam * NORM2),
        mutant("sign", "-(h^2/2)", {**ACTIVE, f_next: "-1/2"}, rhs=CHANGE_BOUND - h**2 * (g + lam) * NORM2),
        dropped(SMOOTH),
        dropped(CROSS, {**ACTIVE, g: "1/10", f_next: "-1/2"}),
    ),
)

# Numbers: x, y = |gA|, |gB|; na, nb the operator norms of the midpoints, ga, gb those of the gradients.
x, y, na, nb, ga, gb, p, q = scalars("x y n_a n_b g_a g_b p q", nonnegative=True)
w = g + lam
GRAD_OP = by_fact(OPERATOR_NORM, "||gA||_2 <= ||G||_2 b + lam a", ga, g * b + lam * a)
MID_OP = by_fact(OPERATOR_NORM, "||A - h gA/2||_2 <= a + (h/2) ||gA||_2", na, a + h / 2 * ga)
E_A, E_B = a + h / 2 * (g * b + lam * a), b + h / 2 * (g * a + lam * b)

PART_1 = by_fact(OPERATOR_NORM, "|gA MID_B^T| <= ||MID_B||_2 |gA|", p, nb * x)
PART_2 = by_fact(OPERATOR_NORM, "|MID_A gB^T| <= ||MID_A||_2 |gB|", q, na * y)
increment_norm = Inequality(
    "increment_norm",
    "|E| <= h (|gA MID_B^T| + |MID_A gB^T|), so |E|^2 <= h^2 (||MID_A||^2 + ||MID_B||^2)(|gA|^2 + |gB|^2).",
    h**2 * (p + q) ** 2,
    h**2 * (na**2 + nb**2) * (x**2 + y**2),
    proof=[
        h**2 * Square(na * x - nb * y),
        h**2 * (nb * x + na * y + p + q) * PART_1,
        h**2 * (nb * x + na * y + p + q) * PART_2,
    ],
    mutants=(
        mutant(
            "constant",
            "half of it",
            {h: 1, p: 1, q: 1, x: 1, y: 1, na: 1, nb: 1},
            rhs=h**2 / 2 * (na**2 + nb**2) * (x**2 + y**2),
        ),
        mutant("sign", "||MID_A||^2 - ||MID_B||^2", rhs=h**2 * (na**2 - nb**2) * (x**2 + y**2)),
        dropped(PART_1),
    ),
)

# The step: S = |g|^2, e2 = |E|^2, K the inverse of the largest step.
rise = scalars("rise", real=True)
S, e2 = scalars("S e_2", nonnegative=True)
size = a**2 + b**2
K = w + Rational(9, 4) * beta * size
CHANGE = Premise("check change_of_objective", rise, -h * S + h**2 / 2 * w * S + beta / 2 * e2, change.facts)
NORM_E = Premise(
    "checks increment_norm and midpoint_norms", e2, h**2 * size * (1 + h * w / 2) ** 2 * S, increment_norm.facts
)
SHORT = hypothesis("h K <= 1", h * K, 1)
CURVED = h**2 * S / 4 * beta * size * (Rational(5, 2) + h * w / 2)

AT_STEP = {S: 1, a: 1, b: 1, beta: "1/9", g: 1, lam: 1, h: "2/5", e2: 0, rise: "-6/25"}

# A constant step: Delta = L(A0, B0) - inf f, R = sqrt(2 beta Delta).
f_low, f_moved = scalars("f_low f_moved", real=True)
Delta, R = scalars("Delta R")
ONE_STEP = hypothesis("f(X - G/beta) <= f - |G|^2/(2 beta)", f_moved, f + inner(G, X) + beta / 2 * square(X))
LOW = hypothesis("inf f <= f(X - G/beta)", f_low, f_moved)
VALUE = Premise("check gradient_norm_from_value: ||G||_2^2 <= 2 beta Delta = R^2", g**2, R**2)
RADIUS = hypothesis("a^2 + b^2 <= 2 Delta/lam (magnitude_bound)", size, 2 * Delta / lam)

# Local curvature along (U, V), with hess f[D, D] <= beta |D|^2 and |U B^T| <= b |U|, |A V^T| <= a |V|.
U, V, hess = matrix("U", m, r), matrix("V", n, r), Form("hess", m, n)
D = U @ B.T + A @ V.T
BETA = hypothesis("hess f[D, D] <= beta |D|^2", hess(D, D), beta * square(D))
UB = by_fact(OPERATOR_NORM, "|U B^T|^2 <= ||B||_2^2 |U|^2", square(U @ B.T), b**2 * square(U))
AV = by_fact(OPERATOR_NORM, "|A V^T|^2 <= ||A||_2^2 |V|^2", square(A @ V.T), a**2 * square(V))
GV = by_fact(OPERATOR_NORM, "|G V|^2 <= ||G||_2^2 |V|^2", square(G @ V), g**2 * square(V))
MOVED2 = square(U) + square(V)
AXES = {A: [[1]], B: [[1]], G: [[1]], U: [[1]], V: [[1]], a: 1, b: 1, g: 1, lam: 1, beta: 1, hess: [(1, [[1]])]}

# Taylor along the step: L_+ <= L + <grad L, step> + (K0/2)|step|^2 with step = -h grad L.
k0, taylor = scalars("K_0 l")
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
    Inequality(
        "midpoint_operator",
        "||A - h gA/2||_2 <= a + (h/2)(||G||_2 b + lam a) (likewise for B).",
        na,
        E_A,
        proof=[MID_OP, h / 2 * GRAD_OP],
        mutants=(
            mutant("constant", "h/4", rhs=a + h / 4 * (g * b + lam * a)),
            mutant("sign", "a - (h/2)(...)", rhs=a - h / 2 * (g * b + lam * a)),
            dropped(GRAD_OP),
        ),
    ),
    SumOfSquares(
        "midpoint_norms",
        "The two bounds of midpoint_operator: e_a^2 + e_b^2 <= (a^2 + b^2)(1 + h w/2)^2, w = ||G||_2 + lam.",
        E_A**2 + E_B**2,
        size * (1 + h * w / 2) ** 2,
        proof=[h * g * (1 + h * lam / 2) * Square(a - b)],
        mutants=(
            mutant("constant", "1 + h w/4", rhs=size * (1 + h * w / 4) ** 2),
            mutant("sign", "1 - h w/2", rhs=size * (1 - h * w / 2) ** 2),
        ),
    ),
    increment_norm,
    Inequality(
        "descent",
        "h <= 1/(||G||_2 + lam + (9/4) beta (a^2 + b^2)) gives L_+ - L <= -(h/2)(|gA|^2 + |gB|^2).",
        rise,
        -h / 2 * S,
        proof=[
            CHANGE,
            beta / 2 * NORM_E,
            (h * S / 2 + CURVED) * SHORT,
            CURVED * h * Rational(9, 4) * beta * size,
        ],
        mutants=(
            mutant("constant", "-h S", AT_STEP, rhs=-h * S),
            mutant("sign", "L_+ - L >= (h/2) S", AT_STEP, lhs=h / 2 * S, rhs=rise),
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
            beta * b**2 / a**2 * Square(a**2 / b**2 * U @ B.T - A @ V.T),
            beta * (1 + a**2 / b**2) * UB,
            beta * (1 + b**2 / a**2) * AV,
            1 / g * Square(g * U - G @ V),
            1 / g * GV,
        ],
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
    Inequality(
        "gradient_norm_from_value",
        "|G|_F^2 <= 2 beta (f(X) - inf f); X stands for the step -G/beta.",
        square(G) / (2 * beta),
        f - f_low,
        proof=[ONE_STEP, LOW],
        given=(define(X, -1 / beta * G),),
        mutants=(
            mutant("constant", "|G|^2/beta", lhs=square(G) / beta),
            mutant("sign", "the step +G/beta", given=(define(X, 1 / beta * G),)),
            dropped(LOW),
        ),
    ),
    Inequality(
        "constant_step",
        "K <= sqrt(2 beta Delta) + lam + (9/2) beta Delta/lam at every point with L(A, B) <= L(A0, B0).",
        K,
        R + lam + Rational(9, 2) * beta * Delta / lam,
        proof=[VALUE / (R + g), Rational(9, 4) * beta * RADIUS],
        mutants=(
            mutant("constant", "(9/4) beta Delta/lam", rhs=R + lam + Rational(9, 4) * beta * Delta / lam),
            mutant("sign", "-lam", rhs=R - lam + Rational(9, 2) * beta * Delta / lam),
            dropped(RADIUS),
        ),
    ),
)

THEOREM = Theorem(__doc__, CHECKS)

if __name__ == "__main__":
    raise SystemExit(run_module("descent_lemma", THEOREM))
