"""A symbol that declares a sign for which no examples are drawn."""

from lorasolve.symbolic import Inequality, mutant, scalars

REFUSED = r"accepted: integer"

x = scalars("x", negative=True)
CHECKS = (
    Inequality(
        "sign",
        "0 <= -x.",
        0,
        -x,
        proof=[-x],
        mutants=(mutant("constant", "1", {x: "-1/2"}, lhs=1), mutant("sign", "x", {x: -1}, rhs=x)),
    ),
)
