"""Weight decay where the loss does not see the scale: the Frobenius norm reshapes nothing, the nuclear norm does.

Statement
---------
Let f(c W) = f(W) for every c > 0, as of a weight in front of a normalisation, and let W = P Sigma Q^T be a singular
value decomposition of rank k >= 1, N = P Q^T, G = grad f(W).

1. <G, W> = 0, and decay of ||W||_F^2 leads to multiples of W: a step W - h lam W, h lam < 1, leaves f as it is.
2. The polar factor N, a subgradient of ||.||_* at W, has the part N - (||W||_*/||W||_F^2) W off W, of squared length
   k - ||W||_*^2/||W||_F^2 >= 0: it is 0 only if all k singular values are equal.
3. A step W - t N with t at most the least of them lowers each by t, and ||.||_*/||.||_F, which does not see the scale
   either, falls unless all k are equal, when the step leads to a multiple of W.
4. Factors: let f(c A B^T) = f(A B^T) for every c > 0, and L(A, B) = f(A B^T) + (lam/2)(||A||_F^2 + ||B||_F^2). L(c A,
   c B) tends to f(A B^T) for c -> 0, so that inf L is inf f over the products, and for lam > 0 no (A, B) but 0 is
   stationary: the nuclear norm that this decay stands for chooses nothing. With a frozen weight beside A B^T it does,
   as that f sees the scale of A B^T.

Assumptions
-----------
f is differentiable at W, which is not 0, or at the A, B of 4. P^T P = Q^T Q = I.

Source
------
"Low-Rank Decay for Grokking in Scale-Invariant Transformers: A Spectral-Geometric View", arXiv:2606.04405, of which the
abstract was at hand: that Frobenius decay is radial and that the polar factor has a tangential part. When that part is
0, 3 for finite steps and 4 are derived here.

Idea
----
The derivative of f(c W) in c is <G, W>. N and W have the same singular vectors, so everything is about Sigma: (tr
Sigma)^2 <= k ||Sigma||^2 with equality for multiples of I only. 4 adds <grad_A L, A> + <grad_B L, B>.

Checks
------
radial_derivative : PROVED
frobenius_step : PROVED
tangential : PROVED
tangential_length : PROVED
spread : PROVED
nuclear_step : PROVED
norm_after_step : PROVED
ratio_falls : PROVED
scaled_factors : PROVED
no_stationary_point : PROVED

Used by
-------
No file of the package directly.
"""

from random import Random

