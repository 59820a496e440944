"""Several matrices: theorems A and B with a joint assumption.

Statement
---------
f(X_1, .., X_L) with ranks r_l >= r*_l, t_l = sqrt(r_l/r*_l), X* a minimizer of F with blocks of rank r*_l, and X a
second-order stationary point of the factored objective. Blocks with r*_l = 0 need no condition (t_l is infinite).

J1: if <grad f(X) - grad f(X*), X - X*> >= sum_l alpha_l ||X_l - X*_l||_F^2 at X, alpha_l > 0, and beta_l is the
restricted smoothness of the l-th diagonal block, then beta_l < 2 alpha_l t_l for every l implies X = X*. A spurious
point has a block with alpha_l ||X_l - X*_l||^2 <= beta_l sigma_l tau_l, X_l not X*_l: of rank exactly r_l, within
(beta_l/alpha_l) sqrt(r*_l) sigma_l.

J2: if alpha ||Y||^2 <= hess f(X* + s (X - X*))[Y, Y] <= beta ||Y||^2 for 0 <= s <= 1 and all Y = (Y_1, .., Y_L) with
columns and rows in those of X_l and X*_l, cross terms included, 0 < alpha <= beta, then beta2_l (beta - alpha) < 2
alpha beta t_l for every l implies X = X*; beta2_l is the smoothness of the l-th diagonal block at X (`theorem_b`).

Assumptions
-----------
As stated; constants of the diagonal blocks alone do not imply J1 (`theorem2` has the counterexample). Two groups of
blocks are written, the first and all others; for more of them split the second.

Source
------
Beyond the paper.

Idea
----
The multiplier of each block needs only that block's smoothness; convexity enters once, summed over blocks. So the
proofs of `theorem_a` and `theorem_b` hold for the sums, and every block contributes a non-negative term.

Checks
------
joint_upper : PROVED
joint : PROVED
joint_zero : PROVED
spurious_block : PROVED
spurious_distance : PROVED
joint_cocoercive : PROVED
joint_two_constants : PROVED
joint_counts : PROVED
joint_no_perpendicular : PROVED

Used by
-------
lorasolve/landscape/judge.py, lorasolve/landscape/theorems.py
"""

from collections.abc import Mapping
from typing import Any

from sympy import Rational

from lorasolve.symbolic import (
    Inequality,
    MatrixExpr,
    Premise,
    ScalarExpr,
    Square,
    Theorem,
    assume,
    dims,
    dropped,
    hypothesis,
    inner,
    matrix,
    mutant,
    orthonormal,
    renamed,
    run_module,
    scalars,
    square,
)
from lorasolve.symbolic.substitution import substituted
from proofs import lemma_a as la
from proofs import theorem2 as t2
from proofs import theorem_a as ta
from proofs import theorem_b as tb
from proofs.facts import MONOTONICITY, SUBGRADIENT

alpha1, alpha2, beta1, beta2, t_1, t_2, s1, s2 = scalars("alpha_1 alpha_2 beta_1 beta_2 t_1 t_2 sigma_1 sigma_2")
D1, D2 = scalars("D_1 D_2", nonnegative=True)
tau1, tau2, w1, w2, slope1, slope2 = scalars("tau_1 tau_2 w_1 w_2 g_1 g_2", real=True)

# Numbers of the blocks: D_l = ||X_l - X*_l||^2, w_l = <Z_l, X_l - X*_l>, s_l the same with grad_l f.
CONVEX = hypothesis("joint inequality J1", alpha1 * D1 + alpha2 * D2, slope1 + slope2)


def in_block(suffix: str, beta: Any, sigma: Any, t: Any) -> dict[Any, Any]:
    """Return the symbols of theorem A for a block."""
    numbers = {ta.beta: beta, ta.sigma: sigma, ta.t: t}
    used = (ta.pairing, la.lemma, ta.strong_convexity, ta.trace_bound, ta.perpendicular_norm)
    return t2.in_block(ta, used, suffix, numbers)


