"""t^2 = 2, divided by t^2 - 2, says 1 <= 0 for every real t with t^2 = 2."""

from lorasolve.symbolic import Inequality, dropped, equation, mutant, scalars

REFUSED = r"may have a pole"

t = scalars("t", real=True)
ROOT = equation("t^2 = 2", t**2, 2)
CHECKS = (
    Inequality(
        "one_below_zero",
        "1 <= 0.",
        1,
        0,
        proof=[ROOT / (t**2 - 2)],
        mutants=(mutant("constant", "2", lhs=2), dropped(ROOT, {t: 1})),
    ),
)
