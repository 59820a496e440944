"""Weight decay makes the limit of SGD low rank.

Statement
---------
SGD with batch size b, step mu, weight decay lam, q = 1 - mu lam in (0, 1), on L(A, B), each sample's gradient of f
in X of rank one. If A_t -> A, B_t -> B, X = A B^T != 0, then for each eps in (0, 1) some W has ||X/||X|| - W|| < eps
and rank W <= b floor(log(eps/4)/log q), provided eps/4 <= q.

Stronger, and simpler: rank X <= b. If only X_t converges, rank X <= 2 b.

The proviso is needed for the form in the paper: for q < eps/4 its bound is below b (for b = 1, or rounded down for any
b, it would claim W = 0), while ||X/||X|| - 0|| = 1. The W of the paper's argument, a sum of floor(log(eps/4)/log q)
steps, is within eps for q >= 1/4; for every q with eps/4 <= q the statement follows from rank X <= b.

Assumptions
-----------
The iterates converge. Per-sample gradients have rank one: linear layers applied to single vectors.

Source
------
Kim, Kim, Ryu, ICML 2025, lemma 1; the argument follows Galanti, Siegel, Gupte, Poggio, "SGD and Weight Decay Secretly
Minimize the Rank of Your Neural Network", 2022. The stronger form is ours.

Idea
----
Unroll A_T = q^j A_{T-j} - mu sum_{i < j} q^i G_i B_i. Each G_i is a product of m x b and b x n factors, so the sum
has rank at most b j and (1 - q^j) A is its limit. With j = floor(log(eps/4)/log q) and q >= 1/4 the tail q^j is at
most eps. For j = 1 the same formula says that (1 - q) A is a limit of matrices of rank at most b, so that W = X/||X||
will do wherever j >= 1.

Checks
------
recursion_start : PROVED
recursion_step : PROVED
rank_of_a_step : PROVED
rank_adds_up : PROVED
product_form : PROVED
limit_error : PROVED
tail_power : PROVED
tail : PROVED
tail_exponent : PROVED
one_step_limit : PROVED UNDER rank of sums and limits
at_least_one_step : PROVED
stated_rank : PROVED UNDER rank of sums and limits
product_recursion : PROVED
product_width : PROVED
product_limit : PROVED UNDER rank of sums and limits
rank_of_limit : VERIFIED

Used by
-------
lorasolve/landscape/bounds.py
"""

from fractions import Fraction
from random import Random

import sympy

from lorasolve.symbolic import (
    Exact,
    Identity,
    Inequality,
    ScalarCheck,
    Theorem,
    define,
    dims,
    dropped,
    equation,
    hypothesis,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    square,
)
from lorasolve.symbolic import rational as ra
from proofs.facts import LIMIT, RANK, RANK_IS, WIDTH

m, n, r, b, w = dims("m n r b w")
mu, q, power, eps = scalars("mu q Q epsilon")
lam = (1 - q) / mu
A, B, G, R = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n), matrix("R", m, r)
OLD, OLDER = matrix("A1", m, r), matrix("A2", m, r)

# One step of SGD from A2 gives A1; A_T = Q A1 - mu R is the recursion unrolled so far, Q = q^j.
NEW = matrix("AT", m, r)
UNROLLED = define(NEW, power * OLD - mu * R)
STEP = define(OLD, OLDER - mu * (G @ B + lam * OLDER))

# G = Y Z^T with b columns; the sum so far is R = YR ZR^T with w columns. J1, J2 put blocks side by side.
Y, Zb = matrix("Y", m, b), matrix("Z", n, b)
YR, ZR = matrix("YR", m, w), matrix("ZR", r, w)
J1, J2 = matrix("J1", w + b, w), matrix("J2", w + b, b)
BLOCKS = orthonormal(J1, J2)
WIDE_LEFT, WIDE_RIGHT = YR @ J1.T + power * Y @ J2.T, ZR @ J1.T + B.T @ Zb @ J2.T

X = matrix("X", m, n)
log_q, log_eps, fraction = scalars("l_q l_eps phi")

