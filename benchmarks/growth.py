"""S10: cost per iteration and peak memory against the size, with the slopes that theory gives."""

from __future__ import annotations

import contextlib
import json
import pathlib
import resource
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np

RANK = 8
# Size axis, its points, and the exponent of the data's size in it (the theory for time and memory).
SERIES = {
    "S2": ("m = n", (64, 128, 256, 512, 1024, 2048, 4096, 8192), 2),
    "S3": ("entries", (10_000, 100_000, 1_000_000, 10_000_000), 1),
    "S4": ("runs", (8, 64, 512, 4096, 100_000), 1),
    "S7m": ("ratings", (100_000, 1_000_000, 10_000_000), 1),
}


class Point(NamedTuple):
    """What one size costs: seconds, bytes of the data, MiB at the peak of the process."""

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
    forget_peak()
    began = time.perf_counter()
    result = ls.solve_convex(problem, "factored", 1e-4)
    assert result.relative_gap <= 1e-4, result.message
    return time.perf_counter() - began - result.compile_seconds, entries


def forget_peak() -> None:
    """Have the peak of this process's memory counted from here on, where the system can: not that of making data."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Return the peak of this process's memory."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def slope(x: list[float], y: list[float]) -> float:
    """Return the exponent between the last points of a curve."""
    return float(np.polyfit(np.log(x[-3:]), np.log(y[-3:]), 1)[0])


def main() -> None:
    """Measure one point (``growth.py KEY SIZE``), or all of them and draw (``growth.py FOLDER``)."""
    if len(sys.argv) == 3:
        seconds, data = {"S2": linear, "S3": completion, "S4": sweep, "S7m": ratings_optimum}[sys.argv[1]](
            int(sys.argv[2])
        )
        print(json.dumps([seconds, data, peak_mib()]))
        return
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["| item | size | seconds | data MiB | peak MiB |", "|---|---|---|---|---|"]
    measured: dict[str, list[Point]] = {key: [] for key in SERIES}
    for key, (_, sizes, _) in SERIES.items():
        for size in sizes:
            command = [sys.executable, __file__, key, str(size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            point = Point(*json.loads(done.stdout))
            measured[key].append(point)
            lines.append(f"| {key} | {size} | {point.seconds:.3g} | {point.data / 2**20:.3g} | {point.peak:.0f} |")
            print(lines[-1], flush=True)
    figure(measured, folder / "bench_S10.png")
    (folder / "bench_S10.md").write_text("\n".join(lines) + "\n")


def figure(measured: dict[str, list[Point]], path: pathlib.Path) -> None:
    """Draw seconds and memory of each series against its sizes, beside what theory says of them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(2, len(SERIES), figsize=(14, 6.4), layout="constrained", squeeze=False)
    for ax, below, (key, points) in zip(*axes, measured.items()):
        label, sizes, exponent = SERIES[key]
        seconds = [point.seconds for point in points]
        ax.loglog(sizes, seconds, "o-", color="#0072B2", label=f"measured, slope {slope(list(sizes), seconds):.2f}")
        reference = [seconds[-1] * (size / sizes[-1]) ** exponent for size in sizes]
        ax.loglog(sizes, reference, "--", color="#666666", label=f"theory, slope {exponent}")
        ax.set_title(f"{key}, lorasolve", fontsize=10, loc="left")
        ax.set_ylabel("seconds")
        below.loglog(sizes, [point.peak for point in points], "o-", color="#0072B2", label="peak of the process")
        below.loglog(sizes, [point.data / 2**20 for point in points], "--", color="#666666", label="data alone")
        below.set_ylabel("memory, MiB")
        below.set_xlabel(label)
        for panel in (ax, below):
            panel.legend(fontsize=8)
            panel.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=110)
    plt.close(fig)


if __name__ == "__main__":
    main()
