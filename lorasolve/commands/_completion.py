"""Completion in a shell: ``eval "$(register-python-argcomplete lorasolve)"``, with the extra ``completion``."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from ..adapters import registry as adapters
from ..convex import registry as routes
from ..executors import registry as executors
from ..inits import registry as inits
from ..objectives import registry as objectives
from ..optimizers import registry as optimizers
from . import registry

# Whose names an option takes.
_NAMES: dict[str, Any] = {
    "adapter": adapters,
    "backend": executors,
    "init": inits,
    "method": optimizers,
    "methods": optimizers,
    "route": routes,
}


def parser() -> argparse.ArgumentParser:
    """Return one parser of all commands, which completes but never parses."""
    whole = argparse.ArgumentParser(prog="lorasolve")
    commands = whole.add_subparsers()
    for name, command in registry.classes().items():
        made = commands.add_parser(name, help=command.summary)
        command().add_arguments(made)
        for action in made._actions:
            if action.dest in _NAMES:
                action.completer = _of(_NAMES[action.dest])  # type: ignore[attr-defined]
            elif action.dest == "objective":
                action.completer = _objective_or_file  # type: ignore[attr-defined]
    return whole


def _of(names: Any) -> Any:
    return lambda **_: list(names.classes())


def _objective_or_file(prefix: str, **_: Any) -> list[str]:
    from argcomplete.completers import FilesCompleter

    return [*objectives.classes(), *FilesCompleter()(prefix)]


def complete() -> None:
    """Answer a shell that asks for completions, and end the process; nothing where argcomplete is not installed."""
    with contextlib.suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(parser())
