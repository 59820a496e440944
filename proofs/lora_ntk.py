"""LoRA in the linearized regime: the perturbed landscape, a spurious minimum below the bound, and rank reduction.

Statement
---------
f(X) = phi(<G_1, X>, ..., <G_p, X>) convex, G = grad f(X), L = f(A B^T) + (lam/2)(||A||^2 + ||B||^2), Z = [A; B], and
L_P = L + <P, Z Z^T> for P >= 0; S = [[lam I, G], [G^T, lam I]] + 2 P.

C2. If r (r + 1)/2 > p then for almost every P every second-order stationary point of L_P is global. Mechanism: S Z = 0
at a stationary point; matrices of corank r have codimension r (r + 1)/2, so rank Z < r for almost every P; with Z q = 0
the product moves along z q^T by t^2 z_A z_B^T only, hence z^T S z >= 0 for every z; S >= 0 and S Z = 0 imply that Z is
a global minimizer. C3. For P = 0 this gives ||G||_2 <= lam. C4. The value reached is at most min F +
2 ||P||_2 ||X*||_*.
C7. m = n = 2, r = 1, p = 2, lam = 1/10, f(X) = (X_21 + X_22 - 2)^2/2 + (X_12 - X_21)^2/2 has a strict local minimum of
value 0.81888620817193, where 2 lam is an eigenvalue of the Hessian, while min F = 0.161418134 is reached to 10^-9 by a
matrix of rank one. Rank reduction: X = U S V^T, S > 0, D not 0, symmetric with <U^T G_i V, D> = 0, tr D <= 0:
U (S + t D) V^T has the same f, no larger nuclear norm, and a smaller rank for t = -1/lambda_min(R^{-1} D R^{-T}), where
S = R R^T.

Assumptions
-----------
lam >= 0, a minimizer exists.

Source
------
Jang, Lee, Ryu, "LoRA Training in the NTK Regime has No Spurious Local Minima", ICML 2024, arXiv:2402.11867. The form of
the proofs, the example C7 and the reduction of C1 (after Pataki and Barvinok) are worked out here.

Idea
----
C2: the lift Y = Z Z^T makes the problem convex, and S is its dual slack. C7: at a rational point the gradient is below
10^-18, the Hessian above 1/10, and both change little on a ball, so a minimum lies inside; a rational dual point bounds
min F. Reduction: a vector that R^{-1} D R^{-T} multiplies by its smallest eigenvalue is sent to zero by S + t D.

Checks
------
product_moves_by_square : PROVED
norm_moves_by_square : PROVED
stationarity : PROVED
curvature_is_slack : PROVED
schur_complement : PROVED
codimension : PROVED
slack_certifies : PROVED
slack_bounds_gradient : PROVED
perturbation_excess : PROVED
flipped_factor_keeps_product : PROVED
eigenvalue_in_a : PROVED
eigenvalue_in_b : PROVED
spurious_minimum : VERIFIED
global_value : VERIFIED
spurious_is_not_global : PROVED
predictions_kept : PROVED
nuclear_norm_bound : PROVED
optimal_trace : PROVED
congruence : PROVED
reduced_kernel : PROVED
rank_reduction : VERIFIED

Used by
-------
lorasolve/papers/_lora_ntk.py, lorasolve/objectives/ntk.py
"""

from fractions import Fraction
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
    assume,
    define,
    derivative,
    dims,
    dropped,
    equation,
    eye,
    gradient,
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
from proofs.facts import DUAL_NORM, NUCLEAR, SPECTRAL

m, n, r, k, w = dims("m n r k w")
t = scalars("t")
lam = scalars("lambda", nonnegative=True)
size = m + n
A, B, G = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n)
a, b, q = vector("a", m), vector("b", n), vector("q", r)


def _kernel(values: Values, rng: Random) -> None:
    """Make the unit vector q a kernel vector of A and B."""
    for factor in ("A", "B"):
        values[factor] = ra.multiply(values[factor], ra.complement(values["q"]))


Q_UNIT = orthonormal(q)
KERNEL = assume("A q = 0, B q = 0", (A @ q, zeros(m, 1)), (B @ q, zeros(n, 1)), impose=_kernel)

