"""The rank of the minimizer, from a point whose gap is known.

Statement
---------
f convex with beta-Lipschitz gradient, F = f + lam ||.||_*, X* any minimizer, G = grad f(X), G* = grad f(X*),
gap >= F(X) - F(X*).

1. ||G - G*||_F^2 <= 2 beta gap. In particular all minimizers have the same gradient G*.
2. rank X* <= #{i : sigma_i(G) >= lam - sqrt(2 beta gap)}.
3. sigma_{k+1}(G) <= ||G - K||_2 for every K of rank at most k: if that is below lam - sqrt(2 beta gap), rank X* <= k.
4. 1 and with it 2 and 3 hold for ||G - G*||_2 and any beta with f(Y) <= f(X) + <G, Y - X> + (beta/2)||Y - X||^2 at
   all Y = X + t u v^T: a bound of the curvature along matrices of rank one.
5. If f(X) >= f(X*) + <G*, X - X*> + (alpha/2) ||X - X*||_F^2, then ||X - X*||_F^2 <= 2 gap/alpha and
   rank X* >= #{i : sigma_i(X) > sqrt(2 gap/alpha)}.

Assumptions
-----------
f convex and differentiable with beta-Lipschitz gradient, beta > 0, lam > 0; for 4 its bound in place of that, and u, v
the top singular pair of G - G*; for 5 strong convexity with alpha > 0.

Source
------
Beyond the paper. 1 is the cocoercivity of gradients (Nesterov, Lectures on Convex Optimization, theorem 2.1.5). The
use of it is that of safe screening: Ndiaye, Fercoq, Gramfort, Salmon, "Gap Safe Screening Rules", JMLR 2017.

Idea
----
1: compare f at Y = X - (G - G*)/beta from above (at X) and from below (at X*). The nuclear norm only adds to the gap,
because -G*/lam is one of its subgradients at X*. 2: by Watson's form of that subgradient, sigma_i(G*) = lam for
i <= rank X*, and singular values move by at most ||G - G*||_2. 4: as 1, at Y = X - (c/beta) u v^T with
c = u^T (G - G*) v, the largest singular value.

Checks
------
cocoercivity : PROVED
gradient_distance : PROVED
rank_one_cocoercivity : PROVED
rank_one_distance : PROVED
singular_values : PROVED
rank_one_values : PROVED
tail : PROVED
point_distance : PROVED
kept_values : PROVED

Used by
-------
lorasolve/certificates/gap.py, lorasolve/certificates/ranks.py, lorasolve/studies/lam_path.py,
lorasolve/studies/rank_choice.py
"""

from sympy import Rational

from lorasolve.symbolic import (
    Inequality,
    Theorem,
    dims,
    dropped,
    hypothesis,
    inner,
    matrix,
    mutant,
    named,
    orthonormal,
    run_module,
    scalars,
    square,
    tr,
    vector,
)
from proofs.facts import (
    DISTANCE,
    FROBENIUS,
    NUCLEAR_IS,
    NUCLEAR_SUBDIFFERENTIAL,
    OPERATOR_NORM,
    RANK_AT_LEAST,
    RANK_BELOW,
    SPECTRAL_IS,
    SUBGRADIENT,
    VALUE_AT_LEAST,
    VALUE_AT_MOST,
    WEYL,
)

m, n = dims("m n")
X, XS, G, GS = (matrix(name, m, n) for name in ("X", "Xstar", "G", "Gstar"))
alpha, beta, lam = scalars("alpha beta lambda")
f, f_star, f_y = scalars("f f_star f_Y", real=True)
nuc, nuc_star = scalars("nu nu_star", nonnegative=True)

D = G - GS
Y = X - D / beta
GAP = (f + lam * nuc) - (f_star + lam * nuc_star)

FROM_BELOW = hypothesis("f(Y) >= f(X*) + <G*, Y - X*>", f_star + inner(GS, Y - XS), f_y)
FROM_ABOVE = hypothesis(
    "f(Y) <= f(X) + <G, Y - X> + (beta/2)||Y - X||^2", f_y, f + inner(G, Y - X) + beta * square(Y - X) / 2
)
# -G* is lam times a subgradient of the nuclear norm at X*, because X* minimises F.
# lam times it says lam ||X||_* >= lam ||X*||_* - <G*, X - X*>.
AT_MINIMIZER = NUCLEAR_SUBDIFFERENTIAL.instance(
    "subgradient", SUBGRADIENT(-1 / lam * GS, 1, XS), NUCLEAR_IS(XS, nuc_star), NUCLEAR_IS(X, nuc)
)
STRONG = hypothesis("strong convexity", f_star + inner(GS, X - XS) + alpha * square(X - XS) / 2, f)

