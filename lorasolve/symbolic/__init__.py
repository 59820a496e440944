"""Machine-checked theorems about matrices of symbolic size.

Write expressions (:mod:`~lorasolve.symbolic.expression`), state assumptions
(:mod:`~lorasolve.symbolic.assumptions`), list checks with their false twins (:mod:`~lorasolve.symbolic.checks`), and
collect them in a :class:`Theorem`. ``proofs/_template.py`` is one to copy.

The kinds of checks are in ``matrix_checks``, ``scalar_checks`` and ``example_checks``. A proof is a normal form that
vanishes (``normal``) and signs (``positivity``); ``statements``, ``soundness``, ``restated`` and ``taken`` refuse what
would make it mean less than it says, and ``evaluate`` and ``rational`` try it by another route.
"""

from lorasolve.symbolic.assumptions import (
    Assumption,
    annihilated,
    assume,
    define,
    inverse,
    named,
    orthonormal,
    square_orthogonal,
)
from lorasolve.symbolic.checks import Check
from lorasolve.symbolic.evaluate import Values
from lorasolve.symbolic.example_checks import Exact, Sampled
from lorasolve.symbolic.expression import (
    Form,
    MatrixExpr,
    ScalarExpr,
    ShapeError,
    derivative,
    dims,
    eye,
    gradient,
    inner,
    matrix,
    scalar,
    scalars,
    square,
    tr,
    vector,
    zeros,
)
from lorasolve.symbolic.matrix_checks import Identity, Inequality, SumOfSquares
from lorasolve.symbolic.mutants import Mutant, dropped, mutant
from lorasolve.symbolic.report import run_module
from lorasolve.symbolic.scalar_checks import ScalarCheck
from lorasolve.symbolic.taken import renamed
from lorasolve.symbolic.terms import Fact, Premise, Property, Schema, Side, Square, equation, hypothesis
from lorasolve.symbolic.theorem import Theorem, discover

__all__ = [
    "Assumption",
    "Check",
    "Exact",
    "Fact",
    "Form",
    "Identity",
    "Inequality",
    "MatrixExpr",
    "Mutant",
    "Premise",
    "Property",
    "Sampled",
    "ScalarCheck",
    "ScalarExpr",
    "Schema",
    "ShapeError",
    "Side",
    "Square",
    "SumOfSquares",
    "Theorem",
    "Values",
    "annihilated",
    "assume",
    "define",
    "derivative",
    "dims",
    "discover",
    "dropped",
    "equation",
    "eye",
    "gradient",
    "hypothesis",
    "inner",
    "inverse",
    "matrix",
    "mutant",
    "named",
    "orthonormal",
    "renamed",
    "run_module",
    "scalar",
    "scalars",
    "square",
    "square_orthogonal",
    "tr",
    "vector",
    "zeros",
]
