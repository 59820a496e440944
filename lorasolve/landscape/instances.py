"""Objectives whose landscape is known in closed form, spurious minima included."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.validate import MOST_ROWS, Array, as_float_array, as_integer, as_number, as_shape
from ..objectives.base import Objective
from .canonical import LARGEST_ENTRY
from .constants import Constants
from .regimes import Regime, regime


class _AroundMinimizer(Objective):
    """``f(X) = <X - X*, H (X - X*)>/2 - lam <T, X>``, with ``T`` a subgradient of the norm at ``X*``."""

    X_star: Array
    T: Array
    lam: float

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and ``H (X - X*) - lam T``."""
        E = X - self.X_star
        HE = self.hessian_product(X, E)
        return 0.5 * float(np.vdot(E, HE)) - self.lam * float(np.vdot(self.T, X)), HE - self.lam * self.T


class _WithSpuriousPoint(_AroundMinimizer):
    """One that has a spurious point too: ``sigma`` on the ``r`` diagonal places after the ``r*`` of ``X*``."""

    r: int
    r_star: int
    sigma: float

    def stationary_factors(self) -> tuple[Array, Array]:
        """Return balanced factors ``A`` (m, r), ``B`` (n, r) of ``X_spurious``."""
        columns = np.arange(self.r)
        A, B = (np.zeros((size, self.r)) for size in self.shape)
        A[self.r_star + columns, columns] = B[self.r_star + columns, columns] = math.sqrt(self.sigma)
        return A, B


class Quadratic(_AroundMinimizer):
    """``f(X) = <X - X*, H (X - X*)>/2 - lam <T, X>`` with an explicit Hessian ``H`` of order ``m n``.

    With ``T`` a subgradient of the nuclear norm at ``X*`` (``T = P Q^T + W``, ``P^T W = 0``, ``W Q = 0``,
    ``||W||_2 <= 1``) and positive definite ``H``, ``X*`` is the unique minimizer of ``F = f + lam ||.||_*``.

    Parameters
    ----------
    H : array_like of shape (m n, m n)
        Symmetric; acts on ``vec`` row by row.
    X_star : array_like of shape (m, n)
        The minimizer of ``F``.
    lam : float
        Weight of the linear part, the same as the problem's weight decay.
    T : array_like of shape (m, n), optional
        The subgradient; needed for ``lam > 0``.

    Attributes
    ----------
    rsc, rsm : float
        Extreme eigenvalues of ``H``: the RSC and RSM constants of the whole space.
    """

    name = "quadratic"
    summary = "quadratic with a given Hessian and a known minimizer"
    least_squares = True

    def __init__(self, H: ArrayLike, X_star: ArrayLike, lam: float = 0.0, T: ArrayLike | None = None) -> None:
        self.X_star = as_float_array(X_star, "X_star", 2, np.float64)
        self.shape = (self.X_star.shape[0], self.X_star.shape[1])
        size = self.X_star.size
        self.H = as_shape(as_float_array(H, "H", 2, np.float64), "H", (size, size))
        self.lam = as_number(lam, "lam", 0.0, LARGEST_ENTRY)
        if self.lam and T is None:
            raise ValueError("T: needed for lam > 0, got None; accepted: a subgradient of ||.||_* at X_star (m, n)")
        self.T = np.zeros(self.shape) if T is None else as_shape(as_float_array(T, "T", 2, np.float64), "T", self.shape)
        values = np.linalg.eigvalsh(self.H)
        self.rsc, self.rsm = float(values[0]), float(values[-1])
        self.convex = self.rsc >= 0.0
        self.smoothness = max(self.rsm, -self.rsc)
        self.lower_bound = self._minimum()

    def _minimum(self) -> float | None:
        if self.rsc <= 0.0:
            return 0.0 if self.lam == 0.0 and self.convex else None
        T = self.T.ravel()
        quadratic = 0.5 * self.lam**2 * float(T @ np.linalg.solve(self.H, T))
        return -self.lam * float(np.vdot(self.T, self.X_star)) - quadratic

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``H D``."""
        return (self.H @ D.ravel()).reshape(self.shape)

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``f(X)`` as a cvxpy expression."""
        import cvxpy

        root = np.linalg.cholesky(self.H).T
        E = cvxpy.vec(X - self.X_star, order="C")
        return 0.5 * cvxpy.sum_squares(root @ E) - self.lam * cvxpy.sum(cvxpy.multiply(self.T, X))


