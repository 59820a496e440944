"""Riemannion: Muon on the matrices of fixed rank, a momentum in the tangent space, orthogonalised."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .._support.validate import Array
from ..dense import polar
from ..low_rank import balanced, factor_svd
from ..problem import Problem
from ._balanced import is_balanced
from ._orthogonalised import Orthogonalised
from .base import State, both_factors_refusal

# A matrix of rank at most 2r as two factors.
Pair = tuple[Array, Array]


@dataclass
class RiemannionState(State):
    """State with the momentum ``L R^T``, a tangent vector at the accepted point."""

    velocity: Pair = field(default_factory=lambda: (np.empty((0, 0)), np.empty((0, 0))))


@dataclass(frozen=True)
class Riemannion(Orthogonalised):
    """``X <- [X - step * P_X(polar(M))]_r`` with ``M <- momentum * P_X(M) + P_X(G)``.

    ``P_X`` is the projection on the tangent space of the rank-r matrices at ``X``, which also brings the momentum from
    one point to the next; ``polar(M) = U V^T`` for ``M = U S V^T``, of rank at most ``2r``; ``[.]_r`` the best matrix
    of rank r. ``G`` is the gradient of ``f + (lam/s) ||.||_*`` there. The step does not depend on how ``X`` is
    factored. Only matrices with ``2r`` columns are formed.

    A step has one length however small the gradient is: at a constant step the iterates hover, add the schedule
    ``"cosine"``.

    Parameters
    ----------
    step_size : float
        Length of a step of the weight: its spectral norm is at most twice that.
    momentum : float
        In [0, 1). 0 is spectral descent on the manifold.
    nesterov : bool
        Orthogonalise ``P_X(G) + momentum * M`` instead of ``M``.

    Notes
    -----
    Source: V. Bogachev et al., Riemannion (arXiv:2507.12142), of which the abstract was at hand: an optimizer on the
    fixed-rank manifold that generalises Muon, independent of the parametrization. From the abstract alone are the
    manifold and the orthogonalisation. Chosen here: transport by projection, the projection of the polar factor (which
    is no tangent vector) back on the tangent space, the exact polar factor and the truncated SVD, Muon's momentum and
    its ``nesterov``, and the start: from ``B = 0``, which is not of rank r, the first step is
    ``-step * Q polar(G^T Q)^T``, ``Q`` an orthonormal basis of the columns of ``A``; from other unbalanced factors it
    is the balancing itself. Its start informed by the gradient is not here; ``lora_ga`` is another one. Fixed points:
    the stationary points of ``L`` (a decaying step makes the iterates settle there).
    """

    name = "riemannion"
    summary = "Muon on the rank-r matrices: orthogonalised tangent momentum, retraction by truncated SVD"

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters whose update is not ``s A B^T`` with both factors trained, or None."""
        return both_factors_refusal(problem)

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> RiemannionState:
        """Return the state at rest."""
        A, B, _ = problem.split(theta)
        velocity = np.zeros((A.shape[0], 1), A.dtype), np.zeros((B.shape[0], 1), B.dtype)
        return RiemannionState(theta.copy(), theta.copy(), step=self.step_size, velocity=velocity)

    def update(self, problem: Problem, state: RiemannionState, value: float, grad: Array) -> None:
        """Accept the trial and step along the orthogonalised momentum."""
        state.theta, state.trial = state.trial, state.theta
        if not (np.isfinite(state.theta).all() and np.isfinite(grad).all()):
            state.trial[:] = np.nan
            return
        A, B, _ = problem.split(state.theta)
        GA, GB, _ = problem.split(grad)
        new_A, new_B, _ = problem.split(state.trial)
        # Of A B^T, which is the weight's update over s.
        step = state.step * state.step_factor / problem.scale
        if not B.any() or not A.any():
            new_A[:], new_B[:] = _first_step(A, B, GA, GB, step)
        elif not is_balanced(A, B):
            new_A[:], new_B[:] = balanced(*factor_svd(A, B))
        else:
            new_A[:], new_B[:] = self._step(state, A, B, GA, GB, step)

    def _step(self, state: RiemannionState, A: Array, B: Array, GA: Array, GB: Array, step: float) -> Pair:
        """Return balanced factors of the next point, and leave the momentum in the state."""
        unit = _inverse_roots(A, B)
        U, V = A * unit, B * unit
        # G V and G^T U, G with the gradient of the penalty: those of L in the factors are these times the roots.
        gradient = _tangent(U, V, GA * unit, GB * unit)
        L, R = state.velocity
        state.velocity = _sum(gradient, _scaled(self.momentum, _tangent(U, V, L @ (R.T @ V), R @ (L.T @ U))))
        moved = _sum(gradient, _scaled(self.momentum, state.velocity)) if self.nesterov else state.velocity
        L, R = _orthogonalised(moved)
        L, R = _tangent(U, V, L @ (R.T @ V), R @ (L.T @ U))
        P, s, Q = factor_svd(np.hstack([A, -step * L]), np.hstack([B, R]))
        r = A.shape[1]
        return balanced(P[:, :r], s[:r], Q[:, :r])


def _inverse_roots(A: Array, B: Array) -> Array:
    """Return the inverse roots of the singular values at balanced factors, 0 where there is none."""
    root = np.sqrt(np.sqrt(np.sum(A * A, axis=0) * np.sum(B * B, axis=0)))
    floor = np.sqrt(np.finfo(A.dtype).eps * root.size) * root.max(initial=0.0)
    return np.divide(1.0, root, out=np.zeros_like(root), where=root > floor)


def _tangent(U: Array, V: Array, HV: Array, HU: Array) -> Pair:
    """Return ``U U^T H + H V V^T - U U^T H V V^T`` from ``H V`` and ``H^T U``."""
    return np.hstack([HV, U]), np.hstack([V, HU - V @ (HV.T @ U)])


def _sum(one: Pair, other: Pair) -> Pair:
    """Return the sum of two tangent vectors at one point, whose halves ``U`` and ``V`` agree."""
    r = one[0].shape[1] // 2
    (L, R), (K, S) = one, other
    return np.hstack([L[:, :r] + K[:, :r], L[:, r:]]), np.hstack([R[:, :r], R[:, r:] + S[:, r:]])


def _scaled(factor: float, pair: Pair) -> Pair:
    r = pair[0].shape[1] // 2
    L, R = pair
    return np.hstack([factor * L[:, :r], L[:, r:]]), np.hstack([R[:, :r], factor * R[:, r:]])


def _orthogonalised(pair: Pair) -> Pair:
    """Return the polar factor of ``L R^T`` as two factors."""
    (Q, L), (P, R) = np.linalg.qr(pair[0]), np.linalg.qr(pair[1])
    return Q @ polar(L @ R.T), P


def _first_step(A: Array, B: Array, GA: Array, GB: Array, step: float) -> Pair:
    """Return balanced factors of one orthogonal step from a zero factor, in the directions of the other."""
    if A.any():
        B, A = _first_step(B, A, GB, GA, step)
        return A, B
    if not B.any():
        return A, B
    Q, triangle = np.linalg.qr(B)
    root = np.sqrt(step)
    return -root * polar(GA @ np.linalg.pinv(triangle)), root * Q