def in_numbers(pairing: Any, distance: Any, tau: Any, put: Mapping[Any, Any]) -> tuple[Premise, Premise]:
    """Return what theorem A says of <Z, X - X*>, and lemma A, in the numbers of a block."""
    where = {pairing: inner(ta.Z, ta.E), distance: ta.DISTANCE, tau: ta.PERPENDICULAR}
    where = {number: substituted(value, put) for number, value in where.items()}
    beta, sigma, t, perpendicular = put[ta.beta], put[ta.sigma], put[ta.t], {tau: where[tau]}
    met = ta.pairing.conclusion(pairing, beta * sigma * tau, where={pairing: where[pairing], **perpendicular}, put=put)
    lower = la.lemma.conclusion(
        2 * t * sigma * tau, distance, where={distance: where[distance], **perpendicular}, put=put
    )
    return met, lower


FIRST, SECOND = in_block("_I", beta1, s1, t_1), in_block("_II", beta2, s2, t_2)
MONOTONE_1, MONOTONE_2 = t2.monotone(w1, slope1, FIRST, ta), t2.monotone(w2, slope2, SECOND, ta)
MET_1, LOWER_1 = in_numbers(w1, D1, tau1, FIRST)
MET_2, LOWER_2 = in_numbers(w2, D2, tau2, SECOND)
POINT = {
    alpha1: 1, alpha2: 1, beta1: 2, beta2: 2, t_1: 1, t_2: 1, s1: 1, s2: 1, D1: 2, D2: 2, tau1: 1, tau2: 1,
    w1: 2, w2: 2, slope1: 2, slope2: 2,
}  # fmt: skip
upper = Inequality(
    "joint_upper",
    "J1: sum alpha_l ||X_l - X*_l||^2 <= sum beta_l sigma_l tau_l.",
    alpha1 * D1 + alpha2 * D2,
    beta1 * s1 * tau1 + beta2 * s2 * tau2,
    proof=[CONVEX, MONOTONE_1, MONOTONE_2, MET_1, MET_2],
    under=(ta.pairing,),
    mutants=(
        mutant("constant", "half", POINT, rhs=(beta1 * s1 * tau1 + beta2 * s2 * tau2) / 2),
        mutant("sign", "minus the others", POINT, rhs=beta1 * s1 * tau1 - beta2 * s2 * tau2),
        dropped(CONVEX, {**POINT, D1: 9}),
        dropped(MET_2, {**POINT, D2: 9, w2: 9, slope2: 9}),
    ),
)
UPPER = upper.conclusion()
spurious_block = Inequality(
    "spurious_block",
    "If the other blocks do not, block 1 has alpha_1 ||X_1 - X*_1||^2 <= beta_1 sigma_1 tau_1.",
    alpha1 * D1,
    beta1 * s1 * tau1,
    proof=[UPPER, hypothesis("the others do not", beta2 * s2 * tau2, alpha2 * D2)],
    under=(upper,),
    mutants=(
        mutant("constant", "half", POINT, rhs=beta1 * s1 * tau1 / 2),
        mutant("sign", "-beta_1", POINT, rhs=-beta1 * s1 * tau1),
        dropped(UPPER, {**POINT, D1: 9}),
    ),
)
# ||T1||^2 + ||T2||^2 and k of the first block.
size1, many1 = scalars("q_1 n_1", nonnegative=True)
IN_FIRST = {size1: ta.SIZES, many1: ta.k1 + ta.k2, tau1: ta.PERPENDICULAR, D1: ta.DISTANCE}
IN_FIRST = {number: substituted(value, FIRST) for number, value in IN_FIRST.items()}
WIDTH = ta.trace_bound.conclusion(
    tau1**2, many1 * size1, where={part: IN_FIRST[part] for part in (tau1, many1, size1)}, put=FIRST
)
ROOM = ta.perpendicular_norm.conclusion(size1, D1, where={part: IN_FIRST[part] for part in (size1, D1)}, put=FIRST)
SPURIOUS = spurious_block.conclusion()
# One singular value of sigma on each side, and the smoothness at which the distance is the largest.
FURTHEST = {**POINT, D1: 4, beta1: 2, tau1: 2, w1: 4, slope1: 4, size1: 4, many1: 1}

