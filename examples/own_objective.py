"""A loss of your own
==================

A loss of your own in plain NumPy: check its claims, solve it, certify it.

Counts ``Y`` with Poisson rates ``exp(X)``: ``f(X) = sum(exp(X) - Y * X)``. All that must be written is ``shape`` and
``value_and_grad``. ``convex`` and ``lower_bound`` are facts that the certificate needs; without them everything else
still works and the certificate answers "unknown".
"""

from __future__ import annotations

import numpy as np

import lorasolve as ls


class PoissonCounts:
    """Negative log-likelihood of Poisson counts, up to a constant."""

    convex = True

    def __init__(self, Y: np.ndarray) -> None:
        self.Y = Y
        self.shape = Y.shape
        # Each entry is smallest at X = log Y, where exp(X) - Y X = Y - Y log Y (0 for Y = 0).
        self.lower_bound = float(np.sum(Y - Y * np.log(np.maximum(Y, 1))))

    def value_and_grad(self, X: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the value and the gradient at the log-rates ``X``."""
        rates = np.exp(X)
        return float(np.sum(rates - self.Y * X)), rates - self.Y


def run(quick: bool = False) -> dict[str, object]:
    """Check the objective, solve with two methods, certify."""
    rng = np.random.default_rng(0)
    m, n = (12, 10) if quick else (60, 40)
    log_rates = rng.standard_normal((m, 2)) @ rng.standard_normal((2, n)) / 2
    objective = PoissonCounts(rng.poisson(np.exp(log_rates)).astype(float))
    report = ls.check_objective(objective)
    print(report)
    problem = ls.Problem(objective, rank=6, lam=6.0)
    table = ls.compare(problem, ["gd_backtracking", "lbfgs"])
    print(table)
    return {"report": report, "table": table}


if __name__ == "__main__":
    run()
