"""Second-order stationary points are global or fail loudly (several matrices).

Statement
---------
Let X = (X_1, ..., X_L), X_l = A_l B_l^T with A_l of r columns, X* a minimizer of F with blocks of rank at most r*,
and let (A_l, B_l)_l be a second-order stationary point in the ball, kappa_l = sigma_{r*}(X_l)/(beta_l sigma_r(X_l)).

1. If 2 alpha_l > beta_l for all l, X = X*. For r > r*, 2 alpha_l >= beta_l for all l is enough.
2. Otherwise X = X*, or for some l the block X_l has rank r and
   ||Pi_{r*}(X_l) - X_l||_F^2 <= (1 - 2 kappa_l alpha_l) ||X_l - X*_l||_F^2,
   hence sigma_r(X_l) >= (2 alpha_l/beta_l) sigma_{r*}(X_l), strictly if r > r*, and theorem 1's distance bound.

Correction: with r = r* and equality 2 alpha = beta the conclusion of 1 is false; `theorem1` has a 2 x 2 instance (L
= 1). The non-strict form "2 alpha_l >= beta_l for all l" needs r > r*.

Assumptions
-----------
Block restricted smoothness beta_l, and restricted strong convexity in the form that the proof uses,
<grad f(X) - grad f(X*), X - X*> >= sum_l alpha_l ||X_l - X*_l||_F^2. Rank-deficient blocks have Z_l = 0.

Source
------
Kim, Kim, Ryu, ICML 2025, theorem 2.

Idea
----
Steps 1 to 5 of theorem 1 hold block by block, because a second-order stationary point is one in every block. Only
step 6 couples the blocks. If every block violated its bound, then <X_l - X*_l, Z_l> < alpha_l ||X_l - X*_l||^2 for
every l, and the sum would contradict step 6. The sum is written as one block and the rest: the step of an induction
over L.

Checks
------
block_step : PROVED UNDER Eckart-Young-Mirsky
coupling : PROVED UNDER subdifferential monotonicity, Watson
weighted_sum : PROVED UNDER Eckart-Young-Mirsky, subdifferential monotonicity, Watson
all_special : PROVED UNDER Eckart-Young-Mirsky, subdifferential monotonicity, Watson
boundary_truncation : PROVED UNDER Eckart-Young-Mirsky, subdifferential monotonicity, Watson

Used by
-------
lorasolve/landscape/judge.py, lorasolve/landscape/theorems.py
"""

from lorasolve.symbolic import (
    Inequality,
    Premise,
    Theorem,
    dropped,
    hypothesis,
    inner,
    mutant,
    run_module,
    scalars,
    square,
)
from proofs import theorem1 as t1

# Block 1: D_1 = ||X_1 - X*_1||^2, T_1 = ||Pi(X_1) - X_1||^2, w_1 = <X_1 - X*_1, Z_1>; the others through sums.
alpha1, kappa1, kappa2, e1, e2 = scalars("alpha_1 kappa_1 kappa_2 e_1 e_2")
D1, T1, D2, T2, d1, d2 = scalars("D1 T1 D2 T2 d_1 d_2", nonnegative=True)
w1, w2, joint = scalars("w_1 w_2 s", real=True)
bound2 = scalars("b_2", nonnegative=True)

BLOCK = t1.best_approximation.conclusion()
STEP_1 = Premise("step 5 in block 1", T1, D1 - 2 * kappa1 * w1, BLOCK.facts)
STEP_2 = Premise("step 5 in the others", T2, D2 - 2 * kappa2 * w2, BLOCK.facts)

# Step 6; b_2 is the sum of alpha_l ||X_l - X*_l||^2 and w_2 the sum of <X_l - X*_l, Z_l> over the other blocks.
RSC = hypothesis("restricted strong convexity, all blocks", alpha1 * D1 + bound2, joint)
MONOTONE = Premise("<g - gstar, X - X*> >= 0, all blocks", joint, w1 + w2, t1.SUBGRADIENTS)
OTHERS = hypothesis("the other blocks violate their bounds", w2, bound2)
coupling = Inequality(
    "coupling",
    "alpha_1 ||X_1 - X*_1||^2 + sum over the others <= <X_1 - X*_1, Z_1> + sum over the others.",
    alpha1 * D1 + bound2,
    w1 + w2,
    proof=[RSC, MONOTONE],
    paper="5 theorem 2",
    mutants=(
        mutant(
            "constant",
            "2 alpha_1",
            {D1: 1, alpha1: 1, bound2: 0, joint: 1, w1: 1, w2: 0},
            lhs=2 * alpha1 * D1 + bound2,
        ),
        mutant("sign", "minus the others", rhs=w1 - w2),
        dropped(RSC),
    ),
)
COUPLING = coupling.conclusion()
TIGHT = {D1: 1, T1: "1/2", alpha1: 1, kappa1: "1/4", bound2: 0, w1: 1, w2: 0}


