"""Learning against forgetting: exact fronts, the size of the first step, and the Gaussian reference for rank.

Statement
---------
Source loss f_s, target loss f_t, W0 the minimizer of f_s, D = W_t - W0, E = ||D||^2/2.

T1. f_s = ||X||^2/2, f_t = ||X - D||^2/2: among all X of target loss at most t^2 E the least forgetting is (1 - t)^2 E,
at X = (1 - t) D only, a point of the gradient flow (and of gradient descent) of f_t from X = 0. The best X of rank r
has f_s = E - f_t, larger by 2 t (1 - t) E.

T2. f = tr((W - W_i) C_i (W - W_i)^T)/2: W_mu = (W_t C_t + mu W_s C_s)(C_t + mu C_s)^{-1} minimizes f_t + mu f_s, so
no W has less of both. With rank X <= r, f_t is least at X = [D C_t^{1/2}]_r C_t^{-1/2}.

T4. The first step from B = 0 moves X by -eta gamma^2 A A^T G. For Gaussian A of variance s^2 its root mean square is
eta gamma^2 s^2 sqrt(r (m + r + 1)) ||G||: with r it falls for gamma = alpha/r, falls towards a positive limit for
gamma = alpha/sqrt(r), and grows for constant gamma (alpha = 2 r).

T5. By the quarter-circle law 90 % of sum sigma_i^2 lie in the fraction 0.5098 of the singular values of a large square
Gaussian matrix (2088 of 4096); 90 % of sum sigma_i in 0.6722; the mean singular value is 8/(3 pi).

Assumptions
-----------
T1, T2: quadratic losses; C_t, C_s positive semidefinite with C_t + mu C_s invertible, and C_t itself where it says
rank X <= r; mu > 0, 0 < t <= 1. T4: the entries of A are independent and N(0, s^2). T5 is about the density sqrt(4 -
x^2)/pi on [0, 2], the limit law of the singular values of an n x n matrix of independent N(0, 1/n) entries (Marchenko,
Pastur 1967).

Source
------
Biderman et al., "LoRA Learns Less and Forgets Less", TMLR 2024, arXiv:2405.09673: the questions. The theorems on matrix
objectives are derived here.

Idea
----
T1, T2: the Lagrangian is a quadratic whose excess over its minimum is a square. T4: with columns a_k of A, the second
moment of A A^T is the sum over pairs of columns, and needs only E z^2 = 1 and E z^4 = 3. T5: x = 2 cos(theta) turns
count and energy above x into (2 theta - sin 2 theta)/pi and (2 theta - sin(4 theta)/2)/pi, which increase.

Checks
------
least_forgetting : PROVED
attained : PROVED
gradient_flow_path : PROVED
gradient_descent_path : PROVED
low_rank_pythagoras : PROVED
low_rank_forgets_more : PROVED
front_minimizes : PROVED
front_is_pareto : PROVED
front_isotropic : PROVED
weighted_low_rank : PROVED
weighted_low_rank_value : PROVED
first_step : PROVED
second_moment : PROVED
second_moment_by_enumeration : VERIFIED
fixed_alpha_falls : PROVED
root_scaling_falls : PROVED
root_scaling_limit : PROVED
constant_scaling_grows : PROVED
count_above : PROVED
energy_above : PROVED
first_power_above : PROVED
totals : PROVED
reference_from_below : PROVED
reference_from_above : PROVED
first_power_from_below : PROVED
first_power_from_above : PROVED
mean_singular_value : PROVED

Used by
-------
lorasolve/papers/_learns_less.py
"""

from collections import Counter
from itertools import product
from math import prod
from random import Random

import sympy

from lorasolve.symbolic import (
    Exact,
    Identity,
    Inequality,
    MatrixExpr,
    ScalarCheck,
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
    hypothesis,
    inverse,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalar,
    scalars,
    square,
    zeros,
)
from lorasolve.symbolic import rational as ra
from proofs.facts import ECKART_YOUNG, RANK_AT_MOST, TRUNCATION

