"""The complete landscape of matrix denoising.

Statement
---------
f(X) = ||X - M||_F^2/2. The first-order stationary points of L are X = sum_{i in I} (mu_i - lam) p_i q_i^T over sets
I of singular triples (mu_i, p_i, q_i) of M with mu_i > lam, |I| <= r. If some triple (mu_u, u, v) outside I has mu_u
> mu_i for an i in I, or |I| < r and mu_u > lam, the Hessian form is negative along an explicit direction. So the
second-order stationary points take the r largest (up to ties): soft-thresholded truncated singular values, which is
the global minimum among rank at most r. There are no spurious local minima. alpha = beta = 1.

Assumptions
-----------
lam > 0 (for lam = 0 after rebalancing).

Source
------
Baldi, Hornik, Neural Networks 2 (1989) for lam = 0; Mazumder, Hastie, Tibshirani, "Spectral Regularization
Algorithms", JMLR 2010, for the soft threshold.

Idea
----
G = X - M, and at a stationary point G = -lam P Q^T + S, so M = P (Sigma + lam I) Q^T - S: the singular vectors of X
are singular vectors of M. The escape direction has curvature 2 sigma (mu_i - mu_u) with sigma = mu_i - lam. For the
global statement von Neumann's inequality separates the singular values.

Checks
------
vectors_of_target_right : PROVED
vectors_of_target_left : PROVED
every_choice_is_stationary_a : PROVED
every_choice_is_stationary_b : PROVED
swap_form : PROVED
add_form : PROVED
lower_bound_by_values : PROVED
kept_value : PROVED
dropped_value : PROVED
conditioning : PROVED

Used by
-------
lorasolve/convex/closed_form.py, lorasolve/landscape/rank_bound.py, lorasolve/objectives/denoising.py
"""

from random import Random

from lorasolve.symbolic import (
    Identity,
    Inequality,
    MatrixExpr,
    ScalarExpr,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    annihilated,
    assume,
    define,
    derivative,
    dims,
    dropped,
    eye,
    inner,
    matrix,
    mutant,
    named,
    orthonormal,
    run_module,
    scalars,
    square,
    tr,
    vector,
    zeros,
)
from lorasolve.symbolic import rational as ra
from proofs.facts import PAIRING_IS, PRODUCTS_IS, VON_NEUMANN

m, n, r, k = dims("m n r k")
(rho, s), (y, mu) = scalars("rho s"), scalars("y mu", nonnegative=True)
lam = scalars("lambda", nonnegative=True)
mu_u = scalars("mu_u", real=True)
M, S = matrix("M", m, n), matrix("S", m, n)
P, Q, W = matrix("P", m, k), matrix("Q", n, k), matrix("W", r, k)
Sigma, Root = matrix("Sigma", k, k, symmetric=True), matrix("Root", k, k, symmetric=True)
P_ORTH, Q_ORTH, W_ORTH = orthonormal(P), orthonormal(Q), orthonormal(W)
S_OFF = annihilated(S, left=(P,), right=(Q,))

# M = X - G with X = P Sigma Q^T and G = -lam P Q^T + S.
FROM_POINT = define(M, P @ Sigma @ Q.T + lam * P @ Q.T - S)
X = P @ Sigma @ Q.T

# Conversely, choose triples of M: M Q = P (Root^2 + lam), M^T P = Q (Root^2 + lam), and A, B balanced.
A, B = P @ Root @ W.T, Q @ Root @ W.T
LAM_ROOT = Root @ Root + lam * eye(k)


def _triples(values: Values, rng: Random) -> None:
    p = values["P"] = ra.made_orthonormal(rng, values["P"])
    q = values["Q"] = ra.made_orthonormal(rng, values["Q"])
    root = values["Root"]
    shifted = ra.add(ra.multiply(root, root), ra.identity(len(root)), values[lam])
    rest = ra.multiply(ra.complement(p), values["M"], ra.complement(q))
    values["M"] = ra.add(rest, ra.multiply(p, shifted, ra.transpose(q)))


TRIPLES = assume(
    "P, Q are singular vectors of M with values Root^2 + lam",
    (M @ Q, P @ LAM_ROOT),
    (M.T @ P, Q @ LAM_ROOT),
    impose=_triples,
)
G_CHOSEN = A @ B.T - M

