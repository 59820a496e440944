"""Progress on a terminal, in a notebook and in a log; the stopping rule of a method whose iterations are dear."""

from __future__ import annotations

import io
import os
import termios
import time

import numpy as np
import pytest

import lorasolve as ls
from lorasolve._support import progress as _progress
from lorasolve._support.progress import LOG_SECONDS, Progress
from lorasolve.objectives import MatrixCompletion


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_progress, "time", clock)
    return clock


def test_a_log_has_a_line_every_thirty_seconds_and_none_before(clock, capsys) -> None:
    line = Progress("als", True)
    for second in range(100):
        clock.now = 100.0 + second
        line.show(second / 100, f"L = {second}")
    line.close()
    assert LOG_SECONDS == 30.0
    assert capsys.readouterr().err == "als: 30 %, L = 30\nals: 60 %, L = 60\nals: 90 %, L = 90\n"


@pytest.mark.parametrize("module", ["terminal", "ipykernel.iostream"])
def test_a_terminal_and_a_notebook_have_one_line_that_is_rewritten(clock, monkeypatch, module) -> None:
    stream = type("Stream", (io.StringIO,), {"isatty": lambda self: module == "terminal", "__module__": module})()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm" if module == "terminal" else "dumb")
    line = Progress("gd", True)
    line.show(0.5, "L = 2")
    line.show(0.6, "too soon")
    clock.now += 1.0
    line.show(1.0, "L = 1")
    line.close()
    shown = stream.getvalue()
    assert "\n" not in shown and "too soon" not in shown
    assert shown.count("\r") == 4 and "[##########..........] L = 2" in shown


def test_a_terminal_that_obeys_nothing_has_the_lines_of_a_log(clock, monkeypatch) -> None:
    stream = type("Stream", (io.StringIO,), {"isatty": lambda self: True})()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "dumb")
    line = Progress("gd", True)
    for second in (0.0, 1.0, LOG_SECONDS):
        clock.now = 100.0 + second
        line.show(0.5, f"L = {second:g}")
    line.close()
    assert stream.getvalue() == "gd: 50 %, L = 30\n"


def test_nothing_is_shown_that_was_not_asked_for(clock, capsys) -> None:
    line = Progress("gd", False)
    clock.now += 1000.0
    line.show(0.5, "L = 2")
    line.close()
    assert capsys.readouterr().err == ""


def test_a_run_in_a_log_says_how_far_it_is(monkeypatch, capsys) -> None:
    began = time.perf_counter()

    class Fast:
        @staticmethod
        def perf_counter() -> float:
            return 1e6 * (time.perf_counter() - began)

    monkeypatch.setattr(_progress, "time", Fast)
    problem = ls.Problem(MatrixCompletion([0, 1, 2], [0, 1, 0], [1.0, 2.0, 3.0], (3, 2)), 2, 0.1)
    ls.solve(problem, "als", progress=True)
    assert "als: " in capsys.readouterr().err


def test_alternating_least_squares_stops_where_that_fits_it() -> None:
    """A sweep is worth many gradient steps; the others keep their rule, and a rule that is given is followed."""
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.random((60, 40)) < 0.2)
    problem = ls.Problem(MatrixCompletion(rows, cols, rng.standard_normal(rows.size), (60, 40)), 10, 0.5)
    own, given = ls.solve(problem, "als"), ls.solve(problem, "als", stop=ls.StoppingRule(grad_tol=1e-10))
    unit = problem.units.slope * np.linalg.norm(own.theta)
    assert own.success and 1e-8 < own.grad_norm / unit <= 1e-6
    assert given.success and given.nit > own.nit
    assert ls.solve(problem, "als:memory=0").nit <= 500
    for name, optimizer in ls.optimizers.registry.classes().items():
        expected = (500, 1e-6) if name == "als" else (10_000, 1e-8)
        assert (optimizer.default_max_iter, optimizer.default_grad_tol) == expected


@pytest.mark.parametrize("columns", [40, 80])
def test_a_line_stays_within_the_terminal(clock, monkeypatch, columns) -> None:
    """What is longer is broken, and all of it but the last piece would stay where it is."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    monkeypatch.setenv("TERM", "xterm")
    with open(ours, "rb", buffering=0) as seen, open(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        line = Progress("convex factored", True)
        line.show(0.25, "F = 40451.2699679  relative gap 1.09e-05  rank 44")
        clock.now += 1.0
        line.show(0.5, "done")
        line.close()
        monkeypatch.undo()
        shown = seen.read(10_000).decode()
    assert "\n" not in shown and "convex factored: 25 %, F = 40451.269967" in shown
    assert max(map(len, shown.split("\r"))) < columns