# The lift: Z stacks A over B; JA^T Z = A, JB^T Z = B.
Z, Other, z = matrix("Z", size, r), matrix("Other", size, w), vector("z", size)
P, K = matrix("P", size, size, symmetric=True), matrix("K", size, size)
JA, JB = matrix("JA", size, m), matrix("JB", size, n)
SPLIT = orthonormal(JA, JB)
COUPLING = JA @ G @ JB.T + JB @ G.T @ JA.T
SLACK = lam * eye(size) + COUPLING + 2 * P


def lifted(point: MatrixExpr) -> ScalarExpr:
    """Return the perturbed objective with f replaced by its linear part <G, A B^T>."""
    return lam / 2 * square(point) + inner(P @ point, point) + inner(G, JA.T @ point @ point.T @ JB)


# S = K K^T >= 0 and S Z = 0.
def _annihilate(values: Values, rng: Random) -> None:
    """Choose K with K^T Z = 0."""
    values["K"] = ra.multiply(ra.complement(values["Z"]), values["K"])


PSD = define(P, (K @ K.T - lam * eye(size) - COUPLING) / 2)
FLAT = assume("S Z = 0", (K.T @ Z, zeros(size, r)), impose=_annihilate)
f, f_other = scalars("f f_other", real=True)
XZ, XO = JA.T @ Z @ Z.T @ JB, JA.T @ Other @ Other.T @ JB
CONVEX = hypothesis("f(X') >= f(X) + <G, X' - X>", f + inner(G, XO - XZ), f_other)

# Schur complement of a symmetric matrix with an invertible k x k block.
M11, M22, M12 = matrix("M11", k, k, symmetric=True), matrix("M22", r, r, symmetric=True), matrix("M12", k, r)
M11Inv = matrix("M11Inv", k, k, symmetric=True)
E1, E2 = matrix("E1", k + r, k), matrix("E2", k + r, r)
BLOCKS, BLOCK_INVERSE = orthonormal(E1, E2), inverse(M11Inv, M11)
WHOLE = E1 @ M11 @ E1.T + E1 @ M12 @ E2.T + E2 @ M12.T @ E1.T + E2 @ M22 @ E2.T
TURN = E1 @ E1.T + E2 @ E2.T - E2 @ M12.T @ M11Inv @ E1.T
corank = sympy.Symbol("r", integer=True, positive=True)

# C4.
norm, length, nuc = scalars("p Z_star nu", nonnegative=True)
value, best, shift = scalars("L_hat F_star P_star", real=True)
Weight, ZS = matrix("P", m, m), matrix("Zstar", m, r)
pushed = sympy.Symbol("P_hat", nonnegative=True)  # <P, Z Z^T> at the point reached
REACHED = hypothesis("L_P at the point reached <= L_P at the balanced factors of X*", value + pushed, best + shift)
SHIFT = DUAL_NORM.instance(
    "pairing",
    SPECTRAL(Weight, norm),
    NUCLEAR(ZS @ ZS.T, length),
    lhs=shift,
    where={shift: inner(Weight, ZS @ ZS.T)},
)
BALANCED = equation("||Z*||^2 = 2 ||X*||_*", length, 2 * nuc)

# C7: the eigenvector (A, -B).
STATIONARY_A, STATIONARY_B = define(A, -G @ B / lam), define(B, -G.T @ A / lam)

# Rank reduction.
U, V = matrix("U", m, r), matrix("V", n, r)
Gi, D, S, Half = (
    matrix("Gi", m, n),
    matrix("D", r, r, symmetric=True),
    matrix("S", r, r, symmetric=True),
    matrix("Half", r, r),
)
P1, Q1 = matrix("P1", m, k), matrix("Q1", n, k)
U_FRAME, V_FRAME, LEFT, RIGHT = orthonormal(U), orthonormal(V), orthonormal(P1), orthonormal(Q1)
Core = matrix("Core", r, r)


