"""Where commands write, and how they answer: files, one document or a text, remarks, exit codes of certificates.

Text goes to stdout, progress and remarks to stderr. With ``--json`` stdout carries one document with a versioned
schema instead. Whatever is written to a file is written whole or not at all.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import pathlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._support.files import Write, require_writable, write_together
from .._support.hints import on_the_command_line
from .._support.progress import complain, is_obeying_terminal
from .._support.text import component_text
from .._support.validate import as_path
from ..io import to_json
from ..problem import Problem
from ..result import metrics_of
from ..tasks import Task
from .base import ExitCode

if TYPE_CHECKING:
    from ..certificates import Certificate

# Kinds of pictures that an output name may ask for; plotting, which writes them, is imported only when there is one.
_PICTURES = (".png", ".pdf", ".svg")
# Behind the last dot these promise a format; anything else, as in run.v2 or lam0.5, is part of a name.
_TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".parquet", ".feather", ".html", ".md", ".tex")
_FORMATS = (".npz", ".json", *_PICTURES, *_TABLES, ".npy", ".mat", ".h5", ".hdf5", ".pkl", ".pt", ".safetensors")


def outputs(args: argparse.Namespace, *suffixes: str) -> list[pathlib.Path]:
    """Return the files that ``--out`` stands for, one per suffix; none of them is the file of the data."""
    path = without_suffix(args.out, *suffixes)
    found = [path.with_name(path.name + suffix) for suffix in suffixes]
    for path in found:
        keep_inputs([] if args.objective is None else [args.objective[1]], {"--out": str(path)})
    return found


def without_suffix(out: str, *suffixes: str, remedy: str = "") -> pathlib.Path:
    """Return the path that ``--out`` gives, less the suffix of what is written; that of another format is refused."""
    path = named_file(out)
    suffix = path.suffix.lower()
    if suffix in suffixes:
        return path.with_suffix("")
    if suffix in _FORMATS:
        written = " and ".join(f"NAME{suffix}" for suffix in suffixes)
        raise ValueError(
            f"--out: {written} will be written: expected a NAME, with or without {' or '.join(suffixes)}, got {out}"
            f"{remedy}"
        )
    return path


def named_file(out: str) -> pathlib.Path:
    """Return the path that ``--out`` gives, which is no folder's."""
    path = pathlib.Path(as_path(out, "--out"))
    if path.name in ("", "..") or out.endswith(("/", os.sep)):
        raise ValueError(f"--out: expected the name of a file, got {out!r}")
    return path


def keep_inputs(read: Sequence[str | pathlib.Path], written: Mapping[str, str | None]) -> None:
    """Refuse to write where a file is read, where one is written too, and where none can be, before any work is done.

    The files to write by their options.
    """
    refuse_inputs(read, written)
    for option, path in written.items():
        if path is not None:
            require_writable(path, option)


def refuse_inputs(read: Sequence[str | pathlib.Path], written: Mapping[str, str | None]) -> None:
    """Refuse to write where a file is read and where one is written too; no folder is made for what is not refused."""
    taken = set()
    for option, path in written.items():
        if path is None:
            continue
        path = as_path(path, option)
        for source in read:
            with contextlib.suppress(OSError):  # of a file that is not there
                if os.path.samefile(source, path):
                    raise ValueError(f"{option}: expected another file than {source}, which is read, got {path}")
        place = os.path.realpath(path)
        if place in taken:
            raise ValueError(f"{', '.join(written)}: expected different files, got {path} twice")
        taken.add(place)


def picture_suffix(name: str) -> str:
    """Return the kind of picture that an output name asks for, ``.png`` where it asks for none."""
    suffix = pathlib.PurePath(name).suffix.lower()
    return suffix if suffix in _PICTURES else ".png"


def remark(args: argparse.Namespace, text: str) -> None:
    """Write a remark to stderr."""
    if not args.quiet:
        complain(text)


def emit(args: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    """Print the document as JSON or the text, as asked; a reader that has left does not change the exit code."""
    with contextlib.suppress(BrokenPipeError):
        show(to_json(document) if args.json else text)


def write_and_emit(args: argparse.Namespace, document: dict[str, Any], text: str, writes: Mapping[Any, Write]) -> None:
    """Write the files, then print the answer: also where there is no room for them, as it may have taken hours."""
    try:
        if writes:
            write_together(writes)
            remark(args, f"written: {', '.join(map(str, writes))}")
    finally:
        emit(args, document, text)


def write_certificate(args: argparse.Namespace, certificate: Certificate) -> dict[str, Any]:
    """Write the certificate that travels where ``--write`` says, and return what a document says of it."""
    try:
        written = certificate.save(args.write)
    except NotImplementedError as error:
        raise ValueError(f"--write: {error}") from None
    remark(args, f"written: {args.write}, in {written['arithmetic']} arithmetic, for check_certificate.py")
    return {"file": args.write, "arithmetic": written["arithmetic"], "gap": written["gap"]}


def show(text: str, flush: bool = False) -> None:
    """Print a text that may hold a user's characters, which the encoding of stdout may lack."""
    try:
        print(text, flush=flush)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"stdout: expected an encoding that has the character {error.object[error.start]!a}, as with "
            f"PYTHONIOENCODING=utf-8, got {sys.stdout.encoding}"
        ) from None
    except BrokenPipeError:
        raise
    except OSError as error:  # which names no file
        raise OSError(error.errno, error.strerror, "stdout") from None


def terminal_width() -> int | None:
    """Return how many characters a line of the terminal has; None where stdout is none, and lines may be long."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def emphasis(text: str, good: bool | None) -> str:
    """Return the text in green, red or yellow on a terminal that can; plain elsewhere and with ``NO_COLOR``."""
    if os.environ.get("NO_COLOR") or not is_obeying_terminal(sys.stdout):
        return text
    colour = {True: "32", False: "31", None: "33"}[good]
    return f"\x1b[{colour}m{text}\x1b[0m"


def certificate_text(certificate: Certificate) -> str:
    """Return a certificate with the advice that the command line can follow, its colour that of the answer."""
    return emphasis(on_the_command_line(str(certificate)), certificate.is_global)


def certified(is_global: bool | None, gap: float | None, required: bool) -> int:
    """Return the exit code for a certificate's answer; a finite gap is a certificate, which misses the tolerance."""
    if not required or is_global:
        return ExitCode.FINE
    exists = is_global is not None or (gap is not None and math.isfinite(gap))
    return ExitCode.FALSE if exists else ExitCode.INCONCLUSIVE


def problem_line(problem: Problem) -> str:
    """Return shape, rank, weight decay and adapter in one line."""
    m, n = problem.shape
    return f"{m} x {n}, rank {problem.rank}, lam = {problem.lam:g}, adapter {component_text(problem.adapter)}"


def quality_of(task: Task, found: Any) -> dict[str, Any]:
    """Return the quality before and after what a solver or a route has found, on held-out data where there is some."""
    data = "test" if task.test is not None else "training"
    return {"data": data, "before": task.metrics(), "after": metrics_of(task.judge, found)}


def metrics_line(metrics: dict[str, Any]) -> str:
    """Return ``test accuracy: 0.121 before, 0.899 after``; an empty text where there are no metrics."""
    before, data = metrics["before"], metrics["data"]
    return "; ".join(f"{data} {key}: {before[key]:.4g} before, {v:.4g} after" for key, v in metrics["after"].items())
