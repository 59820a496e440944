from __future__ import annotations

import pytest

from lorasolve.symbolic.report import discover, run


@pytest.fixture(scope="session")
def reports():
    """All theorems checked once, by name."""
    return {name: run(name, theorem) for name, theorem in discover().items()}
