"""The largest singular values of matrices given by their products.

The certificate and the rank-growing convex solver need ``||G||_2`` and the top singular vectors of the gradient
``G``, never ``G`` itself. Up to ``DENSE_LIMIT`` entries a full SVD is taken, which is exact to rounding; beyond
that iterations, which prove nothing (certificates have their own): block Krylov spaces where a few digits will do,
and Golub-Kahan-Lanczos (through SciPy's ``svds``/ARPACK) for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._block_krylov import BLOCK, STRIDE, Krylov
from ._support.validate import Array
from .dense import DENSE_LIMIT, frobenius_norm, refuse_non_finite
from .linear_map import LinearMap, Outside, orthogonal

# Residuals, relative to the largest singular value: of directions that are only offered, and the limit of precision.
# Directions off by more cost the factored route rounds: ratings at 14 lam from nothing to 1e-4 take it 905 oracle calls
# at 0.015, 959 at 0.02, 1120 at 0.03 and 1610 at 0.05, as many as 0.015 at 0.01.
ROUGH, FINEST = 0.015, 1e-10

# With an inverse: residuals of directions that are only offered (20 lam in a row take 300 oracle calls for 294), the
# dimension of the space when it is looked at first, how many dimensions there are to be for each value above the level,
# and beyond how many the inverse is not one of this matrix.
INVERTED_ROUGH, INVERTED_LEAST, INVERTED_SHARE, INVERTED_MOST = 0.03, 2 * BLOCK, 2.5, 200

# Residuals from which on a block Krylov space has several singular vectors sooner than ARPACK, which goes on to all
# digits anyway (ten of 10,000 x 2000 to 0.1: 15 ms for 60).
LOOSE = 0.01

# Length of the random part of a start near known directions, which have length 1, and the blocks that it is given to
# show what is new: about 20 are needed without known directions.
BESIDE, FEWEST = 0.1, 4

# Of power iterations for a norm that is needed to a few percent.
POWER_STEPS = 12


@dataclass(frozen=True)
class TopSingular:
    """The k largest singular triplets of a :class:`LinearMap`.

    ``exact`` is True when they come from a full SVD; ``residual`` bounds, for each triplet, the distance from
    ``values`` to a true singular value (0 for a full SVD).
    """

    U: Array
    values: Array
    V: Array
    exact: bool
    residual: float

    @property
    def T(self) -> TopSingular:
        """Those of the transpose."""
        return replace(self, U=self.V, V=self.U)

    def part(self, chosen: Any) -> TopSingular:
        """Return some of the triplets."""
        return replace(self, U=self.U[:, chosen], values=self.values[chosen], V=self.V[:, chosen])


def spectral_norm_estimate(operator: LinearMap) -> float:
    """Estimate ``||G||_2`` by power iteration on ``G^T G`` from a fixed start (SAMPLED: a lower bound)."""
    v = np.random.default_rng(0).standard_normal((operator.shape[1], 1))
    value = 0.0
    for _ in range(POWER_STEPS):
        length = frobenius_norm(v)
        if length == 0.0:
            return 0.0
        u = operator.matmat(v / length)
        value = frobenius_norm(u)
        v = operator.rmatmat(u)
    return value


def top_singular(
    operator: LinearMap, k: int = 1, tol: float = 0.0, rng: np.random.Generator | None = None
) -> TopSingular:
    """Return the ``k`` largest singular triplets.

    Parameters
    ----------
    operator : LinearMap
        The matrix, m x n.
    k : int
        Number of triplets, at most ``min(m, n)``.
    tol : float
        Residual, relative to its value, that an iteration ends at for each triplet (0: machine precision).
    rng : numpy.random.Generator, optional
        Source of the start vector of the iteration. By default it is the same at every call, so that equal runs give
        equal results; a matrix whose top is orthogonal to that vector is then not seen. Fit for steps and starting
        points, never for a statement about the matrix.

    Raises
    ------
    ValueError
        For a matrix that is formed and has entries that are not finite.
    """
    m, n = operator.shape
    small = min(m, n)
    k = min(k, small)
    if m * n <= DENSE_LIMIT or k > small - 2:
        dense = operator.to_dense().astype(np.float64, copy=False)
        refuse_non_finite(dense)
        U, s, Vt = np.linalg.svd(dense, full_matrices=False)
        return TopSingular(U[:, :k], s[:k], Vt[:k].T, True, 0.0)
    rng = np.random.default_rng(0) if rng is None else rng
    found = _roughly_top(operator, k, tol, rng) if tol >= LOOSE else None
    if found is not None:
        return found

    import scipy.sparse.linalg as sla

    linear = sla.LinearOperator(
        (m, n),
        matvec=lambda v: operator.matmat(v.reshape(n, 1)).ravel(),
        rmatvec=lambda u: operator.rmatmat(u.reshape(m, 1)).ravel(),
        matmat=operator.matmat,
        rmatmat=operator.rmatmat,
        dtype=np.float64,
    )
    start = rng.standard_normal(small)
    image = operator.matmat(start[:, None]) if n <= m else operator.rmatmat(start[:, None])
    if not np.any(image):
        # The zero matrix, which ARPACK refuses.
        return TopSingular(np.eye(m, k), np.zeros(k), np.eye(n, k), False, 0.0)
    U, s, Vt = sla.svds(linear, k=k, tol=tol, v0=start, maxiter=50 * small)
    order = np.argsort(s)[::-1]
    U, s, V = U[:, order], s[order], Vt[order].T
    residual = max(
        float(np.linalg.norm(operator.matmat(V) - U * s, axis=0).max()),
        float(np.linalg.norm(operator.rmatmat(U) - V * s, axis=0).max()),
    )
    return TopSingular(U, s, V, False, residual)


def top_above(
    seen: Outside,
    k: int,
    more: int,
    level: float,
    rng: np.random.Generator | None = None,
    dense_limit: int = DENSE_LIMIT,
    near: TopSingular | None = None,
    inverse: LinearMap | None = None,
) -> TopSingular:
    """Find the top singular triplets of a matrix outside of two spaces, so far that it is known what is above a level.

    Of a gradient these are the spaces of ``X``: at a stationary point its singular values cluster at ``lam`` in them,
    where Lanczos is slow.

    Parameters
    ----------
    seen : Outside
        The matrix, m x n.
    k, more : int
        Number of triplets wanted, and where all of those are above the level.
    level : float
        Value of interest: the space grows while it cannot tell ``||S||_2`` from this level, or while values above it,
        or the next one, are inaccurate.
    rng : numpy.random.Generator, optional
        As for :func:`top_singular`.
    dense_limit : int
        Entries up to which a full SVD is taken.
    near : TopSingular, optional
        Triplets of a similar matrix, such as the one before: the iteration starts near them.
    inverse : LinearMap, optional
        Of ``t I - S^T S``, or of ``t I - S S^T`` on the shorter side, about, for a ``t`` above the largest eigenvalue:
        with it the iteration takes fewer steps.
    """
    m, n = seen.S.shape
    if m * n <= dense_limit or more > min(m, n) - 2:
        top = top_singular(seen.S, more)
    elif n > m:
        top = _iterated_top(seen.inner.T, seen.P, k, more, level, rng, None if near is None else near.U, inverse).T
    else:
        top = _iterated_top(seen.inner, seen.Q, k, more, level, rng, None if near is None else near.V, inverse)
    return top if top.values.size <= k or top.values[k - 1] > level else top.part(slice(k))


def _iterated_top(
    S: LinearMap,
    known: Array,
    k: int,
    more: int,
    level: float,
    rng: np.random.Generator | None,
    near: Array | None,
    inverse: LinearMap | None,
) -> TopSingular:
    """Return top triplets of a tall matrix from block Krylov spaces: ``more`` of them if ``k`` exceed the level.

    Vectors are orthogonal to the basis of what is ``known``, where products take them for that and leave them so.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    start = rng.standard_normal((S.shape[1], BLOCK))
    if near is not None:
        # Still a random block: what is not near the directions given is found too, if later.
        start *= BESIDE / np.linalg.norm(start, axis=0)
        start[:, : near.shape[1]] += near[:, :BLOCK]
    start = orthogonal(start, known)
    found = None if inverse is None else _inverted_top(S, known, k, more, level, start, inverse)
    return _krylov_top(S, k, more, level, start, 1 if near is None else FEWEST) if found is None else found


