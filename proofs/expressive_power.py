"""The expressive power of LoRA: what adapters of a deep linear or ReLU network can reach, and the construction.

Statement
---------
Frozen W_1, ..., W_L (W_1 first), adapters D_l = A_l B_l^T of rank R_l, R = sum R_l, target W_bar, E = W_bar - prod W
with singular values sigma_i, S_l = W_L ... W_{l+1}, Q_l = (W_l + D_l) ... (W_1 + D_1).

D1. prod(W_l + D_l) - prod W = sum_l S_l D_l Q_{l-1} has rank at most R, so that the error is at least sigma_{R+1} in
spectral norm and sqrt(sum_{i > R} sigma_i^2) in Frobenius norm. D2. A_l = S_l^{-1} E V_l, B_l = Q_{l-1}^{-T} V_l, V_l
the next R_l right singular vectors of E, attains both: S_l Q_l = prod W + E V V^T for all V_1, ..., V_l side by side.
D3. It is a sweep of exact block minimization, D_l = S_l^{-1} LR(W_bar - S_l W_l Q_{l-1}) Q_{l-1}^{-1}. D4. V may be
replaced by V O, O orthogonal. D5. With b_l = c_l 1 - c_{l-1} (W_l + D_l) 1, c_0 = 0 and c_l >= rho max_j
||row_j(Q_l)|| for l < L, b_L = b_bar - c_{L-1} (W_L + D_L) 1 and E_res = E - E V V^T, all hidden units are active for
||x|| <= rho, and there the ReLU network is x -> relu((W_bar - E_res) x + b_bar); its mean squared error is at most
tr(E_res Sigma E_res^T) <= tr(Sigma) ||E_res||_2^2, Sigma = E[x x^T]. With ||Sigma||_F in the place of tr(Sigma) (the
printed form, quoted from memory) the bound is false. D7. The error of a block passes to the next one as (W_bar -
E_res)(z - z_bar) - E_res z_bar.

Assumptions
-----------
D1 none. D2, D3: S_l and Q_{l-1} invertible, that is W_2, ..., W_L and prod W + LR_k(E) for the partial sums k of the
ranks but the last. W_1 may be singular. D5: the target is x -> relu(W_bar x + b_bar), and ||x|| <= rho for every
input, as the bound says nothing of others.

Source
------
Zeng, Lee, "The Expressive Power of Low-Rank Adaptation", ICLR 2024, arXiv:2310.17513. D1, D3, D4, the
exact hypotheses of D2, the bias rule of D5 and the trace form of its bound are derived here.

Idea
----
Any depth by induction: the frozen prefix P and the adapted prefix Q become W P and (W + D) Q, whose difference is
W (Q - P) + D Q. S_l D_l Q_{l-1} = E V_l V_l^T makes each layer contribute its part of the singular values.

Checks
------
telescoping_two_layers : PROVED
telescoping_three_layers : PROVED
telescoping_step : PROVED
rank_adds_up : PROVED
lower_bound_frobenius : PROVED
lower_bound_spectral : PROVED
layer_contribution : PROVED
prefix_step : PROVED
two_layers_complete : PROVED
residual_is_tail : PROVED
construction : VERIFIED
block_residual : PROVED
block_is_optimal : PROVED
block_equals_construction : PROVED
rotation : PROVED
hidden_bias : PROVED
output_bias : PROVED
units_stay_active : PROVED
relu_is_nonexpansive : PROVED
mean_error : PROVED
trace_bound : PROVED
frobenius_form_is_false : VERIFIED
frobenius_form_fails_for_flat_residuals : PROVED
error_recursion : PROVED

Used by
-------
lorasolve/papers/_expressive_power.py
"""

from fractions import Fraction
from random import Random

import sympy

