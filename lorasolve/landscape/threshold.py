"""The smallest condition number at which some quadratic makes a given point spurious, by semidefinite programming."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.validate import Array, as_float_array, as_iterable, as_number, as_shape
from ..low_rank import numerical_rank
from ._symmetry import Symmetry
from .canonical import LARGEST_ENTRY, refuse_huge
from .instances import Quadratic

# H has order m n: beyond this the semidefinite program takes minutes.
MAX_ENTRIES = 36
# A^T A and B^T B, which are equal at a stationary point with decay, may differ by this share of them.
BALANCED = 1e-7


@dataclass(frozen=True, eq=False)
class Threshold:
    """The smallest ``kappa`` for which a quadratic of curvatures in ``[1, kappa]`` has a spurious point at ``(A, B)``.

    Attributes
    ----------
    kappa : float
        The solver's optimum; ``inf`` if no quadratic makes the point spurious.
    kappa_low : float
        CERTIFIED lower bound, recomputed outside the solver: the value of a dual point that was made feasible.
    kappa_high : float
        The condition number of ``H``, recomputed outside the solver; an upper bound as far as ``H`` meets the other
        constraints (``violations``).
    H : ndarray of shape (m n, m n) or None
        The Hessian that attains it (``vec`` row by row).
    T : ndarray of shape (m, n)
        The subgradient of the nuclear norm at ``X*`` that attains it (0 for ``lam = 0``).
    violations : dict
        Of ``H``, by NumPy alone: ``eigenvalue`` (how far the spectrum of ``H`` leaves ``[1, kappa]``), ``first_order``
        (``||grad L||``) and ``second_order`` (how far the smallest curvature of ``L`` lies below 0), in a unit in which
        the longer of ``X*`` and ``A B^T`` has a length from 1/2 to 2.
    feasible : bool
        Whether all violations are below ``tol``.
    tol : float
        The tolerance.
    X_star, lam
        As given.
    """

    kappa: float
    kappa_low: float
    kappa_high: float
    H: Array | None = field(repr=False)
    T: Array = field(repr=False)
    violations: dict[str, float]
    feasible: bool
    tol: float
    X_star: Array = field(repr=False)
    lam: float

    def objective(self) -> Quadratic:
        """Return the extremal quadratic as an objective.

        Raises
        ------
        ValueError
            If there is none (``kappa`` infinite).
        """
        if self.H is None:
            raise ValueError("threshold: no quadratic makes this point spurious, so there is no extremal one")
        return Quadratic(self.H, self.X_star, self.lam, self.T)


def sharp_threshold(A: ArrayLike, B: ArrayLike, X_star: ArrayLike, lam: float = 0.0, tol: float = 1e-6) -> Threshold:
    """Return the smallest ``kappa`` for which a quadratic of curvatures in ``[1, kappa]`` has a spurious ``(A, B)``.

    Over Hessians ``I <= H <= kappa I`` and subgradients ``T`` of the nuclear norm at ``X*``, with
    ``G = H (X - X*) - lam T``: minimise ``kappa`` subject to ``G B + lam A = 0``, ``G^T A + lam B = 0`` and a
    positive semidefinite Hessian of ``L`` at ``(A, B)``.

    For ``lam = 0`` it is the smallest ``beta/alpha`` of all quadratics. For ``lam > 0`` the least curvature is the unit
    of ``lam``: what holds ``beta/alpha`` of a loss of curvatures in ``[alpha, beta]`` from below is the threshold at
    ``lam/alpha``, which is another number in general.

    Parameters
    ----------
    A, B : array_like of shapes (m, r), (n, r)
        The point; ``m n <= 36``.
    X_star : array_like of shape (m, n)
        The global minimizer of ``F``, different from ``A B^T`` and of rank at most ``r``: of a larger one it cannot be
        reached, and the point may be the best of its rank.
    lam : float
        Weight decay over the least curvature, >= 0.
    tol : float
        Tolerance of ``feasible``.

    Returns
    -------
    Threshold

    Raises
    ------
    ValueError
        If ``A B^T = X_star``, the rank of ``X_star`` exceeds ``r``, sizes do not agree or are too large, or the solver
        fails.

    Notes
    -----
    Derived for this project; needs cvxpy. For 2 x 2, ``r = r* = 1``, ``lam = 0`` the threshold is ``3 + 2 sqrt 2`` for
    an orthogonal point of the length of ``X*``, and 3 for an orthogonal point of half its length.
    """
    A, B = as_float_array(A, "A", 2, np.float64), as_float_array(B, "B", 2, np.float64)
    as_shape(B, "B", (B.shape[0], A.shape[1]))
    m, n = A.shape[0], B.shape[0]
    X_star = as_shape(as_float_array(X_star, "X_star", 2, np.float64), "X_star", (m, n))
    lam, tol = as_number(lam, "lam", 0.0, LARGEST_ENTRY), as_number(tol, "tol", 0.0, open_low=True)
    if m * n > MAX_ENTRIES:
        raise ValueError(f"X_star: at most {MAX_ENTRIES} entries are accepted (H has order m n), got {m} x {n}")
    for name, part in (("A", A), ("B", B), ("X_star", X_star)):
        refuse_huge(part, name)
    if np.allclose(A @ B.T, X_star, atol=1e-8 * float(np.abs(X_star).max())):
        raise ValueError("X_star: equals A B^T, so the point is not spurious")
    r_star = numerical_rank(np.linalg.svd(X_star, compute_uv=False))
    if r_star > A.shape[1]:
        raise ValueError(f"X_star: expected a matrix of rank at most r = {A.shape[1]}, got one of rank {r_star}")
    # The threshold has no unit, the tolerances of the solver have one. With a power of 4 nothing is rounded.
    unit = 4.0 ** round(math.log(max(float(np.linalg.norm(X)) for X in (A @ B.T, X_star)), 4.0))
    root = math.sqrt(unit)
    found = _Program(A / root, B / root, X_star / unit, lam / unit).solve(tol)
    return replace(found, X_star=X_star, lam=lam)


def threshold_map(angles: Sequence[float], scales: Sequence[float], lam: float = 0.0) -> Array:
    """Return the threshold for 2 x 2, ``r = r* = 1`` over the angle and the length of the point.

    ``X* = e_1 e_1^T`` and ``A B^T = scale a a^T`` with ``a`` at the given angle to ``e_1``.

    Parameters
    ----------
    angles : sequence of float
        In radians.
    scales : sequence of float
        Lengths ``||A B^T||_F``, > 0.
    lam : float
        Weight decay over the least curvature.

    Returns
    -------
    ndarray of shape (len(angles), len(scales))
        ``inf`` where no quadratic makes the point spurious.

    Raises
    ------
    ValueError, TypeError
        For numbers out of range, and where a point is ``X*`` itself.
    """
    X_star = np.diag([1.0, 0.0])
    angles = [as_number(angle, "angles") for angle in as_iterable(angles, "angles")]
    scales = [as_number(scale, "scales", 0.0, LARGEST_ENTRY, open_low=True) for scale in as_iterable(scales, "scales")]
    lam = as_number(lam, "lam", 0.0, LARGEST_ENTRY)
    out = np.empty((len(angles), len(scales)))
    for i, angle in enumerate(angles):
        unit = np.array([[np.cos(angle)], [np.sin(angle)]])
        for j, scale in enumerate(scales):
            factor = np.sqrt(scale) * unit
            out[i, j] = sharp_threshold(factor, factor, X_star, lam).kappa
    return out


class _Program:
    """The linear maps of the program and their adjoints, shared by the solver and by both re-checks."""

    def __init__(self, A: Array, B: Array, X_star: Array, lam: float) -> None:
        self.A, self.B, self.X_star, self.lam = A, B, X_star, lam
        (self.m, self.r), self.n = A.shape, B.shape[0]
        self.e = (A @ B.T - X_star).ravel()
        self.J = self._jacobian()
        P, s, Qt = np.linalg.svd(X_star)
        k = numerical_rank(s)
        self.P_off, self.Q_off = P[:, k:], Qt[k:].T
        self.T_fixed = P[:, :k] @ Qt[:k]
        # Along the symmetries the Hessian of L is 0, and along the columns of B the second gradient follows from the
        # first and A^T A = B^T B: with both in the program it had no interior, and the solver failed.
        self.moving = Symmetry([(A, B)], lam).complement()
        left, values, _ = np.linalg.svd(B)
        self.B_off = left[:, numerical_rank(values) :]

    def is_balanced(self) -> bool:
        """Whether the point can be stationary, which with decay takes ``A^T A = B^T B``."""
        gram, other = self.A.T @ self.A, self.B.T @ self.B
        return not self.lam or float(np.abs(gram - other).max()) <= BALANCED * float(np.abs(gram).max())

    def _jacobian(self) -> Array:
        """Return ``J``: ``vec(U B^T + A V^T)`` from the flat direction ``(U, V)``."""
        m, n, r = self.m, self.n, self.r
        columns = []
        for unit in np.eye((m + n) * r):
            U, V = unit[: m * r].reshape(m, r), unit[m * r :].reshape(n, r)
            columns.append((U @ self.B.T + self.A @ V.T).ravel())
        return np.array(columns).T

    def coupling(self, G: Array) -> Array:
        """Return the symmetric matrix of the form ``2 <G, U V^T>``."""
        m, n, r = self.m, self.n, self.r
        K = np.zeros(((m + n) * r, (m + n) * r))
        K[: m * r, m * r :] = np.kron(G, np.eye(r))
        return K + K.T

    def coupling_adjoint(self, Y: Array) -> Array:
        """Return the ``C`` with ``<Y, coupling(G)> = <C, G>``."""
        m, n, r = self.m, self.n, self.r
        return 2.0 * np.einsum("ikjk->ij", Y[: m * r, m * r :].reshape(m, r, n, r))

    def solve(self, tol: float) -> Threshold:
        """Solve the program and re-check both sides."""
        if not self.is_balanced():
            return self.none(tol)
        import cvxpy as cp

        m, n, r, lam = self.m, self.n, self.r, self.lam
        size = m * n
        H = cp.Variable((size, size), symmetric=True)
        kappa = cp.Variable()
        W = None
        T: Any = self.T_fixed
        if lam and self.P_off.size and self.Q_off.size:
            W = cp.Variable((self.P_off.shape[1], self.Q_off.shape[1]))
            T = self.T_fixed + self.P_off @ W @ self.Q_off.T
        G = cp.reshape(H @ self.e, (m, n), order="C") - lam * T
        coupling = cp.bmat(
            [
                [np.zeros((m * r, m * r)), cp.kron(G, np.eye(r))],
                [cp.kron(G.T, np.eye(r)), np.zeros((n * r, n * r))],
            ]
        )
        curvature = self.moving.T @ (self.J.T @ H @ self.J + coupling + lam * np.eye((m + n) * r)) @ self.moving
        constraints = [
            H - np.eye(size) >> 0,
            kappa * np.eye(size) - H >> 0,
            0.5 * (curvature + curvature.T) >> 0,
            G @ self.B + lam * self.A == 0,
        ]
        if self.B_off.size:
            constraints.append(self.B_off.T @ (G.T @ self.A) == 0)
        if W is not None:
            constraints.append(cp.sigma_max(W) <= 1.0)
        program = cp.Problem(cp.Minimize(kappa), constraints)
        with warnings.catch_warnings():
            # "Solution may be inaccurate": both sides are checked below.
            warnings.simplefilter("ignore", UserWarning)
            try:
                program.solve(solver=cp.CLARABEL)
            except cp.SolverError as error:
                raise ValueError(f"A, B, X_star, lam: the semidefinite program cannot be solved ({error})") from error
        if program.status in ("infeasible", "infeasible_inaccurate"):
            return self.none(tol)
        if program.status not in ("optimal", "optimal_inaccurate"):
            raise ValueError(f"A, B, X_star, lam: the semidefinite program ended with status {program.status!r}")
        T_value = np.zeros((m, n)) if not lam else np.asarray(self.T_fixed if W is None else T.value)
        optimum = float(np.asarray(kappa.value))
        H_value = np.asarray(H.value)
        H_value = 0.5 * (H_value + H_value.T)
        violations, high = self.check_primal(H_value, T_value, optimum)
        low = self.dual_bound(self.multipliers([c.dual_value for c in constraints]))
        feasible = max(violations.values()) <= tol
        return Threshold(optimum, low, high, H_value, T_value, violations, feasible, tol, self.X_star, lam)

    def none(self, tol: float) -> Threshold:
        """Return the answer that no quadratic makes the point spurious."""
        no_T = np.zeros((self.m, self.n))
        return Threshold(np.inf, np.nan, np.inf, None, no_T, {}, False, tol, self.X_star, self.lam)

    def multipliers(self, found: list[Array]) -> list[Array]:
        """Return the multipliers of the whole curvature and of both gradients from those of the program's parts."""
        y_B = self.B_off @ found[4] if self.B_off.size else np.zeros_like(self.B)
        return [found[0], found[1], self.moving @ found[2] @ self.moving.T, found[3], y_B]

    def check_primal(self, H: Array, T: Array, kappa: float) -> tuple[dict[str, float], float]:
        """Return the constraint violations of ``H`` by NumPy alone, and its condition number."""
        values = np.linalg.eigvalsh(H)
        G = (H @ self.e).reshape(self.m, self.n) - self.lam * T
        grad_A, grad_B = G @ self.B + self.lam * self.A, G.T @ self.A + self.lam * self.B
        hessian = self.J.T @ H @ self.J + self.coupling(G) + self.lam * np.eye((self.m + self.n) * self.r)
        violations = {
            "eigenvalue": max(0.0, 1.0 - float(values[0]), float(values[-1]) - kappa),
            "first_order": float(np.hypot(np.linalg.norm(grad_A), np.linalg.norm(grad_B))),
            "second_order": max(0.0, -float(np.linalg.eigvalsh(hessian)[0])),
        }
        return violations, float(values[-1] / values[0])

    def dual_bound(self, duals: list[Array]) -> float:
        """Return a lower bound on ``kappa`` from a dual point, made feasible here.

        With ``Y2 >= 0`` of trace one, ``Y3 >= 0``, any ``y_A, y_B`` and ``Y1 = Y2 - J Y3 J^T - sym(C e^T)``, where
        ``C`` collects what multiplies ``G``, weak duality gives ``kappa >= tr Y1 + (terms in lam)`` if ``Y1 >= 0``. A
        smallest eigenvalue ``-eta`` of ``Y1`` costs at most ``eta tr(H - I) <= eta m n (kappa - 1)``.
        """
        lam = self.lam
        best = 1.0
        # Solvers differ in the sign of equality multipliers: either sign gives a valid bound, so both are tried.
        for sign in (1.0, -1.0):
            Y2, Y3 = _positive_part(duals[1]), _positive_part(duals[2])
            trace = float(np.trace(Y2))
            if trace <= 0.0:
                continue
            Y2, Y3 = Y2 / trace, Y3 / trace
            y_A, y_B = sign * duals[3] / trace, sign * duals[4] / trace
            C = self.coupling_adjoint(Y3) + y_A @ self.B.T + self.A @ y_B.T
            outer = np.outer(C.ravel(), self.e)
            Y1 = Y2 - self.J @ Y3 @ self.J.T - 0.5 * (outer + outer.T)
            eta = max(0.0, -float(np.linalg.eigvalsh(Y1)[0]))
            value = float(np.trace(Y1)) - lam * float(np.trace(Y3))
            value -= lam * float(np.vdot(y_A, self.A) + np.vdot(y_B, self.B))
            # The Lagrangian contains + lam <C, T>; its least value over the free part of T is minus a nuclear norm.
            value += lam * float(np.vdot(C, self.T_fixed))
            free = self.P_off.T @ C @ self.Q_off
            value -= lam * float(np.linalg.svd(free, compute_uv=False).sum())
            cost = eta * self.m * self.n
            best = max(best, (value + cost) / (1.0 + cost))
        return best


def _positive_part(Y: Array) -> Array:
    values, vectors = np.linalg.eigh(0.5 * (Y + Y.T))
    return (vectors * np.maximum(values, 0.0)) @ vectors.T
