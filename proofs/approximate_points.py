"""Approximate second-order points: what is left of the theorems before convergence, without convexity.

Statement
---------
Let ||grad L|| <= eps and hess L >= -gamma at (A, B), omega = sigma_r([A; B]), e = (||G||_2 - lam)_+, and hess f(X)[D,
D] <= beta2 ||D||_F^2 for one direction D of rank 2. Then

    e^3 <= (gamma + beta2 omega^2/2) e^2 + beta2 eps^2/2,    e <= gamma + beta2 omega^2/2 + (beta2 eps^2/2)^(1/3).

Let X* minimise F, nu = ||X*||_*, E = X - X*, T = |<grad L, theta>|/2 + e nu with theta = (A, B), and B* =
<grad f(X*), E> + lam (||X||_* - nu) >= 0. For every f

    B* + <grad f(X) - grad f(X*), E> + lam (||theta||^2/2 - ||X||_*) <= T.

So restricted strong convexity at X, alpha > 0, gives alpha ||E||_F^2 <= T, and f(X) <= f(X*) + <grad f(X*), E> + (c/2)
||E||_F^2 gives L(A, B) - F(X*) <= max(1, c/(2 alpha)) T. For convex f the factor is 1 and no alpha is needed.

Assumptions
-----------
lam >= 0, gamma >= 0 and beta2 >= 0; e may be 0. (u, v) is the top singular pair of G = grad f(X), y the right singular
vector of [A; B] to omega. nu is at most (F(X) - f_low)/lam for lam > 0. alpha cannot be computed for networks: what
rests on it is conditional.

Source
------
Beyond the paper.

Idea
----
Test the Hessian of L along U = u y^T, V = -v y^T. Stationarity makes p = u^T A y and q = v^T B y nearly equal, so
||D||^2 = omega^2 - 2 p q is at most omega^2 + (p - q)^2/2. The second part adds <grad L, theta> = 2 <G, X> + lam
||theta||^2 and norm duality.

Checks
------
residual_bound : PROVED
residuals : PROVED
second_order : PROVED
difference : PROVED
cubic : PROVED
root : PROVED
slope : PROVED
master : PROVED
distance : PROVED
gap : PROVED
convex_gap : PROVED
nuclear_bound : PROVED

Used by
-------
lorasolve/landscape/theorems.py
"""

from random import Random

from sympy import Rational

from lorasolve.symbolic import (
    Form,
    Identity,
    Inequality,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    assume,
    define,
    dims,
    dropped,
    equation,
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
)
from lorasolve.symbolic import rational as ra
from proofs import nuclear_norm_variational as nv
from proofs.facts import DUAL_NORM, NUCLEAR, NUCLEAR_IS, NUCLEAR_SUBDIFFERENTIAL, SPECTRAL, SUBGRADIENT

m, n, r = dims("m n r")
A, B, R = matrix("A", m, r), matrix("B", n, r), matrix("R", m, r)
G, GS, XS, H = (matrix(x, m, n) for x in ("G", "Gstar", "Xstar", "H"))
u, v, y = vector("u", m), vector("v", n), vector("y", r)
alpha, k, curvature = scalars("alpha k_gap beta")
lam, g, e, omega, eps, gamma, beta2 = scalars("lambda g e omega eps gamma beta_2", nonnegative=True)
# lam where it is not 0.
decay = scalars("lambda")
half = Rational(1, 2)
# The cube root of beta2 eps^2/2, and how far e is beyond the bound.
c, x = scalars("c x", nonnegative=True)
p, q, length2 = scalars("p q w_2", real=True)
U_UNIT, V_UNIT, Y_UNIT = orthonormal(u), orthonormal(v), orthonormal(y)


def _top(values: Values, rng: Random) -> None:
    """Choose G with the singular pair (u, v) of value g."""
    left, right = ra.complement(values["u"]), ra.complement(values["v"])
    rest = ra.multiply(left, values["G"], right)
    values["G"] = ra.add(rest, ra.multiply(values["u"], ra.transpose(values["v"])), values[g])


TOP = assume("G v = g u, G^T u = g v", (G @ v, g * u), (G.T @ u, g * v), impose=_top)

