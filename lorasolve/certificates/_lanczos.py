"""The largest singular value of a matrix known by products only, with a stated probability of failure.

Let ``v`` be a unit vector drawn uniformly (a normalised Gaussian one), ``k`` the dimension of the Krylov space that it
generates under ``S^T S``, and ``theta`` the norm of ``S`` on that space. Then, for ``n >= 3`` columns,

    ||S||_2 <= theta cosh(arcosh(sqrt(2 n / pi) / delta) / (2 k - 1))

with probability at least ``1 - delta``, for one and the same event for all ``k``: stopping early costs nothing.

With ``b`` independent starts the norm on the sum of their spaces is at least that on each, so the bound is wrong only
if it is wrong for all of them: ``delta^(1/b)`` takes the place of ``delta``. At ``b = 8`` and ``delta = 1e-12`` a
quarter of the steps gives the same bound. The algebra of the proof is in proofs/random_start, which names what is
cited.

Where many singular values lie just below the norm, as those of a gradient do just below ``lam``, the bound comes down
slowly long after the space knows them. Then the pairs that it knows are taken out, and what is left, whose norm is
smaller, is bounded from fresh starts, independent of all that was taken out; the norm of the 2 x 2 matrix of the norms
of the blocks bounds that of ``S``. On a million ratings (6040 x 3706) 60 blocks do what took 164.

Proof (the bound of Kuczynski and Wozniakowski, SIAM Journal on Matrix Analysis and Applications 13, 1992, theorem 4.2,
before its last simplifications). Let ``1`` be the largest eigenvalue of ``S^T S``, ``b_i`` the coefficients of ``v`` in
its eigenvectors, and suppose that the Ritz values are below ``1 - e``. For every polynomial ``p`` of degree ``k - 1``,
``sum_i b_i^2 p(x_i)^2 (x_i - (1 - e)) <= 0``. With ``y = sqrt(1 - x / (1 - e))`` take ``p(x) = T(y) / y`` for the
Chebyshev polynomial ``T`` of degree ``2 k - 1``, which is odd: ``|T| <= 1`` where ``x <= 1 - e``, and at ``x = 1`` it
is ``+-i sinh((2 k - 1) artanh sqrt e)``. This gives ``b_1^2 sinh^2(..) <= 1 - b_1^2``, that is
``|b_1| <= 1 / cosh((2 k - 1) artanh sqrt e)``, and ``P(|b_1| <= t) <= t sqrt(2 n / pi)``. Solve for ``e``, with
``1 / (1 - e) = cosh^2(artanh sqrt e)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .._block_krylov import BLOCK, STRIDE, Krylov
from .._support.validate import Array
from ..linear_map import LinearMap, outside

# The probability with which a sampled bound may be wrong; it enters through its logarithm only.
FAILURE = 1e-12
# Beyond this many blocks 3e-4 of the bound is all that could still be gained.
MOST_BLOCKS = 200
PRECISION = 3e-4
# Pairs with a residual below this, relative to the norm, can be taken out, and how far what is left must be below the
# norm: then the two together say no more than 1e-6 of it.
SETTLED = 1e-5
APART = 1e-3
# Rounding errors of the recurrence, which is reorthogonalised, relative to the norm.
ROUNDING = 1e-12


@dataclass(frozen=True)
class SampledNorm:
    """What is known about ``||S||_2``: attained from below by a pair of unit vectors, bounded from above by chance."""

    least: float
    most: float
    u: Array
    v: Array

    def tells(self, level: float) -> bool:
        """Return whether the bound is below a level of interest, or as sharp as it may become."""
        return self.most <= max(level, self.least * (1.0 + PRECISION))


def sampled_norm(S: LinearMap, level: float, failure: float = FAILURE, most_blocks: int = MOST_BLOCKS) -> SampledNorm:
    """Bound ``||S||_2`` from above except with probability ``failure``, by Lanczos from starts of fresh entropy.

    Parameters
    ----------
    S : LinearMap
        m x n, at least 3 on its shorter side.
    level : float
        A value of interest: the run ends once the bound is below it.
    failure : float
        The probability of a bound that is too small, over the random starts, in exact arithmetic.
    most_blocks : int
        After so many the bound is what it is by then.
    """
    m, n = S.shape
    if n > m:
        turned = sampled_norm(S.T, level, failure, most_blocks)
        return SampledNorm(turned.least, turned.most, turned.v, turned.u)
    starts = min(BLOCK, n)
    # All starts must miss the top for the bound to be wrong.
    own = 0.5 * failure  # the other half is for what may be left, which has starts of its own
    room = math.acosh(max(math.sqrt(2.0 * n / math.pi) / own ** (1.0 / starts), 1.0))
    space = Krylov(S, np.random.default_rng().standard_normal((n, starts)))
    next_look = 2
    while True:
        space.grow()
        last = space.closed or space.blocks == most_blocks
        if not last and space.blocks < next_look:
            continue
        next_look = space.blocks + max(2, int(STRIDE * space.blocks))
        values, V, residuals = space.triplets(space.dimension // 2)
        theta = float(values[0])
        growth = math.cosh(room / (2 * space.blocks - 1))
        most = theta * growth * (1.0 + ROUNDING)
        if last or most <= level or growth <= 1.0 + PRECISION:
            break
        known = int(np.argmax(residuals > SETTLED * theta))
        if known and _blocks(room, theta * (1.0 - APART) / float(values[known])) <= space.blocks // 2:
            most = _apart(S, V[:, :known], theta, own, most_blocks)
            break
    v = space.triplets(1)[1]
    u = S.matmat(v)
    u /= float(np.linalg.norm(u)) or 1.0
    if space.closed:
        # S^T S leaves the space alone, so its complement can be looked at by itself.
        most = theta * (1.0 + ROUNDING)
        if theta > 0.0 and space.dimension < n:
            most = max(most, sampled_norm(_without(S, space.basis()), level, own, most_blocks).most)
    return SampledNorm(theta, most, u[:, 0], v[:, 0])


def _blocks(room: float, growth: float) -> float:
    """Return how many blocks bring the bound down to ``growth`` times what is attained."""
    return 0.5 * (room / math.acosh(growth) + 1.0) if growth > 1.0 else math.inf


def _apart(S: LinearMap, V: Array, theta: float, failure: float, most_blocks: int) -> float:
    """Bound ``||S||_2`` with the right singular vectors ``V`` and their images taken out."""
    V = np.linalg.qr(V)[0]
    U = np.linalg.qr(S.matmat(V))[0]
    seen = outside(S, U, V)
    rest = sampled_norm(seen.S, theta * (1.0 - APART), failure, most_blocks)
    return seen.norm(rest.most) * (1.0 + ROUNDING)


def _without(S: LinearMap, V: Array) -> LinearMap:
    """Return ``S (I - V V^T)`` for orthonormal columns."""

    def matmat(W: Array) -> Array:
        return S.matmat(W - V @ (V.T @ W))

    def rmatmat(W: Array) -> Array:
        W = S.rmatmat(W)
        return W - V @ (V.T @ W)

    return LinearMap(S.shape, matmat, rmatmat)
