"""From x <= y and y + 1 <= x follows 1 <= 0; the twins edit everything but the statement."""

from lorasolve.symbolic import Inequality, dropped, hypothesis, mutant, scalars

REFUSED = r"needs a mutant that edits the statement"

x, y = scalars("x y")
UP, DOWN = hypothesis("x <= y", x, y), hypothesis("y + 1 <= x", y + 1, x)
CHECKS = (
    Inequality(
        "one_below_zero",
        "1 <= 0.",
        1,
        0,
        proof=[UP, DOWN],
        mutants=(mutant("sign", "-1", proof=[UP, -1 * DOWN], lhs=2), dropped(UP, {x: 2, y: 1})),
    ),
)
