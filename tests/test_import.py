"""Importing the package, and asking the command line for help, must not load the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numba", "cvxpy", "sympy", "matplotlib", "scipy.optimize", "scipy.sparse")


def loaded_after(code: str) -> set[str]:
    """Return the heavy modules that a fresh interpreter has loaded after running ``code``."""
    program = f"{code}\nimport sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split("\n")[-2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import lorasolve",
        "import lorasolve as ls; ls.Problem; ls.solve; ls.compare; ls.certify; ls.StoppingRule",
        "from lorasolve.cli import main; main(['--help'])",
        "from lorasolve.cli import main; main(['list'])",
    ],
)
def test_light(code: str) -> None:
    # SciPy 1.13 loads its sparse arrays with its linear algebra.
    assert loaded_after(code) <= loaded_after("import scipy.linalg")


def test_the_check_sees_a_heavy_import() -> None:
    assert loaded_after("import lorasolve as ls; import scipy.sparse") == {"scipy.sparse"}


def test_every_public_name_resolves_and_stays_what_it_is() -> None:
    """A function of the same name as its module would be replaced by the module at its first use."""
    import lorasolve as ls

    first = {name: getattr(ls, name) for name in ls.__all__}
    assert first == {name: getattr(ls, name) for name in ls.__all__}
    with pytest.raises(AttributeError, match="no_such_name"):
        ls.no_such_name  # noqa: B018
    with pytest.raises(AttributeError, match=r"'lorasolve' has no attribute 'solv'\. Did you mean 'solve'\?$"):
        ls.solv  # noqa: B018
