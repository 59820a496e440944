"""A fact whose check is well shown, from a false check in no list."""

from lorasolve.symbolic import Fact, Inequality, Schema, dims, matrix, mutant, tr

REFUSED = r"check false is not shown"

m = dims("m")
X = matrix("X", m, m)
AT = {X: [[-1]]}
TWINS = (mutant("constant", "tr X + 9", AT, lhs=tr(X) + 9), mutant("sign", "-tr X", AT, lhs=-tr(X)))
false = Inequality("false", "tr X <= 0.", tr(X), 0, proof=(), mutants=TWINS)
shown = Inequality("shown", "2 tr X <= 0.", 2 * tr(X), 0, proof=[2 * false.conclusion()], mutants=TWINS)
FACT = Fact("a fact", "2 tr X <= 0", "nowhere", "shown", (Schema("negative", 2 * tr(X), 0, {}, shown),))
CHECKS = (Inequality("first", "4 tr X <= 0.", 4 * tr(X), 0, proof=[2 * FACT.instance("negative", X=X)], mutants=TWINS),)
