"""Dependencies point one way: the imports of every module are read and held against the layers below."""

from __future__ import annotations

import ast
import pathlib

import lorasolve

ROOT = pathlib.Path(lorasolve.__file__).parent

# A module may import from its own layer and from those before it, also inside functions.
LAYERS = (
    {"_validate", "_version", "_text", "_registry", "_threads", "_progress", "status", "kernels", "linear_map"},
    {"objectives"},
    {"adapters"},
    {"problem"},
    {"inits", "optimizers", "schedules"},
    {"method"},
    {"result"},
    {"monitor"},
    {"loop"},
    {"engine"},
    {"certificate", "convex", "sweep"},
    {"multi", "landscape", "papers", "symbolic"},
    {"comparison", "tasks", "io", "plotting"},
    {"experiments", "checks"},
    {"commands", "cli"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> list[pathlib.Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def unit(path: pathlib.Path) -> str:
    """Return the top-level name a module belongs to: its folder, or itself."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_units(path: pathlib.Path, source: str) -> set[str]:
    """Return the top-level names of this package that a module's source imports, anywhere in it."""
    found: set[str] = set()
    package = ("lorasolve", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            prefix = package[: len(package) + 1 - node.level] if node.level else ()
            base = (*prefix, *(node.module.split(".") if node.module else ()))
            targets = [(*base, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            targets = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            continue
        found |= {target[1] for target in targets if target[0] == "lorasolve" and len(target) > 1}
    return found


def violations(path: pathlib.Path, source: str) -> list[str]:
    own = unit(path)
    upward = [name for name in imported_units(path, source) if LEVEL[name] > LEVEL[own]]
    return [f"{path.relative_to(ROOT)} imports {name}" for name in upward]


def test_every_module_has_a_layer() -> None:
    assert {unit(path) for path in modules()} <= set(LEVEL)


def test_imports_point_down() -> None:
    assert [text for path in modules() for text in violations(path, path.read_text())] == []


def test_an_upward_import_is_seen() -> None:
    path = ROOT / "objectives" / "softmax.py"
    assert violations(path, "def f():\n    from ..engine import solve\n") == ["objectives/softmax.py imports engine"]
    assert violations(path, "import lorasolve.cli\n") == ["objectives/softmax.py imports cli"]
    assert violations(path, "from .. import comparison\n") == ["objectives/softmax.py imports comparison"]
    assert violations(path, "from ..linear_map import LinearMap\nfrom .base import Objective\n") == []


def test_at_most_two_package_levels() -> None:
    assert all(len(path.relative_to(ROOT).parts) <= 2 for path in modules())


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    """Only kernels may import Numba at module level; cvxpy, SymPy and Matplotlib wait for their function."""
    allowed = {"numba": {"kernels"}, "sympy": {"symbolic"}, "cvxpy": set(), "matplotlib": set()}
    found = []
    for path in modules():
        tree = ast.parse(path.read_text())
        for node in tree.body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in names:
                library = name.split(".")[0]
                if library in allowed and unit(path) not in allowed[library]:
                    found.append(f"{path.relative_to(ROOT)} imports {library}")
    assert found == []
