"""LoRA-Pro: the step is the tangent-space projection of the full gradient.

Statement
---------
K_A = (A^T A)^{-1}, K_B = (B^T B)^{-1}, P_A = A K_A A^T, P_B = B K_B B^T. For any r x r matrix X

    dA = (1/s)(I - P_A) G B K_B - A X,    dB = (1/s) G^T A K_A + B X^T

minimize ||s dA B^T + s A dB^T - G||_F, and s dA B^T + s A dB^T = g = P_A G + G P_B - P_A G P_B, with <G, g> =
||g||_F^2. The X nearest to the LoRA gradients is the one of least norm, solves A^T A X + X B^T B = -(1/s) K_A A^T G B,
and is the horizontal lift A^T dA = dB^T B, along which A^T A - B^T B is conserved. In balanced factors A = U S^{1/2}, B
= V S^{1/2} it is entrywise. With this X, s = 1, balanced factors and step t <= min(1/(2 L), sigma_r/(2 ||G||_F)), f
falls by at least (t/3) ||g||_F^2. For f = ||A B^T - M||_F^2/2 and M of rank r, two steps of size 1 with it, the first
with dA = 0, lead from B = 0 to M. With other X f may rise, and the second step miss M.

Assumptions
-----------
A and B of full column rank; f L-smooth for the descent; rank(A0^T M) = rank M = r for the two steps.

Source
------
Wang, Liang, He, Wang, Tan, "LoRA-Pro: Are Low-Rank Adapters Properly Optimized?", ICLR 2025, theorems 2.1 to 2.3. The
equivalence of the choices of X, the entrywise form, the finite step and the two-step property are derived here.

Idea
----
The normal equations are A^T (g - G) = 0 and (g - G) B = 0. The raw LoRA gradients are orthogonal to the gauge
directions (-A Y, B Y^T), so "nearest to them" and "of least norm" differ by a constant.

Checks
------
equivalent_gradient : PROVED
normal_equation_left : PROVED
normal_equation_right : PROVED
least_squares : PROVED
least_value : PROVED
descent_rate : PROVED
gauge_orthogonality : PROVED
nearest_is_least_norm : PROVED
sylvester : PROVED
least_norm_is_horizontal : PROVED
conserved_balance : PROVED
balanced_form : PROVED
entrywise_split : PROVED
entrywise_horizontal : PROVED
entrywise_sylvester : PROVED
entrywise_damped : PROVED
second_order_term : PROVED
lift_norm_inside : PROVED
increment_norm : PROVED
increment_length : PROVED
finite_step : PROVED
first_step : PROVED
second_gradient : PROVED
second_lift : PROVED
rows_of_target : PROVED
second_step : PROVED
other_lifts : VERIFIED

Used by
-------
lorasolve/optimizers/lora_pro.py, lorasolve/papers/lora_pro.py
"""

from fractions import Fraction
from random import Random

from sympy import Rational, sqrt

from lorasolve.symbolic import (
    Exact,
    Identity,
    Inequality,
    ScalarCheck,
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
    hypothesis,
    inner,
    inverse,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
    zeros,
)
from lorasolve.symbolic import rational as ra
from proofs.facts import DUAL_NORM, NUCLEAR, SPECTRAL

m, n, r = dims("m n r")
s, step = scalars("s t")
A, B, G, X, Y = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n), matrix("X", r, r), matrix("Y", r, r)
KA, KB = matrix("KA", r, r, symmetric=True), matrix("KB", r, r, symmetric=True)
INVERSES = (inverse(KA, A.T @ A), inverse(KB, B.T @ B))
PA, PB = A @ KA @ A.T, B @ KB @ B.T
dA = 1 / s * (eye(m) - PA) @ G @ B @ KB - A @ X
dB = 1 / s * G.T @ A @ KA + B @ X.T
g = s * dA @ B.T + s * A @ dB.T
PROJECTION = PA @ G + G @ PB - PA @ G @ PB
GRAD_A, GRAD_B = s * G @ B, s * G.T @ A
OTHER_A, OTHER_B = matrix("A1", m, r), matrix("B1", n, r)
other = s * OTHER_A @ B.T + s * A @ OTHER_B.T

