"""The name of u^T v, or of a multiple of it, is declared positive, so every two vectors would have an acute angle."""

from lorasolve.symbolic import Inequality, assume, dims, eye, inner, mutant, scalar, scalars, vector

REFUSED = (
    r"(?s)entry.*NOT SHOWN.*the sign that s declares.*plain.*NOT SHOWN.*the sign that s declares.*trace.*NOT SHOWN"
)

n = dims("n")
u, v = vector("u", n), vector("v", n)
s = scalars("s")


def positive(name, left, right):
    """Return the claim under an assumption that names a number."""

    def impose(values, rng):
        values[s] = sum(a[0] * b[0] for a, b in zip(values["u"], values["v"], strict=True))

    return Inequality(
        name,
        "0 <= <u, v>.",
        0,
        inner(u, v),
        proof=[s],
        given=(assume(f"s is named in {name}", (left, right), impose=impose),),
        mutants=(mutant("constant", "1", lhs=1 + 4 * s), mutant("sign", "-<u, v>", rhs=-1 * inner(u, v))),
    )


CHECKS = (
    positive("entry", u.T @ v, s * eye(1)),
    positive("plain", u.T @ v, s),
    positive("trace", inner(u, v), scalar(s) * 1),
)
