"""Studies that several tests run; importable by worker processes."""

from __future__ import annotations

import os
import signal
import time
import types
import typing
from dataclasses import dataclass

import numpy as np

import lorasolve as ls
from lorasolve.objectives import Denoising, MatrixSensing
from lorasolve.optimizers import Optimizer
from lorasolve.studies import Kept


class Shifted:
    """Half the squared distance from a matrix of ones, as a user writes it."""

    shape = (6, 5)
    convex, lower_bound, smoothness = True, 0.0, 1.0

    def __init__(self, shift: float = 1.0) -> None:
        self.shift = shift
        self.calls = 0
        self.not_data = ("calls",)

    def value_and_grad(self, X):
        self.calls += 1
        return 0.5 * float(((X - self.shift) ** 2).sum()), X - self.shift


class Point(typing.NamedTuple):
    """Half the squared distance from a constant matrix, as a tuple."""

    target: float
    shape: tuple[int, int] = (6, 5)
    convex: bool = True
    lower_bound: float = 0.0
    smoothness: float = 1.0

    def value_and_grad(self, X):
        return 0.5 * float(((X - self.target) ** 2).sum()), X - self.target


class Slotted:
    """The same with slots alone, to which no weak reference can be made."""

    __slots__ = ("__target", "convex", "lower_bound", "shape", "smoothness")

    def __init__(self, target):
        self.shape, self.convex, self.lower_bound, self.smoothness = (6, 5), True, 0.0, 1.0
        self.__target = target

    def value_and_grad(self, X):
        return 0.5 * float(((X - self.__target) ** 2).sum()), X - self.__target


def objectives():
    rng = np.random.default_rng(7)
    return {
        "denoising": Denoising(rng.standard_normal((6, 5))),
        "sensing": MatrixSensing(rng.standard_normal((40, 6, 5)), rng.standard_normal(40)),
        "own": Shifted(),
    }


def mixed(seeds: int = 4, lams=(0.1, 0.5, -1.0), measure=("certify",)) -> ls.Study:
    """Three axes besides the seed: objectives, ranks, decays; the cell lam = -1 cannot be."""
    known = objectives()
    return ls.Study(
        problem=lambda objective, rank, lam: ls.Problem(objective, rank, lam),
        axes={"objective": known, "rank": [1, 3], "lam": list(lams), "seed": range(seeds)},
        method="gd:step_size=0.2",
        measure=list(measure),
        stop=ls.StoppingRule(max_iter=60),
    )


def plain(seeds: int) -> ls.Study:
    """Many small runs through the batched kernel, and as many one by one."""
    target = Denoising(np.random.default_rng(3).standard_normal((5, 4)))
    return ls.Study(
        problem=lambda rank: ls.Problem(target, rank, 0.1),
        axes={"rank": [1, 2], "method": ["gd:step_size=0.2", "lbfgs"], "seed": range(seeds)},
        stop=ls.StoppingRule(max_iter=30),
    )


@dataclass(frozen=True)
class Stretched(Optimizer):
    """Gradient descent with a step length of its own for every parameter. Fixed points: stationary points of L."""

    step_size: float = 0.01
    lengths: object = None

    name = "stretched"
    summary = "theta <- theta - step * lengths * gradient"
    takes_step_factor = True

    def update(self, problem, state, value, grad):
        lengths = self.lengths.lengths if isinstance(self.lengths, Lengths) else np.hstack(self.lengths)
        state.theta = state.trial
        state.trial = state.theta - self.step_size * state.step_factor * lengths * grad


class Lengths:
    """A setting that is neither a number nor an array."""

    def __init__(self, lengths) -> None:
        self.lengths = lengths


# Of as many entries NumPy shows only the ends.
LONG = (60, 30)


def long_steps(kind: str, middle: float) -> ls.Study:
    """Ten steps from a matrix of ones; the lengths of steps, a setting in one of three forms, differ in the middle."""
    M = np.random.default_rng(2).standard_normal(LONG)
    A, B = np.ones((60, 20)), np.ones((30, 20))
    lengths = np.ones(A.size + B.size)
    lengths[100:1100] = middle
    setting = {"array": lengths, "pair": tuple(np.split(lengths, [A.size])), "object": Lengths(lengths)}[kind]
    return ls.Study(
        ls.Problem(Denoising(M), 20, 0.5),
        {"seed": [0]},
        Stretched(0.0005, setting),
        init=(A, B),
        stop=ls.StoppingRule(max_iter=10),
    )


def excess(problem, result, known={}):  # noqa: B006  what is filled is the point
    """Return how far a run is above the optimum, which is found once in every process."""
    if "fun" not in known:
        known["fun"] = ls.solve_convex(problem).fun
    return float(result.fun - known["fun"])


def remembering(seeds: int) -> ls.Study:
    """Runs with a measure that keeps what it has found in an argument."""
    excess.__defaults__[0].clear()
    target = Denoising(np.ones((6, 5)))
    return ls.Study(ls.Problem(target, 2, 0.1), {"seed": range(seeds)}, "lbfgs", measure=excess)


def linger(problem, result) -> float:
    """Take a while, until a file says that the study was disturbed."""
    time.sleep(0.0 if os.path.exists(os.environ["LORASOLVE_TESTS_DISTURBED"]) else 0.2)
    return float(result.fun)


def slow(seeds: int) -> ls.Study:
    """The small runs with a measure that takes its time."""
    study = plain(seeds)
    study.measures["linger"] = linger
    return study


def found(cell):
    """Return numbers of a cell, NaN and infinity among them; one cell fails."""
    if cell["n"] == 2 and cell["scale"] == 0.5:
        raise LookupError("no such thing")
    numbers = np.append(np.random.default_rng(cell["n"]).standard_normal(4), (np.nan, np.inf, -0.0))
    return Kept({"sum": float(np.sum(cell["scale"])) * cell["n"], "undefined": np.nan}, numbers)


# What :func:`never_sure` sends.
SIGNALS: list[int] = []


def never_sure(problem, point):
    """Certify nothing of a point, and send this process what is to be sent."""
    while SIGNALS:
        signal.raise_signal(SIGNALS.pop())
    return types.SimpleNamespace(gap=np.inf, is_global=None, gap_at_least=0.0)