last = scalars("u")
POWER = equation("q^j q = (eps/4) u, u = q^(1 - phi) (check tail_power)", power * q, eps * last / 4)
QUARTER, LAST = hypothesis("1/4 <= q", sympy.Rational(1, 4), q), hypothesis("u <= 1, because q < 1, phi <= 1", last, 1)
AT_QUARTER = {q: "1/4", power: 1, eps: 1, last: 1}

rank_w, rank_x = scalars("rank_1 rank_X", nonnegative=True)
rank_of_a_step = Identity(
    "rank_of_a_step",
    "G = Y Z^T with b columns: G B = Y (B^T Z)^T has a factorization of width b.",
    (Y @ Zb.T) @ B,
    Y @ (B.T @ Zb).T,
    paper="7 lemma 1",
    mutants=(
        mutant("sign", "-Y (B^T Z)^T", rhs=-Y @ (B.T @ Zb).T),
        mutant("constant", "twice", rhs=2 * Y @ (B.T @ Zb).T),
    ),
)
ONE_STEP = RANK.instance("product", RANK_IS(G @ B, rank_w), WIDTH(G @ B, b, by=(rank_of_a_step,)))
LIMIT_RANK = RANK.instance("limit", RANK_IS(A, rank_x), LIMIT(A, rank_w))
one_step_limit = Inequality(
    "one_step_limit",
    "rank X <= rank A <= b: (1 - q) A is the limit of -mu G_t B_t, products of factors with b columns.",
    rank_x,
    b,
    proof=[ONE_STEP, LIMIT_RANK],
    paper="7 lemma 1",
    mutants=(
        mutant("constant", "b/2", {rank_w: 1, rank_x: 1, b: 1}, rhs=b / 2),
        dropped(LIMIT_RANK),
    ),
)
rank_adds_up = Identity(
    "rank_adds_up",
    "R of width w plus Q G B of width b has a factorization of width w + b, so the sum of j steps has rank <= b j.",
    WIDE_LEFT @ WIDE_RIGHT.T,
    YR @ ZR.T + power * Y @ Zb.T @ B,
    given=(BLOCKS,),
    paper="7 lemma 1",
    mutants=(
        mutant("constant", "without Q", rhs=YR @ ZR.T + Y @ Zb.T @ B),
        mutant("sign", "R - Q G B", rhs=YR @ ZR.T - power * Y @ Zb.T @ B),
        dropped(BLOCKS),
    ),
)
# If only X_t converges: X_{t+1} - q^2 X_t, with G = Y Z^T.
CHANGE = (q * A - mu * G @ B) @ (q * B - mu * G.T @ A).T - q**2 * A @ B.T
OUT, BACK = -mu * q * A @ A.T @ Y, -mu * (q * B - mu * G.T @ A) @ B.T @ Zb
product_width = Identity(
    "product_width",
    "For G = Y Z^T that is Y (-mu B_+ B^T Z)^T + (-mu q A A^T Y) Z^T, with b columns each: 2 b by check rank_adds_up.",
    CHANGE,
    Y @ BACK.T + OUT @ Zb.T,
    given=(define(G, Y @ Zb.T),),
    paper="7 lemma 1",
    mutants=(
        mutant("constant", "the second part alone, of width b", rhs=OUT @ Zb.T),
        mutant("sign", "+mu q A A^T Y", rhs=Y @ BACK.T - OUT @ Zb.T),
    ),
)
BOTH_STEPS = RANK.instance("product", RANK_IS(CHANGE, rank_w), WIDTH(CHANGE, 2 * b, by=(product_width, rank_adds_up)))
PRODUCT_LIMIT = RANK.instance("limit", RANK_IS(X, rank_x), LIMIT(X, rank_w))
steps = scalars("j")
SMALL_EPS = hypothesis("eps/4 <= q, in logarithms l_q <= l_eps", log_q, log_eps)
SOME_STEP = hypothesis("1 <= j, the whole part of a number of at least 1 (check at_least_one_step)", 1, steps)


