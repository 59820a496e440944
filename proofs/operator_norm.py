"""The spectral norm bounds products and sums, and is at most the Frobenius norm.

Statement
---------
||X W||_F <= ||X||_2 ||W||_F, ||X Y||_2 <= ||X||_2 ||Y||_2, ||X + Z||_2 <= ||X||_2 + ||Z||_2, ||X||_2 <= ||X||_F.

Assumptions
-----------
X^T X = s^2 I - F^T F says ||X||_2 <= s; the spectral norm on the left of the last three is that of the
image of a unit vector w.

Source
------
Horn, Johnson, Matrix Analysis, 2nd ed., section 5.6.

Idea
----
s^2 ||W||^2 - ||X W||^2 = ||F W||^2.

Checks
------
product_frobenius : PROVED
product_spectral : PROVED
sum_spectral : PROVED
spectral_frobenius : PROVED
sum_norm : PROVED
spectral_below_frobenius : PROVED

Used by
-------
No file of the package directly.
"""

from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Any

from lorasolve.symbolic import (
    Inequality,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    assume,
    define,
    dims,
    dropped,
    equation,
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
from lorasolve.symbolic.evaluate import number

m, n, p = dims("m n p")
s, t = scalars("s t", nonnegative=True)
X, Z, F, H = matrix("X", m, n), matrix("Z", m, n), matrix("F", n, n), matrix("H", n, n)
Y, K = matrix("Y", n, p), matrix("K", p, p)
W, w, x = matrix("W", n, p), vector("w", n), vector("x", p)


def _contraction(name: str, rest: str, norm: Any) -> Callable[[Values, Random], None]:
    """Return what chooses a matrix and what it lacks to an isometry in the proportion 3 : 4."""

    def impose(values: Values, rng: Random) -> None:
        rows, cols = ra.shape(values[name])
        values[name] = ra.scale(number(norm, values) * Fraction(3, 5), ra.random_orthonormal(rng, rows, cols))
        values[rest] = ra.scale(number(norm, values) * Fraction(4, 5), ra.random_orthogonal(rng, cols))

    return impose


BOUND = assume("X^T X = s^2 I - F^T F", (X.T @ X, s**2 * eye(n) - F.T @ F), impose=_contraction("X", "F", s))
BOUND_Y = assume("Y^T Y = t^2 I - K^T K", (Y.T @ Y, t**2 * eye(p) - K.T @ K), impose=_contraction("Y", "K", t))
# The parts of a sum as bounds times matrices of norm at most 1, so that both may be 0.
X1, Z1 = matrix("X_1", m, n), matrix("Z_1", m, n)
BOUND_1 = assume("X_1^T X_1 = I - F^T F", (X1.T @ X1, eye(n) - F.T @ F), impose=_contraction("X_1", "F", 1))
BOUND_Z = assume("Z_1^T Z_1 = I - H^T H", (Z1.T @ Z1, eye(n) - H.T @ H), impose=_contraction("Z_1", "H", 1))
X_SCALED, Z_SCALED = define(X, s * X1), define(Z, t * Z1)
PARTS = (BOUND_1, BOUND_Z, X_SCALED, Z_SCALED)
UNIT = orthonormal(w)
ONE = {X: [[1]], F: [[0]], W: [[1]], s: 1}
TWO = {X: [[1]], F: [[0]], s: 1, Y: [[1]], K: [[0]], x: [[1]], t: 1}
SUM = {X: [[1]], X1: [[1]], F: [[0]], s: 1, Z: [[1]], Z1: [[1]], H: [[0]], w: [[1]], t: 1}


product_frobenius = SumOfSquares(
    "product_frobenius",
    "||X W||_F^2 <= s^2 ||W||_F^2.",
    square(X @ W),
    s**2 * square(W),
    proof=[1 * Square(F @ W)],
    given=(BOUND,),
    mutants=(
        mutant("constant", "s^2/2", ONE, rhs=s**2 / 2 * square(W)),
        mutant("sign", "-s^2 ||W||^2", ONE, rhs=-(s**2) * square(W)),
        dropped(BOUND),
    ),
)
product_spectral = SumOfSquares(
    "product_spectral",
    "|X Y x|^2 <= s^2 t^2 |x|^2.",
    square(X @ Y @ x),
    s**2 * t**2 * square(x),
    proof=[1 * Square(F @ Y @ x), s**2 * Square(K @ x)],
    given=(BOUND, BOUND_Y),
    mutants=(
        mutant("constant", "s^2 t^2/2", TWO, rhs=s**2 * t**2 / 2 * square(x)),
        mutant("sign", "-s^2 t^2", TWO, rhs=-(s**2) * t**2 * square(x)),
        dropped(BOUND_Y),
    ),
)
SUM_PARTS = (
    s * t * Square((X1 - Z1) @ w),
    s * (s + t) * Square(F @ w),
    t * (s + t) * Square(H @ w),
)
# Norms as numbers: those of a sum, of a matrix, and its Frobenius norm.
whole = scalars("c")
spectral, frobenius = scalars("p q", nonnegative=True)
IS_SUM = equation("c = |(X + Z) w|", whole**2, square((X + Z) @ w))
sum_norm = Inequality(
    "sum_norm",
    "||X + Z||_2 = |(X + Z) w| <= s + t for a unit vector w.",
    whole,
    s + t,
    proof=[part / (whole + s + t) for part in (*SUM_PARTS, 1 * IS_SUM)],
    given=(UNIT, *PARTS),
    mutants=(
        mutant("constant", "(s + t)/2", {**SUM, whole: 2}, rhs=(s + t) / 2),
        mutant("sign", "s - t", {**SUM, whole: 2}, rhs=s - t),
        dropped(IS_SUM, {**SUM, whole: 3}),
    ),
)
IS_SPECTRAL = equation("p = |X w|", spectral**2, square(X @ w))
IS_FROBENIUS = hypothesis("||X||_F <= q", square(X), frobenius**2)
spectral_below_frobenius = Inequality(
    "spectral_below_frobenius",
    "||X||_2^2 = |X w|^2 <= q^2 for a unit vector w, ||X||_F <= q.",
    spectral**2,
    frobenius**2,
    proof=[1 * Square(X - X @ w @ w.T), 1 * IS_SPECTRAL, 1 * IS_FROBENIUS],
    given=(UNIT,),
    mutants=(
        mutant("constant", "q^2/2", {X: [[1]], w: [[1]], spectral: 1, frobenius: 1}, rhs=frobenius**2 / 2),
        mutant("sign", "-q^2", {X: [[1]], w: [[1]], spectral: 1, frobenius: 1}, rhs=-(frobenius**2)),
        dropped(IS_FROBENIUS, {X: [[2]], w: [[1]], spectral: 2, frobenius: 1}),
    ),
)

CHECKS = (
    product_frobenius,
    product_spectral,
    SumOfSquares(
        "sum_spectral",
        "|(X + Z) w|^2 <= (s + t)^2 |w|^2.",
        square((X + Z) @ w),
        (s + t) ** 2 * square(w),
        proof=list(SUM_PARTS),
        given=PARTS,
        mutants=(
            mutant("constant", "s^2 + t^2", SUM, rhs=(s**2 + t**2) * square(w)),
            mutant("sign", "(s - t)^2", SUM, rhs=(s - t) ** 2 * square(w)),
            dropped(BOUND_Z),
        ),
    ),
    SumOfSquares(
        "spectral_frobenius",
        "|X w|^2 <= ||X||_F^2 for a unit vector w.",
        square(X @ w),
        square(X),
        proof=[1 * Square(X - X @ w @ w.T)],
        given=(UNIT,),
        mutants=(
            mutant("constant", "||X||_F^2/2", {X: [[1]], w: [[1]]}, rhs=square(X) / 2),
            mutant("sign", "||X||_F^2 <= |X w|^2", lhs=square(X), rhs=square(X @ w)),
            dropped(UNIT),
        ),
    ),
    sum_norm,
    spectral_below_frobenius,
)

PROSE = {
    "a sum of norm 0, which is at most anything": ("sum_norm",),
    "F exists by the spectral theorem, and the spectral norm is attained at a unit vector": (
        "product_frobenius",
        "product_spectral",
        "sum_norm",
        "spectral_below_frobenius",
    ),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("operator_norm", THEOREM))
