"""The embedded digits are the published set, and the digits job is what it says."""

from __future__ import annotations

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.objectives import Softmax
from lorasolve.tasks import digits_task, fit_softmax_head, load_digits


def test_digits_are_the_published_set() -> None:
    """Class counts as in the documentation of the UCI test set; the first image is a zero."""
    images, labels = load_digits()
    assert images.shape == (1797, 8, 8)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.array_equal(np.unique(images * 16), np.arange(17))
    first = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    assert (images[0].ravel()[:16] * 16).tolist() == first
    assert labels[0] == 0


def test_head_is_the_minimiser() -> None:
    """The gradient of the penalised loss vanishes, by the closed form of the softmax gradient."""
    rng = np.random.default_rng(0)
    Z, labels = rng.standard_normal((5, 60)), rng.integers(0, 3, 60)
    W = fit_softmax_head(Z, labels, 3, 0.1)
    P = np.exp(W @ Z)
    P /= P.sum(axis=0)
    grad = (P - np.eye(3)[:, labels]) @ Z.T / 60 + 0.1 * W
    assert np.abs(grad).max() < 1e-7
    with pytest.raises(ValueError, match="ridge"):
        fit_softmax_head(Z, labels, 3, 0.0)


@pytest.fixture(scope="module")
def task():
    return digits_task()


def test_digits_job(task) -> None:
    """Deterministic, disjoint data; the optimum has a rank between 2 and 6 and a better accuracy than the start."""
    again = digits_task()
    assert np.array_equal(task.arguments["W0"], again.arguments["W0"])
    assert task.objective.shape == (10, 64)
    columns = {column.tobytes() for column in task.objective.Z.T.round(9)}
    assert not columns & {column.tobytes() for column in task.test.Z.T.round(9)}
    base = ls.solve_convex(ls.Problem(task.objective, task.rank, task.lam))
    assert base.success
    assert 2 <= base.rank <= 6 < task.rank
    assert task.metrics()["accuracy"] < 0.2
    assert task.metrics(base.X)["accuracy"] > 0.85


def test_digits_are_turned(task) -> None:
    """Turning the features back by 90 degrees gives upright digits, on which the head is good without an update."""
    images = task.test.Z.T.reshape(-1, 8, 8)
    upright = np.rot90(images, k=-1, axes=(1, 2)).reshape(len(images), -1).T
    assert Softmax(task.arguments["W0"], upright, task.test.targets).metrics(np.zeros((10, 64)))["accuracy"] > 0.9
