"""What a stationary point of the factored objective looks like.

Statement
---------
Let grad_A L = G B + lam A = 0 and grad_B L = G^T A + lam B = 0. For lam > 0: A^T A = B^T B (balance); with the
singular value decomposition X = A B^T = P Sigma Q^T,

    G = -lam P Q^T + S,  P^T S = 0,  S Q = 0,    <G, X> = -lam ||X||_*,    (||A||_F^2 + ||B||_F^2)/2 = ||X||_*,

so L(A, B) = F(X). For lam = 0 balance can fail, but (A, B) -> (A M, B M^{-T}) changes neither stationarity nor the
sign of the Hessian form, and reaches a balanced pair if rank X = r; if rank X < r, a second-order stationary point
has G = 0.

Assumptions
-----------
f differentiable at X, twice for the statements on the Hessian form. No convexity.

Source
------
Kim, Kim, Ryu, ICML 2025, preliminaries and appendix on stationary points.

Idea
----
Multiply the two equations by A^T and B^T and subtract. Balance gives A and B a common right singular basis W, so
P = A W Sigma^{-1/2} and Q = B W Sigma^{-1/2} have orthonormal columns and are the singular vectors of X. Then the two
equations, multiplied by W Sigma^{-1/2}, read G Q = -lam P and G^T P = -lam Q. For lam = 0 and B q = 0 the Hessian
form along (c u q^T, v q^T) is affine in c with slope 2 u^T G v; bounded below for all c, the slope is zero.

Checks
------
balance : PROVED
left_vectors_orthonormal : PROVED
right_vectors_orthonormal : PROVED
factor_from_vectors : PROVED
gradient_on_right_vectors : PROVED
gradient_on_left_vectors : PROVED
remainder_left : PROVED
remainder_right : PROVED
product_of_vectors : PROVED
gradient_pairing : PROVED
decay_equals_nuclear_norm : PROVED
rebalanced_product : PROVED
rebalanced_direction : PROVED
rebalanced_curvature : PROVED
rebalanced_gradient : PROVED
balanced_pair_exists : PROVED
balanced_pair_in_a : PROVED
balanced_pair_change : PROVED
flat_curvature : PROVED
flat_gradient_vanishes : PROVED

Used by
-------
lorasolve/certificates/gap.py, lorasolve/inits/balanced.py, lorasolve/landscape/first_order.py,
lorasolve/peft_files/diagnosis.py
"""

from random import Random

from lorasolve.symbolic import (
    Form,
    Identity,
    Inequality,
    Theorem,
    Values,
    assume,
    define,
    dims,
    dropped,
    eye,
    hypothesis,
    inner,
    inverse,
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

m, n, r, k = dims("m n r k")
c = scalars("c")
lam = scalars("lambda", nonnegative=True)
A, B, G = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n)
P, Q, W = matrix("P", m, k), matrix("Q", n, k), matrix("W", r, k)
Root, RootInv = matrix("Root", k, k, symmetric=True), matrix("RootInv", k, k, symmetric=True)
U, V, hess = matrix("U", m, r), matrix("V", n, r), Form("hess", m, n)
X = A @ B.T
GRAD_A, GRAD_B = G @ B + lam * A, G.T @ A + lam * B


def _spread(values: Values, rng: Random) -> None:
    """Choose A and B with the Gram matrix W Root^2 W^T and different left singular vectors."""
    weight = ra.multiply(values["Root"], ra.transpose(values["W"]))
    for name in ("A", "B"):
        columns = ra.random_orthonormal(rng, len(values[name]), len(weight))
        values[name] = ra.multiply(columns, weight)


def _gradient(values: Values, rng: Random) -> None:
    """Choose G = -lam P Q^T + S with S zero on the singular vectors."""
    p = values["P"] = ra.made_orthonormal(rng, values["P"])
    q = values["Q"] = ra.made_orthonormal(rng, values["Q"])
    rest = ra.multiply(ra.complement(p), values["G"], ra.complement(q))
    values["G"] = ra.add(rest, ra.multiply(p, ra.transpose(q)), -values[lam])


