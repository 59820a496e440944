"""A perturbation moves each singular value by no more than its spectral norm.

Statement
---------
sigma_i(X) <= sigma_i(Y) + ||X - Y||_2 for every i; with X and Y exchanged, the absolute value of the difference. If
rank Y < i, sigma_i(X) <= ||X - Y||_2.

Assumptions
-----------
w is a unit vector in the span of the first i right singular vectors of X and orthogonal to the first i - 1 of Y. Then
|Y w| <= b = sigma_i(Y), |(X - Y) w| <= d = ||X - Y||_2, which may be 0.

Source
------
Weyl, Math. Ann. 71 (1912).

Idea
----
a <= |X w| <= |Y w| + |(X - Y) w| <= b + d: the difference of the squares, over a + b + d.

Checks
------
from_below : PROVED
weyl : PROVED
rank_deficient : PROVED

Used by
-------
No file of the package directly.
"""

from collections.abc import Callable
from fractions import Fraction
from random import Random

from lorasolve.symbolic import (
    Inequality,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    annihilated,
    assume,
    dims,
    dropped,
    eye,
    hypothesis,
    matrix,
    mutant,
    orthonormal,
    run_module,
    scalars,
    square,
    vector,
)
from lorasolve.symbolic import rational as ra
from lorasolve.symbolic.evaluate import evaluate
from lorasolve.symbolic.expression import MatrixExpr

m, n, i = dims("m n i")
a = scalars("a")
b, d = scalars("b d", nonnegative=True)
P, Q, Sigma, C = matrix("P", m, i), matrix("Q", n, i), matrix("Sigma", i, i, symmetric=True), matrix("C", i, i)
X, Y, c, w = matrix("X", m, n), matrix("Y", m, n), vector("c", i), vector("w", n)
y, z = vector("y", m), vector("z", m)


def _above(values: Values, rng: Random) -> None:
    """Choose diagonal Sigma and C with s^2 = a^2 + c^2, from s = a (x + 1/x)/2."""
    ratios = [Fraction(rng.randint(1, 4), rng.randint(1, 3)) for _ in values["Sigma"]]
    values["Sigma"] = ra.diagonal([values[a] * (x + 1 / x) / 2 for x in ratios])
    values["C"] = ra.diagonal([values[a] * (x - 1 / x) / 2 for x in ratios])


LEFT, RIGHT, UNIT = orthonormal(P), orthonormal(Q), orthonormal(c)
LARGE = assume("Sigma^2 = a^2 I + C C^T", (Sigma @ Sigma, a**2 * eye(i) + C @ C.T), impose=_above)
STRETCHED = hypothesis("a <= |X w|", a**2, square(X @ w))


def _sends_w(name: str, to: MatrixExpr) -> Callable[[Values, Random], None]:
    """Return what changes a matrix so that it sends w where it has to."""

    def impose(values: Values, rng: Random) -> None:
        away = ra.add(evaluate(to, values), ra.multiply(values[name], values["w"]), -1)
        row = ra.scale(1 / ra.inner(values["w"], values["w"]), ra.transpose(values["w"]))
        values[name] = ra.add(values[name], ra.multiply(away, row))

    return impose


# Bounds times vectors of length at most 1, so that both may be 0.
Y_SENDS = assume("Y w = b y", (Y @ w, b * y), impose=_sends_w("Y", b * y))
X_SENDS = assume("(X - Y) w = d z", (X @ w, Y @ w + d * z), impose=_sends_w("X", Y @ w + d * z))
SMALL, NEAR = hypothesis("|y| <= 1", square(y), 1), hypothesis("|z| <= 1", square(z), 1)
KERNEL = annihilated(Y, right=(w,))
LINE = {X: [[2]], Y: [[1]], w: [[1]], y: [[1]], z: [[1]], a: 2, b: 1, d: 1}
FLAT = {X: [[1]], Y: [[0]], w: [[1]], z: [[1]], a: 1, d: 1}

weyl = Inequality(
    "weyl",
    "sigma_i(X) = a <= b + d, b = sigma_i(Y), d = ||X - Y||_2.",
    a,
    b + d,
    proof=[
        part / (a + b + d)
        for part in (
            1 * STRETCHED,
            b * d * Square(y - z),
            b * (b + d) * SMALL,
            d * (b + d) * NEAR,
        )
    ],
    given=(Y_SENDS, X_SENDS),
    mutants=(
        mutant("constant", "b + d/2", LINE, rhs=b + d / 2),
        mutant("sign", "b - d", LINE, rhs=b - d),
        dropped(SMALL, {**LINE, y: [[2]], b: "1/2"}),
        dropped(NEAR, {**LINE, z: [[2]], d: "1/2"}),
        dropped(Y_SENDS, {**LINE, b: 0}),
        dropped(X_SENDS, {**LINE, d: 0}),
    ),
)
rank_deficient = Inequality(
    "rank_deficient",
    "Y w = 0: a <= d, that is sigma_i(X) <= ||X - Y||_2 for rank Y < i.",
    a,
    d,
    proof=[STRETCHED / (a + d), d**2 / (a + d) * NEAR],
    given=(KERNEL, X_SENDS),
    mutants=(
        mutant("constant", "d/2", FLAT, rhs=d / 2),
        mutant("sign", "-d", FLAT, rhs=-d),
        dropped(KERNEL, {**FLAT, X: [[2]], Y: [[1]], a: 2}),
        dropped(X_SENDS, {**FLAT, d: 0}),
    ),
)

CHECKS = (
    SumOfSquares(
        "from_below",
        "sigma_i(X)^2 = a^2 <= |X Q c|^2 for a unit vector c: all i values of the part of X on Q are at least a.",
        a**2,
        square(P @ Sigma @ Q.T @ Q @ c),
        proof=[1 * Square(C.T @ c)],
        given=(LEFT, RIGHT, UNIT, LARGE),
        mutants=(
            mutant("constant", "2 a^2", {P: [[1]], Q: [[1]], Sigma: [[1]], C: [[0]], c: [[1]], a: 1}, lhs=2 * a**2),
            mutant("sign", "a^2 >= |X Q c|^2", lhs=square(P @ Sigma @ Q.T @ Q @ c), rhs=a**2),
            dropped(LARGE),
        ),
    ),
    weyl,
    rank_deficient,
)

PROSE = {
    "sigma_i(X) = 0, which is at most anything": ("weyl", "rank_deficient"),
    "the unit vector w exists: i unknowns, i - 1 equations": ("from_below", "weyl", "rank_deficient"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("weyl", THEOREM))
