"""A sharper special regime when the LoRA rank exceeds the rank of the minimizer.

Statement
---------
In the setting of `theorem1`, r* >= 1, t = sqrt(r/r*): if beta < 2 alpha t, every second-order stationary point X in the
ball is X*. A spurious one has rank r and, with tau = ||X*_perp||_* (see `lemma_a`), k = rank X*_perp, a = r - r*,

    alpha (a sigma^2 + 2 sigma tau) <= beta sigma tau,
    alpha ((a + k) sigma^2 + tau^2/k) <= beta sigma tau    if tau/k >= sigma,
    sigma <= ||X - X*||_F (if r > r*) and ||X - X*||_F <= (beta/alpha) sqrt(r*) sigma: an annulus.

Equality: if beta = 2 alpha t, t > 1, and X is spurious, then k = r*, X = sigma P Q^T, X* = t sigma L R^T with L, R
off P and Q, and ||X - X*||_F = sqrt(2) ||X*||_F. `theorem_c` shows that this happens.

Assumptions
-----------
alpha > 0 with <grad f(X) - grad f(X*), X - X*> >= alpha ||X - X*||_F^2 at X; X* minimises F (f need not be convex). Z
= g + grad f(X) with g in lam d||X||_*, P^T Z = 0, Z Q = 0, ||Z||_2 <= beta sigma is the multiplier of `theorem1`:
there it follows from second-order stationarity, if rank X = r; a point of lower rank has Z = 0. T1 = K1 K1^T and T2 =
K2 K2^T are the large and the small singular values of X*_perp, as in `lemma_a`.

Source
------
Beyond the paper; the special regime of theorem 1 is the case r = r*. Two papers stand beside it, of which only the
abstracts were read: McRae, Zhang, arXiv:2604.19381, and Ouyang, Pong, Yue, arXiv:2505.00349. Whether Theorem A is new
is not known.

Idea
----
Strong convexity and monotonicity give alpha ||X - X*||^2 <= -<Z, X*>. Only X*_perp meets Z, so that is at most beta
sigma tau, and Lemma A bounds ||X - X*||^2 from below by 2 t sigma tau.

Checks
------
perpendicular_values : PROVED
perpendicular_pairing : PROVED
strong_convexity : PROVED
pairing : PROVED
upper_bound : PROVED
theorem : PROVED
perpendicular_zero : PROVED
global_minimum : PROVED
rank_deficient : PROVED
spurious_large : PROVED
spurious_small : PROVED
trace_bound : PROVED
perpendicular_norm : PROVED
annulus : PROVED
annulus_inner : PROVED
equality : PROVED
equality_space : PROVED
equality_distance : PROVED

Used by
-------
lorasolve/landscape/judge.py, lorasolve/landscape/regimes.py, lorasolve/landscape/theorems.py
"""

from fractions import Fraction
from math import isqrt
from random import Random

from lorasolve.symbolic import (
    Identity,
    Inequality,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    annihilated,
    assume,
    define,
    dims,
    dropped,
    eye,
    hypothesis,
    inner,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    square,
    tr,
    vector,
    zeros,
)
from lorasolve.symbolic import rational as ra
from proofs import lemma_a as la
from proofs.facts import MONOTONICITY, SUBGRADIENT

m, n, k1, k2, q, r = la.m, la.n, la.k1, la.k2, la.q, la.r
k = dims("k")
t, sigma, MORE = la.t, la.sigma, la.MORE
alpha, beta, excess = scalars("alpha beta e")
lam = scalars("lambda", nonnegative=True)
X, XS, L1, L2, R1, R2, T1, T2 = la.X, la.XS, la.L1, la.L2, la.R1, la.R2, la.T1, la.T2
E, DISTANCE, PERPENDICULAR = X - XS, la.DISTANCE, la.PERPENDICULAR
Z, G, GS, g, gs = (matrix(name, m, n) for name in ("Z", "G", "Gstar", "g", "gstar"))
F = matrix("F", n, n)
K1, K2 = matrix("K1", k1, k1), matrix("K2", k2, k2)

