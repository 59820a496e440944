"""Several matrices: theorems A and B with a joint assumption.

Statement
---------
f(X_1, .., X_L) with ranks r_l >= r*_l, t_l = sqrt(r_l/r*_l), and a second-order stationary point of the factored
objective.

J1: if <grad f(X) - grad f(X*), X - X*> >= sum_l alpha_l ||X_l - X*_l||_F^2 at X, alpha_l > 0, and beta_l is the
restricted smoothness of the l-th diagonal block, then beta_l < 2 alpha_l t_l for every l implies X = X*. A spurious
point has a block with alpha_l ||X_l - X*_l||^2 <= beta_l sigma_l tau_l, X_l not X*_l: of rank exactly r_l, within
(beta_l/alpha_l) sqrt(r*_l) sigma_l.

J2: if alpha ||Y||^2 <= hess f(X* + s (X - X*))[Y, Y] <= beta ||Y||^2 for all Y = (Y_1, .., Y_L) with columns and rows
in those of X_l and X*_l, cross terms included, then beta2_l (beta - alpha) < 2 alpha beta t_l for every l implies X =
X*.

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
joint_two_constants : PROVED
joint_counts : PROVED

Used by
-------
lorasolve/landscape/judge.py, lorasolve/landscape/theorems.py
"""

