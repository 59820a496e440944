"""Two stationary points with different values refute restricted convexity between them.

Statement
---------
Let G_i = grad f(X_i) and G_i = -lam S_i + E_i with S_i a subgradient of ||.||_* at X_i, i = 1, 2; a second-order
stationary point of the factored objective with a null column, or any stationary point with ||G||_2 <= lam, has E = 0.

1. <S_1 - S_2, X_1 - X_2> >= 0.
2. <G_1 - G_2, X_1 - X_2> <= <E_1 - E_2, X_1 - X_2>, so <= 0 for E_1 = E_2 = 0.
3. If E_1 = E_2 = 0, X_1 != X_2 and alpha ||X_1 - X_2||_F^2 <= <G_1 - G_2, X_1 - X_2>, then alpha <= <G_1 - G_2, X_1 -
   X_2>/||X_1 - X_2||_F^2 <= 0. Points with F(X_1) != F(X_2) differ, so no alpha > 0 is left.
4. If f is convex, F(X_1) - F(X_2) <= <E_1, X_1 - X_2> for every X_2: X_1 is global for E_1 = 0. Hence two stationary,
   dual feasible points with different F also refute convexity of f.

Assumptions
-----------
lam >= 0. None on f but differentiability; 4 needs convexity of f.

Source
------
Beyond the paper: the converse use of its restricted strong convexity (theorems 1 and 2, step 6 of the proof).

Idea
----
||S_i||_2 <= 1 and <S_i, X_i> = ||X_i||_*: norm duality gives 1, and everything else is a substitution. The blocks of
several layers are one block-diagonal matrix.

Checks
------
monotone : PROVED
not_positive : PROVED
no_constant : PROVED
convex_values : PROVED

Used by
-------
lorasolve/networks/tangent.py
"""

from lorasolve.symbolic import (
    Inequality,
    Theorem,
    define,
    dims,
    dropped,
    hypothesis,
    inner,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
)
from proofs.facts import DUAL_NORM, NUCLEAR, NUCLEAR_IS, NUCLEAR_SUBDIFFERENTIAL, SPECTRAL, SUBGRADIENT

m, n = dims("m n")
X1, X2, S1, S2, E1, E2, G1, G2 = (matrix(name, m, n) for name in ("X1", "X2", "S1", "S2", "E1", "E2", "G1", "G2"))
alpha = scalars("alpha", real=True)
lam = scalars("lambda", nonnegative=True)
nu1, nu2 = scalars("nu_1 nu_2", nonnegative=True)
f1, f2 = scalars("f_1 f_2", real=True)
D = X1 - X2

# <S_i, X_i> = nu_i, in both directions; ||S_i||_2 <= 1.
OWN_1 = NUCLEAR_SUBDIFFERENTIAL.instance("pairing", SUBGRADIENT(S1, 1, X1), NUCLEAR_IS(X1, nu1))
OWN_2 = NUCLEAR_SUBDIFFERENTIAL.instance("pairing", SUBGRADIENT(S2, 1, X2), NUCLEAR_IS(X2, nu2))
CROSS_1 = DUAL_NORM.instance("pairing", SPECTRAL(S1, 1), NUCLEAR(X2, nu2))
CROSS_2 = DUAL_NORM.instance("pairing", SPECTRAL(S2, 1), NUCLEAR(X1, nu1))
AT_1, AT_2 = define(G1, -lam * S1 + E1), define(G2, -lam * S2 + E2)
RSC = hypothesis("restricted strong convexity", alpha * square(D), inner(G1 - G2, D))
CONVEX = hypothesis("f(X_1) + <G_1, X_2 - X_1> <= f(X_2)", f1 - inner(G1, D), f2)

ALIKE = {S1: [[1]], S2: [[1]], X1: [[2]], X2: [[1]], nu1: 2, nu2: 1}
TIGHT = {f1: 1, f2: 0, lam: 1, nu1: 0, nu2: 0, E1: [[1]], X1: [[1]], X2: [[0]], S1: [[0]], G1: [[1]]}

monotone = Inequality(
    "monotone",
    "<S_1 - S_2, X_1 - X_2> >= 0.",
    0,
    inner(S1 - S2, D),
    proof=[OWN_1, OWN_2, CROSS_1, CROSS_2],
    mutants=(
        mutant("sign", "<S_1 + S_2, X_1 - X_2>", rhs=inner(S1 + S2, D)),
        mutant("constant", "<S_1 - 2 S_2, X_1 - X_2>", ALIKE, rhs=inner(S1 - 2 * S2, D)),
        dropped(CROSS_1),
    ),
)
MONOTONE = monotone.conclusion()

CHECKS = (
    monotone,
    Inequality(
        "not_positive",
        "<G_1 - G_2, X_1 - X_2> <= <E_1 - E_2, X_1 - X_2>.",
        inner(G1 - G2, D),
        inner(E1 - E2, D),
        proof=[lam * MONOTONE],
        under=(monotone,),
        given=(AT_1, AT_2),
        mutants=(
            mutant("sign", "<G_2 - G_1, X_1 - X_2>", lhs=inner(G2 - G1, D)),
            mutant("constant", "half of the right side", rhs=inner(E1 - E2, D) / 2),
            dropped(MONOTONE),
        ),
    ),
    Inequality(
        "no_constant",
        "alpha ||X_1 - X_2||_F^2 <= <E_1 - E_2, X_1 - X_2>: alpha <= 0 at stationary points that differ.",
        alpha * square(D),
        inner(E1 - E2, D),
        proof=[RSC, lam * MONOTONE],
        under=(monotone,),
        given=(AT_1, AT_2),
        mutants=(
            mutant(
                "constant",
                "1.05 alpha",
                {**ALIKE, E1: [[1]], E2: [[0]], G1: [[0]], G2: [[-1]], lam: 1, alpha: 1},
                lhs=21 * alpha * square(D) / 20,
            ),
            mutant("sign", "<E_2 - E_1, X_1 - X_2>", rhs=inner(E2 - E1, D)),
            dropped(RSC),
        ),
    ),
    Inequality(
        "convex_values",
        "f convex: F(X_1) - F(X_2) <= <E_1, X_1 - X_2>.",
        (f1 + lam * nu1) - (f2 + lam * nu2),
        inner(E1, D),
        proof=[CONVEX, lam * OWN_1, lam * CROSS_1],
        given=(AT_1,),
        mutants=(
            mutant("sign", "-<E_1, X_1 - X_2>", rhs=-inner(E1, D)),
            mutant("constant", "half of the right side", TIGHT, rhs=inner(E1, D) / 2),
            dropped(CONVEX),
        ),
    ),
)

PROSE = {
    "E = 0 at the points that are named, by `escape_direction`, for lam = 0 by `stationary_structure`": (
        "no_constant",
    ),
    "points with different values differ, so that one may divide by ||X_1 - X_2||_F^2": ("no_constant",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("two_stationary_points", THEOREM))
