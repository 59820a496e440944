"""Whether a statement claims something, of symbols, numbers and assumptions that mean what they say."""

from __future__ import annotations

from collections.abc import Sequence

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic.assumptions import Assumption
from lorasolve.symbolic.soundness import (
    fault_of_directions,
    fault_of_motion,
    fault_of_named_sign,
    fault_of_symbols,
    fault_of_value,
    values_in,
)
from lorasolve.symbolic.written import as_written


def fault_of_statement(
    left: ex.Expr,
    right: ex.Expr,
    *others: ex.Expr,
    given: Sequence[Assumption] = (),
    equal: Sequence[tuple[ex.Expr, ex.Expr]] = (),
) -> str | None:
    """Return what is wrong with the sides, the symbols, the numbers or the assumptions of a statement, or None.

    ``equal`` are the sides of the hypotheses that are equations.
    """
    for assumption in given:
        if type(assumption) is not Assumption:
            return f"an assumption is a {type(assumption).__name__}, not an Assumption"
        if not assumption.equations:
            return f"assumption {assumption.name} states no equation, so nothing compares it with its sampler"
    pairs = [pair for assumption in given for pair in assumption.equations]
    parts = [left, right, *others, *(ex.as_expr(part) for pair in pairs for part in pair)]
    fault = fault_of_symbols(parts) or fault_of_motion(parts, (*pairs, *equal)) or fault_of_directions(parts)
    for pair in pairs:
        fault = fault or fault_of_named_sign(*pair)
    for value in values_in(parts):
        fault = fault or fault_of_value(value)
    claimed = {as_written(left), as_written(right)}
    if fault is None and len(claimed) == 1:
        return f"both sides are {as_written(left)} as they are written: nothing is claimed"
    for assumption in given:
        if any(set(map(as_written, pair)) == claimed for pair in assumption.equations):
            fault = fault or f"the assumption {assumption.name} is the conclusion"
    return fault
