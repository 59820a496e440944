"""RAC-LoRA: projected steps, their mean, the exact rate, and the failing examples of its relatives.

Statement
---------
A is a frozen m x r sketch, P = A (A^T A)^{-1} A^T.

A1. The block B^T = -(1/L)(A^T A)^{-1} A^T G minimizes <G, A B^T> + (L/2)||A B^T||_F^2, and W_+ = W - gamma P G with
gamma = 1/L.
A2. If the law of A is invariant under rotations, E P = (r/m) I; for coordinate sketches this is an average of
subsets. A3. f(W_+) <= f(W) - gamma (1 - gamma L/2) <G, P G>, so (gamma/2) lambda E||G||_F^2 <= E[f(W) - f(W_+)] for
gamma <= 1/L. A4. With ||G||_F^2 >= 2 mu (f - f*): E f(W_+) - f* <= (1 - gamma mu lambda)(f(W) - f*), lambda =
lambda_min(E P). For f = (L/2)||W - M||_F^2 and E P = (r/m) I the factor 1 - gamma L (2 - gamma L) r/m is exact.
A8. Sketching the left side with probability p gives p r/m + (1 - p) r/n <= r/min(m, n).
F1. A frozen for ever, f = ||W - M||_F^2/2, W = 0 at first: the limit is P M; for M = I_2 and A = e_1 the gap is 1/2.
F2. The example with M = diag(10, 1, ..., 1), b = 1: f* = -2.025 and the optimum has rank two.
F3. At every minimizer of the factored ||A B^T - M||_F^2/2 the largest curvature is at least 2 sigma_1(M): a step eta
is unstable for eta sigma_1(M) > 1.
F4. Restarting from the same A stalls where A^T G = 0.

Assumptions
-----------
f is L-smooth, A has full column rank, the sketch is independent of W. E||P G||^2 = <G, E[P] G> is used through
lambda_min(E P).

Source
------
Malinovsky et al., "Randomized Asymmetric Chain of LoRA", arXiv:2410.08305, theorems 5.3 and 5.5 for gradient
descent. The exact factor and F1, F3, F4 in this form are derived here.

Idea
----
P is a projection, so ||P G||^2 = <G, P G>, and the descent lemma loses nothing else. F3 tests the curvature along
(u q^T, v p^T) with p = A^T u, q = B^T v at the top singular pair of M.

Checks
------
block_minimum : PROVED
projected_step : PROVED
projection : PROVED
trace_of_projection : PROVED
coordinate_sketches : VERIFIED
circle_average : PROVED
sphere_average : PROVED
descent : PROVED
stationarity_rate : PROVED
linear_rate : PROVED
exact_factor : PROVED
sides : PROVED
frozen_limit : PROVED
frozen_gap : VERIFIED
paper_example : VERIFIED
curvature_pairing : PROVED
curvature_bound : PROVED
curvature_at_top : PROVED
scalar_curvature : PROVED
repeated_sketch_stalls : PROVED

Used by
-------
lorasolve/papers/_rac_lora.py, lorasolve/schedules/cola.py, lorasolve/schedules/rac_chain.py
"""

from fractions import Fraction
from itertools import combinations

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
    annihilated,
    dims,
    dropped,
    equation,
    hypothesis,
    inner,
    inverse,
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

m, n, r = dims("m n r")
L, gamma, mu, lam, c, eta = scalars("L gamma mu lambda c eta")
A, B, G, W, E, M = (
    matrix("A", m, r),
    matrix("B", n, r),
    matrix("G", m, n),
    matrix("W", m, n),
    matrix("E", m, n),
    matrix("M", m, n),
)
K = matrix("K", r, r, symmetric=True)
INVERSE = inverse(K, A.T @ A)
P = A @ K @ A.T
BEST_B = -1 / L * G.T @ A @ K


def majorant(right: MatrixExpr) -> ScalarExpr:
    """Return the quadratic model of the block."""
    return inner(G, A @ right.T) + L / 2 * square(A @ right.T)


