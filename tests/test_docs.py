"""The hand-written pages: their links lead somewhere, and their code runs as it stands, page by page."""

from __future__ import annotations

import ast
import importlib
import pathlib
import pkgutil
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest

import lorasolve as ls

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("howto/*.md"), *DOCS.glob("papers/*.md"), ROOT / "README.md",
                ROOT / "CONTRIBUTING.md", ROOT / "proofs" / "README.md"])  # fmt: skip
RUN = ("ten_minutes", "howto/own_loss", "howto/certify_a_point", "howto/figures_and_tables", "howto/phase_diagram",
       "howto/own_data", "howto/sklearn", "howto/own_lemma", "coming_from")  # fmt: skip
GENERATED = ("generated/", "gallery/")


def prose(page: pathlib.Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose(page)):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_links_of_included_files_lead_to_files_from_the_page(monkeypatch) -> None:
    """As the site is built: the included text stands on a page of another folder, where its links have to lead on."""
    monkeypatch.syspath_prepend(str(DOCS))
    conf = runpy.run_path(str(DOCS / "conf.py"))
    assert "myst.xref_missing" not in conf["suppress_warnings"]
    includes = re.findall(r":::\{include\} (\S+)", (DOCS / "theory.md").read_text())
    assert includes == ["../proofs/README.md"]
    content = [(DOCS / includes[0]).read_text()]
    conf["with_its_links"](None, pathlib.Path(includes[0]), pathlib.Path("theory"), content)
    targets = re.findall(r"\]\(([^)#\s]+)\)", content[0])
    assert len(targets) > 40 and all((DOCS / target).is_file() for target in targets)
    content = ["[a](https://a.b) [c](#d) [e](f.py)"]
    conf["with_its_links"](None, pathlib.Path("../proofs/README.md"), pathlib.Path("theory"), content)
    assert content == ["[a](https://a.b) [c](#d) [e](../proofs/f.py)"]


