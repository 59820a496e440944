"""Theorem A is sharp under the paper's own assumptions.

Statement
---------
For every r >= r*, t = sqrt(r/r*), lam >= 0, m, n >= r + r*: let E1 = J1 K1^T (rank r*), E2 = J2 K2^T (rank r) be
orthogonal partial isometries, e_i = E_i/||E_i||, X* = E1, X = E2/t, and

    f(Y) = <Y - X*, H (Y - X*)>/2 - lam <E1 + E2, Y>,
    H = [[t + 1, t - 1], [t - 1, t - 1]] on (e1, e2), 2 t elsewhere.

Then 0 <= H <= 2 t on all matrices, X* minimises F, X is a second-order stationary point of L with F(X) - F(X*) = r*
and ||X - X*||_F = sqrt(2) ||X*||_F, and (1, r, D)-restricted strong convexity holds for D = sqrt(2) ||X*||_F: <grad
f(Y) - grad f(X*), Y - X*> >= ||Y - X*||_F^2 for every Y of rank at most r in the ball. So alpha = 1, beta = 2 t, and
Theorem A's strict inequality beta < 2 alpha sqrt(r/r*) cannot be weakened.

Assumptions
-----------
None for the instance. In the last part, numbers: y = <e1, Y>/sqrt(r*), z = <e2, Y>/sqrt(r*), W = ||rest||^2/r* for
the rest of Y off e1, e2, c = 1 - y, and S = 2 - c^2 - z^2 - W >= 0 says that Y is in the ball. Of the rank of Y only
this is used: the kernel count of `lemma_a` for M = sqrt(r*) (p1 e1 + p2 e2) gives (y - p1)^2 + (z - p2)^2 + W >=
min(|p1|, |p2|/t)^2.

Source
------
Beyond the paper.

Idea
----
g = (<Y - X*, H (Y - X*)> - ||Y - X*||^2)/r* is a quadratic in y, z, W. Four cases, each a sum of products of
non-negative terms: c^2 >= 1; W >= z^2/(t^2 - 1), which the kernel count gives for y >= |z| t/(t^2 - 1) > 0 and t > 1;
z >= 0 with y below that; z < 0. X is second-order stationary but degenerate, and gradient descent may leave it.

Checks
------
gradient_of_loss : PROVED
secant : PROVED
convexity : PROVED
smoothness : PROVED
gradient : PROVED
stationary_in_a : PROVED
stationary_in_b : PROVED
hessian_sum_of_squares : PROVED
gap : PROVED
distance : PROVED
global_minimizer : PROVED
excess_in_numbers : PROVED
ball_in_numbers : PROVED
kernel_at : PROVED
kernel_near : PROVED
kernel_far : PROVED
case_1 : PROVED
case_2 : PROVED
case_3_below : PROVED
case_3_low : PROVED
case_3_above : PROVED
case_3_end : PROVED
case_4_mirror : PROVED
case_4_near : PROVED
case_4_rest : PROVED
case_4_far : PROVED
case_4_in_matrices : PROVED

Used by
-------
lorasolve/landscape/instances.py, lorasolve/landscape/regimes.py
"""

from typing import Any

from sympy import Rational

from lorasolve.symbolic import (
    Identity,
    Inequality,
    MatrixExpr,
    Premise,
    ScalarCheck,
    ScalarExpr,
    Square,
    Theorem,
    define,
    dropped,
    equation,
    eye,
    gradient,
    hypothesis,
    inner,
    mutant,
    run_module,
    scalars,
    square,
    tr,
)
from proofs import lemma_a as la
from proofs import sharp_instance as si

m, n, r, rs, t, lam, root = si.m, si.n, si.r, si.rs, si.t, si.lam, si.root
E1, E2, T, Y, U, V = si.E1, si.E2, si.T, si.Y, si.U, si.V
XS, POINT = E1, E2 / t
FRAME = si.FRAME
# E2/t has the squared length r* of E1.
SECOND = E2 / t


def hess(left: MatrixExpr, right: MatrixExpr) -> ScalarExpr:
    """Return the second derivative of f."""
    first = (1 - t) / rs * inner(E1, left) * inner(E1, right) - (1 + t) / rs * inner(SECOND, left) * inner(
        SECOND, right
    )
    mixed = (t - 1) / rs * (inner(E1, left) * inner(SECOND, right) + inner(SECOND, left) * inner(E1, right))
    return 2 * t * inner(left, right) + first + mixed


