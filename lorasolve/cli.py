"""The command line: ``lorasolve COMMAND ...``. The commands themselves are in ``lorasolve/commands``.

Little is imported before :func:`entry` has taken charge of the streams and the signals.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import types
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ._support.progress import complain
from ._version import __version__

if TYPE_CHECKING:
    from .commands import Command

# What a shell reports for a process ended by Ctrl-C or by SIGTERM; used only when there was nothing to keep.
_INTERRUPTED, _TERMINATED = 130, 143
_FINE, _USAGE, _INCONCLUSIVE, _INTERNAL = 0, 2, 3, 4
# The variable that has the traceback of an internal error shown.
_TRACEBACK = "LORASOLVE_TRACEBACK"
# What is not saved so long after SIGTERM is not going to be.
_SECONDS_TO_SAVE = 30


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; errors of the user are one line on stderr."""
    if argv and argv[0] in ("-V", "--version"):
        _answer(f"lorasolve {__version__}")
        return _FINE
    if argv and argv[0] == "help" and argv[1:]:
        argv = [argv[1], "--help"]
    name = argv[0] if argv else "--help"
    try:
        if name in ("-h", "--help", "help"):
            _answer(usage())
            return _FINE if argv else _USAGE
        command = _command(name)
        return _USAGE if command is None else command.main(argv[1:])
    except BrokenPipeError:
        raise
    except KeyboardInterrupt as interruption:
        # With what is lost else, if anything.
        complain(f"lorasolve {name}: " + "; ".join(["interrupted", *map(str, interruption.args)]))
        return _after_interruption()
    except Exception as error:
        if _is_of_the_user(error):
            complain(f"lorasolve {name}: {_in_words(error)}")
            return _USAGE
        if os.environ.get(_TRACEBACK):
            sys.excepthook(*sys.exc_info())
        place = _place_in_a_component(error)
        if place is not None:
            complain(
                f"lorasolve {name}: {place}: {type(error).__name__}: {error} ({_TRACEBACK}=1 shows how it came there)"
            )
            return _USAGE
        complain(
            f"lorasolve {name}: internal error, a defect of lorasolve: {type(error).__name__}: {error} "
            f"({_TRACEBACK}=1 shows where)"
        )
        return _INTERNAL


def _command(name: str) -> Command | None:
    """Return the command of a name; say so if there is none."""
    from ._support.interruptions import TERMINATED
    from ._support.keywords import suggest
    from .commands import registry

    found = registry.find(name)
    if found is None:
        complain(f"lorasolve: unknown command {name!r}.{suggest(name, list(registry.classes()))}")
        return None
    TERMINATED.clear()  # by an earlier command in this process
    return found()