# X* in general, split along the singular vectors of X.
P, Q, A1, A2 = la.P, la.Q, matrix("A1", r, n), matrix("A2", m, r)
PERP = L1 @ T1 @ R1.T + L2 @ T2 @ R2.T
# All values together: L, R and T have k columns.
L, R, T = matrix("L", m, k), matrix("R", n, k), matrix("T", k, k, symmetric=True)
SPLIT = define(XS, P @ A1 + A2 @ Q.T + L @ T @ R.T)
Z_OFF = annihilated(Z, left=(P,), right=(Q,))
LEFT, RIGHT = orthonormal(P, L), orthonormal(Q, R)
FRAME = (LEFT, RIGHT)


def _contraction(values: Values, rng: Random) -> None:
    """Choose Z and F in the proportion 3 : 4."""
    rows, cols = ra.shape(values["Z"])
    level = values[beta] * values[sigma]
    values["Z"] = ra.scale(level * Fraction(3, 5), ra.random_orthonormal(rng, rows, cols))
    values["F"] = ra.scale(level * Fraction(4, 5), ra.random_orthogonal(rng, cols))


def _pairing(values: Values, rng: Random) -> None:
    """Take X off Z, and for X* the part that Z meets."""
    values["X"] = ra.zeros(*ra.shape(values["X"]))
    star = ra.zeros(*ra.shape(values["Xstar"]))
    for outer, middle, other in (("L1", "T1", "R1"), ("L2", "T2", "R2")):
        star = ra.add(star, ra.multiply(values[outer], values[middle], ra.transpose(values[other])))
    values["Xstar"] = star


def _difference(values: Values, rng: Random) -> None:
    """Let X differ from X* by -X*_perp and a matrix that L1 and L2 do not meet."""
    off = ra.complement(ra.hstack(values["L1"], values["L2"]))
    whole = ra.add(values["Xstar"], ra.multiply(off, values["X"]))
    for outer, middle, other in (("L1", "T1", "R1"), ("L2", "T2", "R2")):
        whole = ra.add(whole, ra.multiply(values[outer], values[middle], ra.transpose(values[other])), -1)
    values["X"] = whole


def _sigma(values: Values, rng: Random) -> None:
    """Choose diagonal Sigma and CX with s^2 = sigma^2 + c^2, from s = sigma (x + 1/x)/2."""
    ratios = [Fraction(rng.randint(1, 4), rng.randint(1, 3)) for _ in values["Sigma"]]
    values["Sigma"] = ra.diagonal([values[sigma] * (x + 1 / x) / 2 for x in ratios])
    values["CX"] = ra.diagonal([values[sigma] * (x - 1 / x) / 2 for x in ratios])


def _square_ratio(values: Values, rng: Random) -> None:
    """Set t = sqrt(r/k), if rational."""
    ratio = Fraction(int(values[r]), int(values[k]))
    num, den = isqrt(ratio.numerator), isqrt(ratio.denominator)
    if num**2 != ratio.numerator or den**2 != ratio.denominator:
        raise ra.Unfit("r/k is not a square")
    values[t] = Fraction(num, den)


RATIO = assume("r = t^2 k", (r, t**2 * k), impose=_square_ratio)
L_ORTHONORMAL, R_ORTHONORMAL = orthonormal(L1, L2), orthonormal(R1, R2)
NORM = assume("Z^T Z = beta^2 sigma^2 I - F^T F", (Z.T @ Z, beta**2 * sigma**2 * eye(n) - F.T @ F), impose=_contraction)
VALUES = (define(T1, K1 @ K1.T), define(T2, K2 @ K2.T))
MEETS = assume(
    "<Z, X> = 0, <Z, X*> = <Z, X*_perp> (check perpendicular_pairing)",
    (inner(Z, X), 0),
    (inner(Z, XS), inner(Z, PERP)),
    impose=_pairing,
)

