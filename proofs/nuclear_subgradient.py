"""The subgradients of the nuclear norm that the theorems use.

Statement
---------
For X = P Sigma Q^T and K with P^T K = 0, K Q = 0, ||K||_2 <= 1, the matrix g = P Q^T + K is a subgradient of ||.||_*
at X: ||Y||_* >= ||X||_* + <g, Y - X> for every Y. Conversely a subgradient g at X has ||g||_2 <= 1, <g, X> = ||X||_*,
and g v = u for each pair u, v of singular vectors of X, so that sigma_i(g) = 1 for i <= rank X. If X* minimises f +
lam ||.||_*, -grad f(X*) is a subgradient of lam ||.||_* at X*; f need not be convex. For subgradients g at X and h at
Y of one function, <g - h, X - Y> >= 0.

Assumptions
-----------
K^T K = I - Q Q^T - F^T F says ||K||_2 <= 1 and K Q = 0; Y = U T T^T V^T with orthonormal columns, ||Y||_* = tr T T^T.

Source
------
Watson, Linear Algebra Appl. 170 (1992); Rockafellar, Convex Analysis, sections 23-24.

Idea
----
g^T g = I - F^T F, so norm duality gives <g, Y> <= ||Y||_*, with equality at X. At a minimizer compare X* with X* + s
(Y - X*): the difference quotient of f is at least lam (||X*||_* - ||Y||_*) for every s in (0, 1], because the norm is
convex. Its limit for s -> 0 is <grad f(X*), Y - X*>.

Checks
------
contraction : PROVED
pairing_at_x : PROVED
subgradient : PROVED
convex_norm : PROVED
minimizer_quotient : PROVED
monotone : PROVED
pairing_forced : PROVED
pairing_from_above : PROVED
norm_forced : PROVED
pair_forced : PROVED
singular_vectors : PROVED
values_forced : PROVED

Used by
-------
No file of the package directly.
"""

from fractions import Fraction
from random import Random

import sympy

