"""What is to be shown is assumed, with a part on the other side and times two."""

from lorasolve.symbolic import Inequality, dropped, hypothesis, mutant, scalars

REFUSED = r"the hypothesis a harmless name is the conclusion"

x, y, z = scalars("x y z")
WANTED = hypothesis("a harmless name", 2 * x**2 + 2 * z, 2 * y)
CHECKS = (
    Inequality(
        "wanted",
        "x^2 <= y - z.",
        x**2,
        y - z,
        proof=[WANTED / 2],
        mutants=(mutant("constant", "2 x^2", {x: 1, y: 2, z: 1}, lhs=2 * x**2), dropped(WANTED)),
    ),
)
