"""Values at which the statement of a check is looked at: random ones, and counterexamples to its false twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from random import Random
from typing import Any

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic import rational as ra
from lorasolve.symbolic.assumptions import MAX_DRAWS, Assumption, Sampler
from lorasolve.symbolic.evaluate import Irrational, IrrationalRoot, Values, evaluate
from lorasolve.symbolic.rational import Unfit

from .._support.validate import shown

# Examples on which a true statement is tested.
EVALUATIONS = 4
ROUNDS, DRAWS = 150, 5  # of matrices of at most one, two, three and four rows and columns


def examples(
    exprs: Sequence[ex.Expr], assumptions: Sequence[Assumption], rng: Random
) -> Iterator[tuple[Values, list[Any]]]:
    """Yield random values that satisfy the assumptions and at which the expressions are defined, with theirs."""
    sampler, found, why = Sampler(exprs, assumptions), 0, ""
    for _ in range(MAX_DRAWS):
        values = sampler.draw(rng)
        try:
            results = [evaluate(expr, values) for expr in exprs]
        except ZeroDivisionError:
            why = "it divides by 0"
            continue
        except IrrationalRoot as root:
            why = str(root)
            continue
        yield values, results
        found += 1
        if found == EVALUATIONS:
            return
    raise Unfit(f"{found} of {MAX_DRAWS} examples could be evaluated, {EVALUATIONS} are needed; at the last one, {why}")


def find(
    exprs: Sequence[ex.Expr],
    assumptions: Sequence[Assumption],
    given: Mapping[Any, Any] | None,
    fails: Callable[[Values], bool],
    rng: Random,
) -> Values | None:
    """Return values at which the assumptions hold and `fails` is true: the given ones, or by random search.

    Raises
    ------
    ValueError
        If the given values are not exact numbers and matrices, or not those of all symbols.
    """
    sampler = Sampler(exprs, assumptions)
    if given is not None:
        values = _completed(given, sampler.matrices)
        missing = [str(key) for key in (*sampler.numbers, *sampler.matrices, *sampler.forms) if key not in values]
        if missing:
            raise ValueError(f"the counterexample gives no value to {', '.join(missing)}: its keys are the symbols")
        return values if sampler.allows(values) and fails(values) else None
    sizes = [1, 2, 3, 4]
    for _ in range(ROUNDS):
        for max_dim in list(sizes):
            for _ in range(DRAWS):
                try:
                    values = sampler.draw(rng, max_dim=max_dim)
                except Unfit:
                    sizes.remove(max_dim)  # for so small matrices there are none
                    break
                with suppress(Irrational, ZeroDivisionError):
                    if fails(values):
                        return values
    return None


def _completed(given: Mapping[Any, Any], matrices: Mapping[str, ex.Symbol]) -> Values:
    """Return explicit values with matrices made exact and the dimensions read off them."""
    values: Values = {}
    for key, value in given.items():
        name = key.name if isinstance(key, ex.Form | ex.Symbol) else key
        try:
            values[name] = _exact(key, value)
        except (TypeError, ValueError, ZeroDivisionError) as error:
            accepted = "pairs (weight, matrix)" if isinstance(key, ex.Form) else "numbers and texts such as '1/2'"
            accepted = "rows of numbers" if isinstance(key, ex.Symbol) else accepted
            raise ValueError(f"the counterexample gives {name} {shown(value)}; accepted: {accepted}") from error
    for symbol in matrices.values():
        if symbol.name in values:
            for dim, size in zip((symbol.rows, symbol.cols), ra.shape(values[symbol.name]), strict=True):
                if dim.is_Symbol:
                    values[dim] = Fraction(size)
    return values


def _exact(key: Any, value: Any) -> Any:
    """Return the value of a form, a matrix or a number in fractions."""
    if isinstance(key, ex.Form):
        return [(Fraction(weight), _matrix(rows)) for weight, rows in value]
    return _matrix(value) if isinstance(key, ex.Symbol) else Fraction(value)


def _matrix(rows: Any) -> ra.RationalMatrix:
    matrix = ra.rational(rows)
    if not matrix or not matrix[0] or any(len(row) != len(matrix[0]) for row in matrix):
        raise ValueError("rows of one length are a matrix")
    return matrix
