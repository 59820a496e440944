"""An assumption that always says that it holds."""

from dataclasses import dataclass

from lorasolve.symbolic import Assumption, Identity, dims, matrix, mutant, zeros

REFUSED = r"not an Assumption"

m, n = dims("m n")
A = matrix("A", m, n)


@dataclass(frozen=True)
class Accepted(Assumption):
    """Holds at every value."""

    def holds(self, values):
        """Accept everything."""
        return True


VANISHES = Accepted("A is a matrix", ((A, zeros(m, n)),), lambda values, rng: values.update(A=[[0]], m=1, n=1))
CHECKS = (
    Identity(
        "vanishes",
        "A = 0.",
        A,
        zeros(m, n),
        given=(VANISHES,),
        mutants=(mutant("constant", "2 A", lhs=2 * A), mutant("sign", "-A", lhs=-1 * A)),
    ),
)
