"""LoRA-GGPO and LoRA-MGPO: what perturbing the weight does on average, and how sharp a solution is.

Statement
---------
W = W0 + gamma A B^T, G = grad f(W), E a random matrix with independent entries of mean 0 and variance s_i^2 in row i.

F1. S = gamma (grad_A B^T + A grad_B^T) = gamma^2 (G B B^T + A A^T G) is minus the velocity of the weight under gradient
flow, with <S, G> = ||grad_A||^2 + ||grad_B||^2; it is not G. F2. ||W_i||^2 has a cross term of W0 and the update. F3.
For f = ||W Z - Y||^2/(2 N) and C = Z Z^T/N: E f(W + E) = f(W) + (tr C/2) sum s_i^2, which for s_i^2 =
(sigma^2/n)(||W_i||^2 + beta ||G_i||^2) is f(W) + (sigma^2 tr C/(2 n))(||W||^2 + beta ||G||^2). F4. The mean gradient is
unchanged for quadratic f, hence the mean plain step of A and B; beyond, it changes by f'''[E, E, .]/2 in the mean. F5.
For inputs x with independent entries of mean mu and variance v, Var[(W_i + E_i) x] = ||W_i||^2 v + n s_i^2 (v + mu^2).
F6. On a quadratic, plain steps of MGPO from a start c times as far, with c^2 rho in the place of rho, have points and
gradients c times as large: what they hover at is proportional to sqrt(rho). For curvature h and step eta, eta h < 2,
with the minus sign they can go to and fro between eta g/2 and -eta g/2, where g^2 = 2 rho h/(2 - eta h) and g, -g are
the gradients at the perturbed points; with the plus sign there is no cycle of two points. F7. Under f -> c f the radius
becomes 1/c as large. F8. At zero residual of ||gamma A B^T - T||^2/2 the largest Hessian eigenvalue in (A, B) is
gamma^2 (||A||_2^2 + ||B||_2^2), which is 2 gamma ||X||_2 for balanced factors, X = gamma A B^T; a step eta raises the
loss along that direction exactly if eta lambda_max > 2.

Assumptions
-----------
E is independent of A, B, and its scale is not differentiated. In F6 and F7 the radius is rho/gbar along
the momentum of earlier gradients, as published, without clamp; the cycles of F6 are in one dimension and without memory
(mu = beta = 0), where both are the gradient before.

Source
------
LoRA-GGPO / LoRA-MGPO, arXiv:2502.14538 (the two methods of its versions); Flat-LoRA, arXiv:2409.14396. The formulas of
the first version are second-hand. The statements are derived here; F3 and F4 correct the reading as a flatness penalty.

Idea
----
E and -E are equally likely, so everything odd in E cancels in pairs; for quadratic f nothing even is left in the
gradient. Second moments of independent signs are those of any independent entries, so quadratic expectations are
finite sums. F8: ||U B^T + A V^T|| <= ||U|| ||B||_2 + ||A||_2 ||V||, and the leading singular vectors attain it.

Checks
------
surrogate_is_velocity : PROVED
surrogate_from_factors : PROVED
surrogate_along_gradient : PROVED
surrogate_at_start : PROVED
surrogate_is_not_gradient : VERIFIED
cross_term : PROVED
mean_loss_in_pairs : PROVED
mean_loss : VERIFIED
mean_loss_with_scales : VERIFIED
mean_gradient : PROVED
mean_factor_steps : PROVED
cubic_bias : PROVED
logistic_bias : PROVED
logistic_third_derivative : PROVED
activation_variance : PROVED
activation_variance_flat : PROVED
activation_moments : VERIFIED
floor_scales : PROVED
cycle_of_descent_sign : PROVED
no_cycle_of_ascent_sign : PROVED
radius_not_scale_invariant : PROVED
second_derivative : PROVED
sharpness_bound : PROVED
sharpness_attained : PROVED
sharpness_balanced : PROVED
step_raises_loss : PROVED

Used by
-------
lorasolve/papers/lora_ggpo.py, lorasolve/optimizers/ggpo.py,
lorasolve/optimizers/mgpo.py
"""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
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
    Theorem,
    Values,
    assume,
    define,
    derivative,
    dims,
    dropped,
    eye,
    gradient,
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
from proofs.facts import OPERATOR_NORM, SPECTRAL

