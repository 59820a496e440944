"""The choice of ``lam`` by data that the fit has not seen."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._means import MEANS, Means
from .._support.keywords import names_keywords
from .._support.progress import Progress
from .._support.text import for_json, gap_text
from .._support.validate import Array, as_choice, as_flag, as_instance, as_integer
from ..convex import ConvexResult, solve_convex
from ..objectives import as_held_out
from ..objectives.base import Objective
from ..objectives.completion import MatrixCompletion
from ..objectives.denoising import Denoising
from ..problem import Problem
from ..result import loss_of
from ..tables import Column, Record, Tabular
from .lam_path import Path, chosen_lams, descent, in_float64, rank_text

# The loss to train on, that to test on, and the share of a sum that is trained on.
Fold = tuple[Objective, Objective, float]
# A search over a number of values ends where in every fold, or on the data held out, the error has risen at so many of
# them in a row, and over so large a quotient of lam.
RISES, QUOTIENT = 3, 2.0
# What to do where no part of the data can be held out.
_HELD_OUT = "give held_out (in an archive: keys that end in '_test')"
_ENTRIES = ", or the entries of M one by one, as MatrixCompletion.from_dense(M) has them: the loss is the same"


@dataclass(frozen=True, eq=False)
class Validation(Tabular):
    """The error on held-out data at every ``lam``, and the fit on all data at the best.

    Attributes
    ----------
    lams : list of float
        In the order given.
    errors : ndarray of shape (K, folds)
        Error on the held-out part of each fold: root mean square for completion, else the mean loss of a sample.
    best : float
        The ``lam`` of least mean error; the largest of several, as where the error is infinite at each.
    fit : ConvexResult
        The optimum on all data there, certified; where means are taken off, on what is left without them.
    paths : list of Path
        One a fold: every point is certified.
    error_name : str
        What ``errors`` are.
    interrupted : bool
        Whether Ctrl-C ended it; ``lams`` are then those that were finished.
    untried : list of float
        Smaller values of ``lam`` that were left out, as the error had risen.
    """

    lams: list[float]
    errors: Array
    best: float
    fit: ConvexResult = field(repr=False)
    paths: list[Path] = field(repr=False)
    error_name: str
    interrupted: bool = False
    untried: list[float] = field(default_factory=list)

    @property
    def mean(self) -> Array:
        """Mean error over the folds (K,)."""
        return self.errors.mean(axis=1)

    @property
    def success(self) -> bool:
        """Whether every point of every path is certified to the tolerance."""
        return self.fit.success and all(found.success for found in self.paths)

    def records(self) -> list[Record]:
        """Return the errors at each ``lam``; the standard error needs two folds, and finite errors in all."""
        found = []
        for k, lam in enumerate(self.lams):
            points = [each.points[k] for each in self.paths]
            known = len(points) > 1 and np.isfinite(self.errors[k]).all()
            spread = float(self.errors[k].std(ddof=1)) / math.sqrt(len(points)) if known else None
            found.append(
                {
                    "lam": lam,
                    "error": float(self.mean[k]),
                    "standard_error": spread,
                    "relative_gap": max(point.relative_gap for point in points),
                    "rank_known": rank_text(points),
                    "best": lam == self.best and math.isfinite(self.mean[k]),
                }
            )
        return found

    def columns(self) -> list[Column]:
        """Return the error, its spread, the gaps and ranks of the fits, and a mark at the best."""
        return [
            Column("lam", "lam", latex=r"$\lambda$"),
            Column("error", self.error_name),
            Column("standard_error", "+-", lambda spread: "-" if spread is None else f"{spread:.2g}", latex=r"$\pm$"),
            Column("relative_gap", "gap", gap_text),
            Column("rank_known", "rank of the optimum"),
            Column("best", "", lambda best: "best" if best else ""),
        ]

    @property
    def conclusion(self) -> str:
        """One sentence: the best ``lam``, how well the optimum is known there, and whether to look further."""
        begin = f"interrupted after {len(self.lams)} values: " if self.interrupted else ""
        if not np.isfinite(self.mean).any():
            return (
                f"{begin}the {self.error_name} is infinite at every lam, as where the optimum of a fold is outside of "
                f"the domain of the loss on what is held out: no lam is best, and all data are fitted at {self.best:g}"
            )
        equal = [lam for lam, error in zip(self.lams, self.mean) if error == self.mean.min()]
        zero = self.fit.nuclear_norm == 0.0
        wider = "; X = 0 is the fit there, as at every larger lam" if zero else ""
        if min(equal) == min(self.lams) or (self.best == max(self.lams) and not zero):
            wider = "; that is an end of the values tried: the least may lie beyond it"
        left = len(self.untried)
        everywhere = "" if len(self.paths) == 1 else " in every fold"
        risen = f"; {left} smaller not tried, as the error rose{everywhere} at the last {RISES}" if left else ""
        alike = f" and {len(equal) - 1} smaller" if len(equal) > 1 else ""
        return (
            f"{begin}least {self.error_name} at lam = {self.best:g}{alike}; there the optimum is found to a relative "
            f"gap of {gap_text(self.fit.relative_gap)} ({self.fit.certificate.level}), with rank {self.fit.rank}"
            f"{wider}{risen}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the factors as plain JSON-ready values."""
        found = {
            "lams": self.lams,
            "untried": self.untried,
            "errors": self.errors.tolist(),
            "error": self.error_name,
            "best": self.best,
            "success": self.success,
            "interrupted": self.interrupted,
            "fit": self.fit.to_dict(),
            "paths": [found.to_dict() for found in self.paths],
        }
        return dict(for_json(found))

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        least = f"{self.error_name} {self.mean[self.lams.index(self.best)]:.6g}"
        return f"Validation(best lam = {self.best:g} of {len(self.lams)}, {least} in {len(self.paths)} folds)"


