"""For n = 1 the sum of a^2 over k = 3, .., n has no terms, and -a^2 is below it; SymPy makes it -a^2 too."""

import sympy

from lorasolve.symbolic import ScalarCheck, dims, mutant, scalars

REFUSED = r"Sum\(a\*\*2, \(k, 3, n\)\) is nothing that is known to be real and exact here"

n, k = dims("n k")
a = scalars("a", real=True)
TOTAL = sympy.Sum(a**2, (k, 3, n))
CHECKS = (
    ScalarCheck(
        "as_many_terms",
        "The sum of a^2 over k = 3, .., n is at most (n - 2) a^2.",
        TOTAL,
        (n - 2) * a**2,
        relation="<=",
        mutants=(mutant("constant", "n - 4", rhs=(n - 4) * a**2), mutant("sign", "-", rhs=-(n + 1) * a**2)),
    ),
)
