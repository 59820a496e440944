"""Keywords that a function or a class does not take: the error says which it takes, and where what was meant is given.

What is mended so are the names that other libraries use.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

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
STEPS = dict.fromkeys(("lr", "learning_rate", "step", "step_size"), "step_size")
MEANT = {
    **{"random_state": "seed", "verbose": "progress", "r": "rank", "lambda_": "lam", "weight_decay": "lam"},
    **{"lora_alpha": "alpha", "use_rslora": "rslora", "beta_1": "beta1", "beta_2": "beta2", "epsilon": "eps"},
}


def suggest(given: str, accepted: list[str]) -> str:
    """Say which names are accepted, the nearest one first."""
    return f"{did_you_mean(given, accepted)} Accepted: {', '.join(accepted)}."


def did_you_mean(given: str, accepted: Iterable[str]) -> str:
    """Ask for the nearest of the names that are accepted; an empty text where none is near."""
    by_letters = {name.lower(): name for name in accepted}
    near = difflib.get_close_matches(given.lower(), by_letters, n=1, cutoff=0.5)
    return f" Did you mean {by_letters[near[0]]!r}?" if near else ""


def names_keywords(function: F) -> F:
    """Decorate a function so that a call with a keyword that it does not take says which it takes."""
    return _checking(function, function.__name__)


def names_settings(cls: C) -> C:
    """Decorate a class so that its constructor does the same."""
    cls.__init__ = _checking(cls.__init__, cls.__name__)  # type: ignore[misc]
    return cls


def _checking(function: F, called: str) -> F:
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return function
    accepted = [name for name in parameters if name != "self"]

    @functools.wraps(function)
    def checked(*given: Any, **named: Any) -> Any:
        for name, value in named.items():
            if name not in accepted:
                raise TypeError(f"{called}: has no argument {name!r}.{_remedy(name, value, accepted)}")
        return function(*given, **named)

    return checked  # type: ignore[return-value]


def _remedy(name: str, value: Any, accepted: list[str]) -> str:
    """Say how what was probably meant is given, and which arguments there are."""
    if not accepted:
        return " It takes none."
    takes = f" Accepted: {', '.join(accepted)}."
    if name in LIMITS and "stop" in accepted:
        return f" Write stop=StoppingRule({LIMITS[name]}={shown(value)}).{takes}"
    if LIMITS.get(name) == "max_iter" and "route" in accepted:
        return f" Write route='factored:max_rounds={shown(value)}'.{takes}"
    if name in STEPS and "method" in accepted:
        return f" Write method='gd:step_size={shown(value)}' for that of gradient descent.{takes}"
    meant = (LIMITS | STEPS | MEANT).get(name)
    return f" Did you mean {meant!r}?{takes}" if meant in accepted else suggest(name, accepted)