P_ORTHONORMAL, Q_ORTHONORMAL, W_ORTHONORMAL = orthonormal(P), orthonormal(Q), orthonormal(W)
ROOT_INVERSE = inverse(RootInv, Root)
GRAM = assume(
    "A^T A = B^T B = W Root^2 W^T",
    (A.T @ A, W @ Root @ Root @ W.T),
    (B.T @ B, W @ Root @ Root @ W.T),
    impose=_spread,
)
FACTORED = (define(A, P @ Root @ W.T), define(B, Q @ Root @ W.T))
FRAME = (P_ORTHONORMAL, Q_ORTHONORMAL, W_ORTHONORMAL, *FACTORED)
ON_VECTORS = assume("G Q = -lam P, G^T P = -lam Q", (G @ Q, -lam * P), (G.T @ P, -lam * Q), impose=_gradient)
S = G + lam * P @ Q.T

# lam = 0: a change of basis M, and a direction q with B q = 0.
M, MInv = matrix("M", r, r), matrix("MInv", r, r)
BASIS = inverse(MInv, M)
D = U @ B.T + A @ V.T
GM1, GM2 = matrix("M1", r, r), matrix("M2", r, r)
M1Inv = matrix("M1Inv", r, r)
LP, LQ = matrix("LP", m, r), matrix("LQ", n, r)
LRoot, LRootInv = matrix("LRoot", r, r, symmetric=True), matrix("LRootInv", r, r, symmetric=True)
u, v, q = vector("u", m), vector("v", n), vector("q", r)
slope, base = scalars("g h", real=True)


def _root_product(values: Values, rng: Random) -> None:
    values["M2"] = ra.transpose(ra.multiply(ra.inverse(values["M1"]), values["LRoot"], values["LRoot"]))


def _kernel(values: Values, rng: Random) -> None:
    values["B"] = ra.multiply(values["B"], ra.complement(values["q"]))


M1_INVERSE, LROOT_INVERSE = inverse(M1Inv, GM1), inverse(LRootInv, LRoot)
FULL_RANK = assume("M1 M2^T = LRoot^2", (GM1 @ GM2.T, LRoot @ LRoot), impose=_root_product)
Q_UNIT = orthonormal(q)
KERNEL = assume("B q = 0", (B @ q, zeros(n, 1)), impose=_kernel)
FLAT_U, FLAT_V = c * u @ q.T, v @ q.T
FLAT_D = FLAT_U @ B.T + A @ FLAT_V.T
BOUNDED = hypothesis("the Hessian form along (c u q^T, v q^T) is non-negative", 0, base + 2 * c * slope)