SPREAD = {A: [[1], [0]], B: [[1], [0]], KA: [[1]], KB: [[1]]}

# Horizontal directions.
HA, HB = matrix("HA", m, r), matrix("HB", n, r)


def _horizontal(values: Values, rng: Random) -> None:
    target = ra.multiply(ra.transpose(values["HB"]), values["B"])
    turned = ra.transpose(values["A"])
    inside = ra.multiply(turned, values["HA"])
    inverted = ra.multiply(values["A"], ra.inverse(ra.multiply(turned, values["A"])))
    values["HA"] = ra.add(values["HA"], ra.multiply(inverted, ra.add(target, inside, -1)))


HORIZONTAL = assume("A^T dA = dB^T B", (A.T @ HA, HB.T @ B), impose=_horizontal)

# Balanced factors; E + F = U^T G V is the split of the doubly projected part.
UL, VL, E = matrix("U", m, r), matrix("V", n, r), matrix("E", r, r)
Root, RootInv = matrix("Root", r, r, symmetric=True), matrix("RootInv", r, r, symmetric=True)
ROOT_INVERSE = inverse(RootInv, Root)
CORE = UL.T @ G @ VL
BAL_A = ((eye(m) - UL @ UL.T) @ G @ VL + UL @ E) @ RootInv
BAL_B = ((eye(n) - VL @ VL.T) @ G.T @ UL + VL @ (CORE - E).T) @ RootInv
si, sj, damp, sigma = scalars("s_i s_j delta sigma")
share_i, share_j = si / (si + sj), sj / (si + sj)
root_i, root_j, d_ij, d_ji = scalars("a_i a_j D_ij D_ji")
cij, x_ij = scalars("C_ij X_ij", real=True)
SHARES = (
    define(d_ij, root_j**2 / (root_i**2 + root_j**2)),
    define(d_ji, root_i**2 / (root_i**2 + root_j**2)),
)
SYLVESTER = define(x_ij, -cij / (si * (si + sj)))