f, f_next, f_star = scalars("f f_next f_star", real=True)
descent = Identity(
    "descent",
    "A3: <G, X> + (L/2)|X|^2, which bounds f(W_+) - f(W), is -gamma (1 - gamma L/2) <G, P G> for X = -gamma P G.",
    inner(G, -gamma * P @ G) + L / 2 * square(gamma * P @ G),
    -gamma * (1 - gamma * L / 2) * inner(G, P @ G),
    given=(INVERSE,),
    mutants=(
        mutant("constant", "1 - gamma L/4", rhs=-gamma * (1 - gamma * L / 4) * inner(G, P @ G)),
        mutant("sign", "1 + gamma L/2", rhs=-gamma * (1 + gamma * L / 2) * inner(G, P @ G)),
        dropped(INVERSE),
    ),
)
# In expectation: w = E<G, P G>, g2 = ||G||^2, f_next = E f(W_+).
w, g2 = scalars("w", real=True), scalars("g_2", nonnegative=True)
change = scalars("c", real=True)
SMOOTH = hypothesis("L-smooth f, in expectation: f(W_+) <= f(W) + <G, X> + (L/2)|X|^2", f_next, f + change)
# An equation for each sketch, and linear in c and w: so it holds for their means.
STEP = descent.conclusion(
    change,
    -gamma * (1 - gamma * L / 2) * w,
    where={change: inner(G, -gamma * P @ G) + L / 2 * square(gamma * P @ G), w: inner(G, P @ G)},
)
EIGENVALUE = hypothesis("E<G, P G> >= lambda ||G||^2", lam * g2, w)
PL = hypothesis("||G||^2 >= 2 mu (f - f*)", 2 * mu * (f - f_star), g2)
SHORT = hypothesis("gamma L <= 1", gamma * L, 1)
ABOVE = hypothesis("f* <= f", f_star, f)
# w = (w - lambda g2) + lambda g2 is not negative.
STAGE = [SMOOTH, 1 * STEP, gamma / 2 * EIGENVALUE, gamma / 2 * EIGENVALUE * SHORT, gamma / 2 * lam * g2 * SHORT]
TIGHT = {f: 1, f_star: 0, f_next: "1/2", change: "-1/2", w: 1, g2: 2, lam: "1/2", L: 1, mu: 1, gamma: 1}

(theta, phi), (psi, p) = scalars("theta phi", real=True), scalars("psi p", nonnegative=True)
WHOLE = equation("p + psi = 1", p + psi, 1)
more = scalars("e", nonnegative=True)
u, v = vector("u", m), vector("v", n)
UNIT = (orthonormal(u), orthonormal(v))
left, right = A.T @ u, B.T @ v
MOVED = u @ right.T @ B.T + A @ left @ v.T
D = matrix("D", m, n)
a, b = scalars("a b")


def _subsets(size: int, rank: int, wrong: Fraction = Fraction(1)) -> tuple[bool, str]:
    """Average the projections onto all coordinate subsets of the given rank."""
    total, count = ra.zeros(size, size), 0
    for chosen in combinations(range(size), rank):
        total = ra.add(total, ra.diagonal([int(i in chosen) for i in range(size)]))
        count += 1
    mean = ra.scale(Fraction(1, count), total)
    expected = ra.scale(wrong * Fraction(rank, size), ra.identity(size))
    return mean == expected, f"mean {mean[0][0]} on the diagonal, expected {expected[0][0]}"


def _frozen(expected: str) -> tuple[bool, str]:
    """Return the gap of the limit P M for M = I_2 and A = e_1."""
    limit = ra.diagonal([1, 0])
    rest = ra.add(limit, ra.identity(2), -1)
    gap = ra.inner(rest, rest) / 2
    return gap == Fraction(expected), f"gap {gap}"


def _example(value: str, rank: int) -> tuple[bool, str]:
    """Minimize w^T M w + b^T w over 3 x 3 matrices, M = diag(10, 1, ..., 1), b = 1."""
    weights = [Fraction(10)] + [Fraction(1)] * 8
    optimum = [Fraction(-1) / (2 * weight) for weight in weights]
    lowest = sum(weight * x * x + x for weight, x in zip(weights, optimum, strict=True))
    found = ra.rank([optimum[:3], optimum[3:6], optimum[6:]])
    return (lowest, found) == (Fraction(value), rank), f"f* = {lowest}, rank {found}"


