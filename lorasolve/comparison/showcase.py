"""Every method there is, as each component wants to be shown."""

from __future__ import annotations

from .._support.validate import as_instance
from ..adapters import registry as adapter_registry
from ..method import Method
from ..optimizers import registry as optimizer_registry
from ..problem import Problem
from ..schedules import registry as schedule_registry


def all_methods(problem: Problem) -> list[Method]:
    """Return the showcase of every optimizer, adapter and schedule that can run on a problem.

    Each component says itself how it wants to be shown (``showcase(problem)``, the text of a
    :class:`~lorasolve.Method`), so that a new file takes part without being listed. Those that refuse the problem are
    left out.
    """
    as_instance(problem, "problem", Problem)
    texts: dict[str, None] = {}
    for registry in (optimizer_registry, adapter_registry, schedule_registry):
        for cls in registry.classes().values():
            shown = cls.showcase(problem)
            if shown is not None:
                texts[shown] = None
    methods = [Method.parse(text) for text in texts]
    return [method for method in methods if method.refusal(problem) is None]