# Singular values: s_i = sigma_i(G), t_i = sigma_i(G*), moved = ||G - G*||_2, reach >= ||G - G*||_F.
i, k = dims("i k")
s, t, moved, far, rest = scalars("s t p d e", nonnegative=True)
reach = scalars("q")
# The larger one of two values, which is not 0.
s_above, t_above = scalars("s t")
WEYL_G = WEYL.instance("moved", VALUE_AT_LEAST(i, GS, t_above), VALUE_AT_MOST(i, G, s), DISTANCE(GS, G, moved))
NORMS_G, NORMS_X = (
    OPERATOR_NORM.instance("frobenius", SPECTRAL_IS(difference, moved), FROBENIUS(difference, far))
    for difference in (GS - G, X - XS)
)
REACH = hypothesis("||.||_F <= q", far, reach)
# ||.||_2 <= q, from q^2 - p^2 = (q^2 - d^2) + (d^2 - p^2).
NEAR_G, NEAR_X = ([norms / (reach + moved), (reach + far) / (reach + moved) * REACH] for norms in (NORMS_G, NORMS_X))
AT_LAM = NUCLEAR_SUBDIFFERENTIAL.instance(
    "values", SUBGRADIENT(-1 * GS, lam, XS), RANK_AT_LEAST(XS, i), VALUE_AT_MOST(i, -1 * GS, t_above)
)

# How far f rises above its tangent at X*, and right sides that are none of ||G - G*||_F^2 and ||G - G*||_2^2.
RISE = f - f_star - inner(GS, X - XS)
u, v = vector("u", m), vector("v", n)
g, g_star = scalars("g g_star", real=True)
# x^2/2 at 1, whose minimizer is 0: everything is tight.
PARABOLA = {G: [[1]], GS: [[0]], X: [[1]], XS: [[0]], u: [[1]], v: [[1]], g: 1, g_star: 0}
PARABOLA |= {beta: 1, f: "1/2", f_star: 0, f_y: 0, lam: 1, nuc: 1, nuc_star: 1}
NEARLY_TWO = Rational(19, 10)
WRONG_RISES = (
    mutant("constant", "1.9 beta", PARABOLA, rhs=NEARLY_TWO * beta * RISE),
    mutant("sign", "+ <G*, X - X*>", rhs=2 * beta * (f - f_star + inner(GS, X - XS))),
    mutant("swapped symbols", "<G, X - X*>", rhs=2 * beta * (f - f_star - inner(G, X - XS))),
)
WRONG_GAPS = (
    mutant("constant", "1.9 beta", PARABOLA, rhs=NEARLY_TWO * beta * GAP),
    mutant("sign", "F(X*) - F(X)", rhs=-2 * beta * GAP),
)

