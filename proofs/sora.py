"""SoRA: what the l1 penalty on gates means for the weight, its exact optima, and what the release does instead.

Statement
---------
X = s A diag(g) B^T with penalty lam ||g||_1. The proximal step is the soft threshold S_t(z); the release's three
updates have the net map z -> 0 for |z| < 2 t, z - t sign z for |z| >= 2 t (|z| = t is kept). The gate gradient is
c_k = s a_k^T G b_k, the Hessian of ||X - T||^2/2 in the gates s^2 (A^T A) o (B^T B), and gates with |c_k| <= lam where
g_k = 0 and c_k = -lam sign g_k elsewhere are optimal for fixed A, B and convex f.

T2. (c A, c B, g/c^2) has the same X and 1/c^2 of the penalty: without control of A and B the penalty is void.
T3. With (mu/2)(||A||^2 + ||B||^2) the least penalty is 2 sqrt(lam mu) sum sqrt(sigma_i(X)) (s = 1), attained at
A = U t, B = V t, g = sigma/t^2, t^2 = sqrt(lam sigma/mu). T4. Then the least of ||X - T||^2/2 + c sum sqrt(sigma_i(X)),
c = 2 sqrt(lam mu), acts on singular values: x = 0 for sigma <= (3/2) c^{2/3}, else x = (2 sigma/3)(1 + cos(2 pi/3 -
(2/3) arccos((c/4)(sigma/3)^{-3/2}))); at the threshold both have the same value and x jumps to c^{2/3}.
T5. With unit columns the least penalty is lam ||X||_*, and g = 0 is optimal exactly if ||grad f(0)||_2 <= lam.
T6. A closed gate has zero gradients in its columns; ridge shrinks them by 1 - eta mu per step, and c_k by its square
as long as G stands still: a gate closed with |c_k| <= lam then stays closed.

Assumptions
-----------
lam, mu > 0; at least rank X gates. T4 for f = ||X - T||^2/2 and s = 1; T5 for convex f, s = 1 and gates g >= 0, whose
signs A absorbs. T6: |1 - eta mu| <= 1.

Source
------
Ding et al., "Sparse Low-rank Adaptation of Pre-trained Language Models", EMNLP 2023, arXiv:2311.11696: the method, its
abstract and released code. The theorems are derived here.

Idea
----
A component costs lam |g| + (mu/2)(a^2 + b^2), a sum of squares above 2 sqrt(lam mu |g| a b); concavity of the square
root adds the components up. On singular values, v = sqrt(x) solves v^3 - sigma v + c/2 = 0, a cosine of a third of an
angle, and the excess over the stationary value has a square as a factor.

Checks
------
prox_above : PROVED
prox_below : PROVED
prox_dead_zone : PROVED
released_threshold : VERIFIED
gate_gradient : PROVED
gate_hessian : PROVED
gate_hessian_entries : VERIFIED
lasso_optimality : PROVED
scaling_keeps_update : PROVED
scaling_voids_penalty : PROVED
component_bound : PROVED
least_penalty : PROVED UNDER Rotfel'd
attained_update : PROVED
attained_penalty : PROVED
attained_value : PROVED
reduction_to_singular_values : PROVED
half_threshold_stationary : PROVED
half_threshold_root : PROVED
half_threshold_closed_form : PROVED
half_threshold_root_is_large : PROVED
half_threshold_global : PROVED
zero_below_threshold : PROVED
jump_is_stationary : PROVED
tie_at_threshold : PROVED
unit_columns_bound : PROVED
unit_columns_attained : PROVED
zero_is_optimal : PROVED
zero_is_not_optimal : PROVED
closed_gate_freezes_columns : PROVED
gate_death : PROVED

Used by
-------
lorasolve/adapters/sora.py, lorasolve/papers/sora.py
"""

from fractions import Fraction
from itertools import product
from random import Random

import sympy

from lorasolve.symbolic import (
    Exact,
    Identity,
    Inequality,
    ScalarCheck,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    assume,
    define,
    derivative,
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
    scalar,
    scalars,
    square,
    tr,
    vector,
    zeros,
)
from lorasolve.symbolic import rational as ra
from proofs.facts import DUAL_NORM, NUCLEAR, PAIRING_IS, PRODUCTS_IS, ROOTS_IS, ROTFELD, SPECTRAL, TERMS_IS, VON_NEUMANN

