"""What a command is, and what its process returns."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import enum
import pathlib
import re
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

from .._support.validate import shown


class ExitCode(enum.IntEnum):
    """What the process returns."""

    FINE = 0
    FALSE = 1
    USAGE = 2
    INCONCLUSIVE = 3
    INTERNAL = 4


EXIT_CODES = """\
exit codes:
  0  fine
  1  what was asked for is false: diverged, refuted, not certified to the tolerance with --require-certificate; \
or all runs of a study failed or diverged
  2  usage error, unreadable input, output that cannot be written, or not enough memory
  3  inconclusive: interrupted, or no gap is certified at all where a certificate was required
  4  internal error, a defect of lorasolve; LORASOLVE_TRACEBACK=1 shows where
  130, 143  ended by Ctrl-C or SIGTERM before there was anything to keep"""


def wrapped(text: str) -> str:
    """Return a list of ``  WORD  what it is`` with lines as wide as the terminal, as argparse has them."""
    width = max(shutil.get_terminal_size().columns - 2, 40)
    lines = []
    for line in text.splitlines():
        match = re.match(r" +\S.*?  +", line)
        indent = " " * (match.end() if match else 0)
        lines += textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return "\n".join(lines)


class Parser(argparse.ArgumentParser):
    """An argument parser that suggests the nearest option when one is unknown."""

    # The words that are parsed, for errors.
    given: Sequence[str] = ()

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog=wrapped(EXIT_CODES),
            **options,
        )
        # Before Python 3.14 argparse takes -1e-3 for an option, and says that the one before it has no value.
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)

    def print_help(self, file: Any = None) -> None:
        """Print the help; argparse itself would not say that it could not. A reader that has left has its answer."""
        with contextlib.suppress(BrokenPipeError):
            print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """Print the message, with a suggestion, and exit with code 2."""
        unknown = re.match(r"unrecognized arguments: (-*)([^\s=]*)", message)
        if unknown:
            known = [text[2:] for action in self._actions for text in action.option_strings if text.startswith("--")]
            # Without the dashes, which would be a likeness of any two.
            near = difflib.get_close_matches(unknown[2], known, n=1, cutoff=0.5) if unknown[1] else []
            if near == [unknown[2]]:
                message += " (behind -- all are names of files: write options before it)"
            elif near:
                message += f" (did you mean --{near[0]}?)"
            if not unknown[1] and "objective" in known:
                message += " (data are given as --objective NAME FILE)"
        if message.startswith("argument --objective: expected 2"):
            message += ", NAME and FILE; a loss of your own is solved in Python, or as python of the file of a study"
        dashed = next((word for word in self.given if re.match(r"-[^-\d]", word) and pathlib.Path(word).exists()), None)
        if dashed is not None:
            message += f" (a file whose name begins with a dash is given as ./{dashed})"
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}{self._taken(message)}\nSee '{self.prog} --help'.\n")

    def _taken(self, message: str) -> str:
        """Say which option has taken words that may have been meant as no values of it, where one is lacking or odd."""
        options = {text for action in self._actions if action.nargs in ("+", "?") for text in action.option_strings}
        option = next((word for word in reversed(self.given) if word in options), None)
        if option is None or not message.startswith(("the following arguments are", f"argument {option}: invalid")):
            return ""
        return f" ({option} takes what follows it: write what is no value of it before it, or behind --)"


class Command:
    """Base class of all commands."""

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""

    def main(self, argv: Sequence[str]) -> int:
        """Parse the arguments that follow the command's name and run it; return the exit code.

        Raises
        ------
        TypeError
            If ``run`` returns something else: truth values count the other way round, and shells take 256 for 0.
        """
        parser = self.parser()
        parser.given = argv
        code = self.run(parser.parse_args(argv))
        if isinstance(code, bool) or not isinstance(code, int) or code not in tuple(ExitCode):
            raise TypeError(f"run() has to return an ExitCode, such as ExitCode.FINE, got {shown(code)}")
        return code

    def parser(self) -> Parser:
        """Return the parser of the command's arguments, whose help documents them."""
        parser = Parser(prog=f"lorasolve {self.name}", description=wrapped(self.summary))
        self.add_arguments(parser)
        return parser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit code."""
        raise TypeError(f"{type(self).__name__} does not define run(args)")