def step_6(name: str, excess1: object, excess2: object) -> Premise:
    """Return the coupling for two groups of blocks with 2 kappa_l alpha_l = 1 + excess."""
    return Premise(
        name,
        (1 + excess1) / (2 * kappa1) * D1 + (1 + excess2) / (2 * kappa2) * D2,  # type: ignore[operator]
        w1 + w2,
        COUPLING.facts,
    )


STRICT = step_6("step 6 with 2 kappa alpha = 1 + e > 1", e1, e2)
REVERSED = step_6("step 6 with 2 kappa alpha = 1 - e", -e1, -e2)
BOUNDARY = step_6("step 6 with 2 kappa alpha = 1 + d >= 1", d1, d2)
STEPS = [STEP_1 / (2 * kappa1), STEP_2 / (2 * kappa2)]
TAILS = T1 / (2 * kappa1) + T2 / (2 * kappa2)
SURPLUS = e1 / (2 * kappa1) * D1 + e2 / (2 * kappa2) * D2
AWAY = {D1: 1, D2: 0, T1: 0, T2: 0, w1: "1/2", w2: 0, e1: 1, e2: 1, kappa1: 1, kappa2: 1}

CHECKS = (
    Inequality(
        "block_step",
        "Step 5 in every block: ||Pi(X_l) - X_l||^2 <= ||X*_l - X_l||^2 - 2 kappa_l <X_l - X*_l, Z_l>.",
        square(t1.TOP - t1.X),
        square(t1.XS - t1.X) - 2 * t1.kappa * inner(t1.X - t1.XS, t1.Z),
        proof=[BLOCK],
        paper="5 theorem 2",
        mutants=(
            mutant("sign", "+2 kappa", rhs=square(t1.XS - t1.X) + 2 * t1.kappa * inner(t1.X - t1.XS, t1.Z)),
            mutant(
                "constant",
                "3 kappa",
                t1.TIE,
                rhs=square(t1.XS - t1.X) - 3 * t1.kappa * inner(t1.X - t1.XS, t1.Z),
            ),
            dropped(BLOCK),
        ),
    ),
    coupling,
    Inequality(
        "weighted_sum",
        "If all other blocks violate their bounds, block 1 satisfies it: T_1 <= (1 - 2 kappa_1 alpha_1) D_1.",
        T1,
        (1 - 2 * kappa1 * alpha1) * D1,
        proof=[STEP_1, 2 * kappa1 * COUPLING, 2 * kappa1 * OTHERS],
        paper="5 theorem 2",
        mutants=(
            mutant("constant", "1 - 3 kappa alpha", TIGHT, rhs=(1 - 3 * kappa1 * alpha1) * D1),
            mutant("sign", "-(1 - 2 kappa alpha)", TIGHT, rhs=-(1 - 2 * kappa1 * alpha1) * D1),
            dropped(OTHERS),
            dropped(COUPLING),
        ),
    ),
    Inequality(
        "all_special",
        "If 2 kappa_l alpha_l = 1 + e_l > 1 for all l, e_1/(2 kappa_1) D_1 + e_2/(2 kappa_2) D_2 <= 0: X = X*.",
        SURPLUS,
        0,
        proof=[*STEPS, STRICT, TAILS],
        paper="5 theorem 2",
        mutants=(
            mutant("sign", "2 kappa alpha = 1 - e", AWAY, proof=[*STEPS, REVERSED, TAILS]),
            dropped(STRICT),
            dropped(STEP_1),
        ),
    ),
    Inequality(
        "boundary_truncation",
        "If 2 kappa_l alpha_l >= 1 for all l, T_1/(2 kappa_1) + T_2/(2 kappa_2) <= 0: every block has rank r* < r.",
        TAILS,
        0,
        proof=[*STEPS, BOUNDARY, d1 * D1 / (2 * kappa1) + d2 * D2 / (2 * kappa2)],
        paper="5 theorem 2",
        mutants=(
            mutant(
                "sign",
                "2 kappa alpha = 1 - e",
                {**AWAY, T1: "1/2", w1: "1/4", e1: "1/2"},
                proof=[*STEPS, REVERSED, SURPLUS],
            ),
            dropped(BOUNDARY),
        ),
    ),
)

THEOREM = Theorem(__doc__, CHECKS)

if __name__ == "__main__":
    raise SystemExit(run_module("theorem2", THEOREM))
