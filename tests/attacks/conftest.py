"""The planted targets are importable by name, here and in the scripts that the adversary writes."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

HERE = str(pathlib.Path(__file__).parent)
ROOT = str(pathlib.Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


@pytest.fixture
def exit_code(tmp_path: pathlib.Path):
    """Return a function that runs a script in a process of its own and returns its exit code."""

    def run(script: str) -> int:
        path = tmp_path / "script.py"
        path.write_text(script)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, HERE])}
        command = [sys.executable, str(path)]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    return run
