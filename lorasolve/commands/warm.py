"""``lorasolve warm``: compile all kernels ahead, so that no later run waits for it."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import objectives, optimizers
from .._support.interruptions import interruptions_end_all
from .._support.progress import Progress
from .._support.threads import get_threads, kernel_threads
from ..executors.base import outcomes
from ..executors.loky import Loky
from ..executors.serial import Serial
from ..io import envelope
from ..monitor import StoppingRule
from ..problem import Problem
from ._arguments import add_json_argument
from ._cache import cache_facts
from ._output import emit
from .base import Command, ExitCode

RANK = 2
# More steps than an acceleration or a line search needs to enter each of its loops once.
STEPS = 12
# Measurements of 20 x 20 for one thread and for several.
FEW_AND_MANY = 20, 260
# As many as are multiplied in 16-bit integers too.
MOST = 1250
# A process that compiles takes 0.3 GB.
MOST_WORKERS = 8
# The part of kernels that are called beside runs.
BESIDE_RUNS = "descents and certificates of large data"


class WarmCommand(Command):
    """Run every optimizer on every objective for a few steps, small and as a batch, and say what that compiled."""

    name = "warm"
    summary = "compile all kernels ahead into the cache folder"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_json_argument(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Compile and report."""
        with interruptions_end_all():
            facts = warm(progress=not args.json)
        emit(args, envelope("warm", facts), _text(facts))
        return ExitCode.FINE


def warm(progress: bool = False) -> dict[str, Any]:
    """Compile what every optimizer on every objective uses, in up to eight worker processes, one a thread of solvers.

    Parameters
    ----------
    progress : bool
        Show progress on stderr: a line rewritten in place on a terminal, one every 30 s in logs.

    Returns
    -------
    dict
        ``combinations`` run, ``seconds`` in all, ``compile_seconds`` spent compiling by all processes together,
        ``kernels`` added to the ``folder``, and how many ``files`` of how many ``megabytes`` are there now.

    Raises
    ------
    OSError
        If kernels cannot be kept.
    """
    _refuse_without_folder()
    before, began = cache_facts()["files"], time.perf_counter()
    display = Progress("warm", progress)
    names = list(_parts())
    combinations, compiling = 0, 0.0
    workers = min(get_threads(), MOST_WORKERS)
    with (Loky() if workers > 1 else Serial()).open(_compiler, workers, get_threads()) as pool:
        for done, outcome in enumerate(outcomes(pool, names, 2 * workers), start=1):
            name = names[outcome.task]
            count, seconds = _compiler()(name) if outcome.lost else outcome.report
            combinations, compiling = combinations + count, compiling + seconds
            display.show(done / len(names), name)
    display.close()
    now = cache_facts()
    return {
        "combinations": combinations,
        "seconds": round(time.perf_counter() - began, 2),
        "compile_seconds": round(compiling, 2),
        "kernels": now["files"] - before,
    } | now


def _refuse_without_folder() -> None:
    """Make the folder of the kernels and write to it: what would be compiled for none is compiled again in each run."""
    from ..kernels.cache import cache_directory

    folder = cache_directory()
    if folder is None:
        raise OSError("no folder is known that could hold kernels: LORASOLVE_CACHE_DIR names one")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _compiler() -> Callable[[str], tuple[int, float]]:
    """Return what compiles a part by its name; that returns how many combinations it ran, and the time compiling."""
    from ..kernels.jit import compile_seconds

    parts = _parts()

    def compile_part(name: str) -> tuple[int, float]:
        before = compile_seconds()
        for problem, optimizer in parts[name]:
            _run(problem, optimizer)
        if name == BESIDE_RUNS:
            _call_what_no_run_calls()
        return len(parts[name]), compile_seconds() - before

    return compile_part


def _parts() -> dict[str, list[tuple[Problem, Any]]]:
    """Return what is compiled in one process each, by names to show.

    All of an objective in one type is, but for sweeps, which have kernels for each rank.
    """
    parts: dict[str, list[tuple[Problem, Any]]] = {}
    for problem, optimizer in _pairs():
        sweeps = f" {optimizer.name} rank {problem.rank}" if optimizer.name == "als" else ""
        parts.setdefault(f"{problem.objective.name} {problem.dtype}{sweeps}", []).append((problem, optimizer))
    return parts | {BESIDE_RUNS: []}


def _run(problem: Problem, optimizer: Any) -> None:
    """Take a few steps, alone and as a batch, and solve the convex counterpart."""
    from ..convex import solve_convex
    from ..engine import solve
    from ..sweep import solve_batch

    stop = StoppingRule(max_iter=STEPS, grad_tol=0.0)
    solve(problem, optimizer, "gaussian", stop=stop, seed=0)
    if optimizer.name == "gd":
        solve_batch([problem] * 2, optimizer, "gaussian", [0, 1], stop=stop)
        if problem.objective.facts.convex is True and problem.dtype == np.float64:
            solve_convex(problem, "factored", 1e-3)