# (a): the gradient of L, and its Hessian along U = u y^T, V = -v y^T.
GRAD_A, GRAD_B, HESS = G @ B + lam * A, G.T @ A + lam * B, Form("hess", m, n)
TURN_A, TURN_B = u @ y.T, -1 * v @ y.T
D = TURN_A @ B.T + A @ TURN_B.T
MEETS_A, MEETS_B = tr(u.T @ A @ y), tr(v.T @ B @ y)
LENGTH = square(A @ y) + square(B @ y)
FORM = HESS(D, D) + 2 * inner(G, TURN_A @ TURN_B.T) + lam * (square(TURN_A) + square(TURN_B))
NEARLY_STATIONARY = hypothesis("||grad L|| <= eps", square(GRAD_A) + square(GRAD_B), eps**2)
NEARLY_CONVEX = hypothesis("hess L >= -gamma", -gamma * (square(TURN_A) + square(TURN_B)), FORM)
SMOOTH_D = hypothesis("hess f(X)[D, D] <= beta2 ||D||^2", HESS(D, D), beta2 * square(D))
residual_bound = SumOfSquares(
    "residual_bound",
    "(u^T R y)^2 <= ||R||^2 for unit u, y.",
    tr(u.T @ R @ y) ** 2,
    square(R),
    proof=[1 * Square(R - tr(u.T @ R @ y) * u @ y.T)],
    given=(U_UNIT, Y_UNIT),
    mutants=(
        mutant("constant", "0.95 ||R||^2", {R: [[1]], u: [[1]], y: [[1]]}, rhs=19 * square(R) / 20),
        mutant("sign", "-||R||^2", {R: [[1]], u: [[1]], y: [[1]]}, rhs=-square(R)),
        dropped(U_UNIT, {R: [[1]], u: [[2]], y: [[1]]}),
    ),
)
ONE_LINE = {u: [[1]], v: [[1]], y: [[1]], A: [[1]], B: [[1]], G: [[1]], g: 1}
residuals = Inequality(
    "residuals",
    "(g q + lam p)^2 + (g p + lam q)^2 <= eps^2 for p = u^T A y, q = v^T B y.",
    (g * MEETS_B + lam * MEETS_A) ** 2 + (g * MEETS_A + lam * MEETS_B) ** 2,
    eps**2,
    proof=[
        residual_bound.conclusion(put={R: GRAD_A}),
        residual_bound.conclusion(put={R: GRAD_B, u: v, m: n}),
        NEARLY_STATIONARY,
    ],
    given=(U_UNIT, V_UNIT, Y_UNIT, TOP),
    mutants=(
        mutant("constant", "0.95 eps^2", {**ONE_LINE, lam: 0, eps: "10/7"}, rhs=19 * eps**2 / 20),
        mutant("sign", "-eps^2", {**ONE_LINE, lam: 1, eps: 3}, rhs=-(eps**2)),
        dropped(NEARLY_STATIONARY),
        dropped(TOP),
    ),
)
second_order = Inequality(
    "second_order",
    "2 (g - lam) <= 2 gamma + beta2 (|A y|^2 + |B y|^2 - 2 p q).",
    2 * (g - lam),
    2 * gamma + beta2 * (LENGTH - 2 * MEETS_A * MEETS_B),
    proof=[NEARLY_CONVEX, SMOOTH_D],
    given=(U_UNIT, V_UNIT, Y_UNIT, TOP),
    mutants=(
        mutant(
            "constant", "1.9 gamma", {**ONE_LINE, lam: 0, gamma: 1, beta2: 1, HESS: [(0, [[0]])]}, rhs=19 * gamma / 10
        ),
        mutant(
            "sign",
            "+ 2 p q",
            {**ONE_LINE, B: [[-1]], lam: 0, gamma: 0, beta2: "1/2", HESS: [("1/2", [[1]])]},
            rhs=2 * gamma + beta2 * (LENGTH + 2 * MEETS_A * MEETS_B),
        ),
        dropped(NEARLY_CONVEX),
        dropped(SMOOTH_D),
    ),
)
# The same in numbers, for e = (g - lam)_+.
RESIDUAL_A, RESIDUAL_B = g * q + lam * p, g * p + lam * q
MEANING = {p: MEETS_A, q: MEETS_B}
RESIDUALS = residuals.conclusion(RESIDUAL_A**2 + RESIDUAL_B**2, eps**2, where=MEANING)
SECOND = second_order.conclusion(
    2 * (g - lam), 2 * gamma + beta2 * (length2 - 2 * p * q), where={**MEANING, length2: LENGTH}
)
IS_EXCESS = equation("e is 0 or g - lam", e * (g - lam), e**2)
IS_LENGTH = equation("omega^2 = |A y|^2 + |B y|^2", omega**2, length2)
ZERO = {g: 2, e: 1, gamma: 1, beta2: 1, omega: 1, length2: 1, eps: 1, p: 0, q: 0, lam: 1}
difference = Inequality(
    "difference",
    "e^2 (p - q)^2 <= 2 eps^2.",
    e**2 * (p - q) ** 2,
    2 * eps**2,
    proof=[
        2 * RESIDUALS,
        1 * Square(RESIDUAL_A + RESIDUAL_B),
        1 * Square((g - lam - e) * (p - q)),
        -2 * (p - q) ** 2 * IS_EXCESS,
    ],
    under=(residuals,),
    mutants=(
        mutant(
            "constant",
            "1.9 eps^2",
            {g: 6, e: 5, lam: 1, p: 1, q: -1, eps: "71/10"},
            rhs=Rational(19, 10) * eps**2,
        ),
        mutant("sign", "-2 eps^2", ZERO, rhs=-2 * eps**2),
        dropped(RESIDUALS),
        dropped(IS_EXCESS, {**ZERO, lam: 0, g: 0, eps: 0, p: 1}),
    ),
)
LEVEL = gamma + beta2 * omega**2 / 2
CUBIC = LEVEL * e**2 + beta2 * eps**2 / 2
cubic = Inequality(
    "cubic",
    "e^3 <= (gamma + beta2 omega^2/2) e^2 + beta2 eps^2/2.",
    e**3,
    CUBIC,
    proof=[
        e**2 / 2 * SECOND,
        -e * IS_EXCESS,
        -beta2 * e**2 / 2 * IS_LENGTH,
        beta2 / 4 * difference.conclusion(),
        beta2 * e**2 / 4 * Square(p + q),
    ],
    under=(difference, second_order),
    mutants=(
        mutant(
            "constant",
            "0.95 gamma",
            {**ZERO, beta2: 0, omega: 0, length2: 0, eps: 0},
            rhs=CUBIC - gamma * e**2 / 20,
        ),
        mutant(
            "constant",
            "0.95 beta2 omega^2/2",
            {**ZERO, gamma: 0, beta2: 2, eps: 0},
            rhs=CUBIC - beta2 * omega**2 * e**2 / 40,
        ),
        mutant(
            "constant",
            "beta2 eps^2/3",
            {**ZERO, gamma: 0, lam: 0, g: 1, omega: 0, length2: 0, p: 1, q: -1, eps: "3/2", beta2: 1},
            rhs=CUBIC - beta2 * eps**2 / 6,
        ),
        mutant("sign", "minus", ZERO, rhs=-CUBIC),
        dropped(SECOND, {**ZERO, gamma: 0, beta2: 0}),
        dropped(IS_EXCESS, {**ZERO, g: 1, gamma: 0, beta2: 0}),
        dropped(IS_LENGTH, {**ZERO, gamma: 0, omega: 0, length2: 4, eps: 0}),
    ),
)
IS_CUBE_ROOT = equation("c^3 = beta2 eps^2/2", c**3, beta2 * eps**2 / 2)
CUBIC_BEYOND = cubic.conclusion(put={e: LEVEL + c + x})
ROOT_ALONE = {gamma: 0, omega: 0, beta2: 2, eps: 1, c: 1, x: 0}

