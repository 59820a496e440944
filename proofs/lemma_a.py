"""How far a matrix of rank r is from one of lower rank that has a part off its singular spaces.

Statement
---------
rank X = r, rank X* = r* <= r, sigma = sigma_r(X), a = r - r*, t = sqrt(r/r*); tau_1, .., tau_k > 0 the singular
values of X*_perp = (I - P P^T) X* (I - Q Q^T), with P, Q the singular vectors of X. Then (Lemma A')

    ||X - X*||_F^2 >= sum_i (t^2 sigma^2 + phi(tau_i)),    phi(tau) = tau^2 if tau >= sigma, else 2 sigma tau - sigma^2,

and therefore (Lemma A) ||X - X*||_F^2 >= 2 t sigma ||X*_perp||_*. With tau = ||X*_perp||_*, c = tau/k: ||X - X*||_F^2
>= (a + k) sigma^2 + tau^2/k if c >= sigma, and >= a sigma^2 + 2 sigma tau always.

Assumptions
-----------
X*_perp = L1 T1 R1^T + L2 T2 R2^T, where T1 has the k1 values that are at least sigma and T2 the k2 others; where
there are none of a kind, its terms are absent. W0 has q = (r + k) - r* orthonormal columns in the span of Q, R1, R2
with X* W0 = 0.

Source
------
Beyond the paper. The idea of comparing X* with X + mu Z goes back to the rank-one counterexamples of Zhang, Sojoudi,
Lavaei, JMLR 2019.

Idea
----
Kernel count: if ||M w|| >= sigma ||w|| on a space of dimension d and rank Y <= s, then ||M - Y||_F^2 >= (d - s)
sigma^2, because Y vanishes on d - s dimensions of it. Apply it to M = X + L1 T1 R1^T + sigma L2 R2^T, which stretches
the r + k dimensions by at least sigma, and to Y = X*.

Checks
------
kernel_count : PROVED
stretch : PROVED
lower : PROVED
lower_one : PROVED
lower_mean : PROVED
lower_least : PROVED
count : PROVED
per_value : PROVED
lemma_a : PROVED

Used by
-------
No file of the package directly.
"""

from fractions import Fraction
from random import Random

from sympy import Rational

