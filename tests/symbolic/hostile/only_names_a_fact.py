"""A false inequality that names a proved fact."""

from lorasolve.symbolic import Inequality, Premise, dropped, mutant, scalars
from proofs.facts import DUAL_NORM

REFUSED = r"is no instance of it"

x, y = scalars("x y")
BY_NAME = Premise("norm duality: x <= y", x, y, (DUAL_NORM,))
CHECKS = (
    Inequality(
        "first",
        "x <= y.",
        x,
        y,
        proof=[BY_NAME],
        mutants=(mutant("constant", "2 x", {x: 1, y: 1}, lhs=2 * x), dropped(BY_NAME)),
    ),
)