CHECKS = (
    Identity(
        "balance",
        "lam (A^T A - B^T B) = A^T grad_A L - (grad_B L)^T B, which is 0 at a stationary point.",
        lam * (A.T @ A - B.T @ B),
        A.T @ GRAD_A - GRAD_B.T @ B,
        paper="2 balance",
        mutants=(
            mutant("sign", "A^T A + B^T B", lhs=lam * (A.T @ A + B.T @ B)),
            mutant("constant", "2 lam", lhs=2 * lam * (A.T @ A - B.T @ B)),
            mutant(
                "dropped assumption",
                "lam > 0: balance claimed from G B = 0, G^T A = 0",
                {A: [[2]], B: [["1/2"]], G: [[0]]},
                lhs=A.T @ A,
                rhs=B.T @ B,
                given=(
                    assume(
                        "stationary at lam = 0",
                        (G @ B, zeros(m, r)),
                        (G.T @ A, zeros(n, r)),
                    ),
                ),
            ),
        ),
    ),
    Identity(
        "left_vectors_orthonormal",
        "If A^T A = W Sigma W^T then P = A W Sigma^{-1/2} has orthonormal columns.",
        (A @ W @ RootInv).T @ (A @ W @ RootInv),
        eye(k),
        given=(W_ORTHONORMAL, ROOT_INVERSE, GRAM),
        paper="2 balance",
        mutants=(
            mutant("constant", "P = A W Sigma^{-1}", lhs=(A @ W @ RootInv @ RootInv).T @ (A @ W @ RootInv @ RootInv)),
            dropped(W_ORTHONORMAL),
            dropped(GRAM),
        ),
    ),
    Identity(
        "right_vectors_orthonormal",
        "If B^T B = W Sigma W^T then Q = B W Sigma^{-1/2} has orthonormal columns.",
        (B @ W @ RootInv).T @ (B @ W @ RootInv),
        eye(k),
        given=(W_ORTHONORMAL, ROOT_INVERSE, GRAM),
        paper="2 balance",
        mutants=(
            mutant("constant", "two identities", rhs=2 * eye(k)),
            dropped(ROOT_INVERSE),
            dropped(GRAM),
        ),
    ),
    Identity(
        "factor_from_vectors",
        "A = P Sigma^{1/2} W^T, B = Q Sigma^{1/2} W^T: the parts outside, A - A W W^T and B - B W W^T, have norm zero.",
        square(A - A @ W @ W.T) + square(B - B @ W @ W.T),
        0,
        given=(W_ORTHONORMAL, GRAM),
        paper="2 balance",
        mutants=(
            mutant("sign", "A + A W W^T", lhs=square(A + A @ W @ W.T) + square(B - B @ W @ W.T)),
            dropped(GRAM),
        ),
    ),
    Identity(
        "gradient_on_right_vectors",
        "(G B + lam A) W Sigma^{-1/2} = G Q + lam P, so stationarity in A says G Q = -lam P.",
        GRAD_A @ W @ RootInv,
        G @ Q + lam * P,
        given=(W_ORTHONORMAL, ROOT_INVERSE, *FACTORED),
        paper="2 gradient structure",
        mutants=(
            mutant("sign", "G Q - lam P", rhs=G @ Q - lam * P),
            mutant("constant", "2 lam P", rhs=G @ Q + 2 * lam * P),
            dropped(W_ORTHONORMAL),
        ),
    ),
    Identity(
        "gradient_on_left_vectors",
        "(G^T A + lam B) W Sigma^{-1/2} = G^T P + lam Q, so stationarity in B says G^T P = -lam Q.",
        GRAD_B @ W @ RootInv,
        G.T @ P + lam * Q,
        given=(W_ORTHONORMAL, ROOT_INVERSE, *FACTORED),
        paper="2 gradient structure",
        mutants=(
            mutant("sign", "G^T P - lam Q", rhs=G.T @ P - lam * Q),
            dropped(ROOT_INVERSE),
        ),
    ),
    Identity(
        "remainder_left",
        "S = G + lam P Q^T has P^T S = 0.",
        P.T @ S,
        zeros(k, n),
        given=(P_ORTHONORMAL, ON_VECTORS),
        paper="2 gradient structure",
        mutants=(
            mutant("sign", "S = G - lam P Q^T", lhs=P.T @ (G - lam * P @ Q.T)),
            dropped(ON_VECTORS),
            dropped(P_ORTHONORMAL, {P: [[2]], Q: [[2]], G: [[-1]], lam: 1}),
        ),
    ),
    Identity(
        "remainder_right",
        "S = G + lam P Q^T has S Q = 0.",
        S @ Q,
        zeros(m, k),
        given=(Q_ORTHONORMAL, ON_VECTORS),
        paper="2 gradient structure",
        mutants=(
            mutant("constant", "S = G + 2 lam P Q^T", lhs=(G + 2 * lam * P @ Q.T) @ Q),
            dropped(ON_VECTORS),
            dropped(Q_ORTHONORMAL, {P: [[2]], Q: [[2]], G: [[-1]], lam: 1}),
        ),
    ),
    Identity(
        "product_of_vectors",
        "X = P Sigma Q^T for A = P Sigma^{1/2} W^T, B = Q Sigma^{1/2} W^T: P and Q are singular vectors of X.",
        X,
        P @ Root @ Root @ Q.T,
        given=(W_ORTHONORMAL, *FACTORED),
        paper="2 gradient structure",
        mutants=(
            mutant("constant", "Sigma^{1/2} instead of Sigma", rhs=P @ Root @ Q.T),
            mutant("sign", "-P Sigma Q^T", rhs=-P @ Root @ Root @ Q.T),
            dropped(W_ORTHONORMAL),
        ),
    ),
    Identity(
        "gradient_pairing",
        "<G, X> = -lam ||X||_* at a stationary point.",
        inner(G, X),
        -lam * tr(Root @ Root),
        given=(Q_ORTHONORMAL, W_ORTHONORMAL, ON_VECTORS, *FACTORED),
        paper="2 pairing and value",
        mutants=(
            mutant("sign", "+lam ||X||_*", rhs=lam * tr(Root @ Root)),
            mutant("constant", "-2 lam ||X||_*", rhs=-2 * lam * tr(Root @ Root)),
            dropped(ON_VECTORS),
            dropped(Q_ORTHONORMAL, {P: [[2]], Q: [[2]], W: [[1]], Root: [[1]], A: [[2]], B: [[2]], G: [[-1]], lam: 1}),
        ),
    ),
    Identity(
        "decay_equals_nuclear_norm",
        "(|A|^2 + |B|^2)/2 = ||X||_* at a balanced pair, so L(A, B) = F(X).",
        (square(A) + square(B)) / 2,
        tr(Root @ Root),
        given=FRAME,
        paper="2 pairing and value",
        mutants=(
            mutant("constant", "|A|^2 + |B|^2", lhs=square(A) + square(B)),
            mutant("sign", "|A|^2 - |B|^2", lhs=(square(A) - square(B)) / 2),
            dropped(P_ORTHONORMAL),
        ),
    ),
    Identity(
        "rebalanced_product",
        "(A M)(B M^{-T})^T = A B^T.",
        (A @ M) @ (B @ MInv.T).T,
        A @ B.T,
        given=(BASIS,),
        paper="2 rebalancing at lam = 0",
        mutants=(
            mutant("swapped transpose", "B M^{-1} instead of B M^{-T}", lhs=(A @ M) @ (B @ MInv).T),
            mutant("sign", "-A B^T", rhs=-A @ B.T),
            dropped(BASIS),
        ),
    ),
    Identity(
        "rebalanced_direction",
        "The directions (U M, V M^{-T}) at the new point and (U, V) at the old one move X alike.",
        (U @ M) @ (B @ MInv.T).T + (A @ M) @ (V @ MInv.T).T,
        D,
        given=(BASIS,),
        paper="2 rebalancing at lam = 0",
        mutants=(
            mutant("swapped transpose", "V M^{-1}", lhs=(U @ M) @ (B @ MInv.T).T + (A @ M) @ (V @ MInv).T),
            mutant("constant", "V counted twice", rhs=D + A @ V.T),
        ),
    ),
    Identity(
        "rebalanced_curvature",
        "<G, (U M)(V M^{-T})^T> = <G, U V^T>: with lam = 0 the Hessian forms agree.",
        inner(G, (U @ M) @ (V @ MInv.T).T),
        inner(G, U @ V.T),
        given=(BASIS,),
        paper="2 rebalancing at lam = 0",
        mutants=(
            mutant("swapped transpose", "V M^{-1}", lhs=inner(G, (U @ M) @ (V @ MInv).T)),
            mutant("constant", "2 <G, U V^T>", rhs=2 * inner(G, U @ V.T)),
        ),
    ),
    Identity(
        "rebalanced_gradient",
        "The gradient G (B M^{-T}) at the new point is the old G B times the invertible M^{-T}.",
        G @ (B @ MInv.T) @ M.T,
        G @ B,
        given=(BASIS,),
        paper="2 rebalancing at lam = 0",
        mutants=(
            mutant("swapped transpose", "M instead of M^T", lhs=G @ (B @ MInv.T) @ M),
            mutant("sign", "-G B", rhs=-(G @ B)),
        ),
    ),
    Identity(
        "balanced_pair_exists",
        "If A = P M1, B = Q M2 with M1 M2^T = Sigma invertible, M = M1^{-1} Sigma^{1/2} turns B into Q Sigma^{1/2}.",
        (LQ @ GM2) @ (GM1.T @ LRootInv),
        LQ @ LRoot,
        given=(LROOT_INVERSE, FULL_RANK),
        paper="2 rebalancing at lam = 0",
        mutants=(
            mutant("constant", "Sigma instead of its root", rhs=LQ @ LRoot @ LRoot),
            mutant("swapped transpose", "M1 instead of M1^T", lhs=(LQ @ GM2) @ (GM1 @ LRootInv)),
            dropped(FULL_RANK),
        ),
    ),
    Identity(
        "balanced_pair_in_a",
        "and A into P Sigma^{1/2}.",
        (LP @ GM1) @ (M1Inv @ LRoot),
        LP @ LRoot,
        given=(M1_INVERSE,),
        paper="2 rebalancing at lam = 0",
        mutants=(
            mutant("constant", "Sigma instead of its root", rhs=LP @ LRoot @ LRoot),
            mutant("swapped transpose", "M1^{-T}", lhs=(LP @ GM1) @ (M1Inv.T @ LRoot)),
            dropped(M1_INVERSE),
        ),
    ),
    Identity(
        "balanced_pair_change",
        "The matrix that turns B is the M^{-T} of the M that turns A: M1^T Sigma^{-1/2} = (M1^{-1} Sigma^{1/2})^{-T}.",
        (M1Inv @ LRoot).T @ (GM1.T @ LRootInv),
        eye(r),
        given=(M1_INVERSE, LROOT_INVERSE),
        paper="2 rebalancing at lam = 0",
        mutants=(
            mutant("swapped transpose", "M1 instead of M1^T", lhs=(M1Inv @ LRoot).T @ (GM1 @ LRootInv)),
            mutant("sign", "-I", rhs=-1 * eye(r)),
            dropped(M1_INVERSE),
        ),
    ),
    Identity(
        "flat_curvature",
        "lam = 0, B q = 0, |q| = 1: along (c u q^T, v q^T) the form is hess f[A q v^T, A q v^T] + 2 c u^T G v.",
        hess(FLAT_D, FLAT_D) + 2 * inner(G, FLAT_U @ FLAT_V.T),
        hess(A @ q @ v.T, A @ q @ v.T) + 2 * c * tr(u.T @ G @ v),
        given=(Q_UNIT, KERNEL),
        paper="2 rank-deficient point at lam = 0",
        mutants=(
            mutant("sign", "slope -2 u^T G v", rhs=hess(A @ q @ v.T, A @ q @ v.T) - 2 * c * tr(u.T @ G @ v)),
            mutant("constant", "slope u^T G v", rhs=hess(A @ q @ v.T, A @ q @ v.T) + c * tr(u.T @ G @ v)),
            dropped(KERNEL),
        ),
    ),
    Inequality(
        "flat_gradient_vanishes",
        "-u^T G v <= hess f[A q v^T, A q v^T]/(2 c) for every c > 0 and both signs of u; c -> infinity gives G = 0.",
        -slope,
        base / (2 * c),
        proof=[1 / (2 * c) * BOUNDED],
        paper="2 rank-deficient point at lam = 0",
        mutants=(
            mutant("constant", "0.95 h/(2 c)", {slope: -1, base: 2, c: 1}, rhs=19 * base / (40 * c)),
            mutant("sign", "u^T G v <= h/(2 c) from the same direction", lhs=slope),
            dropped(BOUNDED),
        ),
    ),
)

PROSE = {
    "A^T A = B^T B has an eigendecomposition W Sigma W^T (spectral theorem)": (
        "left_vectors_orthonormal",
        "right_vectors_orthonormal",
        "factor_from_vectors",
        "gradient_on_right_vectors",
        "gradient_on_left_vectors",
        "remainder_left",
        "remainder_right",
        "product_of_vectors",
        "gradient_pairing",
        "decay_equals_nuclear_norm",
    ),
    "(U, V) -> (U M, V M^{-T}) is one to one, so that one Hessian form is non-negative if the other is": (
        "rebalanced_direction",
        "rebalanced_curvature",
    ),
    "factors of a product of rank r are A = P M1, B = Q M2 with invertible M1, M2": (
        "balanced_pair_exists",
        "balanced_pair_in_a",
    ),
    "rank X < r gives a unit q with A q = 0 or B q = 0 (A and B exchange roles); the limit c -> infinity; u^T G v "
    "= 0 for all u, v means G = 0": ("flat_gradient_vanishes",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("stationary_structure", THEOREM))
