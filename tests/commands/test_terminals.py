"""Commands as processes: terminals, interruptions, readers that leave."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading

import pytest

import lorasolve as ls
from lorasolve.io import load_result

PROCESS = [sys.executable, "-c", "from lorasolve.cli import entry; entry()"]


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """Return what a terminal shows up to ``wanted``, or up to its end."""
    seen = b""
    while wanted not in seen:
        try:
            piece = os.read(descriptor, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    return seen


def test_colour_only_on_a_terminal_that_can_and_never_with_no_color(data) -> None:
    arguments = [*PROCESS, "solve", "--objective", "denoising", data, "--lam", "1"]
    assert "\x1b" not in subprocess.run(arguments, capture_output=True, text=True).stdout
    plain = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"}
    for environment, coloured in ((plain, True), (plain | {"NO_COLOR": "1"}, False), (plain | {"TERM": "dumb"}, False)):
        parent, child = pty.openpty()
        with subprocess.Popen(arguments, stdout=child, stderr=subprocess.DEVNULL, env=environment):
            os.close(child)
            text = read_until(parent, b"sigma_r").decode()
        os.close(parent)
        assert "global optimum: yes" in text
        assert ("\x1b[32m" in text) is coloured


def test_tables_of_methods_fit_the_terminal(data) -> None:
    """Whatever their columns need elsewhere; what is left out is named, and cells are those of the whole table."""
    long = "gd:step_size=0.01+cosine@lora:alpha=16~gaussian:std=0.2"
    problem = ["--objective", "denoising", data, "--lam", "1"]
    arguments = [*PROCESS, "compare", *problem, "--methods", "lbfgs", long, "adamw", "--quiet"]
    whole = subprocess.run(arguments, capture_output=True, text=True).stdout.splitlines()[3:]
    heads = re.split(r"  +", whole[0])
    assert {"compile s", "certified gap", "status"} < set(heads) and max(map(len, whole[:3])) > 120
    by_name = {line.split()[0]: re.split(r"  +", line) for line in whole if line.startswith(("lbfgs", "adamw"))}
    for width in (60, 100):
        parent, child = pty.openpty()
        environment = os.environ | {"TERM": "xterm", "COLUMNS": str(width)}
        with subprocess.Popen(arguments, stdout=child, stderr=subprocess.DEVNULL, env=environment):
            os.close(child)
            lines = read_until(parent, b"never written").decode().splitlines()[3:]
        os.close(parent)
        shown = re.split(r"  +", lines[0])
        table = lines[: next(k for k, line in enumerate(lines) if line.endswith("--json)")) + 1]
        assert all(len(line) <= width for line in table if not line.startswith("minimise "))
        left_out = re.search(r"\(no room for (.*): see --json\)", " ".join(table))
        assert left_out and set(left_out[1].split(", ")) == set(heads) - set(shown)
        assert shown[:2] == ["method", "objective"] and "global" in shown
        assert table[table.index(long) + 1].startswith("   ")
        cells = dict(zip(shown, re.split(r"  +", next(line for line in table if line.startswith("lbfgs")))))
        for head in ("objective", "certified gap", "global"):
            assert cells[head] == by_name["lbfgs"][heads.index(head)]


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_saves_what_there_is(asked) -> None:
    """Progress is shown on a terminal; once it is, the run is interrupted, and is saved as far as it got."""
    arguments = ["solve", "--method", "gd:step_size=1e-6", "--max-iter", "100000000", "--out", "kept"]
    # A shell that starts jobs in the background lets them ignore Ctrl-C; the run must hear it all the same.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [*PROCESS[:-1], listen + PROCESS[-1], *arguments]
    parent, child = pty.openpty()
    environment = os.environ | {"TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=child, text=True, env=environment) as process:
        os.close(child)
        limit = threading.Timer(60.0, process.kill)
        limit.start()
        assert b"L = " in read_until(parent, b"L = ")
        process.send_signal(asked)
        read_until(parent, b"never written")  # up to the end, so that the run can write its last line
        text, _ = process.communicate()
        limit.cancel()
    os.close(parent)
    assert process.returncode == 3
    assert "interrupted by Ctrl-C or SIGTERM" in text
    _, result = load_result("kept.npz")
    assert result.status is ls.Status.INTERRUPTED


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["list"], 0), (["--help"], 0), (["solve", "--help"], 0), (["--version"], 0), ([], 2), (["reproduce"], 0)],
)
def test_a_reader_that_leaves_is_no_error(arguments, code, unbuffered) -> None:
    """What Python does not keep back fails where it is printed, the rest at the end."""
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*PROCESS, *arguments], **pipes, env=environment) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == code


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_leaves_does_not_change_the_answer(data, more) -> None:
    command = [*PROCESS, "solve", "--objective", "denoising", data, "--max-iter", "3", "--quiet", *more]
    for required, code in ((["--require-certificate"], 1), ([], 0)):
        with subprocess.Popen([*command, *required], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == code


def test_where_the_reader_leaves_before_there_is_an_answer_it_is_inconclusive() -> None:
    program = (
        "from lorasolve import cli\n"
        "def slow(argv):\n while True:\n  print('line', flush=True)\n"
        "cli.main = slow; cli.entry()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 3