m, n, r, k, p, q = dims("m n r k p q")
t, mu, eta, gamma, alpha = scalars("t mu eta gamma alpha")
X, D, W0 = matrix("X", m, n), matrix("D", m, n), matrix("W0", m, n)
HALF = sympy.Rational(1, 2)

# T1. E = ||D||^2/2; t^2 is the target loss relative to its start.
PARTLY_LEARNED = hypothesis("f_t(X) <= t^2 E", square(X - D) / 2, t**2 * square(D) / 2)
FRACTION = hypothesis("t <= 1", t, 1)
PART = (1 - t) * D
P, Q, S, R = matrix("P", m, r), matrix("Q", n, r), matrix("S", r, r, symmetric=True), matrix("R", m, n)
TRUNCATED = P @ S @ Q.T
ORTHOGONAL_REST = annihilated(R, left=[P], right=[Q])
SPLIT = define(D, TRUNCATED + R)
time = sympy.Symbol("s", positive=True)
flow = 1 - sympy.exp(-time)
unit = sympy.Symbol("u", nonnegative=True)  # t = 1/(1 + u) covers 0 < t <= 1
BETWEEN = define(t, 1 / (1 + unit))

# T2. C_t = Kt Kt^T, C_s = Ks Ks^T; W solves the stationarity equation of f_t + mu f_s.
W, Y, Wt, Ws = matrix("W", m, n), matrix("Y", m, n), matrix("Wt", m, n), matrix("Ws", m, n)
Kt, Ks = matrix("Kt", n, p), matrix("Ks", n, q)


def _solve(values: Values, rng: Random) -> None:
    """Set W = (W_t C_t + mu W_s C_s)(C_t + mu C_s)^{-1}."""
    ct = ra.multiply(values["Kt"], ra.transpose(values["Kt"]))
    cs = ra.scale(values[mu], ra.multiply(values["Ks"], ra.transpose(values["Ks"])))
    right = ra.add(ra.multiply(values["Wt"], ct), ra.multiply(values["Ws"], cs))
    values["W"] = ra.multiply(right, ra.inverse(ra.add(ct, cs)))


ON_FRONT = assume(
    "W (C_t + mu C_s) = W_t C_t + mu W_s C_s",
    (W @ Kt @ Kt.T, Wt @ Kt @ Kt.T + mu * (Ws - W) @ Ks @ Ks.T),
    impose=_solve,
)


def target(point: MatrixExpr) -> ScalarExpr:
    """Return f_t."""
    return square((point - Wt) @ Kt) / 2


def source(point: MatrixExpr) -> ScalarExpr:
    """Return f_s."""
    return square((point - Ws) @ Ks) / 2


FORGETS_LESS = hypothesis("f_s(Y) <= f_s(W)", source(Y), source(W))
EXCESS = [HALF * Square((Y - W) @ Kt), mu / 2 * Square((Y - W) @ Ks)]

# Weighted Eckart-Young: D Root = TOP + REST, Root = C_t^{1/2}.
Root, RootInv = matrix("Root", n, n, symmetric=True), matrix("RootInv", n, n, symmetric=True)
P2, Q2, S2 = matrix("P2", m, k), matrix("Q2", n, k), matrix("S2", k, k, symmetric=True)
ROOT = inverse(RootInv, Root)
TOP, REST = P @ S @ Q.T, P2 @ S2 @ Q2.T
WHITE = define(D, (TOP + REST) @ RootInv)
CLOSEST = ECKART_YOUNG.instance("closest", TRUNCATION(TOP, r, REST), RANK_AT_MOST(X @ Root, r))
BEST = TOP @ RootInv

# T4. One gradient step in both factors from B = 0.
A, B, G = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n)
ZERO_FACTOR = assume(
    "B = 0",
    (B, zeros(n, r)),
    impose=lambda values, rng: values.update(B=ra.zeros(*ra.shape(values["B"]))),
)
STEPPED = gamma * (A - eta * gamma * G @ B) @ (B - eta * gamma * G.T @ A).T - gamma * A @ B.T
z = sympy.Symbol("z", real=True)
rows, rank, more = sympy.symbols("m r d", positive=True)


