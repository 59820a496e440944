"""A conclusion made by hand, without the classical fact that it rests on."""

from lorasolve.symbolic import Fact, Inequality, Premise, Property, Schema, dropped, mutant, scalars

REFUSED = r"does not carry the facts"

x, y = scalars("x y")
ORDERED = Property("{} comes before {}")
FACT = Fact("a fact", "x <= y", "nowhere", schemas=(Schema("order", x, y, {ORDERED(x, y): ()}),))
INSTANCE = FACT.instance("order", ORDERED(x, y))
first = Inequality(
    "first",
    "2 x <= 2 y.",
    2 * x,
    2 * y,
    proof=[2 * INSTANCE],
    mutants=(mutant("constant", "3 x", {x: 1, y: 1}, lhs=3 * x), dropped(INSTANCE)),
)
KNOWN = Premise("check first", first.lhs, first.rhs, source=first)
second = Inequality(
    "second",
    "4 x <= 4 y.",
    4 * x,
    4 * y,
    proof=[2 * KNOWN],
    under=(first,),
    mutants=(mutant("constant", "5 x", {x: 1, y: 1}, lhs=5 * x), dropped(KNOWN)),
)
CHECKS = (first, second)
