"""The closed form of reduced-rank regression.

Statement
---------
f(X) = ||(W0 + X) Z - Y||_F^2/(2 N), S = Z Z^T/N invertible, C = (Y - W0 Z) Z^T/N, lam = 0. Then

    f(X) = ||X S^{1/2} - C S^{-1/2}||_F^2/2 + f(0) - ||C S^{-1/2}||_F^2/2,

and the minimum over rank X <= r is attained at X = [C S^{-1/2}]_r S^{-1/2}, [.]_r the best rank-r part, with the
value f(0) - (sum of the r largest squared singular values of C S^{-1/2})/2.

Assumptions
-----------
S is invertible. Without it the formula needs the pseudo-inverse and X is not unique.

Source
------
Izenman, "Reduced-Rank Regression for the Multivariate Linear Model", J. Multivariate Anal. 5 (1975).

Idea
----
Complete the square with the symmetric root R of S. X -> X R keeps the rank, so Eckart-Young applies to C R^{-1}.

Checks
------
sample_form : PROVED
completed_square : PROVED
optimum : PROVED
optimal_value : PROVED
gradient_at_optimum : PROVED

Used by
-------
lorasolve/convex/closed_form.py, lorasolve/sklearn/regression.py
"""

from sympy import Rational

from lorasolve.symbolic import (
    Identity,
    Inequality,
    MatrixExpr,
    ScalarExpr,
    Theorem,
    define,
    dims,
    dropped,
    inner,
    inverse,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    square,
    tr,
    zeros,
)
from proofs.facts import ECKART_YOUNG, RANK_AT_MOST, TRUNCATION

m, n, N, r, k = dims("m n N r k")
X, W0, Z, Y = matrix("X", m, n), matrix("W0", m, n), matrix("Z", n, N), matrix("Y", m, N)
R, RInv, C = matrix("R", n, n, symmetric=True), matrix("RInv", n, n, symmetric=True), matrix("C", m, n)
P1, P2, Q1, Q2 = matrix("P1", m, r), matrix("P2", m, k), matrix("Q1", n, r), matrix("Q2", n, k)
Sigma1, Sigma2 = matrix("Sigma1", r, r, symmetric=True), matrix("Sigma2", k, k, symmetric=True)
f0 = scalars("f0", real=True)

ROOT = inverse(RInv, R)
loss = square(X @ R) / 2 - inner(C, X) + f0
TOP, REST = P1 @ Sigma1 @ Q1.T, P2 @ Sigma2 @ Q2.T
SVD = define(C, (TOP + REST) @ R)
LEFT, RIGHT = orthonormal(P1, P2), orthonormal(Q1, Q2)
BEST_X = TOP @ RInv
WHITE = C @ RInv
CLOSEST = ECKART_YOUNG.instance("closest", TRUNCATION(TOP, r, WHITE - TOP), RANK_AT_MOST(X @ R, r))

sample = square((W0 + X) @ Z - Y) / (2 * N)
S_N, C_N = Z @ Z.T / N, (Y - W0 @ Z) @ Z.T / N


def at(point: MatrixExpr) -> ScalarExpr:
    """Return the loss at a point."""
    return square(point @ R) / 2 - inner(C, point) + f0


CHECKS = (
    Identity(
        "sample_form",
        "f(X) = tr(X S X^T)/2 - <C, X> + ||W0 Z - Y||^2/(2 N).",
        sample,
        tr(X @ S_N @ X.T) / 2 - inner(C_N, X) + square(W0 @ Z - Y) / (2 * N),
        mutants=(
            mutant("sign", "+ <C, X>", rhs=tr(X @ S_N @ X.T) / 2 + inner(C_N, X) + square(W0 @ Z - Y) / (2 * N)),
            mutant("constant", "tr(X S X^T)", rhs=tr(X @ S_N @ X.T) - inner(C_N, X) + square(W0 @ Z - Y) / (2 * N)),
        ),
    ),
    Identity(
        "completed_square",
        "f(X) = ||X R - C R^{-1}||^2/2 - ||C R^{-1}||^2/2 + f(0), R = S^{1/2}.",
        loss,
        square(X @ R - WHITE) / 2 - square(WHITE) / 2 + f0,
        given=(ROOT,),
        mutants=(
            mutant("sign", "X R + C R^{-1}", rhs=square(X @ R + WHITE) / 2 - square(WHITE) / 2 + f0),
            mutant(
                "swapped symbols", "C R instead of C R^{-1}", rhs=square(X @ R - C @ R) / 2 - square(C @ R) / 2 + f0
            ),
            dropped(ROOT),
        ),
    ),
    Inequality(
        "optimum",
        "f([C R^{-1}]_r R^{-1}) <= f(X) for every X of rank at most r.",
        at(BEST_X),
        loss,
        proof=[CLOSEST / 2],
        given=(ROOT,),
        mutants=(
            mutant(
                "constant",
                "1.5 times the point",
                {R: [[1]], RInv: [[1]], C: [[1]], P1: [[1]], Q1: [[1]], Sigma1: [[1]], X: [[1]], f0: 0},
                lhs=at(Rational(3, 2) * BEST_X),
            ),
            mutant("sign", "minus the point", lhs=at(-BEST_X)),
            dropped(CLOSEST),
        ),
    ),
    Identity(
        "optimal_value",
        "The value is f(0) - tr(Sigma1^2)/2.",
        at(BEST_X),
        f0 - tr(Sigma1 @ Sigma1) / 2,
        given=(ROOT, LEFT, RIGHT, SVD),
        mutants=(
            mutant("constant", "f(0) - tr Sigma1^2", rhs=f0 - tr(Sigma1 @ Sigma1)),
            mutant("sign", "f(0) + tr Sigma1^2/2", rhs=f0 + tr(Sigma1 @ Sigma1) / 2),
            dropped(LEFT),
        ),
    ),
    Identity(
        "gradient_at_optimum",
        "The gradient X S - C at the optimum is -REST R: zero on the left singular vectors of X.",
        P1.T @ (BEST_X @ R @ R - C),
        zeros(r, n),
        given=(ROOT, LEFT, SVD),
        mutants=(
            mutant("sign", "X S + C", lhs=P1.T @ (BEST_X @ R @ R + C)),
            mutant("constant", "2 X S - C", lhs=P1.T @ (2 * BEST_X @ R @ R - C)),
            dropped(LEFT),
        ),
    ),
)

PROSE = {
    "S has a symmetric root R, C R^{-1} a singular value decomposition, and X -> X R keeps the rank": (
        "completed_square",
        "optimum",
        "optimal_value",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("reduced_rank_regression", THEOREM))