def _rank_of_limit(rows: int, cols: int, r_value: int, batch_size: int, factor: int = 1) -> tuple[bool, str]:
    """Build a fixed point of SGD in exact arithmetic and compare the rank of X with `factor` times the batch size."""
    rng = Random(rows * 100 + cols * 10 + batch_size)
    right = ra.random_matrix(rng, cols, r_value)
    gradient = ra.multiply(ra.random_matrix(rng, rows, batch_size), ra.random_matrix(rng, batch_size, cols))
    step, decay = Fraction(1, 3), Fraction(1, 2)
    left = ra.scale(Fraction(-1) / decay, ra.multiply(gradient, right))
    moved = ra.add(ra.scale(1 - step * decay, left), ra.multiply(gradient, right), -step)
    found = ra.rank(ra.multiply(left, ra.transpose(right)))
    holds = moved == left and found <= factor * batch_size
    return holds, f"fixed: {moved == left}, rank X = {found}, bound {factor * batch_size}"


CHECKS = (
    Identity(
        "recursion_start",
        "One step is A_{t+1} = q A_t - mu G B with q = 1 - mu lam.",
        OLDER - mu * (G @ B + lam * OLDER),
        q * OLDER - mu * G @ B,
        paper="7 lemma 1",
        mutants=(
            mutant("sign", "+ mu G B", rhs=q * OLDER + mu * G @ B),
            mutant("constant", "q^2", rhs=q**2 * OLDER - mu * G @ B),
        ),
    ),
    Identity(
        "recursion_step",
        "If A_T = Q A1 - mu R and A1 is one step from A2, then A_T = (Q q) A2 - mu (R + Q G B).",
        power * OLD - mu * R,
        power * q * OLDER - mu * (R + power * G @ B),
        given=(STEP,),
        paper="7 lemma 1",
        mutants=(
            mutant("constant", "R + G B without Q", rhs=power * q * OLDER - mu * (R + G @ B)),
            mutant("sign", "R - Q G B", rhs=power * q * OLDER - mu * (R - power * G @ B)),
            dropped(STEP),
        ),
    ),
    rank_of_a_step,
    rank_adds_up,
    Identity(
        "product_form",
        "W ||X|| = (A_T - Q A_{T-j}) B^T = -mu R B^T: multiplying by B^T does not raise the rank.",
        (NEW - power * OLD) @ B.T,
        -mu * R @ B.T,
        given=(UNROLLED,),
        paper="7 lemma 1",
        mutants=(
            mutant("sign", "+mu R B^T", rhs=mu * R @ B.T),
            mutant("constant", "A_T - A_{T-j}", lhs=(NEW - OLD) @ B.T),
            dropped(UNROLLED),
        ),
    ),
    Identity(
        "limit_error",
        "In the limit W = (1 - Q) X/||X||, so ||X/||X|| - W||^2 = Q^2 (times ||X||^2 here).",
        square(X - (1 - power) * X),
        power**2 * square(X),
        paper="7 lemma 1",
        mutants=(
            mutant("constant", "Q instead of Q^2", rhs=power * square(X)),
            mutant("sign", "W = (1 + Q) X without the square", lhs=square(X - (1 + 2 * power) * X)),
        ),
    ),
    ScalarCheck(
        "tail_power",
        "j = l_eps/l_q - phi, q = exp(-l_q), eps/4 = exp(-l_eps): q^j q = (eps/4) q^(1 - phi).",
        sympy.exp(-log_q * (log_eps / log_q - fraction)) * sympy.exp(-log_q),
        sympy.exp(-log_eps) * sympy.exp(-log_q * (1 - fraction)),
        paper="7 lemma 1",
        mutants=(
            mutant("sign", "q^(1 + phi)", rhs=sympy.exp(-log_eps) * sympy.exp(-log_q * (1 + fraction))),
            mutant("constant", "eps, not eps/4", rhs=4 * sympy.exp(-log_eps) * sympy.exp(-log_q * (1 - fraction))),
        ),
    ),
    Inequality(
        "tail",
        "Q = q^j <= eps for q >= 1/4: the rounding down of j costs at most a factor 1/q.",
        power,
        eps,
        proof=[1 / q * POWER, eps / q * QUARTER, eps / (4 * q) * LAST],
        paper="7 lemma 1",
        mutants=(
            mutant("constant", "eps/2", AT_QUARTER, rhs=eps / 2),
            mutant("sign", "-eps", AT_QUARTER, rhs=-eps),
            dropped(QUARTER, {**AT_QUARTER, q: "1/8", power: 2}),
            dropped(LAST, {**AT_QUARTER, last: 2, power: 2}),
        ),
    ),
    ScalarCheck(
        "tail_exponent",
        "With log q = -l_q, log(eps/4) = -l_eps and j = l_eps/l_q - phi, phi < 1: j log q = log(eps/4) + phi l_q.",
        -(log_eps / log_q - fraction) * log_q,
        -log_eps + fraction * log_q,
        paper="7 lemma 1",
        mutants=(
            mutant("sign", "log(eps/4) - phi l_q", rhs=-log_eps - fraction * log_q),
            mutant("swapped symbols", "j = log q/log(eps/4)", lhs=-(log_q / log_eps - fraction) * log_q),
        ),
    ),
    one_step_limit,
    Inequality(
        "at_least_one_step",
        "l_eps/l_q >= 1 where eps/4 <= q: its whole part j is at least 1.",
        1,
        log_eps / log_q,
        proof=[1 / log_q * SMALL_EPS],
        paper="7 lemma 1",
        mutants=(
            mutant("constant", "at least 2", {log_q: 1, log_eps: 1}, lhs=2),
            mutant("swapped symbols", "l_q/l_eps", {log_q: 1, log_eps: 2}, rhs=log_q / log_eps),
            dropped(SMALL_EPS, {log_q: 2, log_eps: 1}),
        ),
    ),
    Inequality(
        "stated_rank",
        "rank X <= b j: W = X/||X|| has the rank that is stated, for every q with eps/4 <= q.",
        rank_x,
        b * steps,
        proof=[one_step_limit.conclusion(), b * SOME_STEP],
        under=(one_step_limit,),
        paper="7 lemma 1",
        mutants=(
            mutant("constant", "b j/2", {rank_w: 1, rank_x: 1, b: 1, steps: 1}, rhs=b * steps / 2),
            dropped(SOME_STEP, {rank_w: 1, rank_x: 1, b: 1, steps: "1/2"}),
        ),
    ),
    Identity(
        "product_recursion",
        "If only X_t converges: X_{t+1} - q^2 X_t = -mu G B B_+^T - mu q A (G^T A)^T.",
        CHANGE,
        -mu * G @ B @ (q * B - mu * G.T @ A).T - mu * q * A @ A.T @ G,
        paper="7 lemma 1",
        mutants=(
            mutant("constant", "q instead of q^2", lhs=(q * A - mu * G @ B) @ (q * B - mu * G.T @ A).T - q * A @ B.T),
            mutant(
                "sign",
                "+ mu q A A^T G",
                rhs=-mu * G @ B @ (q * B - mu * G.T @ A).T + mu * q * A @ A.T @ G,
            ),
        ),
    ),
    product_width,
    Inequality(
        "product_limit",
        "rank X <= 2 b if only X_t converges: (1 - q^2) X is the limit of X_{t+1} - q^2 X_t.",
        rank_x,
        2 * b,
        proof=[BOTH_STEPS, PRODUCT_LIMIT],
        paper="7 lemma 1",
        mutants=(
            mutant("constant", "b, as where the factors converge", {rank_w: 2, rank_x: 2, b: 1}, rhs=b),
            dropped(BOTH_STEPS, {rank_w: 3, rank_x: 3, b: 1}),
            dropped(PRODUCT_LIMIT, {rank_w: 2, rank_x: 3, b: 1}),
        ),
    ),
    Exact(
        "rank_of_limit",
        "At an exact fixed point of the step, rank X <= b.",
        _rank_of_limit,
        ((4, 3, 3, 1), (5, 4, 3, 2), (6, 5, 4, 3)),
        paper="7 lemma 1",
        mutants=(
            mutant("constant", "rank X = 0", run=lambda a, c, d, e: _rank_of_limit(a, c, d, e, 0)),
            mutant(
                "sign",
                "rank X > b",
                run=lambda *case: (not _rank_of_limit(*case)[0], "the reverse: " + _rank_of_limit(*case)[1]),
            ),
        ),
    ),
)

PROSE = {
    "rank X <= rank A for X = A B^T": ("one_step_limit",),
    "the induction over the steps": ("recursion_step", "rank_adds_up"),
    "the limit T -> infinity, in which W stays within eps from some T on": ("product_form", "limit_error"),
    "the whole part of a number of at least 1 is at least 1": ("at_least_one_step", "stated_rank"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("lemma1", THEOREM))
