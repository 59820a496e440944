"""A positive and a real symbol share a printed name."""

from lorasolve.symbolic import Inequality, mutant, scalars

REFUSED = r"printed x"

x, other = scalars("x"), scalars("x", real=True)
CHECKS = (
    Inequality(
        "sum",
        "0 <= x + x^2.",
        0,
        x + other**2,
        proof=[x + other**2],
        mutants=(
            mutant("constant", "1", {x: "1/2", other: 0}, lhs=1),
            mutant("sign", "-x", {x: 1, other: 0}, rhs=-x),
        ),
    ),
)
