"""A way to run as a value: optimizer, schedules, adapter, init and weight decay, with an exact text form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ._support.keywords import names_settings
from ._support.text import component_text, marked_parts, parse_value, value_text
from ._support.validate import as_float_array, as_instance, as_iterable, as_number, as_refusal, as_shape, as_text, shown
from .adapters import registry as adapter_registry
from .adapters.base import Adapter
from .inits import Init
from .inits import registry as init_registry
from .inits.base import Start
from .inits.lora import LoRAStart
from .optimizers import Optimizer
from .optimizers import registry as optimizer_registry
from .optimizers.base import DrivenOptimizer
from .problem import Problem
from .schedules import Schedule, Stage
from .schedules import registry as schedule_registry

GRAMMAR = "OPTIMIZER[:key=value,...][+SCHEDULE[:...]]...[@ADAPTER[:...]][~INIT[:...]][/lam=VALUE]"
_PARTS = {"": "optimizer", "+": "schedule", "@": "adapter", "~": "init", "/": "lam"}


@names_settings
@dataclass(frozen=True, init=False)
class Method:
    """A way to run on any problem.

    The text form is ``OPTIMIZER[:key=value,...][+SCHEDULE[:...]]...[@ADAPTER[:...]][~INIT[:...]][/lam=VALUE]``, for
    example ``adam:step_size=0.1+cosine`` or ``gd+periodic:period=50@lora:alpha=16~gaussian:std=0.1/lam=0``.
    ``str(method)`` gives it, defaults left out, and :meth:`parse` reads it back: ``Method.parse(str(m)) == m`` for
    every method made of registered components.

    Parameters
    ----------
    optimizer : str or Optimizer
        A name, with settings if need be (``"adam:step_size=0.1"``), or an instance.
    schedules : str, Schedule or a sequence of them
        Step-size factors and stage transitions.
    adapter : str or Adapter, optional
        Replaces the problem's adapter.
    init : str or Init
        The start.
    lam : float, optional
        Replaces the problem's weight decay, >= 0.

    Raises
    ------
    ValueError, TypeError
        For unknown names and settings, and values out of range.
    """

    optimizer: Optimizer
    schedules: tuple[Schedule, ...]
    adapter: Adapter | None
    init: Init
    lam: float | None

    def __init__(
        self,
        optimizer: str | Optimizer = "gd",
        schedules: str | Schedule | Sequence[str | Schedule] = (),
        adapter: str | Adapter | None = None,
        init: str | Init = "lora",
        lam: float | None = None,
    ) -> None:
        several = [schedules] if isinstance(schedules, (str, Schedule)) else as_iterable(schedules, "schedules")
        values: dict[str, Any] = {
            "optimizer": optimizer_registry.make(optimizer, "optimizer"),
            "schedules": tuple(schedule_registry.make(part, "schedule") for part in several),
            "adapter": None if adapter is None else adapter_registry.make(adapter, "adapter"),
            "init": init_registry.make(init, "init"),
            "lam": None if lam is None else as_number(lam, "lam", 0.0),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, text: str) -> Method:
        """Return the method that a text stands for.

        Raises
        ------
        ValueError, TypeError
            For unknown names, settings and values; the message says which part is wrong, the nearest accepted name
            and the grammar.
        """
        as_text(text, "text")
        try:
            return cls(**_read_parts(text))
        except (ValueError, TypeError) as error:
            listed = _listed(text)
            one_by_one = f"names several; give them one by one, as --methods {' '.join(listed)} or {listed}"
            told = one_by_one if len(listed) > 1 else error
            raise type(error)(f"method {text!r}: {told} (written {GRAMMAR})") from error

    @classmethod
    def of(cls, given: str | Optimizer | Method, argument: str = "method") -> Method:
        """Return a method given as text, optimizer or method."""
        if isinstance(given, Method):
            return given
        if isinstance(given, Optimizer):
            return cls(given)
        if isinstance(given, str):
            return cls.parse(given)
        raise TypeError(f"{argument}: expected a Method, an Optimizer or a text {GRAMMAR}, got {shown(given)}")

    def __str__(self) -> str:
        text = component_text(self.optimizer) + "".join(f"+{component_text(part)}" for part in self.schedules)
        if self.adapter is not None:
            text += f"@{component_text(self.adapter)}"
        if self.init != LoRAStart():
            text += f"~{component_text(self.init)}"
        return text if self.lam is None else f"{text}/lam={value_text(self.lam)}"

    # ------------------------------------------------------------------ on a problem
    def problem(self, problem: Problem) -> Problem:
        """Return the problem that this method runs when it is given one: with its own adapter and weight decay."""
        as_instance(problem, "problem", Problem)
        adapter = problem.adapter if self.adapter is None else self.adapter
        lam = problem.lam if self.lam is None else self.lam
        if (adapter, lam) == (problem.adapter, problem.lam):
            return problem
        return problem.replace(adapter=adapter, lam=lam)

    def refusal(self, problem: Problem, *, draws_start: bool = True) -> str | None:
        """Return why this method cannot run on a problem, or None if it can. Nothing is run to find out.

        Parameters
        ----------
        problem : Problem
            The problem as given; :meth:`problem` is asked here.
        draws_start : bool
            Whether the init makes the start, so that it is asked too; False where factors are given.

        Raises
        ------
        TypeError
            If ``problem`` is no problem.
        """
        as_instance(problem, "problem", Problem)
        adapter = problem.adapter if self.adapter is None else self.adapter
        if adapter != problem.adapter and problem.several:
            return f"adapter {adapter.name!r}: with settings it {problem.one_matrix_refusal()}"
        reason = as_refusal(adapter.refusal(problem.objective), f"adapter {adapter.name!r}")
        if reason is not None:
            return f"adapter {adapter.name!r}: {reason}"
        problem = self.problem(problem)
        reason = as_refusal(self._optimizer_refusal(problem), f"optimizer {self.optimizer.name!r}")
        if reason is not None:
            return f"optimizer {self.optimizer.name!r}: {reason}"
        for part in self.schedules:
            reason = as_refusal(self._schedule_refusal(part, problem), f"schedule {part.name!r}")
            if reason is not None:
                return f"schedule {part.name!r}: {reason}"
        reason = as_refusal(self._init_refusal(problem), f"init {self.init.name!r}") if draws_start else None
        if reason is not None:
            return f"init {self.init.name!r}: {reason}"
        if any(part.has_stages for part in self.schedules) or (draws_start and self.init.merges):
            merged = problem.objective.merged(np.zeros(problem.shape, problem.dtype))
            reason = self.optimizer.refusal(problem.replace(objective=merged))
        if reason is not None:
            return f"optimizer {self.optimizer.name!r}, after a merge into the frozen weight: {reason}"
        return None

    def _optimizer_refusal(self, problem: Problem) -> str | None:
        if problem.adapter.proximal and not self.optimizer.takes_prox:
            able = ", ".join(name for name, cls in optimizer_registry.classes().items() if cls.takes_prox)
            return f"the penalty of {problem.adapter.name!r} needs a proximal step, which it does not take; use {able}"
        return self.optimizer.refusal(problem)

    def _schedule_refusal(self, schedule: Schedule, problem: Problem) -> str | None:
        if isinstance(self.optimizer, DrivenOptimizer):
            return f"the optimizer {self.optimizer.name!r} owns its loop and takes no schedule"
        if schedule.scales_steps and not self.optimizer.takes_step_factor:
            return (
                f"it scales a step size, and {self.optimizer.name!r} has none to scale (a method that reads "
                "state.step_factor says takes_step_factor = True)"
            )
        if schedule.has_stages and problem.several:
            return f"its stages are those of one matrix: it {problem.one_matrix_refusal()}"
        given = self.optimizer.stage_refusal() if schedule.has_stages else None
        reason = as_refusal(given, f"optimizer {self.optimizer.name!r}, stages")
        if reason is not None:
            return f"each stage starts the optimizer {self.optimizer.name!r} anew, and {reason}"
        return schedule.refusal(problem)

    def _init_refusal(self, problem: Problem) -> str | None:
        if self.init.merges and problem.several:
            return f"it changes the frozen weight and {problem.one_matrix_refusal()}"
        reasons = (self.init.refusal(part) for part in problem.parts())
        return next((reason for reason in reasons if reason is not None), None)

    def start(self, problem: Problem, rng: np.random.Generator, given: Stage | None = None) -> Stage:
        """Return the first stage: the init's factors (or the given stage), then what the schedules make of them.

        Raises
        ------
        ValueError
            For a start at ``A = B = 0``, and for a frozen factor that is zero: no gradient method leaves them.
        """
        problem = self.problem(problem)
        as_instance(rng, "rng", np.random.Generator)
        stage = self._draw(problem, rng) if given is None else given
        _refuse_zero(stage)
        for part in self.schedules:
            stage = as_instance(part.start(stage, rng), f"schedule: start of {part.name!r}", Stage)
        return stage

    def _draw(self, problem: Problem, rng: np.random.Generator) -> Stage:
        if problem.several:
            starts = [self._start_of(part, rng) for part in problem.parts()]
            return Stage(problem, problem.join([start.A for start in starts], [start.B for start in starts]))
        start = self._start_of(problem, rng)
        if start.merged is not None:
            problem = problem.replace(objective=problem.objective.merged(start.merged))
        return Stage(problem, problem.join(start.A, start.B), start.merged)

    def _start_of(self, problem: Problem, rng: np.random.Generator) -> Start:
        place = f"init: start of {self.init.name!r}"
        start = as_instance(self.init.start(problem, rng), place, Start)
        problem.checked_factors(start.A, start.B, names=(f"{place}: A", f"{place}: B"))
        if start.merged is not None:
            as_shape(as_float_array(start.merged, f"{place}: merged", 2), f"{place}: merged", problem.shape)
        return start

    # ------------------------------------------------------------------ the step size
    @property
    def has_step(self) -> bool:
        """Whether there is a step size to choose."""
        return any(entry.name == "step_size" for entry in fields(self.optimizer))

    def with_step(self, step: float) -> Method:
        """Return the same method with a step size.

        Raises
        ------
        ValueError
            If the optimizer has none (see :attr:`has_step`), or the step is not positive.
        """
        if not self.has_step:
            raise ValueError(f"step: {self.optimizer.name!r} has no step size")
        return replace(self, optimizer=replace(self.optimizer, **{"step_size": step}))

    def default_step(self, problem: Problem, rng: np.random.Generator) -> float:
        """Return the step size in use at the start: the given one, or the optimizer's own choice there."""
        given: float | None = getattr(self.optimizer, "step_size", None)
        if given is not None:
            return given
        stage = self.start(problem, rng)
        step = self.optimizer.default_step(stage.problem, stage.theta)
        return as_number(step, f"method: what {self.optimizer.name}.default_step returns", 0.0, open_low=True)


