"""Classical facts that the theorems use by their statements.

Statement
---------
Each fact is stated once, with its reference. Most name the theorem of this folder that proves them (`proved_by`); a
check that uses one of the others is PROVED UNDER it.

Assumptions
-----------
None beyond those in each statement.

Source
------
The references of the single facts.

Idea
----
A fact enters a proof as a named inequality between traces and scalars. Here each one is only exposed to random
falsification in floating point, together with a false variant that the same search must catch.

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

from lorasolve.symbolic import Fact, Sampled, Theorem, mutant, run_module

ECKART_YOUNG = Fact(
    "Eckart-Young-Mirsky",
    "If M = M1 + M2 with M1^T M2 = 0, M1 M2^T = 0, and M1 of rank k carries the k largest singular values of M, then "
    "||M - Y||_F >= ||M2||_F for every Y of rank at most k.",
    "Eckart, Young, Psychometrika 1 (1936); Mirsky, Quart. J. Math. 11 (1960)",
    proved_by="eckart_young",
)
WEYL = Fact(
    "Weyl",
    "|sigma_i(X + Y) - sigma_i(X)| <= ||Y||_2 for every i.",
    "Weyl, Math. Ann. 71 (1912)",
    proved_by="weyl",
)
DUAL_NORM = Fact(
    "norm duality",
    "|<X, Y>| <= ||X||_2 ||Y||_*, and ||Y||_* <= sqrt(rank Y) ||Y||_F.",
    "Horn, Johnson, Matrix Analysis, 2nd ed., section 5.6",
    proved_by="norm_duality",
)
OPERATOR_NORM = Fact(
    "operator norm",
    "||X Y||_F <= ||X||_2 ||Y||_F, ||X Y||_2 <= ||X||_2 ||Y||_2, ||X + Y||_2 <= ||X||_2 + ||Y||_2, ||X||_2 <= ||X||_F.",
    "Horn, Johnson, Matrix Analysis, 2nd ed., section 5.6",
    proved_by="operator_norm",
)
NUCLEAR_SUBDIFFERENTIAL = Fact(
    "Watson",
    "For X = P Sigma Q^T the subdifferential of ||.||_* at X is { P Q^T + K : P^T K = 0, K Q = 0, ||K||_2 <= 1 }.",
    "Watson, Linear Algebra Appl. 170 (1992)",
    proved_by="nuclear_subgradient",
)
MONOTONICITY = Fact(
    "subdifferential monotonicity",
    "<g - h, X - Y> >= 0 for subgradients g, h of a convex function at X, Y; 0 is a subgradient at a minimizer.",
    "Rockafellar, Convex Analysis, sections 23-24",
    proved_by="nuclear_subgradient",
)
VON_NEUMANN = Fact(
    "von Neumann's trace inequality",
    "<X, Y> <= sum_i sigma_i(X) sigma_i(Y).",
    "Mirsky, Monatsh. Math. 79 (1975)",
    proved_by="von_neumann",
)
RANK = Fact(
    "rank of sums and limits",
    "rank(X + Y) <= rank X + rank Y; a limit of matrices of rank at most k has rank at most k.",
    "Horn, Johnson, Matrix Analysis, 2nd ed., section 0.4",
)
ROTFELD = Fact(
    "Rotfel'd",
    "sum_i sqrt(sigma_i(X + Y)) <= sum_i sqrt(sigma_i(X)) + sum_i sqrt(sigma_i(Y)).",
    "Rotfel'd, Funct. Anal. Appl. 1 (1967); Thompson, Linear Multilinear Algebra 4 (1976)",
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

THEOREM = Theorem(__doc__, CHECKS)

if __name__ == "__main__":
    raise SystemExit(run_module("facts", THEOREM))
