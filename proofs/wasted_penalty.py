"""The penalty that unbalanced factors waste, and what it proves about the objective without any data.

Statement
---------
Let A B^T = t P Sigma Q^T with t = 1/s, so that X = s A B^T = P Sigma Q^T is a singular value decomposition, and let

    w = (||A||_F^2 + ||B||_F^2)/2 - ||X||_*/s.

Then w >= 0, and w = 0 if and only if A^T A = B^T B. For L(A, B) = f(s A B^T) + (lam/2)(||A||^2 + ||B||^2) with any f
at all, L(A, B) - min L >= lam w.

Assumptions
-----------
P^T P = Q^T Q = I, Sigma symmetric, s > 0, lam >= 0. Nothing about f: balanced factors of the same product keep every
prediction. With several matrices f depends on all products, and the sum of the w takes the place of w.

Source
------
Srebro, Rennie, Jaakkola, "Maximum-Margin Matrix Factorization", NeurIPS 2004, for w >= 0.

Idea
----
w is half the sum of |P^T A - Q^T B|^2 and of the parts of A and B outside the singular subspaces. Where all three
vanish A = P C and B = Q C with one C, so A^T A = C^T C = B^T B; balanced factors are of this form. Those of the same
product have w = 0, hence a value of L that is smaller by lam w.

Checks
------
wasted_as_squares : PROVED
not_negative : PROVED
scaled : PROVED
nothing_wasted_means_balanced : PROVED
balanced_wastes_nothing : PROVED
same_predictions : PROVED
objective_excess : PROVED

Used by
-------
lorasolve/peft_files/facts.py
"""

from random import Random

from lorasolve.symbolic import (
    Identity,
    Inequality,
    SumOfSquares,
    Theorem,
    Values,
    assume,
    define,
    dropped,
    equation,
    hypothesis,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    square,
    tr,
    zeros,
)
from lorasolve.symbolic import rational as ra
from proofs import nuclear_norm_variational as nv

m, n, r, k, lam, half = nv.m, nv.n, nv.r, nv.k, nv.lam, nv.half
A, B, P, Q, Sigma, Root = nv.A, nv.B, nv.P, nv.Q, nv.Sigma, nv.Root
P_ORTHONORMAL, Q_ORTHONORMAL, FACTORED = nv.P_ORTHONORMAL, nv.Q_ORTHONORMAL, nv.FACTORED
t = scalars("t")
f_value, f_balanced, least = scalars("f f_0 Lmin", real=True)
A0, B0 = matrix("A0", m, r), matrix("B0", n, r)
C, W = matrix("C", k, r), matrix("W", r, k)


def _scaled_factor(values: Values, rng: Random) -> None:
    """Choose factors of the product, then divide B by the scaling."""
    nv.factor(values, rng)
    values["B"] = ra.scale(values[t], values["B"])


W_ORTHONORMAL = orthonormal(W)
SCALED = assume("A B^T = t P Sigma Q^T", (A @ B.T, t * P @ Sigma @ Q.T), impose=_scaled_factor)
# The shape of factors that waste nothing, and balanced factors of the same product (s = 1 without loss of generality).
IN_FRAME = (define(A, P @ C), define(B, Q @ C))
BALANCED = (define(A0, P @ Root @ W.T), define(B0, Q @ Root @ W.T), define(Sigma, Root @ Root))

penalty, outside = nv.penalty, nv.outside
balanced_penalty = half * (square(A0) + square(B0))
LEAST = hypothesis("min L <= L at the balanced factors", least, f_balanced + lam * balanced_penalty)
# What check same_predictions is for.
SAME_VALUE = equation("f sees only the product, which is that of the balanced factors", f_balanced, f_value)
squares = half * (square(P.T @ A - Q.T @ B) + square(A - P @ P.T @ A) + square(B - Q @ Q.T @ B))
# The product 1 in one dimension, by 2 and 1/2.
UNEVEN = {key: [[1]] for key in (P, Q, W, Root, Sigma, A0, B0)} | {A: [[2]], B: [["1/2"]], lam: 1}
UNEVEN |= {f_value: 0, f_balanced: 0, least: 1}