def slope(x: MatrixExpr) -> MatrixExpr:
    """Return the gradient of f."""
    shift = x - XS
    a, b = inner(E1, shift) / rs, inner(SECOND, shift) / rs
    return 2 * t * shift + ((1 - t) * a + (t - 1) * b) * E1 + ((t - 1) * a - (1 + t) * b) * SECOND - lam * T


def loss(x: MatrixExpr) -> ScalarExpr:
    """Return f."""
    return hess(x - XS, x - XS) / 2 - lam * inner(T, x)


FIRST, OTHER = inner(E1, Y) / rs, inner(SECOND, Y) / rs
OFF = Y - FIRST * E1 - OTHER * SECOND
ABOVE_ONE = hypothesis("1 <= t", 1, t)
SLOPE = -2 * E1 - lam * T
# The factors have the columns of E2 times q, q^2 = 1/t.
A, B = root * si.J2, root * si.K2
D = U @ B.T + A @ V.T
FORM = hess(D, D) + 2 * inner(SLOPE, U @ V.T) + lam * (square(U) + square(V))
# r* = 4 above r = 1, which is t = 1/2.
LARGER_STAR = {si.J1: si.COLUMNS, si.K1: si.COLUMNS, si.J2: si.FIRST, si.K2: si.FIRST, t: "1/2"}

# The numbers of a Y of rank at most r in the ball; t = 1 + u, and t = 1 + v where t > 1.
y, z, w, W, far = scalars("y z w W c", real=True)
u, a, h = scalars("u a h", nonnegative=True)
v = scalars("v")
AT_U, AT_V = define(t, 1 + u), define(t, 1 + v)


def excess(along: Any, across: Any, rest: Any) -> Any:
    """Return g for c, z and W."""
    return (t - 1) * (along - across) ** 2 + along**2 - across**2 + (2 * t - 1) * rest


def ball(along: Any, across: Any) -> Premise:
    """Return S >= 0."""
    return hypothesis("S >= 0: in the ball", along**2 + across**2 + W, 2)


