"""The smallest curvature at the minimizer, and the local rate of gradient descent.

Statement
---------
Let lam > 0, X* = P Sigma Q^T of rank r* >= 1 minimise F, A = [P Sigma^(1/2), 0], B = [Q Sigma^(1/2), 0] balanced
factors with r columns, S = grad f(X*) + lam P Q^T, and hess f(X*)[D, D] >= alpha ||D||_F^2, alpha > 0, for the
directions D = U B^T + A V^T. Off the symmetries, every eigenvalue of hess L is at least

    mu = min(2 alpha sigma_{r*}, lam - ||S||_2)                               if r > r*,
    mu = min(2 alpha sigma_{r*}, 2 lam, alpha sigma_{r*} + lam - ||S||_2)     if r = r*.

Gradient descent with a step eta <= 2/(mu + M), M the largest eigenvalue, contracts by 1 - eta mu near X*, to first
order in the distance.

Assumptions
-----------
P^T S = 0, S Q = 0, ||S||_2 <= s < lam: strict complementarity, which only the columns beyond r* need. For the rate hess
f is continuous at X*.

Source
------
Beyond the paper.

Idea
----
Write U = [P M + U0, P N1 + U1], V = [Q N + V0, Q N2 + V1] for the first r* and the other columns. The form splits
into M, N; U0, V0; N1, N2; and U1, V1. The second and fourth are squares after s is split off; the first is one 4 x 4
form for each pair of singular values.

Checks
------
split : PROVED
outside : PROVED
spare : PROVED
spare_symmetries : PROVED
pair : PROVED
symmetry : PROVED
diagonal : PROVED
rate : PROVED

Used by
-------
lorasolve/comparison/_rates.py, lorasolve/comparison/rows.py
"""

from fractions import Fraction
from random import Random

from sympy import Rational

from lorasolve.symbolic import (
    Identity,
    Inequality,
    MatrixExpr,
    ScalarExpr,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    annihilated,
    assume,
    define,
    dims,
    dropped,
    eye,
    hypothesis,
    inner,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    square,
)
from lorasolve.symbolic import rational as ra

m, n, rs, k = dims("m n r_star k")
alpha, lam, s, sigma, mu, a, b, eta, top = scalars("alpha lambda s sigma mu a b eta M_max")
P, Q, Root, C = matrix("P", m, rs), matrix("Q", n, rs), matrix("Root", rs, rs, symmetric=True), matrix("C", rs, rs)
S, F = matrix("S", m, n), matrix("F", n, n)
M, N, U0, V0 = matrix("M", rs, rs), matrix("N", rs, rs), matrix("U0", m, rs), matrix("V0", n, rs)
N1, N2, U1, V1 = matrix("N1", rs, k), matrix("N2", rs, k), matrix("U1", m, k), matrix("V1", n, k)

P_ORTHONORMAL, Q_ORTHONORMAL = orthonormal(P), orthonormal(Q)
S_OFF = annihilated(S, left=(P,), right=(Q,))
OFF = (annihilated(U0, left=(P,)), annihilated(V0, left=(Q,)), annihilated(U1, left=(P,)), annihilated(V1, left=(Q,)))
FIRST_U, FIRST_V, LAST_U, LAST_V = P @ M + U0, Q @ N + V0, P @ N1 + U1, Q @ N2 + V1
CHANGE = FIRST_U @ Root @ Q.T + P @ Root @ FIRST_V.T
SLOPE = S - lam * P @ Q.T
FORM = (
    alpha * square(CHANGE)
    + 2 * inner(SLOPE, FIRST_U @ FIRST_V.T + LAST_U @ LAST_V.T)
    + lam * (square(FIRST_U) + square(FIRST_V) + square(LAST_U) + square(LAST_V))
)


def off(left: MatrixExpr, right: MatrixExpr) -> ScalarExpr:
    """Return the part of the form that couples directions off P and Q."""
    return 2 * inner(S, left @ right.T) + lam * (square(left) + square(right))


INSIDE = alpha * square(M @ Root + Root @ N.T) + lam * square(M - N)
OUTSIDE = alpha * (square(U0 @ Root) + square(V0 @ Root)) + off(U0, V0)
SPARE = lam * square(N1 - N2) + off(U1, V1)


def _bounded(values: Values, rng: Random) -> None:
    """Choose S and F in the proportion 3 : 4, and Root and C with x^2 = sigma + c^2."""
    rows, cols = ra.shape(values["S"])
    values["S"] = ra.scale(values[s] * Fraction(3, 5), ra.random_orthonormal(rng, rows, cols))
    values["F"] = ra.scale(values[s] * Fraction(4, 5), ra.random_orthogonal(rng, cols))


def _above(values: Values, rng: Random) -> None:
    """Choose diagonal Root and C with x^2 = sigma + c^2, sigma a square."""
    level = Fraction(rng.randint(1, 3), rng.randint(1, 2))
    values[sigma] = level**2
    ratios = [Fraction(rng.randint(1, 4), rng.randint(1, 3)) for _ in values["Root"]]
    values["Root"] = ra.diagonal([level * (x + 1 / x) / 2 for x in ratios])
    values["C"] = ra.diagonal([level * (x - 1 / x) / 2 for x in ratios])


