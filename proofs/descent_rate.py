"""Gradient descent on the factors finds stationary points at a rate that asks for no bound on the factors.

Statement
---------
Let lam >= 0, f have a beta-Lipschitz gradient and be bounded below, theta = (A, B) and Delta = L(theta_0) - inf f > 0.
If each step is h_k = 1/K_k with

    ||G_k||_2 + lam + (9/4) beta (||A_k||_2^2 + ||B_k||_2^2) <= K_k <= c + lam + (9/4) beta ||theta_k||_F^2,

c = sqrt(2 beta Delta), then for every k >= 1

    min_{i < k} ||grad L(theta_i)||_F^2 <= Delta (a + sqrt(a^2 + 2 b k))/k,
    a = c + lam + (9/2) beta ||theta_0||_F^2,   b = 9 beta Delta:

O(1/sqrt k), however far the factors go. K_k = sqrt(2 beta (L(theta_k) - inf f)) + lam + (9/4) beta ||theta_k||_F^2 is a
choice that needs no norm of G.

Assumptions
-----------
grad f is beta-Lipschitz on the segments from X_k to X_(k+1), and f is bounded below. For the choice of K_k that needs
no norm of G, also on those from X_k to X_k - G_k/beta.

Source
------
Beyond the paper. S. Mu and D. Klabjan (arXiv:2512.18248) state O(1/log k) for gradient descent on the factors, without
a bound on them; of that paper the abstract was at hand.

Idea
----
With E = sum h_i |g_i|^2 <= 2 Delta and S = sum h_i the way so far is at most sqrt(S E), by Cauchy and Schwarz, so that
|theta|^2 grows with S at most, and 1/h <= a + b S. Then (a + b S)^2 grows by 2 b or more in each step, S like sqrt k,
and the least |g_i|^2 is at most E/S.

Checks
------
energy : PROVED
way : PROVED
distance : PROVED
size : PROVED
step : PROVED
growth : PROVED
rate : PROVED

Used by
-------
lorasolve/papers/lora_gd.py
"""

from sympy import Rational

from lorasolve.symbolic import (
    Inequality,
    Square,
    Theorem,
    dims,
    dropped,
    equation,
    hypothesis,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
)
from proofs import descent_lemma as dl

p, r = dims("p r")
# The factors, one above the other: where they start, how far they are from there, and the gradient.
START, AWAY, GRAD = matrix("theta_0", p, r), matrix("D", p, r), matrix("g", p, r)
beta, Delta, h = dl.beta, dl.Delta, dl.h
lam = dl.lam
# Sums over the steps so far: of h, of h |g|^2 (its value is E) and of h |g| (P); |g| is gamma.
S, P, gamma, E = scalars("S_h P gamma E")
level, start = scalars("L L_0", real=True)
(descent,) = (check for check in dl.CHECKS if check.name == "descent")

SO_FAR = hypothesis("E <= 2 (L_0 - L)", E, 2 * (start - level))
DESCENT = descent.conclusion()
energy = Inequality(
    "energy",
    "E <= 2 (L_0 - L) stays true in a step that descends by (h/2) |g|^2: sum h_i |g_i|^2 <= 2 Delta.",
    E + h * dl.S,
    2 * (start - level - dl.rise),
    proof=[SO_FAR, 2 * DESCENT],
    under=(descent,),
    mutants=(
        mutant(
            "constant",
            "3 h |g|^2",
            {**dl.AT_STEP, E: 1, start: 1, level: "1/2"},
            lhs=E + 3 * h * dl.S,
        ),
        mutant("sign", "L_0 + L", {**dl.AT_STEP, E: 1, start: 0, level: "-1/2"}, rhs=2 * (start + level - dl.rise)),
        dropped(SO_FAR, {**dl.AT_STEP, E: 9, start: 1, level: "1/2"}),
    ),
)

SHORT_WAY = hypothesis("P^2 <= S E", P**2, S * E)
way = Inequality(
    "way",
    "P^2 <= S E stays true in a step: (sum h_i |g_i|)^2 <= (sum h_i)(sum h_i |g_i|^2).",
    (P + h * gamma) ** 2,
    (S + h) * (E + h * gamma**2),
    proof=[(1 + h / S) * SHORT_WAY, h / S * Square(S * gamma - P)],
    mutants=(
        mutant("constant", "(1.1 (P + h |g|))^2", lhs=(Rational(11, 10) * (P + h * gamma)) ** 2),
        mutant("sign", "S - h", rhs=(S - h) * (E + h * gamma**2)),
        dropped(SHORT_WAY),
    ),
)

NEAR = hypothesis("|D|^2 <= P^2", square(AWAY), P**2)
IS_LENGTH = equation("|g|^2 = gamma^2", square(GRAD), gamma**2)
LINE = {AWAY: [[-1]], GRAD: [[1]], P: 1, gamma: 1, h: 1}
distance = Inequality(
    "distance",
    "|D| <= P stays true in a step: |theta - theta_0| <= sum h_i |g_i|.",
    square(AWAY - h * GRAD),
    (P + h * gamma) ** 2,
    proof=[
        (1 + h * gamma / P) * NEAR,
        (h**2 + h * P / gamma) * IS_LENGTH,
        h / (P * gamma) * Square(P * GRAD + gamma * AWAY),
    ],
    mutants=(
        mutant("constant", "0.9 h |g|", LINE, rhs=(P + Rational(9, 10) * h * gamma) ** 2),
        mutant("sign", "P - h |g|", LINE, rhs=(P - h * gamma) ** 2),
        dropped(NEAR),
        dropped(IS_LENGTH),
    ),
)