m, n, r, k = dims("m n r k")
s, c, t, lam, mu, eta = scalars("s c t lambda mu eta")
A, B, G, U, V = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n), matrix("U", m, r), matrix("V", n, r)
Gates, Moved = matrix("Gates", r, r, symmetric=True), matrix("Moved", r, r, symmetric=True)
X, T = matrix("X", m, n), matrix("T", m, n)
UPDATE = s * A @ Gates @ B.T

# The proximal step: |g| is a symbol of its own.
g, z = scalars("g z", real=True)
size = sympy.Symbol("|g|", nonnegative=True)
ABOVE, BELOW = hypothesis("g <= |g|", g, size), hypothesis("-g <= |g|", -g, size)
Z_ABOVE, Z_BELOW = hypothesis("z <= t", z, t), hypothesis("-t <= z", -t, z)
SCALED = hypothesis("lam ||g||_1 <= t c^2", lam * size, t * c**2)
HALF = sympy.Rational(1, 2)
PENALIZED = (g - z) ** 2 / 2 + t * size

# LASSO: c is the gradient at the gates g, e another choice.
f, f_other, pairing, pairing_other = scalars("f f_e cg ce", real=True)
l1, l1_other = sympy.Symbol("l1_g", nonnegative=True), sympy.Symbol("l1_e", nonnegative=True)
CONVEX = hypothesis("f(e) >= f(g) + <c, e - g>", f + pairing_other - pairing, f_other)
ALIGNED = equation("<c, g> = -lam ||g||_1", pairing, -lam * l1)
BOUNDED = hypothesis("<c, e> >= -lam ||e||_1", -lam * l1_other, pairing_other)

# T3: lam = l^2, mu = u^2, |g| = q^2, ||a|| = x^2, ||b|| = y^2.
ell, u, q = scalars("l u q")
q_or_0, x, y = scalars("q x y", nonnegative=True)
whole, parts, roots = scalars("P S_terms S_sigma", nonnegative=True)
COMPONENTS = hypothesis("penalty >= 2 l u sum sqrt(|g_k| ||a_k|| ||b_k||)", 2 * ell * u * parts, whole)
SUBADDITIVE = ROTFELD.instance("terms", ROOTS_IS(X, roots), TERMS_IS(X, parts))
P, Q, S = matrix("P", m, k), matrix("Q", n, k), matrix("Sigma", k, k, symmetric=True)
Root, RootInv = matrix("Root", k, k, symmetric=True), matrix("RootInv", k, k, symmetric=True)
P_ORTHONORMAL, Q_ORTHONORMAL, ROOT = orthonormal(P), orthonormal(Q), inverse(RootInv, Root)
BEST_A, BEST_B, BEST_GATES = P @ Root, Q @ Root, RootInv @ S @ RootInv

# T4: v = sqrt(x).
(v, width, sigma), w = scalars("v t2 sigma"), scalars("w", nonnegative=True)
excess = sympy.Symbol("e", nonnegative=True)
theta = sympy.Symbol("theta", real=True)
rho, root = scalars("rho kappa")  # rho = sqrt(sigma/3), c = kappa^3
FROM_THE_JUMP = hypothesis("(3/2) c^{2/3} <= sigma", 3 * root**2 / 2, sigma)
BEYOND_HALF = root / 2 + excess
AT_THE_JUMP = (define(v, root), define(c, root**3), define(sigma, 3 * root**2 / 2))
values_x, values_t = vector("x", k), vector("sigma", k)
PAIRED = VON_NEUMANN.instance("pairing", PAIRING_IS(X, T, inner(X, T)), PRODUCTS_IS(X, T, inner(values_x, values_t)))
X_NORM = equation("||X||^2 = |x|^2", square(X), square(values_x))
T_NORM = equation("||T||^2 = |sigma|^2", square(T), square(values_t))

# T5: gates as squares, Gates = Half^2, signs absorbed by A; ||a_k|| = ||b_k|| = 1.
Half = matrix("Half", r, r, symmetric=True)


def _unit_columns(values: Values, rng: Random) -> None:
    """Draw a diagonal Half and columns that are unit vectors."""
    values["Half"] = ra.diagonal([Fraction(rng.randint(0, 4), 2) for _ in values["Half"]])
    for factor in ("A", "B"):
        rows, cols = ra.shape(values[factor])
        columns = [[row[0] for row in ra.random_orthonormal(rng, rows, 1)] for _ in range(cols)]
        values[factor] = ra.transpose(columns)