from lorasolve.symbolic import (
    Exact,
    Identity,
    Inequality,
    ScalarCheck,
    Square,
    Theorem,
    define,
    dims,
    dropped,
    equation,
    hypothesis,
    inverse,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalar,
    scalars,
    square,
    square_orthogonal,
    tr,
    vector,
)
from lorasolve.symbolic import rational as ra
from proofs.facts import (
    DISTANCE,
    ECKART_YOUNG,
    OPERATOR_NORM,
    RANK_AT_MOST,
    RANK_BELOW,
    SPECTRAL,
    TRUNCATION,
    VALUE_AT_LEAST,
    WEYL,
)

d0, d1, d2, d3 = dims("d_0 d_1 d_2 d_3")
D, N, r, k, w = dims("D N r k w")

# D1, rectangular layers.
W1, W2, W3 = matrix("W1", d1, d0), matrix("W2", d2, d1), matrix("W3", d3, d2)
D1, D2, D3 = matrix("D1", d1, d0), matrix("D2", d2, d1), matrix("D3", d3, d2)
FROZEN, ADAPTED = matrix("P", d1, d0), matrix("Q", d1, d0)
Y, Z = matrix("Y", d1, w), matrix("Z", d0, w)
A2, B2 = matrix("A2", d2, r), matrix("B2", d1, r)
J1, J2 = matrix("J1", w + r, w), matrix("J2", w + r, r)
BLOCKS = orthonormal(J1, J2)
CHANGE = define(ADAPTED, FROZEN + Y @ Z.T)
WIDE_LEFT = W2 @ Y @ J1.T + A2 @ J2.T
WIDE_RIGHT = Z @ J1.T + ADAPTED.T @ B2 @ J2.T
KEPT, TAIL, T = matrix("Kept", d2, d0), matrix("Tail", d2, d0), matrix("T", d2, d0)
CLOSEST = ECKART_YOUNG.instance("closest", TRUNCATION(KEPT, r, TAIL), RANK_AT_MOST(T, r))
sigma, distance = scalars("sigma delta")
WHOLE = KEPT + TAIL
SHIFTED = WEYL.instance(
    "rank_deficient", VALUE_AT_LEAST(r + 1, WHOLE, sigma), RANK_BELOW(T, r + 1), DISTANCE(WHOLE, T, distance)
)

# D2 and D3, square layers: suffix S, layer W, prefix Q; residual E.
S, W, Q, E, V = matrix("S", D, D), matrix("W", D, D), matrix("Q", D, D), matrix("E", D, D), matrix("V", D, r)
SInv, QInv, Bar = matrix("SInv", D, D), matrix("QInv", D, D), matrix("Bar", D, D)
S_INVERSE, Q_INVERSE = inverse(SInv, S), inverse(QInv, Q)
ADAPTER = (SInv @ E @ V) @ (QInv.T @ V).T
V1, V2 = matrix("V1", D, r), matrix("V2", D, k)
RIGHT = orthonormal(V1, V2)
# Two layers: L2 = W_2, and Q_1 a symbol, so that W_1 = Q_1 - A_1 B_1^T is arbitrary.
L1, L2, L2Inv, Q1, Q1Inv = (matrix(name, D, D) for name in ("L1", "L2", "L2Inv", "Q1", "Q1Inv"))
FIRST = (L2Inv @ E @ V1) @ V1.T
SECOND = (E @ V2) @ (Q1Inv.T @ V2).T
LAYER_TWO, PREFIX, LAYER_ONE = inverse(L2Inv, L2), inverse(Q1Inv, Q1), define(L1, Q1 - FIRST)
P1, P2 = matrix("P1", D, r), matrix("P2", D, k)
S1, S2 = matrix("S1", r, r, symmetric=True), matrix("S2", k, k, symmetric=True)
SVD = define(E, P1 @ S1 @ V1.T + P2 @ S2 @ V2.T)
Delta = matrix("Delta", D, D)
TOP, REST = P1 @ S1 @ V1.T, P2 @ S2 @ V2.T
TARGET = define(Bar, S @ W @ Q + TOP + REST)
BLOCK = ECKART_YOUNG.instance("closest", TRUNCATION(TOP, r, REST), RANK_AT_MOST(S @ Delta @ Q, r))
O = matrix("O", r, r)  # noqa: E741
ROTATION = square_orthogonal(O)

