"""Periodic merging: what an unload keeps, and what the stages reach.

Statement
---------
Unloading mu gamma A B^T into W and scaling both factors by sqrt(1 - mu) keeps W + gamma A B^T; scaling them by 1 - mu
changes it by -mu (1 - mu) gamma A B^T. After K full stages the update has rank at most K r. On f = ||W - T||_F^2/2
each solved stage removes the r largest singular values of T - W. If f is L-smooth, ||grad f||_F^2 >= 2 mu0 (f - f*),
and a stage does at least as well as X = -[G]_r/L, then f - f* shrinks by 1 - r mu0/(q L), q = min(m, n). With weight
decay lam > 0 in every stage and f convex, X = 0 is optimal for the stage exactly when gamma ||grad f(W)||_2 <= lam.

Assumptions
-----------
As stated for each part; 0 <= mu <= 1, and r <= q in the rate.

Source
------
Meng et al., "PeriodicLoRA: Breaking the Low-Rank Bottleneck in LoRA Optimization", arXiv 2402.16141, for the two
unload rules. The rate, the role of the ridge and the wrong rule are derived here.

Idea
----
mu + (sqrt(1 - mu))^2 = 1. The rate is the descent lemma with the share r/q of the squared gradient that the r largest
singular values carry. The last part completes a square.

Checks
------
full_unload : PROVED
momentum_unload : PROVED
wrong_rule : PROVED
rank_of_stages : PROVED
rank_is_attained : VERIFIED
stage_on_denoising : PROVED
stage_decrease : PROVED
share_of_top_values : PROVED
rate : PROVED
ridge_stops : PROVED
ridge_continues : PROVED

Used by
-------
lorasolve/papers/periodic_lora.py, lorasolve/schedules/periodic.py
"""

from random import Random

from lorasolve.symbolic import (
    Exact,
    Identity,
    Inequality,
    Square,
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
    zeros,
)
from lorasolve.symbolic import rational as ra
from proofs.facts import ECKART_YOUNG, OPERATOR_NORM, RANK_AT_MOST, SPECTRAL, TRUNCATION

m, n, r, k, w = dims("m n r k w")
gamma, L, lam, g, t, mu0 = scalars("gamma L lambda g t mu_0")
s, root = scalars("s", real=True), scalars("c", nonnegative=True)
W, A, B, A2, B2 = matrix("W", m, n), matrix("A", m, r), matrix("B", n, r), matrix("A2", m, r), matrix("B2", n, r)
# c = sqrt(1 - mu), so mu = 1 - c^2.
mu = 1 - root**2
MODEL = W + gamma * A @ B.T

# Side by side: [YA, A][YB, B]^T with w + r columns.
YA, YB = matrix("YA", m, w), matrix("YB", n, w)
J1, J2 = matrix("J1", w + r, w), matrix("J2", w + r, r)
BLOCKS = orthonormal(J1, J2)

# E = T - W = TOP + REST.
P1, P2, Q1, Q2 = matrix("P1", m, r), matrix("P2", m, k), matrix("Q1", n, r), matrix("Q2", n, k)
S1, S2 = matrix("Sigma1", r, r, symmetric=True), matrix("Sigma2", k, k, symmetric=True)
TOP, REST = P1 @ S1 @ Q1.T, P2 @ S2 @ Q2.T
LEFT, RIGHT = orthonormal(P1, P2), orthonormal(Q1, Q2)
CLOSEST = ECKART_YOUNG.instance("closest", TRUNCATION(TOP, r, REST), RANK_AT_MOST(A @ B.T, r))

