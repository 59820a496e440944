"""Each command runs in a folder of its own."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path: pathlib.Path) -> str:
    """Denoising of a matrix with singular values 3, 2, 0.4: at lam = 1 the optimum is 2, 1, 0 and F* = 4.08."""
    rng = np.random.default_rng(0)
    P = np.linalg.qr(rng.standard_normal((6, 3)))[0]
    Q = np.linalg.qr(rng.standard_normal((5, 3)))[0]
    np.savez(tmp_path / "data.npz", M=(P * [3.0, 2.0, 0.4]) @ Q.T)
    return "data.npz"


@pytest.fixture
def optimum() -> float:
    """``F*`` of the ``data`` at ``lam = 1``."""
    return 0.5 * (1 + 1 + 0.4**2) + 3.0