AT_X, AT_XS = define(Z, G + g), define(gs, -1 * GS)
RSC = hypothesis("restricted strong convexity", alpha * DISTANCE, inner(G - GS, E))
MONOTONE = MONOTONICITY.instance("monotone", SUBGRADIENT(g, lam, X), SUBGRADIENT(gs, lam, XS))
strong_convexity = Inequality(
    "strong_convexity",
    "alpha ||X - X*||^2 <= <Z, X - X*>.",
    alpha * DISTANCE,
    inner(Z, E),
    proof=[RSC, MONOTONE],
    given=(AT_X, AT_XS),
    mutants=(
        mutant(
            "constant",
            "1.1 alpha",
            {X: [[2]], XS: [[1]], G: [[0]], GS: [[-1]], g: [[1]], gs: [[1]], Z: [[1]], alpha: 1},
            lhs=MORE * alpha * DISTANCE,
        ),
        mutant("sign", "-<Z, X - X*>", rhs=-inner(Z, E)),
        dropped(RSC),
        dropped(MONOTONE),
    ),
)
# Z is -beta sigma times the singular vectors of X*.
UNIT_1, UNIT_2, BOTH, NONE = [[1], [0]], [[0], [1]], la.diagonal_of(1, 1), la.diagonal_of(0, 0)
OPPOSED: Values = {L1: UNIT_1, R1: UNIT_1, L2: UNIT_2, R2: UNIT_2, T1: [[1]], T2: [[1]], K1: [[1]], K2: [[1]]}
OPPOSED |= {X: NONE, XS: BOTH, Z: la.diagonal_of(-1, -1), F: NONE, beta: 1, sigma: 1}
pairing = SumOfSquares(
    "pairing",
    "<Z, X - X*> <= beta sigma (tr T1 + tr T2).",
    inner(Z, E),
    beta * sigma * PERPENDICULAR,
    proof=[
        Square(part) / (2 * beta * sigma)
        for L, R, K in ((L1, R1, K1), (L2, R2, K2))
        for part in (beta * sigma * L @ K + Z @ R @ K, F @ R @ K)
    ],
    given=(L_ORTHONORMAL, R_ORTHONORMAL, NORM, *VALUES, MEETS),
    mutants=(
        mutant("constant", "0.9 beta sigma", OPPOSED, rhs=(2 - MORE) * beta * sigma * PERPENDICULAR),
        mutant("sign", "tr T1 - tr T2", rhs=beta * sigma * (tr(T1) - tr(T2))),
        dropped(NORM),
    ),
)
# Points of rank 2 with r* = 2, as relations between numbers; the last one attains beta = 2 alpha t at t = 1.
POINT = {**la.RANK_TWO, alpha: 1, beta: "5/2"}
EQUAL_VALUES = {**POINT, XS: la.diagonal_of(0, 0, 2, 2), T2: [[2]]}
ATTAINED = {
    **POINT, XS: la.diagonal_of(0, 0, 1, 1), T1: [[1]], T2: [[1]], beta: 2, la.C: [[0, 0], [0, 0]],
    la.W0: [[1, 0], [0, 1], [0, 0], [0, 0]],
    L1: [[0], [0], [1], [0]], R1: [[0], [0], [1], [0]], L2: [[0], [0], [0], [1]], R2: [[0], [0], [0], [1]],
}  # fmt: skip
LARGER = {**ATTAINED, XS: la.diagonal_of(0, 0, 2, 1), T1: [[2]], beta: 3}
upper = Inequality(
    "upper_bound",
    "alpha ||X - X*||^2 <= beta sigma (tr T1 + tr T2) = beta sigma tau.",
    alpha * DISTANCE,
    beta * sigma * PERPENDICULAR,
    proof=[strong_convexity.conclusion(), pairing.conclusion()],
    under=(strong_convexity, pairing),
    mutants=(
        mutant(
            "constant",
            "0.9 beta sigma tau",
            {**ATTAINED, Z: la.diagonal_of(0, 0, -2, -2)},
            rhs=(2 - MORE) * beta * sigma * PERPENDICULAR,
        ),
        mutant("swapped symbols", "alpha and beta swapped", lhs=beta * DISTANCE, rhs=alpha * sigma * PERPENDICULAR),
        dropped(pairing.conclusion()),
    ),
)
UPPER, LOWER = upper.conclusion(), la.lemma.conclusion()
theorem = Inequality(
    "theorem",
    "(2 alpha t - beta) sigma tau <= 0: if beta < 2 alpha t then tau = 0.",
    (2 * alpha * t - beta) * sigma * PERPENDICULAR,
    0,
    proof=[alpha * LOWER, UPPER],
    under=(la.lemma, upper),
    mutants=(
        mutant("constant", "2.2 alpha t", ATTAINED, lhs=(2 * MORE * alpha * t - beta) * sigma * PERPENDICULAR),
        mutant("sign", "beta - 2 alpha t", lhs=(beta - 2 * alpha * t) * sigma * PERPENDICULAR),
        dropped(LOWER),
    ),
)

