"""Derivatives that hold fixed what the assumptions say to move: by a definition, through another, by a name."""

import sympy

from lorasolve.symbolic import (
    Identity,
    Inequality,
    define,
    derivative,
    dims,
    equation,
    gradient,
    inner,
    inverse,
    matrix,
    mutant,
    named,
    scalars,
    square,
    tr,
)

REFUSED = (
    r"(?s)first.*NOT SHOWN.*along T would hold A fixed.*"
    r"second.*NOT SHOWN.*along T would hold A fixed.*"
    r"third.*NOT SHOWN.*along T would hold q fixed.*"
    r"fourth.*NOT SHOWN.*along S would hold K fixed.*"
    r"fifth.*NOT SHOWN.*along x would hold y fixed.*"
    r"sixth.*NOT SHOWN.*along T would hold q fixed"
)

m, n, k = dims("m n k")
q, x, y = scalars("q x y", nonnegative=True)
A, P, S, T = matrix("A", m, n), matrix("P", m, k), matrix("S", k, k), matrix("T", k, n)
E, F, K = matrix("E", k, k), matrix("F", k, n), matrix("K", k, k)
PRODUCT = define(A, P @ T)
TWINS = (mutant("constant", "3 T", rhs=3 * T), mutant("sign", "-2 T", rhs=-2 * T))
CHECKS = (
    Identity(
        "first", "It is 2 P^T P T + 2 T.", gradient(square(A) + square(T), T), 2 * T, given=(PRODUCT,), mutants=TWINS
    ),
    Identity(
        "second",
        "It is 2 S^T P^T P S T + 2 T.",
        gradient(square(A) + square(T), T),
        2 * T,
        given=(define(matrix("B", k, n), S @ T), define(A, P @ matrix("B", k, n))),
        mutants=TWINS,
    ),
    Identity(
        "third",
        "It is 4 ||T||^2 T, for q = ||T||^2.",
        gradient(q * square(T), T),
        2 * q * T,
        given=(named(q, square(T)),),
        mutants=(mutant("constant", "3 q T", rhs=3 * q * T), mutant("sign", "-2 q T", rhs=-2 * q * T)),
    ),
    Identity(
        "fourth",
        "It is 0, the derivative of a dimension.",
        derivative(tr(K @ S), {S: E}),
        inner(K.T, E),
        given=(inverse(K, S),),
        mutants=(mutant("constant", "2 <K^T, E>", rhs=2 * inner(K.T, E)), mutant("sign", "-", rhs=-1 * inner(K.T, E))),
    ),
    Identity(
        "fifth",
        "It is 3 x^2.",
        sympy.Derivative(x * y, x),
        x**2,
        given=(define(y, x**2),),
        mutants=(mutant("constant", "2 x^2", rhs=2 * x**2), mutant("sign", "-x^2", rhs=-(x**2))),
    ),
    Inequality(
        "sixth",
        "It is 4 ||T||^2 <T, F>, for q = ||T||^2.",
        derivative(q * square(T), {T: F}),
        2 * q * inner(T, F) + square(T) - q,
        proof=[1 * equation("q = ||T||^2", q, square(T))],
        mutants=(
            mutant("constant", "<T, F>", rhs=q * inner(T, F) + square(T) - q),
            mutant("sign", "-2 q <T, F>", rhs=-2 * q * inner(T, F) + square(T) - q),
        ),
    ),
)
