"""Of two inequalities with one name the second, from a classical fact, is forgotten in the label."""

from lorasolve.symbolic import Fact, Inequality, by_fact, dropped, hypothesis, mutant, scalars

REFUSED = r"two inequalities are named"

x, y, z = scalars("x y z")
FACT = Fact("a fact", "y <= z", "nowhere")
BY_FACT, FIRST = by_fact(FACT, "step", y, z), hypothesis("step", x, y)
CHECKS = (
    Inequality(
        "chain",
        "x <= z.",
        x,
        z,
        proof=[BY_FACT, FIRST],
        mutants=(mutant("constant", "2 x", {x: 1, y: 1, z: 1}, lhs=2 * x), dropped(FIRST, {x: 2, y: 1, z: 1})),
    ),
)
