"""Lanczos from random starts, and the probability that it missed an eigenvalue below a level.

Let ``T`` be the tridiagonal matrix of ``k`` Lanczos steps on a symmetric ``H`` from the unit vector ``b``, ``beta_k``
the next off-diagonal entry, and ``z`` a unit eigenvector of ``H`` with eigenvalue ``mu <= -level``, where
``T + level I`` is positive definite. The three-term recurrence of ``<z, q_j>`` gives (proofs/random_start)

    ``<z, b> = beta_k [(mu - T)^{-1}]_{1k} <z, q_{k+1}> + sum_j [(mu - T)^{-1}]_{1j} <z, e_j>``

with ``e_j`` the rounding error of step ``j``, and the entries on the right only shrink when ``mu`` falls. Hence, with
``x = (T + level I)^{-1} e_1``,

    ``|<z, b>| <= c = beta_k |x_k| + max_j ||e_j|| ||x||_1``.

For ``b`` uniform on the sphere of dimension ``d`` the probability of ``|<z, b>| <= c`` is at most ``c sqrt(2 d/pi)``
(proofs/random_start), because ``z`` does not depend on ``b``. So where there is such an eigenvalue, the search
ends with this number below ``p`` with probability ``p`` at most, whatever the spectrum and whenever the search is
stopped; independent searches all do so with probability ``p^starts``.

``||e_j||`` is taken to be a few units in the last place of ``||H||``, or what the products show of their own errors if
that is more: ``<q_i, H q_j>`` is 0 for ``i < j - 1`` and known for ``i = j - 1``, and an error spread evenly over ``d``
directions is ``sqrt(d/j)`` times what is seen in ``j`` of them. (Differences of gradients have errors 1e5 times those
of rounding.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._support.validate import Array

# Independent random starts: a direction that one is blind to is seen by the other.
STARTS = 2
# The probability of a miss that the searches aim for, together.
MISSED = 1e-12
# Steps of one search at most, and numbers that its basis may take.
MAX_STEPS = 300
MAX_ENTRIES = 20_000_000
# A negative value is found once it, and the largest, are known to these parts of themselves.
CONVERGED = np.array([0.1, 1e-3])
# How often, in steps, the tridiagonal matrix is looked at; the basis grows by as many vectors at a time.
EVERY = 10
# A vector of which less than this share is left without the basis is made orthogonal to it once more.
CANCELLED = 0.1
# Rounding error of one step, in units of eps ||H||: of the product and of the orthogonalisation.
ROUNDING = 32.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Search:
    """What searches from random starts found.

    Attributes
    ----------
    vector : ndarray of shape (size,)
        The unit Ritz vector of the smallest Ritz value.
    largest : float
        The largest Ritz value.
    failure_probability : float
        That an eigenvalue below ``-tol max(1, largest)`` was missed, at most.
    at_least : float
        Below this nothing was missed but for the probability ``MISSED``.
    """

    vector: Array
    largest: float
    failure_probability: float
    at_least: float


def search_krylov(
    apply: Callable[[Array], Array],
    draw: Callable[[], Array],
    dimension: int,
    tol: float,
    max_steps: int = MAX_STEPS,
) -> Search:
    """Search the lower end of the spectrum of ``apply`` on a space of the given dimension.

    ``draw()`` returns a vector of that space with rotation-invariant distribution. The searches end as soon as a
    negative value is found, each of them after ``max_steps`` products at the latest.
    """
    each = MISSED ** (1.0 / STARTS)
    runs: list[_Lanczos] = []
    for _ in range(STARTS):
        runs.append(_Lanczos(apply, draw(), dimension, tol, each, max_steps))
        if runs[-1].found_negative:
            break
    lowest = min(runs, key=lambda run: run.values[0])
    largest = max(run.values[-1] for run in runs)
    level = tol * max(0.0, largest)
    return Search(
        vector=lowest.vector,
        largest=float(largest),
        failure_probability=max(run.probability(level) for run in runs) ** len(runs),
        at_least=min(run.at_least(each) for run in runs),
    )


class _Lanczos:
    """One search, with full orthogonalisation; run by its constructor."""

    def __init__(
        self,
        apply: Callable[[Array], Array],
        start: Array,
        dimension: int,
        tol: float,
        goal: float,
        max_steps: int = MAX_STEPS,
    ) -> None:
        self.dimension = dimension
        self.limit = min(dimension, max(EVERY, min(max_steps, MAX_ENTRIES // start.size)))
        self.basis: list[Array] = []
        self.diagonal: list[float] = []
        self.off: list[float] = []
        self.error = 0.0
        self.found_negative = False
        vector = start / np.linalg.norm(start)
        while True:
            vector = self._step(apply, vector)
            if len(self.diagonal) % EVERY == 0 or self._ended():
                self._look(tol)
                # Where all values are above the tolerance, positive curvature is to be known as such.
                level = 0.0 if self.values[0] > self.tau else self.tau
                if self._ended() or self.found_negative or self.probability(level) <= goal:
                    break
        self.vector = self._lowest_vector()
        self.basis = []

    def _step(self, apply: Callable[[Array], Array], vector: Array) -> Array:
        """Add a basis vector; return the next one."""
        k = len(self.diagonal)
        if k % EVERY == 0:
            self.basis.append(np.zeros((EVERY, vector.size)))
        self.basis[-1][k % EVERY] = vector
        image = apply(vector)
        self.diagonal.append(float(vector @ image))
        image = image - self.diagonal[-1] * vector
        if k > 0:
            image -= self.off[-1] * self.basis[(k - 1) // EVERY][(k - 1) % EVERY]
        # What else the product has in the known basis is error.
        seen = self._shares(image)
        self.error = max(self.error, math.sqrt(self.dimension / (k + 1)) * float(np.linalg.norm(seen)))
        before = float(np.linalg.norm(image))
        self._subtract(seen, image)
        if np.linalg.norm(image) < CANCELLED * before:
            self._subtract(self._shares(image), image)
        self.off.append(float(np.linalg.norm(image)))
        return image / self.off[-1] if self.off[-1] > 0.0 else image

    def _shares(self, image: Array) -> Array:
        """Return the inner products with the basis, zeros where it has no vectors yet."""
        return np.concatenate([known @ image for known in self.basis])

    def _subtract(self, shares: Array, image: Array) -> None:
        """Subtract these shares of the basis from the vector."""
        for known, part in zip(self.basis, np.split(shares, len(self.basis))):
            image -= part @ known

    def _ended(self) -> bool:
        return len(self.diagonal) == self.limit or self.off[-1] == 0.0

    def _look(self, tol: float) -> None:
        """Decompose the tridiagonal matrix."""
        self.values, self.vectors = np.linalg.eigh(
            np.diag(self.diagonal) + np.diag(self.off[:-1], 1) + np.diag(self.off[:-1], -1)
        )
        self.norm = float(np.abs(self.values).max())
        self.tau = tol * max(0.0, float(self.values[-1]))
        errors = self.off[-1] * np.abs(self.vectors[-1, [0, -1]])
        converged = bool(np.all(errors <= CONVERGED * np.abs(self.values[[0, -1]])))
        self.found_negative = converged and self.values[0] < -self.tau

    def _lowest_vector(self) -> Array:
        """Return the Ritz vector of the smallest Ritz value, of length 1."""
        weights = np.zeros(EVERY * len(self.basis))
        weights[: len(self.diagonal)] = self.vectors[:, 0]
        vector = np.zeros(self.basis[0].shape[1])
        for part, known in zip(np.split(weights, len(self.basis)), self.basis):
            vector += part @ known
        return vector / np.linalg.norm(vector)

    def probability(self, level: float) -> float:
        """Return a bound on the probability that an eigenvalue below ``-level`` was missed (1 where none is known)."""
        if self.values[0] <= -level:
            return 1.0
        x = self.vectors @ (self.vectors[0] / (self.values + level))
        error = max(ROUNDING * self.norm, self.error)
        overlap = self.off[-1] * abs(float(x[-1])) + error * float(np.abs(x).sum())
        return min(1.0, overlap * math.sqrt(2.0 * self.dimension / math.pi))

    def at_least(self, goal: float) -> float:
        """Return the largest bound found for which the probability of an eigenvalue below it is at most ``goal``."""
        step = max(self.tau, 1e-12 * self.norm, float(np.finfo(np.float64).tiny))
        low, high = -step, float(self.values[0])
        while self.probability(-low) > goal:
            low *= 2.0
        for _ in range(30):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.probability(-middle) <= goal else (low, middle)
        return low
