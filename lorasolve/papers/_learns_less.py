"""Learning against forgetting: source and target tasks, exact fronts, and a harness for every method.

Source: Biderman et al., "LoRA Learns Less and Forgets Less", arXiv 2405.09673 (TMLR 08/2024, version 2); the theorems
for quadratic losses are derived. Proof module: proofs/learns_less. Learning is the target loss of the whole
population, forgetting the rise of the source loss. The verdict depends on the spectrum of what is to be learned and
on the noise: LoRA learns less and forgets less where the change has full rank and samples abound, learns more and
forgets less where it has low rank and samples are few and noisy.

Exceptions to the title in the paper's own tables: maths pre-training at 20 B tokens (0.616 against 0.618 for full
fine-tuning) and two epochs of Tulu, where full fine-tuning forgets least.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.validate import Array, as_float_array, as_generator, as_integer, as_number, as_shape
from ..engine import solve
from ..method import Method
from ..monitor import Intermediate, StoppingRule
from ..objectives.linear import LinearFineTuning
from ..optimizers import Optimizer
from ..problem import Problem

# By which share of the largest entry a symmetric matrix may differ from its transpose.
SYMMETRIC = 1e-10


# ---------------------------------------------------------------------- tasks
@dataclass(frozen=True)
class Pair:
    """A source task, already learned, and a target task, both quadratic in the weight.

    ``f_s(W) = <(W - W_s) C_s, W - W_s>/2``, ``f_t(W) = <(W - W_t) C_t, W - W_t>/2``; the frozen weight is ``W_s``.

    Attributes
    ----------
    W_s, W_t : ndarray of shape (m, n)
        Optimal weights of source and target.
    C_s, C_t : ndarray of shape (n, n)
        Second moments of the inputs, positive definite.

    Raises
    ------
    ValueError, TypeError
        For other shapes, and second moments that are not positive definite, as those of fewer samples than inputs.
    """

    W_s: Array
    W_t: Array
    C_s: Array
    C_t: Array

    def __post_init__(self) -> None:
        m, n = as_float_array(self.W_s, "W_s", 2).shape
        for name, shape in (("W_s", (m, n)), ("W_t", (m, n)), ("C_s", (n, n)), ("C_t", (n, n))):
            object.__setattr__(self, name, as_shape(as_float_array(getattr(self, name), name, 2), name, shape))
        for name in ("C_s", "C_t"):
            _refuse_indefinite(getattr(self, name), name)

    def target_loss(self, W: Array) -> float:
        """Return ``f_t(W)``."""
        E = W - self.W_t
        return 0.5 * float(np.vdot(E @ self.C_t, E))

    def forgetting(self, W: Array) -> float:
        """Return ``f_s(W) - f_s(W_s) = f_s(W)``."""
        E = W - self.W_s
        return 0.5 * float(np.vdot(E @ self.C_s, E))

    def front_point(self, mu: float) -> Array:
        """Return the point of the Pareto front that minimises ``f_t + mu f_s``, ``mu`` in (0, inf).

        ``W_mu = (W_t C_t + mu W_s C_s)(C_t + mu C_s)^{-1}``: no method lies in front of these points.
        """
        mu = as_number(mu, "mu", 0.0, open_low=True)
        return np.linalg.solve((self.C_t + mu * self.C_s).T, (self.W_t @ self.C_t + mu * self.W_s @ self.C_s).T).T

    @functools.cached_property
    def _modes(self) -> tuple[Array, Array]:
        """``c`` and ``w`` with ``C_s = R R^T``, ``C_t = R diag(c) R^T`` and ``w_j = ||(W_t - W_s) R e_j||^2``.

        On the front ``f_t = sum_j w_j c_j mu^2/(c_j + mu)^2/2`` and ``f_s = sum_j w_j c_j^2/(c_j + mu)^2/2``.
        """
        L = np.linalg.cholesky(self.C_s)
        half = np.linalg.solve(L, self.C_t)
        c, Q = np.linalg.eigh(np.linalg.solve(L, half.T))
        return c, np.sum(((self.W_t - self.W_s) @ L @ Q) ** 2, axis=0)

    def least_forgetting(self, target_loss: float) -> float:
        """Return the forgetting of the front at a target loss (0 at or above that of the frozen weight)."""
        if as_number(target_loss, "target_loss", 0.0) >= self.target_loss(self.W_s):
            return 0.0
        c, w = self._modes
        low, high = -80.0, 80.0
        for _ in range(200):
            middle = 0.5 * (low + high)
            mu = math.exp(middle)
            if 0.5 * float(np.sum(w * c * (mu / (c + mu)) ** 2)) > target_loss:
                high = middle
            else:
                low = middle
        return 0.5 * float(np.sum(w * (c / (c + math.exp(low))) ** 2))

    def best_of_rank(self, rank: int) -> tuple[Array, float]:
        """Return the target's optimum over updates of a rank, and its loss: weighted Eckart-Young.

        ``X = [D C_t^{1/2}]_r C_t^{-1/2}``, ``D = W_t - W_s``, with loss half the squared tail of ``D C_t^{1/2}``.
        """
        rank = as_integer(rank, "rank", 0, min(self.W_s.shape))
        values, vectors = np.linalg.eigh(self.C_t)
        root = (vectors * np.sqrt(values)) @ vectors.T
        U, s, Vt = np.linalg.svd((self.W_t - self.W_s) @ root, full_matrices=False)
        X = np.linalg.solve(root, ((U[:, :rank] * s[:rank]) @ Vt[:rank]).T).T
        return X, 0.5 * float(np.sum(s[rank:] ** 2))

    def sample(self, count: int, noise: float, rng: np.random.Generator) -> LinearFineTuning:
        """Return the target loss on ``count`` Gaussian samples with output noise, as a function of the update."""
        count, noise = as_integer(count, "count", 1), as_number(noise, "noise", 0.0)
        rng = as_generator(rng, "rng")
        Z = np.linalg.cholesky(self.C_t) @ rng.standard_normal((self.W_s.shape[1], count))
        Y = self.W_t @ Z + noise * rng.standard_normal((self.W_s.shape[0], count))
        return LinearFineTuning(self.W_s, Z, Y)


def _refuse_indefinite(C: Array, argument: str) -> None:
    """Refuse what is no positive definite matrix, up to rounding."""
    if np.abs(C - C.T).max() > SYMMETRIC * np.abs(C).max():
        raise ValueError(f"{argument}: expected a symmetric matrix, got one that is not equal to its transpose")
    values = np.linalg.eigvalsh(C)
    if values[0] <= len(C) * float(np.finfo(np.float64).eps) * values[-1]:
        ends = f"{values[0]:.3g} to {values[-1]:.3g}"
        raise ValueError(f"{argument}: expected a positive definite matrix, got one with eigenvalues from {ends}")


def isotropic_pair(m: int, n: int, rank: int, size: float, rng: np.random.Generator) -> Pair:
    """Return a pair with identity second moments and a Gaussian change ``D`` of the given rank.

    ``W_s`` has entries ``N(0, 1/n)``; ``D`` has the Frobenius norm of ``size`` times such a matrix on average.
    """
    m, n = as_integer(m, "m", 1), as_integer(n, "n", 1)
    rank, size = as_integer(rank, "rank", 1, min(m, n)), as_number(size, "size", 0.0)
    rng = as_generator(rng, "rng")
    W_s = rng.standard_normal((m, n)) / np.sqrt(n)
    D = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    D *= size * np.sqrt(m) / np.linalg.norm(D)
    return Pair(W_s, W_s + D, np.eye(n), np.eye(n))


def isotropic_forgetting(energy: float, target_loss: float) -> tuple[float, float]:
    """Return the forgetting at a target loss of the front and of the rank-limited optimum, identity moments.

    With ``E = ||D||_F^2/2``: ``E (1 - sqrt(l/E))^2`` for the scaled full solution (which full fine-tuning passes
    through) and ``E - l`` for the best update of the rank that reaches ``l``, which is larger for ``0 < l < E``.
    There LoRA forgets less only because it moves less.
    """
    energy = as_number(energy, "energy", 0.0, open_low=True)
    target_loss = as_number(target_loss, "target_loss", 0.0, energy)
    return energy * (1.0 - np.sqrt(target_loss / energy)) ** 2, energy - target_loss


# ---------------------------------------------------------------------- measures
def r90(X: Array, share: float = 0.9) -> int:
    """Return the smallest ``k`` whose ``k`` largest squared singular values hold ``share`` of their sum."""
    share = as_number(share, "share", 0.0, 1.0, open_low=True)
    s = np.linalg.svd(as_float_array(X, "X", 2), compute_uv=False)
    if s[0] == 0.0:
        return 0
    energy = np.cumsum((s / s[0]) ** 2)
    return int(np.searchsorted(energy, share * energy[-1])) + 1


def stable_rank(X: Array) -> float:
    """Return ``||X||_F^2 / ||X||_2^2``, 0 for ``X = 0``."""
    s = np.linalg.svd(as_float_array(X, "X", 2), compute_uv=False)
    return float(np.sum((s / s[0]) ** 2)) if s[0] > 0.0 else 0.0


def gaussian_r90_fraction(share: float = 0.9, power: int = 2) -> float:
    """Return ``r90/n`` of a large square Gaussian matrix: 0.5098 (quarter-circle law).

    A change with ``r90`` near this share is indistinguishable from noise by this measure; that its rank is high does
    not show that a high rank is needed. ``power=1`` sums the singular values instead of their squares (0.672).
    Rectangular matrices have other values.
    """
    share = as_number(share, "share", 0.0, 1.0, open_low=True, open_high=True)
    power = as_integer(power, "power", 1)
    from scipy.integrate import quad
    from scipy.optimize import brentq

    def density(x: float) -> float:
        return float(np.sqrt(4.0 - x * x) / np.pi)

    def held(edge: float) -> float:
        return quad(lambda x: x**power * density(x), edge, 2.0)[0]

    total = held(0.0)
    edge = brentq(lambda x: held(x) - share * total, 0.0, 2.0)
    return float(quad(density, edge, 2.0)[0])


def spectrum_shift(n: int, c: float) -> tuple[float, float]:
    """Return the two laws of the mean change of the singular values of ``A + c B``, both n x n Gaussian.

    ``c sqrt(2/pi)`` for small ``c`` (first-order perturbation) and ``(8/(3 pi)) sqrt(n) (sqrt(1 + c^2) - 1)`` for
    large ``c``; they cross near ``c = 1.9/sqrt(n)``. The paper's figure S8 in formulas.
    """
    n, c = as_integer(n, "n", 1), as_number(c, "c", 0.0)
    small = c * np.sqrt(2.0 / np.pi)
    return float(small), float(8.0 / (3.0 * np.pi) * np.sqrt(n) * (np.sqrt(1.0 + c * c) - 1.0))


def first_step_size(m: int, rank: int, step: float, scale: float, std: float) -> float:
    """Return the root mean square of ``||s^2 A A^T G|| step / ||G||`` at ``B = 0``, ``A_ij ~ N(0, std^2)``.

    ``step s^2 std^2 sqrt(r (m + r + 1))``. With ``alpha`` fixed and ``s = alpha/r`` the first step falls with the rank,
    with ``s = alpha/sqrt(r)`` like ``1/sqrt(r)`` at first, towards the positive limit ``step alpha^2 std^2`` that is
    reached for ``r`` well above ``m`` only, and with constant ``s`` (``alpha = 2 r``) it grows: higher ranks then need
    smaller steps.
    """
    m, rank = as_integer(m, "m", 1), as_integer(rank, "rank", 1)
    step, scale, std = as_number(step, "step", 0.0), as_number(scale, "scale"), as_number(std, "std", 0.0)
    return step * scale**2 * std**2 * float(np.sqrt(rank * (m + rank + 1)))


# ---------------------------------------------------------------------- harness
@dataclass(frozen=True)
class Checkpoint:
    """One point of a run: iteration, losses, distance behind the front, and the shape of the update."""

    iteration: int
    target_loss: float
    forgetting: float
    behind_front: float
    frobenius: float
    nuclear: float
    r90: int
    stable_rank: float


@dataclass(frozen=True)
class Course:
    """A method's run: its label, the step size kept, and its checkpoints."""

    method: str
    step_size: float | None
    checkpoints: list[Checkpoint]

    @property
    def end(self) -> Checkpoint:
        """The last checkpoint."""
        return self.checkpoints[-1]

    @property
    def best(self) -> Checkpoint:
        """The checkpoint of least target loss (early stopping by the population)."""
        return min(self.checkpoints, key=lambda point: point.target_loss)

    def forgetting_at(self, target_loss: float) -> float | None:
        """Return the least forgetting on the way at or below a target loss; None if it was never reached."""
        reached = [point.forgetting for point in self.checkpoints if point.target_loss <= target_loss]
        return min(reached, default=None)


