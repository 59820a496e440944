"""Two false checks, each proved from the other."""

from lorasolve.symbolic import Inequality, mutant, scalars

REFUSED = r"goes in a circle"

x = scalars("x")
TWINS = (mutant("constant", "3 x", {x: 1}, lhs=3 * x), mutant("sign", "-x", {x: 1}, rhs=-x))
first = Inequality("first", "2 x <= x.", 2 * x, x, proof=(), mutants=TWINS)
second = Inequality("second", "4 x <= 2 x.", 4 * x, 2 * x, proof=[2 * first.conclusion()], mutants=TWINS)
object.__setattr__(first, "proof", (second.conclusion() / 2,))
CHECKS = (first, second)
