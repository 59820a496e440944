"""Certificates of global optimality for convex losses.

Statement
---------
f convex, X* any minimizer of F, G = grad f(X), gap = F(X) - F(X*).

1. gap <= <G, X> + lam ||X||_* + R max(0, ||G||_2 - lam) for any R >= ||X*||_*, for example R = (F(X) - inf f)/lam.
2. If inf f >= f_low and 0 <= c <= min(1, lam/||G||_2): gap <= (1 - c)(f(X) - f_low) + lam ||X||_* + c <G, X>.
3. For least squares f(X) = ||A(X) - y||^2/2 + f_low with A linear and 0 <= c <= lam/||G||_2 (c > 1 is allowed):
   gap <= (1 - c)^2 (f(X) - f_low) + lam ||X||_* + c <G, X>.

All need one gradient and one largest singular value. At a stationary point <G, X> = -lam ||X||_*, so 1 reads
R max(0, ||G||_2 - lam), and 2 and 3 vanish together with 1 - c when ||G||_2 <= lam.

Assumptions
-----------
f convex and differentiable; lam >= 0, and lam > 0 for the choice of R. The rank of X is arbitrary.

Source
------
Beyond the paper. Fenchel duality, as in Ndiaye, Fercoq, Gramfort, Salmon, "Gap Safe Screening Rules", JMLR 2017.

Idea
----
1: convexity at X evaluated in X*, and -<G, X*> <= ||G||_2 ||X*||_*. 2: the same with weight c, and f(X*) >= f_low
with weight 1 - c. 3: the scaled residual c (A(X) - y) is a dual point: what is lost is |A(X*) - y - c (A(X) -
y)|^2/2.

Checks
------
convex_gap : PROVED
radius : PROVED
scaled_gap : PROVED
least_squares_gap : PROVED
residual_pairing : PROVED
best_scaling : PROVED
clipped_scaling : PROVED
stationary_value : PROVED
stationary_scaled_value : PROVED
stationary_least_squares_value : PROVED

Used by
-------
lorasolve/certificates/duality.py, lorasolve/certificates/gap.py, lorasolve/certificates/rigorous.py,
lorasolve/convex/factored.py
"""

from sympy import Expr

from lorasolve.symbolic import (
    Identity,
    Inequality,
    Square,
    SumOfSquares,
    Theorem,
    define,
    dims,
    dropped,
    equation,
    hypothesis,
    inner,
    matrix,
    mutant,
    run_module,
    scalar,
    scalars,
    square,
    tr,
    vector,
)
from proofs.facts import DUAL_NORM, NUCLEAR, SPECTRAL

q = scalars("q")
lam, g, c, nuc, nuc_star, radius, over = scalars("lambda g c nu nu_star R e", nonnegative=True)
# lam where it is not 0.
decay = scalars("lambda")
f, f_star, f_low, gx, gx_star = scalars("f f_star f_low p p_star", real=True)

# p = <G, X>, p_star = <G, X*>, g = ||G||_2, nu = ||X||_*, nu_star = ||X*||_*.
m, n = dims("m n")
G, XS = matrix("G", m, n), matrix("Xstar", m, n)
CONVEX = hypothesis("f(X) + <G, X* - X> <= f(X*)", f + gx_star - gx, f_star)
DUAL = DUAL_NORM.instance(
    "pairing_below", SPECTRAL(G, g), NUCLEAR(XS, nuc_star), lhs=-gx_star, where={gx_star: inner(G, XS)}
)
LOW = hypothesis("f_low <= f(X*)", f_low, f_star)
MINIMAL = hypothesis("F(X*) <= F(X)", f_star + decay * nuc_star, f + decay * nuc)
RADIUS = hypothesis("||X*||_* <= R", nuc_star, radius)
EXCESS = hypothesis("||G||_2 - lam <= e", g - lam, over)
GAP = (f + lam * nuc) - (f_star + lam * nuc_star)

STATIONARY = define(gx, -lam * nuc)

# c <= 1 and c <= lam/||G||_2.
C_BELOW_ONE = hypothesis("c <= 1", c, 1)
C_FEASIBLE = hypothesis("c ||G||_2 <= lam", c * g, lam)