# Finite step: gn = ||g||, gg = ||G||_F, cross = <G, dA dB^T>, e2 = ||X_+ - X||^2, f_next = f(X_+).
f, f_next, cross = scalars("f f_next p", real=True)
L, e2 = scalars("L e2", nonnegative=True)
gn, gg, bound = scalars("g_norm G_norm b", nonnegative=True)
# g and dA dB^T as bounds of their lengths times matrices of length at most 1, so that all may be 0.
PROJECTED, TAIL, K, KT = (matrix(name, m, n) for name in ("g", "T", "K", "K_T"))
SMOOTH = hypothesis(
    "f(X - t g + t^2 dA dB^T) <= f - t ||g||^2 + t^2 <G, dA dB^T> + (L/2) ||t^2 dA dB^T - t g||^2",
    f_next,
    f - step * gn**2 + step**2 * cross + L / 2 * e2,
)
CROSS = DUAL_NORM.instance(
    "pairing",
    SPECTRAL(G, gg),
    NUCLEAR(HA @ HB.T, gn**2 / (2 * sigma)),
    lhs=cross,
    where={cross: inner(G, HA @ HB.T)},
)
STEP = step**2 * TAIL - step * PROJECTED
G_LENGTH, TAIL_LENGTH = hypothesis("||K||_F <= 1", square(K), 1), hypothesis("||K_T||_F <= 1", square(KT), 1)
increment_norm = Inequality(
    "increment_norm",
    "||X_+ - X||^2 = ||t^2 T - t g||^2 <= (t ||g|| + t^2 b)^2 for T = dA dB^T, b >= ||T||_F.",
    square(STEP),
    (step * gn + step**2 * bound) ** 2,
    proof=[
        step**3 * gn * bound * Square(K + KT),
        step * gn * (step * gn + step**2 * bound) * G_LENGTH,
        step**2 * bound * (step * gn + step**2 * bound) * TAIL_LENGTH,
    ],
    given=(define(PROJECTED, gn * K), define(TAIL, bound * KT)),
    mutants=(
        mutant("sign", "(t ||g|| - t^2 b)^2", rhs=(step * gn - step**2 * bound) ** 2),
        mutant(
            "constant",
            "0.95 of it",
            {PROJECTED: [[-1]], TAIL: [[1]], K: [[-1]], KT: [[1]], step: 1, gn: 1, bound: 1},
            rhs=19 * (step * gn + step**2 * bound) ** 2 / 20,
        ),
        dropped(TAIL_LENGTH),
    ),
)
LENGTH = increment_norm.conclusion(
    e2,
    (step * gn + step**2 * gn**2 / (2 * sigma)) ** 2,
    where={e2: square(step**2 * HA @ HB.T - step * PROJECTED)},
    put={bound: gn**2 / (2 * sigma), TAIL: HA @ HB.T},
)
STEP_L = hypothesis("t <= 1/(2 L)", step * L, Rational(1, 2))
STEP_SIGMA = hypothesis("t <= sigma/(2 ||G||_F)", step * gg / sigma, Rational(1, 2))
SHRINKS = hypothesis("||g||_F <= ||G||_F", gn, gg)
STRETCH = step**2 * gn**2 * (Rational(9, 4) + step * gn / (2 * sigma))
increment_length = Inequality(
    "increment_length",
    "||X_+ - X||^2 <= ((5/4) t ||g||_F)^2, where b = ||g||^2/(2 sigma_r).",
    e2,
    (Rational(5, 4) * step * gn) ** 2,
    proof=[LENGTH, STRETCH * step / (2 * sigma) * SHRINKS, STRETCH / 2 * STEP_SIGMA],
    under=(increment_norm,),
    mutants=(
        mutant("constant", "(t ||g||)^2", {e2: "25/16", step: 1, gn: 1, gg: 1, sigma: 2}, rhs=step**2 * gn**2),
        mutant("sign", "-(5/4) t ||g||", rhs=-((Rational(5, 4) * step * gn) ** 2)),
        dropped(STEP_SIGMA),
    ),
)
QUARTER = increment_length.conclusion()

# Two steps from B = 0 on ||X - M||^2/2, step 1, s = 1.
M = matrix("M", m, n)
REACHED = define(B, M.T @ A @ KA)
C, N, CoreInv = matrix("C", m, r), matrix("N", n, r), matrix("CoreInv", r, r)
CORE_INVERSE = inverse(CoreInv, KA @ A.T @ C)
ROWS = define(M, C @ B.T)
AT_X1 = A @ B.T - M


def _other_lift(lift: str, target: str, step: str, reaches: bool = False) -> tuple[bool, str]:
    """Step from A = B = 1 on (a b - M)^2/2 with X = lift, where L = sigma_r = 1 and g = G; return whether f rises."""
    x, t, slope = Fraction(lift), Fraction(step), 1 - Fraction(target)
    residual = (1 + t * x) * (1 - t * (slope + x)) - Fraction(target)
    before, after = slope**2 / 2, residual**2 / 2
    return after == 0 if reaches else after > before, f"f goes from {before} to {after}"


