"""Weight decay on the factors is the nuclear norm of the product.

Statement
---------
Let X = P Sigma Q^T be a singular value decomposition of rank k <= r, ||X||_* = tr Sigma. Then

    min over A B^T = X of (||A||_F^2 + ||B||_F^2)/2 = ||X||_*,

attained at A = P Sigma^{1/2} J^T, B = Q Sigma^{1/2} J^T with any r x k matrix J of orthonormal columns. Hence
L(A, B) >= F(A B^T), and min L = min { F(X) : rank X <= r }.

Assumptions
-----------
P^T P = Q^T Q = I (k x k), Sigma symmetric; r >= k is needed for J to exist.

Source
------
Srebro, Rennie, Jaakkola, "Maximum-Margin Matrix Factorization", NeurIPS 2004; Kim, Kim, Ryu, ICML 2025,
preliminaries.

Idea
----
<A B^T, P Q^T> = tr Sigma, and (|A|^2 + |B|^2)/2 - <A B^T, P Q^T> is half the sum of |P^T A - Q^T B|^2 and of the
parts of A and B outside the singular subspaces. The identity is a sum of squares: no classical inequality is used.

Checks
------
lower_bound : PROVED
attained_product : PROVED
attained_value : PROVED
objective_dominates : PROVED

Used by
-------
lorasolve/problem/sdpa.py, lorasolve/adapters/lora.py, lorasolve/networks/monitor.py, lorasolve/peft_files/decay.py,
lorasolve/problem/__init__.py
"""

from random import Random

from sympy import Rational

from lorasolve.symbolic import (
    Identity,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    assume,
    define,
    dims,
    dropped,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    square,
    tr,
)
from lorasolve.symbolic import rational as ra

m, n, r, k = dims("m n r k")
f_value = scalars("f", real=True)
lam = scalars("lambda", nonnegative=True)
A, B, P, Q, J = matrix("A", m, r), matrix("B", n, r), matrix("P", m, k), matrix("Q", n, k), matrix("J", r, k)
Sigma, Root = matrix("Sigma", k, k, symmetric=True), matrix("Root", k, k, symmetric=True)
half = Rational(1, 2)


def factor(values: Values, rng: Random) -> None:
    """Choose A of full row rank on the range of P, then B so that A B^T = P Sigma Q^T."""
    size, columns = ra.shape(values["P"])[1], ra.shape(values["A"])[1]
    if columns < size:
        raise ra.Unfit("r < k")
    mix = ra.random_matrix(rng, size, columns)
    right = ra.multiply(ra.transpose(mix), ra.inverse(ra.multiply(mix, ra.transpose(mix))))
    values["A"] = ra.multiply(values["P"], mix)
    values["B"] = ra.multiply(values["Q"], values["Sigma"], ra.transpose(right))


P_ORTHONORMAL, Q_ORTHONORMAL, J_ORTHONORMAL = orthonormal(P), orthonormal(Q), orthonormal(J)
FACTORED = assume("A B^T = P Sigma Q^T", (A @ B.T, P @ Sigma @ Q.T), impose=factor)
BALANCED = (define(A, P @ Root @ J.T), define(B, Q @ Root @ J.T), define(Sigma, Root @ Root))

penalty = half * (square(A) + square(B))
outside = (
    half * Square(P.T @ A - Q.T @ B),
    half * Square(A - P @ P.T @ A),
    half * Square(B - Q @ Q.T @ B),
)

lower_bound = SumOfSquares(
    "lower_bound",
    "Every factorization A B^T = X has (|A|^2 + |B|^2)/2 >= tr Sigma.",
    tr(Sigma),
    penalty,
    proof=outside,
    given=(P_ORTHONORMAL, Q_ORTHONORMAL, FACTORED),
    paper="2 variational lower bound",
    mutants=(
        mutant("constant", "|A|^2/4 + |B|^2/4", rhs=penalty / 2),
        mutant("constant", "2 tr Sigma", lhs=2 * tr(Sigma)),
        dropped(
            P_ORTHONORMAL,
            {A: [[1]], B: [[1]], P: [["1/2"]], Q: [[1]], Sigma: [[2]]},
        ),
        dropped(FACTORED),
    ),
)

CHECKS = (
    lower_bound,
    Identity(
        "attained_product",
        "The balanced factors have the product X.",
        A @ B.T,
        P @ Sigma @ Q.T,
        given=(J_ORTHONORMAL, *BALANCED),
        paper="2 variational attainment",
        mutants=(
            mutant("sign", "B = -Q Root J^T", rhs=-P @ Sigma @ Q.T),
            dropped(J_ORTHONORMAL),
        ),
    ),
    Identity(
        "attained_value",
        "At the balanced factors (|A|^2 + |B|^2)/2 = tr Sigma.",
        penalty,
        tr(Sigma),
        given=(P_ORTHONORMAL, Q_ORTHONORMAL, J_ORTHONORMAL, *BALANCED),
        paper="2 variational attainment",
        mutants=(
            mutant("constant", "tr Sigma / 2", rhs=tr(Sigma) / 2),
            dropped(Q_ORTHONORMAL),
            dropped(J_ORTHONORMAL),
        ),
    ),
    SumOfSquares(
        "objective_dominates",
        "L(A, B) >= F(A B^T) = f + lam ||X||_*.",
        f_value + lam * tr(Sigma),
        f_value + lam * penalty,
        proof=[lam * square_term for square_term in outside],
        given=(P_ORTHONORMAL, Q_ORTHONORMAL, FACTORED),
        paper="2 reduction to the convex problem",
        mutants=(
            mutant("constant", "2 lam ||X||_*", lhs=f_value + 2 * lam * tr(Sigma)),
            mutant("sign", "f - lam |.|", rhs=f_value - lam * penalty),
        ),
    ),
)

PROSE = {
    "X has a singular value decomposition": (
        "lower_bound",
        "attained_product",
        "attained_value",
        "objective_dominates",
    ),
    "L >= F(A B^T), with equality at balanced factors of each X of rank at most r, makes the two minima equal": (
        "objective_dominates",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("nuclear_norm_variational", THEOREM))
