"""A sharper special regime when the LoRA rank exceeds the rank of the minimizer.

Statement
---------
Lemma A. rank X = r, rank X* = r* <= r; X*_perp = (I - P P^T) X* (I - Q Q^T) with P, Q the singular vectors of X,
k = rank X*_perp >= 1, tau = ||X*_perp||_*, a = r - r*, sigma = sigma_r(X). Then

    ||X - X*||_F^2 >= 2 sqrt((a + k)/k) sigma tau >= 2 sqrt(r/r*) sigma tau.

Theorem A. In the setting of `theorem1`, if beta/alpha < 2 sqrt(r/r*), every second-order stationary point in the
ball is global. A spurious one has, with c = beta/alpha and t = tau/(k sigma): either t >= 1 and k t^2 - c k t + (a +
k) <= 0, or t < 1 and t >= a/((c - 2) k). Also ||X - X*||_F <= c sqrt(r*) sigma_r(X), and
sigma_r(X) <= ||X - X*||_F if r > r*: an annulus.

Assumptions
-----------
Those of theorem 1; Lemma A needs none of them.

Source
------
Beyond the paper; the special regime of theorem 1 is the case r = r*. The idea of comparing X* with X + mu Z goes
back to the rank-one counterexamples of Zhang, Sojoudi, Lavaei, JMLR 2019.

Idea
----
Let Z be the partial isometry with <X*, Z> = tau, orthogonal to X. Eckart-Young for X + mu Z, whose singular values
are those of X and k times mu, gives ||X - X*||^2 - 2 mu tau + mu^2 k >= (a + k) sigma^2 for every mu >= sigma. Choose
mu = tau/k or mu = sigma. At a second-order stationary point, steps 3 and 6 of theorem 1 give
alpha ||X - X*||^2 <= beta sigma tau, because X has no part in the complement.

Checks
------
shift_expansion : PROVED
shift_gram : PROVED
counting : PROVED
case_large : PROVED
case_small : PROVED
rank_ratio : PROVED
upper_bound : PROVED
theorem : PROVED
perpendicular_zero : PROVED
annulus_inner : PROVED
annulus : PROVED
ratio_large : PROVED
ratio_small : PROVED

Used by
-------
lorasolve/landscape/judge.py, lorasolve/landscape/regimes.py, lorasolve/landscape/theorems.py
"""

from lorasolve.symbolic import (
    Identity,
    Inequality,
    Premise,
    ScalarCheck,
    Square,
    Theorem,
    by_fact,
    define,
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
)
from proofs import theorem1 as t1
from proofs.facts import DUAL_NORM, ECKART_YOUNG, OPERATOR_NORM, WEYL

m, n, r, k = dims("m n r k")
tau, mu, sigma, omega, kk, alpha, beta = scalars("tau mu sigma omega k alpha beta")
P, Q, ZL, ZR = matrix("P", m, r), matrix("Q", n, r), matrix("ZL", m, k), matrix("ZR", n, k)
Sigma, XS = matrix("Sigma", r, r, symmetric=True), matrix("Xstar", m, n)
X, Z = P @ Sigma @ Q.T, ZL @ ZR.T

LEFT, RIGHT = orthonormal(P, ZL), orthonormal(Q, ZR)
# Here of any sign; from case_large on tau is a norm.
pairing = scalars("tau", real=True)
PAIRING = named(pairing, inner(XS, Z))

# Numbers: omega = sqrt((a + k)/k), so a + k = omega^2 k; d2 = ||X - X*||^2.
d2, low, t, surplus, w = scalars("d_2 s t y w", nonnegative=True)
c, root, a = scalars("c rho a")
TAIL = (omega**2) * kk * sigma**2
SHIFTED = by_fact(
    ECKART_YOUNG, "tail of X + mu Z <= ||X + mu Z - X*||^2, mu >= sigma", TAIL, d2 - 2 * mu * tau + mu**2 * kk
)
LARGE, SMALL = hypothesis("tau >= k sigma", kk * sigma, tau), hypothesis("tau <= k sigma", tau, kk * sigma)
AT_RATIO, AT_SIGMA = define(mu, tau / kk), define(mu, sigma)
OMEGA_MIN = hypothesis("omega >= 1", 1, omega)