class SharpInstance(_WithSpuriousPoint):
    """A quadratic with condition number ``kappa`` and a spurious stationary point, both in closed form.

    Built by :func:`sharp`; the Hessian has eigenvalue 1 along ``N`` and ``kappa`` elsewhere.

    Attributes
    ----------
    X_star, X_spurious : ndarray of shape (m, n)
        The unique minimizer of ``F`` (rank ``r_star``) and the stationary point of rank ``r``.
    rsc, rsm, kappa : float
        1, ``kappa`` and ``kappa``.
    boundary : float
        ``1 + 2 sqrt(r/r_star)``: from here on ``X_spurious`` is second-order stationary.
    gap : float
        ``F(X_spurious) - F(X_star) = kappa r_star/(kappa + 1)``.
    regime : Regime
        What the theorems say at these constants.
    """

    name = "sharp"
    summary = "quadratic with a spurious minimum exactly from kappa = 1 + 2 sqrt(r/r*) on"
    convex = True
    least_squares = True
    rsc = 1.0

    def __init__(self, r: int, r_star: int, m: int, n: int, kappa: float, lam: float) -> None:
        r, r_star, m, n, t = _sizes(r, r_star, m, n)
        kappa = as_number(kappa, "kappa", 1.0, LARGEST_ENTRY, open_low=True)
        lam = as_number(lam, "lam", 0.0, LARGEST_ENTRY)
        first, second = np.arange(r_star), np.arange(r_star, r_star + r)
        self.shape = (m, n)
        self.r, self.r_star, self.lam = r, r_star, lam
        self.kappa = self.rsm = self.smoothness = kappa
        self.boundary = 1.0 + 2.0 * t
        self.sigma = (kappa - 1.0) / ((kappa + 1.0) * t)
        self.X_star, self.X_spurious, self.N, self.T = (np.zeros(self.shape) for _ in range(4))
        self.X_star[first, first] = 1.0
        self.X_spurious[second, second] = self.sigma
        self.N[first, first] = 1.0 / math.sqrt(2.0 * r_star)
        self.N[second, second] = -1.0 / math.sqrt(2.0 * r)
        self.T[first, first] = self.T[second, second] = 1.0
        self.gap = kappa * r_star / (kappa + 1.0)
        along = float(np.vdot(self.N, self.T))
        inverse = float(np.vdot(self.T, self.T)) / kappa + (1.0 - 1.0 / kappa) * along**2
        self.lower_bound = -lam * r_star - 0.5 * lam**2 * inverse
        self.regime: Regime = regime(1.0, kappa, r, r_star, curvature=(1.0, kappa))

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``kappa D - (kappa - 1) <N, D> N``."""
        return self.kappa * D - ((self.kappa - 1.0) * float(np.vdot(self.N, D))) * self.N

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``f(X)`` as a cvxpy expression: ``kappa`` times the part off ``N``, 1 times the part along it."""
        import cvxpy

        E = X - self.X_star
        along = cvxpy.sum(cvxpy.multiply(self.N, E))
        off = cvxpy.sum_squares(E - along * self.N)
        return 0.5 * (self.kappa * off + cvxpy.square(along)) - self.lam * cvxpy.sum(cvxpy.multiply(self.T, X))


def sharp(r: int, r_star: int, m: int, n: int, kappa: float | None = None, lam: float = 0.0) -> SharpInstance:
    """Return a quadratic with a spurious minimum exactly from ``kappa = 1 + 2 sqrt(r/r_star)`` on.

    With ``t = sqrt(r/r_star)``, ``X* = sum_{i <= r*} e_i e_i^T``, ``N`` half along ``X*`` and half along the next
    ``r`` diagonal places,

        ``f(X) = (kappa/2) ||X - X*||^2 - ((kappa - 1)/2) <N, X - X*>^2 - lam <T, X>``,

    ``T`` the identity on the first ``r + r*`` places. ``X_spurious = sigma sum_{r* < j <= r* + r} e_j e_j^T`` with
    ``sigma = (kappa - 1)/((kappa + 1) t)`` is a first-order stationary point of ``L`` for every ``kappa``; it is
    second-order stationary exactly when ``kappa >= 1 + 2t``, and its Frobenius norm is *smaller* than that of ``X*``.

    Parameters
    ----------
    r, r_star : int
        LoRA rank and rank of the minimizer, ``1 <= r_star <= r``.
    m, n : int
        Shape, both at least ``r + r_star``.
    kappa : float, optional
        Condition number, > 1; by default the boundary ``1 + 2 sqrt(r/r_star)``.
    lam : float
        Weight decay of the problem that the instance is made for, >= 0.

    Raises
    ------
    ValueError, TypeError
        For ranks, sizes, ``kappa`` or ``lam`` out of range.

    Notes
    -----
    Closed form derived for this project (proofs/sharp_instance); the boundary is the constant of R. Y. Zhang (2021,
    2024) for fully conditioned losses.
    """
    if kappa is None:
        kappa = 1.0 + 2.0 * math.sqrt(as_integer(r, "r", 1, MOST_ROWS) / as_integer(r_star, "r_star", 1, MOST_ROWS))
    return SharpInstance(r, r_star, m, n, kappa, lam)


