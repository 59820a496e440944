import functools
import importlib.util
import pathlib

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@functools.cache
def run_example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.run(quick=True)


@pytest.fixture
def example():
    """Run an example script by name and return its numbers (once per session)."""
    return run_example
