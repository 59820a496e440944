"""What a Krylov method from a random start misses, and with what probability.

Statement
---------
Let v be a unit vector drawn uniformly, b_1 its component along an eigenvector that does not depend on it, n >= 2 the
dimension.

1. For all b >= 0, P(|b_1| <= b) <= b sqrt(2 n/pi).
2. If S^T S has the largest eigenvalue 1 and all Ritz values of the k-dimensional Krylov space of v are at most theta,
   0 < theta <= 1, then b_1^2 (1 + h^2) <= 1 with h = |T_(2k-1)(i s)|, s^2 = 1/theta - 1, T the Chebyshev polynomial:
   |b_1| is small.
3. For H Q = Q T + q e^T + E (k Lanczos steps with rounding errors E, q the next vector times its coefficient) and
   H z = mu z: z^T Q = (z^T q e^T + z^T E)(mu I - T)^(-1), whose first entry is <z, v>.

Assumptions
-----------
Cited: |T_(2k-1)| <= 1 on [-1, 1] and T_(2k-1)(i s) = +-i sinh((2k - 1) arsinh s); for n >= 3 the density
of b_1 is at most its value at 0, which is Gamma(n/2)/(sqrt(pi) Gamma((n-1)/2)) <= sqrt(n/(2 pi)), and for n = 2
P(|b_1| <= b) = (2/pi) arcsin b <= b; the entries of (mu I -
T)^(-1) shrink when mu falls below the spectrum of T.

Source
------
Kuczynski, Wozniakowski, SIAM J. Matrix Anal. Appl. 13 (1992), theorem 4.2, before its last simplifications; Wendel,
Amer. Math. Monthly 55 (1948), for the quotient of Gamma values.

Idea
----
Every vector p(S^T S) v of the Krylov space has a Rayleigh quotient of at most theta. Take p(x) = T(y)/y with y^2 = 1
- x/theta: the eigenvalues below theta contribute at most theta times the rest of v, the first one theta h^2 times its
share.

Checks
------
ritz : PROVED
below : PROVED
first_eigenvalue : PROVED
overlap : PROVED
probability : PROVED
circle : PROVED
recurrence : PROVED

Used by
-------
lorasolve/certificates/_lanczos.py, lorasolve/landscape/_krylov.py
"""

from random import Random

import sympy

from lorasolve.symbolic import (
    Identity,
    Inequality,
    ScalarCheck,
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
    inverse,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
    tr,
    vector,
)
from lorasolve.symbolic import rational as ra

n, k = dims("n k")
theta, s, y, b, density, inverse_pi = scalars("theta s y b rho omega")
S, V, C, c = matrix("S", n, n, symmetric=True), matrix("V", n, k), matrix("C", k, k), vector("c", k)
T, value, h = scalars("T x h", real=True)


def _ritz(values: Values, rng: Random) -> None:
    """Choose S so that V^T S V = theta I - C C^T, for orthonormal columns V."""
    columns = ra.random_orthonormal(rng, len(values["S"]), len(values["C"]))
    values["V"] = columns
    other = ra.complement(columns)
    size = len(values["C"])
    middle = ra.add(ra.scale(values[theta], ra.identity(size)), ra.multiply(values["C"], ra.transpose(values["C"])), -1)
    inside = ra.multiply(columns, middle, ra.transpose(columns))
    values["S"] = ra.add(ra.multiply(other, values["S"], other), inside)


RITZ = assume(
    "V^T S V = theta I - C C^T, V^T V = I", (V.T @ S @ V, theta * eye(k) - C @ C.T), (V.T @ V, eye(k)), impose=_ritz
)

# First and other eigenvalues: shares b_1^2 and rest, T_i^2 <= 1 in the mean over the others.
first, rest, mean = scalars("b_1 r t", nonnegative=True)
BELOW = hypothesis("the Rayleigh quotient of p(S^T S) v is at most theta", theta * first**2 * h**2, theta * mean)
CHEBYSHEV = hypothesis("|T| <= 1 on [-1, 1]: sum b_i^2 T_i^2 <= sum b_i^2", mean, rest)
WHOLE = equation("|v|^2 = 1", first**2 + rest, 1)
EVEN = {first: "3/5", rest: "16/25", mean: "16/25", h: "4/3", theta: "1/2"}

# Lanczos with rounding errors.
H, Q, Tri, N = (
    matrix("H", n, n, symmetric=True),
    matrix("Q", n, k),
    matrix("Tri", k, k, symmetric=True),
    matrix("N", k, k),
)
Shifted = matrix("Shifted", k, k, symmetric=True)
E, q, e, z = matrix("E", n, k), vector("q", n), vector("e", k), vector("z", n)
mu = scalars("mu", real=True)


def _eigenvector(values: Values, rng: Random) -> None:
    """Give H the eigenvector z with eigenvalue mu."""
    off, vector_ = ra.complement(values["z"]), values["z"]
    share = values[mu] / ra.inner(vector_, vector_)
    values["H"] = ra.add(ra.multiply(off, values["H"], off), ra.multiply(vector_, ra.transpose(vector_)), share)


