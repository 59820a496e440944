"""Keywords that a function or a class does not take: the error says which it takes, and where what was meant is given.

What is mended so are the names that other libraries use.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from .registry import suggest
from .validate import shown

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)

# Limits of a run, which are given as one argument here.
LIMITS = {
    **dict.fromkeys(("max_iter", "maxiter", "max_iterations", "n_iter", "iterations", "rounds"), "max_iter"),
    **dict.fromkeys(("steps", "n_steps", "num_steps", "epochs"), "max_iter"),
    **dict.fromkeys(("grad_tol", "gtol", "tol"), "grad_tol"),
    **{name: name for name in ("target", "time_limit", "max_calls")},
}
# The step size, which is a setting of the method.
STEPS = ("lr", "learning_rate", "step", "step_size")
MEANT = {"random_state": "seed", "verbose": "progress", "r": "rank", "lambda_": "lam", "weight_decay": "lam"}


def names_keywords(function: F) -> F:
    """Decorate a function so that a call with a keyword that it does not take says which it takes."""
    accepted = [name for name in inspect.signature(function).parameters if name != "self"]
    called = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def checked(*given: Any, **named: Any) -> Any:
        for name, value in named.items():
            if name not in accepted:
                raise TypeError(f"{called}: has no argument {name!r}.{_remedy(name, value, accepted)}")
        return function(*given, **named)

    return checked  # type: ignore[return-value]


def names_settings(cls: C) -> C:
    """Decorate a class so that its constructor does the same."""
    cls.__init__ = names_keywords(cls.__init__)  # type: ignore[misc]
    return cls


def _remedy(name: str, value: Any, accepted: list[str]) -> str:
    """Say how what was probably meant is given, and which arguments there are."""
    takes = f" Accepted: {', '.join(accepted)}."
    if name in LIMITS and "stop" in accepted:
        return f" Write stop=StoppingRule({LIMITS[name]}={shown(value)}).{takes}"
    if LIMITS.get(name) == "max_iter" and "route" in accepted:
        return f" Write route='factored:max_rounds={shown(value)}'.{takes}"
    if name in STEPS and "method" in accepted:
        return f" Write method='gd:step_size={shown(value)}' for that of gradient descent.{takes}"
    meant = LIMITS.get(name, MEANT.get(name))
    return f" Did you mean {meant!r}?{takes}" if meant in accepted else suggest(name, accepted)
