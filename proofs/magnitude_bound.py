"""Global minimizers are small, and descent stays in a bounded region.

Statement
---------
If X* minimizes F then ||X*||_* <= (f(0) - inf f)/lam, and ||X*||_F <= ||X*||_*. Along any descent from (A0, B0),
||A||_F^2 + ||B||_F^2 <= 2 (L(A0, B0) - inf f)/lam, and from the usual start (A0, 0) at most ||A0||_F^2 + 2 (f(0) - inf
f)/lam.

Assumptions
-----------
lam > 0 and f bounded below. No convexity.

Source
------
Kim, Kim, Ryu, ICML 2025, section on why LoRA training probably does not fail.

Idea
----
Compare F at X* with F at 0, which says lam ||X*||_* <= f(0) - f(X*), and L at the current point with L at the start.
||X||_F^2 = <X, X> <= ||X||_2 ||X||_* and ||X||_2 <= ||X||_F.

Checks
------
nuclear_bound : PROVED
frobenius_below_nuclear : PROVED
sublevel_radius : PROVED
zero_start : PROVED

Used by
-------
lorasolve/landscape/bounds.py
"""

from sympy import Rational

from lorasolve.symbolic import (
    Inequality,
    Theorem,
    define,
    dims,
    dropped,
    equation,
    hypothesis,
    matrix,
    mutant,
    run_module,
    scalar,
    scalars,
    square,
)
from proofs.facts import DUAL_NORM, FROBENIUS, NUCLEAR, OPERATOR_NORM, SPECTRAL, SPECTRAL_IS

m, n, r, k = dims("m n r k")
lam = scalars("lambda")
nuc = scalars("nu", nonnegative=True)
f0, f_star, f_low, start, f_now = scalars("f_0 f_star f_low L_0 f", real=True)
A, B, P, Q = matrix("A", m, r), matrix("B", n, r), matrix("P", m, k), matrix("Q", n, k)
Sigma = matrix("Sigma", k, k, symmetric=True)

MINIMAL = hypothesis("F(X*) <= F(0)", f_star + lam * nuc, f0)
BOUNDED = hypothesis("inf f <= f(X*)", f_low, f_star)
BELOW = hypothesis("inf f <= f(X)", f_low, f_now)
DESCENT = hypothesis("L(A, B) <= L(A0, B0)", f_now + lam / 2 * (square(A) + square(B)), start)

# X* = d K with d = ||X*||_F, which may be 0, and K of norm 1; s = ||K||_2.
XS, K = matrix("Xstar", m, n), matrix("K", m, n)
length, top = scalars("d s", nonnegative=True)
SCALED = define(XS, length * K)
LENGTH = equation("||K||_F = 1", square(K), 1)
PAIRING = DUAL_NORM.instance("pairing", SPECTRAL(K, top), NUCLEAR(XS, nuc))
BELOW_LENGTH = OPERATOR_NORM.instance("frobenius", SPECTRAL_IS(K, top), FROBENIUS(K, 1))
ONE = {XS: [[1]], K: [[1]], length: 1, top: 1, nuc: 1}
A0 = matrix("A0", m, r)
FROM_ZERO = hypothesis("L(A, B) <= L(A0, 0)", f_now + lam / 2 * (square(A) + square(B)), f0 + lam / 2 * square(A0))
sublevel_radius = Inequality(
    "sublevel_radius",
    "||A||_F^2 + ||B||_F^2 <= 2 (L(A0, B0) - inf f)/lam along any descent.",
    square(A) + square(B),
    2 * (start - f_low) / lam,
    proof=[2 / lam * DESCENT, 2 / lam * BELOW],
    paper="7 magnitude",
    mutants=(
        mutant(
            "constant",
            "1.9, not 2",
            {A: [[1]], B: [[1]], start: 1, f_now: 0, f_low: 0, lam: 1},
            rhs=Rational(19, 10) * (start - f_low) / lam,
        ),
        mutant("sign", "L(A0, B0) + inf f", rhs=2 * (start + f_low) / lam),
        dropped(DESCENT),
        dropped(BELOW),
    ),
)

CHECKS = (
    Inequality(
        "nuclear_bound",
        "||X*||_* <= (f(0) - inf f)/lam.",
        nuc,
        (f0 - f_low) / lam,
        proof=[MINIMAL / lam, BOUNDED / lam],
        paper="7 magnitude",
        mutants=(
            mutant(
                "constant",
                "0.95 (f(0) - inf f)/lam",
                {nuc: 1, f0: 1, f_star: 0, f_low: 0, lam: 1},
                rhs=19 * (f0 - f_low) / (20 * lam),
            ),
            mutant("swapped symbols", "lam (f(0) - inf f)", rhs=lam * (f0 - f_low)),
            dropped(BOUNDED),
            dropped(MINIMAL),
        ),
    ),
    Inequality(
        "frobenius_below_nuclear",
        "||X*||_F <= ||X*||_*.",
        length,
        scalar(nuc),
        proof=[PAIRING, nuc / (1 + top) * BELOW_LENGTH, -length * LENGTH],
        given=(SCALED,),
        paper="7 magnitude",
        mutants=(
            mutant("constant", "99/100 ||X*||_*", ONE, rhs=99 * nuc / 100),
            mutant("sign", "-||X*||_*", ONE, rhs=-nuc),
            dropped(PAIRING),
            dropped(BELOW_LENGTH, {**ONE, XS: [[2]], length: 2, top: 2}),
            dropped(LENGTH, {**ONE, K: [["1/2"]], length: 2, top: "1/2"}),
        ),
    ),
    sublevel_radius,
    Inequality(
        "zero_start",
        "From the usual start (A0, B = 0), where X = 0: ||A||_F^2 + ||B||_F^2 <= ||A0||_F^2 + 2 (f(0) - inf f)/lam.",
        square(A) + square(B),
        square(A0) + 2 * (f0 - f_low) / lam,
        proof=[2 / lam * FROM_ZERO, 2 / lam * BELOW],
        paper="7 magnitude",
        mutants=(
            mutant("constant", "||A0||^2/2", rhs=square(A0) / 2 + 2 * (f0 - f_low) / lam),
            mutant("sign", "-||A0||^2", rhs=-square(A0) + 2 * (f0 - f_low) / lam),
            dropped(FROM_ZERO),
            dropped(BELOW),
        ),
    ),
)

THEOREM = Theorem(__doc__, CHECKS, prose={})

if __name__ == "__main__":
    raise SystemExit(run_module("magnitude_bound", THEOREM))
