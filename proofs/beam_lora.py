"""BeamLoRA: what the gates, the importance of ranks, pruning and expansion leave unchanged, and what they do not.

Statement
---------
W = W0 + s A diag(w) B^T with w = r softmax(z/tau); a rank is a term s w_k a_k b_k^T, its importance ||a_k|| ||b_k||.

Gradients: dw_i/dz_k = (w_i/tau)(delta_ik - w_k/r); with c_k = s a_k^T G b_k, dL/dz_k = (w_k/tau)(c_k - (1/r) sum w_i
c_i), of sum 0, so gradient descent keeps the sum of the logits.

T1. Ungated, (A Q, B Q) with Q orthogonal has the same X, and a gradient step commutes with Q, but the importances
become diag(Q^T S Q) in the balanced gauge: any j of them sum to at most the j largest singular values, all to ||X||_*,
and they are all equal in a Hadamard gauge. Pruning is optimal in the SVD gauge. T2. Averaging two logits multiplies the
pair's unnormalised weight e^(z_i/tau) + e^(z_j/tau) by 1/cosh((z_i - z_j)/(2 tau)) <= 1. T3. Two equal ranks with equal
gates have equal gradients: they stay equal, and X has lost a rank. T4. Ungated, a balanced copy (a, b)/sqrt(2), twice,
is an orthogonal mixing of (a, 0), so plain gradient descent moves X as if rank j had only been pruned; a sign step (as
Adam's first) does not commute with Q. T5. Copying with logits lowered by tau log 2 and A times (1 - w_j/r) keeps the
pruned W, and +d, -d on the two copies keeps it too. Gated decay: (1/2)(||A||^2 + ||B||^2) >= (1/r)(sum_k sqrt(w_k
||a_k|| ||b_k||))^2.

Assumptions
-----------
tau > 0, r >= 2. The identities hold for every loss: G is any matrix.

Source
------
Gu et al., "BeamLoRA", ACL 2025, arXiv:2502.13604, its abstract and released code. The theorems are derived here.

Idea
----
Two ranks matter at a time: the sum of all other exponentials is one symbol. Equal ranks are those that a permutation
matrix exchanges, and every gradient commutes with it. The bound on sums of importances is Ky Fan's, by squares.

Checks
------
term_norm : PROVED
softmax_diagonal : PROVED
softmax_off_diagonal : PROVED
weight_derivative : PROVED
logit_gradient : PROVED
logit_gradients_sum_to_zero : PROVED
factor_gradients : PROVED
same_update : PROVED
step_commutes : PROVED
importance_in_gauge : PROVED
total_importance : PROVED
majorised : PROVED
hadamard_gauge : PROVED
svd_pruning_is_optimal : PROVED
averaged_logits : PROVED
averaging_loses_mass : PROVED
equal_ranks_equal_gradients : PROVED
equal_ranks_equal_logit_gradients : PROVED
equal_ranks_lose_one : PROVED
copy_is_a_rotation : PROVED
sign_step_does_not_commute : VERIFIED
split_keeps_other_weights : PROVED
split_keeps_the_pair : PROVED
jitter_cancels : PROVED
term_decay : PROVED
gated_decay : PROVED
marginal_importance : PROVED

Used by
-------
lorasolve/adapters/softmax_gates.py, lorasolve/papers/beam_lora.py, lorasolve/schedules/beam.py
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
    derivative,
    dims,
    dropped,
    eye,
    inner,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    square,
    square_orthogonal,
    tr,
    vector,
)
from lorasolve.symbolic import rational as ra
from proofs.facts import ECKART_YOUNG, RANK_AT_MOST, TRUNCATION

m, n, r, j, k = dims("m n r j k")
s, tau, eta, mass, rest = scalars("s tau eta p q")
A, B, G, U, V = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n), matrix("U", m, r), matrix("V", n, r)
Dw, Dd = matrix("Dw", r, r, symmetric=True), matrix("Dd", r, r, symmetric=True)
w, one, cost = vector("w", r), vector("one", r), vector("c", r)
a, b, d = vector("a", m), vector("b", n), vector("d", m)


def _weights(values: Values, rng: Random) -> None:
    """Draw positive weights that sum to r."""
    dim = len(values["w"])
    drawn = [Fraction(rng.randint(1, 5)) for _ in range(dim)]
    values["w"] = [[dim * x / sum(drawn)] for x in drawn]
    values["Dw"] = ra.diagonal([x[0] for x in values["w"]])
    values["one"] = [[Fraction(1)] for _ in drawn]


WEIGHTS = assume("diag(w) 1 = w, 1^T w = r", (Dw @ one, w), (inner(one, w), r), impose=_weights)
# The Jacobian of the weights in the logits.
JACOBIAN = (Dw - w @ w.T / r) / tau

# Softmax with the exponentials of all other logits in one symbol.
count, ei, ej = scalars("r e_i e_j")
TOTAL = ei + ej + mass
WI, WJ = count * ei / TOTAL, count * ej / TOTAL
# The same with another e_i or e_j, which is more by h, and the quotients of differences, derivatives at h = 0.
more = scalars("h")
TOTAL_MORE = TOTAL + more
BY_I = (count * (ei + more) / TOTAL_MORE - WI) / more
BY_J = (count * ei / TOTAL_MORE - WI) / more
# After the split: j is gone, i is there twice with half its exponential.
HALVED = sympy.exp(sympy.expand((tau * sympy.log(ei) - tau * sympy.log(2)) / tau))
SPLIT_TOTAL = 2 * HALVED + mass

# T1.
Q = matrix("Q", r, r)
P, R, Root, q = matrix("P", m, r), matrix("R", n, r), matrix("Root", r, r, symmetric=True), vector("q", r)
ROTATION = square_orthogonal(Q)
S, Signs = matrix("S", r, r, symmetric=True), matrix("D", r, r, symmetric=True)


def _signs(values: Values, rng: Random) -> None:
    """Draw a diagonal S, and signs for D."""
    dim = len(values["S"])
    values["S"] = ra.diagonal([Fraction(rng.randint(0, 5)) for _ in range(dim)])
    values["D"] = ra.diagonal([Fraction(rng.choice((1, -1))) for _ in range(dim)])
    values["one"] = [[Fraction(1)] for _ in range(dim)]


SIGNS = assume(
    "D = diag(+-1), S is diagonal: D S D = S, 1^T S 1 = tr S",
    (Signs @ S @ Signs, S),
    (inner(one, S @ one), tr(S)),
    impose=_signs,
)
STEPPED_A = A @ Q - eta * s * G @ B @ Q
# Ky Fan: S = E1 (c I + K1 K1^T) E1^T + E2 (c I - K2 K2^T) E2^T, H holds any j columns of Q.
E1, E2, H = matrix("E1", j + k, j), matrix("E2", j + k, k), matrix("H", j + k, j)
K1, K2, c0 = matrix("K1", j, j), matrix("K2", k, k), scalars("sigma_0")
TOP_VALUES, LOW_VALUES = c0 * eye(j) + K1 @ K1.T, c0 * eye(k) - K2 @ K2.T
SPECTRUM = E1 @ TOP_VALUES @ E1.T + E2 @ LOW_VALUES @ E2.T
FRAME = orthonormal(E1, E2)
COMPLETE = assume(
    "E1 E1^T + E2 E2^T = I",
    (E2 @ E2.T, eye(j + k) - E1 @ E1.T),
    impose=lambda values, rng: None,
)
H_ORTHONORMAL = orthonormal(H)
P1, Q1, S1, TAIL, Y = matrix("P1", m, k), matrix("Q1", n, k), matrix("S1", k, k), matrix("T", m, n), matrix("Y", m, n)
KEPT = ECKART_YOUNG.instance("closest", TRUNCATION(P1 @ S1 @ Q1.T, k, TAIL), RANK_AT_MOST(Y, k))

# T3: Pi exchanges two ranks that are equal.
Pi = matrix("Pi", r, r, symmetric=True)


def _twins(values: Values, rng: Random) -> None:
    """Make the first two ranks equal and let Pi exchange them."""
    dim = len(values["Pi"])
    if dim < 2:
        raise ra.Unfit("one rank only")
    exchange = ra.identity(dim)
    exchange[0], exchange[1] = exchange[1], exchange[0]
    values["Pi"] = exchange
    for factor in ("A", "B"):
        values[factor] = [[line[0], line[0], *line[2:]] for line in values[factor]]
    weight = Fraction(rng.randint(1, 4), 2)
    values["Dw"] = ra.diagonal([weight, weight, *(Fraction(rng.randint(1, 4)) for _ in range(dim - 2))])


TWINS = assume(
    "A Pi = A, B Pi = B, diag(w) Pi = Pi diag(w)",
    (A @ Pi, A),
    (B @ Pi, B),
    (Dw @ Pi, Pi @ Dw),
    impose=_twins,
)
# T4: N = [[1, 1], [1, -1]].
first, second = vector("e", 2), vector("f", 2)
AXES = orthonormal(first, second)
MIXING = first @ (first + second).T + second @ (first - second).T
ALL_POSITIVE = first @ (first + second).T + second @ (first + second).T

# Gated decay: the k-th entries of x and v are sqrt(||a_k|| ||b_k||) and sqrt(w_k).
x, v = vector("x", r), vector("v", r)
y, u = scalars("y u", nonnegative=True)


def _shares(values: Values, rng: Random) -> None:
    """Draw v with |v|^2 = r: entries of size one."""
    values["v"] = [[Fraction(rng.choice((1, -1)))] for _ in values["v"]]


SHARES = assume("the weights sum to r", (square(v), r), impose=_shares)
X, T = matrix("X", m, n), matrix("Target", m, n)


def cosh(argument: sympy.Expr) -> sympy.Expr:
    """Return (e^x + e^{-x})/2."""
    return (sympy.exp(argument) + sympy.exp(-argument)) / 2


def off_twice_a_rotation(mixing: MatrixExpr) -> ScalarExpr:
    """Return ||N^T N - 2 I||^2 + ||(1, 0) N - (1, 1)||^2."""
    return square(mixing.T @ mixing - 2 * eye(2)) + square(mixing.T @ first - first - second)


def _sign_step(rate: str, rotated: str, plain: str) -> tuple[bool, str]:
    """Return X after one sign step from A = B = (1, 0), G = 1, with and without the rotation (3/5, 4/5)."""
    step = Fraction(rate)

    def after(first: Fraction, second: Fraction) -> Fraction:
        moved = [x - step * ((x > 0) - (x < 0)) for x in (first, second)]
        return sum((x * x for x in moved), Fraction(0))

    found = after(Fraction(3, 5), Fraction(4, 5)), after(Fraction(1), Fraction(0))
    return found == (Fraction(rotated), Fraction(plain)), f"X = {found[0]} rotated, {found[1]} not"


CHECKS = (
    Identity(
        "term_norm",
        "||a b^T||_F^2 = ||a||^2 ||b||^2.",
        square(a @ b.T),
        square(a) * square(b),
        mutants=(
            mutant("constant", "twice", rhs=2 * square(a) * square(b)),
            mutant("sign", "the sum of the squares", rhs=square(a) + square(b)),
        ),
    ),
    ScalarCheck(
        "softmax_diagonal",
        "dw_i/dz_i = (w_i/tau)(1 - w_i/r), at h = 0: w_i = r e_i/(e_i + e_j + p), de_i/dz_i = e_i/tau for e^{z_i/tau}.",
        BY_I * ei / tau,
        count * ei / TOTAL_MORE / tau * (1 - WI / count),
        mutants=(
            mutant("sign", "1 + w_i/r", rhs=count * ei / TOTAL_MORE / tau * (1 + WI / count)),
            mutant("constant", "1 - w_i", rhs=count * ei / TOTAL_MORE / tau * (1 - WI)),
        ),
    ),
    ScalarCheck(
        "softmax_off_diagonal",
        "dw_i/dz_j = -w_i w_j/(r tau), at h = 0.",
        BY_J * ej / tau,
        -(count * ei / TOTAL_MORE) * WJ / (count * tau),
        mutants=(
            mutant("sign", "+", rhs=(count * ei / TOTAL_MORE) * WJ / (count * tau)),
            mutant("constant", "without r", rhs=-(count * ei / TOTAL_MORE) * WJ / tau),
        ),
    ),
    Identity(
        "weight_derivative",
        "The derivative of f along a change d of the weights is sum c_k d_k, c_k = s a_k^T G b_k.",
        inner(G, derivative(s * A @ Dw @ B.T, {Dw: Dd})),
        s * tr(A.T @ G @ B @ Dd),
        mutants=(
            mutant("constant", "without s", rhs=tr(A.T @ G @ B @ Dd)),
            mutant("sign", "minus", rhs=-s * tr(A.T @ G @ B @ Dd)),
        ),
    ),
    Identity(
        "logit_gradient",
        "dL/dz = J^T c has the entries (w_k/tau)(c_k - (1/r) sum w_i c_i).",
        JACOBIAN.T @ cost,
        (Dw @ cost - inner(w, cost) / r * w) / tau,
        mutants=(
            mutant("sign", "plus the mean", rhs=(Dw @ cost + inner(w, cost) / r * w) / tau),
            mutant("constant", "without 1/r", rhs=(Dw @ cost - inner(w, cost) * w) / tau),
        ),
    ),
    Identity(
        "logit_gradients_sum_to_zero",
        "sum_k dL/dz_k = 0.",
        inner(one, JACOBIAN.T @ cost),
        0,
        given=(WEIGHTS,),
        mutants=(
            mutant("constant", "without 1/r", lhs=inner(one, Dw @ cost - inner(w, cost) * w)),
            mutant("sign", "plus the mean", lhs=inner(one, Dw @ cost + inner(w, cost) / r * w)),
            dropped(WEIGHTS),
        ),
    ),
    Identity(
        "factor_gradients",
        "grad_A = s G B diag(w), grad_B = s G^T A diag(w).",
        inner(G, derivative(s * A @ Dw @ B.T, {A: U, B: V})),
        inner(s * G @ B @ Dw, U) + inner(s * G.T @ A @ Dw, V),
        mutants=(
            mutant("dropped assumption", "without the gates", rhs=inner(s * G @ B, U) + inner(s * G.T @ A, V)),
            mutant("sign", "-grad_B", rhs=inner(s * G @ B @ Dw, U) - inner(s * G.T @ A @ Dw, V)),
        ),
    ),
    Identity(
        "same_update",
        "T1: (A Q)(B Q)^T = A B^T.",
        (A @ Q) @ (B @ Q).T,
        A @ B.T,
        given=(ROTATION,),
        mutants=(
            mutant("swapped transpose", "(A Q)(B Q^T)^T", lhs=(A @ Q) @ (B @ Q.T).T),
            mutant("sign", "-A B^T", rhs=-A @ B.T),
            dropped(ROTATION),
        ),
    ),
    Identity(
        "step_commutes",
        "T1: a gradient step from (A Q, B Q) gives the same X as one from (A, B).",
        STEPPED_A @ (B @ Q - eta * s * G.T @ A @ Q).T,
        (A - eta * s * G @ B) @ (B - eta * s * G.T @ A).T,
        given=(ROTATION,),
        mutants=(
            mutant("swapped transpose", "B Q^T", lhs=STEPPED_A @ (B @ Q.T - eta * s * G.T @ A @ Q).T),
            mutant("sign", "ascent in B", lhs=STEPPED_A @ (B @ Q + eta * s * G.T @ A @ Q).T),
            dropped(ROTATION),
        ),
    ),
    Identity(
        "importance_in_gauge",
        "T1: a = P S^{1/2} q, b = R S^{1/2} q: ||a||^2 ||b||^2 = (q^T S q)^2.",
        square(P @ Root @ q) * square(R @ Root @ q),
        tr(q.T @ Root @ Root @ q) ** 2,
        given=(orthonormal(P), orthonormal(R)),
        mutants=(
            mutant("constant", "q^T S q", rhs=tr(q.T @ Root @ Root @ q)),
            mutant("swapped symbols", "q^T S^{1/2} q", rhs=tr(q.T @ Root @ q) ** 2),
            dropped(orthonormal(P)),
        ),
    ),
    Identity(
        "total_importance",
        "T1: the importances sum to tr(Q^T S Q) = tr S = ||X||_*.",
        tr(Q.T @ Root @ Root @ Q),
        tr(Root @ Root),
        given=(ROTATION,),
        mutants=(
            mutant("constant", "twice", rhs=2 * tr(Root @ Root)),
            mutant("sign", "minus", rhs=-tr(Root @ Root)),
            dropped(ROTATION),
        ),
    ),
    SumOfSquares(
        "majorised",
        "T1: j importances, tr(H^T S H) for orthonormal H, are at most the j largest singular values (Schur-Horn).",
        tr(H.T @ SPECTRUM @ H),
        tr(TOP_VALUES),
        proof=[1 * Square(E1 @ K1 - H @ H.T @ E1 @ K1), 1 * Square(H.T @ E2 @ K2)],
        given=(FRAME, COMPLETE, H_ORTHONORMAL),
        mutants=(
            mutant("constant", "half of them", rhs=tr(TOP_VALUES) / 2),
            mutant(
                "swapped symbols",
                "the j smallest",
                {
                    E1: [[1], [0]],
                    E2: [[0], [1]],
                    H: [[1], [0]],
                    K1: [[1]],
                    K2: [[0]],
                    c0: 1,
                    j: 1,
                    k: 1,
                },
                rhs=c0 * j,
            ),
            dropped(H_ORTHONORMAL),
        ),
    ),
    Identity(
        "hadamard_gauge",
        "T1: Q a Hadamard matrix over sqrt(r): every importance is q^T S q = tr(S)/r, sqrt(r) q = D 1 of entries +-1.",
        inner(Signs @ one, S @ Signs @ one) / r,
        tr(S) / r,
        given=(SIGNS,),
        mutants=(
            mutant("constant", "without 1/r", rhs=tr(S)),
            mutant("sign", "minus", rhs=-tr(S) / r),
            dropped(SIGNS),
        ),
    ),
    Inequality(
        "svd_pruning_is_optimal",
        "T1: keeping the k leading terms of the SVD loses ||X - X_k||_F, and no rank-k matrix Y loses less.",
        square(TAIL),
        square(P1 @ S1 @ Q1.T + TAIL - Y),
        proof=[KEPT],
        mutants=(
            mutant(
                "constant",
                "0.95 of it",
                {P1: [[1], [0]], Q1: [[1], [0]], S1: [[1]], TAIL: [[0, 0], [0, 1]], Y: [[1, 0], [0, 0]]},
                rhs=19 * square(P1 @ S1 @ Q1.T + TAIL - Y) / 20,
            ),
            mutant("sign", "another tail", rhs=square(P1 @ S1 @ Q1.T - TAIL - Y)),
            dropped(KEPT),
        ),
    ),
    ScalarCheck(
        "averaged_logits",
        "T2: p = e^{z_i/(2 tau)}, q = e^{z_j/(2 tau)}: 2 p q/(p^2 + q^2) = 1/cosh((z_i - z_j)/(2 tau)).",
        2 * mass * rest / (mass**2 + rest**2),
        1 / cosh(sympy.log(mass / rest)),
        mutants=(
            mutant("constant", "1/cosh((z_i - z_j)/tau)", rhs=1 / cosh(2 * sympy.log(mass / rest))),
            mutant("sign", "1/cosh((z_i + z_j)/(2 tau))", rhs=1 / cosh(sympy.log(mass * rest))),
        ),
    ),
    ScalarCheck(
        "averaging_loses_mass",
        "T2: the geometric mean of the weights is at most the arithmetic: p^2 + q^2 - 2 p q = (p - q)^2.",
        2 * mass * rest,
        mass**2 + rest**2,
        relation="<=",
        mutants=(
            mutant("sign", "it gains", lhs=mass**2 + rest**2, rhs=2 * mass * rest),
            mutant("constant", "half the mass", lhs=4 * mass * rest),
        ),
    ),
    Identity(
        "equal_ranks_equal_gradients",
        "T3: grad_A Pi = grad_A (and grad_B Pi = grad_B): after a step the two ranks are equal again.",
        (A - eta * s * G @ B @ Dw) @ Pi,
        A - eta * s * G @ B @ Dw,
        given=(TWINS,),
        mutants=(
            mutant("sign", "the exchange changes the sign", rhs=-(A - eta * s * G @ B @ Dw)),
            mutant("constant", "twice the step", rhs=A - 2 * eta * s * G @ B @ Dw),
            dropped(TWINS),
        ),
    ),
    Identity(
        "equal_ranks_equal_logit_gradients",
        "T3: Pi (A^T G B) Pi = A^T G B: the c_k of the two ranks, and so their logit gradients, are equal.",
        Pi @ (A.T @ G @ B) @ Pi,
        A.T @ G @ B,
        given=(TWINS,),
        mutants=(
            mutant("constant", "twice", rhs=2 * A.T @ G @ B),
            mutant("sign", "minus", rhs=-A.T @ G @ B),
            dropped(TWINS),
        ),
    ),
    Identity(
        "equal_ranks_lose_one",
        "T3: p a b^T + q a b^T = (p + q) a b^T is a single term.",
        mass * a @ b.T + rest * a @ b.T,
        (mass + rest) * a @ b.T,
        mutants=(
            mutant("sign", "p - q", rhs=(mass - rest) * a @ b.T),
            mutant("constant", "p q", rhs=mass * rest * a @ b.T),
        ),
    ),
    Identity(
        "copy_is_a_rotation",
        "T4: N = [[1, 1], [1, -1]] has N^T N = 2 I and takes (a, 0) to (a, a): N/sqrt(2) is a Q of step_commutes.",
        off_twice_a_rotation(MIXING),
        0,
        given=(AXES,),
        mutants=(
            mutant("sign", "all entries positive", lhs=off_twice_a_rotation(ALL_POSITIVE)),
            mutant("constant", "2 N", lhs=off_twice_a_rotation(2 * MIXING)),
            mutant("constant", "N^T N = I", lhs=square(MIXING.T @ MIXING - eye(2))),
            dropped(AXES),
        ),
    ),
    Exact(
        "sign_step_does_not_commute",
        "T4: from A = B = (1, 0), G = 1, a sign step 1/10 gives X = 81/100; rotated by (3/5, 4/5) it gives 37/50.",
        _sign_step,
        (("1/10", "37/50", "81/100"),),
        mutants=(
            mutant("swapped symbols", "they agree", run=lambda rate, rotated, plain: _sign_step(rate, plain, plain)),
            mutant("constant", "a step 1/5", run=lambda rate, rotated, plain: _sign_step("1/5", rotated, plain)),
        ),
    ),
    ScalarCheck(
        "split_keeps_other_weights",
        "T5: a term with exponential p keeps its weight: r p/(T - e_j) (1 - w_j/r) = r p/T.",
        count * mass / SPLIT_TOTAL * (1 - WJ / count),
        count * mass / TOTAL,
        mutants=(
            mutant("sign", "1 + w_j/r", lhs=count * mass / SPLIT_TOTAL * (1 + WJ / count)),
            mutant("dropped assumption", "A not rescaled", lhs=count * mass / SPLIT_TOTAL),
        ),
    ),
    ScalarCheck(
        "split_keeps_the_pair",
        "T5: the two copies together have the weight w_i.",
        2 * count * HALVED / SPLIT_TOTAL * (1 - WJ / count),
        WI,
        mutants=(
            mutant("constant", "one copy", lhs=count * HALVED / SPLIT_TOTAL * (1 - WJ / count)),
            mutant(
                "dropped assumption",
                "logits not lowered",
                lhs=2 * count * ei / (2 * ei + mass) * (1 - WJ / count),
            ),
        ),
    ),
    Identity(
        "jitter_cancels",
        "T5: p (a + d) b^T + p (a - d) b^T = 2 p a b^T.",
        mass * (a + d) @ b.T + mass * (a - d) @ b.T,
        2 * mass * a @ b.T,
        mutants=(
            mutant("sign", "+d twice", lhs=mass * (a + d) @ b.T + mass * (a + d) @ b.T),
            mutant("dropped assumption", "unequal gates", lhs=mass * (a + d) @ b.T + rest * (a - d) @ b.T),
        ),
    ),
    ScalarCheck(
        "term_decay",
        "Gated decay: (||a||^2 + ||b||^2)/2 >= ||a|| ||b||.",
        y * u,
        (y**2 + u**2) / 2,
        relation="<=",
        mutants=(
            mutant("constant", "a quarter", rhs=(y**2 + u**2) / 4),
            mutant("sign", "the difference", rhs=(y**2 - u**2) / 2),
        ),
    ),
    SumOfSquares(
        "gated_decay",
        "Gated decay: sum ||a_k|| ||b_k|| >= (1/r)(sum sqrt(w_k ||a_k|| ||b_k||))^2, since the w_k sum to r.",
        inner(x, v) ** 2 / r,
        square(x),
        proof=[1 * Square(x - inner(x, v) / r * v)],
        given=(SHARES,),
        mutants=(
            mutant("constant", "without 1/r", {x: [[1], [1]], v: [[1], [1]]}, lhs=inner(x, v) ** 2),
            mutant("sign", "plus the square", lhs=inner(x, v) ** 2 / r + square(x)),
            dropped(SHARES),
        ),
    ),
    Identity(
        "marginal_importance",
        "f = ||X - T||^2/2: f without the term a b^T minus f is -a^T G b + ||a||^2 ||b||^2/2, G = X - T.",
        square(X - a @ b.T - T) / 2 - square(X - T) / 2,
        -tr(a.T @ (X - T) @ b) + square(a) * square(b) / 2,
        mutants=(
            mutant("sign", "+a^T G b", rhs=tr(a.T @ (X - T) @ b) + square(a) * square(b) / 2),
            mutant("constant", "without the half", rhs=-tr(a.T @ (X - T) @ b) + square(a) * square(b)),
        ),
    ),
)

PROSE = {
    "more than two ranks at a time: all other exponentials are one symbol": (
        "softmax_diagonal",
        "softmax_off_diagonal",
        "averaged_logits",
        "split_keeps_other_weights",
        "split_keeps_the_pair",
    ),
    "ranks that stay equal after each step are equal for ever (induction)": (
        "equal_ranks_equal_gradients",
        "equal_ranks_equal_logit_gradients",
    ),
    "the decompositions of Ky Fan's and of Eckart and Young's inequality exist": (
        "majorised",
        "svd_pruning_is_optimal",
    ),
    "a Hadamard matrix of size r is a premise": ("hadamard_gauge",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("beam_lora", THEOREM))