# Least squares, in the space of the N measurements: a = A(X), a_star = A(X*).
N = dims("N")
a, a_star, y = vector("a", N), vector("a_star", N), vector("y", N)
residual = a - y
LS, LS_STAR = square(residual) / 2, square(a_star - y) / 2
PAIR, PAIR_STAR = tr(a.T @ residual), tr(a_star.T @ residual)
ADJOINT = equation("<G, X*> = <A(X*), A(X) - y>, because G = A^T(A(X) - y)", gx_star, PAIR_STAR)
LS_GAP = (LS + lam * nuc) - (LS_STAR + lam * nuc_star)

AT_ZERO = {a: [[0]], y: [[1]], a_star: [[1]], gx_star: -1, c: 1, g: 1, lam: 1, nuc: 0, nuc_star: 1}
VALUES = {f: 1, f_star: 0, f_low: 0, gx: 0, gx_star: -1, g: 1, nuc: 0, nuc_star: 1, lam: "1/2"}

# c, the allowed one nearest to the best, which is short of it by x w; and one that is farther by y w.
allowed, way = scalars("d w", real=True)
short, farther = scalars("x y", nonnegative=True)
BEST = define(gx, 2 * q * (1 - (allowed - short * way)))


def scaled_value(c: Expr) -> Expr:
    """Return the part of the bound that depends on c."""
    return (1 - c) ** 2 * q + c * gx


