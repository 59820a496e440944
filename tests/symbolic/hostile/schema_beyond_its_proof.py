"""A schema that says more than the check that is to show it."""

from lorasolve.symbolic import Fact, Inequality, Property, Schema, dropped, mutant, scalars
from proofs import operator_norm as op

REFUSED = r"half is not what check spectral_below_frobenius says"

p, q = scalars("p q")
IS, AT_MOST = Property("{} is a norm"), Property("{} is at least that norm")
SIDES = {IS(op.spectral): (op.IS_SPECTRAL, op.UNIT), AT_MOST(op.frobenius): (op.IS_FROBENIUS,)}
HALF = Schema("half", op.spectral**2, op.frobenius**2 / 2, SIDES, op.spectral_below_frobenius)
FACT = Fact("half of it", "||X||_2^2 <= ||X||_F^2/2", "nowhere", "operator_norm", (HALF,))
LOWER = FACT.instance("half", IS(p), AT_MOST(q))
CHECKS = (
    Inequality(
        "first",
        "p^2 <= q^2/2.",
        p**2,
        q**2 / 2,
        proof=[LOWER],
        mutants=(mutant("constant", "2 p^2", {p: 1, q: 2}, lhs=2 * p**2), dropped(LOWER)),
    ),
)