CHECKS = (
    Identity(
        "equivalent_gradient",
        "s dA B^T + s A dB^T = P_A G + G P_B - P_A G P_B, whatever X.",
        g,
        PROJECTION,
        mutants=(
            mutant("sign", "+ P_A G P_B", rhs=PA @ G + G @ PB + PA @ G @ PB),
            mutant("constant", "without the doubly projected part", rhs=PA @ G + G @ PB),
        ),
    ),
    Identity(
        "normal_equation_left",
        "A^T (g - G) = 0.",
        A.T @ (PROJECTION - G),
        zeros(r, n),
        given=INVERSES[:1],
        mutants=(
            mutant("sign", "A^T (g + G)", lhs=A.T @ (PROJECTION + G)),
            mutant("constant", "raw LoRA step s^2 (G B B^T + A A^T G)", lhs=A.T @ (G @ B @ B.T + A @ A.T @ G - G)),
            dropped(INVERSES[0]),
        ),
    ),
    Identity(
        "normal_equation_right",
        "(g - G) B = 0.",
        (PROJECTION - G) @ B,
        zeros(m, r),
        given=INVERSES[1:],
        mutants=(
            mutant("constant", "2 g - G", lhs=(2 * PROJECTION - G) @ B),
            dropped(INVERSES[1]),
        ),
    ),
    SumOfSquares(
        "least_squares",
        "No other pair of directions fits G better.",
        square(PROJECTION - G),
        square(other - G),
        proof=[1 * Square(other - PROJECTION)],
        given=INVERSES,
        mutants=(
            mutant(
                "constant",
                "1.05 ||g - G||^2",
                {**SPREAD, G: [[0, 0], [0, 1]], OTHER_A: [[0], [0]], OTHER_B: [[0], [0]], s: 1},
                lhs=21 * square(PROJECTION - G) / 20,
            ),
            mutant("sign", "||g + G||^2", lhs=square(PROJECTION + G)),
        ),
    ),
    Identity(
        "least_value",
        "||g - G||^2 = ||(I - P_A) G (I - P_B)||^2.",
        square(PROJECTION - G),
        square((eye(m) - PA) @ G @ (eye(n) - PB)),
        mutants=(
            mutant("constant", "||(I - P_A) G||^2", rhs=square((eye(m) - PA) @ G)),
            mutant("sign", "I + P_B", rhs=square((eye(m) - PA) @ G @ (eye(n) + PB))),
        ),
    ),
    Identity(
        "descent_rate",
        "<G, g> = ||g||_F^2: the first-order decrease.",
        inner(G, g),
        square(PROJECTION),
        given=INVERSES,
        mutants=(
            mutant("constant", "||g||^2/2", rhs=square(PROJECTION) / 2),
            mutant("sign", "-||g||^2", rhs=-square(PROJECTION)),
        ),
    ),
    Identity(
        "gauge_orthogonality",
        "The LoRA gradients are orthogonal to the gauge directions (-A Y, B Y^T).",
        inner(GRAD_A, -A @ Y) + inner(GRAD_B, B @ Y.T),
        0,
        mutants=(
            mutant("sign", "(A Y, B Y^T)", lhs=inner(GRAD_A, A @ Y) + inner(GRAD_B, B @ Y.T)),
            mutant("swapped transpose", "(-A Y, B Y)", lhs=inner(GRAD_A, -A @ Y) + inner(GRAD_B, B @ Y)),
        ),
    ),
    Identity(
        "nearest_is_least_norm",
        "|dA - grad_A|^2 + |dB - grad_B|^2 - |dA|^2 - |dB|^2 does not depend on X.",
        square(dA - GRAD_A) + square(dB - GRAD_B) - square(dA) - square(dB),
        square(GRAD_A) + square(GRAD_B) - 2 * square(PROJECTION),
        given=INVERSES,
        mutants=(
            mutant("constant", "- ||g||^2", rhs=square(GRAD_A) + square(GRAD_B) - square(PROJECTION)),
            mutant("sign", "dA + grad_A", lhs=square(dA + GRAD_A) + square(dB - GRAD_B) - square(dA) - square(dB)),
        ),
    ),
    Identity(
        "sylvester",
        "A^T dA - dB^T B = -(A^T A X + X B^T B + (1/s) K_A A^T G B): horizontal exactly if X solves the equation.",
        A.T @ dA - dB.T @ B,
        -(A.T @ A @ X + X @ B.T @ B + 1 / s * KA @ A.T @ G @ B),
        given=INVERSES[:1],
        mutants=(
            mutant("sign", "-(1/s) on the right side", rhs=-(A.T @ A @ X + X @ B.T @ B - 1 / s * KA @ A.T @ G @ B)),
            mutant("swapped symbols", "K_B instead of K_A", rhs=-(A.T @ A @ X + X @ B.T @ B + A.T @ G @ B @ KB / s)),
            dropped(INVERSES[0]),
        ),
    ),
    SumOfSquares(
        "least_norm_is_horizontal",
        "From a horizontal direction (-A Y, B Y^T) leads to longer ones only, by |A Y|^2 + |B Y^T|^2: it is the least.",
        square(HA) + square(HB),
        square(HA - A @ Y) + square(HB + B @ Y.T),
        proof=[1 * Square(A @ Y), 1 * Square(B @ Y.T)],
        given=(HORIZONTAL,),
        mutants=(
            mutant("sign", "(-A Y, -B Y^T)", rhs=square(HA - A @ Y) + square(HB - B @ Y.T)),
            mutant("constant", "1.05 of it", lhs=21 * (square(HA) + square(HB)) / 20),
            dropped(HORIZONTAL),
        ),
    ),
    Identity(
        "conserved_balance",
        "Along the flow of a horizontal direction A^T A - B^T B is conserved.",
        derivative(A.T @ A - B.T @ B, {A: -HA, B: -HB}),
        zeros(r, r),
        given=(HORIZONTAL,),
        mutants=(
            mutant("sign", "A^T A + B^T B", lhs=derivative(A.T @ A + B.T @ B, {A: -HA, B: -HB})),
            dropped(HORIZONTAL),
        ),
    ),
    Identity(
        "balanced_form",
        "Balanced factors: any split E + F = U^T G V gives the same projection.",
        BAL_A @ (VL @ Root).T + (UL @ Root) @ BAL_B.T,
        UL @ UL.T @ G + G @ VL @ VL.T - UL @ UL.T @ G @ VL @ VL.T,
        given=(ROOT_INVERSE,),
        mutants=(
            mutant("constant", "2 U U^T G", rhs=2 * UL @ UL.T @ G + G @ VL @ VL.T - UL @ UL.T @ G @ VL @ VL.T),
            dropped(ROOT_INVERSE),
        ),
    ),
    ScalarCheck(
        "entrywise_split",
        "D_ij + D_ji = s_j/(s_i + s_j) + s_i/(s_i + s_j) = 1: C o D and C o D^T are such a split.",
        share_j + share_i,
        1,
        mutants=(
            mutant("sign", "difference", lhs=share_j - share_i),
            mutant("constant", "2", rhs=2),
        ),
    ),
    Identity(
        "entrywise_horizontal",
        "The (i, j) entries of A^T dA and dB^T B agree: a_i C D_ij/a_j, D_ij = s_j/(s_i + s_j), s_i = a_i^2.",
        root_i * cij * d_ij / root_j,
        root_j * cij * d_ji / root_i,
        given=SHARES,
        mutants=(
            mutant("swapped symbols", "D_ij and D_ji swapped", lhs=root_i * cij * d_ji / root_j),
            mutant("constant", "equal halves", lhs=root_i * cij / (2 * root_j)),
            dropped(SHARES[0]),
        ),
    ),
    Identity(
        "entrywise_sylvester",
        "X_ij = -M_ij/(s_i (s_i + s_j)), M = A^T G B, solves s_i X + X s_j = -M/s_i.",
        si * x_ij + x_ij * sj,
        -cij / si,
        given=(SYLVESTER,),
        mutants=(
            mutant("sign", "+M", rhs=cij / si),
            mutant("swapped symbols", "1/s_j", rhs=-cij / sj),
            mutant("constant", "s_i X", lhs=si * x_ij),
        ),
    ),
    ScalarCheck(
        "entrywise_damped",
        "With damping, U^T dA = C_ij sqrt(s_j)/(s_i + s_j + delta) satisfies (g - G) B + delta dA = 0 in the core.",
        (cij * (si + sj) / (si + sj + damp) - cij) * sqrt(sj) + damp * cij * sqrt(sj) / (si + sj + damp),
        0,
        mutants=(
            mutant(
                "sign",
                "- delta dA",
                lhs=(cij * (si + sj) / (si + sj + damp) - cij) * sqrt(sj) - damp * cij * sqrt(sj) / (si + sj + damp),
            ),
            mutant(
                "constant",
                "2 delta dA",
                lhs=(cij * (si + sj) / (si + sj + damp) - cij) * sqrt(sj)
                + 2 * damp * cij * sqrt(sj) / (si + sj + damp),
            ),
        ),
    ),
    Identity(
        "second_order_term",
        "(A - t dA)(B - t dB)^T = A B^T - t (dA B^T + A dB^T) + t^2 dA dB^T.",
        (A - step * OTHER_A) @ (B - step * OTHER_B).T,
        A @ B.T - step * (OTHER_A @ B.T + A @ OTHER_B.T) + step**2 * OTHER_A @ OTHER_B.T,
        mutants=(
            mutant(
                "sign", "- t^2", rhs=A @ B.T - step * (OTHER_A @ B.T + A @ OTHER_B.T) - step**2 * OTHER_A @ OTHER_B.T
            ),
            mutant("constant", "no t^2 term", rhs=A @ B.T - step * (OTHER_A @ B.T + A @ OTHER_B.T)),
        ),
    ),
    ScalarCheck(
        "lift_norm_inside",
        "Entry (i, j) of the core adds C_ij^2/(s_i + s_j) to |dA|^2 + |dB|^2, at most C_ij^2/sigma_r.",
        (cij * share_j) ** 2 / sj + (cij * share_i) ** 2 / si,
        cij**2 / (si + sj),
        mutants=(
            mutant("constant", "C_ij^2/(2 (s_i + s_j))", rhs=cij**2 / (2 * (si + sj))),
            mutant("swapped symbols", "halves", lhs=(cij / 2) ** 2 / sj + (cij / 2) ** 2 / si),
        ),
    ),
    increment_norm,
    increment_length,
    Inequality(
        "finite_step",
        "t <= min(1/(2 L), sigma_r/(2 ||G||_F)): f(X_+) <= f(X) - (t/3) ||g||_F^2 (in fact 23/64).",
        f_next,
        f - step * gn**2 / 3,
        proof=[
            SMOOTH,
            step**2 * CROSS,
            step * gn**2 / 2 * STEP_SIGMA,
            L / 2 * QUARTER,
            Rational(25, 32) * step * gn**2 * STEP_L,
            step * gn**2 * (Rational(23, 64) - Rational(1, 3)),
        ],
        under=(increment_length,),
        mutants=(
            mutant(
                "constant",
                "0.36 t",
                {step: 1, gn: 1, gg: 1, sigma: 2, L: "1/2", e2: "25/16", cross: "1/4", f: 0, f_next: "-23/64"},
                rhs=f - Rational(9, 25) * step * gn**2,
            ),
            mutant("sign", "f rises", lhs=f + step * gn**2 / 3, rhs=f_next),
            dropped(STEP_SIGMA, {step: 1, gn: 1, gg: 9, sigma: 2, L: "1/2", e2: 1, cross: 2, f: 0, f_next: "5/4"}),
            dropped(STEP_L, {step: 1, gn: 1, gg: 1, sigma: 2, L: 2, e2: "25/16", cross: 0, f: 0, f_next: "1/2"}),
        ),
    ),
    Identity(
        "first_step",
        "From B = 0 with dA = 0, dB = G^T A K_A (G = -M): X_1 = P_A M.",
        A @ (zeros(n, r) - (-1 * M).T @ A @ KA).T,
        PA @ M,
        mutants=(
            mutant("sign", "-P_A M", rhs=-PA @ M),
            mutant("constant", "M", rhs=M),
        ),
    ),
    Identity(
        "second_gradient",
        "G = X_1 - M has P_A G = 0, because B = M^T A K_A: the projected gradient at X_1 is g = G P_B.",
        PA @ AT_X1 + AT_X1 @ PB - PA @ AT_X1 @ PB,
        AT_X1 @ PB,
        given=(INVERSES[0], REACHED),
        mutants=(
            mutant("sign", "-G P_B", rhs=-AT_X1 @ PB),
            mutant("constant", "G", rhs=AT_X1),
            dropped(REACHED),
        ),
    ),
    Identity(
        "second_lift",
        "There A^T G = 0: X = 0 solves the Sylvester equation and dB = 0: X_2 = X_1 - g with no term of order t^2.",
        (A - (eye(m) - PA) @ AT_X1 @ B @ KB) @ (B - AT_X1.T @ A @ KA).T,
        A @ B.T - AT_X1 @ PB,
        given=(INVERSES[0], REACHED),
        mutants=(
            mutant("sign", "X_1 + g", rhs=A @ B.T + AT_X1 @ PB),
            mutant("constant", "dB = B/2", lhs=(A - (eye(m) - PA) @ AT_X1 @ B @ KB) @ B.T / 2),
            dropped(REACHED),
        ),
    ),
    Identity(
        "rows_of_target",
        "M = C N^T with K_A A^T C invertible, as where rank(A^T M) = rank M = r: M = C (K_A A^T C)^{-1} B^T.",
        C @ CoreInv @ (M.T @ A @ KA).T,
        M,
        given=(define(M, C @ N.T), CORE_INVERSE),
        mutants=(
            mutant("sign", "-M", rhs=-M),
            mutant("constant", "M/2", rhs=M / 2),
            dropped(CORE_INVERSE),
        ),
    ),
    Identity(
        "second_step",
        "X_1 - g = M where M = C B^T, whatever C: exact after two steps.",
        A @ B.T - AT_X1 @ PB,
        M,
        given=(ROWS, INVERSES[1]),
        mutants=(
            mutant("sign", "X_1 + g", lhs=A @ B.T + AT_X1 @ PB),
            mutant("constant", "half a step", lhs=A @ B.T - AT_X1 @ PB / 2),
            dropped(ROWS, {A: [[1], [0]], B: [[1], [0]], M: [[1, 0], [0, 1]], KB: [[1]]}),
        ),
    ),
    Exact(
        "other_lifts",
        "A = B = 1: f rises with X = 4 or -6 for t = 1/2, M = 0 or 1/2, and from 0 at M = 1 with X = 1/2, t = 1.",
        _other_lift,
        (("4", "0", "1/2"), ("-6", "0", "1/2"), ("4", "1/2", "1/2"), ("1/2", "1", "1")),
        mutants=(
            mutant("constant", "X = -G/2, the least norm", run=lambda _, target, step: _other_lift("-1/2", "0", step)),
            mutant(
                "sign", "it reaches M", run=lambda lift, target, step: _other_lift(lift, target, step, reaches=True)
            ),
        ),
    ),
)

PROSE = {
    "||dA dB^T||_F <= ||dA dB^T||_* <= (||dA||^2 + ||dB||^2)/2 <= ||g||^2/(2 sigma_r), by nuclear_norm_variational": (
        "lift_norm_inside",
        "increment_length",
        "finite_step",
    ),
    "the Sylvester equation has one solution, since A^T A and B^T B are positive definite": (
        "sylvester",
        "least_norm_is_horizontal",
        "second_lift",
    ),
    "a function of zero derivative is constant along the flow": ("conserved_balance",),
    "balanced factors have singular value decompositions; the sum over the entries of the core": (
        "balanced_form",
        "entrywise_split",
        "entrywise_horizontal",
        "entrywise_sylvester",
        "entrywise_damped",
        "lift_norm_inside",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("lora_pro_projection", THEOREM))
