"""S14: 100,000 runs, m = n = 20, r = 4, 100 iterations each: what the store costs on top of the solver."""

from __future__ import annotations

import pathlib
import tempfile

import numpy as np
from peers import Item, threads, timed

SIDE, RANK, ITERATIONS, STEP = 20, 4, 100, 0.05
LAMS, INSTANCES = np.linspace(0.01, 0.1, 10).tolist(), 10

studies = Item(
    "S14",
    "Study, 100,000 runs, m = n = 20, r = 4, 100 gradient descent iterations, float64: seconds in total",
    rtol=1e-12,
    remark="The value is the number of runs that ended at their iteration limit.",
)


def instances():
    import lorasolve as ls

    rng = np.random.default_rng(14)
    return [ls.objectives.Denoising(rng.standard_normal((SIDE, SIDE))) for _ in range(INSTANCES)]


def settings():
    import lorasolve as ls

    return ls.optimizers.GD(step_size=STEP), ls.StoppingRule(max_iter=ITERATIONS, grad_tol=0.0)


def seeds(quick):
    return 50 if quick else 1000


def study(quick, backend, n_jobs):
    import lorasolve as ls

    method, stop = settings()

    def run():
        made = ls.Study(
            lambda instance, lam: ls.Problem(instance, RANK, lam),
            {"instance": dict(enumerate(instances())), "lam": LAMS, "seed": range(seeds(quick))},
            method,
            stop=stop,
        )
        with tempfile.TemporaryDirectory() as folder:
            return list(made.run(pathlib.Path(folder) / "runs", backend, n_jobs=n_jobs).store.lines())

    def at_limit(lines):
        limit = ls.Status.ITERATION_LIMIT.label
        return float(sum(line.record["result"].get("status") == limit for line in lines))

    return timed(run, at_limit)


@studies.peer("lorasolve Study, loky", ours=True, needs="numba", repeats=2)
def _(quick):
    return study(quick, "loky", threads())


@studies.peer("lorasolve Study, serial", needs="numba", repeats=2)
def _(quick):
    return study(quick, "serial", 1)


# The bar is 1.5 times the time of the solver alone.
@studies.peer("lorasolve solve_batch, nothing kept", needs="numba", goal=(1 / 1.5, 1.0), repeats=2)
def _(quick):
    import lorasolve as ls

    method, stop = settings()
    numbers = list(range(seeds(quick)))

    def work():
        problems = [ls.Problem(o, RANK, lam) for o in instances() for lam in LAMS for _ in numbers]
        return ls.solve_batch(problems, method, seed=numbers * (len(LAMS) * INSTANCES), stop=stop)

    return timed(work, lambda made: float(sum(status is ls.Status.ITERATION_LIMIT for status in made.status)))


ITEMS = [studies]