def run_course(
    pair: Pair,
    label: str,
    problem: Problem,
    method: str | Optimizer | Method = "gd",
    step_sizes: list[float] | None = None,
    max_iter: int = 3000,
    points: int = 25,
    **options: Any,
) -> Course:
    """Train one method on the target samples and keep the step size with the least final target loss.

    Parameters
    ----------
    pair : Pair
        What losses and forgetting are measured with.
    label : str
        Name in tables.
    problem : Problem
        The target samples with any adapter.
    method : str, Optimizer or Method
        What is run.
    step_sizes : list of float, optional
        Tried one by one on the optimizer's ``step_size``; by default the optimizer runs as given.
    max_iter, points : int
        Iterations, and number of log-spaced checkpoints.
    **options
        Further arguments of :func:`lorasolve.solve` (``init``, ``seed``).
    """
    method = Method.of(method)
    courses = []
    for step in [None] if step_sizes is None else step_sizes:
        stepping = method if step is None else method.with_step(step)
        courses.append(Course(label, step, _checkpoints(pair, problem, stepping, max_iter, points, options)))
    return min(courses, key=lambda course: course.end.target_loss)


def _checkpoints(
    pair: Pair, problem: Problem, method: Method, max_iter: int, points: int, options: Mapping[str, Any]
) -> list[Checkpoint]:
    times = set(np.unique(np.geomspace(1, max_iter, points).astype(int)).tolist()) | {0}
    kept: list[Checkpoint] = []

    def watch(now: Intermediate) -> None:
        if now.nit in times:
            kept.append(measure(pair, now.nit, now.problem.objective.W0 + now.problem.update(now.theta)))

    result = solve(problem, method, stop=StoppingRule(max_iter=max_iter, grad_tol=1e-9), callback=watch, **options)
    if np.isfinite(result.X).all():
        kept.append(measure(pair, result.nit, pair.W_s + result.X))
    return kept


def measure(pair: Pair, iteration: int, W: Array) -> Checkpoint:
    """Return the checkpoint of a weight."""
    X = W - pair.W_s
    s = np.linalg.svd(X, compute_uv=False)
    loss, forgetting = pair.target_loss(W), pair.forgetting(W)
    return Checkpoint(
        iteration,
        loss,
        forgetting,
        forgetting - pair.least_forgetting(loss),
        float(np.linalg.norm(s)),
        float(s.sum()),
        r90(X),
        float(np.sum(s**2) / s[0] ** 2) if s[0] > 0.0 else 0.0,
    )