from lorasolve.symbolic import (
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

m, n, k, q = dims("m n k q")
half = sympy.Rational(1, 2)
lam = scalars("lambda", nonnegative=True)
P, Q, Sigma = matrix("P", m, k), matrix("Q", n, k), matrix("Sigma", k, k, symmetric=True)
K, F, U, V, T = matrix("K", m, n), matrix("F", n, n), matrix("U", m, q), matrix("V", n, q), matrix("T", q, q)
X, Y, SLOPE = P @ Sigma @ Q.T, U @ T @ T.T @ V.T, P @ Q.T + K
NORM_X, NORM_Y = tr(Sigma), tr(T @ T.T)


def _contraction(values: Values, rng: Random) -> None:
    """Choose P and the columns of K from one orthogonal matrix, K and F in the proportion 3 : 4 on the rest of Q."""
    values["Q"] = ra.made_orthonormal(rng, values["Q"])
    rest = ra.complement(values["Q"])
    rows, kept, width = len(values["K"]), len(values["P"][0]), len(rest)
    if rows < kept + width:
        raise ra.Unfit("too few rows")
    whole = ra.random_orthogonal(rng, rows)
    values["P"] = [row[:kept] for row in whole]
    values["K"] = ra.scale(Fraction(3, 5), ra.multiply([row[kept : kept + width] for row in whole], rest))
    values["F"] = ra.scale(Fraction(4, 5), rest)


def _forced(values: Values, rng: Random) -> None:
    """Make G map V1 to lam U1."""
    rest = ra.multiply(values["G"], ra.complement(values["V1"]))
    image = ra.multiply(values["U1"], ra.transpose(values["V1"]))
    values["G"] = ra.add(rest, image, values[lam])


P_ORTHONORMAL, Q_ORTHONORMAL = orthonormal(P), orthonormal(Q)
U_ORTHONORMAL, V_ORTHONORMAL = orthonormal(U), orthonormal(V)
SMALL = assume(
    "P^T K = 0, K^T K = I - Q Q^T - F^T F",
    (P.T @ K, zeros(k, n)),
    (K.T @ K, eye(n) - Q @ Q.T - F.T @ F),
    impose=_contraction,
)
FRAME = (P_ORTHONORMAL, Q_ORTHONORMAL, SMALL)

# Convexity along the segment, from a subgradient g with ||g||_2 <= 1 at the point between: numbers only.
s = scalars("s")
at_x, at_y, between, here, there = scalars("x y z a b", nonnegative=True)
gx, gy = scalars("g_x g_y", real=True)
AT_MOST_ONE = hypothesis("s <= 1", s, 1)
PAIRED = equation("||(1 - s) X + s Y||_* = (1 - s) <g, X> + s <g, Y>", between, (1 - s) * gx + s * gy)
DUAL_X, DUAL_Y = hypothesis("<g, X> <= ||X||_*", gx, at_x), hypothesis("<g, Y> <= ||Y||_*", gy, at_y)
convex_norm = Inequality(
    "convex_norm",
    "||(1 - s) X + s Y||_* <= (1 - s) ||X||_* + s ||Y||_* for 0 < s <= 1.",
    between,
    (1 - s) * at_x + s * at_y,
    proof=[1 * PAIRED, AT_MOST_ONE * DUAL_X, s * DUAL_Y],
    mutants=(
        mutant(
            "constant",
            "half of ||X||_*",
            {s: "1/2", at_x: 1, at_y: 0, between: "1/2", gx: 1, gy: 0},
            rhs=(1 - s) * at_x / 2 + s * at_y,
        ),
        mutant(
            "sign",
            "- s ||Y||_*",
            {s: "1/2", at_x: 1, at_y: 1, between: 1, gx: 1, gy: 1},
            rhs=(1 - s) * at_x - s * at_y,
        ),
        dropped(DUAL_X, {s: "1/2", at_x: 0, at_y: 0, between: "1/2", gx: 1, gy: 0}),
        dropped(AT_MOST_ONE, {s: 2, at_x: 1, at_y: 1, between: 3, gx: -1, gy: 1}),
    ),
)
CONVEX_NORM = convex_norm.conclusion()
f_star, f_moved = scalars("f_star f_s", real=True)
MINIMAL = hypothesis("F(X*) <= F(X* + s (Y - X*))", f_star + lam * at_x, f_moved + lam * between)

# Two subgradients of one function.
g, h, X1, X2 = (matrix(name, m, n) for name in ("g", "h", "X1", "X2"))
f1, f2 = scalars("f_1 f_2", real=True)
AT_1 = hypothesis("g is a subgradient at X1", f1 + inner(g, X2 - X1), f2)
AT_2 = hypothesis("h is a subgradient at X2", f2 + inner(h, X1 - X2), f1)

# What a subgradient of ||.||_* at X must satisfy; g_y is u^T g v here.
at_zero, at_double = scalars("z_0 z_2", nonnegative=True)
AT_ZERO = hypothesis("g is a subgradient, Y = 0", at_x + inner(g, zeros(m, n) - X1), at_zero)
AT_DOUBLE = hypothesis("g is a subgradient, Y = 2 X", at_x + inner(g, 2 * X1 - X1), at_double)
NORM_OF_ZERO = equation("||0||_* = 0", at_zero, 0)
DOUBLED = equation("||2 X||_* = 2 ||X||_*", at_double, 2 * at_x)
AT_MOVED = hypothesis("g is a subgradient, Y = X + u v^T", at_x + gy, at_y)
LENGTHENED = hypothesis("||X + u v^T||_* <= ||X||_* + 1", at_y, at_x + 1)

# X = sigma u v^T + R with a pair u, v of its singular vectors: g gains no more on R than ||R||_*.
u, v = vector("u", m), vector("v", n)
value, rest, at_rest = scalars("sigma"), matrix("R", m, n), scalars("r", nonnegative=True)
ONE_PAIR = define(X1, value * u @ v.T + rest)
REST = hypothesis("<g, R> <= ||R||_*", inner(g, rest), at_rest)
APART = equation("||X||_* = sigma + ||R||_*", at_x, value + at_rest)
ONE_VALUE = {g: [[1]], X1: [[1]], u: [[1]], v: [[1]], value: 1, rest: [[0]], at_rest: 0, at_x: 1, at_zero: 0}

# Where a subgradient has value one: |g v - u|^2 = |g v|^2 - 2 u^T g v + 1.
UV_UNIT = (orthonormal(u), orthonormal(v))
PAIR_ONE = equation("u^T g v = 1", tr(u.T @ g @ v), 1)
SHORT = hypothesis("|g v| <= |v|", square(g @ v), square(v))

subgradient = SumOfSquares(
    "subgradient",
    "||X||_* + <g, Y - X> <= ||Y||_*.",
    NORM_X + inner(SLOPE, Y - X),
    NORM_Y,
    proof=[half * Square(U @ T - SLOPE @ V @ T), half * Square(F @ V @ T)],
    given=(*FRAME, U_ORTHONORMAL, V_ORTHONORMAL),
    mutants=(
        mutant("constant", "||Y||_*/2", rhs=NORM_Y / 2),
        mutant("sign", "-||X||_*", lhs=inner(SLOPE, Y - X) + 3 * NORM_X, rhs=NORM_Y),
        dropped(SMALL),
    ),
)
minimizer_quotient = Inequality(
    "minimizer_quotient",
    "(f(X*) - f(X* + s (Y - X*)))/s <= lam (||Y||_* - ||X*||_*) for 0 < s <= 1.",
    (f_star - f_moved) / s,
    lam * (at_y - at_x),
    proof=[MINIMAL / s, lam / s * CONVEX_NORM],
    under=(convex_norm,),
    mutants=(
        mutant(
            "constant",
            "half of it",
            {f_star: 1, f_moved: 0, s: 1, lam: 1, at_x: 0, at_y: 1, between: 1, gx: 0, gy: 1},
            rhs=lam * (at_y - at_x) / 2,
        ),
        mutant(
            "sign",
            "||X*||_* - ||Y||_*",
            {f_star: 1, f_moved: 0, s: 1, lam: 1, at_x: 0, at_y: 1, between: 1, gx: 0, gy: 1},
            rhs=lam * (at_x - at_y),
        ),
        dropped(MINIMAL, {f_star: 3, f_moved: 0, s: 1, lam: 1, at_x: 0, at_y: 1, between: 1, gx: 0, gy: 1}),
    ),
)
monotone = Inequality(
    "monotone",
    "<g - h, X1 - X2> >= 0.",
    0,
    inner(g - h, X1 - X2),
    proof=[AT_1, AT_2],
    mutants=(
        mutant("sign", "<g - h, X1 - X2> <= 0", lhs=inner(g - h, X1 - X2), rhs=0),
        mutant("constant", "at least 1", {g: [[0]], h: [[0]], X1: [[0]], X2: [[0]], f1: 0, f2: 0}, lhs=1),
        dropped(AT_1),
    ),
)
pairing_forced = Inequality(
    "pairing_forced",
    "A subgradient has <g, X> >= ||X||_*: compare with Y = 0.",
    at_x,
    inner(g, X1),
    proof=[AT_ZERO, NORM_OF_ZERO],
    mutants=(
        mutant("constant", "2 ||X||_*", {g: [[1]], X1: [[1]], at_x: 1, at_zero: 0}, lhs=2 * at_x),
        mutant("sign", "-<g, X>", {g: [[1]], X1: [[1]], at_x: 1, at_zero: 0}, rhs=-inner(g, X1)),
        dropped(AT_ZERO),
        dropped(NORM_OF_ZERO, {g: [[0]], X1: [[1]], at_x: 1, at_zero: 1}),
    ),
)
pairing_from_above = Inequality(
    "pairing_from_above",
    "and <g, X> <= ||X||_*: compare with Y = 2 X.",
    inner(g, X1),
    at_x,
    proof=[AT_DOUBLE, DOUBLED],
    mutants=(
        mutant("constant", "||X||_*/2", {g: [[1]], X1: [[1]], at_x: 1, at_double: 2}, rhs=at_x / 2),
        mutant("sign", "-||X||_*", {g: [[1]], X1: [[1]], at_x: 1, at_double: 2}, rhs=-at_x),
        dropped(AT_DOUBLE, {g: [[2]], X1: [[1]], at_x: 1, at_double: 2}),
        dropped(DOUBLED, {g: [[2]], X1: [[1]], at_x: 1, at_double: 3}),
    ),
)
# G = lam g with g V = U: the values of G on the span of V are all lam.
Gl, U1, V1, c = matrix("G", m, n), matrix("U1", m, k), matrix("V1", n, k), vector("c", k)
level = scalars("t")
U1_ORTHONORMAL, V1_ORTHONORMAL = orthonormal(U1), orthonormal(V1)
FORCED = assume("G V1 = lam U1 (check singular_vectors)", (Gl @ V1, lam * U1), impose=_forced)
ONE_UNIT = orthonormal(c)
BELOW_LEVEL = hypothesis("|G V1 c| <= t |V1 c|", square(Gl @ V1 @ c), level**2 * square(V1 @ c))
AT_LEVEL = {Gl: [[1]], U1: [[1]], V1: [[1]], c: [[1]], lam: 1, level: 1}
values_forced = Inequality(
    "values_forced",
    "lam <= t if sigma_i(G) <= t, i <= rank X: some unit vector w = V1 c of the i dimensions has |G w| <= t.",
    lam,
    level,
    proof=[BELOW_LEVEL / (lam + level)],
    given=(U1_ORTHONORMAL, V1_ORTHONORMAL, ONE_UNIT, FORCED),
    mutants=(
        mutant("constant", "t/2", AT_LEVEL, rhs=level / 2),
        mutant("sign", "-t", AT_LEVEL, rhs=-level),
        dropped(FORCED, {**AT_LEVEL, lam: 2}),
        dropped(BELOW_LEVEL, {**AT_LEVEL, level: "1/2"}),
    ),
)

CHECKS = (
    Identity(
        "contraction",
        "g^T g = I - F^T F: ||g||_2 <= 1.",
        SLOPE.T @ SLOPE,
        eye(n) - F.T @ F,
        given=(P_ORTHONORMAL, SMALL),
        mutants=(
            mutant("sign", "I + F^T F", rhs=eye(n) + F.T @ F),
            mutant("constant", "2 I", rhs=2 * eye(n) - F.T @ F),
            dropped(SMALL),
        ),
    ),
    Identity(
        "pairing_at_x",
        "<g, X> = ||X||_*.",
        inner(SLOPE, X),
        NORM_X,
        given=FRAME,
        mutants=(
            mutant("sign", "-||X||_*", rhs=-NORM_X),
            mutant("constant", "2 ||X||_*", rhs=2 * NORM_X),
            dropped(SMALL),
        ),
    ),
    subgradient,
    convex_norm,
    minimizer_quotient,
    monotone,
    pairing_forced,
    pairing_from_above,
    Inequality(
        "norm_forced",
        "A subgradient has u^T g v <= 1 for unit u, v: compare with Y = X + u v^T, whose norm is at most ||X||_* + 1.",
        gy,
        1,
        proof=[AT_MOVED, LENGTHENED],
        mutants=(
            mutant("constant", "1/2", {at_x: 0, at_y: 1, gy: 1}, rhs=half),
            mutant("sign", "-1", {at_x: 0, at_y: 1, gy: 1}, rhs=-1),
            dropped(AT_MOVED),
            dropped(LENGTHENED, {at_x: 0, at_y: 2, gy: 2}),
        ),
    ),
    Inequality(
        "pair_forced",
        "and u^T g v >= 1 for a pair u, v of singular vectors of X with a value sigma > 0: <g, X> leaves no other way.",
        1,
        tr(u.T @ g @ v),
        proof=[pairing_forced.conclusion() / value, REST / value, -1 / value * APART],
        given=(ONE_PAIR,),
        under=(pairing_forced,),
        mutants=(
            mutant("constant", "at least 2", ONE_VALUE, lhs=2),
            mutant("sign", "-u^T g v", ONE_VALUE, rhs=-tr(u.T @ g @ v)),
            dropped(REST),
            dropped(APART),
        ),
    ),
    Inequality(
        "singular_vectors",
        "u^T g v = 1 and |g v| <= |v| for unit u, v give |g v - u|^2 <= 0: g v = u.",
        square(g @ v - u),
        0,
        proof=[SHORT, -2 * PAIR_ONE],
        given=UV_UNIT,
        mutants=(
            mutant("sign", "g v = -u", {g: [[1]], u: [[1]], v: [[1]]}, lhs=square(g @ v + u)),
            mutant("constant", "at most -1", {g: [[1]], u: [[1]], v: [[1]]}, rhs=-1),
            dropped(PAIR_ONE, {g: [[0]], u: [[1]], v: [[1]]}),
            dropped(SHORT, {g: [[1, 0], [1, 0]], u: [[1], [0]], v: [[1], [0]]}),
        ),
    ),
    values_forced,
)

PROSE = {
    "F, U, T and V exist by the spectral theorem": ("contraction", "subgradient", "convex_norm"),
    "the limit s -> 0": ("minimizer_quotient",),
    "u^T g v <= 1 for all unit vectors says ||g||_2 <= 1, which gives <g, R> <= ||R||_* (norm_duality)": (
        "norm_forced",
        "pair_forced",
        "singular_vectors",
    ),
    "of any i dimensions, some unit vector is stretched by G to no more than sigma_i(G)": ("values_forced",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("nuclear_subgradient", THEOREM))
