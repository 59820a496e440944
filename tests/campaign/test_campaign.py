"""The campaigns: the quick one always, with the same seed; the long one on request, with a seed that it prints."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


def figure(*options: str) -> str:
    run = subprocess.run([sys.executable, str(HERE), *options], capture_output=True, text=True)
    print(run.stdout, run.stderr[-2000:])
    return run.stdout.splitlines()[-1]


def test_quick() -> None:
    assert " 0 wrong, 0 hung, 0 lost" in figure("--quick", "--seed", "1")


@pytest.mark.slow
def test_long() -> None:
    assert " 0 wrong, 0 hung, 0 lost" in figure()
