"""Global minimizers are small, and descent stays in a bounded region.

Statement
---------
If X* minimizes F then lam ||X*||_* <= f(0) - f(X*) <= f(0) - inf f, and ||X*||_F <= ||X*||_*. Along any descent from
(A0, B0), (lam/2)(||A||_F^2 + ||B||_F^2) <= L(A0, B0) - inf f, so ||A||_2^2 + ||B||_2^2 <= 2 (L(A0, B0) - inf f)/lam.

Assumptions
-----------
lam > 0 and f bounded below. No convexity.

Source
------
Kim, Kim, Ryu, ICML 2025, section on why LoRA training probably does not fail.

Idea
----
Compare F at X* with F at 0, and L at the current point with L at the start.

Checks
------
value_comparison : PROVED
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
    dims,
    dropped,
    hypothesis,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
)

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

# Two singular values are the step of an induction: (s1 + s2)^2 - (s1^2 + s2^2) = 2 s1 s2.
s1, s2 = scalars("sigma_1 sigma_2", nonnegative=True)
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
        "value_comparison",
        "lam ||X*||_* <= f(0) - f(X*).",
        lam * nuc,
        f0 - f_star,
        proof=[MINIMAL],
        paper="7 magnitude",
        mutants=(
            mutant("constant", "2 lam ||X*||_*", lhs=2 * lam * nuc),
            mutant("sign", "f(X*) - f(0)", rhs=f_star - f0),
            dropped(MINIMAL),
        ),
    ),
    Inequality(
        "nuclear_bound",
        "||X*||_* <= (f(0) - inf f)/lam.",
        nuc,
        (f0 - f_low) / lam,
        proof=[MINIMAL / lam, BOUNDED / lam],
        paper="7 magnitude",
        mutants=(
            mutant("constant", "(f(0) - inf f)/(2 lam)", rhs=(f0 - f_low) / (2 * lam)),
            mutant("swapped symbols", "lam (f(0) - inf f)", rhs=lam * (f0 - f_low)),
            dropped(BOUNDED),
            dropped(MINIMAL),
        ),
    ),
    Inequality(
        "frobenius_below_nuclear",
        "sigma_1^2 + sigma_2^2 <= (sigma_1 + sigma_2)^2: the Frobenius norm is at most the nuclear norm.",
        s1**2 + s2**2,
        (s1 + s2) ** 2,
        proof=[2 * s1 * s2],
        paper="7 magnitude",
        mutants=(
            mutant("constant", "(s1 + s2)^2/2", rhs=(s1 + s2) ** 2 / 2),
            mutant("sign", "(s1 - s2)^2", rhs=(s1 - s2) ** 2),
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

PROSE = {
    "more than two singular values, by induction": ("frobenius_below_nuclear",),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("magnitude_bound", THEOREM))
