"""y <= y + 1 + u^2, read as x <= y + 1 + u^2: the schema has y too, and calls x what that is in the proof."""

from lorasolve.symbolic import Fact, Inequality, Property, Schema, Square, SumOfSquares, dims, mutant, scalar, scalars

REFUSED = (
    r"(?s)first.*: PROVED.*second.*NOT SHOWN.*two symbols are y in its proof.*"
    r"third.*: PROVED.*fourth.*NOT SHOWN.*two symbols are n in its proof"
)

m, n = dims("m n")
x, y, u = scalars("x y u", real=True)
IS = Property("{} is a number")


def shown(name, number):
    """Return what is true of a number."""
    return SumOfSquares(
        name,
        "A number is at most itself and a square.",
        number,
        scalar(number) + square_of_u,
        proof=[1 * Square(u)],
        mutants=(mutant("constant", "-1", rhs=scalar(number) - 1), mutant("sign", "-", {number: 1, u: 1}, rhs=-number)),
    )


def used(name, one, other, proof):
    """Return the same said of two numbers."""
    sides = {IS(one): (), IS(other): (), IS(u): ()}
    fact = Fact(
        name, "it is smaller", "nowhere", "hostile", (Schema("two", one, other + u**2, sides, proof, {one: other}),)
    )
    return Inequality(
        name,
        "One number is at most another one and a square.",
        one,
        other + u**2,
        proof=[1 * fact.instance("two", IS(one), IS(other), IS(u))],
        mutants=(
            mutant("constant", "-9", {one: 1, other: 1, u: 0}, rhs=other - 9),
            mutant("sign", "-", {one: 1, other: 1, u: 0}, rhs=-other),
        ),
    )


square_of_u = scalar(u**2)
first, third = shown("first", y), shown("third", n)
CHECKS = (first, used("second", x, y, first), third, used("fourth", m, n, third))