CHECKS = (
    Inequality(
        "convex_gap",
        "F(X) - F(X*) <= <G, X> + lam ||X||_* + R e for any R >= ||X*||_* and e >= max(0, ||G||_2 - lam).",
        GAP,
        gx + lam * nuc + radius * over,
        proof=[CONVEX, DUAL, nuc_star * EXCESS, over * RADIUS],
        mutants=(
            mutant("constant", "R e/2", {**VALUES, radius: 1, over: "1/2"}, rhs=gx + lam * nuc + radius * over / 2),
            mutant("sign", "-<G, X>", rhs=-gx + lam * nuc + radius * over),
            dropped(RADIUS, {**VALUES, radius: 0, over: "1/2"}),
            dropped(CONVEX),
            dropped(DUAL),
            dropped(EXCESS),
        ),
    ),
    Inequality(
        "radius",
        "||X*||_* <= (F(X) - inf f)/lam: F(X*) <= F(X) and f(X*) >= inf f.",
        nuc_star,
        (f + decay * nuc - f_low) / decay,
        proof=[MINIMAL / decay, LOW / decay],
        mutants=(
            mutant(
                "constant",
                "0.95 of it",
                {f: 0, f_star: 0, f_low: 0, decay: 1, nuc: 1, nuc_star: 1},
                rhs=19 * (f + decay * nuc - f_low) / (20 * decay),
            ),
            mutant("swapped symbols", "times lam", rhs=(f + decay * nuc - f_low) * decay),
            dropped(LOW),
            dropped(MINIMAL),
        ),
    ),
    Inequality(
        "scaled_gap",
        "F(X) - F(X*) <= (1 - c)(f(X) - f_low) + lam ||X||_* + c <G, X>.",
        GAP,
        (1 - c) * (f - f_low) + lam * nuc + c * gx,
        proof=[c * CONVEX, C_BELOW_ONE * LOW, c * DUAL, nuc_star * C_FEASIBLE],
        mutants=(
            mutant(
                "constant",
                "(1 - c)^2 for every convex f",
                {**VALUES, c: "1/2"},
                rhs=(1 - c) ** 2 * (f - f_low) + lam * nuc + c * gx,
            ),
            mutant(
                "sign",
                "- c <G, X>",
                {**VALUES, gx: 1, gx_star: 0, nuc: 1, nuc_star: 0, lam: 1, c: 1},
                rhs=(1 - c) * (f - f_low) + lam * nuc - c * gx,
            ),
            dropped(CONVEX),
            dropped(LOW),
            dropped(DUAL),
            dropped(C_FEASIBLE, {**VALUES, c: 1}),
            dropped(C_BELOW_ONE, {**VALUES, f_star: 1, gx_star: 0, nuc_star: 0, lam: 2, c: 2}),
        ),
    ),
    Inequality(
        "least_squares_gap",
        "f = |A(X) - y|^2/2 + f_low: F(X) - F(X*) <= (1 - c)^2 (f(X) - f_low) + lam ||X||_* + c <G, X>.",
        LS_GAP,
        (1 - c) ** 2 * LS + lam * nuc + c * PAIR,
        proof=[Square(a_star - y - c * residual) / 2, c * DUAL, c * ADJOINT, nuc_star * C_FEASIBLE],
        mutants=(
            mutant(
                "constant",
                "(1 - c)^3",
                {**AT_ZERO, a_star: [["1/2"]], gx_star: "-1/2", c: "1/2", lam: "1/2", nuc_star: "1/2"},
                rhs=(1 - c) ** 3 * LS + lam * nuc + c * PAIR,
            ),
            mutant("sign", "- c <G, X>", rhs=(1 - c) ** 2 * LS + lam * nuc - c * PAIR),
            dropped(C_FEASIBLE, {**AT_ZERO, lam: "1/10"}),
            dropped(DUAL, {**AT_ZERO, nuc_star: 0}),
            dropped(ADJOINT),
        ),
    ),
    Identity(
        "residual_pairing",
        "<A(X) - y, y> = <G, X> - 2 q with q = |A(X) - y|^2/2 and <G, X> = <A(X), A(X) - y>: no inner product with y.",
        tr(residual.T @ y),
        PAIR - 2 * LS,
        mutants=(
            mutant("constant", "<G, X> - q", rhs=PAIR - LS),
            mutant("sign", "<G, X> + 2 q", rhs=PAIR + 2 * LS),
        ),
    ),
    SumOfSquares(
        "best_scaling",
        "(1 - c)^2 q + c p is smallest at c = 1 - p/(2 q), where it equals p - p^2/(4 q).",
        gx - gx**2 / (4 * q),
        scaled_value(c),
        proof=[q * Square(1 - c - gx / (2 * q))],
        mutants=(
            mutant("constant", "p - p^2/(8 q)", {gx: 1, q: 1, c: "1/2"}, lhs=gx - gx**2 / (8 * q)),
            mutant("sign", "p + p^2/(4 q)", lhs=gx + gx**2 / (4 * q)),
        ),
    ),
    SumOfSquares(
        "clipped_scaling",
        "Where the best c is not allowed, none is better than the allowed one nearest to it: d against d + w y.",
        scaled_value(allowed),
        scaled_value(allowed + farther * way),
        proof=[q * Square(farther * way), 2 * q * short * farther * Square(way)],
        given=(BEST,),
        mutants=(
            mutant("sign", "a best one beyond d", given=(define(gx, 2 * q * (1 - (allowed + short * way))),)),
            mutant(
                "constant", "2 q w^2 y^2 less", rhs=scaled_value(allowed + farther * way) - 2 * q * (way * farther) ** 2
            ),
            dropped(BEST),
        ),
    ),
    *(
        Identity(
            name,
            f"At a stationary point, where p = -lam nu, {words}.",
            scalar(bound),
            scalar(value),
            given=(STATIONARY,),
            mutants=(
                mutant("sign", "p = +lam nu", given=(define(gx, lam * nuc),)),
                mutant("constant", "1.05 of it", rhs=scalar(21 * value / 20)),
                dropped(STATIONARY),
            ),
        )
        for name, words, bound, value in (
            ("stationary_value", "bound 1 is R e", gx + lam * nuc + radius * over, radius * over),
            (
                "stationary_scaled_value",
                "bound 2 is (1 - c)(f - f_low + lam nu)",
                (1 - c) * (f - f_low) + lam * nuc + c * gx,
                (1 - c) * (f - f_low + lam * nuc),
            ),
            (
                "stationary_least_squares_value",
                "bound 3 is (1 - c)((1 - c) q + lam nu), q = f - f_low",
                (1 - c) ** 2 * q + lam * nuc + c * gx,
                (1 - c) * ((1 - c) * q + lam * nuc),
            ),
        )
    ),
)

THEOREM = Theorem(__doc__, CHECKS, prose={})

if __name__ == "__main__":
    raise SystemExit(run_module("certificate", THEOREM))