class _PlaneInstance(_WithSpuriousPoint):
    """A quadratic whose Hessian is a 2 x 2 block on two directions and one number elsewhere, with a spurious point.

    With ``e_1`` along ``X*`` and ``e_2`` along the next ``r`` diagonal places,
    ``f(X) = <X - X*, H (X - X*)>/2 - lam <T, X>``, ``T`` the identity on the first ``r + r*`` places.

    Attributes
    ----------
    X_star, X_spurious : ndarray of shape (m, n)
        A minimizer of ``F`` (rank ``r_star``) and the second-order stationary point of rank ``r``. Where the theorem
        holds with equality that point is degenerate: not a local minimum, and gradient descent may leave it.
    constants : Constants
        Exact: those of the paper within the distance of ``X_spurious``, or those of the whole space.
    beta2 : float
        The curvature along the directions that decide at ``X_spurious``: known of that point only, so that it may be
        less than the restricted smoothness, and no premise of a theorem.
    sigma : float
        The singular values of ``X_spurious``.
    gap : float
        ``F(X_spurious) - F(X_star)``.
    regime : Regime
        What the theorems say at ``constants``.
    """

    convex = True
    least_squares = True

    def __init__(
        self,
        ranks: tuple[int, int],
        shape: tuple[int, int],
        block: tuple[tuple[float, float], tuple[float, float]],
        elsewhere: float,
        lengths: tuple[float, float],
        lam: float,
        gap: float,
        constants: Constants,
    ) -> None:
        self.r, self.r_star = ranks
        self.shape = shape
        self.lam, self.gap, self.constants = lam, gap, constants
        self.block, self.beta2 = np.array(block), elsewhere
        first, second = np.arange(self.r_star), np.arange(self.r_star, self.r_star + self.r)
        self.first, self.second, self.X_star, self.X_spurious, self.T = (np.zeros(shape) for _ in range(5))
        self.first[first, first] = 1.0 / math.sqrt(self.r_star)
        self.second[second, second] = 1.0 / math.sqrt(self.r)
        self.X_star[first, first], self.X_spurious[second, second] = lengths
        self.sigma = lengths[1]
        self.T[first, first] = self.T[second, second] = 1.0
        values = np.linalg.eigvalsh(self.block)
        self.smoothness = max(float(values[-1]), elsewhere)
        self.lower_bound = self._minimum(values)
        self.regime: Regime = regime(constants.rsc_low, constants.rsm_high, *ranks, curvature=constants.curvature)

    def _minimum(self, values: Array) -> float | None:
        """Return ``inf f``; for ``lam > 0`` that needs a positive definite block."""
        if self.lam == 0.0:
            return 0.0
        if values[0] <= 1e-12 * values[-1]:
            return None
        slope = np.array([math.sqrt(self.r_star), math.sqrt(self.r)])
        quadratic = 0.5 * self.lam**2 * float(slope @ np.linalg.solve(self.block, slope))
        return -self.lam * float(np.vdot(self.T, self.X_star)) - quadratic

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``H D``."""
        along = np.array([float(np.vdot(self.first, D)), float(np.vdot(self.second, D))])
        change = self.block @ along - self.beta2 * along
        return self.beta2 * D + change[0] * self.first + change[1] * self.second

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``f(X)`` as a cvxpy expression: the part off the two directions, and the block on them."""
        import cvxpy

        E = X - self.X_star
        along = cvxpy.hstack([cvxpy.sum(cvxpy.multiply(part, E)) for part in (self.first, self.second)])
        off = cvxpy.sum_squares(E - along[0] * self.first - along[1] * self.second)
        on = cvxpy.quad_form(along, cvxpy.psd_wrap(self.block))
        return 0.5 * (self.beta2 * off + on) - self.lam * cvxpy.sum(cvxpy.multiply(self.T, X))