def _listed(text: str) -> list[str]:
    """Return the words of a text that all begin with the name of an optimizer, or nothing."""
    words = re.split(r"[,;\s]+", text.strip())
    known = optimizer_registry.classes()
    return words if all(re.split(r"[:+@~/]", word)[0] in known for word in words) else []


def _read_parts(text: str) -> dict[str, Any]:
    """Return the arguments of :class:`Method` that a text stands for."""
    schedules: list[str] = []
    arguments: dict[str, Any] = {"schedules": schedules}
    for mark, part in marked_parts(text, "+@~/"):
        name = _PARTS[mark]
        if name == "schedule":
            schedules.append(part)
        elif name in arguments:
            raise ValueError(f"{name}: is given twice")
        else:
            arguments[name] = _read_lam(part) if name == "lam" else part
    return arguments


def _read_lam(text: str) -> Any:
    key, equals, value = (part.strip() for part in text.partition("="))
    if key != "lam" or not equals:
        raise ValueError(f"lam: expected 'lam=VALUE' after '/', got {text!r}")
    return parse_value(value)


def _refuse_zero(stage: Stage) -> None:
    problem, theta = stage.problem, stage.theta
    if not np.any(theta[: problem.n_factor_parameters]):
        raise ValueError(
            "init: A = B = 0 is a stationary point of every problem, so no gradient method can leave it; "
            "start with one factor nonzero (for example init='lora')"
        )
    if problem.trainable is not None:
        for factor, values, trained in zip("AB", problem.split(theta), problem.split(problem.trainable)):
            if not (trained.any() or values.any()):
                raise ValueError(
                    f"init: the frozen factor {factor} is zero, so the update stays zero; use init='gaussian'"
                )
