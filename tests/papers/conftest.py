"""What the tests of papers share: the quick run of an experiment, once."""

import pytest

from lorasolve.commands._reproduction import reproduce
from lorasolve.papers import registry


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory):
    """Run the quick version of an experiment by name (once per session)."""
    finished = {}

    def run(name):
        if name not in finished:
            finished[name] = reproduce(registry.classes()[name](), tmp_path_factory.mktemp("reproduced"), quick=True)
        return finished[name]

    return run