@names_keywords
def cross_validate(
    problem: Problem,
    lams: int | Iterable[float] = 20,
    folds: int = 5,
    tol: float = 1e-4,
    *,
    held_out: Objective | None = None,
    means: str = "none",
    seed: int = 0,
    progress: bool = False,
) -> Validation:
    """Choose ``lam`` by the error on data that are held out, and fit all data there.

    Parameters
    ----------
    problem : Problem
        Convex, and a completion problem or a mean over samples (sensing, NTK, linear fine-tuning, softmax, logistic).
    lams : int or iterable of float
        As for :func:`path`, for the fit on all data. Of a number of values the smallest are not tried once, after it
        had fallen, the error of every fold, or on ``held_out``, has risen at three in a row and over half of ``lam``;
        given values are all tried.
    folds : int
        Number of parts; each is held out once. Of no use with ``held_out``.
    tol : float
        Certified relative gap of every fit.
    held_out : Objective, optional
        The same loss on data that are held out for good, in place of folds.
    means : {"none", "global", "rows", "columns", "both"}
        Completion: which means of its own entries every fit takes off first, so that no held-out entry is seen in them;
        the entries of ``problem`` are as they were observed.
    seed : int
        Of the division into parts.
    progress : bool
        Show progress on stderr: a line rewritten in place on a terminal, one every 30 s in logs.

    Returns
    -------
    Validation

    Raises
    ------
    ValueError, TypeError
        For objectives without entries or samples to hold out, more folds than there are, held-out data of another
        shape, and values out of range.
    KeyboardInterrupt
        If Ctrl-C ends it in a fold, as all data are not fitted then, with the errors at the values that all folds have
        finished as its text; or before the first value.

    Notes
    -----
    A completion loss is a sum over the entries, so a fold that trains on a share ``q`` of them does so at ``q lam``:
    its loss and its penalty are in the proportion of the fit on all entries. Where a fold has several optima, as few
    entries at a small ``lam`` may leave, its errors are those of the one that was found. What makes predictions, with
    the means added, is :func:`lorasolve.models.choose_completion`.
    """
    as_instance(problem, "problem", Problem)
    problem.require_one_matrix("cross_validate")
    folds, seed = as_integer(folds, "folds", 2), as_integer(seed, "seed", 0)
    as_choice(means, "means", MEANS)
    line = Progress("folds", as_flag(progress, "progress"))
    observed = problem.objective
    held_out = None if held_out is None else as_held_out(held_out, problem.shape)
    for name, data in (("problem", observed), ("held_out", held_out)):
        if means != "none" and data is not None and not isinstance(data, MatrixCompletion):
            raise ValueError(f"{name}: expected completion, as means of entries are taken off, got {data.label}")
    problem = problem.replace(objective=_less_means(observed, observed, means))
    values = chosen_lams(problem, lams)
    whole = not isinstance(lams, (int, np.integer))
    if held_out is None:
        search = _search(problem, values, _folds(observed, folds, seed, means), tol, line, whole=whole)
        if search.interrupted:  # all data are not fitted then
            raise KeyboardInterrupt(*search.told())
        line.label = "fit of all data"
        return search.validation(solve_convex(problem.replace(lam=search.best), "factored", tol, progress=line))
    fold = problem.objective, _less_means(observed, held_out, means), 1.0
    search = _search(problem, values, [fold], tol, line, whole=whole)
    if not search.points:
        raise KeyboardInterrupt
    (fit,) = search.points[search.lams.index(search.best)]
    return search.validation(fit)


@dataclass(frozen=True)
class _Search:
    """The fits and errors of all folds at the values of ``lam`` that were tried, in the order given."""

    problems: list[Problem]
    folds: Sequence[Fold]
    tol: float
    lams: list[float]
    points: list[list[ConvexResult]]
    errors: Array
    untried: list[float]
    interrupted: bool

    @property
    def best(self) -> float:
        return self.lams[_best(self.lams, self.errors.mean(axis=1))]

    def told(self) -> list[str]:
        """Return the mean errors at the values that are finished as a text to end with, none where there are none."""
        errors = ", ".join(f"{lam:.6g}: {statistics.fmean(row):.6g}" for lam, row in zip(self.lams, self.errors))
        return [f"{_error_name(self.folds[0][1])} at lam = {errors}"] if errors else []

    def validation(self, fit: ConvexResult) -> Validation:
        """Return what was found, with the fit of all data at the best."""
        paths = [
            Path(fold, [share * lam for lam in self.lams], [row[i] for row in self.points], self.tol, self.interrupted)
            for i, (fold, (_, _, share)) in enumerate(zip(self.problems, self.folds))
        ]
        name = _error_name(self.folds[0][1])
        return Validation(self.lams, self.errors, self.best, fit, paths, name, self.interrupted, self.untried)