# J2, block by block as matrices.
m1, n1, m2, n2 = dims("m1 n1 m2 n2")
alpha, beta = scalars("alpha beta")
X1, XS1, Z1, g1, gs1 = (matrix(f"{name}1", m1, n1) for name in ("X", "Xstar", "Z", "g", "gstar"))
X2, XS2, Z2, g2, gs2 = (matrix(f"{name}2", m2, n2) for name in ("X", "Xstar", "Z", "g", "gstar"))
h1, h2 = g1 - gs1, g2 - gs2
E1, E2 = X1 - XS1, X2 - XS2
# The blocks as one matrix, on which the Hessian with its cross terms is one form.
U1, U2, V1, V2 = matrix("U1", tb.m, m1), matrix("U2", tb.m, m2), matrix("V1", tb.n, n1), matrix("V2", tb.n, n2)
T1, S1, T2, S2 = matrix("E1", m1, n1), matrix("D1", m1, n1), matrix("E2", m2, n2), matrix("D2", m2, n2)


def whole(first: MatrixExpr, second: MatrixExpr) -> MatrixExpr:
    """Return the matrix with these two blocks."""
    return U1 @ first @ V1.T + U2 @ second @ V2.T


def coercive(step: MatrixExpr, slope: MatrixExpr) -> ScalarExpr:
    """Return <D - alpha E, beta E - D> for beta = alpha + x."""
    return inner(slope - alpha * step, (alpha + tb.spread) * step - slope)


cocoercive = Inequality(
    "joint_cocoercive",
    "0 <= sum <D_l - alpha E_l, beta E_l - D_l> for (D_1, D_2) = H (E_1, E_2), alpha <= H <= beta = alpha + x.",
    0,
    coercive(T1, S1) + coercive(T2, S2),
    proof=[tb.cocoercive.conclusion(put={tb.STEP: whole(T1, T2), tb.SLOPE: whole(S1, S2)})],
    under=(tb.cocoercive,),
    given=(orthonormal(U1, U2), orthonormal(V1, V2)),
    mutants=(
        mutant("constant", "at least 1", lhs=1),
        mutant("sign", "<= 0", lhs=coercive(T1, S1) + coercive(T2, S2), rhs=0),
        dropped(tb.cocoercive.conclusion(put={tb.STEP: whole(T1, T2), tb.SLOPE: whole(S1, S2)})),
    ),
)
COERCIVE = cocoercive.conclusion(put={T1: E1, S1: Z1 - h1, T2: E2, S2: Z2 - h2})
lam1, lam2 = scalars("lambda_1 lambda_2", nonnegative=True)
MONOTONE_J2 = tuple(
    MONOTONICITY.instance("monotone", SUBGRADIENT(g, lam, X), SUBGRADIENT(gs, lam, XS))
    for g, gs, X, XS, lam in ((g1, gs1, X1, XS1, lam1), (g2, gs2, X2, XS2, lam2))
)
SOFT = tuple(
    tb.softened.conclusion(
        put=renamed((tb.softened,), suffix, {tb.m: m, tb.n: n, tb.Z: Z, tb.g: g, tb.gs: gs, tb.lam: lam})
    )
    for suffix, m, n, Z, g, gs, lam in (("_I", m1, n1, Z1, g1, gs1, lam1), ("_II", m2, n2, Z2, g2, gs2, lam2))
)
OFF_1 = assume("<Z_1, X_1> = 0", (inner(Z1, X1), 0), impose=tb.with_pairing("X1", "Z1", 0 * inner(Z1, Z1)))
OFF_2 = assume("<Z_2, X_2> = 0", (inner(Z2, X2), 0), impose=tb.with_pairing("X2", "Z2", 0 * inner(Z2, Z2)))


def block(E: MatrixExpr, Z: MatrixExpr, XS: MatrixExpr) -> ScalarExpr:
    """Return what a block adds to the sum."""
    return alpha * beta * square(E) + square(Z) + (alpha + beta) * inner(Z, XS)


EDGE = {
    X1: [[0]], XS1: [[1]], Z1: [[-1]], g1: [[0]], gs1: [[0]], X2: [[0]], XS2: [[0]], Z2: [[0]], g2: [[0]], gs2: [[0]],
    alpha: 1, tb.spread: 1, beta: 2, lam1: 1, lam2: 1,
}  # fmt: skip