case_large = Inequality(
    "case_large",
    "tau >= k sigma, mu = tau/k: ||X - X*||^2 >= (a + k) sigma^2 + tau^2/k >= 2 omega sigma tau.",
    2 * omega * sigma * tau,
    d2,
    proof=[SHIFTED, 1 / kk * Square(kk * omega * sigma - tau)],
    given=(AT_RATIO,),
    mutants=(
        mutant(
            "constant",
            "3 omega sigma tau",
            {d2: 2, tau: 1, sigma: 1, omega: 1, kk: 1, mu: 1},
            lhs=3 * omega * sigma * tau,
        ),
        mutant(
            "constant",
            "2 omega^2 sigma tau",
            {d2: 8, tau: 2, sigma: 1, omega: 2, kk: 1, mu: 2},
            lhs=2 * omega**3 * sigma * tau,
        ),
        dropped(SHIFTED),
    ),
)
case_small = Inequality(
    "case_small",
    "tau <= k sigma, mu = sigma: ||X - X*||^2 >= a sigma^2 + 2 sigma tau >= 2 omega sigma tau.",
    2 * omega * sigma * tau,
    d2,
    proof=[
        SHIFTED,
        sigma**2 * kk * Square(omega - 1),
        2 * sigma * OMEGA_MIN * SMALL,
    ],
    given=(AT_SIGMA,),
    mutants=(
        mutant(
            "constant",
            "3 omega sigma tau",
            {d2: 2, tau: 1, sigma: 1, omega: 1, kk: 1, mu: 1},
            lhs=3 * omega * sigma * tau,
        ),
        dropped(OMEGA_MIN, {d2: "1/4", tau: "1/2", sigma: 1, omega: "1/2", kk: 1, mu: 1}),
        dropped(SMALL, {d2: 13, tau: 5, sigma: 1, omega: 2, kk: 1, mu: 1}),
        dropped(SHIFTED),
    ),
)

# At a second-order stationary point: w = -<X* - X, Zs> for the multiplier Zs of theorem 1, ||Zs||_2 <= beta sigma.
CONVEX = Premise("theorem 1 step 6: alpha d2 <= w", alpha * d2, w, t1.strong_convexity.facts)
MULTIPLIER = by_fact(DUAL_NORM, "w = -<X*_perp, Zs> <= tau ||Zs||_2 <= tau beta sigma", w, beta * sigma * tau)
upper_bound = Inequality(
    "upper_bound",
    "alpha ||X - X*||^2 <= beta sigma tau.",
    alpha * d2,
    beta * sigma * tau,
    proof=[CONVEX, MULTIPLIER],
    mutants=(
        mutant("constant", "beta sigma tau/2", rhs=beta * sigma * tau / 2),
        mutant("swapped symbols", "alpha and beta swapped", lhs=beta * d2, rhs=alpha * sigma * tau),
        dropped(MULTIPLIER),
    ),
)
UPPER = upper_bound.conclusion()
LOWER = Premise("lemma A: 2 omega sigma tau <= d2", 2 * omega * sigma * tau, d2, case_large.facts)
DUAL_FROBENIUS = by_fact(DUAL_NORM, "tau <= sqrt(k) ||X*_perp||_F <= sqrt(r*) d", tau, root * t)
PERTURBED = by_fact(WEYL, "sigma_r(X) - 0 <= ||X - X*||_2", sigma, low)
SPECTRAL_BELOW = by_fact(OPERATOR_NORM, "||X - X*||_2 <= ||X - X*||_F", low, t)
UPPER_D = Premise("check upper_bound", alpha * t**2, beta * sigma * tau, upper_bound.facts)
CASE_1 = Premise("lemma A, t >= 1", (a + kk) * sigma**2 + tau**2 / kk, d2, case_large.facts)
CASE_2 = Premise("lemma A, t < 1", a * sigma**2 + 2 * sigma * tau, d2, case_small.facts)
RATIO, CONDITION = define(tau, t * kk * sigma), define(beta, c * alpha)