def _orthogonal_core(values: Values, rng: Random) -> None:
    """Choose G_i with <U^T G_i V, D> = 0."""
    direction = ra.multiply(values["U"], values["D"], ra.transpose(values["V"]))
    total = ra.inner(direction, direction)
    if total == 0:
        raise ra.Unfit("D is zero")
    values["Gi"] = ra.add(values["Gi"], direction, -ra.inner(values["Gi"], direction) / total)


ORTHOGONAL = assume("<U^T G_i V, D> = 0", (tr(D @ U.T @ Gi @ V), 0), impose=_orthogonal_core)
OPTIMAL = assume(
    "sum w_i sym(U^T G_i V) = -lam I",
    (Core, -lam * eye(r)),
    impose=lambda values, rng: values.update(Core=ra.scale(-values[lam], ra.identity(len(values["Core"])))),
)
R, RInv, E, v = matrix("R", r, r), matrix("RInv", r, r), matrix("E", r, r, symmetric=True), vector("v", r)
FACTOR, ROOTED = inverse(RInv, R), define(S, R @ R.T)


def _lowest(values: Values, rng: Random) -> None:
    """Choose E with E v = -v/t."""
    values["v"] = ra.made_orthonormal(rng, values["v"])
    keep = ra.complement(values["v"])
    rest = ra.multiply(keep, values["E"], keep)
    outer = ra.multiply(values["v"], ra.transpose(values["v"]))
    values["E"] = ra.add(rest, outer, -1 / values[t])


LOWEST = assume("E v = -v/t", (E @ v, -1 / t * v), impose=_lowest)

# C7 in exact arithmetic.
VARIABLES = sympy.symbols("a_1 a_2 b_1 b_2", real=True)
DECAY = sympy.Rational(1, 10)
LOCAL = ("2.37324428882855522385", "-1.03547743181366770487", "-2.41033024384420423821", "0.94594401624205361006")
GLOBAL = ("-0.464856727490", "-1.164320796901", "-0.494595786677", "-1.152002475253")
DUAL = ("-0.08283139949", "-0.04035205978")
LOCAL_VALUE, GLOBAL_VALUE = sympy.Rational("0.81888620817193"), sympy.Rational("0.161418134")


def _objective() -> sympy.Expr:
    a1, a2, b1, b2 = VARIABLES
    residual = ((a2 * b1 + a2 * b2 - 2) ** 2 + (a1 * b2 - a2 * b1) ** 2) / 2
    return sympy.expand(residual + DECAY / 2 * sum(x**2 for x in VARIABLES))


def _at(expression: sympy.Expr, point: dict[sympy.Symbol, sympy.Rational]) -> sympy.Rational:
    return expression.subs(point)


def _minimum(curvature: str, radius: str, digits: int = 22, low: str = "0.81888620817193") -> tuple[bool, str]:
    """Show exactly that the ball of the given radius around the rational point holds a strict local minimum.

    On the sphere of radius d, L(p + h) >= L(p) - |g| d + (c - change) d^2/2 if hess L(p) >= c I and the Hessian changes
    by at most `change` on the ball; the minimum over the ball is then interior, and the only one there.
    """
    point = {x: sympy.Rational(text[:digits]) for x, text in zip(VARIABLES, LOCAL, strict=True)}
    c, d = sympy.Rational(curvature), sympy.Rational(radius)
    function = _objective()
    hessian = sympy.hessian(function, VARIABLES)
    slope = sum(abs(_at(sympy.diff(function, x), point)) for x in VARIABLES)
    change = sympy.Integer(0)
    for entry in hessian:
        firsts = [sympy.diff(entry, x) for x in VARIABLES]
        change += d * sum(abs(_at(first, point)) for first in firsts)
        change += d**2 / 2 * sum(abs(_at(sympy.diff(first, x), point)) for first in firsts for x in VARIABLES)
    shifted = hessian.subs(point) - c * sympy.eye(4)
    minors = [shifted[:i, :i].det() for i in range(1, 5)]
    interior = (c - change) * d / 2 > slope
    found, expected = _at(function, point), sympy.Rational(low)
    holds = bool(all(minor > 0 for minor in minors) and interior and expected <= found - slope * d <= found)
    holds = holds and bool(found <= expected + sympy.Rational(1, 10**14))
    return (
        holds,
        f"Hessian >= {curvature}: {all(x > 0 for x in minors)}, interior: {interior}, value {sympy.N(found, 16)}",
    )