joint_two_constants = Inequality(
    "joint_two_constants",
    "J2: sum (alpha beta ||E_l||^2 + ||Z_l||^2 + (alpha + beta) <Z_l, X*_l>) <= 0.",
    block(E1, Z1, XS1) + block(E2, Z2, XS2),
    0,
    proof=[
        COERCIVE,
        *((alpha + beta) * part for part in MONOTONE_J2),
        *(2 * part for part in SOFT),
        1 * Square(h1),
        1 * Square(h2),
    ],
    under=(cocoercive, tb.softened),
    given=(tb.BETA, OFF_1, OFF_2),
    mutants=(
        mutant("constant", "2 ||Z_1||^2", EDGE, lhs=block(E1, Z1, XS1) + square(Z1) + block(E2, Z2, XS2)),
        mutant("sign", "- <Z_1, X*_1>", EDGE, lhs=block(E1, -1 * Z1, XS1) + block(E2, Z2, XS2)),
        dropped(COERCIVE),
        dropped(MONOTONE_J2[0], {**EDGE, Z1: [["-1/2"]], g1: [[1]]}),
        dropped(SOFT[0], {**EDGE, Z1: [["-5/2"]], g1: [[-1]]}),
    ),
)
APART = tuple(
    assume(f"<Z_{i}, X*_{i}> = 0", (inner(Z, XS), 0), impose=tb.with_pairing(f"Xstar{i}", f"Z{i}", 0 * inner(Z, Z)))
    for i, (Z, XS) in enumerate(((Z1, XS1), (Z2, XS2)), 1)
)
AT_STAR = {X1: [[0]], XS1: [[0]], Z1: [[0]], X2: [[0]], XS2: [[0]], Z2: [[0]], alpha: 1, beta: 2}
# Numbers: v_l is the sum of theorem_b.values in block l, u_l that of joint_two_constants, n_l the number k1 + ||D||^2.
v1, v2, u1, u2, gap1, gap2 = scalars("v_1 v_2 u_1 u_2 gap_1 gap_2", real=True)
count1, count2 = scalars("k_1 k_2", nonnegative=True)


def counted(gap: Any, count: Any, value: Any, whole: Any, put: Mapping[Any, Any]) -> tuple[Premise, Premise]:
    """Return what theorem B says of the singular values of a block, and Bessel's inequality, in its numbers."""
    where = {gap: tb.DECISIVE, count: tb.k1 + square(tb.D), value: tb.VALUES, whole: tb.MASTER}
    where = {number: substituted(meaning, put) for number, meaning in where.items()}
    below = tb.values_below.conclusion(value, whole, where={part: where[part] for part in (value, whole)}, put=put)
    at_most = {part: where[part] for part in (gap, count, value)}
    return tb.block_bound.conclusion(gap * count, value, where=at_most, put=put), below


def of_theorem_b(suffix: str, m: Any, n: Any, X: Any, XS: Any, Z: Any) -> dict[Any, Any]:
    """Return the symbols of theorem B for a block; alpha and beta are those of all blocks."""
    block = {tb.m: m, tb.n: n, tb.X: X, tb.XS: XS, tb.Z: Z, tb.alpha: alpha, tb.beta: beta}
    return renamed((tb.block_bound, tb.values_below), suffix, block)


IN_1, BELOW_1 = counted(gap1, count1, v1, u1, of_theorem_b("_I", m1, n1, X1, XS1, Z1))
IN_2, BELOW_2 = counted(gap2, count2, v2, u2, of_theorem_b("_II", m2, n2, X2, XS2, Z2))
SUM = joint_two_constants.conclusion(u1 + u2, 0, where={u1: block(E1, Z1, XS1), u2: block(E2, Z2, XS2)})
NOTHING = {gap1: 1, gap2: 1, count1: 0, count2: 0, v1: 0, v2: 0, u1: 0, u2: 0}

