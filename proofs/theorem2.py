"""Second-order stationary points are global or fail loudly (several matrices).

Statement
---------
Let X = (X_1, ..., X_L), X_l = A_l B_l^T with A_l of r columns, X* a minimizer of F with blocks of rank at most r*,
and let (A_l, B_l)_l be a second-order stationary point in the ball, kappa_l = sigma_{r*}(X_l)/(beta_l sigma_r(X_l)).

1. If 2 alpha_l > beta_l for all l, X = X*. For r > r*, 2 alpha_l >= beta_l for all l is enough.
2. Otherwise X = X*, or for some l with X_l != X*_l the block X_l has rank r and
   ||Pi_{r*}(X_l) - X_l||_F^2 <= (1 - 2 kappa_l alpha_l) ||X_l - X*_l||_F^2,
   hence sigma_r(X_l) >= (2 alpha_l/beta_l) sigma_{r*}(X_l), strictly if r > r*, and theorem 1's distance bound.
   This is for r* >= 1; if r* = 0, X = X* = 0.

Corrections: with r = r* and equality 2 alpha = beta the conclusion of 1 is false; `theorem1` has a 2 x 2 instance (L
= 1). The non-strict form "2 alpha_l >= beta_l for all l" needs r > r*.

With alpha_l the constants of each diagonal block alone, in place of the joint inequality below, 1 is false for two
blocks: for N = (E1 - E2)/sqrt 2, E1 = j1 k1^T, E2 = j2 k2^T, and 0 < g < 1 the function

    f(X1, x2) = ||X1 - E1||_F^2/2 + (x2 - 3)^2/2 + g <N, X1 - E1> (x2 - 3)

is strongly convex, each diagonal block has alpha_l = beta_l = 1, and with sigma = g^2/(2 - g^2) the point X1 = sigma
E2, x2 = 3 + g (1 + sigma)/sqrt 2 is stationary at rank 1, lam = 0, with f = (1 - sigma)/2 > 0 = f(X*). It is
second-order stationary for sigma >= 1/2, and flat only along the two scalings for sigma > 1/2. At g^2 = 3/4: sigma =
3/5, f = 1/5.

Assumptions
-----------
Block restricted smoothness beta_l, and restricted strong convexity in the form that the proof uses, alpha_l > 0 and
<grad f(X) - grad f(X*), X - X*> >= sum_l alpha_l ||X_l - X*_l||_F^2. Rank-deficient blocks have Z_l = 0.

Source
------
Kim, Kim, Ryu, ICML 2025, theorem 2.

Idea
----
Steps 1 to 5 of theorem 1 hold block by block, because a second-order stationary point is one in every block. Only
step 6 couples the blocks. If every block with X_l != X*_l violated its bound, then <X_l - X*_l, Z_l> < alpha_l ||X_l -
X*_l||^2 for each of them, and the sum would contradict step 6. The sum is written as one block and the rest, the step
of an induction over L, and once more for any number of blocks with diagonal matrices.

The counterexample: minimizing f over x2 leaves the instance of `sharp_instance` over kappa, with g^2 = 1 - 1/kappa and
r = r* = 1, and x2 adds one square to the Hessian form. Below h = g/sqrt 2, so that no root occurs.

Checks
------
block_step : PROVED
coupling : PROVED
weighted_sum : PROVED
block_ratio : PROVED
no_pairing : PROVED
all_special : PROVED
all_blocks : PROVED
boundary_truncation : PROVED
diagonal_jointly_convex : PROVED
diagonal_joint_form : PROVED
diagonal_first_block : PROVED
diagonal_second_block : PROVED
diagonal_gradient : PROVED
diagonal_gradient_in_x2 : PROVED
diagonal_stationary_in_a : PROVED
diagonal_stationary_in_b : PROVED
diagonal_second_order : PROVED
diagonal_flat_scalings : PROVED
diagonal_gap : PROVED
diagonal_constants : PROVED

Used by
-------
lorasolve/landscape/judge.py, lorasolve/landscape/theorems.py, lorasolve/multi.py
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from random import Random
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
    hypothesis,
    inner,
    inverse,
    matrix,
    mutant,
    orthonormal,
    renamed,
    run_module,
    scalars,
    square,
    tr,
    vector,
    zeros,
)
from lorasolve.symbolic import rational as ra
from lorasolve.symbolic.substitution import substituted
from lorasolve.symbolic.written import text
from proofs import theorem1 as t1
from proofs.facts import MONOTONICITY, SUBGRADIENT

# Block 1: D_1 = ||X_1 - X*_1||^2, T_1 = ||Pi(X_1) - X_1||^2, w_1 = <X_1 - X*_1, Z_1>; the others through sums.
alpha1, kappa1, kappa2, e1, e2 = scalars("alpha_1 kappa_1 kappa_2 e_1 e_2")
D1, T1, D2, T2, d1, d2 = scalars("D1 T1 D2 T2 d_1 d_2", nonnegative=True)
w1, w2, slope1, slope2 = scalars("w_1 w_2 s_1 s_2", real=True)
bound2 = scalars("b_2", nonnegative=True)
# The values of X_1 by the names that theorem 1's have in block 1.
sigma_star1, sigma_r1, beta1 = scalars("sigma_star_I sigma_r_I beta_I")

BLOCK = t1.best_approximation.conclusion()


def in_block(theorem: Any, checks: Sequence[Inequality], suffix: str, numbers: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the symbols of checks of a theorem for a block, or for the others as one matrix; Z is G + g there."""
    put = renamed(checks, suffix, numbers)
    at_block = substituted(theorem.G + theorem.g, put)
    return {symbol: at_block if text(symbol) == "Z" else value for symbol, value in put.items()}


