"""The tangent certificate: what any update of any rank gains in a network linearised at its own weights.

Statement
---------
f(X) = ell(z(X)) with ell convex, ell >= f_low, and outputs z differentiable at X^; J = Dz(X^), w = grad ell(z(X^)),
G = J^T w = grad f(X^). The tangent problem is t(X) = ell(z(X^) + J (X - X^)), T = t + lam ||.||_*; X* minimizes T.

1. t is convex, t(X^) = f(X^), grad t(X^) = G, and t(X*) >= f(X^) + <G, X* - X^>.
2. For 0 <= c <= min(1, lam/||G||_2): F(X^) - T(X*) <= (1 - c)(f(X^) - f_low) + lam ||X^||_* + c <G, X^>.
3. For several layers ||X||_* is the sum over them and ||G||_2 the largest of theirs: -<G, X*> <= max_l ||G_l||_2 sum_l
   ||X*_l||_*.
4. If ||G||_2 <= lam and <G, X^> = -lam ||X^||_* the bound is 0: no update of any rank improves T. If u^T G v > lam for
   unit u, v with u^T X^ = 0, X^ v = 0, then F falls along X^ - t u v^T at the rate u^T G v - lam to first order.
5. None of this bounds F(X^) - min F: with z(x) = x + x^2, ell(z) = (z - 1)^2/2 and lam = 1/2 the point x = -3/2 has gap
   0 and F = 25/32, and F(0) = 1/2.

Assumptions
-----------
ell convex, z differentiable at X^ (a network with ReLU may not be), lam > 0 for the gap to mean anything.

Source
------
Beyond the paper; 2 is `certificate` for the tangent problem, 3 the sum of norms of theorem 2.

Idea
----
ell is convex along z(X^) + J (X* - X^), and <w, J D> = <J^T w, D>: the two numbers f(X^) and G of the network are those
of the tangent problem. Then Fenchel's inequality with a scaled dual point, as for any convex loss.

Checks
------
chain_rule : PROVED
same_gradient : PROVED
tangent_gap : PROVED
sum_of_layers : PROVED
zero_gap : PROVED
escape_rate : PROVED
example_slope : PROVED
gap_zero_example : PROVED
better_example : PROVED

Used by
-------
lorasolve/networks/judge.py, lorasolve/networks/tangent.py, lorasolve/networks/token_ntk.py
"""

from typing import Any

import sympy

from lorasolve.symbolic import (
    Identity,
    Inequality,
    ScalarCheck,
    Theorem,
    define,
    dims,
    dropped,
    equation,
    gradient,
    hypothesis,
    inner,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
    tr,
    vector,
)
from proofs.facts import DUAL_NORM, NUCLEAR, SPECTRAL

# Updates as vectors of P entries, outputs as vectors of N entries.
N, P = dims("N P")
J = matrix("J", N, P)
X, XH, XS, G = (vector(name, P) for name in ("x", "x_hat", "x_star", "G"))
z, w, y = (vector(name, N) for name in ("z", "w", "y"))
AT, AT_POINT = define(G, J.T @ w), define(X, 1 * XH)

lam, g, t = scalars("lambda g t")
c, nuc, nuc_star = scalars("c nu nu_star", nonnegative=True)
f, f_low, loss_star = scalars("f f_low ell_star", real=True)

# w is the gradient of ell at z(X^); the outputs move by J (X* - X^).
CONVEX = hypothesis("ell(z) + <w, J (X* - X^)> <= t(X*)", f + tr(w.T @ (J @ (XS - XH))), loss_star)
# The gradient and the update as matrices: their inner product is that of the vectors.
m, n = dims("m n")
paired = scalars("p_star", real=True)
GM, XM = matrix("G_matrix", m, n), matrix("Xstar_matrix", m, n)
DUAL = DUAL_NORM.instance(
    "pairing_below", SPECTRAL(GM, g), NUCLEAR(XM, nuc_star), lhs=-paired, where={paired: inner(GM, XM)}
)
AS_VECTORS = equation("<G, X*> is that of the vectors", paired, tr(G.T @ XS))
LOW = hypothesis("f_low <= t(X*)", f_low, loss_star)
C_BELOW_ONE = hypothesis("c <= 1", c, 1)
C_FEASIBLE = hypothesis("c ||G||_2 <= lam", c * g, lam)
GAP = (f + lam * nuc) - (loss_star + lam * nuc_star)
PAIR = tr(G.T @ XH)