CHECKS = (
    SumOfSquares(
        "block_minimum",
        "A1: no block does better on the quadratic model than B^T = -(1/L)(A^T A)^{-1} A^T G.",
        majorant(BEST_B),
        majorant(B),
        proof=[L / 2 * Square(A @ B.T + 1 / L * P @ G)],
        given=(INVERSE,),
        mutants=(
            mutant("sign", "+(1/L)", lhs=majorant(-BEST_B)),
            mutant("constant", "2/L", lhs=majorant(2 * BEST_B)),
            dropped(INVERSE),
        ),
    ),
    Identity(
        "projected_step",
        "A1: W + A B^T = W - (1/L) P G.",
        W + A @ BEST_B.T,
        W - 1 / L * P @ G,
        mutants=(
            mutant("constant", "the full gradient", rhs=W - 1 / L * G),
            mutant("sign", "+", rhs=W + 1 / L * P @ G),
        ),
    ),
    Identity(
        "projection",
        "P^2 = P.",
        P @ P,
        P,
        given=(INVERSE,),
        mutants=(
            mutant("constant", "2 P", rhs=2 * P),
            dropped(INVERSE),
        ),
    ),
    Identity(
        "trace_of_projection",
        "A2: tr P = r; a mean that commutes with all rotations is a multiple of I, hence (r/m) I.",
        tr(P),
        r,
        given=(INVERSE,),
        mutants=(
            mutant("swapped symbols", "m", {A: [[1], [0]], K: [[1]]}, rhs=m),
            dropped(INVERSE),
        ),
    ),
    Exact(
        "coordinate_sketches",
        "A2: the mean of the projections onto r-subsets of the axes is (r/m) I.",
        _subsets,
        ((2, 1), (3, 1), (3, 2), (5, 2), (5, 3)),
        mutants=(
            mutant("constant", "2 r/m", run=lambda size, rank: _subsets(size, rank, Fraction(2))),
            mutant("swapped symbols", "m/r", run=lambda size, rank: _subsets(size, rank, Fraction(size, rank) ** 2)),
        ),
    ),
    ScalarCheck(
        "circle_average",
        "A2, r = 1, m = 2: the mean of cos^2 over the circle is 1/2.",
        sympy.Integral(sympy.cos(theta) ** 2, (theta, 0, 2 * sympy.pi)) / (2 * sympy.pi),
        sympy.Rational(1, 2),
        mutants=(
            mutant("constant", "1/3", rhs=sympy.Rational(1, 3)),
            mutant("sign", "-1/2", rhs=-sympy.Rational(1, 2)),
        ),
    ),
    ScalarCheck(
        "sphere_average",
        "A2, r = 1, m = 3: the mean of cos^2 over the sphere is 1/3.",
        sympy.Integral(sympy.cos(phi) ** 2 * sympy.sin(phi), (phi, 0, sympy.pi)) / 2,
        sympy.Rational(1, 3),
        mutants=(
            mutant("constant", "1/2", rhs=sympy.Rational(1, 2)),
            mutant("sign", "-1/3", rhs=-sympy.Rational(1, 3)),
        ),
    ),
    descent,
    Inequality(
        "stationarity_rate",
        "A3: (gamma/2) lambda ||G||^2 <= f(W) - E f(W_+) for gamma <= 1/L; sum over the steps.",
        gamma / 2 * lam * g2,
        f - f_next,
        proof=STAGE,
        under=(descent,),
        mutants=(
            mutant("constant", "gamma lambda", TIGHT, lhs=gamma * lam * g2),
            mutant("sign", "f_next - f", TIGHT, rhs=f_next - f),
            dropped(SMOOTH, {**TIGHT, f_next: 1}),
            dropped(EIGENVALUE),
            dropped(SHORT),
        ),
    ),
    Inequality(
        "linear_rate",
        "A4: E f(W_+) - f* <= (1 - gamma mu lambda)(f(W) - f*) for gamma <= 1/L.",
        f_next - f_star,
        (1 - gamma * mu * lam) * (f - f_star),
        proof=[
            *STAGE,
            gamma * lam / 2 * PL,
        ],
        under=(descent,),
        mutants=(
            mutant("constant", "1 - 2 gamma mu lambda", TIGHT, rhs=(1 - 2 * gamma * mu * lam) * (f - f_star)),
            mutant("sign", "-(1 - gamma mu lambda)", TIGHT, rhs=-(1 - gamma * mu * lam) * (f - f_star)),
            dropped(SMOOTH),
            dropped(SHORT),
            dropped(PL, {**TIGHT, f_next: 1, change: 0, w: 0, g2: 0}),
            dropped(EIGENVALUE, {**TIGHT, f_next: 1, change: 0, w: 0}),
        ),
    ),
    Identity(
        "exact_factor",
        "A4, f = (L/2)||W - M||^2, c = gamma L: ||E - c P E||^2 = ||E||^2 - c (2 - c) <E, P E>.",
        square(E - c * P @ E),
        square(E) - c * (2 - c) * inner(E, P @ E),
        given=(INVERSE,),
        mutants=(
            mutant("constant", "c (1 - c)", rhs=square(E) - c * (1 - c) * inner(E, P @ E)),
            mutant("sign", "c (2 + c)", rhs=square(E) - c * (2 + c) * inner(E, P @ E)),
            dropped(INVERSE),
        ),
    ),
    Inequality(
        "sides",
        "A8, n = m + e: p r/m + (1 - p) r/n <= r/m with 1 - p = psi.",
        p * r / m + psi * r / (m + more),
        r / m,
        proof=[r / m * WHOLE, psi * r * more / (m * (m + more))],
        mutants=(
            mutant("swapped symbols", "r/n", rhs=r / (m + more)),
            mutant("constant", "r/(2 m)", rhs=r / (2 * m)),
            dropped(WHOLE),
        ),
    ),
    Identity(
        "frozen_limit",
        "F1: A^T (P M - M) = 0: X = P M is stationary in B for ever, with the gap ||(I - P) M||^2/2.",
        A.T @ (P @ M - M),
        zeros(r, n),
        given=(INVERSE,),
        mutants=(
            mutant("sign", "P M + M", lhs=A.T @ (P @ M + M)),
            mutant("constant", "2 P M", lhs=A.T @ (2 * P @ M - M)),
            dropped(INVERSE),
        ),
    ),
    Exact(
        "frozen_gap",
        "F1: for M = I_2 and A = e_1 the gap is exactly 1/2.",
        _frozen,
        (("1/2",),),
        mutants=(
            mutant("constant", "1", run=lambda expected: _frozen("1")),
            mutant("sign", "0: the limit is the optimum", run=lambda expected: _frozen("0")),
        ),
    ),
    Exact(
        "paper_example",
        "F2: f* = -81/40 = -2.025, and the optimum has rank two.",
        _example,
        (("-81/40", 2),),
        mutants=(
            mutant("constant", "full rank", run=lambda value, rank: _example(value, 3)),
            mutant("sign", "f* = +81/40", run=lambda value, rank: _example("81/40", rank)),
        ),
    ),
    Identity(
        "curvature_pairing",
        "F3: along (u q^T, v p^T), p = A^T u, q = B^T v, X moves by D with u^T D v = |p|^2 + |q|^2.",
        tr(u.T @ MOVED @ v),
        square(left) + square(right),
        given=UNIT,
        mutants=(
            mutant("sign", "|p|^2 - |q|^2", rhs=square(left) - square(right)),
            mutant("constant", "2 |p|^2", rhs=2 * square(left)),
            dropped(UNIT[0]),
        ),
    ),
    SumOfSquares(
        "curvature_bound",
        "F3: (u^T D v)^2 <= ||D||^2, so the curvature ||D||^2/(|p|^2 + |q|^2) is at least |p|^2 + |q|^2.",
        square(tr(u.T @ D @ v)),
        square(D),
        proof=[1 * Square(D - tr(u.T @ D @ v) * u @ v.T)],
        given=UNIT,
        mutants=(
            mutant("constant", "||D||^2/2", {D: [[1]], u: [[1]], v: [[1]]}, rhs=square(D) / 2),
            mutant("sign", "-||D||^2", rhs=-square(D)),
            dropped(UNIT[0], {D: [[1]], u: [[2]], v: [[1]]}),
        ),
    ),
    SumOfSquares(
        "curvature_at_top",
        "F3: |p|^2 + |q|^2 >= 2 p.q = 2 u^T A B^T v = 2 sigma_1(M) at a minimizer.",
        2 * tr(u.T @ A @ B.T @ v),
        square(left) + square(right),
        proof=[1 * Square(left - right)],
        mutants=(
            mutant(
                "constant",
                "2.1 sigma_1",
                {A: [[1]], B: [[1]], u: [[1]], v: [[1]]},
                lhs=21 * tr(u.T @ A @ B.T @ v) / 10,
            ),
            mutant("sign", "|p|^2 - |q|^2", rhs=square(left) - square(right)),
        ),
    ),
    ScalarCheck(
        "scalar_curvature",
        "F3, m = n = r = 1, a b = M: the Hessian [[b^2, a b], [a b, a^2]] has the eigenvalues 0 and a^2 + b^2.",
        (sympy.Matrix([[b**2, a * b], [a * b, a**2]]) - c * sympy.eye(2)).det(),
        c * (c - a**2 - b**2),
        mutants=(
            mutant("sign", "a^2 - b^2", rhs=c * (c - a**2 + b**2)),
            mutant("constant", "2 a b", rhs=c * (c - 2 * a * b)),
        ),
    ),
    Identity(
        "repeated_sketch_stalls",
        "F4: if A^T G = 0, then P G = 0 and a restart from (A, 0) does not move.",
        P @ G,
        zeros(m, n),
        given=(annihilated(G, left=(A,)),),
        mutants=(
            mutant("constant", "a new sketch: G", lhs=P @ G + G),
            mutant("dropped assumption", "without A^T G = 0", given=()),
        ),
    ),
)

PROSE = {
    "n < m, by exchanging the sides": ("sides",),
    "a mean that commutes with all rotations is a multiple of the identity (Schur's lemma)": ("trace_of_projection",),
    "the mean over the sketch given W, and the induction over the steps": ("stationarity_rate", "linear_rate"),
    "the largest curvature is at least the curvature along one direction, in which the gradient A B^T - M has no part: "
    "A B^T is a truncation of M, and u^T (A B^T - M) v = 0": ("curvature_bound", "curvature_at_top"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("rac_lora", THEOREM))