def test_the_reference_has_every_public_name(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    reference = runpy.run_path(str(DOCS / "reference.py"))
    shown = []
    for name in re.findall(r"auto(?:class|function):: (\S+)", reference["api"]()):
        module, _, entry = name.rpartition(".")
        shown.append(getattr(importlib.import_module(module), entry))
    for info in pkgutil.iter_modules(ls.__path__, "lorasolve."):
        if info.ispkg and info.name != "lorasolve.sklearn":
            module = importlib.import_module(info.name)
            names = reference["public_names"](info.name) if hasattr(module, "__all__") else []
            lacking = [name for name in names if not any(getattr(module, name) is value for value in shown)]
            assert not lacking, f"{info.name}: {lacking}"


def test_what_a_callback_sees_and_what_a_result_raises_are_in_the_reference(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    page = runpy.run_path(str(DOCS / "reference.py"))["api"]()
    problem = ls.Problem(ls.objectives.Denoising(np.eye(3)), 2, 0.1)
    seen = []
    ended = ls.solve(problem, stop=ls.StoppingRule(max_iter=1), callback=seen.append)
    with pytest.raises(RuntimeError) as raised:
        ended.raise_for_status()
    for kind in (type(seen[0]), raised.type):
        assert f".. autoclass:: lorasolve.{kind.__name__}\n" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_rows_of_tables_have_the_cells_of_their_heads(page) -> None:
    """A bar in code ends a cell too, unless a backslash stands before it; what is too much is not shown."""
    heads = 0
    for line in prose(page).splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not heads or not cells or cells == heads, line
        heads = heads or cells if cells else 0


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_references_between_pages_are_pages(page) -> None:
    for target in re.findall(r"\{doc\}`([^`]+)`", page.read_text()):
        if not target.removeprefix("../").startswith(GENERATED):
            assert (page.parent / f"{target}.md").exists(), f"{page.name} refers to {target}"


def test_pages_of_papers_are_written_where_they_are_kept() -> None:
    folders = [folder for page in PAGES for folder in re.findall(r"--pages ([^ `]+)", page.read_text())]
    assert set(folders) == {"docs/papers"} and len(folders) > len(list(DOCS.glob("papers/*.md")))


@pytest.mark.parametrize("name", RUN)
def test_code_runs_as_it_stands(name, tmp_path) -> None:
    if name.endswith("sklearn"):
        pytest.importorskip("sklearn")
        pytest.importorskip("pandas")
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / f"{name}.md").read_text(), flags=re.S)
    assert blocks
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run([sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Whoever tries an example first is shown what it is to succeed, but for the traps, which ask for a verdict.
    assert "global optimum: no" not in done.stdout and not re.search(r"^ *[-+.e0-9]+ +no ", done.stdout, flags=re.M)


def test_the_loss_of_implicit_feedback_is_that_of_its_alternating_regressions() -> None:
    """A user's factors are (B^T C_u B + lam I)^-1 B^T C_u p_u, confidence 1 where nothing is known."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "coming_from.md").read_text(), flags=re.S)
    names = {"np": np, "ls": ls}
    exec(next(block for block in blocks if "class Implicit" in block), names)
    C, problem = names["C"], names["problem"]
    A, B = np.random.default_rng(1).standard_normal((2, 60, 12))
    A, B, liked = A[: len(C)], B[: C.shape[1]], C > 0
    for u, row in enumerate(C):
        weights = np.where(liked[u], row, 1.0)
        A[u] = np.linalg.solve(B.T * weights @ B + problem.lam * np.eye(12), B.T * weights @ liked[u])
    of_A, of_B = problem.grad(A, B)
    assert np.abs(of_A).max() < 1e-12 * np.abs(of_B).max()
    assert ls.check_objective(names["Implicit"](C)).ok


def test_the_page_on_lemmas_shows_what_the_command_says(tmp_path) -> None:
    text = (DOCS / "howto" / "own_lemma.md").read_text()
    lemma = re.findall(r"```python\n(.*?)```", text, flags=re.S)[0]
    shown = [block for block in re.findall(r"```text\n(.*?)```", text, flags=re.S) if "cross_term (sos)" in block]
    assert len(shown) == 2
    for block, statement in zip(shown, (lemma, lemma.replace("2 * inner(A, B),", "3 * inner(A, B),"))):
        (tmp_path / "lemma.py").write_text(statement)
        command = [sys.executable, "-m", "lorasolve", "prove", "lemma.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        for line in block.splitlines():
            assert line in lines, done.stdout


@pytest.mark.parametrize("alpha", [1.0, 2.0, 8.0])
def test_the_bounds_on_the_page_of_certificates_hold_for_every_scale(alpha) -> None:
    """Read from the page and held against the closed form of denoising, at points of other penalties."""
    text = (DOCS / "certificates.md").read_text()
    gap_line = re.search(r"F\(X\) - inf F <= (.*),\n", text)
    limit = re.search(r"`c \|\|G\|\|_2 <= (lam[^`]*)`,", text)
    threshold = re.search(r"#\{sigma_i\(G\) >= (lam\S*) - sqrt\(2 beta gap\)\}", text)
    assert gap_line and limit and threshold
    formula = gap_line[1]
    for words, code in (("||X||_*", "* nuclear"), ("<G, X>", "* inner"), (") (f(X)", ") * (value"), ("f_low", "0.0")):
        formula = formula.replace(words, code)
    sigma, lam, s = np.array([3.0, 2.0, 1.2, 0.6, 0.1]), 1.0, alpha / 2.0
    problem = ls.Problem(ls.objectives.Denoising(np.diag(sigma)), 5, lam, adapter=ls.adapters.LoRA(alpha=alpha * 2.5))
    assert problem.scale == s
    best = np.maximum(sigma - lam / s, 0.0)
    for penalty in (0.05, 0.25, 0.5, 1.0, 2.0):
        x = np.maximum(sigma - penalty, 0.0)
        G = x - sigma
        names = {"lam": lam, "s": s, "nuclear": x.sum(), "inner": float(G @ x), "value": 0.5 * float(G @ G)}
        names["c"] = min(1.0, eval(limit[1], {}, names) / np.abs(G).max())
        gap = problem.convex_value(np.diag(x)) - problem.convex_value(np.diag(best))
        assert gap <= eval(formula, {}, names) + 1e-12
        level = eval(threshold[1], {}, names) - np.sqrt(2.0 * gap)
        assert np.count_nonzero(best) <= np.count_nonzero(np.abs(G) >= level - 1e-12)


def test_what_the_citation_says_is_the_version() -> None:
    from lorasolve._version import __version__

    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text()


def _texts(module: ast.Module) -> list[str]:
    """Return the texts of a module, with a gap where a value is put in."""
    found = []
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(p.value) if isinstance(p, ast.Constant) else "\0" for p in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def test_errors_on_the_page_of_messages_are_those_of_the_package() -> None:
    source = "\0".join(
        text for path in (ROOT / "lorasolve").rglob("*.py") for text in _texts(ast.parse(path.read_text()))
    )
    rows = [line.split("|")[1].strip() for line in (DOCS / "errors.part.md").read_text().splitlines()[8:]]
    messages = [row.split("`")[1] for row in rows if row.startswith("`")]
    assert len(messages) > 20
    for message in messages:
        # What depends on the call: dots, quoted names, numbers. What stands between has to be somewhere in the package.
        parts = [part.strip(" ;:()") for part in re.split(r"\.\.\.|'[^']*'|\(W0\)|\d+\b|: ", message)]
        missing = [part for part in parts if len(part) > 3 and part not in source]
        assert not missing, f"{message}: no error says {missing}"
