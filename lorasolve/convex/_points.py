"""Points of the factored route: each matrix and its gradient, seen from the spaces of the matrix and what escapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .._support.validate import Array
from ..certificates import Bound
from ..certificates.evidence import Estimates, Evidence
from ..dense import largest_singular_value
from ..linear_map import LinearMap, Outside, orthogonal
from ..low_rank import Svd, balanced, factor_svd
from ..problem.pairs import Pairs
from ..singular_triplets import TopSingular

# Escape directions offered per round: this many and, if all of them escape, half the present rank more, so that the
# rank grows geometrically.
GROWTH = 8
# How much further above lam the bound of a gradient's norm from those of its blocks may be than these are, before the
# norm is looked at more closely. With that 3000 entries scattered over 1600 x 1500, lam = 2, take 6 rounds to 1e-5 and
# 68 to 1e-9, where 200 did not end; ratings, sensing and softmax, whose gradients crowd less, are not touched.
CROWDED = 10.0


@dataclass(frozen=True)
class Block:
    """One matrix ``X = A B^T`` at a point, and its gradient on the spaces of ``X`` and of the escape directions.

    ``U`` (m, e) and ``V`` (n, e) are the escape directions, orthogonal to the spaces of ``X``; at ``X = 0`` there are
    no singular values ``s``. The gradient itself, which may be as large as the data, is not kept.
    """

    A: Array
    B: Array
    s: Array
    U: Array
    V: Array
    G: Array

    def svd(self) -> Svd:
        """Return the singular value decomposition of ``X``, of at least one triplet."""
        if self.s.size == 0:
            return factor_svd(self.A, self.B)
        root = np.sqrt(self.s)
        return self.A / root, self.s, self.B / root

    def vanishes(self, lam: float, beta: float) -> bool:
        """Whether a step ``1/beta`` makes a singular value vanish, up to the coupling of the singular vectors."""
        return bool(np.any(beta * self.s <= np.diag(self.G)[: self.s.size] + lam))

    def spaces(self) -> tuple[Array, Array]:
        """Return orthonormal bases, the singular vectors of ``X`` first: its balanced factors, normalised."""
        r, root = self.s.size, np.sqrt(self.s)
        return np.hstack([self.A[:, :r] / root, self.U]), np.hstack([self.B[:, :r] / root, self.V])


@dataclass(frozen=True)
class View:
    """One matrix ``X = A B^T = P diag(s) Q^T`` at a point, and its gradient ``G`` seen from its spaces."""

    A: Array
    B: Array
    P: Array
    s: Array
    G: LinearMap
    GQ: Array
    GtP: Array
    gradient: Outside

    def products(self) -> tuple[Array, Array]:
        """Return ``G B`` and ``G^T A``."""
        if self.s.size == 0:
            return np.zeros_like(self.A), np.zeros_like(self.B)
        root = np.sqrt(self.s)
        return self.GQ * root, self.GtP * root

    def outside(self, near: TopSingular) -> float:
        """Estimate the norm of the gradient outside of the spaces of ``X``, from what was large there before."""
        S = self.gradient.inner
        U = self.gradient.S.matmat(near.V[:, :GROWTH])
        # The squares of the gradient may overflow where it does not.
        U /= np.abs(U).max(initial=0.0) or 1.0
        V = np.linalg.qr(S.rmatmat(U))[0]
        return largest_singular_value(S.matmat(V))

    def norm(self, large: TopSingular, outside: float, residual: float, lam: float) -> float:
        """Estimate the norm of the gradient.

        Outside of the spaces of ``X`` it has the norm ``outside``, up to the ``residual``, and ``large`` directions.
        The norms of the blocks bound the whole. Where those beside the diagonal make most of what that is above
        ``lam``, it is looked for in the space of these directions and of those that the blocks lead to: where singular
        values crowd at ``lam`` it may be hundreds of times nearer.
        """
        most = self.gradient.norm(outside + residual)
        if most - lam <= CROWDED * (max(self.gradient.core, outside) - lam):
            return most
        Q = self.gradient.Q
        # What QR makes of dependent columns is chance: projected once more it is too short rather than too long.
        W = orthogonal(np.linalg.qr(np.hstack([large.V[:, :GROWTH], orthogonal(self.GtP, Q)]))[0], Q)
        inside = np.hstack([self.GQ, self.G.matmat(W)])
        return min(max(largest_singular_value(inside), outside), most)

    def block(self, escaping: TopSingular) -> Block:
        """Return what a round needs to know, given the escape directions."""
        U, V = escaping.U, escaping.V
        core = np.block([[self.P.T @ self.GQ, self.GtP.T @ V], [U.T @ self.GQ, np.diag(escaping.values)]])
        return Block(self.A, self.B, self.s, U, V, core)


@dataclass(frozen=True)
class Point:
    """All that a round needs to know at a point.

    Where a certificate may be asked for, ``estimates`` hold the products of the gradients with the factors.
    """

    blocks: tuple[Block, ...]
    f: float
    value: float
    bound: Bound
    estimates: Estimates
    evidence: Evidence | None = None

    def settled(self) -> Point:
        """Return the point without escape directions and products, for one that no step is taken from."""
        blocks = []
        for block in self.blocks:
            U, V = (np.empty((len(factor), 0)) for factor in (block.A, block.B))
            blocks.append(replace(block, U=U, V=V, G=np.empty((0, 0))))
        return replace(self, blocks=tuple(blocks), estimates=self.estimates._replace(products=None))

    @property
    def factors(self) -> Pairs:
        """The factors of each matrix."""
        return [(block.A, block.B) for block in self.blocks]

    @property
    def escapes(self) -> bool:
        """Whether there are escape directions."""
        return any(block.U.shape[1] > 0 for block in self.blocks)


def factors_of(spectra: Sequence[Svd]) -> Pairs:
    """Return the balanced factors of matrices given by their singular value decompositions."""
    return [balanced(*svd) for svd in spectra]
