"""What a run is, as text: by this it is found again in a store."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from .._support.digest import digest
from .._support.origin import of_package
from .._support.text import component_text, unwritten
from ..method import Method
from ..monitor import StoppingRule
from ..problem import Problem
from ..result import Result
from .store import json_text


def problem_facts(problem: Problem, mark: str) -> dict[str, Any]:
    """Return what a problem is, ``mark`` being the digest of its loss."""
    loss: Any = problem.loss if problem.several else problem.objective
    return {
        "objective": type(getattr(loss, "user", loss)).__name__,
        "digest": mark,
        "shapes": [list(shape) for shape in problem.shapes],
        "ranks": list(problem.ranks),
        "lam": float(problem.lam),
        "adapter": component_text(problem.adapter) + _code((problem.adapter,)),
    }


def method_text(method: Method) -> str:
    """Return what a method is: its text, with a digest of code and settings that the text does not say.

    Raises
    ------
    TypeError
        If the content of a setting cannot be read.
    """
    return str(method) + _code((method.optimizer, *method.schedules, method.adapter, method.init))


def init_text(init: Any) -> str:
    """Return what is given as a start, as JSON; of a result what a run takes from it, not how long it took."""
    if isinstance(init, Result):
        last = init.problem
        init = (init.theta, init.merged, last.shapes, last.ranks, last.adapter.name)
    return json_text(init if init is None or isinstance(init, str) else f"{type(init).__name__} {digest(init)}")


def rule_text(stop: StoppingRule) -> str:
    """Return a stopping rule as JSON."""
    return json_text({entry.name: getattr(stop, entry.name) for entry in fields(StoppingRule)})


def _code(parts: tuple[Any, ...]) -> str:
    """Return a mark of the code of components that are not of this package, and of settings that no text says."""
    there = [part for part in parts if part is not None]
    marked: list[Any] = [type(part) for part in there if not of_package(type(part))]
    settings = [(part.name, unwritten(part)) for part in there]
    marked += [{f"{name}:{key}": value} for name, found in settings for key, value in found.items()]
    return f" {digest(marked, 'settings')}" if marked else ""
