"""Many independent runs at once: phase diagrams over seeds, weight decays, starts and step sizes."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np

from ._advice import end_message
from ._support.keywords import names_keywords
from ._support.progress import Progress
from ._support.text import counted
from ._support.threads import get_threads, kernel_threads
from ._support.validate import Array, as_flag, as_instance, as_integer, as_number, shown
from .dense import SQUARED
from .engine import GivenStart, first_stage, method_and_start, own_problem, solve, start_name
from .inits import Init
from .kernels.stopping_rules import LIMIT, RUNNING
from .method import Method
from .monitor import MEANING, StoppingRule, rule_of
from .optimizers import Optimizer
from .problem import Problem
from .problem.natural_units import Units, gradient_at_zero, least_length, may_hide_gradient, units
from .result import Result, Trace
from .schedules import Stage
from .status import Status
from .tables import Column, Record, Tabular


@dataclass(repr=False, eq=False)
class BatchResult(Tabular):
    """The ends of many runs, in the order in which they were given.

    Attributes
    ----------
    A, B : ndarray of shape (K, m, r), (K, n, r)
        The factors.
    fun, grad_norm : ndarray of shape (K,)
        ``L`` and ``||grad L||_2`` at the ends, recomputed by each problem.
    nit : ndarray of shape (K,)
        Accepted iterations.
    status : ndarray of shape (K,)
        Members of :class:`~lorasolve.Status`.
    compiled : ndarray of bool, shape (K,)
        Which runs went through the batched kernel; the others were run one by one.
    seconds : float
        Time of the whole sweep, compilation included.
    """

    A: Array
    B: Array
    fun: Array
    grad_norm: Array
    nit: Array
    status: Array
    compiled: Array
    seconds: float
    _runs: list[Run] = field(repr=False)
    _single: dict[int, Result] = field(repr=False)
    # Times differ between equal runs (_support/digest.py).
    not_data: ClassVar[tuple[str, ...]] = ("seconds",)

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        ends = Counter(status.label for status in self.status)
        told = ", ".join(f"{count} {label}" for label, count in ends.most_common())
        return f"BatchResult({counted(len(self), 'run')}: {told}; {self.seconds:.3g} s)"

    def records(self) -> list[Record]:
        """Return a row for each run: what it was and how it ended."""
        return [
            {
                "method": str(run.method),
                "lam": run.problem.lam,
                "seed": run.seed,
                "fun": float(self.fun[k]),
                "grad_norm": float(self.grad_norm[k]),
                "nit": int(self.nit[k]),
                "status": self.status[k].label,
                "compiled": bool(self.compiled[k]),
            }
            for k, run in enumerate(self._runs)
        ]

    def columns(self) -> list[Column]:
        """Return all fields of the records."""
        return [
            Column("method", "method", left=True),
            Column("lam", "lam", latex=r"$\lambda$"),
            Column("seed", "seed"),
            Column("fun", "objective", "{:.10g}".format),
            Column("grad_norm", "||grad L||", "{:.1e}".format, latex=r"$\|\nabla L\|$"),
            Column("nit", "iterations"),
            Column("status", "status", left=True),
            Column("compiled", "compiled"),
        ]

    @property
    def success(self) -> Array:
        """Which runs converged or reached their target (K,)."""
        return np.array([status.success for status in self.status])

    def result(self, k: int) -> Result:
        """Return run ``k`` as :func:`~lorasolve.solve` would; the trace of a batched run has its two ends only."""
        k = as_integer(k, "k", 0, len(self._runs) - 1)
        if k in self._single:
            return self._single[k]
        run, status, nit = self._runs[k], self.status[k], int(self.nit[k])
        problem, optimizer = run.problem, run.method.optimizer
        step = cast(float, optimizer.batched_step(problem))
        start = np.asarray(run.theta)
        grad = np.empty_like(start)
        trace = Trace()
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            value, grad_norm = problem.value_and_grad(start, grad), float(np.linalg.norm(grad))
            began = math.isfinite(value) and math.isfinite(grad_norm)
            values = value, float(self.fun[k])
            message = end_message(optimizer, Stage(problem, start), status, step, nit if began else -1, values)
        trace.record(0, value, grad_norm, 0.0, step, force=True)
        trace.record(nit, float(self.fun[k]), float(self.grad_norm[k]), self.seconds, step, force=True)
        # A run that left the finite numbers on its way has called the oracle once more, where it did.
        left = status is Status.DIVERGED and began
        A, B = self.A[k].copy(), self.B[k].copy()
        return Result(
            A=A,
            B=B,
            theta=problem.join(A, B),
            fun=float(self.fun[k]),
            grad_norm=float(self.grad_norm[k]),
            nit=nit,
            nfev=nit + 1 + left,
            status=status,
            message=message,
            trace=trace,
            seconds=self.seconds,
            compile_seconds=0.0,
            seed=run.seed,
            method=run.method,
            started_from=start_name(run.method, run.given),
            problem=problem,
        )


@dataclass
class Run:
    """What one run is: its own problem, and the start; None where the start changes the problem itself."""

    problem: Problem
    method: Method
    given: GivenStart | None
    seed: int | None
    theta: Array | None = None


@names_keywords
def solve_batch(
    problems: Problem | Sequence[Problem],
    method: str | Optimizer | Method | Sequence[str | Optimizer | Method] = "gd",
    init: str | Init | GivenStart | Sequence[str | Init | GivenStart | None] | None = None,
    seed: int | Sequence[int | None] | None = 0,
    *,
    stop: StoppingRule | None = None,
    progress: bool = False,
) -> BatchResult:
    """Solve many independent problems of one shape and rank.

    Each of the first four arguments is one value for all runs or a sequence with one entry per run; a grid is
    their product: ``problems=[p.replace(lam=lam) for lam in lams for _ in seeds]``, ``seed=seeds * len(lams)``.

    Gradient descent with a given step size on runs that share a quadratic objective (dense sensing, linear
    fine-tuning, denoising, completion; ``X = A B^T``, all parameters trained) is done in blocks of 8 runs
    (float32: 16), one per vector lane, blocks in parallel; each run stops by its own rules, and a block when its
    last run does. All other runs are solved one by one. Either way each run ends where
    :func:`~lorasolve.solve` alone would end, to rounding.

    Parameters
    ----------
    problems : Problem or sequence of Problem
        Of one shape, rank and type. Problems that share an objective must share the very object.
    method : str, Optimizer, Method or a sequence of them
        The methods, for example ``[GD(step_size=s) for s in steps]``.
    init : str, Init, (A, B), Result or a list of them, optional
        The starts, in place of the methods' own.
    seed : int, None or a sequence of them
        The seeds.
    stop : StoppingRule, optional
        One rule for all runs. A time limit applies to each run, so it rules the blocks out.
    progress : bool
        Show progress on stderr: a line rewritten in place on a terminal, one every 30 s in logs.

    Returns
    -------
    BatchResult

    Raises
    ------
    ValueError, TypeError
        For sequences of different lengths, problems of different shapes, and whatever :func:`~lorasolve.solve`
        refuses.
    """
    began = time.perf_counter()
    stop = rule_of(stop)
    as_flag(progress, "progress")
    runs = [prepared(run) for run in _runs(problems, method, init, seed)]
    made = run_prepared(runs, stop, progress)
    made.seconds = time.perf_counter() - began
    return made


def run_prepared(runs: list[Run], stop: StoppingRule, progress: bool = False) -> BatchResult:
    """Solve prepared runs of one shape, rank and type, in blocks and one by one."""
    began = time.perf_counter()
    line = Progress("batch", progress)
    made = run_blocks(runs, stop, line=line)
    count, done = len(runs), int(made.compiled.sum())
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for k in np.flatnonzero(~made.compiled):
            _solve_single(int(k), stop, made)
            done += 1
            line.show(done / count, f"{done} of {count} runs")
    line.close()
    made.seconds = time.perf_counter() - began
    return made


def run_blocks(
    runs: list[Run], stop: StoppingRule, quadratics: dict[int, Any] | None = None, line: Progress | None = None
) -> BatchResult:
    """Solve those prepared runs that end in blocks; the others, which are not ``compiled``, are left to be solved.

    ``quadratics`` keeps those of objectives from call to call.
    """
    began = time.perf_counter()
    m, n = runs[0].problem.shape
    r, dtype, count = runs[0].problem.rank, runs[0].problem.dtype, len(runs)
    made = BatchResult(
        A=np.empty((count, m, r), dtype),
        B=np.empty((count, n, r), dtype),
        fun=np.empty(count),
        grad_norm=np.empty(count),
        nit=np.zeros(count, np.int64),
        status=np.empty(count, object),
        compiled=np.zeros(count, bool),
        seconds=math.nan,
        _runs=runs,
        _single={},
    )
    line = Progress("batch", False) if line is None else line
    done = 0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for members in _batches(runs, stop, {} if quadratics is None else quadratics):
            _solve_blocks(members, stop, made)
            done += sum(len(indices) for _, indices in members)
            line.show(done / count, f"{done} of {count} runs")
    made.seconds = time.perf_counter() - began
    return made


def _runs(problems: Any, method: Any, init: Any, seed: Any) -> list[Run]:
    """Spread single values over all runs and check that the runs fit together."""
    one_method = isinstance(method, (str, Optimizer, Method))
    given = {
        "problems": (problems, isinstance(problems, Problem)),
        "method": (Method.of(method) if one_method else method, one_method),
        "init": (init, init is None or isinstance(init, (str, Init, Result, tuple))),
        "seed": (seed, seed is None or isinstance(seed, (int, np.integer))),
    }
    for name, (value, single) in given.items():
        if not single and not isinstance(value, (list, tuple, range)) and np.ndim(value) != 1:
            raise TypeError(f"{name}: expected one value or a list of them, got {shown(value)}")
    lengths = {name: len(value) for name, (value, single) in given.items() if not single}
    count = max(lengths.values(), default=1)
    for name, length in lengths.items():
        if length == 0:
            raise ValueError(f"{name}: expected one value or a list of at least one, got an empty list")
        if length != count:
            raise ValueError(f"{name}: expected one value or as many as there are runs ({count}), got {length}")
    columns = [[value] * count if single else list(value) for value, single in given.values()]
    first = columns[0][0]
    for problem in columns[0]:
        as_instance(problem, "problems", Problem)
        problem.require_one_matrix("solve_batch")
        if (problem.shape, problem.rank, problem.dtype) != (first.shape, first.rank, first.dtype):
            raise ValueError(f"problems: all must have one shape, rank and type, got {first!r} and {problem!r}")
    seeds = [None if s is None else as_integer(s, "seed", 0) for s in columns[3]]
    return [Run(problem, *method_and_start(m, i), s) for problem, m, i, s in zip(*columns[:3], seeds)]


def prepared(run: Run) -> Run:
    """Refuse what cannot run, and draw the start."""
    run.problem = own_problem(run.problem, run.method, run.given)
    stage = first_stage(run.problem, run.method, run.given, np.random.default_rng(run.seed))
    if stage.problem is run.problem:
        run.theta = stage.theta
    return run


def _batches(runs: list[Run], stop: StoppingRule, quadratics: dict[int, Any]) -> Iterator[list[tuple[Any, list[int]]]]:
    """Yield batches of ``(quadratic, run indices)`` groups that share a kernel call."""
    groups: dict[int, list[int]] = {}
    for k, run in enumerate(runs):
        if fits(run, stop):
            groups.setdefault(id(run.problem.objective), []).append(k)
    for key, indices in groups.items():
        if key not in quadratics:
            quadratics[key] = runs[indices[0]].problem.objective.kernels.quadratic()
    found = ((quadratics[key], indices) for key, indices in groups.items())
    batch: list[tuple[Any, list[int]]] = []
    size = 0
    for quadratic, indices in found:
        if quadratic is None:
            continue
        # Whole groups, about 64 blocks per thread and call: enough to keep all threads busy, progress visible.
        if batch and (batch[0][0].kind != quadratic.kind or size >= 512 * get_threads()):
            yield batch
            batch, size = [], 0
        batch.append((quadratic, indices))
        size += len(indices)
    if batch:
        yield batch


def fits(run: Run, stop: StoppingRule) -> bool:
    """Whether a run is gradient descent with a given step on the problem itself.

    That decides by the run alone whether it goes through the blocks, so that its end has the same bits in whatever
    company it is solved.
    """
    alone = run.theta is not None and not run.method.schedules and stop.time_limit is None
    return alone and _takes_plain_steps(run.method.optimizer, run.problem)


def _takes_plain_steps(optimizer: Optimizer, problem: Problem) -> bool:
    """Return whether a method states a constant step; refuse what is none, as any text or -1 would be taken for one."""
    step = optimizer.batched_step(problem)
    if type(step) is not float or not 0.0 < step < math.inf:  # checks by name would cost every run of many
        source = f"method: what {optimizer.name}.batched_step returns"
        step = step if step is None else as_number(step, source, 0.0, open_low=True)
    return step is not None


def _solve_blocks(members: list[tuple[Any, list[int]]], stop: StoppingRule, made: BatchResult) -> None:
    """Run groups of runs in blocks of lanes and store their ends."""
    from .kernels import batch

    dtype = made.A.dtype
    width = batch.lanes(dtype)
    which, order = _blocks(members, width)
    used = order >= 0
    problem = made._runs[order[0]].problem
    (m, n), r = problem.shape, problem.rank
    theta, lam, step, slope, floor = _lanes(made._runs, order, stop, dtype)
    known = slope.copy()
    A0, B0 = (_to_lanes(part, width) for part in np.split(theta, [m * r], axis=1))
    status = np.where(used, RUNNING, LIMIT).reshape(-1, width)
    nit = np.zeros(status.shape, np.int64)
    A, B = A0.copy(), B0.copy()
    target, grad_tol, max_iter, window = stop.numbers()
    # A run calls its oracle once at the start and once an iteration.
    most = min(max_iter, stop.calls - 1)
    kernel_threads()
    batch.run_blocks(
        members[0][0].kind,
        np.stack([quadratic.operator for quadratic, _ in members]),
        np.stack([quadratic.b for quadratic, _ in members]),
        np.array([float(quadratic.c) for quadratic, _ in members]),
        which,
        A0,
        B0,
        lam.reshape(-1, width),
        step.reshape(-1, width),
        (m, n, r),
        slope.reshape(-1, width),
        floor.reshape(-1, width),
        (target, grad_tol, most, window),
        A,
        B,
        status,
        nit,
    )
    ends = order[used]
    made.A[ends] = _from_lanes(A, width)[used].reshape(-1, m, r)
    made.B[ends] = _from_lanes(B, width)[used].reshape(-1, n, r)
    made.nit[ends] = nit.ravel()[used]
    meaning = dict(MEANING)
    if most < max_iter:
        meaning[LIMIT] = Status.CALL_LIMIT
    made.status[ends] = [meaning[code] for code in status.ravel()[used].tolist()]
    _judge(ends, (lam > 0.0)[used] & (slope != known)[used], made)


def _lanes(runs: list[Run], order: Array, stop: StoppingRule, dtype: Any) -> tuple[Array, Array, Array, Array, Array]:
    """Return by lane start, weight decay and step of its run, and the slope and least length that convergence is by."""
    theta = np.zeros((order.size, runs[order[0]].problem.size), dtype)
    lam, step = np.zeros((2, order.size), dtype)
    slope, floor = np.ones((2, order.size))
    known = _units([runs[k] for k in order if k >= 0]) if stop.grad_tol > 0.0 else {}
    for lane in np.flatnonzero(order >= 0):
        run = runs[order[lane]]
        if known:
            found = known[id(run.problem)]
            start = float(np.linalg.norm(np.asarray(run.theta)))
            slope[lane], floor[lane] = found.slope, least_length(run.problem, found, start)
        step[lane] = run.method.optimizer.batched_step(run.problem)
        theta[lane], lam[lane] = run.theta, run.problem.lam
    return theta, lam, step, slope, floor


def _judge(ends: Array, far: Array, made: BatchResult) -> None:
    """Evaluate the ends of runs in lanes, and say which of them stand.

    ``far`` tells the runs with decay whose start was so far away that lanes took its slope for that of the problem.
    """
    grad = np.empty(made._runs[ends[0]].problem.size, made.A.dtype)
    for k, is_far in zip(ends, far):
        problem = made._runs[k].problem
        end = np.concatenate([made.A[k].ravel(), made.B[k].ravel()])
        made.fun[k] = problem.value_and_grad(end, grad)
        made.grad_norm[k] = problem.stationarity(end, grad)
        # Lanes add up squares and see all parameters at once: where squares underflow, or the lengths of the factors
        # hide a gradient, a run seems to have converged, and is solved by itself.
        seems = is_far or made.grad_norm[k] <= SQUARED[made.A.dtype] or may_hide_gradient(problem, end)
        made.compiled[k] = not seems or made.status[k] is not Status.CONVERGED


def _blocks(members: list[tuple[Any, list[int]]], width: int) -> tuple[Array, Array]:
    """Return the group of each block, and the run in each lane of all blocks, -1 where a lane is empty."""
    which: list[int] = []
    lanes: list[int] = []
    for position, (_, indices) in enumerate(members):
        blocks = -(-len(indices) // width)
        which += [position] * blocks
        lanes += indices + [-1] * (blocks * width - len(indices))
    return np.array(which), np.array(lanes)


def _units(runs: list[Run]) -> dict[int, Units]:
    """Return the units of the problems of runs, by identity; an objective is asked for its gradient at 0 once."""
    at_zero: dict[int, Any] = {}
    known: dict[int, Units] = {}
    for run in runs:
        problem = run.problem
        if id(problem) not in known:
            if id(problem.objective) not in at_zero:
                at_zero[id(problem.objective)] = gradient_at_zero(problem)
            known[id(problem)] = units(problem, at_zero[id(problem.objective)])
    return known


def _solve_single(k: int, stop: StoppingRule, made: BatchResult) -> None:
    run = made._runs[k]
    result = solve(run.problem, run.method, run.given, run.seed, stop=stop)
    made._single[k] = result
    made.A[k], made.B[k], made.fun[k], made.grad_norm[k] = result.A, result.B, result.fun, result.grad_norm
    made.nit[k], made.status[k] = result.nit, result.status


def _to_lanes(rows: Array, width: int) -> Array:
    """Return (K, p) as (blocks, p width), the run index fastest."""
    blocks = rows.reshape(-1, width, rows.shape[1]).transpose(0, 2, 1)
    return np.ascontiguousarray(blocks).reshape(blocks.shape[0], -1)


def _from_lanes(blocks: Array, width: int) -> Array:
    """Undo :func:`_to_lanes`."""
    return blocks.reshape(blocks.shape[0], -1, width).transpose(0, 2, 1).reshape(blocks.shape[0] * width, -1)