m, n, r, N = dims("m n r N")
gamma, s, v, a, b, rho, h, eta, c = scalars("gamma s v a b rho h eta c")
BALANCED = (define(b, a), define(s, gamma * a**2))
sigma, mean = scalars("sigma"), scalars("mu", real=True)
A, B, G, W0 = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n), matrix("W0", m, n)
W, E, Z, Y = matrix("W", m, n), matrix("E", m, n), matrix("Z", n, N), matrix("Y", m, N)
U, V = matrix("U", m, r), matrix("V", n, r)
UPDATE = gamma * A @ B.T
GRAD_A, GRAD_B = gamma * G @ B, gamma * G.T @ A
SURROGATE = gamma**2 * (G @ B @ B.T + A @ A.T @ G)
row = vector("e", m)  # the i-th unit vector: W^T e is the i-th row
SEPARATE = square(W0.T @ row) + gamma**2 * square(B @ A.T @ row)

ZERO_FACTOR = assume(
    "B = 0",
    (B, zeros(n, r)),
    impose=lambda values, rng: values.update(B=ra.zeros(*ra.shape(values["B"]))),
)

# F3, F4: linear regression and a cubic.
C = Z @ Z.T / N
M1, M2, M3 = matrix("M1", m, n), matrix("M2", m, n), matrix("M3", m, n)


def loss(weight: MatrixExpr) -> ScalarExpr:
    """Return ||W Z - Y||^2/(2 N)."""
    return square(weight @ Z - Y) / (2 * N)


def slope(weight: MatrixExpr) -> MatrixExpr:
    """Return the gradient of the regression loss."""
    return (weight @ Z - Y) @ Z.T / N


def cubic_slope(weight: MatrixExpr) -> MatrixExpr:
    """Return the gradient of <M1, W> <M2, W> <M3, W>."""
    first, second, third = (inner(form, weight) for form in (M1, M2, M3))
    return second * third * M1 + first * third * M2 + first * second * M3


CUBIC = inner(M1, W) * inner(M2, W) * inner(M3, W)
zz = sympy.Symbol("z", real=True)
noise = sympy.Symbol("t", real=True)
sigmoid = 1 / (1 + sympy.exp(-zz))
logistic = sympy.log(1 + sympy.exp(zz))
logistic_slope = sympy.diff(logistic, zz)
PAIRED = (logistic_slope.subs(zz, zz + noise) + logistic_slope.subs(zz, zz - noise)) / 2

# F5: one row w, and x with E x = mu 1, E x x^T = v I + mu^2 1 1^T.
w, one = vector("w", n), vector("one", n)
ONES = assume(
    "1^T 1 = n",
    (square(one), n),
    impose=lambda values, rng: values.update(one=[[Fraction(1)] for _ in values["one"]]),
)
SECOND = v * eye(n) + mean**2 * one @ one.T
VARIANCE = tr(w.T @ SECOND @ w) + s**2 * tr(SECOND) - square(mean * tr(one.T @ w))

# F8: leading singular vectors, A x = a u and B y = b w.
x, y, u = vector("x", r), vector("y", r), vector("u", m)


def _lead(factor: str, right: str, left: str, size: sympy.Symbol) -> Callable[[Values, Random], None]:
    """Return how to change a factor so that it sends the right vector to `size` times the left one."""

    def impose(values: Values, rng: Random) -> None:
        matrix_value, vector_value = values[factor], values[right]
        rest = ra.multiply(matrix_value, ra.complement(vector_value))
        outer = ra.multiply(values[left], ra.transpose(vector_value))
        values[factor] = ra.add(rest, outer, values[size])

    return impose


UNITS = (orthonormal(x), orthonormal(y), orthonormal(u), orthonormal(w))
LEAD_A = assume("A x = a u", (A @ x, a * u), impose=_lead("A", "x", "u", a))
LEAD_B = assume("B y = b w", (B @ y, b * w), impose=_lead("B", "y", "w", b))
T = matrix("T", m, n)
MOVED = U @ B.T + A @ V.T
U_BOUND = OPERATOR_NORM.instance("product", SPECTRAL(B, b), W=U.T)
V_BOUND = OPERATOR_NORM.instance("product", SPECTRAL(A, a), W=V.T)
LEAD_U, LEAD_V = b * u @ y.T, a * w @ x.T
LEAD_MOVED = LEAD_U @ B.T + A @ LEAD_V.T