def step_5(tail: Any, distance: Any, factor: Any, pairing: Any, put: Mapping[Any, Any]) -> Premise:
    """Return step 5 of theorem 1 in the numbers of a block."""
    tail_is, distance_is, pairing_is = square(t1.TOP - t1.X), square(t1.XS - t1.X), inner(t1.X - t1.XS, t1.Z)
    where = {tail: tail_is, distance: distance_is, pairing: pairing_is}
    where = {number: substituted(value, put) for number, value in where.items()}
    return t1.best_approximation.conclusion(tail, distance - 2 * factor * pairing, where=where, put=put)


def monotone(pairing: Any, slope: Any, put: Mapping[Any, Any], theorem: Any = t1) -> Premise:
    """Return <g - gstar, X - X*> >= 0 in the numbers <Z, X - X*> and <grad f(X) - grad f(X*), X - X*> of a block."""
    G, GS, g, X, XS = (substituted(part, put) for part in (theorem.G, theorem.GS, theorem.g, theorem.X, theorem.XS))
    return MONOTONICITY.instance(
        "monotone",
        SUBGRADIENT(g, put[theorem.lam], X),
        SUBGRADIENT(-1 * GS, put[theorem.lam], XS),
        lhs=0,
        rhs=pairing - slope,
        where={pairing: inner(G + g, X - XS), slope: inner(G - GS, X - XS)},
    )


USED = (t1.best_approximation, t1.strong_convexity)
FIRST, SECOND = in_block(t1, USED, "_I", {t1.kappa: kappa1}), in_block(t1, USED, "_II", {t1.kappa: kappa2})
STEP_1, STEP_2 = step_5(T1, D1, kappa1, w1, FIRST), step_5(T2, D2, kappa2, w2, SECOND)

