"""A study that many tests read is done once."""

from __future__ import annotations

import pytest
from grids import mixed


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The mixed study done in this process, as a store and its runs."""
    store = tmp_path_factory.mktemp("whole") / "runs"
    return store, mixed().run(store, "serial", threads=1)
