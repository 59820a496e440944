"""A kind of check that proves whatever it is given."""

from dataclasses import dataclass

from lorasolve.symbolic import Identity, mutant, scalars
from lorasolve.symbolic.checks import Outcome

REFUSED = r"is not a kind of check"

x = scalars("x")


@dataclass(frozen=True)
class Trusting(Identity):
    """Believes its author."""

    def prove(self):
        """Prove everything that is no twin."""
        return Outcome(self.rhs == x + 1, "believed")

    def test(self, rng):
        """Test nothing."""
        return Outcome(True, "believed")


CHECKS = (
    Trusting(
        "false",
        "x = x + 1.",
        x,
        x + 1,
        mutants=(mutant("constant", "2", rhs=x + 2), mutant("sign", "-1", rhs=x - 1)),
    ),
)
