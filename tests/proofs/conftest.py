from __future__ import annotations

import pytest

import proofs
from lorasolve.symbolic import discover
from lorasolve.symbolic.export import document
from lorasolve.symbolic.report import judged, run
from proofs.verify import verdicts


@pytest.fixture(scope="session")
def reports():
    """All theorems checked once by both checkers, by name."""
    theorems = discover(proofs)
    content = document(theorems)
    said = verdicts(content)
    return {name: judged(run(name, th), said, content["not_exported"], {}) for name, th in theorems.items()}
