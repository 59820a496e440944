"""The pole hides in a square that is multiplied by the equation."""

from lorasolve.symbolic import Inequality, Square, dropped, equation, mutant, scalars

REFUSED = r"may have a pole"

t, s = scalars("t s", real=True)
SAME = equation("t = s", t, s)
CHECKS = (
    Inequality(
        "one_below_zero",
        "1 <= 0.",
        1,
        0,
        proof=[(t - s) * SAME * Square(1 / (t - s))],
        mutants=(mutant("constant", "2", lhs=2), dropped(SAME, {t: 1, s: 2})),
    ),
)
