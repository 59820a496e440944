"""Tests of everything an objective states: derivatives, factor-level answers, facts, batches, merging.

All of it is SAMPLED: what fails is wrong, what passes was not refuted. Facts are attacked where a plain sample would
be weak: extreme Hessian eigenvalues instead of random directions, descent instead of random values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.validate import as_generator, as_number
from ..certificates.spot_checks import note_passed
from ..objectives import as_objective
from ..problem.blocks import MultiObjective
from . import _objective_abilities, _objective_derivatives, _objective_factor_level, _objective_facts
from ._objective_bench import Bench
from .base import CheckReport, run_checks

# In the order in which they run: what others rest on comes first.
_CHECKS = {
    **_objective_derivatives.CHECKS,
    **_objective_factor_level.CHECKS,
    **_objective_facts.CHECKS,
    **_objective_abilities.CHECKS,
}


def check_objective(objective: Any, rng: int | np.random.Generator = 0, scale: float = 1.0) -> CheckReport:
    """Test everything that an objective states about itself.

    Parameters
    ----------
    objective : Objective or object
        Any object with ``shape`` and ``value_and_grad(X) -> (float, G)``; what else it states is tested too.
    rng : int or numpy.random.Generator
        Seed or source of the test points.
    scale : float
        Standard deviation of the entries of the test points, in the unit of ``X``; less where the ``domain`` of the
        loss is smaller.

    Returns
    -------
    CheckReport
        ``report.ok`` is False if a check failed; ``print(report)`` shows all of them. Certificates of an objective that
        has passed say so.

    Raises
    ------
    TypeError
        If the object has no ``shape`` or no ``value_and_grad``, or is a loss of several updates, whose blocks
        (``loss.block(k, X)``) are tested instead.
    ValueError
        If points near ``X = 0`` are outside its ``domain``.

    Notes
    -----
    Checked: ``value_and_grad`` is pure and its gradient has Taylor slope 2; Hessian products are symmetric and have
    slope 2 against gradients (3 against values, shown); the factor level agrees with the dense one, and has no values
    outside of the domain; the cvxpy expression has the same value and is convex; ``convex``, ``smoothness``,
    ``rank_one_smoothness`` and ``lower_bound``; ``conjugate`` (Fenchel's inequality, with equality at gradients);
    ``least_squares`` (constant Hessian, a quadratic along lines); ``merged``; ``sample_batch`` (weighted means over a
    partition give ``f``); ``minimize_over_A`` and ``minimize_over_B`` are stationary; so is ``minimizer``, which
    descent does not beat.

    Examples
    --------
    >>> import numpy as np
    >>> class Sum:
    ...     shape = (3, 2)
    ...     smoothness = 0.5
    ...     def value_and_grad(self, X):
    ...         return 0.5 * float(np.sum(X * X)), X.copy()
    >>> [check.name for check in check_objective(Sum()).failures]
    ['smoothness']
    """
    scale = as_number(scale, "scale", 0.0, open_low=True)
    if isinstance(objective, MultiObjective):
        raise TypeError(
            f"objective: expected a loss of one update, got {objective.label}, a loss of several; test its blocks: "
            "check_objective(loss.block(k, X))"
        )
    bench = Bench(as_objective(objective), as_generator(rng, "rng"), scale)
    report = run_checks(bench.f.label, bench, _CHECKS)
    if report.ok:
        note_passed(objective)
    return report
