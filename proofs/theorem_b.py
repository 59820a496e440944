"""A special regime with two constants: curvature on rank r + r*, and smoothness at the point.

Statement
---------
t = sqrt(r/r*). Let X be a second-order stationary point, X* a minimizer of F of rank r* <= r, and on the matrices Y
whose columns and rows lie in those of X and X* (all of rank at most r + r*)

    alpha ||Y||_F^2 <= hess f(X* + s (X - X*))[Y, Y] <= beta ||Y||_F^2    for 0 <= s <= 1,

0 < alpha <= beta, and hess f(X)[D, D] <= beta2 ||D||_F^2 for the directions D = p_r v^T - u q_r^T of
`escape_direction`. If

    beta2 (beta - alpha) < 2 alpha beta t

then X = X*, for every lam >= 0 (if r* = 0, without this condition); f need be neither quadratic nor convex. beta2 =
beta: beta < (1 + 2 t) alpha, the sharp constant of fully conditioned f. beta -> infinity: Theorem A, beta2 < 2 alpha
t. For quadratic f with restricted smoothness beta2 on all rank-2 matrices, beta - alpha <= p (beta2 - alpha), p =
ceil((r + r*)/2), so that X = X* if c = beta2/alpha has c^2 - (1 + 2 t) c + 2 t (1 - 1/p) < 0. `theorem_b_sharp` shows
that neither constant can be improved.

Assumptions
-----------
As above; alpha and beta are bounds on rank up to r + r*, more than the restricted constants of the paper; only beta2
is one of those. Pc, Pr project on the columns and the rows of X and X*. The decompositions
are those of `lemma_a`, with T2 = sigma D D^T, C C^T + D D^T = I, which says that the small values are at most sigma.

Source
------
Beyond the paper. The case beta2 = beta: R. Y. Zhang, 2021, SIAM J. Optim. 2024.

Idea
----
Compress the gradient to T first, then soft-threshold: Z = (S - lam)_+ has <Z, g - gstar> <= 0. Co-coercivity of H on
T gives alpha beta ||E||^2 + ||Z||^2 + (alpha + beta) <Z, X*> <= 0. With zeta_i = -u_i^T Z v_i and Lemma A' this is a
sum over the singular values of X*_perp, each term of which is positive.

Checks
------
compression : PROVED
compression_right : PROVED
compression_contracts : PROVED
soft_threshold : PROVED
softened : PROVED
cocoercive : PROVED
expansion : PROVED
master : PROVED
bessel : PROVED
pairing : PROVED
zeta_contracts : PROVED
values_below : PROVED
values : PROVED
block_bound : PROVED
theorem : PROVED
threshold : PROVED
one_constant : PROVED
no_upper_constant : PROVED
no_perpendicular : PROVED
pieces : PROVED
whole_space : PROVED

Used by
-------
lorasolve/landscape/judge.py, lorasolve/landscape/regimes.py, lorasolve/landscape/theorems.py
"""

from collections.abc import Callable
from fractions import Fraction
from random import Random

