"""A schema that keeps silent about an assumption of its proof."""

from lorasolve.symbolic import Fact, Inequality, Property, Schema, dropped, mutant, scalars
from proofs import operator_norm as op

REFUSED = r"no side condition of any says"

p, q = scalars("p q")
IS, OTHER = Property("{} is a number"), Property("{} is another number")
SIDES = {IS(op.spectral): (op.IS_SPECTRAL, op.UNIT), OTHER(op.frobenius): ()}
FACT = Fact(
    "any two numbers",
    "p <= q",
    "nowhere",
    "operator_norm",
    (Schema("any", op.spectral**2, op.frobenius**2, SIDES, op.spectral_below_frobenius),),
)
LOWER = FACT.instance("any", IS(p), OTHER(q))
CHECKS = (
    Inequality(
        "first",
        "p^2 <= q^2.",
        p**2,
        q**2,
        proof=[LOWER],
        mutants=(mutant("constant", "2 p^2", {p: 1, q: 1}, lhs=2 * p**2), dropped(LOWER)),
    ),
)