# Step 6; b_2 is the sum of alpha_l ||X_l - X*_l||^2 and w_2 the sum of <X_l - X*_l, Z_l> over the other blocks.
RSC = hypothesis("restricted strong convexity, all blocks", alpha1 * D1 + bound2, slope1 + slope2)
MONOTONE_1, MONOTONE_2 = monotone(w1, slope1, FIRST), monotone(w2, slope2, SECOND)
OTHERS = hypothesis("the other blocks violate their bounds or are at X*_l", w2, bound2)
coupling = Inequality(
    "coupling",
    "alpha_1 ||X_1 - X*_1||^2 + sum over the others <= <X_1 - X*_1, Z_1> + sum over the others.",
    alpha1 * D1 + bound2,
    w1 + w2,
    proof=[RSC, MONOTONE_1, MONOTONE_2],
    paper="5 theorem 2",
    mutants=(
        mutant(
            "constant",
            "1.05 alpha_1",
            {D1: 1, alpha1: 1, bound2: 0, slope1: 1, slope2: 0, w1: 1, w2: 0},
            lhs=Rational(21, 20) * alpha1 * D1 + bound2,
        ),
        mutant("sign", "minus the others", rhs=w1 - w2),
        dropped(RSC),
        dropped(MONOTONE_1),
        dropped(MONOTONE_2),
    ),
)
COUPLING = coupling.conclusion()
NO_PAIRING = {D1: 0, alpha1: 1, bound2: 0, slope1: 0, slope2: 0, w1: 0, w2: 0}
TIGHT = {D1: 1, T1: "1/2", alpha1: 1, kappa1: "1/4", bound2: 0, w1: 1, w2: 0}
# The first block where its bound is 0, and at X*_1.
AT_ZERO = {D1: 1, T1: 0, alpha1: 1, kappa1: "1/2", sigma_star1: 1, sigma_r1: 1}
AT_STAR = {**AT_ZERO, D1: 0, kappa1: 1}
weighted = Inequality(
    "weighted_sum",
    "If no other block with X_l != X*_l satisfies its bound, block 1 does: T_1 <= (1 - 2 kappa_1 alpha_1) D_1.",
    T1,
    (1 - 2 * kappa1 * alpha1) * D1,
    proof=[STEP_1, 2 * kappa1 * COUPLING, 2 * kappa1 * OTHERS],
    under=(coupling, t1.best_approximation),
    paper="5 theorem 2",
    mutants=(
        mutant("constant", "1 - 2.1 kappa alpha", TIGHT, rhs=(1 - Rational(21, 10) * kappa1 * alpha1) * D1),
        mutant("sign", "-(1 - 2 kappa alpha)", TIGHT, rhs=-(1 - 2 * kappa1 * alpha1) * D1),
        dropped(OTHERS),
        dropped(COUPLING),
    ),
)


def step_6(excess1: Any, excess2: Any) -> dict[Any, Any]:
    """Return what makes 2 kappa_l alpha_l = 1 + excess in both groups of blocks."""
    return {alpha1: (1 + excess1) / (2 * kappa1), bound2: (1 + excess2) / (2 * kappa2) * D2}


STRICT, BOUNDARY = coupling.conclusion(put=step_6(e1, e2)), coupling.conclusion(put=step_6(d1, d2))
REVERSED = hypothesis(
    "step 6 with 2 kappa alpha = 1 - e", (1 - e1) / (2 * kappa1) * D1 + (1 - e2) / (2 * kappa2) * D2, w1 + w2
)
STEPS = [STEP_1 / (2 * kappa1), STEP_2 / (2 * kappa2)]
TAILS = T1 / (2 * kappa1) + T2 / (2 * kappa2)
SURPLUS = e1 / (2 * kappa1) * D1 + e2 / (2 * kappa2) * D2
AWAY = {D1: 1, D2: 0, T1: 0, T2: 0, w1: "1/2", w2: 0, e1: 1, e2: 1, kappa1: 1, kappa2: 1}

# Any number N of blocks, as diagonal matrices: 1/(2 kappa_l) = h_l^2, e_l, ||X_l - X*_l||^2 and <X_l - X*_l, Z_l>.
blocks = dims("N")
H, HInv, EXCESS, DISTANCES, PAIRINGS, TAIL, SLACK = (
    matrix(name, blocks, blocks) for name in ("H", "HInv", "E", "Dist", "Pair", "R", "S")
)
H_INVERSE = inverse(HInv, H)
ALL_STEPS = define(DISTANCES, HInv.T @ HInv @ PAIRINGS + TAIL @ TAIL.T + SLACK @ SLACK.T)
SUM_6 = hypothesis(
    "step 6, all blocks: sum (1 + e_l) D_l/(2 kappa_l) <= sum w_l",
    tr(H @ H.T @ DISTANCES) + tr(EXCESS @ H @ H.T @ DISTANCES),
    tr(PAIRINGS),
)
NO_DISTANCE = {
    H: [[1]], HInv: [[1]], EXCESS: [[1]], DISTANCES: [[0]], PAIRINGS: [[0]], TAIL: [[0]], SLACK: [[0]],
}  # fmt: skip

