"""1 <= z at z = 0, since H(D, D) + 1 <= x <= H(D, D): at 1e30 nothing is seen of the 1."""

from lorasolve.symbolic import Form, Inequality, assume, dims, hypothesis, matrix, mutant, scalars

REFUSED = r"(?s)anything.*NOT SHOWN.*no witness"

m, n = dims("m n")
D, H = matrix("D", m, n), Form("H", m, n)
x, z = scalars("x z", real=True)


def rounded(values, rng):
    """Choose what stays the same when 1 is added."""
    ones = [[1] * len(row) for row in values["D"]]
    corner = [[int(k == j == 0) for j in range(len(row))] for k, row in enumerate(ones)]
    values.update({z: 0, x: 10**30, "D": corner, "H": [(1e30, ones)]})


ABOVE, BELOW = hypothesis("H(D, D) + 1 <= x", H(D, D) + 1, x), hypothesis("x <= H(D, D)", x, H(D, D))
CHECKS = (
    Inequality(
        "anything",
        "1 <= z.",
        1,
        z,
        proof=[1 * ABOVE, 1 * BELOW],
        given=(assume("z = 0", (z, 0), impose=rounded),),
        mutants=(mutant("constant", "2", lhs=2), mutant("sign", "-1", lhs=-1, proof=[ABOVE])),
    ),
)
