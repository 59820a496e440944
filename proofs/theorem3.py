"""Approximately low-rank minimizers, with explicit constants.

Statement
---------
Let X0 minimize F exactly (any rank), X* have rank r* <= r, delta = ||X* - X0||_F, nu = ||X* - X0||_*. Let (A, B) be a
second-order stationary point, X = A B^T, o = ||X - X0||_F, d = ||X - X*||_F, and for r* >= 1, which is meant in all
parts but the last, c = 2 alpha sigma_{r*}(X)/(beta sigma_r(X)).

0. ||Pi_{r*}(X) - X||_F^2 <= d^2 - c o^2 + 2 sigma_{r*}(X) nu; and if rank X < r then X = X0.
1. If c >= 1 + eps (in particular if 2 alpha >= beta (1 + eps)),
   o^2 <= (2/eps)(1 + 2/eps) delta^2 + (2 (1 + eps)/eps)(beta/alpha) sigma_r(X) nu.
   So o <= eps as soon as delta^2 <= eps^4/(4 eps + 8) and (beta/alpha) sigma_r(X) nu <= eps^3/(4 (1 + eps)).
2. If o > eps and sqrt(r*) delta + nu <= sqrt(r*) eps then sigma_r(X) >= alpha eps/(2 beta sqrt(r*)).
3. (c - 1) o^2 - 2 delta o + ||X - Pi_{r*}(X)||_F^2 - delta^2 - 2 sigma_{r*}(X) nu <= 0: for c > 1 an upper, for c <
   1 a lower bound on o.
4. If c < 1, d >= sqrt( (||X - Pi_{r*}(X)||_F^2 - 2 sigma_{r*}(X) nu)/(1 - c) ) - c delta/(1 - c), where the root is
   real.
5. If r* = 0, that is X* = 0, then o^2 <= (beta/alpha) sigma_r(X) nu.

Compared with the paper (eps-global if delta = o(eps^3), sigma_r >= alpha eps/(2 beta sqrt(r)), slacks eps^3 and
eps^2): 1 gives the order eps^3 and its constants; 2 holds with r* in place of r, which is stronger; 4 has the slacks
2 sigma_{r*} nu and c delta/(1 - c), which are at most eps^3 and eps^2 only if also c delta <= (1 - c) eps^2. A slack
that does not depend on 1 - c does not follow by this argument: the mutants give numbers.

Assumptions
-----------
<grad f(X) - grad f(X0), X - X0> >= alpha ||X - X0||_F^2, alpha > 0 (restricted strong convexity about the exact
minimizer X0), and restricted smoothness at X with beta; lam > 0, or lam = 0 after rebalancing.

Source
------
Kim, Kim, Ryu, ICML 2025, theorem 3. The constants are derived here.

Idea
----
Theorem 1's argument with X* in the approximation step and X0 in the convexity step. The two differ by <X* - X0, Z>,
which norm duality bounds by nu ||Z||_2; kappa ||Z||_2 <= sigma_{r*} turns it into 2 sigma_{r*} nu.

Checks
------
pairing : PROVED
master : PROVED
rank_deficient : PROVED
numbers : PROVED
young : PROVED
special_distance : PROVED
special_constant : PROVED
special_tolerance : PROVED
perpendicular_pairing : PROVED
perpendicular_rank : PROVED
perpendicular_norm : PROVED
perpendicular_bound : PROVED
singular_value_bound : PROVED
quadratic : PROVED
distance : PROVED
minimizer_near_zero : PROVED

Used by
-------
lorasolve/landscape/judge.py, lorasolve/landscape/theorems.py
"""

import sympy

from lorasolve.symbolic import (
    Identity,
    Inequality,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    annihilated,
    define,
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
    zeros,
)
from lorasolve.symbolic.substitution import substituted
from proofs import theorem1 as t1
from proofs.facts import DUAL_NORM, FROBENIUS, MONOTONICITY, NUCLEAR, NUCLEAR_IS, ROOT_RANK, SPECTRAL, SUBGRADIENT

