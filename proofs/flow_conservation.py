"""Balance along gradient flow, and its drift under gradient descent.

Statement
---------
Along gradient flow A' = -grad_A L, B' = -grad_B L the imbalance C = A^T A - B^T B satisfies C' = -2 lam C, so
C(t) = exp(-2 lam t) C(0): conserved for lam = 0, decaying for lam > 0. One step of gradient descent of size h gives

    C_+ = (1 - h lam)^2 C + h^2 (B^T G^T G B - A^T G G^T A),

so ||C_+ - (1 - h lam)^2 C||_2 <= h^2 ||G||_2^2 max(||A||_2^2, ||B||_2^2).

Assumptions
-----------
f differentiable. No convexity, no smoothness.

Source
------
Kim, Kim, Ryu, ICML 2025; Arora, Cohen, Golowich, Hu, "A Convergence Analysis of Gradient Descent for Deep Linear
Neural Networks", ICLR 2019 (lam = 0).

Idea
----
A^T G B appears with the same sign in A^T A' and in B^T B', and cancels in the difference. In the descent step the
terms of first order in h cancel for the same reason; what is left of second order is a difference of two positive
semidefinite matrices, bounded by the larger one.

Checks
------
flow : PROVED
exponential : PROVED
descent_step : PROVED
drift_from_above : PROVED
drift_from_below : PROVED

Used by
-------
lorasolve/inits/balanced.py
"""

import sympy

from lorasolve.symbolic import (
    Identity,
    Inequality,
    ScalarCheck,
    Square,
    Theorem,
    derivative,
    dims,
    dropped,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    tr,
    vector,
)
from proofs.facts import OPERATOR_NORM, SPECTRAL

m, n, r = dims("m n r")
h, t, g, a, b = scalars("h t g a b")
lam, decay = scalars("lambda", nonnegative=True), scalars("c", real=True)
A, B, G, x = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n), vector("x", r)
GRAD_A, GRAD_B = G @ B + lam * A, G.T @ A + lam * B
C = A.T @ A - B.T @ B
A_NEXT, B_NEXT = A - h * GRAD_A, B - h * GRAD_B
C_NEXT = A_NEXT.T @ A_NEXT - B_NEXT.T @ B_NEXT
DRIFT = h**2 * (B.T @ G.T @ G @ B - A.T @ G @ G.T @ A)

# Bounds for a unit vector x: |G B x| <= ||G||_2 |B x| and |B x| <= ||B||_2, and the same of G^T and A.
G_BOUND = OPERATOR_NORM.instance("product", SPECTRAL(G, g), W=B @ x)
B_BOUND = OPERATOR_NORM.instance("product", SPECTRAL(B, b), W=x)
GT_BOUND = OPERATOR_NORM.instance("product", SPECTRAL(G.T, g), W=A @ x)
A_BOUND = OPERATOR_NORM.instance("product", SPECTRAL(A, a), W=x)
UNIT = orthonormal(x)
FACTOR = 1 - h * lam
TIGHT = {A: [[0]], B: [[1]], G: [[1]], x: [[1]], g: 1, b: 1, h: "1/2", lam: 1}
TIGHT_BELOW = {A: [[1]], B: [[0]], G: [[1]], x: [[1]], g: 1, a: 1, h: "1/2", lam: 1}

CHECKS = (
    Identity(
        "flow",
        "d/dt (A^T A - B^T B) = -2 lam (A^T A - B^T B) along gradient flow.",
        derivative(C, {A: -GRAD_A, B: -GRAD_B}),
        -2 * lam * C,
        mutants=(
            mutant("sign", "A^T A + B^T B", lhs=derivative(A.T @ A + B.T @ B, {A: -GRAD_A, B: -GRAD_B})),
            mutant("constant", "rate lam", rhs=-lam * C),
            mutant("sign", "ascent in B", lhs=derivative(C, {A: -GRAD_A, B: GRAD_B})),
        ),
    ),
    ScalarCheck(
        "exponential",
        "c exp(-2 lam t) solves C' = -2 lam C with C(0) = c.",
        sympy.Derivative(decay * sympy.exp(-2 * lam * t), t),
        -2 * lam * decay * sympy.exp(-2 * lam * t),
        mutants=(
            mutant("constant", "exp(-lam t)", lhs=sympy.Derivative(decay * sympy.exp(-lam * t), t)),
            mutant("sign", "exp(2 lam t)", lhs=sympy.Derivative(decay * sympy.exp(2 * lam * t), t)),
        ),
    ),
    Identity(
        "descent_step",
        "C_+ = (1 - h lam)^2 C + h^2 (B^T G^T G B - A^T G G^T A), with no term of first order in h beyond the decay.",
        C_NEXT,
        (1 - h * lam) ** 2 * C + DRIFT,
        mutants=(
            mutant("sign", "drift with the opposite sign", rhs=FACTOR**2 * C - DRIFT),
            mutant("constant", "decay 1 - h lam", rhs=FACTOR * C + DRIFT),
            mutant("swapped symbols", "the old A in the step of B", lhs=A_NEXT.T @ A_NEXT - B.T @ B),
        ),
    ),
    Inequality(
        "drift_from_above",
        "x^T (C_+ - (1 - h lam)^2 C) x <= h^2 ||G||_2^2 ||B||_2^2 for unit x.",
        tr(x.T @ (C_NEXT - FACTOR**2 * C) @ x),
        h**2 * g**2 * b**2,
        proof=[h**2 * G_BOUND, h**2 * g**2 * B_BOUND, h**2 * Square(G.T @ A @ x)],
        given=(UNIT,),
        mutants=(
            mutant("constant", "h^2/2", TIGHT, rhs=h**2 * g**2 * b**2 / 2),
            mutant("constant", "order h^3", TIGHT, rhs=h**3 * g**2 * b**2),
            dropped(B_BOUND),
        ),
    ),
    Inequality(
        "drift_from_below",
        "x^T (C_+ - (1 - h lam)^2 C) x >= -h^2 ||G||_2^2 ||A||_2^2 for unit x.",
        -(h**2) * g**2 * a**2,
        tr(x.T @ (C_NEXT - FACTOR**2 * C) @ x),
        proof=[h**2 * GT_BOUND, h**2 * g**2 * A_BOUND, h**2 * Square(G @ B @ x)],
        given=(UNIT,),
        mutants=(
            mutant("constant", "h^2/2", TIGHT_BELOW, lhs=-(h**2) * g**2 * a**2 / 2),
            mutant("sign", "not negative", TIGHT_BELOW, lhs=0),
            dropped(A_BOUND, {**TIGHT_BELOW, a: "1/2"}),
        ),
    ),
)

PROSE = {
    "the linear differential equation has one solution": ("exponential",),
    "the spectral norm of a symmetric matrix is its largest |x^T C x| over unit x": (
        "drift_from_above",
        "drift_from_below",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("flow_conservation", THEOREM))