def _signs(rows: int, cols: int) -> list[ra.RationalMatrix]:
    """Return all matrices of signs."""
    patterns = product((Fraction(1), Fraction(-1)), repeat=rows * cols)
    return [[list(pattern[i * cols : (i + 1) * cols]) for i in range(rows)] for pattern in patterns]


def _mean_rise(weight: ra.RationalMatrix, scales: list[Fraction], rng: Random) -> tuple[Fraction, Fraction]:
    """Return the mean of f(W + E) - f(W) over all signs E_ij = +-s_i, and tr C, for random data."""
    rows, cols = ra.shape(weight)
    inputs, labels = ra.random_matrix(rng, cols, 3), ra.random_matrix(rng, rows, 3)

    def value(point: ra.RationalMatrix) -> Fraction:
        residual = ra.add(ra.multiply(point, inputs), labels, -1)
        return ra.inner(residual, residual) / 6

    patterns = _signs(rows, cols)
    noisy = [[[scales[i] * entry for entry in line] for i, line in enumerate(pattern)] for pattern in patterns]
    average = sum((value(ra.add(weight, e)) for e in noisy), Fraction(0)) / len(noisy)
    return average - value(weight), ra.inner(inputs, inputs) / 3


def _mean_loss(rows: int, cols: int, factor: Fraction = Fraction(1, 2), per_row: bool = True) -> tuple[bool, str]:
    """Compare the mean rise with tr C/2 times the sum of the variances."""
    rng = Random(10 * rows + cols)
    scales = [Fraction(rng.randint(1, 5), 3) for _ in range(rows)]
    rise, trace = _mean_rise(ra.random_matrix(rng, rows, cols), scales, rng)
    total = sum((q**2 for q in (scales if per_row else scales[:1] * rows)), Fraction(0))
    return rise == factor * trace * total, f"rise {rise}, formula {factor * trace * total}"


def _mean_loss_with_scales(beta_shown: int = 1, columns: int = 4) -> tuple[bool, str]:
    """Do the same with the paper's scales, sigma = 1/3, beta = 1, chosen to be rational."""
    weight = ra.rational([[3, 4, 0, 0], [1, 2, 2, 0]])
    slopes = ra.rational([[12, 0, 0, 0], [0, 4, 0, 0]])
    sigma_value = Fraction(1, 3)
    scales = [sigma_value * Fraction(13, 2), sigma_value * Fraction(5, 2)]
    for scale, row_w, row_g in zip(scales, weight, slopes, strict=True):
        assert scale**2 == sigma_value**2 / 4 * (ra.inner([row_w], [row_w]) + ra.inner([row_g], [row_g]))
    rise, trace = _mean_rise(weight, scales, Random(3))
    penalty = ra.inner(weight, weight) + beta_shown * ra.inner(slopes, slopes)
    formula = sigma_value**2 * trace / (2 * columns) * penalty
    return rise == formula, f"rise {rise}, formula {formula}"


def _not_gradient(scale: int, expected: str) -> tuple[bool, str]:
    """Return ||S - G||^2/||G||^2 for G = (1, 2), A = 1, B = (2, 1), gamma = scale."""
    g, left, right = ra.rational([[1, 2]]), ra.rational([[1]]), ra.rational([[2], [1]])
    shown = ra.add(ra.multiply(g, right, ra.transpose(right)), ra.multiply(left, left, g))
    difference = ra.add(ra.scale(scale**2, shown), g, -1)
    ratio = ra.inner(difference, difference) / ra.inner(g, g)
    return ratio == Fraction(expected), f"||S - G||^2/||G||^2 = {ratio}"


def _activation(size: int, noise_scale: str, shift: int = 0, with_mean: bool = True) -> tuple[bool, str]:
    """Compare the variance of (w + e) x over all signs of e = +-s and x = mu +- sqrt(v) with the formula."""
    scale, centre, spread = Fraction(noise_scale), Fraction(3, 2), Fraction(1, 2)
    weights = [Fraction(i + 1, 2) * (-1) ** i for i in range(size)]
    signs = list(product((1, -1), repeat=size))
    outcomes = [
        sum((wi + e * scale) * (centre + q * spread) for wi, e, q in zip(weights, es, qs, strict=True))
        for es in signs
        for qs in signs
    ]
    average = sum(outcomes, Fraction(0)) / len(outcomes)
    found = sum(((o - average) ** 2 for o in outcomes), Fraction(0)) / len(outcomes)
    second = spread**2 + (centre**2 if with_mean else 0)
    formula = sum(wi**2 for wi in weights) * spread**2 + (size + shift) * scale**2 * second
    return found == formula, f"variance {found}, formula {formula}"


