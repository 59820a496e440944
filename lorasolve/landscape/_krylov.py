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
stopped; independent searches all do so with probability ``p^starts``. The recurrence is all that is used: where memory
ends, searches go on without orthogonalising, and what they then find twice does not matter.

``||e_j||`` is taken to be a few units in the last place of ``||H||``, or what the products show of their own errors if
that is more: ``<q_i, H q_j>`` is 0 for ``i < j - 1`` and known for ``i = j - 1``, and an error spread evenly over ``d``
directions is ``sqrt(d/j)`` times what is seen in ``j`` of them. (Differences of gradients have errors 1e5 times those
of rounding.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .._support.validate import Array

# Independent random starts: a direction that one is blind to is seen by the other.
STARTS = 2
# The probability of a miss that the searches aim for, together.
MISSED = 1e-12
# Steps of one search with a basis that is kept, and numbers that it may take.
MAX_STEPS = 300
MAX_ENTRIES = 20_000_000
# Steps of one search at most.
LONGEST = 5_000
# A negative value is found once it, and the largest, are known to these parts of themselves.
CONVERGED = np.array([0.1, 1e-3])
# How often, in steps, the tridiagonal matrix is looked at first; the basis grows by as many vectors at a time.
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
        The unit Ritz vector of the smallest Ritz value of the steps whose basis was kept.
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
    longest: int = LONGEST,
) -> Search:
    """Search the lower end of the spectrum of ``apply`` on a space of the given dimension.

    ``draw()`` returns a vector of that space with rotation-invariant distribution. The searches end as soon as a
    negative value is found, each of them after ``longest`` products at the latest.
    """
    each = MISSED ** (1.0 / STARTS)
    runs: list[_Lanczos] = []
    for _ in range(STARTS):
        runs.append(_Lanczos(apply, draw(), dimension, tol, each, longest))
        if runs[-1].found_negative:
            break
        if runs[-1].probability(runs[-1].tau) > each:
            # What one search could not settle, two do not.
            longest = min(longest, MAX_STEPS)
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
    """One search, run by its constructor: with full orthogonalisation as long as its basis is kept."""

    def __init__(
        self,
        apply: Callable[[Array], Array],
        start: Array,
        dimension: int,
        tol: float,
        goal: float,
        longest: int = LONGEST,
    ) -> None:
        self.dimension, self.tol, self.goal = dimension, tol, goal
        self.kept = min(dimension, max(EVERY, min(MAX_STEPS, longest, MAX_ENTRIES // start.size)))
        self.longest = longest if self.kept < dimension else dimension
        self.basis: list[Array] = []
        self.diagonal: list[float] = []
        self.off: list[float] = []
        self.error = 0.0
        self.found_negative = False
        previous, vector = np.zeros_like(start), start / np.linalg.norm(start)
        look = EVERY
        while True:
            previous, vector = vector, self._step(apply, previous, vector)
            steps = len(self.diagonal)
            ended = steps >= self.longest or self.off[-1] == 0.0
            if ended or steps >= look:
                look = steps + max(EVERY, steps // 10)
                self._look()
                if ended or self.found_negative or self._settled() or (steps >= self.kept and self._hopeless()):
                    break
        self.vector = self._lowest_vector()
        self.basis = []

    def _step(self, apply: Callable[[Array], Array], previous: Array, vector: Array) -> Array:
        """Take the next vector of the recurrence into account, and return the one after it."""
        k = len(self.diagonal)
        image = apply(vector)
        self.diagonal.append(float(vector @ image))
        image = image - self.diagonal[-1] * vector
        if k > 0:
            image -= self.off[-1] * previous
        if k < self.kept:
            self._keep(vector)
            # What else the product has in the known basis is error.
            seen = self._shares(image)
            self.error = max(self.error, math.sqrt(self.dimension / (k + 1)) * float(np.linalg.norm(seen)))
            before = float(np.linalg.norm(image))
            self._subtract(seen, image)
            if np.linalg.norm(image) < CANCELLED * before:
                self._subtract(self._shares(image), image)
        self.off.append(float(np.linalg.norm(image)))
        return image / self.off[-1] if self.off[-1] > 0.0 else image

    def _keep(self, vector: Array) -> None:
        """Add a vector to the basis."""
        place = (len(self.diagonal) - 1) % EVERY
        if place == 0:
            self.basis.append(np.zeros((EVERY, vector.size)))
        self.basis[-1][place] = vector

    def _shares(self, image: Array) -> Array:
        """Return the inner products with the basis, zeros where it has no vectors yet."""
        return np.concatenate([known @ image for known in self.basis])

    def _subtract(self, shares: Array, image: Array) -> None:
        """Subtract these shares of the basis from the vector."""
        for known, part in zip(self.basis, np.split(shares, len(self.basis))):
            image -= part @ known

    def _look(self) -> None:
        """Compute the ends of the spectrum of the tridiagonal matrix."""
        found = [_eigenpair(self.diagonal, self.off[:-1], place) for place in (0, len(self.diagonal) - 1)]
        self.values = np.array([value for value, _ in found])
        self.norm = float(np.abs(self.values).max())
        self.tau = self.tol * max(0.0, float(self.values[-1]))
        errors = self.off[-1] * np.array([abs(vector[-1]) for _, vector in found])
        converged = bool(np.all(errors <= CONVERGED * np.abs(self.values)))
        self.found_negative = converged and self.values[0] < -self.tau

    def _level(self) -> float:
        """Return what is to be known: where all values are above the tolerance, that curvature is positive."""
        return 0.0 if self.values[0] > self.tau else self.tau

    def _settled(self) -> bool:
        return self.probability(self._level()) <= self.goal

    def _hopeless(self) -> bool:
        """Whether rounding errors alone are too many, or the steps left too few at a rate of ``exp(-2 sqrt(v/norm))``.

        That is the rate for values spread evenly from ``v``, the lowest found, to the largest; it falls with ``v``.
        """
        level = self._level()
        missed, errors = self._missed(level)
        if errors > self.goal or self.norm == 0.0:
            return True
        rate = 2.0 * math.sqrt(max(self.values[0] + level, 0.0) / self.norm)
        return math.log(min(1.0, missed) / self.goal) > rate * (self.longest - len(self.diagonal))

    def _lowest_vector(self) -> Array:
        """Return the Ritz vector of the smallest Ritz value of the kept basis, of length 1."""
        k = min(self.kept, len(self.diagonal))
        weights = np.zeros(EVERY * len(self.basis))
        weights[:k] = _eigenpair(self.diagonal[:k], self.off[: k - 1], 0)[1]
        vector = np.zeros(self.basis[0].shape[1])
        for part, known in zip(np.split(weights, len(self.basis)), self.basis):
            vector += part @ known
        return vector / np.linalg.norm(vector)

    def probability(self, level: float) -> float:
        """Return a bound on the probability that an eigenvalue below ``-level`` was missed (1 where none is known)."""
        return min(1.0, sum(self._missed(level)))

    def _missed(self, level: float) -> tuple[float, float]:
        """Return the parts of that bound which are due to the end of the recurrence and to its errors."""
        from scipy.linalg.lapack import dptsv

        k = len(self.diagonal)
        first = np.zeros(k)
        first[0] = 1.0
        # The wrapper of LAPACK takes no empty array.
        _, _, x, failed = dptsv(np.array(self.diagonal) + level, np.array(self.off[: max(k - 1, 1)]), first)
        # It fails where the matrix is not positive definite.
        if failed or self.values[0] <= -level:
            return 1.0, 0.0
        error = max(ROUNDING * self.norm, self.error)
        sphere = math.sqrt(2.0 * self.dimension / math.pi)
        return sphere * self.off[-1] * abs(float(x[-1])), sphere * error * float(np.abs(x).sum())

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


def _eigenpair(diagonal: Sequence[float], off: Sequence[float], place: int) -> tuple[float, Array]:
    """Return one eigenvalue of a symmetric tridiagonal matrix, by its place in ascending order, and its vector."""
    from scipy.linalg import eigh_tridiagonal

    values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(off), select="i", select_range=(place, place))
    return float(values[0]), vectors[:, 0]