def _global(stretch: str, low: sympy.Rational, high: sympy.Rational) -> tuple[bool, str]:
    """Bound min F from below by a rational dual point, and from above by a rational matrix of rank one."""
    first, second = (sympy.Rational(text) * sympy.Rational(stretch) for text in DUAL)
    slope = sympy.Matrix([[0, second], [first - second, first]])
    room = DECAY**2 * sympy.eye(2) - slope.T * slope
    feasible = bool(room[0, 0] >= 0 and room.det() >= 0)
    below = -2 * first - (first**2 + second**2) / 2
    point = {x: sympy.Rational(text) for x, text in zip(VARIABLES, GLOBAL, strict=True)}
    above = _at(_objective(), point)
    holds = feasible and bool(low <= below <= above <= high)
    return holds, f"dual feasible: {feasible}, {sympy.N(below, 12)} <= min F <= {sympy.N(above, 12)}"


def _reduce(sign: int, scale: str = "1") -> tuple[bool, str]:
    """Reduce rank 2 to 1 for p = 2 with D = Q diag(1, -2) Q^T: compare predictions, ranks and traces."""
    rng = Random(5)
    turn = ra.rational([["3/5", "-4/5"], ["4/5", "3/5"]])
    direction = ra.multiply(turn, ra.diagonal([1, -2]), ra.transpose(turn))
    d11, d12, d22 = direction[0][0], direction[0][1], direction[1][1]
    cores = [ra.rational([[2 * d12, -d11], [-d11, 0]]), ra.rational([[0, -d22], [-d22, 2 * d12]])]
    left, right = ra.random_orthonormal(rng, 4, 2), ra.random_orthonormal(rng, 3, 2)
    off = ra.multiply(ra.complement(left), ra.random_matrix(rng, 4, 3))
    features = [ra.add(ra.multiply(left, core, ra.transpose(right)), off, i) for i, core in enumerate(cores)]
    step = sign * Fraction(scale) / 2  # -1/lambda_min(D), S = I
    before = ra.multiply(left, ra.transpose(right))
    core_after = ra.add(ra.identity(2), direction, step)
    after = ra.multiply(left, core_after, ra.transpose(right))
    kept = all(ra.inner(feature, before) == ra.inner(feature, after) for feature in features)
    holds = kept and ra.rank(after) == 1 and ra.trace(core_after) < 2
    return holds, f"predictions kept: {kept}, rank {ra.rank(after)}, trace {ra.trace(core_after)}"


