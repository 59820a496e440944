"""The LaTeX document is well formed; it is compiled where a compiler exists."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import sympy

import proofs
from lorasolve.symbolic import Form, Identity, dims, discover, gradient, inner, matrix, scalar, scalars, square, tr
from lorasolve.symbolic.latex import document, mathematics, printed_alike, text

m, n = dims("m n")
A, B = matrix("A", m, n), matrix("B_1", m, n)
lam = scalars("lambda")


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (A.T @ B, r"A^{\top} B_{1}"),
        (A + 2 * B, r"A + 2\, B_{1}"),
        (lam * square(A), r"\lambda\, \left\| A \right\|_F^2"),
        (inner(A, B), r"\left\langle A,\, B_{1} \right\rangle"),
        (tr(A @ B.T), r"\operatorname{tr}\left(A B_{1}^{\top}\right)"),
        ((A + B) @ A.T, r"\left(A + B_{1}\right) A^{\top}"),
        (Form("H", m, n)(A, B), r"H\left[A, B_{1}\right]"),
        (
            scalar(sympy.Derivative(lam, lam)) * square(A),
            r"\left(\frac{d}{d \lambda} \lambda\right)\, \left\| A \right\|_F^2",
        ),
    ],
)
def test_expressions(expr, expected):
    assert mathematics(expr) == expected


def test_symbols_that_are_printed_alike_are_found():
    """LaTeX prints 2 <X1, X_1> <= |X1|^2 as 2 |X_1|^2 <= |X_1|^2, and other names as one with a prime or with 12."""
    for pair in (("X1", "X_1"), ("X'", "Xprime"), ("X12", "X_1_2")):
        first, second = (matrix(name, m, n) for name in pair)
        assert printed_alike(Identity("a", "", inner(first, second), square(first))) == pair
    for pair in (("X1", "X_2"), ("lambda", "Lambda"), ("X", "Xbar")):
        first, second = (matrix(name, m, n) for name in pair)
        assert printed_alike(Identity("a", "", inner(first, second), square(first))) is None


def test_gradients_name_their_symbol():
    assert mathematics(gradient(square(A), A)).startswith(r"\nabla_{A}")


def test_special_characters_are_escaped():
    assert text("50% of r_* & {x}^2") == r"50\% of r\_* \& \{x\}\textasciicircum{}2"


def latex_problems(source):
    """Return what would stop a LaTeX run: unbalanced braces, environments, or left-right pairs."""
    without_verbatim = re.sub(r"\\begin\{verbatim\}.*?\\end\{verbatim\}", "", source, flags=re.DOTALL)
    bare = re.sub(r"\\[{}\\]", "", without_verbatim)
    problems, depth, environments = [], 0, []
    for token in re.findall(r"[{}]|\\(?:begin|end)\{\w+\*?\}", bare):
        if token in "{}":
            depth += 1 if token == "{" else -1
        elif token.startswith(r"\begin"):
            environments.append(token[7:-1])
        elif not environments or environments.pop() != token[5:-1]:
            problems.append(token)
        if depth < 0:
            problems.append("closing brace")
    for formula in re.findall(r"\\\[.*?\\\]|\$.*?\$", without_verbatim, flags=re.DOTALL):
        if len(re.findall(r"\\left\b", formula)) != len(re.findall(r"\\right\b", formula)):
            problems.append(formula)
    return problems + (["open brace"] if depth else []) + environments


def test_the_checker_of_the_structure_notices_errors():
    assert latex_problems(r"\begin{itemize} \item {x \end{itemize}")
    assert latex_problems(r"\begin{itemize} \end{center}")
    assert latex_problems(r"$\left( x$")
    assert not latex_problems(r"\begin{center} $\left( x_{1} \right)$ \{ \end{center}")


@pytest.fixture(scope="module")
def source():
    theorems = discover(proofs)
    return document(
        theorems, {name: [check.strength for check in theorem.checks] for name, theorem in theorems.items()}
    )


def test_the_document_is_well_formed(source):
    assert latex_problems(source) == []
    assert source.count(r"\section{") == len(discover(proofs))
    assert source.isascii()


def test_every_symbolic_check_is_displayed(source):
    checks = [check for theorem in discover(proofs).values() for check in theorem.checks]
    symbolic = [check for check in checks if check.kind in ("identity", "sos", "implies", "scalar")]
    assert source.count(r"\begin{aligned}") == len(symbolic)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX compiler")
def test_the_document_compiles(source, tmp_path):
    (tmp_path / "proofs.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "proofs.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_constants_use_sympy():
    assert mathematics(square(A) / 2) == r"\frac{1}{2}\, \left\| A \right\|_F^2"
    assert sympy.latex(lam) == r"\lambda"