UNIT_COLUMNS = assume(
    "unit columns",
    (tr(A.T @ A @ Half @ Half), tr(Half @ Half)),
    (tr(B.T @ B @ Half @ Half), tr(Half @ Half)),
    impose=_unit_columns,
)
top, nuc = scalars("g nu")
f_zero = scalars("f_0", real=True)
slope = scalars("p", real=True)
FROM_ZERO = hypothesis("f(X) >= f(0) + <G, X>", f_zero + slope, f)
DUAL = DUAL_NORM.instance("pairing_below", SPECTRAL(G, top), NUCLEAR(X, nuc), lhs=-slope, where={slope: inner(G, X)})
SMALL = hypothesis("||G||_2 <= lam", top, lam)
left, right = vector("u", m), vector("v", n)


def _leading(values: Values, rng: Random) -> None:
    """Choose G with G v = g u."""
    rest = ra.multiply(values["G"], ra.complement(values["v"]))
    values["G"] = ra.add(rest, ra.multiply(values["u"], ra.transpose(values["v"])), values[top])


UNITS = (orthonormal(left), orthonormal(right))
LEADING = assume("G v = g u", (G @ right, top * left), impose=_leading)

# T6: e is the unit vector of a closed gate.
e, a, b = vector("e", r), vector("a", m), vector("b", n)


def _closed(values: Values, rng: Random) -> None:
    """Close the first gate and let e point to it."""
    dim = len(values["e"])
    values["e"] = [[Fraction(int(i == 0))] for i in range(dim)]
    values["Gates"] = ra.diagonal([Fraction(0), *(Fraction(rng.randint(1, 4)) for _ in range(dim - 1))])


CLOSED = assume("diag(g) e = 0", (Gates @ e, zeros(r, 1)), impose=_closed)


def _released(width: int, soft: bool = False) -> tuple[bool, str]:
    """Compare the three in-place updates of the release with the net map, on a grid with t = width/6."""
    threshold = Fraction(width, 6)

    def in_place(value: Fraction) -> Fraction:
        if value > threshold:
            value -= threshold
        if value < -threshold:
            value += threshold
        return Fraction(0) if abs(value) < threshold else value

    def net(value: Fraction) -> Fraction:
        shrunk = max(abs(value) - threshold, Fraction(0)) * (1 if value > 0 else -1)
        if soft:
            return shrunk
        if abs(value) == threshold:
            return value
        return shrunk if abs(value) >= 2 * threshold else Fraction(0)

    for value in (Fraction(i, 12) for i in range(-60, 61)):
        if in_place(value) != net(value):
            return False, f"t = {threshold}, z = {value}: the updates give {in_place(value)}, the map {net(value)}"
    return True, "121 points agree"


def _hadamard_form(rows: int, cols: int, rank: int, factor: int = 1, first_only: bool = False) -> tuple[bool, str]:
    """Compare tr(A^T A D B^T B D), D = diag(d), with d^T ((A^T A) o (B^T B)) d."""
    rng = Random(100 * rows + 10 * cols + rank)
    gram_a, gram_b = (
        ra.multiply(ra.transpose(factor_), factor_)
        for factor_ in (ra.random_matrix(rng, rows, rank), ra.random_matrix(rng, cols, rank))
    )
    d = [ra.random_fraction(rng) or Fraction(1) for _ in range(rank)]
    form = ra.trace(ra.multiply(gram_a, ra.diagonal(d), gram_b, ra.diagonal(d)))
    pairs = [(i, j) for i, j in product(range(rank), repeat=2) if i == j or not first_only]
    entries = factor * sum((d[i] * gram_a[i][j] * gram_b[i][j] * d[j] for i, j in pairs), Fraction(0))
    return form == entries, f"form {form}, entries {entries}"


def half_penalized(at: sympy.Expr) -> sympy.Expr:
    """Return (x - sigma)^2/2 + c sqrt(x) at x = at^2."""
    return (at**2 - sigma) ** 2 / 2 + c * at


# v = sqrt x.
VALUE = 2 * rho * sympy.cos(theta)

