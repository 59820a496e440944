"""Dependencies point one way: the imports of every module are read, also those inside functions.

Three rules: no module imports from a layer above its own, no files import each other in a circle, and a file with an
underscore serves its own folder alone. Imports under ``if TYPE_CHECKING:`` name types for readers and checkers, never
run, and count for none.
"""

from __future__ import annotations

import ast
import functools
import pathlib
from collections.abc import Iterable, Mapping

import lorasolve
import proofs

ROOT = pathlib.Path(lorasolve.__file__).parent
PROOFS = pathlib.Path(next(iter(proofs.__path__)))
EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"

# A module may import from its own layer and from those before it, also inside functions. Modules of the package are
# named without it, and "lorasolve" is its front door; the entry point of `python -m proofs` is the command line.
LAYERS = (
    {"_support", "_known", "_version", "status", "kernels", "tables", "executors"},
    {"dense", "low_rank", "_block_krylov", "_pair_passes", "_quasi_newton", "linear_map", "singular_triplets"},
    {"objectives"},
    {"_means", "adapters"},
    {"problem"},
    {"multi"},
    {"inits", "optimizers", "schedules"},
    {"method"},
    {"result"},
    {"monitor"},
    {"_advice", "_slopes", "loop"},
    {"engine"},
    {"certificates", "convex", "sweep"},
    {"landscape", "symbolic"},
    {"tasks", "io", "peft_files", "networks"},
    {"studies"},
    {"comparison", "checks", "attacks", "models"},
    {"sklearn"},
    {"plotting"},
    {"papers"},
    {"proofs"},
    {"commands", "_shell_completion", "cli", "proofs.__main__", "__main__"},
    {"lorasolve"},
    {"examples"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> dict[str, pathlib.Path]:
    """Return the files of the package, of the theorems and of the examples by their dotted names."""
    found = {}
    for name, folder in (("lorasolve", ROOT), ("proofs", PROOFS), ("examples", EXAMPLES)):
        for path in sorted(folder.rglob("*.py")):
            parts = (name, *path.relative_to(folder).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def unit(module: str) -> str:
    """Return what a module's layer is written under: its top-level name within the package, or its folder."""
    parts = module.split(".")
    if module in LEVEL:
        return module
    return parts[1] if parts[0] == "lorasolve" and len(parts) > 1 else parts[0]


def _statements(node: ast.AST) -> Iterable[ast.Import | ast.ImportFrom]:
    """Yield all imports in a tree but those under ``if TYPE_CHECKING:``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield from _statements(ast.Module([other], []))
        elif isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        else:
            yield from _statements(child)


def imported(module: str, source: str, is_package: bool = False, known: Iterable[str] = MODULES) -> set[str]:
    """Return the files that a module's source imports, anywhere in it: ``from .base import Command`` means the file.

    The ``__init__`` of a package counts where one of its names is imported, and not on the way to a file within.
    """
    known = set(known)
    found = set()
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in _statements(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            prefix = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*prefix, *(node.module.split(".") if node.module else [])])
            targets = [f"{base}.{alias.name}" for alias in node.names]
        else:
            targets = [alias.name for alias in node.names]
        for target in targets:
            while target and target not in known:
                target = target.rpartition(".")[0]
            found.add(target)
    return found - {"", module}


@functools.cache
def graph() -> dict[str, set[str]]:
    return {name: imported(name, path.read_text(), path.stem == "__init__") for name, path in MODULES.items()}


def violations(module: str, targets: Iterable[str]) -> list[str]:
    return [f"{module} imports {name}" for name in sorted(targets) if LEVEL[unit(name)] > LEVEL[unit(module)]]


def circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the sets of files each of which can be reached from every other (Tarjan's components), sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in edges:
        if node not in index:
            visit(node)
    return sorted(found)


def test_every_module_has_a_layer() -> None:
    assert {unit(name) for name in MODULES} <= set(LEVEL)


def test_imports_point_down() -> None:
    assert [text for name, targets in graph().items() for text in violations(name, targets)] == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(graph()) == []


def others_own(module: str, targets: Iterable[str], is_package: bool = False) -> list[str]:
    """Return the imports of files that serve another folder alone; those beside the front door serve all."""
    folder = module if is_package else module.rpartition(".")[0]
    own = [name for name in sorted(targets) if name.count(".") > 1 and name.rpartition(".")[2].startswith("_")]
    return [f"{module} imports {name}" for name in own if name.rpartition(".")[0] != folder]


def test_files_with_an_underscore_serve_their_own_folder() -> None:
    found = [others_own(name, targets, MODULES[name].stem == "__init__") for name, targets in graph().items()]
    assert [text for texts in found for text in texts] == []


def test_an_import_of_what_serves_another_folder_is_seen() -> None:
    module, other = "lorasolve.objectives.base", "lorasolve.convex._scaled"
    assert others_own(module, {other}) == [f"{module} imports {other}"]
    assert others_own(module, {"lorasolve.objectives._facts", "lorasolve._support.text", "lorasolve.convex.base"}) == []
    assert others_own("lorasolve.objectives", {"lorasolve.objectives._facts"}, is_package=True) == []


def test_an_upward_import_is_seen() -> None:
    module = "lorasolve.objectives.softmax"

    def seen(source: str) -> list[str]:
        return violations(module, imported(module, source))

    assert seen("def f():\n    from ..engine import solve\n") == [f"{module} imports lorasolve.engine"]
    assert seen("import lorasolve.cli\n") == [f"{module} imports lorasolve.cli"]
    assert seen("from .. import comparison\n") == [f"{module} imports lorasolve.comparison"]
    assert seen("from .. import solve\n") == [f"{module} imports lorasolve"]
    assert seen("import proofs.theorem1\n") == [f"{module} imports proofs.theorem1"]
    assert seen("from ..linear_map import LinearMap\nfrom .base import Objective\n") == []
    assert seen("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..engine import solve\n") == []


def test_circles_are_seen_through_packages_and_functions() -> None:
    sources = {
        "lorasolve.a": "def f():\n    from .b import g\n",
        "lorasolve.b": "from . import c\n",
        "lorasolve.c": "def f():\n    import lorasolve.a\n",
        "lorasolve.d": "from .a import f\n",
        "lorasolve.e": "if TYPE_CHECKING:\n    from .f import x\nelse:\n    from .g import x\n",
        "lorasolve.f": "from .e import x\n",
        "lorasolve.g": "",
    }
    edges = {name: imported(name, source, known=sources) for name, source in sources.items()}
    assert circles(edges) == [["lorasolve.a", "lorasolve.b", "lorasolve.c"]]
    assert edges["lorasolve.e"] == {"lorasolve.g"}


def test_at_most_two_package_levels() -> None:
    assert all(len(path.relative_to(ROOT).parts) <= 2 for path in ROOT.rglob("*.py"))


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    """Only kernels may import Numba at module level; cvxpy, SymPy and Matplotlib wait for their function."""
    allowed = {"numba": {"kernels"}, "sympy": {"symbolic"}, "cvxpy": set(), "matplotlib": set()}
    found = []
    for module, path in MODULES.items():
        if not module.startswith("lorasolve."):
            continue
        for node in ast.parse(path.read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in names:
                library = name.split(".")[0]
                if library in allowed and unit(module) not in allowed[library]:
                    found.append(f"{module} imports {library}")
    assert found == []


def test_what_is_called_ready_for_json_goes_by_one_rule() -> None:
    """Infinities and NumPy's numbers stop ``json.dumps``; ``for_json`` alone decides what stands for them."""
    called = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef) or node.name != "to_dict":
                continue
            if "JSON-ready" in (ast.get_docstring(node) or ""):
                names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
                called[f"{module}, line {node.lineno}"] = "for_json" in names
    assert len(called) > 15 and [place for place, by_rule in called.items() if not by_rule] == []
