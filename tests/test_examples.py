"""Every example runs, and the main ones show what they say (those of the methods: tests/papers/test_claims.py)."""

from __future__ import annotations

import pathlib
import runpy
from typing import Any

import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "examples"


def run(name: str) -> Any:
    return runpy.run_path(str(FOLDER / f"{name}.py"))["run"](quick=True)


OWN_TEST = {"quickstart", "own_objective", "convex_certificate", "ratings", "adapters"}


# The examples of single papers, method_*.py, are held against their claims in tests/papers/test_claims.py.
OTHERS = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("method"))


@pytest.mark.parametrize("name", sorted(set(OTHERS) - OWN_TEST))
def test_example_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(name)
    assert capsys.readouterr().out


def test_quickstart() -> None:
    shown = run("quickstart")
    assert shown["certificate"].is_global is True
    assert shown["certificate"].rank == shown["optimum"].rank == 6
    assert abs(shown["result"].fun - shown["optimum"].fun) < 1e-8


def test_own_objective() -> None:
    shown = run("own_objective")
    assert shown["report"].ok
    assert all(row.is_global for row in shown["table"].rows)


def test_convex_certificate() -> None:
    """The certified gap is never below the true one, and both vanish; rank 1 is refuted."""
    shown = run("convex_certificate")
    assert abs(shown["optimum"].cross_check["relative_difference"]) < 1e-8
    assert len(shown["points"]) == 5
    assert all(certified >= true for _, true, certified in shown["points"])
    assert shown["points"][-1][2] < 1e-6
    assert shown["refuted"].is_global is False


def test_ratings() -> None:
    shown = run("ratings")
    assert shown["optimum"].success
    before, after = shown["rmse"]
    assert after < 0.9 * before


def test_adapters() -> None:
    """LoRA and rsLoRA reach the closed form at lam = 0; a frozen factor cannot; merging adds ranks up."""
    losses = run("adapters")
    best = losses["best of rank 2"]
    assert losses["LoRA, alpha = 2"] == pytest.approx(best, rel=1e-6)
    assert losses["rsLoRA, alpha = 2"] == pytest.approx(best, rel=1e-6)
    assert losses["LoRA-FA: B trained, A frozen"] > 1.5 * best
    assert losses["LoRA, merged every quarter"] < 0.1 * best
