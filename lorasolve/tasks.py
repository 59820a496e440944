"""Jobs on real data: an objective to train on and, where there is one, an objective to test on."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._support.validate import MOST_ROWS, Array, as_array, as_float_array, as_integer, as_number, as_shape
from .objectives.base import Objective

__all__ = ["Task", "digits_task", "fit_softmax_head", "image_columns", "load_digits"]

# 700 images train the head, 700 others carry the shifted task, the rest tests it.
_PRETRAIN, _FINE_TUNE = 700, 1400
_SPLIT_SEED = 0
_HEAD_RIDGE = 1e-2


@dataclass(frozen=True, eq=False)
class Task:
    """What a command works on.

    Attributes
    ----------
    objective : Objective
        The loss ``f`` of the update.
    test : Objective or None
        The same loss on held-out data, for its metrics.
    title : str
        One line that says what it is.
    rank : int
        A rank for the factors that suits the task.
    arguments : dict
        The constructor arguments of the objective by name, so that it can be saved with a result.
    lam : float or None
        A weight decay that suits the task; None where the user must choose.
    remarks : tuple of str
        What of a file has no part in the task, and what of it has two, a sentence each.
    """

    objective: Objective
    test: Objective | None
    title: str
    rank: int
    arguments: dict[str, Any]
    lam: float | None = None
    remarks: tuple[str, ...] = ()

    def metrics(self, X: ArrayLike | None = None) -> dict[str, float]:
        """Return the quality on held-out data (on the training data if there is none) of the update ``X``."""
        if X is None:
            m, n = self.judge.shape
            return self.judge.factor_metrics(np.zeros((m, 1)), np.zeros((n, 1)))
        return self.judge.metrics(as_shape(as_array(X, "X"), "X", self.judge.shape))

    @property
    def judge(self) -> Objective:
        """The loss whose metrics are told: that on held-out data, on the training data if there is none."""
        return self.test if self.test is not None else self.objective


def load_digits() -> tuple[Array, Array]:
    """Return the UCI optical digits: images (1797, 8, 8) with values in [0, 1], and labels (1797,).

    Source: E. Alpaydin and C. Kaynak (1998), UCI Machine Learning Repository, CC BY 4.0.
    """
    path = importlib.resources.files("lorasolve") / "data" / "digits.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        return data["pixels"].reshape(-1, 8, 8) / 16.0, data["labels"].astype(np.int64)


def digits_task() -> Task:
    """Return the embedded job: a softmax head trained on upright digits, to be adapted to digits on their side.

    The frozen weight ``W0`` (10, 64) is multinomial logistic regression on 700 upright images, less their mean
    image; the task is 700 other images, treated alike and rotated by 90 degrees, the test the remaining 397. At the
    task's ``lam = 0.05`` the convex optimum has rank 6, so that factors of rank 8 have room to spare.
    """
    from .objectives import Softmax

    images, labels = load_digits()
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    head, train, test = np.split(order, [_PRETRAIN, _FINE_TUNE])
    images = images - images[head].mean(axis=0)
    W0 = fit_softmax_head(image_columns(images[head]), labels[head], 10, _HEAD_RIDGE)
    rotated = np.rot90(images, axes=(1, 2))
    arguments = {"W0": W0, "Z": image_columns(rotated[train]), "labels": labels[train]}
    return Task(
        objective=Softmax(**arguments),
        test=Softmax(W0, image_columns(rotated[test]), labels[test]),
        title="softmax head trained on upright digits, fine-tuned to digits rotated by 90 degrees",
        rank=8,
        arguments=arguments,
        lam=0.05,
    )


def image_columns(images: Array) -> Array:
    """Return one image per column (pixels, N), of images of shape (N, height, width)."""
    images = as_float_array(images, "images", 3)
    return np.ascontiguousarray(images.reshape(len(images), -1).T)


def fit_softmax_head(Z: Array, labels: Array, n_classes: int, ridge: float) -> Array:
    """Return the weight (n_classes, n) of multinomial logistic regression with an L2 penalty.

    Parameters
    ----------
    Z : ndarray of shape (n, N)
        One sample per column.
    labels : ndarray of shape (N,)
        Classes 0 to ``n_classes - 1``.
    n_classes : int
        Number of classes.
    ridge : float
        The penalty is ``(ridge/2) ||W||_F^2``; > 0, so that the minimiser is unique.

    Raises
    ------
    ValueError, TypeError
        For ``ridge`` or ``n_classes`` out of range, and inputs and labels that do not go together.
    """
    from scipy.optimize import minimize

    from .objectives import Softmax

    ridge = as_number(ridge, "ridge", 0.0, open_low=True)
    Z = as_float_array(Z, "Z", 2)
    shape = (as_integer(n_classes, "n_classes", 1, MOST_ROWS), Z.shape[0])
    loss = Softmax(np.zeros(shape), Z, labels)

    def value_and_grad(w: Array) -> tuple[float, Array]:
        W = w.reshape(shape)
        f, G = loss.value_and_grad(W)
        return f + 0.5 * ridge * float(w @ w), (G + ridge * W).ravel()

    end = minimize(
        value_and_grad,
        np.zeros(shape[0] * shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 10_000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-9},
    )
    return end.x.reshape(shape)
