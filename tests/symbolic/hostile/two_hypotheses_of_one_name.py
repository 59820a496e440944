"""Of two inequalities with one name the second, from a classical fact, is forgotten in the label."""

from dataclasses import replace

from lorasolve.symbolic import Fact, Inequality, Property, Schema, dropped, hypothesis, mutant, scalars

REFUSED = r"two inequalities are named"

x, y, z = scalars("x y z")
ORDERED = Property("{} comes before {}")
FACT = Fact("a fact", "y <= z", "nowhere", schemas=(Schema("order", y, z, {ORDERED(y, z): ()}),))
BY_FACT, FIRST = replace(FACT.instance("order", ORDERED(y, z)), name="step"), hypothesis("step", x, y)
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