from lorasolve.symbolic import (
    Inequality,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    annihilated,
    assume,
    define,
    dims,
    dropped,
    equation,
    eye,
    hypothesis,
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

m, n, r, q, k1, k2, rs = dims("m n r q k1 k2 r_star")
t, sigma, mu = scalars("t sigma mu")
level = scalars("l", real=True)
MORE = Rational(11, 10)  # what a false twin makes of a constant
M, Y, W0, C = matrix("M", m, n), matrix("Y", m, n), matrix("W0", n, q), matrix("C", q, q)
X, XS = matrix("X", m, n), matrix("Xstar", m, n)
L1, L2, R1, R2 = matrix("L1", m, k1), matrix("L2", m, k2), matrix("R1", n, k1), matrix("R2", n, k2)
T1, T2 = matrix("T1", k1, k1, symmetric=True), matrix("T2", k2, k2, symmetric=True)
P, Q, Sigma = matrix("P", m, r), matrix("Q", n, r), matrix("Sigma", r, r, symmetric=True)
CX, C1 = matrix("CX", r, r), matrix("C1", k1, k1)
x, y1, y2 = vector("x", r), vector("y1", k1), vector("y2", k2)
LARGE_PART, SMALL_PART = L1 @ T1 @ R1.T, L2 @ R2.T


def _pair(level: Fraction, size: int, rng: Random) -> tuple[ra.RationalMatrix, ra.RationalMatrix]:
    """Return diagonal S and D with S^2 = level^2 I + D^2, from s = level (x + 1/x)/2."""
    ratios = [Fraction(rng.randint(1, 4), rng.randint(1, 3)) for _ in range(size)]
    return ra.diagonal([level * (x + 1 / x) / 2 for x in ratios]), ra.diagonal(
        [level * (x - 1 / x) / 2 for x in ratios]
    )


def _stretched(values: Values, rng: Random) -> None:
    """Make M stretch the columns of W0 to orthogonal ones of lengths of at least |l|."""
    kernel = values["W0"]
    rows, width = len(values["M"]), len(kernel[0])
    lengths, values["C"] = _pair(values[level], width, rng)
    image = ra.multiply(ra.random_orthonormal(rng, rows, width), lengths)
    rest = ra.multiply(values["M"], ra.complement(kernel))
    values["M"] = ra.add(rest, ra.multiply(image, ra.transpose(kernel)))


W0_ORTHONORMAL = orthonormal(W0)
Y_ZERO = annihilated(Y, right=(W0,))
STRETCHED = assume(
    "(M W0)^T M W0 = l^2 I + C C^T", (W0.T @ M.T @ M @ W0, level**2 * eye(q) + C @ C.T), impose=_stretched
)


def _setting(values: Values, rng: Random) -> None:
    """Choose X on W0, X* on R1, R2 and a part of it in the range of X, all in rotated coordinates."""
    a, b, c = len(values["W0"][0]), len(values["T1"]), len(values["T2"])
    rows, cols = ra.shape(values["X"])
    if min(rows, cols) < a + b + c:
        raise ra.Unfit("too small")
    left, right = ra.random_orthogonal(rng, rows), ra.random_orthogonal(rng, cols)

    def part(whole: ra.RationalMatrix, start: int, stop: int) -> ra.RationalMatrix:
        return [row[start:stop] for row in whole]

    range_x, values["W0"] = part(left, 0, a), part(right, 0, a)
    values["L1"], values["R1"] = part(left, a, a + b), part(right, a, a + b)
    values["L2"], values["R2"] = part(left, a + b, a + b + c), part(right, a + b, a + b + c)
    lengths, values["C"] = _pair(values[sigma], a, rng)
    values["X"] = ra.multiply(range_x, lengths, ra.transpose(values["W0"]))
    others = part(right, a, cols)
    star = ra.multiply(range_x, ra.random_matrix(rng, a, cols - a), ra.transpose(others))
    for outer, middle, other in (("L1", "T1", "R1"), ("L2", "T2", "R2")):
        star = ra.add(star, ra.multiply(values[outer], values[middle], ra.transpose(values[other])))
    values["Xstar"] = star


SETTING = assume(
    "L1, L2 and R1, R2 orthonormal, L1^T X = 0, L2^T X = 0, L1^T X* R1 = T1, L2^T X* R2 = T2, X* W0 = 0, W0^T W0 = I",
    (L1.T @ L1, eye(k1)),
    (L2.T @ L2, eye(k2)),
    (L1.T @ L2, zeros(k1, k2)),
    (R1.T @ R1, eye(k1)),
    (R2.T @ R2, eye(k2)),
    (R1.T @ R2, zeros(k1, k2)),
    (L1.T @ X, zeros(k1, n)),
    (L2.T @ X, zeros(k2, n)),
    (L1.T @ XS @ R1, T1),
    (L2.T @ XS @ R2, T2),
    (XS @ W0, zeros(m, q)),
    (W0.T @ W0, eye(q)),
    impose=_setting,
)
AT_LEAST = assume(
    "(M W0)^T M W0 = sigma^2 I + C C^T for M = X + L1 T1 R1^T + sigma L2 R2^T",
    (
        W0.T @ X.T @ X @ W0,
        sigma**2 * eye(q) + C @ C.T - W0.T @ (R1 @ T1 @ T1 @ R1.T + sigma**2 * R2 @ R2.T) @ W0,
    ),
)
LEFT, RIGHT = orthonormal(P, L1, L2), orthonormal(Q, R1, R2)


def _large(values: Values, rng: Random) -> None:
    """Choose Sigma and T1 with values of at least sigma."""
    values["Sigma"], values["CX"] = _pair(values[sigma], len(values["Sigma"]), rng)
    values["T1"], values["C1"] = _pair(values[sigma], len(values["T1"]), rng)


BOTH_LARGE = assume(
    "Sigma^2 = sigma^2 I + CX CX^T, T1^2 = sigma^2 I + C1 C1^T",
    (Sigma @ Sigma, sigma**2 * eye(r) + CX @ CX.T),
    (T1 @ T1, sigma**2 * eye(k1) + C1 @ C1.T),
    impose=_large,
)
FRAME = (LEFT, RIGHT, BOTH_LARGE)
COMPARED = X + LARGE_PART + sigma * SMALL_PART
DISTANCE, PERPENDICULAR = square(X - XS), tr(T1) + tr(T2)
# The same with one value mu in place of T1 and sigma.
AT_LEAST_MU = assume(
    "(M W0)^T M W0 = sigma^2 I + C C^T for M = X + mu (L1 R1^T + L2 R2^T)",
    (W0.T @ X.T @ X @ W0, sigma**2 * eye(q) + C @ C.T - mu**2 * W0.T @ (R1 @ R1.T + R2 @ R2.T) @ W0),
)


def diagonal_of(*entries: object) -> list[list[object]]:
    """Return a diagonal matrix as nested lists."""
    return [[entry if i == j else 0 for j in range(len(entries))] for i, entry in enumerate(entries)]


def _place(index: int) -> list[list[int]]:
    return [[int(i == index)] for i in range(3)]


# r = 1, X* of rank 2; and r = r* = 2, as relations between numbers.
POINT = {
    X: diagonal_of(1, 0, 0), XS: diagonal_of(0, 2, "1/2"), W0: _place(0), C: [[0]],
    L1: _place(1), R1: _place(1), L2: _place(2), R2: _place(2), T1: [[2]], T2: [["1/2"]], sigma: 1,
}  # fmt: skip
RANK_TWO = {X: diagonal_of(1, 1, 0, 0), XS: diagonal_of(0, 0, 2, "1/2"), T1: [[2]], T2: [["1/2"]], sigma: 1, t: 1, q: 2}
# All values are equal: the bounds are attained, and false with any larger constant.
TIGHT = {**RANK_TWO, XS: diagonal_of(0, 0, 1, 1), T1: [[1]], T2: [[1]], mu: 1}
NOTHING = diagonal_of(0, 0, 0)
LINE = {
    P: _place(0), L1: _place(1), L2: _place(2), Q: _place(0), R1: _place(1), R2: _place(2), Sigma: [[1]], T1: [[1]],
    CX: [[0]], C1: [[0]], x: [[1]], y1: [[0]], y2: [[0]], sigma: 1,
}  # fmt: skip

kernel_count = SumOfSquares(
    "kernel_count",
    "q l^2 <= ||M - Y||^2 for W0 of q orthonormal columns, Y W0 = 0, ||M w|| >= |l| ||w|| on them.",
    q * level**2,
    square(M - Y),
    proof=[1 * Square((M - Y) @ (eye(n) - W0 @ W0.T)), 1 * Square(C)],
    given=(W0_ORTHONORMAL, Y_ZERO, STRETCHED),
    mutants=(
        mutant("constant", "1.1 q l^2", {M: [[1]], Y: [[0]], W0: [[1]], C: [[0]], level: 1}, lhs=MORE * q * level**2),
        mutant("sign", "q l^2 >= ||M - Y||^2", lhs=square(M - Y), rhs=q * level**2),
        dropped(W0_ORTHONORMAL, {M: [[1]], Y: [[0]], W0: [[2]], C: [[0]], level: 2}),
        dropped(Y_ZERO, {M: [[1]], Y: [[1]], W0: [[1]], C: [[0]], level: 1}),
        dropped(STRETCHED, {M: [[0]], Y: [[0]], W0: [[1]], C: [[0]], level: 1}),
    ),
)
lower = SumOfSquares(
    "lower",
    "q sigma^2 + ||T1||^2 + 2 sigma tr T2 - k2 sigma^2 <= ||X - X*||^2.",
    q * sigma**2 + square(T1) + 2 * sigma * tr(T2) - k2 * sigma**2,
    DISTANCE,
    proof=[1 * Square((COMPARED - XS) @ (eye(n) - W0 @ W0.T)), 1 * Square(C)],
    given=(SETTING, AT_LEAST),
    mutants=(
        mutant(
            "constant",
            "1.1 ||T1||^2",
            {**POINT, XS: diagonal_of(0, 2, 1), T2: [[1]]},
            lhs=q * sigma**2 + MORE * square(T1) + 2 * sigma * tr(T2) - k2 * sigma**2,
        ),
        mutant("sign", "+ k2 sigma^2", POINT, lhs=q * sigma**2 + square(T1) + 2 * sigma * tr(T2) + k2 * sigma**2),
        dropped(AT_LEAST, {**POINT, X: NOTHING}),
    ),
)
ONE_VALUE = q * sigma**2 + 2 * mu * PERPENDICULAR - (k1 + k2) * mu**2
lower_one = SumOfSquares(
    "lower_one",
    "One value mu for all: q sigma^2 + 2 mu (tr T1 + tr T2) - k mu^2 <= ||X - X*||^2.",
    ONE_VALUE,
    DISTANCE,
    proof=[1 * Square((X + mu * (L1 @ R1.T + SMALL_PART) - XS) @ (eye(n) - W0 @ W0.T)), 1 * Square(C)],
    given=(SETTING, AT_LEAST_MU),
    mutants=(
        mutant(
            "constant",
            "2.2 mu tau",
            {**POINT, XS: diagonal_of(0, 1, 1), T1: [[1]], T2: [[1]], mu: 1},
            lhs=ONE_VALUE + 2 * (MORE - 1) * mu * PERPENDICULAR,
        ),
        mutant("sign", "+ k mu^2", {**POINT, mu: 1}, lhs=ONE_VALUE + 2 * (k1 + k2) * mu**2),
        dropped(AT_LEAST_MU, {**POINT, mu: 2, X: NOTHING, T2: [[1]], XS: diagonal_of(0, 2, 1), sigma: 2}),
    ),
)
MEAN = equation("mu = (tr T1 + tr T2)/k", (k1 + k2) * mu, PERPENDICULAR)
MEAN_VALUE = q * sigma**2 + PERPENDICULAR**2 / (k1 + k2)
lower_mean = Inequality(
    "lower_mean",
    "mu = tau/k: q sigma^2 + tau^2/k <= ||X - X*||^2 (allowed if tau/k >= sigma).",
    MEAN_VALUE,
    DISTANCE,
    proof=[lower_one.conclusion(), MEAN * ((mu * (k1 + k2) - PERPENDICULAR) / (k1 + k2))],
    under=(lower_one,),
    mutants=(
        mutant("constant", "1.1 tau^2/k", TIGHT, lhs=MEAN_VALUE + (MORE - 1) * PERPENDICULAR**2 / (k1 + k2)),
        mutant("sign", "||X - X*||^2 is at most minus that", {**RANK_TWO, mu: "5/4"}, lhs=DISTANCE, rhs=-MEAN_VALUE),
        dropped(MEAN, {**RANK_TWO, T1: [[4]], mu: "1/10"}),
    ),
)
LEAST_VALUE = (q - k1 - k2) * sigma**2 + 2 * sigma * PERPENDICULAR
lower_least = Inequality(
    "lower_least",
    "mu = sigma: a sigma^2 + 2 sigma tau <= ||X - X*||^2, a = q - k.",
    LEAST_VALUE,
    DISTANCE,
    proof=[lower_one.conclusion()],
    under=(lower_one,),
    given=(define(mu, sigma),),
    mutants=(
        mutant("constant", "2.2 sigma tau", TIGHT, lhs=LEAST_VALUE + 2 * (MORE - 1) * sigma * PERPENDICULAR),
        mutant("sign", "||X - X*||^2 is at most minus that", {**RANK_TWO, mu: 1}, lhs=DISTANCE, rhs=-LEAST_VALUE),
        mutant("dropped assumption", "mu is free", {**RANK_TWO, mu: "1/10", T1: [[4]]}, given=()),
    ),
)
AT_LEAST_ONE = hypothesis("1 <= t", 1, t)
DIMENSION = equation("q = r + k - r*", q, r + k1 + k2 - rs)
RATIO = equation("r = t^2 r*", r, t**2 * rs)
FEW = hypothesis("k <= r*, the rank of X*", k1 + k2, rs)
EQUAL_RANKS = {k1: 1, k2: 1, rs: 2, r: 2, q: 2, t: 1}
count = Inequality(
    "count",
    "k r/r* <= q = r + k - r*, because k <= r*.",
    (k1 + k2) * t**2,
    q,
    proof=[-1 * RATIO, (t + 1) * AT_LEAST_ONE * FEW, -1 * DIMENSION],
    mutants=(
        mutant("constant", "1.1 k r/r*", EQUAL_RANKS, lhs=MORE * (k1 + k2) * t**2),
        mutant("sign", "-q", EQUAL_RANKS, rhs=-q),
        dropped(FEW, {**EQUAL_RANKS, rs: 1, r: 4, t: 2, q: 5}),
        dropped(AT_LEAST_ONE, {k1: 3, k2: 3, rs: 9, r: 4, q: 1, t: "2/3"}),
        dropped(DIMENSION),
    ),
)
COUNT = count.conclusion()
BY_VALUE = (k1 + k2) * t**2 * sigma**2 + square(T1) + 2 * sigma * tr(T2) - k2 * sigma**2
per_value = Inequality(
    "per_value",
    "The sum over the large values of t^2 sigma^2 + tau^2, over the small ones of t^2 sigma^2 + 2 sigma tau - "
    "sigma^2, is at most ||X - X*||^2.",
    BY_VALUE,
    DISTANCE,
    proof=[lower.conclusion(), sigma**2 * COUNT],
    under=(lower, count),
    mutants=(
        mutant("constant", "1.1 ||T1||^2", TIGHT, lhs=BY_VALUE + (MORE - 1) * square(T1)),
        mutant("sign", "+ k2 sigma^2", RANK_TWO, lhs=BY_VALUE + 2 * k2 * sigma**2),
        dropped(COUNT, {**RANK_TWO, t: 3}),
    ),
)
SMALL = hypothesis("tr T2 <= k2 sigma", tr(T2), k2 * sigma)
lemma = Inequality(
    "lemma_a",
    "Together: 2 t sigma (tr T1 + tr T2) <= ||X - X*||^2.",
    2 * t * sigma * PERPENDICULAR,
    DISTANCE,
    proof=[
        per_value.conclusion(),
        1 * Square(t * sigma * eye(k1) - T1),
        k2 * sigma**2 * Square(t - 1),
        2 * sigma * AT_LEAST_ONE * SMALL,
    ],
    under=(per_value,),
    mutants=(
        mutant("constant", "2.2 t sigma", TIGHT, lhs=2 * MORE * t * sigma * PERPENDICULAR),
        dropped(AT_LEAST_ONE),
        mutant("sign", "-||X - X*||^2", RANK_TWO, rhs=-DISTANCE),
        dropped(SMALL, {**RANK_TWO, X: diagonal_of(1, 2, 0, 0), XS: diagonal_of(0, 0, 2, 3), T2: [[3]], t: 2, q: 8}),
    ),
)

CHECKS = (
    kernel_count,
    SumOfSquares(
        "stretch",
        "||M w||^2 >= sigma^2 ||w||^2 for w = Q x + R1 y1 + R2 y2, X = P Sigma Q^T, if all values of Sigma, T1 are at "
        "least sigma.",
        sigma**2 * (square(x) + square(y1) + square(y2)),
        square((P @ Sigma @ Q.T + LARGE_PART + sigma * SMALL_PART) @ (Q @ x + R1 @ y1 + R2 @ y2)),
        proof=[1 * Square(CX.T @ x), 1 * Square(C1.T @ y1)],
        given=FRAME,
        mutants=(
            mutant("constant", "1.1 sigma^2", LINE, lhs=MORE * sigma**2 * (square(x) + square(y1) + square(y2))),
            mutant("sign", "-sigma^2 on the right", LINE, lhs=0, rhs=-(sigma**2) * square(x)),
            dropped(BOTH_LARGE, {**LINE, Sigma: [[0]]}),
        ),
    ),
    lower,
    lower_one,
    lower_mean,
    lower_least,
    count,
    per_value,
    lemma,
)

PROSE = {
    "the decompositions of X and X*_perp exist; where there are no values of a kind, its terms are absent": (
        "stretch",
        "lower",
        "per_value",
        "lemma_a",
    ),
    "W0 exists: r + k dimensions, r* equations": ("kernel_count", "lower"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("lemma_a", THEOREM))