CHECKS = (
    upper,
    Inequality(
        "joint",
        "J1: sum (2 alpha_l t_l - beta_l) sigma_l tau_l <= 0: if every factor is positive, every tau_l is 0.",
        (2 * alpha1 * t_1 - beta1) * s1 * tau1 + (2 * alpha2 * t_2 - beta2) * s2 * tau2,
        0,
        proof=[UPPER, alpha1 * LOWER_1, alpha2 * LOWER_2],
        under=(upper, la.lemma),
        mutants=(
            mutant(
                "constant",
                "3 alpha_1 t_1",
                POINT,
                lhs=(3 * alpha1 * t_1 - beta1) * s1 * tau1 + (2 * alpha2 * t_2 - beta2) * s2 * tau2,
            ),
            mutant(
                "sign",
                "plus beta_1",
                POINT,
                lhs=(2 * alpha1 * t_1 + beta1) * s1 * tau1 + (2 * alpha2 * t_2 - beta2) * s2 * tau2,
            ),
            dropped(LOWER_2, {**POINT, t_2: 2}),
        ),
    ),
    Inequality(
        "joint_zero",
        "J1 with every tau_l = 0: sum alpha_l ||X_l - X*_l||^2 <= 0.",
        alpha1 * D1 + alpha2 * D2,
        0,
        proof=[
            UPPER,
            beta1 * s1 * hypothesis("tau_1 <= 0", tau1, 0),
            beta2 * s2 * hypothesis("tau_2 <= 0", tau2, 0),
        ],
        under=(upper,),
        mutants=(
            mutant("constant", "at most -1", {**POINT, D1: 0, D2: 0, tau1: 0, tau2: 0}, rhs=-1),
            mutant("sign", "at least 1", {**POINT, D1: 0, D2: 0, tau1: 0, tau2: 0}, lhs=1),
            dropped(UPPER, {**POINT, tau1: 0, tau2: 0}),
        ),
    ),
    spurious_block,
    Inequality(
        "spurious_distance",
        "That block has alpha_1^2 ||X_1 - X*_1||^4 <= beta_1^2 sigma_1^2 k ||X_1 - X*_1||^2, k <= r*_1.",
        alpha1**2 * D1**2,
        beta1**2 * s1**2 * many1 * D1,
        proof=[
            SPURIOUS * SPURIOUS,
            2 * alpha1 * D1 * SPURIOUS,
            beta1**2 * s1**2 * WIDTH,
            beta1**2 * s1**2 * many1 * ROOM,
        ],
        under=(spurious_block, ta.trace_bound, ta.perpendicular_norm),
        mutants=(
            mutant("constant", "0.9 beta_1", FURTHEST, rhs=Rational(81, 100) * beta1**2 * s1**2 * many1 * D1),
            mutant("swapped symbols", "alpha_1 and beta_1", FURTHEST, lhs=beta1**2 * D1**2, rhs=alpha1**2 * many1 * D1),
            dropped(SPURIOUS, {**FURTHEST, D1: 9}),
            dropped(WIDTH, {**FURTHEST, tau1: 3, D1: 6, size1: 6}),
            dropped(ROOM, {**FURTHEST, tau1: 3, D1: 6, size1: 9}),
        ),
    ),
    cocoercive,
    joint_two_constants,
    Inequality(
        "joint_counts",
        "J2: sum over the blocks of the positive gaps times the numbers of singular values of X*_perp <= 0.",
        gap1 * count1 + gap2 * count2,
        0,
        proof=[IN_1, IN_2, BELOW_1, BELOW_2, SUM],
        under=(tb.block_bound, tb.values_below, joint_two_constants),
        mutants=(
            mutant("constant", "at most -1", NOTHING, rhs=-1),
            mutant("sign", "at least 1", NOTHING, lhs=1),
            dropped(SUM, {**NOTHING, count1: 1, v1: 1, u1: 1}),
        ),
    ),
    Inequality(
        "joint_no_perpendicular",
        "J2: <Z_l, X*_l> = 0 in every block (no singular value, or rank X_l < r_l): alpha beta sum ||E_l||^2 <= 0.",
        alpha * beta * (square(E1) + square(E2)),
        0,
        proof=[joint_two_constants.conclusion(), 1 * Square(Z1), 1 * Square(Z2)],
        under=(joint_two_constants,),
        given=APART,
        mutants=(
            mutant("sign", "at least 1", AT_STAR, lhs=1, rhs=alpha * beta * (square(E1) + square(E2))),
            mutant("constant", "at most -1", AT_STAR, rhs=-1),
            dropped(joint_two_constants.conclusion(), {**AT_STAR, XS1: [[1]]}),
            dropped(APART[0], {**AT_STAR, XS1: [[1]], Z1: [[-1]]}),
        ),
    ),
)

PROSE = {
    "more than two groups of blocks, by splitting the second": (
        "joint_upper",
        "joint",
        "joint_two_constants",
        "joint_counts",
    ),
    "what theorems A and B leave in prose, block by block": ("joint_upper", "joint_two_constants"),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(t2.THEOREM, ta.THEOREM, tb.THEOREM), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("theorem2_joint", THEOREM))