p1, p2 = scalars("p_1 p_2", real=True)
COUNT = la.kernel_count.conclusion()
AS_MANY = equation("q = r + r* - r", la.q, rs)
TIGHT = {la.M: [[1, 0], [0, 1]], Y: [[0, 0], [0, 1]], p1: 1, p2: 1, la.level: 1, la.q: 1}
# Y = diag(0, 1, 1, 1) has rank 3 = r + 1, and is nearer to M = I than any Y of rank 2.
RANK_ABOVE = {
    si.J1: [[1, 0], [0, 1], [0, 0], [0, 0]], si.J2: [[0, 0], [0, 0], [1, 0], [0, 1]], la.M: la.diagonal_of(1, 1, 1, 1),
    Y: la.diagonal_of(0, 1, 1, 1), t: 1, p1: 1, p2: 1, la.level: 1, la.q: 1,
}  # fmt: skip
RANK_ABOVE |= {si.K1: RANK_ABOVE[si.J1], si.K2: RANK_ABOVE[si.J2]}
NUMBERS = {y: FIRST, z: OTHER, W: square(OFF) / rs}
kernel_at = Inequality(
    "kernel_at",
    "Y of rank at most r, |l| <= |p1|, |p2|/t: l^2 <= (y - p1)^2 + (z - p2)^2 + ||rest||^2/r*.",
    la.level**2,
    (FIRST - p1) ** 2 + (OTHER - p2) ** 2 + square(OFF) / rs,
    proof=[COUNT / rs, -1 * la.level**2 / rs * AS_MANY],
    under=(la.kernel_count,),
    given=(*FRAME, define(la.M, p1 * E1 + p2 * SECOND)),
    mutants=(
        mutant("constant", "2 l^2", {**si.RANK_ONE, **TIGHT}, lhs=2 * la.level**2),
        mutant("sign", "-l^2 at least", {**si.RANK_ONE, **TIGHT}, lhs=square(OFF) / rs + 2, rhs=-(la.level**2)),
        dropped(COUNT, {**si.RANK_ONE, **TIGHT, la.level: 2}),
        dropped(AS_MANY, RANK_ABOVE),
    ),
)
# The count holds for -z too, with E2 turned round.
KERNEL = kernel_at.conclusion(la.level**2, (y - p1) ** 2 + (z - p2) ** 2 + W, where=NUMBERS)
AVERAGE = (y + t * z) / t**2
EVEN = {t: 1, y: 1, z: 1, W: 2, p1: 2, p2: 2, la.level: 2}
kernel_near = Inequality(
    "kernel_near",
    "p1 = (y + t z)/t^2, p2 = t p1: W >= 2 y z/t - y^2 (1 - 1/t^2).",
    2 * y * z / t - y**2 * (1 - 1 / t**2),
    W,
    proof=[KERNEL],
    under=(kernel_at,),
    given=(define(p1, AVERAGE), define(p2, t * AVERAGE), define(la.level, AVERAGE)),
    mutants=(
        mutant("constant", "3 y z/t", EVEN, lhs=3 * y * z / t - y**2 * (1 - 1 / t**2)),
        mutant("sign", "-W", EVEN, rhs=-W),
        dropped(KERNEL),
    ),
)
REST = hypothesis("W >= 0", 0, W)
FAR = hypothesis("c^2 >= 1", 1, far**2)
# Case 3: y = a >= 0 and z = h - a/t >= 0.
across = h - a / t
COMMON, IN_BALL = kernel_near.conclusion(put={y: a, z: across}), ball(1 - a, across)
STEEP = hypothesis("t y <= h", t * a, h)
BELOW = hypothesis("h <= 1", h, 1)
K = (t**3 + t**2 - t + 1) / t**2
EXCESS_3 = excess(1 - a, across, W)
AT_END = 1 - (t**3 - t + 1) * h / t**3
END = (t - 1) * (t + 1) * (t**2 - t + 1) / t**5
START = (t - 1 + K / (2 * t)) + (t - 1) * (t**3 - t**2 + t + 1) / t**3 * (1 + h) / 2
MINIMIZER = {t: 1, u: 0, a: 1, h: 1, W: 0}
BESIDE = {**MINIMIZER, W: 1}
low = Inequality(
    "case_3_low",
    "(h^2 - 1)/2 <= y, because 2 y - (h^2 - 1) is S plus what W has above its bound.",
    (h**2 - 1) / 2,
    a,
    proof=[IN_BALL / 2, COMMON / 2],
    under=(kernel_near,),
    mutants=(
        mutant(
            "constant",
            "0.55 (h^2 - 1)",
            {t: 1, a: "3/2", h: 2, W: "3/2"},
            lhs=Rational(11, 20) * (h**2 - 1),
        ),
        mutant("sign", "h^2 + 1", {**MINIMIZER, a: 0}, lhs=(h**2 + 1) / 2),
        dropped(IN_BALL, {**MINIMIZER, a: 0, h: 4}),
    ),
)
LOW = low.conclusion()
# Case 4: z = -w, and y = 1 - c > 1 in its last part.
IN_BALL_4, COMMON_4 = ball(1 - y, -w), kernel_near.conclusion(put={z: w, si.J2: -1 * si.J2})
BEYOND, ACROSS = hypothesis("1 <= y", 1, y), hypothesis("0 <= w", 0, w)
WIDE = hypothesis("y (t^2 - 1)/t <= w", y * (t**2 - 1) / t, w)
NEAR = hypothesis("w <= -c", w, -far)
OPPOSITE = {t: 1, u: 0, y: "3/2", w: "1/4", W: "3/4"}
wide = Inequality(
    "case_4_rest",
    "w/t <= W for y >= 1 and w >= y (t^2 - 1)/t.",
    w / t,
    W,
    proof=[COMMON_4, WIDE / t, BEYOND * WIDE * (1 / t), 1 / t * ACROSS * BEYOND],
    under=(kernel_near,),
    mutants=(
        mutant("constant", "1.1 w/t", {t: 2, u: 1, y: 1, w: "3/2", W: "3/4"}, lhs=Rational(11, 10) * w / t),
        mutant("sign", "-W", OPPOSITE, rhs=-W),
        dropped(BEYOND, {**OPPOSITE, y: 0, W: 0}),
        dropped(ACROSS, {**OPPOSITE, t: "1/2", y: 2, w: -3, W: -12}),
    ),
)
ENOUGH = wide.conclusion()