CHECKS = (
    Inequality(
        "prox_above",
        "z > t: g = z - t minimizes (g - z)^2/2 + t |g|, and the excess is at least half the squared distance.",
        scalar(t**2 / 2 + t * (z - t) + (g - z + t) ** 2 / 2),
        PENALIZED,
        proof=[t * ABOVE],
        mutants=(
            mutant("constant", "at z - t/2", lhs=scalar(t**2 / 8 + t * (z - t / 2) + (g - z + t / 2) ** 2 / 2)),
            mutant("sign", "at z + t", lhs=scalar(t**2 / 2 + t * (z + t) + (g - z - t) ** 2 / 2)),
            dropped(ABOVE),
        ),
    ),
    Inequality(
        "prox_below",
        "z < -t: the same at g = z + t.",
        scalar(t**2 / 2 - t * (z + t) + (g - z - t) ** 2 / 2),
        PENALIZED,
        proof=[t * BELOW],
        mutants=(
            mutant("constant", "at z + t/2", lhs=scalar(t**2 / 8 - t * (z + t / 2) + (g - z - t / 2) ** 2 / 2)),
            mutant("sign", "at z - t", lhs=scalar(t**2 / 2 - t * (z - t) + (g - z + t) ** 2 / 2)),
            dropped(BELOW),
        ),
    ),
    Inequality(
        "prox_dead_zone",
        "|z| <= t: the same at g = 0.",
        scalar(z**2 / 2 + g**2 / 2),
        PENALIZED,
        proof=[HALF * Z_ABOVE * BELOW, HALF * Z_BELOW * ABOVE],
        mutants=(
            mutant("constant", "g^2 for g^2/2", lhs=scalar(z**2 / 2 + g**2)),
            mutant(
                "swapped symbols", "threshold t/2", {g: 1, size: 1, z: 1, t: 1}, rhs=(g - z) ** 2 / 2 + t * size / 2
            ),
            dropped(Z_ABOVE, {g: 1, size: 1, z: 3, t: 1}),
            dropped(Z_BELOW, {g: -1, size: 1, z: -3, t: 1}),
        ),
    ),
    Exact(
        "released_threshold",
        "The three in-place updates of the release have a dead zone of 2 t and a jump of height t at its end.",
        _released,
        ((1,), (3,), (6,)),
        mutants=(
            mutant("swapped symbols", "the soft threshold", run=lambda width: _released(width, soft=True)),
            mutant(
                "sign",
                "they never agree with the soft threshold beyond 2 t",
                run=lambda width: (not _released(width)[0], _released(width)[1]),
            ),
        ),
    ),
    Identity(
        "gate_gradient",
        "The derivative of f along a change d of the gates is sum s a_k^T G b_k d_k.",
        inner(G, derivative(UPDATE, {Gates: Moved})),
        s * tr(A.T @ G @ B @ Moved),
        mutants=(
            mutant("constant", "without s", rhs=tr(A.T @ G @ B @ Moved)),
            mutant("swapped transpose", "A^T G B times A^T A", rhs=s * tr(A.T @ A @ Moved)),
            mutant("sign", "minus", rhs=-s * tr(A.T @ G @ B @ Moved)),
        ),
    ),
    Identity(
        "gate_hessian",
        "The second derivative of ||X - T||^2/2 along d is s^2 tr(A^T A D B^T B D).",
        derivative(square(UPDATE - T) / 2, {Gates: Moved}, 2),
        s**2 * tr(A.T @ A @ Moved @ B.T @ B @ Moved),
        mutants=(
            mutant("constant", "s", rhs=s * tr(A.T @ A @ Moved @ B.T @ B @ Moved)),
            mutant("swapped symbols", "B^T B twice", rhs=s**2 * tr(B.T @ B @ Moved @ B.T @ B @ Moved)),
        ),
    ),
    Exact(
        "gate_hessian_entries",
        "For D = diag(d) this is d^T ((A^T A) o (B^T B)) d.",
        _hadamard_form,
        ((2, 3, 2), (4, 3, 3), (3, 5, 4)),
        mutants=(
            mutant("constant", "twice", run=lambda rows, cols, rank: _hadamard_form(rows, cols, rank, 2)),
            mutant(
                "dropped assumption",
                "the diagonal only",
                run=lambda rows, cols, rank: _hadamard_form(rows, cols, rank, first_only=True),
            ),
        ),
    ),
    Inequality(
        "lasso_optimality",
        "c_k = -lam sign g_k where g_k is not 0 and |c_k| <= lam elsewhere: no other gates are better.",
        f + lam * l1,
        f_other + lam * l1_other,
        proof=[CONVEX, 1 * ALIGNED, BOUNDED],
        mutants=(
            mutant("sign", "-lam ||g||_1", rhs=f_other - lam * l1_other),
            mutant(
                "constant",
                "1.05 lam on one side",
                {f: 1, f_other: 1, l1: 1, l1_other: 1, pairing: -1, pairing_other: -1, lam: 1},
                lhs=f + 21 * lam * l1 / 20,
            ),
            dropped(ALIGNED),
            dropped(BOUNDED, {f: 0, l1: 0, pairing: 0, pairing_other: -2, f_other: -2, l1_other: 1, lam: 1}),
        ),
    ),
    Identity(
        "scaling_keeps_update",
        "T2: (c A)(diag(g)/c^2)(c B)^T = A diag(g) B^T.",
        (c * A) @ (Gates / c**2) @ (c * B).T,
        A @ Gates @ B.T,
        mutants=(
            mutant("constant", "g/c", lhs=(c * A) @ (Gates / c) @ (c * B).T),
            mutant("sign", "-A", lhs=(-c * A) @ (Gates / c**2) @ (c * B).T),
        ),
    ),
    Inequality(
        "scaling_voids_penalty",
        "T2: lam ||g||_1/c^2 is at most any t > 0 where c^2 >= lam ||g||_1/t: it goes to 0 with growing c.",
        lam * size / c**2,
        t,
        proof=[1 / c**2 * SCALED],
        mutants=(
            mutant("constant", "ridge added", {lam: 1, size: 1, c: 1, t: 1, mu: 1}, lhs=lam * size / c**2 + mu),
            mutant("constant", "t/2", {lam: 1, size: 1, c: 1, t: 1}, rhs=t / 2),
            dropped(SCALED),
        ),
    ),
    SumOfSquares(
        "component_bound",
        "T3: lam |g| + (mu/2)(||a||^2 + ||b||^2) >= 2 sqrt(lam mu |g| ||a|| ||b||).",
        scalar(2 * ell * u * q_or_0 * x * y),
        ell**2 * q_or_0**2 + u**2 / 2 * (x**4 + y**4),
        proof=[1 * Square(ell * q_or_0 - u * x * y), u**2 / 2 * Square(x**2 - y**2)],
        mutants=(
            mutant(
                "constant", "4 for 2", {ell: 1, u: 1, q_or_0: 1, x: 1, y: 1}, lhs=scalar(4 * ell * u * q_or_0 * x * y)
            ),
            mutant("sign", "minus the ridge", rhs=ell**2 * q_or_0**2 - u**2 / 2 * (x**4 + y**4)),
        ),
    ),
    Inequality(
        "least_penalty",
        "T3: hence the penalty of any factors of X is at least 2 sqrt(lam mu) sum sqrt(sigma_i(X)).",
        scalar(2 * ell * u * roots),
        whole,
        proof=[COMPONENTS, 2 * ell * u * SUBADDITIVE],
        mutants=(
            mutant(
                "constant", "3 for 2", {ell: 1, u: 1, roots: 1, parts: 1, whole: 2}, lhs=scalar(3 * ell * u * roots)
            ),
            mutant(
                "swapped symbols",
                "without u",
                {ell: 1, u: "1/2", roots: 1, parts: 1, whole: 1},
                lhs=scalar(2 * ell * roots),
            ),
            dropped(SUBADDITIVE),
            dropped(COMPONENTS),
        ),
    ),
    Identity(
        "attained_update",
        "T3: A = U t, B = V t, diag(g) = t^{-1} Sigma t^{-1} give X = U Sigma V^T.",
        BEST_A @ BEST_GATES @ BEST_B.T,
        P @ S @ Q.T,
        given=(ROOT,),
        mutants=(
            mutant("swapped symbols", "g = sigma t^2", lhs=BEST_A @ (Root @ S @ Root) @ BEST_B.T),
            mutant("sign", "minus", rhs=-P @ S @ Q.T),
            dropped(ROOT),
        ),
    ),
    Identity(
        "attained_penalty",
        "T3: their ridge is mu tr(t^2).",
        mu / 2 * (square(BEST_A) + square(BEST_B)),
        mu * tr(Root @ Root),
        given=(P_ORTHONORMAL, Q_ORTHONORMAL),
        mutants=(
            mutant("constant", "half of it", rhs=mu / 2 * tr(Root @ Root)),
            mutant("sign", "the difference", lhs=mu / 2 * (square(BEST_A) - square(BEST_B))),
            dropped(P_ORTHONORMAL),
        ),
    ),
    Identity(
        "attained_value",
        "T3: lam sigma/t^2 + mu t^2 = 2 sqrt(lam mu sigma) at t2 = t^2 = sqrt(lam sigma/mu), sigma = q^2.",
        ell**2 * q**2 / width + u**2 * width,
        2 * ell * u * q,
        given=(define(width, ell * q / u),),
        mutants=(
            mutant("constant", "sqrt(lam mu sigma)", rhs=ell * u * q),
            mutant("swapped symbols", "t^2 = sqrt(mu sigma/lam)", given=(define(width, u * q / ell),)),
        ),
    ),
    Inequality(
        "reduction_to_singular_values",
        "T4: ||X - T||^2 >= sum (x_i - sigma_i)^2: the best X has the singular vectors of T.",
        square(values_x - values_t),
        square(X - T),
        proof=[-1 * X_NORM, -1 * T_NORM, 2 * PAIRED],
        mutants=(
            mutant(
                "sign",
                "x + sigma",
                {X: [[1]], T: [[1]], values_x: [[1]], values_t: [[1]]},
                lhs=square(values_x + values_t),
            ),
            mutant(
                "constant",
                "half of it",
                {X: [[1]], T: [[0]], values_x: [[1]], values_t: [[0]]},
                rhs=square(X - T) / 2,
            ),
            dropped(PAIRED, {X: [[1]], T: [[1]], values_x: [[1]], values_t: [[-1]]}),
        ),
    ),
    ScalarCheck(
        "half_threshold_stationary",
        "T4: slope of (x - sigma)^2/2 + c sqrt(x) between x = v^2 and x = w^2 is (v^2 + w^2)/2 - sigma + c/(v + w): "
        "(v^3 - sigma v + c/2)/v at w = v.",
        half_penalized(w) - half_penalized(v),
        ((v**2 + w**2) / 2 - sigma + c / (v + w)) * (w**2 - v**2),
        mutants=(
            mutant("sign", "-c", rhs=((v**2 + w**2) / 2 - sigma - c / (v + w)) * (w**2 - v**2)),
            mutant("constant", "2 c", rhs=((v**2 + w**2) / 2 - sigma + 2 * c / (v + w)) * (w**2 - v**2)),
        ),
    ),
    ScalarCheck(
        "half_threshold_root",
        "T4: v = 2 sqrt(sigma/3) cos(th), c = -4 (sigma/3)^{3/2} cos(3 th) solves v^3 - sigma v + c/2 = 0,",
        VALUE**3 - 3 * rho**2 * VALUE,
        2 * rho**3 * sympy.cos(3 * theta),
        mutants=(
            mutant("sign", "-c", rhs=-2 * rho**3 * sympy.cos(3 * theta)),
            mutant("constant", "c for c/2", rhs=4 * rho**3 * sympy.cos(3 * theta)),
        ),
    ),
    ScalarCheck(
        "half_threshold_closed_form",
        "and x = v^2 is the formula.",
        VALUE**2,
        2 * rho**2 * (1 + sympy.cos(2 * sympy.pi / 3 - sympy.Rational(2, 3) * (sympy.pi - 3 * theta))),
        mutants=(
            mutant(
                "sign",
                "an angle of pi/3 + (2/3) arccos",
                rhs=2 * rho**2 * (1 + sympy.cos(2 * sympy.pi / 3 + sympy.Rational(2, 3) * (sympy.pi - 3 * theta))),
            ),
            mutant("constant", "sigma/3 for 2 sigma/3", rhs=rho**2 * (1 + sympy.cos(2 * theta))),
        ),
    ),
    Inequality(
        "half_threshold_root_is_large",
        "T4: for sigma >= (3/2) c^{2/3} a root v >= c^{1/3}/2 of v^3 - sigma v + c/2 has 2 sigma <= 3 v^2.",
        scalar(2 * sigma),
        3 * v**2,
        proof=[
            2
            * (BEYOND_HALF**2 + BEYOND_HALF * root + root**2)
            / (root**2 / 2 + 4 * root * excess + 2 * excess**2)
            * FROM_THE_JUMP
        ],
        given=(define(v, BEYOND_HALF), define(sigma, BEYOND_HALF**2 + root**3 / (2 * BEYOND_HALF))),
        mutants=(
            mutant("constant", "2.1 sigma", {root: 2, excess: 1, v: 2, sigma: 6}, lhs=scalar(21 * sigma / 10)),
            mutant("sign", "at least", lhs=scalar(3 * v**2), rhs=scalar(2 * sigma)),
            dropped(FROM_THE_JUMP, {root: 2, excess: "1/4", v: "5/4", sigma: "381/80"}),
        ),
    ),
    SumOfSquares(
        "half_threshold_global",
        "T4: c = 2 v (sigma - v^2), sigma = (3 v^2 - e)/2: the value at v is least among all w >= 0.",
        ((v**2 - sigma) ** 2 / 2 + 2 * v * (sigma - v**2) * v).subs(sigma, (3 * v**2 - excess) / 2),
        ((w**2 - sigma) ** 2 / 2 + 2 * v * (sigma - v**2) * w).subs(sigma, (3 * v**2 - excess) / 2),
        proof=[(w**2 + 2 * v * w + excess) / 2 * Square(w - v)],
        mutants=(
            mutant(
                "sign",
                "c negative",
                lhs=((v**2 - sigma) ** 2 / 2 - 2 * v * (sigma - v**2) * v).subs(sigma, (3 * v**2 - excess) / 2),
                rhs=((w**2 - sigma) ** 2 / 2 - 2 * v * (sigma - v**2) * w).subs(sigma, (3 * v**2 - excess) / 2),
            ),
            mutant(
                "dropped assumption",
                "the smaller root, 3 x < 2 sigma",
                {v: 1, w: "1/10", excess: 1},
                lhs=((v**2 - sigma) ** 2 / 2 + 2 * v * (sigma - v**2) * v).subs(sigma, (3 * v**2 + excess) / 2),
                rhs=((w**2 - sigma) ** 2 / 2 + 2 * v * (sigma - v**2) * w).subs(sigma, (3 * v**2 + excess) / 2),
            ),
        ),
    ),
    SumOfSquares(
        "zero_below_threshold",
        "T4: sigma = (3/2) c^{2/3} - e, c = kappa^3: no w >= 0 is better than 0.",
        scalar(((3 * root**2 / 2 - excess) ** 2) / 2),
        (w**2 - 3 * root**2 / 2 + excess) ** 2 / 2 + root**3 * w,
        proof=[w * (w + 2 * root) / 2 * Square(w - root), excess * Square(w)],
        mutants=(
            mutant(
                "constant",
                "up to 1.6 c^{2/3}",
                {w: 1, root: 1, excess: "1/100"},
                lhs=scalar((8 * root**2 / 5) ** 2 / 2),
                rhs=(w**2 - 8 * root**2 / 5) ** 2 / 2 + root**3 * w,
            ),
            mutant("sign", "a reward", rhs=(w**2 - 3 * root**2 / 2 + excess) ** 2 / 2 - root**3 * w),
        ),
    ),
    Identity(
        "jump_is_stationary",
        "T4: at sigma = (3/2) c^{2/3} the nonzero solution is x = c^{2/3} (v = kappa, c = kappa^3).",
        v**3 - sigma * v + c / 2,
        0,
        given=AT_THE_JUMP,
        mutants=(
            mutant("constant", "2 c", lhs=v**3 - sigma * v + c),
            mutant("sign", "-sigma v", lhs=v**3 + sigma * v + c / 2),
            mutant("constant", "sigma = c^{2/3}", given=(*AT_THE_JUMP[:2], define(sigma, root**2))),
        ),
    ),
    Identity(
        "tie_at_threshold",
        "T4: there x = c^{2/3} and x = 0 have the same value, sigma^2/2.",
        half_penalized(v),
        sigma**2 / 2,
        given=AT_THE_JUMP,
        mutants=(
            mutant("constant", "sigma^2", rhs=sigma**2),
            mutant("swapped symbols", "at sigma = 2 c^{2/3}", given=(*AT_THE_JUMP[:2], define(sigma, 2 * root**2))),
        ),
    ),
    SumOfSquares(
        "unit_columns_bound",
        "T5: ||X||_* = <P Q^T, X> <= ||g||_1 for X = A diag(g) B^T with unit columns, diag(g) = Half^2.",
        inner(P @ Q.T, A @ Half @ Half @ B.T),
        tr(Half @ Half),
        proof=[
            HALF * Square(P.T @ A @ Half - Q.T @ B @ Half),
            HALF * Square(A @ Half - P @ P.T @ A @ Half),
            HALF * Square(B @ Half - Q @ Q.T @ B @ Half),
        ],
        given=(P_ORTHONORMAL, Q_ORTHONORMAL, UNIT_COLUMNS),
        mutants=(
            mutant("constant", "half of it", rhs=tr(Half @ Half) / 2),
            mutant("sign", "minus", rhs=-tr(Half @ Half)),
            dropped(UNIT_COLUMNS),
            dropped(P_ORTHONORMAL),
        ),
    ),
    Identity(
        "unit_columns_attained",
        "T5: A = P, B = Q, diag(g) = Sigma: <P Q^T, X> = tr Sigma = ||g||_1.",
        inner(P @ Q.T, P @ S @ Q.T),
        tr(S),
        given=(P_ORTHONORMAL, Q_ORTHONORMAL),
        mutants=(
            mutant("constant", "twice", rhs=2 * tr(S)),
            mutant("swapped symbols", "||Sigma||^2", rhs=tr(S @ S)),
            dropped(Q_ORTHONORMAL),
        ),
    ),
    Inequality(
        "zero_is_optimal",
        "T5: ||grad f(0)||_2 <= lam implies f(0) <= f(X) + lam ||X||_*.",
        f_zero,
        f + lam * nuc,
        proof=[FROM_ZERO, DUAL, nuc * SMALL],
        mutants=(
            mutant(
                "constant",
                "lam/2",
                {f_zero: 1, f: "1/4", slope: "-3/4", top: 1, nuc: "3/4", lam: 1},
                rhs=f + lam * nuc / 2,
            ),
            mutant("sign", "-lam", rhs=f - lam * nuc),
            dropped(SMALL),
            dropped(DUAL),
        ),
    ),
    Identity(
        "zero_is_not_optimal",
        "T5: along -u v^T with G v = g u and ||u v^T||_* = 1 the slope at 0 is lam - g, negative if ||G||_2 = g > lam.",
        inner(G, -left @ right.T) + lam * square(left @ right.T),
        lam - scalar(top),
        given=(*UNITS, LEADING),
        mutants=(
            mutant("sign", "along +u v^T", lhs=inner(G, left @ right.T) + lam * square(left @ right.T)),
            mutant("constant", "lam - 2 g", rhs=lam - scalar(2 * top)),
            dropped(LEADING),
        ),
    ),
    Identity(
        "closed_gate_freezes_columns",
        "T6: diag(g) e = 0: a gradient step with ridge turns the column A e into (1 - eta mu) A e.",
        (A - eta * (s * G @ B @ Gates + mu * A)) @ e,
        (1 - eta * mu) * A @ e,
        given=(CLOSED,),
        mutants=(
            mutant("sign", "1 + eta mu", rhs=(1 + eta * mu) * A @ e),
            mutant("constant", "without ridge", rhs=A @ e),
            dropped(CLOSED),
        ),
    ),
    Identity(
        "gate_death",
        "T6: c_k = s a^T G b then shrinks by (1 - eta mu)^2 (G fixed): it stays below lam, and the gate stays closed.",
        s * tr(((1 - eta * mu) * a).T @ G @ ((1 - eta * mu) * b)),
        (1 - eta * mu) ** 2 * s * tr(a.T @ G @ b),
        mutants=(
            mutant("constant", "1 - eta mu", rhs=(1 - eta * mu) * s * tr(a.T @ G @ b)),
            mutant("sign", "minus", rhs=-((1 - eta * mu) ** 2) * s * tr(a.T @ G @ b)),
        ),
    ),
)

PROSE = {
    "the sum over the components, X having a singular value decomposition": ("least_penalty", "attained_update"),
    "the angle of the formula is at most pi/3, hence v^2 >= sigma/3, and v >= c^{1/3}/2": (
        "half_threshold_closed_form",
        "half_threshold_root_is_large",
    ),
    "the sum over the singular values": (
        "reduction_to_singular_values",
        "half_threshold_global",
        "zero_below_threshold",
    ),
    "f changes by its slope for small steps": ("zero_is_not_optimal",),
    "the induction over the steps": ("gate_death",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("sora", THEOREM))