EIGEN = assume("z^T H = mu z^T", (z.T @ H, mu * z.T), impose=_eigenvector)
STEPS = define(E, H @ Q - Q @ Tri - q @ e.T)
SHIFT, INVERSE = define(Tri, mu * eye(k) - Shifted), inverse(N, Shifted)

CHECKS = (
    SumOfSquares(
        "ritz",
        "w = V c in the Krylov space: w^T S w <= theta |w|^2.",
        tr(c.T @ V.T @ S @ V @ c),
        theta * square(V @ c),
        proof=[1 * Square(C.T @ c)],
        given=(RITZ,),
        mutants=(
            mutant(
                "constant", "theta/2", {V: [[1]], S: [[1]], C: [[0]], c: [[1]], theta: 1}, rhs=theta / 2 * square(c)
            ),
            mutant("sign", "-theta", {V: [[1]], S: [[1]], C: [[0]], c: [[1]], theta: 1}, rhs=-theta * square(c)),
            dropped(RITZ, {V: [[1]], S: [[2]], C: [[0]], c: [[1]], theta: 1}),
        ),
    ),
    ScalarCheck(
        "below",
        "x = theta (1 - y^2): (T/y)^2 (x - theta) = -theta T^2.",
        (T / y) ** 2 * (theta * (1 - y**2) - theta),
        -theta * T**2,
        mutants=(
            mutant("constant", "-2 theta T^2", rhs=-2 * theta * T**2),
            mutant("sign", "+theta T^2", rhs=theta * T**2),
        ),
    ),
    ScalarCheck(
        "first_eigenvalue",
        "At x = 1 = theta (1 + s^2), y^2 = -s^2 and T^2 = -h^2: (T^2/y^2)(1 - theta) = theta h^2.",
        h**2 / s**2 * (theta * (1 + s**2) - theta),
        theta * h**2,
        mutants=(
            mutant("constant", "2 theta h^2", rhs=2 * theta * h**2),
            mutant("sign", "-theta h^2", rhs=-theta * h**2),
        ),
    ),
    Inequality(
        "overlap",
        "b_1^2 (1 + h^2) <= 1.",
        first**2 * (1 + h**2),
        1,
        proof=[BELOW / theta, CHEBYSHEV, 1 * WHOLE],
        mutants=(
            mutant("constant", "1/2", EVEN, rhs=sympy.Rational(1, 2)),
            mutant("sign", "b_1^2 (1 + h^2) <= -1", EVEN, rhs=-1),
            dropped(CHEBYSHEV, {**EVEN, mean: 2, h: 2}),
            dropped(BELOW, {**EVEN, h: 5}),
        ),
    ),
    Inequality(
        "probability",
        "P(|b_1| <= b) <= 2 b density <= b sqrt(2 n omega), squared, omega = 1/pi.",
        (2 * b * density) ** 2,
        2 * n * inverse_pi * b**2,
        proof=[4 * b**2 * hypothesis("density^2 <= n/(2 pi)", density**2, n * inverse_pi / 2)],
        mutants=(
            mutant("constant", "n/(8 pi)", rhs=n * inverse_pi * b**2 / 8),
            mutant("sign", "minus", rhs=-2 * n * inverse_pi * b**2),
        ),
    ),
    Inequality(
        "circle",
        "n = 2: P(|b_1| <= b) <= b is at most b sqrt(2 n omega), squared, omega = 1/pi.",
        b**2,
        4 * inverse_pi * b**2,
        proof=[b**2 * hypothesis("pi <= 4", 1, 4 * inverse_pi)],
        mutants=(
            mutant("constant", "1.8 n omega", {inverse_pi: "1/4", b: 1}, rhs=18 * inverse_pi * b**2 / 5),
            mutant("sign", "minus", {inverse_pi: "1/3", b: 1}, rhs=-4 * inverse_pi * b**2),
        ),
    ),
    Identity(
        "recurrence",
        "z^T Q = (z^T q e^T + z^T E)(mu I - T)^(-1).",
        z.T @ Q,
        (z.T @ q @ e.T + z.T @ E) @ N,
        given=(EIGEN, INVERSE, SHIFT, STEPS),
        mutants=(
            mutant("sign", "minus z^T E", rhs=(z.T @ q @ e.T - z.T @ E) @ N),
            mutant("constant", "2 z^T q", rhs=(2 * z.T @ q @ e.T + z.T @ E) @ N),
            dropped(INVERSE),
        ),
    ),
)

PROSE = {
    "|T_(2k-1)| <= 1 on [-1, 1] and its value at i s (cited); the sum over the eigenvalues, of which the first "
    "and the rest are written": ("below", "first_eigenvalue", "overlap"),
    "for n >= 3 the density of b_1 on the sphere is largest at 0 and at most sqrt(n/(2 pi)) there (cited)": (
        "probability",
    ),
    "for n = 2 P(|b_1| <= b) = (2/pi) arcsin b is at most b (cited)": ("circle",),
    "theta = 1, where s = h = 0: then |b_1| <= 1 is all that is said": ("first_eigenvalue",),
    "the entries of (mu I - T)^(-1) shrink when mu falls below the spectrum of T (cited)": ("recurrence",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("random_start", THEOREM))
