"""PoLAR: two orthonormal direction matrices and a free r x r matrix between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._support.validate import Array
from ..objectives.base import Objective
from ._scaling import check_alpha, scaling
from .base import Adapter, split

if TYPE_CHECKING:
    from ..problem import Problem


@dataclass(frozen=True)
class PoLAR(Adapter):
    """``X = s P(A) M P(B)^T`` with ``P(A) = A (A^T A)^{-1/2}``, the nearest orthonormal matrix, and ``M`` (r, r) free.

    ``M`` follows the factors in ``theta`` and starts at zero. At orthonormal factors the gradient in ``A`` is the
    Riemannian gradient on the Stiefel manifold, and a step followed by ``P`` its polar retraction, so that any
    optimizer descends on the manifold; the lengths of the factors do not matter to ``X``.

    Parameters
    ----------
    alpha : float, optional
        Without it ``s = 1``; with it ``s = alpha/r``.

    Notes
    -----
    Source: K. Lion et al., PoLAR, arXiv:2506.03133, of which the abstract was at hand (two direction matrices on
    Stiefel manifolds, an unconstrained scale matrix). Departure: the constraint is built in by ``P``; the authors come
    near it by a landing method. The updates are those of LoRA, rank at most r.

    Weight decay acts on the lengths of the factors, which ``X`` does not see: the least penalty of any update is 0, and
    with ``lam > 0`` the factors only shrink. Use ``lam = 0``.
    """

    alpha: float | None = None

    name = "polar"
    summary = "X = s P(A) M P(B)^T with orthonormal P(A), P(B) and a free r x r matrix M (PoLAR)"

    @classmethod
    def showcase(cls, problem: Problem) -> str:
        """Return gradient descent without decay, from factors that have directions."""
        return f"gd@{cls.name}~balanced/lam=0"

    def __post_init__(self) -> None:
        check_alpha(self.alpha)

    @property
    def needs_nonzero_columns(self) -> bool:
        """True: a factor needs independent columns."""
        return True

    @property
    def has_nuclear_penalty(self) -> bool:
        """True, with the weight 0: decay costs an update nothing."""
        return True

    def scale_at(self, rank: int) -> float:
        """Return ``s`` for factors of the given rank."""
        return scaling(self.alpha, rank)

    def n_extra(self, shape: tuple[int, int], rank: int) -> int:
        """Return the number of entries of ``M``."""
        return rank * rank

    def initial_extra(self, objective: Objective, A: Array, B: Array) -> Array:
        """Return ``M = 0``, so that a run starts at the frozen weight.

        Raises
        ------
        ValueError
            If a factor's columns are dependent: it has no nearest orthonormal matrix.
        """
        for name, factor in (("A", A), ("B", B)):
            if np.linalg.matrix_rank(factor) < factor.shape[1]:
                why = f"'polar' needs independent columns, and those of {name} are not; use init='balanced'"
                raise ValueError(f"init: {why}")
        return np.zeros(A.shape[1] ** 2)

    def value_and_grad(self, objective: Objective, theta: Array, rank: int, grad: Array) -> float:
        """Write the gradients in ``A``, ``B`` and ``M`` into ``grad`` and return ``f(X)``."""
        A, B, M = split(theta, objective.shape, rank)
        dA, dB, dM = split(grad, objective.shape, rank)
        scaled = self.scale_at(rank) * M.reshape(rank, rank)
        left, right = _Polar(A), _Polar(B)
        f = objective.factor_oracle(left.Q @ scaled, right.Q, dA, dB)  # dA holds G P(B)
        dM[:] = self.scale_at(rank) * (left.Q.T @ dA).ravel()
        dA[:] = left.pulled_back(dA @ scaled.T)
        dB[:] = right.pulled_back(dB)
        return f

    def update(self, objective: Objective, theta: Array, rank: int) -> Array:
        """Return ``s P(A) M P(B)^T``."""
        A, B, M = split(theta, objective.shape, rank)
        return self.scale_at(rank) * (_Polar(A).Q @ M.reshape(rank, rank) @ _Polar(B).Q.T)


class _Polar:
    """The polar factor ``Q`` of a matrix ``A = Q K`` with independent columns, and the transpose of its derivative."""

    def __init__(self, A: Array) -> None:
        U, k, Wt = np.linalg.svd(A, full_matrices=False)
        self.Q, self.k, self.W = U @ Wt, k, Wt.T

    def pulled_back(self, H: Array) -> Array:
        """Return the gradient in ``A`` of a function with the gradient ``H`` in ``Q``.

        ``dQ = (dA - Q dK) K^{-1}`` with ``K dK + dK K = dA^T A + A^T dA``: the transpose is ``H K^{-1} - 2 A Z`` with
        ``K Z + Z K`` the symmetric part of ``Q^T H K^{-1}``; written in the eigenvectors ``W`` of ``K``.
        """
        C = self.Q.T @ H @ self.W / self.k
        inner = self.W.T @ C
        Z = 0.5 * (inner + inner.T) / (self.k[:, None] + self.k)
        return (H @ self.W / self.k - 2.0 * (self.Q @ self.W) * self.k @ Z) @ self.W.T