# Bounds of a spurious point.
SIZES = square(T1) + square(T2)
MEAN = PERPENDICULAR / (k1 + k2)
trace_bound = SumOfSquares(
    "trace_bound",
    "tau^2 <= k (||T1||^2 + ||T2||^2).",
    PERPENDICULAR**2,
    (k1 + k2) * SIZES,
    proof=[(k1 + k2) * Square(T1 - MEAN * eye(k1)), (k1 + k2) * Square(T2 - MEAN * eye(k2))],
    mutants=(
        mutant("constant", "0.9 k", {T1: [[1]], T2: [[1]]}, rhs=(2 - MORE) * (k1 + k2) * SIZES),
        mutant("sign", "||T1||^2 - ||T2||^2", rhs=(k1 + k2) * (square(T1) - square(T2))),
    ),
)
ON_VALUES = assume(
    "L1^T (X - X*) R1 = -T1, L2^T (X - X*) R2 = -T2",
    (L1.T @ X @ R1, L1.T @ XS @ R1 - T1),
    (L2.T @ X @ R2, L2.T @ XS @ R2 - T2),
    impose=_difference,
)
perpendicular_norm = SumOfSquares(
    "perpendicular_norm",
    "||T1||^2 + ||T2||^2 <= ||X - X*||^2.",
    SIZES,
    DISTANCE,
    proof=[1 * Square(E + PERP)],
    given=(L_ORTHONORMAL, R_ORTHONORMAL, ON_VALUES),
    mutants=(
        mutant("constant", "1.1 ||T1||^2", OPPOSED, lhs=MORE * square(T1) + square(T2)),
        mutant("sign", "||X - X*||^2 <= ||T1||^2 + ||T2||^2", lhs=DISTANCE, rhs=SIZES),
        dropped(ON_VALUES),
    ),
)
WIDTH, ROOM = trace_bound.conclusion(), perpendicular_norm.conclusion()
annulus = Inequality(
    "annulus",
    "alpha^2 ||X - X*||^4 <= beta^2 sigma^2 k ||X - X*||^2: ||X - X*|| <= (beta/alpha) sqrt(k) sigma, k <= r*.",
    alpha**2 * DISTANCE**2,
    beta**2 * sigma**2 * (k1 + k2) * DISTANCE,
    proof=[
        UPPER * UPPER,
        2 * alpha * UPPER * Square(E),
        beta**2 * sigma**2 * WIDTH,
        beta**2 * sigma**2 * (k1 + k2) * ROOM,
    ],
    under=(upper, trace_bound, perpendicular_norm),
    mutants=(
        mutant(
            "constant",
            "0.9 of it",
            {**ATTAINED, XS: la.diagonal_of(1, 1, 1, 1), beta: 1},
            rhs=(2 - MORE) * beta**2 * sigma**2 * (k1 + k2) * DISTANCE,
        ),
        mutant(
            "swapped symbols",
            "alpha/beta",
            EQUAL_VALUES,
            lhs=beta**2 * DISTANCE**2,
            rhs=alpha**2 * sigma**2 * (k1 + k2) * DISTANCE,
        ),
        dropped(UPPER),
        dropped(ROOM),
    ),
)
BEYOND = la.kernel_count.conclusion()
SOME = hypothesis("1 <= q", 1, q)