def gaussian_moment(order: int) -> sympy.Expr:
    """Return E z^order for a standard Gaussian z, by integration."""
    density = sympy.exp(-(z**2) / 2) / sympy.sqrt(2 * sympy.pi)
    return sympy.integrate(z**order * density, (z, -sympy.oo, sympy.oo))


SECOND, FOURTH = gaussian_moment(2), gaussian_moment(4)
# Two different columns: I each. One column: E |a|^2 a a^T, with m - 1 mixed moments and one of order four.
BY_COLUMNS = rank * (rank - 1) * SECOND**2 + rank * ((rows - 1) * SECOND**2 + FOURTH)
MOMENT = rank * (rows + rank + 1)


def _enumerated(size: int, width: int, shift: int = 1, power: int = 4) -> tuple[bool, str]:
    """Sum E[A_ia A_ka A_kb A_jb] over all indices, with moments 1 and 3, and compare with r (m + r + 1) I."""
    moments = {0: 1, 1: 0, 2: 1, 3: 0, 4: 3}
    found = ra.zeros(size, size)
    for i, j, kk, a, b in product(range(size), range(size), range(size), range(width), range(width)):
        counts = Counter([(i, a), (kk, a), (kk, b), (j, b)][:power])
        found[i][j] += prod(moments[count] for count in counts.values())
    expected = ra.scale(width * (size + width + shift), ra.identity(size))
    return found == expected, f"m = {size}, r = {width}: entry {found[0][0]}, expected {expected[0][0]}"


def squared_ratio(scaling: sympy.Expr, width: sympy.Expr) -> sympy.Expr:
    """Return (||step||/(eta s^2 ||G||))^2 in the mean, gamma^4 r (m + r + 1)."""
    return scaling**4 * width * (rows + width + 1)


WIDER = rank + more

# T5. The quarter-circle law in theta: x = 2 cos(theta), dx = -2 sin(theta) dtheta.
theta = sympy.Symbol("theta", real=True)
DENSITY = (2 * sympy.sin(theta)) * (2 * sympy.sin(theta)) / sympy.pi  # sqrt(4 - x^2)/pi |dx/dtheta|
COUNT = (2 * theta - sympy.sin(2 * theta)) / sympy.pi
ENERGY = (2 * theta - sympy.sin(4 * theta) / 2) / sympy.pi
SUM = sympy.sin(theta) ** 3  # of the share of sum sigma_i; its density is x times DENSITY over the mean
MEAN = 8 / (3 * sympy.pi)
SHARE = sympy.Rational(9, 10)
BELOW, ABOVE = sympy.Rational(116410, 100000), sympy.Rational(116411, 100000)
FIRST_BELOW, FIRST_ABOVE = sympy.Rational(13073, 10000), sympy.Rational(13074, 10000)


def at(share: sympy.Expr, angle: sympy.Expr) -> sympy.Expr:
    """Return a share at an angle, as it is written."""
    return sympy.Subs(share, theta, angle)


def below(share: sympy.Expr, angle: sympy.Rational, low: str) -> sympy.Expr:
    """Return a number >= 0 if less than 0.9 lies above the angle, and the count there is at least `low`."""
    return sympy.Min(SHARE - share.subs(theta, angle), COUNT.subs(theta, angle) - sympy.Rational(low), evaluate=False)


def above(share: sympy.Expr, angle: sympy.Rational, high: str) -> sympy.Expr:
    """Return a number >= 0 if more than 0.9 lies above the angle, and the count there is at most `high`."""
    return sympy.Min(share.subs(theta, angle) - SHARE, sympy.Rational(high) - COUNT.subs(theta, angle), evaluate=False)