# D5.
M, Tl, x, one, bar = matrix("M", D, D), matrix("Tl", D, D), vector("x", D), vector("one", D), vector("b", D)
c, before = scalars("c c_0")
row = vector("t", D)
rho, height = scalars("rho h")
SHORT_ROW = hypothesis("||row||^2 <= h^2", square(row), height**2)
IN_BALL = hypothesis("||x||^2 <= rho^2", square(x), rho**2)
a, b = scalars("a b", real=True)
p, q = sympy.Symbol("|a|", nonnegative=True), sympy.Symbol("|b|", nonnegative=True)
A_ABOVE, A_BELOW = hypothesis("a <= |a|", a, p), hypothesis("-a <= |a|", -a, p)
B_ABOVE, B_BELOW = hypothesis("b <= |b|", b, q), hypothesis("-b <= |b|", -b, q)
A_SQUARE, B_SQUARE = equation("|a|^2 = a^2", p**2, a**2), equation("|b|^2 = b^2", q**2, b**2)
HALF = sympy.Rational(1, 2)
Samples = matrix("Samples", D, N)
top = scalars("s")
STRETCH = OPERATOR_NORM.instance("product", SPECTRAL(E, top), W=Samples)
z, z_bar = vector("z", D), vector("z_bar", D)
# Sigma = I of dimension D = d^2, and D - R = d + e singular values s in the residual.
root, left_over = scalars("d e")
FLAT_ERROR, IDENTITY_LENGTH = top**2 * (root + left_over), sympy.sqrt(root**2)


def _relu(number: sympy.Expr, size: sympy.Expr) -> sympy.Expr:
    return (number + size) / 2


def _construct(ranks: tuple[int, ...], slack: int = 0, transposed: bool = False) -> tuple[bool, str]:
    """Adapt random rational layers of dimension 3 by D2 and compare the squared error with the tail of sigma."""
    rng = Random(sum((i + 1) * rank for i, rank in enumerate(ranks)))
    dim = 3
    spectrum = [Fraction(3), Fraction(2), Fraction(1)]
    left, right = ra.random_orthogonal(rng, dim), ra.random_orthogonal(rng, dim)
    layers = [ra.add(ra.random_matrix(rng, dim, dim), ra.identity(dim), 5) for _ in ranks]
    frozen = ra.identity(dim)
    for layer in layers:
        frozen = ra.multiply(layer, frozen)
    discrepancy = ra.multiply(left, ra.diagonal(spectrum), ra.transpose(right))
    prefix, used = ra.identity(dim), 0
    for index, (layer, rank) in enumerate(zip(layers, ranks, strict=True)):
        suffix = ra.identity(dim)
        for later in layers[index + 1 :]:
            suffix = ra.multiply(later, suffix)
        adapted = layer
        if rank:
            share = [line[used : used + rank] for line in right]
            factor_a = ra.multiply(ra.inverse(suffix), discrepancy, share)
            inverse_prefix = ra.inverse(prefix)
            factor_b = ra.multiply(inverse_prefix if transposed else ra.transpose(inverse_prefix), share)
            adapted = ra.add(layer, ra.multiply(factor_a, ra.transpose(factor_b)))
        prefix, used = ra.multiply(adapted, prefix), used + rank
    residual = ra.add(ra.add(frozen, discrepancy), prefix, -1)
    error, tail = ra.inner(residual, residual), sum((s**2 for s in spectrum[used + slack :]), Fraction(0))
    return error == tail, f"squared error {error}, tail {tail}"


