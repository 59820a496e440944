"""The direction that leaves a spurious point, and what its curvature says.

Statement
---------
Let (A, B) be a balanced stationary point, p, q a pair of singular vectors of X = A B^T with singular value sigma > 0,
and G = -lam P Q^T + S. Let u, v be the top singular pair of S, so that u^T G v = u^T S v = s = ||S||_2. Along

    U = -u p^T A,  V = v q^T B:    D = U B^T + A V^T = -u p^T X + X q v^T = sigma (p v^T - u q^T),
    ||D||_F^2 = 2 sigma^2,  <G, U V^T> = -sigma s,  ||U||_F^2 = ||V||_F^2 = sigma.

At a second-order stationary point restricted smoothness gives s <= lam + beta sigma. If A z = B z = 0 for a unit z
(a rank-deficient point) then s <= lam.

Assumptions
-----------
(A, B) stationary and balanced; hess f[D, D] <= beta ||D||_F^2 for D = U' X + X V' with rank-one U' = -u p^T,
V' = q v^T of Frobenius norm 1.

Source
------
Kim, Kim, Ryu, ICML 2025, proof of theorem 1.

Idea
----
The sign: with +s = u^T S v the direction must be U = -u p^T A, V = +v q^T B. If instead (u, v) is the top pair of -S,
so that u^T S v = -s, both signs are plus. With the wrong sign the curvature term helps the point instead of hurting
it.

Checks
------
factor_on_left_vector : PROVED
factor_on_right_vector : PROVED
remainder_pairing : PROVED
direction : PROVED
direction_is_rank_one : PROVED
direction_norm : PROVED
curvature_of_product : PROVED
decay_of_u : PROVED
decay_of_v : PROVED
spectral_bound : PROVED
rank_deficient_form : PROVED
rank_deficient_bound : PROVED

Used by
-------
No file of the package directly.
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
    hypothesis,
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

m, n, r, k = dims("m n r k")
rho, beta = scalars("rho beta")
lam = scalars("lambda", nonnegative=True)
s = scalars("s", real=True)
sigma = rho**2
A, B, G, hess = matrix("A", m, r), matrix("B", n, r), matrix("G", m, n), Form("hess", m, n)
p, q, w = vector("p", m), vector("q", n), vector("w", r)
u, v = vector("u", m), vector("v", n)
X = A @ B.T
U, V = -u @ p.T @ A, v @ q.T @ B
D = U @ B.T + A @ V.T
FORM = hess(D, D) + 2 * inner(G, U @ V.T) + lam * (square(U) + square(V))


def _on_vectors(values: Values, rng: Random) -> None:
    """Give A the singular pair (p, w) and B the singular pair (q, w), with singular value rho."""
    for name in ("p", "q", "w"):
        values[name] = ra.made_orthonormal(rng, values[name])
    for name, left in (("A", "p"), ("B", "q")):
        right = values["w"]
        inside = ra.multiply(values[left], ra.transpose(right))
        outside = ra.multiply(ra.complement(values[left]), values[name], ra.complement(right))
        values[name] = ra.add(outside, inside, values[rho])


LEFT, RIGHT, W_UNIT = orthonormal(p, u), orthonormal(q, v), orthonormal(w)
VECTORS = assume(
    "A^T p = B^T q = rho w, A w = rho p, B w = rho q",
    (A.T @ p, rho * w),
    (B.T @ q, rho * w),
    (A @ w, rho * p),
    (B @ w, rho * q),
    impose=_on_vectors,
)
PAIRING = named(s, tr(u.T @ G @ v))
POINT = (LEFT, RIGHT, W_UNIT, VECTORS, PAIRING)

# Where the singular pairs of A and B come from: A = P Root W^T, Root e = rho e.
P, Q, W, Root, e = (
    matrix("P", m, k),
    matrix("Q", n, k),
    matrix("W", r, k),
    matrix("Root", k, k, symmetric=True),
    vector("e", k),
)


def _eigenvector(values: Values, rng: Random) -> None:
    rest = ra.complement(values["e"])
    values["Root"] = ra.add(
        ra.multiply(rest, values["Root"], rest), ra.multiply(values["e"], ra.transpose(values["e"])), values[rho]
    )


P_ORTHONORMAL, W_ORTHONORMAL = orthonormal(P), orthonormal(W)
EIGENVECTOR = assume("Root e = rho e", (Root @ e, rho * e), impose=_eigenvector)
FACTORED = define(A, P @ Root @ W.T)
S = matrix("S", m, n)
P_AND_U = orthonormal(P, u)
SPLIT = define(G, -lam * P @ Q.T + S)

SECOND_ORDER = hypothesis("second-order stationarity along (U, V)", 0, FORM)
SMOOTH = hypothesis("restricted smoothness at D", hess(D, D), beta * square(D))

# The rank-deficient case: a unit vector z with A z = B z = 0.
z = vector("z", r)


def _kernel(values: Values, rng: Random) -> None:
    for name in ("A", "B"):
        values[name] = ra.multiply(values[name], ra.complement(values["z"]))


KERNEL = assume("A z = B z = 0", (A @ z, zeros(m, 1)), (B @ z, zeros(n, 1)), impose=_kernel)
U0, V0 = -u @ z.T, v @ z.T
D0 = U0 @ B.T + A @ V0.T
FORM0 = hess(D0, D0) + 2 * inner(G, U0 @ V0.T) + lam * (square(U0) + square(V0))
DEFICIENT = (orthonormal(u), orthonormal(v), orthonormal(z), KERNEL, PAIRING)
SECOND_ORDER0 = hypothesis("second-order stationarity along (-u z^T, v z^T)", 0, FORM0)

# m = n = 2, r = 1: s = 3 is one more than the bound with beta = 1.
STEEPER = {
    A: [[1], [0]], B: [[1], [0]], G: [[-1, 0], [0, 3]], p: [[1], [0]], q: [[1], [0]], w: [[1]], u: [[0], [1]],
    v: [[0], [1]], rho: 1, lam: 1, beta: 1, s: 3,
}  # fmt: skip
# And with s = 2 the bound itself.
ATTAINED = {G: [[-1, 0], [0, 2]], s: 2, hess: [(1, [[0, 1], [0, 0]]), (1, [[0, 0], [1, 0]])]}

spectral_bound = Inequality(
    "spectral_bound",
    "||S||_2 = s <= lam + beta sigma at a second-order stationary point.",
    s,
    lam + beta * sigma,
    proof=[1 / (2 * sigma) * SECOND_ORDER, 1 / (2 * sigma) * SMOOTH],
    given=POINT,
    paper="4 step 2",
    mutants=(
        mutant("sign", "s <= lam - beta sigma", rhs=lam - beta * sigma),
        mutant(
            "constant",
            "s <= lam + beta sigma / 2",
            {**STEEPER, **ATTAINED},
            rhs=lam + beta * sigma / 2,
        ),
        mutant("constant", "s <= beta sigma, without lam", {**STEEPER, **ATTAINED}, rhs=beta * sigma),
        dropped(SMOOTH, {**STEEPER, hess: [(2, [[0, 1], [0, 0]]), (2, [[0, 0], [1, 0]])]}),
        dropped(SECOND_ORDER, {**STEEPER, hess: [(1, [[0, 1], [0, 0]]), (1, [[0, 0], [1, 0]])]}),
    ),
)

CHECKS = (
    Identity(
        "factor_on_left_vector",
        "A^T p = rho w for p = P e, w = W e: the singular vectors of X and A agree (likewise for B).",
        A.T @ (P @ e),
        rho * W @ e,
        given=(P_ORTHONORMAL, EIGENVECTOR, FACTORED),
        paper="4 step 1",
        mutants=(
            mutant("constant", "sigma = rho^2 instead of its root", rhs=rho**2 * W @ e),
            dropped(P_ORTHONORMAL),
            dropped(EIGENVECTOR),
        ),
    ),
    Identity(
        "factor_on_right_vector",
        "A w = rho p.",
        A @ (W @ e),
        rho * P @ e,
        given=(W_ORTHONORMAL, EIGENVECTOR, FACTORED),
        paper="4 step 1",
        mutants=(mutant("sign", "-rho p", rhs=-rho * P @ e), dropped(W_ORTHONORMAL)),
    ),
    Identity(
        "remainder_pairing",
        "u^T G v = u^T S v, because u is orthogonal to the singular vectors P.",
        tr(u.T @ G @ v),
        tr(u.T @ S @ v),
        given=(P_AND_U, SPLIT),
        paper="4 step 1",
        mutants=(
            mutant("sign", "-u^T S v", rhs=-tr(u.T @ S @ v)),
            mutant("constant", "2 u^T S v", rhs=2 * tr(u.T @ S @ v)),
            dropped(P_AND_U),
        ),
    ),
    Identity(
        "direction",
        "D = sigma (p v^T - u q^T).",
        D,
        sigma * (p @ v.T - u @ q.T),
        given=(VECTORS,),
        paper="4 step 1",
        mutants=(
            mutant("sign", "p v^T + u q^T", rhs=sigma * (p @ v.T + u @ q.T)),
            mutant("constant", "rho instead of sigma", rhs=rho * (p @ v.T - u @ q.T)),
            dropped(VECTORS),
        ),
    ),
    Identity(
        "direction_is_rank_one",
        "D = U' X + X V' with U' = -u p^T and V' = q v^T: a direction on which restricted smoothness applies.",
        D,
        (-u @ p.T) @ X + X @ (q @ v.T),
        paper="4 step 1",
        mutants=(
            mutant("sign", "U' = +u p^T", rhs=(u @ p.T) @ X + X @ (q @ v.T)),
            mutant("constant", "V' = 2 q v^T", rhs=(-u @ p.T) @ X + 2 * X @ (q @ v.T)),
        ),
    ),
    Identity(
        "direction_norm",
        "||D||_F^2 = 2 sigma^2.",
        square(D),
        2 * sigma**2,
        given=POINT[:4],
        paper="4 step 1",
        mutants=(
            mutant("constant", "sigma^2", rhs=sigma**2),
            mutant("constant", "2 sigma", rhs=2 * sigma),
            dropped(LEFT),
            dropped(VECTORS),
        ),
    ),
    Identity(
        "curvature_of_product",
        "<G, U V^T> = -sigma s.",
        inner(G, U @ V.T),
        -sigma * s,
        given=(W_UNIT, VECTORS, PAIRING),
        paper="4 step 1",
        mutants=(
            mutant("sign", "the wrong sign of the pair, U = +u p^T A", lhs=inner(G, -U @ V.T)),
            mutant("constant", "-2 sigma s", rhs=-2 * sigma * s),
            dropped(VECTORS),
        ),
    ),
    Identity(
        "decay_of_u",
        "||U||_F^2 = sigma.",
        square(U),
        sigma,
        given=(LEFT, W_UNIT, VECTORS),
        paper="4 step 1",
        mutants=(
            mutant("constant", "rho", rhs=rho),
            mutant("sign", "-sigma", rhs=-sigma),
            dropped(LEFT),
            dropped(VECTORS),
        ),
    ),
    Identity(
        "decay_of_v",
        "||V||_F^2 = sigma.",
        square(V),
        sigma,
        given=(RIGHT, W_UNIT, VECTORS),
        paper="4 step 1",
        mutants=(
            mutant("constant", "sigma^2", rhs=sigma**2),
            mutant("sign", "-sigma", rhs=-sigma),
            dropped(RIGHT),
            dropped(VECTORS),
        ),
    ),
    spectral_bound,
    Identity(
        "rank_deficient_form",
        "If A z = B z = 0 and |z| = 1, the Hessian form along (-u z^T, v z^T) is 2 lam - 2 s.",
        FORM0,
        2 * lam - 2 * s,
        given=DEFICIENT,
        paper="4 rank-deficient point",
        mutants=(
            mutant("sign", "2 lam + 2 s", rhs=2 * lam + 2 * s),
            mutant("constant", "2 lam - s", rhs=2 * lam - s),
            dropped(KERNEL),
        ),
    ),
    Inequality(
        "rank_deficient_bound",
        "A rank-deficient second-order stationary point has ||S||_2 = s <= lam.",
        s,
        lam,
        proof=[SECOND_ORDER0 / 2],
        given=DEFICIENT,
        paper="4 rank-deficient point",
        mutants=(
            mutant("constant", "s <= lam / 2", rhs=lam / 2),
            mutant("sign", "s >= lam", lhs=lam, rhs=s),
            dropped(SECOND_ORDER0),
        ),
    ),
)

PROSE = {
    "X and A have common singular vectors and S has a top singular pair u, v, off those of X if S is not 0": (
        "factor_on_left_vector",
        "factor_on_right_vector",
        "remainder_pairing",
        "direction",
    ),
    "rank X < r gives, by balance, a unit z with A z = B z = 0": ("rank_deficient_form", "rank_deficient_bound"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("escape_direction", THEOREM))
