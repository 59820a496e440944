"""S10: cost per iteration and peak memory against the size, with the slopes that theory gives.

As a program, ``growth.py SERIES SIZE`` measures one point.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import usage
from store import Row, measured

KEY, TITLE = "S10", "Growth with the size"
HEADS = ["item", "size", "seconds", "data MiB", "peak MiB"]
RANK = 8
# Size axis, its points, and the exponent of the data's size in it (the theory for time and memory).
SERIES = {
    "S2": ("m = n", (64, 128, 256, 512, 1024, 2048, 4096, 8192), 2),
    "S3": ("entries", (10_000, 100_000, 1_000_000, 10_000_000), 1),
    "S4": ("runs", (8, 64, 512, 4096, 100_000), 1),
    "S7m": ("ratings", (100_000, 1_000_000, 10_000_000), 1),
}


class Point(NamedTuple):
    """What one size costs: seconds, MiB of the data, MiB at the peak of the process."""

    size: int
    seconds: float
    data: float
    peak: float


def linear(size: int) -> tuple[float, float]:
    """Return seconds per gradient descent iteration and the bytes of the data."""
    import lorasolve as ls

    rng = np.random.default_rng(0)
    S, C = rng.standard_normal((2, size, size), dtype=np.float32).astype(np.float64)
    S += S.T
    S /= 4 * size**0.5
    S[np.diag_indices(size)] += 1.0
    # All eigenvalues of S are above 1/4, so f falls by less than 2 ||C||_F^2.
    objective = ls.objectives.LinearFineTuning.from_gram(C, S, C, 2.0 * float(np.vdot(C, C)))
    problem = ls.Problem(objective, RANK, 0.1)
    start = (rng.standard_normal((size, RANK)) / size**0.5, np.zeros((size, RANK)))
    steps = max(3, min(2000, 200_000_000 // size**2))

    def run(iterations: int) -> float:
        stop = ls.StoppingRule(max_iter=iterations, grad_tol=0.0)
        began = time.perf_counter()
        ls.solve(problem, ls.optimizers.GD(step_size=1e-3), start, stop=stop)
        return time.perf_counter() - began

    run(2)
    short = run(2)
    return (run(2 + steps) - short) / steps, 8.0 * 2 * size**2


def completion(size: int) -> tuple[float, float]:
    """Return seconds per objective and gradient at 100 entries per row, and the bytes of the data."""
    import lorasolve as ls

    rng = np.random.default_rng(0)
    m, n = max(size // 100, 100), 2000
    place = np.unique(rng.integers(0, m * n, size))
    rows, cols = np.divmod(place, n)
    objective = ls.objectives.MatrixCompletion(rows, cols, rng.standard_normal(place.size), (m, n))
    problem = ls.Problem(objective, RANK, 0.1)
    theta = rng.standard_normal(problem.size)
    grad = np.empty_like(theta)
    problem.value_and_grad(theta, grad)
    repeats = max(3, 2_000_000 // size)
    began = time.perf_counter()
    for _ in range(repeats):
        problem.value_and_grad(theta, grad)
    return (time.perf_counter() - began) / repeats, 24.0 * place.size


def sweep(size: int) -> tuple[float, float]:
    """Return seconds for 20 iterations of all runs, and the bytes of their factors."""
    import lorasolve as ls

    rng = np.random.default_rng(0)
    objective = ls.objectives.MatrixSensing(rng.standard_normal((300, 20, 20)), rng.standard_normal(300))
    problem = ls.Problem(objective, 4, 0.1)
    stop = ls.StoppingRule(max_iter=20, grad_tol=0.0)
    method = ls.optimizers.GD(step_size=0.05)
    ls.solve_batch([problem] * 8, method, "lora", list(range(8)), stop=stop)
    began = time.perf_counter()
    ls.solve_batch([problem] * size, method, "lora", list(range(size)), stop=stop)
    return time.perf_counter() - began, 8.0 * size * problem.size


def ratings_optimum(size: int) -> tuple[float, float]:
    """Return seconds to a certified relative gap of 1e-4 on synthetic ratings, and the bytes of the entries."""
    import item_ratings
    import ratings

    import lorasolve as ls

    small = ratings.ratings("100k")
    ls.solve_convex(item_ratings.problem(small, 40.0), "factored", 1e-2)  # compiles
    name = next(name for name, shape in ratings.SHAPES.items() if shape[2] == size)
    data = ratings.ratings(name)
    problem, entries = item_ratings.problem(data, item_ratings.LAM[name]), data.train.nbytes
    del data
    # Not that of making the data.
    usage.forget_peak()
    began = time.perf_counter()
    result = ls.solve_convex(problem, "factored", 1e-4)
    assert result.relative_gap <= 1e-4, result.message
    return time.perf_counter() - began - result.compile_seconds, entries


def slope(x: list[float], y: list[float]) -> float:
    """Return the exponent between the last points of a curve."""
    return float(np.polyfit(np.log(x[-3:]), np.log(y[-3:]), 1)[0])


def measure(series: str, environment: dict[str, str]) -> Row:
    """Return the points of a series, each measured in a process of its own, or why there are none."""
    points = []
    for size in SERIES[series][1]:
        command = [sys.executable, __file__, series, str(size)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
        if done.returncode:
            return {"skipped": f"failed: size {size} ended with code {done.returncode}"}
        points.append(json.loads(done.stdout))
    return {"points": points}


def cells(rows: dict[str, Row]) -> list[list[str]]:
    """Return the printed cells of all points."""
    points = [(name, Point(*point)) for name, row in rows.items() if measured(row) for point in row["points"]]
    return [[name, str(p.size), f"{p.seconds:.3g}", f"{p.data:.3g}", f"{p.peak:.0f}"] for name, p in points]


def figure(rows: dict[str, Row], path: pathlib.Path) -> None:
    """Draw seconds and memory of each series against its sizes, beside what theory says of them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {name: [Point(*point) for point in row["points"]] for name, row in rows.items() if measured(row)}
    fig, axes = plt.subplots(2, len(shown), figsize=(3.5 * len(shown), 6.4), layout="constrained", squeeze=False)
    for ax, below, (key, points) in zip(*axes, shown.items()):
        label, _, exponent = SERIES[key]
        sizes, seconds = [float(point.size) for point in points], [point.seconds for point in points]
        ax.loglog(sizes, seconds, "o-", color="#0072B2", label=f"measured, slope {slope(sizes, seconds):.2f}")
        reference = [seconds[-1] * (size / sizes[-1]) ** exponent for size in sizes]
        ax.loglog(sizes, reference, "--", color="#666666", label=f"theory, slope {exponent}")
        ax.set_title(f"{key}, lorasolve", fontsize=10, loc="left")
        ax.set_ylabel("seconds")
        below.loglog(sizes, [point.peak for point in points], "o-", color="#0072B2", label="peak of the process")
        below.loglog(sizes, [point.data for point in points], "--", color="#666666", label="data alone")
        below.set_ylabel("memory, MiB")
        below.set_xlabel(label)
        for panel in (ax, below):
            panel.legend(fontsize=8)
            panel.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def main() -> None:
    """Measure the point named by the arguments and print it as JSON."""
    series, size = sys.argv[1], int(sys.argv[2])
    work = {"S2": linear, "S3": completion, "S4": sweep, "S7m": ratings_optimum}[series]
    seconds, data = work(size)
    print(json.dumps(Point(size, seconds, data / 2**20, usage.peak_mib())))


if __name__ == "__main__":
    main()