CHECKS = (
    Identity(
        "product_moves_by_square",
        "C2: A q = 0, B q = 0, |q| = 1: (A + t a q^T)(B + t b q^T)^T = A B^T + t^2 a b^T.",
        (A + t * a @ q.T) @ (B + t * b @ q.T).T,
        A @ B.T + t**2 * a @ b.T,
        given=(Q_UNIT, KERNEL),
        mutants=(
            mutant("constant", "t instead of t^2", rhs=A @ B.T + t * a @ b.T),
            mutant("sign", "-t^2", rhs=A @ B.T - t**2 * a @ b.T),
            dropped(KERNEL),
        ),
    ),
    Identity(
        "norm_moves_by_square",
        "C2: ||A + t a q^T||^2 + ||B + t b q^T||^2 = ||A||^2 + ||B||^2 + t^2 (||a||^2 + ||b||^2).",
        square(A + t * a @ q.T) + square(B + t * b @ q.T),
        square(A) + square(B) + t**2 * (square(a) + square(b)),
        given=(Q_UNIT, KERNEL),
        mutants=(
            mutant("constant", "2 t^2", rhs=square(A) + square(B) + 2 * t**2 * (square(a) + square(b))),
            mutant("sign", "-t^2", rhs=square(A) + square(B) - t**2 * (square(a) + square(b))),
            dropped(KERNEL),
        ),
    ),
    Identity(
        "stationarity",
        "C2: grad L_P = S Z, so S Z = 0 at a stationary point.",
        gradient(lifted(Z), Z),
        SLACK @ Z,
        mutants=(
            mutant("constant", "P instead of 2 P", rhs=(lam * eye(size) + COUPLING + P) @ Z),
            mutant("swapped transpose", "without G^T", rhs=(lam * eye(size) + 2 * JA @ G @ JB.T + 2 * P) @ Z),
        ),
    ),
    Identity(
        "curvature_is_slack",
        "C2: along z q^T the second derivative is z^T S z (the part of hess f vanishes, as the product moves by t^2).",
        derivative(lifted(Z), {Z: z @ q.T}, 2),
        tr(z.T @ SLACK @ z),
        given=(Q_UNIT,),
        mutants=(
            mutant("constant", "half", rhs=tr(z.T @ SLACK @ z) / 2),
            mutant("sign", "minus", rhs=-tr(z.T @ SLACK @ z)),
            dropped(Q_UNIT),
        ),
    ),
    Identity(
        "schur_complement",
        "C2: M is congruent to diag(M11, M22 - M12^T M11^{-1} M12): corank r means that this r x r block is zero.",
        TURN @ WHOLE @ TURN.T,
        E1 @ M11 @ E1.T + E2 @ (M22 - M12.T @ M11Inv @ M12) @ E2.T,
        given=(BLOCKS, BLOCK_INVERSE),
        mutants=(
            mutant("sign", "M22 + ...", rhs=E1 @ M11 @ E1.T + E2 @ (M22 + M12.T @ M11Inv @ M12) @ E2.T),
            mutant(
                "swapped symbols", "M11 for its inverse", rhs=E1 @ M11 @ E1.T + E2 @ (M22 - M12.T @ M11 @ M12) @ E2.T
            ),
            dropped(BLOCK_INVERSE),
        ),
    ),
    ScalarCheck(
        "codimension",
        "C2: a symmetric r x r block has r (r + 1)/2 independent entries, 1 for r = 1: one row more adds r + 1.",
        corank * (corank + 1) / 2 + corank + 1,
        (corank + 1) * (corank + 2) / 2,
        mutants=(
            mutant("constant", "adds r", lhs=corank * (corank + 1) / 2 + corank),
            mutant("swapped symbols", "r^2, without symmetry", rhs=(corank + 1) ** 2),
        ),
    ),
    Inequality(
        "slack_certifies",
        "C2: S = K K^T and S Z = 0 imply L_P(Z) <= L_P(Z') for every Z' of any width.",
        f + lam / 2 * square(Z) + inner(P @ Z, Z),
        f_other + lam / 2 * square(Other) + inner(P @ Other, Other),
        proof=[CONVEX, Square(K.T @ Other) / 2],
        given=(FLAT, PSD),
        mutants=(
            mutant(
                "constant",
                "lam ||Z'||^2/4 on the right",
                rhs=f_other + lam / 4 * square(Other) + inner(P @ Other, Other),
            ),
            mutant("sign", "-P", rhs=f_other + lam / 2 * square(Other) - inner(P @ Other, Other)),
            dropped(CONVEX),
            dropped(FLAT),
        ),
    ),
    Identity(
        "slack_bounds_gradient",
        "C3: for P = 0 and z = (u, -v), z^T S z = lam (|u|^2 + |v|^2) - 2 u^T G v: S >= 0 gives ||G||_2 <= lam.",
        tr((JA @ a - JB @ b).T @ (lam * eye(size) + COUPLING) @ (JA @ a - JB @ b)),
        lam * (square(a) + square(b)) - 2 * tr(a.T @ G @ b),
        given=(SPLIT,),
        mutants=(
            mutant("sign", "+2 u^T G v", rhs=lam * (square(a) + square(b)) + 2 * tr(a.T @ G @ b)),
            mutant("constant", "u^T G v once", rhs=lam * (square(a) + square(b)) - tr(a.T @ G @ b)),
            dropped(SPLIT),
        ),
    ),
    Inequality(
        "perturbation_excess",
        "C4: L <= min F + 2 ||P||_2 ||X*||_*.",
        scalar(value),
        best + 2 * norm * nuc,
        proof=[REACHED, scalar(pushed), SHIFT, norm * BALANCED],
        mutants=(
            mutant(
                "constant",
                "||P||_2 ||X*||_*",
                {value: 3, best: 1, pushed: "1/100", shift: "201/100", norm: "101/100", length: 2, nuc: 1},
                rhs=best + norm * nuc,
            ),
            mutant(
                "sign",
                "min F - 2 ||P||_2 ||X*||_*",
                {value: 1, best: 1, pushed: 1, shift: 1, norm: 1, length: 2, nuc: 1},
                rhs=best - 2 * norm * nuc,
            ),
            dropped(REACHED, {value: 5, best: 1, pushed: 1, shift: 1, norm: 1, length: 2, nuc: 1}),
        ),
    ),
    Identity(
        "flipped_factor_keeps_product",
        "C7: along (A, -B) the product does not move to first order, so hess f plays no part.",
        derivative(A @ B.T, {A: A, B: -B}),
        0 * A @ B.T,
        mutants=(
            mutant("sign", "along (A, B)", lhs=derivative(A @ B.T, {A: A, B: B})),
            mutant("constant", "along (A, -2 B)", lhs=derivative(A @ B.T, {A: A, B: -2 * B})),
        ),
    ),
    Identity(
        "eigenvalue_in_a",
        "C7: at a stationary point with lam > 0, G V + lam U = 2 lam U for (U, V) = (A, -B).",
        G @ (-B) + lam * A,
        2 * lam * A,
        given=(STATIONARY_A,),
        mutants=(
            mutant("constant", "lam", rhs=lam * A),
            mutant("sign", "V = +B", lhs=G @ B + lam * A),
            dropped(STATIONARY_A),
        ),
    ),
    Identity(
        "eigenvalue_in_b",
        "C7: and G^T U + lam V = 2 lam V: 2 lam is an eigenvalue of the Hessian at every nonzero stationary point.",
        G.T @ A - lam * B,
        -2 * lam * B,
        given=(STATIONARY_B,),
        mutants=(
            mutant("constant", "lam", rhs=-lam * B),
            mutant("sign", "U = -A", lhs=-G.T @ A - lam * B),
            dropped(STATIONARY_B),
        ),
    ),
    Exact(
        "spurious_minimum",
        "C7: within 10^-9 of a rational point lies a strict local minimum of value 0.81888620817193, Hessian > 1/10.",
        _minimum,
        (("1/10", "1/1000000000"),),
        mutants=(
            mutant("constant", "Hessian > 1/4", run=lambda c, d: _minimum("1/4", d)),
            mutant("swapped symbols", "six digits of the point", run=lambda c, d: _minimum(c, d, 8)),
            mutant("sign", "the value is the global one", run=lambda c, d: _minimum(c, d, low="0.161418134")),
        ),
    ),
    Exact(
        "global_value",
        "C7: a dual point with ||G||_2 <= lam and a matrix of rank one enclose min F in [0.161418134, 0.161418135].",
        _global,
        (("0.9999999999", GLOBAL_VALUE, GLOBAL_VALUE + sympy.Rational(1, 10**9)),),
        mutants=(
            mutant("constant", "a dual point 1.01 times as large", run=lambda s, low, high: _global("1.01", low, high)),
            mutant("sign", "the negative dual point", run=lambda s, low, high: _global("-" + s, low, high)),
        ),
    ),
    ScalarCheck(
        "spurious_is_not_global",
        "C7: the local value exceeds the global one by more than 0.65.",
        GLOBAL_VALUE + sympy.Rational(1, 10**9) + sympy.Rational(65, 100),
        LOCAL_VALUE,
        relation="<=",
        mutants=(
            mutant("constant", "by 0.66", lhs=GLOBAL_VALUE + sympy.Rational(66, 100)),
            mutant("sign", "the reverse", lhs=LOCAL_VALUE, rhs=GLOBAL_VALUE),
        ),
    ),
    Identity(
        "predictions_kept",
        "Reduction: <G_i, U (S + t D) V^T> = <G_i, U S V^T>.",
        inner(Gi, U @ (S + t * D) @ V.T),
        inner(Gi, U @ S @ V.T),
        given=(ORTHOGONAL,),
        mutants=(
            mutant("sign", "minus", rhs=-inner(Gi, U @ S @ V.T)),
            mutant("constant", "twice", rhs=2 * inner(Gi, U @ S @ V.T)),
            dropped(ORTHOGONAL),
        ),
    ),
    SumOfSquares(
        "nuclear_norm_bound",
        "Reduction: S' = Half Half^T >= 0 has ||U S' V^T||_* = <P1 Q1^T, U S' V^T> <= tr S' = tr S + t tr D.",
        inner(P1 @ Q1.T, U @ Half @ Half.T @ V.T),
        tr(Half @ Half.T),
        proof=[
            Square(P1.T @ U @ Half - Q1.T @ V @ Half) / 2,
            Square(U @ Half - P1 @ P1.T @ U @ Half) / 2,
            Square(V @ Half - Q1 @ Q1.T @ V @ Half) / 2,
        ],
        given=(U_FRAME, V_FRAME, LEFT, RIGHT),
        mutants=(
            mutant("constant", "half of it", rhs=tr(Half @ Half.T) / 2),
            mutant("sign", "minus", rhs=-tr(Half @ Half.T)),
            dropped(U_FRAME),
        ),
    ),
    Identity(
        "optimal_trace",
        "Reduction: at an optimum sum w_i sym(U^T G_i V) = -lam I, so 0 = <sum w_i U^T G_i V, D> = -lam tr D.",
        inner(Core, D),
        -lam * tr(D),
        given=(OPTIMAL,),
        mutants=(
            mutant("sign", "+lam tr D", rhs=lam * tr(D)),
            mutant("constant", "-2 lam tr D", rhs=-2 * lam * tr(D)),
            dropped(OPTIMAL),
        ),
    ),
    Identity(
        "congruence",
        "Reduction: S + t D = R (I + t E) R^T with E = R^{-1} D R^{-T}: it stays PSD while 1 + t lambda_min(E) >= 0.",
        S + t * D,
        R @ (eye(r) + t * (RInv @ D @ RInv.T)) @ R.T,
        given=(FACTOR, ROOTED),
        mutants=(
            mutant("swapped transpose", "R^{-T} D R^{-1}", rhs=R @ (eye(r) + t * (RInv.T @ D @ RInv)) @ R.T),
            mutant("sign", "I - t E", rhs=R @ (eye(r) - t * (RInv @ D @ RInv.T)) @ R.T),
            dropped(FACTOR),
        ),
    ),
    Identity(
        "reduced_kernel",
        "Reduction: E v = -v/t, that is t = -1/lambda_min(E): (S + t D) R^{-T} v = 0, the rank falls.",
        (R @ R.T + t * R @ E @ R.T) @ RInv.T @ v,
        zeros(r, 1),
        given=(FACTOR, LOWEST),
        mutants=(
            mutant("sign", "the largest eigenvalue's sign", lhs=(R @ R.T - t * R @ E @ R.T) @ RInv.T @ v),
            mutant("constant", "half the step", lhs=(R @ R.T + t / 2 * R @ E @ R.T) @ RInv.T @ v),
            dropped(LOWEST),
        ),
    ),
    Exact(
        "rank_reduction",
        "Reduction: S = I, p = 2, D = Q diag(1, -2) Q^T: rank 2 falls to 1 at t = 1/2, the trace to 3/2, f is kept.",
        _reduce,
        ((1,),),
        mutants=(
            mutant("sign", "t = -1/2", run=lambda sign: _reduce(-sign)),
            mutant("constant", "t = 1/4", run=lambda sign: _reduce(sign, "1/2")),
        ),
    ),
)

PROSE = {
    "the induction over the size of the block": ("codimension",),
    "a smooth family of too few parameters meets a set of larger codimension for almost no P (measure theory)": (
        "codimension",
    ),
    "positive semidefinite matrices have square roots, and a symmetric one a vector to its least eigenvalue": (
        "slack_certifies",
        "reduced_kernel",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("lora_ntk", THEOREM))
