"""The two-layer network on the digits that several experiments fine-tune: the non-convex loss of the generic regime."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.validate import Array
from ..objectives import TwoLayer
from ..tasks import image_columns, load_digits

_RIDGE, _SEED = 1e-3, 0


@dataclass(frozen=True)
class NetworkTask:
    """A first layer to adapt: trained on upright digits, to be moved to digits rotated by 90 degrees.

    Attributes
    ----------
    objective : TwoLayer
        ``||V tanh((W0 + X) Z) - Y||^2/(2N)`` on rotated training images, ``Y`` one-hot, ``X`` (hidden, 64).
    Z_test, labels_test : ndarray
        Rotated held-out images, one per column, and their labels.
    """

    objective: TwoLayer
    Z_test: Array
    labels_test: Array

    def train_accuracy(self, X: Array) -> float:
        """Return the share of training images classified correctly at the update ``X``."""
        return self._accuracy(X, self.objective.Z, np.argmax(self.objective.targets, axis=0))

    def test_accuracy(self, X: Array) -> float:
        """Return the share of held-out images classified correctly at the update ``X``."""
        return self._accuracy(X, self.Z_test, self.labels_test)

    def _accuracy(self, X: Array, Z: Array, labels: Array) -> float:
        f = self.objective
        hidden = f.activation.value((f.W0 + X) @ Z)
        return float(np.mean(np.argmax(f.V @ hidden, axis=0) == labels))


@functools.lru_cache(maxsize=4)
def network_task(n_samples: int, hidden: int, classes: int = 10) -> NetworkTask:
    """Return the task of telling the first ``classes`` digits apart from ``n_samples`` rotated images.

    A third of the images, upright, trains the network; the last third, rotated, tests it. Seed 0 throughout.
    """
    images, labels = load_digits()
    images, labels = images[labels < classes], labels[labels < classes]
    order = np.random.default_rng(_SEED).permutation(len(labels))
    third = len(labels) // 3
    head, train, test = order[:third], order[third : third + n_samples], order[2 * third :]
    W0, V = _pretrain(image_columns(images[head]), _one_hot(labels[head], classes), hidden)
    rotated = np.rot90(images, axes=(1, 2))
    objective = TwoLayer(W0, V, image_columns(rotated[train]), _one_hot(labels[train], classes), "tanh")
    return NetworkTask(objective, image_columns(rotated[test]), labels[test])


def _one_hot(labels: Array, classes: int) -> Array:
    return np.eye(classes)[labels].T.copy()


def _pretrain(Z: Array, Y: Array, hidden: int) -> tuple[Array, Array]:
    """Train both layers with a small ridge, by L-BFGS from a seeded start."""
    from scipy.optimize import minimize

    from ..multi import TwoLayerPair

    rng = np.random.default_rng(_SEED)
    shapes = ((hidden, Z.shape[0]), (Y.shape[0], hidden))
    pair = TwoLayerPair(np.zeros(shapes[0]), np.zeros(shapes[1]), Z, Y)
    start = np.concatenate([rng.standard_normal(shape).ravel() / np.sqrt(shape[1]) for shape in shapes])
    cut = hidden * Z.shape[0]

    def value_and_grad(w: Array) -> tuple[float, Array]:
        f, G = pair.value_and_grad((w[:cut].reshape(shapes[0]), w[cut:].reshape(shapes[1])))
        return f + 0.5 * _RIDGE * float(w @ w), np.concatenate([g.ravel() for g in G]) + _RIDGE * w

    end: Any = minimize(value_and_grad, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return end.x[:cut].reshape(shapes[0]), end.x[cut:].reshape(shapes[1])