STEEPER = {t: 2, v: 1, y: 2, z: 3, W: 3, p1: 2, p2: 4, la.level: 2}
kernel_far = Inequality(
    "kernel_far",
    "t > 1, p1 = y, p2 = z t^2/(t^2 - 1), |p2|/t <= y: (t^2 - 1) W >= z^2.",
    z**2,
    (t**2 - 1) * W,
    proof=[v * (2 + v) * KERNEL],
    under=(kernel_at,),
    given=(
        AT_V,
        define(p1, y),
        define(p2, z * (1 + v) ** 2 / (v * (2 + v))),
        define(la.level, z * (1 + v) / (v * (2 + v))),
    ),
    mutants=(
        mutant("constant", "11 z^2/10", STEEPER, lhs=11 * z**2 / 10),
        mutant("sign", "-W", STEEPER, rhs=-(t**2 - 1) * W),
        dropped(KERNEL),
    ),
)
CLOSE = kernel_far.conclusion()

in_numbers = Identity(
    "excess_in_numbers",
    "hess f[Y - X*] - ||Y - X*||^2 = r* ((t - 1)(c - z)^2 + c^2 - z^2) + (2 t - 1) ||rest||^2.",
    hess(Y - XS, Y - XS) - square(Y - XS),
    rs * ((t - 1) * (1 - FIRST - OTHER) ** 2 + (1 - FIRST) ** 2 - OTHER**2) + (2 * t - 1) * square(OFF),
    given=FRAME,
    mutants=(
        mutant("sign", "+ z^2", lhs=hess(Y - XS, Y - XS) - square(Y - XS) - 2 * rs * OTHER**2),
        mutant("constant", "2 t", lhs=hess(Y - XS, Y - XS) - square(Y - XS) + square(OFF)),
    ),
)
far_end = Inequality(
    "case_4_far",
    "y >= 1, z = -w, w >= y (t^2 - 1)/t: (w + 2) g >= 0.",
    0,
    (w + 2) * excess(1 - y, -w, W),
    proof=[
        u * ACROSS * Square(1 - y + w),
        2 * u * Square(1 - y + w),
        2 * ACROSS * Square(1 - y),
        2 * Square(1 - y),
        (2 + 2 * u) * ACROSS * ENOUGH,
        2 * (1 + 2 * u) * ENOUGH,
        2 * u / (1 + u) * ACROSS,
        1 * ACROSS * IN_BALL_4,
    ],
    under=(wide,),
    given=(AT_U,),
    mutants=(
        mutant("constant", "at least 3", OPPOSITE, lhs=3),
        mutant("sign", "-(w + 2) g", OPPOSITE, rhs=-(w + 2) * excess(1 - y, -w, W)),
    ),
)
# The number w of case 4 is that of the conclusion it rests on: with its sign turned it would have two meanings.
TURNED = {y: FIRST, w: -OTHER, W: square(OFF) / rs}
EXCESS = in_numbers.conclusion(rhs=rs * excess(1 - y, -w, W), where=TURNED)
CURVED = hess(Y - XS, Y - XS) - square(Y - XS)
# Y = diag(3/2, -1/4).
DIAGONAL = {**si.RANK_ONE, t: 1, Y: [["3/2", 0], [0, "-1/4"]], y: "3/2", w: "1/4", W: 0}
in_matrices = Inequality(
    "case_4_in_matrices",
    "case_4_far with w = -<E2/t, Y>/r*: (w + 2)(hess f[Y - X*] - ||Y - X*||^2) >= 0.",
    0,
    (w + 2) * CURVED,
    proof=[rs * far_end.conclusion(), -(w + 2) * EXCESS],
    under=(far_end, in_numbers),
    mutants=(
        mutant("constant", "at least 1", DIAGONAL, lhs=1),
        mutant("sign", "-hess", DIAGONAL, rhs=-(w + 2) * CURVED),
    ),
)