# The counterexample to the diagonal constants: block 1 is m x n, block 2 a number, written as a 1 x 1 matrix.
m, n = dims("m n")
p, h, q, g, kappa, size = scalars("p h q g kappa y")
z = scalars("z", real=True)
J1, J2, K1, K2 = vector("j1", m), vector("j2", m), vector("k1", n), vector("k2", n)
X1, N, D = matrix("X1", m, n), matrix("N", m, n), matrix("D", m, n)
A, B, U, V = vector("A", m), vector("B", n), vector("U", m), vector("V", n)
x2, a2, b2, d, u, v = (matrix(name, 1, 1) for name in ("x2", "a2", "b2", "d", "u", "v"))
E1, E2 = J1 @ K1.T, J2 @ K2.T
M = E1 - E2


def coupled_loss(first: MatrixExpr, second: MatrixExpr) -> ScalarExpr:
    """Return f, with h M = g N."""
    rest = second - 3 * eye(1)
    return square(first - E1) / 2 + square(rest) / 2 + h * inner(M, first - E1) * tr(rest)


# h = 2 p/(1 + p^2) makes the root q of sigma = h^2/(1 - h^2) rational in p.
LEFT, RIGHT, COUPLING_H = orthonormal(J1, J2), orthonormal(K1, K2), define(h, 2 * p / (1 + p**2))
ROOT, sigma = define(q, 2 * p / (1 - p**2)), q**2
AT_X1, AT_X2 = define(X1, sigma * E2), define(x2, (3 + h * (1 + sigma)) * eye(1))
POINT = (LEFT, RIGHT, COUPLING_H, ROOT, AT_X1, AT_X2)
LOSS, IN_FACTORS = coupled_loss(X1, x2), coupled_loss(A @ B.T, a2 @ b2)
FACTORS = (
    LEFT,
    RIGHT,
    COUPLING_H,
    ROOT,
    define(A, q * J2),
    define(B, q * K2),
    define(a2, size * eye(1)),
    define(b2, (3 + h * (1 + sigma)) / size * eye(1)),
)
U1, U2, V1, V2 = J1.T @ U, J2.T @ U, K1.T @ V, K2.T @ V
CHANGE = a2 @ v + u @ b2
HESSIAN = derivative(IN_FACTORS, {A: U, B: V, a2: u, b2: v}, order=2)
AWAY_IN_B2 = -z * (3 + h * (1 + sigma)) / size * eye(1)
SCALINGS = derivative(IN_FACTORS, {A: q * J2, B: -q * K2, a2: z * size * eye(1), b2: AWAY_IN_B2}, order=2)
AT_LEAST = hypothesis("1/2 <= sigma", "1/2", sigma)


def along(third: int) -> dict[Any, Any]:
    """Return the direction U = V = j1 for 2 x 2 matrices at p = 1/third, a2 = 1, u = v = 0."""
    ratio = Fraction(1, third)
    coupling, root = 2 * ratio / (1 + ratio**2), 2 * ratio / (1 - ratio**2)
    first, second = [[1], [0]], [[0], [1]]
    scaled = [[0], [root]]
    end = 3 + coupling * (1 + root**2)
    place = {J1: first, K1: first, J2: second, K2: second, A: scaled, B: scaled, a2: [[1]], b2: [[end]]}
    return {**place, U: first, V: first, u: [[0]], v: [[0]], p: ratio, h: coupling, q: root, size: 1}


def _unit(values: Values, rng: Random) -> None:
    """Choose N with a single entry other than zero."""
    rows, cols = ra.shape(values["N"])
    place = rng.randrange(rows), rng.randrange(cols)
    values["N"] = [[rng.choice((-1, 1)) * int((i, j) == place) for j in range(cols)] for i in range(rows)]


UNIT = assume("||N|| = 1", (square(N), 1), impose=_unit)