NORM = assume("S^T S = s^2 I - F^T F", (S.T @ S, s**2 * eye(n) - F.T @ F), impose=_bounded)
LEAST = assume("Root^2 = sigma I + C C^T", (Root @ Root, sigma * eye(rs) + C @ C.T), impose=_above)

# One pair of singular values a^2, b^2: the entries (i, j) and (j, i) of M and N.
m1, n1, m2, n2 = scalars("m_1 n_1 m_2 n_2", real=True)
PAIR = alpha * ((b * m1 + a * n2) ** 2 + (a * m2 + b * n1) ** 2) + lam * ((m1 - n1) ** 2 + (m2 - n2) ** 2)
LENGTH = a**2 + b**2
ACROSS_ALIKE = (define(m1, a), define(n1, a), define(n2, -b), define(m2, -b))
even, odd = scalars("u v", real=True)
EVEN_AND_ODD = (define(m1, even + odd), define(n1, even - odd))
# In the plane (m_1, n_2) and in (n_1, m_2): along (b, a), and across.
ALONG_1, ALONG_2, ACROSS_1, ACROSS_2 = b * m1 + a * n2, b * n1 + a * m2, a * m1 - b * n2, a * n1 - b * m2
SMALL_ALPHA, SMALL_LAM = (
    hypothesis("mu <= alpha (s_i + s_j)", mu, alpha * LENGTH),
    hypothesis("mu <= 2 lam", mu, 2 * lam),
)
AWAY = (ALONG_1**2 + ALONG_2**2 + (ACROSS_1 - ACROSS_2) ** 2 / 2) / LENGTH
# An eigenvalue a of the Hessian, and a step that is as long as is allowed.
ABOVE, BELOW = hypothesis("mu <= a", mu, a), hypothesis("a <= M", a, top)
STEP = hypothesis("eta (mu + M) <= 2", eta * (mu + top), 2)
LONGEST, SPREAD = {eta: 1, mu: 1, top: 1, a: 1}, {eta: 1, mu: "1/2", top: "3/2", a: "3/2"}
# U = -V along the singular vectors of S.
OPPOSED, NINE_TENTHS = {S: [[1]], F: [[0]], s: 1, lam: 2}, Rational(9, 10)
UNIT = {alpha: 1, lam: 1, a: 1, b: 1, mu: 1, m1: 1, n1: 1, m2: 0, n2: 0}

