"""Completion in a shell: ``eval "$(register-python-argcomplete lorasolve)"``, with the extra ``completion``."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from .commands import registry
from .commands.list import KINDS
from .commands.reproduce import names_by_word
from .peft_files.decay import OPTIMIZERS


def _theorems() -> Iterable[str]:
    import proofs

    from .symbolic import discover

    return discover(proofs)


# The names that an option takes in all commands, or an argument in one.
_NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "--adapter": KINDS["adapters"].classes,
    "--backend": KINDS["executors"].classes,
    "--init": KINDS["inits"].classes,
    "--method": KINDS["optimizers"].classes,
    "--methods": lambda: ["all", *KINDS["optimizers"].classes()],
    "--objective": KINDS["objectives"].classes,
    "--route": lambda: ["auto", *KINDS["convex"].classes()],
    "attack target": KINDS["attacks"].classes,
    "explain --optimizer": lambda: OPTIMIZERS,
    "list kind": lambda: KINDS,
    "prove names": _theorems,
    "reproduce names": names_by_word,
}
# Those in whose place, or after which, a file may stand.
_OR_FILES = ("--objective", "prove names")


def parser() -> argparse.ArgumentParser:
    """Return one parser of all commands, which completes but never parses."""
    whole = argparse.ArgumentParser(prog="lorasolve")
    commands = whole.add_subparsers()
    for name, command in registry.classes().items():
        made = commands.add_parser(name, help=command.summary)
        command().add_arguments(made)
        for action in made._actions:
            argument = action.option_strings[-1] if action.option_strings else action.dest
            for key in (argument, f"{name} {argument}"):
                if key in _NAMES:
                    action.completer = _completer(key)  # type: ignore[attr-defined]
    return whole


def _completer(key: str) -> Callable[..., list[str]]:
    def complete(prefix: str, **_: Any) -> list[str]:
        from argcomplete.completers import FilesCompleter

        return [*_NAMES[key](), *(FilesCompleter()(prefix) if key in _OR_FILES else ())]

    return complete


def complete() -> None:
    """Answer a shell that asks for completions, and end the process; nothing where argcomplete is not installed."""
    with contextlib.suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(parser())