def _krylov_top(S: LinearMap, k: int, more: int, level: float, start: Array, fewest: int) -> TopSingular:
    """Return top triplets from a Krylov space of ``S^T S``."""
    space = Krylov(S, start)

    def enough(values: Array, residuals: Array) -> bool:
        return space.blocks >= fewest and _tells(values, residuals, level, ROUGH)

    values, residuals, vectors = _grown(space, more, enough)
    count = more if np.count_nonzero(values > level) >= k else k
    return _triplets(space, values[:count], vectors[:, :count], float(residuals[0]))


def _tells(values: Array, residuals: Array, level: float, rough: float) -> bool:
    """Return whether it is known what is above a level, and that accurately enough."""
    top, off = values[0], residuals[0]
    above = int(np.count_nonzero(values > level))
    known = above > 0 or top + off <= level
    inaccurate = residuals > rough * top
    # The next value is looked at too: while it is rough, others may be above that the space does not show yet.
    unclear = (inaccurate & (values + residuals > level))[: above + 1]
    return bool(off <= FINEST * top or (known and not inaccurate[0] and not unclear.any()))


def _inverted_top(
    S: LinearMap, known: Array, k: int, more: int, level: float, start: Array, inverse: LinearMap
) -> TopSingular | None:
    """Return top triplets from a Krylov space of an inverse (:func:`top_above`), None where it does not show them."""
    # Its products are projected, in the place of those with a transpose: the space is one of the inverse seen from what
    # is not known.
    space = Krylov(LinearMap(inverse.shape, inverse.matmat, lambda V: orthogonal(V, known)), start)
    basis, images, wanted = space.next_basis(), np.empty((S.shape[0], 0)), float(INVERTED_LEAST)
    while wanted <= INVERTED_MOST:
        while basis.shape[1] < wanted and not space.closed:
            space.grow()
            basis = space.next_basis()
        images = np.hstack([images, S.matmat(np.ascontiguousarray(basis[:, images.shape[1] :]))])
        squares, vectors = np.linalg.eigh(images.T @ images)
        above = int(np.count_nonzero(squares > level * level))
        count = min(max(k, above + 1), more, int(np.count_nonzero(squares > 0.0)))
        if count > 0 and (basis.shape[1] >= INVERTED_SHARE * (above + 1) or space.closed):
            values, chosen = np.sqrt(squares[: -count - 1 : -1]), vectors[:, : -count - 1 : -1]
            U, V = images @ chosen / values, basis @ chosen
            residuals = np.linalg.norm(S.rmatmat(U) - V * values, axis=0)
            if _tells(values, residuals, level, INVERTED_ROUGH):
                return TopSingular(U, values, V, False, float(residuals[0]))
        if space.closed:
            return None
        wanted = max(basis.shape[1] + 1.0, INVERTED_SHARE * (above + 1))
    return None


