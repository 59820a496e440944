"""For n = 1 the product of 2 over k = 4, .., n has no factors and is 1, not 2^(-2)."""

import sympy

from lorasolve.symbolic import ScalarCheck, dims, mutant

REFUSED = r"Product\(2, \(k, 4, n\)\) is nothing that is known to be real and exact here"

n, k = dims("n k")
CHECKS = (
    ScalarCheck(
        "as_many_factors",
        "The product of 2 over k = 4, .., n is 2^(n - 3).",
        sympy.Product(2, (k, 4, n)),
        2 ** (n - 3),
        mutants=(mutant("constant", "2^n", rhs=2**n), mutant("sign", "-", rhs=-(2 ** (n - 3)))),
    ),
)