m, n, k = t1.m, t1.n, t1.k
alpha, beta, kappa, sigma_star, sigma_r = t1.alpha, t1.beta, t1.kappa, t1.sigma_star, t1.sigma_r
(delta, nu), (z, eps, theta) = scalars("delta nu", nonnegative=True), scalars("z epsilon theta")
X, TOP, XS, Z = t1.X, t1.TOP, t1.XS, t1.Z
X0, G, G0, g, g0 = (matrix(name, m, n) for name in ("X0", "G", "G0", "g", "g0"))

RSC = hypothesis("restricted strong convexity about X0", alpha * square(X - X0), inner(G - G0, X - X0))
MONOTONE = MONOTONICITY.instance("monotone", SUBGRADIENT(g, t1.lam, X, by=t1.OF_ITS_FORM), SUBGRADIENT(g0, t1.lam, X0))
DUAL = DUAL_NORM.instance("pairing", SPECTRAL(Z, z), NUCLEAR(XS - X0, nu))
SCALE = t1.truncation_scale.conclusion(kappa * z, sigma_star, where={kappa: sigma_star / (beta * sigma_r)})
AT_X = (define(Z, G + g), define(g0, -1 * G0))

THIRD = sympy.Rational(1, 3)
# X = -10 in one dimension, far from X0 = 1/2.
AWAY: Values = {t1.P1: [[1]], t1.Sigma1: [[-10]], t1.Q1: [[1]], t1.P2: [[0]], t1.Sigma2: [[0]], t1.Q2: [[0]]}
AWAY |= {XS: [[1]], X0: [["1/2"]], G: [[-4]], g: [[-2]], Z: [[-6]], G0: [[1]], g0: [[-1]], nu: 4, z: 1, alpha: THIRD}

pairing = Inequality(
    "pairing",
    "<X* - X, Z> <= -alpha o^2 + nu ||Z||_2.",
    inner(XS - X, Z),
    -alpha * square(X - X0) + nu * z,
    proof=[RSC, MONOTONE, DUAL],
    given=AT_X,
    paper="6 theorem 3, special regime",
    mutants=(
        mutant("sign", "-nu ||Z||_2", rhs=-alpha * square(X - X0) - nu * z),
        mutant("constant", "-2 alpha o^2", AWAY, rhs=-2 * alpha * square(X - X0) + nu * z),
        mutant(
            "constant",
            "-1.1 alpha o^2",
            {**t1.STRAIGHT, X0: [[1]], XS: [["101/100"]], G0: [[-1]], g0: [[1]], nu: "1/100", z: 1},
            rhs=-sympy.Rational(11, 10) * alpha * square(X - X0) + nu * z,
        ),
        dropped(RSC),
        dropped(DUAL),
    ),
)
PAIRING = pairing.conclusion()
# x* = x = 0 in one dimension, o = 1: everything is tight.
ORIGIN = {**t1.POINT_AT_ZERO, XS: [[1]], X0: [[1]], Z: [["-2/5"]], nu: "1/100", z: "2/5", sigma_star: "2/5"}
# The point is the minimizer: X = X0 = 1.
AT_MINIMUM = {**t1.AT_MINIMUM, X0: [[1]], G: [[0]], G0: [[0]], g: [[0]], g0: [[0]]}

master = Inequality(
    "master",
    "||Pi_{r*}(X) - X||^2 <= d^2 - 2 kappa alpha o^2 + 2 sigma_{r*} nu.",
    square(TOP - X),
    square(XS - X) - 2 * kappa * alpha * square(X - X0) + 2 * sigma_star * nu,
    proof=[t1.BEST_KNOWN, 2 * kappa * PAIRING, 2 * nu * SCALE],
    under=(t1.best_approximation, t1.truncation_scale, pairing),
    paper="6 theorem 3, special regime",
    mutants=(
        mutant(
            "constant",
            "2.2 kappa alpha o^2",
            {**ORIGIN, alpha: "101/200", Z: [["-1/2"]], z: "1/2", sigma_star: "1/2"},
            rhs=square(XS - X) - sympy.Rational(11, 5) * kappa * alpha * square(X - X0) + 2 * sigma_star * nu,
        ),
        mutant(
            "constant",
            "2.1 kappa alpha o^2",
            {**t1.TIE, X0: t1.TIE[XS], alpha: "101/300", nu: "1/100", z: 1, sigma_star: 1},
            rhs=square(XS - X) - sympy.Rational(21, 10) * kappa * alpha * square(X - X0) + 2 * sigma_star * nu,
        ),
        mutant("sign", "-d^2", rhs=-square(XS - X) - 2 * kappa * alpha * square(X - X0) + 2 * sigma_star * nu),
        dropped(PAIRING),
    ),
)

