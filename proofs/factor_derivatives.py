"""Gradient and Hessian form of the factored objective.

Statement
---------
Let L(A, B) = f(A B^T) + (lam/2)(||A||_F^2 + ||B||_F^2), G = grad f(A B^T), and D = U B^T + A V^T. Then

    grad_A L = G B + lam A,    grad_B L = G^T A + lam B,
    hess L[(U, V), (U, V)] = hess f(A B^T)[D, D] + 2 <G, U V^T> + lam (||U||_F^2 + ||V||_F^2).

Assumptions
-----------
f is twice differentiable at X = A B^T; A is m x r, B is n x r.

Source
------
Kim, Kim, Ryu, "LoRA Training Provably Converges to a Low-Rank Global Minimum or It Fails
Loudly (But it Probably Won't Fail)", ICML 2025, preliminaries.

Idea
----
Only the second-order Taylor polynomial of f at X enters: f(X + E) = f(X) + <G, E> + hess f(X)[E, E]/2. Insert the
exact increment E = (A + U)(B + V)^T - A B^T = D + U V^T and collect the orders. The Hessian of f is an abstract
symmetric form and G an arbitrary matrix, so no special f is used. Two concrete losses, one of them cubic, check the
same formulas through the gradient of a trace polynomial.

Checks
------
increment : PROVED
first_order : PROVED
second_order : PROVED
least_squares_gradient_a : PROVED
least_squares_gradient_b : PROVED
cubic_second_order : PROVED

Used by
-------
lorasolve/landscape/curvature.py, lorasolve/objectives/base.py, lorasolve/problem/__init__.py
"""

from lorasolve.symbolic import (
    Form,
    Identity,
    ScalarExpr,
    Theorem,
    define,
    derivative,
    dims,
    dropped,
    gradient,
    inner,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
    tr,
)

m, n, r, k = dims("m n r k")
f0 = scalars("f0", real=True)
lam = scalars("lambda", nonnegative=True)
A, B, U, V = matrix("A", m, r), matrix("B", n, r), matrix("U", m, r), matrix("V", n, r)
G, hess = matrix("G", m, n), Form("hess", m, n)
D = U @ B.T + A @ V.T

# The point moves away from (A, B), where the Taylor polynomial of f was taken.
A1, B1 = matrix("A1", m, r), matrix("B1", n, r)
START = (define(A1, A), define(B1, B))
MOVE = {A1: U, B1: V}
E = A1 @ B1.T - A @ B.T


def factored(loss: ScalarExpr) -> ScalarExpr:
    """Return the loss plus weight decay at the moving point."""
    return loss + lam / 2 * (square(A1) + square(B1))


L = factored(f0 + inner(G, E) + hess(E, E) / 2)
GRAD_A, GRAD_B = G @ B + lam * A, G.T @ A + lam * B
HESSIAN = hess(D, D) + 2 * inner(G, U @ V.T) + lam * (square(U) + square(V))

# Two concrete losses: least squares |C X - Y|^2 / 2, and the cubic tr((N X)^3).
C, Y, N = matrix("C", k, m), matrix("Y", k, n), matrix("N", n, m)
X = A @ B.T
residual = C @ X - Y
least_squares = square(residual) / 2 + lam / 2 * (square(A) + square(B))
cubic = tr(N @ X @ N @ X @ N @ X)
NDN = N @ D @ N

CHECKS = (
    Identity(
        "increment",
        "(A + U)(B + V)^T - A B^T = D + U V^T.",
        (A + U) @ (B + V).T - A @ B.T,
        D + U @ V.T,
        mutants=(
            mutant("sign", "D - U V^T", rhs=D - U @ V.T),
            mutant("constant", "D + 2 U V^T", rhs=D + 2 * U @ V.T),
        ),
    ),
    Identity(
        "first_order",
        "The first derivative of L along (U, V) is <G B + lam A, U> + <G^T A + lam B, V>.",
        derivative(L, MOVE),
        inner(GRAD_A, U) + inner(GRAD_B, V),
        given=START,
        paper="1 gradient",
        mutants=(
            mutant("sign", "weight decay with a minus", rhs=inner(G @ B - lam * A, U) + inner(GRAD_B, V)),
            mutant("constant", "2 lam A", rhs=inner(G @ B + 2 * lam * A, U) + inner(GRAD_B, V)),
            dropped(START[0]),
        ),
    ),
    Identity(
        "second_order",
        "The second derivative of L along (U, V) is hess f[D, D] + 2 <G, U V^T> + lam (|U|^2 + |V|^2).",
        derivative(L, MOVE, order=2),
        HESSIAN,
        given=START,
        paper="1 Hessian form",
        mutants=(
            mutant("constant", "<G, U V^T> once", rhs=HESSIAN - inner(G, U @ V.T)),
            mutant("sign", "minus 2 <G, U V^T>", rhs=HESSIAN - 4 * inner(G, U @ V.T)),
            mutant(
                "swapped symbols",
                "D = U B^T + A U^T-like: V replaced by B",
                rhs=hess(U @ B.T + A @ B.T, U @ B.T + A @ B.T) + HESSIAN - hess(D, D),
            ),
        ),
    ),
    Identity(
        "least_squares_gradient_a",
        "For f = |C X - Y|^2/2 the gradient in A of the trace polynomial is C^T (C X - Y) B + lam A.",
        gradient(least_squares, A),
        C.T @ residual @ B + lam * A,
        mutants=(
            mutant("sign", "C X + Y", rhs=C.T @ (C @ X + Y) @ B + lam * A),
            mutant("constant", "without the factor from the square", rhs=C.T @ residual @ B / 2 + lam * A),
        ),
    ),
    Identity(
        "least_squares_gradient_b",
        "For f = |C X - Y|^2/2 the gradient in B of the trace polynomial is (C^T (C X - Y))^T A + lam B.",
        gradient(least_squares, B),
        (C.T @ residual).T @ A + lam * B,
        mutants=(
            mutant("constant", "lam / 2", rhs=(C.T @ residual).T @ A + lam / 2 * B),
            mutant("swapped symbols", "B where A belongs", rhs=(C.T @ residual).T @ A + lam * (residual.T @ C @ A)),
        ),
    ),
    Identity(
        "cubic_second_order",
        "For the cubic f = tr((N X)^3), with hess f[D, D] = 6 tr(N D N D N X) and G = 3 (N X N X N)^T, the same form.",
        derivative(cubic, {A: U, B: V}, order=2),
        6 * tr(NDN @ D @ N @ X) + 2 * inner(3 * (N @ X @ N @ X @ N).T, U @ V.T),
        mutants=(
            mutant(
                "constant",
                "3 tr(N D N D N X)",
                rhs=3 * tr(NDN @ D @ N @ X) + 2 * inner(3 * (N @ X @ N @ X @ N).T, U @ V.T),
            ),
            mutant("sign", "minus the curvature of the product", rhs=6 * tr(NDN @ D @ N @ X)),
        ),
    ),
)

PROSE = {
    "Taylor's theorem: f enters by its second-order polynomial at X": ("first_order", "second_order"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("factor_derivatives", THEOREM))