def _search(
    problem: Problem, lams: list[float], folds: Sequence[Fold], tol: float, line: Progress, *, whole: bool
) -> _Search:
    """Return the errors of given folds at each ``lam``, of those that are finished before Ctrl-C.

    All folds are at one value before the next, so that the search may end where the error rises; ``whole`` tries all.
    """
    order = sorted(range(len(lams)), key=lambda k: -lams[k])
    problems = [in_float64(problem.replace(objective=train)) for train, _, _ in folds]
    part = "" if len(folds) == 1 else ", fold {} of " + str(len(folds))
    fits = [
        # Shares of neighbouring values may be equal.
        descent(fold, [share * lams[k] for k in order], tol, line, part.format(i + 1))
        for i, (fold, (_, _, share)) in enumerate(zip(problems, folds))
    ]
    points: dict[int, list[ConvexResult]] = {}
    errors: dict[int, list[float]] = {}
    interrupted = False
    try:
        for k, row in zip(order, zip(*fits)):
            points[k], errors[k] = list(row), [_error(test, point) for (_, test, _), point in zip(folds, row)]
            if not whole and _has_risen([lams[k] for k in errors], np.array(list(errors.values()))):
                break
    except KeyboardInterrupt:
        interrupted = True
    done = sorted(points.keys() & errors.keys())
    untried = [] if interrupted else [lams[k] for k in order if k not in errors]
    table = np.array([errors[k] for k in done])
    return _Search(
        problems, folds, tol, [lams[k] for k in done], [points[k] for k in done], table, untried, interrupted
    )


def _has_risen(lams: Sequence[float], errors: Array) -> bool:
    """Whether the error has fallen, and then risen in every fold at each of the last values, which decrease."""
    rises = np.all(np.diff(errors, axis=0) > 0.0, axis=1)
    steps = next((k for k, risen in enumerate(rises[::-1]) if not risen), len(rises))
    has_fallen = errors.mean(axis=1).argmin() > 0
    return bool(has_fallen) and steps >= RISES and lams[-1 - steps] >= QUOTIENT * lams[-1]


def _best(lams: Sequence[float], errors: Array) -> int:
    """Return where the error is least, at the largest ``lam`` of several, as where all leave ``X = 0``."""
    return max(range(len(lams)), key=lambda k: (-errors[k], lams[k]))


def _folds(objective: Objective, folds: int, seed: int, means: str) -> list[Fold]:
    """Return the losses of each part of the entries or samples, both less the means of what is trained on."""
    entries = isinstance(objective, MatrixCompletion)
    count = objective.values.size if isinstance(objective, MatrixCompletion) else objective.facts.n_samples
    if count is None:
        remedy = f"{_HELD_OUT}{_ENTRIES if isinstance(objective, Denoising) else ''}"
        raise ValueError(f"problem: {objective.label} has neither entries nor samples to hold out; {remedy}")
    reason = None if entries else objective.batch_refusal()
    if reason is not None:
        raise ValueError(f"problem: {reason}; {_HELD_OUT}")
    if folds > count:
        raise ValueError(f"folds: expected at most one a sample ({count}), got {folds}")
    found: list[Fold] = []
    for part in np.array_split(np.random.default_rng(seed).permutation(count), folds):
        kept = np.setdiff1d(np.arange(count), part)
        train, test = _subset(objective, kept), _subset(objective, np.sort(part))
        losses = _less_means(train, train, means), _less_means(train, test, means)
        found.append((*losses, len(kept) / count if entries else 1.0))
    return found


def _less_means(train: Objective, objective: Objective, means: str) -> Objective:
    """Return an objective less the means of the entries that are trained on."""
    if isinstance(train, MatrixCompletion) and isinstance(objective, MatrixCompletion) and means != "none":
        return Means.of(train, means).off(objective)
    return objective


def _subset(objective: Objective, index: Array) -> Objective:
    if isinstance(objective, MatrixCompletion):
        return MatrixCompletion(objective.rows[index], objective.cols[index], objective.values[index], objective.shape)
    return objective.sample_batch(index)


def _error_name(test: Objective) -> str:
    return "held-out rmse" if isinstance(test, MatrixCompletion) else "held-out loss"


def _error(test: Objective, point: ConvexResult) -> float:
    """Return the error of an optimum: root mean square over entries, or the mean loss of a sample."""
    loss = loss_of(test, point)
    return math.sqrt(2.0 * loss / test.values.size) if isinstance(test, MatrixCompletion) else loss