def usage() -> str:
    """Return the text of ``lorasolve --help``."""
    from .commands import registry
    from .commands.base import EXIT_CODES, wrapped

    commands = registry.classes()
    width = max(len(name) for name in commands)
    lines = [f"  {name.ljust(width)}  {command.summary}" for name, command in commands.items()]
    text = [
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
    return wrapped("\n".join(text))


def _answer(text: str) -> None:
    """Print all that there is to say; a reader that has left does not change the exit code."""
    with contextlib.suppress(BrokenPipeError):
        print(text)


def _is_of_the_user(error: Exception) -> bool:
    """Whether an error is about what was given: a ``TypeError`` is if it was raised by a statement, not by Python."""
    if not isinstance(error, TypeError):
        return isinstance(error, (ValueError, OSError)) or _is_of_memory(error)
    from opcode import opmap

    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_code[last.tb_lasti] == opmap["RAISE_VARARGS"]


def _place_in_a_component(error: Exception) -> str | None:
    """Return where a component that a user has added raised an error; None if this package did."""
    import traceback

    from ._support.origin import NAMED_FILE, OWN, of_package
    from ._support.registry import packages_with_plug_ins

    added, place = {*packages_with_plug_ins(), NAMED_FILE}, None
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__"))
        package = name.partition(".")[0]
        if package in added or (package in OWN and not of_package(types.ModuleType(name))):
            place = f"{frame.f_code.co_filename}, line {line}, in {frame.f_code.co_qualname}"
        elif package in OWN:
            place = None
    return place


def _is_of_memory(error: Exception) -> bool:
    """Whether memory was short: for numbers, or for a library that was to be loaded, in the loader's words."""
    short = ("failed to map segment", "Cannot allocate memory")
    return isinstance(error, MemoryError) or (isinstance(error, ImportError) and any(t in str(error) for t in short))


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if _is_of_memory(error):
        return f"not enough memory ({error})" if str(error) else "not enough memory"
    return str(error)


# ---------------------------------------------------------------------- as a process
def entry() -> NoReturn:
    """Run the command line of the process and exit."""
    if "_ARGCOMPLETE" in os.environ:
        from ._shell_completion import complete

        complete()
    signal.signal(signal.SIGINT, _leave)
    _open_streams()
    sys.unraisablehook = _not_swallowed
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    # What stands if the reader of the output leaves before the command has its answer.
    code = _INCONCLUSIVE
    try:
        code = _USAGE if sys.stdout is None else _run()
        if sys.stdout is None:
            complain("lorasolve: stdout: is closed")
        else:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader (for example `head`) has left, which is no failure and does not change the answer.
        _discard(sys.stdout)
    except OSError as error:
        code = _USAGE
        complain(f"lorasolve: stdout: {error.strerror}")
        _discard(sys.stdout)
    except KeyboardInterrupt:
        complain("lorasolve: interrupted")
        code = _after_interruption()
    # What is left is Python's own tidying up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)
    sys.exit(code)


def _run() -> int:
    """Return the exit code of the command that the process was started with."""
    from ._support.interruptions import patient

    # Imported before interruptions are caught: only the command that is asked for, for the sake of a quick answer.
    name = next(iter(sys.argv[1:]), "--help")
    if not name.startswith("-"):
        from . import commands

        with contextlib.suppress(ValueError):  # which the command says itself
            commands.registry.find(name)
    signal.signal(signal.SIGINT, patient(signal.default_int_handler))
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return main(sys.argv[1:])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else _FINE


def _after_interruption() -> int:
    """Return the exit code of a command that had nothing to keep when it was interrupted, by whatever did it."""
    from ._support.interruptions import TERMINATED

    return _TERMINATED if TERMINATED.is_set() else _INTERRUPTED


def _leave(number: int, frame: types.FrameType | None) -> NoReturn:
    """End at once, while modules are loaded and nothing is begun."""
    complain("lorasolve: interrupted")
    os._exit(_INTERRUPTED)


def _terminate(number: int, frame: types.FrameType | None) -> None:
    """Save what there is, as after Ctrl-C; end at once when asked again, or when a library swallows that."""
    from ._support.interruptions import TERMINATED

    TERMINATED.set()
    for asked in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(asked, _end_now)
    signal.alarm(_SECONDS_TO_SAVE)
    interrupt = signal.getsignal(signal.SIGINT)
    if callable(interrupt):
        interrupt(signal.SIGINT, frame)


def _end_now(number: int, frame: types.FrameType | None) -> NoReturn:
    os._exit(_TERMINATED)


def _not_swallowed(event: Any) -> None:
    """Carry out an interruption that fell where Python only reports exceptions.

    Not from here, where it would be reported in its turn, but a moment later.
    """
    if isinstance(event.exc_value, KeyboardInterrupt):
        from ._support.interruptions import ask_again

        ask_again(signal.SIGINT)
    else:
        sys.__unraisablehook__(event)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Print a warning as the remark that it is."""
    complain(f"lorasolve: {message}")


def _open_streams() -> None:
    """Give closed streams a place, so that no file of the run is taken for one."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free descriptor, which is this one
            os.set_inheritable(descriptor, True)  # as it is of every process
    if sys.stderr is None:
        # What starts worker processes flushes it, here and in them. That there is no stdout is an error of its own.
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _discard(stream: Any) -> None:
    """Keep Python from complaining at exit about a stream that takes no more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    entry()
