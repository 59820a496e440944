"""The command line: ``lorasolve COMMAND ...``. The commands themselves are in ``lorasolve/commands``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ._registry import suggest
from ._version import __version__
from .commands import ExitCode, registry
from .commands.base import EXIT_CODES

# What a shell reports for a process ended by Ctrl-C; used only when there was nothing to keep.
_INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; errors of the user are one line on stderr."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return ExitCode.FINE if argv else ExitCode.USAGE
    if argv[0] in ("-V", "--version"):
        print(f"lorasolve {__version__}")
        return ExitCode.FINE
    command = registry.find(argv[0])
    if command is None:
        accepted = suggest(argv[0], list(registry.classes()))
        print(f"lorasolve: unknown command {argv[0]!r}.{accepted}", file=sys.stderr)
        return ExitCode.USAGE
    try:
        return command().main(argv[1:])
    except (ValueError, TypeError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        print(f"lorasolve {argv[0]}: {_in_words(error)}", file=sys.stderr)
        return ExitCode.USAGE
    except KeyboardInterrupt:
        print(f"lorasolve {argv[0]}: interrupted", file=sys.stderr)
        return _INTERRUPTED


def usage() -> str:
    """Return the text of ``lorasolve --help``."""
    commands = registry.classes()
    width = max(len(name) for name in commands)
    lines = [f"  {name.ljust(width)}  {command.summary}" for name, command in commands.items()]
    return "\n".join(
        [
            "usage: lorasolve COMMAND [options]",
            "",
            "Did low-rank adaptation reach the global optimum, and how do you know?",
            "",
            *lines,
            "",
            "'lorasolve compare' without options runs on an embedded data set; 'lorasolve COMMAND --help' says more.",
            "",
            EXIT_CODES,
        ]
    )


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def entry() -> None:
    """Run the command line of the process and exit."""
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (for example `head`) has left; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.FINE
    sys.exit(code)


if __name__ == "__main__":
    entry()
