"""Restricted constants of several updates, against quadratics whose curvature is known."""

import numpy as np
import pytest

from lorasolve.papers._minilm_constants import sampled, searched
from lorasolve.problem.blocks import MultiObjective


class Weighted(MultiObjective):
    """``sum_l <w_l, X_l^2> / 2``, weighted entry by entry: the curvature lies between the extreme weights."""

    def __init__(self, weights):
        self.weights = weights
        self.shapes = tuple(w.shape for w in weights)

    def value_and_grad(self, X):
        G = tuple(w * x for w, x in zip(self.weights, X))
        return 0.5 * sum(float(np.vdot(g, x)) for g, x in zip(G, X)), G


def centre(shapes, rng):
    return [np.outer(rng.standard_normal(m), rng.standard_normal(n)) for m, n in shapes]


@pytest.mark.parametrize("r", [1, 3])
def test_a_multiple_of_the_square_has_one_curvature(r):
    rng = np.random.default_rng(0)
    shapes = ((6, 5), (4, 7))
    loss = Weighted([np.full(shape, 2.5) for shape in shapes])
    where = loss, centre(shapes, rng), r, 3.0
    for alpha, beta in (sampled(*where, 4, rng), searched(*where, 4, rng)):
        assert alpha == pytest.approx(2.5, rel=1e-6) and beta == pytest.approx(2.5, rel=1e-6)


def test_what_is_attained_lies_between_the_ends_of_the_spectrum_and_search_goes_further_than_chance():
    rng = np.random.default_rng(1)
    shapes = ((6, 5), (4, 7))
    loss = Weighted([np.exp(rng.uniform(-2.0, 2.0, shape)) for shape in shapes])
    low, high = min(w.min() for w in loss.weights), max(w.max() for w in loss.weights)
    where = loss, centre(shapes, rng), 2, 3.0
    alpha, beta = sampled(*where, 20, np.random.default_rng(2))
    lower, upper = searched(*where, 40, np.random.default_rng(3))
    assert low < lower < alpha and beta < upper < high


def test_an_indefinite_loss_has_no_positive_alpha():
    rng = np.random.default_rng(4)
    shapes = ((5, 5), (5, 5))
    loss = Weighted([np.where(np.eye(5) > 0.0, -1.0, 2.0), np.full((5, 5), 2.0)])
    lower, _ = searched(loss, centre(shapes, rng), 3, 2.0, 60, rng)
    assert -1.0 < lower < 0.0


@pytest.mark.parametrize("r", [0, -1, 6])
def test_ranks_that_no_update_has_are_refused(r):
    rng = np.random.default_rng(0)
    shapes = ((6, 5), (4, 3))
    where = Weighted([np.ones(shape) for shape in shapes]), centre(shapes, rng), r, 3.0
    for call in (sampled, searched):
        with pytest.raises(ValueError, match="r: expected an integer from 1 to 5"):
            call(*where, 1, rng)