# Directions: a kept triple (p, q) of X with sigma = rho^2 and an unused triple (mu_u, u, v) of M; or an empty slot z.
p, q, w, u, v, z = (
    vector("p", m),
    vector("q", n),
    vector("w", r),
    vector("u", m),
    vector("v", n),
    vector("z", r),
)
F1, F2, G = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n)


def _slots(values: Values, rng: Random) -> None:
    """Let A, B have the singular pair (rho, p or q, w), nothing on u, v, and the null vector z."""
    for name, left, other in (("A", "p", "u"), ("B", "q", "v")):
        right = values["w"]
        both = ra.hstack(values[left], values[other])
        outside = ra.multiply(ra.complement(both), values[name], ra.complement(ra.hstack(right, values["z"])))
        values[name] = ra.add(outside, ra.multiply(values[left], ra.transpose(right)), values[rho])


def _unused(values: Values, rng: Random) -> None:
    value = ra.multiply(ra.transpose(values["u"]), values["G"], values["v"])[0][0]
    pair = ra.multiply(values["u"], ra.transpose(values["v"]))
    values["G"] = ra.add(values["G"], pair, -values[mu_u] - value)


UNIT = (orthonormal(p, u), orthonormal(q, v), orthonormal(w, z))
SLOTS = assume(
    "A^T p = B^T q = rho w, A w = rho p, B w = rho q, A z = B z = 0",
    (F1.T @ p, rho * w),
    (F2.T @ q, rho * w),
    (F1 @ w, rho * p),
    (F2 @ w, rho * q),
    (F1 @ z, zeros(m, 1)),
    (F2 @ z, zeros(n, 1)),
    impose=_slots,
)
UNUSED = assume("u^T G v = -mu_u", (tr(u.T @ G @ v), -mu_u), impose=_unused)


def form(left: MatrixExpr, right: MatrixExpr) -> ScalarExpr:
    """Return the Hessian form of L along (left, right)."""
    moved = left @ F2.T + F1 @ right.T
    return square(moved) + 2 * inner(G, left @ right.T) + lam * (square(left) + square(right))


# For denoising the pair (u, v) has u^T G v = -mu_u, so both signs of the direction are plus.
SWAP = form(u @ p.T @ F1, v @ q.T @ F2)
ADD = form(u @ z.T, v @ z.T)

# Values of the singular values: <Y, M> <= sum y_i mu_i.
Y = matrix("Y", m, n)
yy, mm, ym, total, nuc = scalars("y2 mu2 ymu c nu", nonnegative=True)
VALUES = VON_NEUMANN.instance("pairing", PAIRING_IS(Y, M, inner(Y, M)), PRODUCTS_IS(Y, M, ym))
rest = scalars("e", nonnegative=True)

