"""What a component can do in this package, and what to write for what it cannot do yet: all in one report."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from .._support.validate import shown as as_shown
from ..adapters.base import Adapter
from ..attacks.base import Attack
from ..certificates.rigorous import refusal as rigorous_refusal
from ..convex.base import ConvexRoute
from ..executors.base import Executor
from ..inits.base import Init
from ..objectives.base import Objective
from ..objectives.linear import LinearFineTuning
from ..objectives.softmax import Softmax
from ..optimizers.base import DrivenOptimizer, Optimizer
from ..problem import Problem
from ..schedules.base import Schedule
from .base import Checked, CheckReport, run_checks
from .optimizer import default_problem as optimizer_problem
from .schedule import default_problem as schedule_problem


def readiness(cls: type) -> CheckReport:
    """Say what a class of a registry is ready for, and what to write for the rest, in one message.

    Parameters
    ----------
    cls : type
        A subclass of ``Objective``, ``Adapter``, ``Optimizer``, ``Schedule``, ``Init``, ``ConvexRoute``, ``Executor``
        or ``Attack``.

    Returns
    -------
    CheckReport
        One row for each ability. ``holds`` is False where the component cannot be listed, tested or saved, and None
        where an optional ability is missing; ``detail`` then says what to write.

    Raises
    ------
    TypeError
        If the class is of none of these kinds.

    Examples
    --------
    >>> from lorasolve.objectives import Objective
    >>> class Nameless(Objective):
    ...     shape = (3, 2)
    >>> [check.name for check in readiness(Nameless).failures]
    ['listed', 'tested']
    """
    for base, checks in _CHECKS.items():
        if isinstance(cls, type) and issubclass(cls, base):
            return run_checks(cls.__name__, cls, {"listed": _listed, **checks})
    accepted = ", ".join(base.__name__ for base in _CHECKS)
    raise TypeError(f"cls: expected a subclass of one of {accepted}, got {as_shown(cls)}")


def _able(name: str, able: bool, shown: str, otherwise: str) -> Checked:
    """Return an optional ability: there, or not there and what to write for it."""
    return Checked(name, True if able else None, shown if able else otherwise)


def _required(name: str, able: bool, shown: str, otherwise: str) -> Checked:
    return Checked(name, able, shown if able else otherwise)


def _listed(cls: type) -> Iterator[Checked]:
    name, summary = vars(cls).get("name", ""), getattr(cls, "summary", "")
    missing = []
    if not (isinstance(name, str) and name.isidentifier() and name == name.lower()):
        missing.append(f"name = '...' in the class itself: lower-case letters, digits and _, not {name!r}")
    if not (isinstance(summary, str) and summary.strip() and "\n" not in summary):
        missing.append(f"summary = '...' in one line, not {summary!r}")
    yield _required("listed", not missing, f"{name}: {summary}", "write " + "; ".join(missing))


# ---------------------------------------------------------------------- objectives
def _objective(cls: Any) -> Iterator[Checked]:
    keys = (
        list(inspect.signature(cls.__init__).parameters.values())[1:] if cls.__init__ is not Objective.__init__ else []
    )
    unnamed = [p.name for p in keys if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    shown = f"an .npz archive with the keys {', '.join(p.name for p in keys) or '(none)'} makes it"
    yield _required(
        "saved", not unnamed, shown, f"name the constructor's arguments in place of *{', **'.join(unnamed)}"
    )
    try:
        example = cls.example(np.random.default_rng(0))
        value = float(example.value_and_grad(np.zeros(example.shape))[0])
    except Exception as error:
        yield Checked(
            "tested",
            False,
            "write a classmethod example(rng) that returns a small instance, m != n, and "
            f"value_and_grad(X) -> (float, G) (now {type(error).__name__}: {error})",
        )
        return
    m, n = example.shape
    yield _required("tested", m != n, f"example(rng): {m} x {n}, f(0) = {value:.6g}", "make example(rng) with m != n")
    yield _able(
        "float32",
        _serves_float32(cls),
        "example(rng, float32)",
        "list it in dtypes, take dtype in example, write in_float64",
    )
    yield from _judged(cls, example)
    yield from _served(cls, example)


def _judged(cls: Any, example: Objective) -> Iterator[Checked]:
    """Yield what certificates and proofs can make of an objective."""
    convex, bound = example.facts.convex is True, example.facts.lower_bound is not None
    yield _able(
        "certified", convex and bound, "convex, with a lower bound", "state convex = True and lower_bound, if they hold"
    )
    yield _able(
        "rigorous",
        rigorous_refusal(Problem(example, 1, 1.0)) is None,
        "ball_oracle",
        "write ball_oracle(A, B, balls), if f is convex (lorasolve/certificates/balls.py)",
    )
    yield _able(
        "proofs that travel",
        convex and _overrides(cls, Objective, "description"),
        "description",
        "write description(), if f is convex",
    )


def _served(cls: Any, example: Objective) -> Iterator[Checked]:
    """Yield which methods and measures an objective serves."""
    yield _able(
        "smoothness",
        example.facts.smoothness is not None,
        "stated",
        "state smoothness, if there is one: steps derive from it",
    )
    yield _able("hessian", example.facts.has_hessian, "has_hessian", "f is stated not to be twice differentiable")
    yield _able(
        "cvxpy", _overrides(cls, Objective, "cvxpy_expression"), "cvxpy_expression", "write cvxpy_expression(X)"
    )
    yield _able(
        "mini-batches",
        example.batch_refusal() is None,
        "n_samples, sample_batch",
        "set n_samples, write sample_batch",
    )
    yield _able(
        "least squares",
        example.facts.minimizes_factors,
        "minimize_over_A and _B",
        "set minimizes_factors, write minimize_over_A, _B",
    )
    yield _able("frozen weight", example.W0 is not None, "W0", "set W0, which dora and pissa need")
    yield _able("metrics", _overrides(cls, Objective, "metrics"), "metrics", "write metrics(X) -> dict")


def _overrides(cls: type, base: type, method: str) -> bool:
    return getattr(cls, method) is not getattr(base, method)


def _own(cls: type, name: str, base: type, method: str, signature: str) -> Checked:
    """Return whether a component has its own of a method that each of its kind needs."""
    return _required(name, _overrides(cls, base, method), method, f"write {method}{signature}")


def _serves_float32(cls: Any) -> bool:
    """Return whether the example is to be had in float32, with a twin in float64."""
    if "float32" not in cls.dtypes:
        return False
    example = cls.example(np.random.default_rng(0), np.float32)
    return bool(example.dtype == np.float32 and example.in_float64().dtype == np.float64)


# ---------------------------------------------------------------------- components with settings
def _settings(cls: Any) -> Iterator[Checked]:
    lost = _lost_settings(cls)
    if lost:
        undecorated = f"write @dataclass(frozen=True) above the class: without it {', '.join(lost)} cannot be set"
        yield Checked("made by name", False, undecorated)
        return
    try:
        made = cls()
    except TypeError as error:
        yield Checked("made by name", False, f"give every setting a default ({error})")
        return
    odd = [entry.name for entry in fields(made) if not _is_literal(getattr(made, entry.name))]
    shown = ", ".join(f"{entry.name}={getattr(made, entry.name)!r}" for entry in fields(made)) or "no settings"
    yield _required(
        "made by name", not odd, shown, f"settings must be numbers, texts, None or tuples: {', '.join(odd)}"
    )


def _lost_settings(cls: Any) -> list[str]:
    """Return the attributes that would be settings if the class were made a dataclass of its own."""
    if "__dataclass_fields__" in vars(cls):
        return []
    own = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    twin: Any = dataclass(frozen=True)(type(cls.__name__, cls.__bases__, own))
    return [entry.name for entry in fields(twin) if entry.name not in cls.__dataclass_fields__]


def _documented(cls: type, *also: str) -> Checked:
    """Return whether the docstring lists every setting under Parameters and says what else is asked for."""
    docs = "\n".join(base.__doc__ or "" for base in cls.__mro__)
    missing = [
        f"{entry.name} under Parameters"
        for entry in fields(cls)  # type: ignore[arg-type]
        if not re.search(rf"^ *(\w+, )*{entry.name}(, \w+)*( :.*)?$", docs, re.MULTILINE)
    ]
    missing += [words for words in also if words not in docs.lower()]
    return _required("documented", not missing, "in its docstring", f"add to the docstring: {', '.join(missing)}")


def _is_literal(value: Any) -> bool:
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError):
        return False


def _adapter(cls: Any) -> Iterator[Checked]:
    yield from _settings(cls)
    adapter = cls()
    reason = adapter.refusal(Softmax.example(np.random.default_rng(0)))
    yield _required(
        "tested", reason is None, "on a softmax regression with W0", f"give check_adapter an objective: {reason}"
    )
    again = cls(**json.loads(json.dumps(asdict(adapter))))
    yield _required(
        "saved", again == adapter, "settings survive JSON", "settings must survive JSON: numbers, texts, None"
    )
    yield _own(cls, "evaluated", Adapter, "value_and_grad", "(objective, theta, rank, grad) -> float")
    yield _own(cls, "its update", Adapter, "update", "(objective, theta, rank) -> X")
    certified = adapter.low_rank or adapter.nuclear_weight(1.0, 1) > 0.0
    yield _able(
        "certified", certified, "low_rank or nuclear_weight", "state low_rank if X = s A B^T, or write nuclear_weight"
    )
    yield _documented(cls)
    yield _able("penalty", adapter.proximal, "penalty, prox", "set proximal, write penalty and prox, if it has one")


def _optimizer(cls: Any) -> Iterator[Checked]:
    yield from _settings(cls)
    optimizer = cls()
    try:
        problem = optimizer_problem(optimizer, np.random.default_rng(0))
        yield Checked("tested", True, f"on {problem!r}")
    except ValueError as reason:
        yield Checked("tested", False, f"give check_optimizer a problem: {reason}")
    if issubclass(cls, DrivenOptimizer):
        yield _own(cls, "runs", DrivenOptimizer, "descend", "(function, z, product, accept) -> z")
    else:
        yield _own(cls, "runs", Optimizer, "update", "(problem, state, value, grad)")
    yield _documented(cls, "fixed points")
    yield _able(
        "schedules", optimizer.takes_step_factor, "takes_step_factor", "scale the step by state.step_factor and set it"
    )
    tunable = "step_size" in {entry.name for entry in fields(optimizer)}
    yield _able("tuned in tables", tunable, "step_size", "add a setting step_size, if it has a step")
    yield _able(
        "penalties", optimizer.takes_prox, "takes_prox", "call problem.adapter.prox after the step and set takes_prox"
    )
    yield _able(
        "own loop",
        isinstance(optimizer, DrivenOptimizer),
        "DrivenOptimizer",
        "derive from DrivenOptimizer, if it has one",
    )


def _schedule(cls: Any) -> Iterator[Checked]:
    yield from _settings(cls)
    schedule = cls()
    try:
        yield Checked("tested", True, f"on {schedule_problem(schedule, 0)!r}")
    except ValueError as reason:
        yield Checked("tested", False, f"give check_schedule a problem: {reason}")
    yield _documented(cls)
    does = schedule.scales_steps or schedule.has_stages
    yield _required(
        "does something", does, "steps or stages", "set scales_steps and write step_factor, or write transition"
    )


def _init(cls: Any) -> Iterator[Checked]:
    yield from _settings(cls)
    yield _documented(cls)
    yield _own(cls, "starts", Init, "start", "(problem, rng) -> Start")
    problem = Problem(LinearFineTuning.example(np.random.default_rng(0)), 2)
    reason = cls().refusal(problem)
    yield _required("tested", reason is None, f"on {problem!r}", f"give check_init a problem: {reason}")


def _convex(cls: Any) -> Iterator[Checked]:
    yield from _settings(cls)
    yield _documented(cls)
    yield _own(cls, "tested", ConvexRoute, "run", "(problem, tol, report) -> Solution")


def _executor(cls: Any) -> Iterator[Checked]:
    yield from _settings(cls)
    yield _documented(cls)
    yield _own(cls, "opens", Executor, "open", "(start, n_workers, threads, results) -> Pool")


def _attack(cls: Any) -> Iterator[Checked]:
    yield from _settings(cls)
    yield _documented(cls)
    yield _own(cls, "searched", Attack, "families", "() -> tuple of Family")
    of_all = re.match(rf"{cls.name}\b", cls.summary) is not None
    yield _required("in the help", of_all, "summary", f"begin summary with {cls.name!r}: it is all that the help shows")


_CHECKS: dict[type, dict[str, Callable[[Any], Iterator[Checked]]]] = {
    Objective: {"tested": _objective},
    Adapter: {"tested": _adapter},
    Optimizer: {"tested": _optimizer},
    Schedule: {"tested": _schedule},
    Init: {"tested": _init},
    ConvexRoute: {"tested": _convex},
    Executor: {"opens": _executor},
    Attack: {"searched": _attack},
}