cocoercivity = Inequality(
    "cocoercivity",
    "||G - G*||^2 <= 2 beta (f(X) - f(X*) - <G*, X - X*>).",
    square(D),
    2 * beta * RISE,
    proof=[2 * beta * FROM_BELOW, 2 * beta * FROM_ABOVE],
    mutants=(
        *WRONG_RISES,
        dropped(FROM_BELOW),
        dropped(FROM_ABOVE),
    ),
)
gradient_distance = Inequality(
    "gradient_distance",
    "||G - G*||^2 <= 2 beta (F(X) - F(X*)).",
    square(D),
    2 * beta * GAP,
    proof=[cocoercivity.conclusion(), 2 * beta * lam * AT_MINIMIZER],
    under=(cocoercivity,),
    mutants=(
        *WRONG_GAPS,
        dropped(AT_MINIMIZER),
    ),
)
along = g - g_star
Y_ONE = X - along / beta * u @ v.T
PAIRINGS = (named(g, tr(u.T @ G @ v)), named(g_star, tr(u.T @ GS @ v)))
UNIT_U, UNIT_V = orthonormal(u), orthonormal(v)
RANK_ONE = (UNIT_U, UNIT_V, *PAIRINGS)
ONE_FROM_BELOW = hypothesis("f(Y) >= f(X*) + <G*, Y - X*>", f_star + inner(GS, Y_ONE - XS), f_y)
ONE_FROM_ABOVE = hypothesis(
    "f(Y) <= f(X) + <G, Y - X> + (beta/2)||Y - X||^2", f_y, f + inner(G, Y_ONE - X) + beta * square(Y_ONE - X) / 2
)
rank_one_cocoercivity = Inequality(
    "rank_one_cocoercivity",
    "(u^T (G - G*) v)^2 <= 2 beta (f(X) - f(X*) - <G*, X - X*>).",
    along**2,
    2 * beta * RISE,
    given=RANK_ONE,
    proof=[2 * beta * ONE_FROM_BELOW, 2 * beta * ONE_FROM_ABOVE],
    mutants=(
        *WRONG_RISES,
        dropped(ONE_FROM_BELOW),
        dropped(ONE_FROM_ABOVE),
        dropped(UNIT_U),
        dropped(UNIT_V),
    ),
)
rank_one_distance = Inequality(
    "rank_one_distance",
    "(u^T (G - G*) v)^2 <= 2 beta (F(X) - F(X*)).",
    along**2,
    2 * beta * GAP,
    proof=[rank_one_cocoercivity.conclusion(), 2 * beta * lam * AT_MINIMIZER],
    under=(rank_one_cocoercivity,),
    mutants=(
        *WRONG_GAPS,
        dropped(AT_MINIMIZER),
    ),
)
singular_values = Inequality(
    "singular_values",
    "sigma_i(G) >= lam - q for i <= rank X* and q >= ||G - G*||_F: at most #{sigma_i(G) >= lam - q} such i.",
    lam - reach,
    s,
    proof=[AT_LAM, WEYL_G, *NEAR_G],
    mutants=(
        mutant("constant", "lam - q/2", {lam: 2, t_above: 2, s: 1, moved: 1, far: 1, reach: 1}, lhs=lam - reach / 2),
        mutant("sign", "lam + q", {lam: 1, t_above: 1, s: 1, moved: 1, far: 1, reach: 1}, lhs=lam + reach),
        dropped(REACH, {lam: 2, t_above: 2, s: 1, moved: 1, far: 1, reach: "1/2"}),
        dropped(AT_LAM),
    ),
)
REACH_2 = hypothesis("||.||_2 <= q", moved, reach)
rank_one_values = Inequality(
    "rank_one_values",
    "sigma_i(G) >= lam - q for i <= rank X* and q >= ||G - G*||_2.",
    lam - reach,
    s,
    proof=[AT_LAM, WEYL_G, REACH_2],
    mutants=(
        mutant("constant", "lam - q/2", {lam: 2, t_above: 2, s: 1, moved: 1, reach: 1}, lhs=lam - reach / 2),
        mutant("sign", "lam + q", {lam: 1, t_above: 1, s: 1, moved: 1, reach: 1}, lhs=lam + reach),
        dropped(REACH_2, {lam: 2, t_above: 2, s: 1, moved: 1, reach: "1/2"}),
        dropped(AT_LAM),
        dropped(WEYL_G),
    ),
)
K = matrix("K", m, n)
TAIL = WEYL.instance("rank_deficient", VALUE_AT_LEAST(k + 1, G, s_above), RANK_BELOW(K, k + 1), DISTANCE(G, K, rest))
tail = Inequality(
    "tail",
    "sigma_{k+1}(G) <= ||G - K||_2 for K of rank at most k.",
    s_above,
    rest,
    proof=[TAIL],
    mutants=(
        mutant("constant", "half of it", {s_above: 1, rest: 1}, rhs=rest / 2),
        dropped(TAIL, {s_above: 2, rest: 1}),
    ),
)
point_distance = Inequality(
    "point_distance",
    "(alpha/2) ||X - X*||^2 <= F(X) - F(X*).",
    alpha * square(X - XS) / 2,
    GAP,
    proof=[STRONG, lam * AT_MINIMIZER],
    mutants=(
        mutant(
            "constant",
            "alpha, not alpha/2",
            {X: [[1]], XS: [[0]], GS: [[0]], alpha: 1, f: "1/2", f_star: 0, lam: 1, nuc: 0, nuc_star: 0},
            lhs=alpha * square(X - XS),
        ),
        mutant("sign", "F(X*) - F(X)", rhs=-GAP),
        dropped(STRONG),
        dropped(AT_MINIMIZER),
    ),
)
WEYL_X = WEYL.instance("moved", VALUE_AT_LEAST(i, X, s_above), VALUE_AT_MOST(i, XS, t), DISTANCE(X, XS, moved))
kept_values = Inequality(
    "kept_values",
    "sigma_i(X*) >= sigma_i(X) - q for q >= ||X - X*||_F: positive where sigma_i(X) > q.",
    s_above - reach,
    t,
    proof=[WEYL_X, *NEAR_X],
    mutants=(
        mutant("constant", "q/2", {s_above: "9/8", t: "1/8", moved: 1, far: 1, reach: 1}, lhs=s_above - reach / 2),
        mutant("sign", "sigma_i(X) + q", {s_above: 1, t: 1, moved: 1, far: 1, reach: 1}, lhs=s_above + reach),
        dropped(WEYL_X),
        dropped(REACH),
    ),
)

CHECKS = (
    cocoercivity,
    gradient_distance,
    rank_one_cocoercivity,
    rank_one_distance,
    singular_values,
    rank_one_values,
    tail,
    point_distance,
    kept_values,
)

PROSE = {
    "counting the indices i for which the inequality holds": ("singular_values", "rank_one_values", "kept_values"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("rank_certificate", THEOREM))