from lorasolve.symbolic import (
    Form,
    Identity,
    Inequality,
    ScalarCheck,
    ScalarExpr,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    annihilated,
    assume,
    define,
    dims,
    dropped,
    equation,
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
from lorasolve.symbolic.evaluate import evaluate
from proofs import lemma_a as la
from proofs import theorem_a as ta
from proofs.facts import DUAL_NORM, MONOTONICITY, NUCLEAR, OPERATOR_NORM, SPECTRAL, SUBGRADIENT

m, n, r, k, k1, k2 = dims("m n r k k1 k2")
alpha, beta, beta2, spread, p = scalars("alpha beta beta_2 x p")
lam = scalars("lambda", nonnegative=True)
t, sigma = la.t, la.sigma
X, XS, L1, L2, R1, R2, T1, T2 = la.X, la.XS, la.L1, la.L2, la.R1, la.R2, la.T1, la.T2
E, DISTANCE = X - XS, la.DISTANCE
Z, g, gs, nu = ta.Z, ta.g, ta.gs, scalars("nu_Z", real=True)
h = g - gs
# The subgradient at X* as lam times one of ||.||_*, so that lam may be 0.
K = matrix("K", m, n)
SCALED = define(gs, lam * K)


def with_pairing(name: str, other: str, target: ScalarExpr) -> Callable[[Values, Random], None]:
    """Return what adds a multiple of one matrix to another so that their inner product is as given."""

    def impose(values: Values, rng: Random) -> None:
        fixed = values[other]
        length = ra.inner(fixed, fixed)
        if length == 0:
            raise ra.Unfit("zero")
        missing = (evaluate(target, values) - ra.inner(fixed, values[name])) / length
        values[name] = ra.add(values[name], fixed, missing)

    return impose


def _shares(values: Values, rng: Random) -> None:
    """Choose C and D as orthogonal matrices in the proportion 3 : 4."""
    size = len(values["D2"])
    values["D2"] = ra.scale(Fraction(4, 5), ra.random_orthogonal(rng, size))
    values["C2"] = ra.scale(Fraction(3, 5), ra.random_orthogonal(rng, size))


NONE = inner(zeros(m, n), zeros(m, n))

# Compression: Pc P = P and Pr Q = Q, so the structure of the gradient survives it.
P, Q, S = matrix("P", m, k), matrix("Q", n, k), matrix("S", m, n)
Pc, Pr = matrix("Pc", m, m, symmetric=True), matrix("Pr", n, n, symmetric=True)
b, w = scalars("b"), vector("w", n)
STRETCH = OPERATOR_NORM.instance("product", SPECTRAL(S, b), W=Pr @ w)


def _projectors(values: Values, rng: Random) -> None:
    """Choose projectors whose range contains the columns of P, of Q."""
    for name, columns in (("Pc", "P"), ("Pr", "Q")):
        kept, rows = values[columns], len(values[columns])
        spare = [[ra.random_fraction(rng)] for _ in range(rows)]
        off = ra.multiply(ra.complement(kept), spare)
        whole = kept if all(entry == 0 for (entry,) in off) else ra.hstack(kept, off)
        values[name] = ra.add(ra.identity(rows), ra.complement(whole), -1)


P_ORTHONORMAL, Q_ORTHONORMAL = orthonormal(P), orthonormal(Q)
S_OFF = annihilated(S, left=(P,), right=(Q,))
CONTAIN = assume(
    "Pc P = P, Pr Q = Q, Pc^2 = Pc, Pr^2 = Pr",
    (Pc @ P, P),
    (Pr @ Q, Q),
    (Pc @ Pc, Pc),
    (Pr @ Pr, Pr),
    impose=_projectors,
)

# Soft threshold: the compressed S is L (lam I + W) R^T + S0, with S0 the part of values up to lam.
L, R, W, S0 = matrix("L", m, k), matrix("R", n, k), matrix("W", k, k, symmetric=True), matrix("S0", m, n)
UP, VP = matrix("P", m, r), matrix("Q", n, r)
LEFT, RIGHT = orthonormal(UP, L), orthonormal(VP, R)
S0_OFF = annihilated(S0, left=(L,), right=(R,))
SOFT = L @ W @ R.T
x, L_ONE, R_ONE = vector("x", k), orthonormal(L), orthonormal(R)
STRETCH_Z = OPERATOR_NORM.instance("product", SPECTRAL(Z, b), W=R @ x)
GRADIENT = -lam * UP @ VP.T + L @ (lam * eye(k) + W) @ R.T + S0

soft_threshold = Identity(
    "soft_threshold",
    "Z = L W R^T, g = Z - G: <Z, g> = -lam tr W = -lam ||Z||_*; and <Z, gstar> >= -lam ||Z||_* by norm duality.",
    inner(SOFT, SOFT - GRADIENT),
    -lam * tr(W),
    given=(LEFT, RIGHT, S0_OFF),
    mutants=(
        mutant("sign", "+lam tr W", rhs=lam * tr(W)),
        mutant("constant", "-2 lam tr W", rhs=-2 * lam * tr(W)),
        dropped(S0_OFF),
    ),
)
# Co-coercivity of a form H between alpha and beta = alpha + x on T, where D = H E: <D, Y> = H[E, Y] for Y in T.
STEP, SLOPE, H = matrix("E", m, n), matrix("D", m, n), Form("H", m, n)
BETA = define(beta, alpha + spread)
UPPER_PART, LOWER_PART = (alpha + spread) * STEP - SLOPE, SLOPE - alpha * STEP
ALONG_STEP = equation("<D, E> = H[E, E]", inner(SLOPE, STEP), H(STEP, STEP))
ALONG_SLOPE = equation("||D||^2 = H[E, D]", square(SLOPE), H(STEP, SLOPE))
ABOVE = hypothesis("alpha <= H at beta E - D", alpha * square(UPPER_PART), H(UPPER_PART, UPPER_PART))
BELOW = hypothesis("H <= beta at D - alpha E", H(LOWER_PART, LOWER_PART), (alpha + spread) * square(LOWER_PART))
cocoercive = Inequality(
    "cocoercive",
    "0 <= <D - alpha E, beta E - D> for D = H E, alpha <= H <= beta = alpha + x.",
    0,
    inner(LOWER_PART, UPPER_PART),
    proof=[ABOVE / spread, BELOW / spread, -(2 * alpha + spread) * ALONG_STEP, 2 * ALONG_SLOPE],
    mutants=(
        mutant("sign", "<= 0", lhs=inner(LOWER_PART, UPPER_PART), rhs=0),
        mutant("constant", "at least 1", lhs=1),
        dropped(ABOVE),
        dropped(BELOW, {STEP: [[1]], SLOPE: [[3]], H: [(3, [[1]])], alpha: 1, spread: 1}),
    ),
)

# The main inequality. D_G = Z - h on T.
SHORT_SLOPE = {Z: [[1]], g: [[-1]], gs: [["-1/2"]], K: [["-1/2"]], lam: 1, nu: 1}
COERCIVE = cocoercive.conclusion(put={STEP: E, SLOPE: Z - h})
MONOTONE = MONOTONICITY.instance("monotone", SUBGRADIENT(g, lam, X), SUBGRADIENT(gs, lam, XS))
softened = Inequality(
    "softened",
    "<Z, g - gstar> <= 0: <Z, g> = -lam ||Z||_*, and -lam ||Z||_* <= <Z, gstar> by norm duality, gstar = lam K.",
    inner(Z, h),
    0,
    proof=[
        1 * soft_threshold.conclusion(inner(Z, g), -lam * nu, where={Z: SOFT, g: SOFT - GRADIENT, nu: tr(W)}),
        lam * DUAL_NORM.instance("pairing_below", SPECTRAL(K, 1), NUCLEAR(Z, nu)),
    ],
    under=(soft_threshold,),
    given=(SCALED,),
    mutants=(
        mutant("sign", "the reverse", SHORT_SLOPE, lhs=0, rhs=inner(Z, h)),
        mutant("constant", "<Z, g>/2", {**SHORT_SLOPE, gs: [[-1]], K: [[-1]]}, lhs=inner(Z, g / 2 - gs)),
    ),
)
SOFTENED = softened.conclusion()
OFF = assume("<Z, X> = 0", (inner(Z, X), 0), impose=with_pairing("X", "Z", NONE))
MASTER = alpha * beta * DISTANCE + square(Z) + (alpha + beta) * inner(Z, XS)
master = Inequality(
    "master",
    "alpha beta ||E||^2 + ||Z||^2 + (alpha + beta) <Z, X*> <= 0.",
    MASTER,
    0,
    proof=[COERCIVE, (alpha + beta) * MONOTONE, 2 * SOFTENED, 1 * Square(h)],
    under=(cocoercive, softened),
    given=(BETA, OFF),
    mutants=(
        mutant("constant", "2 ||Z||^2", lhs=alpha * beta * DISTANCE + 2 * square(Z) + (alpha + beta) * inner(Z, XS)),
        mutant("sign", "- <Z, X*>", lhs=alpha * beta * DISTANCE + square(Z) - (alpha + beta) * inner(Z, XS)),
        dropped(COERCIVE),
        dropped(MONOTONE),
    ),
)
zeta1, zeta2 = matrix("zeta1", k1, k1), matrix("zeta2", k2, k2)
ZETA = (define(zeta1, -1 * L1.T @ Z @ R1), define(zeta2, -1 * L2.T @ Z @ R2))
bessel = SumOfSquares(
    "bessel",
    "||zeta1||^2 + ||zeta2||^2 <= ||Z||^2 for zeta_l = -L_l^T Z R_l.",
    square(zeta1) + square(zeta2),
    square(Z),
    proof=[1 * Square(Z + L1 @ zeta1 @ R1.T + L2 @ zeta2 @ R2.T)],
    given=(ta.L_ORTHONORMAL, ta.R_ORTHONORMAL, *ZETA),
    mutants=(
        mutant("constant", "2 ||zeta1||^2", lhs=2 * square(zeta1) + square(zeta2)),
        mutant("sign", "||Z||^2 <= ||zeta1||^2 + ||zeta2||^2", lhs=square(Z), rhs=square(zeta1) + square(zeta2)),
        dropped(ta.L_ORTHONORMAL),
    ),
)
PAIRS = inner(T1, zeta1) + inner(T2, zeta2)
MET = assume(
    "-<Z, X*> = <T1, zeta1> + <T2, zeta2> (check pairing)",
    (inner(Z, XS), -1 * PAIRS),
    impose=with_pairing("Xstar", "Z", -1 * PAIRS),
)
VALUES = alpha * beta * DISTANCE + square(zeta1) + square(zeta2) - (alpha + beta) * PAIRS
values_below = Inequality(
    "values_below",
    "alpha beta ||E||^2 + sum zeta_i^2 - (alpha + beta) sum tau_i zeta_i is at most the left side of check master.",
    VALUES,
    MASTER,
    proof=[bessel.conclusion()],
    under=(bessel,),
    given=(MET,),
    mutants=(
        mutant("constant", "2 zeta1^2", lhs=VALUES + square(zeta1)),
        mutant("sign", "+ (alpha + beta)", lhs=VALUES + 2 * (alpha + beta) * PAIRS),
        dropped(bessel.conclusion()),
    ),
)
BALANCE = {
    X: [[0]], XS: [[1]], Z: [[-1]], zeta1: [[1]], T1: [[1]], zeta2: [[0]], T2: [[0]], alpha: 1, beta: 1,
}  # fmt: skip
values = Inequality(
    "values",
    "alpha beta ||E||^2 + sum zeta_i^2 - (alpha + beta) sum tau_i zeta_i <= 0.",
    VALUES,
    0,
    proof=[master.conclusion(), values_below.conclusion()],
    under=(master, values_below),
    mutants=(
        mutant("constant", "2 zeta1^2", BALANCE, lhs=VALUES + square(zeta1)),
        mutant("sign", "+ (alpha + beta)", lhs=VALUES + 2 * (alpha + beta) * PAIRS),
        dropped(values_below.conclusion()),
    ),
)
C, D = matrix("C2", k2, k2), matrix("D2", k2, k2)
SHARES = (assume("C C^T + D D^T = I", (C @ C.T, eye(k2) - D @ D.T), impose=_shares), define(T2, sigma * D @ D.T))
SHORT_1 = OPERATOR_NORM.instance("product", SPECTRAL(zeta1, beta2 * sigma), W=eye(k1))
SHORT_2 = OPERATOR_NORM.instance("product", SPECTRAL(zeta2.T, beta2 * sigma), W=D)
# Numbers of a spurious point at beta2 (beta - alpha) = 8 > 6, with r = r* = 2; and the minimizer itself.
SPURIOUS = {
    X: [["149/50"]], XS: [[0]], T1: [["8/3"]], zeta1: [[4]], T2: [["9/25"]], zeta2: [["18/25"]], D: [["3/5"]],
    C: [["4/5"]], sigma: 1, t: 1, alpha: 1, beta: 3, beta2: 4,
}  # fmt: skip
# beta2 (beta - alpha) = 2 alpha beta t: one value of 2 sigma at zeta = beta2 sigma, one of 0.
TIGHT = {**SPURIOUS, X: [[1, 2]], XS: [[0, 0]], T1: [[2]], zeta1: [[3]], T2: [[0]], zeta2: [[0]], D: [[0]], C: [[1]]}
TIGHT |= {beta2: 3}
# One value of sigma among the small ones, at zeta = 2 sigma, where beta2 = 1 allows sigma.
ONE_SMALL = {X: [[1, 1, 1]], XS: [[0, 0, 0]], T1: [[0]], zeta1: [[0]], T2: [[1]], zeta2: [[2]], D: [[1]], C: [[0]]}
ONE_SMALL |= {beta2: 1}
SAME = {X: [[0]], XS: [[0]], Z: [[0]], g: [[0]], gs: [[0]], lam: 1, alpha: 1, beta: 1}
half = (alpha + beta) / (2 * alpha * beta)
excess = (beta - alpha) ** 2 / (4 * alpha * beta)
DECISIVE = sigma**2 * ((2 * alpha * beta * t) ** 2 - ((beta - alpha) * beta2) ** 2) / (4 * alpha * beta)
AT_LEAST_ONE = la.AT_LEAST_ONE
block_bound = Inequality(
    "block_bound",
    "sigma^2 ((2 alpha beta t)^2 - ((beta - alpha) beta2)^2)/(4 alpha beta) (k1 + ||D||^2) is at most the sum in check "
    "values: each singular value contributes a positive term.",
    DECISIVE * (k1 + square(D)),
    VALUES,
    proof=[
        alpha * beta * la.per_value.conclusion(),
        alpha * beta * Square(T1 - half * zeta1),
        alpha * beta * sigma**2 * (t + 1) * AT_LEAST_ONE * Square(C),
        1 * Square(C.T @ zeta2),
        alpha * beta * Square(sigma * D.T - half * D.T @ zeta2),
        excess * SHORT_1,
        excess * SHORT_2,
    ],
    under=(la.per_value,),
    given=SHARES,
    mutants=(
        mutant(
            "constant",
            "2.1 alpha beta t",
            TIGHT,
            lhs=(DECISIVE + 41 * alpha * beta * t**2 * sigma**2 / 400) * (k1 + square(D)),
        ),
        mutant("sign", "minus the sum", SPURIOUS, lhs=-VALUES, rhs=DECISIVE),
        dropped(la.per_value.conclusion()),
        dropped(AT_LEAST_ONE, {**TIGHT, X: [["1/2", "1/2"]], T1: [[1]], zeta1: [["3/2"]], t: "1/2", beta2: "3/2"}),
        dropped(SHORT_1, {**TIGHT, X: [[4, 1]], T1: [[4]], zeta1: [[6]]}),
        dropped(SHORT_2, {**TIGHT, **ONE_SMALL}),
    ),
)
theorem = Inequality(
    "theorem",
    "sigma^2 ((2 alpha beta t)^2 - ((beta - alpha) beta2)^2) (k1 + ||D||^2) <= 0: no singular value is left.",
    DECISIVE * (k1 + square(D)),
    0,
    proof=[block_bound.conclusion(), values.conclusion()],
    under=(block_bound, values),
    mutants=(
        mutant(
            "constant",
            "2.1 alpha beta t",
            TIGHT,
            lhs=(DECISIVE + 41 * alpha * beta * t**2 * sigma**2 / 400) * (k1 + square(D)),
        ),
        mutant("sign", "the other sign", SPURIOUS, lhs=-DECISIVE * (k1 + square(D))),
        dropped(values.conclusion()),
    ),
)
hess, Y1, Y2 = Form("hess", m, n), matrix("Y1", m, n), matrix("Y2", m, n)
# Y1 is a sum of j pieces of rank 2, and Y2 is one more.
many = scalars("j")
ACROSS = Y1 - many * Y2
APART = hypothesis("(hess - alpha)[Y1 - j Y2] >= 0", alpha * square(ACROSS), hess(ACROSS, ACROSS))
SUM_SO_FAR = hypothesis(
    "(hess - alpha)[Y1] <= j (beta2 - alpha) ||Y1||^2",
    hess(Y1, Y1) - alpha * square(Y1),
    many * (beta2 - alpha) * square(Y1),
)
ONE_MORE = hypothesis("hess[Y2] <= beta2 ||Y2||^2", hess(Y2, Y2), beta2 * square(Y2))
STEEP_ACROSS = {many: 1, alpha: 1, beta2: 2, hess: [("1/2", [[-2], [2]])], Y1: [[-1], [0]], Y2: [[0], [4]]}
# Pieces that cancel along the first axis, and a curvature that lies across.
CANCELLING = {**STEEP_ACROSS, hess: [(1, [[1], [0]]), (1, [[0], [1]]), (4, [["1/2"], [1]])]}
CANCELLING |= {Y1: [[1], [0]], Y2: [[-1], [1]]}
PIECES = assume("<Y1, Y2> = 0", (inner(Y1, Y2), 0), impose=with_pairing("Y2", "Y1", NONE))

CHECKS = (
    Identity(
        "compression",
        "P^T (Pc S Pr) = 0 if P^T S = 0: the compressed gradient is -lam P Q^T + Pc S Pr, off P and Q.",
        P.T @ (Pc @ (S - lam * P @ Q.T) @ Pr),
        -lam * Q.T,
        given=(P_ORTHONORMAL, S_OFF, CONTAIN),
        mutants=(
            mutant("sign", "+lam Q^T", rhs=lam * Q.T),
            mutant("constant", "-2 lam Q^T", rhs=-2 * lam * Q.T),
            dropped(CONTAIN),
        ),
    ),
    Identity(
        "compression_right",
        "(Pc S Pr) Q = 0 if S Q = 0: the same on the other side.",
        Pc @ (S - lam * P @ Q.T) @ Pr @ Q,
        -lam * P,
        given=(Q_ORTHONORMAL, S_OFF, CONTAIN),
        mutants=(
            mutant("sign", "+lam P", rhs=lam * P),
            mutant("constant", "-2 lam P", rhs=-2 * lam * P),
            dropped(CONTAIN),
        ),
    ),
    Inequality(
        "compression_contracts",
        "|Pc S Pr w| <= b |w| where ||S||_2 <= b: compression does not lengthen.",
        square(Pc @ S @ Pr @ w),
        b**2 * square(w),
        proof=[1 * Square(S @ Pr @ w - Pc @ S @ Pr @ w), STRETCH, b**2 * Square(w - Pr @ w)],
        given=(CONTAIN,),
        mutants=(
            mutant(
                "constant",
                "9/10 of it",
                {P: [[1]], Q: [[1]], Pc: [[1]], Pr: [[1]], S: [[1]], w: [[1]], b: 1},
                rhs=9 * b**2 * square(w) / 10,
            ),
            mutant("sign", "the reverse", lhs=b**2 * square(w), rhs=square(Pc @ S @ Pr @ w)),
            dropped(CONTAIN),
            dropped(STRETCH),
        ),
    ),
    soft_threshold,
    softened,
    cocoercive,
    Identity(
        "expansion",
        "The pairing is (alpha + beta) <Z - h, E> - ||Z||^2 - alpha beta ||E||^2 + 2 <Z, h> - ||h||^2.",
        inner(Z - h - alpha * E, beta * E - Z + h),
        (alpha + beta) * (inner(Z, E) - inner(E, h))
        - square(Z)
        - alpha * beta * DISTANCE
        + 2 * inner(Z, h)
        - square(h),
        mutants=(
            mutant("sign", "+ ||h||^2", lhs=inner(Z - h - alpha * E, beta * E - Z + h) + 2 * square(h)),
            mutant(
                "constant", "2 alpha beta", lhs=inner(Z - h - alpha * E, beta * E - Z + h) - alpha * beta * DISTANCE
            ),
        ),
    ),
    master,
    bessel,
    Identity(
        "pairing",
        "-<Z, X*_perp> = <T1, zeta1> + <T2, zeta2>.",
        -inner(Z, ta.PERP),
        PAIRS,
        given=ZETA,
        mutants=(
            mutant("sign", "<T1, zeta1> - <T2, zeta2>", rhs=inner(T1, zeta1) - inner(T2, zeta2)),
            mutant("constant", "twice", rhs=2 * PAIRS),
        ),
    ),
    Inequality(
        "zeta_contracts",
        "|L^T Z R w| <= b |w| where ||Z||_2 <= b: the zeta_l are no longer than Z.",
        square(L.T @ Z @ R @ x),
        b**2 * square(x),
        proof=[1 * Square(Z @ R @ x - L @ L.T @ Z @ R @ x), STRETCH_Z],
        given=(L_ONE, R_ONE),
        mutants=(
            mutant(
                "constant",
                "9/10 of it",
                {L: [[1]], R: [[1]], Z: [[1]], x: [[1]], b: 1},
                rhs=9 * b**2 * square(x) / 10,
            ),
            mutant("sign", "the reverse", lhs=b**2 * square(x), rhs=square(L.T @ Z @ R @ x)),
            dropped(L_ONE, {L: [[2]], R: [[1]], Z: [[1]], x: [[1]], b: 1}),
            dropped(R_ONE, {L: [[1]], R: [[2]], Z: [[1]], x: [[1]], b: 1}),
            dropped(STRETCH_Z),
        ),
    ),
    values_below,
    values,
    block_bound,
    theorem,
    ScalarCheck(
        "threshold",
        "The factor is positive exactly if beta2 (beta - alpha) < 2 alpha beta t.",
        (2 * alpha * beta * t) ** 2 - ((beta - alpha) * beta2) ** 2,
        (2 * alpha * beta * t - (beta - alpha) * beta2) * (2 * alpha * beta * t + (beta - alpha) * beta2),
        mutants=(
            mutant("constant", "alpha beta t", lhs=(alpha * beta * t) ** 2 - ((beta - alpha) * beta2) ** 2),
            mutant("sign", "(beta + alpha)", lhs=(2 * alpha * beta * t) ** 2 - ((beta + alpha) * beta2) ** 2),
        ),
    ),
    ScalarCheck(
        "one_constant",
        "beta2 = beta: 2 alpha beta t - (beta - alpha) beta = beta ((1 + 2 t) alpha - beta).",
        2 * alpha * beta * t - (beta - alpha) * beta,
        beta * ((1 + 2 * t) * alpha - beta),
        mutants=(
            mutant("constant", "1 + t", rhs=beta * ((1 + t) * alpha - beta)),
            mutant("sign", "2 t - 1", rhs=beta * ((2 * t - 1) * alpha - beta)),
        ),
    ),
    ScalarCheck(
        "no_upper_constant",
        "The factor over beta is 2 alpha t - beta2 + alpha beta2/beta: Theorem A for beta -> oo.",
        (2 * alpha * beta * t - (beta - alpha) * beta2) / beta,
        2 * alpha * t - beta2 + alpha * beta2 / beta,
        mutants=(
            mutant("constant", "alpha t", rhs=alpha * t - beta2 + alpha * beta2 / beta),
            mutant("sign", "- alpha beta2/beta", rhs=2 * alpha * t - beta2 - alpha * beta2 / beta),
        ),
    ),
    Inequality(
        "no_perpendicular",
        "<Z, X*> = 0 (no singular value, or rank X < r): alpha beta ||E||^2 <= 0, X = X*.",
        alpha * beta * DISTANCE,
        0,
        proof=[master.conclusion(), 1 * Square(Z)],
        under=(master,),
        given=(assume("<Z, X*> = 0", (inner(Z, XS), 0), impose=with_pairing("Xstar", "Z", NONE)),),
        mutants=(
            mutant("sign", "at least 1", SAME, lhs=1, rhs=alpha * beta * DISTANCE),
            mutant("constant", "at most -1", SAME, rhs=-1),
            dropped(master.conclusion()),
        ),
    ),
    Inequality(
        "pieces",
        "From j orthogonal pieces of rank 2 to j + 1: (hess - alpha)[Y1 + Y2] <= (j + 1)(beta2 - alpha) ||Y1 + Y2||^2.",
        hess(Y1 + Y2, Y1 + Y2) - alpha * square(Y1 + Y2),
        (many + 1) * (beta2 - alpha) * square(Y1 + Y2),
        proof=[APART / many, (1 + 1 / many) * SUM_SO_FAR, (many + 1) * ONE_MORE],
        given=(PIECES,),
        mutants=(
            mutant("constant", "j (beta2 - alpha)", STEEP_ACROSS, rhs=many * (beta2 - alpha) * square(Y1 + Y2)),
            mutant("sign", "(j - 1)(beta2 - alpha)", STEEP_ACROSS, rhs=(many - 1) * (beta2 - alpha) * square(Y1 + Y2)),
            dropped(PIECES, CANCELLING),
            dropped(SUM_SO_FAR),
        ),
    ),
    ScalarCheck(
        "whole_space",
        "beta - 1 = p (c - 1), alpha = 1: c (beta - 1) - 2 beta t = p (c^2 - (1 + 2 t) c + 2 t (1 - 1/p)).",
        beta2 * p * (beta2 - 1) - 2 * (1 + p * (beta2 - 1)) * t,
        p * (beta2**2 - (1 + 2 * t) * beta2 + 2 * t * (1 - 1 / p)),
        mutants=(
            mutant("constant", "1 + t", rhs=p * (beta2**2 - (1 + t) * beta2 + 2 * t * (1 - 1 / p))),
            mutant("sign", "1 + 1/p", rhs=p * (beta2**2 - (1 + 2 * t) * beta2 + 2 * t * (1 + 1 / p))),
        ),
    ),
)

PROSE = {
    "the mean value Pc (grad f(X) - grad f(X*)) Pr = H E, where H inherits the bounds as an average; beta = alpha is "
    "covered by larger beta, because the condition is strict": (
        "cocoercive",
        "master",
    ),
    "the same at X*, of which Pc and Pr contain the columns and the rows too: gstar is what is left of -grad f(X*)": (
        "compression",
        "compression_right",
        "compression_contracts",
    ),
    "the decompositions of lemma_a, and of the compressed S at the level lam": (
        "soft_threshold",
        "pairing",
        "block_bound",
    ),
    "||Z||_2 <= beta2 sigma, because ||S||_2 <= lam + beta2 sigma, and so for the zeta_l": (
        "compression_contracts",
        "soft_threshold",
        "zeta_contracts",
    ),
    "rank X is r, or less than r with Z = 0; every singular value of X*_perp is at least sigma or smaller": (
        "theorem",
        "no_perpendicular",
    ),
    "the induction over the orthogonal pieces of rank 2": ("pieces",),
    "the condition says 1/alpha - 1/beta < 2 t/beta2, so that it holds for every beta below one for which it does": (
        "whole_space",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(la.THEOREM,), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("theorem_b", THEOREM))
