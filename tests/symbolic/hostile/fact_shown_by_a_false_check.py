"""A fact that counts as proved by a check that does not hold and is in no list."""

from lorasolve.symbolic import Fact, Inequality, Property, Schema, mutant, scalars

REFUSED = r"check nothing, which shows a fact, is not shown"

y = scalars("y", real=True)
IS = Property("{} is a number")
nothing = Inequality("nothing", "y <= 0.", y, 0, proof=[])
FACT = Fact("false", "y <= 0", "nowhere", "hostile", (Schema("all", y, 0, {IS(y): ()}, nothing),))
CHECKS = (
    Inequality(
        "false",
        "2 y <= 0 for every real y.",
        2 * y,
        0,
        proof=[2 * FACT.instance("all", IS(y))],
        mutants=(mutant("constant", "1", {y: -1}, lhs=2 * y + 3), mutant("sign", "-y", {y: -1}, lhs=-2 * y)),
    ),
)