# From here on numbers: T = ||Pi - X||^2, d2 = d^2, o2 = o^2, delta2 = delta^2, c = 2 kappa alpha.
T, d, o, d2, o2, delta2, more = scalars("T d o d_2 o_2 delta_2 h", nonnegative=True)
b, root = scalars("b rho")
c, y, y_perp = scalars("c y y_perp", real=True)
nu_perp = scalars("nu_perp", nonnegative=True)
DISTANCES = {d2: square(X - XS), o2: square(X - X0)}
numbers = Inequality(
    "numbers",
    "Check master in numbers.",
    T,
    d2 - c * o2 + 2 * sigma_star * nu,
    proof=[
        master.conclusion(
            T,
            d2 - c * o2 + 2 * sigma_star * nu,
            where={T: square(TOP - X), d2: square(XS - X), o2: square(X - X0), c: 2 * kappa * alpha},
        )
    ],
    under=(master,),
    paper="6 theorem 3, special regime",
    mutants=(
        mutant(
            "constant",
            "1.9 nu",
            {T: 2, d2: 0, o2: 0, c: 1, sigma_star: 1, nu: 1},
            rhs=d2 - c * o2 + 2 * t1.LESS * sigma_star * nu,
        ),
        mutant("sign", "+ c o^2", {T: 0, d2: 0, o2: 2, c: -1, sigma_star: 1, nu: 1}, rhs=d2 + c * o2 - nu),
    ),
)
MASTER = numbers.conclusion()
young = SumOfSquares(
    "young",
    "||X - X*||^2 <= (1 + theta) ||X - X0||^2 + (1 + 1/theta) ||X0 - X*||^2.",
    square(X - XS),
    (1 + theta) * square(X - X0) + (1 + 1 / theta) * square(X0 - XS),
    proof=[1 / theta * Square(theta * (X - X0) - (X0 - XS))],
    paper="6 theorem 3, special regime",
    mutants=(
        mutant(
            "constant",
            "0.95 theta in the first factor",
            {**AWAY, t1.Sigma1: [[2]], X0: [[1]], XS: [[0]], theta: 1},
            rhs=(1 + t1.LESS * theta) * square(X - X0) + (1 + 1 / theta) * square(X0 - XS),
        ),
        mutant("sign", "1 - 1/theta", rhs=(1 + theta) * square(X - X0) + (1 - 1 / theta) * square(X0 - XS)),
    ),
)
YOUNG = young.conclusion(
    d2,
    (1 + eps / 2) * o2 + (1 + 2 / eps) * delta2,
    where={**DISTANCES, delta2: square(X0 - XS)},
    put={theta: eps / 2},
)
NEAR = hypothesis("||X0 - X*|| <= delta", delta2, delta**2)
BOUND = (1 + 2 / eps) * delta**2 + 2 * sigma_star * nu
SMALL_DELTA = hypothesis("small delta", delta**2, eps**4 / (4 * eps + 8))
SMALL_NU = hypothesis("small nu", 4 * (1 + eps) / (eps * (1 + eps + more)) * sigma_star * nu, eps**2 / 2)
AT_TOLERANCE = {o2: "3/4", eps: 1, delta: "1/4", more: 0, c: 2, sigma_star: 1, nu: "1/8"}
LARGE_C = define(c, 1 + eps + more)