def _roughly_top(S: LinearMap, k: int, tol: float, rng: np.random.Generator) -> TopSingular | None:
    """Return ``k`` top triplets from a block Krylov space, None where it closes before it has as many."""
    if S.shape[1] > S.shape[0]:
        turned = _roughly_top(S.T, k, tol, rng)
        return None if turned is None else turned.T
    space = Krylov(S, rng.standard_normal((S.shape[1], BLOCK)))

    def enough(values: Array, residuals: Array) -> bool:
        return len(values) == k and bool((residuals <= tol * values).all())

    values, residuals, vectors = _grown(space, k, enough)
    return None if len(values) < k else _triplets(space, values, vectors, float(residuals.max()))


def _grown(space: Krylov, count: int, enough: Callable[[Array, Array], bool]) -> tuple[Array, Array, Array]:
    """Return the pairs of a space that has grown until they are enough or it is closed."""
    next_look = 1
    while True:
        space.grow()
        if not space.closed and space.blocks < next_look:
            continue
        next_look = space.blocks + max(1, int(STRIDE * space.blocks))
        values, residuals, vectors = space.pairs(count)
        if space.closed or enough(values, residuals):
            return values, residuals, vectors


def _triplets(space: Krylov, values: Array, vectors: Array, residual: float) -> TopSingular:
    """Return pairs of a space as triplets; the left vector of a value of 0 is 0."""
    V = space.vectors(vectors)
    U = space.S.matmat(V)
    lengths = np.linalg.norm(U, axis=0)
    return TopSingular(U / np.where(lengths > 0.0, lengths, 1.0), values, V, False, residual)