def _call_what_no_run_calls() -> None:
    """Call what only descents on large data, certificates of large data, or of many points, call."""
    from ..certificates import stacked_balls, stacked_oracles
    from ..kernels import pairs, simd
    from ..kernels.evaluate import evaluate
    from ..kernels.sparse_gram import add_row_products
    from ..kernels.splitting import split_products, split_residual

    for dtype in (np.float64, np.float32):
        factors = np.zeros((20, RANK), dtype)
        for measurements in FEW_AND_MANY:
            kernels, threads = _sensing(measurements, dtype).kernels, kernel_threads()
            data = kernels.mixed(RANK, threads) or kernels.data(RANK, threads)
            evaluate(data, factors, factors, np.empty_like(factors), np.empty_like(factors))
        _completion_products(dtype)
        kept, one = np.zeros((2, 1), np.float32), np.ones(1, dtype)
        pairs.keep_pair(kept, 0, one, one, one, one, np.ones(2), np.zeros(2), np.zeros(3))
        pairs.add_products(kept, one, 1.0, np.zeros(2))
        pairs.combine(kept, np.zeros(2, np.float32), 1.0, one, 1.0, np.empty_like(one))
    stacked_oracles.softmax_losses(stacked_balls.Balls(np.zeros((1, 2, 1)), np.zeros(1)), np.zeros(1, np.int64))
    add_row_products(np.zeros((1, 1)), np.array([0, 1]), np.zeros(1, np.int64), np.ones(1), np.ones(1, bool))
    if simd.available():
        one, out = np.zeros(1), np.empty((1, 4))
        split_products(one, one, one, 26, out)
        split_residual(one, one, one, one, 26, 4, out, *np.empty((3, 1)))


def _pairs() -> Iterator[tuple[Problem, Any]]:
    """Yield the example of every objective in each of its types, and larger ones, with optimizers that take them."""
    yield from _large()
    methods = [optimizers.registry.make(name, "optimizer") for name in optimizers.registry.classes()]
    for objective in _examples():
        problem = Problem(objective, RANK, 0.1)
        for optimizer in methods:
            if optimizer.refusal(problem) is None:
                yield problem, optimizer


def _examples() -> list[objectives.Objective]:
    """Return the example of every objective that offers one, in each of its types."""
    found = []
    for cls in objectives.registry.classes().values():
        for dtype in cls.dtypes:
            # A class that serves float64 only may leave the second argument out.
            types = () if dtype == "float64" else (np.dtype(dtype),)
            with contextlib.suppress(NotImplementedError):
                found.append(cls.example(np.random.default_rng(0), *types))
    return found


def _large() -> Iterator[tuple[Problem, Any]]:
    """Yield instances beyond the sizes up to which plain arrays, or float64 alone, are as fast as more kernels.

    Each is there for one thread and for several, which take kernels of their own.
    """
    from ..kernels import simd

    gd, mixed, als = (optimizers.registry.classes()[name]() for name in ("gd", "gd_mixed", "als"))
    rng = np.random.default_rng(0)
    linear = objectives.LinearFineTuning(*(rng.standard_normal(size) for size in ((130, 130), (130, 20), (130, 20))))
    few, many = (Problem(_sensing(measurements, np.float64), RANK, 0.1) for measurements in FEW_AND_MANY)
    most = Problem(_sensing(MOST, np.float64), RANK, 0.1)
    for problem in (few, many, most, Problem(linear, RANK, 0.1), Problem(linear, 2 * RANK, 0.1)):
        yield problem, mixed
    single = Problem(_sensing(FEW_AND_MANY[-1], np.float32), RANK, 0.1)
    for problem in (many, single, Problem(linear, 2 * RANK, 0.1)):
        yield problem, gd
    for dtype in (np.float64, np.float32):
        ratings, more = (_completion(size, dtype) for size in (800, 60_000))
        for completion, rank, lam in ((ratings, RANK, 0.1), (ratings, simd.WIDTH + 1, 0.1), (more, RANK, 20.0)):
            yield Problem(completion, rank, lam), gd
        # Sweeps have a kernel for each rank of few columns, and one for all beyond.
        for rank in range(1, simd.WIDTH + 2):
            for completion in (ratings, more):
                yield Problem(completion, rank, 0.1), als


def _completion(size: int, dtype: Any) -> objectives.MatrixCompletion:
    rows, cols = np.divmod(np.arange(size), 200)
    values = np.random.default_rng(0).standard_normal(size).astype(dtype)
    return objectives.MatrixCompletion(rows, cols, values, (800, 200))


def _sensing(measurements: int, dtype: Any) -> objectives.MatrixSensing:
    M = np.random.default_rng(0).standard_normal((measurements, 20, 20))
    return objectives.MatrixSensing(M.astype(dtype), np.ones(measurements, dtype))


def _completion_products(dtype: Any) -> None:
    from ..kernels import completion, completion_lanes, simd

    start, cols, values = np.array([0, 1]), np.zeros(1, np.int32), np.ones(1, dtype)
    cut = completion.blocks(start, 1)
    kind, factor = completion_lanes if simd.available() else completion, np.ones((1, RANK), dtype)
    kind.entries(start, cols, cut, factor, factor)
    kind.product(start, cols, values, cut, factor)
    kind.transposed_product(start, cols, values, cut, factor, 1)


def _text(facts: dict[str, Any]) -> str:
    return (
        f"{facts['combinations']} combinations of objective, type and optimizer run in {facts['seconds']:.1f} s; "
        f"all processes together compiled for {facts['compile_seconds']:.1f} s\n"
        f"{facts['kernels']} kernels added; {facts['files']} files of {facts['megabytes']} MB in {facts['folder']}"
    )
