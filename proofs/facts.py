"""Classical facts that the theorems use by their statements.

Statement
---------
Each fact is stated once, with its reference and its schemas: inequalities between symbols, with their side conditions.
A proof uses an instance of a schema, which is built from the side conditions. Most facts name the theorem of this
folder that proves them (`proved_by`); a check that uses one of the others is PROVED UNDER it.

Assumptions
-----------
None beyond those in each statement.

Source
------
The references of the single facts.

Idea
----
A schema says what the check that shows it says, with other names for its expressions, and each assumption of that
check stands behind a side condition: both are compared wherever an instance is used. Here each fact is only exposed
to random falsification in floating point, together with a false variant that the same search must catch.

Checks
------
eckart_young : SAMPLED
weyl : SAMPLED
dual_norm : SAMPLED
operator_norm : SAMPLED
nuclear_subdifferential : SAMPLED
subdifferential_monotonicity : SAMPLED
von_neumann : SAMPLED
rank_of_sums_and_limits : SAMPLED
rotfeld : SAMPLED

Used by
-------
No file of the package directly.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from lorasolve.symbolic import (
    Fact,
    Property,
    Sampled,
    Schema,
    Theorem,
    dims,
    inner,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
)
from proofs import eckart_young as ey
from proofs import norm_duality as nd
from proofs import nuclear_subgradient as ns
from proofs import operator_norm as op
from proofs import von_neumann as vn
from proofs import weyl as we

# What side conditions say. Where a name ends in _IS the number is the value, otherwise a bound of it.
SPECTRAL = Property("||{}||_2 <= {}")
SUM_IS = Property("||{} + {}||_2 = {}")
DISTANCE = Property("||{} - {}||_2 <= {}")
SPECTRAL_IS = Property("||{}||_2 = {}")
FROBENIUS = Property("||{}||_F <= {}")
NUCLEAR = Property("||{}||_* <= {}")
NUCLEAR_IS = Property("||{}||_* = {}")
ROOT_RANK = Property("sqrt(rank {}) <= {}")
RANK_AT_MOST = Property("rank {} <= {}")
RANK_IS = Property("rank {} = {}")
RANK_BELOW = Property("rank {} < {}")
RANK_AT_LEAST = Property("rank {} >= {}")
WIDTH = Property("{} is a product of factors with {} columns")
LIMIT = Property("{} is a limit of matrices of rank {}")
TRUNCATION = Property("{} has the {} largest singular values of a matrix and {} the others, off its singular vectors")
VALUE_AT_LEAST = Property("sigma_{}({}) >= {}")
VALUE_AT_MOST = Property("sigma_{}({}) <= {}")
SUBGRADIENT = Property("{} is a subgradient of {} ||.||_* at {}")
PAIRING_IS = Property("<{}, {}> = {}")
PRODUCTS_IS = Property("sum_i sigma_i({}) sigma_i({}) = {}")
ROOTS_IS = Property("sum_i sqrt(sigma_i({})) = {}")
TERMS_IS = Property("the sum of sqrt(sigma_i) over the terms of {} is {}")

m, n, p, k, i = dims("m n p k i")
X, Y, Z, W, g, h = (matrix(name, m, n) for name in ("X", "Y", "Z", "W", "g", "h"))
M1 = matrix("M1", m, n)
nu_x = scalars("nu_X", real=True)
parts, roots = scalars("S_terms S_sigma", nonnegative=True)
rank_1, rank_2 = scalars("rank_1 rank_2", nonnegative=True)
width = scalars("b")
TRUNCATED = ey.P1 @ ey.Sigma1 @ ey.Q1.T

ECKART_YOUNG = Fact(
    "Eckart-Young-Mirsky",
    "If M = M1 + M2 with M1^T M2 = 0, M1 M2^T = 0, and M1 of rank k carries the k largest singular values of M, then "
    "||M - Y||_F >= ||M2||_F for every Y of rank at most k.",
    "Eckart, Young, Psychometrika 1 (1936); Mirsky, Quart. J. Math. 11 (1960)",
    proved_by="eckart_young",
    schemas=(
        Schema(
            "closest",
            square(ey.M2),
            square(M1 + ey.M2 - Y),
            {TRUNCATION(M1, k, ey.M2): ey.FRAME, RANK_AT_MOST(Y, k): (ey.R_ORTHONORMAL,)},
            ey.eckart_young,
            {M1: TRUNCATED, Y: ey.Y},
        ),
    ),
)
WEYL = Fact(
    "Weyl",
    "|sigma_i(X + Y) - sigma_i(X)| <= ||Y||_2 for every i.",
    "Weyl, Math. Ann. 71 (1912)",
    proved_by="weyl",
    schemas=(
        Schema(
            "moved",
            we.a,
            we.b + we.d,
            {
                VALUE_AT_LEAST(i, X, we.a): (we.STRETCHED,),
                VALUE_AT_MOST(i, Y, we.b): (we.Y_SENDS, we.SMALL),
                DISTANCE(X, Y, we.d): (we.X_SENDS, we.NEAR),
            },
            we.weyl,
        ),
        Schema(
            "rank_deficient",
            we.a,
            we.d,
            {
                VALUE_AT_LEAST(i, X, we.a): (we.STRETCHED,),
                RANK_BELOW(Y, i): (we.KERNEL,),
                DISTANCE(X, Y, we.d): (we.X_SENDS, we.NEAR),
            },
            we.rank_deficient,
        ),
    ),
)
DUAL_NORM = Fact(
    "norm duality",
    "|<X, Y>| <= ||X||_2 ||Y||_*, and ||Y||_* <= sqrt(rank Y) ||Y||_F.",
    "Horn, Johnson, Matrix Analysis, 2nd ed., section 5.6",
    proved_by="norm_duality",
    schemas=(
        *(
            Schema(
                name,
                lhs,
                nd.s * nd.nu,
                {
                    SPECTRAL(X, nd.s): (nd.SCALED, nd.BOUND),
                    NUCLEAR(Y, nd.nu): (nd.U_ORTHONORMAL, nd.V_ORTHONORMAL, nd.AT_MOST),
                },
                check,
                {Y: nd.Y},
            )
            for name, lhs, check in (
                ("pairing", inner(X, Y), nd.pairing),
                ("pairing_below", -inner(X, Y), nd.pairing_below),
            )
        ),
        Schema(
            "nuclear_below_frobenius",
            nd.nuc,
            nd.root * nd.d,
            {
                NUCLEAR_IS(Y, nd.nuc): (nd.IS_TRACE, nd.IS_PART),
                ROOT_RANK(Y, nd.root): (nd.RANK,),
                FROBENIUS(Y, nd.d): (nd.LENGTH,),
            },
            nd.nuclear_below_frobenius,
        ),
    ),
)
OPERATOR_NORM = Fact(
    "operator norm",
    "||X Y||_F <= ||X||_2 ||Y||_F, ||X Y||_2 <= ||X||_2 ||Y||_2, ||X + Y||_2 <= ||X||_2 + ||Y||_2, ||X||_2 <= ||X||_F.",
    "Horn, Johnson, Matrix Analysis, 2nd ed., section 5.6",
    proved_by="operator_norm",
    schemas=(
        Schema(
            "product",
            square(op.X @ op.W),
            op.s**2 * square(op.W),
            {SPECTRAL(op.X, op.s): (op.BOUND,)},
            op.product_frobenius,
        ),
        Schema(
            "sum",
            op.whole,
            op.s + op.t,
            {
                SUM_IS(op.X, op.Z, op.whole): (op.IS_SUM, op.UNIT),
                SPECTRAL(op.X, op.s): (op.X_SCALED, op.BOUND_1),
                SPECTRAL(op.Z, op.t): (op.Z_SCALED, op.BOUND_Z),
            },
            op.sum_norm,
        ),
        Schema(
            "frobenius",
            op.spectral**2,
            op.frobenius**2,
            {
                SPECTRAL_IS(op.X, op.spectral): (op.IS_SPECTRAL, op.UNIT),
                FROBENIUS(op.X, op.frobenius): (op.IS_FROBENIUS,),
            },
            op.spectral_below_frobenius,
        ),
    ),
)
NUCLEAR_SUBDIFFERENTIAL = Fact(
    "Watson",
    "For X = P Sigma Q^T the subdifferential of ||.||_* at X is { P Q^T + K : P^T K = 0, K Q = 0, ||K||_2 <= 1 }.",
    "Watson, Linear Algebra Appl. 170 (1992)",
    proved_by="nuclear_subgradient",
    schemas=(
        Schema(
            "subgradient",
            nu_x + inner(g, Y - X),
            nd.nu,
            {
                SUBGRADIENT(g, 1, X): ns.FRAME,
                NUCLEAR_IS(X, nu_x): (),
                NUCLEAR_IS(Y, nd.nu): (ns.U_ORTHONORMAL, ns.V_ORTHONORMAL),
            },
            ns.subgradient,
            {g: ns.SLOPE, X: ns.X, Y: ns.Y, nu_x: ns.NORM_X, nd.nu: ns.NORM_Y},
        ),
        Schema(
            "pairing",
            ns.at_x,
            inner(ns.g, ns.X1),
            {SUBGRADIENT(ns.g, 1, ns.X1): (ns.AT_ZERO,), NUCLEAR_IS(ns.X1, ns.at_x): (ns.NORM_OF_ZERO,)},
            ns.pairing_forced,
        ),
        Schema(
            "values",
            ns.lam,
            ns.level,
            {
                SUBGRADIENT(ns.Gl, ns.lam, X): (ns.U1_ORTHONORMAL, ns.V1_ORTHONORMAL, ns.FORCED),
                RANK_AT_LEAST(X, i): (),
                VALUE_AT_MOST(i, ns.Gl, ns.level): (ns.ONE_UNIT, ns.BELOW_LEVEL),
            },
            ns.values_forced,
        ),
    ),
)
MONOTONICITY = Fact(
    "subdifferential monotonicity",
    "<g - h, X - Y> >= 0 for subgradients g, h of a convex function at X, Y; 0 is a subgradient at a minimizer.",
    "Rockafellar, Convex Analysis, sections 23-24",
    proved_by="nuclear_subgradient",
    schemas=(
        Schema(
            "monotone",
            0,
            inner(ns.g - ns.h, ns.X1 - ns.X2),
            {SUBGRADIENT(ns.g, ns.lam, ns.X1): (ns.AT_1,), SUBGRADIENT(ns.h, ns.lam, ns.X2): (ns.AT_2,)},
            ns.monotone,
        ),
    ),
)
VON_NEUMANN = Fact(
    "von Neumann's trace inequality",
    "<X, Y> <= sum_i sigma_i(X) sigma_i(Y).",
    "Mirsky, Monatsh. Math. 79 (1975)",
    proved_by="von_neumann",
    schemas=(
        Schema(
            "pairing",
            vn.w,
            vn.d,
            {PAIRING_IS(X, Y, vn.w): (vn.HERE,), PRODUCTS_IS(X, Y, vn.d): (vn.FAN,)},
            vn.von_neumann,
        ),
    ),
)
RANK = Fact(
    "rank of sums and limits",
    "rank(X + Y) <= rank X + rank Y; X Y^T has rank at most k for factors with k columns; a limit of matrices of rank "
    "at most k has rank at most k.",
    "Horn, Johnson, Matrix Analysis, 2nd ed., section 0.4",
    schemas=(
        Schema("product", rank_1, width, {RANK_IS(X, rank_1): (), WIDTH(X, width): ()}),
        Schema("limit", rank_1, rank_2, {RANK_IS(X, rank_1): (), LIMIT(X, rank_2): ()}),
    ),
)
ROTFELD = Fact(
    "Rotfel'd",
    "sum_i sqrt(sigma_i(X + Y)) <= sum_i sqrt(sigma_i(X)) + sum_i sqrt(sigma_i(Y)).",
    "Rotfel'd, Funct. Anal. Appl. 1 (1967); Thompson, Linear Multilinear Algebra 4 (1976)",
    schemas=(Schema("terms", roots, parts, {ROOTS_IS(X, roots): (), TERMS_IS(X, parts): ()}),),
)

FACTS = (
    ECKART_YOUNG,
    WEYL,
    DUAL_NORM,
    OPERATOR_NORM,
    NUCLEAR_SUBDIFFERENTIAL,
    MONOTONICITY,
    VON_NEUMANN,
    RANK,
    ROTFELD,
)

ROWS, COLS = 6, 5


def _matrix(rng: np.random.Generator, rank: int = COLS) -> np.ndarray:
    return rng.standard_normal((ROWS, rank)) @ rng.standard_normal((rank, COLS))


def _spectral(x: np.ndarray) -> float:
    return float(np.linalg.norm(x, 2))


def _nuclear(x: np.ndarray) -> float:
    return float(np.linalg.norm(x, "nuc"))


def _singular(x: np.ndarray) -> np.ndarray:
    return np.linalg.svd(x, compute_uv=False)


def _eckart_young(rng: np.random.Generator, kept: int = 2) -> float:
    x, y = _matrix(rng), _matrix(rng, 2)
    left, s, right = np.linalg.svd(x)
    best = (left[:, :2] * s[:2]) @ right[:2]
    near = best + 0.1 * rng.random() * (y - best) @ np.diag(rng.integers(0, 2, COLS))
    candidate = y if np.linalg.matrix_rank(near) > 2 else near
    return float(np.linalg.norm(x - candidate) - np.linalg.norm(s[kept:]))


def _weyl(rng: np.random.Generator, factor: float = 1.0) -> float:
    x, y = _matrix(rng), rng.random() * np.outer(rng.standard_normal(ROWS), rng.standard_normal(COLS))
    return float(factor * _spectral(y) - np.abs(_singular(x + y) - _singular(x)).max())


def _dual_norm(rng: np.random.Generator, factor: float = 1.0) -> float:
    x, y = _matrix(rng), _matrix(rng, 1)
    left, _, right = np.linalg.svd(x)
    y = 0.5 * y + 3 * np.outer(left[:, 0], right[0])
    rank = np.linalg.matrix_rank(y)
    pairing = factor * _spectral(x) * _nuclear(y) - np.sum(x * y)
    return min(float(pairing), float(np.sqrt(rank) * np.linalg.norm(y) - _nuclear(y)))


def _operator_norm(rng: np.random.Generator, factor: float = 1.0) -> float:
    x, y = _matrix(rng, 1), rng.standard_normal((COLS, 1))
    y = np.linalg.svd(x)[2][:1].T if rng.random() < 0.5 else y
    return float(factor * _spectral(x) * np.linalg.norm(y) - np.linalg.norm(x @ y))


def _subgradient(x: np.ndarray, rng: np.random.Generator, size: float = 1.0) -> np.ndarray:
    left, s, right = np.linalg.svd(x, full_matrices=False)
    rank = int(np.sum(s > 1e-9))
    p, q = left[:, :rank], right[:rank].T
    other = rng.standard_normal(x.shape)
    other = other - p @ (p.T @ other)
    other = other - (other @ q) @ q.T
    return p @ q.T + size * other / max(_spectral(other), 1e-12)


def _nuclear_subdifferential(rng: np.random.Generator, size: float = 1.0) -> float:
    x, y = _matrix(rng, 2), _matrix(rng)
    g = _subgradient(x, rng, size)
    y = x + 0.1 * (g - x @ np.linalg.pinv(x) @ g) if rng.random() < 0.5 else y
    return _nuclear(y) - _nuclear(x) - float(np.sum(g * (y - x)))


def _monotonicity(rng: np.random.Generator, size: float = 1.0) -> float:
    x = _matrix(rng, 2)
    g = _subgradient(x, rng, size)
    y = x + 0.1 * (g - x @ np.linalg.pinv(x) @ g)
    return float(np.sum((g - _subgradient(y, rng)) * (x - y)))


def _von_neumann(rng: np.random.Generator, reverse: bool = False) -> float:
    x, y = _matrix(rng), _matrix(rng)
    left, _, right = np.linalg.svd(x, full_matrices=False)
    y = (left * _singular(y)) @ right if rng.random() < 0.5 else y
    second = _singular(y)[::-1] if reverse else _singular(y)
    return float(_singular(x) @ second - np.sum(x * y))


def _rank(rng: np.random.Generator, excess: int = 0) -> float:
    a, b = (int(v) for v in rng.integers(1, 3, 2))
    limit = np.linalg.matrix_rank(_matrix(rng, a) + 1e-14 * _matrix(rng, a), tol=1e-9)
    return float(min(a + b - excess - np.linalg.matrix_rank(_matrix(rng, a) + _matrix(rng, b)), a - limit))


def _sum_of_roots(x: np.ndarray) -> float:
    s = _singular(x)
    return float(np.sqrt(s[s > 1e-12]).sum())


def _rotfeld(rng: np.random.Generator, factor: float = 1.0) -> float:
    x, y = _matrix(rng, 1), rng.random() * _matrix(rng, 1)
    if rng.random() < 0.5:
        y = np.outer(y[:, 0] - x @ (x.T @ y[:, 0]) / np.sum(x * x), y[0] - x.T @ (x @ y[0]) / np.sum(x * x))
    return factor * (_sum_of_roots(x) + _sum_of_roots(y)) - _sum_of_roots(x + y)


Margin: TypeAlias = Callable[[np.random.Generator], float]


def _sampled(name: str, fact: Fact, margin: Margin, constant: tuple[str, Margin]) -> Sampled:
    """Return the falsification of a fact with two false variants: a wrong constant and a reversed inequality."""
    return Sampled(
        name,
        fact.statement,
        margin,
        mutants=(
            mutant("constant", constant[0], margin=constant[1]),
            mutant("sign", "the reverse inequality", margin=lambda rng: -margin(rng) - 1e-6),
        ),
    )


CHECKS = (
    _sampled("eckart_young", ECKART_YOUNG, _eckart_young, ("the tail from k = 1 on", lambda g: _eckart_young(g, 1))),
    _sampled("weyl", WEYL, _weyl, ("half the norm", lambda g: _weyl(g, 0.5))),
    _sampled("dual_norm", DUAL_NORM, _dual_norm, ("half the bound", lambda g: _dual_norm(g, 0.5))),
    _sampled("operator_norm", OPERATOR_NORM, _operator_norm, ("0.9 of the norm", lambda g: _operator_norm(g, 0.9))),
    _sampled(
        "nuclear_subdifferential",
        NUCLEAR_SUBDIFFERENTIAL,
        _nuclear_subdifferential,
        ("||K||_2 = 2", lambda g: _nuclear_subdifferential(g, 2.0)),
    ),
    _sampled(
        "subdifferential_monotonicity",
        MONOTONICITY,
        _monotonicity,
        ("a slope of norm 3 off the range", lambda g: _monotonicity(g, 3.0)),
    ),
    _sampled("von_neumann", VON_NEUMANN, _von_neumann, ("opposite orders", lambda g: _von_neumann(g, True))),
    _sampled("rank_of_sums_and_limits", RANK, _rank, ("one less", lambda g: _rank(g, 1))),
    _sampled("rotfeld", ROTFELD, _rotfeld, ("0.9 of the sum", lambda g: _rotfeld(g, 0.9))),
)

PROSE = {
    "everything: these checks only search for counterexamples; the proofs are in the theorems that the facts "
    "name, and two facts have none": ("rank_of_sums_and_limits", "rotfeld"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("facts", THEOREM))
