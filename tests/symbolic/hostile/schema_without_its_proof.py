"""A fact that says it is proved, with a false schema that no check shows."""

from lorasolve.symbolic import Fact, Inequality, Property, Schema, dropped, mutant, scalars

REFUSED = r"nothing shows lower, whose fact counts as proved"

x, y = scalars("x y")
IS, OTHER = Property("{} is one number"), Property("{} is another")
FACT = Fact("ordered", "x <= y", "nowhere", "norm_duality", (Schema("lower", x, y, {IS(x): (), OTHER(y): ()}),))
LOWER = FACT.instance("lower", IS(x), OTHER(y))
CHECKS = (
    Inequality(
        "first",
        "x <= y.",
        x,
        y,
        proof=[LOWER],
        mutants=(mutant("constant", "2 x", {x: 1, y: 1}, lhs=2 * x), dropped(LOWER)),
    ),
)