# Equality.
COMPARED = la.COMPARED
SLACK = (
    square((COMPARED - XS) @ (eye(n) - la.W0 @ la.W0.T))
    + square(la.C)
    + sigma**2 * (q - (k1 + k2) * t**2)
    + square(t * sigma * eye(k1) - T1)
    + k2 * sigma**2 * (t - 1) ** 2
    + 2 * sigma * (t - 1) * (k2 * sigma - tr(T2))
)
y, x = vector("y", k), vector("x", r)
Sigma, CX = la.Sigma, la.CX
ON_SIGMA = assume("Sigma^2 = sigma^2 I + CX CX^T", (Sigma @ Sigma, sigma**2 * eye(r) + CX @ CX.T), impose=_sigma)
TURNED = P @ Sigma @ Q.T + t * sigma * L @ R.T
BETA = define(beta, 2 * alpha * t)


CHECKS = (
    Identity(
        "perpendicular_values",
        "X* = P A1 + A2 Q^T + L T R^T has L^T X* R = T.",
        L.T @ XS @ R,
        T,
        given=(*FRAME, SPLIT),
        mutants=(
            mutant("sign", "-T", rhs=-T),
            mutant("constant", "2 T", rhs=2 * T),
            dropped(LEFT),
        ),
    ),
    Identity(
        "perpendicular_pairing",
        "<Z, X*> = <Z, X*_perp> for Z off P and Q.",
        inner(Z, XS),
        inner(Z, L @ T @ R.T),
        given=(SPLIT, Z_OFF),
        mutants=(
            mutant("sign", "-<Z, X*_perp>", rhs=-inner(Z, L @ T @ R.T)),
            mutant("constant", "2 <Z, X*_perp>", rhs=2 * inner(Z, L @ T @ R.T)),
            dropped(Z_OFF),
        ),
    ),
    strong_convexity,
    pairing,
    upper,
    theorem,
    Inequality(
        "perpendicular_zero",
        "If tau = 0 then alpha ||X - X*||^2 <= 0: X = X*.",
        alpha * DISTANCE,
        0,
        proof=[UPPER, beta * sigma * hypothesis("tau <= 0", PERPENDICULAR, 0)],
        under=(upper,),
        mutants=(
            mutant("sign", "at least 1", lhs=1, rhs=alpha * DISTANCE),
            mutant("constant", "at most -1", rhs=-1),
            dropped(UPPER),
        ),
    ),
    Inequality(
        "global_minimum",
        "beta = 2 alpha t - e, e > 0: alpha e ||X - X*||^2 <= 0, so X = X*, whether tau is 0 or not.",
        alpha * excess * DISTANCE,
        0,
        proof=[excess * UPPER, beta * theorem.conclusion()],
        under=(upper, theorem),
        given=(define(t, (beta + excess) / (2 * alpha)),),
        mutants=(
            mutant(
                "sign",
                "beta = 2 alpha t + e",
                {**POINT, excess: "1/2"},
                given=(define(t, (beta - excess) / (2 * alpha)),),
            ),
            mutant("constant", "at most -1", rhs=-1),
            mutant(
                "constant",
                "beta = 2 alpha t, the boundary",
                {**ATTAINED, excess: 1},
                given=(define(t, beta / (2 * alpha)),),
            ),
            dropped(UPPER),
            dropped(theorem.conclusion()),
        ),
    ),
    Inequality(
        "rank_deficient",
        "If rank X < r then Z = 0 and alpha ||X - X*||^2 <= 0: X = X*, and a spurious point has rank r.",
        alpha * DISTANCE,
        0,
        proof=[strong_convexity.conclusion(alpha * DISTANCE, 0, put={Z: zeros(m, n)})],
        under=(strong_convexity,),
        mutants=(
            mutant("sign", "at least 1", lhs=1, rhs=alpha * DISTANCE),
            mutant("dropped assumption", "without Z = 0", proof=[strong_convexity.conclusion()]),
        ),
    ),
    Inequality(
        "spurious_large",
        "alpha ((a + k) sigma^2 + tau^2/k) <= beta sigma tau, where tau/k >= sigma.",
        alpha * la.MEAN_VALUE,
        beta * sigma * PERPENDICULAR,
        proof=[alpha * la.lower_mean.conclusion(), UPPER],
        under=(la.lower_mean, upper),
        mutants=(
            mutant("sign", "-beta sigma tau", rhs=-beta * sigma * PERPENDICULAR),
            mutant("constant", "1.1 alpha", ATTAINED, lhs=MORE * alpha * la.MEAN_VALUE),
            dropped(UPPER),
        ),
    ),
    Inequality(
        "spurious_small",
        "alpha (a sigma^2 + 2 sigma tau) <= beta sigma tau.",
        alpha * la.LEAST_VALUE,
        beta * sigma * PERPENDICULAR,
        proof=[alpha * la.lower_least.conclusion(), UPPER],
        under=(la.lower_least, upper),
        mutants=(
            mutant("constant", "1.1 alpha", ATTAINED, lhs=MORE * alpha * la.LEAST_VALUE),
            mutant("sign", "-beta sigma tau", rhs=-beta * sigma * PERPENDICULAR),
            dropped(UPPER),
        ),
    ),
    trace_bound,
    perpendicular_norm,
    annulus,
    Inequality(
        "annulus_inner",
        "r > r*: sigma_r(X)^2 <= ||X - X*||^2, because X* vanishes on q = a >= 1 of the r directions (M = X, Y = X*).",
        la.level**2,
        square(la.M - la.Y),
        proof=[BEYOND, la.level**2 * SOME],
        under=(la.kernel_count,),
        mutants=(
            mutant("constant", "1.1 sigma_r^2", {la.M: [[1]], la.Y: [[0]], la.level: 1, q: 1}, lhs=MORE * la.level**2),
            mutant("sign", "sigma_r >= ||X - X*||_F", lhs=square(la.M - la.Y), rhs=la.level**2),
            dropped(BEYOND),
        ),
    ),
    Inequality(
        "equality",
        "beta = 2 alpha t: the slacks in lemma_a add up to 0: T1 = t sigma I, no small values if t > 1, M = X* off W0.",
        SLACK,
        0,
        proof=[UPPER / alpha],
        under=(upper,),
        given=(la.SETTING, la.AT_LEAST, BETA),
        mutants=(
            mutant("sign", "+ ||X - X*||^2", ATTAINED, lhs=SLACK + DISTANCE),
            mutant("dropped assumption", "beta is free", LARGER, given=(la.SETTING, la.AT_LEAST)),
        ),
    ),
    SumOfSquares(
        "equality_space",
        "(t^2 - 1) sigma^2 |y|^2 <= ||M w||^2 - sigma^2 ||w||^2, M = X + t sigma L R^T, w = Q x + R y: W0 is span Q.",
        (t**2 - 1) * sigma**2 * square(y),
        square(TURNED @ (Q @ x + R @ y)) - sigma**2 * (square(x) + square(y)),
        proof=[1 * Square(CX.T @ x)],
        given=(LEFT, RIGHT, ON_SIGMA),
        mutants=(
            mutant("sign", "(t^2 + 1)", lhs=(t**2 + 1) * sigma**2 * square(y)),
            mutant("constant", "2 t^2 - 1", lhs=(2 * t**2 - 1) * sigma**2 * square(y)),
            dropped(ON_SIGMA),
        ),
    ),
    Identity(
        "equality_distance",
        "X = sigma P Q^T, X* = t sigma L R^T, r = t^2 k: ||X - X*||^2 = 2 ||X*||^2.",
        square(sigma * P @ Q.T - t * sigma * L @ R.T),
        2 * square(t * sigma * L @ R.T),
        given=(RATIO, LEFT, RIGHT),
        mutants=(
            mutant("constant", "3 ||X*||^2", rhs=3 * square(t * sigma * L @ R.T)),
            mutant("sign", "-2 ||X*||^2", rhs=-2 * square(t * sigma * L @ R.T)),
            dropped(RATIO),
        ),
    ),
)

PROSE = {
    "the decompositions of X and X*_perp exist, and W0 (see lemma_a)": (
        "perpendicular_values",
        "pairing",
        "annulus_inner",
    ),
    "rank X is r, where the first of these checks applies, or less than r, where the second does": (
        "global_minimum",
        "rank_deficient",
    ),
    "non-negative numbers with the sum 0 are all 0": ("equality",),
    "then W0 is span Q, on which |X w| = sigma |w| and X* w = 0, and X* = M off it: the X and X* of the equality": (
        "equality",
        "equality_space",
        "equality_distance",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(la.THEOREM,), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("theorem_a", THEOREM))