# (b), (c): X = A B^T.
X = A @ B.T
E = X - XS
THETA = square(A) + square(B)
PAIRING = inner(G @ B + lam * A, A) + inner(G.T @ A + lam * B, B)
nu, slope, bound = scalars("nu s T", nonnegative=True)
nuc, f, f_star, f_low = scalars("x_nuc f f_star f_low", real=True)
# G as lam + e times a matrix K with ||K||_2 <= 1, so that both may be 0.
K = matrix("K", m, n)
SCALED = define(G, (lam + e) * K)
DUAL = DUAL_NORM.instance("pairing_below", SPECTRAL(K, 1), NUCLEAR(XS, nu))
SLOPE = hypothesis("<grad L, theta> <= 2 s", PAIRING, 2 * slope)
BREGMAN = inner(GS, E) + lam * (nuc - nu)
LEFT = BREGMAN + inner(G - GS, E) + lam * (THETA / 2 - nuc)
# X = X* = 1 in one dimension, at factors 2 and 1/2: a point that is not stationary, where everything is tight.
MEETING = {A: [[2]], B: [["1/2"]], XS: [[1]], G: [[-2]], GS: [[-1]], lam: 1, e: 1, nu: 1, nuc: 1, slope: "1/8"}
master = Inequality(
    "master",
    "B* + <G - G*, E> + lam (||theta||^2/2 - ||X||_*) <= s + e nu = T.",
    LEFT,
    slope + e * nu,
    proof=[(lam + e) * DUAL, SLOPE / 2],
    given=(SCALED,),
    mutants=(
        mutant("constant", "0.95 e nu", {**MEETING, K: [[-1]]}, rhs=slope + Rational(19, 20) * e * nu),
        mutant("sign", "s - e nu", rhs=slope - e * nu),
        dropped(DUAL),
        dropped(SLOPE),
    ),
)
MASTER = master.conclusion()
# f = (x - 1)^2/2 - x and X* = 1 as scalars, at A = B = 0.
ORIGIN = {A: [[0]], B: [[0]], XS: [[1]], G: [[-2]], GS: [[-1]], H: [[1]], lam: 1, e: 1, nu: 1, nuc: 0, slope: 0}
ORIGIN |= {alpha: 1}
STEEP = {**ORIGIN, f: 2, f_star: 0, curvature: 2, k: 1}
# f = x^2/2, X* = 0 and x = 1: everything is tight.
AT_ONE = {A: [[1]], B: [[1]], XS: [[0]], G: [[1]], GS: [[0]], H: [[0]], lam: 1, e: 1, nu: 0, nuc: 1, slope: 2}
AT_ONE |= {alpha: 1, curvature: 1, f: half, f_star: 0, k: 1}
FAR = {A: [["-3/2", 0]], B: [[0, "-4/3"]], GS: [[2]], H: [[-1]], XS: [[1]], G: [[1]], alpha: 1, e: 3, lam: 2}
FAR |= {curvature: 2, k: 1, nu: 1, slope: Rational(1, 3), nuc: 2, f: Rational(-4, 3), f_star: 3}
CONVEX = hypothesis("restricted strong convexity", alpha * square(E), inner(G - GS, E))
# lam times it says B* >= 0. For lam = 0 any subgradient H will do, as grad f(X*) = 0.
OPTIMAL = define(GS, -lam * H)
POSITIVE = NUCLEAR_SUBDIFFERENTIAL.instance(
    "subgradient", SUBGRADIENT(H, 1, XS), NUCLEAR_IS(XS, nu), NUCLEAR_IS(X, nuc)
)
DECAY = nv.lower_bound.conclusion(nuc, THETA / 2, where={nuc: tr(nv.Sigma)})
distance = Inequality(
    "distance",
    "alpha ||X - X*||^2 <= T.",
    alpha * square(E),
    slope + e * nu,
    proof=[MASTER, CONVEX, lam * POSITIVE, lam * DECAY],
    under=(master, nv.lower_bound),
    given=(OPTIMAL,),
    mutants=(
        mutant("constant", "T/2", STEEP, rhs=(slope + e * nu) / 2),
        mutant("sign", "s - e nu", STEEP, rhs=slope - e * nu),
        dropped(MASTER),
        dropped(CONVEX),
        dropped(POSITIVE),
        # H = -1 at X* = 1 is no subgradient, which shows where DECAY is missing.
        dropped(DECAY, {**ORIGIN, H: [[-1]], GS: [[1]], G: [[0]], nuc: 2, e: Rational(1, 10)}),
    ),
)
SMOOTH = hypothesis("f(X) <= f* + <G*, E> + (c/2) ||E||^2", f, f_star + inner(GS, E) + curvature / 2 * square(E))
AT_LEAST_ONE, ENOUGH = hypothesis("1 <= k", 1, k), hypothesis("c <= 2 alpha k", curvature, 2 * alpha * k)
GAP = f + lam * THETA / 2 - f_star - lam * nu
gap = Inequality(
    "gap",
    "L(A, B) - F(X*) <= k T for k >= 1, k >= c/(2 alpha).",
    GAP,
    k * (slope + e * nu),
    proof=[
        SMOOTH,
        k * MASTER,
        k * CONVEX,
        lam * AT_LEAST_ONE * POSITIVE,
        lam * AT_LEAST_ONE * DECAY,
        half * ENOUGH * Square(E),
    ],
    under=(master, nv.lower_bound),
    given=(OPTIMAL,),
    mutants=(
        mutant("constant", "k T/2", STEEP, rhs=k * (slope + e * nu) / 2),
        mutant("sign", "k (s - e nu)", FAR, rhs=k * (slope - e * nu)),
        dropped(SMOOTH, {**STEEP, f: 10}),
        dropped(MASTER),
        dropped(CONVEX),
        dropped(AT_LEAST_ONE, {**AT_ONE, k: half}),
        dropped(ENOUGH, {**AT_ONE, curvature: 4, f: 2}),
        dropped(POSITIVE, {**AT_ONE, G: [[-1]], GS: [[-2]], H: [[2]], slope: 0, curvature: 4, f: 0, k: 2}),
    ),
)
BELOW = hypothesis("f is convex: f* >= f + <G, X* - X>", f - inner(G, E), f_star)

