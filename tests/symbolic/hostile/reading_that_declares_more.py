"""A schema about real numbers whose proof is about positive ones."""

from lorasolve.symbolic import Fact, Inequality, Property, ScalarCheck, Schema, mutant, scalars

REFUSED = r"x is not shown to have the sign that p declares"

x, y = scalars("x y", real=True)
p = scalars("p")
IS = Property("{} is a number")
shown = ScalarCheck(
    "shown",
    "0 <= p for positive p.",
    0,
    p,
    relation="<=",
    mutants=(mutant("constant", "2 p", {p: 1}, lhs=2 * p), mutant("sign", "-p", {p: 1}, rhs=-p)),
)
FACT = Fact("signs", "0 <= x", "nowhere", "hostile", (Schema("all", 0, x, {IS(x): ()}, shown, {x: p}),))
CHECKS = (
    shown,
    Inequality(
        "false",
        "0 <= y for every real y.",
        0,
        y,
        proof=[1 * FACT.instance("all", IS(y))],
        mutants=(mutant("constant", "1", {y: 0}, lhs=1), mutant("sign", "-y", {y: 1}, rhs=-y)),
    ),
)
