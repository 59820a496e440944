"""A panel with missing outcomes
=============================

Units take up a policy when common shocks hit them; what they would have done without it is missing. Two-way effects
alone (difference in differences) miss that units react differently to the shocks; a low-rank update beside them takes
that in (Athey, Bayati, Doudchenko, Imbens and Khosravi, JASA 116, 2021). The nuclear norm shrinks the update, so a part
of the bias stays; factors of low rank with hardly any decay shrink nothing. The effect is known here, so all can be
judged.
"""

from __future__ import annotations

import numpy as np

import lorasolve as ls
from lorasolve.io import Ratings
from lorasolve.models import choose_completion

EFFECT = 1.0


def panel(units: int, periods: int) -> tuple[np.ndarray, np.ndarray]:
    """Return outcomes, and where the policy is in force: the more likely, the harder a unit is hit."""
    rng = np.random.default_rng(0)
    hit = rng.standard_normal((units, 2)) @ rng.standard_normal((2, periods))
    untreated = rng.standard_normal((units, 1)) + rng.standard_normal(periods) - hit
    treated = rng.random(hit.shape) < 1.0 / (1.0 + np.exp(2.0 - hit))
    return untreated + EFFECT * treated + 0.2 * rng.standard_normal(untreated.shape), treated


def two_way(Y: np.ndarray, treated: np.ndarray) -> np.ndarray:
    """Return least-squares effects of units and periods from untreated outcomes."""
    i, t = np.nonzero(~treated)
    design = np.zeros((i.size, sum(Y.shape)))
    design[np.arange(i.size), i] = design[np.arange(i.size), Y.shape[0] + t] = 1.0
    effects = np.linalg.lstsq(design, Y[i, t], rcond=None)[0]
    return effects[: Y.shape[0], None] + effects[Y.shape[0] :]


def run(quick: bool = False) -> dict[str, object]:
    """Estimate the effect of the policy where it is in force."""
    Y, treated = panel(*((60, 30) if quick else (150, 60)))
    m, n = Y.shape
    rows, cols = np.nonzero(~treated)
    untreated = Ratings(rows, cols, Y[rows, cols], np.arange(m), np.arange(n))
    # Every fold takes off the effects of its own entries: taken off before, they would have seen what is held out.
    fit, choice = choose_completion(untreated, 6, "both", tol=1e-6, folds=3)
    base = two_way(Y, treated)
    # Two shocks, and an effect of each unit and period on top, which the first step got wrong.
    rest = ls.objectives.MatrixCompletion(rows, cols, (Y - base)[rows, cols], Y.shape)
    refit = ls.solve(ls.Problem(rest, rank=4, lam=0.1), "als", "spectral")
    i, t = np.nonzero(treated)
    estimates = {
        "two-way effects alone": float((Y - base)[i, t].mean()),
        f"with an update of rank {fit.model.rank}": float((Y[i, t] - fit.model.predict(i, t)).mean()),
        "refitted with factors of rank 4": float((Y - base - refit.X)[i, t].mean()),
    }
    print(f"{m} units, {n} periods, {len(i)} outcomes under the policy; lam = {choice.best:.3g} by cross-validation")
    print(fit.optimum.certificate)
    print(f"effect of the policy: {EFFECT:g}")
    for name, estimate in estimates.items():
        print(f"  {name}: {estimate:.3f}")
    return {"estimates": list(estimates.values()), "optimum": fit.optimum}


if __name__ == "__main__":
    run()