CHECKS = (
    Identity(
        "split",
        "alpha ||D||^2 + 2 <G*, U V^T> + lam (||U||^2 + ||V||^2) splits into M, N; U0, V0; N1, N2; U1, V1.",
        FORM,
        INSIDE + OUTSIDE + SPARE,
        given=(P_ORTHONORMAL, Q_ORTHONORMAL, S_OFF, *OFF),
        mutants=(
            mutant("sign", "M + N", rhs=alpha * square(M @ Root + Root @ N.T) + lam * square(M + N) + OUTSIDE + SPARE),
            mutant("constant", "2 lam ||M - N||^2", rhs=INSIDE + lam * square(M - N) + OUTSIDE + SPARE),
            dropped(S_OFF),
        ),
    ),
    SumOfSquares(
        "outside",
        "(alpha sigma_{r*} + lam - s) (||U0||^2 + ||V0||^2) is at most the part of U0, V0.",
        (alpha * sigma + lam - s) * (square(U0) + square(V0)),
        OUTSIDE,
        proof=[
            alpha * Square(U0 @ C),
            alpha * Square(V0 @ C),
            1 / s * Square(s * U0 + S @ V0),
            1 / s * Square(F @ V0),
        ],
        given=(NORM, LEAST),
        mutants=(
            mutant(
                "constant",
                "lam - 0.9 s",
                {**OPPOSED, U0: [[1]], V0: [[-1]], Root: [[1]], C: [[0]], sigma: 1, alpha: 1},
                lhs=(alpha * sigma + lam - NINE_TENTHS * s) * (square(U0) + square(V0)),
            ),
            mutant("sign", "lam + s", lhs=(alpha * sigma + lam + s) * (square(U0) + square(V0))),
            dropped(NORM),
        ),
    ),
    SumOfSquares(
        "spare",
        "r > r*: (lam - s) (||U1||^2 + ||V1||^2) + lam ||N1 - N2||^2 is at most the part of the spare columns.",
        (lam - s) * (square(U1) + square(V1)) + lam * square(N1 - N2),
        SPARE,
        proof=[1 / s * Square(s * U1 + S @ V1), 1 / s * Square(F @ V1)],
        given=(NORM,),
        mutants=(
            mutant(
                "constant",
                "lam - 0.9 s",
                {**OPPOSED, U1: [[1]], V1: [[-1]], N1: [[0]], N2: [[0]]},
                lhs=(lam - NINE_TENTHS * s) * (square(U1) + square(V1)) + lam * square(N1 - N2),
            ),
            mutant("sign", "lam + s", lhs=(lam + s) * (square(U1) + square(V1)) + lam * square(N1 - N2)),
            dropped(NORM),
        ),
    ),
    Identity(
        "spare_symmetries",
        "lam ||N1 - N2||^2 is 2 lam times the squared length off N1 = N2, which are symmetries.",
        lam * square(N1 - N2),
        2 * lam * (square(N1) + square(N2) - square(N1 + N2) / 2),
        mutants=(
            mutant("constant", "lam", rhs=lam * (square(N1) + square(N2) - square(N1 + N2) / 2)),
            mutant("sign", "lam ||N1 + N2||^2", lhs=lam * square(N1 + N2)),
        ),
    ),
    Inequality(
        "pair",
        "mu times the squared length off the symmetry is at most the part of a pair: mu <= alpha (s_i + s_j), 2 lam.",
        mu * AWAY,
        PAIR,
        proof=[
            1 / LENGTH * SMALL_ALPHA * Square(ALONG_1),
            1 / LENGTH * SMALL_ALPHA * Square(ALONG_2),
            lam / LENGTH * Square(ALONG_1 - ALONG_2),
            1 / (2 * LENGTH) * SMALL_LAM * Square(ACROSS_1 - ACROSS_2),
        ],
        mutants=(
            mutant("constant", "1.1 mu", {**UNIT, mu: 2, n1: 1, m2: 1, n2: 1}, lhs=mu * AWAY / NINE_TENTHS),
            mutant("sign", "minus the form", UNIT, rhs=-PAIR),
            dropped(SMALL_ALPHA, {**UNIT, lam: 5, mu: 9, n1: 1, m2: 1, n2: 1}),
            dropped(SMALL_LAM, {**UNIT, alpha: 5, lam: "1/10", mu: 9, m1: 1, n2: -1, n1: -1, m2: 1}),
        ),
    ),
    Identity(
        "symmetry",
        "Across both alike (m_1 = n_1 = a, n_2 = m_2 = -b) the form of a pair is zero: a rotation of the factors.",
        PAIR,
        0,
        given=ACROSS_ALIKE,
        mutants=(
            mutant("constant", "the form is 1", rhs=1),
            mutant("sign", "n_2 = b", given=(*ACROSS_ALIKE[:2], define(n2, b), ACROSS_ALIKE[3])),
            mutant(
                "swapped symbols",
                "m_1 = b, n_2 = -a",
                given=(define(m1, b), *ACROSS_ALIKE[1:2], define(n2, -a), ACROSS_ALIKE[3]),
            ),
            dropped(ACROSS_ALIKE[0]),
        ),
    ),
    Identity(
        "diagonal",
        "One singular value a^2, at (m, n) = u (1, 1) + v (1, -1), of squared length 2 u^2 + 2 v^2: "
        "alpha a^2 (m + n)^2 + lam (m - n)^2 has the eigenvalues 2 alpha a^2 along u and 2 lam along v.",
        alpha * a**2 * (m1 + n1) ** 2 + lam * (m1 - n1) ** 2,
        2 * alpha * a**2 * (2 * even**2) + 2 * lam * (2 * odd**2),
        given=EVEN_AND_ODD,
        mutants=(
            mutant("constant", "alpha a^2", rhs=alpha * a**2 * (2 * even**2) + 2 * lam * (2 * odd**2)),
            mutant("sign", "-2 lam", rhs=2 * alpha * a**2 * (2 * even**2) - 2 * lam * (2 * odd**2)),
            mutant(
                "swapped symbols", "2 lam along (1, 1)", rhs=2 * lam * (2 * even**2) + 2 * alpha * a**2 * (2 * odd**2)
            ),
        ),
    ),
    Inequality(
        "rate",
        "An eigenvalue a in [mu, M] and eta (mu + M) <= 2: |1 - eta a| <= 1 - eta mu, squared.",
        (1 - eta * a) ** 2,
        (1 - eta * mu) ** 2,
        proof=[eta * ABOVE * STEP, eta**2 * ABOVE * BELOW],
        mutants=(
            mutant("constant", "1 - 2 eta mu", SPREAD, rhs=(1 - 2 * eta * mu) ** 2),
            mutant("sign", "1 + eta a", LONGEST, lhs=(1 + eta * a) ** 2),
            dropped(ABOVE, {**LONGEST, a: "1/2"}),
            dropped(BELOW, {**LONGEST, a: 3}),
            dropped(STEP, {**SPREAD, top: 3, a: 3}),
        ),
    ),
)

PROSE = {
    "the sum over the pairs of singular values": ("pair", "diagonal"),
    "from the Hessian to the iteration: the minimisers near X* are the orbit of the symmetries, and hess L is "
    "continuous": ("rate",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("local_rate", THEOREM))