special_distance = Inequality(
    "special_distance",
    "c = 1 + eps + h, h >= 0: (c eps/(2 (1 + eps))) o^2 <= (1 + 2/eps) delta^2 + 2 sigma_{r*} nu.",
    c * eps / (2 * (1 + eps)) * o2,
    BOUND,
    proof=[MASTER, YOUNG, (1 + 2 / eps) * NEAR, T, more * (2 + eps) / (2 * (1 + eps)) * o2],
    under=(numbers, young),
    given=(LARGE_C,),
    paper="6 theorem 3, special regime",
    mutants=(
        mutant(
            "constant",
            "c eps/(1.9 (1 + eps))",
            {T: 0, d2: "39/4", o2: 6, eps: 1, more: 0, c: 2, delta: "1/2", delta2: "1/4", sigma_star: 1, nu: "9/8"},
            lhs=c * eps / (2 * t1.LESS * (1 + eps)) * o2,
        ),
        mutant(
            "sign",
            "c = 1 - eps/2",
            {T: 0, d2: 10, o2: 10, eps: 1, more: 0, c: "1/2", delta: "1/100", delta2: 0, sigma_star: 1, nu: "1/100"},
            given=(define(c, 1 - eps / 2),),
        ),
        dropped(MASTER),
    ),
)
# The part of X* off the singular vectors of X; here P, Q are the singular vectors P1, P2 and Q1, Q2 together.
P, Q, Sigma = matrix("P", m, k), matrix("Q", n, k), matrix("Sigma", k, k, symmetric=True)
E = matrix("E", m, n)
P_ORTH, Q_ORTH = orthonormal(P), orthonormal(Q)
PERP = (eye(m) - P @ P.T) @ E @ (eye(n) - Q @ Q.T)
Z_OFF = annihilated(Z, left=(P,), right=(Q,))