class RestrictedInstance(_PlaneInstance):
    """A quadratic on which Theorem A is sharp; built by :func:`restricted`.

    Attributes
    ----------
    X_star, X_spurious, constants, beta2, sigma, gap, regime
        The minimizer, the spurious point, the restricted constants ``1`` and ``beta`` within ``sqrt 2 ||X*||_F``,
        ``beta``, the singular values of the point, ``r_star``, and what the theorems say.
    """

    name = "restricted"
    summary = "quadratic with a spurious point although beta = 2 alpha sqrt(r/r*), under restricted strong convexity"

    def __init__(self, r: int, r_star: int, m: int, n: int, beta: float, lam: float) -> None:
        r, r_star, m, n, t = _sizes(r, r_star, m, n)
        beta, lam = as_number(beta, "beta", 2.0 * t, LARGEST_ENTRY), as_number(lam, "lam", 0.0, LARGEST_ENTRY)
        block = ((t + 1.0, t - 1.0), (t - 1.0, t - 1.0))
        constants = Constants.exact(1.0, beta, r, math.sqrt(2.0 * r_star), source="Theorem C")
        super().__init__((r, r_star), (m, n), block, beta, (1.0, 1.0 / t), lam, float(r_star), constants)


class TwoConstantInstance(_PlaneInstance):
    """A quadratic on which Theorem B holds with equality; built by :func:`two_constants`.

    Attributes
    ----------
    X_star, X_spurious, constants, beta2, sigma, gap, regime
        The minimizer, the spurious point, the constants ``1`` and ``max(beta, beta2)`` of the whole space, the
        curvature along the directions that decide, the singular values of the point, ``F(X_spurious) - F(X_star)``, and
        what the theorems say.
    """

    name = "two_constants"
    summary = "quadratic with a spurious point although beta2 (beta - alpha) = 2 alpha beta sqrt(r/r*)"

    def __init__(
        self, r: int, r_star: int, m: int, n: int, beta: float, lam: float, beta2: float | None = None
    ) -> None:
        r, r_star, m, n, t = _sizes(r, r_star, m, n)
        beta, lam = as_number(beta, "beta", 1.0 + 2.0 * t, LARGEST_ENTRY), as_number(lam, "lam", 0.0, LARGEST_ENTRY)
        zeta, tau = 2.0 * beta * t / (beta - 1.0), (beta + 1.0) * t / (beta - 1.0)
        block = ((0.5 * (1.0 + beta), 0.5 * (beta - 1.0)), (0.5 * (beta - 1.0), 0.5 * (1.0 + beta)))
        beta2 = zeta if beta2 is None else as_number(beta2, "beta2", 1.0, LARGEST_ENTRY)
        ends = 1.0, max(beta, beta2)
        constants = Constants.exact(*ends, r, whole_space=True, source="eigenvalues of H", curvature=ends)
        gap = 0.5 * zeta * tau * r_star
        super().__init__((r, r_star), (m, n), block, beta2, (tau, 1.0), lam, gap, constants)


def restricted(r: int, r_star: int, m: int, n: int, beta: float | None = None, lam: float = 0.0) -> RestrictedInstance:
    """Return a quadratic on which Theorem A is sharp under the paper's own assumptions.

    With ``t = sqrt(r/r_star)``: restricted strong convexity holds with ``alpha = 1`` for all matrices of rank up to
    ``r`` within ``D = sqrt 2 ||X*||_F`` of ``X*``, the smoothness is ``beta`` on the whole space, and there is a
    spurious second-order point at distance ``D``. Theorem A excludes that for ``beta < 2t``, and ``beta = 2t`` is
    allowed here. On the whole space ``f`` is convex, not strongly so: Theorem B does not apply.

    Parameters
    ----------
    r, r_star : int
        LoRA rank and rank of the minimizer, ``1 <= r_star <= r``.
    m, n : int
        Shape, both at least ``r + r_star``.
    beta : float, optional
        Smoothness, at least ``2 sqrt(r/r_star)``, the default. There ``X_spurious`` is second-order stationary but
        degenerate; above it, for ``r > r_star``, the curvature vanishes along the symmetries only.
    lam : float
        Weight decay of the problem that the instance is made for, >= 0.

    Raises
    ------
    ValueError, TypeError
        For ranks, sizes, ``beta`` or ``lam`` out of range.

    Notes
    -----
    Theorem C, derived for this project (proofs/theorem_c).
    """
    if beta is None:
        beta = 2.0 * math.sqrt(as_integer(r, "r", 1, MOST_ROWS) / as_integer(r_star, "r_star", 1, MOST_ROWS))
    return RestrictedInstance(r, r_star, m, n, beta, lam)


