"""When the LoRA rank exceeds the rank of the minimizer: the two consequences of theorem 1.

Statement
---------
In the setting of `theorem1` with r > r* >= 1, let (A, B) be a second-order stationary point in the ball.

(i) If sigma_r(X) <= (2 alpha/beta) sigma_{r*}(X), X is the global minimum.
(ii) Otherwise, if X is not global, with c = 1 - 2 alpha sigma_{r*}(X)/(beta sigma_r(X)) > 0,
     ||X||_F >= sqrt( sum_{s = r*+1..r} sigma_s(X)^2 / c ) - ||X*||_F.

Assumptions
-----------
Those of theorem 1, and r > r* strictly: with r = r* the premise of (i) does not exclude a full-rank point.

Source
------
Kim, Kim, Ryu, ICML 2025, corollary 1.

Idea
----
The premise of (i) is 2 kappa alpha >= 1, so the master inequality leaves Pi_{r*}(X) = X: the point is rank deficient,
and rank-deficient second-order stationary points are global. (ii) is the distance bound with the tail energy
||X - Pi_{r*}(X)||_F^2 = sum_{s > r*} sigma_s^2 and the triangle inequality, proved here as a sum of squares.

Checks
------
premise : PROVED
truncation_is_exact : PROVED
tail_energy : PROVED
triangle : PROVED
norm_lower_bound : PROVED

Used by
-------
lorasolve/landscape/judge.py, lorasolve/landscape/theorems.py
"""

from random import Random

from sympy import symbols

from lorasolve.symbolic import (
    Assumption,
    Identity,
    Inequality,
    ScalarCheck,
    Square,
    SumOfSquares,
    Theorem,
    Values,
    assume,
    define,
    dropped,
    equation,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
    tr,
)
from lorasolve.symbolic import rational as ra
from lorasolve.symbolic.expression import Symbol
from proofs import theorem1 as t1

m, n = t1.m, t1.n
root = scalars("t")
x, y = scalars("x y", nonnegative=True)
dist2, tail2 = scalars("d_2 t_2", real=True)
surplus = symbols("e", nonnegative=True)
Y, YS, K, KS = (matrix(name, m, n) for name in ("X", "Xstar", "K", "Kstar"))
TAIL = square(t1.TOP - t1.X)


def _unit(symbol: Symbol) -> Assumption:
    """Give a matrix the Frobenius norm 1."""

    def impose(values: Values, rng: Random) -> None:
        rows, cols = ra.shape(values[symbol.name])
        unit = ra.random_orthonormal(rng, rows * cols, 1)
        values[symbol.name] = [[unit[i * cols + j][0] for j in range(cols)] for i in range(rows)]

    return assume(f"||{symbol.name}||_F = 1", (square(symbol), 1), impose=impose)


# X = x K and X* = y K* with ||K||_F = ||K*||_F = 1, so that both may be 0.
K_UNIT, KS_UNIT, X_SCALED, XS_SCALED = _unit(K), _unit(KS), define(Y, x * K), define(YS, y * KS)
triangle = SumOfSquares(
    "triangle",
    "||X - X*||_F^2 <= (||X||_F + ||X*||_F)^2.",
    square(Y - YS),
    (x + y) ** 2,
    proof=[x * y * Square(K + KS)],
    given=(K_UNIT, KS_UNIT, X_SCALED, XS_SCALED),
    paper="4 corollary (ii)",
    mutants=(
        mutant("sign", "(x - y)^2", rhs=(x - y) ** 2),
        mutant("constant", "x^2 + y^2", rhs=x**2 + y**2),
        dropped(K_UNIT),
        dropped(KS_UNIT),
        dropped(X_SCALED),
    ),
)
# d2 = ||X - X*||^2, t2 = t^2 = ||X - Pi||^2/c.
TRIANGLE = triangle.conclusion(dist2, (x + y) ** 2, where={dist2: square(t1.X - YS)}, put={Y: t1.X})
DISTANCE = t1.generic_distance.conclusion(tail2, dist2, where={tail2: TAIL / t1.slack, dist2: square(t1.XS - t1.X)})
IS_ROOT = equation("t^2 = ||X - Pi||_F^2/c", root**2, tail2)
EDGE = {x: 1, y: 1, root: 2, dist2: 4, tail2: 4}