# Decrease: G = TOP + REST, X = -TOP/L.
f, f_next, f_star = scalars("f f_next f_star", real=True)
STEP = -1 / L * TOP
decrease = Identity(
    "stage_decrease",
    "<G, X> + (L/2)|X|^2, which bounds f(W + X) - f(W), is -||[G]_r||^2/(2 L) for X = -[G]_r/L.",
    inner(TOP + REST, STEP) + L / 2 * square(STEP),
    -tr(S1 @ S1) / (2 * L),
    given=(LEFT, RIGHT),
    mutants=(
        mutant("constant", "||[G]_r||^2/L", rhs=-tr(S1 @ S1) / L),
        mutant("sign", "+", rhs=tr(S1 @ S1) / (2 * L)),
        dropped(LEFT),
    ),
)
top, rest, level = scalars("T_1 T_2 tau", nonnegative=True)
RR, QQ = scalars("r_kept q")
ABOVE = hypothesis("the r largest squared values are at least tau each", RR * level, top)
BELOW = hypothesis("the other q - r are at most tau each", rest, (QQ - RR) * level)
MORE = hypothesis("r <= q", RR, QQ)
change = scalars("c", real=True)
SMOOTH = hypothesis("L-smooth f: f(W + X) <= f(W) + <G, X> + (L/2)|X|^2", f_next, f + change)
DECREASE = decrease.conclusion(
    change,
    -top / (2 * L),
    where={change: inner(TOP + REST, STEP) + L / 2 * square(STEP), top: tr(S1.T @ S1)},
)
share_of_top_values = Inequality(
    "share_of_top_values",
    "||[G]_r||^2 >= (r/q) ||G||^2, from a level tau between the r largest and the other squared singular values.",
    RR * (top + rest) / QQ,
    top,
    proof=[(RR / QQ) * BELOW, (1 / QQ) * MORE * ABOVE],
    mutants=(
        mutant("constant", "2 r/q", {top: 1, rest: 1, level: 1, RR: 1, QQ: 2}, lhs=2 * RR * (top + rest) / QQ),
        mutant(
            "swapped symbols",
            "(q - r)/q",
            {top: 1, rest: 2, level: 1, RR: 1, QQ: 3},
            lhs=(QQ - RR) * (top + rest) / QQ,
        ),
        dropped(BELOW),
        dropped(ABOVE),
        dropped(MORE),
    ),
)
SHARE = share_of_top_values.conclusion()
PL = hypothesis("||G||^2 >= 2 mu0 (f - f*)", 2 * mu0 * (f - f_star), top + rest)

G, u, v = matrix("G", m, n), vector("u", m), vector("v", n)
CONVEX = hypothesis("f(W) + gamma <G, A B^T> <= f(W + gamma A B^T)", f + gamma * inner(G, A @ B.T), f_next)
G_NORM = OPERATOR_NORM.instance("product", SPECTRAL(G, g), W=B)
SMALL = hypothesis("gamma ||G||_2 <= lam", gamma * g, lam)
UNIT = (orthonormal(u), orthonormal(v))
PAIRING = named(s, tr(u.T @ G @ v))


def _stages(rows: int, cols: int, rank: int, stages: int, missing: int = 0) -> tuple[bool, str]:
    """Return whether the sum of random products of rank `rank` has rank min(K r, m, n)."""
    rng = Random(rows + 10 * cols + 100 * rank + 1000 * stages)
    total = ra.zeros(rows, cols)
    for _ in range(stages):
        product = ra.multiply(ra.random_matrix(rng, rows, rank), ra.random_matrix(rng, rank, cols))
        total = ra.add(total, product)
    expected = min(stages * rank, rows, cols) - missing
    return ra.rank(total) == expected, f"rank {ra.rank(total)}, expected {expected}"


