"""``lorasolve list``: what there is to choose from."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import asdict
from typing import Any

from .._support.keywords import suggest
from .._support.registry import Registry
from ..io import constructor_keys, envelope, key_list
from ._arguments import add_json_argument
from ._output import emit
from .base import Command, ExitCode

KINDS = ("objectives", "adapters", "optimizers", "schedules", "inits", "convex", "executors", "attacks")


def registry_of(kind: str) -> Registry[Any]:
    """Return the components of one kind; only now is their package imported."""
    found: Registry[Any] = importlib.import_module(f"..{kind}", __package__).registry
    return found


class ListCommand(Command):
    """Print the names of all components with one line each."""

    name = "list"
    summary = "what there is to choose from, by kind: objectives, adapters, optimizers and so on, one line each"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("kind", nargs="?", help=f"only one of {', '.join(KINDS)}")
        parser.add_argument("--check", action="store_true", help="what each is ready for, what to write for the rest")
        add_json_argument(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Print the lists; with ``--check`` the exit code is 1 if a component cannot be listed, tested or saved."""
        if args.kind is not None and args.kind not in KINDS:
            raise ValueError(f"kind: unknown kind {args.kind!r}.{suggest(args.kind, list(KINDS))}")
        kinds = {kind: registry_of(kind) for kind in (KINDS if args.kind is None else (args.kind,))}
        if args.check:
            return _check(args, [cls for registry in kinds.values() for cls in registry.classes().values()])
        found = {
            kind: {name: cls.summary for name, cls in registry.classes().items()} for kind, registry in kinds.items()
        }
        text = "\n\n".join(_section(kind, entries, _keys(args.kind)) for kind, entries in found.items())
        emit(args, envelope("list", found), text)
        return ExitCode.FINE


def _keys(kind: str | None) -> dict[str, str]:
    """Return the keys of the .npz archives of objectives, by name, where these are asked for alone."""
    if kind != "objectives":
        return {}
    return {name: key_list(constructor_keys(cls)) for name, cls in registry_of(kind).classes().items()}


def _section(kind: str, entries: dict[str, str], keys: dict[str, str]) -> str:
    """Return one list, with the keys of those that have some."""
    width = max((len(name) for name in entries), default=0)
    lines = [kind]
    for name, summary in entries.items():
        lines.append(f"  {name.ljust(width)}  {summary}")
        if name in keys:
            lines.append(f"  {' ' * width}  keys: {keys[name]}")
    return "\n".join(lines)


def _check(args: argparse.Namespace, classes: list[type]) -> int:
    """Print what each class is ready for."""
    from ..checks import readiness

    reports = [readiness(cls) for cls in classes]
    rows = {report.subject: [asdict(check) for check in report.checks] for report in reports}
    emit(args, envelope("readiness", {"components": rows}), "\n\n".join(map(str, reports)))
    return ExitCode.FINE if all(report.ok for report in reports) else ExitCode.FALSE