CHECKS = (
    Inequality(
        "block_step",
        "Step 5 in every block: ||Pi(X_l) - X_l||^2 <= ||X*_l - X_l||^2 - 2 kappa_l <X_l - X*_l, Z_l>.",
        square(t1.TOP - t1.X),
        square(t1.XS - t1.X) - 2 * t1.kappa * inner(t1.X - t1.XS, t1.Z),
        proof=[BLOCK],
        under=(t1.best_approximation,),
        paper="5 theorem 2",
        mutants=(
            mutant("sign", "+2 kappa", rhs=square(t1.XS - t1.X) + 2 * t1.kappa * inner(t1.X - t1.XS, t1.Z)),
            mutant(
                "constant",
                "2.1 kappa",
                t1.TIE,
                rhs=square(t1.XS - t1.X) - Rational(21, 10) * t1.kappa * inner(t1.X - t1.XS, t1.Z),
            ),
            dropped(BLOCK),
        ),
    ),
    coupling,
    weighted,
    Inequality(
        "block_ratio",
        "Hence (2 alpha_1 sigma_{r*} - beta_1 sigma_r) D_1 <= -beta_1 sigma_r T_1: sigma_r >= (2 alpha_1/beta_1) "
        "sigma_{r*} in block 1, unless X_1 = X*_1, and more where T_1 > 0, that is for r > r*.",
        (2 * alpha1 * sigma_star1 - beta1 * sigma_r1) * D1,
        -beta1 * sigma_r1 * T1,
        proof=[beta1 * sigma_r1 * weighted.conclusion()],
        under=(weighted,),
        given=(define(kappa1, sigma_star1 / (beta1 * sigma_r1)),),
        paper="5 theorem 2",
        mutants=(
            mutant(
                "constant",
                "2.1 alpha_1 sigma_{r*}",
                {**AT_ZERO, beta1: 2},
                lhs=(Rational(21, 10) * alpha1 * sigma_star1 - beta1 * sigma_r1) * D1,
            ),
            mutant(
                "sign",
                "at least 0",
                {**TIGHT, sigma_star1: 1, sigma_r1: 1, beta1: 4},
                lhs=(beta1 * sigma_r1 - 2 * alpha1 * sigma_star1) * D1,
            ),
            mutant(
                "constant",
                "1.1 beta_1 sigma_r T_1",
                {**TIGHT, sigma_star1: 1, sigma_r1: 1, beta1: 4},
                rhs=-Rational(11, 10) * beta1 * sigma_r1 * T1,
            ),
            mutant(
                "constant",
                "without D_1, also where X_1 = X*_1",
                {**AT_STAR, beta1: 1},
                lhs=2 * alpha1 * sigma_star1 - beta1 * sigma_r1,
            ),
            dropped(weighted.conclusion(), {**AT_ZERO, kappa1: 1, beta1: 1}),
        ),
    ),
    Inequality(
        "no_pairing",
        "<X_l - X*_l, Z_l> = 0 in every block, by Z_l = 0 at rank X_l < r, or r* = 0: sum alpha_l D_l <= 0, X = X*.",
        alpha1 * D1 + bound2,
        0,
        proof=[COUPLING, hypothesis("w_1 <= 0", w1, 0), hypothesis("w_2 <= 0", w2, 0)],
        under=(coupling,),
        paper="5 theorem 2",
        mutants=(
            mutant("sign", "at least 1", NO_PAIRING, lhs=1, rhs=alpha1 * D1 + bound2),
            mutant("constant", "at most -1", NO_PAIRING, rhs=-1),
            dropped(COUPLING, {**NO_PAIRING, D1: 1}),
            mutant(
                "dropped assumption",
                "Z_1 = 0 alone",
                {**NO_PAIRING, bound2: 1, slope2: 1, w2: 1},
                proof=[COUPLING, hypothesis("w_1 <= 0", w1, 0)],
            ),
        ),
    ),
    Inequality(
        "all_special",
        "If 2 kappa_l alpha_l = 1 + e_l > 1 for all l, e_1/(2 kappa_1) D_1 + e_2/(2 kappa_2) D_2 <= 0: X = X*.",
        SURPLUS,
        0,
        proof=[*STEPS, STRICT, TAILS],
        under=(coupling, t1.best_approximation),
        paper="5 theorem 2",
        mutants=(
            mutant("sign", "2 kappa alpha = 1 - e", AWAY, proof=[*STEPS, REVERSED, TAILS]),
            mutant("constant", "at most -1", {**AWAY, D1: 0, w1: 0}, rhs=-1),
            dropped(STRICT),
            dropped(STEP_1),
            dropped(STEP_2),
        ),
    ),
    Inequality(
        "all_blocks",
        "Any number N of blocks, as diagonal N x N matrices: if 2 kappa_l alpha_l = 1 + e_l for all l, the sum of e_l "
        "||X_l - X*_l||^2/(2 kappa_l) is at most 0.",
        tr(EXCESS @ H @ H.T @ DISTANCES),
        0,
        proof=[SUM_6, 1 * Square(H.T @ TAIL), 1 * Square(H.T @ SLACK)],
        given=(H_INVERSE, ALL_STEPS),
        paper="5 theorem 2",
        mutants=(
            mutant("sign", "at least 0", lhs=0, rhs=tr(EXCESS @ H @ H.T @ DISTANCES)),
            mutant("constant", "at most -1", NO_DISTANCE, rhs=-1),
            dropped(SUM_6),
            dropped(ALL_STEPS),
        ),
    ),
    Inequality(
        "boundary_truncation",
        "If 2 kappa_l alpha_l >= 1 for all l, T_1/(2 kappa_1) + T_2/(2 kappa_2) <= 0: every block has rank r* < r.",
        TAILS,
        0,
        proof=[*STEPS, BOUNDARY, d1 * D1 / (2 * kappa1) + d2 * D2 / (2 * kappa2)],
        under=(coupling, t1.best_approximation),
        paper="5 theorem 2",
        mutants=(
            mutant(
                "sign",
                "2 kappa alpha = 1 - e",
                {**AWAY, T1: "1/2", w1: "1/4", e1: "1/2"},
                proof=[*STEPS, REVERSED, SURPLUS],
            ),
            mutant("constant", "at most -1", {**AWAY, D1: 0, w1: 0, d1: 0, d2: 0}, rhs=-1),
            dropped(BOUNDARY),
        ),
    ),
    SumOfSquares(
        "diagonal_jointly_convex",
        "||D||^2 + d^2 + 2 g <N, D> d >= (1 - g) (||D||^2 + d^2) for ||N|| = 1: f is strongly convex for g < 1.",
        (1 - g) * (square(D) + square(d)),
        square(D) + square(d) + 2 * g * inner(N, D) * tr(d),
        proof=[g * Square(D + tr(d) * N)],
        given=(UNIT,),
        mutants=(
            mutant("sign", "1 + g", lhs=(1 + g) * (square(D) + square(d))),
            mutant(
                "constant", "1 - g/2", {N: [[1]], D: [[1]], d: [[-1]], g: 1}, lhs=(1 - g / 2) * (square(D) + square(d))
            ),
            dropped(UNIT, {N: [[2]], D: [[1]], d: [[-1]], g: 1}),
        ),
    ),
    Identity(
        "diagonal_joint_form",
        "The second derivative of f along (D, d) is ||D||^2 + d^2 + 2 h <M, D> d, h M = g N.",
        derivative(LOSS, {X1: D, x2: d}, order=2),
        square(D) + square(d) + 2 * h * inner(M, D) * tr(d),
        mutants=(
            mutant("constant", "h <M, D> d", rhs=square(D) + square(d) + h * inner(M, D) * tr(d)),
            mutant("sign", "-2 h <M, D> d", rhs=square(D) + square(d) - 2 * h * inner(M, D) * tr(d)),
        ),
    ),
    Identity(
        "diagonal_first_block",
        "With x2 fixed the second derivative of f is ||D||^2: alpha_1 = beta_1 = 1.",
        derivative(LOSS, {X1: D}, order=2),
        square(D),
        mutants=(
            mutant("constant", "2 ||D||^2", rhs=2 * square(D)),
            mutant("sign", "-||D||^2", rhs=-square(D)),
        ),
    ),
    Identity(
        "diagonal_second_block",
        "With X1 fixed the second derivative of f is d^2: alpha_2 = beta_2 = 1.",
        derivative(LOSS, {x2: d}, order=2),
        square(d),
        mutants=(
            mutant("constant", "2 d^2", rhs=2 * square(d)),
            mutant("sign", "-d^2", rhs=-square(d)),
        ),
    ),
    Identity(
        "diagonal_gradient",
        "The gradient in X1 at the point is -(1 - sigma) E1: it vanishes on k2 and, transposed, on j2.",
        gradient(LOSS, X1),
        (sigma - 1) * E1,
        given=POINT[2:],
        mutants=(
            mutant("sign", "(1 - sigma) E1", rhs=(1 - sigma) * E1),
            mutant("constant", "-E1", rhs=-E1),
            dropped(ROOT),
        ),
    ),
    Identity(
        "diagonal_gradient_in_x2",
        "The derivative in x2 vanishes at the point.",
        gradient(LOSS, x2),
        zeros(1, 1),
        given=(LEFT, RIGHT, AT_X1, AT_X2),
        mutants=(
            mutant("sign", "the other side", rhs=2 * h * (1 + sigma) * eye(1)),
            mutant("constant", "h", rhs=h * eye(1)),
            dropped(LEFT),
        ),
    ),
    Identity(
        "diagonal_stationary_in_a",
        "The gradient of L in A vanishes at A = q j2, B = q k2, a2 b2 = x2, q^2 = sigma.",
        gradient(IN_FACTORS, A),
        zeros(m, 1),
        given=FACTORS[1:],
        mutants=(
            mutant("sign", "-A", rhs=-A),
            mutant("constant", "q A", rhs=q * A),
            dropped(ROOT),
        ),
    ),
    Identity(
        "diagonal_stationary_in_b",
        "The gradient of L in B vanishes at A = q j2, B = q k2, a2 b2 = x2, q^2 = sigma.",
        gradient(IN_FACTORS, B),
        zeros(n, 1),
        given=(LEFT, *FACTORS[2:]),
        mutants=(
            mutant("sign", "-B", rhs=-B),
            mutant("constant", "q B", rhs=q * B),
            dropped(ROOT),
        ),
    ),
    Inequality(
        "diagonal_second_order",
        "The second derivative of L in the factors is non-negative for sigma >= 1/2.",
        0,
        HESSIAN,
        proof=[
            AT_LEAST * Square(U1 + V1),
            Square(U1 - V1) / 2,
            Square(q * (U - J1 @ U1 - J2 @ U2)),
            Square(q * (V - K1 @ V1 - K2 @ V2)),
            Square(h * (U2 + V2)),
            Square(CHANGE + h * inner(M, U @ B.T + A @ V.T) * eye(1)),
        ],
        given=FACTORS,
        mutants=(
            mutant("sign", "-HESSIAN", along(3), rhs=-HESSIAN),
            mutant("constant", "at least u1^2", along(3), lhs=square(U1)),
            dropped(AT_LEAST, along(4)),
        ),
    ),
    Identity(
        "diagonal_flat_scalings",
        "Along the scalings (A, -B) and z (a2, -b2) the second derivative of L vanishes.",
        SCALINGS,
        0,
        given=FACTORS,
        mutants=(
            mutant("sign", "(A, B)", lhs=derivative(IN_FACTORS, {A: q * J2, B: q * K2}, order=2)),
            mutant("constant", "z^2", rhs=z**2),
            dropped(ROOT),
        ),
    ),
    Identity(
        "diagonal_gap",
        "f = (1 - sigma)/2 at the point, and f(X*) = 0 at X* = (E1, 3).",
        LOSS,
        (1 - sigma) / 2 + coupled_loss(E1, 3 * eye(1)),
        given=POINT,
        mutants=(
            mutant("sign", "(1 + sigma)/2", rhs=(1 + sigma) / 2),
            mutant("constant", "1 - sigma", rhs=1 - sigma),
            dropped(LEFT),
        ),
    ),
    ScalarCheck(
        "diagonal_constants",
        "With 2 h^2 = g^2 = 1 - 1/kappa: sigma = h^2/(1 - h^2) = (kappa - 1)/(kappa + 1), which is 3/5 at kappa = 4.",
        (1 - 1 / kappa) / 2 / (1 - (1 - 1 / kappa) / 2),
        (kappa - 1) / (kappa + 1),
        mutants=(
            mutant("sign", "(1 - kappa)/(kappa + 1)", rhs=(1 - kappa) / (kappa + 1)),
            mutant("constant", "(kappa - 2)/(kappa + 1)", rhs=(kappa - 2) / (kappa + 1)),
        ),
    ),
)

PROSE = {
    "a second-order stationary point is one in each block; rank-deficient blocks have Z_l = 0": ("block_step",),
    "the induction over the blocks": ("weighted_sum", "all_special", "boundary_truncation"),
    "blocks of rank r* < r have Z_l = 0, as in check no_pairing": ("boundary_truncation",),
    "for sigma > 1/2 the form is flat along nothing but the two scalings, which is read off its squares": (
        "diagonal_second_order",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(t1.THEOREM,), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("theorem2", THEOREM))