CHECKS = (
    Inequality(
        "least_forgetting",
        "T1: f_t(X) <= t^2 E implies f_s(X) >= (1 - t)^2 E + ||X - (1 - t) D||^2/(2 t): only X = (1 - t) D is best.",
        (1 - t) ** 2 * square(D) / 2 + square(X - PART) / (2 * t),
        square(X) / 2,
        proof=[1 / t * PARTLY_LEARNED * FRACTION],
        mutants=(
            mutant(
                "constant",
                "(1 - t^2) E as for low rank",
                {X: [["1/2"]], D: [[1]], t: "1/2"},
                lhs=(1 - t**2) * square(D) / 2,
            ),
            mutant("sign", "(1 + t)^2 E", lhs=(1 + t) ** 2 * square(D) / 2),
            dropped(PARTLY_LEARNED),
            dropped(FRACTION, {X: [[0]], D: [[1]], t: 2}),
        ),
    ),
    Identity(
        "attained",
        "T1: X = (1 - t) D has f_t = t^2 E and f_s = (1 - t)^2 E (added with an arbitrary weight mu).",
        square(PART - D) + mu * square(PART),
        (t**2 + mu * (1 - t) ** 2) * square(D),
        mutants=(
            mutant("constant", "f_t = t E", rhs=(t + mu * (1 - t) ** 2) * square(D)),
            mutant("sign", "f_s = (1 + t)^2 E", rhs=(t**2 + mu * (1 + t) ** 2) * square(D)),
        ),
    ),
    ScalarCheck(
        "gradient_flow_path",
        "T1: dX/ds = D - X from X = 0 gives X = (1 - e^{-s}) D, which is (1 - t) D with t = e^{-s}.",
        sympy.Derivative(flow, time),
        1 - flow,
        mutants=(
            mutant("sign", "dX/ds = X - D", rhs=flow - 1),
            mutant("constant", "twice the speed", rhs=2 * (1 - flow)),
        ),
    ),
    Identity(
        "gradient_descent_path",
        "T1: a step eta from (1 - t) D leads to (1 - t (1 - eta)) D, on the same segment.",
        PART - eta * (PART - D),
        (1 - t * (1 - eta)) * D,
        mutants=(
            mutant("sign", "ascent", rhs=(1 - t * (1 + eta)) * D),
            mutant("constant", "1 - t - eta", rhs=(1 - t - eta) * D),
        ),
    ),
    Identity(
        "low_rank_pythagoras",
        "T1: the truncation X = P S Q^T of D forgets f_s = E - f_t.",
        square(TRUNCATED),
        square(D) - square(TRUNCATED - D),
        given=(ORTHOGONAL_REST, SPLIT),
        mutants=(
            mutant("sign", "E + f_t", rhs=square(D) + square(TRUNCATED - D)),
            mutant("constant", "E - f_t/2", rhs=square(D) - square(TRUNCATED - D) / 2),
            dropped(ORTHOGONAL_REST),
        ),
    ),
    Identity(
        "low_rank_forgets_more",
        "T1: (1 - t^2) - (1 - t)^2 = 2 t (1 - t), t = 1/(1 + u): low rank loses at matched learning unless t = 0 or 1.",
        scalar((1 - t**2) - (1 - t) ** 2),
        scalar(2 * unit / (1 + unit) ** 2),
        given=(BETWEEN,),
        mutants=(
            mutant("sign", "the reverse", lhs=scalar((1 - t) ** 2 - (1 - t**2))),
            mutant("constant", "t (1 - t)", rhs=scalar(unit / (1 + unit) ** 2)),
            dropped(BETWEEN),
        ),
    ),
    SumOfSquares(
        "front_minimizes",
        "T2: W_mu minimizes f_t + mu f_s; the excess is ||(Y - W) C_t^{1/2}||^2/2 + mu ||(Y - W) C_s^{1/2}||^2/2.",
        target(W) + mu * source(W),
        target(Y) + mu * source(Y),
        proof=EXCESS,
        given=(ON_FRONT,),
        mutants=(
            mutant("sign", "f_t - mu f_s", lhs=target(W) - mu * source(W), rhs=target(Y) - mu * source(Y)),
            mutant("constant", "weight 2 mu", lhs=target(W) + 2 * mu * source(W), rhs=target(Y) + 2 * mu * source(Y)),
            dropped(ON_FRONT),
        ),
    ),
    Inequality(
        "front_is_pareto",
        "T2: f_s(Y) <= f_s(W_mu) implies f_t(Y) >= f_t(W_mu): the front is exact.",
        target(W),
        target(Y),
        proof=[*EXCESS, mu * FORGETS_LESS],
        given=(ON_FRONT,),
        mutants=(
            mutant(
                "constant",
                "1.05 f_t(W)",
                {Kt: [[1]], Ks: [[1]], Wt: [[2]], Ws: [[0]], W: [[1]], Y: [[1]], mu: 1},
                lhs=21 * target(W) / 20,
            ),
            mutant("swapped symbols", "f_s for f_t", lhs=source(W), rhs=source(Y)),
            dropped(FORGETS_LESS),
            dropped(ON_FRONT),
        ),
    ),
    Identity(
        "front_isotropic",
        "T2 gives T1: for C_t = C_s = I, W_mu - W_s = (1 - t)(W_t - W_s) with t = mu/(1 + mu).",
        (Wt + mu * Ws) / (1 + mu) - Ws,
        (1 - mu / (1 + mu)) * (Wt - Ws),
        mutants=(
            mutant("sign", "1 + t", rhs=(1 + mu / (1 + mu)) * (Wt - Ws)),
            mutant("swapped symbols", "t = 1/(1 + mu)", rhs=(1 - 1 / (1 + mu)) * (Wt - Ws)),
        ),
    ),
    Inequality(
        "weighted_low_rank",
        "T2: X = [D C_t^{1/2}]_r C_t^{-1/2} has the least f_t of all X of rank at most r.",
        square((BEST - D) @ Root),
        square((X - D) @ Root),
        proof=[CLOSEST],
        given=(ROOT, WHITE),
        mutants=(
            mutant("sign", "minus the point", lhs=square((-BEST - D) @ Root)),
            mutant("swapped symbols", "[D]_r without the weight", lhs=square((TOP - D) @ Root)),
            dropped(CLOSEST),
        ),
    ),
    Identity(
        "weighted_low_rank_value",
        "T2: the least value is half the sum of the further sigma_i(D C_t^{1/2})^2.",
        square((BEST - D) @ Root) / 2,
        square(S2) / 2,
        given=(ROOT, WHITE, orthonormal(P2), orthonormal(Q2)),
        mutants=(
            mutant("constant", "without the half", rhs=square(S2)),
            mutant("sign", "minus", rhs=-square(S2) / 2),
            dropped(ROOT),
        ),
    ),
    Identity(
        "first_step",
        "T4: a gradient step in A and B from B = 0 moves gamma A B^T by -eta gamma^2 A A^T G.",
        STEPPED,
        -eta * gamma**2 * A @ A.T @ G,
        given=(ZERO_FACTOR,),
        mutants=(
            mutant("constant", "gamma instead of gamma^2", rhs=-eta * gamma * A @ A.T @ G),
            mutant("sign", "+", rhs=eta * gamma**2 * A @ A.T @ G),
            dropped(ZERO_FACTOR),
        ),
    ),
    ScalarCheck(
        "second_moment",
        "T4: E[A A^T A A^T] = (r (r - 1) + r ((m - 1) + E z^4)) I = r (m + r + 1) I, moments by integration.",
        BY_COLUMNS,
        MOMENT,
        mutants=(
            mutant("constant", "r (m + r)", rhs=rank * (rows + rank)),
            mutant("sign", "r (m + r - 1)", rhs=rank * (rows + rank - 1)),
        ),
    ),
    Exact(
        "second_moment_by_enumeration",
        "T4: the sum over all indices of E[A_ia A_ka A_kb A_jb] is r (m + r + 1) I.",
        _enumerated,
        ((1, 1), (2, 1), (1, 3), (3, 2), (2, 4), (4, 3)),
        mutants=(
            mutant("constant", "r (m + r)", run=lambda size, width: _enumerated(size, width, shift=0)),
            mutant("dropped assumption", "the last factor left out", run=lambda a, b: _enumerated(a, b, power=3)),
        ),
    ),
    ScalarCheck(
        "fixed_alpha_falls",
        "T4: with gamma = alpha/r the step shrinks as r grows.",
        squared_ratio(alpha / WIDER, WIDER),
        squared_ratio(alpha / rank, rank),
        relation="<=",
        mutants=(
            mutant("sign", "it grows", lhs=squared_ratio(alpha / rank, rank), rhs=squared_ratio(alpha / WIDER, WIDER)),
            mutant("constant", "gamma = alpha r", lhs=squared_ratio(alpha * WIDER, WIDER)),
        ),
    ),
    ScalarCheck(
        "root_scaling_falls",
        "T4: with gamma = alpha/sqrt(r) the step shrinks as r grows.",
        squared_ratio(alpha / sympy.sqrt(WIDER), WIDER),
        squared_ratio(alpha / sympy.sqrt(rank), rank),
        relation="<=",
        mutants=(
            mutant(
                "sign",
                "it grows",
                lhs=squared_ratio(alpha / sympy.sqrt(rank), rank),
                rhs=squared_ratio(alpha / sympy.sqrt(WIDER), WIDER),
            ),
            mutant("constant", "constant gamma", lhs=squared_ratio(alpha, WIDER)),
        ),
    ),
    ScalarCheck(
        "root_scaling_limit",
        "T4: with gamma = alpha/sqrt(r) the squared step is alpha^4 and what falls like 1/r: its limit is alpha^4 > 0.",
        squared_ratio(alpha / sympy.sqrt(rank), rank),
        alpha**4 + alpha**4 * (rows + 1) / rank,
        mutants=(
            mutant("constant", "m, not m + 1", rhs=alpha**4 + alpha**4 * rows / rank),
            mutant("swapped symbols", "gamma = alpha/r", lhs=squared_ratio(alpha / rank, rank)),
        ),
    ),
    ScalarCheck(
        "constant_scaling_grows",
        "T4: with constant gamma the step grows with r.",
        squared_ratio(gamma, rank),
        squared_ratio(gamma, WIDER),
        relation="<=",
        mutants=(
            mutant("sign", "it shrinks", lhs=squared_ratio(gamma, WIDER), rhs=squared_ratio(gamma, rank)),
            mutant("swapped symbols", "alpha/r for gamma", rhs=squared_ratio(gamma / WIDER, WIDER)),
        ),
    ),
    ScalarCheck(
        "count_above",
        "T5: the share of singular values above 2 cos(theta) has the derivative 4 sin^2(theta)/pi >= 0.",
        sympy.Derivative(COUNT, theta),
        DENSITY,
        mutants=(
            mutant("constant", "twice", rhs=2 * DENSITY),
            mutant("swapped symbols", "cos for sin", rhs=4 * sympy.cos(theta) ** 2 / sympy.pi),
        ),
    ),
    ScalarCheck(
        "energy_above",
        "T5: the share of sum sigma^2 above 2 cos(theta) has the derivative x^2 times that, x = 2 cos(theta).",
        sympy.Derivative(ENERGY, theta),
        (2 * sympy.cos(theta)) ** 2 * DENSITY,
        mutants=(
            mutant("constant", "x = cos(theta)", rhs=sympy.cos(theta) ** 2 * DENSITY),
            mutant("sign", "minus", rhs=-((2 * sympy.cos(theta)) ** 2) * DENSITY),
        ),
    ),
    ScalarCheck(
        "first_power_above",
        "T5: the share of sum sigma above 2 cos(theta) is sin^3(theta).",
        sympy.Derivative(SUM, theta) * MEAN,
        2 * sympy.cos(theta) * DENSITY,
        mutants=(
            mutant("constant", "mean 4/(3 pi)", lhs=sympy.diff(SUM, theta) * MEAN / 2),
            mutant("swapped symbols", "cos^3", lhs=sympy.diff(sympy.cos(theta) ** 3, theta) * MEAN),
        ),
    ),
    ScalarCheck(
        "totals",
        "T5: the three shares run from 0 to 1 on [0, pi/2].",
        sum((at(share, sympy.pi / 2) - 1) ** 2 + at(share, 0) ** 2 for share in (COUNT, ENERGY, SUM)),
        0,
        mutants=(
            mutant("constant", "on [0, pi/4]", lhs=(at(COUNT, sympy.pi / 4) - 1) ** 2),
            mutant("sign", "to -1", lhs=(at(ENERGY, sympy.pi / 2) + 1) ** 2),
        ),
    ),
    ScalarCheck(
        "reference_from_below",
        "T5: at theta = 1.16410 less than 90 % of sum sigma^2 lie above, so the fraction is at least 0.50979.",
        0,
        below(ENERGY, BELOW, "0.50979"),
        relation="<=",
        mutants=(
            mutant("constant", "at least 0.52", rhs=below(ENERGY, BELOW, "0.52")),
            mutant("swapped symbols", "from above", rhs=below(ENERGY, ABOVE, "0.50979")),
        ),
    ),
    ScalarCheck(
        "reference_from_above",
        "T5: at theta = 1.16411 more than 90 % lie above, so the fraction is at most 0.50981 (2088 of 4096).",
        0,
        above(ENERGY, ABOVE, "0.50981"),
        relation="<=",
        mutants=(
            mutant("constant", "at most 0.5", rhs=above(ENERGY, ABOVE, "0.5")),
            mutant("swapped symbols", "sum sigma for sum sigma^2", rhs=above(SUM, ABOVE, "0.50981")),
        ),
    ),
    ScalarCheck(
        "first_power_from_below",
        "T5: the fraction for sum sigma is at least 0.6721.",
        0,
        below(SUM, FIRST_BELOW, "0.6721"),
        relation="<=",
        mutants=(
            mutant("constant", "at least 0.68", rhs=below(SUM, FIRST_BELOW, "0.68")),
            mutant("swapped symbols", "sum sigma^2 for sum sigma", rhs=below(ENERGY, FIRST_BELOW, "0.6721")),
        ),
    ),
    ScalarCheck(
        "first_power_from_above",
        "T5: the fraction for sum sigma is at most 0.6723.",
        0,
        above(SUM, FIRST_ABOVE, "0.6723"),
        relation="<=",
        mutants=(
            mutant("constant", "at most 0.50981", rhs=above(SUM, FIRST_ABOVE, "0.50981")),
            mutant("swapped symbols", "the smaller angle", rhs=above(SUM, FIRST_BELOW, "0.6723")),
        ),
    ),
    ScalarCheck(
        "mean_singular_value",
        "T5: the quarter-circle law has the mean 8/(3 pi), the integral of x = 2 cos(theta).",
        sympy.Integral(2 * sympy.cos(theta) * DENSITY, (theta, 0, sympy.pi / 2)),
        MEAN,
        mutants=(
            mutant("constant", "4/(3 pi)", rhs=MEAN / 2),
            mutant("sign", "-8/(3 pi)", rhs=-MEAN),
        ),
    ),
)

PROSE = {
    "the moments are those of independent entries, so that other products have mean 0": ("second_moment",),
    "the limit of large r": ("root_scaling_limit",),
    "a share is the integral of its derivative; the limit law of singular values (Marchenko, Pastur)": (
        "count_above",
        "energy_above",
        "first_power_above",
        "mean_singular_value",
    ),
    "square roots of C_t exist, and the best approximation in the weighted norm is a truncation": (
        "weighted_low_rank",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("learns_less", THEOREM))
