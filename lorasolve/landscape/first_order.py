"""First-order stationarity of ``L(A, B)`` and the structure that it forces on the gradient of ``f``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .._support.text import for_json
from .._support.validate import Array, as_number
from ..dense import frobenius_norm
from ..linear_map import LinearMap
from ..low_rank import RANK_TOL, numerical_rank, truncated_svd
from ..problem import Problem, flat
from ..problem.natural_units import hides_gradient, may_hide_gradient
from ..singular_triplets import top_singular
from .canonical import Point, canonical


@dataclass(frozen=True)
class Stationarity:
    """How stationary a point is, in the problem with unit scaling.

    For several matrices lengths are those of all blocks together, ``rank`` is the sum and ``S_norm`` the largest.

    Attributes
    ----------
    value : float
        ``L(A, B)``.
    grad_A, grad_B, grad_norm : float
        ``||G B + lam A||_F``, ``||G^T A + lam B||_F`` and their root of squares.
    balance : float
        ``||A^T A - B^T B||_F``; zero at every stationary point with ``lam > 0``.
    rank : int
        Numerical rank of ``X = A B^T`` (singular values above ``rank_tol`` times the largest); for several matrices of
        all together, with the largest of all, so that a matrix that is switched off has rank 0.
    structure_residual : float
        ``||G + lam P Q^T - S||_F`` with ``P, Q`` the singular vectors of ``X`` and
        ``S = (I - P P^T) G (I - Q Q^T)``: zero at a stationary point with ``lam > 0``, and at every stationary
        point with ``A`` and ``B`` of the rank of ``X``.
    S_norm : float
        ``||S||_2``. At a stationary point with ``lam > 0`` it is at most ``lam`` exactly where ``0`` is a
        subgradient of ``F`` at ``X``; for convex ``f`` that is global optimality.
    is_fosp : bool
        Whether ``grad_norm <= limit``, and no gradient is hidden by factors of very different lengths: of more than 100
        times as long ones ``grad_A`` and ``grad_B`` are each held against the size of their own terms.
    limit : float
        ``tol (lam + ||G(0)||_2) ||(A, B)||``, as in the stopping rule of a run (``lorasolve/monitor.py``); where this
        is 0 with the curvature found at ``X`` times ``||X||_F`` in place of ``||G(0)||_2``.
    tol, rank_tol : float
        The tolerances used.
    """

    value: float
    grad_A: float
    grad_B: float
    grad_norm: float
    balance: float
    rank: int
    structure_residual: float
    S_norm: float
    is_fosp: bool
    limit: float
    tol: float
    rank_tol: float = RANK_TOL

    def __repr__(self) -> str:
        return (
            f"Stationarity(is_fosp={self.is_fosp}: ||grad L|| = {self.grad_norm:.3g} (limit {self.limit:.3g}), "
            f"balance {self.balance:.3g}, rank {self.rank}, ||S||_2 = {self.S_norm:.3g}, L = {self.value:.10g})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-ready values (infinite numbers as None)."""
        return dict(for_json(asdict(self)))


@np.errstate(over="ignore", invalid="ignore")
def stationarity(problem: Problem, A: Any, B: Any, tol: float = 1e-6) -> Stationarity:
    """Return gradient norms, balance and the decomposition ``G = -lam P Q^T + S`` at a point.

    Parameters
    ----------
    problem : Problem or MultiProblem
        Any problem whose update is ``s A B^T`` with both factors trained.
    A, B : array_like of shapes (m, r), (n, r)
        The factors; for several matrices sequences of them.
    tol : float
        Tolerance of ``is_fosp``, relative to the size of the gradient's terms.

    Raises
    ------
    ValueError, TypeError
        For adapters, shapes and numbers out of range.

    Notes
    -----
    Source: main paper, section 2 (consequences at a stationary point; proofs/stationary_structure).
    """
    tol = as_number(tol, "tol", 0.0)
    return stationarity_at(canonical(problem, A, B), tol)


def stationarity_at(point: Point, tol: float) -> Stationarity:
    """Return the :class:`Stationarity` of a point in the normal form."""
    value, grads = point.value_and_grad()
    grad_A = math.hypot(*(frobenius_norm(dA) for dA, _ in grads))
    grad_B = math.hypot(*(frobenius_norm(dB) for _, dB in grads))
    grad_norm = math.hypot(grad_A, grad_B)
    spectra = [truncated_svd(A, B) for A, B in point.factors]
    gradients = point.gradients()
    blocks = [(G, P, Q) for G, (P, _, Q) in zip(gradients, spectra)]
    units = point.problem.units
    theta = point.theta
    # Where the gradient at X = 0 is 0 and there is no decay, that at X is made of the curvature times X.
    slope = units.slope or point.problem.sampled_smoothness(theta) * max(map(frobenius_norm, point.updates))
    limit = tol * slope * max(frobenius_norm(theta), units.floor)
    hidden = may_hide_gradient(point.problem, theta, units.floor) and hides_gradient(
        point.problem, theta, flat(grads), tol, slope, units.floor
    )
    return Stationarity(
        value=value,
        grad_A=grad_A,
        grad_B=grad_B,
        grad_norm=grad_norm,
        balance=math.hypot(*(float(np.linalg.norm(A.T @ A - B.T @ B)) for A, B in point.factors)),
        rank=numerical_rank(np.concatenate([s for _, s, _ in spectra])),
        structure_residual=math.hypot(*(_structure_residual(*block, point.lam) for block in blocks)),
        S_norm=max(float(top_singular(complement(*block), rng=np.random.default_rng()).values[0]) for block in blocks),
        is_fosp=grad_norm <= limit and not hidden,
        limit=limit,
        tol=tol,
    )


def complement(G: LinearMap, P: Array, Q: Array) -> LinearMap:
    """Return ``S = (I - P P^T) G (I - Q Q^T)`` as an operator."""
    if G.dense is not None:
        left = G.dense - P @ (P.T @ G.dense)
        return LinearMap.from_dense(left - (left @ Q) @ Q.T)

    def off(basis: Array, V: Array) -> Array:
        return V - basis @ (basis.T @ V)

    return LinearMap(G.shape, lambda V: off(P, G.matmat(off(Q, V))), lambda U: off(Q, G.rmatmat(off(P, U))))


def _structure_residual(G: LinearMap, P: Array, Q: Array, lam: float) -> float:
    """Return the norm of ``G + lam P Q^T - S`` from ``G Q`` and ``G^T P`` alone.

    That matrix is ``R Q^T + P C^T`` with ``R = G Q + lam P`` and ``C`` the part of ``G^T P`` off ``Q``: its rows
    and columns are orthogonal, so the squared norms add.
    """
    if P.shape[1] == 0:
        return 0.0
    R = G.matmat(Q) + lam * P
    C = G.rmatmat(P)
    C = C - Q @ (Q.T @ C)
    return math.hypot(frobenius_norm(R), frobenius_norm(C))
