"""What is known of a global minimizer ``X*``: given, computed or refuted, its ranks and its spectra."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .._support.text import gap_text
from .._support.validate import Array, as_integer
from ..certificates.refute import better_point
from ..convex import ConvexResult, solve_convex
from ..low_rank import balanced, numerical_rank
from ..problem import Problem
from .canonical import Point
from .theorems import Spectra
from .witness import value_and_noise

EPS = float(np.finfo(np.float64).eps)


class _Ranks(NamedTuple):
    """The ranks of ``X*``, and whether they count values that are small beside the largest."""

    ranks: list[int]
    small: bool


class Optima:
    """Convex optima of one problem, each computed once, from the last one: the points of a census share them."""

    def __init__(self) -> None:
        self._found: dict[float, dict[float, ConvexResult]] = {}

    def of(self, problem: Problem, tol: float) -> ConvexResult:
        """Return the optimum to a relative gap; what Ctrl-C ended early is not kept."""
        known = self._found.setdefault(problem.lam, {})
        if tol in known:
            return known[tol]
        found = solve_convex(problem, route="factored", tol=tol, start=next(reversed(known.values()), None))
        if not found.interrupted:
            known[tol] = found
        return found


class Minimizer:
    """A global minimizer ``X*`` beside a point, as far as it is known.

    Parameters
    ----------
    point : Point
        The point that is judged.
    X : tuple of ndarray, optional
        ``X*`` as it was given, a matrix for each update.
    value : float
        ``F`` at the point.
    tolerance : float
        The difference of values that counts.
    readable : bool
        Whether values at the point can be compared with others; if not, a given ``X*`` is taken as it is.
    optima : Optima
        Where it is computed, if it is.

    Attributes
    ----------
    X : tuple of ndarray or None
        The minimizer; None where it is not known, or was refuted.
    source : str
        Where it is from.
    is_given : bool
        Whether that is the user.
    refutation : str or None
        What shows that the given one is no minimizer.
    """

    def __init__(
        self,
        point: Point,
        X: tuple[Array, ...] | None,
        value: float,
        tolerance: float,
        readable: bool,
        optima: Optima,
    ) -> None:
        self.point, self.problem, self.value, self.tolerance = point, point.problem, value, tolerance
        self.optima = optima
        self.X = X
        self.is_given = X is not None
        self.source = "given" if self.is_given else "not given"
        self._counted: _Ranks | None = None
        self.refutation = self._refutation(X) if X is not None and readable else None
        if self.refutation is not None:
            self.X = None

    def above(self, X: tuple[Array, ...]) -> float:
        """Return by how much ``F`` is larger at the point than at other updates."""
        return self.value - self._double.convex_value(X if self.problem.several else X[0])

    @cached_property
    def _double(self) -> Problem:
        """The problem in float64, as the value at the point is."""
        return self.problem.replace(objective=self.problem.objective.in_float64())

    def rounding(self, X: tuple[Array, ...]) -> float:
        """Return the size of the rounding errors in :meth:`above`."""
        factors = tuple(balanced(P, s, Qt.T) for P, s, Qt in (np.linalg.svd(x, full_matrices=False) for x in X))
        return sum(value_and_noise(self.problem, pairs)[1] for pairs in (self.point.factors, factors))

    @property
    def is_lower(self) -> bool:
        """Whether ``X*`` shows that the point is not global."""
        return self.X is not None and self.above(self.X) > self.tolerance + self.rounding(self.X)

    def _refutation(self, X: tuple[Array, ...]) -> str | None:
        """Return what shows that a given ``X*`` is no minimizer of ``F``, or None."""
        below, least = -self.above(X), self.tolerance + self.rounding(X)
        if below > least:
            return f"X_star is not a minimizer: this point is better by {below:.3g}"
        spectra, factors = [], []
        for X_star in X:
            P, s, Qt = np.linalg.svd(X_star, full_matrices=False)
            k = max(numerical_rank(s, max(X_star.shape) * EPS), 1)
            spectra.append((P[:, :k], s[:k], Qt[:k].T))
            factors.append(balanced(*spectra[-1]))
        f, nuclear, _ = better_point(self.problem.loss.in_float64(), self.problem.lam, factors, spectra)
        below += self.value - f - self.problem.lam * nuclear
        if below > least:
            return f"X_star is not a minimizer: a proximal gradient step from it is better by {below:.3g}"
        return None

    def compute(self, tol: float) -> None:
        """Compute ``X*`` where ``f`` is convex; what is certified to the tolerance counts as known."""
        self._take(0.01 * tol)
        if self.X and any(rank > r for rank, r in zip(self.ranks, self.problem.ranks)):
            # Directions on their way out have a rank too: what is left of them falls with the gap.
            self._take(1e-4 * tol)

    def _take(self, tol: float) -> None:
        reference = self.optima.of(self.problem, tol)
        if reference.gap <= self.tolerance:
            self.X = reference.X if self.problem.several else (reference.X,)
            self.source = f"computed ({reference.route}), certified gap {gap_text(reference.gap)}"
            self._counted = None

    def nuclear_norm(self) -> float | None:
        """Return an upper bound on ``||X*||_*``: of the given ``X*``, or ``(F(X) - f_low)/lam``."""
        if self.X is not None:
            return sum(float(np.linalg.svd(X, compute_uv=False).sum()) for X in self.X)
        low, lam = self.problem.objective.facts.lower_bound, self.problem.lam
        return max(self.value - low, 0.0) / lam if low is not None and lam > 0.0 else None

    def distance(self) -> tuple[float, float]:
        """Return the distance of the point from ``X*``, 0 without one, and the longer of their lengths."""
        stars, updates = self.X or (), self.point.updates if self.X else ()
        apart, *lengths = (
            math.hypot(*(float(np.linalg.norm(X)) for X in parts))
            for parts in ([X - star for X, star in zip(updates, stars)], updates, stars)
        )
        return apart, max(lengths)

    @property
    def ranks(self) -> list[int]:
        """The rank of ``X*`` in each matrix."""
        return self._ranks().ranks

    def _ranks(self) -> _Ranks:
        if self._counted is None:
            self._counted = self._count()
        return self._counted

    def _count(self) -> _Ranks:
        """Count the singular values of ``X*``, small ones too where ``F`` is larger without them."""
        assert self.X is not None
        svds = [np.linalg.svd(X, full_matrices=False) for X in self.X]
        ranks = [numerical_rank(s) for _, s, _ in svds]
        if all(k == np.count_nonzero(s) for k, (_, s, _) in zip(ranks, svds)):
            return _Ranks(ranks, False)
        cut = tuple((P[:, :k] * s[:k]) @ Qt[:k] for k, (P, s, Qt) in zip(ranks, svds))
        if self.above(self.X) - self.above(cut) <= 0.01 * self.tolerance:
            return _Ranks(ranks, False)
        return _Ranks([numerical_rank(s, max(X.shape) * EPS) for X, (_, s, _) in zip(self.X, svds)], True)

    def within_ranks(self) -> tuple[Array, ...]:
        """Return the nearest matrices to ``X*`` that the factors can hold."""
        assert self.X is not None
        svds = (np.linalg.svd(X, full_matrices=False) for X in self.X)
        return tuple((P[:, :r] * s[:r]) @ Qt[:r] for (P, s, Qt), r in zip(svds, self.problem.ranks))

    def spectra(self, r_star: int | None) -> tuple[Spectra, ...] | None:
        """Return the numbers of the theorems, for the rank of ``X*`` or a smaller one; None where they say nothing."""
        # The numbers of the theorems leave small singular values out.
        if self.X is None or self._ranks().small:
            return None
        found = []
        for (A, B), X_star, rank, r in zip(self.point.factors, self.X, self.ranks, self.problem.ranks):
            wanted = rank if r_star is None else as_integer(r_star, "r_star", 0, rank)
            if wanted > r:
                return None
            if wanted == rank:
                P, s, Qt = np.linalg.svd(X_star, full_matrices=False)
                X_star = (P[:, :rank] * s[:rank]) @ Qt[:rank]
            found.append(Spectra.of(A, B, X_star, wanted))
        return tuple(found)