def _erratum(root_of_dim: int, used: int, power: int = 1) -> tuple[bool, str]:
    """Compare the mean squared error with s^2 d^power, for Sigma = I of dimension d^2, s = 3/5, all units active."""
    dim = root_of_dim**2
    residual = ra.diagonal([Fraction(0)] * used + [Fraction(3, 5)] * (dim - used))
    error = ra.trace(ra.multiply(residual, ra.identity(dim), ra.transpose(residual)))
    bound = Fraction(9, 25) * root_of_dim**power
    return error > bound, f"error {error}, bound {bound}"


CHECKS = (
    Identity(
        "telescoping_two_layers",
        "D1: (W_2 + D_2)(W_1 + D_1) - W_2 W_1 = W_2 D_1 + D_2 (W_1 + D_1).",
        (W2 + D2) @ (W1 + D1) - W2 @ W1,
        W2 @ D1 + D2 @ (W1 + D1),
        mutants=(
            mutant("dropped assumption", "the frozen prefix", rhs=W2 @ D1 + D2 @ W1),
            mutant("sign", "W_1 - D_1", rhs=W2 @ D1 + D2 @ (W1 - D1)),
        ),
    ),
    Identity(
        "telescoping_three_layers",
        "D1: three layers, rectangular.",
        (W3 + D3) @ (W2 + D2) @ (W1 + D1) - W3 @ W2 @ W1,
        W3 @ W2 @ D1 + W3 @ D2 @ (W1 + D1) + D3 @ (W2 + D2) @ (W1 + D1),
        mutants=(
            mutant(
                "swapped symbols",
                "adapted suffixes too",
                rhs=(W3 + D3) @ (W2 + D2) @ D1 + W3 @ D2 @ (W1 + D1) + D3 @ (W2 + D2) @ (W1 + D1),
            ),
            mutant("sign", "minus the last", rhs=W3 @ W2 @ D1 + W3 @ D2 @ (W1 + D1) - D3 @ (W2 + D2) @ (W1 + D1)),
        ),
    ),
    Identity(
        "telescoping_step",
        "D1, any depth: (W + D) Q - W P = W (Q - P) + D Q.",
        (W2 + D2) @ ADAPTED - W2 @ FROZEN,
        W2 @ (ADAPTED - FROZEN) + D2 @ ADAPTED,
        mutants=(
            mutant("swapped symbols", "D P", rhs=W2 @ (ADAPTED - FROZEN) + D2 @ FROZEN),
            mutant("sign", "-D Q", rhs=W2 @ (ADAPTED - FROZEN) - D2 @ ADAPTED),
        ),
    ),
    Identity(
        "rank_adds_up",
        "D1: Q - P of width w and D = A B^T of width R_l: the new difference has a factorization of width w + R_l.",
        WIDE_LEFT @ WIDE_RIGHT.T,
        (W2 + A2 @ B2.T) @ ADAPTED - W2 @ FROZEN,
        given=(BLOCKS, CHANGE),
        mutants=(
            mutant("sign", "minus the adapter", rhs=(W2 - A2 @ B2.T) @ ADAPTED - W2 @ FROZEN),
            mutant("swapped symbols", "B^T P", lhs=WIDE_LEFT @ (Z @ J1.T + FROZEN.T @ B2 @ J2.T).T),
            dropped(BLOCKS),
            dropped(CHANGE),
        ),
    ),
    Inequality(
        "lower_bound_frobenius",
        "D1: every T = prod(W + D) - prod W of rank at most R has ||E - T||_F^2 >= sum_{i > R} sigma_i^2.",
        square(TAIL),
        square(KEPT + TAIL - T),
        proof=[CLOSEST],
        mutants=(
            mutant("constant", "twice as much", lhs=2 * square(TAIL)),
            mutant("sign", "another residual", rhs=square(KEPT - TAIL - T)),
            dropped(CLOSEST),
        ),
    ),
    Inequality(
        "lower_bound_spectral",
        "D1: ||E - T||_2 >= sigma_{R+1}(E).",
        scalar(sigma),
        distance,
        proof=[SHIFTED],
        mutants=(
            mutant("constant", "twice as much", {sigma: 1, distance: 1}, lhs=scalar(2 * sigma)),
            dropped(SHIFTED),
        ),
    ),
    Identity(
        "layer_contribution",
        "D2: A = S^{-1} E V, B = Q^{-T} V give S (A B^T) Q = E V V^T.",
        S @ ADAPTER @ Q,
        E @ V @ V.T,
        given=(S_INVERSE, Q_INVERSE),
        mutants=(
            mutant("swapped transpose", "B = Q^{-1} V", lhs=S @ ((SInv @ E @ V) @ (QInv @ V).T) @ Q),
            mutant("sign", "minus", rhs=-E @ V @ V.T),
            dropped(Q_INVERSE),
            dropped(S_INVERSE),
        ),
    ),
    Identity(
        "prefix_step",
        "D2: S_l Q_l = S_{l-1} Q_{l-1} + E V_l V_l^T, with S_{l-1} = S_l W_l.",
        S @ (W + ADAPTER) @ Q,
        (S @ W) @ Q + E @ V @ V.T,
        given=(S_INVERSE, Q_INVERSE),
        mutants=(
            mutant("sign", "minus", rhs=(S @ W) @ Q - E @ V @ V.T),
            mutant("constant", "twice", rhs=(S @ W) @ Q + 2 * E @ V @ V.T),
            dropped(Q_INVERSE),
        ),
    ),
    Identity(
        "two_layers_complete",
        "D2 for L = 2: (W_2 + A_2 B_2^T)(W_1 + A_1 B_1^T) = W_2 W_1 + E (V_1 V_1^T + V_2 V_2^T).",
        (L2 + SECOND) @ (L1 + FIRST),
        L2 @ L1 + E @ (V1 @ V1.T + V2 @ V2.T),
        given=(LAYER_TWO, PREFIX, LAYER_ONE),
        mutants=(
            mutant("swapped symbols", "B_2 = W_1^{-T} V_2", lhs=(L2 + E @ V2 @ V2.T) @ (L1 + FIRST)),
            mutant("sign", "-A_2 B_2^T", lhs=(L2 - SECOND) @ (L1 + FIRST)),
            dropped(PREFIX),
            dropped(LAYER_TWO),
        ),
    ),
    Identity(
        "residual_is_tail",
        "D2: with V_1 the leading right singular vectors, E - E V_1 V_1^T = P_2 S_2 V_2^T: both bounds are attained.",
        E - E @ V1 @ V1.T,
        REST,
        given=(RIGHT, SVD),
        mutants=(
            mutant("sign", "E + E V V^T", lhs=E + E @ V1 @ V1.T),
            mutant("swapped symbols", "the leading part", rhs=TOP),
            dropped(RIGHT),
        ),
    ),
    Exact(
        "construction",
        "D2: three-dimensional rational layers, sigma = (3, 2, 1), unequal and zero ranks: the error is the tail.",
        lambda *ranks: _construct(ranks),
        ((1, 1), (2, 0), (0, 1), (1, 0, 1), (1, 1, 1)),
        mutants=(
            mutant("swapped transpose", "Q^{-1} for Q^{-T}", run=lambda *ranks: _construct(ranks, transposed=True)),
            mutant("constant", "the tail from R + 2 on", run=lambda *ranks: _construct(ranks, slack=1)),
        ),
    ),
    Identity(
        "block_residual",
        "D3: S (W + S^{-1} LR Q^{-1}) Q = S W Q + LR: the error is that of LR as an approximation of the residual.",
        S @ (W + SInv @ TOP @ QInv) @ Q - Bar,
        -REST,
        given=(S_INVERSE, Q_INVERSE, TARGET),
        mutants=(
            mutant("sign", "+", rhs=REST),
            mutant("swapped symbols", "Q for Q^{-1}", lhs=S @ (W + SInv @ TOP @ Q) @ Q - Bar),
            dropped(S_INVERSE),
        ),
    ),
    Inequality(
        "block_is_optimal",
        "D3: no adapter Delta of that rank has a smaller ||S (W + Delta) Q - W_bar||.",
        square(REST),
        square(S @ (W + Delta) @ Q - Bar),
        proof=[BLOCK],
        given=(TARGET,),
        mutants=(
            mutant("constant", "twice", lhs=2 * square(REST)),
            mutant("sign", "W - Delta", rhs=square(S @ (W - Delta) @ Q - Bar)),
            dropped(BLOCK),
        ),
    ),
    Identity(
        "block_equals_construction",
        "D3 = D2: the residual E - E V_1 V_1^T, projected on V_2, is E V_2 V_2^T.",
        (E - E @ V1 @ V1.T) @ V2 @ V2.T,
        E @ V2 @ V2.T,
        given=(RIGHT,),
        mutants=(
            mutant("sign", "minus", rhs=-E @ V2 @ V2.T),
            mutant("swapped symbols", "V_1", rhs=E @ V1 @ V1.T),
            dropped(RIGHT),
        ),
    ),
    Identity(
        "rotation",
        "D4: (V O)(V O)^T = V V^T: the final product is unchanged.",
        E @ (V @ O) @ (V @ O).T,
        E @ V @ V.T,
        given=(ROTATION,),
        mutants=(
            mutant("swapped transpose", "(V O)(V O^T)^T", lhs=E @ (V @ O) @ (V @ O.T).T),
            mutant("sign", "minus", rhs=-E @ V @ V.T),
            dropped(ROTATION),
        ),
    ),
    Identity(
        "hidden_bias",
        "D5: M (T x + c_0 1) + (c 1 - c_0 M 1) = (M T) x + c 1.",
        M @ (Tl @ x + before * one) + (c * one - before * M @ one),
        (M @ Tl) @ x + c * one,
        mutants=(
            mutant("dropped assumption", "b = c 1", lhs=M @ (Tl @ x + before * one) + c * one),
            mutant("sign", "+c_0 M 1", lhs=M @ (Tl @ x + before * one) + (c * one + before * M @ one)),
        ),
    ),
    Identity(
        "output_bias",
        "D5: M (T x + c_0 1) + (b_bar - c_0 M 1) = (M T) x + b_bar.",
        M @ (Tl @ x + before * one) + (bar - before * M @ one),
        (M @ Tl) @ x + bar,
        mutants=(
            mutant("sign", "-b_bar", rhs=(M @ Tl) @ x - bar),
            mutant("constant", "c_0 1 without M", lhs=M @ (Tl @ x + before * one) + (bar - before * one)),
        ),
    ),
    Inequality(
        "units_stay_active",
        "D5: ||row|| <= h and ||x|| <= rho imply row^T x + rho h >= 0: no hidden unit is cut off.",
        scalar(0),
        tr(row.T @ x) + rho * height,
        proof=[
            rho / (2 * height) * Square(row + height / rho * x),
            rho / (2 * height) * SHORT_ROW,
            height / (2 * rho) * IN_BALL,
        ],
        mutants=(
            mutant(
                "constant",
                "c = 0.95 rho h",
                {row: [[-1]], x: [[1]], rho: 1, height: 1},
                rhs=tr(row.T @ x) + 19 * rho * height / 20,
            ),
            mutant("sign", "c = -rho h", rhs=tr(row.T @ x) - rho * height),
            dropped(IN_BALL, {row: [[-1]], x: [[2]], rho: 1, height: 1}),
            dropped(SHORT_ROW, {row: [[-2]], x: [[1]], rho: 1, height: 1}),
        ),
    ),
    Inequality(
        "relu_is_nonexpansive",
        "D5: (relu(a) - relu(b))^2 <= (a - b)^2, relu(a) = (a + |a|)/2.",
        scalar((_relu(a, p) - _relu(b, q)) ** 2),
        (a - b) ** 2,
        proof=[
            Square(a - b - (p - q)) / 4,
            HALF * A_SQUARE,
            HALF * B_SQUARE,
            HALF * (1 * A_ABOVE) * B_BELOW,
            HALF * (1 * A_BELOW) * B_ABOVE,
        ],
        mutants=(
            mutant("constant", "half of it", {a: 1, p: 1, b: 0, q: 0}, rhs=(a - b) ** 2 / 2),
            mutant("sign", "(a + b)^2", {a: 1, p: 1, b: -1, q: 1}, rhs=(a + b) ** 2),
            dropped(A_SQUARE, {a: 0, p: 3, b: 0, q: 0}),
        ),
    ),
    Identity(
        "mean_error",
        "D5: the mean of ||E_res x||^2 over samples is tr(E_res Sigma E_res^T), Sigma = X X^T/N.",
        square(E @ Samples) / N,
        tr(E @ (Samples @ Samples.T / N) @ E.T),
        mutants=(
            mutant("constant", "without 1/N", lhs=square(E @ Samples)),
            mutant("swapped transpose", "E^T Sigma E", rhs=tr(E.T @ (Samples @ Samples.T / N) @ E)),
        ),
    ),
    Inequality(
        "trace_bound",
        "D5: tr(E_res Sigma E_res^T) <= ||E_res||_2^2 tr(Sigma).",
        tr(E @ (Samples @ Samples.T / N) @ E.T),
        top**2 * tr(Samples @ Samples.T / N),
        proof=[STRETCH / N],
        mutants=(
            mutant(
                "constant",
                "0.95 of it",
                {E: [[1]], Samples: [[1]], top: 1},
                rhs=19 * top**2 * tr(Samples @ Samples.T / N) / 20,
            ),
            mutant("swapped symbols", "||E_res||_2 without the square", rhs=top * tr(Samples @ Samples.T / N)),
            dropped(STRETCH),
        ),
    ),
    Exact(
        "frobenius_form_is_false",
        "Erratum: Sigma = I_16, E_res with 14 singular values 3/5, all units active: error 126/25 > 36/25.",
        _erratum,
        ((4, 2), (3, 2), (2, 1)),
        mutants=(
            mutant("swapped symbols", "the trace form is violated too", run=lambda d, u: _erratum(d, u, 2)),
            mutant("constant", "nothing left over", run=lambda d, u: _erratum(d, d * d)),
        ),
    ),
    ScalarCheck(
        "frobenius_form_fails_for_flat_residuals",
        "Erratum: Sigma = I, D - R > sqrt(D) singular values s: the error exceeds the bound by (D - R - sqrt(D)) s^2.",
        top**2 * left_over,
        FLAT_ERROR - top**2 * IDENTITY_LENGTH,
        mutants=(
            mutant("sign", "the bound exceeds the error", rhs=top**2 * IDENTITY_LENGTH - FLAT_ERROR),
            mutant("constant", "||Sigma||_F = D", rhs=FLAT_ERROR - top**2 * root**2),
        ),
    ),
    Identity(
        "error_recursion",
        "D7: (W_bar - E_res) z - W_bar z_bar = (W_bar - E_res)(z - z_bar) - E_res z_bar.",
        (Bar - E) @ z - Bar @ z_bar,
        (Bar - E) @ (z - z_bar) - E @ z_bar,
        mutants=(
            mutant("sign", "+E_res z_bar", rhs=(Bar - E) @ (z - z_bar) + E @ z_bar),
            mutant("swapped symbols", "W_bar (z - z_bar)", rhs=Bar @ (z - z_bar) - E @ z_bar),
        ),
    ),
)

PROSE = {
    "the induction over the layers": (
        "telescoping_step",
        "rank_adds_up",
        "prefix_step",
        "units_stay_active",
        "error_recursion",
    ),
    "E has a singular value decomposition": ("lower_bound_frobenius", "lower_bound_spectral", "residual_is_tail"),
    "a distribution in place of a sample": ("mean_error",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("expressive_power", THEOREM))