CHECKS = (
    Identity(
        "gradient_of_loss",
        "grad f.",
        gradient(loss(Y), Y),
        slope(Y),
        mutants=(
            mutant("sign", "+lam T", rhs=slope(Y) + 2 * lam * T),
            mutant("constant", "4 t", rhs=slope(Y) + 2 * t * (Y - XS)),
        ),
    ),
    Identity(
        "secant",
        "<grad f(Y) - grad f(X*), Y - X*> = hess f[Y - X*, Y - X*]: of that restricted strong convexity speaks.",
        inner(slope(Y) - slope(XS), Y - XS),
        hess(Y - XS, Y - XS),
        mutants=(
            mutant("constant", "half, as in f", rhs=hess(Y - XS, Y - XS) / 2),
            mutant("sign", "grad f(X*) + grad f(Y)", lhs=inner(slope(Y) + slope(XS), Y - XS)),
        ),
    ),
    Inequality(
        "convexity",
        "hess f[Y, Y] >= 0 on all matrices: f is convex.",
        0,
        hess(Y, Y),
        proof=[
            2 * t * Square(OFF),
            1 / rs * ABOVE_ONE * Square(inner(E1, Y) + inner(SECOND, Y)),
            2 / rs * Square(inner(E1, Y)),
        ],
        given=FRAME,
        mutants=(
            mutant("constant", "||Y||^2", {**si.RANK_ONE, Y: [[0, 0], [0, 1]]}, lhs=square(Y)),
            mutant("sign", "-hess", {**si.RANK_ONE, Y: [[1, 0], [0, 0]]}, rhs=-hess(Y, Y)),
            dropped(si.LEFT),
            dropped(si.RATIO, {**si.RANK_FOUR, t: 1, Y: la.diagonal_of(0, 1, 1, 1, 1)}),
            dropped(ABOVE_ONE, {**LARGER_STAR, Y: la.diagonal_of(1, 0, 0, 0, 0)}),
        ),
    ),
    Inequality(
        "smoothness",
        "hess f[Y, Y] <= 2 t ||Y||^2 on all matrices: beta = 2 t.",
        hess(Y, Y),
        2 * t * square(Y),
        proof=[1 / rs * ABOVE_ONE * Square(inner(E1, Y) - inner(SECOND, Y)), 2 / rs * Square(inner(SECOND, Y))],
        mutants=(
            mutant("constant", "t", {**si.RANK_ONE, Y: [[1, 0], [0, 0]]}, rhs=t * square(Y)),
            mutant("sign", "-2 t", {**si.RANK_ONE, Y: [[1, 0], [0, 0]]}, rhs=-2 * t * square(Y)),
        ),
    ),
    Identity(
        "gradient",
        "grad f(X) = -2 E1 - lam (E1 + E2).",
        slope(POINT),
        SLOPE,
        given=FRAME,
        mutants=(
            mutant("sign", "+2 E1", rhs=2 * E1 - lam * T),
            mutant("constant", "-E1", rhs=-E1 - lam * T),
            dropped(si.RATIO),
        ),
    ),
    *si.stationarity(SLOPE, A, B, "A = q J2, B = q K2"),
    Inequality(
        "hessian_sum_of_squares",
        "The Hessian form of L at (q J2, q K2) is at least (2 t q^2 - 2) (|U1|^2 + |V1|^2), which is 0 for q^2 = 1/t.",
        (2 * t * root**2 - 2) * (square(si.U1) + square(si.V1)),
        FORM,
        proof=[
            (2 + lam) * Square(si.U1 - si.V1),
            lam * Square(si.U2 - si.V2),
            (2 * t * root**2 + lam) * Square(si.U0),
            (2 * t * root**2 + lam) * Square(si.V0),
            2 * t * root**2 * Square(si.MIX - tr(si.MIX) / r * eye(r)),
            root**2 / r * ABOVE_ONE * Square(tr(si.MIX)),
        ],
        given=FRAME,
        mutants=(
            mutant("constant", "2 t q^2 - 1", lhs=(2 * t * root**2 - 1) * (square(si.U1) + square(si.V1))),
            mutant("sign", "2 t q^2 + 2", lhs=(2 * t * root**2 + 2) * (square(si.U1) + square(si.V1))),
            dropped(ABOVE_ONE, {**LARGER_STAR, U: si.FIRST, V: si.FIRST, root: 1, lam: 0}),
        ),
    ),
    Identity(
        "gap",
        "F(X) - F(X*) = r*, with ||X||_* = r/t, ||X*||_* = r*.",
        loss(POINT) + lam * r / t - (loss(XS) + lam * rs),
        rs,
        given=FRAME,
        mutants=(
            mutant("constant", "2 r*", rhs=2 * rs),
            mutant("sign", "-r*", rhs=-rs),
            dropped(si.LEFT),
        ),
    ),
    Identity(
        "distance",
        "||X - X*||^2 = 2 r* = 2 ||X*||^2.",
        square(POINT - XS),
        2 * square(XS),
        given=FRAME,
        mutants=(
            mutant("constant", "||X*||^2", rhs=square(XS)),
            mutant("sign", "-2 ||X*||^2", rhs=-2 * square(XS)),
            dropped(si.RATIO),
        ),
    ),
    Inequality(
        "global_minimizer",
        "F(Y) - F(X*) >= hess f[Y - X*, Y - X*]/2 >= 0: X* minimises F.",
        hess(Y - XS, Y - XS) / 2,
        loss(Y) + lam * si.nuc - (loss(XS) + lam * rs),
        proof=[lam * si.DUAL],
        given=(si.LEFT, si.RIGHT),
        mutants=(
            mutant("sign", "without the penalty", rhs=loss(Y) - loss(XS) - lam * si.nuc - lam * rs),
            mutant(
                "constant",
                "hess",
                {**si.RANK_ONE, Y: [[2, 0], [0, 0]], lam: 1, si.nuc: 2},
                lhs=hess(Y - XS, Y - XS),
            ),
            dropped(si.DUAL),
        ),
    ),
    in_numbers,
    Identity(
        "ball_in_numbers",
        "||Y - X*||^2 = r* (c^2 + z^2) + ||rest||^2.",
        square(Y - XS),
        rs * ((1 - FIRST) ** 2 + OTHER**2) + square(OFF),
        given=FRAME,
        mutants=(
            mutant("sign", "c^2 - z^2", rhs=rs * ((1 - FIRST) ** 2 - OTHER**2) + square(OFF)),
            mutant("constant", "2 ||rest||^2", rhs=rs * ((1 - FIRST) ** 2 + OTHER**2) + 2 * square(OFF)),
        ),
    ),
    kernel_at,
    kernel_near,
    kernel_far,
    Inequality(
        "case_1",
        "c^2 >= 1: g >= 0.",
        0,
        excess(far, z, W),
        proof=[u * Square(far - z), ball(far, z), 2 * FAR, 2 * t * REST],
        given=(AT_U,),
        mutants=(
            mutant("constant", "at least 1", {t: 1, u: 0, far: 1, z: 1, W: 0}, lhs=1),
            mutant("sign", "-g", {t: 1, u: 0, far: 1, z: 0, W: 0}, rhs=-excess(far, z, W)),
            mutant(
                "constant",
                "D^2 = 2.1 r*, a larger ball",
                {t: 1, u: 0, far: 1, z: "26/25", W: 0},
                proof=[u * Square(far - z), hypothesis("in it", far**2 + z**2 + W, Rational(21, 10)), 2 * FAR, REST],
            ),
            dropped(FAR, {t: 1, u: 0, far: 0, z: 1, W: 0}),
        ),
    ),
    Inequality(
        "case_2",
        "t > 1 and (t^2 - 1) W >= z^2: g >= 0.",
        0,
        excess(far, z, W),
        proof=[
            t * Square(far - (t - 1) * z / t),
            (v**2 + v + 1) / ((1 + v) * v * (2 + v)) * Square(z),
            (1 + 2 * v) / (v * (2 + v)) * CLOSE,
        ],
        under=(kernel_far,),
        given=(AT_V,),
        mutants=(
            mutant("constant", "at least 1", {t: 2, v: 1, far: 0, z: 0, W: 0}, lhs=1),
            mutant("sign", "-g", {t: 2, v: 1, far: 1, z: 0, W: 0}, rhs=-excess(far, z, W)),
            dropped(CLOSE, {t: "11/10", v: "1/10", far: 0, z: 1, W: 0}),
        ),
    ),
    Inequality(
        "case_3_below",
        "0 <= y, t y <= h = z + y/t <= 1: h g >= 0.",
        0,
        h * EXCESS_3,
        proof=[
            2 * h * STEEP * BELOW,
            t * STEEP * BELOW * BELOW,
            t**2 * a * Square(AT_END),
            t * a * END * Square(h),
            K * h * a / t * STEEP,
            (2 * t - 1) * h * COMMON,
        ],
        under=(kernel_near,),
        given=(AT_U,),
        mutants=(
            mutant("constant", "at least 1", MINIMIZER, lhs=1),
            mutant("sign", "-h g", BESIDE, rhs=-h * EXCESS_3),
            dropped(BELOW, {**MINIMIZER, a: 0, h: 2}),
        ),
    ),
    low,
    Inequality(
        "case_3_above",
        "h >= 1, V = h/t - (h^2 - 1)/2 = (h/t - y) + (y - (h^2 - 1)/2): V g >= 0.",
        0,
        (h / t - (h**2 - 1) / 2) * EXCESS_3,
        proof=[
            K / (2 * t**2) * STEEP * STEEP * Square(h - 1),
            K / (2 * t) * STEEP * LOW * Square(h - 1),
            START / t * STEEP * Square(h - 1),
            t * LOW * Square(AT_END),
            END * LOW * Square(h),
            K / t**2 * LOW * STEEP * STEEP,
            K / t * LOW * LOW * STEEP,
            (2 * t - 1) / t * STEEP * COMMON,
            (2 * t - 1) * LOW * COMMON,
        ],
        under=(low, kernel_near),
        given=(AT_U,),
        mutants=(
            mutant("constant", "at least 1", MINIMIZER, lhs=1),
            mutant("sign", "-V g", BESIDE, rhs=-(h / t - (h**2 - 1) / 2) * EXCESS_3),
        ),
    ),
    Inequality(
        "case_3_end",
        "V = 0, that is t y = h: g >= 0.",
        0,
        EXCESS_3,
        proof=[t * Square(AT_END), END * Square(h), (2 * t - 1) * COMMON],
        under=(kernel_near,),
        given=(define(a, h / (1 + u)), AT_U),
        mutants=(
            mutant("constant", "at least 1", MINIMIZER, lhs=1),
            mutant("sign", "-g", BESIDE, rhs=-EXCESS_3),
        ),
    ),
    ScalarCheck(
        "case_4_mirror",
        "c >= 0, z = -w: g(c, -w) = g(c, w) + 4 (t - 1) c w, and (c, w, W) satisfies the same hypotheses.",
        excess(far, -w, W),
        excess(far, w, W) + 4 * (t - 1) * far * w,
        mutants=(
            mutant("constant", "2 (t - 1)", rhs=excess(far, w, W) + 2 * (t - 1) * far * w),
            mutant("sign", "-4 (t - 1)", rhs=excess(far, w, W) - 4 * (t - 1) * far * w),
        ),
    ),
    Inequality(
        "case_4_near",
        "w <= -c, z = -w: g >= 0.",
        0,
        excess(far, -w, W),
        proof=[u * Square(far + w), NEAR * NEAR, 2 * ACROSS * NEAR, (1 + 2 * u) * REST],
        given=(AT_U,),
        mutants=(
            mutant("constant", "at least 2", {t: 1, u: 0, far: -1, w: 0, W: 0}, lhs=2),
            mutant("sign", "-g", {t: 1, u: 0, far: -1, w: 0, W: 0}, rhs=-excess(far, -w, W)),
            dropped(NEAR, {t: 1, u: 0, far: -1, w: 2, W: 0}),
        ),
    ),
    wide,
    far_end,
    in_matrices,
)

PROSE = {
    "that the four cases cover everything, and the choice of the pair at which the kernel count is taken": (
        "kernel_near",
        "kernel_far",
        "case_1",
        "case_2",
        "case_3_below",
        "case_3_above",
        "case_3_end",
        "case_4_near",
        "case_4_far",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(si.THEOREM, la.THEOREM), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("theorem_c", THEOREM))
