"""What is to be shown is assumed."""

from lorasolve.symbolic import Inequality, dropped, hypothesis, mutant, scalars

REFUSED = r"is the conclusion"

x, y = scalars("x y")
WANTED = hypothesis("a harmless name", x**2, y)
CHECKS = (
    Inequality(
        "wanted",
        "x^2 <= y.",
        x**2,
        y,
        proof=[WANTED],
        mutants=(mutant("constant", "2 x^2", {x: 1, y: 1}, lhs=2 * x**2), dropped(WANTED)),
    ),
)