# Two layers are the step of an induction over the layers.
p1, p2 = scalars("p_1 p_2", real=True)
g1, g2 = scalars("g_1 g_2")
nu1, nu2 = scalars("nu_1 nu_2", nonnegative=True)
DUAL_1, DUAL_2 = (
    DUAL_NORM.instance(
        "pairing_below",
        SPECTRAL(gradient_l, norm),
        NUCLEAR(update, nu),
        lhs=-pairing,
        where={pairing: inner(gradient_l, update)},
    )
    for gradient_l, update, pairing, norm, nu in (
        (matrix("G1", m, n), matrix("X1", m, n), p1, g1, nu1),
        (matrix("G2", m, n), matrix("X2", m, n), p2, g2, nu2),
    )
)
LARGEST_1, LARGEST_2 = hypothesis("||G_1||_2 <= g", g1, g), hypothesis("||G_2||_2 <= g", g2, g)

# With one sample and one number, and with one layer, the bounds are attained.
TIGHT = {J: [[1]], w: [[-2]], G: [[-2]], XH: [[0]], XS: [[1]], g: 2, lam: 1, c: "1/2", nuc: 0, nuc_star: 1}
TIGHT |= {f: 2, f_low: 0, loss_star: 0, paired: -2}
REACHED = {**TIGHT, XH: [[-1]], XS: [[0]], paired: 0, c: 1, lam: 2, nuc_star: 0}
ONE_LAYER = {p1: -1, p2: 0, g: 1, g1: 1, g2: "1/2", nu1: 1, nu2: 0}

# One number: z(x) = x + x^2, ell(z) = (z - 1)^2/2, lam = 1/2.
x, other, rate = scalars("x y_0 s", real=True)
PAIRED_LAM, FULL = define(rate, -lam * nuc), define(c, 1)
EXAMPLE = (define(x, -sympy.Rational(3, 2)), define(lam, sympy.Rational(1, 2)), define(nuc, sympy.Rational(3, 2)))


def residual(at: sympy.Expr) -> sympy.Expr:
    """Return z(x) - 1."""
    return at + at**2 - 1


def value(at: sympy.Expr) -> sympy.Expr:
    """Return (z(x) - 1)^2/2."""
    return residual(at) ** 2 / 2


def bound(paired: Any) -> Any:
    """Return the bound on F(X^) - T(X*), given <G, X^>."""
    return (1 - c) * (f - f_low) + lam * nuc + c * paired


