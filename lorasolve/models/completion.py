"""Completions of ratings: means by averages, the rest by the nuclear-norm optimum, at a ``lam`` given or chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._means import MEANS, Means
from .._support.keywords import names_keywords
from .._support.validate import as_choice, as_flag, as_number
from ..convex import ConvexResult, solve_convex
from ..io import Ratings, label_places
from ..objectives import MatrixCompletion
from ..problem import Problem
from ._entries import as_entries, as_names, as_range
from .model import CompletionModel

if TYPE_CHECKING:
    from ..studies.validation import Validation

# Without a given lam, this share of the least one at which the optimum is 0.
DEFAULT_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class CompletionFit:
    """A model, and the convex optimum it was made from.

    Attributes
    ----------
    model : CompletionModel
        For predictions.
    optimum : ConvexResult
        The optimum of the nuclear-norm problem on the centred entries, with its certificate.
    """

    model: CompletionModel
    optimum: ConvexResult


@names_keywords
def fit_completion(
    ratings: Ratings,
    lam: float | None = None,
    means: str = "global",
    clip: tuple[float, float] | None = None,
    tol: float = 1e-4,
    *,
    progress: bool = False,
) -> CompletionFit:
    """Complete a matrix: means by averages, the rest by the nuclear-norm optimum, certified.

    Effects are plain averages, of rows first: ``mean`` over all entries, a row's effect over what its entries are
    above it, a column's over what is then left.

    Parameters
    ----------
    ratings : Ratings
        The observed entries.
    lam : float, optional
        Weight of the nuclear norm, > 0; by default a tenth of the least one at which the update is 0.
    means : {"none", "global", "rows", "columns", "both"}
        Which means are taken off first.
    clip : (float, float), optional
        The range of predictions.
    tol : float
        Certified relative gap to reach.
    progress : bool
        Show progress on stderr: a line rewritten in place on a terminal, one every 30 s in logs.

    Returns
    -------
    CompletionFit

    Raises
    ------
    ValueError
        For settings outside their ranges.
    """
    centred = _Centred(ratings, means, clip)
    as_flag(progress, "progress")
    problem = Problem(centred.left, 1, 1.0)
    if lam is None:
        lam = DEFAULT_SHARE * problem.critical_lam() or 1.0
    lam = as_number(lam, "lam", 0.0, open_low=True)
    return centred.fit(lam, solve_convex(problem.replace(lam=lam), tol=tol, progress=progress))


@names_keywords
def choose_completion(
    ratings: Ratings,
    lams: int | Iterable[float] = 20,
    means: str = "global",
    clip: tuple[float, float] | None = None,
    tol: float = 1e-4,
    *,
    folds: int = 5,
    held_out: Ratings | None = None,
    seed: int = 0,
    progress: bool = False,
) -> tuple[CompletionFit, Validation]:
    """Complete a matrix at the ``lam`` of least error on held-out entries.

    Each fit takes off the means of its own entries, so that held-out ones are not seen by them either; predictions are
    not clipped while ``lam`` is chosen.

    Parameters
    ----------
    ratings : Ratings
        The observed entries.
    lams : int or iterable of float
        The values tried, as for :func:`lorasolve.cross_validate`.
    means, clip, tol
        As for :func:`fit_completion`; ``tol`` holds at every ``lam`` of every fold.
    folds : int
        Number of parts; each is held out once. Of no use with ``held_out``.
    held_out : Ratings, optional
        Entries that are held out for good, in place of folds, such as later ones. Those with a label that ``ratings``
        have not are left out: no ``lam`` changes what is predicted there.
    seed : int
        Of the division into parts.
    progress : bool
        As for :func:`fit_completion`.

    Returns
    -------
    CompletionFit, Validation
        The fit to all entries of ``ratings`` at the best ``lam``, and the errors at all of them.

    Raises
    ------
    ValueError, TypeError
        For settings outside their ranges.
    """
    # Studies build on models' peers; loaded here, the model of `predict` stays light.
    from ..studies.validation import cross_validate

    centred = _Centred(ratings, means, clip)
    later = None if held_out is None else centred.known_of(held_out)
    if isinstance(lams, (int, np.integer)) and not centred.left.values.any():
        name = "folds" if later is None else "held_out"
        raise ValueError(
            f"{name}: there is no lam to choose: the means leave 0 of all entries, and X = 0 is optimal at each"
        )
    problem = Problem(centred.observed, 1, 1.0)
    found = cross_validate(problem, lams, folds, tol, held_out=later, means=means, seed=seed, progress=progress)
    return centred.fit(found.best, found.fit), found


class _Centred:
    """Ratings less their means: what is left is completed by a low-rank update."""

    def __init__(self, ratings: Ratings, means: str, clip: tuple[float, float] | None) -> None:
        self.observed, self.row_labels, self.col_labels = as_entries(ratings, "ratings")
        self.kind = as_choice(means, "means", MEANS)
        self.clip = None if clip is None else as_range(clip)
        # Before the solve, and not after it.
        self.names = as_names(ratings.names, "ratings.names")
        self.means = Means.of(self.observed, means)
        self.left = self.means.off(self.observed)

    def known_of(self, held_out: Ratings) -> MatrixCompletion:
        """Return those of other entries whose row and column these have, at their places here."""
        others, row_labels, col_labels = as_entries(held_out, "held_out")
        i = label_places(self.row_labels, row_labels, "held_out.row_labels")[others.rows]
        j = label_places(self.col_labels, col_labels, "held_out.col_labels")[others.cols]
        known = (i >= 0) & (j >= 0)
        if not known.any():
            raise ValueError(
                "held_out: expected entries with labels of ratings, got none whose row and column are there"
            )
        return MatrixCompletion(i[known], j[known], others.values[known], self.observed.shape)

    def fit(self, lam: float, optimum: ConvexResult) -> CompletionFit:
        """Return the model of an update that was found, with what it was made from."""
        model = CompletionModel(
            A=optimum.A,
            B=optimum.B,
            mean=self.means.mean,
            row_effects=self.means.row_effects,
            col_effects=self.means.col_effects,
            row_labels=self.row_labels,
            col_labels=self.col_labels,
            lam=lam,
            means=self.kind,
            clip=self.clip,
            names=self.names,
        )
        return CompletionFit(model, optimum)