def two_constants(
    r: int, r_star: int, m: int, n: int, beta: float, lam: float = 0.0, beta2: float | None = None
) -> TwoConstantInstance:
    """Return a quadratic on which Theorem B holds with equality, at a spurious second-order point.

    With ``t = sqrt(r/r_star)``: all curvatures lie in ``[1, beta]``, and the directions that decide at ``X_spurious``
    have curvature ``beta2 = 2 beta t/(beta - 1)``, so that ``beta2 (beta - 1) = 2 beta t``. At ``beta = 1 + 2t`` it is
    the instance of :func:`sharp`, scaled. With more ``beta2`` the point is a local minimum, with less a saddle.

    Parameters
    ----------
    r, r_star : int
        LoRA rank and rank of the minimizer, ``1 <= r_star <= r``.
    m, n : int
        Shape, both at least ``r + r_star``.
    beta : float
        Largest curvature, at least ``1 + 2 sqrt(r/r_star)``.
    lam : float
        Weight decay of the problem that the instance is made for, >= 0.
    beta2 : float, optional
        Curvature in all directions but two, at least 1; by default that of equality.

    Raises
    ------
    ValueError, TypeError
        For ranks, sizes, ``beta``, ``lam`` or ``beta2`` out of range.

    Notes
    -----
    Derived for this project (proofs/theorem_b_sharp).
    """
    return TwoConstantInstance(r, r_star, m, n, beta, lam, beta2)


def _sizes(r: int, r_star: int, m: int, n: int) -> tuple[int, int, int, int, float]:
    """Check ranks and shape of an instance, and add ``sqrt(r/r_star)``."""
    r = as_integer(r, "r", 1, MOST_ROWS)
    r_star = as_integer(r_star, "r_star", 1, r)
    m = as_integer(m, "m", r + r_star, MOST_ROWS)
    return r, r_star, m, as_integer(n, "n", r + r_star, MOST_ROWS), math.sqrt(r / r_star)


class TwoMeasurements(Objective):
    """``f(X) = (X_21 + X_22 - 2)^2/2 + (X_12 - X_21)^2/2`` on 2 x 2 matrices, to be used with ``lam = 0.1``, ``r = 1``.

    Two linear measurements and a rank-one global minimizer, and yet a strict spurious local minimum: the rank bound
    ``r(r+1)/2 > 2`` of the NTK regime fails for ``r = 1`` (Jang, Lee, Ryu 2024). With ``r = 2`` there is none.

    Attributes
    ----------
    lam : float
        0.1.
    spurious_value, global_value : float
        ``L`` at the two minima.
    """

    name = "two_measurements"
    summary = "2 x 2, two measurements: a strict spurious minimum although r = r* = 1"
    convex = True
    least_squares = True
    smoothness = 3.0
    lower_bound = 0.0
    shape = (2, 2)
    lam = 0.1
    spurious_value = 0.81888620817193
    global_value = 0.16141813425418

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and its gradient."""
        sum_residual = float(X[1, 0] + X[1, 1] - 2.0)
        difference = float(X[0, 1] - X[1, 0])
        G = np.array([[0.0, difference], [sum_residual - difference, sum_residual]])
        return 0.5 * (sum_residual**2 + difference**2), G

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``hess f[D]``."""
        total, difference = float(D[1, 0] + D[1, 1]), float(D[0, 1] - D[1, 0])
        return np.array([[0.0, difference], [total - difference, total]])

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``f(X)`` as a cvxpy expression."""
        import cvxpy

        return 0.5 * cvxpy.square(X[1, 0] + X[1, 1] - 2.0) + 0.5 * cvxpy.square(X[0, 1] - X[1, 0])

    def spurious_factors(self) -> tuple[Array, Array]:
        """Return the factors of the spurious local minimum, to 16 digits."""
        a = np.array([[2.3732442888285552], [-1.0354774318136677]])
        b = np.array([[-2.4103302438442042], [0.9459440162420536]])
        return a, b


def two_by_two() -> TwoMeasurements:
    """Return the 2 x 2 example with two measurements and a strict spurious minimum at ``r = r* = 1``."""
    return TwoMeasurements()