CHECKS = (
    Identity(
        "wasted_as_squares",
        "w is half of |P^T A - Q^T B|^2 + |A - P P^T A|^2 + |B - Q Q^T B|^2, so it is 0 only if all of them are.",
        penalty - tr(Sigma),
        squares,
        given=(P_ORTHONORMAL, Q_ORTHONORMAL, FACTORED),
        mutants=(
            mutant("constant", "without the factor 1/2", rhs=2 * squares),
            mutant("sign", "P^T A + Q^T B", rhs=squares + 2 * tr(A.T @ P @ Q.T @ B)),
            dropped(FACTORED),
        ),
    ),
    SumOfSquares(
        "not_negative",
        "lam w >= 0.",
        lam * tr(Sigma),
        lam * penalty,
        proof=[lam * part for part in outside],
        given=(P_ORTHONORMAL, Q_ORTHONORMAL, FACTORED),
        mutants=(
            mutant("constant", "half the penalty", rhs=lam * penalty / 2),
            mutant("sign", "lam w <= 0", lhs=lam * penalty, rhs=lam * tr(Sigma)),
            dropped(FACTORED),
        ),
    ),
    SumOfSquares(
        "scaled",
        "With the scaling of an adapter, w = (|A|^2 + |B|^2)/2 - t ||X||_* >= 0 where X = A B^T/t.",
        t * tr(Sigma),
        penalty,
        proof=outside,
        given=(P_ORTHONORMAL, Q_ORTHONORMAL, SCALED),
        mutants=(
            mutant("constant", "2 t ||X||_*", lhs=2 * t * tr(Sigma)),
            mutant("constant", "||X||_* with its scaling twice", lhs=(1 + t) * tr(Sigma)),
            dropped(SCALED),
        ),
    ),
    Identity(
        "nothing_wasted_means_balanced",
        "Where the squares vanish A = P C and B = Q C, and then A^T A = B^T B.",
        A.T @ A - B.T @ B,
        zeros(r, r),
        given=(P_ORTHONORMAL, Q_ORTHONORMAL, *IN_FRAME),
        mutants=(
            mutant("sign", "A^T A = -B^T B", lhs=A.T @ A + B.T @ B),
            mutant("constant", "A^T A = 2 B^T B", lhs=A.T @ A - 2 * B.T @ B),
            dropped(P_ORTHONORMAL),
        ),
    ),
    Identity(
        "balanced_wastes_nothing",
        "Balanced factors are A = P Root W^T, B = Q Root W^T (stationary_structure), and for them w = 0.",
        balanced_penalty - tr(Sigma),
        0,
        given=(P_ORTHONORMAL, Q_ORTHONORMAL, W_ORTHONORMAL, *BALANCED),
        mutants=(
            mutant("constant", "|A|^2 + |B|^2", lhs=2 * balanced_penalty - tr(Sigma)),
            mutant("sign", "|A|^2 - |B|^2", lhs=half * (square(A0) - square(B0)) - tr(Sigma)),
            dropped(W_ORTHONORMAL),
        ),
    ),
    Identity(
        "same_predictions",
        "Balanced factors have the product of the given ones, so f, which sees only the product, keeps its value.",
        A @ B.T,
        A0 @ B0.T,
        given=(W_ORTHONORMAL, *BALANCED, FACTORED),
        mutants=(
            mutant("sign", "-A B^T", lhs=-A @ B.T),
            mutant("constant", "2 A B^T", lhs=2 * A @ B.T),
            dropped(FACTORED),
        ),
    ),
    Inequality(
        "objective_excess",
        "L(A, B) - min L >= lam w.",
        least + lam * (penalty - tr(Sigma)),
        f_value + lam * penalty,
        proof=[LEAST, SAME_VALUE],
        given=(P_ORTHONORMAL, Q_ORTHONORMAL, W_ORTHONORMAL, *BALANCED),
        mutants=(
            mutant("constant", "1.05 lam w", UNEVEN, lhs=least + 21 * lam * (penalty - tr(Sigma)) / 20),
            mutant("sign", "min L - L >= lam w", lhs=f_value + lam * penalty, rhs=least + lam * (penalty - tr(Sigma))),
            dropped(W_ORTHONORMAL),
            dropped(SAME_VALUE),
        ),
    ),
)

PROSE = {
    "the factors' product has a singular value decomposition": ("wasted_as_squares", "scaled"),
    "several matrices, by adding up": ("objective_excess",),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(nv.THEOREM,), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("wasted_penalty", THEOREM))
