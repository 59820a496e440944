from __future__ import annotations

import pytest

import proofs
from lorasolve.symbolic import discover
from lorasolve.symbolic.report import run


@pytest.fixture(scope="session")
def reports():
    """All theorems checked once, by name."""
    return {name: run(name, theorem) for name, theorem in discover(proofs).items()}