CHECKS = (
    residual_bound,
    residuals,
    second_order,
    difference,
    cubic,
    Inequality(
        "root",
        "No e = gamma + beta2 omega^2/2 + (beta2 eps^2/2)^(1/3) + x is beyond that bound: x >= 0 has x^3 <= 0.",
        x**3,
        0,
        proof=[
            CUBIC_BEYOND,
            -1 * IS_CUBE_ROOT,
            (c + x) * (LEVEL**2 + 2 * LEVEL * (c + x) + 3 * c * x),
        ],
        under=(cubic,),
        mutants=(
            mutant("constant", "x + c: the bound without its root", ROOT_ALONE, lhs=(x + c) ** 3),
            mutant("constant", "x + c/20", ROOT_ALONE, lhs=(x + c / 20) ** 3),
            mutant("sign", "gamma - x", {**ROOT_ALONE, gamma: 1, beta2: 0, c: 0}, lhs=gamma**3 - x**3),
            dropped(IS_CUBE_ROOT, {**ROOT_ALONE, c: 0, x: 1}),
            dropped(CUBIC_BEYOND, {**ROOT_ALONE, x: 1}),
        ),
    ),
    Identity(
        "slope",
        "<grad_A L, A> + <grad_B L, B> = 2 <G, X> + lam (||A||^2 + ||B||^2).",
        PAIRING,
        2 * inner(G, X) + lam * THETA,
        mutants=(
            mutant("sign", "- lam", rhs=2 * inner(G, X) - lam * THETA),
            mutant("constant", "<G, X>", rhs=inner(G, X) + lam * THETA),
        ),
    ),
    master,
    distance,
    gap,
    Inequality(
        "convex_gap",
        "Convex f: L(A, B) - F(X*) <= T.",
        GAP,
        slope + e * nu,
        proof=[BELOW, (lam + e) * DUAL, SLOPE / 2],
        given=(SCALED,),
        mutants=(
            mutant("constant", "T/2", {**STEEP, K: [[-1]]}, rhs=(slope + e * nu) / 2),
            mutant("sign", "s - e nu", {**STEEP, K: [[-1]]}, rhs=slope - e * nu),
            dropped(BELOW),
        ),
    ),
    Inequality(
        "nuclear_bound",
        "nu <= (F(X) - f_low)/lam, because F(X*) <= F(X) and f* >= f_low.",
        nu,
        (f + decay * nuc - f_low) / decay,
        proof=[
            hypothesis("F(X*) <= F(X)", f_star + decay * nu, f + decay * nuc) / decay,
            hypothesis("f_low <= f*", f_low, f_star) / decay,
        ],
        mutants=(
            mutant(
                "constant",
                "half",
                {f: 0, f_star: 0, f_low: 0, nu: 1, nuc: 1, decay: 1},
                rhs=(f + decay * nuc - f_low) / (2 * decay),
            ),
            mutant(
                "sign",
                "+ f_low",
                {f: 0, f_star: 0, f_low: -1, nu: 1, nuc: 1, decay: 1},
                rhs=(f + decay * nuc + f_low) / decay,
            ),
        ),
    ),
)

PROSE = {
    "G and the stacked factors have singular vectors u, v and y": ("residuals", "second_order", "cubic"),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(nv.THEOREM,), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("approximate_points", THEOREM))