CHECKS = (
    Identity(
        "chain_rule",
        "<w, J (X* - X^)> = <G, X* - X^> for G = J^T w.",
        tr(w.T @ (J @ (XS - XH))),
        tr(G.T @ (XS - XH)),
        given=(AT,),
        mutants=(
            mutant("sign", "<G, X* + X^>", rhs=tr(G.T @ (XS + XH))),
            mutant("constant", "half of it", rhs=tr(G.T @ (XS - XH)) / 2),
        ),
    ),
    Identity(
        "same_gradient",
        "Square loss, any J: the gradient of |z + J (x - x^) - y|^2/2 at x = x^ is J^T (z - y), that of the network.",
        gradient(square(z + J @ (X - XH) - y) / 2, X),
        J.T @ (z - y),
        given=(AT_POINT,),
        mutants=(
            mutant("sign", "J^T (z + y)", rhs=J.T @ (z + y)),
            mutant("constant", "twice the loss", lhs=gradient(square(z + J @ (X - XH) - y), X)),
        ),
    ),
    Inequality(
        "tangent_gap",
        "F(X^) - T(X*) <= (1 - c)(f(X^) - f_low) + lam ||X^||_* + c <G, X^>.",
        GAP,
        bound(PAIR),
        proof=[c * CONVEX, C_BELOW_ONE * LOW, c * DUAL, c * AS_VECTORS, nuc_star * C_FEASIBLE],
        given=(AT,),
        mutants=(
            mutant("sign", "- c <G, X^>", REACHED, rhs=(1 - c) * (f - f_low) + lam * nuc - c * PAIR),
            mutant("constant", "(1 - c)/2", TIGHT, rhs=(1 - c) / 2 * (f - f_low) + lam * nuc + c * PAIR),
            dropped(C_FEASIBLE, {**TIGHT, c: 1, lam: "1/2"}),
            dropped(CONVEX, {**TIGHT, f: 100}),
            dropped(C_BELOW_ONE, {**TIGHT, c: 2, lam: 4, f_low: -1}),
            dropped(LOW, {**TIGHT, f_low: 1}),
            dropped(DUAL, {**TIGHT, nuc_star: 0}),
            dropped(AS_VECTORS),
        ),
    ),
    Inequality(
        "sum_of_layers",
        "-<G_1, X*_1> - <G_2, X*_2> <= max_l ||G_l||_2 (||X*_1||_* + ||X*_2||_*).",
        -p1 - p2,
        g * (nu1 + nu2),
        proof=[DUAL_1, DUAL_2, nu1 * LARGEST_1, nu2 * LARGEST_2],
        mutants=(
            mutant("constant", "half of it", ONE_LAYER, rhs=g * (nu1 + nu2) / 2),
            mutant("sign", "nu_1 - nu_2", {**ONE_LAYER, p1: 0, nu1: 0, nu2: 1}, rhs=g * (nu1 - nu2)),
            dropped(LARGEST_2),
            dropped(DUAL_1),
        ),
    ),
    Identity(
        "zero_gap",
        "With <G, X^> = -lam ||X^||_* and c = 1, allowed for ||G||_2 <= lam, the bound is 0.",
        bound(rate),
        0,
        given=(PAIRED_LAM, FULL),
        mutants=(
            mutant("constant", "the bound is 1", rhs=1),
            mutant("sign", "<G, X^> = +lam nu", given=(define(rate, lam * nuc), FULL)),
            mutant("constant", "c = 1/2", given=(PAIRED_LAM, define(c, sympy.Rational(1, 2)))),
            dropped(PAIRED_LAM),
            dropped(FULL),
        ),
    ),
    ScalarCheck(
        "escape_rate",
        "Off the spaces of X^ the nuclear norm grows by t: lam (nu + t) - lam nu - t s = -t (s - lam), s = u^T G v.",
        lam * (nuc + t) - lam * nuc - t * rate,
        -t * (rate - lam),
        mutants=(
            mutant("sign", "-t (s + lam)", rhs=-t * (rate + lam)),
            mutant("constant", "-2 t (s - lam)", rhs=-2 * t * (rate - lam)),
        ),
    ),
    Identity(
        "example_slope",
        "The slope of (x + x^2 - 1)^2/2 between x and y is the mean residual times 1 + x + y: (x + x^2 - 1)(1 + 2 x) "
        "at y = x.",
        value(x) - value(other),
        (residual(x) + residual(other)) / 2 * (1 + x + other) * (x - other),
        mutants=(
            mutant("constant", "1 + x", rhs=(residual(x) + residual(other)) / 2 * (1 + x) * (x - other)),
            mutant("sign", "1 - x - y", rhs=(residual(x) + residual(other)) / 2 * (1 - x - other) * (x - other)),
        ),
    ),
    Identity(
        "gap_zero_example",
        "At x = -3/2 the slope is 1/2 = lam against the sign of x: <G, x> + lam |x| = 0, and ||G|| = lam.",
        (residual(x) * (1 + 2 * x) * x + lam * nuc) ** 2 + (residual(x) * (1 + 2 * x) - lam) ** 2,
        0,
        given=EXAMPLE,
        mutants=(
            mutant("constant", "1 + x", lhs=(residual(x) * (1 + x) * x + lam * nuc) ** 2),
            mutant("sign", "x = 3/2", given=(define(x, sympy.Rational(3, 2)), *EXAMPLE[1:])),
            mutant("constant", "lam = 1", given=(EXAMPLE[0], define(lam, 1), EXAMPLE[2])),
        ),
    ),
    Identity(
        "better_example",
        "F(-3/2) - F(0) = 9/32 > 0: a point of gap 0 that is not the network's optimum.",
        value(x) + lam * nuc - value(other),
        sympy.Rational(9, 32),
        given=(*EXAMPLE, define(other, 0)),
        mutants=(
            mutant("sign", "-9/32", rhs=-sympy.Rational(9, 32)),
            mutant("constant", "without the norm", lhs=value(x) - value(other)),
        ),
    ),
)

PROSE = {
    "the chain rule for a differentiable network": ("chain_rule",),
    "more than two layers, by induction": ("sum_of_layers",),
    "f changes by its slope for small t": ("escape_rate",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("tangent_certificate", THEOREM))
