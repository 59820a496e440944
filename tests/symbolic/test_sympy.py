"""What SymPy gets wrong, kept here so that a repair is noticed.

`lorasolve.symbolic` differentiates traces itself; nothing in the project calls ``diff`` by a matrix symbol.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sympy

import lorasolve


@pytest.mark.xfail(strict=True, reason="SymPy returns 0 for the derivative of a sum of traces by a matrix")
def test_derivative_of_a_sum_of_traces():
    n = sympy.Symbol("n", integer=True, positive=True)
    A, C = sympy.MatrixSymbol("A", n, n), sympy.MatrixSymbol("C", n, n)
    f = sympy.Trace(A.T * A) + sympy.Trace(C.T * A)
    assert f.diff(A) != sympy.ZeroMatrix(n, n)


def test_derivative_of_a_single_trace_is_right():
    n = sympy.Symbol("n", integer=True, positive=True)
    A, C = sympy.MatrixSymbol("A", n, n), sympy.MatrixSymbol("C", n, n)
    assert sympy.Trace(C.T * A).diff(A) == C


def test_no_matrix_symbols_of_sympy_are_used():
    root = Path(lorasolve.__file__).parent
    files = [*root.rglob("*.py"), *(root.parent / "proofs").glob("*.py")]
    assert len(files) > 20
    assert not [file for file in files if re.search(r"MatrixSymbol|sympy\.Trace", file.read_text())]