CHECKS = (
    Identity(
        "full_unload",
        "W <- W + gamma A B^T and B <- 0 (A new): the model is unchanged.",
        MODEL + gamma * A2 @ zeros(n, r).T,
        MODEL,
        mutants=(
            mutant("constant", "2 gamma A B^T unloaded", lhs=W + 2 * gamma * A @ B.T),
            mutant("sign", "gamma A B^T subtracted", lhs=W - gamma * A @ B.T),
        ),
    ),
    Identity(
        "momentum_unload",
        "W + mu gamma A B^T with both factors scaled by sqrt(1 - mu): the model is unchanged.",
        W + mu * gamma * A @ B.T + gamma * (root * A) @ (root * B).T,
        MODEL,
        mutants=(
            mutant("constant", "factors scaled by 1 - mu", lhs=W + mu * gamma * A @ B.T + gamma * root**4 * A @ B.T),
            mutant("sign", "- mu", lhs=W - mu * gamma * A @ B.T + gamma * (root * A) @ (root * B).T),
        ),
    ),
    Identity(
        "wrong_rule",
        "Scaling both factors by 1 - mu instead changes the model by -mu (1 - mu) gamma A B^T.",
        W + mu * gamma * A @ B.T + gamma * (root**2 * A) @ (root**2 * B).T - MODEL,
        -mu * (1 - mu) * gamma * A @ B.T,
        mutants=(
            mutant("constant", "-mu gamma A B^T", rhs=-mu * gamma * A @ B.T),
            mutant("sign", "+mu (1 - mu)", rhs=mu * (1 - mu) * gamma * A @ B.T),
        ),
    ),
    Identity(
        "rank_of_stages",
        "One more stage of width r adds r columns to the factors: rank at most K r after K stages.",
        (YA @ J1.T + A @ J2.T) @ (YB @ J1.T + B @ J2.T).T,
        YA @ YB.T + A @ B.T,
        given=(BLOCKS,),
        mutants=(
            mutant("sign", "- A B^T", rhs=YA @ YB.T - A @ B.T),
            mutant("constant", "2 A B^T", rhs=YA @ YB.T + 2 * A @ B.T),
            dropped(BLOCKS),
        ),
    ),
    Exact(
        "rank_is_attained",
        "For generic factors the rank is min(K r, m, n).",
        _stages,
        ((6, 5, 2, 1), (6, 5, 2, 2), (6, 5, 2, 3), (4, 7, 1, 3)),
        mutants=(
            mutant("constant", "one less", run=lambda a, b, c, d: _stages(a, b, c, d, 1)),
            mutant(
                "swapped symbols", "rank r after every stage", run=lambda a, b, c, d: _stages(a, b, c, d, (d - 1) * c)
            ),
        ),
    ),
    Inequality(
        "stage_on_denoising",
        "||T - W - A B^T||^2 >= ||REST||^2: a stage can do no better than to remove the r largest singular values.",
        square(REST),
        square(TOP + REST - A @ B.T),
        proof=[CLOSEST],
        mutants=(
            mutant(
                "constant",
                "2 ||REST||^2",
                {
                    P1: [[1], [0]],
                    Q1: [[1], [0]],
                    S1: [[1]],
                    P2: [[0], [1]],
                    Q2: [[0], [1]],
                    S2: [[1]],
                    A: [[1], [0]],
                    B: [[1], [0]],
                },
                lhs=2 * square(REST),
            ),
            mutant("sign", "+ A B^T removed", rhs=square(REST) - square(A @ B.T) - 1),
            dropped(CLOSEST),
        ),
    ),
    decrease,
    share_of_top_values,
    Inequality(
        "rate",
        "f(W_+) - f* <= (1 - r mu0/(q L))(f(W) - f*).",
        f_next - f_star,
        (1 - RR * mu0 / (QQ * L)) * (f - f_star),
        proof=[SMOOTH, 1 * DECREASE, SHARE / (2 * L), RR / (2 * L * QQ) * PL],
        under=(decrease, share_of_top_values),
        mutants=(
            mutant(
                "constant",
                "1 - 2 r mu0/(q L)",
                {f: 1, f_star: 0, f_next: "1/2", change: "-1/2", top: 1, rest: 1, RR: 1, QQ: 2, L: 1, mu0: 1},
                rhs=(1 - 2 * RR * mu0 / (QQ * L)) * (f - f_star),
            ),
            mutant("sign", "-(1 - r mu0/(q L))", rhs=-(1 - RR * mu0 / (QQ * L)) * (f - f_star)),
            dropped(PL),
            dropped(SMOOTH),
            dropped(DECREASE),
        ),
    ),
    Inequality(
        "ridge_stops",
        "gamma ||grad f(W)||_2 <= lam: no A, B improve f(W + gamma A B^T) + (lam/2)(|A|^2 + |B|^2) over f(W).",
        f,
        f_next + lam / 2 * (square(A) + square(B)),
        proof=[
            CONVEX,
            1 / (2 * lam) * Square(lam * A + gamma * G @ B),
            gamma**2 / (2 * lam) * G_NORM,
            (lam + gamma * g) / (2 * lam) * SMALL * Square(B),
        ],
        mutants=(
            mutant(
                "constant",
                "lam/4 instead of lam/2",
                {A: [[1]], B: [[1]], G: [[-1]], g: 1, gamma: 1, lam: 1, f: 1, f_next: 0},
                rhs=f_next + lam / 4 * (square(A) + square(B)),
            ),
            mutant("sign", "- lam/2", rhs=f_next - lam / 2 * (square(A) + square(B))),
            mutant(
                "swapped symbols",
                "f(W) + <G, A B^T>, without gamma",
                lhs=f + (1 - gamma) * inner(G, A @ B.T),
            ),
            dropped(CONVEX),
            dropped(SMALL, {A: [[1]], B: [[1]], G: [[-1]], g: 1, gamma: 2, lam: 1, f: 2, f_next: 0}),
        ),
    ),
    Identity(
        "ridge_continues",
        "Along A = -t u, B = t v with u^T G v = s = ||G||_2: first-order change t^2 (lam - gamma s), negative if gamma "
        "s > lam.",
        inner(G, gamma * (-t * u) @ (t * v).T) + lam / 2 * (square(t * u) + square(t * v)),
        t**2 * (lam - gamma * s),
        given=(*UNIT, PAIRING),
        mutants=(
            mutant(
                "sign",
                "A = +t u",
                lhs=inner(G, gamma * (t * u) @ (t * v).T) + lam / 2 * (square(t * u) + square(t * v)),
            ),
            mutant("constant", "t^2 (lam - s)", rhs=t**2 * (lam - s)),
            dropped(UNIT[0]),
        ),
    ),
)

PROSE = {
    "the induction over the stages": ("rank_of_stages", "rate"),
    "T - W and G have singular value decompositions": ("stage_on_denoising", "share_of_top_values"),
    "f(W) changes by its slope for small t": ("ridge_continues",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("periodic_merge", THEOREM))
