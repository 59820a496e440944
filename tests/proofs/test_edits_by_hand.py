"""One constant, one sign or one declaration changed by hand in a module: the run fails, and says which check."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lorasolve.symbolic
import proofs
from lorasolve.cli import main
from lorasolve.symbolic import Theorem, discover

FOLDER = Path(next(iter(proofs.__path__)))
MODULES = (
    "certificate",
    "corollary1",
    "dora_gradient",
    "escape_direction",
    "factor_derivatives",
    "flow_conservation",
    "magnitude_bound",
    "stationary_structure",
    "rank_certificate",
    "reduced_rank_regression",
)
STATEMENTS = {"Identity", "Inequality", "SumOfSquares", "ScalarCheck"}


class Edit(ast.NodeTransformer):
    """Change the first constant or sign inside a side of a check, or the first declaration: of sizes, or of signs."""

    def __init__(self, what: str) -> None:
        self.what, self.inside, self.done = what, False, False

    def visit_Call(self, node):
        name = getattr(node.func, "id", "")
        if self.what == "declaration" and name == "dims" and " " in node.args[0].value and not self.done:
            first, _, *others = node.args[0].value.split()
            node.args[0] = ast.Constant(" ".join([first, first, *others]))
            self.done = True
        if self.what == "declaration" and name == "scalars" and not self.done:
            node.keywords = [] if node.keywords else [ast.keyword("real", ast.Constant(True))]
            self.done = True
        if name in STATEMENTS:
            self.inside = True
            node.args[2:4] = [self.visit(side) for side in node.args[2:4]]
            self.inside = False
            return node
        return self.generic_visit(node)

    def visit_Constant(self, node):
        if self.what == "constant" and self.inside and not self.done and type(node.value) is int:
            self.done = True
            return ast.Constant(node.value + 1)
        return node

    def visit_BinOp(self, node):
        if self.what == "sign" and self.inside and not self.done and isinstance(node.op, ast.Add | ast.Sub):
            self.done = True
            return ast.BinOp(node.left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), node.right)
        if self.what == "sign" and self.inside and not self.done and isinstance(node.op, ast.Mult):
            self.done = True
            return ast.UnaryOp(ast.USub(), node)
        return self.generic_visit(node)


# Constants and signs of all modules are changed in test_proof_modules.py, check by check.
EDITS = [
    *((name, "declaration") for name in MODULES),
    *((name, what) for name in MODULES[::4] for what in ("constant", "sign")),
]


@pytest.mark.parametrize(("name", "what"), EDITS)
def test_the_run_fails(name, what, monkeypatch, capsys):
    edit = Edit(what)
    tree = ast.fix_missing_locations(edit.visit(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))))
    assert edit.done
    module = {"__name__": f"proofs.{name}"}
    exec(compile(tree, name, "exec"), module)
    theorem = module["THEOREM"]
    assert isinstance(theorem, Theorem)
    monkeypatch.setattr(lorasolve.symbolic, "discover", lambda package: {**discover(package), name: theorem})
    assert main(["prove", name, "--brief"]) == 1
    shown = capsys.readouterr().out
    assert "FAILED" in shown
    assert "check " in shown or "NOT SHOWN" in shown or "REFUTED" in shown


@pytest.mark.parametrize(
    ("name", "written", "edited", "check"),
    [
        # Of Y turned round in the plane of E2 the number w is the negative one.
        ("theorem_c", "si.J2: -1 * si.J2", "si.J2: si.J2", "case_4_in_matrices"),
        ("theorem_b_sharp", "ZETA = define(zeta, 2 * beta", "ZETA = define(zeta, 3 * beta", "zeta_above"),
        ("theorem_b_sharp", "ZETA = define(zeta, 2 * beta", "ZETA = define(zeta, 3 * beta", "zeta_below"),
    ],
)
def test_what_a_number_stands_for_is_one_thing_in_all_checks(name, written, edited, check):
    """Checks in numbers alone hold whatever these stand for."""
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert source.count(written) == 1
    module = {"__name__": f"proofs.{name}"}
    exec(compile(source.replace(written, edited), name, "exec"), module)
    (found,) = (each for each in module["THEOREM"].checks if each.name == check)
    assert not found.follows().holds