CHECKS = (
    Identity(
        "vectors_of_target_right",
        "M Q = P (Sigma + lam I) at a stationary point.",
        M @ Q,
        P @ (Sigma + lam * eye(k)),
        given=(Q_ORTH, S_OFF, FROM_POINT),
        mutants=(
            mutant("sign", "Sigma - lam I", rhs=P @ (Sigma - lam * eye(k))),
            mutant("constant", "Sigma + 2 lam I", rhs=P @ (Sigma + 2 * lam * eye(k))),
            dropped(S_OFF),
        ),
    ),
    Identity(
        "vectors_of_target_left",
        "M^T P = Q (Sigma + lam I) at a stationary point.",
        M.T @ P,
        Q @ (Sigma + lam * eye(k)),
        given=(P_ORTH, S_OFF, FROM_POINT),
        mutants=(
            mutant("sign", "-(Sigma + lam I)", rhs=-Q @ (Sigma + lam * eye(k))),
            dropped(P_ORTH),
        ),
    ),
    Identity(
        "every_choice_is_stationary_a",
        "For any triples of M with values Root^2 + lam: G B + lam A = 0.",
        G_CHOSEN @ B + lam * A,
        zeros(m, r),
        given=(Q_ORTH, W_ORTH, TRIPLES),
        mutants=(
            mutant("sign", "G B - lam A", lhs=G_CHOSEN @ B - lam * A),
            mutant("constant", "G B + 2 lam A", lhs=G_CHOSEN @ B + 2 * lam * A),
            dropped(TRIPLES),
        ),
    ),
    Identity(
        "every_choice_is_stationary_b",
        "For any triples of M with values Root^2 + lam: G^T A + lam B = 0.",
        G_CHOSEN.T @ A + lam * B,
        zeros(n, r),
        given=(P_ORTH, W_ORTH, TRIPLES),
        mutants=(
            mutant("sign", "G^T A - lam B", lhs=G_CHOSEN.T @ A - lam * B),
            dropped(W_ORTH),
            dropped(TRIPLES),
        ),
    ),
    Identity(
        "swap_form",
        "Replacing a kept triple by an unused one: the form is 2 sigma (sigma + lam - mu_u) = 2 sigma (mu_i - mu_u).",
        SWAP,
        2 * rho**2 * (rho**2 + lam - mu_u),
        given=(*UNIT, SLOTS, UNUSED),
        mutants=(
            mutant("sign", "mu_u - mu_i", rhs=-2 * rho**2 * (rho**2 + lam - mu_u)),
            mutant("constant", "sigma (mu_i - mu_u)", rhs=rho**2 * (rho**2 + lam - mu_u)),
            dropped(SLOTS),
        ),
    ),
    Identity(
        "add_form",
        "Filling an empty slot z: the form is 2 (lam - mu_u), negative while an unused value exceeds lam.",
        ADD,
        2 * (lam - mu_u),
        given=(*UNIT, SLOTS, UNUSED),
        mutants=(
            mutant("sign", "2 (lam + mu_u)", rhs=2 * (lam + mu_u)),
            mutant("constant", "lam - mu_u", rhs=lam - mu_u),
            dropped(UNUSED),
        ),
    ),
    Inequality(
        "lower_bound_by_values",
        "||Y - M||^2/2 + lam ||Y||_* >= sum_i ((y_i - mu_i)^2/2 + lam y_i), with sums y2, ymu, mu2, nu over i.",
        yy / 2 - ym + mm / 2 + lam * nuc,
        square(Y - M) / 2 + lam * nuc,
        proof=[VALUES],
        given=(named(yy, square(Y)), named(mm, square(M))),
        mutants=(
            mutant("constant", "ymu/2", lhs=yy / 2 - ym / 2 + mm / 2 + lam * nuc),
            mutant("sign", "+ ymu", lhs=yy / 2 + ym + mm / 2 + lam * nuc),
            dropped(VALUES),
        ),
    ),
    SumOfSquares(
        "kept_value",
        "mu > lam: (y - mu)^2/2 + lam y >= lam^2/2 + lam (mu - lam), with equality at y = mu - lam.",
        lam**2 / 2 + lam * (mu - lam),
        (y - mu) ** 2 / 2 + lam * y,
        proof=[Square(y - mu + lam) / 2],
        mutants=(
            mutant("constant", "lam^2", {y: 1, mu: 2, lam: 1}, lhs=lam**2 + lam * (mu - lam)),
            mutant("sign", "threshold mu + lam", lhs=lam**2 / 2 + lam * (mu + lam)),
        ),
    ),
    Inequality(
        "dropped_value",
        "mu <= lam (lam = mu + e): (y - mu)^2/2 + lam y >= mu^2/2, with equality at y = 0.",
        mu**2 / 2,
        (y - mu) ** 2 / 2 + (mu + rest) * y,
        proof=[Square(y) / 2, rest * y],
        mutants=(
            mutant("constant", "mu^2", lhs=mu**2),
            mutant("sign", "lam = mu - e", {y: 1, mu: 1, rest: 1}, rhs=(y - mu) ** 2 / 2 + (mu - rest) * y),
        ),
    ),
    Identity(
        "conditioning",
        "The second derivative of f is ||D||^2 at every point: alpha = beta = 1.",
        derivative(square(Y - M) / 2, {Y: S}, order=2),
        square(S),
        mutants=(
            mutant("constant", "2 ||D||^2", rhs=2 * square(S)),
            mutant("sign", "-||D||^2", rhs=-square(S)),
        ),
    ),
)

PROSE = {
    "the decompositions exist, and an unused triple with a larger value exists unless the r largest are taken": (
        "vectors_of_target_right",
        "vectors_of_target_left",
        "swap_form",
        "add_form",
    ),
    "adding the bounds up over the singular values, with at most r of them kept": ("kept_value", "dropped_value"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("denoising_landscape", THEOREM))