position = sympy.Symbol("x", positive=True)
gbar, length, g = scalars("gbar l g")
SPREAD, POINT, MOMENTUM = matrix("H", m, m, symmetric=True), matrix("X", m, n), matrix("V", m, n)


def perturbed(point: sympy.Expr, before: sympy.Expr, sign: int) -> sympy.Expr:
    """Return the gradient of h x^2/2 at x + sign (rho/|p|) p/|p|, p the gradient before."""
    return h * (point + sign * rho / before)


def along_momentum(scale: sympy.Expr, radius: sympy.Expr) -> MatrixExpr:
    """Return the gradient of <X, H X>/2 at X + rho V/(||V|| gbar), all but H and rho `scale` times as large."""
    return SPREAD @ (scale * POINT + radius / (scale * length * scale * gbar) * scale * MOMENTUM)


CHECKS = (
    Identity(
        "surrogate_is_velocity",
        "F1: S = -dX/dt under dA/dt = -grad_A, dB/dt = -grad_B.",
        -derivative(UPDATE, {A: -GRAD_A, B: -GRAD_B}),
        SURROGATE,
        mutants=(
            mutant("sign", "S = +dX/dt", rhs=-SURROGATE),
            mutant("swapped symbols", "S = G", rhs=G),
            mutant("constant", "gamma instead of gamma^2", rhs=gamma * (G @ B @ B.T + A @ A.T @ G)),
        ),
    ),
    Identity(
        "surrogate_from_factors",
        "F1: S = gamma (grad_A B^T + A grad_B^T).",
        gamma * (GRAD_A @ B.T + A @ GRAD_B.T),
        SURROGATE,
        mutants=(
            mutant("sign", "the difference", lhs=gamma * (GRAD_A @ B.T - A @ GRAD_B.T)),
            mutant("constant", "without gamma", lhs=GRAD_A @ B.T + A @ GRAD_B.T),
        ),
    ),
    Identity(
        "surrogate_along_gradient",
        "F1: <S, G> = ||grad_A||^2 + ||grad_B||^2.",
        inner(SURROGATE, G),
        square(GRAD_A) + square(GRAD_B),
        mutants=(
            mutant("sign", "the difference", rhs=square(GRAD_A) - square(GRAD_B)),
            mutant("constant", "half of it", rhs=(square(GRAD_A) + square(GRAD_B)) / 2),
        ),
    ),
    Identity(
        "surrogate_at_start",
        "F1: at B = 0, S = gamma^2 A A^T G: only the range of A is seen.",
        SURROGATE,
        gamma**2 * A @ A.T @ G,
        given=(ZERO_FACTOR,),
        mutants=(
            mutant("constant", "twice", rhs=2 * gamma**2 * A @ A.T @ G),
            mutant("sign", "minus", rhs=-(gamma**2) * A @ A.T @ G),
            dropped(ZERO_FACTOR),
        ),
    ),
    Exact(
        "surrogate_is_not_gradient",
        "F1: G = (1, 2), A = 1, B = (2, 1): ||S - G||^2/||G||^2 = 16 for gamma = 1 and 9104/5 for gamma = 3.",
        _not_gradient,
        ((1, "16"), (3, "9104/5")),
        mutants=(
            mutant("constant", "S = G", run=lambda scale, expected: _not_gradient(scale, "0")),
            mutant("swapped symbols", "gamma + 1", run=lambda scale, expected: _not_gradient(scale + 1, expected)),
        ),
    ),
    Identity(
        "cross_term",
        "F2: ||W_i||^2 = ||W0_i||^2 + gamma^2 ||(A B^T)_i||^2 + 2 gamma <W0_i, (A B^T)_i>.",
        square((W0 + UPDATE).T @ row),
        SEPARATE + 2 * gamma * inner(W0.T @ row, B @ A.T @ row),
        mutants=(
            mutant("dropped assumption", "without it", rhs=SEPARATE),
            mutant("sign", "minus", rhs=SEPARATE - 2 * gamma * inner(W0.T @ row, B @ A.T @ row)),
        ),
    ),
    Identity(
        "mean_loss_in_pairs",
        "F3: the mean of f(W + E) and f(W - E) is f(W) + tr(E C E^T)/2.",
        (loss(W + E) + loss(W - E)) / 2,
        loss(W) + tr(E @ C @ E.T) / 2,
        mutants=(
            mutant("constant", "tr(E C E^T)", rhs=loss(W) + tr(E @ C @ E.T)),
            mutant("sign", "minus", rhs=loss(W) - tr(E @ C @ E.T) / 2),
            mutant("dropped assumption", "f(W + E) alone", lhs=loss(W + E)),
        ),
    ),
    Exact(
        "mean_loss",
        "F3: the mean over all signs is f(W) + (tr C/2) sum s_i^2.",
        _mean_loss,
        ((1, 1), (1, 3), (2, 2), (2, 3), (3, 2)),
        mutants=(
            mutant("constant", "tr C", run=lambda rows, cols: _mean_loss(rows, cols, Fraction(1))),
            mutant("swapped symbols", "s_1 for every s_i", run=lambda a, b: _mean_loss(a, b, per_row=False)),
        ),
    ),
    Exact(
        "mean_loss_with_scales",
        "F3: with the paper's scales it is f(W) + (sigma^2 tr C/(2 n))(||W||^2 + beta ||G||^2).",
        _mean_loss_with_scales,
        ((),),
        mutants=(
            mutant("sign", "-beta ||G||^2", run=lambda: _mean_loss_with_scales(-1)),
            mutant("swapped symbols", "m for n", run=lambda: _mean_loss_with_scales(columns=2)),
        ),
    ),
    Identity(
        "mean_gradient",
        "F4: for quadratic f the mean of grad f(W + E) and grad f(W - E) is grad f(W).",
        (slope(W + E) + slope(W - E)) / 2,
        gradient(loss(W), W),
        mutants=(
            mutant("dropped assumption", "grad f(W + E) alone", lhs=slope(W + E)),
            mutant("sign", "half the difference", lhs=(slope(W + E) - slope(W - E)) / 2),
            mutant("constant", "plus the gradient of a ridge penalty", rhs=gradient(loss(W), W) + W @ C),
        ),
    ),
    Identity(
        "mean_factor_steps",
        "F4: hence the mean steps gamma G' B and gamma G'^T A of the factors are those of LoRA.",
        inner(gamma * (slope(W + E) + slope(W - E)) / 2 @ B, U)
        + inner(gamma * ((slope(W + E) + slope(W - E)) / 2).T @ A, V),
        gamma * inner(slope(W), U @ B.T + A @ V.T),
        mutants=(
            mutant("constant", "twice", rhs=2 * gamma * inner(slope(W), U @ B.T + A @ V.T)),
            mutant("sign", "U B^T - A V^T", rhs=gamma * inner(slope(W), U @ B.T - A @ V.T)),
        ),
    ),
    Identity(
        "cubic_bias",
        "F4: for a cubic the mean gradient changes by exactly f'''[E, E, .]/2.",
        (cubic_slope(W + E) + cubic_slope(W - E)) / 2,
        gradient(CUBIC, W) + derivative(cubic_slope(W), {W: E}, 2) / 2,
        mutants=(
            mutant("constant", "no change", rhs=cubic_slope(W)),
            mutant("sign", "minus", rhs=gradient(CUBIC, W) - derivative(cubic_slope(W), {W: E}, 2) / 2),
        ),
    ),
    ScalarCheck(
        "logistic_bias",
        "F4: for log(1 + e^z) the mean slope at z +- t is l'(z) + l'''(z) t^2/2 + O(t^4).",
        sympy.Subs(sympy.Derivative(PAIRED, (noise, 2)), noise, 0),
        sympy.diff(logistic, zz, 3),
        mutants=(
            mutant("constant", "half", rhs=sympy.diff(logistic, zz, 3) / 2),
            mutant("swapped symbols", "the second derivative", rhs=sympy.diff(logistic, zz, 2)),
        ),
    ),
    ScalarCheck(
        "logistic_third_derivative",
        "F4: l''' = p (1 - p)(1 - 2 p), p = 1/(1 + e^{-z}): it vanishes at z = 0 only.",
        sympy.diff(logistic, zz, 3),
        sigmoid * (1 - sigmoid) * (1 - 2 * sigmoid),
        mutants=(
            mutant("sign", "p (1 - p)(2 p - 1)", rhs=sigmoid * (1 - sigmoid) * (2 * sigmoid - 1)),
            mutant("constant", "p (1 - p)", rhs=sigmoid * (1 - sigmoid)),
        ),
    ),
    Identity(
        "activation_variance",
        "F5: w^T M w + s^2 tr M - mu^2 (1^T w)^2 = ||w||^2 v + n s^2 (v + mu^2), M = E x x^T.",
        VARIANCE,
        v * square(w) + n * s**2 * (v + mean**2),
        given=(ONES,),
        mutants=(
            mutant("constant", "without mu^2", rhs=v * square(w) + n * s**2 * v),
            mutant("sign", "v - mu^2", rhs=v * square(w) + n * s**2 * (v - mean**2)),
            dropped(ONES),
        ),
    ),
    Identity(
        "activation_variance_flat",
        "F5: with s^2 = sigma^2 ||w||^2/n (beta = 0) it is (1 + sigma^2) ||w||^2 v + sigma^2 ||w||^2 mu^2, whatever n.",
        v * square(w) + n * (sigma**2 / n * square(w)) * (v + mean**2),
        (1 + sigma**2) * v * square(w) + sigma**2 * mean**2 * square(w),
        mutants=(
            mutant("constant", "times n", rhs=n * ((1 + sigma**2) * v + sigma**2 * mean**2) * square(w)),
            mutant("sign", "1 - sigma^2", rhs=(1 - sigma**2) * v * square(w) + sigma**2 * mean**2 * square(w)),
        ),
    ),
    Exact(
        "activation_moments",
        "F5: the variance over all signs of noise and inputs agrees with the formula.",
        _activation,
        ((1, "1/2"), (2, "2/3"), (3, "1/3")),
        mutants=(
            mutant("dropped assumption", "without mu^2", run=lambda n, s: _activation(n, s, with_mean=False)),
            mutant("constant", "n + 1", run=lambda n, s: _activation(n, s, shift=1)),
        ),
    ),
    Identity(
        "floor_scales",
        "F6: c X, c V, c ||V||, c gbar and c^2 rho give c times the gradient, on <X, H X>/2 in any dimension.",
        along_momentum(c, c**2 * rho),
        c * along_momentum(sympy.Integer(1), rho),
        mutants=(
            mutant("constant", "c rho", lhs=along_momentum(c, c * rho)),
            mutant("swapped symbols", "c^2 times", rhs=c**2 * along_momentum(sympy.Integer(1), rho)),
        ),
    ),
    Identity(
        "cycle_of_descent_sign",
        "F6: with the minus sign eta g/2 after the gradient -g goes to -eta g/2: the gradient there is g.",
        eta * g / 2 - eta * perturbed(eta * g / 2, -g, -1),
        -eta * g / 2,
        given=(define(rho, g**2 * (2 - eta * h) / (2 * h)),),
        mutants=(
            mutant("sign", "the plus sign", lhs=eta * g / 2 - eta * perturbed(eta * g / 2, -g, 1)),
            mutant("constant", "it goes to 0", rhs=0),
            mutant("constant", "rho = g^2/h", given=(define(rho, g**2 / h),)),
        ),
    ),
    Identity(
        "no_cycle_of_ascent_sign",
        "F6: with the plus sign the gradient there is g - (2 - eta h) g/2 - h rho/g, less than g for eta h <= 2.",
        perturbed(eta * g / 2, -g, 1),
        g - (2 - eta * h) * g / 2 - h * rho / g,
        mutants=(
            mutant("sign", "the minus sign", lhs=perturbed(eta * g / 2, -g, -1)),
            mutant("constant", "the gradient is g", rhs=g),
        ),
    ),
    Identity(
        "radius_not_scale_invariant",
        "F7: h -> c h and g -> c g divide the perturbation rho/g by c: the gradient is c h x + h rho/g.",
        c * perturbed(position, c * g, 1),
        c * h * position + h * rho / g,
        mutants=(
            mutant("constant", "the same perturbation", rhs=c * (h * position + h * rho / g)),
            mutant("sign", "minus rho", rhs=c * h * position - h * rho / g),
        ),
    ),
    Identity(
        "second_derivative",
        "F8: the Hessian form is gamma^2 ||U B^T + A V^T||^2 + 2 gamma <gamma A B^T - T, U V^T>.",
        derivative(square(UPDATE - T) / 2, {A: U, B: V}, 2),
        gamma**2 * square(MOVED) + 2 * gamma * inner(UPDATE - T, U @ V.T),
        mutants=(
            mutant(
                "constant",
                "the residual once",
                rhs=gamma**2 * square(MOVED) + gamma * inner(UPDATE - T, U @ V.T),
            ),
            mutant(
                "sign",
                "the residual subtracted",
                rhs=gamma**2 * square(MOVED) - 2 * gamma * inner(UPDATE - T, U @ V.T),
            ),
            mutant("dropped assumption", "zero residual not needed", rhs=gamma**2 * square(MOVED)),
        ),
    ),
    Inequality(
        "sharpness_bound",
        "F8: gamma^2 ||U B^T + A V^T||^2 <= gamma^2 (a^2 + b^2)(||U||^2 + ||V||^2), a = ||A||_2, b = ||B||_2.",
        gamma**2 * square(MOVED),
        gamma**2 * (a**2 + b**2) * (square(U) + square(V)),
        proof=[
            gamma**2 * Square(a / b * U @ B.T - b / a * A @ V.T),
            gamma**2 * (1 + a**2 / b**2) * U_BOUND,
            gamma**2 * (1 + b**2 / a**2) * V_BOUND,
        ],
        mutants=(
            mutant(
                "constant",
                "half of it, as if U and V did not add up",
                {A: [[1]], B: [[1]], U: [[1]], V: [[1]], a: 1, b: 1, gamma: 1},
                rhs=gamma**2 * (a**2 + b**2) / 2 * (square(U) + square(V)),
            ),
            mutant("sign", "a^2 - b^2", rhs=gamma**2 * (a**2 - b**2) * (square(U) + square(V))),
            dropped(V_BOUND),
        ),
    ),
    Identity(
        "sharpness_attained",
        "F8: A x = a u, B y = b w: equality along U = b u y^T, V = a w x^T.",
        gamma**2 * square(LEAD_MOVED),
        gamma**2 * (a**2 + b**2) * (square(LEAD_U) + square(LEAD_V)),
        given=(*UNITS, LEAD_A, LEAD_B),
        mutants=(
            mutant("sign", "V = -a w x^T", lhs=gamma**2 * square(LEAD_U @ B.T - A @ LEAD_V.T)),
            mutant("constant", "a^2", rhs=gamma**2 * a**2 * (square(LEAD_U) + square(LEAD_V))),
            dropped(LEAD_A),
        ),
    ),
    Identity(
        "sharpness_balanced",
        "F8: balanced, a = b and s = ||X||_2 = gamma a^2, so that lambda_max = 2 gamma ||X||_2.",
        gamma**2 * (a**2 + b**2),
        2 * gamma * s,
        given=BALANCED,
        mutants=(
            mutant("constant", "gamma ||X||_2", rhs=gamma * s),
            mutant("swapped symbols", "2 ||X||_2", rhs=2 * s),
            dropped(BALANCED[0]),
        ),
    ),
    ScalarCheck(
        "step_raises_loss",
        "F8: h (x - eta h x)^2/2 - h x^2/2 = (h x^2/2) eta h (eta h - 2): a rise exactly if eta h/2 > 1.",
        h * (position - eta * h * position) ** 2 / 2 - h * position**2 / 2,
        h * position**2 / 2 * eta * h * (eta * h - 2),
        mutants=(
            mutant("constant", "eta h > 1", rhs=h * position**2 / 2 * eta * h * (eta * h - 1)),
            mutant("sign", "a fall", rhs=h * position**2 / 2 * eta * h * (2 - eta * h)),
        ),
    ),
)

PROSE = {
    "in a cycle of two points the gradients add up to 0, and so do the points": ("no_cycle_of_ascent_sign",),
    "the induction over the steps, the first of which is not perturbed": ("floor_scales",),
    "E and -E are equally likely, and second moments of independent entries are those of signs: the mean over all E": (
        "mean_loss_in_pairs",
        "mean_loss",
        "mean_loss_with_scales",
        "mean_gradient",
        "mean_factor_steps",
        "activation_variance",
    ),
    "A and B have leading singular vectors": ("sharpness_attained",),
    "the remainder of Taylor's formula is not bounded": ("logistic_bias",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("lora_ggpo", THEOREM))
