"""An assumption that states nothing and restricts every example to n = 1."""

from lorasolve.symbolic import Identity, assume, dims, matrix, mutant, square

REFUSED = r"states no equation"

m = dims("m")
A = matrix("A", m, m)


def only_zero(values, rng):
    """Leave nothing to be tested."""
    values["A"] = [[0 * entry for entry in row] for row in values["A"]]


HIDDEN = assume("A is arbitrary", impose=only_zero)
CHECKS = (
    Identity(
        "square",
        "||A||^2 = ||A||^2.",
        square(A),
        square(A.T),
        given=(HIDDEN,),
        mutants=(
            mutant("constant", "2", rhs=2 * square(A) + 1),
            mutant("sign", "-", rhs=-1 * square(A) - 1),
        ),
    ),
)