ENERGY = hypothesis("E <= 2 Delta", E, 2 * Delta)
size = Inequality(
    "size",
    "|theta|^2 <= 2 |theta_0|^2 + 4 Delta S.",
    square(START + AWAY),
    2 * square(START) + 4 * Delta * S,
    proof=[1 * Square(START - AWAY), 2 * NEAR, 2 * SHORT_WAY, 2 * S * ENERGY],
    mutants=(
        mutant(
            "constant",
            "3 Delta S",
            {START: [[1]], AWAY: [[1]], P: 1, S: 1, E: 1, Delta: "1/2"},
            rhs=2 * square(START) + 3 * Delta * S,
        ),
        mutant(
            "sign",
            "-4 Delta S",
            {START: [[1]], AWAY: [[1]], P: 1, S: 1, E: 1, Delta: "1/2"},
            rhs=2 * square(START) - 4 * Delta * S,
        ),
        dropped(ENERGY),
        dropped(NEAR),
    ),
)

# Numbers: K the inverse of the step, q = |theta|^2, s the same at the start.
K, c = scalars("K c")
q, s = scalars("q s", real=True)
a, b = c + lam + Rational(9, 2) * beta * s, 9 * beta * Delta
CHOSEN = hypothesis("K <= c + lam + (9/4) beta |theta|^2", K, c + lam + Rational(9, 4) * beta * q)
SIZE = size.conclusion(q, 2 * s + 4 * Delta * S, where={q: square(START + AWAY), s: square(START)})
ONES = {K: "22/4", c: 1, lam: 0, beta: 1, q: 2, s: "1/2", Delta: "1/4", S: 1}
step = Inequality(
    "step",
    "1/h <= a + b S.",
    K,
    a + b * S,
    proof=[CHOSEN, Rational(9, 4) * beta * SIZE],
    under=(size,),
    mutants=(
        mutant("constant", "b/2", ONES, rhs=a + b * S / 2),
        mutant("sign", "a - b S", ONES, rhs=a - b * S),
        dropped(CHOSEN, {**ONES, K: 100}),
    ),
)

# a and b as numbers of their own; N = a^2 + 2 b k after k steps.
a_0, b_0, N = scalars("a_0 b_0 N")
GROWN = hypothesis("N <= (a + b S)^2", N, (a_0 + b_0 * S) ** 2)
LONG = hypothesis("1 <= h (a + b S)", 1, h * (a_0 + b_0 * S))
growth = Inequality(
    "growth",
    "a^2 + 2 b k <= (a + b S)^2 stays true in a step, of k + 1: S grows like sqrt k.",
    N + 2 * b_0,
    (a_0 + b_0 * (S + h)) ** 2,
    proof=[GROWN, 2 * b_0 * LONG, b_0**2 * h**2],
    mutants=(
        mutant(
            "constant",
            "4 b",
            {a_0: 10, b_0: 1, S: 1, h: "1/11", N: 121},
            lhs=N + 4 * b_0,
        ),
        mutant("sign", "S - h", rhs=(a_0 + b_0 * (S - h)) ** 2),
        dropped(GROWN),
        dropped(LONG),
    ),
)

# least = min |g_i|^2, root^2 = a^2 + 2 b k.
least, root, k = scalars("least rho k")
AT_END = hypothesis("rho^2 <= (a + b S)^2", root**2, (a_0 + b_0 * S) ** 2)
IS_ROOT = equation("a^2 + 2 b k = rho^2", a_0**2 + 2 * b_0 * k, root**2)
LEAST = hypothesis("least S <= 2 Delta, since E >= least S", least * S, 2 * Delta)
TIGHT = {a_0: 1, b_0: 4, k: 1, root: 3, S: "1/2", least: 4, Delta: 1}
rate = Inequality(
    "rate",
    "min_{i < k} |g_i|^2 <= Delta (a + sqrt(a^2 + 2 b k))/k.",
    least,
    Delta * (a_0 + root) / k,
    proof=[
        least * (root + a_0) / (2 * b_0 * k * (a_0 + b_0 * S + root)) * AT_END,
        (root + a_0) / (2 * k) * LEAST,
        least / (2 * b_0 * k) * IS_ROOT,
    ],
    mutants=(
        mutant("constant", "0.9 Delta", TIGHT, rhs=Rational(9, 10) * Delta * (a_0 + root) / k),
        mutant("sign", "a - sqrt(a^2 + 2 b k)", TIGHT, rhs=Delta * (a_0 - root) / k),
        dropped(AT_END),
        dropped(LEAST),
        dropped(IS_ROOT),
    ),
)

CHECKS = (energy, way, distance, size, step, growth, rate)

PROSE = {
    "the induction over the steps, from the first one, whose sums are one term": (
        "energy",
        "way",
        "distance",
        "growth",
    ),
    "no gradient so far is 0: after one that is the minimum is 0": ("way", "distance", "rate"),
    "L(theta_k) >= inf f, and L does not increase: ||G_k||_2 <= sqrt(2 beta (L(theta_k) - inf f)) <= c": (
        "energy",
        "step",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(dl.THEOREM,), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("descent_rate", THEOREM))
