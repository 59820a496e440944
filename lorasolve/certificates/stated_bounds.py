"""Bounds that a user may state: of the curvature of ``f``, and its least value at a rank. All are searched beyond.

A smoothness that is too small voids only the bound of the rank that rests on it.
"""

from __future__ import annotations

import math

import numpy as np

from .._support.validate import Array
from ..low_rank import factor_svd
from ..objectives import difference_step
from ..objectives.base import Rounding, allowance
from ..problem.blocks import MultiObjective
from ..problem.pairs import Matrices, Pairs, joint_inner, joint_norm
from . import spot_checks
from .probes import Evaluated, length_at, natural_length_at, random_direction, share_lost

# Steps of the iteration that looks for large curvature, two gradients each, and by how much it must be above a bound.
CURVED_STEPS, CURVED = 16, 1e-6
# Gradients that a descent beside a stated optimum may ask for, and how far beside it that begins, as a share of its
# length.
LEAVING, BESIDE = 60, 0.1
# Random points that such descents begin at too: at rank one, every second one leads to the spurious minima of the main
# paper.
FAR = 6


class _Bent(MultiObjective):
    """``sign (f(X) - (c/2) ||X||_F^2)``: convex exactly where all curvature of ``f`` is ``sign`` times above ``c``."""

    convex = True

    def __init__(self, loss: MultiObjective, sign: float, c: float) -> None:
        self.loss, self.sign, self.c = loss, sign, c
        self.shapes, self.dtype = loss.shapes, loss.dtype

    @property
    def precision(self) -> str:
        """That of the loss."""
        return self.loss.precision

    def value_and_grad(self, X: Matrices) -> tuple[float, tuple[Array, ...]]:
        """Return the value and the gradients."""
        f, G = self.loss.checked_value_and_grad(X)
        return self.sign * (f - 0.5 * self.c * joint_inner(X, X)), tuple(
            self.sign * (g - self.c * x) for g, x in zip(G, X)
        )

    def rounding_noise(self, factors: Pairs) -> Rounding:
        """Return the errors of the two terms, which may cancel."""
        X = [A @ B.T for A, B in factors]
        at, noise, eps = Evaluated(self.loss, X), self.loss.rounding_noise(factors), allowance(self.precision)
        value, gradient = 0.5 * self.c * joint_inner(X, X), self.c * joint_norm(X)
        return Rounding(
            noise.value + eps * (abs(at.f) + abs(value)), noise.gradient + eps * (joint_norm(at.G) + abs(gradient))
        )


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def contradicted_curvature(loss: MultiObjective, X: Matrices, low: float, high: float) -> str | None:
    """Return how ``f`` is seen not to have all its curvature from ``low`` to ``high``, by the tests of convexity."""
    for sign, c, convex in ((1.0, low, f"f - {low:.6g} ||X||^2/2"), (-1.0, high, f"{high:.6g} ||X||^2/2 - f")):
        text = spot_checks.violation(_Bent(loss, sign, c), X, None) if math.isfinite(c) else None
        if text is not None:
            return f"states a curvature from {low:.6g} to {high:.6g}, but {convex} {text}"
    return None


def exceeds_curvature(loss: MultiObjective, X: Array, beta: float) -> bool:
    """Return whether a loss of one matrix is seen to have more curvature than ``beta`` along a matrix of rank one.

    At ``X`` the direction ``u v^T`` is turned into that of the Hessian's products ``H``, ``u`` into ``H v`` and ``v``
    into ``H^T u`` in turn. For a true ``beta`` no difference of gradients exceeds it but by rounding.
    """
    (D,) = random_direction([X])
    u, v = D[:, 0], D[0]
    here, zero = Evaluated(loss, [X]), Evaluated(loss, [0.0 * X])
    h = difference_step(length_at(loss, here, None), float(np.linalg.norm(X)), 1.0, loss.precision)
    rounding = share_lost(loss) * max(joint_norm(here.G), joint_norm(zero.G))
    noise = (rounding + loss.rounding_noise([(X, np.eye(X.shape[1]))]).gradient) / h
    for k in range(CURVED_STEPS):
        if not (u.any() and v.any()):
            return False
        u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
        ends = [Evaluated(loss, [X + t * np.outer(u, v)]) for t in (h, -h)]
        if not all(math.isfinite(end.f) for end in ends):  # outside of the domain
            return False
        H = (ends[0].G[0] - ends[1].G[0]) / (2.0 * h)
        if float(u @ H @ v) > beta * (1.0 + CURVED) + noise:
            return True
        u, v = (H @ v, v) if k % 2 else (u, H.T @ u)
    return False


def falls_below(loss: MultiObjective, X: Array, rank: int, stated: float) -> float | None:
    """Return a value of ``f`` at a matrix of at most a rank that is lower than the stated least one, if one is found.

    Short descents on balanced factors: from beside ``X``, as a strict saddle is left from nearly all points beside it,
    at which a formula of a user is stationary as it is where ``f`` is least; and, as that may be a local minimum, from
    the best approximation of where one of full rank ends, and from random points as large as ``X``.
    """
    P, s, Qt = np.linalg.svd(X, full_matrices=False)
    m, n = X.shape
    zero, rng = Evaluated(loss, [0.0 * X]), np.random.default_rng()
    at_X = _balanced(P, s, Qt.T, rank)
    length = float(np.linalg.norm(at_X)) or math.sqrt(natural_length_at(loss, zero)) or 1.0
    size = max(abs(stated), abs(zero.f)) or 1.0
    noise = share_lost(loss) * size

    def somewhere(columns: int) -> Array:
        step = rng.standard_normal((m + n) * columns)
        return length / float(np.linalg.norm(step)) * step

    def from_full_rank() -> Array:
        pair = _descended(loss, somewhere(s.size), m * s.size, s.size, length, size)
        return _balanced(*factor_svd(*pair), rank)

    far = [lambda: somewhere(rank)] * FAR
    for start in (lambda: at_X + BESIDE * somewhere(rank), from_full_rank, *far):
        pair = _descended(loss, start(), m * rank, rank, length, size)
        value = Evaluated(loss, [pair[0] @ pair[1].T]).f
        if value < stated - noise - loss.rounding_noise([pair]).value:
            return value
    return None


def _balanced(P: Array, s: Array, Q: Array, rank: int) -> Array:
    """Return balanced factors of so many columns of the best approximation, one after the other."""
    padded = []
    for side in (P, Q):
        factor = np.zeros((len(side), rank))
        factor[:, : s.size] = (side * np.sqrt(s))[:, :rank]
        padded.append(factor.ravel())
    return np.concatenate(padded)


def _descended(
    loss: MultiObjective, start: Array, split: int, rank: int, length: float, size: float
) -> tuple[Array, Array]:
    """Return the factors where a short descent of ``f`` on them ends, which are the first ``split`` and the others.

    In units of a length and of a value, as SciPy stops by absolute numbers.
    """
    from scipy.optimize import minimize

    def pair(theta: Array) -> tuple[Array, Array]:
        return theta[:split].reshape(-1, rank), theta[split:].reshape(-1, rank)

    def value_and_grad(theta: Array) -> tuple[float, Array]:
        gradient = np.empty_like(theta)
        value = float(loss.factor_oracle([pair(length * theta)], [pair(gradient)]))
        return value / size, length / size * gradient

    options = {"maxfun": LEAVING, "ftol": 0.0, "gtol": 0.0}
    found = minimize(value_and_grad, start / length, jac=True, method="L-BFGS-B", options=options)
    # Where a loss has no lower bound the descent may have left the finite numbers.
    return pair(length * found.x if np.isfinite(found.x).all() else start)
