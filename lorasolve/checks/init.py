"""Tests of everything an init states: shapes, seeds, refusals, and the update that a run starts at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.validate import Array, as_generator, as_instance, require
from ..adapters.lora import LoRA
from ..inits import registry
from ..inits.base import Init, Start
from ..objectives import as_objective
from ..objectives.linear import LinearFineTuning
from ..problem import Problem
from .base import BareLoss, Checked, CheckReport, global_state, refusal_text, relative, run_checks

LAM = 0.1
ALPHA = 3.0  # a scaling that is not 1


@dataclass
class _Bench:
    """The init under test and a problem that it accepts."""

    init: Init
    problem: Problem
    seed: int

    def start(self, problem: Problem | None = None, seed: int | None = None) -> Start:
        """Return the start of a problem."""
        generator = np.random.default_rng(self.seed if seed is None else seed)
        return self.init.start(self.problem if problem is None else problem, generator)


def check_init(init: str | Init, problem: Problem | None = None, rng: int | np.random.Generator = 0) -> CheckReport:
    """Test what an init states about itself.

    Parameters
    ----------
    init : str or Init
        The init, with its settings: itself, or its text as everywhere.
    problem : Problem, optional
        A problem that it accepts, by default a small linear fine-tuning job with a frozen weight.
    rng : int or numpy.random.Generator
        Seed or source of the default problem's data and of the starts.

    Returns
    -------
    CheckReport
        ``report.ok`` is False if a check failed; ``print(report)`` shows all of them.

    Raises
    ------
    TypeError
        If ``init`` is no init, or another argument of another type than stated.
    ValueError
        For an unknown name; if the init refuses the problem; for a problem of several matrices.

    Notes
    -----
    Checked, at rank 1 and 2, in float64 and float32, with a scaling: the factors have shapes (m, r) and (n, r), are
    finite and not both zero; what is merged has shape (m, n) and the problem's type; the given generator decides, and
    nothing else does; the weight at the start is ``W0`` where ``keeps_weight`` says so; ``refusal`` agrees with what
    starts.

    Examples
    --------
    >>> from lorasolve.inits import Gaussian
    >>> class Transposed(Gaussian):
    ...     def start(self, problem, rng):
    ...         made = super().start(problem, rng)
    ...         return type(made)(made.A.T, made.B.T)
    >>> [check.name for check in check_init(Transposed()).failures][0]
    'factors'
    """
    init = registry.make(init, "init")
    # A seed, as one draw is repeated.
    seed = int(as_generator(rng, "rng").integers(2**63))
    if problem is not None:
        as_instance(problem, "problem", Problem).require_one_matrix("check_init")
    else:
        problem = Problem(LinearFineTuning.example(np.random.default_rng(seed)), 2, LAM)
    require(init.name, "init", init.refusal(problem))
    return run_checks(type(init).__name__, _Bench(init, problem, seed), _CHECKS)


def _problems(bench: _Bench) -> Iterator[tuple[str, Problem]]:
    """Yield the problem and its variants that the init accepts."""
    small = LinearFineTuning.example(np.random.default_rng(bench.seed), np.float32)
    variants = {
        "as given": bench.problem,
        "rank 1": bench.problem.replace(rank=1),
        "alpha": bench.problem.replace(adapter=LoRA(alpha=ALPHA)),
        "float32": Problem(small, 2, LAM),
    }
    for name, problem in variants.items():
        if bench.init.refusal(problem) is None:
            yield name, problem


def _factors(bench: _Bench) -> Iterator[Checked]:
    wrong = []
    for name, problem in _problems(bench):
        start = bench.start(problem)
        for factor, size, argument in ((start.A, problem.shape[0], "A"), (start.B, problem.shape[1], "B")):
            if np.shape(factor) != (size, problem.rank):
                wrong.append(f"{name}: {argument} has shape {np.shape(factor)}, expected {(size, problem.rank)}")
            elif not np.isfinite(factor).all():
                wrong.append(f"{name}: {argument} has non-finite entries")
        if not (np.any(start.A) or np.any(start.B)):
            wrong.append(f"{name}: A = B = 0, which no gradient method can leave")
        if start.merged is not None and (start.merged.shape, start.merged.dtype) != (problem.shape, problem.dtype):
            wrong.append(f"{name}: merged is {start.merged.dtype} of shape {start.merged.shape}")
    yield Checked("factors", not wrong, "; ".join(wrong) or "shapes (m, r) and (n, r), finite, not both zero")


def _merges(bench: _Bench) -> Iterator[Checked]:
    merged = any(bench.start(problem).merged is not None for _, problem in _problems(bench))
    shown = f"merges is {bench.init.merges}, and {'something' if merged else 'nothing'} is merged"
    yield Checked("merges", bench.init.merges == merged, shown)


def _seeds(bench: _Bench) -> Iterator[Checked]:
    def flat(start: Start) -> Array:
        return np.concatenate([part.ravel() for part in (start.A, start.B, start.merged) if part is not None])

    before = global_state()
    value = bench.problem.objective.value_and_grad(np.zeros(bench.problem.shape))[0]
    first = flat(bench.start())
    untouched = global_state() == before
    same = np.array_equal(first, flat(bench.start()))
    yield Checked("the given generator decides", same and untouched, "bit for bit, no global generator")
    differs = not np.array_equal(first, flat(bench.start(seed=bench.seed + 1)))
    yield Checked(
        "another seed", True if differs else None, "another start" if differs else "the same start: nothing is drawn"
    )
    after = bench.problem.objective.value_and_grad(np.zeros(bench.problem.shape))[0]
    yield Checked("the problem is left alone", value == after, "f(0) is as before")


def _weight(bench: _Bench) -> Iterator[Checked]:
    if not bench.init.keeps_weight:
        yield Checked("W = W0 at the start", None, "not stated: keeps_weight is False")
        return
    worst = 0.0
    for _, problem in _problems(bench):
        start = bench.start(problem)
        update = problem.update(problem.join(start.A, start.B)).astype(np.float64)
        merged = np.zeros(problem.shape) if start.merged is None else start.merged
        # In units of rounding, which is coarser in float32.
        noise = float(np.finfo(problem.dtype).eps) * float(np.linalg.norm(update))
        worst = max(worst, relative(float(np.linalg.norm(update + merged)), noise))
    yield Checked("W = W0 at the start", worst <= 1e3, f"merged + update is {worst:.1e} of rounding")


def _refusals(bench: _Bench) -> Iterator[Checked]:
    wrong: list[str] = []
    refused = 0
    bare: Any = as_objective(BareLoss())
    linear = LinearFineTuning.example(np.random.default_rng(bench.seed))
    for objective in (bare, linear):
        for adapter in (LoRA(), LoRA(alpha=ALPHA, rslora=True)):
            problem = Problem(objective, 2, LAM, adapter)
            reason = bench.init.refusal(problem)
            unclear = refusal_text(reason)
            if unclear:
                wrong.append(unclear)
            if reason is not None:
                refused += 1
                continue
            try:
                start = bench.start(problem)
                problem.join(start.A, start.B)
            except Exception as error:
                where = type(objective).__name__
                wrong.append(f"{where}: not refused, but raises {type(error).__name__}: {error}")
    yield Checked("refusal agrees with what starts", not wrong, "; ".join(wrong) or f"{refused} refused with a reason")


_CHECKS: dict[str, Callable[[_Bench], Iterator[Checked]]] = {
    "factors": _factors,
    "merges": _merges,
    "seeds": _seeds,
    "W = W0 at the start": _weight,
    "refusal agrees with what starts": _refusals,
}