perpendicular_pairing = Identity(
    "perpendicular_pairing",
    "<E, Z> = <PERP(E), Z>: only the part of E off the singular vectors of X counts.",
    inner(E, Z),
    inner(PERP, Z),
    given=(Z_OFF,),
    paper="6 theorem 3, generic regime",
    mutants=(
        mutant("sign", "-<PERP, Z>", rhs=-inner(PERP, Z)),
        mutant("constant", "2 <PERP, Z>", rhs=2 * inner(PERP, Z)),
        dropped(Z_OFF),
    ),
)
perpendicular_rank = Identity(
    "perpendicular_rank",
    "PERP(X - X*) = -PERP(X*), because PERP(X) = 0: its rank is at most r*.",
    (eye(m) - P @ P.T) @ (P @ Sigma @ Q.T - XS) @ (eye(n) - Q @ Q.T),
    -(eye(m) - P @ P.T) @ XS @ (eye(n) - Q @ Q.T),
    given=(P_ORTH,),
    paper="6 theorem 3, generic regime",
    mutants=(
        mutant("sign", "+PERP(X*)", rhs=(eye(m) - P @ P.T) @ XS @ (eye(n) - Q @ Q.T)),
        mutant("constant", "2 PERP(X*)", rhs=-2 * (eye(m) - P @ P.T) @ XS @ (eye(n) - Q @ Q.T)),
        dropped(P_ORTH, {P: [[2]], Q: [[2]], Sigma: [[1]], XS: [[0]]}),
    ),
)
perpendicular_norm = SumOfSquares(
    "perpendicular_norm",
    "||PERP(E)||_F <= ||E||_F.",
    square(PERP),
    square(E),
    proof=[1 * Square(P.T @ E), 1 * Square(E @ Q - P @ P.T @ E @ Q)],
    given=(P_ORTH, Q_ORTH),
    paper="6 theorem 3, generic regime",
    mutants=(
        mutant(
            "constant",
            "0.95 ||E||^2",
            {P: [[1], [0]], Q: [[1], [0]], E: [[0, 0], [0, 1]]},
            rhs=t1.LESS * square(E),
        ),
        mutant("sign", "||PERP|| >= ||E||", lhs=square(E), rhs=square(PERP)),
        dropped(P_ORTH, {P: [[2]], Q: [[1], [0]], E: [[0, 1]]}),
    ),
)
# y = <X - X*, Z>, y_perp its part with PERP, nu_perp = ||PERP||_*.
STEP = pairing.conclusion(-y, -alpha * o2 + nu * z, where={y: inner(X - XS, Z), o2: square(X - X0)})
Y_PERP = {y_perp: substituted(inner(PERP, Z), {E: X - XS})}
OFF = perpendicular_pairing.conclusion(y, y_perp, where={y: inner(X - XS, Z), **Y_PERP}, put={E: X - XS})
PERP_AT = substituted(PERP, {E: X - XS})
W_DUAL = DUAL_NORM.instance("pairing", SPECTRAL(Z, z), NUCLEAR(PERP_AT, nu_perp), lhs=y_perp, where=Y_PERP)
SPREAD = DUAL_NORM.instance(
    "nuclear_below_frobenius",
    NUCLEAR_IS(PERP_AT, nu_perp),
    ROOT_RANK(PERP_AT, root, by=(perpendicular_rank,)),
    FROBENIUS(PERP_AT, d, by=(perpendicular_norm,)),
)
Z_NORM = t1.multiplier_norm.conclusion(z, beta * sigma_r, put={t1.s: t1.lam + z})
HALVES = {
    o2: 1, d: "1/2", alpha: 1, beta: 1, sigma_r: 1, root: 1, nu: "1/2", z: 1, y: "1/2", y_perp: "1/2", nu_perp: "1/2",
}  # fmt: skip
perpendicular_bound = Inequality(
    "perpendicular_bound",
    "alpha o^2 <= beta sigma_r (sqrt(r*) d + nu), rho = sqrt(r*).",
    alpha * o2,
    beta * sigma_r * (root * d + nu),
    proof=[STEP, 1 * OFF, W_DUAL, z * SPREAD, (root * d + nu) * Z_NORM],
    under=(pairing, perpendicular_pairing, t1.multiplier_norm),
    paper="6 theorem 3, generic regime",
    mutants=(
        mutant(
            "constant",
            "0.9 beta sigma_r",
            {
                o2: 1,
                d: "3/4",
                alpha: 1,
                beta: 1,
                sigma_r: 1,
                root: 1,
                nu: "1/4",
                z: 1,
                y: "3/4",
                y_perp: "3/4",
                nu_perp: "3/4",
            },
            rhs=sympy.Rational(9, 10) * beta * sigma_r * (root * d + nu),
        ),
        mutant("sign", "- nu", HALVES, rhs=beta * sigma_r * (root * d - nu)),
        dropped(
            W_DUAL,
            {o2: 10, d: 1, alpha: 1, beta: 1, sigma_r: 1, root: 1, nu: 1, z: 1, y: 10, y_perp: 10, nu_perp: 1},
        ),
        dropped(STEP),
    ),
)
# o where it is at least eps.
away = scalars("o")
PERPENDICULAR = perpendicular_bound.conclusion(put={o2: away**2})
TRIANGLE, TRIANGLE_AWAY = (hypothesis("d <= o + delta", d, far + delta) for far in (o, away))
SMALL = hypothesis("sqrt(r*) delta + nu <= sqrt(r*) eps", root * delta + nu, root * eps)
FAR = hypothesis("o >= eps", eps, away)

MASTER_O = numbers.conclusion(put={d2: d**2, o2: o**2})
MASTER_B = numbers.conclusion(put={d2: d**2, o2: o**2, c: 1 - b})
POSITIVE_C = hypothesis("0 <= c = 1 - b", 0, 1 - b)
BEYOND = hypothesis("delta <= o + d", delta, o + d)
RIGHT = b * (d + (1 - b) * delta / b) ** 2
NEAR_ZERO = pairing.conclusion(put={XS: zeros(m, n)})
# X = 0, X0 of norm one.
ONE_AWAY = {**t1.AT_ZERO, X0: [[1, 0], [0, 0]], beta: 1, sigma_r: 1, nu: 1, z: 1}

