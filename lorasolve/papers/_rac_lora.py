"""RAC-LoRA as numbers: rates and bounds of the randomized asymmetric chain, and the losses they are held against.

Source: Malinovsky et al., arXiv 2410.08305 (its Theorems 5.3 and 5.5 for gradient descent; the constants with
noise are derived, not quoted). ``L`` is the smoothness constant, ``mu`` the Polyak-Lojasiewicz constant
(``||grad f||_F^2 >= 2 mu (f - f*)``) and ``gamma`` the step size, called ``step`` below. Proof module:
proofs/rac_lora.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .._support.validate import (
    Array,
    as_callable,
    as_choice,
    as_flag,
    as_float_array,
    as_integer,
    as_iterable,
    as_matrix_shape,
    as_number,
    as_shape,
)
from ..objectives.base import Objective


def sketch_eigenvalue(shape: tuple[int, int], rank: int, side: str = "auto", probability: float = 0.5) -> float:
    """Return ``lambda_min(E[H])`` of orthonormal sketches: ``r/m`` on the left, ``r/n`` on the right.

    Mixed sides give ``p r/m + (1 - p) r/n`` with ``p`` the probability of the left one, so that always sketching
    the smaller side (auto) is best. Gaussian sketches without normalisation have a smaller value.
    """
    m, n = as_matrix_shape(shape, "shape")
    rank, probability = as_integer(rank, "rank", 1, min(m, n)), as_number(probability, "probability", 0.0, 1.0)
    values = {
        "left": rank / m,
        "right": rank / n,
        "auto": rank / min(m, n),
        "mixed": probability * rank / m + (1.0 - probability) * rank / n,
    }
    return values[as_choice(side, "side", values)]


def isotropic_factor(eigenvalue: float, step: float, smoothness: float) -> float:
    """Return the exact mean contraction of the gap of ``(L/2)||W - M||_F^2`` in one block of one step.

    ``1 - gamma L (2 - gamma L) lambda``, with ``lambda`` from :func:`sketch_eigenvalue`; at ``gamma = 1/L`` it
    is ``1 - lambda``.
    """
    eigenvalue = _as_eigenvalue(eigenvalue)
    product = as_number(step, "step", 0.0) * _as_smoothness(smoothness)
    return 1.0 - product * (2.0 - product) * eigenvalue


def stationarity_bound(
    gap: float, eigenvalue: float, step: float, blocks: int, smoothness: float, noise: float = 0.0
) -> float:
    """Bound the mean over the blocks of ``E ||grad f||_F^2`` for smooth ``f``, convex or not.

    Parameters
    ----------
    gap : float
        ``f(W_0) - inf f``.
    eigenvalue : float
        From :func:`sketch_eigenvalue` (isotropic sketches).
    step : float
        ``gamma`` in ``(0, 1/L]``.
    blocks : int
        Number of blocks ``T``.
    smoothness : float
        ``L``.
    noise : float
        ``sigma^2``, the variance of unbiased gradient noise independent of the sketch.

    Returns
    -------
    float
        ``2 gap/(lambda gamma T) + gamma L sigma^2``: Theorem 5.3 for ``sigma = 0``. The noise floor does not
        depend on the rank.

    Raises
    ------
    ValueError, TypeError
        For numbers out of range.
    """
    gap, eigenvalue, noise = as_number(gap, "gap", 0.0), _as_eigenvalue(eigenvalue), as_number(noise, "noise", 0.0)
    step, blocks = _as_short_step(step, smoothness), as_integer(blocks, "blocks", 1)
    return 2.0 * gap / (eigenvalue * step * blocks) + step * smoothness * noise


def gap_bound(
    gap: float, eigenvalue: float, step: float, blocks: int, smoothness: float, pl: float, noise: float = 0.0
) -> float:
    """Bound ``E f(W_T) - inf f`` under the Polyak-Lojasiewicz condition with constant ``pl``.

    ``(1 - gamma mu lambda)^T gap + gamma L sigma^2/(2 mu)``: Theorem 5.5 for ``sigma = 0``. Without noise the
    same bounds hold for blocks of several inner steps of size ``1/L``, which never increase ``f``.
    """
    gap, eigenvalue, noise = as_number(gap, "gap", 0.0), _as_eigenvalue(eigenvalue), as_number(noise, "noise", 0.0)
    step, blocks = _as_short_step(step, smoothness), as_integer(blocks, "blocks", 0)
    pl = as_number(pl, "pl", 0.0, smoothness, open_low=True)
    return (1.0 - step * pl * eigenvalue) ** blocks * gap + step * smoothness * noise / (2.0 * pl)


def noisy_isotropic_step(gap: float, eigenvalue: float, step: float, smoothness: float, noise: float) -> float:
    """Return the exact mean gap after one noisy step on ``(L/2)||W - M||_F^2``.

    The isotropic factor times the gap, plus ``(L gamma^2/2) lambda sigma^2``.
    """
    gap, noise = as_number(gap, "gap", 0.0), as_number(noise, "noise", 0.0)
    return isotropic_factor(eigenvalue, step, smoothness) * gap + 0.5 * smoothness * step * step * eigenvalue * noise


def reshuffled_epoch(
    gap: float,
    eigenvalue: float,
    step: float,
    samples: int,
    smoothness: float,
    noise: float,
    replacement: bool = False,
) -> float:
    """Return the exact mean gap after one epoch in one block, samples without replacement (random reshuffling).

    For ``f_i = (L/2)||W - M_i||^2`` with gradient noise ``noise`` at the optimum (the mean of ``||grad f_i||^2``), and
    ``a = gamma L``: ``(1 - lambda) gap + lambda [(1 - a)^(2N) gap + (a^2 sigma^2/2L) N/(N-1) (sum w^2 - (sum w)^2/N)]``
    with ``w_j = (1 - a)^j``. With ``replacement`` what ``a^2 sigma^2/2L`` multiplies is ``sum w^2``: for small steps
    reshuffling divides the floor by about ``12/(a N)^2`` (derived).
    """
    gap, eigenvalue, noise = as_number(gap, "gap", 0.0), _as_eigenvalue(eigenvalue), as_number(noise, "noise", 0.0)
    a = as_number(step, "step", 0.0) * _as_smoothness(smoothness)
    samples, replacement = as_integer(samples, "samples", 1), as_flag(replacement, "replacement")
    w = (1.0 - a) ** np.arange(samples)
    spread = float(np.sum(w * w))
    if not replacement:
        # One sample alone is no choice, and makes no noise.
        spread = (spread - float(np.sum(w)) ** 2 / samples) * samples / max(samples - 1, 1)
    inside = (1.0 - a) ** (2 * samples) * gap + 0.5 * a * a * noise / smoothness * spread
    return (1.0 - eigenvalue) * gap + eigenvalue * inside


def federated_mean_gap(
    gap: float,
    eigenvalue: float,
    step: float,
    local: int,
    clients: int,
    taking_part: int,
    smoothness: float,
    noise: float,
) -> float:
    """Return the exact mean gap after one federated block: ``local`` steps of some clients, their ``B`` averaged.

    For clients ``f_i = (L/2)||W - M_i||^2`` drawn without replacement, all with the same frozen ``A``, so that the mean
    of the products is the product of the mean (derived): ``(1 - lambda) gap + lambda [q^2 gap + (1 - q)^2 sigma^2/(2 L
    S) (M - S)/(M - 1)]`` with ``q = (1 - gamma L)^K``. With all clients it is the chain with one long step.
    """
    gap, eigenvalue, noise = as_number(gap, "gap", 0.0), _as_eigenvalue(eigenvalue), as_number(noise, "noise", 0.0)
    step, local = as_number(step, "step", 0.0), as_integer(local, "local", 1)
    clients = as_integer(clients, "clients", 1)
    taking_part = as_integer(taking_part, "taking_part", 1, clients)
    q = (1.0 - step * _as_smoothness(smoothness)) ** local
    # One client alone is no choice, and makes no noise.
    drawn = (clients - taking_part) / max(clients - 1, 1) / taking_part
    inside = q * q * gap + 0.5 * (1.0 - q) ** 2 * noise / smoothness * drawn
    return (1.0 - eigenvalue) * gap + eigenvalue * inside


def federated_block(
    gradients: Sequence[Callable[[Array], Array]], W: Array, A: Array, step: float, local: int
) -> Array:
    """Return the weight after one federated block: each client trains its ``B`` from zero, the server averages them.

    Parameters
    ----------
    gradients : sequence of callables
        ``grad f_i`` (m, n) of the clients that take part.
    W : ndarray of shape (m, n)
        The weight before the block.
    A : ndarray of shape (m, r)
        The frozen factor that all clients share, drawn by the server.
    step, local
        Step and number of steps of each client.

    Raises
    ------
    ValueError, TypeError
        If there are no clients, and for numbers and shapes out of range.
    """
    gradients = [as_callable(gradient, "gradients") for gradient in as_iterable(gradients, "gradients")]
    as_integer(len(gradients), "gradients: clients", 1)
    W, A = as_float_array(W, "W", 2), as_float_array(A, "A", 2)
    as_shape(A, "A", (len(W), A.shape[1]))
    step, local = as_number(step, "step"), as_integer(local, "local", 1)
    total = np.zeros((W.shape[1], A.shape[1]))
    for gradient in gradients:
        B = np.zeros_like(total)
        for _ in range(local):
            B -= step * gradient(W + A @ B.T).T @ A
        total += B
    return W + A @ (total / len(gradients)).T


def _as_eigenvalue(eigenvalue: float) -> float:
    return as_number(eigenvalue, "eigenvalue", 0.0, 1.0, open_low=True)


def _as_smoothness(smoothness: float) -> float:
    return as_number(smoothness, "smoothness", 0.0, open_low=True)


def _as_short_step(step: float, smoothness: float) -> float:
    return as_number(step, "step", 0.0, 1.0 / _as_smoothness(smoothness), open_low=True)


class PaperExample(Objective):
    """The paper's example ``f(X) = w^T M w + b^T w``, ``w = vec X`` in R^9, ``M = diag(10, 1, .., 1)``, ``b = 1``.

    Its minimiser has singular values 1.377, 0.327 and 0 (rank two, although it is announced as full rank), its
    minimum is -2.025, and the best matrix of rank one is 0.28889 above it.
    """

    shape = (3, 3)
    convex = True
    smoothness = 20.0
    lower_bound = -2.025
    pl = 2.0
    X_star = -0.5 * np.array([[0.1, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])

    def __init__(self) -> None:
        self.weights = np.ones((3, 3))
        self.weights[0, 0] = 10.0

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and ``2 M o X + 1``."""
        return float(np.sum(self.weights * X * X + X)), 2.0 * self.weights * X + 1.0

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``2 M o D``."""
        return 2.0 * self.weights * D


class Anchors(Objective):
    """``f(X) = mean_i ||X - M_i||_F^2/2``: samples or clients with one Hessian and optima of their own."""

    convex = True
    smoothness = 1.0

    def __init__(self, anchors: Array) -> None:
        self.anchors = anchors
        self.shape = anchors.shape[1], anchors.shape[2]
        self.n_samples = len(anchors)
        self.centre = anchors.mean(axis=0)
        self.lower_bound = 0.5 * float(np.mean(np.sum((anchors - self.centre) ** 2, axis=(1, 2))))

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return the loss and ``X - mean M_i``."""
        return 0.5 * float(np.mean(np.sum((X - self.anchors) ** 2, axis=(1, 2)))), X - self.centre

    def sample_batch(self, index: Array) -> Anchors:
        """Return the loss of some samples."""
        return Anchors(self.anchors[index])


class NoisyGradients(Objective):
    """``||X - M||_F^2/2`` whose gradients come with independent Gaussian noise of total variance ``noise``."""

    convex = True
    smoothness = 1.0
    lower_bound = 0.0

    def __init__(self, M: Array, noise: float, seed: int) -> None:
        self.M, self.shape = M, M.shape
        self.deviation = float(np.sqrt(noise / M.size))
        self.rng = np.random.default_rng(seed)

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return the value, and the gradient with noise."""
        E = X - self.M
        return 0.5 * float(np.sum(E * E)), E + self.deviation * self.rng.standard_normal(self.shape)