CHECKS = (
    Identity(
        "shift_expansion",
        "||X* - (X + mu Z)||^2 = ||X* - X||^2 - 2 mu tau + mu^2 k.",
        square(XS - X - mu * Z),
        square(XS - X) - 2 * mu * pairing + mu**2 * k,
        given=(LEFT, RIGHT, PAIRING),
        mutants=(
            mutant("sign", "+2 mu tau", rhs=square(XS - X) + 2 * mu * pairing + mu**2 * k),
            mutant("constant", "mu^2 instead of mu^2 k", rhs=square(XS - X) - 2 * mu * pairing + mu**2),
            dropped(LEFT),
            dropped(PAIRING),
        ),
    ),
    Identity(
        "shift_gram",
        "(X + mu Z)^T (X + mu Z) = Q Sigma^2 Q^T + mu^2 ZR ZR^T: the singular values are those of X, and mu k times.",
        (X + mu * Z).T @ (X + mu * Z),
        Q @ Sigma @ Sigma @ Q.T + mu**2 * ZR @ ZR.T,
        given=(LEFT, RIGHT),
        mutants=(
            mutant("constant", "mu instead of mu^2", rhs=Q @ Sigma @ Sigma @ Q.T + mu * ZR @ ZR.T),
            mutant("sign", "minus mu^2", rhs=Q @ Sigma @ Sigma @ Q.T - mu**2 * ZR @ ZR.T),
            dropped(LEFT),
        ),
    ),
    ScalarCheck(
        "counting",
        "All r + k singular values are at least sigma (mu = sigma + y); a + k of them are left without the r* largest.",
        (a + kk) * sigma**2,
        a * sigma**2 + kk * (sigma + surplus) ** 2,
        relation="<=",
        mutants=(
            mutant("constant", "2 k", lhs=(a + 2 * kk) * sigma**2),
            mutant("dropped assumption", "mu below sigma", rhs=a * sigma**2 + kk * (sigma / 2) ** 2),
        ),
    ),
    case_large,
    case_small,
    ScalarCheck(
        "rank_ratio",
        "1 + a/k >= 1 + a/r* = r/r* because k <= r* (r* = k + y).",
        1 + a / (kk + surplus),
        1 + a / kk,
        relation="<=",
        mutants=(
            mutant("swapped symbols", "the reverse", lhs=1 + a / kk, rhs=1 + a / (kk + surplus)),
            mutant("constant", "1 + 2 a/r*", lhs=1 + 2 * a / (kk + surplus)),
        ),
    ),
    upper_bound,
    Inequality(
        "theorem",
        "(2 omega alpha - beta) sigma tau <= 0: if beta/alpha < 2 omega then tau = 0.",
        (2 * omega * alpha - beta) * sigma * tau,
        0,
        proof=[alpha * LOWER, UPPER],
        mutants=(
            mutant(
                "constant",
                "3 omega",
                {omega: 1, alpha: 1, beta: 2, sigma: 1, tau: 1, d2: 2},
                lhs=(3 * omega * alpha - beta) * sigma * tau,
            ),
            mutant("sign", "beta - 2 omega alpha", lhs=(beta - 2 * omega * alpha) * sigma * tau),
            dropped(LOWER),
        ),
    ),
    Inequality(
        "perpendicular_zero",
        "If tau = 0 then alpha ||X - X*||^2 <= 0: X is global.",
        alpha * d2,
        0,
        proof=[CONVEX, by_fact(DUAL_NORM, "w <= 0 when tau = 0", w, 0)],
        mutants=(
            mutant("sign", "w >= 0", lhs=w + alpha * d2, rhs=-1),
            dropped(CONVEX),
        ),
    ),
    Inequality(
        "annulus_inner",
        "r > r*: sigma_r(X) <= sigma_r(X*) + ||X - X*||_2 <= ||X - X*||_F, because sigma_r(X*) = 0.",
        sigma,
        t,
        proof=[PERTURBED, SPECTRAL_BELOW],
        mutants=(
            mutant("constant", "2 sigma_r", {sigma: 1, t: 1, low: 1}, lhs=2 * sigma),
            mutant("sign", "sigma_r >= ||X - X*||_F", lhs=t, rhs=sigma),
            dropped(PERTURBED),
        ),
    ),
    Inequality(
        "annulus",
        "alpha d^2 <= beta sqrt(r*) sigma d, hence d <= c sqrt(r*) sigma.",
        alpha * t**2,
        beta * root * sigma * t,
        proof=[UPPER_D, beta * sigma * DUAL_FROBENIUS],
        mutants=(
            mutant(
                "constant",
                "half of it",
                {alpha: 1, t: 1, beta: 1, sigma: 1, tau: 1, root: 1},
                rhs=beta * root * sigma * t / 2,
            ),
            mutant(
                "swapped symbols",
                "alpha/beta",
                {alpha: 1, t: 2, beta: 2, sigma: 1, tau: 2, root: 1},
                lhs=beta * t**2,
                rhs=alpha * root * sigma * t,
            ),
            dropped(DUAL_FROBENIUS),
        ),
    ),
    Inequality(
        "ratio_large",
        "t >= 1: k t^2 - c k t + (a + k) <= 0 (times alpha sigma^2).",
        alpha * sigma**2 * (kk * t**2 - c * kk * t + a + kk),
        0,
        proof=[alpha * CASE_1, UPPER],
        given=(RATIO, CONDITION),
        mutants=(
            mutant("sign", "+ c k t", lhs=alpha * sigma**2 * (kk * t**2 + c * kk * t + a + kk)),
            mutant(
                "constant",
                "a + 2 k",
                {alpha: 1, sigma: 1, kk: 1, t: 1, a: 1, c: 3, d2: 3, tau: 1, beta: 3},
                lhs=alpha * sigma**2 * (kk * t**2 - c * kk * t + a + 2 * kk),
            ),
            dropped(CASE_1),
        ),
    ),
    Inequality(
        "ratio_small",
        "t < 1: a <= (c - 2) k t (times alpha sigma^2).",
        alpha * sigma**2 * a,
        alpha * sigma**2 * (c - 2) * kk * t,
        proof=[alpha * CASE_2, UPPER],
        given=(RATIO, CONDITION),
        mutants=(
            mutant(
                "constant",
                "(c - 3) k t",
                {alpha: 1, sigma: 1, kk: 2, t: "1/2", a: 1, c: 3, d2: 3, tau: 1, beta: 3},
                rhs=alpha * sigma**2 * (c - 3) * kk * t,
            ),
            mutant("sign", "(2 - c) k t", rhs=alpha * sigma**2 * (2 - c) * kk * t),
            dropped(CASE_2),
        ),
    ),
)

THEOREM = Theorem(__doc__, CHECKS, uses=(t1.THEOREM,))

if __name__ == "__main__":
    raise SystemExit(run_module("theorem_a", THEOREM))