CHECKS = (
    pairing,
    master,
    Inequality(
        "rank_deficient",
        "If rank X < r then Z = 0 and alpha ||X - X0||^2 <= 0: X is the exact minimizer.",
        alpha * square(X - X0),
        0,
        proof=[RSC, MONOTONE],
        given=(define(g, -1 * G), define(g0, -1 * G0)),
        paper="6 theorem 3, generic regime",
        mutants=(
            mutant("sign", "g = +G", given=(define(g, G), define(g0, -1 * G0))),
            mutant("constant", "at most -1", AT_MINIMUM, rhs=-1),
            dropped(RSC),
        ),
    ),
    numbers,
    young,
    special_distance,
    Identity(
        "special_constant",
        "With c = 2 alpha sigma_{r*}/(beta sigma_r) the nu term is (2 (1 + eps)/eps)(beta/alpha) sigma_r nu.",
        2 * (1 + eps) / (c * eps) * 2 * sigma_star * nu,
        2 * (1 + eps) / eps * beta / alpha * sigma_r * nu,
        given=(define(c, 2 * alpha * sigma_star / (beta * sigma_r)),),
        paper="6 theorem 3, special regime",
        mutants=(
            mutant("constant", "(1 + eps)/eps", rhs=(1 + eps) / eps * beta / alpha * sigma_r * nu),
            mutant("swapped symbols", "alpha/beta", rhs=2 * (1 + eps) / eps * alpha / beta * sigma_r * nu),
            mutant("constant", "c half as large", given=(define(c, alpha * sigma_star / (beta * sigma_r)),)),
        ),
    ),
    Inequality(
        "special_tolerance",
        "o^2 <= eps^2 if delta^2 <= eps^4/(4 eps + 8) and (2 (1 + eps)/(c eps)) 2 sigma_{r*} nu <= eps^2/2.",
        o2,
        eps**2,
        proof=[
            2 * (1 + eps) / (eps * (1 + eps + more)) * special_distance.conclusion(),
            2 * (1 + eps) / (eps * (1 + eps + more)) * (1 + 2 / eps) * SMALL_DELTA,
            SMALL_NU,
            eps**2 / 2 * more / (1 + eps + more),
        ],
        given=(LARGE_C,),
        under=(special_distance,),
        paper="6 theorem 3, special regime",
        mutants=(
            mutant(
                "constant",
                "0.9 eps^2",
                {**AT_TOLERANCE, o2: "49/50", delta: "2/7"},
                rhs=sympy.Rational(9, 10) * eps**2,
            ),
            dropped(SMALL_NU, {**AT_TOLERANCE, nu: 1, o2: 4}),
        ),
    ),
    perpendicular_pairing,
    perpendicular_rank,
    perpendicular_norm,
    perpendicular_bound,
    Inequality(
        "singular_value_bound",
        "alpha o <= 2 sqrt(r*) beta sigma_r, hence sigma_r >= alpha o/(2 beta sqrt(r*)) > alpha eps/(2 beta sqrt(r*)).",
        alpha * away,
        2 * root * beta * sigma_r,
        proof=[
            part / away
            for part in (
                1 * PERPENDICULAR,
                beta * sigma_r * root * TRIANGLE_AWAY,
                beta * sigma_r * SMALL,
                beta * sigma_r * root * FAR,
            )
        ],
        under=(perpendicular_bound,),
        paper="6 theorem 3, generic regime",
        mutants=(
            mutant(
                "constant",
                "1.9 sqrt(r*)",
                {away: 1, d: "3/2", eps: 1, delta: "1/2", nu: "1/2", root: 1, alpha: 1, beta: 1, sigma_r: "1/2"},
                rhs=2 * t1.LESS * root * beta * sigma_r,
            ),
            mutant("sign", "-2 sqrt(r*)", rhs=-2 * root * beta * sigma_r),
            dropped(SMALL),
            dropped(
                TRIANGLE_AWAY,
                {away: 1, d: 100, eps: 1, delta: "1/2", nu: "1/2", root: 1, alpha: 100, beta: 1, sigma_r: 1},
            ),
            dropped(
                FAR,
                {away: "1/10", d: "3/5", eps: 1, delta: "1/2", nu: "1/2", root: 1, alpha: 100, beta: 1, sigma_r: 1},
            ),
        ),
    ),
    Inequality(
        "quadratic",
        "(c - 1) o^2 - 2 delta o + T - delta^2 - 2 sigma_{r*} nu <= 0, from check master and d <= o + delta.",
        (c - 1) * o**2 - 2 * delta * o + T - delta**2 - 2 * sigma_star * nu,
        0,
        proof=[
            MASTER_O,
            (o + delta + d) * TRIANGLE,
        ],
        under=(numbers,),
        paper="6 theorem 3, generic regime",
        mutants=(
            mutant(
                "constant",
                "-1.9 delta o",
                {T: 4, c: "1/4", o: 1, d: 2, delta: 1, sigma_star: 1, nu: "1/8"},
                lhs=(c - 1) * o**2 - 2 * t1.LESS * delta * o + T - delta**2 - 2 * sigma_star * nu,
            ),
            mutant(
                "sign",
                "(1 - c) o^2",
                {T: 4, c: "1/4", o: 1, d: 2, delta: 1, sigma_star: 1, nu: "1/8"},
                lhs=(1 - c) * o**2 - 2 * delta * o + T - delta**2 - 2 * sigma_star * nu,
            ),
            dropped(TRIANGLE),
        ),
    ),
    Inequality(
        "distance",
        "b = 1 - c > 0: T - 2 sigma_{r*} nu <= b (d + c delta/b)^2.",
        T - 2 * sigma_star * nu,
        RIGHT,
        proof=[
            MASTER_B,
            POSITIVE_C * TRIANGLE * BEYOND,
            1 / b * Square((1 - b) * delta),
            delta**2 * POSITIVE_C,
        ],
        under=(numbers,),
        paper="6 theorem 3, generic regime",
        mutants=(
            mutant(
                "constant",
                "slack delta instead of c delta/(1 - c)",
                {T: 3, sigma_star: 1, nu: "1/100", b: "1/100", d: 2, delta: 1, o: 1},
                rhs=b * (d + delta) ** 2,
            ),
            mutant("sign", "-c delta/b", rhs=b * (d - (1 - b) * delta / b) ** 2),
            mutant(
                "constant",
                "0.9 c delta/(1 - c)",
                {T: "1488/25", sigma_star: 1, nu: "1/100", b: "1/2", d: 10, delta: 1, o: 9},
                rhs=b * (d + sympy.Rational(9, 10) * (1 - b) * delta / b) ** 2,
            ),
            dropped(MASTER_B),
        ),
    ),
    Inequality(
        "minimizer_near_zero",
        "r* = 0: <X, Z> = 0 leaves alpha o^2 <= nu ||Z||_2 <= beta sigma_r nu.",
        alpha * square(X - X0),
        beta * sigma_r * nu,
        proof=[NEAR_ZERO, nu * Z_NORM],
        under=(pairing, t1.multiplier_norm),
        given=(t1.Z_OFF,),
        paper="6 theorem 3, generic regime",
        mutants=(
            mutant("constant", "0.95 beta sigma_r nu", ONE_AWAY, rhs=t1.LESS * beta * sigma_r * nu),
            mutant("sign", "-beta sigma_r nu", ONE_AWAY, rhs=-beta * sigma_r * nu),
            dropped(NEAR_ZERO, {**ONE_AWAY, alpha: 2}),
            dropped(Z_NORM, {**ONE_AWAY, z: 2, alpha: 2}),
        ),
    ),
)

PROSE = {
    "what theorem 1 leaves in prose on Z and the truncation": ("pairing", "master", "perpendicular_pairing"),
    "the triangle inequality between o, d and delta": ("quadratic", "distance"),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(t1.THEOREM,), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("theorem3", THEOREM))
