"""Increments that lie along earlier ones: their products are combinations, and nothing of them is lost."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lorasolve.kernels import directions, gram
from lorasolve.kernels.evaluate import evaluate
from lorasolve.kernels.jit import kernel
from lorasolve.objectives import LinearFineTuning

M, N, RANK = 150, 130, 3


class Walk:
    """Points of a loss beside its exact answers."""

    def __init__(self, seed=0):
        self.rng = rng = np.random.default_rng(seed)
        self.loss = LinearFineTuning(*(rng.standard_normal(shape) for shape in ((M, N), (N, 300), (M, 300))))
        self.data = self.loss.kernels.mixed(RANK, 1)
        self.A, self.B = rng.standard_normal((M, RANK)), rng.standard_normal((N, RANK))
        self.size = self.step()
        self.data.refresh(self.A, self.B)
        self.off()

    def change(self):
        return self.rng.standard_normal((M, RANK)), self.rng.standard_normal((N, RANK))

    def step(self, U=0.0, V=0.0):
        """Move, and return the size of the gradient there."""
        self.A, self.B = self.A + U, self.B + V
        self.exact = np.empty((M, RANK)), np.empty((N, RANK))
        self.value = self.loss.factor_oracle(self.A, self.B, *self.exact)
        return max(np.abs(part).max() for part in self.exact)

    def off(self):
        """Return how far the answer here is from the exact one, relative to the gradient at the start."""
        found = np.empty((M, RANK)), np.empty((N, RANK))
        f = evaluate(self.data, self.A, self.B, *found)
        assert f == pytest.approx(self.value, rel=1e-6)
        return max(np.abs(one - other).max() for one, other in zip(found, self.exact, strict=True)) / self.size

    def lose_the_data(self):
        """Leave no number with which anything new could be multiplied."""
        self.data.increments.S[:] = np.nan
        self.data.increments.C[:] = np.nan


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_combinations_of_earlier_changes_need_no_data(count):
    """Also where directions are all but parallel, as along a curve."""
    walk = Walk()
    U, V = walk.change()
    seen = []
    for k in range(count):
        P, Q = walk.change()
        seen.append((1e-3 * U + 1e-5 * k * P, 1e-3 * V + 1e-5 * k * Q))
        walk.step(*seen[-1])
        assert walk.off() < 3e-9
    walk.lose_the_data()
    for _ in range(20):
        on_A, on_B = walk.rng.uniform(0.5, 2.0, (2, count))
        walk.step(sum(a * P for a, (P, _) in zip(on_A, seen)), sum(b * Q for b, (_, Q) in zip(on_B, seen)))
        assert walk.off() < 3e-8


def test_what_is_new_is_multiplied():
    """With changes of size 1e-3, of which float32 loses a 1e-7th; old ones are dropped where there is no room."""
    walk = Walk()
    for _ in range(60):
        U, V = walk.change()
        walk.step(1e-3 * U, 1e-3 * V)
        assert walk.off() < 3e-8
    walk.lose_the_data()
    walk.step(*walk.change())
    found = np.empty((M, RANK)), np.empty((N, RANK))
    assert np.isnan(evaluate(walk.data, walk.A, walk.B, *found))


def test_what_is_left_out_does_not_add_up():
    """Each change holds a new part of half of what need not be multiplied, always the same, and then is that alone."""
    walk = Walk()
    (U, V), (P, Q) = walk.change(), walk.change()
    part = 0.5 * directions.NEGLIGIBLE
    worst = 0.0
    for _ in range(150):
        walk.step(1e-2 * (U + part * P), 1e-2 * (V + part * Q))
        worst = max(worst, walk.off())
        walk.step(-1e-2 * U, -1e-2 * V)
        walk.off()
    # Once the part of one change is left out, and all of them would be 150 times as much.
    assert worst < 1e-2 * 3 * directions.NEGLIGIBLE
    assert walk.data.counts[gram.SAVED] > 0


@pytest.mark.parametrize("saved", [0, 5])
def test_directions_that_save_nothing_are_left_alone_for_a_while(saved):
    """Whatever those before them have saved."""
    walk = Walk()
    for _ in range(saved + 1 if saved else 0):
        walk.step(1e-3, 1e-3)
        walk.off()
    for _ in range(directions.KEPT if saved else 0):
        U, V = walk.change()
        walk.step(1e-3 * U, 1e-3 * V)
        walk.off()
        assert walk.data.counts[gram.PAUSE] == 0
    for _ in range(directions.KEPT if saved else directions.KEPT + 1):
        U, V = walk.change()
        walk.step(1e-3 * U, 1e-3 * V)
        walk.off()
    assert walk.data.counts[gram.PAUSE] == gram.CALLS_OF_PAUSE
    for k in range(10):
        walk.step(1e-3 * U, 1e-3 * V)
        assert walk.off() < 3e-8
        assert walk.data.counts[gram.PAUSE] == gram.CALLS_OF_PAUSE - 1 - k
    walk.data.counts[gram.PAUSE] = 0
    walk.step(1e-3 * U, 1e-3 * V)
    walk.off()
    walk.lose_the_data()
    walk.step(1e-3 * U, 1e-3 * V)
    assert walk.off() < 3e-8


@pytest.mark.parametrize("far", [np.nan, np.inf, 1e39])
def test_a_step_beyond_the_numbers_leaves_nothing_behind(far):
    walk = Walk()
    out = np.empty((M, RANK)), np.empty((N, RANK))
    with np.errstate(all="ignore"):
        evaluate(walk.data, walk.A + far, walk.B + far, *out)
    walk.data.refresh(walk.A, walk.B)
    walk.off()
    U, V = walk.change()
    for _ in range(3):
        walk.step(1e-3 * U, 1e-3 * V)
        assert walk.off() < 3e-8


@pytest.mark.parametrize("stays", [0, 1, 2])
def test_a_factor_that_stays_a_while_is_followed_later(stays):
    walk = Walk()
    changes = [walk.change() for _ in range(4)]
    for k, (U, V) in enumerate(changes):
        walk.step(0.0 if k == stays else 1e-3 * U, 1e-3 * V)
        assert walk.off() < 3e-9
    walk.lose_the_data()
    for _ in range(3):
        walk.step(1e-3 * sum(U for k, (U, _) in enumerate(changes) if k != stays), 1e-3 * sum(V for _, V in changes))
        assert walk.off() < 3e-8


def test_a_point_that_stays_needs_no_data():
    walk = Walk()
    walk.lose_the_data()
    assert walk.off() < 1e-14


@kernel()
def reduced(room, change):
    return directions.reduce(room, change)


@kernel()
def kept(room, slot, change):
    directions.keep(room, slot, change)


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_changes_whose_squares_are_beyond_float32_are_told_from_nothing(unit):
    room = directions.directions(4)
    first = np.array([3.0, 4.0, 0.0, 0.0], np.float32) * np.float32(unit)
    change = first.copy()
    assert not reduced(room, change)
    kept(room, 0, change)
    assert not change.any() and room.shares[0] == 1.0
    change = 2.0 * first
    assert reduced(room, change)
    assert_allclose(room.shares, [2.0, 0.0, 0.0, 0.0], rtol=1e-6)
    change = 2.0 * first + np.array([0.0, 0.0, 5.0, 0.0], np.float32) * np.float32(unit)
    assert not reduced(room, change)
    assert_allclose(change / np.float32(unit), [0.0, 0.0, 5.0, 0.0], atol=1e-5)
