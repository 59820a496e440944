"""A = B + I and tr A = tr B contradict each other, but for infinite entries."""

from lorasolve.symbolic import Identity, assume, dims, eye, matrix, mutant, tr

REFUSED = r"impose: expected fractions for [AB], got inf"

m = dims("m")
A, B, C = (matrix(name, m, m) for name in "ABC")


def infinite(values, rng):
    """Choose what stays the same when I is added."""
    values["A"], values["B"] = ([[float("inf")] * len(row) for row in values[name]] for name in "AB")


GIVEN = (assume("A = B + I", (A, B + eye(m)), impose=infinite), assume("tr A = tr B", (tr(A), tr(B))))
CHECKS = (
    Identity(
        "anything",
        "tr(A + C) = tr(B + C).",
        tr(A + C),
        tr(B + C),
        given=GIVEN,
        mutants=(mutant("constant", "2", rhs=2 * tr(B + C)), mutant("sign", "-", rhs=-tr(B + C))),
    ),
)
