"""What a folder of components may hold, and components of other packages."""

from __future__ import annotations

import importlib
import json
import pathlib
import subprocess
import sys
import textwrap

import pytest

from lorasolve._support.origin import SHIPPED, is_shipped, of_package
from lorasolve._support.registry import Registry

BASE = """
class Shape:
    name = ""
    summary = ""
"""
SQUARE = """
from .base import Shape

class Square(Shape):
    name = "square"
"""


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Return a function that writes a package of shapes and returns its registry."""
    package = "shapes_" + "".join(letter if letter.isalnum() else "_" for letter in request.node.name)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(**files: str) -> Registry:
        (tmp_path / package).mkdir()
        for name, source in ({"__init__": "", "base": BASE} | files).items():
            (tmp_path / package / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        base = importlib.import_module(f"{package}.base").Shape
        return Registry(package, base, "shape")

    return make


def test_every_module_is_found_by_its_name(folder) -> None:
    helper = "class Helper:\n    pass\n"
    circle = "from .base import Shape\n\nclass Circle(Shape):\n    name = 'circle'\n"
    registry = folder(square=SQUARE, circle=circle, _helper=helper)
    assert list(registry.classes()) == ["circle", "square"]
    assert registry.attribute("Circle") is registry.classes()["circle"]
    assert registry.make("square", "shape").name == "square"


def test_one_name_imports_one_file(folder) -> None:
    registry = folder(square=SQUARE, circle="raise RuntimeError('imported')", _helper="x = 1")
    square = registry.find("square")
    assert square is not None and square.name == "square"
    assert f"{registry.package}.circle" not in sys.modules


def test_names_that_are_no_component_are_not_found(folder) -> None:
    registry = folder(square=SQUARE, _helper="x = 1")
    assert [registry.find(name) for name in ("base", "_helper", "oval", "../square", "square.x", "")] == [None] * 6


def test_a_base_class_of_several_lives_in_a_module_with_an_underscore(folder) -> None:
    rounded = "from .base import Shape\n\nclass Rounded(Shape):\n    pass\n"
    circle = "from ._rounded import Rounded\n\nclass Circle(Rounded):\n    name = 'circle'\n"
    assert list(folder(_rounded=rounded, circle=circle).classes()) == ["circle"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"square": SQUARE, "box": SQUARE}, ["two shapes are called 'square'", "/box.py", "/square.py"]),
        (
            {"square": SQUARE, "box": "from .square import Square\n\nclass Box(Square):\n    side = 2\n"},
            ["/box.py: the shape Box sets no name of its own", "add name = '...'"],
        ),
        (
            {"box": "from .base import Shape\n\nclass Box(Shape):\n    name = ''\n"},
            ["/box.py: the shape Box sets no name of its own"],
        ),
        (
            {"box": SQUARE},
            ["/box.py: Square is called 'square'", "rename the file to square.py, or set name = 'box'"],
        ),
        ({"square": SQUARE, "tools": "def area():\n    return 1\n"}, ["/tools.py: defines no shape", "underscore"]),
        ({"box": "import no_such_thing"}, ["/box.py: ModuleNotFoundError: No module named 'no_such_thing'"]),
        ({"box": "def area(:\n    return 1\n"}, ["/box.py: SyntaxError: invalid syntax"]),
        ({"box": "from .base import Shap\n"}, ["/box.py: ImportError: cannot import name 'Shap'"]),
        ({"box": "side = length\n"}, ["/box.py: NameError: name 'length' is not defined"]),
        ({"box": "raise RuntimeError('no sides')\n"}, ["/box.py: RuntimeError: no sides"]),
        ({"box": "import sys\nsys.exit(0)\n"}, ["/box.py: SystemExit: 0"]),
    ],
    ids=[
        "duplicate",
        "inherits its name",
        "empty name",
        "file called otherwise",
        "no component",
        "missing library",
        "no Python",
        "missing name",
        "undefined name",
        "error",
        "exit",
    ],
)
def test_what_a_folder_may_not_hold(folder, files, words) -> None:
    registry = folder(**files)
    for _ in range(2):  # a mistake is not forgotten once it has been told
        with pytest.raises(ValueError) as caught:
            registry.classes()
        for word in words:
            assert word in str(caught.value)


# ---------------------------------------------------------------------- other packages
PLUG_IN = '''
"""Components of another package."""

from dataclasses import dataclass

import numpy as np

from lorasolve.objectives import Objective
from lorasolve.optimizers import GD, Optimizer


class Quartic(Objective):
    """The mean fourth power of X - M."""

    name = "quartic"
    summary = "fourth powers of another package"
    convex = True

    def __init__(self, M):
        self.M = M
        self.shape = M.shape

    def value_and_grad(self, X):
        E = X - self.M
        return float(np.mean(E**4)), 4.0 * E**3 / E.size


@dataclass(frozen=True)
class HalfGD(GD):
    """Gradient descent with half the step."""

    name = "half_gd"
    summary = "half of gradient descent"

    def advance(self, problem, state, grad):
        state.trial[:] = state.theta - 0.5 * state.step * state.step_factor * grad


@dataclass(frozen=True)
class OtherGD(Optimizer):
    name = "gd"
    summary = "an optimizer with a name that is taken"


@dataclass(frozen=True)
class BrokenGD(GD):
    name = "broken_gd"
    summary = "an optimizer that fails"

    def advance(self, problem, state, grad):
        raise KeyError("mine")


@dataclass(frozen=True)
class HalfToo(HalfGD):
    name = "half_gd"
    summary = "half of gradient descent, by someone else"
'''


@pytest.fixture
def distribution(tmp_path: pathlib.Path):
    """Return a function that installs the example package with the given entry points and runs a program with it."""
    (tmp_path / "shapely_plugin.py").write_text(PLUG_IN)

    def run(entry_points: str, program: str) -> subprocess.CompletedProcess[str]:
        info = tmp_path / "lorasolve_extra-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lorasolve-extra\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))
        program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{textwrap.dedent(program)}"
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    return run


GOOD = """\
[lorasolve.objectives]
quartic = shapely_plugin:Quartic
[lorasolve.optimizers]
half_gd = shapely_plugin:HalfGD
"""


def test_components_of_another_package_are_listed_and_run(distribution) -> None:
    run = distribution(
        GOOD,
        """
        import lorasolve as ls
        assert "shapely_plugin" not in sys.modules
        from lorasolve.cli import main
        main(["list", "--json"])
        import numpy as np
        M = np.diag([2.0, 1.0, 0.0])
        objective = ls.objectives.Quartic(M)
        result = ls.solve(ls.Problem(objective, 2), "half_gd:step_size=0.05+cosine", "gaussian")
        print(result.status.name, str(result.method), objective.value_and_grad(result.X)[0] < 1e-4, file=sys.stderr)
        """,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["objectives"]["quartic"] == "fourth powers of another package"
    assert found["optimizers"]["half_gd"] == "half of gradient descent"
    assert "gd" in found["optimizers"]
    assert run.stderr.split()[1:] == ["half_gd:step_size=0.05+cosine~gaussian", "True"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module:X", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("shapely_plugin:missing", "AttributeError"),
        ("shapely_plugin:Quartic", "TypeError: it is no subclass of Optimizer"),
        ("lorasolve.optimizers.base:DrivenOptimizer", "sets no name of its own"),
    ],
)
def test_a_broken_plug_in_is_left_out_with_a_warning(distribution, target, words) -> None:
    run = distribution(
        f"[lorasolve.optimizers]\nbroken = {target}\n",
        "import lorasolve as ls; print(*ls.optimizers.registry.classes())",
    )
    assert run.returncode == 0, run.stderr
    assert "gd" in run.stdout.split()
    assert "the optimizer 'broken' is left out" in run.stderr
    assert "of the distribution 'lorasolve-extra'" in run.stderr
    assert words in run.stderr


def test_an_error_in_a_component_of_another_package_is_no_defect_of_this_one(distribution) -> None:
    run = distribution(
        "[lorasolve.optimizers]\nbroken_gd = shapely_plugin:BrokenGD\n",
        "from lorasolve.cli import main; sys.exit(main(['solve', '--method', 'broken_gd']))",
    )
    assert run.returncode == 2, run.stderr
    assert "shapely_plugin.py, line " in run.stderr and "in BrokenGD.advance: KeyError: 'mine'" in run.stderr


def test_a_name_that_is_taken_names_both_origins_and_leaves_the_rest_usable(distribution) -> None:
    run = distribution(
        GOOD + "mine = shapely_plugin:OtherGD\n",
        """
        import lorasolve as ls
        classes = ls.optimizers.registry.classes()
        print(classes["gd"].__module__, classes["half_gd"].__module__, "lbfgs" in classes)
        """,
    )
    assert run.stdout.split() == ["lorasolve.optimizers.gd", "shapely_plugin", "True"], run.stderr
    assert run.stderr.count("optimizers are called 'gd'") == 1
    assert "2 optimizers are called 'gd', in " in run.stderr
    assert "optimizers/gd.py and in shapely_plugin:OtherGD of the distribution 'lorasolve-extra'" in run.stderr
    assert "the optimizer of lorasolve is kept" in run.stderr


def test_of_two_packages_with_one_name_neither_is_chosen(distribution) -> None:
    run = distribution(
        "[lorasolve.optimizers]\nhalf_gd = shapely_plugin:HalfGD\nhalf = shapely_plugin:HalfToo\n",
        "import lorasolve as ls; print(*ls.optimizers.registry.classes())",
    )
    assert "half_gd" not in run.stdout.split() and "gd" in run.stdout.split(), run.stderr
    assert "2 optimizers are called 'half_gd', in shapely_plugin:Half" in run.stderr
    assert "none of them is kept" in run.stderr


@pytest.mark.parametrize(
    ("given", "meant"), [("Lora", "lora"), ("LORA", "lora"), ("Sora", "sora"), ("DORA", "dora"), ("polr", "polar")]
)
def test_the_nearest_name_is_suggested_whatever_its_capitals(given, meant) -> None:
    from lorasolve.adapters import registry

    with pytest.raises(ValueError, match=f"Did you mean '{meant}'"):
        registry.make(given, "adapter")


@pytest.mark.parametrize("package", SHIPPED)
def test_what_the_package_vouches_for_is_in_its_folder(package) -> None:
    classes = importlib.import_module(package).registry.classes()
    shipped = [classes[name] for name in SHIPPED[package].split()]
    assert all(map(of_package, shipped))
    # Losses that an attack makes stand for those of users.
    assert {is_shipped(owner) for owner in shipped} == {package != "lorasolve.attacks"}
    put_there = type("PutThere", (), {"__module__": f"{package}.put_there"})
    assert not of_package(put_there)
    assert not is_shipped(put_there) and not is_shipped(type("Elsewhere", (), {"__module__": "elsewhere"}))
