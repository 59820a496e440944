"""Certificates in exact arithmetic: least squares of small size, all numbers integers and fractions.

The data are the stored binary64 numbers, exactly; the factors of the point are balanced and rounded to a common power
of two, which is what the certificate then speaks about. ``check_certificate`` proves it with the standard library.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from .._support.validate import Array
from ..objectives import Description, Entries, Matrix, Outer

Terms = list[list[tuple[int, int]]]


def refusal(description: Description) -> str | None:
    """Return why there is no exact certificate for a loss, or None if there is."""
    if description.loss == "square":
        return None
    return f"exact arithmetic is for least squares, and the loss is {description.loss}: use arithmetic='binary64'"


def coefficients(description: Description, shape: tuple[int, int]) -> int:
    """Return how many coefficients an exact certificate of the loss writes down."""
    form = description.map
    if isinstance(form, Entries):
        return form.values.size
    if isinstance(form, Outer):
        return len(form.a) * shape[0] * shape[1]
    return form.Z.size * (shape[0] if len(form.Z) == shape[1] else 1)


def exact_problem(description: Description, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the part of a document that defines ``f``: outputs as sums of entries of ``X``, and their targets.

    What does not depend on ``X`` is evaluated here, without rounding: the target of an output is
    ``shift - map(X0)``.
    """
    outputs, p = _outputs(description.map, shape)
    targets: list[Fraction] = [Fraction(0)] * len(outputs)
    for shift in description.shifts:
        targets = [target + Fraction(value) for target, value in zip(targets, shift.tolist())]
    if description.X0 is not None:
        frozen, e = as_integers(description.X0)
        unit = Fraction(2) ** (p + e)
        for k, output in enumerate(outputs):
            targets[k] -= unit * sum(v * frozen[entry] for entry, v in output)
    q = -max((target.denominator.bit_length() - 1 for target in targets), default=0)
    return {
        "shape": list(shape),
        "loss": {"kind": "square"},
        "divide_by": description.divide_by,
        "exponents": [p, q],
        "outputs": [[list(pair) for pair in output if pair[1]] for output in outputs],
        "targets": [int(target * Fraction(2) ** -q) for target in targets],
    }


def exact_point(A: Array, B: Array, bits: int) -> dict[str, Any]:
    """Return the factors rounded to ``bits`` bits below their largest entries."""
    point: dict[str, Any] = {"exponents": []}
    for key, factor in (("A", A), ("B", B)):
        exponent = int(np.frexp(np.abs(factor).max())[1]) - bits
        point["exponents"].append(exponent)
        point[key] = [[int(value) for value in row] for row in np.rint(np.ldexp(factor, -exponent))]
    return point


def as_integers(x: Array) -> tuple[list[int], int]:
    """Return the entries of a binary64 array row by row as integers, and the exponent that they share."""
    pairs = [value.as_integer_ratio() for value in x.ravel().tolist()]
    bits = max(q.bit_length() - 1 for _, q in pairs)
    return [p << (bits - q.bit_length() + 1) for p, q in pairs], -bits


def _outputs(form: Entries | Matrix | Outer, shape: tuple[int, int]) -> tuple[Terms, int]:
    """Return for each output its coefficients (entry of X, integer), and the exponent that these share."""
    m, n = shape
    if isinstance(form, Outer):
        (a, p), (b, q) = as_integers(form.a), as_integers(form.b)
        every = range(m * n)
        return [[(k, a[i * m + k // n] * b[i * n + k % n]) for k in every] for i in range(len(form.a))], p + q
    if isinstance(form, Matrix):
        k, N = form.Z.shape
        Z, p = as_integers(form.Z.T)
        return [[(i * k + j, Z[s * k + j]) for j in range(k)] for i in range(m * n // k) for s in range(N)], p
    values, p = as_integers(form.values)
    found: Terms = [[] for _ in range(form.outputs)]
    for output, entry, value in zip(form.output.tolist(), form.entry.tolist(), values):
        found[output].append((entry, value))
    return found, p