CHECKS = (
    ScalarCheck(
        "premise",
        "2 kappa alpha - 1 = (2 alpha sigma_{r*} - beta sigma_r)/(beta sigma_r): the premise of (i) says it is >= 0.",
        2 * t1.alpha * t1.sigma_star / (t1.beta * t1.sigma_r) - 1,
        (2 * t1.alpha * t1.sigma_star - t1.beta * t1.sigma_r) / (t1.beta * t1.sigma_r),
        paper="4 corollary (i)",
        mutants=(
            mutant("constant", "alpha instead of 2 alpha", lhs=t1.alpha * t1.sigma_star / (t1.beta * t1.sigma_r) - 1),
            mutant(
                "swapped symbols", "r and r* swapped", lhs=2 * t1.alpha * t1.sigma_r / (t1.beta * t1.sigma_star) - 1
            ),
        ),
    ),
    Inequality(
        "truncation_is_exact",
        "If 2 kappa alpha = 1 + e with e >= 0 then ||Pi_{r*}(X) - X||_F^2 <= 0: X has rank r* < r.",
        TAIL,
        0,
        proof=[t1.MASTER, surplus * Square(t1.XS - t1.X)],
        under=(t1.master,),
        given=(define(t1.kappa, (1 + surplus) / (2 * t1.alpha)),),
        paper="4 corollary (i)",
        mutants=(
            mutant("sign", "2 kappa alpha = 1 - e", given=(define(t1.kappa, (1 - surplus) / (2 * t1.alpha)),)),
            mutant("constant", "at most -1", {**t1.AT_MINIMUM, surplus: 1, t1.kappa: 1}, rhs=-1),
            dropped(t1.MASTER),
        ),
    ),
    Identity(
        "tail_energy",
        "||X - Pi_{r*}(X)||_F^2 = tr Sigma2^2, the sum of the squares of the remaining singular values.",
        square(t1.X - t1.TOP),
        tr(t1.Sigma2 @ t1.Sigma2),
        given=(t1.LEFT, t1.RIGHT),
        paper="4 corollary (ii)",
        mutants=(
            mutant("constant", "tr Sigma2", rhs=tr(t1.Sigma2)),
            mutant("swapped symbols", "tr Sigma1^2", rhs=tr(t1.Sigma1 @ t1.Sigma1)),
            dropped(t1.LEFT),
        ),
    ),
    triangle,
    Inequality(
        "norm_lower_bound",
        "||X||_F >= ||X - Pi||_F/sqrt(c) - ||X*||_F.",
        root - y,
        x,
        proof=[part / (root + x + y) for part in (1 * IS_ROOT, 1 * DISTANCE, 1 * TRIANGLE)],
        under=(t1.generic_distance, triangle),
        paper="4 corollary (ii)",
        mutants=(
            mutant("sign", "+ ||X*||_F", EDGE, lhs=root + y),
            mutant("constant", "2 ||X - Pi||/sqrt(c)", EDGE, lhs=2 * root - y),
            dropped(DISTANCE, {**EDGE, root: 3, tail2: 9}),
            dropped(TRIANGLE, {**EDGE, root: 3, dist2: 9, tail2: 9}),
        ),
    ),
)

PROSE = {
    "a point of rank r* < r is global by the statement on rank-deficient points, as is one with sigma_r(X) = 0": (
        "premise",
        "truncation_is_exact",
    ),
    "X has a singular value decomposition": ("tail_energy",),
}

THEOREM = Theorem(__doc__, CHECKS, uses=(t1.THEOREM,), prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("corollary1", THEOREM))
