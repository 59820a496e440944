"""x + x^2 >= 0 where x >= 0; what is put for a matrix x would turn the hypothesis alone into y >= 0."""

from lorasolve.symbolic import Inequality, Square, hypothesis, mutant, scalars, vector

REFUSED = r"x is another symbol in check shown"

x, y = scalars("x y", real=True)
shown = Inequality(
    "shown",
    "0 <= x + x^2.",
    0,
    x + x**2,
    proof=[1 * hypothesis("it is positive", 0, x), 1 * Square(x)],
    mutants=(mutant("sign", "-", {x: 1}, rhs=-x), mutant("constant", "3", {x: 1}, lhs=3)),
)
CHECKS = (
    shown,
    Inequality(
        "false",
        "0 <= x + x^2 + y for y >= 0.",
        0,
        x + x**2 + y,
        proof=[1 * shown.conclusion(put={vector("x", 1): vector("y", 1)}), 1 * hypothesis("y is positive", 0, y)],
        mutants=(mutant("sign", "-", {x: 1, y: 1}, rhs=-x), mutant("constant", "4", {x: 1, y: 1}, lhs=4)),
    ),
)
