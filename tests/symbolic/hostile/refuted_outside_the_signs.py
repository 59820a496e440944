"""The only counterexample of the twin violates the sign that its symbol declares."""

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"no counterexample"

x = scalars("x")
CHECKS = (
    ScalarCheck(
        "positive",
        "0 <= x.",
        0,
        x,
        relation="<=",
        mutants=(
            mutant("constant", "0 <= x^3 - x^2 + x", {x: -1}, rhs=x**3 - x**2 + x),
            mutant("sign", "0 <= -x", rhs=-x),
        ),
    ),
)