from lorasolve.symbolic import (
    Inequality,
    MatrixExpr,
    Premise,
    ScalarExpr,
    Square,
    Theorem,
    assume,
    by_fact,
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
from proofs import theorem_a as ta
from proofs import theorem_b as tb
from proofs.facts import DUAL_NORM, MONOTONICITY, NUCLEAR_SUBDIFFERENTIAL

alpha1, alpha2, beta1, beta2, t1, t2, s1, s2 = scalars("alpha_1 alpha_2 beta_1 beta_2 t_1 t_2 sigma_1 sigma_2")
D1, D2, tau1, tau2 = scalars("D_1 D_2 tau_1 tau_2", nonnegative=True)
w1, w2, joint = scalars("w_1 w_2 s", real=True)
SUBGRADIENTS = (MONOTONICITY, NUCLEAR_SUBDIFFERENTIAL)

# Numbers of the blocks: D_l = ||X_l - X*_l||^2, w_l = <Z_l, X_l - X*_l>.
CONVEX = hypothesis("joint inequality J1", alpha1 * D1 + alpha2 * D2, joint)
MONOTONE = Premise("<g - gstar, X - X*> >= 0, all blocks", joint, w1 + w2, SUBGRADIENTS)
MET_1 = by_fact(DUAL_NORM, "w_1 <= beta_1 sigma_1 tau_1", w1, beta1 * s1 * tau1)
MET_2 = by_fact(DUAL_NORM, "w_2 <= beta_2 sigma_2 tau_2", w2, beta2 * s2 * tau2)
LOWER_1 = hypothesis("lemma_a in block 1", 2 * t1 * s1 * tau1, D1)
LOWER_2 = hypothesis("lemma_a in the others", 2 * t2 * s2 * tau2, D2)
POINT = {
    alpha1: 1, alpha2: 1, beta1: 2, beta2: 2, t1: 1, t2: 1, s1: 1, s2: 1, D1: 2, D2: 2, tau1: 1, tau2: 1,
    w1: 2, w2: 2, joint: 4,
}  # fmt: skip
upper = Inequality(
    "joint_upper",
    "J1: sum alpha_l ||X_l - X*_l||^2 <= sum beta_l sigma_l tau_l.",
    alpha1 * D1 + alpha2 * D2,
    beta1 * s1 * tau1 + beta2 * s2 * tau2,
    proof=[CONVEX, MONOTONE, MET_1, MET_2],
    mutants=(
        mutant("constant", "half", POINT, rhs=(beta1 * s1 * tau1 + beta2 * s2 * tau2) / 2),
        mutant("sign", "minus the others", POINT, rhs=beta1 * s1 * tau1 - beta2 * s2 * tau2),
        dropped(CONVEX, {**POINT, D1: 9}),
        dropped(MET_2, {**POINT, D2: 9, w2: 9, joint: 11}),
    ),
)
UPPER = upper.conclusion()

# J2, block by block as matrices.
m1, n1, m2, n2 = dims("m1 n1 m2 n2")
alpha, beta = scalars("alpha beta")
X1, XS1, Z1, h1 = (matrix(f"{name}1", m1, n1) for name in ("X", "Xstar", "Z", "h"))
X2, XS2, Z2, h2 = (matrix(f"{name}2", m2, n2) for name in ("X", "Xstar", "Z", "h"))
E1, E2 = X1 - XS1, X2 - XS2
COERCIVE = hypothesis(
    "<D_G - alpha E, beta E - D_G> >= 0 over all blocks (theorem_b.cocoercive)",
    0,
    inner(Z1 - h1 - alpha * E1, beta * E1 - Z1 + h1) + inner(Z2 - h2 - alpha * E2, beta * E2 - Z2 + h2),
)
MONOTONE_J2 = Premise("<E, g - gstar> >= 0, all blocks", 0, inner(E1, h1) + inner(E2, h2), SUBGRADIENTS)
SOFT = Premise("<Z, g - gstar> <= 0, all blocks", inner(Z1, h1) + inner(Z2, h2), 0, (DUAL_NORM,))
OFF_1 = assume("<Z_1, X_1> = 0", (inner(Z1, X1), 0), impose=tb.with_pairing("X1", "Z1", 0 * inner(Z1, Z1)))
OFF_2 = assume("<Z_2, X_2> = 0", (inner(Z2, X2), 0), impose=tb.with_pairing("X2", "Z2", 0 * inner(Z2, Z2)))


def block(E: MatrixExpr, Z: MatrixExpr, XS: MatrixExpr) -> ScalarExpr:
    """Return what a block adds to the sum."""
    return alpha * beta * square(E) + square(Z) + (alpha + beta) * inner(Z, XS)


EDGE = {
    X1: [[0]], XS1: [[1]], Z1: [[-1]], h1: [[0]], X2: [[0]], XS2: [[0]], Z2: [[0]], h2: [[0]], alpha: 1, beta: 2,
}  # fmt: skip

# Numbers: v_l is the sum of check values in block l, n_l the number k1 + ||D||^2 of theorem_b.block_bound.
v1, v2 = scalars("v_1 v_2", real=True)
count1, count2 = scalars("k_1 k_2", nonnegative=True)
gap1, gap2 = scalars("g_1 g_2")
IN_1 = hypothesis("theorem_b.block_bound in block 1", gap1 * count1, v1)
IN_2 = hypothesis("theorem_b.block_bound in the others", gap2 * count2, v2)
SUM = hypothesis("check joint_two_constants and theorem_b.bessel: v_1 + v_2 <= 0", v1 + v2, 0)
NOTHING = {gap1: 1, gap2: 1, count1: 0, count2: 0, v1: 0, v2: 0}

CHECKS = (
    upper,
    Inequality(
        "joint",
        "J1: sum (2 alpha_l t_l - beta_l) sigma_l tau_l <= 0: if every factor is positive, every tau_l is 0.",
        (2 * alpha1 * t1 - beta1) * s1 * tau1 + (2 * alpha2 * t2 - beta2) * s2 * tau2,
        0,
        proof=[UPPER, alpha1 * LOWER_1, alpha2 * LOWER_2],
        under=(upper,),
        mutants=(
            mutant(
                "constant",
                "3 alpha_1 t_1",
                POINT,
                lhs=(3 * alpha1 * t1 - beta1) * s1 * tau1 + (2 * alpha2 * t2 - beta2) * s2 * tau2,
            ),
            mutant(
                "sign",
                "plus beta_1",
                POINT,
                lhs=(2 * alpha1 * t1 + beta1) * s1 * tau1 + (2 * alpha2 * t2 - beta2) * s2 * tau2,
            ),
            dropped(LOWER_2, {**POINT, t2: 2}),
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
    Inequality(
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
    ),
    Inequality(
        "joint_two_constants",
        "J2: sum (alpha beta ||E_l||^2 + ||Z_l||^2 + (alpha + beta) <Z_l, X*_l>) <= 0.",
        block(E1, Z1, XS1) + block(E2, Z2, XS2),
        0,
        proof=[COERCIVE, (alpha + beta) * MONOTONE_J2, 2 * SOFT, 1 * Square(h1), 1 * Square(h2)],
        given=(OFF_1, OFF_2),
        mutants=(
            mutant("constant", "2 ||Z_1||^2", EDGE, lhs=block(E1, Z1, XS1) + square(Z1) + block(E2, Z2, XS2)),
            mutant("sign", "- <Z_1, X*_1>", EDGE, lhs=block(E1, -1 * Z1, XS1) + block(E2, Z2, XS2)),
            dropped(COERCIVE),
        ),
    ),
    Inequality(
        "joint_counts",
        "J2: sum over the blocks of the positive gaps times the numbers of singular values of X*_perp <= 0.",
        gap1 * count1 + gap2 * count2,
        0,
        proof=[IN_1, IN_2, SUM],
        mutants=(
            mutant("constant", "at most -1", NOTHING, rhs=-1),
            mutant("sign", "at least 1", NOTHING, lhs=1),
            dropped(SUM, {**NOTHING, count1: 1, v1: 1}),
        ),
    ),
)

THEOREM = Theorem(__doc__, CHECKS, uses=(ta.THEOREM, tb.THEOREM))

if __name__ == "__main__":
    raise SystemExit(run_module("theorem2_joint", THEOREM))
