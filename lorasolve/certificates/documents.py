"""Certificates that travel: one JSON document with the data, the point and what is claimed, checked without lorasolve.

``check_certificate.py`` beside this file is the checker; it stands alone and may be copied anywhere.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from .._support.files import PathLike, text_writer, write_atomically
from .._support.text import at_most
from .._support.validate import Array, as_choice, as_instance, as_integer, as_path, require
from .._version import __version__
from ..linear_map import LinearMap
from ..low_rank import balanced, factor_svd
from ..objectives import Description, described
from ..problem import Problem
from ..result import seen_from
from ..singular_triplets import top_singular
from ._rounding import fraction_up
from .check_certificate import Refused, binary64, check, exact, proved
from .contradictions import refuse_another_loss
from .exact import coefficients, exact_point, exact_problem
from .exact import refusal as exact_refusal
from .floating import floating_point, floating_problem
from .rigorous import point_factors

Arithmetic = Literal["auto", "exact", "binary64"]

SCHEMA = {"schema": "lorasolve/certificate", "schema_version": 1}
# Up to this side, and up to this many coefficients, "auto" is exact: about a second to check.
EXACT_SIDE = 30
EXACT_COEFFICIENTS = 200_000
# Bits of the point's rounded factors, and of c, in exact certificates.
BITS = 48
SCALING_BITS = 60


class Document(dict[str, Any]):
    """A certificate that travels; it prints as what it claims, not as its data."""

    def __repr__(self) -> str:
        m, n = self["problem"]["shape"]
        gap = at_most(float(Fraction(self["gap"])), ".3g")
        return f"<certificate of a {m} x {n} point: F(X) - inf F <= {gap}, in {self['arithmetic']} arithmetic>"


def document(problem: Problem, point: Any, *, arithmetic: Arithmetic = "auto", bits: int = BITS) -> dict[str, Any]:
    """Return a certificate of ``F(X) - inf F <= gap`` as a JSON-ready document that proves itself.

    Parameters
    ----------
    problem : Problem
        The problem whose convex counterpart ``F(X) = f(X) + (lam/s) ||X||_*`` is meant.
    point : Result, ConvexResult, (A, B) or ndarray of shape (m, n)
        As for :func:`~lorasolve.certify`. The document's own point are balanced factors of it, rounded.
    arithmetic : {"auto", "exact", "binary64"}
        ``"exact"``: integers and fractions, for least squares; what ``"auto"`` takes up to 30 x 30. ``"binary64"``:
        floating-point numbers, with all rounding errors counted by the checker.
    bits : int
        Exact arithmetic: bits of the rounded factors, from 4 to 1000.

    Returns
    -------
    dict
        Its gap is the number that ``check_certificate`` proves, rounded up.

    Raises
    ------
    NotImplementedError
        If the objective states no description of ``f`` as data.
    ValueError
        If the loss has no exact certificate, nothing can be proved at the point, or an objective of your own evaluates
        another loss than it describes, or describes none, or is another loss in float64.
    """
    bits = as_integer(bits, "bits", 4, 1000)
    as_choice(arithmetic, "arithmetic", ("auto", "exact", "binary64"))
    as_instance(problem, "problem", Problem).require_one_matrix("certificates.document")
    problem.require_low_rank("certificates.document")
    point = seen_from(problem, point)
    loss, problem = problem.loss, problem.replace(objective=problem.objective.in_float64())
    A, B = _balanced(*point_factors(problem, point)[:2])
    refuse_another_loss(loss, problem.loss, [(A, B)])
    X = A @ B.T
    description = described(problem.objective, X)
    if arithmetic == "auto":
        arithmetic = "exact" if _small(description, problem.shape) else "binary64"
    if arithmetic == "exact":
        require(arithmetic, "arithmetic", exact_refusal(description))
        parts = exact_problem(description, problem.shape), exact_point(A, B, bits)
    else:
        parts = floating_problem(description, problem.shape), floating_point(A, B)
    lam = Fraction(problem.lam) / Fraction(problem.scale)
    made = SCHEMA | {
        "lorasolve": __version__,
        "arithmetic": arithmetic,
        "inequality": "least squares" if description.loss == "square" else "convex",
        "problem": {"lam": str(lam), **parts[0]},
        "point": parts[1],
    }
    return _with_claim(made, lam, description.value_and_grad(X)[1])


def write(
    path: PathLike, problem: Problem, point: Any, *, arithmetic: Arithmetic = "auto", bits: int = BITS
) -> dict[str, Any]:
    """Write a certificate to a file, whole or not at all, for ``check_certificate.py``.

    Parameters
    ----------
    path : path
        The file; the suffix ``.json`` is not added.
    problem, point, arithmetic, bits
        As for :func:`document`.

    Returns
    -------
    dict
        The document written.

    Raises
    ------
    OSError
        If the file cannot be written.
    NotImplementedError, ValueError, TypeError
        As :func:`document`.
    """
    path = as_path(path, "path")
    made = document(problem, point, arithmetic=arithmetic, bits=bits)
    text = json.dumps(made, allow_nan=False, separators=(",", ":")) + "\n"
    check(json.loads(text))
    write_atomically(path, text_writer(text))
    return made


def _small(description: Description, shape: tuple[int, int]) -> bool:
    fits = max(shape) <= EXACT_SIDE and exact_refusal(description) is None
    return fits and coefficients(description, shape) <= EXACT_COEFFICIENTS


def _balanced(A: Array, B: Array) -> tuple[Array, Array]:
    """Return balanced factors of ``A B^T`` without the columns that are rounding errors."""
    P, s, Q = factor_svd(A, B)
    kept = max(int(np.count_nonzero(s > np.finfo(np.float64).eps * s.max(initial=0.0))), 1)
    return balanced(P[:, :kept], s[:kept], Q[:, :kept])


def _scalings(made: dict[str, Any], lam: Fraction, G: Array) -> Iterator[Fraction]:
    """Yield numbers ``c`` for the formula, each at most the last: near the best that is allowed, and 0 in the end."""
    problem, exactly = made["problem"], made["arithmetic"] == "exact"
    f, _, inner = (exact if exactly else binary64)(problem, made["point"], lam, Fraction(0))
    if made["inequality"] == "convex":
        best = Fraction(inner < f)
    else:
        best = max(1 - inner / (2 * f), Fraction(0)) if f else Fraction(0)
    norm = Fraction(float(top_singular(LinearMap.from_dense(G)).values[0]))
    margin = Fraction(1, 2**50) if exactly else Fraction(G.size, 2**54)
    while norm and best and margin < 1:
        yield _rounded_down(min(best, lam / norm * (1 - margin)))
        margin *= 4
    if not norm:
        yield _rounded_down(best)
    yield Fraction(0)


def _rounded_down(c: Fraction) -> Fraction:
    return Fraction(math.floor(c * 2**SCALING_BITS), 2**SCALING_BITS)


def _with_claim(made: dict[str, Any], lam: Fraction, G: Array) -> Document:
    """Add the first ``c`` that the checker accepts, and the gap that it proves with it, rounded up."""
    reason = "the gap is infinite"
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # the checker takes no number that is not finite
            for c in _scalings(made, lam, G):
                claimed = made | {"c": str(c)}
                with contextlib.suppress(Refused):
                    gap = fraction_up(proved(claimed)[0])
                    if gap < math.inf:
                        return Document(claimed | {"gap": str(Fraction(gap))})
    except (ValueError, OverflowError) as error:
        reason = str(error)
    arithmetic = made["arithmetic"]
    raise ValueError(f"problem, point: nothing is proved in {arithmetic} arithmetic: {reason}")