from lorasolve.symbolic import (
    Identity,
    Inequality,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    assume,
    derivative,
    dims,
    dropped,
    eye,
    hypothesis,
    inner,
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
c, h, t = scalars("c h t")
lam = scalars("lambda", nonnegative=True)
f0 = scalars("f0", real=True)
P, Q, Sigma = matrix("P", m, k), matrix("Q", n, k), matrix("Sigma", k, k, symmetric=True)
W, W1, G = matrix("W", m, n), matrix("W1", m, n), matrix("G", m, n)
P_ORTHONORMAL, Q_ORTHONORMAL = orthonormal(P), orthonormal(Q)
FRAME = (P_ORTHONORMAL, Q_ORTHONORMAL)
SHAPE, POLAR = P @ Sigma @ Q.T, P @ Q.T
# ||W||_F^2 times the part of the polar factor off W.
TANGENT = square(SHAPE) * POLAR - tr(Sigma) * SHAPE

# In numbers: ||W||_* and ||W||_F^2.
nuc, energy = scalars("nu", real=True), scalars("d_2", nonnegative=True)
spread = SumOfSquares(
    "spread",
    "||W||_*^2 <= k ||W||_F^2; the excess is k ||Sigma - (||W||_*/k) I||^2: 0 only if all values are equal.",
    tr(Sigma) ** 2,
    k * square(Sigma),
    proof=[k * Square(Sigma - tr(Sigma) / k * eye(k))],
    mutants=(
        mutant("constant", "without k", rhs=square(Sigma)),
        mutant("constant", "19/20 of it", {Sigma: [[1]], k: 1}, rhs=19 * k * square(Sigma) / 20),
        mutant("sign", "-k ||W||_F^2", rhs=-k * square(Sigma)),
    ),
)
SPREAD = spread.conclusion(nuc**2, k * energy, where={nuc: tr(Sigma), energy: square(Sigma)})
SHORT_STEP = hypothesis("t k <= ||W||_*", t * k, nuc)

# Factors.
A, B = matrix("A", m, r), matrix("B", n, r)
GRAD_A, GRAD_B = G @ B + lam * A, G.T @ A + lam * B


def _off(values: Values, rng: Random) -> None:
    """Take from G its part along A B^T."""
    update = ra.multiply(values["A"], ra.transpose(values["B"]))
    length = ra.trace(ra.multiply(ra.transpose(update), update))
    if length == 0:
        return
    along = ra.trace(ra.multiply(ra.transpose(update), values["G"])) / length
    values["G"] = ra.add(values["G"], update, -along)


UNSEEN = assume("<G, A B^T> = 0", (inner(G, A @ B.T), 0), impose=_off)

CHECKS = (
    Identity(
        "radial_derivative",
        "The derivative of f(c W) in c, at c = 1, is <G, W>: it is 0 if f(c W) does not change.",
        derivative(f0 + inner(G, W1 - W), {W1: W}),
        inner(G, W),
        mutants=(
            mutant("sign", "-<G, W>", rhs=-inner(G, W)),
            mutant("constant", "2 <G, W>", rhs=2 * inner(G, W)),
            mutant("swapped symbols", "along G", lhs=derivative(f0 + inner(G, W1 - W), {W1: G})),
        ),
    ),
    Identity(
        "frobenius_step",
        "W - h lam W = (1 - h lam) W has no part off W: ||W||_F^2 (W - h lam W) - <W - h lam W, W> W = 0.",
        square(W) * (W - h * lam * W) - inner(W - h * lam * W, W) * W,
        0 * W,
        mutants=(
            mutant("sign", "plus", lhs=square(W) * (W - h * lam * W) + inner(W - h * lam * W, W) * W),
            mutant("constant", "twice", lhs=square(W) * (W - h * lam * W) - 2 * inner(W - h * lam * W, W) * W),
        ),
    ),
    Identity(
        "tangential",
        "T = ||W||_F^2 N - ||W||_* W is off W: <T, W> = 0.",
        inner(TANGENT, SHAPE),
        0,
        given=FRAME,
        mutants=(
            mutant("sign", "||W||_F^2 N + ||W||_* W", lhs=inner(TANGENT + 2 * tr(Sigma) * SHAPE, SHAPE)),
            mutant("constant", "2 ||W||_F^2 N", lhs=inner(TANGENT + square(SHAPE) * POLAR, SHAPE)),
            dropped(P_ORTHONORMAL),
        ),
    ),
    Identity(
        "tangential_length",
        "||T||^2 = ||W||_F^2 (k ||W||_F^2 - ||W||_*^2).",
        square(TANGENT),
        square(Sigma) * (k * square(Sigma) - tr(Sigma) ** 2),
        given=FRAME,
        mutants=(
            mutant("sign", "+ ||W||_*^2", rhs=square(Sigma) * (k * square(Sigma) + tr(Sigma) ** 2)),
            mutant("constant", "without k", rhs=square(Sigma) * (square(Sigma) - tr(Sigma) ** 2)),
            dropped(Q_ORTHONORMAL),
        ),
    ),
    spread,
    Identity(
        "nuclear_step",
        "W - t N = P (Sigma - t I) Q^T: every singular value falls by t, where t is at most the least of them.",
        SHAPE - t * POLAR,
        P @ (Sigma - t * eye(k)) @ Q.T,
        mutants=(
            mutant("sign", "Sigma + t I", rhs=P @ (Sigma + t * eye(k)) @ Q.T),
            mutant("constant", "2 t", rhs=P @ (Sigma - 2 * t * eye(k)) @ Q.T),
        ),
    ),
    Identity(
        "norm_after_step",
        "||W - t N||_F^2 = ||W||_F^2 - 2 t ||W||_* + t^2 k.",
        square(SHAPE - t * POLAR),
        square(Sigma) - 2 * t * tr(Sigma) + t**2 * k,
        given=FRAME,
        mutants=(
            mutant("sign", "+ 2 t ||W||_*", rhs=square(Sigma) + 2 * t * tr(Sigma) + t**2 * k),
            mutant("constant", "t^2", rhs=square(Sigma) - 2 * t * tr(Sigma) + t**2),
            dropped(P_ORTHONORMAL),
        ),
    ),
    Inequality(
        "ratio_falls",
        "(||W||_* - t k)^2 ||W||_F^2 <= ||W||_*^2 ||W - t N||_F^2: ||.||_*/||.||_F does not rise, by check spread.",
        (nuc - t * k) ** 2 * energy,
        nuc**2 * (energy - 2 * t * nuc + t**2 * k),
        proof=[2 * t * SHORT_STEP * SPREAD, t**2 * k * SPREAD],
        under=(spread,),
        mutants=(
            mutant(
                "constant",
                "19/20 of it",
                {nuc: 1, energy: 1, t: "1/2", k: 1},
                rhs=19 * nuc**2 * (energy - 2 * t * nuc + t**2 * k) / 20,
            ),
            mutant(
                "sign",
                "it does not fall",
                {nuc: 1, energy: 1, t: "1/4", k: 2},
                lhs=nuc**2 * (energy - 2 * t * nuc + t**2 * k),
                rhs=(nuc - t * k) ** 2 * energy,
            ),
            dropped(SPREAD, {nuc: 2, energy: 1, t: 1, k: 1}),
            dropped(SHORT_STEP, {nuc: 1, energy: 1, t: 3, k: 2}),
        ),
    ),
    Identity(
        "scaled_factors",
        "(c A)(c B)^T = c^2 A B^T: c = 1 - h lam is a step of decay, and c -> 0 leaves nothing of the penalty.",
        c * A @ (c * B).T,
        c**2 * A @ B.T,
        mutants=(
            mutant("constant", "c A B^T", rhs=c * A @ B.T),
            mutant("sign", "-c^2 A B^T", rhs=-(c**2) * A @ B.T),
        ),
    ),
    Identity(
        "no_stationary_point",
        "<grad_A L, A> + <grad_B L, B> = lam (||A||_F^2 + ||B||_F^2) where <G, A B^T> = 0: A = B = 0 if both vanish.",
        inner(GRAD_A, A) + inner(GRAD_B, B),
        lam * (square(A) + square(B)),
        given=(UNSEEN,),
        mutants=(
            mutant("constant", "half of it", rhs=lam * (square(A) + square(B)) / 2),
            mutant("sign", "the difference", rhs=lam * (square(A) - square(B))),
            dropped(UNSEEN),
        ),
    ),
)

PROSE = {
    "f(c W) is the same for every c > 0, so that its derivative is 0": ("radial_derivative", "no_stationary_point"),
    "N is a subgradient of ||.||_* at W (nuclear_subgradient, K = 0)": ("tangential",),
    "||P (Sigma - t I) Q^T||_* = ||W||_* - t k where no singular value is less than t": ("nuclear_step", "ratio_falls"),
    "the limit c -> 0": ("scaled_factors",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("scale_invariance", THEOREM))
